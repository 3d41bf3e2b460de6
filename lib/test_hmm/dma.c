// SPDX-License-Identifier: GPL-2.0
/*
 * hmm_dma_map_*() for devices that reach memory in different ways.
 */
#include <linux/dma-map-ops.h>
#include <linux/highmem.h>
#include <linux/iommu.h>
#include <linux/iommu-dma.h>
#include <linux/kprobes.h>
#include <linux/overflow.h>
#include <linux/pci.h>
#include <linux/pci-p2pdma.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "test_hmm.h"

/* QEMU's educational device, which has no driver */
#define RANGE_EDU_VENDOR	0x1234
#define RANGE_EDU_DEVICE	0x11e8

/* So that a DMA address cannot be mistaken for a physical address */
#define RANGE_DMA_BIAS		((dma_addr_t)(1ULL << 45))

/* QEMU's ivshmem, a device with memory in a BAR */
#define RANGE_IVSHMEM_VENDOR	0x1af4
#define RANGE_IVSHMEM_DEVICE	0x1110
#define RANGE_IVSHMEM_BAR	2

/* The devices and their mappings, used by one caller at a time */
static struct {
	struct mutex lock;
	/* Provider of ivshmem's memory, or NULL */
	struct p2pdma_provider *provider;
	/* NULL if there is no such device */
	struct device *devices[HMM_RANGE_DMA_DEVICES];
	/* Size of each mapping of HMM_RANGE_DMA_LIST, by the pfn of its DMA address */
	struct xarray mapped;
	struct hmm_range_dma *cmd;
} range_dma = {
	.lock = __MUTEX_INITIALIZER(range_dma.lock),
	.mapped = XARRAY_INIT(range_dma.mapped, 0),
};

#ifdef CONFIG_ARCH_HAS_DMA_OPS

static dma_addr_t range_dma_map(struct device *dev, phys_addr_t phys, size_t size,
				enum dma_data_direction dir, unsigned long attrs)
{
	dma_addr_t addr = phys + RANGE_DMA_BIAS;
	struct hmm_range_dma *cmd = range_dma.cmd;

	cmd->maps++;
	if (cmd->maps == cmd->fail_at)
		return DMA_MAPPING_ERROR;
	cmd->wrong += size != 1UL << cmd->entry_shift;
	if (xa_err(xa_store(&range_dma.mapped, addr >> PAGE_SHIFT,
			    xa_mk_value(size), GFP_KERNEL)))
		return DMA_MAPPING_ERROR;
	return addr;
}

static void range_dma_unmap(struct device *dev, dma_addr_t addr, size_t size,
			    enum dma_data_direction dir, unsigned long attrs)
{
	void *was = xa_erase(&range_dma.mapped, addr >> PAGE_SHIFT);

	range_dma.cmd->unmaps++;
	range_dma.cmd->wrong += was != xa_mk_value(size);
}

static const struct dma_map_ops range_dma_ops = {
	.map_phys = range_dma_map,
	.unmap_phys = range_dma_unmap,
};

static void range_dma_no_sync(struct device *dev, dma_addr_t addr, size_t size,
			      enum dma_data_direction dir)
{
}

static const struct dma_map_ops range_dma_ops_sync = {
	.map_phys = range_dma_map,
	.unmap_phys = range_dma_unmap,
	.sync_single_for_cpu = range_dma_no_sync,
	.sync_single_for_device = range_dma_no_sync,
};

static void range_dma_set_ops(unsigned int which, struct device *dev)
{
	if (which == HMM_RANGE_DMA_LIST)
		set_dma_ops(dev, &range_dma_ops);
	if (which == HMM_RANGE_DMA_SYNC)
		set_dma_ops(dev, &range_dma_ops_sync);
}

#else

static void range_dma_set_ops(unsigned int which, struct device *dev) { }

#endif

static struct device *range_dma_new(unsigned int which)
{
	struct platform_device *pdev;

	if ((which == HMM_RANGE_DMA_LIST || which == HMM_RANGE_DMA_SYNC) &&
	    !IS_ENABLED(CONFIG_ARCH_HAS_DMA_OPS))
		return NULL;
	pdev = platform_device_register_simple("hmm_range_dma", which, NULL, 0);
	if (IS_ERR(pdev))
		return NULL;
	range_dma_set_ops(which, &pdev->dev);
	return &pdev->dev;
}

