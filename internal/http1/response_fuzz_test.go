package http1_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/shahnk19/parachute/internal/http1"
)

// A script is what a handler does, as bytes say: a step for each.
type script struct {
	steps    []byte
	meant    []byte      // the body
	status   int         // as it was meant
	header   http.Header // what the head was meant to have
	trailer  http.Header
	declared int // Content-Length; negative: none
	broken   bool
}

// serve follows the script.
func (s *script) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h["Date"] = nil
	s.status, s.declared = http.StatusOK, -1
	s.header, s.trailer = http.Header{}, http.Header{}
	begun := false
	begin := func() { begun = true }
	write := func(p []byte) {
		begin()
		n, err := w.Write(p)
		if err != nil {
			s.broken = s.broken || err == http.ErrContentLength
			return
		}
		s.meant = append(s.meant, p[:n]...)
	}
	for i, step := range s.steps {
		size := int(step>>4) * int(step>>4) * 100
		switch step & 15 {
		case 0, 1, 2:
			write(bytes.Repeat([]byte{'a' + byte(i%26)}, size))
		case 3:
			write([]byte{step})
		case 4:
			begin()
			http.NewResponseController(w).Flush()
		case 5:
			if !begun {
				s.status = []int{200, 201, 204, 206, 304, 404, 500, 599}[step>>4&7]
				w.WriteHeader(s.status)
			}
			begin()
		case 6:
			if !begun {
				s.declared = size
				h.Set("Content-Length", fmt.Sprint(size))
			}
		case 7:
			if !begun {
				name := fmt.Sprintf("X-Field-%d", step>>4)
				h.Add(name, fmt.Sprintf("value %d", i))
				s.header.Add(name, fmt.Sprintf("value %d", i))
			}
		case 8:
			if !begun {
				h.Set("Trailer", "X-Announced")
				s.trailer["X-Announced"] = nil
			}
		case 13:
			if _, announced := s.trailer["X-Announced"]; announced && begun {
				h.Set("X-Announced", fmt.Sprint(i))
				s.trailer.Set("X-Announced", fmt.Sprint(i))
			}
		case 9:
			h.Set(http.TrailerPrefix+"X-Late", fmt.Sprint(i))
			s.trailer.Set("X-Late", fmt.Sprint(i))
		case 10:
			if !begun {
				w.WriteHeader(http.StatusEarlyHints)
			}
		case 11:
			if !begun {
				h.Set("Transfer-Encoding", "chunked")
			}
		case 14:
			if !begun {
				h["content-length"] = []string{"7"} // which the server does not take for one
			}
		case 12:
			if size > 0 { // else nothing is written
				begin()
			}
			n, err := io.Copy(w, strings.NewReader(strings.Repeat("c", size)))
			s.meant = append(s.meant, strings.Repeat("c", int(n))...)
			s.broken = s.broken || err == http.ErrContentLength
		}
	}
}

// What a handler means is what the client's library reads: the same status, fields and
// body, or else an error, and never less as if it were all.
func FuzzResponse(f *testing.F) {
	for _, seed := range []string{"", "\x10", "\x10\x04\x20", "\xf0\xf1\x04", "\x36\x30", "\x36\x10", "\x16\x30", "\x25\x10", "\x45", "\x08\x10\x09", "\x07\x17\x07\x0a\x30", "\x0b\x13", "\x1c\x04\x2c", "\xf0\xfc\xf0", "\x08\x10\x0d\x09", "\x08\x04\x0d", "\x0e\x10"} {
		f.Add([]byte(seed), byte(0))
		f.Add([]byte(seed), byte(1))
		f.Add([]byte(seed), byte(2))
	}
	f.Fuzz(func(t *testing.T, steps []byte, how byte) {
		if len(steps) > 64 {
			return
		}
		s := &script{steps: steps}
		server := &http1.Server{Handler: http.HandlerFunc(s.serve)}
		client, conn := net.Pipe()
		served := make(chan struct{})
		go func() {
			defer close(served)
			server.ServeConn(conn)
		}()
		request, _ := http.NewRequest([]string{"GET", "HEAD", "GET"}[how%3], "http://app.test/", nil)
		line := request.Method + " / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n"
		if how%3 == 2 {
			line = "GET / HTTP/1.0\r\n\r\n"
		}
		go io.WriteString(client, line)
		br := bufio.NewReader(client)
		res, err := http.ReadResponse(br, request)
		for err == nil && res.StatusCode < 200 {
			res, err = http.ReadResponse(br, request)
		}
		var body []byte
		if err == nil {
			body, err = io.ReadAll(res.Body)
		}
		rest, _ := io.ReadAll(br)
		client.Close()
		<-served
		short := s.declared > len(s.meant) && s.status != 204 && s.status != 304
		switch {
		case s.broken || short:
			// What was announced may be through before the handler wants to write more.
			if err == nil && request.Method != "HEAD" && (short || len(body) != s.declared) {
				t.Fatalf("%x: a response that the handler did not complete looks complete: %q", steps, body)
			}
			return
		case err != nil:
			t.Fatalf("%x: %v", steps, err)
		case len(rest) > 0:
			t.Fatalf("%x: more than a response: %q", steps, rest)
		case res.StatusCode != s.status:
			t.Fatalf("%x: status %d, not %d", steps, res.StatusCode, s.status)
		}
		if want := s.meant; request.Method != "HEAD" && !bytes.Equal(body, want) {
			t.Fatalf("%x: read %d bytes, %d were written", steps, len(body), len(want))
		}
		for name, values := range s.header {
			if !slices.Equal(res.Header[name], values) {
				t.Fatalf("%x: %s is %q, not %q", steps, name, res.Header[name], values)
			}
		}
		if len(res.TransferEncoding) > 0 && !reflect.DeepEqual(res.Trailer, s.trailer) && len(res.Trailer)+len(s.trailer) > 0 {
			t.Fatalf("%x: the trailer is %v, not %v", steps, res.Trailer, s.trailer)
		}
		for name := range res.Header {
			_, set := s.header[name]
			_, announced := s.trailer["X-Announced"]
			if !set && !(announced && name == "Trailer") && name != "Content-Length" && name != "Connection" {
				t.Fatalf("%x: a field that nobody set: %s: %q", steps, name, res.Header[name])
			}
		}
	})
}
