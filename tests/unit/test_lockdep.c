/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The lock validator: each rule kills, names both places, and kills no more
 * than it should.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "hv/base/rcu.h"
#include "hv/base/workqueue.h"
#include "tests/unit/death.h"

#ifdef HV_DEBUG

static struct hv_mutex vm, vcpu_a, vcpu_b, slots, slots_arch, irq;
static struct hv_spinlock tdp_pages, mn_invalidate, tsc, leaf;
static struct hv_rwlock mmu, cpus;
static struct hv_lock_dep mn;
static struct hv_cond cond;
static struct hv_rcu_head rcu_head;

static int setup(void **state)
{
	hv_mutex_init(&vm, HV_LC_VM);
	hv_mutex_init(&vcpu_a, HV_LC_VCPU);
	hv_mutex_init(&vcpu_b, HV_LC_VCPU);
	hv_mutex_init(&slots, HV_LC_SLOTS);
	hv_mutex_init(&slots_arch, HV_LC_SLOTS_ARCH);
	hv_mutex_init(&irq, HV_LC_IRQ);
	hv_spinlock_init(&tdp_pages, HV_LC_TDP_MMU_PAGES);
	hv_spinlock_init(&mn_invalidate, HV_LC_MN_INVALIDATE);
	hv_spinlock_init(&tsc, HV_LC_TSC_WRITE);
	hv_spinlock_init(&leaf, HV_LC_LEAF);
	hv_rwlock_init(&mmu, HV_LC_MMU);
	hv_rwlock_init(&cpus, HV_LC_CPUS_READ);
	hv_lockdep_init(&mn, HV_LC_MN_ACTIVE, HV_LOCK_PSEUDO);
	hv_cond_init(&cond);
	hv_rcu_register_thread();
	return 0;
}

static int teardown(void **state)
{
	hv_rcu_unregister_thread();
	hv_cond_destroy(&cond);
	hv_rwlock_destroy(&cpus);
	hv_rwlock_destroy(&mmu);
	hv_spinlock_destroy(&leaf);
	hv_spinlock_destroy(&tsc);
	hv_spinlock_destroy(&mn_invalidate);
	hv_spinlock_destroy(&tdp_pages);
	hv_mutex_destroy(&irq);
	hv_mutex_destroy(&slots_arch);
	hv_mutex_destroy(&slots);
	hv_mutex_destroy(&vcpu_b);
	hv_mutex_destroy(&vcpu_a);
	hv_mutex_destroy(&vm);
	return 0;
}

static void mn_enter(void)
{
	hv_lockdep_before(&mn, 0, __FILE__, __LINE__);
	hv_lockdep_acquired(&mn, HV_LM_SHARED, 0, __FILE__, __LINE__);
}

static void mn_leave(void)
{
	hv_lockdep_release(&mn, HV_LM_SHARED, __FILE__, __LINE__);
}

/* ---- recursion ---- */

static void same_mutex_twice(void)
{
	DEATH_SITE(hv_mutex_lock(&slots));
	DEATH_SITE(hv_mutex_lock(&slots));
}

static void same_spinlock_twice(void)
{
	DEATH_SITE(hv_spin_lock(&tsc));
	DEATH_SITE(hv_spin_lock(&tsc));
}

static void read_lock_twice(void)
{
	DEATH_SITE(hv_read_lock(&mmu));
	DEATH_SITE(hv_read_lock(&mmu));
}

static void read_then_write(void)
{
	DEATH_SITE(hv_read_lock(&mmu));
	DEATH_SITE(hv_write_lock(&mmu));
}

static void two_of_a_class(void)
{
	DEATH_SITE(hv_mutex_lock(&vcpu_a));
	DEATH_SITE(hv_mutex_lock(&vcpu_b));
}

static void nest_descends(void)
{
	DEATH_SITE(hv_mutex_lock_nested(&vcpu_a, 2));
	DEATH_SITE(hv_mutex_lock_nested(&vcpu_b, 1));
}

static void recursion(void **state)
{
	assert_death(same_mutex_twice, "recursion: slots_lock");
	assert_death(same_spinlock_twice, "recursion: tsc_write_lock");
	assert_death(read_lock_twice, "recursion: mmu_lock");
	assert_death(read_then_write, "recursion: mmu_lock");
	assert_death(two_of_a_class, "recursion: another vcpu_mutex");
	assert_death(nest_descends, "recursion: another vcpu_mutex");
}

