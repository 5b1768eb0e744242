/* Shared by template-parse.c, template-exec.c, template-func.c, template-fmt.c, template-rule.c and gotime.c. */
#ifndef LP_QUERY_PIPELINE_TEMPLATE_PRIVATE_H
#define LP_QUERY_PIPELINE_TEMPLATE_PRIVATE_H

#include "common/arena.h"
#include "query/pipeline/pipeline-private.h"
#include "query/pipeline/template.h"

#define LP_TMPL_MAX_DEPTH 32u           /* nesting of the text */
#define LP_TMPL_MAX_CALLS 16u           /* {{template}} inside {{template}} */
#define LP_TMPL_MAX_STEPS 100000u       /* of one execution */
#define LP_TMPL_MAX_VARS 256u
#define LP_TMPL_MAX_ARGS 64u
#define LP_TMPL_LONG_TEXT 4096u         /* from here on the time of replacing in a text is looked at */
#define LP_TMPL_REGEX_NS 300000000u     /* of the processor, for one call */

enum lp_tv_kind { LP_TV_NIL, LP_TV_STRING, LP_TV_INT, LP_TV_FLOAT, LP_TV_BOOL, LP_TV_TIME, LP_TV_LIST, LP_TV_MAP, LP_TV_DATA };

struct lp_tv {                          /* a value */
	enum lp_tv_kind kind;
	union {
		struct { const char *s; size_t n; } str;
		int64_t i;
		double f;
		bool b;
		struct { int64_t sec; int32_t ns; } time;       /* UTC */
		struct { const struct lp_tv *items; const struct lp_str *keys; uint32_t n; } list;  /* keys ascend; NULL: a list */
	};
};

enum lp_tnode_kind { LP_TNODE_TEXT, LP_TNODE_ACTION, LP_TNODE_IF, LP_TNODE_WITH, LP_TNODE_RANGE, LP_TNODE_TEMPLATE, LP_TNODE_BREAK, LP_TNODE_CONTINUE };
enum lp_toperand_kind { LP_TOP_DOT, LP_TOP_FIELD, LP_TOP_VAR, LP_TOP_CONST, LP_TOP_FUNC, LP_TOP_PIPE };

struct lp_tpipe;

struct lp_toperand {
	enum lp_toperand_kind kind;
	struct lp_tv value;             /* CONST */
	int func;                       /* FUNC */
	uint32_t var;                   /* VAR */
	struct lp_tpipe *pipe;          /* PIPE */
	struct lp_str *fields;          /* .a.b behind any of them */
	uint32_t n_fields;
};

struct lp_tcmd {
	struct lp_toperand *args;
	uint32_t n;
	struct lp_tcmd *next;
};

struct lp_tpipe {
	uint32_t vars[2], n_vars;       /* $x := or $k, $v := */
	bool assign;                    /* $x = */
	struct lp_tcmd *cmds;
};

struct lp_tnode {
	enum lp_tnode_kind kind;
	struct lp_tnode *next;
	struct lp_str text;             /* TEXT; TEMPLATE: name */
	struct lp_tpipe *pipe;
	struct lp_tnode *body, *otherwise;
};

struct lp_tdefine {
	struct lp_tdefine *next;
	struct lp_str name;
	struct lp_tnode *body;
};

struct lp_template {
	struct lp_arena arena;
	struct lp_tnode *body;
	struct lp_tdefine *defines;
	struct lp_str *fields;
	uint32_t n_fields, n_vars;
};

struct lp_trun {                        /* one execution */
	const struct lp_template *tmpl;
	const struct lp_template_data *data;
	struct lp_buf *out, *error;
	struct lp_tv vars[LP_TMPL_MAX_VARS];
	uint32_t steps, depth;
	bool failed, stop, again;       /* stop: break; again: continue */
};

