package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"github.com/coder/websocket"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/sync/errgroup"
)

// A client does the same again and again until ctx ends. What it has begun then, it
// finishes.
type client func(ctx context.Context, chance *rand.Rand)

// clients returns all of them.
func (s *soak) clients() []client {
	var all []client
	for _, on := range s.services {
		if on.name == secure {
			all = append(all, s.secureClients(on)...)
			continue
		}
		all = append(all,
			s.keepAlive(on), s.connecting(on), s.pipelining(on), s.posting(on), s.downloading(on), s.leaving(on))
		switch on.name {
		case calls:
			all = append(all, s.calling(on), s.streaming(on))
		case stored:
			all = append(all, s.uploading(on))
		default:
			all = append(all, s.uploading(on), s.listening(on), s.talking(on))
		}
	}
	return all
}

// think waits for about d.
func think(ctx context.Context, chance *rand.Rand, d time.Duration) {
	select {
	case <-time.After(d/2 + time.Duration(chance.Int64N(int64(d)))):
	case <-ctx.Done():
	}
}

// repeat returns a client that does something with pauses of about that length.
func repeat(pause time.Duration, do func(chance *rand.Rand)) client {
	return func(ctx context.Context, chance *rand.Rand) {
		for ctx.Err() == nil {
			do(chance)
			think(ctx, chance, pause)
		}
	}
}

// wire returns a client of HTTP/1.1, without TLS if config is nil.
func (s *soak) wire(config *tls.Config) *wire {
	w := &wire{address: s.proxy.http, tls: config}
	if config != nil {
		w.address = s.proxy.https
	}
	s.closers = append(s.closers, w.close)
	return w
}

func (s *soak) keepAlive(on *service) client {
	w := s.wire(nil)
	return repeat(20*time.Millisecond, func(*rand.Rand) { s.ask(on, w, "http", "GET, kept connection", get()) })
}

func (s *soak) connecting(on *service) client {
	w := s.wire(nil)
	w.once = true
	return repeat(40*time.Millisecond, func(*rand.Rand) { s.ask(on, w, "http", "GET, new connection", get()) })
}

func (s *soak) posting(on *service) client {
	w := s.wire(nil)
	return repeat(40*time.Millisecond, func(chance *rand.Rand) {
		s.ask(on, w, "http", "POST, small", post(fmt.Sprint(chance.Uint64()), 1+chance.Int64N(2000), chance.IntN(2) == 0, 0, 0))
	})
}

// uploading sends large bodies and slow ones in turn.
func (s *soak) uploading(on *service) client {
	w := s.wire(nil)
	return repeat(300*time.Millisecond, func(chance *rand.Rand) {
		seed := fmt.Sprint(chance.Uint64())
		s.ask(on, w, "http", "POST, 4 MiB", post(seed, 4<<20, false, 0, 0))
		s.ask(on, w, "http", "POST, 4 MiB, chunked", post(seed, 4<<20, true, 0, 0))
		s.ask(on, w, "http", "POST, slow", post(seed, 100_000, chance.IntN(2) == 0, 10, 100*time.Millisecond))
	})
}

func (s *soak) downloading(on *service) client {
	w := s.wire(nil)
	return repeat(200*time.Millisecond, func(chance *rand.Rand) {
		s.ask(on, w, "http", "download", download(1<<20+chance.Int64N(1<<20), chance.IntN(2) == 0, 0))
		s.ask(on, w, "http", "download, slow", download(200_000, chance.IntN(2) == 0, 100*time.Millisecond))
	})
}

