/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hv/migrate/pages.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "hv/base/bitmap.h"
#include "hv/base/fault_inject.h"
#include "hv/base/rcu.h"
#include "hv/base/util.h"
#include "hv/mem/region.h"
#include "hv/migrate/checksum.h"

#define CHUNK_BYTES  (PAGES_CHUNK * HV_PAGE_SIZE)
#define RANGE_SIZE   16U
#define HEAD_SIZE    8U
#define HEAD_MAX     (HEAD_SIZE + PAGES_CHUNK * RANGE_SIZE)

/* ---- holes ----------------------------------------------------------------------------- */

/* The region that has gpa, its offset there, and in *len how much of it; NULL: none. */
static struct hv_region *region_of(struct hv_vm *vm, hv_gpa_t gpa, uint64_t *len, uint64_t *offset)
{
	struct hv_region *region = NULL;
	void *p;

	hv_rcu_read_lock();
	p = vm->mem ? vm_guest_ptr(vm, gpa, len, HV_GUEST_READ) : NULL;
	if (p)
		region = hv_mem_find_region(vm->mem, (uintptr_t)p);
	if (region)
		*offset = (uintptr_t)p - hv_region_hva(region);
	hv_rcu_read_unlock();
	/* Memory of a machine stays as long as the machine does. */
	return region;
}

/* Reading a hole of a memfd would fill it; the file knows where its data is. */
bool pages_are_hole(struct hv_vm *vm, hv_gpa_t gpa, uint64_t len)
{
	while (len) {
		uint64_t n = len, offset, at;
		struct hv_region *region = region_of(vm, gpa, &n, &offset);
		int fd = region ? hv_region_fd(region, offset, &at) : -1;
		off_t data;

		if (fd < 0)
			return false;
		data = lseek(fd, (off_t)at, SEEK_DATA);
		if (data >= 0 ? (uint64_t)data < at + n : errno != ENXIO)
			return false;
		gpa += n;
		len -= n;
	}
	return true;
}

/* ---- sending ------------------------------------------------------------------------------ */

int pages_sender_init(struct pages_sender *s, struct hv_vm *vm)
{
	memset(s, 0, sizeof(*s));
	s->vm = vm;
	s->packed_room = ZSTD_compressBound(CHUNK_BYTES);
	s->raw = hv_zalloc_aligned(64, CHUNK_BYTES);
	s->packed = hv_alloc(s->packed_room);
	s->zstd = ZSTD_createCCtx();
	if (s->raw && s->packed && s->zstd)
		return 0;
	pages_sender_free(s);
	return -ENOMEM;
}

void pages_sender_free(struct pages_sender *s)
{
	hv_free(s->raw);
	hv_free(s->packed);
	ZSTD_freeCCtx(s->zstd);
	s->raw = s->packed = NULL;
	s->zstd = NULL;
}

struct head {
	uint8_t bytes[HEAD_MAX];
	uint32_t ranges, data;
};

static void put32(uint8_t *p, uint32_t v)
{
	memcpy(p, &v, sizeof(v));
}

static void head_add(struct head *h, hv_gpa_t gpa, uint32_t pages, uint32_t kind)
{
	uint8_t *p = h->bytes + HEAD_SIZE + h->ranges++ * RANGE_SIZE;

	memcpy(p, &gpa, sizeof(gpa));
	put32(p + 8, pages);
	put32(p + 12, kind);
}

/* Sort the pages in raw into ranges; those with data move together at its start. */
static void sort_pages(struct pages_sender *s, hv_gpa_t gpa, unsigned int pages, struct head *h)
{
	unsigned int i, first = 0, zeros = 0;
	uint32_t kind = PAGES_DATA, now;

	for (i = 0; i <= pages; i++) {
		uint8_t *page = s->raw + (size_t)i * HV_PAGE_SIZE;

		now = i < pages && checksum_is_zero(page, HV_PAGE_SIZE) ? PAGES_ZERO : PAGES_DATA;
		if (i && (i == pages || now != kind)) {
			head_add(h, gpa + (uint64_t)first * HV_PAGE_SIZE, i - first, kind);
			first = i;
		}
		kind = now;
		if (i == pages)
			break;
		if (kind == PAGES_ZERO) {
			zeros++;
			continue;
		}
		if (h->data != i * HV_PAGE_SIZE)
			memcpy(s->raw + h->data, page, HV_PAGE_SIZE);
		h->data += HV_PAGE_SIZE;
	}
	__atomic_fetch_add(&s->zero, zeros, __ATOMIC_RELAXED);
	__atomic_fetch_add(&s->normal, pages - zeros, __ATOMIC_RELAXED);
}

