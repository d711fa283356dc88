/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * VM and vCPU objects: what every room of the engine shares of them.
 *
 * A room's private part hangs off one pointer (`mmu`, `irqchip`, `arch`,
 * `vendor_data`), so that adding a field to a room does not touch this file.
 *
 * Lock legend:
 *  [I] immutable after creation     [V] vm->lock          [S] slots_lock
 *  [R] RCU, updated under slots_lock [Q] irq_lock + RCU   [N] mn_invalidate_lock
 *  [M] mmu_lock (write to change)   [L] hv_lock           [T] tsc_write_lock
 *  [a] atomic, see the comment      [v] vcpu->mutex (its own thread)
 */
#ifndef HV_VM_VM_H
#define HV_VM_VM_H

#include <pthread.h>
#include <stdatomic.h>

#include "hv/base/list.h"
#include "hv/base/lock.h"
#include "hv/base/refcount.h"
#include "hv/vm/memslot.h"
#include "hv/vm/mmu_ops.h"
#include "hv/vm/types.h"
#include "hv/vm/vendor.h"

struct hv_mem;		 /* hv/mem: the VM's host address space object */
struct hv_vm_notifier;	 /* hv/vm/notifier.c */
struct hv_mmu_vm;	 /* hv/mmu */
struct hv_mmu_vcpu;	 /* hv/mmu */
struct hv_vcpu_arch;	 /* hv/vcpu */
struct hv_irqchip;	 /* hv/irq */
struct hv_lapic;	 /* hv/irq */
struct hv_irq_routing;	 /* hv/vm/irq_routing.c */
struct hv_bus_map;	 /* hv/vm/bus.c */
struct hv_dirty_vm;	 /* hv/vm/dirty.c: cursors, rings */
struct hv_dirty_ring;	 /* hv/vm/dirty_ring.c */
struct hv_lp;		 /* hv/cpu: a logical processor */
struct hv_processor_ops; /* hv/cpu/processor.h */
struct hv_run;		 /* hv/hv.h: exit data for the user of the engine */

enum hv_bus_kind { HV_BUS_PIO, HV_BUS_MMIO, HV_BUS_NUM };

enum hv_paging { HV_PAGING_TDP, HV_PAGING_SHADOW };

/*
 * What hv/irq gives the run loop; hv/vm and hv/vcpu call the local APIC through
 * this. NULL irqchip ops: the user of the engine injects interrupts itself.
 */
struct hv_irqchip_ops {
	/* Highest pending vector that may be injected now, or -1. vCPU thread. */
	int (*pending_interrupt)(struct hv_vcpu *vcpu);
	/* The interrupt was taken: IRR -> ISR (or the PIC's INTA). Returns the vector, or -1. */
	int (*ack_interrupt)(struct hv_vcpu *vcpu);
	bool (*has_events)(struct hv_vcpu *vcpu); /* any thread: INIT/SIPI or interrupt pending */
	/* Process INIT and SIPI; runs on the vCPU thread before entry. */
	int (*accept_events)(struct hv_vcpu *vcpu);
	uint64_t (*get_tpr)(struct hv_vcpu *vcpu);
	void (*set_tpr)(struct hv_vcpu *vcpu, uint64_t cr8);
	int (*rdmsr)(struct hv_vcpu *vcpu, uint32_t msr, uint64_t *val);  /* APIC base, x2APIC, TSC deadline */
	int (*wrmsr)(struct hv_vcpu *vcpu, uint32_t msr, uint64_t val);	  /* 1: #GP */
	void (*eoi)(struct hv_vcpu *vcpu, int vector);			  /* EOI by virtualised APIC */
	/*
	 * The paravirtual IPI: to APIC ids first + n for each bit n, with the vector and
	 * delivery mode of an ICR. The number of CPUs reached, or -EINVAL. May be NULL.
	 */
	int (*send_ipi)(struct hv_vcpu *vcpu, unsigned __int128 bitmap, uint32_t first, uint32_t icr);
	void (*vcpu_reset)(struct hv_vcpu *vcpu, bool init_event);
	/* Teardown by the last vm_put, after no vCPU can run; may be NULL. */
	void (*vcpu_destroy)(struct hv_vcpu *vcpu);
	void (*vm_destroy)(struct hv_vm *vm);
	/* For APIC virtualisation: the register page; the vectors, a bit each, whose EOI we have to see. */
	void *(*apic_page)(struct hv_vcpu *vcpu);
	void (*eoi_exits)(struct hv_vcpu *vcpu, uint64_t vectors[4]);
	/* The guest wrote the register at this offset of the page: do what the write means. */
	void (*apic_written)(struct hv_vcpu *vcpu, unsigned int offset);
};

