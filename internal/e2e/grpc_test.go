package e2e_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
	"github.com/quic-go/quic-go/http3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/shahnk19/parachute/internal/proxytest"
)

// A callee is a gRPC server with the test service of gRPC itself, as far as it
// is called here, and a health service.
type callee struct {
	pb.UnimplementedTestServiceServer
	name   string
	target string
	health *health.Server
}

func newCallee(t *testing.T, name string) *callee {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &callee{name: name, target: "h2c://" + l.Addr().String(), health: health.NewServer()}
	server := grpc.NewServer()
	pb.RegisterTestServiceServer(server, c)
	grpc_health_v1.RegisterHealthServer(server, c.health)
	served := make(chan error)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		<-served
	})
	return c
}

func (c *callee) EmptyCall(context.Context, *pb.Empty) (*pb.Empty, error) { return new(pb.Empty), nil }

func (c *callee) UnaryCall(_ context.Context, r *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	if s := r.ResponseStatus; s != nil {
		return nil, status.Error(codes.Code(s.Code), s.Message)
	}
	return &pb.SimpleResponse{Payload: &pb.Payload{Body: make([]byte, r.ResponseSize)}, ServerId: c.name}, nil
}

func (c *callee) StreamingOutputCall(r *pb.StreamingOutputCallRequest, s pb.TestService_StreamingOutputCallServer) error {
	for _, p := range r.ResponseParameters {
		if err := s.Send(&pb.StreamingOutputCallResponse{Payload: &pb.Payload{Body: make([]byte, p.Size)}}); err != nil {
			return err
		}
	}
	return nil
}

func (c *callee) StreamingInputCall(s pb.TestService_StreamingInputCallServer) error {
	sum := 0
	for {
		r, err := s.Recv()
		if err == io.EOF {
			return s.SendAndClose(&pb.StreamingInputCallResponse{AggregatedPayloadSize: int32(sum)})
		} else if err != nil {
			return err
		}
		sum += len(r.Payload.GetBody())
	}
}

func (c *callee) FullDuplexCall(s pb.TestService_FullDuplexCallServer) error {
	for {
		r, err := s.Recv()
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if st := r.ResponseStatus; st != nil {
			return status.Error(codes.Code(st.Code), st.Message)
		}
		for _, p := range r.ResponseParameters {
			if err := s.Send(&pb.StreamingOutputCallResponse{Payload: &pb.Payload{Body: make([]byte, p.Size)}}); err != nil {
				return err
			}
		}
	}
}

// overBoth runs a test of calls over TLS, and over HTTP/2 without it.
func overBoth(t *testing.T, test func(t *testing.T, calls caller)) {
	t.Parallel()
	for name, calls := range map[string]caller{"TLS": callsOverTLS, "h2c": callsOverH2C} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, calls)
		})
	}
}

// A caller runs a proxy that serves the callee, and returns what calls it, and how
// it was deployed.
type caller func(t *testing.T, one *callee, args ...string) (*proxy, pb.TestServiceClient, []string)

func callsOverTLS(t *testing.T, one *callee, args ...string) (*proxy, pb.TestServiceClient, []string) {
	t.Helper()
	ca := proxytest.NewCA()
	certFile, keyFile := ca.WritePair(t, t.TempDir(), "localhost")
	p := startProxy(t, newAuthority(t, authorityConfig{}), "--http3")
	args = append(args, "--tls", "--host", "localhost", "--tls-certificate-path", certFile, "--tls-private-key-path", keyFile, "--health-check-grpc")
	p.deploy(t, "grpc", &app{address: one.target}, args...)
	creds := credentials.NewTLS(&tls.Config{RootCAs: ca.Pool(), ServerName: "localhost"})
	return p, newCaller(t, p.https, creds), args
}

func callsOverH2C(t *testing.T, one *callee, args ...string) (*proxy, pb.TestServiceClient, []string) {
	t.Helper()
	p := startProxy(t, newAuthority(t, authorityConfig{}))
	args = append(args, "--health-check-grpc")
	p.deploy(t, "grpc", &app{address: one.target}, args...)
	return p, newCaller(t, p.http, insecure.NewCredentials()), args
}

func newCaller(t *testing.T, address string, creds credentials.TransportCredentials) pb.TestServiceClient {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return pb.NewTestServiceClient(conn)
}

func sizes(all ...int32) (p []*pb.ResponseParameters) {
	for _, size := range all {
		p = append(p, &pb.ResponseParameters{Size: size})
	}
	return p
}

func payload(size int) *pb.Payload { return &pb.Payload{Body: make([]byte, size)} }

