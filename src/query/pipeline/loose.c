/* Regular expressions of label filters that Loki replaces by substring searches (see loose.h).
 *
 * Which ones these are depends on the tree that Go's parser makes: alternatives with a common beginning are one literal with
 * alternatives behind it, single characters side by side are a class.  The tree is therefore made here in the same way, of the
 * few things that Loki looks at: literals, `.*`, `.+` alone, groups and alternatives; anything else leaves the expression as it is.
 *
 * Guarantees: bounded depth and number of alternatives; immutable after compiling; any thread. */
#include "query/pipeline/loose.h"

#include "common/utf8.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#define MAX_LEGS 64u
#define MAX_DEPTH 16u
#define MAX_TEXT 4096u

enum kind { LITERAL, STAR, PLUS, EMPTY, CAPTURE, CONCAT, ALTERNATE };

struct node {
	enum kind kind;
	struct lp_str text;             /* LITERAL */
	struct node *subs[MAX_LEGS];    /* CAPTURE: one */
	unsigned n;
};

enum test { EQUALS, CONTAINS, EXISTS, ANYTHING };

struct leg {
	enum test test;
	struct lp_str text;
};

struct lp_loose {
	bool fold;
	unsigned n;
	struct leg legs[MAX_LEGS];
};

struct compile {
	struct lp_arena *arena;
	const char *p, *end;
	bool fold, failed, no_memory;   /* failed: nothing to replace */
	unsigned depth;
	struct lp_loose loose;
};

static struct node *give_up(struct compile *c)
{
	c->failed = true;
	return NULL;
}

static struct node *new_node(struct compile *c, enum kind kind)
{
	struct node *node = lp_arena_zalloc(c->arena, sizeof *node);

	if (!node) {
		c->no_memory = true;
		return give_up(c);
	}
	node->kind = kind;
	return node;
}

static struct node *literal(struct compile *c, const char *s, size_t n)
{
	struct node *node = new_node(c, n ? LITERAL : EMPTY);

	if (node)
		node->text = (struct lp_str){ s, (uint32_t)n };
	return node;
}

static struct lp_str join(struct compile *c, struct lp_str a, struct lp_str b)
{
	char *s = lp_arena_alloc(c->arena, (size_t)a.len + b.len + 1);

	if (!s) {
		c->no_memory = c->failed = true;
		return a;
	}
	memcpy(s, a.s, a.len);
	memcpy(s + a.len, b.s, b.len);
	s[a.len + b.len] = '\0';
	return (struct lp_str){ s, a.len + b.len };
}

static void add(struct compile *c, struct node *to, struct node *sub)
{
	if (!to || !sub || to->n == MAX_LEGS)
		(void)give_up(c);
	else
		to->subs[to->n++] = sub;
}

/* ---- alternatives --------------------------------------------------------------------------------- */

static const struct lp_str *beginning(const struct node *leg)
{
	static const struct lp_str none = { "", 0 };
	const struct node *first = leg->kind == CONCAT ? leg->subs[0] : leg;

	return first->kind == LITERAL ? &first->text : &none;
}

/* Whole characters that both begin with. */
static uint32_t common(const struct lp_str *a, uint32_t len, const struct lp_str *b)
{
	uint32_t i = 0;

	while (i < len && i < b->len && a->s[i] == b->s[i])
		i++;
	while (i && i < b->len && ((unsigned char)b->s[i] & 0xc0) == 0x80)
		i--;
	return i;
}

/* The leg without the first `skip` bytes of its beginning. */
static struct node *behind(struct compile *c, struct node *leg, uint32_t skip)
{
	struct lp_str text = *beginning(leg);
	struct node *rest = literal(c, text.s + skip, text.len - skip), *out;

	if (leg->kind != CONCAT || !rest)
		return rest;
	if (rest->kind == EMPTY && leg->n == 2)
		return leg->subs[1];
	out = new_node(c, CONCAT);
	if (rest->kind != EMPTY)
		add(c, out, rest);
	for (unsigned i = 1; i < leg->n; i++)
		add(c, out, leg->subs[i]);
	return out;
}

static struct node *alternate(struct compile *c, struct node *const *legs, unsigned n);

/* Legs with a common beginning become one: it, and the alternatives of what stands behind. */
static struct node *factor(struct compile *c, struct node *const *legs, unsigned n, uint32_t len)
{
	struct node *out = new_node(c, CONCAT), *rest[MAX_LEGS];

	for (unsigned i = 0; i < n; i++)
		rest[i] = behind(c, legs[i], len);
	if (c->failed)
		return NULL;
	add(c, out, literal(c, beginning(legs[0])->s, len));
	add(c, out, alternate(c, rest, n));
	return c->failed ? NULL : out;
}

static bool one_char(const struct node *node)
{
	return node->kind == LITERAL && lp_utf8_seq((const uint8_t *)node->text.s, node->text.len) == node->text.len;
}

