// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Copyright 2013 Red Hat Inc.
 *
 * Authors: Jérôme Glisse <jglisse@redhat.com>
 *
 * hmm_range_fault(): a process's page tables, as a device may use them.
 *
 * The file follows the data from top to bottom. A page table entry becomes a leaf;
 * a leaf and a request become an answer or a need. The walk writes answers until it
 * finds a need, one fault serves that, and the walk resumes at the same page. If such
 * a fault invokes the notifier, the rest of the range is still faulted in, but no
 * more answers are written.
 */
#include <linux/hmm-dma.h>
#include <linux/hmm.h>
#include <linux/hugetlb.h>
#include <linux/leafops.h>
#include <linux/memremap.h>
#include <linux/mmu_notifier.h>
#include <linux/oom.h>
#include <linux/pagewalk.h>
#include <linux/prefetch.h>
#include <linux/sched/signal.h>
#include <linux/secretmem.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/unroll.h>
#include <linux/userfaultfd_k.h>
#include <linux/util_macros.h>
#include "hmm_stat.h"
#include "hmm_trace.h"

/**
 * DOC: promises
 *
 * The request of a page is ``(hmm_pfns[i] & pfn_flags_mask) | default_flags``.
 * HMM_PFN_REQ_FAULT in it asks for read access, HMM_PFN_REQ_FAULT together with
 * HMM_PFN_REQ_WRITE for write access. Without HMM_PFN_REQ_FAULT nothing is asked
 * for: the page is reported as it is, which is called a snapshot.
 *
 * 1. A page asked for is answered as asked, or the call fails.
 * 2. A page not asked for is not faulted. Neighbours that the CPU's fault
 *    handler maps along with one that was asked for do not count.
 * 3. A pfn or an order is answered with HMM_PFN_VALID only.
 * 4. The pfn is that of the page itself, wherever in a huge entry it lies.
 * 5. The order is the CPU's: 2^order pages, aligned, mapped by one entry, with
 *    one set of flags.
 * 6. After an error, entries before the page that failed hold answers; that one
 *    and those behind it hold what the caller put there, or 0 where an unlocked
 *    call has started over and reads no requests from entries.
 * 7. An answer is never taken for a request, not even when a call starts over.
 * 8. Nothing is held on return that was not held before: no lock, no RCU read
 *    section, no kmap.
 * 9. Device private memory is answered to its owner only. To anyone else it is
 *    like swapped out memory: absent, and migrated back when asked for.
 * 10. The bits HMM_PFN_DMA_MAPPED, HMM_PFN_P2PDMA and HMM_PFN_P2PDMA_BUS belong to
 *     the driver: they are left alone, and what another thread sets or clears
 *     during the call stays set or cleared.
 * 11. A call whose own faults invoke the notifier serves every page asked for
 *     before it gives up or starts over, and does so only once for that reason.
 * 12. HMM_PFN_WRITE is answered for dirty entries only, or for device private ones,
 *     so memory is written back or swapped out after the device has written to it.
 */

#define HMM_PFN_REQ	(HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE)

/* How a walk or a fault ended, if not with 0 or an error */
enum hmm_stop {
	HMM_STOP_NEED = 1,	/* the page at hmm_walk.next must be faulted */
	HMM_STOP_UNLOCKED,	/* the fault dropped the lock */
	HMM_STOP_PART,		/* what follows is to be locked anew */
};

/**
 * struct hmm_walk - the state of one call
 * @range: what the caller passed in
 * @each: requests differ from page to page
 * @shared: other threads may change sticky bits of entries during the call
 * @request: the request of every page, unless @each
 * @next: the next page to look at; all pages before it are as requested
 * @end: how far the walk may go with the lock that is held
 * @locked: the VMA whose lock is held, or NULL if that is mmap_lock
 * @needs_mmap_lock: the fault at @next could not be handled with a VMA's lock
 * @answers_end: pages from here on get no answer, because a fault of this call
 *	invoked the notifier or did not map the page. Initially the end of the range.
 * @need: the request of the page at @next, which its entry does not meet
 * @vma: the VMA of the page at @next; valid with @need
 * @pmdp: the entry of the page table in which the need at @next was found, or NULL.
 *	It is stable while the lock is held: page tables below it may come and go,
 *	but a PMD table is freed only together with everything mapped through it.
 * @table_end: end of the part of the range that this page table maps
 * @fault_flags: for handle_mm_fault()
 * @faulted: address of the last fault; the end of the range before the first
 * @tries: number of faults in a row at that address
 * @trace: what trace events tell of the call
 */
struct hmm_walk {
	struct hmm_range	*range;
	bool			each;
	bool			shared;
	unsigned long		request;
	unsigned long		next;
	unsigned long		end;
	struct vm_area_struct	*locked;
	bool			needs_mmap_lock;
	unsigned long		answers_end;
	unsigned long		need;
	struct vm_area_struct	*vma;
	pmd_t			*pmdp;
	unsigned long		table_end;
	unsigned int		fault_flags;
	unsigned long		faulted;
	unsigned int		tries;
	struct hmm_trace	trace;
};

/* Requests and entries of hmm_pfns */

static __always_inline unsigned long hmm_request(const struct hmm_range *range,
						 unsigned long entry)
{
	unsigned long request = (entry & range->pfn_flags_mask) |
				range->default_flags;

	return request & HMM_PFN_REQ_FAULT ? request & HMM_PFN_REQ : 0;
}

/* Do requests have to be read page by page? */
static bool hmm_asks_each(const struct hmm_range *range)
{
	return hmm_request(range, 0) != hmm_request(range, HMM_PFN_REQ);
}

static unsigned long *hmm_entry(const struct hmm_range *range,
				unsigned long addr)
{
	return &range->hmm_pfns[(addr - range->start) >> PAGE_SHIFT];
}

