// SPDX-License-Identifier: GPL-2.0
/*
 * Details of migrate_vma_setup(), _pages() and _finalize(): when the TLB is flushed and
 * for which addresses, what happens to pages that cannot be migrated, and whether any
 * data is lost.
 */
#define _GNU_SOURCE
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "pin.h"
#include "test.h"

#define TRACING		"/sys/kernel/tracing/"
#define INSTANCE	TRACING "instances/hmm/"
/* Maximum length of a line of the trace */
#define LINE		256

FIXTURE_HMM();

/* Migrations with all parameters */

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

/* The number of pages that are in device memory */
static unsigned long with_device(const void *p, unsigned long nr)
{
	return nr - pages_with(p, nr, PM_PRESENT);
}

/* Events in this thread, from kprobes and tracepoints */

static bool probe_add(const char *what)
{
	int fd = open(TRACING "kprobe_events", O_WRONLY | O_APPEND | O_CLOEXEC);
	bool added = fd >= 0 && write(fd, what, strlen(what)) == (ssize_t)strlen(what);

	if (fd >= 0)
		close(fd);
	return added;
}

/* Truncating the file clears the trace */
static bool watch_clear(void)
{
	int fd = open(INSTANCE "trace", O_WRONLY | O_TRUNC | O_CLOEXEC);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* Starts to record the event; false if there is no such event */
static bool watch_begin(const char *event)
{
	char path[LINE], pid[16];

	if (mkdir(INSTANCE, 0700) && errno != EEXIST)
		return false;
	snprintf(pid, sizeof(pid), "%d", (int)syscall(SYS_gettid));
	snprintf(path, sizeof(path), INSTANCE "events/%s/enable", event);
	return write_file(INSTANCE "set_event_pid", pid) && watch_clear() &&
	       write_file(path, "1");
}

static void watch_end(const char *event)
{
	char path[LINE];

	snprintf(path, sizeof(path), INSTANCE "events/%s/enable", event);
	write_file(path, "0");
}

/* The arguments of the next event */
static bool watch_next(FILE *f, const char *event, char *line)
{
	const char *name = strchr(event, '/') + 1;
	char *at;

	while (f && fgets(line, LINE, f)) {
		at = strstr(line, name);
		if (line[0] != '#' && at) {
			memmove(line, at, strlen(at) + 1);
			return true;
		}
	}
	return false;
}

static unsigned long watch_count(const char *event)
{
	FILE *f = fopen(INSTANCE "trace", "r");
	unsigned long n = 0;
	char line[LINE];

	while (watch_next(f, event, line))
		n++;
	if (f)
		fclose(f);
	return n;
}

/*
 * Flushes of the TLB, if a single function makes them. Its arguments are the mm, and
 * start and end of the range.
 */
#define FLUSH	"hmm/flush"

struct flush {
	uintptr_t start, end;
};

static bool flushes_begin(void)
{
	watch_end(FLUSH);
	return (!access(TRACING "events/" FLUSH, F_OK) ||
		probe_add("p:" FLUSH " flush_tlb_mm_range start=$arg2 end=$arg3\n")) &&
	       watch_begin(FLUSH);
}

/* The number of flushes that include any of the @nr pages, and the first @max of them */
static unsigned long flushes_end(const void *p, unsigned long nr, struct flush *seen,
				 unsigned long max)
{
	uintptr_t start = (uintptr_t)p, end = start + nr * PAGE;
	unsigned long n = 0;
	struct flush flush;
	char line[LINE];
	FILE *f;

	watch_end(FLUSH);
	f = fopen(INSTANCE "trace", "r");
	while (watch_next(f, FLUSH, line)) {
		if (sscanf(strstr(line, "start="), "start=%lx end=%lx",
			   &flush.start, &flush.end) != 2)
			break;
		if (flush.start >= end || flush.end <= start)
			continue;
		if (n < max)
			seen[n] = flush;
		n++;
	}
	if (f)
		fclose(f);
	return n;
}

#define NEED_FLUSHES()							\
	NEED(flushes_begin(), "needs kprobes and flush_tlb_mm_range()")

/* One flush for a page table of present, exclusive pages */
TEST_F(hmm, one_flush_for_a_table)
{
	struct flush flush;
	char *p;

	NEED_DEVICE();
	p = map_anon(2 * HUGE, false);
	fill(p, 2 * HUGE);
	NEED_FLUSHES();
	ASSERT_EQ(HUGE_NR, to_device(PRIVATE_A, p, HUGE_NR, false));
	ASSERT_EQ(1, flushes_end(p, 2 * HUGE_NR, &flush, 1));
	EXPECT_EQ((uintptr_t)p, flush.start);
	EXPECT_EQ((uintptr_t)p + HUGE, flush.end);
	EXPECT_EQ(HUGE_NR, with_device(p, 2 * HUGE_NR));
	EXPECT_TRUE(filled(p, 2 * HUGE));
}

/* The flush covers no more than the pages that were present */
TEST_F(hmm, flush_from_first_to_last)
{
	struct flush flush;
	char *p;

	NEED_DEVICE();
	p = map_anon(HUGE, false);
	/* Holes, device's, present, a hole, present, device's, holes */
	fill(p + 3 * PAGE, 12 * PAGE);
	ASSERT_EQ(2, to_device(PRIVATE_A, p + 3 * PAGE, 2, false));
	ASSERT_EQ(2, to_device(PRIVATE_A, p + 13 * PAGE, 2, false));
	ASSERT_EQ(0, madvise(p + 8 * PAGE, PAGE, MADV_DONTNEED));
	NEED_FLUSHES();
	ASSERT_EQ(0, move(PRIVATE_A, PRIVATE_A, HMM_RANGE_TO_NOWHERE,
			  SELECT_SYSTEM | SELECT_PRIVATE, p, HUGE_NR, NULL,
			  call_new(p, HUGE_NR)->e));
	ASSERT_EQ(1, flushes_end(p, HUGE_NR, &flush, 1));
	EXPECT_EQ((uintptr_t)p + 5 * PAGE, flush.start);
	EXPECT_EQ((uintptr_t)p + 13 * PAGE, flush.end);
	EXPECT_TRUE(filled(p + 3 * PAGE, 5 * PAGE));
	EXPECT_TRUE(filled(p + 9 * PAGE, 6 * PAGE));
}

/* No flush for entries that are never in a TLB */
TEST_F(hmm, no_flush_for_device_private)
{
	char *p;

	NEED_DEVICE();
	p = map_anon(HUGE, false);
	fill(p, HUGE);
	ASSERT_EQ(HUGE_NR, to_device(PRIVATE_A, p, HUGE_NR, false));
	NEED_FLUSHES();
	ASSERT_EQ(HUGE_NR, to_system(PRIVATE_A, p, HUGE_NR, false));
	EXPECT_EQ(0, flushes_end(p, HUGE_NR, NULL, 0));
	EXPECT_TRUE(filled(p, HUGE));
}

/*
 * The lock is dropped in the middle of a table, to split a folio. Entries cleared
 * before are flushed first, and not again later.
 */
TEST_F(hmm, flush_before_the_lock_is_dropped)
{
	unsigned long small = HUGE_NR / 4;
	struct flush flush[2] = {};
	char *p;

	NEED_DEVICE();
	NEED_THP();
	p = map_anon(HUGE, true);
	fill(p, HUGE);
	ASSERT_EQ(0, madvise(p, small * PAGE, MADV_DONTNEED));
	ASSERT_EQ(0, madvise(p, HUGE, MADV_NOHUGEPAGE));
	fill(p, small * PAGE);
	NEED_FLUSHES();
	ASSERT_EQ(HUGE_NR, to_device(PRIVATE_A, p, HUGE_NR, false));
	ASSERT_LE(2, flushes_end(p, HUGE_NR, flush, 2));
	EXPECT_EQ((uintptr_t)p, flush[0].start);
	EXPECT_EQ((uintptr_t)p + small * PAGE, flush[0].end);
	EXPECT_LE((uintptr_t)p + small * PAGE, flush[1].start);
	EXPECT_EQ(HUGE_NR, with_device(p, HUGE_NR));
	EXPECT_TRUE(filled(p, HUGE));
}

/* Pages that cannot move */

/* Does the pinned memory have the contents of fill()? */
static bool pinned_filled(int gup, const void *p, unsigned long nr)
{
	char *seen = malloc(nr * PAGE);
	uint64_t to = (uintptr_t)seen;
	unsigned long i;
	bool same;

	same = seen && !ioctl(gup, PIN_LONGTERM_TEST_READ, &to);
	for (i = 0; same && i < nr; i++)
		same = *(uint64_t *)(seen + i * PAGE) == (uintptr_t)p + i * PAGE;
	free(seen);
	return same;
}

/*
 * A pinned page is never removed from the page table; its neighbours are migrated.
 * The process and the pinned memory still share it afterwards.
 */
TEST_F(hmm, pinned_page_keeps_its_entry)
{
	static const char event[] = "migrate/remove_migration_pte";
	uint64_t before;
	char *p;
	int gup;

	NEED_DEVICE();
	p = map_anon(16 * PAGE, false);
	fill(p, 16 * PAGE);
	gup = pin(p + 5 * PAGE, 1);
	NEED(gup >= 0, "needs CONFIG_GUP_TEST");
	before = pagemap(p + 5 * PAGE);
	NEED(watch_begin(event), "needs tracepoints");
	EXPECT_EQ(15, to_device(PRIVATE_A, p, 16, false));
	watch_end(event);
	EXPECT_EQ(15, watch_count(event));
	EXPECT_EQ(before, pagemap(p + 5 * PAGE));
	EXPECT_EQ(15, with_device(p, 16));
	*(uint64_t *)(p + 5 * PAGE) = 0;
	fill(p + 5 * PAGE, PAGE);
	EXPECT_TRUE(pinned_filled(gup, p + 5 * PAGE, 1));
	unpin(gup);
	EXPECT_EQ(1, to_device(PRIVATE_A, p + 5 * PAGE, 1, false));
	EXPECT_TRUE(filled(p, 16 * PAGE));
}

/* A page that somebody has a reference of stays, too, and is on an LRU list again */
TEST_F(hmm, referenced_page_stays)
{
	struct iovec part;
	int to[2];
	char *p;

	NEED_DEVICE();
	p = map_anon(16 * PAGE, false);
	fill(p, 16 * PAGE);
	ASSERT_EQ(0, pipe(to));
	part = (struct iovec) { .iov_base = p + 5 * PAGE, .iov_len = PAGE };
	ASSERT_EQ(PAGE, vmsplice(to[1], &part, 1, 0));
	EXPECT_EQ(15, to_device(PRIVATE_A, p, 16, false));
	EXPECT_TRUE(pagemap(p + 5 * PAGE) & PM_PRESENT);
	EXPECT_EQ(15, with_device(p, 16));
	close(to[0]);
	close(to[1]);
	EXPECT_EQ(1, to_device(PRIVATE_A, p + 5 * PAGE, 1, false));
	EXPECT_EQ(16, with_device(p, 16));
	EXPECT_TRUE(filled(p, 16 * PAGE));
}

/* Entries that are mapped again */

#define WALK	"hmm/walk"

/* A page that nobody shares has one entry, where it was found */
TEST_F(hmm, no_rmap_walk_for_exclusive_pages)
{
	pid_t child;
	char *p;

	NEED_DEVICE();
	p = map_anon(64 * PAGE, false);
	fill(p, 64 * PAGE);
	watch_end(WALK);
	NEED((!access(TRACING "events/" WALK, F_OK) ||
	      probe_add("p:" WALK " rmap_walk\n")) && watch_begin(WALK), "needs kprobes");
	ASSERT_EQ(64, to_device(PRIVATE_A, p, 64, false));
	EXPECT_EQ(0, watch_count(WALK));
	ASSERT_EQ(64, to_system(PRIVATE_A, p, 64, false));
	EXPECT_EQ(0, watch_count(WALK));
	EXPECT_TRUE(filled(p, 64 * PAGE));

	/* There are others elsewhere if a child shares it */
	child = fork();
	if (!child) {
		pause();
		_exit(1);
	}
	ASSERT_EQ(64, to_device(PRIVATE_A, p, 64, false));
	watch_end(WALK);
	EXPECT_LE(64, watch_count(WALK));
	EXPECT_TRUE(filled(p, 64 * PAGE));
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

/* Registers memory with userfaultfd, and write-protects a part of it */
static int write_protect(const char *p, unsigned long nr, const char *from,
			 unsigned long protect)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)p, .len = nr * PAGE },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	struct uffdio_writeprotect wp = {
		.range = { .start = (uintptr_t)from, .len = protect * PAGE },
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC);

	if (fd >= 0 && (ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg) ||
			ioctl(fd, UFFDIO_WRITEPROTECT, &wp))) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* What pagemap shows of an entry, wherever its page is */
