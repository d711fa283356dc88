/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What two machines have to have in common, and the clocks.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hv/base/clock.h"
#include "hv/base/rcu.h"
#include "hv/base/util.h"
#include "hv/cpu/processor.h"
#include "hv/migrate/state_internal.h"
#include "hv/vcpu/vcpu_state.h"
#include "hv/vm/tsc.h"

/* ---- machine ------------------------------------------------------------------------- */

#define CPUID_LEAVES_MAX 256

/* Leaves that tell the TSC's rate: "clock" compares it, and with a tolerance. */
static bool leaf_is_rate(uint32_t leaf)
{
	return leaf == 0x15 || leaf == 0x16 || leaf == 0x40000010;
}

static unsigned int leaves_of(struct hv_vm *vm, struct vcpu_cpuid_leaf *leaves)
{
	unsigned int n = vcpu_vm_cpuid_leaves(vm, leaves, CPUID_LEAVES_MAX), i, kept = 0;

	n = hv_min(n, (unsigned int)CPUID_LEAVES_MAX);
	for (i = 0; i < n; i++) {
		if (!leaf_is_rate(leaves[i].leaf))
			leaves[kept++] = leaves[i];
	}
	return kept;
}

int state_machine_save(void *ctx, const struct rec_row *row, unsigned int n, struct rec_writer *w)
{
	const struct migrate_guest *g = state_guest(ctx);
	struct vcpu_cpuid_leaf leaves[CPUID_LEAVES_MAX];
	unsigned int count = leaves_of(g->vm, leaves), i, k;

	rec_put_u32(w, atomic_load(&g->vm->nr_vcpus));
	rec_put_u64(w, g->memory);
	rec_put_u32(w, g->test_devices);
	rec_put_string(w, vcpu_vm_cpu_model(g->vm));
	/* For people: what the guest ran on. Not compared. */
	rec_put_string(w, g->vm->processor->name);
	rec_put_string(w, g->vm->vendor->name);
	rec_put_string(w, g->vm->paging == HV_PAGING_SHADOW ? "shadow" : "tdp");
	rec_put_u32(w, count);
	for (i = 0; i < count; i++) {
		rec_put_u32(w, leaves[i].leaf);
		rec_put_u32(w, leaves[i].subleaf);
		for (k = 0; k < 4; k++)
			rec_put_u32(w, leaves[i].out[k]);
	}
	return 0;
}

static int compare_cpuid(const struct migrate_guest *g, struct rec_reader *r)
{
	struct vcpu_cpuid_leaf leaves[CPUID_LEAVES_MAX], theirs;
	unsigned int count = leaves_of(g->vm, leaves), n = rec_get_u32(r), i, k;

	if (n != count)
		return rec_fail(r, -EPROTO, "the guest's CPU has %u CPUID leaves, this one %u", n,
				count);
	for (i = 0; i < n && !r->short_read; i++) {
		theirs.leaf = rec_get_u32(r);
		theirs.subleaf = rec_get_u32(r);
		for (k = 0; k < 4; k++)
			theirs.out[k] = rec_get_u32(r);
		if (!r->short_read && memcmp(&theirs, &leaves[i], sizeof(theirs)))
			return rec_fail(r, -EPROTO,
					"the CPU differs in CPUID leaf %#x/%u: %08x %08x %08x %08x there, "
					"%#x/%u: %08x %08x %08x %08x here",
					theirs.leaf, theirs.subleaf, theirs.out[0], theirs.out[1],
					theirs.out[2], theirs.out[3], leaves[i].leaf,
					leaves[i].subleaf, leaves[i].out[0], leaves[i].out[1],
					leaves[i].out[2], leaves[i].out[3]);
	}
	return 0;
}

int state_machine_load(void *ctx, const struct rec_row *row, unsigned int n, struct rec_reader *r)
{
	const struct migrate_guest *g = state_guest(ctx);
	uint32_t vcpus = rec_get_u32(r), here = atomic_load(&g->vm->nr_vcpus), devices;
	uint64_t memory = rec_get_u64(r);
	char model[64], text[64];
	unsigned int i;

	devices = rec_get_u32(r);
	rec_get_string(r, model, sizeof(model));
	for (i = 0; i < 3; i++)
		rec_get_string(r, text, sizeof(text));
	if (r->short_read)
		return -EBADMSG;
	if (vcpus != here)
		return rec_fail(r, -EPROTO, "the guest has %u vCPUs, this machine %u", vcpus, here);
	if (memory != g->memory)
		return rec_fail(r, -EPROTO, "the guest has %llu bytes of memory, this machine %llu",
				(unsigned long long)memory, (unsigned long long)g->memory);
	if (devices != g->test_devices)
		return rec_fail(r, -EPROTO, "the guest has test devices %#x, this machine %#x",
				devices, g->test_devices);
	if (strcmp(model, vcpu_vm_cpu_model(g->vm)))
		return rec_fail(r, -EPROTO, "the guest's CPU model is \"%s\", this machine's \"%s\"",
				model, vcpu_vm_cpu_model(g->vm));
	return compare_cpuid(g, r);
}

/* ---- memslots ----------------------------------------------------------------------------- */

#define SLOTS_COMPARED_MAX 4096

struct slot_row {
	uint32_t as_id, id, flags;
	uint64_t gpa, size;
};

