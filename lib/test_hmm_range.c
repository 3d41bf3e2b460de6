// SPDX-License-Identifier: GPL-2.0
/*
 * hmm_range_fault() and migrate_vma_setup() with every input and output raw.
 *
 * A test that checks what a driver made of an answer does not see a wrong answer
 * that happens to do no harm.  So this driver has no page table of its own: user
 * space hands in a struct hmm_range, sees what comes back bit for bit, and has
 * the first bytes of each page read and written through the answered pfns.
 *
 * Four devices with memory of their own make owners and foreigners; mappings of
 * the devices make page table entries and page faults that no other memory has.
 *
 * For the super-user of a test machine: what it does is asked for, but odd.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bitmap.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/dma-map-ops.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/hmm.h>
#include <linux/hmm-dma.h>
#include <linux/huge_mm.h>
#include <linux/iommu.h>
#include <linux/iommu-dma.h>
#include <linux/ioport.h>
#include <linux/irq_work.h>
#include <linux/kprobes.h>
#include <linux/memremap.h>
#include <linux/migrate.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pagemap.h>
#include <linux/pci.h>
#include <linux/pci-p2pdma.h>
#include <linux/platform_device.h>
#include <linux/ptrace.h>
#include <linux/rmap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/swap.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <linux/xarray.h>

#include "test_hmm_range_uapi.h"

#define RANGE_PMD_ORDER		(PMD_SHIFT - PAGE_SHIFT)
#define RANGE_PMD_NR		(1UL << RANGE_PMD_ORDER)
#define RANGE_PUD_ORDER		(PUD_SHIFT - PAGE_SHIFT)

/* Memory of a device */
#define RANGE_DEV_BYTES		(64UL << 20)
#define RANGE_DEV_PAGES		(RANGE_DEV_BYTES >> PAGE_SHIFT)

/* Entries before and behind the array of a call, to see whether it keeps to it */
#define RANGE_SLACK		1024
#define RANGE_CANARY		((unsigned long)0x5a5a5a5a5a5a5a5aULL)

#define RANGE_WAIT		(20 * HZ)

static unsigned long long coherent;
module_param(coherent, ullong, 0400);
MODULE_PARM_DESC(coherent,
		 "physical address of 128 MiB kept from the kernel (memmap=), for devices 2 and 3");

/**
 * struct range_dev - one device, which is an owner
 * @misc: its node
 * @name: of the node
 * @lock: @used and @fail
 * @change: serializes taking memory away and giving it back
 * @up: has memory
 * @fail: so many allocations are to fail
 * @pgmap: its memory
 * @place: physical addresses of private memory, rounded up as the kernel likes
 * @first: pfn of its memory
 * @used: which of its pages are allocated
 * @storage: where device private pages keep their bytes, by index
 */
struct range_dev {
	struct miscdevice misc;
	char name[32];
	spinlock_t lock;
	struct mutex change;
	bool up;
	unsigned int fail;
#if IS_ENABLED(CONFIG_DEVICE_PRIVATE)
	struct dev_pagemap pgmap;
	struct resource *place;
	unsigned long first;
	unsigned long *used;
	struct page **storage;
#endif
};

static struct range_dev range_devs[HMM_RANGE_DEVICES];

/**
 * struct range_file - one open file
 * @dev: the device
 * @mm: of whoever opened it; a reference to the struct, not to its users
 * @lock: @act, @last and @huge
 * @act: what the fault handler of a mapping is to do
 * @dropped: index of the page for whose sake mmap_lock was dropped last, plus 1
 * @last: the call that ended last
 * @pages: pages of mappings, by index
 * @huge: the memory of HMM_RANGE_MAP_PMD
 * @hold: HMM_RANGE_HOLD_* at which to stop
 * @held: someone has stopped
 * @go: and may go on
 */
struct range_file {
	struct range_dev *dev;
	struct mm_struct *mm;
	struct mutex lock;
	struct hmm_range_act act;
	pgoff_t dropped;
	struct hmm_range_call last;
	struct xarray pages;
	struct page *huge;
	atomic_t hold;
	struct completion held;
	struct completion go;
};

static void range_stop(struct range_file *rf)
{
	complete(&rf->held);
	wait_for_completion_timeout(&rf->go, RANGE_WAIT);
}

static void range_stop_at(struct range_file *rf, int point)
{
	if (atomic_fetch_andnot(point, &rf->hold) & point)
		range_stop(rf);
}

/* An owner is the address of a device; user space knows it by number */
static bool range_owner(s32 number, void **owner)
{
	if (number < HMM_RANGE_NOBODY || number >= HMM_RANGE_DEVICES)
		return false;
	*owner = number == HMM_RANGE_NOBODY ? NULL : &range_devs[number];
	return true;
}

/* Seeing what is called */

#ifdef CONFIG_KPROBES

static unsigned long range_arg(struct pt_regs *regs, unsigned int n)
{
#ifdef CONFIG_HAVE_FUNCTION_ARG_ACCESS_API
	return regs_get_kernel_argument(regs, n);
#else
	return 0;
#endif
}

#endif

/* Counting what hmm_range_fault() calls, for one caller at a time */

static struct {
	struct mutex lock;
	bool works;
	struct task_struct *task;
	unsigned long at;
	u64 calls;
	u64 walks;
	u64 visits;
} range_count = { .lock = __MUTEX_INITIALIZER(range_count.lock) };

#ifdef CONFIG_KPROBES

/* handle_mm_fault(vma, address, ...): the walk has come to address */
static int range_saw_fault(struct kprobe *p, struct pt_regs *regs)
{
	unsigned long addr = range_arg(regs, 1);

	if (READ_ONCE(range_count.task) != current)
		return 0;
	range_count.calls++;
	if (addr > range_count.at)
		range_count.visits += (addr - range_count.at) >> PAGE_SHIFT;
	range_count.at = addr;
	return 0;
}

/* walk_page_range(mm, start, ...), walk_page_range_vma(vma, start, ...) */
static int range_saw_walk(struct kprobe *p, struct pt_regs *regs)
{
	if (READ_ONCE(range_count.task) != current)
		return 0;
	range_count.walks++;
	range_count.at = range_arg(regs, 1);
	return 0;
}

/* At work only when something is counted, as they take time */
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

static void range_count_init(void)
{
	range_count.works = !register_kprobes(range_probes,
					      ARRAY_SIZE(range_probes));
}

static void range_count_exit(void)
{
	if (range_count.works)
		unregister_kprobes(range_probes, ARRAY_SIZE(range_probes));
}

#else /* !CONFIG_KPROBES */
static void range_count_arm(bool arm) { }
static void range_count_init(void) { }
static void range_count_exit(void) { }
#endif

static void range_count_begin(unsigned long start)
{
	mutex_lock(&range_count.lock);
	range_count.calls = 0;
	range_count.walks = 0;
	range_count.visits = 0;
	range_count.at = start;
	range_count_arm(true);
	WRITE_ONCE(range_count.task, current);
}

static void range_count_end(struct hmm_range_call *call)
{
	WRITE_ONCE(range_count.task, NULL);
	range_count_arm(false);
	call->calls = range_count.calls;
	call->walks = range_count.walks;
	call->visits = range_count.visits;
	if (!call->ret && call->end > range_count.at)
		call->visits += (call->end - range_count.at) >> PAGE_SHIFT;
	mutex_unlock(&range_count.lock);
}

/* Waking who waits between the reading of an absent PMD and the look at it */

#if defined(CONFIG_KPROBES) && defined(CONFIG_IRQ_WORK)

/* Of the file that waits, if any */
static DEFINE_MUTEX(range_absent_lock);
static struct range_file *range_absent_file;

/* In an interrupt, behind which a thread that is more urgent takes over */
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

