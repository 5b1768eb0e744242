/* Templates: from tokens to a tree.
 *
 *   text = { literal | "{{" action "}}" | "{{" "define" name "}}" text "{{" "end" "}}" }
 *   action = "if" pipe | "with" pipe | "range" [ $v [ "," $v ] ( ":=" | "=" ) ] pipe | "else" [ "if" pipe | "with" pipe ] | "end"
 *          | "block" name pipe | "template" name [ pipe ] | "break" | "continue" | pipe
 *   pipe = [ $v ( ":=" | "=" ) ] command { "|" command }     command = operand { blank operand }
 *   operand = ( "." | .field | $var | function | string | 'c' | number | true | false | nil | "(" pipe ")" ) { .field }
 *
 * The order in which tokens are looked at is that of Go's text/template, and so are the words of errors: which of several mistakes is
 * told, at which line.
 *
 * Guarantees: linear, nesting bounded by LP_TMPL_MAX_DEPTH, everything in the template's arena.  Query threads and tools; nothing is lost
 * if the process dies here. */
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
	const char *name;
	struct lp_tlex lex;
	struct lp_ttoken tokens[3];             /* read ahead: [0] is the farthest */
	unsigned n_ahead;
	struct lp_buf *error;
	struct lp_str vars[LP_TMPL_MAX_VARS];   /* in scope */
	uint32_t n_vars, first_var;
	unsigned depth, loops, action_line;
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
	char what[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	lp_buf_printf(ps->error, "template: %s:%u: %s", ps->name, ps->tokens[0].line, what);
	fail(ps, -EINVAL);
}

/* why "text" */
static _Noreturn void refuse_text(struct parse *ps, const char *why, const char *s, size_t n)
{
	struct lp_buf text = { .max = 512 };
	char copy[512];

	lp_units_print_quoted(&text, s, n < 100 ? n : 100);
	snprintf(copy, sizeof copy, "%s", lp_buf_cstr(&text));
	lp_buf_free(&text);
	refuse(ps, "%s%s", why, copy);
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

static bool same(struct lp_str a, struct lp_str b)
{
	return a.len == b.len && !memcmp(a.s, b.s, a.len);
}

/* ---- tokens --------------------------------------------------------------------------------------- */

static struct lp_ttoken next(struct parse *ps)
{
	if (ps->n_ahead)
		ps->n_ahead--;
	else
		ps->tokens[0] = lp_tlex_next(&ps->lex);
	return ps->tokens[ps->n_ahead];
}

static void back(struct parse *ps)
{
	ps->n_ahead++;
}

static struct lp_ttoken peek(struct parse *ps)
{
	struct lp_ttoken tok = next(ps);

	back(ps);
	return tok;
}

static struct lp_ttoken next_word(struct parse *ps)
{
	struct lp_ttoken tok = next(ps);

	while (tok.tok == LP_TTOK_SPACE)
		tok = next(ps);
	return tok;
}

static struct lp_ttoken peek_word(struct parse *ps)
{
	struct lp_ttoken tok = next_word(ps);

	back(ps);
	return tok;
}

static _Noreturn void unexpected(struct parse *ps, struct lp_ttoken tok, const char *where)
{
	struct lp_buf text = { .max = 512 };
	char copy[256];

	if (tok.tok == LP_TTOK_ERROR) {
		bool action = tok.len > 7 && !memcmp(tok.s + tok.len - 7, " action", 7);

		if (ps->action_line && ps->action_line != tok.line)
			refuse(ps, "%.*s%s started at %s:%u", (int)tok.len, tok.s, action ? "" : " in action", ps->name, ps->action_line);
		refuse(ps, "%.*s", (int)tok.len, tok.s);
	}
	if (tok.tok == LP_TTOK_EOF) {
		lp_buf_str(&text, "EOF");
	} else if (tok.tok > LP_TTOK_KEYWORD) {
		lp_buf_printf(&text, "<%.*s>", (int)tok.len, tok.s);
	} else {
		size_t n = 0;

		for (unsigned runes = 0; n < tok.len && (tok.len <= 10 || runes < 10); runes++) {
			unsigned len = lp_utf8_seq((const uint8_t *)tok.s + n, tok.len - n);

			n += len ? len : 1;
		}
		lp_units_print_quoted(&text, tok.s, n);
		lp_buf_str(&text, tok.len > 10 ? "..." : "");
	}
	snprintf(copy, sizeof copy, "%s", lp_buf_cstr(&text));
	lp_buf_free(&text);
	refuse(ps, "unexpected %s in %s", copy, where);
}

static struct lp_ttoken expect(struct parse *ps, enum lp_ttok want, const char *where)
{
	struct lp_ttoken tok = next_word(ps);

	if (tok.tok != want)
		unexpected(ps, tok, where);
	return tok;
}

/* ---- literals ------------------------------------------------------------------------------------- */

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
}

