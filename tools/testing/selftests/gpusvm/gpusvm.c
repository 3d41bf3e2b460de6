// SPDX-License-Identifier: GPL-2.0
/*
 * drm_gpusvm and drm_pagemap, with GPUs that exist in drm_gpusvm_test.c only: memory of
 * each kind, in each place, read and written by a GPU while the process does to it what
 * processes do.  Every byte is compared, as the GPU and as the CPU see it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../../../drivers/gpu/drm/tests/drm_gpusvm_test.h"
#include "../kselftest_harness.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif

#define PAGE		4096UL
#define K64		(64UL << 10)
#define HUGE		(2UL << 20)
/* A range of 2 MiB, one of 64 KiB and three of a page */
#define SIZE		(HUGE + K64 + 3 * PAGE)
/* What an address space mirrors: room to move SIZE to */
#define WINDOW		(4 * HUGE)
#define CHUNKS		(HUGE | K64 | PAGE)
#define NOTIFIER	(512UL << 20)

#define THP		"/sys/kernel/mm/transparent_hugepage/"

enum { IOMMU, PEER, DIRECT, GPUS };
enum kind { SMALL, MTHP, LARGE };
enum where { ABSENT, RAM, IN_IOMMU, IN_PEER, IN_DIRECT };

#define IN_VRAM(gpu)	(GPUSVM_TEST_IN_VRAM << (gpu))

/* Each test is a process of its own */
static struct {
	int fd[GPUS];
	unsigned char *p;	/* the memory */
	unsigned char *want;	/* what has to be there */
	unsigned char *got;
	struct gpusvm_test last;
	bool racy;		/* what was unmapped may be mapped again at once */
} t;

static int run(int gpu, struct gpusvm_test cmd)
{
	if (ioctl(t.fd[gpu], GPUSVM_TEST_IOCTL, &cmd)) {
		/* A GPU that this machine does not have */
		if (errno == ENODEV)
			return -ENODEV;
		perror("GPUSVM_TEST_IOCTL");
		abort();
	}
	t.last = cmd;
	return cmd.ret;
}

static int engine(int gpu, uint32_t op, const void *addr, unsigned long len, void *data,
		  uint32_t flags)
{
	return run(gpu, (struct gpusvm_test) {
		.op = op,
		.gpu = gpu,
		.flags = flags,
		.addr = (uintptr_t)addr,
		.len = len,
		.data = (uintptr_t)data,
	});
}

static int at(int gpu, uint32_t op, const void *addr, uint32_t flags)
{
	return engine(gpu, op, addr, 0, NULL, flags);
}

static int migrate_for(int to, const void *addr, unsigned long len, uint32_t flags,
		       unsigned int ms)
{
	return run(to, (struct gpusvm_test) {
		.op = GPUSVM_TEST_MIGRATE,
		.gpu = to,
		.flags = flags,
		.addr = (uintptr_t)addr,
		.len = len,
		.arg = ms,
	});
}

static int migrate(int to, const void *addr, unsigned long len)
{
	return migrate_for(to, addr, len, 0, 0);
}

static int evict(int gpu)
{
	return at(gpu, GPUSVM_TEST_EVICT_GPU, NULL, 0);
}

static void fail(int gpu, unsigned int what, unsigned int nth)
{
	run(gpu, (struct gpusvm_test) {
		.op = GPUSVM_TEST_FAIL,
		.gpu = gpu,
		.len = what,
		.arg = nth,
	});
}

static struct gpusvm_test stats(int gpu)
{
	at(gpu, GPUSVM_TEST_STATS, NULL, 0);
	return t.last;
}

/* Where the GPU finds the range of @addr: GPUSVM_TEST_IN_*; 0 if there is no range */
static uint32_t places(int gpu, const void *addr)
{
	return at(gpu, GPUSVM_TEST_RANGE, addr, 0) ? 0 : t.last.places;
}

static int vm_new(int gpu, const void *addr, unsigned long len, unsigned long chunks,
		  unsigned long notifier)
{
	t.fd[gpu] = open("/dev/gpusvm_test", O_RDWR | O_CLOEXEC);
	return t.fd[gpu] < 0 ? -errno : run(gpu, (struct gpusvm_test) {
		.op = GPUSVM_TEST_VM,
		.gpu = gpu,
		.addr = (uintptr_t)addr,
		.len = len,
		.chunks = chunks,
		.arg = notifier,
	});
}

static bool write_file(const char *path, const char *what)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, what, strlen(what)) == (ssize_t)strlen(what);

	if (fd >= 0)
		close(fd);
	return done;
}

static void huge_pages(enum kind kind)
{
	write_file(THP "enabled", "madvise");
	write_file(THP "defrag", "always");
	write_file(THP "hugepages-64kB/enabled", kind == MTHP ? "madvise" : "never");
	write_file(THP "hugepages-2048kB/enabled", kind == LARGE ? "madvise" : "never");
}

