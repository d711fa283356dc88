/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The loaders: what they put where, and what they say of broken kernels. The
 * images are made here, field by field, then broken field by field.
 */
#include <elf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "hv/boot/boot.h"
#include "tests/lib/pc_fixture.h"

static struct pc pc;
static char error[BOOT_ERROR_SIZE];

static int setup(void **state)
{
	pc_start(&pc, 1);
	return 0;
}

static int teardown(void **state)
{
	pc_stop(&pc);
	return 0;
}

static int file_of(const void *data, size_t len)
{
	int fd = memfd_create("image", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, data, len, 0), (ssize_t)len);
	return fd;
}

static int load(const void *kernel, size_t len, const void *initrd, size_t initrd_len,
		enum hv_boot_kind kind, struct boot_state *out)
{
	struct boot_request req = { .vm = pc.vm, .ram_low = PC_RAM, .rsdp = 0xe0000, .kind = kind,
				    .cmdline = "console=ttyS0 test", .initrd_fd = -1 };
	int err;

	req.kernel_fd = file_of(kernel, len);
	if (initrd)
		req.initrd_fd = file_of(initrd, initrd_len);
	error[0] = '\0';
	err = boot_load(&req, out, error);
	close(req.kernel_fd);
	if (req.initrd_fd >= 0)
		close(req.initrd_fd);
	/* A failure says something. */
	assert_true(!err == !error[0]);
	return err;
}

static uint64_t ram(uint64_t gpa, unsigned int len)
{
	uint64_t v = 0;

	memcpy(&v, (uint8_t *)pc.ram + gpa, len);
	return v;
}

/* ---- bzImage ------------------------------------------------------------------------- */

#define BZ_SIZE 0x3000

static void put(uint8_t *p, unsigned int offset, uint64_t v, unsigned int len)
{
	memcpy(p + offset, &v, len);
}

static void make_bzimage(uint8_t *bz, bool is64)
{
	unsigned int i;

	memset(bz, 0, BZ_SIZE);
	bz[0x1f1] = 3; /* setup sectors, so the payload begins at 0x800 */
	put(bz, 0x1fe, 0xaa55, 2);
	bz[0x200] = 0xeb;
	bz[0x201] = 0x66;
	memcpy(bz + 0x202, "HdrS", 4);
	put(bz, 0x206, 0x20f, 2);
	bz[0x211] = 1;
	put(bz, 0x22c, 0x7fffffff, 4);
	put(bz, 0x230, 0x200000, 4);
	bz[0x234] = 1;
	put(bz, 0x236, is64 ? 1 : 0, 2);
	put(bz, 0x238, 2047, 4);
	put(bz, 0x258, 0x400000, 8);
	put(bz, 0x260, 0x100000, 4);
	for (i = 0x800; i < BZ_SIZE; i++)
		bz[i] = (uint8_t)(i * 7);
}

static void test_linux64(void **state)
{
	static uint8_t bz[BZ_SIZE], initrd[5000];
	struct boot_state s;
	uint64_t gpa;

	make_bzimage(bz, true);
	memset(initrd, 0x5a, sizeof(initrd));
	assert_int_equal(load(bz, BZ_SIZE, initrd, sizeof(initrd), HV_BOOT_AUTO, &s), 0);
	assert_int_equal(s.kind, HV_BOOT_LINUX);
	assert_int_equal(s.regs.rip, 0x400200);
	assert_int_equal(s.regs.rsi, 0x7000);
	assert_int_equal(s.sregs.efer, 0x500);
	assert_int_equal(s.sregs.cs.l, 1);
	assert_int_equal(s.sregs.cs.selector, 0x10);
	assert_memory_equal((uint8_t *)pc.ram + 0x400000, bz + 0x800, BZ_SIZE - 0x800);
	/* The zero page. */
	assert_int_equal(ram(0x7000 + 0x202, 4), 0x53726448);
	assert_int_equal(ram(0x7000 + 0x210, 1), 0xff);
	assert_int_equal(ram(0x7000 + 0x070, 8), 0xe0000);
	assert_int_equal(ram(0x7000 + 0x228, 4), 0x20000);
	assert_string_equal((char *)pc.ram + 0x20000, "console=ttyS0 test");
	gpa = ram(0x7000 + 0x218, 4);
	assert_int_equal(gpa, PC_RAM - 0x2000); /* as high as it goes */
	assert_int_equal(ram(0x7000 + 0x21c, 4), sizeof(initrd));
	assert_memory_equal((uint8_t *)pc.ram + gpa, initrd, sizeof(initrd));
	/* e820: low RAM first, and RAM up to the end. */
	assert_int_equal(ram(0x7000 + 0x1e8, 1), 5);
	assert_int_equal(ram(0x7000 + 0x2d0 + 8, 8), 0x9fc00);
	assert_int_equal(ram(0x7000 + 0x2d0 + 3 * 20 + 8, 8), PC_RAM - 0x100000);
	/* Page tables: 4 GiB one to one. */
	assert_int_equal(s.sregs.cr3, 0x9000);
	assert_int_equal(ram(0x9000, 8), 0xa003);
	assert_int_equal(ram(0xa000 + 24, 8), 0xe003);
	assert_int_equal(ram(0xe000 + 511 * 8, 8), 0xffe00083);
}

