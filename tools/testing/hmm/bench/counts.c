// SPDX-License-Identifier: GPL-2.0
/*
 * counts WHO CASE... - count what hmm_range_fault() does, without timing it
 *
 * Prints lines of row, WHO, round, value and unit.  Runs in a guest, as
 * huge pages do not exist in User Mode Linux: see bench.sh.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "counts.h"

#define DROPS		64
#define WRITER_ROUNDS	3
#define SCALE_NR	4096UL
#define SCALE_CALLS	64
#define LONG_SNAPSHOT	(1UL << 20)
#define LONG_FAULTS	(1UL << 18)

static const char *who;

void result(const char *row, int round, double value, const char *unit)
{
	printf("%s\t%s\t%d\t%.6g\t%s\n", row, who, round, value, unit);
	fflush(stdout);
}

void *must(void *p, const char *what)
{
	if (!p || p == MAP_FAILED)
		err(1, "%s", what);
	return p;
}

void run_on(int cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		err(1, "processor %d", cpu);
}

/* Makes the call, which must succeed */
static void ask(struct call *c, uint64_t what, uint32_t flags)
{
	c->raw.flags = flags;
	if (call_ask(c, what) || !call_check(c))
		errx(1, "the call failed (%d) or broke a promise: %s",
		     c->raw.ret, c->why);
}

static uint64_t calls_for(void *p, unsigned long nr, uint64_t what)
{
	struct call *c = call_new(p, nr);
	uint64_t calls;

	ask(c, what, HMM_RANGE_COUNT);
	calls = c->raw.calls;
	call_free(c);
	return calls;
}

/* Fault calls */

static void thp_hole(void)
{
	char *p = must(map_anon(HUGE, true), "huge pages");

	result("thp-hole-w", 0, calls_for(p, HUGE_NR, ASK_WRITE), "calls");
	munmap(p, HUGE);
}

static void hugetlb_hole(void)
{
	char *p = must(mmap(NULL, HUGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0),
		       "hugetlb pages");

	result("hugetlb-hole-w", 0, calls_for(p, HUGE_NR, ASK_WRITE), "calls");
	munmap(p, HUGE);
}

static void cached_file(void)
{
	int fd = memfd_new(HUGE, 0);
	char *p = must(mmap(NULL, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0),
		       "memfd");

	fill(p, HUGE);
	munmap(p, HUGE);
	p = must(mmap(NULL, HUGE, PROT_READ, MAP_SHARED, fd, 0), "memfd");
	result("cached-file-r", 0, calls_for(p, HUGE_NR, ASK_READ), "calls");
	munmap(p, HUGE);
	close(fd);
}

static void one_missing(void)
{
	char *p = must(map_anon(HUGE, false), "memory");

	fill(p, HUGE);
	madvise(p + 100 * PAGE, PAGE, MADV_DONTNEED);
	result("one-missing-r", 0, calls_for(p, HUGE_NR, ASK_READ), "calls");
	munmap(p, HUGE);
}

static void dropped_lock(void)
{
	char *p = must(map_dev(PRIVATE_A, HMM_RANGE_MAP_PAGES, DROPS * PAGE,
			       PROT_READ, PAGE), "device memory");
	struct call *c = call_new(p, DROPS);

	act(PRIVATE_A, HMM_RANGE_ACT_DROP, 0, 0);
	ask(c, ASK_READ, HMM_RANGE_UNLOCKED | HMM_RANGE_COUNT);
	if (c->raw.calls < 2 * DROPS)
		errx(1, "the lock was not dropped at each fault");
	result("dropped-lock", 0, c->raw.visits, "entries");
	act(PRIVATE_A, HMM_RANGE_ACT_NONE, 0, 0);
	call_free(c);
	munmap(p, DROPS * PAGE);
}

