/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The run-time validator of the lock order (HV_DEBUG only).
 *
 * Each thread keeps the stack of what it holds, with the site where it took
 * each. Only the thread itself looks at its stack, so there is nothing to
 * lock; the rules need no history of other threads, since the permitted order
 * is written down. Checks are made before a lock can block: a test that would
 * hang aborts instead.
 */
#include "hv/base/lockorder.h"

#ifdef HV_DEBUG

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "hv/base/assert.h"
#include "hv/base/util.h"

/* Deeper nesting than all vCPUs of a VM at once is a bug. */
#define HELD_MAX 320

struct held {
	struct hv_lock_dep *dep;
	const char *file;
	int line;
	uint16_t nest;
	uint8_t mode;
};

struct thread_state {
	unsigned int depth;
	unsigned int spinlocks; /* of the held ones */
	unsigned int rcu_depth;
	int rcu_line; /* where the outermost read-side section began */
	const char *rcu_file;
	enum hv_lock_class ceiling;
	bool exit_hook; /* check_at_exit() will run for this thread */
	struct held held[HELD_MAX];
};

static __thread struct thread_state self = { .ceiling = HV_LC_NONE };

static pthread_key_t exit_key;
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;

static const char *class_name(enum hv_lock_class c)
{
	return hv_lock_classes[c].name;
}

/* ---- reports ----------------------------------------------------------------- */

struct report {
	char text[4096];
	size_t len;
};

static void __attribute__((format(printf, 2, 3))) add(struct report *r, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(r->text + r->len, sizeof(r->text) - r->len, fmt, ap);
	va_end(ap);
	if (n > 0)
		r->len = hv_min(r->len + (size_t)n, sizeof(r->text) - 1);
}

static void add_all_held(struct report *r)
{
	unsigned int i;

	if (!self.depth && !self.rcu_depth)
		add(r, "\n  this thread holds nothing");
	for (i = 0; i < self.depth && i < 32; i++)
		add(r, "\n  [%u] %s%s taken at %s:%d", i, class_name(self.held[i].dep->class),
		    self.held[i].mode == HV_LM_SHARED ? " (shared)" : "", self.held[i].file,
		    self.held[i].line);
	if (self.rcu_depth)
		add(r, "\n  [rcu] read-side section (depth %u) entered at %s:%d", self.rcu_depth,
		    self.rcu_file, self.rcu_line);
}

/* One line that says what is wrong, both sites included; then all that is held. */
static void __attribute__((noreturn, format(printf, 3, 4)))
violation(const char *file, int line, const char *fmt, ...)
{
	struct report r = { .len = 0 };
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r.text, sizeof(r.text), fmt, ap);
	va_end(ap);
	r.len = strlen(r.text);
	add_all_held(&r);
	/* A thread that dies here must not report once more at its exit. */
	self.depth = self.rcu_depth = self.spinlocks = 0;
	hv_bug(file, line, "lock validator: %s", r.text);
}

/* ---- the held stack ------------------------------------------------------------ */

static void check_at_exit(void *unused)
{
	hv_lockdep_assert_none_held("a thread ends", "thread exit", 0);
}

static void exit_key_create(void)
{
	HV_BUG_ON(pthread_key_create(&exit_key, check_at_exit));
}

/* Arms the check at the end of this thread. */
static void hook_exit(void)
{
	if (hv_likely(self.exit_hook))
		return;
	pthread_once(&exit_once, exit_key_create);
	pthread_setspecific(exit_key, &self);
	self.exit_hook = true;
}

static struct held *find(const struct hv_lock_dep *d)
{
	unsigned int i;

	for (i = self.depth; i-- > 0;)
		if (self.held[i].dep == d)
			return &self.held[i];
	return NULL;
}

static const struct held *find_class(enum hv_lock_class c)
{
	unsigned int i;

	for (i = self.depth; i-- > 0;)
		if (self.held[i].dep->class == c)
			return &self.held[i];
	return NULL;
}

static const struct held *held_spinlock(const struct hv_lock_dep *except)
{
	unsigned int i;

	for (i = self.depth; self.spinlocks && i-- > 0;)
		if (self.held[i].dep != except &&
		    hv_lock_classes[self.held[i].dep->class].type == HV_LOCK_SPINLOCK)
			return &self.held[i];
	return NULL;
}

/* ---- the rules ------------------------------------------------------------------- */

static void check_recursion(const struct held *h, const struct hv_lock_dep *d, unsigned int nest,
			    const char *file, int line)
{
	const char *name = class_name(d->class);

	if (h->dep == d)
		violation(file, line, "recursion: %s at %s:%d, which this thread took at %s:%d",
			  name, file, line, h->file, h->line);
	if (h->dep->class == d->class && nest <= h->nest)
		violation(file, line,
			  "recursion: another %s at %s:%d without an ascending nest annotation, "
			  "after the one taken at %s:%d",
			  name, file, line, h->file, h->line);
}

