package doctree

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"

	"github.com/stretchr/testify/require"

	"waybill/fsview/acl"
	"waybill/journal"
)

// model is the library as CFMS.md tells it, kept without keys, indices, facts
// or sharing anything with Tree but the rules, which slowCheck reads.
type model struct {
	b     *book
	nodes map[string]*modelNode
	// mixed counts the batches of which a part failed.
	mixed int
}

type modelNode struct {
	parent, name string
	dir, deleted bool
	expire       int64
	revisions    []modelRevision
}

type modelRevision struct {
	id          RevisionID
	digest      string
	placeholder bool
	deleted     bool
	expire      int64
}

func (m *model) may(s *acl.Subject, a acl.Action, id string) bool {
	n, ok := m.b.named(id)
	require.True(m.b.t, ok)
	return slowCheck(m.b.Tree, s, a, n, true, false, m.b.now())
}

// children are in list order.
func (m *model) children(id string) (ids []string) {
	for c, n := range m.nodes {
		if n.parent == id {
			ids = append(ids, c)
		}
	}
	sort.Slice(ids, func(i, k int) bool {
		a, b := m.nodes[ids[i]], m.nodes[ids[k]]
		if a.dir != b.dir {
			return a.dir
		}
		if a.name != b.name {
			return a.name < b.name
		}
		return ids[i] < ids[k]
	})
	return ids
}

func (m *model) below(id, dir string) bool {
	for ; id != ""; id = m.nodes[id].parent {
		if id == dir {
			return true
		}
	}
	return false
}

func (m *model) reachable(id string) bool {
	for ; id != ""; id = m.nodes[id].parent {
		if m.nodes[id] == nil || m.nodes[id].deleted {
			return false
		}
	}
	return true
}

// target is what a new parent is refused with.
func (m *model) target(id string, unknown acl.Code) acl.Code {
	if id == "" {
		return ""
	}
	if !m.reachable(id) {
		return unknown
	}
	if !m.nodes[id].dir {
		return acl.CodeNotDir
	}
	return ""
}

func (n *modelNode) newest() *modelRevision {
	for i := len(n.revisions) - 1; i >= 0; i-- {
		if !n.revisions[i].deleted {
			return &n.revisions[i]
		}
	}
	return nil
}

var needs = map[string][]string{
	"recover": {"recover", "view_deleted"}, "recover_rev": {"view_deleted"},
	"permanently_delete": {"permanently_delete"}, "change_id": {"change_id"},
}

// rights tells whether the global ones of an action and of the flag are there.
func rights(s *acl.Subject, action string, flag bool) bool {
	need := needs[action]
	if flag {
		need = append(slices.Clone(need), "view_deleted")
	}
	return !slices.ContainsFunc(need, func(r string) bool { return !s.May(r) })
}

func visible(s *acl.Subject, n *modelNode, action string, flag bool) bool {
	return !n.deleted || flag || action == "recover" || action == "recover_rev" ||
		action == "permanently_delete" && s.May("view_deleted")
}

// file does operateFile.
func (m *model) file(s *acl.Subject, op FileOp) acl.Code {
	id, action := *op.FileID, *op.Action
	if !rights(s, action, op.ViewDeleted) {
		return acl.CodeDenied
	}
	n := m.nodes[id]
	if n == nil {
		return acl.CodeNoFile
	}
	if !visible(s, n, action, op.ViewDeleted) {
		return acl.CodeNotFound
	}
	if n.dir {
		return acl.CodeNotFile
	}
	if !m.may(s, acl.Action(action), id) {
		return acl.CodeDenied
	}
	var rev *modelRevision
	if action == "read" || action == "delete_rev" || action == "recover_rev" {
		if op.RevisionID == nil {
			if rev = n.newest(); rev == nil {
				return acl.CodeNotFound
			}
		} else {
			i := slices.IndexFunc(n.revisions, func(r modelRevision) bool { return r.id == RevisionID(*op.RevisionID) })
			if i < 0 || n.revisions[i].deleted && !op.ViewDeleted && action != "recover_rev" {
				return acl.CodeNoRevision
			}
			rev = &n.revisions[i]
		}
	}
	switch action {
	case "write":
		if n.deleted {
			return acl.CodeRestoreFirst
		}
	case "rename":
		if n.deleted {
			return acl.CodeRestoreFirst
		}
		n.name = *op.NewFilename
	case "delete":
		if n.deleted {
			return acl.CodeFileMarked
		}
		n.deleted, n.expire = true, m.b.at.Unix()+week
	case "recover":
		if !n.deleted {
			return acl.CodeFileLive
		}
		n.deleted, n.expire = false, 0
	case "permanently_delete":
		delete(m.nodes, id)
	case "move":
		return m.move(s, n, *op.NewParent)
	case "change_id":
		if m.nodes[*op.NewID] != nil {
			return acl.CodeIDExists
		}
		m.rename(id, *op.NewID)
	case "delete_rev":
		if rev.deleted {
			return acl.CodeRevDeleted
		}
		rev.deleted, rev.expire = true, m.b.at.Unix()+week
	case "recover_rev":
		if op.RevisionID == nil {
			return acl.CodeMissing
		}
		if !rev.deleted {
			return acl.CodeRevLive
		}
		rev.deleted, rev.expire = false, 0
	}
	return ""
}

