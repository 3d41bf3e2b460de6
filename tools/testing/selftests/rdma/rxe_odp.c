// SPDX-License-Identifier: GPL-2.0
/*
 * rxe_odp - test on-demand regions over soft-RoCE, without concurrent changes
 *
 * Every offset in a page and every end, atomics, requests that must be refused, data
 * that reclaim must not lose, regions that can be registered and prefetched. Each on
 * private anonymous memory and on a memfd. rxe_odp.sh sets up a device and runs this.
 */
#include <errno.h>
#include <fcntl.h>
#include <rdma/ib_user_ioctl_cmds.h>
#include <rdma/rdma_user_ioctl_cmds.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "odp.h"

static unsigned long refused_right, refused_wrong;

/*
 * Four pages per message, so that it can cross three and the bytes before and after
 * it are checked. The local offsets vary, too.
 */
static void sweep_batch(struct link *l, struct area *a, struct rng *rng,
			const size_t *off, const size_t *len, int nr)
{
	static uint8_t sent[NR_SLOTS][3 * PAGE];

	for (int i = 0; i < nr; i++) {
		uint8_t *from = source(l, i) + below(rng, PAGE);
		size_t at = i * 4 * PAGE + off[i];

		fill(rng, sent[i], len[i]);
		memcpy(from, sent[i], len[i]);
		memcpy(a->shadow + at, sent[i], len[i]);
		post_rdma(l, IBV_WR_RDMA_WRITE, from, len[i],
			  (uintptr_t)a->mem + at, a->mr->rkey);
	}
	flush(l);
	check_area(a, 0, nr * 4 * PAGE);
}

static void sweep_reads(struct link *l, struct area *a, struct rng *rng,
			const size_t *off, const size_t *len, int nr)
{
	uint8_t *to[NR_SLOTS];

	for (int i = 0; i < nr; i++) {
		to[i] = destination(l, i) + below(rng, PAGE);
		memset(destination(l, i), 0x5a, 5 * PAGE);
		post_rdma(l, IBV_WR_RDMA_READ, to[i], len[i],
			  (uintptr_t)a->mem + i * 4 * PAGE + off[i],
			  a->mr->rkey);
	}
	if (!flush(l))
		return;
	for (int i = 0; i < nr; i++) {
		check(to[i], a->shadow + i * 4 * PAGE + off[i], len[i]);
		if (to[i][-1] != 0x5a && to[i] != destination(l, i))
			bytes_wrong++;
		if (to[i][len[i]] != 0x5a)
			bytes_wrong++;
	}
}

/* Every first and every last byte in a page, crossing one and two boundaries. */
static void check_offsets(struct link *l, struct area *a, struct rng *rng)
{
	unsigned long checked = bytes_checked, wrong = bytes_wrong;
	size_t off[NR_SLOTS], len[NR_SLOTS];
	int nr = 0, messages = 0;

	for (size_t i = 0; i < PAGE + PAGE / 8; i++) {
		size_t first = i < PAGE ? i : (i - PAGE) * 8;
		/* A permutation: 1261 and 4096 have no common factor */
		size_t last = (i * 1261 + 17) % PAGE;

		off[nr] = first;
		len[nr] = PAGE * (i < PAGE ? 1 : 2) + last + 1 - first;
		messages++;
		if (++nr < NR_SLOTS && i + 1 < PAGE + PAGE / 8)
			continue;
		/* Now and then from pages that are not present */
		if (!(messages / NR_SLOTS % 4))
			madvise(a->mem, nr * 4 * PAGE, MADV_PAGEOUT);
		sweep_batch(l, a, rng, off, len, nr);
		sweep_reads(l, a, rng, off, len, nr);
		nr = 0;
	}
	verdict(bytes_wrong == wrong, "offsets",
		"%s, %d WRITEs and READs, %lu bytes checked, %lu wrong",
		a->kind, messages, bytes_checked - checked,
		bytes_wrong - wrong);
}

static void one_atomic_write(struct link *l, struct area *a, struct rng *rng,
			     size_t at)
{
	fill(rng, a->shadow + at, 8);
	post_atomic_write(l, (uintptr_t)a->mem + at, a->mr->rkey,
			  a->shadow + at);
	if (flush(l))
		atomics_done++;
}

