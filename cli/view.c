/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Results for people: tables whose columns fit their content, forms with one
 * member a line. Programs use --json and get the result as the daemon sent it.
 */
#include "cli/cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CELL_MAX    512
#define COLUMNS_MAX 16

static void format_scaled(double v, double step, const char *const *units, char *buf, size_t size)
{
	int i = 0;

	while (v >= step && units[i + 1]) {
		v /= step;
		i++;
	}
	if (v == (double)(long long)v)
		snprintf(buf, size, "%lld %s", (long long)v, units[i]);
	else
		snprintf(buf, size, "%.2f %s", v, units[i]);
}

static void format_time(double seconds, char *buf, size_t size)
{
	time_t t = (time_t)seconds;
	struct tm tm;

	if (!localtime_r(&t, &tm) || !strftime(buf, size, "%Y-%m-%d %H:%M:%S", &tm))
		snprintf(buf, size, "%.3f", seconds);
}

/* An integer that may travel as text when it needs all 64 bits. */
static uint64_t u64_value(json_t *value)
{
	if (json_is_string(value))
		return strtoull(json_string_value(value), NULL, 0);
	return (uint64_t)json_integer_value(value);
}

static void format_plain(json_t *value, char *buf, size_t size)
{
	char *text;

	switch (json_typeof(value)) {
	case JSON_STRING:
		snprintf(buf, size, "%s", json_string_value(value));
		return;
	case JSON_INTEGER:
		snprintf(buf, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
		return;
	case JSON_REAL:
		snprintf(buf, size, "%.3f", json_real_value(value));
		return;
	case JSON_TRUE:
	case JSON_FALSE:
		snprintf(buf, size, "%s", json_is_true(value) ? "yes" : "no");
		return;
	case JSON_NULL:
		snprintf(buf, size, "-");
		return;
	default:
		text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
		snprintf(buf, size, "%s", text ? text : "");
		free(text);
	}
}

void cli_format(enum cli_format format, json_t *value, char *buf, size_t size)
{
	static const char *const bytes[] = { "B", "KiB", "MiB", "GiB", "TiB", NULL };
	static const char *const ns[] = { "ns", "us", "ms", "s", NULL };

	if (!value || json_is_null(value)) {
		snprintf(buf, size, "-");
		return;
	}
	switch (format) {
	case CLI_BYTES:
		format_scaled((double)u64_value(value), 1024, bytes, buf, size);
		break;
	case CLI_HEX:
		snprintf(buf, size, "0x%" PRIx64, u64_value(value));
		break;
	case CLI_NS:
		format_scaled(json_number_value(value), 1000, ns, buf, size);
		break;
	case CLI_MS:
		format_scaled(json_number_value(value) * 1e6, 1000, ns, buf, size);
		break;
	case CLI_RATE:
		snprintf(buf, size, "%.2f MiB/s", json_number_value(value));
		break;
	case CLI_SPEED:
		snprintf(buf, size, "%.2f MiB/s", json_number_value(value) / 1048576);
		break;
	case CLI_TIME:
		format_time(json_number_value(value), buf, size);
		break;
	case CLI_YESNO:
		snprintf(buf, size, "%s", json_is_true(value) ? "yes" : "no");
		break;
	case CLI_PLAIN:
		format_plain(value, buf, size);
	}
	/* What a guest or a file named must not move the cursor of a terminal. */
	for (char *p = buf; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
}

void cli_show_json(json_t *value)
{
	json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
	putchar('\n');
}

static void table_cells(const struct cli_column *columns, json_t *row, char (*cells)[CELL_MAX])
{
	for (int c = 0; columns[c].title; c++)
		cli_format(columns[c].format, cli_member(row, columns[c].path), cells[c], CELL_MAX);
}

static void print_row(const struct cli_column *columns, const char (*cells)[CELL_MAX],
		      const size_t *width)
{
	for (int c = 0; columns[c].title; c++) {
		const char *text = cells ? cells[c] : columns[c].title;

		if (columns[c + 1].title)
			printf("%-*s  ", (int)width[c], text);
		else
			printf("%s\n", text);
	}
}

static void show_table(const struct cli_column *columns, json_t *rows)
{
	char cells[COLUMNS_MAX][CELL_MAX];
	size_t width[COLUMNS_MAX] = { 0 };
	size_t i;
	json_t *row;

	for (int c = 0; columns[c].title; c++)
		width[c] = strlen(columns[c].title);
	json_array_foreach(rows, i, row) {
		table_cells(columns, row, cells);
		for (int c = 0; columns[c].title; c++)
			if (strlen(cells[c]) > width[c])
				width[c] = strlen(cells[c]);
	}
	print_row(columns, NULL, width);
	json_array_foreach(rows, i, row) {
		table_cells(columns, row, cells);
		print_row(columns, (const char (*)[CELL_MAX])cells, width);
	}
}

/* Units that a member's name tells. */
static enum cli_format format_by_name(const char *name)
{
	static const struct {
		const char *suffix;
		enum cli_format format;
	} rules[] = {
		{ "_ns", CLI_NS },     { "_ms", CLI_MS },   { "memory", CLI_BYTES },
		{ "_bytes", CLI_BYTES }, { "gpa", CLI_HEX }, { "_mibps", CLI_RATE },
		{ "timestamp", CLI_TIME }, { "bandwidth", CLI_SPEED }, { "_bytes_per_s", CLI_SPEED },
		{ "working_set", CLI_BYTES },
	};
	size_t n = strlen(name);

	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		size_t m = strlen(rules[i].suffix);

		if (n >= m && !strcmp(name + n - m, rules[i].suffix))
			return rules[i].format;
	}
	return CLI_PLAIN;
}

static void show_form(json_t *value, int indent)
{
	char text[CELL_MAX];
	const char *key;
	json_t *member, *item;
	size_t i;

	json_object_foreach(value, key, member) {
		if (json_is_object(member)) {
			printf("%*s%s:\n", indent, "", key);
			show_form(member, indent + 2);
		} else if (json_is_array(member) && json_is_object(json_array_get(member, 0))) {
			json_array_foreach(member, i, item) {
				printf("%*s%s %zu:\n", indent, "", key, i);
				show_form(item, indent + 2);
			}
		} else {
			cli_format(json_is_number(member) ? format_by_name(key) : CLI_PLAIN, member,
				   text, sizeof(text));
			printf("%*s%-*s %s\n", indent, "", 24 - indent, key, text);
		}
	}
}

static void show_note(const char *path, json_t *result)
{
	char text[CELL_MAX];

	cli_format(CLI_PLAIN, cli_member(result, path), text, sizeof(text));
	printf("%s: %s\n", path, text);
}

void cli_show(const struct cli *cli, const struct cli_view *view, json_t *result)
{
	if (cli->json) {
		cli_show_json(result);
		return;
	}
	if (!view)
		return;
	switch (view->shape) {
	case CLI_SHOW_NOTHING:
		break;
	case CLI_SHOW_TABLE:
		show_table(view->columns, cli_member(result, view->path));
		if (view->note)
			show_note(view->note, result);
		break;
	case CLI_SHOW_FORM:
		show_form(cli_member(result, view->path), 0);
		break;
	case CLI_SHOW_TEXT:
		fputs(json_string_value(cli_member(result, view->path)) ?: "", stdout);
		break;
	}
}
