// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A region, a device and calls of mm/hmm_dma.c, all from choices, and what they
 * promise: at an address that was returned, the device accesses exactly the pages of
 * the answers, and after everything was undone nothing is left.
 */
#include <linux/hmm-dma.h>
#include "state.h"
#include "dma_state.h"

static struct device dev;
static struct hmm_dma_map map;
static struct pci_p2pdma_map_state p2p;

/* Pages of a DMA entry, and the entries of the region */
static unsigned int nr_pages, nr_entries;

/* Its address, as far as it was passed */
static unsigned long start;

static unsigned long any_pfn(unsigned int idx)
{
	unsigned long before = idx ? map.pfn_list[idx * nr_pages - 1] : 0;

	if ((before & HMM_PFN_VALID) && choose(4))
		return (before & ~HMM_PFN_FLAGS) + 1;
	return (choose(8) ? PFN_SYSTEM : PFN_OWN) + choose(WORLD_PAGES / 2);
}

static void any_answers(unsigned int idx)
{
	unsigned long *pfns = &map.pfn_list[idx * nr_pages];
	unsigned long pfn = any_pfn(idx), flags = HMM_PFN_VALID;
	unsigned int order = choose(2) ? choose(4) : 0, i;

	if (order && order <= WORLD_PTE_BITS) {
		flags |= (unsigned long)order << HMM_PFN_ORDER_SHIFT;
		pfn = ALIGN_DOWN(pfn, 1UL << order);
		/* The CPU's entry begins where the region does, or before */
		if (nr_pages >= 1U << order)
			pfn = ALIGN_DOWN(pfn, nr_pages);
	}
	if (choose(4))
		flags |= HMM_PFN_WRITE;
	for (i = 0; i < nr_pages; i++)
		pfns[i] = flags | (pfn + i);
	/* Pages that one CPU entry maps have the same answer */
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

static bool is_valid(unsigned int idx)
{
	return map.pfn_list[idx * nr_pages] & HMM_PFN_VALID;
}

static unsigned long pfn_of(unsigned int idx)
{
	return map.pfn_list[idx * nr_pages] & ~HMM_PFN_FLAGS;
}

static bool is_own(unsigned int idx)
{
	return is_valid(idx) && pfn_of(idx) >= PFN_OWN;
}

/* As the contract requires: all valid, contiguous, all writable or none */
static bool is_one_piece(unsigned int idx)
{
	const unsigned long *pfns = &map.pfn_list[idx * nr_pages];
	unsigned int i;

	for (i = 0; i < nr_pages; i++) {
		if (!(pfns[i] & HMM_PFN_VALID))
			return false;
		/* It may have been set since then */
		if (((pfns[i] ^ pfns[0]) & HMM_PFN_WRITE) && !is_mapped(idx))
			return false;
		if ((pfns[i] & ~HMM_PFN_FLAGS) != (pfns[0] & ~HMM_PFN_FLAGS) + i)
			return false;
		if (dma.p2p[(pfn_of(idx) + i) % WORLD_PAGES] !=
		    dma.p2p[pfn_of(idx) % WORLD_PAGES])
			return false;
	}
	return true;
}

static enum pci_p2pdma_map_type route_of(unsigned int idx)
{
	return dma.p2p[pfn_of(idx) % WORLD_PAGES];
}

/* Without IOVA space, contiguous memory must be aligned to its size */
static bool can_be_mapped(unsigned int idx)
{
	if (!is_one_piece(idx) || is_own(idx) ||
	    route_of(idx) == PCI_P2PDMA_MAP_NOT_SUPPORTED)
		return false;
	if (map.state.size && route_of(idx) != PCI_P2PDMA_MAP_BUS_ADDR)
		return true;
	return !(pfn_of(idx) % nr_pages);
}

static enum dma_data_direction dir_of(unsigned int idx)
{
	return map.by_access && !(map.pfn_list[idx * nr_pages] & HMM_PFN_WRITE) ?
		DMA_TO_DEVICE : DMA_BIDIRECTIONAL;
}

static void check_reached(unsigned int idx, dma_addr_t addr)
{
	bool bus = map.pfn_list[idx * nr_pages] & HMM_PFN_P2PDMA_BUS;
	unsigned int i;

	promise(bus == (route_of(idx) == PCI_P2PDMA_MAP_BUS_ADDR),
		"dma: a bus address is marked as one");
	/* A huge page can be a large leaf, if one fits into the region */
	if (!bus && map.state.size && nr_entries * nr_pages >= PTRS_PER_PTE)
		promise(!((addr ^ (start + idx * nr_pages * PAGE_SIZE)) & ~PMD_MASK),
			"dma: IOVA space is laid out like memory");
	for (i = 0; i < nr_pages; i++)
		promise(dma_reaches(&dev, &map.state, addr + i * PAGE_SIZE,
				    __pfn_to_phys(pfn_of(idx) + i), bus, dir_of(idx)),
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
		promise(is_mapped(idx) == was, "dma: an entry that was not mapped is not marked");
		return;
	}
	promise(can_be_mapped(idx), "dma: an entry that cannot be mapped is not mapped");
	promise(is_mapped(idx), "dma: a mapped entry is marked");
	check_reached(idx, addr);
}

/* Whether hmm_dma_map_range() must link that one */
static bool is_to_link(unsigned int idx)
{
	return is_valid(idx) && !is_own(idx) && !is_mapped(idx) &&
	       can_be_mapped(idx) && map.state.size &&
	       route_of(idx) != PCI_P2PDMA_MAP_BUS_ADDR;
}

/* The number of links, if all can be mapped: one for each run of memory */
static unsigned int nr_runs(unsigned int idx, unsigned int nr)
{
	unsigned int i, runs = 0;

	for (i = idx; i < idx + nr; i++)
		runs += is_to_link(i) &&
			(i == idx || !is_to_link(i - 1) ||
			 pfn_of(i) != pfn_of(i - 1) + nr_pages ||
			 route_of(i) != route_of(i - 1) || dir_of(i) != dir_of(i - 1));
	return runs;
}

static void check_calls(int ret, unsigned int runs)
{
	promise(dma.syncs <= 1, "dma: a range takes one sync");
	if (ret || !map.state.size)
		return;
	promise(dma.syncs == !!runs, "dma: links are synced");
	if (dma.iommu.is_iommupt)
		promise(dma.links == runs, "dma: one link for each run of memory");
}

/* The entry that was answered during hmm_dma_map_range(), or nr_entries */
static unsigned int late;

/* hmm_range_fault(), called by another thread, takes no lock */
static void answer_late(void)
{
	unsigned int idx = choose(nr_entries);

	if (is_valid(idx) || is_mapped(idx))
		return;
	late = idx;
	any_answers(idx);
}

static void map_range(unsigned int idx, unsigned int nr)
{
	unsigned int twists = dma.twists, i, runs = nr_runs(idx, nr);
	int ret;

	dma.links = 0;
	dma.syncs = 0;
	late = nr_entries;
	dma.meanwhile = choose(4) ? NULL : answer_late;
	ret = hmm_dma_map_range(&dev, &map, idx, nr, &p2p);
	dma.meanwhile = NULL;
	check_calls(ret, runs);
	promise(late == nr_entries || !is_mapped(late),
		"dma: what is answered after the links is not marked");
	for (i = idx; i < idx + nr; i++) {
		promise(!is_mapped(i) || can_be_mapped(i),
			"dma: an entry that cannot be mapped is not mapped");
		if (!ret && is_valid(i) && i != late)
			promise(is_mapped(i) != is_own(i),
				"dma: 0 if all that is valid and not own is mapped");
		if (ret == -EFAULT && i == idx && nr == 1)
			promise(!can_be_mapped(i), "dma: -EFAULT if it is not contiguous");
		if (is_mapped(i) && !(map.pfn_list[i * nr_pages] & HMM_PFN_P2PDMA_BUS) &&
		    map.state.size)
			check_reached(i, hmm_dma_map_pfn(&dev, &map, i, &p2p));
	}
	if (ret && twists == dma.twists) {
		for (i = idx; i < idx + nr && (can_be_mapped(i) || is_own(i)); i++)
			;
		promise(i < idx + nr, "dma: an error has a reason");
	}
}

/* Entries that must stay mapped do, and the others do not */
static void check_unmapped(unsigned int idx, unsigned int nr, const bool *was)
{
	unsigned int i;

	for (i = 0; i < nr_entries; i++) {
		if (i < idx || i >= idx + nr) {
			promise(is_mapped(i) == was[i], "dma: the rest does not change");
			continue;
		}
		promise(!was[i] || !(map.pfn_list[i * nr_pages] & HMM_PFN_STICKY),
			"dma: an unmapped entry says so");
	}
}

/* Whether a leaf could map the one entry and the other; bus addresses have none */
static bool share_leaf(size_t one, size_t other)
{
	const size_t bytes = nr_pages * PAGE_SIZE, before = map.state.addr + map.head;
	unsigned long iova = before + one * bytes, phys = __pfn_to_phys(pfn_of(one));
	unsigned long size;

	if (map.pfn_list[one * nr_pages] & HMM_PFN_P2PDMA_BUS)
		return false;
	for (size = bytes; size <= PUD_SIZE; size *= 2)
		if ((dma.iommu.pgsize_bitmap & size) && !((iova ^ phys) & (size - 1)) &&
		    !((iova ^ (before + other * bytes)) & -size))
			return true;
	return false;
}

static void check_widened(size_t idx, size_t nr, size_t asked, size_t nr_asked)
{
	size_t i;

	promise(idx <= asked && idx + nr >= asked + nr_asked && idx + nr <= nr_entries,
		"dma: what is unmapped is what was asked for, and more");
	if (!map.runs || dma.iommu.pgsize_bitmap <= map.dma_entry_size)
		promise(nr == nr_asked, "dma: no more if there are no large leaves");
	for (i = idx; i < idx + nr; i++)
		promise((i >= asked && i < asked + nr_asked) ||
			(is_mapped(i) && share_leaf(i < asked ? asked :
						    asked + nr_asked - 1, i)),
			"dma: no more than one leaf may map");
}

/* Some entries, with one of the calls; @one: a call for one entry */
static void unmap_some(unsigned int asked, unsigned int nr_asked, bool one)
{
	bool was[DMA_PAGES];
	size_t idx = asked, nr = nr_asked, did, i, mapped = 0;

	hmm_dma_widen(&map, &idx, &nr);
	check_widened(idx, nr, asked, nr_asked);
	for (i = 0; i < nr_entries; i++) {
		was[i] = is_mapped(i);
		mapped += was[i] && i >= idx && i < idx + nr;
	}
	dma.unlinks = 0;
	if (one) {
		did = hmm_dma_unmap_pfn(&dev, &map, asked);
		promise(did == was[asked], "dma: true if it was mapped");
		if (!did)
			return;
	} else {
		did = hmm_dma_unmap_range(&dev, &map, asked, nr_asked);
		promise(did == mapped, "dma: as many as were mapped");
	}
	check_unmapped(idx, nr, was);
	for (i = idx; i < idx + nr && was[i] && route_of(i) == route_of(idx); i++)
		;
	if (i == idx + nr)
		promise(dma.unlinks <= 1, "dma: one flush if there is no gap");
}

static void unmap_one(unsigned int idx)
{
	unmap_some(idx, 1, true);
}

/* A page that the CPU has made writable since */
static void upgrade(unsigned int idx)
{
	unsigned int i;

	if (map.by_access || !is_mapped(idx))
		return;
	for (i = 0; i < nr_pages; i++)
		if (!map.state.size || route_of(idx) == PCI_P2PDMA_MAP_BUS_ADDR ||
		    choose(4))
			map.pfn_list[idx * nr_pages + i] |= HMM_PFN_WRITE;
}

static void call_any(void)
{
	unsigned int idx = choose(nr_entries);

	switch (choose(7)) {
	case 0:
		map_one(idx);
		break;
	case 1:
	case 2:
		map_range(idx, 1 + choose(nr_entries - idx));
		break;
	case 3:
		unmap_one(idx);
		break;
	case 4:
		unmap_some(idx, 1 + choose(nr_entries - idx), false);
		break;
	case 5:
		upgrade(idx);
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
		dma.p2p[idx] = idx && choose(4) ? dma.p2p[idx - 1] :
			       choose(2) ? PCI_P2PDMA_MAP_NONE : choose(4);
	dma.iommu.is_iommupt = choose(4);
	dma.iommu.pgsize_bitmap = PAGE_SIZE | (choose(2) ? PMD_SIZE : 0) |
				  (choose(2) ? 2 * PAGE_SIZE | PUD_SIZE : 0);
	dev.has_iova = choose(2);
	dev.must_unmap = choose(2);
	dev.bounces = !choose(8);
	nr_pages = 1 << choose(3);
	nr_entries = 1 + choose(nr_pages == 1 ? 16 : 4);
	if (!choose(8)) {
		nr = choose(2);
		ret = hmm_dma_map_alloc(&dev, &map, nr, wrong[choose(3)]);
		promise(ret == -EINVAL, "dma: -EINVAL for an invalid region");
		ret = hmm_dma_map_alloc_at(&dev, &map, PAGE_SIZE, 2, 2 * PAGE_SIZE);
		promise(ret == -EINVAL, "dma: -EINVAL for half an entry");
		ret = hmm_dma_map_alloc_at(&dev, &map, -PAGE_SIZE, 2, PAGE_SIZE);
		promise(ret == -EINVAL, "dma: -EINVAL beyond the last address");
		return ret;
	}
	nr = nr_entries * nr_pages - choose(nr_pages);
	start = choose(2) ? WORLD_START + choose(8) * nr_pages * PAGE_SIZE : 0;
	if (!start)
		ret = hmm_dma_map_alloc(&dev, &map, nr, nr_pages * PAGE_SIZE);
	else
		ret = hmm_dma_map_alloc_at(&dev, &map, start, nr,
					   nr_pages * PAGE_SIZE);
	map.by_access = choose(2);
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
		promise(hmm_dma_in_use(), "sticky: sticky bits are handled while a region exists");
		for (idx = 0; idx < nr_entries; idx++)
			any_answers(idx);
		while (calls--)
			call_any();
		for (idx = 0; idx < nr_entries; idx++)
			unmap_one(idx);
		hmm_dma_map_free(&dev, &map);
	}
	promise(!dma.direct || !dev.must_unmap, "dma: nothing stays mapped");
	promise(!w.allocated, "memory: none is left");
	promise(!hmm_dma_in_use(), "sticky: no region, no sticky bits");
}
