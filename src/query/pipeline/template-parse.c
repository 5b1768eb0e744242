/* Templates: from text to tree.
 *
 *   text = { literal | "{{" [ "- " ] action [ " -" ] "}}" }
 *   action = comment | "if" pipe | "with" pipe | "range" [ $v [ "," $v ] ":=" ] pipe | "else" [ "if" pipe | "with" pipe ] | "end"
 *          | "define" name | "block" name pipe | "template" name [ pipe ] | "break" | "continue" | pipe
 *   pipe = [ $v ( ":=" | "=" ) ] command { "|" command }     command = operand { blank operand }
 *   operand = ( "." | .field | $var | function | string | 'c' | number | true | false | nil | "(" pipe ")" ) { .field }
 *
 * Guarantees: linear, nesting bounded by LP_TMPL_MAX_DEPTH, everything in the template's arena; errors in Go's words where kits and
 * people meet them.  Query threads and tools; nothing is lost if the process dies here. */
#include "query/pipeline/template-private.h"

#include "common/utf8.h"
#include "query/logql/units.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct parse {
	struct lp_template *t;
	const char *name, *text, *p, *end;      /* p walks; end of the text, or of the action inside one */
	struct lp_buf *error;
	struct { struct lp_str name; } vars[LP_TMPL_MAX_VARS];
	uint32_t n_vars;                        /* in scope */
	uint32_t slots;                         /* of the whole template: scopes do not share */
	uint32_t slot_of[LP_TMPL_MAX_VARS];
	unsigned depth, loops;
	int err;
	jmp_buf out;
};

static _Noreturn void fail(struct parse *ps, int err)
{
	ps->err = err;
	longjmp(ps->out, 1);
}

static _Noreturn void __attribute__((format(printf, 2, 3))) refuse(struct parse *ps, const char *fmt, ...)
{
	char what[256];
	unsigned line = 1;
	va_list ap;

	for (const char *c = ps->text; c < ps->p; c++)
		line += *c == '\n';
	va_start(ap, fmt);
	vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	lp_buf_printf(ps->error, "template: %s:%u: %s", ps->name, line, what);
	fail(ps, -EINVAL);
}

static void *alloc(struct parse *ps, size_t n)
{
	void *p = lp_arena_zalloc(&ps->t->arena, n);

	if (!p)
		fail(ps, -ENOMEM);
	return p;
}

static struct lp_str dup(struct parse *ps, const char *s, size_t n)
{
	char *p = lp_arena_strndup(&ps->t->arena, s, n);

	if (!p)
		fail(ps, -ENOMEM);
	return (struct lp_str){ p, (uint32_t)n };
}

static void deeper(struct parse *ps)
{
	if (++ps->depth > LP_TMPL_MAX_DEPTH)
		refuse(ps, "nested too deeply");
}

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool word_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || (c & 0x80);
}

static void skip_blanks(struct parse *ps)
{
	while (ps->p < ps->end && blank(*ps->p))
		ps->p++;
}

static struct lp_str take_word(struct parse *ps)
{
	const char *from = ps->p;

	while (ps->p < ps->end && word_char(*ps->p))
		ps->p++;
	return (struct lp_str){ from, (uint32_t)(ps->p - from) };
}

static bool is(struct lp_str s, const char *word)
{
	return strlen(word) == s.len && !memcmp(s.s, word, s.len);
}

/* The action is over or a list ends here. */
static bool at_end(struct parse *ps)
{
	return ps->p == ps->end || *ps->p == ')' || *ps->p == '|';
}

/* ---- operands ------------------------------------------------------------------------------------- */

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
}

