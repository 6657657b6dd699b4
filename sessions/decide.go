package sessions

import (
	"fmt"
	"time"
)

// NewUpload is what an upload is opened with.
type NewUpload struct {
	ID   ID
	Path string
	// Size in bytes, -1 for deferred length.
	Size int64
	SHA1 string
	// Exactly one of Idle and Until is set; Until for a task.
	Idle  time.Duration
	Until time.Time
	// Task makes it a write task of a document.
	Task *Task
	// Meta is kept as it is.
	Meta string
}

// OpenUpload decides that an upload begins.
func (t *Table) OpenUpload(n NewUpload) (Fact, error) {
	if t.taken(n.ID) {
		return Fact{}, fmt.Errorf("open %s: %w", n.ID, ErrExists)
	}
	b := uploadOpened{
		Session: n.ID, Path: n.Path, SHA1: n.SHA1, IdleMS: n.Idle.Milliseconds(), Until: recorded(n.Until), Task: n.Task, Meta: n.Meta,
	}
	if n.Size >= 0 {
		b.Size = &n.Size
	}
	return fact(KindUploadOpened, b), nil
}

// recorded is a time as it comes back from the journal, nil for none.
func recorded(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	at = at.UTC().Truncate(time.Microsecond)
	return &at
}

// open returns the live upload id if it still takes bytes.
func (t *Table) open(id ID) (*Upload, error) {
	u, ok := t.uploads[id]
	if !ok {
		return nil, ErrUnknown
	}
	if u.State != Open {
		return nil, ErrState
	}
	return u, nil
}

// Size decides the length of an upload opened without one. Bytes stored
// beyond it are ErrRange.
func (t *Table) Size(id ID, size int64) (Fact, error) {
	u, err := t.open(id)
	switch {
	case err != nil:
		return Fact{}, err
	case u.Size >= 0:
		return Fact{}, ErrState
	case size < u.Stored.End():
		return Fact{}, ErrRange
	}
	return fact(KindUploadSized, uploadSized{id, size}), nil
}

// Store decides that bytes have become durable, and whether they complete
// the file: exactly one decision does.
func (t *Table) Store(s *Stored) (f Fact, completes bool, err error) {
	u, err := t.open(s.Session)
	if err != nil {
		return Fact{}, false, err
	}
	if len(s.Ranges) > MaxFactRanges {
		return Fact{}, false, ErrRange
	}
	before := u.Complete()
	after := u.Stored.Clone()
	for _, r := range s.Ranges {
		if r[0] < 0 || r.Len() <= 0 || u.Size >= 0 && r[1] > u.Size {
			return Fact{}, false, ErrRange
		}
		after.Add(r)
	}
	// Order is not the client's to choose when several of its chunks share a
	// sync, so only a set with more gaps than before is refused.
	if g := after.Gaps(u.Size); g > MaxGaps && g > u.Stored.Gaps(u.Size) {
		return Fact{}, false, ErrGaps
	}
	then := Upload{Size: u.Size, Stored: after}
	return s.fact(), !before && then.Complete(), nil
}

// StoreSealed is Store, and if the file is complete with it, seals it by the same
// decision: digest is that of the whole content then. With "" it is Store.
func (t *Table) StoreSealed(s *Stored, digest string) (facts []Fact, completes bool, err error) {
	f, completes, err := t.Store(s)
	if err != nil {
		return nil, false, err
	}
	facts = []Fact{f}
	if completes && digest != "" {
		size := t.uploads[s.Session].Size
		facts = append(facts, fact(KindUploadSealed, uploadSealed{s.Session, size, digest}))
	}
	return facts, completes, nil
}

// Unstore decides that stored bytes are about to change and count as missing
// until they are stored again.
func (t *Table) Unstore(id ID, ranges []Range) (Fact, error) {
	if _, err := t.open(id); err != nil {
		return Fact{}, err
	}
	if len(ranges) > MaxFactRanges {
		return Fact{}, ErrRange
	}
	return rangesFact(KindUploadUnstored, id, ranges), nil
}

// Truncate decides that the bytes from size on are discarded.
func (t *Table) Truncate(id ID, size int64) (Fact, error) {
	if _, err := t.open(id); err != nil {
		return Fact{}, err
	}
	if size < 0 {
		return Fact{}, ErrRange
	}
	return fact(KindUploadTruncated, uploadSized{id, size}), nil
}

