package actions

import (
	"strings"

	"waybill/fsview/doctree"
	"waybill/journal"
)

// followed are the nodes of the library that a text stands for.
type followed struct {
	text string
	// names are those that lead to what is wanted, nil if it is an id.
	names []string
	// nodes are the nodes that belong, with all that becomes of them; holders
	// those of a revision that is wanted, digests the contents of all these.
	nodes, holders map[uint64]struct{}
	digests        textSet[struct{}]
	// ids is what the nodes that belong are called now.
	ids textSet[uint64]
	// tree holds, if names are wanted, all nodes; called those with the last of
	// the names.
	tree   map[uint64]treeNode
	called map[uint64]struct{}
}

type treeNode struct {
	name   string
	parent uint64
}

func newFollowed(s string, wanted bool) followed {
	d := followed{
		text: s, nodes: make(map[uint64]struct{}), holders: make(map[uint64]struct{}),
		digests: make(textSet[struct{}]),
	}
	if rest, ok := strings.CutPrefix(s, "/"); ok && wanted && rest != "" {
		d.names = strings.Split(rest, "/")
	}
	d.again()
	return d
}

// again forgets what held only at the last record.
func (d *followed) again() {
	d.ids = make(textSet[uint64])
	d.tree, d.called = make(map[uint64]treeNode), make(map[uint64]struct{})
}

func (d *followed) has(node uint64) bool {
	if _, ok := d.nodes[node]; ok {
		return true
	}
	_, ok := d.holders[node]
	return ok
}

// concern tells whether a record is about the documents, and learns from it.
func (d *followed) concern(e *journal.Entry, b *aboutBody) bool {
	family, _, _ := strings.Cut(e.Kind, ".")
	switch family {
	case "node":
		return d.node(e, b)
	case "revision":
		return d.revision(b)
	case "object":
		_, ok := d.digests[string(b.SHA256)]
		return ok
	case "upload", "download":
		if b.Task == nil {
			return false
		}
		_, ok := d.nodes[b.Task.Node]
		return ok || string(b.Task.Revision) == d.text
	}
	p := &b.Params
	return d.isCalled(b.FileID) || d.isCalled(p.FileID) || d.isCalled(p.DirID) || d.isCalled(p.ID) ||
		string(p.NewID) == d.text || string(p.Revision) == d.text
}

// isCalled tells whether an id names one of the documents now, or is the one
// asked for, though there may be nothing of that name.
func (d *followed) isCalled(id text) bool {
	if id == "" {
		return false
	}
	_, ok := d.ids[string(id)]
	return ok || string(id) == d.text
}

func (d *followed) node(e *journal.Entry, b *aboutBody) bool {
	if b.Node == nil {
		return d.nodesOf(e, b)
	}
	key := *b.Node
	if string(b.ID) == d.text && e.Kind == doctree.KindNodeCreated || string(b.From) == d.text || string(b.To) == d.text {
		d.nodes[key] = struct{}{}
	}
	if d.names != nil {
		d.follow(e, b)
	}
	if _, ok := d.nodes[key]; !ok {
		return false
	}
	switch {
	case e.Kind == doctree.KindNodeIDChanged:
		delete(d.ids, string(b.From))
		d.ids[string(b.To)] = key
	case b.ID != "":
		d.ids[string(b.ID)] = key
	}
	return true
}

// nodesOf is node for facts about several at once.
func (d *followed) nodesOf(e *journal.Entry, b *aboutBody) bool {
	about := false
	for _, key := range b.Nodes {
		about = about || d.has(key)
		if e.Kind != doctree.KindNodeRemoved {
			continue
		}
		delete(d.tree, key)
		delete(d.called, key)
		for id, of := range d.ids {
			if of == key {
				delete(d.ids, id)
			}
		}
	}
	return about
}

// follow keeps the tree of names, and finds the nodes that the names lead to.
func (d *followed) follow(e *journal.Entry, b *aboutBody) {
	n, key := d.tree[*b.Node], *b.Node
	switch e.Kind {
	case doctree.KindNodeCreated:
		n = treeNode{string(b.Name), b.Parent}
	case doctree.KindNodeRenamed:
		n.name = string(b.Name)
	case doctree.KindNodeMoved:
		n.parent = b.Parent
	default:
		return
	}
	d.tree[key] = n
	delete(d.called, key)
	if n.name == d.names[len(d.names)-1] {
		d.called[key] = struct{}{}
	}
	// A directory that changes its name or place takes along what is in it.
	for k := range d.called {
		if d.leadsTo(k) {
			d.nodes[k] = struct{}{}
		}
	}
}

func (d *followed) leadsTo(key uint64) bool {
	for i := len(d.names) - 1; i >= 0; i-- {
		n, ok := d.tree[key]
		if !ok || n.name != d.names[i] {
			return false
		}
		key = n.parent
	}
	return key == 0
}

func (d *followed) revision(b *aboutBody) bool {
	if b.Node == nil {
		return false
	}
	_, about := d.nodes[*b.Node]
	if string(b.Revision) == d.text || string(b.Replaces) == d.text {
		d.holders[*b.Node] = struct{}{}
		about = true
	}
	if about && b.Digest != "" {
		d.digests[string(b.Digest)] = struct{}{}
	}
	return about
}
