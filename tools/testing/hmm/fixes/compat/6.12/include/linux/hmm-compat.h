/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the test driver needs from later versions.  Device memory of huge pages and
 * hmm_dma_map_*() came later, so tests of these are left out; see fixes/lacks.
 */
#ifndef _LINUX_HMM_COMPAT_H
#define _LINUX_HMM_COMPAT_H

/* Only for the test driver */
#define kmod_test_hmm	1
#if defined(MODULE) && __KBUILD_MODNAME

#include <linux/dma-map-ops.h>
#include <linux/err.h>
#include <linux/huge_mm.h>
#include <linux/memremap.h>
#include <linux/migrate.h>
#include <linux/pci.h>
#include <linux/pci-p2pdma.h>
#include <linux/pfn_t.h>
#include <linux/rmap.h>

#include <linux/hmm-unlocked.h>

/* Never selected or answered */
#define MIGRATE_VMA_SELECT_COMPOUND	0
#define MIGRATE_PFN_COMPOUND		0
#define HMM_PFN_DMA_MAPPED		0UL
#define HMM_PFN_P2PDMA			0UL
#define HMM_PFN_P2PDMA_BUS		0UL

#define HMM_DMIRROR_FLAGS		(~1U)
#define HMM_DMIRROR_FLAG_FAIL_ALLOC	1

/* The driver then reports that there is no device for HMM_RANGE_DMA */
#undef CONFIG_HAS_DMA
struct hmm_dma_map {
	unsigned long *pfn_list;
};

static inline struct dev_pagemap *page_pgmap(const struct page *page)
{
	return page->pgmap;
}

static inline void zone_device_folio_init(struct folio *folio,
					  struct dev_pagemap *pgmap,
					  unsigned int order)
{
	WARN_ON(order);
	zone_device_page_init(&folio->page);
}

static inline struct page *make_device_exclusive(struct mm_struct *mm,
						 unsigned long addr, void *owner,
						 struct folio **folio)
{
	struct page *page = NULL;
	int ret = make_device_exclusive_range(mm, addr, addr + PAGE_SIZE, &page,
					      owner);

	if (ret < 0)
		return ERR_PTR(ret);
	if (!page)
		return ERR_PTR(-EBUSY);
	*folio = page_folio(page);
	return page;
}

/* A pfn had its own type */
#define vmf_insert_mixed(vma, addr, pfn) \
	vmf_insert_mixed(vma, addr, __pfn_to_pfn_t(pfn, PFN_DEV))
#define vmf_insert_pfn_pmd(vmf, pfn, write) \
	vmf_insert_pfn_pmd(vmf, __pfn_to_pfn_t(pfn, PFN_DEV), write)
#define vmf_insert_pfn_pud(vmf, pfn, write) \
	vmf_insert_pfn_pud(vmf, __pfn_to_pfn_t(pfn, PFN_DEV), write)

#endif
#undef kmod_test_hmm
#endif
