/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Calls of hmm_range_fault() through lib/test_hmm, and one check of what
 * it promises that goes over every answer of every call.
 */
#ifndef _SELFTESTS_HMM_LIB_H
#define _SELFTESTS_HMM_LIB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include "../../../../lib/test_hmm/uapi.h"

/* The devices, which are owners */
enum { PRIVATE_A, PRIVATE_B, COHERENT_A, COHERENT_B, NOBODY = HMM_RANGE_NOBODY };

/* Open files of the devices, and what HMM_RANGE_INFO says */
extern int hmm_fd[HMM_RANGE_DEVICES];
extern struct hmm_range_info hmm;

/* What may be asked of a page; the bits are those of the kernel that runs */
#define ASK_NOTHING	0ULL
#define ASK_READ	hmm.valid
#define ASK_WRITE	(hmm.valid | hmm.write)

/* What may be answered, besides pfn and order */
#define NONE		0ULL
#define READABLE	hmm.valid
#define WRITABLE	(hmm.valid | hmm.write)
#define ERROR		hmm.error

#define PAGE		(1UL << hmm.page_shift)
#define HUGE		(PAGE << hmm.pmd_order)
#define HUGE_NR		(1UL << hmm.pmd_order)

/**
 * struct call - a call, its arrays and what went in
 * @raw: as handed to the driver and back
 * @nr: pages from @raw.start to @raw.end
 * @e: the entries: set what is asked of each page, see what is answered
 * @in: the entries as they went in
 * @data: first bytes of each page
 * @why: what call_check() found wrong
 */
struct call {
	struct hmm_range_call raw;
	unsigned long nr;
	uint64_t *e;
	uint64_t *in;
	uint64_t *data;
	char why[160];
};

/* Opens the devices; why not, or NULL */
const char *hmm_open(void);
void hmm_close(void);

/*
 * A call for @nr pages from @addr on: by nobody, for nothing, locked.  Requests
 * of single pages count.  Never NULL.
 */
struct call *call_new(const void *addr, unsigned long nr);
void call_free(struct call *c);

/* Makes the call: what hmm_range_fault() returned; aborts if the driver refused */
int call_run(struct call *c);
/* The same with @ask of every page, whatever is in the entries */
int call_ask(struct call *c, uint64_t ask);

/*
 * Whether the last call kept every promise: its answers are what answers may be,
 * fit what was asked, and say the truth about pages that /proc/self/pagemap
 * knows; after an error, inputs follow answers.  @c->why says what is wrong.
 */
bool call_check(struct call *c);
/* Whether the last call left the entries as they were */
bool call_untouched(const struct call *c);

/* Parts of an answer */
uint64_t answer_kind(uint64_t e);
uint64_t answer_pfn(uint64_t e);
unsigned int answer_order(uint64_t e);
/* How many of the answers from @from on are of that kind */
unsigned long call_count(const struct call *c, unsigned long from,
			 unsigned long nr, uint64_t kind);
/* Which device's memory that is, or NOBODY */
int pfn_dev(uint64_t pfn);

/* Zero-filled anonymous memory, aligned to a huge page, of small pages or huge */
void *map_anon(unsigned long size, bool huge);
/* Memory of a device, see HMM_RANGE_MAP_*, aligned like @align */
void *map_dev(int dev, unsigned int kind, unsigned long size, int prot,
	      unsigned long align);
/* A memfd of that size, filled; -1 if there is none */
int memfd_new(unsigned long size, unsigned int flags);
/* Reads from each page */
void read_pages(const void *p, unsigned long size);
/* Writes to each page its own address; whether each has it */
void fill(void *p, unsigned long size);
bool filled(const void *p, unsigned long size);
/* The same seen by the device in the last call with HMM_RANGE_READ */
bool call_filled(const struct call *c);

/* include/linux/migrate.h */
#define SELECT_SYSTEM	(1 << 0)
#define SELECT_PRIVATE	(1 << 1)
#define SELECT_COHERENT	(1 << 2)
#define SELECT_COMPOUND	(1 << 3)
#define MPFN_MIGRATE	(1 << 1)
#define MPFN_COMPOUND	(1 << 4)

/* /proc/self/pagemap */
#define PM_PRESENT	(1ULL << 63)
#define PM_SWAPPED	(1ULL << 62)
#define PM_FILE		(1ULL << 61)
#define PM_GUARD	(1ULL << 58)
#define PM_UFFD_WP	(1ULL << 57)
#define PM_PFN		((1ULL << 55) - 1)
uint64_t pagemap(const void *addr);
/* To be freed; NULL if it cannot be read */
uint64_t *pagemap_read(uint64_t start, unsigned long nr);
unsigned long pages_with(const void *addr, unsigned long nr, uint64_t any);
/* A number in a file of /proc or /sys; -1 if there is none */
long number_of(const char *path, const char *key);
bool write_file(const char *path, const char *what);
/* Swaps to a RAM disk, if there is one */
bool swap_on(void);

/*
 * Lets the @nth allocation from now on in this thread fail, 0 for none; false if
 * the kernel cannot.  Whether that has happened since.
 */
bool fail_allocation(unsigned int nth);
bool allocation_failed(void);

/* Migrates to @dev all that @select says; how many pages went, or -errno */
long to_device(int dev, const void *addr, unsigned long nr, bool compound);
long to_system(int owner, const void *addr, unsigned long nr, bool compound);
int act(int dev, uint32_t what, uint32_t nth, uint32_t arg);
/* Faults in mappings of that device's file since act() */
unsigned int faults_served(int dev);

#endif
