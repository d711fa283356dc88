/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Second-level walks as hardware does them: EPT and nested paging. Both are pure
 * functions over the tables; they update accessed and dirty flags with
 * compare-and-swap, since the hypervisor changes entries at the same time.
 *
 * Frame fields hold host virtual page numbers.
 */
#ifndef HV_CPU_TDP_WALK_H
#define HV_CPU_TDP_WALK_H

#include <stdbool.h>
#include <stdint.h>

/* Rights, and what an access needs: a bit set. */
#define TDP_R	(1U << 0)
#define TDP_W	(1U << 1)
#define TDP_X	(1U << 2)	/* execute; with mode-based control, from supervisor pages */
#define TDP_XU	(1U << 3)	/* execute from user pages */

enum tdp_status { TDP_OK, TDP_VIOLATION, TDP_MISCONFIG, TDP_PML_FULL };

/* The page-modification log, where it is in force. */
struct tdp_pml {
	uint64_t *log;		/* 512 entries */
	uint64_t *index;	/* PML index field; counts down */
};

struct tdp_walk {
	/* in */
	uint64_t root;		/* host address of the top table */
	uint8_t levels;		/* 4 or 5 */
	bool ad;		/* EPT: accessed and dirty flags are enabled */
	bool mbec;		/* EPT: mode-based execute control */
	bool nx;		/* NPT: EFER.NXE of the host */
	uint8_t need;		/* TDP_R|W|X|XU: the access */
	uint64_t gpa;
	const struct tdp_pml *pml; /* NULL: no logging */
	/* out */
	uint64_t host;		/* host address of the 4 KiB page */
	uint64_t page_size;
	uint8_t rights;		/* AND over the levels walked; valid for OK and VIOLATION */
	bool dirty;		/* OK: the leaf's dirty flag is set, or the format has none */
	bool present;		/* VIOLATION: every entry was present, a right is missing */
	bool reserved;		/* NPT VIOLATION: a reserved bit was set */
	uint8_t level;		/* where the walk ended */
};

enum tdp_status ept_walk(struct tdp_walk *walk);
enum tdp_status npt_walk(struct tdp_walk *walk);

#endif