#define PM_BITS		(PM_UFFD_WP | PM_SOFT_DIRTY)

/*
 * The entries that pagemap shows with other bits, or a snapshot as writable although
 * they were not, or the other way round
 */
static unsigned long entries_differ(struct call *c, const uint64_t *bits)
{
	unsigned long i, n = 0;

	if (call_ask(c, ASK_NOTHING))
		return c->nr;
	for (i = 0; i < c->nr; i++)
		n += bits[i] != ((pagemap((char *)(uintptr_t)c->raw.start + i * PAGE) & PM_BITS) |
				 (answer_kind(c->e[i]) == WRITABLE));
	return n;
}

/* Each entry keeps its bits, there and back; so a protected page is not writable */
TEST_F(hmm, entries_keep_their_bits)
{
	uint64_t bits[16];
	struct call *c;
	int fd, i;
	char *p;

	NEED_DEVICE();
	p = map_anon(16 * PAGE, false);
	fill(p, 16 * PAGE);
	fd = write_protect(p, 16, p + 3 * PAGE, 4);
	NEED(fd >= 0, "needs userfaultfd with write protection");
	/* If there are soft-dirty bits, only writing sets them again */
	write_file("/proc/self/clear_refs", "4");
	fill(p + 8 * PAGE, 4 * PAGE);
	c = call_new(p, 16);
	self->c = c;
	c->raw.owner = PRIVATE_A;
	ASSERT_EQ(0, call_ask(c, ASK_NOTHING));
	for (i = 0; i < 16; i++) {
		bits[i] = (pagemap(p + i * PAGE) & PM_BITS) |
			  (answer_kind(c->e[i]) == WRITABLE);
		ASSERT_EQ(i >= 3 && i < 7, !!(bits[i] & PM_UFFD_WP));
	}
	EXPECT_EQ(4, call_count(c, 3, 4, READABLE));
	EXPECT_EQ(4, call_count(c, 8, 4, WRITABLE));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(16, to_device(PRIVATE_A, p, 16, false));
		EXPECT_EQ(0, entries_differ(c, bits));
		ASSERT_EQ(16, to_system(PRIVATE_A, p, 16, false));
		EXPECT_EQ(0, entries_differ(c, bits));
	}
	close(fd);
	EXPECT_TRUE(filled(p, 16 * PAGE));
}