/* Memory at the begin of a window of reserved addresses */
static unsigned char *memory(enum kind kind)
{
	unsigned char *p = mmap(NULL, WINDOW + HUGE, PROT_NONE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		abort();
	p += -(uintptr_t)p & (HUGE - 1);
	if (munmap(p, WINDOW) ||
	    mmap(p, SIZE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != p)
		abort();
	huge_pages(kind);
	madvise(p, SIZE, kind == SMALL ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
	return p;
}

static uint64_t pattern_word(unsigned long i, unsigned char seed)
{
	return (i + 1) * 0x9e3779b97f4a7c15ULL + seed * 0x0123456789abcdefULL;
}

/* No two pages are alike.  By words, as emulated processors are slow. */
static void pattern(unsigned char *p, unsigned long offset, unsigned long len,
		    unsigned char seed)
{
	unsigned long i = offset, end = offset + len;
	uint64_t word;

	while (i < end) {
		word = pattern_word(i / 8, seed);
		if (!(i % 8) && end - i >= 8) {
			memcpy(p + i, &word, 8);
			i += 8;
		} else {
			p[i] = word >> i % 8 * 8;
			i++;
		}
	}
}

static void expect(unsigned long offset, unsigned long len, unsigned char seed)
{
	pattern(t.want, offset, len, seed);
}

static void cpu_write(unsigned long offset, unsigned long len, unsigned char seed)
{
	expect(offset, len, seed);
	memcpy(t.p + offset, t.want + offset, len);
}

static int gpu_write(int gpu, unsigned long offset, unsigned long len, unsigned char seed,
		     uint32_t flags)
{
	expect(offset, len, seed);
	return engine(gpu, GPUSVM_TEST_WRITE, t.p + offset, len, t.want + offset, flags);
}

static int gpu_read(int gpu, unsigned long offset, unsigned long len, uint32_t flags)
{
	memset(t.got + offset, 0x5a, len);
	return engine(gpu, GPUSVM_TEST_READ, t.p + offset, len, t.got + offset, flags);
}

/* Is all there, as seen by this GPU or by the CPU? */
static bool same(const unsigned char *got, unsigned long offset, unsigned long len)
{
	unsigned long i = offset;

	if (!memcmp(got + offset, t.want + offset, len))
		return true;
	while (got[i] == t.want[i])
		i++;
	printf("# byte %#lx of [%#lx, %#lx): %#x, not %#x\n", i, offset, offset + len,
	       got[i], t.want[i]);
	return false;
}

static bool gpu_sees_part(int gpu, unsigned long offset, unsigned long len)
{
	int ret = gpu_read(gpu, offset, len, 0);

	if (ret)
		printf("# GPU %d reads [%#lx, %#lx): %d\n", gpu, offset, offset + len, ret);
	return !ret && same(t.got, offset, len);
}

static bool gpu_sees(int gpu)
{
	return gpu_sees_part(gpu, 0, SIZE);
}

static bool cpu_sees(void)
{
	return same(t.p, 0, SIZE);
}

/* A library function gets some of the range only; migrate each piece as a driver does */
static int migrate_all(int to, unsigned long offset, unsigned long end)
{
	unsigned long len;
	int ret = 0;

	for (; !ret && offset < end; offset += len) {
		len = !(offset % HUGE) && offset + HUGE <= end ? HUGE :
		      !(offset % K64) && offset + K64 <= end ? K64 : PAGE;
		ret = migrate(to, t.p + offset, len);
	}
	return ret;
}

static const char *set_up(enum kind kind, bool present)
{
	unsigned int what;
	int gpu, ret;

	if (access("/dev/gpusvm_test", F_OK))
		return "needs CONFIG_DRM_GPUSVM_TEST";
	if (sysconf(_SC_PAGESIZE) != PAGE)
		return "needs pages of 4 KiB";
	if (kind != SMALL && access(THP "enabled", F_OK))
		return "needs CONFIG_TRANSPARENT_HUGEPAGE";
	t.want = calloc(1, WINDOW);
	t.got = calloc(1, WINDOW);
	t.p = memory(kind);
	for (gpu = 0; gpu < GPUS; gpu++) {
		ret = vm_new(gpu, t.p, WINDOW, CHUNKS, NOTIFIER);
		if (ret)
			return "no such GPU";
		for (what = 0; what < GPUSVM_TEST_FAILS; what++)
			fail(gpu, what, 0);
	}
	if (present)
		cpu_write(0, SIZE, 1);
	return NULL;
}

/* What is left in the end; -1 if a mapping was, which is worse */
static long left(void)
{
	int gpu, stale = 0, mapped = 0;
	unsigned long vram = 0;

	for (gpu = 0; gpu < GPUS; gpu++)
		stale |= stats(gpu).stale != 0;
	munmap(t.p, WINDOW);
	for (gpu = 0; gpu < GPUS; gpu++) {
		vram += stats(gpu).vram + t.last.ranges;
		mapped |= t.last.mapped != 0;
	}
	/* By now, there are no ranges, nor copies */
	mapped |= t.last.linked || t.last.spaces;
	for (gpu = 0; gpu < GPUS; gpu++)
		close(t.fd[gpu]);
	return (stale && !t.racy) || mapped ? -1 : (long)vram;
}

/* Memory of each kind in each place, with what can happen to it */

FIXTURE(memory)
{
	int gpu;
};

FIXTURE_VARIANT(memory)
{
	enum kind kind;
	enum where where;
	int gpu;
};

FIXTURE_VARIANT_ADD(memory, large_absent) { LARGE, ABSENT, IOMMU };
FIXTURE_VARIANT_ADD(memory, small_ram) { SMALL, RAM, IOMMU };
FIXTURE_VARIANT_ADD(memory, large_ram) { LARGE, RAM, IOMMU };
FIXTURE_VARIANT_ADD(memory, mthp_vram) { MTHP, IN_IOMMU, IOMMU };
FIXTURE_VARIANT_ADD(memory, large_vram) { LARGE, IN_IOMMU, IOMMU };
FIXTURE_VARIANT_ADD(memory, small_peer) { SMALL, IN_PEER, IOMMU };
FIXTURE_VARIANT_ADD(memory, mthp_ram_direct) { MTHP, RAM, DIRECT };

FIXTURE_SETUP(memory)
{
	const char *why = set_up(variant->kind, variant->where != ABSENT);

	if (why)
		SKIP(return, "%s", why);
	self->gpu = variant->gpu;
	if (variant->where >= IN_IOMMU)
		ASSERT_EQ(0, migrate_all(variant->where - IN_IOMMU, 0, SIZE));
}

FIXTURE_TEARDOWN(memory)
{
	EXPECT_EQ(0, left());
}

TEST_F(memory, is_read)
{
	ASSERT_TRUE(gpu_sees(self->gpu));
	ASSERT_TRUE(gpu_sees(self->gpu));
	ASSERT_TRUE(cpu_sees());
	ASSERT_TRUE(gpu_sees(self->gpu));
}

TEST_F(memory, is_written)
{
	ASSERT_EQ(0, gpu_write(self->gpu, 0, SIZE, 2, 0));
	ASSERT_TRUE(gpu_sees(self->gpu));
	ASSERT_TRUE(cpu_sees());
}

/* Bytes that begin and end amid pages, ranges and huge pages; in a page, the rest stays */
TEST_F(memory, is_written_in_part)
{
	static const struct { unsigned long offset, len; } parts[] = {
		{ 1, 1 }, { PAGE - 3, 6 }, { 5 * PAGE + 17, PAGE }, { K64 - 1, 2 },
		{ HUGE - 5, 11 }, { HUGE + K64 - 7, PAGE + 9 }, { SIZE - 1, 1 },
		{ HUGE / 2 + 77, K64 },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(parts); i++)
		ASSERT_EQ(0, gpu_write(self->gpu, parts[i].offset, parts[i].len, 9 + i, 0));
	ASSERT_TRUE(cpu_sees());
	ASSERT_TRUE(gpu_sees(self->gpu));
}

TEST_F(memory, is_written_in_turn)
{
	unsigned char i;

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, gpu_write(self->gpu, 0, SIZE, 10 + i, 0));
		cpu_write(3 * PAGE, HUGE, 20 + i);
		ASSERT_TRUE(gpu_sees(self->gpu));
	}
	ASSERT_TRUE(cpu_sees());
}

TEST_F(memory, two_gpus)
{
	int other = self->gpu == IOMMU ? PEER : IOMMU;

	ASSERT_EQ(0, gpu_write(self->gpu, 0, SIZE, 3, 0));
	ASSERT_TRUE(gpu_sees(other));
	ASSERT_EQ(0, gpu_write(other, K64, HUGE, 4, 0));
	ASSERT_TRUE(gpu_sees(self->gpu));
	ASSERT_TRUE(cpu_sees());
}

TEST_F(memory, to_vram_and_back)
{
	int gpu = self->gpu;

	ASSERT_EQ(0, gpu_write(gpu, 0, SIZE, 3, GPUSVM_TEST_TO_VRAM));
	ASSERT_EQ(IN_VRAM(gpu), places(gpu, t.p));
	ASSERT_TRUE(gpu_sees(gpu));
	ASSERT_TRUE(cpu_sees());
	ASSERT_EQ(0, stats(gpu).vram);
	ASSERT_TRUE(gpu_sees(gpu));
	ASSERT_EQ(GPUSVM_TEST_IN_SYSTEM, places(gpu, t.p));
}

TEST_F_TIMEOUT(memory, to_each_vram, 120)
{
	static const int turn[] = { IOMMU, PEER, DIRECT, PEER, IOMMU, DIRECT, IOMMU };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(turn); i++) {
		ASSERT_EQ(0, gpu_write(turn[i], 0, SIZE, 30 + i, GPUSVM_TEST_TO_VRAM));
		ASSERT_EQ(IN_VRAM(turn[i]), places(turn[i], t.p));
	}
	ASSERT_TRUE(gpu_sees(self->gpu));
	ASSERT_TRUE(cpu_sees());
}

TEST_F(memory, read_only)
{
	ASSERT_TRUE(gpu_sees(self->gpu));
	ASSERT_EQ(0, mprotect(t.p, SIZE, PROT_READ));
	ASSERT_EQ(-EPERM, engine(self->gpu, GPUSVM_TEST_WRITE, t.p, PAGE, t.got, 0));
	ASSERT_EQ(0, gpu_read(self->gpu, 0, SIZE, GPUSVM_TEST_READ_ONLY));
	ASSERT_TRUE(same(t.got, 0, SIZE));
	ASSERT_NE(0, places(self->gpu, t.p) & GPUSVM_TEST_IN_READ);
	ASSERT_TRUE(cpu_sees());
	ASSERT_EQ(0, mprotect(t.p, SIZE, PROT_READ | PROT_WRITE));
	ASSERT_EQ(0, gpu_write(self->gpu, 0, SIZE, 5, 0));
	ASSERT_TRUE(cpu_sees());
}

TEST_F(memory, read_only_in_part)
{
	ASSERT_TRUE(gpu_sees(self->gpu));
	ASSERT_EQ(0, mprotect(t.p + K64, K64, PROT_READ));
	ASSERT_NE(0, engine(self->gpu, GPUSVM_TEST_WRITE, t.p + K64, PAGE, t.got, 0));
	ASSERT_EQ(0, mprotect(t.p + K64, K64, PROT_READ | PROT_WRITE));
	ASSERT_EQ(0, gpu_write(self->gpu, PAGE, HUGE, 6, 0));
	ASSERT_TRUE(cpu_sees());
}

TEST_F(memory, no_access)
{
	ASSERT_TRUE(gpu_sees(self->gpu));
	ASSERT_EQ(0, mprotect(t.p, SIZE, PROT_NONE));
	ASSERT_NE(0, gpu_read(self->gpu, 0, PAGE, 0));
	ASSERT_NE(0, gpu_read(self->gpu, HUGE, PAGE, GPUSVM_TEST_READ_ONLY));
	ASSERT_EQ(0, mprotect(t.p, SIZE, PROT_READ | PROT_WRITE));
	ASSERT_TRUE(gpu_sees(self->gpu));
	ASSERT_TRUE(cpu_sees());
}

/* Unmaps [from, to), and looks at the rest */
static bool unmapped(int gpu, unsigned long from, unsigned long to)
{
	if (!gpu_sees(gpu) || munmap(t.p + from, to - from) ||
	    gpu_read(gpu, from, PAGE, 0) != -ENOENT ||
	    gpu_read(gpu, to - PAGE, PAGE, 0) != -ENOENT)
		return false;
	return (!from || gpu_sees_part(gpu, 0, from)) &&
	       (to == SIZE || gpu_sees_part(gpu, to, SIZE - to)) &&
	       (!from || same(t.p, 0, from)) &&
	       (to == SIZE || same(t.p, to, SIZE - to));
}

TEST_F(memory, head_unmapped)
{
	ASSERT_TRUE(unmapped(self->gpu, 0, K64 + PAGE));
}

TEST_F(memory, middle_unmapped)
{
	ASSERT_TRUE(unmapped(self->gpu, HUGE / 2 - PAGE, HUGE / 2 + K64));
}

TEST_F(memory, tail_unmapped)
{
	ASSERT_TRUE(unmapped(self->gpu, HUGE - PAGE, SIZE));
}

TEST_F(memory, all_unmapped)
{
	ASSERT_TRUE(unmapped(self->gpu, 0, SIZE));
	ASSERT_EQ(0, stats(self->gpu).ranges);
}

