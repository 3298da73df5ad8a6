package keypair_test

import (
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/keypair"
	"github.com/shahnk19/parachute/internal/proxytest"
)

func TestFileIsNotBlamedWhereTooManyAreOpen(t *testing.T) {
	is := is.New(t)
	f, _, _ := inUse(t)
	var err error
	proxytest.WithoutFiles(t, func() { _, err = keypair.Load(f.cert, f.key) })
	is.True(err != nil)
	want := f.cert + " cannot be read: too many open files: raise the limit of open files"
	is.True(strings.HasPrefix(err.Error(), want))
	is.True(!strings.Contains(err.Error(), "may read"))
}
