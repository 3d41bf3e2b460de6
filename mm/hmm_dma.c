// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Copyright 2013 Red Hat Inc.
 * Copyright (c) 2024 NVIDIA Corporation & Affiliates
 *
 * Authors: Jérôme Glisse <jglisse@redhat.com>
 *
 * Answers of hmm_range_fault(), mapped for DMA.
 *
 * hmm_range_fault() answers by page. A device maps by DMA entries, of one page or
 * more. Each function here says which of the two it counts in.
 *
 * The driver's lock, which its notifier takes too, must be held to map and unmap. It
 * keeps the answers from changing. hmm_range_fault() does not take it, so the bits in
 * entries are changed atomically.
 *
 * An IOMMU maps by leaves, and cannot unmap part of one. Where leaves are is not
 * kept anywhere: it follows from the answers. A leaf is a block of one of the
 * IOMMU's sizes, aligned in IOVA space as in memory, and of one run of entries that
 * are mapped. Of the blocks around an entry that are like that, the largest holds
 * the leaf, whichever calls have linked it, and no leaf reaches over its edge.
 */
#include <linux/hmm-dma.h>
#include <linux/hmm.h>
#include <linux/iommu.h>
#include <linux/log2.h>
#include <linux/memremap.h>
#include <linux/pci-p2pdma.h>
#include <linux/pgtable.h>
#include <linux/slab.h>
#include <trace/events/hmm.h>

/* The number of regions; if any, hmm_range_fault() changes entries atomically */
atomic_t hmm_dma_maps = ATOMIC_INIT(0);

static void hmm_dma_set(unsigned long *entry, unsigned long bits)
{
	set_mask_bits(entry, 0, bits);
}

static void hmm_dma_clear(unsigned long *entry)
{
	set_mask_bits(entry, HMM_PFN_STICKY, 0);
}

/* Mappings of HMM are never synced: it supports neither bounce buffers nor cache flushes */
static bool hmm_dma_needs_sync(struct device *dev)
{
	return (IS_ENABLED(CONFIG_DMA_NEED_SYNC) && !dev_dma_skip_sync(dev)) ||
	       dma_addressing_limited(dev);
}

#ifdef CONFIG_IOMMU_DMA

static void hmm_dma_ask_iommu(struct device *dev, struct hmm_dma_map *map)
{
	struct iommu_domain *domain = iommu_get_domain_for_dev(dev);

	if (!domain)
		return;
	map->leaf_sizes = domain->pgsize_bitmap & ~(2 * map->dma_entry_size - 1);
	map->links_runs = domain->is_iommupt;
}

#else

static void hmm_dma_ask_iommu(struct device *dev, struct hmm_dma_map *map) { }

#endif

/* The region's offset in a block that large leaves of the IOMMU can map */
static size_t hmm_dma_head(unsigned long start, size_t size)
{
	return start & (min_t(size_t, PMD_SIZE, rounddown_pow_of_two(size)) - 1);
}

/**
 * hmm_dma_map_alloc_at() - prepare to map a region for DMA
 * @dev: the device that does DMA
 * @map: to be set up; nothing in it needs to be set before
 * @start: address of the region, aligned to @dma_entry_size. IOVA space is laid out
 *	in such a way that an IOMMU can map a huge page of the CPU by a large leaf.
 * @nr_entries: pages in the region, which is how long @map->pfn_list gets
 * @dma_entry_size: bytes the device maps with one entry, a power of two of at
 *	least PAGE_SIZE. The last entry may reach beyond the region.
 *
 * Context: Process context, may sleep.
 * Return: 0; undone by hmm_dma_map_free(). Otherwise there is nothing to undo:
 *
 * * -EINVAL: @nr_entries is 0, no @dma_entry_size of that kind, @start is not
 *   aligned, or no region of that size begins there
 * * -EOPNOTSUPP: the device would need bounce buffers or cache maintenance, which
 *   memory shared with a process cannot have
 * * -ENOMEM
 */
