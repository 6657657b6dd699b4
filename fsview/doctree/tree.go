// Package doctree holds the documents of the library: directories, files, their
// revisions and states, the recycle bin, and the policies. All of it is a fold
// of the journal.
//
// It does no I/O and reads neither clock nor randomness: methods that decide
// take the time and fresh random ids, return the facts to record or the reason
// against them (an acl.Code, or an *acl.Refusal), and change nothing; Apply, and
// nothing else, changes a Tree, with the same code in life, replay and time
// travel. Contents, tasks and transfers are not here: a revision names its
// content by digest, and an Outcome says which tasks are wanted and which end.
package doctree

import (
	"time"

	"waybill/fsview/acl"
	"waybill/journal"
)

// Key is a node's number for life: ids change, tasks and links do not notice.
// Keys are given in order and never again. 0 is the root, which has no node.
type Key uint64

// RevisionID names a revision: 32 lower-case hex digits.
type RevisionID string

// What a node is, in facts and on the wire.
const (
	typeFile = "file"
	typeDir  = "dir"
)

// EmptyDigest is the digest of an empty content, and so of a placeholder.
const EmptyDigest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// NodeInfo is what is known of a node, apart from its rules and contents. The
// zero value is the root, which has no node.
type NodeInfo struct {
	Key Key
	// ID is what requests call it now, Name what people do.
	ID, Name string
	Dir      bool
	State    State
}

// State is whether a node or revision lies in the recycle bin (CFMS.md §4.1).
type State struct {
	// Deleted tells whether it does.
	Deleted bool
	// Expire is when it goes for good, unix seconds; 0 if it does not.
	Expire int64
}

// Code is the state's name on the wire: "ok" or "deleted".
func (s State) Code() string {
	if s.Deleted {
		return "deleted"
	}
	return "ok"
}

// Revision is one content of a file, ready to be read.
type Revision struct {
	ID   RevisionID
	Node Key
	// NodeID and Name are those of the file now.
	NodeID, Name string
	// Digest is the content's SHA-256, 64 lower-case hex digits.
	Digest string
	// Size in bytes.
	Size int64
	// Placeholder marks the empty revision of a file that nobody has written
	// yet (§4.6): its content is EmptyDigest, which need not be stored.
	Placeholder bool
	Created     time.Time
	State       State
}

// Target is a file that is to be written.
type Target struct {
	Key Key
	ID  string
}

// Outcome is what was decided: the facts, all of one commit, and what else is
// to be done or answered.
type Outcome struct {
	Facts []journal.Fact
	// Read: a read task on this revision is wanted.
	Read *Revision
	// Write: a write task on this file is wanted. Whether another one is in the
	// way (§4.5) is not known here.
	Write *Target
	// Node is what the request was about, as it was before the facts; for a
	// creation, what was made.
	Node NodeInfo
	// CancelWrites are files whose open write tasks end in the same commit.
	CancelWrites []Key
	// CancelAll are files that go for good: all their tasks end.
	CancelAll []Key
	// Batch is set by the directory actions that take whole subtrees.
	Batch *Batch
	// Unchanged: a directory already has the id that was asked for.
	Unchanged bool
	// Listing is set by list.
	Listing *Listing
}

// Tree is the library as it stands. It is owned by one goroutine.
type Tree struct {
	// next is the key of the next node.
	next  Key
	root  *node
	nodes map[Key]*node
	// ids finds files and directories, which share one name space, deleted ones
	// too.
	ids       map[string]*node
	revisions map[RevisionID]*revision
	// references counts the revisions that name a content.
	references map[string]int
	// bin and revisionBin are what lies in the recycle bin.
	bin         map[Key]*node
	revisionBin map[RevisionID]*revision

	policies map[string]*policy
	// shipped is what a new daemon has, for what a policy does not say.
	shipped map[string]*policy
	// inherit tells whether the root's rules count for what is below it.
	inherit bool
	// open is shared by the nodes without rules, nearly all of them.
	open *acl.Access
}

// New returns an empty tree without policies: until those of Genesis are
// applied, what is asked of them is as they have it.
func New() *Tree {
	t := &Tree{
		next: 1, root: &node{dir: true},
		nodes: make(map[Key]*node), ids: make(map[string]*node),
		revisions: make(map[RevisionID]*revision), references: make(map[string]int),
		bin: make(map[Key]*node), revisionBin: make(map[RevisionID]*revision),
		policies: make(map[string]*policy), shipped: make(map[string]*policy),
		open: acl.NewAccess(nil, nil),
	}
	for _, s := range shipped() {
		t.shipped[s.Policy] = newPolicy(s.Content, s.Rules)
	}
	t.readRoot(t.shipped[policyRoot])
	return t
}

// Nodes returns the number of files and directories, deleted ones included.
func (t *Tree) Nodes() int { return len(t.nodes) }

// Lookup tells of a node. It is false for one that is gone for good or never
// was, and for the root, which has no node.
func (t *Tree) Lookup(key Key) (NodeInfo, bool) {
	n, ok := t.nodes[key]
	if !ok {
		return NodeInfo{}, false
	}
	return n.info(), true
}

// References returns how many revisions name a content, deleted ones and
// placeholders included: while any does, its bytes stay.
func (t *Tree) References(digest string) int { return t.references[digest] }

// Digests returns the contents that the revisions of a file name, in the order
// of publication, deleted ones and a placeholder's included: what may be left
// without a name when they go.
func (t *Tree) Digests(key Key) []string {
	n, ok := t.nodes[key]
	if !ok {
		return nil
	}
	var digests []string
	for _, r := range n.revisions {
		digests = append(digests, r.digest)
	}
	return digests
}

// node finds a file or directory, or the root.
func (t *Tree) node(key Key) (*node, bool) {
	if key == 0 {
		return t.root, true
	}
	n, ok := t.nodes[key]
	return n, ok
}

// named finds a file or directory by id, or the root by "".
func (t *Tree) named(id string) (*node, bool) {
	if id == "" {
		return t.root, true
	}
	n, ok := t.ids[id]
	return n, ok
}
