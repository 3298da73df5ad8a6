// Package acmedns sets the TXT records that prove names to a certificate authority: by a
// command, or by dynamic updates of a server of the DNS (RFC 2136).
package acmedns

import (
	"context"
	"log/slog"

	"github.com/shahnk19/parachute"
)

// A Config says how records are set. The zero value says that there is no way.
type Config struct {
	// Command is the absolute path of a program that sets records. It is called with
	// "present" or "cleanup", the name of the record, and its value.
	Command string

	// Server is the address of a server that takes updates, if there is no Command.
	// Key signs them; nil: they are not signed.
	Server string
	Key    *Key

	// Always has all names proven so.
	Always bool

	// Resolvers are asked for the servers of a zone before the Server is, and before
	// those of the system.
	Resolvers []string
}

// IsSet reports whether there is a way to set records.
func (c Config) IsSet() bool { return c.Command != "" || c.Server != "" }

// DNS returns how a Proxy sets records. What a Command says, and which records could not
// be removed, is logged.
func (c Config) DNS(logger *slog.Logger) parachute.DNS {
	set := (&update{server: c.Server, key: c.Key}).run
	resolvers := c.Resolvers
	switch {
	case c.Command != "":
		set = (&command{path: c.Command, logger: logger}).run
	case c.Server != "":
		resolvers = append(resolvers[:len(resolvers):len(resolvers)], c.Server) // it has the zone
	default:
		return parachute.DNS{}
	}
	return parachute.DNS{
		Present: func(ctx context.Context, name, value string) error { return set(ctx, present, name, value) },
		Cleanup: func(ctx context.Context, name, value string) error {
			err := set(ctx, cleanup, name, value)
			if err != nil {
				logger.Warn("a TXT record is left over", "name", name, "value", value, "error", err)
			}
			return err
		},
		Always:    c.Always,
		Resolvers: resolvers,
	}
}

// An action is what is to be done with a record.
type action string

const (
	present action = "present"
	cleanup action = "cleanup"
)
