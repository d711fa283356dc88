/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the guest's paging registers mean for the MMU room, and the PAE
 * page-directory-pointer registers. Source: SDM volume 3, "PAE paging".
 */
#include "hv/base/bitops.h"
#include "hv/mmu/mmu.h"
#include "hv/vcpu/arch.h"
#include "hv/x86/defs.h"

bool paging_is_pae(const struct hv_regs_cache *r)
{
	return (r->cr0 & X86_CR0_PG) && (r->cr4 & X86_CR4_PAE) && !(r->efer & X86_EFER_LMA);
}

/* False: an entry has reserved bits set (#GP), or there is no memory. */
bool paging_load_pdptrs(struct hv_vcpu *vcpu, uint64_t cr3)
{
	uint64_t reserved = ~HV_GENMASK(vm_arch(vcpu->vm)->caps.maxphyaddr - 1, 12) & ~0xe19ULL;
	uint64_t e[4];
	int i;

	if (vm_read_guest(vcpu->vm, cr3 & 0xffffffe0ULL, e, sizeof(e)))
		return false;
	for (i = 0; i < 4; i++) {
		if ((e[i] & X86_PTE_P) && (e[i] & reserved))
			return false;
	}
	for (i = 0; i < 4; i++)
		vcpu_regs(vcpu)->pdptrs[i] = e[i];
	return true;
}

void paging_changed(struct hv_vcpu *vcpu)
{
	const struct hv_regs_cache *r = vcpu_regs_read(vcpu);
	struct hv_guest_paging gp = {
		.cr0 = r->cr0, .cr3 = r->cr3, .cr4 = r->cr4, .efer = r->efer,
		.pdptrs = { r->pdptrs[0], r->pdptrs[1], r->pdptrs[2], r->pdptrs[3] },
		.maxphyaddr = vm_arch(vcpu->vm)->caps.maxphyaddr,
		.cpl = (uint8_t)vcpu_get_cpl(vcpu),
	};

	/* With a second level the guest's own tables are the processor's business. */
	if (vcpu->vm->paging != HV_PAGING_SHADOW)
		return;
	gp.pkru = (uint32_t)vcpu->vm->processor->get_reg(vcpu->lp, HV_LP_PKRU);
	mmu_guest_paging_changed(vcpu, &gp);
}

int vcpu_emulate_invlpg(struct hv_vcpu *vcpu, uint64_t gva)
{
	if (vcpu->vm->paging == HV_PAGING_SHADOW)
		mmu_invlpg(vcpu, gva);
	vcpu->vm->vendor->flush_tlb_gva(vcpu, gva);
	vcpu_skip_instruction(vcpu, 0);
	return 1;
}

/*
 * INVPCID under shadow paging: the operands are fetched and checked like those of any
 * instruction. Shadow roots are per CR3, so every type means to sync what is cached
 * and drop the translations; when the instruction faults, too much is dropped.
 */
int vcpu_emulate_invpcid(struct hv_vcpu *vcpu)
{
	if (vcpu->vm->paging == HV_PAGING_SHADOW)
		mmu_sync_roots(vcpu);
	vcpu_make_request(vcpu, HV_REQ_TLB_FLUSH_GUEST);
	return vcpu_emulate_instruction(vcpu, HV_INVALID_GPA);
}
