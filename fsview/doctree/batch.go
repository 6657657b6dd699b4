package doctree

import "waybill/fsview/acl"

// Batch is what became of the nodes of a directory (CFMS.md §5.1): every id in
// one of the lists, children before parents, siblings in list order, the
// directory of the request last. The lists are never nil.
type Batch struct {
	Succeeded, Failed []string
}

// walk takes a directory with what is below it, all against one state.
type walk struct {
	*judge
	batch *Batch
	// keys are those of batch.Succeeded, files those of them that are files.
	keys, files []Key
}

func (r *request) walk(act acl.Action) *walk {
	return &walk{
		judge: r.judge(r.s, act, r.now),
		batch: &Batch{Succeeded: []string{}, Failed: []string{}},
	}
}

func (w *walk) succeed(n *node) {
	w.batch.Succeeded = append(w.batch.Succeeded, n.id)
	w.keys = append(w.keys, n.key)
	if !n.dir {
		w.files = append(w.files, n.key)
	}
}

func (w *walk) fail(n *node) { w.batch.Failed = append(w.batch.Failed, n.id) }

// delete marks what is live, from n down, and tells whether nothing live is
// left. What lies in the recycle bin stays as it is, but may hold what was
// recovered alone.
func (w *walk) delete(n *node) bool {
	ok := true
	for _, c := range n.listed() {
		ok = w.delete(c) && ok
	}
	switch {
	case n.state.Deleted:
	case ok && w.may(n):
		w.succeed(n)
	default:
		w.fail(n)
		ok = false
	}
	return ok
}

// recover brings back what is deleted, from n down; what may not be stays, and
// all that is below it.
func (w *walk) recover(n *node) {
	if n.state.Deleted && !w.may(n) {
		w.fail(n)
		return
	}
	for _, c := range n.listed() {
		w.recover(c)
	}
	if n.state.Deleted {
		w.succeed(n)
	}
}

// remove takes n and what is below it for good, and tells whether it did.
func (w *walk) remove(n *node) bool {
	empty := true
	for _, c := range n.listed() {
		empty = w.remove(c) && empty
	}
	if !empty || !w.may(n) {
		w.fail(n)
		return false
	}
	w.succeed(n)
	return true
}
