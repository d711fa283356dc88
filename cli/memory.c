/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hvctl memory read, memory write, dirtylog read: what one answer does not hold, or text
 * would be too long for.
 */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "api/client.h"

#define TEXT_MAX (2u << 20)  /* what one request or answer carries as text */
#define FILE_MAX (64u << 20) /* and through a descriptor */

/* ---- text --------------------------------------------------------------------------------------------- */

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static size_t base64_decode(const char *text, unsigned char *out)
{
	unsigned int bits = 0, n = 0;
	size_t len = 0;

	for (; *text && *text != '='; text++) {
		const char *digit = strchr(base64_digits, *text);

		if (!digit)
			break;
		bits = bits << 6 | (unsigned int)(digit - base64_digits);
		n += 6;
		if (n >= 8) {
			n -= 8;
			out[len++] = (unsigned char)(bits >> n);
		}
	}
	return len;
}

static char *base64_encode(const unsigned char *in, size_t len)
{
	char *text = malloc((len + 2) / 3 * 4 + 1), *p = text;

	for (size_t i = 0; text && i < len; i += 3) {
		unsigned int v = (unsigned int)in[i] << 16 | (i + 1 < len ? in[i + 1] << 8 : 0) |
				 (i + 2 < len ? in[i + 2] : 0);

		*p++ = base64_digits[v >> 18];
		*p++ = base64_digits[v >> 12 & 63];
		*p++ = i + 1 < len ? base64_digits[v >> 6 & 63] : '=';
		*p++ = i + 2 < len ? base64_digits[v & 63] : '=';
	}
	if (text)
		*p = 0;
	return text;
}

static void hexdump(unsigned long long addr, const unsigned char *data, size_t len)
{
	for (size_t i = 0; i < len; i += 16) {
		size_t n = len - i < 16 ? len - i : 16;

		printf("%012llx ", addr + i);
		for (size_t j = 0; j < 16; j++)
			j < n ? printf(" %02x", data[i + j]) : printf("   ");
		fputs("  ", stdout);
		for (size_t j = 0; j < n; j++)
			putchar(data[i + j] >= 0x20 && data[i + j] < 0x7f ? data[i + j] : '.');
		putchar('\n');
	}
}

/* ---- memory read ---------------------------------------------------------------------------------------- */

/* The bytes of a passed file, malloc'ed. */
static unsigned char *file_bytes(int fd, size_t *len)
{
	off_t size = lseek(fd, 0, SEEK_END);
	unsigned char *data = size > 0 && size <= FILE_MAX ? malloc((size_t)size) : NULL;
	size_t at = 0;

	while (data && at < (size_t)size) {
		ssize_t n = pread(fd, data + at, (size_t)size - at, (off_t)at);

		if (n <= 0) {
			free(data);
			return NULL;
		}
		at += (size_t)n;
	}
	*len = at;
	return data;
}

/* Through a descriptor, if the connection passes them: it has room for more. */
static json_t *read_call(struct cli *cli, const char *method, json_t *call, unsigned char **data,
			 size_t *len)
{
	json_t *result;
	int fd = -1;

	json_object_set_new(call, "format", json_string("fd"));
	result = cli_call_fd(cli, method, call, &fd);
	if (!result)
		return NULL;
	*data = file_bytes(fd, len);
	close(fd);
	if (!*data) {
		cli_error("the passed file cannot be read");
		json_decref(result);
		return NULL;
	}
	return result;
}

int cli_cmd_memory_read(struct cli *cli, const struct cli_command *command, json_t *params)
{
	json_t *call = json_copy(params), *result;
	unsigned char *data = NULL;
	const char *text;
	size_t len = 0;

	json_object_del(call, "local");
	if (cli->json || cli_connect(cli) || !hvd_client_passes_fds(cli->client)) {
		result = cli_call(cli, command->method, call, -1);
		text = result ? json_string_value(json_object_get(result, "data")) : NULL;
		if (cli->json && result)
			cli_show_json(result);
		else if (text && (data = malloc(strlen(text) + 1)))
			len = base64_decode(text, data);
	} else {
		result = read_call(cli, command->method, call, &data, &len);
	}
	if (!result)
		return CLI_FAILED;
	if (data && cli_local_flag(params, "raw"))
		fwrite(data, 1, len, stdout);
	else if (data)
		hexdump((unsigned long long)json_integer_value(json_object_get(params, "gpa")), data, len);
	free(data);
	json_decref(result);
	return CLI_OK;
}

/* ---- memory write --------------------------------------------------------------------------------------- */

/* Standard input, up to its end: malloc'ed; NULL: it is empty, or too long. */
static unsigned char *input_bytes(size_t max, size_t *len)
{
	unsigned char *data = malloc(max + 1);

	*len = data ? fread(data, 1, max + 1, stdin) : 0;
	if (data && *len && *len <= max && !ferror(stdin))
		return data;
	free(data);
	return NULL;
}

