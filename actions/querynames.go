package actions

// nameTree are nodes by name and directory, such that those that certain names
// lead to are found as they come there: by looking at one that changes, what it
// lies in, and what of the names lies in it.
type nameTree struct {
	// names lead to what is wanted, from the root on; nil: the tree stays empty.
	names  []string
	wanted map[string]struct{}
	nodes  map[uint64]treeNode
	// first is, of the nodes of one name in one directory, one; the others are
	// linked to it. Only wanted names are in here.
	first map[place]uint64
	// steps is how many nodes were looked at.
	steps int
}

// treeNode is a node; next and before are others of its place, 0 if none.
type treeNode struct {
	name         string
	parent       uint64
	next, before uint64
}

type place struct {
	parent uint64
	name   string
}

func newNameTree(names []string) nameTree {
	t := nameTree{names: names}
	if names == nil {
		return t
	}
	t.nodes, t.first, t.wanted = make(map[uint64]treeNode), make(map[place]uint64), make(map[string]struct{})
	for _, name := range names {
		t.wanted[name] = struct{}{}
	}
	return t
}

// put has a node be called name, in the directory parent, and calls found with
// each that the names lead to for it.
func (t *nameTree) put(key uint64, name string, parent uint64, found func(key uint64)) {
	t.remove(key)
	n := treeNode{name: name, parent: parent}
	_, wanted := t.wanted[name]
	if wanted {
		at := place{parent, name}
		if other, ok := t.first[at]; ok {
			n.next = other
			t.change(other, func(o *treeNode) { o.before = key })
		}
		t.first[at] = key
	}
	t.nodes[key] = n
	if !wanted {
		return // nor does what is in it count
	}
	if depth := t.depth(key); depth > 0 {
		t.descend(key, depth, found)
	}
}

// remove takes a node out; what is in it stays.
func (t *nameTree) remove(key uint64) {
	n, ok := t.nodes[key]
	if !ok {
		return
	}
	delete(t.nodes, key)
	if n.next != 0 {
		t.change(n.next, func(o *treeNode) { o.before = n.before })
	}
	at := place{n.parent, n.name}
	switch {
	case n.before != 0:
		t.change(n.before, func(o *treeNode) { o.next = n.next })
	case t.first[at] != key: // not of a wanted name
	case n.next != 0:
		t.first[at] = n.next
	default:
		delete(t.first, at)
	}
}

func (t *nameTree) change(key uint64, do func(*treeNode)) {
	n := t.nodes[key]
	do(&n)
	t.nodes[key] = n
}

// depth is how many of the names lead to a node, 0 if it lies elsewhere.
func (t *nameTree) depth(key uint64) int {
	var path []string // upwards
	for key != 0 {
		t.steps++
		n, ok := t.nodes[key]
		if !ok || len(path) == len(t.names) {
			return 0
		}
		path, key = append(path, n.name), n.parent
	}
	for i, name := range path {
		if name != t.names[len(path)-1-i] {
			return 0
		}
	}
	return len(path)
}

// descend finds what the names lead to from a node on that depth of them do.
func (t *nameTree) descend(key uint64, depth int, found func(key uint64)) {
	if depth == len(t.names) {
		found(key)
		return
	}
	for k := t.first[place{key, t.names[depth]}]; k != 0; k = t.nodes[k].next {
		t.steps++
		t.descend(k, depth+1, found)
	}
}