#ifdef CONFIG_PCI_P2PDMA

/* User space gets at the memory by mapping the device's p2pmem/allocate in sysfs */
static int range_p2p_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	int ret = pcim_enable_device(pdev);

	if (!ret)
		ret = pci_p2pdma_add_resource(pdev, RANGE_IVSHMEM_BAR, 0, 0);
	if (ret)
		return ret;
	range_dma.provider = pcim_p2pdma_provider(pdev, RANGE_IVSHMEM_BAR);
	range_dma.provider->bus_offset = RANGE_DMA_BIAS;
	return 0;
}

static void range_p2p_remove(struct pci_dev *pdev)
{
	range_dma.provider = NULL;
}

static const struct pci_device_id range_p2p_ids[] = {
	{ PCI_DEVICE(RANGE_IVSHMEM_VENDOR, RANGE_IVSHMEM_DEVICE) },
	{ }
};

static struct pci_driver range_p2p_driver = {
	.name = KBUILD_MODNAME,
	.id_table = range_p2p_ids,
	.probe = range_p2p_probe,
	.remove = range_p2p_remove,
};

static bool range_p2p_registered;

static void range_p2p_init(void)
{
	range_p2p_registered = !pci_register_driver(&range_p2p_driver);
}

static void range_p2p_exit(void)
{
	if (range_p2p_registered)
		pci_unregister_driver(&range_p2p_driver);
}

#else

static void range_p2p_init(void) { }
static void range_p2p_exit(void) { }

#endif

/* As if the kernel had determined this route to ivshmem's memory */
static struct pci_p2pdma_map_state range_p2p_state(const struct hmm_range_dma *cmd)
{
	struct pci_p2pdma_map_state state = { };

	if (cmd->p2p == HMM_RANGE_P2P_ASK)
		return state;
	state.mem = range_dma.provider;
	state.map = cmd->p2p == HMM_RANGE_P2P_BUS ?
			PCI_P2PDMA_MAP_BUS_ADDR : PCI_P2PDMA_MAP_THRU_HOST_BRIDGE;
	return state;
}

#if defined(CONFIG_KPROBES) && defined(CONFIG_IOMMU_DMA)

static int range_link_fails(void)
{
	return -ENOMEM;
}

/* Count a call for the device; number *@fail_at fails instead */
static int range_saw_iommu(struct pt_regs *regs, u32 *count, const u32 *fail_at)
{
	if (range_arg(regs, 0) !=
	    (unsigned long)range_dma.devices[HMM_RANGE_DMA_IOVA])
		return 0;
	++*count;
	if (!fail_at || *count != *fail_at)
		return 0;
	instruction_pointer_set(regs, (unsigned long)
				dereference_function_descriptor(range_link_fails));
	return 1;
}

static int range_saw_link(struct kprobe *p, struct pt_regs *regs)
{
	if (range_arg(regs, 0) ==
	    (unsigned long)range_dma.devices[HMM_RANGE_DMA_IOVA])
		range_dma.cmd->read_only += range_arg(regs, 5) == DMA_TO_DEVICE;
	return range_saw_iommu(regs, &range_dma.cmd->maps,
			       &range_dma.cmd->fail_at);
}

static int range_saw_unlink(struct kprobe *p, struct pt_regs *regs)
{
	return range_saw_iommu(regs, &range_dma.cmd->unmaps, NULL);
}

static int range_saw_sync(struct kprobe *p, struct pt_regs *regs)
{
	return range_saw_iommu(regs, &range_dma.cmd->syncs,
			       &range_dma.cmd->fail_sync_at);
}

/* A probe with a post_handler is not optimized, so it may change the return address */
static void range_saw_after(struct kprobe *p, struct pt_regs *regs,
			    unsigned long flags)
{
}

static struct kprobe *range_iommu_probes[] = {
	&(struct kprobe) {
		.symbol_name = "dma_iova_link",
		.pre_handler = range_saw_link,
		.post_handler = range_saw_after,
	},
	&(struct kprobe) {
		.symbol_name = "dma_iova_unlink",
		.pre_handler = range_saw_unlink,
	},
	&(struct kprobe) {
		.symbol_name = "dma_iova_sync",
		.pre_handler = range_saw_sync,
		.post_handler = range_saw_after,
	},
};

