// SPDX-License-Identifier: GPL-2.0
/* What rxe_odp and a storm of the same requests share; see odp.h */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "odp.h"

struct options opt = { "rxe0", -1, 10, 64UL << 20, 0, NULL, "" };

struct ibv_context *ctx;
struct ibv_pd *pd;
static union ibv_gid gid;
static enum ibv_mtu mtu;

atomic_ulong bytes_checked, bytes_wrong, wr_done, wr_failed;
atomic_ulong atomics_done, checks_failed;
double begin;

void die(const char *fmt, ...)
{
	int err = errno;
	va_list ap;

	va_start(ap, fmt);
	fputs("odp: ", stderr);
	vfprintf(stderr, fmt, ap);
	if (err)
		fprintf(stderr, ": %s", strerror(err));
	fputc('\n', stderr);
	va_end(ap);
	exit(2);
}

double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* One line for each check: time, name, memory, result. */
void verdict(bool ok, const char *what, const char *fmt, ...)
{
	va_list ap;

	if (!ok)
		checks_failed++;
	va_start(ap, fmt);
	printf("%s%s %5.1f s  %s: ", opt.prefix, ok ? "ok  " : "FAIL",
	       now() - begin, what);
	vprintf(fmt, ap);
	putchar('\n');
	va_end(ap);
	fflush(stdout);
}

uint64_t rnd(struct rng *rng)
{
	uint64_t z = rng->state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

size_t below(struct rng *rng, size_t n)
{
	return rnd(rng) % n;
}

void fill(struct rng *rng, uint8_t *to, size_t len)
{
	for (; len >= 8; len -= 8, to += 8) {
		uint64_t v = rnd(rng);

		memcpy(to, &v, 8);
	}
	while (len--)
		*to++ = rnd(rng);
}

/* Counts and returns the bytes that differ. */
size_t check(const uint8_t *got, const uint8_t *want, size_t len)
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

/* Checks memory, and then accepts its contents, so that no error counts twice. */
size_t check_area(struct area *a, size_t off, size_t len)
{
	size_t wrong = check(a->mem + off, a->shadow + off, len);

	if (wrong)
		memcpy(a->shadow + off, a->mem + off, len);
	return wrong;
}

/* ------------------------------------------------------------ memory */

void *map(void *at, size_t len, int flags, int fd)
{
	void *p = mmap(at, len, PROT_READ | PROT_WRITE, flags, fd, 0);

	if (p == MAP_FAILED)
		die("mmap %zu bytes", len);
	return p;
}

/* Anonymous, aligned to a huge page. */
uint8_t *map_aligned(size_t len)
{
	uint8_t *p = map(NULL, len + HUGE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	uint8_t *aligned = (uint8_t *)(((uintptr_t)p + HUGE - 1) & -HUGE);

	munmap(p, aligned - p);
	munmap(aligned + len, p + HUGE - aligned);
	return aligned;
}

struct ibv_mr *reg(void *mem, size_t len, int access)
{
	return ibv_reg_mr(pd, mem, len, access | IBV_ACCESS_ON_DEMAND);
}

void area_init(struct area *a, bool memfd)
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

void area_exit(struct area *a)
{
	ibv_dereg_mr(a->mr);
	munmap(a->mem, a->size);
	munmap(a->shadow, a->size);
	if (a->fd >= 0)
		close(a->fd);
	free(a->stripes);
}

/* Pages of the range that are in swap now. */
size_t swapped_pages(const uint8_t *mem, size_t len)
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

void touch(const uint8_t *mem, size_t len)
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

void device_open(void)
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
 * After a refusal. RESET would work, too, but work still in progress in rxe may
 * put a queue pair that has just been reset into ERROR again.
 */
void link_again(struct link *l)
{
	link_down(l);
	link_up(l);
}

void link_init(struct link *l)
{
	l->wire = map_aligned(2 * WIRE);
	l->wire_mr = reg(l->wire, 2 * WIRE, IBV_ACCESS_LOCAL_WRITE);
	if (!l->wire_mr)
		die("register the local buffers");
	link_up(l);
}

void link_exit(struct link *l)
{
	link_down(l);
	ibv_dereg_mr(l->wire_mr);
	munmap(l->wire, 2 * WIRE);
}

uint8_t *source(struct link *l, int slot)
{
	return l->wire + slot * SLOT;
}

uint8_t *destination(struct link *l, int slot)
{
	return l->wire + WIRE + slot * SLOT;
}

int try_post(struct link *l, struct ibv_send_wr *wr, const void *local,
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
		die("a request cannot be posted");
}

void post_rdma(struct link *l, enum ibv_wr_opcode opcode,
	       const void *local, size_t len, uint64_t remote,
	       uint32_t rkey)
{
	struct ibv_send_wr wr = {
		.opcode = opcode,
		.wr.rdma = { .remote_addr = remote, .rkey = rkey },
	};

	post(l, &wr, local, len);
}

void post_atomic(struct link *l, enum ibv_wr_opcode opcode,
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

void post_atomic_write(struct link *l, uint64_t remote, uint32_t rkey,
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

/* Waits for all posted requests; returns the first error. */
enum ibv_wc_status wait_posted(struct link *l)
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

/* For requests that must succeed. */
bool flush(struct link *l)
{
	enum ibv_wc_status status = wait_posted(l);

	if (status == IBV_WC_SUCCESS)
		return true;
	if (wr_failed++ < 5)
		fprintf(stderr, "odp: a request failed: %s\n",
			ibv_wc_status_str(status));
	link_again(l);
	return false;
}

bool one_atomic(struct link *l, struct area *a, struct rng *rng,
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
