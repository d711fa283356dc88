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
	.section .note.GNU-stack, "", @progbits
