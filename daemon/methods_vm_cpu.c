/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mmu.* and vcpu.*: run in the worker, on the engine thread.
 */
#include "daemon/methods_vm.h"

#include "daemon/guest.h"
#include "daemon/vm_figures.h"
#include "hv/hv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROOTS_MAX 4096
#define EXITS_MAX 512

/* ---- MMU ------------------------------------------------------------------------------- */

static const struct schema_field root_fields[] = {
	SCHEMA_RESULT("pfn", &schema_u64, SCHEMA_REQUIRED, "Of its table."),
	SCHEMA_RESULT("role", &schema_u64, SCHEMA_REQUIRED, "As the engine encodes it."),
	SCHEMA_RESULT("level", &schema_count, SCHEMA_REQUIRED, "4 or 5; less for shadow roots."),
	SCHEMA_RESULT("refcount", &schema_int, SCHEMA_REQUIRED, "References."),
	SCHEMA_RESULT("invalid", &schema_bool, SCHEMA_REQUIRED, "To be zapped."),
	SCHEMA_RESULT("queued", &schema_bool, SCHEMA_REQUIRED, "The worker has it."),
	SCHEMA_RESULT("indirect", &schema_bool, SCHEMA_REQUIRED, "Of the shadow MMU."),
	SCHEMA_RESULT("as_id", &schema_count, SCHEMA_REQUIRED, "Address space."),
	{ 0 }
};
static const struct schema root_schema = { .kind = SCHEMA_OBJECT, .title = "MmuRoot",
					   .fields = root_fields };
static const struct schema roots_schema = { .kind = SCHEMA_ARRAY, .item = &root_schema };
static const struct schema_field roots_fields[] = {
	SCHEMA_RESULT("roots", &roots_schema, SCHEMA_REQUIRED, "Valid and invalid ones."),
	{ 0 }
};
static const struct schema roots_result = { .kind = SCHEMA_OBJECT, .fields = roots_fields };

static json_t *root_json(const struct hv_mmu_root *r)
{
	return json_pack("{s:o,s:o,s:i,s:i,s:b,s:b,s:b,s:i}", "pfn", json_u64(r->pfn), "role",
			 json_u64(r->role), "level", r->level, "refcount", r->refcount, "invalid",
			 (int)r->invalid, "queued", (int)r->queued, "indirect", (int)r->indirect,
			 "as_id", (int)r->as_id);
}

static void roots_run(struct engine_call *op)
{
	struct hv_mmu_root *roots = calloc(ROOTS_MAX, sizeof(*roots));
	json_t *list;
	int i, n;

	n = roots ? hv_mmu_roots(hv_machine_vm(op->machine), roots, ROOTS_MAX) : -ENOMEM;
	if (n < 0) {
		engine_fail_errno(op, n, "cannot list the roots");
	} else {
		list = json_array();
		for (i = 0; i < n && i < ROOTS_MAX; i++)
			json_array_append_new(list, root_json(&roots[i]));
		op->result = json_pack("{s:o}", "roots", list);
	}
	free(roots);
}

static void method_roots(struct api_call *call, const void *args)
{
	engine_call_submit(call, args, roots_run, NULL);
}

static const struct schema_field invalidate_fields[] = {
	SCHEMA_RESULT("publish_ns", &schema_count, SCHEMA_REQUIRED, "Until every root was invalid."),
	SCHEMA_RESULT("zap_ns", &schema_count, SCHEMA_REQUIRED, "The worker's time to zap them."),
	SCHEMA_RESULT("flush_ns", &schema_count, SCHEMA_REQUIRED, "Waiting for the worker."),
	SCHEMA_RESULT("roots", &schema_count, SCHEMA_REQUIRED, "How many."),
	{ 0 }
};
static const struct schema invalidate_result = { .kind = SCHEMA_OBJECT,
						 .fields = invalidate_fields };

