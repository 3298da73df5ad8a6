package descriptors_test

import (
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/descriptors"
)

func TestWhatTakesTheReserveIsSeenByItsNumber(t *testing.T) {
	is := is.New(t)
	var was syscall.Rlimit
	is.NoErr(syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was))
	defer func() { is.NoErr(syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was)) }()
	is.NoErr(syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 128, Max: was.Max}))
	is.Equal(descriptors.Limit(), 128) // of which 24 are in reserve

	l, err := net.Listen("tcp", "127.0.0.1:0")
	is.NoErr(err)
	defer l.Close()
	is.True(!descriptors.AreShort())
	is.True(!descriptors.TakesReserve(l))

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
	for take().Fd() < 103 {
	}
	is.True(!descriptors.TakesReserve(taken[len(taken)-1])) // the last one that anybody may have
	is.True(descriptors.AreShort())
	is.True(descriptors.TakesReserve(take()))
	is.True(!descriptors.TakesReserve("what has none"))
	taken[0].Close() // one less of the lower ones
	is.True(!descriptors.AreShort())
}

func TestLimitThatChangesIsNoticedSoon(t *testing.T) {
	is := is.New(t)
	var was syscall.Rlimit
	is.NoErr(syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was))
	set := func(limit uint64) {
		is.NoErr(syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: limit, Max: was.Max}))
	}
	defer set(was.Cur)
	var r descriptors.Reserve
	set(256) // of which 32 are in reserve
	is.True(!r.Has(223))
	is.True(r.Has(224))
	set(128)
	seen := 0
	for !r.Has(150) {
		seen++
	}
	is.Equal(seen, 63) // after the one that was asked for
	is.True(r.Has(104))
	is.True(!r.Has(103))
	set(256)
	is.True(!r.Has(150)) // at once
}
