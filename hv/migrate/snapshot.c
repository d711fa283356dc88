/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Taking a snapshot. Everything goes into ".NAME.part", is synced, and gets its name
 * at the very end.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hv/base/clock.h"
#include "hv/base/fault_inject.h"
#include "hv/base/rcu.h"
#include "hv/base/util.h"
#include "hv/mem/region.h"
#include "hv/migrate/checksum.h"
#include "hv/migrate/pages.h"
#include "hv/migrate/rounds.h"
#include "hv/migrate/snapshot_internal.h"

#define PAUSE_PAGES	2048U  /* 8 MiB: a few milliseconds of copying */
#define PAUSE_PAGES_MAX 16384U /* after ROUNDS_PATIENT rounds */
#define ROUNDS_PATIENT	12U
#define ROUNDS_MAX	40U
#define CHUNK_BYTES	(PAGES_CHUNK * HV_PAGE_SIZE)

struct taking {
	struct snapshot_request *req;
	struct migrate_error *error;
	struct rounds rounds;
	struct snapshot s; /* slots */
	int dir_fd;	   /* -1: the files are the caller's */
	int memory_fd;
	uint64_t *digests; /* of each page of the file */
	uint64_t *present; /* a bit per page of the file that has data */
	uint8_t *chunk;
	/* Pages copied in the pause: [i] is of gpa late_gpa[i]. */
	uint8_t *late;
	uint64_t *late_gpa, nr_late, room_late;
	struct rec_writer state;
	unsigned int throttle;
	bool stopped;
};

/* ---- names --------------------------------------------------------------------------- */

int snapshot_name_check(const char *name)
{
	size_t len = name ? strlen(name) : 0;

	return !len || len > SNAPSHOT_NAME_MAX || name[0] == '.' || strchr(name, '/') ? -EINVAL : 0;
}

static void part_name(char *out, size_t size, const char *name, const char *suffix)
{
	snprintf(out, size, ".%s.%s", name, suffix);
}

const char *const snapshot_file_names[SNAPSHOT_FILES] = {
	[SNAPSHOT_MANIFEST] = "manifest", [SNAPSHOT_STATE] = "state",
	[SNAPSHOT_MEMORY] = "memory",	  [SNAPSHOT_DIGESTS] = "digests",
	[SNAPSHOT_CONFIG] = "config",
};

/* A directory of ours with what we put there. */
static int remove_dir(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	size_t i;

	if (fd < 0)
		return -errno;
	for (i = 0; i < SNAPSHOT_FILES; i++)
		unlinkat(fd, snapshot_file_names[i], 0);
	close(fd);
	return unlinkat(dir, name, AT_REMOVEDIR) ? -errno : 0;
}

int snapshot_remove(int dir, const char *name)
{
	char gone[SNAPSHOT_NAME_MAX + 16];
	int err = snapshot_name_check(name);

	if (err)
		return err;
	part_name(gone, sizeof(gone), name, "gone");
	remove_dir(dir, gone); /* of an attempt that was cut short */
	if (renameat(dir, name, dir, gone))
		return -errno;
	return remove_dir(dir, gone);
}

/* ---- where memory is ------------------------------------------------------------------------ */

int snapshot_layout(struct hv_vm *vm, struct snapshot *s, struct migrate_error *error)
{
	struct hv_region *first = NULL, *region;
	struct hv_memslot *slot;
	struct hv_memslots *set;
	int err = 0;

	hv_rcu_read_lock();
	set = hv_vm_memslots(vm, 0);
	for (slot = memslot_first_from(set, 0); slot && !err; slot = memslot_next(set, slot)) {
		region = hv_mem_find_region(vm->mem, slot->userspace_addr);
		if (!first)
			first = region;
		if (!region || region != first || s->nr_slots == SNAPSHOT_SLOTS_MAX)
			err = -EOPNOTSUPP;
		else
			s->slots[s->nr_slots++] = (struct snapshot_slot){
				.gpa = slot->base_gfn << HV_PAGE_SHIFT,
				.size = slot->npages << HV_PAGE_SHIFT,
				.offset = slot->userspace_addr - hv_region_hva(region),
			};
	}
	if (first)
		s->memory = hv_region_size(first);
	hv_rcu_read_unlock();
	if (!err && !first)
		err = -EOPNOTSUPP;
	return err ? migrate_fail(error, err, "the machine's memory is not one piece of RAM") : 0;
}

