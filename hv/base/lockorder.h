/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The lock classes, the order in which they nest, and the validator.
 *
 * This is the one table of the engine's locks. A class stands for every lock
 * of one purpose (each VM has its own slots_lock, all of one class). To add a
 * lock, add a row here, its edges below, and its section in doc/locking.md.
 *
 * The order is a relation, not a ranking: an edge (A, B) permits B to be taken
 * while A is held, edges combine (A before B before C permits C under A), and
 * what no chain of edges permits is forbidden, in both directions. Besides:
 *
 *  - an INNERMOST class may be taken with any lock held, and nothing is taken
 *    inside it; so it is a spinlock;
 *  - a class is on one side of the grace period. GP_OUTSIDE: a thread may wait
 *    for a grace period while it holds the lock, hence nobody takes it inside
 *    a read-side section. GP_INSIDE: it may be taken inside a read-side
 *    section, hence nobody waits for a grace period while holding it. Both at
 *    once would be a deadlock;
 *  - a class may require that another one is held.
 *
 * "Spinlock" names a rule, not an implementation: nothing sleeps under one.
 * The lock itself spins briefly and then blocks, because a thread can lose its
 * CPU while holding it (see hv/base/lock.h).
 *
 * The validator is compiled in with HV_DEBUG and costs nothing without. It
 * aborts before the deadlock, with the sites of both acquisitions, on:
 * recursion, a forbidden order, a grace-period wait inside a read-side section
 * or under a GP_INSIDE lock, a GP_OUTSIDE lock inside a read-side section, a
 * sleeping lock or a wait under a spinlock, an unlock by a thread that does not
 * hold the lock, a missing required lock, and a thread or an object that ends
 * with a lock held.
 */
#ifndef HV_BASE_LOCKORDER_H
#define HV_BASE_LOCKORDER_H

#include <stdbool.h>
#include <stdint.h>

#include "config.h"

enum hv_lock_type {
	HV_LOCK_MUTEX,	  /* sleeps */
	HV_LOCK_RWLOCK,	  /* sleeps; shared or exclusive */
	HV_LOCK_SPINLOCK, /* short; nothing sleeps under it */
	HV_LOCK_PSEUDO,	  /* not a lock: a state of a thread that takes part in the order */
};

enum hv_lock_gp {
	HV_GP_OUTSIDE,
	HV_GP_INSIDE,
};

enum hv_lock_flags {
	HV_LF_NONE = 0,
	HV_LF_INNERMOST = 1,
};

