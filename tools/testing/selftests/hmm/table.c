// SPDX-License-Identifier: GPL-2.0
/*
 * The answer for each kind of page table entry at each level and each request.  A row
 * of the table is a variant of the tests: how to create such entries, and the results of
 * a snapshot, a read request and a write request for them.
 */
#define _GNU_SOURCE
#include <linux/userfaultfd.h>
#include <sys/prctl.h>

#include "test.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL		102
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ		22
#endif
#ifndef __NR_memfd_secret
#define __NR_memfd_secret		447
#endif
#ifndef UFFDIO_POISON
struct uffdio_poison {
	struct uffdio_range range;
	__u64 mode;
	__s64 updated;
};

#define UFFDIO_POISON			_IOWR(UFFDIO, 0x08, struct uffdio_poison)
#endif
#ifndef UFFD_FEATURE_POISON
#define UFFD_FEATURE_POISON		(1 << 14)
#endif
#ifndef UFFD_FEATURE_RWP
#define UFFD_FEATURE_RWP		(1 << 17)
#define UFFD_FEATURE_RWP_ASYNC		(1 << 18)
#define UFFDIO_REGISTER_MODE_RWP	(1 << 3)
struct uffdio_rwprotect {
	struct uffdio_range range;
	__u64 mode;
};

#define UFFDIO_RWPROTECT		_IOWR(UFFDIO, 0x09, struct uffdio_rwprotect)
#define UFFDIO_RWPROTECT_MODE_RWP	(1 << 0)
#endif

/* Small ranges have a page of the same kind before and after them */
#define NR		8UL

/* The result of a request: an answer, or a negative error */
enum gives {
	GIVES_NONE,
	GIVES_READABLE,
	GIVES_WRITABLE,
	GIVES_VALID,		/* readable; perhaps writable */
	GIVES_ERROR,
};

/* The entries that were created for a test */
struct entries {
	char *p;
	unsigned long nr;
	int owner;
	const char *skip;
};

static struct entries some(char *p, unsigned long nr)
{
	return (struct entries){ .p = p, .nr = nr, .owner = NOBODY };
}

static struct entries skip(const char *why)
{
	return (struct entries){ .skip = why };
}

/* Another process that shares the pages until the end of the test */
static void fork_keep(void)
{
	pid_t parent = getpid();

	if (fork())
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (getppid() == parent)
		pause();
	_exit(0);
}

static struct entries made_no_vma(void)
{
	char *p = map_anon(HUGE, false);

	munmap(p, HUGE);
	return some(p, NR);
}

static struct entries made_prot(int prot)
{
	char *p = map_anon(HUGE, false);

	fill(p, NR * PAGE);
	mprotect(p, HUGE, prot);
	return some(p, NR);
}

static struct entries made_prot_none(void)
{
	return made_prot(PROT_NONE);
}

static struct entries made_prot_write(void)
{
	return made_prot(PROT_WRITE);
}

static struct entries made_prot_read(void)
{
	return made_prot(PROT_READ);
}

static struct entries made_hole(void)
{
	return some(map_anon(HUGE, false), NR);
}

static struct entries made_hole_in_table(void)
{
	char *p = map_anon(HUGE, false);

	fill(p + 2 * NR * PAGE, PAGE);
	return some(p, NR);
}

static struct entries made_zero(void)
{
	char *p = map_anon(HUGE, false);
	unsigned long i;

	for (i = 0; i < NR; i++)
		(void)*(volatile char *)(p + i * PAGE);
	return some(p, NR);
}

static struct entries made_anon(void)
{
	char *p = map_anon(HUGE, false);

	fill(p, NR * PAGE);
	return some(p, NR);
}

static struct entries made_anon_forked(void)
{
	struct entries e = made_anon();

	fork_keep();
	return e;
}

/* Huge pages */

static bool is_huge(void)
{
	return number_of("/proc/self/smaps_rollup", "AnonHugePages:") > 0;
}

static struct entries made_thp_hole(void)
{
	if (!thp_here())
		return skip("needs transparent huge pages");
	return some(map_anon(HUGE, true), HUGE_NR);
}