struct hv_vm {
	struct cds_list_head vm_link;		/* [L] vm_list */
	struct hv_refcount users;		/* [a] */
	char name[64];				/* [I] */
	struct hv_mem *mem;			/* [I] */
	struct hv_vm_notifier *notifier;	/* [I] NULL without mem */
	const struct hv_vendor_ops *vendor;	/* [I] */
	const struct hv_processor_ops *processor; /* [I] */
	const struct hv_mmu_ops *mmu_ops;	/* [I] */
	enum hv_paging paging;			/* [I] */

	struct hv_mutex lock;
	struct hv_vcpu *vcpus[HV_MAX_VCPUS];	/* [V] to add; readers use nr_vcpus then the slot */
	_Atomic unsigned int nr_vcpus;		/* [a] release after vcpus[] is filled */

	struct hv_mutex slots_lock;
	struct hv_mutex slots_arch_lock;
	struct hv_slot_sets *slot_sets;		/* [S] both sets of each, hv/vm/memslot_update.c */
	/*
	 * Read at each access, while the locks around it are written at each update: a line of its own.
	 * (By room, not by alignment: that would be the struct's too, and the end of a walk over
	 * vm_list is no aligned address.)
	 */
	char pad_before_memslots[64];
	struct hv_memslots *memslots[HV_ADDRESS_SPACE_NUM]; /* [R] the active sets */
	char pad_behind_memslots[64];

	struct hv_spinlock mn_invalidate_lock;
	unsigned long mn_active_invalidate_count; /* [N] */
	bool mn_update_waits;			/* [N] slots_publish() waits for it to be 0 */
	struct hv_cond mn_cond;			/* [N] the count became 0, or nobody waits for it */
	struct hv_rwlock mmu_lock;
	unsigned long invalidate_seq;		/* [M] */
	unsigned long invalidate_in_progress;	/* [M] */
	hv_gfn_t invalidate_start;		/* [M] union of the ranges in progress */
	hv_gfn_t invalidate_end;		/* [M] */
	struct hv_mmu_vm *mmu;			/* [I] */
	struct hv_dirty_vm *dirty;		/* [I] */

	struct hv_mutex irq_lock;
	struct hv_irq_routing *irq_routing;	/* [Q] */
	struct hv_bus_map *buses[HV_BUS_NUM];	/* [R] */
	const struct hv_irqchip_ops *irqchip_ops; /* [I] after machine creation */
	struct hv_irqchip *irqchip;		/* [I] */
	bool apicv;				/* [I] the processor may virtualise the local APICs */

	struct hv_spinlock tsc_write_lock;
	struct hv_tsc_sync *tsc_sync;		/* [T] hv/vm/tsc.c */

	void *arch;				/* [I] hv/vcpu: per-VM part (CPU model, kvmclock) */
	void *vendor_data;			/* [I] */
	void *engine;				/* [I] hv/engine: what it owns of the VM */
	/* A VM whose state is inconsistent is stopped, alone, with a reason. */
	_Atomic bool bugged;			/* [a] once true, stays true */
	_Atomic bool bug_claimed;		/* [a] who turns it writes the reason, then bugged */
	char bug_reason[160];			/* written once, before bugged is true */
	const char *trace_tag;			/* [I] */
};

