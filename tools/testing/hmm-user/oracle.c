// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What hmm_range_fault() promises, as assertions for tests, fuzzer and proof.
 *
 * What a page is to the caller is determined again from the arrays of the world, by
 * the table in mm/hmm.c, with none of its code.
 */
#include "state.h"

/* Requests */

unsigned long oracle_request(const struct hmm_range *range, unsigned long entry)
{
	unsigned long all = range->default_flags | (entry & range->pfn_flags_mask);

	if (!(all & HMM_PFN_REQ_FAULT))
		return 0;
	return all & HMM_PFN_REQ_WRITE ? REQ_WRITE : REQ_READ;
}

/* Pages */

bool oracle_is_accessible(const struct vm_area_struct *vma)
{
	if (vma->secretmem || (vma->vm_flags & VM_IO) || (vma->vm_flags & VM_PFNMAP))
		return false;
	return vma->vm_flags & VM_READ;
}

bool oracle_is_writable(const struct vm_area_struct *vma)
{
	return (vma->vm_flags & VM_WRITE) && !(vma->vm_flags & VM_SHADOW_STACK);
}

static struct meaning refused(unsigned long answer)
{
	return (struct meaning){ .answer = answer, .refused = true };
}

/* @e maps 2^order pages, of which ours is the one with this @index */
static struct meaning meaning_of(const struct entry *e,
				 const struct vm_area_struct *vma,
				 unsigned int order, unsigned int index)
{
	struct meaning m = { };
	bool write = false;

	switch (e->kind) {
	case HWPOISON:
	case MARKER_POISON:
	case MARKER_GUARD:
		return refused(0);
	case PRESENT:
		if (e->protnone && vma->rwp)
			return m;
		if (e->special)
			return refused(HMM_PFN_ERROR);
		write = e->write && e->dirty;
		break;
	case DEVICE_PRIVATE:
		if (!w.owner || e->pfn >= PFN_FOREIGN)
			return m;
		write = e->write;
		break;
	default:
		return m;
	}
	m.answer = HMM_PFN_VALID | (e->pfn + index) |
		   ((unsigned long)order << HMM_PFN_ORDER_SHIFT);
	if (write && oracle_is_writable(vma))
		m.answer |= HMM_PFN_WRITE;
	return m;
}

struct meaning oracle_meaning(unsigned int page)
{
	const unsigned int in_pmd = page % PTRS_PER_PTE;
	const unsigned int in_pud = page % (PTRS_PER_PTE * PTRS_PER_PMD);
	const struct vm_area_struct *vma = world_vma(page);
	const unsigned int pmd = page / PTRS_PER_PTE;
	const unsigned int pud = pmd / PTRS_PER_PMD;

	if (!vma || !oracle_is_accessible(vma))
		return refused(HMM_PFN_ERROR);
	if (vma->hugetlb) {
		if (!w.huge_there[pmd])
			return (struct meaning){ };
		return meaning_of(&w.huge[pmd].e, vma, WORLD_PTE_BITS, in_pmd);
	}
	if (w.pud[pud].e.kind != TABLE)
		return meaning_of(&w.pud[pud].e, vma,
				  WORLD_PTE_BITS + WORLD_PMD_BITS, in_pud);
	if (w.pmd[pmd].e.kind != TABLE)
		return meaning_of(&w.pmd[pmd].e, vma, WORLD_PTE_BITS, in_pmd);
	return meaning_of(&w.pte[page].e, vma, 0, 0);
}

/* Page faults, when the call makes them */

#define ORACLE_MAX_TRIES	4