static void nest_ascends(void **state)
{
	hv_mutex_lock(&vm);
	hv_mutex_lock_nested(&vcpu_a, 1);
	hv_mutex_lock_nested(&vcpu_b, 2);
	hv_mutex_lock(&slots);
	hv_mutex_unlock(&vcpu_a);
	hv_mutex_unlock(&slots);
	hv_mutex_unlock(&vm);
	hv_mutex_unlock(&vcpu_b);
	hv_assert_no_locks_held("test");
}

/* ---- order ---- */

static void arch_before_slots(void)
{
	DEATH_SITE(hv_mutex_lock(&slots_arch));
	DEATH_SITE(hv_mutex_lock(&slots));
}

static void order_two_apart(void)
{
	DEATH_SITE(hv_mutex_lock(&irq));
	DEATH_SITE(hv_mutex_lock(&vm));
}

static void no_order_between(void)
{
	DEATH_SITE(hv_mutex_lock(&irq));
	DEATH_SITE(hv_write_lock(&mmu));
}

static void wrong_below_a_right_one(void)
{
	hv_mutex_lock(&slots);
	DEATH_SITE(hv_read_lock(&mmu));
	DEATH_SITE(hv_mutex_lock(&irq));
}

static void inside_innermost(void)
{
	DEATH_SITE(hv_spin_lock(&leaf));
	DEATH_SITE(hv_spin_lock(&tsc));
}

static void without_required(void)
{
	DEATH_SITE(hv_spin_lock(&tdp_pages));
}

static void order(void **state)
{
	assert_death(arch_before_slots, "the order is slots_lock first");
	assert_death(order_two_apart, "the order is vm_lock first");
	assert_death(no_order_between, "no order is stated");
	assert_death(wrong_below_a_right_one, "order: irq_lock");
	assert_death(inside_innermost, "order: tsc_write_lock");
	assert_death(without_required, "needs mmu_lock");
}

static void whole_order_is_fine(void **state)
{
	hv_read_lock(&cpus);
	hv_mutex_lock(&vm);
	hv_mutex_lock(&vcpu_a);
	hv_mutex_lock(&slots);
	hv_mutex_lock(&slots_arch);
	hv_read_lock(&mmu);
	hv_spin_lock(&tdp_pages);
	hv_spin_lock(&leaf);
	hv_assert_held(&slots);
	hv_assert_held_read(&mmu);
	hv_assert_not_held(&irq);
	hv_spin_unlock(&leaf);
	hv_spin_unlock(&tdp_pages);
	hv_read_unlock(&mmu);
	hv_mutex_unlock(&slots_arch);
	hv_mutex_unlock(&slots);
	hv_mutex_unlock(&vcpu_a);
	hv_mutex_unlock(&vm);
	hv_read_unlock(&cpus);
	hv_assert_no_locks_held("test");
}

/* A trylock cannot deadlock, whatever is held; but what it took counts. */
static void after_a_trylock(void)
{
	if (hv_mutex_trylock(&slots_arch))
		DEATH_SITE(hv_mutex_lock(&slots));
}

static void trylocks(void **state)
{
	hv_mutex_lock(&slots_arch);
	assert_true(hv_mutex_trylock(&slots));
	hv_mutex_unlock(&slots);
	hv_mutex_unlock(&slots_arch);
	assert_death(after_a_trylock, "order: slots_lock");
}

/* ---- RCU ---- */

static void wait_in_section(void)
{
	DEATH_SITE(hv_rcu_read_lock());
	DEATH_SITE(hv_synchronize_rcu());
}

static void wait_in_nested_section(void)
{
	DEATH_SITE(hv_rcu_read_lock());
	hv_rcu_read_lock();
	hv_rcu_read_unlock();
	DEATH_SITE(hv_synchronize_rcu());
}

static void barrier_in_section(void)
{
	DEATH_SITE(hv_rcu_read_lock());
	DEATH_SITE(hv_rcu_barrier());
}

