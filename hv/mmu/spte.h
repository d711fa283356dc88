/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shadow page-table entries: the two bit layouts that processors walk, the bits
 * that only we read, and every predicate over them. Nothing here knows tables,
 * locks or slots.
 *
 * EPT (Intel SDM volume 3, "EPT translation mechanism"), leaf and table entries:
 *
 *   63      62..57 56   55   54   53   52   51........12 11   10  9 8 7  6    5..3 2 1 0
 *   #VE     ign.   HW   SvX  SvR  MW   nAD  frame        PRES XU  D A PS IPAT type X W R
 *
 * x86 (NPT and shadow tables; AMD APM volume 2, "Long-mode page translation"):
 *
 *   63  62..52 51........12 11   10  9   8 7  6 5 4   3   2 1 0
 *   NX  ign.   frame        PRES MW  HW  G PS D A PCD PWT U W P
 *
 * Ours, in bits that the processor ignores:
 *   PRES  the entry maps something (a page or a table), whether or not the
 *         processor can see it at the moment: the MMU's notion of "present".
 *   HW    HOST_WRITABLE: the host memory and the slot permit writes.
 *   MW    MMU_WRITABLE: no write tracking of the guest's page tables forbids W.
 *         W may be set by a fast page fault if and only if HW and MW are both set.
 *   nAD   the entry must not rely on the processor's A and D bits.
 *   SvR, SvX  the R and X that access tracking took away (EPT without A/D only).
 * x86 keeps its own bits below 12, because PAE tables reserve 62..52.
 *
 * Entries without PRES:
 *   0        nothing.
 *   FROZEN   in transition: somebody holds the entry, retry.
 *   MMIO     no memory slot there, as of a memslot generation:
 *
 *   63  62..52       51........12  11  10..3        2 1 0
 *   M   gen 18..8    gfn           0   gen 7..0     EPT: 1 1 0 (write+execute without read:
 *                                                   misconfiguration); x86: U W 0, M = 1
 */
#ifndef HV_MMU_SPTE_H
#define HV_MMU_SPTE_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "hv/base/bitops.h"
#include "hv/vm/types.h"

#define SPTE_R	     HV_BIT(0) /* EPT read, x86 present */
#define SPTE_W	     HV_BIT(1)
#define SPTE_EPT_X   HV_BIT(2)
#define SPTE_X86_U   HV_BIT(2)
#define SPTE_PS	     HV_BIT(7)
#define SPTE_PRESENT HV_BIT(11)
#define SPTE_FRAME   HV_GENMASK(51, 12)

#define SPTE_EPT_MEMTYPE_WB   (UINT64_C(6) << 3)
#define SPTE_EPT_MEMTYPE_MASK HV_GENMASK(5, 3)
#define SPTE_EPT_IPAT	      HV_BIT(6)
#define SPTE_EPT_A	      HV_BIT(8)
#define SPTE_EPT_D	      HV_BIT(9)
#define SPTE_EPT_MW	      HV_BIT(53)
#define SPTE_EPT_HW	      HV_BIT(56)

#define SPTE_X86_A  HV_BIT(5)
#define SPTE_X86_D  HV_BIT(6)
#define SPTE_X86_G  HV_BIT(8)
#define SPTE_X86_HW HV_BIT(9)
#define SPTE_X86_MW HV_BIT(10)
#define SPTE_X86_NX HV_BIT(63)

#define SPTE_AD_DISABLED     HV_BIT(52)
#define SPTE_TRACK_SAVED_R   HV_BIT(54)
#define SPTE_TRACK_SAVED_X   HV_BIT(55)
#define SPTE_TRACK_SAVED     (SPTE_TRACK_SAVED_R | SPTE_TRACK_SAVED_X)
#define SPTE_TRACK_SHIFT     54 /* from R (bit 0) to saved R */
#define SPTE_TRACK_X_SHIFT   53 /* from X (bit 2) to saved X */

/* Frozen: no bit that makes any processor see a mapping, nor ours that says we do. */
#define SPTE_FROZEN (HV_BIT(3) | HV_BIT(5) | HV_BIT(8) | HV_BIT(10))

/* MMIO */
#define SPTE_MMIO_X86_MARK     HV_BIT(63)
#define SPTE_MMIO_EPT_MARK     (SPTE_W | SPTE_EPT_X)
#define SPTE_MMIO_GEN_LOW_BITS 8
#define SPTE_MMIO_GEN_LOW      HV_GENMASK(10, 3)
#define SPTE_MMIO_GEN_HIGH     HV_GENMASK(62, 52)
#define SPTE_MMIO_GEN_BITS     19
#define SPTE_MMIO_GEN_MASK     (HV_BIT(SPTE_MMIO_GEN_BITS) - 1)

