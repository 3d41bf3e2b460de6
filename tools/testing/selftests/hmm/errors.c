// SPDX-License-Identifier: GPL-2.0
/*
 * Errors and the entries after them, and events during a call: dropped locks, timeouts,
 * concurrent migration, devices that fail or disappear.  And invalid arguments, none of
 * which may do any harm.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <time.h>

#include "test.h"

FIXTURE_HMM();

#define NR	8UL

/* How often a page is faulted at most if the fault does not map it */
#define MAX_TRIES	5

static char *device_map(int prot)
{
	return map_dev(PRIVATE_A, HMM_RANGE_MAP_PAGES, NR * PAGE, prot, PAGE);
}

/* The number of entries at the end that still contain the input */
static unsigned long inputs_left(const struct call *c)
{
	unsigned long n = 0;

	while (n < c->nr && c->e[c->nr - 1 - n] == c->in[c->nr - 1 - n])
		n++;
	return n;
}

/* Every entry contains something that the call could lose */
static void set_odd_inputs(struct call *c, uint64_t ask)
{
	unsigned long i;

	c->raw.default_flags = 0;
	for (i = 0; i < c->nr; i++)
		c->e[i] = ask | (i & 1 ? hmm.dma_mapped : 0) |
			  (i & 2 ? hmm.p2pdma : 0) | (i + 1);
}

/* Memory that ends inside the range */
TEST_F(hmm, no_vma_behind)
{
	char *p = map_anon(HUGE, false);
	unsigned long i;

	munmap(p + 5 * PAGE, PAGE);
	self->c = call_new(p, NR);
	set_odd_inputs(self->c, ASK_WRITE);
	ASSERT_FAILED(EFAULT, self->c, call_run(self->c));
	EXPECT_EQ(3, inputs_left(self->c));
	EXPECT_EQ(5, call_count(self->c, 0, 5, WRITABLE));

	set_odd_inputs(self->c, ASK_NOTHING);
	for (i = 0; i < NR; i++)
		if (i != 5)
			self->c->e[i] |= ASK_READ;
	ASSERT_ANSWERED(self->c, call_run(self->c));
	EXPECT_EQ(ERROR, answer_kind(self->c->e[5]));
	EXPECT_EQ(7, call_count(self->c, 0, NR, WRITABLE) +
		  call_count(self->c, 0, NR, READABLE));
}

TEST_F(hmm, eperm_in_the_range)
{
	char *p = map_anon(HUGE, false);

	fill(p, NR * PAGE);
	mprotect(p + 5 * PAGE, PAGE, PROT_READ);
	self->c = call_new(p, NR);
	set_odd_inputs(self->c, ASK_WRITE);
	ASSERT_FAILED(EPERM, self->c, call_run(self->c));
	EXPECT_EQ(3, inputs_left(self->c));
	self->c->raw.flags = HMM_RANGE_UNLOCKED;
	set_odd_inputs(self->c, ASK_WRITE);
	ASSERT_FAILED(EPERM, self->c, call_run(self->c));
	EXPECT_EQ(3, inputs_left(self->c));
	set_odd_inputs(self->c, ASK_READ);
	ASSERT_ANSWERED(self->c, call_run(self->c));
}

/* Each error of a fault handler, in both calls */
TEST_F(hmm, faults_that_fail)
{
	static const struct { uint32_t what; int ret; } ways[] = {
		{ HMM_RANGE_ACT_SIGBUS, -EFAULT },
		{ HMM_RANGE_ACT_OOM, -ENOMEM },
		{ HMM_RANGE_ACT_HWPOISON, -EFAULT },
	};
	char *p = device_map(PROT_READ | PROT_WRITE);
	unsigned int i, flags;

	ASSERT_NE(MAP_FAILED, p);
	self->c = call_new(p, NR);
	for (i = 0; i < 3; i++) {
		for (flags = 0; flags <= HMM_RANGE_UNLOCKED; flags++) {
			ASSERT_EQ(0, madvise(p, NR * PAGE, MADV_DONTNEED));
			ASSERT_EQ(0, act(PRIVATE_A, ways[i].what, 4, 0));
			self->c->raw.flags = flags;
			set_odd_inputs(self->c, ASK_WRITE);
			EXPECT_EQ(ways[i].ret, call_run(self->c));
			EXPECT_TRUE(call_check(self->c)) TH_LOG("%s", self->c->why);
			EXPECT_EQ(5, inputs_left(self->c));
			EXPECT_EQ(3, call_count(self->c, 0, 3, WRITABLE));
		}
	}
}

