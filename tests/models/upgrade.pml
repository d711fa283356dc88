/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The local hand-over (daemon/guest_upgrade.c, doc/migration.md): two workers with one word
 * that says who has the guest. Either may be late (give up at any moment) and either may
 * be killed before any step.
 *
 * Shown: never do both run the guest (at every step), it never runs in the new worker
 * without its state, and while nobody was killed it ends in exactly one of them; with one
 * killed it is lost only if that one had it.
 *
 * -DNO_SWAP	a worker reads the word and writes it, in two steps
 * -DNO_STOP	the old worker tells the new one before it has stopped the guest
 * -DTRUSTING	the old worker takes the guest back when it is late, whatever the word says
 * -DEAGER	the new worker runs the guest as soon as it has the state
 * Each of these has to fail.
 *
 * guards: NO_SWAP NO_STOP TRUSTING EAGER
 */
mtype = { FREE, NEW, OLD };

mtype word = FREE;
bool sent = false;	/* STATE is on its way, or there */
bool old_runs = true, new_runs = false;
bool old_dead = false, new_dead = false;
bool old_end = false, new_end = false;

#define ONE assert(!(old_runs && new_runs))

/* A killed process does nothing any more; what it ran stands. */
#define ALIVE_OLD (!old_dead)
#define ALIVE_NEW (!new_dead)

/* was: what the word says when the step is over */
inline settle(wish, was, alive)
{
#ifdef NO_SWAP
	was = word;
	if
	:: was == FREE && alive -> word = wish; was = wish
	:: was != FREE || !alive -> skip
	fi
#else
	atomic {
		if
		:: word == FREE && alive -> word = wish
		:: word != FREE || !alive -> skip
		fi;
		was = word
	}
#endif
}

proctype old_worker()
{
	mtype was = FREE;

	/* Asked to give. */
#ifndef NO_STOP
	if
	:: atomic { ALIVE_OLD -> old_runs = false }
	:: old_dead -> goto out
	fi;
#endif
	if
	:: atomic { ALIVE_OLD -> sent = true }
	:: ALIVE_OLD -> skip	/* it cannot be sent, or the guest resets just now */
	:: old_dead -> goto out
	fi;
#ifdef NO_STOP
	if
	:: atomic { ALIVE_OLD -> old_runs = false }
	:: old_dead -> goto out
	fi;
#endif
	/* It hears from the other, sees its end, or is tired of waiting: all one. */
#ifdef TRUSTING
	was = OLD;
#else
	settle(OLD, was, ALIVE_OLD);
#endif
	if
	:: atomic { ALIVE_OLD && was != NEW -> old_runs = true; ONE }
	:: ALIVE_OLD && was == NEW -> skip
	:: old_dead -> skip
	fi;
out:
	old_end = true
}

proctype new_worker()
{
	mtype was = FREE;
	bool has = false;

	if
	:: sent -> has = true
	:: old_dead || old_end -> skip	/* the connection's end */
	:: true -> skip			/* tired of waiting */
	fi;
#ifdef EAGER
	if
	:: atomic { has && ALIVE_NEW -> new_runs = true; ONE }
	:: else -> skip
	fi;
#endif
	if
	:: has -> settle(NEW, was, ALIVE_NEW)
	:: settle(OLD, was, ALIVE_NEW)	/* nothing came, or it cannot be loaded */
	fi;
	if
	:: atomic { ALIVE_NEW && was == NEW -> assert(has); new_runs = true; ONE }
	:: ALIVE_NEW && was != NEW -> skip
	:: new_dead -> skip
	fi;
	new_end = true
}

/* kill -9, at most one of each, at any moment. */
proctype killer()
{
	if
	:: atomic { old_dead = true; old_runs = false }
	:: atomic { new_dead = true; new_runs = false }
	:: atomic { old_dead = true; old_runs = false }; atomic { new_dead = true; new_runs = false }
	:: skip
	fi
}

init {
	atomic { run old_worker(); run new_worker(); run killer() };
	old_end && new_end && _nr_pr == 1;
	assert(!(old_runs && new_runs));
	assert(old_dead || new_dead || old_runs != new_runs);
	/* Only the death of the one that has it loses it: the other's word says so. */
	assert(!(new_dead && !old_dead) || old_runs || word == NEW);
	assert(!(old_dead && !new_dead) || new_runs || word != NEW)
}
