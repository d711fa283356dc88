/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Loading a kernel into guest memory and the state that its first CPU starts
 * with. Every byte of a kernel or an initrd is untrusted: each offset is
 * checked, and what is wrong is said in words.
 *
 * Where things are put in low memory (all of it RAM that the guest may reuse):
 *	0x01000 GDT          0x07000 zero page or start info
 *	0x09000 page tables  0x20000 command line
 */
#ifndef HV_BOOT_BOOT_H
#define HV_BOOT_BOOT_H

#include "hv/hv.h"
#include "hv/vm/vm.h"

#define BOOT_ERROR_SIZE 256

struct boot_request {
	struct hv_vm *vm;
	uint64_t ram_low;  /* bytes from 0 up; 0xa0000-0xbffff is no RAM, 0xe0000-0xfffff reserved */
	uint64_t ram_high; /* bytes from 4 GiB up */
	uint64_t rsdp;	   /* guest-physical address, 0: no ACPI */
	enum hv_boot_kind kind;
	int kernel_fd, initrd_fd; /* initrd_fd -1: none. Regular files */
	const char *cmdline;	  /* NULL: empty */
};

/* What to hand to hv_vcpu_set_regs and hv_vcpu_set_sregs of the boot CPU. */
struct boot_state {
	enum hv_boot_kind kind; /* as found, never AUTO */
	struct hv_regs regs;
	struct hv_sregs sregs;
};

/*
 * Loads the kernel. -ENOEXEC: not a kernel of that kind, or a broken one;
 * -E2BIG: it does not fit the memory; -EIO: the file cannot be read. error, of
 * BOOT_ERROR_SIZE bytes, gets one sentence on failure. No vCPU runs.
 */
int boot_load(const struct boot_request *req, struct boot_state *out, char *error);

#endif
