/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two cascaded 8259A interrupt controllers and their edge/level registers.
 * Intel 8259A data sheet: ICW1-4, OCW1-3, fully nested, special fully nested
 * and special mask modes, rotation, automatic EOI, poll. ELCR as in the
 * PIIX/ICH data sheets.
 *
 * All state is under irqchip_lock; `output` is read without it.
 */
#include <errno.h>
#include <string.h>

#include "hv/irq/irqchip_internal.h"

#define PIC_MASTER_PORT 0x20
#define PIC_SLAVE_PORT	0xa0
#define PIC_ELCR_PORT	0x4d0
#define PIC_CASCADE	2

#define ICW1_INIT   0x10
#define ICW1_LEVEL  0x08
#define ICW1_SINGLE 0x02
#define ICW1_IC4    0x01
#define ICW4_SFNM   0x10
#define ICW4_AEOI   0x02
#define OCW3	    0x08

static void pic_changed_locked(struct hv_irqchip *chip);

/* Priority of the most urgent line of mask, 0 is highest; 8 if there is none. */
static unsigned int pic_priority(const struct pic_chip *c, uint8_t mask)
{
	unsigned int p;

	for (p = 0; p < 8; p++) {
		if (mask & (1U << ((p + c->s.priority_add) & 7)))
			return p;
	}
	return 8;
}

/* The line to be serviced now, or -1. */
static int pic_get_irq(const struct pic *pic, unsigned int n)
{
	const struct pic_chip *c = &pic->chip[n];
	uint8_t in_service = c->s.isr;
	unsigned int want, now;

	want = pic_priority(c, c->s.irr & (uint8_t)~c->s.imr);
	if (want == 8)
		return -1;
	/* In special mask mode, lines in service that are masked do not hold back others. */
	if (c->s.special_mask)
		in_service &= (uint8_t)~c->s.imr;
	/* The master lets a further line of the slave in while the slave is in service. */
	if (c->s.special_fully_nested && n == 0)
		in_service &= (uint8_t) ~(1U << PIC_CASCADE);
	now = pic_priority(c, in_service);
	return want < now ? (int)((want + c->s.priority_add) & 7) : -1;
}

/* Returns 0 if an edge was lost because the line's request was still there. */
static int pic_set_line(struct pic_chip *c, unsigned int line, bool level)
{
	uint8_t mask = (uint8_t)(1U << line);
	int result = 1;

	if (c->s.elcr & mask) {
		if (level) {
			result = !(c->s.irr & mask);
			c->s.irr |= mask;
			c->s.last_irr |= mask;
		} else {
			c->s.irr &= (uint8_t)~mask;
			c->s.last_irr &= (uint8_t)~mask;
		}
	} else if (level) {
		if (!(c->s.last_irr & mask)) {
			result = !(c->s.irr & mask);
			c->s.irr |= mask;
		}
		c->s.last_irr |= mask;
	} else {
		c->s.last_irr &= (uint8_t)~mask;
	}
	return c->s.imr & mask ? -1 : result;
}

/* Carry the slave's output to the master, and the master's to the CPUs. */
static void pic_update(struct pic *pic)
{
	bool slave = pic_get_irq(pic, 1) >= 0;

	/* A pulse: each time the slave asks anew, the edge is seen anew. */
	pic_set_line(&pic->chip[0], PIC_CASCADE, false);
	if (!slave)
		pic->chip[0].s.irr &= (uint8_t) ~(1U << PIC_CASCADE);
	else
		pic_set_line(&pic->chip[0], PIC_CASCADE, true);
	atomic_store_explicit(&pic->output, pic_get_irq(pic, 0) >= 0, memory_order_release);
}

/* Kicking under irqchip_lock is fine: the wake-up lock is innermost. */
static void pic_changed_locked(struct hv_irqchip *chip)
{
	pic_update(&chip->pic);
	if (atomic_load(&chip->pic.output))
		pic_notify(chip->vm);
}

void pic_notify(struct hv_vm *vm)
{
	struct hv_vcpu *vcpu;
	unsigned int i;

	for (i = 0; (vcpu = vm_vcpu(vm, i)); i++) {
		if (lapic_accepts_pic(vcpu)) {
			lapic_kick(vcpu);
			return;
		}
	}
}

