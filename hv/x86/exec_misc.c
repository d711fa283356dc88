/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Time, identification, randomness, fences and caches, the interrupt flag, FS and GS bases,
 * protection keys, and instructions that only the owner knows.
 */
#include "hv/x86/exec.h"
#include "hv/x86/internal.h"

static void done(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_advance(cpu, insn);
}

/* ---- time and counters ------------------------------------------------------------------------------- */

static void check_tsd(struct x86_cpu *cpu)
{
	if ((cpu->cr4 & X86_CR4_TSD) && cpu->cpl > 0)
		x86_gp(cpu, 0);
}

static void read_tsc(struct x86_cpu *cpu)
{
	uint64_t tsc = cpu->ops->rdtsc(cpu);

	cpu->gpr[X86_RAX] = (uint32_t)tsc;
	cpu->gpr[X86_RDX] = tsc >> 32;
}

void x86_op_rdtsc(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_begin(cpu, insn);
	check_tsd(cpu);
	if (!x86_icpt_simple(cpu, insn, X86_ICPT_RDTSC))
		read_tsc(cpu);
	done(cpu, insn);
}

void x86_op_rdtscp(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_begin(cpu, insn);
	check_tsd(cpu);
	if (!x86_icpt_simple(cpu, insn, X86_ICPT_RDTSCP)) {
		read_tsc(cpu);
		cpu->gpr[X86_RCX] = (uint32_t)cpu->tsc_aux;
	}
	done(cpu, insn);
}

void x86_op_rdpid(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_begin(cpu, insn);
	if (!x86_icpt_simple(cpu, insn, X86_ICPT_RDPID))
		x86_reg_set(cpu, insn->src, insn->opsize, (uint32_t)cpu->tsc_aux);
	X86_NEXT();
}

void x86_op_rdpmc(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t value = 0;

	x86_begin(cpu, insn);
	if (!(cpu->cr4 & X86_CR4_PCE) && cpu->cpl > 0 && x86_pe(cpu))
		x86_gp(cpu, 0);
	if (!x86_icpt_simple(cpu, insn, X86_ICPT_RDPMC)) {
		if (!cpu->ops->rdpmc ||
		    cpu->ops->rdpmc(cpu, (uint32_t)cpu->gpr[X86_RCX], &value) != X86_OK)
			x86_gp(cpu, 0);
		cpu->gpr[X86_RAX] = (uint32_t)value;
		cpu->gpr[X86_RDX] = value >> 32;
	}
	done(cpu, insn);
}

/* ---- identification, randomness ------------------------------------------------------------------------ */

void x86_op_cpuid(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint32_t out[4] = { 0 };

	x86_begin(cpu, insn);
	if (!x86_icpt_simple(cpu, insn, X86_ICPT_CPUID)) {
		cpu->ops->cpuid(cpu, (uint32_t)cpu->gpr[X86_RAX], (uint32_t)cpu->gpr[X86_RCX], out);
		cpu->gpr[X86_RAX] = out[0];
		cpu->gpr[X86_RBX] = out[1];
		cpu->gpr[X86_RCX] = out[2];
		cpu->gpr[X86_RDX] = out[3];
	}
	x86_serialise(cpu);
	done(cpu, insn);
}

static int host_random(uint64_t *value)
{
	uint8_t ok;

	__asm__ volatile("rdrand %0\n\tsetc %1" : "=r"(*value), "=qm"(ok) : : "cc");
	return ok;
}

static void random_to(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned int what)
{
	uint64_t v = 0;
	int ok;

	x86_begin(cpu, insn);
	if (x86_icpt_simple(cpu, insn, what)) {
		done(cpu, insn);
		return;
	}
	ok = cpu->ops->random ? cpu->ops->random(cpu, &v) : host_random(&v);
	x86_reg_set(cpu, insn->src, insn->opsize, ok ? v : 0);
	cpu->cc = ok ? X86_CC_CF : 0;
	done(cpu, insn);
}

void x86_op_rdrand(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	random_to(cpu, insn, X86_ICPT_RDRAND);
}

void x86_op_rdseed(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	random_to(cpu, insn, X86_ICPT_RDSEED);
}

/* ---- fences and caches ------------------------------------------------------------------------------------ */

void x86_op_fence(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	__asm__ volatile("mfence" ::: "memory");
	X86_NEXT();
}

