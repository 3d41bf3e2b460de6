// SPDX-License-Identifier: GPL-2.0
/*
 * Races: threads call hmm_range_fault() while others change the mappings.  Answered
 * pages are read under the rules of the notifier, and compared with what the CPU reads
 * at that moment.  If a page differs, it was read after it had been unmapped.
 *
 * HMM_RACE_SECONDS sets how long each race takes; the default is 1.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <time.h>

#include "test.h"

#define CALLERS		2
#define VALUES		4096

/* The memory, and a file of random numbers to fill it */
static char *area;
static unsigned long area_nr;
static int values;
static volatile bool stop;

static unsigned long seconds(void)
{
	const char *value = getenv("HMM_RACE_SECONDS");

	return value ? strtoul(value, NULL, 10) : 1;
}

static unsigned long draw(unsigned int *state)
{
	return (unsigned long)rand_r(state) << 15 ^ rand_r(state);
}

/* A random part of the area, of up to @most pages */
static char *some_pages(unsigned int *state, unsigned long most, unsigned long *nr)
{
	unsigned long first = draw(state) % area_nr;

	*nr = 1 + draw(state) % most;
	if (*nr > area_nr - first)
		*nr = area_nr - first;
	return area + first * PAGE;
}

static char *some_block(unsigned int *state)
{
	return area + draw(state) % (area_nr / HUGE_NR) * HUGE;
}

/* With a system call, because the memory may not be writable */
static void write_some(unsigned int *state)
{
	unsigned long i, nr;
	char *p = some_pages(state, 32, &nr);

	for (i = 0; i < nr; i++)
		if (pread(values, p + i * PAGE, 8, draw(state) % VALUES * 8) != 8)
			return;
}

/* Changes of the area */

static void remap(unsigned int *state)
{
	unsigned long nr;
	char *p = some_pages(state, 64, &nr);

	munmap(p, nr * PAGE);
	if (mmap(p, nr * PAGE, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE |
		 MAP_ANONYMOUS, -1, 0) == p && draw(state) % 2)
		madvise(p, nr * PAGE, MADV_HUGEPAGE);
}

static void protect(unsigned int *state)
{
	static const int prots[] = { PROT_NONE, PROT_READ };
	unsigned long nr;
	char *p = some_pages(state, 64, &nr);

	mprotect(p, nr * PAGE, prots[draw(state) % 2]);
	mprotect(p, nr * PAGE, PROT_READ | PROT_WRITE);
}

