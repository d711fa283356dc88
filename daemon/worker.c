/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The worker's main: into the cage first, then the loop. It serves one supervisor
 * at a time; when that goes, the guest runs on and the worker listens for the next.
 */
#include "daemon/worker.h"

#include "daemon/guest.h"
#include "daemon/guest_snapshot.h"
#include "daemon/guest_migrate.h"
#include "daemon/guest_upgrade.h"
#include "daemon/log.h"
#include "daemon/methods.h"
#include "daemon/migrate.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "config.h"

#define ENGINE_CALLS_MAX 256
#define THREAD_STACK	 (256u << 10)
#define QUIT_MS		 300

/* ---- the command line ----------------------------------------------------------- */

void worker_argv_fill(const struct worker_args *args,
		      char words[WORKER_ARGC][32 + SCHEMA_NAME_MAX], char **argv)
{
	const struct sandbox *s = &args->sandbox;
	int i;

	snprintf(words[0], sizeof(words[0]), "hvd-worker:%s", args->name);
	snprintf(words[1], sizeof(words[1]), WORKER_WORD);
	snprintf(words[2], sizeof(words[2]), "%d,%d", args->control, args->listener);
	snprintf(words[3], sizeof(words[3]), "%d,%d", (int)s->mode, s->filters);
	snprintf(words[4], sizeof(words[4]), "%d,%d,%d,%d", s->ns[0], s->ns[1], s->ns[2], s->ns[3]);
	snprintf(words[5], sizeof(words[5]), "%u,%u,%d,%u", (unsigned int)args->uid, args->threads,
		 args->log_level, args->tsc_khz);
	snprintf(words[6], sizeof(words[6]), "%s", args->name);
	for (i = 0; i < WORKER_ARGC; i++)
		argv[i] = words[i];
	argv[WORKER_ARGC] = NULL;
}

static int argv_read(struct worker_args *args, int argc, char **argv)
{
	struct sandbox *s = &args->sandbox;
	unsigned int uid;
	int mode;

	memset(args, 0, sizeof(*args));
	if (argc != WORKER_ARGC ||
	    sscanf(argv[2], "%d,%d", &args->control, &args->listener) != 2 ||
	    sscanf(argv[3], "%d,%d", &mode, &s->filters) != 2 ||
	    sscanf(argv[4], "%d,%d,%d,%d", &s->ns[0], &s->ns[1], &s->ns[2], &s->ns[3]) != 4 ||
	    sscanf(argv[5], "%u,%u,%d,%u", &uid, &args->threads, &args->log_level,
		   &args->tsc_khz) != 4)
		return -EINVAL;
	s->mode = mode;
	args->uid = uid;
	args->name = argv[6];
	return 0;
}

/* ---- state ------------------------------------------------------------------------ */

json_t *guest_report(const struct guest *g)
{
	json_t *report = json_pack("{s:s,s:s,s:i,s:I,s:b}", "state", domain_state_names[g->state],
				   "reason", domain_reason_names[g->reason], "exit_code",
				   g->exit_code, "resets", (json_int_t)g->resets, "final",
				   g->final);

	/* What the guest says of itself need not be UTF-8: then it is left out. */
	if (g->detail[0])
		json_object_set_new(report, "detail", json_string(g->detail));
	return report;
}

void guest_set_state(struct guest *g, enum domain_state state, enum domain_reason reason,
		     const char *detail)
{
	g->state = state;
	g->reason = reason;
	snprintf(g->detail, sizeof(g->detail), "%s", detail ? detail : "");
	if (g->hvd)
		api_notify(&g->hvd->session, "worker.state", guest_report(g));
}

void guest_end(struct guest *g, enum domain_state state, enum domain_reason reason,
	       const char *detail)
{
	g->final = true;
	guest_set_state(g, state, reason, detail);
	/* Nobody dismisses us for now: at least give the guest's memory back. */
	if (!g->hvd)
		vm_release(g);
}

void guest_fail_state(struct api_call *call, const char *why)
{
	const struct guest *g = guest_of(call);
	struct api_error err;

	api_error_set(&err, API_E_DOMAIN_WRONG_STATE, "domain %s is %s: %s", g->name,
		      domain_state_names[g->state], why);
	api_error_field(&err, "/domain");
	api_error_state(&err, domain_state_names[g->state]);
	api_fail(call, &err);
}

