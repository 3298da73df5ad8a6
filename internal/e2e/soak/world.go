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
	"time"
)

// troubles returns what is done to the proxy, and to what it stands on.
func (s *soak) troubles() []deed {
	all := []deed{s.restartProxy, s.killProxy}
	if s.proxy.canUpgrade() {
		all = append(all, s.upgradeProxy)
	}
	if s.inside {
		all = append(all, s.fillDisk, s.loseNameServer(silent), s.loseNameServer(failing), s.loseNameServer(ignorant))
	}
	return all
}

// restartProxy stops the proxy, and starts it again when it has ended.
func (s *soak) restartProxy(ctx context.Context, _ *rand.Rand) error {
	s.awaitReplaced()
	defer s.ledger.begin(proxyRestarted, "", nil)()
	if err := s.proxy.stop(); err != nil {
		s.wrong(err)
	}
	return s.proxy.start(ctx)
}

func (s *soak) killProxy(ctx context.Context, _ *rand.Rand) error {
	s.awaitReplaced()
	defer s.ledger.begin(proxyKilled, "", nil)()
	s.proxy.kill()
	return s.proxy.start(ctx)
}

// upgradeProxy has another process take the place of the proxy. The old one ends when its
// requests have ended, and when it is not needed any more if the new one should die.
func (s *soak) upgradeProxy(ctx context.Context, _ *rand.Rand) error {
	s.awaitReplaced()
	end := s.ledger.begin(proxyUpgraded, "", nil)
	old := s.proxy.current()
	if err := s.proxy.upgrade(); err != nil {
		end()
		s.wrong(err)
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
	if err := s.authority.issue(on.host); err != nil {
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
