//go:build !linux

package main

import (
	"errors"
	"fmt"
	"os"
)

// openTerminal is there for Linux alone.
func openTerminal(columns, rows uint16) (terminal, user *os.File, err error) {
	return nil, nil, fmt.Errorf("a terminal of %d columns and %d rows: %w on this system", columns, rows, errors.ErrUnsupported)
}
