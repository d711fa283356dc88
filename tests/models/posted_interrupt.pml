/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Posted interrupts: the descriptor's PIR, ON, SN, NV and NDST between threads that
 * post and a vCPU that enters the guest, sleeps on a host CPU's wake-up list, is put
 * and loaded on another CPU, and has its APIC virtualisation switched off
 * (hv/vmx/vmx_apicv.c, hv/vm/request.c, hv/vm/wakeup.c, hv/vcpu/run.c).
 *
 * One thread posts two vectors, the other the second of them. The guest may stay in
 * guest mode for ever, and a sleeper asleep: whatever is posted has to get it out. When
 * all has been posted, PIR and IRR must become empty; a state in which nobody moves and
 * they are not is a lost interrupt.
 *
 * Stricter than the code, which also empties PIR after each load, and before a sleep
 * where ON is clear.
 *
 * guards: NO_POSTED_RECHECK NO_POSTED_ENTRY_SYNC NO_WAKEUP_VECTOR LIST_AFTER_NV
 * guards: ENTRY_SYNC_BEFORE_MODE DRAIN_BEFORE_ON NO_LOAD_CHECK NO_OFF_RECHECK
 */
#define VECTORS 2
#define CPUS 2
#define POSTED 0	/* NV */
#define WAKEUP 1
#define OUTSIDE 0	/* mode */
#define IN_GUEST 1

bit pir[VECTORS], irr[VECTORS];
bit on, sn = 1, nv;
bit ndst;
bit apicv = 1;		/* vcpu->apicv_active */
bit mode, blocked;
bit request;		/* HV_REQ_EVENT */
bit kick, notified;	/* what the processor was signalled: an IPI, the notification vector */
bit listed[CPUS];	/* the wake-up lists */
byte posting = 2;	/* threads that are not done */

#define nothing_left (!pir[0] && !pir[1] && !irr[0] && !irr[1])
#define quiet (posting == 0 && nothing_left)

/* vcpu_make_request(HV_REQ_EVENT), vcpu_kick() */
inline request_and_kick()
{
	request = 1;
	blocked = 0;
	if
	:: mode == IN_GUEST -> kick = 1
	:: else
	fi
}

/* pi_drain(), vmx_apic_posted(): ON goes first. */
inline drain()
{
#ifndef DRAIN_BEFORE_ON
	on = 0;
#endif
	atomic { irr[0] = irr[0] | pir[0]; pir[0] = 0 };
	atomic { irr[1] = irr[1] | pir[1]; pir[1] = 0 };
#ifdef DRAIN_BEFORE_ON
	on = 0;
#endif
}

/* handle_requests(), events_inject_pending(): PIR is emptied whatever ON says. */
inline take_request()
{
	if
	:: request -> request = 0; drain()
	:: else
	fi
}

/* vmx_deliver_posted(), accept_fixed() where it says no */
inline post(v)
{
	if
	:: !apicv ->
		irr[v] = 1;
		request_and_kick()
	:: else ->
		atomic { there = pir[v]; pir[v] = 1 };
		if
		:: there /* whoever set it tells the vCPU */
		:: else ->
			atomic {
				if
				:: on || sn -> told = 1
				:: else -> on = 1; to_nv = nv; to_cpu = ndst
				fi
			};
			if
			:: told
			:: !told && to_nv == WAKEUP ->
				/* wakeup_notify(), under the list's lock */
				atomic {
					if
					:: listed[to_cpu] && on -> blocked = 0
					:: else
					fi
				}
			:: !told && to_nv == POSTED ->
				if
				:: mode == IN_GUEST -> notified = 1
				:: else
				fi
			fi;
			told = 0; to_nv = 0; to_cpu = 0;
#ifndef NO_OFF_RECHECK
			if
			:: !apicv -> request_and_kick()
			:: else
			fi
#endif
		fi
	fi;
	there = 0
}

proctype Poster(bit first)
{
	bit there, told, to_nv, to_cpu;

	post(first);
	if
	:: first == 0 -> post(1)
	:: else
	fi;
	posting--
}

proctype Vcpu()
{
	bit cpu, stay, off, moved;

load:
	cpu = moved;
	atomic { sn = 0; nv = POSTED; ndst = cpu };	/* vmx_apicv_load() */
#ifndef NO_LOAD_CHECK
	if
	:: pir[0] || pir[1] -> on = 1
	:: else
	fi;
#endif
loop:
	if
	:: quiet -> goto end
	:: goto enter
	:: goto block
	:: !moved -> moved = 1; sn = 1; goto load	/* vmx_apicv_put() */
	:: !off ->					/* the guest disables its APIC: switch_mode() */
		off = 1;
		apicv = 0;
		drain();
		goto loop
	fi;

enter:
	take_request();
#ifdef ENTRY_SYNC_BEFORE_MODE
	if
	:: on -> drain()
	:: else
	fi;
#endif
	mode = IN_GUEST;
	if
	:: request -> mode = OUTSIDE; goto loop
	:: else
	fi;
#if !defined(NO_POSTED_ENTRY_SYNC) && !defined(ENTRY_SYNC_BEFORE_MODE)
	if
	:: apicv && on -> drain()	/* vmx_apicv_entry() */
	:: else
	fi;
#endif
	/* What is in IRR is delivered: as RVI says, or by injection. */
	atomic { irr[0] = 0; irr[1] = 0 };
	if
	:: stay = 0
	:: stay = 1
	fi;
	do
	:: quiet -> break
	:: !stay -> break			/* an exit of the guest's own */
	:: kick -> kick = 0; break
	:: notified ->
		notified = 0;
		if
		:: apicv -> drain(); atomic { irr[0] = 0; irr[1] = 0 }
		:: else
		fi
	od;
	atomic { mode = OUTSIDE; stay = 0 };
	goto loop;

block:
	take_request();
	if
	:: on -> drain()
	:: else
	fi;
	if
	:: irr[0] || irr[1] -> goto enter
	:: else
	fi;
#ifndef LIST_AFTER_NV
	listed[cpu] = 1;
#endif
#ifndef NO_WAKEUP_VECTOR
	atomic { nv = WAKEUP; ndst = cpu };
#endif
	blocked = 1;
#ifndef NO_POSTED_RECHECK
	if
	:: on -> blocked = 0
	:: else
	fi;
#endif
#ifdef LIST_AFTER_NV
	listed[cpu] = 1;
#endif
	if
	:: request || irr[0] || irr[1] -> blocked = 0
	:: else
	fi;
	(!blocked || quiet);
	blocked = 0;
	nv = POSTED;
	listed[cpu] = 0;
	goto loop;

end:
	assert(nothing_left)
}

init
{
	atomic {
		run Vcpu();
		run Poster(0);
		run Poster(1);
	}
}
