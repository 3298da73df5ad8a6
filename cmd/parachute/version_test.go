package main

import (
	"context"
	"encoding/json"
	"io"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/matryer/is"
)

func TestVersionTellsWhatIsKnownOfTheBuild(t *testing.T) {
	with := func(version string, settings ...debug.BuildSetting) *debug.BuildInfo {
		return &debug.BuildInfo{Main: debug.Module{Version: version}, Settings: settings}
	}
	revision := debug.BuildSetting{Key: "vcs.revision", Value: "1273bf1a2b3c4d5e6f708192a3b4c5d6e7f80912"}
	at := debug.BuildSetting{Key: "vcs.time", Value: "2026-11-24T23:46:00+01:00"}
	modified := debug.BuildSetting{Key: "vcs.modified", Value: "true"}
	clean := debug.BuildSetting{Key: "vcs.modified", Value: "false"}
	commit12 := "commit 1273bf1a2b3c of 2026-11-24"
	for _, test := range []struct {
		name   string
		linker string
		info   *debug.BuildInfo
		want   string
	}{
		{"nothing", "", nil, "parachute devel ("},
		{"the linker's alone, as without a repository", "v1.2.3", with("(devel)"), "parachute v1.2.3 ("},
		{"that of the module, as go install has it", "", with("v1.2.3"), "parachute v1.2.3 ("},
		{"the linker's wins", "v1.2.4", with("v1.2.3"), "parachute v1.2.4 ("},
		{"a commit", "v1.2.3", with("(devel)", revision, at, clean), "parachute v1.2.3 (" + commit12 + ", "},
		{"a commit and more", "v1.2.3", with("(devel)", revision, at, modified), "parachute v1.2.3 (" + commit12 + " with changes, "},
		{"a commit at no time", "v1.2.3", with("(devel)", revision), "parachute v1.2.3 (commit 1273bf1a2b3c, "},
	} {
		t.Run(test.name, func(t *testing.T) {
			is := is.New(t)
			rest := runtime.Version() + ", " + runtime.GOOS + "/" + runtime.GOARCH + ")"
			is.Equal(newBuild(test.linker, test.info).String(), test.want+rest)
		})
	}
}

func TestVersionIsToldToPrograms(t *testing.T) {
	is := is.New(t)
	var said strings.Builder
	nowhere := filepath.Join(t.TempDir(), "s")
	args := []string{"parachute", "version", "--json", "--socket", nowhere}
	is.Equal(run(context.Background(), args, nil, &said, io.Discard), exitDone)
	var fields map[string]any
	is.NoErr(json.Unmarshal([]byte(said.String()), &fields))
	is.Equal(fields["version"], versionName())
	is.Equal(fields["go"], runtime.Version())
	is.Equal(fields["platform"], runtime.GOOS+"/"+runtime.GOARCH)
	_, there := fields["proxy"]
	is.True(!there) // nobody answers
}
