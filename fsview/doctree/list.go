package doctree

import (
	"slices"

	"waybill/fsview/acl"
)

// rootName is what the root is called in listings (CFMS.md §5.1).
const rootName = "<root directory>"

// Listing is what is in a directory (§5.1, dir_data).
type Listing struct {
	// ID and Name are the directory's, "" for the root.
	ID, Name string
	// Parent is the directory above; nil if the subject may not read it, and in
	// a listing of the root. The root has id "" and name "<root directory>".
	Parent *ListEntry
	// Entries are in no order before Sort.
	Entries []ListEntry
}

// ListEntry is a file or directory in a listing.
type ListEntry struct {
	ID, Name string
	Dir      bool
	State    State
	// Created is in unix seconds; 0 for the root.
	Created float64
	// Size of a file's newest revision in bytes, -1 if there is none; 0 for a
	// directory.
	Size int64
}

// Sort puts the entries in order: directories, then files, each by name in code
// point order, then id. It touches no tree, so that it need not run where the
// tree is owned.
func (l *Listing) Sort() {
	slices.SortFunc(l.Entries, func(a, b ListEntry) int {
		return listOrder(a.Dir, b.Dir, a.Name, b.Name, a.ID, b.ID)
	})
}

// RootDir decides getRootDir (§5.2). Errors: CodeDenied without right
// view_deleted if that is asked for, CodeForbidden without read on the root.
// Now is in unix seconds.
func (t *Tree) RootDir(s *acl.Subject, viewDeleted, hideNoAccess bool, now float64) (*Listing, error) {
	r := &request{Tree: t, s: s, now: now, n: t.root, hideNoAccess: hideNoAccess}
	if err := r.mayView(viewDeleted, nil); err != nil {
		return nil, err
	}
	if !t.may(s, acl.ActionRead, t.root, now) {
		return nil, acl.CodeForbidden
	}
	return r.list(), nil
}

// list gives the children that the subject may know of. It is one decision of
// the core, and directories are large: nothing is sorted here, and the way up
// to the root is asked once.
func (r *request) list() *Listing {
	l := &Listing{ID: r.n.id, Name: r.n.name, Entries: make([]ListEntry, 0, len(r.n.children))}
	j := r.judge(r.s, acl.ActionRead, r.now)
	for _, c := range r.n.children {
		if c.state.Deleted && !r.viewDeleted || r.hideNoAccess && !j.may(c) {
			continue
		}
		l.Entries = append(l.Entries, c.entry())
	}
	return l
}

func (n *node) entry() ListEntry {
	e := ListEntry{ID: n.id, Name: n.name, Dir: n.dir, State: n.state, Size: n.size()}
	if !n.created.IsZero() {
		e.Created = acl.Seconds(n.created)
	}
	return e
}
