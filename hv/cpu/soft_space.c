/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TLB tags. Hardware tags linear mappings with VPID (or ASID) and PCID, and
 * combined mappings also with the second-level root; hv/x86 has one number, the
 * space, for (VPID, root). A small table per logical processor maps the one to
 * the other. A tag that fell out of the table gets a new number, so that its old
 * translations can never be met again.
 *
 * Source: SDM vol. 3, "VMX support for address translation", "Caching translation
 * information"; APM vol. 2, "TLB control".
 */
#include "hv/cpu/soft_internal.h"

void soft_space_use(struct hv_lp *lp, enum soft_space_kind kind, uint32_t tag, uint64_t root)
{
	struct soft_space *s, *victim = &lp->spaces[0];

	s = lp->cur_space;
	if (s && s->kind == kind && s->tag == tag && s->root == root)
		return;
	lp->space_clock++;
	for (s = lp->spaces; s < lp->spaces + SOFT_SPACES; s++) {
		if (s->kind == kind && s->tag == tag && s->root == root)
			goto found;
		if (s->used < victim->used)
			victim = s;
	}
	s = victim;
	if (s->kind != SOFT_SPACE_FREE)
		x86_tlb_flush_space(lp->cpu, s->id);
	s->kind = kind;
	s->tag = tag;
	s->root = root;
	s->id = lp->space_clock;
found:
	s->used = lp->space_clock;
	lp->cur_space = s;
	x86_tlb_set_space(lp->cpu, s->id);
}

static bool space_matches(const struct soft_space *s, int64_t tag, uint64_t root)
{
	return s->kind != SOFT_SPACE_FREE && (tag < 0 || s->tag == (uint32_t)tag) &&
	       (root == 0 || s->root == root);
}

void soft_space_flush(struct hv_lp *lp, int64_t tag, uint64_t root)
{
	for (struct soft_space *s = lp->spaces; s < lp->spaces + SOFT_SPACES; s++)
		if (space_matches(s, tag, root))
			x86_tlb_flush_space(lp->cpu, s->id);
}

void soft_space_flush_kind(struct hv_lp *lp, enum soft_space_kind kind)
{
	for (struct soft_space *s = lp->spaces; s < lp->spaces + SOFT_SPACES; s++)
		if (s->kind == kind)
			x86_tlb_flush_space(lp->cpu, s->id);
}

void soft_space_flush_nonglobal(struct hv_lp *lp, int64_t tag)
{
	for (struct soft_space *s = lp->spaces; s < lp->spaces + SOFT_SPACES; s++)
		if (space_matches(s, tag, 0))
			x86_tlb_flush_space_nonglobal(lp->cpu, s->id);
}

void soft_space_flush_page(struct hv_lp *lp, int64_t tag, uint64_t linear)
{
	for (struct soft_space *s = lp->spaces; s < lp->spaces + SOFT_SPACES; s++)
		if (space_matches(s, tag, 0))
			x86_tlb_flush_page_space(lp->cpu, s->id, linear);
}

void soft_gpa_flush(struct hv_lp *lp, uint64_t root)
{
	for (unsigned int i = 0; i < SOFT_GPA_SIZE; i++)
		if (root == 0 || lp->gpa[i].root == root)
			lp->gpa[i].tag = UINT64_MAX;
}
