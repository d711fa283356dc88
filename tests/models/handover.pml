/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The hand-over of a guest (hv/migrate/handover.h): the states and steps of its table,
 * with a connection that may be lost at any moment together with what is on its way, a
 * peer that may die at any moment, and a new connection afterwards.
 *
 * Shown: never do both sides have the guest (invariant at every step); and unless a
 * side has died, the guest ends with exactly one of them (at the end).
 *
 * -DNO_WAIT_FOR_GO	a destination that runs as soon as it is ready
 * -DNO_COMMIT		a source that takes the guest back when it loses its peer after GO
 * -DFORGETFUL		a ready destination that discards the guest when it loses its peer
 * Each of these has to fail. A dead side goes on sending here, which is worse than
 * what a real one does.
 *
 * guards: NO_WAIT_FOR_GO NO_COMMIT FORGETFUL
 */
mtype = { STATE, READY, GO, RUNNING, RESOLVE_GO, RESOLVE_ABORT, DISCARDED };
mtype = { OWNER, COMMITTED, DONE, EMPTY, PREPARED, RUNS, DROPPED };

chan to_dst = [2] of { mtype };
chan to_src = [2] of { mtype };
bool link = true;	/* this connection is up */
bool again = false;	/* a second one was made: it is not lost */
mtype src = OWNER, dst = EMPTY;
bool src_dead = false, dst_dead = false;
bool src_end = false, dst_end = false;

#define SRC_HAS (!src_dead && src == OWNER)
#define DST_HAS (!dst_dead && dst == RUNS)
#define ONE assert(!(SRC_HAS && DST_HAS))

/* What is on its way is lost with the connection. */
inline lose()
{
	atomic {
		link = false;
		do
		:: to_dst ? _
		:: to_src ? _
		:: empty(to_dst) && empty(to_src) -> break
		od
	}
}

proctype source()
{
	/* The guest is stopped, its pages have gone; this is the state. */
	if
	:: atomic { link -> to_dst ! STATE }
	:: !link -> goto lost_owner
	fi;
	if
	:: to_src ? READY -> skip
	:: !link -> goto lost_owner
	fi;
	if
	:: atomic { src = COMMITTED; ONE }
	:: goto gives_up	/* an abort up to the last moment */
	fi;
	if
	:: atomic { link -> to_dst ! GO }
	:: !link -> goto lost_committed
	fi;
	if
	:: to_src ? RUNNING -> src = DONE; goto out
	:: !link -> goto lost_committed
	fi;

lost_committed:
#ifdef NO_COMMIT
	atomic { src = OWNER; ONE };
	goto out;
#endif
	again;
	to_dst ! RESOLVE_GO;
	if
	:: to_src ? RUNNING -> src = DONE
	:: dst_dead || dst_end -> skip	/* it stays paused: a person decides */
	fi;
	goto out;

gives_up:
	lose();
lost_owner:
	ONE;
	again;
	to_dst ! RESOLVE_ABORT;
	if
	:: to_src ? DISCARDED -> skip
	:: dst_dead || dst_end -> skip
	fi;
out:
	src_end = true
}

proctype destination()
{
	if
	:: to_dst ? STATE -> skip
	:: !link -> dst = DROPPED; goto resolve
	fi;
	dst = PREPARED;
#ifdef NO_WAIT_FOR_GO
	atomic { dst = RUNS; ONE };
#endif
	if
	:: atomic { link -> to_src ! READY }
	:: !link -> goto lost
	fi;
	if
	:: to_dst ? GO -> atomic { dst = RUNS; ONE }
	:: !link -> goto lost
	fi;
	if
	:: atomic { link -> to_src ! RUNNING }
	:: !link -> skip
	fi;
	goto resolve;
lost:
#ifdef FORGETFUL
	dst = DROPPED;
#endif
	skip;
resolve:
	if
	:: again && to_dst ? [RESOLVE_GO] ->
		to_dst ? RESOLVE_GO;
		if
		:: dst == PREPARED || dst == RUNS ->
			atomic { dst = RUNS; ONE };
			to_src ! RUNNING
		:: else ->
			/* it has lost the guest that was its own */
			assert(false)
		fi
	:: again && to_dst ? [RESOLVE_ABORT] ->
		to_dst ? RESOLVE_ABORT;
		assert(dst != RUNS);
		dst = DROPPED;
		to_src ! DISCARDED
	:: src_end || src_dead -> skip
	fi;
	dst_end = true
}

/* The network: lost at most once, at any moment; then a new connection. */
proctype network()
{
	if
	:: link -> lose()
	:: skip
	fi;
	if
	:: !link -> again = true
	:: src_end && dst_end -> skip
	fi
}

/* At any moment one side may die; then a person has to look, and must find it safe. */
proctype death()
{
	if
	:: atomic { !src_end -> src_dead = true }
	:: atomic { !dst_end -> dst_dead = true }
	:: skip
	fi;
	ONE
}

init {
	atomic { run source(); run destination(); run network(); run death() };
	src_end && dst_end;
	ONE;
	/* Nobody died: exactly one has it. */
	assert(src_dead || dst_dead || (src == OWNER) != (dst == RUNS))
}
