/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guest code of the hv/x86 tests: position-independent snippets between x86t_NAME and
 * x86t_NAME_end, copied to ENV_CODE. `out %al, $0xf4` ends a run.
 */
	.section .rodata
	.macro BEGIN name
	.globl x86t_\name
x86t_\name:
	.endm
	.macro END name
	.globl x86t_\name\()_end
x86t_\name\()_end:
	.endm

#define DATA	0x20000
#define EXIT	out %al, $0xf4

	.code64
/* sum 1..10, call and ret, push and pop, string copy */
BEGIN basic64
	xor	%eax, %eax
	mov	$10, %ecx
1:	add	%rcx, %rax
	loop	1b
	call	2f
	push	%rax
	popq	DATA
	EXIT
2:	lea	(%rax,%rax,2), %rax
	ret
END basic64

/* rep movsb over three pages with overlap forward: pattern replication */
BEGIN movs_overlap
	mov	$DATA, %rsi
	movl	$0x44332211, (%rsi)
	lea	4(%rsi), %rdi
	mov	$10000, %ecx
	cld
	rep	movsb
	EXIT
END movs_overlap

BEGIN movs_back
	std
	mov	$DATA + 0x1003, %rsi
	mov	$DATA + 0x3003, %rdi
	mov	$0x900, %ecx
	rep	movsl
	cld
	EXIT
END movs_back

/*
 * RBX: code in a page of its own, whose PTE is at RBP. Call it, push its translation out of the TLB
 * by RCX pages of the same index from RDX on, make the PTE RSI, INVLPG, call it again.
 */
BEGIN evicted_code
	call	*%rbx
	jrcxz	2f
1:	mov	(%rdx), %r8
	add	$0x400000, %rdx
	loop	1b
2:	mov	%rsi, (%rbp)
	invlpg	(%rbx)
	call	*%rbx
	EXIT
END evicted_code

BEGIN stos
	mov	$DATA + 1, %rdi
	mov	$0x0123456789abcdef, %rax
	mov	$1200, %ecx
	rep	stosq
	EXIT
END stos

/* a program that changes its own next instruction: returns the new immediate */
BEGIN smc_next
	lea	1f(%rip), %rbx
	movb	$7, 1(%rbx)
1:	mov	$3, %al
	EXIT
END smc_next

/* a loop whose body is rewritten each time */
BEGIN smc_loop
	xor	%edx, %edx
	mov	$100, %ecx
	lea	2f(%rip), %rbx
1:	mov	%cl, 2(%rbx)
	jmp	2f
2:	add	$0, %dl
	movzbl	%dl, %edx
	dec	%ecx
	jnz	1b
	mov	%edx, %eax
	EXIT
END smc_loop

/* calls a function at DATA twice; in between the test or the code itself replaces it */
BEGIN call_data
	mov	$DATA, %rbx
	call	*%rbx
	mov	%eax, %edx
	out	%al, $0xf4
	cpuid
	mov	$DATA, %rbx
	call	*%rbx
	EXIT
END call_data

BEGIN mov5_ret
	mov	$5, %eax
	ret
END mov5_ret

/* store through the alias at DATA + 2 MiB into code that runs at DATA */
BEGIN smc_alias
	mov	$DATA, %rbx
	call	*%rbx
	mov	%eax, %edx
	mov	$DATA + 0x200000, %rsi
	movb	$9, 1(%rsi)
	call	*%rbx
	shl	$8, %edx
	or	%edx, %eax
	EXIT
END smc_alias

BEGIN touch_data
	mov	DATA, %rax
	EXIT
	mov	DATA, %rax
	EXIT
END touch_data

BEGIN invlpg
	mov	DATA, %rax
	invlpg	DATA
	mov	DATA, %rax
	EXIT
END invlpg

BEGIN reload_cr3
	mov	DATA, %rax
	mov	%cr3, %rcx
	mov	%rcx, %cr3
	mov	DATA, %rax
	EXIT
END reload_cr3

BEGIN syscall64
	syscall
	nop
	EXIT
END syscall64

BEGIN sysret64
	EXIT
	sysretq
END sysret64

BEGIN sti_hlt
	sti
	hlt
	EXIT
END sti_hlt

BEGIN spin
1:	inc	%rax
	jmp	1b
END spin

BEGIN iretq
	iretq
END iretq

BEGIN nops
	nop
	nop
	nop
	EXIT
END nops

