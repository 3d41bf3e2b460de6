/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Counts of hmm_range_fault() in debugfs. They are not in /proc/vmstat, as any new one
 * there changes the CRC of vm_event_states, a symbol that most modules use.
 */
#ifndef _MM_HMM_STAT_H
#define _MM_HMM_STAT_H

#include <linux/percpu.h>

/**
 * struct hmm_stat - what a CPU has counted
 * @calls: calls that have ended
 * @faults: page faults that they made
 */
struct hmm_stat {
	unsigned long calls;
	unsigned long faults;
};

DECLARE_PER_CPU(struct hmm_stat, hmm_stats);

static inline void hmm_stat_call(unsigned int faults)
{
	if (!IS_ENABLED(CONFIG_DEBUG_FS))
		return;
	this_cpu_inc(hmm_stats.calls);
	this_cpu_add(hmm_stats.faults, faults);
}

#endif /* _MM_HMM_STAT_H */
