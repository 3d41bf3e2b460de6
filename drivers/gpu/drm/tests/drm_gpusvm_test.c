// SPDX-License-Identifier: GPL-2.0
/*
 * GPUs without hardware, to test drm_gpusvm and drm_pagemap.
 *
 * What a driver does is here: page faults of the GPU, a notifier, a garbage collector,
 * memory of the GPU and copies to and from it.  The GPU's page table is an array, its
 * engine a work item that finds memory by what the library mapped: through the IOMMU's
 * page table, or in an array that stands for VRAM.  Where a GPU would have got an error
 * from the IOMMU, the engine fails with -EREMOTEIO.
 *
 * See drm_gpusvm_test.h for what user space can request.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bitmap.h>
#include <linux/dma-direct.h>
#include <linux/highmem.h>
#include <linux/iommu.h>
#include <linux/kprobes.h>
#include <linux/memremap.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/platform_device.h>
#include <linux/sched/mm.h>
#include <linux/vmalloc.h>

#include <drm/drm_drv.h>
#include <drm/drm_gpusvm.h>
#include <drm/drm_pagemap.h>

#include "drm_gpusvm_test.h"

/* QEMU's educational device, which has no driver and is behind the IOMMU */
#define EDU_VENDOR	0x1234
#define EDU_DEVICE	0x11e8

#define VRAM_PAGES	((unsigned long)(GPUSVM_TEST_VRAM >> PAGE_SHIFT))

/* Addresses of VRAM: which GPU, from 1 on, and the offset there */
#define VRAM_PROTO	(DRM_INTERCONNECT_DRIVER + 1)
#define VRAM_SHIFT	56

#define MAX_BYTES	SZ_64M
#define MAX_TRIES	1000

struct gpu {
	struct device *dev;
	struct drm_device *drm;
	struct completion released;
	struct drm_pagemap *dpagemap;
	struct dev_pagemap pgmap;
	struct resource *place;
	void *vram;
	/* Protects @used and @mems */
	spinlock_t lock;
	DECLARE_BITMAP(used, VRAM_PAGES);
	struct list_head mems;
	/* Mappings of its memory that exist */
	atomic_t mapped;
	atomic_t fail[GPUSVM_TEST_FAILS];
};

static struct gpu gpus[GPUSVM_TEST_GPUS];

/* Memory of a GPU, as a buffer object is in a driver */
struct gpu_mem {
	struct drm_pagemap_devmem devmem;
	struct kref ref;
	struct gpu *gpu;
	unsigned long first;
	unsigned long nr;
	struct list_head link;
};

struct gpu_range {
	struct drm_gpusvm_range base;
	struct drm_gpusvm_pages pages;
	/* In gpu_vm.garbage, if it was unmapped */
	struct list_head dead;
};

/* Entries of the page table: a DMA address or an address of VRAM, and these */
#define PTE_VALID	BIT_ULL(0)
#define PTE_WRITE	BIT_ULL(1)
#define PTE_VRAM	BIT_ULL(2)
#define PTE_ADDR	PAGE_MASK

/* An address space of a GPU, which belongs to an open file */
struct gpu_vm {
	struct drm_gpusvm svm;
	struct gpu *gpu;
	/* Taken by who changes ranges */
	struct mutex lock;
	unsigned long start;
	unsigned long nr;
	/* Written with the notifier lock held */
	u64 *ptes;
	unsigned long chunks[8];
	/* Protects @garbage, to which the notifier adds */
	spinlock_t garbage_lock;
	struct list_head garbage;
	atomic_long_t ranges;
	atomic_long_t invalidations;
	atomic_long_t stale;
};

/* Memory of GPUs */

static bool gpu_fails(struct gpu *gpu, unsigned int what)
{
	return atomic_dec_if_positive(&gpu->fail[what]) == 0;
}

static struct gpu *gpu_of_page(struct page *page)
{
	return container_of(page_pgmap(page), struct gpu, pgmap);
}

/* NULL if this is no address of VRAM */
static struct gpu *gpu_of_addr(u64 addr)
{
	u64 nr = addr >> VRAM_SHIFT;

	return WARN_ON(nr < 1 || nr > GPUSVM_TEST_GPUS) ? NULL : &gpus[nr - 1];
}

static unsigned long gpu_index(struct gpu *gpu, struct page *page)
{
	return page_to_pfn(page) - PHYS_PFN(gpu->pgmap.range.start);
}

static void *gpu_page_contents(struct page *page)
{
	struct gpu *gpu = gpu_of_page(page);

	return gpu->vram + (gpu_index(gpu, page) << PAGE_SHIFT);
}

static void gpu_mem_free(struct kref *ref)
{
	struct gpu_mem *mem = container_of(ref, struct gpu_mem, ref);
	struct gpu *gpu = mem->gpu;
	unsigned long flags;

	spin_lock_irqsave(&gpu->lock, flags);
	bitmap_clear(gpu->used, mem->first, mem->nr);
	list_del(&mem->link);
	spin_unlock_irqrestore(&gpu->lock, flags);
	kfree(mem);
}

static struct gpu_mem *gpu_mem_alloc(struct gpu *gpu, unsigned long nr)
{
	struct gpu_mem *mem;

	if (gpu_fails(gpu, GPUSVM_TEST_FAIL_ALLOC))
		return NULL;
	mem = kzalloc_obj(*mem);
	if (!mem)
		return NULL;
	mem->gpu = gpu;
	mem->nr = nr;
	kref_init(&mem->ref);
	INIT_LIST_HEAD(&mem->link);
	spin_lock_irq(&gpu->lock);
	mem->first = bitmap_find_next_zero_area(gpu->used, VRAM_PAGES, 0, nr,
						min(roundup_pow_of_two(nr),
						    HPAGE_PMD_NR) - 1);
	if (mem->first < VRAM_PAGES)
		bitmap_set(gpu->used, mem->first, nr);
	spin_unlock_irq(&gpu->lock);
	if (mem->first < VRAM_PAGES)
		return mem;
	kfree(mem);
	return NULL;
}

