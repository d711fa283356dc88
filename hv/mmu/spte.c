/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making and judging shadow page-table entries. See spte.h for the layouts.
 */
#include "hv/mmu/spte.h"

const struct spte_format spte_format_ept = {
	.name = "ept",
	.ept = true,
	.accessed = SPTE_EPT_A,
	.dirty = SPTE_EPT_D,
	.host_writable = SPTE_EPT_HW,
	.mmu_writable = SPTE_EPT_MW,
	/* IPAT: the guest's own PAT does not matter, its memory is always write-back. */
	.leaf_bits = SPTE_EPT_MEMTYPE_WB | SPTE_EPT_IPAT | SPTE_PRESENT,
	.table_bits = SPTE_R | SPTE_W | SPTE_EPT_X | SPTE_PRESENT,
};

const struct spte_format spte_format_x86 = {
	.name = "x86",
	.ept = false,
	.accessed = SPTE_X86_A,
	.dirty = SPTE_X86_D,
	.host_writable = SPTE_X86_HW,
	.mmu_writable = SPTE_X86_MW,
	.leaf_bits = SPTE_PRESENT,
	/* Processors set A in table entries too; doing it now spares them the write. */
	.table_bits = SPTE_R | SPTE_W | SPTE_X86_U | SPTE_X86_A | SPTE_PRESENT,
};

static_assert(sizeof(uint64_t) * 512 == HV_PAGE_SIZE, "a table is a page");

uint64_t spte_make_leaf(const struct spte_request *req)
{
	const struct spte_format *f = req->fmt;
	bool exec = (req->access & ACC_EXEC) && !req->nx;
	bool may_write = (req->access & ACC_WRITE) && req->host_writable;
	uint64_t spte = f->leaf_bits | SPTE_R | (req->pfn << HV_PAGE_SHIFT);

	if (req->level > HV_PG_LEVEL_4K)
		spte |= SPTE_PS;
	if (f->ept)
		spte |= exec ? SPTE_EPT_X : 0;
	else
		spte |= (exec ? 0 : SPTE_X86_NX) | ((req->access & ACC_USER) ? SPTE_X86_U : 0);
	if (req->host_writable)
		spte |= f->host_writable;
	if (may_write && req->mmu_writable) {
		spte |= f->mmu_writable;
		if (req->writable)
			spte |= SPTE_W;
	}
	if (!req->ad_enabled)
		return spte | SPTE_AD_DISABLED;
	if (req->accessed)
		spte |= f->accessed;
	if (spte_writable(spte) && req->dirty)
		spte |= f->dirty;
	return spte;
}

uint64_t spte_make_table(const struct spte_format *f, const void *table, bool ad_enabled)
{
	return (uint64_t)(uintptr_t)table | f->table_bits | (ad_enabled ? 0 : SPTE_AD_DISABLED);
}

uint64_t spte_split_child(const struct spte_format *f, uint64_t huge, int child_level,
			  unsigned int index, bool may_execute)
{
	uint64_t child = huge + ((uint64_t)index * HV_PAGES_PER_LEVEL(child_level) << HV_PAGE_SHIFT);

	if (child_level > HV_PG_LEVEL_4K)
		return child;
	child &= ~SPTE_PS;
	/* What NX huge pages took from the huge leaf, its small pages may have. */
	if (may_execute)
		child = f->ept ? child | SPTE_EPT_X : child & ~SPTE_X86_NX;
	return child;
}

uint64_t spte_make_mmio(const struct spte_format *f, hv_gfn_t gfn, unsigned int access,
			uint64_t generation)
{
	uint64_t gen = generation & SPTE_MMIO_GEN_MASK;
	uint64_t spte = (gfn << HV_PAGE_SHIFT) & SPTE_FRAME;

	spte |= (gen << 3) & SPTE_MMIO_GEN_LOW;
	spte |= (gen >> SPTE_MMIO_GEN_LOW_BITS) << 52;
	if (f->ept)
		return spte | SPTE_MMIO_EPT_MARK;
	return spte | SPTE_MMIO_X86_MARK | ((access & ACC_WRITE) ? SPTE_W : 0) |
	       ((access & ACC_USER) ? SPTE_X86_U : 0);
}

hv_gfn_t spte_mmio_gfn(uint64_t spte)
{
	return (spte & SPTE_FRAME) >> HV_PAGE_SHIFT;
}

unsigned int spte_mmio_access(const struct spte_format *f, uint64_t spte)
{
	if (f->ept)
		return ACC_ALL;
	return ((spte & SPTE_W) ? ACC_WRITE : 0) | ((spte & SPTE_X86_U) ? ACC_USER : 0);
}

uint64_t spte_mmio_generation(uint64_t spte)
{
	return ((spte & SPTE_MMIO_GEN_LOW) >> 3) |
	       ((spte & SPTE_MMIO_GEN_HIGH) >> 52 << SPTE_MMIO_GEN_LOW_BITS);
}

uint64_t spte_mark_tracked(const struct spte_format *f, uint64_t spte)
{
	if (spte_ad_enabled(spte))
		return spte & ~f->accessed;
	if (spte_is_tracked(f, spte))
		return spte;
	spte &= ~SPTE_TRACK_SAVED;
	spte |= (spte & SPTE_R) << SPTE_TRACK_SHIFT;
	spte |= (spte & SPTE_EPT_X) << SPTE_TRACK_X_SHIFT;
	return spte & ~(SPTE_R | SPTE_W | SPTE_EPT_X);
}

uint64_t spte_restore_tracked(const struct spte_format *f, uint64_t spte)
{
	uint64_t saved = spte & SPTE_TRACK_SAVED;

	if (!spte_is_tracked(f, spte))
		return spte;
	spte &= ~SPTE_TRACK_SAVED;
	spte |= (saved & SPTE_TRACK_SAVED_R) >> SPTE_TRACK_SHIFT;
	return spte | (saved & SPTE_TRACK_SAVED_X) >> SPTE_TRACK_X_SHIFT;
}

bool spte_change_needs_flush(const struct spte_format *f, uint64_t old, uint64_t new_, int level)
{
	if (!spte_present(old))
		return false;
	/* Split: the small leaves say what the huge one said, and it may stay cached. */
	if (spte_is_leaf(old, level) && spte_is_table(new_, level))
		return false;
	if (!spte_present(new_) || spte_pfn(old) != spte_pfn(new_) ||
	    spte_is_leaf(old, level) != spte_is_leaf(new_, level))
		return true;
	if (!spte_is_leaf(old, level))
		return false;
#ifndef HV_MUTATION_NO_WRPROT_FLUSH
	/*
	 * Writable to read-only. MMU_WRITABLE counts as well as W: an earlier owner of
	 * mmu_lock may have cleared W and not flushed yet, so a processor may still
	 * hold a writable translation of an entry that reads as write-protected.
	 */
	if (spte_writable(old) && !spte_writable(new_))
		return true;
	if ((old & f->mmu_writable) && !(new_ & f->mmu_writable))
		return true;
#endif
	if (spte_executable(f, old) && !spte_executable(f, new_) && !spte_is_tracked(f, new_))
		return true;
	/* A translation cached as dirty would write without setting D again. */
	return spte_ad_enabled(old) && (old & f->dirty) && !(new_ & f->dirty);
}
