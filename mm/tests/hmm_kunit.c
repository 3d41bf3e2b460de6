// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of hmm_range_fault() that need no device.
 *
 * Each test has its own user mm, with mappings whose page table entries are of every
 * kind that exists without device memory, and a file whose faults the test controls.
 * Answers are compared with the contents of the page table.
 *
 * Promises in comments are those of Documentation/mm/hmm.rst.
 */
#include <kunit/device.h>
#include <kunit/test.h>
#include <linux/anon_inodes.h>
#include <linux/dma-mapping.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/hmm-dma.h>
#include <linux/hmm.h>
#include <linux/hrtimer.h>
#include <linux/huge_mm.h>
#include <linux/hugetlb.h>
#include <linux/leafops.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/mmu_notifier.h>
#include <linux/pci-p2pdma.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/shmem_fs.h>
#include <asm/tlb.h>

#include "../internal.h"

MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");

/* Address space of a test, in page tables, and the part that most tests use */
#define AREA_TABLES	4
#define AREA_SIZE	(AREA_TABLES * PMD_SIZE)
#define AREA_PAGES	(AREA_SIZE >> PAGE_SHIFT)
#define TABLE_PAGES	(PMD_SIZE >> PAGE_SHIFT)

#define REQ_READ	HMM_PFN_REQ_FAULT
#define REQ_WRITE	(HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE)
#define STICKY		(HMM_PFN_DMA_MAPPED | HMM_PFN_P2PDMA | HMM_PFN_P2PDMA_BUS)

/* Bits that a driver may leave in an entry before a call, to detect changes */
#define LITTER		0x2a5UL

/**
 * struct hmm_test - the state of a test
 * @test: for KUnit
 * @mm: of the test's thread; freed with it
 * @area: its AREA_SIZE bytes, at a PMD border, unmapped at first
 * @notifier: over all of @area
 * @on_invalidate: what @notifier does besides counting the sequence, or NULL
 * @range: the request, over @pfns
 * @pfns: an entry for each page of @area
 * @file: @on_fault handles faults of its mappings
 * @on_fault: handles one of them
 * @faults: how many there were
 * @fault_flags: FAULT_FLAG_* of the last one
 * @page: a page for @on_fault
 * @child: a second mm, if forked
 */
struct hmm_test {
	struct kunit *test;
	struct mm_struct *mm;
	unsigned long area;
	struct mmu_interval_notifier notifier;
	void (*on_invalidate)(struct hmm_test *t);
	struct hmm_range range;
	unsigned long *pfns;
	struct file *file;
	vm_fault_t (*on_fault)(struct hmm_test *t, struct vm_fault *vmf);
	unsigned int faults;
	unsigned int fault_flags;
	struct page *page;
	struct mm_struct *child;
};

/* The notifier */

static bool hmm_test_invalidate(struct mmu_interval_notifier *notifier,
				const struct mmu_notifier_range *range,
				unsigned long seq)
{
	struct hmm_test *t = container_of(notifier, struct hmm_test, notifier);

	mmu_interval_set_seq(notifier, seq);
	if (t->on_invalidate)
		t->on_invalidate(t);
	return true;
}

static const struct mmu_interval_notifier_ops hmm_test_notifier_ops = {
	.invalidate = hmm_test_invalidate,
};

/* As if somebody had changed a page of the area and changed it back */
static void hmm_test_change(struct hmm_test *t)
{
	struct mmu_notifier_range range;

	mmu_notifier_range_init(&range, MMU_NOTIFY_PROTECTION_PAGE, 0, t->mm,
				t->area, t->area + PAGE_SIZE);
	mmu_notifier_invalidate_range_start(&range);
	mmu_notifier_invalidate_range_end(&range);
}

/* The file */

static vm_fault_t hmm_test_fault(struct vm_fault *vmf)
{
	struct hmm_test *t = vmf->vma->vm_private_data;

	t->faults++;
	t->fault_flags = vmf->flags;
	return t->on_fault(t, vmf);
}

static const struct vm_operations_struct hmm_test_vm_ops = {
	.fault = hmm_test_fault,
};

static int hmm_test_mmap(struct file *file, struct vm_area_struct *vma)
{
	vma->vm_ops = &hmm_test_vm_ops;
	vma->vm_private_data = file->private_data;
	vm_flags_set(vma, VM_MIXEDMAP | VM_DONTEXPAND);
	return 0;
}

static const struct file_operations hmm_test_fops = {
	.mmap = hmm_test_mmap,
};

static vm_fault_t hmm_test_serve_page(struct hmm_test *t, struct vm_fault *vmf)
{
	get_page(t->page);
	vmf->page = t->page;
	return 0;
}

static vm_fault_t hmm_test_serve_special(struct hmm_test *t,
					 struct vm_fault *vmf)
{
	return vmf_insert_mixed(vmf->vma, vmf->address, page_to_pfn(t->page));
}

static vm_fault_t hmm_test_serve_sigbus(struct hmm_test *t, struct vm_fault *vmf)
{
	return VM_FAULT_SIGBUS;
}

static vm_fault_t hmm_test_serve_oom(struct hmm_test *t, struct vm_fault *vmf)
{
	return VM_FAULT_OOM;
}

static vm_fault_t hmm_test_serve_hwpoison(struct hmm_test *t,
					  struct vm_fault *vmf)
{
	return VM_FAULT_HWPOISON;
}

/* Setup and teardown */

static void hmm_test_put_page(void *page)
{
	put_page(page);
}

static void hmm_test_put_file(void *file)
{
	fput(file);
}

static void hmm_test_put_mm(void *mm)
{
	mmput(mm);
}

static void hmm_test_remove_notifier(void *notifier)
{
	mmu_interval_notifier_remove(notifier);
}

static void hmm_test_defer(struct kunit *test, kunit_action_t *action,
			   void *ctx)
{
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, action, ctx));
}

static void hmm_test_area(struct hmm_test *t)
{
	unsigned long addr;

	addr = kunit_vm_mmap(t->test, NULL, 0, AREA_SIZE + PMD_SIZE, PROT_NONE,
			     MAP_ANONYMOUS | MAP_PRIVATE | MAP_NORESERVE, 0);
	KUNIT_ASSERT_NE(t->test, addr, 0);
	KUNIT_ASSERT_FALSE(t->test, IS_ERR_VALUE(addr));
	KUNIT_ASSERT_EQ(t->test, vm_munmap(addr, AREA_SIZE + PMD_SIZE), 0);
	t->mm = current->mm;
	t->area = ALIGN(addr, PMD_SIZE);
}

static int hmm_test_init(struct kunit *test)
{
	struct hmm_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);
	int ret;

	KUNIT_ASSERT_NOT_NULL(test, t);
	test->priv = t;
	t->test = test;
	t->pfns = kunit_kcalloc(test, AREA_PAGES + 8, sizeof(*t->pfns), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, t->pfns);
	hmm_test_area(t);

	t->page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	KUNIT_ASSERT_NOT_NULL(test, t->page);
	hmm_test_defer(test, hmm_test_put_page, t->page);

	t->file = anon_inode_create_getfile("[hmm_kunit]", &hmm_test_fops, t,
					    O_RDWR, NULL);
	KUNIT_ASSERT_FALSE(test, IS_ERR(t->file));
	hmm_test_defer(test, hmm_test_put_file, t->file);
	t->on_fault = hmm_test_serve_page;

	ret = mmu_interval_notifier_insert(&t->notifier, t->mm, t->area,
					   AREA_SIZE, &hmm_test_notifier_ops);
	KUNIT_ASSERT_EQ(test, 0, ret);
	hmm_test_defer(test, hmm_test_remove_notifier, &t->notifier);
	return 0;
}

/* What a process does to its memory; pages are counted from the start of the area */

static unsigned long hmm_test_addr(struct hmm_test *t, unsigned long page)
{
	return t->area + (page << PAGE_SHIFT);
}

static void hmm_test_map_file(struct hmm_test *t, struct file *file,
			      unsigned long page, unsigned long nr,
			      unsigned long prot, unsigned long flags)
{
	unsigned long addr = hmm_test_addr(t, page);

	KUNIT_ASSERT_EQ(t->test, addr, vm_mmap(file, addr, nr << PAGE_SHIFT, prot,
					       flags | MAP_FIXED, 0));
}

