/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The MC146818 real-time clock and its CMOS memory, ports 0x70 and 0x71.
 * Motorola MC146818 data sheet; the memory-size fields are those of the IBM PC
 * AT and of later firmware.
 *
 * The time is the host's plus an offset that the guest sets. Update-ended,
 * alarm and periodic interrupts come from one timer, armed for the next event
 * that is enabled.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "hv/dev/devices.h"

#define RTC_PORT 0x70

enum {
	RTC_SECONDS = 0,
	RTC_SECONDS_ALARM,
	RTC_MINUTES,
	RTC_MINUTES_ALARM,
	RTC_HOURS,
	RTC_HOURS_ALARM,
	RTC_DAY_OF_WEEK,
	RTC_DAY_OF_MONTH,
	RTC_MONTH,
	RTC_YEAR,
	RTC_REG_A,
	RTC_REG_B,
	RTC_REG_C,
	RTC_REG_D,
	RTC_CENTURY = 0x32,
};

#define REG_A_UIP 0x80
#define REG_B_SET 0x80
#define REG_B_PIE 0x40
#define REG_B_AIE 0x20
#define REG_B_UIE 0x10
#define REG_B_DM  0x04 /* binary, else BCD */
#define REG_B_24H 0x02
#define REG_C_IRQF 0x80
#define REG_C_PF   0x40
#define REG_C_AF   0x20
#define REG_C_UF   0x10
#define REG_D_VRT  0x80

#define RTC_UPDATE_NS	  244000ULL /* UIP is up that long before a second begins */
#define RTC_DIVIDER_32KHZ 2

struct rtc_state {
	int64_t offset_s; /* guest's time less the host's CLOCK_REALTIME */
	int64_t frozen_s; /* time held while SET stops the clock */
	uint8_t index;
	uint8_t padding[7];
	uint8_t cmos[128];
};

struct rtc {
	struct hv_device dev;
	struct rtc_state s;	/* device_lock, as all below */
	uint64_t next_periodic; /* CLOCK_MONOTONIC ns; 0: off */
	int64_t last_second;	/* second up to which UF and AF are accounted for */
	bool irq_level;
	struct hv_timer timer;
};

static struct rtc *rtc_of(struct hv_device *dev)
{
	return container_of(dev, struct rtc, dev);
}

static uint64_t realtime_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * HV_NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

static bool rtc_is_set(const struct rtc *r)
{
	return r->s.cmos[RTC_REG_B] & REG_B_SET;
}

static int64_t rtc_now(const struct rtc *r)
{
	if (rtc_is_set(r))
		return r->s.frozen_s;
	return (int64_t)(realtime_ns() / HV_NSEC_PER_SEC) + r->s.offset_s;
}

/* ---- encoding ------------------------------------------------------------------------ */

static uint8_t rtc_encode(const struct rtc *r, unsigned int v)
{
	if (r->s.cmos[RTC_REG_B] & REG_B_DM)
		return (uint8_t)v;
	return (uint8_t)(v / 10 % 10 << 4 | v % 10);
}

static unsigned int rtc_decode(const struct rtc *r, uint8_t v)
{
	if (r->s.cmos[RTC_REG_B] & REG_B_DM)
		return v;
	return (v >> 4 & 15) * 10U + (v & 15U);
}

static uint8_t rtc_encode_hours(const struct rtc *r, unsigned int hour)
{
	if (r->s.cmos[RTC_REG_B] & REG_B_24H)
		return rtc_encode(r, hour);
	return rtc_encode(r, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? 0x80 : 0);
}

static unsigned int rtc_decode_hours(const struct rtc *r, uint8_t v)
{
	unsigned int hour;

	if (r->s.cmos[RTC_REG_B] & REG_B_24H)
		return rtc_decode(r, v);
	hour = rtc_decode(r, v & 0x7f) % 12;
	return v & 0x80 ? hour + 12 : hour;
}

/* Fill the time registers from the clock. */
static void rtc_time_to_cmos(struct rtc *r)
{
	time_t t = (time_t)rtc_now(r);
	struct tm tm;

	if (!gmtime_r(&t, &tm))
		return;
	r->s.cmos[RTC_SECONDS] = rtc_encode(r, (unsigned int)tm.tm_sec);
	r->s.cmos[RTC_MINUTES] = rtc_encode(r, (unsigned int)tm.tm_min);
	r->s.cmos[RTC_HOURS] = rtc_encode_hours(r, (unsigned int)tm.tm_hour);
	r->s.cmos[RTC_DAY_OF_WEEK] = rtc_encode(r, (unsigned int)tm.tm_wday + 1);
	r->s.cmos[RTC_DAY_OF_MONTH] = rtc_encode(r, (unsigned int)tm.tm_mday);
	r->s.cmos[RTC_MONTH] = rtc_encode(r, (unsigned int)tm.tm_mon + 1);
	r->s.cmos[RTC_YEAR] = rtc_encode(r, (unsigned int)(tm.tm_year % 100));
	r->s.cmos[RTC_CENTURY] = rtc_encode(r, (unsigned int)(tm.tm_year / 100 + 19));
}