/* Page tables move with their pages; what was mapped there before is unmapped */
static void shift(unsigned int *state)
{
	unsigned long nr;
	char *from = some_pages(state, 64, &nr);
	char *to = some_pages(state, 1, &(unsigned long){ 0 });

	if (to + nr * PAGE > area + area_nr * PAGE ||
	    (to < from + nr * PAGE && from < to + nr * PAGE))
		return;
	mremap(from, nr * PAGE, nr * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	mmap(from, nr * PAGE, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE |
	     MAP_ANONYMOUS, -1, 0);
}

static void drop(unsigned int *state)
{
	unsigned long nr;
	char *p = some_pages(state, 64, &nr);

	madvise(p, nr * PAGE, MADV_DONTNEED);
}

static void collapse_and_split(unsigned int *state)
{
	char *p = some_block(state);

	madvise(p, HUGE, MADV_COLLAPSE);
	write_some(state);
	madvise(p + draw(state) % HUGE_NR * PAGE, PAGE, MADV_DONTNEED);
}

static void move(unsigned int *state)
{
	int dev = draw(state) % 2;
	char *p = some_block(state);
	unsigned long nr = HUGE_NR;

	if (draw(state) % 2)
		p = some_pages(state, 64, &nr);
	to_device(dev, p, nr, nr == HUGE_NR);
	if (draw(state) % 2)
		to_system(dev, p, nr, nr == HUGE_NR);
}

static void fork_and_write(unsigned int *state)
{
	pid_t pid = fork();

	if (!pid) {
		write_some(state);
		_exit(0);
	}
	write_some(state);
	waitpid(pid, NULL, 0);
}

static void page_out(unsigned int *state)
{
	unsigned long nr;
	char *p = some_pages(state, 64, &nr);

	madvise(p, nr * PAGE, MADV_PAGEOUT);
}

static void (*const changes[])(unsigned int *state) = {
	remap, protect, shift, drop, collapse_and_split, move, fork_and_write, page_out,
};

struct mutator {
	void (*change)(unsigned int *state);	/* NULL for all of them */
	unsigned long rounds;
};

static void *mutate(void *arg)
{
	struct mutator *m = arg;
	unsigned int state = getpid() + (uintptr_t)m;

	while (!stop) {
		write_some(&state);
		if (m->change)
			m->change(&state);
		else
			changes[draw(&state) % ARRAY_SIZE(changes)](&state);
		m->rounds++;
	}
	return NULL;
}

/* Callers */

struct caller {
	uint32_t flags;
	unsigned long calls, compared, differ, unseen, lost;
	char why[200];
};

/* munmap() and mprotect() make calls fail; the locked one may return -EBUSY */
static bool is_excused(const struct call *c)
{
	switch (c->raw.ret) {
	case 0:
	case -EFAULT:
	case -EPERM:
		return true;
	case -EBUSY:
		return !(c->raw.flags & HMM_RANGE_UNLOCKED) ||
		       c->raw.ns >= c->raw.timeout_ms * 900000ULL;
	default:
		return false;
	}
}

static void call_once(struct caller *caller, unsigned int *state)
{
	const uint64_t asks[] = { ASK_NOTHING, ASK_READ, ASK_WRITE };
	unsigned long i, nr;
	char *p = some_pages(state, draw(state) % 4 ? 64 : HUGE_NR, &nr);
	struct call *c = call_new(p, nr);

	c->raw.flags = caller->flags | HMM_RANGE_READ | HMM_RANGE_COMPARE |
		       HMM_RANGE_STICKY;
	c->raw.owner = (int)(draw(state) % 3) - 1;
	for (i = 0; i < nr; i++)
		c->e[i] = asks[draw(state) % 3] | hmm.dma_mapped;
	call_run(c);
	caller->calls++;
	caller->compared += c->raw.compared;
	caller->differ += c->raw.differ;
	caller->unseen += c->raw.unseen;
	caller->lost += c->raw.lost;
	if (!is_excused(c))
		snprintf(caller->why, sizeof(caller->why), "returned %d", c->raw.ret);
	else if (!call_check(c))
		snprintf(caller->why, sizeof(caller->why), "%s", c->why);
	call_free(c);
}

static void *call_always(void *arg)
{
	struct caller *caller = arg;
	unsigned int state = getpid() + (uintptr_t)caller;

	while (!stop && !caller->why[0])
		call_once(caller, &state);
	return NULL;
}

static void area_new(bool huge)
{
	static uint64_t numbers[VALUES];
	unsigned int state = time(NULL), i;

	area_nr = 2 * HUGE_NR;
	area = map_anon(area_nr * PAGE, huge);
	values = memfd_new(sizeof(numbers), 0);
	for (i = 0; i < VALUES; i++)
		numbers[i] = (uint64_t)draw(&state) << 32 | draw(&state);
	if (pwrite(values, numbers, sizeof(numbers), 0) != sizeof(numbers))
		perror("memfd");
	swap_on();
}

FIXTURE(race) { };

FIXTURE_VARIANT(race)
{
	void (*change)(unsigned int *state);
	bool huge;
};

#define RACE(_name, _change, _huge)					\
	FIXTURE_VARIANT_ADD(race, _name)				\
	{								\
		.change = _change, .huge = _huge,			\
	}

RACE(remap, remap, false);
RACE(protect, protect, false);
RACE(protect_huge, protect, true);
RACE(shift, shift, false);
RACE(drop, drop, false);
RACE(collapse_and_split, collapse_and_split, true);
RACE(move, move, false);
RACE(move_huge, move, true);
RACE(fork, fork_and_write, false);
RACE(fork_huge, fork_and_write, true);
RACE(page_out, page_out, false);
RACE(everything, NULL, true);

FIXTURE_SETUP(race)
{
	const char *why = hmm_open();

	if (why)
		SKIP(return, "%s", why);
	thp_on_request();
	area_new(variant->huge);
}

FIXTURE_TEARDOWN(race)
{
	hmm_close();
}

static void race(struct __test_metadata *_metadata, void (*change)(unsigned int *),
		 uint32_t flags)
{
	struct mutator m = { .change = change };
	struct caller callers[CALLERS] = { { .flags = flags }, { .flags = flags } };
	pthread_t mutator, threads[CALLERS];
	unsigned long compared = 0, calls = 0;
	int i;

	stop = false;
	ASSERT_EQ(0, pthread_create(&mutator, NULL, mutate, &m));
	for (i = 0; i < CALLERS; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, call_always,
					    &callers[i]));
	sleep(seconds());
	/* A slow machine may need longer */
	for (i = 0; i < 20 && !(m.rounds && callers[0].compared); i++)
		sleep(1);
	stop = true;
	for (i = 0; i < CALLERS; i++) {
		pthread_join(threads[i], NULL);
		EXPECT_EQ(0, callers[i].differ);
		EXPECT_EQ(0, callers[i].unseen);
		EXPECT_EQ(0, callers[i].lost);
		EXPECT_EQ(0, callers[i].why[0]) TH_LOG("%s", callers[i].why);
		calls += callers[i].calls;
		compared += callers[i].compared;
	}
	pthread_join(mutator, NULL);
	TH_LOG("%lu changes, %lu calls, %lu pages compared", m.rounds, calls,
	       compared);
	EXPECT_LT(0, m.rounds);
	EXPECT_LT(0, compared);
}

