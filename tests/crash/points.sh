#!/bin/sh
# Every LP_FAULT point of the sources has a crash test, and every crash test a point.
set -eu
cd "${LP_SRCDIR:-.}"
grep -rhoE 'LP_FAULT\("[a-z]+-[a-z-]+"\)' src shm | sed 's/.*"\(.*\)".*/\1/' | sort -u >"${TMPDIR:-/tmp}/lp-points-src.$$"
python3 tests/crash/crash.py --list | sort >"${TMPDIR:-/tmp}/lp-points-test.$$"
trap 'rm -f "${TMPDIR:-/tmp}"/lp-points-*.$$' EXIT
if ! diff "${TMPDIR:-/tmp}/lp-points-src.$$" "${TMPDIR:-/tmp}/lp-points-test.$$"; then
	echo "the points above (< in the sources, > in tests/crash/crash.py) have no partner" >&2
	exit 1
fi
