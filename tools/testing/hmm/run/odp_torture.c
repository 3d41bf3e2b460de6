// SPDX-License-Identifier: GPL-2.0
/*
 * odp_torture - RDMA into memory that is taken away while the device uses it
 *
 * Workers WRITE, READ and do atomics while mutators page out, collapse, split,
 * mprotect, mremap, fork and drop the same pages. Checks that do not allow concurrent
 * changes are in tools/testing/selftests/rdma/rxe_odp.c.
 *
 * Data and shadow change under the lock of their stripe, and so does whatever
 * changes the contents of memory (MADV_DONTNEED, mremap, ...). Whatever only changes
 * how memory is mapped (MADV_PAGEOUT, MADV_COLLAPSE, ...) takes no lock and happens
 * during requests of the device.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../selftests/rdma/odp.h"

#define NR_WORKERS	2
#define NR_MUTATORS	2

static atomic_ulong pinned_kib, status_reads;
static atomic_bool stop;

enum mutation {
	MUT_PAGEOUT,
	MUT_COLD,
	MUT_COLLAPSE,
	MUT_EXEC,
	MUT_WIRE,
	MUT_ZAP,
	MUT_DROP,
	MUT_READONLY,
	MUT_MREMAP,
	MUT_FORK,
	NR_MUTATIONS
};

static const char * const mutation_names[] = {
	[MUT_PAGEOUT]	= "pageout",
	[MUT_COLD]	= "cold",
	[MUT_COLLAPSE]	= "collapse",
	[MUT_EXEC]	= "mprotect-exec",
	[MUT_WIRE]	= "pageout-local",
	[MUT_ZAP]	= "unmap",
	[MUT_DROP]	= "drop",
	[MUT_READONLY]	= "mprotect-read",
	[MUT_MREMAP]	= "mremap",
	[MUT_FORK]	= "fork",
};

/* Shared by the threads of one storm. */
struct storm {
	struct area *area;
	struct link *links;
	pthread_mutex_t vma_lock;	/* mremap needs whole VMAs */
	uint8_t *spare;			/* of a stripe's size, for mremap */
	atomic_size_t hot;		/* the stripe that was mutated last */
	atomic_ulong mutations[NR_MUTATIONS];
	atomic_ulong child_wrong;
};

struct actor {
	pthread_t thread;
	struct storm *storm;
	struct link *link;
	struct rng rng;
};

static void lock_pair(struct area *a, size_t lo, size_t hi)
{
	pthread_mutex_lock(&a->stripes[lo].lock);
	if (hi != lo)
		pthread_mutex_lock(&a->stripes[hi].lock);
}

static void unlock_pair(struct area *a, size_t lo, size_t hi)
{
	if (hi != lo)
		pthread_mutex_unlock(&a->stripes[hi].lock);
	pthread_mutex_unlock(&a->stripes[lo].lock);
}

/* Lengths of every magnitude; round ones are no more likely than others. */
static size_t some_length(struct rng *rng)
{
	return 1 + below(rng, 1UL << below(rng, 17));
}

static void storm_writes(struct actor *w, size_t base, int nr)
{
	struct area *a = w->storm->area;

	for (int i = 0; i < nr; i++) {
		size_t len = some_length(&w->rng);
		size_t at = base + below(&w->rng, 2 * STRIPE - len + 1);

		fill(&w->rng, a->shadow + at, len);
		memcpy(source(w->link, i), a->shadow + at, len);
		post_rdma(w->link, IBV_WR_RDMA_WRITE, source(w->link, i), len,
			  (uintptr_t)a->mem + at, a->mr->rkey);
	}
}

static void storm_reads(struct actor *w, size_t base, int nr)
{
	struct area *a = w->storm->area;
	size_t at[NR_SLOTS], len[NR_SLOTS];

	for (int i = 0; i < nr; i++) {
		len[i] = some_length(&w->rng);
		at[i] = base + below(&w->rng, 2 * STRIPE - len[i] + 1);
		post_rdma(w->link, IBV_WR_RDMA_READ, destination(w->link, i),
			  len[i], (uintptr_t)a->mem + at[i], a->mr->rkey);
	}
	if (!flush(w->link))
		return;
	for (int i = 0; i < nr; i++)
		check(destination(w->link, i), a->shadow + at[i], len[i]);
}