static void hmm_test_map(struct hmm_test *t, unsigned long page,
			 unsigned long nr, unsigned long prot)
{
	hmm_test_map_file(t, NULL, page, nr, prot, MAP_PRIVATE | MAP_ANONYMOUS);
	/* One fault, one page: huge pages have selftests */
	if (IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		KUNIT_ASSERT_EQ(t->test, 0,
				do_madvise(t->mm, hmm_test_addr(t, page),
					   nr << PAGE_SHIFT, MADV_NOHUGEPAGE));
}

/* A file of @nr pages in the page cache */
static struct file *hmm_test_shmem(struct hmm_test *t, unsigned long nr)
{
	struct file *file = shmem_file_setup("hmm_kunit", nr << PAGE_SHIFT,
					     EMPTY_VMA_FLAGS);

	KUNIT_ASSERT_FALSE(t->test, IS_ERR(file));
	hmm_test_defer(t->test, hmm_test_put_file, file);
	return file;
}

/* Also accesses what the process itself may not, like a debugger */
static void hmm_test_access(struct hmm_test *t, unsigned long page,
			    unsigned int gup_flags)
{
	u32 value = page;

	KUNIT_ASSERT_EQ(t->test, sizeof(value),
			access_remote_vm(t->mm, hmm_test_addr(t, page), &value,
					 sizeof(value), gup_flags | FOLL_FORCE));
}

static void hmm_test_write(struct hmm_test *t, unsigned long page)
{
	hmm_test_access(t, page, FOLL_WRITE);
}

static void hmm_test_read(struct hmm_test *t, unsigned long page)
{
	hmm_test_access(t, page, 0);
}

static int hmm_test_protect_mm(struct mm_struct *mm, unsigned long addr,
			       vm_flags_t clear)
{
	struct vm_area_struct *vma, *prev;
	struct vma_iterator vmi;
	struct mmu_gather tlb;
	int ret = -ENOENT;

	mmap_write_lock(mm);
	vma_iter_init(&vmi, mm, addr);
	vma = vma_find(&vmi, addr + PAGE_SIZE);
	if (vma) {
		prev = vma_prev(&vmi);
		vma_iter_set(&vmi, addr);
		vma = vma_find(&vmi, addr + PAGE_SIZE);
		tlb_gather_mmu(&tlb, mm);
		ret = mprotect_fixup(&vmi, &tlb, vma, &prev, addr,
				     addr + PAGE_SIZE, vma->vm_flags & ~clear);
		tlb_finish_mmu(&tlb);
	}
	mmap_write_unlock(mm);
	return ret;
}

static void hmm_test_protect(struct hmm_test *t, unsigned long page,
			     vm_flags_t clear)
{
	unsigned long addr = hmm_test_addr(t, page);

	KUNIT_ASSERT_EQ(t->test, 0, hmm_test_protect_mm(t->mm, addr, clear));
}

static void hmm_test_fork(struct hmm_test *t)
{
	t->child = mm_alloc();
	KUNIT_ASSERT_NOT_NULL(t->test, t->child);
	t->child->task_size = t->mm->task_size;
	hmm_test_defer(t->test, hmm_test_put_mm, t->child);
	KUNIT_ASSERT_EQ(t->test, 0, dup_mmap(t->child, t->mm));
}

/* Raw page table entries */

static pte_t hmm_test_pte(struct hmm_test *t, unsigned long page)
{
	spinlock_t *ptl;
	pte_t *ptep = get_locked_pte(t->mm, hmm_test_addr(t, page), &ptl);
	pte_t pte;

	KUNIT_ASSERT_NOT_NULL(t->test, ptep);
	pte = ptep_get(ptep);
	pte_unmap_unlock(ptep, ptl);
	return pte;
}

static void hmm_test_set_pte(struct hmm_test *t, unsigned long page, pte_t pte)
{
	unsigned long addr = hmm_test_addr(t, page);
	spinlock_t *ptl;
	pte_t *ptep = get_locked_pte(t->mm, addr, &ptl);

	KUNIT_ASSERT_NOT_NULL(t->test, ptep);
	set_pte_at(t->mm, addr, ptep, pte);
	pte_unmap_unlock(ptep, ptl);
}

/* Calls */

/* Forget the calls so far */
static void hmm_test_reset(struct hmm_test *t)
{
	unsigned long i;

	t->range = (struct hmm_range) { .notifier = &t->notifier };
	for (i = 0; i < AREA_PAGES; i++)
		t->pfns[i] = LITTER;
}

static void hmm_test_pages(struct hmm_test *t, unsigned long page,
			   unsigned long nr)
{
	t->range.start = hmm_test_addr(t, page);
	t->range.end = hmm_test_addr(t, page + nr);
	t->range.hmm_pfns = t->pfns + page;
}

static int hmm_test_locked(struct hmm_test *t)
{
	int ret;

	t->range.notifier_seq = mmu_interval_read_begin(&t->notifier);
	mmap_read_lock(t->mm);
	ret = hmm_range_fault(&t->range);
	mmap_read_unlock(t->mm);
	return ret;
}

static int hmm_test_ask(struct hmm_test *t, unsigned long page, unsigned long nr)
{
	hmm_test_pages(t, page, nr);
	return hmm_test_locked(t);
}

/* Makes the same request for every page */
static int hmm_test_ask_all(struct hmm_test *t, unsigned long page,
			    unsigned long nr, unsigned long request)
{
	hmm_test_reset(t);
	t->range.default_flags = request;
	return hmm_test_ask(t, page, nr);
}

static int hmm_test_ask_unlocked(struct hmm_test *t, unsigned long page,
				 unsigned long nr, unsigned long timeout)
{
	hmm_test_pages(t, page, nr);
	return hmm_range_fault_unlocked_timeout(&t->range, timeout);
}

/* Checks */

#define EXPECT_ENTRY(t, page, value)					\
	KUNIT_EXPECT_EQ_MSG((t)->test, (t)->pfns[page],			\
			    (unsigned long)(value), "page %lu",		\
			    (unsigned long)(page))

static void hmm_test_expect_untouched(struct hmm_test *t, unsigned long page,
				      unsigned long nr)
{
	for (; nr; nr--, page++)
		EXPECT_ENTRY(t, page, LITTER);
}

/* Writable, by ordinary stores, and dirty */
static bool hmm_test_may_write(struct hmm_test *t, unsigned long page, pte_t pte)
{
	struct vm_area_struct *vma;
	bool plain;

	mmap_read_lock(t->mm);
	vma = vma_lookup(t->mm, hmm_test_addr(t, page));
	plain = vma && !(vma->vm_flags & VM_SHADOW_STACK);
	mmap_read_unlock(t->mm);
	return plain && pte_write(pte) && pte_dirty(pte);
}

/* The answer for a page that the page table maps, bit for bit */
static void hmm_test_expect_mapped(struct hmm_test *t, unsigned long page)
{
	pte_t pte = hmm_test_pte(t, page);

	KUNIT_ASSERT_TRUE_MSG(t->test, pte_present(pte), "page %lu", page);
	EXPECT_ENTRY(t, page, HMM_PFN_VALID | pte_pfn(pte) |
			      (hmm_test_may_write(t, page, pte) ?
			       HMM_PFN_WRITE : 0));
}

static unsigned long hmm_test_resident(struct hmm_test *t)
{
	return get_mm_rss_sum(t->mm);
}

static unsigned long hmm_test_fault_count(void)
{
	return current->min_flt + current->maj_flt;
}

/* One table: every kind of page, with every request */

enum hmm_want {
	WANT_NOTHING,	/* 0 */
	WANT_ERROR,
	WANT_VALID,	/* and HMM_PFN_WRITE if the page table allows it */
	WANT_READ,	/* and not HMM_PFN_WRITE */
	WANT_WRITE,
};

struct hmm_outcome {
	int ret;
	enum hmm_want want;
};

/**
 * struct hmm_kind - a kind of page
 * @name: its name, and its rows
 * @prepare: makes such a page; returns false if there is none
 * @cleanup: removes what munmap() cannot handle, or NULL
 * @look: the answer if nothing is requested
 * @read: the answer to a read request
 * @write: the answer to a write request
 * @replaced: a write replaces it by a copy, and the notifier is called
 */
struct hmm_kind {
	const char *name;
	bool (*prepare)(struct hmm_test *t, unsigned long page);
	void (*cleanup)(struct hmm_test *t, unsigned long page);
	struct hmm_outcome look, read, write;
	bool replaced;
};

#define RW	(PROT_READ | PROT_WRITE)

static bool prepare_no_vma(struct hmm_test *t, unsigned long page)
{
	return true;
}

static bool prepare_hole(struct hmm_test *t, unsigned long page)
{
	hmm_test_map(t, page, 1, RW);
	return true;
}

static bool prepare_read_only_hole(struct hmm_test *t, unsigned long page)
{
	hmm_test_map(t, page, 1, PROT_READ);
	return true;
}

static bool prepare_zero(struct hmm_test *t, unsigned long page)
{
	hmm_test_map(t, page, 1, RW);
	hmm_test_read(t, page);
	return true;
}

static bool prepare_written(struct hmm_test *t, unsigned long page)
{
	hmm_test_map(t, page, 1, RW);
	hmm_test_write(t, page);
	return true;
}

static bool prepare_read_only(struct hmm_test *t, unsigned long page)
{
	prepare_written(t, page);
	hmm_test_protect(t, page, VM_WRITE);
	return true;
}

static bool prepare_no_access_hole(struct hmm_test *t, unsigned long page)
{
	hmm_test_map(t, page, 1, PROT_NONE);
	return true;
}

static bool prepare_no_access(struct hmm_test *t, unsigned long page)
{
	prepare_written(t, page);
	hmm_test_protect(t, page, VM_READ | VM_WRITE | VM_EXEC);
	return true;
}

static bool prepare_write_only(struct hmm_test *t, unsigned long page)
{
	prepare_written(t, page);
	hmm_test_protect(t, page, VM_READ | VM_EXEC);
	return true;
}

static bool prepare_cow(struct hmm_test *t, unsigned long page)
{
	prepare_written(t, page);
	hmm_test_fork(t);
	return true;
}

static bool prepare_shmem_hole(struct hmm_test *t, unsigned long page)
{
	hmm_test_map_file(t, hmm_test_shmem(t, 1), page, 1, RW, MAP_SHARED);
	return true;
}

static bool prepare_shmem(struct hmm_test *t, unsigned long page)
{
	prepare_shmem_hole(t, page);
	hmm_test_write(t, page);
	return true;
}

static bool prepare_read_only_file(struct hmm_test *t, unsigned long page)
{
	hmm_test_map_file(t, hmm_test_shmem(t, 1), page, 1, PROT_READ,
			  MAP_SHARED);
	return true;
}

static bool prepare_private_file_hole(struct hmm_test *t, unsigned long page)
{
	hmm_test_map_file(t, hmm_test_shmem(t, 1), page, 1, RW, MAP_PRIVATE);
	return true;
}

static bool prepare_private_file(struct hmm_test *t, unsigned long page)
{
	prepare_private_file_hole(t, page);
	hmm_test_read(t, page);
	return true;
}

static bool prepare_private_copy(struct hmm_test *t, unsigned long page)
{
	prepare_private_file_hole(t, page);
	hmm_test_write(t, page);
	return true;
}

static bool prepare_beyond_eof(struct hmm_test *t, unsigned long page)
{
	hmm_test_map_file(t, hmm_test_shmem(t, 0), page, 1, RW, MAP_SHARED);
	return true;
}

static bool prepare_guard(struct hmm_test *t, unsigned long page)
{
	hmm_test_map(t, page, 1, RW);
	KUNIT_ASSERT_EQ(t->test, 0, do_madvise(t->mm, hmm_test_addr(t, page),
					       PAGE_SIZE, MADV_GUARD_INSTALL));
	return true;
}

static bool prepare_poison(struct hmm_test *t, unsigned long page)
{
	hmm_test_map(t, page, 1, RW);
	hmm_test_set_pte(t, page, make_pte_marker(PTE_MARKER_POISONED));
	return true;
}

/* As left by NUMA balancing */
static bool prepare_protnone(struct hmm_test *t, unsigned long page)
{
	if (!IS_ENABLED(CONFIG_ARCH_HAS_PTE_PROTNONE))
		return false;
#ifdef CONFIG_ARCH_HAS_PTE_PROTNONE
	prepare_written(t, page);
	hmm_test_set_pte(t, page, pte_modify(hmm_test_pte(t, page), PAGE_NONE));
#endif
	return true;
}

/* As left by reclaim, writeback or a read fault of swap */
static bool prepare_clean(struct hmm_test *t, unsigned long page)
{
	prepare_written(t, page);
	hmm_test_set_pte(t, page, pte_mkclean(hmm_test_pte(t, page)));
	return pte_write(hmm_test_pte(t, page));
}

static void hmm_test_add_vm_flags(struct hmm_test *t, unsigned long page,
				  vm_flags_t flags)
{
	mmap_write_lock(t->mm);
	vm_flags_set(vma_lookup(t->mm, hmm_test_addr(t, page)), flags);
	mmap_write_unlock(t->mm);
}

static bool prepare_shadow_stack_hole(struct hmm_test *t, unsigned long page)
{
	if (VM_SHADOW_STACK == VM_NONE)
		return false;
	hmm_test_map(t, page, 1, RW);
	hmm_test_add_vm_flags(t, page, VM_SHADOW_STACK);
	return true;
}

/* Has been written to like any memory, and so is writable */
static bool prepare_shadow_stack(struct hmm_test *t, unsigned long page)
{
	if (VM_SHADOW_STACK == VM_NONE)
		return false;
	prepare_written(t, page);
	hmm_test_add_vm_flags(t, page, VM_SHADOW_STACK);
	return true;
}

/* A pfn whose upper bits overlap flags and order */
static bool prepare_far(struct hmm_test *t, unsigned long page)
{
	/* Above 8 GiB, and below the limit of PAE: 64 GiB */
	unsigned long pfn = 0x123 + (unsigned long)((16ULL << 30) >> PAGE_SHIFT);

	if (sizeof(phys_addr_t) <= sizeof(long))
		return false;
	hmm_test_map(t, page, 1, RW);
	hmm_test_set_pte(t, page, pfn_pte(pfn, vm_get_page_prot(VM_READ)));
	KUNIT_ASSERT_EQ(t->test, pte_pfn(hmm_test_pte(t, page)), pfn);
	return true;
}

static void cleanup_pte(struct hmm_test *t, unsigned long page)
{
	spinlock_t *ptl;
	unsigned long addr = hmm_test_addr(t, page);
	pte_t *ptep = get_locked_pte(t->mm, addr, &ptl);

	KUNIT_ASSERT_NOT_NULL(t->test, ptep);
	pte_clear(t->mm, addr, ptep);
	pte_unmap_unlock(ptep, ptl);
}

static void hmm_test_map_device(struct hmm_test *t, unsigned long page,
				vm_fault_t (*serve)(struct hmm_test *t,
						    struct vm_fault *vmf))
{
	t->on_fault = serve;
	hmm_test_map_file(t, t->file, page, 1, RW, MAP_SHARED);
}

static bool prepare_device_page(struct hmm_test *t, unsigned long page)
{
	hmm_test_map_device(t, page, hmm_test_serve_page);
	hmm_test_write(t, page);
	return true;
}

static bool prepare_special(struct hmm_test *t, unsigned long page)
{
	/* Without the bit, a page of RAM is like any other */
	if (!IS_ENABLED(CONFIG_ARCH_HAS_PTE_SPECIAL))
		return false;
	hmm_test_map_device(t, page, hmm_test_serve_special);
	mmap_read_lock(t->mm);
	handle_mm_fault(vma_lookup(t->mm, hmm_test_addr(t, page)),
			hmm_test_addr(t, page), FAULT_FLAG_REMOTE, NULL);
	mmap_read_unlock(t->mm);
	return pte_special(hmm_test_pte(t, page));
}

static bool prepare_sigbus(struct hmm_test *t, unsigned long page)
{
	hmm_test_map_device(t, page, hmm_test_serve_sigbus);
	return true;
}

static bool prepare_oom(struct hmm_test *t, unsigned long page)
{
	hmm_test_map_device(t, page, hmm_test_serve_oom);
	return true;
}

static bool prepare_hwpoison(struct hmm_test *t, unsigned long page)
{
	hmm_test_map_device(t, page, hmm_test_serve_hwpoison);
	return true;
}

static bool hmm_test_vm_flags(struct hmm_test *t, unsigned long page,
			      vm_flags_t flags)
{
	struct vm_area_struct *vma;

	hmm_test_map_device(t, page, hmm_test_serve_sigbus);
	mmap_write_lock(t->mm);
	vma = vma_lookup(t->mm, hmm_test_addr(t, page));
	if (vma)
		vm_flags_mod(vma, flags, VM_MIXEDMAP);
	mmap_write_unlock(t->mm);
	return vma;
}

static bool prepare_pfnmap(struct hmm_test *t, unsigned long page)
{
	return hmm_test_vm_flags(t, page, VM_PFNMAP);
}

static bool prepare_io(struct hmm_test *t, unsigned long page)
{
	return hmm_test_vm_flags(t, page, VM_IO);
}

#define NEVER	{ 0, WANT_ERROR }, { -EFAULT }, { -EFAULT }

static const struct hmm_kind hmm_kinds[] = {
	{ "no VMA", prepare_no_vma, NULL, NEVER },
	{ "hole", prepare_hole, NULL,
	  { 0, WANT_NOTHING }, { 0, WANT_READ }, { 0, WANT_WRITE } },
	{ "hole, read-only VMA", prepare_read_only_hole, NULL,
	  { 0, WANT_NOTHING }, { 0, WANT_READ }, { -EPERM } },
	{ "zero page", prepare_zero, NULL,
	  { 0, WANT_READ }, { 0, WANT_READ }, { 0, WANT_WRITE }, true },
	{ "anonymous", prepare_written, NULL,
	  { 0, WANT_WRITE }, { 0, WANT_WRITE }, { 0, WANT_WRITE } },
	{ "anonymous, read-only VMA", prepare_read_only, NULL,
	  { 0, WANT_READ }, { 0, WANT_READ }, { -EPERM } },
	{ "hole, PROT_NONE VMA", prepare_no_access_hole, NULL, NEVER },
	{ "anonymous, PROT_NONE VMA", prepare_no_access, NULL, NEVER },
	{ "anonymous, write-only VMA", prepare_write_only, NULL, NEVER },
	{ "anonymous, after fork", prepare_cow, NULL,
	  { 0, WANT_READ }, { 0, WANT_READ }, { 0, WANT_WRITE }, true },
	{ "shared file, hole", prepare_shmem_hole, NULL,
	  { 0, WANT_NOTHING }, { 0, WANT_VALID }, { 0, WANT_WRITE } },
	{ "shared file", prepare_shmem, NULL,
	  { 0, WANT_WRITE }, { 0, WANT_WRITE }, { 0, WANT_WRITE } },
	{ "shared file, read-only VMA", prepare_read_only_file, NULL,
	  { 0, WANT_NOTHING }, { 0, WANT_READ }, { -EPERM } },
	{ "private file, hole", prepare_private_file_hole, NULL,
	  { 0, WANT_NOTHING }, { 0, WANT_READ }, { 0, WANT_WRITE } },
	{ "private file", prepare_private_file, NULL,
	  { 0, WANT_READ }, { 0, WANT_READ }, { 0, WANT_WRITE }, true },
	{ "private file, copied", prepare_private_copy, NULL,
	  { 0, WANT_WRITE }, { 0, WANT_WRITE }, { 0, WANT_WRITE } },
	{ "beyond end of file", prepare_beyond_eof, NULL,
	  { 0, WANT_NOTHING }, { -EFAULT }, { -EFAULT } },
	{ "guard region", prepare_guard, NULL,
	  { 0, WANT_NOTHING }, { -EFAULT }, { -EFAULT } },
	{ "poison marker", prepare_poison, cleanup_pte,
	  { 0, WANT_NOTHING }, { -EFAULT }, { -EFAULT } },
	{ "NUMA hint", prepare_protnone, NULL,
	  { 0, WANT_READ }, { 0, WANT_READ }, { 0, WANT_WRITE } },
	{ "clean, writable", prepare_clean, NULL,
	  { 0, WANT_READ }, { 0, WANT_READ }, { 0, WANT_WRITE } },
	{ "shadow stack", prepare_shadow_stack, NULL,
	  { 0, WANT_READ }, { 0, WANT_READ }, { -EPERM } },
	{ "shadow stack, hole", prepare_shadow_stack_hole, NULL,
	  { 0, WANT_NOTHING }, { 0, WANT_READ }, { -EPERM } },
	{ "pfn out of reach of 32 bit", prepare_far, cleanup_pte, NEVER },
	{ "mixed map, page", prepare_device_page, NULL,
	  { 0, WANT_WRITE }, { 0, WANT_WRITE }, { 0, WANT_WRITE } },
	{ "mixed map, special", prepare_special, NULL, NEVER },
	{ "fault fails", prepare_sigbus, NULL,
	  { 0, WANT_NOTHING }, { -EFAULT }, { -EFAULT } },
	{ "fault finds no memory", prepare_oom, NULL,
	  { 0, WANT_NOTHING }, { -ENOMEM }, { -ENOMEM } },
	{ "fault finds broken memory", prepare_hwpoison, NULL,
	  { 0, WANT_NOTHING }, { -EFAULT }, { -EFAULT } },
	{ "VM_PFNMAP", prepare_pfnmap, NULL, NEVER },
	{ "VM_IO", prepare_io, NULL, NEVER },
};

static void hmm_kind_describe(const struct hmm_kind *kind, char *desc)
{
	strscpy(desc, kind->name, KUNIT_PARAM_DESC_SIZE);
}
KUNIT_ARRAY_PARAM(hmm_kind, hmm_kinds, hmm_kind_describe);

static void hmm_test_compare(struct hmm_test *t, unsigned long page, int ret,
			     const struct hmm_outcome *outcome,
			     unsigned long input, const char *style)
{
	unsigned long entry = t->pfns[page];

	KUNIT_EXPECT_EQ_MSG(t->test, ret, outcome->ret, "%s", style);
	/* Errors leave the entries unchanged */
	if (outcome->ret) {
		EXPECT_ENTRY(t, page, input);
		return;
	}
	switch (outcome->want) {
	case WANT_NOTHING:
		EXPECT_ENTRY(t, page, 0);
		break;
	case WANT_ERROR:
		EXPECT_ENTRY(t, page, HMM_PFN_ERROR);
		break;
	case WANT_READ:
		KUNIT_EXPECT_FALSE(t->test, entry & HMM_PFN_WRITE);
		hmm_test_expect_mapped(t, page);
		break;
	case WANT_WRITE:
		KUNIT_EXPECT_TRUE(t->test, entry & HMM_PFN_WRITE);
		hmm_test_expect_mapped(t, page);
		break;
	case WANT_VALID:
		hmm_test_expect_mapped(t, page);
		break;
	}
}

/* The ways to make a request: default, mask and entry */
static const struct hmm_style {
	const char *name;
	unsigned long def, mask, entry;
	enum { LOOK, ASK_READ, ASK_WRITE } comes_to;
} hmm_styles[] = {
	{ "nothing", 0, 0, 0, LOOK },
	{ "write, masked", 0, 0, REQ_WRITE, LOOK },
	{ "write without fault", 0, HMM_PFN_REQ_WRITE, REQ_WRITE, LOOK },
	{ "nothing by page", 0, -1UL, 0, LOOK },
	{ "read by default", REQ_READ, 0, 0, ASK_READ },
	{ "read by page", 0, -1UL, REQ_READ, ASK_READ },
	{ "read by default, write masked", REQ_READ, 0, REQ_WRITE, ASK_READ },
	{ "write masked to read", 0, HMM_PFN_REQ_FAULT, REQ_WRITE, ASK_READ },
	{ "write by default", REQ_WRITE, 0, 0, ASK_WRITE },
	{ "write by page", 0, -1UL, REQ_WRITE, ASK_WRITE },
	{ "read by default, write by page", REQ_READ, -1UL, REQ_WRITE, ASK_WRITE },
	{ "fault by default, write by page", REQ_READ, HMM_PFN_REQ_WRITE,
	  HMM_PFN_REQ_WRITE, ASK_WRITE },
};

static void hmm_test_kind_style(struct hmm_test *t, const struct hmm_kind *kind,
				const struct hmm_style *style, unsigned long page,
				bool locked)
{
	const struct hmm_outcome *outcome =
		style->comes_to == ASK_WRITE ? &kind->write :
		style->comes_to == ASK_READ ? &kind->read : &kind->look;
	unsigned long resident;
	int ret;

	if (!kind->prepare(t, page))
		kunit_skip(t->test, "this architecture has no such page");
	hmm_test_reset(t);
	t->range.default_flags = style->def;
	t->range.pfn_flags_mask = style->mask;
	t->pfns[page] |= style->entry;
	resident = hmm_test_resident(t);

	if (locked && kind->replaced && style->comes_to == ASK_WRITE) {
		KUNIT_EXPECT_EQ(t->test, -EBUSY, hmm_test_ask(t, page, 1));
		EXPECT_ENTRY(t, page, LITTER | style->entry);
	}
	ret = locked ? hmm_test_ask(t, page, 1) :
		       hmm_test_ask_unlocked(t, page, 1, HZ);
	hmm_test_compare(t, page, ret, outcome, LITTER | style->entry,
			 style->name);
	if (style->comes_to == LOOK)
		KUNIT_EXPECT_EQ(t->test, resident, hmm_test_resident(t));
	hmm_test_expect_untouched(t, page - 1, 1);
	hmm_test_expect_untouched(t, page + 1, 1);
	if (kind->cleanup)
		kind->cleanup(t, page);
}

static void hmm_test_table(struct kunit *test)
{
	const struct hmm_kind *kind = test->param_value;
	struct hmm_test *t = test->priv;
	unsigned long page = 1;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(hmm_styles); i++) {
		hmm_test_kind_style(t, kind, &hmm_styles[i], page, true);
		hmm_test_kind_style(t, kind, &hmm_styles[i], page + 2, false);
		page += 4;
	}
}

