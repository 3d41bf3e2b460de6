// SPDX-License-Identifier: GPL-2.0
/*
 * Kprobes on what hmm_range_fault() calls.
 */
#include <linux/irq_work.h>
#include <linux/kprobes.h>
#include <linux/mmap_lock.h>
#include <linux/module.h>
#include <linux/sched.h>

#include "test_hmm.h"

/* Counts what hmm_range_fault() calls, for one caller at a time */

static struct {
	struct mutex lock;
	bool works;
	struct task_struct *task;
	unsigned long at;
	u64 calls;
	u64 walks;
	u64 visits;
	u32 mmap_locks;
} range_count = { .lock = __MUTEX_INITIALIZER(range_count.lock) };

#ifdef CONFIG_KPROBES

static void range_count_to(unsigned long addr)
{
	if (addr > range_count.at)
		range_count.visits += (addr - range_count.at) >> PAGE_SHIFT;
	range_count.at = addr;
}

/* handle_mm_fault(vma, address, ...): the walk has reached address */
static int range_saw_fault(struct kprobe *p, struct pt_regs *regs)
{
	if (READ_ONCE(range_count.task) != current)
		return 0;
	range_count.calls++;
	range_count_to(range_arg(regs, 1));
	return 0;
}

/*
 * walk_page_range(mm, start, ...), walk_page_range_vma(vma, start, ...): a walk has
 * ended at start, or the call starts over
 */
static int range_saw_walk(struct kprobe *p, struct pt_regs *regs)
{
	if (READ_ONCE(range_count.task) != current)
		return 0;
	range_count.walks++;
	range_count_to(range_arg(regs, 1));
	return 0;
}

/* down_read_killable(sem) */
static int range_saw_lock(struct kprobe *p, struct pt_regs *regs)
{
	if (READ_ONCE(range_count.task) == current && current->mm &&
	    range_arg(regs, 0) == (unsigned long)&current->mm->mmap_lock)
		range_count.mmap_locks++;
	return 0;
}

/* Enabled only while counting, because they take time */
static struct kprobe *range_probes[] = {
	&(struct kprobe) {
		.symbol_name = "handle_mm_fault",
		.pre_handler = range_saw_fault,
		.flags = KPROBE_FLAG_DISABLED,
	},
	&(struct kprobe) {
		.symbol_name = "walk_page_range",
		.pre_handler = range_saw_walk,
		.flags = KPROBE_FLAG_DISABLED,
	},
	&(struct kprobe) {
		.symbol_name = "walk_page_range_vma",
		.pre_handler = range_saw_walk,
		.flags = KPROBE_FLAG_DISABLED,
	},
	&(struct kprobe) {
		.symbol_name = "down_read_killable",
		.pre_handler = range_saw_lock,
		.flags = KPROBE_FLAG_DISABLED,
	},
};

static void range_count_arm(bool arm)
{
	unsigned int i;

	for (i = 0; range_count.works && i < ARRAY_SIZE(range_probes); i++)
		if (arm)
			enable_kprobe(range_probes[i]);
		else
			disable_kprobe(range_probes[i]);
}

void test_hmm_count_init(void)
{
	range_count.works = !register_kprobes(range_probes,
					      ARRAY_SIZE(range_probes));
}

void test_hmm_count_exit(void)
{
	if (range_count.works)
		unregister_kprobes(range_probes, ARRAY_SIZE(range_probes));
}

#else /* !CONFIG_KPROBES */
static void range_count_arm(bool arm) { }
void test_hmm_count_init(void) { }
void test_hmm_count_exit(void) { }
#endif

bool test_hmm_count_works(void)
{
	return range_count.works;
}

void test_hmm_count_begin(unsigned long start)
{
	mutex_lock(&range_count.lock);
	range_count.calls = 0;
	range_count.walks = 0;
	range_count.visits = 0;
	range_count.mmap_locks = 0;
	range_count.at = start;
	range_count_arm(true);
	WRITE_ONCE(range_count.task, current);
}

void test_hmm_count_end(struct hmm_range_call *call)
{
	WRITE_ONCE(range_count.task, NULL);
	range_count_arm(false);
	call->calls = range_count.calls;
	call->walks = range_count.walks;
	call->visits = range_count.visits;
	call->mmap_locks = range_count.mmap_locks;
	if (!call->ret && call->end > range_count.at)
		call->visits += (call->end - range_count.at) >> PAGE_SHIFT;
	mutex_unlock(&range_count.lock);
}