// pipelining sends several requests before it reads an answer. The answers must come in
// their order.
func (s *soak) pipelining(on *service) client {
	w := s.wire(nil)
	return repeat(200*time.Millisecond, func(chance *rand.Rand) {
		if err := w.open(); err != nil {
			x := s.newExchange("GET, pipelined", on, true)
			s.ledger.begun(x)
			s.ledger.failed(x, unanswered(err), err)
			return
		}
		var all []*exchange
		var requests []*http.Request
		out := bufio.NewWriter(w.conn)
		for range 2 + chance.IntN(4) {
			x := s.newExchange("GET, pipelined", on, true)
			r, err := http.NewRequest(http.MethodGet, "http://"+on.host+"/echo", nil)
			if err != nil {
				panic(err)
			}
			r.Header.Set(nonceField, x.nonce)
			r.Write(out)
			s.ledger.begun(x)
			all, requests = append(all, x), append(requests, r)
		}
		if out.Flush() == nil {
			for _, x := range all {
				x.sent = time.Now()
			}
		}
		for i, x := range all {
			resp, err := http.ReadResponse(w.in, requests[i])
			if err != nil {
				w.close()
				for _, x := range all[i:] {
					s.ledger.failed(x, asking, err)
				}
				return
			}
			s.settle(on, x, resp, get().check)
			resp.Body.Close()
			if resp.Close {
				w.close()
				// The proxy does not take what was sent behind the last request of
				// a connection, and says so (RFC 9112, section 9.3.2): those may be
				// sent again.
				for _, x := range all[i+1:] {
					s.ledger.unsent(x)
				}
				return
			}
		}
	})
}

// leaving goes away in the middle of what it sends or gets.
func (s *soak) leaving(on *service) client {
	return repeat(200*time.Millisecond, func(chance *rand.Rand) {
		x := s.newExchange("client that leaves", on, true)
		s.ledger.begun(x)
		defer s.ledger.good(x) // whatever comes of it
		conn, err := net.Dial("tcp", s.proxy.http)
		if err != nil {
			return
		}
		defer conn.Close()
		if chance.IntN(2) == 0 {
			fmt.Fprintf(conn, "POST /echo HTTP/1.1\r\nHost: %s\r\n%s: %s\r\nContent-Length: 100000\r\n\r\nthe beginning", on.host, nonceField, x.nonce)
		} else {
			fmt.Fprintf(conn, "GET /bytes?n=4000000 HTTP/1.1\r\nHost: %s\r\n%s: %s\r\n\r\n", on.host, nonceField, x.nonce)
			conn.SetReadDeadline(time.Now().Add(time.Second))
			io.CopyN(io.Discard, conn, 1+chance.Int64N(100_000))
		}
		time.Sleep(time.Duration(chance.Int64N(int64(50 * time.Millisecond))))
	})
}

// secureClients are those over TLS.
func (s *soak) secureClients(on *service) []client {
	config := s.authority.client(on.host)
	kept, once := s.wire(config), s.wire(config)
	once.once = true
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.proxy.https)
	}
	h2 := &http.Transport{DialContext: dial, TLSClientConfig: config.Clone(), ForceAttemptHTTP2: true}
	h2.TLSClientConfig.NextProtos = []string{"h2"}
	h3 := &http3.Transport{TLSClientConfig: config.Clone(), QUICConfig: &quic.Config{MaxIdleTimeout: quicSilence, KeepAlivePeriod: time.Second}}
	s.closers = append(s.closers, h2.CloseIdleConnections, func() { h3.Close() })
	var all []client
	for _, by := range []struct {
		name string
		http.RoundTripper
		atOnce int // requests
	}{{"TLS", kept, 1}, {"HTTP/2", h2, 5}, {"HTTP/3", h3, 5}} {
		all = append(all, repeat(100*time.Millisecond, func(chance *rand.Rand) {
			var asked errgroup.Group
			asked.SetLimit(by.atOnce)
			for kind, q := range map[string]question{
				"GET":        get(),
				"POST":       post(fmt.Sprint(chance.Uint64()), 1+chance.Int64N(100_000), chance.IntN(2) == 0, 0, 0),
				"download":   download(1+chance.Int64N(1<<20), chance.IntN(2) == 0, 0),
				"POST, slow": post(fmt.Sprint(chance.Uint64()), 20_000, chance.IntN(2) == 0, 4, 100*time.Millisecond),
			} {
				asked.Go(func() error {
					s.ask(on, by, "https", by.name+", "+kind, q)
					return nil
				})
			}
			asked.Wait()
		}))
	}
	return append(all, repeat(100*time.Millisecond, func(*rand.Rand) { s.ask(on, once, "https", "TLS, new connection", get()) }))
}