static struct entries made_thp(void)
{
	struct entries e = made_thp_hole();

	if (e.skip)
		return e;
	fill(e.p, HUGE);
	return is_huge() ? e : skip("no huge page available");
}

static struct entries made_thp_middle(void)
{
	struct entries e = made_thp();

	e.p += 3 * PAGE;
	e.nr = NR;
	return e;
}

static struct entries made_thp_forked(void)
{
	struct entries e = made_thp();

	if (!e.skip)
		fork_keep();
	return e;
}

static struct entries made_thp_read_only(void)
{
	struct entries e = made_thp();

	if (!e.skip)
		mprotect(e.p, HUGE, PROT_READ);
	return e;
}

static struct entries made_thp_split(void)
{
	struct entries e = made_thp();

	if (!e.skip)
		madvise(e.p + HUGE - PAGE, PAGE, MADV_DONTNEED);
	e.nr -= 1;
	return e;
}

static struct entries made_huge_zero(void)
{
	struct entries e = made_thp_hole();

	if (!e.skip)
		(void)*(volatile char *)e.p;
	return e;
}

static struct entries made_mthp(void)
{
	const char *knob = "/sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled";
	char *p;

	if (!write_file(knob, "always"))
		return skip("needs folios of 64 KiB");
	p = map_anon(HUGE, true);
	write_file("/sys/kernel/mm/transparent_hugepage/hugepages-2048kB/enabled",
		   "never");
	fill(p, 2 * 65536);
	write_file("/sys/kernel/mm/transparent_hugepage/hugepages-2048kB/enabled",
		   "inherit");
	write_file(knob, "never");
	return some(p + PAGE, 2 * 65536 / PAGE - 2);
}

/* hugetlb */

static struct entries made_hugetlb(int flags, unsigned long size, bool filled)
{
	char *p;

	write_file("/proc/sys/vm/nr_hugepages", "16");
	p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		 flags | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (p == MAP_FAILED)
		return skip("needs huge pages of hugetlb");
	if (filled)
		fill(p, size);
	return some(p, size / PAGE);
}

static struct entries made_hugetlb_hole(void)
{
	return made_hugetlb(MAP_PRIVATE, HUGE, false);
}

static struct entries made_hugetlb_page(void)
{
	return made_hugetlb(MAP_PRIVATE, 2 * HUGE, true);
}

static struct entries made_hugetlb_middle(void)
{
	struct entries e = made_hugetlb_page();

	if (e.skip)
		return e;
	e.p += HUGE / 2;
	e.nr = HUGE_NR;
	return e;
}

static struct entries made_hugetlb_shared_hole(void)
{
	return made_hugetlb(MAP_SHARED, HUGE, false);
}

static struct entries made_hugetlb_forked(void)
{
	struct entries e = made_hugetlb_page();

	if (!e.skip)
		fork_keep();
	return e;
}

static struct entries made_hugetlb_read_only(void)
{
	struct entries e = made_hugetlb_page();

	if (!e.skip)
		mprotect(e.p, 2 * HUGE, PROT_READ);
	return e;
}

static struct entries made_hugetlb_1g(void)
{
	unsigned long size = 1UL << 30;
	char *p;

	write_file("/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages", "1");
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE |
		 MAP_ANONYMOUS | MAP_HUGETLB | 30 << 26, -1, 0);
	if (p == MAP_FAILED)
		return skip("needs a huge page of 1 GiB");
	fill(p + size / 2, PAGE);
	return some(p + size / 2 - HUGE, 2 * HUGE_NR);
}

static struct entries made_hugetlb_poison(void)
{
	struct entries e = made_hugetlb(MAP_PRIVATE, HUGE, true);

	if (!e.skip && madvise(e.p, HUGE, MADV_HWPOISON))
		return skip("needs CONFIG_MEMORY_FAILURE");
	return e;
}

/* Files */

static struct entries made_file(int flags, int prot, bool cached, bool mapped)
{
	int fd = memfd_new(HUGE, 0);
	unsigned long i;
	char *p;

