// Package advice tells an operator what the probes of targets have seen, and what can
// be tried where a target does not become healthy.
//
// It speaks of the fields of a deployment, such as HealthCheck.Path.
package advice

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// A failure is a probe that did not pass, and all else that a hint may be about.
type failure struct {
	Probe
	target  string // as it was deployed
	at      string // where it was probed: host:port, or target where there are no ports
	bare    string // target without its scheme
	service string // a host of the service; "": none is known
}

// The names that stand for a target in a hint. Each becomes a list if the hint is
// about several.
const (
	at    = "{at}"    // where it was probed
	bare  = "{bare}"  // as it was deployed, without a scheme
	https = "{https}" // likewise, with https:// in front
)

// adviseOn returns what can be tried about some failures. What is the same for several
// targets is said once, and names them all.
func adviseOn(failures []failure) (hints []string) {
	var texts []string
	about := make(map[string][]failure)
	for _, f := range failures {
		text := f.hint()
		if !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
		about[text] = append(about[text], f)
	}
	for _, text := range texts {
		var ats, bares, overTLS []string
		for _, f := range about[text] {
			ats, bares, overTLS = append(ats, f.at), append(bares, f.bare), append(overTLS, "https://"+f.bare)
		}
		hints = append(hints, strings.NewReplacer(
			at, strings.Join(ats, ", "), bare, strings.Join(bares, ", "), https, strings.Join(overTLS, ", "),
			"{path}", about[text][0].Path(),
		).Replace(text))
	}
	return hints
}

const stillBooting = "if the app is still booting, give it longer with Timeouts.Deploy"

// hint returns what to try about f alone.
func (f failure) hint() string {
	if f.isCall() {
		if hint := f.callHint(); hint != "" {
			return hint
		}
	}
	switch f.Cause {
	case "refused":
		return f.refused()
	case "unknown_host":
		return "the proxy finds no address for the name in " + at + ": see its spelling, and whether the proxy and the app are on one network; Docker's default bridge resolves no names, a network of docker network create does"
	case "unreachable":
		if f.isSocket() {
			return "the proxy cannot open " + at + ": see whether its user may write to the socket, and enter its folders"
		}
		return "there is no way from the proxy to " + at + ": see the address, and whether both are on one network"
	case "timeout":
		return "the target takes the request and does not answer, or something in between swallows it: look at the app's log and at firewalls, or give it longer with HealthCheck.Timeout; " + stillBooting
	case "no_answer":
		return f.noAnswer()
	case "handshake":
		return f.handshake()
	case "speaks_tls":
		if f.isSocket() {
			return "the target speaks TLS, which is not spoken over unix sockets: have it speak plain HTTP there"
		}
		return "the target speaks TLS: deploy it as " + https
	case "speaks_plain":
		return "the target does not speak TLS: deploy it as " + bare
	case "certificate":
		return "the target's certificate is not trusted: name who vouches for it with TargetTLS.CAFile, or the name in it with TargetTLS.ServerName, or accept any with TargetTLS.Insecure"
	case "malformed":
		switch {
		case strings.HasPrefix(f.target, "h2c://"):
			return "the target does not speak HTTP/2 without TLS: deploy it as " + bare
		case f.isSocket():
			return "what answers there does not speak HTTP/1.1: see whether that is the app's socket for HTTP"
		}
		return "what answers there does not speak HTTP/1.1: see whether that is the app's port for HTTP"
	}
	return f.answered()
}

// isSocket reports whether the target is a unix socket, which has no port and no
// TLS.
func (f failure) isSocket() bool { return strings.HasPrefix(f.target, "unix:") }

func (f failure) refused() string {
	if path, port, ok := cutPort(f.target); ok && f.isSocket() {
		return "nothing listens on " + at + ": a unix socket has no port, so leave :" + port + " out if its path is " + strings.TrimPrefix(path, "unix:")
	}
	if f.isSocket() {
		return "nothing listens on " + at + ": see whether the app runs, and makes its socket there, in a folder that the proxy has, too"
	}
	host, _, _ := net.SplitHostPort(f.at)
	if ip, err := netip.ParseAddr(host); host == "localhost" || err == nil && ip.IsLoopback() {
		return "nothing listens on " + at + ": see whether the app runs there; in a container, localhost is the proxy's own container, so name that of the app"
	}
	return "nothing listens on " + at + ": see whether the app runs, and listens on that port for others than localhost"
}

// cutPort cuts a number behind the last colon off.
func cutPort(s string) (before, port string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, "", false
	}
	_, err := strconv.ParseUint(s[i+1:], 10, 16)
	return s[:i], s[i+1:], err == nil
}

func (f failure) noAnswer() string {
	if f.isSocket() {
		return "the target hangs up without an answer: look at the app's log, and see whether that is its socket for HTTP; " + stillBooting
	}
	return "the target hangs up without an answer: look at the app's log, and see whether that is its port for HTTP; if it speaks TLS there, deploy it as " + https + "; " + stillBooting + ", for a port that Docker publishes is open before that"
}

