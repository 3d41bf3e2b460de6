// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The world: page tables and their changes, page faults, locks.  See world.h.
 */
#include "state.h"

struct world w;
struct page world_memory[WORLD_PFNS];
struct hstate world_hstate;
char world_owner;
unsigned long jiffies;

/* Locks, RCU, sleeping */

static void may_sleep(void)
{
	promise(!w.rcu, "lock: nothing sleeps in an RCU section");
	promise(!w.ptl.held, "lock: nothing sleeps under a spinlock");
}

void rcu_read_lock(void)
{
	if (!w.rcu++)
		w.rcu_section++;
}

void rcu_read_unlock(void)
{
	promise(w.rcu > 0, "lock: only an RCU section that has begun ends");
	w.rcu--;
}

void cond_resched(void)
{
	may_sleep();
}

bool fatal_signal_pending(void *task)
{
	return w.killed;
}

bool world_warn(bool cond)
{
	if (cond)
		w.warnings++;
	return cond;
}

static bool vma_is_locked(void)
{
	unsigned int i;

	for (i = 0; i < WORLD_VMAS; i++)
		if (w.vma[i].vm_refcnt)
			return true;
	return false;
}

static bool nothing_is_locked(void)
{
	return !w.mm.mmap_lock.readers && !vma_is_locked();
}

void mmap_assert_locked(struct mm_struct *mm)
{
	promise(mm->mmap_lock.readers > 0, "lock: mmap_lock is held");
}

int mmap_read_lock_killable(struct mm_struct *mm)
{
	may_sleep();
	promise(nothing_is_locked(), "lock: mmap_lock is taken with no lock held");
	promise(w.for_mmap_lock, "lock: mmap_lock is not taken without need");
	w.for_mmap_lock = false;
	world_others();
	jiffies++;
	if (w.killed && choose(2))
		return -EINTR;
	mm->mmap_lock.readers++;
	return 0;
}

/* Not used: a task that waits here cannot be killed */
void mmap_read_lock(struct mm_struct *mm)
{
	promise(false, "killed: a task that waits for mmap_lock can be killed");
	mm->mmap_lock.readers++;
}

void mmap_read_unlock(struct mm_struct *mm)
{
	promise(mm->mmap_lock.readers > 0, "lock: mmap_lock is released once");
	mm->mmap_lock.readers--;
}

void world_unlocked(void)
{
	promise(!vma_is_locked(), "lock: no VMA is left locked");
}

struct vm_area_struct *lock_vma_under_rcu(struct mm_struct *mm, unsigned long addr)
{
	struct vm_area_struct *vma;

	promise(nothing_is_locked(), "lock: a VMA is locked with no other lock held");
	world_others();
	vma = choose(2) ? NULL : world_vma(world_page(addr));
	w.for_mmap_lock |= !vma;
	w.for_hole = !world_vma(world_page(addr));
	if (vma)
		vma->vm_refcnt++;
	return vma;
}

void vma_end_read(struct vm_area_struct *vma)
{
	promise(vma->vm_refcnt > 0, "lock: only a locked VMA is unlocked");
	vma->vm_refcnt--;
	/* Who waited has changed it by the time that it can be locked again */
	vma->vm_refcnt &= ~VM_REFCNT_EXCLUDE_READERS_FLAG;
}

bool check_stable_address_space(struct mm_struct *mm)
{
	return w.reaped;
}

/* Kernel memory */

void *kvcalloc(size_t nr, size_t size, gfp_t gfp)
{
	void *memory = NULL;

	may_sleep();
	if (!w.twists || choose(2))
		memory = calloc(nr, size);
	else
		w.twists--;
	if (memory)
		w.allocated++;
	else
		w.allocation_failed = true;
	return memory;
}

void *kvmemdup(const void *src, size_t len, gfp_t gfp)
{
	void *memory = kvcalloc(1, len, gfp);

	if (memory)
		memcpy(memory, src, len);
	return memory;
}

void kvfree(void *memory)
{
	if (memory)
		w.allocated--;
	free(memory);
}

/* The notifier, and the driver's callback, which clears its bits in the entries */

static bool world_watches(unsigned int first, unsigned int nr)
{
	return world_addr(first) <= w.notifier.interval_tree.last &&
	       world_addr(first + nr) > w.notifier.interval_tree.start;
}

