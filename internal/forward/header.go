package forward

import (
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/location"
)

// A fieldKind says what a proxy does with a header field.
type fieldKind int

const (
	endToEnd   fieldKind = iota // passed on
	hopByHop                    // for this connection only (RFC 9110, section 7.6.1)
	ownField                    // in a request, the proxy sets or drops it itself
	forwarding                  // in a request, says where it comes from: passed on from a trusted peer only
)

// kindOf returns the kind of the field with the given canonical name.
func kindOf(name string) fieldKind {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
		"Http2-Settings", "Proxy-Authenticate", "Proxy-Authorization":
		return hopByHop
	case "Host", "Content-Length", "X-Request-Id", hopHeader,
		"Proxy": // CGI turns it into HTTP_PROXY
		return ownField
	case "Forwarded", "X-Real-Ip", "X-Request-Start":
		return forwarding
	}
	if strings.HasPrefix(name, "X-Forwarded") {
		return forwarding
	}
	return endToEnd
}

// requestKindOf returns the kind of a request's field, where own is one more that the
// proxy sets; "": there is none. A name with '_' is end-to-end only if the same name with
// '-' is, and else the proxy's own: many servers treat both alike, so the client could
// forge a field that the proxy sets.
func requestKindOf(name, own string) fieldKind {
	if strings.IndexByte(name, '_') < 0 {
		return kindOf(name)
	}
	name = textproto.CanonicalMIMEHeaderKey(strings.ReplaceAll(name, "_", "-"))
	if kindOf(name) == endToEnd && name != own {
		return endToEnd
	}
	return ownField
}

// removeConnectionFields deletes from h the fields that the values of a Connection
// header name, and reports whether they name any. It keeps fields that are not
// end-to-end: otherwise the client could remove what the proxy sets.
func removeConnectionFields(h http.Header, connection []string) (named bool) {
	for _, list := range connection {
		for token := range field.Elements(list) {
			switch token {
			case "keep-alive", "close", "Upgrade": // the usual ones name no end-to-end field
				continue
			}
			if name := textproto.CanonicalMIMEHeaderKey(token); kindOf(name) == endToEnd {
				delete(h, name)
				named = true
			}
		}
	}
	return named
}

// answerFields are the fields of an answer that matter to the proxy.
type answerFields struct {
	hasLength   bool     // there is a Content-Length
	hasLocation bool     // there is a field that location.Rewrite looks at
	contentType []string // the values of Content-Type
	connection  []string // those of Connection, which is not passed on
}

// copyEndToEnd copies the fields of an answer's header to the header to, which is empty: all
// but the hop-by-hop ones and the proxy's own. The values are shared. It looks at each field
// once, and returns what it has seen.
func copyEndToEnd(to, from http.Header) (seen answerFields) {
	for name, values := range from {
		switch name {
		case "Content-Length":
			seen.hasLength = true
		case "Content-Type":
			seen.contentType = values
		case "Connection":
			seen.connection = values
			continue
		default:
			if kindOf(name) == hopByHop || name == hopHeader {
				continue
			}
			seen.hasLocation = seen.hasLocation || location.Concerns(name)
		}
		to[name] = values
	}
	if removeConnectionFields(to, seen.connection) {
		seen.contentType = to["Content-Type"] // a length stays, and no location is not rewritten
	}
	return seen
}

// requireUpgrade sets Upgrade in the header h of a 426, the answer to r, to the
// protocols that the target requires (RFC 9110, section 15.5.22).
func requireUpgrade(h http.Header, protocols []string, r *http.Request) {
	h["Upgrade"] = protocols
	if r.Close || field.HasToken(h["Connection"], "close") {
		// net/http's server replaces a Connection field whose first value does
		// not contain close.
		h["Connection"] = []string{"close", "Upgrade"}
		return
	}
	h["Connection"] = []string{"Upgrade"}
}

// keep304Fields keeps the fields in the header h of a 304 that describe the
// representation. net/http's server removes them by their canonical names, so they
// are written in lower case (RFC 9110, section 5.1).
func keep304Fields(h http.Header) {
	for _, name := range [...]string{"Content-Length", "Content-Type"} {
		if values := h[name]; len(values) > 0 {
			delete(h, name)
			h[strings.ToLower(name)] = values
		}
	}
}

// addFields adds an answer's fields to h, which may have some of an outer handler. Their
// values are copied: middleware may change what it finds in h, and those of the answer may
// be shared with others.
func addFields(h, answer http.Header) {
	n := 0
	for _, values := range answer {
		n += len(values)
	}
	own := make([]string, 0, n)
	for name, values := range answer {
		if before := h[name]; len(before) > 0 {
			h[name] = slices.Concat(before, values)
			continue
		}
		start := len(own)
		own = append(own, values...)
		h[name] = slices.Clip(own[start:])
	}
}

// An outgoingHeader is the header of the request to the target. It shares the
// values of the client's header, which nobody changes. It keeps the values that are
// set here in one slice, so that it can be used again without allocating.
type outgoingHeader struct {
	header http.Header
	values []string
	told   bool // a trusted peer has sent fields of the kind forwarding
	start  startTime
}

// A startTime is the last value of X-Request-Start. On a busy proxy it is the next one,
// too.
type startTime struct {
	ms    int64 // since 1970
	value string
}

func (s *startTime) format(t time.Time) string {
	if ms := t.UnixMilli(); ms != s.ms || s.value == "" {
		b := append(make([]byte, 0, len("t=-9223372036854775808")), "t="...)
		s.ms, s.value = ms, string(strconv.AppendInt(b, ms, 10))
	}
	return s.value
}

