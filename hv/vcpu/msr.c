/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Model-specific registers: a table of rows, and what each does. An MSR without
 * a row is #GP for the guest, logged at a limited rate, and -ENOENT for the user.
 *
 * Sources: SDM volume 4, "Model-specific registers", volume 3, "Memory cache
 * control" (MTRR, PAT) and "Machine-check architecture"; Linux
 * Documentation/virt/kvm/x86/msr.rst for 0x4b564d00 and on.
 */
#include <errno.h>

#include "hv/base/bitops.h"
#include "hv/base/log.h"
#include "hv/base/util.h"
#include "hv/vcpu/arch.h"
#include "hv/vm/tsc.h"
#include "hv/x86/defs.h"

#define MSR_PLATFORM_ID		 0x17
#define MSR_EBL_CR_POWERON	 0x2a
#define MSR_FEATURE_CONTROL	 0x3a
#define MSR_TSC_ADJUST		 0x3b
#define MSR_SPEC_CTRL		 0x48
#define MSR_PRED_CMD		 0x49
#define MSR_UCODE_WRITE		 0x79
#define MSR_UCODE_REV		 0x8b
#define MSR_FSB_FREQ		 0xcd
#define MSR_PLATFORM_INFO	 0xce
#define MSR_MTRRCAP		 0xfe
#define MSR_ARCH_CAPABILITIES	 0x10a
#define MSR_MISC_FEATURES	 0x140
#define MSR_MCG_CAP		 0x179
#define MSR_MCG_STATUS		 0x17a
#define MSR_PERF_STATUS		 0x198
#define MSR_PERF_CTL		 0x199
#define MSR_MISC_ENABLE		 0x1a0
#define MSR_MTRR_PHYSBASE0	 0x200
#define MSR_MTRR_PHYSMASK7	 0x20f
#define MSR_MTRR_FIX64K		 0x250
#define MSR_MTRR_DEF_TYPE	 0x2ff
#define MSR_TSC_DEADLINE	 0x6e0
#define MSR_X2APIC_FIRST	 0x800
#define MSR_X2APIC_LAST		 0x8ff
#define MSR_KVM_WALL_CLOCK	 0x4b564d00
#define MSR_KVM_SYSTEM_TIME	 0x4b564d01
#define MSR_KVM_STEAL_TIME	 0x4b564d03
#define MSR_K7_EVNTSEL0		 0xc0010000
#define MSR_K7_PERFCTR3		 0xc0010007
#define MSR_K8_SYSCFG		 0xc0010010
#define MSR_K7_HWCR		 0xc0010015
#define MSR_AMD_NB_CFG		 0xc001001f
#define MSR_AMD_INT_PENDING	 0xc0010055
#define MSR_AMD_MMIO_CONF	 0xc0010058
#define MSR_AMD_LS_CFG		 0xc0011020
#define MSR_AMD_DE_CFG		 0xc0011029

/* RDCL_NO, IBRS_ALL, SKIP_L1DFL, SSB_NO, MDS_NO, PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO, FBSDP_NO,
 * PSDP_NO, BHI_NO, PBRSB_NO, GDS_NO, RFDS_NO, ITS_NO. */
#define ARCH_CAPS_SAFE                                                                             \
	(1ULL << 0 | 1ULL << 1 | 1ULL << 3 | 1ULL << 4 | 1ULL << 5 | 1ULL << 6 | 1ULL << 8 |       \
	 1ULL << 13 | 1ULL << 14 | 1ULL << 15 | 1ULL << 20 | 1ULL << 24 | 1ULL << 26 |             \
	 1ULL << 27 | 1ULL << 62)
/* Fast strings, thermal control, SpeedStep, MONITOR, limit CPUID, xTPR messages, XD disable. */
#define MISC_ENABLE_WRITABLE                                                                       \
	(1ULL << 0 | 1ULL << 3 | 1ULL << 16 | 1ULL << 18 | VCPU_MISC_LIMIT_CPUID | 1ULL << 23 |    \
	 VCPU_MISC_XD_DISABLE)
#define MISC_ENABLE_RESET    (1ULL << 0 | 1ULL << 11 | 1ULL << 12)
#define MTRR_VARIABLE	     8
#define LOG_UNKNOWN_MAX	     16

struct msr_access {
	uint32_t index;
	enum hv_msr_origin origin;
};