static struct node *alternate(struct compile *c, struct node *const *legs, unsigned n)
{
	struct node *out = new_node(c, ALTERNATE);

	if (++c->depth > MAX_DEPTH)
		return give_up(c);
	for (unsigned i = 0; i < n && !c->failed;) {
		uint32_t len = beginning(legs[i])->len;
		unsigned k = i + 1;

		for (; k < n && len; k++) {
			uint32_t same = common(beginning(legs[i]), len, beginning(legs[k]));

			if (!same)
				break;
			len = same;
		}
		add(c, out, k > i + 1 ? factor(c, legs + i, k - i, len) : legs[i]);
		i = k;
	}
	c->depth--;
	for (unsigned i = 1; i < n && !c->failed; i++)
		if (one_char(legs[i]) && one_char(legs[i - 1]))
			return give_up(c);      /* a class of characters */
	for (unsigned i = 1; !c->failed && i < out->n; i++)
		if (one_char(out->subs[i]) && one_char(out->subs[i - 1]))
			return give_up(c);
	return c->failed ? NULL : out->n == 1 ? out->subs[0] : out;
}

/* ---- the expression ------------------------------------------------------------------------------- */

static struct node *parse_alternatives(struct compile *c);

static struct node *parse_group(struct compile *c)
{
	struct node *inner, *capture;
	bool plain = false;

	c->p++;
	if (c->p < c->end && *c->p == '?') {
		const char *close = memchr(c->p, '>', (size_t)(c->end - c->p));

		plain = c->end - c->p >= 2 && c->p[1] == ':';
		if (plain)
			c->p += 2;
		else if (close && c->end - c->p > 3 && (c->p[1] == '<' || (c->p[1] == 'P' && c->p[2] == '<')))
			c->p = close + 1;
		else
			return give_up(c);
	}
	inner = parse_alternatives(c);
	if (c->failed || c->p == c->end || *c->p != ')')
		return give_up(c);
	c->p++;
	if (plain)
		return inner;
	capture = new_node(c, CAPTURE);
	add(c, capture, inner);
	return c->failed ? NULL : capture;
}

/* The bytes of a character that stands for itself, into out; 0: something else stands there. */
static unsigned take_char(struct compile *c, char *out)
{
	const char *s = c->p;
	unsigned len;

	if (*s == '\\') {
		s++;
		if (s == c->end || (unsigned char)*s < ' ' || (unsigned char)*s > '~' || isalnum((unsigned char)*s))
			return 0;
	} else if (!*s || strchr(".+*?[{^$()|", *s)) {
		return 0;
	}
	len = lp_utf8_seq((const uint8_t *)s, (size_t)(c->end - s));
	if (!len || (c->fold && len > 1))
		return 0;
	memcpy(out, s, len);
	if (c->fold && *out >= 'A' && *out <= 'Z')
		*out |= 0x20;
	c->p = s + len;
	return len;
}

static struct node *parse_text(struct compile *c)
{
	char *out = lp_arena_alloc(c->arena, (size_t)(c->end - c->p) + 1);
	size_t n = 0;
	unsigned len;

	if (!out) {
		c->no_memory = true;
		return give_up(c);
	}
	while (c->p < c->end && (len = take_char(c, out + n)))
		n += len;
	out[n] = '\0';
	return n ? literal(c, out, n) : give_up(c);
}

static struct node *parse_one(struct compile *c)
{
	struct node *node;

	if (*c->p == '(')
		node = parse_group(c);
	else if (*c->p == '.' && c->end - c->p >= 2 && (c->p[1] == '*' || c->p[1] == '+')) {
		node = new_node(c, c->p[1] == '*' ? STAR : PLUS);
		c->p += 2;
		c->p += c->p < c->end && *c->p == '?';
	} else {
		node = parse_text(c);
	}
	if (c->p < c->end && *c->p && strchr("*+?{", *c->p))
		return give_up(c);
	return c->failed ? NULL : node;
}

static struct node *parse_concat(struct compile *c)
{
	struct node *out = new_node(c, CONCAT);

	while (!c->failed && c->p < c->end && *c->p != '|' && *c->p != ')') {
		struct node *node = parse_one(c), *last = out->n ? out->subs[out->n - 1] : NULL;

		if (c->failed)
			break;
		if (node->kind == LITERAL && last && last->kind == LITERAL)
			last->text = join(c, last->text, node->text);
		else if (node->kind == CONCAT)
			for (unsigned i = 0; i < node->n; i++)
				add(c, out, node->subs[i]);
		else
			add(c, out, node);
	}
	if (c->failed)
		return NULL;
	return out->n == 0 ? literal(c, "", 0) : out->n == 1 ? out->subs[0] : out;
}

static struct node *parse_alternatives(struct compile *c)
{
	struct node *legs = new_node(c, ALTERNATE);

