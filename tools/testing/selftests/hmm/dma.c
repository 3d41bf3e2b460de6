// SPDX-License-Identifier: GPL-2.0
/*
 * hmm_dma_map_*() for devices that reach memory in different ways, with entries of a
 * page and larger.  At the addresses that it gets, the device must read what the CPU has
 * written.
 */
#define _GNU_SOURCE
#include "test.h"

#define NONE_MAPPED	(~0ULL)

/* A call of hmm_dma_*(), its arrays and its memory */
struct dma {
	char *p;
	uint64_t *addrs, *data, *entries;
	struct hmm_range_dma cmd;
	unsigned long per;	/* pages of an entry */
	unsigned long nr;	/* entries */
};

static int dma(struct hmm_range_dma *cmd)
{
	return ioctl(hmm_fd[PRIVATE_A], HMM_RANGE_DMA, cmd) ? -errno : cmd->ret;
}

static const char *lacking(uint32_t device)
{
	struct hmm_range_dma cmd = { .nr = HUGE_NR, .device = device,
				     .entry_shift = hmm.page_shift };

	if (dma(&cmd) != -ENODEV)
		return NULL;
	return device == HMM_RANGE_DMA_IOVA ?
		"needs QEMU's -device intel-iommu and edu, and CONFIG_INTEL_IOMMU" :
		"needs CONFIG_ARCH_HAS_DMA_OPS";
}

/* A call for @pages at @p, in entries of @per pages; returns why not, or NULL */
static const char *dma_about(struct dma *d, uint32_t device, char *p,
			     unsigned long pages, unsigned long per)
{
	d->p = p;
	fill(p, pages * PAGE);
	d->per = per;
	d->nr = pages / per;
	d->addrs = calloc(pages, sizeof(uint64_t));
	d->data = calloc(pages, sizeof(uint64_t));
	d->entries = calloc(pages, sizeof(uint64_t));
	if (!d->addrs || !d->data || !d->entries)
		return "no memory";
	d->cmd = (struct hmm_range_dma){
		.start = (uintptr_t)d->p, .nr = pages,
		.entries = (uintptr_t)d->entries,
		.addrs = (uintptr_t)d->addrs, .data = (uintptr_t)d->data,
		.default_flags = ASK_WRITE,
		.entry_shift = hmm.page_shift + __builtin_ctzl(d->per),
		.device = device,
	};
	return NULL;
}

/* Entries of @order, where 9 means a huge page; returns why not, or NULL */
static const char *dma_open(struct dma *d, uint32_t device, unsigned int order)
{
	const char *why = hmm_open();
	unsigned long pages;

	if (!why)
		why = lacking(device);
	if (why)
		return why;
	thp_on_request();
	pages = 4 * HUGE_NR;
	why = dma_about(d, device, map_anon(pages * PAGE, order), pages,
			1UL << (order == 9 ? hmm.pmd_order : order));
	if (!why && order && number_of("/proc/self/smaps_rollup", "AnonHugePages:") <
			     (long)(pages * PAGE / 1024))
		why = "no huge pages available";
	return why;
}

FIXTURE(dma)
{
	struct dma d;
};

FIXTURE_VARIANT(dma)
{
	uint32_t device;
	unsigned int order;
};

#define DEVICE(_name, _device, _order)					\
	FIXTURE_VARIANT_ADD(dma, _name)					\
	{								\
		.device = HMM_RANGE_DMA_##_device, .order = _order,	\
	}

DEVICE(direct_4k, DIRECT, 0);
DEVICE(direct_64k, DIRECT, 4);
DEVICE(direct_huge, DIRECT, 9);
DEVICE(list_4k, LIST, 0);
DEVICE(list_64k, LIST, 4);
DEVICE(list_huge, LIST, 9);
DEVICE(iova_4k, IOVA, 0);
DEVICE(iova_64k, IOVA, 4);
DEVICE(iova_huge, IOVA, 9);

FIXTURE_SETUP(dma)
{
	const char *why = dma_open(&self->d, variant->device, variant->order);

	if (why)
		SKIP(return, "%s", why);
}

FIXTURE_TEARDOWN(dma)
{
	hmm_close();
}

/* The first page with wrong contents for the device, or the number of pages */
static unsigned long read_right(const struct dma *d)
{
	unsigned long i;

	for (i = 0; i < d->cmd.nr; i++)
		if (d->data[i] != d->cmd.start + i * PAGE)
			break;
	return i;
}

/*
 * Every entry leads to all of its own memory, and is mapped once. Behind an
 * IOMMU, entries are contiguous.
 */
