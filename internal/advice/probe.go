package advice

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/shahnk19/parachute/internal/grpc"
)

// A Probe is what one health check of a target saw.
type Probe struct {
	URL      string // what was asked
	Host     string // that was sent
	Status   int    // of the answer; 0: there was none
	GRPC     string // what a gRPC server answered; "": nothing
	Location string // of the answer
	Body     string // of the answer, or how it begins
	Error    string // why there was no answer
	Cause    string // why it did not pass, as parachute.Cause has it; "": it did
	Passed   bool
}

// String returns what was asked and what was answered, as the end of a sentence: "GET
// /up answered 301 to https://app1.example.com/up".
func (p *Probe) String() string {
	asked := p.Method() + " " + p.Path()
	if p.Status == 0 {
		return fmt.Sprintf("%s got no answer: %s", asked, p.Error)
	}
	return asked + " answered " + p.Answer()
}

// Method returns the method of the request, which follows from its URL.
func (p *Probe) Method() string {
	if p.isCall() {
		return http.MethodPost
	}
	return http.MethodGet
}

// isCall reports whether it was a call of gRPC.
func (p *Probe) isCall() bool { return p.Path() == grpc.HealthPath }

// Path returns the path and query of the URL.
func (p *Probe) Path() string {
	if _, rest, ok := strings.Cut(p.URL, "://"); ok {
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			return rest[i:]
		}
	}
	return p.URL
}

// Answer returns what the target answered, without the request.
func (p *Probe) Answer() string {
	switch {
	case p.Cause == "timeout":
		return p.Error
	case p.Status == 0:
		return "none: " + p.Error
	case p.GRPC != "":
		return p.GRPC
	case p.Location != "":
		return fmt.Sprintf("%d to %s", p.Status, p.Location)
	case p.Body != "" && !p.Passed:
		return fmt.Sprintf("%d %q", p.Status, p.Body)
	}
	return strconv.Itoa(p.Status)
}