/* Set the clock from the time registers. Out-of-range fields carry over, as mktime does. */
static void rtc_time_from_cmos(struct rtc *r)
{
	struct tm tm = {
		.tm_sec = (int)rtc_decode(r, r->s.cmos[RTC_SECONDS]),
		.tm_min = (int)rtc_decode(r, r->s.cmos[RTC_MINUTES]),
		.tm_hour = (int)rtc_decode_hours(r, r->s.cmos[RTC_HOURS]),
		.tm_mday = (int)rtc_decode(r, r->s.cmos[RTC_DAY_OF_MONTH]),
		.tm_mon = (int)rtc_decode(r, r->s.cmos[RTC_MONTH]) - 1,
		.tm_year = (int)(rtc_decode(r, r->s.cmos[RTC_YEAR]) +
				 rtc_decode(r, r->s.cmos[RTC_CENTURY]) * 100) - 1900,
	};
	int64_t t = (int64_t)timegm(&tm);

	r->s.frozen_s = t;
	r->s.offset_s = t - (int64_t)(realtime_ns() / HV_NSEC_PER_SEC);
	r->last_second = t;
}

/* ---- interrupts ------------------------------------------------------------------------- */

static void rtc_update_irq(struct rtc *r)
{
	uint8_t *c = &r->s.cmos[RTC_REG_C];
	bool level;

	/* Flags and enables are at the same bits. */
	if (*c & r->s.cmos[RTC_REG_B] & (REG_C_PF | REG_C_AF | REG_C_UF))
		*c |= REG_C_IRQF;
	else
		*c &= (uint8_t)~REG_C_IRQF;
	level = *c & REG_C_IRQF;
	if (level != r->irq_level) {
		r->irq_level = level;
		device_set_irq(&r->dev, HV_ISA_IRQ_RTC, level);
	}
}

/* ns of the periodic rate that register A selects; 0: none. */
static uint64_t rtc_period_ns(const struct rtc *r)
{
	unsigned int rate = r->s.cmos[RTC_REG_A] & 15;

	if (!rate || (r->s.cmos[RTC_REG_A] >> 4 & 7) != RTC_DIVIDER_32KHZ)
		return 0;
	/* 32768 Hz >> (rate - 1); rates 1 and 2 are those of 8 and 9. */
	if (rate < 3)
		rate += 7;
	return HV_NSEC_PER_SEC * (1ULL << (rate - 1)) / 32768;
}

static bool alarm_field_matches(const struct rtc *r, uint8_t alarm, unsigned int now)
{
	/* The two top bits set: any value. */
	return (alarm & 0xc0) == 0xc0 || rtc_decode(r, alarm) == now;
}

static bool alarm_matches(const struct rtc *r, int64_t second)
{
	const uint8_t *c = r->s.cmos;
	unsigned int day = (unsigned int)((second % 86400 + 86400) % 86400);
	bool hour = (c[RTC_HOURS_ALARM] & 0xc0) == 0xc0 ||
		    rtc_decode_hours(r, c[RTC_HOURS_ALARM]) == day / 3600;

	return hour && alarm_field_matches(r, c[RTC_MINUTES_ALARM], day / 60 % 60) &&
	       alarm_field_matches(r, c[RTC_SECONDS_ALARM], day % 60);
}

/* Account for the seconds that have begun since the last look. */
static void rtc_pass_seconds(struct rtc *r)
{
	int64_t now = rtc_now(r);

	if (rtc_is_set(r) || now == r->last_second)
		return;
	/* After a gap (a paused machine) look at one day of alarms at most. */
	if (now < r->last_second || now - r->last_second > 86400)
		r->last_second = now - 1;
	r->s.cmos[RTC_REG_C] |= REG_C_UF;
	while (r->last_second < now) {
		if (alarm_matches(r, ++r->last_second))
			r->s.cmos[RTC_REG_C] |= REG_C_AF;
	}
}

static void rtc_pass_periods(struct rtc *r)
{
	uint64_t now = hv_timer_now(), period = rtc_period_ns(r);

	if (!r->next_periodic || !period || now < r->next_periodic)
		return;
	r->next_periodic += ((now - r->next_periodic) / period + 1) * period;
	r->s.cmos[RTC_REG_C] |= REG_C_PF;
}

