/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The parts of SVM operation: state, checks, intercepts, exits. */
#ifndef HV_CPU_SVM_GUEST_H
#define HV_CPU_SVM_GUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/cpu/soft_internal.h"

/* ---- svm_check.c: NULL, or the name of the rule that is broken ---- */
const char *svm_check(struct hv_lp *lp, const struct svm_vmcb *vmcb);

/* ---- svm_state.c ---- */
/* Load what the clean bits do not vouch for. */
void svm_load(struct hv_lp *lp, const struct svm_vmcb *vmcb, uint32_t clean);
void svm_save(struct hv_lp *lp, struct svm_vmcb *vmcb);
void svm_vmload(struct hv_lp *lp, uint64_t vmcb);
void svm_vmsave(struct hv_lp *lp, uint64_t vmcb);

/* ---- svm_intercept.c ---- */
void svm_intercepts_load(struct hv_lp *lp, const struct svm_vmcb *vmcb);
int svm_intercept(struct x86_cpu *cpu, enum x86_intercept what, struct x86_intercept_info *info);
int svm_op_insn(struct x86_cpu *cpu, enum x86_virt_insn what, struct x86_intercept_info *info);

/* ---- svm_run.c ---- */
/* Record a #VMEXIT; always X86_EXIT. */
int svm_exit(struct hv_lp *lp, uint64_t code, uint64_t info1, uint64_t info2);
/* V_IRQ, V_TPR: whether the virtual interrupt is recognised; sets the pending bit. */
void svm_update_pending(struct hv_lp *lp);

/* Tag of cached second-level translations: they belong to the ASID as well as to the root. */
static inline uint64_t svm_gpa_key(const struct hv_lp *lp)
{
	return lp->svm.nested_cr3 | (uint64_t)lp->svm.asid << 48;
}

#endif
