// Package agent says what a program calls itself to the servers that it asks.
package agent

import (
	"runtime/debug"
	"slices"
)

// Name returns a User-Agent (RFC 9110, section 10.1.5): product, and behind a slash
// the version of a module that this program was built with. That is "devel" for one
// without a version, and is left out if nothing is known of the build.
func Name(product, module string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return product
	}
	return name(product, module, append(slices.Clone(info.Deps), &info.Main))
}

func name(product, module string, built []*debug.Module) string {
	for _, m := range built {
		if m.Path == module && m.Version != "" && m.Version != "(devel)" {
			return product + "/" + m.Version
		}
	}
	return product + "/devel"
}