	if (++c->depth > MAX_DEPTH)
		return give_up(c);
	for (bool more = true; more && !c->failed;) {
		struct node *leg = parse_concat(c);

		/* Alternatives in a group without a name are alternatives of this level. */
		if (leg && leg->kind == ALTERNATE)
			for (unsigned i = 0; i < leg->n; i++)
				add(c, legs, leg->subs[i]);
		else
			add(c, legs, leg);
		more = c->p < c->end && *c->p == '|';
		c->p += more;
	}
	c->depth--;
	if (c->failed)
		return NULL;
	return legs->n == 1 ? legs->subs[0] : alternate(c, legs->subs, legs->n);
}

/* ---- what Loki makes of the tree ------------------------------------------------------------------- */

static void put(struct compile *c, enum test test, struct lp_str text)
{
	if (c->loose.n == MAX_LEGS)
		(void)give_up(c);
	else
		c->loose.legs[c->loose.n++] = (struct leg){ test, text };
}

static const struct node *uncaptured(const struct node *node)
{
	while (node->kind == CAPTURE)
		node = node->subs[0];
	return node;
}

/* A literal and nothing else but `.*`, or one with alternatives right behind it.  base: the literals before it. */
static void replace_concat(struct compile *c, const struct node *node, struct lp_str base)
{
	unsigned parts = 0, literals = 0;
	bool alternatives = false, star = false;

	for (unsigned i = 0; i < node->n && !c->failed; i++) {
		const struct node *sub = uncaptured(node->subs[i]);

		if (sub->kind == EMPTY)
			continue;
		if (++parts > 3) {
			(void)give_up(c);
		} else if (sub->kind == LITERAL && !literals++) {
			base = join(c, base, sub->text);
		} else if (sub->kind == ALTERNATE && base.len && !star) {
			alternatives = true;
			for (unsigned k = 0; k < sub->n && !c->failed; k++) {
				const struct node *leg = sub->subs[k];

				if (leg->kind == EMPTY || leg->kind == STAR)
					put(c, CONTAINS, base);
				else if (leg->kind == LITERAL)
					put(c, CONTAINS, join(c, base, leg->text));
				else if (leg->kind == CONCAT)
					replace_concat(c, leg, base);
				else
					(void)give_up(c);
			}
		} else if (sub->kind == STAR) {
			star = base.len != 0;
		} else {
			(void)give_up(c);
		}
	}
	if (!alternatives && base.len)
		put(c, CONTAINS, base);
	else if (!alternatives)
		(void)give_up(c);
}

static void replace(struct compile *c, const struct node *node)
{
	const struct lp_str none = { "", 0 };

	node = uncaptured(node);
	switch (node->kind) {
	case LITERAL: put(c, EQUALS, node->text); break;
	case STAR: case EMPTY: put(c, ANYTHING, none); break;
	case PLUS: put(c, EXISTS, none); break;
	case CONCAT: replace_concat(c, node, none); break;
	default:
		for (unsigned i = 0; i < node->n && !c->failed; i++)
			replace(c, node->subs[i]);
		break;
	}
}

int lp_loose_compile(struct lp_arena *arena, const struct lp_str *text, struct lp_loose **ret_loose)
{
	struct compile c = { .arena = arena, .p = text->s, .end = text->s + text->len };
	struct node *root;
	bool other = false;

	c.fold = text->len >= 4 && !memcmp(text->s, "(?i)", 4);
	c.p += c.fold ? 4 : 0;
	root = text->len <= MAX_TEXT ? parse_alternatives(&c) : give_up(&c);
	if (!c.failed && c.p < c.end)
		(void)give_up(&c);
	if (!c.failed)
		replace(&c, root);
	if (c.no_memory)
		return -ENOMEM;
	for (unsigned i = 0; i < c.loose.n; i++)
		other = other || c.loose.legs[i].test != EQUALS;
	/* What is but equal to something the expression says as well. */
	if (c.failed || !other)
		return 0;
	c.loose.fold = c.fold;
	*ret_loose = lp_arena_dup(arena, &c.loose, sizeof c.loose);
	return *ret_loose ? 0 : -ENOMEM;
}

static bool contains(const char *s, size_t n, const struct lp_str *text, bool fold)
{
	if (!fold)
		return memmem(s, n, text->s, text->len) != NULL;
	for (size_t i = 0; i + text->len <= n; i++)
		if (!strncasecmp(s + i, text->s, text->len))
			return true;
	return false;
}

bool lp_loose_match(const struct lp_loose *loose, const char *s, size_t n)
{
	for (unsigned i = 0; i < loose->n; i++) {
		const struct leg *leg = &loose->legs[i];

		switch (leg->test) {
		case ANYTHING: return true;
		case EXISTS:
			if (n)
				return true;
			break;
		case EQUALS:
			if (n == leg->text.len && contains(s, n, &leg->text, loose->fold))
				return true;
			break;
		case CONTAINS:
			if (contains(s, n, &leg->text, loose->fold))
				return true;
			break;
		}
	}
	return false;
}
