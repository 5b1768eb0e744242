/* Values: durations, sizes, booleans, lists as text and back.  Pure; a bad text leaves the old value. */
#include "conf/conf-private.h"

#include "common/bytes.h"
#include "common/jsonw.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct unit {
	const char *name;
	int64_t factor;
};

static const struct unit duration_units[] = {
	{ "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 }, { "w", 604800000 },
};

/* KB is 1000 and KiB 1024 (IEC 80000-13); a lone K is 1024, as systemd and most daemons read it. */
static const struct unit size_units[] = {
	{ "", 1 }, { "B", 1 },
	{ "KB", 1000 }, { "MB", 1000000 }, { "GB", 1000000000 }, { "TB", INT64_C(1000000000000) },
	{ "K", 1 << 10 }, { "M", 1 << 20 }, { "G", 1 << 30 }, { "T", INT64_C(1) << 40 },
	{ "KiB", 1 << 10 }, { "MiB", 1 << 20 }, { "GiB", 1 << 30 }, { "TiB", INT64_C(1) << 40 },
};

/* number[.fraction]unit at *p.  Fractions are exact to nine digits: 1.5h, 0.25GiB. */
static int parse_quantity(const char **p, const struct unit *units, size_t n_units, bool fold, int64_t *ret_v)
{
	int64_t whole = 0, fraction = 0, scale = 1;
	const char *s = *p;

	if (*s < '0' || *s > '9')
		return -EINVAL;
	for (; *s >= '0' && *s <= '9'; s++)
		if (__builtin_mul_overflow(whole, 10, &whole) || __builtin_add_overflow(whole, *s - '0', &whole))
			return -ERANGE;
	if (*s == '.') {
		s++;
		if (*s < '0' || *s > '9')
			return -EINVAL;
		for (; *s >= '0' && *s <= '9'; s++)
			if (scale < 1000000000) {
				fraction = fraction * 10 + (*s - '0');
				scale *= 10;
			}
	}
	size_t len = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");

	for (size_t i = 0; i < n_units; i++) {
		int64_t v;

		if (strlen(units[i].name) != len ||
		    (fold ? strncasecmp(s, units[i].name, len) : strncmp(s, units[i].name, len)))
			continue;
		if (__builtin_mul_overflow(whole, units[i].factor, &v) ||
		    __builtin_add_overflow(v, (int64_t)((__int128)fraction * units[i].factor / scale), &v))
			return -ERANGE;
		*p = s + len;
		*ret_v = v;
		return 0;
	}
	return -EINVAL;
}

int lp_conf_parse_duration(const char *s, int64_t *ret_ms)
{
	int64_t sum = 0, part;

	if (!strcmp(s, "0")) {
		*ret_ms = 0;
		return 0;
	}
	do {
		int r = parse_quantity(&s, duration_units, LP_ARRAY_LEN(duration_units), false, &part);

		if (r < 0)
			return r;
		if (__builtin_add_overflow(sum, part, &sum))
			return -ERANGE;
	} while (*s);
	*ret_ms = sum;
	return 0;
}

int lp_conf_parse_size(const char *s, int64_t *ret_bytes)
{
	int64_t v;
	int r = parse_quantity(&s, size_units, LP_ARRAY_LEN(size_units), true, &v);

	if (r < 0)
		return r;
	if (*s)
		return -EINVAL;
	*ret_bytes = v;
	return 0;
}

static int parse_int(const char *s, int64_t *ret_v)
{
	const char *digits = *s == '-' ? s + 1 : s;
	size_t len = strlen(digits);

	if (!len || strspn(digits, "0123456789") != len)
		return -EINVAL;
	errno = 0;
	long long v = strtoll(s, NULL, 10);

	if (errno == ERANGE)
		return -ERANGE;
	*ret_v = v;
	return 0;
}

static int parse_bool(const char *s, bool *ret_v)
{
	static const char *const yes[] = { "true", "yes", "on", "1" }, *const no[] = { "false", "no", "off", "0" };

	for (size_t i = 0; i < LP_ARRAY_LEN(yes); i++)
		if (!strcasecmp(s, yes[i]) || !strcasecmp(s, no[i])) {
			*ret_v = !strcasecmp(s, yes[i]);
			return 0;
		}
	return -EINVAL;
}

void lp_conf_print_size(int64_t bytes, struct lp_buf *out)
{
	static const char *const names[] = { "", "KiB", "MiB", "GiB", "TiB" };
	unsigned i = 0;

	while (bytes && i < 4 && bytes % 1024 == 0) {
		bytes /= 1024;
		i++;
	}
	lp_buf_printf(out, "%" PRId64 "%s", bytes, names[i]);
}

void lp_conf_print_duration(int64_t ms, struct lp_buf *out)
{
	static const struct unit units[] = { { "d", 86400000 }, { "h", 3600000 }, { "m", 60000 }, { "s", 1000 }, { "ms", 1 } };

	if (!ms) {
		lp_buf_str(out, "0s");
		return;
	}
	for (size_t i = 0; i < LP_ARRAY_LEN(units); i++)
		if (ms >= units[i].factor) {
			lp_buf_printf(out, "%" PRId64 "%s", ms / units[i].factor, units[i].name);
			ms %= units[i].factor;
		}
}

void lp_conf_quote(const char *text, struct lp_buf *out)
{
	size_t len = strnlen(text, 81);

	lp_jsonw_str(out, text, len > 80 ? 80 : len);
	if (len > 80)
		lp_buf_str(out, "...");
}

static void print_number(enum lp_conf_type type, int64_t v, struct lp_buf *out)
{
	if (type == LP_CONF_SIZE)
		lp_conf_print_size(v, out);
	else if (type == LP_CONF_DURATION)
		lp_conf_print_duration(v, out);
	else
		lp_buf_i64(out, v);
}

static int set_number(const struct lp_conf_option *option, const char *text, int64_t *field, struct lp_buf *reason)
{
	static const char *const expected[] = {
		[LP_CONF_INT] = "a whole number",
		[LP_CONF_SIZE] = "a size such as 65536, 64KiB or 10MB",
		[LP_CONF_DURATION] = "a duration such as 30s, 5m, 1h30m or 7d",
	};
	int64_t v;
	int r = option->type == LP_CONF_INT ? parse_int(text, &v)
		: option->type == LP_CONF_SIZE ? lp_conf_parse_size(text, &v) : lp_conf_parse_duration(text, &v);

	if (!r && v >= option->min && v <= option->max) {
		*field = v;
		return 0;
	}
	if (r == -EINVAL) {
		lp_conf_quote(text, reason);
		lp_buf_printf(reason, " is not %s", expected[option->type]);
	} else {
		lp_buf_printf(reason, "%.80s is out of range", text);
	}
	lp_buf_str(reason, r == -EINVAL ? " in the range " : " ");
	print_number(option->type, option->min, reason);
	lp_buf_str(reason, "..");
	print_number(option->type, option->max, reason);
	return -EINVAL;
}

static int set_enum(const struct lp_conf_option *option, const char *text, int *field, struct lp_buf *reason)
{
	size_t len = strlen(text), n;
	int i = 0;

	for (const char *value = option->values; ; value += n + 1, i++) {
		n = strcspn(value, "|");
		if (n == len && !strncmp(value, text, n)) {
			*field = i;
			return 0;
		}
		if (!value[n])
			break;
	}
	lp_conf_quote(text, reason);
	lp_buf_str(reason, " is none of ");
	for (const char *p = option->values; *p; p++)
		if (*p == '|')
			lp_buf_str(reason, ", ");
		else
			lp_buf_byte(reason, (uint8_t)*p);
	return -EINVAL;
}

int lp_conf_list_add(struct lp_conf_list *list, const char *text, size_t len)
{
	if (list->n >= LP_CONF_MAX_ITEMS)
		return -E2BIG;
	char **items = realloc(list->items, (list->n + 1) * sizeof *items);

	if (!items)
		return -ENOMEM;
	list->items = items;
	items[list->n] = strndup(text, len);
	if (!items[list->n])
		return -ENOMEM;
	list->n++;
	return 0;
}

void lp_conf_list_clear(struct lp_conf_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->items[i]);
	free(list->items);
	*list = (struct lp_conf_list){ 0 };
}