TEST_F(dma, each_entry_leads_to_its_memory)
{
	struct dma *d = &self->d;
	unsigned long i;

	ASSERT_EQ(0, dma(&d->cmd));
	EXPECT_EQ(d->cmd.nr, read_right(d));
	EXPECT_EQ(d->nr, d->cmd.again);
	EXPECT_EQ(d->nr, d->cmd.unmapped);
	EXPECT_EQ(0, d->cmd.twice);
	EXPECT_EQ(0, d->cmd.sticky);
	EXPECT_EQ(0, d->cmd.wrong);
	if (variant->device == HMM_RANGE_DMA_LIST) {
		EXPECT_EQ(d->nr, d->cmd.maps);
		EXPECT_EQ(d->nr, d->cmd.unmaps);
	}
	for (i = 0; variant->device == HMM_RANGE_DMA_IOVA && i < d->nr; i++)
		ASSERT_EQ(d->addrs[0] + i * d->per * PAGE, d->addrs[i]);
}

/* A successful call that begins with hmm_dma_map_range() */
#define MAP_AT_ONCE(d)							\
	do {								\
		int __ret;						\
									\
		(d)->cmd.at_once = (d)->cmd.at_once ?: HMM_RANGE_ALL_AT_ONCE; \
		__ret = dma(&(d)->cmd);					\
		NEED(__ret != -EOPNOTSUPP, "needs hmm_dma_map_range()"); \
		ASSERT_EQ(0, __ret);					\
	} while (0)

/* The same if one call maps all; mapping them again does nothing */
TEST_F(dma, all_entries_at_once)
{
	struct dma *d = &self->d;

	MAP_AT_ONCE(d);
	EXPECT_EQ(0, d->cmd.ret_at_once);
	EXPECT_EQ(d->cmd.nr, read_right(d));
	EXPECT_EQ(d->nr, d->cmd.again);
	EXPECT_EQ(d->nr, d->cmd.unmapped);
	EXPECT_EQ(0, d->cmd.wrong);
	if (variant->device == HMM_RANGE_DMA_LIST)
		EXPECT_EQ(d->nr, d->cmd.maps);
}

/* Entries that are mapped already are left alone */
TEST_F(dma, the_rest_at_once)
{
	struct dma *d = &self->d;

	d->cmd.at_once = HMM_RANGE_REST_AT_ONCE;
	MAP_AT_ONCE(d);
	EXPECT_EQ(0, d->cmd.ret_at_once);
	EXPECT_EQ(d->cmd.nr, read_right(d));
	EXPECT_EQ(d->nr, d->cmd.unmapped);
	EXPECT_EQ(0, d->cmd.left);
	if (d->cmd.maps)
		EXPECT_EQ(d->nr, d->cmd.maps);
}

/* The sticky bits of an entry say whether it is mapped */
TEST_F(dma, sticky_bits_say_what_is_mapped)
{
	struct dma *d = &self->d;
	unsigned long i, found = 0;

	ASSERT_EQ(0, dma(&d->cmd));
	for (i = 0; i < d->cmd.nr; i++)
		found += !!(d->entries[i] & hmm.dma_mapped);
	EXPECT_EQ(d->nr, found);
}

/*
 * Pages of a huge page in order, but shifted by a page: without an IOMMU, a device
 * cannot use them as one large entry.
 */
TEST_F(dma, contiguous_but_not_aligned)
{
	struct dma *d = &self->d, off;
	char *q = map_anon(HUGE, false);

	NEED(variant->order == 4, "needs entries of some pages of a huge one");
	q = mremap(d->p + PAGE, d->per * PAGE, d->per * PAGE,
		   MREMAP_MAYMOVE | MREMAP_FIXED, q);
	ASSERT_NE(MAP_FAILED, q);
	ASSERT_EQ(NULL, dma_about(&off, variant->device, q, d->per, d->per));
	ASSERT_EQ(0, dma(&off.cmd));
	EXPECT_EQ(answer_pfn(off.entries[0]) + 1, answer_pfn(off.entries[1]));
	if (variant->device == HMM_RANGE_DMA_IOVA) {
		EXPECT_EQ(d->per, read_right(&off));
		EXPECT_EQ(0, off.addrs[0] & (d->per * PAGE - 1));
	} else {
		EXPECT_EQ(NONE_MAPPED, off.addrs[0]);
		EXPECT_EQ(0, off.cmd.unmapped);
	}
	EXPECT_EQ(0, off.cmd.sticky);
	EXPECT_EQ(off.cmd.maps, off.cmd.unmaps);
}

