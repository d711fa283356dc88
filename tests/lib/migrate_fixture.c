/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/migrate_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

static void on_log(void *ctx, int level, const char *message)
{
	fprintf(stderr, "# hv %d: %s\n", level, message);
}

void mf_init(void)
{
	assert_int_equal(hv_init(&(struct hv_init){ .version = HV_API_VERSION, .log = on_log }), 0);
	assert_int_equal(hv_thread_enter(), 0);
}

void mf_exit(void)
{
	hv_thread_leave();
	hv_exit();
}

/* ---- the guest's image, with its parameters -------------------------------------------- */

static int guest_image(const struct mf_guest *g)
{
	const char *dir = getenv("HVD_BUILDDIR");
	static uint8_t buf[1 << 18];
	uint32_t params[5];
	char path[512];
	uint8_t *at;
	size_t n;
	FILE *f;
	int fd;

	snprintf(path, sizeof(path), "%s/tests/guests/memory_guest.elf", dir ? dir : ".");
	f = fopen(path, "rb");
	if (!f)
		print_message("# no %s\n", path);
	assert_non_null(f);
	n = fread(buf, 1, sizeof(buf), f);
	fclose(f);
	at = memmem(buf, n, "MEMGUEST", 8);
	assert_non_null(at);
	params[0] = g->cpus ? g->cpus : 1;
	params[1] = g->pages ? g->pages : 64;
	params[2] = g->rounds ? g->rounds : 100;
	params[3] = g->dot ? g->dot : 10;
	params[4] = g->write_every ? g->write_every : 1;
	memcpy(at + 8, params, sizeof(params));
	fd = memfd_create("guest", MFD_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, buf, n), n);
	return fd;
}

/* ---- what it says ------------------------------------------------------------------------ */

static void on_output(void *ctx, const void *data, size_t len)
{
	struct mf_machine *mm = ctx;
	const char *p = data;
	size_t i;

	pthread_mutex_lock(&mm->lock);
	for (i = 0; i < len; i++) {
		if (p[i] == '.')
			mm->dots++;
		else if (mm->len < sizeof(mm->console) - 1)
			mm->console[mm->len++] = p[i];
	}
	pthread_cond_broadcast(&mm->changed);
	pthread_mutex_unlock(&mm->lock);
}

static void on_event(void *ctx, enum hv_machine_event event, const char *detail)
{
	struct mf_machine *mm = ctx;

	pthread_mutex_lock(&mm->lock);
	mm->ended = true;
	mm->event = event;
	snprintf(mm->detail, sizeof(mm->detail), "%s", detail);
	pthread_cond_broadcast(&mm->changed);
	pthread_mutex_unlock(&mm->lock);
}

static const struct hv_machine_callbacks callbacks = {
	.console_output = on_output,
	.event = on_event,
};

/* ---- life ---------------------------------------------------------------------------------- */

struct mf_machine *mf_machine_with(const struct mf_guest *guest, struct hv_machine_config *config)
{
	struct mf_machine *mm = calloc(1, sizeof(*mm));
	int err;

	assert_non_null(mm);
	pthread_mutex_init(&mm->lock, NULL);
	pthread_cond_init(&mm->changed, NULL);
	config->name = "memory-guest";
	config->callbacks = &callbacks;
	config->ctx = mm;
	config->test_devices = HV_TEST_DEBUG_EXIT;
	config->boot.initrd_fd = -1;
	config->boot.kernel_fd = guest ? guest_image(guest) : -1;
	config->incoming |= !guest;
	err = hv_machine_create(config, &mm->m);
	if (err)
		print_message("# %s (%s)\n", config->error, strerror(-err));
	assert_int_equal(err, 0);
	if (guest)
		close(config->boot.kernel_fd);
	return mm;
}

struct mf_machine *mf_machine_new(const struct mf_guest *guest, unsigned int cpus,
				  const char *vendor, const char *paging)
{
	struct hv_machine_config config = {
		.vcpus = cpus,
		.memory = MF_MEMORY,
		.vendor = vendor,
		.paging = paging,
		.memory_backing = HV_MEM_ANON,
		.memory_fd = -1,
	};

	return mf_machine_with(guest, &config);
}

