// SPDX-License-Identifier: GPL-2.0-only
/*
 * hmm_edu_user.c - have hmm_edu.c's devices copy this process's memory, and check it
 *
 * usage: hmm_edu_user [-n MIB] [-f FILE] [DEVICE]...
 *
 * Without -n, shows with the first device and each kind of memory what the driver is
 * for.  With -n, all devices copy that much between them, while other threads take the
 * pages away: swap them out, fork, protect, collapse into huge pages, move and unmap.
 * FILE is made for part of the memory to come from, and deleted.
 *
 * Exit status: 0 if all is well, 3 if a device was unplugged and all is well otherwise.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <glob.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hmm_edu.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define SIZE		HMM_EDU_BUFFER	/* of a copy */
#define WORDS		(SIZE / sizeof(__u64))
#define CHUNK_SIZE	(2UL << 20)	/* a huge page on x86 */
#define CHUNKS		24
#define SLOT_SIZE	4096
#define SLOTS		(CHUNK_SIZE / SLOT_SIZE - 1)
/* Longer than this, and something hangs */
#define PATIENCE	60

/* Whatever fails for another reason than a device */
static void require(bool fine, const char *what)
{
	if (fine)
		return;
	perror(what);
	exit(1);
}

/* What a slot of memory holds: nothing like what another one holds */
static void fill(__u64 *mem, __u64 seed)
{
	for (size_t i = 0; i < WORDS; i++) {
		seed = seed * 6364136223846793005 + 1442695040888963407;
		mem[i] = seed;
	}
}

/* Counts are in @last, which stays as it was after an error */
static int copy(int fd, void *mem, unsigned int flags, struct hmm_edu_copy *last)
{
	struct hmm_edu_copy copy = {
		.addr = (uintptr_t)mem, .len = SIZE, .flags = flags,
	};
	int ret = ioctl(fd, HMM_EDU_COPY, &copy);

	if (!ret)
		*last = copy;
	return ret;
}

/* A count of the whole system */
static long vm_event(const char *name)
{
	FILE *file = fopen("/proc/vmstat", "r");
	char this[128];
	long value, found = 0;

	require(file, "/proc/vmstat");
	while (fscanf(file, "%127s %ld", this, &value) == 2)
		if (!strcmp(this, name))
			found = value;
	fclose(file);
	return found;
}

static long pages_pinned(void)
{
	return vm_event("nr_foll_pin_acquired");
}

static int new_file(const char *path, size_t size)
{
	int fd = path ? open(path, O_RDWR | O_CREAT | O_EXCL, 0600) :
			memfd_create("hmm_edu", 0);

	require(fd >= 0 && !ftruncate(fd, size), path ?: "memfd");
	if (path)
		unlink(path);
	return fd;
}