func (m *model) move(s *acl.Subject, n *modelNode, to string) acl.Code {
	if code := m.target(to, acl.CodeNotFound); code != "" {
		return code
	}
	if !m.may(s, acl.ActionWrite, to) || !m.may(s, acl.ActionDelete, n.parent) {
		return acl.CodeDenied
	}
	if n.deleted {
		return acl.CodeRestoreFirst
	}
	n.parent = to
	return ""
}

func (m *model) rename(from, to string) {
	m.nodes[to] = m.nodes[from]
	delete(m.nodes, from)
	for _, n := range m.nodes {
		if n.parent == from {
			n.parent = to
		}
	}
}

// dir does operateDir; the batch is nil but for the actions that have one.
func (m *model) dir(s *acl.Subject, op DirOp) (*Batch, acl.Code) {
	id, action := *op.DirID, *op.Action
	if !rights(s, action, op.ViewDeleted) {
		return nil, acl.CodeDenied
	}
	n := m.nodes[id]
	if n == nil || !n.dir {
		return nil, acl.CodeNoDir
	}
	if !visible(s, n, action, op.ViewDeleted) {
		return nil, acl.CodeNotFound
	}
	if !m.may(s, acl.Action(action), id) {
		return nil, acl.CodePathDenied
	}
	batch := &Batch{Succeeded: []string{}, Failed: []string{}}
	switch action {
	case "rename":
		if n.deleted {
			return nil, acl.CodeRestoreFirst
		}
		n.name = *op.NewDirname
	case "delete":
		if n.deleted {
			return nil, acl.CodeDirMarked
		}
		m.each(batch, id, func(id string) (listed, ok bool) {
			blocked := slices.ContainsFunc(batch.Failed, func(f string) bool { return m.below(f, id) })
			return !m.nodes[id].deleted, !blocked && m.may(s, acl.ActionDelete, id)
		})
		for _, id := range batch.Succeeded {
			m.nodes[id].deleted, m.nodes[id].expire = true, m.b.at.Unix()+week
		}
		return batch, ""
	case "recover":
		if !n.deleted {
			return nil, acl.CodeDirLive
		}
		m.each(batch, id, func(of string) (listed, ok bool) {
			up := m.nodes[of].parent
			for at := of; at != id; at, up = up, m.nodes[up].parent {
				if m.nodes[up].deleted && !m.may(s, acl.ActionRecover, up) {
					return false, false
				}
			}
			return m.nodes[of].deleted, m.may(s, acl.ActionRecover, of)
		})
		for _, id := range batch.Succeeded {
			m.nodes[id].deleted, m.nodes[id].expire = false, 0
		}
		return batch, ""
	case "permanently_delete":
		m.each(batch, id, func(id string) (listed, ok bool) {
			blocked := slices.ContainsFunc(batch.Failed, func(f string) bool { return m.below(f, id) })
			return true, !blocked && m.may(s, acl.ActionPermanentlyDelete, id)
		})
		for _, id := range batch.Succeeded {
			delete(m.nodes, id)
		}
		return batch, ""
	case "move":
		if *op.NewParent != "" && m.nodes[*op.NewParent] != nil && m.below(*op.NewParent, id) {
			return nil, acl.CodeOwnParent
		}
		return nil, m.move(s, n, *op.NewParent)
	case "change_id":
		if *op.NewID == id {
			return nil, ""
		}
		if m.nodes[*op.NewID] != nil {
			return nil, acl.CodeIDExists
		}
		m.rename(id, *op.NewID)
	}
	return nil, ""
}

