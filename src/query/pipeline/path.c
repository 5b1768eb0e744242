/* Expressions of json and logfmt.
 *
 *   json     path = ( field | "[" ( index | string ) "]" ) { "." field | "[" ( index | string ) "]" }
 *   logfmt   key | string
 *
 * Guarantees: linear, at most LP_PATH_MAX_STEPS steps, everything in the caller's arena. */
#include "query/pipeline/path.h"

#include <errno.h>
#include <string.h>

enum token { END, FIELD, DOT, LSB, RSB, STRING, INDEX, OTHER };

struct scan {
	const char *s;
	size_t n, i;
	struct lp_arena *arena;
	enum token tok;
	const char *name;
	struct lp_str str;
	uint32_t index;
	char odd;
};

static bool field_char(char c, bool first)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80) || (!first && c >= '0' && c <= '9');
}

static int scan_string(struct scan *sc)
{
	char *out = lp_arena_alloc(sc->arena, sc->n - sc->i + 1);
	size_t k = 0;

	if (!out)
		return -ENOMEM;
	for (sc->i++; sc->i < sc->n && sc->s[sc->i] != '"'; sc->i++) {
		if (sc->s[sc->i] == '\\' && sc->i + 1 < sc->n)
			sc->i++;
		out[k++] = sc->s[sc->i];
	}
	if (sc->i == sc->n)
		return -EINVAL;
	sc->i++;
	out[k] = '\0';
	sc->str = (struct lp_str){ out, (uint32_t)k };
	return 0;
}

static int next(struct scan *sc)
{
	static const char *const names[] = { "$end", "FIELD", "DOT", "LSB", "RSB", "STRING", "INDEX", "" };
	size_t from;

	while (sc->i < sc->n && strchr(" \t\n\r", sc->s[sc->i]) && sc->s[sc->i])
		sc->i++;
	from = sc->i;
	if (sc->i == sc->n) {
		sc->tok = END;
	} else if (field_char(sc->s[from], true)) {
		while (sc->i < sc->n && field_char(sc->s[sc->i], false))
			sc->i++;
		sc->tok = FIELD;
		sc->str = (struct lp_str){ lp_arena_strndup(sc->arena, sc->s + from, sc->i - from), (uint32_t)(sc->i - from) };
		if (!sc->str.s)
			return -ENOMEM;
	} else if (sc->s[from] >= '0' && sc->s[from] <= '9') {
		uint64_t v = 0;

		for (; sc->i < sc->n && sc->s[sc->i] >= '0' && sc->s[sc->i] <= '9'; sc->i++)
			v = v > UINT32_MAX ? v : v * 10 + (uint64_t)(sc->s[sc->i] - '0');
		sc->tok = INDEX;
		sc->index = v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
	} else if (sc->s[from] == '"') {
		sc->tok = STRING;
		return scan_string(sc);
	} else {
		sc->tok = sc->s[from] == '.' ? DOT : sc->s[from] == '[' ? LSB : sc->s[from] == ']' ? RSB : OTHER;
		sc->odd = sc->s[from];
		sc->i++;
	}
	sc->name = names[sc->tok];
	return 0;
}

static int unexpected(const struct scan *sc, const char *expecting, struct lp_buf *error)
{
	if (sc->tok == OTHER)
		lp_buf_printf(error, "unexpected char %c", sc->odd);
	else
		lp_buf_printf(error, "syntax error: unexpected %s", sc->name ? sc->name : "STRING");
	if (sc->tok != OTHER && expecting)
		lp_buf_printf(error, ", expecting %s", expecting);
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
			return r == -EINVAL ? unexpected(&(struct scan){ .tok = OTHER, .odd = '"' }, NULL, error) : r;
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
	path->steps = lp_arena_dup(arena, steps, path->n_steps * sizeof steps[0]);
	if (!path->steps)
		return -ENOMEM;
	*ret_path = path;
	return 0;
}

int lp_path_compile_logfmt(struct lp_arena *arena, const char *s, size_t n, struct lp_path **ret_path, struct lp_buf *error)
{
	struct scan sc = { .s = s, .n = n, .arena = arena };
	struct lp_path *path = lp_arena_zalloc(arena, sizeof *path);
	struct lp_path_step *step = lp_arena_zalloc(arena, sizeof *step);
	int r;

	if (!path || !step)
		return -ENOMEM;
	r = next(&sc);
	if (r == 0 && (sc.tok == FIELD || sc.tok == STRING)) {
		step->key = sc.str;
		r = next(&sc);
		if (r == 0 && sc.tok == END) {
			path->steps = step;
			path->n_steps = 1;
			*ret_path = path;
			return 0;
		}
	}
	if (r == -ENOMEM)
		return r;
	if (r == 0 && (sc.tok == FIELD || sc.tok == STRING))
		sc.name = sc.tok == FIELD ? "KEY" : "STRING";
	if (sc.tok == DOT || sc.tok == LSB || sc.tok == RSB)
		sc.tok = OTHER;
	return unexpected(&sc, sc.tok == END ? "STRING or KEY" : NULL, error);
}
