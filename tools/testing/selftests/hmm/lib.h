/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Calls of hmm_range_fault() through lib/test_hmm, and a check of its promises for
 * every answer of every call.
 */
#ifndef _SELFTESTS_HMM_LIB_H
#define _SELFTESTS_HMM_LIB_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include "../../../../lib/test_hmm/uapi.h"

/* The devices, which are owners */
enum { PRIVATE_A, PRIVATE_B, COHERENT_A, COHERENT_B, NOBODY = HMM_RANGE_NOBODY };

/* Open files of the devices, and the result of HMM_RANGE_INFO */
extern int hmm_fd[HMM_RANGE_DEVICES];
extern struct hmm_range_info hmm;

/* Requests for a page; the bits are those of the running kernel */
#define ASK_NOTHING	0ULL
#define ASK_READ	hmm.valid
#define ASK_WRITE	(hmm.valid | hmm.write)

/* Answers, without pfn and order */
#define NONE		0ULL
#define READABLE	hmm.valid
#define WRITABLE	(hmm.valid | hmm.write)
#define ERROR		hmm.error

#define PAGE		(1UL << hmm.page_shift)
#define HUGE		(PAGE << hmm.pmd_order)
#define HUGE_NR		(1UL << hmm.pmd_order)

/**
 * struct call - a call, its arrays and its input
 * @raw: argument of the ioctl
 * @nr: pages from @raw.start to @raw.end
 * @e: the entries: requests in, answers out
 * @in: copy of the entries before the call
 * @data: first bytes of each page
 * @why: what call_check() has found
 */
struct call {
	struct hmm_range_call raw;
	unsigned long nr;
	uint64_t *e;
	uint64_t *in;
	uint64_t *data;
	char why[160];
};

/* Opens the devices; NULL, or why that failed */
const char *hmm_open(void);
void hmm_close(void);

/*
 * A locked call for @nr pages at @addr, without an owner or requests.  Requests in
 * entries count.  Never NULL.
 */
struct call *call_new(const void *addr, unsigned long nr);
void call_free(struct call *c);

/* Makes the call, and returns what hmm_range_fault() did; aborts if the ioctl fails */
int call_run(struct call *c);
/* The same with request @ask for every page, regardless of the entries */
int call_ask(struct call *c, uint64_t ask);

/*
 * Did the last call keep every promise?  Its answers are valid, satisfy the requests,
 * and agree with /proc/self/pagemap; after an error, answers are followed by inputs.
 * If not, @c->why says what is wrong.
 */
bool call_check(struct call *c);
/* Did the last call leave the entries unchanged? */
bool call_untouched(const struct call *c);

/* Parts of an answer */
uint64_t answer_kind(uint64_t e);
uint64_t answer_pfn(uint64_t e);
unsigned int answer_order(uint64_t e);
/* The number of answers of this kind, starting at @from */
unsigned long call_count(const struct call *c, unsigned long from,
			 unsigned long nr, uint64_t kind);
/* The device whose memory it is, or NOBODY */
int pfn_dev(uint64_t pfn);

/* Anonymous memory, aligned to a huge page, with small or huge pages */
void *map_anon(unsigned long size, bool huge);
/* Maps a device, see HMM_RANGE_MAP_*, aligned to @align */
void *map_dev(int dev, unsigned int kind, unsigned long size, int prot,
	      unsigned long align);
/* Maps memory of ivshmem, a PCI device of QEMU; NULL if there is none */
void *map_p2p(unsigned long size);
/* A filled memfd; -1 if that fails */
int memfd_new(unsigned long size, unsigned int flags);
/* Reads from each page */
void read_pages(const void *p, unsigned long size);
/* Writes its own address to each page; filled() checks that */
void fill(void *p, unsigned long size);
bool filled(const void *p, unsigned long size);
/* The same for what the device has read in the last call with HMM_RANGE_READ */
bool call_filled(const struct call *c);

/* include/linux/migrate.h */
#define SELECT_SYSTEM	(1 << 0)
#define SELECT_PRIVATE	(1 << 1)
#define SELECT_COHERENT	(1 << 2)
#define SELECT_COMPOUND	(1 << 3)
#define MIGRATE_FAULT	(1 << 4)
#define SELECT_MTHP	(1 << 5)
#define MPFN_MIGRATE	(1 << 1)
#define MPFN_COMPOUND	(1 << 4)

/* /proc/self/pagemap */
#define PM_PRESENT	(1ULL << 63)
#define PM_SWAPPED	(1ULL << 62)
#define PM_FILE		(1ULL << 61)
#define PM_GUARD	(1ULL << 58)
#define PM_UFFD_WP	(1ULL << 57)
#define PM_SOFT_DIRTY	(1ULL << 55)
#define PM_PFN		((1ULL << 55) - 1)
uint64_t pagemap(const void *addr);
/* The caller frees it; NULL if it cannot be read */
uint64_t *pagemap_read(uint64_t start, unsigned long nr);
unsigned long pages_with(const void *addr, unsigned long nr, uint64_t any);
/* Reads a number from a file in /proc or /sys; -1 if there is none */
long number_of(const char *path, const char *key);
bool write_file(const char *path, const char *what);
/* Swaps to a RAM disk, if there is one */
bool swap_on(void);

/*
 * Makes allocation number @nth of this thread fail, 0 for none; false if the kernel does
 * not support that.  allocation_failed() tells if it has happened.
 */
bool fail_allocation(unsigned int nth);
bool allocation_failed(void);

/* Migrates to or from a device; returns the number of pages that moved, or -errno */
long to_device(int dev, const void *addr, unsigned long nr, bool compound);
/* The same with MIGRATE_VMA_FAULT */
long fault_to_device(int dev, const void *addr, unsigned long nr, bool compound);
long to_system(int owner, const void *addr, unsigned long nr, bool compound);
int act(int dev, uint32_t what, uint32_t nth, uint32_t arg);
/* Faults in mappings of that device's file since act() */
unsigned int faults_served(int dev);

/*
 * Makes another thread stop in mmap() with mmap_lock held for writing, until it is
 * released, or for 20 s.  Locks all memory, because a page fault would wait for that
 * lock.  Returns false if that fails.
 */
bool hold_mmap_lock(pthread_t *thread);
void release_mmap_lock(pthread_t thread);

/**
 * struct mapper - a thread that maps a page and unmaps it again, all the time
 * @thread: the thread
 * @at: the page
 * @stop: tells it to end
 * @failed: it could not do that
 * @rounds: how often it did
 * @longest: the longest time that one round took since mapper_start(), in ns
 */
struct mapper {
	pthread_t thread;
	char *at;
	volatile bool stop;
	volatile bool failed;
	volatile unsigned long rounds;
	volatile uint64_t longest;
};

/* Returns when it has begun; false if there is no thread */
bool mapper_start(struct mapper *m, char *at);
/* False if it failed */
bool mapper_stop(struct mapper *m);
/* CLOCK_MONOTONIC, in ns */
uint64_t now(void);

#endif
