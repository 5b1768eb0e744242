/* logpulsectl: one table of subcommands (main.c), a file for each.  Exit status: 0 fine, 1 faults found or failed, 64 usage. */
#ifndef LP_CTL_CTL_H
#define LP_CTL_CTL_H

#include <stddef.h>
#include <stdint.h>

#define LP_CTL_OK 0
#define LP_CTL_FAILED 1
#define LP_CTL_USAGE 64

/* argv[0] is the subcommand's name. */
int lp_ctl_verify(int argc, char **argv);
int lp_ctl_dump(int argc, char **argv);
int lp_ctl_blocks(int argc, char **argv);

/* A data directory, opened offline. */
struct lp_ctl_data {
	char segments[4096], wal[4096];
	uint32_t *wal_files;            /* numbers, ascending; owned */
	size_t n_wal_files;
};

/* Prints its own error message and returns -errno; -ENOTDIR when it is no data directory. */
int lp_ctl_data_open(const char *path, struct lp_ctl_data *ret_data);
void lp_ctl_data_close(struct lp_ctl_data *data);
int lp_ctl_wal_path(const struct lp_ctl_data *data, uint32_t number, char *out, size_t out_len);

#endif