static void storm_cpu_write(struct actor *w, size_t base)
{
	struct area *a = w->storm->area;
	size_t len = some_length(&w->rng);
	size_t at = base + below(&w->rng, 2 * STRIPE - len + 1);

	fill(&w->rng, a->shadow + at, len);
	memcpy(a->mem + at, a->shadow + at, len);
}

static void storm_round(struct actor *w, size_t base, bool writable)
{
	struct area *a = w->storm->area;
	uint64_t dice = rnd(&w->rng);
	bool ok = true;

	if (writable) {
		if (dice % 4 == 0)
			storm_cpu_write(w, base);
		storm_writes(w, base, 8);
		ok = flush(w->link);
		if (ok && dice % 4 == 1)
			ok = one_atomic(w->link, a, &w->rng, base +
					below(&w->rng, 2 * STRIPE / 8) * 8,
					IBV_WR_ATOMIC_FETCH_AND_ADD, true);
	}
	storm_reads(w, base, 4);
	if (!ok || dice % 4 == 2)
		check_area(a, base, 2 * STRIPE);
}

static void *worker(void *arg)
{
	struct actor *w = arg;
	struct storm *s = w->storm;
	struct area *a = s->area;

	while (!stop) {
		size_t i = below(&w->rng, 2) ? s->hot :
			   below(&w->rng, a->nr_stripes);

		if (i == a->nr_stripes - 1)
			i--;
		lock_pair(a, i, i + 1);
		storm_round(w, i * STRIPE, !a->stripes[i].readonly &&
			    !a->stripes[i + 1].readonly);
		unlock_pair(a, i, i + 1);
	}
	return NULL;
}

/* A run of pages in the stripe. */
static size_t some_pages(struct rng *rng, size_t stripe, size_t *len)
{
	size_t first = below(rng, STRIPE / PAGE);

	*len = (1 + below(rng, STRIPE / PAGE - first)) * PAGE;
	return stripe * STRIPE + first * PAGE;
}

static bool mutate_exec(struct actor *m, size_t stripe)
{
	struct storm *s = m->storm;
	struct area *a = s->area;
	size_t len, at = some_pages(&m->rng, stripe, &len);
	bool ok = false;

	pthread_mutex_lock(&s->vma_lock);
	if (!a->stripes[stripe].readonly) {
		ok = !mprotect(a->mem + at, len,
			       PROT_READ | PROT_WRITE | PROT_EXEC) &&
		     !mprotect(a->mem + at, len, PROT_READ | PROT_WRITE);
	}
	pthread_mutex_unlock(&s->vma_lock);
	return ok;
}

/* Discards the contents: anonymous pages by MADV_DONTNEED, file pages by a hole. */
static bool mutate_drop(struct actor *m, size_t stripe)
{
	struct area *a = m->storm->area;
	size_t len, at = some_pages(&m->rng, stripe, &len);
	int advice = a->fd < 0 ? MADV_DONTNEED : MADV_REMOVE;
	bool ok = false;

	lock_pair(a, stripe, stripe);
	if (!a->stripes[stripe].readonly) {
		ok = !madvise(a->mem + at, len, advice);
		if (ok)
			memset(a->shadow + at, 0, len);
	}
	unlock_pair(a, stripe, stripe);
	return ok;
}

static bool set_readonly(struct storm *s, size_t stripe, bool readonly)
{
	struct area *a = s->area;
	int prot = readonly ? PROT_READ : PROT_READ | PROT_WRITE;
	bool ok;

	lock_pair(a, stripe, stripe);
	pthread_mutex_lock(&s->vma_lock);
	ok = !mprotect(a->mem + stripe * STRIPE, STRIPE, prot);
	a->stripes[stripe].readonly = readonly;
	pthread_mutex_unlock(&s->vma_lock);
	unlock_pair(a, stripe, stripe);
	return ok;
}

static bool mutate_readonly(struct actor *m, size_t stripe)
{
	bool ok;

	if (!set_readonly(m->storm, stripe, true))
		die("mprotect");
	m->storm->hot = stripe;
	usleep(3000);
	ok = set_readonly(m->storm, stripe, false);
	if (!ok)
		die("mprotect back");
	return ok;
}

