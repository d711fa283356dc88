/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * VMCS management: the table of fields, VMREAD and VMWRITE, and which VMCS is
 * current. Source: SDM vol. 3, "VMX instruction reference" and appendix B.
 */
#include <stddef.h>

#include "hv/cpu/soft_internal.h"
#include "hv/cpu/vmx_guest.h"

#define ENC_INDEX(enc)	(((enc) >> 1) & 0x1ff)
#define ENC_TYPE(enc)	(((enc) >> 10) & 3)
#define ENC_WIDTH(enc)	(((enc) >> 13) & 3)
#define MAP_INDEXES	64
/* Row of the map for an encoding; only for indexes below MAP_INDEXES. */
#define MAP_KEY(enc)	((ENC_WIDTH(enc) * 4 + ENC_TYPE(enc)) * MAP_INDEXES + ENC_INDEX(enc))

/* Cell + 1 of each known encoding. */
static const uint8_t cell_map[4 * 4 * MAP_INDEXES] = {
#define ROW(name, enc) [MAP_KEY(enc)] = VC_##name + 1,
	VMCS_FIELDS(ROW)
#undef ROW
};
static_assert(VC_COUNT < 255, "cell_map holds bytes");

static const uint16_t cell_encoding[VC_COUNT] = {
#define ROW(name, enc) [VC_##name] = (enc),
	VMCS_FIELDS(ROW)
#undef ROW
};

static const char *const cell_name[VC_COUNT] = {
#define ROW(name, enc) [VC_##name] = #name,
	VMCS_FIELDS(ROW)
#undef ROW
};

#define IS_HOT(enc) \
	((enc) == VMCS_GUEST_RIP || (enc) == VMCS_GUEST_RSP || (enc) == VMCS_GUEST_RFLAGS || \
	 (enc) == VMCS_GUEST_INTERRUPTIBILITY || (enc) == VMCS_GUEST_ACTIVITY || \
	 (enc) == VMCS_GUEST_PENDING_DBG)
/* Fields that change at every other entry and are read in place each time. */
#define IS_LIVE(enc) \
	((enc) == VMCS_ENTRY_INTR_INFO || (enc) == VMCS_ENTRY_INTR_ERROR || \
	 (enc) == VMCS_ENTRY_INSN_LEN || (enc) == VMCS_TSC_OFFSET || \
	 (enc) == VMCS_TSC_MULTIPLIER || (enc) == VMCS_TPR_THRESHOLD || \
	 (enc) == VMCS_GUEST_INTR_STATUS || (enc) == VMCS_GUEST_PML_INDEX || \
	 (enc) == VMCS_PREEMPTION_TIMER || \
	 ((enc) >= VMCS_EOI_EXIT_BITMAP0 && (enc) <= VMCS_EOI_EXIT_BITMAP3))
#define GROUP_OF(enc) \
	(IS_LIVE(enc) ? 0 : IS_HOT(enc) ? VMX_DIRTY_HOT : \
	 (enc) == VMCS_GUEST_CR3 ? VMX_DIRTY_CR3 : \
	 ENC_TYPE(enc) == VMCS_CONTROL ? VMX_DIRTY_CONTROLS : \
	 ENC_TYPE(enc) == VMCS_GUEST ? VMX_DIRTY_COLD : \
	 ENC_TYPE(enc) == VMCS_HOST ? VMX_DIRTY_HOST : 0)

static const uint8_t cell_group[VC_COUNT] = {
#define ROW(name, enc) [VC_##name] = GROUP_OF(enc),
	VMCS_FIELDS(ROW)
#undef ROW
};

static const uint64_t width_mask[4] = {
	[VMCS_WIDTH_16] = 0xffff, [VMCS_WIDTH_64] = UINT64_MAX, [VMCS_WIDTH_32] = 0xffffffff,
	[VMCS_WIDTH_NATURAL] = UINT64_MAX,
};

int vmcs_cell(uint32_t enc, bool *high)
{
	int cell;

	/* Reserved: bit 12, bit 15 and up; only 64-bit fields have a high half. */
	if ((enc & ~0x6fffU) || ENC_INDEX(enc) >= MAP_INDEXES)
		return -1;
	*high = enc & 1;
	if (*high && ENC_WIDTH(enc) != VMCS_WIDTH_64)
		return -1;
	cell = cell_map[MAP_KEY(enc)];
	return cell - 1;
}

uint32_t vmcs_cell_encoding(enum vmcs_cell cell)
{
	return cell_encoding[cell];
}

const char *vmcs_cell_name(enum vmcs_cell cell)
{
	return cell_name[cell];
}