// each sorts what is below id, and then id, into a batch, in post-order.
func (m *model) each(batch *Batch, id string, decide func(id string) (listed, ok bool)) {
	for _, c := range m.children(id) {
		m.each(batch, c, decide)
	}
	switch listed, ok := decide(id); {
	case listed && ok:
		batch.Succeeded = append(batch.Succeeded, id)
	case listed:
		batch.Failed = append(batch.Failed, id)
	}
}

func (m *model) create(s *acl.Subject, id, parent, name string, dir bool, taken acl.Code) acl.Code {
	if dir && !s.May("create_dir") {
		return acl.CodeDenied
	}
	if m.nodes[id] != nil {
		return taken
	}
	if code := m.target(parent, acl.CodeNoTarget); code != "" {
		return code
	}
	if !m.may(s, acl.ActionWrite, parent) {
		return acl.CodeDenied
	}
	m.nodes[id] = &modelNode{parent: parent, name: name, dir: dir}
	return ""
}

func (m *model) publish(s *acl.Subject, id string, r modelRevision) acl.Code {
	n := m.nodes[id]
	if n == nil || n.dir || n.deleted {
		return acl.CodeTaskGone
	}
	if !m.may(s, acl.ActionWrite, id) {
		return acl.CodeTaskDenied
	}
	n.revisions = append(slices.DeleteFunc(n.revisions, func(r modelRevision) bool { return r.placeholder }), r)
	return ""
}

// purge takes all that is due, one node at a time until none goes.
func (m *model) purge() {
	now := m.b.now()
	due := func(id string) bool {
		for ; id != ""; id = m.nodes[id].parent {
			if m.nodes[id].deleted && float64(m.nodes[id].expire) < now {
				return true
			}
		}
		return false
	}
	for again := true; again; {
		again = false
		for id, n := range m.nodes {
			if n.deleted && due(id) && len(m.children(id)) == 0 {
				delete(m.nodes, id)
				again = true
			}
		}
	}
	for _, n := range m.nodes {
		for i := 0; i < len(n.revisions) && len(n.revisions) > 1; {
			if r := n.revisions[i]; r.deleted && float64(r.expire) < now {
				n.revisions = slices.Delete(n.revisions, i, i+1)
			} else {
				i++
			}
		}
	}
}

// agree requires that the tree is what the model is.
func (m *model) agree() {
	t := m.b.t
	require.Equal(t, len(m.nodes), m.b.Nodes())
	references := map[string]int{}
	for id, want := range m.nodes {
		n := m.b.ids[id]
		require.NotNil(t, n, id)
		got := modelNode{parent: n.parent.id, name: n.name, dir: n.dir, deleted: n.state.Deleted, expire: n.state.Expire}
		for _, r := range n.revisions {
			got.revisions = append(got.revisions, modelRevision{r.id, r.digest, r.placeholder, r.state.Deleted, r.state.Expire})
			references[r.digest]++
		}
		if len(want.revisions) == 0 {
			want.revisions = nil
		}
		require.Equal(t, *want, got, id)
	}
	for digest, n := range references {
		require.Equal(t, n, m.b.References(digest))
	}
}

// Random decisions of several people, each as the model has it: the same code,
// the same lists, the same tree. Deciding changes nothing; the tree is sound
// after every one, and a fresh fold of all facts is the tree.
func TestModel(t *testing.T) {
	seeds, steps := 15, 200
	if testing.Short() {
		seeds = 5
	}
	codes, mixed := make(map[acl.Code]int), 0
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(uint64(seed), 7))
			b := newBook(t)
			m := &model{b: b, nodes: make(map[string]*modelNode)}
			for i := range 40 {
				m.seed(r, i)
			}
			for range steps {
				codes[m.step(r)]++
				require.Empty(t, flaw(b.Tree))
				m.agree()
			}
			mixed += m.mixed
		})
	}
	require.Greater(t, codes[""], seeds*steps/3, "%v", codes)
	require.Greater(t, len(codes), 15, "%v", codes)
	require.Greater(t, mixed, seeds/3)
}

