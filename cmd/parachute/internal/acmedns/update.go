package acmedns

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// exchangeTimeout is how long the server has for one answer.
	exchangeTimeout = 10 * time.Second

	// ttl is for how many seconds others may remember a record. It is there for less
	// than that, but none is asked for it twice.
	ttl = 60

	// fudge is by how many seconds the clocks of both sides may differ (RFC 8945,
	// section 10).
	fudge = 300
)

// An update sets records by dynamic updates.
type update struct {
	server string
	key    *Key // nil: they are not signed
}

func (u *update) run(ctx context.Context, do action, name, value string) error {
	zone, err := u.zoneOf(ctx, name)
	if err != nil {
		return err
	}
	record := &dns.TXT{
		Hdr: dns.RR_Header{Name: dns.Fqdn(name), Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: ttl},
		Txt: []string{value},
	}
	answer, err := u.exchange(ctx, func() *dns.Msg {
		m := new(dns.Msg).SetUpdate(zone)
		if do == present {
			m.Insert([]dns.RR{record})
		} else {
			m.Remove([]dns.RR{dns.Copy(record)}) // which changes what it gets
		}
		if u.key != nil {
			m.SetTsig(u.key.name, u.key.algorithm, fudge, time.Now().Unix())
		}
		return m
	})
	if err != nil {
		return err
	}
	return u.refusal(answer, "the update of zone "+strings.TrimSuffix(zone, "."))
}

// zoneOf asks the server for the zone of name.
func (u *update) zoneOf(ctx context.Context, name string) (string, error) {
	answer, err := u.exchange(ctx, func() *dns.Msg { return new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeSOA) })
	if err != nil {
		return "", err
	}
	for _, r := range append(answer.Answer, answer.Ns...) {
		if soa, ok := r.(*dns.SOA); ok && dns.IsSubDomain(soa.Hdr.Name, dns.Fqdn(name)) {
			return soa.Hdr.Name, nil
		}
	}
	if answer.Rcode == dns.RcodeNameError {
		answer.Rcode = dns.RcodeSuccess
	}
	if err := u.refusal(answer, "a question about "+name); err != nil {
		return "", err
	}
	return "", fmt.Errorf("%s has no zone of %s", u.server, name)
}

// refusal returns the error that an answer is, or nil.
func (u *update) refusal(answer *dns.Msg, to string) error {
	if answer.Rcode == dns.RcodeSuccess {
		return nil
	}
	code := dns.RcodeToString[answer.Rcode]
	if t := answer.IsTsig(); t != nil && t.Error != dns.RcodeSuccess {
		code += ", " + dns.RcodeToString[int(t.Error)]
	}
	return fmt.Errorf("%s answered %s to %s", u.server, code, to)
}

// exchange sends a message over UDP, and over TCP if that does not get through. To send
// an update twice changes nothing.
func (u *update) exchange(ctx context.Context, message func() *dns.Msg) (*dns.Msg, error) {
	var errs []error
	for _, network := range []string{"udp", "tcp"} {
		client := &dns.Client{Net: network, Timeout: exchangeTimeout}
		if u.key != nil {
			client.TsigSecret = map[string]string{u.key.name: u.key.secret}
		}
		answer, _, err := client.ExchangeContext(ctx, message(), u.server)
		switch {
		case answer != nil && answer.Rcode != dns.RcodeSuccess:
			return answer, nil // one that refuses a key does not sign with it
		case err == nil && !answer.Truncated:
			return answer, nil
		case err != nil:
			errs = append(errs, fmt.Errorf("%s over %s: %w", u.server, network, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}
