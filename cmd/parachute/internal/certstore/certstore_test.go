package certstore_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute/cmd/parachute/internal/certstore"
	"golang.org/x/crypto/acme/autocert"
)

func TestFolderKeepsWhatIsPut(t *testing.T) {
	is := is.New(t)
	dir := filepath.Join(t.TempDir(), "a", "certificates")
	f := certstore.At(dir)
	var cache autocert.Cache = f
	_, err := cache.Get(t.Context(), "app1.example.com")
	is.Equal(err, autocert.ErrCacheMiss) // also while there is no folder
	is.NoErr(cache.Delete(t.Context(), "app1.example.com"))

	is.NoErr(cache.Put(t.Context(), "app1.example.com", []byte("old")))
	is.NoErr(cache.Put(t.Context(), "app1.example.com", []byte("new")))
	got, err := cache.Get(t.Context(), "app1.example.com")
	is.NoErr(err)
	is.Equal(string(got), "new")
	got, err = autocert.DirCache(dir).Get(t.Context(), "app1.example.com")
	is.NoErr(err)
	is.Equal(string(got), "new") // it is laid out as autocert's own

	is.NoErr(cache.Delete(t.Context(), "app1.example.com"))
	_, err = cache.Get(t.Context(), "app1.example.com")
	is.Equal(err, autocert.ErrCacheMiss)
	left, err := os.ReadDir(dir)
	is.NoErr(err)
	is.Equal(len(left), 0) // nothing temporary either
}

func TestKeysAreForTheirOwnerAlone(t *testing.T) {
	is := is.New(t)
	dir := filepath.Join(t.TempDir(), "certificates")
	f, err := certstore.Open(dir)
	is.NoErr(err)
	is.NoErr(f.Put(t.Context(), "app1.example.com", []byte("a key")))
	unlock, err := f.Lock(t.Context(), "app1.example.com")
	is.NoErr(err)
	unlock()
	info, err := os.Stat(dir)
	is.NoErr(err)
	is.Equal(info.Mode(), fs.ModeDir|0o700)
	files, err := os.ReadDir(dir)
	is.NoErr(err)
	is.Equal(len(files), 2) // the key and the lock
	for _, file := range files {
		info, err := file.Info()
		is.NoErr(err)
		is.Equal(info.Mode(), fs.FileMode(0o600))
	}
}

func TestKeyCannotLeaveTheFolder(t *testing.T) {
	is := is.New(t)
	dir := filepath.Join(t.TempDir(), "certificates")
	f := certstore.At(dir)
	is.NoErr(f.Put(t.Context(), "../../outside", []byte("x")))
	_, err := os.Stat(filepath.Join(dir, "outside"))
	is.NoErr(err)
}

func TestPutThatIsGivenUpChangesNothing(t *testing.T) {
	is := is.New(t)
	f := certstore.At(t.TempDir())
	is.NoErr(f.Put(t.Context(), "app1.example.com", []byte("old")))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	is.True(errors.Is(f.Put(ctx, "app1.example.com", []byte("new")), context.Canceled))
	got, err := f.Get(t.Context(), "app1.example.com")
	is.NoErr(err)
	is.Equal(string(got), "old")
}

func TestFolderThatCannotBeIsSaidAtTheStartOrByWhoeverUsesIt(t *testing.T) {
	is := is.New(t)
	file := filepath.Join(t.TempDir(), "file")
	is.NoErr(os.WriteFile(file, nil, 0o600))
	dir := filepath.Join(file, "certificates")

	_, err := certstore.Open(dir)
	is.True(err != nil)
	is.True(strings.HasPrefix(err.Error(), "certificate folder "+dir+": ")) // names it
	f := certstore.At(dir)
	err = f.Put(t.Context(), "app1.example.com", []byte("x"))
	is.True(err != nil)
	is.True(strings.Contains(err.Error(), file)) // names it
	_, err = f.Lock(t.Context(), "app1.example.com")
	is.True(err != nil)
	is.True(strings.Contains(err.Error(), file)) // names it
}

func TestNameIsLockedByOneAtATime(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	ours, theirs := certstore.At(dir), certstore.At(dir) // as two processes have it
	unlock, err := ours.Lock(t.Context(), "app1.example.com")
	is.NoErr(err)

	entered := make(chan string, 2)
	for _, f := range []*certstore.Folder{ours, theirs} {
		go enter(f, entered)
	}
	select {
	case who := <-entered:
		t.Fatalf("%s is in while the name is locked", who)
	default:
	}
	other, err := theirs.Lock(t.Context(), "app2.example.com")
	is.NoErr(err) // another name does not wait
	other()
	unlock()
	is.Equal(<-entered, "in")
	is.Equal(<-entered, "in")
}

// enter locks a name, says so, and unlocks it.
func enter(f *certstore.Folder, entered chan<- string) {
	unlock, err := f.Lock(context.Background(), "app1.example.com")
	if err != nil {
		entered <- err.Error()
		return
	}
	entered <- "in"
	unlock()
}

func TestWaitForALockEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		f := certstore.At(dir)
		unlock, err := f.Lock(t.Context(), "app1.example.com")
		is.NoErr(err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		_, err = f.Lock(ctx, "app1.example.com")
		is.True(errors.Is(err, context.DeadlineExceeded))
		is.True(strings.Contains(err.Error(), "app1.example.com")) // says which
		is.Equal(time.Since(start), time.Minute)
		unlock()
		unlock, err = f.Lock(t.Context(), "app1.example.com")
		is.NoErr(err) // who gave up holds nothing
		unlock()
	})
}

func TestLocksDoNotFillTheFolder(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	f := certstore.At(dir)
	for i := range 3000 {
		unlock, err := f.Lock(t.Context(), fmt.Sprintf("app%d.example.com", i))
		is.NoErr(err)
		unlock()
	}
	files, err := os.ReadDir(dir)
	is.NoErr(err)
	is.True(len(files) <= 256) // bounded, however many names there are
}
