#!/bin/sh
# Random kills of every process: 25, or 200 with LP_LONG=1.
exec python3 "$LP_SRCDIR/tests/crash/crash.py" --random "$([ -n "${LP_LONG:-}" ] && echo 200 || echo 25)"
