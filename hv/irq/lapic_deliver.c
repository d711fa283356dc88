/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The APIC bus: which local APICs a message is for, and what it does there.
 * Intel SDM volume 3, "Determining IPI Destination" and "Local APIC
 * Acceptance of Interrupts".
 */
#include <errno.h>

#include "hv/irq/irqchip_internal.h"
#include "hv/vcpu/vcpu.h"

#define XAPIC_BROADCAST	 0xffU
#define X2APIC_BROADCAST 0xffffffffU

static bool match_physical(const struct hv_lapic *apic, const struct lapic_message *msg)
{
	uint32_t id = lapic_reg(apic, LAPIC_ID);

	if (!lapic_x2apic(apic))
		id >>= 24;
	if (msg->dest == X2APIC_BROADCAST || (!msg->ext_dest && msg->dest == XAPIC_BROADCAST))
		return true;
	return msg->dest == id;
}

static bool match_logical(const struct hv_lapic *apic, const struct lapic_message *msg)
{
	uint32_t ldr = lapic_reg(apic, LAPIC_LDR);

	if (msg->dest == X2APIC_BROADCAST || (!msg->ext_dest && msg->dest == XAPIC_BROADCAST))
		return true;
	/* Cluster in the upper half, a bit per CPU of the cluster in the lower. */
	if (lapic_x2apic(apic))
		return msg->dest >> 16 == ldr >> 16 && (msg->dest & ldr & 0xffff);
	ldr >>= 24;
	switch (lapic_reg(apic, LAPIC_DFR) >> 28) {
	case 0xf: /* flat */
		return ldr & msg->dest & 0xff;
	case 0x0: /* cluster */
		return (msg->dest >> 4 == ldr >> 4 || msg->dest >> 4 == 0xf) &&
		       (ldr & msg->dest & 0xf);
	default:
		return false;
	}
}

static bool lapic_match(const struct hv_lapic *apic, const struct lapic_message *msg,
			const struct hv_vcpu *source)
{
	if (!lapic_hw_enabled(apic))
		return false;
	switch (msg->shorthand) {
	case LAPIC_DEST_SELF:
		return apic->vcpu == source;
	case LAPIC_DEST_ALL:
		return true;
	case LAPIC_DEST_ALL_BUT_SELF:
		return apic->vcpu != source;
	default:
		return msg->logical ? match_logical(apic, msg) : match_physical(apic, msg);
	}
}

/* As hv_vendor_ops.deliver_posted. */
static int deliver_posted(struct hv_vcpu *vcpu, uint8_t vector)
{
	const struct hv_vendor_ops *vendor = vcpu->vm->vendor;

	return vendor && vendor->deliver_posted ? vendor->deliver_posted(vcpu, vector) : -1;
}

/* A fixed interrupt: TMR tells level from edge until EOI, IRR holds it. 1, or 0 if it was there. */
static int accept_fixed(struct hv_lapic *apic, const struct lapic_message *msg)
{
	unsigned int word = msg->vector / 32;
	uint32_t bit = 1U << (msg->vector % 32), old;
	int posted;

	if (!lapic_sw_enabled(apic))
		return -1;
	if (msg->vector < 16) {
		/* The error interrupt itself must not recurse. */
		if ((lapic_reg(apic, LAPIC_LVTERR) & 0xff) >= 16)
			lapic_error(apic, LAPIC_ESR_RECV_ILLEGAL);
		else
			atomic_fetch_or(&apic->esr_pending, LAPIC_ESR_RECV_ILLEGAL);
		return -1;
	}
	if (msg->level)
		__atomic_fetch_or(lapic_reg_ptr(apic, LAPIC_TMR + word), bit, __ATOMIC_SEQ_CST);
	else
		__atomic_fetch_and(lapic_reg_ptr(apic, LAPIC_TMR + word), ~bit, __ATOMIC_SEQ_CST);
	posted = deliver_posted(apic->vcpu, msg->vector);
	if (posted >= 0)
		return posted && !(lapic_reg(apic, LAPIC_IRR + word) & bit);
	/* Pairs with the exchange of the requests at entry: IRR first, then the request. */
	old = __atomic_fetch_or(lapic_reg_ptr(apic, LAPIC_IRR + word), bit, __ATOMIC_SEQ_CST);
	lapic_kick(apic->vcpu);
	return !(old & bit);
}

static int accept_init(struct hv_lapic *apic, const struct lapic_message *msg)
{
	/* The de-assert of an INIT level is for arbitration ids of old; nothing to do. */
	if (msg->level && !msg->assert)
		return -1;
	/* A start-up that came before this INIT is forgotten. */
	atomic_store(&apic->pending, LAPIC_PENDING_INIT);
	lapic_kick(apic->vcpu);
	return 1;
}

static int accept_startup(struct hv_lapic *apic, const struct lapic_message *msg)
{
	/* The vector is written before the bit that announces it. */
	atomic_store(&apic->sipi_vector, msg->vector);
	atomic_fetch_or(&apic->pending, LAPIC_PENDING_SIPI);
	lapic_kick(apic->vcpu);
	return 1;
}

