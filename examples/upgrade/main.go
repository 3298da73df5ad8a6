// Upgrade is a server with parachute inside that replaces itself: on SIGHUP it starts the
// program on disk, which may be another version by then, and hands over its socket and its
// services. The old process lets its requests end.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/shahnk19/parachute"
)

func main() {
	if len(os.Args) < 3 {
		log.Fatal("usage: upgrade ADDRESS TARGET...")
	}
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		log.Fatal(err)
	}
}

func run(address string, targets []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)

	proxy := parachute.New(parachute.Options{Logger: slog.Default()})
	defer proxy.Close()
	listener, ready, err := begin(ctx, proxy, address, targets)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: proxy, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 75 * time.Second}
	defer server.Close()
	var open sync.WaitGroup // the server's connections
	server.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed, http.StateHijacked:
			open.Done()
		}
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	slog.Info("serving", "address", listener.Addr().String(), "pid", os.Getpid())
	ready()

	for replaced := false; !replaced; {
		select {
		case err := <-served:
			return err
		case <-hangups:
			if err := startSuccessor(listener, proxy.Services()); err != nil {
				slog.Error("not upgraded: this process goes on", "error", err)
				continue
			}
			replaced = true
		case <-ctx.Done():
			stop() // from here on, a second Ctrl-C ends the program at once
			replaced = true
		}
	}

	// The listener is closed here, and not in the other process, if there is one: what
	// waits in its queue is served there. Shutdown comes last, for it drops requests that
	// have arrived and are not read yet. Until then, each connection ends behind the answer
	// to its request, or when it has none.
	grace, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	drained := make(chan error, 1)
	go func() { drained <- proxy.Shutdown(grace) }()
	listener.Close()
	<-served
	server.SetKeepAlivesEnabled(false)
	ended := make(chan struct{})
	go func() {
		open.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-grace.Done():
	}
	return errors.Join(server.Shutdown(grace), <-drained)
}

// successor is the variable that a process has which takes the place of another one. It has
// the services of that on its standard input, and these descriptors.
const (
	successor = "UPGRADE_SUCCESSOR"
	fdSocket  = 3
	fdReady   = 4
)

// begin brings into service what is to be served, and returns what to listen on, and what to
// call when that is served.
func begin(ctx context.Context, proxy *parachute.Proxy, address string, targets []string) (l net.Listener, ready func(), err error) {
	if os.Getenv(successor) == "" {
		if l, err = net.Listen("tcp", address); err != nil {
			return nil, nil, err
		}
		return l, func() {}, proxy.Deploy(ctx, parachute.Deployment{Service: "web", Targets: targets})
	}
	var services []parachute.Status
	if err := json.NewDecoder(os.Stdin).Decode(&services); err != nil {
		return nil, nil, err
	}
	// Requests that come before the first probes have ended wait for them.
	if err := proxy.Restore(services); err != nil {
		return nil, nil, err
	}
	socket, told := os.NewFile(fdSocket, "socket"), os.NewFile(fdReady, "ready")
	defer socket.Close()
	l, err = net.FileListener(socket)
	return l, func() {
		told.Write([]byte{1})
		told.Close()
	}, err
}

// startSuccessor returns nil when another process serves.
func startSuccessor(listener net.Listener, services []parachute.Status) error {
	state, err := json.Marshal(services)
	if err != nil {
		return err
	}
	socket, err := duplicate(listener.(*net.TCPListener))
	if err != nil {
		return err
	}
	defer socket.Close()
	ready, told, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	defer told.Close()

	path, err := exec.LookPath(os.Args[0])
	if err != nil {
		return err
	}
	next := exec.Command(path, os.Args[1:]...)
	next.Env = append(os.Environ(), successor+"=1")
	next.Stdin, next.Stdout, next.Stderr = bytes.NewReader(state), os.Stdout, os.Stderr
	next.ExtraFiles = []*os.File{socket, told}
	if err := next.Start(); err != nil {
		return err
	}
	told.Close() // so that its end is noticed
	if err := ready.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	if _, err := ready.Read(make([]byte, 1)); err != nil {
		next.Process.Kill()
		return fmt.Errorf("the new process does not serve (%w): %w", err, next.Wait())
	}
	return nil
}

// duplicate returns another descriptor of the socket. That of the listener's File would be
// made a blocking one when it is passed on, and the socket with it: nothing could end Accept
// any more.
func duplicate(listener *net.TCPListener) (*os.File, error) {
	raw, err := listener.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	var dupErr error
	err = raw.Control(func(of uintptr) {
		syscall.ForkLock.RLock() // no program that is started meanwhile gets it
		defer syscall.ForkLock.RUnlock()
		if fd, dupErr = syscall.Dup(int(of)); dupErr == nil {
			syscall.CloseOnExec(fd)
		}
	})
	if err = errors.Join(err, dupErr); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "socket"), nil
}
