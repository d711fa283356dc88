/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What bench_migrate moves, under hvd and under QEMU alike: multiboot, 32 bits, no
 * paging. The last letter of the command line says what it does:
 *
 *  i  nothing but 250 timer interrupts a second
 *  r  writes a GiB of pseudo-random data, then the same
 *  d  writes 256 MiB of them, then a word of another page of 64 MiB RATE times a second,
 *     with computation between that fills the rest of the CPU's time
 *
 * The host reads 16 bytes at PROGRESS: what has been done (interrupts, or pages), 1 when
 * the data is there, interrupts, loops between two pages.
 */
#define PROGRESS 0x8000
#define READY	 0x8004
#define TICKS	 0x8008
#define LOOPS	 0x800c
#define IDT	 0x9000
#define STACK	 0x20000
#define DATA	 0x1000000
#define RATE	 20000
#define HZ	 250
#define VECTOR	 0x20
#define SET	 (64 << 20)
#define CODE	 8 /* selectors */
#define FLAT	 16

	.code32
	.section .text.start, "ax"
	.globl	_start
_start:
	jmp	1f
	.balign	4
	.long	0x1badb002, 0, -0x1badb002
1:	cli
	cld
	movl	$STACK, %esp
	movl	16(%ebx), %esi			/* command line */
2:	lodsb
	testb	%al, %al
	jz	3f
	movb	%al, mode
	jmp	2b
3:	lgdt	gdt_pointer
	ljmp	$CODE, $4f
4:	movw	$FLAT, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	xorl	%eax, %eax
	movl	%eax, PROGRESS
	movl	%eax, READY
	movl	%eax, TICKS
	movl	%eax, LOOPS
	call	timer_start
	sti
	cmpb	$'r', mode
	je	random
	cmpb	$'d', mode
	je	dirty
idle:
	movl	$1, READY
1:	hlt
	jmp	1b

random:
	movl	$1 << 28, %ecx
	call	fill
	jmp	idle

dirty:
	movl	$1 << 26, %ecx
	call	fill
	call	calibrate
	movl	$1, READY
1:	movl	$DATA, %edi
2:	incl	PROGRESS
	movl	PROGRESS, %eax
	movl	%eax, (%edi)
	movl	LOOPS, %ecx
	call	compute
	addl	$4096, %edi
	cmpl	$DATA + SET, %edi
	jb	2b
	jmp	1b

/* ecx words from DATA on: xorshift */
fill:
	movl	$DATA, %edi
	movl	$0x9e3779b9, %eax
1:	movl	%eax, %edx
	shll	$13, %edx
	xorl	%edx, %eax
	movl	%eax, %edx
	shrl	$17, %edx
	xorl	%edx, %eax
	movl	%eax, %edx
	shll	$5, %edx
	xorl	%edx, %eax
	stosl
	decl	%ecx
	jnz	1b
	ret

/* ecx times */
compute:
	imull	$0x343fd, %eax
	addl	$0x269ec3, %eax
	decl	%ecx
	jnz	compute
	ret

/* LOOPS: such that RATE pages are written in a second, as fast as this processor is. */
calibrate:
	movl	TICKS, %ebx
1:	cmpl	TICKS, %ebx
	je	1b
	movl	TICKS, %ebx
	addl	$HZ / 5, %ebx
	xorl	%esi, %esi
2:	movl	$1000, %ecx
	call	compute
	incl	%esi
	cmpl	TICKS, %ebx			/* several may come at once */
	jg	2b
	imull	$1000 * 5 / 100, %esi, %eax	/* hundreds of loops a second */
	xorl	%edx, %edx
	movl	$RATE / 100, %ecx
	divl	%ecx
	incl	%eax
	movl	%eax, LOOPS
	ret

/* PIC, PIT and the local APIC's LINT0 */
timer_start:
	movl	$tick, %eax
	movw	%ax, IDT + 8 * VECTOR
	movw	$CODE, IDT + 8 * VECTOR + 2
	movw	$0x8e00, IDT + 8 * VECTOR + 4
	shrl	$16, %eax
	movw	%ax, IDT + 8 * VECTOR + 6
	lidt	idt_pointer
	movl	$0x1ff, 0xfee000f0
	movl	$0x700, 0xfee00350
	movl	$words, %esi
	movl	$(words_end - words) / 2, %ecx
	xorl	%edx, %edx
1:	lodsb
	movb	%al, %dl
	lodsb
	outb	%al, %dx
	loop	1b
	ret
words:	.byte	0x20, 0x11, 0xa0, 0x11, 0x21, VECTOR, 0xa1, VECTOR + 8, 0x21, 4, 0xa1, 2
	.byte	0x21, 1, 0xa1, 1, 0x21, 0xfe, 0xa1, 0xff
	.byte	0x43, 0x34, 0x40, (1193182 / HZ) & 0xff, 0x40, (1193182 / HZ) >> 8
words_end:

tick:
	pushl	%eax
	incl	TICKS
	cmpb	$'d', mode
	je	1f
	incl	PROGRESS
1:	movb	$0x20, %al
	outb	%al, $0x20
	popl	%eax
	iret

mode:	.byte	0
	.balign	8
gdt:
	.quad	0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
	.word	23
	.long	gdt
idt_pointer:
	.word	8 * (VECTOR + 1) - 1
	.long	IDT
	.section .note.GNU-stack, "", @progbits
