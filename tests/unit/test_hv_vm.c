/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hv_vm_* and hv_vcpu_* as users of the engine meet them, with small guests in
 * 32-bit protected mode: port I/O and MMIO exits, HLT, interrupts and NMI, kicks,
 * memory regions that change while a guest uses them, read-only memory, dirty logs
 * and rings. The assertions about memory regions are those of KVM's selftests.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "hv/engine/hv_engine.h"
#include "hv/hv.h"
#include "hv/vm/hardware.h"

#define CODE	 0x1000u
#define RAM_SIZE (4u << 20)
#define DATA_GPA 0x10000000u
#define DATA_LEN (2u << 20)
#define MMIO_GPA 0x20000000u

#define GUEST(name, text)                                                                          \
	__asm__(".pushsection .rodata\n.code32\n" #name ":\n" text "\n" #name "_end:\n"            \
		".code64\n.popsection\n");                                                         \
	extern const uint8_t name[], name##_end[]

GUEST(guest_io, "in $0x10, %al\n add $1, %al\n out %al, $0x11\n"
		"mov $0x1234, %dx\n in (%dx), %ax\n mov $0x1236, %dx\n out %eax, (%dx)\n hlt");
GUEST(guest_string_io, "mov $0x2000, %esi\n mov $0x3000, %edi\n mov $0x22, %edx\n mov $5, %ecx\n"
		       "cld\n rep outsb\n mov $3, %ecx\n rep insw\n hlt");
GUEST(guest_mmio, "mov $0x20000000, %ebx\n mov (%ebx), %eax\n inc %eax\n mov %eax, 4(%ebx)\n"
		  "movzbw 9(%ebx), %cx\n addw $3, 0x10(%ebx)\n push 0x20(%ebx)\n pop %edx\n hlt");
GUEST(guest_mmio_string, "mov $0x20000000, %esi\n mov $0x3000, %edi\n mov $4, %ecx\n cld\n"
			 "rep movsl\n mov $0x3000, %esi\n mov $0x20000100, %edi\n mov $4, %ecx\n"
			 "rep movsl\n hlt");
/* esi: the first page, ecx: pages; writes one word to each, again and again */
GUEST(guest_writer, "1: mov %esi, %edi\n mov %ecx, %ebx\n"
		    "2: incl (%edi)\n add $4096, %edi\n dec %ebx\n jnz 2b\n"
		    "out %al, $0x42\n jmp 1b");
/* reads DATA_GPA until it is no longer 1; reports what it saw */
GUEST(guest_reader, "1: mov 0x10000000, %eax\n cmp $1, %eax\n je 1b\n out %eax, $0x43\n jmp 1b");
GUEST(guest_spin, "1: inc %eax\n mov %eax, 0x3000\n jmp 1b");
GUEST(guest_irq, "lidt 0x5000\n sti\n 1: inc %ebx\n cmp $0, %ebp\n je 1b\n cli\n out %al, $0x44\n"
		 "hlt\n hlt\n out %al, $0x45\n hlt");
GUEST(isr, "mov $0x77, %ebp\n iret");
GUEST(isr_nmi, "mov $0x99, %esi\n iret");
GUEST(guest_triple, "lidt 0x5100\n int3\n hlt");
GUEST(guest_write_ro, "movl $5, 0x10000000\n mov 0x10000004, %eax\n addl $1, 0x10000004\n hlt");

struct fixture {
	struct hv_vm *vm;
	struct hv_vcpu *vcpu;
	struct hv_run *run;
	uint8_t *ram, *data;
};

static const char *const *matrix_entry(void **state)
{
	return *state;
}

static void put(struct fixture *f, uint32_t gpa, const void *from, const void *end)
{
	memcpy(f->ram + gpa, from, (size_t)((const uint8_t *)end - (const uint8_t *)from));
}

static void flat32(struct hv_vcpu *vcpu)
{
	const struct hv_seg code = { .limit = 0xffffffff, .selector = 8, .type = 11, .present = 1,
				     .db = 1, .s = 1, .g = 1 };
	struct hv_seg data = code;
	struct hv_sregs s;
	struct hv_regs r = { .rip = CODE, .rflags = 2, .rsp = 0x8000 };

	data.type = 3;
	data.selector = 16;
	assert_int_equal(hv_vcpu_get_sregs(vcpu, &s), 0);
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.gdt.base = 0x6000;
	s.gdt.limit = 23;
	s.cr0 = 0x11;
	assert_int_equal(hv_vcpu_set_sregs(vcpu, &s), 0);
	assert_int_equal(hv_vcpu_set_regs(vcpu, &r), 0);
}

static void *add_ram(struct fixture *f, uint32_t slot, uint32_t flags, uint64_t gpa, uint64_t size)
{
	const struct hv_ram_config ram = { .backing = HV_MEM_ANON, .size = size, .fd = -1 };
	struct hv_memory_region region = { .slot = slot, .flags = flags, .guest_phys_addr = gpa,
					   .memory_size = size };
	void *hva;

	assert_int_equal(hv_vm_ram_create(f->vm, &ram, &hva), 0);
	region.userspace_addr = (uintptr_t)hva;
	assert_int_equal(hv_vm_set_memory_region(f->vm, &region), 0);
	return hva;
}

