// SPDX-License-Identifier: GPL-2.0-only
/*
 * hmmtop - which processes' memory devices use, and what that costs
 *
 * A device that shares a process's memory asks for it with hmm_range_fault(), loses it
 * when an interval notifier is invoked, and may have it migrated to its own memory and
 * home again. The events of these are read from an instance of tracefs that exists as
 * long as this program runs. See Documentation/mm/hmm-trace.rst.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define COMM_LEN	16
#define NAP_MS		20

/* Latencies by powers of ten, from less than 1 us to 100 ms and more */
#define BUCKETS		7

/* How wide the line of a process is */
#define ROW_WIDTH	(7 + 1 + COMM_LEN - 1 + 11 * 7 + 2 + BUCKETS + 2)

/* What is counted, and what each takes */
enum { CALLS, FAULTS, TAKEN, THERE, HOME, KINDS };

/* Why pages did not migrate */
enum { LOCKED, PINNED, UNSELECTED, OTHER, NO_MEMORY, FAILED, REASONS };

static const char * const reasons[REASONS] = {
	"locked", "pinned", "unselected", "other", "no_memory", "failed",
};

struct process {
	long pid;		/* 0 if no event has told it yet */
	char comm[COMM_LEN];
	uint64_t count[KINDS];	/* pages for THERE and HOME */
	uint64_t ns[KINDS];
	uint64_t pages;
	uint64_t busy_self;
	uint64_t busy_others;
	uint64_t errors;
	uint64_t left[REASONS];
	uint64_t latency[BUCKETS];
};

/* Events know the mm of a process always, and its pid mostly */
struct mm {
	char id[24];
	size_t process;
};

/* Who takes memory away */
struct taker {
	char comm[COMM_LEN];
	char event[20];
	uint64_t count;
	uint64_t ns;
};

/* Tasks between migrate_vma_setup() and migrate_vma_finalize() */
struct migration {
	long tid;
	uint64_t setup;		/* when that had ended */
	int to;			/* THERE or HOME, as what it selected tells */
};

static struct process *processes;
static struct mm *mms;
static struct taker *takers;
static struct migration *migrations;
static size_t nr_processes, nr_mms, nr_takers, nr_migrations;

static uint64_t nr_events;
static long only_pid, buffer_kb;
static char tracefs[64], instance[128];
static int pipe_fd = -1;
static volatile sig_atomic_t stopped;

__attribute__((noreturn, format(printf, 1, 2)))
static void die(const char *fmt, ...)
{
	va_list args;

	fputs("hmmtop: ", stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

/* Room for one more element behind @nr, cleared; arrays double */
static void *more(void *array, size_t *nr, size_t size)
{
	if (!(*nr & (*nr - 1))) {
		array = realloc(array, (*nr ? 2 * *nr : 1) * size);
		if (!array)
			die("no memory");
	}
	memset((char *)array + *nr * size, 0, size);
	++*nr;
	return array;
}

/* tracefs */

static bool write_in(const char *dir, const char *name, const char *what)
{
	char path[PATH_MAX];
	bool done;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	done = fd >= 0 && write(fd, what, strlen(what)) == (ssize_t)strlen(what);
	if (fd >= 0)
		close(fd);
	return done;
}

static void find_tracefs(void)
{
	static const char * const places[] = {
		"/sys/kernel/tracing", "/sys/kernel/debug/tracing",
	};
	char path[PATH_MAX];
	size_t i;

	if (geteuid())
		die("only root can trace");
	for (i = 0; i < ARRAY_SIZE(places); i++) {
		snprintf(path, sizeof(path), "%s/instances", places[i]);
		if (!access(path, W_OK)) {
			strcpy(tracefs, places[i]);
			return;
		}
	}
	die("no tracefs: mount -t tracefs tracefs %s; it needs CONFIG_FTRACE",
	    places[0]);
}

/* Removes the trace instances of hmmtop processes that were killed */
static void remove_leftovers(void)
{
	char path[PATH_MAX];
	struct dirent *entry;
	long pid;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/instances", tracefs);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (sscanf(entry->d_name, "hmmtop-%ld", &pid) != 1 ||
		    !kill(pid, 0) || errno != ESRCH)
			continue;
		snprintf(path, sizeof(path), "%s/instances/%s", tracefs,
			 entry->d_name);
		rmdir(path);
	}
	if (dir)
		closedir(dir);
}

