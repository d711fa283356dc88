/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What hv/x86 asks of the one who owns the CPU state: physical memory, I/O,
 * MSRs outside the state, CPUID, and the interception of events. The software
 * processor (hv/cpu) and the MMIO emulator (hv/vcpu) each have one const table.
 *
 * Every operation is called on the thread that runs the CPU, at an exact
 * instruction boundary or inside an instruction that has had no visible effect
 * which restarting it would repeat. None may longjmp; none may call x86_run()
 * or x86_step_one() on the same CPU.
 */
#ifndef HV_X86_OPS_H
#define HV_X86_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct x86_cpu;
struct x86_insn;

/* What operations and entry points return. */
enum x86_status {
	X86_OK = 0,
	X86_EXIT,	/* stop with rip at the instruction; the op has filled in its own exit information */
	X86_MMIO,	/* phys_translate only: no host memory here, use phys_read and phys_write */
	X86_DONE,	/* the op has carried out the instruction: advance rip and go on */
	X86_FAULT,	/* an exception was recorded with x86_set_fault(): deliver it */
};

/* Access kinds; a bit set. READ, WRITE, EXEC are also the permissions in x86_phys_res. */
#define X86_ACC_READ	(1u << 0)
#define X86_ACC_WRITE	(1u << 1)
#define X86_ACC_EXEC	(1u << 2)
#define X86_ACC_USER	(1u << 3)	/* at CPL 3 and not implicitly supervisor */
#define X86_ACC_PT_WALK	(1u << 4)	/* of a guest paging structure (WRITE: accessed/dirty update) */
#define X86_ACC_LINEAR	(1u << 5)	/* `linear` is valid: gpa is its translation, or a paging structure
					 * on the way to it when PT_WALK is set */
#define X86_ACC_PDPTE	(1u << 6)	/* load of the PAE page-directory-pointer registers */
#define X86_ACC_VECTORING (1u << 7)	/* while an event is being delivered (cpu->vectoring) */
/* The guest's own paging rights of the final page, for mode-based execute control and
 * advanced exit qualifications; valid with LINEAR and without PT_WALK. */
#define X86_ACC_GUEST_USER (1u << 8)	/* user page */
#define X86_ACC_GUEST_W	(1u << 9)	/* writable page */
#define X86_ACC_GUEST_NX (1u << 10)	/* execute-disable page */

struct x86_phys_req {
	uint64_t gpa;
	uint64_t linear;
	uint32_t access;	/* X86_ACC_* */
	uint32_t size;		/* bytes wanted from gpa, within one 4 KiB page; information only */
};

struct x86_phys_res {
	uint8_t *host;		/* host address of the 4 KiB page that holds gpa */
	uint64_t page_size;	/* size of the second-level mapping: 4096, 2 MiB, 1 GiB; information */
	uint8_t perm;		/* READ|WRITE|EXEC that may be cached without asking again; WRITE only
				 * once the second level's dirty state is set */
	bool no_cache;		/* this access only: do not keep it in the TLB */
};

/* Events that can be intercepted: bit numbers in x86_cpu.intercepts. */
enum x86_intercept {
	X86_ICPT_EXC = 0,	/* + vector 0..31 */
	X86_ICPT_CR_READ = 32,	/* + register 0..15; SMSW is X86_ICPT_SMSW */
	X86_ICPT_CR_WRITE = 48,	/* + register 0..15 */
	X86_ICPT_DR_READ = 64,	/* + register 0..15 */
	X86_ICPT_DR_WRITE = 80,	/* + register 0..15 */
	X86_ICPT_SMSW = 96, X86_ICPT_LMSW, X86_ICPT_CLTS,
	X86_ICPT_IO,		/* IN, OUT, INS, OUTS: the owner applies its bitmap */
	X86_ICPT_RDMSR, X86_ICPT_WRMSR,
	X86_ICPT_CPUID, X86_ICPT_HLT, X86_ICPT_PAUSE, X86_ICPT_MONITOR, X86_ICPT_MWAIT,
	X86_ICPT_INVLPG, X86_ICPT_INVPCID, X86_ICPT_INVD, X86_ICPT_WBINVD,
	X86_ICPT_RDTSC, X86_ICPT_RDTSCP, X86_ICPT_RDPMC, X86_ICPT_RDPID,
	X86_ICPT_RDRAND, X86_ICPT_RDSEED, X86_ICPT_XSETBV, X86_ICPT_XSAVES, X86_ICPT_XRSTORS,
	X86_ICPT_LGDT, X86_ICPT_SGDT, X86_ICPT_LIDT, X86_ICPT_SIDT,
	X86_ICPT_LLDT, X86_ICPT_SLDT, X86_ICPT_LTR, X86_ICPT_STR,
	X86_ICPT_INTN, X86_ICPT_IRET, X86_ICPT_PUSHF, X86_ICPT_POPF,
	X86_ICPT_TASK_SWITCH, X86_ICPT_RSM, X86_ICPT_SHUTDOWN, X86_ICPT_FERR,
	X86_ICPT_VMX_INSN,	/* VMCALL .. VMXOFF: any but VMCALL and VMFUNC */
	X86_ICPT_SVM_INSN,	/* VMRUN .. SKINIT but VMMCALL */
	X86_ICPT_VMCALL, X86_ICPT_VMMCALL, X86_ICPT_VMFUNC,
	X86_ICPT_ENCLS, X86_ICPT_GETSEC, X86_ICPT_ICEBP, X86_ICPT_EFER_WRITE,
	X86_ICPT_CR0_SEL,	/* SVM selective: CR0 write that changes more than TS and MP */
	X86_ICPT_NR,
};
#define X86_ICPT_WORDS 4

