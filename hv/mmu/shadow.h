/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The shadow MMU: tables that map a guest's linear addresses to host memory, made
 * from the guest's own tables, for processors that walk one level of tables only.
 *
 * Rules:
 *  - All changes hold mmu_lock exclusively. Lookups without it (MMIO entries) rely on
 *    RCU: pages are freed through the zap worker, after a flush and a grace period.
 *  - A shadow page stands for one guest table (gfn) in one role; the hash finds it. Two
 *    vCPUs, or two roots, share it.
 *  - The guest's table is write-protected as long as it has a shadow, so that we learn
 *    of changes: *tracked*. A table of the lowest level may instead be let go out of
 *    sync: *unsync*. It is then writable, and is synchronised when the guest does what
 *    a real TLB would need to notice (CR3 write, INVLPG). Every ancestor knows that
 *    something below is unsync: unsync_bitmap, unsync_children, both under
 *    mmu_unsync_pages_lock.
 *  - Every present leaf is in the reverse map (rmap) of its gfn, every table in the
 *    parent list of what it points to. Rmaps exist only once there is a shadow root
 *    (slots_arch_lock), as they cost memory for every guest page.
 *  - Entries are indirect, so fast page faults never touch them.
 */
#ifndef HV_MMU_SHADOW_H
#define HV_MMU_SHADOW_H

#include "hv/mmu/fault.h"
#include "hv/mmu/mmu_internal.h"
#include "hv/mmu/slot_arch.h"
#include "hv/x86/walk.h"

#define SHADOW_HASH_BITS 12
#define SHADOW_RMAP_DESC 14

struct mmu_rmap_desc {
	uint64_t *sptes[SHADOW_RMAP_DESC];
	struct mmu_rmap_desc *more; /* full ones; only the first may have room */
	uint32_t count;
};

struct mmu_shadow {
	struct cds_list_head hash[1U << SHADOW_HASH_BITS]; /* [M] by gfn */
	struct cds_list_head active;	    /* [M] pages in the hash, newest first */
	uint64_t nr_pages;		    /* [M] on `active` */
	uint64_t guest_pages;		    /* [S] in all slots */
	_Atomic uint64_t max_pages;	    /* [S] to write: beyond it the oldest go */
	uint32_t valid_gen;		    /* [M]; atomic: read without */
	struct mmu_rmap_desc *free_descs;   /* [M] */
	_Atomic bool rmaps;		    /* [A] to set: slots have rmaps */
	uint64_t *empty_root;		    /* [I] a table that maps nothing */
};

struct mmu_shadow_vcpu {
	struct hv_guest_paging gp;
	union mmu_role role;		    /* of a root in the guest's present mode */
	bool changed;			    /* gp is newer than the roots */
	bool loaded;			    /* roots are there */
	uint32_t valid_gen;		    /* shadow->valid_gen when they were */
	struct mmu_page *root;		    /* long mode; NULL: CR3 points to no memory */
	struct mmu_page *pae[4];	    /* else; NULL: entry not present */
	uint64_t *pae_table;		    /* what CR3 points to; below 4 GiB */
	struct mmu_rmap_desc *descs;	    /* stock */
	unsigned int nr_descs;
	/* A write to a tracked page that is tried again and again goes to the emulator. */
	hv_gfn_t retry_gfn;
	unsigned int retries;
};

/* ---- shadow_rmap.c: reverse maps, and the one function that changes a leaf ---------- */
int shadow_descs_fill(struct hv_vcpu *vcpu);
void shadow_descs_drain(struct mmu_rmap_desc **chain);
void rmap_add(struct mmu_ctx *ctx, struct mmu_rmap_head *head, uint64_t *sptep);
void rmap_remove(struct mmu_ctx *ctx, struct mmu_rmap_head *head, uint64_t *sptep);
/* Any one of it, or NULL. */
uint64_t *rmap_first(const struct mmu_rmap_head *head);
/* Calls fn for each; fn must not change the list. */
void rmap_each(struct mmu_ctx *ctx, const struct mmu_rmap_head *head,
	       void (*fn)(struct mmu_ctx *ctx, uint64_t *sptep, void *arg), void *arg);
