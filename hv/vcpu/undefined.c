/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * #UD, which both vendor modules intercept. A guest chooses its hypercall
 * instruction once, by the vendor that its CPUID shows, and keeps it when it moves
 * to a host with the other kind of processor: there the instruction is undefined,
 * and is served here as if it were the processor's own. Guest memory stays as it
 * is, for the next host. Likewise SYSCALL and SYSRET outside 64-bit mode, which only AMD has,
 * and SYSENTER and SYSEXIT in long mode, which only Intel has. (A guest with AMD's CPUID on
 * Intel's processor can execute the latter: no exit tells of it.) Every other #UD goes to the guest.
 */
#include <errno.h>

#include "hv/vcpu/arch.h"
#include "hv/x86/defs.h"
#include "hv/x86/x86.h"

static bool is_hypercall(const struct x86_insn *insn)
{
	return insn->map == X86_MAP_0F && insn->opcode == 0x01 &&
	       (insn->modrm == 0xc1 /* VMCALL */ || insn->modrm == 0xd9 /* VMMCALL */);
}

static bool is_syscall(const struct x86_insn *insn)
{
	return insn->map == X86_MAP_0F &&
	       (insn->opcode == 0x05 /* SYSCALL */ || insn->opcode == 0x07 /* SYSRET */);
}

static bool is_sysenter(const struct x86_insn *insn)
{
	return insn->map == X86_MAP_0F &&
	       (insn->opcode == 0x34 /* SYSENTER */ || insn->opcode == 0x35 /* SYSEXIT */);
}

int vcpu_handle_undefined(struct hv_vcpu *vcpu)
{
	struct x86_insn insn;
	int r = emulate_decode(vcpu, &insn);

	if (r == -EAGAIN)
		return 1; /* a slot is in transition: the guest raises #UD again */
	if (r == -ENOMEM)
		return r;
	if (!r && is_hypercall(&insn))
		return vcpu_hypercall(vcpu, insn.len);
	/* The emulator has the vendor of the guest's CPUID, and raises #UD where that does. */
	if (!r && (vm_arch(vcpu->vm)->caps.vendor_amd ? is_syscall(&insn) : is_sysenter(&insn)))
		return vcpu_emulate_instruction(vcpu, HV_INVALID_GPA);
	return vcpu_emulate_ud(vcpu);
}
