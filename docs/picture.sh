#!/bin/sh
# What docs/deploy.svg shows, run for real by make picture: a deploy that waits for
# the new version and for what runs on the old one, and a deploy that fails.
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

keep backend --bind 127.0.0.7 --port 3000 --version 7
keep parachute run --bind 127.0.0.1 --http-port 8088 --https-port -1 --data-dir "$dir/data"
until parachute list >/dev/null 2>&1; do sleep 0.1; done
parachute deploy web --target 127.0.0.7:3000 --host app1.example.com >/dev/null

keep backend --bind 127.0.0.8 --port 3000 --version 8 --up-delay 2s
for i in 1 2 3; do
	keep curl -sH 'Host: app1.example.com' 'http://127.0.0.1:8088/slow?for=5s'
done
keep curl -sNH 'Host: app1.example.com' http://127.0.0.1:8088/events
sleep 0.3

show parachute deploy web --target 127.0.0.8:3000 --host app1.example.com
show parachute deploy web --target 127.0.0.9:3000 --host app1.example.com --deploy-timeout 2s
show parachute list