static void world_notify(unsigned int first, unsigned int nr, bool own)
{
	const struct hmm_range *range = w.range;
	unsigned int page;

	if (!world_watches(first, nr))
		return;
	w.seq++;
	if (own)
		w.own_notified = true;
	else
		w.others_notified = true;
	if (!range || !hmm_dma_in_use())
		return;
	for (page = first; page < first + nr; page++) {
		if (world_addr(page) < range->start || world_addr(page) >= range->end)
			continue;
		range->hmm_pfns[page - world_page(range->start)] &= ~HMM_PFN_STICKY;
		w.sticky[page] = 0;
	}
}

unsigned long mmu_interval_read_begin(struct mmu_interval_notifier *notifier)
{
	may_sleep();
	promise(nothing_is_locked(), "lock: a sequence begins with no lock held");
	w.attempts++;
	w.last_faulted = WORLD_PAGES;
	w.retried_page = WORLD_PAGES;
	/* It notices this afterwards, as it does when it goes to sleep */
	promise(!w.killed || !w.attempts_killed++, "killed: no more attempts once killed");
	world_others();
	world_remember_anew();
	return w.seq;
}

bool mmu_interval_check_retry(struct mmu_interval_notifier *notifier,
			      unsigned long seq)
{
	return seq != w.seq;
}

/* VMAs */

struct vm_area_struct *world_vma(unsigned int page)
{
	unsigned int i;

	for (i = 0; i < WORLD_VMAS; i++)
		if (i < w.nr_vmas && w.vma[i].vm_start <= world_addr(page) &&
		    world_addr(page) < w.vma[i].vm_end)
			return &w.vma[i];
	return NULL;
}

struct vm_area_struct *vma_lookup(struct mm_struct *mm, unsigned long addr)
{
	mmap_assert_locked(mm);
	return world_vma(world_page(addr));
}

struct vm_area_struct *find_vma(struct mm_struct *mm, unsigned long addr)
{
	unsigned int page;

	mmap_assert_locked(mm);
	for (page = world_page(addr); page < WORLD_PAGES; page++)
		if (world_vma(page))
			return world_vma(page);
	return NULL;
}

/* Entries */

static unsigned int pmd_of(unsigned int page)
{
	return page >> WORLD_PTE_BITS;
}

static unsigned int pud_of(unsigned int page)
{
	return page >> (WORLD_PTE_BITS + WORLD_PMD_BITS);
}

static unsigned int pmd_begin(unsigned int page)
{
	return page & ~(PTRS_PER_PTE - 1);
}

static unsigned int pud_begin(unsigned int page)
{
	return page & ~(PTRS_PER_PTE * PTRS_PER_PMD - 1);
}

static void world_looked(void)
{
	w.looks++;
	w.entry_section = w.rcu || w.ptl.held ? w.rcu_section : 0;
}

pte_t ptep_get_lockless(pte_t *ptep)
{
	promise(w.rcu > 0, "lock: a page table is only read while it is mapped");
	world_others();
	world_looked();
	return *ptep;
}

pmd_t pmdp_get_lockless(pmd_t *pmdp)
{
	world_others();
	world_looked();
	return *pmdp;
}

pud_t pudp_get(pud_t *pudp)
{
	world_others();
	world_looked();
	return *pudp;
}

pte_t *pte_offset_map(pmd_t *pmdp, unsigned long addr)
{
	unsigned int page;

	world_others();
	if (pmdp->e.kind != TABLE)
		return NULL;
	rcu_read_lock();
	page = (pmdp - w.pmd) * PTRS_PER_PTE +
	       ((addr >> PAGE_SHIFT) & (PTRS_PER_PTE - 1));
	return &w.pte[page];
}

void pte_unmap(pte_t *ptep)
{
	rcu_read_unlock();
}

spinlock_t *huge_pte_lock(struct hstate *h, struct mm_struct *mm, pte_t *ptep)
{
	world_others();
	promise(!w.ptl.held, "lock: a page table lock is not taken twice");
	w.ptl.held = true;
	return &w.ptl;
}

void spin_unlock(spinlock_t *ptl)
{
	promise(ptl->held, "lock: a lock is released that is held");
	ptl->held = false;
}

pte_t huge_ptep_get(struct mm_struct *mm, unsigned long addr, pte_t *ptep)
{
	promise(w.ptl.held, "lock: a hugetlb entry is looked at under its lock");
	promise(!(addr & ~PMD_MASK), "walk: the address of a hugetlb entry is its own");
	world_looked();
	return *ptep;
}

struct page *world_normal_page(struct entry e)
{
	return e.special || e.pfn == PFN_ZERO ? NULL : pfn_to_page(e.pfn);
}

