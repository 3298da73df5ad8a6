package upstream_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/upstream"
)

func TestTLS(t *testing.T) {
	is := is.New(t)
	requests := 0
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests++
		b, _ := io.ReadAll(r.Body)
		w.Write(b)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	connections := make(map[string]bool)
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			connections[conn.LocalAddr().String()] = true
		}
		return conn, err
	}
	roots := server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	o := upstream.Options{Network: "tcp", Address: server.Listener.Addr().String(), Dial: dial, TLS: &tls.Config{RootCAs: roots}}
	pool := upstream.New(o)
	defer pool.Close()
	big := blob(1 << 20)
	for range 3 {
		got, err := readAll(pool.Exchange(request("POST", bytes.NewReader(big), int64(len(big))), "/", field.View{}, nil))
		is.NoErr(err)
		is.True(got == string(big)) // body
	}
	dialled := len(connections)
	for range 3 { // which may use a connection that was idle for longer than half a second
		_, err := readAll(pool.Exchange(request("GET", nil, 0), "/", field.View{}, nil))
		is.NoErr(err)
	}
	is.Equal(requests, 6)               // requests
	is.Equal(len(connections), dialled) // connections

	o.TLS = &tls.Config{RootCAs: roots, ServerName: "other.test"}
	other := upstream.New(o)
	defer other.Close()
	_, err := other.Exchange(request("GET", nil, 0), "/", field.View{}, nil)
	why, repeatable := reason(err)
	is.Equal(why, upstream.Dial)
	is.True(repeatable)
	var mismatch *tls.CertificateVerificationError
	is.True(errors.As(err, &mismatch)) // the cause is kept
}
