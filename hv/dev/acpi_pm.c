/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ACPI fixed hardware: PM1 event and control blocks, the power-management
 * timer, the power button, S5. ACPI specification 6.4, chapter 4 "ACPI
 * Hardware Specification".
 *
 *	+0 PM1_STS  +2 PM1_EN  +4 PM1_CNT  +8 PM_TMR (32 bit, 3.579545 MHz)
 */
#include <errno.h>
#include <string.h>

#include "hv/dev/acpi_tables.h"
#include "hv/dev/devices.h"

#define PM_TIMER_HZ 3579545ULL
#define PM_SIZE	    0x10

#define PM1_TMR	    (1U << 0)
#define PM1_GBL	    (1U << 5)
#define PM1_PWRBTN  (1U << 8)
#define PM1_SLPBTN  (1U << 9)
#define PM1_RTC	    (1U << 10)
#define PM1_WAK	    (1U << 15)
#define PM1_STS_ALL (PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_SLPBTN | PM1_RTC | PM1_WAK)
#define PM1_EN_ALL  (PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_SLPBTN | PM1_RTC)

#define PM1_CNT_SCI_EN (1U << 0)
#define PM1_CNT_SLP_EN (1U << 13)

struct acpi_pm_state {
	uint16_t sts, en, cnt, padding;
	uint64_t timer_ns; /* age of the timer when saved; CLOCK_MONOTONIC of its 0, when live */
};

struct acpi_pm {
	struct hv_device dev;
	struct acpi_pm_state s; /* device_lock */
	uint64_t msb_seen;	/* device_lock: changes of the timer's top bit noted in TMR_STS */
	bool irq_level;		/* device_lock */
	struct hv_timer timer;
};

static struct acpi_pm *pm_of(struct hv_device *dev)
{
	return container_of(dev, struct acpi_pm, dev);
}

static uint64_t pm_ticks(const struct acpi_pm *pm)
{
	return (uint64_t)((unsigned __int128)(hv_timer_now() - pm->s.timer_ns) * PM_TIMER_HZ /
			  HV_NSEC_PER_SEC);
}

/* TMR_STS is set whenever the top bit of the 32-bit timer changes. */
static void pm_update_timer(struct acpi_pm *pm)
{
	uint64_t changes = pm_ticks(pm) >> 31;

	if (changes != pm->msb_seen) {
		pm->msb_seen = changes;
		pm->s.sts |= PM1_TMR;
	}
	if (pm->s.en & PM1_TMR)
		hv_timer_arm(&pm->timer,
			     pm->s.timer_ns +
				     (uint64_t)((unsigned __int128)((changes + 1) << 31) *
						HV_NSEC_PER_SEC / PM_TIMER_HZ) + 1000);
}

static void pm_update_sci(struct acpi_pm *pm)
{
	bool level = (pm->s.sts & pm->s.en & PM1_EN_ALL) && (pm->s.cnt & PM1_CNT_SCI_EN);

	if (level != pm->irq_level) {
		pm->irq_level = level;
		device_set_irq(&pm->dev, HV_ISA_IRQ_SCI, level);
	}
}

static void pm_timer_fn(struct hv_timer *timer)
{
	struct acpi_pm *pm = container_of(timer, struct acpi_pm, timer);

	hv_mutex_lock(&pm->dev.lock);
	pm_update_timer(pm);
	pm_update_sci(pm);
	hv_mutex_unlock(&pm->dev.lock);
}

void acpi_pm_power_button(struct hv_device *dev)
{
	struct acpi_pm *pm = pm_of(dev);

	hv_mutex_lock(&dev->lock);
	pm->s.sts |= PM1_PWRBTN;
	pm_update_sci(pm);
	hv_mutex_unlock(&dev->lock);
}

/* True: the guest goes to S5. */
static bool pm_write_cnt(struct acpi_pm *pm, uint16_t value)
{
	pm->s.cnt = value & ~PM1_CNT_SLP_EN; /* write-only */
	/* There is no firmware that could hand SCI over, so it is always ours. */
	pm->s.cnt |= PM1_CNT_SCI_EN;
	return (value & PM1_CNT_SLP_EN) && (value >> 10 & 7) == ACPI_SLP_TYP_S5;
}

static bool pm_write16(struct acpi_pm *pm, unsigned int offset, uint16_t value)
{
	switch (offset) {
	case 0: /* write 1 to clear */
		pm->s.sts &= (uint16_t) ~(value & PM1_STS_ALL);
		return false;
	case 2:
		pm->s.en = value & PM1_EN_ALL;
		return false;
	case 4:
		return pm_write_cnt(pm, value);
	default: /* the timer is read-only */
		return false;
	}
}

