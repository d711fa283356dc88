/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * host.* and dirtyrate.calc: what concerns every worker, or takes its time in one.
 * The rows of both sides stand here: the supervisor's, and worker.* behind them.
 */
#include "daemon/methods.h"

#include "daemon/domain.h"
#include "daemon/events.h"
#include "daemon/guest.h"
#include "daemon/host_watch.h"
#include "daemon/hvd.h"
#include "daemon/jobs.h"
#include "daemon/log.h"
#include "daemon/worker_link.h"
#include "hv/hv.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VCPUS_MAX    4096
#define RATE_MAX_MS  60000

/* ---- host CPUs ----------------------------------------------------------------------- */

static const struct schema_field cpu_fields[] = {
	SCHEMA_RESULT("id", &schema_count, SCHEMA_REQUIRED, "Its number."),
	SCHEMA_RESULT("online", &schema_bool, SCHEMA_REQUIRED, "Domains may use it."),
	SCHEMA_RESULT("enabled", &schema_bool, SCHEMA_REQUIRED,
		      "Virtualization is enabled on it: it is online and a machine exists."),
	{ 0 }
};
static const struct schema cpu_schema = { .kind = SCHEMA_OBJECT, .fields = cpu_fields };
static const struct schema cpus_schema = { .kind = SCHEMA_ARRAY, .item = &cpu_schema };
static const struct schema_field cpus_result_fields[] = {
	SCHEMA_RESULT("cpus", &cpus_schema, SCHEMA_REQUIRED, "In order."),
	{ 0 }
};
static const struct schema cpus_result = { .kind = SCHEMA_OBJECT, .fields = cpus_result_fields };

/* The host's CPUs that this process may use: domains can have no others. */
static int host_cpus(cpu_set_t *set)
{
	int n = sysconf(_SC_NPROCESSORS_CONF);

	if (sched_getaffinity(0, sizeof(*set), set))
		CPU_ZERO(set);
	return n < HOST_CPUS_MAX ? n : HOST_CPUS_MAX;
}

static bool any_machine(const struct hvd *hvd)
{
	const struct domain *dom;

	LIST_FOREACH(dom, &hvd->domains, link)
		if (dom->worker && domain_state_has_machine(dom->state))
			return true;
	return false;
}

static void method_cpus(struct api_call *call, const void *args)
{
	struct hvd *hvd = hvd_of(call);
	bool machine = any_machine(hvd);
	json_t *list = json_array();
	cpu_set_t set;
	int i, n = host_cpus(&set);

	(void)args;
	for (i = 0; i < n; i++) {
		bool online = CPU_ISSET(i, &set) && !hvd->cpu_offline[i];

		json_array_append_new(list, json_pack("{s:i,s:b,s:b}", "id", i, "online", (int)online,
						      "enabled", online && machine));
	}
	api_reply(call, json_pack("{s:o}", "cpus", list));
}

struct cpu_args {
	int64_t cpu;
};
static const struct schema cpu_number = { .kind = SCHEMA_INT, .min = 0, .max = HOST_CPUS_MAX - 1 };
static const struct schema_field cpu_arg_fields[] = {
	SCHEMA_FIELD(struct cpu_args, cpu, &cpu_number, SCHEMA_REQUIRED, "Its number."),
	{ 0 }
};
static const struct schema cpu_params = { .kind = SCHEMA_OBJECT, .fields = cpu_arg_fields };

/* A change goes to every worker; the call is answered when all have answered. */
struct cpu_change {
	struct api_call *call;	/* NULL: the host's own change */
	unsigned int pending;
	bool failed;
	struct api_error err;
};

static void cpu_change_put(struct cpu_change *change)
{
	if (--change->pending)
		return;
	if (change->failed && change->call)
		api_fail(change->call, &change->err);
	else if (change->failed)
		log_info("%s", change->err.message);
	else if (change->call)
		api_reply(change->call, NULL);
	free(change);
}

static void cpu_answer(struct worker *worker, void *data, json_t *result, const int *fds,
		       unsigned int nfds, const struct api_error *err)
{
	struct cpu_change *change = data;

	(void)worker;
	(void)result;
	api_close_fds(fds, nfds);
	/* A worker that has died needs no change any more. */
	if (err && err->id != API_E_PEER_LOST) {
		change->failed = true;
		api_error_set(&change->err, API_E_INTERNAL, "a worker could not follow: %s",
			      err->message);
	}
	cpu_change_put(change);
}