	if (fd < 0)
		return skip("needs memfd_create()");
	p = mmap(NULL, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return skip("cannot map a memfd");
	if (cached)
		fill(p, NR * PAGE);
	munmap(p, HUGE);
	p = mmap(NULL, HUGE, prot, flags, fd, 0);
	for (i = 0; mapped && i < NR; i++)
		(void)*(volatile char *)(p + i * PAGE);
	return some(p, NR);
}

static struct entries made_shmem_hole(void)
{
	return made_file(MAP_SHARED, PROT_READ | PROT_WRITE, false, false);
}

static struct entries made_shmem_cached(void)
{
	return made_file(MAP_SHARED, PROT_READ | PROT_WRITE, true, false);
}

static struct entries made_shmem(void)
{
	struct entries e = made_shmem_cached();

	if (!e.skip)
		fill(e.p, NR * PAGE);
	return e;
}

/* A huge page of a file, and its hole */
static struct entries made_shmem_of_huge(bool filled)
{
	const char *knob = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
	int fd = memfd_new(HUGE, 0);
	char *p = map_anon(HUGE, true);

	if (fd < 0 || !write_file(knob, "advise"))
		return skip("needs huge pages of tmpfs");
	p = mmap(p, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	madvise(p, HUGE, MADV_HUGEPAGE);
	if (!filled)
		return some(p, HUGE_NR);
	fill(p, HUGE);
	if (number_of("/proc/self/smaps_rollup", "ShmemPmdMapped:") <= 0)
		return skip("no huge tmpfs page available");
	return some(p + 3 * PAGE, HUGE_NR - 3);
}

static struct entries made_shmem_huge(void)
{
	return made_shmem_of_huge(true);
}

static struct entries made_shmem_huge_hole(void)
{
	return made_shmem_of_huge(false);
}

static struct entries made_shmem_read_only(void)
{
	return made_file(MAP_SHARED, PROT_READ, true, true);
}

static struct entries made_file_private_cached(void)
{
	return made_file(MAP_PRIVATE, PROT_READ | PROT_WRITE, true, false);
}

static struct entries made_file_private_mapped(void)
{
	return made_file(MAP_PRIVATE, PROT_READ | PROT_WRITE, true, true);
}

static struct entries made_past_end(void)
{
	int fd = memfd_new(PAGE, 0);
	char *p;

	if (fd < 0)
		return skip("needs memfd_create()");
	p = mmap(NULL, 2 * NR * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return some(p + PAGE, NR);
}

static struct entries made_secret(bool filled)
{
	int fd = syscall(__NR_memfd_secret, 0);
	char *p;

	if (fd < 0 || ftruncate(fd, NR * PAGE))
		return skip("needs secretmem.enable=1");
	p = mmap(NULL, NR * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (filled)
		fill(p, NR * PAGE);
	return some(p, NR);
}

static struct entries made_secret_hole(void)
{
	return made_secret(false);
}

static struct entries made_secret_page(void)
{
	return made_secret(true);
}

static struct entries made_ksm(void)
{
	struct entries e = made_anon();
	unsigned long i;
	int tries;

	memset(e.p, 7, NR * PAGE);
	if (!write_file("/sys/kernel/mm/ksm/run", "1") ||
	    madvise(e.p, NR * PAGE, MADV_MERGEABLE))
		return skip("needs CONFIG_KSM");
	write_file("/sys/kernel/mm/ksm/sleep_millisecs", "0");
	write_file("/sys/kernel/mm/ksm/pages_to_scan", "10000");
	for (tries = 0; tries < 500; tries++) {
		for (i = 1; i < NR; i++)
			if ((pagemap(e.p + i * PAGE) ^ pagemap(e.p)) & PM_PFN)
				break;
		if (i == NR)
			break;
		usleep(10000);
	}
	write_file("/sys/kernel/mm/ksm/run", "0");
	return tries < 500 ? e : skip("KSM merged nothing");
}

/* userfaultfd: nobody handles its messages, so waiting for one fails */

static int uffd_for(char *p, unsigned long size, uint64_t mode, uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)p, .len = size },
		.mode = mode,
	};
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) ||
	    ioctl(fd, UFFDIO_REGISTER, &reg))
		return -1;
	return fd;
}

