/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of hv/mmu share: table pages and their roles, the MMU's part of
 * a VM and of a vCPU, the context of an update.
 *
 * Lock legend of all structs here:
 *  [I] immutable after creation       [M] mmu_lock, exclusive to change
 *  [P] tdp_mmu_pages_lock (inside mmu_lock of either kind)
 *  [U] mmu_unsync_pages_lock (inside mmu_lock of either kind)
 *  [Z] zap->lock       [v] the vCPU's own thread      [a] atomic
 *  [S] slots_lock      [A] slots_arch_lock
 */
#ifndef HV_MMU_MMU_INTERNAL_H
#define HV_MMU_MMU_INTERNAL_H

#include "hv/base/clock.h"
#include "hv/base/fault_inject.h"
#include "hv/base/list.h"
#include "hv/base/lock.h"
#include "hv/base/rcu.h"
#include "hv/base/refcount.h"
#include "hv/base/workqueue.h"
#include "hv/mmu/mmu.h"
#include "hv/mmu/spte.h"

#define MMU_ENTRIES    512
#define MMU_MAX_LEVELS 5

struct mmu_shadow; /* shadow.h */

/*
 * What a table page is good for. Two pages of one gfn differ in their roles; a
 * vCPU's present state is a role as well, and its root must match it.
 */
union mmu_role {
	uint64_t word;
	struct {
		uint64_t level : 4;
		uint64_t direct : 1;	     /* gfn follows from the position, not from guest tables */
		uint64_t invalid : 1;	     /* a root that no vCPU may load any more */
		uint64_t as_id : 1;
		uint64_t ad_disabled : 1;
		/* shadow paging */
		uint64_t access : 3;	     /* ACC_*: rights above this table, from the guest's entries */
		uint64_t gpte4 : 1;	     /* the guest's entries are 4 bytes */
		uint64_t quadrant : 2;	     /* which part of a 4-byte table this page shadows */
		uint64_t guest_level : 3;    /* roots: levels of the guest's paging, 0 with CR0.PG = 0 */
		uint64_t cr0_wp : 1;
		uint64_t efer_nx : 1;
		uint64_t smep_andnot_wp : 1;
		uint64_t smap_andnot_wp : 1;
		uint64_t cr4_pse : 1;
		uint64_t long_mode : 1;
	};
};

enum mmu_zap_state {
	MMU_ZAP_NONE,	/* never queued */
	MMU_ZAP_QUEUED, /* on the zap queue, which holds a reference; never goes back to NONE */
	MMU_ZAP_DONE,	/* empty; unlinked when the last reference goes */
};

struct mmu_rmap_head {
	uintptr_t val; /* 0; one SPTE pointer; or a struct mmu_rmap_desc with bit 0 set */
};

/* One table page: metadata apart from the page itself, found by mmu_page_of(). */
struct mmu_page {
	struct cds_list_head link;    /* roots: [P] add and del, RCU walks; shadow pages: [M] */
	uint64_t *spt;		      /* [I] the table, 512 entries */
	union mmu_role role;	      /* [M]; atomic accesses: `invalid` is read without */
	hv_gfn_t gfn;		      /* [M] first frame that the table maps (indirect: guest's table) */
	struct mmu_page *next;	      /* free list, gather list, reclaim list: by the list's owner */
	struct hv_refcount refs;      /* [a] roots only: vCPUs, the zap queue, walkers */
	uint8_t zap_state;	      /* [a] roots: enum mmu_zap_state */
	bool nx_disallowed;	      /* [a] split because code ran in a huge page */
	bool indirect;		      /* [I while in use] entries follow the guest's tables */
	bool aux;		      /* [I while in use] not a table but the `shadowed` of one */
	/* ---- shadow paging ---- */
	bool unsync;		      /* [U] the guest's table may have changed since */
	uint8_t write_flood;	      /* [M] writes to the guest's table since the shadow was used */
	uint32_t unsync_children;     /* [U] entries of the bitmap that are set */
	uint32_t root_count;	      /* [M] vCPUs that hold it as (part of) a root */
	uint32_t valid_gen;	      /* [M] shadow->valid_gen at creation */
	struct mmu_rmap_head parents; /* [M] SPTEs that point to this table */
	struct cds_list_head hash;    /* [M] shadow->hash bucket */
	uint64_t *shadowed;	      /* [M] per entry: gfn << 3 | ACC_*; indirect pages only. It is
				       * the page of another struct mmu_page, with `aux` set */
	uint64_t unsync_bitmap[MMU_ENTRIES / 64]; /* [U] children that are or have unsync */
};

struct mmu_pool {
	struct hv_spinlock lock;      /* LEAF */
	struct mmu_page *free;	      /* zeroed pages; under lock */
	uint64_t nr_free;	      /* under lock */
	_Atomic uint64_t nr_used;     /* [a] */
	struct cds_list_head chunks;  /* under lock */
	uint64_t nr_chunks;	      /* under lock */
};

