# SPDX-License-Identifier: GPL-2.0
# files: mm/Makefile
#
# Removes the lines for two walkers; mm/Makefile.01-hmm.patch adds the final ones.
cp "$base/mm/Makefile" mm/Makefile
