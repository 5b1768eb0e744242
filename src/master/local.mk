bin_PROGRAMS += logpulse
logpulse_SOURCES = src/master/main.c src/master/proc.h
logpulse_LDADD = src/http/libhttp.a src/writer/libwriter.a src/query/libquery.a src/ingest/libingest.a src/conf/libconf.a $(STORE_LIBS) \
	$(H2O_LIBS) $(WSLAY_LIBS) $(SSL_LIBS) $(YAML_LIBS) $(SYSTEMD_LIBS) $(SNAPPY_LIBS) $(DEFLATE_LIBS) $(RE2_LIBS) -lstdc++ -lm
