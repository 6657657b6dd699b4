package doctree

import "waybill/fsview/acl"

// FileOp is the data of operateFile (CFMS.md §4.2); nil means absent.
type FileOp struct {
	FileID      *string `json:"file_id,omitempty"`
	Action      *string `json:"action,omitempty"`
	ViewDeleted bool    `json:"view_deleted,omitempty"`
	RevisionID  *string `json:"revision_id,omitempty"`
	// ForceWrite is not looked at here: it is about the tasks of others.
	ForceWrite  bool    `json:"force_write,omitempty"`
	NewFilename *string `json:"new_filename,omitempty"`
	NewParent   *string `json:"new_parent,omitempty"`
	NewID       *string `json:"new_id,omitempty"`
}

// fileActions is not to be changed.
var fileActions = map[string]action[FileOp]{
	"read":   {act: acl.ActionRead, revision: true, do: (*request).read},
	"write":  {act: acl.ActionWrite, do: (*request).write},
	"rename": {act: acl.ActionRename, do: (*request).renameFile},
	"delete": {act: acl.ActionDelete, do: (*request).deleteFile},
	"recover": {act: acl.ActionRecover, rights: []string{acl.RightRecover}, showsDeleted: true,
		do: (*request).recoverFile},
	"permanently_delete": {act: acl.ActionPermanentlyDelete, rights: []string{acl.RightPurge},
		do: (*request).removeFile},
	"move":        {act: acl.ActionMove, do: (*request).moveFile},
	"change_id":   {act: acl.ActionChangeID, rights: []string{acl.RightChangeID}, do: (*request).changeFileID},
	"delete_rev":  {act: acl.ActionDeleteRev, revision: true, do: (*request).deleteRevision},
	"recover_rev": {act: acl.ActionRecoverRev, showsDeleted: true, revision: true, do: (*request).recoverRevision},
}

// OperateFile decides operateFile (§4.2), its checks in exactly the order given
// there: CodeMissing, CodeDenied (a right), CodeNoFile, CodeNotFound,
// CodeNotFile, CodeDenied (path access), CodeNoOperation, CodeNoRevision, or
// CodeNotFound if there is no newest one; then the action's own, which also may
// be an *acl.Refusal with CodeRestoreFirst. Whether a task that is wanted can
// be had is for the caller to decide. Now is in unix seconds.
func (t *Tree) OperateFile(s *acl.Subject, op FileOp, now float64) (Outcome, error) {
	if blank(op.FileID) || blank(op.Action) {
		return Outcome{}, acl.CodeMissing
	}
	a, known := fileActions[*op.Action]
	if !known {
		a.act = acl.ActionWrite
	}
	r := &request{Tree: t, s: s, now: now}
	if err := r.mayView(op.ViewDeleted || a.showsDeleted, a.rights); err != nil {
		return Outcome{}, err
	}
	n, ok := t.ids[*op.FileID]
	switch {
	case !ok:
		return Outcome{}, acl.CodeNoFile
	case !r.sees(n, a.act):
		return Outcome{}, acl.CodeNotFound
	case n.dir:
		return Outcome{}, acl.CodeNotFile
	case !t.may(s, a.act, n, now):
		return Outcome{}, acl.CodeDenied
	case !known:
		return Outcome{}, acl.CodeNoOperation
	}
	r.n = n
	if a.revision {
		var err error
		if r.rev, err = r.choose(op.RevisionID); err != nil {
			return Outcome{}, err
		}
	}
	out, err := a.do(r, &op)
	if err != nil {
		return Outcome{}, err
	}
	out.Node = n.info()
	return out, nil
}

// choose finds the revision asked for, or the newest (§4.2 step 8).
func (r *request) choose(id *string) (*revision, error) {
	if blank(id) {
		if rev := r.n.newest(); rev != nil {
			return rev, nil
		}
		return nil, acl.CodeNotFound
	}
	rev, ok := r.revisions[RevisionID(*id)]
	if !ok || rev.node != r.n || rev.state.Deleted && !r.viewDeleted {
		return nil, acl.CodeNoRevision
	}
	return rev, nil
}

func (r *request) read(*FileOp) (Outcome, error) { return Outcome{Read: r.rev.copy()}, nil }

func (r *request) write(*FileOp) (Outcome, error) {
	if err := r.live(); err != nil {
		return Outcome{}, err
	}
	return Outcome{Write: &Target{Key: r.n.key, ID: r.n.id}}, nil
}

func (r *request) renameFile(op *FileOp) (Outcome, error) { return r.rename(op.NewFilename) }

func (r *request) deleteFile(*FileOp) (Outcome, error) {
	if r.n.state.Deleted {
		return Outcome{}, acl.CodeFileMarked
	}
	out := one(KindNodeDeleted, nodeDeleted{
		Nodes: []Key{r.n.key}, ID: r.n.id, Expire: r.expiry(r.now, recycleNodes),
	})
	out.CancelWrites = []Key{r.n.key}
	return out, nil
}

func (r *request) recoverFile(*FileOp) (Outcome, error) {
	if !r.n.state.Deleted {
		return Outcome{}, acl.CodeFileLive
	}
	return one(KindNodeRecovered, nodeRecovered{Nodes: []Key{r.n.key}, ID: r.n.id}), nil
}

func (r *request) removeFile(*FileOp) (Outcome, error) { return removal(r.n), nil }

// removal is the outcome of one node going for good.
func removal(n *node) Outcome {
	out := one(KindNodeRemoved, nodeRemoved{Nodes: []Key{n.key}, ID: n.id})
	out.Node = n.info()
	if !n.dir {
		out.CancelAll = []Key{n.key}
	}
	return out
}

func (r *request) moveFile(op *FileOp) (Outcome, error) {
	if op.NewParent == nil {
		return Outcome{}, acl.CodeMissing
	}
	return r.move(*op.NewParent)
}

func (r *request) changeFileID(op *FileOp) (Outcome, error) {
	if blank(op.NewID) {
		return Outcome{}, acl.CodeMissing
	}
	return r.changeID(*op.NewID, acl.CodeFileIDLong)
}

func (r *request) deleteRevision(*FileOp) (Outcome, error) {
	if r.rev.state.Deleted {
		return Outcome{}, acl.CodeRevDeleted
	}
	return one(KindRevisionDeleted, revisionDeleted{
		Node: r.n.key, ID: r.n.id, Revision: r.rev.id, Expire: r.expiry(r.now, recycleRevisions),
	}), nil
}

func (r *request) recoverRevision(op *FileOp) (Outcome, error) {
	if blank(op.RevisionID) {
		return Outcome{}, acl.CodeMissing
	}
	if !r.rev.state.Deleted {
		return Outcome{}, acl.CodeRevLive
	}
	return one(KindRevisionRecovered, revisionOnly{Node: r.n.key, ID: r.n.id, Revision: r.rev.id}), nil
}
