package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// caller returns a client of gRPC over h2c.
func (s *soak) caller(on *service) pb.TestServiceClient {
	conn, err := grpc.NewClient("passthrough:///"+s.proxy.http, grpc.WithAuthority(on.host),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1, MaxDelay: 50 * time.Millisecond}, MinConnectTimeout: time.Second}))
	if err != nil {
		panic(err)
	}
	s.closers = append(s.closers, func() { conn.Close() })
	return pb.NewTestServiceClient(conn)
}

// callContext returns the context of a call with the nonce of x.
func callContext(x *exchange) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	return metadata.AppendToOutgoingContext(ctx, strings.ToLower(nonceField), x.nonce), cancel
}

// calling makes unary calls.
func (s *soak) calling(on *service) client {
	c := s.caller(on)
	return repeat(50*time.Millisecond, func(chance *rand.Rand) {
		x := s.newExchange("gRPC, unary", on, false)
		ctx, cancel := callContext(x)
		defer cancel()
		sent := read(content(x.nonce, 1+chance.Int64N(50_000)))
		s.ledger.begun(x)
		resp, err := c.UnaryCall(ctx, &pb.SimpleRequest{Payload: &pb.Payload{Body: sent}})
		if err != nil {
			s.callFailed(x, err)
			return
		}
		x.first, x.instance = time.Now(), resp.ServerId
		s.called(on, x, sent, resp.Payload.GetBody())
	})
}

// streaming makes calls in which each message is answered.
func (s *soak) streaming(on *service) client {
	c := s.caller(on)
	return repeat(100*time.Millisecond, func(chance *rand.Rand) {
		x := s.newExchange("gRPC, stream", on, false)
		ctx, cancel := callContext(x)
		defer cancel()
		s.ledger.begun(x)
		stream, err := c.FullDuplexCall(ctx)
		if err != nil {
			s.callFailed(x, err)
			return
		}
		for i := range 2 + chance.IntN(30) {
			sent := fmt.Appendf(nil, "%s %d", x.nonce, i)
			// Why it cannot be sent is what there is to receive.
			stream.Send(&pb.StreamingOutputCallRequest{Payload: &pb.Payload{Body: sent}})
			got, err := stream.Recv()
			if head, _ := stream.Header(); len(head.Get(instanceField)) > 0 {
				x.instance = head.Get(instanceField)[0]
			}
			if err != nil {
				s.callFailed(x, err)
				return
			}
			if x.first.IsZero() {
				x.first = time.Now()
			}
			if !bytes.Equal(got.Payload.GetBody(), sent) {
				s.ledger.failed(x, checking, errors.New("a message is another"))
				return
			}
			think(ctx, chance, 50*time.Millisecond)
		}
		stream.CloseSend()
		if _, err := stream.Recv(); err != io.EOF {
			s.callFailed(x, err)
			return
		}
		s.called(on, x, nil, nil)
	})
}

// called checks what came of a call that has ended well.
func (s *soak) called(on *service, x *exchange, sent, got []byte) {
	if !bytes.Equal(sent, got) {
		s.ledger.failed(x, checking, errors.New("the answer is not what was sent"))
	} else if err := on.answered(x); err != nil {
		s.ledger.failed(x, checking, err)
	} else {
		s.ledger.good(x)
	}
}

// said is what a message of the proxy's has of the status in HTTP, and of the reason.
var said = regexp.MustCompile(`^parachute: (\d{3}) [^(]*\((\w+)\)`)

// parts have the parts of the proxy, as X-Parachute-Error names them, by reason.
var parts = map[string]string{"stopped": "stopped", "paused": "stopped", "dial": "dial", "timeout": "timeout", "cut": "draining", "closed": "draining"}

// callFailed enters how a call has failed.
func (s *soak) callFailed(x *exchange, err error) {
	message := status.Convert(err).Message()
	switch match := said.FindStringSubmatch(message); {
	case match != nil:
		x.status, _ = strconv.Atoi(match[1])
		x.part = parts[match[2]]
		s.ledger.failed(x, refused, err)
	case message == "parachute: the call was ended (cut)" && status.Code(err) == codes.Unavailable:
		s.ledger.failed(x, streaming, endedInOrder{err})
	case strings.HasPrefix(message, "parachute: the call was ended"):
		s.ledger.failed(x, streaming, brokenStream{err})
	default:
		s.ledger.failed(x, asking, err)
	}
}

func read(r io.Reader) []byte {
	b, err := io.ReadAll(r)
	if err != nil {
		panic(err)
	}
	return b
}