/* More entries than memory for them */
TEST_F(dma, no_memory_for_the_lists)
{
	struct dma *d = &self->d;

	NEED(sizeof(long) == 8, "needs 64 bit to ask for so much");
	d->cmd.data = 0;
	d->cmd.nr = 1ULL << 50;
	EXPECT_EQ(-ENOMEM, dma(&d->cmd));
	d->cmd.nr = HUGE_NR;
	EXPECT_EQ(0, dma(&d->cmd));
}

/* Makes each allocation fail in turn; returns how many did, or 0 after an error */
static unsigned int fail_each(struct dma *d)
{
	unsigned int nth;
	int ret;

	for (nth = 1; nth < 1000; nth++) {
		fail_allocation(nth);
		ret = dma(&d->cmd);
		if (!allocation_failed())
			break;
		if ((ret && ret != -ENOMEM) || d->cmd.sticky || d->cmd.twice ||
		    d->cmd.wrong)
			nth = 1000;
	}
	fail_allocation(0);
	return nth < 1000 ? nth - 1 : 0;
}

/* Whichever allocation fails, what was mapped is unmapped */
TEST_F_TIMEOUT(dma, every_allocation_fails_in_turn, 120)
{
	struct dma *d = &self->d;

	NEED(fail_allocation(0), "needs CONFIG_FAILSLAB and CONFIG_FAIL_PAGE_ALLOC");
	/* The time it takes grows with the square of the size */
	d->cmd.nr /= 4;
	d->nr /= 4;
	EXPECT_LT(0, fail_each(d));
	d->cmd.at_once = HMM_RANGE_ALL_AT_ONCE;
	if (dma(&d->cmd) != -EOPNOTSUPP)
		EXPECT_LT(0, fail_each(d));
	d->cmd.at_once = HMM_RANGE_NONE_AT_ONCE;
	ASSERT_EQ(0, dma(&d->cmd));
	EXPECT_EQ(d->cmd.nr, read_right(d));
}

/* Memory of a PCI device, and how another device can access it */
FIXTURE(p2p)
{
	struct dma d;
};

FIXTURE_VARIANT(p2p)
{
	uint32_t device;
	uint32_t way;
};

#define WAY(_name, _device, _way)					\
	FIXTURE_VARIANT_ADD(p2p, _name)					\
	{								\
		.device = HMM_RANGE_DMA_##_device,			\
		.way = HMM_RANGE_P2P_##_way,				\
	}

WAY(bus_direct, DIRECT, BUS);
WAY(bus_list, LIST, BUS);
WAY(bus_iova, IOVA, BUS);
WAY(bridge_direct, DIRECT, BRIDGE);
WAY(bridge_list, LIST, BRIDGE);
WAY(bridge_iova, IOVA, BRIDGE);
WAY(none_list, LIST, ASK);
WAY(none_iova, IOVA, ASK);

#define P2P_PAGES	16

FIXTURE_SETUP(p2p)
{
	const char *why = hmm_open();
	char *p;

	if (!why)
		why = lacking(variant->device);
	p = why ? NULL : map_p2p(P2P_PAGES * PAGE);
	if (!why && !p)
		why = "needs QEMU's -device ivshmem-plain, and CONFIG_PCI_P2PDMA";
	if (!why)
		why = dma_about(&self->d, variant->device, p, P2P_PAGES, 1);
	if (why)
		SKIP(return, "%s", why);
	self->d.cmd.p2p = variant->way;
}

FIXTURE_TEARDOWN(p2p)
{
	hmm_close();
}

/* All of it is mapped in that way, or nothing if there is no such way */
#define EXPECT_P2P(d)							\
	do {								\
		uint64_t bits = hmm.dma_mapped | hmm.p2pdma | hmm.p2pdma_bus; \
		uint64_t bit = variant->way == HMM_RANGE_P2P_BUS ?	\
			hmm.p2pdma_bus : hmm.p2pdma;			\
		bool none = variant->way == HMM_RANGE_P2P_ASK;		\
		unsigned long i, wrong = 0;				\
									\
		for (i = 0; i < (d)->nr; i++)				\
			wrong += ((d)->entries[i] & bits) !=		\
				 (none ? 0 : hmm.dma_mapped | bit);	\
		EXPECT_EQ(0, wrong);					\
		EXPECT_EQ(none ? 0 : (d)->nr, read_right(d));		\
		EXPECT_EQ(none ? 0 : (d)->nr, (d)->cmd.again);		\
		EXPECT_EQ(none ? 0 : (d)->nr, (d)->cmd.unmapped);	\
		EXPECT_EQ(0, (d)->cmd.twice);				\
		EXPECT_EQ(0, (d)->cmd.sticky);				\
		EXPECT_EQ(0, (d)->cmd.wrong);				\
		EXPECT_EQ(!(d)->cmd.maps, !(d)->cmd.unmaps);		\
		if (bit == hmm.p2pdma_bus)				\
			EXPECT_EQ(0, (d)->cmd.maps);			\
	} while (0)

