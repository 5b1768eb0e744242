/* Regular expressions: a C face over the packaged RE2 with the meaning of Go's regexp package.
 *
 * Guarantees: matching is linear in the text and the compiled program is bounded (RE2's max_mem); no exception
 * leaves this file; compiled expressions are immutable and may be used by many threads.  Runs in workers (query
 * threads) and in command line tools; if the process dies here nothing is lost, queries only read.
 *
 * Three things differ between RE2 and Go and are evened out here:
 *  - names: Go takes (?<name>...) and repeated names.  rewrite() records the names and hands RE2 plain groups.
 *  - invalid UTF-8: Go reads each invalid byte as U+FFFD of width 1, RE2's automaton just stops there.  A text that
 *    does not match and is not valid UTF-8 is matched again with those bytes replaced, offsets mapped back.  This is
 *    exact and linear, and valid text, nearly all of it, pays one validation for a miss.
 *  - error texts: go_error() gives Go's.
 *
 * Literals for prefilters come from a walk over the pattern (struct walk) in the manner of Russ Cox, "Regular
 * Expression Matching with a Trigram Index" (2012): what every match must contain, conservative wherever unsure. */
extern "C" {
#include "common/buf.h"
#include "common/utf8.h"
}

#include "query/regex.h"

#include <re2/re2.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <vector>

#define MAX_MEM_BYTES (8 << 20)
#define MAX_NESTING 1000        /* Go: "expression nests too deeply" */
#define MAX_LITERALS 64
#define MAX_GROUPS 256

struct lp_regex {
	std::unique_ptr<re2::RE2> re;
	bool anchored;
	std::vector<std::string> names;         /* per group from 0; "" unnamed */
	std::vector<std::string> literals;
	std::vector<const char *> literal_ptrs;
	bool literals_fold = false;
	bool is_literal = false, literal_fold = false;
	std::string literal;
};

