package http1_test

import (
	"errors"
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/http1"
)

// A failingListener fails with err each time, until it is closed.
type failingListener struct {
	err      error
	accepted chan struct{} // gets an element for each Accept
	closing  sync.Once
	closed   chan struct{}
}

func (l *failingListener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, net.ErrClosed
	case l.accepted <- struct{}{}:
	}
	return nil, &net.OpError{Op: "accept", Net: "tcp", Err: l.err}
}

func (l *failingListener) Close() error {
	l.closing.Do(func() { close(l.closed) })
	return nil
}

func (l *failingListener) Addr() net.Addr { return new(net.TCPAddr) }

func TestAcceptIsTriedAgainWhereDescriptorsAreShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		l := &failingListener{err: syscall.EMFILE, accepted: make(chan struct{}), closed: make(chan struct{})}
		s := &http1.Server{Handler: http.NotFoundHandler()}
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		began := time.Now()
		for range 4 {
			<-l.accepted
		}
		is.Equal(time.Since(began), (5+10+20)*time.Millisecond)
		synctest.Wait()
		before := time.Now()
		is.NoErr(s.Close())
		is.Equal(<-served, http.ErrServerClosed)
		is.Equal(time.Since(before), time.Duration(0)) // it does not wait to try again
	})
}

func TestServeReturnsWhatAnAcceptFailsWithForGood(t *testing.T) {
	is := is.New(t)
	l := &failingListener{err: syscall.EINVAL, accepted: make(chan struct{}, 1), closed: make(chan struct{})}
	err := new(http1.Server).Serve(l)
	is.True(errors.Is(err, syscall.EINVAL))
	<-l.closed
}