/* Each fault calls the notifier */
static void copied_pages(void)
{
	unsigned long nr = 1024, busy;
	char *p = must(map_anon(2 * nr * PAGE, false), "memory");
	struct call *c;

	read_pages(p, 2 * nr * PAGE);
	c = call_new(p, nr);
	ask(c, ASK_WRITE, HMM_RANGE_UNLOCKED | HMM_RANGE_COUNT);
	result("copy-w-visits", 0, c->raw.visits, "entries");
	call_free(c);
	c = call_new(p + nr * PAGE, nr);
	c->raw.flags = 0;
	for (busy = 0; call_ask(c, ASK_WRITE) == -EBUSY; busy++)
		;
	result("copy-w-busy", 0, busy, "calls");
	call_free(c);
	munmap(p, 2 * nr * PAGE);
}

static void saw_kmalloc(void *arg, const char *name, const char *args)
{
	const char *bytes = strstr(args, "bytes_req=");

	(void)name;
	*(unsigned long *)arg += bytes ? strtoul(bytes + 10, NULL, 10) : 0;
}

/* Memory that the ioctl allocates for a call with this mask */
static unsigned long allocated(char *p, uint64_t mask, uint32_t flags)
{
	static const char * const events[] = { "kmem/kmalloc", NULL };
	struct call *c = call_new(p, HUGE_NR);
	unsigned long bytes = 0;

	c->raw.flags = flags;
	c->raw.default_flags = ASK_READ;
	c->raw.pfn_flags_mask = mask;
	events_begin(events);
	if (call_run(c))
		errx(1, "the call failed: %d", c->raw.ret);
	events_end(events, saw_kmalloc, &bytes);
	call_free(c);
	return bytes;
}

/* What the unlocked call allocates on top of what the test driver does */
static void allocations(void)
{
	char *p = must(map_anon(HUGE, false), "memory");

	fill(p, HUGE);
	result("unlocked-bytes", 0, (double)allocated(p, 0, HMM_RANGE_UNLOCKED) -
	       allocated(p, 0, 0), "bytes");
	result("unlocked-bytes-mask", 0,
	       (double)allocated(p, ASK_WRITE, HMM_RANGE_UNLOCKED) -
	       allocated(p, ASK_WRITE, 0), "bytes");
	munmap(p, HUGE);
}

static void do_calls(void)
{
	copied_pages();
	thp_hole();
	hugetlb_hole();
	cached_file();
	one_missing();
	dropped_lock();
	allocations();
}

/* Instructions: with QEMU's -icount shift=0, each takes a nanosecond */

static void instructions(const char *row, char *p, unsigned long nr, uint64_t what,
			 bool unmapped)
{
	struct call *c = call_new(p, nr);
	int round;

	for (round = -1; round < ROUNDS; round++) {
		if (unmapped)
			madvise(p, nr * PAGE, MADV_DONTNEED);
		ask(c, what, 0);
		if (round >= 0)
			result(row, round, (double)c->raw.ns / nr, "instr/page");
	}
	call_free(c);
}

static void file_instructions(const char *row)
{
	int fd = memfd_new(HUGE, 0);
	char *p = must(map_anon(HUGE, false), "memory");

	/* At an aligned offset: otherwise folios would be small */
	must(mmap(p, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0),
	     "memfd");
	fill(p, HUGE);
	instructions(row, p, HUGE_NR, ASK_READ, true);
	munmap(p, HUGE);
	close(fd);
}

/* Like the page cache of most file systems today: folios of more than a page */
static void large_instructions(void)
{
	const char *file = "/sys/kernel/mm/transparent_hugepage/hugepages-64kB/shmem_enabled";

	if (!write_file(file, "always"))
		err(1, "%s", file);
	file_instructions("icount-fault-large-r");
	write_file(file, "never");
}

static void do_fault_instructions(void)
{
	char *p = must(map_anon(HUGE, false), "memory");

	instructions("icount-fault-anon-w", p, HUGE_NR, ASK_WRITE, true);
	munmap(p, HUGE);
	file_instructions("icount-fault-file-r");
	large_instructions();
}