bool device_page_owned_by(struct page *page, const void *owner)
{
	unsigned long pfn = page - world_memory;

	promise(w.rcu || w.ptl.held, "lock: device memory is looked into under RCU");
	promise(w.entry_section == w.rcu_section,
		"lock: and its entry was read under the same RCU section");
	return owner == &world_owner && pfn >= PFN_OWN && pfn < PFN_FOREIGN;
}

void world_remember(unsigned int first, unsigned int nr)
{
	struct meaning now, *last;
	unsigned int page;

	for (page = first; page < first + nr; page++) {
		if (w.range && (world_addr(page) < w.range->start ||
				world_addr(page) >= w.range->end))
			continue;
		now = oracle_meaning(page);
		if (w.nr_seen[page]) {
			last = &w.seen[page][w.nr_seen[page] - 1];
			if (last->answer == now.answer && last->refused == now.refused)
				continue;
		}
		promise(w.nr_seen[page] < WORLD_SEEN, "world: memory of all changes");
		w.seen[page][w.nr_seen[page]++] = now;
	}
}

void world_remember_anew(void)
{
	unsigned int page;

	for (page = 0; page < WORLD_PAGES; page++)
		w.nr_seen[page] = 0;
	world_remember(0, WORLD_PAGES);
}

/* Frames have four generations, each as large as the world, so that each page has its own */
static unsigned int new_pfn(unsigned int page, unsigned int old)
{
	unsigned int generation = 0;

	if (old >= PFN_SYSTEM && old < PFN_OWN)
		generation = ((old - PFN_SYSTEM) / WORLD_PAGES + 1) % 4;
	return PFN_SYSTEM + generation * WORLD_PAGES + page;
}

static struct entry entry_present(unsigned int pfn, bool write, bool dirty)
{
	return (struct entry){
		.kind = PRESENT, .write = write, .dirty = dirty, .pfn = pfn,
	};
}

static bool vma_may_write(const struct vm_area_struct *vma)
{
	return vma->vm_flags & VM_WRITE;
}

/* Creates an entry of any kind that its level and VMA allow */
enum level { LEVEL_PTE, LEVEL_PMD, LEVEL_PUD, LEVEL_HUGETLB };

static unsigned int any_kind(enum level level)
{
	/* A table first, as it leads to more entries */
	static const unsigned char pmd[] = {
		TABLE, NONE, PRESENT, MIGRATION, DEVICE_PRIVATE,
	};
	static const unsigned char pud[] = { TABLE, NONE, PRESENT };
	static const unsigned char hugetlb[] = {
		NONE, PRESENT, MIGRATION, HWPOISON, MARKER_POISON, MARKER_UFFD_WP,
	};
	static const unsigned char pte[] = {
		NONE, PRESENT, MIGRATION, DEVICE_PRIVATE, SWAP, HWPOISON,
		MARKER_POISON, MARKER_UFFD_WP, MARKER_GUARD, DEVICE_EXCLUSIVE,
	};

	switch (level) {
	case LEVEL_PTE:
		return pte[choose(ARRAY_SIZE(pte))];
	case LEVEL_PMD:
		return pmd[choose_mostly(ARRAY_SIZE(pmd))];
	case LEVEL_PUD:
		return pud[choose_mostly(ARRAY_SIZE(pud))];
	default:
		return hugetlb[choose(ARRAY_SIZE(hugetlb))];
	}
}

static struct entry any_present(enum level level, unsigned int page,
				const struct vm_area_struct *vma)
{
	struct entry e = entry_present(new_pfn(page, 0), false, choose(2));

	switch (choose(level <= LEVEL_PMD ? 4 : 2)) {
	case 0:
		break;
	case 1:
		e.write = vma_may_write(vma);
		break;
	case 2:
		e.pfn = PFN_ZERO;
		break;
	case 3:
		e.special = true;
		break;
	}
	if (level == LEVEL_PUD)
		e.special = choose(2);
	else if (!e.special)
		e.protnone = choose(2);
	return e;
}

static struct entry any_entry(enum level level, unsigned int page,
			      const struct vm_area_struct *vma)
{
	struct entry e = { .kind = any_kind(level) };

	if (e.kind == PRESENT)
		return any_present(level, page, vma);
	if (e.kind == DEVICE_PRIVATE) {
		e.pfn = (choose(2) ? PFN_OWN : PFN_FOREIGN) + page;
		e.write = vma_may_write(vma) && choose(2);
	}
	return e;
}

/* A huge entry belongs to one VMA; a PUD is DAX, which is never a stack of any kind */
static bool vma_has_huge(const struct vm_area_struct *vma, unsigned int first,
			 unsigned int nr)
{
	return vma && vma->vm_start <= world_addr(first) &&
	       world_addr(first + nr) <= vma->vm_end;
}