/* One character of a Go string or rune literal; returns its bytes in out.  wide: a byte escape makes a character, as in 'c'. */
static size_t take_char(struct parse *ps, const char **p, const char *end, char quote, bool wide, char *out)
{
	static const char simple[] = "a\ab\bf\fn\nr\rt\tv\v\\\\";
	unsigned digits = 0, base = 16;
	uint32_t cp = 0;
	char c = *(*p)++;

	if (c != '\\') {
		unsigned n = lp_utf8_seq((const uint8_t *)*p - 1, (size_t)(end - *p) + 1);

		n = n ? n : 1;
		memcpy(out, *p - 1, n);
		*p += n - 1;
		return n;
	}
	if (*p == end)
		refuse(ps, "invalid syntax");
	c = *(*p)++;
	for (const char *k = simple; *k; k += 2)
		if (*k == c) {
			out[0] = k[1];
			return 1;
		}
	if (c == quote) {
		out[0] = c;
		return 1;
	}
	if (c >= '0' && c <= '7') {
		digits = 3;
		base = 8;
		(*p)--;
	} else {
		digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
	}
	if (!digits)
		refuse(ps, "invalid syntax");
	for (unsigned k = 0; k < digits; k++, (*p)++) {
		int d = *p < end ? hex(**p) : -1;

		if (d < 0 || (unsigned)d >= base || cp > 0x10ffff)
			refuse(ps, "invalid syntax");
		cp = cp * base + (unsigned)d;
	}
	if (c == 'u' || c == 'U' || wide) {
		if (cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000))
			refuse(ps, "invalid syntax");
		return lp_utf8_put((uint8_t *)out, cp);
	}
	if (cp > 255)
		refuse(ps, "invalid syntax");
	out[0] = (char)cp;
	return 1;
}

static struct lp_str unquote(struct parse *ps, struct lp_ttoken tok)
{
	const char *p = tok.s + 1, *end = tok.s + tok.len - 1;
	char *out = alloc(ps, (size_t)(end - p) + 5);
	size_t n = 0;

	while (p < end) {
		if (tok.tok != LP_TTOK_RAW_STRING)
			n += take_char(ps, &p, end, '"', false, out + n);
		else if (*p++ != '\r')
			out[n++] = p[-1];
	}
	return (struct lp_str){ out, (uint32_t)n };
}

static void take_rune(struct parse *ps, struct lp_ttoken tok, struct lp_tv *v)
{
	const char *p = tok.s + 1, *end = tok.s + tok.len;
	char out[5];
	unsigned n;

	if (*p == '\'')
		refuse(ps, "invalid syntax");
	n = (unsigned)take_char(ps, &p, end - 1, '\'', true, out);
	if (p + 1 != end)
		refuse(ps, "malformed character constant: %.*s", (int)(tok.len < 100 ? tok.len : 100), tok.s);
	v->kind = LP_TV_INT;
	v->i = lp_utf8_seq((const uint8_t *)out, n) == n ? lp_utf8_get((const uint8_t *)out, n) : 0xfffd;
}

static bool has_any(const char *s, size_t n, const char *set)
{
	for (size_t i = 0; i < n; i++)
		if (s[i] && strchr(set, s[i]))
			return true;
	return false;
}

static void take_number(struct parse *ps, struct lp_ttoken tok, struct lp_tv *v)
{
	bool hexadecimal = tok.len > 2 && tok.s[0] == '0' && (tok.s[1] | 0x20) == 'x';
	uint64_t magnitude;
	bool negative;
	int r = lp_units_integer(tok.s, tok.len, &negative, &magnitude);

	v->kind = LP_TV_INT;
	if (r == 0 && magnitude <= (uint64_t)INT64_MAX + negative) {
		v->i = (int64_t)(negative ? 0 - magnitude : magnitude);
		return;
	}
	if (r == 0 && !negative) {
		v->type = LP_TVT_WIDE;
		return;
	}
	v->kind = LP_TV_FLOAT;
	if (lp_units_float(tok.s, tok.len, &v->f) < 0)
		refuse_text(ps, "illegal number syntax: ", tok.s, tok.len);
	if (!has_any(tok.s, tok.len, hexadecimal ? ".pP" : ".eE"))
		refuse_text(ps, "integer overflow: ", tok.s, tok.len);
	if (v->f >= -9223372036854775808.0 && v->f < 9223372036854775808.0 && v->f == (double)(int64_t)v->f)
		v->type = LP_TVT_WHOLE;
}

