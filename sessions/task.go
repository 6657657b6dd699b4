package sessions

import (
	"fmt"
	"time"

	"waybill/journal"
)

// Task is what makes a session a file task of the document library (CFMS.md
// §4.3): it is found by an id and opened with a token, and no request of
// PROTOCOL.md reaches it. An upload with a Task has no length until it is
// complete, and a download with one is bound to a content.
type Task struct {
	// ID is what a client names the task by: 128 hex digits.
	ID string `json:"id"`
	// Token is the SHA-256 of the token that opens it, in hex; the token itself
	// is nowhere.
	Token string `json:"token_sha256"`
	// Node is the number of the document, 0 for an avatar that is none.
	Node uint64 `json:"node,omitempty"`
	// Revision is the one that is read, or what the one written will be called.
	Revision string `json:"revision,omitempty"`
}

// Content is what a read task is bound to.
type Content struct {
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
}

// taskIndex finds the sessions that are tasks. It is part of the fold: all of
// it follows from the sessions.
type taskIndex struct {
	byID map[string]ID
	// writes holds the one write task of a document that has not ended, open how
	// many tasks an owner has, reads the open read tasks of a document.
	writes map[uint64]ID
	reads  map[uint64]map[ID]struct{}
	open   map[string]int
	// refs counts, by SHA-256, the contents that sessions hold: those of open
	// read tasks, and those of sealed write tasks that are not published.
	refs map[string]int
	// live counts the tasks that have not ended.
	liveWrites, liveReads int
	// due lists open tasks as they were opened, which is the order in which
	// they expire as long as the clock goes forward.
	due []dueTask
}

type dueTask struct {
	id    ID
	until time.Time
}

func newTaskIndex() taskIndex {
	return taskIndex{
		byID: make(map[string]ID), writes: make(map[uint64]ID), reads: make(map[uint64]map[ID]struct{}),
		open: make(map[string]int), refs: make(map[string]int),
	}
}

// TaskID finds the session of a task, live or remembered.
func (t *Table) TaskID(task string) (ID, bool) {
	id, ok := t.tasks.byID[task]
	return id, ok
}

// OpenTasks counts the open tasks of an owner.
func (t *Table) OpenTasks(owner string) int { return t.tasks.open[owner] }

// WriteTask is the write task of a document that has not ended: it takes bytes,
// or is complete and about to be published.
func (t *Table) WriteTask(node uint64) (Upload, bool) {
	id, ok := t.tasks.writes[node]
	if !ok {
		return Upload{}, false
	}
	return t.uploads[id].clone(), true
}

// ReadTasks are the open read tasks of a document.
func (t *Table) ReadTasks(node uint64) []ID {
	out := make([]ID, 0, len(t.tasks.reads[node]))
	for id := range t.tasks.reads[node] {
		out = append(out, id)
	}
	sortIDs(out)
	return out
}

// TasksOf are the tasks of an owner that have not ended.
func (t *Table) TasksOf(owner string) (writes, reads []ID) {
	for id, u := range t.uploads {
		if u.Task != nil && u.Owner == owner {
			writes = append(writes, id)
		}
	}
	for id, d := range t.downloads {
		if d.Task != nil && d.Owner == owner {
			reads = append(reads, id)
		}
	}
	sortIDs(writes)
	sortIDs(reads)
	return writes, reads
}

// DueTasks are the open tasks whose time was over at now, at most limit.
func (t *Table) DueTasks(now time.Time, limit int) []ID {
	var out []ID
	for _, d := range t.tasks.due {
		if len(out) == limit || d.until.After(now) {
			break
		}
		if t.openTask(d.id) {
			out = append(out, d.id)
		}
	}
	return out
}

// openTask tells whether a task takes or gives bytes.
func (t *Table) openTask(id ID) bool {
	if u, ok := t.uploads[id]; ok {
		return u.State == Open
	}
	_, ok := t.downloads[id]
	return ok
}

// ContentRefs counts the sessions that hold a content, named by its SHA-256.
func (t *Table) ContentRefs(digest string) int { return t.tasks.refs[digest] }

// FinishTask decides that a write task has all of its bytes: its length, and
// the SHA-256 of all of it. From then on only publishing or rejecting follow.
func (t *Table) FinishTask(id ID, size int64, digest string) ([]Fact, error) {
	u, err := t.open(id)
	switch {
	case err != nil:
		return nil, err
	case u.Task == nil, u.Size >= 0:
		return nil, ErrState
	case u.Stored.End() > size, size > 0 && !u.Stored.Contains(Range{0, size}):
		return nil, ErrRange
	}
	return []Fact{
		fact(KindUploadSized, uploadSized{id, size}),
		fact(KindUploadSealed, uploadSealed{id, size, digest}),
	}, nil
}