/* Separated by commas, spaces around items dropped, empty items too. */
static int set_list(const char *text, struct lp_conf_list *field, struct lp_buf *reason)
{
	struct lp_conf_list list = { 0 };
	int r = 0;

	while (*text && !r) {
		size_t skip = strspn(text, ", \t"), len = strcspn(text + skip, ","), end = len;

		text += skip;
		while (end && (text[end - 1] == ' ' || text[end - 1] == '\t'))
			end--;
		if (end)
			r = lp_conf_list_add(&list, text, end);
		text += len;
	}
	if (r < 0) {
		lp_conf_list_clear(&list);
		lp_buf_str(reason, r == -E2BIG ? "more than 1024 items" : "out of memory");
		return r == -E2BIG ? -EINVAL : r;
	}
	lp_conf_list_clear(field);
	*field = list;
	return 0;
}

static int set_string(const char *text, char **field, struct lp_buf *reason)
{
	if (strlen(text) > LP_CONF_MAX_TEXT) {
		lp_buf_printf(reason, "longer than %u bytes", LP_CONF_MAX_TEXT);
		return -EINVAL;
	}
	char *copy = strdup(text);

	if (!copy) {
		lp_buf_str(reason, "out of memory");
		return -ENOMEM;
	}
	free(*field);
	*field = copy;
	return 0;
}

