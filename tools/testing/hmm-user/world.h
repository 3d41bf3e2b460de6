/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A world for mm/hmm.c in user space: those parts of the kernel that it uses, with
 * arrays as page tables.
 *
 * Everything that may vary is a choose(), so that the same world can be run by tests
 * (all ways, in turn), by a fuzzer (bytes) and by a model checker (all ways at once).
 * Locks, RCU and functions that may sleep check how they are used.
 */
#ifndef HMM_USER_WORLD_H
#define HMM_USER_WORLD_H

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Compiler attributes */

typedef uint32_t u32;
typedef uint64_t u64;
typedef uint64_t phys_addr_t;
typedef uint64_t dma_addr_t;
typedef unsigned int gfp_t;
typedef unsigned int vm_fault_t;

#undef __always_inline
#define __always_inline		inline
#define noinline
#define unrolled_full
#define prefetchw(x)		((void)(x))
#define likely(x)		(x)
#define unlikely(x)		(x)
#define EXPORT_SYMBOL(x)	struct export_##x
#define EXPORT_SYMBOL_GPL(x)	struct export_##x
#undef static_assert
#define static_assert(cond)	_Static_assert(cond, #cond)

/* Options are 0 or 1 */
#define IS_ENABLED(option)	(option)
#define PTR_IF(cond, ptr)	((cond) ? (ptr) : NULL)

#define CONFIG_64BIT				1
#define CONFIG_ARCH_HAS_PTE_SPECIAL		1
#define CONFIG_HAVE_ARCH_TRANSPARENT_HUGEPAGE_PUD 1
#define CONFIG_HUGETLB_PAGE			1
#define CONFIG_PER_VMA_LOCK			1
#define CONFIG_DMA_NEED_SYNC			1
#define CONFIG_IOMMU_DMA			1

#define BITS_PER_LONG		64
#define ARRAY_SIZE(a)		(sizeof(a) / sizeof((a)[0]))
#define min(a, b)		((a) < (b) ? (a) : (b))
#define max(a, b)		((a) > (b) ? (a) : (b))
#define min3(a, b, c)		min(min(a, b), c)
#define min_t(type, a, b)	min((type)(a), (type)(b))
#define IS_ALIGNED(x, to)	(!((x) & ((to) - 1)))
#define ALIGN_DOWN(x, to)	((x) & ~((unsigned long)(to) - 1))
#define ALIGN(x, to)		ALIGN_DOWN((x) + (to) - 1, to)

/* Promises, and what the kernel requires of callers */
void promise_broken(const char *what);

#ifdef __CPROVER__
#define promise(cond, what)	__CPROVER_assert(cond, what)
#else
#define promise(cond, what)	((cond) ? (void)0 : promise_broken(what))
#endif

/**
 * choose() - choose one of several ways to continue
 * @nr: how many ways there are
 *
 * Return: the number of one, 0 being the plainest.
 */
unsigned int choose(unsigned int nr);

/* The same for random choices: mostly 0, or rarely true */
unsigned int choose_mostly(unsigned int nr);
bool rarely(void);

/* Others may do something here */
void world_others(void);

#define READ_ONCE(x)	({ __typeof__(x) was_ = (x); world_others(); was_; })
#define WRITE_ONCE(x, value)	((x) = (value))
#define cpu_relax()	world_others()

static inline void set_mask_bits(unsigned long *word, unsigned long mask,
				 unsigned long bits)
{
	world_others();
	*word = (*word & ~mask) | bits;
}

bool world_warn(bool cond);
#define WARN_ON_ONCE(cond)	world_warn(cond)

/* Geometry: small, so that a few pages have all levels */

#ifndef WORLD_PTE_BITS
#define WORLD_PTE_BITS		2
#define WORLD_PMD_BITS		2
#define WORLD_NR_PUDS		2
#endif

#define PAGE_SHIFT		12
#define PMD_SHIFT		(PAGE_SHIFT + WORLD_PTE_BITS)
#define PUD_SHIFT		(PMD_SHIFT + WORLD_PMD_BITS)
#define PAGE_SIZE		(1UL << PAGE_SHIFT)
#define PMD_SIZE		(1UL << PMD_SHIFT)
#define PUD_SIZE		(1UL << PUD_SHIFT)
#define PMD_MASK		(~(PMD_SIZE - 1))
#define PUD_MASK		(~(PUD_SIZE - 1))
#define PAGE_ALIGNED(x)		IS_ALIGNED(x, PAGE_SIZE)

#define PTRS_PER_PTE		(1U << WORLD_PTE_BITS)
#define PTRS_PER_PMD		(1U << WORLD_PMD_BITS)
#define WORLD_PMDS		(WORLD_NR_PUDS * PTRS_PER_PMD)
#define WORLD_PAGES		(WORLD_PMDS * PTRS_PER_PTE)
#define WORLD_START		0x7f0000000000UL
#define WORLD_END		(WORLD_START + WORLD_PAGES * PAGE_SIZE)