int hmm_dma_map_alloc_at(struct device *dev, struct hmm_dma_map *map,
			 unsigned long start, size_t nr_entries,
			 size_t dma_entry_size)
{
	size_t nr_dma, size, head, end;

	*map = (struct hmm_dma_map) { .dma_entry_size = dma_entry_size };
	if (!nr_entries || !is_power_of_2(dma_entry_size) ||
	    dma_entry_size < PAGE_SIZE || !IS_ALIGNED(start, dma_entry_size) ||
	    check_mul_overflow(nr_entries, PAGE_SIZE, &size) ||
	    check_add_overflow(size, dma_entry_size - 1, &size) ||
	    check_add_overflow(start, size, &end))
		return -EINVAL;
	if (hmm_dma_needs_sync(dev))
		return -EOPNOTSUPP;

	nr_dma = size / dma_entry_size;
	size = nr_dma * dma_entry_size;
	map->pfn_list = kvcalloc(size >> PAGE_SHIFT, sizeof(*map->pfn_list),
				 GFP_KERNEL | __GFP_NOWARN);
	if (!map->pfn_list)
		return -ENOMEM;
	map->nr = nr_dma;
	atomic_inc(&hmm_dma_maps);
	head = hmm_dma_head(start, size);
	if (dma_iova_try_alloc(dev, &map->state, 0, head + size)) {
		map->head = head;
		hmm_dma_ask_iommu(dev, map);
		return 0;
	}
	if (!dma_need_unmap(dev))
		return 0;

	map->dma_list = kvcalloc(nr_dma, sizeof(*map->dma_list),
				 GFP_KERNEL | __GFP_NOWARN);
	if (!map->dma_list) {
		hmm_dma_map_free(dev, map);
		return -ENOMEM;
	}
	return 0;
}
EXPORT_SYMBOL_GPL(hmm_dma_map_alloc_at);

/**
 * hmm_dma_map_alloc() - the same for a region that begins at any address
 * @dev: the device that does DMA
 * @map: to be set up
 * @nr_entries: pages in the region
 * @dma_entry_size: bytes the device maps with one entry
 *
 * Huge pages are mapped by large leaves only if the address is a multiple of
 * PMD_SIZE; see hmm_dma_map_alloc_at() for others.
 *
 * Context: Process context, may sleep.
 * Return: as hmm_dma_map_alloc_at().
 */
int hmm_dma_map_alloc(struct device *dev, struct hmm_dma_map *map,
		      size_t nr_entries, size_t dma_entry_size)
{
	return hmm_dma_map_alloc_at(dev, map, 0, nr_entries, dma_entry_size);
}
EXPORT_SYMBOL_GPL(hmm_dma_map_alloc);

/**
 * hmm_dma_map_free() - undo hmm_dma_map_alloc() or hmm_dma_map_alloc_at()
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

/* Where an entry is in IOVA space */
static size_t hmm_dma_offset(const struct hmm_dma_map *map, size_t idx)
{
	return map->head + idx * map->dma_entry_size;
}

/* The address of an entry that is mapped, where it can be told from the index */
static bool hmm_dma_is_mapped(struct device *dev, struct hmm_dma_map *map,
			      size_t idx, dma_addr_t *addr)
{
	unsigned long entry = *hmm_dma_pfn(map, idx);

	if (!(entry & HMM_PFN_DMA_MAPPED) || (entry & HMM_PFN_P2PDMA_BUS))
		return false;
	if (dma_use_iova(&map->state))
		*addr = map->state.addr + hmm_dma_offset(map, idx);
	else if (map->dma_list)
		*addr = map->dma_list[idx];
	else
		return false;	/* mapped again, at the same address */
	return true;
}

/* A page of the device's own is not for the DMA layer: the driver knows where it is */
static bool hmm_dma_is_own(const struct hmm_dma_map *map, unsigned long entry)
{
	struct page *page = hmm_pfn_to_page(entry);
	bool own = is_device_private_page(page);

	if (own || !map->owner)
		return own;
	rcu_read_lock();
	own = device_page_owned_by(page, map->owner);
	rcu_read_unlock();
	return own;
}

static bool hmm_dma_is_to_map(const struct hmm_dma_map *map, unsigned long entry)
{
	return (entry & HMM_PFN_VALID) && !(entry & HMM_PFN_DMA_MAPPED) &&
	       !hmm_dma_is_own(map, entry);
}

static enum dma_data_direction hmm_dma_dir(const struct hmm_dma_map *map,
					   unsigned long entry)
{
	return map->read_only || (map->by_access && !(entry & HMM_PFN_WRITE)) ?
		DMA_TO_DEVICE : DMA_BIDIRECTIONAL;
}

