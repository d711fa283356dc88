/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of commands. Adding one is adding a row (and its entry in hvctl(1)
 * and in completion.bash).
 */
#include "cli/cli.h"

#define ARGS(...)    ((const struct cli_arg[]){ __VA_ARGS__, { 0 } })
#define COLUMNS(...) ((const struct cli_column[]){ __VA_ARGS__, { 0 } })
#define DOMAIN	     { "DOMAIN", "domain", CLI_STRING, CLI_REQUIRED, "name or uuid" }
#define VCPU	     { "VCPU", "vcpu", CLI_INT, CLI_REQUIRED, "its number, from 0" }

static const struct cli_view form = { .shape = CLI_SHOW_FORM };

static const struct cli_view domains = {
	CLI_SHOW_TABLE, "domains",
	COLUMNS({ "NAME", "name", CLI_PLAIN }, { "STATE", "state", CLI_PLAIN },
		{ "REASON", "reason", CLI_PLAIN }, { "VCPUS", "vcpus", CLI_PLAIN },
		{ "MEMORY", "memory", CLI_BYTES }, { "PERSISTENT", "persistent", CLI_YESNO }),
	NULL
};

static const struct cli_view jobs = {
	CLI_SHOW_TABLE, "jobs",
	COLUMNS({ "ID", "id", CLI_PLAIN }, { "KIND", "kind", CLI_PLAIN },
		{ "DOMAIN", "domain", CLI_PLAIN }, { "STATUS", "status", CLI_PLAIN },
		{ "PROGRESS", "progress", CLI_PLAIN }),
	NULL
};

static const struct cli_view snapshots = {
	CLI_SHOW_TABLE, "snapshots",
	COLUMNS({ "DOMAIN", "domain", CLI_PLAIN }, { "NAME", "name", CLI_PLAIN },
		{ "CREATED", "created", CLI_TIME }, { "STATE", "state", CLI_PLAIN },
		{ "MEMORY", "memory", CLI_BYTES }, { "SIZE", "size", CLI_BYTES }),
	NULL
};

static const struct cli_view memslots = {
	CLI_SHOW_TABLE, "memslots",
	COLUMNS({ "AS", "as_id", CLI_PLAIN }, { "SLOT", "id", CLI_PLAIN }, { "GPA", "gpa", CLI_HEX },
		{ "SIZE", "size", CLI_BYTES }, { "FLAGS", "flags", CLI_PLAIN },
		{ "BACKING", "backing", CLI_PLAIN }),
	"generation"
};

static const struct cli_view dirty_ranges = {
	CLI_SHOW_TABLE, "ranges",
	COLUMNS({ "GPA", "0", CLI_HEX }, { "PAGES", "1", CLI_PLAIN }), "cursor"
};

static const struct cli_view roots = {
	CLI_SHOW_TABLE, "roots",
	COLUMNS({ "PFN", "pfn", CLI_HEX }, { "LEVEL", "level", CLI_PLAIN },
		{ "ROLE", "role", CLI_HEX }, { "AS", "as_id", CLI_PLAIN },
		{ "REFS", "refcount", CLI_PLAIN }, { "INVALID", "invalid", CLI_YESNO },
		{ "QUEUED", "queued", CLI_YESNO }, { "INDIRECT", "indirect", CLI_YESNO }),
	NULL
};

static const struct cli_view vcpus = {
	CLI_SHOW_TABLE, "vcpus",
	COLUMNS({ "VCPU", "id", CLI_PLAIN }, { "STATE", "state", CLI_PLAIN },
		{ "HOST-CPU", "host_cpu", CLI_PLAIN }, { "INSTRUCTIONS", "instructions", CLI_PLAIN },
		{ "ENTRIES", "entries", CLI_PLAIN }, { "HALTS", "halts", CLI_PLAIN },
		{ "INTERRUPTS", "irq_injections", CLI_PLAIN }, { "RUN", "run_ns", CLI_NS }),
	NULL
};

