/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Numbers that tag one vCPU's translations in the TLB of every host CPU: VPIDs, ASIDs. 0 is the
 * host's and is never given out.
 */
#ifndef HV_VCPU_TAGS_H
#define HV_VCPU_TAGS_H

#include <stdatomic.h>
#include <stdint.h>

#define VCPU_TAGS_MAX 65536

/* A bit each. Any thread, no lock. */
struct vcpu_tags {
	_Atomic uint64_t used[VCPU_TAGS_MAX / 64];
};

/* A number from 1 to `limit` - 1, `limit` at most VCPU_TAGS_MAX; 0: all in use. */
uint32_t vcpu_tag_alloc(struct vcpu_tags *tags, uint32_t limit);
/* 0 is no number: nothing to do. */
void vcpu_tag_free(struct vcpu_tags *tags, uint32_t tag);

#endif