static void make(struct fixture *f, void **state, uint32_t ring)
{
	static const uint64_t gdt[] = { 0, 0x00cf9b000000ffff, 0x00cf93000000ffff };
	const char *const *m = matrix_entry(state);
	const struct hv_vm_config config = { .name = "t", .vendor = m[0], .paging = m[1] };

	memset(f, 0, sizeof(*f));
	assert_int_equal(hv_vm_create(&config, &f->vm), 0);
	if (ring)
		assert_int_equal(hv_vm_enable_dirty_ring(f->vm, ring), 0);
	f->ram = add_ram(f, 0, 0, 0, RAM_SIZE);
	memcpy(f->ram + 0x6000, gdt, sizeof(gdt));
	assert_int_equal(hv_vcpu_create(f->vm, 0, &f->vcpu), 0);
	f->run = hv_vcpu_run_page(f->vcpu);
	flat32(f->vcpu);
}

static void finish(struct fixture *f)
{
	hv_vm_release(f->vm);
	assert_int_equal(hardware_usage_count(), 0);
}

static uint64_t reg(struct fixture *f, size_t offset)
{
	struct hv_regs r;

	assert_int_equal(hv_vcpu_get_regs(f->vcpu, &r), 0);
	return *(uint64_t *)((char *)&r + offset);
}
#define REG(f, name) reg(f, offsetof(struct hv_regs, name))

static void expect_exit(struct fixture *f, enum hv_exit_reason reason)
{
	int r = hv_vcpu_run(f->vcpu);

	if (r || f->run->exit_reason != reason)
		print_message("# run %d, exit %u, rip 0x%llx\n", r, f->run->exit_reason,
			      (unsigned long long)REG(f, rip));
	assert_int_equal(r, 0);
	assert_int_equal(f->run->exit_reason, reason);
}

static void expect_io(struct fixture *f, uint16_t port, unsigned int size, bool write)
{
	expect_exit(f, HV_EXIT_IO);
	assert_int_equal(f->run->io.port, port);
	assert_int_equal(f->run->io.size, size);
	assert_int_equal(f->run->io.is_write, write);
	assert_int_equal(f->run->io.count, 1);
}

static void expect_mmio(struct fixture *f, uint64_t gpa, unsigned int len, bool write)
{
	expect_exit(f, HV_EXIT_MMIO);
	assert_int_equal(f->run->mmio.phys_addr, gpa);
	assert_int_equal(f->run->mmio.len, len);
	assert_int_equal(f->run->mmio.is_write, write);
}

static uint32_t mmio_value(struct fixture *f)
{
	uint32_t v;

	memcpy(&v, f->run->mmio.data, sizeof(v));
	return v;
}

/* ---- I/O ------------------------------------------------------------------------------------ */

static void port_io(void **state)
{
	struct fixture f;

	make(&f, state, 0);
	put(&f, CODE, guest_io, guest_io_end);
	expect_io(&f, 0x10, 1, false);
	f.run->io.data[0] = 0x41;
	expect_io(&f, 0x11, 1, true);
	assert_int_equal(f.run->io.data[0], 0x42);
	expect_io(&f, 0x1234, 2, false);
	memcpy(f.run->io.data, "\x34\x12", 2);
	expect_io(&f, 0x1236, 4, true);
	assert_memory_equal(f.run->io.data, "\x34\x12\0\0", 4);
	expect_exit(&f, HV_EXIT_HLT);
	assert_int_equal(REG(&f, rip), CODE + (uint64_t)(guest_io_end - guest_io));
	finish(&f);
}

static void port_io_strings(void **state)
{
	struct fixture f;
	int i;

	make(&f, state, 0);
	put(&f, CODE, guest_string_io, guest_string_io_end);
	memcpy(f.ram + 0x2000, "hello", 5);
	for (i = 0; i < 5; i++) {
		expect_io(&f, 0x22, 1, true);
		assert_int_equal(f.run->io.data[0], "hello"[i]);
	}
	for (i = 0; i < 3; i++) {
		expect_io(&f, 0x22, 2, false);
		f.run->io.data[0] = (uint8_t)('a' + i);
		f.run->io.data[1] = (uint8_t)('A' + i);
	}
	expect_exit(&f, HV_EXIT_HLT);
	assert_memory_equal(f.ram + 0x3000, "aAbBcC", 6);
	assert_int_equal(REG(&f, rdi), 0x3006);
	assert_int_equal(REG(&f, rcx), 0);
	finish(&f);
}

