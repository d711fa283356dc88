/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of hv/irq share: the chips' structures and the calls between
 * them. `_locked`: the caller holds irqchip_lock.
 */
#ifndef HV_IRQ_IRQCHIP_INTERNAL_H
#define HV_IRQ_IRQCHIP_INTERNAL_H

#include "hv/base/lock.h"
#include "hv/irq/irqchip.h"
#include "hv/vm/bus.h"

/* ---- one message of the APIC bus --------------------------------------------- */
enum lapic_delivery_mode {
	LAPIC_DM_FIXED,
	LAPIC_DM_LOWEST,
	LAPIC_DM_SMI,
	LAPIC_DM_REMOTE_READ,
	LAPIC_DM_NMI,
	LAPIC_DM_INIT,
	LAPIC_DM_STARTUP,
	LAPIC_DM_EXTINT,
};

enum lapic_shorthand {
	LAPIC_DEST_NOSHORT,
	LAPIC_DEST_SELF,
	LAPIC_DEST_ALL,
	LAPIC_DEST_ALL_BUT_SELF,
};

struct lapic_message {
	uint32_t dest;
	uint8_t vector;
	uint8_t mode;	   /* enum lapic_delivery_mode */
	uint8_t shorthand; /* enum lapic_shorthand */
	bool logical;
	bool level;	   /* trigger mode: level */
	bool assert;
	bool ext_dest;	   /* dest is the 32 bits of an x2APIC's ICR */
};

/*
 * Deliver to every local APIC that msg names. source: the sender of an IPI,
 * NULL otherwise. As hv_irq_route.set: number of CPUs reached, 0 if the vector
 * was pending already everywhere, -1 if nobody took it. Any thread.
 */
int lapic_send(struct hv_vm *vm, const struct lapic_message *msg, struct hv_vcpu *source);

/* As hv_irqchip_ops.send_ipi. */
int lapic_send_bitmap(struct hv_vcpu *source, unsigned __int128 bitmap, uint32_t first,
		      uint32_t icr);

/* ---- local APIC ------------------------------------------------------------------ */
struct hv_lapic {
	struct hv_vcpu *vcpu;	    /* [I] */
	uint8_t *regs;		    /* [I] one page; registers are 32 bits, 16 bytes apart */
	_Atomic uint64_t base;	    /* IA32_APIC_BASE; written by its vCPU's thread */
	_Atomic uint32_t pending;   /* LAPIC_PENDING_* */
	_Atomic uint32_t sipi_vector;
	_Atomic uint32_t esr_pending;
	_Atomic uint32_t served;    /* lowest-priority messages taken, for rotation */

	struct hv_spinlock timer_lock; /* a leaf; [T] below */
	struct hv_timer timer;
	uint64_t tsc_deadline;	    /* [T] 0: disarmed */
	uint64_t timer_expiry;	    /* [T] CLOCK_MONOTONIC ns of the next tick; 0: stopped */
	uint64_t timer_period;	    /* [T] ns of the initial count */
};

#define LAPIC_PENDING_INIT 1U
#define LAPIC_PENDING_SIPI 2U

/* Register numbers: the offset / 16, which is also the x2APIC MSR - 0x800. */
enum lapic_reg {
	LAPIC_ID = 0x02,
	LAPIC_VERSION = 0x03,
	LAPIC_TPR = 0x08,
	LAPIC_APR = 0x09,
	LAPIC_PPR = 0x0a,
	LAPIC_EOI = 0x0b,
	LAPIC_RRD = 0x0c,
	LAPIC_LDR = 0x0d,
	LAPIC_DFR = 0x0e,
	LAPIC_SPIV = 0x0f,
	LAPIC_ISR = 0x10,
	LAPIC_TMR = 0x18,
	LAPIC_IRR = 0x20,
	LAPIC_ESR = 0x28,
	LAPIC_ICR = 0x30,
	LAPIC_ICR2 = 0x31,
	LAPIC_LVTT = 0x32,
	LAPIC_LVTTHMR = 0x33,
	LAPIC_LVTPC = 0x34,
	LAPIC_LVT0 = 0x35,
	LAPIC_LVT1 = 0x36,
	LAPIC_LVTERR = 0x37,
	LAPIC_TMICT = 0x38,
	LAPIC_TMCCT = 0x39,
	LAPIC_TDCR = 0x3e,
	LAPIC_SELF_IPI = 0x3f,
};