/* ---- operands ------------------------------------------------------------------------------------- */

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

static void add_field(struct parse *ps, struct lp_toperand *op, struct lp_ttoken tok)
{
	if (!(op->n_fields & (op->n_fields - 1))) {
		struct lp_str *more = alloc(ps, (op->n_fields ? 2 * op->n_fields : 1) * sizeof *more);

		if (op->n_fields)
			memcpy(more, op->fields, op->n_fields * sizeof *more);
		op->fields = more;
	}
	op->fields[op->n_fields] = dup(ps, tok.s + 1, tok.len - 1);
	if (!op->n_fields && (op->kind == LP_TOP_FIELD || op->kind == LP_TOP_VAR))
		note_field(ps, op->fields[0]);
	op->n_fields++;
}

static void add_var(struct parse *ps, struct lp_str name)
{
	if (ps->n_vars == LP_TMPL_MAX_VARS)
		refuse(ps, "too many variables");
	ps->vars[ps->n_vars++] = name;
}

static struct lp_tpipe *parse_pipe(struct parse *ps, const char *what, enum lp_ttok end);

static void parse_function(struct parse *ps, struct lp_ttoken tok, struct lp_toperand *op)
{
	op->kind = LP_TOP_FUNC;
	op->func = lp_tfunc_find(tok.s, tok.len, !strcmp(ps->name, LP_TMPL_RULE_NAME));
	if (op->func < 0)
		refuse(ps, "function \"%.*s\" not defined", (int)(tok.len < 100 ? tok.len : 100), tok.s);
}

static void parse_variable(struct parse *ps, struct lp_ttoken tok, struct lp_toperand *op)
{
	op->kind = LP_TOP_VAR;
	op->var = dup(ps, tok.s, tok.len);
	for (uint32_t i = ps->n_vars; i-- > ps->first_var;)
		if (same(ps->vars[i], op->var))
			return;
	refuse_text(ps, "undefined variable ", tok.s, tok.len);
}

/* What an operand is without the fields behind it.  False: nothing of the kind stands there. */
static bool parse_term(struct parse *ps, struct lp_toperand *op)
{
	struct lp_ttoken tok = next_word(ps);
	struct lp_str s;

	op->kind = LP_TOP_CONST;
	switch (tok.tok) {
	case LP_TTOK_IDENTIFIER: parse_function(ps, tok, op); break;
	case LP_TTOK_DOT: op->kind = LP_TOP_DOT; break;
	case LP_TTOK_NIL: break;
	case LP_TTOK_VARIABLE: parse_variable(ps, tok, op); break;
	case LP_TTOK_FIELD:
		op->kind = LP_TOP_FIELD;
		add_field(ps, op, tok);
		break;
	case LP_TTOK_BOOL:
		op->value.kind = LP_TV_BOOL;
		op->value.b = tok.len == 4;
		break;
	case LP_TTOK_CHAR_CONST: take_rune(ps, tok, &op->value); break;
	case LP_TTOK_NUMBER: take_number(ps, tok, &op->value); break;
	case LP_TTOK_LEFT_PAREN:
		op->kind = LP_TOP_PIPE;
		op->pipe = parse_pipe(ps, "parenthesized pipeline", LP_TTOK_RIGHT_PAREN);
		break;
	case LP_TTOK_STRING: case LP_TTOK_RAW_STRING:
		s = unquote(ps, tok);
		op->value.kind = LP_TV_STRING;
		op->value.str.s = s.s;
		op->value.str.n = s.len;
		break;
	default:
		back(ps);
		return false;
	}
	if (peek(ps).tok == LP_TTOK_FIELD && (op->kind == LP_TOP_CONST || op->kind == LP_TOP_DOT))
		refuse_text(ps, "unexpected . after term ", tok.s, tok.len);
	return true;
}

