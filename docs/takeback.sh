#!/bin/sh
# What docs/takeback.svg shows, run for real by make picture: a version that has a
# fault, and takes itself back.
set -eu

dir=$(mktemp -d)
export PARACHUTE_SOCKET="$dir/parachute.sock" PATH="$PWD/bin:$PATH"
started=
trap 'kill $started 2>/dev/null || true; wait; rm -r "$dir"' EXIT

# keep runs a program beside the terminal until the end.
keep() {
	"$@" >>"$dir/log" 2>&1 </dev/null &
	started="$! $started"
}

# show runs a command as somebody who types it.
show() {
	printf '\033[32m$\033[m \033[1m%s\033[m\n' "$*"
	"$@" || printf '\033[2m(exit code %s)\033[m\n' $?
	echo
}

# visit asks for a path 40 times a second.
visit() {
	keep curl -s --rate 2400/m -o /dev/null -H 'Host: app1.example.com' "http://127.0.0.1:8088$1?[1-100000]"
}

keep backend --bind 127.0.0.7 --port 3000 --version 7
keep backend --bind 127.0.0.8 --port 3000 --version 8 --fault /shop
keep parachute run --bind 127.0.0.1 --http-port 8088 --https-port -1 --data-dir "$dir/data"
until parachute list >/dev/null 2>&1; do sleep 0.1; done
parachute deploy web --target 127.0.0.7:3000 --host app1.example.com --release v7 >/dev/null
visit /
visit /shop
sleep 10

show parachute deploy web --target 127.0.0.8:3000 --host app1.example.com --release v8 --bake 60s
show parachute history web