int pages_send(struct pages_sender *s, struct channel *c, hv_gpa_t gpa, unsigned int pages,
	       int level)
{
	struct frame f = { .type = FRAME_PAGES };
	struct head h = { .ranges = 0 };
	const uint8_t *data = s->raw;
	size_t len, packed;
	int err;

	if (pages_are_hole(s->vm, gpa, (uint64_t)pages * HV_PAGE_SIZE)) {
		head_add(&h, gpa, pages, PAGES_ZERO);
		__atomic_fetch_add(&s->zero, pages, __ATOMIC_RELAXED);
	} else {
		err = vm_read_guest(s->vm, gpa, s->raw, (uint64_t)pages * HV_PAGE_SIZE);
		if (err)
			return err;
		sort_pages(s, gpa, pages, &h);
	}
	put32(h.bytes, h.ranges);
	put32(h.bytes + 4, h.data);
	len = h.data;
	if (level && len) {
		packed = ZSTD_compressCCtx(s->zstd, s->packed, s->packed_room, s->raw, len, level);
		/* What does not get smaller goes as it is. */
		if (!ZSTD_isError(packed) && packed < len) {
			f.flags = PAGES_ZSTD;
			data = s->packed;
			len = packed;
		}
	}
	return channel_send(c, &f, h.bytes, HEAD_SIZE + h.ranges * RANGE_SIZE, data, len);
}

/* ---- receiving --------------------------------------------------------------------------------- */

static uint64_t highest_gfn(struct hv_vm *vm)
{
	struct hv_memslots *slots;
	struct hv_memslot *slot;
	uint64_t end = 0;

	hv_rcu_read_lock();
	slots = hv_vm_memslots(vm, 0);
	for (slot = memslot_first_from(slots, 0); slot; slot = memslot_next(slots, slot))
		end = slot->base_gfn + slot->npages;
	hv_rcu_read_unlock();
	return end;
}

int pages_receiver_init(struct pages_receiver *r, struct hv_vm *vm,
			const struct pages_receiver *share)
{
	memset(r, 0, sizeof(*r));
	r->vm = vm;
	r->owns = !share;
	hv_spinlock_init(&r->own_lock, HV_LC_LEAF);
	r->file_lock = share ? share->file_lock : &r->own_lock;
	r->gfns = share ? share->gfns : highest_gfn(vm);
	r->present = share ? share->present : hv_calloc(r->gfns / 64 + 1, sizeof(*r->present));
	r->raw = hv_zalloc_aligned(64, CHUNK_BYTES);
	r->zstd = ZSTD_createDCtx();
	if (r->present && r->raw && r->zstd)
		return 0;
	pages_receiver_free(r);
	return -ENOMEM;
}

void pages_receiver_free(struct pages_receiver *r)
{
	if (r->owns)
		hv_free(r->present);
	r->present = NULL;
	hv_free(r->raw);
	r->raw = NULL;
	ZSTD_freeDCtx(r->zstd);
	r->zstd = NULL;
	if (r->file_lock)
		hv_spinlock_destroy(&r->own_lock);
	r->file_lock = NULL;
}

/* The first touch of a page costs more than its copy: let the host do a run in one call. */
static void populate(struct pages_receiver *r, hv_gpa_t gpa, uint32_t pages)
{
	uint64_t len = (uint64_t)pages * HV_PAGE_SIZE, offset;
	struct hv_region *region;

	if (pages < 2)
		return;
	region = region_of(r->vm, gpa, &len, &offset);
	if (region)
		hv_region_populate(region, offset, len); /* a failure shows at the copy */
}

/* The descriptor of the file that has all of the range in a row, and where; -1: none. */
static int file_of(struct hv_vm *vm, hv_gpa_t gpa, uint64_t len, uint64_t *at)
{
	struct hv_region *region;
	uint64_t n = len, offset, last;
	void *p = vm->mem ? vm_guest_ptr(vm, gpa, &n, HV_GUEST_WRITE) : NULL;
	int fd;

	region = p && n == len ? hv_mem_find_region(vm->mem, (uintptr_t)p) : NULL;
	if (!region)
		return -1;
	offset = (uintptr_t)p - hv_region_hva(region);
	fd = hv_region_fd(region, offset, at);
	if (fd < 0 || !hv_region_is_writable(region, offset, len) ||
	    hv_region_fd(region, offset + len - HV_PAGE_SIZE, &last) != fd ||
	    last != *at + len - HV_PAGE_SIZE)
		return -1;
	return fd;
}

