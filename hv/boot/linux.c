/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Linux: bzImages through the 64-bit and the 32-bit boot protocol, and ELF
 * kernels through PVH. Linux documentation, "The Linux/x86 Boot Protocol"
 * and "Zero Page"; Xen's documentation, "x86/HVM direct boot ABI".
 */
#include <errno.h>
#include <string.h>

#include "hv/boot/boot_internal.h"

/* Offsets in the zero page; from 0x1f1 on they are those of the file too. */
#define ZP_RSDP		  0x070
#define ZP_EXT_RAMDISK	  0x0c0
#define ZP_EXT_RAMDISK_SZ 0x0c4
#define ZP_E820_ENTRIES	  0x1e8
#define ZP_SETUP_SECTS	  0x1f1
#define ZP_BOOT_FLAG	  0x1fe
#define ZP_JUMP		  0x200
#define ZP_HEADER	  0x202
#define ZP_VERSION	  0x206
#define ZP_LOADER	  0x210
#define ZP_LOADFLAGS	  0x211
#define ZP_CODE32	  0x214
#define ZP_RAMDISK	  0x218
#define ZP_RAMDISK_SIZE	  0x21c
#define ZP_CMDLINE	  0x228
#define ZP_INITRD_MAX	  0x22c
#define ZP_ALIGNMENT	  0x230
#define ZP_RELOCATABLE	  0x234
#define ZP_XLOADFLAGS	  0x236
#define ZP_CMDLINE_SIZE	  0x238
#define ZP_PREF_ADDRESS	  0x258
#define ZP_INIT_SIZE	  0x260
#define ZP_E820		  0x2d0
#define ZP_HEADER_END	  0x280

#define LOADFLAGS_HIGH	    0x01
#define LOADFLAGS_KEEP_SEGS 0x40
#define XLF_KERNEL_64	    0x01
#define ENTRY_64	    0x200
#define LOADER_UNKNOWN	    0xff
#define MIN_VERSION	    0x020a /* 2.10: pref_address, init_size */

#define PVH_MAGIC   0x336ec578U
#define PVH_MEMMAP  0x200 /* within the start info's page */
#define PVH_MODLIST 0x400

static uint64_t get(const uint8_t *p, unsigned int offset, unsigned int len)
{
	uint64_t v = 0;

	memcpy(&v, p + offset, len);
	return v;
}

static void put(uint8_t *p, unsigned int offset, uint64_t v, unsigned int len)
{
	memcpy(p + offset, &v, len);
}

/* ---- bzImage ------------------------------------------------------------------------- */

struct bzimage {
	uint64_t payload;      /* file offset of the protected-mode part */
	uint64_t payload_size;
	uint64_t load, init_size;
	bool is64;
};

bool linux_is(const struct boot_context *c)
{
	return c->kernel.size > 0x1000 && get(c->head, ZP_BOOT_FLAG, 2) == 0xaa55 &&
	       !memcmp(c->head + ZP_HEADER, "HdrS", 4);
}

/* Where the kernel asks to be, or where it fits if it can be moved. */
static int choose_load_address(struct boot_context *c, struct bzimage *bz)
{
	uint64_t preferred = get(c->head, ZP_PREF_ADDRESS, 8);
	uint64_t align = get(c->head, ZP_ALIGNMENT, 4);
	uint64_t size = bz->init_size > bz->payload_size ? bz->init_size : bz->payload_size;

	bz->init_size = size;
	bz->load = preferred;
	if (preferred >= BOOT_HIGH_START && boot_is_ram(c, preferred, size))
		return 0;
	if (get(c->head, ZP_RELOCATABLE, 1) && align && !(align & (align - 1)) &&
	    align <= (1ULL << 30)) {
		bz->load = (BOOT_HIGH_START + align - 1) & ~(align - 1);
		if (boot_is_ram(c, bz->load, size))
			return 0;
	}
	return boot_fail(c, -E2BIG, "the kernel needs %llu MiB at %#llx, which the memory has not",
			 (unsigned long long)(size >> 20), (unsigned long long)preferred);
}

static int parse_bzimage(struct boot_context *c, struct bzimage *bz)
{
	uint64_t sects = get(c->head, ZP_SETUP_SECTS, 1);
	unsigned int version = (unsigned int)get(c->head, ZP_VERSION, 2);

	if (!linux_is(c))
		return boot_fail(c, -ENOEXEC, "the kernel is not a bzImage");
	if (version < MIN_VERSION)
		return boot_fail(c, -ENOEXEC, "the kernel's boot protocol is %u.%02u, 2.10 is needed",
				 version >> 8, version & 0xff);
	if (!(get(c->head, ZP_LOADFLAGS, 1) & LOADFLAGS_HIGH))
		return boot_fail(c, -ENOEXEC, "the kernel is a zImage, which loads too low");
	bz->payload = ((sects ? sects : 4) + 1) * 512;
	if (bz->payload >= c->kernel.size)
		return boot_fail(c, -ENOEXEC, "the bzImage ends within its setup code");
	bz->payload_size = c->kernel.size - bz->payload;
	bz->init_size = get(c->head, ZP_INIT_SIZE, 4);
	bz->is64 = version >= 0x020c && (get(c->head, ZP_XLOADFLAGS, 2) & XLF_KERNEL_64);
	return choose_load_address(c, bz);
}

