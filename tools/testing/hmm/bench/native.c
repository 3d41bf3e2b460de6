// SPDX-License-Identifier: GPL-2.0
/*
 * hmm_range_fault() against what it replaces, on one mapping, in one kernel.
 *
 * Built into User Mode Linux by ../bench.sh, next to the stock walker under
 * other symbol names.  Prints one line per measured slice and powers off; judge.py
 * evaluates the lines.  All contestants are called the same way: with mmap_lock held
 * and the notifier's sequence read outside the measured time.
 */
#define pr_fmt(fmt) "hmm-bench: " fmt

#include <linux/completion.h>
#include <linux/file.h>
#include <linux/hmm.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/reboot.h>
#include <linux/sched/mm.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <uapi/linux/fs.h>
#include <uapi/linux/time.h>
#include <asm/unistd.h>

#include "hmm_bench.h"

#define BENCH_PAGES	(1UL << 20)		/* of the largest mapping */
#define BENCH_FILE	(16384UL)		/* pages of the file */
#define BENCH_CALL	(512UL)			/* pages per call, unless given */
#define BENCH_FLAGS	(HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE)

static unsigned int rounds = 31;
module_param(rounds, uint, 0);

static char *only;
module_param(only, charp, 0);

/**
 * struct bench - what all contestants share
 * @mm: whose memory it is
 * @file: the file of shared mappings, entirely cached
 * @notifier: over @addr
 * @addr: the mapping
 * @nr: its pages
 * @pfns: entries for all of it
 * @pages: answers of GUP, for as many pages
 * @user: page of user memory that PAGEMAP_SCAN reads and writes
 */
struct bench {
	struct mm_struct *mm;
	struct file *file;
	struct mmu_interval_notifier notifier;
	unsigned long addr;
	unsigned long nr;
	unsigned long *pfns;
	struct page **pages;
	unsigned long user;
};

/**
 * struct bench_who - a contestant
 * @name: as printed
 * @call: does the work of @range, and answers in its entries or, for peers,
 *	in arrays of @bench
 */
struct bench_who {
	const char *name;
	int (*call)(struct bench *bench, struct hmm_range *range);
};

static int bench_ours(struct bench *bench, struct hmm_range *range)
{
	return hmm_range_fault(range);
}

static int bench_stock(struct bench *bench, struct hmm_range *range)
{
	return stock_hmm_range_fault(range);
}

static int bench_unlocked(struct bench *bench, struct hmm_range *range,
			  int (*call)(struct hmm_range *, unsigned long))
{
	int ret;

	mmap_read_unlock(bench->mm);
	ret = call(range, 0);
	mmap_read_lock(bench->mm);
	return ret;
}

static int bench_ours_unlocked(struct bench *bench, struct hmm_range *range)
{
	return bench_unlocked(bench, range, hmm_range_fault_unlocked_timeout);
}

static int bench_stock_unlocked(struct bench *bench, struct hmm_range *range)
{
	return bench_unlocked(bench, range, stock_hmm_range_fault_unlocked_timeout);
}

static void bench_floor_table(pmd_t *pmd, struct mm_struct *mm,
			      unsigned long addr, unsigned long end,
			      unsigned long *pfns)
{
	spinlock_t *ptl;
	pte_t *start, *pte;

	start = pte_offset_map_lock(mm, pmd, addr, &ptl);
	if (!start)
		return;
	for (pte = start; addr < end; addr += PAGE_SIZE, pte++, pfns++) {
		pte_t entry = ptep_get(pte);
		unsigned long flags = 0;

		if (pte_present(entry)) {
			flags = pte_pfn(entry) | HMM_PFN_VALID;
			if (pte_write(entry))
				flags |= HMM_PFN_WRITE;
		}
		*pfns = flags;
	}
	pte_unmap_unlock(start, ptl);
}

