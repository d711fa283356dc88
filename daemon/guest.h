/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The state of a worker process. The event loop owns it; calls into the engine that
 * may sleep run on the engine thread, one after the other, as engine_call objects.
 *
 *	loop thread:   handler -> engine_call_submit()        -> done: answer the call
 *	engine thread:              run(): hv_*() calls, result as JSON
 *
 * worker_vm.c alone calls the engine for the machine's life; methods_vm_*.c call it
 * from their run functions.
 */
#ifndef DAEMON_GUEST_H
#define DAEMON_GUEST_H

#include "api/server.h"
#include "daemon/domain_config.h"
#include "daemon/domain_state.h"
#include "daemon/guest_job.h"
#include "daemon/sandbox.h"
#include "daemon/tasks.h"

struct console;
struct guest_snapshot;
struct guest_migration;
struct guest_upgrade;
struct hv_machine;
struct vm_events;

struct guest {
	struct event_base *base;
	struct api_table table;
	struct api_server server;
	struct api_conn *hvd;		/* NULL: no supervisor for now */
	struct sandbox sandbox;
	struct task_thread *engine;	/* the machine's life and looks into it */
	struct task_thread *slow;	/* what takes its time: dirty rate */
	const char *name;
	json_t *config_json;
	struct domain_config config;	/* borrows from config_json */
	struct hv_machine *machine;	/* NULL before the start and after the end */
	struct vm_events *vm_events;
	struct console *console;
	struct guest_migration *migration;	/* the last one; NULL: none yet */
	struct guest_migration *migration_starting; /* the engine thread has it; NULL: none */
	struct guest_job_list jobs;	/* that run */
	json_t *jobs_unheard;		/* last reports without an hvd to hear them; NULL: none */
	struct guest_snapshot *snapshot;	/* that is being taken; NULL: none */
	struct guest_upgrade *upgrade;	/* to or from another worker; NULL: none is under way */
	bool upgraded;			/* it came from another worker */
	json_t *figures;		/* that worker's, when it gave the guest away; NULL: none */
	enum domain_state state;
	enum domain_reason reason;
	char detail[160];
	int exit_code;
	unsigned int resets;		/* restarts that the guest brought about */
	int64_t resets_told_us;		/* when hvd was last told of one; 0: never */
	bool resets_timer;		/* it will be told again */
	bool started;			/* worker.start has been answered well */
	bool final;			/* over; waits to be dismissed */
	bool reboot_asked;		/* the next power-off is a restart */
	bool quitting;
	bool running;			/* [engine thread] vCPUs may run */
};

static inline struct guest *guest_of(const struct api_call *call)
{
	return call->table->context;
}

/* The one change of a worker's state: notes it and tells hvd. */
void guest_set_state(struct guest *g, enum domain_state state, enum domain_reason reason,
		     const char *detail);
/* The same for the last one: the machine is over. */
void guest_end(struct guest *g, enum domain_state state, enum domain_reason reason,
	       const char *detail);
json_t *guest_report(const struct guest *g);
/* Go, after the readers of the console have had the guest's last words, or soon. */
void guest_quit(struct guest *g);
/* Whether calls for the machine make sense; else answers domain.wrong_state. */
bool guest_has_machine(struct api_call *call);
void guest_fail_state(struct api_call *call, const char *why);

/* ---- engine calls ------------------------------------------------------------ */

struct engine_call {
	struct task task;
	struct guest *guest;
	struct api_call *call;		/* NULL: the worker's own */
	const void *args;
	struct hv_machine *machine;
	/* On the engine thread: fills result, or err by engine_fail(). */
	void (*run)(struct engine_call *op);
	/* On the loop, before the answer; may change result or err; NULL: nothing. */
	void (*done)(struct engine_call *op);
	json_t *result;
	int fd;				/* to pass with the answer, -1: none */
	bool failed;
	struct api_error err;
	void *data;
};

/* Answers the call itself when there is no machine or the queue is full. */
void engine_call_submit(struct api_call *call, const void *args,
			void (*run)(struct engine_call *op), void (*done)(struct engine_call *op));
/* The same with data, which stays the caller's when it answers at once: then -errno. */
int engine_call_submit_data(struct api_call *call, const void *args,
			    void (*run)(struct engine_call *op),
			    void (*done)(struct engine_call *op), void *data);
/* The worker's own; 0 or -errno. */
int engine_own_submit(struct guest *g, void (*run)(struct engine_call *op),
		      void (*done)(struct engine_call *op));
void engine_fail(struct engine_call *op, enum api_err id, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* By the -errno of an engine call that has no better meaning; @what failed, in words. */
void engine_fail_errno(struct engine_call *op, int ret, const char *what);

/* ---- the machine (worker_vm.c) -------------------------------------------------- */

/* @tsc_khz of the host, 0: unknown. */
int vm_init(struct guest *g, uint32_t tsc_khz);
void vm_fini(struct guest *g);
/* Threads that call the engine: struct task_thread_config enter and leave. */
void vm_thread_enter(void *ctx);
void vm_thread_leave(void *ctx);
/* Look at the machine's events from now on, also at those that came before. */
void vm_watch_events(struct guest *g);
/* Any thread: how many there have been. */
uint64_t vm_events_total(struct guest *g);
/* The row of worker.start. */
extern const struct api_method vm_start_rows[];
/* Free the machine while the process stays, on the engine thread. */
void vm_release(struct guest *g);
/* Handlers of domain.*. */
void vm_suspend(struct api_call *call, const void *args);
void vm_resume(struct api_call *call, const void *args);
void vm_reset(struct api_call *call, const void *args);
void vm_nmi(struct api_call *call, const void *args);
void vm_shutdown(struct api_call *call, const void *args);
void vm_reboot(struct api_call *call, const void *args);

/* ---- the console (worker_console.c) ---------------------------------------------- */

int console_init(struct guest *g);
void console_fini(struct guest *g);
/* Bytes from the guest; any thread. */
void console_write(struct console *c, const void *data, size_t len);
/* A new reader: history first, then live. The descriptor for the caller, or -errno. */
int console_attach(struct console *c);
/* Whether all readers have had everything. */
bool console_drained(struct console *c);
uint64_t console_bytes(struct console *c);

/* For another worker that takes the guest over; loop only. */
#define CONSOLE_INPUT_MAX 1024
struct console_place {
	int fd;
	uint64_t pos;			/* what it has had, of all that was ever written */
	size_t have;			/* input that the guest has not taken yet */
	char input[CONSOLE_INPUT_MAX];
};
/* The descriptor of the history, borrowed. */
int console_ring_fd(const struct console *c);
/* Go on with another worker's history; @fd is borrowed. 0 or -errno. */
int console_ring_take(struct console *c, int fd);
/* Take no input from the readers, until it is undone. */
void console_hold(struct console *c);
void console_unhold(struct console *c);
/* Part with a reader: its fd is the caller's. False: there is none left. */
bool console_give(struct console *c, struct console_place *place);
/* Have it; takes the fd. */
void console_take(struct console *c, const struct console_place *place);

#endif
