/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The kinds of backing: how each is opened, mapped, populated and given back.
 * All that the kernel's memory calls need to know about them stands here.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hv/base/fault_inject.h"
#include "hv/mem/mem_internal.h"

/* Older C libraries lack some of these; the kernel says if it does. */
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MFD_HUGE_SHIFT
#define MFD_HUGE_SHIFT 26
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

/* ---- files ------------------------------------------------------------------------- */

/* Takes the fd, also on failure. */
static struct mem_file *mem_file_new(int fd)
{
	struct mem_file *file = hv_alloc(sizeof(*file));

	if (!file) {
		close(fd);
		return NULL;
	}
	hv_refcount_set(&file->refs, 1);
	file->fd = fd;
	return file;
}

struct mem_file *mem_file_get(struct mem_file *file)
{
	if (file)
		hv_refcount_inc(&file->refs);
	return file;
}

void mem_file_put(struct mem_file *file)
{
	if (!file || !hv_refcount_dec_and_test(&file->refs))
		return;
	close(file->fd);
	hv_free(file);
}

/* ---- opening ------------------------------------------------------------------------- */

static bool is_private(const struct mem_segment *seg)
{
	return seg->kind == HV_BACKING_ANON || seg->kind == HV_BACKING_FILE_PRIVATE;
}

