/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A live migration: both ends of the stream. doc/migration.md has the protocol.
 *
 * The caller gives each side its machine as a table of operations, and a thread to
 * run it on; further threads, one for each channel, are the stream's own.
 */
#ifndef HV_MIGRATE_STREAM_H
#define HV_MIGRATE_STREAM_H

#include "hv/migrate/channel.h"
#include "hv/migrate/handover.h"
#include "hv/vm/vm.h"

#define STREAM_CHANNELS_MAX 16
#define STREAM_VERSION	    1
#define STREAM_ID_SIZE	    16

#define STREAM_VERIFY (1U << 0) /* digests of all pages are compared before the hand-over */

/* The payload of FRAME_HELLO. */
struct __attribute__((packed)) stream_hello {
	char magic[8]; /* "HVDMIGR1" */
	uint32_t version, flags;
	uint8_t id[STREAM_ID_SIZE]; /* of the migration */
	uint32_t channel, channels; /* channel 0 is the main one */
	uint64_t memory;	    /* bytes of all slots */
	uint32_t page_size;
	uint32_t reserved;
};

/* Where one is. Read by others without a lock: each field is atomic. */
enum stream_phase {
	STREAM_SETUP,
	STREAM_PRECOPY,	 /* the guest runs while its memory goes over */
	STREAM_SWITCH,	 /* the guest is stopped */
	STREAM_HANDOVER, /* the source has committed, or the destination is ready */
	STREAM_END,
};

struct stream_progress {
	uint64_t total;		/* bytes of guest memory */
	uint64_t remaining;	/* bytes of the present round that are still to go */
	uint64_t transferred;	/* bytes on the wire */
	uint64_t normal, zero;	/* pages */
	uint64_t dirty_pages_rate; /* a second, in the last round */
	uint64_t iteration;
	uint64_t expected_downtime_us, downtime_us, total_us, setup_us;
	uint64_t bits_per_s;	/* of the last round, on the wire */
	uint64_t throttle;	/* percent of the vCPUs' time that is taken from them */
	uint64_t phase;		/* enum stream_phase */
};

/* May change while it runs: each field is atomic. */
struct stream_params {
	uint64_t bytes_per_s;	   /* 0: no limit */
	uint64_t downtime_us;
	uint32_t zstd_level;	   /* 0: not compressed */
	uint32_t auto_converge;
	uint32_t throttle_initial, throttle_increment, throttle_max; /* percent */
};

struct stream_ops {
	/* Source. Stop the guest, and set guest_ran. -EIO: it has ended. */
	int (*stop)(void *ctx, struct migrate_error *error);
	/* Source, stopped: let it run again. */
	void (*resume)(void *ctx);
	/* Source, stopped: its records. */
	int (*save)(void *ctx, struct rec_writer *w, struct migrate_error *error);
	/* Source: take this share of their time from the vCPUs; 0: no more. */
	void (*throttle)(void *ctx, unsigned int percent);
	/* Destination: load the records; the guest does not run. */
	int (*load)(void *ctx, const void *image, size_t len, struct migrate_error *error);
	/* Destination: it is ours; run it if it ran. Cannot fail: what could has been done in load. */
	void (*run)(void *ctx);
};

struct stream {
	struct hv_vm *vm;
	const struct stream_ops *ops;
	void *ctx;
	uint8_t id[STREAM_ID_SIZE];
	uint32_t flags;
	uint32_t stall_ms;
	int stop_fd; /* readable: abort, as long as that can be */
	struct channel channels[STREAM_CHANNELS_MAX]; /* open; closed by the caller */
	unsigned int nr_channels;
	struct fault fault; /* of tests */
	struct channel_pace pace;
	struct stream_params *params;	  /* shared with who changes them */
	struct stream_progress *progress; /* shared with who reads them */
	bool guest_ran;	 /* it was not paused when it was stopped for the switch-over */
	/* enum handover_state; written by the stream's thread alone. */
	uint32_t handover;
	struct migrate_error error; /* why it failed */
};

static inline enum handover_state stream_handover(const struct stream *s)
{
	return (enum handover_state)READ_ONCE(s->handover);
}

#define STREAM_STATE_RAN 1U /* flag of FRAME_STATE: the guest ran */

/* Bytes of all channels in both directions, to tell a slow peer from a dead one. */
uint64_t stream_traffic(const struct stream *s);
/* As channel_wait() of the main channel, as long as any channel moves. */
int stream_wait_main(struct stream *s);
/* Moves s->handover by the table; -EPROTO. */
int stream_step(struct stream *s, enum handover_event event);

/*
 * Source: from the first byte to the confirmation. 0: the destination runs the guest.
 * Else s->handover says whose it is: OWNER, then it runs here (resumed if it was
 * stopped); COMMITTED, then it is stopped, and stream_resolve_source() goes on.
 */
int stream_send(struct stream *s);
/*
 * Destination. 0: the guest runs here. Else DISCARDED: the machine has not run and is
 * to be thrown away; or READY: stream_resolve_destination() goes on.
 */
int stream_receive(struct stream *s);
/*
 * Over a new connection (channels[0]): the source tells its decision, and both act on
 * it. Source: 0 once the destination has confirmed, or has been told to discard.
 * Destination: 0: it runs; -ECANCELED: discarded, as told. Other errors change nothing.
 */
int stream_resolve_source(struct stream *s);
int stream_resolve_destination(struct stream *s);

#endif
