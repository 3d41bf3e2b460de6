/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Copyright (c) 2024 NVIDIA Corporation & Affiliates
 *
 * Answers of hmm_range_fault(), mapped for DMA.
 *
 * See Documentation/mm/hmm.rst.
 */
#ifndef LINUX_HMM_DMA_H
#define LINUX_HMM_DMA_H

#include <linux/atomic.h>
#include <linux/dma-mapping.h>

struct pci_p2pdma_map_state;

/* Bits of an entry that say how it is mapped; hmm_range_fault() leaves them */
#define HMM_PFN_STICKY	(HMM_PFN_DMA_MAPPED | HMM_PFN_P2PDMA | \
			 HMM_PFN_P2PDMA_BUS)

/**
 * struct hmm_dma_map - a region of memory and its DMA mappings
 * @state: IOVA space of the region, if the device has such
 * @pfn_list: an entry for each page of the region, as hmm_range_fault() answers;
 *	HMM_PFN_DMA_MAPPED and its like are kept in the first of each DMA entry
 * @dma_list: a DMA address for each DMA entry; NULL if they need not be kept
 * @dma_entry_size: bytes the device maps with one entry, a power of two of at
 *	least PAGE_SIZE
 * @nr: DMA entries in the region
 * @by_access: the driver's, false unless it sets it while nothing is mapped: map
 *	what is answered without HMM_PFN_WRITE for reading only. An entry must then be
 *	unmapped before HMM_PFN_WRITE is set in it or cleared.
 * @read_only: the driver's in the same way: map all for reading only
 * @owner: the driver's in the same way: leave pages that device_page_owned_by() tells
 *	are this owner's to the driver, as device private pages are
 *
 * All but @pfn_list's answers and what is the driver's is set by hmm_dma_map_alloc()
 * and its like.
 */
struct hmm_dma_map {
	struct dma_iova_state state;
	unsigned long *pfn_list;
	dma_addr_t *dma_list;
	size_t dma_entry_size;
	size_t nr;
	bool by_access;
	bool read_only;
	const void *owner;

	/* private: of mm/hmm_dma.c */
	size_t head;			/* bytes of IOVA space before entry 0 */
	unsigned long leaf_sizes;	/* of the IOMMU, above dma_entry_size */
	bool links_runs;		/* leaves of one link can be unlinked each */
	bool runs;			/* there were links of many entries */
};

/**
 * hmm_dma_pfn() - where the pages of a DMA entry begin
 * @map: the region
 * @idx: which DMA entry of the region
 *
 * Return: the first of dma_entry_size / PAGE_SIZE entries of @map->pfn_list.
 */
static inline unsigned long *hmm_dma_pfn(const struct hmm_dma_map *map,
					 size_t idx)
{
	return &map->pfn_list[idx * (map->dma_entry_size >> PAGE_SHIFT)];
}

/* private: for hmm_range_fault() */
extern atomic_t hmm_dma_maps;

static inline bool hmm_dma_in_use(void)
{
	return atomic_read(&hmm_dma_maps);
}

/* public: */
int hmm_dma_map_alloc(struct device *dev, struct hmm_dma_map *map,
		      size_t nr_entries, size_t dma_entry_size);
int hmm_dma_map_alloc_at(struct device *dev, struct hmm_dma_map *map,
			 unsigned long start, size_t nr_entries,
			 size_t dma_entry_size);
void hmm_dma_map_free(struct device *dev, struct hmm_dma_map *map);
dma_addr_t hmm_dma_map_pfn(struct device *dev, struct hmm_dma_map *map,
			   size_t idx,
			   struct pci_p2pdma_map_state *p2pdma_state);
int hmm_dma_map_range(struct device *dev, struct hmm_dma_map *map, size_t idx,
		      size_t nr, struct pci_p2pdma_map_state *p2pdma_state);
void hmm_dma_widen(const struct hmm_dma_map *map, size_t *idx, size_t *nr);
bool hmm_dma_unmap_pfn(struct device *dev, struct hmm_dma_map *map, size_t idx);
size_t hmm_dma_unmap_range(struct device *dev, struct hmm_dma_map *map, size_t idx,
			   size_t nr);

#endif /* LINUX_HMM_DMA_H */
