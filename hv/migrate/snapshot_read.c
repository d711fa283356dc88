/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A snapshot's manifest, and reading one back. The directory may come from anywhere:
 * every length is bounded, every file is checked before it is used.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hv/base/fault_inject.h"
#include "hv/base/util.h"
#include "hv/mem/region.h"
#include "hv/migrate/checksum.h"
#include "hv/migrate/snapshot_internal.h"

/* ---- manifest ------------------------------------------------------------------------- */

static int manifest_save(void *ctx, const struct rec_row *row, unsigned int n, struct rec_writer *w)
{
	const struct snapshot_manifest *m = ctx;
	const struct snapshot *s = m->s;
	unsigned int i;

	rec_put_u64(w, s->created_ns);
	rec_put_u32(w, HV_PAGE_SIZE);
	rec_put_u64(w, s->memory);
	rec_put_u64(w, s->state_len);
	rec_put_u32(w, m->state_crc);
	rec_put_u64(w, s->config_len);
	rec_put_u32(w, m->config_crc);
	rec_put_u32(w, m->digests_crc);
	rec_put_u32(w, s->nr_slots);
	for (i = 0; i < s->nr_slots; i++) {
		rec_put_u64(w, s->slots[i].gpa);
		rec_put_u64(w, s->slots[i].size);
		rec_put_u64(w, s->slots[i].offset);
	}
	return 0;
}

/* Whole pages, within the file, in order. */
static int check_slot(const struct snapshot *s, unsigned int i, struct rec_reader *r)
{
	const struct snapshot_slot *slot = &s->slots[i];

	if ((slot->gpa | slot->size | slot->offset) & ~HV_PAGE_MASK || !slot->size ||
	    slot->offset > s->memory || slot->size > s->memory - slot->offset ||
	    slot->gpa + slot->size < slot->gpa ||
	    (i && slot->gpa < s->slots[i - 1].gpa + s->slots[i - 1].size))
		return rec_fail(r, -EBADMSG, "memory slot %u is malformed", i);
	return 0;
}

static int manifest_load(void *ctx, const struct rec_row *row, unsigned int n, struct rec_reader *r)
{
	struct snapshot_manifest *m = ctx;
	struct snapshot *s = m->s;
	uint32_t page_size;
	unsigned int i;
	int err = 0;

	s->created_ns = rec_get_u64(r);
	page_size = rec_get_u32(r);
	s->memory = rec_get_u64(r);
	s->state_len = rec_get_u64(r);
	m->state_crc = rec_get_u32(r);
	s->config_len = rec_get_u64(r);
	m->config_crc = rec_get_u32(r);
	m->digests_crc = rec_get_u32(r);
	s->nr_slots = rec_get_u32(r);
	if (r->short_read)
		return -EBADMSG;
	if (page_size != HV_PAGE_SIZE || !s->memory || s->memory & ~HV_PAGE_MASK ||
	    s->memory > HV_REGION_SIZE_MAX || s->state_len > REC_IMAGE_MAX ||
	    s->config_len > SNAPSHOT_CONFIG_MAX || !s->nr_slots || s->nr_slots > SNAPSHOT_SLOTS_MAX)
		return rec_fail(r, -EBADMSG, "sizes out of range");
	for (i = 0; i < s->nr_slots && !err; i++) {
		s->slots[i].gpa = rec_get_u64(r);
		s->slots[i].size = rec_get_u64(r);
		s->slots[i].offset = rec_get_u64(r);
		err = r->short_read ? -EBADMSG : check_slot(s, i, r);
	}
	return err;
}

static const struct rec_row manifest_rows[] = {
	{ .name = "snapshot", .version = 1, .save = manifest_save, .load = manifest_load },
};
static const struct rec_table manifest_table = { manifest_rows, ARRAY_SIZE(manifest_rows) };

int snapshot_manifest_save(const struct snapshot_manifest *m, struct rec_writer *w,
			   struct migrate_error *error)
{
	return rec_save(&manifest_table, (void *)(uintptr_t)m, w, error);
}

int snapshot_manifest_load(struct snapshot_manifest *m, const void *image, size_t len,
			   struct migrate_error *error)
{
	return rec_load(&manifest_table, m, image, len, error);
}

/* ---- files --------------------------------------------------------------------------------- */

static int file_size(const struct snapshot *s, enum snapshot_file file, uint64_t *size,
		     struct migrate_error *error)
{
	struct stat st;

