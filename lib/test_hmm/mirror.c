// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/hmm_dmirror*, with the ioctls of lib/test_hmm_uapi.h.
 *
 * Each open file is a device with a page table of its own: it keeps answers until
 * the notifier invalidates them, and all reads and writes go through it.
 * tools/testing/selftests/mm/hmm-tests.c runs on this.
 */
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/jiffies.h>
#include <linux/memremap.h>
#include <linux/migrate.h>
#include <linux/rmap.h>
#include <linux/sched/mm.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "test_hmm.h"
#include "../test_hmm_uapi.h"

/* A table entry: the pfn, and what the device may do with the page */
#define MIRROR_WRITE		BIT(0)
#define MIRROR_EXCLUSIVE	BIT(1)
#define MIRROR_PFN_SHIFT	2

/* The most that one ioctl moves */
#define MIRROR_MAX_PAGES	(SZ_1G >> PAGE_SHIFT)

/**
 * struct mirror - one open file: a device that mirrors the opener's page table
 * @dev: the device whose memory it uses
 * @notifier: covers the whole address space
 * @lock: the driver's lock: @table, and the sequence of @notifier
 * @table: the device's page table, by page number
 */
struct mirror {
	struct range_dev *dev;
	struct mmu_interval_notifier notifier;
	struct mutex lock;
	struct xarray table;
};

/*
 * The device's own migrations are not skipped: pages that have moved are entered
 * again at their new place.
 */
static bool mirror_invalidate(struct mmu_interval_notifier *notifier,
			      const struct mmu_notifier_range *event,
			      unsigned long seq)
{
	struct mirror *mirror = container_of(notifier, struct mirror, notifier);
	unsigned long index;
	void *entry;

	if (mmu_notifier_range_blockable(event))
		mutex_lock(&mirror->lock);
	else if (!mutex_trylock(&mirror->lock))
		return false;
	mmu_interval_set_seq(notifier, seq);
	xa_for_each_range(&mirror->table, index, entry, event->start >> PAGE_SHIFT,
			  (event->end - 1) >> PAGE_SHIFT)
		xa_erase(&mirror->table, index);
	mutex_unlock(&mirror->lock);
	return true;
}

static const struct mmu_interval_notifier_ops mirror_notifier_ops = {
	.invalidate = mirror_invalidate,
};

/* Called with the lock held, which reclaim may need: do not wait for memory */
static int mirror_enter(struct mirror *mirror, unsigned long addr,
			unsigned long pfn, unsigned long flags)
{
	void *entry = xa_mk_value(pfn << MIRROR_PFN_SHIFT | flags);

	return xa_err(xa_store(&mirror->table, addr >> PAGE_SHIFT, entry,
			       GFP_ATOMIC));
}

/* Fault or look, and have @use() read the answers under the lock while they are valid */
static int mirror_ask(struct mirror *mirror, struct hmm_range *range, u32 flags,
		      int (*use)(struct mirror *mirror, struct hmm_range *range,
				 void *arg),
		      void *arg)
{
	unsigned long end = jiffies + RANGE_WAIT;
	int ret;

	range->notifier = &mirror->notifier;
	range->dev_private_owner = mirror->dev;
	do {
		ret = test_hmm_fault(range, flags, jiffies_to_msecs(RANGE_WAIT));
		if (ret)
			continue;
		mutex_lock(&mirror->lock);
		ret = mmu_interval_read_retry(range->notifier, range->notifier_seq) ?
		      -EBUSY : use(mirror, range, arg);
		mutex_unlock(&mirror->lock);
	} while (ret == -EBUSY && time_before(jiffies, end));
	return ret;
}

static bool mirror_owns(const struct mirror *mirror, struct page *page)
{
	return test_hmm_is_dev_page(page) && test_hmm_page_dev(page) == mirror->dev;
}

/* Copy until done, or -ENOENT at a page that is not in the table (as writable) */
static int mirror_copy(struct mirror *mirror, struct hmm_dmirror_cmd *cmd,
		       void *data, bool write)
{
	lockdep_assert_held(&mirror->lock);
	for (; cmd->cpages < cmd->npages; cmd->cpages++) {
		unsigned long entry = xa_to_value(xa_load(&mirror->table,
				(cmd->addr >> PAGE_SHIFT) + cmd->cpages));
		void *here = data + (cmd->cpages << PAGE_SHIFT);
		struct page *page;

		if (!entry || (write && !(entry & MIRROR_WRITE)))
			return -ENOENT;
		page = test_hmm_storage(pfn_to_page(entry >> MIRROR_PFN_SHIFT));
		if (write)
			memcpy_to_page(page, 0, here, PAGE_SIZE);
		else
			memcpy_from_page(here, page, 0, PAGE_SIZE);
	}
	return 0;
}