static bool range_iommu_probed;

static void range_iommu_init(void)
{
	range_iommu_probed = !register_kprobes(range_iommu_probes,
					       ARRAY_SIZE(range_iommu_probes));
}

static void range_iommu_exit(void)
{
	if (range_iommu_probed)
		unregister_kprobes(range_iommu_probes,
				   ARRAY_SIZE(range_iommu_probes));
}

#else

static void range_iommu_init(void) { }
static void range_iommu_exit(void) { }

#endif

static struct device *range_dma_edu(void)
{
	struct pci_dev *pdev = pci_get_device(RANGE_EDU_VENDOR, RANGE_EDU_DEVICE,
					      NULL);

	if (!pdev)
		return NULL;
	if (use_dma_iommu(&pdev->dev))
		return &pdev->dev;
	pci_dev_put(pdev);
	return NULL;
}

void test_hmm_dma_init(void)
{
	unsigned int i;

	for (i = 0; i < HMM_RANGE_DMA_DEVICES; i++) {
		struct device *dev = i == HMM_RANGE_DMA_IOVA ? range_dma_edu() :
							       range_dma_new(i);

		range_dma.devices[i] = dev;
		/* This also decides whether memory has to be synced */
		if (dev)
			dma_set_mask_and_coherent(dev, i == HMM_RANGE_DMA_NARROW ?
					DMA_BIT_MASK(32) : DMA_BIT_MASK(64));
	}
	range_p2p_init();
	range_iommu_init();
}

void test_hmm_dma_exit(void)
{
	unsigned int i;

	range_iommu_exit();
	range_p2p_exit();
	for (i = 0; i < HMM_RANGE_DMA_DEVICES; i++) {
		struct device *dev = range_dma.devices[i];

		if (!dev)
			continue;
		if (i == HMM_RANGE_DMA_IOVA)
			put_device(dev);
		else
			platform_device_unregister(to_platform_device(dev));
	}
	xa_destroy(&range_dma.mapped);
}

int test_hmm_dma_region_begin(struct hmm_dma_map *map)
{
	return hmm_dma_map_alloc(range_dma.devices[HMM_RANGE_DMA_DIRECT], map, 1,
				 PAGE_SIZE);
}

void test_hmm_dma_region_end(struct hmm_dma_map *map)
{
	if (map->pfn_list)
		hmm_dma_map_free(range_dma.devices[HMM_RANGE_DMA_DIRECT], map);
}

/* The physical address that the device reaches at this offset; 0 if none */
static phys_addr_t range_dma_reach(const struct hmm_range_dma *cmd,
				   dma_addr_t addr, size_t offset)
{
	struct iommu_domain __maybe_unused *domain;
	void *size;

	if (cmd->p2p == HMM_RANGE_P2P_BUS)
		return addr - RANGE_DMA_BIAS + offset;
	switch (cmd->device) {
	case HMM_RANGE_DMA_DIRECT:
	case HMM_RANGE_DMA_NARROW:
		return addr + offset;
	case HMM_RANGE_DMA_LIST:
		size = xa_load(&range_dma.mapped, addr >> PAGE_SHIFT);
		if (!size || offset >= xa_to_value(size))
			return 0;
		return addr - RANGE_DMA_BIAS + offset;
#ifdef CONFIG_IOMMU_API
	case HMM_RANGE_DMA_IOVA:
		domain = iommu_get_domain_for_dev(range_dma.devices[cmd->device]);
		return iommu_iova_to_phys(domain, addr + offset);
#endif
	}
	return 0;
}

static void range_dma_read(const struct hmm_range_dma *cmd, dma_addr_t addr,
			   size_t offset, u64 *data)
{
	phys_addr_t phys = range_dma_reach(cmd, addr, offset);
	void *p;

	if (!phys || !pfn_valid(PHYS_PFN(phys)))
		return;
	p = kmap_local_page(phys_to_page(phys));
	memcpy(data, p, sizeof(*data));
	kunmap_local(p);
}

/* Plain Linux 7.3 does not have these; then they are NULL */
int __weak hmm_dma_map_range(struct device *dev, struct hmm_dma_map *map,
			     size_t idx, size_t nr,
			     struct pci_p2pdma_map_state *p2pdma_state);
