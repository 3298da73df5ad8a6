package main_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// pidOf returns the pid of the proxy that answers.
func pidOf(t *testing.T, env environment) int {
	t.Helper()
	p := inProcess(t, env, "version")
	if p.wait(t) != 0 {
		t.Fatal(p.stderr)
	}
	_, rest, _ := strings.Cut(p.stdout.String(), "(pid ")
	var pid int
	if _, err := fmt.Sscanf(rest, "%d", &pid); err != nil {
		t.Fatal(p.stdout)
	}
	return pid
}

// asPredecessor is asBinary for a process that others take the place of.
func asPredecessor(t *testing.T, env environment, args ...string) *process {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return startPredecessor(t, exec.Command(path, args...), env)
}

// startPredecessor starts a process that others take the place of. They have its output, and
// it is waited for without them.
func startPredecessor(t *testing.T, cmd *exec.Cmd, env environment) *process {
	t.Helper()
	said, says, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer says.Close()
	p := startCommand(t, cmd, env, says, says)
	go func() {
		defer said.Close()
		io.Copy(p.stdout, said)
	}()
	return p
}

// killNext kills the process that has taken the place of first, and returns when that has
// taken up again.
func killNext(t *testing.T, env environment, first *process) {
	t.Helper()
	if err := syscall.Kill(pidOf(t, env), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	first.stdout.await(t, first, "taking up again")
	if pid := pidOf(t, env); pid != first.pid {
		t.Fatalf("process %d answers, and not %d", pid, first.pid)
	}
}

// endProxy has the proxy that answers end when the test does, whichever process it is.
func endProxy(t *testing.T, env environment) {
	t.Helper()
	t.Cleanup(func() { syscall.Kill(pidOf(t, env), syscall.SIGTERM) })
}

// startServing starts a proxy that serves an app, and that ends when the test does,
// whichever process it is by then.
func startServing(t *testing.T, launch launcher, name string) (env environment, first *process, address string, a *app) {
	t.Helper()
	env = newEnvironment(t)
	first, address = startProxy(t, launch, env)
	endProxy(t, env)
	a = newApp(t, name)
	if deploy(t, env, a) != 0 {
		t.Fatal("the app is not deployed")
	}
	return env, first, address, a
}

// answerAt returns what a new client is answered at an address.
func answerAt(t *testing.T, address string) string {
	t.Helper()
	answer, err := get(newClient(t), address, "localhost", "/")
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func TestTwentyUpgradesUnderLoadCostNobodyARequest(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env, first, address, _ := startServing(t, asBinary, "web-0")

	const sockets, events, upgrades = 10, 5, 20
	keepAlive, streams := startLoad(address, 16), startAudience(t, address, sockets, events)
	var fresh crowd // with one request on each connection
	stop := make(chan struct{})
	fresh.start(1, func(_ int, got *atomic.Int64) error {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
		for {
			select {
			case <-stop:
				return nil
			default:
			}
			if answer, err := get(client, address, "localhost", "/"); err != nil || answer != "200 web-0" {
				return fmt.Errorf("%q: %w", answer, err)
			}
			got.Add(1)
		}
	})
	streams.awaitMore(t, 1) // all of them are there
	pids := map[int]bool{first.pid: true}
	for i := range upgrades {
		up := inProcess(t, env, "upgrade", "--wait")
		if up.wait(t) != 0 {
			t.Fatal(up.stderr)
		}
		pids[pidOf(t, env)] = true
		// Whoever says nothing until the process after the next one is there may be hung
		// up on. So each has its second answer since then, and has been told by the first.
		keepAlive.awaitMore(t, 2)
		fresh.awaitMore(t, 2)
		streams.await(t, func() bool { return streams.reopens.Load() >= int64((i+1)*(sockets+events)) })
		streams.awaitMore(t, 4)
	}
	close(stop)
	fresh.done.Wait()
	is.NoErr(fresh.failed())
	served, errs := keepAlive.stop()
	is.NoErr(errs)
	is.True(served >= 100)          // there was a load
	is.Equal(len(pids), upgrades+1) // each was another process
	is.NoErr(streams.stop())        // each ended in good order, and the next began
	is.True(streams.all() >= 1000)
}

// The old process has to go on with them, and with nothing else, when its requests are done.
func TestStreamsOutliveAnUpgradeForTheirTime(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	_, address := startProxy(t, asBinary, env)
	endProxy(t, env)
	a := newApp(t, "web")
	is.Equal(inProcess(t, env, "deploy", a.address, "--stream-drain-timeout", "1h").wait(t), 0)
	var streams []*stream
	for _, open := range []func(string) (*stream, error){talk, listen} {
		s, err := open(address)
		is.NoErr(err)
		defer s.conn.Close()
		takePart(t, s, 5)
		streams = append(streams, s)
	}
	is.Equal(inProcess(t, env, "upgrade").wait(t), 0)
	for _, s := range streams {
		takePart(t, s, 20)
	}
	refused := inProcess(t, env, "upgrade")
	is.Equal(refused.wait(t), 1)
	is.True(strings.Contains(refused.stderr.String(), "2 requests or streams")) // that the old process has

	// What replaces the version ends them, in the old process too.
	is.Equal(inProcess(t, env, "deploy", newApp(t, "next").address, "--stream-drain-timeout", "0").wait(t), 0)
	for _, s := range streams {
		err := s.next()
		for err == nil { // what was on its way
			err = s.next()
		}
		is.True(errors.Is(err, errEnded))
	}
	is.Equal(inProcess(t, env, "upgrade", "--wait").wait(t), 0) // nothing is left that would take an hour
}

// begunStream returns a stream that the proxy's old process will have for long.
func begunStream(t *testing.T, env environment, address string) *stream {
	t.Helper()
	if inProcess(t, env, "deploy", newApp(t, "web").address, "--stream-drain-timeout", "1h").wait(t) != 0 {
		t.Fatal("the app is not deployed")
	}
	s, err := talk(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.conn.Close() })
	takePart(t, s, 1)
	return s
}

func TestPortsAreFreeWhenTheNewProcessEndsWhileTheOldOneHasStreams(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	port, metrics := proxytest.FreePort(t), proxytest.FreePort(t)
	first, address := startProxy(t, asBinary, env, "--http-port", port, "--metrics-port", metrics, "--shutdown-timeout", "100ms")
	s := begunStream(t, env, address)
	is.Equal(inProcess(t, env, "upgrade").wait(t), 0)
	is.NoErr(syscall.Kill(pidOf(t, env), syscall.SIGTERM))
	first.stdout.await(t, first, `"msg":"stopping"`) // the new process says so, whose output is the same

	// Nobody is refused for ever, or waits where nobody accepts: the next one has the ports.
	_, same := startProxy(t, asBinary, env, "--http-port", port, "--metrics-port", metrics)
	is.Equal(same, address)
	is.Equal(answerAt(t, address), "200 web")
	is.Equal(readiness(metrics), "200")
	err := s.next()
	for err == nil {
		err = s.next() // what the process had that was told to end, and the one before it, ends with it
	}
	is.True(errors.Is(err, errEnded))
}

func TestSignalEndsTheOldProcessOfAnUpgradeWithinTheShutdownTimeout(t *testing.T) {
	t.Parallel()
	for name, takesUp := range map[string]bool{"that drains": false, "that has taken up again": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			env := newEnvironment(t)
			first, address := startProxy(t, asPredecessor, env, "--shutdown-timeout", "100ms")
			if !takesUp {
				endProxy(t, env)
			}
			s := begunStream(t, env, address)
			is.Equal(inProcess(t, env, "upgrade").wait(t), 0)
			if takesUp {
				killNext(t, env, first)
			}
			takePart(t, s, 1)
			is.NoErr(first.signal(syscall.SIGTERM))
			is.Equal(first.wait(t), 0)             // in good order
			is.True(errors.Is(s.next(), errEnded)) // what would have taken an hour got a Close frame
		})
	}
}