static void slots_in_section(void)
{
	DEATH_SITE(hv_rcu_read_lock());
	DEATH_SITE(hv_mutex_lock(&slots));
}

static void wait_under_arch(void)
{
	hv_mutex_lock(&slots);
	DEATH_SITE(hv_mutex_lock(&slots_arch));
	DEATH_SITE(hv_synchronize_rcu());
}

static void wait_under_mmu(void)
{
	DEATH_SITE(hv_read_lock(&mmu));
	DEATH_SITE(hv_synchronize_rcu());
}

static void leave_what_was_not_entered(void)
{
	DEATH_SITE(hv_rcu_read_unlock());
}

static void sections(void **state)
{
	assert_death(wait_in_section, "waiting for a grace period");
	assert_death(wait_in_nested_section, "waiting for a grace period");
	assert_death(barrier_in_section, "waiting for RCU callbacks");
	assert_death(slots_in_section, "inside the RCU read-side section");
	assert_death(wait_under_arch, "which read-side sections may wait for");
	assert_death(wait_under_mmu, "which read-side sections may wait for");
	assert_death(leave_what_was_not_entered, "never entered");
}

static void what_sections_may_do(void **state)
{
	hv_mutex_lock(&slots);
	hv_rcu_read_lock();
	hv_rcu_read_lock();
	hv_mutex_lock(&slots_arch);
	hv_write_lock(&mmu);
	hv_write_unlock(&mmu);
	hv_mutex_unlock(&slots_arch);
	hv_rcu_read_unlock();
	hv_rcu_assert_read_held();
	hv_rcu_read_unlock();
	hv_synchronize_rcu(); /* slots_lock is held */
	hv_mutex_unlock(&slots);
}

/* ---- sleeping ---- */

static void mutex_under_spinlock(void)
{
	DEATH_SITE(hv_spin_lock(&tsc));
	DEATH_SITE(hv_mutex_lock(&irq));
}

static void rwlock_under_spinlock(void)
{
	hv_write_lock(&mmu);
	DEATH_SITE(hv_spin_lock(&tdp_pages));
	DEATH_SITE(hv_read_lock(&cpus));
}

static void grace_period_under_spinlock(void)
{
	DEATH_SITE(hv_spin_lock(&leaf));
	DEATH_SITE(hv_synchronize_rcu());
}

static void might_sleep_under_spinlock(void)
{
	DEATH_SITE(hv_spin_lock(&leaf));
	DEATH_SITE(hv_might_sleep("reading a file"));
}

static void wait_under_other_spinlock(void)
{
	DEATH_SITE(hv_spin_lock(&mn_invalidate));
	hv_spin_lock(&leaf);
	DEATH_SITE(hv_cond_wait_spin(&cond, &leaf));
}

static void wait_without_the_lock(void)
{
	DEATH_SITE(hv_cond_wait(&cond, &slots));
}

static void condition_in_section(void)
{
	hv_mutex_lock(&slots_arch);
	DEATH_SITE(hv_rcu_read_lock());
	DEATH_SITE(hv_cond_wait(&cond, &slots_arch));
}

/* Waiting on the outer of two locks takes it again inside the inner one. */
static void wait_on_the_outer(void)
{
	hv_mutex_lock(&slots);
	DEATH_SITE(hv_mutex_lock(&slots_arch));
	DEATH_SITE(hv_cond_wait(&cond, &slots));
}

static void sleeping(void **state)
{
	assert_death(mutex_under_spinlock, "sleeping under a spinlock: irq_lock");
	assert_death(rwlock_under_spinlock, "sleeping under a spinlock: cpus_read_lock");
	assert_death(grace_period_under_spinlock, "sleeping under a spinlock: waiting");
	assert_death(might_sleep_under_spinlock, "sleeping under a spinlock: reading a file");
	assert_death(wait_under_other_spinlock, "sleeping under a spinlock: a wait");
	assert_death(wait_without_the_lock, "slots_lock is not held");
	assert_death(condition_in_section, "inside the RCU read-side section");
	assert_death(wait_on_the_outer, "order: slots_lock");
}

/* ---- holders ---- */

static void unlock_free_lock(void)
{
	DEATH_SITE(hv_mutex_unlock(&slots));
}

