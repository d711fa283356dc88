/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest of a few instructions in any mode, through the real layers: processor,
 * vendor module, MMU. A test gives code bytes and registers, and learns which
 * exception came, or that the code reached its end.
 *
 * Memory is 2 MiB, mapped one to one. Below CODE are tables and stacks; from CODE
 * on it is the test's.
 */
#ifndef HV_TESTS_INSN_GUEST_H
#define HV_TESTS_INSN_GUEST_H

#include "hv/hv.h"

#define INSN_GUEST_RAM	(2u << 20)
#define INSN_GUEST_CODE 0x10000u
#define INSN_GUEST_PML4 0x4000u /* entry 0, then a PDPT and a page directory, a page each */

enum insn_guest_mode { GUEST_REAL, GUEST_V86, GUEST_PROT16, GUEST_PROT32, GUEST_COMPAT32, GUEST_LONG };

struct insn_guest {
	struct hv_vm *vm;
	struct hv_vcpu *vcpu;
	uint8_t *ram;
};

/* Aborts the test when anything fails. NULL: the default. */
void insn_guest_make(struct insn_guest *g, const char *vendor, const char *paging,
		     const char *model);
void insn_guest_finish(struct insn_guest *g);

struct insn_guest_run {
	enum insn_guest_mode mode;
	int cpl;		/* 0 or 3; ignored in real mode (0) and virtual-8086 mode (3) */
	uint64_t rip;		/* 0: INSN_GUEST_CODE */
	const void *code;
	unsigned int len;
	uint64_t cr0, cr4, efer, rflags; /* bits to set besides the mode's own */
	struct hv_regs regs;	/* in and out; rip, rflags and rsp are the run's own */
	/* out */
	int vector;		/* of the exception, or -1: the code ran to its end */
	uint32_t error_code;	/* of an exception that pushes one outside real mode */
	uint64_t fault_rip;	/* pushed by the exception */
};

/*
 * Runs the code, after which the test library puts its own end. Aborts the test on any exit
 * but the end or an exception.
 */
void insn_guest_run(struct insn_guest *g, struct insn_guest_run *run);

#endif
