/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Exported by the checking kernel to the test driver, into which mutants.sh and
 * coverage.py link copies of these files; see base/kernel.sh.
 */
#include <linux/export.h>

/* Without the symbol's declaration, which EXPORT_SYMBOL_FOR_MODULES() needs */
#define EXPORT(symbol) \
	asm(__stringify(___EXPORT_SYMBOL(symbol, "GPL", "module:test_hmm")));

/* An event, with the code that calls its probes */
#define EXPORT_TRACEPOINT(event)	\
	EXPORT(__tracepoint_##event)	\
	EXPORT(__traceiter_##event)	\
	EXPORT(__SCK__tp_func_##event)	\
	EXPORT(__SCT__tp_func_##event)

/* mm/hmm.c */
EXPORT(__hmm_trace_end)
EXPORT(__pte_offset_map)
EXPORT(hmm_stats)
EXPORT_TRACEPOINT(hmm_fault)
EXPORT_TRACEPOINT(hmm_range_fault_begin)
EXPORT_TRACEPOINT(hmm_range_fault_end)
EXPORT(hmm_dma_maps)
EXPORT(huge_zero_pfn)
EXPORT(vm_normal_page)
EXPORT(vm_normal_page_pmd)
EXPORT(vm_normal_page_pud)
EXPORT(vma_is_secretmem)
EXPORT(walk_page_range)
EXPORT(walk_page_range_vma)

/* mm/hmm_dma.c, unless above */
EXPORT(__pci_p2pdma_update_state)
EXPORT_TRACEPOINT(hmm_dma_map)
EXPORT_TRACEPOINT(hmm_dma_unmap)

/* mm/migrate_device.c, unless above */
EXPORT(__SCK__WARN_trap)
EXPORT(__anon_vma_prepare)
EXPORT(__mmu_notifier_invalidate_range_end)
EXPORT(__mmu_notifier_invalidate_range_start)
EXPORT(__mmu_notifier_invalidate_range_start_map)
EXPORT(__p4d_alloc)
EXPORT(__pmd_alloc)
EXPORT(__pte_alloc)
EXPORT(__pud_alloc)
EXPORT(__split_huge_page_to_list_to_order)
EXPORT(__split_huge_pmd)
EXPORT(flush_tlb_mm_range)
EXPORT(folio_add_lru_vma)
EXPORT(folio_add_new_anon_rmap)
EXPORT(folio_free_swap)
EXPORT(folio_putback_lru)
EXPORT(folio_remove_rmap_ptes)
EXPORT(folio_split_unmapped)
EXPORT(huge_zero_folio)
EXPORT(lru_add_drain)
EXPORT(lru_add_drain_all)
EXPORT(mm_find_pmd)
EXPORT(mm_trace_rss_stat)
EXPORT(mthp_stats)
EXPORT(pgtable_trans_huge_deposit)
EXPORT(pmd_mkwrite)
EXPORT(pmdp_invalidate)
EXPORT(pte_alloc_one)
EXPORT(pte_mkwrite)
EXPORT(pte_offset_map_lock)
EXPORT(ptep_clear_flush)
EXPORT(remove_migration_entry)
EXPORT(remove_migration_ptes)
EXPORT(set_pmd_migration_entry)
EXPORT(split_folio_to_list)
EXPORT(split_huge_pmd_address)
EXPORT(swap_migration_ad_supported)
EXPORT(try_to_migrate)
EXPORT(vma_thp_gfp_mask)
EXPORT_TRACEPOINT(migrate_vma_finalize)
EXPORT_TRACEPOINT(migrate_vma_pages)
EXPORT_TRACEPOINT(migrate_vma_setup)

/* mm/memremap.c, unless above */
EXPORT(__remove_pages)
EXPORT(add_pages)
EXPORT(arch_add_memory)
EXPORT(arch_remove_memory)
EXPORT(kasan_add_zero_shadow)
EXPORT(kasan_remove_zero_shadow)
EXPORT(mem_hotplug_begin)
EXPORT(mem_hotplug_done)
EXPORT(memmap_init_zone_device)
EXPORT(mhp_range_allowed)
EXPORT(move_pfn_range_to_zone)
EXPORT(pfnmap_track)
EXPORT(pfnmap_untrack)
EXPORT(prep_compound_page)
EXPORT(remove_pfn_range_from_zone)

/* mm/tests/hmm_kunit.c, unless above */
EXPORT(access_remote_vm)
EXPORT(do_madvise)
EXPORT(dup_mmap)
EXPORT(get_locked_pte)
EXPORT(lock_task_sighand)
EXPORT(mprotect_fixup)
EXPORT(tlb_finish_mmu)
EXPORT(tlb_gather_mmu)

#undef EXPORT_TRACEPOINT
#undef EXPORT