/* One character of a Go string or rune literal; returns its bytes in out. */
static size_t take_char(struct parse *ps, char *out)
{
	static const char simple[] = "a\ab\bf\fn\nr\rt\tv\v\\\\\"\"''";
	unsigned digits = 0, base = 16;
	uint32_t cp = 0;
	char c = *ps->p++;

	if (c != '\\') {
		out[0] = c;
		return 1;
	}
	if (ps->p == ps->end)
		refuse(ps, "unterminated quoted string");
	c = *ps->p;
	for (const char *k = simple; *k; k += 2)
		if (*k == c) {
			ps->p++;
			out[0] = k[1];
			return 1;
		}
	if (c >= '0' && c <= '7') {
		digits = 3;
		base = 8;
	} else {
		digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
		ps->p++;
	}
	if (!digits)
		refuse(ps, "invalid syntax");
	for (unsigned k = 0; k < digits; k++, ps->p++) {
		int d = ps->p < ps->end ? hex(*ps->p) : -1;

		if (d < 0 || (unsigned)d >= base || cp > 0x10ffff)
			refuse(ps, "invalid syntax");
		cp = cp * base + (unsigned)d;
	}
	if (c == 'u' || c == 'U') {
		if (cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000))
			refuse(ps, "invalid syntax");
		return lp_utf8_put((uint8_t *)out, cp);
	}
	out[0] = (char)cp;
	return 1;
}

static struct lp_str take_string(struct parse *ps)
{
	char quote = *ps->p++, *out = alloc(ps, (size_t)(ps->end - ps->p) + 5);
	size_t n = 0;

	while (ps->p < ps->end && *ps->p != quote && (quote == '`' || *ps->p != '\n')) {
		if (quote == '`')
			out[n++] = *ps->p++;
		else
			n += take_char(ps, out + n);
	}
	if (ps->p == ps->end || *ps->p != quote)
		refuse(ps, quote == '`' ? "unterminated raw quoted string" : quote == '"' ? "unterminated quoted string" : "unterminated character constant");
	ps->p++;
	return (struct lp_str){ out, (uint32_t)n };
}

static void take_number(struct parse *ps, struct lp_tv *v)
{
	const char *from = ps->p;
	char copy[64], *end;
	size_t n, k = 0;

	while (ps->p < ps->end && (word_char(*ps->p) || *ps->p == '.' || ((*ps->p == '+' || *ps->p == '-') && (ps->p == from || (ps->p[-1] | 0x20) == 'e'))))
		ps->p++;
	n = (size_t)(ps->p - from);
	for (size_t i = 0; i < n && k + 1 < sizeof copy; i++)
		if (from[i] != '_')
			copy[k++] = from[i];
	copy[k] = '\0';
	errno = 0;
	v->kind = LP_TV_INT;
	v->i = strtoll(copy, &end, 0);
	if (n < sizeof copy && k && !*end && !errno)
		return;
	v->kind = LP_TV_FLOAT;
	if (lp_units_float(from, n, &v->f) < 0)
		refuse(ps, "bad number syntax: \"%.*s\"", (int)(n > 100 ? 100 : n), from);
	if (v->f > -1e18 && v->f < 1e18 && v->f == (double)(int64_t)v->f && !memchr(from, '.', n)) {      /* bounds first: the cast has them */
		v->kind = LP_TV_INT;
		v->i = (int64_t)v->f;
	}
}

static void note_field(struct parse *ps, struct lp_str name)
{
	struct lp_template *t = ps->t;

	if (!(t->n_fields & (t->n_fields - 1))) {
		struct lp_str *more = alloc(ps, (t->n_fields ? 2 * t->n_fields : 1) * sizeof *more);

		if (t->n_fields)
			memcpy(more, t->fields, t->n_fields * sizeof *more);
		t->fields = more;
	}
	t->fields[t->n_fields++] = name;
}

static void take_fields(struct parse *ps, struct lp_toperand *op)
{
	struct lp_str fields[16];

	while (ps->p + 1 < ps->end && *ps->p == '.' && word_char(ps->p[1])) {
		struct lp_str name;

		ps->p++;
		name = take_word(ps);
		if (op->n_fields == 16)
			refuse(ps, "too many fields");
		fields[op->n_fields] = dup(ps, name.s, name.len);
		if (!op->n_fields && (op->kind == LP_TOP_FIELD || op->kind == LP_TOP_VAR))
			note_field(ps, fields[0]);
		op->n_fields++;
	}
	if (!op->n_fields)
		return;
	op->fields = alloc(ps, op->n_fields * sizeof fields[0]);
	memcpy(op->fields, fields, op->n_fields * sizeof fields[0]);
}