static struct gpu_mem *to_gpu_mem(struct drm_pagemap_devmem *devmem)
{
	return container_of(devmem, struct gpu_mem, devmem);
}

static void gpu_mem_release(struct drm_pagemap_devmem *devmem)
{
	kref_put(&to_gpu_mem(devmem)->ref, gpu_mem_free);
}

static int gpu_mem_populate(struct drm_pagemap_devmem *devmem, unsigned long npages,
			    unsigned long *pfn)
{
	struct gpu_mem *mem = to_gpu_mem(devmem);
	unsigned long i;

	if (gpu_fails(mem->gpu, GPUSVM_TEST_FAIL_POPULATE))
		return -ENOMEM;
	for (i = 0; i < npages; i++)
		pfn[i] = PHYS_PFN(mem->gpu->pgmap.range.start) + mem->first + i;
	return 0;
}

/* The memory at an address that the GPU got from the library; NULL if there is none */
static void *gpu_map(struct gpu *gpu, dma_addr_t addr, bool vram)
{
	struct iommu_domain *domain;
	struct gpu *owner;
	phys_addr_t phys;

	if (vram) {
		owner = gpu_of_addr(addr);
		if (!owner || WARN_ON(owner->pgmap.owner != gpu->pgmap.owner))
			return NULL;
		return owner->vram + (addr & (BIT_ULL(VRAM_SHIFT) - 1));
	}
	domain = iommu_get_domain_for_dev(gpu->dev);
	phys = domain ? iommu_iova_to_phys(domain, addr) :
			dma_to_phys(gpu->dev, addr);
	if (!phys || !pfn_valid(PHYS_PFN(phys)))
		return NULL;
	return kmap_local_page(phys_to_page(phys));
}

static void gpu_unmap(void *p, bool vram)
{
	if (!vram)
		kunmap_local(p);
}

static int gpu_copy_page(struct gpu *gpu, struct page *page, unsigned long offset,
			 const struct drm_pagemap_addr *addr, bool to_page)
{
	bool vram = addr->proto == VRAM_PROTO;
	void *contents = gpu_page_contents(page) + offset;
	void *other = gpu_map(gpu, addr->addr + offset, vram);

	if (!other)
		return -EREMOTEIO;
	if (to_page)
		copy_page(contents, other);
	else
		copy_page(other, contents);
	gpu_unmap(other, vram);
	return 0;
}

/* @pages are in VRAM, @addr is of the same folios elsewhere */
static int gpu_copy(struct page **pages, const struct drm_pagemap_addr *addr,
		    unsigned long npages, bool to_page, unsigned int fail)
{
	unsigned long i, k, nr;
	struct gpu *gpu;
	int err;

	for (i = 0; i < npages; i += nr) {
		nr = 1;
		if (!pages[i])
			continue;
		gpu = gpu_of_page(pages[i]);
		if (gpu_fails(gpu, fail))
			return -EIO;
		if (!addr[i].addr) {
			/* There were no pages: what was there before must not be seen */
			if (!to_page)
				continue;
			nr = folio_nr_pages(page_folio(pages[i]));
			memset(gpu_page_contents(pages[i]), 0, nr << PAGE_SHIFT);
			continue;
		}
		nr = 1UL << addr[i].order;
		for (k = 0; k < nr; k++) {
			err = gpu_copy_page(gpu, pages[i], k << PAGE_SHIFT, &addr[i],
					    to_page);
			if (err)
				return err;
		}
	}
	return 0;
}

static int gpu_copy_to_vram(struct page **pages, struct drm_pagemap_addr *addr,
			    unsigned long npages, struct dma_fence *fence)
{
	return gpu_copy(pages, addr, npages, true, GPUSVM_TEST_FAIL_TO_VRAM);
}

static int gpu_copy_to_ram(struct page **pages, struct drm_pagemap_addr *addr,
			   unsigned long npages, struct dma_fence *fence)
{
	return gpu_copy(pages, addr, npages, false, GPUSVM_TEST_FAIL_TO_RAM);
}

static const struct drm_pagemap_devmem_ops gpu_mem_ops = {
	.devmem_release = gpu_mem_release,
	.populate_devmem_pfn = gpu_mem_populate,
	.copy_to_devmem = gpu_copy_to_vram,
	.copy_to_ram = gpu_copy_to_ram,
};

static const struct drm_pagemap_devmem_ops gpu_mem_ops_no_copy = {
	.devmem_release = gpu_mem_release,
	.populate_devmem_pfn = gpu_mem_populate,
};

static const struct drm_pagemap_devmem_ops gpu_mem_ops_no_release = {
	.populate_devmem_pfn = gpu_mem_populate,
	.copy_to_devmem = gpu_copy_to_vram,
	.copy_to_ram = gpu_copy_to_ram,
};

static struct drm_pagemap_addr gpu_device_map(struct drm_pagemap *dpagemap,
					      struct device *dev, struct page *page,
					      unsigned int order,
					      enum dma_data_direction dir)
{
	struct gpu *gpu = gpu_of_page(page);
	dma_addr_t addr = (dma_addr_t)(gpu - gpus + 1) << VRAM_SHIFT |
			  gpu_index(gpu, page) << PAGE_SHIFT;

	if (gpu_fails(gpu, GPUSVM_TEST_FAIL_MAP))
		addr = DMA_MAPPING_ERROR;
	else
		atomic_inc(&gpu->mapped);
	return drm_pagemap_addr_encode(addr, VRAM_PROTO, order, dir);
}

