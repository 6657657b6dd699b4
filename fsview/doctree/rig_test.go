package doctree

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/fsview/acl"
	"waybill/journal"
)

// book folds facts as the core does: rendered, read back, applied. Its cleanup
// checks the tree and that a fresh fold of all it was given is the same.
type book struct {
	*Tree
	t     testing.TB
	at    time.Time
	lines [][]byte
	made  int
}

func newBook(t testing.TB) *book {
	b := &book{Tree: New(), t: t, at: time.Date(2026, 1, 2, 3, 4, 5, 600_000, time.UTC)}
	b.apply(Genesis(), nil)
	t.Cleanup(b.check)
	return b
}

// now is the time of decisions, unix seconds.
func (b *book) now() float64 { return acl.Seconds(b.at) }

func (b *book) later(seconds int) { b.at = b.at.Add(time.Duration(seconds) * time.Second) }

func (b *book) entry(f journal.Fact) *journal.Entry {
	line := journal.AppendRecord(nil, &journal.Record{
		Seq: uint64(len(b.lines)), At: b.at, Kind: f.Kind, Actor: "main", Via: "test", Ref: "r", Body: f.Body,
	})
	var e journal.Entry
	require.NoError(b.t, journal.ParseEntry(line, &e), "%s", line)
	b.lines = append(b.lines, line)
	return &e
}

func (b *book) apply(facts []journal.Fact, err error) {
	b.t.Helper()
	require.NoError(b.t, err)
	for _, f := range facts {
		require.NoError(b.t, b.Apply(b.entry(f)), "%s %s", f.Kind, f.Body)
	}
}

// do applies the facts of an outcome.
func (b *book) do(o Outcome, err error) Outcome {
	b.t.Helper()
	b.apply(o.Facts, err)
	return o
}

// raw applies a body as it stands and returns what Apply says; what it refuses
// is not kept.
func (b *book) raw(kind, body string) error {
	err := b.Apply(b.entry(journal.Fact{Kind: kind, Body: []byte(body)}))
	if err != nil {
		b.lines = b.lines[:len(b.lines)-1]
	}
	return err
}

func (b *book) dump() string {
	b.t.Helper()
	out, err := b.MarshalJSON()
	require.NoError(b.t, err)
	return string(out)
}

// check tells whether the tree is sound, and what its journal makes of it.
func (b *book) check() {
	if b.t.Failed() {
		return
	}
	require.Empty(b.t, flaw(b.Tree))
	fresh := New()
	for _, line := range b.lines {
		var e journal.Entry
		require.NoError(b.t, journal.ParseEntry(line, &e))
		require.NoError(b.t, fresh.Apply(&e), "%s", line)
	}
	again, err := fresh.MarshalJSON()
	require.NoError(b.t, err)
	require.Equal(b.t, b.dump(), string(again), "a fresh fold is the live state")
}

func count(s State) int {
	if s.Deleted {
		return 1
	}
	return 0
}

// flaw tells what of that which holds in every tree does not in this one.
func flaw(tree *Tree) string {
	if len(tree.nodes) != len(tree.ids) {
		return "ids: one twice, or one left over"
	}
	children, revisions, bin, revBin := 0, 0, 0, 0
	references := make(map[string]int)
	for _, n := range tree.nodes {
		up, steps := n, 0
		for ; up.parent != nil && steps <= MaxDepth+1; up = up.parent {
			steps++
			if tree.nodes[up.key] != up {
				return n.id + ": what it is in does not exist"
			}
		}
		switch {
		case up != tree.root:
			return n.id + ": a cycle, or too deep"
		case n.dir && n.depth() > MaxDepth:
			return n.id + ": too deep"
		case tree.ids[n.id] != n || n.key >= tree.next:
			return n.id + ": an id or key of another"
		case !n.parent.dir || n.parent.children[n.at] != n:
			return n.id + ": not among its parent's children"
		case n.dir && len(n.revisions) > 0 || !n.dir && len(n.children) > 0:
			return n.id + ": what its type cannot have"
		case n.state.Deleted != (n.state.Expire != 0) || n.state.Deleted != (tree.bin[n.key] == n):
			return n.id + ": deleted or not"
		}
		children += len(n.children)
		bin += count(n.state)
		for i, r := range n.revisions {
			switch {
			case tree.revisions[r.id] != r || r.node != n:
				return n.id + ": a revision of another"
			case r.placeholder && i > 0:
				return n.id + ": a placeholder that is not the first"
			case r.state.Deleted != (r.state.Expire != 0) || r.state.Deleted != (tree.revisionBin[r.id] == r):
				return n.id + ": a revision deleted or not"
			}
			references[r.digest]++
			revisions++
			revBin += count(r.state)
		}
	}
	switch {
	case len(tree.nodes) != children+len(tree.root.children):
		return "a node is in no directory, or in two"
	case len(tree.revisions) != revisions:
		return "a revision of no node"
	case len(tree.bin) != bin || len(tree.revisionBin) != revBin:
		return "the bin has what is not deleted"
	case !maps.Equal(references, tree.references):
		return "references"
	}
	return ""
}

