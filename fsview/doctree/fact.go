package doctree

import (
	"encoding/json"
	"fmt"

	"waybill/journal"
)

// The kinds of facts about documents and policies. Their bodies are pinned: a
// kind's meaning and bytes never change.
const (
	KindNodeCreated   = "node.created"
	KindNodeRenamed   = "node.renamed"
	KindNodeMoved     = "node.moved"
	KindNodeIDChanged = "node.id_changed"
	KindNodeRuled     = "node.ruled"
	KindNodeDeleted   = "node.deleted"
	KindNodeRecovered = "node.recovered"
	KindNodeRemoved   = "node.removed"

	KindRevisionCreated   = "revision.created"
	KindRevisionPublished = "revision.published"
	KindRevisionDeleted   = "revision.deleted"
	KindRevisionRecovered = "revision.recovered"
	KindRevisionRemoved   = "revision.removed"

	KindPolicySet = "policy.set"
)

// Facts name nodes by key, because ids change; an id beside it is for people
// and is not read.

type nodeCreated struct {
	Node   Key    `json:"node"`
	ID     string `json:"id"`
	Type   string `json:"type"`
	Name   string `json:"name"`
	Parent Key    `json:"parent"`
	Owner  string `json:"owner"`
}

type nodeRenamed struct {
	Node Key    `json:"node"`
	ID   string `json:"id"`
	Name string `json:"name"`
}

type nodeMoved struct {
	Node   Key    `json:"node"`
	ID     string `json:"id"`
	Parent Key    `json:"parent"`
}

type nodeIDChanged struct {
	Node Key    `json:"node"`
	From string `json:"from"`
	To   string `json:"to"`
}

// nodeRuled replaces what it has; the rest stays. Node 0 is the root, whose
// rules are kept in policy permission_on_rootdir, and the only one that has
// Inherit.
type nodeRuled struct {
	Node     Key             `json:"node"`
	ID       string          `json:"id"`
	Rules    json.RawMessage `json:"access_rules,omitempty"`
	External json.RawMessage `json:"external_access,omitempty"`
	Inherit  *bool           `json:"inherit_by_subdirectory,omitempty"`
}

// nodeDeleted, nodeRecovered and nodeRemoved list children before parents. ID
// is what the request named: one node, or a directory with what is below it.
type nodeDeleted struct {
	Nodes  []Key  `json:"nodes"`
	ID     string `json:"id"`
	Expire int64  `json:"expire"`
}

type nodeRecovered struct {
	Nodes []Key  `json:"nodes"`
	ID    string `json:"id"`
}

// nodeRemoved takes the revisions of its nodes along.
type nodeRemoved struct {
	Nodes []Key  `json:"nodes"`
	ID    string `json:"id"`
}

// revisionCreated is the empty placeholder of a new file.
type revisionCreated struct {
	Node     Key        `json:"node"`
	Revision RevisionID `json:"revision"`
}

type revisionPublished struct {
	Node     Key        `json:"node"`
	ID       string     `json:"id"`
	Revision RevisionID `json:"revision"`
	Digest   string     `json:"digest"`
	Size     int64      `json:"size"`
	// Replaces is the placeholder that goes.
	Replaces RevisionID `json:"replaces,omitempty"`
}

type revisionDeleted struct {
	Node     Key        `json:"node"`
	ID       string     `json:"id"`
	Revision RevisionID `json:"revision"`
	Expire   int64      `json:"expire"`
}

// revisionOnly is the body of revision.recovered and revision.removed.
type revisionOnly struct {
	Node     Key        `json:"node"`
	ID       string     `json:"id"`
	Revision RevisionID `json:"revision"`
}

// policySet replaces what it has; without Rules a policy keeps its own access
// rules, and a new one has none.
type policySet struct {
	Policy  string          `json:"policy"`
	Content json.RawMessage `json:"content"`
	Rules   json.RawMessage `json:"access_rules,omitempty"`
}

func fact(kind string, body any) journal.Fact { return journal.NewFact(kind, body) }

// chunks renders a fact for every MaxFactNodes keys.
func chunks(keys []Key, render func([]Key) journal.Fact) []journal.Fact {
	var facts []journal.Fact
	for len(keys) > 0 {
		n := min(len(keys), MaxFactNodes)
		facts = append(facts, render(keys[:n]))
		keys = keys[n:]
	}
	return facts
}

// factError tells which record cannot follow, and why.
func factError(e *journal.Entry, format string, args ...any) error {
	return fmt.Errorf("%s: "+format, append([]any{e.Kind}, args...)...)
}
