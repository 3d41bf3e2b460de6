// SPDX-License-Identifier: GPL-2.0-only
/*
 * hmm_edu.c - a device that works on the memory of a process, and pins nothing
 *
 * QEMU's "edu" copies up to 4 KiB between memory and a buffer of its own.  A program
 * names one of its addresses, and the device reads or writes there, while the kernel
 * may swap out, share or move the page at any time.  See Documentation/mm/hmm.rst.
 *
 * The device reaches a window of the process's addresses, which moves to where it is
 * needed.  Locks, in this order: work, with which the window stays where it is; the mm's,
 * taken by HMM; lock, for what the device reaches, held while it works.  The notifier takes
 * it, and page faults and reclaim call the notifier: no user memory, no GFP_KERNEL with it.
 */
#include <linux/hmm.h>
#include <linux/hmm-dma.h>
#include <linux/iopoll.h>
#include <linux/miscdevice.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/pci-p2pdma.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "hmm_edu.h"

#define EDU_DMA_SRC	0x80
#define EDU_DMA_DST	0x88
#define EDU_DMA_COUNT	0x90
#define EDU_DMA_CMD	0x98	/* 1: start, and busy until it reads as 0; 2: to memory */
#define EDU_BUFFER	0x40000	/* as the device addresses it */

#define WINDOW_SIZE	SZ_2M
#define WINDOW_PAGES	(WINDOW_SIZE >> PAGE_SHIFT)
#define AROUND		16UL	/* pages that are mapped at once, if they are there */
#define COPY_TIMEOUT	(2 * HZ)		/* an ioctl with all retries, from its turn on */
#define EDU_TIMEOUT	(5 * USEC_PER_SEC)	/* the device, which takes 0.1 s */

static unsigned int dma_bits = 28;
module_param(dma_bits, uint, 0444);
MODULE_PARM_DESC(dma_bits, "address bits, as QEMU was told by -device edu,dma_mask=");

struct hmm_edu {
	refcount_t users;		/* the PCI device, and the file */
	struct miscdevice misc;
	char name[32];
	struct device *dev;
	void __iomem *regs;

	struct mutex work;		/* protects: */
	struct mmu_interval_notifier window;	/* .mm is NULL if there is none */
	u64 faults;

	struct mutex lock;		/* protects: */
	struct hmm_dma_map map;		/* of the window's pages */
	u64 notified;
	bool gone;			/* the device; then there is no map */
};

/* More than that may go with it, see hmm_dma_widen(): the device is idle and forgets it */
static void hmm_edu_unmap(struct hmm_edu *edu, unsigned long first, unsigned long last)
{
	lockdep_assert_held(&edu->lock);
	if (edu->gone)
		return;
	hmm_dma_unmap_range(edu->dev, &edu->map, first, last - first + 1);
	for (; first <= last; first++)
		*hmm_dma_pfn(&edu->map, first) = 0;
}

/* Unplugged or broken: from here on nobody waits for the device, so cut it off first */
static void hmm_edu_give_up(struct hmm_edu *edu)
{
	pci_clear_master(to_pci_dev(edu->dev));
	hmm_edu_unmap(edu, 0, WINDOW_PAGES - 1);
	hmm_dma_map_free(edu->dev, &edu->map);
	edu->gone = true;
}

/* Pages are taken away.  After this, others get them: the device must have stopped */
static bool hmm_edu_invalidate(struct mmu_interval_notifier *window,
			       const struct mmu_notifier_range *range, unsigned long seq)
{
	struct hmm_edu *edu = container_of(window, struct hmm_edu, window);
	unsigned long start = window->interval_tree.start;
	unsigned long first = max(range->start, start) - start;
	unsigned long last = min(range->end - 1, window->interval_tree.last) - start;

	/* Whoever starts the device holds the lock until it is idle again */
	if (mmu_notifier_range_blockable(range))
		mutex_lock(&edu->lock);
	else if (!mutex_trylock(&edu->lock))
		return false;	/* the OOM killer cannot wait; it leaves these pages */
	/* Answers that hmm_edu_fault() has got and not used yet are void */
	mmu_interval_set_seq(window, seq);
	hmm_edu_unmap(edu, first >> PAGE_SHIFT, last >> PAGE_SHIFT);
	edu->notified++;
	mutex_unlock(&edu->lock);
	return true;
}

static const struct mmu_interval_notifier_ops hmm_edu_window_ops = {
	.invalidate = hmm_edu_invalidate,
};

static void hmm_edu_close_window(struct hmm_edu *edu)
{
	if (!edu->window.mm)
		return;
	/* While there is a notifier: without one, a mapped page can be freed */
	scoped_guard(mutex, &edu->lock)
		hmm_edu_unmap(edu, 0, WINDOW_PAGES - 1);
	/* Waits for a notifier that runs, so not with the lock that it takes */
	mmu_interval_notifier_remove(&edu->window);
	edu->window.mm = NULL;
}