/* vCPU modes, as the TLB-flush protocol needs them (hv/vm/request.c). */
enum hv_vcpu_mode {
	HV_OUTSIDE_GUEST_MODE,
	HV_IN_GUEST_MODE,
	HV_EXITING_GUEST_MODE,
	HV_READING_SHADOW_PAGE_TABLES,
};

/* Requests: bits of vcpu->requests. WAIT: the requester waits until the vCPU has left guest mode. */
#define HV_REQ_WAIT (1U << 8)
enum hv_request {
	HV_REQ_TLB_FLUSH = 0 | HV_REQ_WAIT,
	HV_REQ_VM_DEAD = 1 | HV_REQ_WAIT,
	HV_REQ_UNBLOCK = 2,
	HV_REQ_EVENT = 3,		/* look for interrupts again */
	HV_REQ_MMU_RELOAD = 4,		/* the root was invalidated */
	HV_REQ_TLB_FLUSH_GUEST = 5,
	HV_REQ_CLOCK_UPDATE = 6,
	HV_REQ_STEAL_UPDATE = 7,
	HV_REQ_NMI = 8,
	HV_REQ_APICV_UPDATE = 9,
	HV_REQ_UPDATE_CPU_DIRTY_LOGGING = 10,
	HV_REQ_DIRTY_RING_SOFT_FULL = 11,
	HV_REQ_PAUSE = 12 | HV_REQ_WAIT, /* leave the run loop to the user */
	HV_REQ_TRIPLE_FAULT = 13,
	HV_REQ_PML_FLUSH = 14,
	HV_REQ_CPU_MOVE = 15,		/* leave the host CPU (hardware_vcpu_put) and load again */
};
#define HV_REQ_NR(req) ((unsigned int)(req) & ~HV_REQ_WAIT) /* bit in vcpu->requests */

/* Multiprocessor state, KVM's names. */
enum hv_mp_state {
	HV_MP_RUNNABLE,
	HV_MP_UNINITIALIZED, /* waiting for INIT */
	HV_MP_INIT_RECEIVED, /* waiting for SIPI */
	HV_MP_HALTED,
	HV_MP_STOPPED,
};

struct hv_vcpu {
	struct hv_vm *vm;			/* [I] */
	unsigned int id;			/* [I] also the APIC id */
	struct hv_mutex mutex;			/* held by the thread inside hv_vcpu_run */
	pthread_t thread;			/* valid while loaded */
	_Atomic int cpu;			/* [a] host CPU it is loaded on, -1: none; set by its thread */
	struct hv_lp *lp;			/* [I] its logical processor */
	_Atomic int mode;			/* [a] enum hv_vcpu_mode; pairs in hv/vm/request.c */
	_Atomic uint64_t requests;		/* [a] bit per request number */
	_Atomic int mp_state;			/* [a] enum hv_mp_state; changed by its thread */
	_Atomic uint32_t exit_seq;		/* [a] times it became OUTSIDE; a futex word */
	_Atomic uint32_t exit_waiters;		/* [a] threads that wait for exit_seq to move */
	_Atomic uint32_t blocked;		/* [a] 1: inside vcpu_block; a futex word */

	/* Posted interrupts while blocked (hv/vm/wakeup.c) */
	struct cds_list_head wakeup_link;	/* wakeup_vcpus_on_cpu_lock of wakeup_cpu */
	int wakeup_cpu;				/* [v] -1: on no list */

	struct hv_mmu_vcpu *mmu;		/* [I] */
	struct hv_vcpu_arch *arch;		/* [I] hv/vcpu */
	void *vendor_data;			/* [I] struct vmx_vcpu / svm_vcpu */
	struct hv_lapic *apic;			/* [I] NULL without irqchip */
	_Atomic bool apicv_active;		/* [a] interrupts are posted; set by its thread */
	struct hv_dirty_ring *dirty_ring;	/* [I] NULL unless enabled */
	struct hv_run *run;			/* [v] exit data */

	/* Last memslot hit, valid for one published generation; only this vCPU's thread. */
	uint64_t last_slot_generation;		/* [v] */
	struct hv_memslot *last_slot;		/* [v] */

