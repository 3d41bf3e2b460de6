// SPDX-License-Identifier: GPL-2.0
/*
 * Compares the events of hmm, mmu_notifier and migrate, and the counts of tools/mm/hmmtop,
 * with what the test driver counted or the test did.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "pin.h"
#include "test.h"

#define TRACING		"/sys/kernel/tracing/"
#define INSTANCE	TRACING "instances/hmm-events/"
#define LINE		512

/* Events over tracefs */

static const char * const all_events[] = {
	"hmm/hmm_range_fault_begin", "hmm/hmm_range_fault_end", "hmm/hmm_fault",
	"hmm/hmm_dma_map", "hmm/hmm_dma_unmap",
	"mmu_notifier/mmu_interval_invalidate",
	"migrate/migrate_vma_setup", "migrate/migrate_vma_pages",
	"migrate/migrate_vma_finalize",
	NULL,
};

static bool events_begin(void)
{
	unsigned int i, fd;
	char path[LINE];

	if (mkdir(INSTANCE, 0700) && errno != EEXIST)
		return false;
	fd = open(INSTANCE "trace", O_WRONLY | O_TRUNC | O_CLOEXEC);
	close(fd);
	for (i = 0; all_events[i]; i++) {
		snprintf(path, sizeof(path), INSTANCE "events/%s/enable",
			 all_events[i]);
		if (!write_file(path, "1") && !strstr(path, "migrate_vma"))
			return false;
	}
	return true;
}

/*
 * The number of events of that name of this process, or of no process, since
 * events_begin(); the arguments of number @nth are copied to @line.
 */
static unsigned long events_seen(const char *name, unsigned long nth, char *line)
{
	FILE *f = fopen(INSTANCE "trace", "re");
	char buf[LINE], mark[64], pid[32];
	unsigned long n = 0;
	const char *at;

	snprintf(mark, sizeof(mark), ": %s: ", name);
	snprintf(pid, sizeof(pid), " pid=%d ", getpid());
	while (f && fgets(buf, sizeof(buf), f)) {
		at = strstr(buf, mark);
		if (!at || (strstr(at, " pid=") && !strstr(at, pid)))
			continue;
		if (n++ == nth)
			strcpy(line, at + strlen(mark) - 1);
	}
	if (f)
		fclose(f);
	return n;
}

/* A number among the arguments; -1 if there is no such argument */
static long arg(const char *line, const char *name)
{
	char key[64];
	const char *at;

	snprintf(key, sizeof(key), " %s=", name);
	at = strstr(line, key);
	return at ? (long)strtoul(at + strlen(key), NULL, 0) : -1;
}

/* The sum of an argument in all events of that name */
static long sum_of(const char *name, const char *what)
{
	unsigned long i, nr = events_seen(name, -1UL, NULL);
	char line[LINE];
	long sum = 0;

	for (i = 0; i < nr; i++) {
		events_seen(name, i, line);
		sum += arg(line, what);
	}
	return sum;
}

FIXTURE(events)
{
	struct call *c;
	char line[LINE];
};

FIXTURE_SETUP(events)
{
	const char *why = hmm_open();

	if (why)
		SKIP(return, "%s", why);
	thp_on_request();
	if (access(TRACING "events/hmm/hmm_range_fault_end", F_OK))
		SKIP(return, "needs CONFIG_TRACING and the events of hmm");
}

FIXTURE_TEARDOWN(events)
{
	if (self->c)
		call_free(self->c);
	hmm_close();
	rmdir(INSTANCE);
}

/* There is one begin and one end; returns the arguments of the end */
#define ASSERT_ONE_CALL(line)						\
	do {								\
		ASSERT_EQ(1, events_seen("hmm_range_fault_begin", 0, line)); \
		ASSERT_EQ(1, events_seen("hmm_range_fault_end", 0, line)); \
	} while (0)

/* Requests, and answers by kind */
TEST_F(events, answers_by_kind)
{
	struct call *c = self->c = call_new(map_anon(HUGE, false), 16);
	char *p = (char *)c->raw.start;

	fill(p, 8 * PAGE);
	ASSERT_EQ(0, mprotect(p, 3 * PAGE, PROT_READ));
	ASSERT_EQ(0, munmap(p + 12 * PAGE, 4 * PAGE));
	ASSERT_TRUE(events_begin());
	ASSERT_ANSWERED(c, call_ask(c, ASK_NOTHING));
	ASSERT_EQ(1, events_seen("hmm_range_fault_begin", 0, self->line));
	EXPECT_NE(NULL, strstr(self->line, " request=none mask=none unlocked=0"));
	EXPECT_EQ((long)c->raw.start, arg(self->line, "start"));
	ASSERT_ONE_CALL(self->line);
	EXPECT_EQ((long)c->raw.start, arg(self->line, "start"));
	EXPECT_EQ((long)c->raw.end, arg(self->line, "end"));
	EXPECT_EQ(0, arg(self->line, "ret"));
	EXPECT_EQ(4, arg(self->line, "none"));
	EXPECT_EQ(3, arg(self->line, "read"));
	EXPECT_EQ(5, arg(self->line, "write"));
	EXPECT_EQ(4, arg(self->line, "error"));
	EXPECT_EQ(0, arg(self->line, "faults"));
	EXPECT_EQ(1, arg(self->line, "attempts"));
	EXPECT_LT(0, arg(self->line, "ns"));
	EXPECT_GE((long)c->raw.ns, arg(self->line, "ns"));
}