struct mirror_job {
	struct hmm_dmirror_cmd *cmd;
	void *data;
	bool write;
};

/* Enter what was asked for, or what is in device memory if nothing was; then copy it */
static int mirror_enter_and_copy(struct mirror *mirror, struct hmm_range *range,
				 void *arg)
{
	unsigned long i, nr = (range->end - range->start) >> PAGE_SHIFT;
	struct mirror_job *job = arg;
	int ret = 0;

	for (i = 0; !ret && i < nr; i++) {
		unsigned long entry = range->hmm_pfns[i];
		struct page *page;

		if (!(entry & HMM_PFN_VALID))
			continue;
		page = hmm_pfn_to_page(entry);
		if (range->default_flags || mirror_owns(mirror, page))
			ret = mirror_enter(mirror, range->start + (i << PAGE_SHIFT),
					   page_to_pfn(page),
					   entry & HMM_PFN_WRITE ? MIRROR_WRITE : 0);
	}
	if (ret)
		return ret;
	if (range->default_flags)
		job->cmd->faults++;
	return mirror_copy(mirror, job->cmd, job->data, job->write);
}

/* Enter the pages of a command that have not been copied yet, and copy them */
static int mirror_map(struct mirror *mirror, struct mirror_job *job,
		      unsigned long request, u32 flags)
{
	const struct hmm_dmirror_cmd *cmd = job->cmd;
	struct hmm_range range = {
		.start = cmd->addr + (cmd->cpages << PAGE_SHIFT),
		.end = cmd->addr + (cmd->npages << PAGE_SHIFT),
		.default_flags = request,
	};
	int ret;

	range.hmm_pfns = kvcalloc(cmd->npages - cmd->cpages,
				  sizeof(*range.hmm_pfns), GFP_KERNEL);
	if (!range.hmm_pfns)
		return -ENOMEM;
	ret = mirror_ask(mirror, &range, flags, mirror_enter_and_copy, job);
	kvfree(range.hmm_pfns);
	return ret;
}

/* A load or store of the device: if the table lacks a page, fault all that are left */
static int mirror_access(struct mirror *mirror, struct hmm_dmirror_cmd *cmd,
			 void *data, bool write, u32 flags)
{
	struct mirror_job job = { .cmd = cmd, .data = data, .write = write };
	unsigned long request = HMM_PFN_REQ_FAULT;
	int ret;

	if (write)
		request |= HMM_PFN_REQ_WRITE;
	mutex_lock(&mirror->lock);
	ret = mirror_copy(mirror, cmd, data, write);
	mutex_unlock(&mirror->lock);
	return ret == -ENOENT ? mirror_map(mirror, &job, request, flags) : ret;
}

/* The number of pages that migrate_vma_pages() has moved */
static unsigned long mirror_moved(const struct migrate_vma *args)
{
	unsigned long i, step, moved = 0;

	for (i = 0; i < args->npages; i += step) {
		step = args->src[i] & MIGRATE_PFN_COMPOUND ? RANGE_PMD_NR : 1;
		if ((args->src[i] & MIGRATE_PFN_VALID) &&
		    (args->src[i] & MIGRATE_PFN_MIGRATE))
			moved += step;
	}
	return moved;
}

static int mirror_migrate_vma(struct migrate_vma *args, struct range_dev *to,
			      unsigned long *moved)
{
	unsigned long nr = (args->end - args->start) >> PAGE_SHIFT;
	int ret = -ENOMEM;

	args->src = kvcalloc(nr, sizeof(*args->src), GFP_KERNEL);
	args->dst = kvcalloc(nr, sizeof(*args->dst), GFP_KERNEL);
	if (!args->src || !args->dst)
		goto free;
	ret = migrate_vma_setup(args);
	if (ret)
		goto free;
	test_hmm_give_all(to, args->src, args->dst, nr);
	migrate_vma_pages(args);
	*moved += mirror_moved(args);
	migrate_vma_finalize(args);
free:
	kvfree(args->dst);
	kvfree(args->src);
	return ret;
}

