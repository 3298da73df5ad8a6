package proxytest_test

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/proxytest"
)

func TestSocketCanBeMadeInAShortDirWhereverFilesAre(t *testing.T) {
	for _, length := range []int{1, 45, 200} {
		t.Run(strconv.Itoa(length), func(t *testing.T) {
			is := is.New(t)
			parent, err := os.MkdirTemp("/tmp", strings.Repeat("x", length))
			is.NoErr(err)
			defer os.RemoveAll(parent)
			t.Setenv("TMPDIR", parent)
			l, err := net.Listen("unix", filepath.Join(proxytest.ShortDir(t), "app.sock"))
			is.NoErr(err)
			is.NoErr(l.Close())
		})
	}
}

func TestShortDirIsGoneWithItsTest(t *testing.T) {
	is := is.New(t)
	var dir string
	t.Run("test", func(t *testing.T) {
		dir = proxytest.ShortDir(t)
		is.NoErr(os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	})
	_, err := os.Stat(dir)
	is.True(os.IsNotExist(err))
}
