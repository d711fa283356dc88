/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The machine's life: made, started, stopped; what the guest does to itself, and
 * what the definition says shall then happen.
 *
 * The engine reports from its own threads; reports are queued under a lock and
 * handled on the loop, after the answer to worker.start.
 */
#include "daemon/guest.h"
#include "daemon/guest_migrate.h"

#include "daemon/guest_snapshot.h"
#include "daemon/guest_upgrade.h"
#include "daemon/log.h"
#include "daemon/uuid.h"
#include "hv/hv.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX 16

struct vm_event {
	enum hv_machine_event kind;
	char detail[128];
};

/* Lock legend: [e] lock, [l] loop only. */
struct vm_events {
	pthread_mutex_t lock;
	struct vm_event queue[EVENTS_MAX];	/* [e] */
	unsigned int count;			/* [e] */
	uint64_t total;				/* [e] that ever came */
	int wake_fd;
	struct event *wake_event;		/* [l] */
};

/* ---- engine calls ----------------------------------------------------------------- */

void engine_fail(struct engine_call *op, enum api_err id, const char *fmt, ...)
{
	char text[sizeof(op->err.message)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	api_error_set(&op->err, id, "%s", text);
	op->failed = true;
}

void engine_fail_errno(struct engine_call *op, int ret, const char *what)
{
	enum api_err id = ret == -ENOMEM || ret == -EMFILE || ret == -ENFILE || ret == -ENOSPC ?
				   API_E_RESOURCE_EXHAUSTED :
			  ret == -EOPNOTSUPP || ret == -ENOSYS || ret == -ENOTSUP ?
					   API_E_UNSUPPORTED : API_E_INTERNAL;

	if (op->call && !api_method_has_error(op->call->method, id))
		id = API_E_INTERNAL;
	engine_fail(op, id, "%s: %s", what, strerror(-ret));
}

static void engine_run(struct task *task)
{
	struct engine_call *op = (struct engine_call *)task;

	op->run(op);
}

static void engine_done(struct task *task)
{
	struct engine_call *op = (struct engine_call *)task;

	if (op->done)
		op->done(op);
	if (op->call && op->failed) {
		json_decref(op->result);
		if (op->fd >= 0)
			close(op->fd);
		api_fail(op->call, &op->err);
	} else if (op->call) {
		api_reply_fds(op->call, op->result, &op->fd, op->fd >= 0);
	} else {
		json_decref(op->result);
	}
	free(op);
}

static struct engine_call *engine_call_new(struct guest *g, void (*run)(struct engine_call *op),
					   void (*done)(struct engine_call *op))
{
	struct engine_call *op = calloc(1, sizeof(*op));

	if (!op)
		return NULL;
	op->task.run = engine_run;
	op->task.done = engine_done;
	op->guest = g;
	op->machine = g->machine;
	op->run = run;
	op->done = done;
	op->fd = -1;
	return op;
}

static int engine_submit_to(struct task_thread *thread, struct engine_call *op)
{
	int ret = op ? task_submit(thread, &op->task) : -ENOMEM;

	if (ret)
		free(op);
	return ret;
}

int engine_call_submit_data(struct api_call *call, const void *args,
			    void (*run)(struct engine_call *op),
			    void (*done)(struct engine_call *op), void *data)
{
	struct guest *g = guest_of(call);
	struct engine_call *op;

	if (!guest_has_machine(call))
		return -ENODEV;
	op = engine_call_new(g, run, done);
	if (op) {
		op->call = call;
		op->args = args;
		op->data = data;
	}
	if (!engine_submit_to(call->method->flags & API_BLOCKS ? g->slow : g->engine, op))
		return 0;
	api_fail_text(call, API_E_RESOURCE_EXHAUSTED, "the engine has %u calls to do",
		      task_pending(g->engine));
	return -ENOBUFS;
}

void engine_call_submit(struct api_call *call, const void *args,
			void (*run)(struct engine_call *op), void (*done)(struct engine_call *op))
{
	engine_call_submit_data(call, args, run, done, NULL);
}

int engine_own_submit(struct guest *g, void (*run)(struct engine_call *op),
		      void (*done)(struct engine_call *op))
{
	return engine_submit_to(g->engine, engine_call_new(g, run, done));
}

/* ---- reports of the engine ----------------------------------------------------------- */

static void vm_on_console(void *ctx, const void *data, size_t len)
{
	struct guest *g = ctx;

	console_write(g->console, data, len);
}

static void vm_on_event(void *ctx, enum hv_machine_event kind, const char *detail)
{
	struct guest *g = ctx;
	struct vm_events *ev = g->vm_events;
	const uint64_t one = 1;

	pthread_mutex_lock(&ev->lock);
	ev->total++;
	/* All vCPUs stop with an event, so more than a few cannot pile up. */
	if (ev->count < EVENTS_MAX) {
		struct vm_event *e = &ev->queue[ev->count++];

		e->kind = kind;
		snprintf(e->detail, sizeof(e->detail), "%s", detail ? detail : "");
	}
	pthread_mutex_unlock(&ev->lock);
	if (write(ev->wake_fd, &one, sizeof(one)) < 0)
		return;
}

static const struct hv_machine_callbacks vm_callbacks = {
	.console_output = vm_on_console,
	.event = vm_on_event,
};

static void vm_on_log(void *ctx, int level, const char *message)
{
	(void)ctx;
	log_msg(level, "%s", message);
}

/* ---- policies -------------------------------------------------------------------------- */

/* A hand-over decides who runs it, and has not yet: nothing has changed. */
static bool engine_held(struct engine_call *op, int ret)
{
	if (ret == -EBUSY)
		engine_fail(op, API_E_DOMAIN_WRONG_STATE, "the guest is being handed over");
	return ret == -EBUSY;
}

static void restart_run(struct engine_call *op)
{
	int ret = hv_machine_reset(op->machine);

	if (engine_held(op, ret))
		return;
	/* A reset lets it run, unless it was paused meanwhile. */
	if (!ret)
		ret = hv_machine_start(op->machine);
	/* It has ended again already: its own event says how. */
	if (ret == -EIO)
		ret = 0;
	op->guest->running = !ret;
	if (ret)
		engine_fail_errno(op, ret, "cannot restart the guest");
}

#define RESETS_TELL_US 1000000

static int64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void resets_tell(struct guest *g)
{
	g->resets_told_us = now_us();
	guest_set_state(g, DOMAIN_RUNNING, REASON_RESET, NULL);
}

static void resets_late(evutil_socket_t fd, short what, void *arg)
{
	struct guest *g = arg;

	(void)fd;
	(void)what;
	g->resets_timer = false;
	if (g->state == DOMAIN_RUNNING && g->reason == REASON_RESET && !g->final)
		resets_tell(g);
}

/* A guest that resets in a tight loop is reported once a second, with how often it did. */
static void guest_was_reset(struct guest *g)
{
	static const struct timeval later = { .tv_sec = RESETS_TELL_US / 1000000 };

	g->resets++;
	if (g->state != DOMAIN_RUNNING || g->reason != REASON_RESET ||
	    now_us() - g->resets_told_us >= RESETS_TELL_US) {
		resets_tell(g);
		return;
	}
	if (!g->resets_timer && !event_base_once(g->base, -1, EV_TIMEOUT, resets_late, g, &later))
		g->resets_timer = true;
}

static void restart_done(struct engine_call *op)
{
	struct guest *g = op->guest;

	if (g->final || (op->failed && op->err.id == API_E_DOMAIN_WRONG_STATE))
		return;
	if (op->failed)
		guest_set_state(g, DOMAIN_CRASHED, REASON_ENGINE, op->err.message);
	else if (op->call)
		resets_tell(g);
	else
		guest_was_reset(g);
}

static void vm_restart(struct guest *g)
{
	if (engine_own_submit(g, restart_run, restart_done))
		guest_end(g, DOMAIN_SHUTDOWN, REASON_ENGINE, "no memory to restart the guest");
}

static void stop_run(struct engine_call *op)
{
	hv_machine_pause(op->machine);
	op->guest->running = false;
}

/* The vCPUs stand already, but for a panic; the engine is told so that a resume is one. */
static void vm_keep(struct guest *g, enum domain_state state, enum domain_reason reason,
		    const char *detail)
{
	if (engine_own_submit(g, stop_run, NULL))
		log_warning("no memory to stop the guest");
	guest_set_state(g, state, reason, detail);
}

static void vm_ended(struct guest *g, int action, enum domain_reason reason, const char *detail)
{
	if (g->reboot_asked)
		action = ACTION_RESTART;
	g->reboot_asked = false;
	if (action == ACTION_RESTART)
		vm_restart(g);
	else if (action == ACTION_PRESERVE)
		vm_keep(g, DOMAIN_PAUSED, REASON_PRESERVED, detail);
	else
		guest_end(g, DOMAIN_SHUTDOWN, reason, detail);
}

static void vm_crashed(struct guest *g, enum domain_reason reason, const char *detail)
{
	switch (g->config.on_crash) {
	case ACTION_RESTART:
		vm_restart(g);
		break;
	case ACTION_PRESERVE:
		vm_keep(g, DOMAIN_CRASHED, reason, detail);
		break;
	default:
		guest_end(g, DOMAIN_SHUTDOWN, reason, detail);
		break;
	}
}

static void vm_event(struct guest *g, const struct vm_event *e)
{
	switch (e->kind) {
	case HV_MACHINE_POWEROFF:
		vm_ended(g, g->config.on_poweroff, REASON_GUEST, e->detail);
		break;
	case HV_MACHINE_DEBUG_EXIT:
		g->exit_code = atoi(e->detail);
		vm_ended(g, g->config.on_poweroff, REASON_DEBUG_EXIT, NULL);
		break;
	case HV_MACHINE_RESET:
		vm_ended(g, g->config.on_reboot, REASON_GUEST, e->detail);
		break;
	case HV_MACHINE_PANIC:
		vm_crashed(g, REASON_PANICKED, e->detail);
		break;
	case HV_MACHINE_CRASHED:
		vm_crashed(g, REASON_ENGINE, e->detail);
		break;
	}
}

static void vm_wake(evutil_socket_t fd, short what, void *arg)
{
	struct vm_event queue[EVENTS_MAX];
	struct guest *g = arg;
	unsigned int i, count;
	uint64_t number;

	(void)what;
	/* Not before worker.start is answered: the guest's end comes after its start. */
	if (!g->started || read(fd, &number, sizeof(number)) < 0)
		return;
	pthread_mutex_lock(&g->vm_events->lock);
	count = g->vm_events->count;
	memcpy(queue, g->vm_events->queue, count * sizeof(queue[0]));
	g->vm_events->count = 0;
	pthread_mutex_unlock(&g->vm_events->lock);
	for (i = 0; i < count && !g->final; i++)
		vm_event(g, &queue[i]);
}

uint64_t vm_events_total(struct guest *g)
{
	uint64_t total;

	pthread_mutex_lock(&g->vm_events->lock);
	total = g->vm_events->total;
	pthread_mutex_unlock(&g->vm_events->lock);
	return total;
}

void vm_watch_events(struct guest *g)
{
	const uint64_t one = 1;

	g->started = true;
	/* Events that came meanwhile are looked at in the loop's next turn. */
	if (write(g->vm_events->wake_fd, &one, sizeof(one)) < 0 ||
	    event_add(g->vm_events->wake_event, NULL))
		log_warning("cannot watch the engine");
}

/* ---- start -------------------------------------------------------------------------------- */

struct start_args {
	json_t *config, *files;
	bool paused, console, incoming;
	json_t *offline_cpus;
	json_t *snapshot;
};
static const struct schema_field restore_fields[] = {
	SCHEMA_RESULT("verify", &schema_bool, SCHEMA_REQUIRED, "Compare all memory first."),
	{ 0 }
};
static const struct schema restore_schema = { .kind = SCHEMA_OBJECT, .fields = restore_fields };
static const struct schema start_any = { .kind = SCHEMA_ANY, .item = &restore_schema };
static const struct schema files_schema = { .kind = SCHEMA_MAP, .item = &schema_count };
static const struct schema cpus_schema = { .kind = SCHEMA_ARRAY, .item = &schema_count };
static const struct schema_field start_fields[] = {
	SCHEMA_FIELD(struct start_args, config, &schema_any, SCHEMA_REQUIRED, "The definition."),
	SCHEMA_FIELD(struct start_args, files, &files_schema, SCHEMA_REQUIRED,
		     "The descriptor of each file, by the pointer into the definition."),
	SCHEMA_FIELD(struct start_args, paused, &schema_bool, 0, "Make, but do not run."),
	SCHEMA_FIELD(struct start_args, console, &schema_bool, 0, "Pass a console back."),
	SCHEMA_FIELD(struct start_args, incoming, &schema_bool, 0, "Its guest will come from elsewhere."),
	SCHEMA_FIELD(struct start_args, offline_cpus, &cpus_schema, 0, "Not for this domain."),
	SCHEMA_FIELD(struct start_args, snapshot, &start_any, 0, "The guest comes from the files "
		     "/snapshot/*."),
	{ 0 }
};
static const struct schema start_schema = { .kind = SCHEMA_OBJECT, .fields = start_fields };

static int start_file(const struct engine_call *op, const char *pointer)
{
	const struct start_args *args = op->args;
	const json_t *index = json_object_get(args->files, pointer);

	if (!json_is_integer(index) || json_integer_value(index) >= op->call->nfds)
		return -1;
	return op->call->fds[json_integer_value(index)];
}

static void start_machine(struct engine_call *op)
{
	const struct start_args *args = op->args;
	const struct domain_config *c = &op->guest->config;
	struct hv_machine_config config = {
		.name = c->name,
		.vcpus = c->vcpus,
		.memory = c->memory,
		.processor = c->engine.processor,
		.vendor = c->engine.vendor,
		.paging = c->engine.paging,
		.no_apicv = !c->engine.apicv,
		.cpu_model = c->cpu.model,
		.memory_backing = (enum hv_mem_backing)c->memory_backing,
		.memory_fd = -1,
		.boot = { .kind = (enum hv_boot_kind)c->boot.kind,
			  .kernel_fd = start_file(op, "/boot/kernel"),
			  .initrd_fd = start_file(op, "/boot/initrd"),
			  .cmdline = c->boot.cmdline },
		.test_devices = c->test_devices,
		.incoming = args->incoming,
		.callbacks = &vm_callbacks,
		.ctx = op->guest,
	};
	unsigned char uuid[16];
	struct guest_restore restore = { .verify = json_is_true(json_object_get(args->snapshot,
										"verify")) };
	int ret = 0;

	if (c->uuid) {
		uuid_bytes(c->uuid, uuid);
		config.uuid = uuid;
	}
	if (start_file(op, UPGRADE_FILE_MEMORY) >= 0)
		config.memory_fd = start_file(op, UPGRADE_FILE_MEMORY);
	if (args->snapshot) {
		restore.files = (struct hv_snapshot_files){
			.manifest = start_file(op, "/snapshot/manifest"),
			.state = start_file(op, "/snapshot/state"),
			.memory = start_file(op, "/snapshot/memory"),
			.digests = start_file(op, "/snapshot/digests"),
			.config = start_file(op, "/snapshot/config"),
		};
		ret = guest_restore_open(op, &restore, &config);
	}
	if (!ret)
		ret = hv_machine_create(&config, &op->machine);
	if (!ret && args->snapshot)
		ret = guest_restore_load(op, &restore);
	guest_restore_close(&restore);
	if (!ret && !args->paused && !args->incoming) {
		ret = hv_machine_start(op->machine);
		op->guest->running = !ret;
		if (ret) {
			hv_machine_destroy(op->machine);
			op->machine = NULL;
		}
	}
	if (!ret || op->failed)
		return;
	if (config.error[0])
		engine_fail(op, API_E_DOMAIN_START_FAILED, "%s", config.error);
	else
		engine_fail(op, API_E_DOMAIN_START_FAILED, "%s: %s",
			    ret == -ENOEXEC ? "the kernel cannot be booted" :
					      "the machine cannot be made",
			    strerror(-ret));
}

static void start_run(struct engine_call *op)
{
	const struct start_args *args = op->args;
	json_t *cpu;
	size_t i;

	json_array_foreach(args->offline_cpus, i, cpu)
		hv_host_cpu_offline(json_integer_value(cpu));
	start_machine(op);
}

/* The guest comes from another worker: until then there is none. */
static void start_upgrade(struct engine_call *op)
{
	const struct guest_upgrade_files files = {
		.console = start_file(op, UPGRADE_FILE_CONSOLE),
		.owner = start_file(op, UPGRADE_FILE_OWNER),
		.peer = start_file(op, UPGRADE_FILE_PEER),
	};
	int ret = guest_upgrade_expect(op->guest, &files);

	if (ret)
		engine_fail(op, API_E_DOMAIN_START_FAILED, "cannot wait for the guest: %s",
			    strerror(-ret));
}

static void start_done(struct engine_call *op)
{
	struct guest *g = op->guest;
	const struct start_args *args = op->args;
	int ret;

	if (op->failed)
		return;
	g->machine = op->machine;
	ret = sandbox_narrow(&g->sandbox);
	if (ret) {
		engine_fail(op, API_E_DOMAIN_START_FAILED, "sandbox: second filter: %s",
			    strerror(-ret));
		return;
	}
	g->state = args->paused || args->incoming ? DOMAIN_PAUSED : DOMAIN_RUNNING;
	g->reason = args->snapshot ? REASON_RESTORED :
		    args->incoming ? REASON_MIGRATION :
		    args->paused ? REASON_STARTING_UP : REASON_BOOTED;
	if (start_file(op, UPGRADE_FILE_PEER) >= 0)
		start_upgrade(op);
	else
		vm_watch_events(g);
	if (!op->failed)
		op->result = guest_report(g);
}

static void vm_start(struct api_call *call, const void *data)
{
	struct guest *g = guest_of(call);
	const struct start_args *args = data;
	struct engine_call *op;
	struct api_error err;

	if (g->config_json) {
		api_fail_text(call, API_E_DOMAIN_WRONG_STATE, "the worker has its domain already");
		return;
	}
	g->config_json = json_incref(args->config);
	if (domain_config_decode(g->config_json, "", &g->config, &err)) {
		api_fail(call, &err);
		return;
	}
	op = engine_call_new(g, start_run, start_done);
	if (!op) {
		api_fail_text(call, API_E_RESOURCE_EXHAUSTED, "no memory");
		return;
	}
	op->call = call;
	op->args = data;
	/* Before the guest runs, so that the reader misses nothing. */
	if (args->console)
		op->fd = console_attach(g->console);
	if (engine_submit_to(g->engine, op))
		api_fail_text(call, API_E_RESOURCE_EXHAUSTED, "no memory");
}

const struct api_method vm_start_rows[] = {
	{
		.name = "worker.start",
		.summary = "Make the machine of a definition and run it.",
		.params = &start_schema,
		.result = &schema_any,
		.args_size = sizeof(struct start_args),
		.privilege = API_RW,
		.flags = API_INTERNAL | API_TAKES_FDS | API_GIVES_FDS,
		.handler = vm_start,
		.errors = API_ERRORS(API_E_CONFIG_INVALID, API_E_DOMAIN_WRONG_STATE,
				     API_E_DOMAIN_START_FAILED, API_E_SNAPSHOT_INVALID),
	},
	{ 0 },
};

/* ---- the calls of domain.* ------------------------------------------------------------------ */

static void suspend_run(struct engine_call *op)
{
	int ret = hv_machine_pause(op->machine);

	if (ret)
		engine_fail_errno(op, ret, "cannot stop the vCPUs");
	else
		op->guest->running = false;
}

static void suspend_done(struct engine_call *op)
{
	/* The guest may have ended on its own while it was being stopped. */
	if (!op->failed && op->guest->state == DOMAIN_RUNNING)
		guest_set_state(op->guest, DOMAIN_PAUSED, REASON_USER, NULL);
}

void vm_suspend(struct api_call *call, const void *args)
{
	if (guest_of(call)->state == DOMAIN_RUNNING)
		engine_call_submit(call, args, suspend_run, suspend_done);
	else
		guest_fail_state(call, "it does not run");
}

static void resume_run(struct engine_call *op)
{
	int ret = hv_machine_start(op->machine);

	if (engine_held(op, ret))
		return;
	if (ret)
		engine_fail_errno(op, ret, "cannot start the vCPUs");
	else
		op->guest->running = true;
}

static void resume_done(struct engine_call *op)
{
	if (!op->failed && op->guest->state == DOMAIN_PAUSED)
		guest_set_state(op->guest, DOMAIN_RUNNING, REASON_UNPAUSED, NULL);
}

void vm_resume(struct api_call *call, const void *args)
{
	struct guest *g = guest_of(call);

	if (g->state != DOMAIN_PAUSED)
		guest_fail_state(call, "it is not paused");
	else if (g->reason == REASON_MIGRATION || guest_migration_holds(g))
		guest_fail_state(call, "its migration decides who runs it; see domain.migrate_resolve");
	else if (g->reason == REASON_PRESERVED)
		guest_fail_state(call, "the guest has ended; reset it to boot again");
	else
		engine_call_submit(call, args, resume_run, resume_done);
}

void vm_reset(struct api_call *call, const void *args)
{
	struct guest *g = guest_of(call);

	if (g->reason == REASON_MIGRATION || guest_migration_holds(g))
		guest_fail_state(call, "it is being migrated");
	else
		engine_call_submit(call, args, restart_run, restart_done);
}

static void nmi_run(struct engine_call *op)
{
	int ret = hv_machine_nmi(op->machine);

	if (ret)
		engine_fail_errno(op, ret, "cannot send the interrupt");
}

void vm_nmi(struct api_call *call, const void *args)
{
	engine_call_submit(call, args, nmi_run, NULL);
}

static void shutdown_run(struct engine_call *op)
{
	int ret = hv_machine_power_button(op->machine);

	if (ret)
		engine_fail_errno(op, ret, "cannot press the power button");
}

void vm_shutdown(struct api_call *call, const void *args)
{
	struct guest *g = guest_of(call);

	if (g->state != DOMAIN_RUNNING) {
		guest_fail_state(call, "only a running guest can shut down");
		return;
	}
	g->reboot_asked = false;
	engine_call_submit(call, args, shutdown_run, NULL);
}

/* There is no button for it: the guest is asked to power off, and booted again. */
void vm_reboot(struct api_call *call, const void *args)
{
	struct guest *g = guest_of(call);

	if (g->state != DOMAIN_RUNNING) {
		guest_fail_state(call, "only a running guest can reboot");
		return;
	}
	g->reboot_asked = true;
	engine_call_submit(call, args, shutdown_run, NULL);
}

/* ---- life -------------------------------------------------------------------------------------- */

static void release_run(struct engine_call *op)
{
	hv_machine_destroy(op->machine);
}

static void slow_empty(struct engine_call *op)
{
	(void)op;
}

static void slow_done(struct engine_call *op)
{
	struct guest *g = op->guest;

	/* An ended one: only it borrows the machine beyond calls. */
	guest_migration_free(g);
	if (g->machine && !engine_own_submit(g, release_run, NULL))
		g->machine = NULL;
}

void vm_release(struct guest *g)
{
	/* What takes its time has the machine too: first it comes to an end. */
	if (g->machine && engine_submit_to(g->slow, engine_call_new(g, slow_empty, slow_done)))
		log_warning("no memory to give the guest's memory back");
}

void vm_thread_enter(void *ctx)
{
	(void)ctx;
	if (hv_thread_enter())
		log_err("the engine has no room for a thread");
}

void vm_thread_leave(void *ctx)
{
	(void)ctx;
	hv_thread_leave();
}

int vm_init(struct guest *g, uint32_t tsc_khz)
{
	struct vm_events *ev = calloc(1, sizeof(*ev));
	int ret;

	if (!ev)
		return -ENOMEM;
	g->vm_events = ev;
	pthread_mutex_init(&ev->lock, NULL);
	ev->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (ev->wake_fd < 0)
		return -errno;
	ev->wake_event = event_new(g->base, ev->wake_fd, EV_READ | EV_PERSIST, vm_wake, g);
	if (!ev->wake_event)
		return -ENOMEM;
	ret = hv_init(&(struct hv_init){ .version = HV_API_VERSION, .log = vm_on_log,
					.tsc_khz = tsc_khz });
	return ret ? ret : hv_thread_enter();
}

void vm_fini(struct guest *g)
{
	struct vm_events *ev = g->vm_events;

	guest_migration_free(g);
	hv_machine_destroy(g->machine);
	g->machine = NULL;
	hv_thread_leave();
	hv_exit();
	event_free(ev->wake_event);
	close(ev->wake_fd);
	pthread_mutex_destroy(&ev->lock);
	free(ev);
	g->vm_events = NULL;
}