static void *take_16(void *p)
{
	to_device(PRIVATE_A, p, 16, false);
	return NULL;
}

/*
 * Entries that are gone when the pages have moved, or that have become those of other
 * pages, are not mapped: the memory has the contents that it was given meanwhile.
 */
TEST_F(hmm, unmapped_before_finalize)
{
	uint32_t hold = HMM_RANGE_HOLD_MIGRATE;
	pthread_t thread;
	char *p;

	NEED_DEVICE();
	p = map_anon(16 * PAGE, false);
	fill(p, 16 * PAGE);
	ASSERT_EQ(0, ioctl(hmm_fd[PRIVATE_A], HMM_RANGE_HOLD, &hold));
	ASSERT_EQ(0, pthread_create(&thread, NULL, take_16, p));
	ASSERT_EQ(0, ioctl(hmm_fd[PRIVATE_A], HMM_RANGE_WAIT));
	EXPECT_EQ(0, madvise(p + 3 * PAGE, 4 * PAGE, MADV_DONTNEED));
	*(uint64_t *)(p + 5 * PAGE) = 1;
	ioctl(hmm_fd[PRIVATE_A], HMM_RANGE_GO);
	pthread_join(thread, NULL);
	EXPECT_EQ(12, pages_with(p, 16, PM_SWAPPED));
	EXPECT_TRUE(pagemap(p + 5 * PAGE) & PM_PRESENT);
	EXPECT_EQ(0, pages_with(p + 3 * PAGE, 2, PM_PRESENT | PM_SWAPPED));
	EXPECT_EQ(0, pages_with(p + 6 * PAGE, 1, PM_PRESENT | PM_SWAPPED));
	EXPECT_EQ(1, *(uint64_t *)(p + 5 * PAGE));
	EXPECT_EQ(0, *(uint64_t *)(p + 3 * PAGE));
	EXPECT_TRUE(filled(p, 3 * PAGE));
	EXPECT_TRUE(filled(p + 7 * PAGE, 9 * PAGE));
}

/* Destinations of another size than the source */

/* Pages that were freed in a bad state */
static bool bad_pages_seen(void)
{
	return number_of("/proc/sys/kernel/tainted", "") & (1 << 5);
}

/* Makes the pages active, by frequent use */
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

/* The page stays unchanged, and the folio is freed undamaged */
TEST_F(hmm, huge_destination_of_a_page)
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

/* A huge destination does not fill a hole of one page */
TEST_F(hmm, huge_destination_of_a_hole)
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

/* Destinations that have neither the order of the source nor order 0: nothing moves */
TEST_F(hmm, destination_of_another_order)
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

/* Only a huge folio, or single pages, fill a huge hole */
TEST_F(hmm, destination_of_a_huge_hole)
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

/* Moves only those pages of a huge page that @want single destinations */
static void move_single_pages(struct __test_metadata *_metadata, char *p,
			      uint8_t *want)
{
	uint64_t src[HUGE_NR];
	unsigned long i;

	ASSERT_EQ(0, move(PRIVATE_A, PRIVATE_A, HMM_RANGE_TO_DEVICE,
			  SELECT_SYSTEM | SELECT_COMPOUND, p, HUGE_NR, want, src));
	for (i = 0; i < HUGE_NR; i++) {
		ASSERT_EQ(want[i], !!(src[i] & MPFN_MIGRATE));
		ASSERT_EQ(want[i], with_device(p + i * PAGE, 1));
	}
}

/* A huge page is split; pages without a destination stay */
TEST_F(hmm, single_destinations_of_a_huge_page)
{
	uint8_t want[HUGE_NR];
	unsigned long i;
	char *p;

	NEED_DEVICE();
	NEED_THP();
	p = map_anon(HUGE, true);
	fill(p, HUGE);
	for (i = 0; i < HUGE_NR; i++)
		want[i] = i % 3 != 1;
	move_single_pages(_metadata, p, want);
	EXPECT_TRUE(filled(p, HUGE));
}

/* A filled huge page in coherent memory, or NULL if it did not get there */
static char *map_coherent_huge(void)
{
	char *p = map_anon(HUGE, true);

	fill(p, HUGE);
	return to_device(COHERENT_A, p, HUGE_NR, true) == HUGE_NR ? p : NULL;
}

/* A coherent huge page is split, too, and the device gets all pages back */
TEST_F(hmm, single_destinations_of_a_coherent_huge_page)
{
	uint32_t fail = 1, lacks = 0;
	char *p;

	NEED(hmm.dev[COHERENT_A].nr, "needs coherent memory");
	NEED_THP();
	p = map_coherent_huge();
	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, ioctl(hmm_fd[COHERENT_A], HMM_RANGE_FAIL, &fail));
	EXPECT_EQ(HUGE_NR, to_system(COHERENT_A, p, HUGE_NR, true));
	EXPECT_TRUE(filled(p, HUGE));
	/* -EBUSY if pages are missing */
	ASSERT_EQ(0, ioctl(hmm_fd[COHERENT_A], HMM_RANGE_REMOVE));
	ASSERT_EQ(0, ioctl(hmm_fd[COHERENT_A], HMM_RANGE_ADD, &lacks));
}