void x86_op_serialize(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	__asm__ volatile("mfence" ::: "memory");
	x86_serialise(cpu);
	done(cpu, insn);
}

/* Nothing to flush, but the address must be readable. */
void x86_op_clflush(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_begin(cpu, insn);
	(void)x86_load(cpu, insn, 1);
	__asm__ volatile("mfence" ::: "memory");
	X86_NEXT();
}

void x86_op_clzero(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	static const uint8_t zero[64];
	uint64_t off = cpu->gpr[X86_RAX] & x86_mask(insn->adsize) & ~63ull, lin;

	x86_begin(cpu, insn);
	lin = x86_seg_linear(cpu, insn, insn->seg, off, 64, X86_ACC_WRITE);
	x86_copy_to(cpu, lin, zero, 64, cpu->tlb_mode);
	X86_NEXT();
}

void x86_op_invd(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_begin(cpu, insn);
	if (cpu->cpl != 0)
		x86_gp(cpu, 0);
	(void)x86_icpt_simple(cpu, insn, X86_ICPT_INVD);
	x86_serialise(cpu);
	done(cpu, insn);
}

void x86_op_wbinvd(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_begin(cpu, insn);
	if (cpu->cpl != 0)
		x86_gp(cpu, 0);
	(void)x86_icpt_simple(cpu, insn, X86_ICPT_WBINVD);
	x86_serialise(cpu);
	done(cpu, insn);
}

void x86_op_monitor(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t lin;

	x86_begin(cpu, insn);
	if (cpu->cpl != 0)
		x86_ud(cpu);
	if (x86_icpt_simple(cpu, insn, X86_ICPT_MONITOR)) {
		done(cpu, insn);
		return;
	}
	if ((uint32_t)cpu->gpr[X86_RCX])
		x86_gp(cpu, 0);
	lin = x86_seg_linear(cpu, insn, insn->seg, cpu->gpr[X86_RAX] & x86_mask(insn->adsize), 1,
			     X86_ACC_READ);
	(void)x86_read(cpu, insn, lin, 1, insn->seg);
	done(cpu, insn);
}

/* No monitor hardware is modelled: MWAIT falls through at once, as after a store to the line. */
void x86_op_mwait(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_begin(cpu, insn);
	if (cpu->cpl != 0)
		x86_ud(cpu);
	if (!x86_icpt_simple(cpu, insn, X86_ICPT_MWAIT) && ((uint32_t)cpu->gpr[X86_RCX] & ~1u))
		x86_gp(cpu, 0);
	x86_serialise(cpu);
	done(cpu, insn);
}

/* ---- IF, AC ------------------------------------------------------------------------------------------------ */

/* CLI and STI on VIF: virtual-8086 mode with VME, CPL 3 with PVI. */
static bool virtual_if(const struct x86_cpu *cpu)
{
	if (x86_v86(cpu))
		return cpu->cr4 & X86_CR4_VME;
	return cpu->cpl == 3 && (cpu->cr4 & X86_CR4_PVI);
}

static bool may_change_if(const struct x86_cpu *cpu)
{
	return !x86_pe(cpu) || cpu->cpl <= x86_iopl(cpu);
}

void x86_op_cli(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	if (may_change_if(cpu)) {
		cpu->eflags &= ~X86_FL_IF;
		cpu->pend_mask &= ~X86_PEND_INTR;
		X86_NEXT();
	}
	x86_begin(cpu, insn);
	if (!virtual_if(cpu))
		x86_gp(cpu, 0);
	cpu->eflags &= ~X86_FL_VIF;
	X86_NEXT();
}

void x86_op_sti(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_begin(cpu, insn);
	if (may_change_if(cpu)) {
		if (!(cpu->eflags & X86_FL_IF)) {
			cpu->eflags |= X86_FL_IF;
			cpu->intr_state |= X86_SHADOW_STI;
			cpu->shadow_fresh = 1;
			x86_update_pending(cpu);
		}
	} else {
		if (!virtual_if(cpu) || (cpu->eflags & X86_FL_VIP))
			x86_gp(cpu, 0);
		cpu->eflags |= X86_FL_VIF;
	}
	done(cpu, insn);
}

static void set_ac(struct x86_cpu *cpu, const struct x86_insn *insn, bool on)
{
	if (cpu->cpl != 0) {
		x86_begin(cpu, insn);
		x86_ud(cpu);
	}
	cpu->eflags = on ? cpu->eflags | X86_FL_AC : cpu->eflags & ~X86_FL_AC;
	x86_update_tlb_mode(cpu);
}

