package credentials_test

import (
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/credentials"
	"github.com/shahnk19/parachute/internal/proxytest"
)

func TestFileIsNotBlamedWhereTooManyAreOpen(t *testing.T) {
	is := is.New(t)
	file := write(t, "ann:"+whole)
	var err error
	proxytest.WithoutFiles(t, func() { _, err = credentials.Load(file, make(chan struct{}, 1)) })
	is.True(err != nil)
	is.True(strings.HasPrefix(err.Error(), "open "+file+": too many open files: raise the limit of open files"))
	is.True(!strings.Contains(err.Error(), "may read"))
}
