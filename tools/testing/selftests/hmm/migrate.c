// SPDX-License-Identifier: GPL-2.0
/*
 * What migrate_vma_setup(), _pages() and _finalize() do on the way: what becomes
 * of pages that cannot move, and whether anything is lost.
 */
#define _GNU_SOURCE
#include "test.h"

FIXTURE_HMM();

/* Migrations with everything that can be said about them */

static int move(int dev, int owner, uint32_t to, uint64_t select, const void *addr,
		unsigned long nr, const uint8_t *want, uint64_t *src)
{
	struct hmm_range_migrate cmd = {
		.addr = (uintptr_t)addr,
		.nr = nr,
		.src = (uintptr_t)src,
		.want = (uintptr_t)want,
		.select = select,
		.owner = owner,
		.to = to,
	};

	return ioctl(hmm_fd[dev], HMM_RANGE_MIGRATE, &cmd) ? -errno : 0;
}

/* Which of the pages a device has */
static unsigned long with_device(const void *p, unsigned long nr)
{
	return nr - pages_with(p, nr, PM_PRESENT);
}

/* Destinations that are not as large as what is to go there */

/* Pages that were freed in a state that no free page may be in */
static bool bad_pages_seen(void)
{
	return number_of("/proc/sys/kernel/tainted", "") & (1 << 5);
}

/* Has the kernel think that the pages are in much use */
static void make_active(const void *p, unsigned long nr)
{
	int fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	unsigned long i;
	uint64_t seen;

	for (i = 0; i < 4 * nr; i++)
		if (pread(fd, &seen, sizeof(seen), (uintptr_t)p + i % nr * PAGE) < 0)
			break;
	close(fd);
}

/* The page stays, and is all that it was; the folio is freed as it came */
TEST_F(hmm, S38_huge_destination_of_a_page)
{
	const uint8_t want[] = { 1 + hmm.pmd_order, 1 };
	uint64_t src[2];
	char *p;

	NEED_DEVICE();
	NEED_THP();
	NEED(!bad_pages_seen(), "there were bad pages before");
	p = map_anon(2 * PAGE, false);
	fill(p, 2 * PAGE);
	make_active(p, 2);
	ASSERT_EQ(0, move(PRIVATE_A, PRIVATE_A, HMM_RANGE_TO_SYSTEM, SELECT_SYSTEM,
			  p, 2, want, src));
	EXPECT_EQ(0, src[0] & MPFN_MIGRATE);
	EXPECT_EQ(MPFN_MIGRATE, src[1] & MPFN_MIGRATE);
	ASSERT_EQ(0, move(PRIVATE_A, PRIVATE_A, HMM_RANGE_TO_DEVICE, SELECT_SYSTEM,
			  p, 2, want, src));
	EXPECT_EQ(0, src[0] & MPFN_MIGRATE);
	EXPECT_EQ(MPFN_MIGRATE, src[1] & MPFN_MIGRATE);
	EXPECT_TRUE(filled(p, 2 * PAGE));
	munmap(p, 2 * PAGE);
	EXPECT_FALSE(bad_pages_seen());
}

/* Nothing is mapped where nothing was collected */
TEST_F(hmm, S38_huge_destination_of_a_hole)
{
	const uint8_t want[] = { 1 + hmm.pmd_order };
	uint64_t src;
	char *p;

	NEED_DEVICE();
	NEED_THP();
	p = map_anon(HUGE, true);
	ASSERT_EQ(0, move(PRIVATE_A, PRIVATE_A, HMM_RANGE_TO_DEVICE, SELECT_SYSTEM,
			  p, 1, want, &src));
	EXPECT_EQ(0, src & MPFN_MIGRATE);
	EXPECT_EQ(0, pages_with(p, HUGE_NR, PM_PRESENT | PM_SWAPPED));
}

/* Neither as large as what is to go there, nor single: nothing moves */
TEST_F(hmm, S38_destination_of_another_order)
{
	uint8_t want[HUGE_NR];
	uint64_t src[HUGE_NR];
	char *p;

	NEED_DEVICE();
	NEED_THP();
	NEED(!bad_pages_seen(), "there were bad pages before");
	p = map_anon(HUGE, true);
	fill(p, HUGE);
	memset(want, 0, sizeof(want));
	want[0] = 1 + 4;
	want[HUGE_NR / 2] = 1 + 4;
	ASSERT_EQ(0, move(PRIVATE_A, PRIVATE_A, HMM_RANGE_TO_DEVICE,
			  SELECT_SYSTEM | SELECT_COMPOUND, p, HUGE_NR, want, src));
	EXPECT_EQ(0, src[0] & MPFN_MIGRATE);
	ASSERT_EQ(0, move(PRIVATE_A, PRIVATE_A, HMM_RANGE_TO_SYSTEM,
			  SELECT_SYSTEM | SELECT_COMPOUND, p, HUGE_NR, want, src));
	EXPECT_EQ(0, src[0] & MPFN_MIGRATE);
	EXPECT_EQ(0, with_device(p, HUGE_NR));
	EXPECT_TRUE(filled(p, HUGE));
	munmap(p, HUGE);
	EXPECT_FALSE(bad_pages_seen());
}

/* Nor does anything fill a huge hole but a huge folio */
TEST_F(hmm, S38_destination_of_a_huge_hole)
{
	uint8_t want[HUGE_NR];
	uint64_t src[HUGE_NR];
	char *p;

	NEED_DEVICE();
	NEED_THP();
	p = map_anon(HUGE, true);
	memset(want, 0, sizeof(want));
	want[0] = 1 + 4;
	ASSERT_EQ(0, move(PRIVATE_A, PRIVATE_A, HMM_RANGE_TO_DEVICE,
			  SELECT_SYSTEM | SELECT_COMPOUND, p, HUGE_NR, want, src));
	EXPECT_EQ(0, src[0] & MPFN_MIGRATE);
	EXPECT_EQ(0, pages_with(p, HUGE_NR, PM_PRESENT | PM_SWAPPED));
}

/* A huge page is split for them; those that get none stay */
TEST_F(hmm, S38_single_destinations_of_a_huge_page)
{
	uint8_t want[HUGE_NR];
	uint64_t src[HUGE_NR];
	unsigned long i;
	char *p;

	NEED_DEVICE();
	NEED_THP();
	p = map_anon(HUGE, true);
	fill(p, HUGE);
	for (i = 0; i < HUGE_NR; i++)
		want[i] = i % 3 != 1;
	ASSERT_EQ(0, move(PRIVATE_A, PRIVATE_A, HMM_RANGE_TO_DEVICE,
			  SELECT_SYSTEM | SELECT_COMPOUND, p, HUGE_NR, want, src));
	for (i = 0; i < HUGE_NR; i++) {
		ASSERT_EQ(want[i], !!(src[i] & MPFN_MIGRATE));
		ASSERT_EQ(want[i], with_device(p + i * PAGE, 1));
	}
	EXPECT_TRUE(filled(p, HUGE));
}

TEST_HARNESS_MAIN
