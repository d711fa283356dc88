/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A grace period without barriers in the readers (hv/base/rcu.c), on processors that hold
 * stores back: a reader's stores go through a buffer, in order, and its loads do not wait
 * for them. An exchange and a membarrier empty the buffer. What is published is a number: an
 * object that an update has retired is dead, and no section may use it.
 *
 * liburcu's grace period is taken to be right, with its membarriers; what is checked is when it may be
 * left out. A reader stays outside now and then, so that it is asked, sleeps and wakes.
 *
 * Must hold: what a section has loaded is not dead as long as the section lasts.
 *
 * guards: NO_SEEN NO_MEMBARRIER NO_WAKE_BARRIER QUESTION_FIRST TWO_ASK
 */
#define SECTIONS 2
#define UPDATES 2
#define UPDATERS 2

#define AWAKE 0
#define ASKED 1
#define ASLEEP 2

#define C 0	/* liburcu's: in a section or not */
#define S 1	/* the number that was seen */
#define W 2	/* awake, where nothing makes it be seen at once */

byte object = 0;		/* what is published; the next one is greater */
byte dead = 0;			/* all below are */
byte period = 1;
bit asking = 0;

/* As everybody sees them. */
bit in_section = 0;
byte seen = 0;
byte state = ASLEEP;

/* The reader's stores that nobody sees yet, oldest first. */
chan buffer = [4] of { byte, byte };

/* The processor, whenever it likes. */
active proctype Drain()
{
	byte what, value;

end:	do
	:: atomic {
		buffer ? what, value ->
		if
		:: what == C -> in_section = value
		:: what == S -> seen = value
		:: what == W -> state = value
		fi
	}
	od
}

/* On behalf of the reader: its stores are seen before it goes on. */
inline barrier()
{
	(empty(buffer))
}

byte held;			/* what the section has loaded */
bit using = 0;

active proctype Reader()
{
	byte n, number, question;

	for (n : 1 .. SECTIONS) {
#ifdef QUESTION_FIRST
		question = state;
#endif
		buffer ! C, 1;
#ifndef NO_SEEN
		number = period;
#else
		number = 255;	/* says that it has seen whatever it is asked for */
#endif
		buffer ! S, number;
#ifndef QUESTION_FIRST
		question = state;
#endif
		if
		:: question != AWAKE ->
#ifdef NO_WAKE_BARRIER
			buffer ! W, AWAKE
#else
			atomic { empty(buffer) -> state = AWAKE }
#endif
		:: else
		fi;
		atomic { held = object; using = 1 };
		/* The section. */
		assert(held >= dead);
		using = 0;
		buffer ! C, 0;
	}
}

proctype Updater()
{
	byte n, old, mine, s;
	bit may_ask;

	for (n : 1 .. UPDATES) {
		atomic { object = object + 1; old = object };
		atomic { period = period + 1; mine = period };
		s = state;
		if
		:: s == ASLEEP -> goto over
		:: else
		fi;
		if
		:: seen >= mine -> goto over
		:: true			/* patience is over */
		fi;
		may_ask = 0;
#ifdef TWO_ASK
		may_ask = 1;
#else
		if
		:: atomic { asking == 0 -> asking = 1 }; may_ask = 1
		:: asking == 1
		fi;
#endif
		if
		:: may_ask && state != ASLEEP -> state = ASKED
		:: else
		fi;
#ifndef NO_MEMBARRIER
		barrier();
#endif
		(in_section == 0);
		if
		:: may_ask ->
			atomic {
				if
				:: state == ASKED -> state = ASLEEP
				:: else
				fi
			};
			asking = 0
		:: else
		fi;
over:
		/* Whoever loaded something older is past it. */
		atomic {
			if
			:: old > dead -> dead = old
			:: else
			fi;
			assert(!using || held >= dead)
		}
	}
}

init {
	byte i;

	atomic {
		for (i : 1 .. UPDATERS) {
			run Updater()
		}
	}
}