static void test_linux32(void **state)
{
	static uint8_t bz[BZ_SIZE];
	struct boot_state s;

	make_bzimage(bz, false);
	assert_int_equal(load(bz, BZ_SIZE, NULL, 0, HV_BOOT_LINUX, &s), 0);
	assert_int_equal(s.regs.rip, 0x400000);
	assert_int_equal(s.sregs.cr0, 0x11);
	assert_int_equal(s.sregs.efer, 0);
	assert_int_equal(s.sregs.cs.db, 1);
	assert_int_equal(s.regs.rsi, 0x7000);
	assert_int_equal(ram(0x7000 + 0x218, 8), 0);
	assert_int_equal(ram(0x7000 + 0x214, 4), 0x400000);
}

static void test_linux_broken(void **state)
{
	static uint8_t bz[BZ_SIZE], big[1 << 20];
	struct boot_state s = { .regs = { .rip = 1234 } };

#define BREAK(stmt, err)                                                                           \
	do {                                                                                       \
		make_bzimage(bz, true);                                                            \
		stmt;                                                                              \
		assert_int_equal(load(bz, BZ_SIZE, NULL, 0, HV_BOOT_LINUX, &s), err);              \
	} while (0)

	BREAK(bz[0x202] = 'X', -ENOEXEC);
	BREAK(put(bz, 0x1fe, 0, 2), -ENOEXEC);
	BREAK(put(bz, 0x206, 0x209, 2), -ENOEXEC);
	BREAK(bz[0x211] = 0, -ENOEXEC);
	BREAK(bz[0x1f1] = 0xff, -ENOEXEC);	     /* setup longer than the file */
	BREAK(put(bz, 0x260, 0xffffffff, 4), -E2BIG); /* wants more RAM than there is */
	BREAK(put(bz, 0x238, 4, 4), -E2BIG);	     /* takes no such command line */
	/* A preferred address outside of RAM: moved if it can be, else refused. */
	BREAK(put(bz, 0x258, ~0ULL, 8), 0);
	assert_int_equal(s.regs.rip, 0x200200);
	s.regs.rip = 1234;
	BREAK(put(bz, 0x258, ~0ULL - 100, 8); bz[0x234] = 0, -E2BIG);
	BREAK(put(bz, 0x258, ~0ULL, 8); put(bz, 0x230, 0x180000, 4), -E2BIG);
	/* An initrd that the kernel cannot reach, or that does not fit. */
	make_bzimage(bz, true);
	put(bz, 0x22c, 0x4fffff, 4);
	assert_int_equal(load(bz, BZ_SIZE, big, sizeof(big), HV_BOOT_LINUX, &s), -E2BIG);
	put(bz, 0x22c, 100, 4);
	assert_int_equal(load(bz, BZ_SIZE, big, sizeof(big), HV_BOOT_LINUX, &s), -E2BIG);
	/* Nothing was written to the output. */
	assert_int_equal(s.regs.rip, 1234);
	/* Cut anywhere in its setup it is no kernel, and nothing crashes. */
	assert_int_equal(load(bz, 0x300, NULL, 0, HV_BOOT_LINUX, &s), -ENOEXEC);
	assert_int_equal(load(bz, 0, NULL, 0, HV_BOOT_AUTO, &s), -ENOEXEC);
}

