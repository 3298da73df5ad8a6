package issuer

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"golang.org/x/crypto/acme"
)

// newOrder orders a certificate for names. If the authority suggests when to renew, and
// the account's key is of the usual kind, it is told that the order replaces a
// certificate, by its identifier, which keeps the order out of some of its limits
// (RFC 9773, section 5); "": it replaces none. An authority that does not take that, as
// for a certificate that it has not issued, gets the order without it.
func (i *Issuer) newOrder(ctx context.Context, client *acme.Client, names []string, replaces string) (*acme.Order, error) {
	key, isUsual := client.Key.(*ecdsa.PrivateKey)
	if replaces != "" && isUsual && key.Curve == elliptic.P256() {
		if url, err := i.renewalURL(ctx); err == nil && url != "" {
			o, err := i.orderReplacement(ctx, client, key, names, replaces)
			if o != nil || err != nil {
				return o, err
			}
		}
	}
	return client.AuthorizeOrder(ctx, acme.DomainIDs(names...))
}

// orderReplacement sends the order itself, for the acme package knows no such field. It
// returns no order and no error if the authority does not take it.
func (i *Issuer) orderReplacement(ctx context.Context, client *acme.Client, key *ecdsa.PrivateKey, names []string, replaces string) (*acme.Order, error) {
	directory, err := client.Discover(ctx)
	if err != nil {
		return nil, err
	}
	nonce, err := i.nonce(ctx, directory.NonceURL)
	if err != nil {
		return nil, err
	}
	body, err := sign(key, map[string]any{"alg": "ES256", "kid": client.KID, "nonce": nonce, "url": directory.OrderURL},
		map[string]any{"identifiers": identifiers(names), "replaces": replaces})
	if err != nil {
		return nil, err
	}
	header, status, answer, err := i.send(ctx, http.MethodPost, directory.OrderURL, body)
	switch {
	case err != nil:
		return nil, err
	case status == http.StatusTooManyRequests || status >= 500:
		var problem struct{ Type, Detail string }
		_ = json.Unmarshal(answer, &problem)
		return nil, &acme.Error{StatusCode: status, ProblemType: problem.Type, Detail: problem.Detail, Header: header}
	case status != http.StatusCreated:
		return nil, nil
	}
	var order struct {
		Status         string
		Authorizations []string
		Finalize       string
	}
	if err := json.Unmarshal(answer, &order); err != nil {
		return nil, fmt.Errorf("the authority's answer to an order: %w", err)
	}
	return &acme.Order{URI: header.Get("Location"), Status: order.Status, AuthzURLs: order.Authorizations, FinalizeURL: order.Finalize}, nil
}

// nonce returns a new one of the authority's (RFC 8555, section 7.2).
func (i *Issuer) nonce(ctx context.Context, url string) (string, error) {
	header, status, _, err := i.send(ctx, http.MethodHead, url, nil)
	if err != nil {
		return "", err
	}
	nonce := header.Get("Replay-Nonce")
	if nonce == "" {
		return "", fmt.Errorf("HEAD %s: answered %d without a nonce", url, status)
	}
	return nonce, nil
}

func (i *Issuer) send(ctx context.Context, method, url string, body []byte) (header http.Header, status int, answer []byte, err error) {
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, 0, nil, err
	}
	r.Header.Set("User-Agent", i.o.UserAgent)
	r.Header.Set("Content-Type", "application/jose+json")
	resp, err := (&http.Client{Transport: i.transport}).Do(r)
	if err != nil {
		return nil, 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	return resp.Header, resp.StatusCode, answer, err
}

// identifiers returns names as they stand in an order (RFC 8555, section 7.4).
func identifiers(names []string) []map[string]string {
	all := make([]map[string]string, len(names))
	for k, name := range names {
		all[k] = map[string]string{"type": "dns", "value": name}
	}
	return all
}

// sign returns a request in the form that authorities take (RFC 8555, section 6.2).
func sign(key *ecdsa.PrivateKey, protected, payload any) ([]byte, error) {
	head, err := json.Marshal(protected)
	if err != nil {
		return nil, err
	}
	content, err := json.Marshal(payload)
	if err != nil {
		return nil, err
	}
	encode := base64.RawURLEncoding.EncodeToString
	signed := map[string]string{"protected": encode(head), "payload": encode(content)}
	digest := sha256.Sum256([]byte(signed["protected"] + "." + signed["payload"]))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		return nil, err
	}
	signature := make([]byte, 64) // RFC 7518, section 3.4
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	signed["signature"] = encode(signature)
	return json.Marshal(signed)
}
