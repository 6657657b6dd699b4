package doctree

import (
	"cmp"
	"slices"
	"time"

	"waybill/fsview/acl"
)

// node is a file or directory, or the root: a directory of key 0, without an id
// and in no other.
type node struct {
	key      Key
	id, name string
	dir      bool
	owner    string
	created  time.Time
	state    State
	access   *acl.Access

	parent *node
	// at is the node's place among its parent's children.
	at       int
	children []*node
	// revisions are in the order of publication.
	revisions []*revision
}

type revision struct {
	id          RevisionID
	node        *node
	digest      string
	size        int64
	placeholder bool
	created     time.Time
	state       State
}

func (n *node) info() NodeInfo {
	return NodeInfo{Key: n.key, ID: n.id, Name: n.name, Dir: n.dir, State: n.state}
}

// attach puts n into p. The children have no order: listings are sorted.
func (n *node) attach(p *node) {
	n.parent, n.at = p, len(p.children)
	p.children = append(p.children, n)
}

func (n *node) detach() {
	p := n.parent
	last := len(p.children) - 1
	p.children[n.at] = p.children[last]
	p.children[n.at].at = n.at
	p.children[last] = nil
	p.children = p.children[:last]
	n.parent = nil
}

// within tells whether n is d or lies below it.
func (n *node) within(d *node) bool {
	for ; n != nil; n = n.parent {
		if n == d {
			return true
		}
	}
	return false
}

// reachable tells whether neither n nor a directory above it is deleted.
func (n *node) reachable() bool {
	for ; n != nil; n = n.parent {
		if n.state.Deleted {
			return false
		}
	}
	return true
}

// depth counts the directories from the root down to directory n, n included.
func (n *node) depth() (d int) {
	for ; n.parent != nil; n = n.parent {
		d++
	}
	return d
}

// height counts the directories one in another from n down, n included,
// deleted ones too: they can come back.
func (n *node) height() (h int) {
	if !n.dir {
		return 0
	}
	for _, c := range n.children {
		h = max(h, c.height())
	}
	return h + 1
}

// listed gives the children as a listing has them (CFMS.md §5.1).
func (n *node) listed() []*node {
	out := slices.Clone(n.children)
	slices.SortFunc(out, func(a, b *node) int { return listOrder(a.dir, b.dir, a.name, b.name, a.id, b.id) })
	return out
}

// listOrder has directories first, then files, each by name, then id. Bytes of
// UTF-8 have the order of code points.
func listOrder(aDir, bDir bool, aName, bName, aID, bID string) int {
	if aDir != bDir {
		if aDir {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(aName, bName), cmp.Compare(aID, bID))
}

// newest is the last revision published whose state is ok, nil if there is
// none (§4.1).
func (n *node) newest() *revision {
	for _, r := range slices.Backward(n.revisions) {
		if !r.state.Deleted {
			return r
		}
	}
	return nil
}

// size is that of the newest revision, -1 if there is none, 0 for a directory.
func (n *node) size() int64 {
	if n.dir {
		return 0
	}
	if r := n.newest(); r != nil {
		return r.size
	}
	return -1
}

// placeholder is the revision that the first publication replaces, nil if that
// was or if there never was one.
func (n *node) placeholder() *revision {
	if i := slices.IndexFunc(n.revisions, func(r *revision) bool { return r.placeholder }); i >= 0 {
		return n.revisions[i]
	}
	return nil
}

func (r *revision) copy() *Revision {
	return &Revision{
		ID: r.id, Node: r.node.key, NodeID: r.node.id, Name: r.node.name, Digest: r.digest, Size: r.size,
		Placeholder: r.placeholder, Created: r.created, State: r.state,
	}
}