static unsigned long hmm_dma_attrs(unsigned long entry)
{
	return DMA_ATTR_REQUIRE_COHERENT |
	       (entry & HMM_PFN_P2PDMA ? DMA_ATTR_MMIO : 0);
}

static bool hmm_dma_is_one_piece(const struct hmm_dma_map *map,
				 const unsigned long *entry)
{
	size_t nr = map->dma_entry_size >> PAGE_SHIFT;

	return hmm_pfn_run(entry, nr) == nr;
}

/* Whether an entry can be linked, or is linked, along with the one before */
static bool hmm_dma_goes_on(const struct hmm_dma_map *map, size_t idx)
{
	unsigned long before = *hmm_dma_pfn(map, idx - 1);
	unsigned long entry = *hmm_dma_pfn(map, idx);
	/* Unless it counts, a driver may set it while an entry is mapped */
	unsigned long any = map->by_access ? 0 : HMM_PFN_WRITE;
	unsigned long last = (map->dma_entry_size >> PAGE_SHIFT) - 1;

	return !((before ^ entry) & HMM_PFN_STICKY) &&
	       hmm_pfn_goes_on((before | any) + last, entry | any);
}

/* How many entries from this one on can be linked as one, all being one piece */
static size_t hmm_dma_run(const struct hmm_dma_map *map, size_t idx, size_t end)
{
	size_t next = idx + 1;

	while (next < end && hmm_dma_goes_on(map, next) &&
	       hmm_dma_is_one_piece(map, hmm_dma_pfn(map, next)))
		next++;
	return next - idx;
}

/* Can one leaf map the block of @size around @idx? Then sets @idx to the block's first. */
static bool hmm_dma_is_block(const struct hmm_dma_map *map, unsigned long size,
			     size_t *idx)
{
	phys_addr_t phys = hmm_pfn_to_phys(*hmm_dma_pfn(map, *idx));
	dma_addr_t iova = map->state.addr + hmm_dma_offset(map, *idx);
	size_t before = (iova & (size - 1)) / map->dma_entry_size;
	size_t nr = size / map->dma_entry_size, first = *idx - before, i;

	if ((iova ^ phys) & (size - 1) || before > *idx || nr > map->nr - first)
		return false;
	for (i = 1; i < nr; i++)
		if (!hmm_dma_goes_on(map, first + i))
			return false;
	*idx = first;
	return true;
}

/* As many entries as the leaf may have that maps this one; @idx: set to its first */
static size_t hmm_dma_leaf(const struct hmm_dma_map *map, size_t *idx)
{
	unsigned long entry = *hmm_dma_pfn(map, *idx), sizes = map->leaf_sizes;
	size_t leaf = 1;

	if (!map->runs || !(entry & HMM_PFN_VALID) ||
	    !(entry & HMM_PFN_DMA_MAPPED) || (entry & HMM_PFN_P2PDMA_BUS))
		return 1;
	for (; sizes; sizes &= sizes - 1) {
		if (!hmm_dma_is_block(map, sizes & -sizes, idx))
			break;
		leaf = (sizes & -sizes) / map->dma_entry_size;
	}
	return leaf;
}

/**
 * hmm_dma_widen() - what is unmapped if some DMA entries are
 * @map: the region
 * @idx: first of the entries; set to the first that is unmapped
 * @nr: how many they are; set to how many are unmapped, these included
 *
 * hmm_dma_map_range() has an IOMMU map large pieces of memory by large leaves, of
 * which it cannot unmap a part. Before a driver unmaps a part of one, in a notifier
 * or elsewhere, it must stop the device from using all that this function reports.
 *
 * Context: Under the lock that the notifier takes.
 */
void hmm_dma_widen(const struct hmm_dma_map *map, size_t *idx, size_t *nr)
{
	size_t first = *idx, last = *idx + *nr - 1, leaf;

	if (!*nr)
		return;
	hmm_dma_leaf(map, &first);
	leaf = hmm_dma_leaf(map, &last);
	*idx = first;
	*nr = last + leaf - first;
}
EXPORT_SYMBOL_GPL(hmm_dma_widen);

/*
 * How much to link by one call. IOMMUs whose page tables are the generic ones can
 * unmap any leaf by itself; others may have to unmap what was linked as one.
 */
