/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Records of running workers, and adoption. RUNTIME/workers has per worker:
 *	UUID.sock	where it listens for a new hvd; only hvd's uid may connect
 *	UUID.json	name, definition, pid and start time of its process, uid
 * or UUID.b.sock and UUID.b.json; both while one takes over from the other (upgrade.c).
 * A record is trusted, since hvd wrote it into a folder of its own; what the worker
 * says is not. The pid counts only with its start time.
 */
#include "daemon/worker_link_internal.h"

#include "daemon/domain.h"
#include "daemon/domain_config.h"
#include "daemon/hvd.h"
#include "daemon/log.h"
#include "daemon/migrate.h"
#include "daemon/upgrade.h"
#include "daemon/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ADOPT_SEC 10

static void record_path(const struct hvd *hvd, const char *uuid, const char *suffix, char *path,
			size_t size)
{
	snprintf(path, size, "%s/workers/%s%s", hvd->options.runtime_dir, uuid, suffix);
}

/* Through the folder's descriptor: a socket's address is short, a folder's path may not be. */
void worker_socket_path(const struct worker *worker, char *path, size_t size)
{
	snprintf(path, size, "/proc/self/fd/%d/%s%s.sock", worker->hvd->workers_fd,
		 worker->dom->uuid, worker->second ? ".b" : "");
}

int workers_folder(struct hvd *hvd)
{
	char path[160];

	record_path(hvd, "", "", path, sizeof(path));
	if (mkdir(path, 0700) && errno != EEXIST)
		return -errno;
	hvd->workers_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return hvd->workers_fd < 0 ? -errno : 0;
}

uint64_t worker_starttime(pid_t pid)
{
	unsigned long long start = 0;
	char path[32], text[1024];
	char *p;
	size_t n;
	FILE *f;
	int i;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	/* The command, in parentheses, may hold anything: count fields after its end. */
	p = strrchr(text, ')');
	for (i = 2; p && i < 22; i++) {
		p = strchr(p + 1, ' ');
		if (p && i == 21)
			start = strtoull(p + 1, NULL, 10);
	}
	return start;
}

/* On a tmpfs, and of use only as long as the process lives: no sync is needed. */
int worker_record_write(struct worker *worker)
{
	struct domain *dom = worker->dom;
	char path[160], temp[170], *text;
	json_t *json;
	int fd, ret;

	json = json_pack("{s:s,s:s,s:b,s:i,s:I,s:I,s:b,s:O}", "name", dom->name, "uuid", dom->uuid,
			 "second", worker->second, "pid", (int)worker->pid, "starttime", (json_int_t)worker->starttime, "uid",
			 (json_int_t)worker->uid, "persistent", dom->persistent, "config",
			 dom->live);
	if (dom->migration)
		json_object_set_new(json, "migration", migration_record(dom->migration));
	text = json_dumps(json, JSON_COMPACT);
	json_decref(json);
	if (!text)
		return -ENOMEM;
	record_path(worker->hvd, dom->uuid, worker->second ? ".b.json" : ".json", path, sizeof(path));
	snprintf(temp, sizeof(temp), "%s.tmp", path);
	fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ret = fd < 0 ? -errno : store_write_all(fd, text, strlen(text));
	if (!ret && rename(temp, path))
		ret = -errno;
	if (fd >= 0)
		close(fd);
	free(text);
	return ret;
}

void worker_record_update(struct worker *worker)
{
	int ret = worker_record_write(worker);

	if (ret)
		log_err("domain %s: record of its worker: %s", worker->dom->name, strerror(-ret));
}

void worker_record_drop(const struct worker *worker)
{
	char path[160];

	record_path(worker->hvd, worker->dom->uuid, worker->second ? ".b.json" : ".json", path,
		    sizeof(path));
	unlink(path);
	worker_socket_path(worker, path, sizeof(path));
	unlink(path);
}

/* ---- adoption ------------------------------------------------------------------ */

struct record {
	const char *name, *uuid;
	int pid, persistent, second;
	json_int_t starttime, uid;
	json_t *config, *migration;
};

static struct domain *adopt_domain(struct hvd *hvd, const struct record *r)
{
	struct domain *dom = domain_find(hvd, r->uuid);

	/* Two, while one takes over from the other. */
	if (dom && dom->worker && (dom->upgrade || dom->worker->second == (bool)r->second))
		return NULL;
	if (!dom) {
		if (domain_find(hvd, r->name))
			return NULL;
		dom = domain_new(hvd, r->name, r->uuid);
		if (!dom)
			return NULL;
		dom->config = json_incref(r->config);
	}
	if (!dom->live)
		dom->live = json_incref(r->config);
	return dom;
}

static void adopt_answer(struct worker *worker, void *data, json_t *result, const int *fds,
			 unsigned int nfds, const struct api_error *err)
{
	struct domain *dom = worker->dom;
	struct hvd *hvd = worker->hvd;

	(void)data;
	api_close_fds(fds, nfds);
	worker_adopt_reached(worker);
	if (err) {
		log_err("domain %s: its worker does not answer: %s", dom->name, err->message);
		worker_kill(worker);
	} else {
		log_info("domain %s: adopted worker %d", dom->name, (int)worker->pid);
		domain_worker_state(hvd, dom, result);
	}
	domain_set_idle(hvd, dom);
}

static void adopt_timeout(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	/* Its end fails the pending request, and that ends the adoption. */
	worker_kill(arg);
}

