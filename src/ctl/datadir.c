/* A data directory seen offline: where its parts are, and which WAL files there are. */
#include "ctl/ctl.h"

#include "common/buf.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int u32_cmp(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static int list_wal(struct lp_ctl_data *data)
{
	struct lp_buf found = LP_BUF_INIT;
	DIR *d = opendir(data->wal);

	if (!d)
		return errno == ENOENT ? 0 : -errno;
	for (struct dirent *e; (e = readdir(d));) {
		uint32_t number;
		char again[32];

		if (sscanf(e->d_name, "%10u.wal", &number) != 1)
			continue;
		snprintf(again, sizeof again, "%08u.wal", number);
		if (!strcmp(again, e->d_name))
			lp_buf_append(&found, &number, sizeof number);
	}
	closedir(d);
	if (found.failed) {
		lp_buf_free(&found);
		return -ENOMEM;
	}
	data->n_wal_files = found.len / sizeof(uint32_t);
	data->wal_files = (uint32_t *)(void *)found.data;
	if (data->n_wal_files)
		qsort(data->wal_files, data->n_wal_files, sizeof(uint32_t), u32_cmp);
	return 0;
}

int lp_ctl_data_open(const char *path, struct lp_ctl_data *ret_data)
{
	struct lp_ctl_data data = { 0 };
	int r = 0;

	if ((size_t)snprintf(data.segments, sizeof data.segments, "%s/segments", path) >= sizeof data.segments ||
	    (size_t)snprintf(data.wal, sizeof data.wal, "%s/wal", path) >= sizeof data.wal)
		r = -ENAMETOOLONG;
	else if (access(path, R_OK | X_OK) < 0)
		r = -errno;
	else if (access(data.segments, F_OK) < 0 && access(data.wal, F_OK) < 0)
		r = -ENOTDIR;
	else
		r = list_wal(&data);
	if (r < 0) {
		fprintf(stderr, "logpulsectl: %s: %s\n", path, r == -ENOTDIR ? "not a data directory (no segments/, no wal/)" : strerror(-r));
		return r;
	}
	*ret_data = data;
	return 0;
}

void lp_ctl_data_close(struct lp_ctl_data *data)
{
	free(data->wal_files);
	*data = (struct lp_ctl_data){ 0 };
}

int lp_ctl_wal_path(const struct lp_ctl_data *data, uint32_t number, char *out, size_t out_len)
{
	return (size_t)snprintf(out, out_len, "%s/%08u.wal", data->wal, number) >= out_len ? -ENAMETOOLONG : 0;
}
