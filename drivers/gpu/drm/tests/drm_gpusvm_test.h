/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Interface of drm_gpusvm_test.c to tools/testing/selftests/gpusvm/gpusvm.c; may change
 * at any time.
 */
#ifndef _DRM_GPUSVM_TEST_H
#define _DRM_GPUSVM_TEST_H

#include <linux/ioctl.h>
#include <linux/types.h>

/*
 * Two GPUs behind the IOMMU that reach each other's memory, and one that reaches
 * memory directly and shares nothing
 */
#define GPUSVM_TEST_GPUS	3
#define GPUSVM_TEST_DIRECT	2
/* Memory of each */
#define GPUSVM_TEST_VRAM	(16ULL << 20)

/**
 * enum gpusvm_test_op - what the ioctl does
 * @GPUSVM_TEST_VM: address space of @gpu, which mirrors @len bytes at @addr of this
 *	process with notifiers of @arg bytes and ranges of the sizes in @chunks
 * @GPUSVM_TEST_READ: the engine copies @len bytes at @addr to @data
 * @GPUSVM_TEST_WRITE: the engine copies @len bytes from @data to @addr
 * @GPUSVM_TEST_ADD: the engine adds @arg to a 64-bit word of each page, at the offset of
 *	@addr in its page
 * @GPUSVM_TEST_FAULT: the engine's fault at @addr is served once, without a retry
 * @GPUSVM_TEST_MIGRATE: migrate to memory of GPU @gpu, for at least @arg ms
 * @GPUSVM_TEST_EVICT_RANGE: drm_gpusvm_range_evict() for the range of @addr
 * @GPUSVM_TEST_EVICT_GPU: drm_pagemap_evict_to_ram() for all memory of GPU @gpu
 * @GPUSVM_TEST_SCAN: drm_gpusvm_scan_mm() for the range of @addr and GPU @gpu
 * @GPUSVM_TEST_RANGE: look at the range of @addr
 * @GPUSVM_TEST_STATS: count
 * @GPUSVM_TEST_FAIL: call number @arg of @gpu's callback @len fails, 0 for none
 */
enum gpusvm_test_op {
	GPUSVM_TEST_VM,
	GPUSVM_TEST_READ,
	GPUSVM_TEST_WRITE,
	GPUSVM_TEST_ADD,
	GPUSVM_TEST_FAULT,
	GPUSVM_TEST_MIGRATE,
	GPUSVM_TEST_EVICT_RANGE,
	GPUSVM_TEST_EVICT_GPU,
	GPUSVM_TEST_SCAN,
	GPUSVM_TEST_RANGE,
	GPUSVM_TEST_STATS,
	GPUSVM_TEST_FAIL,
};

/* Flags of the engine's accesses and faults: struct drm_gpusvm_ctx */
#define GPUSVM_TEST_READ_ONLY	(1 << 0)
#define GPUSVM_TEST_MIXED	(1 << 1)
#define GPUSVM_TEST_DEVMEM_ONLY	(1 << 2)
/* Migrate to this GPU before mapping, as a driver's policy may */
#define GPUSVM_TEST_TO_VRAM	(1 << 3)
/* A range must consist of pages that are there */
#define GPUSVM_TEST_PRESENT	(1 << 4)
/* Flags of GPUSVM_TEST_MIGRATE: operations without this callback */
#define GPUSVM_TEST_NO_COPY	(1 << 5)
#define GPUSVM_TEST_NO_RELEASE	(1 << 6)

/* Callbacks that can fail */
enum {
	GPUSVM_TEST_FAIL_ALLOC,
	GPUSVM_TEST_FAIL_POPULATE,
	GPUSVM_TEST_FAIL_TO_VRAM,
	GPUSVM_TEST_FAIL_TO_RAM,
	GPUSVM_TEST_FAIL_MAP,
	/* Not callbacks: functions of the DMA layer, for the GPUs behind the IOMMU */
	GPUSVM_TEST_FAIL_LINK,
	GPUSVM_TEST_FAIL_SYNC,
	GPUSVM_TEST_FAILS,
};

/* What a GPU's page table entry refers to: GPUSVM_TEST_IN_VRAM << gpu for VRAM */
#define GPUSVM_TEST_IN_NONE	(1 << 0)
#define GPUSVM_TEST_IN_SYSTEM	(1 << 1)
#define GPUSVM_TEST_IN_READ	(1 << 2)
#define GPUSVM_TEST_IN_VRAM	(1 << 3)

/**
 * struct gpusvm_test - argument of the ioctl
 * @op: enum gpusvm_test_op
 * @gpu: which GPU
 * @flags: GPUSVM_TEST_READ_ONLY and others
 * @ret: 0 or negative error of the library; for GPUSVM_TEST_SCAN, its result
 * @addr: address in the process
 * @len: bytes
 * @data: buffer of @len bytes
 * @arg: see @op
 * @chunks: mask of the sizes of ranges
 * @start: begin of the range; 0 if there is none
 * @end: end of the range
 * @places: GPUSVM_TEST_IN_*, for all pages of the range
 * @entries: how many mappings the library made for the range
 * @iova: are the mappings in an IOVA space of the range's?
 * @faults: GPU faults served for this access
 * @vram: pages in use of GPU @gpu's memory
 * @mapped: mappings of device memory of GPU @gpu that are not unmapped
 * @ranges: in this address space
 * @invalidations: calls of the notifier in this address space
 * @stale: IOMMU mappings that were still there after the library unmapped them
 * @probed: are calls of the DMA layer, for the GPUs behind the IOMMU, counted?
 * @links: calls that linked pages to the IOVA space of a range or a copy
 * @read_only: how many of them did so for reading only
 * @syncs: calls after which the GPUs see what was linked
 * @unlinks: calls that unlinked pages
 * @linked: pages that are linked
 * @spaces: IOVA spaces that exist
 */
struct gpusvm_test {
	__u32 op;
	__u32 gpu;
	__u32 flags;
	__s32 ret;
	__u64 addr;
	__u64 len;
	__u64 data;
	__u64 arg;
	__u64 chunks;
	__u64 start;
	__u64 end;
	__u32 places;
	__u32 entries;
	__u32 iova;
	__u32 faults;
	__u64 vram;
	__s64 mapped;
	__u64 ranges;
	__u64 invalidations;
	__u64 stale;
	__u64 probed;
	__u64 links;
	__u64 read_only;
	__u64 syncs;
	__u64 unlinks;
	__s64 linked;
	__s64 spaces;
};

#define GPUSVM_TEST_IOCTL	_IOWR('G', 0, struct gpusvm_test)

#endif
