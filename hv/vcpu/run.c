/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The run loop of a vCPU, in KVM's structure:
 *
 *	load -> { requests -> events -> MMU root -> guest mode -> exit handler }* -> put
 *
 * Rules: guest mode and blocking are never inside an RCU read-side section; a
 * request that comes after the last look is seen by vcpu_enter_guest_mode(),
 * whose barrier pairs with the requester's (hv/vm/request.c); what an exit wants
 * from the user of the engine is in vcpu->run when vcpu_run() returns 0.
 */
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "hv/base/clock.h"
#include "hv/base/rcu.h"
#include "hv/hv.h"
#include "hv/mmu/mmu.h"
#include "hv/vcpu/arch.h"
#include "hv/vm/dirty.h"
#include "hv/vm/hardware.h"
#include "hv/x86/defs.h"

/* ---- exits to the user ------------------------------------------------------------------------ */

int vcpu_exit_internal_error(struct hv_vcpu *vcpu, uint32_t suberror, const char *fmt, ...)
{
	va_list ap;

	vcpu->run->exit_reason = HV_EXIT_INTERNAL_ERROR;
	vcpu->run->internal.suberror = suberror;
	va_start(ap, fmt);
	vsnprintf(vcpu->run->internal.detail, sizeof(vcpu->run->internal.detail), fmt, ap);
	va_end(ap);
	return 0;
}

int vcpu_exit_fail_entry(struct hv_vcpu *vcpu, uint64_t hardware_reason)
{
	vcpu->run->exit_reason = HV_EXIT_FAIL_ENTRY;
	vcpu->run->fail_entry.hardware_entry_failure_reason = hardware_reason;
	vcpu->run->fail_entry.cpu = (uint32_t)vcpu->cpu;
	return 0;
}

int vcpu_exit_unknown(struct hv_vcpu *vcpu, uint64_t hardware_reason)
{
	vcpu->run->exit_reason = HV_EXIT_UNKNOWN;
	vcpu->run->hw.hardware_exit_reason = hardware_reason;
	return 0;
}

int vcpu_exit_shutdown(struct hv_vcpu *vcpu)
{
	vcpu->run->exit_reason = HV_EXIT_SHUTDOWN;
	return 0;
}

/* ---- load and put -------------------------------------------------------------------------------- */

static int load(struct hv_vcpu *vcpu)
{
	int cpu = sched_getcpu();
	int r = hardware_vcpu_load(vcpu, cpu < 0 ? 0 : (unsigned int)cpu);

	if (r < 0)
		return r;
	vcpu->vm->processor->lp_attach(vcpu->lp, (unsigned int)r);
	vcpu->vm->vendor->vcpu_load(vcpu, (unsigned int)r);
	steal_start(vcpu);
	/* What was injected and not delivered when the vCPU was put is injected again. */
	vcpu_make_request(vcpu, HV_REQ_EVENT);
	return 0;
}

static void put(struct hv_vcpu *vcpu)
{
	steal_stop(vcpu);
	/* The cache outlives the CPU: fetch what has not been fetched while VMCS or VMCB is there. */
	vcpu_regs_read(vcpu);
	vcpu->vm->vendor->vcpu_put(vcpu);
	vcpu->vm->processor->lp_detach(vcpu->lp);
	hardware_vcpu_put(vcpu);
}

/* ---- requests -------------------------------------------------------------------------------------- */

/* 1 go on, 0 exit to the user, < 0. */
static int terminal_requests(struct hv_vcpu *vcpu)
{
	int r;

	if (vcpu_check_request(vcpu, HV_REQ_VM_DEAD) || vm_is_bugged(vcpu->vm))
		return -EIO;
	if (vcpu_check_request(vcpu, HV_REQ_PAUSE))
		return -EINTR;
	if (vcpu_check_request(vcpu, HV_REQ_CPU_MOVE)) {
		put(vcpu);
		r = load(vcpu);
		if (r < 0)
			return r;
	}
	if (vcpu_check_request(vcpu, HV_REQ_TRIPLE_FAULT))
		return vcpu_exit_shutdown(vcpu);
	return dirty_ring_check_full(vcpu) ? 0 : 1;
}