/* What is called with the entry: in the walker linked with this, or the kernel's */
static bool range_absent_find(void)
{
	static const char * const callees[] = {
		KBUILD_MODNAME ":hmm_leaf_absent",
		KBUILD_MODNAME ":hmm_vma_handle_absent_pmd",
		"hmm_leaf_absent",
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

static void range_absent_end(struct range_file *rf)
{
	mutex_lock(&range_absent_lock);
	if (range_absent_file == rf) {
		unregister_kprobe(&range_absent_probe);
		irq_work_sync(&range_absent_work);
		range_absent_file = NULL;
	}
	mutex_unlock(&range_absent_lock);
}

static int range_absent_begin(struct range_file *rf)
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

static void range_absent_end(struct range_file *rf) { }

static int range_absent_begin(struct range_file *rf)
{
	return -EOPNOTSUPP;
}

#endif

/* Device memory */

#if IS_ENABLED(CONFIG_DEVICE_PRIVATE)

static bool range_is_private(const struct range_dev *dev)
{
	return dev < &range_devs[2];
}

static struct range_dev *range_page_dev(struct page *page)
{
	return container_of(page_pgmap(page), struct range_dev, pgmap);
}

static bool range_is_dev_page(struct page *page)
{
	return is_device_private_page(page) || is_device_coherent_page(page);
}

/* Where the bytes of a page are */
static struct page *range_storage(struct page *page)
{
	struct range_dev *dev;

	if (!is_device_private_page(page))
		return page;
	dev = range_page_dev(page);
	return dev->storage[page_to_pfn(page) - dev->first];
}

static bool range_alloc_fails(struct range_dev *dev)
{
	bool fails;

	spin_lock(&dev->lock);
	fails = dev->fail;
	if (fails)
		dev->fail--;
	spin_unlock(&dev->lock);
	return fails;
}

static void range_dev_release(struct range_dev *dev, unsigned long first,
			      unsigned long nr)
{
	unsigned long i;

	for (i = first; i < first + nr; i++) {
		if (dev->storage[i])
			__free_page(dev->storage[i]);
		dev->storage[i] = NULL;
	}
	spin_lock(&dev->lock);
	bitmap_clear(dev->used, first, nr);
	spin_unlock(&dev->lock);
}

static void range_folio_free(struct folio *folio)
{
	struct range_dev *dev = range_page_dev(&folio->page);

	range_dev_release(dev, folio_pfn(folio) - dev->first,
			  folio_nr_pages(folio));
}

/* A locked folio of the device; the bytes of a private one are zero */
static struct folio *range_dev_alloc(struct range_dev *dev, unsigned int order)
{
	unsigned long i, first, nr = 1UL << order;
	struct folio *folio;

	if (!READ_ONCE(dev->up) || range_alloc_fails(dev))
		return NULL;

	spin_lock(&dev->lock);
	first = bitmap_find_next_zero_area(dev->used, RANGE_DEV_PAGES, 0, nr,
					   nr - 1);
	if (first < RANGE_DEV_PAGES)
		bitmap_set(dev->used, first, nr);
	spin_unlock(&dev->lock);
	if (first >= RANGE_DEV_PAGES)
		return NULL;

	for (i = first; range_is_private(dev) && i < first + nr; i++) {
		dev->storage[i] = alloc_page(GFP_KERNEL | __GFP_ZERO);
		if (!dev->storage[i]) {
			range_dev_release(dev, first, nr);
			return NULL;
		}
	}
	/* Not page_folio(): the page may still look like the tail it once was */
	folio = (struct folio *)pfn_to_page(dev->first + first);
	zone_device_folio_init(folio, &dev->pgmap, order);
	return folio;
}

/* A locked folio, of the device or of the system */
static struct folio *range_alloc(struct range_dev *to, struct page *from,
				 unsigned int order)
{
	struct folio *folio;

	if (to)
		return range_dev_alloc(to, order);
	if (from && range_is_dev_page(from) &&
	    range_alloc_fails(range_page_dev(from)))
		return NULL;
	folio = folio_alloc(GFP_HIGHUSER_MOVABLE, order);
	if (folio)
		folio_lock(folio);
	return folio;
}

/* Fill @folio with the bytes of @from and @nr - 1 behind it; zeroes if NULL */
static void range_fill(struct folio *folio, struct page *from, unsigned long nr)
{
	unsigned long i;

	for (i = 0; i < folio_nr_pages(folio); i++) {
		struct page *to = range_storage(folio_page(folio, i));

		if (from && i < nr)
			copy_highpage(to, range_storage(from + i));
		else
			clear_highpage(to);
	}
}

static bool range_give(struct range_dev *to, struct page *from,
		       unsigned long nr, unsigned long *dst, unsigned int order)
{
	struct folio *folio = range_alloc(to, from, order);

	if (!folio)
		return false;
	range_fill(folio, from, nr);
	*dst = migrate_pfn(folio_pfn(folio));
	if (order)
		*dst |= MIGRATE_PFN_COMPOUND;
	return true;
}

/* Give @nr pages a destination as large as they come, or else single pages */
static void range_give_all(struct range_dev *to, const unsigned long *src,
			   unsigned long *dst, unsigned long nr)
{
	unsigned long i, j, step;

	for (i = 0; i < nr; i += step) {
		struct page *from = migrate_pfn_to_page(src[i]);
		bool large = src[i] & MIGRATE_PFN_COMPOUND;

		step = large ? min(RANGE_PMD_NR, nr - i) : 1;
		if (!(src[i] & MIGRATE_PFN_MIGRATE))
			continue;
		if (range_give(to, from, step, dst + i,
			       large ? RANGE_PMD_ORDER : 0) || !large)
			continue;
		for (j = 0; j < step; j++)
			range_give(to, from ? from + j : NULL, 1, dst + i + j, 0);
	}
}

/* The CPU touched device private memory: bring it home */
static vm_fault_t range_migrate_to_ram(struct vm_fault *vmf)
{
	unsigned int order = vmf->pte ? 0 : folio_order(page_folio(vmf->page));
	unsigned long nr = 1UL << order;
	struct migrate_vma args = {
		.vma = vmf->vma,
		.start = ALIGN_DOWN(vmf->address, PAGE_SIZE << order),
		.pgmap_owner = range_page_dev(vmf->page),
		.flags = MIGRATE_VMA_SELECT_DEVICE_PRIVATE,
		.fault_page = vmf->page,
	};
	vm_fault_t ret = VM_FAULT_OOM;

	args.end = args.start + (PAGE_SIZE << order);
	if (order)
		args.flags |= MIGRATE_VMA_SELECT_COMPOUND;
	args.src = kvcalloc(nr, sizeof(*args.src), GFP_KERNEL);
	args.dst = kvcalloc(nr, sizeof(*args.dst), GFP_KERNEL);
	if (!args.src || !args.dst)
		goto free;
	if (migrate_vma_setup(&args)) {
		ret = VM_FAULT_SIGBUS;
		goto free;
	}
	range_give_all(NULL, args.src, args.dst, nr);
	if (!args.cpages || memchr_inv(args.dst, 0, nr * sizeof(*args.dst)))
		ret = 0;
	migrate_vma_pages(&args);
	migrate_vma_finalize(&args);
free:
	kvfree(args.src);
	kvfree(args.dst);
	return ret;
}

static void range_folio_split(struct folio *head, struct folio *tail)
{
	if (!tail)
		return;
	tail->pgmap = head->pgmap;
	tail->page.mapping = head->page.mapping;
}

static const struct dev_pagemap_ops range_ops = {
	.folio_free = range_folio_free,
	.migrate_to_ram = range_migrate_to_ram,
	.folio_split = range_folio_split,
};

static const struct dev_pagemap_ops range_ops_no_free = {
	.migrate_to_ram = range_migrate_to_ram,
};

static const struct dev_pagemap_ops range_ops_no_ram = {
	.folio_free = range_folio_free,
};

static int range_dev_place(struct range_dev *dev)
{
	struct range *range = &dev->pgmap.range;

	if (range_is_private(dev)) {
		dev->place = request_free_mem_region(&iomem_resource,
						     RANGE_DEV_BYTES, dev->name);
		if (IS_ERR(dev->place))
			return PTR_ERR(dev->place);
		range->start = dev->place->start;
		dev->pgmap.type = MEMORY_DEVICE_PRIVATE;
	} else {
		if (!coherent || !IS_ALIGNED(coherent, RANGE_DEV_BYTES))
			return -ENODEV;
		range->start = coherent + (dev - &range_devs[2]) * RANGE_DEV_BYTES;
		dev->pgmap.type = MEMORY_DEVICE_COHERENT;
	}
	range->end = range->start + RANGE_DEV_BYTES - 1;
	return 0;
}

static void range_dev_displace(struct range_dev *dev)
{
	if (range_is_private(dev))
		release_mem_region(dev->place->start, resource_size(dev->place));
}

static int range_dev_add_locked(struct range_dev *dev, u32 lacks)
{
	void *addr;
	int ret;

	if (dev->up)
		return -EEXIST;
	memset(&dev->pgmap, 0, sizeof(dev->pgmap));
	dev->pgmap.nr_range = 1;
	dev->pgmap.owner = lacks == HMM_RANGE_LACKS_OWNER ? NULL : dev;
	dev->pgmap.ops = lacks == HMM_RANGE_LACKS_FREE ? &range_ops_no_free :
			 lacks == HMM_RANGE_LACKS_RAM ? &range_ops_no_ram :
			 lacks == HMM_RANGE_LACKS_OPS ? NULL : &range_ops;
	ret = range_dev_place(dev);
	if (ret)
		return ret;

	addr = memremap_pages(&dev->pgmap, numa_node_id());
	if (IS_ERR(addr)) {
		range_dev_displace(dev);
		return PTR_ERR(addr);
	}
	dev->first = PHYS_PFN(dev->pgmap.range.start);
	if (lacks) {
		memunmap_pages(&dev->pgmap);
		range_dev_displace(dev);
		return 0;
	}
	WRITE_ONCE(dev->up, true);
	return 0;
}

static int range_dev_add(struct range_dev *dev, u32 lacks)
{
	int ret;

	if (lacks > HMM_RANGE_LACKS_OPS)
		return -EINVAL;
	mutex_lock(&dev->change);
	ret = range_dev_add_locked(dev, lacks);
	mutex_unlock(&dev->change);
	return ret;
}

/* Bring home whatever the device holds */
static int range_dev_evict(struct range_dev *dev)
{
	unsigned long *src, *dst;
	int ret = 0;

	src = kvcalloc(RANGE_DEV_PAGES, sizeof(*src), GFP_KERNEL);
	dst = kvcalloc(RANGE_DEV_PAGES, sizeof(*dst), GFP_KERNEL);
	if (!src || !dst) {
		ret = -ENOMEM;
		goto free;
	}
	migrate_device_range(src, dev->first, RANGE_DEV_PAGES);
	range_give_all(NULL, src, dst, RANGE_DEV_PAGES);
	migrate_device_pages(src, dst, RANGE_DEV_PAGES);
	migrate_device_finalize(src, dst, RANGE_DEV_PAGES);
free:
	kvfree(src);
	kvfree(dst);
	return ret;
}

/* memunmap_pages() waits for the last page, so see first that none is left */
static int range_dev_remove_locked(struct range_dev *dev)
{
	int ret = 0, tries;

	if (!dev->up)
		return -ENODEV;
	WRITE_ONCE(dev->up, false);
	for (tries = 0; tries < 100; tries++) {
		if (bitmap_empty(dev->used, RANGE_DEV_PAGES)) {
			memunmap_pages(&dev->pgmap);
			range_dev_displace(dev);
			return 0;
		}
		ret = range_dev_evict(dev);
		if (ret)
			break;
		msleep(tries ? 20 : 0);
	}
	WRITE_ONCE(dev->up, true);
	return ret ?: -EBUSY;
}

static int range_dev_remove(struct range_dev *dev)
{
	int ret;

	mutex_lock(&dev->change);
	ret = range_dev_remove_locked(dev);
	mutex_unlock(&dev->change);
	return ret;
}

static int range_dev_init(struct range_dev *dev)
{
	int ret;

	dev->used = bitmap_zalloc(RANGE_DEV_PAGES, GFP_KERNEL);
	dev->storage = vzalloc(array_size(RANGE_DEV_PAGES, sizeof(*dev->storage)));
	if (!dev->used || !dev->storage)
		return -ENOMEM;
	ret = range_dev_add(dev, 0);
	if (ret && (ret != -ENODEV || range_is_private(dev)))
		pr_warn("%s is without memory: %d\n", dev->name, ret);
	return 0;
}

static void range_dev_exit(struct range_dev *dev)
{
	/* Pages that will not go keep their device; better a leak than a crash */
	while (range_dev_remove(dev) == -EBUSY)
		pr_warn("%s: waiting for pages in use\n", dev->name);
	bitmap_free(dev->used);
	vfree(dev->storage);
}

static void range_dev_info(const struct range_dev *dev,
			   struct hmm_range_info *info)
{
	unsigned int i = dev - range_devs;

	if (!dev->up)
		return;
	info->dev[i].first = dev->first;
	info->dev[i].nr = RANGE_DEV_PAGES;
}

static int range_exclusive(struct range_dev *dev, unsigned long addr)
{
	struct folio *folio;
	struct page *page;

	mmap_read_lock(current->mm);
	page = make_device_exclusive(current->mm, addr, dev, &folio);
	mmap_read_unlock(current->mm);
	if (IS_ERR(page))
		return PTR_ERR(page);
	folio_unlock(folio);
	folio_put(folio);
	return 0;
}

#else /* !CONFIG_DEVICE_PRIVATE */

static struct page *range_storage(struct page *page)
{
	return page;
}

static int range_dev_add(struct range_dev *dev, u32 lacks)
{
	return -ENODEV;
}

static int range_dev_remove(struct range_dev *dev)
{
	return -ENODEV;
}

static int range_dev_init(struct range_dev *dev)
{
	return 0;
}

static void range_dev_exit(struct range_dev *dev)
{
}

static void range_dev_info(const struct range_dev *dev,
			   struct hmm_range_info *info)
{
}

static int range_exclusive(struct range_dev *dev, unsigned long addr)
{
	return -EOPNOTSUPP;
}

#endif /* CONFIG_DEVICE_PRIVATE */

/**
 * struct range_watch - a notifier, and what it does to a call under way
 * @notifier: the notifier
 * @lock: the driver's lock: held to change @notifier's sequence, and to use
 *	answers after mmu_interval_read_retry()
 * @rf: who calls
 * @range: the call's range, or NULL
 * @cleared: where HMM_PFN_P2PDMA was set in place of HMM_PFN_DMA_MAPPED, by index;
 *	NULL not to touch any
 * @invalidations: how often it was called
 */
struct range_watch {
	struct mmu_interval_notifier notifier;
	struct mutex lock;
	struct range_file *rf;
	struct hmm_range *range;
	unsigned long *cleared;
	unsigned int invalidations;
};

/* From the end, to meet a walk that comes from the beginning */
static void range_clear_sticky(struct range_watch *watch, unsigned long start,
			       unsigned long end)
{
	struct hmm_range *range = watch->range;
	unsigned long addr;

	start = max(start, range->start);
	for (addr = min(end, range->end); addr > start; addr -= PAGE_SIZE) {
		unsigned long i = (addr - PAGE_SIZE - range->start) >> PAGE_SHIFT;

		if (!(READ_ONCE(range->hmm_pfns[i]) & HMM_PFN_DMA_MAPPED))
			continue;
		set_mask_bits(&range->hmm_pfns[i], HMM_PFN_DMA_MAPPED,
			      HMM_PFN_P2PDMA);
		__set_bit(i, watch->cleared);
	}
}

static bool range_invalidate(struct mmu_interval_notifier *notifier,
			     const struct mmu_notifier_range *event,
			     unsigned long seq)
{
	struct range_watch *watch = container_of(notifier, struct range_watch,
						 notifier);

	if (mmu_notifier_range_blockable(event))
		mutex_lock(&watch->lock);
	else if (!mutex_trylock(&watch->lock))
		return false;
	mmu_interval_set_seq(notifier, seq);
	watch->invalidations++;
	if (watch->cleared)
		range_clear_sticky(watch, event->start, event->end);
	mutex_unlock(&watch->lock);

	if (event->event == MMU_NOTIFY_CLEAR &&
	    mmu_notifier_range_blockable(event))
		range_stop_at(watch->rf, HMM_RANGE_HOLD_UNMAP);
	return true;
}

static const struct mmu_interval_notifier_ops range_notifier_ops = {
	.invalidate = range_invalidate,
};

static void range_access_page(unsigned long entry, u64 *data, bool write)
{
	struct page *page = hmm_pfn_to_page(entry);
	void *p = kmap_local_page(range_storage(page));

	if (write)
		memcpy(p, data, sizeof(*data));
	else
		memcpy(data, p, sizeof(*data));
	kunmap_local(p);
}

/*
 * Whether the CPU sees the same there.  The notifier is held off, so what is
 * mapped stays so; a writer shows by two reads that differ.
 */
static void range_compare_page(struct hmm_range_call *call, unsigned long addr,
			       unsigned long entry, u64 *data)
{
	void __user *user = (void __user *)addr;
	u64 before, after;

	if (copy_from_user_nofault(&before, user, sizeof(before))) {
		call->unseen++;
		return;
	}
	range_access_page(entry, data, false);
	if (copy_from_user_nofault(&after, user, sizeof(after)) || before != after)
		return;
	call->compared++;
	call->differ += *data != before;
}

static void range_read_page(struct range_watch *watch,
			    struct hmm_range_call *call, unsigned long i,
			    u64 *data)
{
	unsigned long entry = watch->range->hmm_pfns[i];

	range_access_page(entry, data, false);
	if ((call->flags & HMM_RANGE_COMPARE) &&
	    watch->notifier.mm == current->mm &&
	    !is_device_private_page(hmm_pfn_to_page(entry)))
		range_compare_page(call, watch->range->start + (i << PAGE_SHIFT),
				   entry, data);
}

/*
 * Time for others to take pages away.  Where only a fault marks a page young,
 * what a migration leaves old cannot be read without one: let the CPU have it
 * here, while there is no lock that invalidation needs.
 */
static void range_before_comparison(const struct hmm_range *range,
				    unsigned long nr)
{
	unsigned long i;

	usleep_range(10, 1000);
	if (arch_has_hw_pte_young())
		return;
	for (i = 0; i < nr; i++)
		if (range->hmm_pfns[i] & HMM_PFN_VALID)
			fault_in_readable((void __user *)range->start +
					  (i << PAGE_SHIFT), sizeof(u64));
}

/* What a device does: use the answers, while they are known to hold */
static void range_access(struct range_watch *watch, struct hmm_range_call *call,
			 u64 *data, unsigned long nr)
{
	unsigned long *entries = watch->range->hmm_pfns;
	unsigned long i;

	if (call->flags & HMM_RANGE_COMPARE)
		range_before_comparison(watch->range, nr);
	mutex_lock(&watch->lock);
	call->stale = mmu_interval_read_retry(&watch->notifier,
					      watch->range->notifier_seq);
	for (i = 0; data && !call->stale && i < nr; i++) {
		if (!(entries[i] & HMM_PFN_VALID))
			continue;
		if (!(call->flags & HMM_RANGE_WRITE))
			range_read_page(watch, call, i, &data[i]);
		else if (entries[i] & HMM_PFN_WRITE)
			range_access_page(entries[i], &data[i], true);
	}
	mutex_unlock(&watch->lock);
}

static int range_fault(struct hmm_range *range, const struct hmm_range_call *call)
{
	struct mm_struct *mm = range->notifier->mm;
	int ret;

	if (call->flags & HMM_RANGE_UNLOCKED)
		return hmm_range_fault_unlocked_timeout(range,
				msecs_to_jiffies(call->timeout_ms));

	range->notifier_seq = mmu_interval_read_begin(range->notifier);
	if (call->flags & HMM_RANGE_STALE)
		range->notifier_seq -= 2;
	mmap_read_lock(mm);
	ret = hmm_range_fault(range);
	mmap_read_unlock(mm);
	return ret;
}

/* The call itself, and all there is to see of it */
static void range_measure(struct hmm_range *range, struct hmm_range_call *call)
{
	bool count = (call->flags & HMM_RANGE_COUNT) && range_count.works;
	unsigned long before;
	ktime_t begin;

	if (count)
		range_count_begin(range->start);
	before = current->min_flt + current->maj_flt;
	begin = ktime_get();
	call->ret = range_fault(range, call);
	call->ns = ktime_to_ns(ktime_sub(ktime_get(), begin));
	call->faults = current->min_flt + current->maj_flt - before;
	if (count)
		range_count_end(call);
}

static void range_count_lost(const struct range_watch *watch,
			     struct hmm_range_call *call, unsigned long nr)
{
	unsigned long i;

	for_each_set_bit(i, watch->cleared, nr) {
		call->cleared++;
		if ((watch->range->hmm_pfns[i] & (HMM_PFN_DMA_MAPPED |
						  HMM_PFN_P2PDMA)) != HMM_PFN_P2PDMA)
			call->lost++;
	}
}

/* hmm_range_fault() takes care of sticky bits while there are regions mapped for DMA */
static int range_dma_region_begin(struct hmm_dma_map *map);
static void range_dma_region_end(struct hmm_dma_map *map);

static void range_watch_init(struct range_watch *watch, struct range_file *rf)
{
	mutex_init(&watch->lock);
	watch->rf = rf;
}

/*
 * While a folio of device memory is split, its pages have no pgmap for a moment. Here
 * it is as long as a call takes.
 */
static void range_set_pgmaps(struct range_dev *dev, bool set)
{
#if IS_ENABLED(CONFIG_DEVICE_PRIVATE)
	unsigned long i;

	for_each_set_bit(i, dev->used, RANGE_DEV_PAGES)
		if (!PageCompound(pfn_to_page(dev->first + i)))
			pfn_folio(dev->first + i)->pgmap = set ? &dev->pgmap : NULL;
#endif
}

static int range_call_watched(struct range_file *rf, struct mm_struct *mm,
			      struct hmm_range *range,
			      struct hmm_range_call *call, u64 *data)
{
	struct range_watch watch = { .range = range };
	unsigned long start = call->interval_start;
	unsigned long len = call->interval_len;
	struct hmm_dma_map region = {};
	int ret = 0;

	if (!len) {
		start = range->start & PAGE_MASK;
		len = range->end > range->start ?
		      PAGE_ALIGN(range->end) - start : PAGE_SIZE;
	}
	range_watch_init(&watch, rf);
	if (call->flags & HMM_RANGE_STICKY) {
		watch.cleared = bitmap_zalloc(call->nr, GFP_KERNEL);
		if (!watch.cleared)
			return -ENOMEM;
		ret = range_dma_region_begin(&region);
	}
	ret = ret ?: mmu_interval_notifier_insert(&watch.notifier, mm, start, len,
					   &range_notifier_ops);
	if (ret)
		goto free;
	range->notifier = &watch.notifier;
	if (call->flags & HMM_RANGE_SPLIT)
		range_set_pgmaps(rf->dev, false);
	range_measure(range, call);
	if (call->flags & HMM_RANGE_SPLIT)
		range_set_pgmaps(rf->dev, true);
	if (!call->ret)
		range_access(&watch, call, data,
			     (range->end - range->start) >> PAGE_SHIFT);
	mmu_interval_notifier_remove(&watch.notifier);
	call->invalidations = watch.invalidations;
	if (watch.cleared)
		range_count_lost(&watch, call, call->nr);
free:
	range_dma_region_end(&region);
	bitmap_free(watch.cleared);
	return ret;
}

static int range_call_mm(struct range_file *rf, struct hmm_range *range,
			 struct hmm_range_call *call, u64 *data)
{
	struct mm_struct *mm = current->mm;
	int ret;

	if (call->flags & HMM_RANGE_OPENER)
		mm = rf->mm;
	if (!mmget_not_zero(mm))
		return -ESRCH;
	ret = range_call_watched(rf, mm, range, call, data);
	mmput(mm);
	return ret;
}

/* An array of unsigned longs is u64s to user space */
static int range_get_longs(unsigned long *to, u64 from, unsigned long nr)
{
	u64 __user *user = u64_to_user_ptr(from);
	unsigned long i;
	u64 value;

	if (IS_ENABLED(CONFIG_64BIT))
		return copy_from_user(to, user, nr * sizeof(*to)) ? -EFAULT : 0;
	for (i = 0; i < nr; i++) {
		if (copy_from_user(&value, user + i, sizeof(value)))
			return -EFAULT;
		to[i] = value;
	}
	return 0;
}

static int range_put_longs(u64 to, const unsigned long *from, unsigned long nr)
{
	u64 __user *user = u64_to_user_ptr(to);
	unsigned long i;

	if (IS_ENABLED(CONFIG_64BIT))
		return copy_to_user(user, from, nr * sizeof(*from)) ? -EFAULT : 0;
	for (i = 0; i < nr; i++) {
		u64 value = from[i];

		if (copy_to_user(user + i, &value, sizeof(value)))
			return -EFAULT;
	}
	return 0;
}

static u32 range_overrun(const unsigned long *all, unsigned long nr)
{
	unsigned long i;
	u32 found = 0;

	for (i = 0; i < RANGE_SLACK; i++) {
		found += all[i] != RANGE_CANARY;
		found += all[RANGE_SLACK + nr + i] != RANGE_CANARY;
	}
	return found;
}

/* Whether no call, right or wrong, can leave the array */
static bool range_call_fits(const struct hmm_range_call *call)
{
	if (call->start != (unsigned long)call->start ||
	    call->end != (unsigned long)call->end ||
	    call->interval_start != (unsigned long)call->interval_start ||
	    call->interval_len != (unsigned long)call->interval_len)
		return false;
	if (!call->nr || call->nr > HMM_RANGE_MAX)
		return false;
	if (call->end <= call->start)
		return true;
	return (call->end - call->start - 1) >> PAGE_SHIFT < call->nr &&
	       PAGE_ALIGN((unsigned long)call->end) >= call->end;
}

static int range_call_arrays(struct range_file *rf, struct hmm_range_call *call,
			     unsigned long *all, u64 *data)
{
	u64 __user *user = u64_to_user_ptr(call->data);
	unsigned long *entries = all + RANGE_SLACK;
	struct hmm_range range = {
		.start = call->start,
		.end = call->end,
		.hmm_pfns = entries,
		.default_flags = call->default_flags,
		.pfn_flags_mask = call->pfn_flags_mask,
	};
	int ret;

	if (!range_owner(call->owner, &range.dev_private_owner))
		return -EINVAL;
	ret = range_get_longs(entries, call->entries, call->nr);
	if (!ret && data && copy_from_user(data, user, call->nr * sizeof(*data)))
		ret = -EFAULT;
	if (!ret)
		ret = range_call_mm(rf, &range, call, data);
	if (ret)
		return ret;

	call->overrun = range_overrun(all, call->nr);
	mutex_lock(&rf->lock);
	rf->last = *call;
	mutex_unlock(&rf->lock);
	if (data && copy_to_user(user, data, call->nr * sizeof(*data)))
		return -EFAULT;
	return range_put_longs(call->entries, entries, call->nr);
}

static int range_call(struct range_file *rf, struct hmm_range_call *call)
{
	unsigned long i, total;
	unsigned long *all;
	u64 *data = NULL;
	int ret = -ENOMEM;

	call->ret = 0;
	memset_startat(call, 0, stale);
	if (!range_call_fits(call))
		return -EINVAL;

	total = call->nr + 2 * RANGE_SLACK;
	all = kvmalloc_array(total, sizeof(*all), GFP_KERNEL);
	if (!all)
		return -ENOMEM;
	for (i = 0; i < total; i++)
		all[i] = RANGE_CANARY;
	if (call->flags & (HMM_RANGE_READ | HMM_RANGE_WRITE)) {
		data = kvcalloc(call->nr, sizeof(*data), GFP_KERNEL);
		if (!data)
			goto free;
	}
	ret = range_call_arrays(rf, call, all, data);
free:
	kvfree(data);
	kvfree(all);
	return ret;
}

/* migrate_vma_setup() and what follows */

#if IS_ENABLED(CONFIG_DEVICE_PRIVATE)

static void range_give_wanted(struct range_dev *to, const unsigned long *src,
			      unsigned long *dst, const u8 *want,
			      unsigned long nr)
{
	unsigned long i, first = 0, end = 0;
	struct page *head = NULL, *from;

	for (i = 0; i < nr; i++) {
		from = migrate_pfn_to_page(src[i]);
		if (src[i] & MIGRATE_PFN_COMPOUND) {
			head = from;
			first = i;
			end = i + RANGE_PMD_NR;
		}
		/* Of a large folio only the first page has an entry */
		if (i < end && head)
			from = head + i - first;
		if (want[i])
			range_give(to, from, 1, dst + i,
				   min_t(unsigned int, want[i] - 1, RANGE_PMD_ORDER));
	}
}

/* @raw gets src[] as user space is to see it; NULL to collect and put back */
static int range_migrate_locked(struct range_file *rf, struct migrate_vma *args,
				struct hmm_range_migrate *cmd, const u8 *want,
				unsigned long *raw)
{
	struct range_dev *to = cmd->to == HMM_RANGE_TO_DEVICE ? rf->dev : NULL;
	size_t bytes = cmd->nr * sizeof(*raw);
	ktime_t begin;
	int ret;

	args->vma = vma_lookup(current->mm, args->start);
	begin = ktime_get();
	ret = migrate_vma_setup(args);
	cmd->ns = ktime_to_ns(ktime_sub(ktime_get(), begin));
	cmd->npages = args->npages;
	cmd->cpages = args->cpages;
	memcpy(raw, args->src, bytes);
	if (ret)
		return ret;
	range_stop_at(rf, HMM_RANGE_HOLD_MIGRATE);

	if (cmd->to != HMM_RANGE_TO_NOWHERE) {
		if (want)
			range_give_wanted(to, args->src, args->dst, want, cmd->nr);
		else
			range_give_all(to, args->src, args->dst, cmd->nr);
	}
	begin = ktime_get();
	migrate_vma_pages(args);
	if (cmd->to != HMM_RANGE_TO_NOWHERE)
		memcpy(raw, args->src, bytes);
	migrate_vma_finalize(args);
	cmd->ns += ktime_to_ns(ktime_sub(ktime_get(), begin));
	return 0;
}

static int range_migrate_watched(struct range_file *rf, struct migrate_vma *args,
				 struct hmm_range_migrate *cmd, const u8 *want,
				 unsigned long *raw)
{
	struct range_watch watch = { };
	int ret;

	range_watch_init(&watch, rf);
	ret = mmu_interval_notifier_insert(&watch.notifier, current->mm,
					   args->start, args->end - args->start,
					   &range_notifier_ops);
	if (ret)
		return ret;
	mmap_read_lock(current->mm);
	ret = range_migrate_locked(rf, args, cmd, want, raw);
	mmap_read_unlock(current->mm);
	mmu_interval_notifier_remove(&watch.notifier);
	return ret;
}

static int range_migrate(struct range_file *rf, struct hmm_range_migrate *cmd)
{
	struct migrate_vma args = { .flags = cmd->select };
	unsigned long *raw;
	u8 *want = NULL;
	int ret = -ENOMEM;

	if (cmd->addr != (unsigned long)cmd->addr ||
	    !PAGE_ALIGNED(cmd->addr) || !cmd->nr ||
	    cmd->nr > HMM_RANGE_MAX || cmd->to > HMM_RANGE_TO_SYSTEM ||
	    check_add_overflow((unsigned long)cmd->addr,
			       (unsigned long)cmd->nr << PAGE_SHIFT, &args.end) ||
	    !range_owner(cmd->owner, &args.pgmap_owner))
		return -EINVAL;
	args.start = cmd->addr;

	/* Twice the length: an overrun is to show in npages, not as a crash */
	args.src = kvcalloc(2 * cmd->nr, sizeof(*args.src), GFP_KERNEL);
	args.dst = kvcalloc(2 * cmd->nr, sizeof(*args.dst), GFP_KERNEL);
	raw = kvcalloc(cmd->nr, sizeof(*raw), GFP_KERNEL);
	if (!args.src || !args.dst || !raw)
		goto free;
	if (cmd->want) {
		want = kvcalloc(cmd->nr, sizeof(*want), GFP_KERNEL);
		if (!want)
			goto free;
		ret = -EFAULT;
		if (copy_from_user(want, u64_to_user_ptr(cmd->want), cmd->nr))
			goto free;
	}
	ret = range_migrate_watched(rf, &args, cmd, want, raw);
	if (!ret)
		ret = range_put_longs(cmd->src, raw, cmd->nr);
free:
	kvfree(want);
	kvfree(raw);
	kvfree(args.dst);
	kvfree(args.src);
	return ret;
}

#else

static int range_migrate(struct range_file *rf, struct hmm_range_migrate *cmd)
{
	return -EOPNOTSUPP;
}

#endif

/* hmm_dma_map_*() for devices of each way to get at memory */

#ifdef CONFIG_HAS_DMA

/* QEMU's device to learn from, which has no driver */
#define RANGE_EDU_VENDOR	0x1234
#define RANGE_EDU_DEVICE	0x11e8

/* Makes a DMA address that is taken for a physical one show */
#define RANGE_DMA_BIAS		((dma_addr_t)(1ULL << 45))

/* QEMU's memory in a BAR, which may have one */
#define RANGE_IVSHMEM_VENDOR	0x1af4
#define RANGE_IVSHMEM_DEVICE	0x1110
#define RANGE_IVSHMEM_BAR	2

/* The devices and what is mapped for them, for one caller at a time */
static struct {
	struct mutex lock;
	/* Of ivshmem's memory; NULL without */
	struct p2pdma_provider *provider;
	/* NULL where there is none */
	struct device *devices[HMM_RANGE_DMA_DEVICES];
	/* Sizes of the mappings of HMM_RANGE_DMA_LIST, by page of their address */
	struct xarray mapped;
	struct hmm_range_dma *cmd;
} range_dma = {
	.lock = __MUTEX_INITIALIZER(range_dma.lock),
	.mapped = XARRAY_INIT(range_dma.mapped, 0),
};

#ifdef CONFIG_ARCH_HAS_DMA_OPS

static dma_addr_t range_dma_map(struct device *dev, phys_addr_t phys, size_t size,
				enum dma_data_direction dir, unsigned long attrs)
{
	dma_addr_t addr = phys + RANGE_DMA_BIAS;
	struct hmm_range_dma *cmd = range_dma.cmd;

	cmd->maps++;
	if (cmd->maps == cmd->fail_at)
		return DMA_MAPPING_ERROR;
	cmd->wrong += size != 1UL << cmd->entry_shift;
	if (xa_err(xa_store(&range_dma.mapped, addr >> PAGE_SHIFT,
			    xa_mk_value(size), GFP_KERNEL)))
		return DMA_MAPPING_ERROR;
	return addr;
}

static void range_dma_unmap(struct device *dev, dma_addr_t addr, size_t size,
			    enum dma_data_direction dir, unsigned long attrs)
{
	void *was = xa_erase(&range_dma.mapped, addr >> PAGE_SHIFT);

	range_dma.cmd->unmaps++;
	range_dma.cmd->wrong += was != xa_mk_value(size);
}

static const struct dma_map_ops range_dma_ops = {
	.map_phys = range_dma_map,
	.unmap_phys = range_dma_unmap,
};

static void range_dma_no_sync(struct device *dev, dma_addr_t addr, size_t size,
			      enum dma_data_direction dir)
{
}

static const struct dma_map_ops range_dma_ops_sync = {
	.map_phys = range_dma_map,
	.unmap_phys = range_dma_unmap,
	.sync_single_for_cpu = range_dma_no_sync,
	.sync_single_for_device = range_dma_no_sync,
};

static void range_dma_set_ops(unsigned int which, struct device *dev)
{
	if (which == HMM_RANGE_DMA_LIST)
		set_dma_ops(dev, &range_dma_ops);
	if (which == HMM_RANGE_DMA_SYNC)
		set_dma_ops(dev, &range_dma_ops_sync);
}

#else

static void range_dma_set_ops(unsigned int which, struct device *dev) { }

#endif

static struct device *range_dma_new(unsigned int which)
{
	struct platform_device *pdev;

	if ((which == HMM_RANGE_DMA_LIST || which == HMM_RANGE_DMA_SYNC) &&
	    !IS_ENABLED(CONFIG_ARCH_HAS_DMA_OPS))
		return NULL;
	pdev = platform_device_register_simple("hmm_range_dma", which, NULL, 0);
	if (IS_ERR(pdev))
		return NULL;
	range_dma_set_ops(which, &pdev->dev);
	return &pdev->dev;
}

#ifdef CONFIG_PCI_P2PDMA

/* Its memory is had by mapping p2pmem/allocate of the device in sysfs */
static int range_p2p_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	int ret = pcim_enable_device(pdev);

	if (!ret)
		ret = pci_p2pdma_add_resource(pdev, RANGE_IVSHMEM_BAR, 0, 0);
	if (ret)
		return ret;
	range_dma.provider = pcim_p2pdma_provider(pdev, RANGE_IVSHMEM_BAR);
	range_dma.provider->bus_offset = RANGE_DMA_BIAS;
	return 0;
}

static void range_p2p_remove(struct pci_dev *pdev)
{
	range_dma.provider = NULL;
}

static const struct pci_device_id range_p2p_ids[] = {
	{ PCI_DEVICE(RANGE_IVSHMEM_VENDOR, RANGE_IVSHMEM_DEVICE) },
	{ }
};

static struct pci_driver range_p2p_driver = {
	.name = "test_hmm_range",
	.id_table = range_p2p_ids,
	.probe = range_p2p_probe,
	.remove = range_p2p_remove,
};

static bool range_p2p_registered;

static void range_p2p_init(void)
{
	range_p2p_registered = !pci_register_driver(&range_p2p_driver);
}

static void range_p2p_exit(void)
{
	if (range_p2p_registered)
		pci_unregister_driver(&range_p2p_driver);
}

#else

static void range_p2p_init(void) { }
static void range_p2p_exit(void) { }

#endif

/* What Linux would have found out about the way to ivshmem's memory */
static struct pci_p2pdma_map_state range_p2p_state(const struct hmm_range_dma *cmd)
{
	struct pci_p2pdma_map_state state = { };

	if (cmd->p2p == HMM_RANGE_P2P_ASK)
		return state;
	state.mem = range_dma.provider;
	state.map = cmd->p2p == HMM_RANGE_P2P_BUS ?
			PCI_P2PDMA_MAP_BUS_ADDR : PCI_P2PDMA_MAP_THRU_HOST_BRIDGE;
	return state;
}

#if defined(CONFIG_KPROBES) && defined(CONFIG_IOMMU_DMA)

static int range_link_fails(void)
{
	return -ENOMEM;
}

/* Counts a call for the device; the one at @fail_at, if any, fails instead */
static int range_saw_iommu(struct pt_regs *regs, u32 *count, const u32 *fail_at)
{
	if (range_arg(regs, 0) !=
	    (unsigned long)range_dma.devices[HMM_RANGE_DMA_IOVA])
		return 0;
	++*count;
	if (!fail_at || *count != *fail_at)
		return 0;
	instruction_pointer_set(regs, (unsigned long)
				dereference_function_descriptor(range_link_fails));
	return 1;
}

static int range_saw_link(struct kprobe *p, struct pt_regs *regs)
{
	return range_saw_iommu(regs, &range_dma.cmd->maps,
			       &range_dma.cmd->fail_at);
}

static int range_saw_unlink(struct kprobe *p, struct pt_regs *regs)
{
	return range_saw_iommu(regs, &range_dma.cmd->unmaps, NULL);
}

static int range_saw_sync(struct kprobe *p, struct pt_regs *regs)
{
	return range_saw_iommu(regs, &range_dma.cmd->syncs,
			       &range_dma.cmd->fail_sync_at);
}

/* A probe with one of these is not optimized, and may change where it returns to */
static void range_saw_after(struct kprobe *p, struct pt_regs *regs,
			    unsigned long flags)
{
}

static struct kprobe *range_iommu_probes[] = {
	&(struct kprobe) {
		.symbol_name = "dma_iova_link",
		.pre_handler = range_saw_link,
		.post_handler = range_saw_after,
	},
	&(struct kprobe) {
		.symbol_name = "dma_iova_unlink",
		.pre_handler = range_saw_unlink,
	},
	&(struct kprobe) {
		.symbol_name = "dma_iova_sync",
		.pre_handler = range_saw_sync,
		.post_handler = range_saw_after,
	},
};

static bool range_iommu_probed;

static void range_iommu_init(void)
{
	range_iommu_probed = !register_kprobes(range_iommu_probes,
					       ARRAY_SIZE(range_iommu_probes));
}

static void range_iommu_exit(void)
{
	if (range_iommu_probed)
		unregister_kprobes(range_iommu_probes,
				   ARRAY_SIZE(range_iommu_probes));
}

#else

static void range_iommu_init(void) { }
static void range_iommu_exit(void) { }

#endif

static struct device *range_dma_edu(void)
{
	struct pci_dev *pdev = pci_get_device(RANGE_EDU_VENDOR, RANGE_EDU_DEVICE,
					      NULL);

	if (!pdev)
		return NULL;
	if (use_dma_iommu(&pdev->dev))
		return &pdev->dev;
	pci_dev_put(pdev);
	return NULL;
}

static void range_dma_init(void)
{
	unsigned int i;

	for (i = 0; i < HMM_RANGE_DMA_DEVICES; i++) {
		struct device *dev = i == HMM_RANGE_DMA_IOVA ? range_dma_edu() :
							       range_dma_new(i);

		range_dma.devices[i] = dev;
		/* Says, among other things, whether memory has to be synced */
		if (dev)
			dma_set_mask_and_coherent(dev, i == HMM_RANGE_DMA_NARROW ?
					DMA_BIT_MASK(32) : DMA_BIT_MASK(64));
	}
	range_p2p_init();
	range_iommu_init();
}

static void range_dma_exit(void)
{
	unsigned int i;

	range_iommu_exit();
	range_p2p_exit();
	for (i = 0; i < HMM_RANGE_DMA_DEVICES; i++) {
		struct device *dev = range_dma.devices[i];

		if (!dev)
			continue;
		if (i == HMM_RANGE_DMA_IOVA)
			put_device(dev);
		else
			platform_device_unregister(to_platform_device(dev));
	}
	xa_destroy(&range_dma.mapped);
}

static int range_dma_region_begin(struct hmm_dma_map *map)
{
	return hmm_dma_map_alloc(range_dma.devices[HMM_RANGE_DMA_DIRECT], map, 1,
				 PAGE_SIZE);
}

static void range_dma_region_end(struct hmm_dma_map *map)
{
	if (map->pfn_list)
		hmm_dma_map_free(range_dma.devices[HMM_RANGE_DMA_DIRECT], map);
}

/* Where the device gets to at that address of an entry; 0 if nowhere */
static phys_addr_t range_dma_reach(const struct hmm_range_dma *cmd,
				   dma_addr_t addr, size_t offset)
{
	struct iommu_domain __maybe_unused *domain;
	void *size;

	if (cmd->p2p == HMM_RANGE_P2P_BUS)
		return addr - RANGE_DMA_BIAS + offset;
	switch (cmd->device) {
	case HMM_RANGE_DMA_DIRECT:
	case HMM_RANGE_DMA_NARROW:
		return addr + offset;
	case HMM_RANGE_DMA_LIST:
		size = xa_load(&range_dma.mapped, addr >> PAGE_SHIFT);
		if (!size || offset >= xa_to_value(size))
			return 0;
		return addr - RANGE_DMA_BIAS + offset;
#ifdef CONFIG_IOMMU_API
	case HMM_RANGE_DMA_IOVA:
		domain = iommu_get_domain_for_dev(range_dma.devices[cmd->device]);
		return iommu_iova_to_phys(domain, addr + offset);
#endif
	}
	return 0;
}

static void range_dma_read(const struct hmm_range_dma *cmd, dma_addr_t addr,
			   size_t offset, u64 *data)
{
	phys_addr_t phys = range_dma_reach(cmd, addr, offset);
	void *p;

	if (!phys || !pfn_valid(PHYS_PFN(phys)))
		return;
	p = kmap_local_page(phys_to_page(phys));
	memcpy(data, p, sizeof(*data));
	kunmap_local(p);
}

/* Not in Linux 7.3 as it comes, where this is NULL */
int __weak hmm_dma_map_range(struct device *dev, struct hmm_dma_map *map,
			     size_t idx, size_t nr,
			     struct pci_p2pdma_map_state *p2pdma_state);

static void range_dma_map_all(struct device *dev, struct hmm_dma_map *map,
			      struct hmm_range_dma *cmd, u64 *addrs, u64 *data)
{
	struct pci_p2pdma_map_state p2pdma = range_p2p_state(cmd);
	size_t per = 1UL << (cmd->entry_shift - PAGE_SHIFT);
	size_t i, k;

	if (cmd->at_once == HMM_RANGE_REST_AT_ONCE)
		for (i = 0; i < cmd->nr / per; i += 2)
			hmm_dma_map_pfn(dev, map, i, &p2pdma);
	if (cmd->at_once != HMM_RANGE_NONE_AT_ONCE)
		cmd->ret_at_once = hmm_dma_map_range(dev, map, 0, cmd->nr / per,
						     &p2pdma);
	for (i = 0; i < cmd->nr / per; i++) {
		dma_addr_t addr = hmm_dma_map_pfn(dev, map, i, &p2pdma);

		if (addr == DMA_MAPPING_ERROR)
			continue;
		addrs[i] = addr;
		cmd->again += hmm_dma_map_pfn(dev, map, i, &p2pdma) == addr;
		for (k = 0; k < per; k++)
			range_dma_read(cmd, addr, k << PAGE_SHIFT, &data[i * per + k]);
	}
}

static void range_dma_unmap_all(struct device *dev, struct hmm_dma_map *map,
				struct hmm_range_dma *cmd)
{
	size_t i, nr = cmd->nr >> (cmd->entry_shift - PAGE_SHIFT);

	for (i = 0; i < nr; i++)
		cmd->unmapped += hmm_dma_unmap_pfn(dev, map, i);
	for (i = 0; i < nr; i++)
		cmd->twice += hmm_dma_unmap_pfn(dev, map, i);
	for (i = 0; i < cmd->nr; i++)
		cmd->sticky += !!(map->pfn_list[i] &
				  (HMM_PFN_DMA_MAPPED | HMM_PFN_P2PDMA |
				   HMM_PFN_P2PDMA_BUS));
}

/* @out: addresses, bytes and entries of each page, one array after the other */
static int range_dma_watched(struct range_file *rf, struct device *dev,
			     struct hmm_dma_map *map, struct hmm_range_dma *cmd,
			     u64 *out)
{
	struct range_watch watch = { };
	struct hmm_range range = {
		.notifier = &watch.notifier,
		.start = cmd->start,
		.end = cmd->start + (cmd->nr << PAGE_SHIFT),
		.hmm_pfns = map->pfn_list,
		.default_flags = cmd->default_flags,
	};
	size_t i;
	int ret;

	range_watch_init(&watch, rf);
	ret = mmu_interval_notifier_insert(&watch.notifier, current->mm,
					   range.start, range.end - range.start,
					   &range_notifier_ops);
	if (ret)
		return ret;
	cmd->ret = hmm_range_fault_unlocked_timeout(&range, RANGE_WAIT);
	if (!cmd->ret) {
		range_dma_map_all(dev, map, cmd, out, out + cmd->nr);
		for (i = 0; i < cmd->nr; i++)
			out[2 * cmd->nr + i] = map->pfn_list[i];
		range_dma_unmap_all(dev, map, cmd);
	}
	mmu_interval_notifier_remove(&watch.notifier);
	return 0;
}

static int range_dma_put(const struct hmm_range_dma *cmd, const u64 *out)
{
	size_t bytes = cmd->nr * sizeof(*out);

	if (cmd->addrs &&
	    copy_to_user(u64_to_user_ptr(cmd->addrs), out,
			 bytes >> (cmd->entry_shift - PAGE_SHIFT)))
		return -EFAULT;
	if (copy_to_user(u64_to_user_ptr(cmd->data), out + cmd->nr, bytes))
		return -EFAULT;
	if (cmd->entries &&
	    copy_to_user(u64_to_user_ptr(cmd->entries), out + 2 * cmd->nr, bytes))
		return -EFAULT;
	return 0;
}

static int range_dma_mapped(struct range_file *rf, struct device *dev,
			    struct hmm_dma_map *map, struct hmm_range_dma *cmd)
{
	size_t bytes = 3 * cmd->nr * sizeof(u64);
	u64 *out = kvmalloc(bytes, GFP_KERNEL);
	int ret;

	if (!out)
		return -ENOMEM;
	memset(out, 0xff, bytes);
	ret = range_dma_watched(rf, dev, map, cmd, out);
	if (!ret)
		ret = range_dma_put(cmd, out);
	kvfree(out);
	return ret;
}

static bool range_dma_fits(const struct hmm_range_dma *cmd)
{
	u64 size, end;

	if (cmd->device >= HMM_RANGE_DMA_DEVICES || cmd->p2p >= HMM_RANGE_P2P_KINDS ||
	    cmd->entry_shift >= BITS_PER_LONG ||
	    cmd->nr != (unsigned long)cmd->nr)
		return false;
	if (!cmd->data)
		return true;
	return cmd->entry_shift >= PAGE_SHIFT && cmd->entry_shift <= 30 &&
	       cmd->nr && cmd->nr <= HMM_RANGE_MAX &&
	       !(cmd->nr % (1UL << (cmd->entry_shift - PAGE_SHIFT))) &&
	       IS_ALIGNED(cmd->start, 1UL << cmd->entry_shift) &&
	       !check_shl_overflow(cmd->nr, PAGE_SHIFT, &size) &&
	       !check_add_overflow(cmd->start, size, &end) &&
	       end == (unsigned long)end;
}

static int range_dma_call(struct range_file *rf, struct hmm_range_dma *cmd)
{
	struct hmm_dma_map map = { };
	struct device *dev;
	int ret = 0;

	memset_startat(cmd, 0, ret);
	if (!range_dma_fits(cmd))
		return -EINVAL;
	dev = range_dma.devices[cmd->device];
	if (!dev || (cmd->p2p && !range_dma.provider))
		return -ENODEV;
	if (cmd->at_once != HMM_RANGE_NONE_AT_ONCE && !hmm_dma_map_range)
		return -EOPNOTSUPP;

	mutex_lock(&range_dma.lock);
	range_dma.cmd = cmd;
	cmd->ret = hmm_dma_map_alloc(dev, &map, cmd->nr, 1UL << cmd->entry_shift);
	if (!cmd->ret) {
		if (cmd->data)
			ret = range_dma_mapped(rf, dev, &map, cmd);
		hmm_dma_map_free(dev, &map);
	}
	mutex_unlock(&range_dma.lock);
	return ret;
}

#else /* !CONFIG_HAS_DMA */

static int range_dma_region_begin(struct hmm_dma_map *map)
{
	return -EOPNOTSUPP;
}

static void range_dma_region_end(struct hmm_dma_map *map) { }
static void range_dma_init(void) { }
static void range_dma_exit(void) { }

static int range_dma_call(struct range_file *rf, struct hmm_range_dma *cmd)
{
	return -ENODEV;
}

#endif

/* Mappings of the device */

/* The page of that index, for as long as the file is open; no reference given */
static struct page *range_map_page(struct range_file *rf, pgoff_t index)
{
	struct page *page;

	mutex_lock(&rf->lock);
	page = xa_load(&rf->pages, index);
	if (!page) {
		page = alloc_page(GFP_KERNEL | __GFP_ZERO);
		if (page && xa_err(xa_store(&rf->pages, index, page, GFP_KERNEL))) {
			__free_page(page);
			page = NULL;
		}
	}
	mutex_unlock(&rf->lock);
	return page;
}

static unsigned int range_map_kind(const struct vm_area_struct *vma)
{
	return vma->vm_pgoff / (HMM_RANGE_MAP_BYTES >> PAGE_SHIFT);
}

/* 0 to go on and serve the fault */
static vm_fault_t range_map_act(struct vm_fault *vmf, struct range_file *rf)
{
	struct hmm_range_act act;
	pgoff_t dropped;
	bool due;

	mutex_lock(&rf->lock);
	act = rf->act;
	rf->act.faults++;
	due = !act.nth || act.nth == rf->act.faults;
	dropped = rf->dropped;
	if (due && act.what == HMM_RANGE_ACT_DROP)
		rf->dropped = vmf->pgoff + 1;
	mutex_unlock(&rf->lock);
	if (!due)
		return 0;

	switch (act.what) {
	case HMM_RANGE_ACT_SLEEP:
		msleep(act.arg);
		return 0;
	case HMM_RANGE_ACT_DROP:
		if (dropped == vmf->pgoff + 1 ||
		    !fault_flag_allow_retry_first(vmf->flags) ||
		    (vmf->flags & FAULT_FLAG_RETRY_NOWAIT))
			return 0;
		release_fault_lock(vmf);
		range_stop_at(rf, HMM_RANGE_HOLD_DROP);
		return VM_FAULT_RETRY;
	case HMM_RANGE_ACT_UNMAP:
		unmap_mapping_range(vmf->vma->vm_file->f_mapping,
				    (loff_t)(vmf->pgoff ^ 1) << PAGE_SHIFT,
				    PAGE_SIZE, 1);
		return 0;
	case HMM_RANGE_ACT_TAKE:
		unmap_mapping_range(vmf->vma->vm_file->f_mapping,
				    (loff_t)vmf->pgoff << PAGE_SHIFT, PAGE_SIZE, 1);
		return VM_FAULT_NOPAGE;
	case HMM_RANGE_ACT_NOPAGE:
		return VM_FAULT_NOPAGE;
	case HMM_RANGE_ACT_KILL:
		send_sig(SIGKILL, current, 1);
		return 0;
	case HMM_RANGE_ACT_SIGBUS:
		return VM_FAULT_SIGBUS;
	case HMM_RANGE_ACT_OOM:
		return VM_FAULT_OOM;
	case HMM_RANGE_ACT_HWPOISON:
		return VM_FAULT_HWPOISON;
	case HMM_RANGE_ACT_HOLD:
		range_stop(rf);
		return 0;
	}
	return 0;
}

static vm_fault_t range_map_fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct range_file *rf = vma->vm_file->private_data;
	unsigned int kind = range_map_kind(vma);
	struct page *page;
	vm_fault_t ret;

	/* Only entries of their own size will do */
	if (kind == HMM_RANGE_MAP_PMD || kind == HMM_RANGE_MAP_PUD)
		return VM_FAULT_SIGBUS;
	ret = range_map_act(vmf, rf);
	if (ret)
		return ret;
	page = range_map_page(rf, vmf->pgoff);
	if (!page)
		return VM_FAULT_OOM;
	if (kind == HMM_RANGE_MAP_PFN)
		return vmf_insert_pfn(vma, vmf->address, page_to_pfn(page));
	if (kind == HMM_RANGE_MAP_MIXED && (vmf->pgoff & 1))
		return vmf_insert_mixed(vma, vmf->address, page_to_pfn(page));
	get_page(page);
	vmf->page = page;
	return 0;
}

