/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The state of a machine, saved half way through a guest that checks itself and
 * loaded into another machine, of any vendor and paging, where the guest finishes.
 * And what a machine refuses.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "hv/migrate/checksum.h"
#include "tests/lib/migrate_fixture.h"

#define GUEST(n) (&(const struct mf_guest){ .cpus = n, .rounds = MF_ENDLESS, .dot = 20 })

static int save(struct mf_machine *mm, struct mf_buffer *b, char *error)
{
	struct hv_sink sink = mf_sink(b);

	b->len = 0;
	return hv_machine_save_state(mm->m, &sink, error);
}

static int load(struct mf_machine *mm, struct mf_buffer *b, char *error)
{
	struct hv_source source = mf_source(b);

	return hv_machine_load_state(mm->m, &source, error);
}

/* The guest goes on in a new machine of these kinds; the old one is gone. */
static struct mf_machine *move(struct mf_machine *from, unsigned int cpus, const char *vendor,
			       const char *paging)
{
	struct mf_buffer b = { NULL };
	struct mf_machine *to = mf_machine_new(NULL, cpus, vendor, paging);
	char error[HV_ERROR_SIZE] = "";

	assert_int_equal(hv_machine_pause(from->m), 0);
	if (from->ended)
		print_message("# ended before it was moved: \"%s\"\n", from->console);
	assert_false(from->ended);
	if (save(from, &b, error))
		print_message("# %s\n", error);
	assert_string_equal(error, "");
	mf_copy_memory(from, to);
	if (load(to, &b, error))
		print_message("# %s\n", error);
	assert_string_equal(error, "");
	mf_machine_free(from);
	free(b.data);
	assert_int_equal(hv_machine_start(to->m), 0);
	return to;
}

static void one_move(const char *vendor, const char *paging, const char *vendor2,
		     const char *paging2, unsigned int cpus)
{
	struct mf_machine *mm = mf_machine_new(GUEST(cpus), cpus, vendor, paging);

	assert_int_equal(hv_machine_start(mm->m), 0);
	assert_true(mf_wait_dots(mm, 5));
	mm = move(mm, cpus, vendor2, paging2);
	assert_true(mf_wait_done(mm));
	mf_machine_free(mm);
}

static void test_vmx_to_vmx(void **state)
{
	one_move("vmx", "tdp", "vmx", "tdp", 1);
}

static void test_svm_to_svm(void **state)
{
	one_move("svm", "tdp", "svm", "tdp", 1);
}

static void test_vmx_to_svm(void **state)
{
	one_move("vmx", "tdp", "svm", "tdp", 2);
}

static void test_svm_to_vmx(void **state)
{
	one_move("svm", "tdp", "vmx", "tdp", 2);
}

static void test_shadow_to_tdp(void **state)
{
	one_move("vmx", "shadow", "vmx", "tdp", 1);
	one_move("svm", "shadow", "vmx", "tdp", 1);
}

static void test_tdp_to_shadow(void **state)
{
	one_move("vmx", "tdp", "svm", "shadow", 1);
}

/* Round and round, at moments that the guest does not choose. */
static void test_many_moves(void **state)
{
	static const char *const kinds[][2] = {
		{ "vmx", "tdp" }, { "svm", "tdp" }, { "vmx", "shadow" }, { "svm", "shadow" },
	};
	const struct mf_guest guest = { .cpus = 2, .rounds = MF_ENDLESS, .dot = 1 };
	struct mf_machine *mm = mf_machine_new(&guest, 2, "vmx", "tdp");
	unsigned int i;

	assert_int_equal(hv_machine_start(mm->m), 0);
	/* It may be done before that on a fast machine, but not before it was moved at all. */
	for (i = 1; i < 20 && mf_wait_dots(mm, 2 + i % 7); i++) {
		hv_machine_pause(mm->m);
		if (mm->ended)
			break;
		mm = move(mm, 2, kinds[i % 4][0], kinds[i % 4][1]);
	}
	print_message("# %u moves\n", i - 1);
	assert_true(i > 2);
	assert_true(mf_wait_done(mm));
	mf_machine_free(mm);
}

/* Saving changes nothing: the source goes on by itself. */
static void test_source_goes_on(void **state)
{
	struct mf_machine *mm = mf_machine_new(GUEST(1), 1, NULL, NULL);
	struct mf_buffer b = { NULL };

	assert_int_equal(hv_machine_start(mm->m), 0);
	assert_true(mf_wait_dots(mm, 3));
	assert_int_equal(hv_machine_pause(mm->m), 0);
	assert_int_equal(save(mm, &b, NULL), 0);
	assert_int_equal(save(mm, &b, NULL), 0);
	assert_int_equal(hv_machine_start(mm->m), 0);
	assert_true(mf_wait_done(mm));
	mf_machine_free(mm);
	free(b.data);
}

/* A state that is loaded and saved again has the same records but for times. */
static void test_load_then_save(void **state)
{
	struct mf_machine *mm = mf_machine_new(GUEST(1), 1, "vmx", NULL), *to;
	struct mf_buffer a = { NULL }, b = { NULL };

	assert_int_equal(hv_machine_start(mm->m), 0);
	assert_true(mf_wait_dots(mm, 3));
	assert_int_equal(hv_machine_pause(mm->m), 0);
	assert_int_equal(save(mm, &a, NULL), 0);
	to = mf_machine_new(NULL, 1, "vmx", NULL);
	mf_copy_memory(mm, to);
	assert_int_equal(load(to, &a, NULL), 0);
	assert_int_equal(save(to, &b, NULL), 0);
	assert_int_equal(a.len, b.len);
	mf_machine_free(mm);
	mf_machine_free(to);
	free(a.data);
	free(b.data);
}

