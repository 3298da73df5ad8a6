package main

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// cgroupLimit is where a container reads how much memory it may use.
const cgroupLimit = "/sys/fs/cgroup/memory.max"

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
	if limit, ok := readLimit(cgroupLimit); ok {
		debug.SetMemoryLimit(limit / 4 * 3)
	}
}

// readLimit reads a number of bytes, and reports false where there is none,
// which a cgroup calls max.
func readLimit(path string) (int64, bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return limit, err == nil
}