/* Every aligned offset of two pages; the pages are taken away in between. */
static void check_atomics(struct link *l, struct area *a, struct rng *rng)
{
	unsigned long wrong = bytes_wrong, failed = wr_failed;
	int nr = 0;

	for (size_t at = 0; at < 2 * PAGE; at += 8, nr += 4) {
		if (at % 512 == 0)
			madvise(a->mem, 2 * PAGE, MADV_PAGEOUT);
		one_atomic_write(l, a, rng, at);
		one_atomic(l, a, rng, at, IBV_WR_ATOMIC_FETCH_AND_ADD, true);
		one_atomic(l, a, rng, at, IBV_WR_ATOMIC_CMP_AND_SWP, true);
		one_atomic(l, a, rng, at, IBV_WR_ATOMIC_CMP_AND_SWP, false);
		if (at % PAGE == PAGE - 8)
			check_area(a, 0, 3 * PAGE);
	}
	verdict(bytes_wrong == wrong && wr_failed == failed, "atomics",
		"%s, %d of them, %lu bytes wrong, %lu failed", a->kind, nr,
		bytes_wrong - wrong, wr_failed - failed);
}

/*
 * The pages are clean for the CPU when the device writes to them, and are then
 * reclaimed: what the device wrote must not be lost.
 */
static void check_dirty(struct link *l, struct area *a, struct rng *rng,
			bool lazyfree)
{
	const size_t len = 64 * PAGE;
	size_t swapped, wrong;

	for (size_t at = 0; at < len; at += SLOT)
		fill(rng, a->mem + at, SLOT);
	madvise(a->mem, len, MADV_NOHUGEPAGE);
	madvise(a->mem, len, MADV_PAGEOUT);
	swapped = swapped_pages(a->mem, len);
	touch(a->mem, len);
	if (lazyfree)
		madvise(a->mem, len, MADV_FREE);

	for (size_t at = 0; at < len; at += SLOT) {
		fill(rng, a->shadow + at, SLOT);
		memcpy(source(l, at / SLOT), a->shadow + at, SLOT);
		post_rdma(l, IBV_WR_RDMA_WRITE, source(l, at / SLOT), SLOT,
			  (uintptr_t)a->mem + at, a->mr->rkey);
	}
	flush(l);
	madvise(a->mem, len, MADV_PAGEOUT);
	wrong = check_area(a, 0, len);
	madvise(a->mem, len, MADV_HUGEPAGE);
	verdict(!wrong && (swapped || a->fd >= 0),
		lazyfree ? "written after MADV_FREE" : "written while clean",
		"%s, %zu bytes of %zu lost (%zu of %zu pages had been in swap)",
		a->kind, wrong, len, swapped, len / PAGE);
}

static bool write_fresh(struct link *l, struct area *a, struct rng *rng,
			size_t len)
{
	fill(rng, a->shadow, len);
	memcpy(source(l, 0), a->shadow, len);
	post_rdma(l, IBV_WR_RDMA_WRITE, source(l, 0), len, (uintptr_t)a->mem,
		  a->mr->rkey);
	return flush(l);
}

/* The device has the pages mapped when the process forks, and writes to them. */
static void check_fork(struct link *l, struct area *a, struct rng *rng)
{
	const size_t len = 16 * PAGE;
	int status = -1, go[2];
	size_t wrong;
	char byte;
	pid_t pid;

	write_fresh(l, a, rng, len);
	if (pipe(go))
		die("pipe");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		close(go[1]);
		_exit(read(go[0], &byte, 1) || memcmp(a->mem, a->shadow, len));
	}
	write_fresh(l, a, rng, len);
	close(go[0]);
	close(go[1]);
	waitpid(pid, &status, 0);
	wrong = check_area(a, 0, len);
	verdict(!status && !wrong, "fork", "%s, %zu bytes wrong; the child's are %s",
		a->kind, wrong, status ? "no longer what they were" : "untouched");
}

