package upstream

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// A carrier is a transport of an H2C with its connections. One connection has
// many streams, so where a target has other addresses now, the carrier as a whole
// is replaced, and ends with the exchanges that it has; and so it is where a
// connection takes nothing more, and after Options.MaxRequests.
type carrier struct {
	transport *http.Transport

	// Guarded by the H2C's mu.
	active   int  // exchanges that it carries
	requests int  // exchanges that it has carried, and carries
	retired  bool // it gets no more of them
}

// An h2cConn is a connection that its pool can close.
type h2cConn struct {
	net.Conn
	pool *H2C
	of   *carrier
	addr netip.Addr // as Options.addrOf has it
}

func (c *h2cConn) Close() error {
	c.pool.mu.Lock()
	delete(c.pool.conns, c)
	c.pool.mu.Unlock()
	return c.Conn.Close()
}

// newCarrier returns a carrier whose dials end with life, which is p's.
func (p *H2C) newCarrier(life context.Context) *carrier {
	k := new(carrier)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return p.dial(life, ctx, k) }
	k.transport = &http.Transport{
		Protocols:              new(http.Protocols),
		DisableCompression:     true,
		ExpectContinueTimeout:  continueLimit,
		IdleConnTimeout:        time.Minute,
		MaxResponseHeaderBytes: maxHead,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: time.Minute},
		DialContext:            dial,
		DialTLSContext:         dial,
	}
	k.transport.Protocols.SetHTTP2(p.o.TLS != nil)
	k.transport.Protocols.SetUnencryptedHTTP2(p.o.TLS == nil)
	return k
}

// CloseStale is the CloseStale of a Pool.
func (p *H2C) CloseStale() {
	p.mu.Lock()
	unused := p.renewLocked()
	p.mu.Unlock()
	closeUnused(unused)
}

// renewLocked replaces p's carrier if it has a connection that is not current any
// more. It returns the connections that nobody uses then, to be closed without mu.
func (p *H2C) renewLocked() (unused []*h2cConn) {
	if p.closed || !p.isStaleLocked() {
		return nil
	}
	old := p.carrier
	p.replaceLocked()
	return p.unusedLocked(old)
}

func (p *H2C) replaceLocked() { p.carrier.retired, p.carrier = true, p.renewed() }

// giveUp replaces k, one of whose connections is of no use, if that was not done
// yet. An exchange of k must be going on.
func (p *H2C) giveUp(k *carrier) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed && !k.retired {
		p.replaceLocked()
	}
}

func (p *H2C) isStaleLocked() bool {
	if p.o.IsCurrent == nil {
		return false
	}
	for c := range p.conns {
		if c.of == p.carrier && !p.o.IsCurrent(c.addr) {
			return true
		}
	}
	return false
}

// unusedLocked returns the connections of a carrier that gets no more exchanges
// and has none.
func (p *H2C) unusedLocked(k *carrier) (unused []*h2cConn) {
	if !k.isOverLocked() {
		return nil
	}
	for c := range p.conns {
		if c.of == k {
			unused = append(unused, c)
		}
	}
	return unused
}

// isOverLocked reports whether k has no exchanges, and gets none.
func (k *carrier) isOverLocked() bool { return k.retired && k.active == 0 }

// closeUnused closes conns. Their transport would not close them yet, since to it an
// exchange is over a little later than to us.
func closeUnused(conns []*h2cConn) {
	for _, c := range conns {
		c.Close()
	}
}
