/* Runs a fuzz target without libFuzzer: every file of its corpus, then mutations of them.
 *
 *   fuzz_x [FILE...]     the files, once each
 *   fuzz_x               tests/fuzz/corpus/x/ and LP_FUZZ_RUNS (default 20000) mutations with a fixed seed */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_INPUTS 4096
#define MAX_BYTES (1u << 20)

static struct {
	uint8_t *p;
	size_t n;
} inputs[MAX_INPUTS];
static size_t n_inputs;
static uint64_t state = 0x9e3779b97f4a7c15u;

static uint64_t rnd(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static int load(const char *path)
{
	FILE *f = fopen(path, "rb");

	if (!f || n_inputs == MAX_INPUTS) {
		perror(path);
		if (f)
			fclose(f);
		return -1;
	}
	uint8_t *p = malloc(MAX_BYTES);

	if (!p)
		abort();
	size_t n = fread(p, 1, MAX_BYTES, f);

	fclose(f);
	inputs[n_inputs].p = realloc(p, n ? n : 1);
	inputs[n_inputs++].n = n;
	return 0;
}

/* Exactly sized heap copies, so that AddressSanitizer sees every read past the end. */
static void run(const uint8_t *p, size_t n)
{
	uint8_t *copy = malloc(n ? n : 1);

	if (!copy)
		abort();
	memcpy(copy, p, n);
	(void)LLVMFuzzerTestOneInput(copy, n);
	free(copy);
}

static void mutate_and_run(void)
{
	size_t pick = rnd() % n_inputs, n = inputs[pick].n;
	uint8_t *p = malloc(n + 64);

	if (!p)
		abort();
	memcpy(p, inputs[pick].p, n);
	for (unsigned k = 1 + rnd() % 8; k; k--) {
		size_t at = n ? rnd() % n : 0;

		switch (rnd() % 6) {
		case 0: if (n) p[at] ^= (uint8_t)(1u << (rnd() & 7)); break;
		case 1: if (n) p[at] = (uint8_t)rnd(); break;
		case 2: if (n) n = at; break;
		case 3: if (n) { memmove(p + at, p + at + 1, n - at - 1); n--; } break;
		case 4: if (n && n < inputs[pick].n + 60) { memmove(p + at + 1, p + at, n - at); p[at] = (uint8_t)rnd(); n++; } break;
		default: if (n >= 4) { uint32_t v = (uint32_t)(rnd() >> (rnd() & 31)); memcpy(p + at % (n - 3), &v, 4); } break;
		}
	}
	run(p, n);
	free(p);
}

static void load_corpus(const char *argv0)
{
	const char *srcdir = getenv("LP_SRCDIR"), *name = strrchr(argv0, '/');
	char dir[4096], path[8192];

	name = name ? name + 1 : argv0;
	if (!strncmp(name, "fuzz_", 5))
		name += 5;
	snprintf(dir, sizeof dir, "%s/tests/fuzz/corpus/%s", srcdir ? srcdir : ".", name);
	DIR *d = opendir(dir);

	if (!d)
		return;
	for (struct dirent *e; (e = readdir(d));)
		if (e->d_name[0] != '.') {
			snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
			load(path);
		}
	closedir(d);
}

int main(int argc, char **argv)
{
	const char *runs = getenv("LP_FUZZ_RUNS");
	long n = runs ? atol(runs) : 20000;

	if (argc > 1) {
		for (int i = 1; i < argc; i++)
			if (load(argv[i]))
				return 1;
		n = 0;
	} else {
		load_corpus(argv[0]);
	}
	for (size_t i = 0; i < n_inputs; i++)
		run(inputs[i].p, inputs[i].n);
	if (!n_inputs) {
		inputs[0].p = calloc(1, 64);
		inputs[0].n = 64;
		n_inputs = 1;
	}
	for (long i = 0; i < n; i++)
		mutate_and_run();
	for (size_t i = 0; i < n_inputs; i++)
		free(inputs[i].p);
	printf("%s: inputs=%zu mutations=%ld\n", argv[0], n_inputs, n);
	return 0;
}