namespace {

struct go_regex_error {
	const char *code;
	std::string arg;
	std::string before;             /* what stands before it, as RE2 shall see it: an error in there comes first */
};

/* ---- the pattern as RE2 shall see it ------------------------------------------------------------ */

size_t class_end(const std::string &p, size_t i)
{
	size_t n = p.size();

	i++;
	if (i < n && p[i] == '^')
		i++;
	if (i < n && p[i] == ']')
		i++;
	while (i < n && p[i] != ']') {
		if (p[i] == '\\' && i + 1 < n) {
			i += 2;
		} else if (p[i] == '[' && i + 1 < n && p[i + 1] == ':') {
			size_t end = p.find(":]", i + 2);

			i = end == std::string::npos ? i + 1 : end + 2;
		} else {
			i++;
		}
	}
	return i < n ? i + 1 : n;
}

bool name_char(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* One group opening at p[i] == '('; appends what RE2 gets and returns the index after it. */
size_t rewrite_group(const std::string &p, size_t i, std::string *out, std::vector<std::string> *names)
{
	size_t name_at = 0;

	/* At the very end they are read as flags. */
	if (p.compare(i, 4, "(?P<") == 0 && p.size() - i > 4)
		name_at = i + 4;
	else if (p.compare(i, 3, "(?<") == 0 && p.size() - i > 3)
		name_at = i + 3;
	if (!name_at) {
		if (i + 1 >= p.size() || p[i + 1] != '?')
			names->emplace_back();
		out->push_back('(');
		return i + 1;
	}
	size_t end = p.find('>', name_at);

	if (end == std::string::npos)
		throw go_regex_error{"invalid named capture", p.substr(i), *out};
	std::string name = p.substr(name_at, end - name_at);
	bool good = !name.empty();

	for (char c : name)
		good = good && name_char(c);
	if (!good)
		throw go_regex_error{"invalid named capture", p.substr(i, end + 1 - i), *out};
	names->push_back(name);
	/* A question mark behind the plain bracket would make flags of it; RE2 refuses it behind a name. */
	*out += end + 1 < p.size() && p[end + 1] == '?' ? "(?P<n>" : "(";
	return end + 1;
}

std::string rewrite(const std::string &p, std::vector<std::string> *names)
{
	std::string out;
	size_t i = 0, n = p.size(), depth = 0;

	while (i < n) {
		size_t next = i + 1;

		if (p[i] == '\\' && i + 1 < n) {
			next = i + 2;
			/* One byte for RE2, nothing for Go: let RE2 find it where it stands (see go_error). */
			if (p[i + 1] == 'C') {
				out += "\\c";
				i = next;
				continue;
			}
			if (p[i + 1] == 'Q') {
				size_t end = p.find("\\E", next);

				next = end == std::string::npos ? n : end + 2;
			}
		} else if (p[i] == '[') {
			next = class_end(p, i);
		} else if (p[i] == '(') {
			if (++depth > MAX_NESTING)
				throw go_regex_error{"expression nests too deeply", p, ""};
			i = rewrite_group(p, i, &out, names);
			continue;
		} else if (p[i] == ')' && depth) {
			depth--;
		}
		out.append(p, i, next - i);
		i = next;
	}
	/* Last: groups that are nested too deeply are refused for that, however many they are. */
	if (names->size() > MAX_GROUPS)
		throw go_regex_error{"expression too large", p, ""};
	return out;
}

go_regex_error go_error(const re2::RE2 &re, const std::string &pattern)
{
	size_t odd = pattern.find("\\C"), hex = pattern.rfind("\\x{");

	switch (re.error_code()) {
	case re2::RE2::ErrorBadEscape:
		if (re.error_arg() == "\\c" && odd < pattern.find("\\c"))
			return {"invalid escape sequence", "\\C", ""};
		return {"invalid escape sequence", re.error_arg(), ""};
	case re2::RE2::ErrorBadCharClass: return {"invalid character class", re.error_arg(), ""};
	case re2::RE2::ErrorBadCharRange: return {"invalid character class range", re.error_arg(), ""};
	case re2::RE2::ErrorMissingBracket: return {"missing closing ]", re.error_arg(), ""};
	case re2::RE2::ErrorMissingParen: return {"missing closing )", pattern, ""};
	case re2::RE2::ErrorUnexpectedParen: return {"unexpected )", pattern, ""};
	case re2::RE2::ErrorTrailingBackslash: return {"trailing backslash at end of expression", "", ""};
	case re2::RE2::ErrorRepeatArgument: return {"missing argument to repetition operator", re.error_arg(), ""};
	case re2::RE2::ErrorRepeatSize: return {"invalid repeat count", re.error_arg().substr(0, re.error_arg().find('}') + 1), ""};
	case re2::RE2::ErrorRepeatOp: return {"invalid nested repetition operator", re.error_arg(), ""};
	case re2::RE2::ErrorBadPerlOp: return {"invalid or unsupported Perl syntax", re.error_arg(), ""};
	case re2::RE2::ErrorBadUTF8:
		/* RE2 says so of a brace that is not closed, too. */
		if (hex != std::string::npos && lp_utf8_valid(pattern.data(), pattern.size()))
			return {"invalid escape sequence", pattern.substr(hex), ""};
		return {"invalid UTF-8", pattern, ""};
	case re2::RE2::ErrorBadNamedCapture: return {"invalid named capture", re.error_arg(), ""};
	case re2::RE2::ErrorPatternTooLarge: return {"expression too large", pattern, ""};
	default: return {"internal error", pattern, ""};
	}
}

/* ---- literals ----------------------------------------------------------------------------------- */

typedef std::vector<std::string> literal_set;

size_t shortest(const literal_set &set)
{
	size_t min = set.empty() ? 0 : SIZE_MAX;

	for (const std::string &s : set)
		min = s.size() < min ? s.size() : min;
	return min;
}

/* Walks a pattern that RE2 has accepted.  Each method returns the literals of which one must occur in any match of
 * what it consumed; an empty set means nothing is known. */
struct walk {
	const std::string &p;
	size_t i = 0;
	bool fold = false;              /* (?i) holds here */
	bool any_fold = false;
	bool unsure = false;            /* nothing may be said about the pattern */
	bool plain = true;              /* no operator met so far: the pattern is one literal */
	std::string text;               /* that literal */

	explicit walk(const std::string &pattern) : p(pattern) { }

	static void keep_better(literal_set *best, const literal_set &other)
	{
		size_t a = shortest(*best), b = shortest(other);

		if (b > a || (b == a && b && other.size() < best->size()))
			*best = other;
	}

	/* Characters that other characters fold to: K (U+212A) and long s (U+017F) make k and s unsafe under (?i). */
	static bool fold_safe(unsigned char c)
	{
		return c < 0x80 && c != 'k' && c != 'K' && c != 's' && c != 'S';
	}

	void end_run(literal_set *best, std::string *run)
	{
		if (!run->empty())
			keep_better(best, literal_set(1, *run));
		run->clear();
	}

	bool quantifier(bool *ret_optional)
	{
		if (i >= p.size())
			return false;
		if (p[i] == '*' || p[i] == '?' || p[i] == '+') {
			*ret_optional = p[i] != '+';
			i++;
		} else if (p[i] == '{') {
			size_t j = i + 1;
			bool zero = true, digits = false;

			for (; j < p.size() && p[j] >= '0' && p[j] <= '9'; j++) {
				digits = true;
				zero = zero && p[j] == '0';
			}
			if (!digits)
				return false;
			if (j < p.size() && p[j] == ',')
				for (j++; j < p.size() && p[j] >= '0' && p[j] <= '9';)
					j++;
			if (j >= p.size() || p[j] != '}')
				return false;
			*ret_optional = zero;
			i = j + 1;
		} else {
			return false;
		}
		if (i < p.size() && p[i] == '?')
			i++;
		return true;
	}

	/* Skips what follows when several quantifiers stand in a row, e.g. `a{2}{0}`. */
	bool quantifiers(bool *ret_optional)
	{
		bool any = false, optional = false, one;

		while (quantifier(&one)) {
			any = true;
			optional = optional || one;
		}
		*ret_optional = optional;
		return any;
	}

	bool hex_escape(std::string *ret_char)
	{
		uint32_t cp = 0;
		size_t j = i + 2;
		bool braces = j < p.size() && p[j] == '{';

		if (braces)
			j++;
		size_t max = braces ? 8 : 2, k = 0;

		for (; k < max && j < p.size() && isxdigit((unsigned char)p[j]); k++, j++)
			cp = cp * 16 + (uint32_t)(p[j] <= '9' ? p[j] - '0' : (p[j] | 0x20) - 'a' + 10);
		if (braces) {
			if (j >= p.size() || p[j] != '}')
				return false;
			j++;
		}
		if (!k || cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000))
			return false;
		uint8_t out[4];

		ret_char->assign((const char *)out, lp_utf8_put(out, cp));
		i = j;
		return true;
	}

	/* A backslash at p[i].  True: one literal character; false: something else, skipped. */
	bool escape(std::string *ret_char)
	{
		char c = i + 1 < p.size() ? p[i + 1] : '\\';
		static const char *const controls = "a\a" "f\f" "t\t" "n\n" "r\r" "v\v";

		if (c == 'x')
			return hex_escape(ret_char) || (i += 2, false);
		if (c == 'p' || c == 'P') {
			i += 2;
			if (i < p.size() && p[i] == '{') {
				size_t end = p.find('}', i);

				i = end == std::string::npos ? p.size() : end + 1;
			} else if (i < p.size()) {
				i += step();
			}
			return false;
		}
		if (c >= '0' && c <= '9') {
			i += 2;
			while (i < p.size() && p[i] >= '0' && p[i] <= '7')
				i++;
			return false;
		}
		i += 2;
		for (const char *k = controls; *k; k += 2)
			if (c == k[0]) {
				ret_char->assign(1, k[1]);
				return true;
			}
		if ((unsigned char)c < 0x80 && !isalnum((unsigned char)c) && c != '_') {
			ret_char->assign(1, c);
			return true;
		}
		return false;
	}

	size_t step() const
	{
		unsigned n = lp_utf8_seq((const uint8_t *)p.data() + i, p.size() - i);

		return n ? n : 1;
	}

	void add_char(literal_set *best, std::string *run, const std::string &ch)
	{
		bool optional = false, quantified = quantifiers(&optional);

		/* U+FFFD also matches an invalid byte, which the raw text spells differently. */
		bool replacement = ch == "\xef\xbf\xbd";

		if (quantified || replacement)
			plain = false;
		else
			text += ch;
		any_fold = any_fold || fold;
		if (optional || replacement || (fold && !fold_safe((unsigned char)ch[0]))) {
			end_run(best, run);
			return;
		}
		*run += ch;
		if (quantified)
			end_run(best, run);
	}

	literal_set group(unsigned depth)
	{
		bool outer = fold, negative = false, scoped = true, now = fold;

		plain = false;
		i++;
		if (i < p.size() && p[i] == '?') {
			for (i++; i < p.size() && p[i] != ':' && p[i] != ')'; i++) {
				if (p[i] == '-')
					negative = true;
				else if (p[i] == 'i')
					now = !negative;
			}
			scoped = i < p.size() && p[i] == ':';
			if (i < p.size())
				i++;
		}
		fold = now;
		if (!scoped) {
			bool ignored;

			/* (?i): holds to the end of the enclosing group.  A quantifier behind it belongs to what stood before. */
			unsure = unsure || quantifiers(&ignored);
			return literal_set();
		}
		literal_set set = alternation(depth + 1);

		if (i < p.size() && p[i] == ')')
			i++;
		fold = outer;
		bool optional;

		if (quantifiers(&optional) && optional)
			set.clear();
		return set;
	}

	literal_set concatenation(unsigned depth)
	{
		literal_set best;
		std::string run, ch;
		bool optional;

		while (i < p.size() && p[i] != '|' && p[i] != ')') {
			if (p[i] == '(') {
				end_run(&best, &run);
				keep_better(&best, group(depth));
			} else if (p.compare(i, 2, "\\Q") == 0) {
				size_t end = p.find("\\E", i + 2), stop = end == std::string::npos ? p.size() : end;

				plain = false;
				end_run(&best, &run);
				i = end == std::string::npos ? stop : stop + 2;
				(void)quantifiers(&optional);
			} else if (p[i] == '\\') {
				if (escape(&ch)) {
					add_char(&best, &run, ch);
				} else {
					plain = false;
					end_run(&best, &run);
					(void)quantifiers(&optional);
				}
			} else if (strchr("[.^$", p[i])) {
				plain = false;
				end_run(&best, &run);
				i = p[i] == '[' ? class_end(p, i) : i + 1;
				(void)quantifiers(&optional);
			} else {
				size_t n = step();

				ch = p.substr(i, n);
				i += n;
				add_char(&best, &run, ch);
			}
		}
		end_run(&best, &run);
		return best;
	}

	literal_set alternation(unsigned depth)
	{
		literal_set all;
		bool known = true;

		for (;;) {
			literal_set set = concatenation(depth);

			if (set.empty() || all.size() + set.size() > MAX_LITERALS)
				known = false;
			if (known)
				all.insert(all.end(), set.begin(), set.end());
			if (i >= p.size() || p[i] != '|')
				break;
			plain = false;
			i++;
		}
		return known ? all : literal_set();
	}
};

void to_lower(std::string *s)
{
	for (char &c : *s)
		if (c >= 'A' && c <= 'Z')
			c |= 0x20;
}

void find_literals(lp_regex *re, const std::string &pattern)
{
	std::string body = pattern;
	bool whole_fold = false;

	/* `(?i)text` is how people write a case-insensitive search: still a plain literal. */
	if (body.compare(0, 4, "(?i)") == 0) {
		body.erase(0, 4);
		whole_fold = true;
	}
	walk w(body);

	w.fold = whole_fold;
	literal_set set = w.alternation(0);

	if (w.i < body.size() || w.unsure)
		return;
	bool ascii = true, safe = true;

	for (char c : w.text) {
		ascii = ascii && (unsigned char)c < 0x80;
		safe = safe && walk::fold_safe((unsigned char)c);
	}
	if (w.plain && !w.text.empty() && (!whole_fold || (ascii && safe))) {
		re->is_literal = true;
		re->literal = w.text;
		re->literal_fold = whole_fold;
		if (whole_fold)
			to_lower(&re->literal);
	}
	re->literals_fold = w.any_fold;
	if (w.any_fold)
		for (std::string &s : set)
			to_lower(&s);
	re->literals = set;
	for (const std::string &s : re->literals)
		re->literal_ptrs.push_back(s.c_str());
}

/* ---- invalid UTF-8 ------------------------------------------------------------------------------- */

/* The text with every invalid byte as U+FFFD, and for each byte of it (and its end) the offset in the original. */
struct clean_text {
	std::string s;
	std::vector<size_t> origin;

