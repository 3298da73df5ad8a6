package certstore

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/shahnk19/parachute/internal/regular"
)

const (
	keySize    = 32 // of AES-256
	maxKeyFile = 4 << 10
)

// sealMark begins what is encrypted. No certificate, key or answer to a challenge does.
var sealMark = []byte("sealed:1:")

// A Seal encrypts what is kept in a store, with AES-256-GCM.
type Seal struct{ aead cipher.AEAD }

// ReadSeal returns the Seal with the key in a file: 32 bytes in base64 or in hexadecimal.
func ReadSeal(file string) (*Seal, error) {
	text, err := regular.ReadFile(file, maxKeyFile)
	if err != nil {
		return nil, err
	}
	text = bytes.TrimSpace(text)
	for _, decode := range []func(string) ([]byte, error){hex.DecodeString, base64.StdEncoding.DecodeString, base64.RawStdEncoding.DecodeString} {
		if key, err := decode(string(text)); err == nil && len(key) == keySize {
			block, err := aes.NewCipher(key)
			if err != nil {
				return nil, err
			}
			aead, err := cipher.NewGCMWithRandomNonce(block)
			return &Seal{aead}, err
		}
	}
	return nil, fmt.Errorf("%s has no key in it: want 32 bytes in base64 or in hexadecimal, as openssl rand -base64 32 makes them", file)
}

// These are the reasons why a value cannot be opened.
var (
	errSealed   = errors.New("it is encrypted, and no --etcd-encryption-key-file is given")
	errUnsealed = errors.New("it is not encrypted, and --etcd-encryption-key-file is given: somebody has put it there, or it is older than that")
	errOtherKey = errors.New("it cannot be decrypted: the key of --etcd-encryption-key-file is another one, or somebody has changed it")
)

// seal returns data as it is kept under key. Without a Seal, that is data.
func (s *Seal) seal(key string, data []byte) []byte {
	if s == nil {
		return data
	}
	// The key is authenticated with it, lest a value is moved to another one.
	return s.aead.Seal(bytes.Clone(sealMark), nil, data, []byte(key))
}

// open returns what seal was given.
func (s *Seal) open(key string, value []byte) ([]byte, error) {
	sealed, isSealed := bytes.CutPrefix(value, sealMark)
	switch {
	case s == nil && isSealed:
		return nil, errSealed
	case s == nil:
		return value, nil
	case !isSealed:
		return nil, errUnsealed
	}
	data, err := s.aead.Open(nil, nil, sealed, []byte(key))
	if err != nil {
		return nil, errOtherKey
	}
	return data, nil
}
