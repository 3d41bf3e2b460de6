# SPDX-License-Identifier: GPL-2.0
# files: mm/hmm.c
#
. "$top/series/hmm-parts"
without_events >mm/hmm.c