/* Removes our trace instance; the kernel keeps one that is in use */
static void remove_instance(void)
{
	if (pipe_fd >= 0)
		close(pipe_fd);
	rmdir(instance);
}

static void enable(const char *event, bool needed)
{
	char name[128];

	snprintf(name, sizeof(name), "events/%s/enable", event);
	if (!write_in(instance, name, "1") && needed)
		die("no trace event %s: the kernel lacks HMM tracing", event);
}

/* What an instance starts with, over 1 MiB, does unless this program is kept waiting */
static void set_buffer_size(void)
{
	char kb[24];

	if (!buffer_kb)
		return;
	snprintf(kb, sizeof(kb), "%ld", buffer_kb);
	if (!write_in(instance, "buffer_size_kb", kb))
		die("%ld: no memory for buffers of that size", buffer_kb);
}

/* An instance starts with the options of the whole; these change what is read here */
static void set_options(void)
{
	static const char * const options[] = {
		"context-info", "record-cmd", "noraw", "nohex", "nobin", "nofields",
		"nolatency-format",
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(options); i++)
		write_in(instance, "trace_options", options[i]);
}

static void start_tracing(void)
{
	char path[PATH_MAX];

	find_tracefs();
	remove_leftovers();
	snprintf(instance, sizeof(instance), "%s/instances/hmmtop-%d", tracefs,
		 getpid());
	if (mkdir(instance, 0700))
		die("%s: %s", instance, strerror(errno));
	atexit(remove_instance);
	set_buffer_size();
	set_options();
	enable("hmm/hmm_range_fault_end", true);
	enable("mmu_notifier/mmu_interval_invalidate", true);
	enable("mmu_notifier/mmu_interval_finish", true);
	/* A kernel that migrates nothing has none of these */
	enable("migrate/migrate_vma_setup", false);
	enable("migrate/migrate_vma_pages", false);
	enable("migrate/migrate_vma_finalize", false);
	snprintf(path, sizeof(path), "%s/trace_pipe", instance);
	pipe_fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (pipe_fd < 0)
		die("%s: %s", path, strerror(errno));
}

/* Events that found no room, on all CPUs */
static uint64_t events_lost(void)
{
	char path[PATH_MAX], line[128];
	uint64_t lost = 0;
	unsigned long n;
	FILE *f;
	int cpu;

	for (cpu = 0;; cpu++) {
		snprintf(path, sizeof(path), "%s/per_cpu/cpu%d/stats", instance, cpu);
		f = fopen(path, "re");
		if (!f)
			return lost;
		while (fgets(line, sizeof(line), f))
			if (sscanf(line, "overrun: %lu", &n) == 1 ||
			    sscanf(line, "dropped events: %lu", &n) == 1)
				lost += n;
		fclose(f);
	}
}

/* Processes */

static void read_comm(struct process *p)
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%ld/comm", p->pid);
	f = fopen(path, "re");
	if (!f)
		return;
	if (fgets(p->comm, sizeof(p->comm), f))
		p->comm[strcspn(p->comm, "\n")] = 0;
	fclose(f);
}

/* For an mm that is new: if the process is known, it runs another program now */
static size_t process_of_pid(long pid)
{
	size_t i;

	for (i = 0; pid && i < nr_processes; i++)
		if (processes[i].pid == pid)
			break;
	if (!pid || i == nr_processes) {
		processes = more(processes, &nr_processes, sizeof(*processes));
		processes[i = nr_processes - 1].pid = pid;
	}
	if (pid)
		read_comm(&processes[i]);
	return i;
}

static void add(struct process *to, const struct process *from)
{
	size_t i;

	for (i = 0; i < KINDS; i++) {
		to->count[i] += from->count[i];
		to->ns[i] += from->ns[i];
	}
	for (i = 0; i < REASONS; i++)
		to->left[i] += from->left[i];
	for (i = 0; i < BUCKETS; i++)
		to->latency[i] += from->latency[i];
	to->pages += from->pages;
	to->busy_self += from->busy_self;
	to->busy_others += from->busy_others;
	to->errors += from->errors;
}

static struct process *process_of(const char *id, long pid)
{
	size_t i, process;

