// SPDX-License-Identifier: GPL-2.0-or-later
/* A world, a range and a call, all from choices, and the promises for them. */
#include "state.h"

/* What the driver left in entries, apart from requests */
#define LITTER		0x2a5UL
/* After the last entry; nobody may change it */
#define FENCE		0x5a5a5a5a5a5a5a5aUL

static unsigned long entries[WORLD_PAGES + 2];

static unsigned long any_request(void)
{
	static const unsigned long requests[] = {
		0, REQ_READ, REQ_WRITE, HMM_PFN_REQ_WRITE,
	};

	return requests[choose(4)];
}

static void any_entries(struct hmm_range *range, const struct shape *shape)
{
	unsigned int first = shape->first, nr = shape->nr, i;

	entries[0] = FENCE;
	entries[nr + 1] = FENCE;
	range->hmm_pfns = entries + 1;
	for (i = 0; i < nr; i++) {
		entries[i + 1] = LITTER;
		if (range->pfn_flags_mask)
			entries[i + 1] |= any_request();
		if (shape->few || choose(2))
			entries[i + 1] |= HMM_PFN_P2PDMA;
		w.inputs[first + i] = entries[i + 1];
		w.sticky[first + i] = entries[i + 1] & HMM_PFN_STICKY;
	}
}

/* One VMA, or two with or without a gap between them, and a range */
static struct shape any_shape(void)
{
	struct shape shape = { .vma_end = WORLD_PAGES };

	shape.first = choose(WORLD_PAGES);
	shape.nr = 1 + choose(WORLD_PAGES - shape.first);
	shape.unlocked = choose(2);
	if (choose(2))
		return shape;
	shape.vma_end = 1 + choose(WORLD_PAGES - 1);
	shape.vma_next = shape.vma_end;
	if (choose(2))
		shape.vma_next += choose(WORLD_PAGES - shape.vma_end);
	return shape;
}

static struct hmm_range any_range(const struct shape *shape)
{
	static const unsigned long masks[] = { 0, REQ_WRITE, ~0UL };
	struct hmm_range range = {
		.notifier = &w.notifier,
		.start = world_addr(shape->first),
		.end = world_addr(shape->first + shape->nr),
	};

	range.default_flags = any_request();
	range.pfn_flags_mask = masks[choose(3)];
	if (choose(2))
		w.owner = &world_owner;
	range.dev_private_owner = w.owner;
	if (!shape->few && choose(2)) {
		w.notifier.interval_tree.start = range.start;
		w.notifier.interval_tree.last = range.end - 1;
	}
	any_entries(&range, shape);
	return range;
}

static int call_locked(struct hmm_range *range)
{
	int ret;

	range->notifier_seq = mmu_interval_read_begin(range->notifier);
	w.mm.mmap_lock.readers = 1;
	ret = hmm_range_fault(range);
	oracle_returned(range, ret, false, 0);
	w.mm.mmap_lock.readers = 0;
	return ret;
}

/* Without others, and regardless of notifier calls by its own faults */
static void again_locked(struct hmm_range *range, int ret)
{
	unsigned int i, nr = (range->end - range->start) >> PAGE_SHIFT;

	if (ret != -EBUSY || w.others_notified || w.others_changed || w.twisted)
		return;
	w.others = 0;
	w.twists = 0;
	w.own_notified = false;
	w.taker = WORLD_PAGES;
	w.last_faulted = WORLD_PAGES;
	for (i = 0; i < nr; i++)
		range->hmm_pfns[i] = w.inputs[world_page(range->start) + i];
	for (i = 0; i < nr; i++)
		w.sticky[world_page(range->start) + i] =
			range->hmm_pfns[i] & HMM_PFN_STICKY;
	ret = call_locked(range);
	promise(ret != -EBUSY, "progress: -EBUSY for its own faults comes once");
}

static int call_unlocked(struct hmm_range *range, unsigned long timeout)
{
	int ret = hmm_range_fault_unlocked_timeout(range, timeout);

	oracle_returned(range, ret, true, timeout);
	return ret;
}

/* A mistake of the caller: nothing is changed */
static bool is_mistake(struct hmm_range *range)
{
	switch (choose(64)) {
	case 1:
		range->start += 1 + choose(2) * (PAGE_SIZE - 2);
		return true;
	case 2:
		range->end -= 1 + choose(2) * (PAGE_SIZE - 2);
		return true;
	case 3:
		range->end = range->start;
		return true;
	case 4:
		range->end = range->start - PAGE_SIZE;
		return true;
	case 5:
		w.notifier.interval_tree.start = range->start + PAGE_SIZE;
		return true;
	case 6:
		w.notifier.interval_tree.last = range->end - PAGE_SIZE - 1;
		return true;
	case 7:
		w.notifier.interval_tree.last = range->start - 1;
		return true;
	default:
		return false;
	}
}

static void check_mistake(struct hmm_range *range, unsigned int nr)
{
	unsigned long before[WORLD_PAGES];
	unsigned int i;
	int ret;

	for (i = 0; i < nr; i++)
		before[i] = entries[i + 1];
	w.mm.mmap_lock.readers = 1;
	ret = choose(2) ? hmm_range_fault(range) :
			  hmm_range_fault_unlocked_timeout(range, 1);
	w.mm.mmap_lock.readers = 0;
	promise(ret == -EINVAL, "error: -EINVAL for an invalid range");
	promise(!w.looks && !w.faults && !w.allocated, "error: an invalid range is not walked");
	for (i = 0; i < nr; i++)
		promise(entries[i + 1] == before[i],
			"error: entries of an invalid range are not written");
}

static unsigned int any_taker(void)
{
	return w.others && choose(2) ? choose(WORLD_PAGES) : WORLD_PAGES;
}

static unsigned int any_stuck(void)
{
	if (!w.twists || !choose(2))
		return WORLD_PAGES;
	w.twists--;
	w.twisted = true;
	return choose(WORLD_PAGES);
}

void scenario(const struct bounds *b)
{
	struct shape shape = b->shape ? *b->shape : any_shape();
	unsigned long timeout = shape.unlocked ? 2 * choose(3) : 0;
	struct hmm_range range;

	world_begin();
	world_build(&shape);
	range = any_range(&shape);
	if (!b->shape && is_mistake(&range)) {
		check_mistake(&range, shape.nr);
		return;
	}
	w.range = &range;
	w.others = b->others;
	w.twists = b->twists;
	hmm_dma_maps.counter = shape.few || choose(2);
	w.reaped = shape.unlocked && !shape.few && rarely();
	/* Without a timeout, the call would never end */
	if (!shape.unlocked || timeout) {
		w.taker = any_taker();
		w.stuck = any_stuck();
	}
	if (shape.unlocked)
		call_unlocked(&range, timeout);
	else
		again_locked(&range, call_locked(&range));
	promise(entries[0] == FENCE && entries[shape.nr + 1] == FENCE,
		"error: no entry outside of the range is touched");
}
