package http1_test

import (
	"io"
	"net"
	"net/http"
	"runtime"
	"testing"

	"github.com/shahnk19/parachute/internal/http1"
)

// What a connection takes that has had a request and waits for the next: see the metric
// B/conn. Two thousand wait at once; the client's half of each is in it.
func BenchmarkIdleConnections(b *testing.B) {
	const conns = 2000
	for b.Loop() {
		before := inUse()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		s := &http1.Server{Handler: http.HandlerFunc(nothing)}
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		clients := make([]net.Conn, conns)
		for i := range clients {
			if clients[i], err = net.Dial("tcp", l.Addr().String()); err != nil {
				b.Fatal(err)
			}
			io.WriteString(clients[i], "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			if _, err := clients[i].Read(make([]byte, 1024)); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(inUse()-before)/conns, "B/conn")
		for _, c := range clients {
			c.Close()
		}
		s.Close()
		<-served
	}
}

// inUse returns how many bytes of the heap and of stacks are in use.
func inUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}
