/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * APIC virtualisation and virtual interrupts: the TPR shadow, the APIC-access
 * page, x2APIC MSRs, EOI and self-IPI virtualisation, delivery of virtual
 * interrupts, posted interrupts. Source: SDM vol. 3, chapter "APIC
 * virtualization and virtual interrupts"; the functions are named after its
 * sections.
 */
#include <string.h>

#include "hv/cpu/soft_internal.h"
#include "hv/cpu/vmx_guest.h"

/* Offsets of the virtual-APIC page. */
enum {
	V_ID = 0x20, V_VERSION = 0x30, V_TPR = 0x80, V_PPR = 0xa0, V_EOI = 0xb0, V_LDR = 0xd0,
	V_DFR = 0xe0, V_SVR = 0xf0, V_ISR = 0x100, V_TMR = 0x180, V_IRR = 0x200, V_ESR = 0x280,
	V_ICR_LO = 0x300, V_ICR_HI = 0x310, V_LVT_FIRST = 0x320, V_LVT_LAST = 0x370,
	V_TIMER_INITIAL = 0x380, V_TIMER_DIVIDE = 0x3e0, V_SELF_IPI = 0x3f0,
};

/*
 * The page is memory: other processors of the host read it, and set bits of IRR, while
 * the guest runs. So every access is one load or store of 32 bits.
 */
static uint32_t *vreg_ptr(const struct hv_lp *lp, unsigned int offset)
{
	return (uint32_t *)(lp->vmx.apic_page + offset);
}

static uint32_t vreg(const struct hv_lp *lp, unsigned int offset)
{
	return __atomic_load_n(vreg_ptr(lp, offset), __ATOMIC_RELAXED);
}

static void vreg_set(const struct hv_lp *lp, unsigned int offset, uint32_t value)
{
	__atomic_store_n(vreg_ptr(lp, offset), value, __ATOMIC_RELAXED);
}

static bool intr_delivery(const struct hv_lp *lp)
{
	return lp->vmx.proc2 & VMX_CPU2_VIRTUAL_INTR;
}

static uint8_t rvi(const struct hv_lp *lp)
{
	return (uint8_t)lp->vmx.vmcs->f[VC_GUEST_INTR_STATUS];
}

static uint8_t svi(const struct hv_lp *lp)
{
	return (uint8_t)(lp->vmx.vmcs->f[VC_GUEST_INTR_STATUS] >> 8);
}

static void set_status(struct hv_lp *lp, uint8_t new_rvi, uint8_t new_svi)
{
	lp->vmx.vmcs->f[VC_GUEST_INTR_STATUS] = (uint64_t)new_svi << 8 | new_rvi;
}

/* ISR and IRR: 32 vectors in each 16-byte unit. The hypervisor may write IRR at the same time. */
static uint32_t *vector_word(const struct hv_lp *lp, unsigned int base, uint8_t vector)
{
	return vreg_ptr(lp, base + (vector / 32U) * 16);
}

static void vector_set(struct hv_lp *lp, unsigned int base, uint8_t vector)
{
	__atomic_fetch_or(vector_word(lp, base, vector), 1U << (vector % 32), __ATOMIC_ACQ_REL);
}

static void vector_clear(struct hv_lp *lp, unsigned int base, uint8_t vector)
{
	__atomic_fetch_and(vector_word(lp, base, vector), ~(1U << (vector % 32)), __ATOMIC_ACQ_REL);
}

static uint8_t vector_highest(const struct hv_lp *lp, unsigned int base)
{
	for (unsigned int i = 8; i-- > 0;) {
		uint32_t word = __atomic_load_n(vreg_ptr(lp, base + i * 16), __ATOMIC_ACQUIRE);

		if (word)
			return (uint8_t)(i * 32 + 31 - (unsigned int)__builtin_clz(word));
	}
	return 0;
}

