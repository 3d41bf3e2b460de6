/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Interface of /dev/hmm_range* of lib/test_hmm.
 *
 * All fields have a fixed width and the same layout on 32 and 64 bit.  Entries of
 * a range are passed through raw, so their bits differ between the two:
 * HMM_RANGE_INFO says where they are.
 */
#ifndef _LIB_TEST_HMM_RAW_UAPI_H
#define _LIB_TEST_HMM_RAW_UAPI_H

#include <linux/types.h>
#include <linux/ioctl.h>

/* /dev/hmm_range0 and 1 have device private memory, 2 and 3 coherent memory */
#define HMM_RANGE_DEVICES	4

/* An owner without any memory */
#define HMM_RANGE_NOBODY	(-1)

/**
 * struct hmm_range_info - properties of the kernel and the devices
 * @valid: HMM_PFN_VALID, which is also HMM_PFN_REQ_FAULT
 * @write: HMM_PFN_WRITE, which is also HMM_PFN_REQ_WRITE
 * @error: HMM_PFN_ERROR
 * @dma_mapped: HMM_PFN_DMA_MAPPED
 * @p2pdma: HMM_PFN_P2PDMA
 * @p2pdma_bus: HMM_PFN_P2PDMA_BUS
 * @pfn_mask: the bits of the pfn
 * @order_mask: the bits of the order, shifted right by @order_shift
 * @order_shift: position of the order
 * @page_shift: log2 of the page size
 * @pmd_order: log2 of the number of pages that a PMD maps
 * @pud_order: log2 of the number of pages that a PUD maps
 * @features: HMM_RANGE_HAS_*
 * @dev: pfns of each device's memory; @dev.nr is 0 if it has none
 */
struct hmm_range_info {
	__aligned_u64 valid;
	__aligned_u64 write;
	__aligned_u64 error;
	__aligned_u64 dma_mapped;
	__aligned_u64 p2pdma;
	__aligned_u64 p2pdma_bus;
	__aligned_u64 pfn_mask;
	__aligned_u64 order_mask;
	__u32 order_shift;
	__u32 page_shift;
	__u32 pmd_order;
	__u32 pud_order;
	__aligned_u64 features;
	struct {
		__aligned_u64 first;
		__aligned_u64 nr;
	} dev[HMM_RANGE_DEVICES];
};

#define HMM_RANGE_HAS_COUNTS	(1 << 0)	/* HMM_RANGE_COUNT works */
#define HMM_RANGE_HAS_VISITS	(1 << 1)	/* HMM_RANGE_COUNT also counts visited pages */
#define HMM_RANGE_HAS_PMD	(1 << 2)	/* HMM_RANGE_MAP_PMD works */
#define HMM_RANGE_HAS_PUD	(1 << 3)	/* HMM_RANGE_MAP_PUD works */
#define HMM_RANGE_HAS_SPECIAL	(1 << 4)	/* PTEs have a special bit */
#define HMM_RANGE_HAS_EXCLUSIVE	(1 << 5)	/* HMM_RANGE_EXCLUSIVE works */
#define HMM_RANGE_HAS_VMA_LOCK	(1 << 6)	/* VMAs have locks, and they may be taken */

/**
 * struct hmm_range_call - one call of hmm_range_fault()
 * @start: as in struct hmm_range
 * @end: as in struct hmm_range
 * @interval_start: start of the notifier's interval
 * @interval_len: bytes in it; 0 for the pages from @start to @end
 * @default_flags: as in struct hmm_range
 * @pfn_flags_mask: as in struct hmm_range
 * @entries: user array of __u64, the entries in and out
 * @data: user array of __u64, the first bytes of each answered page: read with
 *	HMM_RANGE_READ, written with HMM_RANGE_WRITE, if the answer allows it
 * @nr: length of both arrays; must be enough for @start to @end
 * @timeout_ms: timeout of the unlocked call, in milliseconds
 * @owner: number of the device to act as, or HMM_RANGE_NOBODY
 * @flags: HMM_RANGE_UNLOCKED and so on
 * @ret: out: what the call returned
 * @stale: out: whether the answers were invalidated before they could be used;
 *	if so, @data is untouched
 * @faults: out: successful page faults
 * @calls: out: with HMM_RANGE_COUNT, calls of handle_mm_fault()
 * @walks: out: with HMM_RANGE_COUNT, calls of walk_page_range() and its _vma()
 * @mmap_locks: out: with HMM_RANGE_COUNT, how often the call took mmap_lock itself
 * @visits: out: with HMM_RANGE_COUNT, pages that those walks covered
 * @ns: out: how long the call took
 * @invalidations: out: how often the notifier was called meanwhile
 * @cleared: out: with HMM_RANGE_STICKY, entries whose sticky bits the notifier changed
 * @lost: out: how many of those have lost that change
 * @overrun: out: entries written outside of the array
 * @compared: out: with HMM_RANGE_COMPARE, pages that the CPU could read as well
 * @differ: out: how many of those had other contents for the device
 * @unseen: out: answered pages, not device private, that the CPU could not read
 */