/* The fd of a new memfd of `size` bytes, or -errno. */
static int new_memfd(const char *name, unsigned int flags, uint64_t size)
{
	int fd = memfd_create(name ? name : "guest", flags | MFD_CLOEXEC | MFD_NOEXEC_SEAL), err;

	if (fd < 0 && errno == EINVAL) /* kernels before 6.3 */
		fd = memfd_create(name ? name : "guest", flags | MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	/* The size is fixed, so that nobody who gets the fd can make our accesses fault. */
	if (ftruncate(fd, (off_t)size) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

/* A duplicate of the caller's fd, after a look at the file. */
static int dup_file(const struct hv_backing *b, uint64_t size, bool writable)
{
	struct stat st;
	int fd, mode = fcntl(b->fd, F_GETFL);

	if (mode < 0 || fstat(b->fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) || b->offset % HV_PAGE_SIZE)
		return -EINVAL;
	if (b->offset > (uint64_t)st.st_size || (uint64_t)st.st_size - b->offset < size)
		return -EFBIG;
	if ((mode & O_ACCMODE) == O_WRONLY)
		return -EACCES;
	if (writable && b->kind == HV_BACKING_FILE_SHARED && (mode & O_ACCMODE) != O_RDWR)
		return -EACCES;
	fd = fcntl(b->fd, F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

static int open_fd(const struct hv_backing *b, uint64_t size, bool writable, const char *name)
{
	switch (b->kind) {
	case HV_BACKING_MEMFD:
		return new_memfd(name, 0, size);
	case HV_BACKING_HUGETLB:
		return new_memfd(name,
				 MFD_HUGETLB | hv_level_shift(b->page_level) << MFD_HUGE_SHIFT,
				 size);
	case HV_BACKING_FILE_SHARED:
	case HV_BACKING_FILE_PRIVATE:
		return dup_file(b, size, writable);
	default:
		return -EINVAL;
	}
}

/* A file on hugetlbfs, or a passed hugetlb memfd, has large pages too. */
static enum hv_page_level file_page_level(const struct hv_backing *b, int fd)
{
	struct stat st;

	if (b->kind == HV_BACKING_HUGETLB)
		return b->page_level;
	if (b->kind == HV_BACKING_MEMFD || fstat(fd, &st))
		return HV_LEVEL_4K;
	/* st_blksize is the page size there; elsewhere it is a hint below 2 MiB. */
	if ((uint64_t)st.st_blksize == HV_SZ_1G)
		return HV_LEVEL_1G;
	return (uint64_t)st.st_blksize == HV_SZ_2M ? HV_LEVEL_2M : HV_LEVEL_4K;
}

static bool backing_valid(const struct hv_backing *b)
{
	if (b->max_level > HV_LEVEL_1G)
		return false;
	return b->kind != HV_BACKING_HUGETLB || b->page_level == HV_LEVEL_2M ||
	       b->page_level == HV_LEVEL_1G;
}

static enum hv_page_level default_max_level(enum hv_page_level page_level)
{
	return page_level > HV_LEVEL_2M ? page_level : HV_LEVEL_2M;
}

int backing_open(const struct hv_backing *b, uint64_t size, bool writable, const char *name,
		 struct mem_segment *seg)
{
	struct mem_file *file = NULL;
	enum hv_page_level page_level = HV_LEVEL_4K;
	uint64_t offset = 0;
	int fd;

	if (!backing_valid(b))
		return -EINVAL;
	if (b->kind != HV_BACKING_ANON) {
		fd = open_fd(b, size, writable, name);
		if (fd < 0)
			return fd;
		page_level = file_page_level(b, fd);
		if (b->kind == HV_BACKING_FILE_SHARED || b->kind == HV_BACKING_FILE_PRIVATE)
			offset = b->offset;
		file = mem_file_new(fd);
		if (!file)
			return -ENOMEM;
	}
	if (((size | offset) & ((UINT64_C(1) << hv_level_shift(page_level)) - 1)) != 0) {
		mem_file_put(file);
		return -EINVAL;
	}
	*seg = (struct mem_segment){
		.file = file,
		.offset = offset,
		.kind = b->kind,
		.page_level = page_level,
		.max_level = b->max_level ? b->max_level : default_max_level(page_level),
		.writable = writable,
	};
	return 0;
}

/* ---- mapping ------------------------------------------------------------------------- */

static void *addr(const struct mem_segment *seg)
{
	return (void *)(uintptr_t)seg->start;
}

static size_t length(const struct mem_segment *seg)
{
	return seg->end - seg->start;
}

static int prot(const struct mem_segment *seg)
{
	return seg->writable ? PROT_READ | PROT_WRITE : PROT_READ;
}

static void *map_at(const struct mem_segment *seg, void *where, int fixed)
{
	int flags = (is_private(seg) ? MAP_PRIVATE : MAP_SHARED) | fixed;

	/* Guests are larger than the host would promise at once. */
	flags |= MAP_NORESERVE;
	if (!seg->file)
		return mmap(where, length(seg), prot(seg), flags | MAP_ANONYMOUS, -1, 0);
	/* A reservation of huge pages instead: running out later is a SIGBUS. */
	if (seg->page_level != HV_LEVEL_4K)
		flags &= ~MAP_NORESERVE;
	return mmap(where, length(seg), prot(seg), flags, seg->file->fd, (off_t)seg->offset);
}

/* Advice only: kernels without the option run as well without. */
static void advise(const struct mem_segment *seg)
{
	if (seg->kind == HV_BACKING_ANON)
		madvise(addr(seg), length(seg), MADV_HUGEPAGE);
	madvise(addr(seg), length(seg), MADV_DONTFORK);
	madvise(addr(seg), length(seg), MADV_DONTDUMP);
}

int backing_map(const struct mem_segment *seg)
{
	if (map_at(seg, addr(seg), MAP_FIXED) == MAP_FAILED)
		return -errno;
	advise(seg);
	return 0;
}

void backing_withdraw(const struct mem_segment *seg)
{
	void *p = mmap(addr(seg), length(seg), PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);

	HV_BUG_ON(p == MAP_FAILED);
}

int backing_remap(const struct mem_segment *seg, bool *lost)
{
	/* Elsewhere first: whatever mmap() refuses, it refuses here. */
	void *trial = map_at(seg, NULL, 0);
	int err;

	*lost = false;
	if (trial == MAP_FAILED)
		return -errno;
	if (mremap(trial, length(seg), length(seg), MREMAP_MAYMOVE | MREMAP_FIXED, addr(seg)) !=
	    MAP_FAILED) {
		advise(seg);
		return 0;
	}
	err = -errno;
	munmap(trial, length(seg));
	/* The kernel may have unmapped the range before it failed. Make that certain. */
	backing_withdraw(seg);
	*lost = true;
	return err;
}

/* ---- populating and giving back ----------------------------------------------------------- */

/* For kernels before 5.14: an access to each page that changes nothing. */
static void touch(const struct mem_segment *seg)
{
	uint64_t step = UINT64_C(1) << hv_level_shift(seg->page_level), at;

	for (at = seg->start; at < seg->end; at += step) {
		uint64_t *p = (uint64_t *)(uintptr_t)at;

		if (seg->writable)
			__atomic_fetch_or(p, 0, __ATOMIC_RELAXED);
		else
			READ_ONCE(*p);
	}
}

int backing_populate(const struct mem_segment *seg)
{
	int advice = seg->writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;

	if (seg->hole)
		return -EFAULT;
	while (madvise(addr(seg), length(seg), advice)) {
		if (errno == EINVAL) {
			touch(seg);
			return 0;
		}
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
	}
	return 0;
}

int backing_discard(const struct mem_segment *seg)
{
	if (seg->hole)
		return -EFAULT;
	if (is_private(seg))
		return madvise(addr(seg), length(seg), MADV_DONTNEED) ? -errno : 0;
	while (fallocate(seg->file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			 (off_t)seg->offset, (off_t)length(seg)))
		if (errno != EINTR)
			return -errno;
	return 0;
}

int backing_pageout(const struct mem_segment *seg)
{
	if (seg->hole)
		return -EFAULT;
	/* Pages of hugetlbfs stay where they are. */
	if (seg->page_level != HV_LEVEL_4K)
		return -EOPNOTSUPP;
	return madvise(addr(seg), length(seg), MADV_PAGEOUT) ? -errno : 0;
}

int backing_protect(const struct mem_segment *seg, bool writable)
{
	if (seg->hole)
		return -EFAULT;
	if (mprotect(addr(seg), length(seg), writable ? PROT_READ | PROT_WRITE : PROT_READ))
		return -errno;
	return 0;
}