static void invalidate_run(struct engine_call *op)
{
	struct hv_mmu_invalidate inv;
	int ret = hv_mmu_invalidate_all(hv_machine_vm(op->machine), &inv);

	if (ret)
		engine_fail_errno(op, ret, "cannot invalidate the roots");
	else
		op->result = json_pack("{s:I,s:I,s:I,s:i}", "publish_ns", (json_int_t)inv.publish_ns,
				       "zap_ns", (json_int_t)inv.zap_ns, "flush_ns",
				       (json_int_t)inv.flush_ns, "roots", (int)inv.roots);
}

static void method_invalidate(struct api_call *call, const void *args)
{
	engine_call_submit(call, args, invalidate_run, NULL);
}

struct mmu_set_args {
	const char *domain;
	bool nx_huge_pages;
};
static const struct schema_field mmu_set_fields[] = {
	FIELD_DOMAIN(struct mmu_set_args),
	SCHEMA_FIELD(struct mmu_set_args, nx_huge_pages, &schema_bool, SCHEMA_REQUIRED,
		     "Huge pages cannot be executed; code in them is mapped by small pages."),
	{ 0 }
};
static const struct schema mmu_set_params = { .kind = SCHEMA_OBJECT, .fields = mmu_set_fields };

static void mmu_set_run(struct engine_call *op)
{
	const struct mmu_set_args *args = op->args;
	int ret = hv_mmu_set_nx_huge_pages(hv_machine_vm(op->machine), args->nx_huge_pages);

	if (ret)
		engine_fail_errno(op, ret, "cannot change the MMU");
}

static void method_mmu_set(struct api_call *call, const void *args)
{
	engine_call_submit(call, args, mmu_set_run, NULL);
}

static void mmu_stats_run(struct engine_call *op)
{
	struct hv_mmu_figures figures;
	int ret = hv_mmu_stats(hv_machine_vm(op->machine), &figures);

	if (ret)
		engine_fail_errno(op, ret, "cannot read the MMU's figures");
	else
		op->result = mmu_figures_json(&figures, op->guest->figures);
}

static void method_mmu_stats(struct api_call *call, const void *args)
{
	engine_call_submit(call, args, mmu_stats_run, NULL);
}

/* ---- vCPUs: figures ------------------------------------------------------------------------ */

static const struct schema_field vcpus_fields[] = {
	SCHEMA_RESULT("vcpus", &vcpu_list_schema, SCHEMA_REQUIRED, "In order."),
	{ 0 }
};
static const struct schema vcpus_result = { .kind = SCHEMA_OBJECT, .fields = vcpus_fields };

static void vcpu_list_run(struct engine_call *op)
{
	op->result = json_pack("{s:o}", "vcpus", vcpu_list_json(op->machine, op->guest->figures));
}

static void method_vcpu_list(struct api_call *call, const void *args)
{
	engine_call_submit(call, args, vcpu_list_run, NULL);
}

static const struct schema vcpu_number = { .kind = SCHEMA_INT, .min = 0, .max = 4095 };
static const struct schema vcpu_maybe = { .kind = SCHEMA_INT, .min = -1, .max = 4095 };

struct exits_args {
	const char *domain;
	int64_t vcpu;
};
static const struct schema_field exits_fields[] = {
	FIELD_DOMAIN(struct exits_args),
	SCHEMA_FIELD(struct exits_args, vcpu, &vcpu_maybe, 0, "Only this one; -1: all.",
		     .dflt = "-1"),
	{ 0 }
};
static const struct schema exits_params = { .kind = SCHEMA_OBJECT, .fields = exits_fields };
static const struct schema_field exit_fields[] = {
	SCHEMA_RESULT("vcpu", &schema_count, SCHEMA_REQUIRED, "Its number."),
	SCHEMA_RESULT("reason", &schema_string, SCHEMA_REQUIRED, "The manual's name of the exit."),
	SCHEMA_RESULT("count", &schema_count, SCHEMA_REQUIRED, "How often."),
	{ 0 }
};
static const struct schema exit_schema = { .kind = SCHEMA_OBJECT, .fields = exit_fields };
static const struct schema exit_list = { .kind = SCHEMA_ARRAY, .item = &exit_schema };
static const struct schema_field exits_result_fields[] = {
	SCHEMA_RESULT("exits", &exit_list, SCHEMA_REQUIRED, "Reasons that occurred."),
	{ 0 }
};
static const struct schema exits_result = { .kind = SCHEMA_OBJECT, .fields = exits_result_fields };