static uint32_t pm_read32(struct acpi_pm *pm, unsigned int offset)
{
	switch (offset) {
	case 0:
		return pm->s.sts | (uint32_t)pm->s.en << 16;
	case 4:
		return pm->s.cnt;
	case 8:
		return (uint32_t)pm_ticks(pm);
	default:
		return 0;
	}
}

static int pm_io_read(struct hv_io_device *io, struct hv_vcpu *vcpu, uint64_t addr,
		      unsigned int len, void *data)
{
	struct hv_device *dev = device_of_io(io);
	unsigned int offset = (unsigned int)device_io_offset(io, addr);
	uint32_t value;

	if ((offset & 3) + len > 4)
		return -EOPNOTSUPP;
	hv_mutex_lock(&dev->lock);
	pm_update_timer(pm_of(dev));
	value = pm_read32(pm_of(dev), offset & ~3U) >> (offset & 3) * 8;
	hv_mutex_unlock(&dev->lock);
	memcpy(data, &value, len);
	return 0;
}

static int pm_io_write(struct hv_io_device *io, struct hv_vcpu *vcpu, uint64_t addr,
		       unsigned int len, const void *data)
{
	struct hv_device *dev = device_of_io(io);
	struct acpi_pm *pm = pm_of(dev);
	unsigned int offset = (unsigned int)device_io_offset(io, addr);
	uint32_t value = 0;
	bool off = false;

	if ((offset & 3) + len > 4 || (len == 1 && offset != 5))
		return -EOPNOTSUPP;
	memcpy(&value, data, len);
	hv_mutex_lock(&dev->lock);
	pm_update_timer(pm);
	/* SLP_TYP and SLP_EN are all in the upper byte of PM1_CNT, which may come alone. */
	if (len == 1)
		off = pm_write16(pm, 4, (uint16_t)(value << 8 | (pm->s.cnt & 0xff)));
	else
		off = pm_write16(pm, offset & ~1U, (uint16_t)value);
	if (len == 4)
		off |= pm_write16(pm, (offset & ~1U) + 2, (uint16_t)(value >> 16));
	pm_update_timer(pm);
	pm_update_sci(pm);
	hv_mutex_unlock(&dev->lock);
	if (off)
		dev->board->ops->poweroff(dev->board->ctx);
	return 0;
}

static const struct hv_io_device_ops pm_io_ops = { .read = pm_io_read, .write = pm_io_write };

static void pm_reset(struct hv_device *dev)
{
	struct acpi_pm *pm = pm_of(dev);

	hv_mutex_lock(&dev->lock);
	hv_timer_cancel(&pm->timer);
	memset(&pm->s, 0, sizeof(pm->s));
	pm->s.cnt = PM1_CNT_SCI_EN;
	pm->s.timer_ns = hv_timer_now();
	pm->msb_seen = 0;
	pm->irq_level = false;
	hv_mutex_unlock(&dev->lock);
}

static int pm_realize(struct hv_device *dev, const void *params)
{
	int err = hv_timer_init(&pm_of(dev)->timer, irqchip_timers(dev->board->vm), pm_timer_fn);

	return err ? err : device_map(dev, HV_BUS_PIO, HV_PM_PORT, PM_SIZE, &pm_io_ops);
}

static void pm_save(struct hv_device *dev, void *state)
{
	struct acpi_pm *pm = pm_of(dev);
	struct acpi_pm_state s;

	hv_mutex_lock(&dev->lock);
	pm_update_timer(pm);
	s = pm->s;
	hv_mutex_unlock(&dev->lock);
	s.timer_ns = hv_timer_now() - s.timer_ns;
	memcpy(state, &s, sizeof(s));
}

static int pm_load(struct hv_device *dev, const void *state)
{
	struct acpi_pm *pm = pm_of(dev);
	struct acpi_pm_state s;

	memcpy(&s, state, sizeof(s));
	if ((s.sts & ~PM1_STS_ALL) || (s.en & ~PM1_EN_ALL) || (s.cnt & PM1_CNT_SLP_EN))
		return -EINVAL;
	hv_mutex_lock(&dev->lock);
	pm->s = s;
	pm->s.timer_ns = hv_timer_now() - s.timer_ns;
	pm->msb_seen = pm_ticks(pm) >> 31;
	pm->irq_level = false;
	pm_update_timer(pm);
	pm_update_sci(pm);
	hv_mutex_unlock(&dev->lock);
	return 0;
}

static void pm_destroy(struct hv_device *dev)
{
	hv_timer_destroy(&pm_of(dev)->timer);
}

const struct hv_device_ops acpi_pm_device = {
	.name = "acpi-pm",
	.instance_size = sizeof(struct acpi_pm),
	.state_version = 1,
	.state_size = sizeof(struct acpi_pm_state),
	.realize = pm_realize,
	.reset = pm_reset,
	.save = pm_save,
	.load = pm_load,
	.destroy = pm_destroy,
};