/* Physical addresses where nothing is; entries for them are never followed */
static struct resource *range_nothing;

static vm_fault_t range_map_pmd(struct vm_fault *vmf, struct range_file *rf)
{
#ifdef CONFIG_ARCH_SUPPORTS_PMD_PFNMAP
	mutex_lock(&rf->lock);
	if (!rf->huge)
		rf->huge = alloc_pages(GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN,
				       RANGE_PMD_ORDER);
	mutex_unlock(&rf->lock);
	if (!rf->huge)
		return VM_FAULT_OOM;
	return vmf_insert_pfn_pmd(vmf, page_to_pfn(rf->huge),
				  vmf->flags & FAULT_FLAG_WRITE);
#else
	return VM_FAULT_FALLBACK;
#endif
}

static vm_fault_t range_map_pud(struct vm_fault *vmf)
{
#ifdef CONFIG_ARCH_SUPPORTS_PUD_PFNMAP
	if (!range_nothing)
		return VM_FAULT_SIGBUS;
	return vmf_insert_pfn_pud(vmf, PHYS_PFN(ALIGN(range_nothing->start, PUD_SIZE)),
				  false);
#else
	return VM_FAULT_FALLBACK;
#endif
}

static vm_fault_t range_map_huge_fault(struct vm_fault *vmf, unsigned int order)
{
	struct vm_area_struct *vma = vmf->vma;
	unsigned long start = ALIGN_DOWN(vmf->address, PAGE_SIZE << order);
	unsigned int kind = range_map_kind(vma);

	if (start < vma->vm_start || start + (PAGE_SIZE << order) > vma->vm_end)
		return VM_FAULT_FALLBACK;
	if (order == RANGE_PMD_ORDER && kind == HMM_RANGE_MAP_PMD)
		return range_map_pmd(vmf, vma->vm_file->private_data);
	if (order == RANGE_PUD_ORDER && kind == HMM_RANGE_MAP_PUD)
		return range_map_pud(vmf);
	return VM_FAULT_FALLBACK;
}

