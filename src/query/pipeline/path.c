/* Expressions of json and logfmt.
 *
 *   json     path = ( field | "[" ( index | string ) "]" ) { "." field | "[" ( index | string ) "]" }
 *   logfmt   key | string
 *
 * Guarantees: linear, at most LP_PATH_MAX_STEPS steps, everything in the caller's arena. */
#include "query/pipeline/path.h"

#include "common/utf8.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum token { END, FIELD, DOT, LSB, RSB, STRING, INDEX };

struct scan {
	const char *s;
	size_t n, i;
	bool logfmt;                    /* keys and strings only */
	struct lp_arena *arena;
	enum token tok;
	struct lp_str str;
	uint32_t index;
	char bad[64];                   /* a character that means nothing ends the expression; an error if it could end there */
};

static bool field_char(char c, bool first)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (!first && c >= '0' && c <= '9');
}

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n';
}

/* Up to a quote or a closing bracket; no escapes. */
static int scan_string(struct scan *sc)
{
	size_t from = ++sc->i;

	while (sc->i < sc->n && sc->s[sc->i] && sc->s[sc->i] != '"' && sc->s[sc->i] != ']')
		sc->i++;
	sc->tok = STRING;
	sc->str = (struct lp_str){ lp_arena_strndup(sc->arena, sc->s + from, sc->i - from), (uint32_t)(sc->i - from) };
	sc->i += sc->i < sc->n;
	return sc->str.s ? 0 : -ENOMEM;
}

static void bad_char(struct scan *sc, const char *what)
{
	unsigned len = sc->i < sc->n ? lp_utf8_seq((const uint8_t *)sc->s + sc->i, sc->n - sc->i) : 0;
	const char *c = sc->i == sc->n ? "" : len ? sc->s + sc->i : "\xef\xbf\xbd";

	snprintf(sc->bad, sizeof sc->bad, "%s%.*s", what, (int)(sc->i == sc->n ? 0 : len ? len : 3), c);
	sc->tok = END;
	sc->i = sc->n;
}

/* An index ends with a blank or a bracket, not with the expression. */
static void scan_index(struct scan *sc)
{
	uint64_t v = 0;

	for (; sc->i < sc->n && sc->s[sc->i] >= '0' && sc->s[sc->i] <= '9'; sc->i++)
		v = v > UINT32_MAX ? v : v * 10 + (uint64_t)(sc->s[sc->i] - '0');
	sc->tok = INDEX;
	sc->index = v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
	if (sc->i < sc->n && sc->s[sc->i] == '.') {
		snprintf(sc->bad, sizeof sc->bad, "cannot use float as array index");
		sc->tok = END;
		sc->i = sc->n;
	} else if (sc->i == sc->n || (!blank(sc->s[sc->i]) && sc->s[sc->i] != ']')) {
		bad_char(sc, "non-integer value: ");
	}
}

static int next(struct scan *sc)
{
	size_t from;
	char c;

	while (sc->i < sc->n && blank(sc->s[sc->i]))
		sc->i++;
	from = sc->i;
	c = from < sc->n ? sc->s[from] : '\0';
	if (!c) {
		sc->tok = END;
	} else if (field_char(c, true)) {
		while (sc->i < sc->n && field_char(sc->s[sc->i], false))
			sc->i++;
		sc->tok = FIELD;
		sc->str = (struct lp_str){ lp_arena_strndup(sc->arena, sc->s + from, sc->i - from), (uint32_t)(sc->i - from) };
		if (!sc->str.s)
			return -ENOMEM;
	} else if (c >= '0' && c <= '9' && !sc->logfmt) {
		scan_index(sc);
	} else if (c == '"') {
		return scan_string(sc);
	} else if (!sc->logfmt && strchr(".[]", c)) {
		sc->tok = c == '.' ? DOT : c == '[' ? LSB : RSB;
		sc->i++;
	} else {
		bad_char(sc, "unexpected char ");
	}
	return 0;
}

