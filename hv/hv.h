/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libhv: a hypervisor engine. This is its one public header.
 *
 * Three layers, each usable without the next:
 *   hv_vm_*, hv_vcpu_*   shape, units and semantics of KVM's ioctls: memory
 *                        regions, run page with exit data, dirty log get/clear,
 *                        capabilities. The caller emulates the devices.
 *   hv_dirtylog_*, hv_mmu_*, hv_memory_*, hv_host_*   what the engine shows of itself.
 *   hv_machine_*         a whole PC: VM, vCPU threads, chips, devices, boot.
 *
 * Every call returns 0 (or a count) or -errno, writes its outputs only on
 * success, never exits the process and never prints (see hv_set_log). Unless
 * said otherwise a call may come from any thread that has called
 * hv_thread_enter(), may sleep, and takes its own locks.
 *
 *   hv_init(&(struct hv_init){ .version = HV_API_VERSION });
 *   hv_machine_create(&config, &m);  hv_machine_start(m);  ...  hv_machine_destroy(m);
 *   hv_exit();
 */
#ifndef HV_HV_H
#define HV_HV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HV_API_VERSION 1

struct hv_vm;
struct hv_vcpu;
struct hv_machine;

/* ---- the engine ------------------------------------------------------------------ */
enum hv_log_level { HV_LOG_ERR = 3, HV_LOG_WARNING = 4, HV_LOG_INFO = 6, HV_LOG_DEBUG = 7 };
typedef void (*hv_log_fn)(void *ctx, int level, const char *message);

struct hv_init {
	unsigned int version; /* HV_API_VERSION */
	hv_log_fn log;	      /* NULL: silent */
	void *log_ctx;
	/*
	 * hv_host_tsc_khz() of another process on this host: spares 20 ms of measuring.
	 * 0: not known.
	 */
	uint32_t tsc_khz;
};

/* The rate of the host's time-stamp counter; before or after hv_init(), measured once. */
uint32_t hv_host_tsc_khz(void);
int hv_init(const struct hv_init *params); /* -EALREADY, -EINVAL */
void hv_exit(void);			   /* every VM must be gone */
/* A thread that calls the engine registers first (RCU) and leaves before it ends. */
int hv_thread_enter(void);
void hv_thread_leave(void);

enum hv_cap { /* hv_check_capability: 0 absent, else the value */
	HV_CAP_NR_VCPUS = 1,
	HV_CAP_NR_MEMSLOTS,
	HV_CAP_NR_ADDRESS_SPACES,
	HV_CAP_DIRTY_RING,	       /* most entries of a ring */
	HV_CAP_MANUAL_DIRTY_PROTECT,   /* HV_DIRTY_* flags */
	HV_CAP_PML,
	HV_CAP_VENDOR_VMX,
	HV_CAP_VENDOR_SVM,
	HV_CAP_SHADOW_PAGING,
	HV_CAP_READONLY_MEM,
};
int hv_check_capability(enum hv_cap cap);
/* Names, NULL-terminated arrays that live for ever. */
const char *const *hv_list_processors(void);
const char *const *hv_list_vendors(void);
const char *const *hv_list_cpu_models(void);

/* ---- host CPUs ---------------------------------------------------------------------- */
struct hv_host_cpu {
	unsigned int id;
	bool online;  /* for the engine */
	bool enabled; /* virtualization is enabled on it now */
};
int hv_host_cpus(struct hv_host_cpu *out, unsigned int max); /* count of CPUs */
int hv_host_cpu_online(unsigned int cpu);
int hv_host_cpu_offline(unsigned int cpu);
int hv_host_suspend(void);
int hv_host_resume(void);

