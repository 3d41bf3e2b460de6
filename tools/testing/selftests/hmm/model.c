// SPDX-License-Identifier: GPL-2.0
/*
 * Thousands of random steps against a plain model.
 *
 * Some steps change a region of memory; the others call hmm_range_fault() on a
 * part of it with random requests.  For each page the model knows what is mapped
 * there, what it reads as, what states it may be in and whether it may be
 * writable.  Answers, bytes read by the device, page faults and, from
 * /proc/self/pagemap, the state of each page must agree; what they show is
 * known from then on, so a page may not change its state without a reason.
 *
 * Every step depends only on the seed and its number.  So a run that fails is
 * reduced by running parts of it again, in children, until no further step can be
 * left out.
 *
 * HMM_MODEL_STEPS and HMM_MODEL_SEED set the number of steps and the seed; the
 * default is 10000 steps with a new seed.
 */
#define _GNU_SOURCE
#include <linux/userfaultfd.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <time.h>

#include "test.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL	102
#define MADV_GUARD_REMOVE	103
#endif

/* Two huge pages and some pages on both sides of them */
#define EDGE			16UL
#define REGION_NR		(2 * HUGE_NR + 2 * EDGE)
/* An address range that nobody else uses */
#define REGION_AT		(1UL << (sizeof(long) == 8 ? 45 : 30))
/* The large folios that PTEs map */
#define MTHP_NR			16UL
/* The pages around a file fault that it maps, too */
#define WINDOW			16UL

enum kind { UNMAPPED, ANON, SHARED, PRIVATE };

/* States of a page; a set if the state is not known exactly */
enum {
	ABSENT	= 1 << 0,
	PRESENT	= 1 << 1,
	DEV_A	= 1 << 2,	/* in the memory of that device */
	DEV_B	= 1 << 3,
	OTHER	= 1 << 4,	/* swapped, a marker, exclusive to a device */
};

enum writable { NO, MAYBE, YES };

/**
 * struct page - what is known about a page
 * @kind: what is mapped
 * @prot: PROT_*
 * @coupled: was huge once, so that it may change together with its huge page
 * @copied: of a private file: no longer the file's
 * @unsure: it may have been copied; it reads like the file did then
 * @guard: in a guard region
 * @wp: write-protected by userfaultfd, as pagemap shows
 * @state: the states it may be in
 * @writable: whether its entry is writable
 * @value: its first bytes, unless they are the file's
 */
struct page {
	enum kind kind;
	int prot;
	bool coupled;
	bool copied;
	bool unsure;
	bool guard;
	bool wp;
	unsigned int state;
	enum writable writable;
	uint64_t value;
};

/* A step; the meaning of its numbers depends on what it does */
struct step {
	unsigned int what;
	unsigned long first, nr;
	uint64_t r;
};

/* Shared with the child that runs the steps */
struct report {
	unsigned long step;
	unsigned long calls, answers;
	char why[320];
};

static struct page pages[1200];
static uint64_t file_value[1200];
static char *region;
static int file, uffd;
static pid_t other;
static int other_go;
static uint64_t next_value;
static struct report *report;
static bool talk;
static uint64_t seed;

static void __printf(1, 2) __noreturn fail(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(report->why, sizeof(report->why), fmt, args);
	va_end(args);
	_exit(1);
}

static void __printf(1, 2) say(const char *fmt, ...)
{
	va_list args;

	if (!talk)
		return;
	printf("# %6lu: ", report->step);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
}

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ULL;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

/* Random numbers of a step */
static uint64_t draw(struct step *s)
{
	return s->r = mix(s->r);
}

static char *at(unsigned long i)
{
	return region + i * PAGE;
}

static unsigned long block(unsigned long i)
{
	return ((uintptr_t)at(i)) / HUGE;
}

/* So close that one file fault may map both */
static bool near(unsigned long i, unsigned long j)
{
	return i < j + WINDOW && j < i + WINDOW;
}

static unsigned int dev_state(int dev)
{
	return dev == PRIVATE_A ? DEV_A : dev == PRIVATE_B ? DEV_B : 0;
}

static bool of_file(const struct page *p)
{
	return p->kind == SHARED || (p->kind == PRIVATE && !p->copied);
}

static uint64_t value_of(unsigned long i)
{
	return of_file(&pages[i]) ? file_value[i] : pages[i].value;
}

static void set_value(unsigned long i, uint64_t value)
{
	struct page *p = &pages[i];

	if (p->kind == SHARED) {
		file_value[i] = value;
		return;
	}
	p->copied = true;
	p->unsure = false;
	p->value = value;
}

