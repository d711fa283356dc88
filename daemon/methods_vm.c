/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * domain.*: what a worker does, forwarded by the supervisor. Handlers run in the
 * worker; worker_vm.c has those that change the machine's state.
 */
#include "daemon/methods.h"

#include "daemon/guest.h"
#include "daemon/vm_figures.h"
#include "hv/hv.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>

struct name_args {
	const char *domain;
};
static const struct schema_field name_fields[] = { FIELD_DOMAIN(struct name_args), { 0 } };
static const struct schema name_params = { .kind = SCHEMA_OBJECT, .fields = name_fields };

static const struct schema_field console_result_fields[] = {
	SCHEMA_RESULT("history", &schema_count, SCHEMA_REQUIRED,
		      "Bytes of earlier output that the descriptor brings first."),
	{ 0 }
};
static const struct schema console_result = { .kind = SCHEMA_OBJECT,
					      .fields = console_result_fields };

static void method_console(struct api_call *call, const void *args)
{
	struct guest *g = guest_of(call);
	uint64_t total = console_bytes(g->console);
	int fd;

	(void)args;
	if (!g->started) {
		guest_fail_state(call, "it has no machine");
		return;
	}
	fd = console_attach(g->console);
	if (fd < 0)
		api_fail_text(call, API_E_RESOURCE_EXHAUSTED, "no more consoles: %s", strerror(-fd));
	else
		api_reply_fds(call,
			      json_pack("{s:I}", "history",
					(json_int_t)(total < 65536 ? total : 65536)),
			      &fd, 1);
}

/* ---- stats ---------------------------------------------------------------------------- */

static const struct schema_field stats_fields[] = {
	SCHEMA_RESULT("cpu_time_ns", &schema_count, SCHEMA_REQUIRED, "Of the worker's process."),
	SCHEMA_RESULT("first_instruction_ns", &schema_count, SCHEMA_REQUIRED,
		      "When the guest ran its first instruction, on the host's monotonic clock; "
		      "0: not yet."),
	SCHEMA_RESULT("console_bytes", &schema_count, SCHEMA_REQUIRED, "Written by the guest."),
	SCHEMA_RESULT("max_rss_bytes", &schema_count, SCHEMA_REQUIRED,
		      "The worker's largest resident size, guest memory included."),
	SCHEMA_RESULT("vcpus", &vcpu_list_schema, SCHEMA_REQUIRED, "Per vCPU."),
	SCHEMA_RESULT("mmu", &mmu_figures_schema, SCHEMA_REQUIRED, "As mmu.stats."),
	{ 0 }
};
static const struct schema stats_result = { .kind = SCHEMA_OBJECT, .fields = stats_fields };

static void stats_run(struct engine_call *op)
{
	struct hv_mmu_figures mmu;
	struct rusage usage;
	uint64_t cpu_ns;
	int ret;

	getrusage(RUSAGE_SELF, &usage);
	cpu_ns = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * UINT64_C(1000000000) +
		 (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * UINT64_C(1000);
	ret = hv_mmu_stats(hv_machine_vm(op->machine), &mmu);
	if (ret) {
		engine_fail_errno(op, ret, "cannot read the MMU's figures");
		return;
	}
	op->result = json_pack("{s:I,s:I,s:I,s:I,s:o,s:o}", "cpu_time_ns", (json_int_t)cpu_ns,
			       "first_instruction_ns",
			       (json_int_t)hv_machine_first_instruction_ns(op->machine),
			       "console_bytes", (json_int_t)console_bytes(op->guest->console),
			       "max_rss_bytes", (json_int_t)usage.ru_maxrss * 1024, "vcpus",
			       vcpu_list_json(op->machine, op->guest->figures), "mmu",
			       mmu_figures_json(&mmu, op->guest->figures));
}

static void method_stats(struct api_call *call, const void *args)
{
	engine_call_submit(call, args, stats_run, NULL);
}

#define VM_ERRORS \
	API_ERRORS(API_E_DOMAIN_NOT_FOUND, API_E_DOMAIN_WRONG_STATE, API_E_PEER_LOST, \
		   API_E_UNSUPPORTED)
#define VM_ROW(name_, summary_, handler_) \
	{ \
		.name = name_, .summary = summary_, .params = &name_params, \
		.args_size = sizeof(struct name_args), .privilege = API_RW, \
		.flags = API_FORWARD, .handler = handler_, .errors = VM_ERRORS, \
	}

const struct api_method methods_vm[] = {
	VM_ROW("domain.suspend", "Stop all vCPUs.", vm_suspend),
	VM_ROW("domain.resume", "Let the vCPUs of a paused domain go on.", vm_resume),
	VM_ROW("domain.reset", "Press the reset button: the guest boots again at once.", vm_reset),
	VM_ROW("domain.nmi", "Send a non-maskable interrupt to every vCPU.", vm_nmi),
	VM_ROW("domain.shutdown", "Press the power button; the guest decides what follows.",
	       vm_shutdown),
	VM_ROW("domain.reboot", "Press the power button, and boot again when the guest powers off.",
	       vm_reboot),
	{
		.name = "domain.console",
		.summary = "The serial console as a descriptor: the last 64 KiB, then live, both ways.",
		.params = &name_params,
		.result = &console_result,
		.args_size = sizeof(struct name_args),
		.privilege = API_RW,
		.flags = API_FORWARD | API_GIVES_FDS,
		.handler = method_console,
		.errors = VM_ERRORS,
	},
	{
		.name = "domain.stats",
		.summary = "Counters of the worker, its vCPUs and its MMU.",
		.params = &name_params,
		.result = &stats_result,
		.args_size = sizeof(struct name_args),
		.privilege = API_RO,
		.flags = API_FORWARD,
		.handler = method_stats,
		.errors = VM_ERRORS,
	},
	{ 0 },
};