/* -E2BIG: more slots than fit into a record; such machines have no migration. */
static int slots_of(struct hv_vm *vm, struct slot_row *out)
{
	struct hv_memslot *slot;
	int as_id, n = 0;

	hv_rcu_read_lock();
	for (as_id = 0; as_id < HV_ADDRESS_SPACE_NUM && n >= 0; as_id++) {
		struct hv_memslots *slots = hv_vm_memslots(vm, as_id);

		for (slot = memslot_first_from(slots, 0); slot; slot = memslot_next(slots, slot)) {
			if (n == SLOTS_COMPARED_MAX) {
				n = -E2BIG;
				break;
			}
			out[n++] = (struct slot_row){
				.as_id = (uint32_t)as_id,
				.id = (uint32_t)slot->id,
				.flags = slot->flags & HV_MEM_READONLY,
				.gpa = slot->base_gfn << HV_PAGE_SHIFT,
				.size = slot->npages << HV_PAGE_SHIFT,
			};
		}
	}
	hv_rcu_read_unlock();
	return n;
}

int state_memslots_save(void *ctx, const struct rec_row *row, unsigned int n, struct rec_writer *w)
{
	struct slot_row *rows = calloc(SLOTS_COMPARED_MAX, sizeof(*rows));
	int count, i;

	if (!rows)
		return -ENOMEM;
	count = slots_of(state_guest(ctx)->vm, rows);
	rec_put_u32(w, count < 0 ? 0 : (uint32_t)count);
	for (i = 0; i < count; i++) {
		rec_put_u32(w, rows[i].as_id);
		rec_put_u32(w, rows[i].id);
		rec_put_u32(w, rows[i].flags);
		rec_put_u64(w, rows[i].gpa);
		rec_put_u64(w, rows[i].size);
	}
	free(rows);
	return count < 0 ? count : 0;
}

static int compare_slots(const struct slot_row *rows, int count, struct rec_reader *r)
{
	uint32_t n = rec_get_u32(r);
	int i;

	if (n != (uint32_t)count)
		return rec_fail(r, -EPROTO, "the guest has %u memory slots, this machine %d", n,
				count);
	for (i = 0; i < count; i++) {
		struct slot_row s = { .as_id = rec_get_u32(r) };

		s.id = rec_get_u32(r);
		s.flags = rec_get_u32(r);
		s.gpa = rec_get_u64(r);
		s.size = rec_get_u64(r);
		if (r->short_read)
			return -EBADMSG;
		if (s.as_id != rows[i].as_id || s.id != rows[i].id || s.flags != rows[i].flags ||
		    s.gpa != rows[i].gpa || s.size != rows[i].size)
			return rec_fail(r, -EPROTO,
					"memory slot %u at %#llx, %llu bytes, flags %u: here it is %u at "
					"%#llx, %llu bytes, flags %u",
					s.id, (unsigned long long)s.gpa, (unsigned long long)s.size,
					s.flags, rows[i].id, (unsigned long long)rows[i].gpa,
					(unsigned long long)rows[i].size, rows[i].flags);
	}
	return 0;
}

int state_memslots_load(void *ctx, const struct rec_row *row, unsigned int n, struct rec_reader *r)
{
	struct slot_row *rows = calloc(SLOTS_COMPARED_MAX, sizeof(*rows));
	int count, err;

	if (!rows)
		return -ENOMEM;
	count = slots_of(state_guest(ctx)->vm, rows);
	err = count < 0 ? count : compare_slots(rows, count, r);
	free(rows);
	return err;
}

/* ---- clocks ----------------------------------------------------------------------------------- */

/*
 * Two measurements of one host's rate differ by some parts per million. More than
 * this is another rate, and the guest was told its rate once and for all.
 */
#define RATE_TOLERANCE_PPM 500

int state_clock_save(void *ctx, const struct rec_row *row, unsigned int n, struct rec_writer *w)
{
	struct hv_vm *vm = state_guest(ctx)->vm;
	uint64_t host = vm->processor->rdtsc(), clock_ns = vcpu_vm_clock_ns(vm);
	unsigned int i, count = atomic_load(&vm->nr_vcpus);

	rec_put_u32(w, vcpu_tsc_khz(vm));
	rec_put_u64(w, clock_ns);
	rec_put_u64(w, hv_clock_realtime_ns()); /* for people */
	rec_put_u32(w, count);
	/* Of one moment, so that counters that were in step stay so. */
	for (i = 0; i < count; i++)
		rec_put_u64(w, host + vcpu_tsc_offset(vm_vcpu(vm, i)));
	return 0;
}

int state_clock_load(void *ctx, const struct rec_row *row, unsigned int n, struct rec_reader *r)
{
	struct hv_vm *vm = state_guest(ctx)->vm;
	uint64_t khz = rec_get_u32(r), here = vcpu_tsc_khz(vm), clock_ns = rec_get_u64(r), tsc, host;
	unsigned int i, count;

	rec_get_u64(r);
	count = rec_get_u32(r);
	if (count != atomic_load(&vm->nr_vcpus) || rec_left(r) != 8 * (size_t)count)
		return rec_fail(r, -EBADMSG, "%u vCPUs in %zu bytes", count, rec_left(r));
	if (khz > here ? (khz - here) * 1000000 > here * RATE_TOLERANCE_PPM :
			 (here - khz) * 1000000 > here * RATE_TOLERANCE_PPM)
		return rec_fail(r, -EPROTO, "the guest's TSC runs at %llu kHz, this host's at %llu",
				(unsigned long long)khz, (unsigned long long)here);
	host = vm->processor->rdtsc();
	for (i = 0; i < count; i++) {
		tsc = rec_get_u64(r);
		tsc_set_offset(vm_vcpu(vm, i), tsc - host);
	}
	vcpu_vm_set_clock_ns(vm, clock_ns);
	return 0;
}