struct hmm_range_call {
	__aligned_u64 start;
	__aligned_u64 end;
	__aligned_u64 interval_start;
	__aligned_u64 interval_len;
	__aligned_u64 default_flags;
	__aligned_u64 pfn_flags_mask;
	__aligned_u64 entries;
	__aligned_u64 data;
	__u32 nr;
	__u32 timeout_ms;
	__s32 owner;
	__u32 flags;
	__s32 ret;
	__u32 stale;
	__aligned_u64 faults;
	__aligned_u64 calls;
	__aligned_u64 walks;
	__aligned_u64 visits;
	__aligned_u64 ns;
	__u32 invalidations;
	__u32 cleared;
	__u32 lost;
	__u32 overrun;
	__u32 compared;
	__u32 differ;
	__u32 unseen;
	__u32 mmap_locks;
};

/* Call hmm_range_fault_unlocked_timeout() */
#define HMM_RANGE_UNLOCKED	(1 << 0)
/* Read or write @data through the answers, holding the driver's lock */
#define HMM_RANGE_READ		(1 << 1)
#define HMM_RANGE_WRITE		(1 << 2)
/* Count, with kprobes; such calls are serialized */
#define HMM_RANGE_COUNT		(1 << 3)
/* In invalidated entries, the notifier clears HMM_PFN_DMA_MAPPED and sets P2PDMA */
#define HMM_RANGE_STICKY	(1 << 4)
/* Pass a sequence number that is outdated already */
#define HMM_RANGE_STALE		(1 << 5)
/* Use the mm of the process that opened the device, not the caller's */
#define HMM_RANGE_OPENER	(1 << 6)
/* With HMM_RANGE_READ: wait, then compare with what the CPU reads */
#define HMM_RANGE_COMPARE	(1 << 7)
/* Make pages of this device look as if being split: for snapshots only */
#define HMM_RANGE_SPLIT		(1 << 8)

/* Maximum number of entries of a call */
#define HMM_RANGE_MAX		(1 << 21)

/**
 * struct hmm_range_migrate - migrate_vma_setup(), and optionally the migration
 * @addr: start of the range
 * @nr: number of pages
 * @src: user array of __u64: out, src[] as set by migrate_vma_setup(), or by
 *	migrate_vma_pages() if that was called with destinations
 * @want: user array of __u8, or 0: by page, the order of the destination plus 1,
 *	or 0 for none, whatever was selected; without it, all selected pages get a
 *	destination of their own order
 * @select: MIGRATE_VMA_SELECT_*
 * @owner: number of the device to act as, or HMM_RANGE_NOBODY
 * @to: HMM_RANGE_TO_*
 * @npages: out: as set by migrate_vma_setup()
 * @cpages: out: as set by migrate_vma_setup()
 * @ns: out: time in migrate_vma_setup(), _pages() and _finalize()
 */
struct hmm_range_migrate {
	__aligned_u64 addr;
	__aligned_u64 nr;
	__aligned_u64 src;
	__aligned_u64 want;
	__aligned_u64 select;
	__s32 owner;
	__u32 to;
	__aligned_u64 npages;
	__aligned_u64 cpages;
	__aligned_u64 ns;
};

/* Leave everything where it is; to this device; to system memory */
#define HMM_RANGE_TO_NOWHERE	0
#define HMM_RANGE_TO_DEVICE	1
#define HMM_RANGE_TO_SYSTEM	2

