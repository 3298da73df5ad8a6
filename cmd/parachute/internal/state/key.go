package state

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"

	"github.com/google/renameio/v2"
	"github.com/shahnk19/parachute/internal/regular"
)

// keyName is the file with the key of the proxy's cookies, in hexadecimal digits.
const keyName = "affinity.key"

// Shorter keys than minKey can be guessed.
const (
	keySize = 32
	minKey  = 16
)

// Key returns the key in the directory. If there is none, it makes a random one and
// writes it. If that cannot be written, or what is there is no key, Key returns a
// random one with an error: it is good until the process ends. Before TakeOver the
// error of a missing key is ErrReadOnly.
func (s *Store) Key() ([]byte, error) {
	random := make([]byte, keySize)
	rand.Read(random)
	path := s.path(keyName)
	text, err := regular.ReadFileNoFollow(path, 4<<10)
	if err == nil {
		key, err := hex.DecodeString(string(bytes.TrimSpace(text)))
		if err == nil && len(key) < minKey {
			err = fmt.Errorf("a key of %d bytes: want %d or more", len(key), minKey)
		}
		if err != nil {
			return random, fmt.Errorf("%s: %w", path, err)
		}
		return key, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return random, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkWritableLocked(); err != nil {
		return random, err
	}
	file, err := renameio.NewPendingFile(path, renameio.WithTempDir(s.dir), renameio.WithPermissions(0o600))
	if err != nil {
		return random, err
	}
	defer file.Cleanup()
	if _, err := fmt.Fprintf(file, "%x\n", random); err != nil {
		return random, err
	}
	if err := file.CloseAtomicallyReplace(); err != nil {
		return random, err
	}
	return random, s.disk.syncDir(s.dir)
}
