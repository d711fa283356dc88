/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The same position-independent functions for the host and for hv/x86:
 * f(rdi = 64 KiB buffer, rsi = iterations), only caller-saved registers.
 */
	.text
	.macro FUNC name
	.globl bx_\name
bx_\name:
	.endm
	.macro ENDF name
	.globl bx_\name\()_end
bx_\name\()_end:
	.endm

FUNC integer		/* 8 instructions a round */
	xor	%eax, %eax
1:	add	%rsi, %rax
	lea	3(%rax,%rsi,2), %rdx
	xor	%rdx, %rax
	shr	$3, %rdx
	sub	%rdx, %rax
	and	$0x7fffffff, %eax
	dec	%rsi
	jnz	1b
	ret
ENDF integer

FUNC memory		/* 10 */
	mov	$0, %ecx
1:	mov	(%rdi,%rcx,8), %rax
	add	$1, %rax
	mov	%rax, 8(%rdi,%rcx,8)
	mov	16(%rdi,%rcx,8), %edx
	add	%rdx, 24(%rdi,%rcx,8)
	movzbl	32(%rdi,%rcx,8), %r8d
	add	$4, %ecx
	and	$0xfff, %ecx
	dec	%rsi
	jnz	1b
	ret
ENDF memory

FUNC calls		/* 11 */
1:	call	2f
	call	2f
	dec	%rsi
	jnz	1b
	ret
2:	push	%rbx
	pop	%rbx
	ret
ENDF calls

FUNC branches		/* 11 or 12: data-dependent, hard to foresee */
	mov	$0x12345, %eax
1:	imul	$1103515245, %eax, %eax
	add	$12345, %eax
	test	$0x10000, %eax
	jz	2f
	inc	%ecx
2:	test	$0x40000, %eax
	jnz	3f
	inc	%edx
3:	cmp	%edx, %ecx
	sete	%r8b
	dec	%rsi
	jnz	1b
	ret
ENDF branches

FUNC indirect		/* 6: an interpreter's dispatch */
	lea	3f(%rip), %r8
	xor	%ecx, %ecx
1:	inc	%ecx
	mov	%ecx, %edx
	and	$3, %edx
	lea	(%r8,%rdx,8), %r9
	jmp	*%r9
	.balign 8
3:	dec	%rsi
	jnz	1b
	ret
	.balign 8
	dec	%rsi
	jnz	1b
	ret
	.balign 8
	dec	%rsi
	jnz	1b
	ret
	.balign 8
	dec	%rsi
	jnz	1b
	ret
ENDF indirect

FUNC movsb		/* 4 KiB a round, counted as 6 instructions */
	mov	%rdi, %r8
	mov	%rsi, %r9
1:	mov	%r8, %rsi
	lea	0x4000(%r8), %rdi
	mov	$4096, %ecx
	rep	movsb
	dec	%r9
	jnz	1b
	ret
ENDF movsb
/* The same in 32-bit code: edi the buffer, esi rounds; they end with OUT. */
	.code32
FUNC integer32		/* 8 */
	xor	%eax, %eax
1:	add	%esi, %eax
	lea	3(%eax,%esi,2), %edx
	xor	%edx, %eax
	shr	$3, %edx
	sub	%edx, %eax
	and	$0x7fffffff, %eax
	dec	%esi
	jnz	1b
	out	%al, $0xf4
ENDF integer32

FUNC memory32		/* 10 */
	mov	$0, %ecx
1:	mov	(%edi,%ecx,8), %eax
	add	$1, %eax
	mov	%eax, 8(%edi,%ecx,8)
	mov	16(%edi,%ecx,8), %edx
	add	%edx, 24(%edi,%ecx,8)
	movzbl	32(%edi,%ecx,8), %ebx
	add	$4, %ecx
	and	$0xfff, %ecx
	dec	%esi
	jnz	1b
	out	%al, $0xf4
ENDF memory32

FUNC calls32		/* 12 */
1:	call	2f
	call	2f
	dec	%esi
	jnz	1b
	out	%al, $0xf4
2:	push	%ebx
	pop	%ebx
	ret
ENDF calls32

FUNC percpu32		/* 7: through a segment with a base, as kernels have their per-CPU data */
1:	mov	%fs:0, %eax
	incl	%fs:8
	mov	%fs:16(,%ecx,4), %edx
	add	%edx, %eax
	mov	%eax, %fs:32
	dec	%esi
	jnz	1b
	out	%al, $0xf4
ENDF percpu32
	.code64

/* Events: loops of `rbx` rounds that end with OUT; rdi is the buffer. */
#define LEAVE	out %al, $0xf4

FUNC ev_syscall		/* at level 3 */
1:	syscall
	dec	%rbx
	jnz	1b
	ud2
ENDF ev_syscall
FUNC ev_sysret
	sysretq
ENDF ev_sysret
FUNC ev_int
1:	int	$0x80
	dec	%rbx
	jnz	1b
	LEAVE
ENDF ev_int
FUNC ev_iret
	iretq
ENDF ev_iret
FUNC ev_fault		/* a read of a page that is not there; the handler steps over it */
1:	mov	0x3000000, %al
	dec	%rbx
	jnz	1b
	LEAVE
ENDF ev_fault
FUNC ev_skip
	addq	$7, 8(%rsp)
	add	$8, %rsp
	iretq
ENDF ev_skip
FUNC ev_invlpg
1:	invlpg	(%rdi)
	mov	(%rdi), %rax
	dec	%rbx
	jnz	1b
	LEAVE
ENDF ev_invlpg
FUNC ev_cr3_code	/* 64 blocks after each reload */
	mov	%cr3, %rax
1:	mov	%rax, %cr3
	.rept	64
	jmp	2f
	.balign	16
2:
	.endr
	dec	%rbx
	jnz	1b
	LEAVE
ENDF ev_cr3_code
FUNC ev_cr3
	mov	%cr3, %rcx
1:	mov	%rcx, %cr3
	xor	%edx, %edx
2:	mov	(%rdi,%rdx), %rax
	add	$0x1000, %edx
	cmp	$0x10000, %edx
	jb	2b
	dec	%rbx
	jnz	1b
	LEAVE
ENDF ev_cr3
FUNC ev_cpuid
	mov	%rbx, %rsi
1:	xor	%eax, %eax
	cpuid
	dec	%rsi
	jnz	1b
	LEAVE
ENDF ev_cpuid
FUNC ev_out
1:	out	%al, $0x80
	dec	%rbx
	jnz	1b
	LEAVE
ENDF ev_out
FUNC ev_smc		/* each round rewrites an instruction that it then executes */
	lea	2f(%rip), %rcx
1:	mov	%bl, 2(%rcx)
	jmp	2f
2:	add	$0, %dl
	dec	%rbx
	jnz	1b
	LEAVE
ENDF ev_smc
FUNC ev_cold		/* copies a block of 5 instructions to a fresh place and calls it */
	mov	%rdi, %r9
1:	lea	2f(%rip), %rsi
	mov	%r9, %rdi
	movsq
	movsq
	call	*%r9
	add	$16, %r9
	dec	%rbx
	jnz	1b
	LEAVE
2:	add	$1, %eax
	add	$2, %edx
	add	$3, %r8d
	inc	%ecx
	ret
	.skip	16
ENDF ev_cold
	.section .note.GNU-stack, "", @progbits
