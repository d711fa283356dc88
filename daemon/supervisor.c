/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The daemon's life. supervisor_main() has it on one screen: what comes up in
 * which order, and goes down in the reverse.
 */
#include "daemon/hvd.h"

#include "daemon/domain.h"
#include "daemon/domain_config.h"
#include "daemon/events.h"
#include "daemon/host_watch.h"
#include "daemon/jobs.h"
#include "daemon/log.h"
#include "daemon/methods.h"
#include "daemon/methods_snapshot.h"
#include "daemon/metrics.h"
#include "daemon/snapshot_store.h"
#include "daemon/migrate.h"
#include "daemon/sockets.h"
#include "daemon/store.h"
#include "daemon/tasks.h"
#include "daemon/upgrade.h"
#include "daemon/uuid.h"
#include "daemon/worker_job.h"
#include "daemon/worker_link.h"
#include "hv/hv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define FILE_TASKS_MAX 1024
#define TRIM_SEC       5
#define STOP_MS	       500

/* ---- forwarding ------------------------------------------------------------------------- */

static void hvd_forward(struct api_call *call, const void *args)
{
	/* Of every forwarded method the domain is the first member. */
	const char *const *name = args;
	struct domain *dom = domain_to_change(call, *name);

	if (!dom)
		return;
	if (!dom->worker || !worker_connected(dom->worker) || !domain_state_has_machine(dom->state))
		domain_fail_state(call, dom, "it has no machine");
	else
		worker_forward(dom->worker, call);
}

int hvd_table_init(struct api_table *table)
{
	const struct api_method *const arrays[] = {
		api_discover_rows, methods_daemon, methods_domain, methods_job, methods_event,
		methods_snapshot, methods_upgrade, methods_host, methods_vm, methods_vm_memory,
		methods_vm_dirtylog, methods_vm_cpu, methods_migrate, methods_migrate_peer,
	};
	int ret = api_table_init(table, arrays, sizeof(arrays) / sizeof(arrays[0]));

	table->forward = hvd_forward;
	return ret;
}

static int tables_up(struct hvd *hvd)
{
	const struct api_method *const reports[] = { methods_worker_report, methods_worker_job,
						     methods_worker_migration,
						     methods_worker_upgrade };
	const struct api_method *const peer[] = { api_discover_rows, methods_migrate_peer };
	int ret = hvd_table_init(&hvd->table);

	if (!ret)
		ret = api_table_init(&hvd->worker_table, reports, 4);
	if (!ret)
		ret = api_table_init(&hvd->peer_table, peer, 2);
	hvd->peer_table.context = hvd;
	hvd->table.context = hvd;
	hvd->worker_table.context = hvd;
	return ret;
}

/* ---- folders, lock, configuration ---------------------------------------------------------- */

static int make_folder(const char *path, mode_t mode)
{
	char part[PATH_MAX];
	char *slash;

	snprintf(part, sizeof(part), "%s", path);
	for (slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(part, 0755) && errno != EEXIST)
			return -errno;
		*slash = '/';
	}
	return mkdir(path, mode) && errno != EEXIST ? -errno : 0;
}

/*
 * The lock decides whether a daemon lives, so that a socket that is left over can be
 * replaced and one in use never is. It goes with the process, however that ends.
 */
static int take_lock(struct hvd *hvd)
{
	char path[160], text[32];
	int len;

	snprintf(path, sizeof(path), "%s/hvd.lock", hvd->options.runtime_dir);
	hvd->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (hvd->lock_fd < 0)
		return -errno;
	if (flock(hvd->lock_fd, LOCK_EX | LOCK_NB)) {
		if (errno != EWOULDBLOCK)
			return -errno;
		len = pread(hvd->lock_fd, text, sizeof(text) - 1, 0);
		text[len > 0 ? len : 0] = '\0';
		log_err("%s: held by another hvd, pid %d", path, atoi(text));
		return -EBUSY;
	}
	len = snprintf(text, sizeof(text), "%d\n", (int)getpid());
	if (ftruncate(hvd->lock_fd, 0) || pwrite(hvd->lock_fd, text, len, 0) != len)
		return -errno;
	return 0;
}

static int load_config(const struct hvd_options *options, struct hvd_config *config, char *message,
		       size_t size)
{
	int ret = config_load(config, options->config_path, message, size);

	return ret == -ENOENT && !options->config_given ? 0 : ret;
}

