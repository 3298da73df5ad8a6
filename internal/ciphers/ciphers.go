// Package ciphers has the cipher suites that are accepted over TLS 1.2.
package ciphers

import "crypto/tls"

// Suites returns those of RFC 9325, section 4.2, whose keys are ephemeral and whose
// encryption is authenticated. CBC has had too many padding oracles. TLS 1.3 has no
// others.
func Suites() []uint16 {
	return []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}
}
