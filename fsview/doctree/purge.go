package doctree

import (
	"cmp"
	"slices"

	"waybill/journal"
)

// Due is a node whose time in the recycle bin is over, or a revision, if
// Revision is set.
type Due struct {
	Node     Key
	Revision RevisionID
}

// DuePurge lists at most limit of what is due at now, unix seconds (CFMS.md
// §7.2): nodes, children before parents, then revisions. Whatever is listed
// goes if nothing changes meanwhile and the order is kept, so a caller may come
// back until nothing is left.
func (t *Tree) DuePurge(now float64, limit int) []Due {
	p := &purge{t: t, now: now, limit: limit, seen: make(map[*node]bool)}
	var due []*node
	for _, n := range t.bin {
		if n.state.due(now) {
			due = append(due, n)
		}
	}
	// By key, because a map has no order and a list that is cut shall have one.
	slices.SortFunc(due, func(a, b *node) int { return cmp.Compare(a.key, b.key) })
	for _, n := range due {
		p.node(n)
	}
	p.revisions()
	return p.due
}

// due tells whether what is deleted is to go for good.
func (s State) due(now float64) bool { return s.Deleted && float64(s.Expire) < now }

// purge collects what is due.
type purge struct {
	t     *Tree
	now   float64
	limit int
	due   []Due
	// seen has the nodes that were looked at, and whether they go.
	seen map[*node]bool
}

// node takes n, which is due or below what is, after what is below it. A live
// node stays, and so does what it is in.
func (p *purge) node(n *node) (goes bool) {
	if goes, known := p.seen[n]; known || len(p.due) >= p.limit {
		return goes
	}
	goes = n.state.Deleted
	for _, c := range n.children {
		goes = p.node(c) && goes
	}
	if goes = goes && len(p.due) < p.limit; goes {
		p.due = append(p.due, Due{Node: n.key})
	}
	p.seen[n] = goes
	return goes
}

// revisions takes the deleted ones that are due, but leaves every file one.
func (p *purge) revisions() {
	byFile := make(map[*node][]*revision)
	for _, r := range p.t.revisionBin {
		if r.state.due(p.now) && !p.seen[r.node] {
			byFile[r.node] = append(byFile[r.node], r)
		}
	}
	files := make([]*node, 0, len(byFile))
	for n := range byFile {
		files = append(files, n)
	}
	slices.SortFunc(files, func(a, b *node) int { return cmp.Compare(a.key, b.key) })
	for _, n := range files {
		left := len(n.revisions)
		for _, r := range n.revisions {
			if left == 1 || len(p.due) >= p.limit {
				break
			}
			if slices.Contains(byFile[n], r) {
				p.due = append(p.due, Due{Node: n.key, Revision: r.id})
				left--
			}
		}
	}
}

// PurgeNode decides, at commit, that a node goes for good: false if it was
// recovered, is not due, or has something in it that stays.
func (t *Tree) PurgeNode(key Key, now float64) (Outcome, bool) {
	n, ok := t.nodes[key]
	if !ok || !n.state.Deleted || len(n.children) > 0 {
		return Outcome{}, false
	}
	for d := n; d != nil; d = d.parent {
		if d.state.due(now) {
			return removal(n), true
		}
	}
	return Outcome{}, false
}

// PurgeRevision decides, at commit, that a revision goes for good: false if it
// was recovered, is not due, or is the last one of its file.
func (t *Tree) PurgeRevision(revision RevisionID, now float64) ([]journal.Fact, bool) {
	r, ok := t.revisions[revision]
	if !ok || !r.state.due(now) || len(r.node.revisions) == 1 {
		return nil, false
	}
	return []journal.Fact{fact(KindRevisionRemoved, revisionOnly{
		Node: r.node.key, ID: r.node.id, Revision: r.id,
	})}, true
}
