package sessions

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Image is a Table as a snapshot holds it: everything that the fold needs to go
// on, and nothing that follows from the rest. Its JSON is deterministic. Its
// fields are read by every later version: a new one is optional, and absent
// while it is unset.
type Image struct {
	// Uploads and Downloads are live and no tasks, by time opened and then ID.
	Uploads   []UploadImage   `json:"uploads,omitempty"`
	Downloads []DownloadImage `json:"downloads,omitempty"`
	// Tasks are live, those that are open in the order in which they were
	// opened, then the sealed ones by time opened and then ID.
	Tasks []SessionImage `json:"tasks,omitempty"`
	// Ended and EndedTasks are remembered, in the order in which they ended.
	Ended      []UploadImage  `json:"ended,omitempty"`
	EndedTasks []SessionImage `json:"ended_tasks,omitempty"`
}

// SessionImage is a task: either an upload or a download.
type SessionImage struct {
	Upload   *UploadImage   `json:"upload,omitempty"`
	Download *DownloadImage `json:"download,omitempty"`
}

// UploadImage is one Upload.
type UploadImage struct {
	ID      ID        `json:"session"`
	State   string    `json:"state"`
	Owner   string    `json:"owner"`
	Path    string    `json:"path"`
	Size    int64     `json:"size"`
	SHA1    string    `json:"sha1,omitempty"`
	IdleNS  int64     `json:"idle_ns,omitempty"`
	Until   time.Time `json:"until,omitzero"`
	Stored  []Range   `json:"stored,omitempty"`
	Last    []Range   `json:"last,omitempty"`
	LastCRC uint32    `json:"last_crc,omitempty"`
	Digest  string    `json:"digest,omitempty"`
	Code    string    `json:"code,omitempty"`
	Message string    `json:"message,omitempty"`
	Task    *Task     `json:"task,omitempty"`
	Meta    string    `json:"meta,omitempty"`
	Opened  time.Time `json:"opened"`
	Ended   time.Time `json:"ended,omitzero"`
}

// DownloadImage is one Download.
type DownloadImage struct {
	ID       ID        `json:"session"`
	State    string    `json:"state"`
	Owner    string    `json:"owner"`
	Path     string    `json:"path"`
	Identity Identity  `json:"identity,omitzero"`
	SHA1     string    `json:"sha1,omitempty"`
	IdleNS   int64     `json:"idle_ns,omitempty"`
	Read     int64     `json:"read,omitempty"`
	Task     *Task     `json:"task,omitempty"`
	Content  *Content  `json:"content,omitempty"`
	Until    time.Time `json:"until,omitzero"`
	Opened   time.Time `json:"opened"`
	Ended    time.Time `json:"ended,omitzero"`
}

// Image gives the table as it stands. It shares memory with the table: it is to
// be encoded before the next Apply, and not changed.
func (t *Table) Image() *Image {
	out := new(Image)
	var sealed []SessionImage
	for _, u := range t.uploads {
		switch {
		case u.Task == nil:
			out.Uploads = append(out.Uploads, *u.image())
		case u.State != Open:
			sealed = append(sealed, SessionImage{Upload: u.image()})
		}
	}
	for _, d := range t.downloads {
		if d.Task == nil {
			out.Downloads = append(out.Downloads, *d.image())
		}
	}
	for _, due := range t.tasks.due {
		if u, ok := t.uploads[due.id]; ok && u.State == Open {
			out.Tasks = append(out.Tasks, SessionImage{Upload: u.image()})
		} else if d, ok := t.downloads[due.id]; ok {
			out.Tasks = append(out.Tasks, SessionImage{Download: d.image()})
		}
	}
	slices.SortFunc(out.Uploads, func(a, b UploadImage) int { return oldestFirst(a.Opened, b.Opened, a.ID, b.ID) })
	slices.SortFunc(out.Downloads, func(a, b DownloadImage) int { return oldestFirst(a.Opened, b.Opened, a.ID, b.ID) })
	slices.SortFunc(sealed, func(a, b SessionImage) int {
		return oldestFirst(a.Upload.Opened, b.Upload.Opened, a.Upload.ID, b.Upload.ID)
	})
	out.Tasks = append(out.Tasks, sealed...)
	for _, r := range t.queue {
		out.Ended = append(out.Ended, *t.ended[r.id].image())
	}
	for _, r := range t.taskQueue {
		if u, ok := t.ended[r.id]; ok {
			out.EndedTasks = append(out.EndedTasks, SessionImage{Upload: u.image()})
		} else {
			out.EndedTasks = append(out.EndedTasks, SessionImage{Download: t.endedReads[r.id].image()})
		}
	}
	return out
}

func (u *Upload) image() *UploadImage {
	return &UploadImage{
		ID: u.ID, State: u.State.String(), Owner: u.Owner, Path: u.Path, Size: u.Size, SHA1: u.SHA1,
		IdleNS: int64(u.Idle), Until: u.Until.UTC(), Stored: u.Stored.ranges, Last: u.Last, LastCRC: u.LastCRC,
		Digest: u.Digest, Code: u.Code, Message: u.Message, Task: u.Task, Meta: u.Meta, Opened: u.Opened.UTC(), Ended: u.Ended.UTC(),
	}
}

