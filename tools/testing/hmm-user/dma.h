/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What mm/hmm_dma.c uses of the DMA layer; included by world.h. */
#ifndef HMM_USER_DMA_H
#define HMM_USER_DMA_H

enum dma_data_direction { DMA_BIDIRECTIONAL, DMA_TO_DEVICE };

#define DMA_ATTR_MMIO			1UL
#define DMA_ATTR_REQUIRE_COHERENT	2UL
#define DMA_MAPPING_ERROR		(~(dma_addr_t)0)

/**
 * struct device - one that does DMA
 * @has_iova: there is an IOMMU, with free IOVA space
 * @must_unmap: what is mapped without it must be unmapped
 * @bounces: it needs buffers that are synced
 */
struct device {
	bool has_iova;
	bool must_unmap;
	bool bounces;
};

/**
 * struct iommu_domain - an IOMMU's page table
 * @pgsize_bitmap: sizes of its leaves
 * @is_iommupt: each leaf can be unmapped separately; otherwise what was linked by one
 *	call must be unmapped as a whole
 */
struct iommu_domain {
	unsigned long pgsize_bitmap;
	bool is_iommupt;
};

struct iommu_domain *iommu_get_domain_for_dev(struct device *dev);

struct dma_iova_state {
	dma_addr_t addr;
	size_t size;
};

#define dma_use_iova(state)		((state)->size != 0)
#define dma_need_unmap(dev)		((dev)->must_unmap)
#define dev_dma_skip_sync(dev)		(!(dev)->bounces)
#define dma_addressing_limited(dev)	((void)(dev), false)
#define dma_mapping_error(dev, addr)	((void)(dev), (addr) == DMA_MAPPING_ERROR)

bool dma_iova_try_alloc(struct device *dev, struct dma_iova_state *state,
			phys_addr_t phys, size_t size);
void dma_iova_free(struct device *dev, struct dma_iova_state *state);
int dma_iova_link(struct device *dev, struct dma_iova_state *state,
		  phys_addr_t phys, size_t offset, size_t size,
		  enum dma_data_direction dir, unsigned long attrs);
void dma_iova_unlink(struct device *dev, struct dma_iova_state *state,
		     size_t offset, size_t size, enum dma_data_direction dir,
		     unsigned long attrs);
int dma_iova_sync(struct device *dev, struct dma_iova_state *state, size_t offset,
		  size_t size);
dma_addr_t dma_map_phys(struct device *dev, phys_addr_t phys, size_t size,
			enum dma_data_direction dir, unsigned long attrs);
void dma_unmap_phys(struct device *dev, dma_addr_t addr, size_t size,
		    enum dma_data_direction dir, unsigned long attrs);

enum pci_p2pdma_map_type {
	PCI_P2PDMA_MAP_NONE,
	PCI_P2PDMA_MAP_THRU_HOST_BRIDGE,
	PCI_P2PDMA_MAP_BUS_ADDR,
	PCI_P2PDMA_MAP_NOT_SUPPORTED,
};

struct pci_p2pdma_map_state {
	void *mem;
};

struct page;
enum pci_p2pdma_map_type pci_p2pdma_state(struct pci_p2pdma_map_state *state,
					  struct device *dev, struct page *page);
dma_addr_t pci_p2pdma_bus_addr_map(void *mem, phys_addr_t phys);

#endif /* HMM_USER_DMA_H */