	for (i = 0; i < nr_mms; i++)
		if (!strcmp(mms[i].id, id))
			break;
	if (i == nr_mms) {
		process = process_of_pid(pid);
		mms = more(mms, &nr_mms, sizeof(*mms));
		snprintf(mms[i].id, sizeof(mms[i].id), "%s", id);
		mms[i].process = process;
	} else if (pid && processes[mms[i].process].pid != pid) {
		process = process_of_pid(pid);
		/* What came before the pid was known is of the process, too */
		if (!processes[mms[i].process].pid) {
			add(&processes[process], &processes[mms[i].process]);
			memset(&processes[mms[i].process], 0, sizeof(*processes));
		}
		mms[i].process = process;
	}
	return &processes[mms[i].process];
}

/* Events, as trace_pipe prints them: what is not "key=value" is of no interest */

struct event {
	char comm[COMM_LEN];
	long tid;
	uint64_t time;
	const char *fields;
};

static const char *field(const struct event *e, const char *key)
{
	size_t len = strlen(key);
	const char *at = e->fields;

	for (; at; at = strchr(at, ' ')) {
		at += strspn(at, " ");
		if (!strncmp(at, key, len) && at[len] == '=')
			return at + len + 1;
	}
	return "";
}

static uint64_t number(const struct event *e, const char *key)
{
	return strtoull(field(e, key), NULL, 0);
}

static void word(const struct event *e, const char *key, char *to, size_t size)
{
	const char *from = field(e, key);
	size_t len = strcspn(from, " \n");

	snprintf(to, size, "%.*s", (int)len, from);
}

static int bucket(uint64_t ns)
{
	int i;

	for (i = 0; i < BUCKETS - 1 && ns >= 1000; i++)
		ns /= 10;
	return i;
}

static void saw_call(struct process *p, const struct event *e)
{
	long ret = strtol(field(e, "ret"), NULL, 10);

	p->count[CALLS]++;
	p->ns[CALLS] += number(e, "ns");
	p->latency[bucket(number(e, "ns"))]++;
	p->pages += number(e, "none") + number(e, "read") + number(e, "write") +
		    number(e, "error");
	p->count[FAULTS] += number(e, "faults");
	p->ns[FAULTS] += number(e, "fault_ns");
	p->busy_self += number(e, "by_self");
	p->busy_others += number(e, "by_others");
	p->errors += ret && ret != -EBUSY;
}

static void saw_invalidation(struct process *p, const struct event *e)
{
	char event[sizeof(takers->event)];
	struct taker *t;
	size_t i;

	p->count[TAKEN]++;
	p->ns[TAKEN] += number(e, "ns");
	if (only_pid && p->pid != only_pid)
		return;
	word(e, "event", event, sizeof(event));
	for (i = 0; i < nr_takers; i++)
		if (!strcmp(takers[i].comm, e->comm) &&
		    !strcmp(takers[i].event, event))
			break;
	if (i == nr_takers)
		takers = more(takers, &nr_takers, sizeof(*takers));
	t = &takers[i];
	strcpy(t->comm, e->comm);
	strcpy(t->event, event);
	t->count++;
	t->ns += number(e, "ns");
}

static void saw_finish(struct process *p, const struct event *e)
{
	p->ns[TAKEN] += number(e, "ns");
}

static struct migration *migration_of(long tid)
{
	size_t i;

	for (i = 0; i < nr_migrations; i++)
		if (migrations[i].tid == tid)
			return &migrations[i];
	for (i = 0; i < nr_migrations; i++)
		if (!migrations[i].tid)
			break;
	if (i == nr_migrations)
		migrations = more(migrations, &nr_migrations, sizeof(*migrations));
	migrations[i].tid = tid;
	return &migrations[i];
}

static void saw_setup(struct process *p, const struct event *e)
{
	struct migration *m = migration_of(e->tid);
	char select[64];

	word(e, "select", select, sizeof(select));
	m->setup = e->time;
	m->to = strstr(select, "system") ? THERE : HOME;
	p->ns[m->to] += number(e, "ns");
	p->left[LOCKED] += number(e, "locked");
	p->left[PINNED] += number(e, "pinned");
	p->left[UNSELECTED] += number(e, "unselected");
	p->left[OTHER] += number(e, "other");
}

static void saw_pages(struct process *p, const struct event *e)
{
	p->left[NO_MEMORY] += number(e, "no_memory");
	p->left[FAILED] += number(e, "failed");
}

