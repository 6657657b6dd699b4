package doctree

import (
	"encoding/json"
	"slices"

	"waybill/journal"
)

// Apply folds one fact into the tree. Kinds it does not know, and facts that
// cannot follow what was before, are errors: no journal of ours has them.
func (t *Tree) Apply(e *journal.Entry) error {
	switch e.Kind {
	case KindNodeCreated:
		return with(e, t.applyCreated)
	case KindNodeRenamed:
		return with(e, t.applyRenamed)
	case KindNodeMoved:
		return with(e, t.applyMoved)
	case KindNodeIDChanged:
		return with(e, t.applyIDChanged)
	case KindNodeRuled:
		return with(e, t.applyRuled)
	case KindNodeDeleted:
		return with(e, t.applyDeleted)
	case KindNodeRecovered:
		return with(e, t.applyRecovered)
	case KindNodeRemoved:
		return with(e, t.applyRemoved)
	case KindRevisionCreated:
		return with(e, t.applyPlaceholder)
	case KindRevisionPublished:
		return with(e, t.applyPublished)
	case KindRevisionDeleted:
		return with(e, t.applyRevisionDeleted)
	case KindRevisionRecovered:
		return with(e, t.applyRevisionRecovered)
	case KindRevisionRemoved:
		return with(e, t.applyRevisionRemoved)
	case KindPolicySet:
		return with(e, t.applyPolicySet)
	}
	return factError(e, "unknown kind")
}

// with decodes the body that apply takes.
func with[Body any](e *journal.Entry, apply func(*journal.Entry, *Body) error) error {
	var b Body
	if err := json.Unmarshal(e.Body, &b); err != nil {
		return factError(e, "body: %w", err)
	}
	return apply(e, &b)
}

// known finds the node a fact is about; the root is none.
func (t *Tree) known(e *journal.Entry, key Key) (*node, error) {
	n, ok := t.nodes[key]
	if !ok {
		return nil, factError(e, "no node %d", key)
	}
	return n, nil
}

// directory finds what a fact puts something into.
func (t *Tree) directory(e *journal.Entry, key Key) (*node, error) {
	n, ok := t.node(key)
	if !ok || !n.dir {
		return nil, factError(e, "no directory %d", key)
	}
	return n, nil
}

func (t *Tree) applyCreated(e *journal.Entry, b *nodeCreated) error {
	parent, err := t.directory(e, b.Parent)
	if err != nil {
		return err
	}
	if b.Node != t.next {
		return factError(e, "node %d, not %d", b.Node, t.next)
	}
	if _, taken := t.named(b.ID); taken {
		return factError(e, "id %q is taken", b.ID)
	}
	if b.Type != typeDir && b.Type != typeFile {
		return factError(e, "type %q", b.Type)
	}
	n := &node{key: b.Node, id: b.ID, name: b.Name, dir: b.Type == typeDir, owner: b.Owner, created: e.At, access: t.open}
	n.attach(parent)
	t.nodes[n.key], t.ids[n.id] = n, n
	t.next++
	return nil
}

func (t *Tree) applyRenamed(e *journal.Entry, b *nodeRenamed) error {
	n, err := t.known(e, b.Node)
	if err != nil {
		return err
	}
	n.name = b.Name
	return nil
}

func (t *Tree) applyMoved(e *journal.Entry, b *nodeMoved) error {
	n, err := t.known(e, b.Node)
	if err != nil {
		return err
	}
	parent, err := t.directory(e, b.Parent)
	if err != nil {
		return err
	}
	if parent.within(n) {
		return factError(e, "node %d into itself", b.Node)
	}
	n.detach()
	n.attach(parent)
	return nil
}

func (t *Tree) applyIDChanged(e *journal.Entry, b *nodeIDChanged) error {
	n, err := t.known(e, b.Node)
	if err != nil {
		return err
	}
	if _, taken := t.named(b.To); taken {
		return factError(e, "id %q is taken", b.To)
	}
	delete(t.ids, n.id)
	n.id = b.To
	t.ids[n.id] = n
	return nil
}

func (t *Tree) applyDeleted(e *journal.Entry, b *nodeDeleted) error {
	for _, key := range b.Nodes {
		n, err := t.known(e, key)
		if err != nil {
			return err
		}
		if n.state.Deleted {
			return factError(e, "node %d is deleted", key)
		}
		n.state = State{Deleted: true, Expire: b.Expire}
		t.bin[key] = n
	}
	return nil
}

