/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest that checks itself while somebody moves it: start-up of each CPU into
 * long mode, and the interrupt entries; the rest is memory_guest.c. Loaded by
 * multiboot at 1 MiB.
 */
#define TABLES	   0x200000
#define STACKS	   0x300000 /* 64 KiB a CPU */
#define TRAMPOLINE 0x8000

	.section .text.start, "ax"
	.globl	_start
	.code32
_start:
	jmp	start32
	.balign	4
multiboot:
	.long	0x1badb002, 0x00010000, -(0x1badb002 + 0x00010000)
	.long	multiboot, _start, 0, 0, _start

start32:
	cli
	cld
	movl	$TABLES, %edi
	xorl	%eax, %eax
	movl	$3 * 1024, %ecx
	rep stosl
	movl	$TABLES + 0x1003, TABLES
	movl	$TABLES + 0x2003, TABLES + 0x1000
	movl	$TABLES + 0x2000, %edi
	movl	$0x83, %eax
1:	movl	%eax, (%edi)
	addl	$8, %edi
	addl	$0x200000, %eax
	cmpl	$0x40000000, %eax
	jb	1b
	/* the other CPUs start here */
	movl	$trampoline, %esi
	movl	$TRAMPOLINE, %edi
	movl	$trampoline_end - trampoline, %ecx
	rep movsb
	xorl	%ebx, %ebx
	jmp	enter_long

/* ebx: number of the CPU */
enter_long:
	movl	%cr4, %eax
	orl	$1 << 5 | 3 << 9, %eax		/* PAE, OSFXSR, OSXMMEXCPT */
	movl	%eax, %cr4
	movl	$TABLES, %eax
	movl	%eax, %cr3
	movl	$0xc0000080, %ecx
	rdmsr
	orl	$1 << 8, %eax			/* EFER.LME */
	wrmsr
	movl	%cr0, %eax
	andl	$~(3 << 29 | 1 << 2), %eax	/* CD, NW, EM */
	orl	$1 << 31 | 1 << 16 | 1 << 1, %eax /* PG, WP, MP */
	movl	%eax, %cr0
	lgdt	gdt_pointer
	ljmp	$8, $start64

	.code64
start64:
	movw	$16, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movl	%ebx, %eax
	incl	%eax
	shll	$16, %eax
	leaq	STACKS - 16(%rax), %rsp
	lidt	idt_pointer
	movl	%ebx, %edi
	call	cpu_main
1:	hlt
	jmp	1b

	.code16
trampoline:
	cli
	xorw	%ax, %ax
	movw	%ax, %ds
	lgdtl	TRAMPOLINE + (trampoline_gdt - trampoline)
	movl	%cr0, %eax
	orl	$1, %eax
	movl	%eax, %cr0
	ljmpl	$24, $start_ap
	.balign	8
trampoline_gdt:
	.word	31
	.long	gdt
trampoline_end:

	.code32
start_ap:
	movw	$16, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movl	$1, %ebx
	lock xaddl %ebx, next_cpu
	jmp	enter_long

	.code64
	.globl	tick_entry, fault_entry
tick_entry:
	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	pushq	%rsi
	pushq	%rdi
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	cld
	call	on_tick
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rdi
	popq	%rsi
	popq	%rdx
	popq	%rcx
	popq	%rax
	iretq
fault_entry:
	movq	(%rsp), %rdi
	movq	8(%rsp), %rsi
	call	on_fault

	.balign	8
gdt:
	.quad	0, 0x00209b0000000000, 0x00cf93000000ffff, 0x00cf9b000000ffff
gdt_pointer:
	.word	31
	.quad	gdt
idt_pointer:
	.word	16 * 256 - 1
	.quad	idt
	.balign	4
next_cpu:
	.long	1
	.section .note.GNU-stack, "", @progbits
