// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/swap.h>
#include <time.h>
#include <unistd.h>

#include "lib.h"

int hmm_fd[HMM_RANGE_DEVICES] = { -1, -1, -1, -1 };
struct hmm_range_info hmm;

static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	abort();
}

const char *hmm_open(void)
{
	char path[32];
	int i;

	for (i = 0; i < HMM_RANGE_DEVICES; i++) {
		snprintf(path, sizeof(path), "/dev/hmm_range%d", i);
		hmm_fd[i] = open(path, O_RDWR | O_CLOEXEC);
		if (hmm_fd[i] < 0)
			return errno == ENOENT ? "no /dev/hmm_range0: load test_hmm" :
						 "cannot open /dev/hmm_range0: be root";
	}
	if (ioctl(hmm_fd[0], HMM_RANGE_INFO, &hmm))
		die("HMM_RANGE_INFO");
	/* Hints make writable entries read-only at any time */
	write_file("/proc/sys/kernel/numa_balancing", "0");
	return NULL;
}

void hmm_close(void)
{
	int i;

	for (i = 0; i < HMM_RANGE_DEVICES; i++) {
		close(hmm_fd[i]);
		hmm_fd[i] = -1;
	}
}

/* Calls */

struct call *call_new(const void *addr, unsigned long nr)
{
	struct call *c = calloc(1, sizeof(*c));

	if (!c)
		die("calloc");
	c->nr = nr;
	c->e = calloc(nr, sizeof(*c->e));
	c->in = calloc(nr, sizeof(*c->in));
	c->data = calloc(nr, sizeof(*c->data));
	if (!c->e || !c->in || !c->data)
		die("calloc");
	c->raw.start = (uintptr_t)addr;
	c->raw.end = c->raw.start + nr * PAGE;
	c->raw.owner = NOBODY;
	c->raw.nr = nr;
	c->raw.pfn_flags_mask = ASK_WRITE;
	c->raw.timeout_ms = 1000;
	return c;
}

void call_free(struct call *c)
{
	free(c->e);
	free(c->in);
	free(c->data);
	free(c);
}

int call_run(struct call *c)
{
	memcpy(c->in, c->e, c->nr * sizeof(*c->e));
	c->raw.entries = (uintptr_t)c->e;
	c->raw.data = (uintptr_t)c->data;
	if (ioctl(hmm_fd[0], HMM_RANGE_CALL, &c->raw))
		die("HMM_RANGE_CALL");
	return c->raw.ret;
}

int call_ask(struct call *c, uint64_t ask)
{
	c->raw.default_flags = ask;
	c->raw.pfn_flags_mask = 0;
	return call_run(c);
}

static uint64_t sticky_bits(void)
{
	return hmm.dma_mapped | hmm.p2pdma | hmm.p2pdma_bus;
}

uint64_t answer_kind(uint64_t e)
{
	return e & (hmm.valid | hmm.write | hmm.error);
}

uint64_t answer_pfn(uint64_t e)
{
	return e & hmm.pfn_mask;
}

unsigned int answer_order(uint64_t e)
{
	return e >> hmm.order_shift & hmm.order_mask;
}

unsigned long call_count(const struct call *c, unsigned long from,
			 unsigned long nr, uint64_t kind)
{
	unsigned long i, found = 0;

	for (i = from; i < from + nr; i++)
		found += answer_kind(c->e[i]) == kind;
	return found;
}

int pfn_dev(uint64_t pfn)
{
	int dev;

	for (dev = 0; dev < HMM_RANGE_DEVICES; dev++)
		if (pfn - hmm.dev[dev].first < hmm.dev[dev].nr)
			return dev;
	return NOBODY;
}

/* The checks */

static bool wrong(struct call *c, unsigned long i, const char *fmt, ...)
{
	va_list args;
	int n;

	n = snprintf(c->why, sizeof(c->why), "page %lu of %lu, %#llx in, %#llx out: ",
		     i, c->nr, (unsigned long long)c->in[i],
		     (unsigned long long)c->e[i]);
	va_start(args, fmt);
	vsnprintf(c->why + n, sizeof(c->why) - n, fmt, args);
	va_end(args);
	return false;
}

static uint64_t asked(const struct call *c, unsigned long i)
{
	return ((c->in[i] & c->raw.pfn_flags_mask) | c->raw.default_flags) &
	       ASK_WRITE;
}

