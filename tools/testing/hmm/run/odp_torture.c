// SPDX-License-Identifier: GPL-2.0
/*
 * odp_torture - RDMA into memory that is taken away under the device
 *
 * One process, one soft-RoCE device, queue pairs connected to each other, and
 * every memory region registered with IBV_ACCESS_ON_DEMAND: no page is pinned,
 * all of them reach the device through hmm_range_fault().
 *
 * First come the checks that need quiet: every offset in a page and every end,
 * atomics, what must be refused, what must not be lost to reclaim. Then the
 * storm: workers WRITE, READ and do atomics while mutators page out, collapse,
 * split, mprotect, mremap, fork and drop the same pages.
 *
 * Every byte has a twin in the shadow, an ordinary mapping that no device
 * knows. Data and shadow change under the lock of their stripe, and so does
 * whatever changes what memory holds (MADV_DONTNEED, mremap, ...). Whatever
 * only changes how memory is mapped (MADV_PAGEOUT, MADV_COLLAPSE, ...) takes no
 * lock and hits the device in mid-flight.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <infiniband/verbs.h>
#include <pthread.h>
#include <rdma/ib_user_ioctl_cmds.h>
#include <rdma/rdma_user_ioctl_cmds.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

#define PAGE		4096UL
#define HUGE		(2UL << 20)
#define STRIPE		(256UL << 10)	/* the unit of locking in the storm */
#define SLOT		(64UL << 10)	/* the longest message of the storm */
#define NR_SLOTS	16
#define WIRE		(NR_SLOTS * SLOT)
#define NR_WORKERS	2
#define NR_MUTATORS	2

#define ALL_ACCESS	(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | \
			 IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC)

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

/* Two queue pairs connected to each other: @req asks, @resp obeys. */
struct link {
	struct ibv_cq *cq;
	struct ibv_qp *req;
	struct ibv_qp *resp;
	uint8_t *wire;		/* local ends: sources, then destinations */
	struct ibv_mr *wire_mr;
	int posted;
};

/* Memory under test. */
struct area {
	const char *kind;
	uint8_t *mem;
	uint8_t *shadow;
	size_t size;
	int fd;			/* of a memfd, or -1: private anonymous */
	struct ibv_mr *mr;
	struct stripe *stripes;
	size_t nr_stripes;
};

struct stripe {
	pthread_mutex_t lock;
	bool readonly;		/* mprotected: send no WRITE here */
};

struct rng {
	uint64_t state;
};

static struct {
	const char *dev_name;
	int gid_index;		/* -1: look for one */
	unsigned int seconds;
	size_t size;
	uint64_t seed;
	const char *swap;	/* to be preferred in the storm, or NULL */
} opt = { "rxe0", -1, 10, 64UL << 20, 0, NULL };

static struct ibv_context *ctx;
static struct ibv_pd *pd;
static union ibv_gid gid;
static enum ibv_mtu mtu;

static atomic_ulong bytes_checked, bytes_wrong, wr_done, wr_failed;
static atomic_ulong atomics_done, refused_right, refused_wrong, checks_failed;
static atomic_ulong pinned_kib, status_reads;
static atomic_bool stop;
static double begin;