/* The fault of page 4 unmaps page 5, which the notifier watches */
/* The fifth fault calls the notifier: the other pages are faulted, not answered */
TEST_F(hmm, locked_call_returns_ebusy_once)
{
	char *p = device_map(PROT_READ | PROT_WRITE);

	ASSERT_NE(MAP_FAILED, p);
	ASSERT_EQ(0, act(PRIVATE_A, HMM_RANGE_ACT_UNMAP, 5, 0));
	self->c = call_new(p, NR);
	set_odd_inputs(self->c, ASK_WRITE);
	ASSERT_FAILED(EBUSY, self->c, call_run(self->c));
	EXPECT_EQ(NR, faults_served(PRIVATE_A));
	EXPECT_EQ(NR - 4, inputs_left(self->c));
}

TEST_F(hmm, sequence_over_before_the_call)
{
	char *p = map_anon(HUGE, false);

	self->c = call_new(p, NR);
	self->c->raw.flags = HMM_RANGE_STALE;
	set_odd_inputs(self->c, ASK_WRITE);
	ASSERT_FAILED(EBUSY, self->c, call_run(self->c));
	EXPECT_TRUE(call_untouched(self->c));
	EXPECT_EQ(0, self->c->raw.faults);
	/* The unlocked call gets its own sequence number */
	self->c->raw.flags = HMM_RANGE_UNLOCKED;
	ASSERT_ANSWERED(self->c, call_run(self->c));
}

/* The unlocked call starts over after an invalidation */
TEST_F(hmm, unlocked_call_starts_over)
{
	char *p = device_map(PROT_READ | PROT_WRITE);

	ASSERT_NE(MAP_FAILED, p);
	ASSERT_EQ(0, act(PRIVATE_A, HMM_RANGE_ACT_UNMAP, 6, 0));
	self->c = call_new(p, NR);
	self->c->raw.flags = HMM_RANGE_UNLOCKED;
	set_odd_inputs(self->c, ASK_WRITE);
	ASSERT_ANSWERED(self->c, call_run(self->c));
	EXPECT_EQ(NR, call_count(self->c, 0, NR, WRITABLE));
	EXPECT_EQ(NR + 1, faults_served(PRIVATE_A));
}

/* The timeout ends retries that would not end */
TEST_F(hmm, timeout_ends_retries)
{
	char *p = device_map(PROT_READ | PROT_WRITE);

	ASSERT_NE(MAP_FAILED, p);
	ASSERT_EQ(0, act(PRIVATE_A, HMM_RANGE_ACT_UNMAP, 0, 0));
	self->c = call_new(p, 2);
	self->c->raw.flags = HMM_RANGE_UNLOCKED;
	self->c->raw.timeout_ms = 500;
	set_odd_inputs(self->c, ASK_READ);
	ASSERT_FAILED(EBUSY, self->c, call_run(self->c));
	/* The ticks of an emulated machine may be late, and then come several at once */
	EXPECT_LE(400000000, self->c->raw.ns);
	EXPECT_GE(10000000000, self->c->raw.ns);
}

static void check_never_comes(struct __test_metadata *_metadata, struct call *c,
			      uint32_t what)
{
	ASSERT_EQ(0, act(PRIVATE_A, what, 0, 0));
	ASSERT_FAILED(EBUSY, c, call_ask(c, ASK_READ));
	EXPECT_GE(2 * MAX_TRIES, faults_served(PRIVATE_A));
	EXPECT_EQ(2, inputs_left(c));
	/* Reading the count has ended the act */
	ASSERT_EQ(0, act(PRIVATE_A, what, 0, 0));
	c->raw.flags = HMM_RANGE_UNLOCKED;
	c->raw.timeout_ms = 200;
	ASSERT_FAILED(EBUSY, c, call_ask(c, ASK_READ));
	EXPECT_GE(10000000000, c->raw.ns);
}

/* A page that disappears as soon as it is mapped: neither call waits forever */
TEST_F(hmm, timeout_of_a_page_that_never_comes)
{
	char *p = device_map(PROT_READ | PROT_WRITE);

	ASSERT_NE(MAP_FAILED, p);
	self->c = call_new(p, 2);
	check_never_comes(_metadata, self->c, HMM_RANGE_ACT_TAKE);
}

/* Faults that succeed without mapping anything, as some drivers' do */
TEST_F(hmm, timeout_of_faults_that_map_nothing)
{
	char *p = device_map(PROT_READ | PROT_WRITE);

	ASSERT_NE(MAP_FAILED, p);
	self->c = call_new(p, 2);
	check_never_comes(_metadata, self->c, HMM_RANGE_ACT_NOPAGE);
}