// Seal decides that a complete upload has been verified and will be placed;
// digest is the hex digest of its whole content.
func (t *Table) Seal(id ID, digest string) (Fact, error) {
	u, err := t.open(id)
	if err != nil {
		return Fact{}, err
	}
	if !u.Complete() {
		return Fact{}, ErrState
	}
	return fact(KindUploadSealed, uploadSealed{id, u.Size, digest}), nil
}

// Place decides that a sealed upload stands under its name.
func (t *Table) Place(id ID) (Fact, error) {
	u, ok := t.uploads[id]
	if !ok {
		return Fact{}, ErrUnknown
	}
	if u.State != Sealed {
		return Fact{}, ErrState
	}
	return fact(KindUploadPlaced, uploadPlaced{id, u.Path}), nil
}

// Reject decides that a live upload fails for good, with a code and a line
// for people.
func (t *Table) Reject(id ID, code, message string) (Fact, error) {
	if _, ok := t.uploads[id]; !ok {
		return Fact{}, ErrUnknown
	}
	return fact(KindUploadRejected, uploadRejected{id, code, message}), nil
}

// Cancel decides that an open upload ends by request. A sealed one is
// ErrState: it may stand under its name already. A sealed write task does not,
// and ends too: what is written after it must not be replaced by it.
func (t *Table) Cancel(id ID) (Fact, error) {
	u, ok := t.uploads[id]
	switch {
	case !ok:
		return Fact{}, ErrUnknown
	case u.State != Open && u.Task == nil:
		return Fact{}, ErrState
	}
	return fact(KindUploadCancelled, sessionOnly{id}), nil
}

// Expire decides that an open upload ends by its timeout.
func (t *Table) Expire(id ID) (Fact, error) {
	if _, err := t.open(id); err != nil {
		return Fact{}, err
	}
	return fact(KindUploadExpired, sessionOnly{id}), nil
}

// NewDownload is what a download is opened with.
type NewDownload struct {
	ID       ID
	Path     string
	Identity Identity
	SHA1     string
	Idle     time.Duration
	// Task makes it a read task, bound to Content until Until; then Identity,
	// SHA1 and Idle are not used.
	Task    *Task
	Content Content
	Until   time.Time
}

// OpenDownload decides that a download begins.
func (t *Table) OpenDownload(n NewDownload) (Fact, error) {
	if t.taken(n.ID) {
		return Fact{}, fmt.Errorf("open %s: %w", n.ID, ErrExists)
	}
	b := downloadOpened{Session: n.ID, Path: n.Path}
	if n.Task != nil {
		b.Task, b.Content, b.Until = n.Task, &n.Content, recorded(n.Until)
	} else {
		b.Identity, b.SHA1, b.IdleMS = &n.Identity, n.SHA1, n.Idle.Milliseconds()
	}
	return fact(KindDownloadOpened, b), nil
}

// DownloadsOf counts the live downloads of a file, whatever its state, by one owner.
func (t *Table) DownloadsOf(owner string, file Identity) (n int) {
	for _, d := range t.downloads {
		if d.Task == nil && d.Owner == owner && d.Identity.Dev == file.Dev && d.Identity.Ino == file.Ino {
			n++
		}
	}
	return n
}

// ReadDownload decides that bytes of a download were handed out. Those of a
// read task may have been on their way when it ended.
func (t *Table) ReadDownload(id ID, ranges []Range) (Fact, error) {
	if t.readable(id) == nil {
		return Fact{}, ErrUnknown
	}
	if len(ranges) > MaxFactRanges {
		return Fact{}, ErrRange
	}
	return rangesFact(KindDownloadRead, id, ranges), nil
}

// CloseDownload decides that a download ends by request.
func (t *Table) CloseDownload(id ID) (Fact, error) {
	if _, ok := t.downloads[id]; !ok {
		return Fact{}, ErrUnknown
	}
	return fact(KindDownloadClosed, sessionOnly{id}), nil
}

// ExpireDownload decides that a download ends by its timeout.
func (t *Table) ExpireDownload(id ID) (Fact, error) {
	if _, ok := t.downloads[id]; !ok {
		return Fact{}, ErrUnknown
	}
	return fact(KindDownloadExpired, sessionOnly{id}), nil
}
