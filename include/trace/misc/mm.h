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
	if (current->mm == mm && !(current->flags & PF_KTHREAD))
		return current->tgid;
#ifdef CONFIG_MEMCG
	scoped_guard(rcu) {
		/* Read once: an owner that exits clears it */
		struct task_struct *owner = rcu_dereference(mm->owner);

		if (owner)
			return owner->tgid;
	}
#endif
	return 0;
}

#endif /* _TRACE_MISC_MM_H */
