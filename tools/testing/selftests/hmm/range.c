// SPDX-License-Identifier: GPL-2.0
/*
 * What hmm_range_fault() of Linux 7.3 gets wrong: a test for each of its bugs.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <time.h>

#include "test.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL	102
#endif
#ifndef __NR_memfd_secret
#define __NR_memfd_secret	447
#endif

FIXTURE_HMM();

/* Makes the memory a single huge page; false if that fails */
static bool make_huge(void *p)
{
	fill(p, HUGE);
	if (number_of("/proc/self/smaps_rollup", "AnonHugePages:") <= 0)
		madvise(p, HUGE, MADV_COLLAPSE);
	return number_of("/proc/self/smaps_rollup", "AnonHugePages:") > 0;
}

/* Makes the memory a huge page of the device; false if that fails */
static bool make_huge_device(int dev, void *p)
{
	return make_huge(p) && to_device(dev, p, HUGE_NR, true) == (long)HUGE_NR;
}

static void *map_hugetlb(unsigned long size)
{
	write_file("/proc/sys/vm/nr_hugepages", "16");
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE |
		    MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
}

#define NEED_HUGETLB(p)							\
	NEED((p) != MAP_FAILED, "needs 2 MiB huge pages of hugetlb")

/* Two pages requested in a hole of 4096 without page tables: two faults */
TEST_F(hmm, two_of_4096_in_a_hole)
{
	unsigned long nr = 8 * HUGE_NR;
	char *p = map_anon(nr * PAGE, false);

	self->c = call_new(p, nr);
	self->c->e[7] = ASK_WRITE;
	self->c->e[5 * HUGE_NR + 9] = ASK_WRITE;
	ASSERT_ANSWERED(self->c, call_run(self->c));
	EXPECT_EQ(2, call_count(self->c, 0, nr, WRITABLE));
	EXPECT_EQ(nr - 2, call_count(self->c, 0, nr, NONE));
	EXPECT_EQ(2, pages_with(p, nr, PM_PRESENT));
	EXPECT_EQ(2, self->c->raw.faults);
}

/* The same in an existing page table */
TEST_F(hmm, one_of_512_in_a_page_table)
{
	char *p = map_anon(HUGE, false);

	fill(p, PAGE);
	self->c = call_new(p, HUGE_NR);
	self->c->e[100] = ASK_READ;
	ASSERT_ANSWERED(self->c, call_run(self->c));
	EXPECT_EQ(HUGE_NR - 2, call_count(self->c, 0, HUGE_NR, NONE));
	EXPECT_EQ(2, pages_with(p, HUGE_NR, PM_PRESENT));
	EXPECT_EQ(1, self->c->raw.faults);
}