static void do_call_instructions(void)
{
	char *p = must(map_anon(HUGE, false), "memory");

	fill(p, HUGE);
	instructions("icount-4k", p, HUGE_NR, ASK_NOTHING, false);
	instructions("icount-4k-w", p, HUGE_NR, ASK_WRITE, false);
	instructions("icount-one-page", p, 1, ASK_NOTHING, false);
	madvise(p, HUGE, MADV_DONTNEED);
	instructions("icount-hole", p, HUGE_NR, ASK_NOTHING, false);
	munmap(p, HUGE);
	p = must(map_anon(HUGE, true), "huge pages");
	fill(p, HUGE);
	instructions("icount-thp", p, HUGE_NR, ASK_NOTHING, false);
	munmap(p, HUGE);
}

/* Many threads on disjoint ranges of one mm */

struct worker {
	pthread_t thread;
	pthread_barrier_t *start;
	int cpu;
	uint64_t ns;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	char *p = must(map_anon(SCALE_NR * PAGE, false), "memory");
	struct call *c = call_new(p, SCALE_NR);
	int i;

	run_on(w->cpu);
	fill(p, SCALE_NR * PAGE);
	c->raw.flags = 0;
	pthread_barrier_wait(w->start);
	for (i = 0; i < SCALE_CALLS; i++) {
		if (call_ask(c, ASK_NOTHING))
			errx(1, "a call failed: %d", c->raw.ret);
		w->ns += c->raw.ns;
	}
	call_free(c);
	munmap(p, SCALE_NR * PAGE);
	return NULL;
}

static void scale(int threads, int round)
{
	struct worker workers[2] = {};
	pthread_barrier_t start;
	char row[32];
	double ns = 0;
	int i;

	pthread_barrier_init(&start, NULL, threads);
	for (i = 0; i < threads; i++) {
		workers[i].start = &start;
		workers[i].cpu = i;
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			errx(1, "no thread");
	}
	for (i = 0; i < threads; i++) {
		pthread_join(workers[i].thread, NULL);
		ns += workers[i].ns;
	}
	snprintf(row, sizeof(row), "threads-%d", threads);
	result(row, round, ns / (threads * SCALE_NR * SCALE_CALLS), "ns/page");
}

static void do_scaling(void)
{
	int round;

	for (round = 0; round < ROUNDS; round++) {
		scale(1, round);
		scale(2, round);
	}
}

/* Beside a thread that maps and unmaps other memory of the process all the time */

/*
 * Returns how long the calls took. The CPU has written to the pages if @present.
 * @longest: the longest time of a round of that thread
 */
static uint64_t fault_beside(unsigned long nr, unsigned long step, bool present,
			     uint64_t *longest)
{
	char *p = must(map_anon(nr * PAGE, false), "memory");
	char *elsewhere = must(mmap(NULL, 3 * PAGE, PROT_NONE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), "memory");
	struct mapper m;
	struct call *c;
	unsigned long i;
	uint64_t ns = 0;

	if (present)
		fill(p, nr * PAGE);
	run_on(1);
	if (!mapper_start(&m, elsewhere + PAGE))
		errx(1, "no thread");
	run_on(0);
	for (i = 0; i < nr; i += step) {
		c = call_new(p + i * PAGE, step);
		c->raw.flags = HMM_RANGE_UNLOCKED;
		if (call_ask(c, ASK_WRITE))
			errx(1, "a call failed: %d", c->raw.ret);
		ns += c->raw.ns;
		call_free(c);
	}
	*longest = m.longest;
	if (!mapper_stop(&m))
		errx(1, "the thread could not map");
	munmap(elsewhere, 3 * PAGE);
	munmap(p, nr * PAGE);
	return ns;
}

static void do_writer(void)
{
	uint64_t longest;
	int round;

	for (round = 0; round < WRITER_ROUNDS; round++) {
		result("emulated-beside-present", round,
		       (double)fault_beside(512, 1, true, &longest) / 512, "ns/page");
		result("emulated-beside-one-page", round,
		       (double)fault_beside(512, 1, false, &longest) / 512, "ns/page");
		fault_beside(LONG_FAULTS, LONG_FAULTS, false, &longest);
		result("emulated-writer-waits", round, longest / 1e6, "ms");
	}
}