BEGIN pushf_tf
	pushfq
	orl	$0x100, (%rsp)
	popfq
	nop
	nop
	EXIT
END pushf_tf

BEGIN movss_tf
	mov	%ss, %ax
	pushfq
	orl	$0x100, (%rsp)
	popfq
	mov	%ax, %ss
	nop
	nop
	EXIT
END movss_tf

BEGIN data_bp
	mov	%rax, DATA
	nop
	mov	DATA + 4, %al
	nop
	EXIT
END data_bp

BEGIN lock_ops
	mov	$DATA, %rbx
	movq	$5, (%rbx)
	mov	$3, %eax
	lock	xadd %rax, (%rbx)
	lock	incq (%rbx)
	lock	btsq $40, (%rbx)
	mov	$1, %ecx
	mov	(%rbx), %rax
	lock	cmpxchg %rcx, 8(%rbx)
	EXIT
END lock_ops

/* 8 bytes across the end of a page, read, write, read-modify-write */
BEGIN crossing
	mov	$DATA + 0xffc, %rbx
	movabs	$0x1122334455667788, %rax
	mov	%rax, (%rbx)
	incq	(%rbx)
	lock	addq $1, (%rbx)
	mov	(%rbx), %rcx
	EXIT
END crossing

BEGIN mmio
	mov	$0xf0000000, %ebx
	mov	(%rbx), %eax
	movw	$0x1234, 2(%rbx)
	addl	$1, (%rbx)
	EXIT
END mmio

BEGIN ac
	pushfq
	orl	$0x40000, (%rsp)
	popfq
	mov	DATA + 1, %eax
	EXIT
END ac

BEGIN div0
	xor	%ecx, %ecx
	div	%ecx
	EXIT
END div0

BEGIN ud
	ud2
END ud

BEGIN int80
	int	$0x80
	EXIT
END int80

BEGIN int3
	int3
	EXIT
END int3

BEGIN io64
	mov	$0x80, %dx
	in	%dx, %eax
	mov	$DATA, %rdi
	mov	$4, %ecx
	rep	insw
	mov	$DATA, %rsi
	mov	$4, %ecx
	rep	outsw
	EXIT
END io64

BEGIN far64
	lcall	*DATA
	EXIT
END far64

BEGIN smap
	mov	DATA, %rax
	EXIT
END smap

BEGIN stac
	stac
	mov	DATA, %rax
	clac
	mov	DATA, %rax
	EXIT
END stac

	.code32
BEGIN basic32
	xor	%eax, %eax
	mov	$5, %ecx
1:	add	%ecx, %eax
	loop	1b
	pusha
	popa
	enter	$16, $0
	leave
	call	2f
	EXIT
2:	add	$1, %eax
	ret
END basic32

BEGIN load_ds
	mov	%ax, %ds
	EXIT
END load_ds

BEGIN load_ss
	mov	%ax, %ss
	EXIT
END load_ss

BEGIN store_ds
	mov	%eax, (%ebx)
	EXIT
END store_ds

BEGIN callf32
	lcall	*DATA
	EXIT
END callf32

BEGIN jmpf32
	ljmp	*DATA
END jmpf32

BEGIN lret32
	EXIT
	lret	$8
END lret32

BEGIN iret32
	iret
END iret32

BEGIN enable_long
	mov	$0x4000, %eax
	mov	%eax, %cr3
	mov	%cr4, %eax
	or	$0x20, %eax
	mov	%eax, %cr4
	mov	$0xc0000080, %ecx
	rdmsr
	or	$0x100, %eax
	wrmsr
	mov	%cr0, %eax
	or	$0x80000000, %eax
	mov	%eax, %cr0
	ljmp	$0x18, $0x10100
END enable_long

	.code16
BEGIN real
	mov	$3, %ax
	mov	$4, %cx
	mul	%cx
	push	%ax
	pop	%bx
	mov	%bx, 0x10
	int	$0x21
	mov	$0x2100, %dx
	mov	%dx, %es
	mov	%ax, %es:0
	EXIT
END real

BEGIN real_to_prot
	cli
	lgdtl	%cs:0x80
	mov	%cr0, %eax
	or	$1, %al
	mov	%eax, %cr0
	ljmpl	$8, $0x10100
END real_to_prot

BEGIN iret16
	iret
END iret16

BEGIN v86
	mov	$0x1234, %ax
	mov	%ax, 0
	pushf
	int	$0x21
END v86
	.code64
	.section .note.GNU-stack, "", @progbits
