/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vCPU state as a whole, out and in. What comes in is from a peer: it is checked
 * against what a guest could have brought about, so that no later code meets a
 * vector, mode or bit that it does not know.
 */
#include "hv/vcpu/vcpu_state.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "hv/base/util.h"
#include "hv/vcpu/arch.h"
#include "hv/x86/defs.h"
#include "hv/x86/state.h"

/* Ranges of MSRs that are the guest's to write and that the register cache does not hold. */
static const struct {
	uint32_t first, last;
} migrated_msrs[] = {
	{ 0x3a, 0x3b },		      /* FEATURE_CONTROL, TSC_ADJUST */
	{ 0x48, 0x48 },		      /* SPEC_CTRL */
	{ 0x8b, 0x8b },		      /* BIOS_SIGN_ID */
	{ 0x1a0, 0x1a0 },	      /* MISC_ENABLE */
	{ 0x200, 0x20f },	      /* MTRR_PHYSBASE0 .. MTRR_PHYSMASK7 */
	{ 0x250, 0x250 },	      /* MTRR_FIX64K */
	{ 0x258, 0x259 },	      /* MTRR_FIX16K */
	{ 0x268, 0x26f },	      /* MTRR_FIX4K */
	{ 0x2ff, 0x2ff },	      /* MTRR_DEF_TYPE */
	{ X86_MSR_PKRS, X86_MSR_PKRS },
	{ 0x4b564d00, 0x4b564d01 },   /* KVM wall clock, system time */
	{ X86_MSR_STAR, X86_MSR_FMASK },
	{ X86_MSR_KERNEL_GS_BASE, X86_MSR_TSC_AUX },
};

#define INTERRUPTIBILITY_ALL 0xbU /* STI, MOV SS, NMI */
#define SEGMENT_AR_ALL	     0x1f0ffU

/* ---- out ---------------------------------------------------------------------------- */

static void get_events(struct hv_vcpu *vcpu, struct vcpu_state *s)
{
	const struct hv_vcpu_arch *a = vcpu->arch;
	const struct vcpu_exception *e = &a->exception;
	unsigned int nmis = a->nmi_pending + atomic_load(&a->nmi_queued);

	s->exception.pending = e->pending;
	s->exception.injected = e->injected;
	if (e->pending || e->injected) {
		s->exception.has_error = e->has_error;
		s->exception.has_payload = e->has_payload;
		s->exception.vector = e->vector;
		s->exception.type = e->type;
		s->exception.insn_len = e->insn_len;
		s->exception.error_code = e->error_code;
		s->exception.payload = e->payload;
	}
	if (a->interrupt.injected) {
		s->interrupt.injected = true;
		s->interrupt.soft = a->interrupt.soft;
		s->interrupt.vector = a->interrupt.vector;
		s->interrupt.insn_len = a->interrupt.insn_len;
	}
	s->nmi_injected = a->nmi_injected;
	s->nmi_pending = (uint8_t)hv_min(nmis, 2U);
	s->user_interrupt = (int16_t)atomic_load(&a->user_interrupt);
	s->triple_fault = atomic_load(&vcpu->requests) >> HV_REQ_NR(HV_REQ_TRIPLE_FAULT) & 1;
}

static void get_msrs(struct hv_vcpu *vcpu, struct vcpu_state *s)
{
	uint32_t index;
	uint64_t value;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(migrated_msrs); i++) {
		for (index = migrated_msrs[i].first; index <= migrated_msrs[i].last; index++) {
			/* Those that the CPU model does not have are no part of the state. */
			if (vcpu_get_msr(vcpu, index, &value, HV_MSR_HOST))
				continue;
			HV_BUG_ON(s->nr_msrs == VCPU_STATE_MSRS_MAX);
			s->msrs[s->nr_msrs++] = (struct vcpu_state_msr){ index, value };
		}
	}
}

static uint32_t xsave_size(struct hv_vcpu *vcpu)
{
	uint32_t out[4], size;

	vcpu->vm->processor->cpuid(0xd, 0, out);
	size = hv_max(out[2], (uint32_t)X86_XSAVE_SIZE);
	return hv_min(size, (uint32_t)VCPU_STATE_XSAVE_MAX);
}

int vcpu_get_state(struct hv_vcpu *vcpu, struct vcpu_state *s)
{
	const struct hv_vcpu_arch *a = vcpu->arch;

	hv_assert_held(&vcpu->mutex);
	if (a->complete_io)
		return -EBUSY;
	memset(s, 0, sizeof(*s));
	s->regs = *vcpu_regs_read(vcpu);
	s->regs.cr8 = vcpu_get_cr8(vcpu);
	s->regs.activity = 0;
	/* SVM reads the table at each use, and shadow paging keeps the cache's own copy. */
	s->pdptrs_valid = vcpu->vm->vendor->id == HV_VENDOR_VMX ||
			  vcpu->vm->paging == HV_PAGING_SHADOW;
	s->mp_state = (uint8_t)atomic_load(&vcpu->mp_state);
	get_events(vcpu, s);
	s->kvmclock_version = a->kvmclock_version;
	s->steal_msr = a->steal.msr;
	s->steal_ns = atomic_load(&a->steal.total_ns);
	s->steal_version = a->steal.version;
	get_msrs(vcpu, s);
	s->xsave_len = xsave_size(vcpu);
	vcpu->vm->processor->save_xstate(vcpu->lp, s->xsave, s->xsave_len);
	return 0;
}

