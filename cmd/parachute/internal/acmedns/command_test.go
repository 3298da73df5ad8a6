package acmedns_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/acmedns"
)

// script writes a shell script and returns its path.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "set-record")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// byCommand returns what sets records by a script, and its log.
func byCommand(t *testing.T, text string) (parachute.DNS, *bytes.Buffer) {
	t.Helper()
	log := new(bytes.Buffer)
	withoutTime := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{ReplaceAttr: withoutTime}))
	return acmedns.Config{Command: script(t, text), Always: true}.DNS(logger), log
}

func TestCommandGetsActionNameAndValueWithoutAShell(t *testing.T) {
	is := is.New(t)
	d, log := byCommand(t, `printf '%s|' "$@"; echo; echo "and this" >&2`)
	is.True(d.Always)
	is.NoErr(d.Present(t.Context(), "_acme-challenge.example.com", "a$(b) c"))
	is.NoErr(d.Cleanup(t.Context(), "_acme-challenge.example.com", "-x"))
	is.Equal(log.String(), `level=INFO msg="command for TXT records" action=present name=_acme-challenge.example.com said="present|_acme-challenge.example.com|a$(b) c|"
level=INFO msg="command for TXT records" action=present name=_acme-challenge.example.com said="and this"
level=INFO msg="command for TXT records" action=cleanup name=_acme-challenge.example.com said=cleanup|_acme-challenge.example.com|-x|
level=INFO msg="command for TXT records" action=cleanup name=_acme-challenge.example.com said="and this"
`)
}

func TestCommandThatFailsTellsItsLastLine(t *testing.T) {
	is := is.New(t)
	d, log := byCommand(t, "echo looking; echo 'no such zone'; exit 3")
	err := d.Present(t.Context(), "a.test", "v")
	is.True(err != nil)
	is.True(strings.HasSuffix(err.Error(), "/set-record present a.test: exit status 3: no such zone"))
	is.True(d.Cleanup(t.Context(), "a.test", "v") != nil)
	is.True(strings.Contains(log.String(), `level=WARN msg="a TXT record is left over" name=a.test value=v error=`))
}

func TestCommandIsEndedWithAllThatItHasStarted(t *testing.T) {
	is := is.New(t)
	file := filepath.Join(t.TempDir(), "pid")
	d, _ := byCommand(t, "sleep 1000 & echo $! > "+file+"; sleep 1000")
	pid := 0
	for limit := 200 * time.Millisecond; pid == 0; limit *= 2 { // until it was long enough for it to start one
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		err := d.Present(ctx, "a.test", "v")
		cancel()
		is.True(err != nil)
		is.True(strings.Contains(err.Error(), "it did not end in time: "))
		said, _ := os.ReadFile(file)
		pid, _ = strconv.Atoi(strings.TrimSpace(string(said)))
	}
	late := time.Now().Add(time.Minute)
	for hasEnded := false; !hasEnded; { // the signal may take a moment
		if time.Now().After(late) {
			t.Fatalf("process %d goes on", pid)
		}
		state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		hasEnded = err != nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) ||
			strings.Contains(string(state), ") Z ") // whoever has to wait for it does not
	}
}

func TestProcessThatTheCommandLeavesBehindHoldsUpNobody(t *testing.T) {
	is := is.New(t)
	d, log := byCommand(t, "echo done; sleep 40 & exit 0")
	began := time.Now()
	is.NoErr(d.Present(t.Context(), "a.test", "v"))
	is.True(time.Since(began) < 20*time.Second)
	is.True(strings.Contains(log.String(), "said=done"))
}

func TestOutputOfTheCommandIsBounded(t *testing.T) {
	is := is.New(t)
	d, log := byCommand(t, `i=0; while [ $i -lt 300 ]; do echo "line $i"; i=$((i+1)); done; head -c 100000 /dev/zero | tr '\0' x; printf '\377\n'`)
	is.NoErr(d.Present(t.Context(), "a.test", "v"))
	is.Equal(strings.Count(log.String(), "\n"), 100)
}

func TestBytesThatAreNoTextAreReplacedInTheLog(t *testing.T) {
	is := is.New(t)
	d, log := byCommand(t, `printf 'a\377b\n'`)
	is.NoErr(d.Present(t.Context(), "a.test", "v"))
	is.True(strings.Contains(log.String(), `said="a�b"`))
}

func TestCommandDoesNotSeeWhatIsForTheProxyAlone(t *testing.T) {
	is := is.New(t)
	for name, value := range map[string]string{
		"LISTEN_FDS": "1", "NOTIFY_SOCKET": "/run/x", "PARACHUTE_ACME_EAB_HMAC_KEY": "c2VjcmV0", "ACME_EAB_HMAC_KEY": "c2VjcmV0", "API_TOKEN": "for the command",
	} {
		t.Setenv(name, value)
	}
	d, log := byCommand(t, "env")
	is.NoErr(d.Present(t.Context(), "a.test", "v"))
	is.True(strings.Contains(log.String(), "API_TOKEN=for the command"))
	for _, hidden := range []string{"LISTEN_FDS", "NOTIFY_SOCKET", "HMAC_KEY"} {
		is.True(!strings.Contains(log.String(), hidden)) // hidden
	}
}

func TestWhatIsNoProgramIsTold(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	is.NoErr(os.WriteFile(plain, nil, 0o644))
	for path, want := range map[string]string{
		"set-record":                  `"set-record" is no absolute path`,
		"./set-record":                `"./set-record" is no absolute path`,
		"":                            `"" is no absolute path`,
		filepath.Join(dir, "missing"): "no such file or directory",
		plain:                         "want a file that may be executed",
		dir:                           "want a file that may be executed",
	} {
		err := acmedns.CheckCommand(path)
		is.True(err != nil)                              // path
		is.True(strings.Contains(fmt.Sprint(err), want)) // path
	}
	is.NoErr(acmedns.CheckCommand(script(t, "true")))
}