#define SPLIT_DEFERRED	"/sys/kernel/mm/transparent_hugepage/hugepages-2048kB/stats/split_deferred"

/* A shrinker cannot split device memory later */
TEST_F(hmm, part_of_a_coherent_huge_page_is_unmapped)
{
	long before;
	char *p;

	NEED(hmm.dev[COHERENT_A].nr, "needs coherent memory");
	NEED_THP();
	p = map_coherent_huge();
	ASSERT_NE(NULL, p);
	before = number_of(SPLIT_DEFERRED, "");
	NEED(before >= 0, "needs counters of huge pages");
	ASSERT_EQ(0, munmap(p + HUGE / 2, HUGE / 2));
	EXPECT_EQ(before, number_of(SPLIT_DEFERRED, ""));
	EXPECT_TRUE(filled(p, HUGE / 2));
}

/* The first page stays, the others are migrated anyway */
TEST_F(hmm, no_destination_for_the_first_page)
{
	uint8_t want[HUGE_NR];
	unsigned long i;
	char *p;

	NEED_DEVICE();
	NEED_THP();
	p = map_anon(HUGE, true);
	fill(p, HUGE);
	for (i = 0; i < HUGE_NR; i++)
		want[i] = i && i < HUGE_NR / 2;
	move_single_pages(_metadata, p, want);
	EXPECT_TRUE(filled(p, HUGE));
}

/* The same if a child shares the huge page; each keeps its bytes */
TEST_F(hmm, single_destinations_of_a_forked_huge_page)
{
	uint8_t want[HUGE_NR];
	int status, to_child[2];
	unsigned long i;
	pid_t child;
	char *p, go;

	NEED_DEVICE();
	NEED_THP();
	p = map_anon(HUGE, true);
	fill(p, HUGE);
	ASSERT_EQ(0, pipe(to_child));
	child = fork();
	if (!child)
		_exit(read(to_child[0], &go, 1) == 1 && filled(p, HUGE) ? 0 : 1);
	for (i = 0; i < HUGE_NR; i++)
		want[i] = i % 3 != 1;
	move_single_pages(_metadata, p, want);
	memset(p, 0, HUGE / 2);
	ASSERT_EQ(1, write(to_child[1], "", 1));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_TRUE(filled(p + HUGE / 2, HUGE / 2));
}

/* Large folios that PTEs map */

#define MTHP_NR		16UL
#define MTHP		(MTHP_NR * PAGE)

static const char *mthp_file(const char *name)
{
	static char path[LINE];

	snprintf(path, sizeof(path),
		 "/sys/kernel/mm/transparent_hugepage/hugepages-%lukB/%s",
		 MTHP >> 10, name);
	return path;
}

/* Is it one folio, as far as page numbers show? */
static bool is_mthp(const char *p)
{
	uint64_t first = pagemap(p) & PM_PFN;
	unsigned long i;

	if (!first || first % MTHP_NR)
		return false;
	for (i = 1; i < MTHP_NR; i++)
		if ((pagemap(p + i * PAGE) & PM_PFN) != first + i)
			return false;
	return true;
}

static bool all_mthp(const char *p, unsigned long nr)
{
	unsigned long i;

	for (i = 0; i < nr; i += MTHP_NR)
		if (!is_mthp(p + i * PAGE))
			return false;
	return true;
}

/* That many folios of MTHP_NR pages, filled; NULL if there are none */
static char *map_mthp(unsigned long nr)
{
	char *p = map_anon(HUGE, true);
	bool all;

	write_file("/sys/kernel/mm/transparent_hugepage/enabled", "never");
	write_file(mthp_file("enabled"), "madvise");
	fill(p, nr * MTHP);
	write_file(mthp_file("enabled"), "never");
	thp_on_request();
	all = all_mthp(p, nr * MTHP_NR);
	/* Memory that is not filled must not become huge later */
	madvise(p, HUGE, MADV_NOHUGEPAGE);
	return all ? p : NULL;
}

static long mthp_splits(void)
{
	return number_of(mthp_file("stats/split"), "");
}

#define NEED_MTHP(p, nr)						\
	NEED(p = map_mthp(nr), "needs large folios of %lu pages", MTHP_NR)

/* A table full of them is migrated without a split, and with one flush */
TEST_F(hmm, mthp_moves_whole)
{
	struct flush flush;
	uint64_t src[HUGE_NR];
	unsigned long i;
	long splits;
	char *p;

	NEED_DEVICE();
	NEED_MTHP(p, HUGE_NR / MTHP_NR);
	NEED_FLUSHES();
	splits = mthp_splits();
	ASSERT_EQ(0, move(PRIVATE_A, PRIVATE_A, HMM_RANGE_TO_DEVICE,
			  SELECT_SYSTEM | SELECT_MTHP, p, HUGE_NR, NULL, src));
	EXPECT_EQ(1, flushes_end(p, HUGE_NR, &flush, 1));
	for (i = 0; i < HUGE_NR; i++) {
		bool head = i % MTHP_NR == 0;

		ASSERT_EQ(head, !!(src[i] & MPFN_MIGRATE));
		ASSERT_EQ(head, !!(src[i] & MPFN_COMPOUND));
	}
	EXPECT_EQ(HUGE_NR, with_device(p, HUGE_NR));
	EXPECT_EQ(splits, mthp_splits());
}

/* If the CPU touches a page in the middle, its folio is migrated back as one */
TEST_F(hmm, mthp_comes_home_whole)
{
	char *p, *touched;
	uint64_t src[HUGE_NR];

	NEED_DEVICE();
	NEED_MTHP(p, 4);
	ASSERT_EQ(0, move(PRIVATE_A, PRIVATE_A, HMM_RANGE_TO_DEVICE,
			  SELECT_SYSTEM | SELECT_MTHP, p, 4 * MTHP_NR, NULL, src));
	ASSERT_EQ(4 * MTHP_NR, with_device(p, 4 * MTHP_NR));
	touched = p + MTHP + 7 * PAGE;
	EXPECT_TRUE(filled(touched, PAGE));
	EXPECT_EQ(3 * MTHP_NR, with_device(p, 4 * MTHP_NR));
	EXPECT_EQ(0, with_device(p + MTHP, MTHP_NR));
	EXPECT_TRUE(is_mthp(p + MTHP));
	EXPECT_TRUE(filled(p, 4 * MTHP));
	EXPECT_TRUE(all_mthp(p, 4 * MTHP_NR));
}

