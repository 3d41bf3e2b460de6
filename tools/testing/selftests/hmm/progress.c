// SPDX-License-Identifier: GPL-2.0
/*
 * Progress: if the page faults of a call itself call the notifier, because they copy a
 * page or migrate one from a device, the call faults all requested pages before it
 * gives up, which it does once.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <time.h>

#include "test.h"

/* Pages of most variants */
#define NR	(4 * HUGE_NR)

static char *read_all(char *p, unsigned long size)
{
	read_pages(p, size);
	return p;
}

static char *zero_pages(unsigned long nr)
{
	return read_all(map_anon(nr * PAGE, false), nr * PAGE);
}

static char *forked_pages(unsigned long nr)
{
	char *p = map_anon(nr * PAGE, false);

	fill(p, nr * PAGE);
	return p;
}

static char *private_file_pages(unsigned long nr)
{
	int fd = memfd_new(nr * PAGE, 0);
	char *p;

	if (fd < 0)
		return NULL;
	p = mmap(NULL, nr * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	close(fd);
	return p == MAP_FAILED ? NULL : read_all(p, nr * PAGE);
}

static char *merged_pages(unsigned long nr)
{
	char *p = map_anon(nr * PAGE, false);
	int tries;

	memset(p, 7, nr * PAGE);
	if (!write_file("/sys/kernel/mm/ksm/run", "1") ||
	    madvise(p, nr * PAGE, MADV_MERGEABLE))
		return NULL;
	write_file("/sys/kernel/mm/ksm/sleep_millisecs", "0");
	write_file("/sys/kernel/mm/ksm/pages_to_scan", "10000");
	for (tries = 0; tries < 1000; tries++) {
		if (number_of("/sys/kernel/mm/ksm/pages_sharing", "") >=
		    (long)nr * 9 / 10)
			break;
		usleep(10000);
	}
	write_file("/sys/kernel/mm/ksm/run", "0");
	return tries < 1000 ? p : NULL;
}

/* Each requested page of it is migrated back separately */
static char *foreign_pages(unsigned long nr)
{
	char *p = map_anon(nr * PAGE, false);

	fill(p, nr * PAGE);
	return to_device(PRIVATE_B, p, nr, false) == (long)nr ? p : NULL;
}

static char *foreign_huge_pages(unsigned long nr)
{
	char *p = map_anon(nr * PAGE, true);

	fill(p, nr * PAGE);
	madvise(p, nr * PAGE, MADV_COLLAPSE);
	return to_device(PRIVATE_B, p, nr, true) == (long)nr ? p : NULL;
}

static char *huge_zero_pages(unsigned long nr)
{
	return thp_here() ? read_all(map_anon(nr * PAGE, true), nr * PAGE) : NULL;
}

static char *hugetlb_pages(unsigned long nr)
{
	char *p;

	write_file("/proc/sys/vm/nr_hugepages", "16");
	p = mmap(NULL, nr * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE |
		 MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	fill(p, nr * PAGE);
	return p;
}

/* A zero page, a hole, a present page, one that nobody requests */
static char *mixed_pages(unsigned long nr)
{
	char *p = map_anon(nr * PAGE, false);
	unsigned long i;

	for (i = 0; i < nr; i += 4) {
		read_all(p + i * PAGE, PAGE);
		fill(p + (i + 2) * PAGE, PAGE);
		read_all(p + (i + 3) * PAGE, PAGE);
	}
	return p;
}

FIXTURE(progress)
{
	struct call *c;
	char *p;
	pid_t child;
};

/**
 * struct progress - a variant
 * @made: makes that many pages; NULL if it cannot
 * @forked: a child that shares them keeps running
 * @size: pages handled by one fault, as a part of a huge page; 0 for 1
 * @faults: the most faults that this takes; 0 for 1
 */
FIXTURE_VARIANT(progress)
{
	char *(*made)(unsigned long nr);
	bool forked;
	bool huge;
	unsigned int faults;
};

FIXTURE_VARIANT_ADD(progress, zero) { .made = zero_pages };
FIXTURE_VARIANT_ADD(progress, forked) { .made = forked_pages, .forked = true };
FIXTURE_VARIANT_ADD(progress, private_file) { .made = private_file_pages };
FIXTURE_VARIANT_ADD(progress, ksm) { .made = merged_pages };
FIXTURE_VARIANT_ADD(progress, foreign) { .made = foreign_pages };
FIXTURE_VARIANT_ADD(progress, foreign_forked)
	{ .made = foreign_pages, .forked = true, .faults = 2 };
FIXTURE_VARIANT_ADD(progress, foreign_huge)
	{ .made = foreign_huge_pages, .faults = 2 };
FIXTURE_VARIANT_ADD(progress, huge_zero) { .made = huge_zero_pages };
FIXTURE_VARIANT_ADD(progress, hugetlb) { .made = hugetlb_pages, .forked = true };
FIXTURE_VARIANT_ADD(progress, mixed) { .made = mixed_pages };

FIXTURE_SETUP(progress)
{
	const char *why = hmm_open();

	if (why)
		SKIP(return, "%s", why);
	thp_on_request();
	self->p = variant->made(NR);
	if (!self->p)
		SKIP(return, "no such pages available");
	if (variant->forked) {
		self->child = fork();
		if (!self->child) {
			pause();
			_exit(0);
		}
	}
	self->c = call_new(self->p, NR);
	self->c->raw.owner = PRIVATE_A;
}

FIXTURE_TEARDOWN(progress)
{
	if (self->child > 0) {
		kill(self->child, SIGKILL);
		waitpid(self->child, NULL, 0);
	}
	if (self->c)
		call_free(self->c);
	hmm_close();
}

/* Repeats the locked call until it succeeds: returns the number of -EBUSY, or -1 */
static int busy_until_served(struct call *c, uint64_t ask, uint64_t *faults)
{
	int busy;

	*faults = 0;
	for (busy = 0; busy < 10; busy++) {
		c->raw.flags = 0;
		if (call_ask(c, ask) != -EBUSY)
			break;
		*faults += c->raw.faults;
		if (!call_check(c))
			return -1;
	}
	*faults += c->raw.faults;
	return c->raw.ret ? -1 : busy;
}

TEST_F(progress, locked_gives_up_once)
{
	uint64_t faults;

	EXPECT_GE(1, busy_until_served(self->c, ASK_WRITE, &faults));
	ASSERT_EQ(0, self->c->raw.ret);
	EXPECT_TRUE(call_check(self->c)) TH_LOG("%s", self->c->why);
	EXPECT_EQ(NR, call_count(self->c, 0, NR, WRITABLE));
	EXPECT_GE(NR * (variant->faults ?: 1), faults);
}

TEST_F(progress, unlocked_walks_three_times)
{
	self->c->raw.flags = HMM_RANGE_UNLOCKED | HMM_RANGE_COUNT;
	/* Enough for the page faults, but not for waiting for others */
	self->c->raw.timeout_ms = 20;
	ASSERT_ANSWERED(self->c, call_ask(self->c, ASK_WRITE));
	EXPECT_EQ(NR, call_count(self->c, 0, NR, WRITABLE));
	/* In each page table, a fault may find that the lock of a VMA is not enough */
	if (hmm.features & HMM_RANGE_HAS_COUNTS)
		EXPECT_GE(NR * (variant->faults ?: 1) + NR / HUGE_NR,
			  self->c->raw.calls);
	if (hmm.features & HMM_RANGE_HAS_VISITS)
		EXPECT_GE(3 * NR, self->c->raw.visits);
}

/* Requests of single pages: pages that are not requested do not change */
TEST_F(progress, by_the_mask)
{
	bool huge = pagemap(self->p + PAGE) && variant->made == huge_zero_pages;
	unsigned long i, asked = 0, before, given = 0;
	struct call *look = call_new(self->p, NR);
	int busy;

	ASSERT_EQ(0, call_ask(look, ASK_NOTHING));
	before = call_count(look, 0, NR, WRITABLE);
	for (busy = 0; busy < 10; busy++) {
		memset(self->c->e, 0, NR * sizeof(*self->c->e));
		self->c->raw.default_flags = 0;
		self->c->raw.pfn_flags_mask = ASK_WRITE;
		for (i = 0, asked = 0; i < NR; i += 28, asked++)
			self->c->e[i] = ASK_WRITE;
		if (call_run(self->c) != -EBUSY)
			break;
		EXPECT_TRUE(call_check(self->c)) TH_LOG("%s", self->c->why);
	}
	EXPECT_GE(1, busy);
	ASSERT_ANSWERED(self->c, self->c->raw.ret);
	for (i = 0; i < NR; i += 28)
		given += answer_kind(self->c->e[i]) == WRITABLE;
	EXPECT_EQ(asked, given);
	if (!huge && variant->made != hugetlb_pages &&
	    variant->made != foreign_huge_pages)
		EXPECT_GE(before + asked, call_count(self->c, 0, NR, WRITABLE));
	call_free(look);
}

/* Ranges of all sizes */

FIXTURE_HMM();

static void check_size(struct __test_metadata *_metadata, struct call *c,
		       unsigned long nr)
{
	uint64_t faults;

	EXPECT_GE(1, busy_until_served(c, ASK_WRITE, &faults));
	EXPECT_EQ(0, c->raw.ret);
	EXPECT_EQ(nr, call_count(c, 0, nr, WRITABLE));
	EXPECT_GE(nr, faults);
}

#define TEST_SIZE(_nr, _timeout)					\
	TEST_F_TIMEOUT(hmm, progress_over_##_nr##_zero_pages, _timeout)	\
	{								\
		char *p = zero_pages(_nr);				\
									\
		self->c = call_new(p, _nr);				\
		check_size(_metadata, self->c, _nr);			\
		munmap(p, _nr * PAGE);					\
	}

TEST_SIZE(1, 30)
TEST_SIZE(512, 30)
TEST_SIZE(8192, 60)
TEST_SIZE(262144, 240)

/* Requests to write to zero pages take no longer than the faults alone */
TEST_F(hmm, progress_time_of_copy_on_write)
{
	unsigned long nr = 8192, i;
	char *p = zero_pages(nr), *q = zero_pages(nr);
	struct timespec a, b;
	double ours, faults;

	self->c = call_new(p, nr);
	self->c->raw.flags = HMM_RANGE_UNLOCKED;
	ASSERT_ANSWERED(self->c, call_ask(self->c, ASK_WRITE));
	ours = self->c->raw.ns / 1e6;
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (i = 0; i < nr; i++)
		q[i * PAGE] = 1;
	clock_gettime(CLOCK_MONOTONIC, &b);
	faults = (b.tv_sec - a.tv_sec) * 1e3 + (b.tv_nsec - a.tv_nsec) / 1e6;
	TH_LOG("%.1f ms, the process's own writes %.1f ms", ours, faults);
	/* "make bench" measures; this only detects a walk for each page */
	EXPECT_GT(3 * faults, ours);
}

/* Others */

struct invalidator {
	char *p;
	unsigned long size;
	volatile bool stop;
	unsigned long times;
};

static void *invalidate_always(void *arg)
{
	struct invalidator *v = arg;

	while (!v->stop) {
		madvise(v->p, v->size, MADV_DONTNEED);
		v->times++;
	}
	return NULL;
}

/*
 * Somebody takes one page of the range away all the time. A request for that page alone
 * can succeed: Documentation/mm/hmm.rst tells how to be sure of that.
 */
TEST_F(hmm, progress_of_one_page_beside_an_invalidator)
{
	unsigned long nr = 64, i, failed = 0;
	char *p = map_anon(nr * PAGE, false);
	struct invalidator v = { .p = p, .size = PAGE };
	pthread_t thread;

	fill(p, nr * PAGE);
	ASSERT_EQ(0, pthread_create(&thread, NULL, invalidate_always, &v));
	self->c = call_new(p, 1);
	for (i = 0; i < 200; i++) {
		self->c->raw.flags = HMM_RANGE_UNLOCKED;
		self->c->raw.timeout_ms = 1000;
		if (call_ask(self->c, ASK_WRITE))
			failed++;
	}
	v.stop = true;
	pthread_join(thread, NULL);
	TH_LOG("%lu times taken away", v.times);
	EXPECT_LT(0, v.times);
	EXPECT_EQ(0, failed);
}

/* The locked call ends once others have called the notifier */
TEST_F(hmm, progress_others_end_the_locked_call)
{
	unsigned long nr = 512;
	char *p = zero_pages(nr);

	self->c = call_new(p, nr);
	self->c->raw.flags = HMM_RANGE_STALE;
	EXPECT_EQ(-EBUSY, call_ask(self->c, ASK_WRITE));
	EXPECT_TRUE(call_untouched(self->c));
	EXPECT_EQ(0, self->c->raw.faults);
}

/* Killed while it faults pages that it will not answer */
TEST_F_TIMEOUT(hmm, progress_can_be_killed, 60)
{
	unsigned long nr = 262144;
	struct timespec a, b;
	int status, ready[2];
	char byte;
	pid_t pid;

	ASSERT_EQ(0, pipe(ready));
	pid = fork();
	if (!pid) {
		char *p = zero_pages(nr);
		struct call *c = call_new(p, nr);

		if (write(ready[1], "", 1) != 1)
			_exit(1);
		call_ask(c, ASK_WRITE);
		_exit(0);
	}
	ASSERT_EQ(1, read(ready[0], &byte, 1));
	usleep(300000);
	clock_gettime(CLOCK_MONOTONIC, &a);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	clock_gettime(CLOCK_MONOTONIC, &b);
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_GT(3, b.tv_sec - a.tv_sec);
}

TEST_HARNESS_MAIN
