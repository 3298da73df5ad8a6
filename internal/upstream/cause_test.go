package upstream_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"syscall"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/upstream"
)

func TestErrorHasTheCauseThatCallsForItsRemedy(t *testing.T) {
	dial := func(err error) error { return &upstream.Error{Reason: upstream.Dial, Err: err} }
	for _, tt := range []struct {
		err  error
		want upstream.Cause
	}{
		{dial(&net.OpError{Op: "dial", Err: syscall.EMFILE}), upstream.CauseShortage},
		{dial(&net.DNSError{Err: "no such host", IsNotFound: true}), upstream.CauseUnknownHost},
		{dial(fmt.Errorf("%w: EOF", upstream.ErrNoHTTP2)), upstream.CauseNotGRPC},
		{dial(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}), upstream.CauseRefused},
		{dial(&net.OpError{Op: "dial", Net: "unix", Err: fs.ErrNotExist}), upstream.CauseRefused},
		{dial(tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}), upstream.CauseSpeaksPlain},
		{dial(&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}), upstream.CauseCertificate},
		{&upstream.Error{Reason: upstream.Malformed, Err: upstream.ErrTLS}, upstream.CauseSpeaksTLS},
		{dial(&net.OpError{Op: "remote error", Err: errors.New("handshake failure")}), upstream.CauseHandshake},
		{dial(&net.OpError{Op: "local error", Err: errors.New("bad record MAC")}), upstream.CauseHandshake},
		{dial(errors.New("tls: server selected unsupported protocol version 301")), upstream.CauseHandshake},
		{dial(&net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH}), upstream.CauseUnreachable},
		{&upstream.Error{Reason: upstream.Malformed, Err: errors.New("malformed status line")}, upstream.CauseMalformed},
		{errors.New("http2: frame too large, note that the frame header looked like an HTTP/1.1 header"), upstream.CauseMalformed},
		{&upstream.Error{Reason: upstream.Broken, Err: io.EOF}, upstream.CauseNoAnswer},
		{io.EOF, upstream.CauseNoAnswer},
	} {
		t.Run(tt.err.Error(), func(t *testing.T) {
			is.New(t).Equal(upstream.CauseOf(tt.err), tt.want)
		})
	}
}