/* How long threads of higher priority wait for the processor */

static volatile bool watching;
static uint64_t longest;

static void *watch(void *arg)
{
	const struct timespec nap = { .tv_nsec = 100000 };
	struct sched_param first = { .sched_priority = 50 };
	uint64_t before, late;

	(void)arg;
	if (pthread_setschedparam(pthread_self(), SCHED_FIFO, &first))
		errx(1, "cannot be of more importance");
	while (watching) {
		before = now();
		clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, NULL);
		late = now() - before - nap.tv_nsec;
		if (late > longest)
			longest = late;
	}
	return NULL;
}

static void watched(const char *row, void *p, unsigned long nr, uint64_t what)
{
	struct call *c = call_new(p, nr);
	pthread_t thread;

	run_on(0);
	longest = 0;
	watching = true;
	if (pthread_create(&thread, NULL, watch, NULL))
		errx(1, "no thread");
	c->raw.flags = 0;
	if (call_ask(c, what))
		errx(1, "%s: %d", row, c->raw.ret);
	watching = false;
	pthread_join(thread, NULL);
	if (call_count(c, 0, nr, WRITABLE) != nr)
		errx(1, "%s: not all is mapped", row);
	result(row, 0, longest / 1e6, "M instr");
	call_free(c);
}

/* From the kill to the exit of a process during a long call */
static void killed(const char *row, void *p, unsigned long nr, uint64_t what)
{
	struct call *c = call_new(p, nr);
	uint64_t begin;
	pid_t pid = fork();

	if (pid < 0)
		err(1, "fork");
	if (!pid) {
		call_ask(c, what);
		_exit(0);
	}
	usleep(20000);
	begin = now();
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	if (ioctl(hmm_fd[0], HMM_RANGE_LAST, &c->raw))
		err(1, "HMM_RANGE_LAST");
	if (c->raw.ns < 1000000)
		errx(1, "%s: killed before the call was well under way", row);
	result(row, 0, (now() - begin) / 1e6, "ms");
	call_free(c);
}

/* Any long mapping of small pages will do, so the same file over and over */
static char *map_long(unsigned long nr, int fd)
{
	unsigned long at, size = nr * PAGE, piece = HUGE * 8;
	char *p = must(mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS |
			    MAP_NORESERVE, -1, 0), "address space");

	for (at = 0; at < size; at += piece)
		must(mmap(p + at, piece, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_FIXED, fd, 0), "memfd");
	return p;
}

static void do_latency(void)
{
	int fd = memfd_new(HUGE * 8, 0);
	char *p = map_long(LONG_SNAPSHOT, fd);

	watched("stretch-faults-1G", p, LONG_FAULTS, ASK_WRITE);
	madvise(p, LONG_FAULTS * PAGE, MADV_DONTNEED);
	killed("kill-faults-1G", p, LONG_FAULTS, ASK_WRITE);
	madvise(p, LONG_SNAPSHOT * PAGE, MADV_POPULATE_WRITE);
	watched("stretch-snapshot-4G", p, LONG_SNAPSHOT, ASK_NOTHING);
	munmap(p, LONG_SNAPSHOT * PAGE);
	close(fd);
}

static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
	{ "calls", do_calls },
	{ "fault-instructions", do_fault_instructions },
	{ "call-instructions", do_call_instructions },
	{ "scaling", do_scaling },
	{ "writer", do_writer },
	{ "latency", do_latency },
	{ "devices", do_devices },
	{ "device-instructions", do_device_instructions },
};

int main(int argc, char **argv)
{
	const char *why;
	unsigned int i;
	int arg;

	if (argc < 3)
		errx(2, "usage: counts WHO CASE...");
	who = argv[1];
	why = hmm_open();
	if (why)
		errx(1, "%s", why);
	for (arg = 2; arg < argc; arg++)
		for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
			if (!strcmp(argv[arg], cases[i].name))
				cases[i].run();
	hmm_close();
	return 0;
}
