package journal

import (
	"errors"
	"fmt"
	"runtime/debug"
)

var (
	// ErrLocked: another process (or another Log) has the journal open.
	ErrLocked = errors.New("journal is locked")
	// ErrFailed: an earlier Append failed; this one did nothing.
	ErrFailed = errors.New("journal has failed")
	// ErrReadOnly: the journal was opened for reading.
	ErrReadOnly = errors.New("journal is open for reading only")
	// ErrClosed: the Log was closed.
	ErrClosed = errors.New("journal is closed")
	// ErrBeyond: what is asked for is not, or not wholly, committed.
	ErrBeyond = errors.New("not committed")
	// ErrPruned: what is asked for stands before the oldest record held, see
	// Log.First.
	ErrPruned = errors.New("pruned from the journal")
)

// DamageError says that what is stored cannot be what was written.
type DamageError struct {
	// Seq is the first record that may be damaged, Last the last; they are
	// equal when the damage is pinned to one record.
	Seq, Last uint64
	// File is the name of the segment, or of the roots of the pruned ones,
	// without its directory; "" for an export.
	File string
	// Reason says what does not fit.
	Reason string
}

// Error names the record.
func (e *DamageError) Error() string {
	where := fmt.Sprintf("record %d", e.Seq)
	if e.Last > e.Seq {
		where = fmt.Sprintf("records %d to %d", e.Seq, e.Last)
	}
	if e.File != "" {
		where += " (" + e.File + ")"
	}
	return "journal damaged at " + where + ": " + e.Reason
}

func damaged(file string, seq, last uint64, format string, args ...any) *DamageError {
	return &DamageError{Seq: seq, Last: max(seq, last), File: file, Reason: fmt.Sprintf(format, args...)}
}

// guard runs fn, which reads a segment, and turns a panic into a DamageError
// for the records seq to last. bbolt panics on pages that make no sense, and a
// mapped page that the disk cannot deliver, or that was cut off, is a fault.
// Callers' functions never run inside of a guard.
func guard(file string, seq, last uint64, fn func() error) (panicked bool, err error) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		if p := recover(); p != nil {
			panicked, err = true, damaged(file, seq, last, "unreadable: %v", p)
		}
	}()
	return false, fn()
}