static void expect_refused(struct link *l, struct area *a, const char *what)
{
	enum ibv_wc_status status = wait_posted(l);

	link_again(l);
	if (status == IBV_WC_REM_ACCESS_ERR || status == IBV_WC_REM_INV_REQ_ERR)
		refused_right++;
	else if (refused_wrong++ < 8)
		printf("     not refused: %s, %s: %s\n", a->kind, what,
		       ibv_wc_status_str(status));
}

static void refuse_write(struct link *l, struct area *a, uint32_t rkey,
			 const uint8_t *at, size_t len, const char *what)
{
	memset(source(l, 0), 0xee, len);
	post_rdma(l, IBV_WR_RDMA_WRITE, source(l, 0), len, (uintptr_t)at, rkey);
	expect_refused(l, a, what);
}

static void refuse_read(struct link *l, struct area *a, uint32_t rkey,
			const uint8_t *at, size_t len, const char *what)
{
	post_rdma(l, IBV_WR_RDMA_READ, destination(l, 0), len, (uintptr_t)at,
		  rkey);
	expect_refused(l, a, what);
}

/* The sender's own library may already refuse an unaligned request. */
static void refuse_atomic(struct link *l, struct area *a, uint32_t rkey,
			  const uint8_t *at, const char *what)
{
	struct ibv_send_wr wr = {
		.opcode = IBV_WR_ATOMIC_FETCH_AND_ADD,
		.wr.atomic = { .remote_addr = (uintptr_t)at, .rkey = rkey,
			       .compare_add = 1 },
	};

	if (try_post(l, &wr, destination(l, 0), 8) && (uintptr_t)at % 8)
		refused_right++;
	else
		expect_refused(l, a, what);
}

static bool read_back(struct link *l, struct area *a, uint32_t rkey, size_t at,
		      size_t len)
{
	memset(destination(l, 0), 0, len);
	post_rdma(l, IBV_WR_RDMA_READ, destination(l, 0), len,
		  (uintptr_t)a->mem + at, rkey);
	return flush(l) && !check(destination(l, 0), a->shadow + at, len);
}

static void check_readonly_mr(struct link *l, struct area *a)
{
	struct ibv_mr *mr = reg(a->mem, 16 * PAGE, IBV_ACCESS_REMOTE_READ);

	if (!mr)
		die("register for reading alone");
	verdict(read_back(l, a, mr->rkey, 100, 3 * PAGE), "read-only region",
		"%s, READ", a->kind);
	refuse_write(l, a, mr->rkey, a->mem + 100, 64, "WRITE, read-only MR");
	refuse_atomic(l, a, mr->rkey, a->mem + 64, "atomic, read-only MR");
	ibv_dereg_mr(mr);
}

static void check_readonly_vma(struct link *l, struct area *a)
{
	uint32_t rkey = a->mr->rkey;
	bool ok;

	mprotect(a->mem + PAGE, PAGE, PROT_READ);
	ok = read_back(l, a, rkey, PAGE - 32, 4096);
	refuse_write(l, a, rkey, a->mem + PAGE + 8, 8, "WRITE, read-only VMA");
	refuse_write(l, a, rkey, a->mem + 2 * PAGE - 4, 8,
		     "WRITE out of a read-only VMA");
	refuse_write(l, a, rkey, a->mem + PAGE - 4, 8,
		     "WRITE into a read-only VMA");
	refuse_atomic(l, a, rkey, a->mem + 2 * PAGE - 8,
		      "atomic, read-only VMA");
	mprotect(a->mem + PAGE, PAGE, PROT_NONE);
	refuse_read(l, a, rkey, a->mem + 2 * PAGE - 1, 1, "READ, PROT_NONE");
	mprotect(a->mem + PAGE, PAGE, PROT_READ | PROT_WRITE);

	fill(&(struct rng){ 7 }, source(l, 0), 2 * PAGE);
	memcpy(a->shadow + 10, source(l, 0), 2 * PAGE);
	post_rdma(l, IBV_WR_RDMA_WRITE, source(l, 0), 2 * PAGE,
		  (uintptr_t)a->mem + 10, rkey);
	ok &= flush(l) && !check_area(a, 0, 16 * PAGE);
	verdict(ok, "mprotect", "%s, READ from PROT_READ, WRITE once it is over",
		a->kind);
}