/* Each page fault is counted and traced */
TEST_F(events, page_faults)
{
	struct call *c = self->c = call_new(map_anon(HUGE, false), 16);

	fill((char *)c->raw.start + 5 * PAGE, 2 * PAGE);
	c->raw.flags = HMM_RANGE_COUNT | HMM_RANGE_UNLOCKED;
	ASSERT_TRUE(events_begin());
	ASSERT_ANSWERED(c, call_ask(c, ASK_WRITE));
	ASSERT_EQ(1, events_seen("hmm_range_fault_begin", 0, self->line));
	EXPECT_NE(NULL, strstr(self->line, " request=write mask=none unlocked=1"));
	ASSERT_ONE_CALL(self->line);
	EXPECT_EQ(14, arg(self->line, "faults"));
	if (hmm.features & HMM_RANGE_HAS_COUNTS)
		EXPECT_EQ((long)c->raw.calls, arg(self->line, "faults"));
	EXPECT_LT(0, arg(self->line, "fault_ns"));
	EXPECT_GE(arg(self->line, "ns"), arg(self->line, "fault_ns"));
	ASSERT_EQ(14, events_seen("hmm_fault", 5, self->line));
	EXPECT_EQ((long)c->raw.start + 7 * (long)PAGE, arg(self->line, "address"));
	EXPECT_NE(NULL, strstr(self->line, " flags=WRITE|"));
}

/* The end of a call that fails is traced, with its error and the answers before it */
TEST_F(events, call_that_fails)
{
	struct call *c = self->c = call_new(map_anon(HUGE, false), 16);

	fill((char *)c->raw.start, 8 * PAGE);
	ASSERT_EQ(0, munmap((char *)c->raw.start + 12 * PAGE, 4 * PAGE));
	ASSERT_TRUE(events_begin());
	ASSERT_FAILED(EFAULT, c, call_ask(c, ASK_READ));
	ASSERT_ONE_CALL(self->line);
	EXPECT_EQ(-EFAULT, arg(self->line, "ret"));
	EXPECT_EQ(12, arg(self->line, "write") + arg(self->line, "read"));
	EXPECT_EQ(0, arg(self->line, "none"));
	EXPECT_EQ(0, arg(self->line, "error"));
	EXPECT_EQ(4, arg(self->line, "faults"));
}

/* Answers that the call's own page faults invalidate, as they copy the zero page */
TEST_F(events, invalidated_by_self)
{
	struct call *c = self->c = call_new(map_anon(HUGE, false), 16);

	read_pages((char *)c->raw.start, 16 * PAGE);
	ASSERT_TRUE(events_begin());
	ASSERT_FAILED(EBUSY, c, call_ask(c, ASK_WRITE));
	ASSERT_ONE_CALL(self->line);
	EXPECT_EQ(-EBUSY, arg(self->line, "ret"));
	EXPECT_EQ(1, arg(self->line, "attempts"));
	EXPECT_EQ(1, arg(self->line, "by_self"));
	EXPECT_EQ(0, arg(self->line, "by_others"));
	EXPECT_EQ(c->raw.invalidations,
		  events_seen("mmu_interval_invalidate", 0, self->line));
	EXPECT_NE(NULL, strstr(self->line, " event=clear "));
	EXPECT_EQ((long)c->raw.start, arg(self->line, "interval_start"));
	EXPECT_EQ((long)c->raw.end, arg(self->line, "interval_end"));
	EXPECT_EQ(1, arg(self->line, "blockable"));
	EXPECT_EQ(0, arg(self->line, "refused"));
}

/* The unlocked call retries */
TEST_F(events, invalidated_by_self_and_again)
{
	struct call *c = self->c = call_new(map_anon(HUGE, false), 16);

	read_pages((char *)c->raw.start, 16 * PAGE);
	c->raw.flags = HMM_RANGE_UNLOCKED;
	ASSERT_TRUE(events_begin());
	ASSERT_ANSWERED(c, call_ask(c, ASK_WRITE));
	ASSERT_ONE_CALL(self->line);
	EXPECT_EQ(0, arg(self->line, "ret"));
	EXPECT_EQ(16, arg(self->line, "write"));
	EXPECT_EQ(2, arg(self->line, "attempts"));
	EXPECT_EQ(1, arg(self->line, "by_self"));
	EXPECT_EQ(0, arg(self->line, "by_others"));
}