/* Mapped in the way that the sticky bits tell */
TEST_F(p2p, one_by_one)
{
	struct dma *d = &self->d;

	ASSERT_EQ(0, dma(&d->cmd));
	EXPECT_P2P(d);
}

TEST_F(p2p, all_at_once)
{
	struct dma *d = &self->d;

	MAP_AT_ONCE(d);
	EXPECT_EQ(variant->way == HMM_RANGE_P2P_ASK ? -EREMOTEIO : 0,
		  d->cmd.ret_at_once);
	EXPECT_P2P(d);
}

FIXTURE_HMM();

FIXTURE(iommu)
{
	struct dma d;
};

FIXTURE_VARIANT(iommu)
{
	uint32_t at_once;
	uint32_t fail_at;
	uint32_t fail_sync_at;
};

#define REFUSAL(_name, _at_once, _fail_at, _fail_sync_at)		\
	FIXTURE_VARIANT_ADD(iommu, _name)				\
	{								\
		.at_once = _at_once, .fail_at = _fail_at,		\
		.fail_sync_at = _fail_sync_at,				\
	}

REFUSAL(link_of_one, HMM_RANGE_NONE_AT_ONCE, 3, 0);
REFUSAL(sync_of_one, HMM_RANGE_NONE_AT_ONCE, 0, 3);
REFUSAL(first_link_at_once, HMM_RANGE_ALL_AT_ONCE, 1, 0);
REFUSAL(second_link_at_once, HMM_RANGE_ALL_AT_ONCE, 2, 0);
REFUSAL(sync_at_once, HMM_RANGE_ALL_AT_ONCE, 0, 1);

#define HOLE	5

/* All pages but one are present, so mapping all at once makes two runs or more */
FIXTURE_SETUP(iommu)
{
	struct dma *d = &self->d;
	const char *why = dma_open(d, HMM_RANGE_DMA_IOVA, 0);

	if (why)
		SKIP(return, "%s", why);
	ASSERT_EQ(0, madvise(d->p + HOLE * PAGE, PAGE, MADV_DONTNEED));
	d->cmd.default_flags = ASK_NOTHING;
	d->cmd.at_once = variant->at_once;
	d->cmd.fail_at = variant->fail_at;
	d->cmd.fail_sync_at = variant->fail_sync_at;
}

FIXTURE_TEARDOWN(iommu)
{
	hmm_close();
}

/*
 * If the IOMMU refuses an entry, it is not mapped, the error is reported, and nothing
 * is left behind. The entries can then be mapped one by one.
 */
TEST_F(iommu, what_is_refused_is_not_mapped)
{
	struct dma *d = &self->d;
	unsigned long i, refused = 0;
	int ret = dma(&d->cmd);

	NEED(ret != -EOPNOTSUPP, "needs hmm_dma_map_range()");
	ASSERT_EQ(0, ret);
	NEED(d->cmd.maps, "needs CONFIG_KPROBES");
	for (i = 0; i < d->nr; i++) {
		refused += d->addrs[i] == NONE_MAPPED;
		if (d->addrs[i] != NONE_MAPPED)
			ASSERT_EQ(d->cmd.start + i * PAGE, d->data[i]);
		ASSERT_EQ(d->addrs[i] != NONE_MAPPED,
			  !!(d->entries[i] & hmm.dma_mapped));
	}
	EXPECT_EQ(variant->at_once ? -ENOMEM : 0, d->cmd.ret_at_once);
	EXPECT_EQ(variant->at_once ? 1 : 2, refused);
	EXPECT_EQ(d->nr - refused, d->cmd.again);
	EXPECT_EQ(d->nr - refused, d->cmd.unmapped);
	EXPECT_EQ(0, d->cmd.twice);
	EXPECT_EQ(0, d->cmd.sticky);
	EXPECT_EQ(0, d->cmd.left);
	/* The failed link is counted, but there is nothing to undo */
	if (!variant->at_once)
		EXPECT_EQ(d->cmd.maps, d->cmd.unmaps + !!variant->fail_at);
}

/* Huge pages, for a device with entries of a page */
FIXTURE(leaf)
{
	struct dma d;
	uint64_t *after;
	struct call *c;
};

FIXTURE_VARIANT(leaf)
{
	uint32_t device;
};

FIXTURE_VARIANT_ADD(leaf, iova) { .device = HMM_RANGE_DMA_IOVA };
FIXTURE_VARIANT_ADD(leaf, list) { .device = HMM_RANGE_DMA_LIST };

