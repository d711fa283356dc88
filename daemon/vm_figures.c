/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Figures of the engine.
 */
#include "daemon/vm_figures.h"

#include <stdio.h>

/* What there is, and what has been counted. */
#define MMU_PRESENT(X) \
	X(pages_tables) X(pages_4k) X(pages_2m) X(pages_1g) X(write_tracked) X(unsync)
#define MMU_COUNTERS(X) \
	X(faults) X(fast_faults) X(spurious) X(retries) X(mmio_faults) X(mmio_stale) X(zaps) \
	X(zap_pages) X(remote_flushes) X(splits) X(collapses) X(nx_splits)

#define VCPU_FIGURES(X) \
	X(entries) X(halts) X(irq_injections) X(nmi_injections) X(mmio) X(pio) X(instructions) \
	X(tlb_misses) X(run_ns) X(halt_ns) X(steal_ns) X(mmio_cache_hits) X(mmio_cache_misses) X(mmio_cache_stale)

#define X(name) SCHEMA_RESULT(#name, &schema_count, SCHEMA_REQUIRED, NULL),
static const struct schema_field mmu_fields[] = { MMU_PRESENT(X) MMU_COUNTERS(X) { 0 } };
static const struct schema_field vcpu_fields[] = {
	SCHEMA_RESULT("id", &schema_count, SCHEMA_REQUIRED, "Its number."),
	SCHEMA_RESULT("state", &schema_string, SCHEMA_REQUIRED, "running, halted, paused ..."),
	SCHEMA_RESULT("host_cpu", &schema_int, SCHEMA_REQUIRED, "Where it ran last; -1: nowhere yet."),
	VCPU_FIGURES(X)
	{ 0 }
};
#undef X

const struct schema mmu_figures_schema = { .kind = SCHEMA_OBJECT, .title = "MmuFigures",
					   .fields = mmu_fields };
static const struct schema vcpu_schema = { .kind = SCHEMA_OBJECT, .title = "VcpuFigures",
					   .fields = vcpu_fields };
const struct schema vcpu_list_schema = { .kind = SCHEMA_ARRAY, .item = &vcpu_schema };

static void put(json_t *obj, const char *key, uint64_t value)
{
	json_object_set_new(obj, key, json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value));
}

json_t *json_u64(uint64_t value)
{
	char text[24];

	if (value <= UINT64_C(1) << 53)
		return json_integer(value);
	snprintf(text, sizeof(text), "0x%llx", (unsigned long long)value);
	return json_string(text);
}

/* Of an object of figures that an earlier worker has left, or of none. */
static uint64_t left(const json_t *earlier, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(earlier, key));

	return v > 0 ? (uint64_t)v : 0;
}

json_t *mmu_figures_json(const struct hv_mmu_figures *figures, const json_t *earlier)
{
	const json_t *mmu = json_object_get(earlier, "mmu");
	json_t *obj = json_object();

#define X(name) put(obj, #name, figures->name);
	MMU_PRESENT(X)
#undef X
#define X(name) put(obj, #name, figures->name + left(mmu, #name));
	MMU_COUNTERS(X)
#undef X
	return obj;
}

static json_t *vcpu_json(const struct hv_vcpu_figures *f, const json_t *earlier)
{
	json_t *obj = json_pack("{s:i,s:s,s:i}", "id", (int)f->id, "state", f->state ? f->state : "",
				"host_cpu", f->host_cpu);

#define X(name) put(obj, #name, f->name + left(earlier, #name));
	VCPU_FIGURES(X)
#undef X
	return obj;
}

json_t *vcpu_list_json(struct hv_machine *m, const json_t *earlier)
{
	const json_t *vcpus = json_object_get(earlier, "vcpus");
	struct hv_vcpu_figures figures;
	json_t *list = json_array();
	struct hv_vcpu *vcpu;
	unsigned int i;

	for (i = 0; (vcpu = hv_machine_vcpu(m, i)); i++)
		if (!hv_vcpu_stats(vcpu, &figures))
			json_array_append_new(list, vcpu_json(&figures, json_array_get(vcpus, i)));
	return list;
}

json_t *figures_to_leave(struct hv_machine *m, const json_t *earlier)
{
	struct hv_mmu_figures mmu;

	if (hv_mmu_stats(hv_machine_vm(m), &mmu))
		return NULL;
	return json_pack("{s:o,s:o}", "vcpus", vcpu_list_json(m, earlier), "mmu",
			 mmu_figures_json(&mmu, earlier));
}
