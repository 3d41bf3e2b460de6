// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * For CBMC: the steps of a walk, each for all possible states at once.
 *
 * A whole call has too many paths for that; every.c runs those of small worlds one by
 * one.  A step is what mm/hmm.c does with one page table, or with one entry that maps
 * many pages: for any entries, any requests, and any begin and end of the step.  The
 * source is included for its static functions.
 */
#include HMM_SOURCE
#include "state.h"

unsigned int nondet_unsigned(void);
_Bool nondet_bool(void);
unsigned long nondet_unsigned_long(void);

unsigned int choose(unsigned int nr)
{
	unsigned int chosen = nondet_unsigned();

	__CPROVER_assume(chosen < nr);
	return chosen;
}

unsigned int choose_mostly(unsigned int nr)
{
	return choose(nr);
}

bool rarely(void)
{
	return choose(2);
}

static struct hmm_range range;
static struct hmm_walk hw;
static unsigned long entries[WORLD_PAGES], before[WORLD_PAGES];

/* Any call, at any point of it, in a VMA that devices can access */
static void any_step(unsigned int first, unsigned int nr)
{
	struct vm_area_struct *vma = &w.vma[0];
	unsigned int i;

	w.nr_vmas = 1;
	vma->vm_mm = &w.mm;
	vma->vm_start = WORLD_START;
	vma->vm_end = WORLD_END;
	vma->vm_flags = nondet_unsigned_long();
	vma->rwp = nondet_bool();
	__CPROVER_assume(oracle_is_accessible(vma));
	w.notifier.mm = &w.mm;
	w.mm.mmap_lock.readers = 1;
	w.killed = nondet_bool();
	if (nondet_bool())
		w.owner = &world_owner;

	range.notifier = &w.notifier;
	range.start = world_addr(first);
	range.end = world_addr(first + nr);
	range.hmm_pfns = entries;
	range.default_flags = nondet_unsigned_long();
	range.pfn_flags_mask = nondet_unsigned_long();
	range.dev_private_owner = w.owner;
	w.range = &range;
	for (i = 0; i < nr; i++) {
		entries[i] = nondet_unsigned_long();
		before[i] = entries[i];
	}
	hmm_dma_maps.counter = nondet_bool();
	hw = hmm_walk_begin(&range, 0);
	if (nondet_bool())
		hw.answers_end = range.start;
}

static struct entry any_leaf(void)
{
	struct entry e;

	e.kind = choose(DEVICE_EXCLUSIVE + 1);
	e.write = nondet_bool();
	e.dirty = nondet_bool();
	e.protnone = nondet_bool();
	e.special = nondet_bool();
	e.pfn = choose(WORLD_PFNS);
	if (e.kind == DEVICE_PRIVATE)
		__CPROVER_assume(e.pfn >= PFN_OWN);
	else
		__CPROVER_assume(e.pfn < PFN_OWN);
	/* No entry is writable if its VMA is not, or if it is the zero page */
	__CPROVER_assume(!e.write || ((w.vma[0].vm_flags & VM_WRITE) && e.pfn));
	__CPROVER_assume(e.pfn || !e.special);
	return e;
}

/* What the step must have found for the pages that it has reached */
static void check_step(int ret, unsigned int first, unsigned int nr)
{
	const struct vm_area_struct *vma = &w.vma[0];
	bool met = true, answering = hw.answers_end == range.end;
	unsigned long request, sticky;
	struct meaning m;
	unsigned int i;

	for (i = 0; i < nr; i++) {
		m = oracle_meaning(first + i);
		request = oracle_request(&range, before[i]);
		sticky = before[i] & HMM_PFN_STICKY;
		if (met && (request & ~m.answer)) {
			met = false;
			promise(hw.next == world_addr(first + i),
				"walk: the walk stops at the page that is not as asked");
			if (m.refused)
				promise(ret == -EFAULT, "error: -EFAULT for refused pages");
			else if ((request & HMM_PFN_REQ_WRITE) &&
				 !oracle_is_writable(vma))
				promise(ret == -EPERM, "error: -EPERM if writing is not allowed");
			else
				promise(ret == HMM_STOP_NEED && hw.need == request &&
					hw.vma == vma, "fault: what is asked is faulted");
		}
		if (met && answering)
			promise(entries[i] == (m.answer | sticky),
				"answer: an answer is what the entry means");
		else
			promise(entries[i] == before[i],
				"error: from there on entries are as they were");
	}
	if (met)
		promise(!ret && hw.next == world_addr(first + nr),
			"request: all is answered that is as asked");
}

/* A page table with any contents */
void prove_table(void)
{
	unsigned int first = choose(PTRS_PER_PTE), i;
	unsigned int nr = 1 + choose(PTRS_PER_PTE - first);
	int ret;

	any_step(first, nr);
	w.pud[0].e.kind = TABLE;
	w.pmd[0].e.kind = TABLE;
	for (i = 0; i < PTRS_PER_PTE; i++) {
		w.pte[i].e = any_leaf();
		__CPROVER_assume(w.pte[i].e.kind != TABLE);
	}
	rcu_read_lock();
	ret = hmm_walk_table(&hw, &w.vma[0], &w.pte[first], range.start, range.end);
	rcu_read_unlock();
	check_step(ret, first, nr);
}

/* One PMD or hugetlb entry, of which the range contains a part */
static void prove_one(bool hugetlb)
{
	unsigned int first = choose(PTRS_PER_PTE);
	unsigned int nr = 1 + choose(PTRS_PER_PTE - first);
	struct mm_walk walk = { .mm = &w.mm, .vma = &w.vma[0], .private = &hw };
	struct entry e;
	int ret;

	any_step(first, nr);
	e = any_leaf();
	w.vma[0].hugetlb = hugetlb;
	w.pud[0].e.kind = TABLE;
	__CPROVER_assume(e.kind != TABLE);
	__CPROVER_assume(!(e.pfn % PTRS_PER_PTE));
	if (hugetlb) {
		__CPROVER_assume(!e.special && e.kind != MARKER_GUARD &&
				 e.kind != DEVICE_PRIVATE);
		__CPROVER_assume(!(w.vma[0].vm_flags & VM_SHADOW_STACK));
		w.huge[0].e = e;
		w.huge_there[0] = true;
		ret = hmm_hugetlb_entry(&w.huge[0], PMD_MASK, range.start, range.end,
					&walk);
	} else {
		__CPROVER_assume(e.kind == PRESENT || e.kind == MIGRATION ||
				 e.kind == DEVICE_PRIVATE);
		w.pmd[0].e = e;
		ret = hmm_pmd_entry(&w.pmd[0], range.start, range.end, &walk);
	}
	promise(!w.rcu && !w.ptl.held, "lock: nothing is left locked");
	promise(walk.action != ACTION_AGAIN, "walk: a table is not walked again without need");
	if (ret != -EINTR)
		check_step(ret, first, nr);
	else
		promise(w.killed, "error: -EINTR if the caller is being killed");
}

void prove_pmd(void)
{
	prove_one(false);
}

void prove_hugetlb(void)
{
	prove_one(true);
}