/* ---- VM ------------------------------------------------------------------------------- */
struct hv_vm_config {
	const char *name;
	const char *processor; /* "soft" or NULL for the default */
	const char *vendor;    /* "vmx", "svm", "auto" or NULL */
	const char *paging;    /* "tdp", "shadow" or NULL */
	const char *cpu_model; /* "baseline-v1".."v3", "host" or NULL */
	bool irqchip;	       /* in-engine PIC, I/O APIC, local APICs, PIT */
	bool no_apicv;	       /* with irqchip: every interrupt and EOI through the engine */
};
int hv_vm_create(const struct hv_vm_config *config, struct hv_vm **out);
void hv_vm_release(struct hv_vm *vm);

enum hv_mem_backing { HV_MEM_MEMFD, HV_MEM_ANON, HV_MEM_HUGETLB, HV_MEM_FILE };
struct hv_ram_config {
	enum hv_mem_backing backing;
	uint64_t size;	  /* bytes, multiple of 4096 */
	int fd;		  /* HV_MEM_FILE, or an inherited memfd; -1 otherwise. Borrowed: dup'ed */
	uint64_t offset;  /* into fd */
	bool shared;	  /* HV_MEM_FILE: write through */
};
/* Host memory owned by the VM, freed with it; *hva is page aligned. */
int hv_vm_ram_create(struct hv_vm *vm, const struct hv_ram_config *config, void **hva);
/*
 * Free it earlier, all of what was created with the hva in it. -EBUSY: memory regions use it;
 * -ENOENT. No region is made of it meanwhile.
 */
int hv_vm_ram_destroy(struct hv_vm *vm, void *hva);
int hv_vm_ram_fd(struct hv_vm *vm, void *hva); /* the backing descriptor, borrowed; -ENOENT */

#define HV_MEMREGION_SLOTS  32764 /* ids of memory regions, of each address space */
#define HV_MEMREGION_SPACES 2	  /* address spaces: of the guest, and of its SMM */
#define HV_MEMREGION_LOG_DIRTY (1U << 0)
#define HV_MEMREGION_READONLY  (1U << 1)
struct hv_memory_region {
	uint32_t slot; /* slot id in bits 0-15, address space in bits 16-31 */
	uint32_t flags;
	uint64_t guest_phys_addr;
	uint64_t memory_size; /* 0 deletes */
	uint64_t userspace_addr;
	uint64_t generation_before, generation_after; /* out */
};
/* Create, delete, move, change flags. -EINVAL, -EEXIST (overlap), -ENOMEM; failure changes nothing. */
int hv_vm_set_memory_region(struct hv_vm *vm, struct hv_memory_region *region);
/* Fills up to max; returns the number of slots. *generation as of the snapshot. */
int hv_vm_list_memory_regions(struct hv_vm *vm, struct hv_memory_region *out, unsigned int max,
			      uint64_t *generation);

#define HV_DIRTY_MANUAL_PROTECT	   (1U << 0) /* get does not clear */
#define HV_DIRTY_INITIALLY_ALL_SET (1U << 1)
int hv_vm_enable_manual_dirty_protect(struct hv_vm *vm, uint32_t flags);
/* bitmap: (memory_size / 4096 + 63) / 64 words, bit n of word m is page 64 m + n of the slot. */
int hv_vm_get_dirty_log(struct hv_vm *vm, uint32_t slot, uint64_t *bitmap);
int hv_vm_clear_dirty_log(struct hv_vm *vm, uint32_t slot, uint64_t first_page, uint32_t num_pages,
			  const uint64_t *bitmap);
/* Dirty rings, before the first vCPU; entries: a power of two. */
int hv_vm_enable_dirty_ring(struct hv_vm *vm, uint32_t entries);
struct hv_dirty_gfn {
	uint32_t flags; /* 1 dirty, 2 harvested */
	uint32_t slot;
	uint64_t offset;
};
int hv_vcpu_dirty_ring(struct hv_vcpu *vcpu, struct hv_dirty_gfn **ring, uint32_t *entries);
int hv_vm_reset_dirty_rings(struct hv_vm *vm); /* number of entries reset */

struct hv_irq_level {
	uint32_t gsi;
	uint32_t level;
};
int hv_vm_irq_line(struct hv_vm *vm, const struct hv_irq_level *irq);
int hv_vm_signal_msi(struct hv_vm *vm, uint64_t address, uint32_t data);

