// SPDX-License-Identifier: GPL-2.0
/*
 * Owners of device memory, everywhere they matter.
 *
 * Two owners have memory in the process, others do not.  hmm_range_fault() and
 * migrate_vma_setup() are called on behalf of each, for device private and device
 * coherent memory, mapped by PTEs and by a PMD.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "../../../../lib/test_hmm/uapi.h"

/* The owners: two of each kind of memory, and nobody */
enum { PRIVATE_A, PRIVATE_B, COHERENT_A, COHERENT_B, NOBODY = HMM_RANGE_NOBODY };

static struct hmm_range_info info;
static int fds[HMM_RANGE_DEVICES] = { -1, -1, -1, -1 };

#define PAGE		(1UL << info.page_shift)
#define NR		(1UL << info.pmd_order)
#define HUGE		(NR * PAGE)

#define VALID		(info.valid)
#define WRITE		(info.write)
#define FLAGS		(info.valid | info.write | info.error)
#define ORDER(e)	((e) >> info.order_shift & info.order_mask)
#define PFN(e)		((e) & info.pfn_mask)

/* include/linux/migrate.h */
#define SYSTEM		(1 << 0)
#define PRIVATE		(1 << 1)
#define COHERENT	(1 << 2)
#define COMPOUND	(1 << 3)
#define KINDS		(SYSTEM | PRIVATE | COHERENT)

#define MPFN_MIGRATE	(1 << 1)
#define MPFN_COMPOUND	(1 << 4)

static int info_get(void)
{
	return ioctl(fds[0], HMM_RANGE_INFO, &info) ? -errno : 0;
}

static int devs_open(void)
{
	char path[] = "/dev/hmm_range0";
	int dev;

	for (dev = 0; dev < HMM_RANGE_DEVICES; dev++) {
		path[sizeof(path) - 2] = '0' + dev;
		fds[dev] = open(path, O_RDWR);
		if (fds[dev] < 0)
			return -errno;
	}
	return info_get();
}

static bool devs_present(int a, int b)
{
	return info.dev[a].nr && info.dev[b].nr;
}

/* What hmm_range_fault() answers to @owner for a request of @flags */
static int ask(int owner, void *p, unsigned long nr, __u64 flags, __u64 *entries)
{
	struct hmm_range_call call = {
		.start = (unsigned long)p, .end = (unsigned long)p + nr * PAGE,
		.default_flags = flags, .owner = owner, .nr = nr,
		.entries = (unsigned long)entries, .timeout_ms = 5000,
		.flags = HMM_RANGE_UNLOCKED,
	};

	memset(entries, 0, nr * sizeof(*entries));
	return ioctl(fds[0], HMM_RANGE_CALL, &call) ? -errno : call.ret;
}

/* What migrate_vma_setup() collects for an owner */
static int collect(int owner, void *p, unsigned long nr, __u64 select, __u64 *src,
		   __u64 *npages, __u64 *cpages)
{
	struct hmm_range_migrate migrate = {
		.addr = (unsigned long)p, .nr = nr, .src = (unsigned long)src,
		.select = select, .owner = owner, .to = HMM_RANGE_TO_NOWHERE,
	};
	int ret = ioctl(fds[0], HMM_RANGE_MIGRATE, &migrate) ? -errno : 0;

	*npages = migrate.npages;
	*cpages = migrate.cpages;
	return ret;
}

/* Collect pages and migrate them to the device, all or just the wanted ones */
static int to_dev(int dev, void *p, unsigned long nr, __u64 select,
		  const unsigned char *want, __u64 *src)
{
	struct hmm_range_migrate migrate = {
		.addr = (unsigned long)p, .nr = nr, .src = (unsigned long)src,
		.want = (unsigned long)want, .select = select, .owner = dev,
		.to = HMM_RANGE_TO_DEVICE,
	};

	return ioctl(fds[dev], HMM_RANGE_MIGRATE, &migrate) ? -errno : 0;
}

