/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The walk of guest page tables: 32-bit, PAE (with the page-directory-pointer
 * registers), 4-level and 5-level paging. A pure function over callbacks that
 * read and compare-and-swap paging-structure entries, so that the executor, the
 * shadow MMU and the address-translation API share one implementation.
 * Source: Intel SDM volume 3, chapter "Paging"; AMD APM volume 2, chapter "Page
 * translation and protection".
 */
#ifndef HV_X86_WALK_H
#define HV_X86_WALK_H

#include <stdbool.h>
#include <stdint.h>

#define X86_WALK_MAX_LEVELS 5

struct x86_walk_ops {
	/*
	 * Read an entry of `size` bytes (4 or 8) at gpa atomically. X86_OK; anything else
	 * (X86_EXIT ...) ends the walk with that status.
	 */
	int (*read_pte)(void *ctx, uint64_t gpa, unsigned int size, uint64_t *value);
	/*
	 * Atomically replace old by new at gpa. X86_OK and *swapped tells whether it was
	 * still old; anything else ends the walk. NULL: accessed and dirty bits are not updated.
	 */
	int (*cmpxchg_pte)(void *ctx, uint64_t gpa, unsigned int size, uint64_t old, uint64_t new_,
			   bool *swapped);
};

/* What the walk depends on. Fill with x86_walk_params_from_cpu() or by hand. */
struct x86_walk_params {
	const struct x86_walk_ops *ops;
	void *ctx;
	uint64_t cr0, cr3, cr4, efer;
	uint64_t pdptr[4];	/* PAE without long mode; entries with P = 0 do not map */
	uint32_t pkru, pkrs;
	uint8_t maxphyaddr;	/* 32..52: bits above are reserved */
	bool gbpages;		/* 1 GiB pages exist */
	bool smap_ac;		/* supervisor access may touch user pages although SMAP: EFLAGS.AC
				 * = 1 and the access is explicit */
};

struct x86_walk_level {
	uint64_t table_gpa;	/* gfn of the table page << 12 (32-byte PDPT: see pae) */
	uint64_t pte_gpa;
	uint64_t pte;		/* after accessed/dirty update */
	uint8_t level;		/* 5..1: PML5, PML4, PDPT, PD, PT */
	uint8_t access;		/* X86_ACC_READ|WRITE|EXEC|USER combined from the root down to here */
};

struct x86_walk_result {
	uint64_t gpa;		/* translation of `linear` */
	uint64_t page_size;	/* 4096, 2 MiB, 4 MiB, 1 GiB; with paging off 1 GiB */
	uint8_t level;		/* of the leaf: 1, 2, 3; 0 with paging off */
	uint8_t access;		/* the page's combined rights: X86_ACC_READ|WRITE|EXEC, X86_ACC_USER for
				 * user pages; before SMAP, SMEP, WP and keys */
	bool global;
	bool dirty;		/* the leaf's D bit is set (after this walk) */
	uint8_t pkey;
	uint8_t nr_levels;	/* entries of level[] visited, root first */
	struct x86_walk_level levels[X86_WALK_MAX_LEVELS];
	uint32_t error_code;	/* #PF error code, when the walk says X86_FAULT */
	uint8_t fault_level;	/* level of the entry that faulted, 0 for rights */
};

/*
 * Translate `linear` for `access` (X86_ACC_READ, WRITE or EXEC, with X86_ACC_USER). X86_OK:
 * *out is complete. X86_FAULT: a page fault with out->error_code; levels[] shows how far it
 * got. Other values come from the callbacks. `linear` must be canonical (64-bit) or below 2^32.
 */
int x86_walk_params(const struct x86_walk_params *params, uint64_t linear, uint32_t access,
		    struct x86_walk_result *out);

/*
 * Rights of a page with combined `page_access` and key `pkey` for `access`: 0 if permitted, or
 * the #PF error code (with X86_PF_P).
 */
uint32_t x86_walk_check(const struct x86_walk_params *params, uint32_t page_access,
			unsigned int pkey, uint32_t access);

/* Reserved bits that an entry of `level` must have clear, leaf or table. */
uint64_t x86_walk_reserved(const struct x86_walk_params *params, unsigned int level, bool leaf);

#endif
