/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hvctl: the context of one invocation and the form of a command.
 *
 * A command is one row of the table in commands.c: its words, the method that it
 * calls, its arguments, and how its result is shown. From the row come parsing,
 * usage, --help and the completion's lists; a command that does more than call
 * one method and show the result has a function of its own.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Exit status of hvctl. */
enum cli_status { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

/* What a command takes. */
enum cli_type {
	CLI_STRING,
	CLI_INT,
	CLI_NUMBER,
	CLI_SIZE,    /* bytes or "512MiB", passed on as text for the daemon to check */
	CLI_FLAG,    /* present: true */
	CLI_OFF,     /* present: false */
	CLI_PATH,    /* made absolute, since the daemon has another working directory */
	CLI_JSON,    /* JSON text */
	CLI_CONFIG,  /* a JSON file, or - for standard input */
	CLI_SECONDS, /* becomes milliseconds */
};

#define CLI_REQUIRED 1u
#define CLI_LOCAL    2u /* for the command's function, not a parameter of the method */

struct cli_arg {
	const char *name;  /* "NAME" in capitals: positional; "--name": option */
	const char *param; /* path of the parameter: "domain", "config.boot.kernel" */
	enum cli_type type;
	unsigned int flags;
	const char *help;
};

/* How a member is shown to people. */
enum cli_format {
	CLI_PLAIN,
	CLI_BYTES,   /* 512 MiB */
	CLI_HEX,
	CLI_NS,	     /* 1.25 ms */
	CLI_MS,
	CLI_YESNO,
	CLI_TIME,    /* seconds since the epoch */
	CLI_RATE,    /* MiB/s */
	CLI_SPEED,   /* bytes a second, shown as MiB/s */
};

struct cli_column {
	const char *title;
	const char *path; /* "a.b" in the object; a number indexes an array: "0" */
	enum cli_format format;
};

enum cli_shape {
	CLI_SHOW_NOTHING, /* success is silence */
	CLI_SHOW_TABLE,	  /* a row for each item of the array at path */
	CLI_SHOW_FORM,	  /* a line for each member, nested members indented */
	CLI_SHOW_TEXT,	  /* the string at path as it is */
};

struct cli_view {
	enum cli_shape shape;
	const char *path; /* of the array or string; NULL: the result itself */
	const struct cli_column *columns;
	const char *note; /* after a table: a line with the members outside of it; path of one member */
};

struct cli;

struct cli_command {
	const char *words; /* "list", "dirtylog read" */
	const char *method;
	const char *summary;
	const struct cli_arg *args;  /* ends with a row without name; NULL: none */
	const struct cli_view *view; /* NULL: success is silence */
	/* NULL: call method with params, show by view. Else does all of it. Borrows params. */
	int (*run)(struct cli *cli, const struct cli_command *command, json_t *params);
	const char *details; /* more for --help, or NULL */
};

extern const struct cli_command cli_commands[]; /* ends with a row without words */

struct hvd_client;

struct cli {
	struct hvd_client *client; /* connected at the first call */
	const char *uri;	   /* as given or found; NULL: look for a daemon */
	bool json;		   /* --json */
	bool quiet;
	bool in_shell;		   /* a failed command does not end the program */
};

/* ---- conn.c: calls ----------------------------------------------------------------------------- */
/* Connect when that has not happened yet. 0, or CLI_FAILED with the reason printed. */
int cli_connect(struct cli *cli);
/*
 * Call and wait. Takes params (NULL: none). Returns a new reference, or NULL with
 * the error printed as "hvctl: NAME: message". timeout_ms < 0: no limit.
 */
json_t *cli_call(struct cli *cli, const char *method, json_t *params, int timeout_ms);
/* The same for a result that brings a descriptor; *fd is owned by the caller. */
json_t *cli_call_fd(struct cli *cli, const char *method, json_t *params, int *fd);
/* Call with a descriptor, which stays the caller's; takes params. A status. */
int cli_call_with_fd(struct cli *cli, const char *method, json_t *params, int fd);
void cli_disconnect(struct cli *cli);
/* printf to standard error after "hvctl: ". */
void cli_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* ---- params.c: the command line ----------------------------------------------------------------- */
/*
 * Parse what follows the command's words. 0 and a new object in *params; local
 * arguments are below its member "local". Otherwise CLI_USAGE, the mistake printed.
 */
int cli_parse(struct cli *cli, const struct cli_command *command, int argc, char **argv,
	      json_t **params);
void cli_usage(const struct cli_command *command, bool to_stderr);
/* A member by path "a.b.0", borrowed, or NULL. */
json_t *cli_member(json_t *value, const char *path);
const char *cli_local_string(json_t *params, const char *name); /* NULL: not given */
bool cli_local_flag(json_t *params, const char *name);

/* ---- view.c: results for people ------------------------------------------------------------------- */
void cli_show(const struct cli *cli, const struct cli_view *view, json_t *result);
void cli_show_json(json_t *value);
/* Text of one value into buf. */
void cli_format(enum cli_format format, json_t *value, char *buf, size_t size);

/* ---- main.c --------------------------------------------------------------------------------------- */
/* Find the command of argv and run it. */
int cli_dispatch(struct cli *cli, int argc, char **argv);

/* ---- commands with a function of their own ------------------------------------------------------- */
int cli_cmd_simple(struct cli *cli, const struct cli_command *command, json_t *params);
int cli_cmd_define(struct cli *cli, const struct cli_command *command, json_t *params);
int cli_cmd_start(struct cli *cli, const struct cli_command *command, json_t *params);
int cli_cmd_console(struct cli *cli, const struct cli_command *command, json_t *params);
int cli_cmd_run(struct cli *cli, const struct cli_command *command, json_t *params);
int cli_cmd_wait(struct cli *cli, const struct cli_command *command, json_t *params);
int cli_cmd_job_wait(struct cli *cli, const struct cli_command *command, json_t *params);
int cli_cmd_migrate(struct cli *cli, const struct cli_command *command, json_t *params);
int cli_cmd_events(struct cli *cli, const struct cli_command *command, json_t *params);
int cli_cmd_top(struct cli *cli, const struct cli_command *command, json_t *params);
int cli_cmd_call(struct cli *cli, const struct cli_command *command, json_t *params);
int cli_cmd_shell(struct cli *cli, const struct cli_command *command, json_t *params);
int cli_cmd_memory_read(struct cli *cli, const struct cli_command *command, json_t *params);
int cli_cmd_dirtylog_read(struct cli *cli, const struct cli_command *command, json_t *params);
int cli_cmd_memory_write(struct cli *cli, const struct cli_command *command, json_t *params);
int cli_cmd_proxy(struct cli *cli, const struct cli_command *command, json_t *params);

/* Attach the terminal to a console descriptor until the escape key or the end. Takes fd. */
int cli_console_attach(int fd, const char *domain);

#endif
