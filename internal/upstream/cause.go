package upstream

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"net"
	"strings"
	"syscall"

	"github.com/shahnk19/parachute/internal/descriptors"
)

// A Cause is the reason of an error of an exchange, as far as it calls for a remedy of
// its own.
type Cause string

const (
	CauseRefused     Cause = "refused"      // nothing listens at the address
	CauseUnknownHost Cause = "unknown_host" // the name has no address
	CauseUnreachable Cause = "unreachable"  // no connection could be made, for another reason
	CauseNoAnswer    Cause = "no_answer"    // the connection was closed before there was one
	CauseSpeaksTLS   Cause = "speaks_tls"   // the target expects TLS, and the exchange did not use it
	CauseSpeaksPlain Cause = "speaks_plain" // it does not speak TLS, and the exchange used it
	CauseHandshake   Cause = "handshake"    // the handshake failed, for another reason than the certificate
	CauseCertificate Cause = "certificate"  // the target's certificate was not accepted
	CauseMalformed   Cause = "malformed"    // the answer is not HTTP
	CauseShortage    Cause = "shortage"     // this process may open no more connections
	CauseNotGRPC     Cause = "not_grpc"     // the target does not speak HTTP/2
)

// CauseOf returns the Cause of an error that an exchange returned.
func CauseOf(err error) Cause {
	var (
		failure *Error
		name    *net.DNSError
		record  tls.RecordHeaderError
		verify  *tls.CertificateVerificationError
	)
	switch isFailure := errors.As(err, &failure); {
	case descriptors.IsShortage(err):
		return CauseShortage
	case errors.As(err, &name):
		return CauseUnknownHost
	case errors.Is(err, ErrNoHTTP2):
		return CauseNotGRPC
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist): // of a unix socket
		return CauseRefused
	case errors.As(err, &record):
		return CauseSpeaksPlain
	case errors.As(err, &verify):
		return CauseCertificate
	case errors.Is(err, ErrTLS):
		return CauseSpeaksTLS
	case isHandshake(err):
		return CauseHandshake
	case isFailure && failure.Reason == Dial:
		return CauseUnreachable
	case isFailure && failure.Reason == Malformed:
		return CauseMalformed
	case strings.Contains(err.Error(), "looked like an HTTP/1.1 header"): // an error of net/http for HTTP/2
		return CauseMalformed
	}
	return CauseNoAnswer
}

// isHandshake reports whether an error is one of TLS: an alert, or what crypto/tls
// says that it cannot accept.
func isHandshake(err error) bool {
	e, ok := errors.AsType[*net.OpError](err)
	return ok && (e.Op == "remote error" || e.Op == "local error") || strings.Contains(err.Error(), "tls: ")
}