/* The minimum cost of reading page tables */
static int bench_floor(struct bench *bench, struct hmm_range *range)
{
	unsigned long *pfns = range->hmm_pfns;
	unsigned long addr, next;

	for (addr = range->start; addr < range->end; addr = next) {
		p4d_t *p4d = p4d_offset(pgd_offset(bench->mm, addr), addr);
		pmd_t *pmd = pmd_offset(pud_offset(p4d, addr), addr);

		next = pmd_addr_end(addr, range->end);
		bench_floor_table(pmd, bench->mm, addr, next, pfns);
		pfns += (next - addr) >> PAGE_SHIFT;
	}
	return 0;
}

/* The page faults alone, one for each group of pages */
static int bench_faults(struct bench *bench, struct hmm_range *range,
			unsigned long step, unsigned int flags)
{
	struct vm_area_struct *vma = vma_lookup(bench->mm, range->start);
	unsigned long addr;

	for (addr = range->start; addr < range->end; addr += step)
		if (handle_mm_fault(vma, addr, FAULT_FLAG_REMOTE | flags, NULL) &
		    VM_FAULT_ERROR)
			return -EFAULT;
	return 0;
}

static int bench_fault_pages(struct bench *bench, struct hmm_range *range)
{
	return bench_faults(bench, range, PAGE_SIZE, FAULT_FLAG_WRITE);
}

/* fault_around_bytes is 64 KiB unless debugfs says otherwise */
static int bench_fault_around(struct bench *bench, struct hmm_range *range)
{
	return bench_faults(bench, range, SZ_64K, 0);
}

static unsigned int bench_gup_flags(const struct hmm_range *range)
{
	return range->default_flags & HMM_PFN_REQ_WRITE ? FOLL_WRITE : 0;
}

static int bench_gup(struct bench *bench, struct hmm_range *range)
{
	unsigned long nr = (range->end - range->start) >> PAGE_SHIFT;
	long got = get_user_pages(range->start, nr, bench_gup_flags(range),
				  bench->pages);

	if (got > 0)
		release_pages(bench->pages, got);
	return got == nr ? 0 : -EFAULT;
}

static int bench_pin(struct bench *bench, struct hmm_range *range)
{
	unsigned long nr = (range->end - range->start) >> PAGE_SHIFT;
	long got;

	mmap_read_unlock(bench->mm);
	got = pin_user_pages_fast(range->start, nr, bench_gup_flags(range),
				  bench->pages);
	mmap_read_lock(bench->mm);
	if (got > 0)
		unpin_user_pages(bench->pages, got);
	return got == nr ? 0 : -EFAULT;
}

#define BENCH_REGIONS	64

/* Reports no pfns, and similar pages as one region */
static int bench_scan(struct bench *bench, struct hmm_range *range)
{
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = range->start,
		.end = range->end,
		.vec = bench->user + sizeof(arg),
		.vec_len = BENCH_REGIONS,
		.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
		.return_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
	};
	long got;

	if (copy_to_user((void __user *)bench->user, &arg, sizeof(arg)))
		return -EFAULT;
	mmap_read_unlock(bench->mm);
	got = hmm_bench_pagemap_scan(bench->mm, bench->user);
	mmap_read_lock(bench->mm);
	return got < 0 ? got : 0;
}

#define BENCH_WHO(n, c) { .name = n, .call = c }

static const struct bench_who bench_reads[] = {
	BENCH_WHO("ours", bench_ours),
	BENCH_WHO("stock", bench_stock),
	BENCH_WHO("floor", bench_floor),
	BENCH_WHO("get_user_pages", bench_gup),
	BENCH_WHO("pin_user_pages_fast", bench_pin),
	BENCH_WHO("PAGEMAP_SCAN", bench_scan),
	{}
};

static const struct bench_who bench_holes[] = {
	BENCH_WHO("ours", bench_ours),
	BENCH_WHO("stock", bench_stock),
	BENCH_WHO("PAGEMAP_SCAN", bench_scan),
	{}
};