// listening reads event streams, some of which end by themselves soon.
func (s *soak) listening(on *service) client {
	w := s.wire(nil)
	return repeat(100*time.Millisecond, func(chance *rand.Rand) {
		n := 10 + chance.IntN(100)
		s.ask(on, w, "http", "event stream", question{
			method: http.MethodGet, path: fmt.Sprintf("/events?n=%d&pause=30ms", n),
			check: func(x *exchange, resp *http.Response) error {
				lines := bufio.NewReader(resp.Body)
				for i := range n {
					line, err := lines.ReadString('\n')
					switch want := eventData(x.nonce, i) + "\n"; {
					case errors.Is(err, io.ErrUnexpectedEOF):
						return endedInOrder{err}
					case err == io.EOF:
						return wrongError{fmt.Errorf("over after %d of %d events", i, n)}
					case err != nil:
						return brokenStream{err}
					case line != want:
						return wrongError{fmt.Errorf("event %q, and not %q", line, want)}
					}
					if _, err := lines.ReadString('\n'); err != nil {
						return brokenStream{err}
					}
				}
				_, err := lines.ReadByte()
				if errors.Is(err, io.ErrUnexpectedEOF) {
					return endedInOrder{err}
				} else if err != io.EOF {
					return brokenStream{fmt.Errorf("behind the last event: %w", err)}
				}
				return nil
			},
		})
	})
}

// talking sends messages over WebSockets, each of which must come back.
func (s *soak) talking(on *service) client {
	by := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return repeat(100*time.Millisecond, func(chance *rand.Rand) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		ctx, sent := watchSending(ctx)
		x := s.newExchange("WebSocket", on, true)
		s.ledger.begun(x)
		c, resp, err := websocket.Dial(ctx, "ws://"+s.proxy.http+"/socket", &websocket.DialOptions{
			HTTPClient: by, Host: on.host, HTTPHeader: http.Header{nonceField: {x.nonce}},
		})
		switch {
		case err != nil && resp == nil:
			x.sent = sent()
			s.ledger.failed(x, unanswered(err), err)
			return
		case err != nil:
			x.status, x.part = resp.StatusCode, resp.Header.Get("X-Parachute-Error")
			s.ledger.failed(x, refused, err)
			return
		}
		defer c.CloseNow()
		x.first, x.status, x.instance = time.Now(), resp.StatusCode, resp.Header.Get(instanceField)
		for i := range 5 + chance.IntN(40) {
			if err := say(ctx, c, fmt.Sprintf("%s %d", x.nonce, i)); err != nil {
				s.ledger.failed(x, stageOf(err), err)
				return
			}
			think(ctx, chance, 50*time.Millisecond)
		}
		if err := on.answered(x); err != nil {
			s.ledger.failed(x, checking, err)
			return
		}
		if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
			s.ledger.failed(x, streaming, ofSocket(err))
			return
		}
		s.ledger.good(x)
	})
}

// farewell is how long the client of a WebSocket waits for the answer to its Close frame.
const farewell = 5 * time.Second

// say sends a message, and expects it back.
func say(ctx context.Context, c *websocket.Conn, message string) error {
	if err := c.Write(ctx, websocket.MessageText, []byte(message)); err != nil {
		// Why it cannot be written is what there is to read.
		if _, _, because := c.Read(ctx); because != nil {
			err = because
		}
		return ofSocket(err)
	}
	_, got, err := c.Read(ctx)
	if err != nil {
		return ofSocket(err)
	}
	if string(got) != message {
		return wrongError{fmt.Errorf("message %q, and not %q", got, message)}
	}
	return nil
}

// ofSocket returns how a WebSocket has ended.
func ofSocket(err error) error {
	if websocket.CloseStatus(err) == websocket.StatusGoingAway {
		return endedInOrder{err}
	}
	return brokenStream{err}
}
