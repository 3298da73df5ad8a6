package server_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"testing"

	"github.com/matryer/is"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// The app waits, after its head and after each byte, until the client has that.
func TestAnswerReachesClientsOfEveryVersionAsItComes(t *testing.T) {
	t.Parallel()
	c := newConfig(t)
	c.HTTP3 = true
	s := startSite(t, c)
	clients := s.clients(t)
	clients["without TLS"] = &http.Client{Timeout: patience}
	for proto, client := range clients {
		for _, query := range []string{"length=3", "length=1000000", "", "length=3&buffering=no"} {
			t.Run(proto+"/"+query, func(t *testing.T) {
				is := is.New(t)
				address := "https://" + s.secure
				if proto == "without TLS" {
					address = "http://" + s.address
				}
				r, err := http.NewRequestWithContext(t.Context(), "GET", address+"/steps?"+query, nil)
				is.NoErr(err)
				r.Host = host
				res, err := client.Do(r)
				is.NoErr(err) // the head has come
				defer res.Body.Close()
				for _, piece := range []string{"a", "b", "c"} {
					s.app.release <- struct{}{}
					got := make([]byte, 1)
					_, err := io.ReadFull(res.Body, got)
					is.NoErr(err)
					is.Equal(string(got), piece)
				}
				s.app.release <- struct{}{}
				_, _ = io.Copy(io.Discard, res.Body)
			})
		}
	}
}

func TestAnswerWithoutABodyIsOverWithItsHeadOverHTTP2(t *testing.T) {
	t.Parallel()
	s := startSite(t, newConfig(t))
	config := s.trust()
	config.NextProtos = []string{"h2"}
	for name, tt := range map[string]struct{ method, path string }{
		"HEAD":             {"HEAD", "/"},
		"204":              {"GET", "/status?status=204"},
		"304":              {"GET", "/status?status=304"},
		"a length of zero": {"GET", "/status?status=200"},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			conn, err := tls.Dial("tcp", s.secure, config)
			is.NoErr(err)
			defer conn.Close()
			_, err = io.WriteString(conn, http2.ClientPreface)
			is.NoErr(err)
			framer := http2.NewFramer(conn, conn)
			is.NoErr(framer.WriteSettings())
			is.NoErr(framer.WriteHeaders(http2.HeadersFrameParam{
				StreamID: 1, BlockFragment: fields(tt.method, tt.path), EndStream: true, EndHeaders: true,
			}))
			for {
				frame, err := framer.ReadFrame()
				is.NoErr(err)
				if frame.Header().StreamID == 1 {
					head, ok := frame.(*http2.HeadersFrame)
					is.True(ok)
					is.True(head.StreamEnded())
					return
				}
			}
		})
	}
}

// fields returns the header block of a request to the site.
func fields(method, path string) []byte {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", method}, {":scheme", "https"}, {":authority", host}, {":path", path}} {
		encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	return block.Bytes()
}