/* Rights, as make_spte and the fault path name them. */
#define ACC_EXEC  1U
#define ACC_WRITE 2U
#define ACC_USER  4U
#define ACC_ALL	  (ACC_EXEC | ACC_WRITE | ACC_USER)

static_assert(!(SPTE_FROZEN & (SPTE_R | SPTE_W | SPTE_EPT_X | SPTE_PRESENT)),
	      "a frozen entry is not present for anyone");
static_assert(!(SPTE_FROZEN & SPTE_MMIO_X86_MARK), "a frozen entry is not an x86 MMIO entry");
static_assert((SPTE_FROZEN & 7) != SPTE_MMIO_EPT_MARK, "a frozen entry is no misconfiguration");
static_assert(!(SPTE_MMIO_GEN_LOW & (7 | SPTE_PRESENT | SPTE_FRAME)), "generation, low part");
static_assert(!(SPTE_MMIO_GEN_HIGH & (SPTE_FRAME | SPTE_MMIO_X86_MARK)), "generation, high part");
static_assert(SPTE_MMIO_GEN_BITS == 8 + 11, "the two parts make the whole");
static_assert(!((SPTE_EPT_HW | SPTE_EPT_MW | SPTE_AD_DISABLED | SPTE_TRACK_SAVED) &
		(SPTE_FRAME | HV_GENMASK(11, 0) | HV_GENMASK(63, 57))),
	      "EPT: only bits that every processor ignores");
static_assert(!(SPTE_EPT_HW & SPTE_EPT_MW) &&
		      !((SPTE_EPT_HW | SPTE_EPT_MW) & (SPTE_TRACK_SAVED | SPTE_AD_DISABLED)),
	      "EPT: our bits do not overlap");
static_assert(!((SPTE_X86_HW | SPTE_X86_MW | SPTE_PRESENT) & ~HV_GENMASK(11, 9)),
	      "x86: only the three bits left to software in every mode");
static_assert((SPTE_R << SPTE_TRACK_SHIFT) == SPTE_TRACK_SAVED_R &&
		      (SPTE_EPT_X << SPTE_TRACK_X_SHIFT) == SPTE_TRACK_SAVED_X,
	      "saved bits are shifted copies");

/* One of two constant layouts. */
struct spte_format {
	const char *name;
	bool ept;
	uint64_t accessed;
	uint64_t dirty;
	uint64_t host_writable;
	uint64_t mmu_writable;
	uint64_t leaf_bits;  /* set in every leaf: memory type */
	uint64_t table_bits; /* set in every entry that points to a table */
};

extern const struct spte_format spte_format_ept;
extern const struct spte_format spte_format_x86;

/* ---- reading ------------------------------------------------------------------- */

static inline uint64_t spte_load(const uint64_t *sptep)
{
	return __atomic_load_n(sptep, __ATOMIC_ACQUIRE);
}

static inline bool spte_present(uint64_t spte)
{
	return spte & SPTE_PRESENT;
}

static inline bool spte_is_leaf(uint64_t spte, int level)
{
	return level == HV_PG_LEVEL_4K || (spte & SPTE_PS);
}

static inline bool spte_is_table(uint64_t spte, int level)
{
	return spte_present(spte) && !spte_is_leaf(spte, level);
}

static inline bool spte_is_mmio(const struct spte_format *f, uint64_t spte)
{
	if (f->ept)
		return (spte & (7 | SPTE_PRESENT)) == SPTE_MMIO_EPT_MARK;
	return (spte & (SPTE_MMIO_X86_MARK | SPTE_PRESENT | SPTE_R)) == SPTE_MMIO_X86_MARK;
}

static inline bool spte_is_frozen(uint64_t spte)
{
	return spte == SPTE_FROZEN;
}

static inline hv_pfn_t spte_pfn(uint64_t spte)
{
	return (spte & SPTE_FRAME) >> HV_PAGE_SHIFT;
}

static inline bool spte_writable(uint64_t spte)
{
	return spte & SPTE_W;
}

/* A/D bits of this entry are the processor's to set. */
static inline bool spte_ad_enabled(uint64_t spte)
{
	return !(spte & SPTE_AD_DISABLED);
}

