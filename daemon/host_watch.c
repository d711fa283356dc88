/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Host CPUs that the kernel takes away or brings back: its uevents say that something has changed,
 * what has changed host_cpus_follow() sees for itself. So a message that is lost, or that somebody
 * made up, does no harm.
 */
#include "daemon/host_watch.h"

#include "daemon/hvd.h"
#include "daemon/log.h"

#include <errno.h>
#include <event2/event.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define UEVENT_MAX 8192
#define BATCH_MAX  64	/* messages in one turn of the loop */
#define KERNEL_GROUP 1	/* of the kernel's own uevents */

/* "offline@/devices/system/cpu/cpu3", then "KEY=value"s, each with a 0 byte behind it. */
static bool about_cpu(const char *text, size_t len)
{
	static const char place[] = "@/devices/system/cpu/cpu";
	const char *at = memchr(text, '@', strnlen(text, len));

	return at && (size_t)(text + len - at) >= sizeof(place) &&
	       !memcmp(at, place, sizeof(place) - 1);
}

static void on_uevent(evutil_socket_t fd, short what, void *data)
{
	static char text[UEVENT_MAX];
	struct hvd *hvd = data;
	bool changed = false;
	int i;

	(void)what;
	for (i = 0; i < BATCH_MAX; i++) {
		ssize_t n = recv(fd, text, sizeof(text), MSG_DONTWAIT);

		/* ENOBUFS: some were lost. */
		if (n < 0 && errno != ENOBUFS)
			break;
		changed = changed || n < 0 || about_cpu(text, n);
	}
	if (changed)
		host_cpus_follow(hvd, HOST_CPUS_TELL);
}

static int uevent_socket(void)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = KERNEL_GROUP };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);

	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&address, sizeof(address))) {
		int err = -errno;

		close(fd);
		return err;
	}
	return fd;
}

struct event *host_watch_new(struct hvd *hvd)
{
	struct event *event;
	int fd;

	host_cpus_follow(hvd, HOST_CPUS_NOTE);
	fd = uevent_socket();
	if (fd < 0) {
		log_info("no news of host CPUs: %s", strerror(-fd));
		return NULL;
	}
	event = event_new(hvd->base, fd, EV_READ | EV_PERSIST, on_uevent, hvd);
	if (event && !event_add(event, NULL))
		return event;
	if (event)
		event_free(event);
	close(fd);
	return NULL;
}

void host_watch_free(struct event *event)
{
	int fd;

	if (!event)
		return;
	fd = event_get_fd(event);
	event_free(event);
	close(fd);
}