static void check_refusals(struct link *l, struct area *a)
{
	unsigned long right = refused_right, wrong = refused_wrong;
	uint32_t rkey = a->mr->rkey;
	uint8_t *end = a->mem + a->size;
	size_t changed;

	check_area(a, 0, 16 * PAGE);
	check_readonly_mr(l, a);
	check_readonly_vma(l, a);
	refuse_write(l, a, rkey, a->mem - 1, 2, "WRITE before the start");
	refuse_write(l, a, rkey, end - 1, 2, "WRITE over the end");
	refuse_read(l, a, rkey, end - 1, 2, "READ over the end");
	refuse_read(l, a, rkey, end, 1, "READ behind the end");
	for (int i = 1; i < 8; i++) {
		refuse_atomic(l, a, rkey, a->mem + 64 + i, "odd atomic");
		refuse_atomic(l, a, rkey, a->mem + PAGE - i, "crossing atomic");
	}
	refuse_atomic(l, a, rkey, end, "atomic behind the end");
	refuse_atomic(l, a, rkey, end - 4, "atomic over the end");
	changed = check_area(a, 0, 16 * PAGE);
	verdict(refused_wrong == wrong && !changed, "refusals",
		"%s, %lu requests refused, %lu not, %zu bytes changed by them",
		a->kind, refused_right - right, refused_wrong - wrong, changed);
}

static struct ibv_mr *reg_iova(uint8_t *mem, size_t len, uint64_t iova)
{
	struct ibv_mr *mr = ibv_reg_mr_iova(pd, mem, len, iova,
					    ALL_ACCESS | IBV_ACCESS_ON_DEMAND);

	if (!mr)
		die("register at another address");
	return mr;
}

static size_t write_at(struct link *l, struct area *a, struct rng *rng,
		       uint64_t remote, uint32_t rkey, size_t off, size_t len)
{
	fill(rng, source(l, 0), len);
	memcpy(a->shadow + off, source(l, 0), len);
	post_rdma(l, IBV_WR_RDMA_WRITE, source(l, 0), len, remote, rkey);
	flush(l);
	return check_area(a, 0, 16 * PAGE);
}

/*
 * A region with different addresses for the network and for the process. A driver
 * that confuses them is first caught on pages of the same region, and is not led
 * outside it.
 */
static void check_iova(struct link *l, struct area *a, struct rng *rng)
{
	const uint64_t far = 1ULL << 44;
	size_t half = 4 * PAGE, wrong;
	struct ibv_mr *mr;

	check_area(a, 0, 16 * PAGE);
	mr = reg_iova(a->mem, 2 * half, (uintptr_t)a->mem + half);
	wrong = write_at(l, a, rng, (uintptr_t)a->mem + half + 9, mr->rkey, 9,
			 half - 9);
	ibv_dereg_mr(mr);
	if (!wrong) {
		mr = reg_iova(a->mem + 24, 2 * half, far + 24);
		wrong = write_at(l, a, rng, far + 24 + 2 * half - 5000,
				 mr->rkey, 24 + 2 * half - 5000, 5000);
		ibv_dereg_mr(mr);
	}
	verdict(!wrong, "other addresses", "%s, ibv_reg_mr_iova(), %zu bytes wrong",
		a->kind, wrong);
}

static void check_large_size(struct link *l, size_t len)
{
	uint8_t *mem = map_aligned(len);
	struct ibv_mr *mr = reg(mem, len, ALL_ACCESS);
	size_t wrong = 64;

	if (mr) {
		memset(source(l, 0), 0xa5, 64);
		post_rdma(l, IBV_WR_RDMA_WRITE, source(l, 0), 64,
			  (uintptr_t)mem + len - 64, mr->rkey);
		flush(l);
		wrong = check(mem + len - 64, source(l, 0), 64);
		ibv_dereg_mr(mr);
	}
	verdict(!wrong, "large region", "%zu MiB: %s", len >> 20,
		!mr ? "cannot be registered" : wrong ? "wrong bytes" : "served");
	munmap(mem, len);
}

/*
 * Like ibv_advise_mr(), but calls the kernel directly, as the library of Debian 12
 * does not support it for soft-RoCE devices.
 */