// unchanged runs a decision and requires that it changed nothing.
func (b *book) unchanged(decide func()) {
	b.t.Helper()
	before := b.dump()
	decide()
	require.Equal(b.t, before, b.dump(), "deciding changes nothing")
}

func (b *book) revisionID() RevisionID {
	b.made++
	return RevisionID(fmt.Sprintf("%032x", b.made))
}

func digest(n int) string { return fmt.Sprintf("%064x", n) }

// dir, file and rules build a tree; boss may do everything.
func (b *book) dir(id, parent string) {
	b.t.Helper()
	b.do(b.CreateDir(boss, NewDir{Name: ptr("dir " + id), DirID: &id, ParentID: &parent}, "unused", b.now()))
}

func (b *book) file(id, parent string) Key {
	b.t.Helper()
	o := b.do(b.CreateFile(boss, NewFile{DirectoryID: &parent, FileID: &id, Filename: ptr("file " + id)},
		"unused", "unused", b.revisionID(), b.now()))
	return o.Node.Key
}

// written is a file with a revision of size n and digest(n) for each n.
func (b *book) written(id, parent string, contents ...int) []RevisionID {
	b.t.Helper()
	key := b.file(id, parent)
	var revisions []RevisionID
	for _, n := range contents {
		r := b.revisionID()
		b.apply(b.Publish(boss, key, r, digest(n), int64(n), b.now()))
		revisions = append(revisions, r)
	}
	return revisions
}

func (b *book) rules(id, rules, external string) {
	b.t.Helper()
	b.apply(b.SetAccess(boss, SetAccess{
		ID: &id, AccessRules: json.RawMessage(rules), ExternalAccess: json.RawMessage(external),
	}, b.now()))
}

func (b *book) fileOp(s *acl.Subject, id, action string, more ...func(*FileOp)) (Outcome, error) {
	op := FileOp{FileID: &id, Action: &action}
	for _, m := range more {
		m(&op)
	}
	return b.OperateFile(s, op, b.now())
}

func (b *book) dirOp(s *acl.Subject, id, action string, more ...func(*DirOp)) (Outcome, error) {
	op := DirOp{DirID: &id, Action: &action}
	for _, m := range more {
		m(&op)
	}
	return b.OperateDir(s, op, true, b.now())
}

func (b *book) key(id string) Key {
	b.t.Helper()
	n, ok := b.named(id)
	require.True(b.t, ok, "%s", id)
	return n.key
}

func (b *book) state(id string) State {
	b.t.Helper()
	info, ok := b.Lookup(b.key(id))
	require.True(b.t, ok)
	return info.State
}

func ptr[T any](v T) *T { return &v }

func text(n int) *string { return ptr(strings.Repeat("ü", n)) }

// subject has rights and groups, words of text; everybody is in group user.
func subject(name, rights, groups string) *acl.Subject {
	s := &acl.Subject{Name: name, Rights: acl.Set{}, Groups: acl.Set{acl.GroupUser: {}}}
	for _, r := range strings.Fields(rights) {
		s.Rights[r] = struct{}{}
	}
	for _, g := range strings.Fields(groups) {
		s.Groups[g] = struct{}{}
	}
	return s
}

const allRights = "read view_deleted permanently_delete recover change_id create_dir manage_access manage_policy"

var (
	// boss passes every check.
	boss = subject("boss", allRights+" super_access", "sysop")
	// ann has every right, and is in sysop: the shipped rules let her write.
	ann = subject("ann", allRights, "sysop")
	// sam is in sysop, but has no right.
	sam = subject("sam", "read", "sysop")
	// eve has every right, but the shipped rules do not let her write.
	eve = subject("eve", allRights, "")
	// Those of CFMS.md §6.4.
	bob   = subject("bob", "read", "")
	alice = subject("alice", "read x", "g")
	admin = subject("admin", "super_access", "sysop")
	a2    = subject("a2", "", "sysop")
)

// wants requires an error of this code, none for "".
func wants(t testing.TB, want acl.Code, err error, msg ...any) {
	t.Helper()
	if want == "" {
		require.NoError(t, err, msg...)
		return
	}
	var code acl.Code
	require.ErrorAs(t, err, &code, msg...)
	assert.Equal(t, want, code, msg...)
}