struct msr_row {
	uint32_t first, last;
	/* 0, or 1: #GP. NULL: #GP */
	int (*read)(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t *value);
	int (*write)(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t value);
	uint64_t constant; /* for read_const */
};

static struct vcpu_guest_caps *caps(struct hv_vcpu *vcpu)
{
	return &vm_arch(vcpu->vm)->caps;
}

static bool canonical(struct hv_vcpu *vcpu, uint64_t v)
{
	unsigned int bits = vm_arch(vcpu->vm)->linear_bits;

	return (uint64_t)((int64_t)(v << (64 - bits)) >> (64 - bits)) == v;
}

/* ---- constants and plain storage -------------------------------------------------------------- */

static const struct msr_row *row_of(uint32_t index);

static int read_const(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t *value)
{
	*value = row_of(a->index)->constant;
	return 0;
}

static int write_ignored(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t value)
{
	return 0;
}

static int read_misc_enable(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t *value)
{
	*value = vcpu->arch->misc_enable;
	return 0;
}

static int write_misc_enable(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t value)
{
	uint64_t old = vcpu->arch->misc_enable;

	/* Bits that say what is not there read back as they are; others are #GP to change. */
	value = (value & ~(1ULL << 11 | 1ULL << 12)) | (old & (1ULL << 11 | 1ULL << 12));
	if ((value ^ old) & ~MISC_ENABLE_WRITABLE)
		return a->origin == HV_MSR_GUEST;
	vcpu->arch->misc_enable = value;
	return 0;
}

/* Features that this processor does not have can only be turned off. */
static int write_zero_only(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t value)
{
	return value != 0;
}

static int read_ucode(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t *value)
{
	*value = vcpu->arch->ucode_rev;
	return 0;
}

static int write_ucode(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t value)
{
	if (a->origin == HV_MSR_HOST)
		vcpu->arch->ucode_rev = value;
	return 0; /* the guest writes 0 before it reads the revision */
}

static int read_feature_control(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t *value)
{
	*value = vcpu->arch->feature_control;
	return 0;
}

static int write_feature_control(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t value)
{
	if (a->origin == HV_MSR_GUEST && ((vcpu->arch->feature_control & 1) || (value & ~1ULL)))
		return 1;
	vcpu->arch->feature_control = value & 1;
	return 0;
}

static int read_platform_info(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t *value)
{
	/* Maximum non-turbo ratio, in units of 100 MHz */
	*value = (uint64_t)(vm_arch(vcpu->vm)->tsc_khz / 100000) << 8;
	return 0;
}

/* ---- speculation control ------------------------------------------------------------------------ */

static int read_spec_ctrl(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t *value)
{
	if (!caps(vcpu)->spec_ctrl_allowed)
		return 1;
	*value = vcpu->arch->spec_ctrl;
	return 0;
}

static int write_spec_ctrl(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t value)
{
	if (!caps(vcpu)->spec_ctrl_allowed || (value & ~caps(vcpu)->spec_ctrl_allowed))
		return 1;
	vcpu->arch->spec_ctrl = value;
	return 0;
}

static int write_pred_cmd(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t value)
{
	return !caps(vcpu)->spec_ctrl_allowed || (value & ~1ULL);
}

static int read_arch_caps(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t *value)
{
	if (!caps(vcpu)->arch_caps)
		return 1;
	*value = ARCH_CAPS_SAFE;
	return 0;
}

/* ---- MTRR, PAT ------------------------------------------------------------------------------------ */

static bool memory_type(uint8_t t)
{
	return t < 2 || (t > 3 && t < 7);
}

static int read_mtrr(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t *value)
{
	struct hv_vcpu_arch *va = vcpu->arch;

	if (a->index == MSR_MTRR_DEF_TYPE)
		*value = va->mtrr_def_type;
	else if (a->index <= MSR_MTRR_PHYSMASK7)
		*value = va->mtrr_var[a->index - MSR_MTRR_PHYSBASE0];
	else if (a->index == MSR_MTRR_FIX64K)
		*value = va->mtrr_fixed[0];
	else if (a->index <= 0x259)
		*value = va->mtrr_fixed[1 + a->index - 0x258];
	else
		*value = va->mtrr_fixed[3 + a->index - 0x268];
	return 0;
}

