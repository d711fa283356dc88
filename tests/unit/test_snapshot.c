/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Snapshots of a running guest that checks itself: the guest goes on, and goes on once
 * more from the snapshot, on any vendor. The directory is complete or not there.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/lib/migrate_fixture.h"

#define GUEST(n) (&(const struct mf_guest){ .cpus = n, .pages = 512, .rounds = MF_ENDLESS, .dot = 10 })

static char dir_path[] = "/tmp/hvd-snapshot-XXXXXX";
static int dir = -1;

static void remove_all(void)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", dir_path);
	assert_int_equal(system(command), 0);
}

/* How many entries the directory has. */
static unsigned int entries(void)
{
	unsigned int n = 0;
	struct dirent *e;
	DIR *d = opendir(dir_path);

	assert_non_null(d);
	while ((e = readdir(d)))
		n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
	closedir(d);
	return n;
}

static struct mf_machine *started(unsigned int cpus, const char *vendor)
{
	struct mf_machine *mm = mf_machine_new(GUEST(cpus), cpus, vendor, NULL);

	assert_int_equal(hv_machine_start(mm->m), 0);
	assert_true(mf_wait_dots(mm, 3));
	return mm;
}

static int take(struct mf_machine *mm, const char *name, char *error)
{
	struct hv_snapshot_config c = { .dir = dir, .name = name, .config = "{\"a\":1}", .config_len = 7 };
	int err = hv_snapshot_create(mm->m, &c, error);

	if (!err)
		print_message("# pause %llu us, %llu pages\n", (unsigned long long)c.pause_us,
			      (unsigned long long)c.pages);
	return err;
}

/* A machine from the snapshot, paused; NULL with error. */
static struct mf_machine *restore(const char *name, unsigned int cpus, const char *vendor,
				  const struct mf_guest *kernel, enum hv_snapshot_verify verify,
				  int *err, char *error)
{
	struct hv_machine_config config = { .vcpus = cpus, .vendor = vendor, .memory_private = true };
	struct hv_snapshot_info info;
	struct mf_machine *mm;
	struct hv_snapshot *s;

	*err = hv_snapshot_open(dir, name, &s, error);
	if (*err)
		return NULL;
	assert_int_equal(hv_snapshot_info(s, &info), 0);
	/* What a mutated manifest says is not worth a machine. */
	if (info.memory != MF_MEMORY) {
		hv_snapshot_close(s);
		*err = -EINVAL;
		return NULL;
	}
	config.memory = info.memory;
	config.memory_fd = info.memory_fd;
	config.incoming = true;
	mm = mf_machine_with(kernel, &config);
	*err = hv_snapshot_load(s, mm->m, verify, error);
	hv_snapshot_close(s);
	if (*err) {
		mf_machine_free(mm);
		return NULL;
	}
	return mm;
}

static void run_on(const char *name, unsigned int cpus, const char *vendor)
{
	char error[HV_ERROR_SIZE] = "";
	struct mf_machine *mm;
	int err;

	mm = restore(name, cpus, vendor, NULL, HV_SNAPSHOT_VERIFY, &err, error);
	if (err)
		print_message("# %s\n", error);
	assert_int_equal(err, 0);
	assert_int_equal(hv_machine_start(mm->m), 0);
	assert_true(mf_wait_done(mm));
	mf_machine_free(mm);
}

static void test_running_guest(void **state)
{
	struct mf_machine *mm = started(2, "vmx");

	assert_int_equal(take(mm, "one", NULL), 0);
	assert_true(mf_wait_done(mm));
	mf_machine_free(mm);
	/* As often as one likes. */
	run_on("one", 2, "vmx");
	run_on("one", 2, "svm");
	run_on("one", 2, "vmx");
}

/* Let it run for a moment, and look twice at a paused guest: nothing of it moves. */
static void pause_and_look(struct mf_machine *mm, unsigned int us)
{
	struct hv_regs before, after;
	size_t len;

	assert_int_equal(hv_machine_start(mm->m), 0);
	usleep(us);
	assert_int_equal(hv_machine_pause(mm->m), 0);
	len = mm->len;
	assert_int_equal(hv_vcpu_get_regs(hv_machine_vcpu(mm->m, 0), &before), 0);
	usleep(4000);
	assert_int_equal(hv_vcpu_get_regs(hv_machine_vcpu(mm->m, 0), &after), 0);
	assert_memory_equal(&before, &after, sizeof(before));
	assert_int_equal(mm->len, len);
}

