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
	"strings"
	"time"
)

// An order is for some names, each of which has an authorization.
type order struct {
	id             int
	account        *account
	names          []string
	authorizations []*authorization
	chain          []byte // the certificate, PEM encoded; nil: not finalized; guarded by its CA's mu
}

// An authorization is for a name, or a wildcard.
type authorization struct {
	path  string // below that of the order
	name  string // without "*."
	isAll bool   // it is for the wildcard
	token string // of all its challenges

	// Guarded by its CA's mu.
	status  string   // as the CA tells it
	tried   string   // the type of the challenge that was or is validated
	failure *problem // why that came to nothing
}

func (o *order) statusLocked() string {
	if o.chain != nil {
		return "valid"
	}
	status := "ready"
	for _, z := range o.authorizations {
		switch z.status {
		case "valid":
		case "pending":
			status = "pending"
		default:
			return "invalid"
		}
	}
	return status
}

// failureLocked returns why a name of the order could not be proven, or nil.
func (o *order) failureLocked() *problem {
	for _, z := range o.authorizations {
		if z.failure != nil {
			return z.failure
		}
	}
	return nil
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
		Replaces    string
	}
	if err := json.Unmarshal(m.payload, &asked); err != nil {
		return err
	}
	o := &order{account: m.account}
	for k, id := range asked.Identifiers {
		if id.Type != "dns" {
			return problemf(http.StatusBadRequest, "malformed", "an order here is for DNS names")
		}
		name, isAll := strings.CutPrefix(id.Value, "*.")
		o.names = append(o.names, id.Value)
		o.authorizations = append(o.authorizations, &authorization{
			path: "/authorizations/" + strconv.Itoa(k), name: name, isAll: isAll, token: rand.Text(), status: "pending",
		})
	}
	if len(o.names) == 0 {
		return problemf(http.StatusBadRequest, "malformed", "the order is for no name")
	}
	limit, delay := ca.arrive(o.names)
	if limit > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(limit/time.Second)))
		return problemf(http.StatusTooManyRequests, "rateLimited", "too many orders")
	}
	if asked.Replaces != "" && !ca.Replace(asked.Replaces) {
		return problemf(http.StatusConflict, "alreadyReplaced", "the certificate %s is replaced already", asked.Replaces)
	}
	pause(m.Context(), delay)
	ca.mu.Lock()
	o.id = len(ca.orders)
	ca.orders = append(ca.orders, o)
	ca.mu.Unlock()
	return ca.answerOrder(w, m, o, http.StatusCreated)
}

// arrive counts an order for names and tells what is to become of it.
func (ca *CA) arrive(names []string) (limit, delay time.Duration) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	ca.total++
	for _, name := range names {
		ca.arrived[name]++
	}
	return ca.limit, ca.delay
}

// Replace notes that an order replaces a certificate, and reports whether none did
// before (RFC 9773, section 5).
func (ca *CA) Replace(certificate string) bool {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if slices.Contains(ca.replaced, certificate) {
		return false
	}
	ca.replaced = append(ca.replaced, certificate)
	return true
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
	identifiers, authorizations := []any{}, []string{}
	for k, z := range o.authorizations {
		identifiers = append(identifiers, map[string]string{"type": "dns", "value": o.names[k]})
		authorizations = append(authorizations, url+z.path)
	}
	ca.mu.Lock()
	body := map[string]any{
		"status":         o.statusLocked(),
		"identifiers":    identifiers,
		"authorizations": authorizations,
		"finalize":       url + "/finalize",
	}
	if o.chain != nil {
		body["certificate"] = url + "/certificate"
	}
	if failure := o.failureLocked(); failure != nil {
		body["error"] = failure
	}
	ca.mu.Unlock()
	w.Header().Set("Location", url)
	return answer(w, status, body)
}

// authorized is ordered for what concerns an authorization of the order.
func (ca *CA) authorized(serve func(http.ResponseWriter, *message, *order, *authorization) error) http.HandlerFunc {
	return ca.ordered(func(w http.ResponseWriter, m *message, o *order) error {
		k, err := strconv.Atoi(m.PathValue("k"))
		if err != nil || k < 0 || k >= len(o.authorizations) {
			return problemf(http.StatusNotFound, "malformed", "the order has no such authorization")
		}
		return serve(w, m, o, o.authorizations[k])
	})
}