static bool is_around(const struct shape *shape, unsigned int first,
		      unsigned int nr)
{
	return !shape->bare || (first < shape->first + shape->nr &&
				first + nr > shape->first);
}

static void any_table(const struct shape *shape, unsigned int first)
{
	const struct vm_area_struct *vma;
	unsigned int page;

	for (page = first; page < first + PTRS_PER_PTE; page++) {
		vma = world_vma(page);
		if (vma && is_around(shape, page, 1))
			w.pte[page].e = any_entry(LEVEL_PTE, page, vma);
	}
}

static void any_pmd(const struct shape *shape, unsigned int first)
{
	const struct vm_area_struct *vma = world_vma(first);
	struct entry e = { .kind = choose(2) ? TABLE : NONE };

	if (vma_has_huge(vma, first, PTRS_PER_PTE))
		e = any_entry(LEVEL_PMD, first, vma);
	w.pmd[pmd_of(first)].e = e;
	if (e.kind == TABLE)
		any_table(shape, first);
}

static void any_pud(const struct shape *shape, unsigned int first)
{
	const struct vm_area_struct *vma = world_vma(first);
	const unsigned int nr = PTRS_PER_PTE * PTRS_PER_PMD;
	struct entry e = { .kind = choose(2) ? TABLE : NONE };
	unsigned int page;

	if (vma_has_huge(vma, first, nr) && !vma->rwp &&
	    !(vma->vm_flags & VM_SHADOW_STACK))
		e = any_entry(LEVEL_PUD, first, vma);
	w.pud[pud_of(first)].e = e;
	for (page = first; page < first + nr; page += PTRS_PER_PTE)
		if (e.kind == TABLE && is_around(shape, page, PTRS_PER_PTE))
			any_pmd(shape, page);
}

static void any_huge(const struct shape *shape, unsigned int first)
{
	const struct vm_area_struct *vma = world_vma(first);
	unsigned int nr = pmd_of(first);

	if (!vma || !vma->hugetlb || !is_around(shape, first, PTRS_PER_PTE))
		return;
	w.huge_there[nr] = choose(2);
	if (w.huge_there[nr])
		w.huge[nr].e = any_entry(LEVEL_HUGETLB, first, vma);
}

static void any_vma(unsigned int first, unsigned int end)
{
	static const unsigned long flags[] = {
		VM_READ | VM_WRITE, VM_READ, VM_READ | VM_WRITE | VM_SHADOW_STACK,
		VM_READ | VM_PFNMAP, VM_READ | VM_WRITE | VM_IO, 0,
	};
	struct vm_area_struct *vma = &w.vma[w.nr_vmas++];

	*vma = (struct vm_area_struct){
		.vm_mm = &w.mm,
		.vm_start = world_addr(first),
		.vm_end = world_addr(end),
		.vm_flags = flags[choose_mostly(ARRAY_SIZE(flags))],
	};
	switch (choose_mostly(4)) {
	case 1:
		vma->hugetlb = !((first | end) & (PTRS_PER_PTE - 1)) &&
			       !(vma->vm_flags & VM_SHADOW_STACK);
		break;
	case 2:
		vma->rwp = true;
		break;
	case 3:
		vma->secretmem = true;
		break;
	}
}

void world_begin(void)
{
	memset(&w, 0, sizeof(w));
	w.taker = WORLD_PAGES;
	w.stuck = WORLD_PAGES;
	w.retried_page = WORLD_PAGES;
	w.last_faulted = WORLD_PAGES;
	w.notifier.mm = &w.mm;
	w.notifier.interval_tree.start = WORLD_START;
	w.notifier.interval_tree.last = WORLD_END - 1;
	jiffies = 0;
}

void world_build(const struct shape *shape)
{
	unsigned int page;

	any_vma(0, shape->vma_end);
	if (shape->vma_end < WORLD_PAGES)
		any_vma(shape->vma_next, WORLD_PAGES);
	for (page = 0; page < WORLD_PAGES; page += PTRS_PER_PTE * PTRS_PER_PMD)
		any_pud(shape, page);
	for (page = 0; page < WORLD_PAGES; page += PTRS_PER_PTE)
		any_huge(shape, page);
}

/* Page table walks: callbacks are called as mm/pagewalk.c promises */

