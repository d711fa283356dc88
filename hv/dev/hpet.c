/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The high precision event timer: a 64-bit counter at 100 MHz and three
 * comparators. IA-PC HPET specification 1.0a.
 *
 *	0x000 capabilities   0x010 configuration   0x020 interrupt status
 *	0x0f0 main counter   0x100 + 0x20 n: configuration, comparator, FSB route
 */
#include <errno.h>
#include <string.h>

#include "hv/dev/devices.h"

#define HPET_SIZE	0x400
#define HPET_TIMERS	3
#define HPET_PERIOD_NS	10ULL
#define HPET_PERIOD_FS	(HPET_PERIOD_NS * 1000000ULL)
#define HPET_ROUTES	0x00f00000ULL /* GSI 20-23 */
/* A shorter period would keep the timer thread busy for good. */
#define HPET_MIN_PERIOD 10000ULL /* counts: 100 us */

#define CAPABILITIES                                                                               \
	(HPET_PERIOD_FS << 32 | 0x8086ULL << 16 | 1 << 15 | 1 << 13 | (HPET_TIMERS - 1) << 8 | 1)

#define CONF_ENABLE 1U
#define CONF_LEGACY 2U

#define TN_LEVEL    (1ULL << 1)
#define TN_ENABLE   (1ULL << 2)
#define TN_PERIODIC (1ULL << 3)
#define TN_PER_CAP  (1ULL << 4)
#define TN_SIZE_CAP (1ULL << 5)
#define TN_SETVAL   (1ULL << 6)
#define TN_32BIT    (1ULL << 8)
#define TN_FSB	    (1ULL << 14)
#define TN_FSB_CAP  (1ULL << 15)
#define TN_WRITABLE 0x7f4eULL

struct hpet_timer_state {
	uint64_t config, comparator, period, fsb;
};

struct hpet_state {
	uint64_t config, status;
	uint64_t counter; /* while stopped, or when saved */
	struct hpet_timer_state timer[HPET_TIMERS];
};

struct hpet {
	struct hv_device dev;
	struct hpet_state s;	/* device_lock, as all below */
	uint64_t start_ns;	/* CLOCK_MONOTONIC at which the running counter was 0 */
	struct hpet_timer {
		struct hpet *hpet;
		struct hv_timer timer;
		uint64_t due; /* counter value of the next match; valid while armed */
		bool armed, line;
	} timers[HPET_TIMERS];
};

static struct hpet *hpet_of(struct hv_device *dev)
{
	return container_of(dev, struct hpet, dev);
}

static bool hpet_enabled(const struct hpet *h)
{
	return h->s.config & CONF_ENABLE;
}

static uint64_t hpet_counter(const struct hpet *h)
{
	if (!hpet_enabled(h))
		return h->s.counter;
	return (hv_timer_now() - h->start_ns) / HPET_PERIOD_NS;
}

/* ---- interrupts ---------------------------------------------------------------------- */

static unsigned int hpet_gsi(const struct hpet *h, unsigned int n)
{
	if ((h->s.config & CONF_LEGACY) && n < 2)
		return n == 0 ? HV_ISA_IRQ_PIT : HV_ISA_IRQ_RTC;
	return h->s.timer[n].config >> 9 & 31;
}

static void hpet_set_line(struct hpet *h, unsigned int n, bool level)
{
	if (h->timers[n].line == level)
		return;
	h->timers[n].line = level;
	irq_set_level(h->dev.board->vm, HV_IRQ_SOURCE_HPET, hpet_gsi(h, n), level);
}

static void hpet_fire(struct hpet *h, unsigned int n)
{
	struct hpet_timer_state *t = &h->s.timer[n];

	if (t->config & TN_LEVEL)
		h->s.status |= 1ULL << n;
	if (!(t->config & TN_ENABLE))
		return;
	if (t->config & TN_FSB) {
		irq_send_msi(h->dev.board->vm, t->fsb >> 32, (uint32_t)t->fsb);
	} else if (t->config & TN_LEVEL) {
		hpet_set_line(h, n, true);
	} else {
		hpet_set_line(h, n, true);
		hpet_set_line(h, n, false);
	}
}

