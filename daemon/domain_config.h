/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A domain's definition: its shape, its checks, its decoded form.
 */
#ifndef DAEMON_DOMAIN_CONFIG_H
#define DAEMON_DOMAIN_CONFIG_H

#include <stdbool.h>

#include "api/schema.h"

enum domain_action { ACTION_DESTROY, ACTION_RESTART, ACTION_PRESERVE };

/* Strings borrow from the JSON text. */
struct domain_config {
	const char *name;
	const char *uuid;		/* NULL: not given */
	int64_t vcpus;
	uint64_t memory;
	int memory_backing;		/* index of domain_backing_names */
	struct {
		const char *processor, *vendor, *paging;
		bool apicv;
	} engine;
	struct {
		const char *model;	/* NULL: the engine's default */
	} cpu;
	struct {
		int kind;		/* index of domain_boot_names */
		const char *kernel, *initrd, *cmdline;
	} boot;
	json_t *disks, *nets;		/* NULL or arrays */
	unsigned int test_devices;	/* HV_TEST_* */
	json_t *metadata;
	int on_poweroff, on_reboot, on_crash;	/* enum domain_action */
};

extern const struct schema domain_config_schema;
extern const char *const domain_backing_names[];	/* in the order of enum hv_mem_backing */
extern const char *const domain_boot_names[];		/* in the order of enum hv_boot_kind */

/*
 * Decode and check @json against the schema, the engine's lists and limits. @base is
 * the pointer of @json in the request. 0, or -EINVAL with @err (config.invalid).
 */
int domain_config_decode(json_t *json, const char *base, struct domain_config *out,
			 struct api_error *err);
/*
 * Whether this engine can run it: what a definition may say beyond that is kept but
 * not started. 0, or -EOPNOTSUPP with @err (unsupported_by_backend).
 */
int domain_config_runnable(const struct domain_config *config, struct api_error *err);

#endif
