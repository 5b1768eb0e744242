/* Templates: running them over the labels of a line.
 *
 * Guarantees: at most LP_TMPL_MAX_STEPS steps and LP_PIPELINE_MAX_OUTPUT bytes per execution, bounded recursion; memory is the line's
 * scratch memory.  A mistake at run time ends the execution with a text, it never stops the query.  Query threads. */
#include "query/pipeline/template-private.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct lp_tv lp_trun_fail(struct lp_trun *run, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	if (!run->failed) {
		va_start(ap, fmt);
		vsnprintf(text, sizeof text, fmt, ap);
		va_end(ap);
		lp_buf_str(run->error, text);
	}
	run->failed = true;
	return (struct lp_tv){ .kind = LP_TV_NIL };
}

bool lp_tv_true(const struct lp_tv *v, const struct lp_trun *run)
{
	switch (v->kind) {
	case LP_TV_STRING: return v->str.n != 0;
	case LP_TV_INT: return v->i != 0;
	case LP_TV_FLOAT: return v->f != 0;
	case LP_TV_BOOL: return v->b;
	case LP_TV_LIST: case LP_TV_MAP: return v->list.n != 0;
	case LP_TV_DATA: return run->data->n_entries != 0;
	default: return v->kind == LP_TV_TIME;
	}
}

bool lp_tdata_get(const struct lp_trun *run, const char *name, size_t len, struct lp_tv *ret)
{
	const struct lp_template_data *data = run->data;
	const struct lp_pipeline_state *st = data->state;
	uint32_t hash = lp_labels_name_hash(name, len);

	ret->kind = LP_TV_STRING;
	ret->str.s = "";
	ret->str.n = 0;
	for (uint32_t i = 0; i < data->n_entries; i++) {
		const struct lp_entry *e = &data->entries[i];

		if (e->dead || e->name_hash != hash || e->name_len != len || memcmp(e->name, name, len))
			continue;
		ret->str.s = e->value;
		ret->str.n = e->value_len;
		return true;
	}
	if (len > 8 && name[0] == '_')
		return lp_entry_get(st, name, len, &ret->str.s, &ret->str.n) && st->error != NULL;
	return false;
}

static struct lp_tv field(struct lp_trun *run, const struct lp_tv *v, const struct lp_str *name)
{
	struct lp_tv out = { .kind = LP_TV_NIL, .type = LP_TVT_ELEMENT };

	if (v->kind == LP_TV_DATA) {
		(void)lp_tdata_get(run, name->s, name->len, &out);
		return out;
	}
	if (v->kind == LP_TV_MAP) {
		for (uint32_t i = 0; i < v->list.n; i++)
			if (v->list.keys[i].len == name->len && !memcmp(v->list.keys[i].s, name->s, name->len))
				return v->list.items[i];
		return out;
	}
	if (v->kind == LP_TV_NIL && v->type != LP_TVT_ELEMENT)
		return *v;
	if (v->kind == LP_TV_NIL)
		return lp_trun_fail(run, "nil pointer evaluating interface {}.%s", name->s);
	return lp_trun_fail(run, "can't evaluate field %s in type %s", name->s, lp_tv_type(v));
}

/* ---- variables: a stack, looked up by name, as their scopes end ---- */

static struct lp_tv *find_var(struct lp_trun *run, const struct lp_str *name)
{
	for (uint32_t i = run->n_vars; i-- > run->first_var;)
		if (run->vars[i].name.len == name->len && !memcmp(run->vars[i].name.s, name->s, name->len))
			return &run->vars[i].value;
	lp_trun_fail(run, "undefined variable: %s", name->s);
	return NULL;
}

static void push_var(struct lp_trun *run, const struct lp_str *name, const struct lp_tv *v)
{
	if (run->n_vars == LP_TMPL_MAX_VARS) {
		lp_trun_fail(run, "too many variables (limit %u)", LP_TMPL_MAX_VARS);
		return;
	}
	run->vars[run->n_vars].name = *name;
	run->vars[run->n_vars++].value = *v;
}

static void assign_var(struct lp_trun *run, const struct lp_str *name, const struct lp_tv *v)
{
	struct lp_tv *var = find_var(run, name);

	if (var)
		*var = *v;
}

static struct lp_tv eval_pipe(struct lp_trun *run, const struct lp_tpipe *pipe, const struct lp_tv *dot);