static void rtc_arm(struct rtc *r)
{
	uint8_t b = r->s.cmos[RTC_REG_B];
	uint64_t next = 0, second;

	if ((b & REG_B_PIE) && r->next_periodic)
		next = r->next_periodic;
	if ((b & (REG_B_AIE | REG_B_UIE)) && !rtc_is_set(r)) {
		second = hv_timer_now() + HV_NSEC_PER_SEC - realtime_ns() % HV_NSEC_PER_SEC + 1000;
		if (!next || second < next)
			next = second;
	}
	if (next)
		hv_timer_arm(&r->timer, next);
	else
		hv_timer_cancel(&r->timer);
}

static void rtc_update(struct rtc *r)
{
	rtc_pass_seconds(r);
	rtc_pass_periods(r);
	rtc_update_irq(r);
	rtc_arm(r);
}

static void rtc_timer_fn(struct hv_timer *timer)
{
	struct rtc *r = container_of(timer, struct rtc, timer);

	hv_mutex_lock(&r->dev.lock);
	rtc_update(r);
	hv_mutex_unlock(&r->dev.lock);
}

/* ---- registers ------------------------------------------------------------------------------ */

static void rtc_write_reg_b(struct rtc *r, uint8_t value)
{
	uint8_t old = r->s.cmos[RTC_REG_B];

	if (!(old & REG_B_SET) && (value & REG_B_SET)) {
		/* The clock stops with what it shows. */
		r->s.frozen_s = rtc_now(r);
		rtc_time_to_cmos(r);
		value &= (uint8_t)~REG_B_UIE;
	}
	r->s.cmos[RTC_REG_B] = value;
	if ((old & REG_B_SET) && !(value & REG_B_SET))
		rtc_time_from_cmos(r);
}

static void rtc_write_reg_a(struct rtc *r, uint8_t value)
{
	uint64_t period;

	r->s.cmos[RTC_REG_A] = value & 0x7f;
	period = rtc_period_ns(r);
	r->next_periodic = period ? hv_timer_now() + period : 0;
}

static void rtc_write(struct rtc *r, uint8_t index, uint8_t value)
{
	/* Events up to now belong to the old settings. */
	rtc_pass_seconds(r);
	rtc_pass_periods(r);
	switch (index) {
	case RTC_REG_A:
		rtc_write_reg_a(r, value);
		break;
	case RTC_REG_B:
		rtc_write_reg_b(r, value);
		break;
	case RTC_REG_C:
	case RTC_REG_D:
		break;
	case RTC_SECONDS:
	case RTC_MINUTES:
	case RTC_HOURS:
	case RTC_DAY_OF_WEEK ... RTC_YEAR:
	case RTC_CENTURY:
		if (!rtc_is_set(r))
			rtc_time_to_cmos(r);
		r->s.cmos[index] = value;
		if (!rtc_is_set(r))
			rtc_time_from_cmos(r);
		break;
	default:
		r->s.cmos[index] = value;
		break;
	}
	rtc_update(r);
}

static uint8_t rtc_read(struct rtc *r, uint8_t index)
{
	uint8_t value;

	switch (index) {
	case RTC_REG_A:
		value = r->s.cmos[RTC_REG_A];
		if (!rtc_is_set(r) &&
		    realtime_ns() % HV_NSEC_PER_SEC >= HV_NSEC_PER_SEC - RTC_UPDATE_NS)
			value |= REG_A_UIP;
		return value;
	case RTC_REG_C:
		rtc_pass_seconds(r);
		rtc_pass_periods(r);
		value = r->s.cmos[RTC_REG_C];
		if (value & r->s.cmos[RTC_REG_B] & (REG_C_PF | REG_C_AF | REG_C_UF))
			value |= REG_C_IRQF;
		r->s.cmos[RTC_REG_C] = 0;
		rtc_update_irq(r);
		rtc_arm(r);
		return value;
	case RTC_REG_D:
		return REG_D_VRT;
	case RTC_SECONDS:
	case RTC_MINUTES:
	case RTC_HOURS:
	case RTC_DAY_OF_WEEK ... RTC_YEAR:
	case RTC_CENTURY:
		if (!rtc_is_set(r))
			rtc_time_to_cmos(r);
		return r->s.cmos[index];
	default:
		return r->s.cmos[index];
	}
}

static int rtc_io_read(struct hv_io_device *io, struct hv_vcpu *vcpu, uint64_t addr,
		       unsigned int len, void *data)
{
	struct hv_device *dev = device_of_io(io);
	struct rtc *r = rtc_of(dev);

	if (len != 1)
		return -EOPNOTSUPP;
	hv_mutex_lock(&dev->lock);
	*(uint8_t *)data = addr & 1 ? rtc_read(r, r->s.index) : 0xff;
	hv_mutex_unlock(&dev->lock);
	return 0;
}