static void gpu_device_unmap(struct drm_pagemap *dpagemap, struct device *dev,
			     const struct drm_pagemap_addr *addr)
{
	struct gpu *gpu = gpu_of_addr(addr->addr);

	if (gpu && !WARN_ON(addr->proto != VRAM_PROTO))
		atomic_dec(&gpu->mapped);
}

static int gpu_populate_with(struct drm_pagemap *dpagemap, unsigned long start,
			     unsigned long end, struct mm_struct *mm,
			     unsigned long timeslice_ms,
			     const struct drm_pagemap_devmem_ops *ops)
{
	struct drm_pagemap_migrate_details details = { .timeslice_ms = timeslice_ms };
	struct gpu *gpu = container_of(dpagemap->pagemap, struct gpu, pgmap);
	struct gpu_mem *mem = gpu_mem_alloc(gpu, (end - start) >> PAGE_SHIFT);
	int err;

	if (!mem)
		return -ENOMEM;
	drm_pagemap_devmem_init(&mem->devmem, gpu->dev, mm, ops, dpagemap,
				end - start, NULL);
	/* From now on, it can be evicted */
	spin_lock_irq(&gpu->lock);
	list_add(&mem->link, &gpu->mems);
	spin_unlock_irq(&gpu->lock);
	err = drm_pagemap_migrate_to_devmem(&mem->devmem, mm, start, end, &details);
	if (!ops->devmem_release)
		kref_put(&mem->ref, gpu_mem_free);
	return err;
}

static int gpu_populate_mm(struct drm_pagemap *dpagemap, unsigned long start,
			   unsigned long end, struct mm_struct *mm,
			   unsigned long timeslice_ms)
{
	return gpu_populate_with(dpagemap, start, end, mm, timeslice_ms, &gpu_mem_ops);
}

static const struct drm_pagemap_ops gpu_pagemap_ops = {
	.device_map = gpu_device_map,
	.device_unmap = gpu_device_unmap,
	.populate_mm = gpu_populate_mm,
};

/* Some memory of the GPU after @after, with a reference */
static struct gpu_mem *gpu_next_mem(struct gpu *gpu, struct gpu_mem *after)
{
	struct gpu_mem *mem;
	bool seen = !after;

	guard(spinlock_irq)(&gpu->lock);
	list_for_each_entry(mem, &gpu->mems, link) {
		if (seen && kref_get_unless_zero(&mem->ref))
			return mem;
		seen |= mem == after;
	}
	return NULL;
}

static int gpu_evict(struct gpu *gpu)
{
	struct gpu_mem *next, *mem = gpu_next_mem(gpu, NULL);
	int ret = 0, err;

	while (mem) {
		err = drm_pagemap_evict_to_ram(&mem->devmem);
		ret = ret ?: err;
		next = gpu_next_mem(gpu, mem);
		kref_put(&mem->ref, gpu_mem_free);
		mem = next;
	}
	return ret;
}

/* Address spaces */

static struct gpu_vm *to_vm(struct drm_gpusvm *svm)
{
	return container_of(svm, struct gpu_vm, svm);
}

static struct gpu_range *to_range(struct drm_gpusvm_range *range)
{
	return container_of(range, struct gpu_range, base);
}

static unsigned long range_pages(struct drm_gpusvm_range *range)
{
	return drm_gpusvm_range_size(range) >> PAGE_SHIFT;
}

static u64 *vm_pte(struct gpu_vm *vm, unsigned long addr)
{
	return &vm->ptes[(addr - vm->start) >> PAGE_SHIFT];
}

static struct drm_gpusvm_range *gpu_range_alloc(struct drm_gpusvm *svm)
{
	struct gpu_range *range = kzalloc_obj(*range);

	if (!range)
		return NULL;
	drm_gpusvm_init_pages(&range->pages, to_vm(svm)->gpu->drm);
	INIT_LIST_HEAD(&range->dead);
	atomic_long_inc(&to_vm(svm)->ranges);
	return &range->base;
}

static void gpu_range_free(struct drm_gpusvm_range *base)
{
	struct gpu_range *range = to_range(base);

	drm_gpusvm_free_pages(base->gpusvm, &range->pages, range_pages(base));
	atomic_long_dec(&to_vm(base->gpusvm)->ranges);
	kfree(range);
}

/* Is there anything left in the IOMMU of what was just unmapped? */
static bool gpu_pte_stale(struct gpu *gpu, u64 pte)
{
	struct iommu_domain *domain = iommu_get_domain_for_dev(gpu->dev);

	return domain && iommu_is_dma_domain(domain) && (pte & PTE_VALID) && !(pte & PTE_VRAM) &&
	       iommu_iova_to_phys(domain, pte & PTE_ADDR);
}

/* As the library unmaps a range in whole, so must the driver */
static void gpu_zap(struct gpu_vm *vm, struct gpu_range *range, bool in_notifier)
{
	struct drm_gpusvm_ctx ctx = { .in_notifier = in_notifier };
	u64 *pte = vm_pte(vm, drm_gpusvm_range_start(&range->base));
	unsigned long i, nr = range_pages(&range->base);

	/* The engine takes this lock for reading */
	if (in_notifier) {
		for (i = 0; i < nr; i++)
			WRITE_ONCE(pte[i], pte[i] & ~PTE_VALID);
	} else {
		down_write(&vm->svm.notifier_lock);
		for (i = 0; i < nr; i++)
			WRITE_ONCE(pte[i], pte[i] & ~PTE_VALID);
		up_write(&vm->svm.notifier_lock);
	}
	drm_gpusvm_unmap_pages(&vm->svm, &range->pages, nr, &ctx);
	for (i = 0; i < nr; i++) {
		if (pte[i] && gpu_pte_stale(vm->gpu, pte[i] | PTE_VALID))
			atomic_long_inc(&vm->stale);
		pte[i] = 0;
	}
}