static int write_mtrr_fixed(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t value)
{
	int i;

	for (i = 0; i < 8; i++) {
		if (!memory_type((uint8_t)(value >> (8 * i))))
			return 1;
	}
	if (a->index == MSR_MTRR_FIX64K)
		vcpu->arch->mtrr_fixed[0] = value;
	else if (a->index <= 0x259)
		vcpu->arch->mtrr_fixed[1 + a->index - 0x258] = value;
	else
		vcpu->arch->mtrr_fixed[3 + a->index - 0x268] = value;
	return 0;
}

static int write_mtrr_var(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t value)
{
	uint64_t reserved = ~HV_GENMASK(caps(vcpu)->maxphyaddr - 1, 0);

	if (a->index & 1) {
		reserved |= 0x7ff;
	} else {
		reserved |= 0xf00;
		if (!memory_type((uint8_t)value))
			return 1;
	}
	if (value & reserved)
		return 1;
	vcpu->arch->mtrr_var[a->index - MSR_MTRR_PHYSBASE0] = value;
	return 0;
}

static int write_mtrr_def(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t value)
{
	if ((value & ~0xcffULL) || !memory_type((uint8_t)value))
		return 1;
	vcpu->arch->mtrr_def_type = value;
	return 0;
}

static int read_pat(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t *value)
{
	*value = vcpu_regs_read(vcpu)->pat;
	return 0;
}

static int write_pat(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t value)
{
	int i;

	for (i = 0; i < 8; i++) {
		uint8_t t = (uint8_t)(value >> (8 * i));

		if (!memory_type(t) && t != 7)
			return 1;
	}
	vcpu_regs(vcpu)->pat = value;
	return 0;
}

/* ---- the register file --------------------------------------------------------------------------- */

static int read_sysenter(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t *value)
{
	const struct hv_regs_cache *r = vcpu_regs_read(vcpu);

	*value = a->index == X86_MSR_SYSENTER_CS ? r->sysenter_cs :
		 a->index == X86_MSR_SYSENTER_ESP ? r->sysenter_esp : r->sysenter_eip;
	return 0;
}

static int write_sysenter(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t value)
{
	struct hv_regs_cache *r = vcpu_regs(vcpu);

	if (a->index == X86_MSR_SYSENTER_CS) {
		r->sysenter_cs = (uint32_t)value;
		return 0;
	}
	if (!canonical(vcpu, value))
		return 1;
	if (a->index == X86_MSR_SYSENTER_ESP)
		r->sysenter_esp = value;
	else
		r->sysenter_eip = value;
	return 0;
}

static int read_efer(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t *value)
{
	*value = vcpu_regs_read(vcpu)->efer;
	return 0;
}

static int write_efer(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t value)
{
	if (a->origin == HV_MSR_HOST) {
		if (value & ~caps(vcpu)->efer_allowed)
			return 1;
		vcpu_regs(vcpu)->efer = value;
		vcpu_regs_changed(vcpu);
		return 0;
	}
	return vcpu_set_efer(vcpu, value);
}

static int read_base(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t *value)
{
	*value = vcpu_regs_read(vcpu)->seg[a->index == X86_MSR_FS_BASE ? HV_SEG_FS : HV_SEG_GS].base;
	return 0;
}

static int write_base(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t value)
{
	if (!canonical(vcpu, value))
		return 1;
	vcpu_regs(vcpu)->seg[a->index == X86_MSR_FS_BASE ? HV_SEG_FS : HV_SEG_GS].base = value;
	return 0;
}

static bool lp_msr_hidden(struct hv_vcpu *vcpu, uint32_t index)
{
	if (index == X86_MSR_TSC_AUX)
		return !caps(vcpu)->rdtscp;
	if (index == X86_MSR_PKRS)
		return !caps(vcpu)->pks;
	return !caps(vcpu)->longmode;
}

/* STAR .. FMASK, KERNEL_GS_BASE, TSC_AUX, PKRS: the processor's register file, ours alone. */
static int read_lp(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t *value)
{
	if (a->origin == HV_MSR_GUEST && lp_msr_hidden(vcpu, a->index))
		return 1;
	/* Not every processor has it: no part of the state of a guest that has not. */
	if (a->index == X86_MSR_PKRS && !caps(vcpu)->pks)
		return -ENOENT;
	return vcpu->vm->processor->rdmsr(vcpu->lp, a->index, value) ? 1 : 0;
}