/* call: NULL, or to be answered. -ENOMEM: nothing has happened. */
static int cpu_tell(struct hvd *hvd, struct api_call *call, int cpu, bool online)
{
	struct cpu_change *change = calloc(1, sizeof(*change));
	struct domain *dom;

	if (!change)
		return -ENOMEM;
	events_emit(hvd, online ? "host.cpu_online" : "host.cpu_offline", NULL,
		    json_pack("{s:i}", "cpu", cpu));
	change->call = call;
	change->pending = 1;
	LIST_FOREACH(dom, &hvd->domains, link) {
		if (!dom->worker)
			continue;
		change->pending++;
		if (worker_request(dom->worker, "worker.host_cpu",
				   json_pack("{s:i,s:b}", "cpu", cpu, "online", (int)online), NULL, 0,
				   cpu_answer, change))
			change->pending--;
	}
	cpu_change_put(change);
	return 0;
}

static void cpu_change(struct api_call *call, int cpu, bool online)
{
	struct hvd *hvd = hvd_of(call);

	/* Before anybody is told: a worker that starts meanwhile reads it. */
	hvd->cpu_offline[cpu] = !online;
	if (!cpu_tell(hvd, call, cpu, online))
		return;
	hvd->cpu_offline[cpu] = online;
	api_fail_text(call, API_E_RESOURCE_EXHAUSTED, "no memory");
}

void host_cpus_follow(struct hvd *hvd, enum host_cpus_how how)
{
	cpu_set_t set;
	int i, n = host_cpus(&set);

	/* Not to know is no reason to take all away. */
	if (!CPU_COUNT(&set))
		return;
	for (i = 0; i < n; i++) {
		bool absent = !CPU_ISSET(i, &set);

		if (absent == hvd->cpu_absent[i])
			continue;
		hvd->cpu_absent[i] = absent;
		if (how == HOST_CPUS_NOTE || hvd->cpu_offline[i])
			continue;
		log_info("the host %s CPU %d", absent ? "has taken away" : "has brought back", i);
		if (cpu_tell(hvd, NULL, i, !absent))
			log_err("no memory to tell domains of CPU %d", i);
	}
}

static bool cpu_exists(struct api_call *call, int64_t cpu, cpu_set_t *set)
{
	struct api_error err;

	if (cpu < host_cpus(set) && CPU_ISSET(cpu, set))
		return true;
	api_error_set(&err, API_E_CPU_NOT_FOUND, "domains cannot have CPU %d", (int)cpu);
	api_error_field(&err, "/cpu");
	api_fail(call, &err);
	return false;
}

static void method_online(struct api_call *call, const void *data)
{
	const struct cpu_args *args = data;
	cpu_set_t set;

	if (!cpu_exists(call, args->cpu, &set))
		return;
	if (hvd_of(call)->cpu_offline[args->cpu])
		cpu_change(call, args->cpu, true);
	else
		api_reply(call, NULL);
}

static void method_offline(struct api_call *call, const void *data)
{
	const struct cpu_args *args = data;
	struct hvd *hvd = hvd_of(call);
	int i, n, left = 0;
	cpu_set_t set;

	if (!cpu_exists(call, args->cpu, &set))
		return;
	n = host_cpus(&set);
	for (i = 0; i < n; i++)
		left += CPU_ISSET(i, &set) && !hvd->cpu_offline[i] && i != args->cpu;
	if (!left)
		api_fail_text(call, API_E_CPU_LAST, "domains need at least one CPU");
	else if (hvd->cpu_offline[args->cpu])
		api_reply(call, NULL);
	else
		cpu_change(call, args->cpu, false);
}

/* ---- dirty rate --------------------------------------------------------------------------- */

struct rate_args {
	const char *domain;
	int64_t time_ms;
	bool detach;
};
static const struct schema rate_ms = { .kind = SCHEMA_INT, .min = 1, .max = RATE_MAX_MS };
static const struct schema_field rate_fields[] = {
	FIELD_DOMAIN(struct rate_args),
	SCHEMA_FIELD(struct rate_args, time_ms, &rate_ms, 0, "How long to measure.", .dflt = "1000"),
	SCHEMA_FIELD(struct rate_args, detach, &schema_bool, 0,
		     "Answer at once with the job, whose result it will be.", .dflt = "false"),
	{ 0 }
};
static const struct schema rate_params = { .kind = SCHEMA_OBJECT, .fields = rate_fields };
static const struct schema numbers_schema = { .kind = SCHEMA_ARRAY, .item = &schema_number };
static const struct schema_field rate_result_fields[] = {
	SCHEMA_RESULT("job", &schema_count, 0, "The job's number."),
	SCHEMA_RESULT("mib_per_s", &schema_number, 0, "All vCPUs together."),
	SCHEMA_RESULT("vcpus", &numbers_schema, 0, "MiB/s per vCPU."),
	{ 0 }
};
static const struct schema rate_result = { .kind = SCHEMA_OBJECT, .fields = rate_result_fields };