static void gpu_invalidate(struct drm_gpusvm *svm, struct drm_gpusvm_notifier *notifier,
			   const struct mmu_notifier_range *mmu_range)
{
	struct drm_gpusvm_range *base = NULL;
	struct gpu_vm *vm = to_vm(svm);
	struct gpu_range *range;

	atomic_long_inc(&vm->invalidations);
	drm_gpusvm_for_each_range(base, notifier, mmu_range->start, mmu_range->end) {
		range = to_range(base);
		gpu_zap(vm, range, true);
		if (mmu_range->event != MMU_NOTIFY_UNMAP)
			continue;
		drm_gpusvm_range_set_unmapped(base, &range->pages, 1, mmu_range);
		spin_lock(&vm->garbage_lock);
		if (list_empty(&range->dead))
			list_add(&range->dead, &vm->garbage);
		spin_unlock(&vm->garbage_lock);
	}
}

static const struct drm_gpusvm_ops gpu_svm_ops = {
	.range_alloc = gpu_range_alloc,
	.range_free = gpu_range_free,
	.invalidate = gpu_invalidate,
};

static struct gpu_range *gpu_next_garbage(struct gpu_vm *vm)
{
	struct gpu_range *range;

	guard(spinlock)(&vm->garbage_lock);
	range = list_first_entry_or_null(&vm->garbage, struct gpu_range, dead);
	if (range)
		list_del_init(&range->dead);
	return range;
}

static void gpu_collect_garbage(struct gpu_vm *vm)
{
	struct gpu_range *range;

	while ((range = gpu_next_garbage(vm))) {
		if (range->base.flags.partial_unmap)
			drm_gpusvm_range_evict(&vm->svm, &range->base);
		gpu_zap(vm, range, false);
		drm_gpusvm_range_remove(&vm->svm, &range->base);
	}
}

static u64 gpu_pte_of(const struct drm_pagemap_addr *addr)
{
	u64 pte = addr->addr | PTE_VALID;

	if (addr->dir != DMA_TO_DEVICE)
		pte |= PTE_WRITE;
	if (addr->proto == VRAM_PROTO)
		pte |= PTE_VRAM;
	return pte;
}

/* Writes the page table, if what was mapped is still so */
static int gpu_bind(struct gpu_vm *vm, struct gpu_range *range)
{
	u64 *pte = vm_pte(vm, drm_gpusvm_range_start(&range->base));
	unsigned long i, k, nr = range_pages(&range->base);
	struct drm_pagemap_addr *addr = range->pages.dma_addr;
	int err = 0;

	drm_gpusvm_notifier_lock(&vm->svm);
	if (!drm_gpusvm_pages_valid(&vm->svm, &range->pages)) {
		err = -EAGAIN;
		goto unlock;
	}
	for (i = 0; i < nr; i += 1UL << addr->order, addr++) {
		if (WARN_ON(1UL << addr->order > nr - i)) {
			err = -EIO;
			goto unlock;
		}
		for (k = 0; k < 1UL << addr->order; k++)
			WRITE_ONCE(pte[i + k], gpu_pte_of(addr) + (k << PAGE_SHIFT));
	}
unlock:
	drm_gpusvm_notifier_unlock(&vm->svm);
	return err;
}

struct gpu_job {
	struct work_struct work;
	struct gpu_vm *vm;
	struct gpusvm_test *cmd;
	void *data;
};

static struct drm_gpusvm_ctx gpu_ctx(struct gpu_vm *vm, u32 flags)
{
	return (struct drm_gpusvm_ctx) {
		.device_private_page_owner = vm->gpu->pgmap.owner,
		.check_pages_threshold = flags & GPUSVM_TEST_PRESENT ? SZ_64K : 0,
		.read_only = !!(flags & GPUSVM_TEST_READ_ONLY),
		.devmem_possible = 1,
		.devmem_only = !!(flags & GPUSVM_TEST_DEVMEM_ONLY),
		.allow_mixed = !!(flags & GPUSVM_TEST_MIXED),
	};
}

/* If memory cannot be migrated, it is used where it is */
static void gpu_fetch(struct gpu_vm *vm, struct drm_gpusvm_range *base)
{
	unsigned int tries;

	for (tries = 0; tries < 2; tries++) {
		if (drm_pagemap_populate_mm(vm->gpu->dpagemap,
					    drm_gpusvm_range_start(base),
					    drm_gpusvm_range_end(base),
					    vm->svm.mm, 0) != -EBUSY)
			break;
		/* It may be in VRAM that this GPU does not reach, or part of it in its own */
		drm_gpusvm_range_evict(&vm->svm, base);
	}
}

/* Serves a page fault of the GPU; -EAGAIN if it has to be tried again */
static int gpu_fault_locked(struct gpu_vm *vm, unsigned long addr, u32 flags)
{
	struct drm_gpusvm_ctx ctx = gpu_ctx(vm, flags);
	struct drm_gpusvm_range *base;
	struct gpu_range *range;
	unsigned long start, end;
	int err;

	gpu_collect_garbage(vm);
	base = drm_gpusvm_range_find_or_insert(&vm->svm, addr, vm->start,
					       vm->start + (vm->nr << PAGE_SHIFT), &ctx);
	if (IS_ERR(base))
		return PTR_ERR(base);
	range = to_range(base);
	start = drm_gpusvm_range_start(base);
	end = drm_gpusvm_range_end(base);

	if (flags & GPUSVM_TEST_TO_VRAM && base->flags.migrate_devmem)
		gpu_fetch(vm, base);

	err = drm_gpusvm_get_pages(&vm->svm, &range->pages, vm->svm.mm,
				   &base->notifier->notifier, start, end, &ctx);
	if (err)
		return err;
	return gpu_bind(vm, range);
}

