/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The record "vcpu": a struct vcpu_state, field by field.
 */
#include <errno.h>
#include <string.h>

#include "hv/base/fault_inject.h"
#include "hv/migrate/state_internal.h"
#include "hv/vcpu/vcpu_state.h"

/* ---- registers: one list of fields serves both directions ------------------------------ */

#define REGS_64(X)                                                                                 \
	X(rip) X(rflags) X(cr0) X(cr2) X(cr3) X(cr4) X(cr8) X(efer) X(xcr0) X(pdptrs[0])           \
	X(pdptrs[1]) X(pdptrs[2]) X(pdptrs[3]) X(dr[0]) X(dr[1]) X(dr[2]) X(dr[3]) X(dr6) X(dr7)   \
	X(gdtr.base) X(idtr.base) X(sysenter_cs) X(sysenter_esp) X(sysenter_eip) X(pat) X(debugctl)

static void put_regs(struct rec_writer *w, const struct hv_regs_cache *r)
{
	unsigned int i;

	for (i = 0; i < 16; i++)
		rec_put_u64(w, r->gprs.r[i]);
#define PUT(field) rec_put_u64(w, r->field);
	REGS_64(PUT)
#undef PUT
	rec_put_u16(w, r->gdtr.limit);
	rec_put_u16(w, r->idtr.limit);
	rec_put_u32(w, r->interruptibility);
	for (i = 0; i < HV_SEG_NUM; i++) {
		rec_put_u64(w, r->seg[i].base);
		rec_put_u32(w, r->seg[i].limit);
		rec_put_u32(w, r->seg[i].ar);
		rec_put_u16(w, r->seg[i].selector);
	}
}

static void get_regs(struct rec_reader *rd, struct hv_regs_cache *r)
{
	unsigned int i;

	for (i = 0; i < 16; i++)
		r->gprs.r[i] = rec_get_u64(rd);
#define GET(field) r->field = rec_get_u64(rd);
	REGS_64(GET)
#undef GET
	r->gdtr.limit = rec_get_u16(rd);
	r->idtr.limit = rec_get_u16(rd);
	r->interruptibility = rec_get_u32(rd);
	for (i = 0; i < HV_SEG_NUM; i++) {
		r->seg[i].base = rec_get_u64(rd);
		r->seg[i].limit = rec_get_u32(rd);
		r->seg[i].ar = rec_get_u32(rd);
		r->seg[i].selector = rec_get_u16(rd);
	}
}

/* ---- events, flags first ------------------------------------------------------------------ */

#define FLAG_EXC_PENDING   (1U << 0)
#define FLAG_EXC_INJECTED  (1U << 1)
#define FLAG_EXC_ERROR	   (1U << 2)
#define FLAG_EXC_PAYLOAD   (1U << 3)
#define FLAG_INT_INJECTED  (1U << 4)
#define FLAG_INT_SOFT	   (1U << 5)
#define FLAG_NMI_INJECTED  (1U << 6)
#define FLAG_TRIPLE_FAULT  (1U << 7)
#define FLAG_PDPTRS	   (1U << 8)
#define FLAGS_ALL	   ((1U << 9) - 1)

static void put_events(struct rec_writer *w, const struct vcpu_state *s)
{
	rec_put_u32(w, (s->exception.pending ? FLAG_EXC_PENDING : 0) |
			       (s->exception.injected ? FLAG_EXC_INJECTED : 0) |
			       (s->exception.has_error ? FLAG_EXC_ERROR : 0) |
			       (s->exception.has_payload ? FLAG_EXC_PAYLOAD : 0) |
			       (s->interrupt.injected ? FLAG_INT_INJECTED : 0) |
			       (s->interrupt.soft ? FLAG_INT_SOFT : 0) |
			       (s->nmi_injected ? FLAG_NMI_INJECTED : 0) |
			       (s->triple_fault ? FLAG_TRIPLE_FAULT : 0) |
			       (s->pdptrs_valid ? FLAG_PDPTRS : 0));
	rec_put_u8(w, s->mp_state);
	rec_put_u8(w, s->exception.vector);
	rec_put_u8(w, s->exception.type);
	rec_put_u8(w, s->exception.insn_len);
	rec_put_u32(w, s->exception.error_code);
	rec_put_u64(w, s->exception.payload);
	rec_put_u8(w, s->interrupt.vector);
	rec_put_u8(w, s->interrupt.insn_len);
	rec_put_u8(w, s->nmi_pending);
	rec_put_u16(w, (uint16_t)s->user_interrupt);
}

