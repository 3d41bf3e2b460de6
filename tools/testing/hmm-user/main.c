// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * main [-n WORLDS] [-s SEED] - run worlds of random choices, the same ones each time
 */
#include <stdio.h>
#include <unistd.h>
#include "state.h"

static u64 state;
static unsigned long world, first_world;

void promise_broken(const char *what)
{
	printf("not ok: %s\n# again: -s %lu -n 1\n", what, world);
	fflush(stdout);
	abort();
}

unsigned int choose(unsigned int nr)
{
	/* splitmix64: even neighbouring seeds are fine */
	u64 x = state += 0x9e3779b97f4a7c15;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
	return (x ^ (x >> 31)) % nr;
}

unsigned int choose_mostly(unsigned int nr)
{
	return choose(2) ? choose(nr) : 0;
}

bool rarely(void)
{
	return !choose(32);
}

int main(int argc, char **argv)
{
	struct bounds b = { };
	unsigned long nr = 100000, looks = 0, faults = 0;
	int option;

	while ((option = getopt(argc, argv, "n:s:")) != -1) {
		if (option == 'n')
			nr = strtoul(optarg, NULL, 0);
		else if (option == 's')
			first_world = strtoul(optarg, NULL, 0);
		else
			return 2;
	}
	for (world = first_world; world < first_world + nr; world++) {
		state = world << 32;
		b.others = world % 4;
		b.twists = world / 4 % 3;
		if (world % 8 == 7)
			scenario_dma(&b);
		else
			scenario(&b);
		looks += w.looks;
		faults += w.faults;
	}
	printf("# %lu worlds, %lu entries looked at, %lu page faults\n", nr, looks,
	       faults);
	return 0;
}
