package state

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"strconv"
	"syscall"
)

// A journal is lines of text. Each begins with a checksum of what follows in the line,
// in hexadecimal digits, and a space. The first line is the header; each of the others
// is a record in JSON, which says what one change has altered. A line that has no end
// is of a process that was stopped while it wrote, and has changed nothing.

// journalHeader begins the header of a journal; the number of the journal follows.
const journalHeader = "parachute journal 2 number "

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// journalLine returns the line with that content.
func journalLine(content []byte) []byte {
	return fmt.Appendf(nil, "%08x %s\n", crc32.Checksum(content, castagnoli), content)
}

// lineContent returns what is in a line without its end.
func lineContent(line []byte) (content []byte, ok bool) {
	sum, content, ok := bytes.Cut(line, []byte(" "))
	if !ok || len(sum) != 8 {
		return nil, false
	}
	want, err := strconv.ParseUint(string(sum), 16, 32)
	return content, err == nil && uint32(want) == crc32.Checksum(content, castagnoli)
}

// A journalFile is what was found in a journal.
type journalFile struct {
	name    string
	number  uint64
	records [][]byte // in JSON
	size    int64    // up to the end of the last line that has one
	damaged int      // how many lines before that cannot be read
}

// errNewer is why a file is not read that a later version has written.
var errNewer = errors.New("it was written by a newer version of this program")

// readJournal returns what is in a journal. Without a header that can be read there
// are no records.
func readJournal(name string, data []byte) (journalFile, error) {
	j := journalFile{name: name}
	for first := true; ; first = false {
		line, rest, ok := bytes.Cut(data, []byte("\n"))
		if !ok {
			return j, nil
		}
		data = rest
		content, ok := lineContent(line)
		switch {
		case first && ok && bytes.HasPrefix(content, []byte(journalHeader)):
			number, err := strconv.ParseUint(string(content[len(journalHeader):]), 10, 64)
			if err != nil {
				return j, fmt.Errorf("its number cannot be read: %w", err)
			}
			j.number = number
		case first && ok && bytes.HasPrefix(content, []byte("parachute journal ")):
			return j, errNewer
		case first:
			return j, errors.New("it does not begin as a journal does")
		case ok:
			j.records = append(j.records, content)
		default:
			j.damaged++
		}
		j.size += int64(len(line)) + 1
	}
}

// appendLocked adds a line to the journal. When it returns nil, the line is on disk.
// After an error it is not.
func (s *Store) appendLocked(line []byte) error {
	if err := s.checkWritableLocked(); err != nil {
		return err
	}
	if s.journal == nil {
		if err := s.openJournalLocked(); err != nil {
			return err
		}
	}
	if err := s.disk.write(s.journal, line); err != nil {
		return errors.Join(err, s.undoAppendLocked())
	}
	if err := s.disk.sync(s.journal); err != nil {
		// Nobody knows what is on disk of a file that could not be synced.
		s.isKnown = false
		return errors.Join(err, s.undoAppendLocked())
	}
	s.at.journal += int64(len(line))
	return nil
}

// undoAppendLocked takes what was added last out of the journal again. If that fails,
// the next change writes everything anew.
func (s *Store) undoAppendLocked() error {
	err := s.disk.truncate(s.journal, s.at.journal)
	if err == nil {
		err = s.disk.sync(s.journal)
	}
	if err != nil {
		s.isKnown = false
	}
	s.closeJournalLocked()
	return err
}

// openJournalLocked opens the journal at its end, and begins it if it is not there.
func (s *Store) openJournalLocked() error {
	path := s.path(journalName)
	if s.at.journal > 0 {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|syscall.O_NOFOLLOW, 0)
		if err == nil {
			if err = s.disk.truncate(f, s.at.journal); err != nil { // what a process has not come to write
				f.Close()
			}
		}
		if err != nil {
			s.isKnown = false
			return err
		}
		s.journal = f
		return nil
	}
	if err := s.markLocked(); err != nil {
		return err
	}
	if err := s.disk.rename(path, s.path(previousJournalName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	header := journalLine(fmt.Appendf(nil, "%s%d", journalHeader, s.at.number))
	err = s.disk.write(f, header)
	if err == nil {
		err = s.disk.syncDir(s.dir)
	}
	if err != nil {
		return errors.Join(err, f.Close(), removeIfThere(path))
	}
	s.journal, s.at.journal = f, int64(len(header))
	return nil
}

// markLocked makes state.json one that a journal goes with, so that a version of this
// program which knows no journals does not take it for all there is.
func (s *Store) markLocked() error {
	if s.at.file == nil {
		return nil
	}
	f, err := os.OpenFile(s.path(currentName), os.O_RDWR|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	found := make([]byte, len(stateHeader(oldestVersion)))
	if _, err := f.ReadAt(found, 0); err != nil || string(found) != stateHeader(oldestVersion) {
		return err
	}
	if _, err := f.WriteAt([]byte(stateHeader(formatVersion)), 0); err != nil {
		return err
	}
	return s.disk.sync(f)
}

// closeJournalLocked closes the journal. What it holds is on disk already.
func (s *Store) closeJournalLocked() {
	if s.journal != nil {
		_ = s.journal.Close()
		s.journal = nil
	}
}
