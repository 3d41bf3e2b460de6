/* SPDX-License-Identifier: GPL-2.0 */
/* What ../bench.sh builds under other names than in the kernel */
#ifndef _HMM_BENCH_H
#define _HMM_BENCH_H

struct hmm_range;
struct mm_struct;

/* The stock kernel's hmm_range_fault() */
int stock_hmm_range_fault(struct hmm_range *range);
int stock_hmm_range_fault_unlocked_timeout(struct hmm_range *range,
					   unsigned long timeout);

/* Ours, if VMAs had no lock of their own */
int mmap_lock_hmm_range_fault_unlocked_timeout(struct hmm_range *range,
					       unsigned long timeout);

/* PAGEMAP_SCAN on any mm; @uarg: a struct pm_scan_arg in the current one */
long hmm_bench_pagemap_scan(struct mm_struct *mm, unsigned long uarg);

#endif /* _HMM_BENCH_H */
