// SPDX-License-Identifier: GPL-2.0
/*
 * Device memory and migration.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bitmap.h>
#include <linux/delay.h>
#include <linux/highmem.h>
#include <linux/migrate.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "test_hmm.h"

/* Memory of each device */
#define RANGE_DEV_BYTES		(256UL << 20)
#define RANGE_DEV_PAGES		(RANGE_DEV_BYTES >> PAGE_SHIFT)

static unsigned long long spm_addr_dev0;
module_param(spm_addr_dev0, ullong, 0400);
MODULE_PARM_DESC(spm_addr_dev0,
		 "physical address of 256 MiB kept from the kernel (memmap=), coherent memory of device 2");

static unsigned long long spm_addr_dev1;
module_param(spm_addr_dev1, ullong, 0400);
MODULE_PARM_DESC(spm_addr_dev1, "the same for device 3");

bool test_hmm_is_private(const struct range_dev *dev)
{
	return dev < &test_hmm_devs[2];
}

struct range_dev *test_hmm_page_dev(struct page *page)
{
	return container_of(page_pgmap(page), struct range_dev, pgmap);
}

bool test_hmm_is_dev_page(struct page *page)
{
	return is_device_private_page(page) || is_device_coherent_page(page);
}

/* The page that holds the contents of @page */
struct page *test_hmm_storage(struct page *page)
{
	struct range_dev *dev;

	if (!is_device_private_page(page))
		return page;
	dev = test_hmm_page_dev(page);
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
	dev->unused = min(dev->unused, first);
	spin_unlock(&dev->lock);
}

/* What the driver itself takes of the way home: it allocates, copies and frees */
static unsigned long range_own_ns;
static DEFINE_SPINLOCK(range_own_lock);
module_param_named(own_ns, range_own_ns, ulong, 0444);
MODULE_PARM_DESC(own_ns, "time of the driver itself in migrations back, in ns");

static void range_add_own(ktime_t begin)
{
	unsigned long ns = ktime_to_ns(ktime_sub(ktime_get(), begin));

	spin_lock(&range_own_lock);
	range_own_ns += ns;
	spin_unlock(&range_own_lock);
}

static void range_folio_free(struct folio *folio)
{
	struct range_dev *dev = test_hmm_page_dev(&folio->page);
	ktime_t begin = ktime_get();

	range_dev_release(dev, folio_pfn(folio) - dev->first,
			  folio_nr_pages(folio));
	range_add_own(begin);
}

/* Returns a locked folio of the device; private memory is zeroed */
static struct folio *range_dev_alloc(struct range_dev *dev, unsigned int order)
{
	unsigned long i, first, nr = 1UL << order;
	struct folio *folio;

	if (!READ_ONCE(dev->up) || range_alloc_fails(dev))
		return NULL;

	spin_lock(&dev->lock);
	first = bitmap_find_next_zero_area(dev->used, RANGE_DEV_PAGES,
					   dev->unused, nr, nr - 1);
	if (first < RANGE_DEV_PAGES) {
		bitmap_set(dev->used, first, nr);
		if (nr == 1)
			dev->unused = first + 1;
	}
	spin_unlock(&dev->lock);
	if (first >= RANGE_DEV_PAGES)
		return NULL;

	for (i = first; test_hmm_is_private(dev) && i < first + nr; i++) {
		dev->storage[i] = alloc_page(GFP_KERNEL | __GFP_ZERO);
		if (!dev->storage[i]) {
			range_dev_release(dev, first, nr);
			return NULL;
		}
	}
	/* Not page_folio(): the page may still look like the tail it once was */
	folio = (struct folio *)pfn_to_page(dev->first + first);
	zone_device_folio_init(folio, &dev->pgmap, order);
	/*
	 * Migration adds flags, and nothing removes these when device memory is
	 * freed. What was freed lazily would come back as memory to swap out.
	 */
	folio_clear_dirty(folio);
	__folio_clear_swapbacked(folio);
	return folio;
}

/* Returns a locked folio of the device @to, or of system memory if that is NULL */
static struct folio *range_alloc(struct range_dev *to, struct page *from,
				 unsigned int order)
{
	struct folio *folio;

	if (to)
		return range_dev_alloc(to, order);
	if (from && test_hmm_is_dev_page(from) &&
	    range_alloc_fails(test_hmm_page_dev(from)))
		return NULL;
	folio = folio_alloc(GFP_HIGHUSER_MOVABLE, order);
	if (folio)
		folio_lock(folio);
	return folio;
}

