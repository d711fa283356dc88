/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sources: SDM vol. 3, "The extended page table mechanism" (entry formats,
 * misconfigurations, accessed and dirty flags, page-modification logging);
 * APM vol. 2, "Nested paging".
 */
#include <stddef.h>

#include "hv/cpu/tdp_walk.h"
#include "hv/cpu/vmx_arch.h"
#include "hv/x86/defs.h"

#define FRAME_MASK	0x000ffffffffff000ULL
#define LEVEL_SHIFT(level) (12 + 9 * ((level) - 1))
#define PML_ENTRIES	512
/* Address bits beyond the physical-address width that CPUID leaf 0x80000008 tells. */
#define RESERVED_ADDRESS 0x000f000000000000ULL

static uint64_t *entry_at(uint64_t table, uint64_t gpa, unsigned int level)
{
	return (uint64_t *)table + ((gpa >> LEVEL_SHIFT(level)) & 511);
}

/* Address bits that only larger pages leave below the frame. */
static uint64_t leaf_low_bits(unsigned int level)
{
	return ((1ULL << LEVEL_SHIFT(level)) - 1) & FRAME_MASK;
}

static bool ept_memtype_reserved(uint64_t entry)
{
	unsigned int type = (entry >> EPT_MEMTYPE_SHIFT) & 7;

	return type == 2 || type == 3 || type == 7;
}

static bool ept_misconfigured(uint64_t entry, unsigned int level, bool leaf)
{
	uint64_t rwx = entry & (EPT_READ | EPT_WRITE | EPT_EXEC);

	/* Writable or write-execute without read. Execute-only is a capability that we have. */
	if ((rwx & (EPT_READ | EPT_WRITE)) == EPT_WRITE)
		return true;
	if (entry & RESERVED_ADDRESS)
		return true;
	if (leaf)
		return ept_memtype_reserved(entry) || (entry & leaf_low_bits(level));
	/* Bits 6:3 of a table reference, and bit 7 where no large page exists. */
	return (entry & 0x78) || (level > 3 && (entry & EPT_LARGE));
}

static uint8_t ept_rights(uint64_t entry, bool mbec)
{
	uint8_t rights = entry & (TDP_R | TDP_W | TDP_X);

	if (mbec ? (entry & EPT_USER_EXEC) != 0 : (entry & EPT_EXEC) != 0)
		rights |= TDP_XU;
	return rights;
}

/*
 * Write the dirty page's address to the log. The index is checked before the
 * dirty flag changes: a full log exits with the access not done.
 */
static bool pml_full(const struct tdp_pml *pml)
{
	return pml && (*pml->index & 0xffff) >= PML_ENTRIES;
}

static void pml_append(const struct tdp_pml *pml, uint64_t gpa)
{
	uint64_t index = *pml->index & 0xffff;

	pml->log[index] = gpa & ~0xfffULL;
	*pml->index = (index - 1) & 0xffff;
}

