// Package wire is how plain data of the root package travels as JSON:
// durations as strings, and objects that refuse what they do not know.
package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Duration is a time.Duration that travels as a string such as "30s". It is
// used through a pointer, which may be converted from a *time.Duration.
type Duration time.Duration

// IsZero makes the option omitzero leave out a zero behind a pointer.
func (d *Duration) IsZero() bool { return *d == 0 }

// MarshalText writes d as time.Duration.String does.
func (d *Duration) MarshalText() ([]byte, error) {
	return []byte(time.Duration(*d).String()), nil
}

// UnmarshalText takes what time.ParseDuration does.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("duration %q: want numbers with units, such as \"1m30s\"", text)
	}
	*d = Duration(v)
	return nil
}

// Unmarshal decodes the one JSON value in data into v. A field that v does not
// have is an error, and so is anything after the value. A type whose
// UnmarshalJSON is not made of Unmarshal hides its own fields from this check.
func Unmarshal(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("json: more than one value")
	}
	return nil
}
