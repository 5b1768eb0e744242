/* Power cuts, simulated: every change of the disk goes through a model that knows what was synced.  At a random call the
 * power goes; the disk then holds everything synced, a prefix of the later changes of the directory (a journal keeps their order) and
 * any subset of the later sectors.  What lp_wal_commit() had returned must be there, and nothing that was not appended.
 * The method is that of ALICE (Pillai et al., OSDI 2014), reduced to what this log uses. */
#include "tests/unit/wal_test.h"

#define SECTOR 512u
#define MAX_RECORDS 4096

struct write_op {
	uint64_t off;
	uint32_t len;           /* within one sector */
	uint8_t data[SECTOR];
};

struct inode {
	ino_t ino;
	uint8_t *durable;
	uint64_t size;
	struct write_op *pending;
	size_t n_pending, cap_pending;
};

struct dir_op {
	char from[32], to[32];  /* from "": create; to "": unlink */
	ino_t ino;
};

static struct model {
	pthread_mutex_t lock;
	struct inode inodes[64];
	size_t n_inodes;
	struct dir_op ops[1024];
	size_t n_ops, durable_ops;
	long calls_left;
	bool off;
} model;

static uint64_t random_state;

static uint32_t rnd(uint32_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state >> 33) % n;
}

static struct inode *inode_of(int fd)
{
	struct stat st;

	ck_assert_int_eq(fstat(fd, &st), 0);
	for (size_t i = 0; i < model.n_inodes; i++)
		if (model.inodes[i].ino == st.st_ino)
			return &model.inodes[i];
	ck_assert_uint_lt(model.n_inodes, LP_ARRAY_LEN(model.inodes));
	model.inodes[model.n_inodes] = (struct inode){ .ino = st.st_ino };
	return &model.inodes[model.n_inodes++];
}

/* Under lock; false: the power is gone, nothing is recorded any more. */
static bool powered(void)
{
	if (model.calls_left-- <= 0)
		model.off = true;
	return !model.off;
}

static void grow(struct inode *inode, uint64_t size)
{
	if (size <= inode->size)
		return;
	inode->durable = realloc(inode->durable, size);
	memset(inode->durable + inode->size, 0, size - inode->size);
	inode->size = size;
}

static void apply(struct inode *inode, const struct write_op *op)
{
	grow(inode, op->off + op->len);
	memcpy(inode->durable + op->off, op->data, op->len);
}

static void record_write(struct inode *inode, const uint8_t *p, size_t n, uint64_t off)
{
	while (n) {
		size_t len = SECTOR - off % SECTOR;

		if (len > n)
			len = n;
		if (inode->n_pending == inode->cap_pending) {
			inode->cap_pending = inode->cap_pending ? inode->cap_pending * 2 : 256;
			inode->pending = realloc(inode->pending, inode->cap_pending * sizeof inode->pending[0]);
		}
		struct write_op *op = &inode->pending[inode->n_pending++];

		op->off = off;
		op->len = (uint32_t)len;
		memcpy(op->data, p, len);
		p += len;
		off += len;
		n -= len;
	}
}

static void record_dir(const char *from, const char *to, ino_t ino)
{
	ck_assert_uint_lt(model.n_ops, LP_ARRAY_LEN(model.ops));
	struct dir_op *op = &model.ops[model.n_ops++];

	snprintf(op->from, sizeof op->from, "%s", from);
	snprintf(op->to, sizeof op->to, "%s", to);
	op->ino = ino;
}

static int m_create(void *arg, int dir_fd, const char *name)
{
	pthread_mutex_lock(&model.lock);
	int fd = lp_wal_io_system.create(NULL, dir_fd, name);

	if (fd >= 0 && powered())
		record_dir("", name, inode_of(fd)->ino);
	pthread_mutex_unlock(&model.lock);
	return fd;
}

static ssize_t m_pwritev(void *arg, int fd, const struct iovec *iov, int n, uint64_t off)
{
	pthread_mutex_lock(&model.lock);
	ssize_t w = lp_wal_io_system.pwritev(NULL, fd, iov, n, off);

	if (powered()) {
		uint64_t at = off;

		for (int i = 0; i < n; i++) {
			record_write(inode_of(fd), iov[i].iov_base, iov[i].iov_len, at);
			at += iov[i].iov_len;
		}
	}
	pthread_mutex_unlock(&model.lock);
	return w;
}

