/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How events of mm tell processes apart.
 */
#ifndef _TRACE_MISC_MM_H
#define _TRACE_MISC_MM_H

#include <linux/mm_types.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>

/*
 * The process that @mm is of, which need not be the current one: devices fault from
 * kernel threads. 0 if it cannot be told; other events of the same mm may have it.
 */
static inline pid_t trace_mm_pid(struct mm_struct *mm)
{
	pid_t pid = 0;

	if (current->mm == mm && !(current->flags & PF_KTHREAD))
		return current->tgid;
#ifdef CONFIG_MEMCG
	rcu_read_lock();
	if (rcu_dereference(mm->owner))
		pid = rcu_dereference(mm->owner)->tgid;
	rcu_read_unlock();
#endif
	return pid;
}

#endif /* _TRACE_MISC_MM_H */
