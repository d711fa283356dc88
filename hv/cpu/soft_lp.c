/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The software processor's table of operations: life cycle of a logical
 * processor, kicks, and the registers that neither VMCS nor VMCB switches.
 */
#include <errno.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "hv/cpu/soft_internal.h"

static int lp_init(unsigned int nr_cpus)
{
	int ret = soft_cpuid_init();

	return ret ? ret : soft_pcpu_init(nr_cpus);
}

static int lp_create(const void *vm_key, struct hv_lp **out)
{
	struct hv_lp *lp = aligned_alloc(64, (sizeof(*lp) + 63) & ~(size_t)63);

	if (!lp)
		return -ENOMEM;
	memset(lp, 0, sizeof(*lp));
	lp->vm_key = vm_key;
	lp->pcpu = -1;
	lp->vmx.dirty = VMX_DIRTY_ALL;
	lp->gpa = calloc(SOFT_GPA_SIZE, sizeof(*lp->gpa));
	if (!lp->gpa) {
		free(lp);
		return -ENOMEM;
	}
	soft_gpa_flush(lp, 0);
	lp->cpu = x86_create(&soft_vmx_x86_ops, lp, NULL);
	if (!lp->cpu) {
		int err = errno;

		free(lp->gpa);
		free(lp);
		return err ? -err : -ENOMEM;
	}
	x86_reset(lp->cpu, X86_RESET_POWER_UP);
	*out = lp;
	return 0;
}

static void lp_destroy(struct hv_lp *lp)
{
	if (!lp)
		return;
	x86_destroy(lp->cpu);
	free(lp->gpa);
	free(lp);
}

static void lp_attach(struct hv_lp *lp, unsigned int cpu)
{
	lp->pcpu = (int)cpu;
}

static void lp_detach(struct hv_lp *lp)
{
	lp->pcpu = -1;
}

static void futex_wake(uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void futex_wait(uint32_t *word, uint32_t value, const struct timespec *timeout)
{
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, timeout, NULL, 0);
}

/*
 * Any thread. The work bit is written first, then the pending bit that makes the
 * guest look, then the sequence that a halted processor sleeps on.
 */
static void lp_signal(struct hv_lp *lp, uint32_t work)
{
	__atomic_fetch_or(&lp->work, work, __ATOMIC_RELEASE);
	x86_pend(lp->cpu, X86_PEND_WORK);
	__atomic_fetch_add(&lp->wake_seq, 1, __ATOMIC_SEQ_CST);
	/* Pairs with the store of `sleeping` in soft_lp_wait(). */
	if (__atomic_load_n(&lp->sleeping, __ATOMIC_SEQ_CST))
		futex_wake(&lp->wake_seq);
}

static void lp_kick(struct hv_lp *lp)
{
	lp_signal(lp, SOFT_WORK_KICK);
}

static void lp_posted_notify(struct hv_lp *lp)
{
	lp_signal(lp, SOFT_WORK_POSTED);
}

static void timeout_until(uint64_t tsc_deadline, struct timespec *out)
{
	uint64_t now = soft_rdtsc(), left = tsc_deadline > now ? tsc_deadline - now : 0;
	uint64_t khz = soft_tsc_khz();

	/* Whole seconds apart, so that the product cannot overflow. */
	out->tv_sec = (time_t)(left / (khz * 1000));
	out->tv_nsec = (long)(left % (khz * 1000) * 1000000 / khz);
	if (out->tv_nsec > 999999999)
		out->tv_nsec = 999999999;
}

void soft_lp_wait(struct hv_lp *lp, uint64_t tsc_deadline)
{
	struct timespec timeout;
	uint32_t seq;

	__atomic_store_n(&lp->sleeping, 1, __ATOMIC_SEQ_CST);
	seq = __atomic_load_n(&lp->wake_seq, __ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&lp->work, __ATOMIC_SEQ_CST)) {
		if (tsc_deadline)
			timeout_until(tsc_deadline, &timeout);
		futex_wait(&lp->wake_seq, seq, tsc_deadline ? &timeout : NULL);
	}
	__atomic_store_n(&lp->sleeping, 0, __ATOMIC_SEQ_CST);
}

static uint64_t lp_get_reg(struct hv_lp *lp, enum hv_lp_reg reg)
{
	const struct x86_cpu *cpu = lp->cpu;

	switch (reg) {
	case HV_LP_CR2:
		return cpu->cr2;
	case HV_LP_CR8:
		return cpu->cr8;
	case HV_LP_XCR0:
		return cpu->xcr0;
	case HV_LP_DR0:
	case HV_LP_DR1:
	case HV_LP_DR2:
	case HV_LP_DR3:
		return cpu->dr[reg - HV_LP_DR0];
	case HV_LP_DR6:
		return cpu->dr6;
	case HV_LP_PKRU:
		return cpu->pkru;
	}
	return 0;
}