#define LEAVES	4UL

FIXTURE_SETUP(leaf)
{
	const char *why = hmm_open();
	struct dma *d = &self->d;

	if (!why)
		why = lacking(variant->device);
	if (why)
		SKIP(return, "%s", why);
	thp_on_request();
	why = dma_about(d, variant->device, map_anon(LEAVES * HUGE, true),
			LEAVES * HUGE_NR, 1);
	self->after = calloc(d->cmd.nr, sizeof(uint64_t));
	ASSERT_NE(NULL, self->after);
	if (!why && number_of("/proc/self/smaps_rollup", "AnonHugePages:") <
		    (long)(LEAVES * HUGE / 1024))
		why = "no huge pages available";
	if (why)
		SKIP(return, "%s", why);
	d->cmd.after = (uintptr_t)self->after;
}

FIXTURE_TEARDOWN(leaf)
{
	if (self->c)
		call_free(self->c);
	hmm_close();
}

/* The device can read that much of the memory from a page on, and nothing else */
static bool reads_only(const uint64_t *data, const struct dma *d, unsigned long from,
		       unsigned long nr)
{
	unsigned long i;

	for (i = 0; i < d->cmd.nr; i++)
		if (data[i] != (i >= from && i < from + nr ?
				d->cmd.start + i * PAGE : NONE_MAPPED))
			return false;
	return true;
}

/* All but that much */
static bool reads_all_but(const uint64_t *data, const struct dma *d,
			  unsigned long from, unsigned long nr)
{
	unsigned long i;

	for (i = 0; i < d->cmd.nr; i++)
		if (data[i] != (i >= from && i < from + nr ? NONE_MAPPED :
				d->cmd.start + i * PAGE))
			return false;
	return true;
}

/*
 * Huge pages take at most one link each, one sync, large leaves of the IOMMU, and
 * one flush when they are unmapped.
 */
TEST_F(leaf, one_link_for_a_huge_page)
{
	struct dma *d = &self->d;

	MAP_AT_ONCE(d);
	EXPECT_EQ(0, d->cmd.ret_at_once);
	EXPECT_EQ(d->cmd.nr, read_right(d));
	EXPECT_EQ(d->nr, d->cmd.unmapped);
	EXPECT_EQ(0, d->cmd.left);
	if (variant->device != HMM_RANGE_DMA_IOVA)
		return;
	EXPECT_EQ(HUGE, d->cmd.leaf);
	NEED(d->cmd.maps, "needs CONFIG_KPROBES");
	EXPECT_GE(LEAVES, d->cmd.part_maps);
	EXPECT_EQ(1, d->cmd.part_syncs);
	EXPECT_EQ(1, d->cmd.unmaps);
}

/* The same from the middle of a huge page, if the address is passed */
TEST_F(leaf, region_that_begins_in_a_huge_page)
{
	struct dma *d = &self->d;
	const char *q = d->p + HUGE - 3 * PAGE;

	NEED(variant->device == HMM_RANGE_DMA_IOVA, "needs an IOMMU");
	d->cmd.start = (uintptr_t)q;
	d->nr = 2 * HUGE_NR + 3;
	d->cmd.nr = d->nr;
	d->cmd.flags = HMM_RANGE_DMA_AT;
	d->cmd.part = 3 + 5;
	d->cmd.part_nr = 1;
	MAP_AT_ONCE(d);
	EXPECT_EQ(d->cmd.nr, read_right(d));
	EXPECT_EQ(3, d->cmd.widened);
	EXPECT_EQ(HUGE_NR, d->cmd.widened_nr);
	EXPECT_EQ(0, ((uintptr_t)q ^ d->addrs[0]) & (HUGE - 1));
	EXPECT_EQ(0, d->cmd.wrong);

	/* If it is not, each leaf is a page, and is unmapped separately */
	d->cmd.flags = 0;
	MAP_AT_ONCE(d);
	EXPECT_EQ(d->cmd.nr, read_right(d));
	EXPECT_EQ(PAGE, d->cmd.leaf);
	EXPECT_EQ(8, d->cmd.widened);
	EXPECT_EQ(1, d->cmd.widened_nr);
	EXPECT_EQ(1, d->cmd.part_unmapped);
	EXPECT_TRUE(reads_all_but(self->after, d, 8, 1));
}

/*
 * Unmapping a page of a large leaf unmaps all of it. Entries tell so, the others
 * stay mapped, and all can be mapped again.
 */
