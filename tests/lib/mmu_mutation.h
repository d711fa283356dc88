/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For builds of single files of hv/mmu with a guard taken out, as tests link them:
 * the file calls this at the moment that the guard is about, and the test does
 * there what another CPU would.
 */
#ifndef TESTS_MMU_MUTATION_H
#define TESTS_MMU_MUTATION_H

void mmu_mutation_point(void);

#endif