/* ---- dirty log with cursors: any number of readers, none loses or steals a page --------- */
struct hv_dirty_range {
	uint64_t gpa;
	uint64_t pages;
};
/* Start logging for cursor readers (counted); every page counts as dirty for cursor 0. */
int hv_dirtylog_start(struct hv_vm *vm, uint64_t *cursor);
int hv_dirtylog_stop(struct hv_vm *vm);
/*
 * Pages written since `since`, in address order, at most max ranges from *resume_gpa
 * (0 at first; HV_DIRTYLOG_DONE afterwards). *cursor is what to pass as `since` next
 * time. -ESTALE: the cursor is too old to honour. -EINVAL: not logging, bad cursor.
 */
#define HV_DIRTYLOG_DONE (~0ULL)
int hv_dirtylog_read(struct hv_vm *vm, uint64_t since, uint64_t *cursor, uint64_t *resume_gpa,
		     struct hv_dirty_range *out, unsigned int max);
/* Forget pages of a range for one's own bookkeeping: re-arm protection now. */
int hv_dirtylog_clear(struct hv_vm *vm, uint64_t gpa, uint64_t pages);
/* Per-vCPU written pages over the time, as rates in MiB/s; sleeps for ms. */
int hv_dirtyrate(struct hv_vm *vm, unsigned int ms, double *total, double *per_vcpu,
		 unsigned int max_vcpus);

/* ---- guest memory --------------------------------------------------------------------------- */
int hv_memory_read(struct hv_vm *vm, uint64_t gpa, void *buf, uint64_t len);
int hv_memory_write(struct hv_vm *vm, uint64_t gpa, const void *buf, uint64_t len);
int hv_memory_discard(struct hv_vm *vm, uint64_t gpa, uint64_t len); /* reads as zero afterwards */
int hv_memory_pageout(struct hv_vm *vm, uint64_t gpa, uint64_t len);
struct hv_working_set {
	uint64_t pages_mapped;
	uint64_t pages_accessed; /* since the last call with clear */
	uint64_t idle[8];	 /* pages idle for 0, 1, 2-3, 4-7, ... calls */
};
int hv_memory_working_set(struct hv_vm *vm, bool clear, struct hv_working_set *out);

/* ---- MMU --------------------------------------------------------------------------------------- */
struct hv_mmu_root {
	uint64_t pfn, role;
	int level, refcount;
	bool invalid, queued, indirect;
	unsigned int as_id;
};
int hv_mmu_roots(struct hv_vm *vm, struct hv_mmu_root *out, unsigned int max);
struct hv_mmu_invalidate {
	uint64_t publish_ns, zap_ns, flush_ns;
	unsigned int roots;
};
int hv_mmu_invalidate_all(struct hv_vm *vm, struct hv_mmu_invalidate *out);
struct hv_mmu_figures {
	uint64_t pages_tables, pages_4k, pages_2m, pages_1g;
	uint64_t faults, fast_faults, spurious, retries, mmio_faults, mmio_stale, zaps, zap_pages,
		remote_flushes, splits, collapses, nx_splits, write_tracked, unsync;
};
int hv_mmu_stats(struct hv_vm *vm, struct hv_mmu_figures *out);
int hv_mmu_set_nx_huge_pages(struct hv_vm *vm, bool on);

/* ---- vCPU ------------------------------------------------------------------------------------------ */
enum hv_exit_reason {
	HV_EXIT_UNKNOWN,
	HV_EXIT_IO,
	HV_EXIT_MMIO,
	HV_EXIT_HLT,
	HV_EXIT_INTR,
	HV_EXIT_SHUTDOWN,	 /* triple fault */
	HV_EXIT_FAIL_ENTRY,
	HV_EXIT_INTERNAL_ERROR,
	HV_EXIT_DEBUG,
	HV_EXIT_DIRTY_RING_FULL,
	HV_EXIT_MEMORY_FAULT,
	HV_EXIT_IRQ_WINDOW_OPEN,
	HV_EXIT_HYPERCALL,
	HV_EXIT_SYSTEM_EVENT,
};