static bool uffd_protect(int fd, char *p, unsigned long size)
{
	struct uffdio_writeprotect wp = {
		.range = { .start = (uintptr_t)p, .len = size },
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};

	return fd >= 0 && !ioctl(fd, UFFDIO_WRITEPROTECT, &wp);
}

static struct entries made_uffd_missing(void)
{
	struct entries e = made_hole();

	if (uffd_for(e.p, HUGE, UFFDIO_REGISTER_MODE_MISSING, 0) < 0)
		return skip("needs CONFIG_USERFAULTFD");
	return e;
}

static struct entries protected_by_uffd(struct entries e, unsigned long size)
{
	if (e.skip)
		return e;
	if (!uffd_protect(uffd_for(e.p, size, UFFDIO_REGISTER_MODE_WP, 0),
			  e.p, size))
		return skip("needs userfaultfd's write protection");
	return e;
}

static struct entries made_uffd_wp(void)
{
	return protected_by_uffd(made_anon(), HUGE);
}

static struct entries made_uffd_wp_thp(void)
{
	return protected_by_uffd(made_thp(), HUGE);
}

static struct entries made_uffd_wp_marker(void)
{
	return protected_by_uffd(made_shmem_cached(), HUGE);
}

static struct entries made_uffd_wp_hugetlb(void)
{
	return protected_by_uffd(made_hugetlb(MAP_PRIVATE, HUGE, true), HUGE);
}

static struct entries made_uffd_minor(void)
{
	struct entries e = made_shmem_cached();

	if (!e.skip && uffd_for(e.p, HUGE, UFFDIO_REGISTER_MODE_MINOR,
				UFFD_FEATURE_MINOR_SHMEM) < 0)
		return skip("needs minor faults of userfaultfd");
	return e;
}

static struct entries poisoned_by_uffd(struct entries e, unsigned long size)
{
	struct uffdio_poison poison = { .range = { .start = (uintptr_t)e.p,
						   .len = size } };
	int fd;

	if (e.skip)
		return e;
	fd = uffd_for(e.p, HUGE, UFFDIO_REGISTER_MODE_MISSING, UFFD_FEATURE_POISON);
	if (fd < 0 || ioctl(fd, UFFDIO_POISON, &poison))
		return skip("needs UFFDIO_POISON");
	return e;
}

static struct entries made_uffd_poison(void)
{
	return poisoned_by_uffd(made_hole(), NR * PAGE);
}

static struct entries made_uffd_poison_hugetlb(void)
{
	return poisoned_by_uffd(made_hugetlb(MAP_PRIVATE, HUGE, false), HUGE);
}

/* Protnone entries in accessible memory; any access makes them present again */
static struct entries made_protnone_of(struct entries e, unsigned long size)
{
	struct uffdio_rwprotect rwp = {
		.range = { .start = (uintptr_t)e.p, .len = size },
		.mode = UFFDIO_RWPROTECT_MODE_RWP,
	};
	int fd;

	if (e.skip)
		return e;
	fd = uffd_for(e.p, size, UFFDIO_REGISTER_MODE_RWP,
		      UFFD_FEATURE_RWP | UFFD_FEATURE_RWP_ASYNC);
	if (fd < 0 || ioctl(fd, UFFDIO_RWPROTECT, &rwp))
		return skip("needs UFFDIO_RWPROTECT");
	return e;
}

static struct entries made_protnone(void)
{
	return made_protnone_of(made_anon(), HUGE);
}

static struct entries made_protnone_thp(void)
{
	return made_protnone_of(made_thp(), HUGE);
}

static struct entries made_protnone_hugetlb(void)
{
	return made_protnone_of(made_hugetlb(MAP_PRIVATE, HUGE, true), HUGE);
}

/* Memory that no device can access */

static struct entries made_guard(void)
{
	struct entries e = made_anon();

	if (madvise(e.p, NR * PAGE, MADV_GUARD_INSTALL))
		return skip("needs guard regions");
	return e;
}

static struct entries made_hwpoison(void)
{
	struct entries e = made_anon();

	if (madvise(e.p, NR * PAGE, MADV_HWPOISON))
		return skip("needs CONFIG_MEMORY_FAILURE");
	return e;
}

