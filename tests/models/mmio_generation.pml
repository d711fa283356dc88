/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memslot generations and MMIO SPTEs that cache them (hv/vm/memslot_update.c, the
 * MMIO side of hv/mmu). There is memory at the guest page, or there is none; each
 * update decides anew. A fault that finds none caches this, with the low bits of the
 * generation, and later accesses believe it while these bits are the current ones.
 *
 * The fault follows vm->memslots twice, once for the slot and once for the
 * generation, as callers in different functions do; an update may come between.
 *
 * Must hold: with no update under way, an access never believes that there is no
 * memory where there is; and nothing is cached while an update is under way.
 *
 * guards: NO_WINDOW NO_WRAP_ZAP
 */
#define UPDATES 5
#define GEN_BITS_MASK 3		/* the bits that an SPTE has room for */
#define NOT_CACHED 255

typedef Slots { bit memory; byte generation; bit in_progress };

Slots set[2];
byte current = 0;		/* vm->memslots */
bit in_rcu[2];
byte cached = NOT_CACHED;	/* the MMIO SPTE: low bits of a generation */
bit updating = 0;

proctype Updater()
{
	byte other, n;

	for (n : 1 .. UPDATES) {
		updating = 1;
		other = 1 - current;
		if
		:: set[other].memory = 0
		:: set[other].memory = 1
		fi;
#ifdef NO_WINDOW
		set[other].generation = set[current].generation + 1;
#else
		set[other].generation = set[current].generation;
		set[other].in_progress = 1;
#endif
		current = other;
		/* grace period: the former set has no reader, who would go on caching from it */
		(in_rcu[0] == 0);
		(in_rcu[1] == 0);
#ifndef NO_WINDOW
		/* generation_changed(), then the generation itself */
#ifndef NO_WRAP_ZAP
		if
		:: ((set[current].generation + 1) & GEN_BITS_MASK) == 0 -> cached = NOT_CACHED
		:: else
		fi;
#endif
		atomic {
			set[current].generation = set[current].generation + 1;
			set[current].in_progress = 0
		};
#endif
		updating = 0
	}
}

proctype Vcpu(byte me)
{
	byte turn, s;
	bit memory;

	for (turn : 1 .. 2) {
		in_rcu[me] = 1;
		if
		:: cached != NOT_CACHED ->
			/* an access meets the MMIO SPTE */
			atomic {
				s = current;
				if
				:: set[s].in_progress == 0 && !updating &&
				   cached == (set[s].generation & GEN_BITS_MASK) ->
					assert(set[s].memory == 0)
				:: else
				fi
			}
		:: else ->
			s = current;
			memory = set[s].memory;
			if
			:: memory == 0 ->
				s = current;	/* again */
				atomic {
					if
					:: set[s].in_progress == 0 ->
						cached = set[s].generation & GEN_BITS_MASK
					:: else
					fi
				}
			:: else
			fi
		fi;
		in_rcu[me] = 0
	}
}

init
{
	set[0].memory = 0;
	atomic {
		run Updater();
		run Vcpu(0);
		run Vcpu(1)
	}
}