bool guest_has_machine(struct api_call *call)
{
	const struct guest *g = guest_of(call);

	if (g->machine && g->started && !g->final)
		return true;
	guest_fail_state(call, "it has no machine");
	return false;
}

/* ---- the end ------------------------------------------------------------------------ */

static void quit_now(evutil_socket_t fd, short what, void *arg)
{
	struct guest *g = arg;

	(void)fd;
	(void)what;
	event_base_loopbreak(g->base);
}

static void quit_poll(evutil_socket_t fd, short what, void *arg)
{
	static const struct timeval again = { .tv_usec = 2000 };
	struct guest *g = arg;

	(void)fd;
	(void)what;
	if (console_drained(g->console))
		quit_now(-1, 0, g);
	else
		event_base_once(g->base, -1, EV_TIMEOUT, quit_poll, g, &again);
}

void guest_quit(struct guest *g)
{
	static const struct timeval limit = { .tv_usec = QUIT_MS * 1000 };
	static const struct timeval now = { 0 };

	if (g->quitting)
		return;
	g->quitting = true;
	guest_snapshot_stop(g);
	if (event_base_once(g->base, -1, EV_TIMEOUT, quit_now, g, &limit) ||
	    event_base_once(g->base, -1, EV_TIMEOUT, quit_poll, g, &now))
		event_base_loopbreak(g->base);
}

/* ---- the supervisor --------------------------------------------------------------------- */

static void supervisor_closed(struct api_conn *conn)
{
	struct guest *g = conn->server->table->context;

	if (g->hvd != conn)
		return;
	g->hvd = NULL;
	if (g->quitting)
		return;
	/* Nobody is there to give it its name. */
	guest_snapshot_stop(g);
	/* Without a domain there is nothing to keep. */
	if (!g->config_json) {
		guest_quit(g);
		return;
	}
	log_info("hvd is gone; the guest runs on");
	if (g->final)
		vm_release(g);
}

static void supervisor_opened(struct api_conn *conn)
{
	struct guest *g = conn->server->table->context;

	conn->on_close = supervisor_closed;
	if (g->hvd)
		api_conn_close(g->hvd);
	g->hvd = conn;
}

static void worker_adopt(struct api_call *call, const void *args)
{
	json_t *report = guest_report(guest_of(call)), *migration, *upgrade;

	(void)args;
	json_object_set_new(report, "jobs", guest_jobs_report(guest_of(call)));
	migration = guest_migration_report(guest_of(call));
	if (migration)
		json_object_set_new(report, "migration", migration);
	upgrade = guest_upgrade_report(guest_of(call));
	if (upgrade)
		json_object_set_new(report, "upgrade", upgrade);
	api_reply(call, report);
}

static void worker_quit(struct api_call *call, const void *args)
{
	struct guest *g = guest_of(call);

	(void)args;
	api_reply(call, NULL);
	guest_quit(g);
}

static const struct api_method worker_rows[] = {
	{
		.name = "worker.adopt",
		.summary = "A new supervisor takes over: the state of the machine.",
		.result = &schema_any,
		.privilege = API_RW,
		.flags = API_INTERNAL,
		.handler = worker_adopt,
	},
	{
		.name = "worker.quit",
		.summary = "Everything is said: end.",
		.privilege = API_RW,
		.flags = API_INTERNAL,
		.handler = worker_quit,
	},
	{ 0 },
};

/* ---- life --------------------------------------------------------------------------------- */

static int guest_table(struct guest *g)
{
	const struct api_method *const arrays[] = {
		worker_rows, vm_start_rows, methods_vm, methods_vm_memory,
		methods_vm_dirtylog, methods_vm_cpu, methods_worker,
		guest_job_rows, methods_guest_snapshot, methods_migrate_vm, guest_migrate_rows,
		guest_upgrade_rows,
	};
	int ret = api_table_init(&g->table, arrays, sizeof(arrays) / sizeof(arrays[0]));

	g->table.context = g;
	return ret;
}