static bool is_accessible(const struct page *p)
{
	return p->kind != UNMAPPED && (p->prot & PROT_READ);
}

static bool can_read(const struct page *p)
{
	return is_accessible(p) && !p->guard;
}

static bool can_write(const struct page *p)
{
	return can_read(p) && (p->prot & PROT_WRITE) && !p->wp;
}

/* Page @i was faulted in: what else may be present now */
static void neighbours_may_come(unsigned long i)
{
	unsigned long j;

	for (j = 0; j < REGION_NR; j++) {
		struct page *p = &pages[j];

		if (p->guard || p->state == PRESENT)
			continue;
		if (p->coupled ? block(j) == block(i) :
		    p->kind > ANON && near(i, j)) {
			p->state |= PRESENT;
			p->writable = MAYBE;
		}
	}
}

/* Touched for reading, or made present by a call */
static void comes_in(unsigned long i)
{
	struct page *p = &pages[i];

	if (p->state == PRESENT)
		return;
	p->writable = p->state == ABSENT && p->kind != SHARED ? NO : MAYBE;
	neighbours_may_come(i);
	p->state = PRESENT;
}

/* All of it is gone */
static void goes(unsigned long i)
{
	struct page *p = &pages[i];

	p->copied = false;
	p->unsure = false;
	p->value = 0;
	p->state = ABSENT;
	p->writable = NO;
}

/* pagemap must show one of the possible states, which is known from now on */
static void observe(void)
{
	static const char * const names[] = { "absent", "present", "of device 0",
					      "of device 1", "other" };
	uint64_t *pm = pagemap_read((uintptr_t)region, REGION_NR);
	unsigned long i;
	int dev, n;

	if (!pm)
		fail("cannot read /proc/self/pagemap");
	for (i = 0; i < REGION_NR; i++) {
		struct page *p = &pages[i];

		dev = pfn_dev((pm[i] & PM_PFN) >> 5);
		n = pm[i] & PM_PRESENT ? 1 : !(pm[i] & PM_SWAPPED) ? 0 :
		    dev == PRIVATE_A ? 2 : dev == PRIVATE_B ? 3 : 4;
		if (!(p->state & 1 << n))
			fail("page %lu is %s, which the states %#x exclude",
			     i, names[n], p->state);
		if (p->guard != !!(pm[i] & PM_GUARD))
			fail("page %lu: guard region differs from the model", i);
		p->state = 1 << n;
		p->wp = pm[i] & PM_UFFD_WP;
		if (p->wp)
			p->writable = NO;
	}
	free(pm);
}

/*
 * Huge pages around the step's pages may be split.  That ends the exclusive access
 * of a device to them, and replaces pages full of zeroes by the zero page.
 */
static void may_split(const struct step *s)
{
	unsigned long i;

	for (i = 0; i < REGION_NR; i++) {
		struct page *p = &pages[i];

		if (block(i) < block(s->first) ||
		    block(i) > block(s->first + s->nr - 1))
			continue;
		if (p->state == OTHER && !p->guard)
			p->state |= PRESENT;
		if ((p->prot & PROT_WRITE) && (p->writable == YES ||
					       p->state & OTHER))
			p->writable = MAYBE;
	}
}

/* Steps that change the region */

static void do_read(struct step *s)
{
	unsigned long i;
	uint64_t seen;

	say("read %lu pages at %lu", s->nr, s->first);
	for (i = s->first; i < s->first + s->nr; i++) {
		if (!can_read(&pages[i]))
			continue;
		seen = *(volatile uint64_t *)at(i);
		if (seen != value_of(i))
			fail("page %lu reads as %#llx, not %#llx", i,
			     (unsigned long long)seen,
			     (unsigned long long)value_of(i));
		comes_in(i);
	}
}

static void do_write(struct step *s)
{
	unsigned long i;

	say("write %lu pages at %lu", s->nr, s->first);
	for (i = s->first; i < s->first + s->nr; i++) {
		if (!can_write(&pages[i]))
			continue;
		*(volatile uint64_t *)at(i) = ++next_value;
		comes_in(i);
		set_value(i, next_value);
		pages[i].writable = YES;
	}
}

