/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Buses: ranges, sharing, dispatch, removal under readers. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hv/base/fault_inject.h"
#include "hv/base/rcu.h"
#include "hv/vm/bus.h"
#include "tests/lib/vm_fake.h"

struct dev {
	struct hv_io_device io;
	unsigned int reads, writes;
	int answer;
	_Atomic bool gone;
};

static struct hv_vm *vm;

static int dev_read(struct hv_io_device *io, struct hv_vcpu *vcpu, uint64_t addr, unsigned int len,
		    void *data)
{
	struct dev *d = container_of(io, struct dev, io);

	HV_BUG_ON(d->gone);
	d->reads++;
	memset(data, (int)(addr & 0xff), len);
	return d->answer;
}

static int dev_write(struct hv_io_device *io, struct hv_vcpu *vcpu, uint64_t addr,
		     unsigned int len, const void *data)
{
	struct dev *d = container_of(io, struct dev, io);

	d->writes++;
	return d->answer;
}

static const struct hv_io_device_ops ops = { .read = dev_read, .write = dev_write };
static struct dev a, b, c;

static int setup(void **state)
{
	vf_start();
	vm = vf_vm_new("bus");
	a = (struct dev){ .io.ops = &ops };
	b = (struct dev){ .io.ops = &ops };
	c = (struct dev){ .io.ops = &ops };
	return 0;
}

static int teardown(void **state)
{
	vm_put(vm);
	vf_end();
	return 0;
}

static void test_dispatch(void **state)
{
	uint32_t v = 0;

	assert_int_equal(bus_read(vm, NULL, HV_BUS_PIO, 0x3f8, 1, &v), -EOPNOTSUPP);
	assert_int_equal(bus_register(vm, HV_BUS_PIO, 0x3f8, 8, &a.io), 0);
	assert_int_equal(bus_register(vm, HV_BUS_PIO, 0x2f8, 8, &b.io), 0);
	assert_int_equal(bus_register(vm, HV_BUS_MMIO, 0x3f8, 8, &c.io), 0);
	assert_int_equal(bus_read(vm, NULL, HV_BUS_PIO, 0x3fa, 2, &v), 0);
	assert_int_equal(v, 0xfafa);
	assert_int_equal(bus_write(vm, NULL, HV_BUS_PIO, 0x2ff, 1, &v), 0);
	assert_int_equal(a.reads, 1);
	assert_int_equal(b.writes, 1);
	assert_int_equal(c.reads + c.writes, 0);
	/* Beyond the end, across it, before it, nothing at all, the top of the space. */
	assert_int_equal(bus_read(vm, NULL, HV_BUS_PIO, 0x400, 1, &v), -EOPNOTSUPP);
	assert_int_equal(bus_read(vm, NULL, HV_BUS_PIO, 0x3ff, 2, &v), -EOPNOTSUPP);
	assert_int_equal(bus_read(vm, NULL, HV_BUS_PIO, 0x3f7, 2, &v), -EOPNOTSUPP);
	assert_int_equal(bus_read(vm, NULL, HV_BUS_PIO, 0x3f8, 0, &v), -EOPNOTSUPP);
	assert_int_equal(bus_read(vm, NULL, HV_BUS_PIO, ~0ULL, 4, &v), -EOPNOTSUPP);
	a.answer = -EIO; /* a device's own error is the answer */
	assert_int_equal(bus_read(vm, NULL, HV_BUS_PIO, 0x3f8, 1, &v), -EIO);
}

static void test_ranges(void **state)
{
	assert_int_equal(bus_register(vm, HV_BUS_MMIO, 0x1000, 0, &a.io), -EINVAL);
	assert_int_equal(bus_register(vm, HV_BUS_MMIO, ~0ULL, 2, &a.io), -EINVAL);
	assert_int_equal(bus_register(vm, HV_BUS_MMIO, 0x1000, 0x100, &a.io), 0);
	assert_int_equal(bus_register(vm, HV_BUS_MMIO, 0x10ff, 1, &b.io), -EEXIST);
	assert_int_equal(bus_register(vm, HV_BUS_MMIO, 0xfff, 2, &b.io), -EEXIST);
	assert_int_equal(bus_register(vm, HV_BUS_MMIO, 0, 0x10000, &b.io), -EEXIST);
	assert_int_equal(bus_register(vm, HV_BUS_MMIO, 0x1100, 1, &b.io), 0);
	assert_int_equal(bus_register(vm, HV_BUS_MMIO, 0xff0, 0x10, &c.io), 0);
	assert_int_equal(bus_unregister(vm, HV_BUS_PIO, &a.io), -ENOENT);
}