/* How much a call does */

/* One page of a hole, without a page table and with one */
static void hmm_test_one_of_hole(struct kunit *test)
{
	struct hmm_test *t = test->priv;
	unsigned long resident, faults, i, asked = TABLE_PAGES + 7;

	hmm_test_map(t, 0, AREA_PAGES, RW);
	for (; asked <= TABLE_PAGES + 27; asked += 20) {
		hmm_test_reset(t);
		t->range.pfn_flags_mask = REQ_WRITE;
		t->pfns[asked] |= REQ_WRITE;
		resident = hmm_test_resident(t);
		faults = hmm_test_fault_count();
		KUNIT_EXPECT_EQ(test, 0, hmm_test_ask(t, 0, AREA_PAGES));
		KUNIT_EXPECT_EQ(test, 1, hmm_test_fault_count() - faults);
		KUNIT_EXPECT_EQ(test, 1, hmm_test_resident(t) - resident);
		hmm_test_expect_mapped(t, asked);
	}
	for (i = 0; i < AREA_PAGES; i++)
		if (i != TABLE_PAGES + 7 && i != TABLE_PAGES + 27)
			KUNIT_ASSERT_EQ_MSG(test, 0, t->pfns[i], "page %lu", i);
}

/* A write request for one page makes one copy */
static void hmm_test_one_copy(struct kunit *test)
{
	struct hmm_test *t = test->priv;
	unsigned long i;

	hmm_test_map_file(t, hmm_test_shmem(t, 64), 0, 64, RW, MAP_PRIVATE);
	hmm_test_reset(t);
	t->range.default_flags = REQ_READ;
	t->range.pfn_flags_mask = HMM_PFN_REQ_WRITE;
	t->pfns[5] |= HMM_PFN_REQ_WRITE;
	KUNIT_EXPECT_EQ(test, 0, hmm_test_ask(t, 0, 64));
	for (i = 0; i < 64; i++)
		hmm_test_expect_mapped(t, i);
	KUNIT_EXPECT_TRUE(test, t->pfns[5] & HMM_PFN_WRITE);
	KUNIT_EXPECT_EQ(test, 1, get_mm_counter_sum(t->mm, MM_ANONPAGES));
}