static const struct bench_who bench_writes[] = {
	BENCH_WHO("ours", bench_ours),
	BENCH_WHO("stock", bench_stock),
	BENCH_WHO("handle_mm_fault", bench_fault_pages),
	BENCH_WHO("get_user_pages", bench_gup),
	BENCH_WHO("pin_user_pages_fast", bench_pin),
	{}
};

/* Its own faults call the notifier */
static const struct bench_who bench_copies[] = {
	BENCH_WHO("ours", bench_ours_unlocked),
	BENCH_WHO("stock", bench_stock_unlocked),
	BENCH_WHO("handle_mm_fault", bench_fault_pages),
	{}
};

static const struct bench_who bench_arounds[] = {
	BENCH_WHO("ours", bench_ours),
	BENCH_WHO("stock", bench_stock),
	BENCH_WHO("handle_mm_fault/16", bench_fault_around),
	BENCH_WHO("get_user_pages", bench_gup),
	BENCH_WHO("pin_user_pages_fast", bench_pin),
	{}
};

static const struct bench_who bench_sizes[] = {
	BENCH_WHO("ours", bench_ours),
	BENCH_WHO("stock", bench_stock),
	BENCH_WHO("floor", bench_floor),
	{}
};

enum bench_map {
	BENCH_FRESH,		/* private memory, nothing there */
	BENCH_PRESENT,		/* private memory, written to */
	BENCH_ZERO,		/* private memory, read only */
	BENCH_CACHED,		/* shared file, not mapped yet */
	BENCH_READ,		/* shared file, mapped by reading, clean */
	BENCH_SHARED,		/* shared file, over and over, mapped */
};

/**
 * struct bench_row - one line of the table
 * @name: as printed
 * @who: its contestants
 * @map: what they work on
 * @nr: pages of the mapping
 * @step: pages per call
 * @flags: default_flags
 * @mask: pfn_flags_mask
 * @in: input in the entries
 * @once: a mapping can be used for one slice only
 * @loops: how often a slice goes over the mapping
 */
struct bench_row {
	const char *name;
	const struct bench_who *who;
	enum bench_map map;
	unsigned long nr;
	unsigned long step;
	unsigned long flags;
	unsigned long mask;
	unsigned long in;
	bool once;
	unsigned int loops;
};

#define BENCH_SNAPSHOT(n, s) { .name = n, .who = bench_sizes, .map = BENCH_SHARED,	\
	.nr = BENCH_PAGES, .step = s, .loops = 1 }