/* Copy @nr pages from @from to @folio, and zero the rest; all of it if NULL */
static void range_fill(struct folio *folio, struct page *from, unsigned long nr)
{
	unsigned long i;

	for (i = 0; i < folio_nr_pages(folio); i++) {
		struct page *to = test_hmm_storage(folio_page(folio, i));

		if (from && i < nr)
			copy_highpage(to, test_hmm_storage(from + i));
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

/* MIGRATE_VMA_SELECT_MTHP, which stock does not have */
#define RANGE_SELECT_MTHP	(1UL << 5)

/* The order of what an entry of src stands for: a folio, a huge hole, or a page */
static unsigned int range_src_order(unsigned long mpfn)
{
	struct page *page = migrate_pfn_to_page(mpfn);

	if (!(mpfn & MIGRATE_PFN_COMPOUND))
		return 0;
	return page ? folio_order(page_folio(page)) : RANGE_PMD_ORDER;
}

/* Allocate destinations of the same order as the source, or else single pages */
void test_hmm_give_all(struct range_dev *to, const unsigned long *src,
		       unsigned long *dst, unsigned long nr)
{
	unsigned long i, j, step;

	for (i = 0; i < nr; i += step) {
		struct page *from = migrate_pfn_to_page(src[i]);
		unsigned int order = range_src_order(src[i]);

		step = min(1UL << order, nr - i);
		if (!(src[i] & MIGRATE_PFN_MIGRATE))
			continue;
		if (range_give(to, from, step, dst + i, order) || !order)
			continue;
		for (j = 0; j < step; j++)
			range_give(to, from ? from + j : NULL, 1, dst + i + j, 0);
	}
}

/* Migrate 1 << @order pages back; returns 0 also if they could not all be moved */
static vm_fault_t range_migrate_back(struct vm_fault *vmf, unsigned long start,
				     unsigned int order, unsigned long select)
{
	unsigned long nr = 1UL << order;
	struct migrate_vma args = {
		.vma = vmf->vma,
		.start = start,
		.end = start + (PAGE_SIZE << order),
		.pgmap_owner = test_hmm_page_dev(vmf->page),
		.flags = MIGRATE_VMA_SELECT_DEVICE_PRIVATE | select,
		.fault_page = vmf->page,
	};
	vm_fault_t ret = VM_FAULT_OOM;
	ktime_t begin;

	args.src = kvcalloc(nr, sizeof(*args.src), GFP_KERNEL);
	args.dst = kvcalloc(nr, sizeof(*args.dst), GFP_KERNEL);
	if (!args.src || !args.dst)
		goto free;
	if (migrate_vma_setup(&args)) {
		ret = VM_FAULT_SIGBUS;
		goto free;
	}
	begin = ktime_get();
	test_hmm_give_all(NULL, args.src, args.dst, nr);
	range_add_own(begin);
	if (!args.cpages || memchr_inv(args.dst, 0, nr * sizeof(*args.dst)))
		ret = 0;
	migrate_vma_pages(&args);
	migrate_vma_finalize(&args);
free:
	kvfree(args.src);
	kvfree(args.dst);
	return ret;
}

/* The CPU touched device private memory: migrate it back */
static vm_fault_t range_migrate_to_ram(struct vm_fault *vmf)
{
	struct folio *folio = page_folio(vmf->page);
	unsigned int order = folio_order(folio);
	unsigned long addr = ALIGN_DOWN(vmf->address, PAGE_SIZE);
	unsigned long start;
	vm_fault_t ret;

	if (!vmf->pte)
		return range_migrate_back(vmf, ALIGN_DOWN(addr, PAGE_SIZE << order),
					  order, order ? MIGRATE_VMA_SELECT_COMPOUND : 0);

	start = addr - folio_page_idx(folio, vmf->page) * PAGE_SIZE;
	if (order && order < RANGE_PMD_ORDER &&
	    start >= vmf->vma->vm_start && start <= addr &&
	    start + (PAGE_SIZE << order) <= vmf->vma->vm_end) {
		ret = range_migrate_back(vmf, start, order, RANGE_SELECT_MTHP);
		/* If the folio could not move as one it is still there: split it */
		if (ret || folio_order(page_folio(vmf->page)) != order ||
		    !folio_mapped(folio))
			return ret;
	}
	return range_migrate_back(vmf, addr, 0, 0);
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

	if (test_hmm_is_private(dev)) {
		dev->place = request_free_mem_region(&iomem_resource,
						     RANGE_DEV_BYTES, dev->name);
		if (IS_ERR(dev->place))
			return PTR_ERR(dev->place);
		range->start = dev->place->start;
		dev->pgmap.type = MEMORY_DEVICE_PRIVATE;
	} else {
		range->start = dev == &test_hmm_devs[2] ? spm_addr_dev0 : spm_addr_dev1;
		if (!range->start || !IS_ALIGNED(range->start, PMD_SIZE))
			return -ENODEV;
		dev->pgmap.type = MEMORY_DEVICE_COHERENT;
	}
	range->end = range->start + RANGE_DEV_BYTES - 1;
	return 0;
}

static void range_dev_displace(struct range_dev *dev)
{
	if (test_hmm_is_private(dev))
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

int test_hmm_dev_add(struct range_dev *dev, u32 lacks)
{
	int ret;

	if (lacks > HMM_RANGE_LACKS_OPS)
		return -EINVAL;
	mutex_lock(&dev->change);
	ret = range_dev_add_locked(dev, lacks);
	mutex_unlock(&dev->change);
	return ret;
}

/* Migrate everything that the device holds to system memory */
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
	test_hmm_give_all(NULL, src, dst, RANGE_DEV_PAGES);
	migrate_device_pages(src, dst, RANGE_DEV_PAGES);
	migrate_device_finalize(src, dst, RANGE_DEV_PAGES);
free:
	kvfree(src);
	kvfree(dst);
	return ret;
}

/* memunmap_pages() waits for pages in use, so make sure first that there are none */
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

int test_hmm_dev_remove(struct range_dev *dev)
{
	int ret;

	mutex_lock(&dev->change);
	ret = range_dev_remove_locked(dev);
	mutex_unlock(&dev->change);
	return ret;
}

int test_hmm_dev_fail(struct range_dev *dev, u32 fail)
{
	spin_lock(&dev->lock);
	dev->fail = fail;
	spin_unlock(&dev->lock);
	return 0;
}

int test_hmm_dev_init(struct range_dev *dev)
{
	int ret;

	dev->used = bitmap_zalloc(RANGE_DEV_PAGES, GFP_KERNEL);
	dev->storage = vzalloc(array_size(RANGE_DEV_PAGES, sizeof(*dev->storage)));
	if (!dev->used || !dev->storage)
		return -ENOMEM;
	ret = test_hmm_dev_add(dev, 0);
	if (ret && (ret != -ENODEV || test_hmm_is_private(dev)))
		pr_warn("%s is without memory: %d\n", dev->name, ret);
	return 0;
}

void test_hmm_dev_exit(struct range_dev *dev)
{
	/* Its pages need the device, so wait for them rather than crash */
	while (test_hmm_dev_remove(dev) == -EBUSY)
		pr_warn("%s: waiting for pages in use\n", dev->name);
	bitmap_free(dev->used);
	vfree(dev->storage);
}

void test_hmm_dev_info(const struct range_dev *dev,
		       struct hmm_range_info *info)
{
	unsigned int i = dev - test_hmm_devs;

	if (!dev->up)
		return;
	info->dev[i].first = dev->first;
	info->dev[i].nr = RANGE_DEV_PAGES;
}

/*
 * While a folio of device memory is being split, its pages have no pgmap for a
 * moment.  Here that lasts for a whole call.
 */
void test_hmm_set_pgmaps(struct range_dev *dev, bool set)
{
	unsigned long i;

	for_each_set_bit(i, dev->used, RANGE_DEV_PAGES)
		if (!PageCompound(pfn_to_page(dev->first + i)))
			pfn_folio(dev->first + i)->pgmap = set ? &dev->pgmap : NULL;
}

int test_hmm_exclusive(struct range_dev *dev, unsigned long addr)
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
			end = i + (1UL << range_src_order(src[i]));
		}
		/* Only the first page of a large folio has an entry */
		if (i < end && head)
			from = head + i - first;
		if (want[i])
			range_give(to, from, 1, dst + i,
				   min_t(unsigned int, want[i] - 1, RANGE_PMD_ORDER));
	}
}

