/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The 8254 programmable interval timer: three channels, all six modes. Channel
 * 0 drives IRQ 0, channel 1 nothing, channel 2 the speaker, with its gate and
 * output in port 0x61. Intel 8254 data sheet.
 *
 * Counting is arithmetic on the clock; only channel 0's interrupt uses a timer.
 * Ticks that the guest could not take in time are delivered again when it has
 * acknowledged the one before, so that a guest that counts ticks keeps time,
 * within PIT_MAX_PENDING; a guest that takes none at all loses them.
 *
 * All state is under irqchip_lock.
 */
#include <errno.h>
#include <string.h>

#include "hv/irq/irqchip_internal.h"

#define PIT_PORT	 0x40
#define PIT_SPEAKER_PORT 0x61
#define PIT_HZ		 1193182ULL
#define PIT_MAX_PENDING	 200U
/* A faster channel 0 would keep the timer thread busy for good. */
#define PIT_MIN_PERIOD_NS 100000ULL

enum { PIT_RW_LATCH, PIT_RW_LOW, PIT_RW_HIGH, PIT_RW_WORD };

static uint64_t pit_ns_to_ticks(uint64_t ns)
{
	return (uint64_t)((unsigned __int128)ns * PIT_HZ / HV_NSEC_PER_SEC);
}

static uint64_t pit_ticks_to_ns(uint64_t ticks)
{
	return (uint64_t)(((unsigned __int128)ticks * HV_NSEC_PER_SEC + PIT_HZ - 1) / PIT_HZ);
}

/* Modes 6 and 7 are 2 and 3: bit 2 of the mode is ignored there. */
static unsigned int pit_mode(const struct hv_pit_channel_state *c)
{
	return c->mode > 5 ? c->mode - 4U : c->mode;
}

/* Time that a channel has counted for. */
static uint64_t pit_elapsed_ns(const struct hv_pit_channel_state *c, uint64_t now)
{
	unsigned int mode = pit_mode(c);

	if (!c->gate && mode != 1 && mode != 5)
		return c->frozen_ns;
	return now > c->count_start_ns ? now - c->count_start_ns : 0;
}

static uint16_t to_bcd(uint32_t v)
{
	v %= 10000;
	return (uint16_t)(v % 10 | v / 10 % 10 << 4 | v / 100 % 10 << 8 | v / 1000 << 12);
}

static uint32_t from_bcd(uint32_t v)
{
	return (v & 15) + (v >> 4 & 15) * 10 + (v >> 8 & 15) * 100 + (v >> 12 & 15) * 1000;
}

/* The counter as a read shows it. */
static uint16_t pit_get_count(const struct hv_pit_channel_state *c, uint64_t now)
{
	uint64_t ticks = pit_ns_to_ticks(pit_elapsed_ns(c, now));
	uint32_t modulus = c->bcd ? 10000 : 0x10000, value;

	switch (pit_mode(c)) {
	case 2:
		value = c->count - (uint32_t)(ticks % c->count);
		break;
	case 3: /* counts by two, even for odd counts */
		value = (c->count & ~1U) - (uint32_t)((2 * ticks) % c->count & ~1ULL);
		break;
	default:
		value = (uint32_t)((c->count + modulus - ticks % modulus) % modulus);
		break;
	}
	return c->bcd ? to_bcd(value) : (uint16_t)value;
}

static bool pit_get_out(const struct hv_pit_channel_state *c, uint64_t now)
{
	uint64_t ticks = pit_ns_to_ticks(pit_elapsed_ns(c, now));

	switch (pit_mode(c)) {
	case 0:
		return c->loaded && ticks >= c->count;
	case 1:
		return !c->loaded || ticks >= c->count;
	case 2: /* low for the last clock of a period */
		return !c->loaded || ticks % c->count != c->count - 1;
	case 3:
		return !c->loaded || ticks % c->count < (c->count + 1) / 2;
	default: /* 4 and 5: a strobe of one clock */
		return !c->loaded || ticks != c->count;
	}
}

/* ---- channel 0's interrupt ------------------------------------------------------- */

