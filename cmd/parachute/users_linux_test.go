package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/matryer/is"
)

// Users who are neither root nor nobody, and a group.
const (
	ci        = 54321
	visitor   = 54322
	deployers = 54399
)

// asUser runs a command line with the program itself as a user whose one group is
// that: as we ourselves where the tests do not run as root, for nobody else can become
// another.
func asUser(uid, gid uint32) launcher {
	if os.Getuid() != 0 {
		return asBinary
	}
	return func(t *testing.T, env environment, args ...string) *process {
		t.Helper()
		return start(t, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}, env, args)
	}
}

// A unit is a service of systemd, as far as it is needed to run it without.
type unit struct {
	args        []string // of the program
	env         environment
	runtime     string // its folder below /run
	runtimeMode os.FileMode
}

// unitOfTheDocuments reads the unit in docs/operating.md, which is that of
// examples/systemd, moved to a folder that has /run and /var/lib.
func unitOfTheDocuments(t *testing.T, root string) unit {
	t.Helper()
	text, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "# /etc/systemd/system/parachute.service\n")
	lines, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("docs/operating.md has no unit")
	}
	if unit, err := os.ReadFile("../../examples/systemd/parachute.service"); err != nil || !strings.HasSuffix(string(unit), "\n"+lines) {
		t.Fatalf("the unit in docs/operating.md is not that of examples/systemd (%v)", err)
	}
	u := unit{env: environment{"PARACHUTE_BIND": "127.0.0.1", "HTTP_PORT": "0", "HTTPS_PORT": "-1"}}
	for line := range strings.Lines(lines) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case "ExecStart":
			u.args = strings.Fields(value)[1:]
		case "Environment":
			variable, path, _ := strings.Cut(value, "=")
			u.env[variable] = root + path
		case "RuntimeDirectory":
			u.runtime = filepath.Join(root, "run", value)
		case "RuntimeDirectoryMode":
			if _, err := fmt.Sscanf(value, "%o", &u.runtimeMode); err != nil {
				t.Fatal(err)
			}
		}
	}
	return u
}

// start runs the unit as systemd does, with more arguments: as the user nobody, who
// owns its folders.
func (u unit) start(t *testing.T, root string, args ...string) {
	t.Helper()
	state := filepath.Dir(u.env["PARACHUTE_DATA_DIR"])
	for folder, mode := range map[string]os.FileMode{root: 0o755, filepath.Join(root, "run"): 0o755, u.runtime: u.runtimeMode, state: 0o755} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(folder, mode); err != nil {
			t.Fatal(err)
		}
	}
	launch := asBinary
	if os.Getuid() == 0 {
		for _, folder := range []string{u.runtime, state} {
			if err := os.Chown(folder, nobody, nobody); err != nil {
				t.Fatal(err)
			}
		}
		launch = func(t *testing.T, env environment, args ...string) *process {
			t.Helper()
			credential := &syscall.Credential{Uid: nobody, Gid: nobody, Groups: []uint32{deployers}} // SupplementaryGroups=
			return start(t, &syscall.SysProcAttr{Credential: credential}, env, args)
		}
	}
	startProxy(t, launch, u.env, append(u.args[1:], args...)...)
}

// deployersOr returns the number of the group, or of our own one where we cannot be in
// others.
func deployersOr() string {
	if os.Getuid() != 0 {
		return fmt.Sprint(os.Getgid())
	}
	return fmt.Sprint(deployers)
}

func TestProxyOfTheSystemdUnitIsThereForRootAndForItsOwnUser(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	root := filepath.Dir(newEnvironment(t)["PARACHUTE_SOCKET"])
	u := unitOfTheDocuments(t, root)
	is.Equal(u.args, []string{"run"})
	u.start(t, root)
	socket := u.env["PARACHUTE_SOCKET"]
	is.Equal(asBinary(t, nil, "list", "--socket", socket).wait(t), 0) // sudo parachute list
	is.Equal(asUser(nobody, nobody)(t, nil, "list", "--socket", socket).wait(t), 0)
	app := newApp(t, "web")
	is.Equal(asBinary(t, environment{"PARACHUTE_SOCKET": socket}, "deploy", "web", "--target", app.address).wait(t), 0)
	if os.Getuid() == 0 {
		refused := asUser(visitor, visitor)(t, nil, "list", "--socket", socket)
		is.Equal(refused.wait(t), 5)
		is.True(strings.Contains(refused.stderr.String(), "permission denied"))
		is.True(strings.Contains(refused.stderr.String(), "--socket-group"))
	}
}

