package actions

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"waybill/fsview/acl"
	"waybill/fsview/doctree"
	"waybill/journal"
	"waybill/sessions"
)

// How the journal names what is done with a task beside its requests.
const (
	taskOpen  = "task_open"
	taskStore = "task_store"
	taskRead  = "task_read"
)

// TaskCall names a file task and shows its token (CFMS.md §4.3).
type TaskCall struct {
	ID, Token string
	// Peer is the address it comes from, Via that with the transport.
	Peer, Via string
}

// Task is a file task that somebody has opened with its token. A handle may be
// used by one transfer at a time; any number of handles may be open.
type Task struct {
	engine *Engine
	id     sessions.ID
	write  bool
	owner  string
	via    string
	// finished is true once this handle has read the task to its end: whoever
	// holds it may read again, though the task is closed to others.
	finished bool
}

// TaskStatus is how a task stands.
type TaskStatus struct {
	// State is Open while bytes may come or go, Sealed while a complete content
	// is being published, or how the task ended.
	State sessions.State
	Write bool
	// Size is that of the content read, or how many bytes of one that is written
	// are durable.
	Size int64
	// SHA256 of the content, in hex: of a read task, and of a write task that is
	// complete.
	SHA256 string
	// Revision is the one read, or the one published.
	Revision string
	// Name is what the document is called now, "" if it is gone.
	Name string
	// Opened is when the task was made, Until when it ends.
	Opened, Until time.Time
}

// Task opens a task. CodeTaskUnknown for an id that does not exist and for a
// wrong token alike; a task that has ended is found for a day. Nothing is said
// of whether it can still be used: see Check.
func (e *Engine) Task(c TaskCall) (*Task, error) {
	if !e.enter() {
		return nil, ErrStopping
	}
	defer e.busy.Done()
	var t *Task
	var want string
	err := e.core.view(func(s *State) {
		id, ok := s.sessions.TaskID(c.ID)
		if !ok {
			return
		}
		if u, ok := s.sessions.Upload(id); ok {
			t, want = &Task{engine: e, id: id, write: true, owner: u.Owner, via: c.Via}, u.Task.Token
		} else if d, ok := s.sessions.Download(id); ok {
			t, want = &Task{engine: e, id: id, owner: d.Owner, via: c.Via}, d.Task.Token
		}
	})
	if err != nil {
		return nil, err
	}
	if t == nil {
		e.CountRefused("task", c.Peer)
		return nil, acl.CodeTaskUnknown
	}
	if subtle.ConstantTimeCompare([]byte(tokenSum(c.Token)), []byte(want)) == 1 {
		return t, nil
	}
	// Somebody knows of the task and not its token.
	from := origin{unknownActor, c.Via, t.id.String()}
	if err := e.recordTask(from, taskOpen, t.id, acl.CodeTaskUnknown); err != nil {
		return nil, err
	}
	return nil, acl.CodeTaskUnknown
}

// unknownActor stands in the journal for whoever has proven nothing. No user can
// be called so: requests of one are recorded only with a good token.
const unknownActor = "?"

