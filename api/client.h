/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libhvdclient: talk to hvd from C.
 *
 *	struct hvd_client *c;
 *	struct hvd_reply *r;
 *
 *	if (hvd_client_open(NULL, &c) < 0)
 *		err(1, "hvd");
 *	if (hvd_client_call(c, "domain.list", NULL, 5000, &r) == 0)
 *		puts(json_dumps(hvd_reply_result(r), 0));
 *	else if (r)
 *		warnx("%s: %s", hvd_reply_error_name(r), hvd_reply_error_message(r));
 *	hvd_reply_free(r);
 *	hvd_client_close(c);
 *
 * A client belongs to one thread. It needs no event loop: hvd_client_call() waits
 * by itself. In an event loop, poll hvd_client_fd() for hvd_client_events() and
 * call hvd_client_dispatch(), which runs the callbacks of answers and events.
 * Callbacks may make calls, but must not close the client.
 */
#ifndef HVD_CLIENT_H
#define HVD_CLIENT_H

#include <jansson.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hvd_client;
struct hvd_reply;

/*
 * Connect to @uri:
 *	unix:PATH		a socket
 *	tcp:HOST:PORT		a daemon's migration listener; loopback addresses only, for
 *				there is neither encryption nor authentication
 *	ssh://[USER@]HOST[:PORT][/PATH]
 *				"hvctl proxy" on HOST through ssh, to the socket PATH there
 *	exec:COMMAND		a shell command whose stdin and stdout are the stream
 *	NULL or ""		$HVD_URI, else the caller's own daemon
 *				($XDG_RUNTIME_DIR/hvd/hvd.sock) where one listens, else
 *				unix:/run/hvd/hvd.sock; the read-only socket beside it if
 *				the read-write one refuses the caller
 * Returns 0 and a new client in @out, which the caller frees with
 * hvd_client_close(); -EINVAL for a malformed URI, -EOPNOTSUPP for a tcp address that
 * is not loopback, or the -errno of the connect.
 */
int hvd_client_open(const char *uri, struct hvd_client **out);
/* Pending calls get no callback. NULL is allowed. */
void hvd_client_close(struct hvd_client *client);
/* The URI that was connected to, for messages. */
const char *hvd_client_uri(const struct hvd_client *client);
/* Whether descriptors can come with answers: not over ssh or exec. */
int hvd_client_passes_fds(const struct hvd_client *client);

/* For a caller's own event loop: the descriptor, and POLLIN or POLLIN|POLLOUT. */
int hvd_client_fd(const struct hvd_client *client);
short hvd_client_events(const struct hvd_client *client);
/*
 * Read and write what goes without waiting, and run callbacks. 0, or -EPIPE when
 * the connection is lost, -EPROTO when the peer does not speak the protocol; from
 * then on every call fails and all pending calls have got their callback.
 */
int hvd_client_dispatch(struct hvd_client *client);
/* The same, but wait up to @timeout_ms (-1: for ever) for something to happen. */
int hvd_client_wait(struct hvd_client *client, int timeout_ms);

/*
 * Call @method with @params (an object; the reference is taken; NULL: none) and wait
 * for the answer up to @timeout_ms (-1: for ever). Events that come meanwhile run
 * their callback. Returns 0 with the reply in @reply; -EREMOTE when hvd answered with
 * an error, also with a reply; or with a NULL reply -ETIMEDOUT, -EPIPE, -EPROTO,
 * -EMSGSIZE (the request is over the line limit), -ENOMEM.
 */
int hvd_client_call(struct hvd_client *client, const char *method, json_t *params, int timeout_ms,
		    struct hvd_reply **reply);
/* The same with descriptors for hvd; they stay the caller's. */
int hvd_client_call_fds(struct hvd_client *client, const char *method, json_t *params,
			const int *fds, unsigned int nfds, int timeout_ms,
			struct hvd_reply **reply);

/*
 * Call without waiting. @fn is called once from dispatch with the reply, which it
 * owns, or with NULL when the connection was lost. @id may be NULL.
 */
typedef void (*hvd_reply_fn)(struct hvd_client *client, struct hvd_reply *reply, void *data);
int hvd_client_call_async(struct hvd_client *client, const char *method, json_t *params,
			  hvd_reply_fn fn, void *data, uint64_t *id);
/* Forget a pending call: its answer, if one comes, is dropped. -ENOENT: not pending. */
int hvd_client_cancel(struct hvd_client *client, uint64_t id);

/*
 * Events: set the callback first, then call event.subscribe as any other method.
 * @event is the params of the notification and borrowed.
 */
typedef void (*hvd_event_fn)(struct hvd_client *client, const json_t *event, void *data);
void hvd_client_on_event(struct hvd_client *client, hvd_event_fn fn, void *data);

/* What a reply holds; strings and JSON are borrowed and live as long as the reply. */
json_t *hvd_reply_result(const struct hvd_reply *reply);	/* NULL: it is an error */
json_t *hvd_reply_error(const struct hvd_reply *reply);		/* NULL: it is a result */
int hvd_reply_error_code(const struct hvd_reply *reply);
const char *hvd_reply_error_name(const struct hvd_reply *reply);	/* "" when missing */
const char *hvd_reply_error_message(const struct hvd_reply *reply);
const char *hvd_reply_error_field(const struct hvd_reply *reply);
const char *hvd_reply_error_state(const struct hvd_reply *reply);
const char *hvd_reply_error_hint(const struct hvd_reply *reply);
unsigned int hvd_reply_fd_count(const struct hvd_reply *reply);
/* Take descriptor @i: the caller closes it. -ENOENT when there is none or it is taken. */
int hvd_reply_take_fd(struct hvd_reply *reply, unsigned int i);
void hvd_reply_free(struct hvd_reply *reply);

/*
 * Copy bytes between stdin/stdout-like descriptors and the socket of @uri until both
 * ends are closed: what "hvctl proxy" does for ssh://. 0 or -errno.
 */
int hvd_client_proxy(const char *uri, int in_fd, int out_fd);

#ifdef __cplusplus
}
#endif

#endif