/**
 * struct hmm_range_dma - map a range for DMA, and unmap it again
 * @start: start of the range, aligned to the size of an entry
 * @nr: number of pages
 * @entries: user array of __u64, or 0: the pfn list when everything is mapped
 * @addrs: user array of __u64, or 0: DMA address of each entry, ~0 if it has none
 * @data: user array of __u64, the first bytes of each page as the device reads
 *	them at these addresses, ~0 where it cannot; 0 to allocate and free only,
 *	with any @nr and @entry_shift
 * @default_flags: the request for each page
 * @entry_shift: log2 of the size of an entry in bytes
 * @device: HMM_RANGE_DMA_DIRECT to HMM_RANGE_DMA_NARROW
 * @fail_at: number of the mapping, or link to the IOMMU, that is to fail; 0 for
 *	none
 * @fail_sync_at: number of the sync of the IOMMU that is to fail; 0 for none
 * @at_once: HMM_RANGE_*_AT_ONCE: what hmm_dma_map_range() maps
 * @p2p: HMM_RANGE_P2P_*: how the device reaches memory of a PCI device
 * @flags: HMM_RANGE_DMA_BY_ACCESS, _AT and _OWN: what is tried on top of that
 * @part: index of the first entry that hmm_dma_unmap_range() is to unmap once all is
 *	mapped
 * @part_nr: how many entries; 0 for no such test
 * @unused: keeps what follows aligned
 * @after: user array of __u64, or 0: what the device reads then, as @data
 * @ret: out: what hmm_dma_map_alloc() or hmm_range_fault() returned
 * @ret_at_once: out: what hmm_dma_map_range() returned
 * @again: out: entries that have the same address when mapped a second time
 * @unmapped: out: entries that hmm_dma_unmap_pfn() reports as unmapped
 * @twice: out: entries that it reports when called a second time
 * @maps: out: attempted mappings or links, of HMM_RANGE_DMA_LIST or, with
 *	kprobes, HMM_RANGE_DMA_IOVA
 * @unmaps: out: mappings or links undone
 * @read_only: out: links that do not let the device write
 * @part_maps: out: @maps when all was mapped
 * @part_unmaps: out: @unmaps when the part was unmapped
 * @part_syncs: out: @syncs when all was mapped
 * @widened: out: index of the first entry that hmm_dma_widen() returns for the part
 * @widened_nr: out: how many
 * @part_unmapped: out: what hmm_dma_unmap_range() returned for the part
 * @part_ret: out: what hmm_dma_map_range() returned when called to map all again
 * @leaf: out: size of the IOMMU's leaf for the first entry that is mapped
 * @left: out: pages that the device can reach after all is unmapped
 * @unused2: keeps the size a multiple of 8
 * @syncs: out: syncs of the IOMMU
 * @wrong: out: mappings of another size than an entry, or undone with another size
 * @sticky: out: entries with sticky bits after everything has been unmapped
 */
struct hmm_range_dma {
	__aligned_u64 start;
	__aligned_u64 nr;
	__aligned_u64 entries;
	__aligned_u64 addrs;
	__aligned_u64 data;
	__aligned_u64 default_flags;
	__u32 entry_shift;
	__u32 device;
	__u32 fail_at;
	__u32 fail_sync_at;
	__u32 at_once;
	__u32 p2p;
	__u32 flags;
	__u32 part;
	__u32 part_nr;
	__u32 unused;
	__aligned_u64 after;
	__s32 ret;
	__s32 ret_at_once;
	__u32 again;
	__u32 unmapped;
	__u32 twice;
	__u32 maps;
	__u32 unmaps;
	__u32 syncs;
	__u32 wrong;
	__u32 sticky;
	__u32 read_only;
	__u32 part_maps;
	__u32 part_unmaps;
	__u32 part_syncs;
	__u32 widened;
	__u32 widened_nr;
	__u32 part_unmapped;
	__s32 part_ret;
	__u32 left;
	__u32 unused2;
	__aligned_u64 leaf;
};

/* Flags. Sets hmm_dma_map.by_access: */
#define HMM_RANGE_DMA_BY_ACCESS		1
/* Tells the address of the region, by hmm_dma_map_alloc_at() */
#define HMM_RANGE_DMA_AT		2
/* Asks for the device's own memory, too */
#define HMM_RANGE_DMA_OWN		4

/* Devices, not flags. One that needs no mapping: */
#define HMM_RANGE_DMA_DIRECT	0
/* One whose mappings are recorded and counted, and have other than physical addresses */
#define HMM_RANGE_DMA_LIST	1
/* The same, but memory has to be synchronized, which HMM does not support */
#define HMM_RANGE_DMA_SYNC	2
/* QEMU's edu, behind an IOMMU */
#define HMM_RANGE_DMA_IOVA	3
/* One that needs no mapping, and can address 4 GiB */
#define HMM_RANGE_DMA_NARROW	4
#define HMM_RANGE_DMA_DEVICES	5

/* Entry by entry; all in one call; every other entry alone, then all in one call */
#define HMM_RANGE_NONE_AT_ONCE	0
#define HMM_RANGE_ALL_AT_ONCE	1
#define HMM_RANGE_REST_AT_ONCE	2

/* As the kernel decides, which allows no transfer between these devices of QEMU */
#define HMM_RANGE_P2P_ASK	0
/* Memory of QEMU's ivshmem has a bus address */
#define HMM_RANGE_P2P_BUS	1
/* Through the host bridge, mapped like system memory */
#define HMM_RANGE_P2P_BRIDGE	2
#define HMM_RANGE_P2P_KINDS	3

/**
 * struct hmm_range_act - what to do at a page fault in a mapping of this open file
 * @what: HMM_RANGE_ACT_*
 * @nth: at which fault, 1 for the next; 0 for all
 * @arg: milliseconds of HMM_RANGE_ACT_SLEEP
 * @faults: out: faults since the last act was set
 */
struct hmm_range_act {
	__u32 what;
	__u32 nth;
	__u32 arg;
	__u32 faults;
};

