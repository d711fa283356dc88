/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Requests, kicks, vCPU modes, blocking.
 *
 * A request is a bit of vcpu->requests; a kick makes the vCPU look at it. The
 * modes and what they promise are KVM's:
 *
 *   OUTSIDE_GUEST_MODE            runs our code; looks at its requests before it
 *                                 enters the guest, so nobody has to wait for it
 *   IN_GUEST_MODE                 uses its TLB; has to be kicked and waited for
 *   EXITING_GUEST_MODE            as IN, and somebody has kicked it already
 *   READING_SHADOW_PAGE_TABLES    walks tables without a lock; is waited for
 *
 * The barriers, in pairs (each is a sequentially consistent operation on the
 * vCPU's word, which is a full barrier on x86):
 *
 *  (1) requester: set the bit          |  vCPU: mode = IN_GUEST_MODE
 *      [full barrier]                  |  [full barrier]
 *      read and change the mode        |  read the requests
 *      Either the requester sees a mode that it waits for, or the vCPU sees the
 *      request and does not enter. Makers: vcpu_make_request() with
 *      request_interrupt(); vcpu_enter_guest_mode().
 *
 *  (2) vCPU leaves: accesses in guest mode; mode = OUTSIDE (release); exit_seq++
 *      requester: sees OUTSIDE or the new exit_seq (acquire); frees what the
 *      guest could still see. vcpu_exit_guest_mode(), request_wait().
 *
 *  (3) requester: what the request is about is stored, then the bit is set
 *      (release); vCPU: clears the bit (acquire), then reads what it is about.
 *      vcpu_make_request(), vcpu_check_request().
 *
 *  (4) walker: mode = READING; [full barrier]; reads the tables
 *      zapper: unlinks a table; [full barrier, in (1)]; reads the mode
 *      Either the walker sees the table unlinked, or the zapper waits for it.
 *
 *  (5) sleeper: blocked = 1; [full barrier]; looks for events
 *      waker: makes the event; [full barrier]; reads blocked
 *      vcpu_block(), vcpu_wake_up().
 */
#include "hv/base/clock.h"
#include "hv/base/rcu.h"
#include "hv/base/trace.h"
#include "hv/cpu/processor.h"
#include "hv/vm/vm_internal.h"
#include "hv/vm/wait.h"
#include "hv/vm/wakeup.h"

/* Turns of a busy wait before a requester sleeps: an exit takes microseconds. */
#define REQUEST_SPINS 200

/* The vCPU whose tables this thread walks, to catch a wait for oneself. */
static __thread struct hv_vcpu *walking_vcpu;

void request_vcpu_init(struct hv_vcpu *vcpu)
{
	atomic_init(&vcpu->mode, HV_OUTSIDE_GUEST_MODE);
	atomic_init(&vcpu->requests, 0);
	atomic_init(&vcpu->exit_seq, 0);
	atomic_init(&vcpu->exit_waiters, 0);
	atomic_init(&vcpu->blocked, 0);
}

/* ---- requests ---------------------------------------------------------------------- */

void vcpu_make_request(struct hv_vcpu *vcpu, enum hv_request req)
{
	hv_trace(request, vcpu->id, HV_REQ_NR(req));
	atomic_fetch_or(&vcpu->requests, 1ULL << HV_REQ_NR(req)); /* (1), (3) */
}

bool vcpu_check_request(struct hv_vcpu *vcpu, enum hv_request req)
{
	uint64_t bit = 1ULL << HV_REQ_NR(req);

	/* The common answer is no, without writing to the line. */
	if (!(atomic_load_explicit(&vcpu->requests, memory_order_relaxed) & bit))
		return false;
	atomic_fetch_and(&vcpu->requests, ~bit); /* (3) */
	return true;
}

bool vcpu_request_pending(struct hv_vcpu *vcpu)
{
	return atomic_load_explicit(&vcpu->requests, memory_order_acquire) != 0;
}

/* ---- modes ------------------------------------------------------------------------- */

bool vcpu_enter_guest_mode(struct hv_vcpu *vcpu)
{
	hv_test_point("before guest mode");
	atomic_store(&vcpu->mode, HV_IN_GUEST_MODE); /* (1) */
	if (atomic_load(&vcpu->requests)) {	     /* (1) */
		vcpu_exit_guest_mode(vcpu);
		return false;
	}
	return true;
}

/* The mode becomes OUTSIDE, and whoever waits for that learns of it: (2). */
static void become_outside(struct hv_vcpu *vcpu)
{
	atomic_store_explicit(&vcpu->mode, HV_OUTSIDE_GUEST_MODE, memory_order_release);
	atomic_fetch_add(&vcpu->exit_seq, 1);
	if (atomic_load(&vcpu->exit_waiters))
		wake_word(&vcpu->exit_seq);
}

void vcpu_exit_guest_mode(struct hv_vcpu *vcpu)
{
	become_outside(vcpu);
}

void vcpu_walk_lockless_begin(struct hv_vcpu *vcpu)
{
	HV_BUG_ON(walking_vcpu);
	walking_vcpu = vcpu;
	atomic_store(&vcpu->mode, HV_READING_SHADOW_PAGE_TABLES); /* (4) */
}

void vcpu_walk_lockless_end(struct hv_vcpu *vcpu)
{
	HV_BUG_ON(walking_vcpu != vcpu);
	walking_vcpu = NULL;
	become_outside(vcpu);
}

/* ---- kicks and acknowledgement --------------------------------------------------------- */

/* What a requester remembers of a vCPU that it has to wait for. */
struct request_ack {
	uint32_t exit_seq;
	bool wait;
};

/*
 * Make a vCPU in guest mode leave it. The count is read before the mode: an exit
 * after that moves it, and a later entry has seen the request by (1).
 */
static struct request_ack request_interrupt(struct hv_vcpu *vcpu, enum hv_request req)
{
	struct request_ack ack = { .exit_seq = atomic_load(&vcpu->exit_seq) };
	int mode = HV_IN_GUEST_MODE;

	/* Sequentially consistent, failure too: (1). */
	atomic_compare_exchange_strong(&vcpu->mode, &mode, HV_EXITING_GUEST_MODE);
	if (mode == HV_OUTSIDE_GUEST_MODE)
		return ack;
	ack.wait = req & HV_REQ_WAIT;
	/*
	 * EXITING: another thread has kicked or is about to. Whoever waits does not
	 * trust it to be quick, and kicks as well.
	 */
	if (mode == HV_IN_GUEST_MODE || (mode == HV_EXITING_GUEST_MODE && ack.wait)) {
		hv_trace(kick, vcpu->id, mode);
		vcpu->vm->processor->lp_kick(vcpu->lp);
	}
	return ack;
}

static bool request_acknowledged(struct hv_vcpu *vcpu, const struct request_ack *ack)
{
	return atomic_load(&vcpu->exit_seq) != ack->exit_seq ||
	       atomic_load_explicit(&vcpu->mode, memory_order_acquire) == HV_OUTSIDE_GUEST_MODE;
}

/* (2): returns when what the vCPU did in guest mode before the request is over. */
static void request_wait(struct hv_vcpu *vcpu, const struct request_ack *ack)
{
	unsigned int i;

#ifdef HV_MUTATE_NO_ACK_WAIT
	return;
#endif
	if (!ack->wait)
		return;
	HV_BUG_ON(walking_vcpu == vcpu); /* would wait for ourselves */
	for (i = 0; i < REQUEST_SPINS; i++) {
		if (request_acknowledged(vcpu, ack))
			return;
		hv_cpu_relax();
	}
	atomic_fetch_add(&vcpu->exit_waiters, 1);
	while (!request_acknowledged(vcpu, ack))
		wait_on_word(&vcpu->exit_seq, ack->exit_seq);
	atomic_fetch_sub(&vcpu->exit_waiters, 1);
}

void vcpu_kick(struct hv_vcpu *vcpu)
{
	vcpu_wake_up(vcpu);
	request_interrupt(vcpu, HV_REQ_UNBLOCK); /* any request that does not wait */
}

void vcpu_request_and_kick(struct hv_vcpu *vcpu, enum hv_request req)
{
	struct request_ack ack;

	vcpu_make_request(vcpu, req);
	vcpu_wake_up(vcpu);
	ack = request_interrupt(vcpu, req);
	request_wait(vcpu, &ack);
}

/* A TLB flush does not concern a vCPU that sleeps in HLT: it looks when it wakes. */
static bool request_wakes(enum hv_request req)
{
	return req != HV_REQ_TLB_FLUSH && req != HV_REQ_TLB_FLUSH_GUEST;
}

void vm_make_all_requests(struct hv_vm *vm, enum hv_request req)
{
	struct request_ack ack[HV_MAX_VCPUS];
	struct hv_vcpu *vcpu;
	unsigned int i, n;

	/* Kick all before waiting for any. */
	for (n = 0; n < HV_MAX_VCPUS && (vcpu = vm_vcpu(vm, n)); n++) {
		vcpu_make_request(vcpu, req);
		if (request_wakes(req))
			vcpu_wake_up(vcpu);
		ack[n] = request_interrupt(vcpu, req);
	}
	for (i = 0; i < n; i++)
		request_wait(vm->vcpus[i], &ack[i]);
}

void vm_flush_remote_tlbs(struct hv_vm *vm)
{
	hv_trace(tlb_flush_remote, (uintptr_t)vm, atomic_load(&vm->nr_vcpus));
	vm_make_all_requests(vm, HV_REQ_TLB_FLUSH);
}

/*
 * A processor has no flush by guest-physical range (INVEPT and TLB_CONTROL know
 * contexts only), so this is the whole flush; callers say what they need.
 */
void vm_flush_remote_tlbs_range(struct hv_vm *vm, hv_gfn_t start, uint64_t npages)
{
	if (npages)
		vm_flush_remote_tlbs(vm);
}

/* ---- blocking ---------------------------------------------------------------------------- */

void vcpu_wake_up(struct hv_vcpu *vcpu)
{
	/* (5): the exchange is a full barrier even when there is nothing to wake. */
	if (atomic_exchange(&vcpu->blocked, 0)) {
		hv_trace(vcpu_wake, vcpu->id);
		wake_word(&vcpu->blocked);
	}
}

static bool block_over(struct hv_vcpu *vcpu, bool (*runnable)(struct hv_vcpu *vcpu))
{
	const struct hv_irqchip_ops *chips = vcpu->vm->irqchip_ops;
	bool (*posted)(struct hv_vcpu *) = vcpu->vm->vendor->posted_pending;

#ifdef HV_MUTATE_NO_POSTED_RECHECK
	posted = NULL;
#endif
	if (vcpu_request_pending(vcpu) || (posted && posted(vcpu)))
		return true;
	/* The caller's own test is the stricter one: HLT with IF = 0 outlasts an interrupt. */
	if (runnable)
		return runnable(vcpu);
	return chips && chips->has_events(vcpu);
}

static void block(struct hv_vcpu *vcpu, bool (*runnable)(struct hv_vcpu *vcpu))
{
	atomic_store(&vcpu->blocked, 1); /* (5) */
	while (!block_over(vcpu, runnable)) {
		if (!atomic_load(&vcpu->blocked))
			break; /* woken once, for a reason that the caller knows */
		wait_on_word(&vcpu->blocked, 1);
	}
	atomic_store(&vcpu->blocked, 0);
}

/* An interrupt that is posted from here on notifies the CPU of the list: on it first. */
static void posted_list_join(struct hv_vcpu *vcpu, unsigned int cpu)
{
	const struct hv_vendor_ops *vendor = vcpu->vm->vendor;

	hv_test_point("before the wake-up list");
	wakeup_add(vcpu, cpu);
	if (vendor->posted_block)
		vendor->posted_block(vcpu, cpu);
}

static void posted_list_leave(struct hv_vcpu *vcpu)
{
	if (vcpu->vm->vendor->posted_unblock)
		vcpu->vm->vendor->posted_unblock(vcpu);
	wakeup_del(vcpu);
}

void vcpu_block(struct hv_vcpu *vcpu, bool (*runnable)(struct hv_vcpu *vcpu))
{
	int cpu = atomic_load_explicit(&vcpu->cpu, memory_order_relaxed);
	bool posts = vcpu->vm->vendor->posted_pending && cpu >= 0;
	uint64_t begin;

	HV_BUG_ON(hv_rcu_read_held());
	HV_BUG_ON(atomic_load_explicit(&vcpu->mode, memory_order_relaxed) != HV_OUTSIDE_GUEST_MODE);
	hv_might_sleep("vcpu_block");
	hv_trace(vcpu_block, vcpu->id);
	begin = hv_clock_ns();
	if (posts)
		posted_list_join(vcpu, (unsigned int)cpu);
	block(vcpu, runnable);
	if (posts)
		posted_list_leave(vcpu);
	atomic_fetch_add_explicit(&vcpu->stats.blocked_ns, hv_clock_ns() - begin,
				  memory_order_relaxed);
}