var settings = []string{
	`{}`, `{}`, `{"write":[]}`, `{"__noinherit__":["all"]}`, `{"__noinherit__":["write"],"write":[]}`,
	`{"__subinherit__":false}`, `{"write":` + gg + `}`, `{"read":` + nobody + `}`, `{"delete":` + nobody + `}`,
	`{"recover":` + gg + `}`, `{"permanently_delete":` + nobody + `}`,
	`{"__noinherit__":["deny_read"],"deny":{"write":{"users":{"ann":{}}}}}`, `{"deny":{"delete":{"groups":{"g":{}}},"read":{}}}`,
}

// seed makes what a library begins with.
func (m *model) seed(r *rand.Rand, i int) {
	id, parent, rev := fmt.Sprint("n", i), "", m.b.revisionID()
	if i > 0 {
		parent = fmt.Sprint("n", r.IntN(i)/4*4)
	}
	m.decided(func() ([]journal.Fact, error) {
		if i%4 == 0 {
			out, err := m.b.CreateDir(boss, NewDir{DirID: &id, ParentID: &parent, Name: &id}, "", m.b.now())
			return out.Facts, err
		}
		out, err := m.b.CreateFile(boss, NewFile{FileID: &id, DirectoryID: &parent, Filename: &id}, "", "", rev, m.b.now())
		return out.Facts, err
	}, func() acl.Code {
		code := m.create(boss, id, parent, id, i%4 == 0, "")
		if i%4 != 0 {
			m.nodes[id].revisions = []modelRevision{{id: rev, digest: EmptyDigest, placeholder: true}}
		}
		return code
	})
}

