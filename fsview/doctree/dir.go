package doctree

import (
	"waybill/fsview/acl"
	"waybill/journal"
)

// DirOp is the data of operateDir (CFMS.md §5.1); nil means absent.
type DirOp struct {
	DirID       *string `json:"dir_id,omitempty"`
	Action      *string `json:"action,omitempty"`
	ViewDeleted bool    `json:"view_deleted,omitempty"`
	NewDirname  *string `json:"new_dirname,omitempty"`
	NewParent   *string `json:"new_parent,omitempty"`
	NewID       *string `json:"new_id,omitempty"`
}

// dirActions is not to be changed.
var dirActions = map[string]action[DirOp]{
	"list":   {act: acl.ActionList, do: (*request).listDir},
	"rename": {act: acl.ActionRename, do: (*request).renameDir},
	"delete": {act: acl.ActionDelete, do: (*request).deleteDir},
	"recover": {act: acl.ActionRecover, rights: []string{acl.RightRecover}, showsDeleted: true,
		do: (*request).recoverDir},
	"permanently_delete": {act: acl.ActionPermanentlyDelete, rights: []string{acl.RightPurge},
		do: (*request).removeDir},
	"move":      {act: acl.ActionMove, do: (*request).moveDir},
	"change_id": {act: acl.ActionChangeID, rights: []string{acl.RightChangeID}, do: (*request).changeDirID},
}

// OperateDir decides operateDir (§5.1). hideNoAccess leaves out of a listing
// what the subject may not read. Errors, in this order: CodeMissing,
// CodeNeedDirID, CodeDenied (a right), CodeNoDir, CodeNotFound, CodeBadRequest,
// CodePathDenied; then the action's own, which also may be an *acl.Refusal with
// CodeRestoreFirst. Now is in unix seconds.
func (t *Tree) OperateDir(s *acl.Subject, op DirOp, hideNoAccess bool, now float64) (Outcome, error) {
	if blank(op.Action) {
		return Outcome{}, acl.CodeMissing
	}
	if blank(op.DirID) {
		return Outcome{}, acl.CodeNeedDirID
	}
	a, known := dirActions[*op.Action]
	r := &request{Tree: t, s: s, now: now, hideNoAccess: hideNoAccess}
	if err := r.mayView(op.ViewDeleted || a.showsDeleted, a.rights); err != nil {
		return Outcome{}, err
	}
	n, ok := t.ids[*op.DirID]
	switch {
	case !ok || !n.dir:
		return Outcome{}, acl.CodeNoDir
	case !r.sees(n, a.act):
		return Outcome{}, acl.CodeNotFound
	case !known:
		return Outcome{}, acl.CodeBadRequest
	case !t.may(s, a.act, n, now):
		return Outcome{}, acl.CodePathDenied
	}
	r.n = n
	out, err := a.do(r, &op)
	if err != nil {
		return Outcome{}, err
	}
	out.Node = n.info()
	return out, nil
}

func (r *request) listDir(*DirOp) (Outcome, error) {
	l := r.list()
	j := judge{tree: r.Tree, s: r.s, act: acl.ActionRead, now: r.now}
	if p := r.n.parent; j.may(p) {
		e := p.entry()
		if p == r.root {
			e.Name = rootName
		}
		l.Parent = &e
	}
	return Outcome{Listing: l}, nil
}

func (r *request) renameDir(op *DirOp) (Outcome, error) { return r.rename(op.NewDirname) }

func (r *request) deleteDir(*DirOp) (Outcome, error) {
	if r.n.state.Deleted {
		return Outcome{}, acl.CodeDirMarked
	}
	w := r.walk(acl.ActionDelete)
	w.delete(r.n)
	body := nodeDeleted{ID: r.n.id, Expire: r.expiry(r.now, recycleNodes)}
	return Outcome{
		Facts: chunks(w.keys, func(keys []Key) journal.Fact {
			body.Nodes = keys
			return fact(KindNodeDeleted, body)
		}),
		CancelWrites: w.files, Batch: w.batch,
	}, nil
}

func (r *request) recoverDir(*DirOp) (Outcome, error) {
	if !r.n.state.Deleted {
		return Outcome{}, acl.CodeDirLive
	}
	w := r.walk(acl.ActionRecover)
	w.recover(r.n)
	return Outcome{
		Facts: chunks(w.keys, func(keys []Key) journal.Fact {
			return fact(KindNodeRecovered, nodeRecovered{Nodes: keys, ID: r.n.id})
		}),
		Batch: w.batch,
	}, nil
}

func (r *request) removeDir(*DirOp) (Outcome, error) {
	w := r.walk(acl.ActionPermanentlyDelete)
	w.remove(r.n)
	return Outcome{
		Facts: chunks(w.keys, func(keys []Key) journal.Fact {
			return fact(KindNodeRemoved, nodeRemoved{Nodes: keys, ID: r.n.id})
		}),
		CancelAll: w.files, Batch: w.batch,
	}, nil
}

func (r *request) moveDir(op *DirOp) (Outcome, error) {
	if op.NewParent == nil {
		return Outcome{}, acl.CodeMissing
	}
	if to, ok := r.named(*op.NewParent); ok && to.within(r.n) {
		return Outcome{}, acl.CodeOwnParent
	}
	return r.move(*op.NewParent)
}

func (r *request) changeDirID(op *DirOp) (Outcome, error) {
	if blank(op.NewID) {
		return Outcome{}, acl.CodeMissing
	}
	if *op.NewID == r.n.id {
		return Outcome{Unchanged: true}, nil
	}
	return r.changeID(*op.NewID, acl.CodeDirIDLong)
}