/* One page requested in a hole of a million: one fault */
TEST_F_TIMEOUT(hmm, one_of_a_million, 120)
{
	unsigned long nr = 1UL << 20;
	char *p;

	NEED(sizeof(long) == 8, "needs 64 bit of addresses");
	p = mmap(NULL, nr * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE |
		 MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ASSERT_NE(MAP_FAILED, p);
	madvise(p, nr * PAGE, MADV_NOHUGEPAGE);
	self->c = call_new(p, nr);
	self->c->e[nr - 3] = ASK_WRITE;
	ASSERT_ANSWERED(self->c, call_run(self->c));
	EXPECT_EQ(1, call_count(self->c, 0, nr, WRITABLE));
	EXPECT_EQ(1, self->c->raw.faults);
}

/* A write request for one page copies none that are to be read only */
TEST_F(hmm, one_write_among_reads_copies_one)
{
	unsigned long nr = 64, i;
	int fd = memfd_new(nr * PAGE, 0);
	char *p;

	ASSERT_LE(0, fd);
	p = mmap(NULL, nr * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, p);
	fill(p, nr * PAGE);
	p = mmap(NULL, nr * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	ASSERT_NE(MAP_FAILED, p);
	self->c = call_new(p, nr);
	self->c->raw.flags = HMM_RANGE_UNLOCKED;
	for (i = 0; i < nr; i++)
		self->c->e[i] = i == 20 ? ASK_WRITE : ASK_READ;
	ASSERT_ANSWERED(self->c, call_run(self->c));
	EXPECT_EQ(nr, pages_with(p, nr, PM_PRESENT));
	EXPECT_EQ(nr - 1, pages_with(p, nr, PM_FILE));
	EXPECT_EQ(1, call_count(self->c, 0, nr, WRITABLE));
	close(fd);
}

/* A page beyond the end of the file does not matter if not requested */
TEST_F(hmm, end_of_file_not_asked)
{
	int fd = memfd_new(PAGE, 0);
	char *p;

	ASSERT_LE(0, fd);
	p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, p);
	self->c = call_new(p, 2);
	self->c->e[0] = ASK_READ;
	ASSERT_ANSWERED(self->c, call_run(self->c));
	EXPECT_TRUE(self->c->e[0] & hmm.valid);
	EXPECT_EQ(NONE, self->c->e[1]);
	close(fd);
}

/* A request for a hole does not migrate own device pages after it */
TEST_F(hmm, hole_before_own_device_pages)
{
	char *p = map_anon(HUGE, false);
	unsigned long i;

	NEED_DEVICE();
	fill(p + 4 * PAGE, 4 * PAGE);
	ASSERT_EQ(4, to_device(PRIVATE_A, p + 4 * PAGE, 4, false));
	self->c = call_new(p, 8);
	self->c->raw.owner = PRIVATE_A;
	self->c->raw.flags = HMM_RANGE_UNLOCKED;
	ASSERT_ANSWERED(self->c, call_ask(self->c, ASK_READ));
	for (i = 4; i < 8; i++)
		EXPECT_EQ(PRIVATE_A, pfn_dev(answer_pfn(self->c->e[i])));
	EXPECT_EQ(4, self->c->raw.faults);
}

/*
 * Forks, and lets the device write to a page that parent and child share.  The child
 * must not see that.
 */
static bool fork_write(struct call *c, volatile uint64_t *p, unsigned long at,
		       uint64_t *kind)
{
	int go[2], status;
	pid_t pid;

	if (pipe(go))
		return false;
	pid = fork();
	if (!pid) {
		char byte;

		close(go[1]);
		if (read(go[0], &byte, 1) < 0)
			_exit(2);
		_exit(p[0] == (uintptr_t)p ? 0 : 1);
	}
	c->data[at] = 42;
	c->raw.flags = HMM_RANGE_WRITE | HMM_RANGE_UNLOCKED;
	call_run(c);
	*kind = answer_kind(c->e[at]);
	close(go[1]);
	close(go[0]);
	waitpid(pid, &status, 0);
	return !c->raw.ret && !c->raw.stale && !status && p[0] == 42;
}

/* Write request for an own device page that is shared after fork */
TEST_F(hmm, own_device_page_after_fork)
{
	char *p = map_anon(HUGE, false);
	uint64_t kind = 0;

	NEED_DEVICE();
	fill(p, PAGE);
	ASSERT_EQ(1, to_device(PRIVATE_A, p, 1, false));
	self->c = call_new(p, 1);
	self->c->raw.owner = PRIVATE_A;
	self->c->e[0] = ASK_WRITE;
	EXPECT_TRUE(fork_write(self->c, (void *)p, 0, &kind));
	EXPECT_EQ(WRITABLE, kind);
	EXPECT_TRUE(call_check(self->c)) TH_LOG("%s", self->c->why);
}

/* The same for one that was made read-only and writable again, not shared */
TEST_F(hmm, own_device_page_after_mprotect)
{
	char *p = map_anon(HUGE, false);

	NEED_DEVICE();
	fill(p, PAGE);
	ASSERT_EQ(1, to_device(PRIVATE_A, p, 1, false));
	ASSERT_EQ(0, mprotect(p, PAGE, PROT_READ));
	self->c = call_new(p, 1);
	self->c->raw.owner = PRIVATE_A;
	ASSERT_FAILED(EPERM, self->c, call_ask(self->c, ASK_WRITE));
	ASSERT_ANSWERED(self->c, call_ask(self->c, ASK_READ));
	EXPECT_EQ(READABLE, answer_kind(self->c->e[0]));
	EXPECT_EQ(PRIVATE_A, pfn_dev(answer_pfn(self->c->e[0])));
	ASSERT_EQ(0, mprotect(p, PAGE, PROT_READ | PROT_WRITE));
	self->c->raw.flags = HMM_RANGE_UNLOCKED;
	ASSERT_ANSWERED(self->c, call_ask(self->c, ASK_WRITE));
	EXPECT_TRUE(filled(p, PAGE));
}

/* Own huge device page after fork */
TEST_F(hmm, own_device_huge_after_fork)
{
	char *p = map_anon(HUGE, true);
	uint64_t kind = 0;

	NEED_DEVICE();
	NEED(make_huge_device(PRIVATE_A, p), "no huge page available");
	self->c = call_new(p, HUGE_NR);
	self->c->raw.owner = PRIVATE_A;
	self->c->e[0] = ASK_WRITE;
	EXPECT_TRUE(fork_write(self->c, (void *)p, 0, &kind));
	EXPECT_EQ(WRITABLE, kind);
	EXPECT_TRUE(call_check(self->c)) TH_LOG("%s", self->c->why);
}

/* Own huge device page, from the middle; checks the contents */
TEST_F(hmm, own_device_huge_middle_pfn)
{
	char *p = map_anon(HUGE, true);

	NEED_DEVICE();
	NEED(make_huge_device(PRIVATE_A, p), "no huge page available");
	self->c = call_new(p + HUGE / 2, HUGE_NR / 2);
	self->c->raw.owner = PRIVATE_A;
	self->c->raw.flags = HMM_RANGE_READ;
	ASSERT_EQ(0, call_ask(self->c, ASK_READ));
	EXPECT_TRUE(call_filled(self->c));
	EXPECT_TRUE(call_check(self->c)) TH_LOG("%s", self->c->why);
	EXPECT_EQ(hmm.pmd_order, answer_order(self->c->e[0]));
	EXPECT_EQ(HUGE_NR / 2, call_count(self->c, 0, HUGE_NR / 2, WRITABLE));
}

/* Pages of a folio being split have no pgmap, and so no owner at the moment */
TEST_F(hmm, own_device_page_being_split)
{
	char *p = map_anon(HUGE, false);

	NEED_DEVICE();
	fill(p, 8 * PAGE);
	ASSERT_EQ(8, to_device(PRIVATE_A, p, 8, false));
	self->c = call_new(p, 8);
	self->c->raw.owner = PRIVATE_A;
	self->c->raw.flags = HMM_RANGE_SPLIT;
	ASSERT_ANSWERED(self->c, call_ask(self->c, ASK_NOTHING));
	EXPECT_EQ(8, call_count(self->c, 0, 8, NONE));
	self->c->raw.flags = 0;
	ASSERT_ANSWERED(self->c, call_ask(self->c, ASK_NOTHING));
	EXPECT_EQ(8, call_count(self->c, 0, 8, WRITABLE));
}

/* A foreign huge device page is treated like one that is swapped out */
TEST_F(hmm, foreign_device_huge_snapshot)
{
	char *p = map_anon(HUGE, true);
	int owner;

	NEED_DEVICE();
	NEED(make_huge_device(PRIVATE_A, p), "no huge page available");
	self->c = call_new(p, HUGE_NR);
	for (owner = NOBODY; owner <= COHERENT_B; owner++) {
		if (owner == PRIVATE_A)
			continue;
		self->c->raw.owner = owner;
		ASSERT_ANSWERED(self->c, call_ask(self->c, ASK_NOTHING));
		EXPECT_EQ(HUGE_NR, call_count(self->c, 0, HUGE_NR, NONE));
	}
}

/* And is migrated to system memory if requested */
TEST_F(hmm, foreign_device_huge_comes_home)
{
	char *p = map_anon(HUGE, true);

	NEED_DEVICE();
	NEED(make_huge_device(PRIVATE_A, p), "no huge page available");
	self->c = call_new(p, HUGE_NR);
	self->c->raw.owner = PRIVATE_B;
	self->c->raw.flags = HMM_RANGE_READ | HMM_RANGE_UNLOCKED;
	ASSERT_ANSWERED(self->c, call_ask(self->c, ASK_READ));
	EXPECT_TRUE(call_filled(self->c));
	EXPECT_EQ(HUGE_NR, pages_with(p, HUGE_NR, PM_PRESENT));
}

/* A request for one of its pages migrates that page only, and answers it */
TEST_F(hmm, foreign_device_pte_comes_home)
{
	char *p = map_anon(HUGE, false);

	NEED_DEVICE();
	fill(p, 8 * PAGE);
	ASSERT_EQ(8, to_device(PRIVATE_A, p, 8, false));
	self->c = call_new(p, 8);
	self->c->raw.owner = PRIVATE_B;
	self->c->raw.flags = HMM_RANGE_READ | HMM_RANGE_UNLOCKED;
	self->c->e[3] = ASK_READ;
	ASSERT_ANSWERED(self->c, call_run(self->c));
	EXPECT_TRUE(call_filled(self->c));
	EXPECT_EQ(7, call_count(self->c, 0, 8, NONE));
	EXPECT_EQ(1, pages_with(p, 8, PM_PRESENT));
}

/* A hole in hugetlb is answered as a hole */
TEST_F(hmm, hugetlb_hole_snapshot)
{
	char *p = map_hugetlb(HUGE);

	NEED_HUGETLB(p);
	self->c = call_new(p, HUGE_NR);
	ASSERT_ANSWERED(self->c, call_ask(self->c, ASK_NOTHING));
	EXPECT_EQ(HUGE_NR, call_count(self->c, 0, HUGE_NR, NONE));
	EXPECT_EQ(0, self->c->raw.faults);
}

/* The request for each sub-page counts */
TEST_F(hmm, hugetlb_sub_page_asked)
{
	char *p = map_hugetlb(HUGE);

	NEED_HUGETLB(p);
	self->c = call_new(p, HUGE_NR);
	self->c->e[5] = ASK_WRITE;
	EXPECT_EQ(0, call_run(self->c));
	EXPECT_EQ(WRITABLE, answer_kind(self->c->e[5]));
	EXPECT_TRUE(call_check(self->c)) TH_LOG("%s", self->c->why);
	EXPECT_EQ(HUGE_NR, call_count(self->c, 0, HUGE_NR, WRITABLE));
	EXPECT_EQ(hmm.pmd_order, answer_order(self->c->e[0]));
}

/* Also if the range begins in the middle */
TEST_F(hmm, hugetlb_from_its_middle)
{
	char *p = map_hugetlb(2 * HUGE);

	NEED_HUGETLB(p);
	fill(p, HUGE);
	self->c = call_new(p + HUGE / 2, HUGE_NR);
	self->c->raw.flags = HMM_RANGE_READ;
	self->c->e[HUGE_NR - 1] = ASK_READ;
	ASSERT_EQ(0, call_run(self->c));
	EXPECT_TRUE(call_check(self->c)) TH_LOG("%s", self->c->why);
	EXPECT_EQ(0, self->c->data[HUGE_NR - 1]);
	EXPECT_EQ((uintptr_t)p + HUGE / 2, self->c->data[0]);
}

/* A guard region is answered as 0, and a request for it fails */
TEST_F(hmm, guard_region)
{
	char *p = map_anon(HUGE, false);
	long faults;

	fill(p, 3 * PAGE);
	NEED(!madvise(p + PAGE, PAGE, MADV_GUARD_INSTALL), "needs guard regions");
	self->c = call_new(p, 3);
	ASSERT_ANSWERED(self->c, call_ask(self->c, ASK_NOTHING));
	EXPECT_EQ(NONE, self->c->e[1]);
	EXPECT_EQ(2, call_count(self->c, 0, 3, WRITABLE));
	/* No fault can make it present */
	faults = number_of("/sys/kernel/debug/hmm", "faults ");
	ASSERT_FAILED(EFAULT, self->c, call_ask(self->c, ASK_READ));
	EXPECT_EQ(faults, number_of("/sys/kernel/debug/hmm", "faults "));
	self->c->raw.default_flags = 0;
	self->c->raw.pfn_flags_mask = ASK_WRITE;
	self->c->e[0] = ASK_READ;
	self->c->e[1] = 0;
	self->c->e[2] = ASK_WRITE;
	ASSERT_ANSWERED(self->c, call_run(self->c));
	EXPECT_EQ(NONE, self->c->e[1]);
}

/* The same for poison */
TEST_F(hmm, hwpoison)
{
	char *p = map_anon(HUGE, false);

	signal(SIGBUS, no_sigbus);
	fill(p, 3 * PAGE);
	NEED(!madvise(p + PAGE, PAGE, MADV_HWPOISON), "needs CONFIG_MEMORY_FAILURE");
	self->c = call_new(p, 3);
	ASSERT_ANSWERED(self->c, call_ask(self->c, ASK_NOTHING));
	EXPECT_EQ(NONE, self->c->e[1]);
	EXPECT_EQ(2, call_count(self->c, 0, 3, WRITABLE));
	ASSERT_FAILED(EFAULT, self->c, call_ask(self->c, ASK_READ));
}

/* No device gets secret memory */
TEST_F(hmm, secretmem)
{
	int fd = syscall(__NR_memfd_secret, 0);
	char *p;

	NEED(fd >= 0, "needs secretmem.enable=1");
	ASSERT_EQ(0, ftruncate(fd, 2 * PAGE));
	p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, p);
	self->c = call_new(p, 2);
	ASSERT_ANSWERED(self->c, call_ask(self->c, ASK_NOTHING));
	EXPECT_EQ(2, call_count(self->c, 0, 2, ERROR));
	p[0] = 1;
	ASSERT_ANSWERED(self->c, call_ask(self->c, ASK_NOTHING));
	EXPECT_EQ(2, call_count(self->c, 0, 2, ERROR));
	ASSERT_FAILED(EFAULT, self->c, call_ask(self->c, ASK_READ));
	ASSERT_FAILED(EFAULT, self->c, call_ask(self->c, ASK_WRITE));
	close(fd);
}