static void lp_set_reg(struct hv_lp *lp, enum hv_lp_reg reg, uint64_t value)
{
	struct x86_cpu *cpu = lp->cpu;

	switch (reg) {
	case HV_LP_CR2:
		cpu->cr2 = value;
		return; /* nothing is derived from it */
	case HV_LP_CR8:
		cpu->cr8 = value & 0xf;
		return;
	case HV_LP_XCR0:
		cpu->xcr0 = value;
		break;
	case HV_LP_DR0:
	case HV_LP_DR1:
	case HV_LP_DR2:
	case HV_LP_DR3:
		cpu->dr[reg - HV_LP_DR0] = value;
		break;
	case HV_LP_DR6:
		cpu->dr6 = value;
		return;
	case HV_LP_PKRU:
		if (cpu->pkru == (uint32_t)value)
			return;
		cpu->pkru = (uint32_t)value;
		x86_tlb_flush_all(cpu);
		break;
	}
	x86_state_changed(cpu);
}

/*
 * MSRs whose guest value a VMCS or VMCB holds are not reachable here: after an exit the
 * register file still has the guest's, and the hypervisor's own do not exist.
 */
static uint64_t *lp_msr(struct hv_lp *lp, uint32_t index)
{
	struct x86_cpu *cpu = lp->cpu;

	switch (index) {
	case X86_MSR_STAR:
		return &cpu->star;
	case X86_MSR_LSTAR:
		return &cpu->lstar;
	case X86_MSR_CSTAR:
		return &cpu->cstar;
	case X86_MSR_FMASK:
		return &cpu->fmask;
	case X86_MSR_KERNEL_GS_BASE:
		return &cpu->kernel_gs_base;
	case X86_MSR_TSC_AUX:
		return &cpu->tsc_aux;
	case X86_MSR_XSS:
		return &cpu->xss;
	case X86_MSR_PKRS:
		return &cpu->pkrs;
	default:
		return NULL;
	}
}

static bool msr_is_address(uint32_t index)
{
	return index == X86_MSR_LSTAR || index == X86_MSR_CSTAR || index == X86_MSR_KERNEL_GS_BASE;
}

static bool canonical57(uint64_t address)
{
	return (uint64_t)((int64_t)(address << 7) >> 7) == address;
}

static int lp_rdmsr(struct hv_lp *lp, uint32_t msr, uint64_t *value)
{
	const uint64_t *cell = lp_msr(lp, msr);

	if (!cell)
		return -EINVAL;
	*value = *cell;
	return 0;
}

static int lp_wrmsr(struct hv_lp *lp, uint32_t msr, uint64_t value)
{
	uint64_t *cell = lp_msr(lp, msr);

	if (!cell || (msr_is_address(msr) && !canonical57(value)))
		return -EINVAL;
	if ((msr == X86_MSR_FMASK || msr == X86_MSR_TSC_AUX || msr == X86_MSR_PKRS) && value >> 32)
		return -EINVAL;
	if (msr == X86_MSR_XSS && value)
		return -EINVAL; /* no supervisor state component exists */
	if (msr == X86_MSR_PKRS && *cell != value)
		x86_tlb_flush_all(lp->cpu);
	*cell = value;
	return 0;
}

/*
 * The standard format. hv/x86 keeps the data of the area but not its header, so
 * what is saved is always the whole: XSTATE_BV says every component. PKRU lies
 * where CPUID leaf 0xd says.
 */
#define XSAVE_FCW	0
#define XSAVE_MXCSR	24
#define XSAVE_MXCSR_MASK 28
#define XSAVE_ST	32
#define XSAVE_XMM	160
#define XSAVE_FX_END	416
#define XSAVE_BV	512
#define XSAVE_AVX	576
#define XSAVE_PKRU	832
#define XFEATURE_X87	(1ULL << 0)
#define XFEATURE_SSE	(1ULL << 1)
#define XFEATURE_AVX	(1ULL << 2)
#define XFEATURE_PKRU	(1ULL << 9)
#define FCW_INIT	0x37f
#define MXCSR_INIT	0x1f80

static uint64_t xstate_components(size_t size)
{
	uint32_t leaf[4];

	soft_cpuid(0xd, 0, leaf);
	return size >= XSAVE_PKRU + 8 ? leaf[0] : leaf[0] & ~XFEATURE_PKRU;
}