/* An operand that is no function with arguments; the arguments in args are those of a method that the last field may be. */
static struct lp_tv eval_chain(struct lp_trun *run, const struct lp_toperand *op, const struct lp_tv *dot, const struct lp_tv *args, uint32_t n_args)
{
	struct lp_tv v = { .kind = LP_TV_NIL };
	const struct lp_tv *var;

	switch (op->kind) {
	case LP_TOP_DOT: case LP_TOP_FIELD: v = *dot; break;
	case LP_TOP_VAR:
		var = find_var(run, &op->var);
		v = var ? *var : v;
		break;
	case LP_TOP_CONST:
		if (op->value.type == LP_TVT_WIDE)
			return lp_trun_fail(run, "constant overflows int");
		v = op->value;
		break;
	case LP_TOP_FUNC: v = lp_tfunc_call(run, op->func, NULL, 0); break;
	case LP_TOP_PIPE: v = eval_pipe(run, op->pipe, dot); break;
	}
	for (uint32_t i = 0; i < op->n_fields && !run->failed; i++) {
		bool last = i + 1 == op->n_fields;

		if (lp_tmethod_call(run, &v, &op->fields[i], last ? args : NULL, last ? n_args : 0))
			continue;
		if (last && n_args)
			return lp_trun_fail(run, "%s is not a method but has arguments", op->fields[i].s);
		v = field(run, &v, &op->fields[i]);
	}
	return v;
}

static struct lp_tv eval_operand(struct lp_trun *run, const struct lp_toperand *op, const struct lp_tv *dot)
{
	return eval_chain(run, op, dot, NULL, 0);
}

/* and, or: stop at the first argument that decides. */
static struct lp_tv eval_logic(struct lp_trun *run, const struct lp_tcmd *cmd, const struct lp_tv *dot, const struct lp_tv *final, bool is_or)
{
	struct lp_tv v = { .kind = LP_TV_NIL };

	if (cmd->n < 2 && !final)
		return lp_trun_fail(run, "wrong number of args for %s: want at least 1 got 0", is_or ? "or" : "and");
	for (uint32_t i = 1; i < cmd->n && !run->failed; i++) {
		v = eval_operand(run, &cmd->args[i], dot);
		if (lp_tv_true(&v, run) == is_or)
			return v;
	}
	return final ? *final : v;
}

static struct lp_tv eval_command(struct lp_trun *run, const struct lp_tcmd *cmd, const struct lp_tv *dot, const struct lp_tv *final)
{
	const struct lp_toperand *first = &cmd->args[0];
	struct lp_tv args[LP_TMPL_MAX_ARGS + 1];
	uint32_t n = 0;

	if (first->kind != LP_TOP_FUNC && !first->n_fields) {
		if (cmd->n > 1 || final)
			return lp_trun_fail(run, "can't give argument to non-function");
		if (first->kind == LP_TOP_CONST && first->value.kind == LP_TV_NIL)
			return lp_trun_fail(run, "nil is not a command");
		return eval_operand(run, first, dot);
	}
	if (!first->n_fields && (lp_tfunc_is_and(first->func) || lp_tfunc_is_or(first->func)))
		return eval_logic(run, cmd, dot, final, lp_tfunc_is_or(first->func));
	for (uint32_t i = 1; i < cmd->n && !run->failed; i++)
		args[n++] = eval_operand(run, &cmd->args[i], dot);
	if (final)
		args[n++] = *final;
	if (first->n_fields && !run->failed)
		return eval_chain(run, first, dot, args, n);
	return run->failed ? (struct lp_tv){ .kind = LP_TV_NIL } : lp_tfunc_call(run, first->func, args, n);
}

static struct lp_tv eval_pipe(struct lp_trun *run, const struct lp_tpipe *pipe, const struct lp_tv *dot)
{
	struct lp_tv v = { .kind = LP_TV_NIL };

	if (++run->steps > LP_TMPL_MAX_STEPS)
		return lp_trun_fail(run, "template takes too many steps (limit %u)", LP_TMPL_MAX_STEPS);
	for (const struct lp_tcmd *cmd = pipe->cmds; cmd && !run->failed; cmd = cmd->next) {
		v = eval_command(run, cmd, dot, cmd == pipe->cmds ? NULL : &v);
		/* What went through a pipe is no constant any more, and nothing in particular if it is nothing. */
		if (v.kind == LP_TV_FLOAT || v.kind == LP_TV_NIL)
			v.type = LP_TVT_PLAIN;
	}
	for (uint32_t i = 0; i < pipe->n_vars && !run->failed; i++) {
		if (pipe->assign)
			assign_var(run, &pipe->vars[i], &v);
		else
			push_var(run, &pipe->vars[i], &v);
	}
	return v;
}

