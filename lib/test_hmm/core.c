// SPDX-License-Identifier: GPL-2.0
/*
 * Test driver for hmm_range_fault() and migrate_vma_setup().
 *
 * A test that sees only what a driver makes of an answer misses wrong answers
 * that happen to be harmless.  So /dev/hmm_range* passes everything through raw:
 * user space supplies a struct hmm_range, gets the entries back bit for bit, and
 * can have the first bytes of each page read or written through the answered
 * pfns.  /dev/hmm_dmirror* are the same devices with page tables of their own.
 *
 * There are four devices with memory, so that pages can have different owners.
 * Mappings of the devices provide page table entries and page faults that no
 * ordinary memory has.
 *
 * For root on a test machine only: it reads and writes memory on request.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "test_hmm.h"

struct range_dev test_hmm_devs[HMM_RANGE_DEVICES];

void test_hmm_stop(struct range_file *rf)
{
	complete(&rf->held);
	wait_for_completion_timeout(&rf->go, RANGE_WAIT);
}

void test_hmm_stop_at(struct range_file *rf, int point)
{
	if (atomic_fetch_andnot(point, &rf->hold) & point)
		test_hmm_stop(rf);
}

/* The owner is the address of a device; user space uses its number */
bool test_hmm_owner(s32 number, void **owner)
{
	if (number < HMM_RANGE_NOBODY || number >= HMM_RANGE_DEVICES)
		return false;
	*owner = number == HMM_RANGE_NOBODY ? NULL : &test_hmm_devs[number];
	return true;
}

static int range_open(struct inode *inode, struct file *file)
{
	struct miscdevice *misc = file->private_data;
	struct range_file *rf;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (!current->mm)
		return -EINVAL;
	rf = kzalloc_obj(*rf);
	if (!rf)
		return -ENOMEM;
	rf->dev = container_of(misc, struct range_dev, misc);
	rf->mm = current->mm;
	mmgrab(rf->mm);
	mutex_init(&rf->lock);
	xa_init(&rf->pages);
	init_completion(&rf->held);
	init_completion(&rf->go);
	file->private_data = rf;
	return 0;
}

static int range_release(struct inode *inode, struct file *file)
{
	struct range_file *rf = file->private_data;
	unsigned long index;
	struct page *page;

	test_hmm_absent_end(rf);
	xa_for_each(&rf->pages, index, page)
		put_page(page);
	xa_destroy(&rf->pages);
	if (rf->huge)
		__free_pages(rf->huge, RANGE_PMD_ORDER);
	mmdrop(rf->mm);
	kfree(rf);
	return 0;
}

static int range_info(void __user *arg)
{
	struct hmm_range_info info = {
		.valid = HMM_PFN_VALID,
		.write = HMM_PFN_WRITE,
		.error = HMM_PFN_ERROR,
		.dma_mapped = HMM_PFN_DMA_MAPPED,
		.p2pdma = HMM_PFN_P2PDMA,
		.p2pdma_bus = HMM_PFN_P2PDMA_BUS,
		.pfn_mask = (unsigned long)~HMM_PFN_FLAGS,
		.order_mask = hmm_pfn_to_map_order(~0UL),
		.order_shift = HMM_PFN_ORDER_SHIFT,
		.page_shift = PAGE_SHIFT,
		.pmd_order = RANGE_PMD_ORDER,
		.pud_order = RANGE_PUD_ORDER,
	};
	unsigned int i;

	if (test_hmm_count_works())
		info.features |= HMM_RANGE_HAS_COUNTS;
	if (test_hmm_count_works() && IS_ENABLED(CONFIG_HAVE_FUNCTION_ARG_ACCESS_API))
		info.features |= HMM_RANGE_HAS_VISITS;
	if (IS_ENABLED(CONFIG_ARCH_SUPPORTS_PMD_PFNMAP))
		info.features |= HMM_RANGE_HAS_PMD;
	if (IS_ENABLED(CONFIG_ARCH_SUPPORTS_PUD_PFNMAP) && test_hmm_nothing)
		info.features |= HMM_RANGE_HAS_PUD;
	if (IS_ENABLED(CONFIG_ARCH_HAS_PTE_SPECIAL))
		info.features |= HMM_RANGE_HAS_SPECIAL;
	if (IS_ENABLED(CONFIG_DEVICE_PRIVATE))
		info.features |= HMM_RANGE_HAS_EXCLUSIVE;
	if (test_hmm_count_works() && test_hmm_vma_lock_works())
		info.features |= HMM_RANGE_HAS_VMA_LOCK;
	for (i = 0; i < HMM_RANGE_DEVICES; i++)
		test_hmm_dev_info(&test_hmm_devs[i], &info);
	return copy_to_user(arg, &info, sizeof(info)) ? -EFAULT : 0;
}