static void test_shared_range(void **state)
{
	uint32_t v;

	a.answer = -EOPNOTSUPP;
	assert_int_equal(bus_register(vm, HV_BUS_PIO, 0x60, 4, &a.io), 0);
	assert_int_equal(bus_register(vm, HV_BUS_PIO, 0x60, 4, &b.io), 0);
	assert_int_equal(bus_register(vm, HV_BUS_PIO, 0x60, 4, &c.io), 0);
	assert_int_equal(bus_read(vm, NULL, HV_BUS_PIO, 0x60, 1, &v), 0);
	assert_int_equal(a.reads, 1);
	assert_int_equal(b.reads, 1);
	assert_int_equal(c.reads, 0); /* the first that takes it */
	assert_int_equal(bus_unregister(vm, HV_BUS_PIO, &b.io), 0);
	assert_int_equal(bus_read(vm, NULL, HV_BUS_PIO, 0x60, 1, &v), 0);
	assert_int_equal(c.reads, 1);
	/* The hole is gone with the next registration, and takes no room. */
	assert_int_equal(bus_register(vm, HV_BUS_PIO, 0x62, 1, &b.io), -EEXIST);
	assert_int_equal(bus_unregister(vm, HV_BUS_PIO, &a.io), 0);
	assert_int_equal(bus_unregister(vm, HV_BUS_PIO, &c.io), 0);
	assert_int_equal(bus_unregister(vm, HV_BUS_PIO, &c.io), -ENOENT);
	assert_int_equal(bus_register(vm, HV_BUS_PIO, 0x62, 1, &b.io), 0);
	assert_int_equal(bus_read(vm, NULL, HV_BUS_PIO, 0x62, 1, &v), 0);
}

static struct dev many[HV_BUS_DEVICES_MAX + 1];

static void test_limit(void **state)
{
	uint32_t v;
	int i;

	for (i = 0; i <= HV_BUS_DEVICES_MAX; i++)
		many[i] = (struct dev){ .io.ops = &ops };
	for (i = 0; i < HV_BUS_DEVICES_MAX; i++)
		assert_int_equal(bus_register(vm, HV_BUS_MMIO, (uint64_t)(999 - i) * 16, 16,
					      &many[i].io), 0);
	assert_int_equal(bus_register(vm, HV_BUS_MMIO, 1 << 20, 16, &many[i].io), -ENOSPC);
	assert_int_equal(bus_read(vm, NULL, HV_BUS_MMIO, 999 * 16, 4, &v), 0);
	assert_int_equal(many[0].reads, 1);
	assert_int_equal(bus_read(vm, NULL, HV_BUS_MMIO, 500 * 16 + 12, 4, &v), 0);
	assert_int_equal(many[499].reads, 1);
}

#ifdef HV_DEBUG
static void test_no_memory(void **state)
{
	uint32_t v;

	assert_int_equal(bus_register(vm, HV_BUS_PIO, 0x10, 4, &a.io), 0);
	hv_fault_arm(HV_FAULT_THREAD, 1);
	assert_int_equal(bus_register(vm, HV_BUS_PIO, 0x20, 4, &b.io), -ENOMEM);
	assert_true(hv_fault_disarm());
	assert_int_equal(bus_read(vm, NULL, HV_BUS_PIO, 0x20, 1, &v), -EOPNOTSUPP);
	assert_int_equal(bus_read(vm, NULL, HV_BUS_PIO, 0x10, 1, &v), 0);
	/* Removal needs no memory. */
	hv_fault_arm(HV_FAULT_THREAD, 1);
	assert_int_equal(bus_unregister(vm, HV_BUS_PIO, &a.io), 0);
	assert_false(hv_fault_disarm());
}
#endif

static _Atomic bool stop;

static void *reader(void *arg)
{
	uint32_t v;

	hv_rcu_register_thread();
	while (!stop)
		bus_read(vm, NULL, HV_BUS_PIO, 0x80, 1, &v);
	hv_rcu_unregister_thread();
	return NULL;
}

/* After unregister nobody is inside the device: it is marked gone at once. */
static void test_unregister_under_readers(void **state)
{
	pthread_t t;
	int i;

	stop = false;
	assert_int_equal(pthread_create(&t, NULL, reader, NULL), 0);
	for (i = 0; i < 2000; i++) {
		a.gone = false;
		assert_int_equal(bus_register(vm, HV_BUS_PIO, 0x80, 4, &a.io), 0);
		assert_int_equal(bus_unregister(vm, HV_BUS_PIO, &a.io), 0);
		a.gone = true;
	}
	stop = true;
	pthread_join(t, NULL);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_dispatch), T(test_ranges),		     T(test_shared_range),
		T(test_limit),	  T(test_unregister_under_readers),
#ifdef HV_DEBUG
		T(test_no_memory),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
