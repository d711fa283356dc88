/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A machine's insides. machine.c has its life and its vCPU threads,
 * machine_board.c memory, devices and boot.
 *
 * [I] immutable after creation  [M] m->lock  [C] whoever is in a control call
 */
#ifndef HV_ENGINE_MACHINE_INTERNAL_H
#define HV_ENGINE_MACHINE_INTERNAL_H

#include "hv/boot/boot.h"
#include "hv/dev/devices.h"
#include "hv/hv.h"

enum machine_run {
	MACHINE_PAUSED,
	MACHINE_RUNNING,
	MACHINE_ENDED, /* poweroff, reset, crash, debug exit: only a reset helps */
	MACHINE_QUIT,  /* the threads end */
};

/* Who decides when a machine runs, instead of start and reset. */
enum machine_hold {
	HOLD_NONE,
	HOLD_BRIEF,   /* a snapshot's pause: start and reset wait for its end */
	HOLD_LASTING, /* a hand-over, which may stay undecided: start and reset are refused */
};

struct machine_vcpu {
	struct hv_machine *m;	/* [I] */
	struct hv_vcpu *vcpu;	/* [I] */
	unsigned int index;	/* [I] */
	pthread_t thread;	/* [I] once has_thread */
	bool has_thread;	/* [C] */
	bool parked;		/* [M] not in hv_vcpu_run, and will not enter unless RUNNING */
	_Atomic uint64_t throttle_ns; /* to sleep before it runs on */
};

struct hv_machine {
	char name[64];				/* [I] */
	uint8_t uuid[16];			/* [I] */
	struct hv_vm *vm;			/* [I] */
	struct hv_board board;			/* [I] but for the devices' own state */
	struct hv_device *uart, *pm;		/* [I] */
	struct hv_machine_callbacks callbacks;	/* [I] */
	void *ctx;				/* [I] */
	unsigned int test_devices;		/* [I] */
	bool incoming;				/* [C] the guest comes from elsewhere: nothing to boot yet */
	bool ram_private;			/* [C] RAM is a copy-on-write mapping of somebody's file */

	enum hv_boot_kind boot_kind;		/* [I] */
	int kernel_fd, initrd_fd;		/* [I] ours, -1: none */
	char *cmdline;				/* [I] NULL: none */

	unsigned int nr_vcpus;			/* [I] */
	struct machine_vcpu vcpus[HV_MAX_VCPUS];

	struct hv_mutex lock;			/* below it only leaves: requests and kicks */
	struct hv_cond changed;			/* run, parked or busy changed */
	enum machine_run run;			/* [M] */
	bool busy;				/* [M] a control call is under way */
	enum machine_hold held;			/* [M] */
	bool pause_asked;			/* [M] while it was held: it is not to go on by itself */
	_Atomic uint64_t first_insn_ns;
	struct hv_timer throttle_timer;
	bool has_throttle;			/* [I] the timer is there */
	_Atomic unsigned int throttle_percent;
};

/* ---- machine.c ---- */
/* Control calls come one at a time. */
void machine_control_begin(struct hv_machine *m);
void machine_control_end(struct hv_machine *m);
enum machine_run machine_run_state(struct hv_machine *m);
/* In a control call. ENDED stays what it is but for QUIT; returns what it is now. */
enum machine_run machine_stop(struct hv_machine *m, enum machine_run run);
/* In a control call: let the vCPUs of a paused machine run. -EIO: it has ended. */
int machine_go(struct hv_machine *m);
/* In a control call: the machine is not fit to run until a reset. */
void machine_spoil(struct hv_machine *m);
/* In a control call: only the holder may start it, until this is taken back. -EBUSY. */
int machine_hold(struct hv_machine *m, enum machine_hold kind);
/* True: it was asked to pause meanwhile. */
bool machine_unhold(struct hv_machine *m);
/*
 * In a control call, parked: complete the access that the vCPU's last exit left open,
 * so that its state is that of an instruction's end. -EIO.
 */
int machine_finish_io(struct machine_vcpu *mv);

/* ---- migrate_throttle.c ---- */
int machine_throttle_init(struct hv_machine *m);
void machine_throttle_destroy(struct hv_machine *m);
/* Any thread: the vCPUs sleep this share (0 to 99 percent) of their time. */
void machine_throttle(struct hv_machine *m, unsigned int percent);
/* vCPU thread, outside the run loop: sleep what is due; a change of m->run ends it. */
void machine_throttle_wait(struct machine_vcpu *mv);

/* ---- machine_board.c ---- */
/* The board as its devices see it; ops call back into machine.c. */
int machine_ram_create(struct hv_machine *m, const struct hv_machine_config *config);
int machine_devices_create(struct hv_machine *m);
/*
 * Everything but RAM's allocation as at power-on: chips, devices, vCPUs, memory
 * contents, kernel, boot state. Every vCPU is parked. error: BOOT_ERROR_SIZE.
 */
int machine_power_on(struct hv_machine *m, char *error);

#endif
