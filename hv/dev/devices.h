/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The devices of a PC that have no interface of their own beyond their ports.
 * Unless a comment says otherwise, params is NULL.
 */
#ifndef HV_DEV_DEVICES_H
#define HV_DEV_DEVICES_H

#include "hv/dev/device.h"

/* ---- where things are ------------------------------------------------------------- */
#define HV_PM_PORT	  0x600	 /* PM1 event block, control, timer: acpi_pm.c */
#define HV_RESET_PORT	  0xcf9
#define HV_PVPANIC_PORT	  0x505
#define HV_FW_CFG_PORT	  0x510
#define HV_DEBUG_EXIT_PORT 0xf4
#define HV_UART_COM1_PORT 0x3f8
#define HV_HPET_BASE	  0xfed00000ULL
#define HV_ECAM_BASE	  0xe0000000ULL
#define HV_ECAM_SIZE	  0x10000000ULL /* 256 buses */
#define HV_RAM_LOW_MAX	  0xc0000000ULL /* the hole under 4 GiB begins */
#define HV_RAM_HIGH_BASE  0x100000000ULL

struct uart16550_params {
	uint16_t port;
	uint8_t irq;
};
extern const struct hv_device_ops uart16550_device; /* params: struct uart16550_params */
/* Bytes from outside. Returns how many were taken; 0: full, try later. Any thread. */
size_t uart16550_input(struct hv_device *dev, const void *data, size_t len);
/* Hand over what was written but not passed on yet. Any thread. */
void uart16550_flush(struct hv_device *dev);

extern const struct hv_device_ops rtc_device;
extern const struct hv_device_ops acpi_pm_device;
void acpi_pm_power_button(struct hv_device *dev); /* any thread */

extern const struct hv_device_ops i8042_device;	   /* 0x60, 0x64, 0x92 */
extern const struct hv_device_ops fw_cfg_device;
extern const struct hv_device_ops hpet_device;
extern const struct hv_device_ops pvpanic_device;
extern const struct hv_device_ops pci_host_device; /* 0xcf8-0xcff with the reset port 0xcf9, ECAM */
extern const struct hv_device_ops debug_exit_device;
extern const struct hv_device_ops pc_testdev_device;

#endif
