package state

// SetSyncDir replaces what makes the names in the directory durable.
func (s *Store) SetSyncDir(f func() error) { s.syncDir = f }
