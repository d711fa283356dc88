/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * MSRs that live in the CPU state; the owner has the rest.
 */
#include "hv/x86/exec.h"
#include "hv/x86/internal.h"

static int not_ours(int ret, struct x86_cpu *cpu)
{
	/* An owner that says FAULT without recording one means #GP(0). */
	if (ret == X86_FAULT && !cpu->fault.valid)
		x86_set_fault(cpu, X86_GP, 0);
	return ret;
}

int x86_read_msr(struct x86_cpu *cpu, uint32_t index, uint64_t *value)
{
	const uint64_t *at = NULL;

	switch (index) {
	case X86_MSR_TSC: /* reads that no bitmap intercepts */
		*value = cpu->ops->rdtsc(cpu);
		return X86_OK;
	case X86_MSR_SYSENTER_CS:
		at = &cpu->sysenter_cs;
		break;
	case X86_MSR_SYSENTER_ESP:
		at = &cpu->sysenter_esp;
		break;
	case X86_MSR_SYSENTER_EIP:
		at = &cpu->sysenter_eip;
		break;
	case X86_MSR_DEBUGCTL:
		at = &cpu->debugctl;
		break;
	case X86_MSR_PAT:
		at = &cpu->pat;
		break;
	case X86_MSR_PKRS:
		at = x86_has(cpu, X86_FEAT_PKS) ? &cpu->pkrs : NULL;
		break;
	case X86_MSR_XSS:
		at = x86_has(cpu, X86_FEAT_XSAVES) ? &cpu->xss : NULL;
		break;
	case X86_MSR_EFER:
		at = &cpu->efer;
		break;
	case X86_MSR_STAR:
		at = &cpu->star;
		break;
	case X86_MSR_LSTAR:
		at = &cpu->lstar;
		break;
	case X86_MSR_CSTAR:
		at = &cpu->cstar;
		break;
	case X86_MSR_FMASK:
		at = &cpu->fmask;
		break;
	case X86_MSR_FS_BASE:
		at = &cpu->seg[X86_FS].base;
		break;
	case X86_MSR_GS_BASE:
		at = &cpu->seg[X86_GS].base;
		break;
	case X86_MSR_KERNEL_GS_BASE:
		at = &cpu->kernel_gs_base;
		break;
	case X86_MSR_TSC_AUX:
		at = &cpu->tsc_aux;
		break;
	default:
		break;
	}
	if (at) {
		*value = *at;
		return X86_OK;
	}
	cpu->fault.valid = 0;
	return not_ours(cpu->ops->rdmsr(cpu, index, value), cpu);
}

static bool pat_valid(uint64_t value)
{
	unsigned int i;

	for (i = 0; i < 64; i += 8) {
		unsigned int type = value >> i & 0xff;

		if (type > 7 || type == 2 || type == 3)
			return false;
	}
	return true;
}

static int store(struct x86_cpu *cpu, uint64_t *at, uint64_t value, bool valid)
{
	if (!valid)
		return x86_set_fault(cpu, X86_GP, 0);
	*at = value;
	return X86_OK;
}

static int write_pkrs(struct x86_cpu *cpu, uint64_t value)
{
	int ret = store(cpu, &cpu->pkrs, value, !(value >> 32));

	if (ret == X86_OK)
		x86_tlb_flush_space(cpu, cpu->space);
	return ret;
}

int x86_write_msr(struct x86_cpu *cpu, uint32_t index, uint64_t value)
{
	bool canonical = !x86_noncanonical_reg(cpu, value);

	switch (index) {
	case X86_MSR_SYSENTER_CS:
		return store(cpu, &cpu->sysenter_cs, (uint32_t)value, true);
	case X86_MSR_SYSENTER_ESP:
		return store(cpu, &cpu->sysenter_esp, value, canonical);
	case X86_MSR_SYSENTER_EIP:
		return store(cpu, &cpu->sysenter_eip, value, canonical);
	case X86_MSR_DEBUGCTL:
		return store(cpu, &cpu->debugctl, value & 3, !(value & ~0xffdfull));
	case X86_MSR_PAT:
		return store(cpu, &cpu->pat, value, pat_valid(value));
	case X86_MSR_EFER:
		return x86_write_efer(cpu, value);
	case X86_MSR_STAR:
		return store(cpu, &cpu->star, value, true);
	case X86_MSR_LSTAR:
		return store(cpu, &cpu->lstar, value, canonical);
	case X86_MSR_CSTAR:
		return store(cpu, &cpu->cstar, value, canonical);
	case X86_MSR_FMASK:
		return store(cpu, &cpu->fmask, (uint32_t)value, true);
	case X86_MSR_FS_BASE:
		return store(cpu, &cpu->seg[X86_FS].base, value, canonical);
	case X86_MSR_GS_BASE:
		return store(cpu, &cpu->seg[X86_GS].base, value, canonical);
	case X86_MSR_KERNEL_GS_BASE:
		return store(cpu, &cpu->kernel_gs_base, value, canonical);
	case X86_MSR_TSC_AUX:
		return store(cpu, &cpu->tsc_aux, (uint32_t)value, true);
	case X86_MSR_XSS: /* no supervisor components are offered */
		if (x86_has(cpu, X86_FEAT_XSAVES))
			return store(cpu, &cpu->xss, value, !value);
		break;
	case X86_MSR_PKRS:
		if (x86_has(cpu, X86_FEAT_PKS))
			return write_pkrs(cpu, value);
		break;
	default:
		break;
	}
	cpu->fault.valid = 0;
	return not_ours(cpu->ops->wrmsr(cpu, index, value), cpu);
}

void x86_op_rdmsr(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct x86_intercept_info info;
	uint64_t value = 0;

	x86_begin(cpu, insn);
	if (cpu->cpl != 0)
		x86_gp(cpu, 0);
	if (x86_intercepted(cpu, X86_ICPT_RDMSR)) {
		memset(&info, 0, sizeof(info));
		info.msr.index = (uint32_t)cpu->gpr[X86_RCX];
		if (x86_icpt(cpu, insn, X86_ICPT_RDMSR, &info) == X86_DONE) {
			x86_advance(cpu, insn);
			return;
		}
	}
	x86_check(cpu, x86_read_msr(cpu, (uint32_t)cpu->gpr[X86_RCX], &value));
	cpu->gpr[X86_RAX] = (uint32_t)value;
	cpu->gpr[X86_RDX] = value >> 32;
	x86_advance(cpu, insn);
}

void x86_op_wrmsr(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct x86_intercept_info info;
	uint64_t value = (uint32_t)cpu->gpr[X86_RAX] | cpu->gpr[X86_RDX] << 32;

	x86_begin(cpu, insn);
	if (cpu->cpl != 0)
		x86_gp(cpu, 0);
	if (x86_intercepted(cpu, X86_ICPT_WRMSR)) {
		memset(&info, 0, sizeof(info));
		info.msr.index = (uint32_t)cpu->gpr[X86_RCX];
		info.msr.value = value;
		if (x86_icpt(cpu, insn, X86_ICPT_WRMSR, &info) == X86_DONE) {
			x86_advance(cpu, insn);
			return;
		}
	}
	x86_check(cpu, x86_write_msr(cpu, (uint32_t)cpu->gpr[X86_RCX], value));
	x86_serialise(cpu);
	x86_advance(cpu, insn);
}
