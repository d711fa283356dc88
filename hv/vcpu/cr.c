/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Control and debug registers, EFER and XCR0 as the guest writes them: the
 * conditions for #GP, then the state change, then what the MMU and the TLB have
 * to know. Source: SDM volume 2, "MOV - Move to/from Control Registers",
 * volume 3, chapters "Protected-mode memory management" and "Paging".
 *
 * Setters return 0, or 1 for #GP(0), and then have changed nothing.
 */
#include "hv/base/bitops.h"
#include "hv/mmu/mmu.h"
#include "hv/vcpu/arch.h"
#include "hv/x86/defs.h"

#define CR0_DEFINED                                                                                \
	(X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP | \
	 X86_CR0_AM | X86_CR0_NW | X86_CR0_CD | X86_CR0_PG)
/* A change of these in CR4 loads the PAE page-directory pointers again. */
#define CR4_PDPTR_BITS (X86_CR4_PSE | X86_CR4_PAE | X86_CR4_PGE | X86_CR4_SMEP)
/* ... and of these drops translations. */
#define CR4_FLUSH_BITS                                                                             \
	(X86_CR4_PSE | X86_CR4_PAE | X86_CR4_PGE | X86_CR4_SMEP | X86_CR4_SMAP | X86_CR4_PCIDE |   \
	 X86_CR4_PKE | X86_CR4_PKS | X86_CR4_LA57)
#define CR3_NO_FLUSH (1ULL << 63)

static void flush_guest(struct hv_vcpu *vcpu)
{
	vcpu_make_request(vcpu, HV_REQ_TLB_FLUSH_GUEST);
}

static bool cr0_valid(const struct hv_regs_cache *r, uint64_t value)
{
	bool pg_on = (value & X86_CR0_PG) && !(r->cr0 & X86_CR0_PG);
	bool pg_off = !(value & X86_CR0_PG) && (r->cr0 & X86_CR0_PG);
	bool cs_l = r->seg[HV_SEG_CS].ar & X86_AR_L;

	if (value >> 32)
		return false;
	if ((value & X86_CR0_PG) && !(value & X86_CR0_PE))
		return false;
	if ((value & X86_CR0_NW) && !(value & X86_CR0_CD))
		return false;
	if (pg_on && (r->efer & X86_EFER_LME) && (!(r->cr4 & X86_CR4_PAE) || cs_l))
		return false;
	if (pg_off && (((r->efer & X86_EFER_LMA) && cs_l) || (r->cr4 & X86_CR4_PCIDE)))
		return false;
	return true;
}

int vcpu_set_cr0(struct hv_vcpu *vcpu, uint64_t value)
{
	struct hv_regs_cache *r = vcpu_regs(vcpu);
	uint64_t old = r->cr0, old_efer = r->efer;

	if (!cr0_valid(r, value))
		return 1;
	r->cr0 = (value & CR0_DEFINED) | X86_CR0_ET;
	if (r->efer & X86_EFER_LME) {
		if (r->cr0 & X86_CR0_PG)
			r->efer |= X86_EFER_LMA;
		else
			r->efer &= ~X86_EFER_LMA;
	}
	if (((old ^ r->cr0) & (X86_CR0_PG | X86_CR0_CD | X86_CR0_NW)) && paging_is_pae(r) &&
	    !paging_load_pdptrs(vcpu, r->cr3)) {
		r->cr0 = old;
		r->efer = old_efer;
		return 1;
	}
	if ((old ^ r->cr0) & (X86_CR0_PG | X86_CR0_WP | X86_CR0_PE)) {
		paging_changed(vcpu);
		flush_guest(vcpu);
	}
	return 0;
}

void vcpu_lmsw(struct hv_vcpu *vcpu, uint16_t msw)
{
	uint64_t cr0 = vcpu_regs_read(vcpu)->cr0;

	/* LMSW may set PE but not clear it; MP, EM, TS both ways. */
	vcpu_set_cr0(vcpu, (cr0 & ~0xeULL) | (msw & 0xf));
}

int vcpu_set_cr3(struct hv_vcpu *vcpu, uint64_t value)
{
	struct hv_regs_cache *r = vcpu_regs(vcpu);
	struct vcpu_guest_caps *caps = &vm_arch(vcpu->vm)->caps;
	bool no_flush = false;

	if (r->cr4 & X86_CR4_PCIDE) {
		no_flush = value & CR3_NO_FLUSH;
		value &= ~CR3_NO_FLUSH;
	}
	if (r->efer & X86_EFER_LMA) {
		if (value & ~HV_GENMASK(caps->maxphyaddr - 1, 0))
			return 1;
	} else {
		value &= 0xffffffffULL;
	}
	if (paging_is_pae(r) && !paging_load_pdptrs(vcpu, value))
		return 1;
	r->cr3 = value;
	paging_changed(vcpu);
	if (!no_flush && vcpu->vm->paging == HV_PAGING_SHADOW)
		mmu_sync_roots(vcpu);
	if (!no_flush)
		flush_guest(vcpu);
	return 0;
}

static bool cr4_valid(struct hv_vcpu *vcpu, const struct hv_regs_cache *r, uint64_t value)
{
	uint64_t changed = r->cr4 ^ value;

	if (value & ~vm_arch(vcpu->vm)->caps.cr4_allowed)
		return false;
	if (r->efer & X86_EFER_LMA) {
		if (!(value & X86_CR4_PAE) || (changed & X86_CR4_LA57))
			return false;
	}
	if ((changed & value & X86_CR4_PCIDE) && (!(r->efer & X86_EFER_LMA) || (r->cr3 & 0xfff)))
		return false;
	return true;
}