/*
 * Replaces everything in an entry but its sticky bits. Those matter only where
 * memory is mapped for DMA. Elsewhere nobody else writes to the entry, and it may
 * be uninitialised, so no branch may depend on its old value.
 */
static __always_inline void hmm_set_entry(unsigned long *entry,
					  unsigned long value, bool shared)
{
	if (shared)
		set_mask_bits(entry, ~HMM_PFN_STICKY, value);
	else
		*entry = (*entry & HMM_PFN_STICKY) | value;
}

/* Page table entries, at whatever level */

/**
 * struct hmm_leaf - what a page table entry means to a device
 * @answer: the answer for the first page in question: flags, order and pfn
 * @refused: a request that @answer does not meet fails with -EFAULT
 *
 * Each kind of entry, the answer for it, and what happens if more was asked for. R
 * and W stand for HMM_PFN_VALID without and with HMM_PFN_WRITE.
 *
 *	entry				at		answer	if asked for more
 *	----------------------------	-------------	------	-----------------
 *	none				all		0	fault
 *	present, writable and dirty	all		W
 *	present, writable and clean	all		R	fault, which dirties it
 *	present, read-only		all		R	fault
 *	zero page, huge zero page	PTE, PMD	R	fault
 *	protnone, a NUMA hint		PTE, PMD	R	fault
 *	protnone, VM_UFFD_RWP		PTE, PMD, tlb	0	fault
 *	special				PTE, PMD, PUD	error	-EFAULT
 *	swap				PTE		0	fault
 *	migration			PTE, PMD, tlb	0	fault, which waits
 *	device private, own		PTE, PMD	R or W	fault, to system memory
 *	device private, other's		PTE, PMD	0	fault, to system memory
 *	device exclusive		PTE		0	fault, to system memory
 *	hwpoison			PTE, tlb	0	-EFAULT
 *	marker, poison			PTE, tlb	0	-EFAULT
 *	marker, guard			PTE		0	-EFAULT
 *	marker, uffd-wp			PTE, tlb	0	fault
 *	pfn out of reach (32 bit)	all		error	-EFAULT
 *	no VMA, or not for devices	-		error	-EFAULT
 *
 * tlb is hugetlb, whose entries are PTEs of any size. A fault for writing is
 * -EPERM where the VMA does not allow it. A shadow stack is read-only to devices,
 * as it is to ordinary stores of the CPU.
 *
 * Poison and guard regions are answered 0, not HMM_PFN_ERROR: drivers that look
 * ahead with a snapshot give up on more than that page if they see HMM_PFN_ERROR.
 *
 * NUMA hints are meant for the CPU. The page stays where the entry says until the
 * notifier is invoked. userfaultfd, though, must see every access to a page that
 * it made protnone.
 */
struct hmm_leaf {
	unsigned long answer;
	bool refused;
};

static __always_inline struct hmm_leaf hmm_leaf_none(void)
{
	return (struct hmm_leaf) { };
}

static struct hmm_leaf hmm_leaf_refused(unsigned long answer)
{
	return (struct hmm_leaf) { .answer = answer, .refused = true };
}

/*
 * On 32 bit, flags and order leave room for the pfns of 8 GiB (4 KiB pages), but
 * LPAE and PAE machines may have more.
 */
static_assert(!IS_ENABLED(CONFIG_64BIT) || HMM_PFN_ORDER_SHIFT + PAGE_SHIFT >= 64);

static __always_inline struct hmm_leaf hmm_leaf_page(unsigned long pfn,
						     unsigned int order,
						     bool write)
{
	if (!IS_ENABLED(CONFIG_64BIT) && (pfn & HMM_PFN_FLAGS))
		return hmm_leaf_refused(HMM_PFN_ERROR);
	return (struct hmm_leaf) {
		.answer = HMM_PFN_VALID | (write ? HMM_PFN_WRITE : 0) |
			  (unsigned long)order << HMM_PFN_ORDER_SHIFT | pfn,
	};
}

/*
 * May devices access any of this VMA? One that is not readable is treated as not
 * writable either: no architecture that supports HMM has write-only mappings.
 */
static bool hmm_vma_is_accessible(struct vm_area_struct *vma)
{
	return (vma->vm_flags & VM_READ) &&
	       !(vma->vm_flags & (VM_IO | VM_PFNMAP)) && !vma_is_secretmem(vma);
}

/* A device must not be able to forge return addresses */
static bool hmm_vma_is_writable(const struct vm_area_struct *vma)
{
	return (vma->vm_flags & (VM_WRITE | VM_SHADOW_STACK)) == VM_WRITE;
}

/*
 * A VMA in which a PTE alone is not enough: it has no bit for special pages, or is
 * writable by shadow stack instructions only, or is protnone without being a NUMA
 * hint.
 */
static bool hmm_vma_needs_slow_path(struct vm_area_struct *vma)
{
	return (vma->vm_flags & VM_SHADOW_STACK) || userfaultfd_rwp(vma) ||
	       (!IS_ENABLED(CONFIG_ARCH_HAS_PTE_SPECIAL) &&
		(vma->vm_flags & VM_MIXEDMAP));
}

/* An entry that is not present; our page is @pfn_offset behind its first */
static struct hmm_leaf hmm_leaf_softleaf(const struct hmm_walk *hw,
					 struct vm_area_struct *vma,
					 softleaf_t entry, unsigned int order,
					 unsigned long pfn_offset)
{
	switch (softleaf_type(entry)) {
	case SOFTLEAF_DEVICE_PRIVATE_READ:
	case SOFTLEAF_DEVICE_PRIVATE_WRITE:
		/* The caller entered RCU before it read the entry, for this */
		if (!device_page_owned_by(softleaf_to_page(entry),
					  hw->range->dev_private_owner))
			return hmm_leaf_none();
		return hmm_leaf_page(softleaf_to_pfn(entry) + pfn_offset, order,
				     softleaf_is_device_private_write(entry) &&
				     hmm_vma_is_writable(vma));
	case SOFTLEAF_HWPOISON:
		return hmm_leaf_refused(0);
	case SOFTLEAF_MARKER:
		if (softleaf_is_guard_marker(entry) ||
		    softleaf_is_poison_marker(entry))
			return hmm_leaf_refused(0);
		return hmm_leaf_none();
	default:
		return hmm_leaf_none();
	}
}