static struct lp_tpipe *parse_pipe(struct parse *ps, const char *what, bool range);

static uint32_t find_var(struct parse *ps, struct lp_str name)
{
	for (uint32_t i = ps->n_vars; i--;)
		if (ps->vars[i].name.len == name.len && !memcmp(ps->vars[i].name.s, name.s, name.len))
			return ps->slot_of[i];
	refuse(ps, "undefined variable \"$%.*s\"", (int)(name.len > 100 ? 100 : name.len), name.s);
}

static uint32_t new_var(struct parse *ps, struct lp_str name)
{
	if (ps->n_vars == LP_TMPL_MAX_VARS || ps->slots == LP_TMPL_MAX_VARS)
		refuse(ps, "too many variables");
	ps->vars[ps->n_vars].name = name;
	ps->slot_of[ps->n_vars++] = ps->slots;
	return ps->slots++;
}

static void parse_word(struct parse *ps, struct lp_toperand *op)
{
	struct lp_str word = take_word(ps);

	op->kind = LP_TOP_CONST;
	if (is(word, "true") || is(word, "false")) {
		op->value.kind = LP_TV_BOOL;
		op->value.b = word.len == 4;
	} else if (!is(word, "nil")) {
		op->kind = LP_TOP_FUNC;
		op->func = lp_tfunc_find(word.s, word.len, !strcmp(ps->name, LP_TMPL_RULE_NAME));
		if (op->func < 0)
			refuse(ps, "function \"%.*s\" not defined", (int)(word.len > 100 ? 100 : word.len), word.s);
	}
}

