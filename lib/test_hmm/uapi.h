/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * What user space says to /dev/hmm_range* of lib/test_hmm.
 *
 * Everything is of fixed width and laid out alike on 32 and 64 bit.  Entries of
 * a range are handed through raw, so their bits differ between the two: ask
 * HMM_RANGE_INFO where they are.
 */
#ifndef _LIB_TEST_HMM_RAW_UAPI_H
#define _LIB_TEST_HMM_RAW_UAPI_H

#include <linux/types.h>
#include <linux/ioctl.h>

/* /dev/hmm_range0 and 1 have device private memory, 2 and 3 coherent memory */
#define HMM_RANGE_DEVICES	4

/* The owner that owns nothing */
#define HMM_RANGE_NOBODY	(-1)

/**
 * struct hmm_range_info - what the kernel and the devices are like
 * @valid: HMM_PFN_VALID, which is HMM_PFN_REQ_FAULT, too
 * @write: HMM_PFN_WRITE, which is HMM_PFN_REQ_WRITE, too
 * @error: HMM_PFN_ERROR
 * @dma_mapped: HMM_PFN_DMA_MAPPED
 * @p2pdma: HMM_PFN_P2PDMA
 * @p2pdma_bus: HMM_PFN_P2PDMA_BUS
 * @pfn_mask: the bits of the pfn
 * @order_mask: the bits of the order, after a shift by @order_shift
 * @order_shift: where the order begins
 * @page_shift: log2 of the page size
 * @pmd_order: log2 of the pages a PMD maps
 * @pud_order: log2 of the pages a PUD maps
 * @features: HMM_RANGE_HAS_*
 * @dev: pfns of each device's memory; @dev.nr is 0 where it has none
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
#define HMM_RANGE_HAS_VISITS	(1 << 1)	/* and tells pages visited */
#define HMM_RANGE_HAS_PMD	(1 << 2)	/* HMM_RANGE_MAP_PMD works */
#define HMM_RANGE_HAS_PUD	(1 << 3)	/* HMM_RANGE_MAP_PUD works */
#define HMM_RANGE_HAS_SPECIAL	(1 << 4)	/* PTEs have a special bit */
#define HMM_RANGE_HAS_EXCLUSIVE	(1 << 5)	/* HMM_RANGE_EXCLUSIVE works */

/**
 * struct hmm_range_call - one call of hmm_range_fault()
 * @start: as in struct hmm_range
 * @end: as in struct hmm_range
 * @interval_start: first byte the notifier watches
 * @interval_len: bytes it watches; 0 for the pages from @start to @end
 * @default_flags: as in struct hmm_range
 * @pfn_flags_mask: as in struct hmm_range
 * @entries: user array of __u64, the entries in and out
 * @data: user array of __u64, the first bytes of each page answered: read with
 *	HMM_RANGE_READ, written with HMM_RANGE_WRITE, where the answer allows it
 * @nr: length of both arrays; must be enough for @start to @end
 * @timeout_ms: of the unlocked call, in milliseconds
 * @owner: the device to play, or HMM_RANGE_NOBODY
 * @flags: HMM_RANGE_UNLOCKED and so on
 * @ret: out: what the call returned
 * @stale: out: the notifier had said so already when the call had returned 0;
 *	@data is then untouched
 * @faults: out: page faults that ended in success
 * @calls: out: with HMM_RANGE_COUNT, calls of handle_mm_fault()
 * @walks: out: with HMM_RANGE_COUNT, calls of walk_page_range() and its _vma()
 * @visits: out: with HMM_RANGE_COUNT, pages that those walks went over
 * @ns: out: how long the call took
 * @invalidations: out: how often the notifier was called meanwhile
 * @cleared: out: with HMM_RANGE_STICKY, entries whose sticky bits the notifier changed
 * @lost: out: and how many of those are not as it left them
 * @overrun: out: entries outside of the array that were written
 * @compared: out: with HMM_RANGE_COMPARE, pages that the CPU could read, too
 * @differ: out: and how many of those the device read otherwise
 * @unseen: out: and pages that the CPU could not read, though answered and its own
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
	__u32 reserved;
};

/* Call hmm_range_fault_unlocked_timeout() */
#define HMM_RANGE_UNLOCKED	(1 << 0)
/* Read, write @data through the answers, under the lock of the notifier */
#define HMM_RANGE_READ		(1 << 1)
#define HMM_RANGE_WRITE		(1 << 2)
/* Count, by kprobes; calls that count go one by one */
#define HMM_RANGE_COUNT		(1 << 3)
/* In entries of what it unmaps, the notifier clears HMM_PFN_DMA_MAPPED and sets P2PDMA */
#define HMM_RANGE_STICKY	(1 << 4)
/* Pass a sequence that is over before the call begins */
#define HMM_RANGE_STALE		(1 << 5)
/* Work on the mm that opened the device, not on the caller's */
#define HMM_RANGE_OPENER	(1 << 6)
/* With HMM_RANGE_READ: wait, then compare with what the CPU reads at the moment */
#define HMM_RANGE_COMPARE	(1 << 7)
/* Pages of this device look as if they were being split: good for a snapshot only */
#define HMM_RANGE_SPLIT		(1 << 8)