/* Without a special bit, vm_normal_page() has to tell */
static __always_inline bool hmm_pte_special(pte_t pte)
{
	return IS_ENABLED(CONFIG_ARCH_HAS_PTE_SPECIAL) && pte_special(pte);
}

static noinline struct hmm_leaf hmm_leaf_pte_slow(const struct hmm_walk *hw,
						  struct vm_area_struct *vma,
						  unsigned long addr, pte_t pte)
{
	if (!pte_present(pte))
		return hmm_leaf_softleaf(hw, vma, softleaf_from_pte(pte), 0, 0);
	if (pte_protnone(pte) && userfaultfd_rwp(vma))
		return hmm_leaf_none();
	if (!is_zero_pfn(pte_pfn(pte)) && !vm_normal_page(vma, addr, pte))
		return hmm_leaf_refused(HMM_PFN_ERROR);
	return hmm_leaf_page(pte_pfn(pte), 0, pte_write(pte) && pte_dirty(pte) &&
			     hmm_vma_is_writable(vma));
}

static __always_inline struct hmm_leaf hmm_leaf_pte(const struct hmm_walk *hw,
						    struct vm_area_struct *vma,
						    bool slow,
						    unsigned long addr, pte_t pte)
{
	if (likely(pte_present(pte) && !hmm_pte_special(pte) && !slow))
		return hmm_leaf_page(pte_pfn(pte), 0,
				     pte_write(pte) && pte_dirty(pte));
	if (pte_none(pte))
		return hmm_leaf_none();
	return hmm_leaf_pte_slow(hw, vma, addr, pte);
}

/* A shadow stack is never hugetlb, so unlike elsewhere pte_write() is enough */
static struct hmm_leaf hmm_leaf_hugetlb(const struct hmm_walk *hw,
					struct vm_area_struct *vma,
					unsigned long addr, pte_t pte)
{
	struct hstate *h = hstate_vma(vma);
	unsigned long offset = (addr & ~huge_page_mask(h)) >> PAGE_SHIFT;

	if (!pte_present(pte))
		return hmm_leaf_softleaf(hw, vma, softleaf_from_pte(pte), 0, 0);
	if (pte_protnone(pte) && userfaultfd_rwp(vma))
		return hmm_leaf_none();
	return hmm_leaf_page(pte_pfn(pte) + offset, huge_page_order(h),
			     pte_write(pte) && pte_dirty(pte));
}

/*
 * What these two use does not exist on every architecture, nor without transparent
 * huge pages: pmd_write() is a BUG() then, and vm_normal_page_pmd() is not linked.
 * So call them only after pmd_trans_huge() and pud_trans_huge(), which are constant
 * in that case.
 */

static struct hmm_leaf hmm_leaf_pmd(struct vm_area_struct *vma,
				    unsigned long addr, pmd_t pmd)
{
	unsigned long offset = (addr & ~PMD_MASK) >> PAGE_SHIFT;

	if (pmd_protnone(pmd) && userfaultfd_rwp(vma))
		return hmm_leaf_none();
	if (!is_huge_zero_pmd(pmd) && !vm_normal_page_pmd(vma, addr, pmd))
		return hmm_leaf_refused(HMM_PFN_ERROR);
	return hmm_leaf_page(pmd_pfn(pmd) + offset, PMD_SHIFT - PAGE_SHIFT,
			     pmd_write(pmd) && pmd_dirty(pmd) &&
			     hmm_vma_is_writable(vma));
}

/* Nor is a shadow stack mapped by a PUD: it is anonymous memory */
static struct hmm_leaf hmm_leaf_pud(struct vm_area_struct *vma,
				    unsigned long addr, pud_t pud)
{
	unsigned long offset = (addr & ~PUD_MASK) >> PAGE_SHIFT;

	if (!vm_normal_page_pud(vma, addr, pud))
		return hmm_leaf_refused(HMM_PFN_ERROR);
	return hmm_leaf_page(pud_pfn(pud) + offset, PUD_SHIFT - PAGE_SHIFT,
			     pud_write(pud) && pud_dirty(pud));
}

/* Requests and leaves make answers, needs and errors */

static unsigned long hmm_request_at(const struct hmm_walk *hw,
				    unsigned long addr)
{
	if (!hw->each)
		return hw->request;
	return hmm_request(hw->range, READ_ONCE(*hmm_entry(hw->range, addr)));
}

/* Does the walk still write answers at @addr, or only look for pages to fault? */
static bool hmm_is_answering(const struct hmm_walk *hw, unsigned long addr)
{
	return addr < hw->answers_end;
}

/*
 * Stops the walk at @addr, where @leaf does not meet the request: with the need for
 * a fault, or with the error if a fault cannot help.
 */
static int hmm_stop_at(struct hmm_walk *hw, struct vm_area_struct *vma,
		       unsigned long addr, struct hmm_leaf leaf)
{
	unsigned long request = hmm_request_at(hw, addr);

	hw->next = addr;
	if (leaf.refused)
		return -EFAULT;
	if ((request & HMM_PFN_REQ_WRITE) && !hmm_vma_is_writable(vma))
		return -EPERM;
	hw->need = request;
	hw->vma = vma;
	return HMM_STOP_NEED;
}

/* Entries written at a time, and how far ahead of that they are fetched */
#define HMM_BLOCK	8
#define HMM_AHEAD	64