int __weak hmm_dma_map_alloc_at(struct device *dev, struct hmm_dma_map *map,
				unsigned long start, size_t nr_entries,
				size_t dma_entry_size);
void __weak hmm_dma_widen(const struct hmm_dma_map *map, size_t *idx, size_t *nr);
size_t __weak hmm_dma_unmap_range(struct device *dev, struct hmm_dma_map *map,
				  size_t idx, size_t nr);

static int range_dma_alloc(struct device *dev, struct hmm_dma_map *map,
			   const struct hmm_range_dma *cmd)
{
	size_t size = 1UL << cmd->entry_shift;
	int ret;

	if (cmd->flags & HMM_RANGE_DMA_AT)
		ret = hmm_dma_map_alloc_at(dev, map, cmd->start, cmd->nr, size);
	else
		ret = hmm_dma_map_alloc(dev, map, cmd->nr, size);
#ifdef HMM_PFN_STICKY
	map->by_access = cmd->flags & HMM_RANGE_DMA_BY_ACCESS;
#endif
	return ret;
}

#ifdef CONFIG_IOMMU_API

/* How much an IOMMU takes away that cannot unmap part of a leaf; put back at once */
static u64 range_dma_leaf(const struct hmm_range_dma *cmd, const u64 *addrs)
{
	struct device *dev = range_dma.devices[cmd->device];
	struct iommu_domain *domain = iommu_get_domain_for_dev(dev);
	size_t i, size, nr = cmd->nr >> (cmd->entry_shift - PAGE_SHIFT);
	phys_addr_t phys;

	if (cmd->device != HMM_RANGE_DMA_IOVA || cmd->p2p)
		return 0;
	for (i = 0; i < nr && addrs[i] == ~0ULL; i++)
		;
	if (i == nr)
		return 0;
	phys = iommu_iova_to_phys(domain, addrs[i]);
	size = iommu_unmap(domain, addrs[i], PAGE_SIZE);
	if (size && iommu_map(domain, addrs[i], phys, size,
			      IOMMU_READ | IOMMU_WRITE, GFP_KERNEL))
		return 0;
	return size;
}

#else

static u64 range_dma_leaf(const struct hmm_range_dma *cmd, const u64 *addrs)
{
	return 0;
}

#endif

static void range_dma_read_all(const struct hmm_range_dma *cmd, const u64 *addrs,
			       u64 *data)
{
	size_t i, per = 1UL << (cmd->entry_shift - PAGE_SHIFT);

	for (i = 0; i < cmd->nr; i++)
		if (addrs[i / per] != ~0ULL)
			range_dma_read(cmd, addrs[i / per], i % per << PAGE_SHIFT,
				       &data[i]);
}

/* Unmaps a part, looks at what is left, and maps all again */
static void range_dma_part(struct device *dev, struct hmm_dma_map *map,
			   struct hmm_range_dma *cmd, const u64 *addrs, u64 *after)
{
	struct pci_p2pdma_map_state p2pdma = range_p2p_state(cmd);
	size_t idx = cmd->part, nr = cmd->part_nr, i;
	size_t per = 1UL << (cmd->entry_shift - PAGE_SHIFT);

	cmd->part_maps = cmd->maps;
	cmd->part_syncs = cmd->syncs;
	cmd->leaf = range_dma_leaf(cmd, addrs);
	if (!nr)
		return;
	hmm_dma_widen(map, &idx, &nr);
	cmd->widened = idx;
	cmd->widened_nr = nr;
	cmd->part_unmapped = hmm_dma_unmap_range(dev, map, cmd->part, cmd->part_nr);
	cmd->part_unmaps = cmd->unmaps;
	range_dma_read_all(cmd, addrs, after);
	/* What the entries say and what the device reads must agree */
	for (i = 0; i < cmd->nr / per; i++)
		cmd->wrong += !(map->pfn_list[i * per] & HMM_PFN_DMA_MAPPED) !=
			      (after[i * per] == ~0ULL);
	cmd->part_ret = hmm_dma_map_range(dev, map, 0, cmd->nr / per, &p2pdma);
	for (i = 0; i < cmd->nr / per; i++)
		cmd->wrong += addrs[i] != ~0ULL &&
			      !(map->pfn_list[i * per] & HMM_PFN_DMA_MAPPED);
}

