/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The local APIC's timer: one-shot, periodic, TSC deadline. Intel SDM volume
 * 3, "APIC Timer". The input clock is 1 GHz, so a count of 1 with a divider of
 * 1 is a nanosecond.
 *
 * [T] timer_lock: tsc_deadline, timer_expiry, timer_period and the registers
 * LVTT, TMICT and TDCR, which the timer thread reads.
 */
#include "hv/irq/irqchip_internal.h"
#include "hv/vcpu/vcpu.h"

/* A shorter period would let a guest keep the timer thread busy for good. */
#define LAPIC_MIN_PERIOD_NS 100000ULL

static uint64_t timer_divider(uint32_t tdcr)
{
	uint32_t code = (tdcr & 3) | (tdcr & 8) >> 1;

	return 1ULL << ((code + 1) & 7);
}

static uint64_t timer_tsc_to_ns(const struct hv_lapic *apic, uint64_t ticks)
{
	uint64_t khz = apic->vcpu->vm->processor->tsc_khz();

	if (!khz)
		khz = 1000000;
	return (uint64_t)((unsigned __int128)ticks * 1000000 / khz);
}

/* Sleep until the guest's TSC is at least `deadline`; a minute at most, then look again. */
static uint64_t timer_deadline_ns(const struct hv_lapic *apic, uint64_t deadline, uint64_t tsc)
{
	uint64_t ns = deadline > tsc ? timer_tsc_to_ns(apic, deadline - tsc) + 1 : 0;

	if (ns > 60 * HV_NSEC_PER_SEC)
		ns = 60 * HV_NSEC_PER_SEC;
	return hv_timer_now() + ns;
}

static void timer_stop_locked(struct hv_lapic *apic)
{
	apic->timer_expiry = 0;
	apic->timer_period = 0;
	apic->tsc_deadline = 0;
	hv_timer_cancel(&apic->timer);
}

void lapic_timer_stop(struct hv_lapic *apic)
{
	hv_spin_lock(&apic->timer_lock);
	timer_stop_locked(apic);
	hv_spin_unlock(&apic->timer_lock);
}

/* True: the deadline has come, and is spent. */
static bool timer_deadline_due(struct hv_lapic *apic, uint64_t tsc)
{
	if (!apic->tsc_deadline)
		return false;
	if (tsc < apic->tsc_deadline) {
		hv_timer_arm(&apic->timer, timer_deadline_ns(apic, apic->tsc_deadline, tsc));
		return false;
	}
	apic->tsc_deadline = 0;
	return true;
}

/* True: the count has reached 0; a periodic one starts again. */
static bool timer_count_due(struct hv_lapic *apic, uint32_t lvtt, uint64_t now)
{
	if (!apic->timer_expiry)
		return false;
	if (now < apic->timer_expiry) {
		hv_timer_arm(&apic->timer, apic->timer_expiry);
		return false;
	}
	if (!(lvtt & LAPIC_LVTT_PERIODIC) || !apic->timer_period) {
		apic->timer_expiry = 0;
		return true;
	}
	/* Ticks that nobody could have taken are lost, as IRR has one bit. */
	apic->timer_expiry += ((now - apic->timer_expiry) / apic->timer_period + 1) *
			      apic->timer_period;
	hv_timer_arm(&apic->timer, apic->timer_expiry);
	return true;
}

void lapic_timer_fn(struct hv_timer *timer)
{
	struct hv_lapic *apic = container_of(timer, struct hv_lapic, timer);
	uint64_t tsc = vcpu_read_tsc(apic->vcpu), now = hv_timer_now();
	uint32_t lvtt;
	bool due;

	hv_spin_lock(&apic->timer_lock);
	lvtt = lapic_reg(apic, LAPIC_LVTT);
	if ((lvtt & LAPIC_LVTT_MODE) == LAPIC_LVTT_TSCDEADLINE)
		due = timer_deadline_due(apic, tsc);
	else
		due = timer_count_due(apic, lvtt, now);
	hv_spin_unlock(&apic->timer_lock);
	if (due)
		lapic_local_deliver(apic, LAPIC_LVTT);
}

static uint64_t timer_period_ns(uint32_t count, uint32_t tdcr, uint32_t lvtt)
{
	uint64_t ns = count * timer_divider(tdcr);

	if ((lvtt & LAPIC_LVTT_PERIODIC) && ns && ns < LAPIC_MIN_PERIOD_NS)
		ns = LAPIC_MIN_PERIOD_NS;
	return ns;
}

void lapic_timer_set_initial(struct hv_lapic *apic, uint32_t count)
{
	uint32_t lvtt = lapic_reg(apic, LAPIC_LVTT);

	/* In deadline mode the count registers do nothing. */
	if ((lvtt & LAPIC_LVTT_MODE) == LAPIC_LVTT_TSCDEADLINE)
		return;
	hv_spin_lock(&apic->timer_lock);
	timer_stop_locked(apic);
	lapic_reg_set(apic, LAPIC_TMICT, count);
	if (count) {
		apic->timer_period = timer_period_ns(count, lapic_reg(apic, LAPIC_TDCR), lvtt);
		apic->timer_expiry = hv_timer_now() + apic->timer_period;
		hv_timer_arm(&apic->timer, apic->timer_expiry);
	}
	hv_spin_unlock(&apic->timer_lock);
}