TEST_F(events, invalidated_by_others)
{
	struct call *c = self->c = call_new(map_anon(HUGE, false), 16);

	c->raw.flags = HMM_RANGE_STALE;
	ASSERT_TRUE(events_begin());
	ASSERT_FAILED(EBUSY, c, call_ask(c, ASK_NOTHING));
	ASSERT_ONE_CALL(self->line);
	EXPECT_EQ(-EBUSY, arg(self->line, "ret"));
	EXPECT_EQ(0, arg(self->line, "by_self"));
	EXPECT_EQ(1, arg(self->line, "by_others"));
	EXPECT_EQ(0, events_seen("mmu_interval_invalidate", 0, self->line));
}

/* No attempt is made if the call finds no memory for a copy of its requests */
TEST_F(events, call_without_memory)
{
	bool before_faults = false;
	unsigned int nth, i;
	int ret;

	NEED(fail_allocation(0), "needs CONFIG_FAILSLAB and CONFIG_FAIL_PAGE_ALLOC");
	for (nth = 1; nth < 100; nth++) {
		struct call *c = call_new(map_anon(HUGE, false), 16);

		c->raw.entries = (uintptr_t)c->e;
		c->raw.flags = HMM_RANGE_UNLOCKED;
		c->raw.pfn_flags_mask = ASK_WRITE;
		c->raw.default_flags = 0;
		for (i = 0; i < 16; i++)
			c->e[i] = ASK_WRITE;
		ASSERT_TRUE(events_begin());
		fail_allocation(nth);
		ret = ioctl(hmm_fd[0], HMM_RANGE_CALL, &c->raw) ? 0 : c->raw.ret;
		fail_allocation(0);
		call_free(c);
		/* Otherwise, the driver found none */
		if (ret != -ENOMEM)
			continue;
		ASSERT_ONE_CALL(self->line);
		EXPECT_EQ(-ENOMEM, arg(self->line, "ret"));
		EXPECT_EQ(!!arg(self->line, "faults"), arg(self->line, "attempts"));
		if (arg(self->line, "faults"))
			break;
		before_faults = true;
	}
	EXPECT_GT(100, nth);
	EXPECT_TRUE(before_faults);
}

/* Programs can read the names in an event without the kernel's headers */
TEST_F(events, names_have_values)
{
	static const char * const events[] = {
		"hmm/hmm_fault", "mmu_notifier/mmu_interval_invalidate",
	};
	char path[LINE], buf[8192];
	unsigned int i;
	size_t n;
	FILE *f;

	for (i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), TRACING "events/%s/format", events[i]);
		f = fopen(path, "re");
		ASSERT_NE(NULL, f);
		n = fread(buf, 1, sizeof(buf) - 1, f);
		fclose(f);
		buf[n] = 0;
		EXPECT_NE(NULL, strstr(buf, "print fmt"));
		EXPECT_EQ(NULL, strstr(buf, "FAULT_")) TH_LOG("%s", buf);
		EXPECT_EQ(NULL, strstr(buf, "NOTIFY_")) TH_LOG("%s", buf);
	}
}

#define NEED_MIGRATION_EVENTS()						\
	NEED(!access(TRACING "events/migrate/migrate_vma_setup", F_OK),	\
	     "needs events of migrate_vma_setup()")

/* Which pages migrate, and why the rest does not */
TEST_F(events, migration)
{
	char *p;
	int gup;

	NEED_DEVICE();
	NEED_MIGRATION_EVENTS();
	p = map_anon(HUGE, false);
	fill(p, 16 * PAGE);
	ASSERT_EQ(2, to_device(PRIVATE_B, p + 8 * PAGE, 2, false));
	gup = pin(p + 3 * PAGE, 1);
	NEED(gup >= 0, "needs CONFIG_GUP_TEST");
	ASSERT_TRUE(events_begin());
	ASSERT_EQ(13, to_device(PRIVATE_A, p, 16, false));
	unpin(gup);
	ASSERT_EQ(1, events_seen("migrate_vma_setup", 0, self->line));
	EXPECT_NE(NULL, strstr(self->line, " select=system cpu_fault=0 "));
	EXPECT_EQ((long)p, arg(self->line, "start"));
	EXPECT_EQ(13, arg(self->line, "collected"));
	EXPECT_EQ(0, arg(self->line, "locked"));
	EXPECT_EQ(1, arg(self->line, "pinned"));
	EXPECT_EQ(2, arg(self->line, "unselected"));
	EXPECT_EQ(0, arg(self->line, "other"));
	ASSERT_EQ(1, events_seen("migrate_vma_pages", 0, self->line));
	EXPECT_EQ(13, arg(self->line, "migrated"));
	EXPECT_EQ(0, arg(self->line, "no_memory"));
	EXPECT_EQ(0, arg(self->line, "failed"));
	ASSERT_EQ(1, events_seen("migrate_vma_finalize", 0, self->line));
	EXPECT_EQ(13, arg(self->line, "migrated"));
	EXPECT_EQ(1, arg(self->line, "to_device"));

	/* Migrated back, as the CPU touches one */
	ASSERT_TRUE(events_begin());
	ASSERT_TRUE(filled(p + 5 * PAGE, PAGE));
	ASSERT_EQ(1, events_seen("migrate_vma_setup", 0, self->line));
	EXPECT_EQ(1, arg(self->line, "cpu_fault"));
	EXPECT_EQ(1, arg(self->line, "collected"));
	ASSERT_EQ(1, events_seen("migrate_vma_finalize", 0, self->line));
	EXPECT_EQ(1, arg(self->line, "migrated"));
	EXPECT_EQ(0, arg(self->line, "to_device"));
}