/* ---- checks ------------------------------------------------------------------------------ */

struct check {
	char *what;
	size_t size;
};

static int bad(const struct check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int bad(const struct check *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->what, c->size, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* The rules between control registers that no instruction lets a guest break. */
static int check_control(const struct vcpu_guest_caps *caps, const struct hv_regs_cache *r,
			 const struct check *c)
{
	bool pg = r->cr0 & X86_CR0_PG, lma = r->efer & X86_EFER_LMA, lme = r->efer & X86_EFER_LME;

	if ((r->cr0 >> 32) || (pg && !(r->cr0 & X86_CR0_PE)) ||
	    ((r->cr0 & X86_CR0_NW) && !(r->cr0 & X86_CR0_CD)))
		return bad(c, "CR0 %#llx", (unsigned long long)r->cr0);
	if (r->cr4 & ~caps->cr4_allowed)
		return bad(c, "CR4 %#llx has bits that the CPU model lacks",
			   (unsigned long long)r->cr4);
	if (r->efer & ~caps->efer_allowed)
		return bad(c, "EFER %#llx has bits that the CPU model lacks",
			   (unsigned long long)r->efer);
	if (lma != (pg && lme) || (lma && !(r->cr4 & X86_CR4_PAE)) ||
	    ((r->cr4 & X86_CR4_PCIDE) && !lma))
		return bad(c, "CR0 %#llx, CR4 %#llx and EFER %#llx contradict each other",
			   (unsigned long long)r->cr0, (unsigned long long)r->cr4,
			   (unsigned long long)r->efer);
	if (lma && r->cr3 >> caps->maxphyaddr)
		return bad(c, "CR3 %#llx", (unsigned long long)r->cr3);
	if (r->cr8 > 0xf)
		return bad(c, "CR8 %#llx", (unsigned long long)r->cr8);
	if (!(r->xcr0 & 1) || (r->xcr0 != 1 && (r->xcr0 & ~caps->xcr0_allowed)) ||
	    (r->xcr0 & 6) == 4)
		return bad(c, "XCR0 %#llx", (unsigned long long)r->xcr0);
	return 0;
}

static int check_regs(const struct hv_regs_cache *r, const struct check *c)
{
	unsigned int i;

	for (i = 0; i < HV_SEG_NUM; i++) {
		if (r->seg[i].ar & ~SEGMENT_AR_ALL)
			return bad(c, "segment %u: access rights %#x", i, r->seg[i].ar);
	}
	if (r->rflags & ~(X86_FL_ALL | X86_FL_ONE))
		return bad(c, "RFLAGS %#llx", (unsigned long long)r->rflags);
	if (r->dr6 >> 32 || r->dr7 >> 32)
		return bad(c, "DR6 %#llx or DR7 %#llx", (unsigned long long)r->dr6,
			   (unsigned long long)r->dr7);
	if (r->debugctl & ~X86_DEBUGCTL_BTF)
		return bad(c, "DEBUGCTL %#llx", (unsigned long long)r->debugctl);
	if ((r->interruptibility & ~INTERRUPTIBILITY_ALL) || (r->interruptibility & 3) == 3)
		return bad(c, "interruptibility %#x", r->interruptibility);
	return 0;
}

static int check_events(const struct vcpu_state *s, const struct check *c)
{
	const char *error = NULL;

	if (s->mp_state > HV_MP_STOPPED)
		return bad(c, "state %u", s->mp_state);
	if (s->exception.vector > 31 || s->exception.vector == X86_NMI ||
	    s->exception.insn_len > 15)
		error = "exception";
	if ((s->exception.pending || s->exception.injected) &&
	    s->exception.type != X86_EV_EXC && s->exception.type != X86_EV_SOFT_EXC &&
	    s->exception.type != X86_EV_PRIV_EXC)
		error = "exception's type";
	if (s->exception.pending && s->exception.injected)
		error = "exception both pending and injected";
	if (s->interrupt.insn_len > 15)
		error = "interrupt";
	if (s->nmi_pending > 2)
		error = "count of NMIs";
	if (s->user_interrupt < -1 || s->user_interrupt > 255)
		error = "user's interrupt";
	return error ? bad(c, "%s", error) : 0;
}

static bool msr_is_migrated(uint32_t index)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(migrated_msrs); i++) {
		if (index >= migrated_msrs[i].first && index <= migrated_msrs[i].last)
			return true;
	}
	return false;
}