static void check_pair(const struct held *h, enum hv_lock_class class, const char *file, int line)
{
	enum hv_lock_class outer = h->dep->class;

	if (outer == class || hv_lockorder_permits(outer, class))
		return;
	if (outer == HV_LC_MN_ACTIVE)
		violation(file, line,
			  "notifier context: %s at %s:%d, inside the invalidation begun at %s:%d",
			  class_name(class), file, line, h->file, h->line);
	violation(file, line, "order: %s at %s:%d, while %s taken at %s:%d is held%s%s%s",
		  class_name(class), file, line, class_name(outer), h->file, h->line,
		  hv_lockorder_permits(class, outer) ? "; the order is " : "; no order is stated",
		  hv_lockorder_permits(class, outer) ? class_name(class) : "",
		  hv_lockorder_permits(class, outer) ? " first" : "");
}

static void check_sleep(const struct hv_lock_dep *except, const char *what, const char *file,
			int line)
{
	const struct held *h = held_spinlock(except);

	if (h)
		violation(file, line,
			  "sleeping under a spinlock: %s at %s:%d, while %s taken at %s:%d is held",
			  what, file, line, class_name(h->dep->class), h->file, h->line);
}

static void check_class(enum hv_lock_class class, const char *file, int line)
{
	const struct hv_lock_class_info *info = &hv_lock_classes[class];
	unsigned int i;

	if (info->type == HV_LOCK_MUTEX || info->type == HV_LOCK_RWLOCK)
		check_sleep(NULL, info->name, file, line);
	if (info->gp == HV_GP_OUTSIDE && self.rcu_depth)
		violation(file, line,
			  "%s at %s:%d, inside the RCU read-side section entered at %s:%d", info->name,
			  file, line, self.rcu_file, self.rcu_line);
	for (i = self.depth; i-- > 0;)
		check_pair(&self.held[i], class, file, line);
}

static void check_ceiling(enum hv_lock_class class, const char *file, int line)
{
	if (self.ceiling == HV_LC_NONE || class == self.ceiling ||
	    hv_lockorder_permits(self.ceiling, class))
		return;
	violation(file, line,
		  "order: %s at %s:%d, in work whose queue promises nothing outside %s",
		  class_name(class), file, line, class_name(self.ceiling));
}

/* ---- entry points ------------------------------------------------------------------ */

void hv_lockdep_init(struct hv_lock_dep *d, enum hv_lock_class class, enum hv_lock_type type)
{
	HV_BUG_ON(class >= HV_LC_COUNT);
	if (hv_lock_classes[class].type != type)
		HV_BUG("lock validator: %s initialised as a lock of another type",
		       class_name(class));
	*d = (struct hv_lock_dep){ .class = class };
}

void hv_lockdep_destroy(struct hv_lock_dep *d, const char *file, int line)
{
	if (__atomic_load_n(&d->holders, __ATOMIC_ACQUIRE))
		violation(file, line, "%s destroyed at %s:%d while held since %s:%d",
			  class_name(d->class), file, line, READ_ONCE(d->file),
			  READ_ONCE(d->line));
}

void hv_lockdep_before(struct hv_lock_dep *d, unsigned int nest, const char *file, int line)
{
	enum hv_lock_class req = hv_lock_classes[d->class].requires;
	unsigned int i;

	for (i = self.depth; i-- > 0;)
		check_recursion(&self.held[i], d, nest, file, line);
	check_class(d->class, file, line);
	check_ceiling(d->class, file, line);
	if (req != HV_LC_NONE && !find_class(req))
		violation(file, line, "%s at %s:%d needs %s to be held", class_name(d->class), file,
			  line, class_name(req));
}

void hv_lockdep_acquired(struct hv_lock_dep *d, enum hv_lock_mode mode, unsigned int nest,
			 const char *file, int line)
{
	hook_exit();
	if (self.depth == HELD_MAX)
		violation(file, line, "more than %d locks held", HELD_MAX);
	self.held[self.depth++] = (struct held){
		.dep = d, .file = file, .line = line, .nest = (uint16_t)nest, .mode = (uint8_t)mode
	};
	if (hv_lock_classes[d->class].type == HV_LOCK_SPINLOCK)
		self.spinlocks++;
	__atomic_fetch_add(&d->holders, 1, __ATOMIC_RELAXED);
	WRITE_ONCE(d->file, file);
	WRITE_ONCE(d->line, line);
}