static void parse_operand(struct parse *ps, struct lp_toperand *op)
{
	char c = *ps->p;

	if (c == '.' && !(ps->p + 1 < ps->end && ps->p[1] >= '0' && ps->p[1] <= '9')) {
		op->kind = ps->p + 1 < ps->end && word_char(ps->p[1]) ? LP_TOP_FIELD : LP_TOP_DOT;
		ps->p += op->kind == LP_TOP_DOT;
	} else if (c == '$') {
		ps->p++;
		op->kind = LP_TOP_VAR;
		op->var = find_var(ps, take_word(ps));
	} else if (c == '(') {
		ps->p++;
		op->kind = LP_TOP_PIPE;
		op->pipe = parse_pipe(ps, "parenthesized pipeline", false);
		if (ps->p == ps->end || *ps->p != ')')
			refuse(ps, "unclosed left paren");
		ps->p++;
	} else if (c == '"' || c == '`') {
		struct lp_str s = take_string(ps);

		op->kind = LP_TOP_CONST;
		op->value.kind = LP_TV_STRING;
		op->value.str.s = s.s;
		op->value.str.n = s.len;
	} else if (c == '\'') {
		struct lp_str s = take_string(ps);
		unsigned n = lp_utf8_seq((const uint8_t *)s.s, s.len);

		if (!n || n != s.len)
			refuse(ps, "malformed character constant");
		op->kind = LP_TOP_CONST;
		op->value.kind = LP_TV_INT;
		op->value.i = n == 1 ? (uint8_t)s.s[0] : (uint8_t)s.s[0] & (0xffu >> (n + 1));
		for (unsigned i = 1; i < n; i++)
			op->value.i = op->value.i << 6 | (s.s[i] & 0x3f);
	} else if ((c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.') {
		op->kind = LP_TOP_CONST;
		take_number(ps, &op->value);
	} else if (word_char(c)) {
		parse_word(ps, op);
	} else {
		refuse(ps, "unexpected \"%c\" in operand", c);
	}
	take_fields(ps, op);
}

static struct lp_tcmd *parse_command(struct parse *ps, const char *what)
{
	struct lp_tcmd *cmd = alloc(ps, sizeof *cmd);
	struct lp_toperand args[LP_TMPL_MAX_ARGS];

	memset(args, 0, sizeof args);
	for (skip_blanks(ps); !at_end(ps); skip_blanks(ps)) {
		if (cmd->n == LP_TMPL_MAX_ARGS)
			refuse(ps, "too many arguments");
		if (cmd->n && !blank(ps->p[-1]) && *ps->p != '(')
			refuse(ps, "unexpected \"%c\" in operand", *ps->p);
		parse_operand(ps, &args[cmd->n++]);
	}
	if (!cmd->n)
		refuse(ps, "missing value for %s", what);
	cmd->args = alloc(ps, cmd->n * sizeof args[0]);
	memcpy(cmd->args, args, cmd->n * sizeof args[0]);
	return cmd;
}

/* "$x :=", "$k, $v :=" or "$x =" in front of a pipe. */
static void parse_declaration(struct parse *ps, struct lp_tpipe *pipe, bool range)
{
	const char *before = ps->p;
	struct lp_str names[2];
	uint32_t n = 0;

	for (;;) {
		skip_blanks(ps);
		if (ps->p == ps->end || *ps->p != '$')
			break;
		ps->p++;
		names[n++] = take_word(ps);
		skip_blanks(ps);
		if (n == 2 || !range || ps->p == ps->end || *ps->p != ',')
			break;
		ps->p++;
	}
	if (n && ps->p < ps->end && *ps->p == '=') {
		ps->p++;
		pipe->assign = true;
	} else if (n && ps->end - ps->p >= 2 && ps->p[0] == ':' && ps->p[1] == '=') {
		ps->p += 2;
	} else {
		ps->p = before;
		return;
	}
	pipe->n_vars = n;
	for (uint32_t i = 0; i < n; i++) {
		names[i] = dup(ps, names[i].s, names[i].len);
		pipe->vars[i] = pipe->assign ? find_var(ps, names[i]) : UINT32_MAX;
	}
	for (uint32_t i = 0; i < n && !pipe->assign; i++)
		pipe->vars[i] = new_var(ps, names[i]);
}

static struct lp_tpipe *parse_pipe(struct parse *ps, const char *what, bool range)
{
	struct lp_tpipe *pipe = alloc(ps, sizeof *pipe);
	struct lp_tcmd **tail = &pipe->cmds;

	deeper(ps);
	parse_declaration(ps, pipe, range);
	for (;;) {
		*tail = parse_command(ps, what);
		if (tail != &pipe->cmds && (*tail)->args[0].kind == LP_TOP_CONST)
			refuse(ps, "non executable command in pipeline stage 2");
		tail = &(*tail)->next;
		if (ps->p == ps->end || *ps->p != '|')
			break;
		ps->p++;
	}
	ps->depth--;
	return pipe;
}

/* ---- actions -------------------------------------------------------------------------------------- */

enum ending { END_TEXT, END_END, END_ELSE };

struct action {
	const char *text_end;           /* of the literal before it */
	const char *from, *to;          /* inside the braces */
	const char *after;              /* where the literal behind it begins */
};

/* Find the end of an action that begins at p, minding strings. */
static const char *action_end(struct parse *ps, const char *p)
{
	const char *end = ps->text + strlen(ps->text);

	if (!strncmp(p, "/*", 2)) {
		p = strstr(p, "*/");
		if (!p)
			refuse(ps, "unclosed comment");
	}
	for (; p < end; p++) {
		if (p[0] == '}' && p[1] == '}')
			return p;
		if (*p == '"' || *p == '`' || *p == '\'') {
			char quote = *p;

			for (p++; p < end && *p != quote && (quote == '`' || *p != '\n'); p++)
				if (*p == '\\' && quote != '`' && p + 1 < end)
					p++;
			if (p >= end || *p != quote)
				refuse(ps, quote == '"' ? "unterminated quoted string" : quote == '`' ? "unterminated raw quoted string"
															 : "unterminated character constant");
		}
	}
	refuse(ps, "unclosed action");
}

static bool next_action(struct parse *ps, const char *from, struct action *a)
{
	const char *open = strstr(from, "{{"), *end;

	if (!open)
		return false;
	a->text_end = open;
	a->from = open + 2;
	ps->p = open;
	if (a->from[0] == '-' && blank(a->from[1])) {
		a->from += 2;
		while (a->text_end > from && blank(a->text_end[-1]))
			a->text_end--;
	}
	while (blank(*a->from))
		a->from++;
	end = action_end(ps, a->from);
	a->to = end;
	a->after = end + 2;
	if (a->to - a->from >= 2 && a->to[-1] == '-' && blank(a->to[-2])) {
		a->to -= 2;
		while (blank(*a->after))
			a->after++;
	}
	while (a->to > a->from && blank(a->to[-1]))
		a->to--;
	return true;
}

static enum ending parse_list(struct parse *ps, const char **at, struct lp_tnode **list, bool nested, struct action *last);

static void finish_action(struct parse *ps)
{
	skip_blanks(ps);
	if (ps->p < ps->end)
		refuse(ps, "unexpected \"%c\" in command", *ps->p);
}

/* The body of if, with and range, and what stands after else. */
static void parse_branches(struct parse *ps, const char **at, struct lp_tnode *node, const char *what)
{
	struct action last;
	uint32_t vars = ps->n_vars;

	deeper(ps);
	node->pipe = parse_pipe(ps, what, node->kind == LP_TNODE_RANGE);
	finish_action(ps);
	ps->loops += node->kind == LP_TNODE_RANGE;
	if (parse_list(ps, at, &node->body, true, &last) == END_ELSE) {
		struct lp_str word;

		ps->p = last.from + 4;
		ps->end = last.to;
		skip_blanks(ps);
		word = take_word(ps);
		if (is(word, "if") || is(word, "with")) {
			node->otherwise = alloc(ps, sizeof *node);
			node->otherwise->kind = is(word, "if") ? LP_TNODE_IF : LP_TNODE_WITH;
			parse_branches(ps, at, node->otherwise, is(word, "if") ? "if" : "with");
		} else {
			if (word.len)
				refuse(ps, "unexpected <%.*s> in else", (int)(word.len > 60 ? 60 : word.len), word.s);
			finish_action(ps);
			if (parse_list(ps, at, &node->otherwise, true, &last) != END_END)
				refuse(ps, "expected end; found {{else}}");
		}
	}
	ps->loops -= node->kind == LP_TNODE_RANGE;
	ps->n_vars = vars;
	ps->depth--;
}

static struct lp_str quoted_name(struct parse *ps, const char *what)
{
	skip_blanks(ps);
	if (ps->p == ps->end || (*ps->p != '"' && *ps->p != '`'))
		refuse(ps, "unexpected token in %s", what);
	return take_string(ps);
}

static void parse_define(struct parse *ps, const char **at, struct lp_str name)
{
	struct lp_tdefine *def = alloc(ps, sizeof *def);
	uint32_t vars = ps->n_vars;
	struct action last;

	deeper(ps);
	def->name = name;
	ps->n_vars = 1;         /* $ only */
	if (parse_list(ps, at, &def->body, true, &last) != END_END)
		refuse(ps, "unexpected {{else}} in define clause");
	ps->n_vars = vars;
	ps->depth--;
	def->next = ps->t->defines;
	ps->t->defines = def;
}

/* One action that is no else or end.  Returns a node, or NULL for those that leave none. */
static struct lp_tnode *parse_action(struct parse *ps, const char **at, struct lp_str word)
{
	struct lp_tnode *node = alloc(ps, sizeof *node);

	if (is(word, "if") || is(word, "with") || is(word, "range")) {
		node->kind = is(word, "if") ? LP_TNODE_IF : is(word, "with") ? LP_TNODE_WITH : LP_TNODE_RANGE;
		parse_branches(ps, at, node, is(word, "if") ? "if" : is(word, "with") ? "with" : "range");
	} else if (is(word, "define")) {
		struct lp_str name = quoted_name(ps, "define clause");

		finish_action(ps);
		parse_define(ps, at, name);
		return NULL;
	} else if (is(word, "template") || is(word, "block")) {
		node->kind = LP_TNODE_TEMPLATE;
		node->text = quoted_name(ps, is(word, "block") ? "block clause" : "template clause");
		skip_blanks(ps);
		if (ps->p < ps->end || is(word, "block"))
			node->pipe = parse_pipe(ps, "template clause", false);
		finish_action(ps);
		if (is(word, "block"))
			parse_define(ps, at, node->text);
	} else if (is(word, "break") || is(word, "continue")) {
		node->kind = is(word, "break") ? LP_TNODE_BREAK : LP_TNODE_CONTINUE;
		if (!ps->loops)
			refuse(ps, "{{%s}} outside {{range}}", is(word, "break") ? "break" : "continue");
		finish_action(ps);
	} else {
		ps->p = word.s;
		node->kind = LP_TNODE_ACTION;
		node->pipe = parse_pipe(ps, "command", false);
		finish_action(ps);
	}
	return node;
}

static enum ending parse_list(struct parse *ps, const char **at, struct lp_tnode **list, bool nested, struct action *last)
{
	const char *from = *at, *text_end = ps->text + strlen(ps->text);
	struct action a;

	for (;;) {
		bool more = next_action(ps, from, &a);
		const char *to = more ? a.text_end : text_end;
		struct lp_str word;

		if (to > from) {
			*list = alloc(ps, sizeof **list);
			(*list)->text = dup(ps, from, (size_t)(to - from));
			list = &(*list)->next;
		}
		*at = more ? a.after : text_end;
		if (!more) {
			ps->p = text_end;
			if (nested)
				refuse(ps, "unexpected EOF");
			return END_TEXT;
		}
		ps->p = a.from;
		ps->end = a.to;
		*last = a;
		word = take_word(ps);
		if (is(word, "end") || is(word, "else")) {
			if (!nested)
				refuse(ps, "unexpected {{%s}}", is(word, "end") ? "end" : "else");
			return is(word, "end") ? END_END : END_ELSE;
		}
		if (!(a.to - a.from >= 2 && a.from[0] == '/' && a.from[1] == '*')) {
			struct lp_tnode *node;

			node = parse_action(ps, at, word);
			if (node) {
				*list = node;
				list = &node->next;
			}
		}
		from = *at;
	}
}

int lp_template_compile(const char *text, size_t len, const char *name, struct lp_template **ret_tmpl, struct lp_buf *error)
{
	struct parse *ps = calloc(1, sizeof *ps);
	struct lp_template *t = calloc(1, sizeof *t);
	char *copy = t ? lp_arena_strndup(&t->arena, text, len) : NULL;
	int r = 0;

	if (ps && copy) {
		struct action last;
		const char *at = copy;

		t->arena.max_bytes = 64u << 20;
		ps->t = t;
		ps->name = name;
		ps->text = ps->p = copy;
		ps->end = copy + len;
		ps->error = error;
		if (!setjmp(ps->out)) {
			if (strlen(copy) != len)
				refuse(ps, "unexpected NUL in template");
			(void)new_var(ps, (struct lp_str){ "", 0 });
			(void)parse_list(ps, &at, &t->body, false, &last);
		}
		r = ps->err;
		t->n_vars = ps->slots;
	} else {
		r = -ENOMEM;
	}
	free(ps);
	if (r < 0) {
		lp_template_free(&t);
		return r;
	}
	*ret_tmpl = t;
	return 0;
}

void lp_template_free(struct lp_template **tmpl)
{
	if (!tmpl || !*tmpl)
		return;
	lp_arena_free(&(*tmpl)->arena);
	free(*tmpl);
	*tmpl = NULL;
}

const struct lp_str *lp_template_fields(const struct lp_template *t, unsigned *ret_n)
{
	*ret_n = t->n_fields;
	return t->fields;
}