/* The copying is between the events. Without a destination, none tells the direction. */
static void saw_finalize(struct process *p, const struct event *e)
{
	int to = number(e, "to_device") ? THERE : HOME;
	struct migration *m = migration_of(e->tid);

	if (m->setup && !number(e, "migrated"))
		to = m->to;
	p->count[to] += number(e, "migrated");
	if (m->setup)
		p->ns[to] += e->time - m->setup;
	memset(m, 0, sizeof(*m));
}

static const struct {
	const char *mark;
	void (*saw)(struct process *p, const struct event *e);
} events[] = {
	{ ": hmm_range_fault_end: ", saw_call },
	{ ": mmu_interval_invalidate: ", saw_invalidation },
	{ ": mmu_interval_finish: ", saw_finish },
	{ ": migrate_vma_setup: ", saw_setup },
	{ ": migrate_vma_pages: ", saw_pages },
	{ ": migrate_vma_finalize: ", saw_finalize },
};

/* "   COMM-TID     [CPU] FLAGS  SECONDS.USECONDS", where COMM may be anything */
static bool parse_head(struct event *e, char *head)
{
	char *cpu = strrchr(head, '['), *time = strrchr(head, ' '), *dash;
	unsigned long seconds, useconds;

	if (!cpu || !time || sscanf(time, " %lu.%lu", &seconds, &useconds) != 2)
		return false;
	e->time = seconds * 1000000000ULL + useconds * 1000;
	/* The process may be there as well, in parentheses */
	*cpu = 0;
	if (strrchr(head, '(') > strrchr(head, '-'))
		*strrchr(head, '(') = 0;
	dash = strrchr(head, '-');
	if (!dash)
		return false;
	*dash = 0;
	e->tid = strtol(dash + 1, NULL, 10);
	snprintf(e->comm, sizeof(e->comm), "%s", head + strspn(head, " "));
	return true;
}

static void parse(char *line)
{
	struct event e;
	char id[24], *mark;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(events); i++) {
		mark = strstr(line, events[i].mark);
		if (!mark)
			continue;
		*mark = 0;
		e.fields = mark + strlen(events[i].mark);
		if (!parse_head(&e, line))
			return;
		nr_events++;
		word(&e, "mm", id, sizeof(id));
		events[i].saw(process_of(id, number(&e, "pid")), &e);
		return;
	}
}

/* Takes in what there is; false if that is nothing */
static bool read_events(void)
{
	static char buf[1 << 16];
	static size_t len;
	char *line = buf, *end;
	ssize_t n;

	n = read(pipe_fd, buf + len, sizeof(buf) - len - 1);
	if (n <= 0)
		return false;
	len += n;
	buf[len] = 0;
	while ((end = strchr(line, '\n'))) {
		*end = 0;
		parse(line);
		line = end + 1;
	}
	len -= line - buf;
	memmove(buf, line, len);
	return true;
}

/* Output */

/* A number in 6 characters */
static const char *show(uint64_t n)
{
	static char text[8][24];
	static int i;
	char *to = text[i++ % 8];

	if (n < 1000000)
		snprintf(to, 24, "%llu", (unsigned long long)n);
	else if (n < 100000000)
		snprintf(to, 24, "%lluk", (unsigned long long)n / 1000);
	else
		snprintf(to, 24, "%lluM", (unsigned long long)n / 1000000);
	return to;
}

/* A time in 6 characters */
static const char *show_time(uint64_t ns)
{
	static char text[8][24];
	static int i;
	char *to = text[i++ % 8];

	if (!ns)
		strcpy(to, "-");
	else if (ns < 10000000)
		snprintf(to, 24, "%lluus", (unsigned long long)ns / 1000);
	else if (ns < 10000000000ULL)
		snprintf(to, 24, "%llums", (unsigned long long)ns / 1000000);
	else
		snprintf(to, 24, "%llus", (unsigned long long)ns / 1000000000);
	return to;
}

/* A character for each bucket: how many of the calls are in there */
static const char *show_latency(const struct process *p)
{
	static char text[BUCKETS + 1];
	uint64_t share;
	int i;

	for (i = 0; i < BUCKETS; i++) {
		share = p->latency[i] * 100 / (p->count[CALLS] ?: 1);
		text[i] = !p->latency[i] ? ' ' : share < 10 ? '.' :
			  share < 33 ? ':' : share < 66 ? '+' : '#';
	}
	return text;
}

