// SPDX-License-Identifier: GPL-2.0
/*
 * hmm_range_fault_unlocked_timeout() takes the lock of each VMA, and mmap_lock only if
 * it has to. So it does not wait for threads that map other memory of the process, nor
 * they for it.
 */
#define _GNU_SOURCE
#include <pthread.h>

#include "test.h"

FIXTURE_HMM();

#define NR	(2 * HUGE_NR)

#define NEED_VMA_LOCKS()						\
	NEED(hmm.features & HMM_RANGE_HAS_VMA_LOCK, "needs VMAs with locks")

/* Calls with @ask; returns how often that took mmap_lock, or -1 after an error */
static int mmap_locks(struct call *c, uint64_t ask)
{
	c->raw.flags = HMM_RANGE_UNLOCKED | HMM_RANGE_COUNT;
	if (call_ask(c, ask) || !call_check(c))
		return -1;
	return c->raw.mmap_locks;
}

static char *map_file(unsigned long size, unsigned int flags)
{
	int fd = memfd_new(size, flags);
	char *p = MAP_FAILED;

	if (fd >= 0)
		p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return p == MAP_FAILED ? NULL : p;
}

/* Faults included */
TEST_F(hmm, one_vma_takes_its_lock)
{
	struct call *c;

	NEED_VMA_LOCKS();
	c = call_new(map_anon(NR * PAGE, false), NR);
	EXPECT_EQ(0, mmap_locks(c, ASK_NOTHING));
	EXPECT_EQ(0, mmap_locks(c, ASK_READ));
	EXPECT_EQ(0, mmap_locks(c, ASK_WRITE));
	EXPECT_EQ(NR, call_count(c, 0, NR, WRITABLE));
	EXPECT_EQ(0, mmap_locks(c, ASK_WRITE));
}

TEST_F(hmm, file_takes_its_lock)
{
	struct call *c;
	char *p;

	NEED_VMA_LOCKS();
	p = map_file(NR * PAGE, 0);
	ASSERT_NE(NULL, p);
	c = call_new(p, NR);
	EXPECT_EQ(0, mmap_locks(c, ASK_READ));
	EXPECT_EQ(0, mmap_locks(c, ASK_WRITE));
	EXPECT_EQ(NR, call_count(c, 0, NR, WRITABLE));
}

TEST_F(hmm, hugetlb_takes_its_lock)
{
	struct call *c;
	char *p;

	NEED_VMA_LOCKS();
	write_file("/proc/sys/vm/nr_hugepages", "16");
	p = map_file(NR * PAGE, MFD_HUGETLB);
	NEED(p, "needs huge pages");
	c = call_new(p, NR);
	/* One call may need it for data that all VMAs of a process share */
	EXPECT_GE(1, mmap_locks(c, ASK_WRITE));
	EXPECT_EQ(NR, call_count(c, 0, NR, WRITABLE));
	EXPECT_EQ(0, mmap_locks(c, ASK_WRITE));
}

/* One lock for each VMA, and the right answer for each */
TEST_F(hmm, many_vmas_take_their_locks)
{
	struct call *c;
	unsigned long i;
	char *p;

	NEED_VMA_LOCKS();
	p = map_anon(NR * PAGE, false);
	fill(p, NR * PAGE);
	for (i = 0; i < NR; i += 32)
		ASSERT_EQ(0, mprotect(p + i * PAGE, 16 * PAGE,
				      i & 32 ? PROT_READ : PROT_NONE));
	c = call_new(p, NR);
	EXPECT_EQ(0, mmap_locks(c, ASK_NOTHING));
	EXPECT_EQ(NR / 2, call_count(c, 0, NR, WRITABLE));
	EXPECT_EQ(NR / 4, call_count(c, 0, NR, READABLE));
	EXPECT_EQ(NR / 4, call_count(c, 0, NR, ERROR));
}