int hvd_reload(struct hvd *hvd, char *message, size_t size)
{
	struct hvd_config fresh;
	int ret;

	config_defaults(&fresh);
	ret = load_config(&hvd->options, &fresh, message, size);
	if (ret) {
		log_err("%s", message);
		return ret;
	}
	/* The others say in hvd.conf(5) that they need a restart. */
	hvd->config.log_level = fresh.log_level;
	hvd->config.max_jobs = fresh.max_jobs;
	hvd->config.max_connections = fresh.max_connections;
	hvd->config.stall_sec = fresh.stall_sec;
	hvd->config.max_domains = fresh.max_domains;
	hvd->server.max_conns = fresh.max_connections;
	hvd->server.stall_ms = fresh.stall_sec * 1000ull;
	log_set_level(fresh.log_level);
	events_emit(hvd, "daemon.reloaded", NULL, NULL);
	log_info("configuration read again");
	return 0;
}

/* As many descriptors as the host lets us have: connections and workers need them. */
static void raise_limits(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

/* ---- stored definitions ---------------------------------------------------------------------- */

static void load_definition(void *ctx, const char *name, json_t *json)
{
	struct hvd *hvd = ctx;
	struct domain_config config;
	struct api_error err;
	struct domain *dom;

	if (domain_config_decode(json, "", &config, &err) || strcmp(config.name, name) ||
	    !config.uuid || domain_find(hvd, config.uuid)) {
		log_err("definition of %s is left alone: %s", name,
			err.id ? err.message : "name or uuid do not fit");
		return;
	}
	dom = domain_new(hvd, name, config.uuid);
	if (!dom)
		return;
	dom->config = json_incref(json);
	dom->persistent = true;
}

/* ---- signals, watchdog, trimming ---------------------------------------------------------------- */

static void stop_now(evutil_socket_t fd, short what, void *arg)
{
	struct hvd *hvd = arg;

	(void)fd;
	(void)what;
	event_base_loopbreak(hvd->base);
}

void hvd_stop(struct hvd *hvd)
{
	static const struct timeval grace = { .tv_usec = STOP_MS * 1000 };
	static const struct timeval now = { 0 };
	bool idle = task_pending(hvd->files) == 0;

	if (hvd->stopping)
		return;
	hvd->stopping = true;
	sd_notify(0, "STOPPING=1\nSTATUS=Stopping; guests run on.");
	log_info("stopping; guests run on");
	events_emit(hvd, "daemon.stopping", NULL, NULL);
	api_server_unlisten(&hvd->server);
	api_server_unlisten(&hvd->peers);
	/* Starts and stores under way get a moment to be answered. */
	if (event_base_once(hvd->base, -1, EV_TIMEOUT, stop_now, hvd, idle ? &now : &grace))
		event_base_loopbreak(hvd->base);
}

static void on_stop_signal(evutil_socket_t sig, short what, void *arg)
{
	(void)sig;
	(void)what;
	hvd_stop(arg);
}

static void on_reload_signal(evutil_socket_t sig, short what, void *arg)
{
	char message[512];

	(void)sig;
	(void)what;
	sd_notify(0, "RELOADING=1");
	hvd_reload(arg, message, sizeof(message));
	sd_notify(0, "READY=1");
}

static void on_watchdog(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	sd_notify(0, "WATCHDOG=1");
}

static void on_trim(evutil_socket_t fd, short what, void *arg)
{
	struct hvd *hvd = arg;
	static uint64_t seen;

	(void)fd;
	(void)what;
	/* Only after work, and not in its midst. */
	if (hvd->table.calls != seen && hvd->server.out_bytes == 0)
		malloc_trim(64 << 10);
	seen = hvd->table.calls;
}

#define HVD_EVENTS 5
struct timers {
	struct event *ev[HVD_EVENTS];
	struct event *host; /* host_watch.c */
};

static int timers_up(struct hvd *hvd, struct timers *t)
{
	const struct timeval trim = { .tv_sec = TRIM_SEC };
	struct timeval watchdog;
	uint64_t usec = 0;
	int i;

	memset(t, 0, sizeof(*t));
	t->ev[0] = evsignal_new(hvd->base, SIGTERM, on_stop_signal, hvd);
	t->ev[1] = evsignal_new(hvd->base, SIGINT, on_stop_signal, hvd);
	t->ev[2] = evsignal_new(hvd->base, SIGHUP, on_reload_signal, hvd);
	t->ev[3] = event_new(hvd->base, -1, EV_PERSIST, on_trim, hvd);
	for (i = 0; i < 4; i++)
		if (!t->ev[i] || event_add(t->ev[i], i == 3 ? &trim : NULL))
			return -ENOMEM;
	t->host = host_watch_new(hvd);
	if (sd_watchdog_enabled(0, &usec) <= 0)
		return 0;
	/* From the loop, so that a loop that hangs is noticed. */
	watchdog.tv_sec = usec / 2 / 1000000;
	watchdog.tv_usec = usec / 2 % 1000000;
	t->ev[4] = event_new(hvd->base, -1, EV_PERSIST, on_watchdog, NULL);
	return t->ev[4] && !event_add(t->ev[4], &watchdog) ? 0 : -ENOMEM;
}

static void timers_down(struct timers *t)
{
	int i;

	for (i = 0; i < HVD_EVENTS; i++)
		if (t->ev[i])
			event_free(t->ev[i]);
	host_watch_free(t->host);
}

/* ---- up and down ------------------------------------------------------------------------------------ */

static int servers_up(struct hvd *hvd)
{
	int ret;

	hvd->server.base = hvd->workers.base = hvd->base;
	hvd->server.table = &hvd->table;
	hvd->server.max_conns = hvd->config.max_connections;
	hvd->server.stall_ms = hvd->config.stall_sec * 1000ull;
	hvd->workers.table = &hvd->worker_table;
	hvd->workers.max_conns = UINT_MAX;
	hvd->peers.base = hvd->base;
	hvd->peers.table = &hvd->peer_table;
	hvd->peers.max_conns = hvd->config.max_connections;
	hvd->peers.stall_ms = hvd->config.stall_sec * 1000ull;
	migrations_init(hvd);
	ret = api_server_init(&hvd->workers);
	if (!ret)
		ret = api_server_init(&hvd->peers);
	if (!ret)
		ret = api_server_init(&hvd->server);
	return ret;
}

static int base_up(struct hvd *hvd)
{
	struct event_config *config = event_config_new();

	if (!config)
		return -ENOMEM;
	event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV);
	hvd->base = event_base_new_with_config(config);
	event_config_free(config);
	return hvd->base ? 0 : -ENOMEM;
}