static void mmio(void **state)
{
	struct fixture f;
	uint32_t v = 41;

	make(&f, state, 0);
	put(&f, CODE, guest_mmio, guest_mmio_end);
	expect_mmio(&f, MMIO_GPA, 4, false);
	memcpy(f.run->mmio.data, &v, 4);
	expect_mmio(&f, MMIO_GPA + 4, 4, true);
	assert_int_equal(mmio_value(&f), 42);
	expect_mmio(&f, MMIO_GPA + 9, 1, false);
	f.run->mmio.data[0] = 0x80;
	/* a read-modify-write: each half once */
	expect_mmio(&f, MMIO_GPA + 0x10, 2, false);
	memcpy(f.run->mmio.data, "\x05\x00", 2);
	expect_mmio(&f, MMIO_GPA + 0x10, 2, true);
	assert_memory_equal(f.run->mmio.data, "\x08\x00", 2);
	/* memory to memory: the stack is RAM */
	expect_mmio(&f, MMIO_GPA + 0x20, 4, false);
	v = 0xcafe;
	memcpy(f.run->mmio.data, &v, 4);
	expect_exit(&f, HV_EXIT_HLT);
	assert_int_equal(REG(&f, rdx), 0xcafe);
	assert_int_equal(REG(&f, rcx) & 0xffff, 0x80);
	assert_int_equal(REG(&f, rsp), 0x8000);
	finish(&f);
}

static void mmio_strings(void **state)
{
	struct fixture f;
	uint32_t i, v;

	make(&f, state, 0);
	put(&f, CODE, guest_mmio_string, guest_mmio_string_end);
	for (i = 0; i < 4; i++) {
		expect_mmio(&f, MMIO_GPA + 4 * i, 4, false);
		v = 0x100 + i;
		memcpy(f.run->mmio.data, &v, 4);
	}
	for (i = 0; i < 4; i++) {
		expect_mmio(&f, MMIO_GPA + 0x100 + 4 * i, 4, true);
		assert_int_equal(mmio_value(&f), 0x100 + i);
	}
	expect_exit(&f, HV_EXIT_HLT);
	finish(&f);
}

/* ---- events ----------------------------------------------------------------------------------- */

static void set_gate(struct fixture *f, unsigned int vector, uint32_t handler)
{
	const uint32_t low = 8u << 16 | (handler & 0xffff), high = (handler & 0xffff0000) | 0x8e00;

	memcpy(f->ram + 0x7000 + 8 * vector, &low, 4);
	memcpy(f->ram + 0x7004 + 8 * vector, &high, 4);
}

static void prepare_irq(struct fixture *f)
{
	const uint16_t limit = 0x7ff;
	const uint32_t base = 0x7000;

	put(f, CODE, guest_irq, guest_irq_end);
	put(f, 0x4000, isr, isr_end);
	put(f, 0x4100, isr_nmi, isr_nmi_end);
	set_gate(f, 0x50, 0x4000);
	set_gate(f, 2, 0x4100);
	memcpy(f->ram + 0x5000, &limit, 2);
	memcpy(f->ram + 0x5002, &base, 4);
}

static void user_interrupt(void **state)
{
	struct fixture f;
	int i;

	make(&f, state, 0);
	prepare_irq(&f);
	assert_int_equal(hv_vcpu_interrupt(f.vcpu, 0x50), 0);
	assert_int_equal(hv_vcpu_interrupt(f.vcpu, 0x51), -EEXIST);
	expect_io(&f, 0x44, 1, true);
	assert_int_equal(REG(&f, rbp), 0x77);
	expect_exit(&f, HV_EXIT_HLT); /* IF = 0 */
	assert_int_equal(f.run->if_flag, 0);
	assert_int_equal(f.run->ready_for_interrupt_injection, 0);
	/* an NMI goes through although IF is 0 */
	assert_int_equal(hv_vcpu_nmi(f.vcpu), 0);
	expect_exit(&f, HV_EXIT_HLT);
	assert_int_equal(REG(&f, rsi), 0x99);
	/* and NMIs are open again after its IRET */
	for (i = 0; i < 2; i++) {
		struct hv_regs r;

		assert_int_equal(hv_vcpu_get_regs(f.vcpu, &r), 0);
		r.rsi = 0;
		r.rip = CODE + (uint64_t)(guest_irq_end - guest_irq) - 1;
		assert_int_equal(hv_vcpu_set_regs(f.vcpu, &r), 0);
		assert_int_equal(hv_vcpu_nmi(f.vcpu), 0);
		expect_exit(&f, HV_EXIT_HLT);
		assert_int_equal(REG(&f, rsi), 0x99);
	}
	finish(&f);
}

static void interrupt_window(void **state)
{
	struct fixture f;

	make(&f, state, 0);
	prepare_irq(&f);
	f.run->request_interrupt_window = 1;
	expect_exit(&f, HV_EXIT_IRQ_WINDOW_OPEN);
	assert_int_equal(f.run->if_flag, 1);
	assert_int_equal(f.run->ready_for_interrupt_injection, 1);
	f.run->request_interrupt_window = 0;
	assert_int_equal(hv_vcpu_interrupt(f.vcpu, 0x50), 0);
	expect_io(&f, 0x44, 1, true);
	finish(&f);
}

