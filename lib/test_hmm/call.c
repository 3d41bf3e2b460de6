// SPDX-License-Identifier: GPL-2.0
/*
 * Calls of hmm_range_fault() on behalf of user space, and what can be observed.
 */
#include <linux/bitmap.h>
#include <linux/delay.h>
#include <linux/highmem.h>
#include <linux/hmm.h>
#include <linux/ktime.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "test_hmm.h"

/* Canary entries before and after the array, to detect writes outside of it */
#define RANGE_SLACK		1024
#define RANGE_CANARY		((unsigned long)0x5a5a5a5a5a5a5a5aULL)

/* Backwards, to meet a walk that goes forwards */
static void range_clear_sticky(struct range_watch *watch, unsigned long start,
			       unsigned long end)
{
	struct hmm_range *range = watch->range;
	unsigned long addr;

	start = max(start, range->start);
	for (addr = min(end, range->end); addr > start; addr -= PAGE_SIZE) {
		unsigned long i = (addr - PAGE_SIZE - range->start) >> PAGE_SHIFT;

		if (!(READ_ONCE(range->hmm_pfns[i]) & HMM_PFN_DMA_MAPPED))
			continue;
		set_mask_bits(&range->hmm_pfns[i], HMM_PFN_DMA_MAPPED,
			      HMM_PFN_P2PDMA);
		/* The call has set again what was cleared before */
		if (__test_and_set_bit(i, watch->cleared))
			watch->set_again++;
	}
}

static bool range_invalidate(struct mmu_interval_notifier *notifier,
			     const struct mmu_notifier_range *event,
			     unsigned long seq)
{
	struct range_watch *watch = container_of(notifier, struct range_watch,
						 notifier);

	if (mmu_notifier_range_blockable(event))
		mutex_lock(&watch->lock);
	else if (!mutex_trylock(&watch->lock))
		return false;
	mmu_interval_set_seq(notifier, seq);
	watch->invalidations++;
	if (watch->cleared)
		range_clear_sticky(watch, event->start, event->end);
	mutex_unlock(&watch->lock);

	if (event->event == MMU_NOTIFY_CLEAR &&
	    mmu_notifier_range_blockable(event))
		test_hmm_stop_at(watch->rf, HMM_RANGE_HOLD_UNMAP);
	return true;
}

const struct mmu_interval_notifier_ops test_hmm_notifier_ops = {
	.invalidate = range_invalidate,
};

static void range_access_page(unsigned long entry, u64 *data, bool write)
{
	struct page *page = hmm_pfn_to_page(entry);
	void *p = kmap_local_page(test_hmm_storage(page));

	if (write)
		memcpy(p, data, sizeof(*data));
	else
		memcpy(data, p, sizeof(*data));
	kunmap_local(p);
}

/*
 * Does the CPU read the same there?  The notifier is blocked, so the mapping
 * cannot change; if somebody writes, the two reads differ.
 */
static void range_compare_page(struct hmm_range_call *call, unsigned long addr,
			       unsigned long entry, u64 *data)
{
	void __user *user = (void __user *)addr;
	u64 before, after;

	if (copy_from_user_nofault(&before, user, sizeof(before))) {
		call->unseen++;
		return;
	}
	range_access_page(entry, data, false);
	if (copy_from_user_nofault(&after, user, sizeof(after)) || before != after)
		return;
	call->compared++;
	call->differ += *data != before;
}

static void range_read_page(struct range_watch *watch,
			    struct hmm_range_call *call, unsigned long i,
			    u64 *data)
{
	unsigned long entry = watch->range->hmm_pfns[i];

	range_access_page(entry, data, false);
	if ((call->flags & HMM_RANGE_COMPARE) &&
	    watch->notifier.mm == current->mm &&
	    !is_device_private_page(hmm_pfn_to_page(entry)))
		range_compare_page(call, watch->range->start + (i << PAGE_SHIFT),
				   entry, data);
}

/*
 * Give others time to take pages away.  Where only a fault marks a page young,
 * a page that migration has left old cannot be read without a fault: take that
 * fault here, where no lock is held that invalidation needs.
 */
static void range_before_comparison(const struct hmm_range *range,
				    unsigned long nr)
{
	unsigned long i;

	usleep_range(10, 1000);
	if (arch_has_hw_pte_young())
		return;
	for (i = 0; i < nr; i++)
		if (range->hmm_pfns[i] & HMM_PFN_VALID)
			fault_in_readable((void __user *)range->start +
					  (i << PAGE_SHIFT), sizeof(u64));
}

