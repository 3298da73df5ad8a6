package agent

import (
	"runtime/debug"
	"testing"

	"github.com/matryer/is"
)

func TestVersionIsThatOfTheModule(t *testing.T) {
	is := is.New(t)
	other := &debug.Module{Path: "example.com/other", Version: "v2.0.0"}
	for version, want := range map[string]string{"v1.2.3": "product/v1.2.3", "(devel)": "product/devel", "": "product/devel"} {
		is.Equal(name("product", "example.com/m", []*debug.Module{other, {Path: "example.com/m", Version: version}}), want)
	}
	is.Equal(name("product", "example.com/m", []*debug.Module{other}), "product/devel")
	is.Equal(Name("product", "example.com/m"), "product/devel") // a test is built of this module alone
}