static int range_ioctl_cmd(struct range_file *rf, unsigned int cmd, void __user *arg)
{
	union {
		struct hmm_range_call call;
		struct hmm_range_migrate migrate;
		struct hmm_range_dma dma;
	} in;
	int ret;

	if (copy_from_user(&in, arg, _IOC_SIZE(cmd)))
		return -EFAULT;
	if (cmd == HMM_RANGE_CALL)
		ret = test_hmm_call(rf, &in.call);
	else if (cmd == HMM_RANGE_MIGRATE)
		ret = test_hmm_migrate(rf, &in.migrate);
	else
		ret = test_hmm_dma_call(rf, &in.dma);
	if (!ret && copy_to_user(arg, &in, _IOC_SIZE(cmd)))
		ret = -EFAULT;
	return ret;
}

static int range_ioctl_last(struct range_file *rf, void __user *arg)
{
	struct hmm_range_call call;

	mutex_lock(&rf->lock);
	call = rf->last;
	mutex_unlock(&rf->lock);
	return copy_to_user(arg, &call, sizeof(call)) ? -EFAULT : 0;
}

static int range_ioctl_act(struct range_file *rf, void __user *arg)
{
	struct hmm_range_act act, was;

	if (copy_from_user(&act, arg, sizeof(act)))
		return -EFAULT;
	if (act.what > HMM_RANGE_ACT_NOPAGE || act.arg > MSEC_PER_SEC)
		return -EINVAL;
	if (act.what == HMM_RANGE_ACT_HOLD) {
		reinit_completion(&rf->held);
		reinit_completion(&rf->go);
	}
	mutex_lock(&rf->lock);
	was = rf->act;
	act.faults = 0;
	rf->act = act;
	rf->dropped = 0;
	mutex_unlock(&rf->lock);
	return copy_to_user(arg, &was, sizeof(was)) ? -EFAULT : 0;
}

static int range_ioctl_hold(struct range_file *rf, u32 points)
{
	if (points & ~(HMM_RANGE_HOLD_UNMAP | HMM_RANGE_HOLD_MIGRATE |
		       HMM_RANGE_HOLD_DROP | HMM_RANGE_HOLD_ABSENT |
		       HMM_RANGE_HOLD_MMAP))
		return -EINVAL;
	test_hmm_absent_end(rf);
	reinit_completion(&rf->held);
	reinit_completion(&rf->go);
	atomic_set(&rf->hold, points);
	return points & HMM_RANGE_HOLD_ABSENT ? test_hmm_absent_begin(rf) : 0;
}

static int range_ioctl_wait(struct range_file *rf)
{
	long left = wait_for_completion_killable_timeout(&rf->held, RANGE_WAIT);

	if (left < 0)
		return left;
	return left ? 0 : -ETIME;
}

static int range_ioctl_exclusive(struct range_dev *dev, u64 addr)
{
	if (addr != (unsigned long)addr)
		return -EINVAL;
	return test_hmm_exclusive(dev, addr);
}