static uint64_t pit_period_ns(const struct hv_pit_channel_state *c)
{
	uint64_t ns = pit_ticks_to_ns(c->count);

	return ns < PIT_MIN_PERIOD_NS ? PIT_MIN_PERIOD_NS : ns;
}

static bool pit_is_periodic(const struct hv_pit_channel_state *c)
{
	return pit_mode(c) == 2 || pit_mode(c) == 3;
}

/* A count or a mode was written: nothing of before is owed. */
static void pit_restart_irq(struct pit *pit)
{
	const struct hv_pit_channel_state *c = &pit->s.channel[0];
	unsigned int mode = pit_mode(c);

	pit->s.pending = 0;
	pit->irq_acked = true;
	pit->next_tick = 0;
	/* Modes 1 and 5 wait for a gate that channel 0 has tied high. */
	if (!c->loaded || mode == 1 || mode == 5) {
		hv_timer_cancel(&pit->timer);
		return;
	}
	if (pit_is_periodic(c))
		pit->next_tick = c->count_start_ns + pit_period_ns(c);
	else
		pit->next_tick = c->count_start_ns + pit_ticks_to_ns(c->count);
	hv_timer_arm(&pit->timer, pit->next_tick);
}

/* Move the ticks that are due from the clock to `pending`. */
static void pit_collect_ticks(struct pit *pit, uint64_t now)
{
	const struct hv_pit_channel_state *c = &pit->s.channel[0];
	uint64_t period, ticks = 1;

	if (!pit->next_tick || now < pit->next_tick)
		return;
	if (pit_is_periodic(c)) {
		period = pit_period_ns(c);
		ticks += (now - pit->next_tick) / period;
		pit->next_tick += ticks * period;
	} else {
		pit->next_tick = 0;
	}
	if (ticks > PIT_MAX_PENDING - pit->s.pending) {
		/* The guest has stopped taking ticks: begin again with this one. */
		pit->s.pending = 1;
		pit->irq_acked = true;
	} else {
		pit->s.pending += (uint32_t)ticks;
	}
}

static void pit_timer_fn(struct hv_timer *timer)
{
	struct pit *pit = container_of(timer, struct pit, timer);
	struct hv_irqchip *chip = container_of(pit, struct hv_irqchip, pit);
	bool deliver = false;

	hv_spin_lock(&chip->lock);
	pit_collect_ticks(pit, hv_timer_now());
	if (pit->s.masked)
		pit->s.pending = 0;
	if (pit->s.pending && pit->irq_acked) {
		pit->s.pending--;
		pit->irq_acked = false;
		deliver = true;
	}
	if (pit->next_tick)
		hv_timer_arm(&pit->timer, pit->next_tick);
	hv_spin_unlock(&chip->lock);
	if (!deliver)
		return;
	/* The chips take the lock themselves. Nobody reached: do not wait for an EOI. */
	if (irq_set_level(chip->vm, HV_IRQ_SOURCE_PIT, HV_ISA_IRQ_PIT, 1) <= 0) {
		hv_spin_lock(&chip->lock);
		pit->irq_acked = true;
		pit->s.pending = 0;
		hv_spin_unlock(&chip->lock);
	}
	irq_set_level(chip->vm, HV_IRQ_SOURCE_PIT, HV_ISA_IRQ_PIT, 0);
}

void pit_ack_locked(struct hv_irqchip *chip)
{
	struct pit *pit = &chip->pit;

	pit->irq_acked = true;
	/* Delivery takes the lock that the caller holds: leave it to the timer's thread. */
	if (pit->s.pending)
		hv_timer_arm(&pit->timer, 0);
}

void irqchip_pit_mask(struct hv_vm *vm, bool masked)
{
	struct hv_irqchip *chip = vm->irqchip;

	hv_spin_lock(&chip->lock);
	chip->pit.s.masked = masked;
	chip->pit.s.pending = 0;
	chip->pit.irq_acked = true;
	hv_spin_unlock(&chip->lock);
}

/* ---- ports -------------------------------------------------------------------------- */