static int guest_threads(struct guest *g)
{
	struct task_thread_config config = { .name = "engine", .limit = ENGINE_CALLS_MAX,
					     .enter = vm_thread_enter, .leave = vm_thread_leave,
					     .stack_size = THREAD_STACK };
	int ret = task_thread_start(&g->engine, g->base, &config);

	if (ret)
		return ret;
	config.name = "slow";
	return task_thread_start(&g->slow, g->base, &config);
}

static int guest_serve(struct guest *g, const struct worker_args *args)
{
	const struct api_listener_config listener = { .fd = args->listener, .privilege = API_RW };
	struct api_conn *conn;
	int ret;

	g->server.base = g->base;
	g->server.table = &g->table;
	g->server.max_conns = 4;
	g->server.on_open = supervisor_opened;
	ret = api_server_init(&g->server);
	if (!ret)
		ret = api_server_listen(&g->server, &listener);
	if (ret)
		return ret;
	conn = api_conn_new(&g->server, args->control, API_RW);
	if (!conn)
		return -ENOMEM;
	supervisor_opened(conn);
	return 0;
}

static struct event_base *guest_base(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base = NULL;

	if (!config)
		return NULL;
	/* One thread only, and nothing from the environment. */
	event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV |
				      EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST);
	base = event_base_new_with_config(config);
	event_config_free(config);
	return base;
}

static void guest_fini(struct guest *g)
{
	task_thread_stop(g->slow);
	task_thread_stop(g->engine);
	guest_upgrade_free(g);
	vm_fini(g);
	console_fini(g);
	api_server_fini(&g->server);
	api_table_fini(&g->table);
	event_base_free(g->base);
	json_decref(g->jobs_unheard);
	json_decref(g->figures);
	json_decref(g->config_json);
}

static int guest_run(const struct worker_args *args)
{
	struct guest g = { .sandbox = args->sandbox, .name = args->name, .exit_code = -1,
			   .state = DOMAIN_SHUTOFF };
	const char *what = "event loop";
	int ret = -ENOMEM;

	TAILQ_INIT(&g.jobs);
	g.base = guest_base();
	if (!g.base)
		goto out_fail;
	what = "methods";
	ret = guest_table(&g);
	if (ret)
		goto out_fail;
	what = "console";
	ret = console_init(&g);
	if (ret)
		goto out_fail;
	what = "engine";
	ret = vm_init(&g, args->tsc_khz);
	if (ret)
		goto out_fail;
	what = "threads";
	ret = guest_threads(&g);
	if (ret)
		goto out_fail;
	what = "control connection";
	ret = guest_serve(&g, args);
	if (ret)
		goto out_fail;
	event_base_dispatch(g.base);
	api_server_flush(&g.server);
#ifndef HV_SANITIZED
	/* The kernel takes everything back faster than we could. */
	_exit(EXIT_SUCCESS);
#endif
	guest_fini(&g);
	return EXIT_SUCCESS;

out_fail:
	log_err("cannot start: %s: %s", what, strerror(-ret));
	return EXIT_FAILURE;
}

int worker_main(int argc, char **argv)
{
	struct sandbox_entry entry;
	struct worker_args args;
	const char *step;
	int ret;

	if (argv_read(&args, argc, argv)) {
		fprintf(stderr, "hvd: " WORKER_WORD " is not for people\n");
		return 2;
	}
	log_init(argv[0], args.log_level);
	prctl(PR_SET_NAME, "hvd-worker");
	/* Few arenas and no growing thresholds: what is freed goes back to the host. */
	mallopt(M_ARENA_MAX, 2);
	mallopt(M_MMAP_THRESHOLD, 128 << 10);
	mallopt(M_TRIM_THRESHOLD, 128 << 10);
	/* Seeded now: later, two threads would do it at once. */
	json_object_seed(0);
	entry = (struct sandbox_entry){ .sandbox = &args.sandbox, .uid = args.uid,
					.threads = args.threads };
	ret = sandbox_enter(&entry, &step);
	if (ret) {
		log_err("sandbox: %s: %s", step, strerror(-ret));
		return EXIT_FAILURE;
	}
	return guest_run(&args);
}
