/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What hmm_range_fault() tells the events of include/trace/events/hmm.h. Without them,
 * that is a few counts by page fault or by call, and nothing by page.
 */
#ifndef _MM_HMM_TRACE_H
#define _MM_HMM_TRACE_H

#include <linux/timekeeping.h>

/**
 * struct hmm_trace - what happened during one call
 * @begin: when it began, in ns; 0 unless the end of calls is traced
 * @fault_begin: when its last page fault began; 0 if that is over, or not traced
 * @fault_ns: time in page faults
 * @faults: page faults made
 * @by_self: how often the answers were of no use because of page faults of the call
 *	itself: they invoked the notifier, or did not map the page
 * @by_others: how often because others invoked the notifier
 */
struct hmm_trace {
	u64 begin;
	u64 fault_begin;
	u64 fault_ns;
	unsigned int faults;
	unsigned int by_self;
	unsigned int by_others;
};

/**
 * struct hmm_trace_answers - answered pages by kind
 * @none: absent
 * @read: readable
 * @write: readable and writable
 * @error: no device can have them
 */
struct hmm_trace_answers {
	unsigned long none;
	unsigned long read;
	unsigned long write;
	unsigned long error;
};

/* These events use what is above */
#include <trace/events/hmm.h>

/* The answers are of no use. By whom? */
static inline void hmm_trace_busy(struct hmm_trace *seen, bool by_self)
{
	if (by_self)
		seen->by_self++;
	else
		seen->by_others++;
}

static inline void hmm_trace_begin(struct hmm_trace *seen,
				   const struct hmm_range *range, bool unlocked)
{
	trace_hmm_range_fault_begin(range, unlocked);
	if (trace_hmm_range_fault_end_enabled())
		seen->begin = ktime_get_ns();
}

void __hmm_trace_end(struct hmm_trace *seen, const struct hmm_range *range,
		     unsigned long next, unsigned long answers_end, int ret);

/* @next, @answers_end: see struct hmm_walk */
static inline void hmm_trace_end(struct hmm_trace *seen,
				 const struct hmm_range *range,
				 unsigned long next, unsigned long answers_end,
				 int ret)
{
	if (trace_hmm_range_fault_end_enabled())
		__hmm_trace_end(seen, range, next, answers_end, ret);
}

static inline void hmm_trace_fault_begin(struct hmm_trace *seen)
{
	seen->faults++;
	if (trace_hmm_range_fault_end_enabled())
		seen->fault_begin = ktime_get_ns();
}

/* The fault may have dropped mmap_lock: there is no VMA any more */
static inline void hmm_trace_fault_end(struct hmm_trace *seen,
				       const struct hmm_range *range,
				       unsigned long address, unsigned int flags,
				       vm_fault_t result)
{
	if (trace_hmm_range_fault_end_enabled() && seen->fault_begin) {
		seen->fault_ns += ktime_get_ns() - seen->fault_begin;
		seen->fault_begin = 0;
	}
	trace_hmm_fault(range->notifier->mm, address, flags, result);
}

#endif /* _MM_HMM_TRACE_H */
