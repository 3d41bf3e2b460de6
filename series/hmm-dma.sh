# SPDX-License-Identifier: GPL-2.0
# files: mm/hmm_dma.c
# $top: this repository
#
# Its events come later.
sed '/trace_hmm/d; /<trace\//d' "$top/mm/hmm_dma.c" >mm/hmm_dma.c