static int get_events(struct rec_reader *r, struct vcpu_state *s)
{
	uint32_t flags = rec_get_u32(r);

	if (flags & ~FLAGS_ALL)
		return rec_fail(r, -EPROTO, "unknown flags %#x", flags & ~FLAGS_ALL);
	s->exception.pending = flags & FLAG_EXC_PENDING;
	s->exception.injected = flags & FLAG_EXC_INJECTED;
	s->exception.has_error = flags & FLAG_EXC_ERROR;
	s->exception.has_payload = flags & FLAG_EXC_PAYLOAD;
	s->interrupt.injected = flags & FLAG_INT_INJECTED;
	s->interrupt.soft = flags & FLAG_INT_SOFT;
	s->nmi_injected = flags & FLAG_NMI_INJECTED;
	s->triple_fault = flags & FLAG_TRIPLE_FAULT;
	s->pdptrs_valid = flags & FLAG_PDPTRS;
	s->mp_state = rec_get_u8(r);
	s->exception.vector = rec_get_u8(r);
	s->exception.type = rec_get_u8(r);
	s->exception.insn_len = rec_get_u8(r);
	s->exception.error_code = rec_get_u32(r);
	s->exception.payload = rec_get_u64(r);
	s->interrupt.vector = rec_get_u8(r);
	s->interrupt.insn_len = rec_get_u8(r);
	s->nmi_pending = rec_get_u8(r);
	s->user_interrupt = (int16_t)rec_get_u16(r);
	return 0;
}

/* ---- the record -------------------------------------------------------------------------------- */

static void put_state(struct rec_writer *w, const struct vcpu_state *s)
{
	unsigned int i;

	put_regs(w, &s->regs);
	put_events(w, s);
	rec_put_u32(w, s->kvmclock_version);
	rec_put_u64(w, s->steal_msr);
	rec_put_u64(w, s->steal_ns);
	rec_put_u32(w, s->steal_version);
	rec_put_u32(w, s->nr_msrs);
	for (i = 0; i < s->nr_msrs; i++) {
		rec_put_u32(w, s->msrs[i].index);
		rec_put_u64(w, s->msrs[i].value);
	}
	rec_put_u32(w, s->xsave_len);
	rec_put(w, s->xsave, s->xsave_len);
}

static int get_state(struct rec_reader *r, struct vcpu_state *s)
{
	unsigned int i;
	int err;

	get_regs(r, &s->regs);
	err = get_events(r, s);
	if (err)
		return err;
	s->kvmclock_version = rec_get_u32(r);
	s->steal_msr = rec_get_u64(r);
	s->steal_ns = rec_get_u64(r);
	s->steal_version = rec_get_u32(r);
	s->nr_msrs = rec_get_u32(r);
	if (s->nr_msrs > VCPU_STATE_MSRS_MAX)
		return rec_fail(r, -EPROTO, "%u MSRs; this build knows fewer", s->nr_msrs);
	for (i = 0; i < s->nr_msrs; i++) {
		s->msrs[i].index = rec_get_u32(r);
		s->msrs[i].value = rec_get_u64(r);
	}
	s->xsave_len = rec_get_u32(r);
	if (s->xsave_len > VCPU_STATE_XSAVE_MAX)
		return rec_fail(r, -EPROTO, "an XSAVE area of %u bytes", s->xsave_len);
	rec_get(r, s->xsave, s->xsave_len);
	return r->short_read ? -EBADMSG : 0;
}

int state_vcpu_save(void *ctx, const struct rec_row *row, unsigned int n, struct rec_writer *w)
{
	struct hv_vcpu *vcpu = vm_vcpu(state_guest(ctx)->vm, n);
	struct vcpu_state *s = hv_zalloc(sizeof(*s));
	int err;

	if (!s)
		return -ENOMEM;
	hv_mutex_lock(&vcpu->mutex);
	err = vcpu_get_state(vcpu, s);
	hv_mutex_unlock(&vcpu->mutex);
	if (!err)
		put_state(w, s);
	hv_free(s);
	return err;
}

int state_vcpu_load(void *ctx, const struct rec_row *row, unsigned int n, struct rec_reader *r)
{
	struct hv_vcpu *vcpu = vm_vcpu(state_guest(ctx)->vm, n);
	struct vcpu_state *s = hv_zalloc(sizeof(*s));
	char what[128] = "";
	int err;

	if (!s)
		return -ENOMEM;
	err = get_state(r, s);
	if (!err) {
		hv_mutex_lock(&vcpu->mutex);
		err = vcpu_set_state(vcpu, s, what, sizeof(what));
		hv_mutex_unlock(&vcpu->mutex);
		if (err)
			rec_fail(r, err, "%s", what);
	}
	hv_free(s);
	return err;
}