func TestDeployAfterAnUpgradeWaitsForTheOldProcess(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env, _, address, old := startServing(t, asBinary, "old")
	next := newApp(t, "next")
	slow := hold(t, address, old)
	is.Equal(inProcess(t, env, "upgrade").wait(t), 0)

	refused := inProcess(t, env, "upgrade")
	is.Equal(refused.wait(t), 1)
	is.True(strings.Contains(refused.stderr.String(), "which may take")) // it says how long
	waiting := inProcess(t, env, "deploy", next.address)
	waiting.stdout.await(t, waiting, "switched")
	is.Equal(answerAt(t, address), "200 next")
	select {
	case <-waiting.ended:
		t.Fatal("it did not wait")
	case <-time.After(300 * time.Millisecond):
	}
	old.release <- struct{}{}
	is.Equal(<-slow, "200 old")
	is.Equal(waiting.wait(t), 0)
}

// Whoever has lost the command that waits for the end has nothing else to go by.
func TestWhatTheOldProcessDrainsIsUnderWayForTheNewOne(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env, _, address, old := startServing(t, asBinary, "old")
	slow := hold(t, address, old)
	waiting := inProcess(t, env, "deploy", newApp(t, "next").address)
	waiting.stdout.await(t, waiting, "switched")
	is.Equal(inProcess(t, env, "upgrade").wait(t), 0)

	changes := list(t, env)[0].Live.Changes
	is.Equal(len(changes), 1)
	is.Equal(changes[0].Kind, parachute.EventDraining)
	is.Equal(changes[0].Generation, uint64(2))
	is.Equal(changes[0].Requests, int64(1))
	old.release <- struct{}{}
	is.Equal(<-slow, "200 old")
	is.Equal(waiting.wait(t), 0)
	is.Equal(len(list(t, env)[0].Live.Changes), 0)
}

