/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Requests, kicks, modes: who waits for whom, and who does not. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "hv/base/rcu.h"
#include "hv/vm/vm.h"
#include "tests/lib/vm_fake.h"

static struct hv_vm *vm;
static struct hv_vcpu *v0, *v1;

static int setup(void **state)
{
	vf_start();
	vm = vf_vm_new("req");
	assert_int_equal(vm_add_vcpu(vm, 0, &v0), 0);
	assert_int_equal(vm_add_vcpu(vm, 1, &v1), 0);
	return 0;
}

static int teardown(void **state)
{
	vm_put(vm);
	vf_end();
	return 0;
}

static void nap(long us)
{
	struct timespec ts = { .tv_nsec = us * 1000 };

	nanosleep(&ts, NULL);
}

static void test_request_bits(void **state)
{
	assert_false(vcpu_request_pending(v0));
	vcpu_make_request(v0, HV_REQ_TLB_FLUSH);
	vcpu_make_request(v0, HV_REQ_EVENT);
	assert_true(vcpu_request_pending(v0));
	assert_false(vcpu_request_pending(v1));
	assert_false(vcpu_check_request(v0, HV_REQ_NMI));
	assert_true(vcpu_check_request(v0, HV_REQ_TLB_FLUSH));
	assert_false(vcpu_check_request(v0, HV_REQ_TLB_FLUSH));
	assert_false(vcpu_enter_guest_mode(v0)); /* EVENT is pending */
	assert_int_equal(v0->mode, HV_OUTSIDE_GUEST_MODE);
	assert_true(vcpu_check_request(v0, HV_REQ_EVENT));
	assert_true(vcpu_enter_guest_mode(v0));
	assert_int_equal(v0->mode, HV_IN_GUEST_MODE);
	vcpu_exit_guest_mode(v0);
	assert_int_equal(v0->mode, HV_OUTSIDE_GUEST_MODE);
}

static void test_kicks(void **state)
{
	vcpu_kick(v0); /* outside: nothing to interrupt */
	assert_int_equal(v0->lp->kicks, 0);
	assert_true(vcpu_enter_guest_mode(v0));
	vcpu_kick(v0);
	assert_int_equal(v0->lp->kicks, 1);
	assert_int_equal(v0->mode, HV_EXITING_GUEST_MODE);
	vcpu_kick(v0); /* on its way out already */
	assert_int_equal(v0->lp->kicks, 1);
	vcpu_exit_guest_mode(v0);
	/* Requests that do not wait, with a vCPU outside: returns at once. */
	vm_make_all_requests(vm, HV_REQ_CLOCK_UPDATE);
	vm_flush_remote_tlbs(vm);
	assert_true(vcpu_check_request(v0, HV_REQ_CLOCK_UPDATE));
	assert_true(vcpu_check_request(v1, HV_REQ_TLB_FLUSH));
}

static _Atomic bool flushed;

static void *flusher(void *arg)
{
	hv_rcu_register_thread();
	vm_flush_remote_tlbs(vm);
	flushed = true;
	hv_rcu_unregister_thread();
	return NULL;
}

/* A flush returns when the vCPU has left guest mode (or its walk), and not before. */
static void wait_case(void (*enter)(struct hv_vcpu *), void (*leave)(struct hv_vcpu *), bool kicked)
{
	unsigned int kicks = v0->lp->kicks;
	pthread_t t;

	flushed = false;
	enter(v0);
	assert_int_equal(pthread_create(&t, NULL, flusher, NULL), 0);
	while (!vcpu_request_pending(v0))
		sched_yield();
	nap(20000); /* enough for the flusher to get past, if it could */
	assert_false(flushed);
	leave(v0);
	pthread_join(t, NULL);
	assert_true(flushed);
	assert_int_equal(v0->lp->kicks != kicks, kicked);
	assert_true(vcpu_check_request(v0, HV_REQ_TLB_FLUSH));
	vcpu_check_request(v1, HV_REQ_TLB_FLUSH);
}

static void enter_guest(struct hv_vcpu *vcpu)
{
	assert_true(vcpu_enter_guest_mode(vcpu));
}

static void test_flush_waits(void **state)
{
	wait_case(enter_guest, vcpu_exit_guest_mode, true);
	wait_case(vcpu_walk_lockless_begin, vcpu_walk_lockless_end, false);
}

/* Exit and re-entry count as an acknowledgement, since the entry saw the request. */
static void test_reentry_acknowledges(void **state)
{
	pthread_t t;

	flushed = false;
	enter_guest(v0);
	assert_int_equal(pthread_create(&t, NULL, flusher, NULL), 0);
	while (!vcpu_request_pending(v0))
		sched_yield();
	vcpu_exit_guest_mode(v0);
	assert_true(vcpu_check_request(v0, HV_REQ_TLB_FLUSH));
	enter_guest(v0); /* and never leaves again until the flusher is done */
	pthread_join(t, NULL);
	assert_true(flushed);
	vcpu_exit_guest_mode(v0);
}

