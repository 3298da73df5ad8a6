package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

type versionCommand struct {
	JSON bool `name:"json" negatable:"" help:"Print it as JSON."`
	remoteFlags
}

// Help explains which versions are printed.
func (versionCommand) Help() string {
	return `The first line is about this program. If a proxy answers, the second line is about that proxy, which has the older version until it is restarted after an update.`
}

func (versionCommand) Examples() string {
	return `
# Print what a report about a problem should say.
parachute version`
}

func (c *versionCommand) Run(ctx context.Context, p *program) error {
	b, proxy := currentBuild(), c.proxy(ctx, p)
	if c.JSON {
		return p.printJSON(struct {
			build
			Proxy *runningProxy `json:"proxy,omitempty"`
		}{b, proxy})
	}
	fmt.Fprintln(p.stdout, b)
	if proxy != nil {
		fmt.Fprintf(p.stdout, "proxy %s (pid %d)\n", printable(proxy.Version), proxy.PID)
	}
	return nil
}

// A runningProxy is the version and the pid of the proxy that answers.
type runningProxy struct {
	Version string `json:"version"`
	PID     int    `json:"pid"`
}

// proxy returns the proxy on the control socket, or nil if none answers soon.
func (c *versionCommand) proxy(ctx context.Context, p *program) *runningProxy {
	var answer control.Version
	err := c.queryBriefly(ctx, p, func(ctx context.Context, client *control.Client) (err error) {
		answer, err = client.Version(ctx)
		return err
	})
	if err != nil {
		return nil
	}
	return &runningProxy{answer.Version, answer.PID}
}

// versionName returns the version that the linker set, or else that of the
// module.
func versionName() string { return currentBuild().Version }

// A build describes how a program was built. The commit is known only if it was
// built in a git repository.
type build struct {
	Version  string    `json:"version"`
	Commit   string    `json:"commit,omitempty"`
	Time     time.Time `json:"time,omitzero"`      // of the commit
	Modified bool      `json:"modified,omitempty"` // there were uncommitted changes
	Go       string    `json:"go"`
	Platform string    `json:"platform"`
}

// currentBuild returns the build of this program.
func currentBuild() build {
	info, _ := debug.ReadBuildInfo()
	return newBuild(version, info)
}

// newBuild returns the build of a program with the version that the linker set,
// which may be empty, and the build info of Go, which may be nil.
func newBuild(version string, info *debug.BuildInfo) build {
	b := build{
		Version:  version,
		Go:       runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	if info == nil {
		info = &debug.BuildInfo{}
	}
	if b.Version == "" && info.Main.Version != "(devel)" {
		b.Version = info.Main.Version
	}
	if b.Version == "" {
		b.Version = "devel"
	}
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			b.Commit = setting.Value
		case "vcs.time":
			b.Time, _ = time.Parse(time.RFC3339, setting.Value)
		case "vcs.modified":
			b.Modified = setting.Value == "true"
		}
	}
	return b
}

func (b build) String() string {
	var about []string
	if b.Commit != "" {
		commit := fmt.Sprintf("commit %.12s", b.Commit)
		if !b.Time.IsZero() {
			commit += b.Time.UTC().Format(" of 2006-01-02")
		}
		if b.Modified {
			commit += " with changes"
		}
		about = append(about, commit)
	}
	about = append(about, b.Go, b.Platform)
	return fmt.Sprintf("parachute %s (%s)", b.Version, strings.Join(about, ", "))
}