static void run_list(struct lp_trun *run, const struct lp_tnode *list, const struct lp_tv *dot);

/* One turn of a range; false: no more.  The variables that it declares are on top of the stack. */
static bool turn(struct lp_trun *run, const struct lp_tnode *node, const struct lp_tv *key, const struct lp_tv *item)
{
	const struct lp_tpipe *pipe = node->pipe;
	uint32_t n_vars = run->n_vars;

	for (uint32_t i = 0; i < pipe->n_vars; i++) {
		const struct lp_tv *v = i + 1 < pipe->n_vars ? key : item;

		if (pipe->assign)
			assign_var(run, &pipe->vars[i], v);
		else
			run->vars[n_vars - pipe->n_vars + i].value = *v;
	}
	if (++run->steps > LP_TMPL_MAX_STEPS)
		lp_trun_fail(run, "template takes too many steps (limit %u)", LP_TMPL_MAX_STEPS);
	run_list(run, node->body, item);
	run->n_vars = n_vars;
	run->again = false;
	if (run->stop || run->failed) {
		run->stop = false;
		return false;
	}
	return true;
}

/* The labels in the order of their names: few, so selection is fine. */
static uint32_t next_label(const struct lp_trun *run, const struct lp_entry *after)
{
	const struct lp_template_data *d = run->data;
	uint32_t best = d->n_entries;

	for (uint32_t i = 0; i < d->n_entries; i++) {
		const struct lp_entry *e = &d->entries[i], *b = best < d->n_entries ? &d->entries[best] : NULL;

		if (e->dead)
			continue;
		if (after) {
			uint32_t n = e->name_len < after->name_len ? e->name_len : after->name_len;
			int c = memcmp(e->name, after->name, n);

			if (c < 0 || (!c && e->name_len <= after->name_len))
				continue;
		}
		if (b) {
			uint32_t n = e->name_len < b->name_len ? e->name_len : b->name_len;
			int c = memcmp(e->name, b->name, n);

			if (c > 0 || (!c && e->name_len >= b->name_len))
				continue;
		}
		best = i;
	}
	return best;
}

static bool range_labels(struct lp_trun *run, const struct lp_tnode *node)
{
	const struct lp_entry *last = NULL;
	struct lp_tv key = { .kind = LP_TV_STRING }, item = { .kind = LP_TV_STRING };
	bool any = false;

	for (uint32_t i; (i = next_label(run, last)) < run->data->n_entries; any = true) {
		last = &run->data->entries[i];
		key.str.s = last->name;
		key.str.n = last->name_len;
		item.str.s = last->value;
		item.str.n = last->value_len;
		run->steps += run->data->n_entries;
		if (!turn(run, node, &key, &item))
			return true;
	}
	return any;
}

static void run_range(struct lp_trun *run, const struct lp_tnode *node, const struct lp_tv *dot)
{
	struct lp_tv over = eval_pipe(run, node->pipe, dot), key = { .kind = LP_TV_INT };
	bool any = false;

	if (run->failed)
		return;
	if (over.kind == LP_TV_DATA) {
		any = range_labels(run, node);
	} else if (over.kind == LP_TV_LIST || over.kind == LP_TV_MAP) {
		any = over.list.n != 0;
		for (uint32_t i = 0; i < over.list.n; i++) {
			key.i = i;
			if (over.kind == LP_TV_MAP) {
				key.kind = LP_TV_STRING;
				key.str.s = over.list.keys[i].s;
				key.str.n = over.list.keys[i].len;
			}
			if (!turn(run, node, &key, &over.list.items[i]))
				break;
		}
	} else if (over.kind == LP_TV_INT) {
		if (node->pipe->n_vars > 1) {
			lp_trun_fail(run, "can't use %lld to iterate over more than one variable", (long long)over.i);
			return;
		}
		key.type = over.type;
		any = over.i > 0;
		for (; key.i < over.i; key.i++) {
			struct lp_tv item = key;

			if (!turn(run, node, &key, &item))
				break;
		}
	} else if (over.kind != LP_TV_NIL) {
		lp_trun_fail(run, "range can't iterate over %s", lp_tv_type(&over));
	}
	if (!any && !run->failed)
		run_list(run, node->otherwise, dot);
}

