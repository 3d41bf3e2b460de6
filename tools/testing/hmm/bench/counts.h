/* SPDX-License-Identifier: GPL-2.0 */
/* Shared by the parts of counts */
#ifndef _HMM_BENCH_COUNTS_H
#define _HMM_BENCH_COUNTS_H

#include <stdint.h>

#include "../../selftests/hmm/lib.h"

#define ROUNDS		9

/* Prints a line of row, who, round, value and unit */
void result(const char *row, int round, double value, const char *unit);
void *must(void *p, const char *what);
/* The calling thread runs on this processor only */
void run_on(int cpu);

/*
 * Records events of tracefs ("tlb/tlb_flush") of the calling thread, then passes each
 * to @saw, with its arguments as text
 */
void events_begin(const char * const *events);
void events_end(const char * const *events,
		void (*saw)(void *arg, const char *name, const char *args), void *arg);

/* devices.c */
void do_devices(void);
void do_device_instructions(void);

#endif /* _HMM_BENCH_COUNTS_H */