static const struct bench_row bench_rows[] = {
	{ .name = "present", .who = bench_reads, .map = BENCH_PRESENT,
	  .nr = BENCH_FILE, .step = BENCH_CALL, .loops = 16 },
	{ .name = "present-w", .who = bench_reads, .map = BENCH_PRESENT,
	  .nr = BENCH_FILE, .step = BENCH_CALL, .flags = BENCH_FLAGS, .loops = 16 },
	{ .name = "present-w-entries", .who = bench_sizes, .map = BENCH_PRESENT,
	  .nr = BENCH_FILE, .step = BENCH_CALL, .mask = BENCH_FLAGS,
	  .in = BENCH_FLAGS, .loops = 16 },
	{ .name = "present-dma", .who = bench_sizes, .map = BENCH_PRESENT,
	  .nr = BENCH_FILE, .step = BENCH_CALL, .in = HMM_PFN_DMA_MAPPED,
	  .loops = 16 },
	{ .name = "r-after-r", .who = bench_sizes, .map = BENCH_READ,
	  .nr = BENCH_FILE, .step = BENCH_CALL, .flags = HMM_PFN_REQ_FAULT,
	  .loops = 16 },
	{ .name = "w-after-r", .who = bench_writes, .map = BENCH_READ,
	  .nr = BENCH_FILE, .step = BENCH_CALL, .flags = BENCH_FLAGS,
	  .once = true, .loops = 1 },
	{ .name = "copy-w", .who = bench_copies, .map = BENCH_ZERO,
	  .nr = BENCH_FILE / 4, .step = BENCH_CALL, .flags = BENCH_FLAGS,
	  .once = true, .loops = 1 },
	{ .name = "hole", .who = bench_holes, .map = BENCH_FRESH,
	  .nr = BENCH_FILE, .step = BENCH_FILE, .loops = 64 },
	{ .name = "hole-written", .who = bench_holes, .map = BENCH_FRESH,
	  .nr = BENCH_FILE, .step = BENCH_FILE, .in = HMM_PFN_VALID,
	  .loops = 1 },
	{ .name = "one-page", .who = bench_reads, .map = BENCH_PRESENT,
	  .nr = BENCH_CALL, .step = 1, .loops = 16 },
	{ .name = "fault-anon-w", .who = bench_writes, .map = BENCH_FRESH,
	  .nr = BENCH_FILE / 4, .step = BENCH_CALL, .flags = BENCH_FLAGS,
	  .once = true, .loops = 1 },
	{ .name = "fault-file-r", .who = bench_arounds, .map = BENCH_CACHED,
	  .nr = BENCH_FILE, .step = BENCH_CALL, .flags = HMM_PFN_REQ_FAULT,
	  .once = true, .loops = 1 },
	BENCH_SNAPSHOT("size-1", 1),
	BENCH_SNAPSHOT("size-8", 8),
	BENCH_SNAPSHOT("size-64", 64),
	BENCH_SNAPSHOT("size-512", 512),
	BENCH_SNAPSHOT("size-4096", 4096),
	BENCH_SNAPSHOT("size-32768", 32768),
	BENCH_SNAPSHOT("size-262144", 262144),
	BENCH_SNAPSHOT("size-1048576", 1048576),
};

static unsigned long bench_mmap(struct bench *bench, const struct bench_row *row)
{
	bool shared = row->map >= BENCH_CACHED;
	unsigned long prot = PROT_READ | PROT_WRITE;
	unsigned long addr, at, len = row->nr << PAGE_SHIFT;

	/* Aligned, so that everybody gets the same page tables */
	addr = vm_mmap(NULL, 0, len + PGDIR_SIZE, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, 0);
	if (IS_ERR_VALUE(addr))
		return 0;
	vm_munmap(addr, len + PGDIR_SIZE);
	addr = ALIGN(addr, min_t(unsigned long, PGDIR_SIZE, SZ_1G));
	if (!shared)
		return vm_mmap(NULL, addr, len, prot,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED |
			       MAP_NORESERVE, 0) == addr ? addr : 0;
	for (at = addr; at < addr + len; at += BENCH_FILE << PAGE_SHIFT)
		if (vm_mmap(bench->file, at,
			    min(addr + len - at, BENCH_FILE << PAGE_SHIFT), prot,
			    MAP_SHARED | MAP_FIXED, 0) != at)
			return 0;
	return addr;
}

static bool bench_invalidate(struct mmu_interval_notifier *notifier,
			     const struct mmu_notifier_range *event,
			     unsigned long seq)
{
	mmu_interval_set_seq(notifier, seq);
	return true;
}

static const struct mmu_interval_notifier_ops bench_notifier_ops = {
	.invalidate = bench_invalidate,
};

/* Populate memory with the stock call, so that ours gets no advantage */
static int bench_populate(struct bench *bench, const struct bench_row *row)
{
	struct hmm_range range = {
		.notifier = &bench->notifier,
		.start = bench->addr,
		.end = bench->addr + (bench->nr << PAGE_SHIFT),
		.hmm_pfns = bench->pfns,
		.default_flags = BENCH_FLAGS,
	};
	int ret;

	if (row->map == BENCH_FRESH || row->map == BENCH_CACHED)
		return 0;
	if (row->map == BENCH_ZERO || row->map == BENCH_READ)
		range.default_flags = HMM_PFN_REQ_FAULT;
	range.notifier_seq = mmu_interval_read_begin(&bench->notifier);
	mmap_read_lock(bench->mm);
	ret = stock_hmm_range_fault(&range);
	mmap_read_unlock(bench->mm);
	return ret;
}

