/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The MMU room's public side: page faults in, roots out.
 *
 * Lock rules: faults hold mmu_lock shared (TDP) or exclusive (shadow); zaps by
 * range and root invalidation hold it exclusive; fast page faults hold nothing
 * but the lockless-walk bracket of hv/vm/request.c.
 */
#ifndef HV_MMU_MMU_H
#define HV_MMU_MMU_H

#include "hv/vm/vm.h"

extern const struct hv_mmu_ops hv_mmu;

/* Cause of a fault, in the processor's terms (both vendors translate to these bits). */
#define HV_PF_PRESENT	(1U << 0)
#define HV_PF_WRITE	(1U << 1)
#define HV_PF_USER	(1U << 2)
#define HV_PF_RSVD	(1U << 3)
#define HV_PF_FETCH	(1U << 4)
#define HV_PF_GUEST_FINAL (1ULL << 32) /* the access itself */
#define HV_PF_GUEST_PAGE  (1ULL << 33) /* an access to the guest's page tables */

enum hv_pf_result {
	HV_PF_FIXED,	  /* enter again */
	HV_PF_RETRY,	  /* raced with an invalidation: enter again */
	HV_PF_SPURIOUS,	  /* somebody else had fixed it */
	HV_PF_EMULATE,	  /* no memory there (MMIO), or a write to a write-tracked page: emulate */
	HV_PF_GUEST_FAULT,/* shadow paging: the guest's own page fault, fault_* are filled in */
	HV_PF_USER_EXIT,  /* memory fault that the engine's user has to see (EFAULT) */
};				/* < 0: -errno */

struct hv_pf_request {
	/* in */
	uint64_t addr;	     /* TDP: gpa; shadow: linear address */
	uint64_t error_code; /* HV_PF_* */
	bool smap_ac;	     /* shadow: EFLAGS.AC is set, so SMAP does not apply */
	/* out */
	hv_gpa_t gpa;
	bool mmio;	     /* with HV_PF_EMULATE: no memslot there */
	uint64_t fault_cr2;
	uint32_t fault_error_code;
};

/*
 * Handle a TDP violation or a guest #PF under shadow paging. vCPU thread, RCU read side
 * held. An MMIO entry that the processor reports as not present (NPT, shadow) is found
 * here too. HV_PF_RETRY while the slot is being deleted or moved: leave the read side
 * before the next attempt, or the update never ends.
 */
int mmu_page_fault(struct hv_vcpu *vcpu, struct hv_pf_request *req);
/*
 * An MMIO-marked entry was hit (EPT misconfiguration, or reserved bits in NPT/shadow).
 * 1: emulate at *gpa; 0: stale generation, the entry is gone, enter again; < 0: -errno.
 */
int mmu_handle_mmio_hit(struct hv_vcpu *vcpu, uint64_t addr, hv_gpa_t *gpa, bool *write_ok);

/* Make sure the vCPU has a valid root and hand it to the vendor. Before each entry that needs it. */
int mmu_reload(struct hv_vcpu *vcpu);
void mmu_unload(struct hv_vcpu *vcpu);

/*
 * Shadow paging: the guest changed what its page walk depends on. The processor runs
 * with CR0.PG, CR0.WP, CR4.PAE and EFER.NXE set whatever the guest has, EFER.LMA as the
 * guest's, and CR3 as load_mmu_root says (level 3: a PAE table of four entries). While
 * the guest's CR0.PG is 0 hide its CR4.SMEP, SMAP, PKE and LA57 from the processor.
 */
struct hv_guest_paging { /* filled by hv/vcpu from the register file */
	uint64_t cr0, cr3, cr4, efer, pkru;
	uint64_t pdptrs[4];
	uint8_t maxphyaddr;
	uint8_t cpl;
};
void mmu_guest_paging_changed(struct hv_vcpu *vcpu, const struct hv_guest_paging *gp);
void mmu_invlpg(struct hv_vcpu *vcpu, uint64_t gva);
void mmu_sync_roots(struct hv_vcpu *vcpu);

/* "Fast zap": invalidate every root, wake the zap worker. Takes slots_lock. Nanoseconds out. */
struct hv_mmu_invalidate_times {
	uint64_t publish_ns;
	uint64_t zap_ns;
	uint64_t flush_ns;
	unsigned int roots;
};
int mmu_invalidate_all(struct hv_vm *vm, struct hv_mmu_invalidate_times *times);

struct hv_mmu_root_info {
	hv_pfn_t pfn;
	uint64_t role;
	int level;
	int refcount;
	bool invalid, queued, indirect;
	unsigned int as_id;
};
/* Fills up to max entries; returns how many roots there are. */
unsigned int mmu_list_roots(struct hv_vm *vm, struct hv_mmu_root_info *out, unsigned int max);

struct hv_mmu_stats {
	uint64_t pages_tables, pages_4k, pages_2m, pages_1g; /* present now */
	uint64_t faults, fast_faults, spurious, retries, mmio_faults, mmio_stale, zaps, zap_pages,
		remote_flushes, splits, collapses, nx_splits, write_tracked, unsync;
};
void mmu_get_stats(struct hv_vm *vm, struct hv_mmu_stats *out);

enum hv_mmu_toggle { HV_MMU_OFF = 0, HV_MMU_ON = 1 };
int mmu_set_nx_huge_pages(struct hv_vm *vm, enum hv_mmu_toggle on);
int mmu_set_ad_bits(struct hv_vm *vm, enum hv_mmu_toggle on); /* before the first vCPU runs */
/*
 * Pre-fault [gpa, gpa + size) for a vCPU; returns bytes done or -errno. -ENOENT: no slot
 * there; -EFAULT: no host memory; -EOPNOTSUPP: under shadow paging gpas are not mapped.
 */
int64_t mmu_prefault(struct hv_vcpu *vcpu, hv_gpa_t gpa, uint64_t size);

/*
 * The engine itself wrote guest memory as the instruction of this vCPU would have
 * (an emulated store): shadow pages of that memory follow. vCPU thread, RCU read side
 * held, after the bytes are in memory. A no-op under TDP.
 */
void mmu_guest_written(struct hv_vcpu *vcpu, hv_gpa_t gpa, uint32_t len);

/* The address space whose slots the vCPU sees: 0, or 1 in SMM. The next entry reloads. */
void mmu_set_address_space(struct hv_vcpu *vcpu, unsigned int as_id);

/* How writes to logged slots are noticed. */
enum hv_mmu_dirty_mode {
	HV_MMU_DIRTY_WP,   /* write protection; always possible */
	HV_MMU_DIRTY_DBIT, /* D bits, collected by dirty_log_sync and by every zap */
	HV_MMU_DIRTY_PML,  /* D bits, logged by the processor into the PML buffer */
};
/* Before the first vCPU runs. -EINVAL: needs A/D bits or PML. The default: PML where there is, else WP. */
int mmu_set_dirty_mode(struct hv_vm *vm, enum hv_mmu_dirty_mode mode);
/* 4 or 5, before the first vCPU runs; -EINVAL: not that processor's. */
int mmu_set_tdp_level(struct hv_vm *vm, int level);

/* For vendors, constant once the first vCPU runs: EPTP bit 6, the PML control, EPTP bits 5:3. */
bool mmu_ad_bits(struct hv_vm *vm);
/*
 * With PML the vendor drains the buffer in run(), before vcpu_exit_guest_mode: who has
 * seen the vCPU outside guest mode may rely on the log.
 */
bool mmu_uses_pml(struct hv_vm *vm);
int mmu_tdp_level(struct hv_vm *vm);

#endif
