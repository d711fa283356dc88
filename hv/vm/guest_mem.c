/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Access to guest memory by the engine and its devices, through the memslots
 * of address space 0. Bytes are written first and marked dirty afterwards: a
 * reader of the log that comes between finds the page the next time.
 *
 * The guest runs meanwhile, so every byte may change under us; copies are of
 * bytes that race, as they do on a machine. vm_load_guest and vm_store_guest
 * are the single accesses that a protocol with the guest may rely on.
 */
#include "hv/vm/vm_internal.h"

#include <errno.h>
#include <string.h>

#include "hv/base/rcu.h"
#include "hv/mem/region.h"

/*
 * ThreadSanitizer would report each race of a copy with the guest. There is no
 * bug in that, so under it the copy is made of relaxed atomics, byte by byte.
 */
#ifdef HV_TSAN
static void copy_from_guest(void *to, const void *guest, uint64_t n)
{
	const uint8_t *s = guest;
	uint8_t *d = to;

	while (n--)
		*d++ = __atomic_load_n(s++, __ATOMIC_RELAXED);
}

static void copy_to_guest(void *guest, const void *from, uint64_t n)
{
	const uint8_t *s = from;
	uint8_t *d = guest;

	while (n--)
		__atomic_store_n(d++, *s++, __ATOMIC_RELAXED);
}
#else
static void copy_from_guest(void *to, const void *guest, uint64_t n)
{
	memcpy(to, guest, n);
}

static void copy_to_guest(void *guest, const void *from, uint64_t n)
{
	memcpy(guest, from, n);
}
#endif

static struct hv_memslot *slot_for(struct hv_vm *vm, hv_gpa_t gpa, enum hv_guest_access access)
{
	struct hv_memslot *slot = hv_vm_gfn_to_memslot(vm, gpa >> HV_PAGE_SHIFT);

	if (!memslot_visible(slot))
		return NULL;
	if (access == HV_GUEST_WRITE && (slot->flags & HV_MEM_READONLY))
		return NULL;
	return slot;
}

/* Bytes of the slot from gpa on, at most *len. */
static hv_hva_t slot_piece(const struct hv_memslot *slot, hv_gpa_t gpa, uint64_t *len)
{
	uint64_t offset = gpa - (slot->base_gfn << HV_PAGE_SHIFT);
	uint64_t left = (slot->npages << HV_PAGE_SHIFT) - offset;

	*len = hv_min(*len, left);
	return slot->userspace_addr + offset;
}

/*
 * The host address of gpa if the host lets us touch it: what hv/mem has mapped
 * there, and for a write writable. It keeps a protection that readers have seen
 * until they are gone. Memory that hv/mem does not know is the caller's own affair.
 */
static void *host_piece(struct hv_vm *vm, struct hv_memslot *slot, hv_gpa_t gpa, uint64_t *len,
			enum hv_guest_access access)
{
	hv_hva_t hva = slot_piece(slot, gpa, len);
	struct hv_mem_pfn_info info;
	uint64_t size;

	if (!vm->mem)
		return (void *)(uintptr_t)hva;
	if (hv_mem_pfn_info(vm->mem, hva, &info) || (access == HV_GUEST_WRITE && !info.writable))
		return NULL;
	size = 1ULL << hv_level_shift(info.level);
	size -= hva & (size - 1);
	*len = hv_min(*len, size);
	return (void *)(uintptr_t)hva;
}

static void slot_mark(struct hv_vm *vm, struct hv_memslot *slot, hv_gpa_t gpa, uint64_t len)
{
	hv_gfn_t gfn, last = (gpa + len - 1) >> HV_PAGE_SHIFT;

	if (!memslot_dirty_logged(slot) || !len)
		return;
	for (gfn = gpa >> HV_PAGE_SHIFT; gfn <= last; gfn++)
		vm_mark_page_dirty(vm, NULL, slot, gfn);
}

static bool range_wraps(hv_gpa_t gpa, uint64_t len)
{
	return len && gpa + len - 1 < gpa;
}