static int prefetch(uint32_t lkey, enum ib_uverbs_advise_mr_advice advice,
		    uint64_t at, size_t len)
{
	struct ibv_sge sge = { .addr = at, .length = len, .lkey = lkey };
	struct {
		struct ib_uverbs_ioctl_hdr hdr;
		struct ib_uverbs_attr attrs[4];
	} cmd = {
		.hdr = { .length = sizeof(cmd), .num_attrs = 4,
			 .driver_id = RDMA_DRIVER_RXE,
			 .object_id = UVERBS_OBJECT_MR,
			 .method_id = UVERBS_METHOD_ADVISE_MR },
		.attrs = {
			{ .attr_id = UVERBS_ATTR_ADVISE_MR_PD_HANDLE,
			  .data = pd->handle },
			{ .attr_id = UVERBS_ATTR_ADVISE_MR_ADVICE,
			  .len = sizeof(uint64_t), .data = advice },
			{ .attr_id = UVERBS_ATTR_ADVISE_MR_FLAGS,
			  .len = sizeof(uint32_t),
			  .data = IB_UVERBS_ADVISE_MR_FLAG_FLUSH },
			{ .attr_id = UVERBS_ATTR_ADVISE_MR_SGE_LIST,
			  .len = sizeof(sge), .data = (uintptr_t)&sge },
		},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cmd.attrs); i++)
		cmd.attrs[i].flags = UVERBS_ATTR_F_MANDATORY;
	return ioctl(ctx->cmd_fd, RDMA_VERBS_IOCTL, &cmd) ? errno : 0;
}

static void expect_errno(const char *what, int got, int want)
{
	verdict(got == want, "prefetch", "%s: %s%s%s", what, strerror(got),
		got == want ? "" : ", but should be ",
		got == want ? "" : strerror(want));
}

static void check_prefetch_iova(struct area *a)
{
	const uint64_t far = 1ULL << 44;
	struct ibv_mr *mr = reg_iova(a->mem, 16 * PAGE, far);

	expect_errno("other addresses, for writing",
		     prefetch(mr->lkey, IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH_WRITE,
			      far, 16 * PAGE), 0);
	expect_errno("other addresses, the process's own",
		     prefetch(mr->lkey, IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH,
			      (uintptr_t)a->mem, PAGE), EFAULT);
	ibv_dereg_mr(mr);
}

static void check_prefetch(struct area *a)
{
	uint64_t mem = (uintptr_t)a->mem;
	struct ibv_mr *ro = reg(a->mem, 16 * PAGE, IBV_ACCESS_REMOTE_READ);

	if (!ro)
		die("register for reading alone");
	expect_errno("for writing",
		     prefetch(a->mr->lkey, IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH_WRITE,
			      mem, 16 * PAGE), 0);
	expect_errno("read-only region, for reading",
		     prefetch(ro->lkey, IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH, mem,
			      16 * PAGE), 0);
	expect_errno("read-only region, for writing",
		     prefetch(ro->lkey, IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH_WRITE,
			      mem, 16 * PAGE), EINVAL);
	expect_errno("over the end",
		     prefetch(ro->lkey, IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH,
			      mem + 8 * PAGE, 16 * PAGE), EFAULT);
	ibv_dereg_mr(ro);
}

/*
 * The only pinned regions here: they are gone before pinned memory is checked. There
 * are many, since a driver that treats them as on-demand ones reads what follows each
 * in kernel memory, and may refuse one for the wrong reason.
 */
static void check_prefetch_pinned(void)
{
	struct ibv_mr *mr[64];
	uint8_t *mem = map_aligned(ARRAY_SIZE(mr) * PAGE);
	size_t refused = 0;

	for (size_t i = 0; i < ARRAY_SIZE(mr); i++) {
		mr[i] = ibv_reg_mr(pd, mem + i * PAGE, PAGE,
				   IBV_ACCESS_LOCAL_WRITE);
		if (!mr[i])
			die("register a pinned page");
	}
	for (size_t i = 0; i < ARRAY_SIZE(mr); i++)
		refused += prefetch(mr[i]->lkey,
				    IB_UVERBS_ADVISE_MR_ADVICE_PREFETCH,
				    (uintptr_t)mem + i * PAGE, PAGE) == EINVAL;
	for (size_t i = 0; i < ARRAY_SIZE(mr); i++)
		ibv_dereg_mr(mr[i]);
	munmap(mem, ARRAY_SIZE(mr) * PAGE);
	verdict(refused == ARRAY_SIZE(mr), "prefetch",
		"%zu of %zu regions refused that are not on demand", refused,
		ARRAY_SIZE(mr));
}