int pic_set_irq_locked(struct hv_irqchip *chip, unsigned int irq, int source, int level)
{
	struct pic_chip *c = &chip->pic.chip[irq >> 3];
	unsigned int line = irq & 7;
	int result;

	if (level)
		c->sources[line] |= 1U << source;
	else
		c->sources[line] &= ~(1U << source);
	result = pic_set_line(c, line, c->sources[line] != 0);
	pic_changed_locked(chip);
	return result;
}

static void pic_ack_line(struct hv_irqchip *chip, unsigned int n, unsigned int line)
{
	if (n == 0 && line == HV_ISA_IRQ_PIT)
		pit_ack_locked(chip);
}

/* INTA of one chip: request to in service, or rotated away at once. */
static void pic_intack(struct hv_irqchip *chip, unsigned int n, unsigned int line)
{
	struct pic_chip *c = &chip->pic.chip[n];
	uint8_t mask = (uint8_t)(1U << line);

	/* A level stays requested as long as the device holds the line. */
	if (!(c->s.elcr & mask))
		c->s.irr &= (uint8_t)~mask;
	if (c->s.auto_eoi) {
		if (c->s.rotate_on_auto_eoi)
			c->s.priority_add = (line + 1) & 7;
		pic_ack_line(chip, n, line);
	} else {
		c->s.isr |= mask;
	}
}

int pic_peek_irq_locked(struct hv_irqchip *chip)
{
	struct pic *pic = &chip->pic;
	int line = pic_get_irq(pic, 0), slave;

	if (line < 0)
		return -1;
	if (line != PIC_CASCADE)
		return pic->chip[0].s.irq_base + line;
	slave = pic_get_irq(pic, 1);
	return pic->chip[1].s.irq_base + (slave < 0 ? 7 : slave);
}

int pic_read_irq_locked(struct hv_irqchip *chip)
{
	struct pic *pic = &chip->pic;
	int line = pic_get_irq(pic, 0), slave, vector;

	if (line < 0) {
		/* The request went away between INTR and INTA: spurious. */
		vector = pic->chip[0].s.irq_base + 7;
	} else {
		pic_intack(chip, 0, (unsigned int)line);
		vector = pic->chip[0].s.irq_base + line;
		if (line == PIC_CASCADE) {
			slave = pic_get_irq(pic, 1);
			if (slave >= 0)
				pic_intack(chip, 1, (unsigned int)slave);
			vector = pic->chip[1].s.irq_base + (slave < 0 ? 7 : slave);
		}
	}
	pic_changed_locked(chip);
	return vector;
}

/* ---- ports ----------------------------------------------------------------------------- */

static void pic_init_sequence(struct hv_irqchip *chip, unsigned int n, uint8_t icw1)
{
	struct pic_chip *c = &chip->pic.chip[n];
	struct hv_pic_chip_state *s = &c->s;
	uint8_t elcr = s->elcr, lines = s->last_irr, base = s->irq_base;
	unsigned int line;

	memset(s, 0, sizeof(*s));
	s->elcr = elcr;
	s->irq_base = base;
	/* Edges must come anew; a level that is up is still a request. */
	s->last_irr = lines;
	for (line = 0; line < 8; line++) {
		if ((elcr & (1U << line)) && c->sources[line])
			s->irr |= (uint8_t)(1U << line);
	}
	s->init4 = icw1 & ICW1_IC4;
	s->single = icw1 & ICW1_SINGLE;
	s->init_state = 2;
	/* The PIC may never give the PIT's last tick to the guest now. */
	if (n == 0)
		pit_ack_locked(chip);
}

static void pic_eoi_line(struct hv_irqchip *chip, unsigned int n, unsigned int line)
{
	chip->pic.chip[n].s.isr &= (uint8_t) ~(1U << line);
	pic_ack_line(chip, n, line);
}

static void pic_write_ocw2(struct hv_irqchip *chip, unsigned int n, uint8_t value)
{
	struct hv_pic_chip_state *s = &chip->pic.chip[n].s;
	unsigned int priority, line = value & 7;

	switch (value >> 5) {
	case 0: /* rotate in automatic EOI mode: clear, set */
	case 4:
		s->rotate_on_auto_eoi = value >> 7;
		break;
	case 1: /* EOI of the most urgent line, and with rotation */
	case 5:
		priority = pic_priority(&chip->pic.chip[n], s->isr);
		if (priority == 8)
			break;
		line = (priority + s->priority_add) & 7;
		pic_eoi_line(chip, n, line);
		if (value >> 5 == 5)
			s->priority_add = (line + 1) & 7;
		break;
	case 3: /* EOI of a named line, and with rotation */
	case 7:
		pic_eoi_line(chip, n, line);
		if (value >> 5 == 7)
			s->priority_add = (line + 1) & 7;
		break;
	case 6: /* the named line becomes the lowest */
		s->priority_add = (line + 1) & 7;
		break;
	default: /* no operation */
		break;
	}
}