/* Progress is not a retry, however slow */
static void check_progress(struct __test_metadata *_metadata, struct call **c,
			   uint32_t what, uint32_t ms)
{
	char *p = device_map(PROT_READ | PROT_WRITE);

	ASSERT_NE(MAP_FAILED, p);
	ASSERT_EQ(0, act(PRIVATE_A, what, 0, ms));
	*c = call_new(p, NR);
	(*c)->raw.flags = HMM_RANGE_UNLOCKED;
	(*c)->raw.timeout_ms = 1;
	ASSERT_ANSWERED(*c, call_ask(*c, ASK_READ));
}

TEST_F(hmm, timeout_does_not_end_progress)
{
	check_progress(_metadata, &self->c, HMM_RANGE_ACT_SLEEP, 20);
	EXPECT_LE(NR * 20000000, self->c->raw.ns);
}

TEST_F(hmm, timeout_does_not_end_dropped_locks)
{
	check_progress(_metadata, &self->c, HMM_RANGE_ACT_DROP, 0);
	EXPECT_EQ(2 * NR, faults_served(PRIVATE_A));
}

static volatile bool gone_on;

static void *stop_unmapping(void *arg)
{
	usleep(300000);
	gone_on = true;
	act(PRIVATE_A, HMM_RANGE_ACT_NONE, 0, 0);
	return NULL;
}

/* A timeout of 0 means none */
TEST_F(hmm, timeout_of_zero)
{
	char *p = device_map(PROT_READ | PROT_WRITE);
	pthread_t thread;

	ASSERT_NE(MAP_FAILED, p);
	ASSERT_EQ(0, act(PRIVATE_A, HMM_RANGE_ACT_UNMAP, 0, 0));
	ASSERT_EQ(0, pthread_create(&thread, NULL, stop_unmapping, NULL));
	self->c = call_new(p, 2);
	self->c->raw.flags = HMM_RANGE_UNLOCKED;
	self->c->raw.timeout_ms = 0;
	ASSERT_ANSWERED(self->c, call_ask(self->c, ASK_READ));
	EXPECT_TRUE(gone_on);
	pthread_join(thread, NULL);
}

/* A fault handler is never allowed to drop the lock in the locked call */
TEST_F(hmm, locked_call_keeps_the_lock)
{
	char *p = device_map(PROT_READ | PROT_WRITE);

	ASSERT_NE(MAP_FAILED, p);
	ASSERT_EQ(0, act(PRIVATE_A, HMM_RANGE_ACT_DROP, 0, 0));
	self->c = call_new(p, NR);
	ASSERT_ANSWERED(self->c, call_ask(self->c, ASK_WRITE));
	EXPECT_EQ(NR, faults_served(PRIVATE_A));
}

/* Concurrent migration */

struct mover {
	char *p;
	unsigned long nr;
	bool huge;
	long moved;
};

static void *move(void *arg)
{
	struct mover *m = arg;

	m->moved = to_device(PRIVATE_A, m->p, m->nr, m->huge);
	return NULL;
}

static volatile bool asking;

/* Created early: no thread can be created while mmap_lock is held */
static void *go_on_later(void *arg)
{
	while (!asking)
		usleep(1000);
	usleep(100000);
	gone_on = true;
	ioctl(hmm_fd[PRIVATE_A], HMM_RANGE_GO);
	return NULL;
}

/* Meanwhile the pages are answered as 0, and a request for them waits */
static void migration_under_way(struct __test_metadata *_metadata,
				struct call *c, struct mover *m)
{
	uint32_t point = HMM_RANGE_HOLD_MIGRATE;
	pthread_t mover, later;

	fill(m->p, m->nr * PAGE);
	ASSERT_ANSWERED(c, call_ask(c, ASK_NOTHING));
	ASSERT_EQ(0, pthread_create(&later, NULL, go_on_later, NULL));
	ASSERT_EQ(0, ioctl(hmm_fd[PRIVATE_A], HMM_RANGE_HOLD, &point));
	ASSERT_EQ(0, pthread_create(&mover, NULL, move, m));
	ASSERT_EQ(0, ioctl(hmm_fd[PRIVATE_A], HMM_RANGE_WAIT));
	memset(c->e, 0x11, c->nr * sizeof(*c->e));
	ASSERT_ANSWERED(c, call_ask(c, ASK_NOTHING));
	EXPECT_EQ(c->nr, call_count(c, 0, c->nr, NONE));

	c->raw.flags = HMM_RANGE_UNLOCKED | HMM_RANGE_READ;
	c->raw.timeout_ms = 5000;
	asking = true;
	ASSERT_ANSWERED(c, call_ask(c, ASK_READ));
	EXPECT_TRUE(call_filled(c));
	EXPECT_TRUE(gone_on);
	pthread_join(later, NULL);
	pthread_join(mover, NULL);
	EXPECT_EQ(m->nr, m->moved);
}