static void triple_fault(void **state)
{
	struct fixture f;

	make(&f, state, 0);
	put(&f, CODE, guest_triple, guest_triple_end);
	expect_exit(&f, HV_EXIT_SHUTDOWN);
	finish(&f);
}

static void *kicker(void *arg)
{
	struct fixture *f = arg;

	while (!__atomic_load_n((uint32_t *)(f->ram + 0x3000), __ATOMIC_RELAXED))
		usleep(1000);
	hv_vcpu_kick(f->vcpu);
	return NULL;
}

static void kicks(void **state)
{
	struct fixture f;
	struct hv_regs r;
	pthread_t t;
	uint64_t before;

	make(&f, state, 0);
	put(&f, CODE, guest_spin, guest_spin_end);
	assert_int_equal(pthread_create(&t, NULL, kicker, &f), 0);
	assert_int_equal(hv_vcpu_run(f.vcpu), -EINTR);
	assert_int_equal(f.run->exit_reason, HV_EXIT_INTR);
	pthread_join(t, NULL);
	before = REG(&f, rax);
	assert_true(before > 0);
	/* a kick before the call ends the call; immediate_exit enters no guest */
	assert_int_equal(hv_vcpu_kick(f.vcpu), 0);
	assert_int_equal(hv_vcpu_run(f.vcpu), -EINTR);
	f.run->immediate_exit = 1;
	assert_int_equal(hv_vcpu_run(f.vcpu), -EINTR);
	f.run->immediate_exit = 0;
	assert_int_equal(hv_vcpu_get_regs(f.vcpu, &r), 0);
	assert_int_equal(r.rax, before);
	finish(&f);
}

/* ---- memory regions ------------------------------------------------------------------------------ */

static void no_slots(void **state)
{
	const char *const *m = matrix_entry(state);
	const struct hv_vm_config config = { .name = "t", .vendor = m[0], .paging = m[1] };
	struct fixture f = { NULL };

	assert_int_equal(hv_vm_create(&config, &f.vm), 0);
	assert_int_equal(hv_vcpu_create(f.vm, 0, &f.vcpu), 0);
	f.run = hv_vcpu_run_page(f.vcpu);
	expect_exit(&f, HV_EXIT_INTERNAL_ERROR);
	finish(&f);
}

static void bad_regions(void **state)
{
	struct fixture f;
	struct hv_memory_region r;

	make(&f, state, 0);
	r = (struct hv_memory_region){ .slot = 1, .flags = 1u << 5, .guest_phys_addr = DATA_GPA,
				       .memory_size = 4096, .userspace_addr = (uintptr_t)f.ram };
	assert_int_equal(hv_vm_set_memory_region(f.vm, &r), -EINVAL);
	r.flags = 0;
	r.guest_phys_addr = 0x1000;
	assert_int_equal(hv_vm_set_memory_region(f.vm, &r), -EEXIST);
	r.guest_phys_addr = DATA_GPA + 1;
	assert_int_equal(hv_vm_set_memory_region(f.vm, &r), -EINVAL);
	r.guest_phys_addr = DATA_GPA;
	r.slot = HV_MEM_SLOTS_MAX;
	assert_int_equal(hv_vm_set_memory_region(f.vm, &r), -EINVAL);
	assert_int_equal(hv_vm_list_memory_regions(f.vm, NULL, 0, NULL), 1);
	assert_int_equal(hv_vm_set_memory_region(f.vm, NULL), -EINVAL);
	finish(&f);
}

static int set_slot(struct fixture *f, uint32_t slot, uint64_t gpa, uint64_t size, void *hva)
{
	struct hv_memory_region r = { .slot = slot, .guest_phys_addr = gpa, .memory_size = size,
				      .userspace_addr = (uintptr_t)hva };

	return hv_vm_set_memory_region(f->vm, &r);
}

/* Memory goes when no slot uses it, as often as one likes, and not before its users are done. */
static void ram_comes_and_goes(void **state)
{
	struct hv_region *region;
	struct fixture f;
	void *ram;
	int i;

	make(&f, state, 0);
	for (i = 0; i < 300; i++) {
		ram = add_ram(&f, 1, 0, DATA_GPA, 4096u << i % 4);
		assert_int_equal(hv_vm_ram_destroy(f.vm, ram), -EBUSY);
		assert_int_equal(set_slot(&f, 1, 0, 0, NULL), 0);
		assert_int_equal(hv_vm_ram_destroy(f.vm, ram), 0);
		assert_int_equal(hv_vm_ram_destroy(f.vm, ram), -ENOENT);
	}
	ram = add_ram(&f, 1, 0, DATA_GPA, 4096);
	assert_int_equal(set_slot(&f, HV_MEMREGION_SLOTS - 1, DATA_GPA + 4096, 4096, ram), 0);
	assert_int_equal(set_slot(&f, 1, 0, 0, NULL), 0);
	assert_int_equal(hv_vm_ram_destroy(f.vm, ram), -EBUSY); /* by the other slot */
	assert_int_equal(set_slot(&f, HV_MEMREGION_SLOTS - 1, 0, 0, NULL), 0);
	region = engine_region_get(f.vm, (uintptr_t)ram, 4096);
	assert_non_null(region);
	assert_int_equal(hv_vm_ram_destroy(f.vm, ram), 0);
	assert_null(engine_region_get(f.vm, (uintptr_t)ram, 4096));
	*(volatile char *)ram = 1;
	engine_region_put(f.vm, region);
	assert_int_equal(hv_vm_ram_destroy(f.vm, f.ram), -EBUSY);
	assert_int_equal(hv_vm_ram_destroy(NULL, ram), -EINVAL);
	finish(&f);
}