/* An exit that the instruction in progress causes once it is complete. */
static void trap_exit(struct hv_lp *lp, enum vmx_exit_reason reason, uint64_t qualification)
{
	lp->vmx.trap_reason = reason;
	lp->vmx.trap_qualification = qualification;
	__atomic_fetch_or(&lp->work, SOFT_WORK_TRAP, __ATOMIC_RELAXED);
	x86_pend(lp->cpu, X86_PEND_WORK);
}

bool vmx_apic_pending(const struct hv_lp *lp)
{
	if (!intr_delivery(lp) || (lp->vmx.proc & VMX_CPU_INTR_WINDOW))
		return false;
	return rvi(lp) >> 4 > (vreg(lp, V_PPR) & 0xff) >> 4;
}

/* Evaluation of pending virtual interrupts. */
static void evaluate(struct hv_lp *lp)
{
	if (vmx_apic_pending(lp))
		x86_pend(lp->cpu, X86_PEND_INTR);
	else if (!(lp->vmx.proc & VMX_CPU_INTR_WINDOW))
		x86_unpend(lp->cpu, X86_PEND_INTR);
}

static void ppr_virtualization(struct hv_lp *lp)
{
	uint32_t tpr = vreg(lp, V_TPR) & 0xff;
	uint8_t in_service = svi(lp);

	vreg_set(lp, V_PPR, tpr >> 4 >= in_service >> 4 ? tpr : in_service & 0xf0U);
}

static void tpr_virtualization(struct hv_lp *lp)
{
	if (intr_delivery(lp)) {
		ppr_virtualization(lp);
		evaluate(lp);
		return;
	}
	if ((vreg(lp, V_TPR) >> 4 & 0xf) < (lp->vmx.vmcs->f[VC_TPR_THRESHOLD] & 0xf))
		trap_exit(lp, VMX_EXIT_TPR_BELOW_THRESHOLD, 0);
}

static void eoi_virtualization(struct hv_lp *lp)
{
	uint8_t vector = svi(lp);

	vector_clear(lp, V_ISR, vector);
	set_status(lp, rvi(lp), vector_highest(lp, V_ISR));
	ppr_virtualization(lp);
	if (lp->vmx.vmcs->f[VC_EOI_EXIT_BITMAP0 + vector / 64] >> (vector % 64) & 1)
		trap_exit(lp, VMX_EXIT_VIRTUALIZED_EOI, vector);
	else
		evaluate(lp);
}

static void self_ipi_virtualization(struct hv_lp *lp, uint8_t vector)
{
	vector_set(lp, V_IRR, vector);
	if (vector > rvi(lp))
		set_status(lp, vector, svi(lp));
	evaluate(lp);
}

int vmx_apic_deliver(struct hv_lp *lp)
{
	struct x86_event ev = { .valid = 1, .type = X86_EV_INTR, .vector = rvi(lp) };

	x86_unpend(lp->cpu, X86_PEND_INTR);
	if (!vmx_apic_pending(lp))
		return X86_OK;
	vector_set(lp, V_ISR, ev.vector);
	vector_clear(lp, V_IRR, ev.vector);
	vreg_set(lp, V_PPR, ev.vector & 0xf0U);
	set_status(lp, vector_highest(lp, V_IRR), ev.vector);
	__atomic_fetch_add(&lp->vmx.virtual_interrupts, 1, __ATOMIC_RELAXED);
	return x86_inject(lp->cpu, &ev);
}

void vmx_apic_posted(struct hv_lp *lp)
{
	struct vmx_posted_intr_desc *desc =
		(struct vmx_posted_intr_desc *)lp->vmx.vmcs->f[VC_POSTED_INTR_DESC];
	uint8_t highest = rvi(lp);

	/* Clear ON first: a bit that is set after this moment comes with a new notification. */
	__atomic_fetch_and(&desc->control, ~VMX_PI_ON, __ATOMIC_SEQ_CST);
	for (unsigned int i = 0; i < 4; i++) {
		uint64_t bits = __atomic_exchange_n(&desc->pir[i], 0, __ATOMIC_ACQ_REL);

		if (!bits)
			continue;
		for (unsigned int half = 0; half < 2; half++)
			__atomic_fetch_or(vreg_ptr(lp, V_IRR + (i * 2 + half) * 16),
					  (uint32_t)(bits >> (half * 32)), __ATOMIC_ACQ_REL);
		if (i * 64 + 63U - (unsigned int)__builtin_clzll(bits) > highest)
			highest = (uint8_t)(i * 64 + 63U - (unsigned int)__builtin_clzll(bits));
	}
	set_status(lp, highest, svi(lp));
	evaluate(lp);
}