/* Access tracking has hidden the entry from the processor. Only EPT entries without A/D. */
static inline bool spte_is_tracked(const struct spte_format *f, uint64_t spte)
{
	return f->ept && spte_present(spte) && !spte_ad_enabled(spte) && !(spte & 7);
}

static inline bool spte_accessed(const struct spte_format *f, uint64_t spte)
{
	return spte_ad_enabled(spte) ? (spte & f->accessed) != 0 : !spte_is_tracked(f, spte);
}

/* By the D bit, or without it by W: the entry may have let a write through. */
static inline bool spte_dirty(const struct spte_format *f, uint64_t spte)
{
	return spte_ad_enabled(spte) ? (spte & f->dirty) != 0 : spte_writable(spte);
}

static inline bool spte_executable(const struct spte_format *f, uint64_t spte)
{
	return f->ept ? (spte & SPTE_EPT_X) != 0 : !(spte & SPTE_X86_NX);
}

/* W may be set without asking anyone: a fast page fault may do so outside mmu_lock. */
static inline bool spte_may_set_w(const struct spte_format *f, uint64_t spte)
{
	uint64_t both = f->host_writable | f->mmu_writable;

	return (spte & both) == both;
}

/*
 * Can a bit of this present leaf change while we hold mmu_lock exclusively? Yes
 * where a fast page fault may set W or restore a tracked entry, and where the
 * processor may set A or D. Such an entry is only ever changed atomically, else
 * the bit is lost (see the interleaving in doc/mmu.md).
 */
static inline bool spte_volatile(const struct spte_format *f, uint64_t spte)
{
	if (!spte_writable(spte) && spte_may_set_w(f, spte))
		return true;
	if (spte_is_tracked(f, spte))
		return true;
	if (!spte_ad_enabled(spte))
		return false;
	return !(spte & f->accessed) || (spte_writable(spte) && !(spte & f->dirty));
}

/* Would this access (ACC_WRITE, ACC_EXEC, ACC_USER; 0 a supervisor read) pass? */
static inline bool spte_permits(const struct spte_format *f, uint64_t spte, unsigned int access,
				bool check_user)
{
	if (!(spte & SPTE_R))
		return false;
	if ((access & ACC_WRITE) && !spte_writable(spte))
		return false;
	if ((access & ACC_EXEC) && !spte_executable(f, spte))
		return false;
	return !(check_user && (access & ACC_USER) && !(spte & SPTE_X86_U));
}

/* ---- making ---------------------------------------------------------------------- */

struct spte_request {
	const struct spte_format *fmt;
	hv_pfn_t pfn;
	int level;
	unsigned int access; /* ACC_*: rights of the guest's mapping; TDP: all */
	bool host_writable;  /* host memory and slot permit writes */
	bool mmu_writable;   /* not write-tracked */
	bool writable;	     /* set W now (dirty logging may hold it back) */
	bool dirty;	     /* set D now: the page is already in the log, or none is kept */
	bool accessed;	     /* false for prefetched entries */
	bool ad_enabled;
	bool nx;	     /* executable rights are withheld (NX huge pages) */
};

uint64_t spte_make_leaf(const struct spte_request *req);
/* An entry that points to the table at host address `table`. */
uint64_t spte_make_table(const struct spte_format *f, const void *table, bool ad_enabled);
/* Entry `index` of the table that takes the place of a huge leaf. */
uint64_t spte_split_child(const struct spte_format *f, uint64_t huge, int child_level,
			  unsigned int index, bool may_execute);

uint64_t spte_make_mmio(const struct spte_format *f, hv_gfn_t gfn, unsigned int access,
			uint64_t generation);
hv_gfn_t spte_mmio_gfn(uint64_t spte);
unsigned int spte_mmio_access(const struct spte_format *f, uint64_t spte);
uint64_t spte_mmio_generation(uint64_t spte);

/* Hide from the processor: R and X are saved, W is not. Entries with A/D: only A is cleared. */
uint64_t spte_mark_tracked(const struct spte_format *f, uint64_t spte);
/* Undo spte_mark_tracked() of an entry without A/D; W stays clear. */
uint64_t spte_restore_tracked(const struct spte_format *f, uint64_t spte);

/*
 * What replacing present leaf `old` by `new_` (any value) obliges us to. This is
 * where the rule "writable to read-only needs a flush" is decided.
 */
bool spte_change_needs_flush(const struct spte_format *f, uint64_t old, uint64_t new_, int level);

#endif