static _Noreturn void die(const char *fmt, ...)
{
	int err = errno;
	va_list ap;

	va_start(ap, fmt);
	fputs("odp_torture: ", stderr);
	vfprintf(stderr, fmt, ap);
	if (err)
		fprintf(stderr, ": %s", strerror(err));
	fputc('\n', stderr);
	va_end(ap);
	exit(2);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* One line for each check: when, what, on which memory, what came of it. */
static void verdict(bool ok, const char *what, const char *fmt, ...)
{
	va_list ap;

	if (!ok)
		checks_failed++;
	va_start(ap, fmt);
	printf("%s %5.1f s  %s: ", ok ? "ok  " : "FAIL", now() - begin, what);
	vprintf(fmt, ap);
	putchar('\n');
	va_end(ap);
	fflush(stdout);
}

static uint64_t rnd(struct rng *rng)
{
	uint64_t z = rng->state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

static size_t below(struct rng *rng, size_t n)
{
	return rnd(rng) % n;
}

static void fill(struct rng *rng, uint8_t *to, size_t len)
{
	for (; len >= 8; len -= 8, to += 8) {
		uint64_t v = rnd(rng);

		memcpy(to, &v, 8);
	}
	while (len--)
		*to++ = rnd(rng);
}

/* Counts and returns the bytes that differ. */
static size_t check(const uint8_t *got, const uint8_t *want, size_t len)
{
	size_t wrong = 0;

	bytes_checked += len;
	if (!memcmp(got, want, len))
		return 0;
	for (size_t i = 0; i < len; i++)
		wrong += got[i] != want[i];
	bytes_wrong += wrong;
	return wrong;
}

/* Checks memory and starts over from what it holds: no fault counts twice. */
static size_t check_area(struct area *a, size_t off, size_t len)
{
	size_t wrong = check(a->mem + off, a->shadow + off, len);

	if (wrong)
		memcpy(a->shadow + off, a->mem + off, len);
	return wrong;
}

/* ------------------------------------------------------------ memory */

static void *map(void *at, size_t len, int flags, int fd)
{
	void *p = mmap(at, len, PROT_READ | PROT_WRITE, flags, fd, 0);

	if (p == MAP_FAILED)
		die("mmap %zu bytes", len);
	return p;
}

/* Anonymous, aligned to a huge page. */
static uint8_t *map_aligned(size_t len)
{
	uint8_t *p = map(NULL, len + HUGE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	uint8_t *aligned = (uint8_t *)(((uintptr_t)p + HUGE - 1) & -HUGE);

	munmap(p, aligned - p);
	munmap(aligned + len, p + HUGE - aligned);
	return aligned;
}

static struct ibv_mr *reg(void *mem, size_t len, int access)
{
	return ibv_reg_mr(pd, mem, len, access | IBV_ACCESS_ON_DEMAND);
}

static void area_init(struct area *a, bool memfd)
{
	a->kind = memfd ? "memfd" : "anon";
	a->size = opt.size;
	a->fd = -1;
	a->mem = map_aligned(a->size);
	a->shadow = map_aligned(a->size);
	if (memfd) {
		a->fd = memfd_create("odp", 0);
		if (a->fd < 0 || ftruncate(a->fd, a->size))
			die("memfd of %zu bytes", a->size);
		map(a->mem, a->size, MAP_SHARED | MAP_FIXED, a->fd);
	}
	madvise(a->mem, a->size, MADV_HUGEPAGE);
	a->mr = reg(a->mem, a->size, ALL_ACCESS);
	if (!a->mr)
		die("register %zu bytes of %s memory", a->size, a->kind);

	a->nr_stripes = a->size / STRIPE;
	a->stripes = calloc(a->nr_stripes, sizeof(*a->stripes));
	if (!a->stripes)
		die("locks");
	for (size_t i = 0; i < a->nr_stripes; i++)
		pthread_mutex_init(&a->stripes[i].lock, NULL);
}

static void area_exit(struct area *a)
{
	ibv_dereg_mr(a->mr);
	munmap(a->mem, a->size);
	munmap(a->shadow, a->size);
	if (a->fd >= 0)
		close(a->fd);
	free(a->stripes);
}

/* Pages of the range that are in swap now. */
static size_t swapped_pages(const uint8_t *mem, size_t len)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	size_t nr = 0;

	if (fd < 0)
		die("/proc/self/pagemap");
	for (size_t off = 0; off < len; off += PAGE) {
		uint64_t entry = 0;

		if (pread(fd, &entry, 8, (uintptr_t)(mem + off) / PAGE * 8) == 8)
			nr += entry >> 62 & 1;
	}
	close(fd);
	return nr;
}

static void touch(const uint8_t *mem, size_t len)
{
	for (size_t off = 0; off < len; off += PAGE)
		(void)*(const volatile uint8_t *)(mem + off);
}

/* ------------------------------------------------------------ device */

static bool find_gid(struct ibv_port_attr *port)
{
	struct ibv_gid_entry entry;

	if (opt.gid_index >= 0)
		return !ibv_query_gid(ctx, 1, opt.gid_index, &gid);

	for (int i = 0; i < port->gid_tbl_len; i++) {
		if (ibv_query_gid_ex(ctx, 1, i, &entry, 0) ||
		    entry.gid_type != IBV_GID_TYPE_ROCE_V2)
			continue;
		gid = entry.gid;
		opt.gid_index = i;
		if (!entry.gid.global.subnet_prefix)	/* IPv4, routable */
			return true;
	}
	return opt.gid_index >= 0;
}

static void device_open(void)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	struct ibv_port_attr port;

	for (int i = 0; list && list[i]; i++)
		if (!strcmp(ibv_get_device_name(list[i]), opt.dev_name))
			ctx = ibv_open_device(list[i]);
	if (!ctx)
		die("no RDMA device %s (rdma link add %s type rxe netdev ...)",
		    opt.dev_name, opt.dev_name);
	ibv_free_device_list(list);

	if (ibv_query_port(ctx, 1, &port) || !find_gid(&port))
		die("no GID on port 1 of %s: has its interface an address?",
		    opt.dev_name);
	mtu = port.active_mtu;
	pd = ibv_alloc_pd(ctx);
	if (!pd)
		die("protection domain");
}

static struct ibv_qp *qp_create(struct ibv_cq *cq)
{
	struct ibv_qp_init_attr_ex attr = {
		.send_cq = cq,
		.recv_cq = cq,
		.cap = { .max_send_wr = 64, .max_recv_wr = 1,
			 .max_send_sge = 1, .max_recv_sge = 1 },
		.qp_type = IBV_QPT_RC,
		.pd = pd,
		.comp_mask = IBV_QP_INIT_ATTR_PD |
			     IBV_QP_INIT_ATTR_SEND_OPS_FLAGS,
		.send_ops_flags = IBV_QP_EX_WITH_RDMA_WRITE |
				  IBV_QP_EX_WITH_RDMA_READ |
				  IBV_QP_EX_WITH_ATOMIC_FETCH_AND_ADD |
				  IBV_QP_EX_WITH_ATOMIC_CMP_AND_SWP |
				  IBV_QP_EX_WITH_ATOMIC_WRITE,
	};
	struct ibv_qp *qp = ibv_create_qp_ex(ctx, &attr);

	if (!qp)
		die("queue pair");
	return qp;
}

static void qp_to_init(struct ibv_qp *qp)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT,
		.port_num = 1,
		.qp_access_flags = ALL_ACCESS,
	};
	if (ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX |
			  IBV_QP_PORT | IBV_QP_ACCESS_FLAGS))
		die("queue pair to INIT");
}

