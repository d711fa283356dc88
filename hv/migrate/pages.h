/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guest pages in FRAME_PAGES, and their digests. The payload:
 *
 *	u32 ranges, u32 data: bytes of the pages' data, not compressed
 *	per range: u64 gpa, u32 pages, u32 kind (PAGES_DATA, PAGES_ZERO)
 *	the data of the PAGES_DATA ranges in order; with PAGES_ZSTD one zstd frame
 */
#ifndef HV_MIGRATE_PAGES_H
#define HV_MIGRATE_PAGES_H

#include "hv/base/lock.h"
#include "hv/migrate/channel.h"
#include "hv/vm/vm.h"

#define PAGES_CHUNK 64U /* most pages of a frame */
#define PAGES_ZSTD  1U	/* flag of the frame */

enum pages_kind { PAGES_DATA, PAGES_ZERO };

/* A thread's buffers. */
struct pages_sender {
	struct hv_vm *vm;
	uint8_t *raw, *packed; /* owned */
	size_t packed_room;
	void *zstd;	       /* owned */
	uint64_t normal, zero; /* pages sent; atomic for readers */
};

int pages_sender_init(struct pages_sender *s, struct hv_vm *vm);
void pages_sender_free(struct pages_sender *s);
/* At most PAGES_CHUNK. level 0: not compressed. As channel_send(); -EFAULT: no memory there. */
int pages_send(struct pages_sender *s, struct channel *c, hv_gpa_t gpa, unsigned int pages,
	       int level);

/* Copy of the range, page by page, for others that write it somewhere. True: all zero, not read. */
bool pages_are_hole(struct hv_vm *vm, hv_gpa_t gpa, uint64_t len);

/* What a destination keeps. Threads of several channels share `present`. */
struct pages_receiver {
	struct hv_vm *vm;
	uint64_t *present; /* a bit per gfn that has had data; atomic; owned by the first */
	uint64_t gfns;
	bool owns;
	/* Files take one writer at a time, and whoever waits there spins. The first's. */
	struct hv_spinlock own_lock, *file_lock;
	uint8_t *raw;	   /* owned */
	void *zstd;	   /* owned */
	uint64_t normal, zero; /* atomic for readers */
};

/* share NULL: the first of the receivers, whose memory is all zero. */
int pages_receiver_init(struct pages_receiver *r, struct hv_vm *vm,
			const struct pages_receiver *share);
void pages_receiver_free(struct pages_receiver *r);
/* -EBADMSG, -EPROTO with error; -ENOMEM. */
int pages_receive(struct pages_receiver *r, const struct frame *f, const uint8_t *payload,
		  struct migrate_error *error);

/*
 * Digests of [gpa, gpa + pages) into out. Pages that no slot has are -EFAULT. The
 * guest is stopped, or what comes out means nothing.
 */
int pages_digest(struct hv_vm *vm, hv_gpa_t gpa, uint64_t pages, uint64_t *out);
#define PAGES_DIGESTS 16384U /* of a frame */

#endif
