/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Machines that run tests/guests/memory_guest.c, for tests of state, snapshots
 * and migration. Calls fail the test themselves.
 */
#ifndef TESTS_LIB_MIGRATE_FIXTURE_H
#define TESTS_LIB_MIGRATE_FIXTURE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "hv/hv.h"

#define MF_MEMORY (32ULL << 20)
/* Rounds of a guest that runs until it is told to end; its speed is the machine's. */
#define MF_ENDLESS (1u << 30)
#define MF_LIMIT_SEC 300

struct mf_guest {
	unsigned int cpus, pages, rounds, dot, write_every; /* 0: 1, 64, 100, 10, 1 */
};

struct mf_machine {
	struct hv_machine *m;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	char console[16384]; /* without the dots */
	size_t len;
	unsigned int dots;
	bool ended;
	enum hv_machine_event event;
	char detail[200];
};

void mf_init(void); /* of the engine and of the calling thread */
void mf_exit(void);
/* guest NULL: no kernel, it waits for state. vendor, paging NULL: the defaults. */
struct mf_machine *mf_machine_new(const struct mf_guest *guest, unsigned int cpus,
				  const char *vendor, const char *paging);
struct mf_machine *mf_machine_with(const struct mf_guest *guest, struct hv_machine_config *config);
void mf_machine_free(struct mf_machine *mm);
unsigned int mf_dots(struct mf_machine *mm);
/* False: it ended, or nothing came for MF_LIMIT_SEC. */
bool mf_wait_dots(struct mf_machine *mm, unsigned int dots);
/*
 * Lets it go on a little, tells it to end and waits for that; false unless it ended by debug
 * exit 0 after "done". Prints what it said then.
 */
bool mf_wait_done(struct mf_machine *mm);
void mf_copy_memory(struct mf_machine *from, struct mf_machine *to);

/* A growing buffer as sink, and as source. */
struct mf_buffer {
	uint8_t *data;
	size_t len, cap, at;
};
struct hv_sink mf_sink(struct mf_buffer *b);
struct hv_source mf_source(struct mf_buffer *b); /* from its start */

#endif
