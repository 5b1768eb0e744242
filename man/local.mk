dist_man_MANS += man/logpulse.8 man/logpulse-agent.8 man/logpulsectl.1 man/logpulse-format.5 man/webhooks.yaml.5 man/logpulse-rules.5
nodist_man_MANS += man/logpulse.yaml.5
EXTRA_DIST += man/logpulse.yaml.5.in
CLEANFILES += man/logpulse.yaml.5
man/logpulse.yaml.5: $(srcdir)/man/logpulse.yaml.5.in src/conf/genman$(EXEEXT)
	$(AM_V_GEN)$(MKDIR_P) man && src/conf/genman$(EXEEXT) man $(srcdir)/man/logpulse.yaml.5.in >$@.tmp && mv -f $@.tmp $@
