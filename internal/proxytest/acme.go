package proxytest

import (
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	directoryPath = "/directory"
	renewalPath   = "/renewals/"
)

// An account is a key that agreed to the terms of service.
type account struct {
	key        *ecdsa.PublicKey
	thumbprint string
}

// A problem is an answer as in RFC 7807, with the types of RFC 8555, section
// 6.7.
type problem struct {
	Type   string `json:"type"`
	Detail string `json:"detail"`
	Status int    `json:"status"`
}

func (p *problem) Error() string { return p.Type + ": " + p.Detail }

func problemf(status int, kind, format string, args ...any) *problem {
	return &problem{Type: "urn:ietf:params:acme:error:" + kind, Detail: fmt.Sprintf(format, args...), Status: status}
}

func malformed(err error) *problem { return problemf(http.StatusBadRequest, "malformed", "%v", err) }

// A message is a POST whose signature was verified.
type message struct {
	*http.Request
	jwk     json.RawMessage // for a new account; nil: account is set
	account *account
	payload []byte
}

func (ca *CA) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+directoryPath, ca.directory)
	mux.HandleFunc("GET "+renewalPath+"{certificate}", ca.renewalInfo)
	mux.HandleFunc("GET /nonces", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /accounts", ca.signed(ca.newAccount))
	mux.HandleFunc("POST /orders", ca.signed(ca.newOrder))
	mux.HandleFunc("POST /orders/{id}", ca.ordered(ca.poll))
	mux.HandleFunc("POST /orders/{id}/authorizations/{k}", ca.authorized(ca.authorization))
	mux.HandleFunc("POST /orders/{id}/authorizations/{k}/challenges/{type}", ca.authorized(ca.challenge))
	mux.HandleFunc("POST /orders/{id}/finalize", ca.ordered(ca.finalize))
	mux.HandleFunc("POST /orders/{id}/certificate", ca.ordered(ca.certificate))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Replay-Nonce", ca.newNonce())
		w.Header().Set("Cache-Control", "no-store")
		mux.ServeHTTP(w, r)
	})
}

func (ca *CA) directory(w http.ResponseWriter, r *http.Request) {
	directory := map[string]any{
		"newNonce":   at(r, "/nonces"),
		"newAccount": at(r, "/accounts"),
		"newOrder":   at(r, "/orders"),
		"meta": map[string]any{
			"termsOfService":          at(r, "/terms"),
			"externalAccountRequired": len(ca.ExternalAccounts) > 0,
		},
	}
	if ca.Renewal != nil {
		directory["renewalInfo"] = at(r, renewalPath)
	}
	answer(w, http.StatusOK, directory)
}

// renewalInfo is RFC 9773, section 4.2.
func (ca *CA) renewalInfo(w http.ResponseWriter, r *http.Request) {
	start, end, retryAfter := ca.Renewal(r.PathValue("certificate"))
	if retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter/time.Second)))
	}
	answer(w, http.StatusOK, map[string]any{"suggestedWindow": map[string]time.Time{"start": start, "end": end}})
}

func (ca *CA) newNonce() string {
	nonce := rand.Text()
	ca.mu.Lock()
	defer ca.mu.Unlock()
	ca.nonces[nonce] = struct{}{}
	return nonce
}

// signed lets serve have the requests that are signed as RFC 8555, section 6
// asks for.
func (ca *CA) signed(serve func(http.ResponseWriter, *message) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		m, err := ca.open(r)
		if err == nil {
			err = serve(w, m)
		}
		if err == nil {
			return
		}
		p, ok := err.(*problem)
		if !ok {
			p = malformed(err)
		}
		answer(w, p.Status, p)
	}
}

