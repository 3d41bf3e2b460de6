/* SPDX-License-Identifier: GPL-2.0 */
/* Shared by the tests: the harness, the fixture, checks of every call */
#ifndef _SELFTESTS_HMM_TEST_H
#define _SELFTESTS_HMM_TEST_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "lib.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif

/* A call that returns 0 and keeps every promise */
#define ASSERT_ANSWERED(c, ret)						\
	do {								\
		int __ret = (ret);					\
									\
		ASSERT_EQ(0, __ret);					\
		ASSERT_TRUE(call_check(c)) TH_LOG("%s", (c)->why);	\
	} while (0)

/* A call that fails with @error and keeps every promise */
#define ASSERT_FAILED(error, c, ret)					\
	do {								\
		int __ret = (ret);					\
									\
		ASSERT_EQ(-(error), __ret);				\
		ASSERT_TRUE(call_check(c)) TH_LOG("%s", (c)->why);	\
	} while (0)

/* Skips the test if the kernel or the machine lacks something */
#define NEED(what, ...)							\
	do {								\
		if (!(what))						\
			SKIP(return, __VA_ARGS__);			\
	} while (0)

#define NEED_DEVICE()							\
	NEED(hmm.dev[PRIVATE_A].nr, "needs CONFIG_DEVICE_PRIVATE")
#define NEED_THP()							\
	NEED(thp_here(), "needs transparent huge pages")

static inline bool thp_here(void)
{
	return !access("/sys/kernel/mm/transparent_hugepage/enabled", F_OK);
}

static inline void thp_on_request(void)
{
	write_file("/sys/kernel/mm/transparent_hugepage/enabled", "madvise");
	write_file("/sys/kernel/mm/transparent_hugepage/defrag", "always");
}

/* A handler of the SIGBUS for a poisoned page */
static inline void no_sigbus(int sig)
{
}

/* The fixture of tests that only need the devices and a call */
#define FIXTURE_HMM()							\
	FIXTURE(hmm)							\
	{								\
		struct call *c;						\
	};								\
	FIXTURE_SETUP(hmm)						\
	{								\
		const char *why = hmm_open();				\
									\
		if (why)						\
			SKIP(return, "%s", why);			\
		thp_on_request();					\
	}								\
	FIXTURE_TEARDOWN(hmm)						\
	{								\
		if (self->c)						\
			call_free(self->c);				\
		hmm_close();						\
	}

#endif
