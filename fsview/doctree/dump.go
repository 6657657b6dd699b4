package doctree

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"time"
)

type nodeDump struct {
	Node      Key             `json:"node"`
	ID        string          `json:"id"`
	Type      string          `json:"type"`
	Name      string          `json:"name"`
	Parent    Key             `json:"parent"`
	Owner     string          `json:"owner"`
	Created   string          `json:"created"`
	State     string          `json:"state"`
	Expire    int64           `json:"expire,omitempty"`
	Rules     json.RawMessage `json:"access_rules"`
	External  json.RawMessage `json:"external_access"`
	Revisions []revisionDump  `json:"revisions,omitempty"`
}

type revisionDump struct {
	Revision    RevisionID `json:"revision"`
	Digest      string     `json:"digest"`
	Size        int64      `json:"size"`
	Placeholder bool       `json:"placeholder,omitempty"`
	Created     string     `json:"created"`
	State       string     `json:"state"`
	Expire      int64      `json:"expire,omitempty"`
}

type policyDump struct {
	Policy  string          `json:"policy"`
	Content json.RawMessage `json:"content"`
	Rules   json.RawMessage `json:"access_rules"`
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// MarshalJSON renders the tree in one canonical form: the key of the next node,
// nodes by key, each with its revisions in the order of publication, and
// policies by id.
func (t *Tree) MarshalJSON() ([]byte, error) {
	out := struct {
		Next     Key          `json:"next"`
		Nodes    []nodeDump   `json:"nodes"`
		Policies []policyDump `json:"policies"`
	}{Next: t.next, Nodes: make([]nodeDump, 0, len(t.nodes)), Policies: make([]policyDump, 0, len(t.policies))}
	for _, n := range t.nodes {
		out.Nodes = append(out.Nodes, n.dump())
	}
	slices.SortFunc(out.Nodes, func(a, b nodeDump) int { return cmp.Compare(a.Node, b.Node) })
	for _, id := range slices.Sorted(maps.Keys(t.policies)) {
		p := t.policies[id]
		out.Policies = append(out.Policies, policyDump{Policy: id, Content: p.content, Rules: p.access.Rules()})
	}
	return json.Marshal(out)
}

func (n *node) dump() nodeDump {
	d := nodeDump{
		Node: n.key, ID: n.id, Type: typeFile, Name: n.name, Parent: n.parent.key, Owner: n.owner,
		Created: stamp(n.created), State: n.state.Code(), Expire: n.state.Expire,
		Rules: n.access.Rules(), External: n.access.External(),
	}
	if n.dir {
		d.Type = typeDir
	}
	for _, r := range n.revisions {
		d.Revisions = append(d.Revisions, revisionDump{
			Revision: r.id, Digest: r.digest, Size: r.size, Placeholder: r.placeholder,
			Created: stamp(r.created), State: r.state.Code(), Expire: r.state.Expire,
		})
	}
	return d
}
