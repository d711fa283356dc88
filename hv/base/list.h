/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Doubly linked lists: liburcu's cds_list_*, and for lists that are walked
 * under RCU the hv_list_* below. (Those of <urcu/rculist.h> publish with plain
 * stores, which ThreadSanitizer reports, so they are not used.)
 *
 * Updates of one list exclude each other by the caller's lock. An entry taken
 * off an RCU list keeps its `next`, for readers who stand on it: it is freed or
 * reused only after a grace period.
 */
#ifndef HV_BASE_LIST_H
#define HV_BASE_LIST_H

#include <urcu/list.h>

#include "hv/base/rcu.h"

static inline void hv_list_add_rcu(struct cds_list_head *entry, struct cds_list_head *head)
{
	entry->next = head->next;
	entry->prev = head;
	head->next->prev = entry;
	hv_rcu_assign_pointer(head->next, entry);
}

static inline void hv_list_add_tail_rcu(struct cds_list_head *entry, struct cds_list_head *head)
{
	entry->next = head;
	entry->prev = head->prev;
	hv_rcu_assign_pointer(head->prev->next, entry);
	head->prev = entry;
}

static inline void hv_list_del_rcu(struct cds_list_head *entry)
{
	entry->next->prev = entry->prev;
	hv_rcu_assign_pointer(entry->prev->next, entry->next);
}

static inline void hv_list_replace_rcu(struct cds_list_head *old, struct cds_list_head *entry)
{
	entry->next = old->next;
	entry->prev = old->prev;
	hv_rcu_assign_pointer(entry->prev->next, entry);
	entry->next->prev = entry;
}

/* Inside a read-side section. */
#define hv_list_for_each_entry_rcu(pos, head, member)                                              \
	for (pos = cds_list_entry(hv_rcu_dereference((head)->next), __typeof__(*(pos)), member);   \
	     &(pos)->member != (head);                                                             \
	     pos = cds_list_entry(hv_rcu_dereference((pos)->member.next), __typeof__(*(pos)),      \
				  member))

#endif