struct runner {
	struct fixture *f;
	_Atomic unsigned int mmio, reported;
	_Atomic bool stop, failed;
	_Atomic uint32_t seen;
};

static void *run_reader(void *arg)
{
	struct runner *r = arg;

	hv_thread_enter();
	while (!atomic_load(&r->stop)) {
		int ret = hv_vcpu_run(r->f->vcpu);

		if (ret == -EINTR)
			continue;
		if (ret) {
			atomic_store(&r->failed, true);
			break;
		}
		if (r->f->run->exit_reason == HV_EXIT_MMIO) {
			uint32_t one = 1;

			memcpy(r->f->run->mmio.data, &one, 4);
			atomic_fetch_add(&r->mmio, 1);
		} else if (r->f->run->exit_reason == HV_EXIT_IO) {
			uint32_t value;

			memcpy(&value, r->f->run->io.data, 4);
			atomic_store(&r->seen, value);
			atomic_fetch_add(&r->reported, 1);
		} else {
			atomic_store(&r->failed, true);
			break;
		}
	}
	hv_thread_leave();
	return NULL;
}

static void wait_above(_Atomic unsigned int *counter, unsigned int value, struct runner *r)
{
	int i;

	for (i = 0; i < 10000 && atomic_load(counter) <= value && !atomic_load(&r->failed); i++)
		usleep(1000);
	assert_true(atomic_load(counter) > value);
}

/* The guest reads a region while it is moved away and back, then deleted. */
static void move_and_delete_in_use(void **state)
{
	struct fixture f;
	struct runner r = { .f = &f };
	struct hv_memory_region region = { .slot = 1, .guest_phys_addr = DATA_GPA,
					   .memory_size = DATA_LEN };
	unsigned int before;
	pthread_t t;
	int i;

	make(&f, state, 0);
	put(&f, CODE, guest_reader, guest_reader_end);
	f.data = add_ram(&f, 1, 0, DATA_GPA, DATA_LEN);
	region.userspace_addr = (uintptr_t)f.data;
	*(uint32_t *)f.data = 1;
	assert_int_equal(pthread_create(&t, NULL, run_reader, &r), 0);
	for (i = 0; i < 3; i++) {
		usleep(5000);
		before = atomic_load(&r.mmio);
		region.guest_phys_addr = DATA_GPA - DATA_LEN;
		assert_int_equal(hv_vm_set_memory_region(f.vm, &region), 0);
		assert_true(region.generation_after > region.generation_before);
		wait_above(&r.mmio, before, &r);
		region.guest_phys_addr = DATA_GPA;
		assert_int_equal(hv_vm_set_memory_region(f.vm, &region), 0);
		/* memory again: what is in it reaches the guest */
		before = atomic_load(&r.reported);
		__atomic_store_n((uint32_t *)f.data, 7, __ATOMIC_RELAXED);
		wait_above(&r.reported, before, &r);
		assert_int_equal(atomic_load(&r.seen), 7);
		__atomic_store_n((uint32_t *)f.data, 1, __ATOMIC_RELAXED);
	}
	region.memory_size = 0;
	before = atomic_load(&r.mmio);
	assert_int_equal(hv_vm_set_memory_region(f.vm, &region), 0);
	wait_above(&r.mmio, before, &r);
	atomic_store(&r.stop, true);
	hv_vcpu_kick(f.vcpu);
	pthread_join(t, NULL);
	assert_false(atomic_load(&r.failed));
	print_message("# %u MMIO exits, %u reports\n", atomic_load(&r.mmio),
		      atomic_load(&r.reported));
	finish(&f);
}

