/* SPDX-License-Identifier: GPL-2.0 */
/* For the test driver: what drivers did before there was an unlocked call */
#ifndef _LINUX_HMM_UNLOCKED_H
#define _LINUX_HMM_UNLOCKED_H

#include <linux/jiffies.h>
#include <linux/mmap_lock.h>
#include <linux/mmu_notifier.h>

/* From hmm_dmirror, which the kernel's own tests use; not requested here */
#define HMM_DMIRROR_READ_UNLOCKED	(~0U)

static inline int hmm_range_fault_unlocked_timeout(struct hmm_range *range,
						   unsigned long timeout)
{
	struct mm_struct *mm = range->notifier->mm;
	unsigned long deadline = jiffies + timeout;
	int ret;

	do {
		range->notifier_seq = mmu_interval_read_begin(range->notifier);
		ret = mmap_read_lock_killable(mm);
		if (ret)
			return ret;
		ret = hmm_range_fault(range);
		mmap_read_unlock(mm);
	} while (ret == -EBUSY && !(timeout && time_after(jiffies, deadline)));

	return ret;
}

#endif