/* Or page by page */
TEST_F(hmm, mthp_comes_home_in_pages)
{
	uint64_t src[HUGE_NR];
	uint32_t fail = 1;
	char *p;

	NEED_DEVICE();
	NEED_MTHP(p, 1);
	ASSERT_EQ(0, move(PRIVATE_A, PRIVATE_A, HMM_RANGE_TO_DEVICE,
			  SELECT_SYSTEM | SELECT_MTHP, p, MTHP_NR, NULL, src));
	ASSERT_EQ(MTHP_NR, with_device(p, MTHP_NR));
	ASSERT_EQ(0, ioctl(hmm_fd[PRIVATE_A], HMM_RANGE_FAIL, &fail));
	EXPECT_TRUE(filled(p + 3 * PAGE, PAGE));
	EXPECT_EQ(0, with_device(p + 3 * PAGE, 1));
	EXPECT_TRUE(filled(p, MTHP));
	EXPECT_EQ(0, with_device(p, MTHP_NR));
}

/* A folio is split for single destinations; pages without one stay */
TEST_F(hmm, mthp_single_destinations)
{
	uint64_t src[2 * MTHP_NR];
	uint8_t want[2 * MTHP_NR];
	unsigned long i;
	char *p;

	NEED_DEVICE();
	NEED_MTHP(p, 2);
	for (i = 0; i < 2 * MTHP_NR; i++)
		want[i] = i % 3 != 1;
	ASSERT_EQ(0, move(PRIVATE_A, PRIVATE_A, HMM_RANGE_TO_DEVICE,
			  SELECT_SYSTEM | SELECT_MTHP, p, 2 * MTHP_NR, want, src));
	for (i = 0; i < 2 * MTHP_NR; i++)
		EXPECT_EQ(want[i], with_device(p + i * PAGE, 1));
	EXPECT_TRUE(filled(p, 2 * MTHP));
}

/* Single pages are collected without the flag, and from a part of a folio */
TEST_F(hmm, mthp_is_split_as_before)
{
	uint64_t src[HUGE_NR];
	unsigned long i;
	char *p;

	NEED_DEVICE();
	NEED_MTHP(p, 3);
	ASSERT_EQ(0, move(PRIVATE_A, PRIVATE_A, HMM_RANGE_TO_DEVICE, SELECT_SYSTEM,
			  p, MTHP_NR, NULL, src));
	for (i = 0; i < MTHP_NR; i++)
		EXPECT_EQ(MPFN_MIGRATE, src[i] & (MPFN_MIGRATE | MPFN_COMPOUND));
	ASSERT_EQ(0, move(PRIVATE_A, PRIVATE_A, HMM_RANGE_TO_DEVICE,
			  SELECT_SYSTEM | SELECT_MTHP, p + MTHP + 3 * PAGE,
			  MTHP_NR, NULL, src));
	for (i = 0; i < MTHP_NR; i++)
		EXPECT_EQ(MPFN_MIGRATE, src[i] & (MPFN_MIGRATE | MPFN_COMPOUND));
	EXPECT_EQ(2 * MTHP_NR, with_device(p, 3 * MTHP_NR));
	EXPECT_TRUE(filled(p, 3 * MTHP));
}

/* Part of it is gone, or shared: one entry cannot describe it all */
TEST_F(hmm, mthp_that_is_not_alike)
{
	uint64_t src[3 * MTHP_NR];
	pid_t child;
	char *p;

	NEED_DEVICE();
	NEED_MTHP(p, 3);
	ASSERT_EQ(0, madvise(p + 5 * PAGE, PAGE, MADV_DONTNEED));
	child = fork();
	if (!child) {
		pause();
		_exit(0);
	}
	/* A private copy of one page; the others are shared */
	fill(p + MTHP + 2 * PAGE, PAGE);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	fill(p + 2 * MTHP + 9 * PAGE, PAGE);
	ASSERT_EQ(0, move(PRIVATE_A, PRIVATE_A, HMM_RANGE_TO_DEVICE,
			  SELECT_SYSTEM | SELECT_MTHP, p, 3 * MTHP_NR, NULL, src));
	EXPECT_EQ(0, src[0] & MPFN_COMPOUND);
	EXPECT_EQ(0, src[MTHP_NR] & MPFN_COMPOUND);
	EXPECT_EQ(0, src[2 * MTHP_NR] & MPFN_COMPOUND);
	EXPECT_EQ(3 * MTHP_NR, with_device(p, 3 * MTHP_NR));
	EXPECT_TRUE(filled(p, 5 * PAGE));
	EXPECT_TRUE(filled(p + 6 * PAGE, 3 * MTHP - 6 * PAGE));
}

/* If one page is pinned, the whole folio stays, and nothing is lost */
TEST_F(hmm, mthp_with_a_pinned_page)
{
	uint64_t src[3 * MTHP_NR];
	char *p;
	int gup;

	NEED_DEVICE();
	NEED_MTHP(p, 3);
	gup = pin(p + MTHP + 5 * PAGE, 1);
	NEED(gup >= 0, "needs CONFIG_GUP_TEST");
	ASSERT_EQ(0, move(PRIVATE_A, PRIVATE_A, HMM_RANGE_TO_DEVICE,
			  SELECT_SYSTEM | SELECT_MTHP, p, 3 * MTHP_NR, NULL, src));
	EXPECT_EQ(MTHP_NR, with_device(p, MTHP_NR));
	EXPECT_EQ(0, with_device(p + MTHP, MTHP_NR));
	EXPECT_EQ(MTHP_NR, with_device(p + 2 * MTHP, MTHP_NR));
	*(uint64_t *)(p + MTHP + 5 * PAGE) = 0;
	fill(p + MTHP + 5 * PAGE, PAGE);
	EXPECT_TRUE(pinned_filled(gup, p + MTHP + 5 * PAGE, 1));
	unpin(gup);
	EXPECT_TRUE(filled(p, 3 * MTHP));
	ASSERT_EQ(0, move(PRIVATE_A, PRIVATE_A, HMM_RANGE_TO_DEVICE,
			  SELECT_SYSTEM | SELECT_MTHP, p + MTHP, MTHP_NR, NULL, src));
	EXPECT_EQ(MTHP_NR, with_device(p + MTHP, MTHP_NR));
	EXPECT_TRUE(filled(p, 3 * MTHP));
}