func TestUpgradeWaitsForTheLastOneWhereItIsToldTo(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env, first, address, a := startServing(t, asPredecessor, "web")
	slow := hold(t, address, a)
	is.Equal(inProcess(t, env, "upgrade").wait(t), 0)
	second := pidOf(t, env)
	waiting := inProcess(t, env, "upgrade", "--wait", "--json")
	select {
	case <-waiting.ended:
		t.Fatal("it did not wait: ", waiting.stderr)
	case <-first.ended:
		t.Fatal("the process has ended, and its request has not")
	case <-time.After(300 * time.Millisecond):
	}
	is.Equal(pidOf(t, env), second)
	a.release <- struct{}{}
	is.Equal(<-slow, "200 web")
	is.Equal(waiting.wait(t), 0)
	is.Equal(first.wait(t), 0) // it is not needed any more, and ends in good order
	var done struct {
		PID      int
		Previous struct{ PID int }
	}
	is.NoErr(json.Unmarshal([]byte(waiting.stdout.String()), &done))
	is.Equal(done.Previous.PID, second)
	is.Equal(done.PID, pidOf(t, env))
}

func TestOldProcessTakesUpAgainIfTheNewOneDies(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env, first, address, a := startServing(t, asBinary, "a")
	b := newApp(t, "b")
	is.Equal(inProcess(t, env, "upgrade").wait(t), 0)
	is.Equal(deploy(t, env, b), 0) // the old process follows
	killNext(t, env, first)
	is.Equal(answerAt(t, address), "200 b")
	is.Equal(deploy(t, env, a), 0) // and it saves
}

func TestUpgradeThatFailsChangesNothing(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	first, address := startProxy(t, asBinary, env)
	a := newApp(t, "web")
	is.Equal(deploy(t, env, a), 0)
	open, err := os.CreateTemp(t.TempDir(), "parachute")
	is.NoErr(err)
	is.NoErr(open.Chmod(0o777))
	is.NoErr(open.Close())
	for path, want := range map[string]string{
		"/bin/false":     "ended before it served",
		"/nowhere/there": "no such file",
		open.Name():      "may be written by others",
	} {
		up := inProcess(t, env, "upgrade", path)
		is.Equal(up.wait(t), 1)
		is.True(strings.Contains(up.stderr.String(), want)) // why
	}
	is.Equal(inProcess(t, env, "upgrade", "parachute").wait(t), 2) // no absolute path

	state := filepath.Join(env["PARACHUTE_DATA_DIR"], "state.json")
	saved, err := os.ReadFile(state)
	is.NoErr(err)
	newer := strings.Replace(string(saved), `"version": 1`, `"version": 99`, 1)
	is.NoErr(os.WriteFile(state, []byte(newer), 0o600))
	up := inProcess(t, env, "upgrade")
	is.Equal(up.wait(t), 1)
	is.True(strings.Contains(up.stderr.String(), "newer version"))
	left, err := os.ReadFile(state)
	is.NoErr(err)
	is.Equal(string(left), newer) // it was not set aside
	is.Equal(pidOf(t, env), first.pid)
	is.Equal(answerAt(t, address), "200 web")
}