static void range_dma_map_all(struct device *dev, struct hmm_dma_map *map,
			      struct hmm_range_dma *cmd, u64 *addrs, u64 *data)
{
	struct pci_p2pdma_map_state p2pdma = range_p2p_state(cmd);
	size_t per = 1UL << (cmd->entry_shift - PAGE_SHIFT);
	size_t i, k;

	if (cmd->at_once == HMM_RANGE_REST_AT_ONCE)
		for (i = 0; i < cmd->nr / per; i += 2)
			hmm_dma_map_pfn(dev, map, i, &p2pdma);
	if (cmd->at_once != HMM_RANGE_NONE_AT_ONCE)
		cmd->ret_at_once = hmm_dma_map_range(dev, map, 0, cmd->nr / per,
						     &p2pdma);
	for (i = 0; i < cmd->nr / per; i++) {
		dma_addr_t addr = hmm_dma_map_pfn(dev, map, i, &p2pdma);

		if (addr == DMA_MAPPING_ERROR)
			continue;
		addrs[i] = addr;
		cmd->again += hmm_dma_map_pfn(dev, map, i, &p2pdma) == addr;
		for (k = 0; k < per; k++)
			range_dma_read(cmd, addr, k << PAGE_SHIFT, &data[i * per + k]);
	}
}

static void range_dma_unmap_all(struct device *dev, struct hmm_dma_map *map,
				struct hmm_range_dma *cmd)
{
	size_t i, nr = cmd->nr >> (cmd->entry_shift - PAGE_SHIFT);
	u32 unmaps;

	if (cmd->at_once != HMM_RANGE_NONE_AT_ONCE) {
		unmaps = cmd->unmaps;
		cmd->unmapped = hmm_dma_unmap_range(dev, map, 0, nr);
		cmd->unmaps -= cmd->part_nr ? unmaps : 0;
		cmd->twice = hmm_dma_unmap_range(dev, map, 0, nr);
	}
	for (i = 0; cmd->at_once == HMM_RANGE_NONE_AT_ONCE && i < nr; i++)
		cmd->unmapped += hmm_dma_unmap_pfn(dev, map, i);
	for (i = 0; i < nr; i++)
		cmd->twice += hmm_dma_unmap_pfn(dev, map, i);
	for (i = 0; i < cmd->nr; i++)
		cmd->sticky += !!(map->pfn_list[i] &
				  (HMM_PFN_DMA_MAPPED | HMM_PFN_P2PDMA |
				   HMM_PFN_P2PDMA_BUS));
}

/* Pages that the device can reach although nothing is mapped */
static u32 range_dma_left(const struct hmm_range_dma *cmd, const u64 *addrs)
{
	size_t i, per = 1UL << (cmd->entry_shift - PAGE_SHIFT);
	u32 left = 0;

	if (cmd->p2p || (cmd->device != HMM_RANGE_DMA_IOVA &&
			 cmd->device != HMM_RANGE_DMA_LIST))
		return 0;
	for (i = 0; i < cmd->nr; i++)
		left += addrs[i / per] != ~0ULL &&
			range_dma_reach(cmd, addrs[i / per], i % per << PAGE_SHIFT);
	return left;
}

/*
 * @out: four arrays, one after the other: addresses, data, entries by page, and data
 * after part of it was unmapped
 */
static int range_dma_watched(struct range_file *rf, struct device *dev,
			     struct hmm_dma_map *map, struct hmm_range_dma *cmd,
			     u64 *out)
{
	struct range_watch watch = { };
	struct hmm_range range = {
		.notifier = &watch.notifier,
		.start = cmd->start,
		.end = cmd->start + (cmd->nr << PAGE_SHIFT),
		.hmm_pfns = map->pfn_list,
		.default_flags = cmd->default_flags,
	};
	size_t i;
	int ret;

	if (cmd->flags & HMM_RANGE_DMA_OWN)
		range.dev_private_owner = rf->dev;
	test_hmm_watch_init(&watch, rf);
	ret = mmu_interval_notifier_insert(&watch.notifier, current->mm,
					   range.start, range.end - range.start,
					   &test_hmm_notifier_ops);
	if (ret)
		return ret;
	cmd->ret = hmm_range_fault_unlocked_timeout(&range, RANGE_WAIT);
	if (!cmd->ret) {
		range_dma_map_all(dev, map, cmd, out, out + cmd->nr);
		for (i = 0; i < cmd->nr; i++)
			out[2 * cmd->nr + i] = map->pfn_list[i];
		range_dma_part(dev, map, cmd, out, out + 3 * cmd->nr);
		range_dma_unmap_all(dev, map, cmd);
		cmd->left = range_dma_left(cmd, out);
	}
	mmu_interval_notifier_remove(&watch.notifier);
	return 0;
}

