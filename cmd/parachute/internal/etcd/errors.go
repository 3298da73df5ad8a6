package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/shahnk19/parachute/cmd/parachute/internal/kv"
)

// An unsentError is why a call was given up before there was a connection for it: etcd has
// not seen it.
type unsentError struct{ reason string }

func (e *unsentError) Error() string { return e.reason }

// GRPCStatus has etcd's client take the error for final. From one of a context it would
// make that of the context alone, without the reason.
func (e *unsentError) GRPCStatus() *status.Status { return status.New(codes.Aborted, e.reason) }

// tellUnsentCall is an interceptor that makes an unsentError of the error of a call which
// never had a peer.
func tellUnsentCall(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	var p peer.Peer
	err := invoke(ctx, method, request, reply, conn, append(options, grpc.Peer(&p))...)
	if err != nil && p.Addr == nil && ctx.Err() != nil {
		return &unsentError{reasonOf(err)}
	}
	return err
}

// tellUnsentStream is the same for streams.
func tellUnsentStream(ctx context.Context, description *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := open(ctx, description, conn, method, options...)
	if err != nil && ctx.Err() != nil {
		return nil, &unsentError{reasonOf(err)}
	}
	return stream, err
}

// reasonOf returns why there is no connection, without the words that gRPC has around it.
func reasonOf(err error) string {
	text := status.Convert(err).Message()
	_, inner, isQuoted := strings.Cut(text, `desc = "`)
	if !isQuoted {
		return text
	}
	inner = strings.TrimPrefix(strings.TrimSuffix(inner, `"`), "transport: ")
	return strings.TrimPrefix(inner, "Error while dialing: ")
}

// isRefusal reports whether err says that nothing was done, and nothing will be. That etcd
// has no space left is not among these: it says so as well of what it has just done, if
// that took the last of it.
func isRefusal(err error) bool {
	var unsent *unsentError
	if errors.As(err, &unsent) {
		return true
	}
	for _, refusal := range []error{
		rpctypes.ErrTooManyOps, rpctypes.ErrRequestTooLarge, rpctypes.ErrTooManyRequests,
		rpctypes.ErrDuplicateKey, rpctypes.ErrEmptyKey, rpctypes.ErrLeaseNotFound,
		rpctypes.ErrPermissionDenied, rpctypes.ErrUserEmpty, rpctypes.ErrAuthFailed, rpctypes.ErrInvalidAuthToken,
	} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}

// refusalOfWatch returns the error that err of a watch stands for. Etcd sends it as a text,
// which its client does not read. A token that has expired is not among these: the next
// watch comes with another.
func refusalOfWatch(err error) error {
	for _, refusal := range []error{rpctypes.ErrPermissionDenied, rpctypes.ErrUserEmpty} {
		if strings.HasSuffix(err.Error(), refusal.Error()) {
			return refusal
		}
	}
	return err
}

// explain returns what err of a call means, in words for who runs the proxy. ctx is the
// caller's.
func (s *Store) explain(ctx context.Context, err error) error {
	var unsent *unsentError
	switch {
	case s.closed.Load():
		return errClosed
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w: %w", s.where(), kv.ErrUnreachable, context.Cause(ctx))
	case errors.As(err, &unsent):
		return fmt.Errorf("%s: %w: %s", s.where(), kv.ErrUnreachable, unsent.reason)
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		return kv.ErrLeaseEnded
	case errors.Is(err, rpctypes.ErrCompacted):
		return kv.ErrCompacted
	case errors.Is(err, rpctypes.ErrTooManyOps), errors.Is(err, rpctypes.ErrRequestTooLarge):
		return fmt.Errorf("%s: %w: %v", s.where(), kv.ErrTooLarge, err)
	case errors.Is(err, rpctypes.ErrNoSpace):
		return fmt.Errorf("%s has no space left for its database, and takes nothing more: compact and defragment it, or give it more with --quota-backend-bytes, and then run etcdctl alarm disarm", s.where())
	case errors.Is(err, rpctypes.ErrAuthFailed), errors.Is(err, rpctypes.ErrInvalidAuthToken):
		return fmt.Errorf("%s does not take the password of user %q, or does not know that user", s.where(), s.o.User)
	case errors.Is(err, rpctypes.ErrUserEmpty):
		return fmt.Errorf("%s wants a user and a password, and none are given", s.where())
	case errors.Is(err, rpctypes.ErrPermissionDenied):
		return fmt.Errorf("%s does not let %s at the keys below %s: grant a role readwrite there, with --prefix", s.where(), s.who(), s.prefix)
	}
	var known rpctypes.EtcdError
	switch {
	case errors.As(err, &known) && known.Code() != codes.Unavailable:
		return fmt.Errorf("%s: %w", s.where(), err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: %w: no answer within %v", s.where(), kv.ErrUnreachable, s.o.Timeout)
	}
	return fmt.Errorf("%s: %w: %s", s.where(), kv.ErrUnreachable, reasonOf(err))
}

func (s *Store) where() string { return "etcd at " + strings.Join(s.o.Endpoints, ", ") }

// who returns as whom etcd knows the proxy.
func (s *Store) who() string {
	if s.o.User == "" {
		return "the user of the certificate"
	}
	return fmt.Sprintf("user %q", s.o.User)
}
