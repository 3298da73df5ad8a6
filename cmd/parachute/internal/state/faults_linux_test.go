package state_test

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/state"
)

// childVariable makes the test binary do something in another process: save
// until it is killed, or look at what a disk does to a Store.
const childVariable = "STATE_TEST_CHILD"

func TestMain(m *testing.M) {
	dir := os.Getenv("STATE_TEST_DIR")
	var err error
	switch os.Getenv(childVariable) {
	case "":
		os.Exit(m.Run())
	case "save":
		err = saveForever(dir)
	case "no bytes":
		err = onFullDisk(dir, fillBytes)
	case "no files":
		err = onFullDisk(dir, fillFiles)
	case "read-only":
		err = onReadOnlyDisk(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func child(t *testing.T, what, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+what, "STATE_TEST_DIR="+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

// saveForever saves one generation after the other and prints each that has
// been saved.
func saveForever(dir string) error {
	s, err := state.Open(dir)
	if err != nil {
		return err
	}
	services, warnings, err := s.Load()
	if err != nil || len(warnings) > 0 {
		return fmt.Errorf("%v %q", err, warnings)
	}
	var generation uint64
	for _, service := range services {
		generation = service.Generation
	}
	for range 1_000_000 {
		generation++
		if err := s.Save([]parachute.Status{deployed("web", generation)}); err != nil {
			return err
		}
		fmt.Println(generation)
	}
	return errors.New("nobody killed us")
}

func TestKillAtAnyMomentLosesNothing(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	for range 10 {
		cmd := child(t, "save", dir)
		out, err := cmd.StdoutPipe()
		is.NoErr(err)
		is.NoErr(cmd.Start())
		lines := bufio.NewScanner(out)
		var acknowledged uint64
		for range 2 + rand.IntN(30) { // two, for the second keeps the first beside it
			is.True(lines.Scan()) // it saves
			acknowledged, err = strconv.ParseUint(lines.Text(), 10, 64)
			is.NoErr(err)
		}
		is.NoErr(cmd.Process.Kill())
		for lines.Scan() { // it may have got further
			acknowledged, err = strconv.ParseUint(lines.Text(), 10, 64)
			is.NoErr(err)
		}
		is.True(cmd.Wait() != nil) // it was killed
		got, warnings := load(t, dir)
		is.Equal(warnings, "") // the state is whole
		is.Equal(len(got), 1)
		is.True(got[0].Generation == acknowledged || got[0].Generation == acknowledged+1) // the last one, or that under way
		is.Equal(got[0], deployed("web", got[0].Generation))                              // and all of it
		is.Equal(names(t, dir), []string{"lock", current, previous})                      // no file is left over
	}
}

// onDisk runs a child with a disk of its own, which only it can see.
func onDisk(t *testing.T, what string) {
	t.Helper()
	cmd := child(t, what, t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	err := cmd.Run()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) {
		t.Skipf("no user namespaces here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestFullDiskChangesNothing(t *testing.T) {
	t.Run("no bytes", func(t *testing.T) { onDisk(t, "no bytes") })
	t.Run("no files", func(t *testing.T) { onDisk(t, "no files") })
}

func TestReadOnlyDirectoryIsRefused(t *testing.T) { onDisk(t, "read-only") }

// onFullDisk saves where fill has left no room.
func onFullDisk(dir string, fill func(fillers string) error) error {
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k,nr_inodes=16"); err != nil {
		return err
	}
	s, err := state.Open(dir)
	if err != nil {
		return err
	}
	if err := s.Save([]parachute.Status{deployed("web", 1)}); err != nil {
		return err
	}
	fillers := filepath.Join(dir, "fillers")
	if err := errors.Join(os.Mkdir(fillers, 0o700), fill(fillers)); !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("the disk does not fill: %v", err)
	}
	if err := s.Save([]parachute.Status{deployed("web", 2)}); !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("a save on a full disk: %v", err)
	}
	if err := s.Close(); err != nil {
		return err
	}
	s, err = state.Open(dir)
	if err != nil {
		return fmt.Errorf("a start on a full disk: %w", err)
	}
	got, warnings, err := s.Load()
	if err != nil || len(warnings) > 0 || len(got) != 1 || got[0].Generation != 1 {
		return fmt.Errorf("loaded %+v, %q, %v", got, warnings, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 3 { // the lock, the state, the fillers
		return fmt.Errorf("left over: %v, %v", entries, err)
	}
	if err := os.RemoveAll(fillers); err != nil {
		return err
	}
	return s.Save([]parachute.Status{deployed("web", 2)})
}

// fillBytes takes all bytes of a disk.
func fillBytes(fillers string) error {
	return os.WriteFile(filepath.Join(fillers, "0"), make([]byte, 1<<20), 0o600)
}

// fillFiles takes all files that a disk can have.
func fillFiles(fillers string) error {
	for i := range 1000 {
		if err := os.WriteFile(filepath.Join(fillers, strconv.Itoa(i)), nil, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func onReadOnlyDisk(dir string) error {
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		return err
	}
	s, err := state.Open(dir)
	if err != nil {
		return err
	}
	if err := errors.Join(s.Save(nil), s.Close()); err != nil {
		return err
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		return err
	}
	_, err = state.Open(dir)
	if !errors.Is(err, syscall.EROFS) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "--data-dir") {
		return fmt.Errorf("a start on a read-only disk: %v", err)
	}
	return nil
}
