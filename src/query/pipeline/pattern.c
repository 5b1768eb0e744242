/* Patterns: a sequence of literals and captures that alternate.
 *
 * Guarantees: one forward pass over the text with substring searches, no backtracking (a literal is taken where it occurs
 * first, as Loki does), no allocation after compiling.  Query threads; immutable. */
#include "query/pipeline/pattern.h"

#include <errno.h>
#include <string.h>

#define MAX_NODES 1024

struct node {
	bool capture;
	struct lp_str text;             /* literal, or name; "_" drops */
};

struct lp_pattern {
	struct node *nodes;
	unsigned n_nodes, n_names;
	struct lp_str *names;
};

static bool name_char(char c, bool first)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (!first && c >= '0' && c <= '9');
}

/* Length of "<name>" at s, or 0. */
static size_t capture_len(const char *s, size_t n)
{
	size_t i = 1;

	if (n < 3 || s[0] != '<' || !name_char(s[1], true))
		return 0;
	while (i < n && name_char(s[i], false))
		i++;
	return i < n && s[i] == '>' ? i + 1 : 0;
}

static bool unnamed(const struct node *node)
{
	return node->text.len == 1 && node->text.s[0] == '_';
}

static int check(const struct lp_pattern *p, bool filter, struct lp_buf *error)
{
	if (!filter && !p->n_nodes) {
		lp_buf_str(error, "parse error at line 1, col 1: syntax error: unexpected $end, expecting IDENTIFIER or LITERAL");
		return -EINVAL;
	}
	if (!filter && !p->n_names) {
		lp_buf_str(error, "at least one capture is required");
		return -EINVAL;
	}
	for (unsigned i = 0; filter && i < p->n_nodes; i++)
		if (p->nodes[i].capture && !unnamed(&p->nodes[i])) {
			lp_buf_printf(error, "named captures are not allowed: found '<%s>'", p->nodes[i].text.s);
			return -EINVAL;
		}
	for (unsigned i = 1; i < p->n_nodes; i++)
		if (p->nodes[i].capture && p->nodes[i - 1].capture) {
			lp_buf_printf(error, "found consecutive capture '<%s><%s>': invalid expression", p->nodes[i - 1].text.s, p->nodes[i].text.s);
			return -EINVAL;
		}
	for (unsigned i = 0; i < p->n_names; i++)
		for (unsigned k = 0; k < i; k++)
			if (!strcmp(p->names[i].s, p->names[k].s)) {
				lp_buf_printf(error, "duplicate capture name (%s): invalid expression", p->names[i].s);
				return -EINVAL;
			}
	return 0;
}

int lp_pattern_compile(struct lp_arena *arena, const char *s, size_t n, bool filter, struct lp_pattern **ret_pattern, struct lp_buf *error)
{
	struct lp_pattern *p = lp_arena_zalloc(arena, sizeof *p);
	unsigned max = 0;
	int r;

	for (size_t i = 0; i < n; i++)
		max += 2 * (s[i] == '<');
	max = max > MAX_NODES ? MAX_NODES : max + 1;
	if (!p || !(p->nodes = lp_arena_zalloc(arena, max * sizeof *p->nodes)) || !(p->names = lp_arena_zalloc(arena, max * sizeof *p->names)))
		return -ENOMEM;
	for (size_t i = 0; i < n;) {
		size_t len = capture_len(s + i, n - i), from = i;
		struct node *node;

		if (p->n_nodes == max) {
			lp_buf_str(error, "too many captures: invalid expression");
			return -EINVAL;
		}
		node = &p->nodes[p->n_nodes++];
		node->capture = len != 0;
		if (len)
			i += len;
		else
			while (i < n && !capture_len(s + i, n - i))
				i++;
		from += node->capture;
		node->text.len = (uint32_t)(i - from - node->capture);
		node->text.s = lp_arena_strndup(arena, s + from, node->text.len);
		if (!node->text.s)
			return -ENOMEM;
		if (node->capture && !unnamed(node))
			p->names[p->n_names++] = node->text;
	}
	r = check(p, filter, error);
	if (r < 0)
		return r;
	*ret_pattern = p;
	return 0;
}

unsigned lp_pattern_n_names(const struct lp_pattern *p)
{
	return p->n_names;
}

const struct lp_str *lp_pattern_name(const struct lp_pattern *p, unsigned i)
{
	return &p->names[i];
}

/* memmem() for the short stretches between captures: its preparation would cost more than the search.  A text that keeps beginning like the
 * literal is left to memmem(), which is linear. */
static const char *find(const char *s, size_t n, const struct lp_str *literal)
{
	const char *end = s + n;

	for (unsigned tries = 0; tries < 16 && literal->len && (size_t)(end - s) >= literal->len; tries++, s++) {
		s = memchr(s, literal->s[0], (size_t)(end - s) - literal->len + 1);
		if (!s)
			return NULL;
		if (!memcmp(s + 1, literal->s + 1, literal->len - 1))
			return s;
	}
	return memmem(s, (size_t)(end - s), literal->s, literal->len);
}

unsigned lp_pattern_captures(const struct lp_pattern *p, const char *s, size_t n, struct lp_pattern_capture *captures)
{
	unsigned found = 0, i = 0;

	if (!n || !p->n_nodes)
		return 0;
	if (!p->nodes[0].capture) {
		if (n < p->nodes[0].text.len || memcmp(s, p->nodes[0].text.s, p->nodes[0].text.len))
			return 0;
		s += p->nodes[0].text.len;
		n -= p->nodes[0].text.len;
		i = 1;
	}
	for (; i < p->n_nodes; i += 2) {
		const struct lp_str *literal = i + 1 < p->n_nodes ? &p->nodes[i + 1].text : NULL;
		const char *hit = literal ? find(s, n, literal) : NULL;
		size_t len = hit ? (size_t)(hit - s) : n;

		if (!unnamed(&p->nodes[i]))
			captures[found++] = (struct lp_pattern_capture){ s, len };
		if (!hit)
			break;
		s = hit + literal->len;
		n -= len + literal->len;
	}
	return found;
}

bool lp_pattern_test(const struct lp_pattern *p, const char *s, size_t n)
{
	size_t off = 0;

	if (!n || !p->n_nodes)
		return !n && !p->n_nodes;
	for (unsigned i = 0; i < p->n_nodes; i++) {
		const struct lp_str *literal = &p->nodes[i].text;
		const char *hit;

		if (p->nodes[i].capture)
			continue;
		hit = memmem(s + off, n - off, literal->s, literal->len);
		if (!hit || (i != 0) != (hit != s + off))
			return false;
		off = (size_t)(hit - s) + literal->len;
	}
	return p->nodes[p->n_nodes - 1].capture == (off != n);
}

bool lp_pattern_literal(const struct lp_pattern *p, const char **ret_s, size_t *ret_len)
{
	*ret_len = 0;
	for (unsigned i = 0; i < p->n_nodes; i++)
		if (!p->nodes[i].capture && p->nodes[i].text.len > *ret_len) {
			*ret_s = p->nodes[i].text.s;
			*ret_len = p->nodes[i].text.len;
		}
	return *ret_len != 0;
}