/* Work out when comparator n matches next, from the counter's value now. */
static void hpet_arm(struct hpet *h, unsigned int n)
{
	struct hpet_timer_state *t = &h->s.timer[n];
	struct hpet_timer *timer = &h->timers[n];
	uint64_t now = hpet_counter(h), delta;

	timer->armed = hpet_enabled(h);
	if (!timer->armed) {
		hv_timer_cancel(&timer->timer);
		return;
	}
	delta = t->comparator - now;
	if (t->config & TN_32BIT)
		delta = (uint32_t)delta;
	/* Cap the sleep: 64-bit distances overflow nanoseconds. */
	timer->due = now + delta;
	if (delta > UINT64_MAX / 64)
		delta = UINT64_MAX / 64;
	hv_timer_arm(&timer->timer, hv_timer_now() + delta * HPET_PERIOD_NS + HPET_PERIOD_NS);
}

static void hpet_advance(struct hpet_timer_state *t, uint64_t now)
{
	uint64_t period = t->period < HPET_MIN_PERIOD ? HPET_MIN_PERIOD : t->period;
	uint64_t behind = now - t->comparator;

	if (t->config & TN_32BIT)
		behind = (uint32_t)behind;
	t->comparator += (behind / period + 1) * period;
	if (t->config & TN_32BIT)
		t->comparator = (uint32_t)t->comparator;
}

static void hpet_timer_fn(struct hv_timer *timer)
{
	struct hpet_timer *ht = container_of(timer, struct hpet_timer, timer);
	struct hpet *h = ht->hpet;
	unsigned int n = (unsigned int)(ht - h->timers);
	struct hpet_timer_state *t = &h->s.timer[n];

	hv_mutex_lock(&h->dev.lock);
	if (!ht->armed || !hpet_enabled(h)) {
		hv_mutex_unlock(&h->dev.lock);
		return;
	}
	if (hpet_counter(h) < ht->due) {
		hpet_arm(h, n);
		hv_mutex_unlock(&h->dev.lock);
		return;
	}
	ht->armed = false;
	hpet_fire(h, n);
	if ((t->config & TN_PERIODIC) && t->period)
		hpet_advance(t, hpet_counter(h));
	/* A one-shot matches again when the counter comes round; in 32-bit mode that is soon. */
	if (t->config & (TN_PERIODIC | TN_32BIT))
		hpet_arm(h, n);
	hv_mutex_unlock(&h->dev.lock);
}

/* ---- registers ----------------------------------------------------------------------------- */

static void hpet_write_config(struct hpet *h, uint64_t value)
{
	uint64_t old = h->s.config;
	uint64_t counter = hpet_counter(h);
	unsigned int n;

	h->s.config = value & (CONF_ENABLE | CONF_LEGACY);
	if ((old ^ value) & CONF_ENABLE) {
		h->s.counter = counter;
		h->start_ns = hv_timer_now() - counter * HPET_PERIOD_NS;
		for (n = 0; n < HPET_TIMERS; n++)
			hpet_arm(h, n);
	}
	/* In legacy mode comparator 0 takes IRQ 0 from the PIT. */
	if ((old ^ value) & CONF_LEGACY)
		irqchip_pit_mask(h->dev.board->vm, value & CONF_LEGACY);
}

static void hpet_write_timer_config(struct hpet *h, unsigned int n, uint64_t value)
{
	struct hpet_timer_state *t = &h->s.timer[n];

	/* What a line drives changes: let go of it first. */
	hpet_set_line(h, n, false);
	t->config = (t->config & ~TN_WRITABLE) | (value & TN_WRITABLE);
	if (!(HPET_ROUTES & (1ULL << (t->config >> 9 & 31))))
		t->config &= ~0x3e00ULL;
	if (t->config & TN_32BIT) {
		t->comparator = (uint32_t)t->comparator;
		t->period = (uint32_t)t->period;
	}
	hpet_arm(h, n);
}