static const struct cli_view exits = {
	CLI_SHOW_TABLE, "exits",
	COLUMNS({ "VCPU", "vcpu", CLI_PLAIN }, { "REASON", "reason", CLI_PLAIN },
		{ "COUNT", "count", CLI_PLAIN }),
	NULL
};

static const struct cli_view host_cpus = {
	CLI_SHOW_TABLE, "cpus",
	COLUMNS({ "CPU", "id", CLI_PLAIN }, { "ONLINE", "online", CLI_YESNO },
		{ "ENABLED", "enabled", CLI_YESNO }),
	NULL
};

static const struct cli_view metrics = { CLI_SHOW_TEXT, "text", NULL, NULL };

#define MIGRATE_LIMITS                                                                           \
	{ "--bandwidth", "max_bandwidth", CLI_SIZE, 0, "a second, of all connections, as 100MiB; 0: no limit" }, \
	{ "--downtime", "downtime_limit_ms", CLI_SECONDS, 0, "seconds; default 0.3" },            \
	{ "--compress", "zstd_level", CLI_INT, 0, "zstd level 1 to 19; default 0, none" },        \
	{ "--auto-converge", "auto_converge", CLI_FLAG, 0, "slow the guest down when it writes too fast" }

#define RUN_OPTIONS                                                                              \
	{ "--name", "config.name", CLI_STRING, 0, "its name; default run-PID" },                  \
	{ "--vcpus", "config.vcpus", CLI_INT, 0, "number of vCPUs" },                             \
	{ "--memory", "config.memory", CLI_SIZE, 0, "RAM, as 512MiB" },                           \
	{ "--kernel", "config.boot.kernel", CLI_PATH, 0, "bzImage, PVH or multiboot image" },     \
	{ "--initrd", "config.boot.initrd", CLI_PATH, 0, "initial RAM disk" },                    \
	{ "--append", "config.boot.cmdline", CLI_STRING, 0, "the kernel's command line" },        \
	{ "--processor", "config.engine.processor", CLI_STRING, 0, "soft" },                      \
	{ "--vendor", "config.engine.vendor", CLI_STRING, 0, "vmx, svm or auto" },                \
	{ "--paging", "config.engine.paging", CLI_STRING, 0, "tdp or shadow" },                   \
	{ "--apicv", "config.engine.apicv", CLI_JSON, 0, "true or false" },                       \
	{ "--cpu", "config.cpu.model", CLI_STRING, 0, "CPU model, as baseline-v2" }