/* What a device does: use the answers while they are known to be valid */
static void range_access(struct range_watch *watch, struct hmm_range_call *call,
			 u64 *data, unsigned long nr)
{
	unsigned long *entries = watch->range->hmm_pfns;
	unsigned long i;

	if (call->flags & HMM_RANGE_COMPARE)
		range_before_comparison(watch->range, nr);
	mutex_lock(&watch->lock);
	call->stale = mmu_interval_read_retry(&watch->notifier,
					      watch->range->notifier_seq);
	for (i = 0; data && !call->stale && i < nr; i++) {
		if (!(entries[i] & HMM_PFN_VALID))
			continue;
		if (!(call->flags & HMM_RANGE_WRITE))
			range_read_page(watch, call, i, &data[i]);
		else if (entries[i] & HMM_PFN_WRITE)
			range_access_page(entries[i], &data[i], true);
	}
	mutex_unlock(&watch->lock);
}

int test_hmm_fault(struct hmm_range *range, u32 flags, u32 timeout_ms)
{
	struct mm_struct *mm = range->notifier->mm;
	int ret;

	if (flags & HMM_RANGE_UNLOCKED)
		return hmm_range_fault_unlocked_timeout(range,
				msecs_to_jiffies(timeout_ms));

	range->notifier_seq = mmu_interval_read_begin(range->notifier);
	if (flags & HMM_RANGE_STALE)
		range->notifier_seq -= 2;
	mmap_read_lock(mm);
	ret = hmm_range_fault(range);
	mmap_read_unlock(mm);
	return ret;
}

/* The call itself, and everything that is measured about it */
static void range_measure(struct hmm_range *range, struct hmm_range_call *call)
{
	bool count = (call->flags & HMM_RANGE_COUNT) && test_hmm_count_works();
	unsigned long before;
	ktime_t begin;

	if (count)
		test_hmm_count_begin(range->start);
	before = current->min_flt + current->maj_flt;
	begin = ktime_get();
	call->ret = test_hmm_fault(range, call->flags, call->timeout_ms);
	call->ns = ktime_to_ns(ktime_sub(ktime_get(), begin));
	call->faults = current->min_flt + current->maj_flt - before;
	if (count)
		test_hmm_count_end(call);
}

static void range_count_lost(const struct range_watch *watch,
			     struct hmm_range_call *call, unsigned long nr)
{
	unsigned long i;

	call->lost = watch->set_again;
	for_each_set_bit(i, watch->cleared, nr) {
		call->cleared++;
		if ((watch->range->hmm_pfns[i] & (HMM_PFN_DMA_MAPPED |
						  HMM_PFN_P2PDMA)) != HMM_PFN_P2PDMA)
			call->lost++;
	}
}

void test_hmm_watch_init(struct range_watch *watch, struct range_file *rf)
{
	mutex_init(&watch->lock);
	watch->rf = rf;
}

static int range_call_watched(struct range_file *rf, struct mm_struct *mm,
			      struct hmm_range *range,
			      struct hmm_range_call *call, u64 *data)
{
	struct range_watch watch = { .range = range };
	unsigned long start = call->interval_start;
	unsigned long len = call->interval_len;
	struct hmm_dma_map region = {};
	int ret = 0;

	if (!len) {
		start = range->start & PAGE_MASK;
		len = range->end > range->start ?
		      PAGE_ALIGN(range->end) - start : PAGE_SIZE;
	}
	test_hmm_watch_init(&watch, rf);
	if (call->flags & HMM_RANGE_STICKY) {
		watch.cleared = bitmap_zalloc(call->nr, GFP_KERNEL);
		if (!watch.cleared)
			return -ENOMEM;
		ret = test_hmm_dma_region_begin(&region);
	}
	ret = ret ?: mmu_interval_notifier_insert(&watch.notifier, mm, start, len,
					   &test_hmm_notifier_ops);
	if (ret)
		goto free;
	range->notifier = &watch.notifier;
	if (call->flags & HMM_RANGE_SPLIT)
		test_hmm_set_pgmaps(rf->dev, false);
	range_measure(range, call);
	if (call->flags & HMM_RANGE_SPLIT)
		test_hmm_set_pgmaps(rf->dev, true);
	if (!call->ret)
		range_access(&watch, call, data,
			     (range->end - range->start) >> PAGE_SHIFT);
	mmu_interval_notifier_remove(&watch.notifier);
	call->invalidations = watch.invalidations;
	if (watch.cleared)
		range_count_lost(&watch, call, call->nr);
free:
	test_hmm_dma_region_end(&region);
	bitmap_free(watch.cleared);
	return ret;
}