static void lp_save_xstate(struct hv_lp *lp, void *area, size_t size)
{
	uint8_t *out = area;
	uint64_t bv = xstate_components(size);

	memset(out, 0, size);
	if (size < X86_XSAVE_SIZE)
		return;
	memcpy(out, lp->cpu->xsave, XSAVE_FX_END);
	memcpy(out + XSAVE_AVX, lp->cpu->xsave + XSAVE_AVX, X86_XSAVE_SIZE - XSAVE_AVX);
	memcpy(out + XSAVE_MXCSR_MASK, &lp->cpu->mxcsr_mask, 4);
	if (bv & XFEATURE_PKRU)
		memcpy(out + XSAVE_PKRU, &lp->cpu->pkru, 4);
	memcpy(out + XSAVE_BV, &bv, sizeof(bv));
}

/* Components that the area does not hold take their initial state. */
static void load_components(struct x86_cpu *cpu, const uint8_t *in, uint64_t bv)
{
	static const uint16_t fcw = FCW_INIT;
	uint32_t mxcsr = MXCSR_INIT;

	memset(cpu->xsave, 0, X86_XSAVE_SIZE);
	memcpy(cpu->xsave + XSAVE_FCW, &fcw, sizeof(fcw));
	if (bv & XFEATURE_X87) {
		memcpy(cpu->xsave, in, XSAVE_MXCSR);
		memcpy(cpu->xsave + XSAVE_ST, in + XSAVE_ST, XSAVE_XMM - XSAVE_ST);
	}
	if (bv & (XFEATURE_SSE | XFEATURE_AVX))
		memcpy(&mxcsr, in + XSAVE_MXCSR, 4);
	memcpy(cpu->xsave + XSAVE_MXCSR, &mxcsr, 4);
	if (bv & XFEATURE_SSE)
		memcpy(cpu->xsave + XSAVE_XMM, in + XSAVE_XMM, XSAVE_FX_END - XSAVE_XMM);
	if (bv & XFEATURE_AVX)
		memcpy(cpu->xsave + XSAVE_AVX, in + XSAVE_AVX, X86_XSAVE_SIZE - XSAVE_AVX);
}

static int lp_load_xstate(struct hv_lp *lp, const void *area, size_t size)
{
	const uint8_t *in = area;
	uint64_t header[8], bv;
	uint32_t mxcsr, mask = lp->cpu->mxcsr_mask ? lp->cpu->mxcsr_mask : 0xffff, pkru = 0;

	if (size < X86_XSAVE_SIZE)
		return -EINVAL;
	memcpy(header, in + XSAVE_BV, sizeof(header));
	memcpy(&mxcsr, in + XSAVE_MXCSR, sizeof(mxcsr));
	bv = header[0];
	/* The standard format only; the rest of the header is reserved. */
	if (bv & ~xstate_components(size))
		return -EINVAL;
	for (unsigned int i = 1; i < 8; i++)
		if (header[i])
			return -EINVAL;
	if ((bv & (XFEATURE_SSE | XFEATURE_AVX)) && (mxcsr & ~mask))
		return -EINVAL;
	load_components(lp->cpu, in, bv);
	if (bv & XFEATURE_PKRU)
		memcpy(&pkru, in + XSAVE_PKRU, sizeof(pkru));
	if (size >= XSAVE_PKRU + 8)
		lp_set_reg(lp, HV_LP_PKRU, pkru);
	return 0;
}

static struct hv_lp_counters lp_counters(const struct hv_lp *lp)
{
	return (struct hv_lp_counters){
		.insns = __atomic_load_n(&lp->cpu->insns, __ATOMIC_RELAXED),
		.tlb_misses = x86_tlb_misses(lp->cpu),
		.virtual_interrupts = __atomic_load_n(&lp->vmx.virtual_interrupts, __ATOMIC_RELAXED),
	};
}

const struct hv_processor_ops hv_processor_soft = {
	.name = "soft",
	.init = lp_init,
	.exit = soft_pcpu_exit,
	.lp_create = lp_create,
	.lp_destroy = lp_destroy,
	.lp_attach = lp_attach,
	.lp_detach = lp_detach,
	.lp_kick = lp_kick,
	.posted_notify = lp_posted_notify,
	.get_reg = lp_get_reg,
	.set_reg = lp_set_reg,
	.rdmsr = lp_rdmsr,
	.wrmsr = lp_wrmsr,
	.save_xstate = lp_save_xstate,
	.load_xstate = lp_load_xstate,
	.cpuid = soft_cpuid,
	.rdtsc = soft_rdtsc,
	.tsc_khz = soft_tsc_khz,
	.lp_counters = lp_counters,
	.vmx = &soft_vmx_ops,
	.svm = &soft_svm_ops,
};