static struct entries made_mapping(unsigned int kind, unsigned long size, bool touch)
{
	char *p = map_dev(PRIVATE_A, kind, size, PROT_READ | PROT_WRITE, HUGE);
	unsigned long i;

	if (p == MAP_FAILED)
		return skip("cannot map the device");
	for (i = 0; touch && i < size; i += PAGE)
		*(volatile char *)(p + i) = 1;
	return some(p, size / PAGE);
}

static struct entries made_shadow_stack(void)
{
	struct entries e = made_mapping(HMM_RANGE_MAP_SHADOW, NR * PAGE, true);
	char *p = map_anon(HUGE, false);

	p = mremap(e.p, NR * PAGE, NR * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p);
	return p == MAP_FAILED ? skip("needs CONFIG_X86_USER_SHADOW_STACK") : some(p, NR);
}

static struct entries made_vm_io(void)
{
	return made_mapping(HMM_RANGE_MAP_IO, NR * PAGE, true);
}

static struct entries made_vm_pfnmap(void)
{
	return made_mapping(HMM_RANGE_MAP_PFN, NR * PAGE, true);
}

static struct entries made_device_pages(void)
{
	return made_mapping(HMM_RANGE_MAP_PAGES, NR * PAGE, true);
}

static struct entries made_device_hole(void)
{
	return made_mapping(HMM_RANGE_MAP_PAGES, NR * PAGE, false);
}

/* In a mixed mapping, even pages are normal and odd ones special */
static struct entries made_mixed_plain(void)
{
	struct entries e = made_mapping(HMM_RANGE_MAP_MIXED, NR * PAGE, true);

	e.nr = 1;
	return e;
}

static struct entries made_mixed_special(bool touch)
{
	struct entries e;

	if (!(hmm.features & HMM_RANGE_HAS_SPECIAL))
		return skip("needs special PTEs");
	e = made_mapping(HMM_RANGE_MAP_MIXED, NR * PAGE, touch);
	e.p += PAGE;
	e.nr = 1;
	return e;
}

static struct entries made_special(void)
{
	return made_mixed_special(true);
}

static struct entries made_special_hole(void)
{
	return made_mixed_special(false);
}

static struct entries made_special_pmd(void)
{
	struct entries e;

	if (!(hmm.features & HMM_RANGE_HAS_PMD))
		return skip("needs special PMDs");
	e = made_mapping(HMM_RANGE_MAP_PMD, HUGE, true);
	e.p += 5 * PAGE;
	e.nr = HUGE_NR - 5;
	return e;
}

/* Device memory */

static struct entries made_device(int dev, int owner, bool huge)
{
	struct entries e;

	if (!hmm.dev[dev].nr)
		return skip(dev <= PRIVATE_B ? "needs CONFIG_DEVICE_PRIVATE" :
			    "needs test_hmm spm_addr_dev0=");
	e = huge ? made_thp() : made_anon();
	if (e.skip)
		return e;
	if (to_device(dev, e.p, e.nr, huge) != (long)e.nr)
		return skip("the device has no memory left");
	e.owner = owner;
	return e;
}

static struct entries made_own(void)
{
	return made_device(PRIVATE_A, PRIVATE_A, false);
}

static struct entries made_own_forked(void)
{
	struct entries e = made_own();

	if (!e.skip)
		fork_keep();
	return e;
}

static struct entries made_own_read_only(void)
{
	struct entries e = made_own();

	if (!e.skip)
		mprotect(e.p, HUGE, PROT_READ);
	return e;
}

static struct entries made_own_huge(void)
{
	return made_device(PRIVATE_A, PRIVATE_A, true);
}

static struct entries made_own_huge_middle(void)
{
	struct entries e = made_own_huge();

	e.p += 100 * PAGE;
	e.nr = NR;
	return e;
}

static struct entries made_own_huge_forked(void)
{
	struct entries e = made_own_huge();

	if (!e.skip)
		fork_keep();
	return e;
}

static struct entries made_own_huge_read_only(void)
{
	struct entries e = made_own_huge();

	if (!e.skip)
		mprotect(e.p, HUGE, PROT_READ);
	return e;
}