/* Its output too is complete when the pause returns, also what the serial port gathers. */
static void test_paused_guest(void **state)
{
	const struct mf_guest guest = { .cpus = 2, .pages = 4, .rounds = MF_ENDLESS, .dot = 1 };
	struct mf_machine *mm = mf_machine_new(&guest, 2, "vmx", NULL);
	unsigned int i;
	size_t len;

	for (i = 0; i < 60; i++)
		pause_and_look(mm, 100 + 331 * i % 5000);
	mf_machine_free(mm);

	mm = started(1, "svm");
	assert_int_equal(hv_machine_pause(mm->m), 0);
	len = mm->len;
	assert_int_equal(take(mm, "paused", NULL), 0);
	assert_int_equal(mm->len, len);
	assert_int_equal(hv_machine_start(mm->m), 0);
	assert_true(mf_wait_done(mm));
	mf_machine_free(mm);
	run_on("paused", 1, "svm");
}

struct starter {
	struct mf_machine *mm;
	atomic_bool stop;
	unsigned int refused;
};

static void *start_again_and_again(void *arg)
{
	struct starter *s = arg;

	assert_int_equal(hv_thread_enter(), 0);
	while (!atomic_load(&s->stop))
		s->refused += hv_machine_start(s->mm->m) != 0;
	hv_thread_leave();
	return NULL;
}

/* A start in a snapshot's own pause waits for its end. */
static void test_started_meanwhile(void **state)
{
	const struct mf_guest guest = { .pages = 512, .rounds = MF_ENDLESS, .dot = 10 };
	struct mf_machine *mm = mf_machine_new(&guest, 1, NULL, NULL);
	struct starter s = { .mm = mm };
	pthread_t thread;
	unsigned int i;
	int err = 0;

	assert_int_equal(pthread_create(&thread, NULL, start_again_and_again, &s), 0);
	for (i = 0; i < 5 && !err; i++) {
		err = take(mm, "again", NULL);
		if (!err)
			err = hv_snapshot_delete(dir, "again");
	}
	atomic_store(&s.stop, true);
	pthread_join(thread, NULL);
	assert_int_equal(err, 0);
	assert_int_equal(s.refused, 0);
	mf_machine_free(mm);
}

static void test_many_in_a_row(void **state)
{
	const struct mf_guest guest = { .pages = 512, .rounds = MF_ENDLESS, .dot = 10 };
	struct mf_machine *mm = mf_machine_new(&guest, 1, NULL, NULL);
	char name[16];
	unsigned int i;

	assert_int_equal(hv_machine_start(mm->m), 0);
	for (i = 0; i < 5; i++) {
		snprintf(name, sizeof(name), "row%u", i);
		assert_true(mf_wait_dots(mm, 2 + 2 * i));
		assert_int_equal(take(mm, name, NULL), 0);
	}
	assert_true(mf_wait_done(mm));
	mf_machine_free(mm);
	run_on("row0", 1, "vmx");
	run_on("row4", 1, "svm");
}

/* The memory file is sparse, and the caller's bytes come back. */
static void test_files(void **state)
{
	struct mf_machine *mm = started(1, NULL);
	struct hv_snapshot_info info;
	struct hv_snapshot *s;
	char path[128];
	struct stat st;

	assert_int_equal(take(mm, "files", NULL), 0);
	mf_machine_free(mm);
	snprintf(path, sizeof(path), "%s/files/memory", dir_path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, MF_MEMORY);
	assert_true(st.st_blocks * 512 < 8 << 20);
	assert_int_equal(hv_snapshot_open(dir, "files", &s, NULL), 0);
	assert_int_equal(hv_snapshot_info(s, &info), 0);
	assert_int_equal(info.config_len, 7);
	assert_memory_equal(info.config, "{\"a\":1}", 7);
	assert_int_equal(info.memory, MF_MEMORY);
	hv_snapshot_close(s);
}

static void test_names(void **state)
{
	struct mf_machine *mm = mf_machine_new(GUEST(1), 1, NULL, NULL);
	char error[HV_ERROR_SIZE];
	struct hv_snapshot *s;
	unsigned int before = entries();

	assert_int_equal(take(mm, "../x", error), -EINVAL);
	assert_int_equal(take(mm, ".x", error), -EINVAL);
	assert_int_equal(take(mm, "", error), -EINVAL);
	assert_int_equal(take(mm, "one", error), -EEXIST);
	assert_string_equal(error, "one: is there already");
	assert_int_equal(hv_snapshot_open(dir, "none", &s, error), -ENOENT);
	assert_int_equal(hv_snapshot_delete(dir, "none"), -ENOENT);
	assert_int_equal(entries(), before);
	mf_machine_free(mm);
}