static void *take_slots(void *unused)
{
	DEATH_SITE(hv_mutex_lock(&slots));
	return NULL;
}

static void *release_slots(void *unused)
{
	DEATH_SITE(hv_mutex_unlock(&slots));
	return NULL;
}

static void run(void *(*fn)(void *))
{
	pthread_t t;

	if (pthread_create(&t, NULL, fn, NULL) || pthread_join(t, NULL))
		abort();
}

static void unlock_others_lock(void)
{
	DEATH_SITE(hv_mutex_lock(&slots));
	run(release_slots);
}

static void unlock_in_other_mode(void)
{
	DEATH_SITE(hv_read_lock(&mmu));
	DEATH_SITE(hv_write_unlock(&mmu));
}

static void thread_ends_holding(void)
{
	run(take_slots);
}

static void *enter_section(void *unused)
{
	hv_rcu_register_thread();
	DEATH_SITE(hv_rcu_read_lock());
	return NULL;
}

static void thread_ends_in_section(void)
{
	run(enter_section);
}

static void unregister_holding(void)
{
	DEATH_SITE(hv_mutex_lock(&vm));
	hv_rcu_unregister_thread();
}

static void destroy_held(void)
{
	DEATH_SITE(hv_mutex_lock(&vm));
	DEATH_SITE(hv_mutex_destroy(&vm));
}

static void destroy_read_locked(void)
{
	DEATH_SITE(hv_read_lock(&mmu));
	DEATH_SITE(hv_rwlock_destroy(&mmu));
}

static void wrong_type(void)
{
	hv_mutex_init(&vm, HV_LC_TSC_WRITE);
}

static void holders(void **state)
{
	assert_death(unlock_free_lock, "by a thread that does not hold it");
	assert_death(unlock_others_lock, "by a thread that does not hold it");
	assert_death(unlock_in_other_mode, "does not hold it in this mode");
	assert_death(thread_ends_holding, "a thread ends");
	assert_death(thread_ends_in_section, "a thread ends");
	assert_death(unregister_holding, "a thread unregisters from RCU");
	assert_death(destroy_held, "vm_lock destroyed");
	assert_death(destroy_read_locked, "mmu_lock destroyed");
	assert_death(wrong_type, "another type");
}

static void not_held(void)
{
	DEATH_SITE(hv_assert_held(&slots));
}

static void held_only_shared(void)
{
	DEATH_SITE(hv_read_lock(&mmu));
	DEATH_SITE(hv_assert_held_write(&mmu));
}

static void held_exclusively(void)
{
	DEATH_SITE(hv_write_lock(&mmu));
	DEATH_SITE(hv_assert_held_read(&mmu));
}

static void held_after_all(void)
{
	DEATH_SITE(hv_mutex_lock(&slots));
	DEATH_SITE(hv_assert_not_held(&slots));
}

static void assertions(void **state)
{
	assert_death(not_held, "slots_lock is not held");
	assert_death(held_only_shared, "mmu_lock is not held in the needed mode");
	assert_death(held_exclusively, "mmu_lock is not held in the needed mode");
	assert_death(held_after_all, "slots_lock must not be held");
}

/* ---- notifiers ---- */

static void notifier_takes_slots(void)
{
	mn_enter();
	DEATH_SITE(hv_mutex_lock(&slots));
}

static void notifier_takes_slots_arch(void)
{
	mn_enter();
	DEATH_SITE(hv_mutex_lock(&slots_arch));
}

static void invalidate_under_mmu(void)
{
	DEATH_SITE(hv_read_lock(&mmu));
	mn_enter();
}

static void notifiers(void **state)
{
	assert_death(notifier_takes_slots, "notifier context: slots_lock");
	assert_death(notifier_takes_slots_arch, "notifier context: slots_arch_lock");
	assert_death(invalidate_under_mmu, "order: mn_active");
	hv_mutex_lock(&slots);
	mn_enter();
	hv_write_lock(&mmu);
	hv_write_unlock(&mmu);
	hv_spin_lock(&mn_invalidate);
	hv_spin_unlock(&mn_invalidate);
	mn_leave();
	hv_mutex_unlock(&slots);
}

/* ---- work queues ---- */

static void takes_slots(struct hv_work *work)
{
	DEATH_SITE(hv_mutex_lock(&slots));
}

