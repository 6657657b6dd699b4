package actions

import (
	"context"
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
	s, err := foldTo(ctx, log, stateDir, to, newTurns().take)
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

// turns shares a processor with those who serve requests: a record in between
// would otherwise wait until the scheduler interrupts the fold.
type turns struct {
	left  int
	since time.Time
}

const (
	turnRecords = 64
	turnLength  = 500 * time.Microsecond
)

func newTurns() *turns { return &turns{left: turnRecords, since: time.Now()} }

// take is called before every record. It rests for as long as it has worked.
func (t *turns) take() {
	if t.left--; t.left > 0 {
		return
	}
	t.left = turnRecords
	if worked := time.Since(t.since); worked >= turnLength {
		time.Sleep(worked)
		t.since = time.Now()
	}
}