#define HMM_RANGE_ACT_NONE	0
/* Sleep with the locks held */
#define HMM_RANGE_ACT_SLEEP	1
/* Once for each page: drop mmap_lock and return VM_FAULT_RETRY, if allowed */
#define HMM_RANGE_ACT_DROP	2
/* Unmap the neighbour: the page whose index differs in bit 0 */
#define HMM_RANGE_ACT_UNMAP	3
/* Send SIGKILL to the faulting task, then serve the fault */
#define HMM_RANGE_ACT_KILL	4
/* Fail */
#define HMM_RANGE_ACT_SIGBUS	5
#define HMM_RANGE_ACT_OOM	6
#define HMM_RANGE_ACT_HWPOISON	7
/* Stop, see HMM_RANGE_HOLD */
#define HMM_RANGE_ACT_HOLD	8
/* Unmap the faulting page, so that the notifier is called, and map nothing */
#define HMM_RANGE_ACT_TAKE	9
/* Succeed without mapping anything */
#define HMM_RANGE_ACT_NOPAGE	10

/* Where a call of this open file stops once, see HMM_RANGE_HOLD */
#define HMM_RANGE_HOLD_UNMAP	(1 << 0)	/* in the notifier, MMU_NOTIFY_CLEAR */
#define HMM_RANGE_HOLD_MIGRATE	(1 << 1)	/* after migrate_vma_setup() */
#define HMM_RANGE_HOLD_DROP	(1 << 2)	/* in HMM_RANGE_ACT_DROP, unlocked */
/*
 * Between reading an absent PMD and evaluating it.  The call does not stop there:
 * the waiter is woken, and preempts the call if its priority is higher.
 */
#define HMM_RANGE_HOLD_ABSENT	(1 << 3)
#define HMM_RANGE_HOLD_MMAP	(1 << 4)	/* in mmap(), mmap_lock held for writing */

/* What HMM_RANGE_ADD leaves out, which must make it fail */
#define HMM_RANGE_LACKS_OWNER	1
#define HMM_RANGE_LACKS_FREE	2
#define HMM_RANGE_LACKS_RAM	3
#define HMM_RANGE_LACKS_OPS	4

#define HMM_RANGE_INFO		_IOR('h', 0x60, struct hmm_range_info)
#define HMM_RANGE_CALL		_IOWR('h', 0x61, struct hmm_range_call)
/* The call that finished last, by whatever thread; without its entries */
#define HMM_RANGE_LAST		_IOR('h', 0x62, struct hmm_range_call)
#define HMM_RANGE_MIGRATE	_IOWR('h', 0x63, struct hmm_range_migrate)
#define HMM_RANGE_ACT		_IOWR('h', 0x64, struct hmm_range_act)
/*
 * Stop at these points, or -EOPNOTSUPP; wait until a thread has stopped, -ETIME
 * after 20 s; let it go on
 */
#define HMM_RANGE_HOLD		_IOW('h', 0x65, __u32)
#define HMM_RANGE_WAIT		_IO('h', 0x66)
#define HMM_RANGE_GO		_IO('h', 0x67)
/* Make the page at this address exclusive to the device */
#define HMM_RANGE_EXCLUSIVE	_IOW('h', 0x68, __u64)
/* Make this many allocations fail, of device memory or for its migration back */
#define HMM_RANGE_FAIL		_IOW('h', 0x69, __u32)
/* Remove the device's memory, after migrating it out; give it memory again */
#define HMM_RANGE_REMOVE	_IO('h', 0x6a)
#define HMM_RANGE_ADD		_IOW('h', 0x6b, __u32)
/* -ENODEV if there is no such device, -EOPNOTSUPP without hmm_dma_map_range() */
#define HMM_RANGE_DMA		_IOWR('h', 0x6c, struct hmm_range_dma)

/* What a mapping is made of: kind * HMM_RANGE_MAP_BYTES + offset in it */
#define HMM_RANGE_MAP_BYTES	(1UL << 28)
#define HMM_RANGE_MAP_PAGES	0	/* plain pages */
#define HMM_RANGE_MAP_IO	1	/* the same in a VM_IO mapping */
#define HMM_RANGE_MAP_SHADOW	2	/* plain; mremap() makes it a shadow stack */
#define HMM_RANGE_MAP_PFN	3	/* pfns in a VM_PFNMAP mapping */
#define HMM_RANGE_MAP_MIXED	4	/* even pages plain, odd ones special */
#define HMM_RANGE_MAP_PMD	5	/* special PMDs in a VM_MIXEDMAP mapping */
#define HMM_RANGE_MAP_PUD	6	/* special PUDs, without memory */
#define HMM_RANGE_MAP_KINDS	7

#endif /* _LIB_TEST_HMM_RAW_UAPI_H */
