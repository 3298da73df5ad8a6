package server_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
	"golang.org/x/net/http2"
)

func TestHeadOfMoreThanTheLimitIsRefusedInEveryVersion(t *testing.T) {
	t.Parallel()
	c := newConfig(t)
	c.HTTP3 = true
	c.Limits.HeaderBytes = 16 << 10
	s := startSite(t, c)
	for proto, client := range s.clients(t) {
		t.Run(proto, func(t *testing.T) {
			is := is.New(t)
			r, err := http.NewRequest("GET", "https://"+s.secure, nil)
			is.NoErr(err)
			r.Host = host
			r.Header.Set("X-Large", strings.Repeat("x", 8<<10))
			res, err := client.Do(r)
			is.NoErr(err)
			is.Equal(bodyOf(t, res), "hello") // below the limit
			is.NoErr(res.Body.Close())

			r.Header.Set("X-Large", strings.Repeat("x", 32<<10))
			res, err = client.Do(r)
			if err == nil {
				is.Equal(res.StatusCode, http.StatusRequestHeaderFieldsTooLarge)
				is.NoErr(res.Body.Close())
				return
			}
			// A client that was told the limit does not even try.
			is.True(strings.Contains(err.Error(), "header") && strings.Contains(err.Error(), "larger"))
		})
	}
}

func TestConnectionsHaveTheirLimits(t *testing.T) {
	is := is.New(t)
	c := newConfig(t)
	c.Limits.Streams = 7
	c.Limits.HeaderBytes = 32 << 10
	s := startSite(t, c)
	got := s.settings(t)
	is.Equal(got[http2.SettingMaxConcurrentStreams], uint32(7))
	is.True(got[http2.SettingMaxHeaderListSize] >= 32<<10)
	is.True(got[http2.SettingMaxHeaderListSize] < 33<<10) // net/http adds a little

	got = startSite(t, newConfig(t)).settings(t)
	is.Equal(got[http2.SettingMaxConcurrentStreams], uint32(100)) // where nothing is said
	is.True(got[http2.SettingMaxHeaderListSize] < 65<<10)
}

// settings returns what an HTTP/2 client is told about its connection.
func (s *site) settings(t *testing.T) map[http2.SettingID]uint32 {
	t.Helper()
	config := s.trust()
	config.NextProtos = []string{"h2"}
	conn, err := tls.Dial("tcp", s.secure, config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return settings(t, conn)
}

// settings returns what an HTTP/2 client is told about a new connection.
func settings(t *testing.T, conn net.Conn) map[http2.SettingID]uint32 {
	t.Helper()
	io.WriteString(conn, http2.ClientPreface)
	framer := http2.NewFramer(conn, conn)
	framer.WriteSettings()
	frame, err := framer.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	settings, ok := frame.(*http2.SettingsFrame)
	if !ok {
		t.Fatalf("the first frame is %v", frame)
	}
	all := make(map[http2.SettingID]uint32)
	settings.ForeachSetting(func(s http2.Setting) error {
		all[s.ID] = s.Val
		return nil
	})
	return all
}

func TestConnectionsThatAreSlowOrIdleAreClosed(t *testing.T) {
	c := newConfig(t)
	c.Limits.ReadHeader = 500 * time.Millisecond
	c.Limits.Idle = 500 * time.Millisecond
	s := startSite(t, c)
	plain := func() (net.Conn, error) { return net.Dial("tcp", s.address) }
	secure := func() (net.Conn, error) {
		for until := time.Now().Add(patience); ; {
			conn, err := tls.Dial("tcp", s.secure, s.trust())
			if err == nil || time.Now().After(until) { // a handshake may have been too slow for the limit
				return conn, err
			}
		}
	}
	for name, test := range map[string]struct {
		dial func() (net.Conn, error)
		sent string
	}{
		"no head":                {plain, ""},
		"half a head":            {plain, "GET / HTTP/1.1\r\nHost:"},
		"half a head over TLS":   {secure, "GET / HTTP/1.1\r\nHost:"},
		"no second request":      {plain, "GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n"},
		"no second one over TLS": {secure, "GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n"},
		"no handshake":           {func() (net.Conn, error) { return net.Dial("tcp", s.secure) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			conn, err := test.dial()
			is.NoErr(err)
			defer conn.Close()
			_, _ = io.WriteString(conn, test.sent) // whoever is late with it is hung up on just so
			is.NoErr(conn.SetReadDeadline(time.Now().Add(patience)))
			_, err = io.Copy(io.Discard, conn) // until it is hung up on
			is.True(!errors.Is(err, os.ErrDeadlineExceeded))
		})
	}
}