/* At most so many entries a call */
#define HMM_RANGE_MAX		(1 << 21)

/**
 * struct hmm_range_migrate - migrate_vma_setup(), and perhaps the rest of it
 * @addr: begin of the range
 * @nr: pages
 * @src: user array of __u64: out, src[] as set by migrate_vma_setup(), or after
 *	migrate_vma_pages() where pages were given a destination
 * @want: user array of __u8, or 0: give just those pages a destination of the
 *	order that is one less, whatever was selected; otherwise all that were
 *	selected, as large as they come
 * @select: MIGRATE_VMA_SELECT_*
 * @owner: the device to play, or HMM_RANGE_NOBODY
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
 * struct hmm_range_dma - hmm_dma_map_alloc(), all that goes into it, and out again
 * @start: first byte; aligned like an entry
 * @nr: pages
 * @entries: user array of __u64, or 0: the pfn list when all is mapped
 * @addrs: user array of __u64, or 0: DMA address of each entry, ~0 if it has none
 * @data: user array of __u64, the first bytes of each page as the device reads
 *	them at these addresses, ~0 where it cannot; 0 to allocate and free only,
 *	with whatever @nr and @entry_shift
 * @default_flags: what to ask of each page
 * @entry_shift: log2 of the bytes of an entry
 * @device: HMM_RANGE_DMA_*
 * @fail_at: that mapping, or link to the IOMMU, is to fail, 1 for the first; 0
 *	for none
 * @fail_sync_at: that sync of the IOMMU is to fail
 * @at_once: HMM_RANGE_*_AT_ONCE: whether to begin with hmm_dma_map_range()
 * @p2p: HMM_RANGE_P2P_*: how the device gets at memory of a PCI device
 * @ret: out: what hmm_dma_map_alloc() or hmm_range_fault() returned
 * @ret_at_once: out: what hmm_dma_map_range() returned
 * @again: out: entries that, mapped once more, have the address they had
 * @unmapped: out: entries that hmm_dma_unmap_pfn() says it unmapped
 * @twice: out: and says so when asked again
 * @maps: out: mappings or links that were to be made, of HMM_RANGE_DMA_LIST or, if
 *	there are kprobes, HMM_RANGE_DMA_IOVA
 * @unmaps: out: mappings or links undone
 * @syncs: out: syncs of the IOMMU
 * @wrong: out: of these, how many not of an entry's size or not as made
 * @sticky: out: entries with sticky bits when all is unmapped
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
};

/* A device that needs no mapping */
#define HMM_RANGE_DMA_DIRECT	0
/* One whose mappings are kept in a list, counted and not at physical addresses */
#define HMM_RANGE_DMA_LIST	1
/* The same, and its memory has to be synchronized, which HMM cannot do */
#define HMM_RANGE_DMA_SYNC	2
/* One behind an IOMMU: QEMU's edu */
#define HMM_RANGE_DMA_IOVA	3
/* One that needs no mapping, and reaches 4 GiB */
#define HMM_RANGE_DMA_NARROW	4
#define HMM_RANGE_DMA_DEVICES	5

/* Entry by entry; all by one call; every other by itself, then all by one call */
#define HMM_RANGE_NONE_AT_ONCE	0
#define HMM_RANGE_ALL_AT_ONCE	1
#define HMM_RANGE_REST_AT_ONCE	2

/* As Linux finds, which knows no way between the devices of QEMU; or not at all */
#define HMM_RANGE_P2P_ASK	0
/* Memory of QEMU's ivshmem is reached at a bus address */
#define HMM_RANGE_P2P_BUS	1
/* Through the host bridge: mapped like any other */
#define HMM_RANGE_P2P_BRIDGE	2
#define HMM_RANGE_P2P_KINDS	3