static int walk_pmds(unsigned long addr, unsigned long end, struct mm_walk *walk)
{
	unsigned long next;
	pmd_t *pmdp;
	int ret;

	for (; addr < end; addr = next) {
		pmdp = &w.pmd[pmd_of(world_page(addr))];
		next = pmd_addr_end(addr, end);
		do {
			walk->action = ACTION_SUBTREE;
			world_others();
			if (pmdp->e.kind == NONE)
				ret = walk->ops->pte_hole(addr, next, 3, walk);
			else
				ret = walk->ops->pmd_entry(pmdp, addr, next, walk);
			if (ret)
				return ret;
		} while (walk->action == ACTION_AGAIN);
	}
	return 0;
}

static int walk_pud(pud_t *pudp, unsigned long addr, unsigned long next,
		    struct mm_walk *walk)
{
	int ret;

	do {
		walk->action = ACTION_SUBTREE;
		world_others();
		if (pudp->e.kind == NONE)
			return walk->ops->pte_hole(addr, next, 2, walk);
		ret = walk->ops->pud_entry(pudp, addr, next, walk);
		if (ret || walk->action == ACTION_CONTINUE)
			return ret;
		if (walk->action == ACTION_AGAIN)
			continue;
		promise(pudp->e.kind != PRESENT, "order: a huge PUD is not split");
		if (pudp->e.kind == TABLE)
			return walk_pmds(addr, next, walk);
	} while (true);
}

static int walk_puds(unsigned long addr, unsigned long end, struct mm_walk *walk)
{
	unsigned long next;
	int ret = 0;

	for (; !ret && addr < end; addr = next) {
		next = pud_addr_end(addr, end);
		ret = walk_pud(&w.pud[pud_of(world_page(addr))], addr, next, walk);
	}
	return ret;
}

static int walk_hugetlb(unsigned long addr, unsigned long end,
			struct mm_walk *walk)
{
	unsigned long next;
	unsigned int nr;
	int ret = 0;

	for (; !ret && addr < end; addr = next) {
		nr = pmd_of(world_page(addr));
		next = pmd_addr_end(addr, end);
		if (w.huge_there[nr])
			ret = walk->ops->hugetlb_entry(&w.huge[nr], PMD_MASK, addr,
						       next, walk);
		else
			ret = walk->ops->pte_hole(addr, next, -1, walk);
	}
	return ret;
}

static int walk_vma(unsigned long addr, unsigned long end, struct mm_walk *walk)
{
	return walk->vma->hugetlb ? walk_hugetlb(addr, end, walk) :
				    walk_puds(addr, end, walk);
}

static void walk_ended(void)
{
	promise(!w.rcu && !w.ptl.held, "lock: a callback leaves nothing locked");
}

int walk_page_range_vma(struct vm_area_struct *vma, unsigned long start,
			unsigned long end, const struct mm_walk_ops *ops,
			void *private)
{
	struct mm_walk walk = {
		.ops = ops, .mm = vma->vm_mm, .vma = vma, .private = private,
	};
	int ret;

	if (ops->walk_lock == PGWALK_RDLOCK)
		mmap_assert_locked(walk.mm);
	else
		promise(vma->vm_refcnt > 0, "lock: the VMA is locked");
	promise(start < end && start >= vma->vm_start && end <= vma->vm_end,
		"world: a VMA is walked within");
	ret = walk_vma(start, end, &walk);
	walk_ended();
	return ret;
}

/* The next boundary of a VMA after @addr */
static unsigned long next_border(unsigned long addr, unsigned long end)
{
	struct vm_area_struct *vma = world_vma(world_page(addr));
	unsigned int i;

	if (vma)
		return min(vma->vm_end, end);
	for (i = 0; i < WORLD_VMAS; i++)
		if (i < w.nr_vmas && w.vma[i].vm_start > addr)
			end = min(w.vma[i].vm_start, end);
	return end;
}

int walk_page_range(struct mm_struct *mm, unsigned long start, unsigned long end,
		    const struct mm_walk_ops *ops, void *private)
{
	struct mm_walk walk = { .ops = ops, .mm = mm, .private = private };
	unsigned long next;
	int ret = 0;

	mmap_assert_locked(mm);
	promise(ops->walk_lock == PGWALK_RDLOCK, "lock: the walk is told of it");
	promise(start < end, "world: something is walked");
	for (; !ret && start < end; start = next) {
		next = next_border(start, end);
		walk.vma = world_vma(world_page(start));
		if (!walk.vma) {
			ret = ops->pte_hole(start, next, -1, &walk);
			continue;
		}
		ret = ops->test_walk(start, next, &walk);
		if (ret > 0) {
			/* 1 means to skip this VMA, and is not returned to the caller */
			promise(ret == 1, "world: a VMA is tested with 0, 1 or an error");
			ret = 0;
			continue;
		}
		if (!ret)
			ret = walk_vma(start, next, &walk);
	}
	walk_ended();
	return ret;
}