static inline unsigned long pmd_addr_end(unsigned long addr, unsigned long end)
{
	unsigned long next = (addr & PMD_MASK) + PMD_SIZE;

	return min(next, end);
}

static inline unsigned long pud_addr_end(unsigned long addr, unsigned long end)
{
	unsigned long next = (addr & PUD_MASK) + PUD_SIZE;

	return min(next, end);
}

/* Page table entries, of any level */

enum kind {
	NONE,
	PRESENT,		/* a leaf */
	TABLE,			/* leads to the next level */
	MIGRATION,
	DEVICE_PRIVATE,
	SWAP,			/* from here on, PTEs only */
	HWPOISON,
	MARKER_POISON,
	MARKER_UFFD_WP,
	MARKER_GUARD,
	DEVICE_EXCLUSIVE,
};

struct entry {
	unsigned char kind;
	bool write;
	bool dirty;
	bool protnone;
	bool special;
	unsigned int pfn;
};

typedef struct { struct entry e; } pte_t;
typedef struct { struct entry e; } pmd_t;
typedef struct { struct entry e; } pud_t;
typedef struct { struct entry e; } softleaf_t;

/* Memory: page frames, each with a struct page; the number determines the owner */

#define PFN_ZERO	0U		/* as many zero pages as a huge page has pages */
#define PFN_SYSTEM	(WORLD_PAGES)
#define PFN_OWN		(PFN_SYSTEM + 4 * WORLD_PAGES)
#define PFN_FOREIGN	(PFN_OWN + WORLD_PAGES)
#define WORLD_PFNS	(PFN_FOREIGN + WORLD_PAGES)

struct page {
	char nothing;
};

extern struct page world_memory[WORLD_PFNS];
extern char world_owner;

#define __pfn_to_phys(pfn)	((phys_addr_t)(pfn) << PAGE_SHIFT)

static inline struct page *pfn_to_page(unsigned long pfn)
{
	promise(pfn < WORLD_PFNS, "memory: a pfn is of memory that there is");
	return &world_memory[pfn];
}

static inline bool is_zero_pfn(unsigned long pfn)
{
	return pfn == PFN_ZERO;
}

bool device_page_owned_by(struct page *page, const void *owner);
bool is_device_private_page(const struct page *page);
bool zone_device_pages_have_same_pgmap(const struct page *a, const struct page *b);

/* VMAs */

#define VM_READ		0x01UL
#define VM_WRITE	0x02UL
#define VM_IO		0x04UL
#define VM_PFNMAP	0x08UL
#define VM_MIXEDMAP	0x10UL
#define VM_SHADOW_STACK	0x20UL

struct hstate {
	char nothing;
};

struct rw_semaphore {
	int readers;
};

struct mm_struct {
	struct rw_semaphore mmap_lock;
};

/**
 * struct vm_area_struct - a VMA
 * @vm_refcnt: how often it is locked
 * @hugetlb: has entries of PMD size, in a table of their own
 * @secretmem: not for devices
 * @rwp: userfaultfd reports accesses to protnone entries
 */
struct vm_area_struct {
	struct mm_struct *vm_mm;
	unsigned long vm_start;
	unsigned long vm_end;
	unsigned long vm_flags;
	int vm_refcnt;
	bool hugetlb;
	bool secretmem;
	bool rwp;
};

#define vma_is_secretmem(vma)	((vma)->secretmem)
#define userfaultfd_rwp(vma)	((vma)->rwp)

struct vm_area_struct *vma_lookup(struct mm_struct *mm, unsigned long addr);
struct vm_area_struct *find_vma(struct mm_struct *mm, unsigned long addr);
struct vm_area_struct *lock_vma_under_rcu(struct mm_struct *mm, unsigned long addr);
void vma_end_read(struct vm_area_struct *vma);

/* Somebody may be waiting to change the VMA */
#define VM_REFCNT_EXCLUDE_READERS_FLAG	0x100
#define refcount_read(refcnt)	(*(refcnt))

/* What mm/hmm.c reads from entries */

#define pte_present(pte)	((pte).e.kind == PRESENT)
#define pte_none(pte)		((pte).e.kind == NONE)
#define pte_write(pte)		((pte).e.write)
#define pte_dirty(pte)		((pte).e.dirty)
#define pte_special(pte)	((pte).e.special)
#define pte_protnone(pte)	((pte).e.protnone)
#define pte_pfn(pte)		((unsigned long)(pte).e.pfn)
#define pmd_present(pmd)	((pmd).e.kind == PRESENT || (pmd).e.kind == TABLE)
#define pmd_none(pmd)		((pmd).e.kind == NONE)
#define pmd_trans_huge(pmd)	((pmd).e.kind == PRESENT)
#define pmd_write		pte_write
#define pmd_dirty		pte_dirty
#define pmd_protnone		pte_protnone
#define pmd_pfn			pte_pfn
#define pud_trans_huge		pmd_trans_huge
#define pud_write		pte_write
#define pud_dirty		pte_dirty
#define pud_pfn			pte_pfn
#define is_huge_zero_pmd(pmd)	((pmd).e.pfn == PFN_ZERO)