/* ---- ELF ---------------------------------------------------------------------------------- */

struct elf64 {
	Elf64_Ehdr e;
	Elf64_Phdr p[2];
	uint32_t note[6];
	uint8_t code[64];
};

static void make_elf64(struct elf64 *f)
{
	static const uint32_t note[6] = { 4, 4, 18, 0x006e6558, 0x200010, 0 };

	memset(f, 0, sizeof(*f));
	memcpy(f->e.e_ident, ELFMAG, SELFMAG);
	f->e.e_ident[EI_CLASS] = ELFCLASS64;
	f->e.e_ident[EI_DATA] = ELFDATA2LSB;
	f->e.e_machine = EM_X86_64;
	f->e.e_entry = 0x200020;
	f->e.e_phoff = offsetof(struct elf64, p);
	f->e.e_phentsize = sizeof(Elf64_Phdr);
	f->e.e_phnum = 2;
	f->p[0] = (Elf64_Phdr){ .p_type = PT_LOAD, .p_offset = offsetof(struct elf64, code),
				.p_paddr = 0x200000, .p_vaddr = 0xffffffff80000000,
				.p_filesz = 64, .p_memsz = 0x2000 };
	f->p[1] = (Elf64_Phdr){ .p_type = PT_NOTE, .p_offset = offsetof(struct elf64, note),
				.p_filesz = 20 };
	memcpy(f->note, note, sizeof(note));
	memset(f->code, 0x90, sizeof(f->code));
}

static void test_pvh(void **state)
{
	struct boot_state s;
	struct elf64 f;
	uint64_t info;

	make_elf64(&f);
	memset((uint8_t *)pc.ram + 0x200000, 0xee, 0x2000);
	assert_int_equal(load(&f, sizeof(f), "ramdisk", 7, HV_BOOT_AUTO, &s), 0);
	assert_int_equal(s.kind, HV_BOOT_PVH);
	assert_int_equal(s.regs.rip, 0x200010);
	assert_int_equal(s.sregs.cr0, 0x11);
	assert_int_equal(ram(0x200000, 8), 0x9090909090909090);
	assert_int_equal(ram(0x200040, 8), 0); /* what is not in the file is zeroed */
	assert_int_equal(ram(0x201ff8, 8), 0);
	info = s.regs.rbx;
	assert_int_equal(ram(info, 4), 0x336ec578);
	assert_int_equal(ram(info + 12, 4), 1);
	assert_string_equal((char *)pc.ram + ram(info + 24, 8), "console=ttyS0 test");
	assert_int_equal(ram(info + 32, 8), 0xe0000);
	assert_int_equal(ram(info + 48, 4), 5);
	assert_int_equal(ram(ram(info + 16, 8) + 8, 8), 7);
	assert_memory_equal((uint8_t *)pc.ram + ram(ram(info + 16, 8), 8), "ramdisk", 7);
}

static void test_elf_broken(void **state)
{
	struct boot_state s;
	struct elf64 f;

#define BREAK_ELF(stmt, err)                                                                       \
	do {                                                                                       \
		make_elf64(&f);                                                                    \
		stmt;                                                                              \
		assert_int_equal(load(&f, sizeof(f), NULL, 0, HV_BOOT_PVH, &s), err);              \
	} while (0)

	BREAK_ELF(f.e.e_machine = EM_ARM, -ENOEXEC);
	BREAK_ELF(f.e.e_ident[EI_DATA] = ELFDATA2MSB, -ENOEXEC);
	BREAK_ELF(f.e.e_phentsize = 1, -ENOEXEC);
	BREAK_ELF(f.e.e_phnum = 0, -ENOEXEC);
	BREAK_ELF(f.e.e_phnum = 65535, -ENOEXEC);
	BREAK_ELF(f.e.e_phoff = ~0ULL - 20, -ENOEXEC);
	BREAK_ELF(f.e.e_phoff = 1 << 20, -ENOEXEC);
	BREAK_ELF(f.p[0].p_offset = ~0ULL, -ENOEXEC);
	BREAK_ELF(f.p[0].p_filesz = 0x2001, -ENOEXEC);
	BREAK_ELF(f.p[0].p_memsz = ~0ULL, -E2BIG);
	BREAK_ELF(f.p[0].p_paddr = ~0ULL - 0x1000, -E2BIG);
	BREAK_ELF(f.p[0].p_paddr = 0xa0000, -E2BIG);
	BREAK_ELF(f.p[0].p_paddr = PC_RAM - 0x1000, -E2BIG);
	BREAK_ELF(f.p[0].p_type = PT_NULL, -ENOEXEC);
	BREAK_ELF(f.p[1].p_offset = 1 << 30, -ENOEXEC);
	BREAK_ELF(f.p[1].p_type = PT_NULL, -ENOEXEC);	   /* no note */
	BREAK_ELF(f.note[0] = 0xffffffff, -ENOEXEC);	   /* names and sizes that lead astray */
	BREAK_ELF(f.note[1] = 0xfffffffd, -ENOEXEC);
	BREAK_ELF(f.note[4] = 0x300000, -ENOEXEC);	   /* entry outside of the kernel */
	/* A range that wraps when it is summed up in 64 bits. */
	BREAK_ELF(f.p[0].p_paddr = 0x200000; f.p[0].p_memsz = ~0ULL - 0x1fffff, -E2BIG);
}

