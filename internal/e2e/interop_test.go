package e2e_test

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/interop"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/orca"
)

// An interopCase is one of gRPC's interoperability client, which ends the process if
// it fails.
type interopCase func(ctx context.Context, conn *grpc.ClientConn)

// interopCases returns the cases by the names that the client has for them, but for
// those that need an account of Google's, and for two that do not pass with this server
// directly: pick_first_unary, since it does not tell who it is, and orca_oob, whose
// reports it sends every 30 s.
func interopCases() map[string]interopCase {
	of := func(do func(context.Context, pb.TestServiceClient, ...grpc.CallOption)) interopCase {
		return func(ctx context.Context, conn *grpc.ClientConn) { do(ctx, pb.NewTestServiceClient(conn)) }
	}
	return map[string]interopCase{
		"empty_unary":                 of(interop.DoEmptyUnaryCall),
		"large_unary":                 of(interop.DoLargeUnaryCall),
		"client_streaming":            of(interop.DoClientStreaming),
		"server_streaming":            of(interop.DoServerStreaming),
		"ping_pong":                   of(interop.DoPingPong),
		"empty_stream":                of(interop.DoEmptyStream),
		"timeout_on_sleeping_server":  of(interop.DoTimeoutOnSleepingServer),
		"cancel_after_begin":          of(interop.DoCancelAfterBegin),
		"cancel_after_first_response": of(interop.DoCancelAfterFirstResponse),
		"status_code_and_message":     of(interop.DoStatusCodeAndMessage),
		"special_status_message":      of(interop.DoSpecialStatusMessage),
		"custom_metadata":             of(interop.DoCustomMetadata),
		"unimplemented_method":        interop.DoUnimplementedMethod,
		"unimplemented_service": func(ctx context.Context, conn *grpc.ClientConn) {
			interop.DoUnimplementedService(ctx, pb.NewUnimplementedServiceClient(conn))
		},
		"orca_per_rpc": func(ctx context.Context, conn *grpc.ClientConn) {
			interop.DoORCAPerRPCTest(ctx, pb.NewTestServiceClient(conn))
		},
		"rpc_soak":     soak,
		"channel_soak": soakOverNewConnections,
	}
}

func soak(ctx context.Context, conn *grpc.ClientConn) {
	soakWith(ctx, conn, func() (*grpc.ClientConn, func()) { return conn, func() {} })
}

func soakOverNewConnections(ctx context.Context, conn *grpc.ClientConn) {
	soakWith(ctx, conn, func() (*grpc.ClientConn, func()) {
		another, err := dialInterop(conn.Target())
		if err != nil {
			panic(err)
		}
		return another, func() { another.Close() }
	})
}

// soakWith makes ten large calls, as the client does unless it is told otherwise. How
// long each takes is not judged.
func soakWith(ctx context.Context, conn *grpc.ClientConn, next func() (*grpc.ClientConn, func())) {
	interop.DoSoakTest(ctx, interop.SoakTestConfig{
		RequestSize:                      271828,
		ResponseSize:                     314159,
		PerIterationMaxAcceptableLatency: patience,
		OverallTimeout:                   patience,
		ServerAddr:                       conn.Target(),
		NumWorkers:                       1,
		Iterations:                       10,
		ChannelForTest:                   next,
	})
}

func dialInterop(target string) (*grpc.ClientConn, error) {
	return grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"test_backend_metrics_load_balancer": {}}]}`))
}

// The variables that make this program the interoperability client.
const (
	interopName   = "E2E_INTEROP_CASE"
	interopTarget = "E2E_INTEROP_TARGET"
)

// runInteropClient runs the case that the environment names, if it names one.
func runInteropClient() (code int, isClient bool) {
	do := interopCases()[os.Getenv(interopName)]
	if do == nil {
		return 0, false
	}
	conn, err := dialInterop(os.Getenv(interopTarget))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	do(ctx, conn)
	return 0, true
}

// asInteropClient runs a case in a process of its own, against that address.
func asInteropClient(t *testing.T, name, address string) (said string, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), interopName+"="+name, interopTarget+"=passthrough:///"+address)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// newInteropServer starts the interoperability server, and returns its address.
func newInteropServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	recorder := orca.NewServerMetricsRecorder()
	server := grpc.NewServer(orca.CallMetricsServerOption(nil))
	pb.RegisterTestServiceServer(server, interop.NewTestServer(interop.NewTestServerOptions{MetricsRecorder: recorder}))
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	served := make(chan error)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		<-served
	})
	return l.Addr().String()
}

// The server and the client are those of gRPC's interoperability tests.
func TestCasesOfInteroperabilityPassThroughTheProxy(t *testing.T) {
	t.Parallel()
	direct := newInteropServer(t)
	p := startProxy(t, newAuthority(t, authorityConfig{}))
	p.deploy(t, "grpc", &app{address: "h2c://" + direct}, "--health-check-grpc")
	for _, name := range slices.Sorted(maps.Keys(interopCases())) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if said, err := asInteropClient(t, name, direct); err != nil {
				t.Fatalf("it does not pass directly: %v\n%s", err, said)
			}
			if said, err := asInteropClient(t, name, p.http); err != nil {
				t.Errorf("%v\n%s", err, said)
			}
		})
	}
}
