/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The first guest: what a kernel does in its first milliseconds, and no more. It
 * is loaded at 1 MiB and entered at its first instruction, or by multiboot or PVH, in
 * 32-bit protected mode with flat segments. It prints what it did on the UART at
 * 0x3f8, one line a step, and ends with a write to port 0xf4 (0: every step was
 * right; else the step's number), then ACPI S5, then HLT.
 *
 *	1 protected mode	2 long mode	3 CPUID
 *	4 memory 16..32 MiB	5 #BP, #UD, #PF	6 TSC and #DB	7 a timer tick
 */
#define UART		0x3f8
#define DEBUG_EXIT	0xf4
#define PM1_CONTROL	0x604
#define S5		(5 << 10 | 1 << 13)
#define TABLES		0x200000	/* PML4, PDPT, PD: 1 GiB of 2 MiB pages; then one PT */
#define STACK		0x300000
#define HOLE		0x40000000	/* not mapped */
#define FILL_START	0x1000000
#define FILL_END	0x2000000
#define VECTOR_TICK	0x40

	/* Xen's note of type 18: the 32-bit physical address to enter at. */
	.section .note.Xen, "a", @note
	.long	4, 4, 18
	.asciz	"Xen"
	.long	_start

	.section .text
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
	movl	$STACK, %esp
	movl	$msg_protected, %esi
	call	print32

	/* PML4[0] -> PDPT[0] -> PD: 512 pages of 2 MiB, but the first through a PT of 4 KiB ones */
	movl	$TABLES, %edi
	xorl	%eax, %eax
	movl	$4 * 1024, %ecx
	rep stosl
	movl	$TABLES + 0x1003, TABLES
	movl	$TABLES + 0x2003, TABLES + 0x1000
	movl	$TABLES + 0x2000, %edi
	movl	$0x83, %eax
1:	movl	%eax, (%edi)
	addl	$8, %edi
	addl	$0x200000, %eax
	cmpl	$HOLE, %eax
	jb	1b
	movl	$TABLES + 0x3003, TABLES + 0x2000
	movl	$TABLES + 0x3000, %edi
	movl	$3, %eax
2:	movl	%eax, (%edi)
	addl	$8, %edi
	addl	$0x1000, %eax
	cmpl	$0x200000, %eax
	jb	2b

	movl	%cr4, %eax
	orl	$1 << 5, %eax			/* PAE */
	movl	%eax, %cr4
	movl	$TABLES, %eax
	movl	%eax, %cr3
	movl	$0xc0000080, %ecx
	rdmsr
	orl	$1 << 8, %eax			/* EFER.LME */
	wrmsr
	movl	%cr0, %eax
	orl	$1 << 31 | 1 << 16, %eax	/* PG, WP */
	movl	%eax, %cr0
	lgdt	gdt_pointer
	ljmp	$8, $start64

/* esi: text */
print32:
	movw	$UART, %dx
1:	lodsb
	testb	%al, %al
	jz	2f
	outb	%al, %dx
	jmp	1b
2:	ret

	.code64
start64:
	movw	$16, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	xorl	%eax, %eax
	movw	%ax, %fs
	movw	%ax, %gs
	movl	$STACK, %esp
	movl	$msg_long, %esi
	call	print

	/* ---- 3: CPUID ---- */
	movl	$3, %ebp
	movl	$msg_cpuid, %esi
	call	print
	xorl	%eax, %eax
	cpuid
	movl	%ebx, text
	movl	%edx, text + 4
	movl	%ecx, text + 8
	movl	$text, %esi
	call	print
	movl	$1, %eax
	cpuid
	testl	%ecx, %ecx			/* bit 31: a hypervisor */
	jns	fail
	movl	$0x40000000, %eax
	cpuid
	movl	%ebx, text
	movl	%ecx, text + 4
	movl	%edx, text + 8
	cmpl	$0x4b4d564b, %ebx		/* "KVMK" */
	jne	fail
	movl	$msg_on, %esi
	call	print
	movl	$text, %esi
	call	print
	call	newline

	/* ---- 4: memory ---- */
	movl	$4, %ebp
	movl	$msg_memory, %esi
	call	print
	movl	$FILL_START, %edi
	movabsq	$0x9e3779b97f4a7c15, %rbx
1:	movq	%rdi, %rax
	imulq	%rbx, %rax
	movq	%rax, (%rdi)
	addq	$64, %rdi
	cmpq	$FILL_END, %rdi
	jb	1b
	movl	$FILL_START, %edi
2:	movq	%rdi, %rax
	imulq	%rbx, %rax
	cmpq	%rax, (%rdi)
	jne	fail
	addq	$64, %rdi
	cmpq	$FILL_END, %rdi
	jb	2b
	/* string stores and an atomic */
	movl	$FILL_START + 8, %edi
	movl	$4096, %ecx
	movb	$0x5a, %al
	rep stosb
	cmpb	$0x5a, FILL_START + 8 + 4095
	jne	fail
	movl	$1, %eax
	lock xaddl %eax, counter
	testl	%eax, %eax
	jnz	fail
	movl	$msg_ok, %esi
	call	print

	/* ---- 5: exceptions ---- */
	movl	$5, %ebp
	movl	$msg_exceptions, %esi
	call	print
	movl	$1, %edi
	movl	$on_debug, %esi
	call	set_gate
	movl	$3, %edi
	movl	$on_breakpoint, %esi
	call	set_gate
	movl	$6, %edi
	movl	$on_undefined, %esi
	call	set_gate
	movl	$14, %edi
	movl	$on_page_fault, %esi
	call	set_gate
	movl	$VECTOR_TICK, %edi
	movl	$on_tick, %esi
	call	set_gate
	lidt	idt_pointer
	int3
	cmpl	$1, breakpoints
	jne	fail
	ud2
	cmpl	$1, undefined
	jne	fail
	/* a read of what is not mapped: the handler maps it to FILL_START */
	movl	$HOLE, %eax
	movq	(%rax), %rbx
	cmpq	$1, faults
	jne	fail
	cmpq	FILL_START, %rbx
	jne	fail
	cmpq	$HOLE, fault_address
	jne	fail
	/* a write to a page made read-only */
	andq	$~2, TABLES + 0x3000 + 0x1f0 * 8
	movl	$0x1f0000, %eax
	invlpg	(%rax)
	movl	$1, (%rax)
	cmpq	$2, faults
	jne	fail
	cmpl	$1, (%rax)
	jne	fail
	movl	$msg_ok, %esi
	call	print

	/* ---- 6: time-stamp counter, single step ---- */
	movl	$6, %ebp
	movl	$msg_tsc, %esi
	call	print
	rdtsc
	shlq	$32, %rdx
	leaq	(%rdx, %rax), %rbx
	rdtsc
	shlq	$32, %rdx
	addq	%rdx, %rax
	cmpq	%rbx, %rax
	jbe	fail
	pushfq
	orl	$1 << 8, (%rsp)			/* TF */
	popfq
	nop
	pushfq
	andl	$~(1 << 8), (%rsp)
	popfq
	cmpl	$2, steps
	jb	fail
	movl	$msg_ok, %esi
	call	print

	/* ---- 7: a tick of the local APIC's timer, if there is one ---- */
	movl	$7, %ebp
	movl	$1, %eax
	cpuid
	btl	$21, %ecx			/* x2APIC */
	jnc	done
	btl	$24, %ecx			/* TSC deadline */
	jnc	done
	movl	$msg_tick, %esi
	call	print
	movl	$0x1b, %ecx
	rdmsr
	orl	$3 << 10, %eax			/* EN, EXTD */
	wrmsr
	xorl	%edx, %edx
	movl	$0x80f, %ecx
	movl	$0x1ff, %eax			/* software enable */
	wrmsr
	movl	$0x832, %ecx
	movl	$2 << 17 | VECTOR_TICK, %eax	/* deadline mode */
	wrmsr
	mfence
	rdtsc
	shlq	$32, %rdx
	addq	%rdx, %rax
	addq	$2000000, %rax
	movq	%rax, %rdx
	shrq	$32, %rdx
	movl	$0x6e0, %ecx
	wrmsr
1:	sti
	hlt
	cli
	cmpl	$0, ticks
	je	1b
	movl	$msg_ok, %esi
	call	print
done:
	movl	$msg_done, %esi
	call	print
	xorl	%eax, %eax
	jmp	end
fail:
	movl	$msg_fail, %esi
	call	print
	movl	%ebp, %eax
end:
	outl	%eax, $DEBUG_EXIT
	movw	$PM1_CONTROL, %dx
	movw	$S5, %ax
	outw	%ax, %dx
1:	cli
	hlt
	jmp	1b

newline:
	movl	$msg_newline, %esi
/* rsi: text; uses rax, rdx */
print:
	movw	$UART, %dx
1:	lodsb
	testb	%al, %al
	jz	2f
	outb	%al, %dx
	jmp	1b
2:	ret

/* edi: vector, esi: handler below 4 GiB */
set_gate:
	shll	$4, %edi
	addl	$idt, %edi
	movw	%si, (%rdi)
	movw	$8, 2(%rdi)
	movw	$0x8e00, 4(%rdi)
	shrl	$16, %esi
	movw	%si, 6(%rdi)
	movq	$0, 8(%rdi)
	ret

on_debug:
	incl	steps
	iretq
on_breakpoint:
	incl	breakpoints
	iretq
on_undefined:
	incl	undefined
	addq	$2, (%rsp)
	iretq
on_page_fault:
	pushq	%rax
	movq	%cr2, %rax
	incq	faults
	cmpq	$2, faults
	je	1f
	movq	%rax, fault_address
	movq	$TABLES + 0x4003, TABLES + 0x1008	/* PDPT[1] -> a PD */
	movq	$FILL_START + 0x83, TABLES + 0x4000
	jmp	2f
1:	orq	$2, TABLES + 0x3000 + 0x1f0 * 8
	invlpg	(%rax)
2:	popq	%rax
	addq	$8, %rsp
	iretq
on_tick:
	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	incl	ticks
	xorl	%eax, %eax
	xorl	%edx, %edx
	movl	$0x80b, %ecx			/* EOI */
	wrmsr
	popq	%rdx
	popq	%rcx
	popq	%rax
	iretq

	.balign	8
gdt:
	.quad	0, 0x00209b0000000000, 0x00cf93000000ffff
gdt_pointer:
	.word	. - gdt - 1
	.quad	gdt
idt_pointer:
	.word	16 * 256 - 1
	.quad	idt
msg_protected:	.asciz "hvd first guest\n1 protected mode\n"
msg_long:	.asciz "2 long mode\n"
msg_cpuid:	.asciz "3 CPUID "
msg_on:		.asciz " on "
msg_newline:	.asciz "\n"
msg_memory:	.asciz "4 memory"
msg_exceptions:	.asciz "5 exceptions"
msg_tsc:	.asciz "6 TSC, single step"
msg_tick:	.asciz "7 timer tick"
msg_ok:		.asciz " ok\n"
msg_fail:	.asciz " FAILED\n"
msg_done:	.asciz "done\n"
	.balign	8
text:		.fill 16
faults:		.quad 0
fault_address:	.quad 0
counter:	.long 0
breakpoints:	.long 0
undefined:	.long 0
steps:		.long 0
ticks:		.long 0
	.balign	16
idt:		.fill 16 * 256
	.balign 4096
	.section .note.GNU-stack, "", @progbits
