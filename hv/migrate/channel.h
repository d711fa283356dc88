/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A channel: frames over a connected socket, or a pair of pipes.
 *
 *	offset	size
 *	0	2	type, enum frame_type
 *	2	2	flags of the type
 *	4	4	length of the payload
 *	8	8	argument of the type
 *	16	4	CRC32C of the payload
 *	20	4	CRC32C of the first 20 bytes
 *
 * One thread sends on a channel at a time and one receives; those may be two. Calls
 * return when all is done, or with an error: -ECANCELED once the stop descriptor
 * is readable, -ETIMEDOUT when the peer does not take or give a byte for the
 * channel's stall time, -ECONNRESET at its end, -EBADMSG for what is no frame.
 */
#ifndef HV_MIGRATE_CHANNEL_H
#define HV_MIGRATE_CHANNEL_H

#include <stddef.h>
#include <stdint.h>

#include "hv/migrate/fault.h"
#include "hv/migrate/record.h"

#define CHANNEL_HEADER_SIZE  24
#define CHANNEL_PAYLOAD_MAX  (1U << 20)	    /* but of a frame that carries the state: */
#define CHANNEL_STATE_MAX    REC_IMAGE_MAX

enum frame_type {
	FRAME_HELLO = 1,  /* source, first on each channel: struct hello of stream.h */
	FRAME_WELCOME,	  /* destination, main channel: it takes the guest's memory */
	FRAME_PAGES,	  /* source: pages.h */
	FRAME_MARK,	  /* source, each channel: argument: a number; nothing of before is on its way */
	FRAME_MARKED,	  /* destination, main channel: all channels have got to the mark */
	FRAME_DIGESTS,	  /* source, main channel: argument: first gpa; a digest per page */
	FRAME_STATE,	  /* source, main channel: an image of records */
	FRAME_READY,	  /* destination: prepared */
	FRAME_GO,	  /* source: committed */
	FRAME_RUNNING,	  /* destination: the guest runs */
	FRAME_ABORT,	  /* source: it keeps the guest; payload: why */
	FRAME_FAIL,	  /* destination: it has discarded what it had; payload: why */
	FRAME_RESOLVE,	  /* source, on a new connection: argument: enum resolve; payload: id */
	FRAME_TYPES,
};

struct frame {
	uint16_t type, flags;
	uint32_t length;
	uint64_t arg;
};

/* How fast all channels of a migration together may send. Shared, atomic. */
struct channel_pace {
	uint64_t bytes_per_s; /* 0: as fast as it goes */
	uint64_t next_ns;     /* when the budget allows the next byte */
};

struct channel {
	int in, out;	      /* the same for a socket; owned */
	int stop_fd;	      /* borrowed; -1: none */
	uint32_t stall_ms;    /* 0: wait for ever */
	struct channel_pace *pace; /* borrowed; NULL: none */
	struct fault *fault;	   /* of tests; borrowed; NULL: none */
	uint64_t sent, received; /* bytes; atomic for readers */
	uint8_t *buffer;      /* of a received payload; owned */
	size_t room;
};

/* Duplicates the descriptors, and makes them non-blocking. -errno. */
int channel_open(struct channel *c, int in, int out, int stop_fd);
void channel_close(struct channel *c); /* twice is fine */

/* The payload in two parts, either of which may be empty. */
int channel_send(struct channel *c, const struct frame *f, const void *a, size_t alen,
		 const void *b, size_t blen);
/* Until a byte can be received: 0, -ETIMEDOUT, -ECANCELED; the end of the stream counts as one. */
int channel_wait(struct channel *c);
/* The payload is in c->buffer until the next call. */
int channel_receive(struct channel *c, struct frame *f, struct migrate_error *error);

const char *frame_name(unsigned int type);

#endif