static int range_dma_put(const struct hmm_range_dma *cmd, const u64 *out)
{
	size_t bytes = cmd->nr * sizeof(*out);

	if (cmd->addrs &&
	    copy_to_user(u64_to_user_ptr(cmd->addrs), out,
			 bytes >> (cmd->entry_shift - PAGE_SHIFT)))
		return -EFAULT;
	if (copy_to_user(u64_to_user_ptr(cmd->data), out + cmd->nr, bytes))
		return -EFAULT;
	if (cmd->entries &&
	    copy_to_user(u64_to_user_ptr(cmd->entries), out + 2 * cmd->nr, bytes))
		return -EFAULT;
	if (cmd->after &&
	    copy_to_user(u64_to_user_ptr(cmd->after), out + 3 * cmd->nr, bytes))
		return -EFAULT;
	return 0;
}

static int range_dma_mapped(struct range_file *rf, struct device *dev,
			    struct hmm_dma_map *map, struct hmm_range_dma *cmd)
{
	size_t bytes = 4 * cmd->nr * sizeof(u64);
	u64 *out = kvmalloc(bytes, GFP_KERNEL);
	int ret;

	if (!out)
		return -ENOMEM;
	memset(out, 0xff, bytes);
	ret = range_dma_watched(rf, dev, map, cmd, out);
	if (!ret)
		ret = range_dma_put(cmd, out);
	kvfree(out);
	return ret;
}

static bool range_dma_part_fits(const struct hmm_range_dma *cmd)
{
	return cmd->part_nr <= cmd->nr >> (cmd->entry_shift - PAGE_SHIFT) &&
	       cmd->part <= (cmd->nr >> (cmd->entry_shift - PAGE_SHIFT)) - cmd->part_nr;
}

static bool range_dma_fits(const struct hmm_range_dma *cmd)
{
	u64 size, end;

	if (cmd->device >= HMM_RANGE_DMA_DEVICES || cmd->p2p >= HMM_RANGE_P2P_KINDS ||
	    cmd->entry_shift >= BITS_PER_LONG ||
	    cmd->nr != (unsigned long)cmd->nr)
		return false;
	if (!cmd->data)
		return true;
	return cmd->entry_shift >= PAGE_SHIFT && cmd->entry_shift <= 30 &&
	       cmd->nr && cmd->nr <= HMM_RANGE_MAX &&
	       !(cmd->nr % (1UL << (cmd->entry_shift - PAGE_SHIFT))) &&
	       IS_ALIGNED(cmd->start, 1UL << cmd->entry_shift) &&
	       !check_shl_overflow(cmd->nr, PAGE_SHIFT, &size) &&
	       !check_add_overflow(cmd->start, size, &end) &&
	       end == (unsigned long)end && range_dma_part_fits(cmd);
}

int test_hmm_dma_call(struct range_file *rf, struct hmm_range_dma *cmd)
{
	struct hmm_dma_map map = { };
	struct device *dev;
	int ret = 0;

	memset_startat(cmd, 0, ret);
	if (!range_dma_fits(cmd))
		return -EINVAL;
	dev = range_dma.devices[cmd->device];
	if (!dev || (cmd->p2p && !range_dma.provider))
		return -ENODEV;
	if ((cmd->at_once != HMM_RANGE_NONE_AT_ONCE || cmd->part_nr || cmd->flags) &&
	    !hmm_dma_unmap_range)
		return -EOPNOTSUPP;

	mutex_lock(&range_dma.lock);
	range_dma.cmd = cmd;
	cmd->ret = range_dma_alloc(dev, &map, cmd);
	if (!cmd->ret) {
		if (cmd->data)
			ret = range_dma_mapped(rf, dev, &map, cmd);
		hmm_dma_map_free(dev, &map);
	}
	mutex_unlock(&range_dma.lock);
	return ret;
}