/* X(id, name, type, gp, required class, flags, protects, taken by, comment) */
#define HV_LOCK_CLASSES(X)                                                                         \
	X(VENDOR_MODULE, "vendor_module_lock", MUTEX, OUTSIDE, NONE, NONE,                         \
	  "the loaded vendor module and the ops table it registered",                              \
	  "loading and unloading of a vendor module",                                              \
	  "Outermost. It exists because hv_lock will not do: loading calls into host CPU "         \
	  "hotplug, which takes cpus_read_lock, and that is outside hv_lock.")                     \
	X(CPUS_READ, "cpus_read_lock", RWLOCK, OUTSIDE, NONE, NONE,                                \
	  "the set of online host CPUs (hv_cpus)",                                                 \
	  "shared: who must see a steady set; exclusive: host CPU online and offline events",      \
	  "Never take it under hv_lock, not even through a function that takes it.")               \
	X(HV, "hv_lock", MUTEX, OUTSIDE, NONE, NONE,                                               \
	  "vm_list; the usage count; which CPUs have virtualization enabled",                      \
	  "VM creation and destruction, CPU hotplug callbacks, walks of vm_list",                  \
	  "Suspend and resume callbacks assert that it is not held.")                              \
	X(VM, "vm_lock", MUTEX, OUTSIDE, NONE, NONE,                                               \
	  "the life of a VM: its vCPU table, capabilities, devices being created",                 \
	  "calls on a VM that are not about one vCPU", "vm->lock.")                                \
	X(VCPU, "vcpu_mutex", MUTEX, OUTSIDE, NONE, NONE,                                          \
	  "a vCPU's registers and run state",                                                      \
	  "the thread that runs the vCPU, and calls that get or set its state",                    \
	  "To hold several, hold vm->lock and annotate the nesting with the vCPU's index.")        \
	X(HYPERV, "hyperv_lock", MUTEX, OUTSIDE, NONE, NONE,                                       \
	  "a VM's Hyper-V partition state", "vCPU threads, for partition-wide MSRs",               \
	  "Inside vcpu->mutex.")                                                                   \
	X(PCI, "pci_lock", MUTEX, OUTSIDE, NONE, NONE,                                             \
	  "PCI configuration space and where BARs are mapped",                                     \
	  "configuration accesses by vCPU threads, hot plug",                                      \
	  "Outside slots_lock, since moving a BAR changes slots and buses: so a configuration "    \
	  "access is dispatched outside read-side sections.")                                      \
	X(SLOTS, "slots_lock", MUTEX, OUTSIDE, NONE, NONE,                                         \
	  "updates of the memslots of all address spaces, of the device buses",                    \
	  "memslot and bus updates, dirty-log calls, root invalidation",                           \
	  "Held across the grace period, so never taken in a read-side section.")                  \
	X(SLOTS_ARCH, "slots_arch_lock", MUTEX, INSIDE, NONE, NONE,                                \
	  "arch fields of memslots that change inside a read-side section (rmaps)",                \
	  "memslot updates; the first shadow root, to allocate rmaps",                             \
	  "Taken before the current memslots are read, held until the new ones are published, "    \
	  "dropped before the grace-period wait, on error paths too.")                             \
	X(DEVICE, "device_lock", MUTEX, INSIDE, NONE, NONE,                                        \
	  "one device model's state", "vCPU threads in bus dispatch; the device's I/O threads",    \
	  "May be taken inside the read-side section of a bus lookup.")                            \
	X(IRQ, "irq_lock", MUTEX, INSIDE, NONE, NONE,                                              \
	  "the irq routing table's updates, irqfds, ack notifiers",                                \
	  "routing updates; device models whose message routes change",                            \
	  "Readers of the table use RCU. Retire old tables with hv_call_rcu(), or wait after "     \
	  "unlocking.")                                                                            \
	X(IRQCHIP, "irqchip_lock", SPINLOCK, INSIDE, NONE, NONE,                                   \
	  "the registers of one PIC, I/O APIC or PIT", "interrupt delivery, register accesses",    \
	  "An I/O APIC that drives a PIC annotates the nesting.")                                  \
	X(REGION, "region_lock", RWLOCK, INSIDE, NONE, NONE,                                       \
	  "a struct hv_mem: its regions, their segments, its notifiers",                           \
	  "shared: discard, page-out, populate, aging; exclusive: create, destroy, remap, "        \
	  "protect, (un)register a notifier",                                                      \
	  "Outside mmu_lock, since invalidation callbacks run under it.")                          \
	X(MN_ACTIVE, "mn_active", PSEUDO, INSIDE, NONE, NONE,                                      \
	  "nothing: the thread is between invalidate_range_start and invalidate_range_end",        \
	  "hv/mem", "install_new_memslots waits for these threads with slots_lock and "            \
	  "slots_arch_lock held, so they take neither.")                                           \
	X(MMU, "mmu_lock", RWLOCK, INSIDE, NONE, NONE,                                             \
	  "page tables, roots, shadow pages, rmaps",                                               \
	  "shared: TDP faults; exclusive: notifiers, zaps, the shadow MMU, dirty logging",         \
	  "Fast page faults work outside it.")                                                     \
	X(TDP_MMU_PAGES, "tdp_mmu_pages_lock", SPINLOCK, INSIDE, MMU, NONE,                        \
	  "lists and counts of TDP table pages while mmu_lock is only shared",                     \
	  "TDP faults and zaps", "Only ever inside mmu_lock.")                                     \
	X(MMU_UNSYNC_PAGES, "mmu_unsync_pages_lock", SPINLOCK, INSIDE, MMU, NONE,                  \
	  "marking shadow pages unsync, and their children counts",                                \
	  "faults that make a guest's page table writable",                                        \
	  "Only ever inside mmu_lock; needed since a TDP fault may unsync with it shared.")        \
	X(MN_INVALIDATE, "mn_invalidate_lock", SPINLOCK, INSIDE, NONE, NONE,                       \
	  "mn_active_invalidate_count and who waits for it to be 0",                               \
	  "notifier start and end; install_new_memslots", "A leaf.")                               \
	X(TSC_WRITE, "tsc_write_lock", SPINLOCK, INSIDE, NONE, NONE,                               \
	  "the last TSC write of a VM and the offsets derived from it",                            \
	  "guest TSC writes, vCPU creation, resume", "A leaf.")                                    \
	X(WAKEUP_VCPUS, "wakeup_vcpus_on_cpu_lock", SPINLOCK, INSIDE, NONE, NONE,                  \
	  "one host CPU's list of blocked vCPUs that wait for a posted interrupt",                 \
	  "a vCPU that blocks or unblocks; the wake-up handler", "One per CPU; a leaf.")           \
	X(WORKQUEUE, "workqueue_lock", SPINLOCK, INSIDE, NONE, INNERMOST,                          \
	  "a work queue's list and its workers' states", "queueing, flushing, workers",            \
	  "Work may be queued with any lock held.")                                                \
	X(TIMER, "timer_lock", SPINLOCK, INSIDE, NONE, INNERMOST, "the set of armed timers",       \
	  "arming and cancelling; the timer thread", "Callbacks run outside it.")                  \
	X(VCPU_WAIT, "vcpu_wait_lock", SPINLOCK, INSIDE, NONE, INNERMOST,                          \
	  "a vCPU's block and wake-up hand-shake",                                                 \
	  "the vCPU's thread; whoever wakes or kicks it", "A kick may come under any lock.")       \
	X(LEAF, "leaf_lock", SPINLOCK, INSIDE, NONE, INNERMOST,                                    \
	  "a small private structure of one file", "that file alone",                              \
	  "For locks that nobody outside a file can know of.")