// pick is mostly a node that is there, a directory if that is wanted.
func (m *model) pick(r *rand.Rand, fresh func() string, dir bool) string {
	var ids []string
	for id, n := range m.nodes {
		if n.dir || !dir {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 || r.IntN(10) == 0 {
		return fresh()
	}
	slices.Sort(ids) // a map has no order
	return ids[r.IntN(len(ids))]
}

// step is one random decision, by the tree and by the model.
func (m *model) step(r *rand.Rand) acl.Code {
	b := m.b
	s := []*acl.Subject{boss, boss, ann, ann, ann, ann, eve, sam, subject("al", allRights, "g sysop"), subject("vi", "view_deleted recover", "sysop")}[r.IntN(10)]
	fresh := func() string { return fmt.Sprint("n", r.IntN(60)) }
	id := func() string { return m.pick(r, fresh, false) }
	dir := func() string {
		if r.IntN(5) == 0 {
			return ""
		}
		return m.pick(r, fresh, true)
	}
	name := fmt.Sprint("name", r.IntN(5))
	b.later(r.IntN(week / 40))
	switch r.IntN(12) {
	case 0, 1:
		n := NewFile{FileID: ptr(fresh()), DirectoryID: ptr(dir()), Filename: &name}
		rev := b.revisionID()
		code := m.decided(func() ([]journal.Fact, error) {
			out, err := b.CreateFile(s, n, "", "", rev, b.now())
			return out.Facts, err
		}, func() acl.Code {
			code := m.create(s, *n.FileID, *n.DirectoryID, name, false, acl.CodeFileExists)
			if code == "" {
				m.nodes[*n.FileID].revisions = []modelRevision{{id: rev, digest: EmptyDigest, placeholder: true}}
			}
			return code
		})
		return code
	case 2, 3:
		n := NewDir{DirID: ptr(fresh()), ParentID: ptr(dir()), Name: &name}
		return m.decided(func() ([]journal.Fact, error) {
			out, err := b.CreateDir(s, n, "", b.now())
			return out.Facts, err
		}, func() acl.Code { return m.create(s, *n.DirID, *n.ParentID, name, true, acl.CodeDirExists) })
	case 4, 5, 6:
		return m.fileStep(r, s, id, dir, fresh, name)
	case 7, 8:
		return m.dirStep(r, s, dir, fresh, name)
	case 9:
		set := SetAccess{ID: ptr(id()), AccessRules: json.RawMessage(settings[r.IntN(len(settings))])}
		if r.IntN(8) == 0 {
			set.ID = ptr("")
			set.AccessRules = json.RawMessage(`{"read":[],"write":` + sy + `}`)
			set.Inherit = ptr(r.IntN(3) > 0)
		}
		return m.decided(func() ([]journal.Fact, error) { return b.SetAccess(s, set, b.now()) }, func() acl.Code {
			switch {
			case !s.May("manage_access"):
				return acl.CodeDenied
			case *set.ID != "" && m.nodes[*set.ID] == nil:
				return acl.CodeNotFound
			}
			return ""
		})
	case 10:
		of, rev := id(), modelRevision{id: b.revisionID(), digest: digest(r.IntN(4))}
		key := Key(999)
		if n, ok := b.ids[of]; ok {
			key = n.key
		}
		return m.decided(func() ([]journal.Fact, error) { return b.Publish(s, key, rev.id, rev.digest, 1, b.now()) },
			func() acl.Code { return m.publish(s, of, rev) })
	}
	if r.IntN(4) == 0 {
		b.purge()
		m.purge()
	}
	return ""
}

func (m *model) fileStep(r *rand.Rand, s *acl.Subject, id, dir, fresh func() string, name string) acl.Code {
	actions := []string{"read", "write", "rename", "delete", "delete", "recover", "permanently_delete", "move", "change_id", "delete_rev", "recover_rev"}
	op := FileOp{
		FileID: ptr(id()), Action: ptr(actions[r.IntN(len(actions))]), ViewDeleted: r.IntN(3) == 0,
		NewFilename: &name, NewParent: ptr(dir()), NewID: ptr(fresh()),
	}
	if n := m.nodes[*op.FileID]; n != nil && len(n.revisions) > 0 && r.IntN(3) > 0 {
		op.RevisionID = ptr(string(n.revisions[r.IntN(len(n.revisions))].id))
	}
	return m.decided(func() ([]journal.Fact, error) {
		out, err := m.b.OperateFile(s, op, m.b.now())
		return out.Facts, err
	}, func() acl.Code { return m.file(s, op) })
}

func (m *model) dirStep(r *rand.Rand, s *acl.Subject, dir, fresh func() string, name string) acl.Code {
	actions := []string{"list", "rename", "delete", "delete", "recover", "recover", "permanently_delete", "move", "move", "change_id"}
	op := DirOp{
		DirID: ptr(m.pick(r, fresh, true)), Action: ptr(actions[r.IntN(len(actions))]), ViewDeleted: r.IntN(3) == 0,
		NewDirname: &name, NewParent: ptr(dir()), NewID: ptr(fresh()),
	}
	var out Outcome
	var batch *Batch
	code := m.decided(func() (_ []journal.Fact, err error) {
		out, err = m.b.OperateDir(s, op, true, m.b.now())
		if out.Listing != nil {
			require.Equal(m.b.t, m.list(s, *op.DirID, op.ViewDeleted), listIDs(out.Listing))
		}
		return out.Facts, err
	}, func() (code acl.Code) {
		batch, code = m.dir(s, op)
		return code
	})
	require.Equal(m.b.t, batch, out.Batch)
	if batch != nil && len(batch.Succeeded) > 0 && len(batch.Failed) > 0 {
		m.mixed++
	}
	return code
}

func (m *model) list(s *acl.Subject, id string, deleted bool) []string {
	ids := []string{}
	for _, c := range m.children(id) {
		if (deleted || !m.nodes[c].deleted) && m.may(s, acl.ActionRead, c) {
			ids = append(ids, c)
		}
	}
	return ids
}

// decided compares what the tree decides with what the model does, and applies
// the facts.
func (m *model) decided(decide func() ([]journal.Fact, error), do func() acl.Code) (code acl.Code) {
	var facts []journal.Fact
	var err error
	m.b.unchanged(func() { facts, err = decide() })
	want := do() // before the facts: the model asks the tree for rules
	wants(m.b.t, want, err)
	if err == nil {
		m.b.apply(facts, nil)
	}
	return want
}
