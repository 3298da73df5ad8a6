package forward_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/shahnk19/parachute/internal/proxytest"
)

// A frameClient speaks HTTP/2 frame by frame with the proxy.
type frameClient struct {
	t    *testing.T
	conn net.Conn
	*http2.Framer
	head    bytes.Buffer
	encoder *hpack.Encoder
	streams uint32 // how many were opened
}

func dialFrames(t *testing.T, n *proxytest.Net) *frameClient {
	t.Helper()
	c := &frameClient{t: t, conn: dial(t, n)}
	io.WriteString(c.conn, http2.ClientPreface)
	c.Framer = http2.NewFramer(c.conn, c.conn)
	c.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.encoder = hpack.NewEncoder(&c.head)
	c.must(c.WriteSettings())
	return c
}

func (c *frameClient) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// ask opens a stream for a request with further fields, each with its value
// behind it, and returns its id. The stream is half-closed if there is no body.
func (c *frameClient) ask(method string, body bool, fields ...string) uint32 {
	c.t.Helper()
	id := 2*c.streams + 1
	c.streams++
	c.fields(id, !body, append([]string{":method", method, ":scheme", "http", ":authority", "app.test", ":path", "/"}, fields...)...)
	return id
}

// fields sends a HEADERS frame.
func (c *frameClient) fields(id uint32, end bool, fields ...string) {
	c.t.Helper()
	c.head.Reset()
	for i := 0; i < len(fields); i += 2 {
		c.must(c.encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}))
	}
	c.must(c.WriteHeaders(http2.HeadersFrameParam{
		StreamID: id, BlockFragment: c.head.Bytes(), EndHeaders: true, EndStream: end,
	}))
}

// next returns the next frame of a stream, as in
// "HEADERS :status=200 date=today", "DATA hello END_STREAM" or
// "RST_STREAM CANCEL"; and "EOF" when the connection has ended.
func (c *frameClient) next() string {
	c.t.Helper()
	for {
		frame, err := c.ReadFrame()
		if err != nil {
			return "EOF"
		}
		end := ""
		if frame.Header().Flags.Has(http2.FlagDataEndStream) {
			end = " END_STREAM"
		}
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			var s strings.Builder
			for _, field := range f.Fields {
				fmt.Fprintf(&s, " %s=%s", field.Name, field.Value)
			}
			return "HEADERS" + s.String() + end
		case *http2.DataFrame:
			if len(f.Data()) > 0 {
				return "DATA " + string(f.Data()) + end
			}
			return "DATA" + end
		case *http2.RSTStreamFrame:
			return "RST_STREAM " + f.ErrCode.String()
		}
	}
}
