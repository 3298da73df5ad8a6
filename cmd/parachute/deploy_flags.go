package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/shahnk19/parachute"
)

// The flags of deploy about targets, bodies, access, headers, logs and health
// checks.

// releaseFlags are those of deploy and rollout deploy about what is deployed, and by whom.
type releaseFlags struct {
	Release string `placeholder:"NAME" help:"What is deployed, such as a commit or a tag, to be shown with its generation."`
	By      string `placeholder:"WHO" help:"Who deploys it, to be shown with its generation."`
}

// manners are the flags of deploy that say how it is made.
type manners struct {
	Keep   bool `help:"Keep everything as the service serves it that is not given here; an empty value, as in --host '', takes something away."`
	DryRun bool `help:"Do what a deploy does before the switch, say what would be different, and change nothing."`
	Wait   bool `help:"Wait for a running deploy of the service to end, in place of ending it."`

	PreSwitch preSwitch `placeholder:"PROGRAM" help:"Run a program here when the targets are healthy, before the switch, with the targets in PARACHUTE_TARGETS. Unless it exits with 0 within --deploy-timeout, nothing is changed. Its arguments, or the program with its arguments, stand behind --."`
}

type readerFlags struct {
	ReadTarget            readerList    `group:"Targets for reading:" placeholder:"HOST:PORT" help:"Target that gets GET and HEAD alone, from clients that have not just written something. May be repeated, or several be separated by commas."`
	ReadTargetWebsockets  bool          `group:"Targets for reading:" negatable:"" help:"Send WebSockets to the targets for reading as well, if there are any."`
	WriterAffinityTimeout durationLimit `group:"Targets for reading:" placeholder:"1s" help:"How long a client that wrote something is kept away from the targets for reading; 0 is not at all."`
}

type bufferFlags struct {
	BufferRequests  bool      `group:"Bodies:" negatable:"" help:"Take in the whole body of a request before a target gets it."`
	BufferResponses bool      `group:"Bodies:" negatable:"" help:"Take in the whole body of an answer, so that a slow client does not occupy a target. Event streams, and answers of unknown length, are passed on at once."`
	BufferMemory    byteCount `group:"Bodies:" placeholder:"1MiB" help:"How much of a buffered body is kept in memory; the rest goes to a file; 0 is all of it."`
	MaxRequestBody  byteCount `group:"Bodies:" placeholder:"SIZE" help:"Largest body of a request, buffered or not; a larger one is answered 413; 0 is no limit, as if not given."`
	MaxResponseBody byteCount `group:"Bodies:" placeholder:"SIZE" help:"Largest body of an answer, buffered or not; a larger one is answered 502, or cut off; 0 is no limit, as if not given."`
}

// buffer returns which bodies are buffered. In a Buffer, a negative Memory
// means none.
func (f bufferFlags) buffer() parachute.Buffer {
	b := parachute.Buffer{
		Requests:  f.BufferRequests,
		Responses: f.BufferResponses,
		Memory:    f.BufferMemory.bytes,
	}
	if f.BufferMemory.isSet && b.Memory == 0 {
		b.Memory = -1
	}
	return b
}

type accessFlags struct {
	Allow          stringList `group:"Access:" placeholder:"CIDR" help:"Network, or address, that may use the service, and no other may. May be repeated, or several be separated by commas."`
	Deny           stringList `group:"Access:" placeholder:"CIDR" help:"Network, or address, that may not use the service, even if --allow names it."`
	BasicAuthFile  string     `group:"Access:" placeholder:"FILE" help:"Ask for a name and a password that are in this htpasswd file, with bcrypt hashes (htpasswd -B)."`
	ForwardHeaders *bool      `group:"Access:" negatable:"" help:"Believe the X-Forwarded headers of everybody, or of nobody; if neither is given, of those in run --trusted-proxies."`
	ClientIPHeader string     `name:"client-ip-header" group:"Access:" placeholder:"NAME" help:"Header in which a trusted proxy tells the address of the client, such as CF-Connecting-IP."`
}

func (f accessFlags) access() (parachute.Access, error) {
	file, err := absolutePath(f.BasicAuthFile)
	return parachute.Access{Allow: f.Allow, Deny: f.Deny, BasicAuthFile: file}, err
}

func (f accessFlags) forwarded() parachute.Forwarded {
	w := parachute.Forwarded{ClientHeader: f.ClientIPHeader}
	switch {
	case f.ForwardHeaders == nil:
	case *f.ForwardHeaders:
		w.Trust = parachute.TrustEverybody
	default:
		w.Trust = parachute.TrustNobody
	}
	return w
}