/* A huge page counts for all of its pages */
TEST_F(events, huge_migration)
{
	char *p;

	NEED_DEVICE();
	NEED_THP();
	NEED_MIGRATION_EVENTS();
	p = map_anon(HUGE, true);
	fill(p, HUGE);
	ASSERT_TRUE(events_begin());
	ASSERT_EQ(0, to_system(PRIVATE_A, p, HUGE_NR, true));
	ASSERT_EQ(1, events_seen("migrate_vma_setup", 0, self->line));
	EXPECT_EQ((long)HUGE_NR, arg(self->line, "unselected"));
	EXPECT_EQ(0, arg(self->line, "other"));

	ASSERT_TRUE(events_begin());
	ASSERT_EQ(HUGE_NR, to_device(PRIVATE_A, p, HUGE_NR, true));
	ASSERT_EQ(1, events_seen("migrate_vma_setup", 0, self->line));
	EXPECT_EQ(0, arg(self->line, "unselected"));
	EXPECT_EQ((long)HUGE_NR, arg(self->line, "collected"));
	EXPECT_EQ(0, arg(self->line, "other"));
	ASSERT_EQ(1, events_seen("migrate_vma_finalize", 0, self->line));
	EXPECT_EQ((long)HUGE_NR, arg(self->line, "migrated"));

	/* Nor does another device get it */
	ASSERT_TRUE(events_begin());
	ASSERT_EQ(0, to_system(PRIVATE_B, p, HUGE_NR, true));
	ASSERT_EQ(1, events_seen("migrate_vma_setup", 0, self->line));
	EXPECT_EQ((long)HUGE_NR, arg(self->line, "unselected"));
}

/* One that is pinned cannot be split either, and stays for that reason */
TEST_F(events, huge_page_pinned)
{
	char *p;
	int gup;

	NEED_DEVICE();
	NEED_THP();
	NEED_MIGRATION_EVENTS();
	p = map_anon(HUGE, true);
	fill(p, HUGE);
	gup = pin(p, 1);
	NEED(gup >= 0, "needs CONFIG_GUP_TEST");
	ASSERT_TRUE(events_begin());
	ASSERT_EQ(0, to_device(PRIVATE_A, p, HUGE_NR, false));
	unpin(gup);
	ASSERT_EQ(1, events_seen("migrate_vma_setup", 0, self->line));
	EXPECT_EQ(0, arg(self->line, "collected"));
	EXPECT_EQ((long)HUGE_NR, arg(self->line, "pinned"));
	EXPECT_EQ(0, arg(self->line, "other"));
}

TEST_F(events, migration_without_memory)
{
	uint32_t fail = 3;
	char *p;

	NEED_DEVICE();
	NEED_MIGRATION_EVENTS();
	p = map_anon(HUGE, false);
	fill(p, 16 * PAGE);
	ASSERT_EQ(0, ioctl(hmm_fd[PRIVATE_A], HMM_RANGE_FAIL, &fail));
	ASSERT_TRUE(events_begin());
	ASSERT_EQ(13, to_device(PRIVATE_A, p, 16, false));
	ASSERT_EQ(1, events_seen("migrate_vma_pages", 0, self->line));
	EXPECT_EQ(13, arg(self->line, "migrated"));
	EXPECT_EQ(3, arg(self->line, "no_memory"));
	EXPECT_EQ(0, arg(self->line, "failed"));
}

/* Maps 16 pages, with events; of @cmd, what is not set here is up to the caller */
static int map_for_dma(struct hmm_range_dma *cmd, void *p, uint32_t device)
{
	cmd->start = (uintptr_t)p;
	cmd->nr = 16;
	cmd->default_flags = ASK_WRITE;
	cmd->entry_shift = hmm.page_shift;
	cmd->device = device;
	cmd->data = (uintptr_t)calloc(16, sizeof(uint64_t));
	fill(p, 16 * PAGE);
	if (!events_begin())
		return -ENOENT;
	return ioctl(hmm_fd[PRIVATE_A], HMM_RANGE_DMA, cmd) ? -errno : cmd->ret;
}

#define NEED_IOMMU(ret)							\
	NEED((ret) != -ENODEV, "needs QEMU's -device intel-iommu and edu")