#define LAPIC_NR_REGS 0x40
#define LAPIC_VERSION_VALUE 0x00050014U /* integrated APIC, six LVT entries */

#define LAPIC_BASE_BSP	  (1ULL << 8)
#define LAPIC_BASE_EXTD	  (1ULL << 10)
#define LAPIC_BASE_ENABLE (1ULL << 11)

#define LAPIC_SPIV_ENABLE (1U << 8)

#define LAPIC_LVT_MASKED       (1U << 16)
#define LAPIC_LVT_LEVEL	       (1U << 15)
#define LAPIC_LVT_REMOTE_IRR   (1U << 14)
#define LAPIC_LVT_PENDING      (1U << 12)
#define LAPIC_LVTT_PERIODIC    (1U << 17)
#define LAPIC_LVTT_TSCDEADLINE (1U << 18)
#define LAPIC_LVTT_MODE	       (LAPIC_LVTT_PERIODIC | LAPIC_LVTT_TSCDEADLINE)

/* Error status bits. */
#define LAPIC_ESR_SEND_ILLEGAL (1U << 5)
#define LAPIC_ESR_RECV_ILLEGAL (1U << 6)
#define LAPIC_ESR_ILLEGAL_REG  (1U << 7)

static inline uint32_t *lapic_reg_ptr(const struct hv_lapic *apic, unsigned int reg)
{
	return (uint32_t *)(void *)(apic->regs + reg * 16);
}

static inline uint32_t lapic_reg(const struct hv_lapic *apic, unsigned int reg)
{
	return __atomic_load_n(lapic_reg_ptr(apic, reg), __ATOMIC_RELAXED);
}

static inline void lapic_reg_set(struct hv_lapic *apic, unsigned int reg, uint32_t value)
{
	__atomic_store_n(lapic_reg_ptr(apic, reg), value, __ATOMIC_RELAXED);
}

static inline uint64_t lapic_base(const struct hv_lapic *apic)
{
	return atomic_load_explicit(&((struct hv_lapic *)apic)->base, memory_order_relaxed);
}

static inline bool lapic_hw_enabled(const struct hv_lapic *apic)
{
	return lapic_base(apic) & LAPIC_BASE_ENABLE;
}

static inline bool lapic_x2apic(const struct hv_lapic *apic)
{
	return (lapic_base(apic) & (LAPIC_BASE_ENABLE | LAPIC_BASE_EXTD)) ==
	       (LAPIC_BASE_ENABLE | LAPIC_BASE_EXTD);
}

static inline bool lapic_sw_enabled(const struct hv_lapic *apic)
{
	return lapic_hw_enabled(apic) && (lapic_reg(apic, LAPIC_SPIV) & LAPIC_SPIV_ENABLE);
}

/* ---- lapic.c ---- */
extern const struct hv_io_device_ops lapic_mmio_ops;
void lapic_reset(struct hv_lapic *apic, bool init_event);
int lapic_read(struct hv_lapic *apic, unsigned int reg, uint32_t *value);
/* -EINVAL: no such register, or a value that an x2APIC refuses. */
int lapic_write(struct hv_lapic *apic, unsigned int reg, uint32_t value);
/* LVT `reg` fires: fixed, NMI, ExtINT ... Any thread. 0, or -1 if masked. */
int lapic_local_deliver(struct hv_lapic *apic, unsigned int reg);
void lapic_error(struct hv_lapic *apic, uint32_t esr_bits);
/* Would an ExtINT of the PIC reach this CPU? */
bool lapic_accepts_pic(const struct hv_vcpu *vcpu);
/* The interrupt state changed: make the vCPU look. */
void lapic_kick(struct hv_vcpu *vcpu);
/* Highest set bit of the 256 at reg, or -1. */
int lapic_find_highest(const struct hv_lapic *apic, unsigned int reg);
uint32_t lapic_update_ppr(struct hv_lapic *apic);
void lapic_eoi(struct hv_lapic *apic, bool virtualised, int vector);

/* ---- lapic_ops.c: the run loop's side, MSRs ---- */
int lapic_rdmsr(struct hv_vcpu *vcpu, uint32_t msr, uint64_t *value);
int lapic_wrmsr(struct hv_vcpu *vcpu, uint32_t msr, uint64_t value);