	/* Time-stamp counter (hv/vm/tsc.c) */
	_Atomic uint64_t tsc_offset;		/* [T] to write; guest TSC = host TSC + offset */
	uint64_t tsc_generation;		/* [T] */
	uint32_t tsc_khz;			/* [I] 0: the host's */

	_Atomic uint64_t *exits;		/* [a] counters, vendor->exit_count of them */
	struct hv_vcpu_stats {
		_Atomic uint64_t entries, halts, irq_injections, nmi_injections, mmio, pio,
			pf_taken, pf_fixed, pf_fast, pf_spurious, pf_retry, mmio_cache_hits,
			mmio_cache_stale, mmio_cache_misses, tlb_flushes, dirty_ring_full, blocked_ns,
			pages_dirtied, emulated; /* instructions, by hv/x86 on its behalf */
	} stats;				/* [a] relaxed counters */
	struct hv_vcpu_run_clock {		/* [a] the vCPU's thread writes (hv/vcpu/run.c) */
		_Atomic uint64_t total_ns; /* of the calls of vcpu_run() that have ended */
		_Atomic uint64_t base_ns;  /* total_ns less the thread's clock when this one began */
		_Atomic int thread_clock;  /* clockid_t; 0: nobody is in vcpu_run() */
	} run_clock;
};

/* ---- hv/vm/vm.c --------------------------------------------------------------- */
struct hv_vm_params {
	const char *name;
	const struct hv_processor_ops *processor;
	const struct hv_vendor_ops *vendor;
	const struct hv_mmu_ops *mmu_ops;
	enum hv_paging paging;
	struct hv_mem *mem; /* borrowed: outlives the VM */
};
/* Takes cpus_read_lock and hv_lock (usage count, vm_list). */
int vm_create(const struct hv_vm_params *params, struct hv_vm **out);
/* Calls fn for each VM of vm_list under hv_lock until it returns non-zero; returns that. */
int vm_for_each(int (*fn)(struct hv_vm *vm, void *ctx), void *ctx);
void vm_get(struct hv_vm *vm);
void vm_put(struct hv_vm *vm); /* the last put tears down: vCPUs, slots, MMU, hardware */
int vm_add_vcpu(struct hv_vm *vm, unsigned int id, struct hv_vcpu **out);
/*
 * Stop this VM, and only it, because its state is inconsistent. Any context;
 * the first reason wins; every vCPU gets HV_REQ_VM_DEAD.
 */
