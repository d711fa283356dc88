/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * System instructions against tables: mode, control bits and operands in, result, fault or exit out.
 * The expectations are those of the instruction's page in the SDM, volume 2 ("Protected Mode
 * Exceptions" and the lists behind it), and, where a row says so, of the APM, volume 3; which of a fault
 * and an exit comes first is from volume 3, "Relative priority of faults and VM exits".
 */
#include "tests/unit/x86_env.h"
#include <cmocka.h>

#pragma GCC diagnostic ignored "-Wmissing-field-initializers" /* most rows need few fields */

/* Where an instruction is executed: level and kind of code. C: compatibility mode. */
enum mode { K64, U64, K32, U32, KC, UC, REAL, V86 };

/* What comes of it; below 32 a vector. */
enum { GOES = 100, EXITS, HALTS };

typedef uint64_t get_fn(struct env *e);
typedef void prepare_fn(struct env *e);

struct row {
	const char *why;
	enum mode mode;
	uint8_t bytes[8];
	unsigned int outcome;
	uint32_t error;			/* of a fault */
	uint64_t rax, rcx, rdx;
	uint64_t cr0, cr4, efer, flags;	/* bits to set before */
	uint64_t cr4_clear;
	unsigned int icpt;		/* intercepted, if not 0 */
	uint64_t stack, data;		/* 8 bytes at the stack's top, and at the data */
	prepare_fn *prepare;
	get_fn *get;			/* behind an instruction that goes through */
	uint64_t value;
};

/* ---- machinery ------------------------------------------------------------------------------------------ */

static void enter_v86(struct env *e)
{
	static const uint16_t selector[] = { 0x2000, 0x1000, 0x2800, 0x2000, 0x2000, 0x2000 };
	struct x86_cpu *cpu = e->cpu;
	unsigned int i;

	env_mode_32(e, 3, true);
	for (i = 0; i < 6; i++)
		cpu->seg[i] = (struct x86_seg){ .selector = selector[i], .base = selector[i] << 4,
						.limit = 0xffff, .ar = 0xf3 };
	x86_set_rflags(cpu, X86_FL_VM | X86_FL_ONE);
	cpu->rip = 0;
}

static void enter(struct env *e, enum mode mode)
{
	struct x86_cpu *cpu = e->cpu;

	switch (mode) {
	case K64:
	case KC:
		env_mode_64(e, 0);
		if (mode == KC)
			env_seg(e, X86_CS, SEL_CODE32);
		break;
	case U64:
	case UC:
		env_mode_64(e, 3);
		if (mode == UC)
			env_seg(e, X86_CS, SEL_UCODE32);
		break;
	case K32:
	case U32:
		env_mode_32(e, mode == U32 ? 3 : 0, true);
		break;
	case REAL:
		env_mode_real(e);
		break;
	case V86:
		enter_v86(e);
		break;
	}
	if (mode == REAL || mode == V86)
		cpu->gpr[X86_RSP] = 0x7000;
	cpu->gpr[X86_RBX] = mode == REAL || mode == V86 ? 0 : ENV_DATA;
}

static void start(struct env *e, const struct row *r)
{
	struct x86_cpu *cpu = e->cpu;
	unsigned int i;

	enter(e, r->mode);
	env_code(e, ENV_CODE, r->bytes, sizeof(r->bytes));
	cpu->gpr[X86_RAX] = r->rax;
	cpu->gpr[X86_RCX] = r->rcx;
	cpu->gpr[X86_RDX] = r->rdx;
	cpu->cr0 |= r->cr0;
	cpu->cr4 = (cpu->cr4 | r->cr4) & ~r->cr4_clear;
	cpu->efer |= r->efer;
	x86_set_rflags(cpu, x86_get_rflags(cpu) | r->flags);
	env_put64(e, ENV_DATA, r->data);
	env_put64(e, (cpu->code_size == 8 ? 0 : cpu->seg[X86_SS].base) + cpu->gpr[X86_RSP], r->stack);
	for (i = 0; i < X86_ICPT_NR; i++)
		x86_intercept_set(cpu, (enum x86_intercept)i, i < 32 || (r->icpt && i == r->icpt));
	if (r->prepare)
		r->prepare(e);
	x86_tlb_flush_all(cpu);
	x86_state_changed(cpu);
}

static unsigned int outcome(struct env *e)
{
	if (x86_step_one(e->cpu) == X86_OK)
		return e->cpu->activity == X86_HALTED ? HALTS : GOES;
	return e->last < 32 ? e->last : EXITS;
}

static void check_row(const struct row *r)
{
	struct env *e = env_create();
	unsigned int got;

	start(e, r);
	got = outcome(e);
	if (got != r->outcome)
		fail_msg("%s: outcome %u, not %u", r->why, got, r->outcome);
	if (got < 32 && e->info.exc.has_error && e->info.exc.error_code != r->error)
		fail_msg("%s: error code %x, not %x", r->why, e->info.exc.error_code, r->error);
	if (r->get && r->get(e) != r->value)
		fail_msg("%s: %lx, not %lx", r->why, r->get(e), r->value);
	env_destroy(e);
}

static void check_rows(const struct row *rows, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		check_row(&rows[i]);
	print_message("# %zu rows\n", n);
}

