// SPDX-License-Identifier: GPL-2.0
/*
 * What a device writes through a writable answer is not lost, although the device does
 * not mark pages dirty: for memory that has been read in, freed lazily, migrated or
 * written back, and not been written to by the CPU since.
 */
#define _GNU_SOURCE
#include <sys/mount.h>
#include <sys/stat.h>

#include "test.h"

/* Number of pages, unless huge */
#define NR	16

/* What the device writes to each page, unlike fill() */
#define WRITTEN(i)	(0xd1f7000000000000ULL + (i))

/* Memory of a test: its address and size, or why there is none */
struct memory {
	char *p;
	unsigned long nr;
	const char *skip;
};

static struct memory none(const char *why)
{
	return (struct memory) { .skip = why };
}

/* Reclaims as much as possible; retries, as pages may be in use at the moment */
static void page_out(struct memory m)
{
	int tries;

	for (tries = 0; tries < 50; tries++) {
		madvise(m.p, m.nr * PAGE, MADV_PAGEOUT);
		if (!pages_with(m.p, m.nr, PM_PRESENT))
			break;
		usleep(10000);
	}
}

static struct memory made_anon(void)
{
	struct memory m = { map_anon(HUGE, false), NR };

	fill(m.p, NR * PAGE);
	return m;
}

static struct memory made_swapped_in(void)
{
	struct memory m = made_anon();

	if (!swap_on())
		return none("needs CONFIG_SWAP and a RAM disk");
	page_out(m);
	if (pages_with(m.p, NR, PM_SWAPPED) != NR)
		return none("pages do not go to swap");
	read_pages(m.p, m.nr * PAGE);
	return m;
}

static struct memory made_lazily_freed(void)
{
	struct memory m = made_anon();

	if (!swap_on())
		return none("needs CONFIG_SWAP and a RAM disk");
	madvise(m.p, NR * PAGE, MADV_FREE);
	return m;
}

/* The page cache, clean: filled by write(), or read back from swap */
static struct memory made_shmem(void)
{
	int fd = memfd_new(NR * PAGE, 0);
	struct memory m = { .nr = NR };

	if (fd < 0 || !swap_on())
		return none("needs memfd_create(), CONFIG_SWAP and a RAM disk");
	m.p = mmap(NULL, NR * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	fill(m.p, NR * PAGE);
	page_out(m);
	read_pages(m.p, m.nr * PAGE);
	return m;
}

static struct memory made_thp(void)
{
	struct memory m = { map_anon(HUGE, true), HUGE_NR };

	if (!thp_here() || !swap_on())
		return none("needs huge pages, CONFIG_SWAP and a RAM disk");
	fill(m.p, HUGE);
	madvise(m.p, HUGE, MADV_COLLAPSE);
	madvise(m.p, HUGE, MADV_FREE);
	return m;
}

static struct memory made_shmem_huge(void)
{
	int fd = memfd_new(HUGE, 0);
	struct memory m = { map_anon(HUGE, true), HUGE_NR };
	char *p;