/* The head for gfn at level; the slot must have rmaps. */
struct mmu_rmap_head *rmap_head(const struct hv_memslot *slot, hv_gfn_t gfn, int level);

hv_gfn_t shadow_spte_gfn(const struct mmu_page *sp, unsigned int index);
/* A present leaf or nothing becomes another leaf, an MMIO entry or nothing. */
void shadow_set_leaf(struct mmu_ctx *ctx, struct mmu_page *sp, unsigned int index, uint64_t spte,
		     hv_gfn_t gfn, unsigned int access);
/* Drop all translations of gfn; true if there were any. */
bool shadow_unmap_gfn(struct mmu_ctx *ctx, const struct hv_memslot *slot, hv_gfn_t gfn, int level);
/* No translation of gfn is writable; untracked true: W may come back (dirty log). */
bool shadow_write_protect(struct mmu_ctx *ctx, const struct hv_memslot *slot, hv_gfn_t gfn,
			  bool for_log);
bool shadow_age_gfn(struct mmu_ctx *ctx, const struct hv_memslot *slot, hv_gfn_t gfn, int level,
		    bool clear);

/* ---- shadow_page.c: shadow pages ---------------------------------------------------------- */
struct mmu_page *shadow_get_page(struct mmu_ctx *ctx, hv_gfn_t gfn, union mmu_role role);
/* Point entry `index` of sp to child. */
void shadow_link(struct mmu_ctx *ctx, struct mmu_page *sp, unsigned int index,
		 struct mmu_page *child);
/* Empty an entry of any kind. */
void shadow_drop_spte(struct mmu_ctx *ctx, struct mmu_page *sp, unsigned int index);
/* Take a page out of use; freed with ctx, or when the last root of it goes. */
void shadow_zap_page(struct mmu_ctx *ctx, struct mmu_page *sp);
void shadow_put_root(struct mmu_ctx *ctx, struct mmu_page *sp);
bool shadow_obsolete(const struct mmu_shadow *shadow, const struct mmu_page *sp);
/* Zap the shadows of a guest table. Number of them. */
unsigned int shadow_unprotect(struct mmu_ctx *ctx, hv_gfn_t gfn);
/* Entries of shadows of gfn that the bytes [offset, offset + len) stand for are dropped. */
void shadow_written(struct mmu_ctx *ctx, hv_gfn_t gfn, unsigned int offset, unsigned int len);
/* Room for some new pages: the oldest are zapped. */
void shadow_make_room(struct mmu_ctx *ctx);
/* Everything goes: publish, then zap with yields. slots_lock held. */
void shadow_zap_all(struct hv_vm *vm, struct hv_mmu_invalidate_times *times);
struct hv_memslot *shadow_slot(struct mmu_ctx *ctx, const struct mmu_page *sp, hv_gfn_t gfn);

#define shadow_for_each_gfn(sp, tmp, shadow_, gfn_)                                                \
	cds_list_for_each_entry_safe (sp, tmp, shadow_bucket((shadow_), (gfn_)), hash)             \
		if ((sp)->gfn == (gfn_) && (sp)->indirect)

static inline struct cds_list_head *shadow_bucket(struct mmu_shadow *shadow, hv_gfn_t gfn)
{
	return &shadow->hash[(gfn * UINT64_C(0x9e3779b97f4a7c15)) >> (64 - SHADOW_HASH_BITS)];
}