int worker_adopt_connect(struct worker *worker)
{
	static const struct timeval limit = { .tv_sec = ADOPT_SEC };
	char path[160];
	int fd, ret;

	worker_socket_path(worker, path, sizeof(path));
	fd = api_connect_unix(path);
	if (fd < 0)
		return fd;
	ret = worker_connect(worker, fd);
	if (ret)
		return ret;
	worker->kill_timer = evtimer_new(worker->hvd->base, adopt_timeout, worker);
	return !worker->kill_timer || evtimer_add(worker->kill_timer, &limit) ? -ENOMEM : 0;
}

void worker_adopt_reached(struct worker *worker)
{
	if (worker->kill_timer)
		event_free(worker->kill_timer);
	worker->kill_timer = NULL;
}

int worker_adopt_state(struct worker *worker)
{
	return worker_request(worker, "worker.adopt", json_object(), NULL, 0, adopt_answer, NULL);
}

/* The process of a record, if it is still that one. */
static int adopt_process(struct worker *worker, const struct record *r)
{
	worker->pid = r->pid;
	worker->starttime = r->starttime;
	worker->uid = r->uid;
	worker->pidfd = syscall(SYS_pidfd_open, worker->pid, 0);
	if (worker->pidfd < 0)
		return -errno;
	/* Compared with the process held: the pid cannot change its owner any more. */
	if (worker_starttime(worker->pid) != worker->starttime)
		return -ESRCH;
	worker_uid_mark(worker->hvd, worker->uid, true);
	return worker_watch(worker);
}

/* -ESRCH: the process is gone. */
static int adopt_worker(struct hvd *hvd, struct domain *dom, const struct record *r)
{
	struct worker *worker = worker_new(hvd, dom);
	int ret;

	if (!worker)
		return -ENOMEM;
	worker->second = r->second;
	ret = adopt_process(worker, r);
	if (!ret && dom->worker)
		ret = upgrade_adopt(hvd, dom, worker);
	else if (!ret)
		dom->worker = worker;
	if (ret) {
		worker_record_drop(worker);
		worker_free(worker);
	}
	return ret;
}

static void adopt_record(struct hvd *hvd, json_t *json, const char *file)
{
	struct record r = { .name = NULL };
	struct domain *dom;
	int ret;

	if (json_unpack(json, "{s:s,s:s,s?b,s:i,s:I,s:I,s:b,s:o,s?o}", "name", &r.name, "uuid", &r.uuid,
			"second", &r.second, "pid", &r.pid, "starttime", &r.starttime, "uid", &r.uid, "persistent",
			&r.persistent, "config", &r.config, "migration",
			&r.migration) ||
	    !schema_name_valid(r.name) || !schema_uuid_valid(r.uuid)) {
		log_err("worker record %s is not valid", file);
		return;
	}
	dom = adopt_domain(hvd, &r);
	if (!dom) {
		log_err("worker record %s: domain %s exists otherwise", file, r.name);
		return;
	}
	if (r.migration)
		migration_adopt(hvd, dom, r.migration);
	ret = adopt_worker(hvd, dom, &r);
	if (ret)
		log_info("domain %s: worker %d of an earlier hvd: %s", dom->name, r.pid,
			 strerror(-ret));
}

/* All records have been read: what there is of @dom? */
static void adopt_begin(struct hvd *hvd, struct domain *dom)
{
	int ret;

	if (!dom->live)
		return;
	if (!dom->worker) {
		domain_worker_gone(hvd, dom, "the worker ended while no hvd was running");
		return;
	}
	domain_set_busy(dom);
	if (dom->upgrade) {
		upgrade_adopt_begin(hvd, dom);
		return;
	}
	ret = worker_adopt_connect(dom->worker);
	if (!ret)
		ret = worker_adopt_state(dom->worker);
	if (!ret)
		return;
	log_err("domain %s: cannot reach worker %d: %s", dom->name, (int)dom->worker->pid,
		strerror(-ret));
	worker_kill(dom->worker);
	domain_set_idle(hvd, dom);
}

/*
 * What an hvd that was killed in mid-write or mid-start left: a temporary file, or the socket
 * of a worker that has no record yet. Such a worker ends by itself when hvd goes.
 */
static bool left_over(struct hvd *hvd, char *name)
{
	char path[160];
	char *dot = strrchr(name, '.');

	if (dot && !strcmp(dot, ".tmp"))
		return true;
	if (!dot || strcmp(dot, ".sock"))
		return false;
	*dot = '\0';
	record_path(hvd, name, ".json", path, sizeof(path));
	*dot = '.';
	return access(path, F_OK) && errno == ENOENT;
}

void workers_adopt(struct hvd *hvd)
{
	char path[160], file[PATH_MAX];
	struct domain *dom, *next;
	struct dirent *entry;
	json_error_t jerr;
	json_t *json;
	DIR *dir;

	record_path(hvd, "", "", path, sizeof(path));
	dir = opendir(path);
	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		size_t len = strlen(entry->d_name);

		snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
		if (left_over(hvd, entry->d_name))
			unlink(file);
		if (len < 6 || strcmp(entry->d_name + len - 5, ".json"))
			continue;
		json = json_load_file(file, 0, &jerr);
		if (json)
			adopt_record(hvd, json, file);
		else
			log_err("worker record %s: %s", file, jerr.text);
		json_decref(json);
	}
	closedir(dir);
	for (dom = LIST_FIRST(&hvd->domains); dom; dom = next) {
		next = LIST_NEXT(dom, link);
		adopt_begin(hvd, dom);
	}
}

void workers_release(struct hvd *hvd)
{
	struct worker *worker;
	struct domain *dom;

	while ((worker = LIST_FIRST(&hvd->retired)))
		worker_free(worker);
	LIST_FOREACH(dom, &hvd->domains, link) {
		upgrade_release(dom);
		worker = dom->worker;
		if (!worker)
			continue;
		dom->worker = NULL;
		worker_free(worker);
	}
}
