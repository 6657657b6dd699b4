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
	// ids is what the nodes that belong are called now, idOf the same by node.
	ids  textSet[uint64]
	idOf map[uint64]string
	// tree are the nodes by what they are called and where they stand.
	tree nameTree
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
	d.ids, d.idOf = make(textSet[uint64]), make(map[uint64]string)
	d.tree = newNameTree(d.names)
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
		d.call(key, string(b.To))
	case b.ID != "":
		d.call(key, string(b.ID))
	}
	return true
}

// call notes what a node is called now, "" if nothing any more.
func (d *followed) call(key uint64, id string) {
	if old, ok := d.idOf[key]; ok {
		if old == id {
			return
		}
		if d.ids[old] == key { // not another's by now
			delete(d.ids, old)
		}
		delete(d.idOf, key)
	}
	if id != "" {
		d.ids[id], d.idOf[key] = key, id
	}
}

// nodesOf is node for facts about several at once.
func (d *followed) nodesOf(e *journal.Entry, b *aboutBody) bool {
	about := false
	for _, key := range b.Nodes {
		about = about || d.has(key)
		if e.Kind != doctree.KindNodeRemoved {
			continue
		}
		d.tree.remove(key)
		d.call(key, "")
	}
	return about
}

// follow keeps the tree of names, and finds the nodes that the names lead to.
func (d *followed) follow(e *journal.Entry, b *aboutBody) {
	n := d.tree.nodes[*b.Node]
	switch e.Kind {
	case doctree.KindNodeCreated:
		n.name, n.parent = string(b.Name), b.Parent
	case doctree.KindNodeRenamed:
		n.name = string(b.Name)
	case doctree.KindNodeMoved:
		n.parent = b.Parent
	default:
		return
	}
	d.tree.put(*b.Node, n.name, n.parent, func(found uint64) { d.nodes[found] = struct{}{} })
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
