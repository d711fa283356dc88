/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guest goes from one worker to another. doc/migration.md has the protocol and
 * what becomes of it when either worker, or hvd, dies at any moment of it.
 *
 *	old, engine thread			new, engine thread
 *	hv_machine_give(): the guest stands
 *	STATE with a file		->	hv_machine_load_state()
 *	wait				<-	FREE -> NEW, hv_machine_start(), TOOK
 *	FREE -> OLD fails: it is gone		(or FREE -> OLD, REFUSED: it cannot)
 *	old, loop				new, loop
 *	READER with a console's end	->	console_take()
 *	the process ends
 *
 * Whatever goes wrong, each side tries to settle the word by itself and looks at what
 * it says then. Nothing is repeated, and nobody waits for hvd.
 */
#include "daemon/guest_upgrade.h"

#include "daemon/guest.h"
#include "daemon/guest_migrate.h"
#include "daemon/log.h"
#include "daemon/vm_figures.h"
#include "hv/hv.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TAKE_MS	   5000u	/* the guest stands still at most so long */
#define EXPECT_MS  20000u	/* for the state to come */
#define FIRST_US   200000u	/* for the first instruction, to be told: hosts can be busy */
#define JSON_MAX   (1u << 20)
#define IMAGE_MAX  (16u << 20)	/* of hv_machine_save_state() */
#define MSG_MAGIC  0x31557668u	/* "hvU1": another form of messages is another magic */

enum upgrade_owner { OWNER_FREE, OWNER_NEW, OWNER_OLD, OWNER_COUNT };
static const char *const owner_names[] = { "free", "new", "old" };

enum upgrade_side { SIDE_OLD, SIDE_NEW };

enum upgrade_kind {
	MSG_STATE = 1,	/* with a file: image_len bytes of state, then json_len of JSON */
	MSG_TOOK,
	MSG_REFUSED,	/* text */
	MSG_READER,	/* with a console's end; pos, have, text */
};

struct upgrade_msg {
	uint32_t magic, kind;
	uint64_t stopped_ns;		/* CLOCK_MONOTONIC */
	uint64_t image_len, json_len;
	uint64_t pos;
	uint64_t have;
	char text[CONSOLE_INPUT_MAX];
};

/* Lock legend: [I] immutable, [l] loop, [e] the engine thread's until its call is done. */
struct guest_upgrade {
	struct guest *guest;		/* [I] */
	enum upgrade_side side;		/* [I] */
	_Atomic uint32_t *owner;	/* [I] shared with the other worker */
	int peer;			/* [I] */
	struct event *peer_event;	/* [l] new: consoles come */
	uint64_t events_before;		/* [I] old */
	json_t *json;			/* [e] state as this worker reports it */
	uint64_t stopped_ns;		/* [e] */
	uint64_t first_ns;		/* [e] new: the first instruction, 0: unknown */
	size_t image_len;		/* [e] */
	bool ran;			/* [e] */
	bool moved;			/* [e] the guest is the new worker's */
	char error[HV_ERROR_SIZE];	/* [e] */
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

/* ---- the word ----------------------------------------------------------------------- */

/*
 * The one change of it. What it says afterwards, for good. Sequentially consistent: with
 * the word goes the guest's memory.
 */
static enum upgrade_owner owner_settle(struct guest_upgrade *u, enum upgrade_owner wish)
{
	uint32_t was = OWNER_FREE;

	if (atomic_compare_exchange_strong(u->owner, &was, (uint32_t)wish))
		return wish;
	return was;
}

static enum upgrade_owner owner_read(const struct guest_upgrade *u)
{
	uint32_t owner = atomic_load(u->owner);