static uint64_t time_of(const struct process *p)
{
	return p->ns[CALLS] + p->ns[TAKEN] + p->ns[THERE] + p->ns[HOME];
}

static bool wanted(const struct process *p)
{
	return time_of(p) && (!only_pid || p->pid == only_pid);
}

static int by_time(const void *a, const void *b)
{
	uint64_t x = time_of(*(const struct process **)a);
	uint64_t y = time_of(*(const struct process **)b);

	return x < y ? 1 : x > y ? -1 : 0;
}

static void show_process(const char *pid, const struct process *p)
{
	int kind;

	printf("%7s %-15s %6s %6s %6s %6s %6s %6s", pid, p->comm,
	       show(p->count[CALLS]), show(p->pages), show(p->count[FAULTS]),
	       show(p->count[TAKEN]), show(p->count[THERE]), show(p->count[HOME]));
	for (kind = 0; kind < KINDS; kind++)
		printf(" %6s", show_time(p->ns[kind]));
	printf("  |%s|\n", show_latency(p));
}

/* Adds up the counts of all processes */
static struct process all_processes(void)
{
	struct process all = { };
	size_t i;

	for (i = 0; i < nr_processes; i++)
		if (wanted(&processes[i]))
			add(&all, &processes[i]);
	return all;
}

static void show_processes(size_t most)
{
	const struct process **sorted = NULL;
	size_t i, nr = 0;
	char pid[16];

	for (i = 0; i < nr_processes; i++)
		if (wanted(&processes[i])) {
			sorted = more(sorted, &nr, sizeof(*sorted));
			sorted[nr - 1] = &processes[i];
		}
	if (nr)
		qsort(sorted, nr, sizeof(*sorted), by_time);
	printf("%64s time in:\n", "");
	printf("%7s %-15s %6s %6s %6s %6s %6s %6s %6s %6s %6s %6s %6s  %s\n",
	       "PID", "COMMAND", "CALLS", "PAGES", "FAULTS", "TAKEN", "TO-DEV",
	       "HOME", "CALLS", "FAULTS", "TAKEN", "TO-DEV", "HOME", "LATENCY");
	for (i = 0; i < nr && i < most; i++) {
		snprintf(pid, sizeof(pid), "%ld", sorted[i]->pid);
		show_process(sorted[i]->pid ? pid : "?", sorted[i]);
	}
	if (!nr)
		printf("%7s no device has asked for memory of %s\n", "",
		       only_pid ? "this process" : "any process");
	free(sorted);
}

static int by_count(const void *a, const void *b)
{
	const struct taker *x = a, *y = b;

	return x->count < y->count ? 1 : x->count > y->count ? -1 : 0;
}

static void show_summary(void)
{
	static const char * const names[BUCKETS] = {
		"< 1 us", "< 10 us", "< 100 us", "< 1 ms", "< 10 ms", "< 100 ms",
		"more",
	};
	struct process all = all_processes();
	size_t i;

	strcpy(all.comm, "processes");
	show_process("all", &all);
	printf("\nlatency of calls:");
	for (i = 0; i < BUCKETS; i++)
		if (all.latency[i])
			printf("  %s: %s", names[i], show(all.latency[i]));
	printf("\nanswers invalidated: by the call's own page faults: %s  by others: %s\n",
	       show(all.busy_self), show(all.busy_others));
	printf("calls that failed: %s\n", show(all.errors));
	printf("pages that did not migrate:");
	for (i = 0; i < REASONS; i++)
		printf("  %s: %s", reasons[i], show(all.left[i]));
	printf("\n");
	if (!nr_takers)
		return;
	qsort(takers, nr_takers, sizeof(*takers), by_count);
	printf("\ntaken by         with              times   time\n");
	for (i = 0; i < nr_takers && i < 12; i++)
		printf("%-16s %-16s %6s %6s\n", takers[i].comm, takers[i].event,
		       show(takers[i].count), show_time(takers[i].ns));
}

/* Running */

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* Reads events until the time @end, or until a signal says to stop */
static void collect(double end)
{
	const struct timespec nap = { .tv_nsec = NAP_MS * 1000000 };

	while (!stopped && now() < end)
		if (!read_events())
			nanosleep(&nap, NULL);
}

