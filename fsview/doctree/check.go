package doctree

import "waybill/fsview/acl"

// judge answers one question for one subject at one moment, about any number
// of nodes: may it do act? (CFMS.md §6.3, check)
type judge struct {
	tree *Tree
	s    *acl.Subject
	act  acl.Action
	now  float64
	// above keeps what directories say of what is below them, so that a listing
	// does not climb to the root for every child. It is nil for a single
	// question, which would meet no directory twice.
	above map[question]bool
}

// question is what a node asks of the directory it is in.
type question struct {
	dir  *node
	deny bool
}

func (t *Tree) judge(s *acl.Subject, act acl.Action, now float64) *judge {
	return &judge{tree: t, s: s, act: act, now: now, above: make(map[question]bool)}
}

// may tells whether path access to n is given.
func (t *Tree) may(s *acl.Subject, act acl.Action, n *node, now float64) bool {
	j := judge{tree: t, s: s, act: act, now: now}
	return j.may(n)
}

// Check tells whether the subject has path access to a file or directory, ""
// for the root, whether or not it is deleted (§6.3). It is false for an unknown
// id. Now is in unix seconds.
func (t *Tree) Check(s *acl.Subject, act acl.Action, id string, now float64) bool {
	n, ok := t.named(id)
	return ok && t.may(s, act, n, now)
}

func (j *judge) may(n *node) bool { return j.check(n, true) }

// check is the algorithm of §6.3 but for the parameter sub, which above has.
func (j *judge) check(n *node, deny bool) bool {
	if n.parent != nil && !n.access.Cuts(j.act) {
		if !j.asks(n.parent, deny && !n.access.CutsDeny(j.act)) {
			return false
		}
	}
	return n.access.Level(j.s, j.act, deny, j.now)
}

// asks tells whether directory d, and what is above it, allows what is below.
func (j *judge) asks(d *node, deny bool) bool {
	q := question{d, deny}
	if ok, known := j.above[q]; known {
		return ok
	}
	counts := d.access.Subinherit()
	if d == j.tree.root {
		counts = j.tree.inherit
	}
	ok := !counts || j.check(d, deny)
	if j.above != nil {
		j.above[q] = ok
	}
	return ok
}