static struct entries made_foreign(void)
{
	return made_device(PRIVATE_A, PRIVATE_B, false);
}

static struct entries made_foreign_huge(void)
{
	return made_device(PRIVATE_A, PRIVATE_B, true);
}

static struct entries made_no_owner(void)
{
	return made_device(PRIVATE_A, NOBODY, false);
}

static struct entries made_coherent(void)
{
	return made_device(COHERENT_A, NOBODY, false);
}

static struct entries made_coherent_huge(void)
{
	return made_device(COHERENT_A, NOBODY, true);
}

static struct entries made_exclusive(void)
{
	struct entries e = made_anon();
	uint64_t addr;

	for (addr = (uintptr_t)e.p; addr < (uintptr_t)e.p + NR * PAGE; addr += PAGE)
		if (ioctl(hmm_fd[PRIVATE_A], HMM_RANGE_EXCLUSIVE, &addr))
			return skip("needs CONFIG_DEVICE_PRIVATE");
	return e;
}

/* Swap */

static struct entries made_swapped(void)
{
	struct entries e = made_anon();
	int tries;

	if (!swap_on())
		return skip("needs CONFIG_SWAP and a RAM disk");
	for (tries = 0; tries < 100; tries++) {
		madvise(e.p, NR * PAGE, MADV_PAGEOUT);
		if (pages_with(e.p, NR, PM_SWAPPED) == NR)
			return e;
		usleep(10000);
	}
	return skip("pages do not go to swap");
}

FIXTURE(table)
{
	struct entries e;
	struct call *c;
};

FIXTURE_VARIANT(table)
{
	struct entries (*made)(void);
	int snapshot, read, write;
	bool wait;		/* a fault may have to wait: only the locked call returns */
};

#define ROW(_name, _snapshot, _read, _write)				\
	FIXTURE_VARIANT_ADD(table, _name)			\
	{								\
		.made = made_##_name,					\
		.snapshot = _snapshot, .read = _read, .write = _write,	\
	}
#define ROW_WAITS(_name, _snapshot, _read, _write)			\
	FIXTURE_VARIANT_ADD(table, _name)			\
	{								\
		.made = made_##_name, .wait = true,			\
		.snapshot = _snapshot, .read = _read, .write = _write,	\
	}

#define NONE_	GIVES_NONE
#define VALID_	GIVES_VALID
#define READ_	GIVES_READABLE
#define WRITE_	GIVES_WRITABLE
#define ERROR_	GIVES_ERROR