enum hv_lock_class {
#define HV_LOCK_ENUM(id, ...) HV_LC_##id,
	HV_LOCK_CLASSES(HV_LOCK_ENUM)
#undef HV_LOCK_ENUM
	HV_LC_COUNT,
	HV_LC_NONE = HV_LC_COUNT, /* no class: no rule */
};

/* E(outer, inner): inner may be taken while outer is held. Transitive. */
#define HV_LOCK_EDGES(E)                                                                           \
	E(VENDOR_MODULE, CPUS_READ)                                                                \
	E(CPUS_READ, HV)                                                                           \
	E(HV, VM)                                                                                  \
	E(VM, VCPU)                                                                                \
	E(VCPU, HYPERV)                                                                            \
	E(VCPU, PCI)                                                                               \
	E(VCPU, TSC_WRITE)                                                                         \
	E(VCPU, WAKEUP_VCPUS)                                                                      \
	E(PCI, SLOTS)                                                                              \
	E(PCI, DEVICE)                                                                             \
	E(SLOTS, IRQ)                                                                              \
	E(SLOTS, SLOTS_ARCH)                                                                       \
	E(SLOTS, REGION)                                                                           \
	E(SLOTS_ARCH, MMU)                                                                         \
	E(SLOTS_ARCH, MN_INVALIDATE)                                                               \
	E(DEVICE, IRQ)                                                                             \
	E(DEVICE, REGION)                                                                          \
	E(IRQ, IRQCHIP)                                                                            \
	E(IRQCHIP, WAKEUP_VCPUS)                                                                   \
	E(REGION, MN_ACTIVE)                                                                       \
	E(MN_ACTIVE, MN_INVALIDATE)                                                                \
	E(MN_ACTIVE, MMU)                                                                          \
	E(MMU, TDP_MMU_PAGES)                                                                      \
	E(MMU, MMU_UNSYNC_PAGES)

struct hv_lock_class_info {
	const char *name;
	enum hv_lock_type type;
	enum hv_lock_gp gp;
	enum hv_lock_class requires;
	unsigned int flags;
	const char *protects;
	const char *takers;
	const char *comment;
};

/* Indexed by enum hv_lock_class. */
extern const struct hv_lock_class_info hv_lock_classes[HV_LC_COUNT];

/*
 * True if `inner` may be taken while `outer` is held. Computes the closure of
 * the edges on first use. Any thread, any time.
 */
bool hv_lockorder_permits(enum hv_lock_class outer, enum hv_lock_class inner);

/*
 * Checks the table itself: no cycle; spinlocks have only spinlocks inside;
 * INNERMOST classes have no edges out. NULL, or what is wrong.
 */
const char *hv_lockorder_table_error(void);

/* ---- the validator: called by lock.h, rcu.h, workqueue.c and hv/mem ---------- */

enum hv_lock_mode {
	HV_LM_EXCLUSIVE,
	HV_LM_SHARED,
	HV_LM_ANY, /* in assertions only */
};

#ifdef HV_DEBUG

/* Embedded in each lock. */
struct hv_lock_dep {
	enum hv_lock_class class;
	int holders;	  /* threads that hold it; atomic */
	const char *file; /* its last acquisition, for reports */
	int line;
};