/*
 * Writing a page that the file has not yet got spares the host the zeros that a first touch
 * would have it write before. False: nothing, or not all of it, has been written.
 */
static bool put_into_file(struct pages_receiver *r, hv_gpa_t gpa, uint64_t len, const uint8_t *data)
{
	uint64_t at = 0, done = 0;
	ssize_t n = 1;
	int fd;

	hv_rcu_read_lock();
	fd = file_of(r->vm, gpa, len, &at);
	hv_spin_lock(r->file_lock);
	while (fd >= 0 && done < len && n > 0) {
		n = pwrite(fd, data + done, len - done, (off_t)(at + done));
		done += n > 0 ? (uint64_t)n : 0;
	}
	hv_spin_unlock(r->file_lock);
	if (done == len)
		vm_mark_range_dirty(r->vm, gpa, len);
	hv_rcu_read_unlock();
	return done == len;
}

static int put_data(struct pages_receiver *r, hv_gpa_t gpa, uint32_t pages, const uint8_t *data)
{
	uint64_t gfn = gpa >> HV_PAGE_SHIFT;
	uint32_t i, fresh = 0;

	for (i = 0; i < pages; i++) {
		uint64_t bit = 1ULL << (gfn + i) % 64;

		fresh += !(hv_fetch_or(&r->present[(gfn + i) / 64], bit) & bit);
	}
	__atomic_fetch_add(&r->normal, pages, __ATOMIC_RELAXED);
	if (fresh == pages && put_into_file(r, gpa, (uint64_t)pages * HV_PAGE_SIZE, data))
		return 0;
	if (fresh)
		populate(r, gpa, pages);
	return vm_write_guest(r->vm, gpa, data, (uint64_t)pages * HV_PAGE_SIZE);
}

/* Memory begins as zeros: only what has had data has to be cleared. */
static int put_zeros(struct pages_receiver *r, hv_gpa_t gpa, uint32_t pages)
{
	static const uint8_t zeros[HV_PAGE_SIZE];
	uint64_t gfn = gpa >> HV_PAGE_SHIFT, end = gfn + pages;
	int err = 0;

	__atomic_fetch_add(&r->zero, pages, __ATOMIC_RELAXED);
	for (; gfn < end && !err; gfn++) {
		if (__atomic_load_n(&r->present[gfn / 64], __ATOMIC_RELAXED) & 1ULL << gfn % 64)
			err = vm_write_guest(r->vm, gfn << HV_PAGE_SHIFT, zeros, HV_PAGE_SIZE);
	}
	return err;
}

/* The memory that the frame is about exists here. */
static bool gpa_is_memory(struct hv_vm *vm, hv_gpa_t gpa, uint32_t pages)
{
	hv_gfn_t gfn = gpa >> HV_PAGE_SHIFT, end = gfn + pages;
	bool all = true;

	hv_rcu_read_lock();
	while (gfn < end && all) {
		struct hv_memslot *slot = hv_vm_gfn_to_memslot(vm, gfn);

		all = memslot_visible(slot);
		if (all)
			gfn = slot->base_gfn + slot->npages;
	}
	hv_rcu_read_unlock();
	return all;
}

struct pages_range {
	hv_gpa_t gpa;
	uint32_t pages, kind;
};

static void get_range(const uint8_t *payload, uint32_t i, struct pages_range *g)
{
	const uint8_t *p = payload + HEAD_SIZE + i * RANGE_SIZE;

	memcpy(&g->gpa, p, 8);
	memcpy(&g->pages, p + 8, 4);
	memcpy(&g->kind, p + 12, 4);
}