/*  entry			snapshot read	  write */
ROW(no_vma,			ERROR_,	-EFAULT, -EFAULT);
ROW(prot_none,			ERROR_,	-EFAULT, -EFAULT);
ROW(prot_write,			ERROR_,	-EFAULT, -EFAULT);
ROW(prot_read,			READ_,	READ_,	-EPERM);
ROW(hole,			NONE_,	READ_,	WRITE_);
ROW(hole_in_table,		NONE_,	READ_,	WRITE_);
ROW(zero,			READ_,	READ_,	WRITE_);
ROW(anon,			WRITE_,	WRITE_,	WRITE_);
ROW(anon_forked,		READ_,	READ_,	WRITE_);
ROW(thp_hole,			NONE_,	READ_,	WRITE_);
ROW(thp,			WRITE_,	WRITE_,	WRITE_);
ROW(thp_middle,			WRITE_,	WRITE_,	WRITE_);
ROW(thp_forked,			READ_,	READ_,	WRITE_);
ROW(thp_read_only,		READ_,	READ_,	-EPERM);
ROW(thp_split,			WRITE_,	WRITE_,	WRITE_);
ROW(huge_zero,			READ_,	READ_,	WRITE_);
ROW(mthp,			WRITE_,	WRITE_,	WRITE_);
ROW(hugetlb_hole,		NONE_,	VALID_,	WRITE_);
ROW(hugetlb_shared_hole,	NONE_,	VALID_,	WRITE_);
ROW(hugetlb_page,		WRITE_,	WRITE_,	WRITE_);
ROW(hugetlb_middle,		WRITE_,	WRITE_,	WRITE_);
ROW(hugetlb_forked,		READ_,	READ_,	WRITE_);
ROW(hugetlb_read_only,		READ_,	READ_,	-EPERM);
ROW(hugetlb_1g,			WRITE_,	WRITE_,	WRITE_);
ROW(hugetlb_poison,		NONE_,	-EFAULT, -EFAULT);
ROW(shmem_hole,			NONE_,	VALID_,	WRITE_);
ROW(shmem_cached,		NONE_,	VALID_,	WRITE_);
ROW(shmem,			WRITE_,	WRITE_,	WRITE_);
ROW(shmem_huge,			WRITE_,	WRITE_,	WRITE_);
ROW(shmem_huge_hole,		NONE_,	VALID_,	WRITE_);
ROW(shmem_read_only,		READ_,	READ_,	-EPERM);
ROW(file_private_cached,	NONE_,	READ_,	WRITE_);
ROW(file_private_mapped,	READ_,	READ_,	WRITE_);
ROW(past_end,			NONE_,	-EFAULT, -EFAULT);
ROW(secret_hole,		ERROR_,	-EFAULT, -EFAULT);
ROW(secret_page,		ERROR_,	-EFAULT, -EFAULT);
ROW(ksm,			READ_,	READ_,	WRITE_);
ROW_WAITS(uffd_missing,		NONE_,	-EFAULT, -EFAULT);
ROW_WAITS(uffd_minor,		NONE_,	-EFAULT, -EFAULT);
ROW_WAITS(uffd_wp,		READ_,	READ_,	-EFAULT);
ROW_WAITS(uffd_wp_thp,		READ_,	READ_,	-EFAULT);
ROW_WAITS(uffd_wp_marker,	NONE_,	READ_,	-EFAULT);
ROW_WAITS(uffd_wp_hugetlb,	READ_,	READ_,	-EFAULT);
ROW(uffd_poison,		NONE_,	-EFAULT, -EFAULT);
ROW(uffd_poison_hugetlb,	NONE_,	-EFAULT, -EFAULT);
ROW(protnone,			NONE_,	VALID_,	WRITE_);
ROW(protnone_thp,		NONE_,	VALID_,	WRITE_);
ROW(protnone_hugetlb,		NONE_,	VALID_,	WRITE_);
ROW(guard,			NONE_,	-EFAULT, -EFAULT);
ROW(hwpoison,			NONE_,	-EFAULT, -EFAULT);
ROW(vm_io,			ERROR_,	-EFAULT, -EFAULT);
ROW(vm_pfnmap,			ERROR_,	-EFAULT, -EFAULT);
ROW(device_pages,		WRITE_,	WRITE_,	WRITE_);
ROW(shadow_stack,		READ_,	READ_,	-EPERM);
ROW(device_hole,		NONE_,	VALID_,	WRITE_);
ROW(mixed_plain,		WRITE_,	WRITE_,	WRITE_);
ROW(special,			ERROR_,	-EFAULT, -EFAULT);
ROW(special_hole,		NONE_,	-EFAULT, -EFAULT);
ROW(special_pmd,		ERROR_,	-EFAULT, -EFAULT);
ROW(own,			WRITE_,	WRITE_,	WRITE_);
ROW(own_forked,			READ_,	READ_,	WRITE_);
ROW(own_read_only,		READ_,	READ_,	-EPERM);
ROW(own_huge,			WRITE_,	WRITE_,	WRITE_);
ROW(own_huge_middle,		WRITE_,	WRITE_,	WRITE_);
ROW(own_huge_forked,		READ_,	READ_,	WRITE_);
ROW(own_huge_read_only,		READ_,	READ_,	-EPERM);
ROW(foreign,			NONE_,	VALID_,	WRITE_);
ROW(foreign_huge,		NONE_,	VALID_,	WRITE_);
ROW(no_owner,			NONE_,	VALID_,	WRITE_);
ROW(coherent,			WRITE_,	WRITE_,	WRITE_);
ROW(coherent_huge,		WRITE_,	WRITE_,	WRITE_);
ROW(exclusive,			NONE_,	VALID_,	WRITE_);
ROW(swapped,			NONE_,	VALID_,	WRITE_);