/* A periodic count goes round by itself, however late the timer's thread is to notice. */
static uint64_t timer_remaining_locked(struct hv_lapic *apic)
{
	uint64_t now = hv_timer_now();

	if (!apic->timer_expiry)
		return 0;
	if (apic->timer_expiry > now)
		return apic->timer_expiry - now;
	if (!(lapic_reg(apic, LAPIC_LVTT) & LAPIC_LVTT_PERIODIC) || !apic->timer_period)
		return 0;
	return apic->timer_period - (now - apic->timer_expiry) % apic->timer_period;
}

uint32_t lapic_timer_current(struct hv_lapic *apic)
{
	uint64_t count;

	hv_spin_lock(&apic->timer_lock);
	count = timer_remaining_locked(apic) / timer_divider(lapic_reg(apic, LAPIC_TDCR));
	hv_spin_unlock(&apic->timer_lock);
	return count > UINT32_MAX ? UINT32_MAX : (uint32_t)count;
}

void lapic_timer_set_divide(struct hv_lapic *apic, uint32_t tdcr)
{
	uint64_t left;
	uint32_t old;

	hv_spin_lock(&apic->timer_lock);
	old = lapic_reg(apic, LAPIC_TDCR);
	lapic_reg_set(apic, LAPIC_TDCR, tdcr);
	/* What is left of the count now lasts longer or shorter. */
	if (apic->timer_expiry && timer_divider(old) != timer_divider(tdcr)) {
		left = timer_remaining_locked(apic) / timer_divider(old) * timer_divider(tdcr);
		apic->timer_period = timer_period_ns(lapic_reg(apic, LAPIC_TMICT), tdcr,
						     lapic_reg(apic, LAPIC_LVTT));
		apic->timer_expiry = hv_timer_now() + left;
		hv_timer_arm(&apic->timer, apic->timer_expiry);
	}
	hv_spin_unlock(&apic->timer_lock);
}

void lapic_timer_set_lvtt(struct hv_lapic *apic, uint32_t lvtt)
{
	uint32_t old;

	hv_spin_lock(&apic->timer_lock);
	old = lapic_reg(apic, LAPIC_LVTT);
	/* Into or out of deadline mode disarms; one-shot to periodic does not. */
	if ((old ^ lvtt) & LAPIC_LVTT_TSCDEADLINE) {
		timer_stop_locked(apic);
		lapic_reg_set(apic, LAPIC_TMICT, 0);
	}
	lapic_reg_set(apic, LAPIC_LVTT, lvtt);
	hv_spin_unlock(&apic->timer_lock);
}

uint64_t lapic_timer_get_deadline(struct hv_lapic *apic)
{
	uint64_t deadline;

	hv_spin_lock(&apic->timer_lock);
	deadline = apic->tsc_deadline;
	hv_spin_unlock(&apic->timer_lock);
	return deadline;
}

void lapic_timer_set_deadline(struct hv_lapic *apic, uint64_t deadline)
{
	uint64_t tsc = vcpu_read_tsc(apic->vcpu);
	bool due;

	if ((lapic_reg(apic, LAPIC_LVTT) & LAPIC_LVTT_MODE) != LAPIC_LVTT_TSCDEADLINE)
		return;
	hv_spin_lock(&apic->timer_lock);
	timer_stop_locked(apic);
	apic->tsc_deadline = deadline;
	due = timer_deadline_due(apic, tsc);
	hv_spin_unlock(&apic->timer_lock);
	/* A deadline in the past fires at once, without the timer thread. */
	if (due)
		lapic_local_deliver(apic, LAPIC_LVTT);
}

uint64_t lapic_timer_remaining(struct hv_lapic *apic)
{
	uint64_t ns;

	hv_spin_lock(&apic->timer_lock);
	ns = timer_remaining_locked(apic);
	/* A tick that is due is not the same as a timer that is stopped. */
	if (!ns && apic->timer_expiry)
		ns = 1;
	hv_spin_unlock(&apic->timer_lock);
	return ns;
}

void lapic_timer_restore(struct hv_lapic *apic, uint64_t remaining_ns)
{
	uint32_t lvtt = lapic_reg(apic, LAPIC_LVTT);

	hv_spin_lock(&apic->timer_lock);
	if (remaining_ns) {
		apic->timer_period = timer_period_ns(lapic_reg(apic, LAPIC_TMICT),
						     lapic_reg(apic, LAPIC_TDCR), lvtt);
		apic->timer_expiry = hv_timer_now() + remaining_ns;
		hv_timer_arm(&apic->timer, apic->timer_expiry);
	}
	hv_spin_unlock(&apic->timer_lock);
}
