/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest for tests of the daemon: a boot sector at 0x7c00 in real mode. It prints
 * "ready" on the serial port and then obeys letters that it reads there:
 *	x	write 7 to the debug exit port
 *	o	power off (ACPI S5)
 *	r	reset (port 0xcf9)
 *	t	triple fault
 *	p	panic: write 1 to pvpanic's port, then go on
 *	h	halt for ever with interrupts off
 *	d	write a byte into each of 16 pages from 0x10000 on, then print "D"
 *	s	print 4096 times a line of 64 bytes
 *	other	is echoed
 */
	.code16
	.globl _start
_start:
	cli
	xor %ax, %ax
	mov %ax, %ds
	mov %ax, %ss
	mov $0x7000, %sp
	mov $ready, %si
	call puts

next:
	mov $0x3fd, %dx
	in %dx, %al
	test $1, %al
	jz next
	mov $0x3f8, %dx
	in %dx, %al
	cmp $'x', %al
	je debug_exit
	cmp $'o', %al
	je poweroff
	cmp $'r', %al
	je reset
	cmp $'t', %al
	je triple
	cmp $'p', %al
	je panic
	cmp $'h', %al
	je halt
	cmp $'d', %al
	je dirty
	cmp $'s', %al
	je spam
	call putc
	jmp next

puts:
	lodsb
	test %al, %al
	jz 1f
	call putc
	jmp puts
1:	ret

/* %al to the serial port, when it has room. */
putc:
	mov %al, %ah
	mov $0x3fd, %dx
1:	in %dx, %al
	test $0x20, %al
	jz 1b
	mov %ah, %al
	mov $0x3f8, %dx
	out %al, %dx
	ret

debug_exit:
	mov $7, %al
	mov $0xf4, %dx
	out %al, %dx
	jmp halt

poweroff:
	mov $0x604, %dx
	mov $0x3400, %ax
	out %ax, %dx
	jmp halt

reset:
	mov $0xcf9, %dx
	mov $6, %al
	out %al, %dx
	jmp halt

panic:
	mov $0x505, %dx
	mov $1, %al
	out %al, %dx
	jmp next

triple:
	lidt empty
	int $3

halt:
	hlt
	jmp halt

dirty:
	mov $0x1000, %ax
1:	mov %ax, %es
	movb $1, %es:0
	add $0x100, %ax
	cmp $0x2000, %ax
	jne 1b
	mov $'D', %al
	call putc
	jmp next

spam:
	mov $4096, %cx
1:	mov $line, %si
	call puts
	dec %cx
	jnz 1b
	jmp next

empty:	.word 0
	.long 0
ready:	.asciz "ready\r\n"
line:	.asciz "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n"