void oracle_fault(struct vm_area_struct *vma, unsigned int page,
		  unsigned int flags)
{
	unsigned long request;
	struct meaning now;

	promise(world_addr(page) >= w.range->start && world_addr(page) < w.range->end,
		"fault: no page outside of the range is faulted");
	request = oracle_request(w.range, w.inputs[page]);
	promise(request, "fault: only requested pages are faulted");
	promise(!(flags & FAULT_FLAG_WRITE) == !(request & HMM_PFN_REQ_WRITE),
		"fault: a page is faulted for writing if it was asked for that");
	promise(oracle_is_accessible(vma), "fault: no page is faulted that no device may access");
	promise(!(flags & FAULT_FLAG_WRITE) || oracle_is_writable(vma),
		"fault: what cannot be written to is not faulted for that");
	promise(flags & FAULT_FLAG_REMOTE, "fault: FAULT_FLAG_REMOTE is set");

	w.faults_here = page == w.last_faulted ? w.faults_here + 1 : 1;
	w.last_faulted = page;
	promise(w.faults_here <= ORACLE_MAX_TRIES, "progress: a page is not faulted forever");
	w.did_not_come |= w.faults_here == ORACLE_MAX_TRIES;
	if (w.others_changed)
		return;
	now = oracle_meaning(page);
	promise(!now.refused, "fault: a refused page is not faulted");
	promise(request & ~now.answer, "fault: a page that satisfies the request is not faulted");
}

/* Entries, after the call */

static unsigned long entry_at(const struct hmm_range *range, unsigned int i)
{
	return range->hmm_pfns[i] & ~HMM_PFN_STICKY;
}

/* An answer that was true at some time, and satisfies the request */
static bool is_answer(const struct hmm_range *range, unsigned int i)
{
	unsigned int page = world_page(range->start) + i, seen;
	unsigned long entry = entry_at(range, i);

	if (oracle_request(range, w.inputs[page]) & ~entry)
		return false;
	for (seen = 0; seen < w.nr_seen[page]; seen++)
		if (w.seen[page][seen].answer == entry)
			return true;
	return false;
}

static bool is_input(const struct hmm_range *range, unsigned int i, bool unlocked)
{
	unsigned long entry = entry_at(range, i);
	unsigned long input = w.inputs[world_page(range->start) + i];

	/* Not kept if it is no request and the call has started over */
	if (unlocked && !entry && w.attempts > 1 &&
	    oracle_request(range, 0) == oracle_request(range, REQ_WRITE))
		return true;
	return entry == (input & ~HMM_PFN_STICKY);
}

static void check_form(unsigned long entry)
{
	if (entry & HMM_PFN_VALID)
		promise(!(entry & HMM_PFN_ERROR), "table: VALID or ERROR");
	else
		promise(!entry || entry == HMM_PFN_ERROR,
			"answer: nothing but ERROR without VALID");
}

/* Answers are still true if the notifier was not called */
static void check_holds(unsigned long entry, unsigned int page)
{
	const unsigned long place = ~(unsigned long)HMM_PFN_WRITE;
	unsigned long now = oracle_meaning(page).answer;

	if (!(entry & HMM_PFN_VALID))
		return;
	promise((entry & place) == (now & place), "answer: the page is the one that is mapped");
	promise(!(entry & ~now & HMM_PFN_WRITE), "answer: WRITE only for writable and dirty pages");
}

static bool same_block(unsigned long entry, unsigned int page)
{
	unsigned int order = (entry >> HMM_PFN_ORDER_SHIFT) & 31;

	return (entry & HMM_PFN_VALID) && page >> order == (page - 1) >> order;
}

static void check_order(const struct hmm_range *range, unsigned int i)
{
	unsigned int page = world_page(range->start) + i;
	unsigned long entry = entry_at(range, i);

	if (i && (same_block(entry, page) || same_block(entry_at(range, i - 1), page)))
		promise(entry == entry_at(range, i - 1) + 1,
			"order: pages of one entry have one order, one set of flags");
}

static void check_answers(const struct hmm_range *range, unsigned int nr)
{
	bool stale = mmu_interval_check_retry(range->notifier, range->notifier_seq);
	unsigned int i;

	for (i = 0; i < nr; i++) {
		promise(!(oracle_request(range,
					 w.inputs[world_page(range->start) + i]) &
			  ~entry_at(range, i)), "request: what was asked for is answered");
		promise(is_answer(range, i), "answer: an answer is what the entry meant");
		check_form(entry_at(range, i));
		if (stale)
			continue;
		check_holds(entry_at(range, i), world_page(range->start) + i);
		check_order(range, i);
	}
}

