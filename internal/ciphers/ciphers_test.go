package ciphers_test

import (
	"crypto/tls"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/ciphers"
)

func TestNoSuiteIsOneThatGoCallsInsecure(t *testing.T) {
	is := is.New(t)
	secure := make(map[uint16]bool)
	for _, s := range tls.CipherSuites() {
		secure[s.ID] = true
	}
	for _, id := range ciphers.Suites() {
		is.True(secure[id])
	}
	is.Equal(len(ciphers.Suites()), 6) // either kind of certificate with each cipher
}
