/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * domain.migrate_plan and its other half, domain.migrate_check: what blocks a
 * migration, on either side, and how long it would take.
 */
#include "daemon/migrate.h"

#include "daemon/domain.h"
#include "daemon/domain_config.h"
#include "daemon/hvd.h"
#include "daemon/tasks.h"
#include "daemon/worker_link.h"
#include "hv/hv.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"

#define STREAM_PROTOCOL 1
#define TSC_PPM	     500	/* as doc/migration.md has it */
#define ROUNDS_MAX   30
#define OVERHEAD_MS  2.0	/* of a switch-over besides its pages */
#define SAMPLES	     8

static void blocker(json_t *list, const char *name, const char *field, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
static void blocker(json_t *list, const char *name, const char *field, const char *fmt, ...)
{
	char text[300];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	json_array_append_new(list, json_pack("{s:s,s:s,s:s}", "name", name, "field", field, "message",
					      text));
}

static void blocker_error(json_t *list, const struct api_error *err)
{
	blocker(list, api_error_name(err->id), err->field, "%s", err->message);
}

/* What the guest of model "host" may have seen. */
static void cpu_signature(char *text, size_t size)
{
	unsigned int a, b, c1 = 0, d1 = 0, b7 = 0, c7 = 0, d7 = 0;

	__get_cpuid(1, &a, &b, &c1, &d1);
	__get_cpuid_count(7, 0, &a, &b7, &c7, &d7);
	snprintf(text, size, "%08x-%08x-%08x-%08x-%08x", c1, d1, b7, c7, d7);
}

/* ---- the destination --------------------------------------------------------------------- */

struct check_op {
	struct task task;
	struct api_call *call;
	json_t *blockers;		/* the loop's */
	/* The task thread's, until it is done. */
	char *paths[2];
	int errors[2];
	uint64_t memory, available;
};

static uint64_t memory_available(void)
{
	unsigned long long kib = 0;
	char line[128];
	FILE *f = fopen("/proc/meminfo", "re");

	while (f && fgets(line, sizeof(line), f) && sscanf(line, "MemAvailable: %llu", &kib) != 1)
		;
	if (f)
		fclose(f);
	return kib * 1024;
}

static void check_run(struct task *task)
{
	struct check_op *op = (struct check_op *)task;
	int i, fd;

	for (i = 0; i < 2; i++) {
		if (!op->paths[i])
			continue;
		fd = open(op->paths[i], O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
		op->errors[i] = fd < 0 ? errno : 0;
		if (fd >= 0)
			close(fd);
	}
	op->available = memory_available();
}

static void check_done(struct task *task)
{
	static const char *const fields[] = { "/config/boot/kernel", "/config/boot/initrd" };
	struct check_op *op = (struct check_op *)task;
	int i;

	for (i = 0; i < 2; i++) {
		if (op->errors[i])
			blocker(op->blockers, "file.unavailable", fields[i], "%s: %s", op->paths[i],
				strerror(op->errors[i]));
		free(op->paths[i]);
	}
	if (op->available && op->memory > op->available)
		blocker(op->blockers, "resource.exhausted", "/config/memory",
			"%llu MiB are needed, and %llu MiB are free",
			(unsigned long long)op->memory >> 20, (unsigned long long)op->available >> 20);
	api_reply(op->call, json_pack("{s:o,s:s,s:i}", "blockers", op->blockers, "version",
				      PACKAGE_VERSION, "protocol", STREAM_PROTOCOL));
	free(op);
}

/* What needs no file; the paths to look at go to @op. */
static void check_config(struct hvd *hvd, const struct migrate_check_args *args,
			 struct check_op *op)
{
	struct domain_config c;
	struct domain *dom;
	struct api_error err;
	char cpu[64];

	if (domain_config_decode(args->config, "/config", &c, &err)) {
		blocker_error(op->blockers, &err);
		return;
	}
	if (domain_config_runnable(&c, &err))
		blocker_error(op->blockers, &err);
	dom = domain_find(hvd, c.name);
	if (dom && (dom->worker || domain_state_active(dom->state)))
		blocker(op->blockers, "domain.exists", "/config/name", "a domain %s is active there", c.name);
	else if (dom && c.uuid && strcmp(dom->uuid, c.uuid))
		blocker(op->blockers, "domain.exists", "/config/uuid",
			"another guest of the name %s is defined there", c.name);
	if (!dom && hvd->ndomains >= hvd->config.max_domains)
		blocker(op->blockers, "resource.exhausted", "", "it has %u domains, as many as may be",
			hvd->ndomains);
	cpu_signature(cpu, sizeof(cpu));
	if (c.cpu.model && !strcmp(c.cpu.model, "host") && args->cpu[0] && strcmp(args->cpu, cpu))
		blocker(op->blockers, "unsupported_by_backend", "/config/cpu/model",
			"model \"host\" is another CPU there; use a baseline model");
	op->memory = c.memory;
	op->paths[0] = strdup(c.boot.kernel);
	op->paths[1] = c.boot.initrd ? strdup(c.boot.initrd) : NULL;
}

void migrate_check(struct api_call *call, const void *data)
{
	const struct migrate_check_args *args = data;
	struct hvd *hvd = hvd_of(call);
	struct check_op *op = calloc(1, sizeof(*op));
	int64_t differ = args->tsc_khz - (int64_t)hvd->tsc_khz;

	if (!op) {
		api_fail_text(call, API_E_RESOURCE_EXHAUSTED, "no memory");
		return;
	}
	op->call = call;
	op->task.run = check_run;
	op->task.done = check_done;
	op->blockers = json_array();
	if (!strcmp(args->instance, hvd->instance))
		blocker(op->blockers, "rpc.invalid_params", "/uri",
			"source and destination are the same daemon");
	if (args->tsc_khz && hvd->tsc_khz &&
	    (differ < 0 ? -differ : differ) * 1000000 > (int64_t)hvd->tsc_khz * TSC_PPM)
		blocker(op->blockers, "unsupported_by_backend", "",
			"the TSC runs at %lld kHz here and at %u kHz there", (long long)args->tsc_khz,
			hvd->tsc_khz);
	if (args->config)
		check_config(hvd, args, op);
	if (!task_submit(hvd->files, &op->task))
		return;
	free(op->paths[0]);
	free(op->paths[1]);
	json_decref(op->blockers);
	free(op);
	api_fail_text(call, API_E_RESOURCE_EXHAUSTED, "too many files are waited for");
}

/* ---- the source ------------------------------------------------------------------------------ */

/* Lives until both halves have answered. */
struct plan {
	struct hvd *hvd;
	struct api_call *call;		/* NULL: its caller is gone */
	struct api_error err;		/* of the first half that failed */
	bool failed;
	unsigned int waits;
	json_t *blockers;
	char version[64];
	double bandwidth, limit_ms;
	uint64_t memory;
	/* Measured: bytes written at least once since the begin, at even times up to time_ms. */
	double time_ms, written[SAMPLES];
	unsigned int samples;
};

/* Bytes that differ after @ms: as measured, and beyond that as in the last interval. */
static double plan_written(const struct plan *p, double ms)
{
	double step = p->time_ms / p->samples, at = ms / step, last, before;
	unsigned int i = at;

	if (i < p->samples) {
		before = i ? p->written[i - 1] : 0;
		return before + (p->written[i] - before) * (at - i);
	}
	last = p->written[p->samples - 1];
	before = p->samples > 1 ? p->written[p->samples - 2] : 0;
	last += (last - before) * (at - p->samples);
	return last < p->memory ? last : p->memory;
}

/* Rounds as the engine makes them, with the guest's measured writing. */
static json_t *plan_predict(const struct plan *p)
{
	double left = p->memory, total = 0, ms, per_ms = p->bandwidth / 1000, down = 0;
	bool converges = false;
	int rounds = 0;

	while (per_ms > 0 && rounds < ROUNDS_MAX && !converges) {
		ms = left / per_ms;
		total += ms;
		rounds++;
		left = plan_written(p, ms);
		down = left / per_ms + OVERHEAD_MS;
		converges = down <= p->limit_ms;
	}
	return json_pack("{s:b,s:i,s:f,s:f}", "converges", converges, "rounds", rounds + 1, "total_ms",
			 total + down, "downtime_ms", down);
}

static void plan_reply(struct plan *p)
{
	json_t *r = plan_predict(p);

	json_object_set_new(r, "possible", json_boolean(!json_array_size(p->blockers)));
	json_object_set(r, "blockers", p->blockers);
	json_object_set_new(r, "destination_version", json_string(p->version));
	json_object_set_new(r, "memory", json_integer(p->memory));
	json_object_set_new(r, "dirty_bytes_per_s",
			    json_real(p->written[p->samples - 1] * 1000 / p->time_ms));
	json_object_set_new(r, "working_set", json_integer(p->written[p->samples - 1]));
	json_object_set_new(r, "bandwidth", json_real(p->bandwidth));
	api_reply(p->call, r);
}

static void plan_half(struct plan *p)
{
	if (--p->waits)
		return;
	if (p->call) {
		p->call->cancel = NULL;
		if (p->failed)
			api_fail(p->call, &p->err);
		else
			plan_reply(p);
	}
	json_decref(p->blockers);
	free(p);
}

static void plan_cancel(struct api_call *call)
{
	struct plan *p = call->data;

	p->call = NULL;
	api_fail_text(call, API_E_INTERNAL, "the caller is gone");
}

static void plan_peer_done(struct peer_op *op)
{
	json_t *answer = op->answer ? json_loads(op->answer, 0, NULL) : NULL;
	struct plan *p = op->data;

	if (answer) {
		json_array_extend(p->blockers, json_object_get(answer, "blockers"));
		snprintf(p->version, sizeof(p->version), "%s",
			 json_string_value(json_object_get(answer, "version")) ?: "");
		if (json_integer_value(json_object_get(answer, "protocol")) != STREAM_PROTOCOL)
			blocker(p->blockers, "unsupported_by_backend", "/uri",
				"hvd %s speaks another version of the stream", p->version);
		json_decref(answer);
	} else if (op->failed) {
		blocker_error(p->blockers, &op->err);
	}
	if (!p->bandwidth)
		p->bandwidth = op->probe_bytes_per_s;
	plan_half(p);
}

static void plan_measured(struct worker *worker, void *data, json_t *result, const int *fds,
			  unsigned int nfds, const struct api_error *err)
{
	json_t *written = json_object_get(result, "written");
	struct plan *p = data;

	(void)worker;
	api_close_fds(fds, nfds);
	for (p->samples = 0; p->samples < json_array_size(written) && p->samples < SAMPLES; p->samples++)
		p->written[p->samples] = json_number_value(json_array_get(written, p->samples));
	if (err || !p->samples) {
		api_error_set(&p->err, API_E_PEER_LOST, "the dirty rate cannot be measured: %s",
			      err ? err->message : "no figures");
		p->failed = true;
	}
	plan_half(p);
}

/* What the source itself finds. */
static void plan_own(struct plan *p, struct domain *dom)
{
	struct domain_config c;
	struct api_error err;

	if (domain_config_decode(dom->live, "/config", &c, &err)) {
		blocker_error(p->blockers, &err);
		return;
	}
	p->memory = c.memory;
	if (dom->migration && !migration_over(dom->migration))
		blocker(p->blockers, "job.conflict", "/domain", "it is being migrated already");
	if (job_running(p->hvd, "snapshot", dom->name))
		blocker(p->blockers, "job.conflict", "/domain", "a snapshot of it is being taken");
	if (dom->state == DOMAIN_CRASHED)
		blocker(p->blockers, "domain.wrong_state", "/domain", "the guest has crashed");
}

static struct peer_op *plan_op(struct plan *p, const struct migrate_plan_args *args,
			       struct domain *dom)
{
	struct peer_op *op = calloc(1, sizeof(*op));
	char cpu[64];
	json_t *request;

	if (!op)
		return NULL;
	cpu_signature(cpu, sizeof(cpu));
	request = json_pack("{s:O,s:I,s:s,s:s}", "config", args->config ? args->config : dom->live,
			    "tsc_khz", (json_int_t)p->hvd->tsc_khz, "cpu", cpu, "instance",
			    p->hvd->instance);
	op->kind = PEER_PLAN;
	op->done = plan_peer_done;
	op->data = p;
	op->request = request ? json_dumps(request, JSON_COMPACT) : NULL;
	snprintf(op->uri, sizeof(op->uri), "%s", args->uri);
	json_decref(request);
	if (op->request)
		return op;
	free(op);
	return NULL;
}

void migrate_plan(struct api_call *call, const void *data)
{
	const struct migrate_plan_args *args = data;
	struct domain *dom = domain_to_change(call, args->domain);
	struct peer_op *op = NULL;
	struct api_error err;
	struct plan *p;

	if (!dom)
		return;
	if (!dom->worker || !domain_state_has_machine(dom->state) || !dom->live) {
		domain_fail_state(call, dom, "it has no machine");
		return;
	}
	if (migrate_uri_check(args->uri, &err)) {
		api_fail(call, &err);
		return;
	}
	p = calloc(1, sizeof(*p));
	if (p) {
		p->hvd = hvd_of(call);
		p->call = call;
		p->blockers = json_array();
		p->bandwidth = args->max_bandwidth;
		p->limit_ms = args->downtime_limit_ms ? args->downtime_limit_ms : 300;
		p->time_ms = args->time_ms;
		op = plan_op(p, args, dom);
	}
	if (op) {
		plan_own(p, dom);
		call->data = p;
		call->cancel = plan_cancel;
		p->waits = 3;
		if (peer_op_start(p->hvd, op))
			plan_half(p);
		if (worker_request(dom->worker, "worker.migrate_measure",
				   json_pack("{s:I}", "time_ms", (json_int_t)args->time_ms), NULL, 0,
				   plan_measured, p)) {
			p->failed = true;
			api_error_set(&p->err, API_E_PEER_LOST, "the domain's worker is gone");
			plan_half(p);
		}
		plan_half(p);
		return;
	}
	if (p)
		json_decref(p->blockers);
	free(p);
	api_fail_text(call, API_E_RESOURCE_EXHAUSTED, "no memory");
}
