/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The engine's address types. A guest frame number (gfn) is a guest-physical
 * address (gpa) in units of 4 KiB pages. A host pfn is a host *virtual* page
 * number: tables carry it where silicon would carry a physical frame number,
 * so that the software processor walks exactly what hardware would.
 */
#ifndef HV_VM_TYPES_H
#define HV_VM_TYPES_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/base/util.h" /* HV_PAGE_SHIFT, HV_PAGE_SIZE, HV_PAGE_MASK */

typedef uint64_t hv_gpa_t;
typedef uint64_t hv_gfn_t;
typedef uint64_t hv_hva_t;
typedef uint64_t hv_pfn_t;

/* Mapping levels: the size of what one leaf entry of that level maps. */
enum hv_pg_level {
	HV_PG_LEVEL_NONE = 0,
	HV_PG_LEVEL_4K = 1,
	HV_PG_LEVEL_2M = 2,
	HV_PG_LEVEL_1G = 3,
	HV_PG_LEVEL_512G = 4,
	HV_PG_LEVEL_256T = 5,
};

#define HV_PAGES_PER_LEVEL(level) (1ULL << (((level) - 1) * 9))

#define HV_ADDRESS_SPACE_NUM 2	   /* normal, SMM */
#define HV_MEM_SLOTS_MAX     32764 /* user memslots per address space */
#define HV_MAX_VCPUS	     8
/* Pages of one slot, as KVM bounds them (KVM_MEM_MAX_NR_PAGES). */
#define HV_MEM_MAX_NR_PAGES  ((1ULL << 31) - 1)
#define HV_INVALID_PFN	     (~0ULL)
#define HV_INVALID_GPA	     (~0ULL)

#endif