static bool parse_operand(struct parse *ps, struct lp_toperand *op)
{
	if (!parse_term(ps, op))
		return false;
	while (peek(ps).tok == LP_TTOK_FIELD)
		add_field(ps, op, next(ps));
	return true;
}

static struct lp_tcmd *parse_command(struct parse *ps)
{
	struct lp_tcmd *cmd = alloc(ps, sizeof *cmd);
	struct lp_toperand args[LP_TMPL_MAX_ARGS + 1];
	struct lp_ttoken tok;

	memset(args, 0, sizeof args);
	do {
		(void)peek_word(ps);
		cmd->n += parse_operand(ps, &args[cmd->n]);
		if (cmd->n > LP_TMPL_MAX_ARGS)
			refuse(ps, "too many arguments");
		tok = next(ps);
	} while (tok.tok == LP_TTOK_SPACE);
	if (tok.tok == LP_TTOK_RIGHT_DELIM || tok.tok == LP_TTOK_RIGHT_PAREN)
		back(ps);
	else if (tok.tok != LP_TTOK_PIPE)
		unexpected(ps, tok, "operand");
	if (!cmd->n)
		refuse(ps, "empty command");
	cmd->args = alloc(ps, cmd->n * sizeof args[0]);
	memcpy(cmd->args, args, cmd->n * sizeof args[0]);
	return cmd;
}

/* "$x :=", "$k, $v :=" or "$x =" in front of a pipe. */
static void parse_declaration(struct parse *ps, struct lp_tpipe *pipe, const char *what)
{
	while (peek_word(ps).tok == LP_TTOK_VARIABLE) {
		struct lp_ttoken var = next(ps), behind = peek(ps), tok = peek_word(ps);
		bool comma = tok.tok == LP_TTOK_CHAR && *tok.s == ',';

		if (tok.tok != LP_TTOK_ASSIGN && tok.tok != LP_TTOK_DECLARE && !comma) {
			/* An operand: give back what was read, the blank behind it included. */
			ps->tokens[1] = behind.tok == LP_TTOK_SPACE ? behind : var;
			ps->tokens[2] = var;
			ps->n_ahead = behind.tok == LP_TTOK_SPACE ? 3 : 2;
			return;
		}
		(void)next_word(ps);
		pipe->assign = tok.tok == LP_TTOK_ASSIGN;
		pipe->vars[pipe->n_vars] = dup(ps, var.s, var.len);
		add_var(ps, pipe->vars[pipe->n_vars++]);
		if (!comma)
			return;
		if (strcmp(what, "range") || pipe->n_vars == 2)
			refuse(ps, "too many declarations in %s", what);
		tok = peek_word(ps);
		if (tok.tok != LP_TTOK_VARIABLE && tok.tok != LP_TTOK_RIGHT_DELIM && tok.tok != LP_TTOK_RIGHT_PAREN)
			refuse(ps, "range can only initialize variables");
	}
}

static void check_pipe(struct parse *ps, const struct lp_tpipe *pipe, const char *what)
{
	unsigned stage = 1;

	if (!pipe->cmds)
		refuse(ps, "missing value for %s", what);
	for (const struct lp_tcmd *cmd = pipe->cmds->next; cmd; cmd = cmd->next) {
		stage++;
		if (cmd->args[0].kind == LP_TOP_CONST || cmd->args[0].kind == LP_TOP_DOT)
			refuse(ps, "non executable command in pipeline stage %u", stage);
	}
}

static struct lp_tpipe *parse_pipe(struct parse *ps, const char *what, enum lp_ttok end)
{
	struct lp_tpipe *pipe = alloc(ps, sizeof *pipe);
	struct lp_tcmd **tail = &pipe->cmds;

	deeper(ps);
	parse_declaration(ps, pipe, what);
	for (;;) {
		struct lp_ttoken tok = next_word(ps);

		if (tok.tok == end)
			break;
		if ((tok.tok < LP_TTOK_BOOL || tok.tok > LP_TTOK_FIELD) && tok.tok != LP_TTOK_DOT && tok.tok != LP_TTOK_NIL && tok.tok != LP_TTOK_LEFT_PAREN)
			unexpected(ps, tok, what);
		back(ps);
		*tail = parse_command(ps);
		tail = &(*tail)->next;
	}
	check_pipe(ps, pipe, what);
	ps->depth--;
	return pipe;
}

/* ---- actions -------------------------------------------------------------------------------------- */