TEST_F_TIMEOUT(race, locked, 600)
{
	race(_metadata, variant->change, 0);
}

TEST_F_TIMEOUT(race, unlocked, 600)
{
	race(_metadata, variant->change, HMM_RANGE_UNLOCKED);
}

/*
 * Racing devices: two owners migrate the same memory to themselves, over and over. Each
 * asks for all of it, which migrates back what the other has, and then takes what is in
 * system memory; or both in one call.
 */

struct rival {
	int dev;
	uint64_t ask;
	bool huge, fault;
	unsigned long rounds, moving, idle, lost;
	uint64_t longest;	/* in ms */
	char why[200];
};

/* Has it all been in this device's memory when it was asked for? */
static bool rival_has_all(const struct rival *r, const struct call *c)
{
	unsigned long i;

	for (i = 0; i < c->nr; i++)
		if (pfn_dev(answer_pfn(c->e[i])) != r->dev)
			return false;
	return true;
}

static void rival_ask(struct rival *r, struct call *c, uint64_t ask)
{
	c->raw.flags = HMM_RANGE_UNLOCKED | HMM_RANGE_READ;
	c->raw.owner = r->dev;
	call_ask(c, ask);
	/* The other one invalidates it all the time: take what there is */
	if (c->raw.ret && c->raw.ret != -EBUSY)
		snprintf(r->why, sizeof(r->why), "asking for it returned %d", c->raw.ret);
	else if (!c->raw.ret && !c->raw.stale && !call_filled(c))
		r->lost++;
}

static void rival_round(struct rival *r, struct call *c)
{
	uint64_t begin = now(), took;
	long moved;

	if (!r->fault)
		rival_ask(r, c, r->ask);
	moved = r->fault ? fault_to_device(r->dev, area, area_nr, r->huge) :
			   to_device(r->dev, area, area_nr, r->huge);
	if (r->fault && !moved)
		rival_ask(r, c, ASK_NOTHING);
	if (moved < 0)
		snprintf(r->why, sizeof(r->why), "taking it returned %ld", moved);
	r->rounds++;
	r->moving += moved > 0;
	r->idle += moved == 0 && !c->raw.ret && rival_has_all(r, c);
	took = (now() - begin) / 1000000;
	if (took > r->longest)
		r->longest = took;
}

static void *rival_run(void *arg)
{
	struct call *c = call_new(area, area_nr);
	struct rival *r = arg;

	while (!stop && !r->why[0])
		rival_round(r, c);
	call_free(c);
	return NULL;
}

/* Shares the memory, and touches it all the time, until the pipe is closed */
static void bystander(int pipe)
{
	char byte;

	fcntl(pipe, F_SETFL, O_NONBLOCK);
	do {
		if (!filled(area, area_nr * PAGE))
			_exit(1);
		usleep(1000);
	} while (read(pipe, &byte, 1) < 0);
	_exit(0);
}

FIXTURE(rivals) { };

FIXTURE_VARIANT(rivals)
{
	bool huge, forked, fault;
};

FIXTURE_VARIANT_ADD(rivals, plain) { };
FIXTURE_VARIANT_ADD(rivals, huge) { .huge = true };
FIXTURE_VARIANT_ADD(rivals, plain_forked) { .forked = true };
FIXTURE_VARIANT_ADD(rivals, huge_forked) { .huge = true, .forked = true };
FIXTURE_VARIANT_ADD(rivals, fault_plain) { .fault = true };
FIXTURE_VARIANT_ADD(rivals, fault_huge) { .fault = true, .huge = true };
FIXTURE_VARIANT_ADD(rivals, fault_plain_forked) { .fault = true, .forked = true };
FIXTURE_VARIANT_ADD(rivals, fault_huge_forked) {
	.fault = true, .huge = true, .forked = true,
};

FIXTURE_SETUP(rivals)
{
	const char *why = hmm_open();

	if (why)
		SKIP(return, "%s", why);
	/* A few rounds, each of seconds on a slow machine, say nothing about shares */
	if (!getenv("HMM_RACE_SECONDS"))
		SKIP(return, "takes long: set HMM_RACE_SECONDS");
	thp_on_request();
	area_nr = 2 * HUGE_NR;
	area = map_anon(area_nr * PAGE, variant->huge);
	fill(area, area_nr * PAGE);
}

FIXTURE_TEARDOWN(rivals)
{
	hmm_close();
}

/*
 * At least every second round that has anything to move does, no round takes for ever,
 * and no data is lost.
 */