type answerFlags struct {
	Redirect         redirects `sep:"none" group:"Headers and pages:" placeholder:"FROM=TO" help:"Redirect requests for the path FROM to TO, which is a path or a URL. May be repeated."`
	RequestHeader    []string  `sep:"none" group:"Headers and pages:" placeholder:"RULE" help:"Change of the headers that a target gets: 'set NAME: VALUE', 'del NAME', or 'edit NAME PATTERN REPLACEMENT' for a regular expression. May be repeated; they are followed in order."`
	ResponseHeader   []string  `sep:"none" group:"Headers and pages:" placeholder:"RULE" help:"Change of the headers that a client gets, in the form of --request-header. May be repeated."`
	HSTS             string    `name:"hsts" group:"Headers and pages:" placeholder:"VALUE" help:"Strict-Transport-Security to be sent over TLS, such as max-age=31536000."`
	ReleaseHeader    bool      `group:"Headers and pages:" negatable:"" help:"Tell clients the --release of what answers, in X-Parachute-Release."`
	ScopeCookiePaths bool      `group:"Headers and pages:" negatable:"" help:"Put the path prefix that was cut off in front of the Path of cookies."`
	RewriteLocation  bool      `group:"Headers and pages:" negatable:"" help:"Put the path prefix that was cut off in front of the paths in Location, Content-Location and Refresh; a target's own address there is always replaced by a path."`
	ErrorPages       string    `group:"Headers and pages:" placeholder:"FOLDER" help:"Pages that the proxy answers with where a target does not: 404.html, 503.html, 5xx.html and the like, as Go templates with .Status, .Message and .RequestID."`
}

func (f answerFlags) headers() parachute.Headers {
	return parachute.Headers{
		Request:      f.RequestHeader,
		Response:     f.ResponseHeader,
		HSTS:         f.HSTS,
		Release:      f.ReleaseHeader,
		ScopeCookies: f.ScopeCookiePaths,

		RewriteLocation: f.RewriteLocation,
	}
}

type reportFlags struct {
	LogRequestHeader   nameList `group:"Logs and metrics:" placeholder:"NAME" help:"Header of requests that is logged, as req_NAME. May be repeated, or several be separated by commas."`
	LogResponseHeader  nameList `group:"Logs and metrics:" placeholder:"NAME" help:"Header of answers that is logged, as resp_NAME. May be repeated, or several be separated by commas."`
	ExcludeMetricsPath pathList `group:"Logs and metrics:" placeholder:"/PATH" help:"Path, as the targets see it, whose requests are not counted in the metrics. May be repeated, or several be separated by commas."`
}

func (f reportFlags) report() parachute.Report {
	return parachute.Report{
		RequestHeaders:      canonicalHeaders(f.LogRequestHeader),
		ResponseHeaders:     canonicalHeaders(f.LogResponseHeader),
		ExcludeMetricsPaths: f.ExcludeMetricsPath,
	}
}

// canonicalHeaders returns the names in canonical form, so that they need not
// be converted for every request.
func canonicalHeaders(names []string) []string {
	var canonical []string
	for _, name := range names {
		canonical = append(canonical, http.CanonicalHeaderKey(name))
	}
	return canonical
}

// redirects is a flag that may be repeated, with a value FROM=TO each time.
type redirects []parachute.Redirect

func (r *redirects) UnmarshalText(text []byte) error {
	from, to, ok := strings.Cut(string(text), "=")
	if !ok || from == "" || to == "" {
		return fmt.Errorf("%q is no redirect: want FROM=TO, such as /old=/new", text)
	}
	*r = append(*r, parachute.Redirect{From: from, To: to})
	return nil
}

type healthFlags struct {
	HealthCheckGRPC     grpcService      `name:"health-check-grpc" group:"Health checks:" placeholder:"SERVICE" help:"Probe with grpc.health.v1.Health/Check for the health of SERVICE, as in --health-check-grpc=web.v1.Web, or of the whole server if no SERVICE is given."`
	HealthCheckPath     pathValue        `group:"Health checks:" placeholder:"/up" help:"Path to probe."`
	HealthCheckPort     port             `group:"Health checks:" placeholder:"PORT" help:"Port to probe; if none is given, the target's own."`
	HealthCheckHost     string           `group:"Health checks:" placeholder:"HOST" help:"Host header of the probes; if none is given, the target's address."`
	HealthCheckHeader   []string         `sep:"none" group:"Health checks:" placeholder:"'NAME: VALUE'" help:"Header that is sent with a probe. May be repeated."`
	HealthCheckStatus   string           `group:"Health checks:" placeholder:"200-299" help:"Status, or range of them, that a healthy target answers with."`
	HealthCheckInterval positiveDuration `group:"Health checks:" placeholder:"1s" help:"Pause between probes; it is shorter at first while a deploy waits."`
	HealthCheckTimeout  positiveDuration `group:"Health checks:" placeholder:"5s" help:"Longest wait for the answer to a probe."`
	HealthCheckRise     positiveCount    `group:"Health checks:" placeholder:"1" help:"How many probes in a row must pass until a target is healthy."`
	HealthCheckFall     positiveCount    `group:"Health checks:" placeholder:"1" help:"How many probes in a row must fail until a target is unhealthy."`
}

func (f healthFlags) healthCheck() parachute.HealthCheck {
	return parachute.HealthCheck{
		Path:     string(f.HealthCheckPath),
		Port:     int(f.HealthCheckPort),
		Host:     f.HealthCheckHost,
		Headers:  f.HealthCheckHeader,
		Status:   f.HealthCheckStatus,
		Interval: time.Duration(f.HealthCheckInterval),
		Timeout:  time.Duration(f.HealthCheckTimeout),
		Rise:     int(f.HealthCheckRise),
		Fall:     int(f.HealthCheckFall),

		GRPC:        f.HealthCheckGRPC.isSet,
		GRPCService: f.HealthCheckGRPC.service,
	}
}

// absolutePath returns path as an absolute path, because the proxy has another
// working directory.
func absolutePath(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	return filepath.Abs(path)
}
