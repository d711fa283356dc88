/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memslot install and delete against an invalidation of host memory and a fault
 * (hv/vm/memslot_update.c, hv/vm/notifier.c, the fault path of hv/mmu).
 *
 * One slot maps one guest page to one host page. `host` counts the host page's
 * lives: an invalidation takes it away between start and end, and the next
 * life begins. An SPTE holds the life that it was made from, 0 for none.
 *
 * Must hold: an end finds what its start has begun; after a start has returned no
 * SPTE of the old life exists or comes up; after a delete has returned, none at all.
 *
 * guards: NO_MN_WAIT NO_RETRY_SEQ NO_RETRY_PROGRESS NO_GRACE NO_INVALID
 */
#define NONE 0
#define VALID 1
#define INVALID 2

byte published = NONE;		/* what vm->memslots says of the slot */
byte mn_active = 0;		/* mn_active_invalidate_count */
bit mn_lock = 0;
bit mmu_write = 0;		/* mmu_lock */
byte mmu_readers = 0;
byte in_progress = 0, seq = 0;
bit in_rcu[4];			/* read-side sections, by reader */
byte host = 1;			/* the life of the host page; it only grows */
bit deleted = 0;
byte spte = 0;

#define lock(l)		atomic { l == 0 -> l = 1 }
#define unlock(l)	l = 0
#define write_lock()	atomic { mmu_write == 0 && mmu_readers == 0 -> mmu_write = 1 }
#define write_unlock()	mmu_write = 0
#define read_lock()	atomic { mmu_write == 0 -> mmu_readers++ }
#define read_unlock()	mmu_readers--

/* slots_publish(): while no invalidation is between its start and its end. */
inline publish(what)
{
#ifdef NO_MN_WAIT
	lock(mn_lock);
#else
	atomic { mn_lock == 0 && mn_active == 0 -> mn_lock = 1 };
#endif
	published = what;
	unlock(mn_lock);
}

/* Each reader is outside a section at least once. */
inline grace_period()
{
#ifdef NO_GRACE
	skip
#else
	(in_rcu[0] == 0);
	(in_rcu[1] == 0);
	(in_rcu[2] == 0)
#endif
}

proctype Updater()
{
	publish(VALID);			/* CREATE */
	grace_period();
#ifndef NO_INVALID
	publish(INVALID);		/* DELETE */
	grace_period();
#endif
	write_lock();
	spte = 0;			/* slot_flush */
	write_unlock();
	publish(NONE);
	grace_period();
	deleted = 1;
	assert(spte == 0);
}

proctype Notifier(byte me)
{
	byte slot;

	/* start */
	lock(mn_lock);
	mn_active++;
	unlock(mn_lock);
	in_rcu[me] = 1;
	slot = published;
	if
	:: slot != NONE ->
		write_lock();
		in_progress++;
		spte = 0;
		write_unlock()
	:: else
	fi;
	in_rcu[me] = 0;

	/* The host takes the page, and gives another one. */
	host++;
	assert(spte == 0 || spte == host);

	/* end */
	in_rcu[me] = 1;
	slot = published;
	if
	:: slot != NONE ->
		write_lock();
		assert(in_progress > 0);
		seq++;
		in_progress--;
		write_unlock()
	:: else
	fi;
	in_rcu[me] = 0;
	lock(mn_lock);
	mn_active--;
	unlock(mn_lock);
}

proctype Fault(byte me)
{
	byte my_seq, pfn;
	bit again = 0;

	do
	:: again < 1 ->
		again = 1;
		in_rcu[me] = 1;
		if
		:: published == VALID ->
			my_seq = seq;
			pfn = host;
			read_lock();
			if
#ifndef NO_RETRY_PROGRESS
			:: in_progress > 0 -> again = 0
#endif
#ifndef NO_RETRY_SEQ
			:: seq != my_seq -> again = 0
#endif
			:: else ->
				spte = pfn;
				assert(!deleted)
			fi;
			read_unlock();
		:: else
		fi;
		in_rcu[me] = 0
	:: else -> break
	od
}

/* Whoever looks, whenever nothing is under way. */
proctype Observer()
{
	atomic {
		mn_active == 0 && mmu_write == 0 && mmu_readers == 0 ->
			assert(spte == 0 || spte == host);
			assert(in_progress == 0)
	}
}

init
{
	atomic {
		run Updater();
		run Notifier(0);
		run Fault(1);
		run Fault(2);
		run Observer();
	}
}