void mf_machine_free(struct mf_machine *mm)
{
	if (!mm)
		return;
	hv_machine_destroy(mm->m);
	pthread_cond_destroy(&mm->changed);
	pthread_mutex_destroy(&mm->lock);
	free(mm);
}

static bool wait_until(struct mf_machine *mm, unsigned int dots)
{
	struct timespec until;
	int err = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += MF_LIMIT_SEC;
	pthread_mutex_lock(&mm->lock);
	while (!mm->ended && mm->dots < dots && !err)
		err = pthread_cond_timedwait(&mm->changed, &mm->lock, &until);
	pthread_mutex_unlock(&mm->lock);
	return !err;
}

unsigned int mf_dots(struct mf_machine *mm)
{
	unsigned int dots;

	pthread_mutex_lock(&mm->lock);
	dots = mm->dots;
	pthread_mutex_unlock(&mm->lock);
	return dots;
}

bool mf_wait_dots(struct mf_machine *mm, unsigned int dots)
{
	wait_until(mm, dots);
	return mf_dots(mm) >= dots;
}

/* The parameters stand behind their name, in the image at 1 MiB: cpus, pages, rounds. */
static void let_end(struct mf_machine *mm)
{
	static uint8_t image[1 << 16];
	const uint32_t one = 1;
	uint8_t *at;

	assert_int_equal(hv_memory_read(hv_machine_vm(mm->m), 1 << 20, image, sizeof(image)), 0);
	at = memmem(image, sizeof(image), "MEMGUEST", 8);
	assert_non_null(at);
	assert_int_equal(hv_memory_write(hv_machine_vm(mm->m), (1 << 20) + (uint64_t)(at - image) + 16,
					 &one, sizeof(one)), 0);
}

bool mf_wait_done(struct mf_machine *mm)
{
	bool good;

	if (mf_wait_dots(mm, mf_dots(mm) + 2))
		let_end(mm);
	wait_until(mm, UINT32_MAX);
	pthread_mutex_lock(&mm->lock);
	good = mm->ended && mm->event == HV_MACHINE_DEBUG_EXIT && !strcmp(mm->detail, "0") &&
	       strstr(mm->console, "done\n");
	if (!good)
		print_message("# ended %d, event %d, detail \"%s\", console \"%s\"\n", mm->ended,
			      (int)mm->event, mm->detail, mm->console);
	pthread_mutex_unlock(&mm->lock);
	return good;
}

void mf_copy_memory(struct mf_machine *from, struct mf_machine *to)
{
	struct hv_memory_region slots[16];
	int i, n = hv_vm_list_memory_regions(hv_machine_vm(from->m), slots, 16, NULL);
	static uint8_t buf[1 << 20];

	assert_true(n > 0 && n <= 16);
	for (i = 0; i < n; i++) {
		uint64_t at, gpa = slots[i].guest_phys_addr, size = slots[i].memory_size;

		for (at = 0; at < size; at += sizeof(buf)) {
			uint64_t len = size - at < sizeof(buf) ? size - at : sizeof(buf);

			assert_int_equal(hv_memory_read(hv_machine_vm(from->m), gpa + at, buf, len), 0);
			assert_int_equal(hv_memory_write(hv_machine_vm(to->m), gpa + at, buf, len), 0);
		}
	}
}

/* ---- buffers ---------------------------------------------------------------------------------- */

static int buffer_write(void *ctx, const void *data, size_t len)
{
	struct mf_buffer *b = ctx;

	if (b->len + len > b->cap) {
		b->cap = (b->len + len) * 2;
		b->data = realloc(b->data, b->cap);
		assert_non_null(b->data);
	}
	memcpy(b->data + b->len, data, len);
	b->len += len;
	return 0;
}

static int64_t buffer_read(void *ctx, void *buf, size_t len)
{
	struct mf_buffer *b = ctx;
	size_t n = b->len - b->at < len ? b->len - b->at : len;

	if (n)
		memcpy(buf, b->data + b->at, n);
	b->at += n;
	return (int64_t)n;
}

struct hv_sink mf_sink(struct mf_buffer *b)
{
	return (struct hv_sink){ buffer_write, b };
}

struct hv_source mf_source(struct mf_buffer *b)
{
	b->at = 0;
	return (struct hv_source){ buffer_read, b };
}
