/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The state of the world, for the code that creates it and the checks: mm/hmm.c does
 * not see it.
 */
#ifndef HMM_USER_STATE_H
#define HMM_USER_STATE_H

#include "world.h"
#include <linux/hmm.h>
#include <linux/hmm-dma.h>

#define REQ_READ	HMM_PFN_REQ_FAULT
#define REQ_WRITE	(HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE)

#define WORLD_VMAS	2
#ifndef WORLD_SEEN
#define WORLD_SEEN	20
#endif

/**
 * struct meaning - what a page is to the caller, by the contract
 * @answer: what the call must answer
 * @refused: asking for more than @answer is -EFAULT
 */
struct meaning {
	unsigned long answer;
	bool refused;
};

/**
 * struct world - the whole state
 * @seen: what each page has meant since the sequence was last read
 * @sticky: the driver's bits, as the driver and other threads have left them
 * @inputs: entries as passed by the caller
 * @others: what others may still do
 * @twists: how many page faults may still end without success
 * @twisted: one has
 * @taker: page that others take away after each fault, or WORLD_PAGES
 * @stuck: page whose faults succeed and map nothing, or WORLD_PAGES
 * @for_mmap_lock: there is a reason to take mmap_lock: a VMA could not be locked,
 *	or a fault of page @retried_page needs it
 * @for_hole: there was no VMA to be locked
 * @others_notified: others have called the notifier
 * @own_notified: a page fault of the call has called it
 * @others_changed: others have changed entries, or mappings
 * @did_not_come: all faults of a page changed nothing, as far as the call can see
 * @tracing: the begin of a call was traced, but not its end; there had been
 *	@faults_before page faults
 * @failed: errno of the last page fault that failed, of page @failed_page
 * @must_tell: when it did, nothing else kept the call from succeeding
 */
struct world {
	struct mm_struct mm;
	struct vm_area_struct vma[WORLD_VMAS];
	unsigned int nr_vmas;
	struct mmu_interval_notifier notifier;
	unsigned long seq;
	pud_t pud[WORLD_NR_PUDS];
	pmd_t pmd[WORLD_PMDS];
	pte_t pte[WORLD_PAGES];
	pte_t huge[WORLD_PMDS];
	bool huge_there[WORLD_PMDS];

	struct hmm_range *range;
	void *owner;
	struct meaning seen[WORLD_PAGES][WORLD_SEEN];
	unsigned int nr_seen[WORLD_PAGES];
	unsigned long sticky[WORLD_PAGES];
	unsigned long inputs[WORLD_PAGES];

	int rcu;
	unsigned long rcu_section;
	unsigned long entry_section;
	spinlock_t ptl;
	bool killed;
	unsigned int attempts_killed;
	bool reaped;
	bool allocation_failed;
	int allocated;
	unsigned int warnings;

	bool busy;
	unsigned int others;
	unsigned int twists;
	bool twisted;
	unsigned int taker;
	unsigned int stuck;
	bool for_mmap_lock;
	bool for_hole;
	unsigned int retried_page;
	bool others_notified;
	bool own_notified;
	bool others_changed;
	bool mappings_changed;
	unsigned int faults;
	unsigned int faults_here;
	unsigned int last_faulted;
	bool did_not_come;
	unsigned int looks;
	unsigned int attempts;
	bool retried;
	bool tracing;
	unsigned int faults_before;
	int failed;
	bool must_tell;
	unsigned int failed_page;
};

extern struct world w;

static inline unsigned int world_page(unsigned long addr)
{
	return (addr - WORLD_START) >> PAGE_SHIFT;
}

static inline unsigned long world_addr(unsigned int page)
{
	return WORLD_START + ((unsigned long)page << PAGE_SHIFT);
}

/**
 * struct shape - the layout of a world
 * @first: page of the range
 * @nr: pages in the range
 * @vma_end: end of the first VMA
 * @vma_next: begin of the second one, which ends with the world; there is none if
 *	the first one ends there
 * @unlocked: which of the two calls it is
 * @bare: nothing is mapped outside of the range
 * @few: do not vary what does not affect answers: the sticky bits are set, and
 *	checked; the interval covers everything; the mm is not reaped
 */
struct shape {
	unsigned int first;
	unsigned int nr;
	unsigned int vma_end;
	unsigned int vma_next;
	bool unlocked;
	bool bare;
	bool few;
};

/**
 * struct bounds - limits of a world
 * @shape: NULL for any
 * @others: the most that others do meanwhile
 * @twists: the most page faults that end without success
 */
struct bounds {
	const struct shape *shape;
	unsigned int others;
	unsigned int twists;
};

void world_begin(void);
void world_build(const struct shape *shape);
void world_remember(unsigned int first, unsigned int nr);
void world_remember_anew(void);
void world_unlocked(void);
struct vm_area_struct *world_vma(unsigned int page);

/* oracle.c: the promises */
struct meaning oracle_meaning(unsigned int page);
bool oracle_is_accessible(const struct vm_area_struct *vma);
bool oracle_is_writable(const struct vm_area_struct *vma);
unsigned long oracle_request(const struct hmm_range *range, unsigned long entry);
void oracle_fault(struct vm_area_struct *vma, unsigned int page,
		  unsigned int flags);
void oracle_returned(const struct hmm_range *range, int ret, bool unlocked,
		     unsigned long timeout);

/* scenario.c: a world and a call, from choices */
void scenario(const struct bounds *b);

/* dma_scenario.c: a region and its uses */
void scenario_dma(const struct bounds *b);

#endif /* HMM_USER_STATE_H */