struct odp {
	struct link link;
	struct area area;
	struct rng rng;
};

static bool no_device(void)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	bool found = false;

	opt.dev_name = getenv("ODP_DEVICE") ?: opt.dev_name;
	for (int i = 0; list && list[i]; i++)
		found |= !strcmp(ibv_get_device_name(list[i]), opt.dev_name);
	return !found;
}

static bool no_swap(void)
{
	char line[256];
	int lines = 0;
	FILE *f = fopen("/proc/swaps", "r");

	while (f && fgets(line, sizeof(line), f))
		lines++;
	if (f)
		fclose(f);
	return lines < 2;
}

static void odp_init(struct odp *o, bool memfd)
{
	opt.size = 4 * HUGE;
	opt.prefix = "# ";
	begin = now();
	o->rng.state = 1;
	device_open();
	link_init(&o->link);
	area_init(&o->area, memfd);
}

static void odp_exit(struct odp *o)
{
	area_exit(&o->area);
	link_exit(&o->link);
}

FIXTURE(anon) { struct odp o; };
FIXTURE(memfd) { struct odp o; };

FIXTURE_SETUP(anon)
{
	if (no_device())
		SKIP(return, "no RDMA device %s", opt.dev_name);
	odp_init(&self->o, false);
}

FIXTURE_SETUP(memfd)
{
	if (no_device())
		SKIP(return, "no RDMA device %s", opt.dev_name);
	odp_init(&self->o, true);
}

FIXTURE_TEARDOWN(anon)
{
	odp_exit(&self->o);
}

FIXTURE_TEARDOWN(memfd)
{
	odp_exit(&self->o);
}

/* A check prints what it does, and its errors are counted */
#define ODP_TEST(memory, name, ...)					\
	TEST_F_TIMEOUT(memory, name, 600)				\
	{								\
		struct link *l = &self->o.link;				\
		struct area *a = &self->o.area;				\
		struct rng *rng = &self->o.rng;				\
									\
		(void)l, (void)a, (void)rng;				\
		__VA_ARGS__;						\
		EXPECT_EQ(0, checks_failed);				\
		EXPECT_EQ(0, bytes_wrong);				\
		EXPECT_EQ(0, wr_failed);				\
	}

#define NEED_SWAP()							\
	do {								\
		if (no_swap())						\
			SKIP(return, "needs swap");			\
	} while (0)

#define ODP_TEST_BOTH(name, ...)					\
	ODP_TEST(anon, name, __VA_ARGS__)				\
	ODP_TEST(memfd, name, __VA_ARGS__)

ODP_TEST_BOTH(offsets, check_offsets(l, a, rng))
ODP_TEST_BOTH(atomics, check_atomics(l, a, rng))
ODP_TEST_BOTH(refusals, check_refusals(l, a))
ODP_TEST_BOTH(iova, check_iova(l, a, rng))
ODP_TEST_BOTH(prefetch, check_prefetch(a))
ODP_TEST_BOTH(prefetch_iova, check_prefetch_iova(a))
ODP_TEST(anon, prefetch_pinned, check_prefetch_pinned())
ODP_TEST(anon, large_3_gib, check_large_size(l, 3UL << 30))
ODP_TEST(anon, large_4_gib, check_large_size(l, 4UL << 30))
ODP_TEST(anon, fork, check_fork(l, a, rng))
ODP_TEST(memfd, dirty, check_dirty(l, a, rng, false))
ODP_TEST(anon, dirty, NEED_SWAP(); check_dirty(l, a, rng, false))
ODP_TEST(anon, dirty_after_madv_free, NEED_SWAP(); check_dirty(l, a, rng, true))

TEST_HARNESS_MAIN