/* A private stock of pages, so that nothing allocates under mmu_lock. */
struct mmu_page_cache {
	struct mmu_page *head;
	unsigned int count;
};

/* Relaxed counters; a vCPU's own block has one writer and needs no locked instruction. */
struct mmu_counters {
	bool single_writer; /* [I] */
	_Atomic int64_t tables, leaves[4]; /* leaves[level] */
	_Atomic int64_t faults, fast_faults, spurious, retries, mmio_faults, mmio_stale, zaps,
		zap_pages, remote_flushes, splits, collapses, nx_splits, write_tracked, unsync;
};

static inline void mmu_count_add(struct mmu_counters *c, _Atomic int64_t *field, int64_t n)
{
	if (c->single_writer)
		atomic_store_explicit(field, atomic_load_explicit(field, memory_order_relaxed) + n,
				      memory_order_relaxed);
	else
		atomic_fetch_add_explicit(field, n, memory_order_relaxed);
}
#define mmu_count(c, field, n) mmu_count_add((c), &(c)->field, (n))

/* A statistic of a vCPU that only its own thread writes: no locked instruction. */
static inline void mmu_vcpu_stat(_Atomic uint64_t *field)
{
	atomic_store_explicit(field, atomic_load_explicit(field, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

/* The zap worker's side: root_zap.c. */
struct mmu_zap {
	struct hv_workqueue *wq;      /* [I] one thread */
	struct hv_work work;
	struct hv_spinlock lock;      /* LEAF */
	struct hv_cond wake;	      /* the worker's pauses end early */
	struct mmu_page *roots;	      /* [Z] invalid roots to zap, newest first */
	struct mmu_page *reclaim;     /* [Z] detached subtrees: flushed, not yet past a grace period */
	unsigned int urgent;	      /* [Z] somebody waits: no pauses */
	uint64_t roots_zapped;	      /* [Z] */
	uint64_t flush_ns;	      /* [Z] spent in TLB flushes, ever */
	_Atomic uint64_t busy_ns;     /* [a] worker's working time, ever */
};

struct hv_mmu_vm {
	struct hv_vm *vm;		/* [I] */
	const struct spte_format *fmt;	/* [I] */
	bool ad_enabled;		/* [I] once vCPUs run */
	bool direct;			/* [I] TDP: second-level tables */
	int root_level;			/* [I] once vCPUs run */
	int max_huge_level;		/* [I] */
	enum hv_mmu_dirty_mode dirty_mode; /* [I] once vCPUs run */
	_Atomic bool nx_huge_pages;	/* [a] */
	_Atomic uint32_t logged_slots[HV_ADDRESS_SPACE_NUM]; /* [a] slots under dirty log */

	uint64_t mmio_generation;	/* [S] last one that was announced */

	struct cds_list_head roots;	/* [P], RCU */
	struct hv_spinlock tdp_mmu_pages_lock;
	struct hv_spinlock mmu_unsync_pages_lock;

	struct mmu_pool pool;
	struct mmu_zap zap;
	struct mmu_counters counters;	/* of threads without a vCPU */
	struct mmu_shadow *shadow;	/* [I] NULL under TDP */
};

struct mmu_shadow_vcpu; /* shadow.h */

struct hv_mmu_vcpu {
	/* [v]; the two roots are also read by mmu_list_roots under mmu_lock */
	struct mmu_page *root;		/* what the vendor has loaded; holds a reference */
	unsigned int as_id;
	struct mmu_page *spare_root[HV_ADDRESS_SPACE_NUM]; /* of the other address space */
	bool reload;			/* the vendor does not know `root` yet */
	struct mmu_page_cache cache;
	struct mmu_counters counters;
	struct mmu_shadow_vcpu *shadow;	/* NULL under TDP */
};

/* One update of tables, from taking mmu_lock to letting go of it. */
struct mmu_ctx {
	struct hv_vm *vm;
	struct hv_mmu_vm *mmu;
	const struct spte_format *fmt;
	struct hv_vcpu *vcpu;		/* NULL: not a vCPU's thread */
	struct mmu_counters *cnt;
	bool shared;			/* mmu_lock is held shared: every change is a cmpxchg */
	bool flush;			/* TLBs have to be flushed before mmu_lock is dropped */
	struct mmu_page *gather;	/* tables cut off, to be freed after the flush */
};

static inline struct mmu_ctx mmu_ctx_init(struct hv_vm *vm, struct hv_vcpu *vcpu, bool shared)
{
	return (struct mmu_ctx){
		.vm = vm,
		.mmu = vm->mmu,
		.fmt = vm->mmu->fmt,
		.vcpu = vcpu,
		.cnt = vcpu ? &vcpu->mmu->counters : &vm->mmu->counters,
		.shared = shared,
	};
}

static inline union mmu_role mmu_page_role(const struct mmu_page *sp)
{
	return (union mmu_role){ .word = __atomic_load_n(&sp->role.word, __ATOMIC_ACQUIRE) };
}

static inline unsigned int mmu_index(hv_gfn_t gfn, int level)
{
	return (gfn >> ((level - 1) * 9)) & (MMU_ENTRIES - 1);
}

static inline hv_gfn_t mmu_gfn_round(hv_gfn_t gfn, int level)
{
	return gfn & ~(HV_PAGES_PER_LEVEL(level) - 1);
}

static inline bool mmu_slot_logged(const struct hv_memslot *slot)
{
	return slot && memslot_dirty_logged(slot);
}

/* Dirty state of logged slots lives in D bits. */
static inline bool mmu_dirty_by_dbit(const struct hv_mmu_vm *mmu)
{
	return mmu->dirty_mode != HV_MMU_DIRTY_WP;
}

/* ---- mmu_page.c: where table pages live ------------------------------------------- */
void mmu_pool_init(struct mmu_pool *pool);
/* Every page must have come back. */
void mmu_pool_destroy(struct mmu_pool *pool);
/* Make sure the cache has at least `want` pages, and possibly more. -ENOMEM. Sleeps. */
int mmu_cache_fill(struct mmu_pool *pool, struct mmu_page_cache *cache, unsigned int want);
void mmu_cache_drain(struct mmu_pool *pool, struct mmu_page_cache *cache);
/* Take a zeroed page with clean metadata; the cache is not empty. */
struct mmu_page *mmu_cache_take(struct mmu_page_cache *cache);
/* Give a page back that was never linked. */
void mmu_cache_return(struct mmu_page_cache *cache, struct mmu_page *sp);
/* A chain of pages (by `next`) whose tables are zero again. */
void mmu_pool_free(struct mmu_pool *pool, struct mmu_page *chain);
/* The metadata of the table that a table entry points to. */
struct mmu_page *mmu_page_of_pfn(hv_pfn_t pfn);

static inline struct mmu_page *mmu_page_of_spte(uint64_t spte)
{
	return mmu_page_of_pfn(spte_pfn(spte));
}

static inline struct mmu_page *mmu_page_of_sptep(const uint64_t *sptep)
{
	return mmu_page_of_pfn((uintptr_t)sptep >> HV_PAGE_SHIFT);
}

/* ---- roots.c ------------------------------------------------------------------------ */
/* The vCPU's valid TDP root of `role`, made if there is none; takes mmu_lock. -ENOMEM. */
int mmu_root_get(struct hv_vcpu *vcpu, union mmu_role role, struct mmu_page **out);
/* Drop a reference; mmu_lock held (shared or exclusive). The last one queues or frees. */
void mmu_root_put(struct mmu_ctx *ctx, struct mmu_page *root);
/*
 * Next root after prev (NULL: the first) with a reference taken, prev's dropped.
 * mmu_lock held. Skips roots that die and those of other address spaces (as_id < 0: all).
 */
struct mmu_page *mmu_root_next(struct mmu_ctx *ctx, struct mmu_page *prev, int as_id);
/* Under exclusive mmu_lock the list is steady, so that no references are needed. */
#define mmu_for_each_root(root, mmu) cds_list_for_each_entry (root, &(mmu)->roots, link)

/* ---- root_zap.c ------------------------------------------------------------------------ */
int mmu_zap_init(struct hv_mmu_vm *mmu);
void mmu_zap_destroy(struct hv_mmu_vm *mmu);
/*
 * Queue an invalid root; the caller's reference passes to the queue. mmu_lock held. The
 * worker does not know of it until mmu_zap_kick(), which any lock permits.
 */
void mmu_zap_queue_root(struct hv_mmu_vm *mmu, struct mmu_page *root);
void mmu_zap_kick(struct hv_mmu_vm *mmu);
/* Tables that no processor can reach any more: freed after a grace period. Any lock. */
void mmu_zap_queue_reclaim(struct hv_mmu_vm *mmu, struct mmu_page *chain);
/* Wait for all that was queued before. slots_lock may be held, mmu_lock and RCU not. */
void mmu_zap_flush(struct hv_mmu_vm *mmu);
/* Invalidate all roots, and wait until they are zapped. slots_lock held. times may be NULL. */
void mmu_zap_all_fast(struct hv_vm *vm, struct hv_mmu_invalidate_times *times);
/* Flush TLBs if the update asks for it, then let go of its tables. mmu_lock still held. */
void mmu_ctx_finish(struct mmu_ctx *ctx);

#endif
