/* Directories as durable things: a name survives a power cut only when its directory was synced. */
#ifndef LP_COMMON_DIR_H
#define LP_COMMON_DIR_H

/* fsync a directory.  -errno. */
int lp_dir_sync(const char *path);
/* fsync the directory that holds `path`. */
int lp_dir_sync_parent(const char *path);

#endif
