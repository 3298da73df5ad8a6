package resolve

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"github.com/shahnk19/parachute/internal/descriptors"
)

// A Witness dials for a probe of a name, and notes which of the name's addresses the
// first connection leads to.
type Witness struct {
	dial  func(ctx context.Context, network, address string) (net.Conn, error)
	first chan Reached // has a buffer of one
}

// NewWitness returns a Witness that dials with dial, which is that of the Name.
func NewWitness(dial func(ctx context.Context, network, address string) (net.Conn, error)) *Witness {
	return &Witness{dial, make(chan Reached, 1)}
}

// Dial opens a connection. It may be called from any goroutine, any number of times.
func (w *Witness) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := w.dial(ctx, network, address)
	r := Reached{isFair: err == nil || !isBeforeDial(err)}
	if err == nil {
		remote, _ := conn.RemoteAddr().(*net.TCPAddr)
		r.addr = remote.AddrPort().Addr()
	}
	select {
	case w.first <- r:
	default:
	}
	return conn, err
}

// Reached returns what the first call of Dial to end has reached, or the zero Reached
// if none has ended. It must be called once.
func (w *Witness) Reached() Reached {
	select {
	case r := <-w.first:
		return r
	default:
		return Reached{}
	}
}

// Reached is what a probe of a name has reached: one of its addresses, or none
// although there were some. The zero Reached means that no address was tried.
type Reached struct {
	addr   netip.Addr // zero: none could be connected to
	isFair bool       // how the probe ended says something about addr
}

// Judge has n judge what was reached by whether the probe has passed. If no address was
// tried, it does nothing.
func (r Reached) Judge(n *Name, passed bool) {
	if r.isFair {
		n.Judge(r.addr, passed)
	}
}

// isBeforeDial reports whether an error occurred before any address could be dialled,
// and so says nothing about the addresses: either no address was known, or no
// descriptor was left.
func isBeforeDial(err error) bool {
	_, ok := errors.AsType[*net.DNSError](err)
	return ok || descriptors.IsShortage(err)
}
