/* A queue file of web hooks: any bytes are opened or refused; what was opened can be added to, and opened again with the
 * same content. */
#include "notify/hooks/queue.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lp_hookq_event event = { .id = 0x6c6f6770756c7365, .format = 1, .class = 1 };
	struct lp_buf body = LP_BUF_INIT;
	struct lp_hookq *queue = NULL;
	char path[64];
	int fd = memfd_create("queue", MFD_CLOEXEC);

	if (fd < 0 || (size && write(fd, data, size) != (ssize_t)size))
		abort();
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	if (size >= 32 && lp_hookq_open(path, 1 << 30, &queue) == 0) {
		uint32_t depth = lp_hookq_depth(queue);
		int r = lp_hookq_add(queue, &event, "body", 4, NULL);

		if (r != 0 && r != -EEXIST)
			abort();
		depth += r == 0;
		lp_hookq_close(&queue);
		if (lp_hookq_open(path, 1 << 30, &queue) < 0 || lp_hookq_depth(queue) != depth)
			abort();
		/* Without lp_hookq_done(), which may want to write a file beside it. */
		if (lp_hookq_first(queue) && (lp_hookq_body(queue, &body) < 0 || body.len != lp_hookq_first(queue)->body_bytes))
			abort();
		lp_hookq_close(&queue);
	}
	lp_buf_free(&body);
	close(fd);
	return 0;
}