	if (fd < 0 || !swap_on() ||
	    !write_file("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "advise"))
		return none("needs huge pages of tmpfs, CONFIG_SWAP and a RAM disk");
	p = mmap(m.p, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	close(fd);
	madvise(p, HUGE, MADV_HUGEPAGE);
	fill(p, HUGE);
	/* Map it again, by a read fault */
	madvise(p, HUGE, MADV_DONTNEED);
	read_pages(m.p, m.nr * PAGE);
	return m;
}

static struct memory made_hugetlb(void)
{
	struct memory m = { .nr = HUGE_NR };
	int fd = memfd_create("hmm", 4 /* MFD_HUGETLB */);

	write_file("/proc/sys/vm/nr_hugepages", "16");
	if (fd < 0 || ftruncate(fd, HUGE))
		return none("needs huge pages of hugetlb");
	m.p = mmap(NULL, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (m.p == MAP_FAILED)
		return none("needs huge pages of hugetlb");
	read_pages(m.p, m.nr * PAGE);
	return m;
}

/* Clean, then migrated to the device and back */
static struct memory migrated(struct memory m)
{
	if (m.skip)
		return m;
	if (!hmm.dev[PRIVATE_B].nr)
		return none("needs CONFIG_DEVICE_PRIVATE");
	if (to_device(PRIVATE_B, m.p, m.nr, false) != (long)m.nr)
		return none("pages do not migrate");
	read_pages(m.p, m.nr * PAGE);
	return m;
}

static struct memory made_migrated(void)
{
	return migrated(made_anon());
}

static struct memory made_freed_migrated(void)
{
	return migrated(made_lazily_freed());
}

FIXTURE(dirty)
{
	struct memory m;
	struct call *c;
};

FIXTURE_VARIANT(dirty)
{
	struct memory (*made)(void);
};

#define MEMORY(_name)							\
	FIXTURE_VARIANT_ADD(dirty, _name) { .made = made_##_name }

MEMORY(anon);
MEMORY(swapped_in);
MEMORY(lazily_freed);
MEMORY(shmem);
MEMORY(thp);
MEMORY(shmem_huge);
MEMORY(hugetlb);
MEMORY(migrated);
MEMORY(freed_migrated);

FIXTURE_SETUP(dirty)
{
	const char *why = hmm_open();

	if (why)
		SKIP(return, "%s", why);
	thp_on_request();
	self->m = variant->made();
	if (self->m.skip)
		SKIP(return, "%s", self->m.skip);
	self->c = call_new(self->m.p, self->m.nr);
	self->c->raw.owner = PRIVATE_A;
}

FIXTURE_TEARDOWN(dirty)
{
	if (self->c)
		call_free(self->c);
	hmm_close();
}

/* The device writes wherever it may; returns the number of pages that lose the data */
static unsigned long lost(struct call *c, struct memory m, uint64_t ask,
			  unsigned long *writable)
{
	unsigned long i, wrong = 0;

	for (i = 0; i < m.nr; i++)
		c->data[i] = WRITTEN(i);
	c->raw.flags = HMM_RANGE_WRITE | HMM_RANGE_UNLOCKED;
	if (call_ask(c, ask) || c->raw.stale)
		return -1;
	*writable = call_count(c, 0, m.nr, WRITABLE);
	page_out(m);
	for (i = 0; i < m.nr; i++)
		if (answer_kind(c->e[i]) == WRITABLE)
			wrong += *(volatile uint64_t *)(m.p + i * PAGE) != WRITTEN(i);
	return wrong;
}

TEST_F(dirty, written_when_asked_for)
{
	unsigned long writable;

	EXPECT_EQ(0, lost(self->c, self->m, ASK_WRITE, &writable));
	EXPECT_EQ(self->m.nr, writable);
}

/* The same if the request was to read, and the answer is writable */
TEST_F(dirty, written_when_found_writable)
{
	unsigned long writable;

	EXPECT_EQ(0, lost(self->c, self->m, ASK_READ, &writable));
}

/* A page that the CPU has written to is dirty: the device may write without a fault */
TEST_F(dirty, written_by_the_cpu_before)
{
	fill(self->m.p, self->m.nr * PAGE);
	ASSERT_ANSWERED(self->c, call_ask(self->c, ASK_NOTHING));
	EXPECT_EQ(self->m.nr, call_count(self->c, 0, self->m.nr, WRITABLE));
	ASSERT_ANSWERED(self->c, call_ask(self->c, ASK_WRITE));
	EXPECT_EQ(0, self->c->raw.faults);
}

FIXTURE_HMM();

/* Own device memory that was freed lazily before, and is migrated back */
TEST_F(hmm, dirty_own_memory_comes_home)
{
	struct memory m = made_lazily_freed();
	unsigned long i;

	NEED(!m.skip, "%s", m.skip);
	NEED_DEVICE();
	ASSERT_EQ(NR, to_device(PRIVATE_A, m.p, NR, false));
	self->c = call_new(m.p, NR);
	self->c->raw.owner = PRIVATE_A;
	self->c->raw.flags = HMM_RANGE_WRITE;
	for (i = 0; i < NR; i++)
		self->c->data[i] = WRITTEN(i);
	ASSERT_EQ(0, call_ask(self->c, ASK_WRITE));
	EXPECT_EQ(PRIVATE_A, pfn_dev(answer_pfn(self->c->e[0])));
	read_pages(m.p, m.nr * PAGE);
	page_out(m);
	for (i = 0; i < NR; i++)
		EXPECT_EQ(WRITTEN(i), *(uint64_t *)(m.p + i * PAGE));
}

/* A disk with writeback between two writes of the device, then read again */
TEST_F(hmm, dirty_file_after_fsync)
{
	char dir[] = "/tmp/hmm.XXXXXX", path[64];
	struct memory m = { .nr = NR };
	unsigned long i, writable;
	bool ready;
	int fd;

	ready = !system("mkfs.ext2 -q /dev/ram1 >/dev/null 2>&1") && mkdtemp(dir) &&
		!mount("/dev/ram1", dir, "ext2", 0, "");
	NEED(ready, "needs mkfs.ext2, CONFIG_EXT2_FS and a RAM disk");
	snprintf(path, sizeof(path), "%s/file", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ASSERT_LE(0, fd);
	for (i = 0; i < NR; i++)
		ASSERT_EQ(PAGE, write(fd, map_anon(HUGE, false), PAGE));
	m.p = mmap(NULL, NR * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, m.p);
	self->c = call_new(m.p, NR);

	EXPECT_EQ(0, lost(self->c, m, ASK_WRITE, &writable));
	EXPECT_EQ(0, fsync(fd));
	/* Clean now, so the device may not write */
	ASSERT_ANSWERED(self->c, call_ask(self->c, ASK_READ));
	EXPECT_EQ(0, call_count(self->c, 0, NR, WRITABLE));
	for (i = 0; i < NR; i++)
		self->c->data[i] = ~WRITTEN(i);
	self->c->raw.flags = HMM_RANGE_WRITE | HMM_RANGE_UNLOCKED;
	ASSERT_EQ(0, call_ask(self->c, ASK_WRITE));

	munmap(m.p, NR * PAGE);
	close(fd);
	ASSERT_EQ(0, umount(dir));
	ASSERT_EQ(0, mount("/dev/ram1", dir, "ext2", 0, ""));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	m.p = mmap(NULL, NR * PAGE, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, m.p);
	for (i = 0; i < NR; i++)
		EXPECT_EQ(~WRITTEN(i), *(uint64_t *)(m.p + i * PAGE));
	munmap(m.p, NR * PAGE);
	close(fd);
	umount(dir);
	rmdir(dir);
}

TEST_HARNESS_MAIN
