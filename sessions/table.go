// Package sessions holds what is known about uploads and downloads: which
// bytes of each are durable, what may follow, and how each ended. All of it
// is a fold of the journal.
//
// It does no I/O and reads no clock: methods that decide return the fact to
// record or the reason against it, and change nothing; Apply, and nothing
// else, changes a Table, with the same code in life, replay and time travel.
// Idle clocks, file handles and running work are not state and live in
// package actions.
package sessions

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"waybill/journal"
)

// Why a decision is refused.
var (
	// ErrUnknown: no live session has this ID.
	ErrUnknown = errors.New("no such session")
	// ErrExists: the ID is taken.
	ErrExists = errors.New("session exists")
	// ErrState: the session is live, but what is asked does not fit its state.
	ErrState = errors.New("not possible in the session's state")
	// ErrRange: bytes outside the file, or more ranges than a fact may hold.
	ErrRange = errors.New("range outside the file")
	// ErrGaps: more than MaxGaps ranges would be missing.
	ErrGaps = errors.New("too many gaps")
)

// State of an upload.
type State uint8

// An upload is open, then sealed (complete and verified, not yet under its
// name), then ends in one of the other states.
const (
	Open State = iota
	Sealed
	Placed
	Rejected
	Cancelled
	Expired
	// Published is how a write task ends that did what it was for, Closed a
	// read task that was read to its end.
	Published
	Closed
)

var stateNames = [...]string{"open", "sealed", "placed", "rejected", "cancelled", "expired", "published", "closed"}

func (s State) String() string { return stateNames[s] }

// Live reports whether an upload in state s has yet to end.
func (s State) Live() bool { return s <= Sealed }

// Upload is what is known of one upload.
type Upload struct {
	ID ID
	// Owner is the subject that opened it.
	Owner string
	// Path is the target, relative to the served root.
	Path string
	// Size in bytes, -1 while it is not known (deferred length).
	Size int64
	// SHA1 is the digest asked for, lower-case hex, or "".
	SHA1 string
	// Idle is the longest pause between requests; 0 if Until rules.
	Idle time.Duration
	// Until is when the session ends by the wall clock; zero if Idle rules.
	Until time.Time
	State State
	// Stored are the bytes that are durable.
	Stored Set
	// Last are the ranges of the last upload.stored and LastCRC their CRC-32C:
	// what a start checks against the staged file.
	Last    []Range
	LastCRC uint32
	// Digest is the hex digest of the whole content, set by sealing.
	Digest string
	// Code and Message tell why an upload was rejected.
	Code, Message string
	// Task is nil but for a write task.
	Task *Task
	// Meta is the metadata that a client of tus opened it with, as sent.
	Meta          string
	Opened, Ended time.Time
}

// Complete reports whether every byte is stored.
func (u *Upload) Complete() bool {
	return u.Size >= 0 && u.Stored.Contains(Range{0, u.Size}) && u.Stored.End() <= u.Size
}

func (u *Upload) clone() Upload {
	c := *u
	c.Stored, c.Last = u.Stored.Clone(), slices.Clone(u.Last)
	return c
}

// Download is what is known of one download. One that has ended is forgotten,
// unless it is a task.
type Download struct {
	ID       ID
	Owner    string
	Path     string
	Identity Identity
	// SHA1 of the file when the download was opened, lower-case hex.
	SHA1   string
	Idle   time.Duration
	Read   int64
	Opened time.Time
	// What follows is set for read tasks only. Until is when they end by the
	// wall clock, State is Open, Closed, Cancelled or Expired.
	Task    *Task
	Content *Content
	Until   time.Time
	State   State
	Ended   time.Time
}

// Table holds all live sessions and the uploads that ended within Remember.
// It is owned by one goroutine.
type Table struct {
	uploads    map[ID]*Upload
	ended      map[ID]*Upload
	downloads  map[ID]*Download
	endedReads map[ID]*Download
	tasks      taskIndex
	staged     staged
	// queue and taskQueue list what has ended and is remembered, oldest first:
	// apart, so that tasks, of which there is one for every look at a document,
	// do not crowd out the others.
	queue, taskQueue []remembered
	// scratch is reused by Apply.
	scratch Stored
}

// NewTable returns an empty table.
func NewTable() *Table {
	return &Table{
		uploads:    make(map[ID]*Upload),
		ended:      make(map[ID]*Upload),
		downloads:  make(map[ID]*Download),
		endedReads: make(map[ID]*Download),
		tasks:      newTaskIndex(),
		staged:     staged{by: make(map[holder]int64)},
	}
}

// Advance forgets the sessions that had ended Remember before at. The fold
// calls it for every record, so that state depends on the journal alone.
func (t *Table) Advance(at time.Time) {
	for len(t.tasks.due) > 0 && !t.openTask(t.tasks.due[0].id) {
		t.tasks.due = t.tasks.due[1:]
	}
	old := at.Add(-Remember)
	t.queue = t.forget(t.queue, old)
	t.taskQueue = t.forget(t.taskQueue, old)
}

// Apply folds one fact into the table. The kinds it does not know, and facts
// about sessions that are not live, are errors: no journal of ours has them.
func (t *Table) Apply(e *journal.Entry) error {
	switch e.Kind {
	case KindUploadStored, KindUploadUnstored, KindDownloadRead:
		return t.applyRanges(e)
	case KindUploadOpened:
		return t.applyUploadOpened(e)
	case KindDownloadOpened:
		return t.applyDownloadOpened(e)
	case KindDownloadClosed, KindDownloadExpired, KindDownloadCancelled:
		id, err := decodeSession(e.Body)
		if err != nil {
			return factError(e, err)
		}
		return t.endDownload(e, id, endOfDownload[e.Kind])
	}
	return t.applyUpload(e)
}