/* A memory operand as the VMX instruction-information field and decode assists want it. */
struct x86_memop {
	uint8_t valid;
	uint8_t base, index;	/* register number, 0xff none */
	uint8_t scale;		/* log2 */
	uint8_t seg;		/* X86_ES.. */
	uint8_t adsize;		/* 2, 4, 8 bytes */
	uint8_t opsize;		/* 2, 4, 8 bytes */
	uint8_t reg;		/* modrm.reg register number */
	uint8_t rm;		/* register number when the operand is a register (valid == 0) */
	int64_t disp;		/* sign-extended; rip-relative already added */
	uint64_t offset;	/* effective address without the segment base */
	uint64_t linear;
};

struct x86_icpt_io {
	uint16_t port;
	uint8_t size;		/* 1, 2, 4 */
	uint8_t adsize;		/* 2, 4, 8: of string forms */
	bool in, string, rep, imm;
	uint8_t seg;		/* of OUTS' source; X86_ES for INS */
	uint64_t linear;	/* string forms: linear address of the element */
	uint64_t count;		/* rep: iterations left, else 1 */
};

/* `is_mov` false for LMSW, CLTS, SMSW; `value` is in/out: what will be written or delivered. */
struct x86_icpt_cr {
	uint8_t num, gpr;
	bool mem;		/* LMSW/SMSW with a memory operand */
	uint64_t linear;	/* of that operand */
	uint64_t value;
};

struct x86_icpt_exc {
	uint8_t vector;
	uint8_t type;		/* enum x86_event_type */
	bool has_error;
	uint32_t error_code;
	uint64_t payload;	/* #PF: the linear address for CR2; #DB: bits to set in DR6 */
	bool iret_nmi_unblock;	/* a fault in IRET that had already cleared NMI blocking */
};

struct x86_icpt_task {
	uint16_t selector;
	uint8_t source;		/* 0 CALL, 1 IRET, 2 JMP, 3 task gate in the IDT */
	bool has_error;
	uint32_t error_code;
	uint8_t event_type;	/* source 3: enum x86_event_type */
	uint8_t event_vector;
};

struct x86_intercept_info {
	const struct x86_insn *insn;	/* NULL for events that no instruction caused */
	const uint8_t *bytes;		/* instruction bytes, insn_len of them; NULL with insn */
	uint8_t insn_len;
	uint64_t rip, next_rip;
	union {
		struct x86_icpt_io io;
		struct x86_icpt_cr cr;		/* CR_*, DR_*, SMSW, LMSW, CLTS, CR0_SEL */
		struct x86_icpt_exc exc;
		struct x86_icpt_task task;
		struct { uint32_t index; uint64_t value; } msr;
		struct { uint64_t linear; uint64_t type; uint64_t pcid; } inv; /* INVLPG, INVPCID */
		struct { uint8_t vector; } intn;
		struct { uint32_t index; uint64_t value; } xcr;
	};
	struct x86_memop memop;		/* descriptor-table, INVPCID, VMX, RDRAND, RDSEED forms */
};

