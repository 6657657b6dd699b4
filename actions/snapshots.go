package actions

import (
	"context"
	"runtime"
	"time"

	"waybill/journal"
)

// keptSnapshots is how many snapshots are kept: if the newest is of no use, the
// one before it is.
const keptSnapshots = 2

// SnapshotSegment folds the records before to, the end of a sealed segment, and
// writes their snapshot. Then it removes the snapshots that are not among the
// two newest of this journal. It takes turns with whoever else needs a
// processor, and ends with ctx wherever it is in the fold. Errors are those of
// FoldTo and of the file system.
func SnapshotSegment(ctx context.Context, log *journal.Log, stateDir string, to uint64) error {
	s, err := foldTo(ctx, log, stateDir, to, newTurns(log).take)
	if err != nil {
		return err
	}
	root, err := log.RootAt(ctx, to)
	if err != nil {
		return err
	}
	if _, err := writeStored(stateDir, Stored{Seq: to}, s, root); err != nil {
		return err
	}
	stored, err := ListStored(stateDir)
	if err != nil {
		return err
	}
	var old []Stored
	kept := 0
	for _, f := range stored {
		if f.Base {
			continue
		}
		if f.Seq > to || kept == keptSnapshots { // of another journal, or a longer one
			old = append(old, f)
			continue
		}
		kept++
	}
	return RemoveStored(stateDir, old)
}

// turns shares a processor with those who serve requests: an append would
// otherwise wait until the scheduler interrupts the fold.
type turns struct {
	log   *journal.Log
	size  uint64 // of the journal at the last turn
	left  int
	since time.Time
}

const (
	turnRecords = 8
	turnLength  = 50 * time.Microsecond
	// restRatio is how much longer than it works the fold rests while the journal
	// grows.
	restRatio = 4
	// longestRest bounds one rest: the work may have been a wait for the disk.
	longestRest = 20 * time.Millisecond
)

func newTurns(log *journal.Log) *turns {
	return &turns{log: log, size: log.Head().Size, left: turnRecords, since: time.Now()}
}

// take is called before every record. It is an error if ctx ends.
func (t *turns) take(ctx context.Context) error {
	if t.left--; t.left > 0 {
		return nil
	}
	t.left = turnRecords
	worked := time.Since(t.since)
	if worked < turnLength {
		return nil
	}
	if size := t.log.Head().Size; size != t.size {
		t.size = size
		select {
		case <-ctx.Done():
		case <-time.After(restAfter(worked)):
		}
	} else {
		runtime.Gosched()
	}
	t.since = time.Now()
	return ctx.Err()
}

// restAfter is how long the fold rests after it has worked for so long.
func restAfter(worked time.Duration) time.Duration {
	return restRatio * min(worked, longestRest/restRatio)
}
