package memory_test

import (
	"testing"
	"testing/fstest"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute/cmd/parachute/internal/memory"
)

func TestLimitIsTheLeastOfAllGroupsAbove(t *testing.T) {
	const v1None = "9223372036854771712\n"
	for name, tt := range map[string]struct {
		files map[string]string
		want  int64 // 0: none
	}{
		"nothing is mounted": {map[string]string{}, 0},
		"no limit": {map[string]string{
			"proc/self/cgroup":         "0::/\n",
			"sys/fs/cgroup/memory.max": "max\n",
		}, 0},
		"a container's own root": {map[string]string{
			"proc/self/cgroup":         "0::/\n",
			"sys/fs/cgroup/memory.max": "268435456\n",
		}, 256 << 20},
		"a unit of systemd": {map[string]string{
			"proc/self/cgroup": "0::/system.slice/parachute.service\n",
			"sys/fs/cgroup/system.slice/parachute.service/memory.max": "104857600\n",
			"sys/fs/cgroup/system.slice/memory.max":                   "max\n",
		}, 100 << 20},
		"the slice of a unit has less": {map[string]string{
			"proc/self/cgroup": "0::/a.slice/a-b.slice/parachute.service\n",
			"sys/fs/cgroup/a.slice/a-b.slice/parachute.service/memory.max": "104857600\n",
			"sys/fs/cgroup/a.slice/a-b.slice/memory.max":                   "max\n",
			"sys/fs/cgroup/a.slice/memory.max":                             "52428800\n",
		}, 50 << 20},
		"a group is slowed down before it is at its limit": {map[string]string{
			"proc/self/cgroup":            "0::/g\n",
			"sys/fs/cgroup/g/memory.max":  "104857600\n",
			"sys/fs/cgroup/g/memory.high": "83886080\n",
		}, 80 << 20},
		"version 1": {map[string]string{
			"proc/self/cgroup": "5:cpu,cpuacct:/other\n4:memory:/docker/abc\n",
			"sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": v1None,
			"sys/fs/cgroup/memory/docker/memory.limit_in_bytes":     "104857600\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":            v1None,
		}, 100 << 20},
		"version 1 in a container that sees its name outside": {map[string]string{
			"proc/self/cgroup":                           "4:memory:/docker/abc\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "104857600\n",
		}, 100 << 20},
		"version 1 without a limit": {map[string]string{
			"proc/self/cgroup":                           "4:memory:/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": v1None,
		}, 0},
		"both versions, with the memory in 1": {map[string]string{
			"proc/self/cgroup": "4:memory:/g\n0::/g\n",
			"sys/fs/cgroup/memory/g/memory.limit_in_bytes": "104857600\n",
		}, 100 << 20},
		"a process from outside of its root": {map[string]string{
			"proc/self/cgroup":         "0::/../../other\n",
			"sys/fs/cgroup/memory.max": "104857600\n",
		}, 100 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			root := make(fstest.MapFS)
			for path, text := range tt.files {
				root[path] = &fstest.MapFile{Data: []byte(text)}
			}
			got, ok := memory.Limit(root)
			is.Equal(ok, tt.want != 0)
			if ok {
				is.Equal(got, tt.want)
			}
		})
	}
}