/* Migrate the pages of a command to device @to, or to system memory if that is NULL */
static int mirror_migrate(struct mirror *mirror, const struct hmm_dmirror_cmd *cmd,
			  struct range_dev *to, unsigned long *moved)
{
	unsigned long end = cmd->addr + (cmd->npages << PAGE_SHIFT);
	struct mm_struct *mm = mirror->notifier.mm;
	struct migrate_vma args = {
		.end = cmd->addr,
		.pgmap_owner = mirror->dev,
		.flags = MIGRATE_VMA_SELECT_COMPOUND,
	};
	int ret = 0;

	args.flags |= to ? MIGRATE_VMA_SELECT_SYSTEM :
		      test_hmm_is_private(mirror->dev) ?
		      MIGRATE_VMA_SELECT_DEVICE_PRIVATE :
		      MIGRATE_VMA_SELECT_DEVICE_COHERENT;
	mmap_read_lock(mm);
	while (!ret && args.end < end) {
		args.start = args.end;
		args.vma = vma_lookup(mm, args.start);
		if (!args.vma || !(args.vma->vm_flags & VM_READ)) {
			ret = -EINVAL;
			break;
		}
		args.end = min(end, args.vma->vm_end);
		ret = mirror_migrate_vma(&args, to, moved);
	}
	mmap_read_unlock(mm);
	return ret;
}

static int mirror_to_device(struct mirror *mirror, struct hmm_dmirror_cmd *cmd,
			    void *data)
{
	struct mirror_job job = { .cmd = cmd, .data = data };
	unsigned long moved = 0;
	int ret = mirror_migrate(mirror, cmd, mirror->dev, &moved);

	return ret ?: mirror_map(mirror, &job, 0, 0);
}

static int mirror_to_system(struct mirror *mirror, struct hmm_dmirror_cmd *cmd)
{
	unsigned long moved = 0;
	int ret = mirror_migrate(mirror, cmd, NULL, &moved);

	cmd->cpages = moved;
	return ret;
}

/* The folio lock keeps the CPU from the page until it is in the table */
static int mirror_exclusive_page(struct mirror *mirror, unsigned long addr)
{
	struct folio *folio;
	struct page *page;
	int ret;

	page = make_device_exclusive(mirror->notifier.mm, addr, mirror->dev, &folio);
	if (IS_ERR(page))
		return PTR_ERR(page);
	mutex_lock(&mirror->lock);
	ret = mirror_enter(mirror, addr, page_to_pfn(page),
			   MIRROR_EXCLUSIVE | MIRROR_WRITE);
	mutex_unlock(&mirror->lock);
	folio_unlock(folio);
	folio_put(folio);
	return ret;
}

static int mirror_exclusive(struct mirror *mirror, struct hmm_dmirror_cmd *cmd,
			    void *data)
{
	struct mm_struct *mm = mirror->notifier.mm;
	unsigned long i;
	int ret = 0;

	mmap_read_lock(mm);
	for (i = 0; !ret && i < cmd->npages; i++)
		ret = mirror_exclusive_page(mirror, cmd->addr + (i << PAGE_SHIFT));
	mmap_read_unlock(mm);
	if (ret)
		return ret;
	mutex_lock(&mirror->lock);
	ret = mirror_copy(mirror, cmd, data, false);
	mutex_unlock(&mirror->lock);
	return ret;
}

static int mirror_check_exclusive(struct mirror *mirror,
				  const struct hmm_dmirror_cmd *cmd)
{
	unsigned long index, first = cmd->addr >> PAGE_SHIFT;
	void *entry;
	int ret = 0;

	mutex_lock(&mirror->lock);
	xa_for_each_range(&mirror->table, index, entry, first,
			  first + cmd->npages - 1)
		if (xa_to_value(entry) & MIRROR_EXCLUSIVE)
			ret = -EPERM;
	mutex_unlock(&mirror->lock);
	return ret;
}

/* The kind of page, regardless of how it is mapped */
static u8 mirror_kind(const struct mirror *mirror, struct page *page)
{
	if (is_device_private_page(page))
		return mirror_owns(mirror, page) ?
		       HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL :
		       HMM_DMIRROR_PROT_DEV_PRIVATE_REMOTE;
	if (is_device_coherent_page(page))
		return mirror_owns(mirror, page) ?
		       HMM_DMIRROR_PROT_DEV_COHERENT_LOCAL :
		       HMM_DMIRROR_PROT_DEV_COHERENT_REMOTE;
	return is_zero_pfn(page_to_pfn(page)) ? HMM_DMIRROR_PROT_ZERO : 0;
}