static int handle_requests(struct hv_vcpu *vcpu)
{
	const struct hv_vendor_ops *vendor = vcpu->vm->vendor;
	int r = terminal_requests(vcpu);

	if (r <= 0)
		return r;
	vcpu_check_request(vcpu, HV_REQ_UNBLOCK);
	vcpu_check_request(vcpu, HV_REQ_MMU_RELOAD); /* mmu_reload() looks at the root itself */
	if (vcpu_check_request(vcpu, HV_REQ_PML_FLUSH) && vendor->flush_log_dirty)
		vendor->flush_log_dirty(vcpu);
	if (vcpu_check_request(vcpu, HV_REQ_UPDATE_CPU_DIRTY_LOGGING))
		vendor->update_cpu_dirty_logging(vcpu);
	if (vcpu_check_request(vcpu, HV_REQ_TLB_FLUSH)) {
		vendor->flush_tlb_all(vcpu);
		vcpu_check_request(vcpu, HV_REQ_TLB_FLUSH_GUEST); /* contained in it */
	}
	if (vcpu_check_request(vcpu, HV_REQ_TLB_FLUSH_GUEST))
		vendor->flush_tlb_guest(vcpu);
	if (vcpu_check_request(vcpu, HV_REQ_CLOCK_UPDATE))
		pvclock_update(vcpu);
	if (vcpu_check_request(vcpu, HV_REQ_STEAL_UPDATE))
		steal_update(vcpu);
	if (vcpu_check_request(vcpu, HV_REQ_NMI))
		events_process_nmi(vcpu);
	if (vcpu_check_request(vcpu, HV_REQ_APICV_UPDATE) && vendor->apicv_refresh)
		vendor->apicv_refresh(vcpu);
	return 1;
}

/* ---- one entry ----------------------------------------------------------------------------------------- */

static int prepare_events(struct hv_vcpu *vcpu)
{
	const struct hv_irqchip_ops *chips = vcpu->vm->irqchip_ops;
	int r;

	vcpu->arch->int_window_wanted = !chips && vcpu->run->request_interrupt_window;
	if (!vcpu_check_request(vcpu, HV_REQ_EVENT) && !vcpu->arch->int_window_wanted)
		return 1;
	if (chips) {
		r = chips->accept_events(vcpu);
		if (r < 0)
			return r;
		if (atomic_load(&vcpu->mp_state) != HV_MP_RUNNABLE) {
			vcpu_make_request(vcpu, HV_REQ_EVENT);
			return 2; /* an INIT came: wait for SIPI */
		}
	}
	r = events_inject_pending(vcpu);
	return r < 0 ? r : 1;
}

/*
 * Interrupts that the processor holds back: the user asked to be told when it may
 * inject one.
 */
static bool window_exit(struct hv_vcpu *vcpu)
{
	if (!vcpu->run->request_interrupt_window || vcpu->vm->irqchip_ops)
		return false;
	if (atomic_load(&vcpu->arch->user_interrupt) >= 0 || vcpu->arch->interrupt.injected ||
	    !vcpu->vm->vendor->interrupt_allowed(vcpu))
		return false;
	vcpu->run->exit_reason = HV_EXIT_IRQ_WINDOW_OPEN;
	return true;
}

static int enter(struct hv_vcpu *vcpu)
{
	struct hv_vcpu_arch *a = vcpu->arch;
	const struct hv_vendor_ops *vendor = vcpu->vm->vendor;
	int r;

	if (a->regs_dirty) {
		vendor->sync_to_hw(vcpu);
		a->regs_dirty = false;
	}
	if (!vcpu_enter_guest_mode(vcpu)) {
		/* A request came since we looked: start again. */
		events_cancel(vcpu);
		return 1;
	}
	a->regs_full = false;
	r = vendor->run(vcpu);
	vcpu_exit_guest_mode(vcpu);
	atomic_fetch_add_explicit(&vcpu->stats.entries, 1, memory_order_relaxed);
	if (r < 0)
		return r;
	return vendor->handle_exit(vcpu);
}

/* 1: again; 0: to the user; < 0: -errno. */
static int enter_guest(struct hv_vcpu *vcpu)
{
	int r = 1;

	if (vcpu_request_pending(vcpu)) {
		r = handle_requests(vcpu);
		if (r <= 0)
			return r;
	}
	steal_poll(vcpu);
	r = prepare_events(vcpu);
	if (r != 1)
		return r == 2 ? 1 : r;
	if (window_exit(vcpu)) {
		events_cancel(vcpu);
		return 0;
	}
	hv_rcu_read_lock();
	r = mmu_reload(vcpu);
	hv_rcu_read_unlock();
	if (r < 0) {
		events_cancel(vcpu);
		return r;
	}
	return enter(vcpu);
}

/* ---- blocking ----------------------------------------------------------------------------------------------- */

/*
 * What ends HLT. INIT and SIPI are no matter of RFLAGS.IF: they come with
 * HV_REQ_EVENT, and a pending request ends every block.
 */