enum ending { END_NONE, END_END, END_ELSE };

/* The next text or action, into *ret_node; or the end or else that stands there instead. */
static enum ending parse_item(struct parse *ps, struct lp_tnode **ret_node);

static enum ending parse_list(struct parse *ps, struct lp_tnode **list)
{
	while (peek_word(ps).tok != LP_TTOK_EOF) {
		enum ending ending = parse_item(ps, list);

		if (ending != END_NONE)
			return ending;
		list = &(*list)->next;
	}
	refuse(ps, "unexpected EOF");
}

/* The body of if, with and range, and what stands after else. */
static struct lp_tnode *parse_control(struct parse *ps, enum lp_tnode_kind kind, const char *what)
{
	struct lp_tnode *node = alloc(ps, sizeof *node);
	uint32_t vars = ps->n_vars;
	enum ending ending;

	deeper(ps);
	node->kind = kind;
	node->pipe = parse_pipe(ps, what, LP_TTOK_RIGHT_DELIM);
	ps->loops += kind == LP_TNODE_RANGE;
	ending = parse_list(ps, &node->body);
	ps->loops -= kind == LP_TNODE_RANGE;
	if (ending == END_ELSE && kind == LP_TNODE_IF && peek(ps).tok == LP_TTOK_IF) {
		(void)next(ps);
		node->otherwise = parse_control(ps, LP_TNODE_IF, "if");
	} else if (ending == END_ELSE && kind == LP_TNODE_WITH && peek(ps).tok == LP_TTOK_WITH) {
		(void)next(ps);
		node->otherwise = parse_control(ps, LP_TNODE_WITH, "with");
	} else if (ending == END_ELSE && parse_list(ps, &node->otherwise) != END_END) {
		refuse(ps, "expected end; found {{else}}");
	}
	ps->n_vars = vars;
	ps->depth--;
	return node;
}

/* Nothing but blanks, so that another definition may take its place. */
static bool is_empty(const struct lp_tnode *list)
{
	for (; list; list = list->next) {
		if (list->kind != LP_TNODE_TEXT)
			return false;
		for (uint32_t i = 0; i < list->text.len; i++)
			if (!strchr(" \t\r\n\v\f", list->text.s[i]))
				return false;
	}
	return true;
}

/* The body of define and block. */
static void parse_definition(struct parse *ps, struct lp_str name, const char *what)
{
	struct lp_tdefine *def = alloc(ps, sizeof *def), *old = ps->t->defines;
	uint32_t first = ps->first_var, vars = ps->n_vars;
	unsigned loops = ps->loops;

	deeper(ps);
	def->name = name;
	ps->first_var = vars;
	ps->loops = 0;
	add_var(ps, (struct lp_str){ "$", 1 });
	if (parse_list(ps, &def->body) != END_END)
		refuse(ps, "unexpected {{else}} in %s", what);
	ps->first_var = first;
	ps->n_vars = vars;
	ps->loops = loops;
	ps->depth--;
	while (old && !same(old->name, name))
		old = old->next;
	if (old && !is_empty(old->body)) {
		if (!is_empty(def->body))
			refuse_text(ps, "template: multiple definition of template ", name.s, name.len);
		return;
	}
	if (old) {
		old->body = def->body;
		return;
	}
	def->next = ps->t->defines;
	ps->t->defines = def;
}

static struct lp_str take_name(struct parse *ps, const char *what)
{
	struct lp_ttoken tok = next_word(ps);

	if (tok.tok != LP_TTOK_STRING && tok.tok != LP_TTOK_RAW_STRING)
		unexpected(ps, tok, what);
	return unquote(ps, tok);
}

static struct lp_tnode *parse_template(struct parse *ps, bool block)
{
	struct lp_tnode *node = alloc(ps, sizeof *node);
	const char *what = block ? "block clause" : "template clause";

	node->kind = LP_TNODE_TEMPLATE;
	node->text = take_name(ps, what);
	if (block || next_word(ps).tok != LP_TTOK_RIGHT_DELIM) {
		if (!block)
			back(ps);
		node->pipe = parse_pipe(ps, what, LP_TTOK_RIGHT_DELIM);
	}
	if (block)
		parse_definition(ps, node->text, what);
	return node;
}

static struct lp_tnode *parse_jump(struct parse *ps, enum lp_tnode_kind kind, const char *what)
{
	struct lp_tnode *node = alloc(ps, sizeof *node);