TEST_F(hmm, migration_under_way_pte)
{
	struct mover m = { .p = map_anon(HUGE, false), .nr = NR };

	NEED_DEVICE();
	self->c = call_new(m.p, NR);
	self->c->raw.owner = PRIVATE_A;
	migration_under_way(_metadata, self->c, &m);
}

TEST_F(hmm, migration_under_way_pmd)
{
	struct mover m = { .p = map_anon(HUGE, true), .nr = HUGE_NR, .huge = true };

	NEED_DEVICE();
	self->c = call_new(m.p + 7 * PAGE, HUGE_NR - 7);
	self->c->raw.owner = PRIVATE_A;
	migration_under_way(_metadata, self->c, &m);
}

/* Devices that fail or disappear */

TEST_F(hmm, no_memory_to_come_home_to)
{
	char *p = map_anon(HUGE, false);
	uint32_t fail = 1;

	NEED_DEVICE();
	fill(p, NR * PAGE);
	ASSERT_EQ(NR, to_device(PRIVATE_A, p, NR, false));
	self->c = call_new(p, NR);
	ASSERT_EQ(0, ioctl(hmm_fd[PRIVATE_A], HMM_RANGE_FAIL, &fail));
	ASSERT_FAILED(ENOMEM, self->c, call_ask(self->c, ASK_READ));
	EXPECT_EQ(NR, inputs_left(self->c));
	self->c->raw.flags = HMM_RANGE_UNLOCKED | HMM_RANGE_READ;
	ASSERT_ANSWERED(self->c, call_ask(self->c, ASK_READ));
	EXPECT_TRUE(call_filled(self->c));
}

/* A huge page that is migrated to small ones */
TEST_F(hmm, no_huge_page_to_come_home_to)
{
	char *p = map_anon(HUGE, true);
	uint32_t fail = 1;

	NEED_DEVICE();
	fill(p, HUGE);
	NEED(to_device(PRIVATE_A, p, HUGE_NR, true) == (long)HUGE_NR,
	     "no huge page available");
	self->c = call_new(p, HUGE_NR);
	ASSERT_EQ(0, ioctl(hmm_fd[PRIVATE_A], HMM_RANGE_FAIL, &fail));
	self->c->raw.flags = HMM_RANGE_UNLOCKED | HMM_RANGE_READ;
	/* Each migrated page calls the notifier, so each is a retry */
	self->c->raw.timeout_ms = 20000;
	ASSERT_ANSWERED(self->c, call_ask(self->c, ASK_WRITE));
	EXPECT_TRUE(call_filled(self->c));
	EXPECT_TRUE(filled(p, HUGE));
}

/* An answer does not keep a device from being removed */
TEST_F(hmm, device_removed_while_answered)
{
	char *p = map_anon(HUGE, false);
	uint32_t lacks = 0;

	NEED_DEVICE();
	fill(p, NR * PAGE);
	ASSERT_EQ(NR, to_device(PRIVATE_B, p, NR, false));
	self->c = call_new(p, NR);
	self->c->raw.owner = PRIVATE_B;
	ASSERT_ANSWERED(self->c, call_ask(self->c, ASK_READ));
	ASSERT_EQ(0, ioctl(hmm_fd[PRIVATE_B], HMM_RANGE_REMOVE));
	self->c->raw.flags = HMM_RANGE_READ;
	ASSERT_ANSWERED(self->c, call_ask(self->c, ASK_NOTHING));
	EXPECT_TRUE(call_filled(self->c));
	EXPECT_EQ(NR, call_count(self->c, 0, NR, WRITABLE));
	EXPECT_EQ(NR, pages_with(p, NR, PM_PRESENT));
	ASSERT_EQ(0, ioctl(hmm_fd[PRIVATE_B], HMM_RANGE_ADD, &lacks));
}

/* Two threads on one processor: what happens when the first is preempted */
struct preempted {
	struct call *c;
	int ret;
	volatile bool held, gone;
};

static bool run_on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return !sched_setaffinity(0, sizeof(set), &set);
}

static void *call_on_cpu(void *arg)
{
	struct preempted *p = arg;

	if (!run_on_cpu(0))
		return NULL;
	call_ask(p->c, ASK_NOTHING);
	return NULL;
}

/* Occupies the processor until the device is gone */
static void *preempt_call(void *arg)
{
	const struct sched_param urgent = { .sched_priority = 1 };
	struct preempted *p = arg;
	time_t end;

	if (run_on_cpu(0) && !sched_setscheduler(0, SCHED_FIFO, &urgent))
		p->ret = ioctl(hmm_fd[PRIVATE_A], HMM_RANGE_WAIT);
	else
		p->ret = -1;
	p->held = !p->ret;
	end = time(NULL) + 20;
	while (p->held && !p->gone && time(NULL) < end)
		;
	return NULL;
}