/**
 * struct hmm_range_act - what to do, and when
 * @what: HMM_RANGE_ACT_*
 * @nth: at that fault in a mapping of this open file, 1 for the next; 0 at each
 * @arg: milliseconds of HMM_RANGE_ACT_SLEEP
 * @faults: out: faults served since the last act was set
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
/* Once a page: drop mmap_lock and say VM_FAULT_RETRY, where that is allowed */
#define HMM_RANGE_ACT_DROP	2
/* Unmap the neighbour: the page whose index differs in bit 0 */
#define HMM_RANGE_ACT_UNMAP	3
/* SIGKILL to whoever faults; then serve the fault */
#define HMM_RANGE_ACT_KILL	4
/* Fail */
#define HMM_RANGE_ACT_SIGBUS	5
#define HMM_RANGE_ACT_OOM	6
#define HMM_RANGE_ACT_HWPOISON	7
/* Stop, see HMM_RANGE_HOLD */
#define HMM_RANGE_ACT_HOLD	8
/* Unmap the very page, so the notifier is called, and map nothing */
#define HMM_RANGE_ACT_TAKE	9
/* Succeed, and map nothing */
#define HMM_RANGE_ACT_NOPAGE	10

/* Where a call of this open file stops once, see HMM_RANGE_HOLD */
#define HMM_RANGE_HOLD_UNMAP	(1 << 0)	/* in the notifier, MMU_NOTIFY_CLEAR */
#define HMM_RANGE_HOLD_MIGRATE	(1 << 1)	/* after migrate_vma_setup() */
#define HMM_RANGE_HOLD_DROP	(1 << 2)	/* in HMM_RANGE_ACT_DROP, unlocked */
/*
 * Between reading an absent PMD and looking at what it says. Nothing stops there by
 * itself: who waits is woken there, and takes the processor, or does not get it.
 */
#define HMM_RANGE_HOLD_ABSENT	(1 << 3)
#define HMM_RANGE_HOLD_MMAP	(1 << 4)	/* in mmap(), mmap_lock held for writing */

/* What memory lacks when HMM_RANGE_ADD brings it back, which must then fail */
#define HMM_RANGE_LACKS_OWNER	1
#define HMM_RANGE_LACKS_FREE	2
#define HMM_RANGE_LACKS_RAM	3
#define HMM_RANGE_LACKS_OPS	4

#define HMM_RANGE_INFO		_IOR('h', 0x60, struct hmm_range_info)
#define HMM_RANGE_CALL		_IOWR('h', 0x61, struct hmm_range_call)
/* The last call that ended, whoever made it; entries are not kept */
#define HMM_RANGE_LAST		_IOR('h', 0x62, struct hmm_range_call)
#define HMM_RANGE_MIGRATE	_IOWR('h', 0x63, struct hmm_range_migrate)
#define HMM_RANGE_ACT		_IOWR('h', 0x64, struct hmm_range_act)
/*
 * Stop at these points, -EOPNOTSUPP where there is no such; wait until stopped,
 * -ETIME after 20 s; go on
 */
#define HMM_RANGE_HOLD		_IOW('h', 0x65, __u32)
#define HMM_RANGE_WAIT		_IO('h', 0x66)
#define HMM_RANGE_GO		_IO('h', 0x67)
/* Make the page at this address exclusive to the device */
#define HMM_RANGE_EXCLUSIVE	_IOW('h', 0x68, __u64)
/* Let the next so many allocations of the device, or for pages of it, fail */
#define HMM_RANGE_FAIL		_IOW('h', 0x69, __u32)
/* Take the memory away, bringing home what it holds; give it memory again */
#define HMM_RANGE_REMOVE	_IO('h', 0x6a)
#define HMM_RANGE_ADD		_IOW('h', 0x6b, __u32)
/* -ENODEV where there is no such device, -EOPNOTSUPP without hmm_dma_map_range() */
#define HMM_RANGE_DMA		_IOWR('h', 0x6c, struct hmm_range_dma)

/* What a mapping is made of: kind * HMM_RANGE_MAP_BYTES + offset in it */
#define HMM_RANGE_MAP_BYTES	(1UL << 28)
#define HMM_RANGE_MAP_PAGES	0	/* plain pages */
#define HMM_RANGE_MAP_IO	1	/* the same in a VM_IO mapping */
#define HMM_RANGE_MAP_SHADOW	2	/* plain; a shadow stack once moved by mremap() */
#define HMM_RANGE_MAP_PFN	3	/* pfns in a VM_PFNMAP mapping */
#define HMM_RANGE_MAP_MIXED	4	/* even pages plain, odd ones special */
#define HMM_RANGE_MAP_PMD	5	/* special PMDs in a VM_MIXEDMAP mapping */
#define HMM_RANGE_MAP_PUD	6	/* special PUDs, nothing behind the addresses */
#define HMM_RANGE_MAP_KINDS	7

#endif /* _LIB_TEST_HMM_RAW_UAPI_H */
