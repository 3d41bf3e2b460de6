/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The state of the DMA layer, for those who judge. */
#ifndef HMM_USER_DMA_STATE_H
#define HMM_USER_DMA_STATE_H

#include "world.h"

/* The largest region, and what may lie before it */
#define DMA_PAGES	20

/**
 * struct dma_page - a page of IOVA space
 * @linked: it leads somewhere
 * @synced: and the device knows
 * @phys: where
 * @dir: whether the device may write
 * @attrs: as it was linked
 * @first: the first page of what can be unlinked only as a whole
 * @nr: how many pages that is
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
 * @direct: how much is, without IOVA
 * @p2p: how the device reaches a page, by the page's place in the world
 * @iommu: what kind of
 * @links: how many calls have linked
 * @unlinks: how many have unlinked
 * @syncs: how many have synced
 * @twists: how many calls may still fail
 */
struct dma_world {
	struct dma_page iova[DMA_PAGES];
	int direct;
	enum pci_p2pdma_map_type p2p[WORLD_PAGES];
	struct iommu_domain iommu;
	unsigned int links, unlinks, syncs;
	unsigned int twists;
};

extern struct dma_world dma;

bool dma_reaches(const struct device *dev, const struct dma_iova_state *state,
		 dma_addr_t addr, phys_addr_t phys, bool bus,
		 enum dma_data_direction dir);

#endif /* HMM_USER_DMA_STATE_H */
