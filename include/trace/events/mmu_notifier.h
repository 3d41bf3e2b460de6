/* SPDX-License-Identifier: GPL-2.0-or-later */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM mmu_notifier

#if !defined(_TRACE_MMU_NOTIFIER_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_MMU_NOTIFIER_H

#include <linux/mmu_notifier.h>
#include <linux/tracepoint.h>
#include <trace/misc/mm.h>

#define MMU_NOTIFIER_EVENTS						\
	EM(MMU_NOTIFY_UNMAP,		"unmap")			\
	EM(MMU_NOTIFY_CLEAR,		"clear")			\
	EM(MMU_NOTIFY_PROTECTION_VMA,	"protection_vma")		\
	EM(MMU_NOTIFY_PROTECTION_PAGE,	"protection_page")		\
	EM(MMU_NOTIFY_SOFT_DIRTY,	"soft_dirty")			\
	EM(MMU_NOTIFY_RELEASE,		"release")			\
	EM(MMU_NOTIFY_MIGRATE,		"migrate")			\
	EMe(MMU_NOTIFY_EXCLUSIVE,	"exclusive")

#undef EM
#undef EMe
#define EM(a, b)	TRACE_DEFINE_ENUM(a);
#define EMe(a, b)	TRACE_DEFINE_ENUM(a);

MMU_NOTIFIER_EVENTS

#undef EM
#undef EMe
#define EM(a, b)	{ a, b },
#define EMe(a, b)	{ a, b }

/*
 * The current task takes memory from @start to @end away from a device that watches
 * @interval_start to @interval_end. @blockable: the driver may wait for the device;
 * if not, it may refuse. @ns: how long the driver took, without what it does later,
 * see mmu_interval_finish.
 */
TRACE_EVENT(mmu_interval_invalidate,

	TP_PROTO(const struct mmu_interval_notifier *notifier,
		 const struct mmu_notifier_range *range, bool refused, u64 ns),

	TP_ARGS(notifier, range, refused, ns),

	TP_STRUCT__entry(
		__field(struct mm_struct *, mm)
		__field(pid_t, pid)
		__field(unsigned int, event)
		__field(unsigned long, start)
		__field(unsigned long, end)
		__field(unsigned long, interval_start)
		__field(unsigned long, interval_end)
		__field(bool, blockable)
		__field(bool, refused)
		__field(u64, ns)
	),

	TP_fast_assign(
		__entry->mm = range->mm;
		__entry->pid = trace_mm_pid(range->mm);
		__entry->event = range->event;
		__entry->start = range->start;
		__entry->end = range->end;
		__entry->interval_start = notifier->interval_tree.start;
		__entry->interval_end = notifier->interval_tree.last + 1;
		__entry->blockable = mmu_notifier_range_blockable(range);
		__entry->refused = refused;
		__entry->ns = ns;
	),

	TP_printk("mm=%p pid=%d event=%s start=%#lx end=%#lx interval_start=%#lx interval_end=%#lx blockable=%d refused=%d ns=%llu",
		__entry->mm, __entry->pid,
		__print_symbolic(__entry->event, MMU_NOTIFIER_EVENTS),
		__entry->start, __entry->end, __entry->interval_start,
		__entry->interval_end, __entry->blockable, __entry->refused,
		__entry->ns)
);

/* The driver's second pass over an interval that was invalidated */
TRACE_EVENT(mmu_interval_finish,

	TP_PROTO(const struct mmu_interval_notifier *notifier, u64 ns),

	TP_ARGS(notifier, ns),

	TP_STRUCT__entry(
		__field(struct mm_struct *, mm)
		__field(pid_t, pid)
		__field(unsigned long, interval_start)
		__field(unsigned long, interval_end)
		__field(u64, ns)
	),

	TP_fast_assign(
		__entry->mm = notifier->mm;
		__entry->pid = trace_mm_pid(notifier->mm);
		__entry->interval_start = notifier->interval_tree.start;
		__entry->interval_end = notifier->interval_tree.last + 1;
		__entry->ns = ns;
	),

	TP_printk("mm=%p pid=%d interval_start=%#lx interval_end=%#lx ns=%llu",
		__entry->mm, __entry->pid, __entry->interval_start,
		__entry->interval_end, __entry->ns)
);

#endif /* _TRACE_MMU_NOTIFIER_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