struct rate_job {
	struct hvd *hvd;
	struct job *job;	/* NULL: aborted */
	struct api_call *call;	/* NULL: detached, or its caller is gone */
	uint64_t began_us;
};

static void rate_refresh(struct job *job)
{
	const struct rate_job *rate = job->data;
	uint64_t ms = (events_mono_us() - rate->began_us) / 1000;

	job->done = ms < job->total ? ms : job->total;
}

static void rate_fail(struct rate_job *rate, const struct api_error *err, enum job_status status)
{
	struct api_call *call = rate->call;

	rate->call = NULL;
	if (rate->job)
		job_end(rate->hvd, rate->job, status, NULL, err);
	rate->job = NULL;
	if (call)
		api_fail(call, err);
}

/* The measurement itself cannot be cut short: its answer is dropped when it comes. */
static void rate_abort(struct job *job)
{
	struct api_error err;

	api_error_set(&err, API_E_JOB_ABORTED, "the measurement was aborted");
	rate_fail(job->data, &err, JOB_ABORTED);
}

static void rate_answer(struct worker *worker, void *data, json_t *result, const int *fds,
			unsigned int nfds, const struct api_error *remote)
{
	struct rate_job *rate = data;
	struct api_error err;

	(void)worker;
	api_close_fds(fds, nfds);
	if (!remote && schema_check(&rate_result, result, API_E_INTERNAL, &err))
		remote = &err;
	if (remote) {
		err = *remote;
		if (rate->call && !api_method_has_error(rate->call->method, err.id))
			err.id = API_E_INTERNAL;
		rate_fail(rate, &err, JOB_FAILED);
	} else {
		if (rate->job)
			job_end(rate->hvd, rate->job, JOB_COMPLETED, json_incref(result), NULL);
		if (rate->call)
			api_reply(rate->call, json_incref(result));
	}
	free(rate);
}

static void method_rate(struct api_call *call, const void *data)
{
	const struct rate_args *args = data;
	struct hvd *hvd = hvd_of(call);
	struct domain *dom = domain_to_change(call, args->domain);
	struct rate_job *rate;
	json_int_t id;

	if (!dom)
		return;
	if (!dom->worker || !domain_state_has_machine(dom->state)) {
		domain_fail_state(call, dom, "it has no machine");
		return;
	}
	if (job_running(hvd, "dirtyrate", dom->name)) {
		api_fail_text(call, API_E_JOB_CONFLICT, "the dirty rate is being measured already");
		return;
	}
	rate = calloc(1, sizeof(*rate));
	if (rate)
		rate->job = job_start(hvd, "dirtyrate", dom->name);
	if (!rate || !rate->job) {
		free(rate);
		api_fail_text(call, API_E_RESOURCE_EXHAUSTED, "%u jobs run", jobs_running(hvd));
		return;
	}
	rate->hvd = hvd;
	rate->call = args->detach ? NULL : call;
	rate->began_us = events_mono_us();
	rate->job->data = rate;
	rate->job->unit = "ms";
	rate->job->total = args->time_ms;
	rate->job->refresh = rate_refresh;
	rate->job->abort = rate_abort;
	id = rate->job->id;
	if (worker_request(dom->worker, "worker.dirtyrate",
			   json_pack("{s:I}", "time_ms", (json_int_t)args->time_ms), NULL, 0,
			   rate_answer, rate)) {
		struct api_error err;

		api_error_set(&err, API_E_PEER_LOST, "the domain's worker is gone");
		rate->call = call;
		rate_fail(rate, &err, JOB_FAILED);
		free(rate);
		return;
	}
	if (args->detach)
		api_reply(call, json_pack("{s:I}", "job", id));
}