	clean_text(const char *p, size_t n, bool with_origin)
	{
		s.reserve(n + 16);
		for (size_t i = 0; i < n;) {
			unsigned k = lp_utf8_seq((const uint8_t *)p + i, n - i);

			if (with_origin)
				origin.insert(origin.end(), k ? k : 3, i);
			if (k)
				s.append(p + i, k);
			else
				s.append("\xef\xbf\xbd", 3);
			if (with_origin && k > 1)
				for (unsigned j = 1; j < k; j++)
					origin[origin.size() - k + j] = i + j;
			i += k ? k : 1;
		}
		if (with_origin)
			origin.push_back(n);
	}
};

re2::RE2::Anchor anchor_of(const lp_regex *re)
{
	return re->anchored ? re2::RE2::ANCHOR_BOTH : re2::RE2::UNANCHORED;
}

void put_error(struct lp_buf *error, const go_regex_error &e)
{
	if (!error)
		return;
	lp_buf_str(error, "error parsing regexp: ");
	lp_buf_str(error, e.code);
	lp_buf_str(error, ": `");
	lp_buf_append(error, e.arg.data(), e.arg.size());
	lp_buf_str(error, "`");
}

int compile(const std::string &pattern, unsigned flags, struct lp_regex **ret_re, struct lp_buf *error)
{
	std::unique_ptr<lp_regex> re(new lp_regex);
	re2::RE2::Options options;

	options.set_log_errors(false);
	options.set_max_mem(MAX_MEM_BYTES);
	options.set_encoding(re2::RE2::Options::EncodingUTF8);
	options.set_dot_nl((flags & LP_REGEX_ANCHORED) && !(flags & LP_REGEX_LINES));
	re->anchored = flags & LP_REGEX_ANCHORED;
	re->names.emplace_back();
	std::string plain;

	try {
		plain = rewrite(pattern, &re->names);
	} catch (const go_regex_error &e) {
		re2::RE2 before(e.before, options);

		put_error(error, before.ok() || before.error_code() == re2::RE2::ErrorMissingParen ? e : go_error(before, pattern));
		return -EINVAL;
	}
	re->re.reset(new re2::RE2(plain, options));
	if (!re->re->ok()) {
		put_error(error, go_error(*re->re, pattern));
		return re->re->error_code() == re2::RE2::ErrorPatternTooLarge ? -E2BIG : -EINVAL;
	}
	if ((size_t)re->re->NumberOfCapturingGroups() + 1 != re->names.size())
		return -EINVAL;
	find_literals(re.get(), plain);
	*ret_re = re.release();
	return 0;
}

} // namespace