static void read_only_slot(void **state)
{
	struct fixture f;

	make(&f, state, 0);
	put(&f, CODE, guest_write_ro, guest_write_ro_end);
	f.data = add_ram(&f, 1, HV_MEMREGION_READONLY, DATA_GPA, DATA_LEN);
	*(uint32_t *)(f.data + 4) = 0x1234;
	expect_mmio(&f, DATA_GPA, 4, true);
	assert_int_equal(mmio_value(&f), 5);
	/* the update reads memory and writes to the user */
	expect_mmio(&f, DATA_GPA + 4, 4, true);
	assert_int_equal(mmio_value(&f), 0x1235);
	expect_exit(&f, HV_EXIT_HLT);
	assert_int_equal(REG(&f, rax), 0x1234);
	assert_int_equal(*(uint32_t *)f.data, 0);
	assert_int_equal(*(uint32_t *)(f.data + 4), 0x1234);
	finish(&f);
}

/* Host memory that becomes read-only: the guest's write is the user's to see. */
static void host_read_only(void **state)
{
	struct fixture f;
	struct hv_region *region;
	struct hv_regs r;

	make(&f, state, 0);
	put(&f, CODE, guest_writer, guest_writer_end);
	f.data = add_ram(&f, 1, 0, DATA_GPA, DATA_LEN);
	assert_int_equal(hv_vcpu_get_regs(f.vcpu, &r), 0);
	r.rsi = DATA_GPA;
	r.rcx = 4;
	assert_int_equal(hv_vcpu_set_regs(f.vcpu, &r), 0);
	expect_io(&f, 0x42, 1, true);
	region = engine_region_get(f.vm, (uintptr_t)f.data, DATA_LEN);
	assert_non_null(region);
	assert_int_equal(hv_region_protect(region, 0x2000, 0x1000, HV_REGION_RO), 0);
	expect_exit(&f, HV_EXIT_MEMORY_FAULT);
	assert_int_equal(f.run->memory_fault.gpa, DATA_GPA + 0x2000);
	assert_int_equal(*(uint32_t *)(f.data + 0x1000), 2);
	assert_int_equal(*(uint32_t *)(f.data + 0x2000), 1);
	assert_int_equal(hv_region_protect(region, 0x2000, 0x1000, HV_REGION_RW), 0);
	expect_io(&f, 0x42, 1, true);
	assert_int_equal(*(uint32_t *)(f.data + 0x2000), 2);
	engine_region_put(f.vm, region);
	finish(&f);
}

static void start_writer(struct fixture *f, uint32_t first_page, uint32_t pages)
{
	struct hv_regs r;

	assert_int_equal(hv_vcpu_get_regs(f->vcpu, &r), 0);
	r.rip = CODE;
	r.rsi = DATA_GPA + 4096 * first_page;
	r.rcx = pages;
	assert_int_equal(hv_vcpu_set_regs(f->vcpu, &r), 0);
}

/* ---- while vCPUs run ------------------------------------------------------------------------------- */

struct spinner {
	struct hv_vcpu *vcpu;
	_Atomic bool stop;
	_Atomic unsigned int exits, failures;
};

static void *spin(void *arg)
{
	struct spinner *s = arg;
	struct hv_run *run = hv_vcpu_run_page(s->vcpu);

	hv_thread_enter();
	while (!atomic_load(&s->stop)) {
		int r = hv_vcpu_run(s->vcpu);

		atomic_fetch_add(&s->exits, 1);
		if (r != -EINTR && (r || run->exit_reason != HV_EXIT_IO || run->io.port != 0x42)) {
			atomic_fetch_add(&s->failures, 1);
			break;
		}
	}
	hv_thread_leave();
	return NULL;
}

static void stop_spinner(struct spinner *s, pthread_t t)
{
	atomic_store(&s->stop, true);
	hv_vcpu_kick(s->vcpu);
	pthread_join(t, NULL);
	assert_int_equal(atomic_load(&s->failures), 0);
}

static void wait_for_exits(struct spinner *s, unsigned int more)
{
	unsigned int from = atomic_load(&s->exits);
	int i;

	for (i = 0; i < 20000 && atomic_load(&s->exits) - from < more; i++) {
		assert_int_equal(atomic_load(&s->failures), 0);
		usleep(500);
	}
	assert_true(atomic_load(&s->exits) - from >= more);
}

