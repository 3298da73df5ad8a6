package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// troubles returns what is done to the proxy, and to what it stands on.
func (s *soak) troubles() []deed {
	all := []deed{s.restartProxy, s.killProxy}
	if s.proxy.canUpgrade() {
		all = append(all, s.upgradeProxy, s.killUpgraded)
	}
	if s.inside {
		all = append(all, s.fillDisk, s.loseNameServer(silent), s.loseNameServer(failing), s.loseNameServer(ignorant))
	}
	return all
}

// restartProxy stops the proxy, and starts it again when it has ended. One that it has
// replaced may still have requests.
func (s *soak) restartProxy(ctx context.Context, _ *rand.Rand) error {
	defer s.ledger.begin(proxyRestarted, "", nil)()
	if err := s.proxy.stop(); err != nil {
		s.wrong(err)
	}
	err := s.startProxy(ctx)
	s.awaitReplaced()
	return err
}

// startProxy starts the proxy. A certificate and a key that do not belong together, as while
// they are replaced, would have a service fail.
func (s *soak) startProxy(ctx context.Context) error {
	s.files.Lock()
	defer s.files.Unlock()
	return s.proxy.start(ctx)
}

func (s *soak) killProxy(ctx context.Context, _ *rand.Rand) error {
	s.awaitReplaced()
	defer s.ledger.begin(proxyKilled, "", nil)()
	s.proxy.kill()
	return s.startProxy(ctx)
}

// upgradeProxy has another process take the place of the proxy. The old one ends when its
// requests have ended, and when it is not needed any more if the new one should die.
func (s *soak) upgradeProxy(ctx context.Context, _ *rand.Rand) error {
	return s.upgradeFrom(ctx, s.ledger.begin(proxyUpgraded, "", nil))
}

// upgradeFrom is upgradeProxy once it has begun. end is called when the effects are over.
func (s *soak) upgradeFrom(ctx context.Context, end func()) error {
	old := s.proxy.current()
	s.files.Lock()
	err := s.proxy.upgrade()
	s.files.Unlock()
	s.awaitReplaced() // it has ended, for the last upgrade had to be over
	if err != nil {
		end()
		if !strings.Contains(err.Error(), "would be unhealthy") { // a target is down just then, and the old process goes on
			s.wrong(err)
		}
		return nil
	}
	pid, err := s.proxy.pid(ctx)
	if err != nil {
		end()
		return err
	}
	successor := &process{pid: pid, ended: make(chan struct{})}
	go successor.await()
	s.proxy.become(successor)
	s.replaced = make(chan error, 1)
	go s.followReplaced(old, s.replaced, end)
	return nil
}

// killUpgraded kills the process that takes the place of the proxy: while it does, or soon
// after. The old one goes on, and is replaced or ends in good order later.
func (s *soak) killUpgraded(ctx context.Context, chance *rand.Rand) error {
	end := s.ledger.begin(proxyUpgraded, "", nil)
	old := s.proxy.current()
	over := make(chan struct{})
	go func() {
		defer close(over)
		s.proxy.upgrade() // whether it comes to an end, chance decides
	}()
	newcomer := old.newcomer(over)
	if chance.IntN(2) == 0 {
		<-over
		think(ctx, chance, 2*time.Second)
	} else {
		time.Sleep(time.Duration(chance.Int64N(int64(300 * time.Millisecond))))
	}
	if newcomer == 0 {
		end()
		s.wrong(errors.New("the proxy started no process in its place"))
		return nil
	}
	killed := s.ledger.begin(upgradeKilled, "", nil)
	syscall.Kill(newcomer, syscall.SIGKILL)
	<-over
	s.awaitReplaced()
	err := s.proxy.serves(ctx, old)
	killed()
	if err == nil {
		var pid int
		if pid, err = s.proxy.pid(ctx); err == nil && pid != old.pid {
			s.wrong(fmt.Errorf("process %d answers in place of %d, which had to take up again", pid, old.pid))
		}
	}
	if err != nil {
		end()
		s.wrong(fmt.Errorf("behind an upgrade whose process was killed: %w", err))
		return nil
	}
	think(ctx, chance, time.Second)
	if chance.IntN(2) == 0 {
		return s.upgradeFrom(ctx, end)
	}
	defer end()
	return s.restartProxy(ctx, chance)
}

// followReplaced sends how the process old has ended.
func (s *soak) followReplaced(old *process, ended chan<- error, end func()) {
	err := s.proxy.ends(old)
	end()
	ended <- err
}

// awaitReplaced waits for the end of a process that another has replaced.
func (s *soak) awaitReplaced() {
	if s.replaced == nil {
		return
	}
	if err := <-s.replaced; err != nil {
		s.wrong(err)
	}
	s.replaced = nil
}

// wrong enters that the proxy has not kept its word.
func (s *soak) wrong(err error) {
	x := &exchange{kind: "proxy", began: time.Now()}
	s.ledger.failed(x, checking, err)
}

// rotate replaces the files of the certificate, and waits until that is what clients
// are shown.
func (s *soak) rotate(ctx context.Context, _ *rand.Rand) error {
	on := s.service(secure)
	defer s.ledger.begin(rotated, secure, nil)()
	s.files.Lock()
	err := s.authority.issue(on.host)
	s.files.Unlock()
	if err != nil {
		return err
	}
	for late := time.Now().Add(patience); ; {
		dialer := tls.Dialer{Config: s.authority.client(on.host)}
		conn, err := dialer.DialContext(ctx, "tcp", s.proxy.https)
		if err == nil {
			serial := conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.Int64()
			conn.Close()
			if serial == s.authority.serial.Load() {
				return nil
			}
			err = fmt.Errorf("clients are shown certificate %d", serial)
		}
		if time.Now().After(late) {
			s.wrong(fmt.Errorf("the certificate was replaced, and %w", err))
			return nil
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return nil
		}
	}
}

// fillDisk leaves no room on the disk of the proxy's state for a while.
func (s *soak) fillDisk(ctx context.Context, chance *rand.Rand) error {
	defer s.ledger.begin(diskFull, "", nil)()
	name := filepath.Join(s.proxy.data, "filler")
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer os.Remove(name)
	defer f.Close()
	defer f.Truncate(0) // a command that is just being started has the file open as well, for a moment
	for until := time.Now().Add(500*time.Millisecond + time.Duration(chance.Int64N(int64(time.Second)))); time.Now().Before(until) && ctx.Err() == nil; {
		// What is given back meanwhile, is taken too.
		if _, err := io.Copy(f, io.LimitReader(zeros{}, 64<<20)); err == nil {
			return errors.New("the disk is larger than it should be")
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// loseNameServer returns what has the name server be in that mood for a while.
func (s *soak) loseNameServer(mood int32) deed {
	return func(ctx context.Context, chance *rand.Rand) error {
		defer s.ledger.begin(nameServerAway, named, nil)()
		s.names.mood.Store(mood)
		defer s.names.mood.Store(willing)
		think(ctx, chance, 3*time.Second)
		return nil
	}
}
