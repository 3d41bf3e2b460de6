// SPDX-License-Identifier: GPL-2.0-or-later
/* For libFuzzer: bytes determine a world and a call. */
#include <stdio.h>
#include "state.h"

static const uint8_t *bytes;
static size_t nr_bytes;

void promise_broken(const char *what)
{
	printf("not ok: %s\n", what);
	fflush(stdout);
	abort();
}

/* After the end, always the plainest choice */
unsigned int choose(unsigned int nr)
{
	if (!nr_bytes)
		return 0;
	nr_bytes--;
	return *bytes++ % nr;
}

unsigned int choose_mostly(unsigned int nr)
{
	return choose(nr);
}

bool rarely(void)
{
	return choose(2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bounds b = { };
	bool is_dma;

	bytes = data;
	nr_bytes = size;
	b.others = choose(5);
	b.twists = choose(5);
	is_dma = choose(8) == 7;
	if (is_dma)
		scenario_dma(&b);
	else
		scenario(&b);
	return 0;
}
