// Package notify tells others what happens to services: it posts the events that a
// person would want to hear of to URLs.
package notify

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/shahnk19/parachute"
)

// A Format is the form of what is posted.
type Format string

const (
	FormatJSON  Format = "json"  // the event, with a sentence about it
	FormatSlack Format = "slack" // that sentence, as Slack and those that are like it take it
)

// A Config says whom to tell, and how.
type Config struct {
	// URLs are where each event is posted, with http or https.
	URLs []*url.URL

	Format Format // if empty, FormatJSON

	// Key, if it is not empty, signs the body of each request.
	Key []byte

	// EncodeEvent returns an event as an object in JSON.
	EncodeEvent func(parachute.Event) ([]byte, error)

	// Version is that of the proxy, for the receivers and in the User-Agent.
	Version string

	// Logger gets what could not be sent. It is never told a URL, which may be a secret
	// as a whole, but the host in it.
	Logger *slog.Logger

	// Dial opens connections; if nil, a net.Dialer does, and the proxies that the
	// environment names are used.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// A Notifier posts to the URLs of its Config what it is told of, in order for each. What
// one receiver does is of no consequence for the others. The methods may be called from any
// goroutine, and none but Close waits for anything.
type Notifier struct {
	encoder   encoder
	client    *http.Client
	receivers []*receiver
	cancel    context.CancelFunc // of the attempts that run
	running   sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	choice  choice
	serving bool
	held    []message // before the first Serve
	began   bool      // Serve was called
}

// New returns a Notifier, which the caller must close. It sends nothing before Serve.
func New(c Config) *Notifier {
	machine, _ := os.Hostname() // without one, it is left out
	n := &Notifier{
		encoder: encoder{
			format:  cmp.Or(c.Format, FormatJSON),
			event:   c.EncodeEvent,
			machine: machine,
			version: c.Version,
		},
		client: newClient(c.Dial),
		choice: newChoice(),
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	for _, u := range c.URLs {
		r := newReceiver(u, n.client, c.Key, "parachute/"+c.Version, n.encoder, c.Logger)
		n.receivers = append(n.receivers, r)
		n.running.Go(func() { r.run(ctx) })
	}
	return n
}

// Serve says that this process serves from now on, and why: what it was told of before is
// sent, then that, and then what comes.
func (n *Notifier) Serve(why string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.serving, n.began = true, true
	for _, m := range n.held {
		n.enqueueLocked(m)
	}
	n.held = nil
	n.enqueueLocked(n.processMessage(KindStarted, why))
}

// Leave says that another process serves from now on, and tells of what happens: what
// comes is not sent, unless this process serves again. What came before is.
func (n *Notifier) Leave() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.serving = false
}

// Stop says that the process begins to stop.
func (n *Notifier) Stop(why string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.serving {
		n.enqueueLocked(n.processMessage(KindStopping, why))
	}
}

func (n *Notifier) processMessage(kind parachute.EventKind, text string) message {
	return message{event: parachute.Event{Time: time.Now(), Kind: kind}, text: text}
}

// Notify is for Options.Notify.
func (n *Notifier) Notify(e parachute.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.choice.tells(e) {
		return
	}
	m := message{event: e}
	switch {
	case n.serving:
		n.enqueueLocked(m)
	case !n.began && len(n.held) < maxQueue:
		n.held = append(n.held, m)
	}
}

func (n *Notifier) enqueueLocked(m message) {
	for _, r := range n.receivers {
		r.enqueue(m)
	}
}

// Counts calls each with how many notifications a host has taken, and how many were
// dropped that were for it.
func (n *Notifier) Counts(each func(host string, sent, dropped uint64)) {
	var hosts []string
	sums := make(map[string][2]uint64)
	for _, r := range n.receivers {
		sum, ok := sums[r.host]
		if !ok {
			hosts = append(hosts, r.host)
		}
		sent, dropped := r.counts()
		sums[r.host] = [2]uint64{sum[0] + sent, sum[1] + dropped}
	}
	for _, host := range hosts {
		each(host, sums[host][0], sums[host][1])
	}
}

// Close tries once more to send what is left, until ctx ends, and drops the rest. When it
// returns, nothing runs any more. Nothing may be called after it but Counts.
func (n *Notifier) Close(ctx context.Context) {
	stop := context.AfterFunc(ctx, n.cancel)
	defer stop()
	for _, r := range n.receivers {
		r.finish()
	}
	n.running.Wait()
	n.cancel()
	n.client.CloseIdleConnections()
}

// newClient returns a client that follows no redirects: what is posted is for one URL. If
// dial is nil, it uses the proxies that the environment names.
func newClient(dial func(ctx context.Context, network, address string) (net.Conn, error)) *http.Client {
	proxy := http.ProxyFromEnvironment
	if dial == nil {
		dial = new(net.Dialer).DialContext
	} else {
		proxy = nil
	}
	return &http.Client{
		Transport:     &http.Transport{Proxy: proxy, DialContext: dial, ForceAttemptHTTP2: true, IdleConnTimeout: idleTimeout},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// hostOf returns the host of a URL, which is all of it that may be told.
func hostOf(u *url.URL) string { return strings.ToLower(u.Host) }
