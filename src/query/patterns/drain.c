/* Log templates after Drain: P. He, J. Zhu, Z. Zheng, M. R. Lyu, "Drain: An Online Log Parsing Approach with Fixed Depth Tree", ICWS 2017.
 *
 * A line is cut into words and the punctuation between them; words that are surely values (numbers, times, addresses, ids) become
 * placeholders at once.  The way down the tree is: group and shape (number of tokens, punctuation and keys of key=value and
 * "key":value), then the first PATH_WORDS words, those with a digit as a placeholder.  At the leaf the line joins the cluster with which it
 * shares most words, if that is more than half of them; words that differ become placeholders.  Else it founds a cluster.
 *
 * There are so few clusters that the tree is not built: each cluster knows its path, and a leaf is the clusters with the same path.  A
 * node under which MAX_CHILDREN clusters hang takes new words as placeholders.  When all clusters are in use, the one that
 * was not met for longest makes room.
 * Any thread, one at a time per miner.  Memory: LP_DRAIN_BYTES at most, whatever the lines are. */
#include "query/patterns/drain.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define PATH_WORDS 2u
#define MAX_CHILDREN 15u
#define PLACEHOLDER "<_>"

enum token_kind { TOKEN_FIXED, TOKEN_WORD, TOKEN_VALUE };       /* punctuation or key; word; placeholder */

struct token {
	uint16_t space, len;            /* bytes of white space before the text, bytes of text */
	uint16_t at;                    /* of the white space, in the line */
	uint8_t kind;
};

struct cluster {
	char *text;                     /* line that founded it; NULL: unused */
	struct token *tokens;
	uint32_t n, group;
	uint64_t path[PATH_WORDS + 1];
	uint64_t used;
};

struct lp_drain {
	struct cluster clusters[LP_DRAIN_CLUSTERS];
	uint32_t n;
	uint64_t clock;
	struct token tokens[LP_DRAIN_TOKENS + 1];       /* of the line at hand */
};

/* A cluster's text and tokens at their longest, and the table. */
_Static_assert(LP_DRAIN_CLUSTERS * (LP_DRAIN_LINE + (LP_DRAIN_TOKENS + 1) * sizeof(struct token) + 64) + sizeof(struct lp_drain) <= LP_DRAIN_BYTES,
	       "LP_DRAIN_BYTES is what callers account for");