static void hpet_write_comparator(struct hpet *h, unsigned int n, uint64_t value)
{
	struct hpet_timer_state *t = &h->s.timer[n];

	if (t->config & TN_32BIT)
		value = (uint32_t)value;
	/* Periodic: VAL_SET lets the comparator itself be written, once; else it is the period. */
	if (!(t->config & TN_PERIODIC) || (t->config & TN_SETVAL))
		t->comparator = value;
	if (t->config & TN_PERIODIC)
		t->period = value;
	t->config &= ~TN_SETVAL;
	hpet_arm(h, n);
}

static void hpet_write_status(struct hpet *h, uint64_t value)
{
	unsigned int n;

	h->s.status &= ~value;
	for (n = 0; n < HPET_TIMERS; n++) {
		if (value & (1ULL << n))
			hpet_set_line(h, n, false);
	}
}

static void hpet_write_reg(struct hpet *h, unsigned int reg, uint64_t value)
{
	unsigned int n = (reg - 0x100) / 0x20;

	switch (reg) {
	case 0x010:
		hpet_write_config(h, value);
		return;
	case 0x020:
		hpet_write_status(h, value);
		return;
	case 0x0f0: /* only while stopped */
		if (!hpet_enabled(h))
			h->s.counter = value;
		return;
	default:
		break;
	}
	if (reg < 0x100 || n >= HPET_TIMERS)
		return;
	if ((reg & 0x1f) == 0x00)
		hpet_write_timer_config(h, n, value);
	else if ((reg & 0x1f) == 0x08)
		hpet_write_comparator(h, n, value);
	else if ((reg & 0x1f) == 0x10)
		h->s.timer[n].fsb = value;
}

static uint64_t hpet_read_reg(const struct hpet *h, unsigned int reg)
{
	unsigned int n = (reg - 0x100) / 0x20;

	switch (reg) {
	case 0x000:
		return CAPABILITIES;
	case 0x010:
		return h->s.config;
	case 0x020:
		return h->s.status;
	case 0x0f0:
		return hpet_counter(h);
	default:
		break;
	}
	if (reg < 0x100 || n >= HPET_TIMERS)
		return 0;
	switch (reg & 0x1f) {
	case 0x00:
		return h->s.timer[n].config;
	case 0x08:
		return h->s.timer[n].comparator;
	case 0x10:
		return h->s.timer[n].fsb;
	default:
		return 0;
	}
}

/* 32- and 64-bit accesses that stay inside one register. */
static int hpet_mmio_read(struct hv_io_device *io, struct hv_vcpu *vcpu, uint64_t addr,
			  unsigned int len, void *data)
{
	struct hv_device *dev = device_of_io(io);
	unsigned int offset = (unsigned int)device_io_offset(io, addr);
	uint64_t value;

	memset(data, 0, len);
	if ((offset & 7) + len > 8)
		return 0;
	hv_mutex_lock(&dev->lock);
	value = hpet_read_reg(hpet_of(dev), offset & ~7U);
	hv_mutex_unlock(&dev->lock);
	memcpy(data, (uint8_t *)&value + (offset & 7), len);
	return 0;
}

static int hpet_mmio_write(struct hv_io_device *io, struct hv_vcpu *vcpu, uint64_t addr,
			   unsigned int len, const void *data)
{
	struct hv_device *dev = device_of_io(io);
	struct hpet *h = hpet_of(dev);
	unsigned int offset = (unsigned int)device_io_offset(io, addr);
	uint64_t value = 0;

	if ((offset & 3) || (len != 4 && len != 8) || (offset & 7) + len > 8)
		return 0;
	hv_mutex_lock(&dev->lock);
	/* The status register's other half must not be written back as ones. */
	if (len == 4 && (offset & ~7U) != 0x020)
		value = hpet_read_reg(h, offset & ~7U);
	memcpy((uint8_t *)&value + (offset & 7), data, len);
	hpet_write_reg(h, offset & ~7U, value);
	hv_mutex_unlock(&dev->lock);
	return 0;
}