static int check_ranges(struct pages_receiver *r, const uint8_t *payload, uint32_t ranges,
			uint32_t data, struct migrate_error *error)
{
	uint32_t i, total = 0, normal = 0;
	struct pages_range g;

	for (i = 0; i < ranges; i++) {
		get_range(payload, i, &g);
		if (g.kind > PAGES_ZERO)
			return migrate_fail(error, -EPROTO, "frame \"pages\": pages of unknown kind %u",
					    g.kind);
		if (!g.pages || g.pages > PAGES_CHUNK - total)
			return migrate_fail(error, -EBADMSG, "frame \"pages\": too many pages");
		total += g.pages;
		normal += g.kind == PAGES_DATA ? g.pages : 0;
		if (g.gpa & ~HV_PAGE_MASK || g.gpa >> HV_PAGE_SHIFT >= r->gfns ||
		    !gpa_is_memory(r->vm, g.gpa, g.pages))
			return migrate_fail(error, -EPROTO,
					    "frame \"pages\": %u pages at %#llx, where no memory is",
					    g.pages, (unsigned long long)g.gpa);
	}
	if (data != normal * HV_PAGE_SIZE)
		return migrate_fail(error, -EBADMSG, "frame \"pages\": %u bytes for %u pages", data,
				    normal);
	return 0;
}

/* *data: the pages' bytes, in the payload or decompressed. */
static int unpack(struct pages_receiver *r, const struct frame *f, const uint8_t *at, size_t left,
		  uint32_t want, const uint8_t **data, struct migrate_error *error)
{
	size_t n;

	*data = at;
	if (!(f->flags & PAGES_ZSTD))
		return left == want ? 0 : migrate_fail(error, -EBADMSG,
						       "frame \"pages\": %zu bytes of data, %u announced",
						       left, want);
	n = ZSTD_decompressDCtx(r->zstd, r->raw, CHUNK_BYTES, at, left);
	if (ZSTD_isError(n) || n != want)
		return migrate_fail(error, -EBADMSG, "frame \"pages\": the data cannot be unpacked: %s",
				    ZSTD_isError(n) ? ZSTD_getErrorName(n) : "of another length");
	*data = r->raw;
	return 0;
}

int pages_receive(struct pages_receiver *r, const struct frame *f, const uint8_t *payload,
		  struct migrate_error *error)
{
	uint32_t ranges, want, i;
	const uint8_t *data;
	struct pages_range g;
	size_t head;
	int err;

	if (f->length < HEAD_SIZE)
		return migrate_fail(error, -EBADMSG, "frame \"pages\" is too short");
	memcpy(&ranges, payload, 4);
	memcpy(&want, payload + 4, 4);
	if (f->flags & ~PAGES_ZSTD || ranges > PAGES_CHUNK || want > CHUNK_BYTES)
		return migrate_fail(error, -EBADMSG, "frame \"pages\" is malformed");
	head = HEAD_SIZE + (size_t)ranges * RANGE_SIZE;
	if (head > f->length)
		return migrate_fail(error, -EBADMSG, "frame \"pages\" is too short");
	err = check_ranges(r, payload, ranges, want, error);
	if (!err)
		err = unpack(r, f, payload + head, f->length - head, want, &data, error);
	for (i = 0; i < ranges && !err; i++) {
		get_range(payload, i, &g);
		if (g.kind == PAGES_ZERO) {
			err = put_zeros(r, g.gpa, g.pages);
			continue;
		}
		err = put_data(r, g.gpa, g.pages, data);
		data += (size_t)g.pages * HV_PAGE_SIZE;
	}
	return err ? migrate_fail(error, err, "guest memory: %s", strerror(-err)) : 0;
}

/* ---- digests ----------------------------------------------------------------------------------------- */

int pages_digest(struct hv_vm *vm, hv_gpa_t gpa, uint64_t pages, uint64_t *out)
{
	static const uint64_t zeros[HV_PAGE_SIZE / 8];
	uint64_t page[HV_PAGE_SIZE / 8], zero = checksum_xxh64(zeros, sizeof(zeros), 0), i;
	int err;

	for (i = 0; i < pages; i++) {
		hv_gpa_t at = gpa + i * HV_PAGE_SIZE;

		/* A hole stays one. Asked for a chunk at a time: a system call a page is too much. */
		if (i % PAGES_CHUNK == 0 && pages - i >= PAGES_CHUNK &&
		    pages_are_hole(vm, at, CHUNK_BYTES)) {
			unsigned int n;

			for (n = 0; n < PAGES_CHUNK; n++)
				out[i + n] = zero;
			i += PAGES_CHUNK - 1;
			continue;
		}
		err = vm_read_guest(vm, at, page, sizeof(page));
		if (err)
			return err;
		out[i] = checksum_xxh64(page, sizeof(page), 0);
	}
	return 0;
}
