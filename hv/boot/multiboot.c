/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Multiboot 1: ELF kernels, with the information that test guests and small
 * kernels read: memory sizes and map, command line, the initrd as the one
 * module. The Multiboot specification 0.6.96.
 *
 * What the loader makes is put after the kernel, above 1 MiB: information,
 * memory map, module record, strings, then the module.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hv/boot/boot_internal.h"

#define MB_MAGIC     0x1badb002U
#define MB_BOOTED    0x2badb002U
#define MB_SEARCH    8192
#define MB_MUST_MASK 0xffffU /* flags that a loader must understand or refuse */
#define MB_ALIGN     0x1U    /* modules on page boundaries: always so */
#define MB_MEMORY    0x2U    /* memory information: always given */
#define MB_ADDRESSES 0x10000U

#define INFO_MEMORY   (1U << 0)
#define INFO_CMDLINE  (1U << 2)
#define INFO_MODULES  (1U << 3)
#define INFO_MMAP     (1U << 6)
#define INFO_LOADER   (1U << 9)

struct mb_info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr;
	uint32_t syms[4];
	uint32_t mmap_length, mmap_addr, drives_length, drives_addr, config_table;
	uint32_t boot_loader_name, apm_table;
	uint32_t vbe[4];
};

struct mb_mmap {
	uint32_t size;
	uint64_t addr, len;
	uint32_t type;
} __attribute__((packed));

struct mb_module {
	uint32_t start, end, cmdline, reserved;
};

struct mb_area {
	struct mb_info info;
	struct mb_mmap mmap[E820_MAX];
	struct mb_module module;
	char loader[8];
	char module_name[8];
	char cmdline[];
};

/* Offset of the header in the file's beginning, or -1. */
static int find_header(const struct boot_context *c)
{
	unsigned int at, end = c->kernel.size < MB_SEARCH ? (unsigned int)c->kernel.size : MB_SEARCH;
	uint32_t h[3];

	for (at = 0; at + sizeof(h) <= end; at += 4) {
		memcpy(h, c->head + at, sizeof(h));
		if (h[0] == MB_MAGIC && h[0] + h[1] + h[2] == 0)
			return (int)at;
	}
	return -1;
}

bool multiboot_is(const struct boot_context *c)
{
	return find_header(c) >= 0;
}

static void fill_area(const struct boot_context *c, struct mb_area *a, uint32_t at, uint64_t module)
{
	struct e820_entry map[E820_MAX];
	unsigned int n = boot_e820(c, map), i;
	struct mb_info *info = &a->info;

	info->flags = INFO_MEMORY | INFO_CMDLINE | INFO_MODULES | INFO_MMAP | INFO_LOADER;
	info->mem_lower = 640;
	info->mem_upper = (uint32_t)((c->req->ram_low - BOOT_HIGH_START) >> 10);
	info->cmdline = at + (uint32_t)offsetof(struct mb_area, cmdline);
	info->boot_loader_name = at + (uint32_t)offsetof(struct mb_area, loader);
	info->mmap_addr = at + (uint32_t)offsetof(struct mb_area, mmap);
	info->mmap_length = n * (uint32_t)sizeof(a->mmap[0]);
	for (i = 0; i < n; i++)
		a->mmap[i] = (struct mb_mmap){ .size = sizeof(a->mmap[0]) - 4, .addr = map[i].addr,
					       .len = map[i].size, .type = map[i].type };
	if (module) {
		info->mods_count = 1;
		info->mods_addr = at + (uint32_t)offsetof(struct mb_area, module);
		a->module.start = (uint32_t)module;
		a->module.end = (uint32_t)(module + c->initrd.size);
		a->module.cmdline = at + (uint32_t)offsetof(struct mb_area, module_name);
	}
	memcpy(a->loader, "hvd", 4);
	memcpy(a->module_name, "initrd", 7);
	memcpy(a->cmdline, c->cmdline, c->cmdline_len + 1);
}

static int put_area(struct boot_context *c, uint64_t at)
{
	size_t size = sizeof(struct mb_area) + c->cmdline_len + 1;
	uint64_t module = 0;
	struct mb_area *a;
	int err = 0;

	if (c->initrd.fd >= 0 && c->initrd.size) {
		module = (at + size + HV_PAGE_SIZE - 1) & HV_PAGE_MASK;
		err = boot_file_load(c, &c->initrd, 0, module, c->initrd.size);
		if (err)
			return err;
	}
	a = calloc(1, size);
	if (!a)
		return boot_fail(c, -ENOMEM, "out of memory");
	fill_area(c, a, (uint32_t)at, module);
	err = boot_write(c, at, a, size);
	free(a);
	return err;
}

int multiboot_load(struct boot_context *c, struct boot_state *out)
{
	int header = find_header(c);
	struct elf_image elf;
	uint32_t flags;
	uint64_t at;
	int err;

	if (header < 0)
		return boot_fail(c, -ENOEXEC, "the kernel has no multiboot header");
	memcpy(&flags, c->head + header + 4, 4);
	if (flags & MB_MUST_MASK & ~(MB_ALIGN | MB_MEMORY))
		return boot_fail(c, -ENOEXEC, "the multiboot header asks for features %#x",
				 flags & MB_MUST_MASK);
	if ((flags & MB_ADDRESSES) && !elf_is(c))
		return boot_fail(c, -ENOEXEC, "only ELF multiboot kernels are supported");
	if (c->cmdline_len > BOOT_CMDLINE_MAX)
		return boot_fail(c, -E2BIG, "the command line has %zu bytes", c->cmdline_len);
	err = elf_load(c, &elf);
	if (err)
		return err;
	if (elf.high > c->req->ram_low || elf.entry >> 32)
		return boot_fail(c, -E2BIG, "a multiboot kernel has to be below 4 GiB");
	at = (elf.high + HV_PAGE_SIZE - 1) & HV_PAGE_MASK;
	if (at < BOOT_HIGH_START)
		at = BOOT_HIGH_START;
	err = put_area(c, at);
	if (!err)
		err = boot_state_protected(c, out, (uint32_t)elf.entry);
	if (err)
		return err;
	out->regs.rax = MB_BOOTED;
	out->regs.rbx = at;
	return 0;
}
