/* SPDX-License-Identifier: GPL-2.0 */
/*
 * RDMA into memory that is taken away while the device uses it.
 *
 * One process, one soft-RoCE device, queue pairs connected to each other, and
 * every memory region registered with IBV_ACCESS_ON_DEMAND: no page is pinned,
 * all of them reach the device through hmm_range_fault(). Every byte has a copy
 * in the shadow, an ordinary mapping that no device accesses.
 */
#ifndef _SELFTESTS_RDMA_ODP_H
#define _SELFTESTS_RDMA_ODP_H

#include <infiniband/verbs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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
#define STRIPE		(256UL << 10)	/* the unit of locking in a storm */
#define SLOT		(64UL << 10)	/* the longest message */
#define NR_SLOTS	16
#define WIRE		(NR_SLOTS * SLOT)

#define ALL_ACCESS	(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | \
			 IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC)

#ifndef ARRAY_SIZE
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#endif

/* Two queue pairs connected to each other: @req sends requests, @resp responds. */
struct link {
	struct ibv_cq *cq;
	struct ibv_qp *req;
	struct ibv_qp *resp;
	uint8_t *wire;		/* local ends: sources, then destinations */
	struct ibv_mr *wire_mr;
	int posted;
};

struct stripe {
	pthread_mutex_t lock;
	bool readonly;		/* mprotected: send no WRITE here */
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

struct rng {
	uint64_t state;
};

struct options {
	const char *dev_name;
	int gid_index;		/* -1: look for one */
	unsigned int seconds;
	size_t size;		/* of an area */
	uint64_t seed;
	const char *swap;	/* preferred in the storm, or NULL */
	const char *prefix;	/* of what is printed */
};

extern struct options opt;
extern struct ibv_context *ctx;
extern struct ibv_pd *pd;
extern atomic_ulong bytes_checked, bytes_wrong, wr_done, wr_failed;
extern atomic_ulong atomics_done, checks_failed;
extern double begin;

void die(const char *fmt, ...)
	__attribute__((noreturn, format(printf, 1, 2)));
double now(void);
void verdict(bool ok, const char *what, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
uint64_t rnd(struct rng *rng);
size_t below(struct rng *rng, size_t n);
void fill(struct rng *rng, uint8_t *to, size_t len);
size_t check(const uint8_t *got, const uint8_t *want, size_t len);
size_t check_area(struct area *a, size_t off, size_t len);
void *map(void *at, size_t len, int flags, int fd);
uint8_t *map_aligned(size_t len);
struct ibv_mr *reg(void *mem, size_t len, int access);
void area_init(struct area *a, bool memfd);
void area_exit(struct area *a);
size_t swapped_pages(const uint8_t *mem, size_t len);
void touch(const uint8_t *mem, size_t len);
void device_open(void);
void link_again(struct link *l);
void link_init(struct link *l);
void link_exit(struct link *l);
uint8_t *source(struct link *l, int slot);
uint8_t *destination(struct link *l, int slot);
int try_post(struct link *l, struct ibv_send_wr *wr, const void *local,
	     size_t len);
void post_rdma(struct link *l, enum ibv_wr_opcode opcode, const void *local,
	       size_t len, uint64_t remote, uint32_t rkey);
void post_atomic(struct link *l, enum ibv_wr_opcode opcode, const void *result,
		 uint64_t remote, uint32_t rkey, uint64_t compare_add,
		 uint64_t swap);
void post_atomic_write(struct link *l, uint64_t remote, uint32_t rkey,
		       const void *value);
enum ibv_wc_status wait_posted(struct link *l);
bool flush(struct link *l);
bool one_atomic(struct link *l, struct area *a, struct rng *rng, size_t at,
		enum ibv_wr_opcode opcode, bool hit);

#endif