static int unexpected(const struct scan *sc, const char *expecting, struct lp_buf *error)
{
	static const char *const names[] = { "$end", "FIELD", "DOT", "LSB", "RSB", "STRING", "INDEX" };

	lp_buf_printf(error, "syntax error: unexpected %s", sc->logfmt && sc->tok == FIELD ? "KEY" : names[sc->tok]);
	if (expecting)
		lp_buf_printf(error, ", expecting %s", expecting);
	return -EINVAL;
}

/* The expression may end here. */
static int finish(const struct scan *sc, struct lp_buf *error)
{
	if (!sc->bad[0])
		return 0;
	lp_buf_str(error, sc->bad);
	return -EINVAL;
}

/* "[" has been read. */
static int read_brackets(struct scan *sc, struct lp_path_step *step, struct lp_buf *error)
{
	int r = next(sc);

	if (r < 0)
		return r;
	if (sc->tok != INDEX && sc->tok != STRING)
		return unexpected(sc, "STRING or INDEX", error);
	step->is_index = sc->tok == INDEX;
	step->index = sc->index;
	step->key = sc->str;
	r = next(sc);
	if (r < 0)
		return r;
	return sc->tok == RSB ? 0 : unexpected(sc, "RSB", error);
}

int lp_path_compile_json(struct lp_arena *arena, const char *s, size_t n, struct lp_path **ret_path, struct lp_buf *error)
{
	struct scan sc = { .s = s, .n = n, .arena = arena };
	struct lp_path_step steps[LP_PATH_MAX_STEPS];
	struct lp_path *path = lp_arena_zalloc(arena, sizeof *path);
	int r;

	if (!path)
		return -ENOMEM;
	for (;;) {
		struct lp_path_step *step = &steps[path->n_steps];
		bool dotted = false;

		r = next(&sc);
		if (r == 0 && sc.tok == END && path->n_steps)
			break;
		if (r == 0 && sc.tok == DOT && path->n_steps) {
			dotted = true;
			r = next(&sc);
		}
		if (r < 0)
			return r;
		if (path->n_steps == LP_PATH_MAX_STEPS) {
			lp_buf_str(error, "too many steps");
			return -EINVAL;
		}
		memset(step, 0, sizeof *step);
		if (sc.tok == FIELD && (dotted || !path->n_steps)) {
			step->key = sc.str;
		} else if (sc.tok == LSB && !dotted) {
			r = read_brackets(&sc, step, error);
			if (r < 0)
				return r;
		} else {
			return unexpected(&sc, dotted ? "FIELD" : path->n_steps ? NULL : "LSB or FIELD", error);
		}
		path->n_steps++;
	}
	r = finish(&sc, error);
	if (r < 0)
		return r;
	path->steps = lp_arena_dup(arena, steps, path->n_steps * sizeof steps[0]);
	if (!path->steps)
		return -ENOMEM;
	*ret_path = path;
	return 0;
}

int lp_path_compile_logfmt(struct lp_arena *arena, const char *s, size_t n, struct lp_path **ret_path, struct lp_buf *error)
{
	struct scan sc = { .s = s, .n = n, .arena = arena, .logfmt = true };
	struct lp_path *path = lp_arena_zalloc(arena, sizeof *path);
	struct lp_path_step *step = lp_arena_zalloc(arena, sizeof *step);
	int r;

	if (!path || !step)
		return -ENOMEM;
	r = next(&sc);
	if (r < 0)
		return r;
	if (sc.tok == END)
		return unexpected(&sc, "STRING or KEY", error);
	step->key = sc.str;
	r = next(&sc);
	if (r < 0)
		return r;
	if (sc.tok != END)
		return unexpected(&sc, NULL, error);
	r = finish(&sc, error);
	if (r < 0)
		return r;
	path->steps = step;
	path->n_steps = 1;
	*ret_path = path;
	return 0;
}