	node->kind = kind;
	(void)expect(ps, LP_TTOK_RIGHT_DELIM, what);
	if (!ps->loops)
		refuse(ps, "%s outside {{range}}", what);
	return node;
}

static enum ending parse_else(struct parse *ps)
{
	enum lp_ttok tok = peek_word(ps).tok;

	if (tok != LP_TTOK_IF && tok != LP_TTOK_WITH)
		(void)expect(ps, LP_TTOK_RIGHT_DELIM, "else");
	return END_ELSE;
}

static enum ending parse_action(struct parse *ps, struct lp_tnode **ret_node)
{
	struct lp_ttoken tok = next_word(ps);
	struct lp_tnode *node;

	switch (tok.tok) {
	case LP_TTOK_BLOCK: node = parse_template(ps, true); break;
	case LP_TTOK_TEMPLATE: node = parse_template(ps, false); break;
	case LP_TTOK_BREAK: node = parse_jump(ps, LP_TNODE_BREAK, "{{break}}"); break;
	case LP_TTOK_CONTINUE: node = parse_jump(ps, LP_TNODE_CONTINUE, "{{continue}}"); break;
	case LP_TTOK_IF: node = parse_control(ps, LP_TNODE_IF, "if"); break;
	case LP_TTOK_WITH: node = parse_control(ps, LP_TNODE_WITH, "with"); break;
	case LP_TTOK_RANGE: node = parse_control(ps, LP_TNODE_RANGE, "range"); break;
	case LP_TTOK_ELSE: return parse_else(ps);
	case LP_TTOK_END:
		(void)expect(ps, LP_TTOK_RIGHT_DELIM, "end");
		return END_END;
	default:
		back(ps);
		node = alloc(ps, sizeof *node);
		node->kind = LP_TNODE_ACTION;
		node->pipe = parse_pipe(ps, "command", LP_TTOK_RIGHT_DELIM);
		break;
	}
	*ret_node = node;
	return END_NONE;
}

static enum ending parse_item(struct parse *ps, struct lp_tnode **ret_node)
{
	struct lp_ttoken tok = next_word(ps);
	enum ending ending;

	if (tok.tok == LP_TTOK_TEXT) {
		*ret_node = alloc(ps, sizeof **ret_node);
		(*ret_node)->text = dup(ps, tok.s, tok.len);
		return END_NONE;
	}
	if (tok.tok != LP_TTOK_LEFT_DELIM)
		unexpected(ps, tok, "input");
	ps->action_line = tok.line;
	ending = parse_action(ps, ret_node);
	ps->action_line = 0;
	return ending;
}

static void parse_text(struct parse *ps)
{
	struct lp_tnode **list = &ps->t->body;

	add_var(ps, (struct lp_str){ "$", 1 });
	while (peek(ps).tok != LP_TTOK_EOF) {
		if (peek(ps).tok == LP_TTOK_LEFT_DELIM) {
			struct lp_ttoken delim = next(ps);

			if (next_word(ps).tok == LP_TTOK_DEFINE) {
				struct lp_str name = take_name(ps, "define clause");

				(void)expect(ps, LP_TTOK_RIGHT_DELIM, "define clause");
				parse_definition(ps, name, "define clause");
				continue;
			}
			ps->tokens[1] = delim;
			ps->n_ahead = 2;
		}
		switch (parse_item(ps, list)) {
		case END_NONE: list = &(*list)->next; break;
		case END_END: refuse(ps, "unexpected {{end}}");
		case END_ELSE: refuse(ps, "unexpected {{else}}");
		}
	}
}

int lp_template_compile(const char *text, size_t len, const char *name, struct lp_template **ret_tmpl, struct lp_buf *error)
{
	struct parse *ps = calloc(1, sizeof *ps);
	struct lp_template *t = calloc(1, sizeof *t);
	char *copy = t ? lp_arena_strndup(&t->arena, text, len) : NULL;
	int r = 0;

	if (ps && copy) {
		t->arena.max_bytes = 64u << 20;
		ps->t = t;
		ps->name = name;
		ps->lex = (struct lp_tlex){ .p = copy, .end = copy + len, .line = 1 };
		ps->tokens[0].line = 1;
		ps->error = error;
		if (!setjmp(ps->out)) {
			if (strlen(copy) != len)
				refuse(ps, "unexpected NUL in template");
			parse_text(ps);
		}
		r = ps->err;
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