static int write_lp(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t value)
{
	if (a->origin == HV_MSR_GUEST && lp_msr_hidden(vcpu, a->index))
		return 1;
	if ((a->index == X86_MSR_LSTAR || a->index == X86_MSR_CSTAR ||
	     a->index == X86_MSR_KERNEL_GS_BASE) && !canonical(vcpu, value))
		return 1;
	if ((a->index == X86_MSR_TSC_AUX || a->index == X86_MSR_PKRS) && value >> 32)
		return 1;
	return vcpu->vm->processor->wrmsr(vcpu->lp, a->index, value) ? 1 : 0;
}

static int read_debugctl(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t *value)
{
	*value = vcpu_regs_read(vcpu)->debugctl;
	return 0;
}

static int write_debugctl(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t value)
{
	if (value & ~(1ULL | X86_DEBUGCTL_BTF))
		return 1;
	/* LBR is accepted and does nothing: there is no last-branch record to read. */
	vcpu_regs(vcpu)->debugctl = value & X86_DEBUGCTL_BTF;
	return 0;
}

/* ---- time -------------------------------------------------------------------------------------------- */

static int read_tsc(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t *value)
{
	*value = vcpu_read_tsc(vcpu);
	return 0;
}

static int write_tsc(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t value)
{
	/* A write by the guest shows in TSC_ADJUST, one by the user does not. */
	uint64_t before = vcpu_tsc_offset(vcpu);

	vcpu_write_tsc(vcpu, value);
	if (a->origin == HV_MSR_GUEST)
		vcpu->arch->tsc_adjust += vcpu_tsc_offset(vcpu) - before;
	return 0;
}

static int read_tsc_adjust(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t *value)
{
	if (!caps(vcpu)->tsc_adjust)
		return 1;
	*value = vcpu->arch->tsc_adjust;
	return 0;
}

static int write_tsc_adjust(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t value)
{
	if (!caps(vcpu)->tsc_adjust)
		return 1;
	if (a->origin == HV_MSR_GUEST) {
		tsc_adjust_offset(vcpu, (int64_t)(value - vcpu->arch->tsc_adjust));
		vcpu_make_request(vcpu, HV_REQ_CLOCK_UPDATE);
	}
	vcpu->arch->tsc_adjust = value;
	return 0;
}

static int read_pv(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t *value)
{
	switch (a->index) {
	case MSR_KVM_SYSTEM_TIME:
		*value = vcpu->arch->kvmclock_msr;
		return 0;
	case MSR_KVM_STEAL_TIME:
		*value = vcpu->arch->steal.msr;
		return 0;
	default:
		*value = atomic_load(&vm_arch(vcpu->vm)->wall_clock_gpa);
		return 0;
	}
}

static int write_pv(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t value)
{
	switch (a->index) {
	case MSR_KVM_SYSTEM_TIME:
		return pvclock_set_system_time(vcpu, value);
	case MSR_KVM_STEAL_TIME:
		return steal_set_msr(vcpu, value);
	default:
		if (a->origin == HV_MSR_HOST) {
			atomic_store(&vm_arch(vcpu->vm)->wall_clock_gpa, value);
			return 0;
		}
		return pvclock_write_wall_clock(vcpu, value);
	}
}

/* ---- the chips' -------------------------------------------------------------------------------------- */

static int read_apic(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t *value)
{
	const struct hv_irqchip_ops *chips = vcpu->vm->irqchip_ops;

	if (chips)
		return chips->rdmsr(vcpu, a->index, value);
	if (a->index != X86_MSR_APIC_BASE)
		return 1;
	*value = vcpu->arch->apic_base;
	return 0;
}

static int write_apic(struct hv_vcpu *vcpu, const struct msr_access *a, uint64_t value)
{
	const struct hv_irqchip_ops *chips = vcpu->vm->irqchip_ops;
	int r;

	if (chips) {
		r = chips->wrmsr(vcpu, a->index, value);
		vcpu_make_request(vcpu, HV_REQ_EVENT);
		return r;
	}
	if (a->index != X86_MSR_APIC_BASE)
		return 1;
	vcpu->arch->apic_base = value;
	return 0;
}

/* ---- the table, in ascending order -------------------------------------------------------------------- */