static void qp_to_rts(struct ibv_qp *qp, struct ibv_qp *peer)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_RTR,
		.path_mtu = mtu,
		.dest_qp_num = peer->qp_num,
		.max_dest_rd_atomic = 16,
		.min_rnr_timer = 12,
		.ah_attr = {
			.is_global = 1,
			.port_num = 1,
			.grh = { .dgid = gid, .sgid_index = opt.gid_index,
				 .hop_limit = 64 },
		},
	};

	if (ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_AV |
			  IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
			  IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER))
		die("queue pair to RTR");

	attr = (struct ibv_qp_attr) {
		.qp_state = IBV_QPS_RTS,
		.timeout = 18,		/* one second */
		.retry_cnt = 7,
		.rnr_retry = 7,
		.max_rd_atomic = 16,
	};
	if (ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_TIMEOUT |
			  IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
			  IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC))
		die("queue pair to RTS");
}

static void link_up(struct link *l)
{
	l->cq = ibv_create_cq(ctx, 128, NULL, NULL, 0);
	if (!l->cq)
		die("completion queue");
	l->req = qp_create(l->cq);
	l->resp = qp_create(l->cq);
	l->posted = 0;
	qp_to_init(l->req);
	qp_to_init(l->resp);
	qp_to_rts(l->resp, l->req);
	qp_to_rts(l->req, l->resp);
}

static void link_down(struct link *l)
{
	ibv_destroy_qp(l->req);
	ibv_destroy_qp(l->resp);
	ibv_destroy_cq(l->cq);
}

/*
 * After a refusal. Through RESET it would go, too, but what is still at work
 * in rxe may put a queue pair that has just been reset into ERROR again.
 */
static void link_again(struct link *l)
{
	link_down(l);
	link_up(l);
}

static void link_init(struct link *l)
{
	l->wire = map_aligned(2 * WIRE);
	l->wire_mr = reg(l->wire, 2 * WIRE, IBV_ACCESS_LOCAL_WRITE);
	if (!l->wire_mr)
		die("register the local buffers");
	link_up(l);
}

static void link_exit(struct link *l)
{
	link_down(l);
	ibv_dereg_mr(l->wire_mr);
	munmap(l->wire, 2 * WIRE);
}

static uint8_t *source(struct link *l, int slot)
{
	return l->wire + slot * SLOT;
}

static uint8_t *destination(struct link *l, int slot)
{
	return l->wire + WIRE + slot * SLOT;
}

static int try_post(struct link *l, struct ibv_send_wr *wr, const void *local,
		    size_t len)
{
	struct ibv_sge sge = { .addr = (uintptr_t)local, .length = len,
			       .lkey = l->wire_mr->lkey };
	struct ibv_send_wr *bad;
	int err;

	wr->sg_list = &sge;
	wr->num_sge = 1;
	wr->send_flags = IBV_SEND_SIGNALED;
	err = ibv_post_send(l->req, wr, &bad);
	if (!err)
		l->posted++;
	return err;
}

static void post(struct link *l, struct ibv_send_wr *wr, const void *local,
		 size_t len)
{
	errno = try_post(l, wr, local, len);
	if (errno)
		die("post a request");
}

static void post_rdma(struct link *l, enum ibv_wr_opcode opcode,
		      const void *local, size_t len, uint64_t remote,
		      uint32_t rkey)
{
	struct ibv_send_wr wr = {
		.opcode = opcode,
		.wr.rdma = { .remote_addr = remote, .rkey = rkey },
	};

	post(l, &wr, local, len);
}

static void post_atomic(struct link *l, enum ibv_wr_opcode opcode,
			const void *result, uint64_t remote, uint32_t rkey,
			uint64_t compare_add, uint64_t swap)
{
	struct ibv_send_wr wr = {
		.opcode = opcode,
		.wr.atomic = { .remote_addr = remote, .rkey = rkey,
			       .compare_add = compare_add, .swap = swap },
	};

	post(l, &wr, result, 8);
}

