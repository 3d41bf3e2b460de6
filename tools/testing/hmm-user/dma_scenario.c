// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A region, a device and calls of mm/hmm_dma.c, all of choices, and what they
 * promise: at an address that was handed out the device reaches the very pages that
 * the answers name, and after all was undone nothing is left.
 */
#include <linux/hmm-dma.h>
#include "state.h"
#include "dma_state.h"

static struct device dev;
static struct hmm_dma_map map;
static struct pci_p2pdma_map_state p2p;

/* Pages of a DMA entry, and the entries of the region */
static unsigned int nr_pages, nr_entries;

static void any_answers(unsigned int idx)
{
	unsigned long *pfns = &map.pfn_list[idx * nr_pages];
	unsigned long pfn = PFN_SYSTEM + choose(WORLD_PAGES), flags = HMM_PFN_VALID;
	unsigned int order = choose(4), i;

	if (order && order <= WORLD_PTE_BITS) {
		flags |= (unsigned long)order << HMM_PFN_ORDER_SHIFT;
		pfn = ALIGN_DOWN(pfn, 1UL << order);
		/* The CPU's entry begins where the region does, or before */
		if (nr_pages >= 1U << order)
			pfn = ALIGN_DOWN(pfn, nr_pages);
	}
	if (choose(2))
		flags |= HMM_PFN_WRITE;
	for (i = 0; i < nr_pages; i++)
		pfns[i] = flags | (pfn + i);
	/* Pages that the CPU maps by one entry are alike */
	if (1U << order >= nr_pages && nr_pages > 1 && order)
		return;
	if (!choose(4))
		pfns[choose(nr_pages)] = 0;
	if (!choose(4))
		pfns[choose(nr_pages)] ^= HMM_PFN_WRITE;
	if (!order && !choose(4))
		pfns[choose(nr_pages)] += 1;
}

static bool is_mapped(unsigned int idx)
{
	return map.pfn_list[idx * nr_pages] & HMM_PFN_DMA_MAPPED;
}

/* As the contract has it: valid throughout, one piece, writable or not */
static bool is_one_piece(unsigned int idx)
{
	const unsigned long *pfns = &map.pfn_list[idx * nr_pages];
	unsigned int i;

	for (i = 0; i < nr_pages; i++) {
		if (!(pfns[i] & HMM_PFN_VALID))
			return false;
		if ((pfns[i] ^ pfns[0]) & HMM_PFN_WRITE)
			return false;
		if ((pfns[i] & ~HMM_PFN_FLAGS) != (pfns[0] & ~HMM_PFN_FLAGS) + i)
			return false;
	}
	return true;
}

static enum pci_p2pdma_map_type route_of(unsigned int idx)
{
	unsigned long pfn = map.pfn_list[idx * nr_pages] & ~HMM_PFN_FLAGS;

	return dma.p2p[pfn % WORLD_PAGES];
}

/* Without IOVA space to map it to, a piece of memory must begin at its own size */
static bool can_be_mapped(unsigned int idx)
{
	unsigned long pfn = map.pfn_list[idx * nr_pages] & ~HMM_PFN_FLAGS;

	if (!is_one_piece(idx) || route_of(idx) == PCI_P2PDMA_MAP_NOT_SUPPORTED)
		return false;
	if (map.state.size && route_of(idx) != PCI_P2PDMA_MAP_BUS_ADDR)
		return true;
	return !(pfn % nr_pages);
}

static void check_reached(unsigned int idx, dma_addr_t addr)
{
	bool bus = map.pfn_list[idx * nr_pages] & HMM_PFN_P2PDMA_BUS;
	unsigned long pfn = map.pfn_list[idx * nr_pages] & ~HMM_PFN_FLAGS;
	unsigned int i;

	promise(bus == (route_of(idx) == PCI_P2PDMA_MAP_BUS_ADDR),
		"dma: a bus address is marked as one");
	for (i = 0; i < nr_pages; i++)
		promise(dma_reaches(&dev, &map.state, addr + i * PAGE_SIZE,
				    __pfn_to_phys(pfn + i), bus),
			"dma: the device reaches the pages of the answers");
}

