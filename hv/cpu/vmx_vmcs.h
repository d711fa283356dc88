/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The software processor's VMCS: a revision word, a launch state and one 64-bit
 * cell per field, in a 4 KiB region that belongs to the hypervisor. Only
 * VMREAD, VMWRITE and the processor look inside.
 *
 * Guest state is kept in two temperatures. The hot fields (RIP, RFLAGS, CR3 ...)
 * are stored at each exit. The cold ones (segments, descriptor tables, MSRs)
 * stay in the register file, and are stored when a VMREAD or VMCLEAR needs them:
 * hardware caches a current VMCS in just this way.
 */
#ifndef HV_CPU_VMX_VMCS_H
#define HV_CPU_VMX_VMCS_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include "hv/cpu/processor.h"
#include "hv/cpu/vmx_arch.h"

#define SOFT_VMCS_REVISION	0x68760001U
#define SOFT_VMCS_SIZE		4096
#define SOFT_VMX_TIMER_SHIFT	5 /* the preemption timer counts once in 2^5 TSC ticks */

/* Index of each field's cell. */
enum vmcs_cell {
#define VMCS_CELL_ENUM(name, encoding) VC_##name,
	VMCS_FIELDS(VMCS_CELL_ENUM)
#undef VMCS_CELL_ENUM
	VC_COUNT,
};

struct soft_vmcs {
	uint32_t revision;
	uint32_t abort;
	uint32_t launched;
	uint32_t reserved;
	uint64_t f[VC_COUNT];
};
static_assert(sizeof(struct soft_vmcs) <= SOFT_VMCS_SIZE, "the VMCS fits its region");

/* What a VMWRITE makes stale. Fields of group 0 are read where they are used. */
#define VMX_DIRTY_CONTROLS	(1U << 0)
#define VMX_DIRTY_HOST		(1U << 1)
#define VMX_DIRTY_HOT		(1U << 2) /* RIP, RSP, RFLAGS, interruptibility, activity */
#define VMX_DIRTY_CR3		(1U << 3)
#define VMX_DIRTY_COLD		(1U << 4)
#define VMX_DIRTY_ALL		0x1fU

struct hv_lp;

enum vmcs_width { VMCS_WIDTH_16 = 0, VMCS_WIDTH_64 = 1, VMCS_WIDTH_32 = 2, VMCS_WIDTH_NATURAL = 3 };
enum vmcs_type { VMCS_CONTROL = 0, VMCS_READ_ONLY = 1, VMCS_GUEST = 2, VMCS_HOST = 3 };

/* Cell of an encoding, or -1: no such component. *high: the upper half of a 64-bit field. */
int vmcs_cell(uint32_t encoding, bool *high);
/* Encoding and name of a cell, for tests and diagnosis. */
uint32_t vmcs_cell_encoding(enum vmcs_cell cell);
const char *vmcs_cell_name(enum vmcs_cell cell);
/* VMX_DIRTY_* that a write to this cell sets. */
uint32_t vmcs_cell_group(enum vmcs_cell cell);

uint64_t vmx_capability(uint32_t msr);
/* Allowed-0 and allowed-1 settings of a 32-bit control field. */
struct vmx_ctl_allowed {
	uint32_t must, may;
};
struct vmx_ctl_allowed vmx_ctl_allowed(uint32_t true_msr);

enum hv_vmx_status vmx_vmclear(struct hv_lp *lp, uint64_t vmcs);
enum hv_vmx_status vmx_vmptrld(struct hv_lp *lp, uint64_t vmcs);
enum hv_vmx_status vmx_vmread(struct hv_lp *lp, uint32_t field, uint64_t *value);
enum hv_vmx_status vmx_vmwrite(struct hv_lp *lp, uint32_t field, uint64_t value);
/* VMfailValid with that error number, or VMfailInvalid without a current VMCS. */
enum hv_vmx_status vmx_fail(struct hv_lp *lp, enum vmx_insn_error error);

#endif