// maxPooledHeader is how many fields a header may have to be used again.
const maxPooledHeader = 64

// reset makes o empty, without references to shared values.
func (o *outgoingHeader) reset() {
	if o.header == nil || len(o.header) > maxPooledHeader {
		o.header = make(http.Header)
	}
	clear(o.header)
	clear(o.values)
	o.values, o.told = o.values[:0], false
}

func (o *outgoingHeader) set(name, value string) {
	o.values = append(o.values, value)
	n := len(o.values)
	o.header[name] = o.values[n-1 : n : n]
}

// before returns what a trusted peer has said in a field of the kind forwarding.
func (o *outgoingHeader) before(name string) []string {
	if !o.told {
		return nil
	}
	return o.header[name]
}

// setMissing sets a field that the client's header does not have, or that was not
// passed on because the peer is not trusted.
func (o *outgoingHeader) setMissing(name, value string) {
	if len(o.before(name)) == 0 {
		o.set(name, value)
	}
}

// fill fills o, which is empty, for r, and returns the protocols that r asks for, if any;
// see [requestedProtocols]. hasBody is whether r has a body. Fields that are meant for the
// target alone are named in Connection (RFC 9110, section 7.6.1).
func (o *outgoingHeader) fill(r *http.Request, how *Options, hasBody bool) (upgrade string) {
	var own struct{ connection, te, upgrade, hops []string } // as one, it is not moved about in the loop
	for name, values := range r.Header {
		switch name {
		case "Connection":
			own.connection = values
		case "Te":
			own.te = values
		case "Upgrade":
			own.upgrade = values
		case hopHeader:
			own.hops = values
		case "Expect":
			// A 100 is for a request with a body, and HTTP/1.0 does not have it (RFC
			// 9110, section 10.1.1).
			if hasBody && r.ProtoAtLeast(1, 1) {
				o.header[name] = values
			}
		default:
			switch requestKindOf(name, how.TargetHeader) {
			case endToEnd:
				o.header[name] = values
			case forwarding:
				if how.Client.Trusted {
					o.header[name], o.told = values, true
				}
			}
		}
	}
	removeConnectionFields(o.header, own.connection)
	upgrade = requestedProtocols(r, own.upgrade, own.connection)
	trailers := field.HasToken(own.te, "trailers")
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
	if n, ok := maxForwards(r); ok && n > 0 {
		o.set("Max-Forwards", strconv.FormatUint(n-1, 10))
	}
	o.setForwarded(r, how)
	if how.TargetHeader != "" {
		o.header[how.TargetHeader] = how.Target
	}
	o.setHop(own.hops, how.Hop)
	return upgrade
}

// IsLastHop reports whether r is to be answered here, for it may not be passed on (RFC
// 9110, section 7.6.2).
func IsLastHop(r *http.Request) bool {
	n, ok := maxForwards(r)
	return ok && n == 0
}

// maxForwards returns how often r may be passed on, and false if it does not say. Beside
// TRACE, which never is, only OPTIONS can.
func maxForwards(r *http.Request) (n uint64, ok bool) {
	if r.Method != http.MethodOptions || len(r.Header["Max-Forwards"]) != 1 {
		return 0, false
	}
	n, err := strconv.ParseUint(r.Header["Max-Forwards"][0], 10, 64)
	return n, err == nil
}

// setForwarded sets the fields that say where r comes from.
func (o *outgoingHeader) setForwarded(r *http.Request, how *Options) {
	if how.Client.Addr.IsValid() {
		peer := peerIP(r.RemoteAddr)
		if before := o.before("X-Forwarded-For"); len(before) > 0 {
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
		// A trusted peer may have stripped a prefix too: the app needs both.
		before := strings.Join(o.before("X-Forwarded-Prefix"), "")
		o.set("X-Forwarded-Prefix", strings.TrimSuffix(before, "/")+how.Prefix)
	}
	if how.RequestID != "" {
		o.set("X-Request-Id", how.RequestID)
	}
	if !how.Start.IsZero() && len(o.before("X-Request-Start")) == 0 {
		o.set("X-Request-Start", o.start.format(how.Start))
	}
}

// peerIP returns the IP address in a RemoteAddr as it is written there.
func peerIP(remote string) string {
	host := remote[:max(0, strings.LastIndexByte(remote, ':'))]
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	host, _, _ = strings.Cut(host, "%")
	return host
}

// canUpgrade reports whether r is HTTP/1.1, the only version with Upgrade (RFC 9110,
// section 7.8).
func canUpgrade(r *http.Request) bool { return r.ProtoMajor == 1 && r.ProtoMinor > 0 }

// requestedProtocols returns the protocols that r asks to switch to, in its fields Upgrade
// and Connection, and that may be tunnelled, or "".
func requestedProtocols(r *http.Request, asked, connection []string) string {
	if len(asked) == 0 || !canUpgrade(r) || !field.HasToken(connection, "upgrade") {
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

// isProtocol reports whether s is the name of a protocol that may be tunnelled.
// Other versions of HTTP, and TLS, may not: requests would bypass the proxy.
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

// isTrailer reports whether a field may stand in a trailer section. Fields for
// framing, routing, authentication and the handling of the message may not (RFC
// 9110, section 6.5.1).
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

// trailerNames returns, sorted, the names in t that may stand in a Trailer header.
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