/* The run page: inputs above the line, exit data below. One per vCPU. */
struct hv_run {
	uint8_t request_interrupt_window; /* in */
	uint8_t immediate_exit;		  /* in: leave before the next entry with -EINTR */
	/* -- out -- */
	uint32_t exit_reason; /* enum hv_exit_reason */
	uint8_t if_flag;
	uint8_t ready_for_interrupt_injection;
	union {
		struct { uint64_t hardware_exit_reason; } hw;
		struct { uint64_t hardware_entry_failure_reason; uint32_t cpu; } fail_entry;
		struct {
			uint8_t is_write, size;
			uint16_t port;
			uint32_t count;
			uint8_t data[4096];
		} io;
		struct {
			uint64_t phys_addr;
			uint8_t data[64];
			uint32_t len;
			uint8_t is_write;
		} mmio;
		struct { uint32_t suberror; char detail[160]; } internal;
		struct { uint64_t flags, gpa, size; } memory_fault;
		struct { uint32_t exception; uint64_t pc, dr6, dr7; } debug;
		struct { uint64_t nr, args[6], ret; } hypercall;
	};
};

int hv_vcpu_create(struct hv_vm *vm, unsigned int id, struct hv_vcpu **out);
struct hv_run *hv_vcpu_run_page(struct hv_vcpu *vcpu);
int hv_vcpu_run(struct hv_vcpu *vcpu); /* 0: see the run page; -EINTR: kicked; -EIO: VM dead */
int hv_vcpu_kick(struct hv_vcpu *vcpu); /* any thread */

struct hv_regs {
	uint64_t rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp;
	uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
	uint64_t rip, rflags;
};
struct hv_seg {
	uint64_t base;
	uint32_t limit;
	uint16_t selector;
	uint8_t type, present, dpl, db, s, l, g, avl, unusable;
};
struct hv_dtab {
	uint64_t base;
	uint16_t limit;
};
struct hv_sregs {
	struct hv_seg cs, ds, es, fs, gs, ss, tr, ldt;
	struct hv_dtab gdt, idt;
	uint64_t cr0, cr2, cr3, cr4, cr8, efer, apic_base;
	uint64_t pdptrs[4];
};
int hv_vcpu_get_regs(struct hv_vcpu *vcpu, struct hv_regs *regs); /* -EBUSY while it runs guest code */
int hv_vcpu_set_regs(struct hv_vcpu *vcpu, const struct hv_regs *regs);
int hv_vcpu_get_sregs(struct hv_vcpu *vcpu, struct hv_sregs *sregs);
int hv_vcpu_set_sregs(struct hv_vcpu *vcpu, const struct hv_sregs *sregs);
int hv_vcpu_get_msr(struct hv_vcpu *vcpu, uint32_t index, uint64_t *value);
int hv_vcpu_set_msr(struct hv_vcpu *vcpu, uint32_t index, uint64_t value);
int hv_vcpu_interrupt(struct hv_vcpu *vcpu, uint8_t vector); /* without irqchip */
int hv_vcpu_nmi(struct hv_vcpu *vcpu);
struct hv_exit_counter {
	const char *name;
	uint64_t count;
};
int hv_vcpu_exits(struct hv_vcpu *vcpu, struct hv_exit_counter *out, unsigned int max);
struct hv_vcpu_figures {
	unsigned int id;
	int host_cpu;
	const char *state; /* "running", "halted", "paused", "wait-for-init", ... */
	/*
	 * irq_injections: those that the processor delivered by itself are in. instructions:
	 * the processor's and those that were emulated for it. run_ns: CPU time that its
	 * thread had for it; halt_ns: halted; steal_ns: it wanted a CPU and had none.
	 */
	uint64_t entries, halts, irq_injections, nmi_injections, mmio, pio, instructions, tlb_misses,
		run_ns, halt_ns, steal_ns;
	uint64_t mmio_cache_hits, mmio_cache_misses, mmio_cache_stale;
};
int hv_vcpu_stats(struct hv_vcpu *vcpu, struct hv_vcpu_figures *out);

