/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The engine as a whole: start and end, threads, capabilities, names, host CPUs.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "hv/base/clock.h"
#include "hv/base/log.h"
#include "hv/base/rcu.h"
#include "hv/cpu/processor.h"
#include "hv/engine/hv_engine.h"
#include "hv/svm/svm.h"
#include "hv/vcpu/vcpu.h"
#include "hv/vm/dirty.h"
#include "hv/vm/hardware.h"
#include "hv/vmx/vmx.h"

/* Written by hv_init() and hv_exit(), which the user does not call at the same time as others. */
static struct {
	_Atomic bool up;
	hv_log_fn log;
	void *log_ctx;
} engine;

static void log_sink(void *opaque, enum hv_log_level level, const char *prefix, const char *message)
{
	char line[HV_LOG_PREFIX_MAX + HV_LOG_MESSAGE_MAX + 4];

	if (*prefix)
		snprintf(line, sizeof(line), "%s: %s", prefix, message);
	else
		snprintf(line, sizeof(line), "%s", message);
	engine.log(engine.log_ctx, (int)level, line);
}

/* A processor that lacks one of the two is fine; VMs of that kind are refused. */
static int load_vendors(void)
{
	int vmx = hardware_load_vendor(&hv_vendor_vmx, &hv_processor_soft);
	int svm = hardware_load_vendor(&hv_vendor_svm, &hv_processor_soft);

	if (vmx && svm)
		return vmx;
	return 0;
}

static void unload_vendors(void)
{
	hardware_unload_vendor(&hv_vendor_vmx);
	hardware_unload_vendor(&hv_vendor_svm);
}

uint32_t hv_host_tsc_khz(void)
{
	return (uint32_t)hv_tsc_khz();
}

int hv_init(const struct hv_init *params)
{
	int r;

	if (!params || params->version != HV_API_VERSION)
		return -EINVAL;
	if (atomic_load(&engine.up))
		return -EALREADY;
	if (params->tsc_khz)
		hv_tsc_tell_khz(params->tsc_khz);
	engine.log = params->log;
	engine.log_ctx = params->log_ctx;
	hv_log_set_sink(params->log ? log_sink : NULL, NULL);
	r = hardware_init();
	if (r)
		goto out_log;
	r = hv_processor_soft.init(hardware_nr_cpus());
	if (r)
		goto out_hardware;
	r = load_vendors();
	if (r)
		goto out_processor;
	atomic_store(&engine.up, true);
	return 0;

out_processor:
	hv_processor_soft.exit();
out_hardware:
	hardware_exit();
out_log:
	hv_log_set_sink(NULL, NULL);
	return r;
}

void hv_exit(void)
{
	if (!atomic_exchange(&engine.up, false))
		return;
	unload_vendors();
	hv_processor_soft.exit();
	hardware_exit();
	hv_log_set_sink(NULL, NULL);
}

bool engine_is_up(void)
{
	return atomic_load(&engine.up);
}

int hv_thread_enter(void)
{
	hv_rcu_register_thread();
	return 0;
}

void hv_thread_leave(void)
{
	hv_rcu_unregister_thread();
}

/* ---- capabilities and names ---------------------------------------------------------------------- */

int hv_check_capability(enum hv_cap cap)
{
	switch (cap) {
	case HV_CAP_NR_VCPUS:
		return HV_MAX_VCPUS;
	case HV_CAP_NR_MEMSLOTS:
		return HV_MEM_SLOTS_MAX;
	case HV_CAP_NR_ADDRESS_SPACES:
		return HV_ADDRESS_SPACE_NUM;
	case HV_CAP_DIRTY_RING:
		return HV_DIRTY_RING_MAX_ENTRIES;
	case HV_CAP_MANUAL_DIRTY_PROTECT:
		return HV_DIRTY_MANUAL_PROTECT | HV_DIRTY_INITIALLY_ALL_SET;
	case HV_CAP_PML:
		return hv_vendor_vmx.has_pml;
	case HV_CAP_VENDOR_VMX:
		return hv_processor_soft.vmx != NULL;
	case HV_CAP_VENDOR_SVM:
		return hv_processor_soft.svm != NULL;
	case HV_CAP_SHADOW_PAGING:
	case HV_CAP_READONLY_MEM:
		return 1;
	default:
		return 0;
	}
}

const char *const *hv_list_processors(void)
{
	static const char *const names[] = { "soft", NULL };

	return names;
}

const char *const *hv_list_vendors(void)
{
	static const char *const names[] = { "vmx", "svm", NULL };

	return names;
}

const char *const *hv_list_cpu_models(void)
{
	return vcpu_cpu_models();
}

const struct hv_processor_ops *engine_processor(const char *name)
{
	return !name || !strcmp(name, "soft") ? &hv_processor_soft : NULL;
}

const struct hv_vendor_ops *engine_vendor(const char *name)
{
	if (!name || !strcmp(name, "auto") || !strcmp(name, "vmx"))
		return &hv_vendor_vmx;
	return !strcmp(name, "svm") ? &hv_vendor_svm : NULL;
}

int engine_paging(const char *name, enum hv_paging *out)
{
	if (!name || !strcmp(name, "tdp"))
		*out = HV_PAGING_TDP;
	else if (!strcmp(name, "shadow"))
		*out = HV_PAGING_SHADOW;
	else
		return -EINVAL;
	return 0;
}

/* ---- host CPUs --------------------------------------------------------------------------------------- */

int hv_host_cpus(struct hv_host_cpu *out, unsigned int max)
{
	unsigned int cpu, n;

	if (!engine_is_up() || (max && !out))
		return -EINVAL;
	n = hardware_nr_cpus();
	for (cpu = 0; cpu < n && cpu < max; cpu++) {
		out[cpu].id = cpu;
		out[cpu].online = hardware_cpu_is_online(cpu);
		out[cpu].enabled = hardware_cpu_enabled(cpu);
	}
	return (int)n;
}

int hv_host_cpu_online(unsigned int cpu)
{
	return engine_is_up() ? hardware_cpu_online(cpu) : -EINVAL;
}

int hv_host_cpu_offline(unsigned int cpu)
{
	return engine_is_up() ? hardware_cpu_offline(cpu) : -EINVAL;
}

int hv_host_suspend(void)
{
	return engine_is_up() ? hardware_suspend() : -EINVAL;
}

int hv_host_resume(void)
{
	return engine_is_up() ? hardware_resume() : -EINVAL;
}