// SealedTask gives the content of the write task that e, an upload.sealed just
// applied, is about; ok is false if it is about no task.
func (t *Table) SealedTask(e *journal.Entry) (digest string, size int64, ok bool) {
	if t.tasks.liveWrites == 0 {
		return "", 0, false // the same, without a look
	}
	var b uploadChange
	if decodeUploadChange(e.Kind, e.Body, &b) != nil {
		return "", 0, false // it would not have been applied
	}
	u, ok := t.uploads[b.Session]
	if !ok || u.Task == nil {
		return "", 0, false
	}
	return u.Digest, u.Size, true
}

// Publish decides that the content of a sealed write task has become a
// revision of its document.
func (t *Table) Publish(id ID) (Fact, error) {
	u, ok := t.uploads[id]
	switch {
	case !ok:
		return Fact{}, ErrUnknown
	case u.State != Sealed || u.Task == nil:
		return Fact{}, ErrState
	}
	return fact(KindUploadPublished, uploadPublished{id, u.Task.Revision}), nil
}

// CancelDownload decides that a read task ends by somebody's decision rather
// than by having been read.
func (t *Table) CancelDownload(id ID) (Fact, error) {
	if d, ok := t.downloads[id]; !ok || d.Task == nil {
		return Fact{}, ErrUnknown
	}
	return fact(KindDownloadCancelled, sessionOnly{id}), nil
}

// opened notes a session that begins, if it is a task.
func (x *taskIndex) opened(id ID, owner string, task *Task, until time.Time, write bool, content *Content) {
	if task == nil {
		return
	}
	x.due = append(x.due, dueTask{id, until})
	if write {
		x.liveWrites++
	} else {
		x.liveReads++
	}
	x.byID[task.ID] = id
	x.open[owner]++
	if write {
		x.writes[task.Node] = id
		return
	}
	if x.reads[task.Node] == nil {
		x.reads[task.Node] = make(map[ID]struct{})
	}
	x.reads[task.Node][id] = struct{}{}
	x.hold(content.SHA256, 1)
}

// closed notes that a task has ended.
func (x *taskIndex) closed(id ID, owner string, task *Task, write bool, content *Content) {
	if task == nil {
		return
	}
	if x.open[owner]--; x.open[owner] == 0 {
		delete(x.open, owner)
	}
	if write {
		if x.writes[task.Node] == id {
			delete(x.writes, task.Node)
		}
		return
	}
	delete(x.reads[task.Node], id)
	if len(x.reads[task.Node]) == 0 {
		delete(x.reads, task.Node)
	}
	x.hold(content.SHA256, -1)
}

func (x *taskIndex) hold(digest string, n int) {
	if x.refs[digest] += n; x.refs[digest] == 0 {
		delete(x.refs, digest)
	}
}

// endDownload forgets a download; one that is a task is remembered.
func (t *Table) endDownload(e *journal.Entry, id ID, s State) error {
	d, ok := t.downloads[id]
	if !ok {
		return fmt.Errorf("%s: %s: %w", e.Kind, id, ErrUnknown)
	}
	delete(t.downloads, id)
	if d.Task == nil {
		return nil
	}
	d.State, d.Ended = s, e.At
	t.tasks.closed(id, d.Owner, d.Task, false, d.Content)
	t.tasks.liveReads--
	t.endedReads[id] = d
	t.remember(id, true, e.At)
	return nil
}

// readable is the download that bytes were read of, nil if there is none.
func (t *Table) readable(id ID) *Download {
	if d, ok := t.downloads[id]; ok {
		return d
	}
	return t.endedReads[id]
}

// remembered is a session that has ended and can still be asked about.
type remembered struct {
	id ID
	at time.Time
}

func (t *Table) remember(id ID, task bool, at time.Time) {
	if task {
		t.taskQueue = append(t.taskQueue, remembered{id, at})
	} else {
		t.queue = append(t.queue, remembered{id, at})
	}
}

// forget forgets what ended at old or before, or is too much, and returns what
// is left.
func (t *Table) forget(queue []remembered, old time.Time) []remembered {
	for len(queue) > 0 && (!queue[0].at.After(old) || len(queue) > MaxRemembered) {
		t.recall(queue[0].id)
		queue = queue[1:]
	}
	return queue
}

// recall forgets a remembered session.
func (t *Table) recall(id ID) {
	var task *Task
	if u, ok := t.ended[id]; ok {
		task = u.Task
		delete(t.ended, id)
	} else if d, ok := t.endedReads[id]; ok {
		task = d.Task
		delete(t.endedReads, id)
	}
	if task != nil {
		delete(t.tasks.byID, task.ID)
	}
}
