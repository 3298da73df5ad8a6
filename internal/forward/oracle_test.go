package forward_test

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/proxytest"
)

// A row is an exchange as seen from both ends of a proxy.
type row struct {
	name  string
	send  string // what the client writes
	after string // what it writes a second later
	ends  bool   // it writes no more, and lets that be known

	until  string // how what the target waits for ends; "": with the head
	answer string // what it writes then
	hangUp bool   // it closes the connection after that

	trusted bool // the client is
	setup   func(*proxy)

	// What must have arrived at the target and what the client must have got,
	// as written by show; a line that must not be there has a "!" in front.
	arrives, gets []string

	// differs tells why the reference does otherwise, on purpose of ours. If
	// it is empty, both ends must see the same with either proxy.
	differs string
}

// What the two ends have seen.
type seen struct{ target, client string }

// Every rule holds, and httputil.ReverseProxy over http.Transport agrees
// unless the table knows better.
func TestForwardDoesAsTheReference(t *testing.T) {
	if proxytest.HasHTTP1() {
		t.Skip("the table is about the server of net/http, which lets more through")
	}
	for _, tt := range slices.Concat(table, upgrades) {
		t.Run(tt.name, func(t *testing.T) {
			var got, want seen
			t.Run("ours", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n := new(proxytest.Net)
					p := newProxy(newPool(t, n).Exchange)
					if tt.trusted {
						p.trusted = loopback
					}
					if tt.setup != nil {
						tt.setup(p)
					}
					got = tt.play(t, n, p)
				})
			})
			t.Run("reference", func(t *testing.T) {
				if tt.differs == earlyHangs {
					t.Skip(earlyHangs) // on a mutex, which stops the clock of a bubble
				}
				synctest.Test(t, func(t *testing.T) {
					n := new(proxytest.Net)
					want = tt.play(t, n, reference(newTransport(t, n)))
				})
			})
			expect(t, "the target", got.target, tt.arrives)
			expect(t, "the client", got.client, tt.gets)
			is := is.New(t)
			switch tt.differs {
			case "":
				is.Equal(got.target, want.target) // what arrives
				is.Equal(got.client, want.client) // what the client gets
			case countsByChance, namesByChance, asksByChance:
			default:
				is.True(got != want) // the reference differs, as the table says
			}
		})
	}
}

func expect(t *testing.T, end, got string, lines []string) {
	t.Helper()
	all := strings.Split(got, "\n")
	for _, line := range lines {
		unwanted, not := strings.CutPrefix(line, "!")
		if slices.Contains(all, unwanted) == not {
			t.Errorf("%s: want %q in\n%s", end, line, got)
		}
	}
}

// reference returns the proxy that ours is compared with.
func reference(transport http.RoundTripper) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host = "http", targetAddr
			p.Out.URL.RawQuery = p.In.URL.RawQuery
			p.Out.Host = p.In.Host
			p.SetXForwarded()
			p.Out.Header.Set("X-Request-Id", "our-id")
			p.Out.Header.Set("X-Request-Start", "t=1700000000123")
		},
		Transport: transport,
		ErrorLog:  log.New(io.Discard, "", 0),
	}
}

func (tt *row) play(t *testing.T, n *proxytest.Net, h http.Handler) seen {
	var mu sync.Mutex // guards heard
	var heard strings.Builder
	n.Script(t, targetAddr, func(conn net.Conn, _ int) {
		for {
			head, err := proxytest.ReadHead(conn)
			mu.Lock()
			heard.WriteString(head)
			mu.Unlock()
			if err != nil {
				return
			}
			end := tt.until == ""
			for b, text := make([]byte, 1), ""; !end; end = strings.HasSuffix(text, tt.until) {
				if _, err := conn.Read(b); err != nil {
					return
				}
				text += string(b)
				mu.Lock()
				heard.Write(b)
				mu.Unlock()
			}
			if _, err := io.WriteString(conn, tt.answer); err != nil || tt.hangUp {
				return
			}
		}
	})
	serve(t, n, h)
	client := dial(t, n)
	io.WriteString(client, tt.send)
	if tt.after != "" {
		time.Sleep(time.Second)
		io.WriteString(client, tt.after)
	}
	if tt.ends {
		client.(interface{ CloseWrite() error }).CloseWrite()
	}
	got, state := hear(client, 5*time.Second)
	mu.Lock()
	defer mu.Unlock()
	return seen{show(heard.String()), show(got) + state}
}

// show writes messages so that two can be compared: their heads sorted and
// without the date, their bodies without chunks.
func show(wire string) string {
	var b strings.Builder
	for wire != "" {
		head, rest, whole := strings.Cut(wire, "\r\n\r\n")
		if !whole {
			fmt.Fprintf(&b, "broken head: %q\n", head)
			break
		}
		lines := strings.Split(head, "\r\n")
		slices.SortStableFunc(lines[1:], byName)
		length := 0
		for _, line := range lines {
			if strings.HasPrefix(line, "Date: ") {
				continue
			}
			if line == "Transfer-Encoding: chunked" {
				length = -1
			}
			if n, ok := strings.CutPrefix(line, "Content-Length: "); ok {
				length, _ = strconv.Atoi(n)
			}
			b.WriteString(line + "\n")
		}
		if length < 0 {
			wire = showChunks(&b, rest)
			continue
		}
		if !strings.Contains(head, "Content-Length") && strings.HasPrefix(head, "HTTP/") && !strings.HasPrefix(head, "HTTP/1.1 1") {
			length = len(rest)
		}
		body := rest[:min(length, len(rest))]
		wire = rest[len(body):]
		if length > 0 {
			fmt.Fprintf(&b, "%.20q (%d of %d)\n", body, len(body), length)
		}
	}
	return b.String()
}

// byName keeps the order of fields that have one name.
func byName(a, b string) int {
	nameA, _, _ := strings.Cut(a, ":")
	nameB, _, _ := strings.Cut(b, ":")
	return strings.Compare(nameA, nameB)
}

func showChunks(b *strings.Builder, wire string) (rest string) {
	var body string
	for {
		line, after, ok := strings.Cut(wire, "\r\n")
		size, err := strconv.ParseInt(line, 16, 32)
		if !ok || err != nil || len(after) < int(size) {
			fmt.Fprintf(b, "%q (broken off: %q)\n", body, wire)
			return ""
		}
		if size == 0 {
			wire = after
			break
		}
		body += after[:size]
		wire = strings.TrimPrefix(after[size:], "\r\n")
	}
	fmt.Fprintf(b, "%q\n", body)
	for {
		line, after, ok := strings.Cut(wire, "\r\n")
		wire = after
		if !ok || line == "" {
			return wire
		}
		fmt.Fprintf(b, "trailer %s\n", line)
	}
}