struct page *world_normal_page(struct entry e);
#define vm_normal_page(vma, addr, pte)		world_normal_page((pte).e)
#define vm_normal_page_pmd(vma, addr, pmd)	world_normal_page((pmd).e)
#define vm_normal_page_pud(vma, addr, pud)	world_normal_page((pud).e)

enum softleaf_type {
	SOFTLEAF_OTHER,
	SOFTLEAF_DEVICE_PRIVATE_READ,
	SOFTLEAF_DEVICE_PRIVATE_WRITE,
	SOFTLEAF_HWPOISON,
	SOFTLEAF_MARKER,
};

#define softleaf_from_pte(pte)	((softleaf_t){ (pte).e })
#define softleaf_from_pmd(pmd)	((softleaf_t){ (pmd).e })
#define softleaf_to_pfn(leaf)	((unsigned long)(leaf).e.pfn)
#define softleaf_to_page(leaf)	pfn_to_page((leaf).e.pfn)
#define softleaf_is_guard_marker(leaf)	((leaf).e.kind == MARKER_GUARD)
#define softleaf_is_poison_marker(leaf)	((leaf).e.kind == MARKER_POISON)
#define softleaf_is_device_private(leaf)	((leaf).e.kind == DEVICE_PRIVATE)
#define softleaf_is_device_private_write(leaf)			\
	((leaf).e.kind == DEVICE_PRIVATE && (leaf).e.write)

static inline enum softleaf_type softleaf_type(softleaf_t leaf)
{
	switch (leaf.e.kind) {
	case DEVICE_PRIVATE:
		return leaf.e.write ? SOFTLEAF_DEVICE_PRIVATE_WRITE :
				      SOFTLEAF_DEVICE_PRIVATE_READ;
	case HWPOISON:
		return SOFTLEAF_HWPOISON;
	case MARKER_POISON:
	case MARKER_UFFD_WP:
	case MARKER_GUARD:
		return SOFTLEAF_MARKER;
	default:
		return SOFTLEAF_OTHER;
	}
}

pte_t ptep_get_lockless(pte_t *ptep);
pmd_t pmdp_get_lockless(pmd_t *pmdp);
pud_t pudp_get(pud_t *pudp);
pte_t *pte_offset_map(pmd_t *pmdp, unsigned long addr);
void pte_unmap(pte_t *ptep);

/* hugetlb */

typedef struct { bool held; } spinlock_t;

#define hstate_vma(vma)		((void)(vma), &world_hstate)
#define huge_page_mask(h)	((void)(h), PMD_MASK)
#define huge_page_size(h)	((void)(h), PMD_SIZE)
#define huge_page_order(h)	((void)(h), PMD_SHIFT - PAGE_SHIFT)

extern struct hstate world_hstate;

spinlock_t *huge_pte_lock(struct hstate *h, struct mm_struct *mm, pte_t *ptep);
pte_t huge_ptep_get(struct mm_struct *mm, unsigned long addr, pte_t *ptep);
void spin_unlock(spinlock_t *ptl);

/* Page table walks */

enum page_walk_action {
	ACTION_SUBTREE,
	ACTION_CONTINUE,
	ACTION_AGAIN,
};

enum page_walk_lock {
	PGWALK_RDLOCK,
	PGWALK_VMA_RDLOCK_VERIFY,
};

struct mm_walk;

struct mm_walk_ops {
	int (*pud_entry)(pud_t *pudp, unsigned long addr, unsigned long next,
			 struct mm_walk *walk);
	int (*pmd_entry)(pmd_t *pmdp, unsigned long addr, unsigned long next,
			 struct mm_walk *walk);
	int (*pte_hole)(unsigned long addr, unsigned long next, int depth,
			struct mm_walk *walk);
	int (*hugetlb_entry)(pte_t *ptep, unsigned long hmask, unsigned long addr,
			     unsigned long next, struct mm_walk *walk);
	int (*test_walk)(unsigned long addr, unsigned long next,
			 struct mm_walk *walk);
	enum page_walk_lock walk_lock;
};

struct mm_walk {
	const struct mm_walk_ops *ops;
	struct mm_struct *mm;
	struct vm_area_struct *vma;
	enum page_walk_action action;
	void *private;
};

int walk_page_range(struct mm_struct *mm, unsigned long start, unsigned long end,
		    const struct mm_walk_ops *ops, void *private);