TEST_F(leaf, unmap_part)
{
	struct dma *d = &self->d;
	bool iova = variant->device == HMM_RANGE_DMA_IOVA;

	d->cmd.part = HUGE_NR + 7;
	d->cmd.part_nr = 2;
	MAP_AT_ONCE(d);
	EXPECT_EQ(d->cmd.nr, read_right(d));
	EXPECT_EQ(iova ? HUGE_NR : HUGE_NR + 7, d->cmd.widened);
	EXPECT_EQ(iova ? HUGE_NR : 2, d->cmd.widened_nr);
	EXPECT_EQ(d->cmd.widened_nr, d->cmd.part_unmapped);
	EXPECT_TRUE(reads_all_but(self->after, d, d->cmd.widened,
				  d->cmd.widened_nr));
	EXPECT_EQ(0, d->cmd.part_ret);
	EXPECT_EQ(d->nr, d->cmd.unmapped);
	EXPECT_EQ(0, d->cmd.wrong);
	EXPECT_EQ(0, d->cmd.left);
	if (iova && d->cmd.part_unmaps)
		EXPECT_EQ(1, d->cmd.part_unmaps);

	/* Across the boundary of two, and of all */
	d->cmd.part = HUGE_NR - 1;
	d->cmd.part_nr = HUGE_NR + 1;
	MAP_AT_ONCE(d);
	EXPECT_EQ(iova ? 0 : HUGE_NR - 1, d->cmd.widened);
	EXPECT_EQ(iova ? 2 * HUGE_NR : HUGE_NR + 1, d->cmd.widened_nr);
	EXPECT_EQ(0, d->cmd.wrong);
	d->cmd.part = 0;
	d->cmd.part_nr = d->nr;
	MAP_AT_ONCE(d);
	EXPECT_EQ(d->nr, d->cmd.part_unmapped);
	EXPECT_TRUE(reads_only(self->after, d, 0, 0));
	EXPECT_EQ(0, d->cmd.wrong);
}

/* A hole in a huge page: the rest of it has no large leaf */
TEST_F(leaf, unmap_part_beside_a_hole)
{
	struct dma *d = &self->d;

	ASSERT_EQ(0, madvise(d->p + HUGE + 20 * PAGE, PAGE, MADV_DONTNEED));
	d->cmd.default_flags = ASK_NOTHING;
	d->cmd.part = HUGE_NR + 7;
	d->cmd.part_nr = 2;
	MAP_AT_ONCE(d);
	EXPECT_EQ(0, d->cmd.ret_at_once);
	EXPECT_EQ(NONE_MAPPED, d->data[HUGE_NR + 20]);
	EXPECT_EQ(HUGE_NR + 7, d->cmd.widened);
	EXPECT_EQ(2, d->cmd.widened_nr);
	EXPECT_EQ(2, d->cmd.part_unmapped);
	EXPECT_EQ(0, d->cmd.wrong);
	EXPECT_EQ(0, d->cmd.left);
}

/* Without HMM_PFN_WRITE in the answer, memory is mapped read-only on request */
TEST_F(leaf, access)
{
	struct dma *d = &self->d;

	ASSERT_EQ(0, mprotect(d->p + HUGE, HUGE, PROT_READ));
	d->cmd.default_flags = ASK_NOTHING;
	MAP_AT_ONCE(d);
	EXPECT_EQ(d->cmd.nr, read_right(d));
	EXPECT_EQ(0, d->cmd.read_only);
	d->cmd.flags = HMM_RANGE_DMA_BY_ACCESS;
	MAP_AT_ONCE(d);
	EXPECT_EQ(0, d->cmd.ret_at_once);
	EXPECT_EQ(d->cmd.nr, read_right(d));
	EXPECT_EQ(d->nr, d->cmd.unmapped);
	EXPECT_EQ(0, d->cmd.wrong);
	EXPECT_EQ(0, d->cmd.left);
	NEED(variant->device == HMM_RANGE_DMA_IOVA && d->cmd.maps,
	     "needs an IOMMU and CONFIG_KPROBES");
	EXPECT_EQ(1, d->cmd.read_only);
	EXPECT_GE(LEAVES, d->cmd.part_maps);
	EXPECT_LE(2, d->cmd.part_maps);
	EXPECT_EQ(1, d->cmd.part_syncs);
}

