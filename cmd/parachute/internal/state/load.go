package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/descriptors"
	"github.com/shahnk19/parachute/internal/regular"
)

// Load returns the services that were saved last, if any. Each of warnings is a
// sentence for the log.
//
// If the file cannot be read, is damaged, or was written by a newer version of
// this program, Load sets it aside under a new name and uses the previous file.
// If a single service cannot be decoded, the others are still returned. That
// service is returned as parachute.StateFailed with its name and hosts, or left
// out if these are not readable either, and the file is also kept under a new
// name.
//
// Load returns an error if a file could not be set aside, or not be read because
// too many files are open. After an error Save must not be called, because it
// would destroy the file.
func (s *Store) Load() (services []parachute.Status, warnings []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkWritableLocked(); err != nil {
		return nil, nil, fmt.Errorf("load state: %w", err)
	}
	for _, name := range []string{currentName, previousName} {
		found, err := read(s.path(name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if descriptors.IsShortage(err) { // the file itself may be fine
			return nil, warnings, fmt.Errorf("%s cannot be read: %w: %s", s.path(name), err, descriptors.Advice(err))
		}
		if err != nil {
			aside, asideErr := s.setAsideLocked(name)
			if asideErr != nil {
				return nil, warnings, fmt.Errorf("%s cannot be used: %w; nor can it be set aside: %w", s.path(name), err, asideErr)
			}
			warnings = append(warnings, fmt.Sprintf("%s cannot be used: %v; it was set aside as %s", s.path(name), err, aside))
			continue
		}
		if name == previousName {
			warnings = append(warnings, fmt.Sprintf("%s is used in place of %s: the last change may be missing, look at what is deployed", s.path(name), currentName))
		}
		services, broken, err := s.servicesLocked(name, found)
		return services, append(warnings, broken...), err
	}
	return nil, warnings, nil
}

// Read returns the services that were saved last, as Load does, but changes nothing,
// and returns an error where Load would set something aside or go on without it. The
// directory may be another process's, which may be saving.
func (s *Store) Read() ([]parachute.Status, error) {
	entries, err := read(s.path(currentName))
	if errors.Is(err, fs.ErrNotExist) {
		if _, lost := os.Lstat(s.path(previousName)); errors.Is(lost, fs.ErrNotExist) {
			return nil, nil // nothing was saved yet
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", s.path(currentName), err)
	}
	var services []parachute.Status
	for i, entry := range entries {
		status, err := decodeStatus(entry)
		if err != nil {
			return nil, fmt.Errorf("%s: service number %d (%s) cannot be read: %w", s.path(currentName), i+1, status.Service, err)
		}
		services = append(services, status)
	}
	return services, nil
}

// servicesLocked decodes the services of a file one by one.
func (s *Store) servicesLocked(name string, entries []json.RawMessage) (services []parachute.Status, warnings []string, err error) {
	for i, entry := range entries {
		status, err := decodeStatus(entry)
		if err == nil {
			services = append(services, status)
			continue
		}
		status, ok := partialStatus(entry, err)
		if !ok {
			warnings = append(warnings, fmt.Sprintf("%s: service number %d is lost: %v", s.path(name), i+1, err))
			continue
		}
		services = append(services, status)
		warnings = append(warnings, fmt.Sprintf("%s: service %s cannot be restored: %v; deploy it again", s.path(name), status.Service, err))
	}
	if len(warnings) > 0 {
		aside, err := s.keepAsideLocked(name)
		if err != nil {
			return nil, warnings, fmt.Errorf("%s cannot be kept under another name: %w", s.path(name), err)
		}
		warnings = append(warnings, fmt.Sprintf("%s as it was found is kept as %s", s.path(name), aside))
	}
	return services, warnings, nil
}

// read returns the services of a file without decoding them.
func read(path string) ([]json.RawMessage, error) {
	data, err := regular.ReadFileNoFollow(path, maxSize)
	if err != nil {
		return nil, err
	}
	var f struct {
		Version  int               `json:"version"`
		Services []json.RawMessage `json:"services"`
	}
	err = json.Unmarshal(data, &f)
	switch {
	case f.Version > formatVersion:
		return nil, fmt.Errorf("it was written by a newer version of this program (format %d, this one reads %d)", f.Version, formatVersion)
	case err != nil:
		return nil, err
	case f.Version < 1 || f.Services == nil:
		return nil, errors.New("it has no version or no services")
	}
	return f.Services, nil
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
	aside, err := s.asideName(name)
	if err != nil {
		return "", err
	}
	return aside, os.Rename(s.path(name), s.path(aside))
}

// keepAsideLocked gives a file a second name that Save does not use, and returns
// that name. If the file has such a name already, from an earlier start, it
// returns that one.
func (s *Store) keepAsideLocked(name string) (string, error) {
	info, err := os.Lstat(s.path(name))
	if err != nil {
		return "", err
	}
	others, err := os.ReadDir(s.dir)
	if err != nil {
		return "", err
	}
	for _, other := range others {
		if !strings.HasPrefix(other.Name(), name+setAsideInfix) {
			continue
		}
		if o, err := other.Info(); err == nil && os.SameFile(info, o) {
			return other.Name(), nil
		}
	}
	aside, err := s.asideName(name)
	if err != nil {
		return "", err
	}
	return aside, linkOrCopy(s.path(name), s.path(aside))
}

// setAsideInfix is part of the name of each file that was set aside.
const setAsideInfix = ".unreadable-"

// asideName returns a name that does not exist yet. Nobody else creates it,
// because the directory is locked.
func (s *Store) asideName(name string) (string, error) {
	base := name + setAsideInfix + time.Now().UTC().Format("20060102T150405Z")
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
const maxSize = 64 << 20
