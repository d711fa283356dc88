/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest that does nothing but take interrupts; see irq_guest.h. 32-bit, flat, paging off.
 * ebp: counters of this vCPU; esi: not 0, the APIC is in x2APIC mode. The word at MODE
 * says how it waits.
 */
#define MODE	0x3000
#define APIC	0xfee00000
#define READY	0x400

	.section .rodata
	.code32
	.globl irq_guest_start
irq_guest_start:
	test	%esi, %esi
	jz	1f
	mov	$0x80f, %ecx
	mov	$0x1ff, %eax
	xor	%edx, %edx
	wrmsr
	jmp	2f
1:	movl	$0x1ff, APIC + 0xf0
2:	lock incl READY(%ebp)
wait:	mov	MODE, %eax
	cmp	$1, %eax
	je	halt
	cmp	$2, %eax
	je	exit
	cmp	$3, %eax
	je	mask
	cmp	$4, %eax
	je	self
	sti
	pause
	jmp	wait
halt:	sti
	hlt
	jmp	wait
exit:	sti
	xor	%eax, %eax
	cpuid
	jmp	wait
/* Interrupts wait while the TPR is high. */
mask:	cmp	$3, MODE
	jne	wait
	mov	$0xf0, %eax
	call	set_tpr
	sti
	mov	$50, %ecx
3:	pause
	loop	3b
	xor	%eax, %eax
	call	set_tpr
	jmp	mask
/* An interrupt to itself, again and again. */
self:	test	%esi, %esi
	jz	4f
	mov	$0x83f, %ecx
	mov	$0x61, %eax
	xor	%edx, %edx
	wrmsr
	sti
	jmp	wait
4:	movl	$0x40061, APIC + 0x300
	sti
	jmp	wait

set_tpr:
	test	%esi, %esi
	jz	5f
	mov	$0x808, %ecx
	xor	%edx, %edx
	wrmsr
	ret
5:	mov	%eax, APIC + 0x80
	ret

/* Every gate leads here with its vector pushed. */
	.globl irq_guest_handler
irq_guest_handler:
	push	%eax
	push	%ebx
	push	%ecx
	push	%edx
	mov	16(%esp), %ebx
	lock incl (%ebp,%ebx,4)
	test	%esi, %esi
	jz	6f
	mov	$0x80b, %ecx
	xor	%eax, %eax
	xor	%edx, %edx
	wrmsr
	jmp	7f
6:	movl	$0, APIC + 0xb0
7:	pop	%edx
	pop	%ecx
	pop	%ebx
	pop	%eax
	add	$4, %esp
	iret
	.globl irq_guest_end
irq_guest_end:
	.section .note.GNU-stack,"",@progbits
