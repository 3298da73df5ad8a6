package proxytest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// BuildEtcd builds the etcd of internal/e2e, as Build does. root is the folder of the
// repository.
func BuildEtcd(path, root string) error {
	return Build(path, filepath.Join(root, "internal", "e2e"), "./etcd")
}

// An Etcd is the process of a member of an etcd, with a folder of its own.
type Etcd struct {
	URL string // for clients

	program string
	args    []string
	dir     string

	// Of the process that runs now.
	cmd   *exec.Cmd
	said  *Output
	ended chan struct{}
}

// StartEtcd starts an etcd of one member, the program at path, with args beside those that
// it needs in any case, and returns when it serves. It is killed when the test ends. With
// --cert-file among args, its URL begins with https.
func StartEtcd(t testing.TB, path string, args ...string) *Etcd {
	t.Helper()
	return StartEtcdMembers(t, 1, path, args...)[0]
}

// StartEtcdMembers is StartEtcd for an etcd of n members.
func StartEtcdMembers(t testing.TB, n int, path string, args ...string) []*Etcd {
	t.Helper()
	scheme := "http"
	if slices.ContainsFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "--cert-file") }) {
		scheme = "https"
	}
	var members []*Etcd
	var cluster []string
	for i := range n {
		name, peer := fmt.Sprintf("member-%d", i), "http://"+FreeAddress(t)
		e := &Etcd{URL: scheme + "://" + FreeAddress(t), program: path, dir: filepath.Join(t.TempDir(), "data")}
		e.args = append([]string{
			"--name", name, "--data-dir", e.dir, "--unsafe-no-fsync",
			"--listen-client-urls", e.URL, "--advertise-client-urls", e.URL,
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
		}, args...)
		members, cluster = append(members, e), append(cluster, name+"="+peer)
	}
	for _, e := range members {
		e.args = append(e.args, "--initial-cluster", strings.Join(cluster, ","))
		e.launch(t)
		t.Cleanup(e.Kill)
	}
	for _, e := range members { // each waits for most of the others
		e.awaitReady(t)
	}
	return members
}

// Start starts the process again, which has been killed, at the same address and with what
// it had. It returns when that serves.
func (e *Etcd) Start(t testing.TB) {
	t.Helper()
	e.launch(t)
	e.awaitReady(t)
}

func (e *Etcd) launch(t testing.TB) {
	t.Helper()
	e.cmd, e.said, e.ended = exec.Command(e.program, e.args...), new(Output), make(chan struct{})
	e.cmd.Stdout, e.cmd.Stderr = e.said, e.said
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go e.reap()
}

func (e *Etcd) awaitReady(t testing.TB) {
	t.Helper()
	isReady := func(line string) bool { return strings.Contains(line, "ready to serve client requests") }
	if _, err := e.said.Await(e.ended, time.Minute, isReady); err != nil {
		e.Kill()
		t.Fatalf("etcd: %v; it said:\n%s", err, e.said)
	}
}

func (e *Etcd) reap() {
	defer close(e.ended)
	_ = e.cmd.Wait() // it is killed
}

// Kill ends the process at once, and returns when it has ended.
func (e *Etcd) Kill() {
	_ = e.cmd.Process.Kill() // it may have ended
	<-e.ended
}

// Forget loses all that a process had which has been killed.
func (e *Etcd) Forget() error { return os.RemoveAll(e.dir) }

// Freeze stops the process: its connections stay, and nobody answers.
func (e *Etcd) Freeze() error { return e.cmd.Process.Signal(syscall.SIGSTOP) }

// Thaw has a process that was stopped go on.
func (e *Etcd) Thaw() error { return e.cmd.Process.Signal(syscall.SIGCONT) }