/* Prints how many events were lost since the last time */
static void show_lost(void)
{
	static uint64_t before;
	uint64_t all = events_lost(), lost = all - before;

	before = all;
	if (lost)
		printf(", %llu LOST: counts are too low, see -b\n",
		       (unsigned long long)lost);
	else
		printf(", none lost\n");
}

static void record(double seconds)
{
	double begin = now();

	fprintf(stderr, "hmmtop: recording\n");
	collect(begin + seconds);
	write_in(instance, "tracing_on", "0");
	seconds = now() - begin;
	while (read_events())
		;
	printf("hmmtop: %.1f s, %llu events", seconds, (unsigned long long)nr_events);
	show_lost();
	show_processes(SIZE_MAX);
	show_summary();
}

/* How many processes fit on a terminal, below three lines of titles */
static size_t rows_that_fit(void)
{
	struct winsize size;
	size_t lines;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || !size.ws_row || !size.ws_col)
		return SIZE_MAX;
	/* Long lines are wrapped */
	lines = (size.ws_row - 1) / ((ROW_WIDTH + size.ws_col - 1) / size.ws_col);
	return lines > 4 ? lines - 3 : 1;
}

static void live(double delay, long times)
{
	bool tty = isatty(STDOUT_FILENO);
	long n;

	for (n = 0; !stopped && (!times || n < times); n++) {
		collect(now() + delay);
		printf("%shmmtop: last %.1f s, %llu events", tty ? "\033[H\033[J" : "",
		       delay, (unsigned long long)nr_events);
		show_lost();
		show_processes(tty ? rows_that_fit() : SIZE_MAX);
		fflush(stdout);
		/* Keep what is known of the processes, but not their counts */
		for (size_t i = 0; i < nr_processes; i++)
			memset(processes[i].count, 0, sizeof(struct process) -
			       offsetof(struct process, count));
		nr_events = 0;
	}
}

static void stop(int sig)
{
	(void)sig;
	stopped = 1;
}

static void usage(FILE *to)
{
	fprintf(to,
		"usage: hmmtop [-d SECONDS] [-n TIMES] [-p PID] [-b KB]\n"
		"       hmmtop -r SECONDS [-p PID] [-b KB]\n"
		"  -b KB       buffer of each CPU, if events are lost\n"
		"  -d SECONDS  between updates; 2 if not given\n"
		"  -n TIMES    that many updates, then stop\n"
		"  -p PID      this process only; of a thread: its process\n"
		"  -r SECONDS  record, until interrupted at most, and print a summary\n");
}

static double seconds_of(const char *text)
{
	char *end;
	double seconds = strtod(text, &end);

	if (*end || !isdigit((unsigned char)*text) || !(seconds > 0) || seconds > 1e6)
		die("%s: not a number of seconds", text);
	return seconds;
}

static long whole(const char *text, const char *what)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (*end || !isdigit((unsigned char)*text) || n <= 0 || n > INT_MAX)
		die("%s: not %s", text, what);
	return n;
}

/* Events have processes, and no threads */
static long process_of_task(long tid)
{
	char path[64], line[64];
	long pid = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%ld/status", tid);
	f = fopen(path, "re");
	if (!f)
		die("%ld: no such process", tid);
	while (!pid && fgets(line, sizeof(line), f))
		sscanf(line, "Tgid: %ld", &pid);
	fclose(f);
	return pid;
}

int main(int argc, char **argv)
{
	struct sigaction act = { .sa_handler = stop };
	double delay = 2, recorded = 0;
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGPIPE };
	long times = 0;
	size_t i;
	int c;

	while ((c = getopt(argc, argv, "b:d:hn:p:r:")) != -1) {
		switch (c) {
		case 'b':
			buffer_kb = whole(optarg, "a number of kilobytes");
			break;
		case 'd':
			delay = seconds_of(optarg);
			break;
		case 'h':
			usage(stdout);
			return 0;
		case 'n':
			times = whole(optarg, "a number of updates");
			break;
		case 'p':
			only_pid = process_of_task(whole(optarg, "a process"));
			break;
		case 'r':
			recorded = seconds_of(optarg);
			break;
		default:
			usage(stderr);
			return 1;
		}
	}
	if (optind < argc) {
		usage(stderr);
		return 1;
	}
	for (i = 0; i < ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &act, NULL);
	start_tracing();
	if (recorded)
		record(recorded);
	else
		live(delay, times);
	return 0;
}
