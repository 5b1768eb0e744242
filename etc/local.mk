# The example is the option table itself: it cannot name an option that does not exist.
exampledir = $(docdir)/examples
nodist_example_DATA = etc/logpulse.yaml
dist_example_DATA = etc/logpulse-agent.yaml etc/webhooks.yaml etc/rules.yaml
exampleprometheusdir = $(exampledir)/prometheus
dist_exampleprometheus_DATA = contrib/prometheus/prometheus.yml contrib/prometheus/alerts.yml contrib/prometheus/alerts_test.yml
CLEANFILES += etc/logpulse.yaml
etc/logpulse.yaml: src/conf/genman$(EXEEXT)
	$(AM_V_GEN)$(MKDIR_P) etc && src/conf/genman$(EXEEXT) example >$@.tmp && mv -f $@.tmp $@
