package proxytest

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// An order is for one name, and hence has one authorization.
type order struct {
	id      int
	account *account
	name    string
	token   string // of all its challenges

	// Guarded by its CA's mu.
	status  string   // of the authorization
	tried   string   // the type of the challenge that was or is validated
	failure *problem // why that came to nothing
	chain   []byte   // the certificate, PEM encoded; nil: not finalized
}

func (o *order) statusLocked() string {
	switch {
	case o.chain != nil:
		return "valid"
	case o.status == "valid":
		return "ready"
	case o.status == "pending":
		return "pending"
	}
	return "invalid"
}

// ordered is signed for what concerns an order of the account.
func (ca *CA) ordered(serve func(http.ResponseWriter, *message, *order) error) http.HandlerFunc {
	return ca.signed(func(w http.ResponseWriter, m *message) error {
		o := ca.order(m)
		if o == nil {
			return problemf(http.StatusNotFound, "malformed", "the account has no such order")
		}
		return serve(w, m, o)
	})
}

// order returns the one that m is about, or nil.
func (ca *CA) order(m *message) *order {
	id, err := strconv.Atoi(m.PathValue("id"))
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if err != nil || id < 0 || id >= len(ca.orders) || ca.orders[id].account != m.account {
		return nil
	}
	return ca.orders[id]
}

func (ca *CA) newOrder(w http.ResponseWriter, m *message) error {
	var asked struct {
		Identifiers []struct{ Type, Value string }
	}
	if err := json.Unmarshal(m.payload, &asked); err != nil {
		return err
	}
	if len(asked.Identifiers) != 1 || asked.Identifiers[0].Type != "dns" {
		return problemf(http.StatusBadRequest, "malformed", "an order here is for one DNS name")
	}
	name := asked.Identifiers[0].Value
	limit, delay := ca.arrive(name)
	if limit > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(limit/time.Second)))
		return problemf(http.StatusTooManyRequests, "rateLimited", "too many orders")
	}
	pause(m.Context(), delay)

	o := &order{account: m.account, name: name, token: rand.Text(), status: "pending"}
	ca.mu.Lock()
	o.id = len(ca.orders)
	ca.orders = append(ca.orders, o)
	ca.mu.Unlock()
	return ca.answerOrder(w, m, o, http.StatusCreated)
}

// arrive counts an order for name and tells what is to become of it.
func (ca *CA) arrive(name string) (limit, delay time.Duration) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	ca.arrived[name]++
	return ca.limit, ca.delay
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (ca *CA) poll(w http.ResponseWriter, m *message, o *order) error {
	return ca.answerOrder(w, m, o, http.StatusOK)
}

func (ca *CA) answerOrder(w http.ResponseWriter, m *message, o *order, status int) error {
	url := at(m.Request, "/orders/"+strconv.Itoa(o.id))
	ca.mu.Lock()
	body := map[string]any{
		"status":         o.statusLocked(),
		"identifiers":    []any{o.identifier()},
		"authorizations": []string{url + "/authorization"},
		"finalize":       url + "/finalize",
	}
	if o.chain != nil {
		body["certificate"] = url + "/certificate"
	}
	if o.failure != nil {
		body["error"] = o.failure
	}
	ca.mu.Unlock()
	w.Header().Set("Location", url)
	return answer(w, status, body)
}

func (o *order) identifier() any { return map[string]string{"type": "dns", "value": o.name} }

// authorization answers with the state of the authorization, after giving it
// up if that is asked for (RFC 8555, section 7.5.2).
func (ca *CA) authorization(w http.ResponseWriter, m *message, o *order) error {
	var asked struct{ Status string }
	if len(m.payload) > 0 {
		if err := json.Unmarshal(m.payload, &asked); err != nil {
			return err
		}
	}
	ca.mu.Lock()
	if asked.Status == "deactivated" {
		o.status = asked.Status
	}
	challenges := []any{}
	for _, kind := range ca.challenges() {
		challenges = append(challenges, o.challengeLocked(m.Request, kind))
	}
	body := map[string]any{"status": o.status, "identifier": o.identifier(), "challenges": challenges}
	ca.mu.Unlock()
	return answer(w, http.StatusOK, body)
}

