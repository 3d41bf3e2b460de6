/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Shared by the parts of the test driver.
 */
#ifndef _LIB_TEST_HMM_H
#define _LIB_TEST_HMM_H

#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/hmm.h>
#include <linux/hmm-dma.h>
#include <linux/ioport.h>
#include <linux/memremap.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/ptrace.h>
#include <linux/spinlock.h>
#include <linux/xarray.h>

#include "uapi.h"

#define RANGE_PMD_ORDER		(PMD_SHIFT - PAGE_SHIFT)
#define RANGE_PMD_NR		(1UL << RANGE_PMD_ORDER)
#define RANGE_PUD_ORDER		(PUD_SHIFT - PAGE_SHIFT)

#define RANGE_WAIT		(20 * HZ)

/**
 * struct range_dev - one device, which is an owner
 * @misc: /dev/hmm_range*
 * @name: name of that node
 * @mirror: /dev/hmm_dmirror*, see mirror.c
 * @mirror_name: name of that node
 * @lock: protects @used, @unused and @fail
 * @change: serializes taking memory away and giving it back
 * @up: whether it has memory
 * @fail: how many allocations are still to fail
 * @pgmap: its memory
 * @place: physical addresses of private memory
 * @first: pfn of its memory
 * @used: which pages are allocated
 * @unused: all pages before this one are allocated
 * @storage: pages that hold the contents of device private pages, by index
 */
struct range_dev {
	struct miscdevice misc;
	char name[32];
	struct miscdevice mirror;
	char mirror_name[32];
	spinlock_t lock;
	struct mutex change;
	bool up;
	unsigned int fail;
#if IS_ENABLED(CONFIG_DEVICE_PRIVATE)
	struct dev_pagemap pgmap;
	struct resource *place;
	unsigned long first;
	unsigned long *used;
	unsigned long unused;
	struct page **storage;
#endif
};

extern struct range_dev test_hmm_devs[HMM_RANGE_DEVICES];

/**
 * struct range_file - one open file
 * @dev: the device
 * @mm: the opener's; mmgrab()ed
 * @lock: protects @act, @dropped, @last, @pages and @huge
 * @act: what the fault handler of a mapping should do
 * @dropped: index of the page at which mmap_lock was dropped last, plus 1
 * @last: the call that finished last
 * @pages: pages of mappings, by index
 * @huge: the memory of HMM_RANGE_MAP_PMD
 * @hold: HMM_RANGE_HOLD_* at which to stop
 * @held: completed when a thread has stopped
 * @go: completed to let it go on
 */
struct range_file {
	struct range_dev *dev;
	struct mm_struct *mm;
	struct mutex lock;
	struct hmm_range_act act;
	pgoff_t dropped;
	struct hmm_range_call last;
	struct xarray pages;
	struct page *huge;
	atomic_t hold;
	struct completion held;
	struct completion go;
};

/* core.c */

void test_hmm_stop(struct range_file *rf);
void test_hmm_stop_at(struct range_file *rf, int point);
bool test_hmm_owner(s32 number, void **owner);

/* call.c */

/**
 * struct range_watch - a notifier, and what it does to a running call
 * @notifier: the notifier
 * @lock: the driver's lock: held to change @notifier's sequence, and to use
 *	answers after mmu_interval_read_retry()
 * @rf: the file on which the call is made
 * @range: the call's range, or NULL
 * @cleared: entries in which the notifier replaced HMM_PFN_DMA_MAPPED by
 *	HMM_PFN_P2PDMA, by index; NULL to leave them alone
 * @set_again: how many of these had the bit once more when they were cleared
 * @invalidations: how often the notifier was called
 */
struct range_watch {
	struct mmu_interval_notifier notifier;
	struct mutex lock;
	struct range_file *rf;
	struct hmm_range *range;
	unsigned long *cleared;
	unsigned int set_again;
	unsigned int invalidations;
};

extern const struct mmu_interval_notifier_ops test_hmm_notifier_ops;

void test_hmm_watch_init(struct range_watch *watch, struct range_file *rf);
int test_hmm_fault(struct hmm_range *range, u32 flags, u32 timeout_ms);
int test_hmm_put_longs(u64 to, const unsigned long *from, unsigned long nr);
int test_hmm_call(struct range_file *rf, struct hmm_range_call *call);

/* mappings.c */

extern struct resource *test_hmm_nothing;

void test_hmm_nothing_init(void);
void test_hmm_nothing_exit(void);
int test_hmm_mmap(struct file *file, struct vm_area_struct *vma);

