package doctree

import (
	"waybill/fsview/acl"
	"waybill/journal"
)

// request is an operation on a node on its way through the checks.
type request struct {
	*Tree
	s   *acl.Subject
	now float64
	// viewDeleted: deleted nodes and revisions are visible.
	viewDeleted bool
	n           *node
	// rev is the revision asked for, or the newest, of the actions that take one.
	rev *revision
	// hideNoAccess: listings leave out what the subject may not read.
	hideNoAccess bool
}

// action is what an action of operateFile or operateDir needs and does.
type action[Op any] struct {
	act acl.Action
	// rights are the global ones it needs.
	rights []string
	// showsDeleted: it implies view_deleted.
	showsDeleted bool
	// revision: it is about one revision.
	revision bool
	do       func(*request, *Op) (Outcome, error)
}

// mayView sets viewDeleted if the subject has the rights: view_deleted if it
// asks for that, and those of its action.
func (r *request) mayView(deleted bool, rights []string) error {
	if deleted && !r.s.May(acl.RightViewDeleted) {
		return acl.CodeDenied
	}
	for _, right := range rights {
		if !r.s.May(right) {
			return acl.CodeDenied
		}
	}
	r.viewDeleted = deleted
	return nil
}

// sees tells whether n may be known of. permanently_delete needs the right to
// see what is deleted, but not the flag (CFMS.md §4.2 step 4).
func (r *request) sees(n *node, act acl.Action) bool {
	return !n.state.Deleted || r.viewDeleted ||
		act == acl.ActionPermanentlyDelete && r.s.May(acl.RightViewDeleted)
}

// live refuses what is marked for deletion and tells until when it can be had
// back.
func (r *request) live() error {
	if r.n.state.Deleted {
		return &acl.Refusal{Code: acl.CodeRestoreFirst, Expire: r.n.state.Expire}
	}
	return nil
}

// rename decides that a live node gets a name.
func (r *request) rename(name *string) (Outcome, error) {
	if blank(name) {
		return Outcome{}, acl.CodeMissing
	}
	if err := checkName(*name); err != nil {
		return Outcome{}, err
	}
	if err := r.live(); err != nil {
		return Outcome{}, err
	}
	return one(KindNodeRenamed, nodeRenamed{Node: r.n.key, ID: r.n.id, Name: *name}), nil
}

// move decides that a live node gets a parent, which is not below it.
func (r *request) move(parent string) (Outcome, error) {
	to, err := r.target(parent, acl.CodeNotFound)
	if err != nil {
		return Outcome{}, err
	}
	if !r.may(r.s, acl.ActionWrite, to, r.now) || !r.may(r.s, acl.ActionDelete, r.n.parent, r.now) {
		return Outcome{}, acl.CodeDenied
	}
	if err := r.live(); err != nil {
		return Outcome{}, err
	}
	if r.n.dir && to.depth()+r.n.height() > MaxDepth {
		return Outcome{}, acl.CodeTooDeep
	}
	return one(KindNodeMoved, nodeMoved{Node: r.n.key, ID: r.n.id, Parent: to.key}), nil
}

// changeID decides that a node gets an id that nothing has.
func (r *request) changeID(id string, tooLong acl.Code) (Outcome, error) {
	if long(id) {
		return Outcome{}, tooLong
	}
	if controls(id) {
		return Outcome{}, acl.CodeName
	}
	if _, taken := r.ids[id]; taken {
		return Outcome{}, acl.CodeIDExists
	}
	return one(KindNodeIDChanged, nodeIDChanged{Node: r.n.key, From: r.n.id, To: id}), nil
}

// one is the outcome that needs one fact.
func one(kind string, body any) Outcome {
	return Outcome{Facts: []journal.Fact{fact(kind, body)}}
}