// The cases are those of gRPC's own interoperability tests.
func TestGRPCPassesAsItIs(t *testing.T) { overBoth(t, callsPassAsTheyAre) }

func callsPassAsTheyAre(t *testing.T, calls caller) {
	is := is.New(t)
	_, c, _ := calls(t, newCallee(t, "one"), "--buffer-requests", "--buffer-responses") // of which nothing must be felt
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()

	_, err := c.EmptyCall(ctx, new(pb.Empty)) // empty_unary
	is.NoErr(err)
	large, err := c.UnaryCall(ctx, &pb.SimpleRequest{ResponseSize: 314159, Payload: payload(271828)}) // large_unary
	is.NoErr(err)
	is.Equal(len(large.Payload.Body), 314159)

	in, err := c.StreamingInputCall(ctx) // client_streaming
	is.NoErr(err)
	for _, size := range []int{27182, 8, 1828, 45904} {
		is.NoErr(in.Send(&pb.StreamingInputCallRequest{Payload: payload(size)}))
	}
	sum, err := in.CloseAndRecv()
	is.NoErr(err)
	is.Equal(sum.AggregatedPayloadSize, int32(74922))

	out, err := c.StreamingOutputCall(ctx, &pb.StreamingOutputCallRequest{ResponseParameters: sizes(31415, 9, 2653, 58979)}) // server_streaming
	is.NoErr(err)
	for _, size := range []int{31415, 9, 2653, 58979} {
		m, err := out.Recv()
		is.NoErr(err)
		is.Equal(len(m.Payload.Body), size)
	}
	_, err = out.Recv()
	is.Equal(err, io.EOF)

	both, err := c.FullDuplexCall(ctx) // ping_pong
	is.NoErr(err)
	for _, size := range []int32{31415, 9, 2653, 58979} {
		is.NoErr(both.Send(&pb.StreamingOutputCallRequest{ResponseParameters: sizes(size), Payload: payload(1000)}))
		m, err := both.Recv()
		is.NoErr(err)
		is.Equal(len(m.Payload.Body), int(size))
	}
	is.NoErr(both.CloseSend())
	_, err = both.Recv()
	is.Equal(err, io.EOF)

	short, stop := context.WithTimeout(ctx, 50*time.Millisecond) // timeout_on_sleeping_server
	defer stop()
	sleeping, err := c.FullDuplexCall(short)
	if err == nil { // it began in time
		_, err = sleeping.Recv()
	}
	is.Equal(status.Code(err), codes.DeadlineExceeded)
}

// Their head is all that there is of them, and has to be their end as well.
func TestGRPCAnswersWithoutAMessagePassAsTheyAre(t *testing.T) {
	overBoth(t, answersWithoutAMessagePass)
}

func answersWithoutAMessagePass(t *testing.T, calls caller) {
	is := is.New(t)
	_, c, _ := calls(t, newCallee(t, "one"))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()

	empty, err := c.FullDuplexCall(ctx) // empty_stream
	is.NoErr(err)
	is.NoErr(empty.CloseSend())
	_, err = empty.Recv()
	is.Equal(err, io.EOF)

	want := &pb.EchoStatus{Code: 2, Message: "test status message ü 100 %"} // status_code_and_message, special_status_message
	_, err = c.UnaryCall(ctx, &pb.SimpleRequest{ResponseStatus: want})
	is.Equal(status.Code(err), codes.Unknown)
	is.Equal(status.Convert(err).Message(), want.Message)
	failing, err := c.FullDuplexCall(ctx)
	is.NoErr(err)
	is.NoErr(failing.Send(&pb.StreamingOutputCallRequest{ResponseStatus: want}))
	_, err = failing.Recv()
	is.Equal(status.Code(err), codes.Unknown)
	is.Equal(status.Convert(err).Message(), want.Message)

	_, err = c.UnimplementedCall(ctx, new(pb.Empty)) // unimplemented_method
	is.Equal(status.Code(err), codes.Unimplemented)
	is.True(strings.Contains(status.Convert(err).Message(), "UnimplementedCall")) // the server's answer, not the proxy's
}

func TestGRPCCallThatIsCutByADeployIsUnavailable(t *testing.T) {
	overBoth(t, callThatIsCutIsUnavailable)
}

