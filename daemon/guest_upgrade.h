/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Another worker takes the guest over, the workers' part (doc/migration.md, "Local
 * hand-over"). Which of the two may run the guest stands in one word of a file that both
 * map: FREE until one of them changes it, with a compare-and-swap, to NEW or OLD, once and
 * for all. The old worker stops the guest before it is FREE to take, and lets it run again
 * only after its own change to OLD; the new one lets it run only after its change to NEW.
 */
#ifndef DAEMON_GUEST_UPGRADE_H
#define DAEMON_GUEST_UPGRADE_H

#include "api/method.h"

#include <jansson.h>

/* The names of descriptors in worker.start's files. */
#define UPGRADE_FILE_MEMORY  "/upgrade/memory"
#define UPGRADE_FILE_CONSOLE "/upgrade/console"
#define UPGRADE_FILE_OWNER   "/upgrade/owner"	/* UPGRADE_OWNER_SIZE bytes of zeros */
#define UPGRADE_FILE_PEER    "/upgrade/peer"	/* SOCK_SEQPACKET to the old worker */

#define UPGRADE_OWNER_SIZE 4096

struct guest;

struct guest_upgrade_files {
	int console, owner, peer;	/* borrowed */
};

/* Loop, in a worker whose machine waits for its guest: wait for it. 0 or -errno. */
int guest_upgrade_expect(struct guest *g, const struct guest_upgrade_files *files);
/*
 * For hvd: which side this worker is and who has the guest, as it knows; NULL: it never
 * had to do with another worker.
 */
json_t *guest_upgrade_report(const struct guest *g);
void guest_upgrade_free(struct guest *g);
/* The rows of worker.upgrade*. */
extern const struct api_method guest_upgrade_rows[];

#endif