static const struct msr_row rows[] = {
	{ 0x0, 0x1, read_const, write_ignored, 0 }, /* P5_MC_ADDR, P5_MC_TYPE */
	{ X86_MSR_TSC, X86_MSR_TSC, read_tsc, write_tsc, 0 },
	{ MSR_PLATFORM_ID, MSR_PLATFORM_ID, read_const, NULL, 0 },
	{ X86_MSR_APIC_BASE, X86_MSR_APIC_BASE, read_apic, write_apic, 0 },
	{ MSR_EBL_CR_POWERON, MSR_EBL_CR_POWERON, read_const, write_ignored, 0 },
	{ MSR_FEATURE_CONTROL, MSR_FEATURE_CONTROL, read_feature_control, write_feature_control, 0 },
	{ MSR_TSC_ADJUST, MSR_TSC_ADJUST, read_tsc_adjust, write_tsc_adjust, 0 },
	{ MSR_SPEC_CTRL, MSR_SPEC_CTRL, read_spec_ctrl, write_spec_ctrl, 0 },
	{ MSR_PRED_CMD, MSR_PRED_CMD, NULL, write_pred_cmd, 0 },
	{ MSR_UCODE_WRITE, MSR_UCODE_WRITE, NULL, write_ignored, 0 },
	{ MSR_UCODE_REV, MSR_UCODE_REV, read_ucode, write_ucode, 0 },
	{ MSR_FSB_FREQ, MSR_FSB_FREQ, read_const, NULL, 3 },
	{ MSR_PLATFORM_INFO, MSR_PLATFORM_INFO, read_platform_info, NULL, 0 },
	{ MSR_MTRRCAP, MSR_MTRRCAP, read_const, NULL, MTRR_VARIABLE | 1u << 8 | 1u << 10 },
	{ MSR_ARCH_CAPABILITIES, MSR_ARCH_CAPABILITIES, read_arch_caps, NULL, 0 },
	{ MSR_MISC_FEATURES, MSR_MISC_FEATURES, read_const, write_zero_only, 0 },
	{ X86_MSR_SYSENTER_CS, X86_MSR_SYSENTER_EIP, read_sysenter, write_sysenter, 0 },
	{ MSR_MCG_CAP, MSR_MCG_CAP, read_const, NULL, 0 }, /* no banks */
	{ MSR_MCG_STATUS, MSR_MCG_STATUS, read_const, write_ignored, 0 },
	{ MSR_PERF_STATUS, MSR_PERF_CTL, read_const, write_ignored, 0 },
	{ MSR_MISC_ENABLE, MSR_MISC_ENABLE, read_misc_enable, write_misc_enable, 0 },
	{ X86_MSR_DEBUGCTL, X86_MSR_DEBUGCTL, read_debugctl, write_debugctl, 0 },
	{ MSR_MTRR_PHYSBASE0, MSR_MTRR_PHYSMASK7, read_mtrr, write_mtrr_var, 0 },
	{ MSR_MTRR_FIX64K, MSR_MTRR_FIX64K, read_mtrr, write_mtrr_fixed, 0 },
	{ 0x258, 0x259, read_mtrr, write_mtrr_fixed, 0 },
	{ 0x268, 0x26f, read_mtrr, write_mtrr_fixed, 0 },
	{ X86_MSR_PAT, X86_MSR_PAT, read_pat, write_pat, 0 },
	{ MSR_MTRR_DEF_TYPE, MSR_MTRR_DEF_TYPE, read_mtrr, write_mtrr_def, 0 },
	{ MSR_TSC_DEADLINE, MSR_TSC_DEADLINE, read_apic, write_apic, 0 },
	{ X86_MSR_PKRS, X86_MSR_PKRS, read_lp, write_lp, 0 },
	{ MSR_X2APIC_FIRST, MSR_X2APIC_LAST, read_apic, write_apic, 0 },
	{ MSR_KVM_WALL_CLOCK, MSR_KVM_SYSTEM_TIME, read_pv, write_pv, 0 },
	{ MSR_KVM_STEAL_TIME, MSR_KVM_STEAL_TIME, read_pv, write_pv, 0 },
	{ X86_MSR_EFER, X86_MSR_EFER, read_efer, write_efer, 0 },
	{ X86_MSR_STAR, X86_MSR_FMASK, read_lp, write_lp, 0 },
	{ X86_MSR_FS_BASE, X86_MSR_GS_BASE, read_base, write_base, 0 },
	{ X86_MSR_KERNEL_GS_BASE, X86_MSR_TSC_AUX, read_lp, write_lp, 0 },
	/* Looked at by kernels on processors whose leaf 0 says AuthenticAMD. */
	{ MSR_K7_EVNTSEL0, MSR_K7_PERFCTR3, read_const, write_ignored, 0 },
	{ MSR_K8_SYSCFG, MSR_K8_SYSCFG, read_const, write_ignored, 0 },
	{ MSR_K7_HWCR, MSR_K7_HWCR, read_const, write_ignored, 0 },
	{ MSR_AMD_NB_CFG, MSR_AMD_NB_CFG, read_const, write_ignored, 0 },
	{ MSR_AMD_INT_PENDING, MSR_AMD_INT_PENDING, read_const, write_ignored, 0 },
	{ MSR_AMD_MMIO_CONF, MSR_AMD_MMIO_CONF, read_const, NULL, 0 },
	{ MSR_AMD_LS_CFG, MSR_AMD_LS_CFG, read_const, write_ignored, 0 },
	{ MSR_AMD_DE_CFG, MSR_AMD_DE_CFG, read_const, write_ignored, 1u << 1 }, /* LFENCE serialises */
};

