/* Regular expressions of label filters that Loki replaces by substring searches (see loose.h).
 *
 * An expression qualifies when every alternative is a plain literal, or one literal with `.*` before or behind it, or `.*`, and
 * at least one has `.*`; and when no two alternatives begin alike, because Go's parser would then factor them into something that
 * Loki does not replace in this way.  Immutable after compiling; any thread. */
#include "query/pipeline/loose.h"

#include <errno.h>
#include <string.h>

#define MAX_LEGS 64

struct leg {
	bool stars;                     /* `.*` on a side: contains; otherwise equals */
	struct lp_str text;
};

struct lp_loose {
	unsigned n;
	struct leg legs[];
};

/* One alternative of [s, end): its literal into out.  False: something else stands there. */
static bool parse_leg(const char **s, const char *end, struct leg *leg, char *out)
{
	const char *p = *s;
	size_t n = 0;
	bool behind = false;

	leg->stars = end - p >= 2 && p[0] == '.' && p[1] == '*';
	if (leg->stars)
		p += 2;
	for (; p < end && *p != '|'; p++) {
		if (behind)
			return false;
		if (end - p >= 2 && p[0] == '.' && p[1] == '*') {
			behind = leg->stars = true;
			p++;
		} else if (*p == '\\' && end - p >= 2 && strchr(".-+*?()[]{}|^$\\/", p[1]) && p[1]) {
			out[n++] = *++p;
		} else if (!*p || strchr(".+*?()[]{}^$\\", *p)) {
			return false;
		} else {
			out[n++] = *p;
		}
		if (p + 1 < end && strchr("?+*{", p[1]) && p[1])
			return false;
	}
	out[n] = '\0';
	leg->text = (struct lp_str){ out, (uint32_t)n };
	*s = p;
	return n || leg->stars;
}

int lp_loose_compile(struct lp_arena *arena, const struct lp_str *text, struct lp_loose **ret_loose)
{
	struct lp_loose *loose = lp_arena_zalloc(arena, sizeof *loose + MAX_LEGS * sizeof loose->legs[0]);
	const char *p = text->s, *end = p + text->len;
	bool stars = false;

	if (!loose)
		return -ENOMEM;
	for (;;) {
		struct leg *leg = &loose->legs[loose->n];
		char *out = lp_arena_alloc(arena, (size_t)(end - p) + 1);

		if (!out)
			return -ENOMEM;
		if (loose->n == MAX_LEGS || !parse_leg(&p, end, leg, out))
			return 0;
		for (unsigned i = 0; i < loose->n; i++)
			if (leg->text.len && loose->legs[i].text.len && leg->text.s[0] == loose->legs[i].text.s[0])
				return 0;
		stars = stars || leg->stars;
		loose->n++;
		if (p == end)
			break;
		p++;
	}
	if (stars)
		*ret_loose = loose;
	return 0;
}

bool lp_loose_match(const struct lp_loose *loose, const char *s, size_t n)
{
	for (unsigned i = 0; i < loose->n; i++) {
		const struct lp_str *text = &loose->legs[i].text;

		if (loose->legs[i].stars ? memmem(s, n, text->s, text->len) != NULL : n == text->len && !memcmp(s, text->s, n))
			return true;
	}
	return false;
}
