// SPDX-License-Identifier: GPL-2.0
/*
 * Mappings of the devices: entries and page faults that ordinary memory does not have.
 */
#include <linux/delay.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "test_hmm.h"

/* The page stays until the file is closed; the caller gets no reference */
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

/* Returns 0 if the fault should be handled as usual */
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
		test_hmm_stop_at(rf, HMM_RANGE_HOLD_DROP);
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
		test_hmm_stop(rf);
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

	/* These kinds are mapped by huge entries only */
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

/* Physical addresses without memory; entries for them are never followed */
struct resource *test_hmm_nothing;

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
	if (!test_hmm_nothing)
		return VM_FAULT_SIGBUS;
	return vmf_insert_pfn_pud(vmf, PHYS_PFN(ALIGN(test_hmm_nothing->start, PUD_SIZE)),
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

/* Made dirty by ordinary stores first; mremap() turns it into a shadow stack */
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

int test_hmm_mmap(struct file *file, struct vm_area_struct *vma)
{
	unsigned int kind = range_map_kind(vma);
	unsigned long end = vma->vm_pgoff + vma_pages(vma) - 1;

	if (kind >= HMM_RANGE_MAP_KINDS)
		return -EINVAL;
	/* A PUD maps more than HMM_RANGE_MAP_BYTES */
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
	test_hmm_stop_at(file->private_data, HMM_RANGE_HOLD_MMAP);
	return 0;
}

void test_hmm_nothing_init(void)
{
#if IS_ENABLED(CONFIG_DEVICE_PRIVATE) && defined(CONFIG_ARCH_SUPPORTS_PUD_PFNMAP)
	test_hmm_nothing = request_free_mem_region(&iomem_resource, 2 * PUD_SIZE,
						   "hmm_range_nothing");
	if (IS_ERR(test_hmm_nothing))
		test_hmm_nothing = NULL;
#endif
}

void test_hmm_nothing_exit(void)
{
	if (test_hmm_nothing)
		release_mem_region(test_hmm_nothing->start,
				   resource_size(test_hmm_nothing));
}