func (t *Tree) applyRecovered(e *journal.Entry, b *nodeRecovered) error {
	for _, key := range b.Nodes {
		n, err := t.known(e, key)
		if err != nil {
			return err
		}
		if !n.state.Deleted {
			return factError(e, "node %d is not deleted", key)
		}
		n.state = State{}
		delete(t.bin, key)
	}
	return nil
}

func (t *Tree) applyRemoved(e *journal.Entry, b *nodeRemoved) error {
	for _, key := range b.Nodes {
		n, err := t.known(e, key)
		if err != nil {
			return err
		}
		if len(n.children) > 0 {
			return factError(e, "directory %d is not empty", key)
		}
		for _, r := range n.revisions {
			t.forget(r)
		}
		n.detach()
		delete(t.nodes, key)
		delete(t.ids, n.id)
		delete(t.bin, key)
	}
	return nil
}

func (t *Tree) applyPlaceholder(e *journal.Entry, b *revisionCreated) error {
	n, err := t.file(e, b.Node)
	if err != nil {
		return err
	}
	if len(n.revisions) > 0 {
		return factError(e, "node %d has revisions", b.Node)
	}
	return t.add(e, &revision{id: b.Revision, node: n, digest: EmptyDigest, placeholder: true})
}

func (t *Tree) applyPublished(e *journal.Entry, b *revisionPublished) error {
	n, err := t.file(e, b.Node)
	if err != nil {
		return err
	}
	if b.Replaces != "" {
		r, ok := t.revisions[b.Replaces]
		if !ok || r.node != n || !r.placeholder {
			return factError(e, "%s is no placeholder of node %d", b.Replaces, b.Node)
		}
		t.drop(r)
	}
	return t.add(e, &revision{id: b.Revision, node: n, digest: b.Digest, size: b.Size})
}

func (t *Tree) applyRevisionDeleted(e *journal.Entry, b *revisionDeleted) error {
	r, err := t.revision(e, b.Node, b.Revision)
	if err != nil {
		return err
	}
	if r.state.Deleted {
		return factError(e, "revision %s is deleted", b.Revision)
	}
	r.state = State{Deleted: true, Expire: b.Expire}
	t.revisionBin[r.id] = r
	return nil
}

func (t *Tree) applyRevisionRecovered(e *journal.Entry, b *revisionOnly) error {
	r, err := t.revision(e, b.Node, b.Revision)
	if err != nil {
		return err
	}
	if !r.state.Deleted {
		return factError(e, "revision %s is not deleted", b.Revision)
	}
	r.state = State{}
	delete(t.revisionBin, r.id)
	return nil
}

func (t *Tree) applyRevisionRemoved(e *journal.Entry, b *revisionOnly) error {
	r, err := t.revision(e, b.Node, b.Revision)
	if err != nil {
		return err
	}
	t.drop(r)
	return nil
}

// file finds the file that a fact gives a revision.
func (t *Tree) file(e *journal.Entry, key Key) (*node, error) {
	n, err := t.known(e, key)
	if err == nil && n.dir {
		return nil, factError(e, "node %d is a directory", key)
	}
	return n, err
}

// revision finds the revision a fact is about.
func (t *Tree) revision(e *journal.Entry, key Key, id RevisionID) (*revision, error) {
	r, ok := t.revisions[id]
	if !ok || r.node.key != key {
		return nil, factError(e, "no revision %s of node %d", id, key)
	}
	return r, nil
}

func (t *Tree) add(e *journal.Entry, r *revision) error {
	if _, taken := t.revisions[r.id]; taken {
		return factError(e, "revision %s is known", r.id)
	}
	r.created = e.At
	t.revisions[r.id] = r
	t.references[r.digest]++
	r.node.revisions = append(r.node.revisions, r)
	return nil
}

// drop takes a revision out of its file and the indices.
func (t *Tree) drop(r *revision) {
	i := slices.Index(r.node.revisions, r)
	r.node.revisions = slices.Delete(r.node.revisions, i, i+1)
	t.forget(r)
}

// forget takes a revision out of the indices.
func (t *Tree) forget(r *revision) {
	delete(t.revisions, r.id)
	delete(t.revisionBin, r.id)
	if t.references[r.digest]--; t.references[r.digest] == 0 {
		delete(t.references, r.digest)
	}
}