func (d *Download) image() *DownloadImage {
	return &DownloadImage{
		ID: d.ID, State: d.State.String(), Owner: d.Owner, Path: d.Path, Identity: d.Identity, SHA1: d.SHA1,
		IdleNS: int64(d.Idle), Read: d.Read, Task: d.Task, Content: d.Content,
		Until: d.Until.UTC(), Opened: d.Opened.UTC(), Ended: d.Ended.UTC(),
	}
}

// errImage is why an image is none of a table.
var errImage = errors.New("not the image of a table")

// RestoreTable gives the table that an image was made of; the image is its
// afterwards. An image that no table has is an error.
func RestoreTable(image *Image) (*Table, error) {
	t := NewTable()
	t.ended = make(map[ID]*Upload, len(image.Ended)+len(image.EndedTasks))
	t.tasks.byID = make(map[string]ID, len(image.Tasks)+len(image.EndedTasks))
	for i := range image.Uploads {
		if err := t.restoreUpload(&image.Uploads[i], true, false); err != nil {
			return nil, err
		}
	}
	for i := range image.Downloads {
		if err := t.restoreDownload(&image.Downloads[i], true, false); err != nil {
			return nil, err
		}
	}
	for i := range image.Ended {
		if err := t.restoreUpload(&image.Ended[i], false, false); err != nil {
			return nil, err
		}
	}
	// A task that has ended was opened before one that has not: whose id it
	// is follows from the order.
	for i := range image.EndedTasks {
		if err := t.restoreTask(&image.EndedTasks[i], false); err != nil {
			return nil, err
		}
	}
	for i := range image.Tasks {
		if err := t.restoreTask(&image.Tasks[i], true); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (t *Table) restoreTask(s *SessionImage, live bool) error {
	switch {
	case s.Upload != nil && s.Download == nil:
		return t.restoreUpload(s.Upload, live, true)
	case s.Download != nil && s.Upload == nil:
		return t.restoreDownload(s.Download, live, true)
	}
	return fmt.Errorf("%w: a task is neither an upload nor a download", errImage)
}

func (t *Table) restoreUpload(m *UploadImage, live, task bool) error {
	state, ok := stateOf(m.State)
	switch {
	case !ok, state.Live() != live, (m.Task != nil) != task, m.Size < -1, m.IdleNS < 0:
		return fmt.Errorf("%w: upload %s", errImage, m.ID)
	case t.taken(m.ID):
		return fmt.Errorf("%w: session %s is there twice", errImage, m.ID)
	case !ordered(m.Stored):
		return fmt.Errorf("%w: upload %s: ranges", errImage, m.ID)
	}
	u := &Upload{
		ID: m.ID, Owner: m.Owner, Path: m.Path, Size: m.Size, SHA1: m.SHA1, Idle: time.Duration(m.IdleNS),
		Until: m.Until.UTC(), State: state, Stored: Set{m.Stored}, Last: m.Last, LastCRC: m.LastCRC, Digest: m.Digest,
		Code: m.Code, Message: m.Message, Task: m.Task, Meta: m.Meta, Opened: m.Opened.UTC(), Ended: m.Ended.UTC(),
	}
	if !live {
		t.ended[u.ID] = u
		t.remember(u.ID, task, u.Ended)
		if task {
			t.tasks.byID[u.Task.ID] = u.ID
		}
		return nil
	}
	t.uploads[u.ID] = u
	t.staged.add(u.holder(), u.holds())
	t.tasks.opened(u.ID, u.Owner, u.Task, u.Until, true, nil)
	if task && u.State == Sealed {
		t.tasks.hold(u.Digest, 1)
	}
	return nil
}

func (t *Table) restoreDownload(m *DownloadImage, live, task bool) error {
	state, ok := stateOf(m.State)
	switch {
	case !ok, (state == Open) != live, state == Sealed, (m.Task != nil) != task, (m.Content != nil) != task, m.IdleNS < 0:
		return fmt.Errorf("%w: download %s", errImage, m.ID)
	case t.taken(m.ID):
		return fmt.Errorf("%w: session %s is there twice", errImage, m.ID)
	}
	d := &Download{
		ID: m.ID, Owner: m.Owner, Path: m.Path, Identity: m.Identity, SHA1: m.SHA1, Idle: time.Duration(m.IdleNS),
		Read: m.Read, Opened: m.Opened.UTC(), Task: m.Task, Content: m.Content, Until: m.Until.UTC(), State: state,
		Ended: m.Ended.UTC(),
	}
	if !live {
		t.endedReads[d.ID] = d
		t.remember(d.ID, true, d.Ended)
		t.tasks.byID[d.Task.ID] = d.ID
		return nil
	}
	t.downloads[d.ID] = d
	t.tasks.opened(d.ID, d.Owner, d.Task, d.Until, false, d.Content)
	return nil
}

func stateOf(name string) (State, bool) {
	i := slices.Index(stateNames[:], name)
	return State(max(i, 0)), i >= 0
}

// ordered tells whether ranges are those of a Set.
func ordered(ranges []Range) bool {
	end := int64(-1)
	for _, r := range ranges {
		if r[0] <= end || r[1] <= r[0] {
			return false
		}
		end = r[1]
	}
	return true
}
