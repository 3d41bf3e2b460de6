// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The DMA layer of the world: which memory a device reaches at an address, by page.
 *
 * IOVA space is one array, memory that is mapped without it another.  Both are for
 * one device and one region at a time.
 */
#include "state.h"
#include "dma_state.h"

struct dma_world dma;

#define IOVA_START	0x100000000UL
#define DIRECT_START	0x800000000000UL
#define BUS_START	0x400000000000UL

static struct dma_page *iova_page(const struct dma_iova_state *state, size_t offset)
{
	promise(!(offset & ~(-PAGE_SIZE)), "dma: IOVA is used in pages");
	promise(offset < state->size, "dma: only the region's own IOVA is used");
	return &dma.iova[offset >> PAGE_SHIFT];
}

bool dma_iova_try_alloc(struct device *dev, struct dma_iova_state *state,
			phys_addr_t phys, size_t size)
{
	if (!dev->has_iova)
		return false;
	promise(size <= DMA_PAGES * PAGE_SIZE, "dma: the region fits");
	state->addr = IOVA_START;
	state->size = size;
	return true;
}

void dma_iova_free(struct device *dev, struct dma_iova_state *state)
{
	size_t i;

	for (i = 0; i < DMA_PAGES; i++)
		promise(!dma.iova[i].linked, "dma: nothing is linked in freed IOVA");
	state->size = 0;
}

struct iommu_domain *iommu_get_domain_for_dev(struct device *dev)
{
	return &dma.iommu;
}

/* The largest leaf that fits, or everything if it must be unlinked as a whole */
static size_t leaf_size(phys_addr_t phys, size_t offset, size_t size)
{
	unsigned long both = (IOVA_START + offset) | phys, leaf = PAGE_SIZE;

	if (!dma.iommu.is_iommupt)
		return size;
	while (2 * leaf <= size && !(both & (2 * leaf - 1)))
		leaf *= 2;
	while (!(dma.iommu.pgsize_bitmap & leaf))
		leaf /= 2;
	return leaf;
}

int dma_iova_link(struct device *dev, struct dma_iova_state *state,
		  phys_addr_t phys, size_t offset, size_t size,
		  enum dma_data_direction dir, unsigned long attrs)
{
	struct dma_page *to;
	size_t done, leaf = 0, first = 0;

	promise(attrs & DMA_ATTR_REQUIRE_COHERENT, "dma: no bounce buffer");
	dma.links++;
	if (dma.twists && choose(2)) {
		dma.twists--;
		return -ENOMEM;
	}
	for (done = 0; done < size; done += PAGE_SIZE) {
		if (done == first + leaf) {
			first = done;
			leaf = leaf_size(phys + done, offset + done, size - done);
		}
		to = iova_page(state, offset + done);
		promise(!to->linked, "dma: IOVA is linked once");
		*to = (struct dma_page){
			.linked = true, .phys = phys + done, .attrs = attrs,
			.dir = dir, .first = offset + first, .nr = leaf,
		};
	}
	return 0;
}

void dma_iova_unlink(struct device *dev, struct dma_iova_state *state,
		     size_t offset, size_t size, enum dma_data_direction dir,
		     unsigned long attrs)
{
	struct dma_page *to;
	size_t done;

	dma.unlinks++;
	for (done = 0; done < size; done += PAGE_SIZE) {
		to = iova_page(state, offset + done);
		promise(to->linked, "dma: only linked entries are unlinked");
		promise(to->attrs == attrs, "dma: unlinked with the attributes of the link");
		promise(to->first >= offset && to->first + to->nr <= offset + size,
			"dma: no leaf is unlinked in part");
		*to = (struct dma_page){ };
	}
}

int dma_iova_sync(struct device *dev, struct dma_iova_state *state, size_t offset,
		  size_t size)
{
	size_t done;

	dma.syncs++;
	if (dma.meanwhile)
		dma.meanwhile();
	promise(iova_page(state, offset)->linked &&
		iova_page(state, offset + size - PAGE_SIZE)->linked,
		"dma: what is synced was linked");
	if (dma.twists && choose(2)) {
		dma.twists--;
		return -ENOMEM;
	}
	for (done = 0; done < size; done += PAGE_SIZE)
		iova_page(state, offset + done)->synced = true;
	return 0;
}

dma_addr_t dma_map_phys(struct device *dev, phys_addr_t phys, size_t size,
			enum dma_data_direction dir, unsigned long attrs)
{
	if (dma.twists && choose(2)) {
		dma.twists--;
		return DMA_MAPPING_ERROR;
	}
	dma.direct++;
	return DIRECT_START + phys;
}

void dma_unmap_phys(struct device *dev, dma_addr_t addr, size_t size,
		    enum dma_data_direction dir, unsigned long attrs)
{
	promise(addr >= DIRECT_START, "dma: only mapped entries are unmapped");
	promise(dma.direct > 0, "dma: unmapped once");
	dma.direct--;
}

bool is_device_private_page(const struct page *page)
{
	return page - world_memory >= PFN_OWN;
}

/* The way to access a page depends on nothing else */
bool zone_device_pages_have_same_pgmap(const struct page *a, const struct page *b)
{
	return is_device_private_page(a) == is_device_private_page(b) &&
	       dma.p2p[(a - world_memory) % WORLD_PAGES] ==
	       dma.p2p[(b - world_memory) % WORLD_PAGES];
}

enum pci_p2pdma_map_type pci_p2pdma_state(struct pci_p2pdma_map_state *state,
					  struct device *dev, struct page *page)
{
	return dma.p2p[(page - world_memory) % WORLD_PAGES];
}

dma_addr_t pci_p2pdma_bus_addr_map(void *mem, phys_addr_t phys)
{
	return BUS_START + phys;
}

bool dma_reaches(const struct device *dev, const struct dma_iova_state *state,
		 dma_addr_t addr, phys_addr_t phys, bool bus,
		 enum dma_data_direction dir)
{
	const struct dma_page *at;

	if (bus)
		return addr == BUS_START + phys;
	if (!state->size)
		return addr == DIRECT_START + phys;
	if (addr < IOVA_START || addr >= IOVA_START + state->size)
		return false;
	at = &dma.iova[(addr - IOVA_START) >> PAGE_SHIFT];
	return at->linked && at->synced && at->phys == phys && at->dir == dir;
}
