// SPDX-License-Identifier: GPL-2.0
/*
 * hmm_range_fault_unlocked_timeout() beside a thread that maps and unmaps other memory
 * of the process all the time, and what its lock costs if nobody does.
 *
 * Built by bench.sh into User Mode Linux with two processors, next to the stock walker,
 * and to ours without locks of VMAs.  Prints lines as native.c does.
 */
#define pr_fmt(fmt) "hmm-bench: " fmt

#include <linux/completion.h>
#include <linux/hmm.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/reboot.h>
#include <linux/sched/mm.h>
#include <linux/vmalloc.h>
#include <uapi/linux/time.h>
#include <asm/unistd.h>

#include "hmm_bench.h"

#define WRITER_PAGES	(SZ_1G >> PAGE_SHIFT)
#define WRITER_FLAGS	(HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE)

static unsigned int rounds = 31;
module_param(rounds, uint, 0);

/**
 * struct writer - the thread that maps and unmaps a page
 * @task: the thread, while it runs
 * @mm: of the process
 * @addr: the page, between two others, so that no VMA borders on it
 * @times: how often it did both
 * @longest: the longest time that either took, in ns
 */
struct writer {
	struct task_struct *task;
	struct mm_struct *mm;
	unsigned long addr;
	unsigned long times;
	u64 longest;
};

static int writer_once(struct writer *writer)
{
	u64 begin = ktime_get_ns(), middle;
	unsigned long addr;

	addr = vm_mmap(NULL, writer->addr, PAGE_SIZE, PROT_READ,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, 0);
	if (addr != writer->addr)
		return -ENOMEM;
	middle = ktime_get_ns();
	vm_munmap(addr, PAGE_SIZE);
	writer->longest = max3(writer->longest, middle - begin,
			       ktime_get_ns() - middle);
	WRITE_ONCE(writer->times, writer->times + 1);
	return 0;
}

static int writer_run(void *data)
{
	struct writer *writer = data;
	int ret = 0;

	kthread_use_mm(writer->mm);
	while (!kthread_should_stop()) {
		ret = ret ?: writer_once(writer);
		cond_resched();
	}
	kthread_unuse_mm(writer->mm);
	return ret;
}

static int writer_start(struct writer *writer)
{
	writer->times = 0;
	writer->task = kthread_create(writer_run, writer, "hmm-writer");
	if (IS_ERR(writer->task))
		return PTR_ERR(writer->task);
	kthread_bind(writer->task, 1);
	wake_up_process(writer->task);
	while (READ_ONCE(writer->times) < 100)
		cond_resched();
	writer->longest = 0;
	return 0;
}

/**
 * struct walker - a contestant
 * @name: as printed
 * @call: as hmm_range_fault_unlocked_timeout()
 */
struct walker {
	const char *name;
	int (*call)(struct hmm_range *range, unsigned long timeout);
};

static const struct walker walkers[] = {
	{ "ours", hmm_range_fault_unlocked_timeout },
	{ "stock", stock_hmm_range_fault_unlocked_timeout },
	{ "mmap_lock", mmap_lock_hmm_range_fault_unlocked_timeout },
};

/**
 * struct row - one line of the table
 * @name: as printed
 * @nr: pages of the mapping
 * @step: pages per call
 * @loops: how often a slice goes over the mapping; more than once if it is present
 * @writer: another thread maps and unmaps meanwhile
 * @longest: the result is how long that one waited
 */
struct row {
	const char *name;
	unsigned long nr;
	unsigned long step;
	unsigned int loops;
	bool writer;
	bool longest;
};

static const struct row rows[] = {
	{ .name = "alone-one-page", .nr = 512, .step = 1, .loops = 64 },
	{ .name = "alone-512", .nr = 16384, .step = 512, .loops = 64 },
	{ .name = "alone-fault-one-page", .nr = 8192, .step = 1, .loops = 1 },
	{ .name = "alone-fault-512", .nr = 16384, .step = 512, .loops = 1 },
	{ .name = "beside-present", .nr = 512, .step = 1, .loops = 8,
	  .writer = true },
	{ .name = "beside-one-page", .nr = 4096, .step = 1, .loops = 1,
	  .writer = true },
	{ .name = "beside-16", .nr = 16384, .step = 16, .loops = 1,
	  .writer = true },
	{ .name = "beside-512", .nr = 65536, .step = 512, .loops = 1,
	  .writer = true },
	{ .name = "writer-waits", .nr = WRITER_PAGES, .step = WRITER_PAGES,
	  .loops = 1, .writer = true, .longest = true },
};

static bool invalidate(struct mmu_interval_notifier *notifier,
		       const struct mmu_notifier_range *event, unsigned long seq)
{
	mmu_interval_set_seq(notifier, seq);
	return true;
}

static const struct mmu_interval_notifier_ops notifier_ops = {
	.invalidate = invalidate,
};