static int hmm_edu_move_window(struct hmm_edu *edu, unsigned long addr)
{
	unsigned long start = ALIGN_DOWN(addr, WINDOW_SIZE);
	int ret;

	/* A child that uses its parent's file has another mm */
	if (edu->window.mm == current->mm && edu->window.interval_tree.start == start)
		return 0;
	hmm_edu_close_window(edu);
	ret = mmu_interval_notifier_insert(&edu->window, current->mm, start, WINDOW_SIZE,
					   &hmm_edu_window_ops);
	if (ret)
		edu->window.mm = NULL;
	return ret;
}

/* Have @page mapped; it may have been taken away again when this returns 0 */
static int hmm_edu_fault(struct hmm_edu *edu, unsigned long page, bool write,
			 unsigned long deadline)
{
	unsigned long pfns[AROUND] = {}, *entry, i, first = ALIGN_DOWN(page, AROUND);
	unsigned long start = edu->window.interval_tree.start;
	struct pci_p2pdma_map_state p2pdma = {};
	struct hmm_range range = {
		.notifier = &edu->window,
		.start = start + first * PAGE_SIZE,
		.end = start + (first + AROUND) * PAGE_SIZE,
		.hmm_pfns = pfns,
		/* Nothing is asked of the neighbours: they are not faulted in */
		.pfn_flags_mask = HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE,
	};
	long left = deadline - jiffies;
	dma_addr_t memory;
	int ret;

	/* A process can take its own pages away for ever */
	if (left <= 0)
		return -EBUSY;
	pfns[page - first] = HMM_PFN_REQ_FAULT | (write ? HMM_PFN_REQ_WRITE : 0);
	edu->faults++;
	ret = hmm_range_fault_unlocked_timeout(&range, left);
	if (ret)
		return ret;
	/* Nothing held the pages so far: after a notifier, they may be somebody else's */
	guard(mutex)(&edu->lock);
	if (edu->gone || mmu_interval_read_retry(&edu->window, range.notifier_seq))
		return 0;
	for (i = 0; i < AROUND; i++) {
		entry = hmm_dma_pfn(&edu->map, first + i);
		/* What is mapped already has the same page, and bits that say how */
		if (*entry & HMM_PFN_DMA_MAPPED)
			*entry |= pfns[i] & HMM_PFN_WRITE;
		else if (pfns[i] & HMM_PFN_VALID)
			*entry = pfns[i];
	}
	/* That a neighbour cannot be mapped is no reason to fail */
	hmm_dma_map_range(edu->dev, &edu->map, first, AROUND, &p2pdma);
	memory = hmm_dma_map_pfn(edu->dev, &edu->map, page, &p2pdma);
	return memory == DMA_MAPPING_ERROR ? -EFAULT : 0;
}

/* As long as the caller holds the lock, @page stays mapped; hmm_dma tells where it is */
static int hmm_edu_transfer(struct hmm_edu *edu, unsigned long page, u32 offset, u64 buffer,
			    u32 len, bool write)
{
	struct pci_p2pdma_map_state p2pdma = {};
	dma_addr_t memory = hmm_dma_map_pfn(edu->dev, &edu->map, page, &p2pdma) + offset;
	u64 busy;

	writeq(write ? buffer : memory, edu->regs + EDU_DMA_SRC);
	writeq(write ? memory : buffer, edu->regs + EDU_DMA_DST);
	writeq(len, edu->regs + EDU_DMA_COUNT);
	writeq(write ? 3 : 1, edu->regs + EDU_DMA_CMD);
	/* A signal does not stop the device.  Reclaim may wait for us, so not for ever */
	if (!read_poll_timeout(readq, busy, !(busy & 1), 50000, EDU_TIMEOUT, true,
			       edu->regs + EDU_DMA_CMD))
		return 0;
	hmm_edu_give_up(edu);
	return -EIO;
}

/* Within one page: what is contiguous for the process may not be so for the device */
static int hmm_edu_copy_part(struct hmm_edu *edu, unsigned long addr, u64 buffer, u32 len,
			     bool write, unsigned long deadline)
{
	unsigned long page, need = HMM_PFN_DMA_MAPPED | (write ? HMM_PFN_WRITE : 0);
	int ret = hmm_edu_move_window(edu, addr);

	while (!ret) {
		page = (addr - edu->window.interval_tree.start) >> PAGE_SHIFT;
		scoped_guard(mutex, &edu->lock) {
			if (edu->gone)
				return -ENODEV;
			if ((*hmm_dma_pfn(&edu->map, page) & need) == need)
				return hmm_edu_transfer(edu, page, offset_in_page(addr),
							buffer, len, write);
		}
		ret = hmm_edu_fault(edu, page, write, deadline);
	}
	return ret;
}

