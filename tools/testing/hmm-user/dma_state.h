/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The state of the DMA layer, for those who judge. */
#ifndef HMM_USER_DMA_STATE_H
#define HMM_USER_DMA_STATE_H

#include "world.h"

#define DMA_PAGES	16

struct dma_page {
	bool linked;
	bool synced;
	phys_addr_t phys;
	unsigned long attrs;
};

/**
 * struct dma_world - what is mapped
 * @iova: by pages of IOVA space
 * @direct: how much is, without IOVA
 * @p2p: how the device reaches a page, by the page's place in the world
 * @twists: how many calls may still fail
 */
struct dma_world {
	struct dma_page iova[DMA_PAGES];
	int direct;
	enum pci_p2pdma_map_type p2p[WORLD_PAGES];
	unsigned int twists;
};

extern struct dma_world dma;

bool dma_reaches(const struct device *dev, const struct dma_iova_state *state,
		 dma_addr_t addr, phys_addr_t phys, bool bus);

#endif /* HMM_USER_DMA_STATE_H */