static void pit_load_count(struct pit *pit, unsigned int n, uint32_t value)
{
	struct hv_pit_channel_state *c = &pit->s.channel[n];

	if (c->bcd)
		c->count = value ? from_bcd(value) : 10000;
	else
		c->count = value ? value : 0x10000;
	/* BCD digits above 9 can amount to 0 only as 0, which means the whole range. */
	if (!c->count)
		c->count = 1;
	c->count_start_ns = hv_timer_now();
	c->frozen_ns = 0;
	c->loaded = 1;
	if (n == 0)
		pit_restart_irq(pit);
}

static void pit_latch_count(struct hv_pit_channel_state *c, uint64_t now)
{
	if (c->count_latched)
		return;
	c->latched_count = pit_get_count(c, now);
	c->count_latched = c->rw_mode == PIT_RW_WORD ? 1 : c->rw_mode + 1;
}

/* Bits of the status byte: output, null count, read/write mode, mode, BCD. */
static void pit_latch_status(struct hv_pit_channel_state *c, uint64_t now)
{
	if (c->status_latched)
		return;
	c->status = (uint8_t)(pit_get_out(c, now) << 7 | !c->loaded << 6 | c->rw_mode << 4 |
			      c->mode << 1 | c->bcd);
	c->status_latched = 1;
}

static void pit_read_back(struct pit *pit, uint8_t value, uint64_t now)
{
	unsigned int n;

	for (n = 0; n < 3; n++) {
		if (!(value & (2U << n)))
			continue;
		if (!(value & 0x20))
			pit_latch_count(&pit->s.channel[n], now);
		if (!(value & 0x10))
			pit_latch_status(&pit->s.channel[n], now);
	}
}

static void pit_write_control(struct pit *pit, uint8_t value)
{
	uint64_t now = hv_timer_now();
	unsigned int n = value >> 6, rw = value >> 4 & 3;
	struct hv_pit_channel_state *c;

	if (n == 3) {
		pit_read_back(pit, value, now);
		return;
	}
	c = &pit->s.channel[n];
	if (rw == PIT_RW_LATCH) {
		pit_latch_count(c, now);
		return;
	}
	c->rw_mode = (uint8_t)rw;
	c->read_state = c->write_state = (uint8_t)rw;
	c->mode = value >> 1 & 7;
	c->bcd = value & 1;
	c->count_latched = 0;
	c->loaded = 0;
	c->count = 0x10000;
	c->count_start_ns = now;
	c->frozen_ns = 0;
	if (n == 0)
		pit_restart_irq(pit);
}

/* With PIT_RW_WORD the low byte comes first; write_state counts WORD, then HIGH. */
static void pit_write_counter(struct pit *pit, unsigned int n, uint8_t value)
{
	struct hv_pit_channel_state *c = &pit->s.channel[n];

	switch (c->write_state) {
	case PIT_RW_HIGH:
		pit_load_count(pit, n, (uint32_t)value << 8);
		break;
	case PIT_RW_WORD:
		c->write_latch = value;
		c->write_state = 4;
		break;
	case 4:
		c->write_state = PIT_RW_WORD;
		pit_load_count(pit, n, (uint32_t)value << 8 | c->write_latch);
		break;
	default: /* low byte, or a channel that was never programmed */
		pit_load_count(pit, n, value);
		break;
	}
}

/* count_latched: 1 both bytes, low first; 2 low; 3 high (of two, or alone). */
static uint8_t pit_read_latched(struct hv_pit_channel_state *c)
{
	switch (c->count_latched) {
	case 1:
		c->count_latched = 3;
		return c->latched_count & 0xff;
	case 2:
		c->count_latched = 0;
		return c->latched_count & 0xff;
	default:
		c->count_latched = 0;
		return c->latched_count >> 8;
	}
}