/*
 * A call is preempted after it has read a huge device entry. The device is removed
 * before it continues, unless RCU prevents that.
 */
TEST_F_TIMEOUT(hmm, device_removed_before_the_look, 60)
{
	uint32_t absent = HMM_RANGE_HOLD_ABSENT, lacks = 0;
	struct preempted p = { };
	char *mem = map_anon(HUGE, true);
	pthread_t caller, hog;

	NEED_DEVICE();
	NEED(sysconf(_SC_NPROCESSORS_ONLN) > 1, "needs two processors");
	fill(mem, HUGE);
	NEED(to_device(PRIVATE_B, mem, HUGE_NR, true) == HUGE_NR, "no huge page");
	p.c = call_new(mem, HUGE_NR);
	p.c->raw.owner = PRIVATE_B;
	NEED(!ioctl(hmm_fd[PRIVATE_A], HMM_RANGE_HOLD, &absent),
	     "needs CONFIG_KPROBES, and a function that is not inlined");
	ASSERT_TRUE(run_on_cpu(1));
	ASSERT_EQ(0, pthread_create(&hog, NULL, preempt_call, &p));
	usleep(100000);
	ASSERT_EQ(0, pthread_create(&caller, NULL, call_on_cpu, &p));
	while (!p.held && !p.ret)
		usleep(1000);
	EXPECT_EQ(0, ioctl(hmm_fd[PRIVATE_B], HMM_RANGE_REMOVE));
	p.gone = true;
	pthread_join(hog, NULL);
	pthread_join(caller, NULL);
	EXPECT_TRUE(p.held);
	EXPECT_TRUE(!p.c->raw.ret || p.c->raw.ret == -EBUSY);
	EXPECT_TRUE(filled(mem, HUGE));
	EXPECT_EQ(0, ioctl(hmm_fd[PRIVATE_B], HMM_RANGE_ADD, &lacks));
}

struct remover {
	char *p;
	volatile bool stop;
	unsigned int rounds;
};

static void *come_and_go(void *arg)
{
	struct remover *r = arg;
	uint32_t lacks = 0;

	while (!r->stop) {
		to_device(PRIVATE_B, r->p, HUGE_NR, true);
		ioctl(hmm_fd[PRIVATE_B], HMM_RANGE_REMOVE);
		ioctl(hmm_fd[PRIVATE_B], HMM_RANGE_ADD, &lacks);
		r->rounds++;
	}
	return NULL;
}

/*
 * Calls evaluate huge device entries while the device is removed and added again.
 * KASAN detects a use after free.
 */
TEST_F(hmm, device_removed_during_calls)
{
	struct remover r = { .p = map_anon(HUGE, true) };
	time_t end = time(NULL) + 4;
	unsigned long calls = 0, answered = 0;
	pthread_t thread;

	NEED_DEVICE();
	fill(r.p, HUGE);
	self->c = call_new(r.p, HUGE_NR);
	ASSERT_EQ(0, pthread_create(&thread, NULL, come_and_go, &r));
	while (time(NULL) < end) {
		self->c->raw.owner = calls % 3 ? PRIVATE_B : PRIVATE_A;
		call_ask(self->c, ASK_NOTHING);
		ASSERT_TRUE(!self->c->raw.ret || self->c->raw.ret == -EBUSY);
		answered += !self->c->raw.ret;
		calls++;
	}
	r.stop = true;
	pthread_join(thread, NULL);
	EXPECT_LT(0, r.rounds);
	EXPECT_LT(0, answered);
	EXPECT_TRUE(filled(r.p, HUGE));
}

/* Ranges: across VMAs, across page tables, and long ones */

TEST_F(hmm, range_over_many_vmas)
{
	unsigned long nr = 4 * HUGE_NR, i, huge;
	char *p = map_anon(nr * PAGE, true);

	fill(p, nr * PAGE);
	mprotect(p + HUGE + 3 * PAGE, 5 * PAGE, PROT_READ);
	mprotect(p + HUGE + 20 * PAGE, PAGE, PROT_NONE);
	munmap(p + 2 * HUGE + PAGE, PAGE);
	madvise(p + 3 * HUGE + PAGE, 2 * PAGE, MADV_DONTNEED);
	self->c = call_new(p + PAGE, nr - 2);
	self->c->raw.flags = HMM_RANGE_READ;
	ASSERT_ANSWERED(self->c, call_ask(self->c, ASK_NOTHING));
	EXPECT_EQ(5, call_count(self->c, 0, nr - 2, READABLE));
	EXPECT_EQ(2, call_count(self->c, 0, nr - 2, ERROR));
	EXPECT_EQ(2, call_count(self->c, 0, nr - 2, NONE));
	EXPECT_TRUE(call_filled(self->c));
	for (i = huge = 0; i < nr - 2; i++)
		huge += answer_order(self->c->e[i]) == hmm.pmd_order;
	EXPECT_TRUE(!thp_here() || huge >= HUGE_NR - 1) TH_LOG("%lu", huge);
}

