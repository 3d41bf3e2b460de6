// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * every [-p PAGES] [-o OTHERS] [-t TWISTS] [-b] [-f] - run every world of a size
 *
 * Each choice is made in every way, the last one first, until all are done.
 *
 *   -p  ranges of this many pages
 *   -o  others do this many things meanwhile
 *   -t  this many page faults do not succeed normally
 *   -b  a boundary of VMAs in the range, with and without a gap
 *   -f  few: see struct shape
 */
#include <stdio.h>
#include <unistd.h>
#include "state.h"

#define MAX_CHOICES	256

static struct {
	unsigned char chosen;
	unsigned char nr;
} choices[MAX_CHOICES];
static unsigned int nr_choices, next_choice;
static unsigned long worlds, looks, faults;
static struct shape shape;

void promise_broken(const char *what)
{
	unsigned int i;

	printf("not ok: %s\n# again: page %u, %u pages, %s, choices", what,
	       shape.first, shape.nr, shape.unlocked ? "unlocked" : "locked");
	for (i = 0; i < next_choice; i++)
		printf(" %u", choices[i].chosen);
	printf("\n");
	fflush(stdout);
	abort();
}

unsigned int choose(unsigned int nr)
{
	if (next_choice == nr_choices) {
		promise(nr_choices < MAX_CHOICES, "world: a world ends");
		choices[nr_choices].chosen = 0;
		choices[nr_choices++].nr = nr;
	}
	return choices[next_choice++].chosen;
}

unsigned int choose_mostly(unsigned int nr)
{
	return choose(nr);
}

bool rarely(void)
{
	return choose(2);
}

/* The next world differs in the last choice that has another way left */
static bool next_world(void)
{
	while (nr_choices && choices[nr_choices - 1].chosen + 1 ==
			     choices[nr_choices - 1].nr)
		nr_choices--;
	if (!nr_choices)
		return false;
	choices[nr_choices - 1].chosen++;
	return true;
}

static void every_world(struct bounds *b)
{
	b->shape = &shape;
	nr_choices = 0;
	do {
		next_choice = 0;
		scenario(b);
		worlds++;
		looks += w.looks;
		faults += w.faults;
	} while (next_world());
}

static void every_border(struct bounds *b)
{
	unsigned int gap;

	for (shape.vma_end = shape.first + 1; shape.vma_end < shape.first + shape.nr;
	     shape.vma_end++) {
		for (gap = 0; gap < 2 && shape.vma_end + gap < WORLD_PAGES; gap++) {
			shape.vma_next = shape.vma_end + gap;
			every_world(b);
		}
	}
}

int main(int argc, char **argv)
{
	struct bounds b = { };
	unsigned int pages = 1;
	bool borders = false;
	int option;

	shape.bare = true;
	while ((option = getopt(argc, argv, "p:o:t:bf")) != -1) {
		switch (option) {
		case 'p':
			pages = atoi(optarg);
			break;
		case 'o':
			b.others = atoi(optarg);
			break;
		case 't':
			b.twists = atoi(optarg);
			break;
		case 'b':
			borders = true;
			break;
		case 'f':
			shape.few = true;
			break;
		default:
			return 2;
		}
	}
	shape.nr = pages;
	for (shape.first = 0; shape.first + pages <= WORLD_PAGES; shape.first++) {
		shape.unlocked = false;
		do {
			shape.vma_end = WORLD_PAGES;
			if (borders)
				every_border(&b);
			else
				every_world(&b);
			shape.unlocked = !shape.unlocked;
		} while (shape.unlocked);
	}
	printf("# %lu worlds, %lu entries looked at, %lu page faults\n", worlds, looks,
	       faults);
	return 0;
}