// open verifies what r is signed with: for a new account a key of its own,
// else that of the account.
func (ca *CA) open(r *http.Request) (*message, error) {
	var signed jws
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&signed); err != nil {
		return nil, err
	}
	h, err := signed.header()
	switch {
	case err != nil:
		return nil, err
	case h.Alg != "ES256":
		return nil, problemf(http.StatusBadRequest, "badSignatureAlgorithm", "not ES256 but %q", h.Alg)
	case h.URL != at(r, r.URL.Path):
		return nil, problemf(http.StatusUnauthorized, "unauthorized", "signed for %q", h.URL)
	case (len(h.JWK) > 0) != (r.URL.Path == "/accounts"):
		return nil, problemf(http.StatusBadRequest, "malformed", "a new account has jwk, everything else kid")
	}
	m := &message{Request: r, jwk: h.JWK}
	var key *ecdsa.PublicKey
	if len(h.JWK) > 0 {
		if key, _, err = parseJWK(h.JWK); err != nil {
			return nil, problemf(http.StatusBadRequest, "badPublicKey", "%v", err)
		}
	} else {
		if m.account = ca.account(r, h.KID); m.account == nil {
			return nil, problemf(http.StatusBadRequest, "accountDoesNotExist", "no account %q", h.KID)
		}
		key = m.account.key
	}
	if m.payload, err = signed.verify(key); err != nil {
		return nil, problemf(http.StatusUnauthorized, "unauthorized", "%v", err)
	}
	if !ca.spend(h.Nonce) {
		return nil, problemf(http.StatusBadRequest, "badNonce", "unknown nonce %q", h.Nonce)
	}
	return m, nil
}

// spend reports whether nonce was given out and not used before.
func (ca *CA) spend(nonce string) bool {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	_, known := ca.nonces[nonce]
	delete(ca.nonces, nonce)
	return known
}

// account returns the account that has the given URL, or nil.
func (ca *CA) account(r *http.Request, url string) *account {
	id, err := strconv.Atoi(strings.TrimPrefix(url, at(r, "/accounts/")))
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if err != nil || id < 0 || id >= len(ca.accounts) {
		return nil
	}
	return ca.accounts[id]
}

func (ca *CA) newAccount(w http.ResponseWriter, m *message) error {
	var asked struct {
		TermsOfServiceAgreed, OnlyReturnExisting bool
		ExternalAccountBinding                   *jws
	}
	if err := json.Unmarshal(m.payload, &asked); err != nil {
		return err
	}
	key, thumbprint, err := parseJWK(m.jwk)
	if err != nil {
		return err
	}
	ca.mu.Lock()
	defer ca.mu.Unlock()
	status := http.StatusOK
	known := slices.IndexFunc(ca.accounts, func(a *account) bool { return a.thumbprint == thumbprint })
	if known < 0 {
		switch {
		case asked.OnlyReturnExisting:
			return problemf(http.StatusBadRequest, "accountDoesNotExist", "no account has this key")
		case !asked.TermsOfServiceAgreed:
			return problemf(http.StatusForbidden, "userActionRequired", "the terms of service were not agreed to")
		}
		if err := ca.checkBinding(m, asked.ExternalAccountBinding, thumbprint); err != nil {
			return err
		}
		known, status = len(ca.accounts), http.StatusCreated
		ca.accounts = append(ca.accounts, &account{key: key, thumbprint: thumbprint})
	}
	w.Header().Set("Location", at(m.Request, "/accounts/"+strconv.Itoa(known)))
	return answer(w, status, map[string]any{"status": "valid"})
}

// checkBinding is RFC 8555, section 7.3.4.
func (ca *CA) checkBinding(m *message, binding *jws, thumbprint string) error {
	if len(ca.ExternalAccounts) == 0 {
		return nil
	}
	if binding == nil {
		return problemf(http.StatusForbidden, "externalAccountRequired", "the account is not bound to an external one")
	}
	h, err := binding.header()
	if err != nil {
		return err
	}
	mac, known := ca.ExternalAccounts[h.KID]
	if !known || h.Alg != "HS256" || h.URL != at(m.Request, m.URL.Path) {
		return problemf(http.StatusForbidden, "unauthorized", "binding with alg %q, kid %q, url %q", h.Alg, h.KID, h.URL)
	}
	bound, err := binding.verifyMAC(mac)
	if err != nil {
		return problemf(http.StatusForbidden, "unauthorized", "binding: %v", err)
	}
	if _, of, err := parseJWK(bound); err != nil || of != thumbprint {
		return problemf(http.StatusForbidden, "unauthorized", "binding of another key")
	}
	return nil
}

// at returns the URL of path on the server that got r.
func at(r *http.Request, path string) string { return "https://" + r.Host + path }

func answer(w http.ResponseWriter, status int, body any) error {
	w.Header().Set("Content-Type", "application/json")
	if status >= 400 {
		w.Header().Set("Content-Type", "application/problem+json")
	}
	w.WriteHeader(status)
	return json.NewEncoder(w).Encode(body)
}