TEST_F(events, dma_by_entry)
{
	struct hmm_range_dma cmd = { };
	int ret = map_for_dma(&cmd, map_anon(HUGE, false), HMM_RANGE_DMA_LIST);

	NEED(ret != -ENODEV, "needs CONFIG_ARCH_HAS_DMA_OPS");
	ASSERT_EQ(0, ret);
	EXPECT_EQ(16, sum_of("hmm_dma_map", "nr"));
	EXPECT_EQ(16, events_seen("hmm_dma_map", 7, self->line));
	EXPECT_EQ(7, arg(self->line, "first"));
	EXPECT_EQ((long)PAGE, arg(self->line, "size"));
	EXPECT_EQ(0, arg(self->line, "iova"));
	EXPECT_EQ(0, arg(self->line, "ret"));
	EXPECT_EQ((long)cmd.unmapped, sum_of("hmm_dma_unmap", "nr"));
}

TEST_F(events, dma_by_run)
{
	struct hmm_range_dma cmd = { .at_once = HMM_RANGE_ALL_AT_ONCE };
	int ret = map_for_dma(&cmd, map_anon(HUGE, false), HMM_RANGE_DMA_IOVA);

	NEED_IOMMU(ret);
	ASSERT_EQ(0, ret);
	ASSERT_EQ(1, events_seen("hmm_dma_map", 0, self->line));
	EXPECT_EQ(16, arg(self->line, "nr"));
	EXPECT_EQ(1, arg(self->line, "iova"));
}

/* What the IOMMU refuses to link */
TEST_F(events, dma_refused)
{
	struct hmm_range_dma cmd = { .at_once = HMM_RANGE_ALL_AT_ONCE, .fail_at = 1 };
	int ret = map_for_dma(&cmd, map_anon(HUGE, false), HMM_RANGE_DMA_IOVA);

	NEED_IOMMU(ret);
	ASSERT_EQ(0, ret);
	NEED(cmd.maps, "needs CONFIG_KPROBES");
	ASSERT_EQ(-ENOMEM, cmd.ret_at_once);
	ASSERT_LT(0, events_seen("hmm_dma_map", 0, self->line));
	EXPECT_EQ(0, arg(self->line, "first"));
	EXPECT_EQ(-ENOMEM, arg(self->line, "ret"));
}

/* Memory of a PCI device, which another reaches by its bus address */
TEST_F(events, dma_by_bus_address)
{
	struct hmm_range_dma cmd = { .at_once = HMM_RANGE_ALL_AT_ONCE,
				     .p2p = HMM_RANGE_P2P_BUS };
	void *p = map_p2p(16 * PAGE);
	int ret;

	NEED(p, "needs QEMU's -device ivshmem-plain, and CONFIG_PCI_P2PDMA");
	ret = map_for_dma(&cmd, p, HMM_RANGE_DMA_IOVA);
	NEED_IOMMU(ret);
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, cmd.ret_at_once);
	ASSERT_LT(0, events_seen("hmm_dma_map", 0, self->line));
	EXPECT_EQ(0, arg(self->line, "first"));
	EXPECT_EQ(16, arg(self->line, "nr"));
	EXPECT_EQ(0, arg(self->line, "ret"));
}

/* No event has a pfn, or an address of the kernel, in its text */
TEST_F(events, no_pfn)
{
	struct call *c = self->c = call_new(map_anon(HUGE, false), 1);
	char pfn[32], buf[LINE];
	FILE *f;

	fill((void *)(uintptr_t)c->raw.start, PAGE);
	ASSERT_TRUE(events_begin());
	ASSERT_ANSWERED(c, call_ask(c, ASK_WRITE));
	snprintf(pfn, sizeof(pfn), "%llx", (unsigned long long)answer_pfn(c->e[0]));
	f = fopen(INSTANCE "trace", "re");
	ASSERT_NE(NULL, f);
	while (fgets(buf, sizeof(buf), f)) {
		EXPECT_EQ(NULL, strstr(buf, "=ffff"));
		EXPECT_EQ(NULL, strstr(strstr(buf, ": ") ?: "", pfn)) TH_LOG("%s", buf);
	}
	fclose(f);
}

/* hmmtop */

struct top {
	pid_t pid;
	int out;
	bool terminal;
	char text[1 << 14];
};

static bool mount_terminals(void)
{
	mkdir("/dev/pts", 0755);
	return !unshare(CLONE_NEWNS) &&
	       !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
	       !mount("devpts", "/dev/pts", "devpts", 0, "ptmxmode=666");
}

/* Both ends of a small terminal, as pipe() does */
static int terminal(int fds[2])
{
	const struct winsize size = { .ws_row = 6, .ws_col = 132 };

	fds[0] = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (fds[0] < 0 || unlockpt(fds[0]) || ioctl(fds[0], TIOCSWINSZ, &size))
		return -1;
	fds[1] = open(ptsname(fds[0]), O_RDWR | O_NOCTTY);
	return fds[1] < 0 ? -1 : 0;
}

