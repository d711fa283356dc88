/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The snippets of x86_code.S. CODE(name) expands to start and size. */
#ifndef TESTS_UNIT_X86_CODE_H
#define TESTS_UNIT_X86_CODE_H

extern const char x86t_basic64[], x86t_basic64_end[];
extern const char x86t_movs_overlap[], x86t_movs_overlap_end[];
extern const char x86t_movs_back[], x86t_movs_back_end[];
extern const char x86t_evicted_code[], x86t_evicted_code_end[];
extern const char x86t_stos[], x86t_stos_end[];
extern const char x86t_smc_next[], x86t_smc_next_end[];
extern const char x86t_smc_loop[], x86t_smc_loop_end[];
extern const char x86t_call_data[], x86t_call_data_end[];
extern const char x86t_mov5_ret[], x86t_mov5_ret_end[];
extern const char x86t_smc_alias[], x86t_smc_alias_end[];
extern const char x86t_touch_data[], x86t_touch_data_end[];
extern const char x86t_invlpg[], x86t_invlpg_end[];
extern const char x86t_reload_cr3[], x86t_reload_cr3_end[];
extern const char x86t_syscall64[], x86t_syscall64_end[];
extern const char x86t_sysret64[], x86t_sysret64_end[];
extern const char x86t_sti_hlt[], x86t_sti_hlt_end[];
extern const char x86t_spin[], x86t_spin_end[];
extern const char x86t_iretq[], x86t_iretq_end[];
extern const char x86t_nops[], x86t_nops_end[];
extern const char x86t_pushf_tf[], x86t_pushf_tf_end[];
extern const char x86t_movss_tf[], x86t_movss_tf_end[];
extern const char x86t_data_bp[], x86t_data_bp_end[];
extern const char x86t_lock_ops[], x86t_lock_ops_end[];
extern const char x86t_crossing[], x86t_crossing_end[];
extern const char x86t_mmio[], x86t_mmio_end[];
extern const char x86t_ac[], x86t_ac_end[];
extern const char x86t_div0[], x86t_div0_end[];
extern const char x86t_ud[], x86t_ud_end[];
extern const char x86t_int80[], x86t_int80_end[];
extern const char x86t_int3[], x86t_int3_end[];
extern const char x86t_io64[], x86t_io64_end[];
extern const char x86t_far64[], x86t_far64_end[];
extern const char x86t_smap[], x86t_smap_end[];
extern const char x86t_stac[], x86t_stac_end[];
extern const char x86t_basic32[], x86t_basic32_end[];
extern const char x86t_load_ds[], x86t_load_ds_end[];
extern const char x86t_load_ss[], x86t_load_ss_end[];
extern const char x86t_store_ds[], x86t_store_ds_end[];
extern const char x86t_callf32[], x86t_callf32_end[];
extern const char x86t_jmpf32[], x86t_jmpf32_end[];
extern const char x86t_lret32[], x86t_lret32_end[];
extern const char x86t_iret32[], x86t_iret32_end[];
extern const char x86t_enable_long[], x86t_enable_long_end[];
extern const char x86t_real[], x86t_real_end[];
extern const char x86t_real_to_prot[], x86t_real_to_prot_end[];
extern const char x86t_iret16[], x86t_iret16_end[];
extern const char x86t_v86[], x86t_v86_end[];

#define CODE(name) x86t_##name, (size_t)(x86t_##name##_end - x86t_##name)

#endif
