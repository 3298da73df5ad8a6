package issuer

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/acme"
)

const (
	// orderTimeout is how long one order may take. With DNS-01, most of it is for the
	// zone's servers.
	orderTimeout = 10 * time.Minute

	// relinquishTimeout is how long it may take to give up an order.
	relinquishTimeout = 10 * time.Second

	// maxCommonName is how long the common name of a certificate may be (RFC 5280,
	// appendix A.1).
	maxCommonName = 64
)

// An unprovenError is why an order came to nothing: names could not be proven by one
// type of challenge. Another type may do.
type unprovenError struct {
	kind   string // of the challenge; "": the authority offers none
	asked  bool   // the authority has tried to verify it
	reason string
}

func (e *unprovenError) Error() string { return unproven{e}.Error() }

// unproven are the reasons of several orders for the same names.
type unproven []*unprovenError

func (all unproven) Error() string {
	begin, reasons := "the authority could not verify it: ", make([]string, len(all))
	for i, e := range all {
		if reasons[i] = e.reason; e.kind != "" {
			reasons[i] = e.kind + ": " + e.reason
		}
		if !e.asked {
			begin = "it could not be verified: "
		}
	}
	return begin + strings.Join(reasons, "; ")
}

// order obtains a certificate for names, which it proves by the first of kinds that the
// authority offers and, if that does not do, by the next ones, each in an order of its
// own: an authorization that has failed once has failed for good. replaces is the
// identifier of the certificate that is renewed, or "". note is told what an order waits
// for.
func (i *Issuer) order(ctx context.Context, names, kinds []string, replaces string, note func(what string)) (*tls.Certificate, error) {
	var failures unproven
	for {
		cert, err := i.orderOnce(ctx, names, kinds, replaces, note)
		var failure *unprovenError
		if !errors.As(err, &failure) {
			return cert, err
		}
		failures = append(failures, failure)
		kinds = kinds[slices.Index(kinds, failure.kind)+1:]
		if failure.kind == "" || len(kinds) == 0 {
			return nil, failures
		}
	}
}

func (i *Issuer) orderOnce(ctx context.Context, names, kinds []string, replaces string, note func(what string)) (*tls.Certificate, error) {
	client, err := i.client(ctx)
	if err != nil {
		return nil, err
	}
	o, err := i.newOrder(ctx, client, names, replaces)
	if err != nil {
		return nil, err
	}
	if o.Status == acme.StatusPending {
		if err := i.authorize(ctx, client, o, kinds, note); err != nil {
			i.relinquish(client, o)
			return nil, err
		}
		if o, err = client.WaitOrder(ctx, o.URI); err != nil {
			return nil, err
		}
	}
	return finalize(ctx, client, o, names)
}

// authorize answers a challenge for each name of the order, and returns when the
// authority has verified all of them.
func (i *Issuer) authorize(ctx context.Context, client *acme.Client, o *acme.Order, kinds []string, note func(what string)) error {
	var accepted []*acme.Challenge
	var authorizations []string
	records := i.newRecords()
	defer records.removeAll()
	for _, url := range o.AuthzURLs {
		z, err := client.GetAuthorization(ctx, url)
		if err != nil {
			return err
		}
		if z.Status == acme.StatusValid {
			continue // from an order before
		}
		c := pick(z.Challenges, kinds)
		if c == nil {
			return &unprovenError{reason: "the authority offers none of " + strings.Join(kinds, ", ")}
		}
		if c.Type == dns01 {
			var value string
			if value, err = client.DNS01ChallengeRecord(c.Token); err == nil {
				note("the TXT record that proves " + z.Identifier.Value + " is being set")
				err = records.set(ctx, z.Identifier.Value, value)
			}
		} else {
			var withdraw func()
			if withdraw, err = i.answer(ctx, client, c, z.Identifier.Value); err == nil {
				defer withdraw()
			}
		}
		if err != nil {
			return unlessOver(ctx, &unprovenError{kind: c.Type, reason: err.Error()})
		}
		accepted, authorizations = append(accepted, c), append(authorizations, url)
	}
	if err := records.await(ctx, note); err != nil {
		return unlessOver(ctx, &unprovenError{kind: dns01, reason: err.Error()})
	}
	for _, c := range accepted {
		if _, err := client.Accept(ctx, c); err != nil {
			return err
		}
	}
	for k, url := range authorizations {
		_, err := client.WaitAuthorization(ctx, url)
		var invalid *acme.AuthorizationError
		if errors.As(err, &invalid) {
			return &unprovenError{kind: accepted[k].Type, asked: true, reason: reasonOf(invalid) + records.doubt()}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unlessOver returns err, or why ctx has ended.
func unlessOver(ctx context.Context, err error) error {
	if context.Cause(ctx) == context.Canceled {
		return ErrClosed
	}
	return err
}

// pick returns the challenge of the first of kinds that there is one of, or nil.
func pick(challenges []*acme.Challenge, kinds []string) *acme.Challenge {
	for _, kind := range kinds {
		for _, c := range challenges {
			if c.Type == kind {
				return c
			}
		}
	}
	return nil
}

// reasonOf returns what the authority has seen, without what the types and numbers of
// its errors would add.
func reasonOf(invalid *acme.AuthorizationError) string {
	var details []string
	for _, err := range invalid.Errors {
		detail := err.Error()
		var problem *acme.Error
		if errors.As(err, &problem) && problem.Detail != "" {
			detail = problem.Detail
		}
		if !slices.Contains(details, detail) {
			details = append(details, detail)
		}
	}
	if len(details) == 0 {
		return "it did not say why"
	}
	return strings.Join(details, "; ")
}

// relinquish gives up what is pending of the order, for authorities limit that.
func (i *Issuer) relinquish(client *acme.Client, o *acme.Order) {
	_ = i.within(relinquishTimeout, func(ctx context.Context) error {
		for _, url := range o.AuthzURLs {
			z, err := client.GetAuthorization(ctx, url)
			if err == nil && z.Status == acme.StatusPending {
				err = client.RevokeAuthorization(ctx, url)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// finalize has the authority issue what was ordered, for a new key.
func finalize(ctx context.Context, client *acme.Client, o *acme.Order, names []string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	request := &x509.CertificateRequest{DNSNames: names}
	if len(names[0]) <= maxCommonName {
		request.Subject = pkix.Name{CommonName: names[0]}
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, request, key)
	if err != nil {
		return nil, err
	}
	chain, _, err := client.CreateCertFromOrder(ctx, o, csr, true)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return nil, fmt.Errorf("what the authority has issued: %w", err)
	}
	for _, name := range names {
		if err := leaf.VerifyHostname(name); err != nil {
			return nil, fmt.Errorf("what the authority has issued: %w", err)
		}
	}
	switch {
	case !key.PublicKey.Equal(leaf.PublicKey):
		return nil, errors.New("what the authority has issued is for another key")
	case time.Now().After(leaf.NotAfter):
		return nil, errors.New("what the authority has issued has expired")
	}
	return &tls.Certificate{Certificate: chain, PrivateKey: key, Leaf: leaf}, nil
}
