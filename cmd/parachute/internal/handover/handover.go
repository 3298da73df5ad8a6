// Package handover hands a running proxy over to another process, which takes its
// place without a client noticing: another version of the program, or the same with
// other arguments.
//
// The two processes are connected by a Link: a unix socket, over which they send
// messages in JSON, and descriptors. [Start] makes a pair of sockets and starts the new
// process with one of them; a process that was started by somebody else gets its end
// from the control socket of the old one. The old process is asked, and answers:
//
//	new                                 old
//	Ask      its version, its pid  ->
//	                               <-   Offer   what it serves, and the keys of it
//	                               <-   Socket  a name and a descriptor, one for each
//	                               <-   Offered
//	(reads the state, changing nothing; probes the targets)
//	Ready    what it does not use  ->
//	(the old one lets no change be committed from here on, stops to accept, and
//	 leaves the state and the certificates to the other)
//	                               <-   Go
//	(accepts)
//	Serving                        ->
//
// Until Go, the end of either process, or Failed from the new one, leaves the old one as
// it was. A change that is asked for in the meantime waits for the outcome: if the old
// process goes on, it is made there, otherwise it is asked of the new one.
//
// Afterwards the old process serves the requests that it has, and follows the new one:
//
//	Publish  a change of a service ->   it holds for requests that are not on their way
//	                                    to a target yet: those that are held, above all
//	Drain    a service, limits     ->   waits for the requests to what was replaced
//	                               <-   Drained  the answer, with what was cut off
//	Undrain  a pause was resumed   ->   the wait is of no use any more
//	AskChanges                     ->
//	                               <-   Changes  the answer: what is under way there
//	                               <-   Ordered  no certificate is being ordered there any
//	                                    more: the new process may order some
//	                               <-   Datagrams  it reads no packets of HTTP/3 any more: the
//	                                    new process may read them
//	                               <-   Progress what still runs there
//	Stopping the new process ends  ->   of its own will: the old one does not take over again,
//	                                    and ends what it has within its shutdown timeout, for
//	                                    which the new one waits
//	Dismiss  there is another      ->   upgrade, so the old one may end
//
// So a change is complete when both processes have made it, and nothing is said to be
// drained that one of them still sends requests to.
//
// The old process keeps its listening sockets for [Guard] after Go, without accepting
// from them; where the new one does not listen, clients are refused once that serves. If the
// Link breaks in that time, the other has died, and the old process
// takes up again. All processes have the same sockets in turn, never one beside another,
// so what waits in the queue of the system is accepted by whoever comes next.
//
// # Names of sockets
//
// The listeners of a process come from a set of named descriptors, [Sockets], whoever has
// filled it: the old process, or a service manager that listens for us. What is not in
// there is listened for. The names are those below; a further listener has the name
// "listen". Several sockets may have the same name: the addresses tell them apart.
package handover

import (
	"encoding/json"
	"time"
)

// The names of sockets.
const (
	HTTP    = "http"
	HTTPS   = "https"
	HTTP3   = "http3"
	Further = "listen" // one of those beside HTTP
	Metrics = "metrics"
	Page    = "page"
	Control = "control"
)

// Protocol is the version of what is said over a Link. A process that is asked for
// another one refuses.
const Protocol = 1

const (
	// ReadyTimeout is how long the new process may take until it is Ready.
	ReadyTimeout = 30 * time.Second

	// Guard is how long the old process is there to take up again.
	Guard = 30 * time.Second
)

// A Kind says what a message is about.
type Kind string

// The kinds of messages, in the order in which they are sent.
const (
	KindAsk        Kind = "ask"
	KindOffer      Kind = "offer"
	KindSocket     Kind = "socket"
	KindOffered    Kind = "offered"
	KindReady      Kind = "ready"
	KindFailed     Kind = "failed" // instead of any, from either process
	KindGo         Kind = "go"
	KindServing    Kind = "serving"
	KindPublish    Kind = "publish"
	KindDrain      Kind = "drain"
	KindDrained    Kind = "drained"
	KindUndrain    Kind = "undrain"
	KindAskChanges Kind = "ask changes"
	KindChanges    Kind = "changes"
	KindOrdered    Kind = "ordered"
	KindDatagrams  Kind = "datagrams"
	KindProgress   Kind = "progress"
	KindStopping   Kind = "stopping"
	KindDismiss    Kind = "dismiss"
)

// Ask is what a new process asks with.
type Ask struct {
	Protocol int    `json:"protocol"`
	Version  string `json:"version"`
	PID      int    `json:"pid"`
	DataDir  string `json:"data_dir"`
}

// Offer is what a new process needs to go on where the old one ends.
type Offer struct {
	Version      string          `json:"version"`
	PID          int             `json:"pid"`
	Services     json.RawMessage `json:"services"`               // as GET /v1/services returns them
	Certificates []string        `json:"certificates,omitempty"` // the hosts that there is a valid one for
	AffinityKey  []byte          `json:"affinity_key,omitempty"`
	TicketKeys   [][]byte        `json:"ticket_keys,omitempty"` // of TLS sessions; the first is in use
	Kept         []string        `json:"kept,omitempty"`        // the sockets that somebody else keeps open, such as a service manager
	Lease        int64           `json:"lease,omitempty"`       // by which the fleet knows the process; 0: it is in none
}

// Socket comes with one descriptor.
type Socket struct {
	Name string `json:"name"`
}

// Ready says how the new process will go on.
type Ready struct {
	Unused []Place `json:"unused,omitempty"` // where it does not listen
}

// A Place is where a socket listens.
type Place struct {
	Name    string `json:"name"`
	Address string `json:"address"`
}

// Failed says why there is no handover.
type Failed struct {
	Error string `json:"error"`
}

// Go is the permission to serve.
type Go struct {
	// Until is when the old process has ended at the latest.
	Until time.Time `json:"until"`
}

// Publish is a change that has been made.
type Publish struct {
	Service string          `json:"service"`
	Status  json.RawMessage `json:"status,omitempty"` // none: the service was removed
}

// Drain asks to wait for the requests to what a change has replaced, all changes up to
// the last Publish of the service.
type Drain struct {
	ID       uint64        `json:"id"`
	Service  string        `json:"service"`
	Requests time.Duration `json:"requests"` // how long they may take
	Streams  time.Duration `json:"streams"`  // how long they may last then
}

// Drained answers a Drain.
type Drained struct {
	ID       uint64 `json:"id"`
	Requests int64  `json:"requests"` // that were cut off
	Streams  int64  `json:"streams"`  // that were closed
}

// Undrain ends a Drain.
type Undrain struct {
	ID uint64 `json:"id"`
}

// AskChanges asks what is under way.
type AskChanges struct {
	ID uint64 `json:"id"`
}

// Changes answers an AskChanges.
type Changes struct {
	ID       uint64          `json:"id"`
	Services json.RawMessage `json:"services"` // as Live.Changes, by service
}

// Progress says what the old process still has.
type Progress struct {
	Requests int64 `json:"requests"` // streams, and requests that are held, among them
	Commands int64 `json:"commands"` // changes that it has handed on, and whose answers it passes on
}

// IsDone reports whether there is nothing left.
func (p Progress) IsDone() bool { return p == Progress{} }
