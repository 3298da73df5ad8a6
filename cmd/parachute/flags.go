package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// The types of flag values. A value that they refuse is a usage error;
// everything else is validated by the library.

// A durationLimit is a time limit. On the command line, 0 means no limit, and a
// missing flag means the default. In the library, a negative duration means no
// limit, and 0 means the default. UnmarshalText converts between the two.
type durationLimit time.Duration

func (l *durationLimit) UnmarshalText(text []byte) error {
	d, err := parseDuration(string(text))
	if d == 0 && err == nil {
		d = -1
	}
	*l = durationLimit(d)
	return err
}

// A positiveDuration is a duration of more than 0.
type positiveDuration time.Duration

func (p *positiveDuration) UnmarshalText(text []byte) error {
	d, err := parseDuration(string(text))
	if d == 0 && err == nil {
		return fmt.Errorf("%q is too short: want more than 0, such as 1s", text)
	}
	*p = positiveDuration(d)
	return err
}

func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q is no duration: want numbers with units, such as 30s or 1m30s", s)
	}
	if d < 0 {
		return 0, fmt.Errorf("%q is negative: want 0 or more", s)
	}
	if 0 < d && d < time.Millisecond {
		return 0, fmt.Errorf("%q is too short: want at least 1ms", s)
	}
	return d, nil
}

// An optionalCount is a number of which 0 means none. It is converted for the
// library as a durationLimit is.
type optionalCount int

func (q *optionalCount) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 10, 31)
	if err != nil {
		return fmt.Errorf("%q is no number of 0 or more: want one such as 1000, or 0 for none", text)
	}
	if *q = optionalCount(n); n == 0 {
		*q = -1
	}
	return nil
}

// A count is a number. 0 is as if the flag was not given.
type count int

func (c *count) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 10, 31)
	if err != nil {
		return fmt.Errorf("%q is no number of 0 or more: want one such as 1000", text)
	}
	*c = count(n)
	return nil
}

// A stringList is a flag that may be repeated, and whose values may each hold
// several elements separated by commas. Empty elements are kept, so that the
// library refuses them.
type stringList []string

func (l *stringList) UnmarshalText(text []byte) error {
	for s := range strings.SplitSeq(string(text), ",") {
		*l = append(*l, strings.TrimSpace(s))
	}
	return nil
}

// A userList is a flag that may be repeated, and whose values each hold the numbers or
// names of users, separated by commas.
type userList []string

func (l *userList) UnmarshalText(text []byte) error {
	for s := range strings.SplitSeq(string(text), ",") {
		if s = strings.TrimSpace(s); s == "" {
			return fmt.Errorf("%q has an empty element: want numbers or names of users separated by commas, such as 1001 or ci", text)
		}
		*l = append(*l, s)
	}
	return nil
}

// A port is a TCP port. Each flag defines what 0 means.
type port uint16

func (p *port) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 10, 16)
	if err != nil {
		return fmt.Errorf("%q is no port: want a number from 0 to 65535", text)
	}
	*p = port(n)
	return nil
}

// A publicPort is a port that clients connect to.
type publicPort uint16

func (p *publicPort) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 10, 16)
	if err != nil || n == 0 {
		return fmt.Errorf("%q is no port that clients could name: want a number from 1 to 65535", text)
	}
	*p = publicPort(n)
	return nil
}

// A mode is the permission bits of a file, in octal.
type mode fs.FileMode

func (m *mode) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 8, 32)
	if err != nil || n > 0o777 {
		return fmt.Errorf("%q is no file mode: want octal permission bits, such as 0660", text)
	}
	*m = mode(n)
	return nil
}

// An address is an IP address of this machine; the zero value means all of them.
type address struct{ netip.Addr }

func (a *address) UnmarshalText(text []byte) error {
	ip, err := netip.ParseAddr(string(text))
	if err != nil {
		return fmt.Errorf("%q is no IP address: want one such as 127.0.0.1 or ::1", text)
	}
	a.Addr = ip
	return nil
}

// prefixes are networks in the form of parachute.Options: nil means the default,
// and the value "none" makes an empty list.
type prefixes []netip.Prefix