static void test_flat(void **state)
{
	static uint8_t code[1000] = { 0xf4 };
	static uint8_t big[0xa0000];
	struct boot_state s;
	struct elf64 f;

	assert_int_equal(load(code, sizeof(code), NULL, 0, HV_BOOT_FLAT, &s), 0);
	assert_int_equal(s.regs.rip, 0x7c00);
	assert_int_equal(s.sregs.cs.base, 0);
	assert_int_equal(s.sregs.cr0 & 1, 0);
	assert_int_equal(ram(0x7c00, 1), 0xf4);
	assert_int_equal(load(big, sizeof(big), NULL, 0, HV_BOOT_FLAT, &s), -E2BIG);
	make_elf64(&f);
	assert_int_equal(load(&f, sizeof(f), NULL, 0, HV_BOOT_FLAT, &s), 0);
	assert_int_equal(s.regs.rip, 0x200020);
	assert_int_equal(s.sregs.efer, 0x500);
	assert_int_equal(load(code, sizeof(code), NULL, 0, HV_BOOT_AUTO, &s), -ENOEXEC);
}

/* ---- multiboot ------------------------------------------------------------------------------- */

struct elf32 {
	Elf32_Ehdr e;
	Elf32_Phdr p;
	uint32_t mb[3];
	uint8_t code[64];
};

static void make_elf32(struct elf32 *f)
{
	memset(f, 0, sizeof(*f));
	memcpy(f->e.e_ident, ELFMAG, SELFMAG);
	f->e.e_ident[EI_CLASS] = ELFCLASS32;
	f->e.e_ident[EI_DATA] = ELFDATA2LSB;
	f->e.e_machine = EM_386;
	f->e.e_entry = 0x400010;
	f->e.e_phoff = offsetof(struct elf32, p);
	f->e.e_phentsize = sizeof(Elf32_Phdr);
	f->e.e_phnum = 1;
	f->p = (Elf32_Phdr){ .p_type = PT_LOAD, .p_offset = 0, .p_paddr = 0x400000,
			     .p_filesz = sizeof(*f), .p_memsz = 0x3456 };
	f->mb[0] = 0x1badb002;
	f->mb[2] = -0x1badb002U;
}