/*
 * The fault of page 1 unmaps page 0 and so makes the call start over; the answer
 * for page 0 must not become a request.
 */
TEST_F(hmm, restart_does_not_read_answers)
{
	char *p = map_dev(PRIVATE_A, HMM_RANGE_MAP_PAGES, 2 * PAGE,
			  PROT_READ | PROT_WRITE, PAGE);

	ASSERT_NE(MAP_FAILED, p);
	p[0] = 1;
	ASSERT_EQ(0, act(PRIVATE_A, HMM_RANGE_ACT_UNMAP, 1, 0));
	self->c = call_new(p, 2);
	self->c->raw.flags = HMM_RANGE_UNLOCKED;
	self->c->e[1] = ASK_READ;
	ASSERT_ANSWERED(self->c, call_run(self->c));
	EXPECT_EQ(NONE, self->c->e[0]);
	EXPECT_TRUE(self->c->e[1] & hmm.valid);
	EXPECT_EQ(1, faults_served(PRIVATE_A));
}

static void *protect_during(void *p)
{
	long ret = ioctl(hmm_fd[PRIVATE_A], HMM_RANGE_WAIT);

	if (!ret)
		ret = mprotect(p, PAGE, PROT_READ);
	ioctl(hmm_fd[PRIVATE_A], HMM_RANGE_GO);
	return (void *)ret;
}

