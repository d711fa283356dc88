/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the loaders share, and the choice among them.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hv/boot/boot_internal.h"

#define CHUNK (1U << 20)

int boot_fail(struct boot_context *c, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->error, BOOT_ERROR_SIZE, fmt, ap);
	va_end(ap);
	return err;
}

/* ---- files -------------------------------------------------------------------------- */

static int file_open(struct boot_context *c, struct boot_file *f, int fd, const char *what)
{
	struct stat st;

	if (fstat(fd, &st))
		return boot_fail(c, -EIO, "the %s cannot be read: %s", what, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return boot_fail(c, -EIO, "the %s is not a regular file", what);
	f->fd = fd;
	f->size = (uint64_t)st.st_size;
	return 0;
}

int boot_file_read(struct boot_context *c, const struct boot_file *f, uint64_t offset, void *buf,
		   uint64_t len)
{
	uint8_t *p = buf;
	ssize_t n;

	if (offset > f->size || len > f->size - offset)
		return boot_fail(c, -ENOEXEC,
				 "the kernel's headers point past the end of the file (offset %llu)",
				 (unsigned long long)offset);
	while (len) {
		n = pread(f->fd, p, len < CHUNK ? len : CHUNK, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return boot_fail(c, -EIO, "a boot file cannot be read: %s",
					 strerror(errno));
		if (n == 0)
			return boot_fail(c, -EIO, "a boot file became shorter while it was read");
		p += n;
		offset += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

int boot_file_load(struct boot_context *c, const struct boot_file *f, uint64_t offset,
		   uint64_t gpa, uint64_t len)
{
	uint8_t *buf;
	int err = 0;

	if (!boot_is_ram(c, gpa, len))
		return boot_fail(c, -E2BIG, "%llu bytes at %#llx are not all RAM",
				 (unsigned long long)len, (unsigned long long)gpa);
	buf = malloc(CHUNK);
	if (!buf)
		return boot_fail(c, -ENOMEM, "out of memory");
	while (len && !err) {
		uint64_t n = len < CHUNK ? len : CHUNK;

		err = boot_file_read(c, f, offset, buf, n);
		if (!err)
			err = boot_write(c, gpa, buf, n);
		offset += n;
		gpa += n;
		len -= n;
	}
	free(buf);
	return err;
}

/* ---- memory ---------------------------------------------------------------------------- */

bool boot_is_ram(const struct boot_context *c, uint64_t gpa, uint64_t len)
{
	const struct { uint64_t start, end; } areas[] = {
		{ 0, BOOT_LOW_END },
		{ BOOT_HIGH_START, c->req->ram_low },
		{ BOOT_4G, BOOT_4G + c->req->ram_high },
	};
	unsigned int i;

	if (gpa + len < gpa)
		return false;
	for (i = 0; i < sizeof(areas) / sizeof(areas[0]); i++) {
		if (gpa >= areas[i].start && gpa + len <= areas[i].end)
			return true;
	}
	return false;
}

int boot_write(struct boot_context *c, uint64_t gpa, const void *data, uint64_t len)
{
	int err;

	if (!boot_is_ram(c, gpa, len))
		return boot_fail(c, -E2BIG, "%llu bytes at %#llx are not all RAM",
				 (unsigned long long)len, (unsigned long long)gpa);
	err = vm_write_guest(c->req->vm, gpa, data, len);
	return err ? boot_fail(c, err, "guest memory at %#llx cannot be written",
			       (unsigned long long)gpa) : 0;
}

int boot_zero(struct boot_context *c, uint64_t gpa, uint64_t len)
{
	static const uint8_t zeros[HV_PAGE_SIZE];
	int err = 0;

	while (len && !err) {
		uint64_t n = len < sizeof(zeros) ? len : sizeof(zeros);

		err = boot_write(c, gpa, zeros, n);
		gpa += n;
		len -= n;
	}
	return err;
}

unsigned int boot_e820(const struct boot_context *c, struct e820_entry out[E820_MAX])
{
	unsigned int n = 0;

	/* The top KiB of low memory is where firmware keeps its extended data area. */
	out[n++] = (struct e820_entry){ 0, 0x9fc00, E820_RAM };
	out[n++] = (struct e820_entry){ 0x9fc00, 0x400, E820_RESERVED };
	out[n++] = (struct e820_entry){ 0xe0000, 0x20000, E820_RESERVED };
	if (c->req->ram_low > BOOT_HIGH_START)
		out[n++] = (struct e820_entry){ BOOT_HIGH_START, c->req->ram_low - BOOT_HIGH_START,
						E820_RAM };
	out[n++] = (struct e820_entry){ 0xe0000000, 0x10000000, E820_RESERVED }; /* ECAM */
	if (c->req->ram_high)
		out[n++] = (struct e820_entry){ BOOT_4G, c->req->ram_high, E820_RAM };
	return n;
}

int boot_put_cmdline(struct boot_context *c, size_t max)
{
	if (max > BOOT_CMDLINE_MAX - 1)
		max = BOOT_CMDLINE_MAX - 1;
	if (c->cmdline_len > max)
		return boot_fail(c, -E2BIG, "the command line has %zu bytes, the kernel takes %zu",
				 c->cmdline_len, max);
	return boot_write(c, BOOT_CMDLINE, c->cmdline, c->cmdline_len + 1);
}

int boot_put_initrd(struct boot_context *c, uint64_t min, uint64_t max, uint64_t *gpa)
{
	uint64_t top = c->req->ram_low < max ? c->req->ram_low : max, at;

	*gpa = 0;
	if (c->initrd.fd < 0 || !c->initrd.size)
		return 0;
	if (c->initrd.size > top)
		return boot_fail(c, -E2BIG, "the initrd (%llu bytes) does not fit the memory",
				 (unsigned long long)c->initrd.size);
	at = (top - c->initrd.size) & HV_PAGE_MASK;
	if (at < min)
		return boot_fail(c, -E2BIG,
				 "the initrd (%llu bytes) does not fit between the kernel and %#llx",
				 (unsigned long long)c->initrd.size, (unsigned long long)top);
	*gpa = at;
	return boot_file_load(c, &c->initrd, 0, at, c->initrd.size);
}

/* ---- CPU states -------------------------------------------------------------------------- */

#define SEL_CODE64 0x08
#define SEL_CODE   0x10
#define SEL_DATA   0x18
#define SEL_TSS	   0x20

static struct hv_seg data_segment(void)
{
	return (struct hv_seg){ .limit = 0xffffffff, .selector = SEL_DATA, .type = 3, .present = 1,
				.db = 1, .s = 1, .g = 1 };
}

static void set_data_segments(struct hv_sregs *s, const struct hv_seg *seg)
{
	s->ds = s->es = s->fs = s->gs = s->ss = *seg;
}

/* What every state has: no LDT, a busy TSS (an entry check wants one), empty tables. */
static void common_state(struct boot_state *s)
{
	memset(&s->regs, 0, sizeof(s->regs));
	memset(&s->sregs, 0, sizeof(s->sregs));
	s->regs.rflags = 2;
	s->sregs.ldt = (struct hv_seg){ .type = 2, .limit = 0xffff, .unusable = 1 };
	s->sregs.tr = (struct hv_seg){ .selector = SEL_TSS, .type = 11, .limit = 0x67,
				       .present = 1 };
	s->sregs.apic_base = 0xfee00900;
}

void boot_state_real(struct boot_state *s, uint16_t segment, uint16_t ip)
{
	struct hv_seg data = { .limit = 0xffff, .type = 3, .present = 1, .s = 1 };

	common_state(s);
	set_data_segments(&s->sregs, &data);
	s->sregs.cs = data;
	s->sregs.cs.type = 11;
	s->sregs.cs.selector = segment;
	s->sregs.cs.base = (uint64_t)segment << 4;
	s->sregs.gdt.limit = s->sregs.idt.limit = 0xffff;
	s->sregs.tr.selector = 0;
	s->sregs.cr0 = 0x60000010;
	s->regs.rip = ip;
}

static int put_gdt(struct boot_context *c, struct boot_state *s, bool is64)
{
	const uint64_t gdt[] = {
		0,
		0x00af9b000000ffff, /* 0x08 64-bit code */
		is64 ? 0x00af9b000000ffff : 0x00cf9b000000ffff, /* 0x10 code of the mode */
		0x00cf93000000ffff, /* 0x18 data */
		0x00008b0000000067, /* 0x20 TSS at 0; 64-bit mode needs the upper half, 0, too */
		0,
	};

	s->sregs.gdt = (struct hv_dtab){ .base = BOOT_GDT, .limit = sizeof(gdt) - 1 };
	return boot_write(c, BOOT_GDT, gdt, sizeof(gdt));
}

static void protected_state(struct boot_state *s, uint32_t eip)
{
	struct hv_seg data = data_segment();

	common_state(s);
	set_data_segments(&s->sregs, &data);
	s->sregs.cs = data;
	s->sregs.cs.type = 11;
	s->sregs.cs.selector = SEL_CODE;
	s->sregs.cr0 = 0x11; /* PE, ET */
	s->regs.rip = eip;
}

int boot_state_protected(struct boot_context *c, struct boot_state *s, uint32_t eip)
{
	protected_state(s, eip);
	return put_gdt(c, s, false);
}

/* The first 4 GiB mapped one to one with 2 MiB pages. */
static int put_page_tables(struct boot_context *c)
{
	uint64_t table[512];
	unsigned int pd, i;
	int err;

	memset(table, 0, sizeof(table));
	table[0] = (BOOT_PAGE_TABLES + 0x1000) | 3;
	err = boot_write(c, BOOT_PAGE_TABLES, table, sizeof(table));
	if (err)
		return err;
	for (i = 0; i < 4; i++)
		table[i] = (BOOT_PAGE_TABLES + 0x2000 + i * 0x1000ULL) | 3;
	err = boot_write(c, BOOT_PAGE_TABLES + 0x1000, table, sizeof(table));
	for (pd = 0; pd < 4 && !err; pd++) {
		for (i = 0; i < 512; i++)
			table[i] = ((uint64_t)pd << 30) | ((uint64_t)i << 21) | 0x83;
		err = boot_write(c, BOOT_PAGE_TABLES + 0x2000 + pd * 0x1000ULL, table,
				 sizeof(table));
	}
	return err;
}

int boot_state_long(struct boot_context *c, struct boot_state *s, uint64_t rip)
{
	int err;

	protected_state(s, 0);
	err = put_gdt(c, s, true);
	if (err)
		return err;
	/* Linux's boot protocol wants its __BOOT_CS, 0x10, to be the code segment in force. */
	s->sregs.cs.db = 0;
	s->sregs.cs.l = 1;
	s->sregs.cr0 = 0x80000011; /* PG */
	s->sregs.cr3 = BOOT_PAGE_TABLES;
	s->sregs.cr4 = 0x20;   /* PAE */
	s->sregs.efer = 0x500; /* LME, LMA */
	s->regs.rip = rip;
	return put_page_tables(c);
}

/* ---- flat binaries --------------------------------------------------------------------------- */

#define FLAT_BASE 0x7c00

/*
 * An ELF starts in 64-bit or 32-bit protected mode, by its class; any other file
 * is a boot sector of any size: at 0x7c00, in real mode.
 */
int flat_load(struct boot_context *c, struct boot_state *out)
{
	struct elf_image elf;
	int err;

	if (elf_is(c)) {
		err = elf_load(c, &elf);
		if (err)
			return err;
		if (elf.is64)
			return boot_state_long(c, out, elf.entry);
		return boot_state_protected(c, out, (uint32_t)elf.entry);
	}
	if (c->kernel.size > BOOT_LOW_END - FLAT_BASE)
		return boot_fail(c, -E2BIG, "a flat binary of %llu bytes does not fit low memory",
				 (unsigned long long)c->kernel.size);
	boot_state_real(out, 0, FLAT_BASE);
	return boot_file_load(c, &c->kernel, 0, FLAT_BASE, c->kernel.size);
}

/* ---- the choice --------------------------------------------------------------------------------- */

static int load_auto(struct boot_context *c, struct boot_state *out)
{
	if (linux_is(c)) {
		out->kind = HV_BOOT_LINUX;
		return linux_load(c, out);
	}
	if (!elf_is(c))
		return boot_fail(c, -ENOEXEC,
				 "the kernel is neither a bzImage nor an ELF file of x86");
	if (multiboot_is(c)) {
		out->kind = HV_BOOT_MULTIBOOT;
		return multiboot_load(c, out);
	}
	out->kind = HV_BOOT_PVH;
	return pvh_load(c, out);
}

static int load_kind(struct boot_context *c, struct boot_state *out)
{
	out->kind = c->req->kind;
	switch (c->req->kind) {
	case HV_BOOT_AUTO:
		return load_auto(c, out);
	case HV_BOOT_LINUX:
		return linux_load(c, out);
	case HV_BOOT_PVH:
		return pvh_load(c, out);
	case HV_BOOT_MULTIBOOT:
		return multiboot_load(c, out);
	case HV_BOOT_FLAT:
		return flat_load(c, out);
	default:
		return boot_fail(c, -EINVAL, "unknown kind of kernel");
	}
}

int boot_load(const struct boot_request *req, struct boot_state *out, char *error)
{
	struct boot_context *c = calloc(1, sizeof(*c));
	struct boot_state state;
	int err;

	if (!c)
		return -ENOMEM;
	c->req = req;
	c->error = error;
	error[0] = '\0';
	c->initrd.fd = -1;
	c->cmdline = req->cmdline ? req->cmdline : "";
	c->cmdline_len = strlen(c->cmdline);
	err = file_open(c, &c->kernel, req->kernel_fd, "kernel");
	if (!err && req->initrd_fd >= 0)
		err = file_open(c, &c->initrd, req->initrd_fd, "initrd");
	if (!err)
		err = boot_file_read(c, &c->kernel, 0, c->head,
				     c->kernel.size < sizeof(c->head) ? c->kernel.size :
									sizeof(c->head));
	if (!err)
		err = load_kind(c, &state);
	if (!err)
		*out = state;
	free(c);
	return err;
}