/* A page that is not requested cannot fail */
static void hmm_test_not_asked_cannot_fail(struct kunit *test)
{
	struct hmm_test *t = test->priv;

	hmm_test_map_file(t, hmm_test_shmem(t, 1), 0, 2, RW, MAP_SHARED);
	hmm_test_map(t, 2, 2, PROT_NONE);
	hmm_test_reset(t);
	t->range.pfn_flags_mask = REQ_WRITE;
	t->pfns[0] |= REQ_WRITE;
	KUNIT_EXPECT_EQ(test, 0, hmm_test_ask(t, 0, 5));
	hmm_test_expect_mapped(t, 0);
	EXPECT_ENTRY(t, 1, 0);
	EXPECT_ENTRY(t, 2, HMM_PFN_ERROR);
	EXPECT_ENTRY(t, 3, HMM_PFN_ERROR);
	EXPECT_ENTRY(t, 4, HMM_PFN_ERROR);
}

/* Every requested page is faulted, once */
static void hmm_test_one_fault_each(struct kunit *test)
{
	struct hmm_test *t = test->priv;
	unsigned long faults, i;

	hmm_test_map(t, 0, AREA_PAGES, RW);
	hmm_test_reset(t);
	t->range.pfn_flags_mask = -1UL;
	for (i = TABLE_PAGES - 4; i < TABLE_PAGES + 4; i += 2)
		t->pfns[i] = REQ_WRITE;
	faults = hmm_test_fault_count();
	KUNIT_EXPECT_EQ(test, 0, hmm_test_ask(t, 1, AREA_PAGES - 1));
	KUNIT_EXPECT_EQ(test, 4, hmm_test_fault_count() - faults);
	for (i = TABLE_PAGES - 4; i < TABLE_PAGES + 4; i += 2) {
		hmm_test_expect_mapped(t, i);
		EXPECT_ENTRY(t, i + 1, 0);
	}
}

/* Long and mixed ranges */

static bool hmm_test_is_touched(unsigned long page)
{
	return page % TABLE_PAGES < 3 || page % 37 == 0 ||
	       page % TABLE_PAGES > TABLE_PAGES - 3;
}

/* Every entry is written, from any start to any end */
static void hmm_test_every_entry(struct kunit *test)
{
	static const unsigned int edges[] = { 0, 1, 2, 36, 37, 38 };
	struct hmm_test *t = test->priv;
	unsigned long i, first, last, n;

	hmm_test_map(t, 0, AREA_PAGES, RW);
	for (i = 0; i < AREA_PAGES; i++)
		if (hmm_test_is_touched(i))
			hmm_test_write(t, i);
	for (n = 0; n < ARRAY_SIZE(edges); n++) {
		first = edges[n];
		last = AREA_PAGES - edges[ARRAY_SIZE(edges) - 1 - n];
		KUNIT_ASSERT_EQ(test, 0,
				hmm_test_ask_all(t, first, last - first, 0));
		hmm_test_expect_untouched(t, 0, first);
		hmm_test_expect_untouched(t, last, AREA_PAGES - last);
		for (i = first; i < last; i++) {
			if (!hmm_test_is_touched(i))
				EXPECT_ENTRY(t, i, 0);
			else
				hmm_test_expect_mapped(t, i);
		}
	}
}

/* VMAs of several kinds and gaps between them in one call */
static void hmm_test_many_vmas(struct kunit *test)
{
	struct hmm_test *t = test->priv;
	unsigned long i;

	for (i = 0; i < 60; i += 6) {
		hmm_test_map(t, i, 1, RW);
		hmm_test_write(t, i);
		hmm_test_map(t, i + 1, 1, PROT_READ);
		hmm_test_map(t, i + 2, 1, PROT_NONE);
		/* i + 3 and i + 5 are gaps */
		hmm_test_map_file(t, hmm_test_shmem(t, 1), i + 4, 1, RW,
				  MAP_SHARED);
	}
	KUNIT_EXPECT_EQ(test, 0, hmm_test_ask_all(t, 0, 60, 0));
	for (i = 0; i < 60; i += 6) {
		hmm_test_expect_mapped(t, i);
		EXPECT_ENTRY(t, i + 1, 0);
		EXPECT_ENTRY(t, i + 2, HMM_PFN_ERROR);
		EXPECT_ENTRY(t, i + 3, HMM_PFN_ERROR);
		EXPECT_ENTRY(t, i + 4, 0);
		EXPECT_ENTRY(t, i + 5, HMM_PFN_ERROR);
	}
}

/* The answered page is the one the process sees */
static void hmm_test_data(struct kunit *test)
{
	struct hmm_test *t = test->priv;
	unsigned long i;
	u32 value;

	hmm_test_map(t, 0, 3 * TABLE_PAGES, RW);
	for (i = TABLE_PAGES - 8; i < TABLE_PAGES + 8; i++)
		hmm_test_write(t, i);
	KUNIT_ASSERT_EQ(test, 0, hmm_test_ask_all(t, TABLE_PAGES - 8, 16, REQ_READ));
	for (i = TABLE_PAGES - 8; i < TABLE_PAGES + 8; i++) {
		memcpy_from_page((char *)&value, hmm_pfn_to_page(t->pfns[i]), 0,
				 sizeof(value));
		KUNIT_EXPECT_EQ(test, value, i);
		KUNIT_EXPECT_EQ(test, 0, hmm_pfn_to_map_order(t->pfns[i]));
	}
}

/* Errors */

