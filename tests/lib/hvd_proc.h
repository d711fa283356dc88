/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A private hvd for tests and benchmarks in C: spawned into a temporary folder,
 * looked at through /proc, spoken to over a raw socket.
 */
#ifndef TESTS_LIB_HVD_PROC_H
#define TESTS_LIB_HVD_PROC_H

#include <jansson.h>
#include <sys/types.h>

struct hvd_proc {
	pid_t pid;
	char dir[64];
	char sock[128], ro_sock[128];
};

/* @conf: text of its configuration file, or NULL. 0, or -1 with a message on stderr. */
int hvd_proc_start(struct hvd_proc *p, const char *conf);
/* SIGTERM, wait, remove the folder. The exit status; 128 + signal when killed. */
int hvd_proc_stop(struct hvd_proc *p);
int hvd_proc_fds(const struct hvd_proc *p);
/* Private memory of a process in KiB: what it alone has in RAM. */
long proc_private_kib(pid_t pid);

/* A blocking connection with a receive time limit of @timeout_s. */
int raw_connect(const char *path, int timeout_s);
int raw_send(int fd, const void *data, size_t len);
/* One line, parsed; NULL at the end, on a time-out or when it is no JSON. */
json_t *raw_recv(int fd);
/* Send one line (the newline is added) and receive one. */
json_t *raw_call(int fd, const char *line);
/* The error's stable name of an answer: "ok" for a result, "none" for NULL. */
const char *answer_name(const json_t *answer);
const char *answer_field(const json_t *answer);

#endif
