/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Directories of snapshots.
 */
#include "daemon/snapshot_store.h"

#include "api/schema.h"
#include "daemon/log.h"
#include "daemon/store.h"
#include "hv/hv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOTE_PREFIX ".pending-"
#define LIST_MAX    10000

const char *const snapstore_file_names[SNAPFILE_COUNT] = { "manifest", "state", "memory", "digests",
							    "config" };

/* ---- folders and errors ------------------------------------------------------------ */

static int fail(struct api_error *err, int ret, const char *what)
{
	enum api_err id = ret == -EEXIST ? API_E_SNAPSHOT_EXISTS :
			  ret == -EBUSY ? API_E_JOB_CONFLICT :
			  ret == -ENOENT ? API_E_SNAPSHOT_NOT_FOUND : API_E_STORE_FAILED;

	api_error_set(err, id, "%s: %s", what, strerror(-ret));
	return ret;
}

static void folder_path(const struct snapstore_place *place, char *path, size_t size)
{
	if (place->directory)
		snprintf(path, size, "%s", place->directory);
	else
		snprintf(path, size, "%s/snapshots/%s", place->state_dir, place->domain);
}

void snapstore_path(const struct snapstore_place *place, char *path, size_t size)
{
	char folder[PATH_MAX - 128];

	folder_path(place, folder, sizeof(folder));
	snprintf(path, size, "%s/%s", folder, place->name);
}

static int open_folder(const struct snapstore_place *place)
{
	char path[PATH_MAX];
	int fd;

	folder_path(place, path, sizeof(path));
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Ours are made when they are needed; a folder that the caller names has to be there. */
static int make_folder(const struct snapstore_place *place)
{
	char path[PATH_MAX];

	if (place->directory)
		return open_folder(place);
	snprintf(path, sizeof(path), "%s/snapshots", place->state_dir);
	if (mkdir(path, 0700) && errno != EEXIST)
		return -errno;
	folder_path(place, path, sizeof(path));
	if (mkdir(path, 0700) && errno != EEXIST)
		return -errno;
	return open_folder(place);
}

static void part_name(const char *name, char *part, size_t size)
{
	snprintf(part, size, ".%s.part", name);
}

/* A directory with our files and nothing else. */
static int remove_dir(int parent, const char *name)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), i;

	if (fd < 0)
		return -errno;
	for (i = 0; i < SNAPFILE_COUNT; i++)
		unlinkat(fd, snapstore_file_names[i], 0);
	close(fd);
	return unlinkat(parent, name, AT_REMOVEDIR) ? -errno : 0;
}

static int sync_fd(int fd)
{
	return fsync(fd) ? -errno : 0;
}

static int write_synced(int fd, const char *text, size_t len)
{
	int ret = store_write_all(fd, text, len);

	return ret ? ret : sync_fd(fd);
}

/* ---- notes of parts in other folders ------------------------------------------------- */

static int note_write(const struct snapstore_place *place, struct snapstore_part *part)
{
	char path[PATH_MAX], text[PATH_MAX + 128];
	int fd, ret;

	if (!place->directory)
		return 0;
	snprintf(path, sizeof(path), "%s/snapshots", place->state_dir);
	if (mkdir(path, 0700) && errno != EEXIST)
		return -errno;
	snprintf(path, sizeof(path), "%s/snapshots/" NOTE_PREFIX "XXXXXX", place->state_dir);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	snprintf(part->note, sizeof(part->note), "%s", strrchr(path, '/') + 1);
	snprintf(text, sizeof(text), "%s\n%s", place->directory, place->name);
	ret = write_synced(fd, text, strlen(text));
	close(fd);
	if (ret)
		unlink(path);
	return ret;
}

static void note_drop(const struct snapstore_place *place, struct snapstore_part *part)
{
	char path[PATH_MAX];

	if (!part->note[0])
		return;
	snprintf(path, sizeof(path), "%s/snapshots/%s", place->state_dir, part->note);
	unlink(path);
	part->note[0] = '\0';
}

/* ---- writing --------------------------------------------------------------------------- */

