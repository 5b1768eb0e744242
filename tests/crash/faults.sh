#!/bin/sh
# kill -9 at every named point.
exec python3 "$LP_SRCDIR/tests/crash/crash.py"
