package upstream_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/upstream"
)

// It counts descriptors, so it has a process of its own: what other tests have left is
// closed at any moment.
func TestOnlyWhatIsVitalTakesDescriptorsOfTheReserve(t *testing.T) {
	const alone = "UPSTREAM_TEST_ALONE"
	if os.Getenv(alone) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), alone+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v:\n%s", err, out)
		}
		return
	}
	is := is.New(t)
	closed := make(chan struct{}, 10) // gets an element for each connection that the app has closed
	app := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	app.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			closed <- struct{}{}
		}
	}
	app.Start()
	defer app.Close()
	var was syscall.Rlimit
	is.NoErr(syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was))
	defer func() { is.NoErr(syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was)) }()
	is.NoErr(syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 128, Max: was.Max}))
	dials, meanwhile := 0, func() {}
	get := func(vital bool) error {
		dial := func(ctx context.Context, network, address string) (net.Conn, error) {
			dials++
			meanwhile()
			return new(net.Dialer).DialContext(ctx, network, address)
		}
		p := upstream.New(upstream.Options{Network: "tcp", Address: app.Listener.Addr().String(), Dial: dial, Vital: vital})
		defer p.Close()
		resp, err := p.Exchange(request("GET", nil, 0), "/", field.View{}, nil)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	is.NoErr(get(false))
	<-closed // its descriptor is free again, and stays so

	var taken []*os.File
	defer func() {
		for _, f := range taken {
			f.Close()
		}
	}()
	take := func() *os.File {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, f)
		return f
	}
	crowd := func() {
		for take().Fd() < 103 { // 24 of the 128 are in reserve
		}
	}
	crowd()
	dials = 0
	why, _ := reason(get(false))
	is.Equal(why, upstream.Shortage)
	is.Equal(dials, 0) // one that waits to be connected would have one of the reserve meanwhile
	is.NoErr(get(true))
	<-closed

	is.NoErr(taken[0].Close())
	meanwhile = crowd
	why, _ = reason(get(false))
	is.Equal(why, upstream.Shortage)
	is.Equal(dials, 2)
	conn, err := net.Dial("tcp", app.Listener.Addr().String())
	is.NoErr(err)
	raw, err := conn.(*net.TCPConn).SyscallConn()
	is.NoErr(err)
	is.NoErr(raw.Control(func(fd uintptr) { is.True(fd < 110) })) // nothing was left open
	is.NoErr(conn.Close())
}
