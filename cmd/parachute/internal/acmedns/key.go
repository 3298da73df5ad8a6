package acmedns

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// A Key signs updates (RFC 8945).
type Key struct {
	name      string // canonical
	algorithm string // canonical
	secret    string // in base64
}

// maxKeyFile is how many bytes of a file are read.
const maxKeyFile = 64 << 10

// algorithms are those that a key may have.
func algorithms() []string {
	return []string{dns.HmacSHA256, dns.HmacSHA512, dns.HmacSHA384, dns.HmacSHA224, dns.HmacSHA1}
}

var (
	quoteOrNote  = regexp.MustCompile(`(?s)"[^"]*"|/\*.*?\*/|//[^\n]*|#[^\n]*`)
	keyStatement = regexp.MustCompile(`(?s)\bkey\s+"?([^\s"{;]+)"?\s*\{(.*?)\}`)
	keyAlgorithm = regexp.MustCompile(`\balgorithm\s+"?([^\s";]+)"?\s*;`)
	keySecret    = regexp.MustCompile(`\bsecret\s+"?([^\s";]+)"?\s*;`)
)

// ReadKey reads a key from a file in the form of BIND, as tsig-keygen writes it and
// nsupdate takes it. No error shows what is in it.
func ReadKey(path string) (*Key, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxKeyFile {
		return nil, fmt.Errorf("%s is no file with a key", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

func parseKey(text string) (*Key, error) {
	all := keyStatement.FindAllStringSubmatch(stripComments(text), 2)
	if len(all) != 1 {
		return nil, errors.New(`want one key in it, as tsig-keygen writes it: key "NAME" { algorithm hmac-sha256; secret "..."; };`)
	}
	name, body := all[0][1], all[0][2]
	if _, ok := dns.IsDomainName(name); !ok {
		return nil, errors.New("its key has no name that the DNS knows")
	}
	secret := keySecret.FindStringSubmatch(body)
	if secret == nil {
		return nil, errors.New("its key has no secret")
	}
	if decoded, err := base64.StdEncoding.DecodeString(secret[1]); err != nil || len(decoded) == 0 {
		return nil, errors.New("the secret of its key is not in base64")
	}
	algorithm := dns.HmacSHA256
	if found := keyAlgorithm.FindStringSubmatch(body); found != nil {
		algorithm = dns.CanonicalName(found[1])
	}
	if !slices.Contains(algorithms(), algorithm) {
		return nil, fmt.Errorf("its key is for the algorithm %s: want hmac-sha256 or hmac-sha512", strings.TrimSuffix(algorithm, "."))
	}
	return &Key{name: dns.CanonicalName(name), algorithm: algorithm, secret: secret[1]}, nil
}

// stripComments returns text without comments. What is between quotation marks is none.
func stripComments(text string) string {
	return quoteOrNote.ReplaceAllStringFunc(text, func(found string) string {
		if found[0] == '"' {
			return found
		}
		return " "
	})
}