/*
 * While the lock is dropped at page 1, page 0 becomes read-only. It was answered
 * as writable before, but nobody requested that.
 */
TEST_F(hmm, dropped_lock_does_not_read_answers)
{
	char *p = map_dev(PRIVATE_A, HMM_RANGE_MAP_PAGES, 2 * PAGE,
			  PROT_READ | PROT_WRITE, PAGE);
	uint32_t point = HMM_RANGE_HOLD_DROP;
	pthread_t thread;
	void *failed;

	ASSERT_NE(MAP_FAILED, p);
	p[0] = 1;
	ASSERT_EQ(0, act(PRIVATE_A, HMM_RANGE_ACT_DROP, 0, 0));
	ASSERT_EQ(0, ioctl(hmm_fd[PRIVATE_A], HMM_RANGE_HOLD, &point));
	ASSERT_EQ(0, pthread_create(&thread, NULL, protect_during, p));
	self->c = call_new(p, 2);
	self->c->raw.flags = HMM_RANGE_UNLOCKED;
	self->c->e[1] = ASK_READ;
	ASSERT_ANSWERED(self->c, call_run(self->c));
	ASSERT_EQ(0, pthread_join(thread, &failed));
	ASSERT_EQ(NULL, failed);
	EXPECT_EQ(READABLE, answer_kind(self->c->e[0]));
	EXPECT_TRUE(self->c->e[1] & hmm.valid);
}

