dist_man_MANS += man/logpulse-format.5