/* hmmtop is in the directory of this program */
static void top_path(char *path)
{
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 8);

	path[n < 0 ? 0 : n] = 0;
	strcpy(strrchr(path, '/') + 1, "hmmtop");
}

static void top_run(struct top *t, int nr, ...)
{
	const char *argv[8] = { "hmmtop" };
	char path[PATH_MAX];
	va_list args;
	int fds[2], i;

	top_path(path);
	va_start(args, nr);
	for (i = 0; i < nr; i++)
		argv[i + 1] = va_arg(args, const char *);
	va_end(args);
	t->text[0] = 0;
	if (t->terminal ? terminal(fds) : pipe(fds))
		return;
	t->pid = fork();
	if (!t->pid) {
		dup2(fds[1], 1);
		dup2(fds[1], 2);
		close(fds[0]);
		close(fds[1]);
		execv(path, (char **)argv);
		_exit(126);
	}
	close(fds[1]);
	t->out = fds[0];
}

/* Reads up to that text, or to the end */
static bool top_read(struct top *t, const char *until)
{
	size_t len = strlen(t->text);
	ssize_t n;

	while (!until || !strstr(t->text, until)) {
		n = read(t->out, t->text + len, sizeof(t->text) - len - 1);
		if (n <= 0)
			return false;
		len += n;
		t->text[len] = 0;
	}
	return true;
}

static void instance_of(const struct top *t, char *path)
{
	sprintf(path, TRACING "instances/hmmtop-%d", t->pid);
}

/* Its exit status; 128 and more for signals; 200 if it leaves something behind */
static int top_end(struct top *t, int sig)
{
	int status = -1;
	char path[64];

	if (sig)
		kill(t->pid, sig);
	top_read(t, NULL);
	close(t->out);
	waitpid(t->pid, &status, 0);
	if (WIFSIGNALED(status))
		return 128 + WTERMSIG(status);
	instance_of(t, path);
	return access(path, F_OK) ? WEXITSTATUS(status) : 200;
}

/* Calls, pages, faults, invalidations, pages to the device and back */
struct counts {
	unsigned long n[6];
};

/* The line of a process, from its name on; NULL if there is none */
static const char *top_row(const struct top *t, pid_t pid)
{
	const char *line;
	long found;
	int at;

	for (line = t->text; line; line = strchr(line, '\n')) {
		line += strspn(line, "\n");
		if (sscanf(line, "%ld %n", &found, &at) == 1 && found == pid)
			return line + at;
	}
	return NULL;
}

static bool top_counts(const struct top *t, pid_t pid, struct counts *c)
{
	const char *row = top_row(t, pid);

	return row && sscanf(row, "%*s %lu %lu %lu %lu %lu %lu", &c->n[0], &c->n[1],
			     &c->n[2], &c->n[3], &c->n[4], &c->n[5]) == 6;
}

/* It takes the checking kernel seconds to make tracefs's files for an instance */
#define TOP_SECONDS	240

FIXTURE(top)
{
	struct top t;
};

FIXTURE_SETUP(top)
{
	const char *why = hmm_open();
	char path[PATH_MAX];

	if (why)
		SKIP(return, "%s", why);
	if (access(TRACING "events/hmm/hmm_range_fault_end", F_OK))
		SKIP(return, "needs CONFIG_TRACING and the events of hmm");
	top_path(path);
	if (access(path, X_OK))
		SKIP(return, "needs tools/mm/hmmtop");
}

FIXTURE_TEARDOWN(top)
{
	hmm_close();
}

/* The counts of hmmtop agree with those of the driver, and with what was done */
TEST_F_TIMEOUT(top, counts_agree, TOP_SECONDS)
{
	struct counts was = { }, seen = { };
	struct call *c;
	char *p;
	int i;

	top_run(&self->t, 2, "-r", "100");
	ASSERT_TRUE(top_read(&self->t, "recording\n"));
	for (i = 1; i <= 20; i++) {
		c = call_new(map_anon(HUGE, false), 3 * i);
		if (i & 1)
			read_pages((char *)c->raw.start, 3 * i * PAGE);
		c->raw.flags = HMM_RANGE_COUNT | (i & 2 ? HMM_RANGE_UNLOCKED : 0);
		call_ask(c, ASK_WRITE);
		was.n[0]++;
		was.n[1] += c->raw.ret ? 0 : 3 * i;
		was.n[2] += hmm.features & HMM_RANGE_HAS_COUNTS ? c->raw.calls : 3 * i;
		was.n[3] += c->raw.invalidations;
		munmap((void *)(uintptr_t)c->raw.start, HUGE);
		call_free(c);
	}
	if (hmm.dev[PRIVATE_A].nr) {
		p = map_anon(HUGE, false);
		fill(p, 100 * PAGE);
		was.n[4] += to_device(PRIVATE_A, p, 100, false);
		was.n[5] += to_system(PRIVATE_A, p, 60, false);
		EXPECT_TRUE(filled(p, 100 * PAGE));
		was.n[5] += 40;
		/* The driver has a notifier on what it migrates: one invalidation each time */
		was.n[3] += 2;
	}
	ASSERT_EQ(0, top_end(&self->t, SIGINT));
	ASSERT_NE(NULL, strstr(self->t.text, ", none lost"));
	ASSERT_TRUE(top_counts(&self->t, getpid(), &seen)) TH_LOG("%s", self->t.text);
	for (i = 0; i < 6; i++)
		EXPECT_EQ(was.n[i], seen.n[i]) TH_LOG("number %d of %s", i, self->t.text);
}

