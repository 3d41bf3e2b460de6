// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Copyright 2013 Red Hat Inc.
 * Copyright (c) 2024 NVIDIA Corporation & Affiliates
 *
 * Authors: Jérôme Glisse <jglisse@redhat.com>
 *
 * Answers of hmm_range_fault(), mapped for DMA.
 *
 * hmm_range_fault() answers by page.  A device maps by DMA entries, of one page or
 * more.  Each function here says which of the two it counts in.
 *
 * The driver's lock, which its notifier takes too, is held by all who map and
 * unmap; it keeps the answers as they are.  hmm_range_fault() does not take it, so
 * bits in entries are changed in one go.
 */
#include <linux/hmm-dma.h>
#include <linux/hmm.h>
#include <linux/log2.h>
#include <linux/pci-p2pdma.h>
#include <linux/slab.h>
#include <trace/events/hmm.h>

/* Regions that there are: hmm_range_fault() takes care of sticky bits if any */
atomic_t hmm_dma_maps = ATOMIC_INIT(0);

static void hmm_dma_set(unsigned long *entry, unsigned long bits)
{
	set_mask_bits(entry, 0, bits);
}

static void hmm_dma_clear(unsigned long *entry)
{
	set_mask_bits(entry, HMM_PFN_STICKY, 0);
}

/* HMM has no buffers to hand over, nor could it copy what a device has written */
static bool hmm_dma_needs_sync(struct device *dev)
{
	return (IS_ENABLED(CONFIG_DMA_NEED_SYNC) && !dev_dma_skip_sync(dev)) ||
	       dma_addressing_limited(dev);
}

/**
 * hmm_dma_map_alloc() - prepare to map a region for DMA
 * @dev: the device that does DMA
 * @map: to be set up; nothing in it needs to be set before
 * @nr_entries: pages in the region, which is how long @map->pfn_list gets
 * @dma_entry_size: bytes the device maps with one entry, a power of two of at
 *	least PAGE_SIZE. The last entry may reach beyond the region.
 *
 * Context: Process context, may sleep.
 * Return: 0; undone by hmm_dma_map_free(). Otherwise there is nothing to undo:
 *
 * * -EINVAL: @nr_entries is 0, or no @dma_entry_size of that kind
 * * -EOPNOTSUPP: the device would need bounce buffers or cache maintenance, which
 *   memory shared with a process cannot have
 * * -ENOMEM
 */
int hmm_dma_map_alloc(struct device *dev, struct hmm_dma_map *map,
		      size_t nr_entries, size_t dma_entry_size)
{
	size_t nr_dma, size;

	*map = (struct hmm_dma_map) { .dma_entry_size = dma_entry_size };
	if (!nr_entries || !is_power_of_2(dma_entry_size) ||
	    dma_entry_size < PAGE_SIZE ||
	    check_mul_overflow(nr_entries, PAGE_SIZE, &size) ||
	    check_add_overflow(size, dma_entry_size - 1, &size))
		return -EINVAL;
	if (hmm_dma_needs_sync(dev))
		return -EOPNOTSUPP;

	nr_dma = size / dma_entry_size;
	size = nr_dma * dma_entry_size;
	map->pfn_list = kvcalloc(size >> PAGE_SHIFT, sizeof(*map->pfn_list),
				 GFP_KERNEL | __GFP_NOWARN);
	if (!map->pfn_list)
		return -ENOMEM;
	atomic_inc(&hmm_dma_maps);
	if (dma_iova_try_alloc(dev, &map->state, 0, size) ||
	    !dma_need_unmap(dev))
		return 0;

	map->dma_list = kvcalloc(nr_dma, sizeof(*map->dma_list),
				 GFP_KERNEL | __GFP_NOWARN);
	if (!map->dma_list) {
		hmm_dma_map_free(dev, map);
		return -ENOMEM;
	}
	return 0;
}
EXPORT_SYMBOL_GPL(hmm_dma_map_alloc);

/**
 * hmm_dma_map_free() - undo hmm_dma_map_alloc()
 * @dev: the device
 * @map: the region, of which nothing is mapped any more
 *
 * Does nothing to a @map that is free already, or could not be set up.
 *
 * Context: Process context, may sleep.
 */