static void exits_add(struct hv_vcpu *vcpu, unsigned int index, json_t *list)
{
	struct hv_exit_counter counter[EXITS_MAX];
	int i, n = hv_vcpu_exits(vcpu, counter, EXITS_MAX);

	for (i = 0; i < n && i < EXITS_MAX; i++)
		if (counter[i].count)
			json_array_append_new(list, json_pack("{s:i,s:s,s:I}", "vcpu", (int)index,
							      "reason", counter[i].name, "count",
							      (json_int_t)counter[i].count));
}

static void fail_no_vcpu(struct engine_call *op, int64_t index)
{
	engine_fail(op, API_E_VCPU_NOT_FOUND, "there is no vCPU %d", (int)index);
	api_error_field(&op->err, "/vcpu");
}

static void exits_run(struct engine_call *op)
{
	const struct exits_args *args = op->args;
	struct hv_vcpu *vcpu;
	json_t *list;
	unsigned int i;

	if (args->vcpu >= 0 && !hv_machine_vcpu(op->machine, args->vcpu)) {
		fail_no_vcpu(op, args->vcpu);
		return;
	}
	list = json_array();
	for (i = 0; (vcpu = hv_machine_vcpu(op->machine, i)); i++)
		if (args->vcpu < 0 || i == args->vcpu)
			exits_add(vcpu, i, list);
	op->result = json_pack("{s:o}", "exits", list);
}

static void method_exits(struct api_call *call, const void *args)
{
	engine_call_submit(call, args, exits_run, NULL);
}

/* ---- vCPUs: registers ------------------------------------------------------------------------ */

struct reg_name {
	const char *name;
	size_t offset;	/* of a uint64_t */
};

#define REG(name) { #name, offsetof(struct hv_regs, name) }
static const struct reg_name reg_names[] = {
	REG(rax), REG(rbx), REG(rcx), REG(rdx), REG(rsi), REG(rdi), REG(rsp), REG(rbp), REG(r8),
	REG(r9), REG(r10), REG(r11), REG(r12), REG(r13), REG(r14), REG(r15), REG(rip), REG(rflags),
	{ 0 }
};
#undef REG

#define REG(name) { #name, offsetof(struct hv_sregs, name) }
static const struct reg_name sreg_names[] = { REG(cr0), REG(cr2), REG(cr3), REG(cr4), REG(cr8),
					      REG(efer), REG(apic_base), { 0 } };
static const struct reg_name seg_names[] = { REG(cs), REG(ds), REG(es), REG(fs), REG(gs), REG(ss),
					     REG(tr), REG(ldt), { 0 } };
static const struct reg_name dtab_names[] = { REG(gdt), REG(idt), { 0 } };
#undef REG

static const struct schema registers_schema = {
	.kind = SCHEMA_MAP,
	.title = "Registers",
	.doc = "By name: general and control registers as \"0x...\"; segments and tables as objects.",
	.item = &schema_any,
};

struct vcpu_args {
	const char *domain;
	int64_t vcpu;
};
static const struct schema_field vcpu_fields[] = {
	FIELD_DOMAIN(struct vcpu_args),
	SCHEMA_FIELD(struct vcpu_args, vcpu, &vcpu_number, SCHEMA_REQUIRED, "Its number."),
	{ 0 }
};
static const struct schema vcpu_params = { .kind = SCHEMA_OBJECT, .fields = vcpu_fields };

static json_t *hex(uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "0x%llx", (unsigned long long)value);
	return json_string(text);
}