/* ---- template-func.c ---- */
#define LP_TMPL_RULE_NAME "__alert"     /* templates of this name have the functions of alert rules as well */
/* -1: no such function */
int lp_tfunc_find(const char *name, size_t len, bool rule);
const char *lp_tfunc_name(int func);
/* args are evaluated, except for and/or, which template-exec.c does itself. */
bool lp_tfunc_is_and(int func);
bool lp_tfunc_is_or(int func);
struct lp_tv lp_tfunc_call(struct lp_trun *run, int func, struct lp_tv *args, uint32_t n);

int64_t lp_tv_int(const struct lp_tv *v);        /* sprig's toInt64: 0 for what is no number */

/* ---- template-text.c: functions of the table; op tells relatives apart ---- */
struct lp_tv lp_tfunc_case(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op);
struct lp_tv lp_tfunc_trunc(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op);
struct lp_tv lp_tfunc_substr(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op);
struct lp_tv lp_tfunc_replace(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op);
struct lp_tv lp_tfunc_trim_space(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op);
struct lp_tv lp_tfunc_trim(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op);
struct lp_tv lp_tfunc_trim_all(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op);
struct lp_tv lp_tfunc_trim_fix(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op);
struct lp_tv lp_tfunc_has(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op);
struct lp_tv lp_tfunc_indent(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op);
struct lp_tv lp_tfunc_repeat(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op);
struct lp_tv lp_tfunc_align(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op);
struct lp_tv lp_tfunc_regex(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op);
struct lp_tv lp_tfunc_b64enc(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op);
struct lp_tv lp_tfunc_b64dec(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op);
struct lp_tv lp_tfunc_urldecode(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op);
struct lp_tv lp_tfunc_urlencode(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op);
struct lp_tv lp_tfunc_escape(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op);
struct lp_tv lp_tfunc_bytes(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op);
struct lp_tv lp_tfunc_now(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op);
struct lp_tv lp_tfunc_epoch(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op);
struct lp_tv lp_tfunc_unix_to_time(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op);
struct lp_tv lp_tfunc_date(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op);
struct lp_tv lp_tfunc_to_date(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op);
struct lp_tv lp_tfunc_timestamp(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op);
struct lp_tv lp_tfunc_line(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op);

/* ---- template-rule.c ---- */
struct lp_tv lp_tfunc_humanize(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op);
struct lp_tv lp_tfunc_match(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op);
struct lp_tv lp_tfunc_re_replace(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op);
struct lp_tv lp_tfunc_strip_port(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op);

/* ---- template-exec.c ---- */
struct lp_tv lp_trun_fail(struct lp_trun *run, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool lp_tv_true(const struct lp_tv *v, const struct lp_trun *run);
bool lp_tdata_get(const struct lp_trun *run, const char *name, size_t len, struct lp_tv *ret);

/* ---- template-fmt.c ---- */
void lp_tv_print(struct lp_buf *out, const struct lp_tv *v, const struct lp_trun *run);         /* %v */
struct lp_tv lp_tv_printf(struct lp_trun *run, const struct lp_tv *args, uint32_t n);
/* A string value in scratch memory made from what f appended. */
struct lp_tv lp_tv_str(struct lp_trun *run, const char *s, size_t n);
struct lp_tv lp_tv_take(struct lp_trun *run, struct lp_buf *buf);      /* copies and frees buf */
const char *lp_tv_type(const struct lp_tv *v);
struct lp_tv lp_tv_from_json(struct lp_trun *run, const char *s, size_t n);

/* ---- gotime.c ---- */
void lp_gotime_format(struct lp_buf *out, int64_t sec, int32_t ns, const char *layout, size_t len);
/* Seconds east of UTC in the zone at that local time; 0 for UTC, Local and unknown zones. */
int64_t lp_gotime_zone(const char *zone, size_t len, int64_t local_sec);
bool lp_gotime_parse(const char *layout, size_t layout_len, const char *s, size_t n, int64_t *ret_sec, int32_t *ret_ns);

#endif
