package kamal

import (
	"encoding/json"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/shahnk19/parachute"
)

// An object is a JSON object that is read field by field. It warns of fields
// that cannot be decoded, and at the end, of fields that were not read.
type object struct {
	subject string // what the object is, for warnings
	warn    func(about, format string, args ...any)
	fields  map[string]field // by canonical name; those that were read are deleted
}

type field struct {
	name  string // as it is written
	value json.RawMessage
}

// newObject returns data as an object. If data is no object, the result has no
// fields.
func newObject(data json.RawMessage, about string, warn func(about, format string, args ...any)) *object {
	o := &object{subject: about, warn: warn, fields: make(map[string]field)}
	if isZero(data) {
		return o
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		warn(about, "it cannot be read: %v", err)
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if value := fields[name]; string(value) != "null" {
			o.fields[canonical(name)] = field{name, value}
		}
	}
	return o
}

// canonical returns a name in lower case and without '_' and '-'.
func canonical(name string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(name))
}

func (o *object) has(name string) bool {
	_, ok := o.fields[canonical(name)]
	return ok
}

func (o *object) remove(name string) { delete(o.fields, canonical(name)) }

// read decodes a field into v. It does not change v if there is no such field.
func (o *object) read(name string, v any) {
	m, ok := o.fields[canonical(name)]
	if !ok {
		return
	}
	o.remove(name)
	if err := json.Unmarshal(m.value, v); err != nil {
		o.warn(o.subject, "%s cannot be read and is not taken over: %v", m.name, err)
	}
}

func (o *object) text(name string) (s string) {
	o.read(name, &s)
	return s
}

// list returns the elements of a list that are not empty.
func (o *object) list(name string) (list []string) {
	o.read(name, &list)
	list = slices.DeleteFunc(list, func(s string) bool { return s == "" })
	if len(list) == 0 {
		return nil
	}
	return slices.Clip(list)
}

// listOrText returns a list, or the single text that older versions have in its
// place.
func (o *object) listOrText(name, older string) []string {
	one := o.text(older)
	if list := o.list(name); len(list) > 0 {
		return list
	}
	if one != "" {
		return []string{one}
	}
	return nil
}

// hosts returns the hosts that are named, and reports whether there is an empty one,
// which stands for every host.
func (o *object) hosts() (named []string, every bool) {
	var list []string
	o.read("hosts", &list)
	every = slices.Contains(list, "")
	if one := o.text("host"); one != "" {
		list = append(list, one)
	}
	return slices.DeleteFunc(list, func(s string) bool { return s == "" }), every
}

// prefixes returns the path prefixes. kamal-proxy compares them with the decoded
// paths of requests, so that no byte of them is an escape.
func (o *object) prefixes() []string {
	var list []string
	o.read("path_prefixes", &list)
	if one := o.text("path_prefix"); one != "" {
		list = append(list, one)
	}
	for i, prefix := range list {
		list[i] = "/" + strings.Trim(strings.NewReplacer("%", "%25", "?", "%3F", "#", "%23").Replace(prefix), "/")
	}
	return list
}

// slashed returns a field that is a path, to which kamal-proxy adds a slash where it
// does not begin with one.
func (o *object) slashed(name string) string {
	if !o.has(name) {
		return ""
	}
	return "/" + strings.TrimLeft(o.text(name), "/")
}

// sizeOfBuffered returns a field that bounds a body where bodies are buffered, and
// has no effect otherwise.
func (o *object) sizeOfBuffered(name string, buffered bool) int64 {
	size := o.number(name)
	if size > 0 && !buffered {
		o.warn(o.subject, "%s %d is left out: it bounds nothing there unless bodies are buffered", name, size)
		return 0
	}
	return size
}

func (o *object) boolean(name string, otherwise bool) bool {
	o.read(name, &otherwise)
	return otherwise
}

func (o *object) number(name string) (n int64) {
	o.read(name, &n)
	return n
}

// duration returns a duration, which is written in nanoseconds or as "30s".
func (o *object) duration(name string) (d time.Duration) {
	m, ok := o.fields[canonical(name)]
	if ok && strings.HasPrefix(string(m.value), `"`) {
		s := o.text(name)
		d, err := time.ParseDuration(s)
		if err != nil {
			o.warn(o.subject, "%s cannot be read and is not taken over: %v", m.name, err)
		}
		return d
	}
	o.read(name, &d)
	return d
}

// path returns a field that is an absolute path. It warns of a relative one,
// because it is not known what it is relative to.
func (o *object) path(name string) string {
	p := o.text(name)
	if p != "" && !filepath.IsAbs(p) {
		o.warn(o.subject, "%s %s is not taken over: want an absolute path", name, p)
		return ""
	}
	return p
}

// limit returns a field that is a time limit. 0 in the file means no limit,
// which is negative in the library.
func (o *object) limit(name string) time.Duration {
	there := o.has(name)
	d := o.duration(name)
	if there && d == 0 {
		return -1
	}
	return d
}

// state returns the state of a service, which is written as a number or as a
// word.
func (o *object) state(name string) parachute.State {
	m, ok := o.fields[canonical(name)]
	if !ok {
		return parachute.StateServing
	}
	o.remove(name)
	switch strings.ToLower(strings.Trim(string(m.value), `"`)) {
	case "0", "running", "":
		return parachute.StateServing
	case "1", "paused":
		return parachute.StatePaused
	case "2", "stopped":
		return parachute.StateStopped
	}
	o.warn(o.subject, "%s %s is not known: the service is served", m.name, m.value)
	return parachute.StateServing
}

// object returns a field that is an object itself.
func (o *object) object(name string) *object {
	var data json.RawMessage
	o.read(name, &data)
	return newObject(data, o.subject+": "+name, o.warn)
}

// warnUnread warns of the fields that were not read, unless they are zero.
func (o *object) warnUnread() {
	for _, name := range slices.Sorted(maps.Keys(o.fields)) {
		if m := o.fields[name]; !isZero(m.value) {
			o.warn(o.subject, "%s is not known here and not taken over: %s", m.name, m.value)
		}
	}
}

// isZero reports whether a value is the encoding of a zero value in Go.
func isZero(value json.RawMessage) bool {
	switch string(value) {
	case "", "null", "false", "0", `""`, "[]", "{}":
		return true
	}
	return false
}
