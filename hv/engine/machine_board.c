/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a machine is made of: RAM around the holes of a PC, its devices, and
 * what firmware would have done before the kernel starts.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/dev/acpi_tables.h"
#include "hv/dev/smbios.h"
#include "hv/engine/hv_engine.h"
#include "hv/engine/machine_internal.h"
#include "hv/vcpu/vcpu.h"

#define VGA_HOLE_START 0xa0000ULL
#define VGA_HOLE_END   0xc0000ULL

/* ---- RAM -------------------------------------------------------------------------- */

struct ram_slot {
	uint64_t gpa, size, offset; /* offset into the host mapping */
};

/* RAM is one host mapping; what would lie in the hole under 4 GiB is above it. */
static unsigned int ram_slots(const struct hv_board *board, struct ram_slot out[3])
{
	unsigned int n = 0;

	out[n++] = (struct ram_slot){ 0, VGA_HOLE_START, 0 };
	if (board->ram_low > VGA_HOLE_END)
		out[n++] = (struct ram_slot){ VGA_HOLE_END, board->ram_low - VGA_HOLE_END,
					      VGA_HOLE_END };
	if (board->ram_high)
		out[n++] = (struct ram_slot){ HV_RAM_HIGH_BASE, board->ram_high, board->ram_low };
	return n;
}

int machine_ram_create(struct hv_machine *m, const struct hv_machine_config *config)
{
	struct hv_ram_config ram = {
		.backing = config->memory_fd >= 0 ? HV_MEM_FILE : config->memory_backing,
		.size = config->memory,
		.fd = config->memory_fd,
		.shared = config->memory_fd >= 0 && !config->memory_private,
	};
	struct ram_slot slots[3];
	unsigned int i, n;
	void *hva;
	int err;

	m->board.ram_low = config->memory < HV_RAM_LOW_MAX ? config->memory : HV_RAM_LOW_MAX;
	m->board.ram_high = config->memory - m->board.ram_low;
	err = hv_vm_ram_create(m->vm, &ram, &hva);
	if (err)
		return err;
	m->ram_private = config->memory_fd >= 0 && config->memory_private;
	n = ram_slots(&m->board, slots);
	for (i = 0; i < n; i++) {
		struct hv_memory_region region = {
			.slot = i,
			.guest_phys_addr = slots[i].gpa,
			.memory_size = slots[i].size,
			.userspace_addr = (uint64_t)(uintptr_t)hva + slots[i].offset,
		};

		err = hv_vm_set_memory_region(m->vm, &region);
		if (err)
			return err;
	}
	return 0;
}

/* Memory of its own instead of a file's. */
static int ram_replace(struct hv_machine *m, const struct ram_slot *slots, unsigned int n)
{
	static const struct hv_backing anon = { .kind = HV_BACKING_ANON, .fd = -1 };
	unsigned int i;
	int err = 0;

	for (i = 0; i < n && !err; i++)
		err = engine_memory_remap(m->vm, slots[i].gpa, slots[i].size, &anon);
	if (!err)
		m->ram_private = false;
	return err;
}

static int ram_clear(struct hv_machine *m)
{
	struct ram_slot slots[3];
	unsigned int n = ram_slots(&m->board, slots), i;
	int err = 0;

	/* Discarding would bring back what the file has. */
	if (m->ram_private)
		return ram_replace(m, slots, n);
	for (i = 0; i < n && !err; i++)
		err = hv_memory_discard(m->vm, slots[i].gpa, slots[i].size);
	return err;
}

/* ---- devices ------------------------------------------------------------------------- */

