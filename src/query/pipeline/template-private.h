/* Shared by template-lex.c, template-parse.c, template-exec.c, template-func.c, template-fmt.c, template-rule.c and gotime.c. */
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

/* ---- template-lex.c ---- */
enum lp_ttok {
	LP_TTOK_ERROR, LP_TTOK_EOF, LP_TTOK_TEXT, LP_TTOK_LEFT_DELIM, LP_TTOK_RIGHT_DELIM, LP_TTOK_SPACE, LP_TTOK_ASSIGN, LP_TTOK_DECLARE, LP_TTOK_PIPE,
	LP_TTOK_LEFT_PAREN, LP_TTOK_RIGHT_PAREN, LP_TTOK_CHAR, LP_TTOK_BOOL, LP_TTOK_CHAR_CONST, LP_TTOK_NUMBER, LP_TTOK_STRING, LP_TTOK_RAW_STRING,
	LP_TTOK_IDENTIFIER, LP_TTOK_VARIABLE, LP_TTOK_FIELD, LP_TTOK_KEYWORD, /* no token: those behind it are keywords */ LP_TTOK_BLOCK, LP_TTOK_BREAK,
	LP_TTOK_CONTINUE, LP_TTOK_DOT, LP_TTOK_DEFINE, LP_TTOK_ELSE, LP_TTOK_END, LP_TTOK_IF, LP_TTOK_NIL, LP_TTOK_RANGE, LP_TTOK_TEMPLATE, LP_TTOK_WITH,
};

struct lp_ttoken {
	enum lp_ttok tok;
	const char *s;                  /* in the text; ERROR: what is wrong, in the lexer */
	uint32_t len, line;
};

struct lp_tlex {
	const char *p, *end;
	unsigned line, start_line, parens;
	bool in_action;
	char error[128];
};

struct lp_ttoken lp_tlex_next(struct lp_tlex *lx);

enum lp_tv_kind { LP_TV_NIL, LP_TV_STRING, LP_TV_INT, LP_TV_FLOAT, LP_TV_BOOL, LP_TV_TIME, LP_TV_LIST, LP_TV_MAP, LP_TV_DATA };

/* Go's type of a value where the kind does not say it: what a function takes and how it is printed depend on it. */
enum lp_tv_type {
	LP_TVT_PLAIN,                   /* int, float64, nil that is nothing at all */
	LP_TVT_INT64, LP_TVT_UINT8, LP_TVT_MONTH, LP_TVT_WEEKDAY, LP_TVT_DURATION, /* of INT */
	LP_TVT_WHOLE,                   /* of FLOAT: a constant like 1e3, which may stand where an int is wanted */
	LP_TVT_WIDE,                    /* of INT: a constant that no int holds */
	LP_TVT_ELEMENT,                 /* of NIL: the nothing found in a list or map */
};

struct lp_tv {                          /* a value */
	enum lp_tv_kind kind;
	enum lp_tv_type type;
	union {
		struct { const char *s; size_t n; } str;
		int64_t i;
		double f;
		bool b;
		struct { int64_t sec; int32_t ns, east; const char *zone; } time; /* zone NULL: UTC; "": only the offset is known */
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
	struct lp_str var;              /* VAR: its name */
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
	struct lp_str vars[2];          /* $x := or $k, $v := */
	uint32_t n_vars;
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
	uint32_t n_fields;
};

struct lp_trun {                        /* one execution */
	const struct lp_template *tmpl;
	const struct lp_template_data *data;
	struct lp_buf *out, *error;
	struct { struct lp_str name; struct lp_tv value; } vars[LP_TMPL_MAX_VARS];
	uint32_t n_vars, first_var;     /* in scope: [first_var, n_vars) */
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
double lp_tv_float(const struct lp_tv *v);       /* toFloat64 */

/* ---- template-time.c ---- */
/* Put the result of a method of a time or a span of time in the place of the value.  False: it has no such method. */
bool lp_tmethod_call(struct lp_trun *run, struct lp_tv *v, const struct lp_str *name, const struct lp_tv *args, uint32_t n);
void lp_ttime_print(struct lp_buf *out, const struct lp_tv *v);
/* The text of a month, a weekday or a span; false: v is none of them. */
bool lp_tint_print(struct lp_buf *out, const struct lp_tv *v);

/* ---- template-math.c: functions of the table over numbers ---- */
struct lp_tv lp_tfunc_int(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op);
struct lp_tv lp_tfunc_decimal(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op);
struct lp_tv lp_tfunc_real(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op);
struct lp_tv lp_tfunc_round(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op);
struct lp_tv lp_tfunc_number(struct lp_trun *run, struct lp_tv *a, uint32_t n, int op);

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
void lp_tv_print(struct lp_buf *out, const struct lp_tv *v, struct lp_trun *run);       /* %v */
/* The labels as a map. */
struct lp_tv lp_tdata_map(struct lp_trun *run);
/* A string value in scratch memory made from what f appended. */
struct lp_tv lp_tv_str(struct lp_trun *run, const char *s, size_t n);
struct lp_tv lp_tv_take(struct lp_trun *run, struct lp_buf *buf);      /* copies and frees buf */
const char *lp_tv_type(const struct lp_tv *v);
struct lp_tv lp_tv_from_json(struct lp_trun *run, const char *s, size_t n);

/* ---- template-printf.c: args[0] is the format ---- */
struct lp_tv lp_tv_printf(struct lp_trun *run, const struct lp_tv *args, uint32_t n);

/* ---- gotime.c ---- */
struct lp_civil {
	int64_t year;
	unsigned month, day, hour, min, sec, weekday, yday;
};

struct lp_gotime {                      /* what was parsed */
	int64_t local_sec;
	int32_t ns, east;
	bool utc, has_offset;           /* the text said so */
	const char *zone;               /* the name of a zone in the text; NULL: none */
	size_t zone_len;
};

void lp_gotime_format(struct lp_buf *out, const struct lp_tv *t, const char *layout, size_t len);
bool lp_gotime_parse(const char *layout, size_t layout_len, const char *s, size_t n, struct lp_gotime *ret);
void lp_gotime_split(int64_t sec, struct lp_civil *ret);
/* Days since 1970; months and days may be out of their range. */
int64_t lp_gotime_days(int64_t year, int64_t month, int64_t day);
const char *lp_gotime_month(unsigned month);    /* from 1 */
const char *lp_gotime_weekday(unsigned weekday);        /* Sunday is 0 */
/* Seconds east of UTC in a named zone at that local time, and what the zone is called then; 0 and name unchanged for UTC, Local and
 * unknown ones. */
int32_t lp_gotime_zone(const char *zone, size_t len, int64_t local_sec, char name[8]);

#endif