/* @step must be a constant, or each store waits for an addition */
static __always_inline void __hmm_answer(unsigned long *entry, unsigned long nr,
					 unsigned long answer,
					 const unsigned long step, bool shared)
{
	int i;

	for (; nr >= HMM_BLOCK && !shared; nr -= HMM_BLOCK) {
		/* The old values are read, and are rarely in the first level cache */
		prefetchw(entry + HMM_AHEAD);
		unrolled_full
		for (i = 0; i < HMM_BLOCK; i++)
			hmm_set_entry(entry + i, answer + i * step, false);
		entry += HMM_BLOCK;
		answer += HMM_BLOCK * step;
	}
	for (; nr; nr--, entry++, answer += step)
		hmm_set_entry(entry, answer, shared);
}

/* Answers all pages of one leaf; @answer is that of the first page */
static void hmm_answer(struct hmm_walk *hw, unsigned long addr,
		       unsigned long end, unsigned long answer)
{
	unsigned long *entry = hmm_entry(hw->range, addr);
	unsigned long nr = (end - addr) >> PAGE_SHIFT;

	if (!hmm_is_answering(hw, addr))
		return;
	if (answer & HMM_PFN_VALID)
		__hmm_answer(entry, nr, answer, 1, hw->shared);
	else if (answer)
		__hmm_answer(entry, nr, answer, 0, hw->shared);
	else
		__hmm_answer(entry, nr, 0, 0, hw->shared);
}

/*
 * All pages of one entry get the same order and flags. The fault at the page where
 * the walk resumes may have installed an entry that begins before it: update those
 * pages as well. They asked for no more than what this entry gives, or the walk
 * would have stopped at them.
 */
static void hmm_answer_before(struct hmm_walk *hw, unsigned long addr,
			      unsigned long answer)
{
	unsigned long size = PAGE_SIZE << hmm_pfn_to_map_order(answer);
	unsigned long begin = max(ALIGN_DOWN(addr, size), hw->range->start);

	hmm_answer(hw, begin, addr, answer - ((addr - begin) >> PAGE_SHIFT));
}

/* The first page whose request @answer does not meet, or @end */
static unsigned long hmm_find_missing(const struct hmm_walk *hw,
				      unsigned long addr, unsigned long end,
				      unsigned long answer)
{
	if (!hw->each)
		return hw->request & ~answer ? addr : end;
	while (addr < end && !(hmm_request_at(hw, addr) & ~answer))
		addr += PAGE_SIZE;
	return addr;
}

/*
 * Called between parts of a long walk and between faults, with no lock held but
 * mmap_lock or that of a VMA
 */
static int hmm_cond_resched(void)
{
	cond_resched();
	return fatal_signal_pending(current) ? -EINTR : 0;
}

/* The same between parts of a walk; not needed before the first */
static int hmm_cond_resched_at(const struct hmm_walk *hw, unsigned long addr)
{
	return addr == hw->range->start ? 0 : hmm_cond_resched();
}

/* How much to answer between checks for signals: a few microseconds */
#define HMM_RESCHED_SIZE	(16384UL << PAGE_SHIFT)

/* Handles the pages from @addr to @end, which are all of one @leaf */
static int hmm_walk_leaf(struct hmm_walk *hw, struct vm_area_struct *vma,
			 unsigned long addr, unsigned long end,
			 struct hmm_leaf leaf)
{
	unsigned long next, missing;
	int ret;

	if ((leaf.answer & HMM_PFN_VALID) && hmm_is_answering(hw, addr))
		hmm_answer_before(hw, addr, leaf.answer);

	for (; addr < end; addr = next) {
		ret = hmm_cond_resched_at(hw, addr);
		if (ret)
			return ret;
		next = addr + min(end - addr, HMM_RESCHED_SIZE);
		missing = hmm_find_missing(hw, addr, next, leaf.answer);
		hmm_answer(hw, addr, missing, leaf.answer);
		if (missing < next)
			return hmm_stop_at(hw, vma, missing, leaf);
		hw->next = next;
		if (leaf.answer & HMM_PFN_VALID)
			leaf.answer += (next - addr) >> PAGE_SHIFT;
	}
	return 0;
}

/*
 * Handles the pages of one page table. Neither the table nor what it maps is
 * locked: the notifier is invoked for whatever changes. @each, @slow and, if
 * nothing is asked for, @request are constants, so that the loop for plain memory
 * has nothing in it that it does not need.
 */
static __always_inline int __hmm_walk_table(struct hmm_walk *hw,
					    struct vm_area_struct *vma,
					    pte_t *ptep, unsigned long addr,
					    unsigned long end,
					    unsigned long request,
					    const bool each, const bool slow)
{
	const bool slow_vma = slow && hmm_vma_needs_slow_path(vma);
	const bool answering = !slow || hmm_is_answering(hw, addr);
	unsigned long *entry = hmm_entry(hw->range, addr);
	struct hmm_leaf leaf;

	for (; addr < end; addr += PAGE_SIZE, ptep++, entry++) {
		leaf = hmm_leaf_pte(hw, vma, slow_vma, addr,
				    ptep_get_lockless(ptep));
		if (each)
			request = hmm_request(hw->range, READ_ONCE(*entry));
		if (unlikely((request & leaf.answer) != request))
			return hmm_stop_at(hw, vma, addr, leaf);
		if (answering)
			hmm_set_entry(entry, leaf.answer, slow && hw->shared);
	}
	hw->next = end;
	return 0;
}

static int hmm_walk_table(struct hmm_walk *hw, struct vm_area_struct *vma,
			  pte_t *ptep, unsigned long addr, unsigned long end)
{
	/* One slow variant for all calls, so it reads each request, as some must */
	if (hw->shared || !hmm_is_answering(hw, addr) ||
	    hmm_vma_needs_slow_path(vma))
		return __hmm_walk_table(hw, vma, ptep, addr, end, 0, true, true);
	if (hw->each)
		return __hmm_walk_table(hw, vma, ptep, addr, end, 0, true, false);
	if (hw->request)
		return __hmm_walk_table(hw, vma, ptep, addr, end, hw->request,
					false, false);
	return __hmm_walk_table(hw, vma, ptep, addr, end, 0, false, false);
}

