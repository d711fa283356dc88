/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The trampoline around one native instruction, copied below 4 GiB so that 16-bit and 32-bit
 * code reaches it. Its data page follows the code: struct frame of fuzz_x86_native.c.
 *
 *	enter	load every register from the frame, jump to the instruction
 *	step	the same by way of the signal handler, which sets TF
 *	leave	the instruction jumps here, or the handler does after a fault or a step:
 *		store every register, go back to the caller of enter or step
 */
#define GPR(n)	frame + 8 * (n)(%rip)
#define FAR	frame + 0x80(%rip)	/* offset, selector */
#define IS_FAR	frame + 0x88(%rip)
#define IS_FP	frame + 0x8c(%rip)
#define FLAGS	frame + 0x90(%rip)
#define HOST_SP	frame + 0x98(%rip)
#define SS_SEL	frame + 0xa0(%rip)
#define MXCSR	frame + 0xa4(%rip)
#define XAREA	frame + 0xc0(%rip)

	.section .rodata
	.globl	fuzz_frame_code, fuzz_frame_step, fuzz_frame_int3, fuzz_frame_leave, fuzz_frame_end
	.balign	4096
fuzz_frame_code:
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	%rsp, HOST_SP
	cmpl	$0, IS_FP
	je	1f
	mov	$7, %eax
	xor	%edx, %edx
	xrstor64 XAREA
1:	cmpl	$0, IS_FAR
	je	2f
	mov	SS_SEL, %ss
2:	mov	GPR(0), %rax
	mov	GPR(1), %rcx
	mov	GPR(2), %rdx
	mov	GPR(3), %rbx
	mov	GPR(5), %rbp
	mov	GPR(6), %rsi
	mov	GPR(7), %rdi
	mov	GPR(8), %r8
	mov	GPR(9), %r9
	mov	GPR(10), %r10
	mov	GPR(11), %r11
	mov	GPR(12), %r12
	mov	GPR(13), %r13
	mov	GPR(14), %r14
	mov	GPR(15), %r15
	pushq	FLAGS
	popfq
	mov	GPR(4), %rsp
	/* A near jump from 64-bit code to 64-bit code is the same far jump to our own selector. */
	ljmpl	*FAR

fuzz_frame_step:
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	%rsp, HOST_SP
	cmpl	$0, IS_FP
	je	1f
	mov	$7, %eax
	xor	%edx, %edx
	xrstor64 XAREA
1:	int3
fuzz_frame_int3:

fuzz_frame_leave:
	mov	%rax, GPR(0)
	mov	%rcx, GPR(1)
	mov	%rdx, GPR(2)
	mov	%rbx, GPR(3)
	mov	%rsp, GPR(4)
	mov	%rbp, GPR(5)
	mov	%rsi, GPR(6)
	mov	%rdi, GPR(7)
	mov	%r8, GPR(8)
	mov	%r9, GPR(9)
	mov	%r10, GPR(10)
	mov	%r11, GPR(11)
	mov	%r12, GPR(12)
	mov	%r13, GPR(13)
	mov	%r14, GPR(14)
	mov	%r15, GPR(15)
	mov	HOST_SP, %rsp
	pushfq
	popq	FLAGS
	pushq	$0x202
	popfq
	cmpl	$0, IS_FAR
	je	1f
	mov	$0x2b, %eax
	mov	%eax, %ss
1:	cmpl	$0, IS_FP
	je	2f
	mov	$7, %eax
	xor	%edx, %edx
	xsave64	XAREA
	fninit
	ldmxcsr	MXCSR
	vzeroupper
2:	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	ret
fuzz_frame_end:
	.org	fuzz_frame_code + 0x1000
frame:
	.zero	0x1000

/* The handler is C code, which must not run with alignment checks. */
	.text
	.globl	fuzz_signal_entry
	.hidden	fuzz_signal
fuzz_signal_entry:
	pushfq
	andl	$~0x40000, (%rsp)
	popfq
	jmp	fuzz_signal
	.section .note.GNU-stack, "", @progbits