/* One that somebody writes is locked; any other is a remnant. */
static int remove_remnant(int parent, const char *part)
{
	int fd = openat(parent, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int ret = 0;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (flock(fd, LOCK_EX | LOCK_NB))
		ret = -EBUSY;
	else
		ret = remove_dir(parent, part);
	close(fd);
	return ret;
}

static int make_files(struct snapstore_part *part, const char *config, int fds[SNAPFILE_COUNT])
{
	int i, ret;

	for (i = 0; i < SNAPFILE_COUNT; i++) {
		fds[i] = openat(part->dir, snapstore_file_names[i],
				O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fds[i] < 0)
			return -errno;
	}
	/* A worker never writes what says how the next one is made. */
	ret = write_synced(fds[SNAPFILE_CONFIG], config, strlen(config));
	close(fds[SNAPFILE_CONFIG]);
	fds[SNAPFILE_CONFIG] = -1;
	return ret;
}

static int make_part(const struct snapstore_place *place, struct snapstore_part *part)
{
	struct stat st;
	int ret;

	if (!fstatat(part->parent, place->name, &st, AT_SYMLINK_NOFOLLOW))
		return -EEXIST;
	part_name(place->name, part->name, sizeof(part->name));
	ret = remove_remnant(part->parent, part->name);
	if (!ret)
		ret = note_write(place, part);
	if (ret)
		return ret;
	if (mkdirat(part->parent, part->name, 0700))
		return -errno;
	part->dir = openat(part->parent, part->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (part->dir < 0 || flock(part->dir, LOCK_EX | LOCK_NB))
		return -errno;
	return 0;
}

int snapstore_begin(const struct snapstore_place *place, const char *config,
		    struct snapstore_part *part, int fds[SNAPFILE_COUNT], struct api_error *err)
{
	char path[PATH_MAX];
	int ret, i;

	for (i = 0; i < SNAPFILE_COUNT; i++)
		fds[i] = -1;
	part->dir = -1;
	part->note[0] = '\0';
	snapstore_path(place, path, sizeof(path));
	part->parent = make_folder(place);
	if (part->parent < 0)
		/* A folder that is not there is no snapshot that is not there. */
		return api_error_set(err, API_E_FILE_UNAVAILABLE, "%s: %s", path,
				     strerror(-part->parent)), part->parent;
	ret = make_part(place, part);
	if (!ret)
		ret = make_files(part, config, fds);
	if (!ret)
		return 0;
	for (i = 0; i < SNAPFILE_COUNT; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	snapstore_discard(place, part);
	return fail(err, ret, path);
}

void snapstore_discard(const struct snapstore_place *place, struct snapstore_part *part)
{
	/* Without the lock it is another's. */
	if (part->dir >= 0) {
		remove_dir(part->parent, part->name);
		close(part->dir);
	}
	if (part->parent >= 0)
		close(part->parent);
	note_drop(place, part);
	part->dir = part->parent = -1;
}

int snapstore_publish(const struct snapstore_place *place, struct snapstore_part *part,
		      struct api_error *err)
{
	char path[PATH_MAX];
	int ret = sync_fd(part->dir);

	if (!ret && renameat2(part->parent, part->name, part->parent, place->name,
			      RENAME_NOREPLACE))
		ret = -errno;
	if (!ret) {
		/* From here on it is there, and only a crash of the host could undo it. */
		if (sync_fd(part->parent))
			log_warning("snapshot %s: cannot sync its folder", place->name);
		close(part->dir);
		part->dir = -1;
	}
	snapstore_discard(place, part);
	if (!ret)
		return 0;
	snapstore_path(place, path, sizeof(path));
	return fail(err, ret, path);
}

/* ---- reading ----------------------------------------------------------------------------- */

static char *read_config(int fd, int *ret)
{
	struct stat st;
	char *text;
	ssize_t n;

	*ret = fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size > (off_t)SNAPSTORE_CONFIG_MAX ?
		       -EBADMSG : 0;
	text = *ret ? NULL : malloc(st.st_size + 1);
	if (!text) {
		*ret = *ret ? *ret : -ENOMEM;
		return NULL;
	}
	n = pread(fd, text, st.st_size, 0);
	/* A zero byte would hide what follows it. */
	if (n != st.st_size || memchr(text, 0, n)) {
		*ret = -EBADMSG;
		free(text);
		return NULL;
	}
	text[n] = '\0';
	return text;
}

static int open_files(int dir, int fds[SNAPFILE_COUNT], struct api_error *err)
{
	int i;

	for (i = 0; i < SNAPFILE_COUNT; i++) {
		fds[i] = openat(dir, snapstore_file_names[i],
				O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (fds[i] >= 0)
			continue;
		api_error_set(err, API_E_SNAPSHOT_INVALID, "%s: %s", snapstore_file_names[i],
			      strerror(errno));
		return -errno;
	}
	return 0;
}

int snapstore_open(const struct snapstore_place *place, int fds[SNAPFILE_COUNT], char **text,
		   struct api_error *err)
{
	char path[PATH_MAX];
	int dir, ret, i;

	for (i = 0; i < SNAPFILE_COUNT; i++)
		fds[i] = -1;
	snapstore_path(place, path, sizeof(path));
	dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		return fail(err, errno == ENOTDIR ? -ENOENT : -errno, path);
	ret = open_files(dir, fds, err);
	close(dir);
	if (!ret) {
		*text = read_config(fds[SNAPFILE_CONFIG], &ret);
		if (ret)
			api_error_set(err, API_E_SNAPSHOT_INVALID, "%s/config: %s", path,
				      strerror(-ret));
	}
	if (!ret)
		return 0;
	for (i = 0; i < SNAPFILE_COUNT; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return ret;
}

int snapstore_delete(const struct snapstore_place *place, struct api_error *err)
{
	char path[PATH_MAX];
	struct stat st;
	int parent = open_folder(place), ret;

	snapstore_path(place, path, sizeof(path));
	if (parent < 0)
		return fail(err, parent, path);
	/* Not what somebody else keeps there under such a name. */
	snprintf(path, sizeof(path), "%s/manifest", place->name);
	ret = fstatat(parent, path, &st, AT_SYMLINK_NOFOLLOW) ? -errno : 0;
	if (!ret)
		ret = hv_snapshot_delete(parent, place->name);
	if (!ret)
		ret = sync_fd(parent);
	close(parent);
	/* The last one takes the domain's folder along. */
	if (!ret && !place->directory) {
		folder_path(place, path, sizeof(path));
		rmdir(path);
	}
	snapstore_path(place, path, sizeof(path));
	return ret ? fail(err, ret == -ENOTDIR ? -ENOENT : ret, path) : 0;
}

/* ---- lists ------------------------------------------------------------------------------- */

static json_t *describe(const struct snapstore_place *place)
{
	int fds[SNAPFILE_COUNT], i;
	struct api_error err;
	json_t *all, *one = NULL;
	char path[PATH_MAX];
	struct stat st;
	char *text;

	if (snapstore_open(place, fds, &text, &err))
		return NULL;
	all = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	free(text);
	if (all && !fstat(fds[SNAPFILE_MEMORY], &st)) {
		snapstore_path(place, path, sizeof(path));
		one = json_pack("{s:O,s:s,s:O,s:O,s:I,s:I,s:s}", "domain",
				json_object_get(all, "domain"), "name", place->name, "created",
				json_object_get(all, "created"), "state",
				json_object_get(all, "state"), "memory", (json_int_t)st.st_size,
				"size", (json_int_t)st.st_blocks * 512, "path", path);
	}
	for (i = 0; i < SNAPFILE_COUNT; i++)
		close(fds[i]);
	json_decref(all);
	if (one && !(json_is_string(json_object_get(one, "domain")) &&
		     json_is_number(json_object_get(one, "created")) &&
		     json_is_string(json_object_get(one, "state")))) {
		json_decref(one);
		one = NULL;
	}
	return one;
}

static void list_folder(const struct snapstore_place *folder, json_t *list)
{
	struct snapstore_place place = *folder;
	struct dirent *entry;
	char path[PATH_MAX];
	json_t *one;
	DIR *dir;

	folder_path(folder, path, sizeof(path));
	dir = opendir(path);
	if (!dir)
		return;
	while ((entry = readdir(dir)) && json_array_size(list) < LIST_MAX) {
		place.name = entry->d_name;
		if (!schema_name_valid(place.name))
			continue;
		one = describe(&place);
		if (one)
			json_array_append_new(list, one);
	}
	closedir(dir);
}

static int by_time(const void *a, const void *b)
{
	double x = json_number_value(json_object_get(*(json_t *const *)a, "created"));
	double y = json_number_value(json_object_get(*(json_t *const *)b, "created"));

	return x < y ? -1 : x > y;
}

static json_t *sorted(json_t *list)
{
	size_t n = json_array_size(list), i;
	json_t **all = calloc(n + 1, sizeof(*all)), *out = json_array();

	for (i = 0; all && i < n; i++)
		all[i] = json_array_get(list, i);
	if (all)
		qsort(all, n, sizeof(*all), by_time);
	for (i = 0; all && i < n; i++)
		json_array_append(out, all[i]);
	free(all);
	json_decref(list);
	return out;
}

json_t *snapstore_list(const struct snapstore_place *place, struct api_error *err)
{
	struct snapstore_place folder = *place;
	json_t *list = json_array();
	struct dirent *entry;
	char path[PATH_MAX];
	DIR *dir;

	if (place->domain || place->directory) {
		list_folder(place, list);
		return sorted(list);
	}
	snprintf(path, sizeof(path), "%s/snapshots", place->state_dir);
	dir = opendir(path);
	if (!dir && errno != ENOENT) {
		fail(err, -errno, path);
		json_decref(list);
		return NULL;
	}
	while (dir && (entry = readdir(dir))) {
		folder.domain = entry->d_name;
		if (schema_name_valid(folder.domain))
			list_folder(&folder, list);
	}
	if (dir)
		closedir(dir);
	return sorted(list);
}

/* ---- sweeping ------------------------------------------------------------------------------ */

static bool is_remnant(const char *name)
{
	size_t len = strlen(name);

	return name[0] == '.' && len > 6 &&
	       (!strcmp(name + len - 5, ".part") || !strcmp(name + len - 5, ".gone"));
}

static void sweep_folder(const char *path)
{
	struct dirent *entry;
	DIR *dir = opendir(path);

	if (!dir)
		return;
	while ((entry = readdir(dir)))
		if (is_remnant(entry->d_name) && !remove_remnant(dirfd(dir), entry->d_name))
			log_info("%s/%s: removed, it was not finished", path, entry->d_name);
	closedir(dir);
	/* What only held the remnant. */
	rmdir(path);
}

static void sweep_note(const char *path)
{
	char text[PATH_MAX + 128] = "", part[80];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), parent;
	char *name;

	if (fd < 0)
		return;
	if (read(fd, text, sizeof(text) - 1) > 0 && (name = strchr(text, '\n'))) {
		*name++ = '\0';
		part_name(name, part, sizeof(part));
		parent = open(text, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (schema_name_valid(name) && parent >= 0 && !remove_remnant(parent, part))
			log_info("%s/%s: no half of a snapshot is left", text, part);
		if (parent >= 0)
			close(parent);
	}
	close(fd);
	unlink(path);
}

void snapstore_sweep(const char *state_dir)
{
	char path[PATH_MAX], entry_path[PATH_MAX + NAME_MAX + 2];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/snapshots", state_dir);
	dir = opendir(path);
	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		snprintf(entry_path, sizeof(entry_path), "%s/%s", path, entry->d_name);
		if (!strncmp(entry->d_name, NOTE_PREFIX, strlen(NOTE_PREFIX)))
			sweep_note(entry_path);
		else if (schema_name_valid(entry->d_name))
			sweep_folder(entry_path);
	}
	closedir(dir);
}
