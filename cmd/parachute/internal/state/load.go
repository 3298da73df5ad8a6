package state

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/descriptors"
	"github.com/shahnk19/parachute/internal/regular"
)

// Load returns the services that were saved last, if any. Each of warnings is a
// sentence for the log.
//
// If state.json cannot be read, or is damaged, Load sets it aside under a new name
// and uses the previous file. What cannot be read of a journal is left out, and the
// journal is also kept under a new name. If a single service cannot be decoded, the
// others are still returned. That service is returned as parachute.StateFailed with
// its name and hosts, or left out if these are not readable either, and the file is
// also kept under a new name.
//
// Load returns an error, and has changed nothing, if a file was written by a newer
// version of this program or could not be read because too many files are open. It
// also does if a file could not be set aside. After an error nothing may be saved,
// because that would destroy the file.
func (s *Store) Load() (services []parachute.Status, warnings []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkWritableLocked(); err != nil {
		return nil, nil, fmt.Errorf("load state: %w", err)
	}
	l, err := s.find()
	if err != nil {
		return nil, nil, err
	}
	for _, unusable := range l.unusable {
		aside, err := s.setAsideLocked(unusable.name)
		if err != nil {
			return nil, warnings, fmt.Errorf("%s cannot be used: %w; nor can it be set aside: %w", s.path(unusable.name), unusable.err, err)
		}
		warnings = append(warnings, fmt.Sprintf("%s cannot be used: %v; it was set aside as %s", s.path(unusable.name), unusable.err, aside))
	}
	if l.base == previousName {
		warnings = append(warnings, fmt.Sprintf("%s is used in place of %s: the last change may be missing, look at what is deployed", s.path(previousName), currentName))
	}
	services, broken := l.services()
	for _, name := range slices.Sorted(maps.Keys(broken)) {
		warnings = append(warnings, broken[name]...)
		aside, err := s.keepAsideLocked(name, setAsideInfix)
		if err != nil {
			return nil, warnings, fmt.Errorf("%s cannot be kept under another name: %w", s.path(name), err)
		}
		warnings = append(warnings, fmt.Sprintf("%s as it was found is kept as %s", s.path(name), aside))
	}
	s.at, s.isAside = l.position, l.isAside
	s.isKnown = len(l.unusable) == 0 && l.base != previousName && len(broken) == 0
	return services, warnings, nil
}

