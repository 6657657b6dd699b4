package actions

import (
	"errors"
	"time"

	"waybill/fsview"
	"waybill/sessions"
)

// complete takes an upload all of whose bytes are durable to its name:
// digest, upload.sealed, rename and directory sync, upload.placed. It is the
// same for the chunk that completes a file, the start after a crash and the
// reaper's further tries: each step is idempotent and looks at what is done.
// mu is held on entry and on return.
func (u *upload) complete(from origin) error {
	u.full, u.placing = true, true
	defer func() {
		u.placing = false
		u.cond.Broadcast()
	}()
	u.nextPlace = u.engine.cfg.Now().Add(placeRetry)
	if u.digest == "" {
		if err := u.seal(from); err != nil {
			return err
		}
	}
	return u.place(from)
}

// seal verifies the content and records that it is whole.
func (u *upload) seal(from origin) error {
	if err := u.trim(); err != nil {
		return u.failed("cut", err)
	}
	digest, err := u.wholeDigest()
	if err != nil {
		return u.failed("hash", err)
	}
	if u.sha1 != "" && digest != u.sha1 {
		refusal := Errorf(CodeTransfer, "SHA-1 is %s, not %s", digest, u.sha1)
		return u.reject(from, refusal)
	}
	err = u.decide(from, func(s *State) (sessions.Fact, error) { return s.sessions.Seal(u.id, digest) })
	if err != nil {
		return err
	}
	u.digest = digest
	return nil
}

// trim cuts off what lies beyond the end: bytes that were never recorded, of an
// upload whose size was not known when they came. It syncs what is of the right
// size, too: a file without bytes has not been synced yet, and a cut before this
// may not have been.
func (u *upload) trim() error {
	if err := u.open(); err != nil {
		return err
	}
	have, err := u.file.Size()
	if err != nil {
		return err
	}
	file, size := u.file, u.size
	u.mu.Unlock()
	if have != size {
		err = file.Truncate(size)
	}
	err = errors.Join(err, file.Sync())
	u.mu.Lock()
	if err != nil { // the handle is spent
		err = errors.Join(err, file.Close())
		u.file = nil
	}
	return err
}

// place puts the sealed file under its name. What can never succeed rejects
// the upload; anything else leaves it sealed, to be tried again.
func (u *upload) place(from origin) error {
	root, id := u.engine.cfg.Root, u.id.String()
	u.mu.Unlock()
	err := root.Place(id, u.name)
	gone := false
	if errors.Is(err, fsview.ErrNotFound) {
		_, staged, serr := root.StagedExists(id)
		gone = serr == nil && !staged
	}
	u.mu.Lock()
	switch {
	case gone:
		u.engine.cfg.Logger.Error().Stringer("session", u.id).Str("path", u.name.String()).
			Msg("a verified file is neither staged nor in place; the upload is rejected")
		return u.reject(from, Errorf(CodeFile, "the staged bytes are gone"))
	case errors.Is(err, fsview.ErrIsDirectory), errors.Is(err, fsview.ErrIsFile),
		errors.Is(err, fsview.ErrEscape), errors.Is(err, fsview.ErrBadName):
		return u.reject(from, asError(err))
	case err != nil:
		refusal := asError(u.failed("place", err))
		if refusal.Code != CodeDiskFull {
			// Whatever it was, it is the disk's fault now and may pass.
			refusal = Errorf(CodeFile, "the file is complete but cannot be put in place yet: %s", refusal.Detail)
		}
		u.trouble = refusal.Code
		return refusal
	}
	err = u.decide(from, func(s *State) (sessions.Fact, error) { return s.sessions.Place(u.id) })
	if err != nil {
		return err
	}
	u.finishLocked(false)
	return nil
}

// reject ends the upload for good. The fact comes first: bytes are dropped
// only when the journal says why.
func (u *upload) reject(from origin, why *Error) error {
	err := u.decide(from, func(s *State) (sessions.Fact, error) {
		return s.sessions.Reject(u.id, string(why.Code), clip(why.Detail))
	})
	if err != nil {
		return err
	}
	u.finishLocked(true)
	return why
}

// decide lets go of mu while the core works.
func (u *upload) decide(from origin, fn func(*State) (sessions.Fact, error)) error {
	u.mu.Unlock()
	defer u.mu.Lock()
	return u.engine.core.decide(from, func(s *State) ([]sessions.Fact, error) {
		f, err := fn(s)
		if err != nil {
			return nil, err
		}
		return []sessions.Fact{f}, nil
	})
}

// reap ends the upload if it has been idle for too long at now, and takes up
// again what could not be placed.
func (u *upload) reap(now time.Time) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	from := origin{actorDaemon, "reaper", u.id.String()}
	u.syncNow() // what a body has brought that has stalled, or is slow
	if u.ended || u.underway() || u.waiting() {
		return nil
	}
	if u.full {
		if now.Before(u.nextPlace) {
			return nil
		}
		if err := u.complete(from); errors.Is(err, ErrFailed) {
			return err
		}
		return nil
	}
	if u.left(u.idle, now) > 0 {
		return u.closeIdle(now)
	}
	// placing keeps a chunk that comes meanwhile waiting for the outcome.
	u.placing = true
	err := u.decide(from, func(s *State) (sessions.Fact, error) { return s.sessions.Expire(u.id) })
	u.placing = false
	u.cond.Broadcast()
	if err != nil {
		return err
	}
	u.finishLocked(true)
	return nil
}

// closeIdle closes a staged file that nobody has used for a while, so that
// many open sessions do not hold as many descriptors.
func (u *upload) closeIdle(now time.Time) error {
	linger := fileLinger
	if u.engine.stats.uploads.Load() > maxLingering {
		linger = 0
	}
	if u.file == nil || u.prefix.running || u.quiet(now) < linger {
		return nil
	}
	err := u.file.Close()
	u.file = nil
	return err
}
