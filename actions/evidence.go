package actions

import (
	"encoding/json"
	"fmt"
	"time"

	"waybill/journal"
)

// The kinds of facts about the journal itself.
const (
	// KindCheckpointKey: from here on checkpoints are signed with another key.
	KindCheckpointKey = "checkpoint.key"
	// KindPruned: the records before a cut are in an archive and leave the
	// journal; what they add up to is in a base file.
	KindPruned = "segment.pruned"
)

// CheckpointKey is the body of checkpoint.key, and what State knows of the keys
// that sign.
type CheckpointKey struct {
	// Key is the verifier key, in the form of C2SP signed-note.
	Key string `json:"key"`
	// Previous is the one before it, which signs beside it up to Until; "" if
	// there was none, or it is lost.
	Previous string     `json:"previous,omitempty"`
	Until    *time.Time `json:"until,omitempty"`
}

// Cut is the body of segment.pruned, and what State knows of the last one.
type Cut struct {
	// From is the first record that leaves with this cut, To the first that
	// stays; both are multiples of journal.SegmentRecords.
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
	// Root is the root over the records before To, Base the SHA-256 of the base
	// file with the state they lead to; both lower-case hex.
	Root string `json:"root"`
	Base string `json:"base"`
}

// foldEvidence folds the facts about the journal itself.
func (s *State) foldEvidence(e *journal.Entry) error {
	switch e.Kind {
	case KindCheckpointKey:
		var k CheckpointKey
		if err := json.Unmarshal(e.Body, &k); err != nil {
			return fmt.Errorf("%s: %w", e.Kind, err)
		}
		s.key = &k
		return nil
	default:
		var c Cut
		if err := json.Unmarshal(e.Body, &c); err != nil {
			return fmt.Errorf("%s: %w", e.Kind, err)
		}
		if s.cut != nil && c.To <= s.cut.To || c.To > e.Seq || c.To%journal.SegmentRecords != 0 {
			return fmt.Errorf("%s: a cut at record %d cannot follow", e.Kind, c.To)
		}
		s.cut = &c
		return nil
	}
}

// RecordKey records with which key checkpoints are signed from here on. None
// may leave before it returns nil.
func (e *Engine) RecordKey(k CheckpointKey) error {
	if !e.enter() {
		return ErrStopping
	}
	defer e.busy.Done()
	return e.record(origin{actorDaemon, "internal", e.boot}, KindCheckpointKey, k)
}

// Key is the last checkpoint.key, nil before the first.
func (s *State) Key() *CheckpointKey {
	if s.key == nil {
		return nil
	}
	k := *s.key
	return &k
}

// Cut is the last segment.pruned, nil before the first.
func (s *State) Cut() *Cut {
	if s.cut == nil {
		return nil
	}
	c := *s.cut
	return &c
}