/* Whether page @i may make the call fail with @ret */
static bool is_reason(const struct hmm_range *range, unsigned int i, int ret)
{
	unsigned int page = world_page(range->start) + i, seen;
	unsigned long request = oracle_request(range, w.inputs[page]);
	const struct vm_area_struct *vma = world_vma(page);

	if (w.failed == ret && w.failed_page == page)
		return true;
	if (ret == -EPERM)
		return (request & HMM_PFN_REQ_WRITE) &&
		       (w.mappings_changed || (vma && !oracle_is_writable(vma)));
	if (ret == -EFAULT)
		for (seen = 0; seen < w.nr_seen[page]; seen++)
			if (w.seen[page][seen].refused &&
			    (request & ~w.seen[page][seen].answer))
				return true;
	return false;
}

static bool is_reason_somewhere(const struct hmm_range *range, unsigned int from,
				unsigned int to, unsigned int nr, int ret)
{
	unsigned int i;

	for (i = from; i <= to && i < nr; i++)
		if (is_reason(range, i, ret))
			return true;
	return false;
}

/* Errors of a page: answers before it, inputs from it on */
static void check_split(const struct hmm_range *range, unsigned int nr, int ret,
			bool unlocked)
{
	unsigned int answers = 0, inputs = nr, i;

	while (answers < nr && is_answer(range, answers))
		answers++;
	while (inputs > 0 && is_input(range, inputs - 1, unlocked))
		inputs--;
	promise(inputs <= answers, "error: answers before the page that failed, then inputs");
	for (i = 0; i < inputs; i++)
		check_form(entry_at(range, i));
	if (ret == -EFAULT || ret == -EPERM || (ret == -ENOMEM && w.failed))
		promise((ret == -EFAULT && w.reaped) ||
			is_reason_somewhere(range, inputs, answers, nr, ret),
			"error: the page behind the answers is the one that failed");
}

static void check_errno(int ret, bool unlocked, unsigned long timeout)
{
	switch (ret) {
	case -EBUSY:
		promise(w.others_notified || w.did_not_come ||
			(!unlocked && w.own_notified),
			"error: -EBUSY if the notifier was called, or a page did not come");
		promise(!unlocked || timeout, "error: without a timeout, no -EBUSY");
		promise(!unlocked || jiffies >= timeout, "error: not before the timeout");
		break;
	case -EINTR:
		promise(w.killed, "error: -EINTR if the caller is being killed");
		break;
	case -ENOMEM:
		promise(w.failed == -ENOMEM || (unlocked && w.allocation_failed),
			"error: -ENOMEM if memory was not to be had");
		break;
	default:
		promise(ret == -EFAULT || ret == -EPERM, "error: no other error");
	}
}

/* Trace events */

void world_trace_begin(void)
{
	promise(!w.tracing, "events: a call begins once");
	w.tracing = true;
	w.faults_before = w.faults;
}

void world_trace_end(unsigned int faults, unsigned long answers, bool all)
{
	unsigned long nr = (w.range->end - w.range->start) >> PAGE_SHIFT;

	promise(w.tracing, "events: a call ends once");
	promise(faults == w.faults - w.faults_before, "events: page faults are counted");
	promise(all ? answers == nr : answers < nr, "events: answers are counted");
	w.tracing = false;
}

void oracle_returned(const struct hmm_range *range, int ret, bool unlocked,
		     unsigned long timeout)
{
	unsigned int nr = (range->end - range->start) >> PAGE_SHIFT, i;

	promise(!w.rcu && !w.ptl.held, "lock: neither RCU nor a lock is held");
	promise(w.mm.mmap_lock.readers == !unlocked, "lock: mmap_lock as it was");
	world_unlocked();
	promise(!w.allocated, "memory: none is left");
	promise(!w.warnings, "warning: none");
	promise(!w.tracing, "events: a call that begins ends");
	for (i = 0; i < nr; i++)
		promise((range->hmm_pfns[i] & HMM_PFN_STICKY) ==
			w.sticky[world_page(range->start) + i],
			"sticky: sticky bits are as the driver has left them");
	promise(!w.must_tell || ret == w.failed,
		"progress: a fault that fails is reported at once");
	if (!w.others_notified && !w.twisted)
		promise(w.attempts <= 3,
			"progress: a call walks at most twice more for its own faults");
	if (!ret) {
		check_answers(range, nr);
		return;
	}
	check_errno(ret, unlocked, timeout);
	check_split(range, nr, ret, unlocked);
}
