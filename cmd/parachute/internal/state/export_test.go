package state

import "os"

// SetFault has fault decide, before each call of the system that changes a file,
// whether that fails. What is written by a call that fails is half of it.
func (s *Store) SetFault(fault func(call string) error) {
	real := newDisk()
	s.disk = disk{
		write: func(f *os.File, data []byte) error {
			if err := fault("write"); err != nil {
				_ = real.write(f, data[:len(data)/2])
				return err
			}
			return real.write(f, data)
		},
		sync: func(f *os.File) error {
			if err := fault("sync"); err != nil {
				return err
			}
			return real.sync(f)
		},
		truncate: func(f *os.File, size int64) error {
			if err := fault("truncate"); err != nil {
				return err
			}
			return real.truncate(f, size)
		},
		rename: func(from, to string) error {
			if err := fault("rename"); err != nil {
				return err
			}
			return real.rename(from, to)
		},
		syncDir: func(dir string) error {
			if err := fault("sync directory"); err != nil {
				return err
			}
			return real.syncDir(dir)
		},
	}
}

// SetSyncDir replaces what makes the names in the directory durable.
func (s *Store) SetSyncDir(f func() error) {
	s.disk.syncDir = func(string) error { return f() }
}

// AwaitFold waits until no fold is going on.
func (s *Store) AwaitFold() { s.folding.Wait() }
