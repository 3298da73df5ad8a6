package main

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports are given out from this range. Systems give out higher ones to whoever
// asks for any (Linux from 32768 on, macOS from 49152 on), and so to the listeners
// and the clients of all others.
const (
	firstPort = 10_000
	ports     = 10_000
)

// reservePort returns a port of 127.0.0.1 that nobody uses, neither over TCP nor over
// UDP. Until release is called nobody else is given it: neither by reservePort or by
// proxytest.ReservePort, which does the same for tests, in whatever process, nor by the
// system where the port is one of those above. So whatever is to listen there may be
// started later, end, and be started again; and where nothing is started, nothing answers.
func reservePort() (port int, release func(), err error) {
	begin := rand.IntN(ports)
	for i := range ports {
		port := firstPort + (begin+i)%ports
		if release, ok := tryPort(port); ok {
			return port, release, nil
		}
	}
	return 0, nil, errors.New("no port is free")
}

// tryPort is reservePort for one port. It returns false if somebody uses or has
// reserved that.
func tryPort(port int) (release func(), ok bool) {
	// What is held is a port that belongs to it, and that nobody has a use for.
	held, err := net.ListenPacket("udp", localAddress(port+ports))
	if err != nil {
		return nil, false
	}
	if isUsed(port) {
		held.Close()
		return nil, false
	}
	return func() { held.Close() }, true
}

// isUsed reports whether somebody uses a port of 127.0.0.1.
func isUsed(port int) bool {
	l, err := net.Listen("tcp", localAddress(port))
	if err != nil {
		return true
	}
	defer l.Close()
	c, err := net.ListenPacket("udp", localAddress(port))
	if err != nil {
		return true
	}
	defer c.Close()
	return false
}

func localAddress(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