/* ---- lapic_timer.c ---- */
void lapic_timer_fn(struct hv_timer *timer);
void lapic_timer_stop(struct hv_lapic *apic);
void lapic_timer_set_initial(struct hv_lapic *apic, uint32_t count);
uint32_t lapic_timer_current(struct hv_lapic *apic);
void lapic_timer_set_divide(struct hv_lapic *apic, uint32_t tdcr);
void lapic_timer_set_lvtt(struct hv_lapic *apic, uint32_t lvtt);
uint64_t lapic_timer_get_deadline(struct hv_lapic *apic);
void lapic_timer_set_deadline(struct hv_lapic *apic, uint64_t tsc);
uint64_t lapic_timer_remaining(struct hv_lapic *apic);
void lapic_timer_restore(struct hv_lapic *apic, uint64_t remaining_ns);

/* ---- PIC ---------------------------------------------------------------------------- */
struct pic_chip {
	struct hv_pic_chip_state s;
	uint8_t elcr_mask;
	uint32_t sources[8]; /* per line, a bit per hv_irq_source that is high */
};

struct pic {
	struct pic_chip chip[2];
	_Atomic bool output; /* INTR towards the CPUs */
	struct hv_io_device master, slave, elcr;
};

int pic_create(struct hv_vm *vm);
void pic_destroy(struct hv_vm *vm);
void pic_reset_locked(struct hv_irqchip *chip);
int pic_set_irq_locked(struct hv_irqchip *chip, unsigned int irq, int source, int level);
/* INTA: the vector, spurious 7 or 15 when the line went away. */
int pic_read_irq_locked(struct hv_irqchip *chip);
/* The vector INTA would give now, without its effects. */
int pic_peek_irq_locked(struct hv_irqchip *chip);
/* Kick whom the output reaches; called after a change, without the lock. */
void pic_notify(struct hv_vm *vm);

/* ---- I/O APIC ---------------------------------------------------------------------------- */
struct ioapic {
	struct hv_ioapic_state s;
	uint32_t sources[HV_IOAPIC_PINS];
	/* Vectors that some pin would send: an EOI of another one need not take the lock. */
	_Atomic uint64_t vectors[4];
	/* Vectors whose EOI this chip or the PIT has to hear of from a virtualised APIC. */
	_Atomic uint64_t eoi_exits[4];
	struct hv_io_device dev;
};

int ioapic_create(struct hv_vm *vm);
void ioapic_destroy(struct hv_vm *vm);
void ioapic_reset_locked(struct hv_irqchip *chip);
int ioapic_set_irq_locked(struct hv_irqchip *chip, unsigned int pin, int source, int level);
/* A local APIC's EOI of a vector. Any thread, without the lock. */
void ioapic_eoi(struct hv_vm *vm, int vector);
/* After a change of the entries, before anything is sent by the new ones. */
void ioapic_update_vectors_locked(struct hv_irqchip *chip);
/* Any thread. */
void ioapic_eoi_exits(struct ioapic *ioapic, uint64_t vectors[4]);

/* ---- PIT ------------------------------------------------------------------------------------- */
struct pit {
	struct hv_pit_state s;
	struct hv_timer timer;
	uint64_t next_tick;   /* CLOCK_MONOTONIC ns; 0: no interrupt to come */
	bool irq_acked;	      /* the guest took the last tick */
	struct hv_io_device dev, speaker;
};

int pit_create(struct hv_vm *vm);
void pit_destroy(struct hv_vm *vm);
void pit_reset_locked(struct hv_irqchip *chip);
/* The guest acknowledged IRQ 0. */
void pit_ack_locked(struct hv_irqchip *chip);

/* Places that a guest can move its local APICs to before it is refused. */
#define LAPIC_PAGES_MAX 16

/* ---- all of them ------------------------------------------------------------------------------ */
struct hv_irqchip {
	struct hv_vm *vm;
	struct hv_spinlock lock; /* irqchip_lock: pic, ioapic, pit */
	struct hv_timers *timers;
	struct pic pic;
	struct ioapic ioapic;
	struct pit pit;
	/*
	 * Pages at which some local APIC was ever mapped; [0] is the default one. An
	 * entry is taken by a cmpxchg of its base from 0 and stays for good.
	 */
	struct lapic_page {
		struct hv_io_device dev;
		_Atomic uint64_t base;
	} lapic_pages[LAPIC_PAGES_MAX];
};

/* Have the local APIC page at base dispatched. Takes slots_lock. -EEXIST, -ENOSPC. */
int irqchip_add_lapic_page(struct hv_vm *vm, uint64_t base);

#endif
