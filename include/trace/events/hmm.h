/* SPDX-License-Identifier: GPL-2.0-or-later */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM hmm

#if !defined(_TRACE_HMM_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_HMM_H

#include <linux/dma-mapping.h>
#include <linux/hmm.h>
#include <linux/hmm-dma.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/tracepoint.h>
#include <trace/misc/mm.h>

struct hmm_trace;
struct hmm_trace_answers;

/* What is asked of a page, as 2 bits */
#define hmm_trace_request(flags)					\
	(((flags) & HMM_PFN_REQ_FAULT ? 1 : 0) |			\
	 ((flags) & HMM_PFN_REQ_WRITE ? 2 : 0))

/*
 * Attempts that did not end because others or faults invalidated the answers: the last.
 * There is none if no memory was left before the first.
 */
#define hmm_trace_last_attempt(seen, ret)				\
	((ret) != -EBUSY && ((ret) != -ENOMEM || (seen)->faults))

#define hmm_show_request(request)					\
	__print_symbolic(request,					\
		{ 0, "none" }, { 1, "read" }, { 2, "write-bit" }, { 3, "write" })

TRACE_EVENT(hmm_range_fault_begin,

	TP_PROTO(const struct hmm_range *range, bool unlocked),

	TP_ARGS(range, unlocked),

	TP_STRUCT__entry(
		__field(struct mm_struct *, mm)
		__field(pid_t, pid)
		__field(unsigned long, start)
		__field(unsigned long, end)
		__field(unsigned char, request)
		__field(unsigned char, mask)
		__field(bool, unlocked)
	),

	TP_fast_assign(
		__entry->mm = range->notifier->mm;
		__entry->pid = trace_mm_pid(range->notifier->mm);
		__entry->start = range->start;
		__entry->end = range->end;
		__entry->request = hmm_trace_request(range->default_flags);
		__entry->mask = hmm_trace_request(range->pfn_flags_mask);
		__entry->unlocked = unlocked;
	),

	TP_printk("mm=%p pid=%d start=%#lx end=%#lx request=%s mask=%s unlocked=%d",
		__entry->mm, __entry->pid, __entry->start, __entry->end,
		hmm_show_request(__entry->request),
		hmm_show_request(__entry->mask), __entry->unlocked)
);

/*
 * @seen: what happened during the call. @answers: what it answered; after an error,
 * what it answered before the page that failed. See mm/hmm_trace.h.
 */
TRACE_EVENT(hmm_range_fault_end,

	TP_PROTO(const struct hmm_range *range, const struct hmm_trace *seen,
		 const struct hmm_trace_answers *answers, u64 ns, int ret),

	TP_ARGS(range, seen, answers, ns, ret),

	TP_STRUCT__entry(
		__field(struct mm_struct *, mm)
		__field(pid_t, pid)
		__field(int, ret)
		__field(unsigned long, start)
		__field(unsigned long, end)
		__field(unsigned long, none)
		__field(unsigned long, read)
		__field(unsigned long, write)
		__field(unsigned long, error)
		__field(unsigned int, faults)
		__field(unsigned int, attempts)
		__field(unsigned int, by_self)
		__field(unsigned int, by_others)
		__field(u64, fault_ns)
		__field(u64, ns)
	),

	TP_fast_assign(
		__entry->mm = range->notifier->mm;
		__entry->pid = trace_mm_pid(range->notifier->mm);
		__entry->ret = ret;
		__entry->start = range->start;
		__entry->end = range->end;
		__entry->none = answers->none;
		__entry->read = answers->read;
		__entry->write = answers->write;
		__entry->error = answers->error;
		__entry->faults = seen->faults;
		__entry->attempts = seen->by_self + seen->by_others +
				    hmm_trace_last_attempt(seen, ret);
		__entry->by_self = seen->by_self;
		__entry->by_others = seen->by_others;
		__entry->fault_ns = seen->fault_ns;
		__entry->ns = ns;
	),

	TP_printk("mm=%p pid=%d start=%#lx end=%#lx ret=%d none=%lu read=%lu write=%lu error=%lu faults=%u attempts=%u by_self=%u by_others=%u fault_ns=%llu ns=%llu",
		__entry->mm, __entry->pid, __entry->start, __entry->end,
		__entry->ret, __entry->none, __entry->read, __entry->write,
		__entry->error, __entry->faults, __entry->attempts,
		__entry->by_self, __entry->by_others, __entry->fault_ns,
		__entry->ns)
);