/* Page faults: how they change the entry of a page */

/* The one entry that maps @page, wherever it is, and the pages that it maps */
static struct entry *entry_of(unsigned int page, unsigned int *first,
			      unsigned int *nr)
{
	*first = pud_begin(page);
	*nr = PTRS_PER_PTE * PTRS_PER_PMD;
	if (w.pud[pud_of(page)].e.kind != TABLE)
		return &w.pud[pud_of(page)].e;
	*first = pmd_begin(page);
	*nr = PTRS_PER_PTE;
	if (w.pmd[pmd_of(page)].e.kind != TABLE)
		return &w.pmd[pmd_of(page)].e;
	*first = page;
	*nr = 1;
	return &w.pte[page].e;
}

static void make_pmds(unsigned int page)
{
	unsigned int i;

	for (i = 0; i < PTRS_PER_PMD; i++)
		w.pmd[pmd_of(pud_begin(page)) + i].e = (struct entry){ };
	w.pud[pud_of(page)].e = (struct entry){ .kind = TABLE };
}

static void make_ptes(unsigned int page)
{
	unsigned int i;

	for (i = 0; i < PTRS_PER_PTE; i++)
		w.pte[pmd_begin(page) + i].e = (struct entry){ };
	w.pmd[pmd_of(page)].e = (struct entry){ .kind = TABLE };
}

/* Memory that a PMD maps is mapped by PTEs instead */
static void split_pmd(unsigned int page)
{
	struct entry e = w.pmd[pmd_of(page)].e;
	unsigned int i;

	for (i = 0; i < PTRS_PER_PTE; i++) {
		w.pte[pmd_begin(page) + i].e = e;
		if (e.pfn != PFN_ZERO)
			w.pte[pmd_begin(page) + i].e.pfn += i;
	}
	w.pmd[pmd_of(page)].e = (struct entry){ .kind = TABLE };
}

/* Memory for an absent page; others may be notified */
static void serve_absent(struct vm_area_struct *vma, struct entry *e,
			 unsigned int first, unsigned int nr, bool write, bool own)
{
	bool home = e->kind == DEVICE_PRIVATE || e->kind == DEVICE_EXCLUSIVE;
	bool writable, dirty;

	if (home)
		world_notify(first, nr, own);
	if (!write && !home && !vma->hugetlb && choose(2)) {
		*e = entry_present(PFN_ZERO, false, false);
		return;
	}
	writable = write || choose(2);
	dirty = write || choose(2);
	*e = entry_present(new_pfn(first, e->pfn), writable && vma_may_write(vma),
			   dirty);
}

/* A hole is filled by a page, a huge page, or whatever is in the file */
static void serve_hole(struct vm_area_struct *vma, unsigned int page, bool write)
{
	unsigned int first = pmd_begin(page), i;

	if (w.pud[pud_of(page)].e.kind == NONE)
		make_pmds(page);
	if (w.pmd[pmd_of(page)].e.kind == NONE &&
	    vma_has_huge(vma, first, PTRS_PER_PTE) && choose(2)) {
		serve_absent(vma, &w.pmd[pmd_of(page)].e, first, PTRS_PER_PTE, write,
			     true);
		return;
	}
	if (w.pmd[pmd_of(page)].e.kind == NONE)
		make_ptes(page);
	serve_absent(vma, &w.pte[page].e, page, 1, write, true);
	if (write || !choose(2))
		return;
	for (i = first; i < first + PTRS_PER_PTE; i++)
		if (world_vma(i) == vma && w.pte[i].e.kind == NONE)
			w.pte[i].e = entry_present(new_pfn(i, 0), false, false);
}

/* A write to a page whose entry is not writable */
static void serve_write(struct entry *e, unsigned int page, unsigned int first,
			unsigned int nr, bool own)
{
	/* The page belongs to nobody else, or is written back: only a bit changes */
	if (e->pfn != PFN_ZERO && (e->write || choose(2))) {
		e->write = true;
		e->dirty = true;
		return;
	}
	world_notify(first, nr, own);
	if (nr == PTRS_PER_PTE && e == &w.pmd[pmd_of(page)].e && choose(2)) {
		split_pmd(page);
		e = &w.pte[page].e;
		first = page;
	}
	*e = entry_present(new_pfn(first, e->pfn), true, true);
}

static void serve_present(struct entry *e, unsigned int page, unsigned int first,
			  unsigned int nr, bool write, bool own)
{
	/* A hint is removed first, either alone or with the rest of the work */
	if (e->protnone) {
		e->protnone = false;
		if (choose(2))
			return;
	}
	if (write && !(e->write && e->dirty))
		serve_write(e, page, first, nr, own);
}