static bool move(uint8_t *from, uint8_t *to)
{
	return mremap(from, STRIPE, STRIPE, MREMAP_MAYMOVE | MREMAP_FIXED |
		      MREMAP_DONTUNMAP, to) == to;
}

/* Two stripes are swapped, and neither address is ever unmapped. */
static bool swap_stripes(struct storm *s, size_t lo, size_t hi)
{
	uint8_t *x = s->area->mem + lo * STRIPE;
	uint8_t *y = s->area->mem + hi * STRIPE;

	if (!move(x, s->spare))
		return false;
	if (!move(y, x) || !move(s->spare, y))
		die("mremap");
	return true;
}

static void swap_shadows(struct area *a, size_t lo, size_t hi)
{
	uint8_t *x = a->shadow + lo * STRIPE, *y = a->shadow + hi * STRIPE;
	uint8_t tmp[PAGE];

	for (size_t off = 0; off < STRIPE; off += PAGE) {
		memcpy(tmp, x + off, PAGE);
		memcpy(x + off, y + off, PAGE);
		memcpy(y + off, tmp, PAGE);
	}
}

static bool mutate_mremap(struct actor *m, size_t stripe)
{
	struct storm *s = m->storm;
	struct area *a = s->area;
	size_t other = below(&m->rng, a->nr_stripes);
	size_t lo = stripe < other ? stripe : other;
	size_t hi = stripe < other ? other : stripe;
	bool ok = false;

	if (lo == hi)
		return false;
	lock_pair(a, lo, hi);
	pthread_mutex_lock(&s->vma_lock);
	if (!a->stripes[lo].readonly && !a->stripes[hi].readonly)
		ok = swap_stripes(s, lo, hi);
	pthread_mutex_unlock(&s->vma_lock);
	if (ok)
		swap_shadows(a, lo, hi);
	unlock_pair(a, lo, hi);
	return ok;
}

/* The child's memory must not change, whatever the device writes meanwhile. */
static void child_watches(struct area *a, size_t stripe)
{
	for (int i = 0; i < 4; i++) {
		if (memcmp(a->mem + stripe * STRIPE,
			   a->shadow + stripe * STRIPE, STRIPE))
			_exit(1);
		usleep(4000);
	}
	_exit(0);
}

static bool mutate_fork(struct actor *m, size_t stripe)
{
	struct storm *s = m->storm;
	struct area *a = s->area;
	int status = 0;
	pid_t pid;

	lock_pair(a, stripe, stripe);
	pid = fork();
	if (!pid && a->fd < 0)
		child_watches(a, stripe);
	if (!pid)
		_exit(0);
	unlock_pair(a, stripe, stripe);
	s->hot = stripe;
	if (pid < 0)
		return false;
	waitpid(pid, &status, 0);
	if (a->fd < 0)
		bytes_checked += STRIPE;
	if (status)
		s->child_wrong++;
	return true;
}

static bool mutate_wire(struct actor *m)
{
	struct link *l = &m->storm->links[below(&m->rng, NR_WORKERS)];
	size_t slot = below(&m->rng, 2 * NR_SLOTS);

	return !madvise(l->wire + slot * SLOT, SLOT, MADV_PAGEOUT);
}

static bool mutate_advice(struct actor *m, size_t stripe, int advice)
{
	size_t len, at = some_pages(&m->rng, stripe, &len);

	return !madvise(m->storm->area->mem + at, len, advice);
}

static bool mutate_collapse(struct actor *m, size_t stripe)
{
	size_t at = stripe * STRIPE & -HUGE;

	return !madvise(m->storm->area->mem + at, HUGE, MADV_COLLAPSE);
}

static bool mutate(struct actor *m, enum mutation what, size_t stripe)
{
	switch (what) {
	case MUT_PAGEOUT:
		return mutate_advice(m, stripe, MADV_PAGEOUT);
	case MUT_COLD:
		return mutate_advice(m, stripe, MADV_COLD);
	case MUT_COLLAPSE:
		return mutate_collapse(m, stripe);
	case MUT_EXEC:
		return mutate_exec(m, stripe);
	case MUT_WIRE:
		return mutate_wire(m);
	case MUT_ZAP:	/* a file's pages come back as they were */
		return m->storm->area->fd >= 0 &&
		       mutate_advice(m, stripe, MADV_DONTNEED);
	case MUT_DROP:
		return mutate_drop(m, stripe);
	case MUT_READONLY:
		return mutate_readonly(m, stripe);
	case MUT_MREMAP:
		return mutate_mremap(m, stripe);
	case MUT_FORK:
		return mutate_fork(m, stripe);
	case NR_MUTATIONS:
		break;
	}
	return false;
}

