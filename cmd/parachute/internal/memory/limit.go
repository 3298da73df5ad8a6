package memory

import (
	"io/fs"
	"math"
	"path"
	"strconv"
	"strings"
)

// Limit returns how much memory this process may use, by the control groups that
// it is in and those above them, which hold for it too: of a container, of a unit
// of systemd, of a slice. The least counts. Limit reports false where there is
// none. root is the root of the file system.
func Limit(root fs.FS) (int64, bool) {
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0, false
	}
	least := int64(math.MaxInt64)
	for line := range strings.Lines(string(groups)) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3) // cgroups(7)
		if len(fields) < 3 {
			continue
		}
		switch controllers, group := fields[1], fields[2]; {
		case controllers == "" && fields[0] == "0": // version 2, maybe beside version 1
			least = min(least, limitOf(root, "sys/fs/cgroup", group, "memory.max", "memory.high"))
			least = min(least, limitOf(root, "sys/fs/cgroup/unified", group, "memory.max", "memory.high"))
		case hasMemory(controllers):
			least = min(least, limitOf(root, "sys/fs/cgroup/memory", group, "memory.limit_in_bytes"))
		}
	}
	// Version 1 says that there is no limit by a number that no machine has.
	return least, least < 1<<60
}

func hasMemory(controllers string) bool {
	for name := range strings.SplitSeq(controllers, ",") {
		if name == "memory" {
			return true
		}
	}
	return false
}

// limitOf returns the least number in files of that name, of group and of those
// above it. In a container the folder of its own group may be where the root is
// mounted, whatever the group is called outside; what is not there is passed
// over.
func limitOf(root fs.FS, mount, group string, names ...string) int64 {
	least := int64(math.MaxInt64)
	for group = path.Clean("/" + group); ; group = path.Dir(group) {
		for _, name := range names {
			text, err := fs.ReadFile(root, path.Join(mount, group, name))
			if err != nil {
				continue
			}
			if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
				least = min(least, n)
			}
		}
		if group == "/" {
			return least
		}
	}
}