extern "C" int lp_regex_compile(const char *pattern, size_t len, unsigned flags, struct lp_regex **ret_re, struct lp_buf *error)
{
	try {
		return compile(std::string(pattern ? pattern : "", len), flags, ret_re, error);
	} catch (const std::exception &) {
		return -ENOMEM;
	}
}

extern "C" void lp_regex_free(struct lp_regex **re)
{
	if (!re || !*re)
		return;
	delete *re;
	*re = NULL;
}

extern "C" bool lp_regex_match(const struct lp_regex *re, const char *s, size_t len)
{
	try {
		re2::StringPiece text(s ? s : "", len);

		if (re->re->Match(text, 0, len, anchor_of(re), NULL, 0))
			return true;
		if (lp_utf8_valid(text.data(), len))
			return false;
		clean_text clean(text.data(), len, false);

		return re->re->Match(clean.s, 0, clean.s.size(), anchor_of(re), NULL, 0);
	} catch (const std::exception &) {
		return false;
	}
}

static void put_offsets(const re2::StringPiece *groups, unsigned n, const char *base, const clean_text *clean, int64_t *offsets)
{
	for (unsigned g = 0; g < n; g++) {
		if (!groups[g].data()) {
			offsets[2 * g] = offsets[2 * g + 1] = -1;
			continue;
		}
		size_t from = (size_t)(groups[g].data() - base), to = from + groups[g].size();

		offsets[2 * g] = (int64_t)(clean ? clean->origin[from] : from);
		offsets[2 * g + 1] = (int64_t)(clean ? clean->origin[to] : to);
	}
}

