package doctree

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"waybill/fsview/acl"
)

// Image is a Tree as a snapshot holds it. Its JSON is deterministic. Its fields
// are read by every later version: a new one is optional, and absent while it
// is unset.
type Image struct {
	Next Key `json:"next"`
	// Nodes are by key, Policies by id.
	Nodes    []NodeImage   `json:"nodes,omitempty"`
	Policies []PolicyImage `json:"policies,omitempty"`
}

// NodeImage is one file or directory.
type NodeImage struct {
	Key       Key             `json:"node"`
	ID        string          `json:"id"`
	Dir       bool            `json:"dir,omitempty"`
	Name      string          `json:"name,omitempty"`
	Parent    Key             `json:"parent,omitempty"`
	Owner     string          `json:"owner,omitempty"`
	Created   time.Time       `json:"created"`
	Deleted   bool            `json:"deleted,omitempty"`
	Expire    int64           `json:"expire,omitempty"`
	Rules     json.RawMessage `json:"access_rules,omitempty"`
	External  json.RawMessage `json:"external_access,omitempty"`
	Revisions []RevisionImage `json:"revisions,omitempty"`
}

// RevisionImage is one revision; those of a file are in the order of
// publication.
type RevisionImage struct {
	ID          RevisionID `json:"revision"`
	Digest      string     `json:"digest"`
	Size        int64      `json:"size"`
	Placeholder bool       `json:"placeholder,omitempty"`
	Created     time.Time  `json:"created"`
	Deleted     bool       `json:"deleted,omitempty"`
	Expire      int64      `json:"expire,omitempty"`
}

// PolicyImage is one policy.
type PolicyImage struct {
	ID      string          `json:"policy"`
	Content json.RawMessage `json:"content"`
	Rules   json.RawMessage `json:"access_rules,omitempty"`
}

// Image gives the tree as it stands. It shares memory with the tree: it is to
// be encoded before the next Apply, and not changed.
func (t *Tree) Image() *Image {
	out := &Image{Next: t.next, Nodes: make([]NodeImage, 0, len(t.nodes))}
	for _, key := range slices.Sorted(maps.Keys(t.nodes)) {
		out.Nodes = append(out.Nodes, t.nodes[key].image())
	}
	for _, id := range slices.Sorted(maps.Keys(t.policies)) {
		p := t.policies[id]
		out.Policies = append(out.Policies, PolicyImage{ID: id, Content: p.content, Rules: unlessOpen(p.access.Rules())})
	}
	return out
}

func (n *node) image() NodeImage {
	m := NodeImage{
		Key: n.key, ID: n.id, Dir: n.dir, Name: n.name, Parent: n.parent.key, Owner: n.owner, Created: n.created.UTC(),
		Deleted: n.state.Deleted, Expire: n.state.Expire,
		Rules: unlessOpen(n.access.Rules()), External: unlessOpen(n.access.External()),
	}
	for _, r := range n.revisions {
		m.Revisions = append(m.Revisions, RevisionImage{
			ID: r.id, Digest: r.digest, Size: r.size, Placeholder: r.placeholder, Created: r.created.UTC(),
			Deleted: r.state.Deleted, Expire: r.state.Expire,
		})
	}
	return m
}

// unlessOpen leaves out rules that are {}.
func unlessOpen(rules json.RawMessage) json.RawMessage {
	if string(rules) == "{}" {
		return nil
	}
	return rules
}

// errImage is why an image is none of a tree.
var errImage = errors.New("not the image of a tree")

// RestoreTree gives the tree that an image was made of; the image is its
// afterwards. An image that no tree has is an error.
func RestoreTree(image *Image) (*Tree, error) {
	t := New()
	t.next = image.Next
	for _, p := range image.Policies {
		if _, twice := t.policies[p.ID]; twice || !json.Valid(p.Content) {
			return nil, fmt.Errorf("%w: policy %q", errImage, p.ID)
		}
		t.policies[p.ID] = newPolicy(p.Content, p.Rules)
	}
	if p, ok := t.policies[policyRoot]; ok {
		t.readRoot(p)
	}
	// One block for all, and maps that do not grow: half of the time.
	nodes := make([]node, len(image.Nodes))
	t.nodes, t.ids = make(map[Key]*node, len(nodes)), make(map[string]*node, len(nodes))
	t.revisions, t.references = make(map[RevisionID]*revision, len(nodes)), make(map[string]int, len(nodes))
	for i := range image.Nodes {
		if err := t.restoreNode(&nodes[i], &image.Nodes[i]); err != nil {
			return nil, err
		}
	}
	// Only now: a node may have been moved into a younger one.
	for i := range image.Nodes {
		parent, ok := t.node(image.Nodes[i].Parent)
		if !ok || !parent.dir {
			return nil, fmt.Errorf("%w: node %d lies in no directory", errImage, nodes[i].key)
		}
		nodes[i].attach(parent)
	}
	if t.below() != len(nodes) {
		return nil, fmt.Errorf("%w: directories lie one in another", errImage)
	}
	return t, nil
}

func (t *Tree) restoreNode(n *node, m *NodeImage) error {
	_, twice := t.nodes[m.Key]
	_, taken := t.named(m.ID)
	switch {
	case m.Key == 0, m.Key >= t.next, twice, taken, m.Dir && len(m.Revisions) > 0, !m.Deleted && m.Expire != 0:
		return fmt.Errorf("%w: node %d", errImage, m.Key)
	}
	*n = node{
		key: m.Key, id: m.ID, name: m.Name, dir: m.Dir, owner: m.Owner, created: m.Created.UTC(),
		state: State{Deleted: m.Deleted, Expire: m.Expire}, access: t.open,
	}
	if m.Rules != nil || m.External != nil {
		n.access = acl.NewAccess(m.Rules, m.External)
	}
	t.nodes[n.key], t.ids[n.id] = n, n
	if m.Deleted {
		t.bin[n.key] = n
	}
	for i := range m.Revisions {
		m := &m.Revisions[i]
		if _, twice := t.revisions[m.ID]; twice || !m.Deleted && m.Expire != 0 {
			return fmt.Errorf("%w: revision %s", errImage, m.ID)
		}
		r := &revision{
			id: m.ID, node: n, digest: m.Digest, size: m.Size, placeholder: m.Placeholder, created: m.Created.UTC(),
			state: State{Deleted: m.Deleted, Expire: m.Expire},
		}
		n.revisions = append(n.revisions, r)
		t.revisions[r.id] = r
		t.references[r.digest]++
		if m.Deleted {
			t.revisionBin[r.id] = r
		}
	}
	return nil
}

// below counts the nodes that the root leads to.
func (t *Tree) below() (n int) {
	for todo := []*node{t.root}; len(todo) > 0; {
		d := todo[len(todo)-1]
		todo = append(todo[:len(todo)-1], d.children...)
		n += len(d.children)
	}
	return n
}