/* The device's own memory is left to the driver: valid, and not mapped */
TEST_F(leaf, own_memory)
{
	struct dma *d = &self->d;
	unsigned long i;

	NEED_DEVICE();
	ASSERT_EQ(2, to_device(PRIVATE_A, d->p + 4 * PAGE, 2, false));
	d->cmd.default_flags = ASK_READ;
	d->cmd.flags = HMM_RANGE_DMA_OWN;
	MAP_AT_ONCE(d);
	EXPECT_EQ(0, d->cmd.ret_at_once);
	for (i = 0; i < d->nr; i++) {
		bool own = i == 4 || i == 5;

		ASSERT_EQ(hmm.valid, d->entries[i] & hmm.valid);
		ASSERT_EQ(own ? 0 : hmm.dma_mapped, d->entries[i] & hmm.dma_mapped);
		ASSERT_EQ(own, d->addrs[i] == NONE_MAPPED);
		ASSERT_EQ(own ? PRIVATE_A : NOBODY, pfn_dev(answer_pfn(d->entries[i])));
	}
	EXPECT_EQ(d->nr - 2, d->cmd.unmapped);
	EXPECT_EQ(0, d->cmd.wrong);
}

/* Absent pages are left out, whether mapped all at once or one by one */
TEST_F(dma, entries_that_are_not_valid)
{
	struct dma *d = &self->d;
	unsigned long i, wrong = 0;

	for (i = 1; i < d->nr; i += 2)
		ASSERT_EQ(0, madvise(d->p + i * d->per * PAGE, d->per * PAGE,
				     MADV_DONTNEED));
	d->cmd.default_flags = ASK_NOTHING;
	ASSERT_EQ(0, dma(&d->cmd));
	for (i = 0; i < d->nr; i++)
		wrong += (d->addrs[i] == NONE_MAPPED) != i % 2;
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(d->nr / 2, d->cmd.unmapped);

	d->cmd.at_once = HMM_RANGE_ALL_AT_ONCE;
	if (dma(&d->cmd) != -EOPNOTSUPP) {
		EXPECT_EQ(0, d->cmd.ret_at_once);
		EXPECT_EQ(d->nr / 2, d->cmd.unmapped);
	}
}

/* An entry that cannot be mapped does not affect the others */
TEST_F(hmm, one_mapping_fails)
{
	unsigned long i, wrong = 0;
	struct dma d = { };
	const char *why = dma_open(&d, HMM_RANGE_DMA_LIST, 4);

	NEED(!why, "%s", why);
	d.cmd.fail_at = 2;
	ASSERT_EQ(0, dma(&d.cmd));
	for (i = 0; i < d.nr; i++)
		wrong += (d.addrs[i] == NONE_MAPPED) != (i == 1);
	EXPECT_EQ(0, wrong);
	for (i = 0; i < d.cmd.nr; i++)
		wrong += d.data[i] != (i / d.per == 1 ? NONE_MAPPED :
						       d.cmd.start + i * PAGE);
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(d.nr - 1, d.cmd.unmapped);
	EXPECT_EQ(d.nr - 1, d.cmd.unmaps);
	EXPECT_EQ(0, d.cmd.sticky);
	EXPECT_EQ(0, d.cmd.wrong);

	/* All at once: entries before it are mapped, and the error is reported */
	d.cmd.at_once = HMM_RANGE_ALL_AT_ONCE;
	if (dma(&d.cmd) != -EOPNOTSUPP)
		EXPECT_GT(0, d.cmd.ret_at_once);
}

/* Entry 1 is not mapped, all others are */
static bool all_but_one(struct dma *d)
{
	unsigned long i;

	if (dma(&d->cmd))
		return false;
	for (i = 0; i < d->nr; i++)
		if (i == 1 ? d->addrs[i] != NONE_MAPPED :
			     d->addrs[i] == NONE_MAPPED)
			return false;
	return d->cmd.maps == d->nr - 1 && d->cmd.unmaps == d->cmd.maps &&
	       !d->cmd.wrong && !d->cmd.sticky;
}

/* An entry whose pages are not contiguous, or not of the same kind */
TEST_F(hmm, entry_of_pieces_is_refused)
{
	struct dma d = { };
	const char *why = dma_open(&d, HMM_RANGE_DMA_LIST, 4);
	char *spare = map_anon(PAGE, false), *page;

	NEED(!why, "%s", why);
	page = d.p + (d.per + 3) * PAGE;
	ASSERT_EQ(0, mprotect(page, PAGE, PROT_READ));
	d.cmd.default_flags = ASK_READ;
	EXPECT_TRUE(all_but_one(&d));
	ASSERT_EQ(0, mprotect(page, PAGE, PROT_READ | PROT_WRITE));

	/* Swap two pages */
	d.cmd.default_flags = ASK_WRITE;
	ASSERT_EQ(0, dma(&d.cmd));
	EXPECT_EQ(d.nr, d.cmd.unmapped);
	ASSERT_EQ(spare, mremap(page, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
				spare));
	ASSERT_EQ(page, mremap(page + 2 * PAGE, PAGE, PAGE,
			       MREMAP_MAYMOVE | MREMAP_FIXED, page));
	ASSERT_EQ(page + 2 * PAGE, mremap(spare, PAGE, PAGE, MREMAP_MAYMOVE |
					  MREMAP_FIXED, page + 2 * PAGE));
	EXPECT_TRUE(all_but_one(&d));

	/* One is absent */
	ASSERT_EQ(0, madvise(page, PAGE, MADV_DONTNEED));
	d.cmd.default_flags = ASK_NOTHING;
	EXPECT_TRUE(all_but_one(&d));
}