/* Takes mmap_lock for everything, as if VMAs had no lock of their own */

static bool no_vma_lock;
module_param(no_vma_lock, bool, 0400);
MODULE_PARM_DESC(no_vma_lock, "let nobody take the lock of a VMA instead of mmap_lock");

bool test_hmm_vma_lock_works(void)
{
	return IS_ENABLED(CONFIG_PER_VMA_LOCK) && !no_vma_lock;
}

#if defined(CONFIG_KRETPROBES) && defined(CONFIG_PER_VMA_LOCK)

static int range_refuse_vma_lock(struct kretprobe_instance *ri,
				 struct pt_regs *regs)
{
	struct vm_area_struct *vma = (void *)regs_return_value(regs);

	if (vma) {
		vma_end_read(vma);
		regs_set_return_value(regs, 0);
	}
	return 0;
}

static struct kretprobe range_vma_lock_probe = {
	.kp.symbol_name = "lock_vma_under_rcu",
	.handler = range_refuse_vma_lock,
	.maxactive = 64,
};

int test_hmm_vma_lock_init(void)
{
	return no_vma_lock ? register_kretprobe(&range_vma_lock_probe) : 0;
}

void test_hmm_vma_lock_exit(void)
{
	if (no_vma_lock)
		unregister_kretprobe(&range_vma_lock_probe);
}

#else

int test_hmm_vma_lock_init(void)
{
	return no_vma_lock && IS_ENABLED(CONFIG_PER_VMA_LOCK) ? -EOPNOTSUPP : 0;
}

void test_hmm_vma_lock_exit(void) { }

#endif

/* Wakes a waiter between reading an absent PMD and evaluating it */

#if defined(CONFIG_KPROBES) && defined(CONFIG_IRQ_WORK)

/* The file that waits, if any */
static DEFINE_MUTEX(range_absent_lock);
static struct range_file *range_absent_file;

/* In an interrupt, so that a more urgent thread runs as soon as it ends */
static void range_wake_waiter(struct irq_work *work)
{
	complete(&range_absent_file->held);
}

static DEFINE_IRQ_WORK(range_absent_work, range_wake_waiter);

static int range_saw_absent(struct kprobe *p, struct pt_regs *regs)
{
	int point = HMM_RANGE_HOLD_ABSENT;

	if (atomic_fetch_andnot(point, &range_absent_file->hold) & point)
		irq_work_queue(&range_absent_work);
	return 0;
}

static struct kprobe range_absent_probe;

/* The function that gets the entry: of a walker linked with this module, or the kernel's */
static bool range_absent_find(void)
{
	static const char * const callees[] = {
		KBUILD_MODNAME ":hmm_leaf_softleaf",
		KBUILD_MODNAME ":hmm_vma_handle_absent_pmd",
		"hmm_leaf_softleaf",
		"hmm_vma_handle_absent_pmd",
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(callees); i++) {
		range_absent_probe = (struct kprobe) {
			.symbol_name = callees[i],
			.pre_handler = range_saw_absent,
		};
		if (!register_kprobe(&range_absent_probe))
			return true;
	}
	return false;
}

void test_hmm_absent_end(struct range_file *rf)
{
	mutex_lock(&range_absent_lock);
	if (range_absent_file == rf) {
		unregister_kprobe(&range_absent_probe);
		irq_work_sync(&range_absent_work);
		range_absent_file = NULL;
	}
	mutex_unlock(&range_absent_lock);
}

int test_hmm_absent_begin(struct range_file *rf)
{
	int ret = -EBUSY;

	mutex_lock(&range_absent_lock);
	if (!range_absent_file) {
		range_absent_file = rf;
		ret = range_absent_find() ? 0 : -EOPNOTSUPP;
		if (ret)
			range_absent_file = NULL;
	}
	mutex_unlock(&range_absent_lock);
	return ret;
}

#else

void test_hmm_absent_end(struct range_file *rf) { }

int test_hmm_absent_begin(struct range_file *rf)
{
	return -EOPNOTSUPP;
}

#endif