/* A child shares it, before and after: each keeps its bytes */
TEST_F(hmm, mthp_forked)
{
	uint64_t src[2 * MTHP_NR];
	int status, to_child[2];
	pid_t child;
	char *p, go;

	NEED_DEVICE();
	NEED_MTHP(p, 2);
	ASSERT_EQ(0, pipe(to_child));
	child = fork();
	if (!child)
		_exit(read(to_child[0], &go, 1) == 1 && filled(p, 2 * MTHP) ? 0 : 1);
	ASSERT_EQ(0, move(PRIVATE_A, PRIVATE_A, HMM_RANGE_TO_DEVICE,
			  SELECT_SYSTEM | SELECT_MTHP, p, 2 * MTHP_NR, NULL, src));
	EXPECT_EQ(MPFN_COMPOUND, src[0] & MPFN_COMPOUND);
	EXPECT_EQ(2 * MTHP_NR, with_device(p, 2 * MTHP_NR));
	memset(p, 0, MTHP);
	ASSERT_EQ(1, write(to_child[1], "", 1));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_TRUE(filled(p + MTHP, MTHP));
}

/* The device is removed, and its folios are migrated back */
TEST_F(hmm, mthp_device_removed)
{
	uint64_t src[2 * MTHP_NR];
	uint32_t lacks = 0;
	char *p;

	NEED_DEVICE();
	NEED_MTHP(p, 2);
	ASSERT_EQ(0, move(PRIVATE_B, PRIVATE_B, HMM_RANGE_TO_DEVICE,
			  SELECT_SYSTEM | SELECT_MTHP, p, 2 * MTHP_NR, NULL, src));
	ASSERT_EQ(2 * MTHP_NR, with_device(p, 2 * MTHP_NR));
	ASSERT_EQ(0, ioctl(hmm_fd[PRIVATE_B], HMM_RANGE_REMOVE));
	EXPECT_EQ(0, with_device(p, 2 * MTHP_NR));
	EXPECT_TRUE(filled(p, 2 * MTHP));
	ASSERT_EQ(0, ioctl(hmm_fd[PRIVATE_B], HMM_RANGE_ADD, &lacks));
}

/* Waiting */

static bool map_by_ptes(char *p)
{
	return !mprotect(p, PAGE, PROT_READ) &&
	       !mprotect(p, PAGE, PROT_READ | PROT_WRITE);
}

static void *take_two_huge(void *p)
{
	to_device(PRIVATE_A, p, 2 * HUGE_NR, true);
	return NULL;
}

/* Tells when it has its own page table, and then what it has collected */
static void collect_when_told(char *p, int from, int to)
{
	char byte = map_by_ptes(p);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* The first notifier of an mm is registered with all locks of its anon_vmas */
	to_device(PRIVATE_B, map_anon(PAGE, false), 1, false);
	if (write(to, &byte, 1) == 1 && read(from, &byte, 1) == 1) {
		/* The hole before is collected first, so that waiting is out of the question */
		byte = to_device(PRIVATE_B, p - PAGE, HUGE_NR + 1, false) <= 1;
		if (write(to, &byte, 1) == 1)
			pause();
	}
	_exit(1);
}

/*
 * A folio that has to be split, and that another migration has locked, is left alone.
 * If one waited with other folios locked, two could wait for each other for ever.
 */
TEST_F_TIMEOUT(hmm, no_wait_for_a_locked_folio, 120)
{
	uint32_t hold = HMM_RANGE_HOLD_UNMAP;
	int to_child[2], from_child[2];
	struct pollfd answer;
	pthread_t thread;
	char *p, byte = 0;
	bool answered;
	pid_t child;

	NEED_DEVICE();
	NEED_THP();
	p = map_anon(3 * HUGE, true) + HUGE;
	fill(p, 2 * HUGE);
	ASSERT_EQ(0, pipe(to_child));
	ASSERT_EQ(0, pipe(from_child));
	child = fork();
	if (!child)
		collect_when_told(p, to_child[0], from_child[1]);
	ASSERT_EQ(1, read(from_child[0], &byte, 1));
	ASSERT_EQ(1, byte);
	ASSERT_TRUE(map_by_ptes(p + HUGE));
	/* Stops while it splits the second huge page, with both locked */
	ASSERT_EQ(0, ioctl(hmm_fd[PRIVATE_A], HMM_RANGE_HOLD, &hold));
	ASSERT_EQ(0, pthread_create(&thread, NULL, take_two_huge, p));
	ASSERT_EQ(0, ioctl(hmm_fd[PRIVATE_A], HMM_RANGE_WAIT));
	ASSERT_EQ(1, write(to_child[1], &byte, 1));
	answer = (struct pollfd) { .fd = from_child[0], .events = POLLIN };
	answered = poll(&answer, 1, 10000) == 1;
	ioctl(hmm_fd[PRIVATE_A], HMM_RANGE_GO);
	pthread_join(thread, NULL);
	EXPECT_TRUE(answered);
	EXPECT_EQ(1, read(from_child[0], &byte, 1));
	EXPECT_EQ(1, byte);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	EXPECT_TRUE(filled(p, 2 * HUGE));
}

static bool on_cpu(int cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	return !sched_setaffinity(0, sizeof(cpus), &cpus);
}

#define DRAIN	"hmm/drain"
#define ENTRY	"migrate/set_migration_pte"

/* The number of migration entries in the trace, before and after other CPUs are drained */
static bool entries_around_drain(unsigned long *before, unsigned long *after)
{
	FILE *f = fopen(INSTANCE "trace", "r");
	bool drained = false;
	char line[LINE];

	*before = 0;
	*after = 0;
	while (f && fgets(line, LINE, f)) {
		if (strstr(line, "drain: (")) {
			drained = true;
		} else if (strstr(line, "set_migration_pte: ")) {
			if (drained)
				++*after;
			else
				++*before;
		}
	}
	if (f)
		fclose(f);
	return drained;
}

/*
 * migrate_vma_setup() waits for other CPUs to put pages on the LRU lists. By then, all
 * migration entries are there: those who need the pages sleep, instead of trying to lock
 * them over and over, perhaps on the CPU that is waited for.
 */
TEST_F_TIMEOUT(hmm, drained_when_all_entries_are_there, 240)
{
	unsigned long before, after, round, i;
	bool drained = false;
	uint64_t src[16];
	pid_t child;
	char *p;

	NEED_DEVICE();
	NEED(sysconf(_SC_NPROCESSORS_ONLN) > 1, "needs two processors");
	watch_end(DRAIN);
	NEED(!access(TRACING "events/" DRAIN, F_OK) ||
	     probe_add("p:" DRAIN " lru_add_drain_all\n"), "needs kprobes");
	/* Others may drain that CPU, too */
	for (round = 0; round < 20 && !drained; round++) {
		p = map_anon(16 * PAGE, false);
		on_cpu(0);
		fill(p + 4 * PAGE, 12 * PAGE);
		on_cpu(1);
		fill(p, 4 * PAGE);
		on_cpu(0);
		/* The second mm has its entries replaced one by one */
		child = fork();
		if (!child) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			pause();
			_exit(0);
		}
		ASSERT_TRUE(watch_begin(DRAIN));
		ASSERT_TRUE(watch_begin(ENTRY));
		ASSERT_EQ(0, move(PRIVATE_A, PRIVATE_A, HMM_RANGE_TO_NOWHERE,
				  SELECT_SYSTEM, p, 16, NULL, src));
		watch_end(ENTRY);
		watch_end(DRAIN);
		for (i = 0; i < 16; i++)
			EXPECT_EQ(MPFN_MIGRATE, src[i] & MPFN_MIGRATE);
		drained = entries_around_drain(&before, &after);
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	NEED(drained, "other CPUs were drained each time");
	EXPECT_EQ(16, before);
	EXPECT_EQ(0, after);
	EXPECT_TRUE(filled(p, 16 * PAGE));
}