static void post_atomic_write(struct link *l, uint64_t remote, uint32_t rkey,
			      const void *value)
{
	struct ibv_qp_ex *qpx = ibv_qp_to_qp_ex(l->req);

	ibv_wr_start(qpx);
	qpx->wr_flags = IBV_SEND_SIGNALED;
	ibv_wr_atomic_write(qpx, rkey, remote, value);
	errno = ibv_wr_complete(qpx);
	if (errno)
		die("post an atomic WRITE");
	l->posted++;
}

/* Waits for all that is posted; returns the first error. */
static enum ibv_wc_status wait_posted(struct link *l)
{
	enum ibv_wc_status status = IBV_WC_SUCCESS;
	double end = now() + 30;
	struct ibv_wc wc;
	int nr;

	while (l->posted) {
		nr = ibv_poll_cq(l->cq, 1, &wc);
		if (nr < 0)
			die("poll the completion queue");
		if (!nr) {
			if (now() > end)
				return IBV_WC_RESP_TIMEOUT_ERR;
			sched_yield();
			continue;
		}
		l->posted--;
		wr_done++;
		if (status == IBV_WC_SUCCESS)
			status = wc.status;
	}
	return status;
}

/* For requests that have to succeed. */
static bool flush(struct link *l)
{
	enum ibv_wc_status status = wait_posted(l);

	if (status == IBV_WC_SUCCESS)
		return true;
	if (wr_failed++ < 5)
		fprintf(stderr, "odp_torture: a request failed: %s\n",
			ibv_wc_status_str(status));
	link_again(l);
	return false;
}

/* ------------------------------------------------------------ in the quiet */

/*
 * Four pages a message, so that three can be crossed and what lies before and
 * behind is seen. The offsets at the local end wander as well.
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

/* Every first byte and every last byte in a page, one and two crossings. */
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
		/* Now and then from pages that are not there */
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

