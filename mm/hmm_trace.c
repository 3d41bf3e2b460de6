// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Events of hmm_range_fault() and of DMA mapping.
 */
#include <linux/hmm.h>

#define CREATE_TRACE_POINTS
#include "hmm_trace.h"

static struct hmm_trace_answers hmm_trace_count(const struct hmm_range *range,
						unsigned long end)
{
	unsigned long i, entry, nr = (end - range->start) >> PAGE_SHIFT;
	struct hmm_trace_answers answers = { };

	for (i = 0; i < nr; i++) {
		entry = READ_ONCE(range->hmm_pfns[i]);
		if (entry & HMM_PFN_ERROR)
			answers.error++;
		else if (!(entry & HMM_PFN_VALID))
			answers.none++;
		else if (entry & HMM_PFN_WRITE)
			answers.write++;
		else
			answers.read++;
	}
	return answers;
}

/* Counts here, and not in the event, which is recorded without preemption */
void __hmm_trace_end(struct hmm_trace *seen, const struct hmm_range *range,
		     unsigned long next, unsigned long answers_end, int ret)
{
	u64 ns = seen->begin ? ktime_get_ns() - seen->begin : 0;
	struct hmm_trace_answers answers;

	if (ret == -EBUSY)
		hmm_trace_busy(seen, answers_end < range->end);
	answers = hmm_trace_count(range, min(next, answers_end));
	trace_hmm_range_fault_end(range, seen, &answers, ns, ret);
}
