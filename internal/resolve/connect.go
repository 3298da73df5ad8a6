package resolve

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"
)

// attemptDelay is how long an address may take before the next is tried beside
// it, as in net.Dialer (RFC 8305, section 5).
const attemptDelay = 300 * time.Millisecond

// An attempt is what came of connecting to one address.
type attempt struct {
	conn net.Conn
	err  error
}

// connect connects to the port of one of addrs, of which there is at least one:
// to the first, and to the next when the one before has failed, or has not
// succeeded for attemptDelay. The first connection wins. When it returns, no
// other is open or being opened. Of errors, it returns the first.
func (n *Name) connect(ctx context.Context, network string, addrs []netip.Addr, port string) (net.Conn, error) {
	if len(addrs) == 1 {
		return n.o.Dial(ctx, network, net.JoinHostPort(addrs[0].String(), port))
	}
	ctx, cancel := context.WithCancel(ctx)
	results := make(chan attempt, len(addrs))
	begun, ended := 0, 0
	defer func() {
		cancel()
		for ; ended < begun; ended++ {
			if late := <-results; late.conn != nil {
				late.conn.Close()
			}
		}
	}()
	next := time.NewTimer(attemptDelay)
	defer next.Stop()
	var failed error
	for ended < len(addrs) {
		if begun < len(addrs) {
			go n.try(ctx, network, net.JoinHostPort(addrs[begun].String(), port), results)
			begun++
			next.Reset(attemptDelay)
		}
		select {
		case <-next.C:
		case a := <-results:
			ended++
			if a.err == nil {
				return a.conn, nil
			}
			if failed == nil {
				failed = a.err
			}
		}
	}
	return nil, failed
}

// try is the goroutine of one attempt.
func (n *Name) try(ctx context.Context, network, address string, results chan<- attempt) {
	conn, err := n.o.Dial(ctx, network, address)
	results <- attempt{conn, err}
}

// inOrder returns what addrs holds, each address once and as [net.Conn] tells it:
// in the order that they have, but with the families taking turns, so that one of
// them that leads nowhere does not hold up the other (RFC 8305, section 4).
func inOrder(addrs []netip.Addr) []netip.Addr {
	addrs = slices.Clone(addrs)  // which are those of who looked them up
	var families [2][]netip.Addr // that of the first address, and the other
	for i, addr := range addrs {
		if addrs[i] = addr.Unmap(); slices.Contains(addrs[:i], addrs[i]) {
			continue
		}
		other := 0
		if addrs[i].Is4() != addrs[0].Is4() {
			other = 1
		}
		families[other] = append(families[other], addrs[i])
	}
	var order []netip.Addr
	for i := range max(len(families[0]), len(families[1])) {
		for _, family := range families {
			if i < len(family) {
				order = append(order, family[i])
			}
		}
	}
	return order
}