/* @raw receives src[] for user space */
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
	test_hmm_stop_at(rf, HMM_RANGE_HOLD_MIGRATE);

	if (cmd->to != HMM_RANGE_TO_NOWHERE) {
		if (want)
			range_give_wanted(to, args->src, args->dst, want, cmd->nr);
		else
			test_hmm_give_all(to, args->src, args->dst, cmd->nr);
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

	test_hmm_watch_init(&watch, rf);
	ret = mmu_interval_notifier_insert(&watch.notifier, current->mm,
					   args->start, args->end - args->start,
					   &test_hmm_notifier_ops);
	if (ret)
		return ret;
	mmap_read_lock(current->mm);
	ret = range_migrate_locked(rf, args, cmd, want, raw);
	mmap_read_unlock(current->mm);
	mmu_interval_notifier_remove(&watch.notifier);
	return ret;
}

int test_hmm_migrate(struct range_file *rf, struct hmm_range_migrate *cmd)
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
	    !test_hmm_owner(cmd->owner, &args.pgmap_owner))
		return -EINVAL;
	args.start = cmd->addr;

	/* Twice the length, so that an overrun shows in npages, not as a crash */
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
		ret = test_hmm_put_longs(cmd->src, raw, cmd->nr);
free:
	kvfree(want);
	kvfree(raw);
	kvfree(args.dst);
	kvfree(args.src);
	return ret;
}
