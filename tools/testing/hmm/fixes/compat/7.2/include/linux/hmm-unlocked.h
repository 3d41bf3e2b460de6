/* SPDX-License-Identifier: GPL-2.0 */
/* What drivers did by hand before there was an unlocked call, for the test driver */
#ifndef _LINUX_HMM_UNLOCKED_H
#define _LINUX_HMM_UNLOCKED_H

#include <linux/jiffies.h>
#include <linux/mmap_lock.h>
#include <linux/mmu_notifier.h>

/* Of hmm_dmirror, which the kernel's own tests use; nobody asks for it here */
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
