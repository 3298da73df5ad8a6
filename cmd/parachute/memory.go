package main

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// Where a container reads how much memory it may use, on hosts with version 2
// of cgroups and with version 1.
const (
	cgroupLimit   = "/sys/fs/cgroup/memory.max"
	cgroupV1Limit = "/sys/fs/cgroup/memory/memory.limit_in_bytes"
)

// tuneMemory sets the garbage collector to what suits a proxy, except where
// GOGC or GOMEMLIMIT say otherwise.
//
// What a proxy keeps is small, a few MiB, and what it allocates lives no longer
// than a request. With Go's default the heap may only double before it is
// collected, so that a busy proxy would do so many times a second to win back
// next to nothing. Five times is still little memory. With many connections it
// might not be, so where the container has a limit the collector aims to stay
// below three quarters of it: what it does not count (stacks of the kernel,
// pages of files) needs room too.
func tuneMemory(getenv func(string) string) {
	if getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	if getenv("GOMEMLIMIT") != "" {
		return
	}
	if limit, ok := readLimit(cgroupLimit, cgroupV1Limit); ok {
		debug.SetMemoryLimit(limit / 4 * 3)
	}
}

// readLimit reads a number of bytes from the first of the files that there is,
// and reports false where there is no number, which a cgroup calls max. Version
// 1 calls it a number that no machine has.
func readLimit(paths ...string) (int64, bool) {
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		return limit, err == nil
	}
	return 0, false
}