static void *new_memory(size_t size, int fd, off_t offset)
{
	int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
	char *mem = mmap(NULL, size + CHUNK_SIZE, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	require(mem != MAP_FAILED, "mmap");
	mem = (char *)(((uintptr_t)mem + CHUNK_SIZE - 1) & -CHUNK_SIZE);
	mem = mmap(mem, size, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, offset);
	require(mem != MAP_FAILED, "mmap");
	return mem;
}

/* Part one: what it is for */

/* The device reads it from one place and writes it to another */
static void show(int fd, const char *what, void *mem)
{
	__u64 *from = mem, *to = mem + 5 * SIZE + 8;
	struct hmm_edu_copy last;
	bool right;

	fill(from, time(NULL));
	require(!copy(fd, from, 0, &last) && !copy(fd, to, HMM_EDU_TO_MEMORY, &last), what);
	right = !memcmp(from, to, SIZE);
	printf("%-28s %s; until now %llu pages asked for, %llu times notified\n", what,
	       right ? "right" : "WRONG", last.faults, last.notified);
	if (!right)
		exit(1);
}

static void show_all(const char *device, const char *path)
{
	int fd = open(device, O_RDWR), status;
	void *huge = new_memory(CHUNK_SIZE, -1, 0);
	long before = pages_pinned();
	pid_t child;

	require(fd >= 0, device);
	show(fd, "malloc()", malloc(10 * SIZE));
	show(fd, "a file", new_memory(CHUNK_SIZE, new_file(path, CHUNK_SIZE), 0));
	madvise(huge, CHUNK_SIZE, MADV_HUGEPAGE);
	show(fd, "a huge page", huge);
	show(fd, "the same again", huge);
	fflush(stdout);
	child = fork();
	if (!child) {
		show(fd, "after fork(), in the child", huge);
		exit(0);
	}
	require(waitpid(child, &status, 0) == child, "waitpid");
	if (status)
		exit(1);
	show(fd, "after fork(), in the parent", huge);
	printf("%-28s %ld pages\n", "pinned", pages_pinned() - before);
	close(fd);
}

/* Part two: all devices at work on memory that is not left alone */

/*
 * Each slot has a pattern of its own.  Pages of the chunk may be taken away between
 * the CPU's accesses, which hold @cpu for reading.  What is taken away for good reads
 * as zero afterwards, and @lost counts how often that happened.
 */
static struct chunk {
	char *mem;
	int fd;
	pthread_rwlock_t cpu;
	atomic_uint lost;
	struct slot {
		atomic_flag busy;
		bool maybe_zero;	/* even if nothing is lost from here on */
		unsigned int lost;	/* the chunk's, when it was filled */
		__u64 seed;		/* 0: zero */
	} slots[SLOTS];
} chunks[CHUNKS];

static struct device {
	const char *name;
	int fd;
	pthread_t thread;
	bool gone;
	__u64 random;
	struct hmm_edu_copy last;
} *devices;

static unsigned int nr_devices;
static atomic_ulong copies, wanted, checked, wrong, refused, unsure;
static atomic_bool over;

/* Every odd chunk has its slots across pages */
static __u64 *slot_mem(struct chunk *chunk, struct slot *slot)
{
	return (void *)(chunk->mem + (chunk - chunks) % 2 * 1040 +
			(slot - chunk->slots) * SLOT_SIZE);
}

static unsigned long pick(__u64 *random, unsigned long below)
{
	*random = *random * 6364136223846793005 + 1442695040888963407;
	return (*random >> 33) % below;
}

static struct slot *take_slot(__u64 *random, struct chunk *chunk)
{
	struct slot *slot;

	do {
		slot = &chunk->slots[pick(random, SLOTS)];
	} while (atomic_flag_test_and_set(&slot->busy));
	return slot;
}

/* A page is lost as a whole: of a slot that is across pages, each part by itself */
static bool zero_or_same(const char *mem, const char *should)
{
	size_t in_page = sysconf(_SC_PAGESIZE) - (uintptr_t)mem % sysconf(_SC_PAGESIZE);
	size_t first = in_page < SIZE ? in_page : SIZE;
	static const char zero[SIZE];

	return (!memcmp(mem, should, first) || !memcmp(mem, zero, first)) &&
	       (!memcmp(mem + first, should + first, SIZE - first) ||
		!memcmp(mem + first, zero, SIZE - first));
}

/* With chunk->cpu held */
static bool slot_is_right(struct chunk *chunk, struct slot *slot)
{
	__u64 *mem = slot_mem(chunk, slot), should[WORDS] = {};

	if (slot->seed)
		fill(should, slot->seed);
	if (!memcmp(mem, should, SIZE))
		return true;
	return (slot->maybe_zero || slot->lost != chunk->lost) &&
	       zero_or_same((char *)mem, (char *)should);
}

static void check_slot(struct chunk *chunk, struct slot *slot)
{
	if (!slot_is_right(chunk, slot)) {
		fprintf(stderr, "wrong: chunk %zd, slot %zd, seed %#llx\n",
			chunk - chunks, slot - chunk->slots,
			(unsigned long long)slot->seed);
		wrong++;
	}
	checked += SIZE;
}

/* Again if refused, since what was taken away is given back */
static bool device_copy(struct device *device, void *mem, unsigned int flags)
{
	time_t end = time(NULL) + PATIENCE;

	while (copy(device->fd, mem, flags, &device->last)) {
		if (errno == ENODEV) {
			device->gone = true;
			return false;
		}
		if ((errno != EFAULT && errno != EPERM && errno != EBUSY) ||
		    time(NULL) > end) {
			fprintf(stderr, "%s: %s\n", device->name, strerror(errno));
			wrong++;
			return false;
		}
		refused++;
		usleep(1000);
	}
	copies++;
	return true;
}

/* A new pattern by the CPU, to the device, and from there to another slot */
static void copy_slots(struct device *device, struct chunk *from, struct slot *source,
		       struct chunk *to, struct slot *target)
{
	__u64 seed = device->random | 1;
	unsigned int lost;

	pthread_rwlock_rdlock(&from->cpu);
	check_slot(from, source);
	fill(slot_mem(from, source), seed);
	source->seed = seed;
	source->maybe_zero = false;
	source->lost = from->lost;
	pthread_rwlock_unlock(&from->cpu);
	if (!device_copy(device, slot_mem(from, source), 0))
		return;

	pthread_rwlock_rdlock(&to->cpu);
	check_slot(to, target);
	pthread_rwlock_unlock(&to->cpu);
	lost = to->lost;
	/* If this fails after a part, either is possible; nothing is checked then */
	if (!device_copy(device, slot_mem(to, target), HMM_EDU_TO_MEMORY))
		return;
	target->seed = seed;
	target->lost = lost;
	target->maybe_zero = source->lost != from->lost;
	if (pick(&device->random, 2)) {
		pthread_rwlock_rdlock(&to->cpu);
		check_slot(to, target);
		pthread_rwlock_unlock(&to->cpu);
	}
	unsure += target->maybe_zero || target->lost != to->lost;
}

static void *use_device(void *arg)
{
	struct device *device = arg;
	unsigned long parity = (device - devices) % 2;
	struct chunk *from = NULL, *to;
	struct slot *source, *target;

	/* Mostly where it was, so that there is something mapped to be taken away */
	for (unsigned long i = 0; !over && !device->gone; i++) {
		if (i % 16 == 0)
			from = &chunks[2 * pick(&device->random, CHUNKS / 2) + parity];
		to = from;
		if (i % 16 == 15)
			to = &chunks[2 * pick(&device->random, CHUNKS / 2) + parity];
		source = take_slot(&device->random, from);
		target = take_slot(&device->random, to);
		copy_slots(device, from, source, to, target);
		/* After an unplugged device, nobody knows: leave them busy */
		if (device->gone)
			break;
		atomic_flag_clear(&source->busy);
		atomic_flag_clear(&target->busy);
	}
	return NULL;
}

static void *map_chunk(struct chunk *chunk)
{
	int flags = chunk->fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
	void *mem = mmap(chunk->mem, CHUNK_SIZE, PROT_READ | PROT_WRITE,
			 flags | MAP_FIXED, chunk->fd, 0);

	require(mem != MAP_FAILED, "mmap");
	if ((chunk - chunks) / 2 % 2)
		madvise(mem, CHUNK_SIZE, MADV_HUGEPAGE);
	return mem;
}

/* Few as a rule */
static char *some_pages(struct chunk *chunk, __u64 *random, size_t *size)
{
	size_t page = sysconf(_SC_PAGESIZE), first = pick(random, CHUNK_SIZE / page);

	*size = (1 + pick(random, 1 + pick(random, CHUNK_SIZE / page - first))) * page;
	return chunk->mem + first * page;
}

static bool reclaim(struct chunk *chunk, __u64 *random)
{
	size_t size;
	char *mem = some_pages(chunk, random, &size);

	if (chunk->fd >= 0)
		msync(mem, size, MS_SYNC);
	return !madvise(mem, size, MADV_PAGEOUT);
}

/* What the devices write after the fork is not for the child to see */
static bool fork_child(struct chunk *chunk, __u64 *random)
{
	struct slot *slot = take_slot(random, chunk);
	int status;
	pid_t pid;

	pthread_rwlock_rdlock(&chunk->cpu);
	pid = fork();
	if (!pid) {
		usleep(200000);
		/* Of a file, there is but one copy */
		_exit(chunk->fd < 0 && !slot_is_right(chunk, slot));
	}
	pthread_rwlock_unlock(&chunk->cpu);
	atomic_flag_clear(&slot->busy);
	require(pid > 0 && waitpid(pid, &status, 0) == pid, "fork");
	if (status) {
		fprintf(stderr, "wrong: a child sees what came after it: %#x\n", status);
		wrong++;
	}
	return true;
}

static bool protect(struct chunk *chunk, __u64 *random)
{
	size_t size;
	char *mem = some_pages(chunk, random, &size);
	int ret;

	pthread_rwlock_wrlock(&chunk->cpu);
	ret = mprotect(mem, size, pick(random, 2) ? PROT_READ : PROT_NONE);
	usleep(pick(random, 20000));
	ret |= mprotect(mem, size, PROT_READ | PROT_WRITE);
	pthread_rwlock_unlock(&chunk->cpu);
	return !ret;
}

static bool collapse(struct chunk *chunk, __u64 *random)
{
	return !madvise(chunk->mem, CHUNK_SIZE, MADV_COLLAPSE);
}

/* Away and back; this also splits huge pages */
static bool move(struct chunk *chunk, __u64 *random)
{
	size_t size = sysconf(_SC_PAGESIZE);
	char *mem = chunk->mem + pick(random, CHUNK_SIZE / size) * size;
	void *moved;

	pthread_rwlock_wrlock(&chunk->cpu);
	moved = mremap(mem, size, size, MREMAP_MAYMOVE | MREMAP_FIXED,
		       chunk->mem + CHUNK_SIZE);
	require(moved != MAP_FAILED, "mremap");
	usleep(pick(random, 1000));
	moved = mremap(moved, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, mem);
	require(moved != MAP_FAILED, "mremap");
	/* So that nobody else gets the room behind the chunk */
	moved = mmap(chunk->mem + CHUNK_SIZE, size, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	require(moved != MAP_FAILED, "mmap");
	pthread_rwlock_unlock(&chunk->cpu);
	return true;
}

static bool unmap(struct chunk *chunk, __u64 *random)
{
	size_t size;
	char *mem = some_pages(chunk, random, &size);

	pthread_rwlock_wrlock(&chunk->cpu);
	chunk->lost += chunk->fd < 0;
	if (pick(random, 2))
		map_chunk(chunk);
	else
		madvise(mem, size, MADV_DONTNEED);
	pthread_rwlock_unlock(&chunk->cpu);
	return true;
}

static struct disturber {
	const char *name;
	bool (*disturb)(struct chunk *chunk, __u64 *random);
	unsigned int every;	/* so many copies */
	pthread_t thread;
	unsigned long done;
	__u64 random;
} disturbers[] = {
	{ .name = "reclaim", .disturb = reclaim, .every = 10 },
	{ .name = "fork", .disturb = fork_child, .every = 300 },
	{ .name = "protect", .disturb = protect, .every = 20 },
	{ .name = "collapse", .disturb = collapse, .every = 100 },
	{ .name = "move, split", .disturb = move, .every = 20 },
	{ .name = "unmap", .disturb = unmap, .every = 50 },
};

#define NR_DISTURBERS	(sizeof(disturbers) / sizeof(*disturbers))

static void *be_a_nuisance(void *arg)
{
	struct disturber *me = arg;
	unsigned long next = 0;

	while (!over) {
		if (copies < next) {
			usleep(10000);
			continue;
		}
		me->done += me->disturb(&chunks[pick(&me->random, CHUNKS)], &me->random);
		next = copies + 1 + pick(&me->random, 2 * me->every);
	}
	return NULL;
}

static void find_devices(char **names, unsigned int nr)
{
	glob_t found;

	if (!nr && !glob("/dev/hmm_edu-*", 0, NULL, &found)) {
		names = found.gl_pathv;
		nr = found.gl_pathc;
	}
	if (!nr) {
		fprintf(stderr, "no /dev/hmm_edu-*: has QEMU -device edu, is hmm_edu loaded?\n");
		exit(1);
	}
	nr_devices = nr;
	devices = calloc(nr, sizeof(*devices));
	require(devices, "calloc");
	for (unsigned int i = 0; i < nr; i++) {
		devices[i].name = names[i];
		devices[i].random = i + 1;
	}
}

static void make_chunks(const char *path)
{
	for (struct chunk *chunk = chunks; chunk < chunks + CHUNKS; chunk++) {
		/* Two of three are anonymous; behind each is room for a page to move to */
		chunk->fd = (chunk - chunks) % 3 ? -1 : new_file(path, CHUNK_SIZE);
		chunk->mem = new_memory(2 * CHUNK_SIZE, -1, 0);
		map_chunk(chunk);
		pthread_rwlock_init(&chunk->cpu, NULL);
	}
}

static void join_or_hang(pthread_t thread, const char *name)
{
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += PATIENCE;
	if (!pthread_timedjoin_np(thread, NULL, &end))
		return;
	fprintf(stderr, "%s hangs\n", name);
	_exit(1);
}

static bool any_device(void)
{
	for (unsigned int i = 0; i < nr_devices; i++)
		if (!devices[i].gone)
			return true;
	return false;
}

static void start_all(void)
{
	unsigned int i;

	for (i = 0; i < nr_devices; i++) {
		devices[i].fd = open(devices[i].name, O_RDWR);
		require(devices[i].fd >= 0, devices[i].name);
		require(!pthread_create(&devices[i].thread, NULL, use_device,
					&devices[i]), "pthread_create");
	}
	for (i = 0; i < NR_DISTURBERS; i++) {
		disturbers[i].random = 1000 + i;
		require(!pthread_create(&disturbers[i].thread, NULL, be_a_nuisance,
					&disturbers[i]), "pthread_create");
	}
}

static bool all_disturbed(void)
{
	for (unsigned int i = 0; i < NR_DISTURBERS; i++)
		if (!disturbers[i].done)
			return false;
	return true;
}

static void wait_until_done(void)
{
	time_t start = time(NULL), last = start;

	/* A busy machine may have done its copies before some have disturbed any */
	while ((copies < wanted || (!all_disturbed() && time(NULL) < start + 300)) &&
	       !wrong && any_device()) {
		usleep(100000);
		if (time(NULL) < last + 5)
			continue;
		last = time(NULL);
		printf("%4ld s: %lu of %lu MiB\n", (long)(last - start),
		       copies * SIZE >> 20, wanted * SIZE >> 20);
		fflush(stdout);
	}
	over = true;
	for (unsigned int i = 0; i < nr_devices; i++)
		join_or_hang(devices[i].thread, devices[i].name);
	for (unsigned int i = 0; i < NR_DISTURBERS; i++)
		join_or_hang(disturbers[i].thread, disturbers[i].name);
}

static void check_all(void)
{
	for (struct chunk *chunk = chunks; chunk < chunks + CHUNKS; chunk++)
		for (struct slot *slot = chunk->slots; slot < chunk->slots + SLOTS; slot++)
			if (!atomic_flag_test_and_set(&slot->busy))
				check_slot(chunk, slot);
}

/* The exit status */
static int print_results(long pins, long swapped)
{
	unsigned long long faults = 0, notified = 0, gone = 0;
	unsigned int i;
	int status = wrong ? 1 : 0;

	for (i = 0; i < nr_devices; i++) {
		faults += devices[i].last.faults;
		notified += devices[i].last.notified;
		gone += devices[i].gone;
	}
	printf("%-24s %10u, of which %llu were unplugged\n", "devices", nr_devices, gone);
	printf("%-24s %10lu MiB\n", "copied by devices", copies * SIZE >> 20);
	printf("%-24s %10lu\n", "bytes checked", checked);
	printf("%-24s %10lu\n", "wrong", wrong);
	printf("%-24s %10lu copies whose memory was lost meanwhile\n", "may be zero", unsure);
	printf("%-24s %10llu\n", "pages asked for", faults);
	printf("%-24s %10llu\n", "notifier called", notified);
	printf("%-24s %10lu times, and copied later\n", "refused", refused);
	for (i = 0; i < NR_DISTURBERS; i++)
		printf("%-24s %10lu times\n", disturbers[i].name, disturbers[i].done);
	status |= !gone && !all_disturbed();
	printf("%-24s %10ld pages\n", "swapped out", swapped);
	printf("%-24s %10ld pages\n", "pinned", pins);
	status |= !notified || pins;
	return status ?: gone ? 3 : 0;
}

int main(int argc, char **argv)
{
	const char *path = NULL;
	long pins, swapped;
	int option;

	while ((option = getopt(argc, argv, "n:f:")) != -1) {
		switch (option) {
		case 'n':
			wanted = (strtoul(optarg, NULL, 0) << 20) / SIZE;
			break;
		case 'f':
			path = optarg;
			break;
		default:
			fprintf(stderr, "usage: hmm_edu_user [-n MIB] [-f FILE] [DEVICE]...\n");
			return 2;
		}
	}
	find_devices(argv + optind, argc - optind);
	show_all(devices[0].name, path);
	if (!wanted)
		return 0;
	pins = pages_pinned();
	swapped = vm_event("pswpout");
	make_chunks(path);
	start_all();
	wait_until_done();
	check_all();
	return print_results(pages_pinned() - pins, vm_event("pswpout") - swapped);
}