static uint8_t pit_read_counter(struct hv_pit_channel_state *c)
{
	uint16_t count;

	if (c->status_latched) {
		c->status_latched = 0;
		return c->status;
	}
	if (c->count_latched)
		return pit_read_latched(c);
	count = pit_get_count(c, hv_timer_now());
	switch (c->read_state) {
	case PIT_RW_HIGH:
		return count >> 8;
	case PIT_RW_WORD:
		c->read_state = 4;
		return count & 0xff;
	case 4:
		c->read_state = PIT_RW_WORD;
		return count >> 8;
	default:
		return count & 0xff;
	}
}

static int pit_port_read(struct hv_io_device *dev, struct hv_vcpu *vcpu, uint64_t addr,
			 unsigned int len, void *data)
{
	struct pit *pit = container_of(dev, struct pit, dev);
	struct hv_irqchip *chip = container_of(pit, struct hv_irqchip, pit);
	uint8_t value = 0;

	if (len != 1)
		return -EOPNOTSUPP;
	hv_spin_lock(&chip->lock);
	if ((addr & 3) != 3)
		value = pit_read_counter(&pit->s.channel[addr & 3]);
	hv_spin_unlock(&chip->lock);
	*(uint8_t *)data = value;
	return 0;
}

static int pit_port_write(struct hv_io_device *dev, struct hv_vcpu *vcpu, uint64_t addr,
			  unsigned int len, const void *data)
{
	struct pit *pit = container_of(dev, struct pit, dev);
	struct hv_irqchip *chip = container_of(pit, struct hv_irqchip, pit);
	uint8_t value = *(const uint8_t *)data;

	if (len != 1)
		return -EOPNOTSUPP;
	hv_spin_lock(&chip->lock);
	if ((addr & 3) == 3)
		pit_write_control(pit, value);
	else
		pit_write_counter(pit, addr & 3, value);
	hv_spin_unlock(&chip->lock);
	return 0;
}

/* ---- channel 2's gate and the speaker --------------------------------------------------- */

static void pit_set_gate(struct hv_pit_channel_state *c, bool gate, uint64_t now)
{
	unsigned int mode = pit_mode(c);

	if (gate == (c->gate != 0))
		return;
	if (!gate) {
		c->frozen_ns = pit_elapsed_ns(c, now);
		c->gate = 0;
		return;
	}
	/* Modes 0 and 4 go on where they were; in the others the rising gate starts anew. */
	c->gate = 1;
	c->count_start_ns = mode == 0 || mode == 4 ? now - c->frozen_ns : now;
}

static int speaker_read(struct hv_io_device *dev, struct hv_vcpu *vcpu, uint64_t addr,
			unsigned int len, void *data)
{
	struct pit *pit = container_of(dev, struct pit, speaker);
	struct hv_irqchip *chip = container_of(pit, struct hv_irqchip, pit);
	uint64_t now = hv_timer_now();

	if (len != 1)
		return -EOPNOTSUPP;
	hv_spin_lock(&chip->lock);
	/* Bit 4 toggles with the memory refresh of old, every 15 us. */
	*(uint8_t *)data = (uint8_t)(pit->s.channel[2].gate | pit->s.speaker_data_on << 1 |
				     (now / 15085 & 1) << 4 |
				     pit_get_out(&pit->s.channel[2], now) << 5);
	hv_spin_unlock(&chip->lock);
	return 0;
}

static int speaker_write(struct hv_io_device *dev, struct hv_vcpu *vcpu, uint64_t addr,
			 unsigned int len, const void *data)
{
	struct pit *pit = container_of(dev, struct pit, speaker);
	struct hv_irqchip *chip = container_of(pit, struct hv_irqchip, pit);
	uint8_t value = *(const uint8_t *)data;

	if (len != 1)
		return -EOPNOTSUPP;
	hv_spin_lock(&chip->lock);
	pit->s.speaker_data_on = value >> 1 & 1;
	pit_set_gate(&pit->s.channel[2], value & 1, hv_timer_now());
	hv_spin_unlock(&chip->lock);
	return 0;
}

static const struct hv_io_device_ops pit_ops = {
	.read = pit_port_read,
	.write = pit_port_write,
};
static const struct hv_io_device_ops speaker_ops = {
	.read = speaker_read,
	.write = speaker_write,
};