/* Faulted and collected in one call */

#define FAULT	"hmm/fault"

static bool faults_begin(void)
{
	watch_end(FAULT);
	return (!access(TRACING "events/" FAULT, F_OK) ||
		probe_add("p:" FAULT " handle_mm_fault addr=$arg2\n")) &&
	       watch_begin(FAULT);
}

/* Faults of these pages; @twice if one of them was faulted more than once */
static unsigned long faults_end(const void *p, unsigned long nr, bool *twice)
{
	uint8_t *seen = calloc(nr, 1);
	uintptr_t addr, i;
	unsigned long n = 0;
	char line[LINE];
	FILE *f;

	watch_end(FAULT);
	*twice = !seen;
	f = fopen(INSTANCE "trace", "r");
	while (seen && watch_next(f, FAULT, line)) {
		if (sscanf(strstr(line, "addr="), "addr=%lx", &addr) != 1)
			break;
		i = (addr - (uintptr_t)p) / PAGE;
		if (addr < (uintptr_t)p || i >= nr)
			continue;
		*twice |= seen[i]++;
		n++;
	}
	if (f)
		fclose(f);
	free(seen);
	return n;
}

/* Kinds of memory, each of them filled unless it is absent */

static char *map_present(bool huge)
{
	char *p = map_anon(HUGE, huge);

	fill(p, HUGE);
	return p;
}

static char *map_absent(bool huge)
{
	return map_anon(HUGE, huge);
}

static char *map_zero(bool huge)
{
	char *p = map_anon(HUGE, huge);

	read_pages(p, HUGE);
	return p;
}

/* The child ends with the test */
static char *map_shared_with_child(bool huge)
{
	char *p = map_present(huge);
	pid_t test = getpid();

	if (!fork()) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (getppid() == test)
			sleep(1);
		_exit(0);
	}
	return p;
}

static char *map_swapped(bool huge)
{
	char *p = map_present(huge);
	int i;

	for (i = 0; i < 100 && pages_with(p, HUGE_NR, PM_PRESENT); i++)
		madvise(p, HUGE, MADV_PAGEOUT);
	return swap_on() && pages_with(p, HUGE_NR, PM_SWAPPED) == HUGE_NR ? p : NULL;
}

static char *map_foreign(bool huge)
{
	char *p = map_present(huge);

	return to_device(PRIVATE_B, p, HUGE_NR, huge) == (long)HUGE_NR ? p : NULL;
}

