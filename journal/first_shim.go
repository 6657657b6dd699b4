package journal

// First is the seq of the oldest record held.
func (l *Log) First() uint64 { return 0 }

// Prune unlinks the segments before to.
func (l *Log) Prune(to uint64) error { return nil }