const struct api_method methods_host[] = {
	{
		.name = "host.cpus",
		.summary = "The host's CPUs, and which of them domains may use.",
		.result = &cpus_result,
		.privilege = API_RO,
		.handler = method_cpus,
	},
	{
		.name = "host.cpu_online",
		.summary = "Let domains use a CPU.",
		.params = &cpu_params,
		.args_size = sizeof(struct cpu_args),
		.privilege = API_RW,
		.handler = method_online,
		.errors = API_ERRORS(API_E_CPU_NOT_FOUND),
	},
	{
		.name = "host.cpu_offline",
		.summary = "Take a CPU away from domains.",
		.params = &cpu_params,
		.args_size = sizeof(struct cpu_args),
		.privilege = API_RW,
		.handler = method_offline,
		.errors = API_ERRORS(API_E_CPU_NOT_FOUND, API_E_CPU_LAST),
	},
	{
		.name = "dirtyrate.calc",
		.summary = "How fast the guest writes pages: a job, waited for or not.",
		.params = &rate_params,
		.result = &rate_result,
		.args_size = sizeof(struct rate_args),
		.privilege = API_RW,
		.handler = method_rate,
		.errors = API_ERRORS(API_E_DOMAIN_NOT_FOUND, API_E_DOMAIN_WRONG_STATE, API_E_PEER_LOST,
				     API_E_JOB_CONFLICT, API_E_JOB_ABORTED, API_E_UNSUPPORTED),
	},
	{ 0 },
};

/* ---- in the worker --------------------------------------------------------------------------- */

struct host_cpu_args {
	int64_t cpu;
	bool online;
};
static const struct schema_field host_cpu_fields[] = {
	SCHEMA_FIELD(struct host_cpu_args, cpu, &cpu_number, SCHEMA_REQUIRED, "Its number."),
	SCHEMA_FIELD(struct host_cpu_args, online, &schema_bool, SCHEMA_REQUIRED, "May be used."),
	{ 0 }
};
static const struct schema host_cpu_params = { .kind = SCHEMA_OBJECT, .fields = host_cpu_fields };

static void host_cpu_run(struct engine_call *op)
{
	const struct host_cpu_args *args = op->args;
	int ret = args->online ? hv_host_cpu_online(args->cpu) : hv_host_cpu_offline(args->cpu);

	if (ret)
		engine_fail_errno(op, ret, "the engine refuses the change of a CPU");
}

static void worker_host_cpu(struct api_call *call, const void *args)
{
	engine_call_submit(call, args, host_cpu_run, NULL);
}

struct worker_rate_args {
	int64_t time_ms;
};
static const struct schema_field worker_rate_fields[] = {
	SCHEMA_FIELD(struct worker_rate_args, time_ms, &rate_ms, SCHEMA_REQUIRED, "How long."),
	{ 0 }
};
static const struct schema worker_rate_params = { .kind = SCHEMA_OBJECT,
						  .fields = worker_rate_fields };

static void rate_run(struct engine_call *op)
{
	const struct worker_rate_args *args = op->args;
	double total, *per_vcpu = calloc(VCPUS_MAX, sizeof(*per_vcpu));
	json_t *list;
	int i, n;

	n = per_vcpu ? hv_dirtyrate(hv_machine_vm(op->machine), args->time_ms, &total, per_vcpu,
				    VCPUS_MAX) : -ENOMEM;
	if (n < 0) {
		engine_fail_errno(op, n, "cannot measure the dirty rate");
	} else {
		list = json_array();
		for (i = 0; hv_machine_vcpu(op->machine, i) && i < VCPUS_MAX; i++)
			json_array_append_new(list, json_real(per_vcpu[i]));
		op->result = json_pack("{s:f,s:o}", "mib_per_s", total, "vcpus", list);
	}
	free(per_vcpu);
}

static void worker_rate(struct api_call *call, const void *args)
{
	engine_call_submit(call, args, rate_run, NULL);
}

const struct api_method methods_worker[] = {
	{
		.name = "worker.host_cpu",
		.summary = "A CPU is given to domains or taken away.",
		.params = &host_cpu_params,
		.args_size = sizeof(struct host_cpu_args),
		.privilege = API_RW,
		.flags = API_INTERNAL,
		.handler = worker_host_cpu,
		.errors = API_ERRORS(API_E_DOMAIN_WRONG_STATE, API_E_UNSUPPORTED),
	},
	{
		.name = "worker.dirtyrate",
		.summary = "Measure the dirty rate.",
		.params = &worker_rate_params,
		.result = &rate_result,
		.args_size = sizeof(struct worker_rate_args),
		.privilege = API_RW,
		.flags = API_INTERNAL | API_BLOCKS,
		.handler = worker_rate,
		.errors = API_ERRORS(API_E_DOMAIN_WRONG_STATE, API_E_UNSUPPORTED),
	},
	{ 0 },
};