static void map_one(unsigned int idx)
{
	bool was = is_mapped(idx), twisted;
	unsigned int twists = dma.twists;
	dma_addr_t addr = hmm_dma_map_pfn(&dev, &map, idx, &p2p);

	twisted = twists != dma.twists;
	if (addr == DMA_MAPPING_ERROR) {
		promise(twisted || !can_be_mapped(idx),
			"dma: what can be mapped is mapped");
		promise(is_mapped(idx) == was, "dma: what is not mapped does not say so");
		return;
	}
	promise(can_be_mapped(idx), "dma: what cannot be mapped is not mapped");
	promise(is_mapped(idx), "dma: what is mapped says so");
	check_reached(idx, addr);
}

static void map_range(unsigned int idx, unsigned int nr)
{
	unsigned int twists = dma.twists, i;
	int ret = hmm_dma_map_range(&dev, &map, idx, nr, &p2p);

	for (i = idx; i < idx + nr; i++) {
		promise(!is_mapped(i) || can_be_mapped(i),
			"dma: what cannot be mapped is not mapped");
		if (!ret && (map.pfn_list[i * nr_pages] & HMM_PFN_VALID))
			promise(is_mapped(i), "dma: 0 if all that is valid is mapped");
		if (ret == -EFAULT && i == idx && nr == 1)
			promise(!can_be_mapped(i), "dma: -EFAULT if it is not one piece");
	}
	if (ret && twists == dma.twists) {
		for (i = idx; i < idx + nr && can_be_mapped(i); i++)
			;
		promise(i < idx + nr, "dma: an error has a reason");
	}
}

static void unmap_one(unsigned int idx)
{
	unsigned long *pfn = &map.pfn_list[idx * nr_pages];
	bool was = is_mapped(idx) && (*pfn & HMM_PFN_VALID);
	bool did = hmm_dma_unmap_pfn(&dev, &map, idx);

	promise(did == was, "dma: true if it was mapped");
	if (did)
		promise(!(*pfn & HMM_PFN_STICKY), "dma: an unmapped entry says so");
}

static void call_any(void)
{
	unsigned int idx = choose(nr_entries);

	switch (choose(4)) {
	case 0:
		map_one(idx);
		break;
	case 1:
		map_range(idx, 1 + choose(nr_entries - idx));
		break;
	case 2:
		unmap_one(idx);
		break;
	default:
		/* The notifier is called, and a fault has new answers */
		unmap_one(idx);
		if (!is_mapped(idx))
			any_answers(idx);
	}
}

static int any_map(void)
{
	static const size_t wrong[] = { 0, PAGE_SIZE / 2, 3 * PAGE_SIZE };
	unsigned int idx, nr;
	int ret;

	memset(&dma, 0, sizeof(dma));
	dma.twists = choose(3);
	for (idx = 0; idx < WORLD_PAGES; idx++)
		dma.p2p[idx] = choose(4) ? PCI_P2PDMA_MAP_NONE : choose(4);
	dev.has_iova = choose(2);
	dev.must_unmap = choose(2);
	dev.bounces = !choose(8);
	nr_pages = 1 << choose(3);
	nr_entries = 1 + choose(4);
	if (!choose(8)) {
		nr = choose(2);
		ret = hmm_dma_map_alloc(&dev, &map, nr, wrong[choose(3)]);
		promise(ret == -EINVAL, "dma: -EINVAL for what is no region");
		return ret;
	}
	ret = hmm_dma_map_alloc(&dev, &map, nr_entries * nr_pages - choose(nr_pages),
				nr_pages * PAGE_SIZE);
	if (dev.bounces)
		promise(ret == -EOPNOTSUPP, "dma: -EOPNOTSUPP for bounce buffers");
	else
		promise(!ret || (ret == -ENOMEM && w.allocation_failed),
			"dma: -ENOMEM if memory was not to be had");
	return ret;
}

void scenario_dma(const struct bounds *b)
{
	unsigned int calls = 8, idx;

	world_begin();
	hmm_dma_maps.counter = 0;
	w.twists = b->twists;
	if (!any_map()) {
		promise(hmm_dma_in_use(), "10: sticky bits are taken care of");
		for (idx = 0; idx < nr_entries; idx++)
			any_answers(idx);
		while (calls--)
			call_any();
		for (idx = 0; idx < nr_entries; idx++)
			unmap_one(idx);
		hmm_dma_map_free(&dev, &map);
	}
	promise(!dma.direct || !dev.must_unmap, "dma: nothing stays mapped");
	promise(!w.allocated, "8: no memory is left");
	promise(!hmm_dma_in_use(), "10: no region, no sticky bits");
}
