# SPDX-License-Identifier: GPL-2.0
# files: mm/hmm.c
#
. "$top/series/hmm-parts"
until_section "Requests and leaves make answers, needs and errors" >mm/hmm.c