static bool gpu_again(struct gpu_vm *vm, unsigned long addr, int err)
{
	struct drm_gpusvm_notifier *notifier;
	struct drm_gpusvm_range *range;

	if (err != -EOPNOTSUPP)
		return err == -EAGAIN || err == -EBUSY || err == -EFAULT ||
		       err == -EPERM;
	notifier = drm_gpusvm_notifier_find(&vm->svm, addr, addr + 1);
	range = notifier ? drm_gpusvm_range_find(notifier, addr, addr + 1) : NULL;
	return range && !drm_gpusvm_range_evict(&vm->svm, range);
}

static int gpu_fault(struct gpu_vm *vm, unsigned long addr, u32 flags)
{
	int err, last = 0, tries = 0;

	guard(mutex)(&vm->lock);
	do {
		err = gpu_fault_locked(vm, addr, flags);
		/* These, twice in a row, are not about a race */
		if (err == last && (err == -EFAULT || err == -EPERM))
			return err;
		last = err;
	} while (err && tries++ < MAX_TRIES && gpu_again(vm, addr, err));
	return err;
}

static void engine_touch(struct gpu_job *job, unsigned long addr, void *p,
			 unsigned long len)
{
	unsigned long offset = offset_in_page(addr);
	void *data = job->data + (addr - job->cmd->addr);

	if (job->cmd->op == GPUSVM_TEST_READ)
		memcpy(data, p + offset, len);
	else if (job->cmd->op == GPUSVM_TEST_WRITE)
		memcpy(p + offset, data, len);
	else
		*(u64 *)(p + offset_in_page(job->cmd->addr)) += job->cmd->arg;
}

/* -EAGAIN if the page table does not allow it */
static int engine_page(struct gpu_job *job, unsigned long addr, unsigned long len)
{
	u64 want = PTE_VALID, pte;
	int err = -EAGAIN;
	void *p;

	if (job->cmd->op != GPUSVM_TEST_READ)
		want |= PTE_WRITE;
	drm_gpusvm_notifier_lock(&job->vm->svm);
	pte = READ_ONCE(*vm_pte(job->vm, addr));
	if ((pte & want) == want) {
		p = gpu_map(job->vm->gpu, pte & PTE_ADDR, pte & PTE_VRAM);
		err = p ? 0 : -EREMOTEIO;
	}
	if (!err) {
		engine_touch(job, addr, p, len);
		gpu_unmap(p, pte & PTE_VRAM);
	}
	drm_gpusvm_notifier_unlock(&job->vm->svm);
	return err;
}

static void engine_work(struct work_struct *work)
{
	struct gpu_job *job = container_of(work, struct gpu_job, work);
	struct gpusvm_test *cmd = job->cmd;
	unsigned long addr = cmd->addr, end = cmd->addr + cmd->len, len;
	unsigned int tries = 0;

	while (addr < end && !cmd->ret) {
		len = min(end - addr, PAGE_SIZE - offset_in_page(addr));
		cmd->ret = engine_page(job, addr, len);
		if (!cmd->ret) {
			addr += len;
			tries = 0;
		} else if (cmd->ret == -EAGAIN && tries++ < MAX_TRIES) {
			cmd->faults++;
			cmd->ret = gpu_fault(job->vm, addr, cmd->flags);
		}
	}
}

/* Calls of the DMA layer */

static struct {
	atomic64_t links, read_only, syncs, unlinks, linked, spaces;
	bool probed;
} dma;

#if defined(CONFIG_KPROBES) && defined(CONFIG_HAVE_FUNCTION_ARG_ACCESS_API)

static bool dma_is_ours(struct pt_regs *regs)
{
	return gpus[0].dev &&
	       regs_get_kernel_argument(regs, 0) == (unsigned long)gpus[0].dev;
}

static int dma_failure(void)
{
	return -ENOMEM;
}

static int dma_fails(struct pt_regs *regs, unsigned int what)
{
	if (!gpu_fails(&gpus[0], what))
		return 0;
	instruction_pointer_set(regs, (unsigned long)dereference_function_descriptor(dma_failure));
	return 1;
}

static int dma_saw_link(struct kprobe *p, struct pt_regs *regs)
{
	if (!dma_is_ours(regs))
		return 0;
	atomic64_inc(&dma.links);
	if (dma_fails(regs, GPUSVM_TEST_FAIL_LINK))
		return 1;
	if (regs_get_kernel_argument(regs, 5) == DMA_TO_DEVICE)
		atomic64_inc(&dma.read_only);
	atomic64_add(regs_get_kernel_argument(regs, 4) >> PAGE_SHIFT, &dma.linked);
	return 0;
}

static int dma_saw_sync(struct kprobe *p, struct pt_regs *regs)
{
	if (!dma_is_ours(regs))
		return 0;
	atomic64_inc(&dma.syncs);
	return dma_fails(regs, GPUSVM_TEST_FAIL_SYNC);
}

static int dma_saw_unlink(struct kprobe *p, struct pt_regs *regs)
{
	if (!dma_is_ours(regs))
		return 0;
	atomic64_inc(&dma.unlinks);
	atomic64_sub(regs_get_kernel_argument(regs, 3) >> PAGE_SHIFT, &dma.linked);
	return 0;
}

static int dma_saw_alloc(struct kprobe *p, struct pt_regs *regs)
{
	if (dma_is_ours(regs))
		atomic64_inc(&dma.spaces);
	return 0;
}

static int dma_saw_free(struct kprobe *p, struct pt_regs *regs)
{
	if (dma_is_ours(regs))
		atomic64_dec(&dma.spaces);
	return 0;
}

/* A probe with a post_handler is not optimized, so it may change the return address */
static void dma_saw_after(struct kprobe *p, struct pt_regs *regs, unsigned long flags)
{
}

#define DMA_PROBE(name, handler, ...) \
	&(struct kprobe) { .symbol_name = name, .pre_handler = handler, __VA_ARGS__ }

