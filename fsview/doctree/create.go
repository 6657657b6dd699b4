package doctree

import (
	"waybill/fsview/acl"
	"waybill/journal"
)

// NewFile is the data of createFile (CFMS.md §4.6); nil means absent.
type NewFile struct {
	DirectoryID *string `json:"directory_id,omitempty"`
	FileID      *string `json:"file_id,omitempty"`
	Filename    *string `json:"filename,omitempty"`
}

// CreateFile decides createFile (§4.6): a file with an empty placeholder, to be
// written by the task that is wanted. randomID is the id of a file for which
// none is given, untitled the name, revision that of the placeholder. Errors, in
// this order: CodeFileIDLong, CodeName, CodeFileExists, CodeNoTarget,
// CodeNotDir, CodeDenied. That there is data is the caller's to check.
func (t *Tree) CreateFile(s *acl.Subject, n NewFile, randomID, untitled string, revision RevisionID, now float64) (Outcome, error) {
	b := nodeCreated{Node: t.next, ID: given(n.FileID, randomID), Type: typeFile, Name: untitled, Owner: s.Name}
	if n.Filename != nil {
		b.Name = *n.Filename
	}
	if long(b.ID) {
		return Outcome{}, acl.CodeFileIDLong
	}
	parent, err := t.vacant(s, &b, given(n.DirectoryID, ""), acl.CodeFileExists, now)
	if err != nil {
		return Outcome{}, err
	}
	b.Parent = parent.key
	return Outcome{
		Facts: []journal.Fact{
			fact(KindNodeCreated, b),
			fact(KindRevisionCreated, revisionCreated{Node: b.Node, Revision: revision}),
		},
		Write: &Target{Key: b.Node, ID: b.ID},
		Node:  NodeInfo{Key: b.Node, ID: b.ID, Name: b.Name},
	}, nil
}

// NewDir is the data of createDir (§5.2); nil means absent.
type NewDir struct {
	Name     *string `json:"name,omitempty"`
	DirID    *string `json:"dir_id,omitempty"`
	ParentID *string `json:"parent_id,omitempty"`
}

// CreateDir decides createDir (§5.2). randomID is the id of a directory for
// which none is given. Errors, in this order: CodeDenied (the right),
// CodeMissing, CodeDirIDLong, CodeName, CodeDirExists, CodeNoTarget,
// CodeNotDir, CodeDenied (path access), CodeTooDeep.
func (t *Tree) CreateDir(s *acl.Subject, n NewDir, randomID string, now float64) (Outcome, error) {
	if !s.May(acl.RightCreateDir) {
		return Outcome{}, acl.CodeDenied
	}
	if blank(n.Name) {
		return Outcome{}, acl.CodeMissing
	}
	b := nodeCreated{Node: t.next, ID: given(n.DirID, randomID), Type: typeDir, Name: *n.Name, Owner: s.Name}
	if long(b.ID) {
		return Outcome{}, acl.CodeDirIDLong
	}
	parent, err := t.vacant(s, &b, given(n.ParentID, ""), acl.CodeDirExists, now)
	if err != nil {
		return Outcome{}, err
	}
	if parent.depth() >= MaxDepth {
		return Outcome{}, acl.CodeTooDeep
	}
	b.Parent = parent.key
	return Outcome{
		Facts: []journal.Fact{fact(KindNodeCreated, b)},
		Node:  NodeInfo{Key: b.Node, ID: b.ID, Name: b.Name, Dir: true},
	}, nil
}

// vacant finds the directory for a new node and tells whether the node can be
// made in it.
func (t *Tree) vacant(s *acl.Subject, b *nodeCreated, parent string, taken acl.Code, now float64) (*node, error) {
	if err := checkName(b.Name); err != nil {
		return nil, err
	}
	if controls(b.ID) {
		return nil, acl.CodeName
	}
	if _, ok := t.ids[b.ID]; ok {
		return nil, taken
	}
	to, err := t.target(parent, acl.CodeNoTarget)
	if err != nil {
		return nil, err
	}
	if !t.may(s, acl.ActionWrite, to, now) {
		return nil, acl.CodeDenied
	}
	return to, nil
}

// given is an optional text that is not empty, or what stands for it.
func given(s *string, otherwise string) string {
	if blank(s) {
		return otherwise
	}
	return *s
}