func TestMembersOfTheSocketsGroupSpeakToAProxyOfSomebodyElse(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	root := filepath.Dir(newEnvironment(t)["PARACHUTE_SOCKET"])
	u := unitOfTheDocuments(t, root)
	u.start(t, root, "--socket-group", deployersOr())
	socket := u.env["PARACHUTE_SOCKET"]
	app := newApp(t, "web")
	is.Equal(asUser(ci, deployers)(t, nil, "deploy", "web", "--target", app.address, "--socket", socket).wait(t), 0)
	is.Equal(asUser(ci, deployers)(t, environment{"PARACHUTE_SOCKET": socket}, "list").wait(t), 0)
	if os.Getuid() == 0 {
		is.Equal(asUser(ci, ci)(t, nil, "list", "--socket", socket).wait(t), 5)
	}
}

func TestUserOfTheCICanDeployAndOthersCanOnlyLook(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	root := filepath.Dir(newEnvironment(t)["PARACHUTE_SOCKET"])
	u := unitOfTheDocuments(t, root)
	u.start(t, root, "--socket-group", deployersOr(), "--socket-deployers", fmt.Sprint(ci))
	env := environment{"PARACHUTE_SOCKET": u.env["PARACHUTE_SOCKET"]}
	app := newApp(t, "web")
	args := []string{"deploy", "web", "--target", app.address, "--request-header", "set X-Key: s3cr3t"}
	is.Equal(asUser(ci, deployers)(t, env, args...).wait(t), 0)
	logs := asBinary(t, env, "logs", "web")
	is.Equal(logs.wait(t), 0) // root, or the owner
	is.True(strings.Contains(logs.stdout.String(), "switched"))
	for _, args := range [][]string{{"upgrade"}, {"run", "--takeover", "--data-dir", u.env["PARACHUTE_DATA_DIR"], "--http-port", "0"}} {
		refused := asUser(ci, deployers)(t, env, args...)
		is.Equal(refused.wait(t), 1)
		said := refused.stderr.String()
		is.True(strings.Contains(said, "user 54321 may not replace the proxy: that is for root, user 65534")) // whoever may deploy
		is.True(strings.Contains(said, "as with sudo\n"))                                                     // and no flag changes that
	}
	all := asBinary(t, env, "list", "--json")
	is.Equal(all.wait(t), 0)
	is.True(strings.Contains(all.stdout.String(), "s3cr3t"))
	if os.Getuid() != 0 {
		return
	}
	looks := asUser(visitor, deployers)
	seen := looks(t, env, "list", "--json")
	is.Equal(seen.wait(t), 0)
	is.True(strings.Contains(seen.stdout.String(), app.address))
	is.True(!strings.Contains(seen.stdout.String(), "s3cr3t"))
	for _, args := range [][]string{
		{"status"}, {"certificates"}, {"version"},
	} {
		is.Equal(looks(t, env, args...).wait(t), 0)
	}
	for _, args := range [][]string{
		args, {"remove", "web"}, {"pause", "web"}, {"stop", "web"}, {"resume", "web"}, {"rollout", "deploy", "web", "--target", app.address},
		{"rollout", "set", "web", "--percent", "1"}, {"rollout", "stop", "web"}, {"logs"}, {"logs", "--follow"},
	} {
		refused := looks(t, env, args...)
		is.Equal(refused.wait(t), 1)
		said := refused.stderr.String()
		is.True(strings.Contains(said, "user 54322 may neither make changes nor see the log: that is for root, user 65534")) // who runs the proxy
		is.True(strings.Contains(said, ", user 54321"))
		is.True(strings.Contains(said, "--socket-deployers"))
	}
	printed := looks(t, env, append(args, "--json")...)
	is.Equal(printed.wait(t), 1)
	is.True(strings.Contains(printed.stdout.String(), `"code":"forbidden"`))
	is.Equal(asUser(visitor, visitor)(t, env, "list").wait(t), 5) // whom the group does not let in
}