/* ---- machine ----------------------------------------------------------------------------------------- */
enum hv_machine_event {
	HV_MACHINE_POWEROFF,	/* ACPI S5; detail "" */
	HV_MACHINE_RESET,	/* the guest asked for a reset (keyboard controller, 0xcf9, triple fault) */
	HV_MACHINE_PANIC,	/* pvpanic or the like; detail: what is known */
	HV_MACHINE_CRASHED,	/* an internal inconsistency or an unhandled exit; detail: reason */
	HV_MACHINE_DEBUG_EXIT,	/* port 0xf4; detail: decimal code */
};
struct hv_machine_callbacks {
	/* Bytes from the guest's first serial port. Any engine thread; must not block. */
	void (*console_output)(void *ctx, const void *data, size_t len);
	/*
	 * Once per occurrence. Any engine thread, so the callee hands it to its own loop
	 * and never calls hv_machine_* from here. All vCPUs are stopped after each event
	 * but PANIC (which may go on).
	 */
	void (*event)(void *ctx, enum hv_machine_event event, const char *detail);
};
enum hv_boot_kind { HV_BOOT_AUTO, HV_BOOT_LINUX, HV_BOOT_PVH, HV_BOOT_MULTIBOOT, HV_BOOT_FLAT };
/* Devices for test guests, never there unless asked for. */
#define HV_TEST_DEBUG_EXIT (1U << 0) /* port 0xf4: a write ends the run */
#define HV_TEST_PC_TESTDEV (1U << 1) /* pc-testdev: 0xe0-0xef, 0x2000-0x2017, 0xff000000 */

struct hv_machine_config {
	const char *name;
	const uint8_t *uuid; /* 16 bytes in the order of its text, for SMBIOS; NULL: none */
	unsigned int vcpus; /* 1..HV_CAP_NR_VCPUS */
	uint64_t memory;    /* bytes, multiple of 1 MiB */
	const char *processor, *vendor, *paging, *cpu_model; /* as hv_vm_config */
	bool no_apicv;					     /* as hv_vm_config */
	enum hv_mem_backing memory_backing;
	int memory_fd; /* -1, or the RAM to adopt (migration, restore) */
	bool memory_private; /* memory_fd is mapped copy-on-write and never written */
	/*
	 * The guest comes from elsewhere (hv_machine_load_state, hv_migrate_accept,
	 * hv_snapshot_load): memory stays empty, or as memory_fd has it, and nothing is
	 * booted before a reset.
	 */
	bool incoming;
	struct {
		enum hv_boot_kind kind;
		int kernel_fd, initrd_fd; /* -1: none. Borrowed for the call */
		const char *cmdline;
	} boot;
	unsigned int test_devices; /* HV_TEST_* */
	const struct hv_machine_callbacks *callbacks;
	void *ctx;
	/* Where a message that names the offending field goes on -EINVAL. */
	char error[256];
};
/* Allocates everything; no vCPU runs yet. -EINVAL with config->error, -ENOMEM, -ENOEXEC (kernel). */
int hv_machine_create(struct hv_machine_config *config, struct hv_machine **out);
/*
 * vCPU threads start or go on. -EIO: it has crashed or its guest has ended; reset it
 * first. -EBUSY: it is being handed over, which decides who runs it. In a snapshot's
 * pause it waits for that to end.
 */
int hv_machine_start(struct hv_machine *m);
/* Returns when no vCPU is in the run loop and console_output has had all that was written. */
int hv_machine_pause(struct hv_machine *m);
/*
 * Back to how it was created, kernel loaded again, from any state. A machine
 * that was paused (or never started) stays paused; any other runs at once.
 */