bool vmx_apic_entry(struct hv_lp *lp)
{
	const struct soft_vmx *vmx = &lp->vmx;

	if (!vmx->apic_page)
		return false;
	if (intr_delivery(lp)) {
		ppr_virtualization(lp);
		return false;
	}
	return vmx->apic_access_page &&
	       (vmx->vmcs->f[VC_TPR_THRESHOLD] & 0xf) > (vreg(lp, V_TPR) >> 4 & 0xf);
}

/* ---- the memory-mapped page ---------------------------------------------------------------- */

/* Registers that reads and writes reach when APIC-register virtualisation is on. */
static bool register_readable(unsigned int offset)
{
	switch (offset) {
	case V_ID: case V_VERSION: case V_TPR: case V_EOI: case V_LDR: case V_DFR: case V_SVR:
	case V_ESR: case V_ICR_LO: case V_ICR_HI: case V_TIMER_INITIAL: case V_TIMER_DIVIDE:
		return true;
	default:
		return (offset >= V_ISR && offset < V_ESR) ||
		       (offset >= V_LVT_FIRST && offset <= V_LVT_LAST);
	}
}

static bool register_writable(unsigned int offset)
{
	switch (offset) {
	case V_ID: case V_TPR: case V_EOI: case V_LDR: case V_DFR: case V_SVR: case V_ESR:
	case V_ICR_LO: case V_ICR_HI: case V_TIMER_INITIAL: case V_TIMER_DIVIDE:
		return true;
	default:
		return offset >= V_LVT_FIRST && offset <= V_LVT_LAST;
	}
}

static bool read_virtualized(const struct hv_lp *lp, unsigned int offset)
{
	if (lp->vmx.proc2 & VMX_CPU2_APIC_REGISTERS)
		return register_readable(offset);
	return offset == V_TPR;
}

static bool write_virtualized(const struct hv_lp *lp, unsigned int offset)
{
	if (lp->vmx.proc2 & VMX_CPU2_APIC_REGISTERS)
		return register_writable(offset);
	return offset == V_TPR || (intr_delivery(lp) && (offset == V_EOI || offset == V_ICR_LO));
}

/* Only accesses within the low four bytes of a 16-byte unit, at most 32 bits wide, qualify. */
static bool well_formed(uint64_t gpa, size_t size)
{
	return size <= 4 && (gpa & 0xf) + size <= 4;
}

static int access_exit(struct hv_lp *lp, uint64_t gpa, bool write)
{
	return vmx_exit(lp, VMX_EXIT_APIC_ACCESS, (gpa & 0xfff) | (write ? 1ULL << 12 : 0));
}

int vmx_apic_mmio_read(struct x86_cpu *cpu, uint64_t gpa, void *buf, size_t size)
{
	struct hv_lp *lp = cpu->ctx;
	uint32_t value;

	if (!lp->vmx.apic_page || !well_formed(gpa, size) ||
	    !read_virtualized(lp, gpa & 0xff0))
		return access_exit(lp, gpa, false);
	value = vreg(lp, gpa & 0xff0);
	memcpy(buf, (const uint8_t *)&value + (gpa & 3), size);
	return X86_OK;
}

/* A self-IPI by the ICR: fixed, edge, shorthand "self", a legal vector. */
static bool icr_is_self_ipi(uint32_t icr)
{
	return !(icr & 0xfff3bf00U) && (icr & 0xc0000) == 0x40000 && (icr & 0xf0);
}

