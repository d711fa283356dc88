/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the loaders share: the files, the memory, the CPU states they start in.
 */
#ifndef HV_BOOT_BOOT_INTERNAL_H
#define HV_BOOT_BOOT_INTERNAL_H

#include "hv/boot/boot.h"

#define BOOT_GDT	 0x1000
#define BOOT_ZERO_PAGE	 0x7000 /* Linux's boot_params, or PVH's start info */
#define BOOT_PAGE_TABLES 0x9000 /* six pages */
#define BOOT_CMDLINE	 0x20000
#define BOOT_CMDLINE_MAX 0x10000
#define BOOT_LOW_END	 0xa0000ULL  /* RAM below the VGA hole */
#define BOOT_HIGH_START	 0x100000ULL /* and above the BIOS area */
#define BOOT_4G		 0x100000000ULL

#define E820_RAM      1
#define E820_RESERVED 2
#define E820_MAX      8

struct e820_entry {
	uint64_t addr, size;
	uint32_t type;
} __attribute__((packed));

struct boot_file {
	int fd;
	uint64_t size;
};

struct boot_context {
	const struct boot_request *req;
	struct boot_file kernel, initrd; /* initrd.fd -1: none */
	const char *cmdline;		 /* never NULL */
	size_t cmdline_len;
	uint8_t head[8192];		 /* beginning of the kernel, zero padded */
	char *error;
};

/* Sets the sentence and returns err. */
int boot_fail(struct boot_context *c, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* -ENOEXEC if the file has no such range, -EIO. */
int boot_file_read(struct boot_context *c, const struct boot_file *f, uint64_t offset, void *buf,
		   uint64_t len);
/* Copy into guest memory; the range of RAM is checked. */
int boot_file_load(struct boot_context *c, const struct boot_file *f, uint64_t offset,
		   uint64_t gpa, uint64_t len);
int boot_write(struct boot_context *c, uint64_t gpa, const void *data, uint64_t len);
int boot_zero(struct boot_context *c, uint64_t gpa, uint64_t len);
/* [gpa, gpa + len) is RAM that a loader may write. */
bool boot_is_ram(const struct boot_context *c, uint64_t gpa, uint64_t len);
/* The memory map. Returns the number of entries. */
unsigned int boot_e820(const struct boot_context *c, struct e820_entry out[E820_MAX]);
/* Command line to BOOT_CMDLINE; at most max bytes without the 0. */
int boot_put_cmdline(struct boot_context *c, size_t max);
/*
 * Place and load the initrd as high as possible below `max` (exclusive) and
 * above `min`. *gpa is 0 without an initrd.
 */
int boot_put_initrd(struct boot_context *c, uint64_t min, uint64_t max, uint64_t *gpa);

/* CPU states; the GDT and page tables that they need are written to guest memory. */
void boot_state_real(struct boot_state *s, uint16_t segment, uint16_t ip);
int boot_state_protected(struct boot_context *c, struct boot_state *s, uint32_t eip);
int boot_state_long(struct boot_context *c, struct boot_state *s, uint64_t rip);

/* ---- ELF ---- */
struct elf_image {
	bool is64;
	uint64_t entry;
	uint64_t low, high;   /* lowest and end of highest loaded physical address */
	bool has_pvh;
	uint64_t pvh_entry;
};
bool elf_is(const struct boot_context *c);
int elf_load(struct boot_context *c, struct elf_image *out);

/* ---- loaders ---- */
bool linux_is(const struct boot_context *c);
int linux_load(struct boot_context *c, struct boot_state *out);
int pvh_load(struct boot_context *c, struct boot_state *out);
bool multiboot_is(const struct boot_context *c);
int multiboot_load(struct boot_context *c, struct boot_state *out);
int flat_load(struct boot_context *c, struct boot_state *out);

#endif
