// Package poller waits on one goroutine for many sockets that have nothing to be read: a
// goroutine for each of them would keep a stack as large as it has ever needed.
package poller
