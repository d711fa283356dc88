/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory under VMX: EPT translation with its exits, the APIC-access page, and
 * the instructions that invalidate cached translations. Source: SDM vol. 3, "VMX
 * support for address translation", "EPT-induced VM exits", "Virtualizing
 * memory-mapped APIC accesses".
 */
#include "hv/cpu/soft_internal.h"
#include "hv/cpu/tdp_walk.h"
#include "hv/cpu/vmx_guest.h"

static_assert(TDP_R == X86_ACC_READ && TDP_W == X86_ACC_WRITE && TDP_X == X86_ACC_EXEC,
	      "rights share their bits");

#define ACC_RWX (X86_ACC_READ | X86_ACC_WRITE | X86_ACC_EXEC)

/* What the access needs of the second level. */
static uint8_t ept_need(const struct hv_lp *lp, uint32_t access)
{
	if (access & X86_ACC_PT_WALK) {
		/*
		 * With accessed and dirty flags, every access to a guest paging structure
		 * counts as a write; loads of the PDPTE registers do not.
		 */
		if (lp->vmx.ept_ad && !(access & X86_ACC_PDPTE))
			return TDP_R | TDP_W;
		return access & (TDP_R | TDP_W);
	}
	if ((access & X86_ACC_EXEC) && lp->vmx.mbec && (access & X86_ACC_GUEST_USER))
		return TDP_XU;
	return access & ACC_RWX;
}

static uint64_t ept_qualification(const struct hv_lp *lp, uint32_t access, const struct tdp_walk *w)
{
	uint64_t qual = w->need & (TDP_R | TDP_W);

	if (w->need & (TDP_X | TDP_XU))
		qual |= EPT_QUAL_FETCH;
	qual |= (uint64_t)(w->rights & ACC_RWX) << 3;
	if (lp->vmx.mbec && (w->rights & TDP_XU))
		qual |= EPT_QUAL_USER_EXECUTABLE;
	if (!(access & X86_ACC_LINEAR))
		return qual;
	qual |= EPT_QUAL_LINEAR_VALID;
	if (access & X86_ACC_PT_WALK)
		return qual;
	qual |= EPT_QUAL_FINAL;
	if (access & X86_ACC_GUEST_USER)
		qual |= EPT_QUAL_USER_LINEAR;
	if (access & X86_ACC_GUEST_W)
		qual |= EPT_QUAL_RW_LINEAR;
	if (access & X86_ACC_GUEST_NX)
		qual |= EPT_QUAL_NX_LINEAR;
	return qual;
}

static int ept_exit(struct hv_lp *lp, const struct x86_phys_req *req, const struct tdp_walk *w,
		    enum tdp_status status)
{
	uint64_t *f = lp->vmx.vmcs->f;
	/* Meaningful only outside event delivery, where the hypervisor does not look at it. */
	uint64_t unblocked = lp->cpu->iret_unblocked ? EPT_QUAL_NMI_UNBLOCK : 0;

	switch (status) {
	case TDP_PML_FULL:
		return vmx_exit(lp, VMX_EXIT_PML_FULL, unblocked);
	case TDP_MISCONFIG:
		vmx_exit(lp, VMX_EXIT_EPT_MISCONFIG, 0);
		break;
	default:
		vmx_exit(lp, VMX_EXIT_EPT_VIOLATION,
			 ept_qualification(lp, req->access, w) | unblocked);
		break;
	}
	f[VC_GUEST_PHYSICAL_ADDRESS] = req->gpa;
	if (req->access & X86_ACC_LINEAR)
		f[VC_GUEST_LINEAR_ADDRESS] = req->linear;
	return X86_EXIT;
}

/* An access to the APIC-access page: data accesses go to vmx_apic.c, others exit. */
static int apic_page_access(struct hv_lp *lp, const struct x86_phys_req *req)
{
	uint64_t offset = req->gpa & 0xfff;

	/* Access types 0 to 3 are linear, 10 and 15 guest-physical. */
	if ((req->access & X86_ACC_PT_WALK) || !(req->access & X86_ACC_LINEAR))
		return vmx_exit(lp, VMX_EXIT_APIC_ACCESS,
				(req->access & X86_ACC_VECTORING ? 10ULL : 15ULL) << 12);
	lp->vmx.vmcs->f[VC_GUEST_LINEAR_ADDRESS] = req->linear;
	if (req->access & X86_ACC_VECTORING)
		return vmx_exit(lp, VMX_EXIT_APIC_ACCESS, offset | 3ULL << 12);
	if (req->access & X86_ACC_EXEC)
		return vmx_exit(lp, VMX_EXIT_APIC_ACCESS, offset | 2ULL << 12);
	return X86_MMIO;
}

static void gpa_fill(struct soft_gpa_entry *e, const struct hv_lp *lp, const struct tdp_walk *w)
{
	e->tag = w->gpa >> 12;
	e->root = lp->vmx.ept_root;
	e->host = (uint8_t *)w->host;
	e->page_size = w->page_size > UINT32_MAX ? UINT32_MAX : (uint32_t)w->page_size;
	e->perm = w->rights & ACC_RWX;
	e->perm_user = (uint8_t)((w->rights & (TDP_R | TDP_W)) | (w->rights & TDP_XU ? TDP_X : 0));
	e->dirty = w->dirty;
}

