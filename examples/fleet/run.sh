#!/bin/sh
# Brings up an etcd, three proxies that share it, and HAProxy in front of them; deploys to
# and fro under load, by one proxy after the other; and prints what was lost, on one line.
# With --stay all of it stays up to play with, until Ctrl-C. Needs Go and haproxy; etcd is
# built if it is not installed.
set -eu
cd "$(dirname "$0")/../.."
command -v haproxy >/dev/null || { echo "run.sh: haproxy is not installed" >&2; exit 1; }
once=--once
if [ "${1-}" = --stay ]; then
  once=
  shift
fi
make build
go build -o bin/ ./examples/backend ./examples/demo
etcd=$(command -v etcd) || {
  (cd internal/e2e && go build -o ../../bin/etcd ./etcd)
  etcd=bin/etcd
}
exec bin/demo --fleet --etcd "$etcd" $once "$@"
