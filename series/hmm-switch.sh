# SPDX-License-Identifier: GPL-2.0
# files: mm/Makefile
#
# What stood there for the time of the two walkers goes, for mm/Makefile.01-hmm.patch.
cp "$base/mm/Makefile" mm/Makefile