static const struct hv_io_device_ops hpet_mmio_ops = {
	.read = hpet_mmio_read,
	.write = hpet_mmio_write,
};

/* ---- life --------------------------------------------------------------------------------- */

static void hpet_reset(struct hv_device *dev)
{
	struct hpet *h = hpet_of(dev);
	unsigned int n;

	hv_mutex_lock(&dev->lock);
	memset(&h->s, 0, sizeof(h->s));
	for (n = 0; n < HPET_TIMERS; n++) {
		h->s.timer[n].config = HPET_ROUTES << 32 | TN_PER_CAP | TN_SIZE_CAP | TN_FSB_CAP;
		h->s.timer[n].comparator = UINT64_MAX;
		h->timers[n].line = false;
		hpet_arm(h, n);
	}
	hv_mutex_unlock(&dev->lock);
}

static int hpet_realize(struct hv_device *dev, const void *params)
{
	struct hpet *h = hpet_of(dev);
	unsigned int n;
	int err;

	for (n = 0; n < HPET_TIMERS; n++) {
		h->timers[n].hpet = h;
		err = hv_timer_init(&h->timers[n].timer, irqchip_timers(dev->board->vm),
				    hpet_timer_fn);
		if (err)
			return err;
	}
	return device_map(dev, HV_BUS_MMIO, HV_HPET_BASE, HPET_SIZE, &hpet_mmio_ops);
}

static void hpet_save(struct hv_device *dev, void *state)
{
	struct hpet *h = hpet_of(dev);
	struct hpet_state s;

	hv_mutex_lock(&dev->lock);
	s = h->s;
	s.counter = hpet_counter(h);
	hv_mutex_unlock(&dev->lock);
	memcpy(state, &s, sizeof(s));
}

static int hpet_load(struct hv_device *dev, const void *state)
{
	struct hpet *h = hpet_of(dev);
	struct hpet_state s;
	unsigned int n;

	memcpy(&s, state, sizeof(s));
	if ((s.config & ~(uint64_t)(CONF_ENABLE | CONF_LEGACY)) || s.status >> HPET_TIMERS)
		return -EINVAL;
	for (n = 0; n < HPET_TIMERS; n++) {
		if ((s.timer[n].config & ~TN_WRITABLE) !=
		    (HPET_ROUTES << 32 | TN_PER_CAP | TN_SIZE_CAP | TN_FSB_CAP))
			return -EINVAL;
	}
	hv_mutex_lock(&dev->lock);
	h->s = s;
	h->start_ns = hv_timer_now() - s.counter * HPET_PERIOD_NS;
	for (n = 0; n < HPET_TIMERS; n++) {
		h->timers[n].line = false;
		if ((s.status & (1ULL << n)) && (s.timer[n].config & TN_ENABLE))
			hpet_set_line(h, n, true);
		hpet_arm(h, n);
	}
	hv_mutex_unlock(&dev->lock);
	return 0;
}

static void hpet_destroy(struct hv_device *dev)
{
	struct hpet *h = hpet_of(dev);
	unsigned int n;

	for (n = 0; n < HPET_TIMERS; n++)
		hv_timer_destroy(&h->timers[n].timer);
}

const struct hv_device_ops hpet_device = {
	.name = "hpet",
	.instance_size = sizeof(struct hpet),
	.state_version = 1,
	.state_size = sizeof(struct hpet_state),
	.realize = hpet_realize,
	.reset = hpet_reset,
	.save = hpet_save,
	.load = hpet_load,
	.destroy = hpet_destroy,
};
