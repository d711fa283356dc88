/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A machine's state out and in: what hv/migrate knows as records, for a machine
 * whose vCPUs are parked.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "hv/base/fault_inject.h"
#include "hv/engine/migrate_internal.h"

void machine_guest(struct hv_machine *m, struct migrate_guest *g)
{
	*g = (struct migrate_guest){
		.vm = m->vm,
		.board = &m->board,
		.memory = m->board.ram_low + m->board.ram_high,
		.test_devices = m->test_devices,
	};
}

void machine_report(char *error, const struct migrate_error *e, int err)
{
	if (!error)
		return;
	if (!err)
		error[0] = '\0';
	else
		snprintf(error, HV_ERROR_SIZE, "%s", e->text[0] ? e->text : strerror(-err));
}

int machine_save_records(struct hv_machine *m, struct rec_writer *w, struct migrate_error *e)
{
	struct migrate_guest g;
	unsigned int i;
	int err = 0;

	if (machine_run_state(m) != MACHINE_PAUSED)
		return migrate_fail(e, -EBUSY, "the machine is not paused");
	for (i = 0; i < m->nr_vcpus && !err; i++)
		err = machine_finish_io(&m->vcpus[i]);
	if (err)
		return migrate_fail(e, err, "a vCPU's last instruction cannot be completed");
	/* What the guest has written is out before anybody else goes on. */
	uart16550_flush(m->uart);
	machine_guest(m, &g);
	return migrate_state_save(&g, w, e);
}

int machine_load_records(struct hv_machine *m, const void *image, size_t len,
			 struct migrate_error *e)
{
	struct migrate_guest g;
	int err;

	if (machine_run_state(m) != MACHINE_PAUSED)
		return migrate_fail(e, -EBUSY, "the machine is not paused");
	machine_guest(m, &g);
	/* First everything that can be told from outside, so that most failures change nothing. */
	err = migrate_state_check(&g, image, len, e);
	if (err)
		return err;
	err = migrate_state_load(&g, image, len, e);
	if (err) {
		machine_spoil(m);
		/* -EBADMSG and -EPROTO mean that nothing has changed. */
		if (err == -EBADMSG || err == -EPROTO)
			err = -EINVAL;
	}
	return err;
}

int machine_stop_held(struct hv_machine *m, enum machine_hold kind, bool *ran,
		      struct migrate_error *error)
{
	int err;

	machine_control_begin(m);
	*ran = machine_run_state(m) == MACHINE_RUNNING;
	err = machine_hold(m, kind);
	if (!err && machine_stop(m, MACHINE_PAUSED) != MACHINE_PAUSED) {
		machine_unhold(m);
		err = -EIO;
	}
	machine_control_end(m);
	if (err == -EIO)
		return migrate_fail(error, err, "the guest has ended");
	return err ? migrate_fail(error, err, "another migration or snapshot holds the machine") : 0;
}

void machine_resume_held(struct hv_machine *m, bool ran)
{
	machine_control_begin(m);
	if (!machine_unhold(m) && ran)
		machine_go(m);
	machine_control_end(m);
}

int hv_machine_save_state(struct hv_machine *m, const struct hv_sink *sink, char *error)
{
	struct migrate_error e = { "" };
	struct rec_writer w;
	int err;

	if (!m || !sink)
		return -EINVAL;
	rec_writer_init(&w);
	machine_control_begin(m);
	err = machine_save_records(m, &w, &e);
	machine_control_end(m);
	if (!err)
		err = sink->write(sink->ctx, w.data, w.len);
	rec_writer_free(&w);
	machine_report(error, &e, err);
	return err;
}

/* All of the source, at most REC_IMAGE_MAX. */
static int read_all(const struct hv_source *source, struct rec_writer *w, struct migrate_error *e)
{
	uint8_t buf[4096];
	int64_t n;

	while ((n = source->read(source->ctx, buf, sizeof(buf))) > 0) {
		rec_put(w, buf, (size_t)n);
		if (w->err)
			return migrate_fail(e, w->err, "state records: %s", strerror(-w->err));
	}
	return n < 0 ? migrate_fail(e, (int)n, "state records: %s", strerror((int)-n)) : 0;
}

int hv_machine_load_state(struct hv_machine *m, const struct hv_source *source, char *error)
{
	struct migrate_error e = { "" };
	struct rec_writer w;
	int err;

	if (!m || !source)
		return -EINVAL;
	rec_writer_init(&w);
	err = read_all(source, &w, &e);
	if (!err) {
		machine_control_begin(m);
		err = machine_load_records(m, w.data, w.len, &e);
		machine_control_end(m);
	}
	rec_writer_free(&w);
	machine_report(error, &e, err);
	return err;
}
