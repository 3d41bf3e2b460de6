// SPDX-License-Identifier: GPL-2.0
/* What it takes to migrate memory to a device, and to map it for DMA */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "counts.h"

#define THP_FILE(name)	"/sys/kernel/mm/transparent_hugepage/" name
#define LARGE_FILE(name) THP_FILE("hugepages-64kB/" name)
#define LARGE_NR	16UL

/* Memory of HUGE_NR pages, written to */

static char *small_pages(void)
{
	char *p = must(map_anon(HUGE, false), "memory");

	fill(p, HUGE);
	return p;
}

static char *huge_page(void)
{
	char *p = must(map_anon(HUGE, true), "huge pages");

	fill(p, HUGE);
	return p;
}

/* Folios of 64 KiB, mapped by PTEs */
static char *large_folios(void)
{
	char *p = must(map_anon(HUGE, true), "memory");
	long before = number_of(LARGE_FILE("stats/anon_fault_alloc"), "");

	write_file(THP_FILE("enabled"), "never");
	write_file(LARGE_FILE("enabled"), "madvise");
	fill(p, HUGE);
	/* Or khugepaged, which wakes up next, makes a huge page of them */
	madvise(p, HUGE, MADV_NOHUGEPAGE);
	write_file(LARGE_FILE("enabled"), "never");
	write_file(THP_FILE("enabled"), "madvise");
	if (number_of(LARGE_FILE("stats/anon_fault_alloc"), "") - before !=
	    (long)(HUGE_NR / LARGE_NR))
		errx(1, "no folios of 64 KiB");
	return p;
}

/* Single pages that are contiguous in memory */
static char *contiguous_pages(void)
{
	const char *splits = THP_FILE("hugepages-2048kB/stats/split");
	long before = number_of(splits, "");
	char *p = huge_page(), what[64];

	snprintf(what, sizeof(what), "%d,0x%lx,0x%lx", getpid(), (unsigned long)p,
		 (unsigned long)p + HUGE);
	if (!write_file("/sys/kernel/debug/split_huge_pages", what) ||
	    number_of(splits, "") != before + 1)
		errx(1, "huge page not split");
	return p;
}

/* Migration */

/* Moves all of it to the device; returns the time in migrate_vma_*() */
static uint64_t move(char *p, uint64_t select)
{
	uint64_t *src = must(calloc(HUGE_NR, sizeof(*src)), "calloc");
	struct hmm_range_migrate cmd = {
		.addr = (uintptr_t)p,
		.nr = HUGE_NR,
		.src = (uintptr_t)src,
		.select = SELECT_SYSTEM | select,
		.owner = PRIVATE_A,
		.to = HMM_RANGE_TO_DEVICE,
	};

	if (ioctl(hmm_fd[PRIVATE_A], HMM_RANGE_MIGRATE, &cmd))
		err(1, "HMM_RANGE_MIGRATE");
	if (pages_with(p, HUGE_NR, PM_SWAPPED) != HUGE_NR)
		errx(1, "not all has moved to the device");
	free(src);
	return cmd.ns;
}

static void saw_flush(void *arg, const char *name, const char *args)
{
	(void)name;
	*(unsigned long *)arg += !!strstr(args, "reason:local MM shootdown");
}

static void flushes(void)
{
	static const char * const events[] = { "tlb/tlb_flush", NULL };
	unsigned long seen = 0;
	char *p = small_pages();

	events_begin(events);
	move(p, 0);
	events_end(events, saw_flush, &seen);
	result("migrate-flushes", 0, seen, "flushes");
	munmap(p, HUGE);
}

/* TLB shootdowns that processors have received */
static unsigned long shootdowns(void)
{
	FILE *f = must(fopen("/proc/interrupts", "re"), "/proc/interrupts");
	unsigned long sum = 0;
	char line[256], *at, *next;

	while (fgets(line, sizeof(line), f)) {
		at = strstr(line, "TLB:");
		if (!at)
			continue;
		for (at += 4; ; at = next) {
			unsigned long n = strtoul(at, &next, 10);

			if (next == at)
				break;
			sum += n;
		}
	}
	fclose(f);
	return sum;
}

static volatile bool spinning;

static void *spin(void *arg)
{
	(void)arg;
	run_on(1);
	spinning = true;
	while (spinning)
		;
	return NULL;
}

/* A thread of the process runs on the other processor */
static void interrupts(void)
{
	unsigned long before;
	pthread_t thread;
	int round;
	char *p;

	if (sysconf(_SC_NPROCESSORS_ONLN) != 2)
		errx(1, "needs two processors");
	run_on(0);
	if (pthread_create(&thread, NULL, spin, NULL))
		errx(1, "no thread");
	while (!spinning)
		;
	for (round = 0; round < ROUNDS; round++) {
		p = small_pages();
		before = shootdowns();
		move(p, 0);
		result("migrate-ipis", round, shootdowns() - before, "IPIs");
		munmap(p, HUGE);
	}
	spinning = false;
	pthread_join(thread, NULL);
}

static void splits(void)
{
	char *p = large_folios();
	long before = number_of(LARGE_FILE("stats/split"), "");

	move(p, SELECT_MTHP);
	result("migrate-64k-splits", 0,
	       number_of(LARGE_FILE("stats/split"), "") - before, "splits");
	munmap(p, HUGE);
}

/* Time of the test driver itself in page faults: it allocates, copies and frees */
static uint64_t own_time(void)
{
	return number_of("/sys/module/test_hmm/parameters/own_ns", "");
}