/*
 * Callbacks of the walk. They are called with mmap_lock or the VMA's lock held, and
 * may sleep.
 */

/* No VMA, or no page table at whatever @depth */
static int hmm_pte_hole(unsigned long addr, unsigned long end, int depth,
			struct mm_walk *walk)
{
	return hmm_walk_leaf(walk->private, walk->vma, addr, end,
			     walk->vma ? hmm_leaf_none() :
					 hmm_leaf_refused(HMM_PFN_ERROR));
}

/* A PUD that is not none. A huge one is handled here, or pagewalk would split it. */
static int hmm_pud_entry(pud_t *pudp, unsigned long addr, unsigned long end,
			 struct mm_walk *walk)
{
	pud_t pud = pudp_get(pudp);

	if (!pud_trans_huge(pud))
		return 0;
	walk->action = ACTION_CONTINUE;
	return hmm_walk_leaf(walk->private, walk->vma, addr, end,
			     hmm_leaf_pud(walk->vma, addr, pud));
}

/* A PMD without a page table: huge, absent, or changing right now */
static int hmm_walk_pmd(pmd_t *pmdp, unsigned long addr, unsigned long end,
			struct mm_walk *walk)
{
	struct hmm_leaf leaf;
	pmd_t pmd;

	/* Keeps a device private page and its pgmap for hmm_leaf_softleaf() */
	rcu_read_lock();
	pmd = pmdp_get_lockless(pmdp);
	if (!pmd_none(pmd) && !pmd_present(pmd))
		leaf = hmm_leaf_softleaf(walk->private, walk->vma,
					 softleaf_from_pmd(pmd),
					 PMD_SHIFT - PAGE_SHIFT,
					 (addr & ~PMD_MASK) >> PAGE_SHIFT);
	else if (pmd_trans_huge(pmd))
		leaf = hmm_leaf_pmd(walk->vma, addr, pmd);
	else
		walk->action = ACTION_AGAIN;
	rcu_read_unlock();
	if (walk->action == ACTION_AGAIN)
		return 0;
	return hmm_walk_leaf(walk->private, walk->vma, addr, end, leaf);
}

/* A PMD that is not none */
static int hmm_pmd_entry(pmd_t *pmdp, unsigned long addr, unsigned long end,
			 struct mm_walk *walk)
{
	struct hmm_walk *hw = walk->private;
	pte_t *ptep;
	int ret;

	ret = hmm_cond_resched_at(hw, addr);
	if (ret)
		return ret;
	ptep = pte_offset_map(pmdp, addr);
	if (!ptep)
		return hmm_walk_pmd(pmdp, addr, end, walk);
	ret = hmm_walk_table(hw, walk->vma, ptep, addr, end);
	pte_unmap(ptep);
	if (ret == HMM_STOP_NEED) {
		hw->pmdp = pmdp;
		hw->table_end = end;
	}
	return ret;
}

/* A hugetlb entry, which may be none. The lock is only for reading all of it. */
static int hmm_hugetlb_entry(pte_t *ptep, unsigned long hmask,
			     unsigned long addr, unsigned long end,
			     struct mm_walk *walk)
{
	struct vm_area_struct *vma = walk->vma;
	struct hmm_walk *hw = walk->private;
	spinlock_t *ptl;
	pte_t pte;

	ptl = huge_pte_lock(hstate_vma(vma), walk->mm, ptep);
	pte = huge_ptep_get(walk->mm, addr & hmask, ptep);
	spin_unlock(ptl);
	return hmm_walk_leaf(hw, vma, addr, end,
			     hmm_leaf_hugetlb(hw, vma, addr, pte));
}

/* A VMA that is not for devices */
static int hmm_walk_refused(struct hmm_walk *hw, struct vm_area_struct *vma,
			    unsigned long addr, unsigned long end)
{
	return hmm_walk_leaf(hw, vma, addr, end,
			     hmm_leaf_refused(HMM_PFN_ERROR));
}

/* Called for a VMA before any of its entries */
static int hmm_test_walk(unsigned long addr, unsigned long end,
			 struct mm_walk *walk)
{
	int ret;

	if (hmm_vma_is_accessible(walk->vma))
		return 0;
	ret = hmm_walk_refused(walk->private, walk->vma, addr, end);
	return ret ?: 1;
}

#define HMM_WALK_OPS(lock)						\
	{								\
		.pud_entry = PTR_IF(IS_ENABLED(				\
			CONFIG_HAVE_ARCH_TRANSPARENT_HUGEPAGE_PUD),	\
				    hmm_pud_entry),			\
		.pmd_entry = hmm_pmd_entry,				\
		.pte_hole = hmm_pte_hole,				\
		.hugetlb_entry = PTR_IF(IS_ENABLED(CONFIG_HUGETLB_PAGE), \
					hmm_hugetlb_entry),		\
		.test_walk = hmm_test_walk,				\
		.walk_lock = lock,					\
	}

static const struct mm_walk_ops hmm_walk_ops = HMM_WALK_OPS(PGWALK_RDLOCK);
static const struct mm_walk_ops hmm_walk_vma_ops =
	HMM_WALK_OPS(PGWALK_VMA_RDLOCK_VERIFY);

/* Walking and faulting in turn */

/*
 * Resumes in the page table where the fault was. To walk from the top for each
 * page would cost a sixth of a page fault.
 */
static int hmm_resume_table(struct hmm_walk *hw)
{
	pmd_t *pmdp = hw->pmdp;
	pte_t *ptep;
	int ret;

	hw->pmdp = NULL;
	ptep = pte_offset_map(pmdp, hw->next);
	if (!ptep)
		return 0;
	ret = hmm_walk_table(hw, hw->vma, ptep, hw->next, hw->table_end);
	pte_unmap(ptep);
	if (ret == HMM_STOP_NEED)
		hw->pmdp = pmdp;
	return ret;
}