/* An invalid range is refused before anything is changed */
TEST_F(hmm, invalid_ranges)
{
	char *p = map_anon(HUGE, false);
	uintptr_t a = (uintptr_t)p;
	const struct { uint64_t start, end; } invalid[] = {
		{ a + 1, a + 2 * PAGE },
		{ a, a + 2 * PAGE - 1 },
		{ a + 8, a + PAGE + 8 },
		{ a, a },
		{ a + 8, a + 8 },
		{ a + PAGE, a },
		{ a + 2 * PAGE, a },
	};
	unsigned long i, unlocked;

	self->c = call_new(p, 4);
	for (i = 0; i < ARRAY_SIZE(invalid); i++) {
		for (unlocked = 0; unlocked < 2; unlocked++) {
			self->c->raw.start = invalid[i].start;
			self->c->raw.end = invalid[i].end;
			self->c->raw.flags = unlocked ? HMM_RANGE_UNLOCKED : 0;
			EXPECT_EQ(-EINVAL, call_ask(self->c, ASK_WRITE))
				TH_LOG("range %lu", i);
			EXPECT_TRUE(call_untouched(self->c));
			EXPECT_EQ(0, self->c->raw.overrun);
		}
	}
	EXPECT_EQ(0, pages_with(p, 4, PM_PRESENT));
}