// authorization answers with the state of the authorization, after giving it
// up if that is asked for (RFC 8555, section 7.5.2).
func (ca *CA) authorization(w http.ResponseWriter, m *message, o *order, z *authorization) error {
	var asked struct{ Status string }
	if len(m.payload) > 0 {
		if err := json.Unmarshal(m.payload, &asked); err != nil {
			return err
		}
	}
	ca.mu.Lock()
	if asked.Status == "deactivated" {
		z.status = asked.Status
	}
	challenges := []any{}
	for _, kind := range ca.challenges(z) {
		challenges = append(challenges, z.challengeLocked(m.Request, o, kind))
	}
	body := map[string]any{
		"status":     z.status,
		"identifier": map[string]string{"type": "dns", "value": z.name},
		"challenges": challenges,
	}
	if z.isAll {
		body["wildcard"] = true
	}
	ca.mu.Unlock()
	return answer(w, http.StatusOK, body)
}

// challenges returns the types that are offered. A wildcard can be proven by dns-01
// alone (RFC 8555, section 8.4).
func (ca *CA) challenges(z *authorization) []string {
	switch {
	case z.isAll:
		return []string{dns01}
	case ca.Challenges != nil:
		return ca.Challenges
	case ca.TXT != nil:
		return []string{tlsALPN01, http01, dns01}
	}
	return []string{tlsALPN01, http01}
}

func (z *authorization) challengeLocked(r *http.Request, o *order, kind string) any {
	body := map[string]any{
		"type":   kind,
		"url":    at(r, "/orders/"+strconv.Itoa(o.id)+z.path+"/challenges/"+kind),
		"token":  z.token,
		"status": "pending",
	}
	if z.tried == kind {
		body["status"] = z.status
		if z.status == "pending" {
			body["status"] = "processing"
		}
		if z.failure != nil {
			body["error"] = z.failure
		}
	}
	return body
}

// challenge validates the challenge, unless one of the authorization was tried
// before. It answers when that is done.
func (ca *CA) challenge(w http.ResponseWriter, m *message, o *order, z *authorization) error {
	kind := m.PathValue("type")
	if !slices.Contains(ca.challenges(z), kind) {
		return problemf(http.StatusNotFound, "malformed", "the authorization has no challenge %q", kind)
	}
	ca.mu.Lock()
	first := len(m.payload) > 0 && z.status == "pending" && z.tried == ""
	if first {
		z.tried = kind
	}
	ca.mu.Unlock()
	if first {
		err := ca.validate(m.Context(), kind, z.name, z.token, o.account.thumbprint)
		ca.validated(z, err)
	}
	ca.mu.Lock()
	body := z.challengeLocked(m.Request, o, kind)
	ca.mu.Unlock()
	w.Header().Set("Link", "<"+at(m.Request, "/orders/"+strconv.Itoa(o.id)+z.path)+`>;rel="up"`)
	return answer(w, http.StatusOK, body)
}

func (ca *CA) validated(z *authorization, err error) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	switch {
	case z.status != "pending":
	case err != nil:
		z.status = "invalid"
		z.failure = problemf(http.StatusForbidden, "incorrectResponse", "%v", err)
	default:
		z.status = "valid"
	}
}

func (ca *CA) finalize(w http.ResponseWriter, m *message, o *order) error {
	var asked struct{ CSR string }
	if err := json.Unmarshal(m.payload, &asked); err != nil {
		return err
	}
	csr, err := parseCSR(asked.CSR, o.names)
	if err != nil {
		return problemf(http.StatusBadRequest, "badCSR", "%v", err)
	}
	ca.mu.Lock()
	status := o.statusLocked()
	if status == "ready" {
		notBefore, notAfter := ca.validity()
		leaf := ca.certify(csr.PublicKey, notBefore, notAfter, o.names)
		o.chain = slices.Concat(pemEncode("CERTIFICATE", leaf.Raw), pemEncode("CERTIFICATE", ca.root.Raw))
	}
	ca.mu.Unlock()
	if status != "ready" {
		return problemf(http.StatusForbidden, "orderNotReady", "the order is %s", status)
	}
	return ca.answerOrder(w, m, o, http.StatusOK)
}

// parseCSR returns the request, which has to be for names alone.
func parseCSR(encoded string, names []string) (*x509.CertificateRequest, error) {
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
	if !slices.Equal(csr.DNSNames, names) {
		return nil, errors.New("the request is not for " + strings.Join(names, ", ") + " alone")
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