/* APIC-write emulation. */
static void write_emulation(struct hv_lp *lp, unsigned int offset)
{
	switch (offset) {
	case V_TPR:
		vreg_set(lp, V_TPR, vreg(lp, V_TPR) & 0xff);
		tpr_virtualization(lp);
		return;
	case V_EOI:
		if (!intr_delivery(lp))
			break;
		vreg_set(lp, V_EOI, 0);
		eoi_virtualization(lp);
		return;
	case V_ICR_LO:
		if (!intr_delivery(lp) || !icr_is_self_ipi(vreg(lp, V_ICR_LO)))
			break;
		self_ipi_virtualization(lp, (uint8_t)vreg(lp, V_ICR_LO));
		return;
	case V_ICR_HI:
		vreg_set(lp, V_ICR_HI, vreg(lp, V_ICR_HI) & 0xff000000U);
		return;
	default:
		break;
	}
	trap_exit(lp, VMX_EXIT_APIC_WRITE, offset);
}

int vmx_apic_mmio_write(struct x86_cpu *cpu, uint64_t gpa, const void *buf, size_t size)
{
	struct hv_lp *lp = cpu->ctx;
	uint32_t value;

	if (!lp->vmx.apic_page || !well_formed(gpa, size) ||
	    !write_virtualized(lp, gpa & 0xff0))
		return access_exit(lp, gpa, true);
	value = vreg(lp, gpa & 0xff0);
	memcpy((uint8_t *)&value + (gpa & 3), buf, size);
	vreg_set(lp, gpa & 0xff0, value);
	write_emulation(lp, gpa & 0xff0);
	return X86_OK;
}

/* ---- CR8 and the MSRs ------------------------------------------------------------------------ */

uint64_t vmx_cr8_read(struct x86_cpu *cpu)
{
	const struct hv_lp *lp = cpu->ctx;

	return lp->vmx.apic_page ? vreg(lp, V_TPR) >> 4 & 0xf : cpu->cr8;
}

int vmx_cr8_write(struct x86_cpu *cpu, uint64_t value)
{
	struct hv_lp *lp = cpu->ctx;

	if (!lp->vmx.apic_page) {
		cpu->cr8 = value;
		return X86_OK;
	}
	vreg_set(lp, V_TPR, (uint32_t)(value & 0xf) << 4);
	tpr_virtualization(lp);
	return X86_OK;
}

int vmx_apic_rdmsr(struct hv_lp *lp, uint32_t index, uint64_t *value)
{
	if (!(lp->vmx.proc2 & VMX_CPU2_X2APIC) || index < 0x800 || index > 0x8ff)
		return X86_FAULT;
	if (index != 0x808 && !(lp->vmx.proc2 & VMX_CPU2_APIC_REGISTERS))
		return X86_FAULT;
	*value = vreg(lp, (index & 0xff) << 4) | (uint64_t)vreg(lp, (index & 0xff) << 4 | 4) << 32;
	return X86_OK;
}

int vmx_apic_wrmsr(struct hv_lp *lp, uint32_t index, uint64_t value)
{
	if (!(lp->vmx.proc2 & VMX_CPU2_X2APIC) || index < 0x800 || index > 0x8ff)
		return X86_FAULT;
	switch ((index & 0xff) << 4) {
	case V_TPR:
		if (value & ~0xffULL)
			return X86_FAULT;
		vreg_set(lp, V_TPR, (uint32_t)value);
		tpr_virtualization(lp);
		return X86_OK;
	case V_EOI:
		if (!intr_delivery(lp) || value)
			return X86_FAULT;
		eoi_virtualization(lp);
		return X86_OK;
	case V_SELF_IPI:
		if (!intr_delivery(lp) || (value & ~0xffULL))
			return X86_FAULT;
		vreg_set(lp, V_SELF_IPI, (uint32_t)value);
		if (value >> 4)
			self_ipi_virtualization(lp, (uint8_t)value);
		else
			trap_exit(lp, VMX_EXIT_APIC_WRITE, V_SELF_IPI);
		return X86_OK;
	default:
		return X86_FAULT;
	}
}