static int files_up(struct hvd *hvd)
{
	const struct task_thread_config config = { .name = "hvd-files", .limit = FILE_TASKS_MAX };

	return task_thread_start(&hvd->files, hvd->base, &config);
}

static int uids_up(struct hvd *hvd)
{
	hvd->uids = calloc(hvd->config.uid_last - hvd->config.uid_first + 1, 1);
	return hvd->uids ? 0 : -ENOMEM;
}

static int folders_up(struct hvd *hvd)
{
	int ret = make_folder(hvd->options.runtime_dir, 0755);

	return ret ? ret : make_folder(hvd->options.state_dir, 0750);
}

static int snapshots_up(struct hvd *hvd)
{
	snapstore_sweep(hvd->options.state_dir);
	return 0;
}

static int definitions_up(struct hvd *hvd)
{
	int ret = store_open(hvd->options.state_dir);

	return ret ? ret : store_load(hvd->options.state_dir, load_definition, hvd);
}

static int sandbox_up(struct hvd *hvd)
{
	int ret = sandbox_prepare(&hvd->sandbox, hvd->config.sandbox, hvd->root,
				  hvd->options.runtime_dir);

	if (hvd->sandbox.note[0])
		log_msg(ret ? LOG_ERR : LOG_NOTICE, "sandbox of workers: %s", hvd->sandbox.note);
	return ret;
}

static int adopt_up(struct hvd *hvd)
{
	workers_adopt(hvd);
	return 0;
}

