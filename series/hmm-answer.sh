# SPDX-License-Identifier: GPL-2.0
# files: mm/hmm.c
#
. "$top/series/hmm-parts"
until_section "Callbacks of the walk. They are called with mmap_lock held and may sleep." >mm/hmm.c