/* Two vCPUs write while another slot comes and goes and every root is invalidated. */
static void modification_stress(void **state)
{
	struct hv_memory_region region = { .slot = 2, .guest_phys_addr = DATA_GPA + DATA_LEN };
	struct spinner s[2];
	struct fixture f;
	struct hv_regs r;
	pthread_t t[2];
	int i;

	make(&f, state, 0);
	put(&f, CODE, guest_writer, guest_writer_end);
	f.data = add_ram(&f, 1, 0, DATA_GPA, DATA_LEN);
	memset(s, 0, sizeof(s));
	s[0].vcpu = f.vcpu;
	assert_int_equal(hv_vcpu_create(f.vm, 1, &s[1].vcpu), 0);
	flat32(s[1].vcpu);
	for (i = 0; i < 2; i++) {
		assert_int_equal(hv_vcpu_get_regs(s[i].vcpu, &r), 0);
		r.rsi = DATA_GPA + (uint32_t)i * DATA_LEN / 2;
		r.rcx = DATA_LEN / 2 / 4096;
		assert_int_equal(hv_vcpu_set_regs(s[i].vcpu, &r), 0);
		assert_int_equal(pthread_create(&t[i], NULL, spin, &s[i]), 0);
	}
	wait_for_exits(&s[1], 1);
	for (i = 0; i < 30; i++) {
		region.memory_size = 0x10000;
		region.userspace_addr = (uintptr_t)f.data;
		assert_int_equal(hv_vm_set_memory_region(f.vm, &region), 0);
		region.memory_size = 0;
		assert_int_equal(hv_vm_set_memory_region(f.vm, &region), 0);
		if (i % 10 == 0)
			assert_int_equal(hv_mmu_invalidate_all(f.vm, NULL), 0);
	}
	wait_for_exits(&s[0], 2);
	wait_for_exits(&s[1], 2);
	for (i = 0; i < 2; i++)
		stop_spinner(&s[i], t[i]);
	/* every page of a half was written as often as the first, or once less */
	for (i = 1; i < (int)(DATA_LEN / 2 / 4096); i++) {
		uint32_t first = *(uint32_t *)f.data, it = *(uint32_t *)(f.data + 4096 * i);

		assert_true(it == first || it + 1 == first);
	}
	finish(&f);
}

/* The host CPU under a vCPU goes offline, the host sleeps: the guest goes on elsewhere, later. */
static void host_cpus(void **state)
{
	struct hv_vcpu_figures figures;
	struct hv_host_cpu cpus[64];
	struct spinner s;
	struct fixture f;
	pthread_t t;
	int i, n, online = 0, moved = 0;

	n = hv_host_cpus(cpus, 64);
	for (i = 0; i < n && i < 64; i++)
		online += cpus[i].online;
	if (online < 2)
		skip();
	make(&f, state, 0);
	put(&f, CODE, guest_writer, guest_writer_end);
	f.data = add_ram(&f, 1, 0, DATA_GPA, DATA_LEN);
	memset(&s, 0, sizeof(s));
	s.vcpu = f.vcpu;
	start_writer(&f, 0, 512);
	assert_int_equal(pthread_create(&t, NULL, spin, &s), 0);
	for (i = 0; i < 6; i++) {
		int cpu;

		wait_for_exits(&s, 2);
		assert_int_equal(hv_vcpu_stats(f.vcpu, &figures), 0);
		cpu = figures.host_cpu;
		if (cpu < 0)
			continue;
		assert_int_equal(hv_host_cpu_offline((unsigned int)cpu), 0);
		assert_int_equal(hv_vcpu_stats(f.vcpu, &figures), 0);
		assert_int_not_equal(figures.host_cpu, cpu);
		moved++;
		wait_for_exits(&s, 2);
		assert_int_equal(hv_host_cpu_online((unsigned int)cpu), 0);
	}
	assert_int_equal(hv_host_suspend(), 0);
	assert_int_equal(hv_vcpu_stats(f.vcpu, &figures), 0);
	assert_int_equal(figures.host_cpu, -1);
	assert_int_equal(hv_host_resume(), 0);
	wait_for_exits(&s, 2);
	stop_spinner(&s, t);
	print_message("# moved off a CPU %d times\n", moved);
	finish(&f);
}

/* ---- dirty logs ------------------------------------------------------------------------------------ */

static void dirty_log(void **state)
{
	static uint64_t map[DATA_LEN / 4096 / 64];
	const uint64_t none[DATA_LEN / 4096 / 64] = { 0 };
	struct fixture f;
	int round;

	make(&f, state, 0);
	put(&f, CODE, guest_writer, guest_writer_end);
	f.data = add_ram(&f, 1, HV_MEMREGION_LOG_DIRTY, DATA_GPA, DATA_LEN);
	for (round = 0; round < 3; round++) {
		start_writer(&f, 64, 70);
		expect_io(&f, 0x42, 1, true);
		assert_int_equal(hv_vm_get_dirty_log(f.vm, 1, map), 0);
		assert_int_equal(map[0], 0);
		assert_int_equal(map[1], ~0ULL);
		assert_int_equal(map[2], 0x3f);
		assert_int_equal(map[3], 0);
		assert_int_equal(hv_vm_get_dirty_log(f.vm, 1, map), 0);
		assert_memory_equal(map, none, sizeof(map));
	}
	assert_int_equal(hv_vm_get_dirty_log(f.vm, 0, map), -ENOENT);
	/* manual protection: get leaves the log, clear takes what it names */
	assert_int_equal(hv_vm_enable_manual_dirty_protect(f.vm, HV_DIRTY_MANUAL_PROTECT), 0);
	start_writer(&f, 0, 3);
	expect_io(&f, 0x42, 1, true);
	assert_int_equal(hv_vm_get_dirty_log(f.vm, 1, map), 0);
	assert_int_equal(map[0], 7);
	map[0] = 5;
	assert_int_equal(hv_vm_clear_dirty_log(f.vm, 1, 0, 64, map), 0);
	assert_int_equal(hv_vm_get_dirty_log(f.vm, 1, map), 0);
	assert_int_equal(map[0], 2);
	expect_io(&f, 0x42, 1, true);
	assert_int_equal(hv_vm_get_dirty_log(f.vm, 1, map), 0);
	assert_int_equal(map[0], 7);
	finish(&f);
}