/* One of the four answers, which satisfies the request */
static bool check_form(struct call *c, unsigned long i)
{
	uint64_t e = c->e[i], kind = answer_kind(e);
	uint64_t ask = asked(c, i);

	if (!(c->raw.flags & HMM_RANGE_STICKY) &&
	    ((e ^ c->in[i]) & sticky_bits()))
		return wrong(c, i, "sticky bits changed");
	e &= ~sticky_bits();
	if (kind != NONE && kind != READABLE && kind != WRITABLE && kind != ERROR)
		return wrong(c, i, "not one of the four answers");
	if (!(kind & READABLE) && e != kind)
		return wrong(c, i, "pfn or order without VALID");
	if ((ask & ASK_READ) && !(kind & READABLE))
		return wrong(c, i, "requested, but not answered");
	if ((ask & ASK_WRITE) == ASK_WRITE && kind != WRITABLE)
		return wrong(c, i, "requested for writing, but not writable");
	return true;
}

/* All that the order covers is mapped by one entry */
static bool check_order(struct call *c, unsigned long i)
{
	uint64_t vpn = (c->raw.start >> hmm.page_shift) + i;
	uint64_t mask = (1ULL << answer_order(c->e[i])) - 1;

	if (answer_order(c->e[i]) > hmm.pud_order)
		return wrong(c, i, "order out of bounds");
	if ((answer_pfn(c->e[i]) & mask) != (vpn & mask))
		return wrong(c, i, "pfn not aligned like the page");
	if (i && (vpn & mask) && (c->e[i] & ~sticky_bits()) !=
	    (c->e[i - 1] & ~sticky_bits()) + 1)
		return wrong(c, i, "not in one entry with the previous page");
	return true;
}

/* The page is the one that is mapped, or the caller's own */
static bool check_pfn(struct call *c, unsigned long i, uint64_t pm)
{
	uint64_t pfn = answer_pfn(c->e[i]);
	int dev = pfn_dev(pfn);

	if (pm & PM_PRESENT) {
		if ((pm & PM_PFN) != pfn)
			return wrong(c, i, "pfn %#llx is mapped",
				     (unsigned long long)(pm & PM_PFN));
		return true;
	}
	if (dev == NOBODY || dev > PRIVATE_B)
		return wrong(c, i, "nothing is mapped there");
	if (dev != c->raw.owner)
		return wrong(c, i, "device %d's memory", dev);
	return true;
}

static bool check_answer(struct call *c, unsigned long i, const uint64_t *pm)
{
	if (!check_form(c, i))
		return false;
	if (!(answer_kind(c->e[i]) & READABLE))
		return true;
	return check_order(c, i) && (!pm || check_pfn(c, i, pm[i]));
}

uint64_t *pagemap_read(uint64_t start, unsigned long nr)
{
	uint64_t *pm = calloc(nr, sizeof(*pm));
	size_t bytes = nr * sizeof(*pm);
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (!pm)
		die("calloc");
	if (fd < 0 || pread(fd, pm, bytes, (off_t)(start >> hmm.page_shift) *
			    sizeof(*pm)) != (ssize_t)bytes) {
		free(pm);
		pm = NULL;
	}
	if (fd >= 0)
		close(fd);
	return pm;
}

bool call_check(struct call *c)
{
	unsigned long i, end = c->nr;
	uint64_t *pm = NULL;
	bool right = true;

	c->why[0] = 0;
	if (c->raw.overrun) {
		snprintf(c->why, sizeof(c->why), "%u entries outside the array written",
			 c->raw.overrun);
		return false;
	}
	/* Inputs from the page that failed */
	while (c->raw.ret && end && c->e[end - 1] == c->in[end - 1])
		end--;
	if (c->raw.ret && !end)
		return true;
	/* After -EBUSY, answers may be out of date and must not be used */
	if (!(c->raw.flags & (HMM_RANGE_OPENER | HMM_RANGE_COMPARE)) &&
	    c->raw.ret != -EBUSY)
		pm = pagemap_read(c->raw.start, c->nr);
	for (i = 0; right && i < end; i++)
		right = check_answer(c, i, pm);
	free(pm);
	return right;
}

bool call_untouched(const struct call *c)
{
	return !memcmp(c->in, c->e, c->nr * sizeof(*c->e));
}

/* Memory */