static int m_truncate(void *arg, int fd, uint64_t size)
{
	pthread_mutex_lock(&model.lock);
	int r = lp_wal_io_system.truncate(NULL, fd, size);

	if (powered() && inode_of(fd)->size > size)
		inode_of(fd)->size = size;
	pthread_mutex_unlock(&model.lock);
	return r;
}

static int m_datasync(void *arg, int fd)
{
	pthread_mutex_lock(&model.lock);
	struct inode *inode = inode_of(fd);

	if (powered()) {
		for (size_t i = 0; i < inode->n_pending; i++)
			apply(inode, &inode->pending[i]);
		inode->n_pending = 0;
	}
	pthread_mutex_unlock(&model.lock);
	return 0;
}

static int m_rename(void *arg, int dir_fd, const char *from, const char *to)
{
	pthread_mutex_lock(&model.lock);
	int r = lp_wal_io_system.rename(NULL, dir_fd, from, to);

	if (r == 0 && powered())
		record_dir(from, to, 0);
	pthread_mutex_unlock(&model.lock);
	return r;
}

static int m_unlink(void *arg, int dir_fd, const char *name)
{
	pthread_mutex_lock(&model.lock);
	int r = 0;

	/* The file is kept under another name so that its inode number is not given to another one. */
	if (model.n_ops < LP_ARRAY_LEN(model.ops)) {
		char kept[64];

		snprintf(kept, sizeof kept, ".gone-%s-%zu", name, model.n_ops);
		r = lp_wal_io_system.rename(NULL, dir_fd, name, kept);
	}
	if (r == 0 && powered())
		record_dir(name, "", 0);
	pthread_mutex_unlock(&model.lock);
	return r;
}

static int m_syncdir(void *arg, int dir_fd)
{
	pthread_mutex_lock(&model.lock);
	if (powered())
		model.durable_ops = model.n_ops;
	pthread_mutex_unlock(&model.lock);
	return 0;
}

static const struct lp_wal_io model_io = { m_create, m_pwritev, m_truncate, m_datasync, m_rename, m_unlink, m_syncdir, NULL };

static void write_out(const char *to, const char *name, const struct inode *inode)
{
	char path[128];

	snprintf(path, sizeof path, "%.64s/%.31s", to, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, inode->durable, inode->size), (ssize_t)inode->size);
	close(fd);
}

/* The directory as the next start finds it. */
static void materialize(const char *to)
{
	struct { char name[32]; ino_t ino; } names[256];
	size_t n = 0, ops = model.durable_ops + rnd((uint32_t)(model.n_ops - model.durable_ops + 1));

	for (size_t i = 0; i < ops; i++) {
		const struct dir_op *op = &model.ops[i];
		ino_t ino = op->ino;
		size_t k;

		for (k = 0; *op->from && k < n; k++)
			if (!strcmp(names[k].name, op->from)) {
				ino = names[k].ino;
				names[k] = names[--n];
				break;
			}
		for (k = 0; *op->to && k < n; k++)
			if (!strcmp(names[k].name, op->to)) {
				names[k] = names[--n];
				break;
			}
		if (*op->to) {
			memcpy(names[n].name, op->to, sizeof op->to);
			names[n++].ino = ino;
		}
	}
	for (size_t i = 0; i < model.n_inodes; i++) {
		struct inode *inode = &model.inodes[i];
		uint32_t keep = rnd(5);         /* none, some, most, or all of what was not synced */

		for (size_t k = 0; k < inode->n_pending; k++)
			if (rnd(4) < keep)
				apply(inode, &inode->pending[k]);
	}
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < model.n_inodes; k++)
			if (model.inodes[k].ino == names[i].ino)
				write_out(to, names[i].name, &model.inodes[k]);
}

static void forget(void)
{
	for (size_t i = 0; i < model.n_inodes; i++) {
		free(model.inodes[i].durable);
		free(model.inodes[i].pending);
	}
	memset(&model, 0, sizeof model);
	pthread_mutex_init(&model.lock, NULL);
}