static int range_call_mm(struct range_file *rf, struct hmm_range *range,
			 struct hmm_range_call *call, u64 *data)
{
	struct mm_struct *mm = current->mm;
	int ret;

	if (call->flags & HMM_RANGE_OPENER)
		mm = rf->mm;
	if (!mmget_not_zero(mm))
		return -ESRCH;
	ret = range_call_watched(rf, mm, range, call, data);
	mmput(mm);
	return ret;
}

/* User space has an array of u64 where the kernel has unsigned longs */
static int range_get_longs(unsigned long *to, u64 from, unsigned long nr)
{
	u64 __user *user = u64_to_user_ptr(from);
	unsigned long i;
	u64 value;

	if (IS_ENABLED(CONFIG_64BIT))
		return copy_from_user(to, user, nr * sizeof(*to)) ? -EFAULT : 0;
	for (i = 0; i < nr; i++) {
		if (copy_from_user(&value, user + i, sizeof(value)))
			return -EFAULT;
		to[i] = value;
	}
	return 0;
}

int test_hmm_put_longs(u64 to, const unsigned long *from, unsigned long nr)
{
	u64 __user *user = u64_to_user_ptr(to);
	unsigned long i;

	if (IS_ENABLED(CONFIG_64BIT))
		return copy_to_user(user, from, nr * sizeof(*from)) ? -EFAULT : 0;
	for (i = 0; i < nr; i++) {
		u64 value = from[i];

		if (copy_to_user(user + i, &value, sizeof(value)))
			return -EFAULT;
	}
	return 0;
}

static u32 range_overrun(const unsigned long *all, unsigned long nr)
{
	unsigned long i;
	u32 found = 0;

	for (i = 0; i < RANGE_SLACK; i++) {
		found += all[i] != RANGE_CANARY;
		found += all[RANGE_SLACK + nr + i] != RANGE_CANARY;
	}
	return found;
}

/* Not even a broken walker may leave the array */
static bool range_call_fits(const struct hmm_range_call *call)
{
	if (call->start != (unsigned long)call->start ||
	    call->end != (unsigned long)call->end ||
	    call->interval_start != (unsigned long)call->interval_start ||
	    call->interval_len != (unsigned long)call->interval_len)
		return false;
	if (!call->nr || call->nr > HMM_RANGE_MAX)
		return false;
	if (call->end <= call->start)
		return true;
	return (call->end - call->start - 1) >> PAGE_SHIFT < call->nr &&
	       PAGE_ALIGN((unsigned long)call->end) >= call->end;
}

static int range_call_arrays(struct range_file *rf, struct hmm_range_call *call,
			     unsigned long *all, u64 *data)
{
	u64 __user *user = u64_to_user_ptr(call->data);
	unsigned long *entries = all + RANGE_SLACK;
	struct hmm_range range = {
		.start = call->start,
		.end = call->end,
		.hmm_pfns = entries,
		.default_flags = call->default_flags,
		.pfn_flags_mask = call->pfn_flags_mask,
	};
	int ret;

	if (!test_hmm_owner(call->owner, &range.dev_private_owner))
		return -EINVAL;
	ret = range_get_longs(entries, call->entries, call->nr);
	if (!ret && data && copy_from_user(data, user, call->nr * sizeof(*data)))
		ret = -EFAULT;
	if (!ret)
		ret = range_call_mm(rf, &range, call, data);
	if (ret)
		return ret;

	call->overrun = range_overrun(all, call->nr);
	mutex_lock(&rf->lock);
	rf->last = *call;
	mutex_unlock(&rf->lock);
	if (data && copy_to_user(user, data, call->nr * sizeof(*data)))
		return -EFAULT;
	return test_hmm_put_longs(call->entries, entries, call->nr);
}

int test_hmm_call(struct range_file *rf, struct hmm_range_call *call)
{
	unsigned long i, total;
	unsigned long *all;
	u64 *data = NULL;
	int ret = -ENOMEM;

	call->ret = 0;
	memset_startat(call, 0, stale);
	if (!range_call_fits(call))
		return -EINVAL;

	total = call->nr + 2 * RANGE_SLACK;
	all = kvmalloc_array(total, sizeof(*all), GFP_KERNEL);
	if (!all)
		return -ENOMEM;
	for (i = 0; i < total; i++)
		all[i] = RANGE_CANARY;
	if (call->flags & (HMM_RANGE_READ | HMM_RANGE_WRITE)) {
		data = kvcalloc(call->nr, sizeof(*data), GFP_KERNEL);
		if (!data)
			goto free;
	}
	ret = range_call_arrays(rf, call, all, data);
free:
	kvfree(data);
	kvfree(all);
	return ret;
}