static void dirty_ring(void **state)
{
	struct hv_dirty_gfn *ring;
	struct fixture f;
	uint32_t entries, i, seen = 0;
	int r = 0;

	make(&f, state, 1024);
	put(&f, CODE, guest_writer, guest_writer_end);
	f.data = add_ram(&f, 1, HV_MEMREGION_LOG_DIRTY, DATA_GPA, DATA_LEN);
	assert_int_equal(hv_vcpu_dirty_ring(f.vcpu, &ring, &entries), 0);
	assert_int_equal(entries, 1024);
	start_writer(&f, 0, 512);
	r = hv_vcpu_run(f.vcpu);
	assert_int_equal(r, 0);
	assert_int_equal(f.run->exit_reason, HV_EXIT_DIRTY_RING_FULL);
	expect_exit(&f, HV_EXIT_DIRTY_RING_FULL); /* and again, until a reset makes room */
	for (i = 0; i < entries && (ring[i].flags & 1); i++) {
		assert_int_equal(ring[i].slot, 1);
		assert_true(ring[i].offset < 512);
		ring[i].flags |= 2;
		seen++;
	}
	assert_true(seen > 100);
	assert_int_equal(hv_vm_reset_dirty_rings(f.vm), (int)seen);
	hv_vcpu_run(f.vcpu);
	print_message("# ring: %u entries before the exit\n", seen);
	finish(&f);
}

static void arguments(void **state)
{
	const char *const *m = matrix_entry(state);
	const struct hv_vm_config bad[] = {
		{ .vendor = "no" }, { .paging = "no" }, { .cpu_model = "no" }, { .processor = "no" },
	};
	struct hv_vm *vm = NULL;
	struct hv_vcpu *vcpu;
	struct fixture f;
	struct hv_sregs s;
	uint64_t v;
	size_t i;

	assert_int_equal(hv_init(&(struct hv_init){ .version = HV_API_VERSION }), -EALREADY);
	assert_int_equal(hv_init(&(struct hv_init){ .version = 99 }), -EINVAL);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(hv_vm_create(&bad[i], &vm), -EINVAL);
	assert_null(vm);
	make(&f, state, 0);
	assert_int_equal(hv_vcpu_create(f.vm, 0, &vcpu), -EEXIST);
	assert_int_equal(hv_vcpu_create(f.vm, 99, &vcpu), -EINVAL);
	assert_int_equal(hv_vcpu_get_msr(f.vcpu, 0xdeadbeef, &v), -ENOENT);
	assert_int_equal(hv_vcpu_get_sregs(f.vcpu, &s), 0);
	s.cr4 |= 1ull << 40;
	assert_int_equal(hv_vcpu_set_sregs(f.vcpu, &s), -EINVAL);
	s.cr4 = 0;
	s.cr0 = 1ull << 31;
	assert_int_equal(hv_vcpu_set_sregs(f.vcpu, &s), -EINVAL);
	assert_int_equal(hv_vm_irq_line(f.vm, &(struct hv_irq_level){ 4, 1 }), -ENXIO);
	assert_int_equal(hv_vm_signal_msi(f.vm, 0xfee00000, 0x30), -ENXIO);
	assert_true(hv_check_capability(HV_CAP_NR_VCPUS) == 8 && m[0]);
	finish(&f);
}

static int setup(void **state)
{
	int r = hv_init(&(struct hv_init){ .version = HV_API_VERSION });

	return r ? r : hv_thread_enter();
}

static int teardown(void **state)
{
	hv_thread_leave();
	hv_exit();
	return 0;
}

static const char *const vmx_tdp[] = { "vmx", "tdp" }, *const svm_tdp[] = { "svm", "tdp" },
			*const vmx_shadow[] = { "vmx", "shadow" },
			*const svm_shadow[] = { "svm", "shadow" };
#define ONE(fn, m) { #fn " " #m, fn, NULL, NULL, (void *)(uintptr_t)m }
#define ALL(fn) ONE(fn, vmx_tdp), ONE(fn, svm_tdp), ONE(fn, vmx_shadow), ONE(fn, svm_shadow)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ALL(port_io), ALL(port_io_strings), ALL(mmio), ALL(mmio_strings),
		ALL(user_interrupt), ALL(interrupt_window), ALL(triple_fault), ALL(kicks),
		ALL(no_slots), ALL(bad_regions), ALL(ram_comes_and_goes),
		ALL(move_and_delete_in_use), ALL(read_only_slot),
		ALL(host_read_only), ALL(dirty_log), ALL(dirty_ring), ALL(modification_stress), ALL(host_cpus),
		ALL(arguments),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
