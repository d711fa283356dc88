/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Trace points.
 *
 *	hv_trace(page_fault, vcpu->id, gpa, error_code, ret);
 *
 * Each point is a row of the table below: T(name, "arg1 arg2 ..."). A point is
 * at once
 *  - a USDT probe of provider `hvd` (where <sys/sdt.h> was there at build
 *    time): a nop, and a note in the ELF file, for perf, bpftrace or gdb;
 *  - switchable at run time into the process's own ring: a byte that is loaded
 *    and a branch that is predicted, while it is off.
 *
 * Arguments are up to HV_TRACE_ARGS integers; they are evaluated even when the
 * point is off, so pass what is at hand already.
 */
#ifndef HV_BASE_TRACE_H
#define HV_BASE_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "hv/base/util.h"

#define HV_TRACE_ARGS 6

#define HV_TRACE_POINTS(T)                                                                         \
	/* hv/base */                                                                              \
	T(work_queue, "wq work queued")                                                            \
	T(work_begin, "wq work")                                                                   \
	T(work_end, "wq work")                                                                     \
	/* hv/mem */                                                                               \
	T(region_create, "mem hva size backing")                                                   \
	T(region_destroy, "mem hva size")                                                          \
	T(region_invalidate_begin, "mem hva_start hva_end event")                                  \
	T(region_invalidate_end, "mem hva_start hva_end event ret")                                \
	/* hv/vm */                                                                                \
	T(vm_create, "vm")                                                                         \
	T(vm_destroy, "vm")                                                                        \
	T(hardware_enable, "cpu usage_count ret")                                                  \
	T(hardware_disable, "cpu usage_count")                                                     \
	T(memslot_update, "vm as_id slot change ret")                                              \
	T(memslot_publish, "vm as_id generation")                                                  \
	T(mn_start, "vm hva_start hva_end active")                                                 \
	T(mn_end, "vm hva_start hva_end active")                                                   \
	T(dirty_log_get, "vm slot pages")                                                          \
	T(dirty_log_clear, "vm slot first pages")                                                  \
	T(dirty_ring_push, "vcpu slot offset used")                                                \
	T(dirty_ring_reset, "vm pages")                                                            \
	T(request, "vcpu request")                                                                 \
	T(kick, "vcpu mode")                                                                       \
	T(tlb_flush_remote, "vm vcpus")                                                            \
	/* hv/mmu */                                                                               \
	T(page_fault, "vcpu gpa error_code ret")                                                   \
	T(fast_page_fault, "vcpu gpa old_spte new_spte ret")                                       \
	T(spte_set, "as_id gfn level old_spte new_spte")                                           \
	T(mmio_spte_mark, "gfn access generation")                                                 \
	T(mmio_spte_check, "spte generation valid")                                                \
	T(root_alloc, "vm root role")                                                              \
	T(root_invalidate, "vm roots")                                                             \
	T(root_zap_begin, "vm root")                                                               \
	T(root_zap_end, "vm root sptes yields")                                                    \
	T(eager_split, "vm gfn level ret")                                                         \
	T(huge_page_recover, "vm gfn level")                                                       \
	/* hv/vcpu, hv/vmx, hv/svm */                                                              \
	T(vcpu_enter, "vcpu rip")                                                                  \
	T(vcpu_exit, "vcpu rip reason qualification")                                              \
	T(vcpu_block, "vcpu")                                                                      \
	T(vcpu_wake, "vcpu")                                                                       \
	T(inject, "vcpu event error_code")                                                         \
	/* hv/irq, hv/dev */                                                                       \
	T(irq_set, "gsi level")                                                                    \
	T(msi, "address data ret")                                                                 \
	T(apic_accept_irq, "vcpu vector mode")                                                     \
	T(pio, "vcpu port size write value")                                                       \
	T(mmio, "vcpu gpa size write value")                                                       \
	/* hv/migrate */                                                                           \
	T(migrate_pass, "vm pass pages_sent pages_left")

enum hv_trace_point {
#define HV_TRACE_ENUM(name, args) HV_TP_##name,
	HV_TRACE_POINTS(HV_TRACE_ENUM)
#undef HV_TRACE_ENUM
	HV_TP_COUNT,
};

struct hv_trace_point_info {
	const char *name;
	const char *args; /* their names, separated by spaces */
};

/* Indexed by enum hv_trace_point. */
extern const struct hv_trace_point_info hv_trace_points[HV_TP_COUNT];

/* One that was recorded. */
struct hv_trace_event {
	uint64_t seq;	 /* counts all events of the process from 0 */
	uint64_t ns;	 /* hv_clock_ns() */
	uint32_t tid;	 /* gettid() */
	uint16_t point;	 /* enum hv_trace_point */
	uint16_t nr_args;
	uint64_t args[HV_TRACE_ARGS];
};

/*
 * Makes the ring, of 2^order events (6 to 24), where there is none yet: 0,
 * -EINVAL, -ENOMEM, -EBUSY if one exists. It lives as long as the process.
 */
int hv_trace_ring_create(unsigned int order);

/*
 * Switches a point by its name, or all of them with "*". 0, -ENOENT for a name
 * that is none, -ENXIO without a ring. Any thread; takes effect soon.
 */
int hv_trace_enable(const char *name, bool on);

/*
 * Copies up to n events, oldest first, beginning at number *next, which becomes
 * the number to go on from; first, 0. Events that were overwritten already are
 * left out and added to *lost. Returns how many were copied. Any thread.
 */
size_t hv_trace_read(uint64_t *next, struct hv_trace_event *events, size_t n, uint64_t *lost);

/* The line "name arg=value ..." of an event, always terminated; its full length. */
int hv_trace_format(const struct hv_trace_event *event, char *line, size_t size);

/* ---- the points themselves ---------------------------------------------------------- */

extern uint8_t hv_trace_on[HV_TP_COUNT]; /* relaxed atomics */

void hv_trace_record(enum hv_trace_point point, unsigned int nr_args, const uint64_t *args)
	__attribute__((cold));

#ifdef HAVE_SYS_SDT_H
#define SDT_USE_VARIADIC
#include <sys/sdt.h>
#define HV_TRACE_USDT(name, ...) STAP_PROBEV(hvd, name, __VA_ARGS__)
#else
#define HV_TRACE_USDT(name, ...) ((void)0)
#endif

#define hv_trace(name, ...)                                                                        \
	do {                                                                                       \
		HV_TRACE_USDT(name, __VA_ARGS__);                                                  \
		if (hv_unlikely(READ_ONCE(hv_trace_on[HV_TP_##name]))) {                           \
			const uint64_t hv_args_[] = { __VA_ARGS__ };                               \
			_Static_assert(ARRAY_SIZE(hv_args_) <= HV_TRACE_ARGS, "too many");         \
			hv_trace_record(HV_TP_##name, ARRAY_SIZE(hv_args_), hv_args_);             \
		}                                                                                  \
	} while (0)

#endif
