/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Encoding of ACPI machine language. Package lengths always take three bytes,
 * so that they can be filled in when the package ends.
 */
#include "hv/dev/aml.h"

#include <string.h>

#define PKG_LENGTH_BYTES 3
#define PKG_LENGTH_MAX	 ((1U << 20) - 1)

#define OP_NAME	       0x08
#define OP_BYTE	       0x0a
#define OP_WORD	       0x0b
#define OP_DWORD       0x0c
#define OP_STRING      0x0d
#define OP_QWORD       0x0e
#define OP_SCOPE       0x10
#define OP_BUFFER      0x11
#define OP_PACKAGE     0x12
#define OP_METHOD      0x14
#define OP_DUAL_NAME   0x2e
#define OP_EXT	       0x5b
#define OP_EXT_DEVICE  0x82
#define OP_ARG0	       0x68
#define OP_RETURN      0xa4

void aml_bytes(struct aml *b, const void *data, size_t len)
{
	if (b->failed || len > b->size - b->len) {
		b->failed = true;
		return;
	}
	memcpy(b->buf + b->len, data, len);
	b->len += len;
}

void aml_byte(struct aml *b, uint8_t value)
{
	aml_bytes(b, &value, 1);
}

void aml_integer(struct aml *b, uint64_t value)
{
	if (value <= 1) {
		aml_byte(b, (uint8_t)value);
	} else if (value <= 0xff) {
		aml_byte(b, OP_BYTE);
		aml_bytes(b, &value, 1);
	} else if (value <= 0xffff) {
		aml_byte(b, OP_WORD);
		aml_bytes(b, &value, 2);
	} else if (value <= 0xffffffff) {
		aml_byte(b, OP_DWORD);
		aml_bytes(b, &value, 4);
	} else {
		aml_byte(b, OP_QWORD);
		aml_bytes(b, &value, 8);
	}
}

void aml_string(struct aml *b, const char *s)
{
	aml_byte(b, OP_STRING);
	aml_bytes(b, s, strlen(s) + 1);
}

/* ---- packages of a length to be known later ------------------------------------------ */

static void aml_begin(struct aml *b)
{
	static const uint8_t room[PKG_LENGTH_BYTES];

	if (b->depth == AML_DEPTH_MAX) {
		b->failed = true;
		return;
	}
	b->open[b->depth++] = b->len;
	aml_bytes(b, room, sizeof(room));
}

void aml_end(struct aml *b)
{
	uint8_t *p;
	size_t len;

	if (b->failed || b->depth == 0) {
		b->failed = true;
		return;
	}
	p = b->buf + b->open[--b->depth];
	len = b->len - b->open[b->depth];
	if (len > PKG_LENGTH_MAX) {
		b->failed = true;
		return;
	}
	p[0] = (uint8_t)((PKG_LENGTH_BYTES - 1) << 6 | (len & 15));
	p[1] = (uint8_t)(len >> 4);
	p[2] = (uint8_t)(len >> 12);
}

/* One or two segments, with or without the root before them. */
static void aml_path(struct aml *b, const char *path)
{
	if (*path == '\\') {
		aml_byte(b, '\\');
		path++;
	}
	if (strlen(path) == 4) {
		aml_bytes(b, path, 4);
	} else if (strlen(path) == 9 && path[4] == '.') {
		aml_byte(b, OP_DUAL_NAME);
		aml_bytes(b, path, 4);
		aml_bytes(b, path + 5, 4);
	} else {
		b->failed = true;
	}
}

void aml_scope(struct aml *b, const char *path)
{
	aml_byte(b, OP_SCOPE);
	aml_begin(b);
	aml_path(b, path);
}

void aml_device(struct aml *b, const char *name)
{
	aml_byte(b, OP_EXT);
	aml_byte(b, OP_EXT_DEVICE);
	aml_begin(b);
	aml_path(b, name);
}

void aml_method(struct aml *b, const char *name, unsigned int args)
{
	aml_byte(b, OP_METHOD);
	aml_begin(b);
	aml_path(b, name);
	aml_byte(b, args & 7);
}

void aml_package(struct aml *b, uint8_t elements)
{
	aml_byte(b, OP_PACKAGE);
	aml_begin(b);
	aml_byte(b, elements);
}

void aml_return_arg(struct aml *b, unsigned int arg)
{
	aml_byte(b, OP_RETURN);
	aml_byte(b, (uint8_t)(OP_ARG0 + arg));
}

/* ---- names ------------------------------------------------------------------------------ */

void aml_name(struct aml *b, const char *name)
{
	aml_byte(b, OP_NAME);
	aml_path(b, name);
}

