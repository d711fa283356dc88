/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Figures for monitoring.
 */
#include "daemon/metrics.h"

#include "daemon/domain.h"
#include "daemon/events.h"
#include "daemon/hvd.h"
#include "daemon/jobs.h"
#include "daemon/log.h"
#include "daemon/sockets.h"
#include "daemon/tasks.h"
#include "daemon/worker_link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/http.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HTTP_TIMEOUT_SEC 10

struct metrics_server {
	struct evhttp *http;
};

static void one(FILE *f, const char *name, const char *type, const char *help, uint64_t value)
{
	/* A counter's sample is named NAME_total; the family is not. */
	fprintf(f, "# TYPE %s %s\n# HELP %s %s\n%s%s %" PRIu64 "\n", name, type, name, help, name,
		strcmp(type, "counter") ? "" : "_total", value);
}

static void print_domains(FILE *f, struct hvd *hvd)
{
	unsigned int by_state[DOMAIN_STATE_COUNT] = { 0 };
	struct domain *dom;
	int i;

	LIST_FOREACH(dom, &hvd->domains, link)
		by_state[dom->state]++;
	fprintf(f, "# TYPE hvd_domains gauge\n# HELP hvd_domains Domains by state.\n");
	for (i = 0; i < DOMAIN_STATE_COUNT; i++)
		fprintf(f, "hvd_domains{state=\"%s\"} %u\n", domain_state_names[i], by_state[i]);
	fprintf(f, "# TYPE hvd_domain_cpu_seconds counter\n"
		   "# HELP hvd_domain_cpu_seconds CPU time of a domain's worker.\n");
	/* Names have no character that would need escaping. */
	LIST_FOREACH(dom, &hvd->domains, link)
		if (dom->worker)
			fprintf(f, "hvd_domain_cpu_seconds_total{domain=\"%s\"} %.6f\n", dom->name,
				worker_cpu_time(dom->worker) / 1e9);
}

char *metrics_print(struct hvd *hvd)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return NULL;
	one(f, "hvd_connections", "gauge", "Client connections.", hvd->server.nconns);
	one(f, "hvd_connections_accepted", "counter", "Connections accepted.", hvd->server.accepted);
	one(f, "hvd_connections_refused", "counter", "Connections refused.", hvd->server.refused);
	one(f, "hvd_connections_dropped", "counter", "Connections closed for a limit.",
	    hvd->server.dropped);
	one(f, "hvd_unsent_bytes", "gauge", "Bytes that clients have not read.",
	    hvd->server.out_bytes);
	one(f, "hvd_calls", "counter", "Requests handled.", hvd->table.calls);
	one(f, "hvd_call_failures", "counter", "Requests answered with an error.",
	    hvd->table.failures);
	one(f, "hvd_events", "counter", "Number of the last event.", events_last_seq(hvd));
	one(f, "hvd_jobs_running", "gauge", "Jobs that run.", jobs_running(hvd));
	one(f, "hvd_file_tasks", "gauge", "File operations that wait or run.",
	    task_pending(hvd->files));
	print_domains(f, hvd);
	fprintf(f, "# EOF\n");
	if (fclose(f)) {
		free(text);
		return NULL;
	}
	return text;
}

/* ---- HTTP -------------------------------------------------------------------------------- */

static void http_metrics(struct evhttp_request *request, void *arg)
{
	struct evbuffer *body = evbuffer_new();
	char *text = metrics_print(arg);

	if (!body || !text) {
		evhttp_send_error(request, HTTP_INTERNAL, "no memory");
	} else {
		evbuffer_add(body, text, strlen(text));
		evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type",
				  "application/openmetrics-text; version=1.0.0; charset=utf-8");
		evhttp_send_reply(request, HTTP_OK, "OK", body);
	}
	free(text);
	if (body)
		evbuffer_free(body);
}

int metrics_serve(struct hvd *hvd)
{
	const char *where = hvd->config.metrics_listen;
	struct metrics_server *m;
	int fd;

	if (!where[0])
		return 0;
	fd = !strncmp(where, "unix:", 5) ? api_listen_unix(where + 5, 0666, (gid_t)-1) :
					   sockets_listen_loopback(where);
	if (fd < 0)
		return fd;
	m = calloc(1, sizeof(*m));
	if (m)
		m->http = evhttp_new(hvd->base);
	if (!m || !m->http) {
		free(m);
		close(fd);
		return -ENOMEM;
	}
	evhttp_set_allowed_methods(m->http, EVHTTP_REQ_GET);
	evhttp_set_max_headers_size(m->http, 8192);
	evhttp_set_max_body_size(m->http, 0);
	evhttp_set_timeout(m->http, HTTP_TIMEOUT_SEC);
	if (evhttp_set_cb(m->http, "/metrics", http_metrics, hvd) ||
	    evhttp_accept_socket(m->http, fd)) {
		evhttp_free(m->http);
		free(m);
		close(fd);
		return -ENOMEM;
	}
	hvd->metrics = m;
	return 0;
}

void metrics_stop(struct hvd *hvd)
{
	if (!hvd->metrics)
		return;
	evhttp_free(hvd->metrics->http);
	free(hvd->metrics);
	hvd->metrics = NULL;
}