static void pic_write_command(struct hv_irqchip *chip, unsigned int n, uint8_t value)
{
	struct hv_pic_chip_state *s = &chip->pic.chip[n].s;

	if (value & ICW1_INIT) {
		pic_init_sequence(chip, n, value);
	} else if (value & OCW3) {
		if (value & 0x04)
			s->poll = 1;
		if (value & 0x02)
			s->read_isr = value & 1;
		if (value & 0x40)
			s->special_mask = (value >> 5) & 1;
	} else {
		pic_write_ocw2(chip, n, value);
	}
}

static void pic_write_data(struct hv_irqchip *chip, unsigned int n, uint8_t value)
{
	struct hv_pic_chip_state *s = &chip->pic.chip[n].s;

	switch (s->init_state) {
	case 0:
		s->imr = value;
		break;
	case 2:
		s->irq_base = value & 0xf8;
		if (!s->single)
			s->init_state = 3;
		else
			s->init_state = s->init4 ? 4 : 0;
		break;
	case 3: /* the wiring of the cascade is fixed */
		s->init_state = s->init4 ? 4 : 0;
		break;
	default:
		s->special_fully_nested = (value & ICW4_SFNM) != 0;
		s->auto_eoi = (value & ICW4_AEOI) != 0;
		s->init_state = 0;
		break;
	}
}

/* A poll is an INTA by software: bit 7 and the line, or 0. */
static uint8_t pic_poll_read(struct hv_irqchip *chip, unsigned int n)
{
	int line = pic_get_irq(&chip->pic, n);

	chip->pic.chip[n].s.poll = 0;
	if (line < 0)
		return 0;
	pic_intack(chip, n, (unsigned int)line);
	pic_changed_locked(chip);
	return (uint8_t)(0x80 | line);
}

static uint8_t pic_port_read(struct hv_irqchip *chip, unsigned int n, bool data)
{
	struct hv_pic_chip_state *s = &chip->pic.chip[n].s;

	if (s->poll)
		return pic_poll_read(chip, n);
	if (data)
		return s->imr;
	return s->read_isr ? s->isr : s->irr;
}

static int pic_read(struct hv_irqchip *chip, unsigned int n, uint64_t addr, unsigned int len,
		    void *data)
{
	if (len != 1)
		return -EOPNOTSUPP;
	hv_spin_lock(&chip->lock);
	*(uint8_t *)data = pic_port_read(chip, n, addr & 1);
	hv_spin_unlock(&chip->lock);
	return 0;
}

static int pic_write(struct hv_irqchip *chip, unsigned int n, uint64_t addr, unsigned int len,
		     const void *data)
{
	if (len != 1)
		return -EOPNOTSUPP;
	hv_spin_lock(&chip->lock);
	if (addr & 1)
		pic_write_data(chip, n, *(const uint8_t *)data);
	else
		pic_write_command(chip, n, *(const uint8_t *)data);
	pic_changed_locked(chip);
	hv_spin_unlock(&chip->lock);
	return 0;
}

static int master_read(struct hv_io_device *dev, struct hv_vcpu *vcpu, uint64_t addr,
		       unsigned int len, void *data)
{
	return pic_read(container_of(dev, struct hv_irqchip, pic.master), 0, addr, len, data);
}

static int master_write(struct hv_io_device *dev, struct hv_vcpu *vcpu, uint64_t addr,
			unsigned int len, const void *data)
{
	return pic_write(container_of(dev, struct hv_irqchip, pic.master), 0, addr, len, data);
}

static int slave_read(struct hv_io_device *dev, struct hv_vcpu *vcpu, uint64_t addr,
		      unsigned int len, void *data)
{
	return pic_read(container_of(dev, struct hv_irqchip, pic.slave), 1, addr, len, data);
}

static int slave_write(struct hv_io_device *dev, struct hv_vcpu *vcpu, uint64_t addr,
		       unsigned int len, const void *data)
{
	return pic_write(container_of(dev, struct hv_irqchip, pic.slave), 1, addr, len, data);
}