static void do_map(struct step *s)
{
	static const char * const names[] = { "", "anonymous", "shared", "private" };
	enum kind kind = ANON + (draw(s) % 8 > 4) + (draw(s) % 8 > 5);
	int prot = draw(s) % 8 ? PROT_READ | PROT_WRITE : PROT_READ;
	bool huge = kind == ANON && draw(s) % 2;
	unsigned long i;

	say("map %lu %s pages at %lu, prot %d, huge %d", s->nr, names[kind],
	    s->first, prot, huge);
	if (mmap(at(s->first), s->nr * PAGE, prot, MAP_FIXED |
		 (kind == SHARED ? MAP_SHARED : MAP_PRIVATE) |
		 (kind == ANON ? MAP_ANONYMOUS : 0), kind == ANON ? -1 : file,
		 kind == ANON ? 0 : s->first * PAGE) == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	if (kind == ANON)
		madvise(at(s->first), s->nr * PAGE,
			huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	for (i = s->first; i < s->first + s->nr; i++) {
		goes(i);
		pages[i].kind = kind;
		pages[i].prot = prot;
		pages[i].coupled = huge;
		pages[i].guard = false;
	}
}

static void do_unmap(struct step *s)
{
	unsigned long i;

	say("unmap %lu pages at %lu", s->nr, s->first);
	munmap(at(s->first), s->nr * PAGE);
	for (i = s->first; i < s->first + s->nr; i++) {
		goes(i);
		pages[i] = (struct page){ .kind = UNMAPPED, .state = ABSENT };
	}
}

/* The step's next mapped pages, from @i on; 0 if there are none */
static unsigned long mapped_run(const struct step *s, unsigned long *i)
{
	unsigned long end = s->first + s->nr, n;

	while (*i < end && pages[*i].kind == UNMAPPED)
		++*i;
	for (n = 0; *i + n < end && pages[*i + n].kind != UNMAPPED; n++)
		;
	return n;
}

static void do_protect(struct step *s)
{
	static const int prots[] = { PROT_NONE, PROT_READ, PROT_READ,
				     PROT_READ | PROT_WRITE };
	int prot = prots[draw(s) % 4];
	unsigned long i, n;

	say("protect %lu pages at %lu: %d", s->nr, s->first, prot);
	for (i = s->first; (n = mapped_run(s, &i)); i += n)
		if (mprotect(at(i), n * PAGE, prot))
			fail("mprotect: %s", strerror(errno));
	for (i = s->first; i < s->first + s->nr; i++) {
		struct page *p = &pages[i];

		if (p->kind == UNMAPPED)
			continue;
		p->prot = prot;
		p->writable = prot & PROT_WRITE ? MAYBE : NO;
	}
}

static void do_drop(struct step *s)
{
	unsigned long i;

	say("drop %lu pages at %lu", s->nr, s->first);
	madvise(at(s->first), s->nr * PAGE, MADV_DONTNEED);
	for (i = s->first; i < s->first + s->nr; i++) {
		struct page *p = &pages[i];
		bool marked = p->guard || (p->kind != ANON && p->wp);

		goes(i);
		p->state = marked ? OTHER : ABSENT;
	}
}

static void do_guard(struct step *s, bool install)
{
	unsigned long i, n;

	say("%s %lu pages at %lu", install ? "guard" : "unguard", s->nr, s->first);
	for (i = s->first; (n = mapped_run(s, &i)); i += n)
		if (madvise(at(i), n * PAGE, install ? MADV_GUARD_INSTALL :
			    MADV_GUARD_REMOVE))
			fail("guard region: %s", strerror(errno));
	for (i = s->first; i < s->first + s->nr; i++) {
		struct page *p = &pages[i];

		if (p->kind == UNMAPPED || p->guard == install)
			continue;
		goes(i);
		p->guard = install;
		p->state = install ? OTHER : ABSENT;
	}
}

static void do_guard_install(struct step *s)
{
	do_guard(s, true);
}

static void do_guard_remove(struct step *s)
{
	do_guard(s, false);
}

/* The child has what its parent had at fork(), and keeps it */
static void __noreturn other_life(int go)
{
	unsigned long i;
	char byte;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (read(go, &byte, 1) < 0)
		_exit(2);
	for (i = 0; i < REGION_NR; i++)
		if (can_read(&pages[i]) && !of_file(&pages[i]) &&
		    !pages[i].unsure && *(volatile uint64_t *)at(i) != pages[i].value)
			_exit(1);
	_exit(0);
}

static void other_ends(void)
{
	unsigned long i;
	int status;

	say("the child looks at its memory and exits");
	close(other_go);
	waitpid(other, &status, 0);
	other = 0;
	/* Pages that the child touched were migrated back for both */
	for (i = 0; i < REGION_NR; i++)
		if (pages[i].state & (DEV_A | DEV_B)) {
			pages[i].state |= PRESENT;
			pages[i].writable = MAYBE;
		}
	if (status)
		fail("the child's memory has changed: status %#x", status);
}

static void do_fork(struct step *s)
{
	unsigned long i;
	int go[2];

	if (other) {
		other_ends();
		return;
	}
	say("fork");
	fflush(stdout);
	if (pipe(go))
		fail("pipe: %s", strerror(errno));
	other = fork();
	if (other < 0)
		fail("fork: %s", strerror(errno));
	if (!other) {
		close(go[1]);
		other_life(go[0]);
	}
	close(go[0]);
	other_go = go[1];
	for (i = 0; i < REGION_NR; i++) {
		struct page *p = &pages[i];

		if (p->kind == SHARED)
			continue;
		p->writable = NO;
		/* Exclusive access to the page ends */
		if (p->state == OTHER && !p->guard) {
			p->state |= PRESENT;
			p->writable = MAYBE;
		}
	}
}

/* Pages that a migration to @dev has faulted first; never its own ones */
static void were_faulted(const struct step *s, int dev)
{
	unsigned long i;

	for (i = s->first; i < s->first + s->nr; i++) {
		struct page *p = &pages[i];

		if (p->kind == SHARED || !can_read(p) || p->state == dev_state(dev))
			continue;
		neighbours_may_come(i);
		/* Not left in swap, or exclusive to a device */
		if (p->state == OTHER && !p->wp)
			p->state = 0;
		p->state |= PRESENT;
		if (!(p->prot & PROT_WRITE))
			continue;
		p->writable = MAYBE;
		if (p->kind == PRIVATE && !p->copied) {
			p->value = file_value[i];
			p->copied = true;
			p->unsure = true;
		}
	}
}

/* The pages of a folio that was moved as one, to memory of @dev or from it */
static unsigned long moved_whole(unsigned long i, int dev)
{
	struct call *c = call_new(at(i), 1);
	unsigned long nr = MTHP_NR;

	c->raw.owner = dev;
	if (!call_ask(c, ASK_NOTHING) && answer_order(c->e[0]) == hmm.pmd_order)
		nr = HUGE_NR;
	call_free(c);
	return nr;
}

static void do_move(struct step *s, int dev, uint32_t to, uint64_t select)
{
	static uint64_t src[1200];
	struct hmm_range_migrate cmd = {
		.addr = (uintptr_t)at(s->first), .nr = s->nr,
		.src = (uintptr_t)src, .owner = dev, .to = to,
		.select = select | (draw(s) % 2 ? SELECT_COMPOUND : 0) |
			  (draw(s) % 2 ? SELECT_MTHP : 0),
	};
	unsigned long i, j, nr;

	say("move %lu pages at %lu to %s %d, select %#llx", s->nr, s->first,
	    to == HMM_RANGE_TO_DEVICE ? "device" : "system, from", dev,
	    (unsigned long long)cmd.select);
	memset(src, 0, sizeof(src));
	if (ioctl(hmm_fd[dev], HMM_RANGE_MIGRATE, &cmd))
		return;
	if (select & MIGRATE_FAULT)
		were_faulted(s, dev);
	may_split(s);
	for (i = 0; i < s->nr; i += nr) {
		nr = src[i] & MPFN_COMPOUND ? moved_whole(s->first + i, dev) : 1;
		if (!(src[i] & MPFN_MIGRATE))
			continue;
		for (j = s->first + i; j < s->first + i + nr && j < REGION_NR; j++) {
			/* A former hole, or zero page, is writable */
			if (pages[j].prot & PROT_WRITE)
				pages[j].writable = MAYBE;
			pages[j].coupled |= nr > 1;
			pages[j].state = to == HMM_RANGE_TO_DEVICE ?
					 dev_state(dev) : PRESENT;
			if (pages[j].kind == PRIVATE)
				set_value(j, value_of(j));
		}
	}
}

static void do_to_device(struct step *s)
{
	do_move(s, draw(s) % 2, HMM_RANGE_TO_DEVICE, SELECT_SYSTEM);
}

static void do_fault_to_device(struct step *s)
{
	do_move(s, draw(s) % 2, HMM_RANGE_TO_DEVICE, SELECT_SYSTEM | MIGRATE_FAULT);
}

static void do_to_system(struct step *s)
{
	do_move(s, draw(s) % 2, HMM_RANGE_TO_SYSTEM, SELECT_PRIVATE);
}

/* May fault in, and make writable, the huge pages that it finds */
static void do_collapse(struct step *s)
{
	unsigned long i;

	say("collapse %lu pages at %lu", s->nr, s->first);
	madvise(at(s->first), s->nr * PAGE, MADV_COLLAPSE);
	for (i = 0; i < REGION_NR; i++) {
		struct page *p = &pages[i];

		if (block(i) < block(s->first) ||
		    block(i) > block(s->first + s->nr - 1) || p->kind == UNMAPPED)
			continue;
		p->coupled = true;
		if (p->prot & PROT_WRITE)
			p->writable = MAYBE;
		if (!p->guard)
			p->state |= PRESENT;
		/* A file's page tables are dropped */
		if (p->kind > ANON && !p->guard)
			p->state |= ABSENT;
	}
}

static void do_advise(struct step *s)
{
	bool huge = draw(s) % 2;
	unsigned long i;

	say("advise %lu pages at %lu: huge %d", s->nr, s->first, huge);
	madvise(at(s->first), s->nr * PAGE, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	for (i = s->first; i < s->first + s->nr; i++)
		pages[i].coupled |= huge && pages[i].kind != UNMAPPED;
}

static void do_page_out(struct step *s)
{
	unsigned long i;

	say("page out %lu pages at %lu", s->nr, s->first);
	madvise(at(s->first), s->nr * PAGE, MADV_PAGEOUT);
	may_split(s);
	for (i = 0; i < REGION_NR; i++) {
		struct page *p = &pages[i];

		/* A huge page is removed as a whole */
		if ((i < s->first || i >= s->first + s->nr) && !p->coupled)
			continue;
		if (p->state & PRESENT)
			p->state |= p->kind == ANON ? OTHER : OTHER | ABSENT;
		if (p->writable == YES)
			p->writable = MAYBE;
	}
}

/* The whole range is of this kind, so that it can be registered */
static bool all_anon(const struct step *s)
{
	unsigned long i;

	for (i = s->first; i < s->first + s->nr; i++)
		if (pages[i].kind != ANON)
			return false;
	return true;
}

static void do_uffd(struct step *s, bool protect)
{
	struct uffdio_range range = { .start = (uintptr_t)at(s->first),
				      .len = s->nr * PAGE };
	struct uffdio_register reg = { .range = range,
				       .mode = UFFDIO_REGISTER_MODE_WP };
	struct uffdio_writeprotect wp = {
		.range = range,
		.mode = protect ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};
	unsigned long i;

	if (uffd < 0 || !all_anon(s) || ioctl(uffd, UFFDIO_REGISTER, &reg))
		return;
	say("userfaultfd: %sprotect %lu pages at %lu", protect ? "" : "un",
	    s->nr, s->first);
	if (ioctl(uffd, UFFDIO_WRITEPROTECT, &wp))
		fail("UFFDIO_WRITEPROTECT: %s", strerror(errno));
	for (i = s->first; i < s->first + s->nr; i++) {
		struct page *p = &pages[i];

		if (p->state & (ABSENT | OTHER) && !p->guard)
			p->state |= ABSENT | OTHER;
		if (!protect && (p->prot & PROT_WRITE))
			p->writable = MAYBE;
	}
}

static void do_uffd_protect(struct step *s)
{
	do_uffd(s, true);
}

static void do_uffd_unprotect(struct step *s)
{
	do_uffd(s, false);
}

static void do_exclusive(struct step *s)
{
	uint64_t addr = (uintptr_t)at(s->first);
	struct page *p = &pages[s->first];

	if (p->kind != ANON || !can_write(p))
		return;
	say("make page %lu exclusive", s->first);
	if (ioctl(hmm_fd[PRIVATE_A], HMM_RANGE_EXCLUSIVE, &addr))
		return;
	neighbours_may_come(s->first);
	s->nr = 1;
	may_split(s);
	p->state = OTHER;
}

/* Calls */

/* 0 if a request @ask for page @i can succeed, or why not */
static int refusal(const struct page *p, uint64_t ask)
{
	if (!(ask & ASK_READ))
		return 0;
	if (!can_read(p))
		return -EFAULT;
	if (ask != ASK_WRITE)
		return 0;
	return !(p->prot & PROT_WRITE) ? -EPERM : p->wp ? -EFAULT : 0;
}

static bool is_own(const struct page *p, const struct call *c)
{
	return p->state & dev_state(c->raw.owner);
}

/* Whether the request may take a fault */
static bool may_need_fault(const struct page *p, const struct call *c, uint64_t ask)
{
	if (!(ask & ASK_READ))
		return false;
	if (p->state != PRESENT && !is_own(p, c))
		return true;
	return ask == ASK_WRITE && p->writable != YES;
}

static void check_page(struct call *c, unsigned long k, unsigned long i, uint64_t ask)
{
	const struct page *p = &pages[i];
	uint64_t kind = answer_kind(c->e[k]);
	bool held = p->state == PRESENT || is_own(p, c);

	if ((kind == ERROR) != !is_accessible(p) || (p->guard && kind & READABLE))
		fail("page %lu, request %#llx: answer %#llx", i,
		     (unsigned long long)ask, (unsigned long long)c->e[k]);
	if (!can_read(p))
		return;
	if (held && !(kind & READABLE))
		fail("page %lu is present, but answered %#llx", i,
		     (unsigned long long)c->e[k]);
	if (!held && (p->state & (DEV_A | DEV_B)) && !p->coupled &&
	    !(ask & ASK_READ) && kind != NONE)
		fail("page %lu is foreign, but answered %#llx", i,
		     (unsigned long long)c->e[k]);
	if (kind != WRITABLE) {
		if (held && p->writable == YES)
			fail("page %lu is writable, but answered %#llx", i,
			     (unsigned long long)c->e[k]);
		return;
	}
	if (!(p->prot & PROT_WRITE) || p->wp)
		fail("page %lu is not writable, but answered %#llx", i,
		     (unsigned long long)c->e[k]);
	if (held && p->writable == NO && ask != ASK_WRITE && !p->coupled)
		fail("page %lu was made writable without a request", i);
}

/* The state of a requested page after the call */
static void settle_asked(struct page *p, struct call *c, unsigned long k, uint64_t ask)
{
	if (pfn_dev(answer_pfn(c->e[k])) == NOBODY)
		p->state = PRESENT;
	else if (!is_own(p, c))
		fail("a call moved a page to the device");
	if (ask == ASK_WRITE && p->kind == PRIVATE && !p->copied) {
		p->value = file_value[p - pages];
		p->copied = true;
	}
}

static void settle_writable(struct page *p, uint64_t e)
{
	if (e & hmm.valid)
		p->writable = answer_kind(e) == WRITABLE ? YES : NO;
}

/* What the call's faults may have done; the next observe() will see it */
static void settle_call(struct call *c, struct step *s, const uint64_t *ask)
{
	static bool need[1200];
	unsigned long k, i;

	for (k = 0; k < s->nr; k++)
		need[k] = may_need_fault(&pages[s->first + k], c, ask[k]);
	for (k = 0; k < s->nr; k++)
		if (need[k] && pages[s->first + k].kind != UNMAPPED)
			neighbours_may_come(s->first + k);
	for (k = 0; k < s->nr; k++) {
		struct page *p = &pages[i = s->first + k];

		if (c->raw.ret) {
			if (!need[k] || !can_read(p))
				continue;
			p->state |= PRESENT;
			p->writable = p->prot & PROT_WRITE ? MAYBE : NO;
			if (ask[k] == ASK_WRITE && p->kind == PRIVATE &&
			    (p->prot & PROT_WRITE) && !p->copied) {
				p->value = file_value[i];
				p->copied = true;
				p->unsure = true;
			}
			continue;
		}
		if (ask[k] & ASK_READ)
			settle_asked(p, c, k, ask[k]);
		settle_writable(p, c->e[k]);
	}
}

static void check_bytes(struct call *c, struct step *s)
{
	unsigned long k;

	if (c->raw.stale)
		fail("invalidated without a reason");
	for (k = 0; k < s->nr; k++) {
		if (!(c->e[k] & hmm.valid))
			continue;
		if (c->raw.flags & HMM_RANGE_READ) {
			if (c->data[k] != value_of(s->first + k))
				fail("page %lu: the device reads %#llx, not %#llx",
				     s->first + k, (unsigned long long)c->data[k],
				     (unsigned long long)value_of(s->first + k));
		} else if (answer_kind(c->e[k]) == WRITABLE) {
			set_value(s->first + k, c->data[k]);
		}
	}
}

static void check_call(struct call *c, struct step *s, const uint64_t *ask)
{
	unsigned long k, needy = 0;
	int expected = 0;

	for (k = 0; k < s->nr && !expected; k++) {
		expected = refusal(&pages[s->first + k], ask[k]);
		/* Either reason may be reported */
		if (pages[s->first + k].guard && c->raw.ret == -EPERM &&
		    ask[k] == ASK_WRITE && !(pages[s->first + k].prot & PROT_WRITE))
			expected = -EPERM;
		needy += may_need_fault(&pages[s->first + k], c, ask[k]);
	}
	if (!call_check(c))
		fail("%s", c->why);
	/* A fault may invalidate answers, which ends a locked call */
	if (c->raw.ret != expected &&
	    !(c->raw.ret == -EBUSY && needy && !(c->raw.flags & HMM_RANGE_UNLOCKED)))
		fail("call returned %d, not %d", c->raw.ret, expected);
	/* Migrated back from the device, or swapped in, and then copied */
	if (c->raw.faults > 2 * needy)
		fail("%llu faults for %lu pages that need one",
		     (unsigned long long)c->raw.faults, needy);
	report->calls++;
	if (c->raw.ret)
		return;
	for (k = 0; k < s->nr; k++)
		check_page(c, k, s->first + k, ask[k]);
	report->answers += s->nr;
}

/* Requests of all kinds, by mask and default or page by page */
static void ask_at_random(struct call *c, struct step *s, uint64_t *ask)
{
	const uint64_t wants[] = { ASK_NOTHING, ASK_NOTHING, ASK_READ, ASK_WRITE };
	unsigned long k, one = draw(s) % s->nr;
	unsigned int how = draw(s) % 4;

	c->raw.default_flags = how == 0 ? wants[draw(s) % 4] :
			       how == 1 ? ASK_READ : ASK_NOTHING;
	c->raw.pfn_flags_mask = how == 0 ? 0 : ASK_WRITE;
	for (k = 0; k < s->nr; k++) {
		uint64_t want = wants[draw(s) % 4];

		if (how == 3)
			want = k == one ? wants[2 + draw(s) % 2] : ASK_NOTHING;
		c->e[k] = want | (draw(s) % 4 ? 0 : hmm.dma_mapped);
		ask[k] = ((c->e[k] & c->raw.pfn_flags_mask) |
			  c->raw.default_flags) & ASK_WRITE;
	}
}

static void do_call(struct step *s)
{
	struct call *c = call_new(at(s->first), s->nr);
	static uint64_t ask[1200];
	bool waits = false;
	unsigned long k;

	ask_at_random(c, s, ask);
	c->raw.owner = (int)(draw(s) % 3) - 1;
	c->raw.flags = draw(s) % 4 ? HMM_RANGE_READ : HMM_RANGE_WRITE;
	/* Unlocked, it would wait for someone to answer the userfaultfd */
	for (k = 0; k < s->nr; k++)
		waits |= ask[k] == ASK_WRITE && pages[s->first + k].wp;
	if (draw(s) % 4 && !waits)
		c->raw.flags |= HMM_RANGE_UNLOCKED;
	c->raw.timeout_ms = 10000;
	for (k = 0; k < s->nr; k++)
		c->data[k] = c->raw.flags & HMM_RANGE_WRITE ? ++next_value : 0;
	say("call for %lu pages at %lu, owner %d, default %#llx, mask %#llx, flags %#x",
	    s->nr, s->first, c->raw.owner,
	    (unsigned long long)c->raw.default_flags,
	    (unsigned long long)c->raw.pfn_flags_mask, c->raw.flags);
	call_run(c);
	check_call(c, s, ask);
	settle_call(c, s, ask);
	if (!c->raw.ret)
		check_bytes(c, s);
	call_free(c);
}

/* Runs */

static const struct {
	void (*run)(struct step *s);
	unsigned int weight;
} steps[] = {
	{ do_call, 40 },
	{ do_read, 6 },
	{ do_write, 9 },
	{ do_map, 6 },
	{ do_unmap, 3 },
	{ do_protect, 5 },
	{ do_drop, 5 },
	{ do_fork, 3 },
	{ do_to_device, 4 },
	{ do_fault_to_device, 4 },
	{ do_to_system, 3 },
	{ do_collapse, 2 },
	{ do_advise, 3 },
	{ do_page_out, 3 },
	{ do_guard_install, 2 },
	{ do_guard_remove, 2 },
	{ do_uffd_protect, 3 },
	{ do_uffd_unprotect, 2 },
	{ do_exclusive, 2 },
};

/* Many small ranges, some large ones, some that begin and end at huge pages */
static void draw_range(struct step *s)
{
	unsigned long most = draw(s) % 8 < 5 ? 8 : draw(s) % 8 < 6 ? 64 : REGION_NR;

	s->nr = 1 + draw(s) % most;
	s->first = draw(s) % (REGION_NR - s->nr + 1);
	if (draw(s) % 6 == 0) {
		s->first = EDGE + draw(s) % 2 * HUGE_NR;
		s->nr = HUGE_NR;
	}
}

static struct step draw_step(unsigned long number)
{
	struct step s = { .r = mix(seed ^ mix(number)) };
	unsigned int i, total = 0, pick;

	for (i = 0; i < ARRAY_SIZE(steps); i++)
		total += steps[i].weight;
	pick = draw(&s) % total;
	for (s.what = 0; pick >= steps[s.what].weight; s.what++)
		pick -= steps[s.what].weight;
	draw_range(&s);
	return s;
}

static int uffd_open(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC);

	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static void begin(void)
{
	unsigned long i;

	region = (char *)(REGION_AT + HUGE - EDGE * PAGE);
	munmap(region, REGION_NR * PAGE);
	file = memfd_new(REGION_NR * PAGE, 0);
	uffd = uffd_open();
	memset(file_value, 0, sizeof(file_value));
	for (i = 0; i < REGION_NR; i++)
		pages[i] = (struct page){ .kind = UNMAPPED, .state = ABSENT };
	do_map(&(struct step){ .first = 0, .nr = REGION_NR, .r = mix(seed) });
}

/* In a child: runs the steps of the list, or 0, 1, ... if there is none */
static void __noreturn run_list(const unsigned long *list, unsigned long nr)
{
	unsigned long n;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	begin();
	for (n = 0; n < nr; n++) {
		struct step s;

		report->step = list ? list[n] : n;
		s = draw_step(report->step);
		steps[s.what].run(&s);
		observe();
	}
	if (other)
		other_ends();
	_exit(0);
}

static bool run(const unsigned long *list, unsigned long nr)
{
	int status;
	pid_t pid;

	report->why[0] = 0;
	fflush(stdout);
	pid = fork();
	if (!pid)
		run_list(list, nr);
	waitpid(pid, &status, 0);
	if (status && !report->why[0])
		snprintf(report->why, sizeof(report->why), "ended with status %#x",
			 status);
	return !status;
}

/* Removes steps that the failure does not need, large parts first */
static unsigned long cut_down(unsigned long *list, unsigned long nr, time_t end)
{
	unsigned long *less = calloc(nr, sizeof(*less));
	unsigned long part, i;

	for (part = nr / 2; less && part && time(NULL) < end; ) {
		bool cut = false;

		for (i = 0; i + part <= nr && time(NULL) < end; ) {
			memcpy(less, list, i * sizeof(*list));
			memcpy(less + i, list + i + part,
			       (nr - i - part) * sizeof(*list));
			if (run(less, nr - part)) {
				i += part;
				continue;
			}
			nr -= part;
			memcpy(list, less, nr * sizeof(*list));
			cut = true;
		}
		if (!cut || part > 1)
			part /= 2;
	}
	free(less);
	return nr;
}

/* A failure rarely needs steps long before it */
static void explain(struct __test_metadata *_metadata, unsigned long failed)
{
	unsigned long *list = calloc(failed + 1, sizeof(*list));
	unsigned long nr, i;
	time_t end = time(NULL) + 120;

	if (!list)
		return;
	TH_LOG("step %lu: %s", failed, report->why);
	for (nr = 16; ; nr *= 4) {
		if (nr > failed + 1)
			nr = failed + 1;
		for (i = 0; i < nr; i++)
			list[i] = failed + 1 - nr + i;
		if (nr == failed + 1 || !run(list, nr))
			break;
	}
	nr = cut_down(list, nr, end);
	TH_LOG("these %lu steps reproduce it:", nr);
	talk = true;
	run(list, nr);
	TH_LOG("%s", report->why);
	free(list);
}

#define THP		"/sys/kernel/mm/transparent_hugepage/"
#define MTHP_ENABLED	THP "hugepages-64kB/enabled"

static void swap_and_quiet(void)
{
	const char *khugepaged = THP "khugepaged/scan_sleep_millisecs";

	swap_on();
	/* Where no huge page fits, there are large folios */
	write_file(MTHP_ENABLED, "madvise");
	/* Only the steps may change anything */
	write_file(khugepaged, "100000000");
}

static uint64_t number_or(const char *name, uint64_t number)
{
	const char *value = getenv(name);

	return value ? strtoull(value, NULL, 0) : number;
}

static uint64_t new_seed(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return mix(now.tv_sec * 1000000000ULL + now.tv_nsec) % 1000000000;
}

FIXTURE_HMM();

TEST_F_TIMEOUT(hmm, random_steps_agree_with_the_model, 24 * 3600)
{
	unsigned long nr = number_or("HMM_MODEL_STEPS", 10000);
	bool right;

	NEED_DEVICE();
	NEED(ARRAY_SIZE(pages) >= REGION_NR, "huge pages are too large");
	report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, report);
	swap_and_quiet();
	seed = number_or("HMM_MODEL_SEED", new_seed());
	TH_LOG("HMM_MODEL_SEED=%llu HMM_MODEL_STEPS=%lu", (unsigned long long)seed, nr);
	right = run(NULL, nr);
	TH_LOG("%lu calls, %lu answers", report->calls, report->answers);
	if (!right)
		explain(_metadata, report->step);
	write_file(MTHP_ENABLED, "never");
	EXPECT_TRUE(right);
}

TEST_HARNESS_MAIN