static size_t hmm_dma_link_size(const struct hmm_dma_map *map, phys_addr_t phys,
				size_t offset, size_t size)
{
	unsigned long sizes = map->leaf_sizes;
	dma_addr_t both = (map->state.addr + offset) | phys | rounddown_pow_of_two(size);

	if (map->links_runs)
		return size;
	sizes &= (both & -both) | ((both & -both) - 1);
	return sizes ? rounddown_pow_of_two(sizes) : map->dma_entry_size;
}

/* The direction is for caches and bounce buffers, which there are none of */
static void hmm_dma_unlink(struct device *dev, struct hmm_dma_map *map,
			   size_t offset, size_t size, unsigned long entry)
{
	dma_iova_unlink(dev, &map->state, offset, size, DMA_BIDIRECTIONAL,
			hmm_dma_attrs(entry));
}

/* Links a run of entries, all of it or nothing; @how is from hmm_dma_route() */
static int hmm_dma_link(struct device *dev, struct hmm_dma_map *map, size_t idx,
			size_t nr, unsigned long how)
{
	unsigned long entry = *hmm_dma_pfn(map, idx) | how;
	size_t offset = hmm_dma_offset(map, idx), size = nr * map->dma_entry_size;
	phys_addr_t phys = hmm_pfn_to_phys(entry);
	size_t done, len;
	int ret;

	for (done = 0; done < size; done += len) {
		len = hmm_dma_link_size(map, phys + done, offset + done,
					size - done);
		ret = dma_iova_link(dev, &map->state, phys + done, offset + done,
				    len, hmm_dma_dir(map, entry),
				    hmm_dma_attrs(entry));
		if (ret) {
			if (done)
				hmm_dma_unlink(dev, map, offset, done, entry);
			return ret;
		}
	}
	return 0;
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
	if (hmm_dma_is_own(map, *entry))
		return -EREMOTEIO;
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

/* Maps an entry of a region without IOVA space */
static int hmm_dma_map_direct(struct device *dev, struct hmm_dma_map *map,
			      size_t idx, unsigned long how, dma_addr_t *addr)
{
	unsigned long entry = *hmm_dma_pfn(map, idx) | how;
	enum dma_data_direction dir = hmm_dma_dir(map, entry);
	size_t size = map->dma_entry_size;

	*addr = dma_map_phys(dev, hmm_pfn_to_phys(entry), size, dir,
			     hmm_dma_attrs(entry));
	if (dma_mapping_error(dev, *addr))
		return -EIO;
	/* Devices have no place for low bits of large pages' addresses */
	if (!IS_ALIGNED(*addr, size)) {
		dma_unmap_phys(dev, *addr, size, dir, hmm_dma_attrs(entry));
		return -EFAULT;
	}
	if (map->dma_list)
		map->dma_list[idx] = *addr;
	return 0;
}

/* One entry by itself: linked and synced, or mapped; its bits are not set */
static int hmm_dma_map_one(struct device *dev, struct hmm_dma_map *map,
			   size_t idx, unsigned long how, dma_addr_t *addr)
{
	size_t offset = hmm_dma_offset(map, idx);
	int ret;

	if (!dma_use_iova(&map->state))
		return hmm_dma_map_direct(dev, map, idx, how, addr);

	*addr = map->state.addr + offset;
	ret = hmm_dma_link(dev, map, idx, 1, how);
	if (ret)
		return ret;
	ret = dma_iova_sync(dev, &map->state, offset, map->dma_entry_size);
	if (ret)
		hmm_dma_unlink(dev, map, offset, map->dma_entry_size,
			       *hmm_dma_pfn(map, idx) | how);
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
		ret = hmm_dma_map_one(dev, map, idx, how, addr);
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
 * Unless @map->by_access is set, maps for both directions; whether the device may
 * write is for the caller to see: HMM_PFN_WRITE in ``*hmm_dma_pfn(map, idx)``. Sets
 * HMM_PFN_DMA_MAPPED there. An entry that is mapped already is not mapped again, and
 * its address returned.
 *
 * Context: Under the lock that the notifier takes, after
 * mmu_interval_read_retry() was false.
 * Return: the DMA address, or DMA_MAPPING_ERROR: the entry's pages are not valid
 * throughout, not physically contiguous or differ in HMM_PFN_WRITE; there is no
 * IOVA space to map them to, and their address is not aligned to the entry's size;
 * the device cannot reach them, or they are device private; or there is no room.
 * Nothing has changed then.
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

/*
 * Without HMM_PFN_DMA_MAPPED: linked, and to be synced. hmm_range_fault() may answer
 * other entries between the two, so that these need a mark.
 */
#define HMM_DMA_LINKED	HMM_PFN_P2PDMA_BUS

static void hmm_dma_set_run(struct hmm_dma_map *map, size_t idx, size_t nr,
			    unsigned long bits)
{
	size_t end = idx + nr;

	for (; idx < end; idx++)
		hmm_dma_set(hmm_dma_pfn(map, idx), bits);
}

/* As many entries as are linked now, or need no link; or an error */
static ssize_t hmm_dma_link_next(struct device *dev, struct hmm_dma_map *map,
				 size_t idx, size_t end,
				 struct pci_p2pdma_map_state *p2pdma_state)
{
	unsigned long how;
	dma_addr_t addr;
	size_t nr = 1;
	int ret;

	if (!hmm_dma_is_to_map(map, *hmm_dma_pfn(map, idx)))
		return 1;
	ret = hmm_dma_route(dev, map, idx, p2pdma_state, &how, &addr);
	if (ret)
		goto failed;
	nr = hmm_dma_run(map, idx, end);
	if (how == HMM_PFN_P2PDMA_BUS) {
		hmm_dma_set_run(map, idx, nr, how | HMM_PFN_DMA_MAPPED);
		trace_hmm_dma_map(dev, map, idx, nr, 0);
		return nr;
	}
	ret = hmm_dma_link(dev, map, idx, nr, how);
	if (ret)
		goto failed;
	map->runs |= nr > 1;
	hmm_dma_set_run(map, idx, nr, how | HMM_DMA_LINKED);
	return nr;

failed:
	trace_hmm_dma_map(dev, map, idx, nr, ret);
	return ret;
}

/* How a valid entry is mapped, and VALID; or 0 */
static unsigned long hmm_dma_state(const struct hmm_dma_map *map, size_t idx)
{
	unsigned long entry = *hmm_dma_pfn(map, idx);

	return entry & HMM_PFN_VALID ? entry & (HMM_PFN_VALID | HMM_PFN_STICKY) : 0;
}

/* How many entries from this one on are in the same state */
static size_t hmm_dma_alike(const struct hmm_dma_map *map, size_t idx, size_t end)
{
	unsigned long state = hmm_dma_state(map, idx);
	size_t next = idx + 1;

	while (next < end && hmm_dma_state(map, next) == state)
		next++;
	return next - idx;
}

/* Undoes what was done for entries that are alike */
static void hmm_dma_undo(struct device *dev, struct hmm_dma_map *map, size_t idx,
			 size_t nr)
{
	unsigned long entry = *hmm_dma_pfn(map, idx);
	size_t end = idx + nr;

	if (!(entry & HMM_PFN_P2PDMA_BUS) && dma_use_iova(&map->state))
		hmm_dma_unlink(dev, map, hmm_dma_offset(map, idx),
			       nr * map->dma_entry_size, entry);
	for (; idx < end; idx++) {
		entry = *hmm_dma_pfn(map, idx);
		if (!(entry & HMM_PFN_P2PDMA_BUS) && map->dma_list)
			dma_unmap_phys(dev, map->dma_list[idx],
				       map->dma_entry_size,
				       hmm_dma_dir(map, entry),
				       hmm_dma_attrs(entry));
		hmm_dma_clear(hmm_dma_pfn(map, idx));
	}
}

static bool hmm_dma_is_linked(const struct hmm_dma_map *map, size_t idx)
{
	unsigned long entry = *hmm_dma_pfn(map, idx);

	return (entry & (HMM_PFN_DMA_MAPPED | HMM_DMA_LINKED)) == HMM_DMA_LINKED;
}

/* Lets the device see, by one sync, what was linked of some entries; or unlinks it */
static int hmm_dma_sync(struct device *dev, struct hmm_dma_map *map, size_t idx,
			size_t end)
{
	size_t offset, nr, i;
	int ret;

	while (idx < end && !hmm_dma_is_linked(map, idx))
		idx++;
	while (idx < end && !hmm_dma_is_linked(map, end - 1))
		end--;
	if (idx == end)
		return 0;

	offset = hmm_dma_offset(map, idx);
	ret = dma_iova_sync(dev, &map->state, offset,
			    hmm_dma_offset(map, end) - offset);
	for (; idx < end; idx += nr) {
		nr = hmm_dma_alike(map, idx, end);
		if (!hmm_dma_is_linked(map, idx))
			continue;
		for (i = 0; i < nr; i++)
			set_mask_bits(hmm_dma_pfn(map, idx + i), HMM_DMA_LINKED,
				      HMM_PFN_DMA_MAPPED);
		if (ret)
			hmm_dma_undo(dev, map, idx, nr);
		trace_hmm_dma_map(dev, map, idx, nr, ret);
	}
	return ret;
}

static int hmm_dma_link_range(struct device *dev, struct hmm_dma_map *map,
			      size_t idx, size_t end,
			      struct pci_p2pdma_map_state *p2pdma_state)
{
	size_t next = idx;
	ssize_t nr = 0;
	int ret;

	while (next < end) {
		nr = hmm_dma_link_next(dev, map, next, end, p2pdma_state);
		if (nr < 0)
			break;
		next += nr;
	}
	ret = hmm_dma_sync(dev, map, idx, next);
	return nr < 0 ? nr : ret;
}

/**
 * hmm_dma_map_range() - map the pages of many DMA entries
 * @dev: the device
 * @map: the region
 * @idx: first DMA entry
 * @nr: how many
 * @p2pdma_state: zeroed before the first of a series of calls
 *
 * Maps those of the entries that are HMM_PFN_VALID and not mapped yet, but for
 * device private pages and those of @map->owner: these are left to the driver, valid
 * and not mapped.
 *
 * Cheaper than hmm_dma_map_pfn() for each, which tells the addresses afterwards.
 * Where the device has IOVA space, entries that are one piece of memory are linked at
 * once, by the IOMMU's largest leaves that fit, and the device sees all of them
 * after one sync. Such leaves cannot be unmapped in part, see hmm_dma_widen().
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
		if (hmm_dma_is_to_map(map, *hmm_dma_pfn(map, idx)))
			ret = hmm_dma_map_entry(dev, map, idx, p2pdma_state,
						&addr);
	return ret;
}
EXPORT_SYMBOL_GPL(hmm_dma_map_range);

/**
 * hmm_dma_unmap_range() - unmap DMA entries
 * @dev: the device, which does not use the addresses any more, nor those of what
 *	hmm_dma_widen() adds to the entries
 * @map: the region
 * @idx: first DMA entry
 * @nr: how many
 *
 * Also unmaps what hmm_dma_widen() adds. Such entries stay as they are but for
 * HMM_PFN_DMA_MAPPED and the like; as long as they are valid, they can be mapped
 * again, also in the same notifier.
 *
 * Where the device has IOVA space, entries that are mapped without a gap in between
 * take one flush of the IOTLB.
 *
 * Context: Under the lock that the notifier takes. As a rule, in the notifier. Does
 * not sleep.
 * Return: how many entries were mapped, and are no longer.
 */
size_t hmm_dma_unmap_range(struct device *dev, struct hmm_dma_map *map, size_t idx,
			   size_t nr)
{
	size_t end, unmapped = 0;

	hmm_dma_widen(map, &idx, &nr);
	for (end = idx + nr; idx < end; idx += nr) {
		nr = hmm_dma_alike(map, idx, end);
		if (!(hmm_dma_state(map, idx) & HMM_PFN_DMA_MAPPED))
			continue;
		hmm_dma_undo(dev, map, idx, nr);
		trace_hmm_dma_unmap(dev, map, idx, nr, 0);
		unmapped += nr;
	}
	return unmapped;
}
EXPORT_SYMBOL_GPL(hmm_dma_unmap_range);

/**
 * hmm_dma_unmap_pfn() - undo hmm_dma_map_pfn()
 * @dev: the device, which does not use the address any more
 * @map: the region
 * @idx: which DMA entry of the region
 *
 * Where hmm_dma_map_range() maps entries, unmaps as hmm_dma_unmap_range() does.
 *
 * Context: Under the lock that the notifier takes. As a rule, in the notifier.
 * Return: true if the entry was mapped, and is no longer.
 */
bool hmm_dma_unmap_pfn(struct device *dev, struct hmm_dma_map *map, size_t idx)
{
	return hmm_dma_state(map, idx) & HMM_PFN_DMA_MAPPED &&
	       hmm_dma_unmap_range(dev, map, idx, 1);
}
EXPORT_SYMBOL_GPL(hmm_dma_unmap_pfn);