/* A call by a kernel thread or another process counts for the owner of the memory */
TEST_F_TIMEOUT(top, other_task_faults, TOP_SECONDS)
{
	struct counts seen = { };
	pid_t owner = getpid(), child;
	struct call *c = call_new(map_anon(HUGE, false), 8);
	int status;

	/* hmmtop learns the owner's name from what the owner does */
	top_run(&self->t, 2, "-r", "100");
	ASSERT_TRUE(top_read(&self->t, "recording\n"));
	ASSERT_EQ(0, call_ask(c, ASK_WRITE));
	child = fork();
	if (!child) {
		c->raw.flags = HMM_RANGE_OPENER;
		_exit(call_ask(c, ASK_READ) != 0);
	}
	waitpid(child, &status, 0);
	ASSERT_EQ(0, WEXITSTATUS(status));
	ASSERT_EQ(0, top_end(&self->t, SIGTERM));
	ASSERT_TRUE(top_counts(&self->t, owner, &seen)) TH_LOG("%s", self->t.text);
	EXPECT_EQ(2, seen.n[0]);
	EXPECT_EQ(16, seen.n[1]);
	EXPECT_FALSE(top_counts(&self->t, child, &seen));
}

static void *tell_and_wait(void *tid)
{
	*(volatile pid_t *)tid = syscall(SYS_gettid);
	pause();
	return NULL;
}

/* Only one process; a thread stands for its process */
TEST_F_TIMEOUT(top, one_process, TOP_SECONDS)
{
	struct call *c = call_new(map_anon(HUGE, false), 8);
	struct counts seen = { };
	volatile pid_t tid = 0;
	pthread_t thread;
	char text[16];
	int status;
	pid_t child;

	ASSERT_EQ(0, pthread_create(&thread, NULL, tell_and_wait, (void *)&tid));
	while (!tid)
		sched_yield();
	snprintf(text, sizeof(text), "%d", tid);
	top_run(&self->t, 4, "-r", "100", "-p", text);
	ASSERT_TRUE(top_read(&self->t, "recording\n"));
	child = fork();
	if (!child)
		_exit(call_ask(c, ASK_WRITE) != 0);
	waitpid(child, &status, 0);
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, call_ask(c, ASK_WRITE));
	ASSERT_EQ(0, top_end(&self->t, SIGHUP));
	ASSERT_TRUE(top_counts(&self->t, getpid(), &seen)) TH_LOG("%s", self->t.text);
	EXPECT_EQ(1, seen.n[0]);
	EXPECT_FALSE(top_counts(&self->t, child, &seen));
}

/* Options that others have set for their own traces */
TEST_F_TIMEOUT(top, other_options, TOP_SECONDS)
{
	static const char * const options[] = { "raw", "hex", "bin", "fields" };
	struct call *c = call_new(map_anon(HUGE, false), 8);
	struct counts seen = { };
	char path[64];
	unsigned int i;

	for (i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), TRACING "options/%s", options[i]);
		write_file(path, "1");
	}
	write_file(TRACING "options/context-info", "0");
	top_run(&self->t, 2, "-r", "100");
	EXPECT_TRUE(top_read(&self->t, "recording\n"));
	for (i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), TRACING "options/%s", options[i]);
		write_file(path, "0");
	}
	write_file(TRACING "options/context-info", "1");
	EXPECT_EQ(0, call_ask(c, ASK_WRITE));
	ASSERT_EQ(0, top_end(&self->t, SIGINT));
	ASSERT_TRUE(top_counts(&self->t, getpid(), &seen)) TH_LOG("%s", self->t.text);
	EXPECT_EQ(1, seen.n[0]);
	EXPECT_EQ(8, seen.n[1]);
}

#define ANOTHER_PROGRAM	"HMM_TRACE_ANOTHER_PROGRAM"

/* What another_program executes: a call, and then to wait */
__attribute__((constructor))
static void be_another_program(void)
{
	char c = 0;

	if (!getenv(ANOTHER_PROGRAM))
		return;
	if (hmm_open() || call_ask(call_new(map_anon(HUGE, false), 8), ASK_WRITE))
		_exit(1);
	if (write(1, &c, 1) == 1)
		read(0, &c, 1);
	_exit(0);
}