static bool gpa_hit(const struct soft_gpa_entry *e, const struct hv_lp *lp, uint64_t gpa, uint8_t need)
{
	uint8_t have = e->perm | (e->perm_user & TDP_X ? TDP_XU : 0);

	return e->tag == gpa >> 12 && e->root == lp->vmx.ept_root && (have & need) == need &&
	       (!(need & TDP_W) || e->dirty);
}

int vmx_phys_translate(struct x86_cpu *cpu, const struct x86_phys_req *req,
		       struct x86_phys_res *res)
{
	struct hv_lp *lp = cpu->ctx;
	struct soft_gpa_entry *e = soft_gpa_slot(lp, req->gpa);
	uint8_t need;

	if (!lp->vmx.eptp) {
		/* Physical addresses are the host's own. */
		res->host = (uint8_t *)(req->gpa & ~0xfffULL);
		res->page_size = 4096;
		res->perm = ACC_RWX;
		res->no_cache = false;
		goto out;
	}
	need = ept_need(lp, req->access);
	if (!gpa_hit(e, lp, req->gpa, need)) {
		const struct tdp_pml pml = {
			.log = (uint64_t *)lp->vmx.vmcs->f[VC_PML_ADDRESS],
			.index = &lp->vmx.vmcs->f[VC_GUEST_PML_INDEX],
		};
		struct tdp_walk w = {
			.root = lp->vmx.ept_root, .levels = lp->vmx.ept_levels,
			.ad = lp->vmx.ept_ad, .mbec = lp->vmx.mbec, .need = need,
			.gpa = req->gpa, .pml = lp->vmx.pml ? &pml : NULL,
		};
		enum tdp_status status = ept_walk(&w);

		lp->stats.gpa_misses++;
		if (status != TDP_OK)
			return ept_exit(lp, req, &w, status);
		gpa_fill(e, lp, &w);
	}
	res->host = e->host;
	res->page_size = e->page_size;
	res->perm = req->access & X86_ACC_GUEST_USER ? e->perm_user : e->perm;
	if (!e->dirty)
		res->perm &= (uint8_t)~X86_ACC_WRITE;
	res->no_cache = false;
out:
	if (lp->vmx.apic_access_page && (uint64_t)res->host == lp->vmx.apic_access_page)
		return apic_page_access(lp, req);
	return X86_OK;
}

static bool eptp_valid(uint64_t eptp)
{
	uint64_t type = eptp & EPTP_MEMTYPE_MASK;
	uint64_t levels = (eptp >> EPTP_WALK_SHIFT) & 7;

	return (type == 0 || type == EPTP_MEMTYPE_WB) && (levels == 3 || levels == 4) &&
	       !(eptp & 0xf80) && !(eptp >> SOFT_MAXPHYADDR);
}

enum hv_vmx_status vmx_invept(struct hv_lp *lp, int type, uint64_t eptp)
{
	uint64_t root = eptp & 0x000ffffffffff000ULL;

	switch (type) {
	case VMX_INVEPT_SINGLE:
		if (!eptp_valid(eptp))
			return vmx_fail(lp, VMX_ERR_INVALID_INVALIDATION_OPERAND);
		if (root) {
			soft_space_flush(lp, -1, root);
			soft_gpa_flush(lp, root);
		}
		return HV_VMX_OK;
	case VMX_INVEPT_ALL:
		soft_space_flush_kind(lp, SOFT_SPACE_COMBINED);
		soft_gpa_flush(lp, 0);
		return HV_VMX_OK;
	default:
		return vmx_fail(lp, VMX_ERR_INVALID_INVALIDATION_OPERAND);
	}
}

enum hv_vmx_status vmx_invvpid(struct hv_lp *lp, int type, uint16_t vpid, uint64_t linear)
{
	if (type != VMX_INVVPID_ALL && vpid == 0)
		return vmx_fail(lp, VMX_ERR_INVALID_INVALIDATION_OPERAND);
	switch (type) {
	case VMX_INVVPID_ADDRESS:
		/* Canonical with 57 bits, which LA57 gives this processor. */
		if ((uint64_t)((int64_t)(linear << 7) >> 7) != linear)
			return vmx_fail(lp, VMX_ERR_INVALID_INVALIDATION_OPERAND);
		soft_space_flush_page(lp, vpid, linear);
		return HV_VMX_OK;
	case VMX_INVVPID_SINGLE:
		soft_space_flush(lp, vpid, 0);
		return HV_VMX_OK;
	case VMX_INVVPID_ALL:
		/* Every VPID but 0000H; that one is flushed at each entry anyway. */
		soft_space_flush(lp, -1, 0);
		return HV_VMX_OK;
	case VMX_INVVPID_SINGLE_GLOBAL:
		soft_space_flush_nonglobal(lp, vpid);
		return HV_VMX_OK;
	default:
		return vmx_fail(lp, VMX_ERR_INVALID_INVALIDATION_OPERAND);
	}
}