	return owner < OWNER_COUNT ? owner : OWNER_OLD;
}

static _Atomic uint32_t *owner_map(int fd)
{
	struct stat st;
	void *p;

	/* Of a fixed size, lest an access faults. */
	if (fstat(fd, &st) || st.st_size != UPGRADE_OWNER_SIZE ||
	    !(fcntl(fd, F_GET_SEALS) & F_SEAL_SHRINK))
		return NULL;
	p = mmap(NULL, UPGRADE_OWNER_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return p == MAP_FAILED ? NULL : p;
}

/* ---- messages ------------------------------------------------------------------------- */

/* One message with @fd, -1: none. Whole or not at all. */
static int msg_send(struct guest_upgrade *u, struct upgrade_msg *msg, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { msg, sizeof(*msg) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c;

	msg->magic = MSG_MAGIC;
	if (fd >= 0) {
		m.msg_control = control;
		m.msg_controllen = sizeof(control);
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	if (sendmsg(u->peer, &m, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof(*msg))
		return 0;
	return errno ? -errno : -EIO;
}

/* A message that is there, and its descriptor or -1. -EAGAIN, -EPIPE: the end, -EPROTO. */
static int msg_recv(struct guest_upgrade *u, struct upgrade_msg *msg, int *fd)
{
	char control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { msg, sizeof(*msg) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
			    .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(u->peer, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *c;

	*fd = -1;
	if (n <= 0)
		return n == 0 || errno == ECONNRESET ? -EPIPE : -errno;
	c = CMSG_FIRSTHDR(&m);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
	    c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(fd, CMSG_DATA(c), sizeof(int));
	if (n == (ssize_t)sizeof(*msg) && msg->magic == MSG_MAGIC)
		return 0;
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	return -EPROTO;
}

/* The same, waiting for it. -ETIMEDOUT. */
static int msg_wait(struct guest_upgrade *u, struct upgrade_msg *msg, int *fd, unsigned int ms)
{
	uint64_t end = now_ns() + ms * UINT64_C(1000000), now;
	struct pollfd p = { .fd = u->peer, .events = POLLIN };
	int ret;

	*fd = -1;
	while ((ret = msg_recv(u, msg, fd)) == -EAGAIN || ret == -EINTR) {
		now = now_ns();
		if (now >= end)
			return -ETIMEDOUT;
		poll(&p, 1, (int)((end - now) / 1000000 + 1));
	}
	return ret;
}

/* ---- life ------------------------------------------------------------------------------- */

static void upgrade_free(struct guest_upgrade *u)
{
	if (u->peer_event)
		event_free(u->peer_event);
	if (u->peer >= 0)
		close(u->peer);
	if (u->owner)
		munmap((void *)(uintptr_t)u->owner, UPGRADE_OWNER_SIZE);
	json_decref(u->json);
	free(u);
}

/* The descriptors are borrowed. */
static struct guest_upgrade *upgrade_new(struct guest *g, enum upgrade_side side, int owner,
					 int peer)
{
	struct guest_upgrade *u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	u->guest = g;
	u->side = side;
	u->peer = dup(peer);
	u->owner = owner_map(owner);
	if (u->peer >= 0 && u->owner)
		return u;
	upgrade_free(u);
	return NULL;
}

void guest_upgrade_free(struct guest *g)
{
	if (g->upgrade)
		upgrade_free(g->upgrade);
	g->upgrade = NULL;
}

json_t *guest_upgrade_report(const struct guest *g)
{
	const struct guest_upgrade *u = g->upgrade;

	if (u)
		return json_pack("{s:s,s:s}", "side", u->side == SIDE_NEW ? "new" : "old", "owner",
				 owner_names[owner_read(u)]);
	if (g->upgraded)
		return json_pack("{s:s,s:s}", "side", "new", "owner", "new");
	return NULL;
}

/* ---- the old worker: giving ------------------------------------------------------------- */

struct state_file {
	int fd;
	size_t len;
};

static int state_write(void *ctx, const void *data, size_t len)
{
	struct state_file *f = ctx;
	const char *p = data;
	ssize_t n;

	while (len > 0) {
		n = write(f->fd, p, len);
		if (n <= 0 && errno != EINTR)
			return n < 0 ? -errno : -EIO;
		if (n > 0) {
			p += n;
			len -= n;
			f->len += n;
		}
	}
	return 0;
}

/* The file goes, the guest stands; then wait for what the other says. In words, if it says no. */
static void give_state(struct guest_upgrade *u, struct state_file *f)
{
	struct upgrade_msg msg = { .kind = MSG_STATE, .stopped_ns = u->stopped_ns,
				   .image_len = f->len };
	char *json = json_dumps(u->json, JSON_COMPACT);
	int ret = json ? state_write(f, json, strlen(json)) : -ENOMEM, fd;

	msg.json_len = json ? strlen(json) : 0;
	free(json);
	if (!ret)
		ret = msg_send(u, &msg, f->fd);
	if (ret) {
		snprintf(u->error, sizeof(u->error), "the state cannot be sent: %s", strerror(-ret));
		return;
	}
	ret = msg_wait(u, &msg, &fd, TAKE_MS);
	if (fd >= 0)
		close(fd);
	msg.text[sizeof(msg.text) - 1] = '\0';
	if (ret)
		snprintf(u->error, sizeof(u->error), "the new worker %s",
			 ret == -ETIMEDOUT ? "did not take the guest in time" : "has ended");
	else if (msg.kind == MSG_REFUSED)
		snprintf(u->error, sizeof(u->error), "the new worker refuses: %.*s",
			 (int)sizeof(u->error) - 32, msg.text);
}

static void give_run(struct engine_call *op)
{
	struct guest_upgrade *u = op->data;
	struct state_file f = { .fd = memfd_create("hvd-state", MFD_CLOEXEC) };
	struct hv_sink sink = { .write = state_write, .ctx = &f };
	int ret = f.fd < 0 ? -errno : 0;

	u->stopped_ns = now_ns();
	if (ret)
		snprintf(u->error, sizeof(u->error), "%s", strerror(-ret));
	else
		ret = hv_machine_give(op->machine, &sink, &u->ran, u->error);
	if (!ret) {
		json_object_set_new(u->json, "ran", json_boolean(u->ran));
		json_object_set_new(u->json, "figures",
				    figures_to_leave(op->machine, u->guest->figures));
		/* Nobody would do with the guest what its last words ask for. */
		if (vm_events_total(u->guest) != u->events_before)
			snprintf(u->error, sizeof(u->error), "the guest ends or resets just now");
		else
			give_state(u, &f);
	}
	u->moved = owner_settle(u, OWNER_OLD) == OWNER_NEW;
	if (!ret && !u->moved)
		hv_machine_take_back(op->machine, u->ran);
	if (!u->moved)
		engine_fail(op, ret == -EIO ? API_E_DOMAIN_WRONG_STATE : API_E_UPGRADE_FAILED, "%s",
			    u->error);
	if (f.fd >= 0)
		close(f.fd);
}

static void give_consoles(struct guest_upgrade *u)
{
	struct upgrade_msg msg = { .kind = MSG_READER };
	struct console_place place;

	while (console_give(u->guest->console, &place)) {
		msg.pos = place.pos;
		msg.have = place.have;
		memcpy(msg.text, place.input, place.have);
		if (place.fd >= 0 && msg_send(u, &msg, place.fd))
			log_warning("a console's reader is lost");
		if (place.fd >= 0)
			close(place.fd);
	}
}

static void give_done(struct engine_call *op)
{
	struct guest_upgrade *u = op->data;
	struct guest *g = u->guest;

	if (!u->moved) {
		guest_upgrade_free(g);
		console_unhold(g->console);
		return;
	}
	log_info("another worker has the guest");
	give_consoles(u);
	g->final = true;
	op->result = json_pack("{s:s}", "owner", owner_names[OWNER_NEW]);
	guest_quit(g);
}

static void take_consoles(struct guest *g);

/* Why this guest cannot go now; false: the call is answered. */
static bool give_possible(struct api_call *call)
{
	struct guest *g = guest_of(call);

	/* It came just now: hvd asks again only when the old worker has passed on all it had. */
	if (g->upgrade && g->upgrade->side == SIDE_NEW && g->upgrade->peer_event) {
		take_consoles(g);
		guest_upgrade_free(g);
	}
	if (!guest_has_machine(call))
		return false;
	if ((g->state != DOMAIN_RUNNING && g->state != DOMAIN_PAUSED) ||
	    g->reason == REASON_PRESERVED || g->reason == REASON_MIGRATION ||
	    guest_migration_holds(g)) {
		guest_fail_state(call, "it is not one that runs or is paused");
		return false;
	}
	if (g->upgrade || g->quitting || g->migration_starting || !TAILQ_EMPTY(&g->jobs) || task_pending(g->slow)) {
		api_fail_text(call, API_E_JOB_CONFLICT, "the worker has long work to do");
		return false;
	}
	return true;
}

static void worker_upgrade_prepare(struct api_call *call, const void *args)
{
	struct guest *g = guest_of(call);
	struct hv_machine_files f;
	json_t *files;
	int from[4], fds[4], i;
	unsigned int n = 0;

	(void)args;
	if (!give_possible(call))
		return;
	if (hv_machine_files(g->machine, &f)) {
		api_fail_text(call, API_E_UNSUPPORTED, "another process cannot have this guest's "
			      "memory: it needs memory_backing memfd or hugetlb, and no snapshot's "
			      "files behind it");
		return;
	}
	from[0] = f.memory;
	from[1] = console_ring_fd(g->console);
	files = json_pack("{s:i,s:i}", UPGRADE_FILE_MEMORY, 0, UPGRADE_FILE_CONSOLE, 1);
	n = 2;
	if (f.kernel >= 0) {
		json_object_set_new(files, "/boot/kernel", json_integer(n));
		from[n++] = f.kernel;
	}
	if (f.initrd >= 0) {
		json_object_set_new(files, "/boot/initrd", json_integer(n));
		from[n++] = f.initrd;
	}
	for (i = 0; i < (int)n; i++) {
		fds[i] = fcntl(from[i], F_DUPFD_CLOEXEC, 3);
		if (fds[i] >= 0)
			continue;
		while (i-- > 0)
			close(fds[i]);
		json_decref(files);
		api_fail_text(call, API_E_RESOURCE_EXHAUSTED, "no more descriptors");
		return;
	}
	api_reply_fds(call, json_pack("{s:o}", "files", files), fds, n);
}

static void worker_upgrade(struct api_call *call, const void *args)
{
	struct guest *g = guest_of(call);
	struct guest_upgrade *u;

	(void)args;
	if (!give_possible(call))
		return;
	u = call->nfds == 2 ? upgrade_new(g, SIDE_OLD, call->fds[0], call->fds[1]) : NULL;
	if (!u) {
		api_fail_text(call, API_E_UPGRADE_FAILED, "no memory, or not the right files");
		return;
	}
	u->events_before = vm_events_total(g);
	u->json = json_pack("{s:s,s:s,s:i,s:b}", "state", domain_state_names[g->state], "reason",
			    domain_reason_names[g->reason], "exit_code", g->exit_code,
			    "reboot_asked", g->reboot_asked);
	if (g->detail[0])
		json_object_set_new(u->json, "detail", json_string(g->detail));
	g->upgrade = u;
	/* What the guest is given from here on would be lost. */
	console_hold(g->console);
	if (!engine_call_submit_data(call, NULL, give_run, give_done, u))
		return;
	guest_upgrade_free(g);
	console_unhold(g->console);
}

static void worker_upgrade_state(struct api_call *call, const void *args)
{
	json_t *report = guest_upgrade_report(guest_of(call));

	(void)args;
	api_reply(call, report ? report : json_pack("{s:s,s:s}", "side", "old", "owner", "idle"));
}

/* ---- the new worker: taking ---------------------------------------------------------------- */

/* What the old worker sent, copied: it could change the file behind our back. */
struct state_copy {
	char *bytes;
	size_t image_len, at;
};

static int64_t state_read(void *ctx, void *buf, size_t len)
{
	struct state_copy *s = ctx;

	if (len > s->image_len - s->at)
		len = s->image_len - s->at;
	memcpy(buf, s->bytes + s->at, len);
	s->at += len;
	return (int64_t)len;
}

static int state_copy(struct state_copy *s, const struct upgrade_msg *msg, int fd, json_t **json)
{
	size_t len, at = 0;
	ssize_t n;

	if (fd < 0 || msg->image_len > IMAGE_MAX || msg->json_len > JSON_MAX)
		return -EPROTO;
	len = msg->image_len + msg->json_len;
	s->bytes = malloc(len + 1);
	s->image_len = msg->image_len;
	s->at = 0;
	if (!s->bytes)
		return -ENOMEM;
	while (at < len && (n = pread(fd, s->bytes + at, len - at, (off_t)at)) > 0)
		at += n;
	if (at < len)
		return -EPROTO;
	*json = json_loadb(s->bytes + msg->image_len, msg->json_len, JSON_REJECT_DUPLICATES, NULL);
	return json_is_object(*json) ? 0 : -EPROTO;
}

static int take_state(struct guest_upgrade *u, struct hv_machine *m)
{
	struct hv_source source = { .read = state_read };
	struct state_copy copy = { .bytes = NULL };
	struct upgrade_msg msg;
	int fd, ret;

	ret = msg_wait(u, &msg, &fd, EXPECT_MS);
	if (!ret && msg.kind != MSG_STATE)
		ret = -EPROTO;
	if (!ret)
		ret = state_copy(&copy, &msg, fd, &u->json);
	if (fd >= 0)
		close(fd);
	if (ret) {
		snprintf(u->error, sizeof(u->error), "no state came: %s",
			 ret == -EPIPE ? "the old worker has ended or gave up" : strerror(-ret));
	} else {
		u->stopped_ns = msg.stopped_ns;
		u->image_len = copy.image_len;
		u->ran = json_is_true(json_object_get(u->json, "ran"));
		source.ctx = &copy;
		ret = hv_machine_load_state(m, &source, u->error);
	}
	free(copy.bytes);
	return ret;
}

/* For people: after it runs, and not long. */
static void take_first_ns(struct guest_upgrade *u, struct hv_machine *m)
{
	unsigned int us;

	for (us = 0; u->ran && us < FIRST_US && !u->first_ns; us += 100) {
		u->first_ns = hv_machine_first_instruction_ns(m);
		if (!u->first_ns)
			usleep(100);
	}
}

static void take_run(struct engine_call *op)
{
	struct guest_upgrade *u = op->guest->upgrade;
	struct upgrade_msg msg = { .kind = MSG_TOOK };
	int ret = take_state(u, op->machine);

	u->moved = owner_settle(u, ret ? OWNER_OLD : OWNER_NEW) == OWNER_NEW;
	if (u->moved && u->ran) {
		ret = hv_machine_start(op->machine);
		op->guest->running = !ret;
		if (ret)
			log_err("the guest cannot go on: %s", strerror(-ret));
	}
	if (!u->moved) {
		msg.kind = MSG_REFUSED;
		if (!u->error[0])
			snprintf(u->error, sizeof(u->error), "the old worker has taken it back");
		snprintf(msg.text, sizeof(msg.text), "%s", u->error);
	}
	/* Only to spare the other its time-out: the word says it all. */
	msg_send(u, &msg, -1);
	if (u->moved)
		take_first_ns(u, op->machine);
}

/* What has come from the old worker; ends with it. */
static void take_consoles(struct guest *g)
{
	struct guest_upgrade *u = g->upgrade;
	struct console_place place;
	struct upgrade_msg msg;
	int ret;

	while (!(ret = msg_recv(u, &msg, &place.fd))) {
		if (msg.kind != MSG_READER || place.fd < 0 || msg.have > CONSOLE_INPUT_MAX) {
			if (place.fd >= 0)
				close(place.fd);
			continue;
		}
		place.pos = msg.pos;
		place.have = msg.have;
		memcpy(place.input, msg.text, msg.have);
		console_take(g->console, &place);
	}
	/* The old worker has ended: that is all. */
	if (ret != -EAGAIN && ret != -EINTR)
		guest_upgrade_free(g);
}

static void peer_readable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	take_consoles(arg);
}

/* The state of the domain goes on as the old worker had it. */
static void take_over_state(struct guest *g, const json_t *json)
{
	int state = domain_state_by_name(json_string_value(json_object_get(json, "state")));
	int reason = domain_reason_by_name(json_string_value(json_object_get(json, "reason")));
	const char *detail = json_string_value(json_object_get(json, "detail"));

	bool ran = json_is_true(json_object_get(json, "ran"));

	g->state = ran ? DOMAIN_RUNNING : DOMAIN_PAUSED;
	g->reason = reason < 0 ? REASON_UNKNOWN : reason;
	/* A suspend or resume came in just before the old worker gave it away. */
	if (state != (int)g->state)
		g->reason = ran ? REASON_UNPAUSED : REASON_USER;
	g->exit_code = json_integer_value(json_object_get(json, "exit_code"));
	g->reboot_asked = json_is_true(json_object_get(json, "reboot_asked"));
	snprintf(g->detail, sizeof(g->detail), "%s", detail ? detail : "");
	g->upgraded = true;
	g->figures = json_incref(json_object_get(json, "figures"));
	vm_watch_events(g);
}

static void take_notify(struct guest *g, const struct guest_upgrade *u)
{
	json_t *note = json_pack("{s:s,s:s}", "side", "new", "owner",
				 owner_names[u->moved ? OWNER_NEW : OWNER_OLD]);

	if (u->moved) {
		json_object_set_new(note, "report", guest_report(g));
		json_object_set_new(note, "state_bytes", json_integer((json_int_t)u->image_len));
		if (u->first_ns > u->stopped_ns)
			json_object_set_new(note, "downtime_us",
					    json_integer((u->first_ns - u->stopped_ns) / 1000));
	} else {
		json_object_set_new(note, "message", json_string(u->error));
	}
	api_notify(&g->hvd->session, "worker.upgraded", note);
}

static void take_done(struct engine_call *op)
{
	struct guest *g = op->guest;
	struct guest_upgrade *u = g->upgrade;

	if (u->moved)
		take_over_state(g, u->json);
	if (g->hvd)
		take_notify(g, u);
	if (!u->moved) {
		log_info("the old worker keeps the guest: %s", u->error);
		guest_quit(g);
		return;
	}
	log_info("the guest has been taken over");
	u->peer_event = event_new(g->base, u->peer, EV_READ | EV_PERSIST, peer_readable, g);
	if (!u->peer_event || event_add(u->peer_event, NULL))
		guest_upgrade_free(g);
}

int guest_upgrade_expect(struct guest *g, const struct guest_upgrade_files *files)
{
	int ret;

	ret = console_ring_take(g->console, files->console);
	if (ret)
		return ret;
	g->upgrade = upgrade_new(g, SIDE_NEW, files->owner, files->peer);
	if (!g->upgrade)
		return -EINVAL;
	ret = engine_own_submit(g, take_run, take_done);
	if (ret)
		guest_upgrade_free(g);
	return ret;
}

/* ---- rows ------------------------------------------------------------------------------------ */

#define UPGRADE_ERRORS \
	API_ERRORS(API_E_DOMAIN_WRONG_STATE, API_E_JOB_CONFLICT, API_E_UNSUPPORTED, \
		   API_E_UPGRADE_FAILED)

const struct api_method guest_upgrade_rows[] = {
	{
		.name = "worker.upgrade_prepare",
		.summary = "What another worker needs to make the same machine.",
		.result = &schema_any,
		.privilege = API_RW,
		.flags = API_INTERNAL | API_GIVES_FDS,
		.handler = worker_upgrade_prepare,
		.errors = UPGRADE_ERRORS,
	},
	{
		.name = "worker.upgrade",
		.summary = "Give the guest to the worker behind the second descriptor.",
		.result = &schema_any,
		.privilege = API_RW,
		.flags = API_INTERNAL | API_TAKES_FDS,
		.handler = worker_upgrade,
		.errors = UPGRADE_ERRORS,
	},
	{
		.name = "worker.upgrade_state",
		.summary = "Who has the guest, as this worker knows.",
		.result = &schema_any,
		.privilege = API_RW,
		.flags = API_INTERNAL,
		.handler = worker_upgrade_state,
	},
	{ 0 },
};