/* A process has the name of the program that it runs now */
TEST_F_TIMEOUT(top, another_program, TOP_SECONDS)
{
	struct call *c = call_new(map_anon(HUGE, false), 8);
	struct counts seen = { };
	int to[2], from[2], status;
	const char *row;
	pid_t child;
	char byte;

	ASSERT_EQ(0, pipe2(to, O_CLOEXEC));
	ASSERT_EQ(0, pipe2(from, O_CLOEXEC));
	top_run(&self->t, 2, "-r", "100");
	ASSERT_TRUE(top_read(&self->t, "recording\n"));
	child = fork();
	if (!child) {
		if (call_ask(c, ASK_WRITE))
			_exit(1);
		dup2(to[0], 0);
		dup2(from[1], 1);
		setenv(ANOTHER_PROGRAM, "", 1);
		execl("/proc/self/exe", "another", NULL);
		_exit(2);
	}
	close(from[1]);
	EXPECT_EQ(1, read(from[0], &byte, 1));
	EXPECT_EQ(0, top_end(&self->t, SIGINT));
	close(to[1]);
	waitpid(child, &status, 0);
	ASSERT_EQ(0, status);
	ASSERT_TRUE(top_counts(&self->t, child, &seen)) TH_LOG("%s", self->t.text);
	EXPECT_EQ(2, seen.n[0]);
	row = top_row(&self->t, child);
	EXPECT_EQ(0, strncmp(row, "exe ", 4)) TH_LOG("%s", row);
}

/* As many processes as there is room for on the terminal, below three lines of titles */
TEST_F_TIMEOUT(top, small_terminal, TOP_SECONDS)
{
	pid_t children[5], pid;
	unsigned int i, rows = 0;
	const char *line;
	struct call *c;

	NEED(mount_terminals(), "needs CONFIG_UNIX98_PTYS");
	for (i = 0; i < 5; i++) {
		children[i] = fork();
		if (children[i])
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		c = call_new(map_anon(HUGE, false), 8);
		while (!call_ask(c, ASK_WRITE))
			usleep(10000);
		_exit(1);
	}
	self->t.terminal = true;
	top_run(&self->t, 4, "-d", "0.3", "-n", "3");
	EXPECT_EQ(0, top_end(&self->t, 0));
	for (i = 0; i < 5; i++) {
		kill(children[i], SIGKILL);
		waitpid(children[i], NULL, 0);
	}
	line = strrchr(self->t.text, '\033');
	ASSERT_NE(NULL, line);
	for (; line; line = strchr(line + 1, '\n'))
		rows += sscanf(line, "\n%d", &pid) == 1;
	EXPECT_EQ(2, rows) TH_LOG("%s", self->t.text);
}

/* It cannot clean up after SIGKILL, so the next one does */
TEST_F_TIMEOUT(top, killed, TOP_SECONDS)
{
	char path[64];

	top_run(&self->t, 2, "-d", "0.1");
	instance_of(&self->t, path);
	ASSERT_TRUE(top_read(&self->t, "COMMAND"));
	EXPECT_EQ(128 + SIGKILL, top_end(&self->t, SIGKILL));
	EXPECT_EQ(0, access(path, F_OK));
	top_run(&self->t, 6, "-d", "0.1", "-n", "1", "-b", "100");
	EXPECT_EQ(0, top_end(&self->t, 0));
	EXPECT_NE(0, access(path, F_OK));
}

/* It reports the reason of a failure in one line */
#define EXPECT_REFUSED(t, why)						\
	do {								\
		EXPECT_EQ(1, top_end(t, 0));				\
		EXPECT_NE(NULL, strstr((t)->text, why)) TH_LOG("%s", (t)->text); \
		EXPECT_EQ(strlen((t)->text) - 1, strcspn((t)->text, "\n")); \
	} while (0)

TEST_F_TIMEOUT(top, bad_input, TOP_SECONDS)
{
	top_run(&self->t, 2, "-p", "2147483646");
	EXPECT_REFUSED(&self->t, "no such process");
	top_run(&self->t, 2, "-r", "0");
	EXPECT_REFUSED(&self->t, "not a number of seconds");
	top_run(&self->t, 2, "-p", "1x");
	EXPECT_REFUSED(&self->t, "not a process");

	ASSERT_EQ(0, unshare(CLONE_NEWNS));
	ASSERT_EQ(0, mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	umount2("/sys/kernel/debug/tracing", MNT_DETACH);
	umount2("/sys/kernel/debug", MNT_DETACH);
	ASSERT_EQ(0, umount2("/sys/kernel/tracing", MNT_DETACH));
	top_run(&self->t, 2, "-r", "1");
	EXPECT_REFUSED(&self->t, "no tracefs");
	ASSERT_EQ(0, setuid(65534));
	top_run(&self->t, 2, "-r", "1");
	EXPECT_REFUSED(&self->t, "only root");
}

TEST_HARNESS_MAIN
