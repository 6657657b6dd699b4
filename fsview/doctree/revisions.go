package doctree

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"

	"waybill/fsview/acl"
	"waybill/journal"
)

// RevisionsOp is the data of getFileRevisions (CFMS.md §4.7); nil means absent.
type RevisionsOp struct {
	FileID      *string `json:"file_id,omitempty"`
	ViewDeleted bool    `json:"view_deleted,omitempty"`
	// Reverse: newest first.
	Reverse bool `json:"reverse,omitempty"`
	// ItemRange is [a, b), places in the list counted from 0; [0, 10) if absent.
	ItemRange json.RawMessage `json:"item_range,omitempty"`
}

// RevisionInfo is a revision in the list of a file's.
type RevisionInfo struct {
	ID RevisionID
	// Created is in unix seconds.
	Created float64
	State   State
	// Size in bytes.
	Size int64
	// Digest is the content's SHA-256, 64 lower-case hex digits.
	Digest string
}

// FileRevisions decides getFileRevisions (§4.7): the oldest first, or the
// newest, deleted ones only with the flag; none beyond the end. Errors, in this
// order: CodeMissing, CodeDenied (the right), CodeNotFound, CodeNotFile,
// CodeDenied (read), CodeRange, CodeRangeLong. Now is in unix seconds.
func (t *Tree) FileRevisions(s *acl.Subject, op RevisionsOp, now float64) ([]RevisionInfo, error) {
	if blank(op.FileID) {
		return nil, acl.CodeMissing
	}
	r := &request{Tree: t, s: s, now: now}
	if err := r.mayView(op.ViewDeleted, nil); err != nil {
		return nil, err
	}
	n, ok := t.ids[*op.FileID]
	switch {
	case !ok || !r.sees(n, acl.ActionRead):
		return nil, acl.CodeNotFound
	case n.dir:
		return nil, acl.CodeNotFile
	case !t.may(s, acl.ActionRead, n, now):
		return nil, acl.CodeDenied
	}
	from, to, err := itemRange(op.ItemRange)
	if err != nil {
		return nil, err
	}
	var all []*revision
	for _, rev := range n.revisions {
		if !rev.state.Deleted || r.viewDeleted {
			all = append(all, rev)
		}
	}
	if op.Reverse {
		slices.Reverse(all)
	}
	from, to = min(from, len(all)), min(to, len(all))
	out := make([]RevisionInfo, 0, to-from)
	for _, rev := range all[from:to] {
		out = append(out, RevisionInfo{
			ID: rev.id, Created: acl.Seconds(rev.created), State: rev.state, Size: rev.size, Digest: rev.digest,
		})
	}
	return out, nil
}

// itemRange reads [a, b): two integers, 0 ≤ a ≤ b, b ≥ 1, at most
// MaxRevisionRange apart.
func itemRange(raw json.RawMessage) (from, to int, err error) {
	if absent(raw) {
		return 0, 10, nil
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil || len(list) != 2 {
		return 0, 0, acl.CodeRange
	}
	var ends [2]float64
	for i, item := range list {
		// ParseFloat takes more than JSON has, but item is JSON: no text but a
		// number gets through.
		f, err := strconv.ParseFloat(string(item), 64)
		if err != nil || f != math.Trunc(f) || f > maxInteger {
			return 0, 0, acl.CodeRange
		}
		ends[i] = f
	}
	if ends[0] < 0 || ends[0] > ends[1] || ends[1] < 1 {
		return 0, 0, acl.CodeRange
	}
	if ends[1]-ends[0] > MaxRevisionRange {
		return 0, 0, acl.CodeRangeLong
	}
	return int(ends[0]), int(ends[1]), nil
}

// Publish decides that a content, complete and durable, becomes a file's newest
// revision (§4.4); the first one takes the placeholder's place. Errors:
// CodeTaskGone if the file is deleted or gone, CodeTaskDenied without path
// access write. Size is in bytes, now in unix seconds.
func (t *Tree) Publish(s *acl.Subject, node Key, revision RevisionID, digest string, size int64, now float64) ([]journal.Fact, error) {
	n, ok := t.nodes[node]
	if !ok || n.dir || n.state.Deleted {
		return nil, acl.CodeTaskGone
	}
	if !t.may(s, acl.ActionWrite, n, now) {
		return nil, acl.CodeTaskDenied
	}
	b := revisionPublished{Node: node, ID: n.id, Revision: revision, Digest: digest, Size: size}
	if r := n.placeholder(); r != nil {
		b.Replaces = r.id
	}
	return []journal.Fact{fact(KindRevisionPublished, b)}, nil
}

// AvatarContent returns what an avatar of this file shows: its newest revision,
// whoever may read it (§5.3). It is false unless the file is live and has one.
func (t *Tree) AvatarContent(fileID string) (*Revision, bool) {
	n, ok := t.ids[fileID]
	if !ok || n.dir || n.state.Deleted {
		return nil, false
	}
	r := n.newest()
	if r == nil {
		return nil, false
	}
	return r.copy(), true
}

// AvatarReadable decides whether the subject may make this file an avatar
// (§5.4): CodeNotFound unless it is a live file, CodeDenied without path access
// read. Now is in unix seconds.
func (t *Tree) AvatarReadable(s *acl.Subject, fileID string, now float64) error {
	n, ok := t.ids[fileID]
	if !ok || n.dir || n.state.Deleted {
		return acl.CodeNotFound
	}
	if !t.may(s, acl.ActionRead, n, now) {
		return acl.CodeDenied
	}
	return nil
}
