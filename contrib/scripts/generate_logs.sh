#!/bin/sh
# Push N made-up log lines (default 100) to a LogPulse server, ten to a request.
#   generate_logs.sh [N] [URL]        URL defaults to $LOGPULSE_SERVER_URL or http://localhost:8080
set -eu
n=${1:-100}
url=${2:-${LOGPULSE_SERVER_URL:-http://localhost:8080}}
key=${LOGPULSE_API_KEY:-}
i=0
while [ "$i" -lt "$n" ]; do
	body=$(awk -v first="$i" -v n="$n" -v now="$(date +%s)" 'BEGIN {
		srand(now + first)
		split("api-gateway auth-service payments inventory search", svc, " ")
		split("info info info info debug warn error", lvl, " ")
		split("request served|cache miss|user logged in|payment accepted|connection timeout|slow query|token refreshed|upload failed", msg, "|")
		printf "{\"streams\":["
		for (i = first; i < first + 10 && i < n; i++) {
			s = svc[1 + int(rand() * 5)]; l = lvl[1 + int(rand() * 7)]; m = msg[1 + int(rand() * 8)]
			printf "%s{\"stream\":{\"service\":\"%s\",\"level\":\"%s\",\"source\":\"generated\"},\"values\":[[\"%d%09d\",\"level=%s msg=\\\"%s\\\" duration=%dms status=%d request_id=%08x\"]]}", \
				(i > first ? "," : ""), s, l, now, i % 1000000000, l, m, 1 + int(rand() * 900), (l == "error" ? 500 : 200), int(rand() * 4294967295)
		}
		printf "]}"
	}')
	printf '%s' "$body" | curl -fsS -o /dev/null -X POST -H 'Content-Type: application/json' ${key:+-H "X-API-Key: $key"} --data-binary @- "$url/loki/api/v1/push"
	i=$((i + 10))
done
echo "sent $n lines to $url"
