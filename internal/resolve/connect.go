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

// An attempt is the result of dialling one address.
type attempt struct {
	conn net.Conn
	err  error
}

// connect connects to the port of one of addrs, which must not be empty. It dials
// the first address, and the next one whenever an attempt has failed or
// attemptDelay has passed. It returns the first connection, and closes all others
// before it returns. If all attempts fail, it returns the first error.
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

// try makes one attempt, in a goroutine of its own.
func (n *Name) try(ctx context.Context, network, address string, results chan<- attempt) {
	conn, err := n.o.Dial(ctx, network, address)
	results <- attempt{conn, err}
}

// inOrder returns the addresses in addrs, each once, and IPv4 addresses as such. It
// keeps their order, but lets the two families take turns, so that one which leads
// nowhere does not hold up the other (RFC 8305, section 4).
func inOrder(addrs []netip.Addr) []netip.Addr {
	addrs = slices.Clone(addrs)  // Lookup may keep its slice
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