static bool one_atomic(struct link *l, struct area *a, struct rng *rng,
		       size_t at, enum ibv_wr_opcode opcode, bool hit)
{
	uint64_t old, want, arg = rnd(rng), swap = rnd(rng), got;
	uint8_t *to = destination(l, 0) + below(rng, PAGE / 8) * 8;

	memcpy(&old, a->shadow + at, 8);
	if (opcode == IBV_WR_ATOMIC_FETCH_AND_ADD) {
		want = old + arg;
	} else {
		arg = hit ? old : old ^ arg;
		want = hit ? swap : old;
	}
	memset(to, 0, 8);
	post_atomic(l, opcode, to, (uintptr_t)a->mem + at, a->mr->rkey, arg,
		    swap);
	if (!flush(l))
		return false;
	atomics_done++;
	memcpy(&got, to, 8);
	memcpy(a->shadow + at, &want, 8);
	return !check((uint8_t *)&got, (uint8_t *)&old, 8);
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
 * The pages are clean for the CPU when the device writes to them, and then
 * they are reclaimed: what the device wrote has to be there still.
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

/* The device knows the pages when the process forks, and writes to them. */
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

/* ------------------------------------------------------------ refusals */

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

/* What is not aligned, the sender's own library may refuse already. */
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

/* ------------------------------------------------------------ registration */

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
 * A region the network knows by other addresses than the process does. A
 * driver that mixes them up is caught on pages of the same region first, and
 * is not led outside of it.
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
 * What ibv_advise_mr() does; asked of the kernel directly, as Debian 12's
 * library offers it to no soft-RoCE device.
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
 * The only pinned regions here: gone before pinning is watched. Many, since a
 * driver that takes them for on-demand ones goes by what lies behind each in
 * the kernel's memory, and may refuse one for a wrong reason.
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

/* ------------------------------------------------------------ the storm */

enum mutation {
	MUT_PAGEOUT,
	MUT_COLD,
	MUT_COLLAPSE,
	MUT_EXEC,
	MUT_WIRE,
	MUT_ZAP,
	MUT_DROP,
	MUT_READONLY,
	MUT_MREMAP,
	MUT_FORK,
	NR_MUTATIONS
};

static const char * const mutation_names[] = {
	[MUT_PAGEOUT]	= "pageout",
	[MUT_COLD]	= "cold",
	[MUT_COLLAPSE]	= "collapse",
	[MUT_EXEC]	= "mprotect-exec",
	[MUT_WIRE]	= "pageout-local",
	[MUT_ZAP]	= "unmap",
	[MUT_DROP]	= "drop",
	[MUT_READONLY]	= "mprotect-read",
	[MUT_MREMAP]	= "mremap",
	[MUT_FORK]	= "fork",
};

/* What the threads of one storm share. */
struct storm {
	struct area *area;
	struct link *links;
	pthread_mutex_t vma_lock;	/* mremap wants whole VMAs */
	uint8_t *spare;			/* of a stripe's size, for mremap */
	atomic_size_t hot;		/* the stripe that was mutated last */
	atomic_ulong mutations[NR_MUTATIONS];
	atomic_ulong child_wrong;
};

struct actor {
	pthread_t thread;
	struct storm *storm;
	struct link *link;
	struct rng rng;
};

static void lock_pair(struct area *a, size_t lo, size_t hi)
{
	pthread_mutex_lock(&a->stripes[lo].lock);
	if (hi != lo)
		pthread_mutex_lock(&a->stripes[hi].lock);
}

static void unlock_pair(struct area *a, size_t lo, size_t hi)
{
	if (hi != lo)
		pthread_mutex_unlock(&a->stripes[hi].lock);
	pthread_mutex_unlock(&a->stripes[lo].lock);
}

/* Lengths of every magnitude, none more likely to be round than chance has it. */
static size_t some_length(struct rng *rng)
{
	return 1 + below(rng, 1UL << below(rng, 17));
}

static void storm_writes(struct actor *w, size_t base, int nr)
{
	struct area *a = w->storm->area;

	for (int i = 0; i < nr; i++) {
		size_t len = some_length(&w->rng);
		size_t at = base + below(&w->rng, 2 * STRIPE - len + 1);

		fill(&w->rng, a->shadow + at, len);
		memcpy(source(w->link, i), a->shadow + at, len);
		post_rdma(w->link, IBV_WR_RDMA_WRITE, source(w->link, i), len,
			  (uintptr_t)a->mem + at, a->mr->rkey);
	}
}

static void storm_reads(struct actor *w, size_t base, int nr)
{
	struct area *a = w->storm->area;
	size_t at[NR_SLOTS], len[NR_SLOTS];

	for (int i = 0; i < nr; i++) {
		len[i] = some_length(&w->rng);
		at[i] = base + below(&w->rng, 2 * STRIPE - len[i] + 1);
		post_rdma(w->link, IBV_WR_RDMA_READ, destination(w->link, i),
			  len[i], (uintptr_t)a->mem + at[i], a->mr->rkey);
	}
	if (!flush(w->link))
		return;
	for (int i = 0; i < nr; i++)
		check(destination(w->link, i), a->shadow + at[i], len[i]);
}

static void storm_cpu_write(struct actor *w, size_t base)
{
	struct area *a = w->storm->area;
	size_t len = some_length(&w->rng);
	size_t at = base + below(&w->rng, 2 * STRIPE - len + 1);

	fill(&w->rng, a->shadow + at, len);
	memcpy(a->mem + at, a->shadow + at, len);
}

static void storm_round(struct actor *w, size_t base, bool writable)
{
	struct area *a = w->storm->area;
	uint64_t dice = rnd(&w->rng);
	bool ok = true;

	if (writable) {
		if (dice % 4 == 0)
			storm_cpu_write(w, base);
		storm_writes(w, base, 8);
		ok = flush(w->link);
		if (ok && dice % 4 == 1)
			ok = one_atomic(w->link, a, &w->rng, base +
					below(&w->rng, 2 * STRIPE / 8) * 8,
					IBV_WR_ATOMIC_FETCH_AND_ADD, true);
	}
	storm_reads(w, base, 4);
	if (!ok || dice % 4 == 2)
		check_area(a, base, 2 * STRIPE);
}

static void *worker(void *arg)
{
	struct actor *w = arg;
	struct storm *s = w->storm;
	struct area *a = s->area;

	while (!stop) {
		size_t i = below(&w->rng, 2) ? s->hot :
			   below(&w->rng, a->nr_stripes);

		if (i == a->nr_stripes - 1)
			i--;
		lock_pair(a, i, i + 1);
		storm_round(w, i * STRIPE, !a->stripes[i].readonly &&
			    !a->stripes[i + 1].readonly);
		unlock_pair(a, i, i + 1);
	}
	return NULL;
}

/* A run of pages in the stripe. */
static size_t some_pages(struct rng *rng, size_t stripe, size_t *len)
{
	size_t first = below(rng, STRIPE / PAGE);

	*len = (1 + below(rng, STRIPE / PAGE - first)) * PAGE;
	return stripe * STRIPE + first * PAGE;
}

static bool mutate_exec(struct actor *m, size_t stripe)
{
	struct storm *s = m->storm;
	struct area *a = s->area;
	size_t len, at = some_pages(&m->rng, stripe, &len);
	bool ok = false;

	pthread_mutex_lock(&s->vma_lock);
	if (!a->stripes[stripe].readonly) {
		ok = !mprotect(a->mem + at, len,
			       PROT_READ | PROT_WRITE | PROT_EXEC) &&
		     !mprotect(a->mem + at, len, PROT_READ | PROT_WRITE);
	}
	pthread_mutex_unlock(&s->vma_lock);
	return ok;
}

/* Gone for good: anonymous pages by MADV_DONTNEED, file pages by a hole. */
static bool mutate_drop(struct actor *m, size_t stripe)
{
	struct area *a = m->storm->area;
	size_t len, at = some_pages(&m->rng, stripe, &len);
	int advice = a->fd < 0 ? MADV_DONTNEED : MADV_REMOVE;
	bool ok = false;

	lock_pair(a, stripe, stripe);
	if (!a->stripes[stripe].readonly) {
		ok = !madvise(a->mem + at, len, advice);
		if (ok)
			memset(a->shadow + at, 0, len);
	}
	unlock_pair(a, stripe, stripe);
	return ok;
}

static bool set_readonly(struct storm *s, size_t stripe, bool readonly)
{
	struct area *a = s->area;
	int prot = readonly ? PROT_READ : PROT_READ | PROT_WRITE;
	bool ok;

	lock_pair(a, stripe, stripe);
	pthread_mutex_lock(&s->vma_lock);
	ok = !mprotect(a->mem + stripe * STRIPE, STRIPE, prot);
	a->stripes[stripe].readonly = readonly;
	pthread_mutex_unlock(&s->vma_lock);
	unlock_pair(a, stripe, stripe);
	return ok;
}

static bool mutate_readonly(struct actor *m, size_t stripe)
{
	bool ok;

	if (!set_readonly(m->storm, stripe, true))
		die("mprotect");
	m->storm->hot = stripe;
	usleep(3000);
	ok = set_readonly(m->storm, stripe, false);
	if (!ok)
		die("mprotect back");
	return ok;
}

static bool move(uint8_t *from, uint8_t *to)
{
	return mremap(from, STRIPE, STRIPE, MREMAP_MAYMOVE | MREMAP_FIXED |
		      MREMAP_DONTUNMAP, to) == to;
}

/* Two stripes change places, and neither address is ever unmapped. */
static bool swap_stripes(struct storm *s, size_t lo, size_t hi)
{
	uint8_t *x = s->area->mem + lo * STRIPE;
	uint8_t *y = s->area->mem + hi * STRIPE;

	if (!move(x, s->spare))
		return false;
	if (!move(y, x) || !move(s->spare, y))
		die("mremap");
	return true;
}

static void swap_shadows(struct area *a, size_t lo, size_t hi)
{
	uint8_t *x = a->shadow + lo * STRIPE, *y = a->shadow + hi * STRIPE;
	uint8_t tmp[PAGE];

	for (size_t off = 0; off < STRIPE; off += PAGE) {
		memcpy(tmp, x + off, PAGE);
		memcpy(x + off, y + off, PAGE);
		memcpy(y + off, tmp, PAGE);
	}
}

static bool mutate_mremap(struct actor *m, size_t stripe)
{
	struct storm *s = m->storm;
	struct area *a = s->area;
	size_t other = below(&m->rng, a->nr_stripes);
	size_t lo = stripe < other ? stripe : other;
	size_t hi = stripe < other ? other : stripe;
	bool ok = false;

	if (lo == hi)
		return false;
	lock_pair(a, lo, hi);
	pthread_mutex_lock(&s->vma_lock);
	if (!a->stripes[lo].readonly && !a->stripes[hi].readonly)
		ok = swap_stripes(s, lo, hi);
	pthread_mutex_unlock(&s->vma_lock);
	if (ok)
		swap_shadows(a, lo, hi);
	unlock_pair(a, lo, hi);
	return ok;
}

/* What the child got at fork() stays, whatever the device writes meanwhile. */
static void child_watches(struct area *a, size_t stripe)
{
	for (int i = 0; i < 4; i++) {
		if (memcmp(a->mem + stripe * STRIPE,
			   a->shadow + stripe * STRIPE, STRIPE))
			_exit(1);
		usleep(4000);
	}
	_exit(0);
}

static bool mutate_fork(struct actor *m, size_t stripe)
{
	struct storm *s = m->storm;
	struct area *a = s->area;
	int status = 0;
	pid_t pid;

	lock_pair(a, stripe, stripe);
	pid = fork();
	if (!pid && a->fd < 0)
		child_watches(a, stripe);
	if (!pid)
		_exit(0);
	unlock_pair(a, stripe, stripe);
	s->hot = stripe;
	if (pid < 0)
		return false;
	waitpid(pid, &status, 0);
	if (a->fd < 0)
		bytes_checked += STRIPE;
	if (status)
		s->child_wrong++;
	return true;
}

static bool mutate_wire(struct actor *m)
{
	struct link *l = &m->storm->links[below(&m->rng, NR_WORKERS)];
	size_t slot = below(&m->rng, 2 * NR_SLOTS);

	return !madvise(l->wire + slot * SLOT, SLOT, MADV_PAGEOUT);
}

static bool mutate_advice(struct actor *m, size_t stripe, int advice)
{
	size_t len, at = some_pages(&m->rng, stripe, &len);

	return !madvise(m->storm->area->mem + at, len, advice);
}

static bool mutate_collapse(struct actor *m, size_t stripe)
{
	size_t at = stripe * STRIPE & -HUGE;

	return !madvise(m->storm->area->mem + at, HUGE, MADV_COLLAPSE);
}

static bool mutate(struct actor *m, enum mutation what, size_t stripe)
{
	switch (what) {
	case MUT_PAGEOUT:
		return mutate_advice(m, stripe, MADV_PAGEOUT);
	case MUT_COLD:
		return mutate_advice(m, stripe, MADV_COLD);
	case MUT_COLLAPSE:
		return mutate_collapse(m, stripe);
	case MUT_EXEC:
		return mutate_exec(m, stripe);
	case MUT_WIRE:
		return mutate_wire(m);
	case MUT_ZAP:	/* a file's pages come back as they were */
		return m->storm->area->fd >= 0 &&
		       mutate_advice(m, stripe, MADV_DONTNEED);
	case MUT_DROP:
		return mutate_drop(m, stripe);
	case MUT_READONLY:
		return mutate_readonly(m, stripe);
	case MUT_MREMAP:
		return mutate_mremap(m, stripe);
	case MUT_FORK:
		return mutate_fork(m, stripe);
	case NR_MUTATIONS:
		break;
	}
	return false;
}

static void *mutator(void *arg)
{
	struct actor *m = arg;
	struct storm *s = m->storm;

	while (!stop) {
		enum mutation what = below(&m->rng, NR_MUTATIONS);
		size_t stripe = below(&m->rng, 2) ? s->hot :
				below(&m->rng, s->area->nr_stripes);

		if (mutate(m, what, stripe))
			s->mutations[what]++;
		s->hot = stripe;
		usleep(below(&m->rng, 2000));
	}
	return NULL;
}

static void start(struct actor *actor, void *(*fn)(void *), struct storm *s,
		  struct link *l, uint64_t seed)
{
	actor->storm = s;
	actor->link = l;
	actor->rng.state = seed;
	errno = pthread_create(&actor->thread, NULL, fn, actor);
	if (errno)
		die("thread");
}

static void storm_report(struct storm *s, unsigned long checked,
			 unsigned long wrong, unsigned long failed)
{
	bool ok = bytes_wrong == wrong && wr_failed == failed &&
		  !s->child_wrong;

	verdict(ok, "storm",
		"%s, %lu bytes checked, %lu wrong, %lu requests failed, %lu children wrong",
		s->area->kind, bytes_checked - checked, bytes_wrong - wrong,
		wr_failed - failed, s->child_wrong);
	printf("     taken away by:");
	for (int i = 0; i < NR_MUTATIONS; i++)
		printf(" %s %lu", mutation_names[i], s->mutations[i]);
	putchar('\n');
}

/*
 * In the quiet, pages that went out stay in the swap cache, clean. A RAM disk
 * keeps them in no cache: each comes back by a true swap-in, but dirty.
 */
static void prefer_storm_swap(void)
{
	if (opt.swap && swapon(opt.swap, SWAP_FLAG_PREFER | 100))
		die("swapon %s", opt.swap);
	opt.swap = NULL;
}

static void storm(struct area *a, unsigned int seconds, struct rng *rng)
{
	unsigned long checked = bytes_checked, wrong = bytes_wrong;
	unsigned long failed = wr_failed;
	struct actor actors[NR_WORKERS + NR_MUTATORS] = {};
	struct link links[NR_WORKERS];
	struct storm s = { .area = a, .links = links,
			   .vma_lock = PTHREAD_MUTEX_INITIALIZER,
			   .spare = map_aligned(STRIPE) };

	for (size_t off = 0; off < a->size; off += SLOT)
		fill(rng, a->mem + off, SLOT);
	memcpy(a->shadow, a->mem, a->size);
	for (int i = 0; i < NR_WORKERS; i++)
		link_init(&links[i]);

	prefer_storm_swap();
	stop = false;
	for (int i = 0; i < NR_WORKERS; i++)
		start(&actors[i], worker, &s, &links[i], rnd(rng));
	for (int i = 0; i < NR_MUTATORS; i++)
		start(&actors[NR_WORKERS + i], mutator, &s, NULL, rnd(rng));
	sleep(seconds);
	stop = true;
	for (size_t i = 0; i < ARRAY_SIZE(actors); i++)
		pthread_join(actors[i].thread, NULL);

	check_area(a, 0, a->size);
	for (int i = 0; i < NR_WORKERS; i++)
		link_exit(&links[i]);
	munmap(s.spare, STRIPE);
	storm_report(&s, checked, wrong, failed);
}

/* ------------------------------------------------------------ what is watched */

static void *watch_pinned(void *arg)
{
	atomic_bool *done = arg;
	char line[128];

	while (!*done) {
		FILE *f = fopen("/proc/self/status", "r");
		unsigned long kib;

		if (!f)
			die("/proc/self/status");
		while (fgets(line, sizeof(line), f))
			if (sscanf(line, "VmPin: %lu", &kib) == 1) {
				status_reads++;
				if (kib > pinned_kib)
					pinned_kib = kib;
			}
		fclose(f);
		usleep(20000);
	}
	return NULL;
}

/*
 * The number behind @name in a file of names and numbers; false where the
 * kernel has no such count.
 */
static bool counter(const char *path, const char *name, unsigned long *value)
{
	FILE *f = fopen(path, "r");
	char line[256], word[128];
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f))
		found = sscanf(line, "%127s %lu", word, value) == 2 &&
			!strcmp(word, name);
	if (f)
		fclose(f);
	return found;
}

