/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TDP roots: who holds them, how they are found, how they die.
 *
 *   made         on the list, refs 1 (the vCPU), valid
 *   shared       other vCPUs of the same role take references
 *   invalidated  role.invalid, queued: the queue holds a reference (root_zap.c).
 *                vCPUs drop theirs when they reload. Still on the list, so that
 *                notifiers reach what it maps.
 *   last put     of a valid root: invalidated and queued now, by the same way;
 *                of a zapped one: off the list, freed after a grace period
 *
 * The list is changed under tdp_mmu_pages_lock with mmu_lock held in either
 * mode. So with mmu_lock exclusive it is steady and no root has a count of 0.
 */
#include "hv/mmu/tdp_mmu.h"

#include <errno.h>

static bool root_matches(const struct mmu_page *root, union mmu_role role)
{
	return mmu_page_role(root).word == role.word;
}

/* A valid root of this role, with a reference taken. mmu_lock held. */
static struct mmu_page *root_find(struct hv_mmu_vm *mmu, union mmu_role role)
{
	struct mmu_page *root;

	hv_list_for_each_entry_rcu(root, &mmu->roots, link)
		if (root_matches(root, role) && hv_refcount_inc_not_zero(&root->refs))
			return root;
	return NULL;
}

int mmu_root_get(struct hv_vcpu *vcpu, union mmu_role role, struct mmu_page **out)
{
	struct hv_vm *vm = vcpu->vm;
	struct hv_mmu_vm *mmu = vm->mmu;
	struct mmu_page *root;
	int err = mmu_cache_fill(&mmu->pool, &vcpu->mmu->cache, 1);

	if (err)
		return err;
	hv_read_lock(&vm->mmu_lock);
	hv_spin_lock(&mmu->tdp_mmu_pages_lock);
	root = root_find(mmu, role);
	if (!root) {
		root = mmu_cache_take(&vcpu->mmu->cache);
		root->role = role;
		hv_refcount_set(&root->refs, 1);
		hv_list_add_tail_rcu(&root->link, &mmu->roots);
		mmu_count(&vcpu->mmu->counters, tables, 1);
	}
	hv_spin_unlock(&mmu->tdp_mmu_pages_lock);
	hv_read_unlock(&vm->mmu_lock);
	*out = root;
	return 0;
}

static void root_unlink(struct hv_mmu_vm *mmu, struct mmu_page *root)
{
	hv_spin_lock(&mmu->tdp_mmu_pages_lock);
	hv_list_del_rcu(&root->link);
	hv_spin_unlock(&mmu->tdp_mmu_pages_lock);
}

void mmu_root_put(struct mmu_ctx *ctx, struct mmu_page *root)
{
	hv_assert_held(&ctx->vm->mmu_lock);
	if (!hv_refcount_dec_and_test(&root->refs))
		return;
	switch (__atomic_load_n(&root->zap_state, __ATOMIC_ACQUIRE)) {
	case MMU_ZAP_NONE: {
		/* The last user of a valid root: it dies as the invalidated ones do. */
		union mmu_role role = mmu_page_role(root);

		role.invalid = 1;
		__atomic_store_n(&root->role.word, role.word, __ATOMIC_RELEASE);
		hv_refcount_set(&root->refs, 1);
		mmu_zap_queue_root(ctx->mmu, root);
		mmu_zap_kick(ctx->mmu);
		break;
	}
	case MMU_ZAP_DONE:
		/* Empty, and TLBs were flushed after it became so. */
		root_unlink(ctx->mmu, root);
		root->next = NULL;
		mmu_zap_queue_reclaim(ctx->mmu, root);
		break;
	default:
		HV_BUG("a queued root lost the queue's reference");
	}
}

struct mmu_page *mmu_root_next(struct mmu_ctx *ctx, struct mmu_page *prev, int as_id)
{
	struct cds_list_head *head = &ctx->mmu->roots, *pos;
	struct mmu_page *found = NULL;

	hv_rcu_read_lock();
	pos = prev ? &prev->link : head;
	for (pos = hv_rcu_dereference(pos->next); pos != head; pos = hv_rcu_dereference(pos->next)) {
		struct mmu_page *root = cds_list_entry(pos, struct mmu_page, link);

		if ((as_id < 0 || mmu_page_role(root).as_id == (unsigned int)as_id) &&
		    hv_refcount_inc_not_zero(&root->refs)) {
			found = root;
			break;
		}
	}
	hv_rcu_read_unlock();
	if (prev)
		mmu_root_put(ctx, prev);
	return found;
}
