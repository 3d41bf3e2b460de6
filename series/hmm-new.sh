# SPDX-License-Identifier: GPL-2.0
# files: mm/Makefile mm/hmm.c
# $top: this repository
#
# The new walker is compiled, but under names that nobody calls. Its events and counts
# come later.
sed '/trace/d; /hmm_stat/d' "$top/mm/hmm.c" >mm/hmm.c
sed -i 's/^obj-$(CONFIG_HMM_MIRROR) += hmm_walk\.o hmm_dma\.o$/&\
obj-$(CONFIG_HMM_MIRROR) += hmm.o\
CFLAGS_hmm.o := -Dhmm_range_fault=hmm_new_range_fault\
CFLAGS_hmm.o += -Dhmm_range_fault_unlocked_timeout=hmm_new_range_fault_unlocked/' mm/Makefile