static u8 mirror_prot(const struct mirror *mirror, unsigned long entry)
{
	unsigned int order = hmm_pfn_to_map_order(entry);
	u8 prot;

	if (entry & HMM_PFN_ERROR)
		return HMM_DMIRROR_PROT_ERROR;
	if (!(entry & HMM_PFN_VALID))
		return HMM_DMIRROR_PROT_NONE;
	prot = mirror_kind(mirror, hmm_pfn_to_page(entry));
	prot |= entry & HMM_PFN_WRITE ? HMM_DMIRROR_PROT_WRITE :
					HMM_DMIRROR_PROT_READ;
	if (order == RANGE_PMD_ORDER)
		prot |= HMM_DMIRROR_PROT_PMD;
	else if (order == RANGE_PUD_ORDER)
		prot |= HMM_DMIRROR_PROT_PUD;
	return prot;
}

struct mirror_prots {
	struct hmm_dmirror_cmd *cmd;
	u8 *prots;
};

static int mirror_fill_prots(struct mirror *mirror, struct hmm_range *range, void *arg)
{
	struct mirror_prots *to = arg;
	u64 *i = &to->cmd->cpages;

	for (; *i < to->cmd->npages; ++*i)
		to->prots[*i] = mirror_prot(mirror, range->hmm_pfns[*i]);
	return 0;
}

static int mirror_snapshot(struct mirror *mirror, struct hmm_dmirror_cmd *cmd)
{
	struct hmm_range range = {
		.start = cmd->addr,
		.end = cmd->addr + (cmd->npages << PAGE_SHIFT),
	};
	u8 *prots = kvmalloc(cmd->npages, GFP_KERNEL);
	struct mirror_prots to = { .cmd = cmd, .prots = prots };
	int ret = -ENOMEM;

	range.hmm_pfns = kvcalloc(cmd->npages, sizeof(*range.hmm_pfns), GFP_KERNEL);
	if (!prots || !range.hmm_pfns)
		goto free;
	ret = mirror_ask(mirror, &range, 0, mirror_fill_prots, &to);
	if (ret)
		goto free;
	if (copy_to_user(u64_to_user_ptr(cmd->ptr), prots, cmd->npages))
		ret = -EFAULT;
free:
	kvfree(range.hmm_pfns);
	kvfree(prots);
	return ret;
}

/* Migrate everything out of the device's memory, and give the device new memory */
static int mirror_release_memory(struct range_dev *dev)
{
	return test_hmm_dev_remove(dev) ?: test_hmm_dev_add(dev, 0);
}

/* Commands that move data from user space or to it, by way of @data */
static int mirror_data_cmd(struct mirror *mirror, unsigned int what,
			   struct hmm_dmirror_cmd *cmd, void *data)
{
	switch (what) {
	case HMM_DMIRROR_WRITE:
		return mirror_access(mirror, cmd, data, true, 0);
	case HMM_DMIRROR_READ_UNLOCKED:
		return mirror_access(mirror, cmd, data, false, HMM_RANGE_UNLOCKED);
	case HMM_DMIRROR_MIGRATE_TO_DEV:
		return mirror_to_device(mirror, cmd, data);
	case HMM_DMIRROR_EXCLUSIVE:
		return mirror_exclusive(mirror, cmd, data);
	}
	return mirror_access(mirror, cmd, data, false, 0);
}

static int mirror_data(struct mirror *mirror, unsigned int what,
		       struct hmm_dmirror_cmd *cmd)
{
	size_t bytes = cmd->npages << PAGE_SHIFT;
	void __user *user = u64_to_user_ptr(cmd->ptr);
	void *data = vmalloc(bytes);
	int ret = -EFAULT;

	if (!data)
		return -ENOMEM;
	if (what == HMM_DMIRROR_WRITE && copy_from_user(data, user, bytes))
		goto free;
	ret = mirror_data_cmd(mirror, what, cmd, data);
	if (!ret && what != HMM_DMIRROR_WRITE && copy_to_user(user, data, bytes))
		ret = -EFAULT;
free:
	vfree(data);
	return ret;
}