/* ---- files that somebody else has opened ------------------------------------------------ */

static struct hv_snapshot_files open_all(const char *name, int flags)
{
	static const char *const names[] = { "manifest", "state", "memory", "digests", "config" };
	char path[64];
	int fds[5], i;

	for (i = 0; i < 5; i++) {
		snprintf(path, sizeof(path), "%s/%s", name, names[i]);
		fds[i] = openat(dir, path, flags, 0600);
		assert_true(fds[i] >= 0);
	}
	return (struct hv_snapshot_files){ fds[0], fds[1], fds[2], fds[3], fds[4] };
}

static void close_all(const struct hv_snapshot_files *f)
{
	close(f->manifest);
	close(f->state);
	close(f->memory);
	close(f->digests);
	close(f->config);
}

/* A worker's way: it can open nothing, and gets every file. */
static void test_given_files(void **state)
{
	struct mf_machine *mm = started(1, "vmx");
	struct hv_snapshot_files files;
	struct hv_snapshot_config c = { .files = &files, .config = "{\"b\":2}", .config_len = 7 };
	struct hv_snapshot_info info;
	char error[HV_ERROR_SIZE] = "";
	struct hv_snapshot *s;

	assert_int_equal(mkdirat(dir, "given", 0700), 0);
	files = open_all("given", O_RDWR | O_CREAT | O_EXCL);
	assert_int_equal(write(files.config, c.config, c.config_len), 7);
	assert_int_equal(hv_snapshot_create(mm->m, &c, error), 0);
	close_all(&files);
	assert_true(mf_wait_done(mm));
	mf_machine_free(mm);
	files = open_all("given", O_RDONLY);
	assert_int_equal(hv_snapshot_open_files(&files, &s, error), 0);
	assert_int_equal(hv_snapshot_info(s, &info), 0);
	assert_int_equal(info.config_len, 7);
	assert_memory_equal(info.config, "{\"b\":2}", 7);
	hv_snapshot_close(s);
	/* What is not open, or another's, is an error. */
	close(files.digests);
	files.digests = -1;
	assert_int_equal(hv_snapshot_open_files(&files, &s, error), -EBADF);
	assert_non_null(strstr(error, "digests"));
	files.digests = open("/dev/null", O_RDONLY);
	assert_int_equal(hv_snapshot_open_files(&files, &s, error), -EBADMSG);
	close_all(&files);
	run_on("given", 1, "svm");
	assert_int_equal(hv_snapshot_delete(dir, "given"), 0);
}

/* No room at any moment: an error, and the guest runs on. */
static void test_no_room(void **state)
{
	const struct mf_guest guest = { .pages = 512, .rounds = MF_ENDLESS, .dot = 10 };
	struct mf_machine *mm = mf_machine_new(&guest, 1, NULL, NULL);
	const rlim_t room[] = { 0, 4096, MF_MEMORY - 1 };
	struct hv_snapshot_config c = { .dir = dir, .name = "room" };
	char error[HV_ERROR_SIZE] = "";
	unsigned int before = entries(), i;
	struct rlimit old, limit;

	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(hv_machine_start(mm->m), 0);
	assert_true(mf_wait_dots(mm, 1));
	for (i = 0; i < 3; i++) {
		int err;

		limit = (struct rlimit){ room[i], old.rlim_max };
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
		err = hv_snapshot_create(mm->m, &c, error);
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
		assert_int_equal(err, -EFBIG);
		assert_non_null(strstr(error, "memory"));
		assert_int_equal(entries(), before);
	}
	assert_true(mf_wait_done(mm));
	mf_machine_free(mm);
}

struct pauser {
	struct mf_machine *mm;
	bool asked;
};

static bool pause_at_once(void *ctx, uint64_t done, uint64_t total, unsigned int round)
{
	struct pauser *p = ctx;

	if (!p->asked)
		assert_int_equal(hv_machine_pause(p->mm->m), 0);
	p->asked = true;
	return false;
}