/* dma_iova_destroy() calls two of them */
static struct kprobe *dma_probes[] = {
	DMA_PROBE("dma_iova_link", dma_saw_link, .post_handler = dma_saw_after),
	DMA_PROBE("dma_iova_sync", dma_saw_sync, .post_handler = dma_saw_after),
	DMA_PROBE("dma_iova_unlink", dma_saw_unlink),
	DMA_PROBE("dma_iova_try_alloc", dma_saw_alloc),
	DMA_PROBE("dma_iova_free", dma_saw_free),
};

static void dma_probe(void)
{
	dma.probed = !register_kprobes(dma_probes, ARRAY_SIZE(dma_probes));
}

static void dma_unprobe(void)
{
	if (dma.probed)
		unregister_kprobes(dma_probes, ARRAY_SIZE(dma_probes));
}

#else

static void dma_probe(void) { }
static void dma_unprobe(void) { }

#endif

static void dma_stats(struct gpusvm_test *cmd)
{
	cmd->probed = dma.probed;
	cmd->links = atomic64_read(&dma.links);
	cmd->read_only = atomic64_read(&dma.read_only);
	cmd->syncs = atomic64_read(&dma.syncs);
	cmd->unlinks = atomic64_read(&dma.unlinks);
	cmd->linked = atomic64_read(&dma.linked);
	cmd->spaces = atomic64_read(&dma.spaces);
}

/* What user space requests */

static bool vm_has(struct gpu_vm *vm, u64 addr, u64 len)
{
	u64 size = vm ? (u64)vm->nr << PAGE_SHIFT : 0;

	return vm && addr >= vm->start && len <= size && addr - vm->start <= size - len;
}

static int cmd_engine(struct gpu_vm *vm, struct gpusvm_test *cmd)
{
	struct gpu_job job = { .vm = vm, .cmd = cmd };
	int err = 0;

	if (!vm_has(vm, cmd->addr, cmd->len) || !cmd->len || cmd->len > MAX_BYTES)
		return -EINVAL;
	if (cmd->op == GPUSVM_TEST_ADD && !IS_ALIGNED(cmd->addr, sizeof(u64)))
		return -EINVAL;
	if (cmd->op != GPUSVM_TEST_ADD) {
		job.data = kvmalloc(cmd->len, GFP_KERNEL);
		if (!job.data)
			return -ENOMEM;
	}
	if (cmd->op == GPUSVM_TEST_WRITE &&
	    copy_from_user(job.data, u64_to_user_ptr(cmd->data), cmd->len))
		err = -EFAULT;
	if (!err) {
		INIT_WORK_ONSTACK(&job.work, engine_work);
		queue_work(system_dfl_wq, &job.work);
		flush_work(&job.work);
		destroy_work_on_stack(&job.work);
	}
	if (!err && cmd->op == GPUSVM_TEST_READ &&
	    copy_to_user(u64_to_user_ptr(cmd->data), job.data, cmd->len))
		err = -EFAULT;
	kvfree(job.data);
	return err;
}

static int cmd_vm(struct file *file, struct gpusvm_test *cmd)
{
	struct gpu_vm *vm;
	int i, nr = 0;

	if (file->private_data || cmd->gpu >= GPUSVM_TEST_GPUS ||
	    !IS_ALIGNED(cmd->addr | cmd->len, PAGE_SIZE) || !cmd->len ||
	    cmd->len > MAX_BYTES || !is_power_of_2(cmd->arg))
		return -EINVAL;
	vm = kzalloc_obj(*vm);
	if (!vm)
		return -ENOMEM;
	vm->gpu = &gpus[cmd->gpu];
	vm->start = cmd->addr;
	vm->nr = cmd->len >> PAGE_SHIFT;
	vm->ptes = kvcalloc(vm->nr, sizeof(*vm->ptes), GFP_KERNEL);
	mutex_init(&vm->lock);
	INIT_LIST_HEAD(&vm->garbage);
	spin_lock_init(&vm->garbage_lock);
	for (i = 63; i >= PAGE_SHIFT && nr < ARRAY_SIZE(vm->chunks); i--)
		if (cmd->chunks & BIT_ULL(i))
			vm->chunks[nr++] = BIT(i);
	if (!vm->ptes)
		cmd->ret = -ENOMEM;
	else
		cmd->ret = drm_gpusvm_init(&vm->svm, "test", current->mm, vm->start,
					   cmd->len, cmd->arg, &gpu_svm_ops,
					   vm->chunks, nr);
	if (cmd->ret) {
		kvfree(vm->ptes);
		kfree(vm);
		return 0;
	}
	drm_gpusvm_driver_set_lock(&vm->svm, &vm->lock);
	file->private_data = vm;
	return 0;
}

static struct drm_gpusvm_range *vm_range(struct gpu_vm *vm, unsigned long addr)
{
	struct drm_gpusvm_notifier *notifier;

	notifier = drm_gpusvm_notifier_find(&vm->svm, addr, addr + 1);
	return notifier ? drm_gpusvm_range_find(notifier, addr, addr + 1) : NULL;
}

static u32 pte_place(u64 pte)
{
	if (!(pte & PTE_VALID))
		return GPUSVM_TEST_IN_NONE;
	return (pte & PTE_VRAM ? GPUSVM_TEST_IN_VRAM << (gpu_of_addr(pte) - gpus) :
				 GPUSVM_TEST_IN_SYSTEM) |
	       (pte & PTE_WRITE ? 0 : GPUSVM_TEST_IN_READ);
}

static void cmd_look(struct gpu_vm *vm, struct gpusvm_test *cmd,
		     struct drm_gpusvm_range *base)
{
	struct gpu_range *range = to_range(base);
	u64 *pte = vm_pte(vm, drm_gpusvm_range_start(base));
	unsigned long i, nr = range_pages(base);

