package memory

import (
	"io/fs"
	"math"
	"path"
	"strconv"
	"strings"
)

// Limit returns how much memory this process may use: the lowest limit of its
// control groups and of their parents, such as those of a container, of a systemd
// unit or of a slice. Limit reports false if there is no limit. root is the root
// of the file system.
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
		case controllers == "" && fields[0] == "0": // cgroup v2, possibly beside v1
			least = min(least, limitOf(root, "sys/fs/cgroup", group, "memory.max", "memory.high"))
			least = min(least, limitOf(root, "sys/fs/cgroup/unified", group, "memory.max", "memory.high"))
		case hasMemory(controllers):
			least = min(least, limitOf(root, "sys/fs/cgroup/memory", group, "memory.limit_in_bytes"))
		}
	}
	// cgroup v1 expresses no limit as a number larger than any memory.
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

// limitOf returns the lowest number in the files of those names, of group and of
// its parents. It skips missing files: in a container, the mount may begin at the
// container's own group, whatever its path is outside.
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