func (p *prefixes) UnmarshalText(text []byte) error {
	if *p == nil {
		*p = prefixes{}
	}
	if string(text) == "none" {
		return nil
	}
	for s := range strings.SplitSeq(string(text), ",") {
		s = strings.TrimSpace(s)
		network, err := netip.ParsePrefix(s)
		if ip, ipErr := netip.ParseAddr(s); ipErr == nil {
			network, err = ip.Prefix(ip.BitLen())
		}
		if err != nil {
			return fmt.Errorf("%q is no network: want CIDRs separated by commas, such as 10.0.0.0/8,fd00::/8, or none", s)
		}
		if network != network.Masked() {
			return fmt.Errorf("%q has bits behind its prefix: want %v for the network, or %v for the address alone", s, network.Masked(), network.Addr())
		}
		*p = append(*p, network)
	}
	return nil
}

// A logFormat is the form of the lines on standard output.
type logFormat string

const (
	formatJSON logFormat = "json"
	formatText logFormat = "text"
)

func (f *logFormat) UnmarshalText(text []byte) error {
	switch v := logFormat(text); v {
	case formatJSON, formatText:
		*f = v
		return nil
	}
	return fmt.Errorf("%q is no log format: want json or text", text)
}

func (logFormat) choices() []string { return []string{string(formatJSON), string(formatText)} }

// A positiveSize is a number of bytes of more than 0.
type positiveSize int

func (s *positiveSize) UnmarshalText(text []byte) error {
	n, err := parseSize(string(text))
	switch {
	case err != nil:
		return err
	case n == 0:
		return fmt.Errorf("%q is too small: want more than 0, such as 64KiB", text)
	case n > math.MaxInt32:
		return fmt.Errorf("%q is too large: want less than 2GiB", text)
	}
	*s = positiveSize(n)
	return nil
}

// A byteCount is a number of bytes of which 0 means none, or no limit. isSet
// tells a 0 that was given from a missing flag.
type byteCount struct {
	bytes int64
	isSet bool
}

func (b *byteCount) UnmarshalText(text []byte) error {
	n, err := parseSize(string(text))
	*b = byteCount{n, true}
	return err
}

func parseSize(s string) (int64, error) {
	digits, unit := s, int64(1)
	for _, u := range []struct {
		suffix string
		bytes  int64
	}{
		{"KiB", 1 << 10},
		{"MiB", 1 << 20},
		{"GiB", 1 << 30},
	} {
		if number, ok := strings.CutSuffix(s, u.suffix); ok {
			digits, unit = number, u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	switch {
	case err != nil || digits[0] == '-' || digits[0] == '+':
		return 0, fmt.Errorf("%q is no size: want a number of bytes, such as 1048576, 64KiB or 1MiB", s)
	case n > math.MaxInt64/unit:
		return 0, fmt.Errorf("%q is too large: want at most 9223372036854775807 bytes", s)
	}
	return n * unit, nil
}

// A positiveCount is a number of at least 1.
type positiveCount int

func (a *positiveCount) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 10, 31)
	if err != nil || n == 0 {
		return fmt.Errorf("%q is no number of at least 1: want one such as 100", text)
	}
	*a = positiveCount(n)
	return nil
}

// A grpcService is a flag that may stand alone, or be followed by an equals sign
// and the name of a gRPC service. Without the equals sign, the next word is not
// its value. The values "true" and "false" make it a boolean.
type grpcService struct {
	isSet   bool
	service string
}

// Decode and IsBool make it a kong.BoolMapperValue.
func (c *grpcService) Decode(ctx *kong.DecodeContext) error {
	*c = grpcService{isSet: true}
	if ctx.Scan.Peek().Type != kong.FlagValueToken {
		return nil
	}
	switch value := fmt.Sprint(ctx.Scan.Pop().Value); value {
	case "true":
	case "false":
		c.isSet = false
	case "":
		return errors.New("its value is empty: want the name of a gRPC service, such as web.v1.Web, or no equals sign for the server as a whole")
	default:
		c.service = value
	}
	return nil
}

func (*grpcService) IsBool() bool { return true }

func (grpcService) choices() []string { return nil }

// A percentage is a number from 0 to 100.
type percentage int

func (p *percentage) UnmarshalText(text []byte) error {
	n, err := strconv.Atoi(string(text))
	if err != nil || n < 0 || n > 100 {
		return fmt.Errorf("%q is no percentage: want a number from 0 to 100", text)
	}
	*p = percentage(n)
	return nil
}