extern "C" bool lp_regex_captures(const struct lp_regex *re, const char *s, size_t len, size_t from, int64_t *offsets, unsigned n_groups)
{
	re2::StringPiece groups[MAX_GROUPS + 1];
	unsigned have = (unsigned)re->names.size(), n = n_groups < have ? n_groups : have;

	for (unsigned g = n; g < n_groups; g++)
		offsets[2 * g] = offsets[2 * g + 1] = -1;
	if (from > len)
		return false;
	try {
		const char *base = s ? s : "";

		if (lp_utf8_valid(base, len)) {
			if (!re->re->Match(re2::StringPiece(base, len), from, len, anchor_of(re), groups, (int)n))
				return false;
			put_offsets(groups, n, base, NULL, offsets);
			return true;
		}
		clean_text clean(base, len, true);
		size_t start = 0;

		while (start < clean.s.size() && clean.origin[start] < from)
			start++;
		if (!re->re->Match(clean.s, start, clean.s.size(), anchor_of(re), groups, (int)n))
			return false;
		put_offsets(groups, n, clean.s.data(), &clean, offsets);
		return true;
	} catch (const std::exception &) {
		return false;
	}
}

/* The text is checked once: doing so for each match would make many matches quadratic. */
static void each(const struct lp_regex *re, re2::StringPiece text, const clean_text *clean, unsigned n, int64_t *offsets,
		 bool (*fn)(void *ctx, const int64_t *offsets), void *ctx)
{
	re2::StringPiece groups[MAX_GROUPS + 1];
	size_t at = 0, last_end = SIZE_MAX;

	while (at <= text.size() && re->re->Match(text, at, text.size(), anchor_of(re), groups, (int)n)) {
		size_t from = (size_t)(groups[0].data() - text.data()), to = from + groups[0].size();
		unsigned rune = to < text.size() ? lp_utf8_seq((const uint8_t *)text.data() + to, text.size() - to) : 1;

		put_offsets(groups, n, text.data(), clean, offsets);
		/* An empty match right behind the last one does not count. */
		if ((to > from || from != last_end) && !fn(ctx, offsets))
			return;
		last_end = to;
		at = to > from ? to : to + (rune ? rune : 1);
	}
}