/*
 * Walks from the top. Most ranges lie in one VMA: look it up once then, which
 * walk_page_range() would do twice, at a sixth of the time for one page.
 */
static int hmm_walk_range(struct hmm_walk *hw)
{
	const struct mm_walk_ops *ops = hw->locked ? &hmm_walk_vma_ops :
						     &hmm_walk_ops;
	struct mm_struct *mm = hw->range->notifier->mm;
	struct vm_area_struct *vma = hw->locked ?: vma_lookup(mm, hw->next);

	if (!vma || hw->end > vma->vm_end)
		return walk_page_range(mm, hw->next, hw->end, ops, hw);
	if (!hmm_vma_is_accessible(vma))
		return hmm_walk_refused(hw, vma, hw->next, hw->end);
	return walk_page_range_vma(vma, hw->next, hw->end, ops, hw);
}

/* Returns 0 at hw->end, HMM_STOP_NEED at a page to fault, or an error */
static int hmm_walk(struct hmm_walk *hw)
{
	int ret = 0;

	if (hw->pmdp)
		ret = hmm_resume_table(hw);
	if (ret || hw->next == hw->end)
		return ret;
	return hmm_walk_range(hw);
}

static bool hmm_is_invalidated(const struct hmm_walk *hw)
{
	return mmu_interval_check_retry(hw->range->notifier,
					hw->range->notifier_seq);
}

/* A page may have to be migrated back, lose a NUMA hint, be copied and be dirtied */
#define HMM_MAX_TRIES	4

/*
 * Should the page at hw->next be left to the next call? Its faults succeed and do
 * not map it: a driver leaves it in device memory, or somebody else takes it away
 * each time.
 */
static bool hmm_gives_up_page(struct hmm_walk *hw)
{
	if (hw->faulted != hw->next) {
		hw->faulted = hw->next;
		hw->tries = 0;
	}
	return hw->tries++ >= HMM_MAX_TRIES;
}

/* Faults the page at hw->next. Returns 0, HMM_STOP_UNLOCKED or an error. */
static int hmm_fault(struct hmm_walk *hw)
{
	unsigned int flags = hw->fault_flags;
	bool vma_locked = hw->locked;
	vm_fault_t fault;

	if (WARN_ON_ONCE(!hw->need))
		return -EINVAL;
	if (hw->need & HMM_PFN_REQ_WRITE)
		flags |= FAULT_FLAG_WRITE;
	if (vma_locked)
		flags |= FAULT_FLAG_VMA_LOCK;
	hw->need = 0;

	hmm_trace_fault_begin(&hw->trace);
	fault = handle_mm_fault(hw->vma, hw->next, flags, NULL);
	hmm_trace_fault_end(&hw->trace, hw->range, hw->next, flags, fault);
	/* With a VMA's lock, this may just mean that the handler needs mmap_lock */
	if ((fault & VM_FAULT_RETRY) && (!vma_locked || (fault & VM_FAULT_MAJOR)))
		hw->fault_flags |= FAULT_FLAG_TRIED;
	else
		hw->fault_flags &= ~FAULT_FLAG_TRIED;
	if (fault & (VM_FAULT_RETRY | VM_FAULT_COMPLETED)) {
		hw->needs_mmap_lock = fault & VM_FAULT_RETRY;
		return HMM_STOP_UNLOCKED;
	}
	if (fault & VM_FAULT_ERROR)
		return vm_fault_to_errno(fault, 0);
	return 0;
}

/*
 * Copying a page or migrating it back invokes the notifier. If the call returned
 * -EBUSY at once, each call would advance by one page only. So fault whatever else is
 * requested first, but do not answer it. The same goes for a page that is given up.
 */
static int hmm_fault_or_give_up(struct hmm_walk *hw)
{
	bool answering = hmm_is_answering(hw, hw->next);
	int ret;

	if (answering && hmm_is_invalidated(hw))
		return -EBUSY;
	if (hmm_gives_up_page(hw)) {
		hw->answers_end = min(hw->answers_end, hw->next);
		hw->next += PAGE_SIZE;
		return 0;
	}
	ret = hmm_fault(hw);
	/* Report a failed fault at once: it would fail, and invoke the notifier, again */
	if (ret >= 0 && answering && hmm_is_invalidated(hw))
		hw->answers_end = hw->next;
	/* It dropped the lock to wait, perhaps for userfaultfd, and may do so again */
	else if (ret == HMM_STOP_UNLOCKED && answering)
		hw->tries = 0;
	return ret;
}

/*
 * Is a writer waiting for the VMA lock that we hold, perhaps to map memory next to
 * it? It holds mmap_lock, so everybody else waits for it.
 */
static bool hmm_vma_is_contended(const struct hmm_walk *hw)
{
#ifdef CONFIG_PER_VMA_LOCK
	return hw->locked && (refcount_read(&hw->locked->vm_refcnt) &
			      VM_REFCNT_EXCLUDE_READERS_FLAG);
#else
	return false;
#endif
}

/*
 * Walks and faults in turn until all pages up to hw->end are answered. Each fault is
 * followed by a look at what it mapped, as that may be more than one page.
 *
 * Return: 0 at the end of the range, HMM_STOP_PART before that, HMM_STOP_UNLOCKED or
 * an error. Pages before both hw->next and hw->answers_end have an answer.
 */
static int hmm_walk_and_fault(struct hmm_walk *hw)
{
	int ret;

	if (hmm_is_answering(hw, hw->next) && hmm_is_invalidated(hw))
		return -EBUSY;
	do {
		ret = hmm_walk(hw);
		if (ret != HMM_STOP_NEED)
			break;
		ret = hmm_cond_resched() ?: hmm_fault_or_give_up(hw);
		if (!ret && hmm_vma_is_contended(hw))
			ret = HMM_STOP_PART;
	} while (!ret);
	if (!ret && hw->end < hw->range->end)
		ret = HMM_STOP_PART;

	/* The error of a page is left to the call that has answers for all before it */
	if (hw->answers_end == hw->range->end || ret > 0 || ret == -EINTR)
		return ret;
	return -EBUSY;
}