void vm_bugged(struct hv_vm *vm, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static inline struct hv_vcpu *vm_vcpu(struct hv_vm *vm, unsigned int i)
{
	if (i >= HV_MAX_VCPUS || i >= atomic_load_explicit(&vm->nr_vcpus, memory_order_acquire))
		return NULL;
	return vm->vcpus[i];
}

static inline bool vm_is_bugged(struct hv_vm *vm)
{
	return atomic_load_explicit(&vm->bugged, memory_order_acquire);
}

/* ---- hv/vm/request.c ------------------------------------------------------------ */
void vcpu_make_request(struct hv_vcpu *vcpu, enum hv_request req);  /* any thread; no kick */
bool vcpu_check_request(struct hv_vcpu *vcpu, enum hv_request req); /* test and clear, own thread */
bool vcpu_request_pending(struct hv_vcpu *vcpu);
void vcpu_kick(struct hv_vcpu *vcpu);	  /* make it leave guest mode or wake from block */
void vcpu_wake_up(struct hv_vcpu *vcpu);
/*
 * Sleep until `runnable` says so (NULL: irqchip_ops->has_events), a request or a posted
 * interrupt is pending, or vcpu_wake_up is called once. A vCPU that is loaded, of a vendor
 * that posts interrupts, is on its CPU's wake-up list meanwhile. Own thread, mode OUTSIDE,
 * no RCU read side, no spinlock. May return early.
 */
void vcpu_block(struct hv_vcpu *vcpu, bool (*runnable)(struct hv_vcpu *vcpu));
/* One vCPU: request, kick, and for HV_REQ_WAIT wait until it has left guest mode. */
void vcpu_request_and_kick(struct hv_vcpu *vcpu, enum hv_request req);
/*
 * Request to all, kick, and for HV_REQ_WAIT wait until each has acknowledged: it has
 * been seen outside guest mode (and outside a lockless walk) after the request was
 * set. May be called under mmu_lock and in an RCU read side; never inside a lockless
 * walk of the calling thread. lp_kick is sticky like an interrupt that is pending: a kick
 * between vcpu_enter_guest_mode and the entry itself ends that entry at once.
 */
void vm_make_all_requests(struct hv_vm *vm, enum hv_request req);
void vm_flush_remote_tlbs(struct hv_vm *vm);
void vm_flush_remote_tlbs_range(struct hv_vm *vm, hv_gfn_t start, uint64_t npages);
/* Mode transitions around guest entry; false: a request is pending, do not enter. */
bool vcpu_enter_guest_mode(struct hv_vcpu *vcpu);
void vcpu_exit_guest_mode(struct hv_vcpu *vcpu);
/* Lockless walks of page tables by this thread (freed tables wait for them). */
void vcpu_walk_lockless_begin(struct hv_vcpu *vcpu);
void vcpu_walk_lockless_end(struct hv_vcpu *vcpu);

/* ---- hv/vm/notifier.c: host memory takes pages back -------------------------------- */
/* True: an invalidation is or was under way since seq was read; mmu_lock held. */
bool vm_invalidate_retry(struct hv_vm *vm, unsigned long seq, hv_gfn_t gfn);
/* The same without mmu_lock, to give up early; may say false too often, so ask again under it. */
bool vm_invalidate_retry_unlocked(struct hv_vm *vm, unsigned long seq, hv_gfn_t gfn);
unsigned long vm_invalidate_seq(struct hv_vm *vm); /* with the read barrier of the pair */

/* ---- hv/vm/dirty.c -------------------------------------------------------------------- */
/*
 * The one way a guest frame becomes dirty. RCU read side or slots_lock; vcpu may be
 * NULL, or is the calling thread's. Order, or a write is lost: a fault marks under
 * the mmu_lock section that makes the SPTE writable; the fast path marks after its
 * cmpxchg; a copy by the engine or a device marks after the bytes are written.
 */
void vm_mark_page_dirty(struct hv_vm *vm, struct hv_vcpu *vcpu, struct hv_memslot *slot,
			hv_gfn_t gfn);
/* ---- hv/vm/guest_mem.c: access by the engine and devices -------------------------------- */
/* Copy; marks written pages dirty. -EFAULT where no slot (or a read-only one) is. Any thread. */
int vm_read_guest(struct hv_vm *vm, hv_gpa_t gpa, void *buf, uint64_t len);
int vm_write_guest(struct hv_vm *vm, hv_gpa_t gpa, const void *buf, uint64_t len);
/*
 * Direct access, inside an RCU read side: the host address of gpa and, in *len, how many of
 * the *len bytes wanted lie there in one piece. NULL: no memory there (or read-only, with
 * HV_GUEST_WRITE). After writing, call vm_mark_range_dirty before leaving the read side.
 */
enum hv_guest_access { HV_GUEST_READ, HV_GUEST_WRITE };
void *vm_guest_ptr(struct hv_vm *vm, hv_gpa_t gpa, uint64_t *len, enum hv_guest_access access);
void vm_mark_range_dirty(struct hv_vm *vm, hv_gpa_t gpa, uint64_t len);
/*
 * 16 to 64 bits, naturally aligned, in one access. Acquire and release, as rings shared
 * with a guest need them. size 2, 4 or 8. -EINVAL: unaligned, another size.
 */
int vm_load_guest(struct hv_vm *vm, hv_gpa_t gpa, unsigned int size, uint64_t *value);
int vm_store_guest(struct hv_vm *vm, hv_gpa_t gpa, unsigned int size, uint64_t value);

#endif