/* The value of .name, where the whole template is that and nothing else. */
bool lp_template_single(const struct lp_template *t, struct lp_str *ret_name)
{
	const struct lp_tnode *node = t->body;

	if (!node || node->next || node->kind != LP_TNODE_ACTION || node->pipe->n_vars || node->pipe->cmds->next || node->pipe->cmds->n != 1)
		return false;
	const struct lp_toperand *op = &node->pipe->cmds->args[0];

	if (op->kind != LP_TOP_FIELD || op->n_fields != 1)
		return false;
	*ret_name = op->fields[0];
	return true;
}

static void run_template(struct lp_trun *run, const struct lp_tnode *node, const struct lp_tv *dot)
{
	struct lp_tv arg = { .kind = LP_TV_NIL };
	const struct lp_tdefine *def = run->tmpl->defines;

	while (def && (def->name.len != node->text.len || memcmp(def->name.s, node->text.s, def->name.len)))
		def = def->next;
	if (!def) {
		lp_trun_fail(run, "template \"%.*s\" not defined", (int)(node->text.len > 100 ? 100 : node->text.len), node->text.s);
		return;
	}
	if (node->pipe)
		arg = eval_pipe(run, node->pipe, dot);
	if (++run->depth > LP_TMPL_MAX_CALLS)
		lp_trun_fail(run, "exceeded maximum template depth (%u)", LP_TMPL_MAX_CALLS);
	if (!run->failed) {
		uint32_t first = run->first_var, n_vars = run->n_vars;

		run->first_var = n_vars;
		push_var(run, &(struct lp_str){ "$", 1 }, &arg);
		run_list(run, def->body, &arg);
		run->first_var = first;
		run->n_vars = n_vars;
	}
	run->depth--;
}

static void run_action(struct lp_trun *run, const struct lp_tnode *node, const struct lp_tv *dot)
{
	struct lp_tv v = eval_pipe(run, node->pipe, dot);

	if (!run->failed && !node->pipe->n_vars)
		lp_tv_print(run->out, &v, run);
}

static void run_list(struct lp_trun *run, const struct lp_tnode *list, const struct lp_tv *dot)
{
	for (const struct lp_tnode *node = list; node && !run->failed && !run->stop && !run->again; node = node->next) {
		uint32_t n_vars = run->n_vars;
		struct lp_tv v;

		switch (node->kind) {
		case LP_TNODE_TEXT: lp_buf_append(run->out, node->text.s, node->text.len); break;
		case LP_TNODE_ACTION: run_action(run, node, dot); break;
		case LP_TNODE_IF: case LP_TNODE_WITH:
			v = eval_pipe(run, node->pipe, dot);
			if (run->failed)
				return;
			if (lp_tv_true(&v, run))
				run_list(run, node->body, node->kind == LP_TNODE_WITH ? &v : dot);
			else
				run_list(run, node->otherwise, dot);
			run->n_vars = n_vars;
			break;
		case LP_TNODE_RANGE:
			run_range(run, node, dot);
			run->n_vars = n_vars;
			break;
		case LP_TNODE_TEMPLATE: run_template(run, node, dot); break;
		case LP_TNODE_BREAK: run->stop = true; break;
		case LP_TNODE_CONTINUE: run->again = true; break;
		}
		if (run->out->failed)
			lp_trun_fail(run, "the result is too long (limit %u bytes)", LP_PIPELINE_MAX_OUTPUT);
	}
}

int lp_template_run(const struct lp_template *tmpl, const struct lp_template_data *data, struct lp_buf *out, struct lp_buf *error)
{
	struct lp_trun run;
	struct lp_tv dot = data->root ? *data->root : (struct lp_tv){ .kind = LP_TV_DATA };

	run.tmpl = tmpl;
	run.data = data;
	run.out = out;
	run.error = error;
	run.steps = run.depth = run.n_vars = run.first_var = 0;
	run.failed = run.stop = run.again = false;
	push_var(&run, &(struct lp_str){ "$", 1 }, &dot);
	run_list(&run, tmpl->body, &dot);
	return run.failed ? -EINVAL : 0;
}