/* Only mmap_lock can tell that there is no VMA */
TEST_F(hmm, holes_take_mmap_lock)
{
	struct call *c;
	char *p;

	NEED_VMA_LOCKS();
	p = map_anon(NR * PAGE, false);
	fill(p, NR * PAGE);
	ASSERT_EQ(0, munmap(p + 8 * PAGE, 8 * PAGE));
	ASSERT_EQ(0, munmap(p + 32 * PAGE, PAGE));
	c = call_new(p, NR);
	EXPECT_EQ(2, mmap_locks(c, ASK_NOTHING));
	EXPECT_EQ(NR - 9, call_count(c, 0, NR, WRITABLE));
	EXPECT_EQ(9, call_count(c, 0, NR, ERROR));
}

/* Their driver is called with mmap_lock: taking it once per page table is enough */
TEST_F_TIMEOUT(hmm, pages_of_another_device_take_mmap_lock, 120)
{
	struct call *c;
	char *p;
	int locks;

	NEED_VMA_LOCKS();
	NEED_DEVICE();
	p = map_anon(NR * PAGE, false);
	fill(p, NR * PAGE);
	ASSERT_EQ(NR, to_device(PRIVATE_B, p, NR, false));
	c = call_new(p, NR);
	c->raw.owner = PRIVATE_A;
	locks = mmap_locks(c, ASK_READ);
	EXPECT_LE(1, locks);
	EXPECT_GE(NR / HUGE_NR + 1, (unsigned long)locks);
	EXPECT_EQ(NR, call_count(c, 0, NR, READABLE) + call_count(c, 0, NR, WRITABLE));
}

/* Another thread maps memory, and is stopped with mmap_lock held for writing */
TEST_F(hmm, does_not_wait_for_mmap_lock)
{
	int begin[2], status = -1, tries;
	bool ended = false;
	pthread_t thread;
	struct call *c;
	char *p, go = 0;
	pid_t pid;

	NEED_VMA_LOCKS();
	p = map_anon(NR * PAGE, false);
	/* A VMA's first page fault needs mmap_lock, as does the first call for an mm */
	fill(p, PAGE);
	c = call_new(p, NR);
	c->raw.flags = HMM_RANGE_OPENER;
	ASSERT_ANSWERED(c, call_ask(c, ASK_NOTHING));
	ASSERT_EQ(0, pipe(begin));
	pid = fork();
	if (!pid) {
		c->raw.flags = HMM_RANGE_OPENER | HMM_RANGE_UNLOCKED;
		_exit(read(begin[0], &go, 1) == 1 && !call_ask(c, ASK_WRITE) ? 0 : 1);
	}
	ASSERT_TRUE(hold_mmap_lock(&thread));
	ASSERT_EQ(1, write(begin[1], &go, 1));
	/* The driver releases the lock by itself after 20 s */
	for (tries = 0; tries < 500 && !ended; tries++) {
		usleep(10000);
		ended = waitpid(pid, &status, WNOHANG) == pid;
	}
	EXPECT_TRUE(ended);
	EXPECT_EQ(0, status);
	release_mmap_lock(thread);
}

/*
 * With the flags of map_anon(), the new page becomes part of the VMA that is being
 * faulted, and is split off again, which takes its lock. That does not take as long as
 * the call.
 */
TEST_F_TIMEOUT(hmm, mapping_beside_it_goes_on, 120)
{
	const unsigned long nr = 32 * HUGE_NR;
	struct mapper m;
	struct call *c;
	uint64_t longest;
	char *p;

	NEED_VMA_LOCKS();
	p = map_anon((nr + 1) * PAGE, false);
	c = call_new(p, nr);
	ASSERT_TRUE(mapper_start(&m, p + nr * PAGE));
	c->raw.flags = HMM_RANGE_UNLOCKED;
	ASSERT_ANSWERED(c, call_ask(c, ASK_WRITE));
	longest = m.longest;
	TH_LOG("waited for %llu us at most, in a call of %llu us",
	       (unsigned long long)longest / 1000,
	       (unsigned long long)c->raw.ns / 1000);
	EXPECT_GT(c->raw.ns / 2, longest);
	EXPECT_TRUE(mapper_stop(&m));
	EXPECT_EQ(nr, call_count(c, 0, nr, WRITABLE));
}

TEST_HARNESS_MAIN