/* VMX and SVM instructions, for vmx_insn and svm_insn. */
enum x86_virt_insn {
	X86_VMCALL, X86_VMCLEAR, X86_VMLAUNCH, X86_VMPTRLD, X86_VMPTRST, X86_VMREAD, X86_VMRESUME,
	X86_VMWRITE, X86_VMXOFF, X86_VMXON, X86_INVEPT, X86_INVVPID, X86_VMFUNC,
	X86_VMRUN, X86_VMMCALL, X86_VMLOAD, X86_VMSAVE, X86_STGI, X86_CLGI, X86_SKINIT, X86_INVLPGA,
};

struct x86_ops {
	/*
	 * Guest-physical address to host memory. OK: *res is filled. EXIT: the access
	 * faults in the second level. MMIO: only owners that have phys_read and
	 * phys_write return it. Called on TLB misses and for each entry of a guest
	 * page walk.
	 */
	int (*phys_translate)(struct x86_cpu *cpu, const struct x86_phys_req *req,
			      struct x86_phys_res *res);
	/*
	 * MMIO-like access of 1..8 bytes within a page (wider and page-crossing accesses
	 * are split). OK, or EXIT: the value is not there yet; the instruction will be
	 * executed again from its start. NULL when phys_translate never says MMIO.
	 */
	int (*phys_read)(struct x86_cpu *cpu, uint64_t gpa, void *buf, size_t size);
	int (*phys_write)(struct x86_cpu *cpu, uint64_t gpa, const void *buf, size_t size);
	/*
	 * An intercepted event, before it has any effect. OK: proceed as if not
	 * intercepted (with the possibly changed in/out value). EXIT, DONE, FAULT as above;
	 * DONE only for instructions. For exceptions: CR2 and DR6 not yet updated; inside a
	 * delivery, cpu->vectoring holds the interrupted event.
	 */
	int (*intercept)(struct x86_cpu *cpu, enum x86_intercept what, struct x86_intercept_info *info);
	/*
	 * Whether MOV to CR and MOV DR look for exceptions that need no memory (reserved bits, DR7.GD)
	 * before they are intercepted, as SVM wants it, or behind, as VMX does.
	 */
	bool values_first;
	/* Guest's CPUID. Also called by x86_features_changed(). */
	void (*cpuid)(struct x86_cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t out[4]);
	/* MSRs that are not in struct x86_cpu. OK, EXIT, or FAULT without x86_set_fault(): #GP(0). */
	int (*rdmsr)(struct x86_cpu *cpu, uint32_t index, uint64_t *value);
	int (*wrmsr)(struct x86_cpu *cpu, uint32_t index, uint64_t value);
	/* Port access of 1, 2, 4 bytes that was not intercepted. OK or EXIT. */
	int (*io_in)(struct x86_cpu *cpu, uint16_t port, unsigned int size, uint32_t *value);
	int (*io_out)(struct x86_cpu *cpu, uint16_t port, unsigned int size, uint32_t value);
	/* The guest's time-stamp counter (offset and scale applied), performance counter. */
	uint64_t (*rdtsc)(struct x86_cpu *cpu);
	int (*rdpmc)(struct x86_cpu *cpu, uint32_t index, uint64_t *value);	/* OK or FAULT (#GP) */
	/*
	 * Called at an instruction boundary when one of the owner's bits in cpu->pending
	 * is set and deliverable; `which` are those X86_PEND_* bits. The owner clears what
	 * it has handled, may call x86_inject(). OK or EXIT.
	 */
	int (*poll)(struct x86_cpu *cpu, uint32_t which);
	/*
	 * Instructions of nested hypervisors, after #UD checks that need no knowledge of
	 * VMX or SVM (mode, prefixes) and after the intercept. NULL: #UD. May use
	 * x86_lin_read() and x86_lin_write(). DONE: advance; EXIT; FAULT.
	 */
	int (*vmx_insn)(struct x86_cpu *cpu, enum x86_virt_insn what, struct x86_intercept_info *info);
	int (*svm_insn)(struct x86_cpu *cpu, enum x86_virt_insn what, struct x86_intercept_info *info);
	/* CR8 when it is not simply cpu->cr8: NULL keeps it in the state. */
	uint64_t (*cr8_read)(struct x86_cpu *cpu);
	int (*cr8_write)(struct x86_cpu *cpu, uint64_t value);
	/* RDRAND, RDSEED: 1 and a value, or 0 for "try again". NULL: the host's RDRAND. */
	int (*random)(struct x86_cpu *cpu, uint64_t *value);
	/* The instruction wrote CR0, CR3, CR4, EFER or XCR0 to the state. NULL: not interested. */
	void (*cr_written)(struct x86_cpu *cpu, enum x86_intercept what);
};

#endif
