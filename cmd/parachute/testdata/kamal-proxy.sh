#!/bin/sh
# What kamal-proxy's commands can be told, all of it, as a script of somebody's
# tells it. The test of it changes nothing but the name of the program.
set -eu

kamal-proxy run --debug --http-port "$HTTP" --https-port "$HTTPS" --metrics-port "$METRICS" --http3 &
proxy=$!
trap 'kill $proxy; wait $proxy' EXIT
until kamal-proxy list >/dev/null 2>&1; do
	kill -0 $proxy
	sleep 0.1
done

kamal-proxy deploy web --target "$APP"
kamal-proxy deploy web \
	--target "$APP" \
	--read-target "$READER" \
	--host app1.example.com,app2.example.com \
	--host=app3.example.com \
	--path-prefix /app --path-prefix=/api \
	--strip-path-prefix \
	--canonical-host app1.example.com \
	--tls \
	--tls-certificate-path "$CERTIFICATE" \
	--tls-private-key-path "$KEY" \
	--tls-redirect=false \
	--deploy-timeout 10s \
	--drain-timeout 10s \
	--force=false \
	--health-check-interval 1s \
	--health-check-timeout 5s \
	--health-check-path /up \
	--health-check-port "${APP##*:}" \
	--health-check-host app1.example.com \
	--writer-affinity-timeout 1s \
	--read-target-websockets \
	--target-timeout 30s \
	--buffer-requests \
	--buffer-responses \
	--buffer-memory 1048576 \
	--max-request-body 1048576 \
	--max-response-body 0 \
	--error-pages "$PAGES" \
	--log-request-header User-Agent --log-request-header Accept,Cache-Control \
	--log-response-header Content-Type \
	--exclude-metrics-path /up \
	--forward-headers \
	--client-ip-header CF-Connecting-IP \
	--scope-cookie-paths
kamal-proxy deploy web --target "$APP,$READER" --host app1.example.com --tls --tls-staging --tls-acme-cache-path "$CACHE" --strip-path-prefix=false --forward-headers=false
kamal-proxy deploy any --target "$APP" --tls --tls-on-demand-url /allowed --force

kamal-proxy rollout deploy web --target "$READER" --read-target "$APP" --deploy-timeout 10s --drain-timeout 10s
kamal-proxy rollout set web --percent 20
kamal-proxy rollout set web --list v1,v2
kamal-proxy rollout stop web

kamal-proxy pause web --drain-timeout 1s --max-pause 30s
kamal-proxy list | grep paused
kamal-proxy resume web
kamal-proxy stop web --drain-timeout 1s --message "Back at noon, or so"
kamal-proxy ls | grep stopped
kamal-proxy resume web

kamal-proxy remove web
kamal-proxy rm any