static int dev_remove(int dev)
{
	return ioctl(fds[dev], HMM_RANGE_REMOVE) ? -errno : info_get();
}

static int dev_add(int dev, __u32 lacks)
{
	return ioctl(fds[dev], HMM_RANGE_ADD, &lacks) ? -errno : info_get();
}

/* The device that the pfn belongs to; a removed device has none */
static int dev_of(__u64 pfn)
{
	int dev;

	for (dev = 0; dev < HMM_RANGE_DEVICES; dev++)
		if (pfn - info.dev[dev].first < info.dev[dev].nr)
			return dev;
	return NOBODY;
}

static __u64 kind(int dev)
{
	return dev <= PRIVATE_B ? PRIVATE : COHERENT;
}

/* An aligned range in its own mapping, populated with huge or small pages */
static unsigned char *range_new(unsigned long size, bool huge)
{
	unsigned char *p = mmap(NULL, size + HUGE, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	p += -(unsigned long)p % HUGE;
	madvise(p, size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	return p;
}

static void fill(unsigned char *p, unsigned long size)
{
	unsigned long i;

	for (i = 0; i < size; i += PAGE)
		*(unsigned long *)(p + i) = (unsigned long)p + i;
}

static bool intact(const unsigned char *p, unsigned long size)
{
	unsigned long i;

	for (i = 0; i < size; i += PAGE)
		if (*(const unsigned long *)(p + i) != (unsigned long)p + i)
			return false;
	return true;
}

static unsigned long count(const __u64 *entries, unsigned long n, __u64 flag)
{
	unsigned long i, found = 0;

	for (i = 0; i < n; i++)
		found += !!(entries[i] & flag);
	return found;
}

/*
 * How many pages are answered with exactly these flags and, if there is a pfn, with
 * one of that device, which follows that of the previous page in the same huge page.
 */
static unsigned long answered(const __u64 *e, unsigned long n, __u64 flags, int dev,
			      unsigned int order)
{
	unsigned long i, found = 0, mask = (1UL << order) - 1;

	for (i = 0; i < n; i++) {
		if (flags & VALID)
			found += (e[i] & FLAGS) == flags &&
				 dev_of(PFN(e[i])) == dev && ORDER(e[i]) == order &&
				 PFN(e[i]) == PFN(e[i & ~mask]) + (i & mask);
		else
			found += e[i] == flags;
	}
	return found;
}

FIXTURE(owners)
{
	unsigned char *p;
	__u64 *e;
};

FIXTURE_VARIANT(owners)
{
	int a, b;		/* they have memory in the process */
	bool huge;
};

FIXTURE_VARIANT_ADD(owners, private_pte)
{
	.a = PRIVATE_A, .b = PRIVATE_B, .huge = false,
};

FIXTURE_VARIANT_ADD(owners, private_pmd)
{
	.a = PRIVATE_A, .b = PRIVATE_B, .huge = true,
};

FIXTURE_VARIANT_ADD(owners, coherent_pte)
{
	.a = COHERENT_A, .b = COHERENT_B, .huge = false,
};

FIXTURE_VARIANT_ADD(owners, coherent_pmd)
{
	.a = COHERENT_A, .b = COHERENT_B, .huge = true,
};

/* Four times a huge page: of A, of B, of the system, and a hole */
FIXTURE_SETUP(owners)
{
	__u64 how = SYSTEM | (variant->huge ? COMPOUND : 0);

	ASSERT_EQ(0, devs_open());
	if (!devs_present(variant->a, variant->b))
		SKIP(return, "no such memory: boot with memmap=, load with spm_addr_dev0=");
	self->e = calloc(4 * NR, sizeof(*self->e));
	ASSERT_NE(NULL, self->e);
	self->p = range_new(4 * HUGE, variant->huge);
	ASSERT_NE(NULL, self->p);
	fill(self->p, 3 * HUGE);
	ASSERT_EQ(0, to_dev(variant->a, self->p, NR, how, NULL, self->e));
	ASSERT_EQ(variant->huge ? 1 : NR, count(self->e, NR, MPFN_MIGRATE));
	ASSERT_EQ(0, to_dev(variant->b, self->p + HUGE, NR, how, NULL, self->e));
	ASSERT_EQ(variant->huge ? 1 : NR, count(self->e, NR, MPFN_MIGRATE));
}

FIXTURE_TEARDOWN(owners)
{
	munmap(self->p, 4 * HUGE);
	free(self->e);
}

/*
 * Private memory is answered only to its owner, and to all others as if
 * it were swapped out, huge or not.  Coherent memory is accessible to the CPU, too.
 */
TEST_F(owners, answered_to_its_owner)
{
	__u64 other = kind(variant->a) == COHERENT ? VALID | WRITE : 0;
	unsigned int order = variant->huge ? info.pmd_order : 0;
	int owner, part;

	for (owner = NOBODY; owner < HMM_RANGE_DEVICES; owner++) {
		ASSERT_EQ(0, ask(owner, self->p, 4 * NR, 0, self->e));
		for (part = 0; part < 4; part++) {
			int dev = part == 0 ? variant->a :
				  part == 1 ? variant->b : NOBODY;
			__u64 flags = part == 3 ? 0 : VALID | WRITE;

			if (part < 2 && owner != dev)
				flags = other;
			EXPECT_EQ(NR, answered(self->e + part * NR, NR, flags, dev,
					       order)) {
				TH_LOG("owner %d, part %d: %016llx ...", owner, part,
				       self->e[part * NR]);
			}
		}
	}
}

/* Private memory requested by another is migrated with its data */
TEST_F(owners, comes_home_for_others)
{
	__u64 flags = VALID | WRITE;
	unsigned long i;
	bool private = kind(variant->a) == PRIVATE;

	ASSERT_EQ(0, ask(variant->a, self->p, 3 * NR, VALID | WRITE, self->e));
	EXPECT_EQ(NR, answered(self->e, NR, flags, variant->a,
			       variant->huge ? info.pmd_order : 0));
	for (i = NR; i < 3 * NR; i++) {
		ASSERT_EQ(flags, self->e[i] & flags);
		ASSERT_EQ(private || i >= 2 * NR ? NOBODY : variant->b,
			  dev_of(PFN(self->e[i])));
	}

	ASSERT_EQ(0, ask(NOBODY, self->p, 3 * NR, VALID, self->e));
	for (i = 0; i < NR; i++)
		ASSERT_EQ(private ? NOBODY : variant->a, dev_of(PFN(self->e[i])));
	EXPECT_TRUE(intact(self->p, 3 * HUGE));
}

/* Exactly the owner and the kind that were selected */
TEST_F(owners, selected_by_owner_and_kind)
{
	__u64 select, how, part, n, cpages, npages, per, want;
	int owner;

	per = variant->huge ? 1 : NR;
	how = variant->huge ? COMPOUND : 0;

	for (owner = NOBODY; owner < HMM_RANGE_DEVICES; owner++) {
		for (select = 0; select <= KINDS; select++) {
			ASSERT_EQ(0, collect(owner, self->p, 4 * NR, select | how,
					     self->e, &npages, &cpages));
			EXPECT_EQ(4 * NR, npages);
			for (part = 0, n = 0; part < 4; part++) {
				/* a hole has no owner */
				bool sel = part == 3 ||
					(part == 2 ? select & SYSTEM :
					 select & kind(variant->a) &&
					 owner == (part ? variant->b : variant->a));

				want = sel ? per : 0;
				n += want;
				EXPECT_EQ(want, count(self->e + part * NR, NR,
						      MPFN_MIGRATE)) {
					TH_LOG("owner %d, kinds %llu, part %llu",
					       owner, select, part);
				}
			}
			EXPECT_EQ(n, cpages);
		}
	}
	/* Nothing has moved */
	ASSERT_EQ(0, ask(variant->b, self->p, 4 * NR, 0, self->e));
	EXPECT_EQ(variant->b, dev_of(PFN(self->e[NR])));
	EXPECT_TRUE(intact(self->p, 3 * HUGE));
}

/* A range whose pages alternate between owners */
TEST_F(owners, selected_page_by_page)
{
	__u64 coherent = kind(variant->a) == COHERENT ? VALID | WRITE : 0;
	__u64 npages, cpages;
	unsigned long i;
	unsigned char *p;

	/* Also next to huge pages, pages of more than one owner are small */
	p = range_new(HUGE, false);
	ASSERT_NE(NULL, p);
	fill(p, HUGE);
	for (i = 0; i < NR; i += 4) {
		ASSERT_EQ(0, to_dev(variant->a, p + i * PAGE, 1, SYSTEM, NULL,
				    self->e));
		ASSERT_EQ(0, to_dev(variant->b, p + (i + 1) * PAGE, 1, SYSTEM, NULL,
				    self->e));
		ASSERT_EQ(0, madvise(p + (i + 3) * PAGE, PAGE, MADV_DONTNEED));
	}

	ASSERT_EQ(0, collect(variant->a, p, NR, kind(variant->a), self->e, &npages,
			     &cpages));
	EXPECT_EQ(NR / 2, cpages);
	for (i = 0; i < NR; i++)
		ASSERT_EQ(i % 4 == 0 || i % 4 == 3, !!(self->e[i] & MPFN_MIGRATE));

	ASSERT_EQ(0, collect(variant->b, p, NR, kind(variant->b) | SYSTEM, self->e,
			     &npages, &cpages));
	EXPECT_EQ(3 * NR / 4, cpages);
	for (i = 0; i < NR; i++)
		ASSERT_EQ(i % 4 != 0, !!(self->e[i] & MPFN_MIGRATE));

	ASSERT_EQ(0, ask(variant->b, p, NR, 0, self->e));
	for (i = 0; i < NR; i += 4) {
		ASSERT_EQ(1, answered(self->e + i, 1, coherent, variant->a, 0));
		ASSERT_EQ(1, answered(self->e + i + 1, 1, VALID | WRITE, variant->b, 0));
		ASSERT_EQ(1, answered(self->e + i + 2, 1, VALID | WRITE, NOBODY, 0));
		ASSERT_EQ(0, self->e[i + 3]);
	}
	munmap(p, HUGE);
}

static void in_child(struct __test_metadata *_metadata,
		     FIXTURE_DATA(owners) *self,
		     const FIXTURE_VARIANT(owners) *variant)
{
	__u64 coherent = kind(variant->a) == COHERENT ? VALID : 0;
	__u64 npages, cpages, per = variant->huge ? 1 : NR;
	unsigned int order = variant->huge ? info.pmd_order : 0;

	ASSERT_EQ(0, ask(variant->a, self->p, 2 * NR, 0, self->e));
	EXPECT_EQ(NR, answered(self->e, NR, VALID, variant->a, order));
	EXPECT_EQ(NR, answered(self->e + NR, NR, coherent, variant->b, order));

	ASSERT_EQ(0, collect(variant->b, self->p, 2 * NR, PRIVATE | COHERENT |
			     (variant->huge ? COMPOUND : 0), self->e, &npages,
			     &cpages));
	EXPECT_EQ(per, cpages);
	EXPECT_EQ(0, count(self->e, NR, MPFN_MIGRATE));

	/* A write request gives the child its own page, even for the owner */
	ASSERT_EQ(0, ask(variant->a, self->p, NR, VALID | WRITE, self->e));
	EXPECT_EQ(NR, count(self->e, NR, WRITE));
	EXPECT_TRUE(intact(self->p, 2 * HUGE));
}

/* Ownership remains after fork(), but writes must not be shared */
TEST_F(owners, after_fork)
{
	pid_t child = fork();
	int status;

	ASSERT_LE(0, child);
	if (!child) {
		/* the notifier is on the child's own memory */
		in_child(_metadata, self, variant);
		_exit(_metadata->exit_code);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(KSFT_PASS, WIFEXITED(status) ? WEXITSTATUS(status) : -1);
	EXPECT_TRUE(intact(self->p, 3 * HUGE));
}

/* A device is removed while its pages are in use: only they are migrated back */
TEST_F(owners, device_removed)
{
	unsigned long i;

	ASSERT_EQ(0, dev_remove(variant->a));
	ASSERT_EQ(0, ask(variant->b, self->p, 2 * NR, 0, self->e));
	for (i = 0; i < NR; i++) {
		ASSERT_EQ(VALID, self->e[i] & VALID);
		ASSERT_EQ(NOBODY, dev_of(PFN(self->e[i])));
	}
	EXPECT_EQ(NR, answered(self->e + NR, NR, VALID | WRITE, variant->b,
			       variant->huge ? info.pmd_order : 0));
	EXPECT_TRUE(intact(self->p, HUGE));
	EXPECT_EQ(0, dev_add(variant->a, 0));
}

FIXTURE(holes)
{
	unsigned char *p;
	__u64 *e;
};

FIXTURE_SETUP(holes)
{
	ASSERT_EQ(0, devs_open());
	self->e = calloc(8 * NR, sizeof(*self->e));
	ASSERT_NE(NULL, self->e);
	self->p = range_new(8 * HUGE, true);
	ASSERT_NE(NULL, self->p);
}

FIXTURE_TEARDOWN(holes)
{
	munmap(self->p, 8 * HUGE);
	free(self->e);
}

/*
 * A hole is collected whatever is selected, and may be filled. There are drivers that
 * select only their own private pages and populate the holes.
 */
TEST_F(holes, collected_whatever_is_selected)
{
	__u64 select, npages, cpages;

	for (select = 0; select <= (KINDS | COMPOUND); select++) {
		__u64 all = select & COMPOUND ? 1 : NR;

		ASSERT_EQ(0, collect(PRIVATE_A, self->p, NR, select, self->e,
				     &npages, &cpages));
		EXPECT_EQ(all, cpages) {
			TH_LOG("flags %llu", select);
		}
	}
	ASSERT_EQ(0, to_dev(PRIVATE_A, self->p, NR, PRIVATE, NULL, self->e));
	EXPECT_EQ(NR, count(self->e, NR, MPFN_MIGRATE));
	ASSERT_EQ(0, ask(PRIVATE_A, self->p, NR, 0, self->e));
	EXPECT_EQ(NR, answered(self->e, NR, VALID | WRITE, PRIVATE_A, 0));
}

/* A hole without upper page tables is collected to its end */
TEST_F(holes, above_pmd)
{
	unsigned long i, size = NR * HUGE;	/* usually the size of a PUD */
	__u64 npages, cpages;
	unsigned char *map, *p;

	map = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ASSERT_NE(MAP_FAILED, map);
	p = map + -(unsigned long)map % size;
	madvise(p, size, MADV_HUGEPAGE);
	ASSERT_EQ(0, collect(PRIVATE_A, p, 8 * NR, SYSTEM | COMPOUND, self->e,
			     &npages, &cpages));
	EXPECT_EQ(8 * NR, npages);
	EXPECT_EQ(8, cpages);
	for (i = 0; i < 8 * NR; i++)
		ASSERT_EQ(i % NR ? 0 : MPFN_MIGRATE | MPFN_COMPOUND, self->e[i]);

	/* from the middle of one to the middle of another */
	ASSERT_EQ(0, collect(PRIVATE_A, p + HUGE / 2, 7 * NR, SYSTEM | COMPOUND,
			     self->e, &npages, &cpages));
	EXPECT_EQ(7 * NR, npages);
	EXPECT_EQ(NR / 2 + 6 + NR / 2, cpages);
	munmap(map, 2 * size);
}

static void *discard(void *p)
{
	if (ioctl(fds[0], HMM_RANGE_WAIT))
		return "no split was seen";
	madvise(p, HUGE, MADV_DONTNEED);
	ioctl(fds[0], HMM_RANGE_GO);
	return NULL;
}

/*
 * A folio is split during the walk, which drops the lock, and the page table
 * goes away meanwhile.  Each page is still collected once.
 */
TEST_F(holes, table_gone_after_split)
{
	__u32 hold = HMM_RANGE_HOLD_UNMAP;
	__u64 npages, cpages;
	pthread_t thread;
	void *why;

	fill(self->p, HUGE);
	/* a large folio, mapped by PTEs except for its first page */
	ASSERT_EQ(0, madvise(self->p, PAGE, MADV_DONTNEED));
	ASSERT_EQ(0, ioctl(fds[0], HMM_RANGE_HOLD, &hold));
	ASSERT_EQ(0, pthread_create(&thread, NULL, discard, self->p));
	ASSERT_EQ(0, collect(PRIVATE_A, self->p, NR, SYSTEM | COMPOUND,
			     self->e, &npages, &cpages));
	pthread_join(thread, &why);
	ASSERT_EQ(NULL, why);
	EXPECT_EQ(NR, npages);
}

/* Single pages for parts of a huge hole, the first or not; stock oopses */
TEST_F(holes, filled_in_part)
{
	static const int first[] = { 1, 0 };
	unsigned char want[NR];
	unsigned long i;
	int k;

	for (k = 0; k < 2; k++, self->p += HUGE) {
		for (i = 0; i < NR; i++)
			want[i] = i ? i % 3 == 1 : first[k];
		ASSERT_EQ(0, to_dev(PRIVATE_A, self->p, NR, SYSTEM | COMPOUND, want,
				    self->e));
		for (i = 0; i < NR; i++)
			ASSERT_EQ(want[i], !!(self->e[i] & MPFN_MIGRATE));
		ASSERT_EQ(0, ask(PRIVATE_A, self->p, NR, 0, self->e));
		for (i = 0; i < NR; i++)
			ASSERT_EQ(want[i] ? VALID : 0, self->e[i] & VALID);
	}
	self->p -= 2 * HUGE;
}

static int tainted_by_warning(void)
{
	FILE *f = fopen("/proc/sys/kernel/tainted", "r");
	int taint = -1;

	if (!f || fscanf(f, "%d", &taint) != 1)
		taint = -1;
	if (f)
		fclose(f);
	return taint & 512;
}

FIXTURE(zone)
{
};

FIXTURE_SETUP(zone)
{
	ASSERT_EQ(0, devs_open());
}

FIXTURE_TEARDOWN(zone)
{
}

/*
 * Device memory without an owner, or without its methods, is refused without a
 * warning.  Last, as stock oopses without methods.
 */
TEST_F(zone, refused_without_owner)
{
	static const int devs[] = { PRIVATE_A, COHERENT_A };
	__u32 lack;
	int before, i;

	for (i = 0; i < 2; i++) {
		if (!info.dev[devs[i]].nr)
			continue;
		ASSERT_EQ(0, dev_remove(devs[i]));
		before = tainted_by_warning();
		for (lack = HMM_RANGE_LACKS_OWNER; lack <= HMM_RANGE_LACKS_OPS; lack++) {
			/* coherent memory is not migrated by faults */
			if (lack != HMM_RANGE_LACKS_RAM || kind(devs[i]) == PRIVATE)
				EXPECT_EQ(-EINVAL, dev_add(devs[i], lack));
		}
		EXPECT_EQ(before, tainted_by_warning());
		EXPECT_EQ(0, dev_add(devs[i], 0));
	}
}

TEST_HARNESS_MAIN