/* ---- tokens ---- */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_hex(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_punctuation(char c)
{
	return c && strchr("=,;:()[]{}\"'|<>/&?", c);
}

/* Times of day, MAC and IPv6 addresses: hex digits with two colons or more. */
static size_t colon_run(const char *s, size_t n)
{
	size_t i = 0, colons = 0, digits = 0;

	for (; i < n && (is_hex(s[i]) || s[i] == ':' || s[i] == '.'); i++) {
		colons += s[i] == ':';
		digits += is_digit(s[i]);
	}
	while (i && (s[i - 1] == ':' || s[i - 1] == '.'))
		colons -= s[--i] == ':';
	return colons >= 2 && digits && (i == n || !is_letter(s[i])) ? i : 0;
}

/* Length of the word that begins here.  A colon between digits belongs to it: 21:50:19, 10.0.0.1:8080. */
static size_t word_length(const char *s, size_t n)
{
	size_t i = colon_run(s, n);

	for (; i < n && !is_space(s[i]); i++)
		if (is_punctuation(s[i]) && !(s[i] == ':' && i && is_digit(s[i - 1]) && i + 1 < n && is_digit(s[i + 1])))
			break;
	return i;
}

/* Numbers with or without unit, times, addresses, UUIDs, hex ids; not http2 or eth0. */
static bool is_value(const char *s, size_t n)
{
	size_t digits = 0, hex = 0, sign = n > 1 && (s[0] == '-' || s[0] == '+' || s[0] == '.' || s[0] == '#');

	for (size_t i = 0; i < n; i++) {
		digits += is_digit(s[i]);
		hex += is_hex(s[i]) || s[i] == '-' || s[i] == ':';
	}
	return digits && (is_digit(s[sign]) || digits >= 3 || (hex == n && n >= 8) || colon_run(s, n) == n);
}

/* key=value and "key":value; `end` is where the text ends. */
static bool is_key(const char *line, size_t len, size_t begin, size_t end)
{
	if (end < len && line[end] == '=')
		return true;
	return begin && line[begin - 1] == '"' && end + 1 < len && line[end] == '"' && line[end + 1] == ':';
}

static uint32_t cut(struct token *tokens, const char *line, size_t len, bool longer)
{
	uint32_t n = 0;
	size_t at = 0;

	while (at < len && n < LP_DRAIN_TOKENS) {
		size_t begin = at, end;

		while (begin < len && is_space(line[begin]))
			begin++;
		end = begin;
		if (begin < len)
			end += is_punctuation(line[begin]) ? 1 : word_length(line + begin, len - begin);
		struct token *t = &tokens[n++];

		*t = (struct token){ .space = (uint16_t)(begin - at), .len = (uint16_t)(end - begin), .at = (uint16_t)at, .kind = TOKEN_WORD };
		if (begin == len || is_punctuation(line[begin]))
			t->kind = TOKEN_FIXED;
		else if (is_value(line + begin, t->len))
			t->kind = TOKEN_VALUE;
		else if (is_key(line, len, begin, end))
			t->kind = TOKEN_FIXED;
		at = end;
	}
	if (at < len || longer)
		tokens[n++] = (struct token){ .at = (uint16_t)at, .kind = TOKEN_VALUE };
	return n;
}

static const char *text_of(const char *line, const struct token *t)
{
	return line + t->at + t->space;
}

static bool same_text(const char *x, const struct token *a, const char *y, const struct token *b)
{
	return a->len == b->len && memcmp(text_of(x, a), text_of(y, b), a->len) == 0;
}

/* ---- the tree ---- */

static uint64_t shape_of(uint32_t group, const char *line, const struct token *tokens, uint32_t n)
{
	uint64_t h = (uint64_t)group << 32 | n;

	for (uint32_t i = 0; i < n; i++)
		if (tokens[i].kind == TOKEN_FIXED)
			h = XXH3_64bits_withSeed(text_of(line, &tokens[i]), tokens[i].len, h + i);
	return h;
}

static bool has_digit(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (is_digit(s[i]))
			return true;
	return false;
}

/* The child of path[level - 1] for a word: its own, or the one for placeholders when the node is full. */
static uint64_t child(const struct lp_drain *drain, const uint64_t *path, uint32_t level, const char *s, size_t len)
{
	uint64_t any = XXH3_64bits_withSeed("", 0, path[level - 1]), own = XXH3_64bits_withSeed(s, len, path[level - 1]);
	uint32_t children = 0;

	if (has_digit(s, len))
		return any;
	for (uint32_t i = 0; i < drain->n; i++) {
		const struct cluster *c = &drain->clusters[i];

		if (c->path[level - 1] != path[level - 1])
			continue;
		if (c->path[level] == own)
			return own;
		children++;
	}
	return children < MAX_CHILDREN ? own : any;
}

static void find_path(const struct lp_drain *drain, uint32_t group, const char *line, uint32_t n, uint64_t *path)
{
	uint32_t level = 1;

	path[0] = shape_of(group, line, drain->tokens, n);
	for (uint32_t i = 0; i < n && level <= PATH_WORDS; i++) {
		const struct token *t = &drain->tokens[i];

		if (t->kind != TOKEN_WORD)
			continue;
		path[level] = child(drain, path, level, text_of(line, t), t->len);
		level++;
	}
	for (; level <= PATH_WORDS; level++)
		path[level] = path[level - 1];
}

/* simSeq of the paper: equal words.  Punctuation and keys are the same by the shape and do not count.  False: half of the words or fewer. */
static bool similarity(const struct cluster *c, const char *line, const struct token *tokens, uint32_t n, uint32_t *ret_equal)
{
	uint32_t words = 0, equal = 0;

	for (uint32_t i = 0; i < n; i++) {
		if (tokens[i].kind == TOKEN_FIXED && c->tokens[i].kind == TOKEN_FIXED)
			continue;
		words++;
		if (tokens[i].kind == TOKEN_VALUE && c->tokens[i].kind == TOKEN_VALUE)
			equal++;
		else if (tokens[i].kind == TOKEN_WORD && c->tokens[i].kind == TOKEN_WORD)
			equal += same_text(line, &tokens[i], c->text, &c->tokens[i]);
	}
	*ret_equal = equal;
	return words == 0 || equal * 2 > words;
}

static struct cluster *find_cluster(struct lp_drain *drain, const char *line, uint32_t n, const uint64_t *path, uint32_t group)
{
	struct cluster *best = NULL;
	uint32_t most = 0, equal;

	for (uint32_t i = 0; i < drain->n; i++) {
		struct cluster *c = &drain->clusters[i];

		if (c->path[PATH_WORDS] != path[PATH_WORDS] || c->n != n || c->group != group)
			continue;
		if (similarity(c, line, drain->tokens, n, &equal) && (!best || equal > most)) {
			best = c;
			most = equal;
		}
	}
	return best;
}

static void join(struct cluster *c, const char *line, const struct token *tokens)
{
	for (uint32_t i = 0; i < c->n; i++) {
		struct token *t = &c->tokens[i];

		if (t->kind != TOKEN_VALUE && (tokens[i].kind == TOKEN_VALUE || !same_text(line, &tokens[i], c->text, t)))
			t->kind = TOKEN_VALUE;
		if (t->space == tokens[i].space && memcmp(c->text + t->at, line + tokens[i].at, t->space) == 0)
			continue;
		/* Padding: the white space varies with the value and is part of it. */
		t->kind = TOKEN_VALUE;
		t->at += t->space;
		t->space = 0;
	}
}

static int found(struct lp_drain *drain, uint32_t group, const char *line, size_t len, uint32_t n, const uint64_t *path, struct cluster **ret_cluster)
{
	struct cluster *c = drain->n < LP_DRAIN_CLUSTERS ? &drain->clusters[drain->n] : NULL;
	char *text = malloc(len + 1);
	struct token *tokens = malloc((n + 1) * sizeof *tokens);

	if (!text || !tokens) {
		free(text);
		free(tokens);
		return -ENOMEM;
	}
	if (c)
		drain->n++;
	else
		c = drain->clusters;
	for (uint32_t i = 0; c->text && i < drain->n; i++)
		if (drain->clusters[i].used < c->used)
			c = &drain->clusters[i];
	free(c->text);
	free(c->tokens);
	*c = (struct cluster){ .text = text, .tokens = tokens, .n = n, .group = group };
	if (len)
		memcpy(text, line, len);
	memcpy(tokens, drain->tokens, n * sizeof *tokens);
	memcpy(c->path, path, sizeof c->path);
	*ret_cluster = c;
	return 0;
}

int lp_drain_add(struct lp_drain *drain, uint32_t group, const char *line, size_t len, uint32_t *ret_cluster, bool *ret_fresh)
{
	size_t used = len < LP_DRAIN_LINE ? len : LP_DRAIN_LINE;
	uint32_t n = cut(drain->tokens, line, used, used < len);
	uint64_t path[PATH_WORDS + 1];
	bool fresh = false;

	find_path(drain, group, line, n, path);
	struct cluster *c = find_cluster(drain, line, n, path, group);

	if (c) {
		join(c, line, drain->tokens);
	} else {
		int r = found(drain, group, line, used, n, path, &c);

		if (r < 0)
			return r;
		fresh = true;
	}
	c->used = ++drain->clock;
	*ret_cluster = (uint32_t)(c - drain->clusters);
	*ret_fresh = fresh;
	return 0;
}

void lp_drain_print(const struct lp_drain *drain, uint32_t cluster, struct lp_buf *out)
{
	const struct cluster *c = &drain->clusters[cluster];
	bool after = false;     /* a placeholder, directly */

	for (uint32_t i = 0; i < c->n; i++) {
		const struct token *t = &c->tokens[i];

		lp_buf_append(out, c->text + t->at, t->space);
		after &= t->space == 0;
		if (t->kind != TOKEN_VALUE) {
			lp_buf_append(out, text_of(c->text, t), t->len);
			after &= t->len == 0;
		} else if (!after) {
			lp_buf_str(out, PLACEHOLDER);
			after = true;
		}
	}
}

/* ---- life ---- */

int lp_drain_open(struct lp_drain **ret_drain)
{
	struct lp_drain *drain = calloc(1, sizeof *drain);

	if (!drain)
		return -ENOMEM;
	*ret_drain = drain;
	return 0;
}

void lp_drain_close(struct lp_drain **drain)
{
	if (!*drain)
		return;
	for (uint32_t i = 0; i < (*drain)->n; i++) {
		free((*drain)->clusters[i].text);
		free((*drain)->clusters[i].tokens);
	}
	free(*drain);
	*drain = NULL;
}