// handshake returns what to try where the target speaks TLS, and the handshake
// failed for another reason than its certificate. The alerts are those of RFC 8446,
// section 6.2.
func (f failure) handshake() string {
	says := func(texts ...string) bool {
		return slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(f.Error, text) })
	}
	switch {
	case says("protocol version"):
		return "the target and the proxy have no version of TLS in common: have the target speak TLS 1.2 or 1.3"
	case says("certificate required", "bad certificate", "unknown certificate"):
		return "the target wants a certificate of its client, and the proxy has none: have it ask for none, or only of others"
	case says("unrecognized name"):
		return "the target has no certificate for the name that the proxy asks for: name one that it has with TargetTLS.ServerName"
	case says("no application protocol"):
		return "the target speaks neither HTTP/1.1 nor HTTP/2 there: see whether that is the app's port for HTTPS"
	case says("handshake failure", "insufficient security", "cipher suite"):
		return "the target and the proxy have no cipher suite in common, or it wants a certificate of its client: have the target accept suites of TLS 1.3, or of TLS 1.2 with ECDHE, and ask for no certificate"
	}
	return "the handshake of TLS fails: look at the app's log, and see which versions and suites it accepts, and whether it wants a certificate of its client"
}

// answered returns what to try where there was an answer that did not pass.
func (f failure) answered() string {
	switch f.Cause {
	case "redirect":
		return f.redirected()
	case "unauthorized":
		return "the app wants a password for {path}: exempt it from that, name another with HealthCheck.Path, or send one with HealthCheck.Headers"
	case "forbidden":
		return f.forbidden()
	case "not_found":
		return "the app has nothing at {path}: add that, or name another path with HealthCheck.Path"
	case "server_error":
		if f.Status == 508 {
			return at + " leads back to this proxy: name the address and port that the app itself listens on"
		}
		return "the app fails: look at its log; if it only takes longer to start, give it longer with Timeouts.Deploy"
	}
	switch {
	case f.Status == 0:
		return "there was no answer: see whether the app runs, and can be reached from the proxy"
	case f.Status == 400 && strings.Contains(f.Body, "SSL certificate"):
		return "the target wants a certificate of its client, and the proxy has none: have it ask for none, or only of others"
	case (f.Status == 400 || f.Status == 421) && f.sendsAnotherHost():
		return "the app refuses the request, perhaps because of its host, " + f.Host + ": allow that in the app, or send another with HealthCheck.Host " + f.service + "; or see HealthCheck.Status and HealthCheck.Path"
	}
	return "the app answers, but not with what counts as healthy: see HealthCheck.Status and HealthCheck.Path"
}

// sendsAnotherHost reports whether the probe has another host than that of the
// service, which the app may know.
func (f failure) sendsAnotherHost() bool { return f.service != "" && !sameHost(f.Host, f.service) }

func (f failure) forbidden() string {
	switch {
	case f.service == "":
		return "the app refuses the request, perhaps because of its host, " + f.Host + ": allow that in the app, or send another with HealthCheck.Host HOST"
	case f.sendsAnotherHost():
		return "the app refuses the request, perhaps because of its host, " + f.Host + ": allow that in the app, or send another with HealthCheck.Host " + f.service
	}
	return "the app refuses the request, although it has the host of visitors, " + f.Host + ": see whom the app lets in, exempt {path} from that, or name another path with HealthCheck.Path"
}

// redirected returns what to try where the app redirects: the request as it wants
// it, if that would be the same one at the service's own host.
func (f failure) redirected() string {
	to, err := url.Parse(f.Location)
	if err != nil || to.Scheme == "" && to.Host == "" {
		return "the app redirects {path}: name a path that it answers itself with HealthCheck.Path, or let redirects pass with HealthCheck.Status 200-399"
	}
	var send []string
	if to.Host != "" && !sameHost(to.Host, f.Host) && !sameHost(to.Host, f.at) {
		send = append(send, "send the host that it wants with HealthCheck.Host "+to.Hostname())
	}
	if to.Scheme == "https" {
		if strings.HasPrefix(f.target, "https://") {
			send = append(send, "say that visitors use https with HealthCheck.Headers 'X-Forwarded-Proto: https'")
		} else {
			send = append(send, "say that visitors use https with TLS.Mode, or with HealthCheck.Headers 'X-Forwarded-Proto: https' where something before the proxy has the certificate")
		}
		return "the app redirects plain requests to " + to.Host + ": " + strings.Join(send, ", and ") + "; or exclude {path} from force_ssl, or use HealthCheck.Path"
	}
	if send == nil {
		return "the app redirects {path}: name a path that it answers itself with HealthCheck.Path, or let redirects pass with HealthCheck.Status 200-399"
	}
	return "the app redirects {path} to " + to.Host + ": " + send[0] + ", or name a path that it answers itself with HealthCheck.Path"
}

// sameHost reports whether two hosts, each with or without a port, are the same.
func sameHost(a, b string) bool { return strings.EqualFold(withoutPort(a), withoutPort(b)) }

func withoutPort(host string) string {
	u := url.URL{Host: host}
	return u.Hostname()
}

// callHint is hint for the causes that mean something else, or only occur, with
// gRPC. It returns "" for all others.
func (f failure) callHint() string {
	switch f.Cause {
	case "not_grpc":
		return "what answers there does not speak gRPC: see whether that is the app's port for it, or check the app without HealthCheck.GRPC"
	case "no_answer":
		return "the target hangs up without an answer: look at the app's log, and see whether that is its port for gRPC; if it speaks TLS there, deploy it as https://, and otherwise as h2c://; " + stillBooting
	case "not_serving":
		return "the app says that it is not ready: look at its log; if it only takes longer to start, give it longer with Timeouts.Deploy"
	case "no_health":
		return "the server has no grpc.health.v1.Health: register the health service of your gRPC library in it"
	case "unknown_service":
		return "the server keeps no health of that service: have it set one, see the spelling, or leave HealthCheck.GRPCService empty, which asks for the server as a whole"
	case "unauthorized", "forbidden":
		return "the app does not let everybody ask for its health: exempt {path} from that, or send what it wants with HealthCheck.Headers"
	}
	return ""
}