int vcpu_set_cr4(struct hv_vcpu *vcpu, uint64_t value)
{
	struct hv_regs_cache *r = vcpu_regs(vcpu);
	uint64_t old = r->cr4, changed = old ^ value;

	if (!cr4_valid(vcpu, r, value))
		return 1;
	r->cr4 = value;
	if ((changed & CR4_PDPTR_BITS) && paging_is_pae(r) && !paging_load_pdptrs(vcpu, r->cr3)) {
		r->cr4 = old;
		return 1;
	}
	if (changed & CR4_FLUSH_BITS) {
		paging_changed(vcpu);
		flush_guest(vcpu);
	}
	return 0;
}

uint64_t vcpu_get_cr8(struct hv_vcpu *vcpu)
{
	const struct hv_irqchip_ops *chips = vcpu->vm->irqchip_ops;

	return chips ? chips->get_tpr(vcpu) : vcpu_regs_read(vcpu)->cr8;
}

int vcpu_set_cr8(struct hv_vcpu *vcpu, uint64_t value)
{
	const struct hv_irqchip_ops *chips = vcpu->vm->irqchip_ops;

	if (value & ~0xfULL)
		return 1;
	if (chips)
		chips->set_tpr(vcpu, value);
	else
		vcpu_regs(vcpu)->cr8 = value;
	vcpu_make_request(vcpu, HV_REQ_EVENT);
	return 0;
}

int vcpu_set_efer(struct hv_vcpu *vcpu, uint64_t value)
{
	struct hv_regs_cache *r = vcpu_regs(vcpu);
	uint64_t old = r->efer;

	if ((vcpu->arch->misc_enable & VCPU_MISC_XD_DISABLE) && (value & X86_EFER_NXE))
		return 1;
	if (value & ~vm_arch(vcpu->vm)->caps.efer_allowed)
		return 1;
	if (((value ^ old) & X86_EFER_LME) && (r->cr0 & X86_CR0_PG))
		return 1;
	r->efer = (value & ~X86_EFER_LMA) | (old & X86_EFER_LMA);
	if ((r->efer ^ old) & X86_EFER_NXE) {
		paging_changed(vcpu);
		flush_guest(vcpu);
	}
	return 0;
}

int vcpu_set_xcr0(struct hv_vcpu *vcpu, uint64_t value)
{
	struct vcpu_guest_caps *caps = &vm_arch(vcpu->vm)->caps;

	if (!(value & 1) || (value & ~caps->xcr0_allowed))
		return 1;
	if ((value & 4) && !(value & 2)) /* AVX state needs SSE state */
		return 1;
	if ((value & 0xe0) && ((value & 0xe0) != 0xe0 || !(value & 4)))
		return 1;
	if (!!(value & 8) != !!(value & 16))
		return 1;
	vcpu_regs(vcpu)->xcr0 = value;
	return 0;
}

int vcpu_emulate_xsetbv(struct hv_vcpu *vcpu)
{
	struct hv_gprs *g = vcpu_gprs(vcpu);
	uint64_t value = (uint32_t)g->r[X86_RAX] | g->r[X86_RDX] << 32;
	int err = vcpu_get_cpl(vcpu) || (uint32_t)g->r[X86_RCX] ||
		  vcpu_set_xcr0(vcpu, value);

	return vcpu_complete_insn_gp(vcpu, err, 0);
}

int vcpu_emulate_mov_to_cr(struct hv_vcpu *vcpu, unsigned int cr, uint64_t value)
{
	int err;

	switch (cr) {
	case 0:
		err = vcpu_set_cr0(vcpu, value);
		break;
	case 3:
		err = vcpu_set_cr3(vcpu, value);
		break;
	case 4:
		err = vcpu_set_cr4(vcpu, value);
		break;
	case 8:
		err = vcpu_set_cr8(vcpu, value);
		break;
	default:
		return vcpu_emulate_ud(vcpu);
	}
	return vcpu_complete_insn_gp(vcpu, err, 0);
}

/* CR4.DE and DR7.GD are the caller's. */
int vcpu_set_dr(struct hv_vcpu *vcpu, int dr, uint64_t value)
{
	struct hv_regs_cache *r = vcpu_regs(vcpu);

	switch (dr) {
	case 0 ... 3:
		r->dr[dr] = value;
		return 0;
	case 4:
	case 6:
		if (value >> 32)
			return 1;
		r->dr6 = (value & 0xe00f) | X86_DR6_INIT;
		return 0;
	case 5:
	case 7:
		if (value >> 32)
			return 1;
		r->dr7 = (value & 0xffff2bff) | X86_DR7_INIT;
		return 0;
	default:
		return 1;
	}
}

uint64_t vcpu_get_dr(struct hv_vcpu *vcpu, int dr)
{
	const struct hv_regs_cache *r = vcpu_regs_read(vcpu);

	switch (dr) {
	case 0 ... 3:
		return r->dr[dr];
	case 4:
	case 6:
		return r->dr6;
	default:
		return r->dr7;
	}
}

int vcpu_get_cpl(struct hv_vcpu *vcpu)
{
	const struct hv_regs_cache *r = vcpu_regs_read(vcpu);

	if (!(r->cr0 & X86_CR0_PE))
		return 0;
	if (r->rflags & X86_FL_VM)
		return 3;
	return (int)X86_AR_DPL(r->seg[HV_SEG_SS].ar);
}