static const struct {
	const char *path, *name, *title;
} counters[] = {
	{ "/proc/vmstat", "hmm_range_fault", "range faults" },
	{ "/proc/vmstat", "hmm_page_fault", "pages faulted" },
	{ "/sys/kernel/tracing/kprobe_profile", "odp_fault", "device faults" },
	{ "/sys/kernel/tracing/kprobe_profile", "odp_invalidate",
	  "invalidations seen" },
	{ "/proc/vmstat", "pswpout", "pages swapped out" },
	{ "/proc/vmstat", "pswpin", "pages swapped in" },
	{ "/proc/vmstat", "thp_collapse_alloc", "huge pages collapsed" },
	{ "/proc/vmstat", "thp_split_pmd", "huge mappings split" },
};

static void report_counters(const unsigned long *before)
{
	unsigned long after;

	for (size_t i = 0; i < ARRAY_SIZE(counters); i++) {
		if (counter(counters[i].path, counters[i].name, &after))
			printf("%-22s %lu\n", counters[i].title,
			       after - before[i]);
		else
			printf("%-22s not counted by this kernel\n",
			       counters[i].title);
	}
}

static void parse(int argc, char **argv)
{
	int c;

	opt.seed = time(NULL);
	while ((c = getopt(argc, argv, "d:g:m:s:t:w:")) != -1) {
		switch (c) {
		case 'd':
			opt.dev_name = optarg;
			break;
		case 'g':
			opt.gid_index = atoi(optarg);
			break;
		case 'm':
			opt.size = strtoul(optarg, NULL, 0) << 20;
			break;
		case 's':
			opt.seed = strtoull(optarg, NULL, 0);
			break;
		case 't':
			opt.seconds = atoi(optarg);
			break;
		case 'w':
			opt.swap = optarg;
			break;
		default:
			fprintf(stderr,
				"usage: odp_torture [-d device] [-g gid index] [-m MiB] [-s seed] [-t seconds of storm] [-w swap device for the storm]\n");
			exit(2);
		}
	}
	if (opt.size < 4 * HUGE || opt.size % HUGE)
		die("-m takes an even number of MiB, 8 at least");
}

