/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The store. Names come from the API checked as schema_name_valid(), so they have
 * no slash and begin with no dot.
 */
#include "daemon/store.h"

#include "api/schema.h"
#include "daemon/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STORE_FILE_MAX (1 << 20)
#define SUFFIX	       ".json"
#define TEMP_SUFFIX    ".json.tmp"

static int store_folder(const char *state_dir)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/definitions", state_dir);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static bool ends_with(const char *text, const char *end)
{
	size_t len = strlen(text), n = strlen(end);

	return len > n && !strcmp(text + len - n, end);
}

int store_open(const char *state_dir)
{
	char path[PATH_MAX];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/definitions", state_dir);
	if (mkdir(path, 0750) && errno != EEXIST)
		return -errno;
	dir = opendir(path);
	if (!dir)
		return -errno;
	while ((entry = readdir(dir)))
		if (ends_with(entry->d_name, TEMP_SUFFIX))
			unlinkat(dirfd(dir), entry->d_name, 0);
	closedir(dir);
	return 0;
}

static json_t *store_read(int folder, const char *file, char *why, size_t size)
{
	json_error_t jerr;
	struct stat st;
	json_t *json;
	int fd;

	fd = openat(folder, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st)) {
		snprintf(why, size, "%s", strerror(errno));
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	if (!S_ISREG(st.st_mode) || st.st_size > STORE_FILE_MAX) {
		snprintf(why, size, "not a regular file of at most %d bytes", STORE_FILE_MAX);
		close(fd);
		return NULL;
	}
	json = json_loadfd(fd, JSON_REJECT_DUPLICATES, &jerr);
	close(fd);
	if (!json)
		snprintf(why, size, "line %d: %s", jerr.line, jerr.text);
	return json;
}

int store_load(const char *state_dir, void (*fn)(void *ctx, const char *name, json_t *config),
	       void *ctx)
{
	int folder = store_folder(state_dir);
	char name[SCHEMA_NAME_MAX + 1], why[256];
	struct dirent *entry;
	json_t *json;
	size_t len;
	DIR *dir;

	if (folder < 0)
		return folder;
	dir = fdopendir(folder);
	if (!dir) {
		close(folder);
		return -ENOMEM;
	}
	while ((entry = readdir(dir))) {
		len = strlen(entry->d_name) - strlen(SUFFIX);
		if (!ends_with(entry->d_name, SUFFIX) || len >= sizeof(name))
			continue;
		memcpy(name, entry->d_name, len);
		name[len] = '\0';
		if (!schema_name_valid(name))
			continue;
		json = store_read(folder, entry->d_name, why, sizeof(why));
		if (json)
			fn(ctx, name, json);
		else
			log_err("definition %s/definitions/%s: %s", state_dir, entry->d_name, why);
		json_decref(json);
	}
	closedir(dir);
	return 0;
}

int store_write_all(int fd, const char *text, size_t len)
{
	ssize_t n;

	while (len > 0) {
		n = write(fd, text, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		text += n;
		len -= n;
	}
	return 0;
}

static int store_write_temp(int folder, const char *file, const char *text)
{
	int fd, ret;

	fd = openat(folder, file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (fd < 0)
		return -errno;
	ret = store_write_all(fd, text, strlen(text));
	if (!ret)
		ret = store_write_all(fd, "\n", 1);
	if (!ret && fsync(fd))
		ret = -errno;
	if (close(fd) && !ret)
		ret = -errno;
	return ret;
}

int store_write(const char *state_dir, const char *name, const char *text)
{
	char file[SCHEMA_NAME_MAX + 16], temp[SCHEMA_NAME_MAX + 16];
	int folder = store_folder(state_dir);
	int ret;

	if (folder < 0)
		return folder;
	snprintf(file, sizeof(file), "%s%s", name, SUFFIX);
	snprintf(temp, sizeof(temp), "%s%s", name, TEMP_SUFFIX);
	ret = store_write_temp(folder, temp, text);
	if (!ret && renameat(folder, temp, folder, file))
		ret = -errno;
	if (ret)
		unlinkat(folder, temp, 0);
	else if (fsync(folder))
		ret = -errno;
	close(folder);
	return ret;
}

int store_remove(const char *state_dir, const char *name)
{
	char file[SCHEMA_NAME_MAX + 16];
	int folder = store_folder(state_dir);
	int ret = 0;

	if (folder < 0)
		return folder;
	snprintf(file, sizeof(file), "%s%s", name, SUFFIX);
	if (unlinkat(folder, file, 0) && errno != ENOENT)
		ret = -errno;
	else if (fsync(folder))
		ret = -errno;
	close(folder);
	return ret;
}