int machine_devices_create(struct hv_machine *m)
{
	static const struct uart16550_params com1 = {
		.port = HV_UART_COM1_PORT,
		.irq = HV_ISA_IRQ_COM1,
	};
	const struct {
		const struct hv_device_ops *ops;
		const void *params;
		unsigned int wanted_by; /* bit of test_devices; 0: always */
		struct hv_device **out;
	} devices[] = {
		{ &pci_host_device, NULL, 0, NULL },
		{ &acpi_pm_device, NULL, 0, &m->pm },
		{ &uart16550_device, &com1, 0, &m->uart },
		{ &rtc_device, NULL, 0, NULL },
		{ &i8042_device, NULL, 0, NULL },
		{ &hpet_device, NULL, 0, NULL },
		{ &fw_cfg_device, NULL, 0, NULL },
		{ &pvpanic_device, NULL, 0, NULL },
		{ &debug_exit_device, NULL, HV_TEST_DEBUG_EXIT, NULL },
		{ &pc_testdev_device, NULL, HV_TEST_PC_TESTDEV, NULL },
	};
	unsigned int i;
	int err;

	for (i = 0; i < sizeof(devices) / sizeof(devices[0]); i++) {
		if (devices[i].wanted_by && !(m->test_devices & devices[i].wanted_by))
			continue;
		err = device_add(&m->board, devices[i].ops, devices[i].params, devices[i].out);
		if (err)
			return err;
	}
	return 0;
}

/* ---- boot --------------------------------------------------------------------------------- */

static int put_acpi_tables(struct hv_machine *m)
{
	struct acpi_tables_config config = {
		.vcpus = m->nr_vcpus,
		.ram_low = m->board.ram_low,
		.hpet = true,
		.pvpanic = true,
	};
	uint8_t *image = malloc(ACPI_TABLES_SIZE);
	int len, err;

	if (!image)
		return -ENOMEM;
	len = acpi_tables_build(&config, image, ACPI_TABLES_SIZE);
	err = len < 0 ? len : vm_write_guest(m->vm, ACPI_TABLES_BASE, image, (uint64_t)len);
	free(image);
	return err;
}

static int put_smbios(struct hv_machine *m)
{
	struct smbios_config config = {
		.vcpus = m->nr_vcpus,
		.ram_low = m->board.ram_low,
		.ram_high = m->board.ram_high,
	};
	uint8_t image[SMBIOS_SIZE];
	int len;

	memcpy(config.uuid, m->uuid, sizeof(config.uuid));
	len = smbios_build(&config, image, sizeof(image));
	return len < 0 ? len : vm_write_guest(m->vm, SMBIOS_BASE, image, (uint64_t)len);
}

static void reset_vcpu(struct machine_vcpu *mv)
{
	struct hv_vcpu *vcpu = mv->vcpu;

	hv_mutex_lock(&vcpu->mutex);
	vcpu_arch_reset(vcpu, false);
	atomic_store(&vcpu->mp_state, mv->index ? HV_MP_UNINITIALIZED : HV_MP_RUNNABLE);
	hv_mutex_unlock(&vcpu->mutex);
}

static int load_kernel(struct hv_machine *m, char *error)
{
	struct boot_request req = {
		.vm = m->vm,
		.ram_low = m->board.ram_low,
		.ram_high = m->board.ram_high,
		.rsdp = ACPI_TABLES_BASE,
		.kind = m->boot_kind,
		.kernel_fd = m->kernel_fd,
		.initrd_fd = m->initrd_fd,
		.cmdline = m->cmdline,
	};
	struct boot_state state;
	int err;

	/* Without a kernel there is nothing to run. */
	if (m->kernel_fd < 0)
		return 0;
	err = boot_load(&req, &state, error);
	if (err)
		return err;
	err = hv_vcpu_set_sregs(m->vcpus[0].vcpu, &state.sregs);
	if (!err)
		err = hv_vcpu_set_regs(m->vcpus[0].vcpu, &state.regs);
	return err;
}

int machine_power_on(struct hv_machine *m, char *error)
{
	unsigned int i;
	int err;

	error[0] = '\0';
	irqchip_reset(m->vm);
	board_reset(&m->board);
	for (i = 0; i < m->nr_vcpus; i++)
		reset_vcpu(&m->vcpus[i]);
	/* The first time, memory is what the guest has brought; later on it is like any other. */
	err = m->incoming ? 0 : ram_clear(m);
	if (!err && !m->incoming)
		err = put_acpi_tables(m);
	if (!err && !m->incoming)
		err = put_smbios(m);
	if (!err && !m->incoming)
		err = load_kernel(m, error);
	m->incoming = false;
	/* Last, since setting sregs sets the APIC's base. */
	if (!err)
		irqchip_virtual_wire(m->vcpus[0].vcpu);
	if (err && !error[0])
		snprintf(error, BOOT_ERROR_SIZE, "the machine cannot be set up: %s",
			 strerror(-err));
	return err;
}