static void serve(struct vm_area_struct *vma, unsigned int page, bool write,
		  bool own)
{
	unsigned int first, nr;
	struct entry *e;

	if (vma->hugetlb) {
		first = pmd_begin(page);
		nr = PTRS_PER_PTE;
		e = &w.huge[pmd_of(page)].e;
		if (!w.huge_there[pmd_of(page)])
			*e = (struct entry){ };
		w.huge_there[pmd_of(page)] = true;
	} else {
		e = entry_of(page, &first, &nr);
	}
	if (e->kind == PRESENT)
		serve_present(e, page, first, nr, write, own);
	else if (vma->hugetlb || e->kind != NONE)
		serve_absent(vma, e, first, nr, write, own);
	else
		serve_hole(vma, page, write);
	world_remember(pud_begin(page), PTRS_PER_PTE * PTRS_PER_PMD);
}

/* Actions of others */

static void others_take(unsigned int page)
{
	struct vm_area_struct *vma = world_vma(page);
	unsigned int first, nr;
	struct entry *e;

	if (!vma)
		return;
	if (vma->hugetlb) {
		first = pmd_begin(page);
		nr = PTRS_PER_PTE;
		e = &w.huge[pmd_of(page)].e;
	} else {
		e = entry_of(page, &first, &nr);
	}
	world_notify(first, nr, false);
	w.others_changed = true;
	*e = nr == 1 ? any_entry(LEVEL_PTE, page, vma) : (struct entry){ };
	world_remember(first, nr);
}

/* Others collapse a page table, split a huge entry or zap either */
static void others_change_pmd(unsigned int page)
{
	struct vm_area_struct *vma = world_vma(page);
	unsigned int first = pmd_begin(page);
	struct entry *e = &w.pmd[pmd_of(page)].e;

	if (!vma_has_huge(vma, first, PTRS_PER_PTE) || vma->hugetlb ||
	    w.pud[pud_of(page)].e.kind != TABLE)
		return;
	world_notify(first, PTRS_PER_PTE, false);
	w.others_changed = true;
	if (e->kind != TABLE && e->kind != NONE && choose(2))
		split_pmd(page);
	else
		*e = choose(2) ? entry_present(new_pfn(first, e->pfn), false, false) :
				 (struct entry){ };
	world_remember(first, PTRS_PER_PTE);
}

/* The process reads or writes a page, which may cause a page fault */
static void others_access(unsigned int page)
{
	struct vm_area_struct *vma = world_vma(page);
	bool write = choose(2);

	if (!vma || !oracle_is_accessible(vma) || oracle_meaning(page).refused ||
	    (write && !oracle_is_writable(vma)))
		return;
	w.others_changed = true;
	serve(vma, page, write, false);
}

/* Another thread of the driver */
static void others_set_sticky(unsigned int page)
{
	unsigned long *entry, bit = choose(2) ? HMM_PFN_DMA_MAPPED : HMM_PFN_P2PDMA;

	if (!w.range || !hmm_dma_in_use() || world_addr(page) < w.range->start ||
	    world_addr(page) >= w.range->end)
		return;
	entry = &w.range->hmm_pfns[page - world_page(w.range->start)];
	*entry ^= bit;
	w.sticky[page] ^= bit;
}

static void others_change_mapping(void)
{
	struct vm_area_struct *vma = &w.vma[0];
	unsigned int first = world_page(vma->vm_start);
	bool all;

	if (w.mm.mmap_lock.readers || vma->vm_refcnt || !w.nr_vmas)
		return;
	all = !vma_is_locked() && !choose(2);
	if (all)
		world_notify(0, WORLD_PAGES, false);
	else
		world_notify(first, world_page(vma->vm_end) - first, false);
	w.others_changed = true;
	w.mappings_changed = true;
	if (all)
		w.nr_vmas = 0;
	else
		vma->vm_flags = 0;
	world_remember(0, WORLD_PAGES);
}

void world_others(void)
{
	unsigned int page;

	if (!w.others || w.busy || !choose(2))
		return;
	w.others--;
	w.busy = true;
	page = choose(WORLD_PAGES);
	switch (choose(7)) {
	case 0:
		w.killed = true;
		break;
	case 1:
		others_set_sticky(page);
		break;
	case 2:
		others_access(page);
		break;
	case 3:
		others_change_pmd(page);
		break;
	case 4:
		others_change_mapping();
		break;
	default:
		others_take(page);
	}
	w.busy = false;
}

/* Page faults: how they end */