/* ---- shadow_sync.c: out of sync and back ------------------------------------------------------ */
/* Let the shadows of gfn go out of sync; false: gfn has to stay write-protected. */
bool shadow_try_unsync(struct mmu_ctx *ctx, const struct hv_memslot *slot, hv_gfn_t gfn);
/* gfn is a guest table with a shadow in sync: nothing may map it writable. */
bool shadow_is_protected(struct mmu_ctx *ctx, const struct hv_memslot *slot, hv_gfn_t gfn);
void shadow_mark_parents_unsync(struct mmu_ctx *ctx, struct mmu_page *sp);
/* Compare with the guest's table; false: it has to be zapped. The table is protected. */
bool shadow_sync_page(struct mmu_ctx *ctx, struct mmu_page *sp);
/* All unsync pages below sp. */
void shadow_sync_children(struct mmu_ctx *ctx, struct mmu_page *sp);

/* ---- shadow_walk.c: the guest's tables ------------------------------------------------------------ */
struct shadow_walk {
	struct x86_walk_result r;
	unsigned int access; /* ACC_* of the guest's mapping, without W while its D bit is clear */
	bool retry;	     /* a table lies in a slot that is being deleted or moved */
};
/* X86_OK, X86_FAULT (r.error_code), or X86_EXIT with retry. RCU held. */
int shadow_walk_guest(struct hv_vcpu *vcpu, uint64_t linear, const struct mmu_fault *fault, bool ac,
		      struct shadow_walk *walk);
/* Read an entry of a guest table now; -EFAULT. */
int shadow_read_gpte(struct mmu_ctx *ctx, hv_gpa_t gpa, unsigned int size, uint64_t *value);
const struct x86_walk_level *shadow_walk_level(const struct shadow_walk *walk, int level);
/* The entry of that level differs from what the walk saw. */
bool shadow_gpte_changed(struct mmu_ctx *ctx, const struct shadow_walk *walk, int level);
void shadow_walk_params(struct hv_vcpu *vcpu, struct x86_walk_params *params);

/* ---- shadow_fault.c ---------------------------------------------------------------------------------- */
int shadow_page_fault(struct hv_vcpu *vcpu, struct mmu_fault *fault, struct hv_pf_request *req);
bool shadow_mmio_lookup(struct hv_vcpu *vcpu, struct mmu_fault *fault);
/* The entry for a linear address, as deep as it goes, by RCU alone. */
uint64_t *shadow_lookup(struct hv_vcpu *vcpu, uint64_t linear, int *level, uint64_t *spte);

/* ---- shadow_mmu.c: life, roots, operations of hv/vm ---------------------------------------------------- */
int shadow_vm_init(struct hv_mmu_vm *mmu);
void shadow_vm_destroy(struct hv_mmu_vm *mmu);
int shadow_vcpu_init(struct hv_vcpu *vcpu);
void shadow_vcpu_destroy(struct hv_vcpu *vcpu);
int shadow_reload(struct hv_vcpu *vcpu);
void shadow_unload(struct hv_vcpu *vcpu);
bool shadow_roots_current(struct hv_vcpu *vcpu);
int shadow_slot_prepare(struct hv_vm *vm, struct hv_memslot *new);
void shadow_slot_commit(struct hv_vm *vm, const struct hv_memslot *old,
			const struct hv_memslot *new);
bool shadow_unmap_range(struct hv_vm *vm, const struct hv_gfn_range *range);
bool shadow_age_range(struct hv_vm *vm, const struct hv_gfn_range *range, bool clear);
void shadow_rearm(struct hv_vm *vm, const struct hv_memslot *slot, hv_gfn_t base, uint64_t mask);
void shadow_guest_paging_changed(struct hv_vcpu *vcpu, const struct hv_guest_paging *gp);
void shadow_invlpg(struct hv_vcpu *vcpu, uint64_t gva);
void shadow_sync_roots(struct hv_vcpu *vcpu);
void shadow_guest_written(struct hv_vcpu *vcpu, hv_gpa_t gpa, uint32_t len);
unsigned int shadow_list_roots(struct hv_vm *vm, struct hv_mmu_root_info *out, unsigned int max);

#endif
