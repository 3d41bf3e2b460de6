/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Copyright 2013 Red Hat Inc.
 *
 * Authors: Jérôme Glisse <jglisse@redhat.com>
 *
 * Heterogeneous memory management: what a device may access of a process.
 *
 * See Documentation/mm/hmm.rst.
 */
#ifndef LINUX_HMM_H
#define LINUX_HMM_H

#include <linux/mm.h>

struct mmu_interval_notifier;

/**
 * enum hmm_pfn_flags - bits of an entry of hmm_range.hmm_pfns
 * @HMM_PFN_VALID: answer: the device may read the page whose pfn the entry holds
 * @HMM_PFN_WRITE: answer: it may write to it, too; only with HMM_PFN_VALID
 * @HMM_PFN_ERROR: answer: the device can never have what is mapped there
 * @HMM_PFN_DMA_MAPPED: the driver's: the page is mapped for DMA
 * @HMM_PFN_P2PDMA: the driver's: by PCI P2P through the host bridge
 * @HMM_PFN_P2PDMA_BUS: the driver's: by PCI P2P with a bus address
 * @HMM_PFN_ORDER_SHIFT: where the order of the CPU's mapping begins, see
 *	hmm_pfn_to_map_order()
 * @HMM_PFN_REQ_FAULT: request: answer HMM_PFN_VALID, or fail
 * @HMM_PFN_REQ_WRITE: request, with HMM_PFN_REQ_FAULT: answer HMM_PFN_WRITE too,
 *	or fail
 * @HMM_PFN_FLAGS: all that is not pfn
 *
 * An answer is one of these, with the driver's bits as they were:
 *
 * * 0: nothing is mapped; asking for it may succeed
 * * HMM_PFN_VALID, order and pfn: readable
 * * HMM_PFN_VALID, HMM_PFN_WRITE, order and pfn: readable and writable
 * * HMM_PFN_ERROR
 *
 * A pfn of device private memory is answered to its owner only.
 */
enum hmm_pfn_flags {
	HMM_PFN_VALID = 1UL << (BITS_PER_LONG - 1),
	HMM_PFN_WRITE = 1UL << (BITS_PER_LONG - 2),
	HMM_PFN_ERROR = 1UL << (BITS_PER_LONG - 3),

	HMM_PFN_DMA_MAPPED = 1UL << (BITS_PER_LONG - 4),
	HMM_PFN_P2PDMA     = 1UL << (BITS_PER_LONG - 5),
	HMM_PFN_P2PDMA_BUS = 1UL << (BITS_PER_LONG - 6),

	HMM_PFN_ORDER_SHIFT = (BITS_PER_LONG - 11),

	HMM_PFN_REQ_FAULT = HMM_PFN_VALID,
	HMM_PFN_REQ_WRITE = HMM_PFN_WRITE,

	HMM_PFN_FLAGS = ~((1UL << HMM_PFN_ORDER_SHIFT) - 1),
};

/**
 * hmm_pfn_to_page() - the page of an answer
 * @hmm_pfn: an entry with HMM_PFN_VALID
 *
 * Context: As with all that is made of an answer, under the lock that the
 * notifier takes, after mmu_interval_read_retry() was false.
 * Return: the page; nothing but the notifier keeps it mapped.
 */
static inline struct page *hmm_pfn_to_page(unsigned long hmm_pfn)
{
	return pfn_to_page(hmm_pfn & ~HMM_PFN_FLAGS);
}

/**
 * hmm_pfn_to_phys() - the physical address of an answer
 * @hmm_pfn: an entry with HMM_PFN_VALID
 *
 * Context: As hmm_pfn_to_page().
 * Return: the address of the page's first byte.
 */
static inline phys_addr_t hmm_pfn_to_phys(unsigned long hmm_pfn)
{
	return __pfn_to_phys(hmm_pfn & ~HMM_PFN_FLAGS);
}