int hv_machine_reset(struct hv_machine *m);
int hv_machine_power_button(struct hv_machine *m);
int hv_machine_nmi(struct hv_machine *m);     /* to all vCPUs */
/* Bytes to the guest's serial port; returns how many its buffer took (0: full, try later). */
int hv_machine_console_input(struct hv_machine *m, const void *data, size_t len);
struct hv_vm *hv_machine_vm(struct hv_machine *m); /* borrowed */
struct hv_vcpu *hv_machine_vcpu(struct hv_machine *m, unsigned int i); /* NULL past the last */
/* Seconds are the guest's own: CLOCK_MONOTONIC ns at the first guest instruction, 0 if none yet. */
uint64_t hv_machine_first_instruction_ns(struct hv_machine *m);
void hv_machine_destroy(struct hv_machine *m); /* NULL is fine; stops what runs */

/* ---- a machine's state ------------------------------------------------------------------------------------ */
#define HV_ERROR_SIZE 256 /* of the texts for people that the calls below fill in */
struct hv_sink {
	int (*write)(void *ctx, const void *data, size_t len); /* all of it, or -errno */
	void *ctx;
};
struct hv_source {
	int64_t (*read)(void *ctx, void *buf, size_t len); /* bytes, 0 at the end, or -errno */
	void *ctx;
};
/*
 * Everything of a paused machine but its memory, as the records of doc/migration.md.
 * -EBUSY: it is not paused. error (HV_ERROR_SIZE, may be NULL) says what failed.
 */
int hv_machine_save_state(struct hv_machine *m, const struct hv_sink *sink, char *error);
/*
 * Into a paused machine of the same configuration, of any vendor and paging, whose
 * memory is in place. It stays paused, and its guest's clocks go on from the save.
 * -EBUSY; -EBADMSG: damaged; -EPROTO: not for this machine; in these cases nothing has
 * changed. After any other error the machine has to be reset or destroyed.
 */
int hv_machine_load_state(struct hv_machine *m, const struct hv_source *source, char *error);

/*
 * Hand-over to another process of this host, which maps the same memory.
 * What it needs of this one, borrowed: the descriptor of all RAM, to be its memory_fd
 * with `incoming`, and those of what was booted (-1: none), for its resets.
 * -EOPNOTSUPP: memory that no other process can have.
 */
struct hv_machine_files {
	int memory, kernel, initrd;
};
int hv_machine_files(struct hv_machine *m, struct hv_machine_files *out);
/*
 * Stop the guest, save its state to sink, and let nobody start it (hv_machine_start: -EBUSY)
 * before hv_machine_take_back(). *ran: it was not paused. -EIO: the guest has ended, -EBUSY:
 * it is being handed over already; after a failure it is as it was before.
 */
int hv_machine_give(struct hv_machine *m, const struct hv_sink *sink, bool *ran, char *error);
/* It stays here after all: goes on if it ran and nobody has paused it meanwhile. */
void hv_machine_take_back(struct hv_machine *m, bool ran);

/* ---- migration ----------------------------------------------------------------------------------------------- */
#define HV_MIGRATE_STREAMS_MAX 16
#define HV_MIGRATE_ID_SIZE     16
struct hv_migration;

/* What may change while it runs (hv_migrate_set). The source's affair alone. */
struct hv_migrate_params {
	uint64_t max_bandwidth;	     /* bytes/s of all streams together; 0: no limit */
	uint32_t downtime_limit_ms;  /* 0: 300 */
	uint32_t zstd_level;	     /* 0: not compressed; 1..19 */
	bool auto_converge;	     /* slow the vCPUs down when they write faster than pages go */
	uint32_t throttle_initial, throttle_increment, throttle_max; /* percent; 0: 20, 10, 99 */
};