static int memory_file(const unsigned char *data, size_t len)
{
	int fd = memfd_create("hvctl-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	size_t at = 0;

	while (fd >= 0 && at < len) {
		ssize_t n = pwrite(fd, data + at, len - at, (off_t)at);

		if (n <= 0) {
			close(fd);
			return -1;
		}
		at += (size_t)n;
	}
	return fd;
}

static int write_text(struct cli *cli, const char *method, json_t *call, const unsigned char *data,
		      size_t len)
{
	char *text = base64_encode(data, len);
	json_t *result;

	json_object_set_new(call, "data", json_string(text ? text : ""));
	free(text);
	result = cli_call(cli, method, call, -1);
	json_decref(result);
	return result ? CLI_OK : CLI_FAILED;
}

static int write_file(struct cli *cli, const char *method, json_t *call, const unsigned char *data,
		      size_t len)
{
	int fd = memory_file(data, len), status;

	if (fd < 0) {
		cli_error("memory write: no memory file: %s", strerror(errno));
		json_decref(call);
		return CLI_FAILED;
	}
	status = cli_call_with_fd(cli, method, call, fd);
	close(fd);
	return status;
}

int cli_cmd_memory_write(struct cli *cli, const struct cli_command *command, json_t *params)
{
	size_t len, max = TEXT_MAX;
	unsigned char *data;
	int status;

	if (cli_connect(cli))
		return CLI_FAILED;
	if (hvd_client_passes_fds(cli->client))
		max = FILE_MAX;
	data = input_bytes(max, &len);
	if (!data) {
		cli_error("memory write: standard input has to bring 1 to %zu bytes", max);
		return CLI_USAGE;
	}
	if (len <= TEXT_MAX)
		status = write_text(cli, command->method, json_copy(params), data, len);
	else
		status = write_file(cli, command->method, json_copy(params), data, len);
	free(data);
	return status;
}

/* ---- dirtylog read ------------------------------------------------------------------------------------------ */

static int bitmap_to(const char *path, int from)
{
	int to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	char buf[65536];
	off_t at = 0;
	ssize_t n = 1;

	while (to >= 0 && (n = pread(from, buf, sizeof(buf), at)) > 0) {
		if (write(to, buf, (size_t)n) != n)
			break;
		at += n;
	}
	if (to >= 0 && (close(to) || n))
		to = -1;
	if (to < 0)
		cli_error("dirtylog read: %s: %s", path, strerror(errno));
	return to < 0 ? CLI_FAILED : CLI_OK;
}

static int log_bitmap(struct cli *cli, const struct cli_command *command, json_t *call,
		      const char *path)
{
	int fd = -1, status;
	json_t *result;

	json_object_set_new(call, "format", json_string("bitmap"));
	result = cli_call_fd(cli, command->method, call, &fd);
	if (!result)
		return CLI_FAILED;
	status = bitmap_to(path, fd);
	close(fd);
	if (status == CLI_OK)
		cli_show_json(result);
	json_decref(result);
	return status;
}

/* An answer that says `resume` is a part: go on until it is whole. */
static json_t *log_ranges(struct cli *cli, const struct cli_command *command, const json_t *params)
{
	json_t *whole = NULL, *resume = NULL;

	do {
		json_t *call = json_deep_copy(params), *part;

		json_object_del(call, "local");
		if (resume)
			json_object_set_new(call, "resume", resume);
		part = cli_call(cli, command->method, call, -1);
		if (!part) {
			json_decref(whole);
			return NULL;
		}
		resume = json_incref(json_object_get(part, "resume"));
		json_object_del(part, "resume");
		if (!whole) {
			whole = part;
			continue;
		}
		json_array_extend(json_object_get(whole, "ranges"), json_object_get(part, "ranges"));
		json_object_set_new(whole, "pages",
				    json_integer(json_integer_value(json_object_get(whole, "pages")) +
						 json_integer_value(json_object_get(part, "pages"))));
		json_object_set(whole, "cursor", json_object_get(part, "cursor"));
		json_decref(part);
	} while (resume);
	return whole;
}

int cli_cmd_dirtylog_read(struct cli *cli, const struct cli_command *command, json_t *params)
{
	const char *path = cli_local_string(params, "bitmap");
	json_t *result;

	if (path) {
		json_t *call = json_copy(params);

		json_object_del(call, "local");
		return log_bitmap(cli, command, call, path);
	}
	result = log_ranges(cli, command, params);
	if (!result)
		return CLI_FAILED;
	cli_show(cli, command->view, result);
	json_decref(result);
	return CLI_OK;
}