static void *mutator(void *arg)
{
	struct actor *m = arg;
	struct storm *s = m->storm;

	while (!stop) {
		enum mutation what = below(&m->rng, NR_MUTATIONS);
		size_t stripe = below(&m->rng, 2) ? s->hot :
				below(&m->rng, s->area->nr_stripes);

		if (mutate(m, what, stripe))
			s->mutations[what]++;
		s->hot = stripe;
		usleep(below(&m->rng, 2000));
	}
	return NULL;
}

static void start(struct actor *actor, void *(*fn)(void *), struct storm *s,
		  struct link *l, uint64_t seed)
{
	actor->storm = s;
	actor->link = l;
	actor->rng.state = seed;
	errno = pthread_create(&actor->thread, NULL, fn, actor);
	if (errno)
		die("thread");
}

static void storm_report(struct storm *s, unsigned long checked,
			 unsigned long wrong, unsigned long failed)
{
	bool ok = bytes_wrong == wrong && wr_failed == failed &&
		  !s->child_wrong;

	verdict(ok, "storm",
		"%s, %lu bytes checked, %lu wrong, %lu requests failed, %lu children wrong",
		s->area->kind, bytes_checked - checked, bytes_wrong - wrong,
		wr_failed - failed, s->child_wrong);
	printf("     taken away by:");
	for (int i = 0; i < NR_MUTATIONS; i++)
		printf(" %s %lu", mutation_names[i], s->mutations[i]);
	putchar('\n');
}

/*
 * There is no cache for pages that are swapped out to a RAM disk: each comes back by a
 * real swap-in, but dirty.
 */
static void prefer_storm_swap(void)
{
	if (opt.swap && swapon(opt.swap, SWAP_FLAG_PREFER | 100))
		die("swapon %s", opt.swap);
	opt.swap = NULL;
}

static void storm(struct area *a, unsigned int seconds, struct rng *rng)
{
	unsigned long checked = bytes_checked, wrong = bytes_wrong;
	unsigned long failed = wr_failed;
	struct actor actors[NR_WORKERS + NR_MUTATORS] = {};
	struct link links[NR_WORKERS];
	struct storm s = { .area = a, .links = links,
			   .vma_lock = PTHREAD_MUTEX_INITIALIZER,
			   .spare = map_aligned(STRIPE) };

	for (size_t off = 0; off < a->size; off += SLOT)
		fill(rng, a->mem + off, SLOT);
	memcpy(a->shadow, a->mem, a->size);
	for (int i = 0; i < NR_WORKERS; i++)
		link_init(&links[i]);

	prefer_storm_swap();
	stop = false;
	for (int i = 0; i < NR_WORKERS; i++)
		start(&actors[i], worker, &s, &links[i], rnd(rng));
	for (int i = 0; i < NR_MUTATORS; i++)
		start(&actors[NR_WORKERS + i], mutator, &s, NULL, rnd(rng));
	sleep(seconds);
	stop = true;
	for (size_t i = 0; i < ARRAY_SIZE(actors); i++)
		pthread_join(actors[i].thread, NULL);

	check_area(a, 0, a->size);
	for (int i = 0; i < NR_WORKERS; i++)
		link_exit(&links[i]);
	munmap(s.spare, STRIPE);
	storm_report(&s, checked, wrong, failed);
}

/* ------------------------------------------------------------ counters */

static void *watch_pinned(void *arg)
{
	atomic_bool *done = arg;
	char line[128];

	while (!*done) {
		FILE *f = fopen("/proc/self/status", "r");
		unsigned long kib;

		if (!f)
			die("/proc/self/status");
		while (fgets(line, sizeof(line), f))
			if (sscanf(line, "VmPin: %lu", &kib) == 1) {
				status_reads++;
				if (kib > pinned_kib)
					pinned_kib = kib;
			}
		fclose(f);
		usleep(20000);
	}
	return NULL;
}