static int check(struct hv_vcpu *vcpu, const struct vcpu_state *s, const struct check *c)
{
	unsigned int i;
	int err = check_control(&vm_arch(vcpu->vm)->caps, &s->regs, c);

	if (!err)
		err = check_regs(&s->regs, c);
	if (!err)
		err = check_events(s, c);
	if (err)
		return err;
	if (s->nr_msrs > VCPU_STATE_MSRS_MAX || s->xsave_len > VCPU_STATE_XSAVE_MAX)
		return bad(c, "a length");
	for (i = 0; i < s->nr_msrs; i++) {
		if (!msr_is_migrated(s->msrs[i].index))
			return bad(c, "MSR %#x is unknown to this build", s->msrs[i].index);
	}
	/* Bits 1 to 5 are reserved. */
	return s->steal_msr & 0x3e ? bad(c, "steal time MSR") : 0;
}

/* ---- in -------------------------------------------------------------------------------------- */

static void set_events(struct hv_vcpu *vcpu, const struct vcpu_state *s)
{
	struct hv_vcpu_arch *a = vcpu->arch;

	a->exception = (struct vcpu_exception){
		.pending = s->exception.pending, .injected = s->exception.injected,
		.has_error = s->exception.has_error, .vector = s->exception.vector,
		.type = s->exception.type, .insn_len = s->exception.insn_len,
		.has_payload = s->exception.has_payload, .error_code = s->exception.error_code,
		.payload = s->exception.payload,
	};
	a->interrupt.injected = s->interrupt.injected;
	a->interrupt.soft = s->interrupt.soft;
	a->interrupt.vector = s->interrupt.vector;
	a->interrupt.insn_len = s->interrupt.insn_len;
	a->nmi_injected = s->nmi_injected;
	a->nmi_pending = s->nmi_pending;
	atomic_store(&a->nmi_queued, 0);
	atomic_store(&a->user_interrupt, s->user_interrupt);
	if (s->triple_fault)
		vcpu_make_request(vcpu, HV_REQ_TRIPLE_FAULT);
	else
		vcpu_check_request(vcpu, HV_REQ_TRIPLE_FAULT);
	vcpu_make_request(vcpu, HV_REQ_EVENT);
}

/* As its MSR's write would, but the guest's page goes on from what it shows. */
static void set_steal(struct hv_vcpu *vcpu, const struct vcpu_state *s)
{
	struct vcpu_steal *st = &vcpu->arch->steal;

	st->msr = s->steal_msr;
	st->version = s->steal_version;
	st->written_ns = 0;
	st->next_tsc = 0;
	atomic_store(&st->total_ns, s->steal_ns);
}

static int set_msrs(struct hv_vcpu *vcpu, const struct vcpu_state *s, const struct check *c)
{
	unsigned int i;

	for (i = 0; i < s->nr_msrs; i++) {
		if (vcpu_set_msr(vcpu, s->msrs[i].index, s->msrs[i].value, HV_MSR_HOST))
			return bad(c, "MSR %#x: value %#llx", s->msrs[i].index,
				   (unsigned long long)s->msrs[i].value);
	}
	return 0;
}

int vcpu_set_state(struct hv_vcpu *vcpu, const struct vcpu_state *s, char *what, size_t size)
{
	const struct check c = { what, size };
	struct hv_vcpu_arch *a = vcpu->arch;
	struct hv_regs_cache *r;
	int err = check(vcpu, s, &c);

	hv_assert_held(&vcpu->mutex);
	if (err)
		return err;
	if (vcpu->vm->processor->load_xstate(vcpu->lp, s->xsave, s->xsave_len))
		return bad(&c, "XSAVE area of %u bytes", s->xsave_len);
	a->complete_io = NULL;
	emulate_reset(vcpu);
	r = vcpu_regs(vcpu);
	*r = s->regs;
	r->activity = 0;
	if (paging_is_pae(r) && !s->pdptrs_valid && !paging_load_pdptrs(vcpu, r->cr3))
		return bad(&c, "the page-directory pointers at CR3 %#llx",
			   (unsigned long long)r->cr3);
	err = set_msrs(vcpu, s, &c);
	if (err)
		return err;
	set_events(vcpu, s);
	set_steal(vcpu, s);
	a->kvmclock_version = s->kvmclock_version;
	vcpu_set_cr8(vcpu, s->regs.cr8);
	atomic_store(&vcpu->mp_state, s->mp_state);
	vcpu_regs_changed(vcpu);
	return 0;
}

/* ---- CPUID ------------------------------------------------------------------------------------- */

unsigned int vcpu_vm_cpuid_leaves(struct hv_vm *vm, struct vcpu_cpuid_leaf *out, unsigned int max)
{
	const struct vcpu_cpuid_table *t = &vm_arch(vm)->cpuid;
	unsigned int i;

	for (i = 0; i < t->count && i < max; i++) {
		out[i].leaf = t->entries[i].leaf;
		out[i].subleaf = t->entries[i].indexed ? t->entries[i].subleaf : 0;
		memcpy(out[i].out, t->entries[i].out, sizeof(out[i].out));
	}
	return t->count;
}