struct hv_migrate_config {
	/*
	 * A connected stream socket per stream, the first one for both directions; or two
	 * pipes per stream: then fds are read and out_fds written. Duplicated, and made
	 * non-blocking; whoever uses pipes ignores SIGPIPE.
	 */
	const int *fds, *out_fds; /* out_fds NULL: sockets */
	unsigned int nr_fds;
	/*
	 * Source: digests of all pages are compared while the guest is stopped, which then
	 * takes time in proportion to its memory. Destinations do what the source says.
	 */
	bool verify;
	uint32_t stall_ms; /* a peer that moves no byte for so long is lost; 0: 30000 */
	uint8_t id[HV_MIGRATE_ID_SIZE]; /* source: of this migration; a random one */
	struct hv_migrate_params params;
	const char *fault; /* tests: see hv/migrate/fault.h; NULL: none */
	/*
	 * Destination: the guest is this side's, and may run from the return of this on. Not in
	 * need of any lock of the caller's, since it may run in any call. May be NULL.
	 */
	void (*takes)(void *ctx);
	/* Once, when it has ended in whatever way; on the migration's thread. May be NULL. */
	void (*done)(void *ctx);
	void *ctx;
};

enum hv_migrate_status {
	HV_MIGRATE_SETUP,
	HV_MIGRATE_ACTIVE,     /* the guest runs (on the source) while its memory goes over */
	HV_MIGRATE_SWITCHOVER, /* it is stopped */
	HV_MIGRATE_COMPLETED,  /* the destination runs it (or has it paused, if it was paused) */
	HV_MIGRATE_FAILED,     /* source: the guest is here, as before; destination: destroy the machine */
	HV_MIGRATE_CANCELLED,  /* the same, because somebody wanted it so */
	/*
	 * The connection was lost in the two messages that matter. Both sides keep the guest
	 * paused and whole. hv_migrate_resolve() over a new connection settles it, and
	 * hv_migrate_gone() when the other side is known to be dead.
	 */
	HV_MIGRATE_UNCONFIRMED, /* source: has committed and does not know whether it was heard */
	HV_MIGRATE_IN_DOUBT,	/* destination: is ready and does not know whether to run */
};

struct hv_migrate_info {
	enum hv_migrate_status status;
	bool incoming;
	bool may_run; /* the guest is this side's to run */
	bool running; /* it was not paused: where it may run, it runs. Once it has been stopped */
	uint8_t id[HV_MIGRATE_ID_SIZE]; /* incoming: once it has ended */
	char error[HV_ERROR_SIZE]; /* of FAILED, CANCELLED, UNCONFIRMED, IN_DOUBT */
	uint64_t total, remaining, transferred; /* bytes */
	uint64_t normal, zero;			/* pages */
	uint64_t page_size;
	uint64_t dirty_pages_rate;		/* per second */
	uint64_t iteration;
	uint64_t setup_us, total_us, expected_downtime_us, downtime_us;
	double mbps;				/* megabits per second, of the last round */
	unsigned int throttle_percent;
};

/*
 * Source: move the guest of m, which may run or be paused. Returns at once; a thread
 * does it. -EINVAL with error (HV_ERROR_SIZE, may be NULL), -EBUSY: one is under way.
 * From the switch-over on hv_machine_start() and _reset() fail with -EBUSY; after
 * COMPLETED the machine is only good for hv_machine_destroy().
 */
int hv_migrate_start(struct hv_machine *m, const struct hv_migrate_config *config,
		     struct hv_migration **out, char *error);
/*
 * Destination: take a guest into m, a machine that was created with `incoming` and the
 * same configuration (see hv_machine_load_state). Nobody else can start m from now on.
 */
int hv_migrate_accept(struct hv_machine *m, const struct hv_migrate_config *config,
		      struct hv_migration **out, char *error);
int hv_migrate_set(struct hv_migration *mig, const struct hv_migrate_params *params); /* -EINVAL */
int hv_migrate_info(struct hv_migration *mig, struct hv_migrate_info *out);
/* Any time, any thread; ends soon. -EALREADY: it has ended or is past the decision. */
int hv_migrate_abort(struct hv_migration *mig);
int hv_migrate_wait(struct hv_migration *mig); /* until it ends; 0 or why it failed */
/*
 * After UNCONFIRMED or IN_DOUBT, or on a source after FAILED to have a destination in
 * doubt discard: over a new connection to the other side, which calls it too. Blocks.
 * 0: the destination has the guest (source: or has discarded it, if it is the source's).
 * -ECANCELED, destination: discarded. Otherwise nothing has changed; error says why.
 */