/* Offset in the file of gpa; *len is cut at the slot's end. False: not memory. */
static bool offset_of(const struct snapshot *s, uint64_t gpa, uint64_t *len, uint64_t *offset)
{
	unsigned int i;

	for (i = 0; i < s->nr_slots; i++) {
		const struct snapshot_slot *slot = &s->slots[i];

		if (gpa >= slot->gpa && gpa - slot->gpa < slot->size) {
			*len = hv_min(*len, slot->size - (gpa - slot->gpa));
			*offset = slot->offset + (gpa - slot->gpa);
			return true;
		}
	}
	return false;
}

/* ---- writing pages --------------------------------------------------------------------------- */

static int disk(struct taking *t, const char *what, int err)
{
	return migrate_fail(t->error, err, "%s: %s", what, strerror(-err));
}

static int write_at(int fd, const uint8_t *data, uint64_t len, uint64_t offset)
{
	while (len) {
		ssize_t n = pwrite(fd, data, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			return -EIO;
		data += n;
		len -= (uint64_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

/* What is zero is a hole, also where data was written before. */
static int put_zero_page(struct taking *t, uint64_t page)
{
	uint64_t bit = 1ULL << page % 64;
	int err = 0;

	if (!(t->present[page / 64] & bit))
		return 0;
	t->present[page / 64] &= ~bit;
	if (fallocate(t->memory_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)(page * HV_PAGE_SIZE), HV_PAGE_SIZE)) {
		static const uint8_t zeros[HV_PAGE_SIZE];

		/* A file system without holes. */
		err = write_at(t->memory_fd, zeros, HV_PAGE_SIZE, page * HV_PAGE_SIZE);
	}
	return err;
}

/* Pages that are neighbours in the file; runs of data go in one write. */
static int put_pages(struct taking *t, const uint8_t *data, uint64_t pages, uint64_t offset)
{
	static const uint64_t zeros[HV_PAGE_SIZE / 8];
	uint64_t zero = checksum_xxh64(zeros, sizeof(zeros), 0), first = offset / HV_PAGE_SIZE, i, run = 0;
	int err = 0;

	for (i = 0; i <= pages && !err; i++) {
		const uint8_t *page = data + i * HV_PAGE_SIZE;
		bool has_data = i < pages && !checksum_is_zero(page, HV_PAGE_SIZE);

		if (has_data) {
			t->digests[first + i] = checksum_xxh64(page, HV_PAGE_SIZE, 0);
			t->present[(first + i) / 64] |= 1ULL << (first + i) % 64;
			run++;
			continue;
		}
		if (run)
			err = write_at(t->memory_fd, page - run * HV_PAGE_SIZE, run * HV_PAGE_SIZE,
				       (first + i - run) * HV_PAGE_SIZE);
		run = 0;
		if (!err && i < pages) {
			t->digests[first + i] = zero;
			err = put_zero_page(t, first + i);
		}
	}
	return err ? disk(t, "memory", err) : 0;
}

static bool cancelled(struct taking *t, uint64_t done)
{
	struct snapshot_request *req = t->req;

	return req->ops->progress &&
	       req->ops->progress(req->ctx, done * HV_PAGE_SIZE, t->rounds.pages * HV_PAGE_SIZE,
				  t->rounds.number);
}

static int copy_chunk(struct taking *t, uint64_t gpa, uint64_t len)
{
	uint64_t offset;
	int err;

	if (!offset_of(&t->s, gpa, &len, &offset))
		return migrate_fail(t->error, -EAGAIN, "the memory slots changed meanwhile");
	/* Reading a hole would fill it; all of it stays as the file is. */
	if (t->rounds.number == 1 && pages_are_hole(t->req->vm, gpa, len))
		return 0;
	err = vm_read_guest(t->req->vm, gpa, t->chunk, len);
	return err ? disk(t, "guest memory", err) : put_pages(t, t->chunk, len / HV_PAGE_SIZE, offset);
}

static int copy_round(struct taking *t)
{
	struct rounds *r = &t->rounds;
	uint64_t done = 0;
	unsigned int i;
	int err = 0;

	for (i = 0; i < r->count && !err; i++) {
		uint64_t gpa = r->ranges[i].gpa, left = r->ranges[i].pages * HV_PAGE_SIZE;

		while (left && !err) {
			uint64_t len = hv_min(left, (uint64_t)CHUNK_BYTES), offset;

			if (!offset_of(&t->s, gpa, &len, &offset))
				return migrate_fail(t->error, -EAGAIN,
						    "the memory slots changed meanwhile");
			err = copy_chunk(t, gpa, len);
			gpa += len;
			left -= len;
			done += len / HV_PAGE_SIZE;
			if (!err && done % 1024 < PAGES_CHUNK && cancelled(t, done))
				err = migrate_fail(t->error, -ECANCELED, "cancelled");
		}
	}
	return err;
}

/* ---- the pause ----------------------------------------------------------------------------------- */

/* Read the round's pages into the buffer. */
static int buffer_round(struct taking *t)
{
	struct rounds *r = &t->rounds;
	uint64_t n = t->nr_late + r->pages, k;
	unsigned int i;
	void *p;
	int err;

	if (n > t->room_late) {
		p = hv_realloc_array(t->late, n, HV_PAGE_SIZE);
		if (!p)
			return -ENOMEM;
		t->late = p;
		p = hv_realloc_array(t->late_gpa, n, sizeof(*t->late_gpa));
		if (!p)
			return -ENOMEM;
		t->late_gpa = p;
		t->room_late = n;
	}
	for (i = 0; i < r->count; i++) {
		uint8_t *at = t->late + t->nr_late * HV_PAGE_SIZE;

		err = vm_read_guest(t->req->vm, r->ranges[i].gpa, at, r->ranges[i].pages * HV_PAGE_SIZE);
		if (err)
			return err;
		for (k = 0; k < r->ranges[i].pages; k++)
			t->late_gpa[t->nr_late++] = r->ranges[i].gpa + k * HV_PAGE_SIZE;
	}
	return 0;
}

static int pause_and_copy(struct taking *t)
{
	struct snapshot_request *req = t->req;
	int err = req->ops->stop(req->ctx, t->error);

	if (err)
		return err;
	t->stopped = true;
	/* Before the last harvest: completing an instruction may write to memory. */
	err = req->ops->save(req->ctx, &t->state, t->error);
	if (!err)
		err = buffer_round(t);
	if (!err)
		err = rounds_harvest(&t->rounds);
	if (!err)
		err = buffer_round(t);
	return err ? migrate_fail(t->error, err, "copying the last pages: %s", strerror(-err)) : 0;
}

static int take_last(struct taking *t)
{
	uint64_t begin = hv_clock_ns(), i, offset, len;
	int err = pause_and_copy(t);

	if (t->stopped)
		t->req->ops->resume(t->req->ctx);
	t->req->pause_us = (hv_clock_ns() - begin) / 1000;
	/* In order: a page that is there twice is the second time as it was at the end. */
	for (i = 0; i < t->nr_late && !err; i++) {
		len = HV_PAGE_SIZE;
		if (!offset_of(&t->s, t->late_gpa[i], &len, &offset))
			return migrate_fail(t->error, -EAGAIN, "the memory slots changed meanwhile");
		err = put_pages(t, t->late + i * HV_PAGE_SIZE, 1, offset);
	}
	return err;
}

/* ---- rounds --------------------------------------------------------------------------------------- */

static bool few_enough(const struct taking *t)
{
	return t->rounds.pages <= (t->rounds.number > ROUNDS_PATIENT ? PAUSE_PAGES_MAX : PAUSE_PAGES);
}

static void slow_down(struct taking *t, uint64_t copied)
{
	if (t->rounds.number < 4 || t->rounds.pages * 2 < copied)
		return;
	t->throttle = hv_min(t->throttle ? t->throttle + 15 : 30, 99U);
	t->req->ops->throttle(t->req->ctx, t->throttle);
}

static int take_memory(struct taking *t)
{
	uint64_t copied;
	int err = rounds_start(t->req->vm, &t->rounds);

	if (!err)
		err = rounds_harvest(&t->rounds);
	while (!err) {
		copied = t->rounds.pages;
		err = copy_round(t);
		if (err)
			return err;
		err = rounds_harvest(&t->rounds);
		if (err || few_enough(t))
			break;
		if (t->rounds.number > ROUNDS_MAX)
			return migrate_fail(t->error, -ETIMEDOUT,
					    "the guest writes faster than the disk takes it");
		slow_down(t, copied);
	}
	return err ? disk(t, "the dirty log", err) : take_last(t);
}

/* ---- files ------------------------------------------------------------------------------------------ */

static int new_file(struct taking *t, enum snapshot_file file)
{
	const char *name = snapshot_file_names[file];
	int fd;

	if (t->req->fds)
		fd = fcntl(t->req->fds[file], F_DUPFD_CLOEXEC, 3);
	else
		fd = openat(t->dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return fd < 0 ? disk(t, name, -errno) : fd;
}

static int put_file(struct taking *t, enum snapshot_file file, const void *data, size_t len)
{
	const char *name = snapshot_file_names[file];
	int fd = new_file(t, file), err;

	if (fd < 0)
		return fd;
	err = write_at(fd, data, len, 0);
	if (!err && fsync(fd))
		err = -errno;
	close(fd);
	return err ? disk(t, name, err) : 0;
}

static int put_manifest(struct taking *t)
{
	uint64_t digests = t->s.memory / HV_PAGE_SIZE * sizeof(*t->digests);
	struct snapshot_request *req = t->req;
	struct rec_writer w;
	int err;

	t->s.created_ns = hv_clock_realtime_ns();
	t->s.state_len = t->state.len;
	t->s.config_len = req->config_len;
	rec_writer_init(&w);
	err = snapshot_manifest_save(
		&(struct snapshot_manifest){
			.s = &t->s,
			.state_crc = checksum_crc32c(0, t->state.data, t->state.len),
			.config_crc = checksum_crc32c(0, req->config, req->config_len),
			.digests_crc = checksum_crc32c(0, t->digests, digests),
		},
		&w, t->error);
	if (!err)
		err = put_file(t, SNAPSHOT_STATE, t->state.data, t->state.len);
	if (!err && !req->fds)
		err = put_file(t, SNAPSHOT_CONFIG, req->config, req->config_len);
	if (!err)
		err = put_file(t, SNAPSHOT_DIGESTS, t->digests, digests);
	if (!err)
		err = put_file(t, SNAPSHOT_MANIFEST, w.data, w.len);
	rec_writer_free(&w);
	return err;
}

static int prepare(struct taking *t)
{
	static const uint64_t zeros[HV_PAGE_SIZE / 8];
	uint64_t zero = checksum_xxh64(zeros, sizeof(zeros), 0), pages, i;
	int err = snapshot_layout(t->req->vm, &t->s, t->error);

	if (err)
		return err;
	pages = t->s.memory / HV_PAGE_SIZE;
	t->digests = hv_calloc(pages, sizeof(*t->digests));
	t->present = hv_calloc(pages / 64 + 1, sizeof(*t->present));
	t->chunk = hv_zalloc_aligned(64, CHUNK_BYTES);
	t->late = hv_alloc(PAUSE_PAGES * (size_t)HV_PAGE_SIZE);
	t->late_gpa = hv_calloc(PAUSE_PAGES, sizeof(*t->late_gpa));
	t->room_late = PAUSE_PAGES;
	if (!t->digests || !t->present || !t->chunk || !t->late || !t->late_gpa)
		return disk(t, "snapshot", -ENOMEM);
	for (i = 0; i < pages; i++)
		t->digests[i] = zero;
	/* The pause is no time for the first touch of the buffer's pages. */
	memset(t->late, 0, PAUSE_PAGES * (size_t)HV_PAGE_SIZE);
	t->memory_fd = new_file(t, SNAPSHOT_MEMORY);
	if (t->memory_fd < 0)
		return t->memory_fd;
	return ftruncate(t->memory_fd, (off_t)t->s.memory) ? disk(t, "memory", -errno) : 0;
}

static int take(struct taking *t)
{
	uint64_t i;
	int err = prepare(t);

	if (!err)
		err = take_memory(t);
	if (!err && fsync(t->memory_fd))
		err = disk(t, "memory", -errno);
	if (!err)
		err = put_manifest(t);
	if (!err && t->dir_fd >= 0 && fsync(t->dir_fd))
		err = disk(t, "the directory", -errno);
	for (i = 0; !err && i <= t->s.memory / HV_PAGE_SIZE / 64; i++)
		t->req->pages += (uint64_t)__builtin_popcountll(t->present[i]);
	return err;
}

static void clean_up(struct taking *t)
{
	rounds_stop(&t->rounds);
	if (t->throttle)
		t->req->ops->throttle(t->req->ctx, 0);
	rec_writer_free(&t->state);
	hv_free(t->digests);
	hv_free(t->present);
	hv_free(t->chunk);
	hv_free(t->late);
	hv_free(t->late_gpa);
	if (t->memory_fd >= 0)
		close(t->memory_fd);
	if (t->dir_fd >= 0)
		close(t->dir_fd);
}

static int create_in_files(struct snapshot_request *req, struct migrate_error *error)
{
	struct taking t = { .req = req, .error = error, .dir_fd = -1, .memory_fd = -1 };
	int err;

	rec_writer_init(&t.state);
	err = take(&t);
	clean_up(&t);
	return err;
}

int snapshot_create(struct snapshot_request *req, struct migrate_error *error)
{
	struct taking t = { .req = req, .error = error, .memory_fd = -1 };
	char part[SNAPSHOT_NAME_MAX + 16];
	struct stat st;
	int err = req->fds ? 0 : snapshot_name_check(req->name);

	if (err || req->config_len > SNAPSHOT_CONFIG_MAX)
		return migrate_fail(error, -EINVAL, "the name or the configuration cannot be used");
	req->pages = req->pause_us = 0;
	if (req->fds)
		return create_in_files(req, error);
	if (!fstatat(req->dir, req->name, &st, AT_SYMLINK_NOFOLLOW))
		return migrate_fail(error, -EEXIST, "%s: is there already", req->name);
	part_name(part, sizeof(part), req->name, "part");
	remove_dir(req->dir, part); /* of an attempt that was cut short */
	if (mkdirat(req->dir, part, 0700))
		return migrate_fail(error, -errno, "%s: %s", part, strerror(errno));
	t.dir_fd = openat(req->dir, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (t.dir_fd < 0) {
		err = migrate_fail(error, -errno, "%s: %s", part, strerror(errno));
	} else {
		rec_writer_init(&t.state);
		err = take(&t);
		clean_up(&t);
	}
	/* Its name is the last thing that it gets. */
	if (!err && renameat2(req->dir, part, req->dir, req->name, RENAME_NOREPLACE))
		err = migrate_fail(error, -errno, "%s: %s", req->name, strerror(errno));
	if (err)
		remove_dir(req->dir, part);
	else if (req->dir != AT_FDCWD && fsync(req->dir))
		err = migrate_fail(error, -errno, "the directory: %s", strerror(errno));
	return err;
}