void hmm_dma_map_free(struct device *dev, struct hmm_dma_map *map)
{
	if (dma_use_iova(&map->state))
		dma_iova_free(dev, &map->state);
	if (map->pfn_list)
		atomic_dec(&hmm_dma_maps);
	kvfree(map->pfn_list);
	kvfree(map->dma_list);
	*map = (struct hmm_dma_map) { };
}
EXPORT_SYMBOL_GPL(hmm_dma_map_free);

/* Whether the pages of a DMA entry are one piece of memory, of the same flags */
static bool hmm_dma_is_one_piece(const struct hmm_dma_map *map,
				 const unsigned long *entry)
{
	const unsigned long fixed = HMM_PFN_VALID | HMM_PFN_WRITE |
				    ((1UL << HMM_PFN_ORDER_SHIFT) - 1);
	size_t i, nr = map->dma_entry_size >> PAGE_SHIFT;
	unsigned long first = entry[0] & fixed;

	if (!(first & HMM_PFN_VALID))
		return false;
	/* The CPU maps them as one, too */
	if (1UL << hmm_pfn_to_map_order(entry[0]) >= nr && !(first & (nr - 1)))
		return true;
	for (i = 1; i < nr; i++)
		if ((entry[i] & fixed) != first + i)
			return false;
	return true;
}

/* The address of an entry that is mapped, where it can be told from the index */
static bool hmm_dma_is_mapped(struct device *dev, struct hmm_dma_map *map,
			      size_t idx, dma_addr_t *addr)
{
	unsigned long entry = *hmm_dma_pfn(map, idx);

	if (!(entry & HMM_PFN_DMA_MAPPED) || (entry & HMM_PFN_P2PDMA_BUS))
		return false;
	if (dma_use_iova(&map->state))
		*addr = map->state.addr + idx * map->dma_entry_size;
	else if (map->dma_list)
		*addr = map->dma_list[idx];
	else
		return false;	/* mapped without a trace: the same again */
	return true;
}

static int hmm_dma_link(struct device *dev, struct hmm_dma_map *map, size_t idx,
			unsigned long attrs)
{
	return dma_iova_link(dev, &map->state,
			     hmm_pfn_to_phys(*hmm_dma_pfn(map, idx)),
			     idx * map->dma_entry_size, map->dma_entry_size,
			     DMA_BIDIRECTIONAL, attrs);
}

static void hmm_dma_unlink(struct device *dev, struct hmm_dma_map *map,
			   size_t idx, unsigned long attrs)
{
	dma_iova_unlink(dev, &map->state, idx * map->dma_entry_size,
			map->dma_entry_size, DMA_BIDIRECTIONAL, attrs);
}

static unsigned long hmm_dma_attrs(unsigned long entry)
{
	return DMA_ATTR_REQUIRE_COHERENT |
	       (entry & HMM_PFN_P2PDMA ? DMA_ATTR_MMIO : 0);
}

/*
 * How an entry is reached: sets HMM_PFN_P2PDMA in @how, or HMM_PFN_P2PDMA_BUS
 * and @addr.
 */
static int hmm_dma_route(struct device *dev, const struct hmm_dma_map *map,
			 size_t idx, struct pci_p2pdma_map_state *p2pdma_state,
			 unsigned long *how, dma_addr_t *addr)
{
	unsigned long *entry = hmm_dma_pfn(map, idx);

	*how = 0;
	if (!hmm_dma_is_one_piece(map, entry))
		return -EFAULT;
	switch (pci_p2pdma_state(p2pdma_state, dev, hmm_pfn_to_page(*entry))) {
	case PCI_P2PDMA_MAP_NONE:
		return 0;
	case PCI_P2PDMA_MAP_THRU_HOST_BRIDGE:
		*how = HMM_PFN_P2PDMA;
		return 0;
	case PCI_P2PDMA_MAP_BUS_ADDR:
		*how = HMM_PFN_P2PDMA_BUS;
		*addr = pci_p2pdma_bus_addr_map(p2pdma_state->mem,
						hmm_pfn_to_phys(*entry));
		return IS_ALIGNED(*addr, map->dma_entry_size) ? 0 : -EFAULT;
	default:
		return -EREMOTEIO;
	}
}