/* Answers before the page that failed, inputs from it on */
static void hmm_test_error_keeps_inputs(struct kunit *test)
{
	struct hmm_test *t = test->priv;
	unsigned long failing, i;

	for (failing = 1; failing < 8; failing += 3) {
		hmm_test_map(t, 0, 8, RW);
		hmm_test_write(t, 0);
		hmm_test_map(t, failing, 1, PROT_NONE);
		hmm_test_reset(t);
		t->range.pfn_flags_mask = REQ_WRITE;
		for (i = 0; i < 8; i++)
			t->pfns[i] |= REQ_WRITE | HMM_PFN_ERROR | i;
		KUNIT_EXPECT_EQ(test, -EFAULT, hmm_test_ask(t, 0, 8));
		for (i = 0; i < failing; i++)
			hmm_test_expect_mapped(t, i);
		for (; i < 8; i++)
			EXPECT_ENTRY(t, i, LITTER | REQ_WRITE | HMM_PFN_ERROR | i);

		hmm_test_reset(t);
		t->range.default_flags = REQ_WRITE;
		KUNIT_EXPECT_EQ(test, -EFAULT,
				hmm_test_ask_unlocked(t, 0, 8, HZ));
		for (i = 0; i < failing; i++)
			hmm_test_expect_mapped(t, i);
		hmm_test_expect_untouched(t, failing, 9 - failing);
	}
}

static void hmm_test_expect_refused(struct hmm_test *t, unsigned long start,
				    unsigned long end)
{
	unsigned long faults = hmm_test_fault_count();

	hmm_test_reset(t);
	t->range.default_flags = REQ_WRITE;
	hmm_test_pages(t, 1, 4);
	t->range.start += start;
	t->range.end += end;
	KUNIT_EXPECT_EQ_MSG(t->test, -EINVAL, hmm_test_locked(t),
			    "start %+ld end %+ld", start, end);
	KUNIT_EXPECT_EQ_MSG(t->test, -EINVAL,
			    hmm_range_fault_unlocked_timeout(&t->range, HZ),
			    "start %+ld end %+ld, unlocked", start, end);
	KUNIT_EXPECT_EQ(t->test, 0, hmm_test_fault_count() - faults);
	hmm_test_expect_untouched(t, 0, 8);
}

/* Unaligned, empty, reversed, or outside the notifier's interval */
static void hmm_test_bad_range(struct kunit *test)
{
	struct hmm_test *t = test->priv;

	hmm_test_map(t, 0, 8, RW);
	hmm_test_expect_refused(t, 1, 0);
	hmm_test_expect_refused(t, PAGE_SIZE / 2, 0);
	hmm_test_expect_refused(t, 0, -1UL);
	hmm_test_expect_refused(t, 0, 1);
	hmm_test_expect_refused(t, 0, -4 * PAGE_SIZE);
	hmm_test_expect_refused(t, 4 * PAGE_SIZE, -PAGE_SIZE);
	hmm_test_expect_refused(t, -2 * PAGE_SIZE, 0);
	hmm_test_expect_refused(t, 0, AREA_SIZE - 4 * PAGE_SIZE);
	hmm_test_expect_refused(t, AREA_SIZE, AREA_SIZE);
}

/* A driver's mistakes: reported once, and nothing is changed */
static void hmm_test_mistakes(struct kunit *test)
{
	struct hmm_test *t = test->priv;

	if (!IS_ENABLED(CONFIG_BUG))
		kunit_skip(test, "no warnings without CONFIG_BUG");
	hmm_test_map(t, 0, 8, RW);
	hmm_test_reset(t);
	t->range.default_flags = REQ_WRITE;
	hmm_test_pages(t, 0, 8);

	kunit_warning_suppress(test) {
		/* mmap_lock is not held */
		t->range.notifier_seq = mmu_interval_read_begin(&t->notifier);
		KUNIT_EXPECT_EQ(test, -EINVAL, hmm_range_fault(&t->range));
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 1);
	}
	kunit_warning_suppress(test) {
		t->range.notifier = NULL;
		KUNIT_EXPECT_EQ(test, -EINVAL,
				hmm_range_fault_unlocked_timeout(&t->range, HZ));
		t->range.notifier = &t->notifier;
		t->range.hmm_pfns = NULL;
		KUNIT_EXPECT_EQ(test, -EINVAL, hmm_test_locked(t));
		KUNIT_EXPECT_GE(test, KUNIT_SUPPRESSED_WARNING_COUNT(), 1);
	}
	hmm_test_expect_untouched(t, 0, 8);
	KUNIT_EXPECT_EQ(test, 0, hmm_test_resident(t));
}

static vm_fault_t hmm_test_serve_unlocked(struct hmm_test *t,
					  struct vm_fault *vmf)
{
	return VM_FAULT_RETRY;
}

/* A fault handler that drops mmap_lock although it must not */
static void hmm_test_dropped_lock(struct kunit *test)
{
	struct hmm_test *t = test->priv;
	int ret;

	if (!IS_ENABLED(CONFIG_BUG))
		kunit_skip(test, "no warnings without CONFIG_BUG");
	hmm_test_map_device(t, 0, hmm_test_serve_unlocked);
	hmm_test_reset(t);
	t->range.default_flags = REQ_READ;
	hmm_test_pages(t, 0, 1);
	kunit_warning_suppress(test) {
		ret = hmm_test_locked(t);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 1);
	}
	KUNIT_EXPECT_EQ(test, -EFAULT, ret);
	hmm_test_expect_untouched(t, 0, 1);
}

/* Invalidation */

/* A stale sequence is noticed before anything is done */
static void hmm_test_busy(struct kunit *test)
{
	struct hmm_test *t = test->priv;
	unsigned long i;

	hmm_test_map(t, 0, 8, RW);
	hmm_test_write(t, 0);
	hmm_test_reset(t);
	t->range.default_flags = REQ_WRITE;
	hmm_test_pages(t, 0, 8);
	t->range.notifier_seq = mmu_interval_read_begin(&t->notifier);
	KUNIT_ASSERT_EQ(test, 0, do_madvise(t->mm, t->area, PAGE_SIZE,
					    MADV_DONTNEED));
	mmap_read_lock(t->mm);
	KUNIT_EXPECT_EQ(test, -EBUSY, hmm_range_fault(&t->range));
	mmap_read_unlock(t->mm);
	hmm_test_expect_untouched(t, 0, 8);
	KUNIT_EXPECT_EQ(test, 0, hmm_test_resident(t));

	KUNIT_EXPECT_EQ(test, 0, hmm_test_locked(t));
	for (i = 0; i < 8; i++)
		hmm_test_expect_mapped(t, i);
}

static vm_fault_t hmm_test_serve_changing(struct hmm_test *t,
					  struct vm_fault *vmf)
{
	hmm_test_change(t);
	return VM_FAULT_NOPAGE;
}

/* Invalidated by a fault of the call, with answers before and inputs after it */
static void hmm_test_busy_during_call(struct kunit *test)
{
	struct hmm_test *t = test->priv;

	hmm_test_map(t, 0, 4, RW);
	hmm_test_map_device(t, 2, hmm_test_serve_changing);
	KUNIT_EXPECT_EQ(test, -EBUSY, hmm_test_ask_all(t, 0, 4, REQ_READ));
	hmm_test_expect_mapped(t, 0);
	hmm_test_expect_mapped(t, 1);
	hmm_test_expect_untouched(t, 2, 2);
	/* A page that cannot be mapped does not keep others from being faulted */
	KUNIT_EXPECT_GT(test, t->faults, 1);
	KUNIT_EXPECT_LT(test, t->faults, 10);
	KUNIT_EXPECT_TRUE(test, pte_present(hmm_test_pte(t, 3)));
}

/* Somebody else takes a page away during the first fault */
static vm_fault_t hmm_test_serve_changing_once(struct hmm_test *t,
					       struct vm_fault *vmf)
{
	if (t->faults == 1)
		hmm_test_change(t);
	return hmm_test_serve_page(t, vmf);
}

/*
 * A call whose own faults call the notifier faults the requested pages, and no
 * others, before it gives up, which it does once.
 */
struct hmm_own {
	const char *name;
	void (*prepare)(struct hmm_test *t, unsigned long nr);
};

static void prepare_own_zero(struct hmm_test *t, unsigned long nr)
{
	unsigned long i;

	hmm_test_map(t, 0, nr, RW);
	for (i = 0; i < nr; i++)
		hmm_test_read(t, i);
}

static void prepare_own_fork(struct hmm_test *t, unsigned long nr)
{
	unsigned long i;

	hmm_test_map(t, 0, nr, RW);
	for (i = 0; i < nr; i++)
		hmm_test_write(t, i);
	hmm_test_fork(t);
}

static void prepare_own_file(struct hmm_test *t, unsigned long nr)
{
	unsigned long i;

	hmm_test_map_file(t, hmm_test_shmem(t, nr), 0, nr, RW, MAP_PRIVATE);
	for (i = 0; i < nr; i++)
		hmm_test_read(t, i);
}

/* Every other page is a hole, then one to write to, then one to read */
static void prepare_own_mixed(struct hmm_test *t, unsigned long nr)
{
	unsigned long i;

	hmm_test_map(t, 0, nr, RW);
	for (i = 0; i < nr; i++)
		if (i % 3 == 1)
			hmm_test_read(t, i);
		else if (i % 3 == 2)
			hmm_test_write(t, i);
}

static const struct hmm_own hmm_owns[] = {
	{ "zero pages", prepare_own_zero },
	{ "after fork", prepare_own_fork },
	{ "private file", prepare_own_file },
	{ "zero pages, holes and others", prepare_own_mixed },
};

static void hmm_own_describe(const struct hmm_own *own, char *desc)
{
	strscpy(desc, own->name, KUNIT_PARAM_DESC_SIZE);
}
KUNIT_ARRAY_PARAM(hmm_own, hmm_owns, hmm_own_describe);

#define OWN_PAGES	(AREA_PAGES - 100)

static void hmm_test_own_all(struct kunit *test)
{
	const struct hmm_own *own = test->param_value;
	struct hmm_test *t = test->priv;
	unsigned long i;

	own->prepare(t, OWN_PAGES);
	KUNIT_EXPECT_EQ(test, -EBUSY, hmm_test_ask_all(t, 0, OWN_PAGES, REQ_WRITE));
	for (i = 0; i < OWN_PAGES; i++)
		KUNIT_ASSERT_TRUE_MSG(test, pte_write(hmm_test_pte(t, i)),
				      "page %lu", i);
	KUNIT_EXPECT_EQ(test, 0, hmm_test_ask_all(t, 0, OWN_PAGES, REQ_WRITE));
	for (i = 0; i < OWN_PAGES; i++)
		hmm_test_expect_mapped(t, i);
}