static void torture(struct link *l, bool memfd, struct rng *rng)
{
	struct area a;

	area_init(&a, memfd);
	check_offsets(l, &a, rng);
	check_atomics(l, &a, rng);
	check_dirty(l, &a, rng, false);
	if (!memfd) {
		check_dirty(l, &a, rng, true);
		check_fork(l, &a, rng);
	}
	check_refusals(l, &a);
	check_iova(l, &a, rng);
	check_prefetch(&a);
	check_prefetch_iova(&a);
	storm(&a, (opt.seconds + 1) / 2, rng);
	area_exit(&a);
}

static int summary(const unsigned long *before)
{
	report_counters(before);
	printf("%-22s %lu\n", "requests", wr_done);
	printf("%-22s %lu\n", "atomics", atomics_done);
	printf("%-22s %lu\n", "requests refused", refused_right);
	printf("%-22s %lu\n", "requests failed", wr_failed);
	printf("%-22s %lu kB, in %lu looks\n", "pinned at most", pinned_kib,
	       status_reads);
	printf("%-22s %lu\n", "bytes checked", bytes_checked);
	printf("%-22s %lu\n", "mismatches", bytes_wrong);
	printf("%-22s %lu\n", "checks failed", checks_failed);
	return checks_failed || bytes_wrong || wr_failed || pinned_kib ||
	       !status_reads;
}

int main(int argc, char **argv)
{
	unsigned long before[ARRAY_SIZE(counters)] = {};
	atomic_bool done = false;
	pthread_t watcher;
	struct link l;
	struct rng rng;

	parse(argc, argv);
	rng.state = opt.seed;
	printf("seed %llu\n", (unsigned long long)opt.seed);
	begin = now();
	device_open();
	for (size_t i = 0; i < ARRAY_SIZE(counters); i++)
		counter(counters[i].path, counters[i].name, &before[i]);

	check_prefetch_pinned();
	errno = pthread_create(&watcher, NULL, watch_pinned, &done);
	if (errno)
		die("thread");
	link_init(&l);
	torture(&l, false, &rng);
	torture(&l, true, &rng);
	check_large_size(&l, 3UL << 30);
	check_large_size(&l, 4UL << 30);
	link_exit(&l);
	done = true;
	pthread_join(watcher, NULL);
	return summary(before);
}
