/* Mapping files, and surviving pages that the disk does not deliver.
 *
 * Guarantees: a read fault inside a map made here ends with a page of zeros in place of the missing one, counted; the
 * reader's checksum then refuses what it finds.  A SIGBUS anywhere else ends the process as if this file did not
 * exist.  Process: any; each installs its own handler.  If the process dies here, nothing is on disk.
 *
 * The handler may use only async-signal-safe means, so the maps are kept in a lock-free table: linked blocks of
 * slots, blocks are never freed.  A slot's range is written length last and cleared length first, so the handler
 * reads a range that is complete, empty, or (for the instant of a reuse) a mix that holds no faulting address:
 * the faulting thread is reading a live map, and the slot of a live map does not change. */
#include "store/map.h"

#include "common/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK_SLOTS 255

struct slot {
	_Atomic uintptr_t start;        /* 0: free; 1: being filled or emptied */
	_Atomic size_t len;             /* 0: no range */
};

struct block {
	struct slot slots[BLOCK_SLOTS];
	struct block *_Atomic next;
};

static struct block first;
static _Atomic uint64_t faults;
static uintptr_t page_bytes;            /* sysconf is not async-signal-safe on paper */

static bool covered(uintptr_t addr)
{
	for (struct block *b = &first; b; b = atomic_load_explicit(&b->next, memory_order_acquire))
		for (unsigned i = 0; i < BLOCK_SLOTS; i++) {
			size_t len = atomic_load_explicit(&b->slots[i].len, memory_order_acquire);
			uintptr_t start = atomic_load_explicit(&b->slots[i].start, memory_order_relaxed);

			if (len && addr >= start && addr - start < len)
				return true;
		}
	return false;
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	uintptr_t addr = (uintptr_t)info->si_addr;
	int saved = errno;

	(void)context;
	/* si_code > 0: the kernel raised it, so si_addr is an address. */
	if (info->si_code > 0 && covered(addr) &&
	    mmap((void *)(addr & ~(page_bytes - 1)), page_bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
		    MAP_FAILED) {
		atomic_fetch_add_explicit(&faults, 1, memory_order_relaxed);
		errno = saved;
		return;
	}
	/* Not ours: the default action takes place when the instruction faults again, with the true address in the
	 * core dump.  A signal that somebody sent is not repeated by the instruction, so repeat it here. */
	struct sigaction dfl = { .sa_handler = SIG_DFL };

	(void)sigaction(sig, &dfl, NULL);
	if (info->si_code <= 0)
		(void)raise(sig);
	errno = saved;
}

int lp_map_init(void)
{
	struct sigaction action = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };

	page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
	sigemptyset(&action.sa_mask);
	return sigaction(SIGBUS, &action, NULL) < 0 ? -errno : 0;
}

static bool take_slot(struct block *b, uintptr_t start, size_t len)
{
	for (unsigned i = 0; i < BLOCK_SLOTS; i++) {
		uintptr_t none = 0;

		if (atomic_load_explicit(&b->slots[i].start, memory_order_relaxed))
			continue;
		if (!atomic_compare_exchange_strong(&b->slots[i].start, &none, 1))
			continue;
		atomic_store_explicit(&b->slots[i].start, start, memory_order_relaxed);
		atomic_store_explicit(&b->slots[i].len, len, memory_order_release);
		return true;
	}
	return false;
}

static int enroll(uintptr_t start, size_t len)
{
	for (struct block *b = &first;;) {
		struct block *next, *none = NULL;

		if (take_slot(b, start, len))
			return 0;
		next = atomic_load_explicit(&b->next, memory_order_acquire);
		if (!next) {
			struct block *fresh = calloc(1, sizeof *fresh);

			if (!fresh)
				return -ENOMEM;
			if (atomic_compare_exchange_strong(&b->next, &none, fresh)) {
				next = fresh;
			} else {
				free(fresh);
				next = none;
			}
		}
		b = next;
	}
}

static void withdraw(uintptr_t start)
{
	for (struct block *b = &first; b; b = atomic_load_explicit(&b->next, memory_order_acquire))
		for (unsigned i = 0; i < BLOCK_SLOTS; i++)
			if (atomic_load_explicit(&b->slots[i].start, memory_order_relaxed) == start) {
				atomic_store_explicit(&b->slots[i].len, 0, memory_order_release);
				atomic_store_explicit(&b->slots[i].start, 0, memory_order_release);
				return;
			}
}

static int open_file(const char *path, int *ret_fd, size_t *ret_len)
{
	struct stat st;
	int r = 0, fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		r = -errno;
	else if (!S_ISREG(st.st_mode))
		r = -EINVAL;
	else if (st.st_size == 0)
		r = -ENODATA;
	else if ((uintmax_t)st.st_size > SIZE_MAX / 2)
		r = -EFBIG;
	if (r < 0) {
		close(fd);
		return r;
	}
	*ret_fd = fd;
	*ret_len = (size_t)st.st_size;
	return 0;
}

static int map_file(int fd, size_t len, struct lp_map *ret_map)
{
	void *p = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);
	int r = p == MAP_FAILED ? -errno : 0;

	if (r == 0)
		/* To the end of the last page: wide loads may touch what is behind the last byte. */
		r = enroll((uintptr_t)p, LP_ALIGN(len, (size_t)sysconf(_SC_PAGESIZE)));
	if (r < 0) {
		if (p != MAP_FAILED)
			munmap(p, len);
		return r;
	}
	*ret_map = (struct lp_map){ .p = p, .len = len };
	return 0;
}

static int copy_file(int fd, size_t len, struct lp_map *ret_map)
{
	size_t room = LP_ALIGN(len, (size_t)64);        /* wide loads, as above */
	uint8_t *p = aligned_alloc(64, room);
	ssize_t n;

	if (!p)
		return -ENOMEM;
	memset(p + len, 0, room - len);
	do {
		n = pread(fd, p, len, 0);
	} while (n < 0 && errno == EINTR);
	if (n != (ssize_t)len) {
		int r = n < 0 ? -errno : -EIO;

		free(p);
		return r;
	}
	*ret_map = (struct lp_map){ .p = p, .len = len, .copied = true };
	return 0;
}

static int open_map(const char *path, size_t copy_bytes, struct lp_map *ret_map)
{
	size_t len = 0;
	int fd = -1, r = open_file(path, &fd, &len);

	if (r < 0)
		return r;
	r = len <= copy_bytes ? copy_file(fd, len, ret_map) : map_file(fd, len, ret_map);
	close(fd);
	return r;
}

int lp_map_open(const char *path, struct lp_map *ret_map)
{
	return open_map(path, 0, ret_map);
}

int lp_map_open_sealed(const char *path, struct lp_map *ret_map)
{
	return open_map(path, LP_MAP_COPY_BYTES, ret_map);
}

void lp_map_close(struct lp_map *map)
{
	if (!map || !map->p)
		return;
	if (map->copied) {
		free((void *)(uintptr_t)map->p);
	} else {
		/* Withdraw first: once unmapped, the address may be given to somebody else whose faults are not ours. */
		withdraw((uintptr_t)map->p);
		munmap((void *)(uintptr_t)map->p, map->len);
	}
	*map = (struct lp_map){ 0 };
}

uint64_t lp_map_faults(void)
{
	return atomic_load_explicit(&faults, memory_order_relaxed);
}