// Read returns the services that were saved last, as Load does, but changes nothing,
// and returns an error where Load would set something aside or go on without it. The
// directory may be another process's, which may be saving.
func (s *Store) Read() ([]parachute.Status, error) {
	l, err := s.find()
	if err != nil {
		return nil, err
	}
	for _, unusable := range l.unusable {
		return nil, fmt.Errorf("%s cannot be read: %w", s.path(unusable.name), unusable.err)
	}
	if l.base == previousName {
		return nil, fmt.Errorf("%s is lost, and only %s is there", s.path(currentName), previousName)
	}
	services, broken := l.services()
	for _, sentences := range broken {
		return nil, errors.New(sentences[0])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at, s.isAside = l.position, l.isAside
	return services, nil
}

// A found is what is in the files of a data directory.
type found struct {
	dir      string
	entries  []entry
	index    map[string]int             // of an entry by the name of its service
	history  map[string]json.RawMessage // of memory, by service
	base     string                     // the file that the journals were added to; empty: there is none
	unusable []unusable
	damaged  map[string]int // lines of a journal that cannot be read, by its name
	position position
	isAside  bool
}

// An entry is what a file says of one service.
type entry struct {
	name   string // empty: it cannot be read
	from   string // the file
	number int    // of the service in it, from 1 on
	data   json.RawMessage
}

// An unusable file is one that nothing can be taken from.
type unusable struct {
	name string
	err  error
}

// find reads all files. The error is of one that may be fine, but not for this process
// at this time. The journals are read first, the newer one before the one before: so
// nothing is missed while another process goes on to save.
func (s *Store) find() (*found, error) {
	l := &found{dir: s.dir, index: make(map[string]int), history: make(map[string]json.RawMessage), damaged: make(map[string]int)}
	var journals []journalFile
	for _, name := range []string{journalName, previousJournalName} {
		data, err := regular.ReadFileNoFollow(s.path(name), maxSize)
		var j journalFile
		if err == nil {
			j, err = readJournal(name, data)
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			if err := s.checkOurs(name, err); err != nil {
				return nil, err
			}
			l.unusable = append(l.unusable, unusable{name, err})
		default:
			journals = append(journals, j)
		}
	}
	for _, name := range []string{currentName, previousName} {
		f, err := read(s.path(name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			if err := s.checkOurs(name, err); err != nil {
				return nil, err
			}
			l.unusable = append(l.unusable, unusable{name, err})
			continue
		}
		l.base = name
		l.apply(name, f)
		l.position = position{number: f.Number, isOld: f.Number == 0}
		break
	}
	if l.position.file = s.currentInfo(); l.position.file != nil {
		l.position.snapshot = l.position.file.Size()
	}
	l.replay(journals)
	return l, nil
}

// checkOurs returns why it is of no use to go on without a file that cannot be read:
// it is fine, but not for this process.
func (s *Store) checkOurs(name string, err error) error {
	switch {
	case errors.Is(err, errNewer):
		return fmt.Errorf("%s cannot be read: %w; run that version, or move the data directory away to begin with nothing", s.path(name), err)
	case descriptors.IsShortage(err):
		return fmt.Errorf("%s cannot be read: %w: %s", s.path(name), err, descriptors.Advice(err))
	}
	return nil
}

// replay adds what the journals say, from the number of the base on.
func (l *found) replay(journals []journalFile) {
	slices.SortStableFunc(journals, func(a, b journalFile) int { return cmp.Compare(a.number, b.number) })
	base := l.position.number
	next := base
	for i, j := range journals {
		switch {
		case j.number == 0: // a process was stopped while it began it
			continue
		case i > 0 && j.number == journals[i-1].number && len(journals[i-1].records) >= len(j.records): // it was put aside while it was read
			continue
		case j.number < base: // it is in there
			continue
		case l.position.isOld || j.number != next && j.number != next-1:
			l.unusable = append(l.unusable, unusable{j.name, fmt.Errorf("it is not that of this %s", currentName)})
			continue
		}
		for n, record := range j.records {
			var f file
			if err := json.Unmarshal(record, &f); err != nil {
				l.damaged[j.name]++
				continue
			}
			l.apply(fmt.Sprintf("%s, line %d", j.name, n+2), f)
		}
		if j.damaged > 0 {
			l.damaged[j.name] += j.damaged
		}
		next = j.number + 1
		if j.name == journalName {
			l.isAside = j.number > base
			l.position.number, l.position.journal = j.number, j.size
		} else {
			l.isAside = true
			l.position.number = next
		}
	}
}

// apply has a file say what is deployed from now on.
func (l *found) apply(from string, f file) {
	for _, name := range f.Removed {
		if i, ok := l.index[name]; ok {
			delete(l.index, name)
			l.entries[i].data = nil
		}
		delete(l.history, name)
	}
	for i, data := range f.Services {
		var named struct {
			Service string `json:"service"`
		}
		if json.Unmarshal(data, &named) != nil {
			named.Service = ""
		}
		e := entry{named.Service, from, i + 1, data}
		at, isKnown := l.index[e.name]
		switch {
		case e.name != "" && isKnown && l.entries[at].from != from:
			l.entries[at] = e
			continue
		case e.name != "" && !isKnown:
			l.index[e.name] = len(l.entries)
		}
		l.entries = append(l.entries, e)
	}
	maps.Copy(l.history, f.History)
}

// services decodes the services one by one. What is broken is told in sentences, by
// the name of the file.
func (l *found) services() (services []parachute.Status, broken map[string][]string) {
	broken = make(map[string][]string)
	tell := func(from, format string, args ...any) {
		name, _, _ := strings.Cut(from, ",")
		broken[name] = append(broken[name], fmt.Sprintf("%s: %s", filepath.Join(l.dir, from), fmt.Sprintf(format, args...)))
	}
	for _, e := range l.entries {
		if e.data == nil {
			continue
		}
		status, err := decodeStatus(e.data)
		if err == nil {
			l.remember(&status, tell)
			services = append(services, status)
			continue
		}
		status, ok := partialStatus(e.data, err)
		if !ok {
			tell(e.from, "service number %d is lost: %v", e.number, err)
			continue
		}
		services = append(services, status)
		tell(e.from, "service %s cannot be restored: %v; deploy it again", status.Service, err)
	}
	for _, name := range slices.Sorted(maps.Keys(l.history)) {
		if _, isThere := l.index[name]; isThere {
			continue
		}
		status := parachute.Status{Service: name, State: parachute.StateRemoved}
		l.remember(&status, tell)
		if len(status.History) > 0 {
			services = append(services, status)
		}
	}
	for name, lines := range l.damaged {
		tell(name, "%d changes cannot be read: look at what is deployed", lines)
	}
	return services, broken
}

// remember adds to s what is remembered of the service. If that cannot be read, the
// service is served without it.
func (l *found) remember(s *parachute.Status, tell func(from, format string, args ...any)) {
	data := l.history[s.Service]
	if data == nil {
		return
	}
	if bytes.ContainsRune(data, '\n') { // it was made to be looked at
		var compact bytes.Buffer
		if json.Compact(&compact, data) == nil {
			data = compact.Bytes()
		}
	}
	var m memory
	if err := json.Unmarshal(data, &m); err != nil {
		tell(l.base, "the history of service %s cannot be read: %v", s.Service, err)
		return
	}
	s.Switched, s.Figures, s.History = m.Switched, m.Figures, m.Past
}

// read returns what is in a state.json, with the services not decoded.
func read(path string) (file, error) {
	var f file
	data, err := regular.ReadFileNoFollow(path, maxSize)
	if err != nil {
		return f, err
	}
	err = json.Unmarshal(data, &f)
	switch {
	case f.Version > formatVersion:
		return f, fmt.Errorf("%w (format %d, this one reads %d)", errNewer, f.Version, formatVersion)
	case err != nil:
		return f, err
	case f.Version < 1 || f.Services == nil:
		return f, errors.New("it has no version or no services")
	}
	return f, nil
}

// highestNumber returns the highest number that a file in the directory has.
func (s *Store) highestNumber() (highest uint64) {
	for _, name := range []string{journalName, previousJournalName} {
		if data, err := regular.ReadFileNoFollow(s.path(name), maxSize); err == nil {
			j, _ := readJournal(name, data)
			highest = max(highest, j.number)
		}
	}
	for _, name := range []string{currentName, previousName} {
		f, _ := read(s.path(name))
		highest = max(highest, f.Number)
	}
	return highest
}

// decodeStatus decodes a service. It refuses unknown fields, because ignoring a
// field of a newer program could change what is served.
func decodeStatus(entry json.RawMessage) (parachute.Status, error) {
	var status parachute.Status
	d := json.NewDecoder(bytes.NewReader(entry))
	d.DisallowUnknownFields()
	if err := d.Decode(&status); err != nil {
		return status, err
	}
	if status.Service == "" {
		return status, errors.New("it has no name")
	}
	status.Live = nil
	return status, nil
}

// partialStatus returns a failed service with its name and hosts, so that its
// hosts are not served by another service.
func partialStatus(entry json.RawMessage, reason error) (parachute.Status, bool) {
	var part struct {
		Service    string `json:"service"`
		Generation uint64 `json:"generation"`
		Deployment struct {
			Hosts []string `json:"hosts"`
		} `json:"deployment"`
	}
	if err := json.Unmarshal(entry, &part); err != nil || part.Service == "" {
		return parachute.Status{}, false
	}
	return parachute.Status{
		Service:    part.Service,
		Generation: part.Generation,
		State:      parachute.StateFailed,
		Deployment: parachute.Deployment{Service: part.Service, Hosts: part.Deployment.Hosts},
		Error:      fmt.Sprintf("its saved state cannot be read: %v", reason),
	}, true
}

// setAsideLocked renames a file to a name that Save does not use, and returns
// that name.
func (s *Store) setAsideLocked(name string) (string, error) {
	aside, err := s.asideName(name, setAsideInfix)
	if err != nil {
		return "", err
	}
	return aside, os.Rename(s.path(name), s.path(aside))
}

// keepAsideLocked gives a file a second name that Save does not use, and returns
// that name. If the file has such a name already, from an earlier start, it
// returns that one.
func (s *Store) keepAsideLocked(name, infix string) (string, error) {
	info, err := os.Lstat(s.path(name))
	if err != nil {
		return "", err
	}
	others, err := os.ReadDir(s.dir)
	if err != nil {
		return "", err
	}
	for _, other := range others {
		if !strings.HasPrefix(other.Name(), name+infix) {
			continue
		}
		if o, err := other.Info(); err == nil && os.SameFile(info, o) {
			return other.Name(), nil
		}
	}
	aside, err := s.asideName(name, infix)
	if err != nil {
		return "", err
	}
	return aside, linkOrCopy(s.path(name), s.path(aside))
}

// These are part of the name of each file that was set aside or kept.
const (
	setAsideInfix = ".unreadable-"
	oldInfix      = ".before-upgrade-"
)

// asideName returns a name that does not exist yet. Nobody else creates it,
// because the directory is locked.
func (s *Store) asideName(name, infix string) (string, error) {
	base := name + infix + time.Now().UTC().Format("20060102T150405Z")
	aside := base
	for n := 2; n < 1000; n++ {
		if _, err := os.Lstat(s.path(aside)); errors.Is(err, fs.ErrNotExist) {
			return aside, nil
		} else if err != nil {
			return "", err
		}
		aside = fmt.Sprintf("%s-%d", base, n)
	}
	return "", fmt.Errorf("%s: %w", s.path(aside), fs.ErrExist)
}

// maxSize is larger than any state file needs to be.
const maxSize = 1 << 30
