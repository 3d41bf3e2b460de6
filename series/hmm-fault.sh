# SPDX-License-Identifier: GPL-2.0
# files: mm/hmm.c
#
. "$top/series/hmm-parts"
until_section "Entry points" >mm/hmm.c