static bool power_is_off(void)
{
	pthread_mutex_lock(&model.lock);
	bool off = model.off;

	pthread_mutex_unlock(&model.lock);
	return off;
}

/* Append, commit, rotate, recycle until the power goes.  Returns how many records were appended; records
 * [*ret_sealed, *ret_committed) must survive. */
static uint32_t work(uint32_t *ret_sealed, uint32_t *ret_committed)
{
	struct lp_wal_config config = small_config();
	struct lp_wal_recovery rec;
	struct lp_wal *wal;
	uint32_t next = 0, committed = 0, sealed = 0, sealed_file = 0;
	static uint32_t numbers[MAX_RECORDS];

	config.sync = true;
	config.file_min = 16 << 10;
	config.file_max = 32 << 10;
	ck_assert_int_eq(lp_wal_open_io(&config, &model_io, EPOCH, 0, &wal, &rec), 0);
	while (!power_is_off() && next < MAX_RECORDS - 64) {
		uint32_t n = 1 + rnd(12);

		ck_assert_int_eq(append(wal, next, n), 0);
		next += n;
		if (rnd(3))
			continue;
		if (rnd(20) == 0)
			ck_assert_int_eq(lp_wal_rotate(wal), 0);
		lp_walpos pos = commit(wal);
		bool empty;

		if (power_is_off())
			break;
		committed = next;
		uint32_t number = lp_wal_next_to_seal(wal, sealed_file + 1, pos, &empty);

		if (number && rnd(2)) {
			int k = file_records(dir, number, true, numbers, MAX_RECORDS);

			ck_assert_int_gt(k, 0);
			sealed = numbers[k - 1] + 1;
			ck_assert_int_eq(lp_wal_retire(wal, number), 0);
			sealed_file = number;
		}
	}
	lp_wal_close(&wal);
	*ret_sealed = sealed;
	*ret_committed = committed;
	return next;
}

static void one_power_cut(long calls)
{
	static uint32_t numbers[MAX_RECORDS];
	static bool seen[MAX_RECORDS];
	struct lp_wal_recovery rec;
	uint32_t sealed, committed;
	char first_dir[64];

	forget();
	memset(seen, 0, sizeof seen);
	setup();
	model.calls_left = calls;
	uint32_t appended = work(&sealed, &committed);

	strcpy(first_dir, dir);
	setup();
	materialize(dir);
	struct lp_wal *wal = open_wal(EPOCH, 0, &rec);
	uint32_t total = 0;

	lp_wal_close(&wal);
	for (uint32_t file = rec.first_file; file < rec.first_file + rec.files + 4; file++) {
		int n = file_records(dir, file, true, numbers, MAX_RECORDS);

		if (n <= 0)
			continue;
		for (int i = 0; i < n; i++) {
			ck_assert_uint_lt(numbers[i], appended);
			ck_assert_msg(!seen[numbers[i]], "record %u stands twice", numbers[i]);
			seen[numbers[i]] = true;
		}
		total += (uint32_t)n;
		ck_assert_int_eq(file_records(dir, file, false, numbers, MAX_RECORDS), n);
	}
	ck_assert_uint_eq(total, rec.records);
	ck_assert_uint_eq(rec.bad_files, 0);
	for (uint32_t i = sealed; i < committed; i++)
		ck_assert_msg(seen[i], "record %u was committed and is gone (sealed %u committed %u)", i, sealed, committed);
	remove_dir(dir);
	strcpy(dir, first_dir);
	DIR *d = opendir(dir);

	for (struct dirent *e; (e = readdir(d));)
		(void)unlinkat(dirfd(d), e->d_name, 0);
	closedir(d);
	rmdir(dir);
}

START_TEST(test_power_cuts)
{
	random_state = 0x9e3779b97f4a7c15u + (uint64_t)_i;
	for (int i = 0; i < 40; i++)
		one_power_cut(1 + (long)rnd(400));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("wal_cut");
	TCase *tcase = tcase_create("power");

	tcase_set_timeout(tcase, 120);
	tcase_add_loop_test(tcase, test_power_cuts, 0, 5);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);

	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);

	srunner_free(runner);
	forget();
	return failed ? 1 : 0;
}
