package forward

import (
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"github.com/shahnk19/parachute/internal/field"
)

// A fieldKind says what a proxy does with a header field.
type fieldKind int

const (
	endToEnd   fieldKind = iota // passed on
	hopByHop                    // for the next neighbour only (RFC 9110, section 7.6.1)
	ownField                    // a request's is always set or dropped by us
	forwarding                  // a request's tells where it comes from: kept of a trusted peer alone
)

// kindOf returns the kind of the field with the given canonical name.
func kindOf(name string) fieldKind {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
		"Http2-Settings", "Proxy-Authenticate", "Proxy-Authorization":
		return hopByHop
	case "Host", "Content-Length", "X-Request-Id", hopHeader,
		"Proxy": // a CGI program would find it as HTTP_PROXY
		return ownField
	case "Forwarded", "X-Real-Ip", "X-Request-Start":
		return forwarding
	}
	if strings.HasPrefix(name, "X-Forwarded") {
		return forwarding
	}
	return endToEnd
}

// isForwarded reports whether a request's field goes on. A name with '_' does not
// where it would be one of those above with '-': many servers behind us read
// both alike, so it would stand beside what we say, whoever sent it.
func isForwarded(name string, trusted bool) bool {
	if strings.IndexByte(name, '_') >= 0 {
		return kindOf(textproto.CanonicalMIMEHeaderKey(strings.ReplaceAll(name, "_", "-"))) == endToEnd
	}
	switch kindOf(name) {
	case endToEnd:
		return true
	case forwarding:
		return trusted
	}
	return false
}

// removeConnectionFields deletes from h what the values of a Connection header name. It
// spares what the proxy says itself: otherwise whoever sends the header could
// silence it.
func removeConnectionFields(h http.Header, connection []string) {
	for _, list := range connection {
		for token := range field.Elements(list) {
			switch token {
			case "keep-alive", "close", "Upgrade": // nearly always, and no fields
				continue
			}
			if name := textproto.CanonicalMIMEHeaderKey(token); kindOf(name) == endToEnd {
				delete(h, name)
			}
		}
	}
}

// removeHopByHop deletes from the head of an answer what is meant for us, or
// nobody's business.
func removeHopByHop(h http.Header) {
	removeConnectionFields(h, h["Connection"])
	for name := range h {
		if kindOf(name) == hopByHop || name == hopHeader {
			delete(h, name)
		}
	}
}

// requireUpgrade has the head h of a 426, the answer to r, say which protocols the
// target requires, for that is what it is for (RFC 9110, section 15.5.22).
func requireUpgrade(h http.Header, protocols []string, r *http.Request) {
	h["Upgrade"] = protocols
	if r.Close || field.HasToken(h["Connection"], "close") {
		// The server puts its own close in the place of a field that has none
		// in its first line, and closes if that says nothing else.
		h["Connection"] = []string{"close", "Upgrade"}
		return
	}
	h["Connection"] = []string{"Upgrade"}
}

// keep304Fields has the head h of a 304 keep what it tells of the answer that it
// stands for. The server of net/http takes that out, by the canonical names; but
// names are the same in any case (RFC 9110, section 5.1).
func keep304Fields(h http.Header) {
	for _, name := range [...]string{"Content-Length", "Content-Type"} {
		if values := h[name]; len(values) > 0 {
			delete(h, name)
			h[strings.ToLower(name)] = values
		}
	}
}

// addFields adds the answer's fields to those that an outer handler has set.
func addFields(h, answer http.Header) {
	for name, values := range answer {
		if before := h[name]; len(before) > 0 {
			values = slices.Concat(before, values)
		}
		h[name] = values
	}
}

// An outgoingHeader is the header of the request to the target. It shares the values
// of the client's header, which nobody changes, and keeps those that are set
// here in one array, so that it can be used again without allocating.
type outgoingHeader struct {
	header http.Header
	values []string
}

// maxPooledHeader bounds what one request with many fields leaves behind.
const maxPooledHeader = 64

// reset makes o empty, and lets go of everything it shared.
func (o *outgoingHeader) reset() {
	if o.header == nil || len(o.header) > maxPooledHeader {
		o.header = make(http.Header)
	}
	clear(o.header)
	clear(o.values)
	o.values = o.values[:0]
}

func (o *outgoingHeader) set(name, value string) {
	o.values = append(o.values, value)
	n := len(o.values)
	o.header[name] = o.values[n-1 : n : n]
}

// setMissing is set where a trusted peer has not said it already.
func (o *outgoingHeader) setMissing(name, value string) {
	if len(o.header[name]) == 0 {
		o.set(name, value)
	}
}