static void test_multiboot(void **state)
{
	struct boot_state s;
	struct elf32 f;
	uint64_t info, mmap, end;
	bool found = false;

	make_elf32(&f);
	assert_int_equal(load(&f, sizeof(f), "A=1\nB=2\n", 8, HV_BOOT_AUTO, &s), 0);
	assert_int_equal(s.kind, HV_BOOT_MULTIBOOT);
	assert_int_equal(s.regs.rip, 0x400010);
	assert_int_equal(s.regs.rax, 0x2badb002);
	assert_int_equal(s.sregs.cr0, 0x11);
	info = s.regs.rbx;
	assert_int_equal(info, 0x404000); /* after the kernel's end */
	assert_int_equal(ram(info, 4) & 0x4d, 0x4d);
	assert_int_equal(ram(info + 4, 4), 640);
	assert_int_equal(ram(info + 8, 4), (PC_RAM >> 10) - 1024);
	assert_string_equal((char *)pc.ram + ram(info + 16, 4), "console=ttyS0 test");
	assert_int_equal(ram(info + 20, 4), 1);
	assert_int_equal(ram(ram(info + 24, 4) + 4, 4) - ram(ram(info + 24, 4), 4), 8);
	assert_memory_equal((char *)pc.ram + ram(ram(info + 24, 4), 4), "A=1\nB=2\n", 8);
	end = ram(info + 48, 4) + ram(info + 44, 4);
	for (mmap = ram(info + 48, 4); mmap < end; mmap += ram(mmap, 4) + 4) {
		if (ram(mmap + 4, 8) == 0x100000) {
			found = true;
			assert_int_equal(ram(mmap + 12, 8), PC_RAM - 0x100000);
			assert_int_equal(ram(mmap + 20, 4), 1);
		}
	}
	assert_true(found);
	/* Without an initrd there is no module. */
	assert_int_equal(load(&f, sizeof(f), NULL, 0, HV_BOOT_MULTIBOOT, &s), 0);
	assert_int_equal(ram(s.regs.rbx + 20, 4), 0);
}

static void test_multiboot_broken(void **state)
{
	static uint8_t big[13 << 20];
	struct boot_state s;
	struct elf32 f;

	make_elf32(&f);
	f.mb[2]++; /* a wrong checksum is no header */
	assert_int_equal(load(&f, sizeof(f), NULL, 0, HV_BOOT_MULTIBOOT, &s), -ENOEXEC);
	make_elf32(&f);
	f.mb[1] = 4; /* video mode: cannot be had */
	f.mb[2] -= 4;
	assert_int_equal(load(&f, sizeof(f), NULL, 0, HV_BOOT_MULTIBOOT, &s), -ENOEXEC);
	make_elf32(&f);
	f.p.p_paddr = 0xfffff000;
	assert_int_equal(load(&f, sizeof(f), NULL, 0, HV_BOOT_MULTIBOOT, &s), -E2BIG);
	make_elf32(&f);
	assert_int_equal(load(&f, sizeof(f), big, sizeof(big), HV_BOOT_MULTIBOOT, &s), -E2BIG);
}

static void test_files(void **state)
{
	struct boot_request req = { .vm = pc.vm, .ram_low = PC_RAM, .kernel_fd = -1,
				    .initrd_fd = -1 };
	struct boot_state s;
	int fds[2];

	assert_int_equal(boot_load(&req, &s, error), -EIO);
	assert_int_equal(pipe(fds), 0);
	req.kernel_fd = fds[0];
	assert_int_equal(boot_load(&req, &s, error), -EIO);
	assert_non_null(strstr(error, "regular"));
	close(fds[0]);
	close(fds[1]);
}

/* Random bytes over a good image: any answer is fine but a crash or silence. */
static void test_noise(void **state)
{
	static uint8_t bz[BZ_SIZE];
	struct boot_state s;
	struct elf64 f;
	struct elf32 g;
	unsigned int i, j;

	srand(4);
	for (i = 0; i < 300; i++) {
		make_bzimage(bz, true);
		make_elf64(&f);
		make_elf32(&g);
		for (j = 0; j < 4; j++) {
			bz[0x1f1 + rand() % 0x80] = (uint8_t)rand();
			((uint8_t *)&f)[rand() % (int)sizeof(f)] = (uint8_t)rand();
			((uint8_t *)&g)[rand() % (int)sizeof(g)] = (uint8_t)rand();
		}
		load(bz, BZ_SIZE, "x", 1, HV_BOOT_AUTO, &s);
		load(&f, sizeof(f), "x", 1, HV_BOOT_AUTO, &s);
		load(&g, sizeof(g), "x", 1, HV_BOOT_AUTO, &s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_linux64, setup, teardown),
		cmocka_unit_test_setup_teardown(test_linux32, setup, teardown),
		cmocka_unit_test_setup_teardown(test_linux_broken, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pvh, setup, teardown),
		cmocka_unit_test_setup_teardown(test_elf_broken, setup, teardown),
		cmocka_unit_test_setup_teardown(test_flat, setup, teardown),
		cmocka_unit_test_setup_teardown(test_multiboot, setup, teardown),
		cmocka_unit_test_setup_teardown(test_multiboot_broken, setup, teardown),
		cmocka_unit_test_setup_teardown(test_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_noise, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