static void hmm_test_own_unlocked(struct kunit *test)
{
	const struct hmm_own *own = test->param_value;
	struct hmm_test *t = test->priv;
	unsigned long i, seq, faults;

	own->prepare(t, OWN_PAGES);
	hmm_test_reset(t);
	t->range.default_flags = REQ_WRITE;
	seq = mmu_interval_read_begin(&t->notifier);
	faults = hmm_test_fault_count();
	/* One jiffy: time for invalidations by the call itself is not counted */
	KUNIT_EXPECT_EQ(test, 0, hmm_test_ask_unlocked(t, 0, OWN_PAGES, 1));
	KUNIT_EXPECT_NE(test, seq, t->range.notifier_seq);
	KUNIT_EXPECT_LE(test, hmm_test_fault_count() - faults, OWN_PAGES);
	for (i = 0; i < OWN_PAGES; i++)
		hmm_test_expect_mapped(t, i);
}

/* Pages that are not requested do not change, however the call ends */
static void hmm_test_own_some(struct kunit *test)
{
	const struct hmm_own *own = test->param_value;
	struct hmm_test *t = test->priv;
	unsigned long i, asked = 0, faults;

	own->prepare(t, OWN_PAGES);
	hmm_test_reset(t);
	t->range.pfn_flags_mask = REQ_WRITE;
	for (i = 4; i < OWN_PAGES; i += 7, asked++)
		t->pfns[i] |= REQ_WRITE;
	faults = hmm_test_fault_count();
	KUNIT_EXPECT_EQ(test, -EBUSY, hmm_test_ask(t, 0, OWN_PAGES));
	KUNIT_EXPECT_LE(test, hmm_test_fault_count() - faults, asked);
	hmm_test_expect_untouched(t, 5, 6);
	EXPECT_ENTRY(t, 4, LITTER | REQ_WRITE);
	EXPECT_ENTRY(t, 11, LITTER | REQ_WRITE);

	faults = hmm_test_fault_count();
	for (i = 0; i < OWN_PAGES; i++)
		t->pfns[i] = LITTER | (i % 7 == 4 ? REQ_WRITE : 0);
	KUNIT_EXPECT_EQ(test, 0, hmm_test_ask(t, 0, OWN_PAGES));
	KUNIT_EXPECT_EQ(test, 0, hmm_test_fault_count() - faults);
	for (i = 4; i < OWN_PAGES; i += 7)
		hmm_test_expect_mapped(t, i);
}

/* An error after the page is reported by the call that can answer the pages before it */
static void hmm_test_own_then_error(struct kunit *test)
{
	struct hmm_test *t = test->priv;
	unsigned long i;

	prepare_own_zero(t, 8);
	hmm_test_map(t, 6, 1, PROT_NONE);
	KUNIT_EXPECT_EQ(test, -EBUSY, hmm_test_ask_all(t, 0, 8, REQ_WRITE));
	hmm_test_expect_untouched(t, 0, 8);
	KUNIT_EXPECT_EQ(test, -EFAULT, hmm_test_ask_all(t, 0, 8, REQ_WRITE));
	for (i = 0; i < 6; i++)
		hmm_test_expect_mapped(t, i);
	hmm_test_expect_untouched(t, 6, 2);
}

/* A call that others have invalidated ends at once */
static void hmm_test_others_at_once(struct kunit *test)
{
	struct hmm_test *t = test->priv;

	hmm_test_map(t, 0, 4, RW);
	hmm_test_map_device(t, 0, hmm_test_serve_changing_once);
	hmm_test_map_device(t, 2, hmm_test_serve_changing_once);
	hmm_test_reset(t);
	t->range.default_flags = REQ_READ;
	hmm_test_pages(t, 0, 4);
	t->range.notifier_seq = mmu_interval_read_begin(&t->notifier);
	hmm_test_change(t);
	mmap_read_lock(t->mm);
	KUNIT_EXPECT_EQ(test, -EBUSY, hmm_range_fault(&t->range));
	mmap_read_unlock(t->mm);
	KUNIT_EXPECT_EQ(test, 0, t->faults);
	hmm_test_expect_untouched(t, 0, 4);
}

/* The unlocked call gives up after its timeout, not before */
static void hmm_test_timeout(struct kunit *test)
{
	struct hmm_test *t = test->priv;
	unsigned long began = jiffies, timeout = HZ / 10;

	hmm_test_map(t, 0, 4, RW);
	hmm_test_map_device(t, 2, hmm_test_serve_changing);
	hmm_test_reset(t);
	t->range.default_flags = REQ_READ;
	KUNIT_EXPECT_EQ(test, -EBUSY, hmm_test_ask_unlocked(t, 0, 4, timeout));
	KUNIT_EXPECT_GE(test, jiffies - began, timeout);
	KUNIT_EXPECT_LT(test, jiffies - began, timeout + 5 * HZ);
	KUNIT_EXPECT_GT(test, t->faults, 1);
	hmm_test_expect_mapped(t, 0);
	hmm_test_expect_mapped(t, 1);
	hmm_test_expect_untouched(t, 2, 2);
}

static vm_fault_t hmm_test_serve_tenth(struct hmm_test *t, struct vm_fault *vmf)
{
	return t->faults < 10 ? hmm_test_serve_changing(t, vmf) :
				hmm_test_serve_page(t, vmf);
}

/* Without a timeout it continues until it succeeds */
static void hmm_test_no_timeout(struct kunit *test)
{
	struct hmm_test *t = test->priv;

	hmm_test_map(t, 0, 4, RW);
	hmm_test_map_device(t, 2, hmm_test_serve_tenth);
	hmm_test_reset(t);
	t->range.default_flags = REQ_READ;
	KUNIT_EXPECT_EQ(test, 0, hmm_test_ask_unlocked(t, 0, 4, 0));
	KUNIT_EXPECT_EQ(test, 10, t->faults);
	hmm_test_expect_mapped(t, 0);
	hmm_test_expect_mapped(t, 2);
	hmm_test_expect_mapped(t, 3);
	KUNIT_EXPECT_FALSE(test, mmu_interval_read_retry(&t->notifier,
							 t->range.notifier_seq));
}

/* While the handler has dropped mmap_lock, page 0 becomes read-only */
static vm_fault_t hmm_test_serve_protecting(struct hmm_test *t,
					    struct vm_fault *vmf)
{
	if (t->faults > 1)
		return hmm_test_serve_page(t, vmf);
	release_fault_lock(vmf);
	hmm_test_protect(t, 0, VM_WRITE);
	return VM_FAULT_RETRY;
}

/*
 * An answer with HMM_PFN_WRITE, if read as a request when the call starts over,
 * would request a write that nobody asked for.
 */
static void hmm_test_answers_are_no_requests(struct kunit *test)
{
	struct hmm_test *t = test->priv;

	hmm_test_map(t, 0, 1, RW);
	hmm_test_write(t, 0);
	hmm_test_map_device(t, 1, hmm_test_serve_protecting);
	hmm_test_reset(t);
	t->range.pfn_flags_mask = -1UL;
	t->pfns[0] = REQ_READ;
	t->pfns[1] = REQ_READ;
	KUNIT_EXPECT_EQ(test, 0, hmm_test_ask_unlocked(t, 0, 2, 0));
	KUNIT_EXPECT_EQ(test, 2, t->faults);
	KUNIT_EXPECT_FALSE(test, t->pfns[0] & HMM_PFN_WRITE);
	hmm_test_expect_mapped(t, 0);
	hmm_test_expect_mapped(t, 1);
}

/* The same with an error at the end: the inputs are restored */
static vm_fault_t hmm_test_serve_tenth_fails(struct hmm_test *t,
					     struct vm_fault *vmf)
{
	return t->faults < 10 ? hmm_test_serve_changing(t, vmf) :
				VM_FAULT_SIGBUS;
}

static void hmm_test_inputs_after_retries(struct kunit *test)
{
	struct hmm_test *t = test->priv;

	hmm_test_map(t, 0, 4, RW);
	hmm_test_map_device(t, 1, hmm_test_serve_tenth_fails);
	hmm_test_reset(t);
	t->range.pfn_flags_mask = REQ_WRITE;
	t->pfns[0] |= REQ_WRITE;
	t->pfns[1] |= REQ_READ;
	t->pfns[2] |= REQ_WRITE;
	KUNIT_EXPECT_EQ(test, -EFAULT, hmm_test_ask_unlocked(t, 0, 4, 0));
	hmm_test_expect_mapped(t, 0);
	EXPECT_ENTRY(t, 1, LITTER | REQ_READ);
	EXPECT_ENTRY(t, 2, LITTER | REQ_WRITE);
	EXPECT_ENTRY(t, 3, LITTER);
}

/* The locked call never lets a fault drop mmap_lock, the unlocked one does */
static void hmm_test_fault_flags(struct kunit *test)
{
	const unsigned int drop = FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_KILLABLE;
	struct hmm_test *t = test->priv;

	hmm_test_map_device(t, 0, hmm_test_serve_page);
	hmm_test_map_device(t, 1, hmm_test_serve_page);
	KUNIT_EXPECT_EQ(test, 0, hmm_test_ask_all(t, 0, 1, REQ_READ));
	KUNIT_EXPECT_EQ(test, 0, t->fault_flags & drop);
	KUNIT_EXPECT_FALSE(test, t->fault_flags & FAULT_FLAG_WRITE);
	KUNIT_EXPECT_TRUE(test, t->fault_flags & FAULT_FLAG_REMOTE);

	hmm_test_reset(t);
	t->range.default_flags = REQ_WRITE;
	KUNIT_EXPECT_EQ(test, 0, hmm_test_ask_unlocked(t, 1, 1, HZ));
	KUNIT_EXPECT_EQ(test, drop, t->fault_flags & drop);
	KUNIT_EXPECT_TRUE(test, t->fault_flags & FAULT_FLAG_WRITE);
	KUNIT_EXPECT_TRUE(test, t->fault_flags & FAULT_FLAG_REMOTE);
}

/* Sticky bits */

/* Sticky bits belong to the driver, and change nothing */
static void hmm_test_sticky(struct kunit *test)
{
	struct hmm_test *t = test->priv;
	unsigned long bits;

	hmm_test_map(t, 0, 3, RW);
	hmm_test_write(t, 0);
	for (bits = HMM_PFN_P2PDMA_BUS; bits <= STICKY; bits += HMM_PFN_P2PDMA_BUS) {
		unsigned long entry;

		hmm_test_reset(t);
		t->pfns[0] = bits | LITTER;
		t->pfns[1] = bits | LITTER;
		t->pfns[3] = bits | LITTER;
		KUNIT_EXPECT_EQ(test, 0, hmm_test_ask(t, 0, 4));
		EXPECT_ENTRY(t, 1, bits);
		EXPECT_ENTRY(t, 2, 0);
		EXPECT_ENTRY(t, 3, HMM_PFN_ERROR | bits);
		entry = t->pfns[0];
		KUNIT_EXPECT_EQ(test, entry & STICKY, bits);
		t->pfns[0] &= ~STICKY;
		hmm_test_expect_mapped(t, 0);
	}
}