/* Somebody pauses the guest while a snapshot is taken: it stays paused. */
static void test_paused_meanwhile(void **state)
{
	struct mf_machine *mm = started(1, NULL);
	struct pauser p = { .mm = mm };
	struct hv_snapshot_config c = { .dir = dir, .name = "meanwhile", .progress = pause_at_once,
					.ctx = &p };
	size_t len;

	assert_int_equal(hv_snapshot_create(mm->m, &c, NULL), 0);
	assert_true(p.asked);
	len = mm->len;
	usleep(50000);
	assert_int_equal(mm->len, len);
	assert_int_equal(hv_machine_start(mm->m), 0);
	assert_true(mf_wait_done(mm));
	mf_machine_free(mm);
	assert_int_equal(hv_snapshot_delete(dir, "meanwhile"), 0);
}

static bool cancel_at(void *ctx, uint64_t done, uint64_t total, unsigned int round)
{
	return done >= *(uint64_t *)ctx;
}

/* Given up at any place: nothing is left, and the guest runs on. */
static void test_cancelled(void **state)
{
	const struct mf_guest guest = { .pages = 512, .rounds = MF_ENDLESS, .dot = 10 };
	struct mf_machine *mm = mf_machine_new(&guest, 1, NULL, NULL);
	unsigned int before = entries();
	uint64_t at;

	assert_int_equal(hv_machine_start(mm->m), 0);
	assert_true(mf_wait_dots(mm, 1));
	for (at = 0; at < MF_MEMORY; at += MF_MEMORY / 4) {
		struct hv_snapshot_config c = { .dir = dir, .name = "cancelled", .progress = cancel_at,
						.ctx = &at };

		assert_int_equal(hv_snapshot_create(mm->m, &c, NULL), -ECANCELED);
		assert_int_equal(entries(), before);
	}
	assert_true(mf_wait_done(mm));
	mf_machine_free(mm);
}

/* What a crash left behind is in nobody's way. */
static void test_left_over(void **state)
{
	struct mf_machine *mm = mf_machine_new(GUEST(1), 1, NULL, NULL);
	unsigned int before = entries();
	struct hv_snapshot *s;
	int fd;

	assert_int_equal(mkdirat(dir, ".left.part", 0700), 0);
	fd = openat(dir, ".left.part/memory", O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(hv_snapshot_open(dir, "left", &s, NULL), -ENOENT);
	assert_int_equal(take(mm, "left", NULL), 0);
	assert_int_equal(entries(), before + 1);
	assert_int_equal(hv_snapshot_delete(dir, "left"), 0);
	assert_int_equal(entries(), before);
	mf_machine_free(mm);
}

/* A restored machine that is reset boots with memory of its own, and the file stays. */
static void test_reset_after_restore(void **state)
{
	char error[HV_ERROR_SIZE] = "";
	struct mf_machine *mm;
	int err;

	mm = restore("one", 2, NULL, GUEST(2), HV_SNAPSHOT_TRUST, &err, error);
	assert_int_equal(err, 0);
	assert_int_equal(hv_machine_start(mm->m), 0);
	assert_true(mf_wait_dots(mm, 1));
	assert_int_equal(hv_machine_reset(mm->m), 0);
	assert_true(mf_wait_done(mm));
	assert_non_null(strstr(mm->console, "memory guest\n"));
	mf_machine_free(mm);
	run_on("one", 2, NULL);
}

/* ---- damage ------------------------------------------------------------------------------- */

static void put(const char *file, off_t at, const void *data, size_t len)
{
	int fd = openat(dir, file, O_WRONLY);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, data, len, at), len);
	close(fd);
}

static void test_wrong_page_is_named(void **state)
{
	struct mf_machine *mm = mf_machine_new(GUEST(1), 1, NULL, NULL);
	char error[HV_ERROR_SIZE] = "";
	int err;

	assert_int_equal(take(mm, "wrong", NULL), 0);
	mf_machine_free(mm);
	put("wrong/memory", 0x1234567, "x", 1);
	restore("wrong", 1, NULL, NULL, HV_SNAPSHOT_VERIFY, &err, error);
	assert_int_equal(err, -EILSEQ);
	assert_string_equal(error, "verification: the page at 0x1234000 is not what was saved");
	assert_int_equal(hv_snapshot_delete(dir, "wrong"), 0);
}

static uint32_t rng = 99;

static uint32_t next_random(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 17;
	rng ^= rng << 5;
	return rng;
}