static void test_not_paused(void **state)
{
	struct mf_machine *mm = mf_machine_new(GUEST(1), 1, NULL, NULL);
	struct mf_buffer b = { NULL };
	char error[HV_ERROR_SIZE];

	assert_int_equal(hv_machine_start(mm->m), 0);
	assert_int_equal(save(mm, &b, error), -EBUSY);
	assert_string_equal(error, "the machine is not paused");
	assert_int_equal(load(mm, &b, error), -EBUSY);
	mf_machine_free(mm);
	free(b.data);
}

static void refuse(struct mf_buffer *b, struct hv_machine_config *config, const char *what)
{
	struct mf_machine *to = mf_machine_with(NULL, config);
	char error[HV_ERROR_SIZE];

	assert_int_equal(load(to, b, error), -EPROTO);
	if (!strstr(error, what))
		print_message("# \"%s\" lacks \"%s\"\n", error, what);
	assert_non_null(strstr(error, what));
	mf_machine_free(to);
}

static void test_other_machines_are_refused(void **state)
{
	struct mf_machine *mm = mf_machine_new(GUEST(1), 1, NULL, NULL);
	struct hv_machine_config c = { .vcpus = 2, .memory = MF_MEMORY, .memory_fd = -1 };
	struct mf_buffer b = { NULL };

	assert_int_equal(save(mm, &b, NULL), 0);
	refuse(&b, &c, "record \"vcpu\" 1: missing");
	c.vcpus = 1;
	c.memory = 2 * MF_MEMORY;
	refuse(&b, &c, "record \"machine\" 0 at offset 52: the guest has 33554432 bytes of memory");
	c.memory = MF_MEMORY;
	c.cpu_model = "baseline-v1";
	refuse(&b, &c, "the guest's CPU model is");
	mf_machine_free(mm);
	free(b.data);
}

/* ---- states that somebody made up ----------------------------------------------------------- */

static uint32_t rng = 12345;

static uint32_t next_random(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 17;
	rng ^= rng << 5;
	return rng;
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return v;
}

static void put32(uint8_t *p, uint32_t v)
{
	memcpy(p, &v, 4);
}

/* Change up to four bytes of payloads, and make the checksums right again. */
static void corrupt(struct mf_buffer *b)
{
	size_t at;
	unsigned int i, n = 1 + next_random() % 4;

	for (i = 0; i < n; i++)
		b->data[next_random() % b->len] ^= (uint8_t)(1u << next_random() % 8);
	for (at = 0; at + 48 <= b->len;) {
		uint32_t len = get32(b->data + at + 12);

		if (len > b->len - at - 48)
			return;
		put32(b->data + at + 40, checksum_crc32c(0, b->data + at + 48, len));
		put32(b->data + at + 44, checksum_crc32c(0, b->data + at, 44));
		at += 48 + len;
	}
}

/*
 * Whatever the records say, with right checksums: an error that says something, or a
 * machine that runs, in whatever way its guest then fares.
 */
static void test_made_up_states(void **state)
{
	struct mf_machine *mm = mf_machine_new(GUEST(1), 1, "vmx", NULL), *to = NULL;
	struct mf_buffer good = { NULL }, b = { NULL };
	unsigned int i, refused = 0, loaded = 0;
	char error[HV_ERROR_SIZE];
	int err;

	assert_int_equal(hv_machine_start(mm->m), 0);
	assert_true(mf_wait_dots(mm, 3));
	assert_int_equal(hv_machine_pause(mm->m), 0);
	assert_int_equal(save(mm, &good, NULL), 0);
	b.data = malloc(good.len);
	for (i = 0; i < 1500; i++) {
		if (!to) {
			to = mf_machine_new(NULL, 1, i & 1 ? "svm" : "vmx", NULL);
			mf_copy_memory(mm, to);
		}
		memcpy(b.data, good.data, good.len);
		b.len = good.len;
		corrupt(&b);
		err = load(to, &b, error);
		if (err) {
			refused++;
			assert_string_not_equal(error, "");
			if (err == -EBADMSG || err == -EPROTO)
				continue; /* nothing has changed */
		} else if (loaded++ % 8 == 0) {
			hv_machine_start(to->m);
			mf_wait_dots(to, 1);
		} else {
			continue;
		}
		/* What was half loaded or has run is set up anew. */
		mf_machine_free(to);
		to = NULL;
	}
	print_message("# %u refused, %u loaded\n", refused, loaded);
	assert_true(refused > 100 && loaded > 100);
	mf_machine_free(to);
	mf_machine_free(mm);
	free(good.data);
	free(b.data);
}

static int group_setup(void **state)
{
	mf_init();
	return 0;
}

static int group_teardown(void **state)
{
	mf_exit();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vmx_to_vmx),
		cmocka_unit_test(test_svm_to_svm),
		cmocka_unit_test(test_vmx_to_svm),
		cmocka_unit_test(test_svm_to_vmx),
		cmocka_unit_test(test_shadow_to_tdp),
		cmocka_unit_test(test_tdp_to_shadow),
		cmocka_unit_test(test_many_moves),
		cmocka_unit_test(test_source_goes_on),
		cmocka_unit_test(test_load_then_save),
		cmocka_unit_test(test_not_paused),
		cmocka_unit_test(test_other_machines_are_refused),
		cmocka_unit_test(test_made_up_states),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
