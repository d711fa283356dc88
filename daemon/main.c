/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hvd: the command line. Supervisor and worker are the same binary.
 */
#include "daemon/conf.h"
#include "daemon/hvd.h"
#include "daemon/log.h"
#include "daemon/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config.h"

#ifndef HVD_SYSCONFDIR
#define HVD_SYSCONFDIR "/etc"
#endif

enum {
	OPT_RUNTIME = 256,
	OPT_STATE,
	OPT_CONFIG,
	OPT_FOREGROUND,
	OPT_VERSION,
	OPT_HELP,
	OPT_CHECK,
	OPT_METHODS,
	OPT_ERRORS,
	OPT_KEYS,
	OPT_DISCOVER,
};

static const struct option options[] = {
	{ "runtime-dir", required_argument, NULL, OPT_RUNTIME },
	{ "state-dir", required_argument, NULL, OPT_STATE },
	{ "config", required_argument, NULL, OPT_CONFIG },
	{ "foreground", no_argument, NULL, OPT_FOREGROUND },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ "help", no_argument, NULL, OPT_HELP },
	{ "check-config", no_argument, NULL, OPT_CHECK },
	{ "list-methods", no_argument, NULL, OPT_METHODS },
	{ "list-errors", no_argument, NULL, OPT_ERRORS },
	{ "list-config-keys", no_argument, NULL, OPT_KEYS },
	{ "discover", no_argument, NULL, OPT_DISCOVER },
	{ 0 },
};

static void help(void)
{
	puts("Usage: hvd [OPTION...]\n"
	     "Virtual machine monitor daemon.\n"
	     "\n"
	     "  --runtime-dir DIR   sockets, lock, control of running guests\n"
	     "  --state-dir DIR     definitions\n"
	     "  --config FILE       configuration; without it the default file, if there is one\n"
	     "  --foreground        do not go to the background\n"
	     "  --check-config      read the configuration, say what is wrong, and end\n"
	     "  --list-methods, --list-errors, --list-config-keys\n"
	     "                      names, one a line\n"
	     "  --discover          the OpenRPC document of the protocol\n"
	     "  --version, --help\n"
	     "\n"
	     "Defaults for root: /run/hvd, /var/lib/hvd, " HVD_SYSCONFDIR "/hvd/hvd.conf; for others\n"
	     "$XDG_RUNTIME_DIR/hvd, $XDG_STATE_HOME/hvd, $XDG_CONFIG_HOME/hvd/hvd.conf.\n"
	     "See hvd(8), hvd.conf(5), hvd-api(7).");
}

/* A folder of the user's: VARIABLE/hvd, or HOME/FALLBACK/hvd. */
static int user_folder(const char *variable, const char *fallback, char *path, size_t size)
{
	const char *base = getenv(variable), *home = getenv("HOME");
	int len;

	if (base && base[0] == '/')
		len = snprintf(path, size, "%s/hvd", base);
	else if (fallback && home && home[0] == '/')
		len = snprintf(path, size, "%s/%s/hvd", home, fallback);
	else
		return -ENOENT;
	return len < (int)size ? 0 : -ENAMETOOLONG;
}

static int set_path(char *path, size_t size, const char *value)
{
	if (snprintf(path, size, "%s", value) < (int)size && value[0])
		return 0;
	fprintf(stderr, "hvd: the path is empty or longer than %zu bytes: %s\n", size - 1, value);
	return -EINVAL;
}

static int set_defaults(struct hvd_options *o)
{
	const char *missing = NULL;
	char folder[PATH_MAX / 2 - 16];
	bool root = geteuid() == 0;

	if (root) {
		if (!o->runtime_dir[0])
			strcpy(o->runtime_dir, "/run/hvd");
		if (!o->state_dir[0])
			strcpy(o->state_dir, "/var/lib/hvd");
		if (!o->config_path[0])
			strcpy(o->config_path, HVD_SYSCONFDIR "/hvd/hvd.conf");
		return 0;
	}
	if (!o->runtime_dir[0] &&
	    user_folder("XDG_RUNTIME_DIR", NULL, o->runtime_dir, sizeof(o->runtime_dir)))
		missing = "--runtime-dir or XDG_RUNTIME_DIR";
	if (!o->state_dir[0] &&
	    user_folder("XDG_STATE_HOME", ".local/state", o->state_dir, sizeof(o->state_dir)))
		missing = "--state-dir, XDG_STATE_HOME or HOME";
	if (!o->config_path[0] &&
	    !user_folder("XDG_CONFIG_HOME", ".config", folder, sizeof(folder)))
		snprintf(o->config_path, sizeof(o->config_path), "%s/hvd.conf", folder);
	if (!missing)
		return 0;
	fprintf(stderr, "hvd: %s is needed\n", missing);
	return -EINVAL;
}