	cmd->start = drm_gpusvm_range_start(base);
	cmd->end = drm_gpusvm_range_end(base);
	drm_gpusvm_notifier_lock(&vm->svm);
	for (i = 0; i < nr; i++)
		cmd->places |= pte_place(pte[i]);
	if (drm_gpusvm_pages_valid(&vm->svm, &range->pages)) {
		cmd->iova = (cmd->places & GPUSVM_TEST_IN_SYSTEM) &&
			    dma_use_iova(&range->pages.map.state);
		for (i = 0; i < nr; cmd->entries++)
			i += 1UL << range->pages.dma_addr[cmd->entries].order;
	}
	drm_gpusvm_notifier_unlock(&vm->svm);
}

static int cmd_range(struct gpu_vm *vm, struct gpusvm_test *cmd)
{
	struct drm_gpusvm_range *range;

	if (!vm_has(vm, cmd->addr, 1))
		return -EINVAL;
	guard(mutex)(&vm->lock);
	gpu_collect_garbage(vm);
	range = vm_range(vm, cmd->addr);
	if (!range)
		cmd->ret = -ENOENT;
	else if (cmd->op == GPUSVM_TEST_EVICT_RANGE)
		cmd->ret = drm_gpusvm_range_evict(&vm->svm, range);
	else if (cmd->op == GPUSVM_TEST_SCAN)
		cmd->ret = drm_gpusvm_scan_mm(range, vm->gpu->pgmap.owner,
					      &gpus[cmd->gpu].pgmap);
	else
		cmd_look(vm, cmd, range);
	return 0;
}

static int cmd_migrate(struct gpusvm_test *cmd)
{
	struct drm_pagemap *dpagemap = gpus[cmd->gpu].dpagemap;
	const struct drm_pagemap_devmem_ops *ops = &gpu_mem_ops;

	if (!IS_ALIGNED(cmd->addr | cmd->len, PAGE_SIZE) || !cmd->len)
		return -EINVAL;
	if (cmd->flags & GPUSVM_TEST_NO_COPY)
		ops = &gpu_mem_ops_no_copy;
	if (cmd->flags & GPUSVM_TEST_NO_RELEASE)
		ops = &gpu_mem_ops_no_release;
	if (ops == &gpu_mem_ops) {
		cmd->ret = drm_pagemap_populate_mm(dpagemap, cmd->addr,
						   cmd->addr + cmd->len, current->mm,
						   cmd->arg);
		return 0;
	}
	mmap_read_lock(current->mm);
	cmd->ret = gpu_populate_with(dpagemap, cmd->addr, cmd->addr + cmd->len,
				     current->mm, 0, ops);
	mmap_read_unlock(current->mm);
	return 0;
}

static int cmd_stats(struct gpu_vm *vm, struct gpusvm_test *cmd)
{
	struct gpu *gpu = &gpus[cmd->gpu];

	if (vm) {
		scoped_guard(mutex, &vm->lock)
			gpu_collect_garbage(vm);
		cmd->ranges = atomic_long_read(&vm->ranges);
		cmd->invalidations = atomic_long_read(&vm->invalidations);
		cmd->stale = atomic_long_read(&vm->stale);
	}
	cmd->vram = bitmap_weight(gpu->used, VRAM_PAGES);
	cmd->mapped = atomic_read(&gpu->mapped);
	dma_stats(cmd);
	return 0;
}

static int cmd_run(struct file *file, struct gpusvm_test *cmd)
{
	struct gpu_vm *vm = file->private_data;

	if (cmd->gpu >= GPUSVM_TEST_GPUS)
		return -EINVAL;
	if (!gpus[cmd->gpu].dpagemap)
		return -ENODEV;
	switch (cmd->op) {
	case GPUSVM_TEST_VM:
		return cmd_vm(file, cmd);
	case GPUSVM_TEST_READ:
	case GPUSVM_TEST_WRITE:
	case GPUSVM_TEST_ADD:
		return cmd_engine(vm, cmd);
	case GPUSVM_TEST_FAULT:
		if (!vm_has(vm, cmd->addr, 1))
			return -EINVAL;
		scoped_guard(mutex, &vm->lock)
			cmd->ret = gpu_fault_locked(vm, cmd->addr, cmd->flags);
		return 0;
	case GPUSVM_TEST_MIGRATE:
		return cmd_migrate(cmd);
	case GPUSVM_TEST_EVICT_GPU:
		cmd->ret = gpu_evict(&gpus[cmd->gpu]);
		return 0;
	case GPUSVM_TEST_EVICT_RANGE:
	case GPUSVM_TEST_SCAN:
	case GPUSVM_TEST_RANGE:
		return cmd_range(vm, cmd);
	case GPUSVM_TEST_STATS:
		return cmd_stats(vm, cmd);
	case GPUSVM_TEST_FAIL:
		if (cmd->len >= GPUSVM_TEST_FAILS)
			return -EINVAL;
		atomic_set(&gpus[cmd->gpu].fail[cmd->len], cmd->arg);
		return 0;
	}
	return -ENOTTY;
}

static long gpu_ioctl(struct file *file, unsigned int nr, unsigned long arg)
{
	struct gpusvm_test cmd;
	int err;

	if (nr != GPUSVM_TEST_IOCTL)
		return -ENOTTY;
	if (copy_from_user(&cmd, (void __user *)arg, sizeof(cmd)))
		return -EFAULT;
	cmd.ret = 0;
	memset_startat(&cmd, 0, start);
	err = cmd_run(file, &cmd);
	if (!err && copy_to_user((void __user *)arg, &cmd, sizeof(cmd)))
		err = -EFAULT;
	return err;
}

static int gpu_open(struct inode *inode, struct file *file)
{
	/* miscdevice's */
	file->private_data = NULL;
	return 0;
}

