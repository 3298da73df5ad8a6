package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	pb "google.golang.org/grpc/interop/grpc_testing"
)

// Names of header fields. The nonce is the request's identifier, so that the proxy's
// log has it.
const (
	nonceField    = "X-Request-Id"
	instanceField = "X-Soak-Instance"
)

// Orders that a target takes on standard input, a line each. At its end it exits.
const (
	orderSlow  = "slow"  // and a duration: wait so long before each answer
	orderIdle  = "idle"  // close the connections that are idle
	orderDying = "dying" // die in the middle of the next large answer
)

// A target answers as the clients of the soak expect it.
type target struct {
	name  string
	calls *grpc.Server
	slow  atomic.Int64 // a time.Duration
	dying atomic.Bool

	mu   sync.Mutex // guards idle
	idle map[net.Conn]struct{}
}

// serveTarget is the role of a target.
func serveTarget(args []string) error {
	flags := flag.NewFlagSet("soak target", flag.ContinueOnError)
	name := flags.String("name", "", "")
	address := flags.String("address", "", "")
	sick := flags.Bool("sick", false, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	t := &target{name: *name, calls: grpc.NewServer(), idle: make(map[net.Conn]struct{})}
	pb.RegisterTestServiceServer(t.calls, callee{name: *name})
	checks := health.NewServer()
	if *sick {
		checks.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	}
	grpc_health_v1.RegisterHealthServer(t.calls, checks)

	mux := http.NewServeMux()
	mux.HandleFunc("/up", func(w http.ResponseWriter, r *http.Request) {
		if *sick {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/echo", t.echo)
	mux.HandleFunc("/bytes", t.bytes)
	mux.HandleFunc("/events", t.events)
	mux.HandleFunc("/socket", t.socket)
	server := &http.Server{Handler: t.route(mux), ConnState: t.follow, Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	l, err := net.Listen("tcp", *address)
	if err != nil {
		return err
	}
	stopped, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go t.obey(os.Stdin)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	select {
	case err := <-served:
		return err
	case <-stopped.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return server.Shutdown(grace)
}

// route has calls of gRPC answered as such, and all else by others.
func (t *target) route(others http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/up" {
			time.Sleep(time.Duration(t.slow.Load()))
		}
		w.Header().Set(instanceField, t.name)
		if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
			t.calls.ServeHTTP(w, r)
			return
		}
		others.ServeHTTP(w, r)
	})
}

// obey does as it is told, and exits with whoever tells it.
func (t *target) obey(orders io.Reader) {
	for lines := bufio.NewScanner(orders); lines.Scan(); {
		switch order, value, _ := strings.Cut(lines.Text(), " "); order {
		case orderSlow:
			d, _ := time.ParseDuration(value)
			t.slow.Store(int64(d))
		case orderIdle:
			t.closeIdle()
		case orderDying:
			t.dying.Store(true)
		}
	}
	os.Exit(0)
}

func (t *target) follow(c net.Conn, state http.ConnState) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if state == http.StateIdle {
		t.idle[c] = struct{}{}
	} else {
		delete(t.idle, c)
	}
}

func (t *target) closeIdle() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.idle {
		c.Close()
	}
}

// echo tells the nonce of the request, and what its body was.
func (t *target) echo(w http.ResponseWriter, r *http.Request) {
	sum := sha256.New()
	n, err := io.Copy(sum, r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	io.WriteString(w, echoed(r.Header.Get(nonceField), t.name, sum.Sum(nil), n))
}

// echoed returns what a target answers to a request with that nonce, and a body of n
// bytes with that hash.
func echoed(nonce, instance string, sum []byte, n int64) string {
	return fmt.Sprintf("%s %s %x %d\n", nonce, instance, sum, n)
}

// bytes answers with content that follows from the nonce.
func (t *target) bytes(w http.ResponseWriter, r *http.Request) {
	n, _ := strconv.ParseInt(r.FormValue("n"), 10, 64)
	pause, _ := time.ParseDuration(r.FormValue("pause"))
	if !r.Form.Has("chunked") {
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	}
	in := content(r.Header.Get(nonceField), n)
	const parts = 8
	for i := range int64(parts) {
		if i == parts/2 && t.dying.Load() {
			os.Exit(9)
		}
		part := n / parts
		if i == parts-1 {
			part = n
		}
		if _, err := io.Copy(w, io.LimitReader(in, part)); err != nil {
			return
		}
		if pause > 0 {
			http.NewResponseController(w).Flush()
			time.Sleep(pause)
		}
	}
}

// content returns n bytes that follow from a nonce.
func content(nonce string, n int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8(sha256.Sum256([]byte(nonce))), n)
}

// events sends as many events as it is asked for, with the nonce and their number.
func (t *target) events(w http.ResponseWriter, r *http.Request) {
	n, _ := strconv.Atoi(r.FormValue("n"))
	pause, _ := time.ParseDuration(r.FormValue("pause"))
	w.Header().Set("Content-Type", "text/event-stream")
	for i := range n {
		if _, err := io.WriteString(w, eventData(r.Header.Get(nonceField), i)+"\n\n"); err != nil {
			return
		}
		http.NewResponseController(w).Flush()
		select {
		case <-time.After(pause):
		case <-r.Context().Done():
			return
		}
	}
}

func eventData(nonce string, i int) string { return fmt.Sprintf("data: %s %d", nonce, i) }

// socket sends back each message of a WebSocket.
func (t *target) socket(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer c.CloseNow()
	for {
		kind, message, err := c.Read(context.Background())
		if err != nil {
			return
		}
		if err := c.Write(context.Background(), kind, message); err != nil {
			return
		}
	}
}

// A callee answers calls of gRPC with what they bring.
type callee struct {
	pb.UnimplementedTestServiceServer
	name string
}

func (c callee) UnaryCall(_ context.Context, r *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	return &pb.SimpleResponse{Payload: r.Payload, ServerId: c.name}, nil
}

func (c callee) FullDuplexCall(s pb.TestService_FullDuplexCallServer) error {
	for {
		r, err := s.Recv()
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := s.Send(&pb.StreamingOutputCallResponse{Payload: r.Payload}); err != nil {
			return err
		}
	}
}