static int lapic_accept(struct hv_lapic *apic, const struct lapic_message *msg)
{
	switch (msg->mode) {
	case LAPIC_DM_FIXED:
	case LAPIC_DM_LOWEST:
		return accept_fixed(apic, msg);
	case LAPIC_DM_NMI:
		irq_send_nmi(apic->vcpu);
		return 1;
	case LAPIC_DM_INIT:
		return accept_init(apic, msg);
	case LAPIC_DM_STARTUP:
		return accept_startup(apic, msg);
	case LAPIC_DM_EXTINT:
		/* The vector comes from the PIC at INTA, so there is only a CPU to wake. */
		lapic_kick(apic->vcpu);
		return 1;
	default:
		/* SMI (there is no SMM) and remote read: nobody answers. */
		return -1;
	}
}

/* Lowest priority: the CPU with the least urgent work, and in turn among equals. */
static struct hv_lapic *lowest_of(struct hv_lapic *a, struct hv_lapic *b)
{
	uint32_t pa, pb;

	if (!a || !b)
		return a ? a : b;
	pa = lapic_reg(a, LAPIC_PPR) >> 4;
	pb = lapic_reg(b, LAPIC_PPR) >> 4;
	if (pa != pb)
		return pa < pb ? a : b;
	return atomic_load(&b->served) < atomic_load(&a->served) ? b : a;
}

static int send_lowest(struct hv_vm *vm, const struct lapic_message *msg, struct hv_vcpu *source)
{
	struct hv_lapic *best = NULL;
	struct hv_vcpu *vcpu;
	unsigned int i;

	for (i = 0; (vcpu = vm_vcpu(vm, i)); i++) {
		if (vcpu->apic && lapic_sw_enabled(vcpu->apic) &&
		    lapic_match(vcpu->apic, msg, source))
			best = lowest_of(best, vcpu->apic);
	}
	if (!best)
		return -1;
	atomic_fetch_add(&best->served, 1);
	return lapic_accept(best, msg);
}

int lapic_send(struct hv_vm *vm, const struct lapic_message *msg, struct hv_vcpu *source)
{
	struct hv_vcpu *vcpu;
	unsigned int i;
	int result = -1, one;

	if (msg->mode == LAPIC_DM_LOWEST && msg->shorthand == LAPIC_DEST_NOSHORT)
		return send_lowest(vm, msg, source);
	for (i = 0; (vcpu = vm_vcpu(vm, i)); i++) {
		if (!vcpu->apic || !lapic_match(vcpu->apic, msg, source))
			continue;
		one = lapic_accept(vcpu->apic, msg);
		if (one >= 0)
			result = result < 0 ? one : result + one;
	}
	return result;
}

int irq_send_msi(struct hv_vm *vm, uint64_t address, uint32_t data)
{
	struct lapic_message msg = {
		.dest = (address >> 12) & 0xff,
		.logical = address & 4,
		.vector = data & 0xff,
		.mode = (data >> 8) & 7,
		.level = data & (1U << 15),
		.assert = true,
	};

	if ((address & 0xfff00000ULL) != 0xfee00000ULL || address >> 32)
		return -EINVAL;
	/* The redirection hint asks for one CPU of a logical set. */
	if ((address & 8) && msg.mode == LAPIC_DM_FIXED && msg.logical)
		msg.mode = LAPIC_DM_LOWEST;
	return lapic_send(vm, &msg, NULL);
}

int lapic_send_bitmap(struct hv_vcpu *source, unsigned __int128 bitmap, uint32_t first,
		      uint32_t icr)
{
	struct lapic_message msg = {
		.vector = icr & 0xff,
		.mode = (icr >> 8) & 7,
		.level = icr & (1U << 15),
		.assert = true,
		.ext_dest = true,
	};
	struct hv_vcpu *vcpu;
	unsigned int i;
	int count = 0;

	/* A destination mode or a shorthand makes no sense beside a bitmap. */
	if ((icr & (1U << 11 | 3U << 18)) || (msg.mode != LAPIC_DM_FIXED && msg.mode != LAPIC_DM_NMI))
		return -EINVAL;
	for (i = 0; (vcpu = vm_vcpu(source->vm, i)); i++) {
		if (vcpu->id < first || vcpu->id - first > 127 ||
		    !((bitmap >> (vcpu->id - first)) & 1) || !vcpu->apic ||
		    !lapic_hw_enabled(vcpu->apic))
			continue;
		if (lapic_accept(vcpu->apic, &msg) >= 0)
			count++;
	}
	return count;
}

void irq_send_nmi(struct hv_vcpu *vcpu)
{
	/* Counts, since one may be latched behind the one in service. */
	vcpu_queue_nmi(vcpu);
}

void irq_nmi_button(struct hv_vm *vm)
{
	struct hv_vcpu *vcpu;
	unsigned int i;

	for (i = 0; (vcpu = vm_vcpu(vm, i)); i++) {
		if (vcpu->apic)
			lapic_local_deliver(vcpu->apic, LAPIC_LVT1);
	}
}