static long range_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct range_file *rf = file->private_data;
	void __user *user = (void __user *)arg;
	u32 value = 0;
	u64 addr = 0;

	switch (cmd) {
	case HMM_RANGE_INFO:
		return range_info(user);
	case HMM_RANGE_CALL:
	case HMM_RANGE_MIGRATE:
	case HMM_RANGE_DMA:
		return range_ioctl_cmd(rf, cmd, user);
	case HMM_RANGE_LAST:
		return range_ioctl_last(rf, user);
	case HMM_RANGE_ACT:
		return range_ioctl_act(rf, user);
	case HMM_RANGE_WAIT:
		return range_ioctl_wait(rf);
	case HMM_RANGE_GO:
		complete(&rf->go);
		return 0;
	case HMM_RANGE_REMOVE:
		return test_hmm_dev_remove(rf->dev);
	case HMM_RANGE_EXCLUSIVE:
		if (copy_from_user(&addr, user, sizeof(addr)))
			return -EFAULT;
		return range_ioctl_exclusive(rf->dev, addr);
	case HMM_RANGE_HOLD:
	case HMM_RANGE_FAIL:
	case HMM_RANGE_ADD:
		if (copy_from_user(&value, user, sizeof(value)))
			return -EFAULT;
		if (cmd == HMM_RANGE_HOLD)
			return range_ioctl_hold(rf, value);
		if (cmd == HMM_RANGE_FAIL)
			return test_hmm_dev_fail(rf->dev, value);
		return test_hmm_dev_add(rf->dev, value);
	}
	return -ENOTTY;
}

static const struct file_operations range_fops = {
	.owner = THIS_MODULE,
	.open = range_open,
	.release = range_release,
	.mmap = test_hmm_mmap,
	.get_unmapped_area = thp_get_unmapped_area,
	.unlocked_ioctl = range_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static int range_setup(struct range_dev *dev)
{
	int ret;

	snprintf(dev->name, sizeof(dev->name), "hmm_range%td", dev - test_hmm_devs);
	spin_lock_init(&dev->lock);
	mutex_init(&dev->change);
	dev->misc.minor = MISC_DYNAMIC_MINOR;
	dev->misc.name = dev->name;
	dev->misc.fops = &range_fops;
	dev->misc.mode = 0600;
	ret = test_hmm_dev_init(dev);
	if (ret)
		goto exit;
	ret = misc_register(&dev->misc);
	if (ret)
		goto exit;
	ret = test_hmm_mirror_init(dev);
	if (!ret)
		return 0;
	misc_deregister(&dev->misc);
exit:
	test_hmm_dev_exit(dev);
	return ret;
}

static void range_teardown(struct range_dev *dev)
{
	test_hmm_mirror_exit(dev);
	misc_deregister(&dev->misc);
	test_hmm_dev_exit(dev);
}

static int __init range_init(void)
{
	int i, ret;

	ret = test_hmm_vma_lock_init();
	if (ret)
		return ret;
	test_hmm_nothing_init();
	for (i = 0; i < HMM_RANGE_DEVICES; i++) {
		ret = range_setup(&test_hmm_devs[i]);
		if (ret)
			goto undo;
	}
	test_hmm_count_init();
	test_hmm_dma_init();
	return 0;
undo:
	while (i--)
		range_teardown(&test_hmm_devs[i]);
	test_hmm_nothing_exit();
	test_hmm_vma_lock_exit();
	return ret;
}

static void __exit range_exit(void)
{
	int i;

	test_hmm_dma_exit();
	test_hmm_count_exit();
	for (i = 0; i < HMM_RANGE_DEVICES; i++)
		range_teardown(&test_hmm_devs[i]);
	test_hmm_nothing_exit();
	test_hmm_vma_lock_exit();
}

module_init(range_init);
module_exit(range_exit);
MODULE_DESCRIPTION("Test driver for hmm_range_fault() and migrate_vma_setup(), never for production");
MODULE_LICENSE("GPL");