static int rtc_io_write(struct hv_io_device *io, struct hv_vcpu *vcpu, uint64_t addr,
			unsigned int len, const void *data)
{
	struct hv_device *dev = device_of_io(io);
	struct rtc *r = rtc_of(dev);
	uint8_t value = *(const uint8_t *)data;

	if (len != 1)
		return -EOPNOTSUPP;
	hv_mutex_lock(&dev->lock);
	if (addr & 1)
		rtc_write(r, r->s.index, value);
	else
		r->s.index = value & 0x7f; /* bit 7 would mask NMI on old chip sets */
	hv_mutex_unlock(&dev->lock);
	return 0;
}

static const struct hv_io_device_ops rtc_io_ops = { .read = rtc_io_read, .write = rtc_io_write };

/* ---- life ------------------------------------------------------------------------------------- */

static void cmos_put16(struct rtc *r, unsigned int index, uint64_t value)
{
	if (value > 0xffff)
		value = 0xffff;
	r->s.cmos[index] = (uint8_t)value;
	r->s.cmos[index + 1] = (uint8_t)(value >> 8);
}

/* Base memory, memory above 1 MiB in KiB (twice), above 16 MiB and above 4 GiB in 64 KiB. */
static void rtc_fill_memory_sizes(struct rtc *r)
{
	uint64_t low = r->dev.board->ram_low, high = r->dev.board->ram_high;
	uint64_t above_1m = low > 0x100000 ? low - 0x100000 : 0;
	uint64_t above_16m = low > 0x1000000 ? low - 0x1000000 : 0;

	cmos_put16(r, 0x15, 640);
	cmos_put16(r, 0x17, above_1m >> 10);
	cmos_put16(r, 0x30, above_1m >> 10);
	cmos_put16(r, 0x34, above_16m >> 16);
	r->s.cmos[0x5b] = (uint8_t)(high >> 16);
	r->s.cmos[0x5c] = (uint8_t)(high >> 24);
	r->s.cmos[0x5d] = (uint8_t)(high >> 32);
	r->s.cmos[0x5f] = (uint8_t)(r->dev.board->vcpus - 1);
}

static void rtc_reset(struct hv_device *dev)
{
	struct rtc *r = rtc_of(dev);

	hv_mutex_lock(&dev->lock);
	hv_timer_cancel(&r->timer);
	memset(&r->s, 0, sizeof(r->s));
	r->s.cmos[RTC_REG_A] = RTC_DIVIDER_32KHZ << 4 | 6;
	r->s.cmos[RTC_REG_B] = REG_B_24H;
	r->next_periodic = hv_timer_now() + rtc_period_ns(r);
	r->last_second = rtc_now(r);
	r->irq_level = false;
	rtc_fill_memory_sizes(r);
	hv_mutex_unlock(&dev->lock);
}

static int rtc_realize(struct hv_device *dev, const void *params)
{
	int err = hv_timer_init(&rtc_of(dev)->timer, irqchip_timers(dev->board->vm), rtc_timer_fn);

	return err ? err : device_map(dev, HV_BUS_PIO, RTC_PORT, 2, &rtc_io_ops);
}

static void rtc_save(struct hv_device *dev, void *state)
{
	hv_mutex_lock(&dev->lock);
	memcpy(state, &rtc_of(dev)->s, sizeof(struct rtc_state));
	hv_mutex_unlock(&dev->lock);
}

static int rtc_load(struct hv_device *dev, const void *state)
{
	struct rtc *r = rtc_of(dev);
	struct rtc_state s;
	uint64_t period;

	memcpy(&s, state, sizeof(s));
	if (s.index > 0x7f)
		return -EINVAL;
	hv_mutex_lock(&dev->lock);
	r->s = s;
	period = rtc_period_ns(r);
	r->next_periodic = period ? hv_timer_now() + period : 0;
	r->last_second = rtc_now(r);
	r->irq_level = false;
	rtc_update(r);
	hv_mutex_unlock(&dev->lock);
	return 0;
}

static void rtc_destroy(struct hv_device *dev)
{
	hv_timer_destroy(&rtc_of(dev)->timer);
}

const struct hv_device_ops rtc_device = {
	.name = "rtc",
	.instance_size = sizeof(struct rtc),
	.state_version = 1,
	.state_size = sizeof(struct rtc_state),
	.realize = rtc_realize,
	.reset = rtc_reset,
	.save = rtc_save,
	.load = rtc_load,
	.destroy = rtc_destroy,
};