int vm_read_guest(struct hv_vm *vm, hv_gpa_t gpa, void *buf, uint64_t len)
{
	int r = 0;

	if (range_wraps(gpa, len))
		return -EFAULT;
	hv_rcu_read_lock();
	while (len) {
		struct hv_memslot *slot = slot_for(vm, gpa, HV_GUEST_READ);
		uint64_t n = len;
		void *p = slot ? host_piece(vm, slot, gpa, &n, HV_GUEST_READ) : NULL;

		if (!p) {
			r = -EFAULT;
			break;
		}
		copy_from_guest(buf, p, n);
		buf = (char *)buf + n;
		gpa += n;
		len -= n;
	}
	hv_rcu_read_unlock();
	return r;
}

int vm_write_guest(struct hv_vm *vm, hv_gpa_t gpa, const void *buf, uint64_t len)
{
	int r = 0;

	if (range_wraps(gpa, len))
		return -EFAULT;
	hv_rcu_read_lock();
	while (len) {
		struct hv_memslot *slot = slot_for(vm, gpa, HV_GUEST_WRITE);
		uint64_t n = len;
		void *p = slot ? host_piece(vm, slot, gpa, &n, HV_GUEST_WRITE) : NULL;

		if (!p) {
			r = -EFAULT;
			break;
		}
#ifdef HV_MUTATE_MARK_FIRST
		slot_mark(vm, slot, gpa, n);
		hv_test_point("write: between");
		copy_to_guest(p, buf, n);
#else
		copy_to_guest(p, buf, n);
		hv_test_point("write: between");
		slot_mark(vm, slot, gpa, n);
#endif
		buf = (const char *)buf + n;
		gpa += n;
		len -= n;
	}
	hv_rcu_read_unlock();
	return r;
}

void *vm_guest_ptr(struct hv_vm *vm, hv_gpa_t gpa, uint64_t *len, enum hv_guest_access access)
{
	struct hv_memslot *slot = slot_for(vm, gpa, access);

	return slot ? host_piece(vm, slot, gpa, len, access) : NULL;
}

void vm_mark_range_dirty(struct hv_vm *vm, hv_gpa_t gpa, uint64_t len)
{
	while (len) {
		struct hv_memslot *slot = slot_for(vm, gpa, HV_GUEST_WRITE);
		uint64_t n = len;

		if (!slot)
			return;
		slot_piece(slot, gpa, &n);
		slot_mark(vm, slot, gpa, n);
		gpa += n;
		len -= n;
	}
}

static bool single_access(hv_gpa_t gpa, unsigned int size)
{
	return (size == 2 || size == 4 || size == 8) && hv_is_aligned(gpa, (uint64_t)size);
}

int vm_load_guest(struct hv_vm *vm, hv_gpa_t gpa, unsigned int size, uint64_t *value)
{
	uint64_t len = size;
	void *p;

	if (!single_access(gpa, size))
		return -EINVAL;
	hv_rcu_read_lock();
	p = vm_guest_ptr(vm, gpa, &len, HV_GUEST_READ);
	if (p && size == 2)
		*value = __atomic_load_n((uint16_t *)p, __ATOMIC_ACQUIRE);
	else if (p && size == 4)
		*value = __atomic_load_n((uint32_t *)p, __ATOMIC_ACQUIRE);
	else if (p)
		*value = __atomic_load_n((uint64_t *)p, __ATOMIC_ACQUIRE);
	hv_rcu_read_unlock();
	return p ? 0 : -EFAULT;
}

int vm_store_guest(struct hv_vm *vm, hv_gpa_t gpa, unsigned int size, uint64_t value)
{
	struct hv_memslot *slot;
	uint64_t len = size;
	void *p;

	if (!single_access(gpa, size))
		return -EINVAL;
	hv_rcu_read_lock();
	slot = slot_for(vm, gpa, HV_GUEST_WRITE);
	p = slot ? host_piece(vm, slot, gpa, &len, HV_GUEST_WRITE) : NULL;
	if (p) {
		if (size == 2)
			__atomic_store_n((uint16_t *)p, (uint16_t)value, __ATOMIC_RELEASE);
		else if (size == 4)
			__atomic_store_n((uint32_t *)p, (uint32_t)value, __ATOMIC_RELEASE);
		else
			__atomic_store_n((uint64_t *)p, value, __ATOMIC_RELEASE);
		slot_mark(vm, slot, gpa, size);
	}
	hv_rcu_read_unlock();
	return p ? 0 : -EFAULT;
}
