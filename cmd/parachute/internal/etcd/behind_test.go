package etcd_test

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/matryer/is"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"

	"github.com/shahnk19/parachute/cmd/parachute/internal/etcd"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kv"
)

// A straggler is a member of an etcd that has come back, and that does not know yet what the
// others know. What is read from it is what most of them have, as etcd has it.
type straggler struct {
	etcdserverpb.UnimplementedKVServer
	etcdserverpb.UnimplementedWatchServer
	own, most int64 // latest revisions
}

// serve returns what leads to the straggler, until the test ends.
func (s *straggler) serve(t *testing.T) etcd.Config {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	etcdserverpb.RegisterKVServer(server, s)
	etcdserverpb.RegisterWatchServer(server, s)
	served := make(chan error)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		<-served
	})
	return etcd.Config{Endpoints: []string{"http://" + l.Addr().String()}, Prefix: "/parachute/test"}
}

func (s *straggler) Range(context.Context, *etcdserverpb.RangeRequest) (*etcdserverpb.RangeResponse, error) {
	return &etcdserverpb.RangeResponse{Header: &etcdserverpb.ResponseHeader{Revision: s.most}}, nil
}

// Watch begins with the revision that the straggler knows. Once it has caught up it tells of
// the next change.
func (s *straggler) Watch(stream etcdserverpb.Watch_WatchServer) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	if err := stream.Send(&etcdserverpb.WatchResponse{Header: &etcdserverpb.ResponseHeader{Revision: s.own}, Created: true}); err != nil {
		return err
	}
	pair := &mvccpb.KeyValue{Key: []byte("/parachute/test/key"), CreateRevision: s.most + 1, ModRevision: s.most + 1, Version: 1}
	if err := stream.Send(&etcdserverpb.WatchResponse{
		Header: &etcdserverpb.ResponseHeader{Revision: s.most + 1},
		Events: []*mvccpb.Event{{Type: mvccpb.Event_PUT, Kv: pair}},
	}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

func TestWatchWaitsForAMemberThatIsBehindTheOthers(t *testing.T) {
	is := is.New(t)
	s := open(t, (&straggler{own: 5, most: 8}).serve(t))
	enough := errors.New("enough")
	var got []kv.Change
	err := s.Watch(t.Context(), "", 8, func(revision int64, changes []kv.Change) error {
		is.Equal(revision, int64(9))
		got = changes
		return enough
	})
	is.Equal(err, enough) // and not that these changes are forgotten
	is.Equal(len(got), 1)
	is.Equal(got[0].Key, "key")
}

func TestWatchOfWhatNoMemberKnowsIsForgotten(t *testing.T) {
	is := is.New(t)
	s := open(t, (&straggler{own: 5, most: 7}).serve(t))
	err := s.Watch(t.Context(), "", 8, func(int64, []kv.Change) error { return nil })
	is.Equal(err, kv.ErrCompacted)
}