/* One entry by itself: linked and synced, or mapped; its bits are not set */
static int hmm_dma_map_one(struct device *dev, struct hmm_dma_map *map,
			   size_t idx, unsigned long attrs, dma_addr_t *addr)
{
	size_t size = map->dma_entry_size;
	int ret;

	if (!dma_use_iova(&map->state)) {
		*addr = dma_map_phys(dev, hmm_pfn_to_phys(*hmm_dma_pfn(map, idx)),
				     size, DMA_BIDIRECTIONAL, attrs);
		if (dma_mapping_error(dev, *addr))
			return -EIO;
		/* Devices have no place for low bits of large pages' addresses */
		if (!IS_ALIGNED(*addr, size)) {
			dma_unmap_phys(dev, *addr, size, DMA_BIDIRECTIONAL, attrs);
			return -EFAULT;
		}
		if (map->dma_list)
			map->dma_list[idx] = *addr;
		return 0;
	}

	*addr = map->state.addr + idx * size;
	ret = hmm_dma_link(dev, map, idx, attrs);
	if (ret)
		return ret;
	ret = dma_iova_sync(dev, &map->state, idx * size, size);
	if (ret)
		hmm_dma_unlink(dev, map, idx, attrs);
	return ret;
}

/* Any entry, in whichever way it is reached: 0, with @addr set, or an error */
static int hmm_dma_map_entry(struct device *dev, struct hmm_dma_map *map,
			     size_t idx,
			     struct pci_p2pdma_map_state *p2pdma_state,
			     dma_addr_t *addr)
{
	unsigned long how;
	int ret;

	if (hmm_dma_is_mapped(dev, map, idx, addr))
		return 0;
	ret = hmm_dma_route(dev, map, idx, p2pdma_state, &how, addr);
	if (!ret && how != HMM_PFN_P2PDMA_BUS)
		ret = hmm_dma_map_one(dev, map, idx, hmm_dma_attrs(how), addr);
	trace_hmm_dma_map(dev, map, idx, 1, ret);
	if (ret)
		return ret;
	hmm_dma_set(hmm_dma_pfn(map, idx), how | HMM_PFN_DMA_MAPPED);
	return 0;
}

/**
 * hmm_dma_map_pfn() - map the pages of one DMA entry
 * @dev: the device
 * @map: the region
 * @idx: which DMA entry of the region
 * @p2pdma_state: zeroed before the first of a series of calls
 *
 * Maps for both directions; whether the device may write is for the caller to
 * see: HMM_PFN_WRITE in ``*hmm_dma_pfn(map, idx)``. Sets HMM_PFN_DMA_MAPPED there.
 * An entry that is mapped already is not mapped again, and its address returned.
 *
 * Context: Under the lock that the notifier takes, after
 * mmu_interval_read_retry() was false.
 * Return: the DMA address, or DMA_MAPPING_ERROR: the entry's pages are not valid
 * throughout, not physically contiguous or differ in HMM_PFN_WRITE; there is no
 * IOVA space to map them to, and their address is not aligned to the entry's size;
 * the device cannot reach them; or there is no room. Nothing has changed then.
 */
dma_addr_t hmm_dma_map_pfn(struct device *dev, struct hmm_dma_map *map,
			   size_t idx,
			   struct pci_p2pdma_map_state *p2pdma_state)
{
	dma_addr_t addr;

	if (hmm_dma_map_entry(dev, map, idx, p2pdma_state, &addr))
		return DMA_MAPPING_ERROR;
	return addr;
}
EXPORT_SYMBOL_GPL(hmm_dma_map_pfn);

/* 1: linked, but not synced; 0: not to be linked, or needs no link; or an error */
static int hmm_dma_link_next(struct device *dev, struct hmm_dma_map *map,
			     size_t idx,
			     struct pci_p2pdma_map_state *p2pdma_state)
{
	unsigned long how, *entry = hmm_dma_pfn(map, idx);
	dma_addr_t addr;
	int ret;

	if (!(*entry & HMM_PFN_VALID) || (*entry & HMM_PFN_DMA_MAPPED))
		return 0;
	ret = hmm_dma_route(dev, map, idx, p2pdma_state, &how, &addr);
	if (ret)
		return ret;
	if (how == HMM_PFN_P2PDMA_BUS) {
		hmm_dma_set(entry, how | HMM_PFN_DMA_MAPPED);
		return 0;
	}
	ret = hmm_dma_link(dev, map, idx, hmm_dma_attrs(how));
	if (ret)
		return ret;
	hmm_dma_set(entry, how);
	return 1;
}