static void put_e820(const struct boot_context *c, uint8_t *zp)
{
	struct e820_entry map[E820_MAX];
	unsigned int n = boot_e820(c, map);

	put(zp, ZP_E820_ENTRIES, n, 1);
	memcpy(zp + ZP_E820, map, n * sizeof(map[0]));
}

/* The setup header as it is in the file, and what a loader has to fill in. */
static int put_zero_page(struct boot_context *c, const struct bzimage *bz, uint64_t initrd)
{
	uint8_t zp[4096];
	unsigned int end = ZP_HEADER + (unsigned int)c->head[ZP_JUMP + 1];

	memset(zp, 0, sizeof(zp));
	/* The jump over the header tells its length. */
	if (end > ZP_HEADER_END || end < ZP_INIT_SIZE + 4)
		end = ZP_HEADER_END;
	memcpy(zp + ZP_SETUP_SECTS, c->head + ZP_SETUP_SECTS, end - ZP_SETUP_SECTS);
	put(zp, ZP_LOADER, LOADER_UNKNOWN, 1);
	zp[ZP_LOADFLAGS] |= LOADFLAGS_KEEP_SEGS;
	put(zp, ZP_CODE32, bz->load, 4);
	put(zp, ZP_CMDLINE, BOOT_CMDLINE, 4);
	put(zp, ZP_RAMDISK, initrd, 4);
	put(zp, ZP_RAMDISK_SIZE, initrd ? c->initrd.size : 0, 4);
	put(zp, ZP_EXT_RAMDISK, initrd >> 32, 4);
	put(zp, ZP_EXT_RAMDISK_SZ, initrd ? c->initrd.size >> 32 : 0, 4);
	put(zp, ZP_RSDP, c->req->rsdp, 8);
	put_e820(c, zp);
	return boot_write(c, BOOT_ZERO_PAGE, zp, sizeof(zp));
}

int linux_load(struct boot_context *c, struct boot_state *out)
{
	uint64_t initrd, initrd_max, cmdline_max;
	struct bzimage bz;
	int err = parse_bzimage(c, &bz);

	if (err)
		return err;
	initrd_max = get(c->head, ZP_INITRD_MAX, 4) + 1;
	cmdline_max = get(c->head, ZP_CMDLINE_SIZE, 4);
	err = boot_file_load(c, &c->kernel, bz.payload, bz.load, bz.payload_size);
	if (!err)
		err = boot_put_initrd(c, bz.load + bz.init_size, initrd_max, &initrd);
	if (!err)
		err = boot_put_cmdline(c, cmdline_max ? cmdline_max : 255);
	if (!err)
		err = put_zero_page(c, &bz, initrd);
	if (!err)
		err = bz.is64 ? boot_state_long(c, out, bz.load + ENTRY_64) :
				boot_state_protected(c, out, (uint32_t)bz.load);
	if (err)
		return err;
	out->regs.rsi = BOOT_ZERO_PAGE;
	return 0;
}

/* ---- PVH -------------------------------------------------------------------------------- */

static int put_start_info(struct boot_context *c, uint64_t initrd)
{
	struct e820_entry map[E820_MAX];
	unsigned int n = boot_e820(c, map), i;
	uint8_t page[4096];

	memset(page, 0, sizeof(page));
	put(page, 0, PVH_MAGIC, 4);
	put(page, 4, 1, 4); /* version: there is a memory map */
	put(page, 12, initrd ? 1 : 0, 4);
	put(page, 16, initrd ? BOOT_ZERO_PAGE + PVH_MODLIST : 0, 8);
	put(page, 24, BOOT_CMDLINE, 8);
	put(page, 32, c->req->rsdp, 8);
	put(page, 40, BOOT_ZERO_PAGE + PVH_MEMMAP, 8);
	put(page, 48, n, 4);
	for (i = 0; i < n; i++) {
		put(page, PVH_MEMMAP + i * 24, map[i].addr, 8);
		put(page, PVH_MEMMAP + i * 24 + 8, map[i].size, 8);
		put(page, PVH_MEMMAP + i * 24 + 16, map[i].type, 4);
	}
	if (initrd) {
		put(page, PVH_MODLIST, initrd, 8);
		put(page, PVH_MODLIST + 8, c->initrd.size, 8);
	}
	return boot_write(c, BOOT_ZERO_PAGE, page, sizeof(page));
}

int pvh_load(struct boot_context *c, struct boot_state *out)
{
	struct elf_image elf;
	uint64_t initrd;
	int err = elf_load(c, &elf);

	if (err)
		return err;
	if (!elf.has_pvh)
		return boot_fail(c, -ENOEXEC, "the ELF file has no PVH entry point");
	if (elf.pvh_entry < elf.low || elf.pvh_entry >= elf.high || elf.pvh_entry >> 32)
		return boot_fail(c, -ENOEXEC, "the PVH entry point %#llx is outside of the kernel",
				 (unsigned long long)elf.pvh_entry);
	err = boot_put_initrd(c, elf.high, BOOT_4G, &initrd);
	if (!err)
		err = boot_put_cmdline(c, BOOT_CMDLINE_MAX - 1);
	if (!err)
		err = put_start_info(c, initrd);
	if (!err)
		err = boot_state_protected(c, out, (uint32_t)elf.pvh_entry);
	if (err)
		return err;
	out->regs.rbx = BOOT_ZERO_PAGE;
	return 0;
}
