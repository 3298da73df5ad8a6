package state

import (
	"errors"
	"fmt"

	"github.com/shahnk19/parachute"
)

// beginFoldLocked begins to write services, which are all that is deployed now, to a
// new state.json, while changes go on in the next journal. Nothing depends on when, or
// whether, it succeeds.
func (s *Store) beginFoldLocked(services seq) {
	if !s.isAside { // else the journal before is not folded yet
		s.closeJournalLocked()
		if err := s.disk.rename(s.path(journalName), s.path(previousJournalName)); err != nil {
			s.foldFailedLocked(err)
			return
		}
		s.at.number++
		s.at.journal = 0
		s.isAside = true
	}
	s.isFolding = true
	s.stopFold.Store(false)
	number := s.at.number
	s.folding.Go(func() { s.fold(number, services) })
}

// fold makes services the content of the state.json with that number.
func (s *Store) fold(number uint64, services seq) {
	data, err := encodeState(formatVersion, number, s.untilStopped(services))
	if err == nil && s.stopFold.Load() {
		err = errFoldStopped
	}
	var temporary string
	if err == nil {
		temporary, err = s.createTemporary(data)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isFolding = false
	if err == nil {
		_, err = s.replaceLocked(temporary)
	}
	if err == nil {
		err = s.disk.syncDir(s.dir)
	}
	if err != nil {
		s.foldFailedLocked(err)
		return
	}
	s.isAside, s.foldAt = false, 0
	s.at.file, s.at.snapshot = s.currentInfo(), int64(len(data))
}

// untilStopped yields services until the fold is to be stopped.
func (s *Store) untilStopped(services seq) seq {
	return func(yield func(parachute.Status) bool) {
		for status := range services {
			if s.stopFold.Load() || !yield(status) {
				return
			}
		}
	}
}

var errFoldStopped = errors.New("it was stopped")

// foldFailedLocked has a fold tried again when the journal has grown further.
func (s *Store) foldFailedLocked(err error) {
	s.foldAt = s.at.journal + max(s.at.snapshot/4, leastFold)
	if s.Warn != nil && !errors.Is(err, errFoldStopped) {
		s.Warn(fmt.Sprintf("%s grows, because it could not be folded into %s: %v", s.path(journalName), currentName, err))
	}
}

// endFoldLocked stops a fold, and waits until it has ended.
func (s *Store) endFoldLocked() {
	if !s.isFolding {
		return
	}
	s.stopFold.Store(true)
	s.mu.Unlock()
	s.folding.Wait()
	s.mu.Lock()
}