// fill fills o, which is empty, for r. The request has a body or not;
// upgrade is the protocols that are asked for, if any. What is meant for the
// target alone is named in Connection, so that it does not go further (RFC 9110,
// section 7.6.1).
func (o *outgoingHeader) fill(r *http.Request, how *Options, body bool, upgrade string) {
	trusted := how.Client.Trusted
	for name, values := range r.Header {
		if isForwarded(name, trusted) {
			o.header[name] = values
		}
	}
	removeConnectionFields(o.header, r.Header["Connection"])
	trailers := field.HasToken(r.Header["Te"], "trailers")
	switch {
	case upgrade != "" && trailers:
		o.set("Connection", "Upgrade, TE")
	case upgrade != "":
		o.set("Connection", "Upgrade")
	case trailers:
		o.set("Connection", "TE")
	}
	if upgrade != "" {
		o.set("Upgrade", upgrade)
	}
	if trailers {
		o.set("Te", "trailers")
	}
	// Without a body there is nothing to wait with, and a 100 is unknown to
	// HTTP/1.0 (RFC 9110, section 10.1.1).
	if !body || !r.ProtoAtLeast(1, 1) {
		delete(o.header, "Expect")
	}
	o.setForwarded(r, how)
	o.setHop(r, how.Hop)
}

// setForwarded says where r came from.
func (o *outgoingHeader) setForwarded(r *http.Request, how *Options) {
	if how.Client.Addr.IsValid() {
		peer := peerIP(r.RemoteAddr)
		if before := o.header["X-Forwarded-For"]; len(before) > 0 {
			peer = strings.Join(before, ", ") + ", " + peer
		}
		o.set("X-Forwarded-For", peer)
	}
	proto := "http"
	if r.TLS != nil {
		proto = "https"
	}
	o.setMissing("X-Forwarded-Proto", proto)
	if r.Host != "" {
		o.setMissing("X-Forwarded-Host", r.Host)
	}
	if how.Prefix != "" {
		// Where the peer has stripped one as well, the app needs both.
		before := strings.Join(o.header["X-Forwarded-Prefix"], "")
		o.set("X-Forwarded-Prefix", strings.TrimSuffix(before, "/")+how.Prefix)
	}
	if how.RequestID != "" {
		o.set("X-Request-Id", how.RequestID)
	}
	if !how.Start.IsZero() && len(o.header["X-Request-Start"]) == 0 {
		ms := append(make([]byte, 0, len("t=-9223372036854775808")), "t="...)
		o.set("X-Request-Start", string(strconv.AppendInt(ms, how.Start.UnixMilli(), 10)))
	}
}

// peerIP returns the IP address in a RemoteAddr as it is written there.
func peerIP(remote string) string {
	host := remote[:max(0, strings.LastIndexByte(remote, ':'))]
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	host, _, _ = strings.Cut(host, "%")
	return host
}

// canUpgrade reports whether r is of the version of HTTP that knows the way to
// change to another protocol (RFC 9110, section 7.8).
func canUpgrade(r *http.Request) bool { return r.ProtoMajor == 1 && r.ProtoMinor > 0 }

// requestedProtocols returns the protocols that r asks to change to and that can be
// tunnelled, or "". A body of r goes first.
func requestedProtocols(r *http.Request) string {
	asked := r.Header["Upgrade"]
	if len(asked) == 0 || !canUpgrade(r) || !field.HasToken(r.Header["Connection"], "upgrade") {
		return ""
	}
	if len(asked) == 1 && isProtocol(asked[0]) {
		return asked[0]
	}
	var protocols []string
	for _, list := range asked {
		protocols = slices.AppendSeq(protocols, field.Elements(list))
	}
	return strings.Join(slices.DeleteFunc(protocols, isNoProtocol), ", ")
}

func isNoProtocol(s string) bool { return !isProtocol(s) }

// isProtocol reports whether s is the name of a protocol that may be
// tunnelled. With another version of HTTP the target would take requests that
// we never see, and a change to TLS would hide them from us.
func isProtocol(s string) bool {
	name, version, versioned := strings.Cut(s, "/")
	if !field.IsToken(name) || versioned && !field.IsToken(version) {
		return false
	}
	switch strings.ToLower(name) {
	case "h2c", "h2", "http", "tls":
		return false
	}
	return true
}

// isTrailer reports whether a field may stand in a trailer section. What bears
// on framing, routing, authentication or how the message is to be handled may
// not (RFC 9110, section 6.5.1): it came too late for those that decide by it.
func isTrailer(name string) bool {
	if !field.IsToken(name) {
		return false
	}
	name = textproto.CanonicalMIMEHeaderKey(strings.ReplaceAll(name, "_", "-"))
	switch name {
	case "Age", "Authorization", "Cache-Control", "Content-Encoding", "Content-Range", "Content-Type", "Cookie",
		"Date", "Expect", "Expires", "Location", "Max-Forwards", "Pragma", "Range", "Realm", "Retry-After",
		"Set-Cookie", "Vary", "Warning", "Www-Authenticate":
		return false
	}
	return kindOf(name) == endToEnd && !strings.HasPrefix(name, "If-")
}

// trailerNames returns the names that may stand in a Trailer header, sorted, of
// those that the sender of t announced.
func trailerNames(t http.Header) []string {
	if len(t) == 0 {
		return nil
	}
	names := slices.Collect(maps.Keys(t))
	names = slices.DeleteFunc(names, isNoTrailer)
	slices.Sort(names)
	return names
}

func isNoTrailer(name string) bool { return !isTrailer(name) }