/* To the device, and back home, both without allocating and copying */
static void there_and_back(const char *kind, char *(*map)(void), uint64_t select)
{
	char to[32], home[32], *p;
	uint64_t there, begin, own, back;
	int round;

	snprintf(to, sizeof(to), "icount-migrate-%s", kind);
	snprintf(home, sizeof(home), "icount-home-%s", kind);
	for (round = -1; round < ROUNDS; round++) {
		p = map();
		there = move(p, select);
		own = own_time();
		begin = now();
		read_pages(p, HUGE);
		back = now() - begin;
		own = own_time() - own;
		if (pages_with(p, HUGE_NR, PM_PRESENT) != HUGE_NR || !filled(p, HUGE))
			errx(1, "not all has come back");
		munmap(p, HUGE);
		if (round < 0)
			continue;
		result(to, round, (double)there / HUGE_NR, "instr/page");
		result(home, round, (double)(back - own) / HUGE_NR, "instr/page");
	}
}

void do_device_instructions(void)
{
	write_file(THP_FILE("defrag"), "always");
	there_and_back("4k", small_pages, 0);
	there_and_back("64k", large_folios, SELECT_MTHP);
	there_and_back("2m", huge_page, SELECT_COMPOUND);
}

/* DMA */

/**
 * struct dma_seen - what the IOMMU had to do
 * @links: mappings
 * @syncs: flushes after these
 * @leaf: size of the leaf of the first page, as the driver unmaps it for a moment
 * @unmap_syncs: flushes for unmapping all of it
 */
struct dma_seen {
	unsigned long links;
	unsigned long syncs;
	unsigned long leaf;
	unsigned long unmap_syncs;
};

static void saw_iommu(void *arg, const char *name, const char *args)
{
	struct dma_seen *seen = arg;

	if (!strcmp(name, "map")) {
		seen->links += !seen->leaf;
		seen->unmap_syncs = 0;
	} else if (!strcmp(name, "unmap")) {
		if (!seen->leaf)
			seen->leaf = strtoul(strstr(args, "unmapped_size=") + 14,
					     NULL, 10);
	} else if (!strcmp(name, "cache_tag_flush_range_np")) {
		seen->syncs += !seen->leaf;
	} else {
		seen->unmap_syncs++;
	}
}

/* Maps it all at once if the kernel can do that, or else entry by entry */
static int map_for_dma(struct hmm_range_dma *cmd)
{
	int ret;

	cmd->at_once = HMM_RANGE_ALL_AT_ONCE;
	ret = ioctl(hmm_fd[PRIVATE_A], HMM_RANGE_DMA, cmd);
	if (!ret || errno != EOPNOTSUPP)
		return ret;
	cmd->at_once = HMM_RANGE_NONE_AT_ONCE;
	return ioctl(hmm_fd[PRIVATE_A], HMM_RANGE_DMA, cmd);
}

static unsigned long runs_of(const uint64_t *entries, unsigned long nr)
{
	unsigned long i, runs = 1;

	for (i = 1; i < nr; i++)
		runs += answer_pfn(entries[i]) != answer_pfn(entries[i - 1]) + 1;
	return runs;
}

static void dma_result(const char *kind, const char *what, double value,
		       const char *unit)
{
	char row[32];

	snprintf(row, sizeof(row), "dma-%s-%s", kind, what);
	result(row, 0, value, unit);
}

static void dma(const char *kind, char *p)
{
	static const char * const events[] = {
		"iommu/map", "iommu/unmap", "intel_iommu/cache_tag_flush_range",
		"intel_iommu/cache_tag_flush_range_np", NULL
	};
	uint64_t *data = must(calloc(2 * HUGE_NR, sizeof(*data)), "calloc");
	uint64_t *entries = data + HUGE_NR;
	struct hmm_range_dma cmd = {
		.start = (uintptr_t)p,
		.nr = HUGE_NR,
		.entries = (uintptr_t)entries,
		.data = (uintptr_t)data,
		.default_flags = ASK_WRITE,
		.entry_shift = hmm.page_shift,
		.device = HMM_RANGE_DMA_IOVA,
	};
	struct dma_seen seen = {};
	unsigned long i;

	events_begin(events);
	if (map_for_dma(&cmd) || cmd.ret)
		err(1, "HMM_RANGE_DMA: %d", cmd.ret);
	events_end(events, saw_iommu, &seen);
	for (i = 0; i < HUGE_NR; i++)
		if (data[i] != cmd.start + i * PAGE)
			errx(1, "%s: the device reads something else", kind);
	if (!seen.leaf || cmd.unmapped != HUGE_NR)
		errx(1, "%s: not all was mapped and unmapped", kind);
	dma_result(kind, "links", (double)seen.links / runs_of(entries, HUGE_NR),
		   "links/run");
	dma_result(kind, "syncs", seen.syncs, "syncs");
	dma_result(kind, "leaves", (double)HUGE / seen.leaf, "leaves");
	dma_result(kind, "unmap", seen.unmap_syncs, "syncs");
	free(data);
	munmap(p, HUGE);
}

void do_devices(void)
{
	write_file(THP_FILE("defrag"), "always");
	flushes();
	interrupts();
	splits();
	dma("thp", huge_page());
	dma("64k", large_folios());
	dma("contiguous", contiguous_pages());
	dma("pages", small_pages());
}