/* Its pages are those of the file */
static char *map_private_file(bool huge)
{
	int fd = memfd_new(HUGE, 0);
	char *p = mmap(NULL, HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	uintptr_t addr;

	(void)huge;
	for (addr = (uintptr_t)p; addr < (uintptr_t)p + HUGE; addr += PAGE)
		if (pwrite(fd, &addr, sizeof(addr), addr - (uintptr_t)p) < 0)
			p = NULL;
	close(fd);
	return p;
}

/* They are mapped, too */
static char *map_private_file_read(bool huge)
{
	char *p = map_private_file(huge);

	if (p)
		read_pages(p, HUGE);
	return p;
}

FIXTURE(fault) { };

FIXTURE_VARIANT(fault)
{
	char *(*map)(bool huge);
	bool huge;
	bool each;		/* every page is faulted */
	bool once;		/* the first page is faulted, and maps the others */
	bool without;		/* can be collected without the flag */
	bool empty;		/* has no contents yet */
};

#define KIND(_name, ...)						\
	FIXTURE_VARIANT_ADD(fault, _name) { .map = map_##_name, __VA_ARGS__ }; \
	FIXTURE_VARIANT_ADD(fault, huge_##_name)			\
		{ .map = map_##_name, .huge = true, __VA_ARGS__ }

KIND(present, .without = true);
KIND(absent, .without = true, .empty = true);
KIND(zero, .without = true, .empty = true);
KIND(shared_with_child, .without = true, .each = true);
KIND(swapped, .each = false);
FIXTURE_VARIANT_ADD(fault, foreign) { .map = map_foreign, .each = true };
FIXTURE_VARIANT_ADD(fault, huge_foreign) {
	.map = map_foreign, .huge = true, .once = true,
};
FIXTURE_VARIANT_ADD(fault, private_file) {
	.map = map_private_file, .each = true,
};
FIXTURE_VARIANT_ADD(fault, private_file_read) {
	.map = map_private_file_read, .each = true, .without = true,
};

FIXTURE_SETUP(fault)
{
	const char *why = hmm_open();

	if (why)
		SKIP(return, "%s", why);
	thp_on_request();
	swap_on();
}

FIXTURE_TEARDOWN(fault)
{
	hmm_close();
}

/* Is all of it in this device's memory, and writable? */
static bool is_owned(int dev, const char *p)
{
	struct call *c = call_new(p, HUGE_NR);
	bool owned = true;
	unsigned long i;

	c->raw.owner = dev;
	if (call_ask(c, ASK_NOTHING))
		owned = false;
	for (i = 0; owned && i < HUGE_NR; i++)
		owned = answer_kind(c->e[i]) == WRITABLE &&
			pfn_dev(answer_pfn(c->e[i])) == dev;
	call_free(c);
	return owned;
}

static unsigned long moved(const uint64_t *src)
{
	unsigned long i, n = 0;

	for (i = 0; i < HUGE_NR; i++)
		if (src[i] & MPFN_MIGRATE)
			n += src[i] & MPFN_COMPOUND ? HUGE_NR : 1;
	return n;
}

/*
 * All of it is collected by one call, with at most one fault for each page, and with none
 * if it could be collected before. Without the flag, nothing is faulted.
 */
TEST_F_TIMEOUT(fault, collected_in_one_call, 300)
{
	uint64_t how = SELECT_SYSTEM | (variant->huge ? SELECT_COMPOUND : 0);
	uint64_t src[HUGE_NR];
	unsigned long faults;
	bool twice;
	char *p;

	NEED_DEVICE();
	if (variant->huge)
		NEED_THP();
	p = variant->map(variant->huge);
	NEED(p, "needs swap, or a second device");
	NEED(faults_begin(), "needs kprobes");
	ASSERT_EQ(0, move(PRIVATE_A, PRIVATE_A, HMM_RANGE_TO_NOWHERE, how, p, HUGE_NR,
			  NULL, src));
	EXPECT_EQ(0, faults_end(p, HUGE_NR, &twice));
	EXPECT_EQ(variant->without ? HUGE_NR : 0, moved(src));

	ASSERT_TRUE(faults_begin());
	ASSERT_EQ(0, move(PRIVATE_A, PRIVATE_A, HMM_RANGE_TO_DEVICE, how | MIGRATE_FAULT,
			  p, HUGE_NR, NULL, src));
	faults = faults_end(p, HUGE_NR, &twice);
	EXPECT_FALSE(twice);
	if (variant->each)
		EXPECT_EQ(HUGE_NR, faults);
	if (variant->once)
		EXPECT_EQ(1, faults);
	if (variant->without && !variant->each)
		EXPECT_EQ(0, faults);
	EXPECT_EQ(HUGE_NR, moved(src));
	if (variant->huge && (variant->without || variant->once) && !variant->each)
		EXPECT_EQ(MPFN_COMPOUND, src[0] & MPFN_COMPOUND);

	EXPECT_TRUE(is_owned(PRIVATE_A, p));
	if (!variant->empty)
		EXPECT_TRUE(filled(p, HUGE));
	munmap(p, HUGE);
}

/* 2 MiB to device A, with what has to be faulted first */
static int fault_and_take(const char *p, uint64_t *src)
{
	return move(PRIVATE_A, PRIVATE_A, HMM_RANGE_TO_DEVICE,
		    SELECT_SYSTEM | MIGRATE_FAULT, p, HUGE_NR, NULL, src);
}

/* Nothing is faulted for those who do not select system memory */
TEST_F(hmm, fault_is_for_system_memory)
{
	uint64_t src[HUGE_NR];
	bool twice;
	char *p;

	NEED_DEVICE();
	p = map_foreign(false);
	ASSERT_NE(NULL, p);
	NEED(faults_begin(), "needs kprobes");
	ASSERT_EQ(0, move(PRIVATE_A, PRIVATE_A, HMM_RANGE_TO_NOWHERE,
			  SELECT_PRIVATE | MIGRATE_FAULT, p, HUGE_NR, NULL, src));
	EXPECT_EQ(0, faults_end(p, HUGE_NR, &twice));
	EXPECT_EQ(0, moved(src));
	EXPECT_TRUE(is_owned(PRIVATE_B, p));
}

/* Its own memory is neither faulted nor collected, unless it is selected */
TEST_F(hmm, fault_leaves_own_memory)
{
	uint64_t src[HUGE_NR];
	bool twice;
	char *p;

	NEED_DEVICE();
	p = map_present(false);
	ASSERT_EQ(HUGE_NR / 2, to_device(PRIVATE_A, p, HUGE_NR / 2, false));
	NEED(faults_begin(), "needs kprobes");
	ASSERT_EQ(0, fault_and_take(p, src));
	EXPECT_EQ(0, faults_end(p, HUGE_NR, &twice));
	EXPECT_EQ(HUGE_NR / 2, moved(src));
	EXPECT_TRUE(is_owned(PRIVATE_A, p));
	EXPECT_TRUE(filled(p, HUGE));
}

/* Where the VMA is read-only, memory is brought back, but not copied */
TEST_F(hmm, fault_in_read_only_memory)
{
	uint64_t src[HUGE_NR];
	bool twice;
	char *p;

	NEED_DEVICE();
	p = map_foreign(false);
	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mprotect(p, HUGE, PROT_READ));
	ASSERT_EQ(0, fault_and_take(p, src));
	EXPECT_EQ(HUGE_NR, moved(src));
	EXPECT_TRUE(filled(p, HUGE));
	p = map_private_file(false);
	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, mprotect(p, HUGE, PROT_READ));
	NEED(faults_begin(), "needs kprobes");
	ASSERT_EQ(0, fault_and_take(p, src));
	EXPECT_EQ(0, faults_end(p, HUGE_NR, &twice));
	EXPECT_EQ(0, moved(src));
}

/* What cannot be faulted does not keep the rest from being collected */
TEST_F(hmm, fault_beyond_the_end_of_the_file)
{
	uint64_t src[HUGE_NR];
	bool twice = false;
	char *p;
	int fd;

	NEED_DEVICE();
	fd = memfd_new(HUGE / 2, 0);
	p = mmap(NULL, HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	ASSERT_NE(MAP_FAILED, p);
	NEED(faults_begin(), "needs kprobes");
	ASSERT_EQ(0, fault_and_take(p, src));
	/* The first that fails does not end it */
	EXPECT_EQ(HUGE_NR, faults_end(p, HUGE_NR, &twice));
	EXPECT_FALSE(twice);
	EXPECT_EQ(HUGE_NR / 2, moved(src));
	close(fd);
}

/* Other processors */

struct writer {
	volatile uint64_t *p;
	unsigned long nr;
	uint64_t rounds;
	volatile bool stop;
	bool lost;
};

/* Increments a count in every page, and checks that none has changed in between */
static void *write_all(void *arg)
{
	struct writer *w = arg;
	unsigned long i;

	on_cpu(1);
	for (; !w->stop; w->rounds++)
		for (i = 0; i < w->nr; i++)
			w->lost |= w->p[i * PAGE / sizeof(*w->p)]++ != w->rounds;
	return NULL;
}

/*
 * A thread on another processor writes all the time, and misses no flush: its data
 * is there after the page has moved, and moved again.
 */
TEST_F(hmm, no_write_is_lost)
{
	struct writer w = { .nr = 32 };
	uint64_t src[32];
	pthread_t thread;
	unsigned long i;
	int round;

	NEED_DEVICE();
	NEED(sysconf(_SC_NPROCESSORS_ONLN) > 1, "needs two processors");
	on_cpu(0);
	w.p = map_anon(w.nr * PAGE, false);
	ASSERT_EQ(0, pthread_create(&thread, NULL, write_all, &w));
	for (round = 0; round < 300; round++) {
		ASSERT_EQ(0, move(PRIVATE_A, PRIVATE_A, HMM_RANGE_TO_DEVICE,
				  SELECT_SYSTEM, (void *)w.p, w.nr, NULL, src));
		usleep(round % 8 * 50);
	}
	w.stop = true;
	pthread_join(thread, NULL);
	EXPECT_LT(0, w.rounds);
	EXPECT_FALSE(w.lost);
	for (i = 0; i < w.nr; i++)
		EXPECT_EQ(w.rounds, w.p[i * PAGE / sizeof(*w.p)]);
}

TEST_HARNESS_MAIN