static long hmm_edu_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	void __user *user = (void __user *)arg;
	struct hmm_edu *edu = file->private_data;
	unsigned long addr, deadline;
	struct hmm_edu_copy copy;
	u32 done, part;
	int ret = 0;

	if (cmd != HMM_EDU_COPY)
		return -ENOTTY;
	if (copy_from_user(&copy, user, sizeof(copy)))
		return -EFAULT;
	if (!copy.len || copy.len > HMM_EDU_BUFFER || copy.flags & ~HMM_EDU_TO_MEMORY)
		return -EINVAL;
	addr = untagged_addr(copy.addr);
	if (!access_ok((void __user *)addr, copy.len))
		return -EFAULT;
	if (mutex_lock_killable(&edu->work))
		return -EINTR;
	deadline = jiffies + COPY_TIMEOUT;
	for (done = 0; !ret && done < copy.len; done += part) {
		part = min(copy.len - done, PAGE_SIZE - offset_in_page(addr + done));
		ret = hmm_edu_copy_part(edu, addr + done, EDU_BUFFER + done, part,
					copy.flags & HMM_EDU_TO_MEMORY, deadline);
	}
	copy.faults = edu->faults;
	copy.notified = READ_ONCE(edu->notified);
	mutex_unlock(&edu->work);
	if (!ret && copy_to_user(user, &copy, sizeof(copy)))
		ret = -EFAULT;
	return ret;
}

static void hmm_edu_put(struct hmm_edu *edu)
{
	if (refcount_dec_and_test(&edu->users))
		kfree(edu);
}

static int hmm_edu_open(struct inode *inode, struct file *file)
{
	struct hmm_edu *edu = container_of(file->private_data, struct hmm_edu, misc);

	/* One file at a time, which can outlive the device; misc opens one at a time */
	if (refcount_read(&edu->users) > 1)
		return -EBUSY;
	refcount_inc(&edu->users);
	edu->faults = 0;
	edu->notified = 0;
	file->private_data = edu;
	return 0;
}

static int hmm_edu_release(struct inode *inode, struct file *file)
{
	/* All who shared the file have closed it, or died */
	hmm_edu_close_window(file->private_data);
	hmm_edu_put(file->private_data);
	return 0;
}

static const struct file_operations hmm_edu_fops = {
	.owner = THIS_MODULE,
	.open = hmm_edu_open,
	.release = hmm_edu_release,
	.unlocked_ioctl = hmm_edu_ioctl,
};

static int hmm_edu_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct hmm_edu *edu __free(kfree) = kzalloc_obj(*edu);
	int ret;

	if (!edu)
		return -ENOMEM;
	refcount_set(&edu->users, 1);
	mutex_init(&edu->work);
	mutex_init(&edu->lock);
	edu->dev = &pdev->dev;
	edu->misc.minor = MISC_DYNAMIC_MINOR;
	edu->misc.fops = &hmm_edu_fops;
	edu->misc.name = edu->name;
	snprintf(edu->name, sizeof(edu->name), "hmm_edu-%s", pci_name(pdev));
	ret = pcim_enable_device(pdev);
	if (ret)
		return ret;
	edu->regs = pcim_iomap_region(pdev, 0, KBUILD_MODNAME);
	if (IS_ERR(edu->regs))
		return PTR_ERR(edu->regs);
	ret = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(dma_bits)) ?:
	      hmm_dma_map_alloc(&pdev->dev, &edu->map, WINDOW_PAGES, PAGE_SIZE);
	if (ret)
		return dev_err_probe(&pdev->dev, ret, "not for HMM with %u bits\n", dma_bits);
	pci_set_master(pdev);
	ret = misc_register(&edu->misc);
	if (ret)
		hmm_dma_map_free(&pdev->dev, &edu->map);
	else
		pci_set_drvdata(pdev, no_free_ptr(edu));
	return ret;
}

/* Perhaps during an ioctl, which can wait for a page fault for ever: we do not wait for it */
static void hmm_edu_remove(struct pci_dev *pdev)
{
	struct hmm_edu *edu = pci_get_drvdata(pdev);

	misc_deregister(&edu->misc);
	scoped_guard(mutex, &edu->lock)
		hmm_edu_give_up(edu);
	hmm_edu_put(edu);
}

static const struct pci_device_id hmm_edu_ids[] = {
	{ PCI_DEVICE(0x1234, 0x11e8) },
	{ }
};
MODULE_DEVICE_TABLE(pci, hmm_edu_ids);

static struct pci_driver hmm_edu_driver = {
	.name = KBUILD_MODNAME,
	.id_table = hmm_edu_ids,
	.probe = hmm_edu_probe,
	.remove = hmm_edu_remove,
};
module_pci_driver(hmm_edu_driver);

MODULE_DESCRIPTION("Sample of HMM: QEMU's edu device works on a process's memory");
MODULE_LICENSE("GPL");
