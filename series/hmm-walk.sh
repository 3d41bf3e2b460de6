# SPDX-License-Identifier: GPL-2.0
# files: mm/hmm.c
#
. "$top/series/hmm-parts"
until_section "Walking and faulting in turn" >mm/hmm.c