enum tdp_status ept_walk(struct tdp_walk *w)
{
	uint64_t table, entry, *slot, set;
	uint8_t rights;
	unsigned int level;
	bool leaf;

again:
	table = w->root;
	rights = TDP_R | TDP_W | TDP_X | TDP_XU;
	w->present = false;
	w->reserved = false;
	for (level = w->levels;; level--) {
		slot = entry_at(table, w->gpa, level);
		entry = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
		w->level = (uint8_t)level;
		/* Under mode-based execute control bit 10 alone makes an entry present too. */
		if (!(entry & (EPT_READ | EPT_WRITE | EPT_EXEC)) &&
		    !(w->mbec && (entry & EPT_USER_EXEC))) {
			w->rights = 0;
			return TDP_VIOLATION;
		}
		leaf = level == 1 || (level <= 3 && (entry & EPT_LARGE));
		if (ept_misconfigured(entry, level, leaf))
			return TDP_MISCONFIG;
		rights &= ept_rights(entry, w->mbec);
		if (leaf)
			break;
		if (w->ad && !(entry & EPT_ACCESSED) &&
		    !__atomic_compare_exchange_n(slot, &entry, entry | EPT_ACCESSED, false,
						 __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			goto again;
		table = entry & FRAME_MASK;
	}
	w->rights = rights;
	if ((rights & w->need) != w->need) {
		w->present = true;
		return TDP_VIOLATION;
	}
	if (w->ad) {
		set = EPT_ACCESSED | (w->need & TDP_W ? EPT_DIRTY : 0);
		if ((set & ~entry & EPT_DIRTY) && pml_full(w->pml))
			return TDP_PML_FULL;
		if ((entry & set) != set) {
			uint64_t old = entry;

			if (!__atomic_compare_exchange_n(slot, &old, entry | set, false,
							 __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
				goto again;
			if ((set & ~entry & EPT_DIRTY) && w->pml)
				pml_append(w->pml, w->gpa);
			entry |= set;
		}
	}
	w->dirty = !w->ad || (entry & EPT_DIRTY);
	w->page_size = 1ULL << LEVEL_SHIFT(level);
	w->host = ((entry & FRAME_MASK & ~(w->page_size - 1)) | (w->gpa & (w->page_size - 1))) &
		  ~0xfffULL;
	return TDP_OK;
}

/* Reserved: address bits that do not exist; NX without EFER.NXE; low bits of large frames. */
static bool npt_reserved(uint64_t entry, unsigned int level, bool leaf, bool nx)
{
	if (entry & RESERVED_ADDRESS)
		return true;
	if (!nx && (entry & X86_PTE_NX))
		return true;
	if (!leaf)
		return level > 3 && (entry & X86_PTE_PS);
	/* Bit 12 of a large page is its PAT bit. */
	return level > 1 && (entry & leaf_low_bits(level) & ~0x1000ULL);
}

enum tdp_status npt_walk(struct tdp_walk *w)
{
	uint64_t table, entry, *slot, set;
	uint8_t rights;
	unsigned int level;
	bool leaf;

again:
	table = w->root;
	rights = TDP_R | TDP_W | TDP_X | TDP_XU;
	w->present = false;
	w->reserved = false;
	for (level = w->levels;; level--) {
		slot = entry_at(table, w->gpa, level);
		entry = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
		w->level = (uint8_t)level;
		if (!(entry & X86_PTE_P)) {
			w->rights = 0;
			return TDP_VIOLATION;
		}
		leaf = level == 1 || (level <= 3 && (entry & X86_PTE_PS));
		if (npt_reserved(entry, level, leaf, w->nx)) {
			w->present = true;
			w->reserved = true;
			w->rights = 0;
			return TDP_VIOLATION;
		}
		if (!(entry & X86_PTE_W))
			rights &= ~TDP_W;
		if (entry & X86_PTE_NX)
			rights &= ~(TDP_X | TDP_XU);
		/* Every nested access is a user access. */
		if (!(entry & X86_PTE_U))
			rights = 0;
		if (leaf)
			break;
		if (!(entry & X86_PTE_A) &&
		    !__atomic_compare_exchange_n(slot, &entry, entry | X86_PTE_A, false,
						 __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			goto again;
		table = entry & FRAME_MASK;
	}
	w->rights = rights;
	if ((rights & w->need) != w->need) {
		w->present = true;
		return TDP_VIOLATION;
	}
	set = X86_PTE_A | (w->need & TDP_W ? X86_PTE_D : 0);
	if ((entry & set) != set) {
		uint64_t old = entry;

		if (!__atomic_compare_exchange_n(slot, &old, entry | set, false, __ATOMIC_ACQ_REL,
						 __ATOMIC_ACQUIRE))
			goto again;
		entry |= set;
	}
	w->dirty = entry & X86_PTE_D;
	w->page_size = 1ULL << LEVEL_SHIFT(level);
	w->host = ((entry & FRAME_MASK & ~(w->page_size - 1)) | (w->gpa & (w->page_size - 1))) &
		  ~0xfffULL;
	return TDP_OK;
}
