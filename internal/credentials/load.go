package credentials

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/crypto/bcrypt"

	"github.com/shahnk19/parachute/internal/descriptors"
	"github.com/shahnk19/parachute/internal/regular"
)

// maxFile is how many bytes a file may have: enough for some ten thousand users.
const maxFile = 1 << 20

// maxName is how many bytes a name may have, as for htpasswd.
const maxName = 255

// maxCost is the highest bcrypt cost that is accepted. At 14 a check occupies a core for a
// second or two, and each more doubles that: a few wrong passwords would make everybody
// wait.
const maxCost = 14

// Load reads a file of users as htpasswd -B makes it: a line NAME:HASH for each, where
// HASH is a bcrypt hash with a cost of at most 14. It ignores empty lines and those that
// begin with '#'. Errors name the file and the line, and never contain a hash.
//
// checks limits how many passwords are checked at once, by all Users that it was passed
// for: each check occupies a place in its buffer. It should have one for each core.
func Load(file string, checks chan struct{}) (*Users, error) {
	data, err := read(file)
	if err != nil {
		return nil, err
	}
	hashes := make(map[string]string)
	number := 0
	for line := range strings.Lines(data) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, hash, err := parseLine(line)
		if err == nil && hashes[name] != "" {
			err = fmt.Errorf("%q is there already: want one line for each user", name)
		}
		if err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", file, number, err)
		}
		hashes[name] = hash
	}
	if len(hashes) == 0 {
		return nil, fmt.Errorf("%s has no users: want a line for each, as htpasswd -B makes them", file)
	}
	return newUsers(hashes, checks), nil
}

func read(file string) (string, error) {
	data, err := regular.ReadFile(file, maxFile)
	switch {
	case errors.Is(err, regular.ErrNotRegular):
		return "", fmt.Errorf("%s is no regular file: want one that htpasswd -B has made", file)
	case errors.Is(err, regular.ErrTooLarge):
		return "", fmt.Errorf("%s has more than 1 MiB: want a file of users, with some sixty bytes for each", file)
	case err != nil:
		return "", readError(err)
	}
	return string(data), nil
}

// readError adds advice to err, which names the file.
func readError(err error) error {
	if descriptors.IsShortage(err) {
		return fmt.Errorf("%w: %s", err, descriptors.Advice(err))
	}
	return fmt.Errorf("%w: want a file that htpasswd -B has made and uid %d may read", err, os.Geteuid())
}

func parseLine(line string) (name, hash string, err error) {
	name, hash, ok := strings.Cut(line, ":")
	if !ok || name == "" {
		return "", "", errors.New("want NAME:HASH, as htpasswd -B makes it")
	}
	if len(name) > maxName {
		return "", "", fmt.Errorf("the name %q is too long: want at most %d bytes", name, maxName)
	}
	if kind := unsupportedHash(hash); kind != "" {
		return "", "", fmt.Errorf("the password of %q is %s: want one hashed by bcrypt, as htpasswd -B does", name, kind)
	}
	digits := hash[len("$2y$"):len("$2y$10")]
	if cost, err := strconv.ParseUint(digits, 10, 8); err != nil || cost < uint64(bcrypt.MinCost) || cost > maxCost {
		return "", "", fmt.Errorf("the password of %q is hashed with cost %s: want %d to %d, as with htpasswd -B -C 10",
			name, digits, bcrypt.MinCost, maxCost)
	}
	return name, hash, nil
}

// unsupportedHash says what kind of hash it is if that is not a complete bcrypt hash; "" if
// it is.
func unsupportedHash(hash string) string {
	const alphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	prefix, _, _ := strings.Cut(strings.TrimPrefix(hash, "$"), "$")
	switch {
	case strings.HasPrefix(hash, "{SHA}"):
		return "hashed by SHA-1"
	case !strings.HasPrefix(hash, "$"):
		return "hashed by crypt, or not at all"
	case prefix == "apr1" || prefix == "1":
		return "hashed by MD5"
	case prefix == "5" || prefix == "6":
		return "hashed by SHA-2"
	case prefix != "2a" && prefix != "2b" && prefix != "2y":
		return "hashed by something else"
	case len(hash) != 60 || hash[6] != '$' || strings.Trim(hash[7:], alphabet) != "":
		return "hashed by bcrypt, but not whole"
	}
	return ""
}