/* Ordinary stores make its pages dirty; when it is moved, it is a shadow stack */
static int range_map_mremap(struct vm_area_struct *vma)
{
	if (range_map_kind(vma) != HMM_RANGE_MAP_SHADOW)
		return 0;
	if (VM_SHADOW_STACK == VM_NONE)
		return -EOPNOTSUPP;
	vm_flags_set(vma, VM_SHADOW_STACK);
	return 0;
}

static const struct vm_operations_struct range_vm_ops = {
	.fault = range_map_fault,
	.huge_fault = range_map_huge_fault,
	.mremap = range_map_mremap,
};

static int range_mmap(struct file *file, struct vm_area_struct *vma)
{
	unsigned int kind = range_map_kind(vma);
	unsigned long end = vma->vm_pgoff + vma_pages(vma) - 1;

	if (kind >= HMM_RANGE_MAP_KINDS)
		return -EINVAL;
	/* A PUD is larger than the offsets of a kind */
	if (kind != HMM_RANGE_MAP_PUD &&
	    end / (HMM_RANGE_MAP_BYTES >> PAGE_SHIFT) != kind)
		return -EINVAL;
	if (kind >= HMM_RANGE_MAP_PFN && !(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (kind == HMM_RANGE_MAP_PUD) {
		if (vma->vm_flags & VM_WRITE)
			return -EPERM;
		vm_flags_clear(vma, VM_MAYWRITE);
	}
	vm_flags_set(vma, VM_DONTEXPAND);
	if (kind == HMM_RANGE_MAP_IO)
		vm_flags_set(vma, VM_IO);
	else if (kind == HMM_RANGE_MAP_PFN)
		vm_flags_set(vma, VM_PFNMAP);
	else if (kind >= HMM_RANGE_MAP_MIXED)
		vm_flags_set(vma, VM_MIXEDMAP);
	if (kind >= HMM_RANGE_MAP_PMD)
		vm_flags_set(vma, VM_HUGEPAGE);
	vma->vm_ops = &range_vm_ops;
	range_stop_at(file->private_data, HMM_RANGE_HOLD_MMAP);
	return 0;
}

/* The files */

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

	range_absent_end(rf);
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

	if (range_count.works)
		info.features |= HMM_RANGE_HAS_COUNTS;
	if (range_count.works && IS_ENABLED(CONFIG_HAVE_FUNCTION_ARG_ACCESS_API))
		info.features |= HMM_RANGE_HAS_VISITS;
	if (IS_ENABLED(CONFIG_ARCH_SUPPORTS_PMD_PFNMAP))
		info.features |= HMM_RANGE_HAS_PMD;
	if (IS_ENABLED(CONFIG_ARCH_SUPPORTS_PUD_PFNMAP) && range_nothing)
		info.features |= HMM_RANGE_HAS_PUD;
	if (IS_ENABLED(CONFIG_ARCH_HAS_PTE_SPECIAL))
		info.features |= HMM_RANGE_HAS_SPECIAL;
	if (IS_ENABLED(CONFIG_DEVICE_PRIVATE))
		info.features |= HMM_RANGE_HAS_EXCLUSIVE;
	for (i = 0; i < HMM_RANGE_DEVICES; i++)
		range_dev_info(&range_devs[i], &info);
	return copy_to_user(arg, &info, sizeof(info)) ? -EFAULT : 0;
}

static int range_ioctl_call(struct range_file *rf, void __user *arg)
{
	struct hmm_range_call call;
	int ret;

	if (copy_from_user(&call, arg, sizeof(call)))
		return -EFAULT;
	ret = range_call(rf, &call);
	if (!ret && copy_to_user(arg, &call, sizeof(call)))
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

static int range_ioctl_migrate(struct range_file *rf, void __user *arg)
{
	struct hmm_range_migrate cmd;
	int ret;

	if (copy_from_user(&cmd, arg, sizeof(cmd)))
		return -EFAULT;
	ret = range_migrate(rf, &cmd);
	if (!ret && copy_to_user(arg, &cmd, sizeof(cmd)))
		ret = -EFAULT;
	return ret;
}

static int range_ioctl_dma(struct range_file *rf, void __user *arg)
{
	struct hmm_range_dma cmd;
	int ret;

	if (copy_from_user(&cmd, arg, sizeof(cmd)))
		return -EFAULT;
	ret = range_dma_call(rf, &cmd);
	if (!ret && copy_to_user(arg, &cmd, sizeof(cmd)))
		ret = -EFAULT;
	return ret;
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
	range_absent_end(rf);
	reinit_completion(&rf->held);
	reinit_completion(&rf->go);
	atomic_set(&rf->hold, points);
	return points & HMM_RANGE_HOLD_ABSENT ? range_absent_begin(rf) : 0;
}

static int range_ioctl_wait(struct range_file *rf)
{
	long left = wait_for_completion_killable_timeout(&rf->held, RANGE_WAIT);

	if (left < 0)
		return left;
	return left ? 0 : -ETIME;
}

static int range_ioctl_fail(struct range_dev *dev, u32 fail)
{
	spin_lock(&dev->lock);
	dev->fail = fail;
	spin_unlock(&dev->lock);
	return 0;
}

static int range_ioctl_exclusive(struct range_dev *dev, u64 addr)
{
	if (addr != (unsigned long)addr)
		return -EINVAL;
	return range_exclusive(dev, addr);
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
		return range_ioctl_call(rf, user);
	case HMM_RANGE_LAST:
		return range_ioctl_last(rf, user);
	case HMM_RANGE_MIGRATE:
		return range_ioctl_migrate(rf, user);
	case HMM_RANGE_DMA:
		return range_ioctl_dma(rf, user);
	case HMM_RANGE_ACT:
		return range_ioctl_act(rf, user);
	case HMM_RANGE_WAIT:
		return range_ioctl_wait(rf);
	case HMM_RANGE_GO:
		complete(&rf->go);
		return 0;
	case HMM_RANGE_REMOVE:
		return range_dev_remove(rf->dev);
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
			return range_ioctl_fail(rf->dev, value);
		return range_dev_add(rf->dev, value);
	}
	return -ENOTTY;
}

static const struct file_operations range_fops = {
	.owner = THIS_MODULE,
	.open = range_open,
	.release = range_release,
	.mmap = range_mmap,
	.get_unmapped_area = thp_get_unmapped_area,
	.unlocked_ioctl = range_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static void range_nothing_init(void)
{
#if IS_ENABLED(CONFIG_DEVICE_PRIVATE) && defined(CONFIG_ARCH_SUPPORTS_PUD_PFNMAP)
	range_nothing = request_free_mem_region(&iomem_resource, 2 * PUD_SIZE,
						"hmm_range_nothing");
	if (IS_ERR(range_nothing))
		range_nothing = NULL;
#endif
}

static void range_nothing_exit(void)
{
	if (range_nothing)
		release_mem_region(range_nothing->start,
				   resource_size(range_nothing));
}

static int range_setup(struct range_dev *dev)
{
	int ret;

	snprintf(dev->name, sizeof(dev->name), "hmm_range%td", dev - range_devs);
	spin_lock_init(&dev->lock);
	mutex_init(&dev->change);
	dev->misc.minor = MISC_DYNAMIC_MINOR;
	dev->misc.name = dev->name;
	dev->misc.fops = &range_fops;
	dev->misc.mode = 0600;
	ret = range_dev_init(dev);
	if (!ret)
		ret = misc_register(&dev->misc);
	if (ret)
		range_dev_exit(dev);
	return ret;
}

static void range_teardown(struct range_dev *dev)
{
	misc_deregister(&dev->misc);
	range_dev_exit(dev);
}

static int __init range_init(void)
{
	int i, ret;

	range_nothing_init();
	for (i = 0; i < HMM_RANGE_DEVICES; i++) {
		ret = range_setup(&range_devs[i]);
		if (ret)
			goto undo;
	}
	range_count_init();
	range_dma_init();
	return 0;
undo:
	while (i--)
		range_teardown(&range_devs[i]);
	range_nothing_exit();
	return ret;
}

static void __exit range_exit(void)
{
	int i;

	range_dma_exit();
	range_count_exit();
	for (i = 0; i < HMM_RANGE_DEVICES; i++)
		range_teardown(&range_devs[i]);
	range_nothing_exit();
}

module_init(range_init);
module_exit(range_exit);
MODULE_DESCRIPTION("hmm_range_fault() with every input and output raw");
MODULE_LICENSE("GPL");