#define TABLE(name)                                                                                \
	static void name(void **state)                                                             \
	{                                                                                          \
		(void)state;                                                                       \
		check_rows(name##_rows, sizeof(name##_rows) / sizeof(name##_rows[0]));             \
	}

#define REG(name, field) static uint64_t name(struct env *e) { return e->cpu->field; }
REG(get_rax, gpr[X86_RAX])
REG(get_rcx, gpr[X86_RCX])
REG(get_rdx, gpr[X86_RDX])
REG(get_rsp, gpr[X86_RSP])
REG(get_rip, rip)
REG(get_cr0, cr0)
REG(get_cr2, cr2)
REG(get_cr3, cr3)
REG(get_cr4, cr4)
REG(get_cr8, cr8)
REG(get_efer, efer)
REG(get_xcr0, xcr0)
REG(get_dr0, dr[0])
REG(get_dr6, dr6)
REG(get_dr7, dr7)
REG(get_cpl, cpl)
REG(get_gdt_base, gdtr.base)
REG(get_gdt_limit, gdtr.limit)
REG(get_idt_base, idtr.base)
REG(get_ldt_ar, seg[X86_LDTR].ar)
REG(get_tr_ar, seg[X86_TR].ar)
REG(get_fs_base, seg[X86_FS].base)
REG(get_gs_base, seg[X86_GS].base)
REG(get_intr, intr_state)
REG(get_pkru, pkru)

static uint64_t get_flags(struct env *e)
{
	return x86_get_rflags(e->cpu);
}

static uint64_t get_data(struct env *e)
{
	return env_get64(e, ENV_DATA);
}

#define NONCANONICAL (1ull << 47)

/* ---- control registers: MOV CR, LMSW, SMSW, CLTS ----------------------------------------------------- */

#define PE X86_CR0_PE
#define PG X86_CR0_PG
#define ON (PE | PG | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP)

static void no_paging(struct env *e)
{
	e->cpu->cr0 &= ~(uint64_t)PG;
	e->cpu->efer &= ~(uint64_t)X86_EFER_LMA;
}

static void no_paging_long(struct env *e)
{
	no_paging(e);
	e->cpu->efer |= X86_EFER_LME;
}

/* Going to long mode with CS.L already set. */
static void no_paging_cs_l(struct env *e)
{
	no_paging_long(e);
	e->cpu->cr4 |= X86_CR4_PAE;
	e->cpu->seg[X86_CS].ar |= X86_AR_L;
}

static void no_paging_bad_pdpte(struct env *e)
{
	no_paging(e);
	e->cpu->cr4 |= X86_CR4_PAE;
	e->cpu->cr3 = 0x8000;
	env_put64(e, 0x8000, 0x9000 | 3); /* R/W is reserved in a PDPTE */
}

static void pae_bad_pdpte(struct env *e)
{
	e->cpu->cr4 |= X86_CR4_PAE;
	e->cpu->cr3 = ENV_PT + 0x1000;
	e->cpu->pdptr[0] = (ENV_PT + 0x2000) | 1;
	env_put64(e, 0x8000, 0x9000 | 1ull << 41 | 1);
}

static void cr3_not_page(struct env *e)
{
	e->cpu->cr3 |= 1;
}

static const struct row mov_cr_rows[] = {
	{ "MOV CR0, CPL 3", U64, { 0x0f, 0x22, 0xc0 }, X86_GP },
	{ "MOV CR0, CPL 3, compatibility", UC, { 0x0f, 0x22, 0xc0 }, X86_GP },
	{ "MOV CR0, CPL 3, protected", U32, { 0x0f, 0x22, 0xc0 }, X86_GP },
	{ "MOV CR0, virtual-8086", V86, { 0x0f, 0x22, 0xc0 }, X86_GP },
	{ "MOV from CR0, CPL 3", U64, { 0x0f, 0x20, 0xc0 }, X86_GP },
	{ "MOV from CR3, virtual-8086", V86, { 0x0f, 0x20, 0xd8 }, X86_GP },
	{ "MOV CR1", K64, { 0x0f, 0x22, 0xc8 }, X86_UD },
	{ "MOV CR5", K64, { 0x0f, 0x22, 0xe8 }, X86_UD },
	{ "MOV CR7", K32, { 0x0f, 0x22, 0xf8 }, X86_UD },
	{ "MOV from CR6", K64, { 0x0f, 0x20, 0xf0 }, X86_UD },
	{ "MOV CR9", K64, { 0x44, 0x0f, 0x22, 0xc8 }, X86_UD },
	{ "LOCK MOV CR0", K64, { 0xf0, 0x0f, 0x22, 0xc0 }, X86_UD },
	{ "CR0[63:32]", K64, { 0x0f, 0x22, 0xc0 }, X86_GP, .rax = ON | 1ull << 32 },
	{ "CR0: PG without PE", K64, { 0x0f, 0x22, 0xc0 }, X86_GP, .rax = PG },
	{ "CR0: NW without CD", K64, { 0x0f, 0x22, 0xc0 }, X86_GP, .rax = ON | X86_CR0_NW },
	{ "CR0: PG cleared in 64-bit mode", K64, { 0x0f, 0x22, 0xc0 }, X86_GP, .rax = ON & ~PG },
	{ "CR0: PG cleared in 32-bit mode", K32, { 0x0f, 0x22, 0xc0 }, GOES, .rax = PE | X86_CR0_ET,
	  .get = get_cr0, .value = PE | X86_CR0_ET },
	{ "CR0: PG cleared in compatibility mode ends IA-32e mode", KC, { 0x0f, 0x22, 0xc0 }, GOES,
	  .rax = PE | X86_CR0_ET, .get = get_efer,
	  .value = X86_EFER_LME | X86_EFER_SCE | X86_EFER_NXE },
	{ "CR0: PG cleared while PCIDE", KC, { 0x0f, 0x22, 0xc0 }, X86_GP, .rax = PE | X86_CR0_ET,
	  .cr4 = X86_CR4_PCIDE },
	{ "CR0: PG set, LME without PAE", K32, { 0x0f, 0x22, 0xc0 }, X86_GP, .rax = ON,
	  .prepare = no_paging_long },
	{ "CR0: PG set, LME and CS.L", K32, { 0x0f, 0x22, 0xc0 }, X86_GP, .rax = ON,
	  .prepare = no_paging_cs_l },
	{ "CR0: PG set, reserved bit in a PDPTE", K32, { 0x0f, 0x22, 0xc0 }, X86_GP, .rax = ON,
	  .prepare = no_paging_bad_pdpte },
	{ "CR0: reserved bits below 32 are ignored, ET is 1", K64, { 0x0f, 0x22, 0xc0 }, GOES,
	  .rax = (ON & ~X86_CR0_ET) | 0xffc0, .get = get_cr0, .value = ON },
	{ "CR0 in real mode", REAL, { 0x0f, 0x22, 0xc0 }, GOES, .rax = PE | X86_CR0_ET, .get = get_cr0,
	  .value = PE | X86_CR0_ET },
	{ "CR2 takes anything", K64, { 0x0f, 0x22, 0xd0 }, GOES, .rax = 0x123456789abcdef,
	  .get = get_cr2, .value = 0x123456789abcdef },
	{ "CR3 beyond MAXPHYADDR", K64, { 0x0f, 0x22, 0xd8 }, X86_GP, .rax = ENV_PT | 1ull << 40 },
	{ "CR3[63] without PCIDE", K64, { 0x0f, 0x22, 0xd8 }, X86_GP, .rax = ENV_PT | 1ull << 63 },
	{ "CR3[63] with PCIDE is not stored", K64, { 0x0f, 0x22, 0xd8 }, GOES,
	  .rax = ENV_PT | 5 | 1ull << 63, .cr4 = X86_CR4_PCIDE, .get = get_cr3, .value = ENV_PT | 5 },
	{ "CR3, reserved bit in a PDPTE", K32, { 0x0f, 0x22, 0xd8 }, X86_GP, .rax = 0x8000,
	  .prepare = pae_bad_pdpte },
	{ "CR4: PAE cleared in IA-32e mode", K64, { 0x0f, 0x22, 0xe0 }, X86_GP, .rax = X86_CR4_PGE },
	{ "CR4: reserved bit", K64, { 0x0f, 0x22, 0xe0 }, X86_GP, .rax = X86_CR4_PAE | 1 << 15 },
	{ "CR4[63:32]", K64, { 0x0f, 0x22, 0xe0 }, X86_GP, .rax = X86_CR4_PAE | 1ull << 32 },
	{ "CR4: LA57 changed in IA-32e mode", K64, { 0x0f, 0x22, 0xe0 }, X86_GP,
	  .rax = X86_CR4_PAE | X86_CR4_LA57 },
	{ "CR4: PCIDE outside IA-32e mode", K32, { 0x0f, 0x22, 0xe0 }, X86_GP,
	  .rax = X86_CR4_PSE | X86_CR4_PCIDE },
	{ "CR4: PCIDE, CR3[11:0] not 0", K64, { 0x0f, 0x22, 0xe0 }, X86_GP,
	  .rax = X86_CR4_PAE | X86_CR4_PCIDE, .prepare = cr3_not_page },
	{ "CR4: PCIDE", K64, { 0x0f, 0x22, 0xe0 }, GOES, .rax = X86_CR4_PAE | X86_CR4_PCIDE,
	  .get = get_cr4, .value = X86_CR4_PAE | X86_CR4_PCIDE },
	{ "CR8[63:4]", K64, { 0x44, 0x0f, 0x22, 0xc0 }, X86_GP, .rax = 0x10 },
	{ "CR8", K64, { 0x44, 0x0f, 0x22, 0xc0 }, GOES, .rax = 9, .get = get_cr8, .value = 9 },
	{ "CR8, CPL 3", U64, { 0x44, 0x0f, 0x22, 0xc0 }, X86_GP },
	{ "CPL before the exit", U64, { 0x0f, 0x22, 0xd8 }, X86_GP, .icpt = X86_ICPT_CR_WRITE + 3 },
	{ "CR1: #UD before the exit", K64, { 0x0f, 0x22, 0xc8 }, X86_UD, .icpt = X86_ICPT_CR_WRITE + 1 },
	{ "the exit before the value's #GP", K64, { 0x0f, 0x22, 0xe0 }, EXITS, .rax = 1 << 15,
	  .icpt = X86_ICPT_CR_WRITE + 4 },
	{ "MOV from CR3 exits", K64, { 0x0f, 0x20, 0xd8 }, EXITS, .icpt = X86_ICPT_CR_READ + 3 },
};
TABLE(mov_cr)

static const struct row msw_rows[] = {
	{ "LMSW, CPL 3", U64, { 0x0f, 0x01, 0xf0 }, X86_GP },
	{ "LMSW, virtual-8086", V86, { 0x0f, 0x01, 0xf0 }, X86_GP },
	{ "LMSW does not clear PE", K32, { 0x0f, 0x01, 0xf0 }, GOES, .rax = 0, .cr0 = X86_CR0_TS,
	  .get = get_cr0, .value = ON },
	{ "LMSW changes PE, MP, EM and TS only", K64, { 0x0f, 0x01, 0xf0 }, GOES, .rax = 0xffff,
	  .get = get_cr0, .value = ON | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS },
	{ "LMSW sets PE in real mode", REAL, { 0x0f, 0x01, 0xf0 }, GOES, .rax = 1, .get = get_cr0,
	  .value = PE | X86_CR0_ET | X86_CR0_CD | X86_CR0_NW },
	{ "LMSW, CPL before the exit", U64, { 0x0f, 0x01, 0xf0 }, X86_GP, .icpt = X86_ICPT_LMSW },
	{ "LMSW exits", K64, { 0x0f, 0x01, 0xf0 }, EXITS, .icpt = X86_ICPT_LMSW },
	{ "SMSW, CPL 3", U64, { 0x48, 0x0f, 0x01, 0xe0 }, GOES, .get = get_rax, .value = ON },
	{ "SMSW r16", K64, { 0x66, 0x0f, 0x01, 0xe0 }, GOES, .rax = 0x55550000, .get = get_rax,
	  .value = 0x55550000 | (ON & 0xffff) },
	{ "SMSW m16", V86, { 0x0f, 0x01, 0x27 }, GOES, .get = get_data, .value = ON & 0xffff },
	{ "SMSW, CPL 3, UMIP", U64, { 0x0f, 0x01, 0xe0 }, X86_GP, .cr4 = X86_CR4_UMIP },
	{ "SMSW, virtual-8086, UMIP", V86, { 0x0f, 0x01, 0xe0 }, X86_GP, .cr4 = X86_CR4_UMIP },
	{ "SMSW, CPL 0, UMIP", K64, { 0x0f, 0x01, 0xe0 }, GOES, .cr4 = X86_CR4_UMIP },
	{ "SMSW, real mode, UMIP", REAL, { 0x0f, 0x01, 0xe0 }, GOES, .cr4 = X86_CR4_UMIP },
	{ "SMSW, UMIP before the exit", U64, { 0x0f, 0x01, 0xe0 }, X86_GP, .cr4 = X86_CR4_UMIP,
	  .icpt = X86_ICPT_SMSW },
	{ "CLTS", K64, { 0x0f, 0x06 }, GOES, .cr0 = X86_CR0_TS, .get = get_cr0, .value = ON },
	{ "CLTS, real mode", REAL, { 0x0f, 0x06 }, GOES, .cr0 = X86_CR0_TS, .get = get_cr0,
	  .value = X86_CR0_ET | X86_CR0_CD | X86_CR0_NW },
	{ "CLTS, CPL 3", U64, { 0x0f, 0x06 }, X86_GP },
	{ "CLTS, virtual-8086", V86, { 0x0f, 0x06 }, X86_GP },
	{ "CLTS, CPL before the exit", U64, { 0x0f, 0x06 }, X86_GP, .icpt = X86_ICPT_CLTS },
	{ "CLTS exits", K64, { 0x0f, 0x06 }, EXITS, .icpt = X86_ICPT_CLTS },
};
TABLE(msw)

/* ---- debug registers ------------------------------------------------------------------------------------- */

static void general_detect(struct env *e)
{
	e->cpu->dr7 |= X86_DR7_GD;
}

static const struct row mov_dr_rows[] = {
	{ "CPL 3", U64, { 0x0f, 0x23, 0xc0 }, X86_GP },
	{ "read, CPL 3", U32, { 0x0f, 0x21, 0xc0 }, X86_GP },
	{ "virtual-8086", V86, { 0x0f, 0x21, 0xc0 }, X86_GP },
	{ "DR8", K64, { 0x44, 0x0f, 0x23, 0xc0 }, X86_UD },
	{ "DR4, DE", K64, { 0x0f, 0x21, 0xe0 }, X86_UD, .cr4 = X86_CR4_DE },
	{ "DR5, DE", K64, { 0x0f, 0x23, 0xe8 }, X86_UD, .cr4 = X86_CR4_DE },
	{ "DR4 is DR6 without DE", K64, { 0x0f, 0x21, 0xe0 }, GOES, .get = get_rax, .value = X86_DR6_INIT },
	{ "DR5 is DR7 without DE", K64, { 0x0f, 0x23, 0xe8 }, GOES, .rax = 1, .get = get_dr7,
	  .value = X86_DR7_INIT | 1 },
	{ "GD", K64, { 0x0f, 0x21, 0xc0 }, X86_DB, .prepare = general_detect },
	{ "GD before the value's #GP", K64, { 0x0f, 0x23, 0xf8 }, X86_DB, .rax = 1ull << 32,
	  .prepare = general_detect },
	{ "GD in real mode", REAL, { 0x0f, 0x23, 0xc0 }, X86_DB, .prepare = general_detect },
	{ "DR4 with DE before GD", K64, { 0x0f, 0x21, 0xe0 }, X86_UD, .cr4 = X86_CR4_DE,
	  .prepare = general_detect },
	{ "CPL before GD", U64, { 0x0f, 0x21, 0xc0 }, X86_GP, .prepare = general_detect },
	{ "DR6[63:32]", K64, { 0x0f, 0x23, 0xf0 }, X86_GP, .rax = 1ull << 32 },
	{ "DR7[63:32]", K64, { 0x0f, 0x23, 0xf8 }, X86_GP, .rax = 1ull << 63 },
	{ "DR0 has 64 bits", K64, { 0x0f, 0x23, 0xc0 }, GOES, .rax = NONCANONICAL, .get = get_dr0,
	  .value = NONCANONICAL },
	{ "DR6: reserved bits", K64, { 0x0f, 0x23, 0xf0 }, GOES, .rax = 0, .get = get_dr6,
	  .value = X86_DR6_INIT },
	{ "DR7: reserved bits", K64, { 0x0f, 0x23, 0xf8 }, GOES, .rax = 0xd000, .get = get_dr7,
	  .value = X86_DR7_INIT },
	/* SDM volume 3, "Instructions that cause VM exits conditionally". */
	{ "exit before the CPL", U64, { 0x0f, 0x23, 0xc0 }, EXITS, .icpt = X86_ICPT_DR_WRITE },
	{ "exit before DE", K64, { 0x0f, 0x23, 0xe0 }, EXITS, .icpt = X86_ICPT_DR_WRITE + 4, .cr4 = X86_CR4_DE },
	{ "exit before GD", K64, { 0x0f, 0x21, 0xc0 }, EXITS, .icpt = X86_ICPT_DR_READ, .prepare = general_detect },
	{ "DR8 before the exit", K64, { 0x44, 0x0f, 0x23, 0xc0 }, X86_UD, .icpt = X86_ICPT_DR_WRITE + 8 },
	{ "the exit before the value's #GP", K64, { 0x0f, 0x23, 0xf8 }, EXITS, .rax = 1ull << 32,
	  .icpt = X86_ICPT_DR_WRITE + 7 },
};
TABLE(mov_dr)

/* ---- LGDT, LIDT, LLDT, LTR ------------------------------------------------------------------------------- */

#define SEL 0x58
#define DATA_LIMIT 0x1234ull

static void at_gdt(struct env *e, uint64_t low, uint64_t high)
{
	env_put64(e, ENV_GDT + SEL, low);
	env_put64(e, ENV_GDT + SEL + 8, high);
}

static void ldt(struct env *e) { at_gdt(e, 0x0000820000000fff, 0); }
static void ldt_absent(struct env *e) { at_gdt(e, 0x0000020000000fff, 0); }
static void ldt_high(struct env *e) { at_gdt(e, 0x0000820000000fff, 0x8000); }
static void tss(struct env *e) { at_gdt(e, 0x0000890030000067, 0); }
static void tss_absent(struct env *e) { at_gdt(e, 0x0000090030000067, 0); }
static void tss_busy(struct env *e) { at_gdt(e, 0x00008b0030000067, 0); }
static void tss16(struct env *e) { at_gdt(e, 0x0000810030000067, 0); }
static void tss_high(struct env *e) { at_gdt(e, 0x0000890030000067, 0x8000); }
static void tss_type(struct env *e) { at_gdt(e, 0x0000890030000067, 1ull << 40); }
static void data_segment(struct env *e) { at_gdt(e, 0x00cf93000000ffff, 0); }
static void short_gdt(struct env *e)
{
	tss(e);
	e->cpu->gdtr.limit = SEL + 6;
}
static void gdt_of_8(struct env *e)
{
	tss(e);
	e->cpu->gdtr.limit = SEL + 7;
}
static void high_base(struct env *e)
{
	env_put64(e, ENV_DATA + 2, NONCANONICAL);
}
static void long_base(struct env *e)
{
	env_put64(e, ENV_DATA + 2, 0xffff812345678000);
}

#define LGDT64 { 0x0f, 0x01, 0x13 }
#define LIDT64 { 0x0f, 0x01, 0x1b }
#define LLDT { 0x0f, 0x00, 0xd0 }
#define LTR { 0x0f, 0x00, 0xd8 }

static const struct row load_table_rows[] = {
	{ "LGDT, CPL 3", U64, LGDT64, X86_GP },
	{ "LIDT, CPL 3, protected", U32, LIDT64, X86_GP },
	{ "LGDT, virtual-8086", V86, { 0x0f, 0x01, 0x17 }, X86_GP },
	{ "LGDT of a register is another instruction", K64, { 0x0f, 0x01, 0xd7 }, X86_UD },
	{ "LGDT, 64-bit: 10 bytes", K64, LGDT64, GOES, .prepare = long_base, .get = get_gdt_base,
	  .value = 0xffff812345678000 },
	{ "LGDT, limit", K64, LGDT64, GOES, .data = DATA_LIMIT, .get = get_gdt_limit, .value = DATA_LIMIT },
	{ "LGDT, base not canonical", K64, LGDT64, X86_GP, .prepare = high_base },
	{ "LIDT, base not canonical", K64, LIDT64, X86_GP, .prepare = high_base },
	{ "LGDT, 32-bit", K32, LGDT64, GOES, .data = 0xaabbccdd0000, .get = get_gdt_base,
	  .value = 0xaabbccdd },
	{ "LGDT, operand size 16: 24 bits of base", K32, { 0x66, 0x0f, 0x01, 0x13 }, GOES,
	  .data = 0xaabbccdd0000, .get = get_gdt_base, .value = 0xbbccdd },
	{ "LIDT in real mode", REAL, { 0x0f, 0x01, 0x1f }, GOES, .data = 0xaabbccdd0000,
	  .get = get_idt_base, .value = 0xbbccdd },
	{ "LGDT, CPL before the exit", U64, LGDT64, X86_GP, .icpt = X86_ICPT_LGDT },
	{ "LGDT exits", K64, LGDT64, EXITS, .prepare = high_base, .icpt = X86_ICPT_LGDT },
	{ "LLDT, real mode", REAL, LLDT, X86_UD },
	{ "LLDT, virtual-8086", V86, LLDT, X86_UD },
	{ "LLDT, CPL 3", U64, LLDT, X86_GP },
	{ "LLDT, null", K64, LLDT, GOES, .rax = 3, .get = get_ldt_ar, .value = X86_AR_UNUSABLE },
	{ "LLDT", K64, LLDT, GOES, .rax = SEL, .prepare = ldt, .get = get_ldt_ar, .value = 0x82 },
	{ "LLDT, TI", K64, LLDT, X86_GP, SEL | 4, .rax = SEL | 4, .prepare = ldt },
	{ "LLDT, not an LDT", K64, LLDT, X86_GP, SEL, .rax = SEL, .prepare = tss },
	{ "LLDT, data segment", K32, LLDT, X86_GP, SEL, .rax = SEL, .prepare = data_segment },
	{ "LLDT, not present", K32, LLDT, X86_NP, SEL, .rax = SEL, .prepare = ldt_absent },
	{ "LLDT, beyond the limit", K32, LLDT, X86_GP, 0x1000, .rax = 0x1000 },
	{ "LLDT, base not canonical", K64, LLDT, X86_GP, SEL, .rax = SEL, .prepare = ldt_high },
	{ "LTR, real mode", REAL, LTR, X86_UD },
	{ "LTR, virtual-8086", V86, LTR, X86_UD },
	{ "LTR, CPL 3", U32, LTR, X86_GP },
	{ "LTR, null", K64, LTR, X86_GP, 0, .rax = 2 },
	{ "LTR", K64, LTR, GOES, .rax = SEL, .prepare = tss, .get = get_tr_ar, .value = 0x8b },
	{ "LTR, TI", K64, LTR, X86_GP, SEL | 4, .rax = SEL | 4, .prepare = tss },
	{ "LTR, busy", K64, LTR, X86_GP, SEL, .rax = SEL, .prepare = tss_busy },
	{ "LTR, not a TSS", K32, LTR, X86_GP, SEL, .rax = SEL, .prepare = ldt },
	{ "LTR, 16-bit TSS, 32-bit mode", K32, LTR, GOES, .rax = SEL, .prepare = tss16,
	  .get = get_tr_ar, .value = 0x83 },
	{ "LTR, 16-bit TSS, 64-bit mode", K64, LTR, X86_GP, SEL, .rax = SEL, .prepare = tss16 },
	{ "LTR, not present", K64, LTR, X86_NP, SEL, .rax = SEL, .prepare = tss_absent },
	{ "LTR, beyond the limit", K32, LTR, X86_GP, SEL, .rax = SEL, .prepare = short_gdt },
	{ "LTR, 8 bytes, 32-bit mode", K32, LTR, GOES, .rax = SEL, .prepare = gdt_of_8 },
	{ "LTR, 16 bytes, 64-bit mode", K64, LTR, X86_GP, SEL, .rax = SEL, .prepare = gdt_of_8 },
	{ "LTR, base not canonical", K64, LTR, X86_GP, SEL, .rax = SEL, .prepare = tss_high },
	{ "LTR, type bits in the second half", K64, LTR, X86_GP, SEL, .rax = SEL, .prepare = tss_type },
	{ "LTR, CPL before the exit", U64, LTR, X86_GP, .icpt = X86_ICPT_LTR },
	{ "LTR, real mode before the exit", REAL, LTR, X86_UD, .icpt = X86_ICPT_LTR },
	{ "LTR exits before its checks", K64, LTR, EXITS, .rax = 0, .icpt = X86_ICPT_LTR },
};
TABLE(load_table)

/* ---- SGDT, SIDT, SLDT, STR (UMIP), and questions about descriptors -------------------------------------- */

static const struct row store_table_rows[] = {
	{ "SGDT, CPL 3", U64, { 0x0f, 0x01, 0x03 }, GOES, .get = get_data, .value = ENV_GDT << 16 | 0xfff },
	{ "SGDT, CPL 3, UMIP", U64, { 0x0f, 0x01, 0x03 }, X86_GP, .cr4 = X86_CR4_UMIP },
	{ "SGDT, virtual-8086, UMIP", V86, { 0x0f, 0x01, 0x07 }, X86_GP, .cr4 = X86_CR4_UMIP },
	{ "SGDT, CPL 0, UMIP", K64, { 0x0f, 0x01, 0x03 }, GOES, .cr4 = X86_CR4_UMIP },
	{ "SIDT, CPL 3", U32, { 0x0f, 0x01, 0x0b }, GOES, .get = get_data, .value = ENV_IDT << 16 | 0xfff },
	{ "SIDT, CPL 3, UMIP", U32, { 0x0f, 0x01, 0x0b }, X86_GP, .cr4 = X86_CR4_UMIP },
	{ "SIDT, UMIP before the exit", UC, { 0x0f, 0x01, 0x0b }, X86_GP, .cr4 = X86_CR4_UMIP,
	  .icpt = X86_ICPT_SIDT },
	{ "SLDT, CPL 3", U64, { 0x0f, 0x00, 0xc0 }, GOES, .rax = 99, .get = get_rax, .value = 0 },
	{ "SLDT, CPL 3, UMIP", U64, { 0x0f, 0x00, 0xc0 }, X86_GP, .cr4 = X86_CR4_UMIP },
	{ "SLDT, real mode", REAL, { 0x0f, 0x00, 0xc0 }, X86_UD },
	{ "SLDT, virtual-8086, also with UMIP", V86, { 0x0f, 0x00, 0xc0 }, X86_UD, .cr4 = X86_CR4_UMIP },
	{ "STR, CPL 3", U64, { 0x0f, 0x00, 0xc8 }, GOES, .get = get_rax, .value = SEL_TSS },
	{ "STR, CPL 3, UMIP", U64, { 0x0f, 0x00, 0xc8 }, X86_GP, .cr4 = X86_CR4_UMIP },
	{ "STR, real mode", REAL, { 0x0f, 0x00, 0xc8 }, X86_UD },
	{ "STR exits", U64, { 0x0f, 0x00, 0xc8 }, EXITS, .icpt = X86_ICPT_STR },
	{ "LAR, real mode", REAL, { 0x0f, 0x02, 0xc0 }, X86_UD },
	{ "LSL, virtual-8086", V86, { 0x0f, 0x03, 0xc0 }, X86_UD },
	{ "VERR, real mode", REAL, { 0x0f, 0x00, 0xe0 }, X86_UD },
	{ "VERW, virtual-8086", V86, { 0x0f, 0x00, 0xe8 }, X86_UD },
	{ "ARPL, real mode", REAL, { 0x63, 0xc8 }, X86_UD },
	{ "LAR, null selector: ZF", U64, { 0x0f, 0x02, 0xc1 }, GOES, .rax = 7, .flags = X86_FL_ZF,
	  .get = get_flags, .value = X86_FL_ONE },
	{ "LAR of an LDT", K64, { 0x0f, 0x02, 0xc1 }, GOES, .rcx = SEL, .prepare = ldt, .get = get_rax,
	  .value = 0x8200 },
	{ "LSL", K64, { 0x0f, 0x03, 0xc1 }, GOES, .rcx = SEL_CODE64, .get = get_rax, .value = 0xffffffff },
};
TABLE(store_table)

/* ---- invalidation, caches, HLT ----------------------------------------------------------------------------- */

static void pcid_reserved(struct env *e) { env_put64(e, ENV_DATA, 0x1000); }
static void pcid_5(struct env *e) { env_put64(e, ENV_DATA, 5); }
static void pcid_bad_linear(struct env *e) { env_put64(e, ENV_DATA + 8, NONCANONICAL); }

/* INVPCID rax, [rbx] */
#define INVPCID { 0x66, 0x0f, 0x38, 0x82, 0x03 }

static const struct row invalidate_rows[] = {
	{ "INVLPG, CPL 3", U64, { 0x0f, 0x01, 0x3b }, X86_GP },
	{ "INVLPG, virtual-8086", V86, { 0x0f, 0x01, 0x3f }, X86_GP },
	{ "INVLPG, real mode", REAL, { 0x0f, 0x01, 0x3f }, GOES },
	{ "INVLPG, not canonical: nothing", K64, { 0x0f, 0x01, 0x38 }, GOES, .rax = NONCANONICAL },
	{ "INVLPG, not mapped", K64, { 0x0f, 0x01, 0x38 }, GOES, .rax = 1ull << 46 },
	{ "INVLPG, CPL before the exit", U64, { 0x0f, 0x01, 0x3b }, X86_GP, .icpt = X86_ICPT_INVLPG },
	{ "INVPCID, CPL 3", U64, INVPCID, X86_GP },
	{ "INVPCID, virtual-8086", V86, { 0x66, 0x0f, 0x38, 0x82, 0x07 }, X86_GP },
	{ "INVPCID, real mode", REAL, { 0x66, 0x0f, 0x38, 0x82, 0x07 }, GOES, .rax = 2 },
	{ "INVPCID, real mode, type 4", REAL, { 0x66, 0x0f, 0x38, 0x82, 0x07 }, X86_GP, .rax = 4 },
	{ "INVPCID, register operand", K64, { 0x66, 0x0f, 0x38, 0x82, 0xc3 }, X86_UD },
	{ "INVPCID without 66H", K64, { 0x0f, 0x38, 0x82, 0x03 }, X86_UD },
	{ "INVPCID, type 4", K64, INVPCID, X86_GP, .rax = 4 },
	{ "INVPCID, type in 64 bits", K64, INVPCID, X86_GP, .rax = 1ull << 32 },
	{ "INVPCID, type in 32 bits", K32, INVPCID, GOES, .rax = 2 },
	{ "INVPCID type 0, reserved bits", K64, INVPCID, X86_GP, .prepare = pcid_reserved },
	{ "INVPCID type 1, reserved bits", K64, INVPCID, X86_GP, .rax = 1, .prepare = pcid_reserved },
	{ "INVPCID type 2, reserved bits", K64, INVPCID, X86_GP, .rax = 2, .prepare = pcid_reserved },
	{ "INVPCID type 3, reserved bits", K64, INVPCID, X86_GP, .rax = 3, .prepare = pcid_reserved },
	{ "INVPCID type 0, PCID without PCIDE", K64, INVPCID, X86_GP, .prepare = pcid_5 },
	{ "INVPCID type 1, PCID without PCIDE", K64, INVPCID, X86_GP, .rax = 1, .prepare = pcid_5 },
	{ "INVPCID type 2, PCID without PCIDE", K64, INVPCID, GOES, .rax = 2, .prepare = pcid_5 },
	{ "INVPCID type 1, PCID with PCIDE", K64, INVPCID, GOES, .rax = 1, .cr4 = X86_CR4_PCIDE,
	  .prepare = pcid_5 },
	{ "INVPCID type 0, not canonical", K64, INVPCID, X86_GP, .prepare = pcid_bad_linear },
	{ "INVPCID type 1, address unused", K64, INVPCID, GOES, .rax = 1, .prepare = pcid_bad_linear },
	{ "INVPCID, CPL before the exit", U64, INVPCID, X86_GP, .icpt = X86_ICPT_INVPCID },
	{ "INVPCID, the exit before its checks", K64, INVPCID, EXITS, .rax = 9, .icpt = X86_ICPT_INVPCID },
	{ "WBINVD, CPL 3", U64, { 0x0f, 0x09 }, X86_GP },
	{ "WBINVD, virtual-8086", V86, { 0x0f, 0x09 }, X86_GP },
	{ "WBINVD, real mode", REAL, { 0x0f, 0x09 }, GOES },
	{ "WBINVD, CPL before the exit", U64, { 0x0f, 0x09 }, X86_GP, .icpt = X86_ICPT_WBINVD },
	{ "INVD, CPL 3", U64, { 0x0f, 0x08 }, X86_GP },
	{ "INVD, virtual-8086", V86, { 0x0f, 0x08 }, X86_GP },
	{ "INVD, CPL before the exit", U64, { 0x0f, 0x08 }, X86_GP, .icpt = X86_ICPT_INVD },
	{ "INVD exits", K64, { 0x0f, 0x08 }, EXITS, .icpt = X86_ICPT_INVD },
	{ "HLT, CPL 3", U64, { 0xf4 }, X86_GP },
	{ "HLT, virtual-8086", V86, { 0xf4 }, X86_GP },
	{ "HLT", K64, { 0xf4 }, HALTS },
	{ "HLT, real mode", REAL, { 0xf4 }, HALTS },
	{ "HLT, CPL before the exit", U64, { 0xf4 }, X86_GP, .icpt = X86_ICPT_HLT },
	{ "HLT exits", K64, { 0xf4 }, EXITS, .icpt = X86_ICPT_HLT },
	{ "RSM outside SMM", K64, { 0x0f, 0xaa }, X86_UD },
	{ "LOCK HLT", K64, { 0xf0, 0xf4 }, X86_UD },
};
TABLE(invalidate)

/* ---- MSRs ------------------------------------------------------------------------------------------------------ */

#define RDMSR { 0x0f, 0x32 }
#define WRMSR { 0x0f, 0x30 }

static const struct row msr_rows[] = {
	{ "RDMSR, CPL 3", U64, RDMSR, X86_GP, .rcx = X86_MSR_EFER },
	{ "RDMSR, virtual-8086", V86, RDMSR, X86_GP, .rcx = X86_MSR_EFER },
	{ "RDMSR, real mode", REAL, RDMSR, GOES, .rcx = X86_MSR_PAT, .get = get_rdx, .value = 0x70406 },
	{ "RDMSR, reserved MSR", K64, RDMSR, X86_GP, .rcx = 0x4321 },
	{ "RDMSR: halves, upper ones cleared", K64, RDMSR, GOES, .rcx = X86_MSR_PAT, .rax = ~0ull,
	  .get = get_rax, .value = 0x70406 },
	{ "RDMSR, CPL before the exit", U64, RDMSR, X86_GP, .icpt = X86_ICPT_RDMSR },
	{ "RDMSR exits, whatever the MSR", K64, RDMSR, EXITS, .rcx = 0x4321, .icpt = X86_ICPT_RDMSR },
	{ "WRMSR, CPL 3", U64, WRMSR, X86_GP, .rcx = X86_MSR_PAT },
	{ "WRMSR, virtual-8086", V86, WRMSR, X86_GP, .rcx = X86_MSR_PAT },
	{ "WRMSR, reserved MSR", K64, WRMSR, X86_GP, .rcx = 0x4321 },
	{ "WRMSR, EFER: reserved bit", K64, WRMSR, X86_GP, .rcx = X86_MSR_EFER, .rax = 0xd03 },
	{ "WRMSR, EFER: LME changed with paging on", K64, WRMSR, X86_GP, .rcx = X86_MSR_EFER, .rax = 0x801 },
	{ "WRMSR, EFER: LMA is not written", K64, WRMSR, GOES, .rcx = X86_MSR_EFER, .rax = 0x901,
	  .get = get_efer, .value = 0xd01 },
	{ "WRMSR, PAT: reserved type", K64, WRMSR, X86_GP, .rcx = X86_MSR_PAT, .rax = 2 },
	{ "WRMSR, LSTAR not canonical", K64, WRMSR, X86_GP, .rcx = X86_MSR_LSTAR, .rdx = 0x8000 },
	{ "WRMSR, CSTAR not canonical", K64, WRMSR, X86_GP, .rcx = X86_MSR_CSTAR, .rdx = 0x8000 },
	{ "WRMSR, FS_BASE not canonical", K64, WRMSR, X86_GP, .rcx = X86_MSR_FS_BASE, .rdx = 0x8000 },
	{ "WRMSR, GS_BASE not canonical", K64, WRMSR, X86_GP, .rcx = X86_MSR_GS_BASE, .rdx = 0x8000 },
	{ "WRMSR, KERNEL_GS_BASE", K64, WRMSR, X86_GP, .rcx = X86_MSR_KERNEL_GS_BASE, .rdx = 0x8000 },
	{ "WRMSR, SYSENTER_EIP", K64, WRMSR, X86_GP, .rcx = X86_MSR_SYSENTER_EIP, .rdx = 0x8000 },
	{ "WRMSR, SYSENTER_ESP", K64, WRMSR, X86_GP, .rcx = X86_MSR_SYSENTER_ESP, .rdx = 0x8000 },
	{ "WRMSR, FS_BASE", K64, WRMSR, GOES, .rcx = X86_MSR_FS_BASE | 0xffffffff00000000,
	  .rax = 0xffffffff00005000, .rdx = 0xffff8000, .get = get_fs_base, .value = 0xffff800000005000 },
	{ "WRMSR, CPL before the exit", U64, WRMSR, X86_GP, .icpt = X86_ICPT_WRMSR },
	{ "WRMSR exits before the value's #GP", K64, WRMSR, EXITS, .rcx = X86_MSR_PAT, .rax = 2,
	  .icpt = X86_ICPT_WRMSR },
};
TABLE(msr)

/* ---- ports ----------------------------------------------------------------------------------------------------- */

#define IN8 { 0xe4, 0x10 }
#define IN32 { 0xe5, 0x10 }
#define IN16 { 0x66, 0xe5, 0x10 }
#define IOPL3 X86_FL_IOPL

static void io_map(struct env *e, unsigned int byte2, unsigned int byte3, unsigned int limit)
{
	e->cpu->seg[X86_TR].limit = limit;
	memset(e->ram + ENV_TSS + 0x68, 0, 16);
	e->ram[ENV_TSS + 0x68 + 2] = (uint8_t)byte2;
	e->ram[ENV_TSS + 0x68 + 3] = (uint8_t)byte3;
}

static void map_open(struct env *e) { io_map(e, 0, 0, 0x100); }
static void map_first(struct env *e) { io_map(e, 1, 0, 0x100); }
static void map_third(struct env *e) { io_map(e, 4, 0, 0x100); }
static void map_fifth(struct env *e) { io_map(e, 16, 0, 0x100); }
static void map_ends(struct env *e) { io_map(e, 0, 0, 0x68 + 2); }
static void map_two_bytes(struct env *e) { io_map(e, 0, 0, 0x68 + 3); }

static void map_in_header(struct env *e)
{
	map_open(e);
	env_put32(e, ENV_TSS + 100, 0xfff0u << 16);
}

static const struct row io_rows[] = {
	{ "CPL 0", K64, IN8, GOES },
	{ "real mode", REAL, IN8, GOES },
	{ "CPL 3, no bitmap", U64, IN8, X86_GP },
	{ "CPL 3, IOPL 3", U64, IN8, GOES, .flags = IOPL3 },
	{ "CPL 3, IOPL 3, bit set: not looked at", U64, IN8, GOES, .flags = IOPL3, .prepare = map_first },
	{ "CPL 3, bit clear", U64, IN8, GOES, .prepare = map_open },
	{ "CPL 3, bit set", U32, IN8, X86_GP, .prepare = map_first },
	{ "CPL 3, 32 bits, bit of the third port", U64, IN32, X86_GP, .prepare = map_third },
	{ "CPL 3, 16 bits, bit of the third port", U64, IN16, GOES, .prepare = map_third },
	{ "CPL 3, 32 bits, bit of the fifth port", U64, IN32, GOES, .prepare = map_fifth },
	{ "two bytes are read: the second beyond the limit", U64, IN8, X86_GP, .prepare = map_ends },
	{ "two bytes are read", U64, IN8, GOES, .prepare = map_two_bytes },
	{ "bitmap beyond the TSS", U64, IN8, X86_GP, .prepare = map_in_header },
	{ "virtual-8086, IOPL 3, bit set: looked at", V86, IN8, X86_GP, .flags = IOPL3,
	  .prepare = map_first },
	{ "virtual-8086, IOPL 0, bit clear", V86, IN8, GOES, .prepare = map_open },
	{ "OUT, CPL 3", U64, { 0xe6, 0x10 }, X86_GP },
	{ "INS, CPL 3", U64, { 0x6c }, X86_GP, .rdx = 0x10 },
	{ "OUTS, virtual-8086", V86, { 0x6e }, X86_GP, .rdx = 0x10, .flags = IOPL3 },
	{ "permission before the exit", U64, IN8, X86_GP, .icpt = X86_ICPT_IO },
	{ "permitted: exits", U64, IN8, EXITS, .icpt = X86_ICPT_IO, .prepare = map_open },
};
TABLE(io)

/* ---- IF: CLI, STI, PUSHF, POPF, INT, IRET in virtual-8086 mode ------------------------------------------- */

#define ONE X86_FL_ONE
#define IF_ X86_FL_IF
#define VIF X86_FL_VIF
#define VIP X86_FL_VIP

static const struct row interrupt_flag_rows[] = {
	{ "CLI, CPL 0", K64, { 0xfa }, GOES, .flags = IF_, .get = get_flags, .value = ONE },
	{ "CLI, CPL 3", U64, { 0xfa }, X86_GP, .flags = IF_ },
	{ "CLI, CPL 3, IOPL 3", U64, { 0xfa }, GOES, .flags = IF_ | IOPL3, .get = get_flags,
	  .value = ONE | IOPL3 },
	{ "CLI, PVI", U32, { 0xfa }, GOES, .flags = IF_ | VIF, .cr4 = X86_CR4_PVI, .get = get_flags,
	  .value = ONE | IF_ },
	{ "CLI, PVI does not concern CPL 0", K32, { 0xfa }, GOES, .flags = IF_ | VIF, .cr4 = X86_CR4_PVI,
	  .get = get_flags, .value = ONE | VIF },
	{ "CLI, virtual-8086, IOPL 3", V86, { 0xfa }, GOES, .flags = IF_ | IOPL3, .get = get_flags,
	  .value = ONE | IOPL3 | X86_FL_VM },
	{ "CLI, virtual-8086", V86, { 0xfa }, X86_GP, .flags = IF_ },
	{ "CLI, virtual-8086, VME", V86, { 0xfa }, GOES, .flags = IF_ | VIF, .cr4 = X86_CR4_VME,
	  .get = get_flags, .value = ONE | IF_ | X86_FL_VM },
	{ "STI, CPL 0: shadow", K64, { 0xfb }, GOES, .get = get_intr, .value = X86_SHADOW_STI },
	{ "STI, IF was set: no shadow", K64, { 0xfb }, GOES, .flags = IF_, .get = get_intr, .value = 0 },
	{ "STI, CPL 3", U64, { 0xfb }, X86_GP },
	{ "STI, PVI", U64, { 0xfb }, GOES, .cr4 = X86_CR4_PVI, .get = get_flags, .value = ONE | VIF },
	{ "STI, PVI, VIP", U64, { 0xfb }, X86_GP, .cr4 = X86_CR4_PVI, .flags = VIP },
	{ "STI, virtual-8086", V86, { 0xfb }, X86_GP },
	{ "STI, virtual-8086, VME", V86, { 0xfb }, GOES, .cr4 = X86_CR4_VME, .get = get_flags,
	  .value = ONE | VIF | X86_FL_VM },
	{ "STI, virtual-8086, VME, VIP", V86, { 0xfb }, X86_GP, .cr4 = X86_CR4_VME, .flags = VIP },
	{ "POPF, CPL 0", K64, { 0x9d }, GOES, .stack = IF_ | IOPL3 | X86_FL_NT, .get = get_flags,
	  .value = ONE | IF_ | IOPL3 | X86_FL_NT },
	{ "POPF, CPL 3: IF and IOPL stay", U64, { 0x9d }, GOES, .flags = IF_, .stack = IOPL3 | X86_FL_CF,
	  .get = get_flags, .value = ONE | IF_ | X86_FL_CF },
	{ "POPF, CPL 3, IOPL 3: IOPL stays", U64, { 0x9d }, GOES, .flags = IOPL3, .stack = IF_,
	  .get = get_flags, .value = ONE | IF_ | IOPL3 },
	{ "POPF: VM, VIF, VIP stay, RF is cleared", K32, { 0x9d }, GOES,
	  .stack = X86_FL_VM | VIF | VIP | X86_FL_RF, .get = get_flags, .value = ONE },
	{ "POPF, virtual-8086", V86, { 0x9d }, X86_GP },
	{ "POPF, virtual-8086, IOPL 3", V86, { 0x9d }, GOES, .flags = IOPL3, .stack = IF_,
	  .get = get_flags, .value = ONE | IF_ | IOPL3 | X86_FL_VM },
	{ "POPF, virtual-8086, VME", V86, { 0x9d }, GOES, .cr4 = X86_CR4_VME, .stack = IF_,
	  .get = get_flags, .value = ONE | VIF | X86_FL_VM },
	{ "POPF, virtual-8086, VME, VIP", V86, { 0x9d }, X86_GP, .cr4 = X86_CR4_VME, .stack = IF_,
	  .flags = VIP },
	{ "POPF, virtual-8086, VME, TF", V86, { 0x9d }, X86_GP, .cr4 = X86_CR4_VME, .stack = X86_FL_TF },
	{ "POPFD, virtual-8086, VME", V86, { 0x66, 0x9d }, X86_GP, .cr4 = X86_CR4_VME },
	{ "PUSHF, virtual-8086", V86, { 0x9c }, X86_GP },
	{ "PUSHF, virtual-8086, IOPL 3", V86, { 0x9c }, GOES, .flags = IOPL3 },
	{ "PUSHFD, virtual-8086, VME", V86, { 0x66, 0x9c }, X86_GP, .cr4 = X86_CR4_VME },
	{ "INT, virtual-8086", V86, { 0xcd, 0x21 }, X86_GP },
	{ "IRET, virtual-8086", V86, { 0xcf }, X86_GP },
};
TABLE(interrupt_flag)

/* ---- SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS --------------------------------------------------------- */

static void fast_calls(struct env *e)
{
	struct x86_cpu *cpu = e->cpu;

	cpu->star = (uint64_t)SEL_CODE64 << 32 | (uint64_t)(SEL_UDATA - 8) << 48 | 0x7000;
	cpu->lstar = 0x5000;
	cpu->cstar = 0x6000;
	cpu->sysenter_cs = SEL_CODE64;
	cpu->sysenter_eip = 0x8000;
	cpu->sysenter_esp = 0x9000;
	cpu->kernel_gs_base = 0x1234;
}

static void fast_calls_amd(struct env *e)
{
	fast_calls(e);
	e->cpu->vendor_amd = true;
}

static void fast_calls_amd_cs0(struct env *e)
{
	fast_calls_amd(e);
	e->cpu->sysenter_cs = 0;
}

#define SYSCALL { 0x0f, 0x05 }
#define SYSRET { 0x0f, 0x07 }
#define SYSRETQ { 0x48, 0x0f, 0x07 }
#define SYSENTER { 0x0f, 0x34 }
#define SYSEXIT { 0x0f, 0x35 }
#define SYSEXITQ { 0x48, 0x0f, 0x35 }
#define SWAPGS { 0x0f, 0x01, 0xf8 }

static void no_sce(struct env *e)
{
	fast_calls(e);
	e->cpu->efer &= ~(uint64_t)X86_EFER_SCE;
}

static const struct row fast_call_rows[] = {
	{ "SYSCALL", U64, SYSCALL, GOES, .prepare = fast_calls, .get = get_rip, .value = 0x5000 },
	{ "SYSCALL: RCX", U64, SYSCALL, GOES, .prepare = fast_calls, .get = get_rcx, .value = ENV_CODE + 2 },
	{ "SYSCALL: CPL", U64, SYSCALL, GOES, .prepare = fast_calls, .get = get_cpl, .value = 0 },
	{ "SYSCALL, SCE = 0", U64, SYSCALL, X86_UD, .prepare = no_sce },
	{ "SYSCALL, compatibility mode", UC, SYSCALL, X86_UD, .prepare = fast_calls },
	{ "SYSCALL, protected mode", U32, SYSCALL, X86_UD, .efer = X86_EFER_SCE, .prepare = fast_calls },
	{ "SYSCALL, real mode", REAL, SYSCALL, X86_UD, .efer = X86_EFER_SCE },
	{ "SYSCALL, virtual-8086", V86, SYSCALL, X86_UD, .efer = X86_EFER_SCE },
	{ "APM: SYSCALL, compatibility mode", UC, SYSCALL, GOES, .prepare = fast_calls_amd, .get = get_rip,
	  .value = 0x6000 },
	{ "APM: SYSCALL, protected mode", U32, SYSCALL, GOES, .efer = X86_EFER_SCE,
	  .prepare = fast_calls_amd, .get = get_rip, .value = 0x7000 },
	{ "SYSRET, CPL 3", U64, SYSRET, X86_GP, .prepare = fast_calls },
	{ "SYSRET, SCE = 0", K64, SYSRET, X86_UD, .prepare = no_sce },
	{ "SYSRET, SCE = 0, CPL 3", U64, SYSRET, X86_UD, .prepare = no_sce },
	{ "SYSRET, compatibility mode", KC, SYSRET, X86_UD, .prepare = fast_calls },
	{ "SYSRET, real mode", REAL, SYSRET, X86_UD, .efer = X86_EFER_SCE },
	{ "SYSRET, RCX not canonical", K64, SYSRETQ, X86_GP, .rcx = NONCANONICAL, .prepare = fast_calls },
	{ "APM: SYSRET, RCX not canonical", K64, SYSRETQ, GOES, .rcx = NONCANONICAL,
	  .prepare = fast_calls_amd, .get = get_cpl, .value = 3 },
	{ "SYSRET to 64-bit code", K64, SYSRETQ, GOES, .rcx = 0x12345678, .prepare = fast_calls,
	  .get = get_rip, .value = 0x12345678 },
	{ "SYSRET to 32-bit code: 32 bits of RCX", K64, SYSRET, GOES, .rcx = NONCANONICAL | 0x5678,
	  .prepare = fast_calls, .get = get_rip, .value = 0x5678 },
	{ "SYSENTER, real mode", REAL, SYSENTER, X86_GP, .prepare = fast_calls },
	{ "SYSENTER, SYSENTER_CS null", U64, SYSENTER, X86_GP },
	{ "SYSENTER", U64, SYSENTER, GOES, .prepare = fast_calls, .get = get_rip, .value = 0x8000 },
	{ "SYSENTER: RSP", U64, SYSENTER, GOES, .prepare = fast_calls, .get = get_rsp, .value = 0x9000 },
	{ "SYSENTER, compatibility mode", UC, SYSENTER, GOES, .prepare = fast_calls, .get = get_cpl },
	{ "SYSENTER, virtual-8086", V86, SYSENTER, GOES, .flags = IF_, .prepare = fast_calls,
	  .get = get_flags, .value = ONE },
	{ "APM: SYSENTER, long mode", U64, SYSENTER, X86_UD, .prepare = fast_calls_amd },
	{ "APM: SYSENTER, long mode, CS = 0", UC, SYSENTER, X86_UD, .prepare = fast_calls_amd_cs0 },
	{ "SYSEXIT, real mode", REAL, SYSEXIT, X86_GP, .prepare = fast_calls },
	{ "SYSEXIT, CPL 3", U32, SYSEXIT, X86_GP, .prepare = fast_calls },
	{ "SYSEXIT, virtual-8086", V86, SYSEXIT, X86_GP, .prepare = fast_calls },
	{ "SYSEXIT, SYSENTER_CS null", K32, SYSEXIT, X86_GP },
	{ "SYSEXIT", K32, SYSEXIT, GOES, .rdx = 0x4444, .prepare = fast_calls, .get = get_rip,
	  .value = 0x4444 },
	{ "SYSEXIT: CPL", K64, SYSEXITQ, GOES, .prepare = fast_calls, .get = get_cpl, .value = 3 },
	{ "SYSEXIT, RCX not canonical", K64, SYSEXITQ, X86_GP, .rcx = NONCANONICAL, .prepare = fast_calls },
	{ "SYSEXIT, RDX not canonical", K64, SYSEXITQ, X86_GP, .rdx = NONCANONICAL, .prepare = fast_calls },
	{ "APM: SYSEXIT, long mode", K64, SYSEXIT, X86_UD, .prepare = fast_calls_amd },
	{ "SWAPGS", K64, SWAPGS, GOES, .prepare = fast_calls, .get = get_gs_base, .value = 0x1234 },
	{ "SWAPGS, CPL 3", U64, SWAPGS, X86_GP },
	{ "SWAPGS, compatibility mode", KC, SWAPGS, X86_UD },
	{ "SWAPGS, compatibility mode, CPL 3", UC, SWAPGS, X86_UD },
	{ "SWAPGS, protected mode", K32, SWAPGS, X86_UD },
	{ "SWAPGS, real mode", REAL, SWAPGS, X86_UD },
	{ "SWAPGS, virtual-8086", V86, SWAPGS, X86_UD },
};
TABLE(fast_call)

/* ---- XSETBV, counters, MONITOR, AC, bases, keys ------------------------------------------------------------ */

#define XSETBV { 0x0f, 0x01, 0xd1 }
#define XGETBV { 0x0f, 0x01, 0xd0 }
#define XS X86_CR4_OSXSAVE
#define MONITOR { 0x0f, 0x01, 0xc8 }
#define MWAIT { 0x0f, 0x01, 0xc9 }
#define STAC { 0x0f, 0x01, 0xcb }
#define CLAC { 0x0f, 0x01, 0xca }

static void no_tsc_map(struct env *e)
{
	e->cpu->tsc_aux = 0x77;
}

static const struct row other_rows[] = {
	{ "XSETBV, OSXSAVE = 0", K64, XSETBV, X86_UD, .rax = 7 },
	{ "XSETBV, OSXSAVE = 0, CPL 3", U64, XSETBV, X86_UD, .rax = 7 },
	{ "XSETBV, CPL 3", U64, XSETBV, X86_GP, .rax = 7, .cr4 = XS },
	{ "XSETBV, virtual-8086", V86, XSETBV, X86_GP, .rax = 7, .cr4 = XS },
	{ "XSETBV, real mode", REAL, XSETBV, GOES, .rax = 3, .cr4 = XS, .get = get_xcr0, .value = 3 },
	{ "XSETBV, ECX = 1", K64, XSETBV, X86_GP, .rax = 7, .rcx = 1, .cr4 = XS },
	{ "XSETBV, bit 0 clear", K64, XSETBV, X86_GP, .rax = 6, .cr4 = XS },
	{ "XSETBV, AVX without SSE", K64, XSETBV, X86_GP, .rax = 5, .cr4 = XS },
	{ "XSETBV, component not offered", K64, XSETBV, X86_GP, .rax = 0xf, .cr4 = XS },
	{ "XSETBV, upper half", K64, XSETBV, X86_GP, .rax = 7, .rdx = 1, .cr4 = XS },
	{ "XSETBV", K64, XSETBV, GOES, .rax = 7, .cr4 = XS, .get = get_xcr0, .value = 7 },
	{ "XSETBV, 66H", K64, { 0x66, 0x0f, 0x01, 0xd1 }, X86_UD, .rax = 7, .cr4 = XS },
	{ "XSETBV, CPL before the exit", U64, XSETBV, X86_GP, .cr4 = XS, .icpt = X86_ICPT_XSETBV },
	{ "XSETBV, #UD before the exit", K64, XSETBV, X86_UD, .icpt = X86_ICPT_XSETBV },
	{ "XSETBV exits before the value's #GP", K64, XSETBV, EXITS, .cr4 = XS, .icpt = X86_ICPT_XSETBV },
	{ "XGETBV, OSXSAVE = 0", U64, XGETBV, X86_UD },
	{ "XGETBV, CPL 3", U64, XGETBV, GOES, .cr4 = XS, .get = get_rax, .value = 1 },
	{ "XGETBV, ECX = 2", U64, XGETBV, X86_GP, .rcx = 2, .cr4 = XS },
	{ "RDTSC, CPL 3", U64, { 0x0f, 0x31 }, GOES },
	{ "RDTSC, CPL 3, TSD", U64, { 0x0f, 0x31 }, X86_GP, .cr4 = X86_CR4_TSD },
	{ "RDTSC, CPL 0, TSD", K64, { 0x0f, 0x31 }, GOES, .cr4 = X86_CR4_TSD },
	{ "RDTSC, real mode, TSD", REAL, { 0x0f, 0x31 }, GOES, .cr4 = X86_CR4_TSD },
	{ "RDTSC, virtual-8086, TSD", V86, { 0x0f, 0x31 }, X86_GP, .cr4 = X86_CR4_TSD },
	{ "RDTSC, TSD before the exit", U64, { 0x0f, 0x31 }, X86_GP, .cr4 = X86_CR4_TSD,
	  .icpt = X86_ICPT_RDTSC },
	{ "RDTSCP", U64, { 0x0f, 0x01, 0xf9 }, GOES, .prepare = no_tsc_map, .get = get_rcx, .value = 0x77 },
	{ "RDTSCP, CPL 3, TSD", U64, { 0x0f, 0x01, 0xf9 }, X86_GP, .cr4 = X86_CR4_TSD },
	{ "RDPMC, CPL 3", U64, { 0x0f, 0x33 }, X86_GP },
	{ "RDPMC, no such counter", U64, { 0x0f, 0x33 }, X86_GP, .cr4 = X86_CR4_PCE },
	{ "RDPMC, PCE = 0 before the exit", U64, { 0x0f, 0x33 }, X86_GP, .icpt = X86_ICPT_RDPMC },
	{ "RDPMC exits before the counter's #GP", U64, { 0x0f, 0x33 }, EXITS, .cr4 = X86_CR4_PCE,
	  .icpt = X86_ICPT_RDPMC },
	{ "MONITOR, CPL 3", U64, MONITOR, X86_UD },
	{ "MONITOR, virtual-8086", V86, MONITOR, X86_UD },
	{ "MONITOR", K64, MONITOR, GOES, .rax = ENV_DATA },
	{ "MONITOR, ECX not 0", K64, MONITOR, X86_GP, .rax = ENV_DATA, .rcx = 1 },
	{ "MONITOR, not canonical", K64, MONITOR, X86_GP, .rax = NONCANONICAL },
	{ "MONITOR, not mapped", K64, MONITOR, X86_PF, 0, .rax = 1ull << 46 },
	{ "MONITOR, CPL before the exit", U64, MONITOR, X86_UD, .icpt = X86_ICPT_MONITOR },
	{ "MWAIT, CPL 3", U64, MWAIT, X86_UD },
	{ "MWAIT, virtual-8086", V86, MWAIT, X86_UD },
	{ "MWAIT, reserved bit of ECX", K64, MWAIT, X86_GP, .rcx = 2 },
	{ "MWAIT, CPL before the exit", U64, MWAIT, X86_UD, .icpt = X86_ICPT_MWAIT },
	{ "STAC", K64, STAC, GOES, .get = get_flags, .value = ONE | X86_FL_AC },
	{ "STAC, real mode", REAL, STAC, GOES, .get = get_flags, .value = ONE | X86_FL_AC },
	{ "STAC, CPL 3", U64, STAC, X86_UD },
	{ "STAC, virtual-8086", V86, STAC, X86_UD },
	{ "CLAC", K32, CLAC, GOES, .flags = X86_FL_AC, .get = get_flags, .value = ONE },
	{ "CLAC, CPL 3", U32, CLAC, X86_UD },
	{ "LOCK CLAC", K64, { 0xf0, 0x0f, 0x01, 0xca }, X86_UD },
	{ "RDFSBASE, FSGSBASE = 0", K64, { 0xf3, 0x48, 0x0f, 0xae, 0xc0 }, X86_UD },
	{ "RDFSBASE, compatibility mode", UC, { 0xf3, 0x0f, 0xae, 0xc0 }, X86_UD, .cr4 = X86_CR4_FSGSBASE },
	{ "WRFSBASE, CPL 3", U64, { 0xf3, 0x48, 0x0f, 0xae, 0xd0 }, GOES, .rax = 0x5000,
	  .cr4 = X86_CR4_FSGSBASE, .get = get_fs_base, .value = 0x5000 },
	{ "WRGSBASE, not canonical", U64, { 0xf3, 0x48, 0x0f, 0xae, 0xd8 }, X86_GP, .rax = NONCANONICAL,
	  .cr4 = X86_CR4_FSGSBASE },
	{ "WRGSBASE, 32 bits", U64, { 0xf3, 0x0f, 0xae, 0xd8 }, GOES, .rax = ~0ull,
	  .cr4 = X86_CR4_FSGSBASE, .get = get_gs_base, .value = 0xffffffff },
	{ "RDPKRU, PKE = 0", U64, { 0x0f, 0x01, 0xee }, X86_UD },
	{ "RDPKRU, ECX not 0", U64, { 0x0f, 0x01, 0xee }, X86_GP, .rcx = 1, .cr4 = X86_CR4_PKE },
	{ "WRPKRU, EDX not 0", U64, { 0x0f, 0x01, 0xef }, X86_GP, .rdx = 1, .cr4 = X86_CR4_PKE },
	{ "WRPKRU", U64, { 0x0f, 0x01, 0xef }, GOES, .rax = 0xc, .cr4 = X86_CR4_PKE, .get = get_pkru,
	  .value = 0xc },
	{ "VMCALL outside VMX operation", K64, { 0x0f, 0x01, 0xc1 }, X86_UD },
	{ "VMXON, CR4.VMXE = 0", K64, { 0xf3, 0x0f, 0xc7, 0x33 }, X86_UD },
	{ "GETSEC, CR4.SMXE = 0", K64, { 0x0f, 0x37 }, X86_UD },
};
TABLE(other)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mov_cr), cmocka_unit_test(msw), cmocka_unit_test(mov_dr),
		cmocka_unit_test(load_table), cmocka_unit_test(store_table), cmocka_unit_test(invalidate),
		cmocka_unit_test(msr), cmocka_unit_test(io), cmocka_unit_test(interrupt_flag),
		cmocka_unit_test(fast_call), cmocka_unit_test(other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