static int check_config(const struct hvd_options *o)
{
	struct hvd_config config;
	char message[512];
	int ret;

	config_defaults(&config);
	ret = config_load(&config, o->config_path, message, sizeof(message));
	if (ret && (ret != -ENOENT || o->config_given)) {
		fprintf(stderr, "hvd: %s\n", message);
		return EXIT_FAILURE;
	}
	printf("%s: %s\n", o->config_path, ret ? "not there; defaults apply" : "good");
	return EXIT_SUCCESS;
}

static int list_methods(bool document)
{
	struct api_table table;
	json_t *doc;
	size_t i;

	if (hvd_table_init(&table))
		return EXIT_FAILURE;
	if (document) {
		doc = api_discover(&table);
		json_dumpf(doc, stdout, JSON_INDENT(2));
		putchar('\n');
		json_decref(doc);
	}
	for (i = 0; i < table.count && !document; i++)
		puts(table.rows[i]->name);
	api_table_fini(&table);
	return EXIT_SUCCESS;
}

static int list_errors(void)
{
	int id;

	for (id = API_OK + 1; id < API_ERR_COUNT; id++)
		puts(api_error_name(id));
	return EXIT_SUCCESS;
}

/* In the background messages go to a file beside the sockets. */
static void log_to_file(const struct hvd_options *o)
{
	char path[sizeof(o->runtime_dir) + 16];
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (fd >= 0) {
		dup2(fd, STDIN_FILENO);
		dup2(fd, STDOUT_FILENO);
		close(fd);
	}
	snprintf(path, sizeof(path), "%s/hvd.log", o->runtime_dir);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
	if (fd < 0)
		return;
	dup2(fd, STDERR_FILENO);
	close(fd);
}

/*
 * The parent ends when the daemon serves, or with its failure: the daemon writes a
 * byte when it is ready, and the pipe closes without one when it dies first.
 */
static int run_background(struct hvd_options *o)
{
	int pipefd[2], status = EXIT_FAILURE;
	char byte;
	pid_t pid;

	if (pipe2(pipefd, O_CLOEXEC) || (pid = fork()) < 0) {
		fprintf(stderr, "hvd: %s\n", strerror(errno));
		return EXIT_FAILURE;
	}
	if (pid == 0) {
		close(pipefd[0]);
		setsid();
		o->ready_fd = pipefd[1];
		return supervisor_main(o);
	}
	close(pipefd[1]);
	if (read(pipefd[0], &byte, 1) == 1)
		return EXIT_SUCCESS;
	if (waitpid(pid, &status, 0) == pid && WIFEXITED(status))
		return WEXITSTATUS(status);
	return EXIT_FAILURE;
}

/* A listing that was asked for instead of a daemon: its exit status; -1: none was. */
static int run_listing(int option, const struct hvd_options *o)
{
	switch (option) {
	case OPT_VERSION:
		puts("hvd " PACKAGE_VERSION);
		return EXIT_SUCCESS;
	case OPT_HELP:
		help();
		return EXIT_SUCCESS;
	case OPT_CHECK:
		return check_config(o);
	case OPT_METHODS:
	case OPT_DISCOVER:
		return list_methods(option == OPT_DISCOVER);
	case OPT_ERRORS:
		return list_errors();
	case OPT_KEYS:
		config_list_keys(stdout);
		return EXIT_SUCCESS;
	default:
		return -1;
	}
}

static int take_option(struct hvd_options *o, int option, const char *value)
{
	switch (option) {
	case OPT_RUNTIME:
		return set_path(o->runtime_dir, sizeof(o->runtime_dir), value);
	case OPT_STATE:
		return set_path(o->state_dir, sizeof(o->state_dir), value);
	case OPT_CONFIG:
		o->config_given = true;
		return set_path(o->config_path, sizeof(o->config_path), value);
	default:
		o->foreground = true;
		return 0;
	}
}

int main(int argc, char **argv)
{
	struct hvd_options o = { .ready_fd = -1 };
	int option, listing = 0;

	if (argc > 1 && !strcmp(argv[1], WORKER_WORD))
		return worker_main(argc, argv);
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == '?')
			return 2;
		if (option >= OPT_VERSION)
			listing = option;
		else if (take_option(&o, option, optarg))
			return 2;
	}
	if (optind < argc) {
		fprintf(stderr, "hvd: unexpected argument %s\n", argv[optind]);
		return 2;
	}
	if (listing && listing != OPT_CHECK)
		return run_listing(listing, &o);
	if (set_defaults(&o))
		return 2;
	if (listing)
		return run_listing(listing, &o);
	o.log_to_file = log_to_file;
	return o.foreground ? supervisor_main(&o) : run_background(&o);
}