/* ---- life ------------------------------------------------------------------------------- */

void pit_reset_locked(struct hv_irqchip *chip)
{
	struct pit *pit = &chip->pit;
	unsigned int n;

	hv_timer_cancel(&pit->timer);
	memset(&pit->s, 0, sizeof(pit->s));
	for (n = 0; n < 3; n++) {
		struct hv_pit_channel_state *c = &pit->s.channel[n];

		c->mode = 3;
		c->gate = n != 2;
		c->count = 0x10000;
		c->rw_mode = c->read_state = c->write_state = PIT_RW_WORD;
		c->count_start_ns = hv_timer_now();
	}
	pit->next_tick = 0;
	pit->irq_acked = true;
}

int pit_create(struct hv_vm *vm)
{
	struct hv_irqchip *chip = vm->irqchip;
	struct pit *pit = &chip->pit;
	int err;

	err = hv_timer_init(&pit->timer, chip->timers, pit_timer_fn);
	if (err)
		return err;
	pit->dev = (struct hv_io_device){ .ops = &pit_ops, .name = "pit" };
	err = bus_register(vm, HV_BUS_PIO, PIT_PORT, 4, &pit->dev);
	if (err)
		return err;
	pit->speaker = (struct hv_io_device){ .ops = &speaker_ops, .name = "pit-speaker" };
	return bus_register(vm, HV_BUS_PIO, PIT_SPEAKER_PORT, 1, &pit->speaker);
}

void pit_destroy(struct hv_vm *vm)
{
	struct pit *pit = &vm->irqchip->pit;

	bus_unregister(vm, HV_BUS_PIO, &pit->dev);
	bus_unregister(vm, HV_BUS_PIO, &pit->speaker);
	hv_timer_destroy(&pit->timer);
}

void irqchip_get_pit(struct hv_vm *vm, struct hv_pit_state *out)
{
	struct hv_irqchip *chip = vm->irqchip;
	uint64_t now = hv_timer_now();
	unsigned int n;

	hv_spin_lock(&chip->lock);
	*out = chip->pit.s;
	hv_spin_unlock(&chip->lock);
	for (n = 0; n < 3; n++)
		out->channel[n].count_start_ns = now - out->channel[n].count_start_ns;
}

int irqchip_set_pit(struct hv_vm *vm, const struct hv_pit_state *in)
{
	struct hv_irqchip *chip = vm->irqchip;
	struct pit *pit = &chip->pit;
	uint64_t now = hv_timer_now();
	uint32_t pending;
	unsigned int n;

	for (n = 0; n < 3; n++) {
		const struct hv_pit_channel_state *c = &in->channel[n];

		if (!c->count || c->count > 0x10000 || c->mode > 7 || c->bcd > 1 || c->gate > 1 ||
		    c->rw_mode < 1 || c->rw_mode > 3 || c->read_state > 4 || c->write_state > 4 ||
		    c->count_latched > 3 || c->status_latched > 1 || c->loaded > 1)
			return -EINVAL;
	}
	if (in->pending > PIT_MAX_PENDING || in->speaker_data_on > 1 || in->masked > 1)
		return -EINVAL;
	hv_spin_lock(&chip->lock);
	pit->s = *in;
	pending = in->pending;
	for (n = 0; n < 3; n++)
		pit->s.channel[n].count_start_ns = now - pit->s.channel[n].count_start_ns;
	pit_restart_irq(pit);
	/* Ticks of the time since belong to the source, which has counted them. */
	if (pit->next_tick && pit->next_tick < now) {
		if (pit_is_periodic(&pit->s.channel[0])) {
			uint64_t period = pit_period_ns(&pit->s.channel[0]);

			pit->next_tick += ((now - pit->next_tick) / period + 1) * period;
			hv_timer_arm(&pit->timer, pit->next_tick);
		} else {
			pit->next_tick = 0;
			hv_timer_cancel(&pit->timer);
		}
	}
	pit->s.pending = pending;
	hv_spin_unlock(&chip->lock);
	return 0;
}
