/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A builder of ACPI machine language. ACPI specification 6.4, chapter 20 "ACPI
 * Machine Language (AML) Specification", and 6.4 "Resource Data Types".
 *
 * It appends to a buffer of fixed size; running out of room or of nesting sets
 * `failed` and writes nothing more, which the caller looks at once, at the end.
 *
 *	aml_device(&b, "COM1");
 *	aml_name_eisaid(&b, "_HID", "PNP0501");
 *	aml_end(&b);
 */
#ifndef HV_DEV_AML_H
#define HV_DEV_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AML_DEPTH_MAX 8

struct aml {
	uint8_t *buf;
	size_t size, len;
	size_t open[AML_DEPTH_MAX]; /* places of the lengths that are still to be filled in */
	unsigned int depth;
	bool failed;
};

void aml_bytes(struct aml *b, const void *data, size_t len);
void aml_byte(struct aml *b, uint8_t value);
void aml_integer(struct aml *b, uint64_t value);
void aml_string(struct aml *b, const char *s);

/* Scopes: each is closed by aml_end(). A path is of four-letter segments, with \ or . as in ASL. */
void aml_scope(struct aml *b, const char *path);
void aml_device(struct aml *b, const char *name);
void aml_method(struct aml *b, const char *name, unsigned int args);
void aml_package(struct aml *b, uint8_t elements);
void aml_end(struct aml *b);

/* Name (name, ...) */
void aml_name(struct aml *b, const char *name);
void aml_name_integer(struct aml *b, const char *name, uint64_t value);
void aml_name_string(struct aml *b, const char *name, const char *value);
void aml_name_eisaid(struct aml *b, const char *name, const char *id); /* "PNP0501" */
void aml_return_arg(struct aml *b, unsigned int arg);

/* Name (name, ResourceTemplate () { ... }), closed by aml_resources_end(). */
void aml_resources(struct aml *b, const char *name);
void aml_resources_end(struct aml *b);
void aml_res_io(struct aml *b, uint16_t port, uint8_t len);
void aml_res_irq(struct aml *b, unsigned int irq);
void aml_res_memory32(struct aml *b, uint32_t base, uint32_t len);
void aml_res_bus_range(struct aml *b, uint16_t first, uint16_t last);
void aml_res_io_range(struct aml *b, uint16_t first, uint16_t last);
void aml_res_memory_range(struct aml *b, uint32_t first, uint32_t last);

#endif