static void hmm_test_clear_sticky(struct hmm_test *t)
{
	unsigned long i;

	for (i = 0; i < 4; i++)
		t->pfns[i] &= ~HMM_PFN_DMA_MAPPED;
}

/* Bits that the notifier clears during a call are not set again */
static void hmm_test_sticky_cleared(struct kunit *test)
{
	struct hmm_test *t = test->priv;
	unsigned long i;

	hmm_test_map(t, 0, 4, RW);
	hmm_test_map_device(t, 2, hmm_test_serve_tenth);
	hmm_test_reset(t);
	t->range.default_flags = REQ_READ;
	for (i = 0; i < 4; i++)
		t->pfns[i] = HMM_PFN_DMA_MAPPED | HMM_PFN_P2PDMA | LITTER;
	t->on_invalidate = hmm_test_clear_sticky;
	KUNIT_EXPECT_EQ(test, 0, hmm_test_ask_unlocked(t, 0, 4, 0));
	t->on_invalidate = NULL;
	KUNIT_EXPECT_EQ(test, 10, t->faults);
	for (i = 0; i < 4; i++) {
		KUNIT_EXPECT_EQ(test, t->pfns[i] & STICKY, HMM_PFN_P2PDMA);
		t->pfns[i] &= ~STICKY;
		hmm_test_expect_mapped(t, i);
	}
}

/* Whether a change of sticky bits by an interrupt during a call is kept */
struct hmm_sticky_timer {
	struct hrtimer timer;
	struct hmm_test *t;
	unsigned long bits;
	unsigned int fired;
};

static enum hrtimer_restart hmm_sticky_fire(struct hrtimer *timer)
{
	struct hmm_sticky_timer *st = container_of(timer, struct hmm_sticky_timer,
						   timer);
	unsigned long i;

	st->fired++;
	st->bits = st->fired % 2 ? HMM_PFN_DMA_MAPPED : HMM_PFN_P2PDMA;
	for (i = 0; i < TABLE_PAGES; i++)
		set_mask_bits(&st->t->pfns[i], STICKY, st->bits);
	hrtimer_forward_now(timer, us_to_ktime(100));
	return HRTIMER_RESTART;
}

/* Bits are set and cleared by others while a call runs */
static void hmm_test_sticky_changes(struct kunit *test)
{
	struct hmm_test *t = test->priv;
	struct hmm_sticky_timer st = { .t = t };
	unsigned long i, lost = 0, until = jiffies + 20 * HZ;
	unsigned int seen = 0;

	hmm_test_map(t, 0, TABLE_PAGES, RW);
	for (i = 0; i < TABLE_PAGES; i++)
		hmm_test_write(t, i);
	hmm_test_reset(t);

	/* As if a region were mapped for DMA, which not every machine supports */
	atomic_inc(&hmm_dma_maps);
	hrtimer_setup_on_stack(&st.timer, hmm_sticky_fire, CLOCK_MONOTONIC,
			       HRTIMER_MODE_REL_HARD);
	hrtimer_start(&st.timer, us_to_ktime(100), HRTIMER_MODE_REL_HARD);
	while (seen < 300 && time_before(jiffies, until)) {
		KUNIT_EXPECT_EQ(test, 0, hmm_test_ask(t, 0, TABLE_PAGES));
		if (st.fired == seen)
			continue;
		hrtimer_cancel(&st.timer);
		seen = st.fired;
		for (i = 0; i < TABLE_PAGES; i++)
			lost += (t->pfns[i] & STICKY) != st.bits;
		hrtimer_start(&st.timer, us_to_ktime(100), HRTIMER_MODE_REL_HARD);
	}
	hrtimer_cancel(&st.timer);
	destroy_hrtimer_on_stack(&st.timer);
	atomic_dec(&hmm_dma_maps);
	KUNIT_EXPECT_GE(test, st.fired, 300);
	KUNIT_EXPECT_EQ(test, lost, 0);
}

/* Fatal signals */

static void hmm_test_kill(bool kill)
{
	unsigned long flags;

	/* The running task always has one */
	if (!lock_task_sighand(current, &flags))
		return;
	if (kill) {
		sigaddset(&current->pending.signal, SIGKILL);
		set_tsk_thread_flag(current, TIF_SIGPENDING);
	} else {
		sigdelset(&current->pending.signal, SIGKILL);
		recalc_sigpending();
	}
	unlock_task_sighand(current, &flags);
}

static vm_fault_t hmm_test_serve_killing(struct hmm_test *t,
					 struct vm_fault *vmf)
{
	hmm_test_kill(true);
	return hmm_test_serve_page(t, vmf);
}

/* No second fault after the caller was killed */
static void hmm_test_killed(struct kunit *test)
{
	struct hmm_test *t = test->priv;
	unsigned long faults;
	int ret;

	hmm_test_map(t, 0, 64, RW);
	hmm_test_map_device(t, 2, hmm_test_serve_killing);
	faults = hmm_test_fault_count();
	ret = hmm_test_ask_all(t, 0, 64, REQ_READ);
	hmm_test_kill(false);
	KUNIT_EXPECT_EQ(test, -EINTR, ret);
	KUNIT_EXPECT_EQ(test, 3, hmm_test_fault_count() - faults);
	hmm_test_expect_mapped(t, 0);
	hmm_test_expect_untouched(t, 3, 61);
}

static vm_fault_t hmm_test_serve_changing_killing(struct hmm_test *t,
						  struct vm_fault *vmf)
{
	if (t->faults == 3)
		hmm_test_kill(true);
	/* If the call does not notice, end it eventually */
	return t->faults < 1000 ? hmm_test_serve_changing(t, vmf) :
				  VM_FAULT_SIGBUS;
}

/* The same during retries */
static void hmm_test_killed_retrying(struct kunit *test)
{
	struct hmm_test *t = test->priv;
	int ret;

	hmm_test_map_device(t, 0, hmm_test_serve_changing_killing);
	hmm_test_reset(t);
	t->range.default_flags = REQ_READ;
	ret = hmm_test_ask_unlocked(t, 0, 1, 0);
	hmm_test_kill(false);
	KUNIT_EXPECT_EQ(test, -EINTR, ret);
	KUNIT_EXPECT_EQ(test, 3, t->faults);
	hmm_test_expect_untouched(t, 0, 1);
}

/* The pages of an mm that the OOM killer reaps are gone */
static void hmm_test_reaped(struct kunit *test)
{
	struct hmm_test *t = test->priv;
	int ret;

	hmm_test_map(t, 0, 8, RW);
	hmm_test_reset(t);
	t->range.default_flags = REQ_READ;
	mm_flags_set(MMF_UNSTABLE, t->mm);
	ret = hmm_test_ask_unlocked(t, 0, 8, HZ);
	mm_flags_clear(MMF_UNSTABLE, t->mm);
	KUNIT_EXPECT_EQ(test, -EFAULT, ret);
	hmm_test_expect_untouched(t, 0, 8);
	KUNIT_EXPECT_EQ(test, 0, hmm_test_resident(t));
}

/* hmm_dma: answers mapped in DMA entries of the device */

/* Invalid sizes are refused, and leave nothing to undo */
static void hmm_test_dma_sizes(struct kunit *test)
{
	static const struct { size_t nr, size; } invalid[] = {
		{ 0, PAGE_SIZE },
		{ 1, 0 },
		{ 1, PAGE_SIZE / 2 },
		{ 2, 3 * PAGE_SIZE },
		{ SIZE_MAX / PAGE_SIZE + 1, PAGE_SIZE },
		{ SIZE_MAX / PAGE_SIZE, 2 * PAGE_SIZE },
	};
	struct device *dev = kunit_device_register(test, "hmm_kunit");
	struct hmm_dma_map map;
	size_t i;

	KUNIT_ASSERT_FALSE(test, IS_ERR(dev));
	for (i = 0; i < ARRAY_SIZE(invalid); i++) {
		memset(&map, 0xff, sizeof(map));
		KUNIT_EXPECT_EQ_MSG(test, -EINVAL,
				    hmm_dma_map_alloc(dev, &map, invalid[i].nr,
						      invalid[i].size),
				    "%zu pages by %zu bytes", invalid[i].nr,
				    invalid[i].size);
		hmm_dma_map_free(dev, &map);
	}
}

#define DMA_ORDER	3
#define DMA_PAGES	(1UL << DMA_ORDER)

static void hmm_test_free_dma_pages(void *page)
{
	__free_pages(page, DMA_ORDER);
}

/* Pairs of pages, physically contiguous but in another order than in memory */
static void hmm_test_dma_answers(struct hmm_dma_map *map, struct page *page)
{
	unsigned long i, pfn = page_to_pfn(page);

	for (i = 0; i < DMA_PAGES; i++)
		map->pfn_list[i] = HMM_PFN_VALID | HMM_PFN_WRITE |
				   (pfn + ((i & ~1UL) ^ 6) + (i & 1));
}

/* The pages for a device that maps them in pairs */
static struct page *hmm_test_dma_begin(struct kunit *test, struct device **dev,
				       struct hmm_dma_map *map)
{
	struct page *page;
	int ret;

	*dev = kunit_device_register(test, "hmm_kunit");
	KUNIT_ASSERT_FALSE(test, IS_ERR(*dev));
	page = alloc_pages(GFP_KERNEL, DMA_ORDER);
	KUNIT_ASSERT_NOT_NULL(test, page);
	hmm_test_defer(test, hmm_test_free_dma_pages, page);
	(*dev)->dma_mask = &(*dev)->coherent_dma_mask;
	if (dma_set_mask_and_coherent(*dev, DMA_BIT_MASK(64)))
		kunit_skip(test, "no DMA");
	ret = hmm_dma_map_alloc(*dev, map, DMA_PAGES, 2 * PAGE_SIZE);
	if (ret == -EOPNOTSUPP)
		kunit_skip(test, "DMA is not coherent");
	KUNIT_ASSERT_EQ(test, 0, ret);
	return page;
}

