// Package http1 is an HTTP/1 server for a proxy that stands at the edge. It refuses
// whatever two readers could read in two ways, and it is cheap: a connection has one
// goroutine, no buffers while it waits for a request, and uses the same memory for
// all of its requests.
package http1