void hv_lockdep_init(struct hv_lock_dep *d, enum hv_lock_class class, enum hv_lock_type type);

/* The object goes away: nobody may hold it. */
void hv_lockdep_destroy(struct hv_lock_dep *d, const char *file, int line);

/*
 * Before a lock that may block is taken: aborts if taking it breaks a rule.
 * nest: 0, or for the second and later locks of one class that a thread takes
 * in a known order, a number above those of the ones that it holds.
 */
void hv_lockdep_before(struct hv_lock_dep *d, unsigned int nest, const char *file, int line);

/* It has been taken; after a successful trylock, this alone is called. */
void hv_lockdep_acquired(struct hv_lock_dep *d, enum hv_lock_mode mode, unsigned int nest,
			 const char *file, int line);
void hv_lockdep_release(struct hv_lock_dep *d, enum hv_lock_mode mode, const char *file, int line);

/* The caller is about to wait on a condition with d, which it drops meanwhile. */
void hv_lockdep_cond_wait(struct hv_lock_dep *d, const char *file, int line);

void hv_lockdep_assert_held(const struct hv_lock_dep *d, enum hv_lock_mode mode, const char *file,
			    int line);
void hv_lockdep_assert_not_held(const struct hv_lock_dep *d, const char *file, int line);

/* No lock at all, no read-side section: at the end of a thread, a work, a call. */
void hv_lockdep_assert_none_held(const char *what, const char *file, int line);

/* The thread may block here: not under a spinlock. */
void hv_lockdep_might_sleep(const char *what, const char *file, int line);

void hv_lockdep_rcu_enter(const char *file, int line);
void hv_lockdep_rcu_leave(const char *file, int line);
bool hv_lockdep_rcu_held(void);
/* A grace-period wait, or a wait for something that may wait for one. */
void hv_lockdep_gp_wait(const char *what, const char *file, int line);

/*
 * Waiting for work whose outermost lock is of `class`: what taking such a lock
 * here would break, the wait breaks too.
 */
void hv_lockdep_wait_for(enum hv_lock_class class, const char *what, const char *file, int line);

/*
 * Until it is called again with HV_LC_NONE, this thread takes only locks of
 * `class`, of classes inside it, and innermost ones.
 */
void hv_lockdep_set_ceiling(enum hv_lock_class class);

#else /* !HV_DEBUG: every call vanishes */

struct hv_lock_dep {
};

static inline void hv_lockdep_init(struct hv_lock_dep *d, enum hv_lock_class class,
				   enum hv_lock_type type)
{
}
static inline void hv_lockdep_destroy(struct hv_lock_dep *d, const char *file, int line)
{
}
static inline void hv_lockdep_before(struct hv_lock_dep *d, unsigned int nest, const char *file,
				     int line)
{
}
static inline void hv_lockdep_acquired(struct hv_lock_dep *d, enum hv_lock_mode mode,
				       unsigned int nest, const char *file, int line)
{
}
static inline void hv_lockdep_release(struct hv_lock_dep *d, enum hv_lock_mode mode,
				      const char *file, int line)
{
}
static inline void hv_lockdep_cond_wait(struct hv_lock_dep *d, const char *file, int line)
{
}
static inline void hv_lockdep_assert_held(const struct hv_lock_dep *d, enum hv_lock_mode mode,
					  const char *file, int line)
{
}
static inline void hv_lockdep_assert_not_held(const struct hv_lock_dep *d, const char *file,
					      int line)
{
}
static inline void hv_lockdep_assert_none_held(const char *what, const char *file, int line)
{
}
static inline void hv_lockdep_might_sleep(const char *what, const char *file, int line)
{
}
static inline void hv_lockdep_rcu_enter(const char *file, int line)
{
}
static inline void hv_lockdep_rcu_leave(const char *file, int line)
{
}
static inline void hv_lockdep_gp_wait(const char *what, const char *file, int line)
{
}
static inline void hv_lockdep_wait_for(enum hv_lock_class class, const char *what,
				       const char *file, int line)
{
}
static inline void hv_lockdep_set_ceiling(enum hv_lock_class class)
{
}

#endif /* HV_DEBUG */

#define hv_assert_no_locks_held(what) hv_lockdep_assert_none_held((what), __FILE__, __LINE__)
#define hv_might_sleep(what)	      hv_lockdep_might_sleep((what), __FILE__, __LINE__)

#endif
