/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A domain's guest goes over to another worker, hvd's part (doc/migration.md, "Local
 * hand-over"). hvd makes the new worker and introduces the two to each other; which of
 * them has the guest, they settle between themselves, and hvd follows. Event loop only.
 */
#ifndef DAEMON_UPGRADE_H
#define DAEMON_UPGRADE_H

#include "api/method.h"

struct domain;
struct hvd;
struct worker;

/* While dom->upgrade: one of its workers has ended. Then upgrade_check(), when it is freed. */
void upgrade_worker_gone(struct hvd *hvd, struct domain *dom, struct worker *worker,
			 const char *how);
/* What follows from what is known. May end the upgrade, and free the domain. */
void upgrade_check(struct hvd *hvd, struct domain *dom);
/* The domain is being destroyed: neither worker is needed any more. */
void upgrade_destroy(struct domain *dom);

/*
 * An earlier hvd left @dom with its worker and @second, which is taken: one takes over
 * from the other, or has. 0 or -ENOMEM. _begin() when all workers are known.
 */
int upgrade_adopt(struct hvd *hvd, struct domain *dom, struct worker *second);
void upgrade_adopt_begin(struct hvd *hvd, struct domain *dom);
/* hvd ends: leave the workers to the next one. */
void upgrade_release(struct domain *dom);

/* domain.upgrade */
extern const struct api_method methods_upgrade[];
/* worker.upgraded */
extern const struct api_method methods_worker_upgrade[];

#endif