int lp_conf_set(struct lp_conf *conf, const struct lp_conf_option *option, const char *text, struct lp_buf *reason)
{
	void *field = lp_conf_field(conf, option);

	switch (option->type) {
	case LP_CONF_BOOL:
		if (!parse_bool(text, field))
			return 0;
		lp_conf_quote(text, reason);
		lp_buf_str(reason, " is neither true nor false");
		return -EINVAL;
	case LP_CONF_INT:
	case LP_CONF_SIZE:
	case LP_CONF_DURATION:
		return set_number(option, text, field, reason);
	case LP_CONF_STRING:
		return set_string(text, field, reason);
	case LP_CONF_ENUM:
		return set_enum(option, text, field, reason);
	case LP_CONF_RULES:
		return lp_conf_rules_parse(option, text, field, reason);
	default:
		return set_list(text, field, reason);
	}
}

/* "${" in a value must come back as itself when the printed file is loaded. */
static void print_string(const char *s, struct lp_buf *out)
{
	struct lp_buf escaped = LP_BUF_INIT;

	for (; *s; s++) {
		if (s[0] == '$' && s[1] == '{')
			lp_buf_byte(&escaped, '$');
		lp_buf_byte(&escaped, (uint8_t)*s);
	}
	lp_jsonw_str(out, escaped.data, escaped.len);   /* a JSON string is a YAML string */
	if (escaped.failed)
		out->failed = true;
	lp_buf_free(&escaped);
}

void lp_conf_print_value(const struct lp_conf *conf, const struct lp_conf_option *option, struct lp_buf *out)
{
	const void *field = lp_conf_field(conf, option);
	const struct lp_conf_list *list = field;
	const char *value = option->values;

	switch (option->type) {
	case LP_CONF_BOOL:
		lp_buf_str(out, *(const bool *)field ? "true" : "false");
		break;
	case LP_CONF_INT:
	case LP_CONF_SIZE:
	case LP_CONF_DURATION:
		print_number(option->type, *(const int64_t *)field, out);
		break;
	case LP_CONF_STRING:
		print_string(*(char *const *)field, out);
		break;
	case LP_CONF_ENUM:
		for (int i = *(const int *)field; i > 0; i--)
			value += strcspn(value, "|") + 1;
		lp_buf_append(out, value, strcspn(value, "|"));
		break;
	case LP_CONF_LIST:
		lp_buf_byte(out, '[');
		for (size_t i = 0; i < list->n; i++) {
			if (i)
				lp_buf_str(out, ", ");
			print_string(list->items[i], out);
		}
		lp_buf_byte(out, ']');
		break;
	case LP_CONF_RULES:
		lp_conf_rules_print(field, print_string, out);
		break;
	}
}
