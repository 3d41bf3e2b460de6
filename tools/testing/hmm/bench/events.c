// SPDX-License-Identifier: GPL-2.0
/* Records events of tracefs, which both kernels have */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "counts.h"

#define INSTANCE	"/sys/kernel/tracing/instances/hmm-bench/"
#define LINE		512

static void set(const char *name, const char *what)
{
	char path[2 * LINE];

	snprintf(path, sizeof(path), INSTANCE "%s", name);
	if (!write_file(path, what))
		err(1, "%s", path);
}

static void enable(const char * const *events, const char *what)
{
	char name[LINE];

	for (; *events; events++) {
		snprintf(name, sizeof(name), "events/%s/enable", *events);
		set(name, what);
	}
}

void events_begin(const char * const *events)
{
	char pid[16];
	int fd;

	if (mkdir(INSTANCE, 0700) && errno != EEXIST)
		err(1, INSTANCE);
	fd = open(INSTANCE "trace", O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (fd < 0)
		err(1, INSTANCE "trace");
	close(fd);
	snprintf(pid, sizeof(pid), "%d", gettid());
	set("set_event_pid", pid);
	enable(events, "1");
}

void events_end(const char * const *events,
		void (*saw)(void *arg, const char *name, const char *args), void *arg)
{
	unsigned long kept, written;
	char line[LINE], *name, *args;
	FILE *f;

	enable(events, "0");
	f = must(fopen(INSTANCE "trace", "re"), INSTANCE "trace");
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "# entries-in-buffer/entries-written: %lu/%lu",
			   &kept, &written) == 2 && kept != written)
			errx(1, "only %lu of %lu events are left", kept, written);
		name = strstr(line, ": ");
		args = name && *line != '#' ? strstr(name + 2, ": ") : NULL;
		if (!args)
			continue;
		*args = 0;
		saw(arg, name + 2, args + 2);
	}
	fclose(f);
}
