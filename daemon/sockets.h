/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The daemon's sockets: its own in the runtime folder, or those that the service
 * manager hands over, by the names hvd.sock and hvd-ro.sock.
 */
#ifndef DAEMON_SOCKETS_H
#define DAEMON_SOCKETS_H

struct hvd;

/* 0 or -errno. The lock must be held: what stands at the paths is replaced. */
int sockets_open(struct hvd *hvd);
/* The listener for migrations of [Migration] Listen=, if there is one. 0 or -errno. */
int sockets_open_peers(struct hvd *hvd);
/* "127.0.0.1:PORT" or "[::1]:PORT": a listening descriptor or -errno. */
int sockets_listen_loopback(const char *where);
void sockets_unlink(struct hvd *hvd);

#endif