static bool wakes(struct hv_vcpu *vcpu)
{
	return atomic_load(&vcpu->mp_state) == HV_MP_HALTED && events_deliverable(vcpu);
}

static int block(struct hv_vcpu *vcpu)
{
	const struct hv_irqchip_ops *chips = vcpu->vm->irqchip_ops;
	int r;

	if (vcpu_request_pending(vcpu)) {
		r = handle_requests(vcpu);
		if (r <= 0)
			return r;
	}
	/* Looked at here; one that comes from now on ends vcpu_block(). */
	vcpu_check_request(vcpu, HV_REQ_EVENT);
	if (chips) {
		r = chips->accept_events(vcpu);
		if (r < 0)
			return r;
	}
	events_sync_posted(vcpu);
	if (wakes(vcpu))
		atomic_store(&vcpu->mp_state, HV_MP_RUNNABLE);
	if (atomic_load(&vcpu->mp_state) == HV_MP_RUNNABLE) {
		vcpu_make_request(vcpu, HV_REQ_EVENT);
		return 1;
	}
	steal_stop(vcpu);
	vcpu_block(vcpu, wakes);
	steal_start(vcpu);
	return 1;
}

/* ---- the loop -------------------------------------------------------------------------------------------------- */

static void fill_run_flags(struct hv_vcpu *vcpu)
{
	struct hv_run *run = vcpu->run;

	run->if_flag = !!(vcpu->arch->regs.rflags & X86_FL_IF);
	run->ready_for_interrupt_injection =
		!vcpu->vm->irqchip_ops && run->if_flag &&
		atomic_load(&vcpu->arch->user_interrupt) < 0 && !vcpu->arch->interrupt.injected;
}

static int loop(struct hv_vcpu *vcpu)
{
	int r = 1;

	if (vcpu->arch->complete_io) {
		int (*complete)(struct hv_vcpu *) = vcpu->arch->complete_io;

		vcpu->arch->complete_io = NULL;
		r = complete(vcpu);
		if (r <= 0)
			return r;
	}
	if (vcpu->run->immediate_exit)
		return -EINTR;
	while (r > 0) {
		if (atomic_load(&vcpu->mp_state) == HV_MP_RUNNABLE)
			r = enter_guest(vcpu);
		else
			r = block(vcpu);
	}
	return r;
}

/* ---- CPU time ---------------------------------------------------------------------------------------------- */

static void run_clock_start(struct hv_vcpu *vcpu)
{
	struct hv_vcpu_run_clock *rc = &vcpu->run_clock;
	clockid_t clock;
	uint64_t now;

	if (pthread_getcpuclockid(pthread_self(), &clock) != 0 || !hv_clock_read(clock, &now))
		return;
	atomic_store(&rc->base_ns, atomic_load(&rc->total_ns) - now);
	atomic_store(&rc->thread_clock, clock);
}

static void run_clock_stop(struct hv_vcpu *vcpu)
{
	atomic_store(&vcpu->run_clock.total_ns, vcpu_run_ns(vcpu));
	atomic_store(&vcpu->run_clock.thread_clock, 0);
}

uint64_t vcpu_run_ns(const struct hv_vcpu *vcpu)
{
	const struct hv_vcpu_run_clock *rc = &vcpu->run_clock;
	clockid_t clock = atomic_load(&rc->thread_clock);
	uint64_t now;

	if (clock && hv_clock_read(clock, &now))
		return atomic_load(&rc->base_ns) + now;
	return atomic_load(&rc->total_ns);
}

int vcpu_run(struct hv_vcpu *vcpu)
{
	int r;

	hv_mutex_lock(&vcpu->mutex);
	vcpu->thread = pthread_self();
	if (vm_is_bugged(vcpu->vm)) {
		r = -EIO;
		goto out;
	}
	r = load(vcpu);
	if (r < 0)
		goto out;
	run_clock_start(vcpu);
	vcpu->run->exit_reason = HV_EXIT_UNKNOWN;
	r = loop(vcpu);
	if (r == -EINTR)
		vcpu->run->exit_reason = HV_EXIT_INTR;
	if (vm_is_bugged(vcpu->vm))
		r = -EIO;
	if (atomic_load(&vcpu->cpu) >= 0) /* a move that found no CPU has put it already */
		put(vcpu);
	fill_run_flags(vcpu);
	run_clock_stop(vcpu);
out:
	hv_mutex_unlock(&vcpu->mutex);
	return r;
}

void vcpu_pause_request(struct hv_vcpu *vcpu)
{
	vcpu_make_request(vcpu, HV_REQ_PAUSE);
	vcpu_kick(vcpu);
}