FIXTURE_SETUP(table)
{
	const char *why = hmm_open();

	if (why)
		SKIP(return, "%s", why);
	signal(SIGBUS, no_sigbus);
	thp_on_request();
	self->e = variant->made();
	if (self->e.skip)
		SKIP(return, "%s", self->e.skip);
	self->c = call_new(self->e.p, self->e.nr);
	self->c->raw.owner = self->e.owner;
	self->c->raw.flags = variant->wait ? 0 : HMM_RANGE_UNLOCKED;
}

FIXTURE_TEARDOWN(table)
{
	if (self->c)
		call_free(self->c);
	hmm_close();
}

static bool is_given(uint64_t e, int gives)
{
	uint64_t kind = answer_kind(e);

	return gives == GIVES_NONE ? kind == NONE :
	       gives == GIVES_READABLE ? kind == READABLE :
	       gives == GIVES_WRITABLE ? kind == WRITABLE :
	       gives == GIVES_VALID ? !!(kind & READABLE) :
	       kind == ERROR;
}

/* The first page with another answer, or the number of pages */
static unsigned long not_given(const struct call *c, int gives)
{
	unsigned long i;

	for (i = 0; i < c->nr; i++)
		if (!is_given(c->e[i], gives))
			break;
	return i;
}

#define CHECK_GIVEN(c, ret, gives)					\
	do {								\
		int __ret = (ret), __gives = (gives);			\
									\
		EXPECT_TRUE(call_check(c)) TH_LOG("%s", (c)->why);	\
		if (__gives < 0) {					\
			EXPECT_EQ(__gives, __ret);			\
			break;						\
		}							\
		ASSERT_EQ(0, __ret);					\
		EXPECT_EQ((c)->nr, not_given(c, __gives));		\
	} while (0)

TEST_F(table, snapshot)
{
	CHECK_GIVEN(self->c, call_ask(self->c, ASK_NOTHING), variant->snapshot);
	EXPECT_EQ(0, self->c->raw.faults);
	/* No difference for a locked call, or if requests are read */
	self->c->raw.flags ^= HMM_RANGE_UNLOCKED;
	self->c->raw.pfn_flags_mask = ASK_WRITE;
	memset(self->c->e, 0, self->c->nr * sizeof(*self->c->e));
	CHECK_GIVEN(self->c, call_run(self->c), variant->snapshot);
	EXPECT_EQ(0, self->c->raw.faults);
}

TEST_F(table, read)
{
	CHECK_GIVEN(self->c, call_ask(self->c, ASK_READ), variant->read);
	if (variant->read < 0)
		return;
	/* The answers remain, without faults */
	CHECK_GIVEN(self->c, call_ask(self->c, ASK_NOTHING), variant->read);
	CHECK_GIVEN(self->c, call_ask(self->c, ASK_READ), variant->read);
	EXPECT_EQ(0, self->c->raw.faults);
}

TEST_F(table, write)
{
	CHECK_GIVEN(self->c, call_ask(self->c, ASK_WRITE), variant->write);
	if (variant->write < 0)
		return;
	CHECK_GIVEN(self->c, call_ask(self->c, ASK_NOTHING), variant->write);
	CHECK_GIVEN(self->c, call_ask(self->c, ASK_WRITE), variant->write);
	EXPECT_EQ(0, self->c->raw.faults);
}

/* Only the page in the middle is requested. That may take no more than one fault. */
TEST_F(table, one_asked)
{
	unsigned long at = self->c->nr / 2;

	self->c->e[at] = ASK_READ;
	ASSERT_TRUE(call_run(self->c) == 0 || variant->read < 0)
		TH_LOG("%d", self->c->raw.ret);
	EXPECT_TRUE(call_check(self->c)) TH_LOG("%s", self->c->why);
	EXPECT_GE(1, self->c->raw.faults);
	if (variant->read >= 0)
		EXPECT_TRUE(is_given(self->c->e[at], variant->read));
	if (variant->read < 0)
		EXPECT_EQ(variant->read, self->c->raw.ret);
}

TEST_HARNESS_MAIN