int walk_page_range_vma(struct vm_area_struct *vma, unsigned long start,
			unsigned long end, const struct mm_walk_ops *ops,
			void *private);

/* Locks, RCU, the task */

void rcu_read_lock(void);
void rcu_read_unlock(void);
void cond_resched(void);

#define current			NULL
bool fatal_signal_pending(void *task);

#define rwsem_is_locked(sem)	((sem)->readers > 0)
void mmap_assert_locked(struct mm_struct *mm);
int mmap_read_lock_killable(struct mm_struct *mm);
void mmap_read_lock(struct mm_struct *mm);
void mmap_read_unlock(struct mm_struct *mm);
bool check_stable_address_space(struct mm_struct *mm);

extern unsigned long jiffies;

/* The notifier */

struct mmu_interval_notifier {
	struct mm_struct *mm;
	struct {
		unsigned long start;
		unsigned long last;
	} interval_tree;
};

unsigned long mmu_interval_read_begin(struct mmu_interval_notifier *notifier);
bool mmu_interval_check_retry(struct mmu_interval_notifier *notifier,
			      unsigned long seq);

/* Page faults */

#define FAULT_FLAG_WRITE	0x01U
#define FAULT_FLAG_ALLOW_RETRY	0x02U
#define FAULT_FLAG_KILLABLE	0x04U
#define FAULT_FLAG_TRIED	0x08U
#define FAULT_FLAG_REMOTE	0x10U
#define FAULT_FLAG_VMA_LOCK	0x20U

#define VM_FAULT_OOM		0x01U
#define VM_FAULT_SIGBUS		0x02U
#define VM_FAULT_SIGSEGV	0x04U
#define VM_FAULT_HWPOISON	0x08U
#define VM_FAULT_RETRY		0x10U
#define VM_FAULT_COMPLETED	0x20U
#define VM_FAULT_MAJOR		0x40U
#define VM_FAULT_ERROR		0x0fU

vm_fault_t handle_mm_fault(struct vm_area_struct *vma, unsigned long addr,
			   unsigned int flags, void *regs);

#define FOLL_HWPOISON		1

static inline int vm_fault_to_errno(vm_fault_t fault, int foll_flags)
{
	if (fault & VM_FAULT_OOM)
		return -ENOMEM;
	if (fault & VM_FAULT_HWPOISON)
		return foll_flags & FOLL_HWPOISON ? -EHWPOISON : -EFAULT;
	return fault & VM_FAULT_ERROR ? -EFAULT : 0;
}

/* There is no debugfs */
#define CONFIG_DEBUG_FS		0
#define DECLARE_PER_CPU(type, name)	extern type name
#define this_cpu_inc(var)	((void)(var)++)
#define this_cpu_add(var, n)	((void)((var) += (n)))

/* Events: all are enabled, except in proofs */
void world_trace_begin(void);
void world_trace_end(unsigned int faults, unsigned long answers, bool all);

#ifdef __CPROVER__
#define trace_hmm_range_fault_end_enabled()	0
#define trace_hmm_range_fault_begin(range, unlocked)	((void)(range))
#else
#define trace_hmm_range_fault_end_enabled()	1
#define trace_hmm_range_fault_begin(range, unlocked)	world_trace_begin()
#endif
#define trace_hmm_range_fault_end(range, seen, answers, ns, ret)	\
	((void)(ns), world_trace_end((seen)->faults, (answers)->none +	\
				     (answers)->read + (answers)->write + \
				     (answers)->error, !(ret)))
#define trace_hmm_fault(mm, addr, flags, result)	((void)(result))
#define trace_hmm_dma_map(dev, map, first, nr, ret)	((void)(ret))
#define trace_hmm_dma_unmap(dev, map, first, nr, ret)	((void)(ret))

static inline u64 ktime_get_ns(void)
{
	return 1;
}

/* Kernel memory */

#define GFP_KERNEL	1U
#define __GFP_NOWARN	2U

void *kvmemdup(const void *src, size_t len, gfp_t gfp);
void *kvcalloc(size_t nr, size_t size, gfp_t gfp);
void kvfree(void *memory);

#define check_mul_overflow(a, b, to)	__builtin_mul_overflow(a, b, to)
#define check_add_overflow(a, b, to)	__builtin_add_overflow(a, b, to)
#define is_power_of_2(n)		((n) && !((n) & ((n) - 1)))
#define rounddown_pow_of_two(n)		(1UL << (63 - __builtin_clzl(n)))

typedef struct { int counter; } atomic_t;
#define ATOMIC_INIT(value)	{ value }
#define atomic_read(v)		((v)->counter)
#define atomic_inc(v)		((void)(v)->counter++)
#define atomic_dec(v)		((void)(v)->counter--)

#include "dma.h"

#endif /* HMM_USER_WORLD_H */
