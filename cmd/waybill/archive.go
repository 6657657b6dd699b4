package main

import (
	"bytes"
	"context"
	"encoding/json"

	"waybill/actions"
	"waybill/daemon"
	"waybill/journal"
)

// pruningSeen keeps what records say that a check of an archive needs: the last
// cut, and every key that has signed.
type pruningSeen struct {
	cut  *actions.Cut
	keys []journal.VerifierKey
}

func (s *pruningSeen) take(e *journal.Entry) error {
	switch e.Kind {
	case actions.KindPruned:
		cut := new(actions.Cut)
		if err := json.Unmarshal(e.Body, cut); err != nil {
			return fail(exitData, "record %d: %w", e.Seq, err)
		}
		s.cut = cut
	case actions.KindCheckpointKey:
		var k actions.CheckpointKey
		if err := json.Unmarshal(e.Body, &k); err != nil {
			return fail(exitData, "record %d: %w", e.Seq, err)
		}
		key, err := journal.ParseVerifierKey(k.Key)
		if err != nil {
			return fail(exitData, "record %d: %w", e.Seq, err)
		}
		s.keys = append(s.keys, key)
	}
	return nil
}

// keyIn takes a line if it names a key. Others are not parsed for that.
func (s *pruningSeen) keyIn(line []byte) error {
	if !bytes.Contains(line, []byte(`"kind":"`+actions.KindCheckpointKey+`"`)) {
		return nil
	}
	var e journal.Entry
	if err := journal.ParseEntry(line, &e); err != nil || e.Kind != actions.KindCheckpointKey {
		return nil // the check of all lines says what is wrong with it
	}
	return s.take(&e)
}

// checkSignatures checks those of the checkpoints in an archive: with the keys
// of --key alone, if there are any, else with that of STATE and those that the
// journal names.
func (c *verifyCmd) checkSignatures(a *app, archive *journal.Archive, recorded []journal.VerifierKey) error {
	if len(c.Key) > 0 {
		keys, err := c.read(a)
		if err != nil {
			return err
		}
		return archive.CheckSignatures(keys...)
	}
	keys := recorded
	if current, _, err := daemon.StoredKeys(c.State); err == nil && c.State != "" {
		keys = append(keys, current.Verifier())
	}
	if len(keys) == 0 {
		a.say("the signatures in the archive were not checked: there is no key; give one with --key")
		return nil
	}
	return archive.CheckSignatures(keys...)
}

// verifyArchive checks an archive that is all there is.
func (c *verifyCmd) verifyArchive(ctx context.Context, a *app, kept []witnessed) (journal.Head, error) {
	keys, err := c.read(a)
	if err != nil {
		return journal.Head{}, err
	}
	archive, err := journal.OpenArchive(c.ArchiveOnly)
	if err != nil {
		return journal.Head{}, archiveError(err)
	}
	head, err := archive.Verify(ctx, nil)
	if err != nil {
		return head, archiveError(err)
	}
	if err := archive.CheckSignatures(keys...); err != nil {
		return head, err
	}
	return head, compare(kept, head.Size, func(size uint64) (journal.Hash, error) { return archive.RootAt(ctx, size) })
}