/* Entry points */

static bool hmm_range_is_sane(const struct hmm_range *range)
{
	const struct mmu_interval_notifier *notifier = range->notifier;

	if (WARN_ON_ONCE(!notifier || !range->hmm_pfns))
		return false;
	return PAGE_ALIGNED(range->start) && PAGE_ALIGNED(range->end) &&
	       range->start < range->end &&
	       range->start >= notifier->interval_tree.start &&
	       range->end - 1 <= notifier->interval_tree.last;
}

static __always_inline struct hmm_walk hmm_walk_begin(struct hmm_range *range,
						      unsigned int fault_flags)
{
	return (struct hmm_walk) {
		.range = range,
		.each = hmm_asks_each(range),
		.request = hmm_request(range, 0),
		.next = range->start,
		.end = range->end,
		.answers_end = range->end,
		.shared = hmm_dma_in_use(),
		.fault_flags = FAULT_FLAG_REMOTE | fault_flags,
		.faulted = range->end,
	};
}

/**
 * hmm_range_fault() - what a device may access of a process's memory
 * @range: what is asked for, and where the answers go
 *
 * Reads the page tables of @range->notifier->mm from @range->start to @range->end
 * and writes an answer for each page into @range->hmm_pfns. Pages that are asked
 * for and are not mapped as requested are faulted; pages that are not asked for are
 * left as they are. No page is pinned: mmu_interval_read_retry() tells whether the
 * answers are still valid, and the notifier when they no longer are. See
 * Documentation/mm/hmm.rst.
 *
 * Before the call, set @range->notifier_seq to what mmu_interval_read_begin()
 * returned. After it, take the lock under which the notifier calls
 * mmu_interval_set_seq(), and use the answers if mmu_interval_read_retry() is
 * false; otherwise start again.
 *
 * What a device writes to a page answered with HMM_PFN_WRITE is not lost even if
 * the driver does not mark the page dirty: the CPU's entry is dirty already, and
 * whoever cleans it invokes the notifier.
 *
 * Context: Process context. The caller holds the mmap_lock of the mm for reading
 * or writing, and a reference that keeps the mm's users from going to 0. The lock
 * is not dropped, so memory whose fault handler must drop it (userfaultfd for
 * one) cannot be faulted: hmm_range_fault_unlocked_timeout() is for that.
 *
 * Return: 0 if all entries hold answers. Otherwise entries before the page that
 * failed hold answers, and all others what they held before:
 *
 * * -EINVAL: @range is empty, not page aligned or exceeds the notifier's interval;
 *   or, with a warning, it has no notifier or no array, or mmap_lock is not held.
 *   This is a bug in the driver. Nothing was touched.
 * * -EBUSY: the notifier was invoked. Drop mmap_lock and call again with a new
 *   sequence. If page faults of this call invoked it, by copying a page or migrating
 *   one back, all pages asked for have been faulted in by now, and the next call
 *   will not fail for that reason. Or a page was faulted several times without
 *   error and was still not mapped as requested: a driver leaves it in device
 *   memory, perhaps because the caller holds its locks. Call again without them.
 * * -EFAULT: a page was asked for that no device can have: there is no VMA, or one
 *   that is not readable, VM_IO or VM_PFNMAP; secret memory, a special mapping, a
 *   guard region, or poisoned memory; or the fault failed. Fail the access: another
 *   call will not succeed.
 * * -EPERM: write access was asked for, and the VMA does not allow it. Fail the
 *   access.
 * * -ENOMEM: the fault found no memory.
 * * -EINTR: the caller is being killed. Give up.
 */
int hmm_range_fault(struct hmm_range *range)
{
	struct hmm_walk hw = hmm_walk_begin(range, 0);
	int ret;

	if (!hmm_range_is_sane(range) ||
	    WARN_ON_ONCE(!rwsem_is_locked(&range->notifier->mm->mmap_lock)))
		return -EINVAL;
	/* With lockdep, check that we are the one who holds it */
	mmap_assert_locked(range->notifier->mm);

	hmm_trace_begin(&hw.trace, range, false);
	ret = hmm_walk_and_fault(&hw);
	hmm_trace_end(&hw.trace, range, hw.next, hw.answers_end, ret);
	hmm_stat_call(hw.trace.faults);
	/* Without FAULT_FLAG_ALLOW_RETRY no fault may drop the lock */
	return WARN_ON_ONCE(ret > 0) ? -EFAULT : ret;
}
EXPORT_SYMBOL(hmm_range_fault);

/*
 * How far the walk goes with the lock that is held. With mmap_lock, that is to the
 * next VMA, or to the end of the page table in which it was needed.
 */
static unsigned long hmm_part_end(const struct hmm_walk *hw)
{
	unsigned long end = hw->range->end;
	struct vm_area_struct *vma = hw->locked;

	if (vma)
		return min(end, vma->vm_end);
	if (!IS_ENABLED(CONFIG_PER_VMA_LOCK))
		return end;
	vma = find_vma(hw->range->notifier->mm, hw->next);
	if (!vma)
		return end;
	if (hw->next < vma->vm_start)
		return min(end, vma->vm_start);
	return min3(end, vma->vm_end, ALIGN(hw->next + 1, PMD_SIZE));
}

/*
 * One attempt at the pages from hw->next on: all of one VMA with its lock, or, if
 * that cannot be had or does not do, a part of the range with mmap_lock.
 *
 * Return: 0; HMM_STOP_UNLOCKED or HMM_STOP_PART, which are progress; or an error. No
 * lock is held on return.
 */
