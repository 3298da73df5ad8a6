#!/bin/sh
# What docs/page.png and docs/page-service.png show, made for real by make picture:
# twenty services under some load, of which one has failed since its last deploy. It
# takes three minutes, for the charts to have something to show, and needs chromium.
set -eu

dir=$(mktemp -d)
export PARACHUTE_SOCKET="$dir/parachute.sock" PATH="$PWD/bin:$PATH"
started=
trap 'kill $started 2>/dev/null || true; wait; rm -r "$dir"' EXIT

# keep runs a program until the end.
keep() {
	"$@" >>"$dir/log" 2>&1 </dev/null &
	started="$! $started"
}

# load asks the service on that host now and then, and now and then for what is not there.
load() {
	while :; do
		curl -so /dev/null -H "Host: $1.example.com" "http://127.0.0.1:8088/" "http://127.0.0.1:8088/slow?for=${2}ms"
		sleep "0.$2"
	done
}

keep parachute run --bind 127.0.0.1 --http-port 8088 --https-port -1 --data-dir "$dir/data" --page-port 8089
until parachute list >/dev/null 2>&1; do sleep 0.1; done
n=10
for service in accounts api billing blog catalog chat checkout docs feeds images jobs mail maps news orders reports search shop tickets web; do
	n=$((n + 1))
	keep backend --bind 127.0.0.$n --port 3000
	parachute deploy $service --target 127.0.0.$n:3000 --host $service.example.com --release v1.$n.0 >/dev/null
	keep load $service $n
done
sleep 100
keep backend --bind 127.0.0.99 --port 3000 --version 2
last=${started%% *}
parachute deploy orders --target 127.0.0.99:3000 --host orders.example.com --release v1.26.0 >/dev/null
sleep 60
kill "$last"
sleep 12

shoot() {
	chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$dir/chromium" \
		--window-size="$3" --screenshot="$PWD/docs/$1" "http://127.0.0.1:8089/$2" >>"$dir/log" 2>&1
}
shoot page.png "" 1280,1290
shoot page-service.png services/orders 1280,900