/* HMM does not support memory that has to be synchronized */
TEST_F(hmm, device_that_needs_sync_is_refused)
{
	struct hmm_range_dma cmd = { .nr = 1, .device = HMM_RANGE_DMA_SYNC,
				     .entry_shift = hmm.page_shift };

	NEED(!lacking(HMM_RANGE_DMA_SYNC), "needs CONFIG_ARCH_HAS_DMA_OPS");
	EXPECT_EQ(-EOPNOTSUPP, dma(&cmd));
}

/* Nor a device that needs bounce buffers for some of it */
TEST_F(hmm, device_that_needs_bounce_buffers_is_refused)
{
	struct hmm_range_dma cmd = { .nr = 1, .device = HMM_RANGE_DMA_NARROW,
				     .entry_shift = hmm.page_shift };

	NEED((uint64_t)sysconf(_SC_PHYS_PAGES) * PAGE > 1ULL << 32,
	     "needs more than 4 GiB of memory");
	EXPECT_EQ(-EOPNOTSUPP, dma(&cmd));
}

/* What hmm_dma_map_alloc() refuses */
TEST_F(hmm, invalid_map_is_refused)
{
	const struct hmm_range_dma good = { .nr = 2, .device = HMM_RANGE_DMA_DIRECT,
					    .entry_shift = hmm.page_shift };
	struct hmm_range_dma bad = good;

#define REFUSED_MAP(field, value)					\
	do {								\
		bad = good;						\
		bad.field = value;					\
		EXPECT_EQ(-EINVAL, dma(&bad)) TH_LOG(#field);		\
	} while (0)
	ASSERT_EQ(0, dma(&bad));
	REFUSED_MAP(nr, 0);
	REFUSED_MAP(entry_shift, 0);
	REFUSED_MAP(entry_shift, hmm.page_shift - 1);
	REFUSED_MAP(nr, 1UL << (8 * sizeof(long) - hmm.page_shift));
	bad.nr = (1UL << (8 * sizeof(long) - hmm.page_shift)) - 1;
	bad.entry_shift = hmm.page_shift + 9;
	EXPECT_EQ(-EINVAL, dma(&bad));
}

TEST_F(hmm, invalid_dma_is_refused)
{
	char *p = map_anon(HUGE, false);
	static uint64_t data[512];
	const struct hmm_range_dma good = {
		.start = (uintptr_t)p, .nr = 2, .data = (uintptr_t)data,
		.entry_shift = hmm.page_shift, .default_flags = ASK_WRITE,
	};
	struct hmm_range_dma bad = good;

	ASSERT_EQ(0, dma(&bad));
#define REFUSED(error, field, value)					\
	do {								\
		bad = good;						\
		bad.field = value;					\
		EXPECT_EQ(-(error), dma(&bad)) TH_LOG(#field);		\
	} while (0)
	REFUSED(EINVAL, nr, 0);
	REFUSED(EINVAL, p2p, HMM_RANGE_P2P_KINDS);
	REFUSED(EINVAL, nr, HMM_RANGE_MAX + 1);
	REFUSED(EINVAL, start, (uintptr_t)p + 1);
	REFUSED(EINVAL, start, -PAGE);
	REFUSED(EINVAL, device, HMM_RANGE_DMA_DEVICES);
	REFUSED(EINVAL, entry_shift, hmm.page_shift - 1);
	REFUSED(EINVAL, entry_shift, 63);
	REFUSED(EINVAL, entry_shift, hmm.page_shift + 2);
	REFUSED(EINVAL, part_nr, 3);
	bad = good;
	bad.part = 2;
	bad.part_nr = 1;
	EXPECT_EQ(-EINVAL, dma(&bad));
	REFUSED(EFAULT, data, 8);
	REFUSED(EFAULT, addrs, 8);
	REFUSED(EFAULT, entries, 8);
	munmap(p, HUGE);
	bad = good;
	EXPECT_EQ(-EFAULT, dma(&bad));
}

TEST_HARNESS_MAIN