/* Programs that read the format of the event do not know the names */
TRACE_DEFINE_ENUM(FAULT_FLAG_WRITE);
TRACE_DEFINE_ENUM(FAULT_FLAG_MKWRITE);
TRACE_DEFINE_ENUM(FAULT_FLAG_ALLOW_RETRY);
TRACE_DEFINE_ENUM(FAULT_FLAG_RETRY_NOWAIT);
TRACE_DEFINE_ENUM(FAULT_FLAG_KILLABLE);
TRACE_DEFINE_ENUM(FAULT_FLAG_TRIED);
TRACE_DEFINE_ENUM(FAULT_FLAG_USER);
TRACE_DEFINE_ENUM(FAULT_FLAG_REMOTE);
TRACE_DEFINE_ENUM(FAULT_FLAG_INSTRUCTION);
TRACE_DEFINE_ENUM(FAULT_FLAG_INTERRUPTIBLE);
TRACE_DEFINE_ENUM(FAULT_FLAG_VMA_LOCK);
TRACE_DEFINE_ENUM(VM_FAULT_OOM);
TRACE_DEFINE_ENUM(VM_FAULT_SIGBUS);
TRACE_DEFINE_ENUM(VM_FAULT_MAJOR);
TRACE_DEFINE_ENUM(VM_FAULT_HWPOISON);
TRACE_DEFINE_ENUM(VM_FAULT_HWPOISON_LARGE);
TRACE_DEFINE_ENUM(VM_FAULT_SIGSEGV);
TRACE_DEFINE_ENUM(VM_FAULT_NOPAGE);
TRACE_DEFINE_ENUM(VM_FAULT_LOCKED);
TRACE_DEFINE_ENUM(VM_FAULT_RETRY);
TRACE_DEFINE_ENUM(VM_FAULT_FALLBACK);
TRACE_DEFINE_ENUM(VM_FAULT_DONE_COW);
TRACE_DEFINE_ENUM(VM_FAULT_NEEDDSYNC);
TRACE_DEFINE_ENUM(VM_FAULT_COMPLETED);

/* A page fault by which hmm_range_fault() gets a page: what handle_mm_fault() returned */
TRACE_EVENT(hmm_fault,

	TP_PROTO(struct mm_struct *mm, unsigned long address, unsigned int flags,
		 vm_fault_t result),

	TP_ARGS(mm, address, flags, result),

	TP_STRUCT__entry(
		__field(struct mm_struct *, mm)
		__field(pid_t, pid)
		__field(unsigned long, address)
		__field(unsigned int, flags)
		__field(unsigned int, result)
	),

	TP_fast_assign(
		__entry->mm = mm;
		__entry->pid = trace_mm_pid(mm);
		__entry->address = address;
		__entry->flags = flags;
		__entry->result = (__force unsigned int)result;
	),

	TP_printk("mm=%p pid=%d address=%#lx flags=%s result=%s",
		__entry->mm, __entry->pid, __entry->address,
		__print_flags(__entry->flags, "|", FAULT_FLAG_TRACE),
		__entry->result ?
			__print_flags(__entry->result, "|", VM_FAULT_RESULT_TRACE) :
			"0")
);

/*
 * @first: number of the first DMA entry, each of which maps @size bytes. @iova: the region
 * has IOVA space, but memory of a PCI device may be reached without.
 */
DECLARE_EVENT_CLASS(hmm_dma,

	TP_PROTO(struct device *dev, struct hmm_dma_map *map, size_t first,
		 size_t nr, int ret),

	TP_ARGS(dev, map, first, nr, ret),

	TP_STRUCT__entry(
		__string(device, dev_name(dev))
		__field(size_t, first)
		__field(size_t, nr)
		__field(size_t, size)
		__field(bool, iova)
		__field(int, ret)
	),

	TP_fast_assign(
		__assign_str(device);
		__entry->first = first;
		__entry->nr = nr;
		__entry->size = map->dma_entry_size;
		__entry->iova = dma_use_iova(&map->state);
		__entry->ret = ret;
	),

	TP_printk("device=%s first=%zu nr=%zu size=%zu iova=%d ret=%d",
		__get_str(device), __entry->first, __entry->nr, __entry->size,
		__entry->iova, __entry->ret)
);

DEFINE_EVENT(hmm_dma, hmm_dma_map,
	TP_PROTO(struct device *dev, struct hmm_dma_map *map, size_t first,
		 size_t nr, int ret),
	TP_ARGS(dev, map, first, nr, ret)
);

DEFINE_EVENT(hmm_dma, hmm_dma_unmap,
	TP_PROTO(struct device *dev, struct hmm_dma_map *map, size_t first,
		 size_t nr, int ret),
	TP_ARGS(dev, map, first, nr, ret)
);

#endif /* _TRACE_HMM_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
