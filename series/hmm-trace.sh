# SPDX-License-Identifier: GPL-2.0
# files: mm/hmm.c
# $top: this repository
#
# Its counts come later.
sed '/hmm_stat/d' "$top/mm/hmm.c" >mm/hmm.c
