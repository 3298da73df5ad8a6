package handover_test

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/cmd/parachute/internal/handover"
)

func TestStartedProcessHasTheOtherEndOfTheLink(t *testing.T) {
	is := is.New(t)
	said := filepath.Join(t.TempDir(), "said")
	p := handover.Program{
		Path: "/bin/sh",
		Args: []string{"parachute", "-c", `env >` + said + `; printf '\000\000\000\020{"kind":"ready"}' >&$_PARACHUTE_HANDOVER_FD`},
		Env:  []string{"HOME=/root", "_PARACHUTE_HANDOVER_FD=7", "PARACHUTE_BIND=127.0.0.1"},
	}
	started, err := p.Start("")
	is.NoErr(err)
	m, err := started.Link.Receive()
	is.NoErr(err)
	is.Equal(m.Kind, handover.KindReady)
	_, err = started.Link.Receive()
	is.Equal(err, io.EOF) // it has ended, and nobody else has that end
	<-started.Ended()
	is.NoErr(started.Err())
	is.NoErr(started.Link.Close())
	env, err := os.ReadFile(said)
	is.NoErr(err)
	is.True(strings.Contains(string(env), "PARACHUTE_BIND=127.0.0.1\n"))
	is.Equal(strings.Count(string(env), "_PARACHUTE_HANDOVER_FD="), 1) // not that of the process before
}

func TestKillTellsHowTheProcessHasEnded(t *testing.T) {
	is := is.New(t)
	p := handover.Program{Path: "/bin/sh", Args: []string{"parachute", "-c", "exec sleep 60"}}
	started, err := p.Start("")
	is.NoErr(err)
	defer started.Link.Close()
	err = started.Kill()
	is.True(err != nil)
	is.True(strings.Contains(err.Error(), "killed"))
	is.Equal(started.Err(), err)
	<-started.Ended()
}

func TestProgramThatOthersCouldHaveWrittenIsNotStarted(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	chmod := func(path string, mode os.FileMode) {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	link := func(to, name string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("good", 0o755)
	inOpen := write("open/program", 0o755)
	chmod(filepath.Dir(inOpen), 0o777)
	inSticky := write("sticky/program", 0o755)
	chmod(filepath.Dir(inSticky), 0o777|os.ModeSticky)
	linkInOpen := link(good, "links/program")
	chmod(filepath.Dir(linkInOpen), 0o777)
	foreign := write("foreign", 0o755)
	if os.Geteuid() == 0 {
		if err := os.Chown(foreign, 1, 1); err != nil {
			t.Fatal(err)
		}
	}

	for name, tt := range map[string]struct{ path, want string }{
		"ours":                                   {good, ""},
		"ours, by a link":                        {link(good, "link"), ""},
		"where everybody may write his own":      {inSticky, ""},
		"no absolute path":                       {"good", "no absolute path"},
		"nothing":                                {filepath.Join(dir, "none"), "no such file"},
		"a folder":                               {dir, "is no file"},
		"nobody may execute it":                  {write("text", 0o644), "is no program"},
		"its group may write it":                 {write("group", 0o775), "may be written by others"},
		"everybody may":                          {write("all", 0o757), "may be written by others"},
		"a link to that":                         {link(write("all2", 0o777), "link2"), "may be written by others"},
		"everybody may replace it":               {inOpen, "open may be written by others"},
		"everybody may replace the link":         {linkInOpen, "links may be written by others"},
		"somebody else's":                        {foreign, "belongs to user 1"},
		"a link in a good folder to an open one": {link(inOpen, "link3"), "open may be written by others"},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			if tt.path == foreign && os.Geteuid() != 0 {
				t.Skip("only root can give a file away")
			}
			started, err := handover.Program{Args: []string{"program"}}.Start(tt.path)
			if tt.want == "" {
				is.NoErr(err)
				<-started.Ended()
				is.NoErr(started.Link.Close())
				return
			}
			is.True(err != nil)
			is.True(strings.Contains(err.Error(), tt.want))
		})
	}
}

// What a link leads to when the next version is installed, is to be started.
func TestProgramIsWhatItWasCalledByWhileThatLeadsToIt(t *testing.T) {
	is := is.New(t)
	self, err := os.Executable()
	is.NoErr(err)
	dir := t.TempDir()
	link := filepath.Join(dir, "parachute")
	is.NoErr(os.Symlink(self, link))
	is.Equal(handover.ThisProgram([]string{link, "run"}, nil).Path, link)
	t.Chdir(dir)
	is.Equal(handover.ThisProgram([]string{"./parachute"}, nil).Path, link)
	t.Setenv("PATH", dir)
	is.Equal(handover.ThisProgram([]string{"parachute"}, nil).Path, link)

	other, err := exec.LookPath("/bin/true")
	is.NoErr(err)
	is.Equal(handover.ThisProgram([]string{other}, nil).Path, self) // it is another program by now
	is.Equal(handover.ThisProgram([]string{"nothing-there"}, nil).Path, self)
	p := handover.ThisProgram([]string{link, "run", "--http3"}, []string{"A=b"})
	is.Equal(p.Args, []string{link, "run", "--http3"})
	is.Equal(p.Env, []string{"A=b"})
}

func TestOnlyADescriptorIsInherited(t *testing.T) {
	is := is.New(t)
	conn, err := handover.Inherited(func(string) string { return "" })
	is.NoErr(err)
	is.Equal(conn, nil) // nobody has started this process in its place
	for _, value := range []string{"x", "2", "-1"} {
		_, err := handover.Inherited(func(string) string { return value })
		is.True(err != nil) // value
		is.True(strings.Contains(err.Error(), "is no descriptor"))
	}
}
