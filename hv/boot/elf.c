/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ELF executables of x86, 32 and 64 bit: segments to their physical addresses,
 * and Xen's note with the PVH entry point. System V ABI, "Object Files"; Xen's
 * documentation, "x86/HVM direct boot ABI".
 */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hv/boot/boot_internal.h"

#define ELF_PHDRS_MAX	 64
#define ELF_NOTES_MAX	 (64U << 10)
#define XEN_PHYS32_ENTRY 18 /* XEN_ELFNOTE_PHYS32_ENTRY */

bool elf_is(const struct boot_context *c)
{
	const Elf32_Ehdr *e = (const void *)c->head; /* the first fields are those of both */

	if (c->kernel.size < sizeof(*e) || memcmp(e->e_ident, ELFMAG, SELFMAG) ||
	    e->e_ident[EI_DATA] != ELFDATA2LSB)
		return false;
	if (e->e_ident[EI_CLASS] == ELFCLASS64)
		return e->e_machine == EM_X86_64 && c->kernel.size >= sizeof(Elf64_Ehdr);
	return e->e_ident[EI_CLASS] == ELFCLASS32 &&
	       (e->e_machine == EM_386 || e->e_machine == EM_X86_64);
}

/* Headers in the 64-bit form, whichever the file has. */
struct elf_headers {
	uint64_t phoff;
	unsigned int phnum;
	Elf64_Phdr phdr[ELF_PHDRS_MAX];
};

static int read_phdr32(struct boot_context *c, uint64_t offset, Elf64_Phdr *out)
{
	Elf32_Phdr p;
	int err = boot_file_read(c, &c->kernel, offset, &p, sizeof(p));

	if (err)
		return err;
	*out = (Elf64_Phdr){ .p_type = p.p_type, .p_offset = p.p_offset, .p_vaddr = p.p_vaddr,
			     .p_paddr = p.p_paddr, .p_filesz = p.p_filesz, .p_memsz = p.p_memsz,
			     .p_align = p.p_align };
	return 0;
}

static int read_headers(struct boot_context *c, struct elf_image *elf, struct elf_headers *h)
{
	unsigned int i, entsize;
	int err = 0;

	elf->is64 = c->head[EI_CLASS] == ELFCLASS64;
	if (elf->is64) {
		const Elf64_Ehdr *e = (const void *)c->head;

		elf->entry = e->e_entry;
		h->phoff = e->e_phoff;
		h->phnum = e->e_phnum;
		entsize = e->e_phentsize;
	} else {
		const Elf32_Ehdr *e = (const void *)c->head;

		elf->entry = e->e_entry;
		h->phoff = e->e_phoff;
		h->phnum = e->e_phnum;
		entsize = e->e_phentsize;
	}
	if (entsize != (elf->is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)))
		return boot_fail(c, -ENOEXEC, "the ELF program headers have a wrong size");
	if (!h->phnum || h->phnum > ELF_PHDRS_MAX)
		return boot_fail(c, -ENOEXEC, "the ELF file has %u program headers, 1 to %d work",
				 h->phnum, ELF_PHDRS_MAX);
	for (i = 0; i < h->phnum && !err; i++) {
		uint64_t offset = h->phoff + (uint64_t)i * entsize;

		if (offset < h->phoff)
			return boot_fail(c, -ENOEXEC, "the ELF program headers wrap around");
		if (elf->is64)
			err = boot_file_read(c, &c->kernel, offset, &h->phdr[i], entsize);
		else
			err = read_phdr32(c, offset, &h->phdr[i]);
	}
	return err;
}

static int load_segment(struct boot_context *c, struct elf_image *elf, const Elf64_Phdr *p)
{
	int err;

	if (!p->p_memsz)
		return 0;
	if (p->p_filesz > p->p_memsz)
		return boot_fail(c, -ENOEXEC, "an ELF segment is larger in the file than in memory");
	if (!boot_is_ram(c, p->p_paddr, p->p_memsz))
		return boot_fail(c, -E2BIG,
				 "the ELF segment of %llu bytes at %#llx does not fit the memory",
				 (unsigned long long)p->p_memsz, (unsigned long long)p->p_paddr);
	err = boot_file_load(c, &c->kernel, p->p_offset, p->p_paddr, p->p_filesz);
	if (!err)
		err = boot_zero(c, p->p_paddr + p->p_filesz, p->p_memsz - p->p_filesz);
	if (p->p_paddr < elf->low)
		elf->low = p->p_paddr;
	if (p->p_paddr + p->p_memsz > elf->high)
		elf->high = p->p_paddr + p->p_memsz;
	return err;
}

/* Notes: sizes of name and descriptor, type, then both, each padded to 4. */
static void scan_notes(const uint8_t *buf, uint64_t len, struct elf_image *elf)
{
	uint64_t pos = 0;

	while (len - pos >= 12) {
		uint32_t namesz, descsz, type;
		uint64_t name, desc, end;

		memcpy(&namesz, buf + pos, 4);
		memcpy(&descsz, buf + pos + 4, 4);
		memcpy(&type, buf + pos + 8, 4);
		name = pos + 12;
		desc = name + (((uint64_t)namesz + 3) & ~3ULL);
		end = desc + (((uint64_t)descsz + 3) & ~3ULL);
		if (desc + descsz > len)
			return;
		if (type == XEN_PHYS32_ENTRY && namesz == 4 && !memcmp(buf + name, "Xen", 4) &&
		    (descsz == 4 || descsz == 8)) {
			elf->pvh_entry = 0;
			memcpy(&elf->pvh_entry, buf + desc, descsz);
			elf->has_pvh = true;
		}
		if (end > len)
			return;
		pos = end;
	}
}

static int read_notes(struct boot_context *c, const Elf64_Phdr *p, struct elf_image *elf)
{
	uint8_t *buf;
	int err;

	if (p->p_filesz > ELF_NOTES_MAX)
		return 0;
	buf = malloc(p->p_filesz ? p->p_filesz : 1);
	if (!buf)
		return boot_fail(c, -ENOMEM, "out of memory");
	err = boot_file_read(c, &c->kernel, p->p_offset, buf, p->p_filesz);
	if (!err)
		scan_notes(buf, p->p_filesz, elf);
	free(buf);
	return err;
}

int elf_load(struct boot_context *c, struct elf_image *out)
{
	struct elf_headers h;
	unsigned int i;
	int err;

	if (!elf_is(c))
		return boot_fail(c, -ENOEXEC, "the kernel is not an ELF file of x86");
	*out = (struct elf_image){ .low = UINT64_MAX };
	err = read_headers(c, out, &h);
	for (i = 0; i < h.phnum && !err; i++) {
		if (h.phdr[i].p_type == PT_LOAD)
			err = load_segment(c, out, &h.phdr[i]);
		else if (h.phdr[i].p_type == PT_NOTE)
			err = read_notes(c, &h.phdr[i], out);
	}
	if (!err && !out->high)
		return boot_fail(c, -ENOEXEC, "the ELF file has nothing to load");
	return err;
}