	if (fstat(s->fds[file], &st) || !S_ISREG(st.st_mode))
		return migrate_fail(error, -EBADMSG, "%s: not a regular file",
				    snapshot_file_names[file]);
	*size = (uint64_t)st.st_size;
	return 0;
}

static int read_at(int fd, void *to, uint64_t len, uint64_t offset)
{
	uint8_t *p = to;

	while (len) {
		ssize_t n = pread(fd, p, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EBADMSG;
		p += n;
		len -= (uint64_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

/* A whole file of at most max bytes. *data is the caller's. */
static int read_file(const struct snapshot *s, enum snapshot_file file, uint64_t max,
		     uint8_t **data, uint64_t *len, struct migrate_error *error)
{
	const char *name = snapshot_file_names[file];
	int err = file_size(s, file, len, error);

	if (err)
		return err;
	if (*len > max)
		return migrate_fail(error, -EBADMSG, "%s: %llu bytes are more than it may have", name,
				    (unsigned long long)*len);
	*data = hv_alloc(*len ? *len : 1);
	err = *data ? read_at(s->fds[file], *data, *len, 0) : -ENOMEM;
	if (err) {
		hv_free(*data);
		*data = NULL;
		return migrate_fail(error, err, "%s: %s", name, strerror(-err));
	}
	return 0;
}

static int read_checked(const struct snapshot *s, enum snapshot_file file, uint64_t want,
			uint32_t crc, uint8_t **data, struct migrate_error *error)
{
	const char *name = snapshot_file_names[file];
	uint64_t len;
	int err = read_file(s, file, want, data, &len, error);

	if (err)
		return err;
	if (len != want)
		return migrate_fail(error, -EBADMSG, "%s: %llu bytes, and the manifest says %llu", name,
				    (unsigned long long)len, (unsigned long long)want);
	if (checksum_crc32c(0, *data, len) != crc)
		return migrate_fail(error, -EBADMSG, "%s: damaged (checksum)", name);
	return 0;
}

static int read_manifest(struct snapshot_manifest *m, struct migrate_error *error)
{
	uint8_t *image = NULL;
	uint64_t len;
	int err = read_file(m->s, SNAPSHOT_MANIFEST, REC_PAYLOAD_MAX, &image, &len, error);

	if (!err) {
		struct migrate_error why = { "" };

		err = snapshot_manifest_load(m, image, len, &why);
		if (err)
			migrate_fail(error, err, "manifest: %s", why.text);
	}
	hv_free(image);
	return err;
}

static int load_files(struct snapshot *s, struct migrate_error *error)
{
	struct snapshot_manifest m = { .s = s };
	uint64_t size = 0;
	int err = read_manifest(&m, error);

	if (!err)
		err = read_checked(s, SNAPSHOT_STATE, s->state_len, m.state_crc, &s->state, error);
	if (!err)
		err = read_checked(s, SNAPSHOT_CONFIG, s->config_len, m.config_crc, &s->config, error);
	if (!err)
		err = file_size(s, SNAPSHOT_DIGESTS, &size, error);
	if (!err)
		err = file_size(s, SNAPSHOT_MEMORY, &size, error);
	if (err)
		return err;
	if (size != s->memory)
		return migrate_fail(error, -EBADMSG, "memory: %llu bytes, and the manifest says %llu",
				    (unsigned long long)size, (unsigned long long)s->memory);
	return 0;
}

static struct snapshot *snapshot_new(void)
{
	struct snapshot *s = hv_zalloc(sizeof(*s));
	unsigned int i;

	for (i = 0; s && i < SNAPSHOT_FILES; i++)
		s->fds[i] = -1;
	return s;
}

/* Takes s, whose files are open or not there by err. */
static int finish_open(struct snapshot *s, int err, struct snapshot **out,
		       struct migrate_error *error)
{
	if (!err)
		err = load_files(s, error);
	if (err) {
		snapshot_close(s);
		return err;
	}
	*out = s;
	return 0;
}

int snapshot_open(int dir, const char *name, struct snapshot **out, struct migrate_error *error)
{
	struct snapshot *s;
	unsigned int i;
	int err = snapshot_name_check(name), fd;

	if (err)
		return migrate_fail(error, err, "such a name no snapshot has");
	s = snapshot_new();
	if (!s)
		return migrate_fail(error, -ENOMEM, "out of memory");
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		err = migrate_fail(error, -errno, "%s: %s", name, strerror(errno));
	for (i = 0; i < SNAPSHOT_FILES && !err; i++) {
		s->fds[i] = openat(fd, snapshot_file_names[i],
				   O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (s->fds[i] < 0)
			err = migrate_fail(error, -errno, "%s: %s", snapshot_file_names[i],
					   strerror(errno));
	}
	if (fd >= 0)
		close(fd);
	return finish_open(s, err, out, error);
}

int snapshot_open_files(const int fds[SNAPSHOT_FILES], struct snapshot **out,
			struct migrate_error *error)
{
	struct snapshot *s = snapshot_new();
	unsigned int i;
	int err = 0;

	if (!s)
		return migrate_fail(error, -ENOMEM, "out of memory");
	for (i = 0; i < SNAPSHOT_FILES && !err; i++) {
		s->fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
		if (s->fds[i] < 0)
			err = migrate_fail(error, -errno, "%s: %s", snapshot_file_names[i],
					   strerror(errno));
	}
	return finish_open(s, err, out, error);
}

void snapshot_close(struct snapshot *s)
{
	unsigned int i;

	if (!s)
		return;
	for (i = 0; i < SNAPSHOT_FILES; i++)
		if (s->fds[i] >= 0)
			close(s->fds[i]);
	hv_free(s->state);
	hv_free(s->config);
	hv_free(s);
}

/* ---- use -------------------------------------------------------------------------------------- */

int snapshot_check(const struct snapshot *s, struct hv_vm *vm, struct migrate_error *error)
{
	struct snapshot here = { .memory = 0 };
	int err = snapshot_layout(vm, &here, error);

	if (err)
		return err;
	if (here.memory != s->memory || here.nr_slots != s->nr_slots ||
	    memcmp(here.slots, s->slots, here.nr_slots * sizeof(here.slots[0])))
		return migrate_fail(error, -EPROTO,
				    "the snapshot's memory is laid out in another way than the machine's");
	return 0;
}

#define VERIFY_PAGES 256U

/* Guest-physical address of an offset of the file, for messages. */
static uint64_t gpa_of(const struct snapshot *s, uint64_t offset)
{
	unsigned int i;

	for (i = 0; i < s->nr_slots; i++) {
		if (offset >= s->slots[i].offset && offset - s->slots[i].offset < s->slots[i].size)
			return s->slots[i].gpa + (offset - s->slots[i].offset);
	}
	return offset;
}

static int verify_pages(const struct snapshot *s, uint64_t first, uint64_t pages,
			const uint64_t *digests, uint8_t *buf, struct migrate_error *error)
{
	uint64_t i;
	int err = read_at(s->fds[SNAPSHOT_MEMORY], buf, pages * HV_PAGE_SIZE, first * HV_PAGE_SIZE);

	if (err)
		return migrate_fail(error, err, "memory: %s", strerror(-err));
	for (i = 0; i < pages; i++) {
		if (checksum_xxh64(buf + i * HV_PAGE_SIZE, HV_PAGE_SIZE, 0) != digests[first + i])
			return migrate_fail(error, -EILSEQ,
					    "verification: the page at %#llx is not what was saved",
					    (unsigned long long)gpa_of(s, (first + i) * HV_PAGE_SIZE));
	}
	return 0;
}

int snapshot_verify(const struct snapshot *s, struct migrate_error *error)
{
	uint64_t pages = s->memory / HV_PAGE_SIZE, at, n;
	struct snapshot copy = *s;
	struct snapshot_manifest m = { .s = &copy };
	uint8_t *digests = NULL, *buf = NULL;
	int err = read_manifest(&m, error);

	if (!err)
		err = read_checked(s, SNAPSHOT_DIGESTS, pages * 8, m.digests_crc, &digests, error);
	if (!err) {
		buf = hv_alloc(VERIFY_PAGES * (size_t)HV_PAGE_SIZE);
		if (!buf)
			err = migrate_fail(error, -ENOMEM, "out of memory");
	}
	for (at = 0; at < pages && !err; at += n) {
		n = hv_min(pages - at, (uint64_t)VERIFY_PAGES);
		err = verify_pages(s, at, n, (const uint64_t *)(const void *)digests, buf, error);
	}
	hv_free(digests);
	hv_free(buf);
	return err;
}