static vm_fault_t fault_drops_lock(struct vm_area_struct *vma, unsigned int page,
				   unsigned int flags, vm_fault_t fault)
{
	if (flags & FAULT_FLAG_VMA_LOCK)
		vma_end_read(vma);
	else
		mmap_read_unlock(&w.mm);
	w.for_mmap_lock = fault == VM_FAULT_RETRY;
	w.for_hole = false;
	if (w.for_mmap_lock && (flags & FAULT_FLAG_VMA_LOCK))
		w.retried_page = page;
	if (fault == VM_FAULT_RETRY && (flags & FAULT_FLAG_VMA_LOCK) && choose(2))
		fault |= VM_FAULT_MAJOR;
	w.retried = (fault & VM_FAULT_RETRY) &&
		    (!(flags & FAULT_FLAG_VMA_LOCK) || (fault & VM_FAULT_MAJOR));
	w.last_faulted = WORLD_PAGES;
	world_others();
	return fault;
}

static vm_fault_t fault_fails(unsigned int page, vm_fault_t fault)
{
	w.failed = fault == VM_FAULT_OOM ? -ENOMEM : -EFAULT;
	w.must_tell = !w.own_notified && !w.others_notified && !w.did_not_come;
	/* It may have called the notifier before */
	if (choose(2))
		world_notify(page, 1, true);
	w.failed_page = page;
	return fault;
}

/* Without success */
static vm_fault_t fault_twisted(struct vm_area_struct *vma, unsigned int page,
				unsigned int flags)
{
	switch (choose(8)) {
	case 0:
		return fault_fails(page, VM_FAULT_OOM);
	case 1:
		return fault_fails(page, VM_FAULT_SIGBUS);
	case 2:
		return fault_fails(page, VM_FAULT_SIGSEGV);
	case 3:
		return fault_fails(page, VM_FAULT_HWPOISON);
	case 4:
		w.killed = true;
		return 0;
	case 5:
		if (flags & FAULT_FLAG_ALLOW_RETRY)
			return fault_drops_lock(vma, page, flags, VM_FAULT_RETRY);
		return 0;
	case 6:
		serve(vma, page, flags & FAULT_FLAG_WRITE, true);
		if (flags & FAULT_FLAG_ALLOW_RETRY)
			return fault_drops_lock(vma, page, flags, VM_FAULT_COMPLETED);
		return 0;
	default:
		return 0;	/* found it changed, and does nothing more */
	}
}

vm_fault_t handle_mm_fault(struct vm_area_struct *vma, unsigned long addr,
			   unsigned int flags, void *regs)
{
	unsigned int page = world_page(addr);
	bool retried = w.retried;

	may_sleep();
	if (!(flags & FAULT_FLAG_VMA_LOCK))
		mmap_assert_locked(&w.mm);
	promise(!!(flags & FAULT_FLAG_VMA_LOCK) == (vma->vm_refcnt > 0),
		"lock: a fault says which lock is held");
	promise(!vma->vm_refcnt || page != w.retried_page,
		"fault: a fault that needs mmap_lock is tried again with it");
	w.retried_page = WORLD_PAGES;
	promise(!(vma->vm_refcnt & VM_REFCNT_EXCLUDE_READERS_FLAG),
		"lock: a VMA that somebody waits for is released before the next fault");
	promise(vma->vm_refcnt || !w.for_hole,
		"lock: mmap_lock is held for a hole, and not for what follows it");
	promise(addr >= WORLD_START && addr < WORLD_END && vma == world_vma(page),
		"fault: a page of the range is faulted, in its VMA");
	promise(!w.killed, "fault: no page fault once the caller is killed");
	promise(!!(flags & FAULT_FLAG_TRIED) == retried,
		"fault: a fault that is tried again says so, and no other");
	oracle_fault(vma, page, flags);
	jiffies++;
	w.retried = false;
	w.faults++;
	if (w.twists && choose(2)) {
		w.twists--;
		w.twisted = true;
		return fault_twisted(vma, page, flags);
	}
	if (page == w.stuck)
		return 0;
	/* Not all faults can be handled with a VMA's lock */
	if ((flags & FAULT_FLAG_VMA_LOCK) && choose(2))
		return fault_drops_lock(vma, page, flags, VM_FAULT_RETRY);
	serve(vma, page, flags & FAULT_FLAG_WRITE, true);
	if ((flags & FAULT_FLAG_VMA_LOCK) && choose(2))
		vma->vm_refcnt |= VM_REFCNT_EXCLUDE_READERS_FLAG;
	if (page == w.taker)
		others_take(page);
	else
		world_others();
	return 0;
}
