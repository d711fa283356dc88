/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guest's tables: reading and marking entries for hv/x86's walker, and the
 * check that an entry is still what the walk saw.
 */
#include "hv/mmu/shadow.h"

#include <errno.h>

#include "hv/x86/defs.h"
#include "hv/x86/ops.h"

struct walk_ctx {
	struct hv_vcpu *vcpu;
	struct shadow_walk *walk;
};

/* Host address of a guest table's entry, which does not cross a page; NULL: no memory. */
static void *gpte_ptr(struct hv_vm *vm, unsigned int as_id, hv_gpa_t gpa, struct hv_memslot **slotp)
{
	hv_gfn_t gfn = gpa >> HV_PAGE_SHIFT;
	struct hv_memslot *slot = memslot_find(hv_vm_memslots(vm, (int)as_id), gfn);

	*slotp = slot;
	if (!memslot_visible(slot))
		return NULL;
	return (void *)(uintptr_t)(memslot_gfn_to_hva(slot, gfn) + (gpa & ~HV_PAGE_MASK));
}

static uint64_t load_gpte(const void *p, unsigned int size)
{
	return size == 4 ? __atomic_load_n((const uint32_t *)p, __ATOMIC_ACQUIRE)
			 : __atomic_load_n((const uint64_t *)p, __ATOMIC_ACQUIRE);
}

static int walk_read(void *ctx, uint64_t gpa, unsigned int size, uint64_t *value)
{
	struct walk_ctx *w = ctx;
	struct hv_memslot *slot;
	const void *p = gpte_ptr(w->vcpu->vm, w->vcpu->mmu->as_id, gpa, &slot);

	if (p) {
		*value = load_gpte(p, size);
		return X86_OK;
	}
	/* Tables in a slot on its way out: later. Tables where no memory is: not present. */
	w->walk->retry = slot != NULL;
	*value = 0;
	return slot ? X86_EXIT : X86_OK;
}

static int walk_cmpxchg(void *ctx, uint64_t gpa, unsigned int size, uint64_t old, uint64_t new_,
			bool *swapped)
{
	struct walk_ctx *w = ctx;
	struct hv_memslot *slot;
	void *p = gpte_ptr(w->vcpu->vm, w->vcpu->mmu->as_id, gpa, &slot);
	uint32_t old32 = (uint32_t)old;

	if (!p) {
		w->walk->retry = true;
		return X86_EXIT;
	}
	/* Tables in read-only memory keep their bits as they are; the access goes on. */
	if (slot->flags & HV_MEM_READONLY) {
		*swapped = true;
		return X86_OK;
	}
	if (size == 4)
		*swapped = __atomic_compare_exchange_n((uint32_t *)p, &old32, (uint32_t)new_, false,
						       __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
	else
		*swapped = __atomic_compare_exchange_n((uint64_t *)p, &old, new_, false,
						       __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
	if (*swapped)
		vm_mark_page_dirty(w->vcpu->vm, w->vcpu, slot, gpa >> HV_PAGE_SHIFT);
	return X86_OK;
}

static const struct x86_walk_ops walk_ops = {
	.read_pte = walk_read,
	.cmpxchg_pte = walk_cmpxchg,
};

void shadow_walk_params(struct hv_vcpu *vcpu, struct x86_walk_params *params)
{
	const struct hv_guest_paging *gp = &vcpu->mmu->shadow->gp;
	int i;

	*params = (struct x86_walk_params){
		.ops = &walk_ops,
		.cr0 = gp->cr0,
		.cr3 = gp->cr3,
		.cr4 = gp->cr4,
		.efer = gp->efer,
		.pkru = (uint32_t)gp->pkru,
		.maxphyaddr = gp->maxphyaddr,
		.gbpages = true,
	};
	for (i = 0; i < 4; i++)
		params->pdptr[i] = gp->pdptrs[i];
}

static unsigned int from_x86_access(unsigned int access)
{
	return (access & X86_ACC_WRITE ? ACC_WRITE : 0) | (access & X86_ACC_EXEC ? ACC_EXEC : 0) |
	       (access & X86_ACC_USER ? ACC_USER : 0);
}

int shadow_walk_guest(struct hv_vcpu *vcpu, uint64_t linear, const struct mmu_fault *fault, bool ac,
		      struct shadow_walk *walk)
{
	struct walk_ctx ctx = { .vcpu = vcpu, .walk = walk };
	uint32_t access = fault->write ? X86_ACC_WRITE : fault->exec ? X86_ACC_EXEC : X86_ACC_READ;
	struct x86_walk_params params;
	int r;

	shadow_walk_params(vcpu, &params);
	params.ctx = &ctx;
	params.smap_ac = ac;
	walk->retry = false;
	r = x86_walk_params(&params, linear, access | (fault->user ? X86_ACC_USER : 0), &walk->r);
	if (r != X86_OK)
		return r;
	walk->access = from_x86_access(walk->r.access);
	if (!walk->r.dirty)
		walk->access &= ~ACC_WRITE;
	return X86_OK;
}

const struct x86_walk_level *shadow_walk_level(const struct shadow_walk *walk, int level)
{
	unsigned int i;

	for (i = 0; i < walk->r.nr_levels; i++)
		if (walk->r.levels[i].level == level)
			return &walk->r.levels[i];
	return NULL;
}

int shadow_read_gpte(struct mmu_ctx *ctx, hv_gpa_t gpa, unsigned int size, uint64_t *value)
{
	struct hv_memslot *slot;
	const void *p = gpte_ptr(ctx->vm, ctx->vcpu->mmu->as_id, gpa, &slot);

	if (!p)
		return -EFAULT;
	*value = load_gpte(p, size);
	return 0;
}

bool shadow_gpte_changed(struct mmu_ctx *ctx, const struct shadow_walk *walk, int level)
{
	const struct x86_walk_level *l = shadow_walk_level(walk, level);
	union mmu_role role = ctx->vcpu->mmu->shadow->role;
	uint64_t now;

	/* PAE's top level is in registers. */
	if (!l || (!role.long_mode && !role.gpte4 && level == 3))
		return false;
	return shadow_read_gpte(ctx, l->pte_gpa, role.gpte4 ? 4 : 8, &now) || now != l->pte;
}