void *map_anon(unsigned long size, bool huge)
{
	char *p = mmap(NULL, size + HUGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned long skip;

	if (p == MAP_FAILED)
		die("mmap");
	skip = -(uintptr_t)p & (HUGE - 1);
	if (skip)
		munmap(p, skip);
	if (skip != HUGE)
		munmap(p + skip + size, HUGE - skip);
	p += skip;
	madvise(p, size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	return p;
}

void *map_dev(int dev, unsigned int kind, unsigned long size, int prot,
	      unsigned long align)
{
	char *p = mmap(NULL, size + align, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return p;
	p += -(uintptr_t)p & (align - 1);
	return mmap(p, size, prot, MAP_SHARED | MAP_FIXED, hmm_fd[dev],
		    kind * HMM_RANGE_MAP_BYTES);
}

void *map_p2p(unsigned long size)
{
	void *p = MAP_FAILED;
	glob_t found;
	int fd;

	if (glob("/sys/bus/pci/drivers/test_hmm/*/p2pmem/allocate", 0, NULL,
		 &found))
		return NULL;
	fd = open(found.gl_pathv[0], O_RDWR);
	if (fd >= 0)
		p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	globfree(&found);
	return p == MAP_FAILED ? NULL : p;
}

int memfd_new(unsigned long size, unsigned int flags)
{
	int fd = memfd_create("hmm", flags | MFD_CLOEXEC);

	if (fd >= 0 && ftruncate(fd, size)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

void read_pages(const void *p, unsigned long size)
{
	unsigned long i;

	for (i = 0; i < size; i += PAGE)
		(void)*((const volatile char *)p + i);
}

void fill(void *p, unsigned long size)
{
	unsigned long i;

	for (i = 0; i < size; i += PAGE)
		*(volatile uint64_t *)((char *)p + i) = (uintptr_t)p + i;
}

bool filled(const void *p, unsigned long size)
{
	unsigned long i;

	for (i = 0; i < size; i += PAGE)
		if (*(volatile uint64_t *)((char *)p + i) != (uintptr_t)p + i)
			return false;
	return true;
}

bool call_filled(const struct call *c)
{
	unsigned long i;

	if (c->raw.ret || c->raw.stale)
		return false;
	for (i = 0; i < c->nr; i++)
		if ((c->e[i] & hmm.valid) &&
		    c->data[i] != c->raw.start + i * PAGE)
			return false;
	return true;
}

uint64_t pagemap(const void *addr)
{
	uint64_t *pm = pagemap_read((uintptr_t)addr, 1);
	uint64_t e = pm ? *pm : 0;

	free(pm);
	return e;
}

unsigned long pages_with(const void *addr, unsigned long nr, uint64_t any)
{
	uint64_t *pm = pagemap_read((uintptr_t)addr, nr);
	unsigned long i, found = 0;

	for (i = 0; pm && i < nr; i++)
		found += !!(pm[i] & any);
	free(pm);
	return found;
}

long number_of(const char *path, const char *key)
{
	char line[256];
	long n = -1;
	FILE *f = fopen(path, "r");

	while (f && n < 0 && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, strlen(key)))
			n = strtol(line + strlen(key), NULL, 10);
	if (f)
		fclose(f);
	return n;
}

bool write_file(const char *path, const char *what)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, what, strlen(what)) == (ssize_t)strlen(what);

	if (fd >= 0)
		close(fd);
	return done;
}

/* The same header as mkswap */
bool swap_on(void)
{
	struct {
		uint32_t version, last_page, nr_badpages;
	} info = { .version = 1, .last_page = (16UL << 20) / PAGE - 1 };
	int fd = open("/dev/ram0", O_WRONLY | O_CLOEXEC);
	bool done;

	if (number_of("/proc/swaps", "/dev/") >= 0)
		return true;
	if (fd < 0)
		return false;
	done = pwrite(fd, &info, sizeof(info), 1024) == sizeof(info) &&
	       pwrite(fd, "SWAPSPACE2", 10, PAGE - 10) == 10 && !fsync(fd);
	close(fd);
	return done && (!swapon("/dev/ram0", 0) || errno == EBUSY);
}

/* Fault injection, without which there is no such file */

static int fail_nth = -1;

static bool fail_allocations(void)
{
	static const char * const what[] = { "failslab", "fail_page_alloc" };
	char path[64];
	int i;

	fail_nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	for (i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s/ignore-gfp-wait",
			 what[i]);
		if (!write_file(path, "N"))
			return false;
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s/verbose", what[i]);
		write_file(path, "0");
	}
	write_file("/sys/kernel/debug/fail_page_alloc/min-order", "0");
	write_file("/sys/kernel/debug/fail_page_alloc/ignore-gfp-highmem", "N");
	return fail_nth >= 0;
}

bool fail_allocation(unsigned int nth)
{
	char number[16];
	int n = snprintf(number, sizeof(number), "%u", nth);

	if (fail_nth < 0 && !fail_allocations())
		return false;
	return pwrite(fail_nth, number, n, 0) == n;
}

bool allocation_failed(void)
{
	char number[16] = "";

	return pread(fail_nth, number, sizeof(number) - 1, 0) > 0 && !atoi(number);
}

/* The devices */

static long migrate(int dev, int owner, uint32_t to, uint64_t select,
		    const void *addr, unsigned long nr)
{
	uint64_t *src = calloc(nr, sizeof(*src));
	struct hmm_range_migrate cmd = {
		.addr = (uintptr_t)addr,
		.nr = nr,
		.src = (uintptr_t)src,
		.select = select,
		.owner = owner,
		.to = to,
	};
	long gone = 0;
	unsigned long i;

	if (!src)
		die("calloc");
	if (ioctl(hmm_fd[dev], HMM_RANGE_MIGRATE, &cmd))
		gone = -errno;
	for (i = 0; gone >= 0 && i < nr; i++)
		if (src[i] & MPFN_MIGRATE)
			gone += src[i] & MPFN_COMPOUND ? HUGE_NR : 1;
	free(src);
	return gone;
}

long to_device(int dev, const void *addr, unsigned long nr, bool compound)
{
	return migrate(dev, dev, HMM_RANGE_TO_DEVICE, SELECT_SYSTEM |
		       (compound ? SELECT_COMPOUND : 0), addr, nr);
}

long fault_to_device(int dev, const void *addr, unsigned long nr, bool compound)
{
	return migrate(dev, dev, HMM_RANGE_TO_DEVICE, SELECT_SYSTEM | MIGRATE_FAULT |
		       (compound ? SELECT_COMPOUND : 0), addr, nr);
}

long to_system(int owner, const void *addr, unsigned long nr, bool compound)
{
	return migrate(owner, owner, HMM_RANGE_TO_SYSTEM,
		       (owner <= PRIVATE_B ? SELECT_PRIVATE : SELECT_COHERENT) |
		       (compound ? SELECT_COMPOUND : 0), addr, nr);
}

int act(int dev, uint32_t what, uint32_t nth, uint32_t arg)
{
	struct hmm_range_act act = { .what = what, .nth = nth, .arg = arg };

	return ioctl(hmm_fd[dev], HMM_RANGE_ACT, &act) ? -errno : 0;
}

unsigned int faults_served(int dev)
{
	struct hmm_range_act act = { .what = HMM_RANGE_ACT_NONE };

	if (ioctl(hmm_fd[dev], HMM_RANGE_ACT, &act))
		die("HMM_RANGE_ACT");
	return act.faults;
}

static void *map_and_stop(void *arg)
{
	(void)arg;
	return map_dev(PRIVATE_A, HMM_RANGE_MAP_PAGES, PAGE, PROT_READ, PAGE);
}

bool hold_mmap_lock(pthread_t *thread)
{
	uint32_t hold = HMM_RANGE_HOLD_MMAP;

	return !mlockall(MCL_CURRENT) &&
	       !ioctl(hmm_fd[PRIVATE_A], HMM_RANGE_HOLD, &hold) &&
	       !pthread_create(thread, NULL, map_and_stop, NULL) &&
	       !ioctl(hmm_fd[PRIVATE_A], HMM_RANGE_WAIT);
}

void release_mmap_lock(pthread_t thread)
{
	ioctl(hmm_fd[PRIVATE_A], HMM_RANGE_GO);
	pthread_join(thread, NULL);
	munlockall();
}

uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

/* With the flags of map_anon(): next to such memory, the page becomes part of its VMA */
static bool map_and_unmap(char *at)
{
	return mmap(at, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS |
		    MAP_FIXED, -1, 0) == at &&
	       !madvise(at, PAGE, MADV_NOHUGEPAGE) && !munmap(at, PAGE);
}

static void *map_always(void *arg)
{
	struct mapper *m = arg;

	while (!m->stop) {
		uint64_t begin = now();

		if (!map_and_unmap(m->at))
			m->failed = true;
		if (now() - begin > m->longest)
			m->longest = now() - begin;
		m->rounds++;
	}
	return NULL;
}

bool mapper_start(struct mapper *m, char *at)
{
	*m = (struct mapper) { .at = at };
	if (pthread_create(&m->thread, NULL, map_always, m))
		return false;
	while (m->rounds < 10)
		usleep(1000);
	m->longest = 0;
	return true;
}

bool mapper_stop(struct mapper *m)
{
	m->stop = true;
	pthread_join(m->thread, NULL);
	return !m->failed;
}