static json_t *seg_json(const struct hv_seg *s)
{
	return json_pack("{s:o,s:o,s:o,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:i}", "selector",
			 hex(s->selector), "base", hex(s->base), "limit", hex(s->limit), "type",
			 s->type, "present", s->present, "dpl", s->dpl, "db", s->db, "s", s->s, "l",
			 s->l, "g", s->g, "avl", s->avl, "unusable", s->unusable);
}

static json_t *registers_json(const struct hv_regs *regs, const struct hv_sregs *sregs)
{
	json_t *obj = json_object();
	const struct reg_name *r;

	for (r = reg_names; r->name; r++)
		json_object_set_new(obj, r->name, hex(*(uint64_t *)((char *)regs + r->offset)));
	for (r = sreg_names; r->name; r++)
		json_object_set_new(obj, r->name, hex(*(uint64_t *)((char *)sregs + r->offset)));
	for (r = seg_names; r->name; r++)
		json_object_set_new(obj, r->name,
				    seg_json((const struct hv_seg *)((char *)sregs + r->offset)));
	for (r = dtab_names; r->name; r++) {
		const struct hv_dtab *t = (const struct hv_dtab *)((char *)sregs + r->offset);

		json_object_set_new(obj, r->name,
				    json_pack("{s:o,s:o}", "base", hex(t->base), "limit", hex(t->limit)));
	}
	return obj;
}

/* Registers can be read only while no vCPU runs: a running guest is held for the moment. */
static int vcpu_hold(struct engine_call *op)
{
	return op->guest->running ? hv_machine_pause(op->machine) : 0;
}

static int vcpu_unhold(struct engine_call *op)
{
	return op->guest->running ? hv_machine_start(op->machine) : 0;
}

static void registers_run(struct engine_call *op)
{
	const struct vcpu_args *args = op->args;
	struct hv_vcpu *vcpu = hv_machine_vcpu(op->machine, args->vcpu);
	struct hv_sregs sregs;
	struct hv_regs regs;
	int ret, again;

	if (!vcpu) {
		fail_no_vcpu(op, args->vcpu);
		return;
	}
	ret = vcpu_hold(op);
	if (!ret)
		ret = hv_vcpu_get_regs(vcpu, &regs);
	if (!ret)
		ret = hv_vcpu_get_sregs(vcpu, &sregs);
	again = vcpu_unhold(op);
	if (!ret)
		ret = again;
	if (ret)
		engine_fail_errno(op, ret, "cannot read the registers");
	else
		op->result = registers_json(&regs, &sregs);
}

static void method_registers(struct api_call *call, const void *args)
{
	engine_call_submit(call, args, registers_run, NULL);
}

struct set_args {
	const char *domain;
	int64_t vcpu;
	json_t *registers;
};
static const struct schema set_map = { .kind = SCHEMA_MAP, .item = &schema_u64 };
static const struct schema_field set_fields[] = {
	FIELD_DOMAIN(struct set_args),
	SCHEMA_FIELD(struct set_args, vcpu, &vcpu_number, SCHEMA_REQUIRED, "Its number."),
	SCHEMA_FIELD(struct set_args, registers, &set_map, SCHEMA_REQUIRED,
		     "General and control registers by name; the others keep their values."),
	{ 0 }
};
static const struct schema set_params = { .kind = SCHEMA_OBJECT, .fields = set_fields };

static uint64_t reg_value(const json_t *value)
{
	return json_is_integer(value) ? (uint64_t)json_integer_value(value) :
					strtoull(json_string_value(value), NULL, 16);
}

static uint64_t *reg_find(const char *name, struct hv_regs *regs, struct hv_sregs *sregs)
{
	const struct reg_name *r;

	for (r = reg_names; r->name; r++)
		if (!strcmp(r->name, name))
			return (uint64_t *)((char *)regs + r->offset);
	for (r = sreg_names; r->name; r++)
		if (!strcmp(r->name, name))
			return (uint64_t *)((char *)sregs + r->offset);
	return NULL;
}