func (ca *CA) challenges() []string {
	if ca.Challenges == nil {
		return []string{tlsALPN01, http01}
	}
	return ca.Challenges
}

func (o *order) challengeLocked(r *http.Request, kind string) any {
	body := map[string]any{
		"type":   kind,
		"url":    at(r, "/orders/"+strconv.Itoa(o.id)+"/challenges/"+kind),
		"token":  o.token,
		"status": "pending",
	}
	if o.tried == kind {
		body["status"] = o.status
		if o.status == "pending" {
			body["status"] = "processing"
		}
		if o.failure != nil {
			body["error"] = o.failure
		}
	}
	return body
}

// challenge validates the challenge, unless one of the order was tried before.
// It answers when that is done.
func (ca *CA) challenge(w http.ResponseWriter, m *message, o *order) error {
	kind := m.PathValue("type")
	if !slices.Contains(ca.challenges(), kind) {
		return problemf(http.StatusNotFound, "malformed", "the order has no challenge %q", kind)
	}
	ca.mu.Lock()
	first := len(m.payload) > 0 && o.status == "pending" && o.tried == ""
	if first {
		o.tried = kind
	}
	ca.mu.Unlock()
	if first {
		err := ca.validate(m.Context(), kind, o.name, o.token, o.account.thumbprint)
		ca.validated(o, err)
	}
	ca.mu.Lock()
	body := o.challengeLocked(m.Request, kind)
	ca.mu.Unlock()
	w.Header().Set("Link", "<"+at(m.Request, "/orders/"+strconv.Itoa(o.id)+"/authorization")+`>;rel="up"`)
	return answer(w, http.StatusOK, body)
}

func (ca *CA) validated(o *order, err error) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	switch {
	case o.status != "pending":
	case err != nil:
		o.status = "invalid"
		o.failure = problemf(http.StatusForbidden, "incorrectResponse", "%v", err)
	default:
		o.status = "valid"
	}
}

func (ca *CA) finalize(w http.ResponseWriter, m *message, o *order) error {
	var asked struct{ CSR string }
	if err := json.Unmarshal(m.payload, &asked); err != nil {
		return err
	}
	csr, err := parseCSR(asked.CSR, o.name)
	if err != nil {
		return problemf(http.StatusBadRequest, "badCSR", "%v", err)
	}
	ca.mu.Lock()
	status := o.statusLocked()
	if status == "ready" {
		notBefore, notAfter := ca.validity()
		leaf := ca.certify(csr.PublicKey, notBefore, notAfter, []string{o.name})
		o.chain = slices.Concat(pemEncode("CERTIFICATE", leaf.Raw), pemEncode("CERTIFICATE", ca.root.Raw))
	}
	ca.mu.Unlock()
	if status != "ready" {
		return problemf(http.StatusForbidden, "orderNotReady", "the order is %s", status)
	}
	return ca.answerOrder(w, m, o, http.StatusOK)
}

// parseCSR returns the request, which has to be for name alone.
func parseCSR(encoded, name string) (*x509.CertificateRequest, error) {
	der, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return nil, err
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, err
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, err
	}
	if !slices.Equal(csr.DNSNames, []string{name}) {
		return nil, errors.New("the request is not for " + name + " alone")
	}
	return csr, nil
}

func (ca *CA) certificate(w http.ResponseWriter, m *message, o *order) error {
	ca.mu.Lock()
	chain := o.chain
	ca.mu.Unlock()
	if chain == nil {
		return problemf(http.StatusNotFound, "malformed", "the order has no certificate")
	}
	w.Header().Set("Content-Type", "application/pem-certificate-chain")
	_, err := w.Write(chain)
	return err
}
