/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The handlers, as the decoder names them. Tables are indexed by operation where
 * there are several and by operand size: 0 = 8, 1 = 16, 2 = 32, 3 = 64 bits.
 * Suffixes tell the forms: first letter the destination, second the source; r
 * register, m memory, i immediate; `l` LOCK.
 */
#ifndef HV_X86_EXEC_H
#define HV_X86_EXEC_H

#include "hv/x86/insn.h"

typedef x86_insn_fn *const x86_fn4[4];

/* exec_alu.c: ADD OR ADC SBB AND SUB XOR CMP in encoding order */
extern x86_fn4 x86_alu_rr[8], x86_alu_rm[8], x86_alu_mr[8], x86_alu_ri[8], x86_alu_mi[8];
extern x86_fn4 x86_alu_mrl[8], x86_alu_mil[8];
extern x86_fn4 x86_test_rr, x86_test_mr, x86_test_ri, x86_test_mi;
extern x86_fn4 x86_incdec_r[2], x86_incdec_m[2], x86_incdec_ml[2];
extern x86_fn4 x86_notneg_r[2], x86_notneg_m[2], x86_notneg_ml[2];

/* exec_mul.c: MUL IMUL DIV IDIV */
extern x86_fn4 x86_muldiv[4];
x86_insn_fn x86_op_imul_rr, x86_op_imul_rri, x86_op_aam, x86_op_aad, x86_op_aaa, x86_op_aas,
	x86_op_daa, x86_op_das, x86_op_mulx;

/* exec_shift.c: ROL ROR RCL RCR SHL SHR SHL SAR in encoding order */
extern x86_fn4 x86_shift_ri[8], x86_shift_rc[8], x86_shift_mi[8], x86_shift_mc[8];
/* SHL SHR SHL SAR of a register by an immediate that is not 0. */
extern x86_fn4 x86_shift_r1[4];
x86_insn_fn x86_op_shld, x86_op_shrd, x86_op_shx, x86_op_rorx;

/* exec_bit.c */
x86_insn_fn x86_op_bt_r, x86_op_bt_m, x86_op_bsf, x86_op_bsr, x86_op_popcnt, x86_op_lzcnt,
	x86_op_tzcnt, x86_op_bswap, x86_op_andn, x86_op_bls, x86_op_bextr, x86_op_bzhi,
	x86_op_pdep, x86_op_pext, x86_op_adcx, x86_op_adox, x86_op_crc32;

/* exec_data.c */
extern x86_fn4 x86_mov_rr, x86_mov_rm, x86_mov_mr, x86_mov_ri, x86_mov_mi;
extern x86_fn4 x86_lea; /* [0] unused */
extern x86_fn4 x86_lea_flat;
/* [source 8, 16, 32][destination size] */
extern x86_fn4 x86_movzx_r[3], x86_movzx_m[3], x86_movsx_r[3], x86_movsx_m[3];
extern x86_fn4 x86_xchg_rr, x86_xchg_mr;
extern x86_insn_fn *const x86_setcc_r[16];
extern x86_insn_fn *const x86_cmov_rr[16];
x86_insn_fn x86_op_cmov_rm, x86_op_setcc_m, x86_op_cmpxchg_r, x86_op_cmpxchg_m, x86_op_xadd_r,
	x86_op_xadd_m, x86_op_cmpxchg8b, x86_op_cmpxchg16b, x86_op_movbe_load, x86_op_movbe_store,
	x86_op_movdiri, x86_op_movdir64b, x86_op_cbw, x86_op_cwd, x86_op_xlat, x86_op_nop,
	x86_op_lahf, x86_op_sahf, x86_op_salc, x86_op_clc, x86_op_stc, x86_op_cmc, x86_op_cld,
	x86_op_std;

/* exec_stack.c */
x86_insn_fn x86_op_push64_r, x86_op_pop64_r, x86_op_push64_i, x86_op_push, x86_op_push_m,
	x86_op_pop, x86_op_pop_m, x86_op_push_seg, x86_op_pop_seg, x86_op_pusha, x86_op_popa,
	x86_op_pushf, x86_op_popf, x86_op_enter, x86_op_leave, x86_op_leave64, x86_op_push32_r,
	x86_op_push32_i, x86_op_push32_m, x86_op_pop32_r, x86_op_leave32;

/* exec_control.c */
extern x86_insn_fn *const x86_jcc64[16];
extern x86_insn_fn *const x86_jcc[16];
x86_insn_fn x86_op_jmp64, x86_op_jmp, x86_op_jmp_ind64_r, x86_op_jmp_ind, x86_op_call64, x86_op_call,
	x86_op_call_ind64, x86_op_call_ind, x86_op_ret64, x86_op_ret, x86_op_loop, x86_op_jcxz,
	x86_op_int, x86_op_int3, x86_op_int1, x86_op_into, x86_op_bound, x86_op_ud, x86_op_gp0,
	x86_op_hlt, x86_op_pause;

/* exec_string.c: by size */
extern x86_fn4 x86_movs, x86_stos, x86_lods, x86_cmps, x86_scas;
x86_insn_fn x86_op_ins, x86_op_outs, x86_op_in, x86_op_out; /* exec_io.c */

/* far.c, syscall.c */
x86_insn_fn x86_op_jmp_far, x86_op_call_far, x86_op_ret_far, x86_op_iret, x86_op_mov_to_seg,
	x86_op_mov_from_seg, x86_op_lfp, x86_op_syscall, x86_op_sysret, x86_op_sysenter,
	x86_op_sysexit, x86_op_swapgs;

/* exec_system.c, exec_cr.c, exec_misc.c */
x86_insn_fn x86_op_mov_to_cr, x86_op_mov_from_cr, x86_op_mov_to_dr, x86_op_mov_from_dr, x86_op_lmsw,
	x86_op_smsw, x86_op_clts, x86_op_lgdt, x86_op_lidt, x86_op_sgdt, x86_op_sidt, x86_op_lldt,
	x86_op_sldt, x86_op_ltr, x86_op_str, x86_op_lar, x86_op_lsl, x86_op_verr, x86_op_verw,
	x86_op_arpl, x86_op_invlpg, x86_op_invpcid, x86_op_rdmsr, x86_op_wrmsr, x86_op_rdpmc,
	x86_op_rdtsc, x86_op_rdtscp, x86_op_rdpid, x86_op_fsgsbase, x86_op_cpuid, x86_op_monitor,
	x86_op_mwait, x86_op_xgetbv, x86_op_xsetbv, x86_op_invd, x86_op_wbinvd, x86_op_clflush,
	x86_op_clzero, x86_op_fence, x86_op_rdrand, x86_op_rdseed, x86_op_stac, x86_op_clac,
	x86_op_rdpkru, x86_op_wrpkru, x86_op_cli, x86_op_sti, x86_op_serialize, x86_op_vmx,
	x86_op_svm, x86_op_rsm, x86_op_getsec, x86_op_encls;

#endif