static int mirror_cmd(struct mirror *mirror, unsigned int what,
		      struct hmm_dmirror_cmd *cmd)
{
	switch (what) {
	case HMM_DMIRROR_READ:
	case HMM_DMIRROR_READ_UNLOCKED:
	case HMM_DMIRROR_WRITE:
	case HMM_DMIRROR_MIGRATE_TO_DEV:
	case HMM_DMIRROR_EXCLUSIVE:
		return mirror_data(mirror, what, cmd);
	case HMM_DMIRROR_MIGRATE_TO_SYS:
		return mirror_to_system(mirror, cmd);
	case HMM_DMIRROR_SNAPSHOT:
		return mirror_snapshot(mirror, cmd);
	case HMM_DMIRROR_CHECK_EXCLUSIVE:
		return mirror_check_exclusive(mirror, cmd);
	case HMM_DMIRROR_RELEASE:
		return mirror_release_memory(mirror->dev);
	case HMM_DMIRROR_FLAGS:
		test_hmm_dev_fail(mirror->dev,
				  !!(cmd->npages & HMM_DMIRROR_FLAG_FAIL_ALLOC));
		return 0;
	}
	return -ENOTTY;
}

static bool mirror_cmd_fits(const struct hmm_dmirror_cmd *cmd)
{
	return PAGE_ALIGNED(cmd->addr) && cmd->npages &&
	       cmd->npages <= MIRROR_MAX_PAGES &&
	       cmd->addr < ULONG_MAX - (cmd->npages << PAGE_SHIFT);
}

static long mirror_ioctl(struct file *file, unsigned int what, unsigned long arg)
{
	struct mirror *mirror = file->private_data;
	void __user *user = (void __user *)arg;
	struct hmm_dmirror_cmd cmd;
	int ret;

	if (copy_from_user(&cmd, user, sizeof(cmd)))
		return -EFAULT;
	if (!mirror_cmd_fits(&cmd))
		return -EINVAL;
	if (!mmget_not_zero(mirror->notifier.mm))
		return -ESRCH;
	cmd.cpages = 0;
	cmd.faults = 0;
	ret = mirror_cmd(mirror, what, &cmd);
	mmput(mirror->notifier.mm);
	if (!ret && copy_to_user(user, &cmd, sizeof(cmd)))
		ret = -EFAULT;
	return ret;
}

static int mirror_open(struct inode *inode, struct file *file)
{
	struct miscdevice *misc = file->private_data;
	struct mirror *mirror;
	int ret;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	mirror = kzalloc_obj(*mirror);
	if (!mirror)
		return -ENOMEM;
	mirror->dev = container_of(misc, struct range_dev, mirror);
	mutex_init(&mirror->lock);
	xa_init(&mirror->table);
	ret = -ENODEV;
	if (!READ_ONCE(mirror->dev->up))
		goto free;
	ret = mmu_interval_notifier_insert(&mirror->notifier, current->mm, 0,
					   ULONG_MAX & PAGE_MASK,
					   &mirror_notifier_ops);
	if (ret)
		goto free;
	file->private_data = mirror;
	return 0;
free:
	kfree(mirror);
	return ret;
}

static int mirror_close(struct inode *inode, struct file *file)
{
	struct mirror *mirror = file->private_data;

	mmu_interval_notifier_remove(&mirror->notifier);
	xa_destroy(&mirror->table);
	kfree(mirror);
	return 0;
}

/* Map the pages right away, for snapshots */
static int mirror_mmap(struct file *file, struct vm_area_struct *vma)
{
	unsigned long addr = vma->vm_start;
	int ret = 0;

	while (!ret && addr < vma->vm_end) {
		struct page *page = alloc_page(GFP_HIGHUSER | __GFP_ZERO);

		if (!page)
			return -ENOMEM;
		ret = vm_insert_page(vma, addr, page);
		put_page(page);
		addr += PAGE_SIZE;
	}
	return ret;
}

static const struct file_operations mirror_fops = {
	.owner = THIS_MODULE,
	.open = mirror_open,
	.release = mirror_close,
	.mmap = mirror_mmap,
	.unlocked_ioctl = mirror_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

int test_hmm_mirror_init(struct range_dev *dev)
{
	snprintf(dev->mirror_name, sizeof(dev->mirror_name), "hmm_dmirror%td",
		 dev - test_hmm_devs);
	dev->mirror.minor = MISC_DYNAMIC_MINOR;
	dev->mirror.name = dev->mirror_name;
	dev->mirror.fops = &mirror_fops;
	dev->mirror.mode = 0600;
	return misc_register(&dev->mirror);
}

void test_hmm_mirror_exit(struct range_dev *dev)
{
	misc_deregister(&dev->mirror);
}
