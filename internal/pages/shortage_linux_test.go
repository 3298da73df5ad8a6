package pages_test

import (
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/pages"
	"github.com/shahnk19/parachute/internal/proxytest"
)

func TestFolderIsNotBlamedWhereTooManyFilesAreOpen(t *testing.T) {
	is := is.New(t)
	dir := folder(t, map[string]string{"404.html": "none"})
	var err error
	proxytest.WithoutFiles(t, func() { _, err = pages.New(nil).Load(dir) })
	is.True(err != nil)
	want := "the folder of error pages " + dir + " cannot be read: too many open files: raise the limit of open files"
	is.True(strings.HasPrefix(err.Error(), want))
	is.True(!strings.Contains(err.Error(), "may read"))
}