static void bench_unmap(struct bench *bench)
{
	mmu_interval_notifier_remove(&bench->notifier);
	vm_munmap(bench->addr, bench->nr << PAGE_SHIFT);
}

/* Dirty pages are mapped dirty even by reads */
static int bench_clean_file(struct file *file)
{
	struct folio *folio;
	pgoff_t i;

	for (i = 0; i < BENCH_FILE; i += folio_nr_pages(folio)) {
		folio = filemap_get_folio(file->f_mapping, i);
		if (IS_ERR(folio))
			return PTR_ERR(folio);
		folio_clear_dirty(folio);
		folio_put(folio);
	}
	return 0;
}

static int bench_map(struct bench *bench, const struct bench_row *row)
{
	unsigned long len = row->nr << PAGE_SHIFT;
	int ret;

	bench->nr = row->nr;
	bench->addr = bench_mmap(bench, row);
	if (!bench->addr)
		return -ENOMEM;
	ret = mmu_interval_notifier_insert(&bench->notifier, bench->mm,
					   bench->addr, len,
					   &bench_notifier_ops);
	if (ret)
		return ret;
	if (row->map == BENCH_READ)
		ret = bench_clean_file(bench->file);
	ret = ret ?: bench_populate(bench, row);
	if (ret)
		bench_unmap(bench);
	return ret;
}

/*
 * The processor time that the host has given to this kernel.  ktime_get() would also
 * measure other work of the host.
 */
static u64 bench_now(void)
{
	struct timespec64 now;
	long ret;

	asm volatile("syscall" : "=a" (ret)
		     : "0" (__NR_clock_gettime), "D" (CLOCK_THREAD_CPUTIME_ID),
		       "S" (&now) : "rcx", "r11", "memory");
	WARN_ON(ret);
	return timespec64_to_ns(&now);
}

/* Goes over all of the mapping; entries of a call smaller than it are reused */
static int bench_pass(struct bench *bench, const struct bench_row *row,
		      const struct bench_who *who, struct hmm_range *range)
{
	unsigned long i;
	int ret;

	for (i = 0; i < row->nr; i += row->step) {
		range->start = bench->addr + (i << PAGE_SHIFT);
		range->end = range->start + (row->step << PAGE_SHIFT);
		if (row->map == BENCH_SHARED)
			range->hmm_pfns = bench->pfns + i;
		ret = who->call(bench, range);
		if (ret)
			return ret;
	}
	return 0;
}

static int bench_slice(struct bench *bench, const struct bench_row *row,
		       const struct bench_who *who, int round)
{
	struct hmm_range range = {
		.notifier = &bench->notifier,
		.hmm_pfns = bench->pfns,
		.default_flags = row->flags,
		.pfn_flags_mask = row->mask,
	};
	unsigned int loop;
	unsigned long i;
	u64 begin, ns;
	int ret = 0;

	for (i = 0; i < row->nr; i++)
		bench->pfns[i] = row->in;
	if (row->once)
		ret = bench_map(bench, row);
	if (ret)
		return ret;

	range.notifier_seq = mmu_interval_read_begin(&bench->notifier);
	mmap_read_lock(bench->mm);
	begin = bench_now();
	for (loop = 0; !ret && loop < row->loops; loop++)
		ret = bench_pass(bench, row, who, &range);
	ns = bench_now() - begin;
	mmap_read_unlock(bench->mm);
	if (row->once)
		bench_unmap(bench);
	if (!ret && round >= 0)
		pr_info("%s\t%s\t%d\t%lu\t%llu\n", row->name, who->name, round,
			row->nr * row->loops, ns);
	return ret;
}