func TestTakeoverServesAtTheSocketsOfTheOther(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	first, address := startProxy(t, asBinary, env)
	a := newApp(t, "web")
	is.Equal(deploy(t, env, a), 0)
	waiting, err := net.Dial("tcp", address)
	is.NoErr(err)
	defer waiting.Close()
	second, same := startProxy(t, asBinary, env, "--takeover")
	is.Equal(same, address)
	is.Equal(pidOf(t, env), second.pid)
	is.Equal(answerAt(t, address), "200 web")

	third, _ := startProxy(t, asBinary, env, "--takeover")
	is.Equal(pidOf(t, env), third.pid)
	is.Equal(first.wait(t), 0) // in good order, when it is not needed any more
}

func TestTakeoverWhereNothingRunsStartsAsAlways(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t).with(environment{"PARACHUTE_TAKEOVER": "true"})
	first, address := startProxy(t, asBinary, env)
	is.Equal(deploy(t, env, newApp(t, "web")), 0)
	is.Equal(answerAt(t, address), "200 web")

	other := asBinary(t, env.with(environment{"PARACHUTE_DATA_DIR": env["PARACHUTE_DATA_DIR"] + "2"}), "run")
	is.Equal(other.wait(t), 1)
	is.True(strings.Contains(other.stderr.String(), "has another data directory"))
	is.Equal(pidOf(t, env), first.pid) // which goes on
}

func TestTakeoverWithAnotherPortGivesTheOldOneUp(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	metrics := proxytest.FreePort(t)
	first, address := startProxy(t, asBinary, env, "--http-port", proxytest.FreePort(t), "--metrics-port", metrics)
	is.Equal(deploy(t, env, newApp(t, "web")), 0)
	second, other := startProxy(t, asBinary, env, "--takeover", "--http-port", proxytest.FreePort(t))
	is.True(other != address)
	is.Equal(answerAt(t, other), "200 web")
	for _, old := range []string{address, "127.0.0.1:" + metrics} {
		is.NoErr(awaitRefusal(old)) // nobody waits there for the old process to let go of it
	}
	is.Equal(pidOf(t, env), second.pid)

	killNext(t, env, first)
	is.Equal(answerAt(t, address), "200 web") // which serves there again
	is.Equal(readiness(metrics), "200")
}

// awaitRefusal returns nil when clients are refused at an address. Until then they have to
// be answered.
func awaitRefusal(address string) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	for {
		_, err := get(client, address, "localhost", "/")
		switch {
		case errors.Is(err, syscall.ECONNREFUSED):
			return nil
		case errors.Is(err, syscall.ECONNRESET): // it was in the queue when that was closed
		case err != nil:
			return err
		}
	}
}

func TestOldProcessThatIsToldToEndLetsGoOfAllPorts(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	first, address := startProxy(t, asBinary, env, "--http-port", proxytest.FreePort(t))
	second, _ := startProxy(t, asBinary, env, "--takeover", "--http-port", proxytest.FreePort(t))
	is.NoErr(first.signal(syscall.SIGTERM)) // it would be there to take up again for a while
	is.Equal(first.wait(t), 0)
	is.Equal(pidOf(t, env), second.pid)
	_, err := net.Dial("tcp", address)
	is.True(errors.Is(err, syscall.ECONNREFUSED))
}

func TestLogIsFollowedOverAnUpgrade(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env, _, address, _ := startServing(t, asBinary, "web")
	following := inProcess(t, env, "logs", "--follow")
	following.stdout.await(t, following, `"msg":"switched"`) // it is there
	for _, path := range []string{"/first", "/second"} {
		is.Equal(inProcess(t, env, "upgrade", "--wait").wait(t), 0)
		answer, err := get(newClient(t), address, "localhost", path)
		is.NoErr(err)
		is.Equal(answer, "200 web")
		following.stdout.await(t, following, `"path":"`+path+`"`)
	}
	is.Equal(strings.Count(following.stdout.String(), `"path":"/first"`), 1)     // no line comes twice
	is.Equal(strings.Count(following.stdout.String(), `"msg":"taking over"`), 2) // and none is missing of those at the beginning
	following.interrupt()
	is.Equal(following.wait(t), 0)
}