extern "C" void lp_regex_each(const struct lp_regex *re, const char *s, size_t len, unsigned n_groups,
			      bool (*fn)(void *ctx, const int64_t *offsets), void *ctx)
{
	int64_t offsets[2 * (MAX_GROUPS + 1)];
	unsigned have = (unsigned)re->names.size(), n = n_groups < have ? n_groups : have;

	try {
		if (lp_utf8_valid(s ? s : "", len)) {
			each(re, re2::StringPiece(s ? s : "", len), NULL, n ? n : 1, offsets, fn, ctx);
			return;
		}
		clean_text clean(s, len, true);

		each(re, clean.s, &clean, n ? n : 1, offsets, fn, ctx);
	} catch (const std::exception &) {
		return;
	}
}

extern "C" unsigned lp_regex_groups(const struct lp_regex *re)
{
	return (unsigned)re->names.size();
}

extern "C" const char *lp_regex_group_name(const struct lp_regex *re, unsigned group)
{
	return group < re->names.size() && !re->names[group].empty() ? re->names[group].c_str() : NULL;
}

extern "C" unsigned lp_regex_literals(const struct lp_regex *re, const char *const **ret_literals, bool *ret_fold)
{
	*ret_literals = re->literal_ptrs.data();
	*ret_fold = re->literals_fold;
	return (unsigned)re->literal_ptrs.size();
}

extern "C" bool lp_regex_is_literal(const struct lp_regex *re, const char **ret_s, size_t *ret_len, bool *ret_fold)
{
	if (!re->is_literal)
		return false;
	*ret_s = re->literal.data();
	*ret_len = re->literal.size();
	*ret_fold = re->literal_fold;
	return true;
}