/* Around the end of a PUD, which is also the end of a PMD */
TEST_F(hmm, range_over_a_pud_border)
{
	unsigned long pud = PAGE << hmm.pud_order, at;
	char *p = MAP_FAILED;

	for (at = 16 * pud; p == MAP_FAILED && at < 64 * pud && at; at += pud)
		p = mmap((void *)(at - 2 * HUGE), 4 * HUGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	NEED(p != MAP_FAILED, "no room around the end of a PUD");
	madvise(p, 4 * HUGE, MADV_NOHUGEPAGE);
	fill(p + HUGE, HUGE);
	self->c = call_new(p + PAGE, 4 * HUGE_NR - 2);
	self->c->raw.flags = HMM_RANGE_READ;
	ASSERT_ANSWERED(self->c, call_ask(self->c, ASK_NOTHING));
	EXPECT_EQ(HUGE_NR, call_count(self->c, 0, self->c->nr, WRITABLE));
	memset(self->c->e, 0, self->c->nr * sizeof(*self->c->e));
	self->c->e[2 * HUGE_NR] = ASK_WRITE;
	self->c->e[4 * HUGE_NR - 3] = ASK_READ;
	self->c->raw.pfn_flags_mask = ASK_WRITE;
	ASSERT_ANSWERED(self->c, call_run(self->c));
	EXPECT_EQ(2, self->c->raw.faults);
	/* Replacing the zero page unmaps it, which ends a locked call */
	self->c->raw.flags = HMM_RANGE_UNLOCKED;
	ASSERT_ANSWERED(self->c, call_ask(self->c, ASK_WRITE));
	EXPECT_EQ(self->c->nr, call_count(self->c, 0, self->c->nr, WRITABLE));
}

TEST_F(hmm, range_of_256_mib)
{
	unsigned long nr = (256UL << 20) / PAGE, i;
	char *p = map_anon(nr * PAGE, false);

	for (i = 0; i < nr; i += 1000)
		*(volatile uint64_t *)(p + i * PAGE) = (uintptr_t)p + i * PAGE;
	self->c = call_new(p, nr);
	self->c->raw.flags = HMM_RANGE_READ;
	ASSERT_ANSWERED(self->c, call_ask(self->c, ASK_NOTHING));
	EXPECT_EQ((nr + 999) / 1000, call_count(self->c, 0, nr, WRITABLE));
	EXPECT_TRUE(call_filled(self->c));
}

/* Every offset of the range in the huge page that it begins in */
TEST_F(hmm, every_beginning_in_a_huge_page)
{
	char *p = map_anon(2 * HUGE, true);
	unsigned long i;

	NEED_THP();
	fill(p, 2 * HUGE);
	for (i = 0; i < HUGE_NR; i += 37) {
		self->c = call_new(p + i * PAGE, HUGE_NR);
		self->c->raw.flags = HMM_RANGE_READ;
		ASSERT_ANSWERED(self->c, call_ask(self->c, i & 1 ? ASK_READ : ASK_WRITE));
		ASSERT_TRUE(call_filled(self->c));
		call_free(self->c);
		self->c = NULL;
	}
}

/* Folios of every order, from each of their pages to the last */
TEST_F_TIMEOUT(hmm, range_in_folios_of_every_order, 120)
{
	unsigned int order, found = 0;
	unsigned long nr, i;
	char knob[96], *p;

	for (order = 2; order < hmm.pmd_order; order++) {
		nr = 1UL << order;
		snprintf(knob, sizeof(knob),
			 "/sys/kernel/mm/transparent_hugepage/hugepages-%lukB/enabled",
			 nr * PAGE >> 10);
		if (!write_file(knob, "always"))
			continue;
		p = map_anon(HUGE, true);
		/* Too small for a huge page */
		munmap(p + HUGE - PAGE, PAGE);
		fill(p, HUGE - PAGE);
		write_file(knob, "never");
		for (i = 0; i < 4; i++) {
			self->c = call_new(p + i * PAGE, 2 * nr - 2 * i - 1);
			self->c->raw.flags = HMM_RANGE_READ;
			ASSERT_ANSWERED(self->c, call_ask(self->c, i & 1 ? ASK_WRITE :
							  ASK_NOTHING));
			ASSERT_EQ(self->c->nr, call_count(self->c, 0, self->c->nr,
							  WRITABLE));
			ASSERT_TRUE(call_filled(self->c));
			call_free(self->c);
			self->c = NULL;
		}
		munmap(p, HUGE - PAGE);
		found++;
	}
	NEED(found, "needs folios of other orders");
}

/* Sticky bits are preserved, whatever the answer is */
TEST_F(hmm, sticky_bits_are_kept)
{
	char *p = map_anon(HUGE, false);
	uint64_t bits[] = { hmm.dma_mapped, hmm.p2pdma, hmm.p2pdma_bus };
	unsigned long i;

	fill(p, 3 * PAGE);
	mprotect(p + PAGE, PAGE, PROT_READ);
	munmap(p + 6 * PAGE, PAGE);
	self->c = call_new(p, NR);
	for (i = 0; i < NR; i++)
		self->c->e[i] = bits[i % 3] | bits[(i + i / 3) % 3] | 0xabc;
	self->c->raw.pfn_flags_mask = 0;
	self->c->raw.default_flags = 0;
	ASSERT_ANSWERED(self->c, call_run(self->c));
	self->c->raw.pfn_flags_mask = ASK_WRITE;
	for (i = 0; i < NR; i++)
		self->c->e[i] = bits[i % 3] | (i == 4 ? ASK_WRITE : 0);
	ASSERT_ANSWERED(self->c, call_run(self->c));
}

/* A call in which allocation @nth fails: did it, and did the call report it? */
static bool fail_call(struct __test_metadata *_metadata, FIXTURE_DATA(hmm) *self,
		      unsigned int nth, uint32_t flags, unsigned int *failed)
{
	char *p = map_anon(HUGE, false);
	bool did;

	self->c = call_new(p, NR);
	self->c->raw.entries = (uintptr_t)self->c->e;
	self->c->raw.flags = flags;
	set_odd_inputs(self->c, ASK_WRITE);
	memcpy(self->c->in, self->c->e, NR * sizeof(*self->c->e));
	fail_allocation(nth);
	if (ioctl(hmm_fd[0], HMM_RANGE_CALL, &self->c->raw)) {
		/* It failed before the call */
		EXPECT_EQ(ENOMEM, errno);
	} else {
		EXPECT_TRUE(!self->c->raw.ret || self->c->raw.ret == -ENOMEM)
			TH_LOG("%d", self->c->raw.ret);
		*failed += self->c->raw.ret == -ENOMEM;
		EXPECT_TRUE(call_check(self->c)) TH_LOG("%s", self->c->why);
	}
	did = allocation_failed();
	fail_allocation(0);
	call_free(self->c);
	self->c = NULL;
	munmap(p, HUGE);
	return did;
}

/* Whichever allocation fails, it is reported and nothing is lost */
TEST_F_TIMEOUT(hmm, every_allocation_fails_in_turn, 240)
{
	static const uint32_t kinds[] = { 0, HMM_RANGE_UNLOCKED };
	unsigned int i, nth, failed;

	NEED(fail_allocation(0), "needs CONFIG_FAILSLAB and CONFIG_FAIL_PAGE_ALLOC");
	for (i = 0; i < 2; i++) {
		failed = 0;
		for (nth = 1; nth < 1000; nth++)
			if (!fail_call(_metadata, self, nth, kinds[i], &failed))
				break;
		EXPECT_GT(1000, nth);
		EXPECT_LT(NR, failed);
	}
}

/* Invalid arguments */

static int refused(struct hmm_range_call *raw)
{
	return ioctl(hmm_fd[0], HMM_RANGE_CALL, raw) ? -errno : 0;
}

TEST_F(hmm, invalid_arguments_are_refused)
{
	char *p = map_anon(HUGE, false);
	struct hmm_range_call raw;

	self->c = call_new(p, NR);
	self->c->raw.entries = (uintptr_t)self->c->e;
	self->c->raw.data = (uintptr_t)self->c->data;

	raw = self->c->raw;
	raw.nr = NR - 1;
	EXPECT_EQ(-EINVAL, refused(&raw));
	raw.nr = 0;
	EXPECT_EQ(-EINVAL, refused(&raw));
	raw.nr = HMM_RANGE_MAX + 1;
	EXPECT_EQ(-EINVAL, refused(&raw));
	raw.nr = -1;
	EXPECT_EQ(-EINVAL, refused(&raw));
	raw = self->c->raw;
	raw.owner = HMM_RANGE_DEVICES;
	EXPECT_EQ(-EINVAL, refused(&raw));
	raw.owner = -2;
	EXPECT_EQ(-EINVAL, refused(&raw));
	raw = self->c->raw;
	raw.entries = 0;
	EXPECT_EQ(-EFAULT, refused(&raw));
	raw.entries = -8;
	EXPECT_EQ(-EFAULT, refused(&raw));
	raw = self->c->raw;
	raw.flags = HMM_RANGE_READ;
	raw.data = 8;
	EXPECT_EQ(-EFAULT, refused(&raw));
	raw = self->c->raw;
	raw.end = -1;
	EXPECT_EQ(-EINVAL, refused(&raw));
	raw.start = 0;
	EXPECT_EQ(-EINVAL, refused(&raw));
	raw = self->c->raw;
	raw.interval_start = -PAGE;
	raw.interval_len = -PAGE;
	EXPECT_GT(0, refused(&raw));
	EXPECT_EQ(-1, ioctl(hmm_fd[0], HMM_RANGE_CALL, NULL));
	EXPECT_EQ(-1, ioctl(hmm_fd[0], _IO('h', 0x7f), NULL));
	/* Afterwards, valid calls still work */
	ASSERT_ANSWERED(self->c, call_ask(self->c, ASK_WRITE));
}

TEST_F(hmm, invalid_migrations_are_refused)
{
	char *p = map_anon(HUGE, false);
	uint64_t src[NR];
	const struct hmm_range_migrate good = {
		.addr = (uintptr_t)p, .nr = NR, .src = (uintptr_t)src,
		.select = 1, .to = HMM_RANGE_TO_DEVICE,
	};
	struct hmm_range_migrate bad;

	NEED_DEVICE();
#define REFUSED(field, value)						\
	do {								\
		bad = good;						\
		bad.field = value;					\
		EXPECT_EQ(-1, ioctl(hmm_fd[0], HMM_RANGE_MIGRATE, &bad)) \
			TH_LOG(#field);					\
	} while (0)
	REFUSED(nr, 0);
	REFUSED(nr, -1);
	REFUSED(nr, HMM_RANGE_MAX + 1);
	REFUSED(addr, -PAGE);
	REFUSED(addr, (uintptr_t)p + 1);
	REFUSED(addr, (uintptr_t)p + HUGE - PAGE);
	REFUSED(addr, 0);
	REFUSED(owner, 77);
	REFUSED(to, 77);
	REFUSED(want, 8);
	REFUSED(src, 8);
	bad = good;
	EXPECT_EQ(0, ioctl(hmm_fd[0], HMM_RANGE_MIGRATE, &bad));
}

/* Addresses without a VMA: an error, or HMM_PFN_ERROR */
TEST_F(hmm, addresses_of_the_kernel)
{
	const uint64_t at[] = { 0, 1ULL << 46, 1ULL << 47, 0xffff888000000000ULL,
				0xffffffff81000000ULL, -(NR + 1) * PAGE };
	unsigned long i;

	NEED(sizeof(long) == 8, "needs 64 bit of addresses");
	self->c = call_new(NULL, NR);
	for (i = 0; i < ARRAY_SIZE(at); i++) {
		self->c->raw.start = at[i];
		self->c->raw.end = at[i] + NR * PAGE;
		if (!call_ask(self->c, ASK_NOTHING))
			EXPECT_EQ(NR, call_count(self->c, 0, NR, ERROR));
		EXPECT_GT(0, call_ask(self->c, ASK_READ));
		EXPECT_EQ(0, self->c->raw.overrun);
	}
}

TEST_F(hmm, needs_cap_sys_admin)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		if (setuid(65534))
			_exit(2);
		_exit(open("/dev/hmm_range0", O_RDWR) < 0 ? 0 : 1);
	}
	waitpid(pid, &status, 0);
	EXPECT_EQ(0, status);
}

/* Calls on the mm of a process that has exited */
TEST_F(hmm, mm_that_is_gone)
{
	int status, fd[2];
	pid_t pid;

	ASSERT_EQ(0, pipe(fd));
	pid = fork();
	self->c = call_new(self, 1);
	self->c->raw.start &= ~(PAGE - 1);
	self->c->raw.end = self->c->raw.start + PAGE;
	self->c->raw.flags = HMM_RANGE_OPENER;
	self->c->raw.entries = (uintptr_t)self->c->e;
	if (!pid) {
		char byte;

		/* Remains, with the file that the test has opened */
		close(fd[1]);
		if (read(fd[0], &byte, 1) < 0)
			_exit(2);
		_exit(refused(&self->c->raw) ? 1 : 0);
	}
	EXPECT_EQ(0, refused(&self->c->raw));
	close(fd[1]);
	waitpid(pid, &status, 0);
	EXPECT_EQ(0, status);
}

TEST_HARNESS_MAIN