static const struct {
	const char *what;
	int (*up)(struct hvd *hvd);
} life[] = {
	{ "folders", folders_up },
	{ "lock file", take_lock },
	{ "sandbox", sandbox_up },
	{ "methods", tables_up },
	{ "event loop", base_up },
	{ "file thread", files_up },
	{ "uids", uids_up },
	{ "events", events_init },
	{ "jobs", jobs_init },
	{ "connections", servers_up },
	{ "definitions", definitions_up },
	{ "snapshots", snapshots_up },
	{ "worker folder", workers_folder },
	{ "adoption", adopt_up },
	{ "sockets", sockets_open },
	{ "migration listener", sockets_open_peers },
	{ "metrics", metrics_serve },
};
#define LIFE_STEPS (sizeof(life) / sizeof(life[0]))

static int hvd_up(struct hvd *hvd)
{
	size_t i;
	int ret;

	for (i = 0; i < LIFE_STEPS; i++) {
		ret = life[i].up(hvd);
		if (ret) {
			log_err("cannot start: %s: %s", life[i].what, strerror(-ret));
			return ret;
		}
	}
	return 0;
}

/* The reverse of hvd_up(), after any of its steps. */
static void hvd_down(struct hvd *hvd)
{
	struct domain *dom;

	metrics_stop(hvd);
	/* What is being stored is finished; what is answered still reaches its caller. */
	task_thread_stop(hvd->files);
	workers_release(hvd);
	snapshots_stop(hvd);
	if (hvd->server.sweep_event) {
		api_server_flush(&hvd->server);
		api_server_fini(&hvd->server);
	}
	if (hvd->peers.sweep_event)
		api_server_fini(&hvd->peers);
	if (hvd->workers.sweep_event)
		api_server_fini(&hvd->workers);
	if (hvd->nmigrations)
		migrations_fini(hvd);
	sockets_unlink(hvd);
	while ((dom = LIST_FIRST(&hvd->domains)))
		domain_free(hvd, dom);
	jobs_fini(hvd);
	events_fini(hvd);
	free(hvd->uids);
	if (hvd->base)
		event_base_free(hvd->base);
	api_table_fini(&hvd->table);
	api_table_fini(&hvd->worker_table);
	api_table_fini(&hvd->peer_table);
	sandbox_release(&hvd->sandbox);
	if (hvd->workers_fd >= 0)
		close(hvd->workers_fd);
	if (hvd->lock_fd >= 0)
		close(hvd->lock_fd);
}

static void sandbox_none(struct sandbox *sandbox)
{
	int i;

	sandbox->filters = -1;
	for (i = 0; i < SANDBOX_NS_COUNT; i++)
		sandbox->ns[i] = -1;
}

int supervisor_main(const struct hvd_options *options)
{
	static struct hvd hvd;
	struct timers timers = { .host = NULL };
	char message[512];

	hvd.options = *options;
	hvd.lock_fd = hvd.workers_fd = -1;
	sandbox_none(&hvd.sandbox);
	LIST_INIT(&hvd.domains);
	LIST_INIT(&hvd.snapshots);
	config_defaults(&hvd.config);
	if (load_config(options, &hvd.config, message, sizeof(message))) {
		log_err("%s", message);
		return EXIT_FAILURE;
	}
	log_init("hvd", hvd.config.log_level);
	signal(SIGPIPE, SIG_IGN);
	/* What our starter left open is not the workers' business. */
	close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
	umask(0022);
	raise_limits();
	/* Thresholds that do not grow: a large request leaves nothing behind. */
	mallopt(M_MMAP_THRESHOLD, 256 << 10);
	mallopt(M_TRIM_THRESHOLD, 256 << 10);
	json_object_seed(0);
	uuid_make(hvd.instance);
	hvd.tsc_khz = hv_host_tsc_khz();
	hvd.root = geteuid() == 0;
	hvd.start_us = events_now_us();
	if (hvd_up(&hvd) || timers_up(&hvd, &timers)) {
		hvd_down(&hvd);
		return EXIT_FAILURE;
	}
	log_info("ready at %s, %u domains", hvd.options.runtime_dir, hvd.ndomains);
	if (hvd.options.ready_fd >= 0) {
		if (write(hvd.options.ready_fd, "", 1) < 0)
			log_warning("nobody waits for us");
		close(hvd.options.ready_fd);
		hvd.options.log_to_file(&hvd.options);
	}
	sd_notifyf(0, "READY=1\nSTATUS=Serving %u domains.", hvd.ndomains);
	event_base_dispatch(hvd.base);
	hvd.stopping = true;
	timers_down(&timers);
	hvd_down(&hvd);
	return EXIT_SUCCESS;
}