var endOfDownload = map[string]State{
	KindDownloadClosed: Closed, KindDownloadExpired: Expired, KindDownloadCancelled: Cancelled,
}

func (t *Table) applyRanges(e *journal.Entry) error {
	b := &t.scratch
	if err := scanStored(e.Body, e.Kind == KindUploadStored, b); err != nil {
		return factError(e, err)
	}
	if e.Kind == KindDownloadRead {
		d := t.readable(b.Session)
		if d == nil {
			return fmt.Errorf("%s: %s: %w", e.Kind, b.Session, ErrUnknown)
		}
		for _, r := range b.Ranges {
			d.Read += r.Len()
		}
		return nil
	}
	u, ok := t.uploads[b.Session]
	if !ok {
		return fmt.Errorf("%s: %s: %w", e.Kind, b.Session, ErrUnknown)
	}
	if e.Kind == KindUploadUnstored {
		t.change(u, func() {
			for _, r := range b.Ranges {
				u.Stored.Remove(r)
			}
		})
		// What the last fact vouched for is no longer what it was.
		u.Last, u.LastCRC = u.Last[:0], 0
		return nil
	}
	t.change(u, func() {
		for _, r := range b.Ranges {
			u.Stored.Add(r)
		}
	})
	u.Last, u.LastCRC = append(u.Last[:0], b.Ranges...), b.CRC32C
	return nil
}

func (t *Table) applyUploadOpened(e *journal.Entry) error {
	var b uploadOpened
	if err := decodeUploadOpened(e.Body, &b); err != nil {
		return factError(e, err)
	}
	if t.taken(b.Session) {
		return fmt.Errorf("%s: %s: %w", e.Kind, b.Session, ErrExists)
	}
	u := &Upload{
		ID: b.Session, Owner: string(e.Actor), Path: b.Path, Size: -1, SHA1: b.SHA1,
		Idle: time.Duration(b.IdleMS) * time.Millisecond, Opened: e.At, Task: b.Task, Meta: b.Meta,
	}
	if b.Size != nil {
		u.Size = *b.Size
	}
	if b.Until != nil {
		u.Until = *b.Until
	}
	t.uploads[u.ID] = u
	t.staged.add(u.holder(), u.holds())
	t.tasks.opened(u.ID, u.Owner, u.Task, u.Until, true, nil)
	return nil
}

func (t *Table) applyDownloadOpened(e *journal.Entry) error {
	var b downloadOpened
	if err := decodeDownloadOpened(e.Body, &b); err != nil {
		return factError(e, err)
	}
	if t.taken(b.Session) {
		return fmt.Errorf("%s: %s: %w", e.Kind, b.Session, ErrExists)
	}
	d := &Download{
		ID: b.Session, Owner: string(e.Actor), Path: b.Path, SHA1: b.SHA1,
		Idle: time.Duration(b.IdleMS) * time.Millisecond, Opened: e.At, Task: b.Task, Content: b.Content,
	}
	if b.Identity != nil {
		d.Identity = *b.Identity
	}
	if b.Until != nil {
		d.Until = *b.Until
	}
	if (d.Task == nil) != (d.Content == nil) {
		return fmt.Errorf("%s: %s: a task without a content, or a content without a task", e.Kind, d.ID)
	}
	t.downloads[d.ID] = d
	t.tasks.opened(d.ID, d.Owner, d.Task, d.Until, false, d.Content)
	return nil
}

func (t *Table) applyUpload(e *journal.Entry) error {
	var b uploadChange
	if err := decodeUploadChange(e.Kind, e.Body, &b); err != nil {
		return factError(e, err)
	}
	u, ok := t.uploads[b.Session]
	if !ok {
		return fmt.Errorf("%s: %s: %w", e.Kind, b.Session, ErrUnknown)
	}
	switch e.Kind {
	case KindUploadSized:
		t.change(u, func() { u.Size = b.Size })
	case KindUploadTruncated:
		t.change(u, func() { u.Stored.Remove(Range{b.Size, max(b.Size, u.Stored.End())}) })
		u.Last, u.LastCRC = u.Last[:0], 0
	case KindUploadSealed:
		u.State, u.Digest = Sealed, b.Digest
		if u.Task != nil {
			t.tasks.hold(u.Digest, 1)
		}
	case KindUploadPublished:
		t.end(u, Published, e.At)
	case KindUploadPlaced:
		t.end(u, Placed, e.At)
	case KindUploadRejected:
		u.Code, u.Message = b.Code, b.Message
		t.end(u, Rejected, e.At)
	case KindUploadCancelled:
		t.end(u, Cancelled, e.At)
	case KindUploadExpired:
		t.end(u, Expired, e.At)
	default:
		return fmt.Errorf("unknown kind %q", e.Kind)
	}
	return nil
}

func (t *Table) end(u *Upload, s State, at time.Time) {
	if u.Task != nil {
		t.tasks.liveWrites--
		t.tasks.closed(u.ID, u.Owner, u.Task, true, nil)
		if u.State == Sealed {
			t.tasks.hold(u.Digest, -1)
		}
	}
	u.State, u.Ended = s, at
	u.Last, u.LastCRC = nil, 0
	delete(t.uploads, u.ID)
	t.staged.add(u.holder(), -u.holds())
	t.ended[u.ID] = u
	t.remember(u.ID, u.Task != nil, at)
}

func (t *Table) taken(id ID) bool {
	_, live := t.uploads[id]
	_, ended := t.ended[id]
	_, down := t.downloads[id]
	_, read := t.endedReads[id]
	return live || ended || down || read
}