void aml_name_integer(struct aml *b, const char *name, uint64_t value)
{
	aml_name(b, name);
	aml_integer(b, value);
}

void aml_name_string(struct aml *b, const char *name, const char *value)
{
	aml_name(b, name);
	aml_string(b, value);
}

static unsigned int hex_digit(char c)
{
	return c <= '9' ? (unsigned int)(c - '0') : (unsigned int)(c - 'A' + 10);
}

/* Three letters of five bits, four hex digits; the bytes of each half in big-endian order. */
void aml_name_eisaid(struct aml *b, const char *name, const char *id)
{
	unsigned int vendor, product;
	uint8_t bytes[4];

	if (strlen(id) != 7) {
		b->failed = true;
		return;
	}
	vendor = (unsigned int)(id[0] - '@') << 10 | (unsigned int)(id[1] - '@') << 5 |
		 (unsigned int)(id[2] - '@');
	product = hex_digit(id[3]) << 12 | hex_digit(id[4]) << 8 | hex_digit(id[5]) << 4 |
		  hex_digit(id[6]);
	bytes[0] = (uint8_t)(vendor >> 8);
	bytes[1] = (uint8_t)vendor;
	bytes[2] = (uint8_t)(product >> 8);
	bytes[3] = (uint8_t)product;
	aml_name(b, name);
	aml_byte(b, OP_DWORD);
	aml_bytes(b, bytes, 4);
}

/* ---- resources ------------------------------------------------------------------------------ */

/* Buffer (len) { ... }: the length is an operand of its own, always of two bytes here. */
void aml_resources(struct aml *b, const char *name)
{
	static const uint8_t size_room[3] = { OP_WORD };

	aml_name(b, name);
	aml_byte(b, OP_BUFFER);
	aml_begin(b);
	aml_bytes(b, size_room, sizeof(size_room));
}

void aml_resources_end(struct aml *b)
{
	static const uint8_t end_tag[2] = { 0x79, 0 }; /* checksum 0: not checked */
	size_t start, len;

	aml_bytes(b, end_tag, sizeof(end_tag));
	if (b->failed || b->depth == 0) {
		b->failed = true;
		return;
	}
	start = b->open[b->depth - 1] + PKG_LENGTH_BYTES;
	len = b->len - start - 3;
	b->buf[start + 1] = (uint8_t)len;
	b->buf[start + 2] = (uint8_t)(len >> 8);
	aml_end(b);
}

void aml_res_io(struct aml *b, uint16_t port, uint8_t len)
{
	const uint8_t r[8] = { 0x47, 1, (uint8_t)port, (uint8_t)(port >> 8), (uint8_t)port,
			       (uint8_t)(port >> 8), 1, len };

	aml_bytes(b, r, sizeof(r));
}

void aml_res_irq(struct aml *b, unsigned int irq)
{
	const uint8_t r[3] = { 0x22, (uint8_t)(1U << irq), (uint8_t)(1U << irq >> 8) };

	aml_bytes(b, r, sizeof(r));
}

static void put32(uint8_t *p, uint32_t v)
{
	memcpy(p, &v, 4);
}

void aml_res_memory32(struct aml *b, uint32_t base, uint32_t len)
{
	uint8_t r[12] = { 0x86, 9, 0, 1 };

	put32(r + 4, base);
	put32(r + 8, len);
	aml_bytes(b, r, sizeof(r));
}

/* Word address space descriptor; type 1 I/O, 2 bus numbers. Fixed, positively decoded. */
static void aml_res_word(struct aml *b, uint8_t type, uint8_t flags, uint16_t first, uint16_t last)
{
	uint32_t len = (uint32_t)last - first + 1;
	uint8_t r[16] = { 0x88, 13, 0, type, 0x0c, flags, 0, 0, (uint8_t)first,
			  (uint8_t)(first >> 8), (uint8_t)last, (uint8_t)(last >> 8), 0, 0,
			  (uint8_t)len, (uint8_t)(len >> 8) };

	aml_bytes(b, r, sizeof(r));
}

void aml_res_bus_range(struct aml *b, uint16_t first, uint16_t last)
{
	aml_res_word(b, 2, 0, first, last);
}

void aml_res_io_range(struct aml *b, uint16_t first, uint16_t last)
{
	aml_res_word(b, 1, 3, first, last); /* both ISA and other ports */
}

void aml_res_memory_range(struct aml *b, uint32_t first, uint32_t last)
{
	uint8_t r[26] = { 0x87, 23, 0, 0, 0x0c, 1 }; /* read-write, not cacheable */

	put32(r + 10, first);
	put32(r + 14, last);
	put32(r + 22, last - first + 1);
	aml_bytes(b, r, sizeof(r));
}
