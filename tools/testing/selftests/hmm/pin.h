/* SPDX-License-Identifier: GPL-2.0 */
/* Pins memory by mm/gup_test.c */
#ifndef HMM_PIN_H
#define HMM_PIN_H

#include <fcntl.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib.h"
#include "../../../../mm/gup_test.h"

/* Pins for writing, until unpin() of what it returns; -1 if that is not possible */
static inline int pin(const void *p, unsigned long nr)
{
	struct pin_longterm_test pin = {
		.addr = (uintptr_t)p,
		.size = nr * PAGE,
		.flags = PIN_LONGTERM_TEST_FLAG_USE_WRITE |
			 PIN_LONGTERM_TEST_FLAG_USE_FAST,
	};
	int gup = open("/sys/kernel/debug/gup_test", O_RDWR | O_CLOEXEC);

	return gup < 0 || ioctl(gup, PIN_LONGTERM_TEST_START, &pin) ? -1 : gup;
}

static inline void unpin(int gup)
{
	ioctl(gup, PIN_LONGTERM_TEST_STOP);
	close(gup);
}

#endif