/*
 * Each round begins with the next contestant, and every second one goes backwards:
 * the state of caches and free pages depends on the previous contestant.
 */
static int bench_round(struct bench *bench, const struct bench_row *row, int round)
{
	unsigned int i, first, nr = 0;
	int ret = 0;

	while (row->who[nr].name)
		nr++;
	first = (round + 1) % nr;
	for (i = 0; !ret && i < nr; i++)
		ret = bench_slice(bench, row, &row->who[(round & 1 ? first + i :
						first + nr - i) % nr], round);
	if (ret)
		pr_err("%s: %d\n", row->name, ret);
	return ret;
}

/* Rows that share a mapping take turns, too; the first round is only for warming up */
static int bench_run(struct bench *bench, const struct bench_row *rows,
		     unsigned int nr)
{
	unsigned int i;
	int round, ret = 0;

	if (!rows->once)
		ret = bench_map(bench, rows);
	for (round = -1; !ret && round < (int)rounds; round++) {
		for (i = 0; !ret && i < nr; i++)
			ret = bench_round(bench, &rows[i], round);
		cond_resched();
	}
	if (!rows->once)
		bench_unmap(bench);
	return ret;
}

/* How many rows, from this one on, share one mapping */
static unsigned int bench_together(const struct bench_row *rows, unsigned int nr)
{
	unsigned int i = 1;

	while (rows->map == BENCH_SHARED && i < nr && rows[i].map == BENCH_SHARED)
		i++;
	return i;
}

static int bench_fill_file(struct file *file)
{
	unsigned long i;

	for (i = 0; i < BENCH_FILE; i++) {
		struct page *page = shmem_read_mapping_page(file->f_mapping, i);

		if (IS_ERR(page))
			return PTR_ERR(page);
		put_page(page);
	}
	return 0;
}

static int bench_init(struct bench *bench)
{
	bench->pfns = vcalloc(BENCH_PAGES, sizeof(*bench->pfns));
	bench->pages = vcalloc(BENCH_PAGES, sizeof(*bench->pages));
	bench->mm = mm_alloc();
	if (!bench->pfns || !bench->pages || !bench->mm)
		return -ENOMEM;
	bench->mm->task_size = TASK_SIZE;
	arch_pick_mmap_layout(bench->mm, &current->signal->rlim[RLIMIT_STACK]);
	kthread_use_mm(bench->mm);
	bench->user = vm_mmap(NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, 0);
	if (IS_ERR_VALUE(bench->user))
		return -ENOMEM;
	bench->file = shmem_file_setup("hmm-bench", BENCH_FILE << PAGE_SHIFT,
				       mk_vma_flags(VMA_NORESERVE_BIT));
	if (IS_ERR(bench->file))
		return PTR_ERR(bench->file);
	return bench_fill_file(bench->file);
}

static DECLARE_COMPLETION(bench_end);

static int bench_all(void *unused)
{
	struct bench bench = {};
	int ret = bench_init(&bench);
	unsigned int i, nr;

	if (ret)
		pr_err("no memory to work on: %d\n", ret);
	for (i = 0; !ret && i < ARRAY_SIZE(bench_rows); i += nr) {
		nr = bench_together(&bench_rows[i], ARRAY_SIZE(bench_rows) - i);
		if (!only || !strcmp(only, bench_rows[i].name))
			ret = bench_run(&bench, &bench_rows[i], nr);
	}
	pr_info("end\t%d\n", ret);
	kernel_power_off();
	return 0;
}

static int __init bench_start(void)
{
	struct task_struct *task = kthread_run(bench_all, NULL, "hmm-bench");

	if (IS_ERR(task))
		return PTR_ERR(task);
	/* Powers off before the kernel finds that there is no root file system */
	wait_for_completion(&bench_end);
	return 0;
}
late_initcall(bench_start);
