// Package urlpath reads the path of a request target, in which a byte may be written as
// itself or as an escape.
package urlpath

import "strings"

// CutPrefix returns target, which is "*" or begins with a slash, without the path
// prefix, and reports whether target has that. It has if its path, decoded except for
// %2F, is prefix or begins with prefix and a slash. rest begins with exactly one slash.
// If prefix is "" or "/", rest is target.
func CutPrefix(target, prefix string) (rest string, ok bool) {
	prefix = strings.TrimSuffix(prefix, "/")
	if prefix == "" {
		return target, true
	}
	at := 0
	for i := range len(prefix) {
		c, size := decodeByte(target[at:])
		if size == 0 || c != prefix[i] || size > 1 && c == '/' {
			return "", false
		}
		at += size
	}
	rest = target[at:]
	switch {
	case rest == "" || rest[0] == '?':
		return "/" + rest, true
	case rest[0] != '/':
		return "", false
	}
	// In a reference, "//evil.test/" would be the URL of another host.
	for len(rest) > 1 && rest[1] == '/' {
		rest = rest[1:]
	}
	return rest, true
}

// HasDots reports whether a segment of target's path is "." or ".." when it is decoded.
func HasDots(target string) bool {
	if !strings.Contains(target, ".") && !strings.Contains(target, "%") {
		return false
	}
	dots, other := 0, false // of the segment so far
	for {
		c, size := decodeByte(target)
		switch {
		case size == 0 || size == 1 && c == '/':
			if !other && (dots == 1 || dots == 2) {
				return true
			}
			dots, other = 0, false
		case c == '.':
			dots++
		default:
			other = true
		}
		if size == 0 {
			return false
		}
		target = target[size:]
	}
}

// FirstSegment returns the path of a request target up to the end of its first segment:
// "/orders" of "/orders/7?full". It is as the client wrote it.
func FirstSegment(target string) string {
	if i := strings.IndexAny(target, "?#"); i >= 0 {
		target = target[:i]
	}
	if i := strings.IndexByte(target[min(1, len(target)):], '/'); i >= 0 {
		return target[:i+1]
	}
	return target
}

// decodeByte returns the first decoded byte of a path and how many bytes it takes there:
// none at the end of the path.
func decodeByte(path string) (c byte, size int) {
	if path == "" || path[0] == '?' {
		return 0, 0
	}
	if path[0] == '%' && len(path) >= 3 {
		high, low := unhex(path[1]), unhex(path[2])
		if high < 16 && low < 16 {
			return high<<4 | low, 3
		}
	}
	return path[0], 1
}

func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}