func callThatIsCutIsUnavailable(t *testing.T, calls caller) {
	is := is.New(t)
	one, two := newCallee(t, "one"), newCallee(t, "two")
	p, c, args := calls(t, one)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()

	chatting, err := c.FullDuplexCall(ctx)
	is.NoErr(err)
	for range 2 {
		is.NoErr(chatting.Send(&pb.StreamingOutputCallRequest{ResponseParameters: sizes(9)}))
		_, err = chatting.Recv()
		is.NoErr(err)
	}
	silent, err := c.FullDuplexCall(ctx) // grpc-go sends its head with the first message
	is.NoErr(err)
	is.NoErr(silent.Send(new(pb.StreamingOutputCallRequest)))
	served, err := c.UnaryCall(ctx, new(pb.SimpleRequest))
	is.NoErr(err)
	is.Equal(served.ServerId, "one")

	p.deploy(t, "grpc", &app{address: two.target}, append(args, "--drain-timeout", "1s")...)
	_, err = chatting.Recv()
	is.Equal(status.Code(err), codes.Unavailable) // a stream
	is.Equal(status.Convert(err).Message(), "parachute: the call was ended (cut)")
	_, err = silent.Recv()
	is.Equal(status.Code(err), codes.Unavailable) // without a head
	is.Equal(status.Convert(err).Message(), "parachute: 504 Gateway Timeout (cut)")
	served, err = c.UnaryCall(ctx, new(pb.SimpleRequest))
	is.NoErr(err)
	is.Equal(served.ServerId, "two") // and on the same connection

	two.health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	refused := func(target string) (printed string) {
		for limit := 200 * time.Millisecond; ; limit *= 2 { // until one is long enough for a probe
			printed, code := p.command(t, append([]string{"deploy", "grpc", "--target", target, "--deploy-timeout", limit.String()}, args...)...)
			is.Equal(code, 1)
			if !strings.Contains(printed, "no probe of ") || limit > time.Minute {
				return printed
			}
		}
	}
	printed := refused(two.target)
	is.True(strings.Contains(printed, "last answer: NOT_SERVING"))
	args[len(args)-1] = "--health-check-grpc=other.Service"
	printed = refused(one.target)
	is.True(strings.Contains(printed, "last answer: NOT_FOUND: unknown service"))

	_, code := p.command(t, "stop", "grpc", "--message", "at noon")
	is.Equal(code, 0) // stop
	_, err = c.UnaryCall(ctx, new(pb.SimpleRequest))
	is.Equal(status.Code(err), codes.Unavailable)
	is.Equal(status.Convert(err).Message(), "parachute: 503 Service Unavailable (stopped): at noon")
}

// There is no gRPC over HTTP/3 in grpc-go, but others have it.
func TestGRPCOverHTTP3EndsAsOverHTTP2(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	one, two := newCallee(t, "one"), newCallee(t, "two")
	p, _, args := callsOverTLS(t, one)
	transport := &http3.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}}
	defer transport.Close()
	call := func(method string, in io.Reader) (*http.Response, error) {
		r, err := http.NewRequestWithContext(t.Context(), "POST", "https://"+p.http3+"/grpc.testing.TestService/"+method, in)
		if err != nil {
			return nil, err
		}
		r.Host = "localhost"
		r.Header.Set("Content-Type", "application/grpc")
		r.Header.Set("Te", "trailers")
		return transport.RoundTrip(r)
	}
	const empty = "\x00\x00\x00\x00\x00"
	const ask = "\x00\x00\x00\x00\x04\x12\x02\x08\x01" // for one byte

	unary, err := call("EmptyCall", strings.NewReader(empty))
	is.NoErr(err)
	b, err := io.ReadAll(unary.Body)
	is.NoErr(err)
	is.Equal(string(b), empty)
	is.Equal(unary.Trailer.Get("Grpc-Status"), "0")

	in, out := io.Pipe()
	defer out.Close()
	go io.WriteString(out, ask+ask)
	stream, err := call("FullDuplexCall", in)
	is.NoErr(err)
	const answered = "\x00\x00\x00\x00\x05\x0a\x03\x12\x01\x00"
	_, err = io.ReadFull(stream.Body, make([]byte, 2*len(answered)))
	is.NoErr(err)
	p.deploy(t, "grpc", &app{address: two.target}, args...)
	_, err = io.ReadAll(stream.Body)
	is.NoErr(err)
	is.Equal(stream.Trailer.Get("Grpc-Status"), "14")

	_, code := p.command(t, "stop", "grpc")
	is.Equal(code, 0)
	refused, err := call("EmptyCall", strings.NewReader(empty))
	is.NoErr(err)
	is.Equal(refused.StatusCode, 200)
	is.Equal(refused.Header.Get("Grpc-Status"), "14")
	b, err = io.ReadAll(refused.Body)
	is.NoErr(err)
	is.Equal(len(b), 0)
}
