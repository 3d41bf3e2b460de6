// SPDX-License-Identifier: GPL-2.0
/*
 * NUMA hints: the kernel makes entries protnone to see which node uses a page. They are
 * meant for the CPU. The page is still there, so a read request for a device is answered
 * without a fault.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <time.h>

#include "test.h"

#define SCHED	"/sys/kernel/debug/sched/numa_balancing/"

static long ms(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The kernel gives hints for processor time that was used */
static void *use_time(void *unused)
{
	while (ms(CLOCK_THREAD_CPUTIME_ID) < 300)
		;
	return NULL;
}

/*
 * Pages of a single thread get no hints while they are on its node, so it takes two. A
 * thread that was held up while it gave hints gives no more for 32 times as long, so
 * each attempt has one of its own. False if there are no hints after many attempts.
 */
static bool wait_for_hints(struct call *c)
{
	long begin = ms(CLOCK_MONOTONIC);
	pthread_t thread;

	do {
		if (pthread_create(&thread, NULL, use_time, NULL))
			return false;
		pthread_join(thread, NULL);
		if (call_ask(c, ASK_NOTHING))
			return false;
		if (!call_count(c, 0, c->nr, WRITABLE))
			return true;
	} while (ms(CLOCK_MONOTONIC) - begin < 60000);
	return false;
}

FIXTURE_HMM();

/* Has hints for the pages of @c, and then no more of them */
static void make_hints(struct __test_metadata *_metadata, struct call *c)
{
	NEED(write_file("/proc/sys/kernel/numa_balancing", "1"),
	     "needs CONFIG_NUMA_BALANCING");
	write_file(SCHED "scan_delay_ms", "10");
	write_file(SCHED "scan_period_min_ms", "10");
	EXPECT_TRUE(wait_for_hints(c));
	write_file("/proc/sys/kernel/numa_balancing", "0");
}

static void check_hints(struct __test_metadata *_metadata, struct call *c)
{
	make_hints(_metadata, c);
	c->raw.flags = HMM_RANGE_READ | HMM_RANGE_COUNT;
	ASSERT_ANSWERED(c, call_ask(c, ASK_READ));
	EXPECT_EQ(0, c->raw.faults);
	EXPECT_EQ(0, c->raw.calls);
	EXPECT_EQ(c->nr, call_count(c, 0, c->nr, READABLE));
	EXPECT_TRUE(call_filled(c));
	/* The entry does not show whether it may be written: a fault does */
	ASSERT_ANSWERED(c, call_ask(c, ASK_WRITE));
	EXPECT_EQ(c->nr, call_count(c, 0, c->nr, WRITABLE));
	EXPECT_GE(c->nr, c->raw.calls);
}

TEST_F_TIMEOUT(hmm, hint_costs_no_fault, 120)
{
	char *p = map_anon(HUGE, false);

	fill(p, 64 * PAGE);
	self->c = call_new(p, 64);
	check_hints(_metadata, self->c);
}

TEST_F_TIMEOUT(hmm, huge_hint_costs_no_fault, 120)
{
	char *p = map_anon(HUGE, true);

	NEED_THP();
	fill(p, HUGE);
	self->c = call_new(p, HUGE_NR);
	ASSERT_ANSWERED(self->c, call_ask(self->c, ASK_NOTHING));
	NEED(answer_order(self->c->e[0]) == hmm.pmd_order, "no huge page to be had");
	check_hints(_metadata, self->c);
}

/* Pages in memory of the device, and behind them some of which hints can be seen */
static void check_device(struct __test_metadata *_metadata, struct call *c, char *p,
			 unsigned long nr, bool huge)
{
	struct call *behind = call_new(p + nr * PAGE, nr);

	ASSERT_EQ((long)nr, to_device(PRIVATE_A, p, nr, huge));
	make_hints(_metadata, behind);
	c->raw.owner = PRIVATE_A;
	ASSERT_ANSWERED(c, call_ask(c, ASK_WRITE));
	EXPECT_EQ(0, c->raw.faults);
	EXPECT_EQ(PRIVATE_A, pfn_dev(answer_pfn(c->e[0])));
	EXPECT_EQ(nr, call_count(c, 0, nr, WRITABLE));
	call_free(behind);
}

/* No CPU uses memory of the device, which stays as writable as it was */
TEST_F_TIMEOUT(hmm, device_memory_gets_no_hints, 120)
{
	char *p = map_anon(HUGE, false);

	NEED_DEVICE();
	fill(p, 64 * PAGE);
	self->c = call_new(p, 32);
	check_device(_metadata, self->c, p, 32, false);
}

TEST_F_TIMEOUT(hmm, huge_device_memory_gets_no_hints, 120)
{
	char *p = map_anon(2 * HUGE, true);

	NEED_THP();
	NEED_DEVICE();
	fill(p, 2 * HUGE);
	self->c = call_new(p, HUGE_NR);
	check_device(_metadata, self->c, p, HUGE_NR, true);
}

TEST_HARNESS_MAIN