static int gpu_release(struct inode *inode, struct file *file)
{
	struct gpu_vm *vm = file->private_data;

	if (!vm)
		return 0;
	mutex_lock(&vm->lock);
	drm_gpusvm_fini(&vm->svm);
	mutex_unlock(&vm->lock);
	WARN_ON(atomic_long_read(&vm->ranges));
	kvfree(vm->ptes);
	kfree(vm);
	return 0;
}

static const struct file_operations gpu_fops = {
	.owner = THIS_MODULE,
	.open = gpu_open,
	.release = gpu_release,
	.unlocked_ioctl = gpu_ioctl,
};

static struct miscdevice gpu_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "gpusvm_test",
	.fops = &gpu_fops,
	.mode = 0600,
};

/* The GPUs */

static void gpu_drm_release(struct drm_device *drm)
{
	complete(&((struct gpu *)drm->dev_private)->released);
}

/* Without an owner, so that the module can be removed while there is a drm_pagemap */
static const struct file_operations gpu_drm_fops;

static const struct drm_driver gpu_drm_driver = {
	.name = "gpusvm_test",
	.desc = "GPU without hardware",
	.major = 1,
	.fops = &gpu_drm_fops,
	.release = gpu_drm_release,
};

static struct device *gpu_device(unsigned int which)
{
	struct platform_device *platform;
	struct pci_dev *pdev;

	if (which != GPUSVM_TEST_DIRECT) {
		pdev = pci_get_device(EDU_VENDOR, EDU_DEVICE, NULL);
		return pdev ? &pdev->dev : NULL;
	}
	platform = platform_device_register_simple("gpusvm_test", which, NULL, 0);
	return IS_ERR(platform) ? NULL : &platform->dev;
}

static void gpu_put_device(struct gpu *gpu)
{
	if (gpu == &gpus[GPUSVM_TEST_DIRECT])
		platform_device_unregister(to_platform_device(gpu->dev));
	else
		put_device(gpu->dev);
}

/* The library frees it */
static int gpu_init_pagemap(struct gpu *gpu)
{
	struct drm_pagemap *dpagemap = kzalloc_obj(*dpagemap);
	int err;

	if (!dpagemap)
		return -ENOMEM;
	err = drm_pagemap_init(dpagemap, &gpu->pgmap, gpu->drm, &gpu_pagemap_ops);
	if (err)
		kfree(dpagemap);
	else
		gpu->dpagemap = dpagemap;
	return err;
}

static int gpu_init_memory(struct gpu *gpu)
{
	void *p;

	gpu->vram = vzalloc(GPUSVM_TEST_VRAM);
	if (!gpu->vram)
		return -ENOMEM;
	gpu->place = request_free_mem_region(&iomem_resource, GPUSVM_TEST_VRAM,
					     "gpusvm_test");
	if (IS_ERR(gpu->place))
		return PTR_ERR(gpu->place);
	gpu->pgmap.type = MEMORY_DEVICE_PRIVATE;
	gpu->pgmap.range.start = gpu->place->start;
	gpu->pgmap.range.end = gpu->place->end;
	gpu->pgmap.nr_range = 1;
	gpu->pgmap.ops = drm_pagemap_pagemap_ops_get();
	gpu->pgmap.owner = gpu == &gpus[GPUSVM_TEST_DIRECT] ? gpu : gpus;
	p = memremap_pages(&gpu->pgmap, numa_node_id());
	if (IS_ERR(p)) {
		gpu->pgmap.owner = NULL;
		return PTR_ERR(p);
	}
	return gpu_init_pagemap(gpu);
}

static void gpu_exit(struct gpu *gpu)
{
	if (gpu->dpagemap) {
		WARN_ON(gpu_evict(gpu));
		drm_pagemap_put(gpu->dpagemap);
	}
	if (gpu->pgmap.owner)
		memunmap_pages(&gpu->pgmap);
	if (!IS_ERR_OR_NULL(gpu->place))
		release_mem_region(gpu->place->start, resource_size(gpu->place));
	vfree(gpu->vram);
	if (!IS_ERR_OR_NULL(gpu->drm)) {
		drm_dev_put(gpu->drm);
		wait_for_completion(&gpu->released);
	}
	if (gpu->dev)
		gpu_put_device(gpu);
}

static int gpu_init(struct gpu *gpu)
{
	spin_lock_init(&gpu->lock);
	INIT_LIST_HEAD(&gpu->mems);
	init_completion(&gpu->released);
	gpu->dev = gpu_device(gpu - gpus);
	if (!gpu->dev)
		return -ENODEV;
	dma_set_mask_and_coherent(gpu->dev, DMA_BIT_MASK(64));
	gpu->drm = drm_dev_alloc(&gpu_drm_driver, gpu->dev);
	if (IS_ERR(gpu->drm))
		return PTR_ERR(gpu->drm);
	gpu->drm->dev_private = gpu;
	return gpu_init_memory(gpu);
}

static void gpu_test_exit(void)
{
	unsigned int i;

	misc_deregister(&gpu_misc);
	dma_unprobe();
	for (i = 0; i < GPUSVM_TEST_GPUS; i++)
		gpu_exit(&gpus[i]);
}

static int __init gpu_test_init(void)
{
	unsigned int i;
	int err;

	for (i = 0; i < GPUSVM_TEST_GPUS; i++) {
		err = gpu_init(&gpus[i]);
		/* Without the IOMMU's device, there is one GPU less, or two */
		if (err == -ENODEV)
			continue;
		if (err)
			goto fail;
	}
	dma_probe();
	err = misc_register(&gpu_misc);
	if (!err)
		return 0;
	dma_unprobe();
	i--;
fail:
	do
		gpu_exit(&gpus[i]);
	while (i--);
	return err;
}

module_init(gpu_test_init);
module_exit(gpu_test_exit);
MODULE_DESCRIPTION("Test driver of drm_gpusvm and drm_pagemap");
MODULE_LICENSE("GPL");