int hv_migrate_resolve(struct hv_migration *mig, int fd, char *error);
/*
 * After UNCONFIRMED or IN_DOUBT: the caller knows that the other side does not run the
 * guest and never will. The guest becomes this side's and goes on. -EINVAL: no doubt.
 */
int hv_migrate_gone(struct hv_migration *mig);
void hv_migrate_free(struct hv_migration *mig); /* aborts what still runs. NULL is fine */

/* ---- snapshots ------------------------------------------------------------------------------------------------- */
/* The files of a snapshot's directory, open. */
struct hv_snapshot_files {
	int manifest, state, memory, digests, config;
};
struct hv_snapshot_config {
	int dir;	    /* descriptor of the directory that the snapshot's goes into */
	const char *name;   /* 1 to 200 bytes, no '/', not beginning with '.' */
	/*
	 * Or, not NULL: instead of dir and name, for a process that may not open files. They
	 * are empty; each is written and synced, but for the configuration's (-1), which the
	 * caller writes, and whose directory appears under its name only after success.
	 */
	const struct hv_snapshot_files *files;
	const void *config; /* the caller's: what it needs to make the machine again. At most 1 MiB */
	size_t config_len;
	/* Now and then, of the present round. True: give up. May be NULL. */
	bool (*progress)(void *ctx, uint64_t done, uint64_t total, unsigned int round);
	void *ctx;
	uint64_t pause_us; /* out: how long the guest stood still */
	uint64_t pages;	   /* out: pages with data in them */
};
/*
 * Of a machine that runs or is paused; it goes on as it was. Blocks for as long as the
 * disk takes. The directory is complete when it appears under its name, and nothing is
 * left after a failure. -EEXIST, -EINVAL, -EIO (the guest has ended), -ECANCELED,
 * -ETIMEDOUT (it writes faster than the disk takes), -ENOSPC and other errors of files.
 */
int hv_snapshot_create(struct hv_machine *m, struct hv_snapshot_config *config, char *error);

struct hv_snapshot;
struct hv_snapshot_info {
	uint64_t created_ns; /* since the epoch */
	uint64_t memory;     /* bytes: hv_machine_config.memory */
	const void *config;  /* as it was given; lives as long as the snapshot is open */
	size_t config_len;
	int memory_fd;	     /* for hv_machine_config.memory_fd; borrowed */
};
/* Reads and checks everything but memory. -ENOENT, -EBADMSG, -EPROTO ... with error. */
int hv_snapshot_open(int dir, const char *name, struct hv_snapshot **out, char *error);
/* The same of files that somebody else has opened for reading. They are duplicated. */
int hv_snapshot_open_files(const struct hv_snapshot_files *files, struct hv_snapshot **out,
			   char *error);
int hv_snapshot_info(struct hv_snapshot *s, struct hv_snapshot_info *out);
enum hv_snapshot_verify { HV_SNAPSHOT_TRUST, HV_SNAPSHOT_VERIFY /* read all of memory */ };
/*
 * Into a machine that was created with memory_fd and memory_private of this snapshot
 * and `incoming`. Memory is read when the guest touches it; the files must stay as
 * they are for as long as the machine lives. Errors as of hv_machine_load_state();
 * -EILSEQ: a page is not what was saved. The machine stays paused.
 */
int hv_snapshot_load(struct hv_snapshot *s, struct hv_machine *m, enum hv_snapshot_verify verify,
		     char *error);
void hv_snapshot_close(struct hv_snapshot *s); /* NULL is fine; the machine does not need it */
int hv_snapshot_delete(int dir, const char *name); /* -ENOENT, -EINVAL */

#ifdef __cplusplus
}
#endif
#endif