/**
 * hmm_pfn_to_map_order() - how much the CPU maps with one page table entry
 * @hmm_pfn: an entry with HMM_PFN_VALID
 *
 * The page is one of 2^order pages that begin at an address and a pfn aligned to
 * as many and that one page table entry maps. All have the same flags. They may
 * begin before the range of the call or end behind it.
 *
 * Context: As hmm_pfn_to_page().
 * Return: the order.
 */
static inline unsigned int hmm_pfn_to_map_order(unsigned long hmm_pfn)
{
	return (hmm_pfn >> HMM_PFN_ORDER_SHIFT) & 0x1F;
}

/**
 * hmm_pfn_goes_on() - whether an answer's page continues that of another
 * @hmm_pfn: an entry with HMM_PFN_VALID
 * @next: any entry
 *
 * Context: As hmm_pfn_to_page().
 * Return: true if @next is valid, too, its page comes after the other in physical
 * memory, is the same kind of memory, of the same device if of a device, and may be
 * accessed in the same way.
 */
static inline bool hmm_pfn_goes_on(unsigned long hmm_pfn, unsigned long next)
{
	const unsigned long same = HMM_PFN_VALID | HMM_PFN_WRITE | ~HMM_PFN_FLAGS;

	return (next & same) == (hmm_pfn & same) + 1 &&
	       zone_device_pages_have_same_pgmap(hmm_pfn_to_page(hmm_pfn),
						 hmm_pfn_to_page(next));
}

/**
 * hmm_pfn_run() - how many answers are one piece of memory
 * @hmm_pfns: the first of them
 * @nr: how many there are at most
 *
 * The CPU may map the piece by any number of page table entries. If it maps it by
 * one, hmm_pfn_to_map_order() told so when the answer was given; this function looks
 * at each entry, so that it can be used on entries that were kept and changed since.
 *
 * Context: As hmm_pfn_to_page().
 * Return: how many entries from the first on are pages that follow each other in
 * physical memory, of the same kind and with the same access; 0 if the first is not
 * HMM_PFN_VALID.
 */
static inline unsigned long hmm_pfn_run(const unsigned long *hmm_pfns,
					unsigned long nr)
{
	unsigned long i = 1;

	if (!nr || !(hmm_pfns[0] & HMM_PFN_VALID))
		return 0;
	while (i < nr && hmm_pfn_goes_on(hmm_pfns[i - 1], hmm_pfns[i]))
		i++;
	return i;
}

/**
 * struct hmm_range - a call of hmm_range_fault()
 *
 * The request of a page is ``(hmm_pfns[i] & pfn_flags_mask) | default_flags``.
 */
struct hmm_range {
	/**
	 * @notifier: a notifier, registered with the mm in question, that
	 * watches all of the range
	 */
	struct mmu_interval_notifier *notifier;
	/**
	 * @notifier_seq: sequence that mmu_interval_read_begin() returned; set
	 * by hmm_range_fault_unlocked_timeout() itself
	 */
	unsigned long		notifier_seq;
	/** @start: first address, page aligned */
	unsigned long		start;
	/** @end: first address behind the range, page aligned */
	unsigned long		end;
	/** @hmm_pfns: an entry for each page: request in, answer out */
	unsigned long		*hmm_pfns;
	/**
	 * @default_flags: asked of every page: HMM_PFN_REQ_FAULT and
	 * HMM_PFN_REQ_WRITE, or 0
	 */
	unsigned long		default_flags;
	/**
	 * @pfn_flags_mask: which bits of an entry in @hmm_pfns count as a
	 * request; 0 if @default_flags is all that is asked
	 */
	unsigned long		pfn_flags_mask;
	/**
	 * @dev_private_owner: whose device private memory is answered, the
	 * owner of struct dev_pagemap; NULL owns none
	 */
	void			*dev_private_owner;
};

int hmm_range_fault(struct hmm_range *range);
int hmm_range_fault_unlocked_timeout(struct hmm_range *range,
				     unsigned long timeout);

/* How long drivers commonly retry, in milliseconds */
#define HMM_RANGE_DEFAULT_TIMEOUT 1000

#endif /* LINUX_HMM_H */