// tokenSum is what is kept of a task's token.
func tokenSum(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// FakeName is what the task's one file is called (CFMS.md §4.3).
func (t *Task) FakeName() string { return fakeName(t.id) }

func fakeName(id sessions.ID) string { return strings.ReplaceAll(id.String(), "-", "") }

// Owner is the user whose task it is.
func (t *Task) Owner() string { return t.owner }

// Writes tells whether it is a write task.
func (t *Task) Writes() bool { return t.write }

// Status tells how the task stands. CodeTaskUnknown once it has been forgotten.
func (t *Task) Status() (st TaskStatus, err error) {
	if !t.engine.enter() {
		return st, ErrStopping
	}
	defer t.engine.busy.Done()
	found := false
	err = t.engine.core.view(func(s *State) { st, found = s.taskStatus(t.id) })
	if err == nil && !found {
		err = acl.CodeTaskUnknown
	}
	return st, err
}

func (s *State) taskStatus(id sessions.ID) (TaskStatus, bool) {
	if u, ok := s.sessions.Upload(id); ok && u.Task != nil {
		st := TaskStatus{
			State: u.State, Write: true, Size: u.Stored.Prefix(), SHA256: u.Digest, Revision: u.Task.Revision,
			Name: s.nodeName(u.Task.Node), Opened: u.Opened, Until: u.Until,
		}
		return st, true
	}
	if d, ok := s.sessions.Download(id); ok && d.Task != nil {
		st := TaskStatus{
			State: d.State, Size: d.Content.Size, SHA256: d.Content.SHA256, Revision: d.Task.Revision,
			Name: s.nodeName(d.Task.Node), Opened: d.Opened, Until: d.Until,
		}
		return st, true
	}
	return TaskStatus{}, false
}

func (s *State) nodeName(node uint64) string {
	if node == 0 {
		return "avatar.png"
	}
	info, _ := s.tree.Lookup(doctree.Key(node))
	return info.Name
}

// Check tells whether a transfer may begin now: CodeTaskGone, recorded, if the
// task has ended or its time is over, or its user is gone or disabled.
func (t *Task) Check() error {
	if !t.engine.enter() {
		return ErrStopping
	}
	defer t.engine.busy.Done()
	return t.check(taskOpen)
}

func (t *Task) check(action string) error {
	refusal := error(acl.CodeTaskGone)
	now := t.engine.cfg.Now()
	err := t.engine.core.view(func(s *State) {
		if s.usable(t.id, t.finished, now) {
			refusal = nil
		}
	})
	if err != nil {
		return err
	}
	return t.refuse(action, refusal)
}

// usable tells whether bytes of a task may come or go. finished lets a read task
// be read again by whoever has read it.
func (s *State) usable(id sessions.ID, finished bool, now time.Time) bool {
	if u, ok := s.sessions.Upload(id); ok {
		return u.State == sessions.Open && now.Before(u.Until) && s.present(u.Owner)
	}
	d, ok := s.sessions.Download(id)
	if !ok || !s.present(d.Owner) {
		return false
	}
	return d.State == sessions.Open && now.Before(d.Until) || d.State == sessions.Closed && finished
}

// present tells whether a user exists and is enabled. The holder of the main
// token always is.
func (s *State) present(owner string) bool {
	return owner == acl.MainName || s.accounts.Enabled(owner)
}

// Refused records a use of the task that a wire has refused by itself, and
// returns what to answer with: a *acl.Refusal of the code, or why there is
// nothing to answer.
func (t *Task) Refused(code acl.Code) error {
	if !t.engine.enter() {
		return ErrStopping
	}
	defer t.engine.busy.Done()
	return t.refuse(taskOpen, code)
}

// refuse records a failed use of the task and passes on why, nil included.
func (t *Task) refuse(action string, why error) error {
	refusal, ok := errors.AsType[*acl.Refusal](refusalOf(why))
	if !ok {
		return why
	}
	if refusal.Code == acl.CodeUnexpected {
		t.engine.cfg.Logger.Error().Err(why).Stringer("session", t.id).Msg("transfer failed")
	}
	if err := t.engine.recordTask(t.origin(), action, t.id, refusal.Code); err != nil {
		return err
	}
	return refusal
}

// refusalOf is the *acl.Refusal that an error comes to, unless it is nil, or says
// that the engine ends.
func refusalOf(err error) error {
	if err == nil || errors.Is(err, ErrFailed) || errors.Is(err, ErrStopping) {
		return err
	}
	return docError(err)
}

func (t *Task) origin() origin { return origin{t.owner, t.via, t.id.String()} }

func (e *Engine) recordTask(from origin, action string, id sessions.ID, code acl.Code) error {
	params := journal.NewFact("", struct {
		Session sessions.ID `json:"session"`
	}{id}).Body
	return e.record(from, KindRefused, docBody{Action: action, Params: json.RawMessage(params), Code: Code(code)})
}
