/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The state of the DMA layer, for the checks. */
#ifndef HMM_USER_DMA_STATE_H
#define HMM_USER_DMA_STATE_H

#include "world.h"

/* The largest region, and what may lie before it */
#define DMA_PAGES	20

/**
 * struct dma_page - a page of IOVA space
 * @linked: it is mapped
 * @synced: and visible to the device
 * @phys: the memory that it maps
 * @dir: whether the device may write
 * @attrs: as it was linked
 * @first: the first page of the part that can be unlinked only as a whole
 * @nr: the number of its pages
 */
struct dma_page {
	bool linked;
	bool synced;
	phys_addr_t phys;
	enum dma_data_direction dir;
	unsigned long attrs;
	size_t first;
	size_t nr;
};

/**
 * struct dma_world - what is mapped
 * @iova: by pages of IOVA space
 * @direct: how much is mapped without IOVA
 * @p2p: how the device accesses a page, by the page's place in the world
 * @iommu: the kind of IOMMU
 * @links: number of calls that have linked
 * @unlinks: number of calls that have unlinked
 * @syncs: number of calls that have synced
 * @twists: number of calls that may still fail
 * @meanwhile: what another thread does without the lock when something is synced
 */
struct dma_world {
	struct dma_page iova[DMA_PAGES];
	int direct;
	enum pci_p2pdma_map_type p2p[WORLD_PAGES];
	struct iommu_domain iommu;
	unsigned int links, unlinks, syncs;
	unsigned int twists;
	void (*meanwhile)(void);
};

extern struct dma_world dma;

bool dma_reaches(const struct device *dev, const struct dma_iova_state *state,
		 dma_addr_t addr, phys_addr_t phys, bool bus,
		 enum dma_data_direction dir);

#endif /* HMM_USER_DMA_STATE_H */
