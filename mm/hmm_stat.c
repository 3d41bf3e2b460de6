// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Counts of hmm_range_fault() in debugfs.
 */
#include <linux/cpumask.h>
#include <linux/debugfs.h>
#include <linux/init.h>
#include <linux/seq_file.h>
#include "hmm_stat.h"

DEFINE_PER_CPU(struct hmm_stat, hmm_stats);

static int hmm_stat_show(struct seq_file *m, void *unused)
{
	struct hmm_stat sum = { };
	int cpu;

	for_each_possible_cpu(cpu) {
		sum.calls += per_cpu(hmm_stats, cpu).calls;
		sum.faults += per_cpu(hmm_stats, cpu).faults;
	}
	seq_printf(m, "calls %lu\nfaults %lu\n", sum.calls, sum.faults);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(hmm_stat);

static int __init hmm_stat_init(void)
{
	debugfs_create_file("hmm", 0444, NULL, NULL, &hmm_stat_fops);
	return 0;
}
late_initcall(hmm_stat_init);