TEST_F_TIMEOUT(rivals, take_from_each_other, 600)
{
	uint64_t ask = variant->forked ? ASK_READ : ASK_WRITE;
	struct rival r[2] = {
		{ PRIVATE_A, ask, variant->huge, variant->fault },
		{ PRIVATE_B, ask, variant->huge, variant->fault },
	};
	unsigned long wanted = 0, moving = 0;
	int i, status, to_child[2];
	pthread_t threads[2];
	pid_t child = 0;

	NEED_DEVICE();
	ASSERT_EQ(0, pipe(to_child));
	if (variant->forked)
		child = fork();
	if (variant->forked && !child) {
		close(to_child[1]);
		bystander(to_child[0]);
	}
	stop = false;
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, rival_run, &r[i]));
	sleep(seconds());
	/* A slow machine may need longer */
	for (i = 0; i < 60 && (r[0].rounds < 4 || r[1].rounds < 4); i++)
		sleep(1);
	stop = true;
	for (i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		TH_LOG("%lu rounds, %lu moved something, %lu had all, longest %llu ms",
		       r[i].rounds, r[i].moving, r[i].idle,
		       (unsigned long long)r[i].longest);
		EXPECT_EQ(0, r[i].why[0]) TH_LOG("%s", r[i].why);
		EXPECT_LE(4, r[i].rounds);
		EXPECT_EQ(0, r[i].lost);
		EXPECT_GT(200000, r[i].longest);
		wanted += r[i].rounds - r[i].idle;
		moving += r[i].moving;
	}
	EXPECT_LE(wanted, 2 * moving);
	if (child) {
		close(to_child[1]);
		ASSERT_EQ(child, waitpid(child, &status, 0));
		EXPECT_EQ(0, status);
	}
	EXPECT_TRUE(filled(area, area_nr * PAGE));
}

/* Processes that are killed or exit during calls */

FIXTURE_HMM();

static void fight(void)
{
	static struct mutator m;
	static struct caller callers[2] = { { .flags = 0 },
					    { .flags = HMM_RANGE_UNLOCKED } };
	pthread_t thread;

	pthread_create(&thread, NULL, mutate, &m);
	pthread_create(&thread, NULL, call_always, &callers[0]);
	call_always(&callers[1]);
}

static bool gone_within(pid_t pid, unsigned int ms)
{
	int status;

	for (; ms; ms--) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return true;
		usleep(1000);
	}
	return false;
}

TEST_F_TIMEOUT(hmm, killed_during_the_race, 200)
{
	unsigned int state = 1, round;
	pid_t pid;

	for (round = 0; round < 20; round++) {
		pid = fork();
		if (!pid) {
			area_new(round & 1);
			fight();
			_exit(0);
		}
		usleep(5000 + draw(&state) % 60000);
		kill(pid, SIGKILL);
		ASSERT_TRUE(gone_within(pid, 5000));
	}
}

/* Calls on the memory of the process that opened the device, until it is gone */
static void call_until_gone(volatile unsigned long *calls, int verdict)
{
	struct call *c = call_new(area, HUGE_NR);
	time_t end = time(NULL) + 20;

	for (; time(NULL) < end; ++*calls) {
		c->raw.flags = HMM_RANGE_OPENER |
			       (*calls & 1 ? HMM_RANGE_UNLOCKED : 0);
		c->raw.default_flags = *calls % 3 ? ASK_WRITE : ASK_NOTHING;
		c->raw.pfn_flags_mask = 0;
		c->raw.entries = (uintptr_t)c->e;
		if (!ioctl(hmm_fd[0], HMM_RANGE_CALL, &c->raw))
			continue;
		if (errno == ESRCH && write(verdict, "y", 1) == 1)
			_exit(0);
		break;
	}
	_exit(1);
}

/* Opens the device, lets another process make calls on its memory, and exits meanwhile */
static void open_and_go(volatile unsigned long *calls, bool huge, int verdict)
{
	hmm_close();
	if (hmm_open())
		_exit(1);
	area_new(huge);
	*calls = 0;
	if (!fork())
		call_until_gone(calls, verdict);
	while (*calls < 5)
		usleep(1000);
	_exit(0);
}

TEST_F_TIMEOUT(hmm, exit_of_the_mm_during_calls, 250)
{
	volatile unsigned long *calls;
	int status, round, fd[2];
	pid_t opener;
	char byte;

	calls = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, calls);
	for (round = 0; round < 10; round++) {
		ASSERT_EQ(0, pipe(fd));
		opener = fork();
		if (!opener)
			open_and_go(calls, round & 1, fd[1]);
		close(fd[1]);
		waitpid(opener, &status, 0);
		EXPECT_EQ(0, status);
		EXPECT_EQ(1, read(fd[0], &byte, 1));
		close(fd[0]);
	}
}

TEST_HARNESS_MAIN
