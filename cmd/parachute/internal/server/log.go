package server

import (
	"errors"
	"log/slog"

	"github.com/shahnk19/parachute/cmd/parachute/internal/accesslog"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

func (c Config) closeLog(log *accesslog.Log) error {
	err := log.Close()
	var lost *accesslog.LostError
	if c.LogLost != nil && errors.As(err, &lost) {
		c.LogLost(lost)
		return nil
	}
	return err
}

func (c Config) logLevel() slog.Level {
	if c.Debug {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// logsOf returns access to log for the control plane.
func logsOf(log *accesslog.Log) control.Logs {
	return control.Logs{ContentType: log.ContentType(), Has: log.Has, Tail: log.Tail}
}
