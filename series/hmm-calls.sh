# SPDX-License-Identifier: GPL-2.0
# files: mm/hmm.c mm/Makefile
#
# The new walker is compiled, but under names that nobody calls.
. "$top/series/hmm-parts"
without_vma_locks >mm/hmm.c
sed -i 's/^obj-$(CONFIG_HMM_MIRROR) += hmm_walk\.o hmm_dma\.o$/&\
obj-$(CONFIG_HMM_MIRROR) += hmm.o\
CFLAGS_hmm.o := -Dhmm_range_fault=hmm_new_range_fault\
CFLAGS_hmm.o += -Dhmm_range_fault_unlocked_timeout=hmm_new_range_fault_unlocked/' mm/Makefile