static int elcr_read(struct hv_io_device *dev, struct hv_vcpu *vcpu, uint64_t addr,
		     unsigned int len, void *data)
{
	struct hv_irqchip *chip = container_of(dev, struct hv_irqchip, pic.elcr);

	if (len != 1)
		return -EOPNOTSUPP;
	hv_spin_lock(&chip->lock);
	*(uint8_t *)data = chip->pic.chip[addr & 1].s.elcr;
	hv_spin_unlock(&chip->lock);
	return 0;
}

static int elcr_write(struct hv_io_device *dev, struct hv_vcpu *vcpu, uint64_t addr,
		      unsigned int len, const void *data)
{
	struct hv_irqchip *chip = container_of(dev, struct hv_irqchip, pic.elcr);
	struct pic_chip *c = &chip->pic.chip[addr & 1];

	if (len != 1)
		return -EOPNOTSUPP;
	hv_spin_lock(&chip->lock);
	c->s.elcr = *(const uint8_t *)data & c->elcr_mask;
	pic_changed_locked(chip);
	hv_spin_unlock(&chip->lock);
	return 0;
}

static const struct hv_io_device_ops master_ops = { .read = master_read, .write = master_write };
static const struct hv_io_device_ops slave_ops = { .read = slave_read, .write = slave_write };
static const struct hv_io_device_ops elcr_ops = { .read = elcr_read, .write = elcr_write };

/* ---- life ---------------------------------------------------------------------------------- */

void pic_reset_locked(struct hv_irqchip *chip)
{
	struct pic *pic = &chip->pic;
	unsigned int n;

	for (n = 0; n < 2; n++) {
		memset(&pic->chip[n].s, 0, sizeof(pic->chip[n].s));
		memset(pic->chip[n].sources, 0, sizeof(pic->chip[n].sources));
	}
	/* The timer, keyboard, cascade, RTC and FPU lines are edges for good. */
	pic->chip[0].elcr_mask = 0xf8;
	pic->chip[1].elcr_mask = 0xde;
	atomic_store(&pic->output, false);
}

int pic_create(struct hv_vm *vm)
{
	struct pic *pic = &vm->irqchip->pic;
	int err;

	pic->master = (struct hv_io_device){ .ops = &master_ops, .name = "pic-master" };
	err = bus_register(vm, HV_BUS_PIO, PIC_MASTER_PORT, 2, &pic->master);
	if (err)
		return err;
	pic->slave = (struct hv_io_device){ .ops = &slave_ops, .name = "pic-slave" };
	err = bus_register(vm, HV_BUS_PIO, PIC_SLAVE_PORT, 2, &pic->slave);
	if (err)
		return err;
	pic->elcr = (struct hv_io_device){ .ops = &elcr_ops, .name = "pic-elcr" };
	return bus_register(vm, HV_BUS_PIO, PIC_ELCR_PORT, 2, &pic->elcr);
}

void pic_destroy(struct hv_vm *vm)
{
	struct pic *pic = &vm->irqchip->pic;

	bus_unregister(vm, HV_BUS_PIO, &pic->master);
	bus_unregister(vm, HV_BUS_PIO, &pic->slave);
	bus_unregister(vm, HV_BUS_PIO, &pic->elcr);
}

void irqchip_get_pic(struct hv_vm *vm, struct hv_pic_state *out)
{
	struct hv_irqchip *chip = vm->irqchip;

	hv_spin_lock(&chip->lock);
	out->chip[0] = chip->pic.chip[0].s;
	out->chip[1] = chip->pic.chip[1].s;
	hv_spin_unlock(&chip->lock);
}

int irqchip_set_pic(struct hv_vm *vm, const struct hv_pic_state *in)
{
	struct hv_irqchip *chip = vm->irqchip;
	unsigned int n;

	for (n = 0; n < 2; n++) {
		const struct hv_pic_chip_state *s = &in->chip[n];

		if (s->priority_add > 7 || (s->irq_base & 7) || s->init_state == 1 ||
		    s->init_state > 4 || (s->elcr & ~chip->pic.chip[n].elcr_mask))
			return -EINVAL;
	}
	hv_spin_lock(&chip->lock);
	chip->pic.chip[0].s = in->chip[0];
	chip->pic.chip[1].s = in->chip[1];
	pic_changed_locked(chip);
	hv_spin_unlock(&chip->lock);
	return 0;
}
