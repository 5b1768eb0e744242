/* A label or annotation of an alert. */
#ifndef LP_RULES_PAIR_H
#define LP_RULES_PAIR_H

struct lp_alert_pair {
	const char *name, *value;       /* UTF-8, no NUL inside */
};

#endif