/* Change a file of the snapshot, see what restoring says, and mend it. */
static int mutate(const char *file, char *error)
{
	static uint8_t good[1 << 20], bad[1 << 20];
	struct mf_machine *mm;
	int fd = openat(dir, file, O_RDWR), err;
	ssize_t len = read(fd, good, sizeof(good)), n = len;
	unsigned int i;

	assert_true(fd >= 0 && len > 0 && len < (ssize_t)sizeof(good));
	memcpy(bad, good, (size_t)len);
	switch (next_random() % 4) {
	case 0:
		n = next_random() % len;
		break;
	case 1:
		n = len + 1 + next_random() % 100;
		break;
	default:
		for (i = 0; i <= next_random() % 4; i++)
			bad[next_random() % len] ^= (uint8_t)(1u << next_random() % 8);
		break;
	}
	if (!memcmp(good, bad, (size_t)len) && n == len)
		bad[0] ^= 1;
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(pwrite(fd, bad, (size_t)n, 0), n);
	mm = restore("one", 2, NULL, NULL, HV_SNAPSHOT_TRUST, &err, error);
	mf_machine_free(mm);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(pwrite(fd, good, (size_t)len, 0), len);
	close(fd);
	return err;
}

static void test_mutated_directories(void **state)
{
	static const char *const files[] = { "one/manifest", "one/state", "one/config" };
	const char *count = getenv("HVD_MUTATIONS");
	unsigned int i, n = count ? (unsigned int)atoi(count) : 300;
	char error[HV_ERROR_SIZE];

	print_message("# %u mutations\n", n);
	for (i = 0; i < n; i++) {
		error[0] = '\0';
		assert_int_not_equal(mutate(files[i % 3], error), 0);
		assert_string_not_equal(error, "");
	}
	run_on("one", 2, NULL);
}

static void test_missing_files(void **state)
{
	static const char *const files[] = { "manifest", "state", "config", "memory" };
	char error[HV_ERROR_SIZE], path[64], aside[64];
	struct hv_snapshot *s;
	unsigned int i;

	for (i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "one/%s", files[i]);
		snprintf(aside, sizeof(aside), "one/%s.aside", files[i]);
		assert_int_equal(renameat(dir, path, dir, aside), 0);
		assert_int_equal(hv_snapshot_open(dir, "one", &s, error), -ENOENT);
		assert_non_null(strstr(error, files[i]));
		/* A file of another kind is none. */
		assert_int_equal(mkfifoat(dir, path, 0600), 0);
		assert_int_equal(hv_snapshot_open(dir, "one", &s, error), -EBADMSG);
		assert_int_equal(unlinkat(dir, path, 0), 0);
		assert_int_equal(symlinkat("/etc/passwd", dir, path), 0);
		assert_int_equal(hv_snapshot_open(dir, "one", &s, error), -ELOOP);
		assert_int_equal(unlinkat(dir, path, 0), 0);
		assert_int_equal(renameat(dir, aside, dir, path), 0);
	}
}

static void test_other_machine(void **state)
{
	char error[HV_ERROR_SIZE];
	int err;

	restore("one", 1, NULL, NULL, HV_SNAPSHOT_TRUST, &err, error);
	assert_int_equal(err, -EPROTO);
	assert_non_null(strstr(error, "record \"vcpu\" 1"));
}

static int group_setup(void **state)
{
	assert_non_null(mkdtemp(dir_path));
	dir = open(dir_path, O_RDONLY | O_DIRECTORY);
	assert_true(dir >= 0);
	mf_init();
	return 0;
}

static int group_teardown(void **state)
{
	close(dir);
	remove_all();
	mf_exit();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_running_guest),
		cmocka_unit_test(test_paused_guest),
		cmocka_unit_test(test_started_meanwhile),
		cmocka_unit_test(test_many_in_a_row),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_given_files),
		cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_paused_meanwhile),
		cmocka_unit_test(test_cancelled),
		cmocka_unit_test(test_left_over),
		cmocka_unit_test(test_reset_after_restore),
		cmocka_unit_test(test_wrong_page_is_named),
		cmocka_unit_test(test_mutated_directories),
		cmocka_unit_test(test_missing_files),
		cmocka_unit_test(test_other_machine),
	};

	/* So many take long enough without the others. */
	if (getenv("HVD_MUTATIONS"))
		cmocka_set_test_filter("test_mutated_directories");
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