static int registers_apply(struct engine_call *op, struct hv_regs *regs, struct hv_sregs *sregs)
{
	const struct set_args *args = op->args;
	const char *name;
	uint64_t *reg;
	json_t *value;
	char field[80];

	json_object_foreach(args->registers, name, value) {
		reg = reg_find(name, regs, sregs);
		if (reg) {
			*reg = reg_value(value);
			continue;
		}
		engine_fail(op, API_E_INVALID_PARAMS, "there is no register %.32s to set", name);
		snprintf(field, sizeof(field), "/registers/%.48s", name);
		api_error_field(&op->err, field);
		return -EINVAL;
	}
	return 0;
}

static void set_run(struct engine_call *op)
{
	const struct set_args *args = op->args;
	struct hv_vcpu *vcpu = hv_machine_vcpu(op->machine, args->vcpu);
	struct hv_sregs sregs;
	struct hv_regs regs;
	int ret;

	if (!vcpu) {
		fail_no_vcpu(op, args->vcpu);
		return;
	}
	ret = hv_vcpu_get_regs(vcpu, &regs);
	if (!ret)
		ret = hv_vcpu_get_sregs(vcpu, &sregs);
	if (!ret && registers_apply(op, &regs, &sregs))
		return;
	/* The special ones first: they are the ones that can be refused. */
	if (!ret)
		ret = hv_vcpu_set_sregs(vcpu, &sregs);
	if (!ret)
		ret = hv_vcpu_set_regs(vcpu, &regs);
	if (ret == -EINVAL)
		engine_fail(op, API_E_INVALID_PARAMS, "the processor has no such state");
	else if (ret)
		engine_fail_errno(op, ret, "cannot set the registers");
}

static void method_set(struct api_call *call, const void *args)
{
	if (guest_of(call)->state == DOMAIN_RUNNING)
		guest_fail_state(call, "suspend it first");
	else
		engine_call_submit(call, args, set_run, NULL);
}

const struct api_method methods_vm_cpu[] = {
	{
		ROW("mmu.roots", "The roots of the guest's page tables.", &name_params, &roots_result,
		    struct name_args, API_RO, method_roots),
		.errors = ERRORS(),
	},
	{
		ROW("mmu.invalidate", "Invalidate every root; the zap worker takes them down.",
		    &name_params, &invalidate_result, struct name_args, API_RW, method_invalidate),
		.errors = ERRORS(),
	},
	{
		ROW("mmu.set", "Change how the guest's page tables are made; all roots are invalidated.",
		    &mmu_set_params, NULL, struct mmu_set_args, API_RW, method_mmu_set),
		.errors = ERRORS(),
	},
	{
		ROW("mmu.stats", "Faults by kind, zaps, flushes, MMIO cache.", &name_params,
		    &mmu_figures_schema, struct name_args, API_RO, method_mmu_stats),
		.errors = ERRORS(),
	},
	{
		ROW("vcpu.list", "The vCPUs with state and counters.", &name_params, &vcpus_result,
		    struct name_args, API_RO, method_vcpu_list),
		.errors = ERRORS(),
	},
	{
		ROW("vcpu.exits", "Exits by architectural reason.", &exits_params, &exits_result,
		    struct exits_args, API_RO, method_exits),
		.errors = ERRORS(API_E_VCPU_NOT_FOUND),
	},
	{
		ROW("vcpu.registers", "Registers of one vCPU; a running guest is held for the moment.",
		    &vcpu_params, &registers_schema, struct vcpu_args, API_RW, method_registers),
		.errors = ERRORS(API_E_VCPU_NOT_FOUND),
	},
	{
		ROW("vcpu.set_registers", "Set registers of one vCPU of a domain that does not run.",
		    &set_params, NULL, struct set_args, API_RW, method_set),
		.errors = ERRORS(API_E_VCPU_NOT_FOUND),
	},
	{ 0 },
};
