package server

import (
	"strings"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/asflags"
)

// commandOf returns the command that deploys d, as a shell takes it. What may be a
// secret is left out of it.
func commandOf(d parachute.Deployment) string {
	lines := []string{"parachute deploy " + quoted(d.Service)}
	for _, t := range d.Targets {
		lines = append(lines, "--target "+quoted(t))
	}
	for _, t := range d.ReadTargets {
		lines = append(lines, "--read-target "+quoted(t))
	}
	if d.Release != "" {
		lines = append(lines, "--release "+quoted(d.Release))
	}
	for _, option := range asflags.Difference(parachute.Deployment{}, d).Now {
		if !strings.HasPrefix(option, "--read-target ") {
			lines = append(lines, option)
		}
	}
	return strings.Join(lines, " \\\n    ")
}

// quoted returns s as one word of a shell.
func quoted(s string) string {
	isPlain := !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-_./:,@%+=", r))
	})
	if isPlain && s != "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