void x86_op_stac(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	set_ac(cpu, insn, true);
	X86_NEXT();
}

void x86_op_clac(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	set_ac(cpu, insn, false);
	X86_NEXT();
}

/* ---- FS and GS bases, protection keys --------------------------------------------------------------------------- */

void x86_op_fsgsbase(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned int op = insn->modrm >> 3 & 7;
	struct x86_seg *s = &cpu->seg[op & 1 ? X86_GS : X86_FS];
	uint64_t v;

	if (!(cpu->cr4 & X86_CR4_FSGSBASE)) {
		x86_begin(cpu, insn);
		x86_ud(cpu);
	}
	if (op < 2) {
		x86_reg_set(cpu, insn->src, insn->opsize, s->base);
		X86_NEXT();
	}
	v = x86_reg_get(cpu, insn->src, insn->opsize);
	if (x86_noncanonical_reg(cpu, v)) {
		x86_begin(cpu, insn);
		x86_gp(cpu, 0);
	}
	s->base = v;
	X86_NEXT();
}

static void check_pku(struct x86_cpu *cpu, bool write)
{
	if (!(cpu->cr4 & X86_CR4_PKE))
		x86_ud(cpu);
	if ((uint32_t)cpu->gpr[X86_RCX] || (write && (uint32_t)cpu->gpr[X86_RDX]))
		x86_gp(cpu, 0);
}

void x86_op_rdpkru(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_begin(cpu, insn);
	check_pku(cpu, false);
	cpu->gpr[X86_RAX] = cpu->pkru;
	cpu->gpr[X86_RDX] = 0;
	X86_NEXT();
}

void x86_op_wrpkru(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint32_t old = cpu->pkru;

	x86_begin(cpu, insn);
	check_pku(cpu, true);
	cpu->pkru = (uint32_t)cpu->gpr[X86_RAX];
	/* Rights are in the TLB's entries. */
	if (cpu->pkru != old)
		x86_tlb_flush_space(cpu, cpu->space);
	done(cpu, insn);
}

/* ---- VMX, SVM and other owners' instructions -------------------------------------------------------------------- */

static unsigned int virt_icpt(const struct x86_insn *insn)
{
	switch (insn->vvvv) {
	case X86_VMCALL:
		return X86_ICPT_VMCALL;
	case X86_VMFUNC:
		return X86_ICPT_VMFUNC;
	case X86_VMMCALL:
		return X86_ICPT_VMMCALL;
	default:
		return insn->vvvv >= X86_VMRUN ? X86_ICPT_SVM_INSN : X86_ICPT_VMX_INSN;
	}
}

static void virt(struct x86_cpu *cpu, const struct x86_insn *insn, bool svm)
{
	int (*op)(struct x86_cpu *, enum x86_virt_insn, struct x86_intercept_info *) =
		svm ? cpu->ops->svm_insn : cpu->ops->vmx_insn;
	struct x86_intercept_info info;
	int ret;

	x86_begin(cpu, insn);
	memset(&info, 0, sizeof(info));
	if (x86_icpt(cpu, insn, virt_icpt(insn), &info) != X86_DONE) {
		if (!op)
			x86_ud(cpu);
		info.insn = insn;
		info.bytes = insn->raw;
		info.insn_len = insn->len;
		info.rip = cpu->insn_rip;
		info.next_rip = x86_next_rip(cpu, insn);
		x86_memop(cpu, insn, &info.memop);
		ret = op(cpu, (enum x86_virt_insn)insn->vvvv, &info);
		x86_check(cpu, ret);
	}
	x86_serialise(cpu);
	done(cpu, insn);
}

void x86_op_vmx(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	virt(cpu, insn, false);
}

void x86_op_svm(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	virt(cpu, insn, true);
}

static void owner_or_ud(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned int what)
{
	x86_begin(cpu, insn);
	if (!x86_icpt_simple(cpu, insn, what))
		x86_ud(cpu);
	done(cpu, insn);
}

void x86_op_rsm(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	owner_or_ud(cpu, insn, X86_ICPT_RSM);
}

void x86_op_getsec(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	owner_or_ud(cpu, insn, X86_ICPT_GETSEC);
}

void x86_op_encls(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	owner_or_ud(cpu, insn, X86_ICPT_ENCLS);
}