void hv_lockdep_release(struct hv_lock_dep *d, enum hv_lock_mode mode, const char *file, int line)
{
	struct held *h = find(d);

	if (!h || h->mode != mode)
		violation(file, line,
			  "%s released at %s:%d by a thread that does not hold it%s; last taken at "
			  "%s:%d",
			  class_name(d->class), file, line, h ? " in this mode" : "",
			  READ_ONCE(d->file) ? READ_ONCE(d->file) : "nowhere", READ_ONCE(d->line));
	if (hv_lock_classes[d->class].type == HV_LOCK_SPINLOCK)
		self.spinlocks--;
	__atomic_fetch_sub(&d->holders, 1, __ATOMIC_RELEASE);
	memmove(h, h + 1, (size_t)(&self.held[self.depth] - (h + 1)) * sizeof(*h));
	self.depth--;
}

void hv_lockdep_cond_wait(struct hv_lock_dep *d, const char *file, int line)
{
	hv_lockdep_assert_held(d, HV_LM_EXCLUSIVE, file, line);
	check_sleep(d, "a wait", file, line);
	if (self.rcu_depth)
		violation(file, line,
			  "a wait at %s:%d, inside the RCU read-side section entered at %s:%d", file,
			  line, self.rcu_file, self.rcu_line);
}

void hv_lockdep_assert_held(const struct hv_lock_dep *d, enum hv_lock_mode mode, const char *file,
			    int line)
{
	const struct held *h = find(d);

	if (!h || (mode != HV_LM_ANY && h->mode != mode))
		violation(file, line, "%s is not held%s at %s:%d; last taken at %s:%d",
			  class_name(d->class), h ? " in the needed mode" : "", file, line,
			  READ_ONCE(d->file) ? READ_ONCE(d->file) : "nowhere", READ_ONCE(d->line));
}

void hv_lockdep_assert_not_held(const struct hv_lock_dep *d, const char *file, int line)
{
	const struct held *h = find(d);

	if (h)
		violation(file, line, "%s must not be held at %s:%d, but was taken at %s:%d",
			  class_name(d->class), file, line, h->file, h->line);
}

void hv_lockdep_assert_none_held(const char *what, const char *file, int line)
{
	if (self.depth)
		violation(file, line, "%s at %s:%d while %s taken at %s:%d is held", what, file, line,
			  class_name(self.held[self.depth - 1].dep->class),
			  self.held[self.depth - 1].file, self.held[self.depth - 1].line);
	if (self.rcu_depth)
		violation(file, line,
			  "%s at %s:%d inside the RCU read-side section entered at %s:%d", what, file,
			  line, self.rcu_file, self.rcu_line);
}

void hv_lockdep_might_sleep(const char *what, const char *file, int line)
{
	check_sleep(NULL, what, file, line);
}

void hv_lockdep_rcu_enter(const char *file, int line)
{
	hook_exit();
	if (self.rcu_depth++ == 0) {
		self.rcu_file = file;
		self.rcu_line = line;
	}
}

void hv_lockdep_rcu_leave(const char *file, int line)
{
	if (!self.rcu_depth)
		violation(file, line, "RCU read-side section left at %s:%d, but never entered", file,
			  line);
	self.rcu_depth--;
}

bool hv_lockdep_rcu_held(void)
{
	return self.rcu_depth > 0;
}

void hv_lockdep_gp_wait(const char *what, const char *file, int line)
{
	unsigned int i;

	if (self.rcu_depth)
		violation(file, line,
			  "%s at %s:%d, inside the RCU read-side section entered at %s:%d", what, file,
			  line, self.rcu_file, self.rcu_line);
	check_sleep(NULL, what, file, line);
	for (i = self.depth; i-- > 0;)
		if (hv_lock_classes[self.held[i].dep->class].gp == HV_GP_INSIDE)
			violation(file, line,
				  "%s at %s:%d, while %s taken at %s:%d is held, which read-side "
				  "sections may wait for",
				  what, file, line, class_name(self.held[i].dep->class),
				  self.held[i].file, self.held[i].line);
}

void hv_lockdep_wait_for(enum hv_lock_class class, const char *what, const char *file, int line)
{
	unsigned int i;

	check_sleep(NULL, what, file, line);
	if (self.rcu_depth)
		violation(file, line,
			  "%s at %s:%d, inside the RCU read-side section entered at %s:%d", what, file,
			  line, self.rcu_file, self.rcu_line);
	if (class == HV_LC_NONE)
		return;
	for (i = self.depth; i-- > 0;)
		if (self.held[i].dep->class == class)
			violation(file, line, "%s at %s:%d, while %s taken at %s:%d is held, which it "
				  "may need", what, file, line, class_name(class),
				  self.held[i].file, self.held[i].line);
	check_class(class, file, line);
}

void hv_lockdep_set_ceiling(enum hv_lock_class class)
{
	self.ceiling = class;
}

#endif /* HV_DEBUG */