/* Waiting is measured beside the writer; alone, other work of the host is not */
static u64 now(const struct row *row)
{
	struct timespec64 time;
	long ret;

	if (row->writer)
		return ktime_get_ns();
	asm volatile("syscall" : "=a" (ret)
		     : "0" (__NR_clock_gettime), "D" (CLOCK_THREAD_CPUTIME_ID),
		       "S" (&time) : "rcx", "r11", "memory");
	WARN_ON(ret);
	return timespec64_to_ns(&time);
}

static int walk(struct hmm_range *range, const struct row *row,
		const struct walker *walker, unsigned long addr)
{
	unsigned long i;
	int ret = 0;

	for (i = 0; !ret && i < row->nr; i += row->step) {
		range->start = addr + (i << PAGE_SHIFT);
		range->end = range->start + (row->step << PAGE_SHIFT);
		ret = walker->call(range, 0);
	}
	return ret;
}

static int slice(struct hmm_range *range, const struct row *row,
		 const struct walker *walker, struct writer *writer,
		 unsigned long addr, int round)
{
	unsigned int loop;
	u64 begin, ns;
	int ret = 0;

	if (row->loops > 1)
		ret = walk(range, row, walker, addr);
	if (!ret && row->writer)
		ret = writer_start(writer);
	if (ret)
		return ret;
	begin = now(row);
	for (loop = 0; !ret && loop < row->loops; loop++)
		ret = walk(range, row, walker, addr);
	ns = now(row) - begin;
	if (row->writer)
		ret = kthread_stop(writer->task) ?: ret;
	if (!ret && round >= 0)
		pr_info("%s\t%s\t%d\t%lu\t%llu\n", row->name, walker->name, round,
			row->longest ? 1 : row->nr * row->loops,
			row->longest ? writer->longest : ns);
	return ret;
}

/* Each on the same addresses, which are mapped anew unless @row is about present pages */
static int mapped_slices(struct hmm_range *range, const struct row *row,
			 struct writer *writer, unsigned int first,
			 unsigned int nr, int round)
{
	struct mmu_interval_notifier notifier;
	unsigned long addr, len = row->nr << PAGE_SHIFT;
	unsigned int i;
	int ret;

	addr = vm_mmap(NULL, 0, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, 0);
	if (IS_ERR_VALUE(addr))
		return addr;
	ret = mmu_interval_notifier_insert(&notifier, writer->mm, addr, len,
					   &notifier_ops);
	if (!ret) {
		range->notifier = &notifier;
		for (i = 0; !ret && i < nr; i++)
			ret = slice(range, row,
				    &walkers[(first + i) % ARRAY_SIZE(walkers)],
				    writer, addr, round);
		mmu_interval_notifier_remove(&notifier);
	}
	vm_munmap(addr, len);
	return ret;
}

/* Each round begins with the next walker */
static int run_round(struct hmm_range *range, const struct row *row,
		     struct writer *writer, int round)
{
	unsigned int i, first = round + 1;
	int ret = 0;

	if (row->loops > 1)
		return mapped_slices(range, row, writer, first,
				     ARRAY_SIZE(walkers), round);
	for (i = 0; !ret && i < ARRAY_SIZE(walkers); i++)
		ret = mapped_slices(range, row, writer, first + i, 1, round);
	return ret;
}

static int run(void)
{
	struct hmm_range range = { .default_flags = WRITER_FLAGS };
	struct writer writer = { .mm = current->mm };
	unsigned int i;
	int round, ret = 0;

	range.hmm_pfns = vcalloc(WRITER_PAGES, sizeof(*range.hmm_pfns));
	if (!range.hmm_pfns)
		return -ENOMEM;
	writer.addr = vm_mmap(NULL, 0, 3 * PAGE_SIZE, PROT_NONE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, 0);
	if (IS_ERR_VALUE(writer.addr))
		return writer.addr;
	writer.addr += PAGE_SIZE;
	/* The first round is only for warming up */
	for (round = -1; !ret && round < (int)rounds; round++)
		for (i = 0; !ret && i < ARRAY_SIZE(rows); i++)
			ret = run_round(&range, &rows[i], &writer, round);
	vfree(range.hmm_pfns);
	return ret;
}

static DECLARE_COMPLETION(bench_end);

static int run_and_power_off(void *unused)
{
	struct mm_struct *mm = mm_alloc();
	int ret = -ENOMEM;

	if (mm) {
		mm->task_size = TASK_SIZE;
		arch_pick_mmap_layout(mm, &current->signal->rlim[RLIMIT_STACK]);
		kthread_use_mm(mm);
		ret = run();
	}
	pr_info("end\t%d\n", ret);
	kernel_power_off();
	return 0;
}

static int __init bench_start(void)
{
	struct task_struct *task = kthread_create(run_and_power_off, NULL, "hmm-bench");

	if (IS_ERR(task))
		return PTR_ERR(task);
	kthread_bind(task, 0);
	wake_up_process(task);
	/* Powers off before the kernel finds that there is no root file system */
	wait_for_completion(&bench_end);
	return 0;
}
late_initcall(bench_start);