static void takes_mmu(struct hv_work *work)
{
	hv_write_lock(&mmu);
	hv_write_unlock(&mmu);
}

static struct hv_workqueue *mmu_queue(void)
{
	struct hv_workqueue *wq;

	if (hv_workqueue_create("test", 1, HV_LC_MMU, &wq))
		abort();
	return wq;
}

static void work_breaks_promise(void)
{
	struct hv_workqueue *wq = mmu_queue();
	struct hv_work work;

	hv_work_init(&work, takes_slots);
	hv_workqueue_queue(wq, &work);
	hv_workqueue_flush(wq);
}

static void flush_under_needed_lock(void)
{
	struct hv_workqueue *wq = mmu_queue();

	DEATH_SITE(hv_read_lock(&mmu));
	DEATH_SITE(hv_workqueue_flush(wq));
}

static void flush_under_inner_lock(void)
{
	struct hv_workqueue *wq = mmu_queue();

	DEATH_SITE(hv_mutex_lock(&irq));
	DEATH_SITE(hv_workqueue_flush(wq));
}

static void flush_in_section(void)
{
	struct hv_workqueue *wq = mmu_queue();

	DEATH_SITE(hv_rcu_read_lock());
	DEATH_SITE(hv_workqueue_flush(wq));
}

static void cancel_under_spinlock(void)
{
	struct hv_workqueue *wq = mmu_queue();
	struct hv_work work;

	hv_work_init(&work, takes_mmu);
	DEATH_SITE(hv_spin_lock(&leaf));
	DEATH_SITE(hv_workqueue_cancel_sync(wq, &work));
}

static void leaks_a_lock(struct hv_work *work)
{
	DEATH_SITE(hv_write_lock(&mmu));
}

static void work_returns_holding(void)
{
	struct hv_workqueue *wq = mmu_queue();
	struct hv_work work;

	hv_work_init(&work, leaks_a_lock);
	hv_workqueue_queue(wq, &work);
	hv_workqueue_flush(wq);
}

static void work_queues(void **state)
{
	struct hv_workqueue *wq;
	struct hv_work work;

	assert_death(work_breaks_promise, "promises nothing outside mmu_lock");
	assert_death(flush_under_needed_lock, "flushing a work queue");
	assert_death(flush_under_inner_lock, "order: mmu_lock");
	assert_death(flush_in_section, "flushing a work queue");
	assert_death(cancel_under_spinlock, "sleeping under a spinlock");
	assert_death(work_returns_holding, "a work returns");

	wq = mmu_queue();
	hv_work_init(&work, takes_mmu);
	hv_mutex_lock(&slots);
	assert_true(hv_workqueue_queue(wq, &work));
	hv_workqueue_flush(wq);
	hv_mutex_unlock(&slots);
	hv_workqueue_destroy(wq);
}

static void leave_locked(struct hv_rcu_head *head)
{
	DEATH_SITE(hv_mutex_lock(&irq));
}

static void callback_returns_holding(void)
{
	hv_call_rcu(&rcu_head, leave_locked);
	hv_rcu_barrier();
}

static void callbacks(void **state)
{
	assert_death(callback_returns_holding, "an RCU callback returns");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(recursion),	 cmocka_unit_test(nest_ascends),
		cmocka_unit_test(order),	 cmocka_unit_test(whole_order_is_fine),
		cmocka_unit_test(trylocks),	 cmocka_unit_test(sections),
		cmocka_unit_test(what_sections_may_do), cmocka_unit_test(sleeping),
		cmocka_unit_test(holders),	 cmocka_unit_test(assertions),
		cmocka_unit_test(notifiers),	 cmocka_unit_test(callbacks),
		cmocka_unit_test(work_queues), /* last: no fork after threads */
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}

#else

static void nothing_to_test(void **state)
{
	/* Without the validator a lock is no larger than what it is made of. */
	assert_int_equal(sizeof(struct hv_mutex), sizeof(pthread_mutex_t));
	assert_int_equal(sizeof(struct hv_spinlock), sizeof(pthread_mutex_t));
	assert_int_equal(sizeof(struct hv_lock_dep), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = { cmocka_unit_test(nothing_to_test) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