/* The index counts DMA entries, of two pages here */
static void hmm_test_dma_entries(struct kunit *test)
{
	struct pci_p2pdma_map_state p2pdma = {};
	struct hmm_dma_map map = {};
	struct device *dev;
	dma_addr_t addr;
	size_t i;

	hmm_test_dma_answers(&map, hmm_test_dma_begin(test, &dev, &map));
	for (i = 0; i < DMA_PAGES / 2; i++) {
		/* If mapped directly, contiguous memory has one address */
		addr = dma_map_phys(dev, hmm_pfn_to_phys(map.pfn_list[2 * i]),
				    2 * PAGE_SIZE, DMA_BIDIRECTIONAL,
				    DMA_ATTR_REQUIRE_COHERENT);
		KUNIT_ASSERT_FALSE(test, dma_mapping_error(dev, addr));
		KUNIT_EXPECT_EQ(test, addr,
				hmm_dma_map_pfn(dev, &map, i, &p2pdma));
		dma_unmap_phys(dev, addr, 2 * PAGE_SIZE, DMA_BIDIRECTIONAL,
			       DMA_ATTR_REQUIRE_COHERENT);
		KUNIT_EXPECT_TRUE(test, map.pfn_list[2 * i] & HMM_PFN_DMA_MAPPED);
		KUNIT_EXPECT_FALSE(test, map.pfn_list[2 * i + 1] & HMM_PFN_DMA_MAPPED);
	}
	for (i = 0; i < DMA_PAGES / 2; i++) {
		KUNIT_EXPECT_TRUE(test, hmm_dma_unmap_pfn(dev, &map, i));
		KUNIT_EXPECT_FALSE(test, hmm_dma_unmap_pfn(dev, &map, i));
	}
	hmm_dma_map_free(dev, &map);
}

/*
 * DMA entries that begin in the middle of a huge mapping. An entry that is entirely
 * inside it is contiguous, one that it ends in is not if another page follows. An
 * unaligned one is refused, although its pages are contiguous.
 */
static void hmm_test_dma_inside_mapping(struct kunit *test)
{
	struct pci_p2pdma_map_state p2pdma = {};
	struct hmm_dma_map map = {};
	struct device *dev;
	unsigned long of_eight;

	of_eight = HMM_PFN_VALID |
		   (unsigned long)DMA_ORDER << HMM_PFN_ORDER_SHIFT |
		   page_to_pfn(hmm_test_dma_begin(test, &dev, &map));
	map.pfn_list[0] = of_eight + 2;
	map.pfn_list[1] = of_eight + 3;
	map.pfn_list[2] = of_eight + DMA_PAGES - 1;
	map.pfn_list[3] = of_eight;
	map.pfn_list[4] = of_eight + 1;
	map.pfn_list[5] = of_eight + 2;
	KUNIT_EXPECT_NE(test, DMA_MAPPING_ERROR,
			hmm_dma_map_pfn(dev, &map, 0, &p2pdma));
	KUNIT_EXPECT_EQ(test, DMA_MAPPING_ERROR,
			hmm_dma_map_pfn(dev, &map, 1, &p2pdma));
	/* Without an IOVA, the device would access the pages from an aligned one on */
	KUNIT_EXPECT_EQ(test, DMA_MAPPING_ERROR,
			hmm_dma_map_pfn(dev, &map, 2, &p2pdma));
	KUNIT_EXPECT_TRUE(test, hmm_dma_unmap_pfn(dev, &map, 0));
	KUNIT_EXPECT_FALSE(test, hmm_dma_unmap_pfn(dev, &map, 1));
	KUNIT_EXPECT_FALSE(test, hmm_dma_unmap_pfn(dev, &map, 2));
	hmm_dma_map_free(dev, &map);
}

/* Runs may span CPU entries, and end where contiguity or access rights end */
static void hmm_test_run(struct kunit *test)
{
	const unsigned long r = HMM_PFN_VALID, w = HMM_PFN_VALID | HMM_PFN_WRITE;
	const unsigned long of_four = 2UL << HMM_PFN_ORDER_SHIFT;
	const struct { unsigned long pfns[5]; size_t nr, run; } cases[] = {
		{ { r + 0, r + 1, r + 2, r + 3, r + 4 }, 5, 5 },
		{ { r + 0, r + 1, r + 2, r + 3, r + 4 }, 3, 3 },
		{ { r + 0, r + 1, r + 2, r + 3, r + 4 }, 1, 1 },
		{ { r + 0, r + 1, r + 2, r + 3, r + 4 }, 0, 0 },
		{ { r + 0, r + 1, w + 2, w + 3, r + 4 }, 5, 2 },
		{ { w + 2, w + 3, r + 4, r + 5, w + 6 }, 5, 2 },
		{ { r + 0, r + 1, r + 3, r + 4, r + 5 }, 5, 2 },
		{ { r + 5, r + 4, r + 3, r + 2, r + 1 }, 5, 1 },
		{ { r + 5, r + 5, r + 5, r + 5, r + 5 }, 5, 1 },
		{ { r + 0, r + 1, r + 2, 0, r + 4 }, 5, 3 },
		{ { r + 0, r + 1, HMM_PFN_ERROR, r + 3, r + 4 }, 5, 2 },
		{ { 0, r + 1, r + 2, r + 3, r + 4 }, 5, 0 },
		{ { HMM_PFN_ERROR, r + 1, r + 2, r + 3, r + 4 }, 5, 0 },
		/* An order may be out of date: the rest has been unmapped since */
		{ { r + of_four, r + of_four + 1, 0, 0, r + 4 }, 5, 2 },
		{ { r + of_four + 2, r + of_four + 3, r + 4, r + 5, w + 6 }, 5, 4 },
		/* How it is mapped for DMA does not matter */
		{ { r, r + 1 + HMM_PFN_DMA_MAPPED, r + 2 + HMM_PFN_P2PDMA }, 3, 3 },
	};
	unsigned long pfns[5], base;
	struct page *page;
	size_t i, k;

	page = alloc_pages(GFP_KERNEL, DMA_ORDER);
	KUNIT_ASSERT_NOT_NULL(test, page);
	hmm_test_defer(test, hmm_test_free_dma_pages, page);
	base = page_to_pfn(page);
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		for (k = 0; k < ARRAY_SIZE(pfns); k++) {
			pfns[k] = cases[i].pfns[k];
			if (pfns[k] & HMM_PFN_VALID)
				pfns[k] += base;
		}
		KUNIT_EXPECT_EQ_MSG(test, cases[i].run,
				    hmm_pfn_run(pfns, cases[i].nr), "case %zu", i);
	}
}

/* A mapped range is unmapped by one call, and only once */
static void hmm_test_dma_range(struct kunit *test)
{
	struct pci_p2pdma_map_state p2pdma = {};
	struct hmm_dma_map map = {};
	size_t idx = 1, nr = 2, i;
	struct device *dev;

	hmm_test_dma_answers(&map, hmm_test_dma_begin(test, &dev, &map));
	map.pfn_list[2 * 3] = 0;
	KUNIT_EXPECT_EQ(test, 0, hmm_dma_map_range(dev, &map, 0, DMA_PAGES / 2,
						   &p2pdma));
	for (i = 0; i < DMA_PAGES / 2; i++)
		KUNIT_EXPECT_EQ(test, i != 3,
				!!(*hmm_dma_pfn(&map, i) & HMM_PFN_DMA_MAPPED));
	/* There are no leaves here */
	hmm_dma_widen(&map, &idx, &nr);
	KUNIT_EXPECT_EQ(test, 1, idx);
	KUNIT_EXPECT_EQ(test, 2, nr);
	KUNIT_EXPECT_EQ(test, 2, hmm_dma_unmap_range(dev, &map, 1, 2));
	for (i = 0; i < DMA_PAGES / 2; i++)
		KUNIT_EXPECT_EQ(test, !i,
				!!(*hmm_dma_pfn(&map, i) & HMM_PFN_DMA_MAPPED));
	KUNIT_EXPECT_EQ(test, 1, hmm_dma_unmap_range(dev, &map, 0, DMA_PAGES / 2));
	KUNIT_EXPECT_EQ(test, 0, hmm_dma_unmap_range(dev, &map, 0, DMA_PAGES / 2));
	KUNIT_EXPECT_EQ(test, 0, hmm_dma_unmap_range(dev, &map, 0, 0));
	hmm_dma_map_free(dev, &map);
}

static struct kunit_case hmm_test_cases[] = {
	KUNIT_CASE_PARAM(hmm_test_table, hmm_kind_gen_params),
	KUNIT_CASE(hmm_test_one_of_hole),
	KUNIT_CASE(hmm_test_one_copy),
	KUNIT_CASE(hmm_test_not_asked_cannot_fail),
	KUNIT_CASE(hmm_test_one_fault_each),
	KUNIT_CASE(hmm_test_every_entry),
	KUNIT_CASE(hmm_test_many_vmas),
	KUNIT_CASE(hmm_test_data),
	KUNIT_CASE(hmm_test_error_keeps_inputs),
	KUNIT_CASE(hmm_test_bad_range),
	KUNIT_CASE(hmm_test_mistakes),
	KUNIT_CASE(hmm_test_dropped_lock),
	KUNIT_CASE(hmm_test_busy),
	KUNIT_CASE(hmm_test_busy_during_call),
	KUNIT_CASE_PARAM(hmm_test_own_all, hmm_own_gen_params),
	KUNIT_CASE_PARAM(hmm_test_own_unlocked, hmm_own_gen_params),
	KUNIT_CASE_PARAM(hmm_test_own_some, hmm_own_gen_params),
	KUNIT_CASE(hmm_test_own_then_error),
	KUNIT_CASE(hmm_test_others_at_once),
	KUNIT_CASE(hmm_test_timeout),
	KUNIT_CASE(hmm_test_no_timeout),
	KUNIT_CASE(hmm_test_answers_are_no_requests),
	KUNIT_CASE(hmm_test_inputs_after_retries),
	KUNIT_CASE(hmm_test_fault_flags),
	KUNIT_CASE(hmm_test_sticky),
	KUNIT_CASE(hmm_test_sticky_cleared),
	KUNIT_CASE(hmm_test_sticky_changes),
	KUNIT_CASE(hmm_test_killed),
	KUNIT_CASE(hmm_test_killed_retrying),
	KUNIT_CASE(hmm_test_reaped),
	KUNIT_CASE(hmm_test_dma_sizes),
	KUNIT_CASE(hmm_test_dma_entries),
	KUNIT_CASE(hmm_test_dma_inside_mapping),
	KUNIT_CASE(hmm_test_dma_range),
	KUNIT_CASE(hmm_test_run),
	{}
};

static struct kunit_suite hmm_test_suite = {
	.name = "hmm",
	.init = hmm_test_init,
	.test_cases = hmm_test_cases,
};
kunit_test_suite(hmm_test_suite);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("KUnit tests of hmm_range_fault()");
