package sessions

import (
	"slices"
	"time"
)

// Upload returns a copy of an upload, live or remembered.
func (t *Table) Upload(id ID) (Upload, bool) {
	if u, ok := t.uploads[id]; ok {
		return u.clone(), true
	}
	if u, ok := t.ended[id]; ok {
		return u.clone(), true
	}
	return Upload{}, false
}

// Download returns a copy of a live download, or of a remembered read task.
func (t *Table) Download(id ID) (Download, bool) {
	if d, ok := t.downloads[id]; ok {
		return *d, true
	}
	if d, ok := t.endedReads[id]; ok {
		return *d, true
	}
	return Download{}, false
}

// Live returns the number of live uploads and downloads that are no tasks, and
// of tasks.
func (t *Table) Live() (uploads, downloads, tasks int) {
	w, r := t.tasks.liveWrites, t.tasks.liveReads
	return len(t.uploads) - w, len(t.downloads) - r, w + r
}

// Uploads returns copies of the live uploads, oldest first.
func (t *Table) Uploads() []Upload {
	out := make([]Upload, 0, len(t.uploads))
	for _, u := range t.uploads {
		out = append(out, u.clone())
	}
	slices.SortFunc(out, func(a, b Upload) int { return oldestFirst(a.Opened, b.Opened, a.ID, b.ID) })
	return out
}

// Downloads returns copies of the live downloads, oldest first.
func (t *Table) Downloads() []Download {
	out := make([]Download, 0, len(t.downloads))
	for _, d := range t.downloads {
		out = append(out, *d)
	}
	slices.SortFunc(out, func(a, b Download) int { return oldestFirst(a.Opened, b.Opened, a.ID, b.ID) })
	return out
}

func sortIDs(ids []ID) {
	slices.SortFunc(ids, func(a, b ID) int { return slices.Compare(a[:], b[:]) })
}

func oldestFirst(at, bt time.Time, a, b ID) int {
	if c := at.Compare(bt); c != 0 {
		return c
	}
	return slices.Compare(a[:], b[:])
}

// Ended calls fn with the ID of every upload that has ended and is
// remembered.
func (t *Table) Ended(fn func(ID)) {
	for id := range t.ended {
		fn(id)
	}
}