/* So is a range that is not inside the notifier's interval */
TEST_F(hmm, outside_the_interval)
{
	char *p = map_anon(HUGE, false);
	uintptr_t a = (uintptr_t)p;
	const struct { uint64_t start, len; } invalid[] = {
		{ a + PAGE, 3 * PAGE },
		{ a, 3 * PAGE },
		{ a + PAGE, 2 * PAGE },
		{ a + 8 * PAGE, PAGE },
	};
	unsigned long i;

	self->c = call_new(p, 4);
	for (i = 0; i < ARRAY_SIZE(invalid); i++) {
		self->c->raw.interval_start = invalid[i].start;
		self->c->raw.interval_len = invalid[i].len;
		EXPECT_EQ(-EINVAL, call_ask(self->c, ASK_WRITE))
			TH_LOG("interval %lu", i);
		EXPECT_TRUE(call_untouched(self->c));
	}
	EXPECT_EQ(0, pages_with(p, 4, PM_PRESENT));
	self->c->raw.interval_start = a;
	self->c->raw.interval_len = 4 * PAGE;
	ASSERT_ANSWERED(self->c, call_ask(self->c, ASK_WRITE));
}

/* A child makes the call, and is killed at the 3rd page fault of the device's mapping */
static int killed_during(struct call *c, unsigned int flags)
{
	pid_t pid;
	int status;

	act(PRIVATE_A, HMM_RANGE_ACT_KILL, 3, 0);
	pid = fork();
	if (!pid) {
		c->raw.flags = flags;
		call_run(c);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		return 1;
	if (ioctl(hmm_fd[0], HMM_RANGE_LAST, &c->raw))
		return -errno;
	return c->raw.ret;
}

/* A fatal signal is noticed within one fault */
TEST_F(hmm, killed_in_locked_call)
{
	char *p = map_dev(PRIVATE_A, HMM_RANGE_MAP_PAGES, 64 * PAGE, PROT_READ, PAGE);

	ASSERT_NE(MAP_FAILED, p);
	self->c = call_new(p, 64);
	self->c->raw.default_flags = ASK_READ;
	EXPECT_EQ(-EINTR, killed_during(self->c, 0));
	EXPECT_GE(4, self->c->raw.faults);
	EXPECT_GE(4, faults_served(PRIVATE_A));
}

TEST_F(hmm, killed_in_unlocked_call)
{
	char *p = map_dev(PRIVATE_A, HMM_RANGE_MAP_PAGES, 64 * PAGE, PROT_READ, PAGE);

	ASSERT_NE(MAP_FAILED, p);
	self->c = call_new(p, 64);
	self->c->raw.default_flags = ASK_READ;
	EXPECT_EQ(-EINTR, killed_during(self->c, HMM_RANGE_UNLOCKED));
	EXPECT_GE(4, faults_served(PRIVATE_A));
}

/* The same if only a hole is left */
TEST_F(hmm, killed_before_a_hole)
{
	char *p = map_dev(PRIVATE_A, HMM_RANGE_MAP_PAGES, 2 * HUGE, PROT_READ, HUGE);
	int i;

	ASSERT_NE(MAP_FAILED, p);
	self->c = call_new(p, 2 * HUGE_NR);
	self->c->raw.pfn_flags_mask = ASK_READ;
	for (i = 0; i < 3; i++)
		self->c->e[i] = ASK_READ;
	EXPECT_EQ(-EINTR, killed_during(self->c, 0));
	EXPECT_EQ(3, faults_served(PRIVATE_A));
}

/* How often a call for @ask calls handle_mm_fault(), or its page faults */
static uint64_t faults_for(struct call *c, uint64_t ask)
{
	c->raw.flags |= HMM_RANGE_COUNT;
	if (call_ask(c, ask))
		return -1;
	return hmm.features & HMM_RANGE_HAS_COUNTS ? c->raw.calls : c->raw.faults;
}

/* Pages mapped by one fault are not faulted again */
TEST_F(hmm, thp_hole_costs_one_fault)
{
	char *p = map_anon(HUGE, true);

	NEED_THP();
	self->c = call_new(p, HUGE_NR);
	EXPECT_GE(2, faults_for(self->c, ASK_WRITE));
	EXPECT_TRUE(call_check(self->c)) TH_LOG("%s", self->c->why);
	EXPECT_EQ(hmm.pmd_order, answer_order(self->c->e[0]));
}

TEST_F(hmm, hugetlb_hole_costs_one_fault)
{
	char *p = map_hugetlb(HUGE);

	NEED_HUGETLB(p);
	self->c = call_new(p, HUGE_NR);
	EXPECT_GE(2, faults_for(self->c, ASK_WRITE));
	EXPECT_TRUE(call_check(self->c)) TH_LOG("%s", self->c->why);
}

TEST_F(hmm, file_costs_one_fault_a_window)
{
	unsigned long nr = 512;
	int fd = memfd_new(nr * PAGE, 0);
	char *p;

	ASSERT_LE(0, fd);
	p = mmap(NULL, nr * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, p);
	fill(p, nr * PAGE);
	p = mmap(NULL, nr * PAGE, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, p);
	self->c = call_new(p, nr);
	EXPECT_GE(33, faults_for(self->c, ASK_READ));
	EXPECT_TRUE(call_check(self->c)) TH_LOG("%s", self->c->why);
	close(fd);
}

TEST_F(hmm, one_missing_of_512_costs_one_fault)
{
	char *p = map_anon(HUGE, false);

	fill(p, HUGE);
	ASSERT_EQ(0, madvise(p + 77 * PAGE, PAGE, MADV_DONTNEED));
	self->c = call_new(p, HUGE_NR);
	EXPECT_EQ(1, faults_for(self->c, ASK_READ));
	EXPECT_TRUE(call_check(self->c)) TH_LOG("%s", self->c->why);
}

/* Special entries are special at every level */
TEST_F(hmm, special_pmd)
{
	char *p = map_dev(PRIVATE_A, HMM_RANGE_MAP_PMD, HUGE,
			  PROT_READ | PROT_WRITE, HUGE);

	NEED(hmm.features & HMM_RANGE_HAS_PMD, "needs special PMDs");
	ASSERT_NE(MAP_FAILED, p);
	p[0] = 1;
	self->c = call_new(p, HUGE_NR);
	ASSERT_ANSWERED(self->c, call_ask(self->c, ASK_NOTHING));
	EXPECT_EQ(HUGE_NR, call_count(self->c, 0, HUGE_NR, ERROR));
	ASSERT_FAILED(EFAULT, self->c, call_ask(self->c, ASK_READ));
	ASSERT_FAILED(EFAULT, self->c, call_ask(self->c, ASK_WRITE));
}

TEST_F(hmm, special_pud)
{
	unsigned long size = PAGE << hmm.pud_order;
	char *p;

	NEED(hmm.features & HMM_RANGE_HAS_PUD, "needs special PUDs");
	p = map_dev(PRIVATE_A, HMM_RANGE_MAP_PUD, size, PROT_READ, size);
	ASSERT_NE(MAP_FAILED, p);
	(void)*(volatile char *)p;
	self->c = call_new(p + HUGE, 2 * HUGE_NR);
	ASSERT_ANSWERED(self->c, call_ask(self->c, ASK_NOTHING));
	EXPECT_EQ(2 * HUGE_NR, call_count(self->c, 0, 2 * HUGE_NR, ERROR));
	ASSERT_FAILED(EFAULT, self->c, call_ask(self->c, ASK_READ));
}

/* Does a child exit if killed, after it has announced the call on @said? */
static bool ends_when_killed(pid_t pid, int said)
{
	int tries;
	char c;

	if (read(said, &c, 1) != 1)
		return false;
	usleep(200000);
	kill(pid, SIGKILL);
	for (tries = 0; tries < 300; tries++) {
		if (waitpid(pid, NULL, WNOHANG))
			return true;
		usleep(10000);
	}
	return false;
}

/* A call that is invalidated all the time can be killed */
TEST_F(hmm, killed_during_retries)
{
	char *p = map_dev(PRIVATE_A, HMM_RANGE_MAP_PAGES, 2 * PAGE, PROT_READ, PAGE);
	int said[2];
	pid_t pid;

	ASSERT_NE(MAP_FAILED, p);
	ASSERT_EQ(0, pipe(said));
	self->c = call_new(p, 2);
	/* The fault of each page unmaps the other, so they are never both present */
	ASSERT_EQ(0, act(PRIVATE_A, HMM_RANGE_ACT_UNMAP, 0, 0));
	pid = fork();
	if (!pid) {
		self->c->raw.flags = HMM_RANGE_UNLOCKED;
		self->c->raw.timeout_ms = 60000;
		if (write(said[1], "", 1) == 1)
			call_ask(self->c, ASK_READ);
		_exit(0);
	}
	EXPECT_EQ(true, ends_when_killed(pid, said[0]));
	act(PRIVATE_A, HMM_RANGE_ACT_NONE, 0, 0);
	waitpid(pid, NULL, 0);
	ASSERT_EQ(0, ioctl(hmm_fd[0], HMM_RANGE_LAST, &self->c->raw));
	EXPECT_EQ(-EINTR, self->c->raw.ret);
}

/* So can a call that waits for mmap_lock */
TEST_F(hmm, killed_before_mmap_lock)
{
	/* Too small for the stack of the thread */
	char *hole = map_anon(3 * PAGE, false) + PAGE;
	int begin[2], said[2];
	pthread_t thread;
	pid_t pid;
	char c = 0;

	/* The lock of a VMA cannot tell that there is none */
	self->c = call_new(hole, 1);
	ASSERT_EQ(0, munmap(hole, PAGE));
	self->c->raw.flags = HMM_RANGE_OPENER;
	/* From here on, the call needs the lock only for its walk */
	ASSERT_ANSWERED(self->c, call_ask(self->c, ASK_NOTHING));
	ASSERT_EQ(0, pipe(begin));
	ASSERT_EQ(0, pipe(said));
	pid = fork();
	if (!pid) {
		self->c->raw.flags = HMM_RANGE_OPENER | HMM_RANGE_UNLOCKED;
		if (read(begin[0], &c, 1) == 1 && write(said[1], &c, 1) == 1)
			call_ask(self->c, ASK_READ);
		_exit(0);
	}
	ASSERT_TRUE(hold_mmap_lock(&thread));
	ASSERT_EQ(1, write(begin[1], &c, 1));
	EXPECT_EQ(true, ends_when_killed(pid, said[0]));
	release_mmap_lock(thread);
	waitpid(pid, NULL, 0);
	ASSERT_EQ(0, ioctl(hmm_fd[0], HMM_RANGE_LAST, &self->c->raw));
	EXPECT_EQ(-EINTR, self->c->raw.ret);
}

/* After a dropped lock the call continues at the same page */
TEST_F(hmm, dropped_locks_cost_no_revisits)
{
	unsigned long nr = 256;
	char *p = map_dev(PRIVATE_A, HMM_RANGE_MAP_PAGES, nr * PAGE, PROT_READ, PAGE);

	NEED(hmm.features & HMM_RANGE_HAS_VISITS, "needs kprobes to see visits");
	ASSERT_NE(MAP_FAILED, p);
	ASSERT_EQ(0, act(PRIVATE_A, HMM_RANGE_ACT_DROP, 0, 0));
	self->c = call_new(p, nr);
	self->c->raw.flags = HMM_RANGE_UNLOCKED | HMM_RANGE_COUNT;
	ASSERT_ANSWERED(self->c, call_ask(self->c, ASK_READ));
	/*
	 * Verify that the lock was dropped at each of them. In each page table, a
	 * fault may be the first to find that a VMA's lock is not enough.
	 */
	EXPECT_LE(2 * nr, self->c->raw.calls);
	EXPECT_GE(2 * nr + 2, self->c->raw.calls);
	EXPECT_GE(2 * nr, self->c->raw.visits);
}

struct unmapper {
	char *p;
	unsigned long size;
	volatile bool stop;
};

static void *unmap_always(void *arg)
{
	struct unmapper *u = arg;

	while (!u->stop)
		madvise(u->p, u->size, MADV_DONTNEED);
	return NULL;
}

/*
 * Bits that the notifier clears during the call stay cleared.  It clears from
 * the end while the call proceeds from the beginning, so they meet in each call.
 */
static unsigned long sticky_bits_lost(struct call *c, char *p,
				      unsigned long *cleared)
{
	struct unmapper u = { .p = p, .size = c->nr * PAGE };
	time_t end = time(NULL) + 5;
	unsigned long i, lost = 0;
	pthread_t thread;

	c->raw.flags = HMM_RANGE_STICKY;
	if (pthread_create(&thread, NULL, unmap_always, &u))
		return -1;
	while (time(NULL) < end && !lost) {
		for (i = 0; i < c->nr; i++)
			c->e[i] = hmm.dma_mapped;
		call_ask(c, ASK_NOTHING);
		lost += c->raw.lost;
		*cleared += c->raw.cleared;
	}
	u.stop = true;
	pthread_join(thread, NULL);
	return lost;
}

TEST_F(hmm, sticky_bits_in_a_hole)
{
	unsigned long nr = 8 * HUGE_NR, cleared = 0;
	char *p = map_anon(nr * PAGE, false);

	self->c = call_new(p, nr);
	EXPECT_EQ(0, sticky_bits_lost(self->c, p, &cleared));
	TH_LOG("%lu bits cleared by the notifier", cleared);
	EXPECT_LT(0, cleared);
}

/* The same with page tables */
TEST_F(hmm, sticky_bits_in_page_tables)
{
	unsigned long nr = 8 * HUGE_NR, cleared = 0, i;
	char *p = map_anon(nr * PAGE, false);

	for (i = 0; i < 8; i++)
		fill(p + i * HUGE, PAGE);
	self->c = call_new(p, nr);
	EXPECT_EQ(0, sticky_bits_lost(self->c, p, &cleared));
	TH_LOG("%lu bits cleared by the notifier", cleared);
	EXPECT_LT(0, cleared);
}

TEST_HARNESS_MAIN