static int hmm_attempt(struct hmm_walk *hw)
{
	struct mm_struct *mm = hw->range->notifier->mm;
	struct vm_area_struct *vma = NULL;
	int ret;

	ret = hmm_cond_resched();
	if (ret)
		return ret;
	/* Fails if there is no VMA, or if it is being changed */
	if (!hw->needs_mmap_lock)
		vma = lock_vma_under_rcu(mm, hw->next);
	if (!vma) {
		ret = mmap_read_lock_killable(mm);
		if (ret)
			return ret;
	}
	hw->locked = vma;
	hw->needs_mmap_lock = false;
	hw->end = hmm_part_end(hw);
	hw->pmdp = NULL;
	ret = check_stable_address_space(mm) ? -EFAULT : hmm_walk_and_fault(hw);
	if (ret == HMM_STOP_UNLOCKED)
		return ret;
	if (vma)
		vma_end_read(vma);
	else
		mmap_read_unlock(mm);
	return ret;
}

/*
 * Restores the caller's entries before starting over. @inputs is what they contained,
 * or NULL if requests are not read from there.
 */
static void hmm_start_over(struct hmm_walk *hw, const unsigned long *inputs)
{
	struct hmm_range *range = hw->range;
	unsigned long *entry = range->hmm_pfns;
	unsigned long *end = hmm_entry(range, min(hw->next, hw->answers_end));

	for (; entry < end; entry++)
		hmm_set_entry(entry, inputs ? *inputs++ & ~HMM_PFN_STICKY : 0,
			      hw->shared);
	hw->next = range->start;
	hw->answers_end = range->end;
	hw->faulted = range->end;
}

/* How many attempts after one whose own faults invoked the notifier are not timed */
#define HMM_UNTIMED_ATTEMPTS	2

/*
 * Makes attempts until one succeeds or fails, or until others have invoked the
 * notifier for @timeout jiffies. After an attempt whose own faults did, the next one
 * has only pages to fault that were taken away again. Only the first of these do not
 * count for @timeout: others may have invoked the notifier during a fault as well.
 */
static int hmm_attempts(struct hmm_walk *hw, const unsigned long *inputs,
			unsigned long timeout)
{
	struct hmm_range *range = hw->range;
	unsigned long since, spent = 0;
	unsigned int untimed = HMM_UNTIMED_ATTEMPTS;
	bool counts = false;
	int ret;

	for (;;) {
		since = jiffies;
		range->notifier_seq = mmu_interval_read_begin(range->notifier);
		while ((ret = hmm_attempt(hw)) > 0) {
			if (ret == HMM_STOP_UNLOCKED)
				since = jiffies;
		}
		if (ret != -EBUSY)
			return ret;
		if (counts)
			spent += jiffies - since;
		if (timeout && spent >= timeout)
			return ret;
		counts = hw->answers_end == range->end || !untimed;
		if (!counts)
			untimed--;
		hmm_trace_busy(&hw->trace, hw->answers_end < range->end);
		hmm_start_over(hw, inputs);
	}
}

/**
 * hmm_range_fault_unlocked_timeout() - hmm_range_fault() that takes the locks
 * @range: what is asked for, and where the answers go
 * @timeout: how long to retry while others keep invoking the notifier, in jiffies;
 *	0 to retry until the call succeeds, fails, or the caller is killed
 *
 * Does what hmm_range_fault() does, and retries with a new @range->notifier_seq
 * if the notifier was invoked. Each VMA is walked and faulted with the VMA's own
 * lock, as the CPU's page faults are, so that the call and those who map or unmap
 * other memory do not wait for each other. mmap_lock is taken only to report that
 * there is no VMA, if the VMA is being changed, and for faults that need it. A fault
 * may drop the lock; the call then resumes at the same page unless the notifier was
 * invoked.
 *
 * Only retries count for @timeout. The first attempt does not, nor an attempt that
 * ended in a fault that dropped the lock, nor up to two attempts that follow on page
 * faults of this call having invoked the notifier.
 *
 * Context: Process context. The caller holds a reference that keeps the mm's users
 * from going to 0, but neither the mmap_lock of the mm, nor the lock of one of its
 * VMAs, nor a lock that its notifier takes.
 *
 * Return: as hmm_range_fault(), with the same entries on return, but:
 *
 * * -EBUSY: the notifier kept being invoked for @timeout. Let other work proceed,
 *   then call again.
 * * -ENOMEM: also if there is no memory for a copy of @range->hmm_pfns, which is
 *   needed to start over. Nothing was touched.
 * * -EFAULT: also if the mm is being reaped by the OOM killer.
 *
 * If @range->pfn_flags_mask is such that entries are not read as requests, no copy
 * of them is made. After an error, entries from the page that failed on may then be
 * 0 instead of what the caller put there, if an earlier attempt had answered them.
 */
int hmm_range_fault_unlocked_timeout(struct hmm_range *range,
				     unsigned long timeout)
{
	struct hmm_walk hw = hmm_walk_begin(range, FAULT_FLAG_ALLOW_RETRY |
						   FAULT_FLAG_KILLABLE);
	unsigned long *inputs = NULL;
	int ret;

	if (!hmm_range_is_sane(range))
		return -EINVAL;
	hmm_trace_begin(&hw.trace, range, true);
	if (hw.each)
		inputs = kvmemdup(range->hmm_pfns,
				  ((range->end - range->start) >> PAGE_SHIFT) *
				  sizeof(*inputs), GFP_KERNEL | __GFP_NOWARN);
	ret = hw.each && !inputs ? -ENOMEM : hmm_attempts(&hw, inputs, timeout);
	hmm_trace_end(&hw.trace, range, hw.next, hw.answers_end, ret);
	hmm_stat_call(hw.trace.faults);
	kvfree(inputs);
	return ret;
}
EXPORT_SYMBOL(hmm_range_fault_unlocked_timeout);