static const struct msr_row *row_of(uint32_t index)
{
	size_t lo = 0, hi = ARRAY_SIZE(rows);

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (index > rows[mid].last)
			lo = mid + 1;
		else if (index < rows[mid].first)
			hi = mid;
		else
			return &rows[mid];
	}
	return NULL;
}

static int unknown(struct hv_vcpu *vcpu, const struct msr_access *a, const char *what)
{
	if (a->origin == HV_MSR_HOST)
		return -ENOENT;
	if (atomic_fetch_add(&vm_arch(vcpu->vm)->unknown_msrs, 1) < LOG_UNKNOWN_MAX)
		hv_log(NULL, HV_LOG_DEBUG, "%s: vCPU %u: %s of unknown MSR 0x%x", vcpu->vm->name,
		       vcpu->id, what, a->index);
	return 1;
}

int vcpu_get_msr(struct hv_vcpu *vcpu, uint32_t index, uint64_t *value, enum hv_msr_origin origin)
{
	const struct msr_access a = { index, origin };
	const struct msr_row *row = row_of(index);

	if (!row)
		return unknown(vcpu, &a, "read");
	return row->read ? row->read(vcpu, &a, value) : 1;
}

int vcpu_set_msr(struct hv_vcpu *vcpu, uint32_t index, uint64_t value, enum hv_msr_origin origin)
{
	const struct msr_access a = { index, origin };
	const struct msr_row *row = row_of(index);

	if (!row)
		return unknown(vcpu, &a, "write");
	return row->write ? row->write(vcpu, &a, value) : 1;
}

void msr_reset(struct hv_vcpu *vcpu, bool init_event)
{
	struct hv_vcpu_arch *a = vcpu->arch;
	size_t i;

	pvclock_reset(vcpu);
	steal_set_msr(vcpu, 0);
	a->spec_ctrl = 0;
	if (init_event)
		return;
	a->misc_enable = MISC_ENABLE_RESET;
	a->ucode_rev = 1ULL << 32;
	a->feature_control = 1; /* locked: what firmware leaves behind */
	a->tsc_adjust = 0;
	/* No firmware sets the MTRRs up: all memory is write-back from the start. */
	a->mtrr_def_type = 0xc06;
	for (i = 0; i < ARRAY_SIZE(a->mtrr_fixed); i++)
		a->mtrr_fixed[i] = 0x0606060606060606ULL;
	for (i = 0; i < ARRAY_SIZE(a->mtrr_var); i++)
		a->mtrr_var[i] = 0;
	for (i = 0; i < 4; i++)
		vcpu->vm->processor->wrmsr(vcpu->lp, X86_MSR_STAR + (uint32_t)i, 0);
	vcpu->vm->processor->wrmsr(vcpu->lp, X86_MSR_KERNEL_GS_BASE, 0);
	vcpu->vm->processor->wrmsr(vcpu->lp, X86_MSR_TSC_AUX, 0);
	vcpu->vm->processor->wrmsr(vcpu->lp, X86_MSR_PKRS, 0);
}
