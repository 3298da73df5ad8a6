package state

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/shahnk19/parachute"
)

// The versions of the format of state.json. A file with a higher one than
// formatVersion is not read, so that must be raised when older programs would
// misunderstand a file.
const (
	oldestVersion = 1 // all that is deployed is in the file
	formatVersion = 2 // a journal goes with it
)

type seq = iter.Seq[parachute.Status]

// A file is what state.json and a record of the journal hold.
type file struct {
	Version  int                        `json:"version,omitempty"`
	Number   uint64                     `json:"number,omitempty"`
	Removed  []string                   `json:"removed,omitempty"`
	Services []json.RawMessage          `json:"services"`
	History  map[string]json.RawMessage `json:"history,omitempty"` // by service
}

// stateHeader is how state.json begins. It is as long for every version.
func stateHeader(version int) string { return fmt.Sprintf("{\n\t\"version\": %d,\n", version) }

// encodeState returns the content of state.json. While it is small, it is made to be
// looked at; else each service is in one line.
func encodeState(version int, number uint64, services seq) ([]byte, error) {
	f, err := encode(services)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s\t\"number\": %d,\n\t\"services\": [", stateHeader(version), number)
	size := 0
	for _, s := range f.Services {
		size += len(s)
	}
	for _, h := range f.History {
		size += len(h)
	}
	put := func(i int, name string, value []byte) error {
		if i > 0 {
			out.WriteByte(',')
		}
		out.WriteString("\n\t\t" + name)
		if size > smallSize {
			out.Write(value)
			return nil
		}
		return json.Indent(&out, value, "\t\t", "\t")
	}
	for i, s := range f.Services {
		if err := put(i, "", s); err != nil {
			return nil, err
		}
	}
	out.WriteString("\n\t]")
	if len(f.History) > 0 {
		out.WriteString(",\n\t\"history\": {")
		for i, name := range slices.Sorted(maps.Keys(f.History)) {
			quoted, err := json.Marshal(name)
			if err == nil {
				err = put(i, string(quoted)+": ", f.History[name])
			}
			if err != nil {
				return nil, err
			}
		}
		out.WriteString("\n\t}")
	}
	out.WriteString("\n}\n")
	return out.Bytes(), nil
}

// encodeRecord returns the line of the journal for a change.
func encodeRecord(d parachute.Delta) ([]byte, error) {
	f, err := encode(slices.Values(d.Changed))
	if err != nil {
		return nil, err
	}
	f.Removed = d.Removed
	content, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	return journalLine(content), nil
}

// What is remembered of a service is apart from it, so that versions of this program
// which know no history read the service.
type memory struct {
	Switched time.Time          `json:"switched,omitzero"`
	Figures  *parachute.Figures `json:"figures,omitempty"`
	Past     []parachute.Past   `json:"past,omitempty"`
}

// encode returns services one by one.
func encode(services seq) (file, error) {
	f := file{Services: []json.RawMessage{}}
	for s := range services {
		m := memory{s.Switched, s.Figures, s.History}
		s.Live, s.Switched, s.Figures, s.History = nil, time.Time{}, nil, nil
		data, err := json.Marshal(s)
		if err != nil {
			return f, err
		}
		if s.State != parachute.StateRemoved {
			f.Services = append(f.Services, data)
		}
		if m.Switched.IsZero() && m.Figures == nil && m.Past == nil {
			continue
		}
		if f.History == nil {
			f.History = make(map[string]json.RawMessage)
		}
		if f.History[s.Service], err = json.Marshal(m); err != nil {
			return f, err
		}
	}
	return f, nil
}