/* probes.c */

static inline unsigned long range_arg(struct pt_regs *regs, unsigned int n)
{
#ifdef CONFIG_HAVE_FUNCTION_ARG_ACCESS_API
	return regs_get_kernel_argument(regs, n);
#else
	return 0;
#endif
}

bool test_hmm_vma_lock_works(void);
int test_hmm_vma_lock_init(void);
void test_hmm_vma_lock_exit(void);

bool test_hmm_count_works(void);
void test_hmm_count_init(void);
void test_hmm_count_exit(void);
void test_hmm_count_begin(unsigned long start);
void test_hmm_count_end(struct hmm_range_call *call);
int test_hmm_absent_begin(struct range_file *rf);
void test_hmm_absent_end(struct range_file *rf);

/* device.c */

#if IS_ENABLED(CONFIG_DEVICE_PRIVATE)

bool test_hmm_is_private(const struct range_dev *dev);
bool test_hmm_is_dev_page(struct page *page);
struct range_dev *test_hmm_page_dev(struct page *page);
struct page *test_hmm_storage(struct page *page);
void test_hmm_give_all(struct range_dev *to, const unsigned long *src,
		       unsigned long *dst, unsigned long nr);
int test_hmm_dev_add(struct range_dev *dev, u32 lacks);
int test_hmm_dev_remove(struct range_dev *dev);
int test_hmm_dev_fail(struct range_dev *dev, u32 fail);
int test_hmm_dev_init(struct range_dev *dev);
void test_hmm_dev_exit(struct range_dev *dev);
void test_hmm_dev_info(const struct range_dev *dev, struct hmm_range_info *info);
void test_hmm_set_pgmaps(struct range_dev *dev, bool set);
int test_hmm_exclusive(struct range_dev *dev, unsigned long addr);
int test_hmm_migrate(struct range_file *rf, struct hmm_range_migrate *cmd);

/* mirror.c */

int test_hmm_mirror_init(struct range_dev *dev);
void test_hmm_mirror_exit(struct range_dev *dev);

#else /* !CONFIG_DEVICE_PRIVATE */

static inline struct page *test_hmm_storage(struct page *page)
{
	return page;
}

static inline int test_hmm_dev_add(struct range_dev *dev, u32 lacks)
{
	return -ENODEV;
}

static inline int test_hmm_dev_remove(struct range_dev *dev)
{
	return -ENODEV;
}

static inline int test_hmm_dev_fail(struct range_dev *dev, u32 fail)
{
	return -ENODEV;
}

static inline int test_hmm_dev_init(struct range_dev *dev)
{
	return 0;
}

static inline void test_hmm_dev_exit(struct range_dev *dev)
{
}

static inline void test_hmm_dev_info(const struct range_dev *dev,
				     struct hmm_range_info *info)
{
}

static inline void test_hmm_set_pgmaps(struct range_dev *dev, bool set)
{
}

static inline int test_hmm_exclusive(struct range_dev *dev, unsigned long addr)
{
	return -EOPNOTSUPP;
}

static inline int test_hmm_migrate(struct range_file *rf, struct hmm_range_migrate *cmd)
{
	return -EOPNOTSUPP;
}

static inline int test_hmm_mirror_init(struct range_dev *dev)
{
	return 0;
}

static inline void test_hmm_mirror_exit(struct range_dev *dev)
{
}

#endif /* CONFIG_DEVICE_PRIVATE */

/* dma.c */

#ifdef CONFIG_HAS_DMA

int test_hmm_dma_region_begin(struct hmm_dma_map *map);
void test_hmm_dma_region_end(struct hmm_dma_map *map);
void test_hmm_dma_init(void);
void test_hmm_dma_exit(void);
int test_hmm_dma_call(struct range_file *rf, struct hmm_range_dma *cmd);

#else /* !CONFIG_HAS_DMA */

static inline int test_hmm_dma_region_begin(struct hmm_dma_map *map)
{
	return -EOPNOTSUPP;
}

static inline void test_hmm_dma_region_end(struct hmm_dma_map *map) { }
static inline void test_hmm_dma_init(void) { }
static inline void test_hmm_dma_exit(void) { }

static inline int test_hmm_dma_call(struct range_file *rf, struct hmm_range_dma *cmd)
{
	return -ENODEV;
}

#endif /* CONFIG_HAS_DMA */

#endif /* _LIB_TEST_HMM_H */