/*
 * Reads the number after @name in a file of names and numbers; false if the kernel
 * has no such count.
 */
static bool counter(const char *path, const char *name, unsigned long *value)
{
	FILE *f = fopen(path, "r");
	char line[256], word[128];
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f))
		found = sscanf(line, "%127s %lu", word, value) == 2 &&
			!strcmp(word, name);
	if (f)
		fclose(f);
	return found;
}

static const struct {
	const char *path, *name, *title;
} counters[] = {
	{ "/sys/kernel/debug/hmm", "calls", "range faults" },
	{ "/sys/kernel/debug/hmm", "faults", "pages faulted" },
	{ "/sys/kernel/tracing/kprobe_profile", "odp_fault", "device faults" },
	{ "/sys/kernel/tracing/kprobe_profile", "odp_invalidate",
	  "invalidations seen" },
	{ "/proc/vmstat", "pswpout", "pages swapped out" },
	{ "/proc/vmstat", "pswpin", "pages swapped in" },
	{ "/proc/vmstat", "thp_collapse_alloc", "huge pages collapsed" },
	{ "/proc/vmstat", "thp_split_pmd", "huge mappings split" },
};

static void report_counters(const unsigned long *before)
{
	unsigned long after;

	for (size_t i = 0; i < ARRAY_SIZE(counters); i++) {
		if (counter(counters[i].path, counters[i].name, &after))
			printf("%-22s %lu\n", counters[i].title,
			       after - before[i]);
		else
			printf("%-22s not counted by this kernel\n",
			       counters[i].title);
	}
}

static void parse(int argc, char **argv)
{
	int c;

	opt.seed = time(NULL);
	while ((c = getopt(argc, argv, "d:g:m:s:t:w:")) != -1) {
		switch (c) {
		case 'd':
			opt.dev_name = optarg;
			break;
		case 'g':
			opt.gid_index = atoi(optarg);
			break;
		case 'm':
			opt.size = strtoul(optarg, NULL, 0) << 20;
			break;
		case 's':
			opt.seed = strtoull(optarg, NULL, 0);
			break;
		case 't':
			opt.seconds = atoi(optarg);
			break;
		case 'w':
			opt.swap = optarg;
			break;
		default:
			fprintf(stderr,
				"usage: odp_torture [-d device] [-g gid index] [-m MiB] [-s seed] [-t seconds of storm] [-w swap device for the storm]\n");
			exit(2);
		}
	}
	if (opt.size < 4 * HUGE || opt.size % HUGE)
		die("-m takes an even number of MiB, 8 at least");
}

static void torture(bool memfd, struct rng *rng)
{
	struct area a;

	area_init(&a, memfd);
	storm(&a, (opt.seconds + 1) / 2, rng);
	area_exit(&a);
}

static int summary(const unsigned long *before)
{
	report_counters(before);
	printf("%-22s %lu\n", "requests", wr_done);
	printf("%-22s %lu\n", "atomics", atomics_done);
	printf("%-22s %lu\n", "requests failed", wr_failed);
	printf("%-22s %lu kB, in %lu looks\n", "pinned at most", pinned_kib,
	       status_reads);
	printf("%-22s %lu\n", "bytes checked", bytes_checked);
	printf("%-22s %lu\n", "mismatches", bytes_wrong);
	printf("%-22s %lu\n", "checks failed", checks_failed);
	return checks_failed || bytes_wrong || wr_failed || pinned_kib ||
	       !status_reads;
}

int main(int argc, char **argv)
{
	unsigned long before[ARRAY_SIZE(counters)] = {};
	atomic_bool done = false;
	pthread_t watcher;
	struct rng rng;

	parse(argc, argv);
	rng.state = opt.seed;
	printf("seed %llu\n", (unsigned long long)opt.seed);
	begin = now();
	device_open();
	for (size_t i = 0; i < ARRAY_SIZE(counters); i++)
		counter(counters[i].path, counters[i].name, &before[i]);

	errno = pthread_create(&watcher, NULL, watch_pinned, &done);
	if (errno)
		die("thread");
	torture(false, &rng);
	torture(true, &rng);
	done = true;
	pthread_join(watcher, NULL);
	return summary(before);
}