const struct cli_command cli_commands[] = {
	/* ---- the daemon ---- */
	{ "version", "daemon.version", "versions of the daemon and the engine", NULL, &form, NULL, NULL },
	{ "capabilities", "daemon.capabilities", "processors, vendors, CPU models, limits", NULL, &form,
	  NULL, NULL },
	{ "metrics", "metrics.get", "counters as OpenMetrics text", NULL, &metrics, NULL, NULL },

	/* ---- life of a domain ---- */
	{ "run", "domain.create", "create a transient domain and attach its console",
	  ARGS(RUN_OPTIONS,
	       { "--config", "config", CLI_CONFIG, 0, "a domain's JSON file; options change it" },
	       { "--detach", "detach", CLI_FLAG, CLI_LOCAL, "print the name instead of attaching" },
	       { "--console", "console", CLI_FLAG, CLI_LOCAL, "attach the console (the default)" }),
	  NULL, cli_cmd_run, "The domain is gone when it ends. Ctrl-] leaves the console." },
	{ "define", "domain.define", "keep a definition",
	  ARGS({ "FILE", "config", CLI_CONFIG, CLI_REQUIRED, "the domain's JSON file, or -" }), NULL,
	  cli_cmd_define, NULL },
	{ "create", "domain.create", "create and start a transient domain",
	  ARGS({ "FILE", "config", CLI_CONFIG, CLI_REQUIRED, "the domain's JSON file, or -" }), NULL,
	  cli_cmd_define, NULL },
	{ "undefine", "domain.undefine", "forget a definition", ARGS(DOMAIN), NULL, NULL, NULL },
	{ "dumpconfig", "domain.dumpconfig", "the definition as JSON", ARGS(DOMAIN), NULL, NULL, NULL },
	{ "start", "domain.start", "start a defined domain",
	  ARGS(DOMAIN, { "--console", "console", CLI_FLAG, CLI_LOCAL, "attach its console" }), NULL,
	  cli_cmd_start, NULL },
	{ "shutdown", "domain.shutdown", "press the power button", ARGS(DOMAIN), NULL, NULL, NULL },
	{ "reboot", "domain.reboot", "ask the guest to restart", ARGS(DOMAIN), NULL, NULL, NULL },
	{ "reset", "domain.reset", "press the reset button", ARGS(DOMAIN), NULL, NULL, NULL },
	{ "destroy", "domain.destroy", "end it at once; a definition stays", ARGS(DOMAIN), NULL, NULL,
	  NULL },
	{ "suspend", "domain.suspend", "stop its vCPUs", ARGS(DOMAIN), NULL, NULL, NULL },
	{ "resume", "domain.resume", "let its vCPUs go on", ARGS(DOMAIN), NULL, NULL, NULL },
	{ "snapshot", "domain.snapshot", "keep a guest's state and memory while it runs",
	  ARGS(DOMAIN, { "NAME", "name", CLI_STRING, 0, "default: seconds since 1970" },
	       { "--directory", "directory", CLI_PATH, 0, "an existing folder to put it into" },
	       { "--detach", "detach", CLI_FLAG, 0, "print the job's number and do not wait" }),
	  &form, NULL, "The guest stands still for some milliseconds, whatever its size." },
	{ "restore", "domain.restore", "make a domain again from a snapshot, which stays",
	  ARGS(DOMAIN, { "NAME", "name", CLI_STRING, CLI_REQUIRED, "the snapshot's" },
	       { "--as", "as", CLI_STRING, 0, "make another, transient domain of this name" },
	       { "--directory", "directory", CLI_PATH, 0, "the folder that it is in" },
	       { "--paused", "paused", CLI_FLAG, 0, "begin paused; default: as it was" },
	       { "--verify", "verify", CLI_FLAG, 0, "first compare all memory with its digests" },
	       { "--detach", "detach", CLI_FLAG, 0, "print the job's number and do not wait" }),
	  &form, NULL, "The domain must not run: destroy it first, or give --as." },
	{ "snapshot-list", "domain.snapshot_list", "snapshots, oldest first",
	  ARGS({ "DOMAIN", "domain", CLI_STRING, 0, "only of this one" },
	       { "--directory", "directory", CLI_PATH, 0, "those in this folder" }),
	  &snapshots, NULL, NULL },
	{ "snapshot-delete", "domain.snapshot_delete", "remove a snapshot",
	  ARGS(DOMAIN, { "NAME", "name", CLI_STRING, CLI_REQUIRED, "the snapshot's" },
	       { "--directory", "directory", CLI_PATH, 0, "the folder that it is in" }),
	  NULL, NULL, NULL },
	{ "migrate", "domain.migrate", "move a running guest to another daemon",
	  ARGS(DOMAIN, { "URI", "uri", CLI_STRING, CLI_REQUIRED, "unix:PATH, tcp:HOST:PORT, ssh://HOST" },
	       { "--verify", "verify", CLI_FLAG, 0, "compare a digest of every page first" },
	       { "--offline", "live", CLI_OFF, 0, "the guest stands still meanwhile" },
	       { "--streams", "streams", CLI_INT, 0, "connections; default 2" },
	       { "--persistent", "persistent", CLI_FLAG, 0, "the destination keeps the definition" },
	       { "--undefine-source", "undefine_source", CLI_FLAG, 0, "forget the definition here" },
	       { "--config", "config", CLI_CONFIG, 0, "the definition for the destination" },
	       MIGRATE_LIMITS,
	       { "--progress", "progress", CLI_FLAG, CLI_LOCAL, "show it, though stderr is no terminal" },
	       { "--detach", "detach", CLI_FLAG, CLI_LOCAL, "print the job's number and do not wait" }),
	  &form, cli_cmd_migrate, "Ctrl-C aborts it, and the guest stays; a second one only stops watching." },
	{ "migrate-plan", "domain.migrate_plan", "what a migration would meet, and how long it would take",
	  ARGS(DOMAIN, { "URI", "uri", CLI_STRING, CLI_REQUIRED, "as of migrate" },
	       { "--time", "time_ms", CLI_SECONDS, 0, "seconds to measure; default 1" },
	       { "--bandwidth", "max_bandwidth", CLI_SIZE, 0, "a second, as 100MiB; default: as measured" },
	       { "--downtime", "downtime_limit_ms", CLI_SECONDS, 0, "seconds; default 0.3" },
	       { "--config", "config", CLI_CONFIG, 0, "the definition for the destination" }),
	  &form, NULL, NULL },
	{ "migrate-set", "domain.migrate_set", "change the limits of a migration that runs",
	  ARGS(DOMAIN, MIGRATE_LIMITS), NULL, NULL, NULL },
	{ "migrate-resolve", "domain.migrate_resolve", "settle who has a guest whose migration ended in doubt",
	  ARGS(DOMAIN, { "--peer-gone", "peer_gone", CLI_FLAG, 0,
			 "you know that the other side does not run it and never will" }),
	  &form, NULL, "A guest that runs on both sides destroys its disks." },
	{ "upgrade", "domain.upgrade", "replace the worker under a running guest",
	  ARGS(DOMAIN, { "--detach", "detach", CLI_FLAG, 0, "print the job's number and do not wait" }),
	  &form, NULL, "By one of the daemon's version; the guest stands still for some milliseconds." },
	{ "nmi", "domain.nmi", "send a non-maskable interrupt", ARGS(DOMAIN), NULL, NULL, NULL },

	/* ---- looking at domains ---- */
	{ "list", "domain.list", "domains and their states",
	  ARGS({ "--all", "all", CLI_FLAG, 0, "also those that do not run" }), &domains, NULL, NULL },
	{ "info", "domain.info", "state and reason of one domain", ARGS(DOMAIN), &form, NULL, NULL },
	{ "stats", "domain.stats", "counters of one domain", ARGS(DOMAIN), &form, NULL, NULL },
	{ "top", "domain.list", "domains by use of CPU, again and again",
	  ARGS({ "--delay", "delay", CLI_SECONDS, CLI_LOCAL, "seconds between screens; default 1" },
	       { "--count", "count", CLI_INT, CLI_LOCAL, "screens; default: until Ctrl-C" }),
	  NULL, cli_cmd_top, NULL },
	{ "wait", "domain.wait", "wait until a domain has a state",
	  ARGS(DOMAIN, { "STATE", "state", CLI_STRING, CLI_REQUIRED, "running, paused, shutoff, crashed" },
	       { "--timeout", "timeout_ms", CLI_SECONDS, 0, "seconds; default: no limit" }),
	  NULL, cli_cmd_wait, NULL },
	{ "console", "domain.console", "attach the console; Ctrl-] leaves it", ARGS(DOMAIN), NULL,
	  cli_cmd_console, NULL },

	/* ---- memory ---- */
	{ "memslot list", "memslot.list", "memslots and the generation", ARGS(DOMAIN), &memslots, NULL,
	  NULL },
	{ "memslot set", "memslot.set", "create, move or change one memslot",
	  ARGS(DOMAIN, { "ID", "id", CLI_INT, CLI_REQUIRED, "slot number" },
	       { "GPA", "gpa", CLI_INT, CLI_REQUIRED, "guest-physical address" },
	       { "SIZE", "size", CLI_SIZE, CLI_REQUIRED, "bytes, as 2MiB" },
	       { "--readonly", "readonly", CLI_FLAG, 0, "guest writes become MMIO" },
	       { "--log-dirty", "log_dirty", CLI_FLAG, 0, "log written pages" },
	       { "--as-id", "as_id", CLI_INT, 0, "address space; default 0" }),
	  &form, NULL, NULL },
	{ "memslot delete", "memslot.delete", "delete one memslot",
	  ARGS(DOMAIN, { "ID", "id", CLI_INT, CLI_REQUIRED, "slot number" },
	       { "--as-id", "as_id", CLI_INT, 0, "address space; default 0" }),
	  &form, NULL, NULL },
	{ "memory read", "memory.read", "show guest-physical bytes",
	  ARGS(DOMAIN, { "GPA", "gpa", CLI_INT, CLI_REQUIRED, "guest-physical address" },
	       { "SIZE", "size", CLI_SIZE, CLI_REQUIRED, "bytes" },
	       { "--raw", "raw", CLI_FLAG, CLI_LOCAL, "the bytes instead of a dump" }),
	  NULL, cli_cmd_memory_read, NULL },
	{ "memory write", "memory.write", "write standard input to guest-physical memory",
	  ARGS(DOMAIN, { "GPA", "gpa", CLI_INT, CLI_REQUIRED, "guest-physical address" }), NULL,
	  cli_cmd_memory_write, NULL },
	{ "memory working-set", "memory.working_set", "pages by how long they are idle",
	  ARGS(DOMAIN, { "--clear", "clear", CLI_FLAG, 0, "begin a new interval" }), &form, NULL, NULL },
	{ "memory discard", "memory.discard", "give guest memory back; it reads as zero afterwards",
	  ARGS(DOMAIN, { "GPA", "gpa", CLI_INT, CLI_REQUIRED, "guest-physical address" },
	       { "SIZE", "size", CLI_SIZE, CLI_REQUIRED, "bytes" }),
	  NULL, NULL, NULL },

	{ "memory pageout", "memory.pageout", "ask the host to swap guest memory out",
	  ARGS(DOMAIN, { "GPA", "gpa", CLI_INT, CLI_REQUIRED, "guest-physical address" },
	       { "SIZE", "size", CLI_SIZE, CLI_REQUIRED, "bytes" }),
	  NULL, NULL, NULL },

	/* ---- dirty log ---- */
	{ "dirtylog start", "dirtylog.start", "log pages that the guest writes", ARGS(DOMAIN), &form, NULL,
	  NULL },
	{ "dirtylog stop", "dirtylog.stop", "end one start", ARGS(DOMAIN), NULL, NULL, NULL },
	{ "dirtylog read", "dirtylog.read", "pages written since a cursor",
	  ARGS(DOMAIN, { "--since", "since", CLI_INT, 0, "a cursor; default 0, every page" },
	       { "--bitmap", "bitmap", CLI_PATH, CLI_LOCAL,
		 "a file for a bit per page, from address 0 on" }),
	  &dirty_ranges, cli_cmd_dirtylog_read, NULL },
	{ "dirtylog clear", "dirtylog.clear", "re-arm logging of a range now",
	  ARGS(DOMAIN, { "GPA", "gpa", CLI_INT, CLI_REQUIRED, "guest-physical address" },
	       { "PAGES", "pages", CLI_INT, CLI_REQUIRED, "number of 4 KiB pages" }),
	  NULL, NULL, NULL },
	{ "dirtyrate", "dirtyrate.calc", "how fast the guest writes pages, per vCPU",
	  ARGS(DOMAIN, { "--time", "time_ms", CLI_SECONDS, 0, "seconds to measure; default 1" }), &form,
	  NULL, NULL },

	/* ---- MMU and vCPUs ---- */
	{ "mmu roots", "mmu.roots", "roots of the guest's page tables", ARGS(DOMAIN), &roots, NULL, NULL },
	{ "mmu invalidate", "mmu.invalidate", "invalidate every root; the worker zaps them",
	  ARGS(DOMAIN), &form, NULL, NULL },
	{ "mmu set", "mmu.set", "change how page tables are made",
	  ARGS(DOMAIN, { "--nx-huge-pages", "nx_huge_pages", CLI_FLAG, 0, "huge pages without execution" },
	       { "--no-nx-huge-pages", "nx_huge_pages", CLI_OFF, 0, "huge pages with it" }),
	  NULL, NULL, NULL },
	{ "mmu stats", "mmu.stats", "faults by kind, zaps, flushes, MMIO cache", ARGS(DOMAIN), &form, NULL,
	  NULL },
	{ "vcpu list", "vcpu.list", "vCPUs and their counters", ARGS(DOMAIN), &vcpus, NULL, NULL },
	{ "vcpu registers", "vcpu.registers", "registers of one vCPU", ARGS(DOMAIN, VCPU), &form, NULL,
	  NULL },
	{ "vcpu set-registers", "vcpu.set_registers", "set registers of one vCPU of a paused domain",
	  ARGS(DOMAIN, VCPU,
	       { "REGISTERS", "registers", CLI_JSON, CLI_REQUIRED, "as {\"rip\":\"0x1000\"}" }),
	  NULL, NULL, NULL },
	{ "vcpu exits", "vcpu.exits", "exits by architectural reason",
	  ARGS(DOMAIN, { "--vcpu", "vcpu", CLI_INT, 0, "only this one" }), &exits, NULL, NULL },

	/* ---- the host ---- */
	{ "host cpus", "host.cpus", "CPUs that domains may use", NULL, &host_cpus, NULL, NULL },
	{ "host cpu-online", "host.cpu_online", "let domains use a CPU",
	  ARGS({ "CPU", "cpu", CLI_INT, CLI_REQUIRED, "its number" }), NULL, NULL, NULL },
	{ "host cpu-offline", "host.cpu_offline", "take a CPU away from domains",
	  ARGS({ "CPU", "cpu", CLI_INT, CLI_REQUIRED, "its number" }), NULL, NULL, NULL },

	/* ---- jobs, events, the protocol ---- */
	{ "job list", "job.list", "jobs and how far they are", NULL, &jobs, NULL, NULL },
	{ "job info", "job.info", "one job", ARGS({ "ID", "id", CLI_INT, CLI_REQUIRED, "its number" }),
	  &form, NULL, NULL },
	{ "job abort", "job.abort", "ask a job to end", ARGS({ "ID", "id", CLI_INT, CLI_REQUIRED, "its number" }),
	  NULL, NULL, NULL },
	{ "job wait", "job.wait", "wait for a job's end; its failure is the exit status",
	  ARGS({ "ID", "id", CLI_INT, CLI_REQUIRED, "its number" },
	       { "--timeout", "timeout_ms", CLI_SECONDS, 0, "seconds; default: no limit" }),
	  &form, cli_cmd_job_wait, NULL },
	{ "events", "event.subscribe", "show events as they happen",
	  ARGS({ "--since", "since", CLI_INT, 0, "replay from this number" },
	       { "--domain", "domain", CLI_STRING, 0, "only of this domain" },
	       { "--count", "count", CLI_INT, CLI_LOCAL, "end after so many" }),
	  NULL, cli_cmd_events, NULL },
	{ "call", NULL, "call any method",
	  ARGS({ "METHOD", "method", CLI_STRING, CLI_REQUIRED | CLI_LOCAL, "as domain.list" },
	       { "PARAMS", "params", CLI_JSON, CLI_LOCAL, "a JSON object" }),
	  NULL, cli_cmd_call, NULL },
	{ "shell", NULL, "read commands from standard input", NULL, NULL, cli_cmd_shell, NULL },
	{ "proxy", NULL, "copy the protocol between standard input and output and the socket",
	  ARGS({ "SOCKET", "socket", CLI_PATH, CLI_LOCAL, "default: as without -c" }), NULL, cli_cmd_proxy,
	  "What -c ssh://HOST starts on the other side." },
	{ 0 }
};