/* Lets the device see a run of linked entries, or unlinks them */
static int hmm_dma_sync_run(struct device *dev, struct hmm_dma_map *map,
			    size_t idx, size_t nr)
{
	size_t size = map->dma_entry_size, end = idx + nr;
	int ret = dma_iova_sync(dev, &map->state, idx * size, nr * size);

	trace_hmm_dma_map(dev, map, idx, nr, ret);
	for (; idx < end; idx++) {
		unsigned long *entry = hmm_dma_pfn(map, idx);

		if (!ret) {
			hmm_dma_set(entry, HMM_PFN_DMA_MAPPED);
			continue;
		}
		hmm_dma_unlink(dev, map, idx, hmm_dma_attrs(*entry));
		hmm_dma_clear(entry);
	}
	return ret;
}

static int hmm_dma_link_range(struct device *dev, struct hmm_dma_map *map,
			      size_t idx, size_t end,
			      struct pci_p2pdma_map_state *p2pdma_state)
{
	int linked, ret;
	size_t nr;

	/* Behind each run comes an entry that did not get linked, or the end */
	for (; idx < end; idx += nr + 1) {
		for (nr = 0; idx + nr < end; nr++) {
			linked = hmm_dma_link_next(dev, map, idx + nr,
						   p2pdma_state);
			if (linked <= 0)
				break;
		}
		ret = nr ? hmm_dma_sync_run(dev, map, idx, nr) : 0;
		if (linked < 0)
			return linked;
		if (ret)
			return ret;
	}
	return 0;
}

/**
 * hmm_dma_map_range() - map the pages of many DMA entries
 * @dev: the device
 * @map: the region
 * @idx: first DMA entry
 * @nr: how many
 * @p2pdma_state: zeroed before the first of a series of calls
 *
 * Maps those of the entries that are HMM_PFN_VALID and not mapped yet. Cheaper
 * than hmm_dma_map_pfn() for each, which tells the addresses afterwards: where the
 * device has IOVA space, runs of entries are made visible to it at once. Each is
 * linked by itself all the same, as hmm_dma_unmap_pfn() must be able to unlink it
 * by itself.
 *
 * Context: as hmm_dma_map_pfn().
 * Return: 0, or why an entry cannot be mapped. Others may be mapped then: map them
 * by themselves, try again, or unmap them.
 *
 * * -EFAULT: its pages are not valid throughout, not physically contiguous or
 *   differ in HMM_PFN_WRITE
 * * -EREMOTEIO: they are of a device that this one cannot reach
 * * -ENOMEM: no memory for page tables of the IOMMU
 * * -EIO: the DMA layer refuses to map them
 */
int hmm_dma_map_range(struct device *dev, struct hmm_dma_map *map, size_t idx,
		      size_t nr, struct pci_p2pdma_map_state *p2pdma_state)
{
	size_t end = idx + nr;
	dma_addr_t addr;
	int ret = 0;

	if (dma_use_iova(&map->state))
		return hmm_dma_link_range(dev, map, idx, end, p2pdma_state);

	for (; !ret && idx < end; idx++)
		if (*hmm_dma_pfn(map, idx) & HMM_PFN_VALID)
			ret = hmm_dma_map_entry(dev, map, idx, p2pdma_state,
						&addr);
	return ret;
}
EXPORT_SYMBOL_GPL(hmm_dma_map_range);

/**
 * hmm_dma_unmap_pfn() - undo hmm_dma_map_pfn()
 * @dev: the device, which does not use the address any more
 * @map: the region
 * @idx: which DMA entry of the region
 *
 * Context: Under the lock that the notifier takes. As a rule, in the notifier.
 * Return: true if the entry was mapped, and is no longer.
 */
bool hmm_dma_unmap_pfn(struct device *dev, struct hmm_dma_map *map, size_t idx)
{
	const unsigned long mapped = HMM_PFN_VALID | HMM_PFN_DMA_MAPPED;
	unsigned long *entry = hmm_dma_pfn(map, idx);
	unsigned long attrs = hmm_dma_attrs(*entry);

	if ((*entry & mapped) != mapped)
		return false;

	if (*entry & HMM_PFN_P2PDMA_BUS)
		;	/* A bus address takes no mapping */
	else if (dma_use_iova(&map->state))
		hmm_dma_unlink(dev, map, idx, attrs);
	else if (map->dma_list)
		dma_unmap_phys(dev, map->dma_list[idx], map->dma_entry_size,
			       DMA_BIDIRECTIONAL, attrs);
	hmm_dma_clear(entry);
	trace_hmm_dma_unmap(dev, map, idx, 1, 0);
	return true;
}
EXPORT_SYMBOL_GPL(hmm_dma_unmap_pfn);