/* What is mapped there next is something else */
TEST_F(memory, mapped_anew)
{
	ASSERT_TRUE(gpu_sees(self->gpu));
	ASSERT_EQ(t.p, mmap(t.p, SIZE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	memset(t.want, 0, SIZE);
	ASSERT_TRUE(gpu_sees(self->gpu));
	ASSERT_EQ(0, gpu_write(self->gpu, 0, SIZE, 7, 0));
	ASSERT_TRUE(cpu_sees());
}

TEST_F(memory, moved)
{
	unsigned char *to = t.p + 2 * HUGE, *from = t.p;

	ASSERT_TRUE(gpu_sees(self->gpu));
	ASSERT_EQ(to, mremap(t.p, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, to));
	ASSERT_EQ(-ENOENT, gpu_read(self->gpu, 0, PAGE, 0));
	t.p = to;
	ASSERT_TRUE(gpu_sees(self->gpu));
	ASSERT_EQ(0, gpu_write(self->gpu, PAGE, HUGE, 8, 0));
	ASSERT_TRUE(cpu_sees());
	t.p = from;
}

/* So that no range is as before, nor aligned to what it was allocated with */
TEST_F(memory, moved_by_a_page)
{
	unsigned char *to = t.p + 2 * HUGE - PAGE, *from = t.p;

	ASSERT_TRUE(gpu_sees(self->gpu));
	ASSERT_EQ(to, mremap(t.p, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, to));
	t.p = to;
	ASSERT_TRUE(gpu_sees(self->gpu));
	ASSERT_EQ(0, gpu_write(self->gpu, PAGE, HUGE, 8, 0));
	ASSERT_TRUE(cpu_sees());
	t.p = from;
}

TEST_F(memory, discarded)
{
	ASSERT_TRUE(gpu_sees(self->gpu));
	ASSERT_EQ(0, madvise(t.p + PAGE, HUGE, MADV_DONTNEED));
	memset(t.want + PAGE, 0, HUGE);
	ASSERT_TRUE(gpu_sees(self->gpu));
	ASSERT_TRUE(cpu_sees());
}

static bool swap_on(void)
{
	struct {
		uint32_t version, last_page, nr_badpages;
	} info = { .version = 1, .last_page = (16UL << 20) / PAGE - 1 };
	int fd = open("/dev/ram0", O_WRONLY | O_CLOEXEC);
	bool done;

	if (fd < 0)
		return false;
	done = pwrite(fd, &info, sizeof(info), 1024) == sizeof(info);
	/* An earlier test has done it */
	if (!done && errno == ETXTBSY) {
		close(fd);
		return true;
	}
	done = done && pwrite(fd, "SWAPSPACE2", 10, PAGE - 10) == 10 && !fsync(fd);
	close(fd);
	return done && !swapon("/dev/ram0", 0);
}

TEST_F(memory, swapped_out)
{
	if (!swap_on())
		SKIP(return, "needs /dev/ram0 to swap to");
	ASSERT_EQ(0, gpu_write(self->gpu, 0, SIZE, 8, 0));
	ASSERT_EQ(0, madvise(t.p, SIZE, MADV_PAGEOUT));
	ASSERT_TRUE(gpu_sees(self->gpu));
	ASSERT_EQ(0, gpu_write(self->gpu, K64, HUGE, 9, 0));
	ASSERT_EQ(0, madvise(t.p, SIZE, MADV_PAGEOUT));
	ASSERT_TRUE(cpu_sees());
}

TEST_F(memory, huge_page_split)
{
	ASSERT_EQ(0, gpu_write(self->gpu, 0, SIZE, 8, 0));
	ASSERT_EQ(0, mprotect(t.p + K64, PAGE, PROT_READ));
	ASSERT_EQ(0, madvise(t.p + HUGE / 2, PAGE, MADV_DONTNEED));
	memset(t.want + HUGE / 2, 0, PAGE);
	ASSERT_EQ(0, mprotect(t.p + K64, PAGE, PROT_READ | PROT_WRITE));
	ASSERT_TRUE(gpu_sees(self->gpu));
	ASSERT_EQ(0, gpu_write(self->gpu, PAGE, HUGE, 9, GPUSVM_TEST_TO_VRAM));
	ASSERT_TRUE(cpu_sees());
}

TEST_F(memory, collapsed)
{
	ASSERT_EQ(0, gpu_write(self->gpu, 0, SIZE, 8, 0));
	/* It fails where pages are in VRAM, which is none of this test's business */
	madvise(t.p, HUGE, MADV_COLLAPSE);
	ASSERT_TRUE(gpu_sees(self->gpu));
	ASSERT_EQ(0, gpu_write(self->gpu, PAGE, HUGE, 9, GPUSVM_TEST_TO_VRAM));
	ASSERT_TRUE(cpu_sees());
}

TEST_F(memory, range_evicted)
{
	int gpu = self->gpu;

	ASSERT_TRUE(gpu_sees(gpu));
	ASSERT_EQ(0, at(gpu, GPUSVM_TEST_EVICT_RANGE, t.p, 0));
	ASSERT_TRUE(gpu_sees(gpu));
	ASSERT_EQ(GPUSVM_TEST_IN_SYSTEM, places(gpu, t.p));
	ASSERT_TRUE(cpu_sees());
}

TEST_F(memory, gpus_evicted)
{
	int gpu;

	ASSERT_EQ(0, gpu_write(self->gpu, PAGE, HUGE, 9, 0));
	for (gpu = 0; gpu < GPUS; gpu++) {
		ASSERT_EQ(0, evict(gpu));
		ASSERT_EQ(0, stats(gpu).vram);
	}
	ASSERT_TRUE(gpu_sees(self->gpu));
	ASSERT_TRUE(cpu_sees());
}

/* The child tells over a pipe that it has seen what it has to */
struct child {
	pid_t pid;
	int go[2];
};

static bool child_new(struct child *child)
{
	if (pipe(child->go))
		return false;
	child->pid = fork();
	return child->pid >= 0;
}

static void child_waits(struct child *child)
{
	char c;

	close(child->go[1]);
	if (read(child->go[0], &c, 1) < 0)
		_exit(2);
}

static bool child_saw(struct child *child)
{
	int status;

	close(child->go[0]);
	close(child->go[1]);
	return waitpid(child->pid, &status, 0) == child->pid && WIFEXITED(status) &&
	       !WEXITSTATUS(status);
}

TEST_F(memory, fork_gpu_writes)
{
	struct child child;

	ASSERT_TRUE(gpu_sees(self->gpu));
	ASSERT_TRUE(child_new(&child));
	if (!child.pid) {
		child_waits(&child);
		_exit(!cpu_sees());
	}
	ASSERT_EQ(0, gpu_write(self->gpu, 0, SIZE, 8, 0));
	ASSERT_TRUE(child_saw(&child));
	ASSERT_TRUE(gpu_sees(self->gpu));
	ASSERT_TRUE(cpu_sees());
}

TEST_F(memory, fork_child_writes)
{
	struct child child;

	ASSERT_TRUE(gpu_sees(self->gpu));
	ASSERT_TRUE(child_new(&child));
	if (!child.pid) {
		cpu_write(PAGE, HUGE, 77);
		_exit(!cpu_sees());
	}
	ASSERT_TRUE(child_saw(&child));
	ASSERT_TRUE(gpu_sees(self->gpu));
	ASSERT_EQ(0, gpu_write(self->gpu, 0, SIZE, 8, 0));
	ASSERT_TRUE(cpu_sees());
}

/* Shared with a child, memory comes home for both */
TEST_F(memory, fork_evicted)
{
	struct child child;
	int gpu;

	ASSERT_TRUE(gpu_sees(self->gpu));
	ASSERT_TRUE(child_new(&child));
	if (!child.pid) {
		child_waits(&child);
		_exit(!cpu_sees());
	}
	for (gpu = 0; gpu < GPUS; gpu++) {
		ASSERT_EQ(0, evict(gpu));
		ASSERT_EQ(0, stats(gpu).vram);
	}
	ASSERT_TRUE(child_saw(&child));
	ASSERT_TRUE(gpu_sees(self->gpu));
	ASSERT_TRUE(cpu_sees());
}

/* The address space of the GPU is gone, memory is not */
TEST_F(memory, vm_closed)
{
	int gpu = self->gpu;

	ASSERT_EQ(0, gpu_write(gpu, 0, SIZE, 8, 0));
	close(t.fd[gpu]);
	ASSERT_TRUE(cpu_sees());
	ASSERT_EQ(0, vm_new(gpu, t.p, WINDOW, CHUNKS, NOTIFIER));
	ASSERT_TRUE(gpu_sees(gpu));
}

/* One thing each */

FIXTURE(gpu)
{
};

FIXTURE_SETUP(gpu)
{
	const char *why = set_up(LARGE, false);

	if (why)
		SKIP(return, "%s", why);
}

FIXTURE_TEARDOWN(gpu)
{
	EXPECT_EQ(0, left());
}

static void small_pages(void)
{
	madvise(t.p, SIZE, MADV_NOHUGEPAGE);
}

/* Absent memory needs no copy, and no second attempt */
TEST_F(gpu, absent_is_migrated)
{
	ASSERT_EQ(0, migrate(IOMMU, t.p, HUGE));
	ASSERT_EQ(HUGE / PAGE, stats(IOMMU).vram);
	ASSERT_EQ(0, migrate(IOMMU, t.p + HUGE, K64));
	ASSERT_TRUE(gpu_sees(IOMMU));
	ASSERT_EQ(IN_VRAM(IOMMU), places(IOMMU, t.p));
	ASSERT_TRUE(cpu_sees());
}

TEST_F(gpu, absent_in_part_is_migrated)
{
	small_pages();
	cpu_write(K64, K64, 3);
	ASSERT_EQ(0, migrate(IOMMU, t.p, HUGE));
	ASSERT_TRUE(gpu_sees(IOMMU));
	ASSERT_TRUE(cpu_sees());
}

/* VRAM that was somebody's is not shown to the next */
TEST_F(gpu, vram_is_cleared)
{
	static const unsigned char secret[PAGE] = { "secret" };
	unsigned long i;

	for (i = 0; i < HUGE; i += PAGE)
		memcpy(t.p + i, secret, PAGE);
	ASSERT_EQ(0, migrate(IOMMU, t.p, HUGE));
	ASSERT_EQ(0, madvise(t.p, HUGE, MADV_DONTNEED));
	ASSERT_EQ(0, stats(IOMMU).vram);
	ASSERT_EQ(0, migrate(IOMMU, t.p, HUGE));
	ASSERT_TRUE(gpu_sees(IOMMU));
	ASSERT_TRUE(cpu_sees());
}

TEST_F(gpu, migrated_already)
{
	cpu_write(0, SIZE, 3);
	ASSERT_EQ(0, migrate(IOMMU, t.p, HUGE));
	ASSERT_EQ(0, migrate(IOMMU, t.p, HUGE));
	ASSERT_EQ(HUGE / PAGE, stats(IOMMU).vram);
	/* Only part of it is there: all or nothing */
	ASSERT_EQ(0, migrate(IOMMU, t.p + HUGE, K64 / 2));
	ASSERT_EQ(-EBUSY, migrate(IOMMU, t.p + HUGE, K64));
	ASSERT_EQ((HUGE + K64 / 2) / PAGE, stats(IOMMU).vram);
	ASSERT_TRUE(gpu_sees(IOMMU));
	ASSERT_TRUE(cpu_sees());
}

/* Part of what is in VRAM, from where a huge page does not begin */
TEST_F(gpu, part_of_huge_page_is_migrated)
{
	cpu_write(0, SIZE, 3);
	ASSERT_EQ(0, migrate(IOMMU, t.p + K64, K64));
	ASSERT_EQ(K64 / PAGE, stats(IOMMU).vram);
	ASSERT_EQ(0, migrate(PEER, t.p + 2 * K64, K64));
	ASSERT_TRUE(gpu_sees(IOMMU));
	ASSERT_TRUE(cpu_sees());
}

TEST_F(gpu, vram_of_a_peer_is_mapped)
{
	cpu_write(0, SIZE, 3);
	ASSERT_EQ(0, migrate(PEER, t.p, HUGE));
	ASSERT_TRUE(gpu_sees(IOMMU));
	ASSERT_EQ(IN_VRAM(PEER), places(IOMMU, t.p));
	ASSERT_EQ(HUGE / PAGE, stats(PEER).vram);
}

TEST_F(gpu, vram_of_another_comes_home)
{
	cpu_write(0, SIZE, 3);
	ASSERT_EQ(0, migrate(DIRECT, t.p, HUGE));
	ASSERT_TRUE(gpu_sees(IOMMU));
	ASSERT_EQ(GPUSVM_TEST_IN_SYSTEM, places(IOMMU, t.p));
	ASSERT_EQ(0, stats(DIRECT).vram);
}

/* What the library maps, and by how many mappings */
TEST_F(gpu, mappings)
{
	cpu_write(0, SIZE, 3);
	ASSERT_TRUE(gpu_sees(IOMMU));
	ASSERT_EQ(GPUSVM_TEST_IN_SYSTEM, places(IOMMU, t.p));
	ASSERT_EQ(1, t.last.iova);
	ASSERT_EQ(1, t.last.entries);
	ASSERT_TRUE(gpu_sees(DIRECT));
	ASSERT_EQ(GPUSVM_TEST_IN_SYSTEM, places(DIRECT, t.p));
	ASSERT_EQ(0, t.last.iova);
	ASSERT_EQ(1, t.last.entries);
	ASSERT_EQ(0, migrate(IOMMU, t.p, HUGE));
	ASSERT_TRUE(gpu_sees(IOMMU));
	ASSERT_EQ(IN_VRAM(IOMMU), places(IOMMU, t.p));
	ASSERT_EQ(0, t.last.iova);
	ASSERT_EQ(1, t.last.entries);
}

/* Every other page or group of pages is in VRAM, and the first is, or is not */
static bool mixed(int gpu, int vram, unsigned long offset, unsigned long step)
{
	unsigned long i;

	small_pages();
	cpu_write(0, SIZE, 3);
	for (i = offset; i < HUGE; i += 2 * step)
		if (migrate(vram, t.p + i, step))
			return false;
	/* In a range of 2 MiB, that is refused if not asked for */
	if (at(gpu, GPUSVM_TEST_FAULT, t.p, 0) != -EOPNOTSUPP ||
	    places(gpu, t.p) != GPUSVM_TEST_IN_NONE)
		return false;
	if (at(gpu, GPUSVM_TEST_FAULT, t.p, GPUSVM_TEST_MIXED) ||
	    places(gpu, t.p) != (GPUSVM_TEST_IN_SYSTEM | IN_VRAM(vram)))
		return false;
	return gpu_sees_part(gpu, 0, HUGE) &&
	       !gpu_write(gpu, PAGE, HUGE, 4, GPUSVM_TEST_MIXED) && gpu_sees(gpu) &&
	       cpu_sees();
}

TEST_F_TIMEOUT(gpu, mixed_pages_ram_first, 120)
{
	ASSERT_TRUE(mixed(IOMMU, IOMMU, PAGE, PAGE));
}

TEST_F_TIMEOUT(gpu, mixed_pages_vram_first, 120)
{
	ASSERT_TRUE(mixed(IOMMU, IOMMU, 0, PAGE));
}

TEST_F_TIMEOUT(gpu, mixed_groups_ram_first, 120)
{
	ASSERT_TRUE(mixed(IOMMU, PEER, K64, K64));
}

TEST_F_TIMEOUT(gpu, mixed_groups_vram_first, 120)
{
	ASSERT_TRUE(mixed(IOMMU, PEER, 0, K64));
}

TEST_F_TIMEOUT(gpu, mixed_pages_direct, 120)
{
	ASSERT_TRUE(mixed(DIRECT, DIRECT, PAGE, PAGE));
}

/* If it is refused, the driver has it evicted, and gets on */
TEST_F_TIMEOUT(gpu, mixed_is_evicted, 120)
{
	cpu_write(0, SIZE, 3);
	ASSERT_EQ(0, migrate(IOMMU, t.p + K64, K64));
	ASSERT_TRUE(gpu_sees(IOMMU));
	ASSERT_EQ(GPUSVM_TEST_IN_SYSTEM, places(IOMMU, t.p));
	ASSERT_EQ(0, stats(IOMMU).vram);
}

TEST_F(gpu, two_vrams_are_refused)
{
	small_pages();
	cpu_write(0, SIZE, 3);
	ASSERT_EQ(0, migrate(IOMMU, t.p + K64, K64));
	ASSERT_EQ(0, migrate(PEER, t.p + 5 * K64, K64));
	ASSERT_EQ(-EOPNOTSUPP, at(IOMMU, GPUSVM_TEST_FAULT, t.p, GPUSVM_TEST_MIXED));
	ASSERT_EQ(GPUSVM_TEST_IN_NONE, places(IOMMU, t.p));
	ASSERT_EQ(0, stats(IOMMU).mapped);
	ASSERT_EQ(0, stats(PEER).mapped);
	ASSERT_TRUE(gpu_sees(IOMMU));
	ASSERT_TRUE(cpu_sees());
}

TEST_F(gpu, only_vram)
{
	cpu_write(0, SIZE, 3);
	ASSERT_EQ(-EFAULT, at(IOMMU, GPUSVM_TEST_FAULT, t.p, GPUSVM_TEST_DEVMEM_ONLY));
	ASSERT_EQ(0, migrate(IOMMU, t.p, HUGE));
	ASSERT_EQ(0, at(IOMMU, GPUSVM_TEST_FAULT, t.p, GPUSVM_TEST_DEVMEM_ONLY));
	ASSERT_EQ(IN_VRAM(IOMMU), places(IOMMU, t.p));
}

TEST_F(gpu, sizes_of_ranges)
{
	cpu_write(0, SIZE, 3);
	ASSERT_EQ(0, at(IOMMU, GPUSVM_TEST_FAULT, t.p + HUGE - 1, 0));
	places(IOMMU, t.p);
	ASSERT_EQ((uintptr_t)t.p, t.last.start);
	ASSERT_EQ((uintptr_t)t.p + HUGE, t.last.end);
	ASSERT_EQ(0, at(IOMMU, GPUSVM_TEST_FAULT, t.p + HUGE + PAGE, 0));
	places(IOMMU, t.p + HUGE);
	ASSERT_EQ((uintptr_t)t.p + HUGE, t.last.start);
	ASSERT_EQ((uintptr_t)t.p + HUGE + K64, t.last.end);
	ASSERT_EQ(0, at(IOMMU, GPUSVM_TEST_FAULT, t.p + HUGE + K64 + PAGE, 0));
	places(IOMMU, t.p + HUGE + K64 + PAGE);
	ASSERT_EQ((uintptr_t)t.p + HUGE + K64 + PAGE, t.last.start);
	ASSERT_EQ((uintptr_t)t.p + HUGE + K64 + 2 * PAGE, t.last.end);
	ASSERT_EQ(3, stats(IOMMU).ranges);
}

/* A range that overlaps no other, though that one is smaller */
TEST_F(gpu, range_beside_a_smaller_one)
{
	unsigned char *page = t.p + 3 * PAGE;

	ASSERT_EQ(0, munmap(t.p, SIZE));
	ASSERT_EQ(page, mmap(page, PAGE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	ASSERT_EQ(0, at(IOMMU, GPUSVM_TEST_FAULT, page, 0));
	ASSERT_EQ(t.p, mmap(t.p, 3 * PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	ASSERT_EQ(page + PAGE, mmap(page + PAGE, SIZE - 4 * PAGE, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	ASSERT_EQ(0, at(IOMMU, GPUSVM_TEST_FAULT, t.p, 0));
	places(IOMMU, t.p);
	ASSERT_EQ((uintptr_t)t.p + PAGE, t.last.end);
	ASSERT_EQ(0, at(IOMMU, GPUSVM_TEST_FAULT, t.p + K64, 0));
	places(IOMMU, t.p + K64);
	ASSERT_EQ((uintptr_t)t.p + K64, t.last.start);
	ASSERT_EQ((uintptr_t)t.p + 2 * K64, t.last.end);
	cpu_write(0, SIZE, 9);
	ASSERT_TRUE(gpu_sees(IOMMU));
}

/* A range whose pages are not all there is made smaller, if asked for */
TEST_F(gpu, range_of_present_pages)
{
	const uint32_t flags = GPUSVM_TEST_PRESENT;

	ASSERT_EQ(0, munmap(t.p, HUGE));
	small_pages();
	madvise(t.p + HUGE, SIZE - HUGE, MADV_NOHUGEPAGE);
	cpu_write(HUGE + PAGE, PAGE, 3);
	ASSERT_EQ(0, at(IOMMU, GPUSVM_TEST_FAULT, t.p + HUGE + PAGE, flags));
	places(IOMMU, t.p + HUGE + PAGE);
	ASSERT_EQ((uintptr_t)t.p + HUGE + PAGE, t.last.start);
	ASSERT_EQ((uintptr_t)t.p + HUGE + 2 * PAGE, t.last.end);
	cpu_write(HUGE, K64, 4);
	ASSERT_EQ(0, at(PEER, GPUSVM_TEST_FAULT, t.p + HUGE + PAGE, flags));
	places(PEER, t.p + HUGE);
	ASSERT_EQ((uintptr_t)t.p + HUGE + K64, t.last.end);
}

/* Ranges do not cross notifiers */
TEST_F(gpu, small_notifiers)
{
	cpu_write(0, SIZE, 3);
	close(t.fd[IOMMU]);
	ASSERT_EQ(0, vm_new(IOMMU, t.p, WINDOW, CHUNKS, HUGE / 2));
	ASSERT_TRUE(gpu_sees(IOMMU));
	places(IOMMU, t.p);
	ASSERT_EQ((uintptr_t)t.p + K64, t.last.end);
	ASSERT_EQ(0, munmap(t.p + HUGE / 2 - PAGE, 2 * PAGE));
	ASSERT_TRUE(gpu_sees_part(IOMMU, 0, HUGE / 2 - PAGE));
	ASSERT_TRUE(gpu_sees_part(IOMMU, HUGE / 2 + PAGE, SIZE - HUGE / 2 - PAGE));
}

TEST_F(gpu, errors)
{
	ASSERT_EQ(-ENOENT, at(IOMMU, GPUSVM_TEST_FAULT, t.p + SIZE, 0));
	ASSERT_EQ(0, stats(IOMMU).ranges);
	ASSERT_EQ(0, mprotect(t.p, HUGE, PROT_READ));
	ASSERT_EQ(-EPERM, at(IOMMU, GPUSVM_TEST_FAULT, t.p, 0));
	ASSERT_EQ(0, at(IOMMU, GPUSVM_TEST_FAULT, t.p, GPUSVM_TEST_READ_ONLY));
}

/* A register of a device is no memory for another */
TEST_F(gpu, device_registers)
{
	unsigned char *p = MAP_FAILED;
	glob_t bars;
	size_t i;
	int fd;

	ASSERT_EQ(0, glob("/sys/bus/pci/devices/*/resource0", 0, NULL, &bars));
	for (i = 0; p == MAP_FAILED && i < bars.gl_pathc; i++) {
		fd = open(bars.gl_pathv[i], O_RDWR | O_CLOEXEC);
		p = mmap(t.p + HUGE, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			 fd, 0);
		close(fd);
	}
	globfree(&bars);
	if (p == MAP_FAILED)
		SKIP(return, "needs a PCI device with memory");
	ASSERT_EQ(-EIO, at(IOMMU, GPUSVM_TEST_FAULT, p, 0));
	ASSERT_EQ(-EIO, at(IOMMU, GPUSVM_TEST_FAULT, p, GPUSVM_TEST_READ_ONLY));
}

enum { UNPOPULATED, EQUAL, OTHER, SYSTEM, MIXED_DEVICE, MIXED };

TEST_F(gpu, scan)
{
	small_pages();
	cpu_write(0, HUGE / 2, 3);
	ASSERT_EQ(0, at(IOMMU, GPUSVM_TEST_FAULT, t.p, 0));
	ASSERT_EQ(SYSTEM, at(IOMMU, GPUSVM_TEST_SCAN, t.p, 0));
	ASSERT_EQ(0, migrate(IOMMU, t.p + HUGE / 2, K64));
	ASSERT_EQ(MIXED, at(IOMMU, GPUSVM_TEST_SCAN, t.p, 0));
	ASSERT_EQ(0, evict(IOMMU));
	ASSERT_EQ(0, migrate(PEER, t.p, HUGE));
	ASSERT_EQ(OTHER, at(IOMMU, GPUSVM_TEST_SCAN, t.p, 0));
	ASSERT_EQ(0, migrate(IOMMU, t.p, K64));
	ASSERT_EQ(MIXED_DEVICE, at(IOMMU, GPUSVM_TEST_SCAN, t.p, 0));
	ASSERT_EQ(0, evict(IOMMU));
	ASSERT_EQ(0, evict(PEER));
	ASSERT_EQ(0, migrate(IOMMU, t.p, HUGE));
	ASSERT_EQ(EQUAL, at(IOMMU, GPUSVM_TEST_SCAN, t.p, 0));
	ASSERT_EQ(0, madvise(t.p + K64, PAGE, MADV_DONTNEED));
	ASSERT_EQ(UNPOPULATED, at(IOMMU, GPUSVM_TEST_SCAN, t.p, 0));
	/* Memory that only another GPU can reach is not there for this one */
	ASSERT_EQ(0, evict(IOMMU));
	ASSERT_EQ(0, migrate(DIRECT, t.p, HUGE));
	ASSERT_EQ(UNPOPULATED, at(IOMMU, GPUSVM_TEST_SCAN, t.p, 0));
	ASSERT_EQ(HUGE / PAGE, stats(DIRECT).vram);
}

/* Memory that is no anonymous memory cannot be migrated, but used */
static bool file_is_used(int fd, int flags)
{
	unsigned char *p = mmap(t.p, HUGE, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0);

	if (p != t.p)
		return false;
	cpu_write(0, SIZE, 3);
	if (migrate(IOMMU, t.p, HUGE) != -EBUSY || stats(IOMMU).vram)
		return false;
	return gpu_sees(IOMMU) && !gpu_write(IOMMU, PAGE, HUGE, 4, GPUSVM_TEST_TO_VRAM) &&
	       gpu_sees(DIRECT) && cpu_sees();
}

static int memfd(unsigned int flags)
{
	int fd = memfd_create("gpusvm", flags | MFD_CLOEXEC);

	if (fd >= 0 && ftruncate(fd, HUGE))
		return -1;
	return fd;
}

TEST_F(gpu, shared_file)
{
	int fd = memfd(0);

	ASSERT_LE(0, fd);
	ASSERT_TRUE(file_is_used(fd, MAP_SHARED));
	ASSERT_EQ(HUGE, pread(fd, t.got, HUGE, 0));
	ASSERT_TRUE(same(t.got, 0, HUGE));
}

TEST_F(gpu, private_file)
{
	int fd = memfd(0);

	ASSERT_LE(0, fd);
	expect(0, HUGE, 9);
	ASSERT_EQ(HUGE, pwrite(fd, t.want, HUGE, 0));
	ASSERT_EQ(t.p, mmap(t.p, HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED,
			    fd, 0));
	ASSERT_TRUE(gpu_sees(IOMMU));
	ASSERT_EQ(0, gpu_write(IOMMU, PAGE, HUGE - PAGE, 4, 0));
	ASSERT_TRUE(cpu_sees());
	/* Which the file does not show */
	expect(0, HUGE, 9);
	ASSERT_EQ(HUGE, pread(fd, t.got, HUGE, 0));
	ASSERT_TRUE(same(t.got, 0, HUGE));
}

TEST_F(gpu, hugetlb)
{
	int fd = memfd(MFD_HUGETLB);

	if (fd < 0 || mmap(t.p, HUGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) != t.p)
		SKIP(return, "needs a free huge page in hugetlb");
	ASSERT_TRUE(file_is_used(fd, MAP_SHARED));
}

/* Zero pages may be read by all and written by nobody */
TEST_F(gpu, zero_page)
{
	small_pages();
	ASSERT_EQ(0, gpu_read(IOMMU, 0, HUGE, GPUSVM_TEST_READ_ONLY));
	ASSERT_TRUE(same(t.got, 0, HUGE));
	cpu_write(K64, K64, 3);
	ASSERT_EQ(0, gpu_read(IOMMU, 0, HUGE, GPUSVM_TEST_READ_ONLY));
	ASSERT_TRUE(same(t.got, 0, HUGE));
	ASSERT_EQ(0, gpu_write(PEER, 0, HUGE, 4, 0));
	ASSERT_EQ(0, gpu_read(IOMMU, 0, HUGE, GPUSVM_TEST_READ_ONLY));
	ASSERT_TRUE(same(t.got, 0, HUGE));
	ASSERT_TRUE(cpu_sees());
}

/* For that long, the CPU has to wait */
TEST_F(gpu, timeslice)
{
	struct timespec before, after;
	long ms;

	cpu_write(0, SIZE, 3);
	clock_gettime(CLOCK_MONOTONIC, &before);
	ASSERT_EQ(0, migrate_for(IOMMU, t.p, HUGE, 0, 300));
	ASSERT_TRUE(cpu_sees());
	clock_gettime(CLOCK_MONOTONIC, &after);
	ms = (after.tv_sec - before.tv_sec) * 1000 +
	     (after.tv_nsec - before.tv_nsec) / 1000000;
	/* Less some jiffies */
	ASSERT_LE(280, ms);
	ASSERT_EQ(0, stats(IOMMU).vram);
	ASSERT_TRUE(gpu_sees(IOMMU));
}

/* The range is gone, and what is left of it is in system memory */
static bool left_is_evicted(unsigned long from, unsigned long to)
{
	cpu_write(0, SIZE, 3);
	if (migrate(IOMMU, t.p, HUGE) || gpu_write(IOMMU, 0, HUGE, 4, 0) ||
	    munmap(t.p + from, to - from))
		return false;
	if (stats(IOMMU).ranges || t.last.vram) {
		printf("# %llu ranges, %llu pages in VRAM\n", t.last.ranges, t.last.vram);
		return false;
	}
	return (!from || same(t.p, 0, from)) && same(t.p, to, SIZE - to);
}

TEST_F(gpu, left_is_evicted_tail_unmapped)
{
	ASSERT_TRUE(left_is_evicted(HUGE - K64, HUGE));
}

TEST_F(gpu, left_is_evicted_head_unmapped)
{
	ASSERT_TRUE(left_is_evicted(0, K64));
}

TEST_F(gpu, left_is_evicted_middle_unmapped)
{
	ASSERT_TRUE(left_is_evicted(HUGE / 2, HUGE / 2 + K64));
}

/* Memory is the library's from the call on, even if it fails at once */
TEST_F(gpu, no_copy_is_no_leak)
{
	cpu_write(0, SIZE, 3);
	ASSERT_EQ(-EOPNOTSUPP, migrate_for(IOMMU, t.p, HUGE, GPUSVM_TEST_NO_COPY, 0));
	ASSERT_EQ(0, stats(IOMMU).vram);
	ASSERT_TRUE(cpu_sees());
}

/* A callback that the documentation calls optional */
TEST_F(gpu, no_release)
{
	cpu_write(0, SIZE, 3);
	ASSERT_EQ(-ENOENT, migrate_for(IOMMU, t.p + SIZE, PAGE, GPUSVM_TEST_NO_RELEASE, 0));
	ASSERT_EQ(0, stats(IOMMU).vram);
}

TEST_F(gpu, migrate_errors)
{
	cpu_write(0, SIZE, 3);
	ASSERT_EQ(-ENOENT, migrate(IOMMU, t.p + SIZE, PAGE));
	ASSERT_EQ(-EINVAL, migrate(IOMMU, t.p + SIZE - PAGE, 2 * PAGE));
	ASSERT_EQ(0, stats(IOMMU).vram);
	/* All of the VRAM, and a page */
	ASSERT_EQ(-ENOMEM, migrate(IOMMU, t.p, GPUSVM_TEST_VRAM + PAGE));
	ASSERT_EQ(0, stats(IOMMU).vram);
	ASSERT_TRUE(cpu_sees());
}

/* A callback that fails: nothing is lost, and the next attempt succeeds */

FIXTURE(failed)
{
};

FIXTURE_VARIANT(failed)
{
	enum kind kind;
	unsigned int what;
	unsigned int nth;
};

FIXTURE_VARIANT_ADD(failed, alloc) { LARGE, GPUSVM_TEST_FAIL_ALLOC, 1 };
FIXTURE_VARIANT_ADD(failed, populate_small) { SMALL, GPUSVM_TEST_FAIL_POPULATE, 1 };
FIXTURE_VARIANT_ADD(failed, populate_large) { LARGE, GPUSVM_TEST_FAIL_POPULATE, 1 };
FIXTURE_VARIANT_ADD(failed, to_vram_small_first) { SMALL, GPUSVM_TEST_FAIL_TO_VRAM, 1 };
FIXTURE_VARIANT_ADD(failed, to_vram_small_later) { SMALL, GPUSVM_TEST_FAIL_TO_VRAM, 300 };
FIXTURE_VARIANT_ADD(failed, to_vram_large) { LARGE, GPUSVM_TEST_FAIL_TO_VRAM, 1 };

FIXTURE_SETUP(failed)
{
	const char *why = set_up(variant->kind, true);

	if (why)
		SKIP(return, "%s", why);
}

FIXTURE_TEARDOWN(failed)
{
	EXPECT_EQ(0, left());
}

TEST_F(failed, to_vram)
{
	fail(IOMMU, variant->what, variant->nth);
	ASSERT_NE(0, migrate(IOMMU, t.p, HUGE));
	ASSERT_EQ(0, stats(IOMMU).vram);
	ASSERT_TRUE(gpu_sees(IOMMU));
	ASSERT_EQ(0, migrate(IOMMU, t.p, HUGE));
	ASSERT_TRUE(gpu_sees(IOMMU));
	ASSERT_TRUE(cpu_sees());
}

/* From one GPU to another: the copy is the first one's */
TEST_F(failed, to_peer)
{
	unsigned int what = variant->what == GPUSVM_TEST_FAIL_TO_VRAM ?
			GPUSVM_TEST_FAIL_TO_RAM : variant->what;

	ASSERT_EQ(0, migrate(IOMMU, t.p, HUGE));
	fail(what == GPUSVM_TEST_FAIL_TO_RAM ? IOMMU : PEER, what, variant->nth);
	ASSERT_NE(0, migrate(PEER, t.p, HUGE));
	ASSERT_EQ(0, stats(PEER).vram);
	ASSERT_TRUE(gpu_sees(IOMMU));
	ASSERT_EQ(0, migrate(PEER, t.p, HUGE));
	ASSERT_TRUE(gpu_sees(PEER));
	ASSERT_TRUE(cpu_sees());
}

TEST_F(failed, absent_to_vram)
{
	ASSERT_EQ(0, madvise(t.p, HUGE, MADV_DONTNEED));
	memset(t.want, 0, HUGE);
	fail(IOMMU, variant->what, 1);
	ASSERT_NE(0, migrate(IOMMU, t.p, HUGE));
	ASSERT_EQ(0, stats(IOMMU).vram);
	ASSERT_TRUE(gpu_sees(IOMMU));
	ASSERT_TRUE(cpu_sees());
}

/* The mapping of VRAM fails, amid that of pages in system memory */
TEST_F(gpu, map_failed)
{
	unsigned int nth, vram;

	small_pages();
	cpu_write(0, SIZE, 3);
	for (vram = 0; vram < 2; vram++) {
		for (nth = 1; nth < K64 / PAGE; nth += 7) {
			ASSERT_EQ(0, evict(IOMMU));
			ASSERT_EQ(0, migrate(IOMMU, t.p + (1 - vram) * K64, K64));
			fail(IOMMU, GPUSVM_TEST_FAIL_MAP, nth);
			ASSERT_EQ(-EFAULT, at(IOMMU, GPUSVM_TEST_FAULT, t.p,
					      GPUSVM_TEST_MIXED));
			ASSERT_EQ(0, stats(IOMMU).mapped);
			ASSERT_EQ(0, at(IOMMU, GPUSVM_TEST_FAULT, t.p,
					GPUSVM_TEST_MIXED));
			ASSERT_TRUE(gpu_sees_part(IOMMU, 0, HUGE));
		}
	}
	ASSERT_TRUE(cpu_sees());
}

/* The same when one GPU's memory is copied to another's */
TEST_F(gpu, map_failed_to_peer)
{
	small_pages();
	cpu_write(0, SIZE, 3);
	ASSERT_EQ(0, migrate(IOMMU, t.p, HUGE));
	fail(PEER, GPUSVM_TEST_FAIL_MAP, 100);
	ASSERT_EQ(-EFAULT, migrate(PEER, t.p, HUGE));
	ASSERT_EQ(0, stats(PEER).mapped);
	ASSERT_EQ(0, t.last.vram);
	ASSERT_EQ(0, migrate(PEER, t.p, HUGE));
	ASSERT_EQ(0, stats(PEER).mapped);
	ASSERT_TRUE(gpu_sees(PEER));
	ASSERT_TRUE(cpu_sees());
}

static sigjmp_buf bus;

static void on_bus(int sig)
{
	siglongjmp(bus, 1);
}

/* A CPU fault for which nothing can be copied back is SIGBUS, and the data stays */
static bool home_failed(unsigned int nth)
{
	volatile bool seen = false;

	cpu_write(0, SIZE, 3);
	if (migrate(IOMMU, t.p, HUGE) || gpu_write(IOMMU, 0, HUGE, 4, 0))
		return false;
	fail(IOMMU, GPUSVM_TEST_FAIL_TO_RAM, nth);
	signal(SIGBUS, on_bus);
	if (sigsetjmp(bus, 1))
		seen = true;
	else
		*(volatile unsigned char *)t.p;
	signal(SIGBUS, SIG_DFL);
	return seen && gpu_sees(IOMMU) && cpu_sees();
}

TEST_F(gpu, home_failed_large)
{
	ASSERT_TRUE(home_failed(1));
}

TEST_F(gpu, home_failed_small)
{
	small_pages();
	ASSERT_TRUE(home_failed(1));
}

TEST_F(gpu, home_failed_small_later)
{
	small_pages();
	ASSERT_TRUE(home_failed(300));
}

TEST_F(gpu, evict_failed)
{
	unsigned int i;

	for (i = 0; i < 2; i++) {
		cpu_write(0, SIZE, 3);
		ASSERT_EQ(0, migrate(IOMMU, t.p, HUGE));
		ASSERT_EQ(0, gpu_write(IOMMU, 0, HUGE, 4, 0));
		fail(IOMMU, GPUSVM_TEST_FAIL_TO_RAM, 1);
		ASSERT_EQ(0, evict(IOMMU));
		ASSERT_EQ(0, stats(IOMMU).vram);
		ASSERT_TRUE(gpu_sees(IOMMU));
		ASSERT_TRUE(cpu_sees());
		small_pages();
		ASSERT_EQ(0, madvise(t.p, SIZE, MADV_DONTNEED));
	}
}

/* No huge page can be allocated for what comes home */
static bool no_huge_pages(bool none)
{
	static const char dir[] = "/sys/kernel/debug/fail_page_alloc/";
	static const char * const set[][2] = {
		{ "min-order", "9" }, { "ignore-gfp-wait", "N" }, { "verbose", "0" },
		{ "ignore-gfp-highmem", "N" }, { "task-filter", "N" }, { "times", "-1" },
		{ "interval", "1" },
	};
	char path[128];
	unsigned int i;

	for (i = 0; none && i < ARRAY_SIZE(set); i++) {
		snprintf(path, sizeof(path), "%s%s", dir, set[i][0]);
		if (!write_file(path, set[i][1]))
			return false;
	}
	snprintf(path, sizeof(path), "%sprobability", dir);
	return write_file(path, none ? "100" : "0");
}

TEST_F(gpu, home_without_huge_pages)
{
	bool done;

	/* Pages that were just freed may still contain what the CPU wrote */
	cpu_write(0, SIZE, 3);
	ASSERT_EQ(0, migrate(IOMMU, t.p, HUGE));
	ASSERT_EQ(0, gpu_write(IOMMU, 0, HUGE, 4, 0));
	if (!no_huge_pages(true))
		SKIP(return, "needs CONFIG_FAIL_PAGE_ALLOC");
	done = cpu_sees();
	no_huge_pages(false);
	ASSERT_TRUE(done);
	ASSERT_EQ(0, stats(IOMMU).vram);
	ASSERT_TRUE(gpu_sees(IOMMU));
	ASSERT_LT(1, (places(IOMMU, t.p), t.last.entries));
}

/* What is asked of the DMA layer and the IOMMU */

/* Pieces of physical memory that a range of 2 MiB consists of; 0 if that is not told */
static unsigned long pieces(void)
{
	static uint64_t entries[HUGE / PAGE];
	unsigned long i, nr = 1;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	bool done = pread(fd, entries, sizeof(entries), (uintptr_t)t.p / PAGE * 8) ==
		    sizeof(entries);

	close(fd);
	for (i = 1; i < ARRAY_SIZE(entries); i++)
		nr += entries[i] != entries[i - 1] + 1;
	/* Without the pfn, there are flags only */
	return done && entries[0] << 9 ? nr : 0;
}

static const char *cannot_count(void)
{
	if (!stats(IOMMU).probed)
		return "needs CONFIG_KPROBES";
	return pieces() ? NULL : "needs CAP_SYS_ADMIN";
}

/* Skips the test; call it after the memory was written to */
#define NEED_COUNTS()						\
	do {							\
		const char *__why = cannot_count();		\
								\
		if (__why)					\
			SKIP(return, "%s", __why);		\
	} while (0)

/* Each piece is linked by one call, all are made visible by one, and unlinked by one */
static bool links_pieces(uint32_t flags)
{
	unsigned long nr = pieces();
	struct gpusvm_test before = stats(IOMMU), mapped, after;

	if (at(IOMMU, GPUSVM_TEST_FAULT, t.p, flags))
		return false;
	mapped = stats(IOMMU);
	if (mprotect(t.p, HUGE, PROT_READ) || mprotect(t.p, HUGE, PROT_READ | PROT_WRITE))
		return false;
	after = stats(IOMMU);
	printf("# %lu pieces, %llu links, %llu syncs, %llu unlinks\n", nr,
	       mapped.links - before.links, mapped.syncs - before.syncs,
	       after.unlinks - before.unlinks);
	return mapped.linked - before.linked == HUGE / PAGE &&
	       mapped.links - before.links == nr && mapped.syncs - before.syncs == 1 &&
	       after.linked == before.linked && after.unlinks - before.unlinks == 1;
}

TEST_F(gpu, links_huge_page)
{
	cpu_write(0, SIZE, 3);
	NEED_COUNTS();
	ASSERT_EQ(1, pieces());
	ASSERT_TRUE(links_pieces(0));
	ASSERT_TRUE(gpu_sees(IOMMU));
}

TEST_F(gpu, links_folios)
{
	huge_pages(MTHP);
	cpu_write(0, SIZE, 3);
	NEED_COUNTS();
	ASSERT_GE(HUGE / K64, pieces());
	ASSERT_TRUE(links_pieces(0));
	ASSERT_TRUE(gpu_sees(IOMMU));
}

TEST_F(gpu, links_pages)
{
	small_pages();
	cpu_write(0, SIZE, 3);
	NEED_COUNTS();
	ASSERT_TRUE(links_pieces(0));
	ASSERT_TRUE(gpu_sees(IOMMU));
}

/* What a GPU is to read, it cannot write, even if the process can */
TEST_F(gpu, links_read_only)
{
	struct gpusvm_test before, after;

	cpu_write(0, SIZE, 3);
	NEED_COUNTS();
	before = stats(IOMMU);
	ASSERT_TRUE(links_pieces(GPUSVM_TEST_READ_ONLY));
	after = stats(IOMMU);
	ASSERT_EQ(after.links - before.links, after.read_only - before.read_only);
	ASSERT_TRUE(gpu_sees(IOMMU));
	ASSERT_EQ(after.read_only, stats(IOMMU).read_only);
}

/* With VRAM in between, what is not VRAM is still linked, and to one IOVA space */
TEST_F(gpu, links_beside_vram)
{
	struct gpusvm_test before, after;
	unsigned long i;

	small_pages();
	cpu_write(0, SIZE, 3);
	NEED_COUNTS();
	for (i = 0; i < HUGE; i += 2 * K64)
		ASSERT_EQ(0, migrate(IOMMU, t.p + i, K64));
	before = stats(IOMMU);
	ASSERT_EQ(0, at(IOMMU, GPUSVM_TEST_FAULT, t.p, GPUSVM_TEST_MIXED));
	after = stats(IOMMU);
	ASSERT_EQ(HUGE / PAGE / 2, after.linked - before.linked);
	ASSERT_EQ(1, after.syncs - before.syncs);
	ASSERT_TRUE(gpu_sees_part(IOMMU, 0, HUGE));
	ASSERT_EQ(0, mprotect(t.p + HUGE / 2, PAGE, PROT_READ));
	ASSERT_EQ(before.linked, stats(IOMMU).linked);
	ASSERT_TRUE(cpu_sees());
}

/* A part that is unmapped takes the range with it, and the rest is linked again */
TEST_F(gpu, links_what_is_left)
{
	struct gpusvm_test before;

	cpu_write(0, SIZE, 3);
	NEED_COUNTS();
	before = stats(IOMMU);
	ASSERT_EQ(0, at(IOMMU, GPUSVM_TEST_FAULT, t.p, 0));
	ASSERT_EQ(before.linked + HUGE / PAGE, stats(IOMMU).linked);
	ASSERT_EQ(0, munmap(t.p + K64, PAGE));
	ASSERT_EQ(before.linked, stats(IOMMU).linked);
	ASSERT_TRUE(gpu_sees_part(IOMMU, 0, K64));
	ASSERT_EQ(before.linked + K64 / PAGE, stats(IOMMU).linked);
}

/* Call @nth of the DMA layer fails: nothing is linked, and the next fault is served */
static bool fault_fails(unsigned int what, unsigned int nth)
{
	long long linked = stats(IOMMU).linked;
	bool failed;

	fail(IOMMU, what, nth);
	failed = at(IOMMU, GPUSVM_TEST_FAULT, t.p, 0);
	fail(IOMMU, what, 0);
	return failed && places(IOMMU, t.p) == GPUSVM_TEST_IN_NONE &&
	       stats(IOMMU).linked == linked &&
	       !at(IOMMU, GPUSVM_TEST_FAULT, t.p, 0) && gpu_sees_part(IOMMU, 0, HUGE) &&
	       !mprotect(t.p, PAGE, PROT_READ) &&
	       !mprotect(t.p, PAGE, PROT_READ | PROT_WRITE) &&
	       stats(IOMMU).linked == linked;
}

TEST_F(gpu, link_failed)
{
	cpu_write(0, SIZE, 3);
	NEED_COUNTS();
	ASSERT_TRUE(fault_fails(GPUSVM_TEST_FAIL_LINK, 1));
	ASSERT_TRUE(fault_fails(GPUSVM_TEST_FAIL_SYNC, 1));
	small_pages();
	ASSERT_EQ(0, madvise(t.p, HUGE, MADV_DONTNEED));
	/* Backwards, so that there is more than one piece */
	for (unsigned long i = HUGE; i; i -= PAGE)
		cpu_write(i - PAGE, PAGE, 4);
	ASSERT_LT(2, pieces());
	ASSERT_TRUE(fault_fails(GPUSVM_TEST_FAIL_LINK, 1));
	ASSERT_TRUE(fault_fails(GPUSVM_TEST_FAIL_LINK, 2));
	ASSERT_TRUE(fault_fails(GPUSVM_TEST_FAIL_LINK, pieces()));
	ASSERT_TRUE(fault_fails(GPUSVM_TEST_FAIL_SYNC, 1));
	ASSERT_TRUE(cpu_sees());
}

/* The same while memory is copied: it stays where it is, and the next copy succeeds */
TEST_F(gpu, link_failed_in_copy)
{
	static const unsigned int kinds[] = { GPUSVM_TEST_FAIL_LINK, GPUSVM_TEST_FAIL_SYNC };
	unsigned int i;

	cpu_write(0, SIZE, 3);
	if (!stats(IOMMU).probed)
		SKIP(return, "needs CONFIG_KPROBES");
	for (i = 0; i < 2 * ARRAY_SIZE(kinds); i++) {
		fail(IOMMU, kinds[i / 2], i % 2 && i < 2 ? 100 : 1);
		ASSERT_NE(0, migrate(IOMMU, t.p, HUGE));
		ASSERT_EQ(0, stats(IOMMU).vram);
		ASSERT_EQ(0, t.last.linked);
		ASSERT_EQ(0, t.last.spaces);
		ASSERT_TRUE(cpu_sees());
		ASSERT_EQ(0, migrate(IOMMU, t.p, HUGE));
		fail(IOMMU, kinds[i / 2], 1);
		ASSERT_EQ(0, evict(IOMMU));
		ASSERT_EQ(0, stats(IOMMU).linked);
		ASSERT_EQ(0, t.last.spaces);
		ASSERT_TRUE(cpu_sees());
		small_pages();
		ASSERT_EQ(0, madvise(t.p, HUGE, MADV_DONTNEED));
		cpu_write(0, HUGE, 5 + i);
	}
}

/* Leaves of 2 MiB in tables of the IOMMU; -1 if they are not shown */
static long large_leaves(void)
{
	unsigned long long iova, entry[5];
	char line[256];
	long nr = 0;
	size_t i;
	glob_t g;
	FILE *f;

	if (glob("/sys/kernel/debug/iommu/intel/*/domain_translation_struct", 0, NULL, &g))
		return -1;
	for (i = 0; i < g.gl_pathc; i++) {
		f = fopen(g.gl_pathv[i], "re");
		/* A leaf's line ends with the level of the leaf */
		while (f && fgets(line, sizeof(line), f))
			nr += sscanf(line, "0x%llx | 0x%llx 0x%llx 0x%llx 0x%llx 0x%llx", &iova,
				     &entry[0], &entry[1], &entry[2], &entry[3], &entry[4]) == 5;
		if (f)
			fclose(f);
	}
	globfree(&g);
	return nr;
}

TEST_F(gpu, large_leaf)
{
	long before = large_leaves();

	if (before < 0)
		SKIP(return, "needs CONFIG_INTEL_IOMMU_DEBUGFS");
	cpu_write(0, SIZE, 3);
	ASSERT_TRUE(gpu_sees(IOMMU));
	ASSERT_EQ(before + 1, large_leaves());
	ASSERT_EQ(0, munmap(t.p + K64, PAGE));
	ASSERT_EQ(before, large_leaves());
	/* The rest is mapped by small ones */
	ASSERT_TRUE(gpu_sees_part(IOMMU, 0, K64));
	ASSERT_EQ(before, large_leaves());
}

/* Processes end */

/* Runs @work in a process with GPUs of its own, which then ends; @work gets its argument */
static pid_t process(void (*work)(int), int arg)
{
	pid_t pid = fork();
	int gpu;

	if (pid)
		return pid;
	for (gpu = 0; gpu < GPUS; gpu++)
		close(t.fd[gpu]);
	for (gpu = 0; gpu < GPUS; gpu++)
		if (vm_new(gpu, t.p, WINDOW, CHUNKS, NOTIFIER))
			_exit(3);
	work(arg);
	_exit(0);
}

static void fill_vram(int unused)
{
	if (migrate(IOMMU, t.p, HUGE) || migrate(PEER, t.p + HUGE, K64) ||
	    !gpu_sees(IOMMU))
		_exit(4);
}

TEST_F(gpu, process_ends)
{
	int status;

	cpu_write(0, SIZE, 3);
	ASSERT_LT(0, waitpid(process(fill_vram, 0), &status, 0));
	ASSERT_EQ(0, status);
	/* Memory shared with the parent cannot be freed, but is not in VRAM */
	ASSERT_EQ(0, evict(IOMMU));
	ASSERT_EQ(0, evict(PEER));
	ASSERT_EQ(0, stats(IOMMU).vram);
	ASSERT_EQ(0, stats(PEER).vram);
	ASSERT_TRUE(cpu_sees());
}

static void work_for_ever(int unused)
{
	for (;;) {
		migrate(IOMMU, t.p, HUGE);
		gpu_read(IOMMU, 0, SIZE, GPUSVM_TEST_TO_VRAM);
		migrate(PEER, t.p, HUGE);
	}
}

TEST_F(gpu, process_is_killed)
{
	int status, i;
	pid_t pid;

	for (i = 0; i < 5; i++) {
		pid = process(work_for_ever, 0);
		ASSERT_LT(0, pid);
		usleep(30000 + 17000 * i);
		kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_TRUE(WIFSIGNALED(status));
		ASSERT_EQ(SIGKILL, WTERMSIG(status));
	}
	for (i = 0; i < 100 && stats(IOMMU).vram + stats(PEER).vram; i++)
		usleep(100000);
	ASSERT_EQ(0, stats(IOMMU).vram);
	ASSERT_EQ(0, stats(PEER).vram);
}

static int talk[2];

/* Ends, and leaves a child that alone has what is in VRAM; @fd is to talk with it */
static void leave_to_child(int fd)
{
	int gpu, alive[2];
	char c = 0;

	cpu_write(0, SIZE, 5);
	if (migrate(IOMMU, t.p, HUGE) || pipe(alive))
		_exit(4);
	if (fork())
		return;
	for (gpu = 0; gpu < GPUS; gpu++)
		close(t.fd[gpu]);
	/* If the test fails, the other end is closed, and we end, too */
	close(talk[0]);
	/* Until the parent is gone */
	close(alive[1]);
	if (read(alive[0], &c, 1) || write(fd, "r", 1) != 1 || read(fd, &c, 1) != 1)
		_exit(5);
	c = cpu_sees() ? 'y' : 'n';
	_exit(write(fd, &c, 1) != 1);
}

TEST_F(gpu, child_outlives_process)
{
	int status, evicted;
	pid_t pid;
	char c;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, talk));
	pid = process(leave_to_child, talk[1]);
	close(talk[1]);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	ASSERT_EQ(1, read(talk[0], &c, 1));
	ASSERT_EQ(HUGE / PAGE, stats(IOMMU).vram);
	/* Its address space is gone, and so may be its struct mm_struct */
	evicted = evict(IOMMU);
	ASSERT_EQ(1, write(talk[0], "g", 1));
	ASSERT_EQ(1, read(talk[0], &c, 1));
	ASSERT_EQ('y', c);
	ASSERT_EQ(0, evicted);
	ASSERT_EQ(0, stats(IOMMU).vram);
}

/* All at once: engines and the CPU each count in a word of its own in each page */

#define ROUNDS	40
#define SECONDS	60

static volatile bool stop;

struct counter {
	pthread_t thread;
	int gpu;
	unsigned int done;
	int ret;
};

static void *count_by_gpu(void *arg)
{
	struct counter *me = arg;
	struct gpusvm_test cmd = {
		.op = GPUSVM_TEST_ADD,
		.gpu = me->gpu,
		.addr = (uintptr_t)t.p + 8 * me->gpu,
		.len = SIZE - 8 * me->gpu,
		.arg = 1,
	};

	for (; me->done < ROUNDS && !stop && !me->ret; me->done++) {
		struct gpusvm_test this = cmd;

		if (me->done % 4 == 1)
			this.flags = GPUSVM_TEST_TO_VRAM;
		if (me->done % 4 == 2)
			this.flags = GPUSVM_TEST_MIXED;
		if (ioctl(t.fd[me->gpu], GPUSVM_TEST_IOCTL, &this))
			me->ret = -errno;
		else
			me->ret = this.ret;
	}
	return NULL;
}

static void *count_by_cpu(void *arg)
{
	struct counter *me = arg;
	unsigned long i;

	for (; me->done < ROUNDS && !stop; me->done++)
		for (i = 8 * GPUS; i < SIZE; i += PAGE)
			++*(volatile uint64_t *)(t.p + i);
	return NULL;
}

/* What does not change contents */
static void disturb(unsigned int i)
{
	unsigned long offset = i * 13 * PAGE % HUGE;

	switch (i % 7) {
	case 0:
		migrate(i % GPUS, t.p, HUGE);
		break;
	case 1:
		evict(i / 7 % GPUS);
		break;
	case 2:
		madvise(t.p, HUGE, MADV_COLLAPSE);
		break;
	case 3:
		migrate(i % GPUS, t.p + (offset & -K64), K64);
		break;
	case 4:
		/* Splits a huge page and has it invalidated */
		madvise(t.p + offset, PAGE, MADV_PAGEOUT);
		break;
	case 5:
		madvise(t.p + offset, PAGE, MADV_COLD);
		break;
	case 6:
		at(i % GPUS, GPUSVM_TEST_EVICT_RANGE, t.p + offset, 0);
		break;
	}
}

TEST_F_TIMEOUT(gpu, everybody_counts, 120)
{
	struct counter counters[GPUS + 1] = { };
	unsigned int i, n, gone;
	time_t end = time(NULL) + SECONDS;
	unsigned long page;

	swap_on();
	t.racy = true;
	for (i = 0; i <= GPUS; i++) {
		counters[i].gpu = i;
		ASSERT_EQ(0, pthread_create(&counters[i].thread, NULL,
					    i < GPUS ? count_by_gpu : count_by_cpu,
					    &counters[i]));
	}
	for (n = 0, gone = 0; gone <= GPUS; n++) {
		disturb(n);
		stop = time(NULL) > end;
		while (gone <= GPUS && !pthread_tryjoin_np(counters[gone].thread, NULL))
			gone++;
	}
	for (i = 0; i < GPUS; i++)
		ASSERT_EQ(0, counters[i].ret);
	for (page = 0; page < SIZE; page += PAGE)
		for (i = 0; i <= GPUS; i++)
			ASSERT_EQ(counters[i].done, *(uint64_t *)(t.p + page + 8 * i));
	TH_LOG("%u disturbances", n);
}

TEST_HARNESS_MAIN
