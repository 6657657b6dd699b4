package actions

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"

	"waybill/fsview"
	"waybill/fsview/acl"
	"waybill/journal"
)

// Publish ends the transfer with a content that is complete: it is verified,
// stored, and becomes the document's newest revision, all of it durable on
// return. want, if not "", is the SHA-256 the content must have, in lower-case
// hex: with another one the bytes are discarded and the task stays open
// (CodeTaskDigest). Whether the document may be written is decided again:
// CodeTaskGone, CodeTaskDenied end the task. After any other error the content is
// kept, and publishing is tried again without the client.
func (w *TaskWriter) Publish(want string) (*Published, error) {
	t := w.live
	defer t.engine.busy.Done()
	t.mu.Lock()
	defer t.mu.Unlock()
	defer w.leaveLocked()
	from := w.task.origin()
	if w.over != nil {
		return nil, w.task.refuse(taskStore, w.over)
	}
	// Each step lets go of the lock. A transfer that comes meanwhile waits for the
	// outcome: it must not write into what is verified.
	t.placing = true
	defer func() {
		t.placing = false
		t.cond.Broadcast()
	}()
	if err := t.sealLocked(from, want); err != nil {
		return nil, w.task.refuse(taskStore, err)
	}
	p, err := t.completeLocked(from)
	if err != nil {
		return nil, w.task.refuse(taskStore, err)
	}
	return p, nil
}

// sealLocked verifies what is stored and records that it is the whole content.
// The caller has set placing.
func (t *liveTask) sealLocked(from origin, want string) error {
	if err := t.flushLocked(from); err != nil {
		return err
	}
	digest, err := t.digestLocked()
	if err != nil && t.ended {
		return acl.CodeTaskGone // the file was taken away from under it
	}
	if err != nil {
		return err
	}
	if want != "" && digest != want {
		if err := t.cutLocked(from, 0); err != nil {
			return err
		}
		return acl.CodeTaskDigest
	}
	size := t.durable
	err = t.decideLocked(from, func(s *State) ([]journal.Fact, error) {
		return s.sessions.FinishTask(t.id, size, digest)
	})
	if err != nil {
		return err
	}
	t.sealed, t.digest = true, digest
	return nil
}

// digestLocked is the SHA-256 of the durable bytes. What was not hashed as it
// came, because the daemon was restarted meanwhile, is read again, without the
// lock: the caller has set placing.
func (t *liveTask) digestLocked() (string, error) {
	if t.sum == nil {
		t.sum, t.hashed = sha256.New(), 0
	}
	size, sum, file, at := t.durable, t.sum, t.file, t.hashed
	if at < size {
		t.mu.Unlock()
		buf := piecePool.Get().(*[hashPiece]byte)
		var err error
		for at < size && err == nil {
			n := min(size-at, hashPiece)
			_, err = hashPieceOf(sum, file, buf[:n], at)
			at += n
		}
		piecePool.Put(buf)
		t.mu.Lock()
		if err != nil {
			t.forgetSumLocked()
			return "", err
		}
		t.hashed = at
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// completeLocked takes a sealed content into the store and publishes it. It is
// the same for the transfer that completes it, the start after a crash and the
// reaper's further tries: each step is idempotent.
func (t *liveTask) completeLocked(from origin) (*Published, error) {
	t.placing = true
	defer func() {
		t.placing = false
		t.cond.Broadcast()
	}()
	t.nextPlace = t.engine.cfg.Now().Add(placeRetry)
	t.closeFileLocked()
	digest := t.digest
	t.mu.Unlock()
	err := t.engine.keepContent(t.id, digest)
	t.mu.Lock()
	if t.ended && !errors.Is(err, ErrFailed) {
		// Cancelled meanwhile, and its bytes taken away from under it. If they came
		// into the store all the same, whoever cancelled it has them looked at.
		return nil, acl.CodeTaskGone
	}
	if errors.Is(err, fsview.ErrNotFound) {
		t.engine.cfg.Logger.Error().Stringer("session", t.id).Str("sha256", digest).
			Msg("a verified content is neither staged nor stored; its task is rejected")
		return nil, t.rejectLocked(from, acl.CodeUnexpected)
	}
	if errors.Is(err, acl.CodeTaskGone) {
		return nil, err
	}
	if err != nil {
		t.engine.cfg.Logger.Error().Err(err).Stringer("session", t.id).Msg("store content")
		return nil, err
	}
	return t.publishLocked(from)
}

// publishLocked decides once more whether the document takes the content.
func (t *liveTask) publishLocked(from origin) (*Published, error) {
	var published *Published
	var refusal error
	var digests []string
	err := t.decideLocked(from, func(s *State) (facts []journal.Fact, err error) {
		facts, published, refusal, err = s.publish(t.id, s.clock(t.engine.cfg.Now()))
		return facts, err
	})
	if err != nil {
		return nil, err
	}
	if refusal != nil {
		digests = append(digests, t.digest)
	}
	t.ended = true
	t.engine.sweepSoon(digests...)
	t.dropLocked()
	return published, refusal
}

// rejectLocked ends the task for good; its content is never published.
func (t *liveTask) rejectLocked(from origin, why acl.Code) error {
	err := t.decideLocked(from, func(s *State) ([]journal.Fact, error) {
		f, err := s.sessions.Reject(t.id, string(why), "")
		return []journal.Fact{f}, err
	})
	if err != nil {
		return err
	}
	t.ended = true
	t.engine.sweepSoon(t.digest)
	t.dropLocked()
	t.engine.dropStagedContent(t.id)
	return why
}
