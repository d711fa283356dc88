/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Root invalidation, the zap worker, and vCPUs of which one may sleep
 * (hv/mmu/roots.c, hv/mmu/root_zap.c).
 *
 * A root has references (vCPUs, the zap queue), an invalid mark, a zap state and
 * "maps": translations are in it. mmu_lock is an atomic step here: exclusive ones
 * are whole, shared ones are per root. slots_lock is held by an invalidation from
 * its mark to the worker's end.
 *
 * Asserted: a root in use is not freed; a root is queued once in its life; when an
 * invalidation has returned, no root from before it maps anything and no vCPU is
 * inside the guest with one; at the end all that is left is what vCPUs hold.
 *
 * guards: NO_ZAP_STATE NO_RELOAD_WAIT NO_QUEUE_REF PUT_FREES
 */
#define ROOTS 4
#define VCPUS 2
#define TURNS 2		/* reloads of a vCPU */
#define INVALIDATIONS 2
#define NONE 255

typedef root_t {
	bool used;	/* allocated, on the list */
	byte refs;
	bool invalid;
	byte state;	/* 0 never queued, 1 queued, 2 zapped */
	byte queued;	/* times */
	bool maps;
	bool pending;	/* on the queue */
	byte life;	/* which root the page is now: counts from 1 */
};

root_t root[ROOTS];
bool request[VCPUS];	/* MMU_RELOAD with TLB_FLUSH */
bool in_guest[VCPUS];
byte holds[VCPUS];
byte vcpus_done, work;	/* work: roots on the queue */
bool slots_lock;

inline queue(r)
{
	assert(root[r].used);
	root[r].queued++;
	assert(root[r].queued == 1);
	root[r].state = 1;
	root[r].pending = true;
	work++
}

/* mmu_root_put() */
inline put(r)
{
	assert(root[r].used && root[r].refs > 0);
	root[r].refs--;
	if
	:: root[r].refs == 0 && root[r].state == 0 ->
#ifdef PUT_FREES
		/* The last user frees it itself, with all it maps and without a flush. */
		assert(!root[r].maps);
		root[r].used = false
#else
		root[r].invalid = true;
		root[r].refs = 1;
		queue(r)
#endif
	:: root[r].refs == 0 && root[r].state == 2 ->
		assert(!root[r].maps);
		root[r].used = false
	:: root[r].refs == 0 && root[r].state == 1 ->
		/* The queue's reference is gone while it is queued. */
		assert(false)
	:: else
	fi
}

/* mmu_root_get(): a valid root, or a new one. */
inline get(v)
{
	byte i = 0;
	holds[v] = NONE;
	do
	:: i < ROOTS && holds[v] == NONE ->
		if
		:: root[i].used && !root[i].invalid && root[i].refs > 0 ->
			root[i].refs++;
			holds[v] = i
		:: else
		fi;
		i++
	:: else -> break
	od;
	i = 0;
	do
	:: i < ROOTS && holds[v] == NONE ->
		if
		:: !root[i].used ->
			root[i].used = true;
			root[i].invalid = false;
			root[i].refs = 1;
			root[i].state = 0;
			root[i].queued = 0;
			root[i].maps = false;
			root[i].pending = false;
			root[i].life++;
			holds[v] = i
		:: else
		fi;
		i++
	:: else -> break
	od;
	i = 0
}

proctype vcpu(byte v)
{
	byte turn = 0;

	do
	:: turn < TURNS ->
		/* mmu_reload(): under shared mmu_lock */
		atomic {
			request[v] = false;
			if
			:: holds[v] != NONE && root[holds[v]].invalid ->
				put(holds[v]);
				holds[v] = NONE
			:: else
			fi
		};
		atomic {
			if
			:: holds[v] == NONE -> get(v)
			:: else
			fi;
			assert(holds[v] != NONE)
		};
		/* vcpu_enter_guest_mode(): in only if no request is pending */
		atomic {
			if
			:: !request[v] -> in_guest[v] = true
			:: else
			fi
		};
		if
		:: in_guest[v] ->
			/* A fault: leaves, and maps unless the root is invalid; then back in. */
			atomic {
				assert(root[holds[v]].used);
				if
				:: !root[holds[v]].invalid -> root[holds[v]].maps = true
				:: else
				fi
			};
			/* In the guest: the tables are walked. */
			assert(root[holds[v]].used);
			in_guest[v] = false
		:: else
		fi;
		turn++
	:: turn < TURNS ->
		/* sleeps with what it holds */
		turn++
	:: else -> break
	od;
	/* mmu_unload() */
	atomic {
		if
		:: holds[v] != NONE -> put(holds[v]); holds[v] = NONE
		:: else
		fi;
		vcpus_done++
	}
}

/* zap_work(): roots one by one, under shared mmu_lock */
active proctype worker()
{
	byte r;

end:	do
	:: work > 0 ->
		atomic {
			if
			:: root[0].pending -> r = 0
			:: root[1].pending -> r = 1
			:: root[2].pending -> r = 2
			:: root[3].pending -> r = 3
			fi;
			root[r].pending = false;
			assert(root[r].used && root[r].invalid)
		};
		root[r].maps = false;
		atomic {
			/* vm_flush_remote_tlbs(): each vCPU has been seen outside */
			request[0] = true;
			request[1] = true
		};
#ifndef NO_RELOAD_WAIT
		!in_guest[0];
		!in_guest[1];
#endif
		atomic {
			root[r].state = 2;
#ifdef NO_QUEUE_REF
			/* The queue took no reference of its own. */
			if
			:: root[r].refs == 0 -> root[r].used = false
			:: else
			fi;
#else
			put(r);
#endif
			work--
		}
	od
}

proctype invalidate(byte id)
{
	byte i;
	byte old[ROOTS];

	atomic { !slots_lock -> slots_lock = true };
	/* exclusive mmu_lock: mark, queue, request */
	atomic {
		i = 0;
		do
		:: i < ROOTS ->
			old[i] = (root[i].used -> root[i].life : NONE);
			if
#ifdef NO_ZAP_STATE
			:: root[i].used && root[i].state != 1 ->
#else
			:: root[i].used && root[i].state == 0 ->
#endif
				assert(root[i].refs > 0);
#ifndef NO_QUEUE_REF
				root[i].refs++;
#endif
				root[i].invalid = true;
				queue(i)
			:: else
			fi;
			i++
		:: else -> break
		od;
		request[0] = true;
		request[1] = true
	};
	/* mmu_zap_flush() */
	work == 0;
	atomic {
		i = 0;
		do
		:: i < ROOTS ->
			if
			:: root[i].used && root[i].life == old[i] -> assert(!root[i].maps)
			:: else
			fi;
			i++
		:: else -> break
		od;
		i = 0;
		do
		:: i < VCPUS ->
			assert(!(in_guest[i] && root[holds[i]].life == old[holds[i]]));
			i++
		:: else -> break
		od;
		i = 0;
		slots_lock = false
	}
}

init {
	byte i = 0;

	atomic {
		holds[0] = NONE;
		holds[1] = NONE;
		run vcpu(0);
		run vcpu(1);
		do
		:: i < INVALIDATIONS -> run invalidate(i); i++
		:: else -> break
		od;
		i = 0
	};
	/* All is quiet: nothing may be left. */
	vcpus_done == VCPUS && work == 0 && _nr_pr == 2;
	do
	:: i < ROOTS -> assert(!root[i].used); i++
	:: else -> break
	od
}