/* ---- blocking ------------------------------------------------------------------------ */

static _Atomic bool event, woke;

static bool event_pending(struct hv_vcpu *vcpu)
{
	return event;
}

static void *blocker(void *arg)
{
	struct hv_vcpu *vcpu = arg;

	hv_rcu_register_thread();
	while (!event && !vcpu_request_pending(vcpu))
		vcpu_block(vcpu, event_pending);
	woke = true;
	hv_rcu_unregister_thread();
	return NULL;
}

static void test_block_and_wake(void **state)
{
	pthread_t t;
	int how;

	for (how = 0; how < 3; how++) {
		event = false;
		woke = false;
		assert_int_equal(pthread_create(&t, NULL, blocker, v0), 0);
		while (!v0->blocked)
			sched_yield();
		nap(2000);
		assert_false(woke);
		if (how == 0) {
			event = true;
			vcpu_wake_up(v0);
		} else if (how == 1) {
			vcpu_request_and_kick(v0, HV_REQ_EVENT);
		} else {
			vcpu_wake_up(v0); /* for nothing: it blocks again */
			nap(2000);
			assert_false(woke);
			event = true;
			vcpu_wake_up(v0);
		}
		pthread_join(t, NULL);
		assert_true(woke);
		vcpu_check_request(v0, HV_REQ_EVENT);
	}
	assert_true(v0->stats.blocked_ns > 0);
}

/* Events that come just as the vCPU goes to sleep are not lost. */
static void *event_maker(void *arg)
{
	int i;

	hv_rcu_register_thread();
	for (i = 0; i < 20000; i++) {
		while (event)
			sched_yield();
		event = true;
		vcpu_wake_up(v0);
	}
	hv_rcu_unregister_thread();
	return NULL;
}

static void test_no_lost_wakeup(void **state)
{
	pthread_t t;
	int i;

	event = false;
	assert_int_equal(pthread_create(&t, NULL, event_maker, NULL), 0);
	for (i = 0; i < 20000; i++) {
		while (!event)
			vcpu_block(v0, event_pending);
		event = false;
	}
	pthread_join(t, NULL);
}

/* ---- the flush protocol, with something to lose ----------------------------------------- */

#define ROUNDS 20000

static _Atomic(uint64_t *) table; /* what the "processor" walks */
static _Atomic bool stop;

/* Runs in guest mode and reads the table all the time until it is kicked. */
static void guest(struct hv_vcpu *vcpu)
{
	unsigned int kicks = vcpu->lp->kicks;
	int i;

	for (i = 0; i < 200 && vcpu->lp->kicks == kicks; i++) {
		uint64_t *t = atomic_load_explicit(&table, memory_order_acquire);

		HV_BUG_ON(*t == 0xdead);
	}
}

static void *vcpu_thread(void *arg)
{
	struct hv_vcpu *vcpu = arg;

	hv_rcu_register_thread();
	while (!stop) {
		vcpu_check_request(vcpu, HV_REQ_TLB_FLUSH);
		if (vcpu_enter_guest_mode(vcpu)) {
			guest(vcpu);
			vcpu_exit_guest_mode(vcpu);
		}
		vcpu_walk_lockless_begin(vcpu);
		HV_BUG_ON(*atomic_load_explicit(&table, memory_order_acquire) == 0xdead);
		vcpu_walk_lockless_end(vcpu);
	}
	hv_rcu_unregister_thread();
	return NULL;
}

static void test_flush_stress(void **state)
{
	uint64_t a = 1, b = 2;
	pthread_t t[2];
	int i;

	stop = false;
	table = &a;
	assert_int_equal(pthread_create(&t[0], NULL, vcpu_thread, v0), 0);
	assert_int_equal(pthread_create(&t[1], NULL, vcpu_thread, v1), 0);
	for (i = 0; i < ROUNDS; i++) {
		uint64_t *old = table;

		atomic_store_explicit(&table, old == &a ? &b : &a, memory_order_release);
		vm_flush_remote_tlbs(vm);
		/* Plain accesses: nobody may be reading it now (ThreadSanitizer looks, too). */
		*old = 0xdead;
		*old = (uint64_t)i;
	}
	stop = true;
	pthread_join(t[0], NULL);
	pthread_join(t[1], NULL);
	print_message("# %d flushes, %u kicks\n", ROUNDS, v0->lp->kicks + v1->lp->kicks);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_request_bits),	      T(test_kicks),	      T(test_flush_waits),
		T(test_reentry_acknowledges), T(test_block_and_wake), T(test_no_lost_wakeup),
		T(test_flush_stress),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