uint32_t vmcs_cell_group(enum vmcs_cell cell)
{
	return cell_group[cell];
}

enum hv_vmx_status vmx_fail(struct hv_lp *lp, enum vmx_insn_error error)
{
	if (!lp->vmx.vmcs)
		return HV_VMX_FAIL_INVALID;
	lp->vmx.vmcs->f[VC_INSN_ERROR] = error;
	return HV_VMX_FAIL_VALID;
}

/* Outside VMX operation the instructions raise #UD, which a C caller sees as VMfailInvalid. */
static bool in_vmx_operation(const struct hv_lp *lp)
{
	return soft_pcpu_vmxon_region(lp->pcpu) != 0;
}

static bool bad_address(uint64_t address)
{
	return address == 0 || (address & 0xfff) || (address >> SOFT_MAXPHYADDR);
}

/* The current VMCS gives up the register file: what lives only there is stored. */
static void vmcs_unload(struct hv_lp *lp)
{
	if (lp->vmx.vmcs)
		vmx_guest_store_cold(lp);
	lp->vmx.vmcs = NULL;
	lp->vmx.cold_valid = false;
	lp->vmx.dirty = VMX_DIRTY_ALL;
}

enum hv_vmx_status vmx_vmclear(struct hv_lp *lp, uint64_t address)
{
	struct soft_vmcs *vmcs = (struct soft_vmcs *)address;

	if (!in_vmx_operation(lp))
		return HV_VMX_FAIL_INVALID;
	if (bad_address(address))
		return vmx_fail(lp, VMX_ERR_VMCLEAR_ADDRESS);
	if (address == soft_pcpu_vmxon_region(lp->pcpu))
		return vmx_fail(lp, VMX_ERR_VMCLEAR_VMXON);
	if (vmcs == lp->vmx.vmcs)
		vmcs_unload(lp);
	vmcs->launched = 0;
	return HV_VMX_OK;
}

enum hv_vmx_status vmx_vmptrld(struct hv_lp *lp, uint64_t address)
{
	struct soft_vmcs *vmcs = (struct soft_vmcs *)address;

	if (!in_vmx_operation(lp))
		return HV_VMX_FAIL_INVALID;
	if (bad_address(address))
		return vmx_fail(lp, VMX_ERR_VMPTRLD_ADDRESS);
	if (address == soft_pcpu_vmxon_region(lp->pcpu))
		return vmx_fail(lp, VMX_ERR_VMPTRLD_VMXON);
	if (vmcs->revision != SOFT_VMCS_REVISION)
		return vmx_fail(lp, VMX_ERR_VMPTRLD_REVISION);
	if (vmcs == lp->vmx.vmcs)
		return HV_VMX_OK;
	vmcs_unload(lp);
	lp->vmx.vmcs = vmcs;
	return HV_VMX_OK;
}

enum hv_vmx_status vmx_vmread(struct hv_lp *lp, uint32_t field, uint64_t *value)
{
	struct soft_vmcs *vmcs = lp->vmx.vmcs;
	bool high;
	int cell;

	if (!vmcs)
		return HV_VMX_FAIL_INVALID;
	cell = vmcs_cell(field, &high);
	if (cell < 0)
		return vmx_fail(lp, VMX_ERR_UNSUPPORTED_FIELD);
	if (lp->vmx.cold_in_cpu && cell_group[cell] == VMX_DIRTY_COLD)
		vmx_guest_store_cold(lp);
	*value = high ? vmcs->f[cell] >> 32 : vmcs->f[cell];
	return HV_VMX_OK;
}

enum hv_vmx_status vmx_vmwrite(struct hv_lp *lp, uint32_t field, uint64_t value)
{
	struct soft_vmcs *vmcs = lp->vmx.vmcs;
	bool high;
	int cell;

	if (!vmcs)
		return HV_VMX_FAIL_INVALID;
	cell = vmcs_cell(field, &high);
	if (cell < 0)
		return vmx_fail(lp, VMX_ERR_UNSUPPORTED_FIELD);
	if (ENC_TYPE(field) == VMCS_READ_ONLY)
		return vmx_fail(lp, VMX_ERR_READ_ONLY_FIELD);
	/* The neighbours of a written cold field must not be lost to the next load. */
	if (lp->vmx.cold_in_cpu && cell_group[cell] == VMX_DIRTY_COLD)
		vmx_guest_store_cold(lp);
	value &= width_mask[ENC_WIDTH(field)];
	if (high)
		value = (vmcs->f[cell] & 0xffffffff) | value << 32;
	vmcs->f[cell] = value;
	lp->vmx.dirty |= cell_group[cell];
	return HV_VMX_OK;
}
