package doctree

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/journal"
)

// Facts that cannot follow are errors, and leave the tree as it was.
func TestFactsThatCannotFollow(t *testing.T) {
	// Nodes: 1 dir D, 2 file F in it, 3 file X (deleted), 4 dir E in D.
	// Revisions: of F, r1 (deleted), r2; of X, r3.
	prepare := func(t *testing.T) *book {
		b := newBook(t)
		b.dir("D", "")
		b.file("F", "D")
		b.file("X", "")
		b.dir("E", "D")
		for _, p := range []struct {
			key Key
			r   RevisionID
		}{{2, "r1"}, {2, "r2"}, {3, "r3"}} {
			b.apply(b.Publish(boss, p.key, p.r, digest(1), 1, b.now()))
		}
		b.do(b.fileOp(boss, "F", "delete_rev", rev("r1")))
		b.do(b.fileOp(boss, "X", "delete"))
		return b
	}
	for _, c := range []struct{ shows, kind, body string }{
		{"an unknown kind", "node.painted", `{}`},
		{"a kind of others", "upload.opened", `{}`},
		{"a body of another shape", KindNodeRenamed, `{"node":"1"}`},
		{"created: a key out of order", KindNodeCreated, `{"node":6,"id":"n","type":"dir","name":"n","parent":0}`},
		{"created: a key again", KindNodeCreated, `{"node":1,"id":"n","type":"dir","name":"n","parent":0}`},
		{"created: a taken id", KindNodeCreated, `{"node":5,"id":"X","type":"dir","name":"n","parent":0}`},
		{"created: the root's id", KindNodeCreated, `{"node":5,"id":"","type":"dir","name":"n","parent":0}`},
		{"created: in nothing", KindNodeCreated, `{"node":5,"id":"n","type":"dir","name":"n","parent":9}`},
		{"created: in a file", KindNodeCreated, `{"node":5,"id":"n","type":"dir","name":"n","parent":2}`},
		{"created: of no type", KindNodeCreated, `{"node":5,"id":"n","type":"link","name":"n","parent":0}`},
		{"renamed: unknown", KindNodeRenamed, `{"node":9,"name":"n"}`},
		{"renamed: the root", KindNodeRenamed, `{"node":0,"name":"n"}`},
		{"moved: unknown", KindNodeMoved, `{"node":9,"parent":0}`},
		{"moved: the root", KindNodeMoved, `{"node":0,"parent":1}`},
		{"moved: into nothing", KindNodeMoved, `{"node":2,"parent":9}`},
		{"moved: into a file", KindNodeMoved, `{"node":4,"parent":3}`},
		{"moved: into itself", KindNodeMoved, `{"node":1,"parent":1}`},
		{"moved: below itself", KindNodeMoved, `{"node":1,"parent":4}`},
		{"id changed: unknown", KindNodeIDChanged, `{"node":9,"to":"n"}`},
		{"id changed: taken", KindNodeIDChanged, `{"node":1,"to":"X"}`},
		{"id changed: the root's", KindNodeIDChanged, `{"node":1,"to":""}`},
		{"ruled: unknown", KindNodeRuled, `{"node":9}`},
		{"deleted: unknown", KindNodeDeleted, `{"nodes":[9],"expire":1}`},
		{"deleted: again", KindNodeDeleted, `{"nodes":[3],"expire":1}`},
		{"recovered: unknown", KindNodeRecovered, `{"nodes":[9]}`},
		{"recovered: live", KindNodeRecovered, `{"nodes":[2]}`},
		{"removed: unknown", KindNodeRemoved, `{"nodes":[9]}`},
		{"removed: the root", KindNodeRemoved, `{"nodes":[0]}`},
		{"removed: with something in it", KindNodeRemoved, `{"nodes":[1]}`},
		{"placeholder: unknown file", KindRevisionCreated, `{"node":9,"revision":"n"}`},
		{"placeholder: of a directory", KindRevisionCreated, `{"node":1,"revision":"n"}`},
		{"placeholder: of a file with revisions", KindRevisionCreated, `{"node":2,"revision":"n"}`},
		{"published: unknown file", KindRevisionPublished, `{"node":9,"revision":"n","digest":"d","size":1}`},
		{"published: of a directory", KindRevisionPublished, `{"node":1,"revision":"n","digest":"d","size":1}`},
		{"published: again", KindRevisionPublished, `{"node":2,"revision":"r2","digest":"d","size":1}`},
		{"published: another file's", KindRevisionPublished, `{"node":2,"revision":"r3","digest":"d","size":1}`},
		{"published: in place of nothing", KindRevisionPublished, `{"node":2,"revision":"n","digest":"d","size":1,"replaces":"x"}`},
		{"published: in place of no placeholder", KindRevisionPublished, `{"node":2,"revision":"n","digest":"d","size":1,"replaces":"r2"}`},
		{"revision deleted: unknown", KindRevisionDeleted, `{"node":2,"revision":"n","expire":1}`},
		{"revision deleted: another file's", KindRevisionDeleted, `{"node":3,"revision":"r2","expire":1}`},
		{"revision deleted: again", KindRevisionDeleted, `{"node":2,"revision":"r1","expire":1}`},
		{"revision recovered: unknown", KindRevisionRecovered, `{"node":2,"revision":"n"}`},
		{"revision recovered: live", KindRevisionRecovered, `{"node":2,"revision":"r2"}`},
		{"revision removed: unknown", KindRevisionRemoved, `{"node":2,"revision":"n"}`},
	} {
		t.Run(c.shows, func(t *testing.T) {
			b := prepare(t)
			b.unchanged(func() {
				err := b.raw(c.kind, c.body)
				assert.ErrorContains(t, err, c.kind)
			})
		})
	}
	assert.Error(t, New().Apply(&journal.Entry{Kind: KindNodeRuled, Body: []byte(`{"node":0}`)}), "no policy to keep it")
}

// Bodies as they are written for ever: if this fails, change the code.
func TestPinnedBodies(t *testing.T) {
	r := func(c byte) RevisionID {
		return RevisionID(string([]byte{c, c, c, c}) + "0123456789abcdef0123456789ab")
	}
	d := digest(1)
	bodies := []struct {
		kind string
		body any
		want string
	}{
		{KindNodeCreated, new(nodeCreated), `{"node":1,"id":"dir01","type":"dir","name":"Test <Dir>","parent":0,"owner":"admin"}`},
		{KindNodeCreated, new(nodeCreated), `{"node":2,"id":"C00001","type":"file","name":"ä \"b\"","parent":1,"owner":"admin"}`},
		{KindNodeRenamed, new(nodeRenamed), `{"node":2,"id":"C00001","name":"hello.txt"}`},
		{KindNodeMoved, new(nodeMoved), `{"node":2,"id":"C00001","parent":0}`},
		{KindNodeIDChanged, new(nodeIDChanged), `{"node":2,"from":"C00001","to":"C00002"}`},
		{KindNodeRuled, new(nodeRuled), `{"node":1,"id":"dir01","access_rules":{"read":[]},"external_access":{"users":{"u":{"read":{"expire":0}}}}}`},
		{KindNodeRuled, new(nodeRuled), `{"node":0,"id":"","inherit_by_subdirectory":false}`},
		{KindRevisionCreated, new(revisionCreated), `{"node":2,"revision":"` + string(r('a')) + `"}`},
		{KindRevisionPublished, new(revisionPublished), `{"node":2,"id":"C00002","revision":"` + string(r('b')) + `","digest":"` + d + `","size":27,"replaces":"` + string(r('a')) + `"}`},
		{KindRevisionPublished, new(revisionPublished), `{"node":2,"id":"C00002","revision":"` + string(r('c')) + `","digest":"` + d + `","size":0}`},
		{KindRevisionDeleted, new(revisionDeleted), `{"node":2,"id":"C00002","revision":"` + string(r('b')) + `","expire":1795192352}`},
		{KindRevisionRecovered, new(revisionOnly), `{"node":2,"id":"C00002","revision":"` + string(r('b')) + `"}`},
		{KindRevisionRemoved, new(revisionOnly), `{"node":2,"id":"C00002","revision":"` + string(r('c')) + `"}`},
		{KindNodeDeleted, new(nodeDeleted), `{"nodes":[2,1],"id":"dir01","expire":1795192352}`},
		{KindNodeRecovered, new(nodeRecovered), `{"nodes":[2],"id":"C00002"}`},
		{KindNodeRemoved, new(nodeRemoved), `{"nodes":[2,1],"id":"dir01"}`},
		{KindPolicySet, new(policySet), `{"policy":"recycle","content":{"deleteAfterMarked":1,"revDeleteAfterMarked":2}}`},
		{KindPolicySet, new(policySet), `{"policy":"avatars","content":{"default_avatar":"x"},"access_rules":{"read":[]}}`},
	}
	b := newBook(t)
	kinds := make(map[string]bool)
	for _, c := range bodies {
		require.NoError(t, json.Unmarshal([]byte(c.want), c.body))
		assert.Equal(t, c.want, string(fact(c.kind, c.body).Body))
		require.NoError(t, b.raw(c.kind, c.want), "they tell one story")
		kinds[c.kind] = true
	}
	assert.Len(t, kinds, 14, "every kind of this package")
	assert.Zero(t, b.Nodes())
	assert.Equal(t, Key(3), b.next)
}

// What a dump says, and that it says it in one way.
func TestDump(t *testing.T) {
	b := newBook(t)
	b.dir("D", "")
	b.written("F", "D", 7)
	b.do(b.fileOp(boss, "F", "delete"))
	b.rules("D", `{"read":[]}`, "")
	var got struct {
		Next     int
		Nodes    []json.RawMessage
		Policies []struct{ Policy string }
	}
	require.NoError(t, json.Unmarshal([]byte(b.dump()), &got))
	assert.Equal(t, 3, got.Next)
	require.Len(t, got.Nodes, 2)
	assert.JSONEq(t, `{"node":1,"id":"D","type":"dir","name":"dir D","parent":0,"owner":"boss",
		"created":"2026-01-02T03:04:05.0006Z","state":"ok","access_rules":{"read":[]},"external_access":{}}`, string(got.Nodes[0]))
	assert.JSONEq(t, `{"node":2,"id":"F","type":"file","name":"file F","parent":1,"owner":"boss",
		"created":"2026-01-02T03:04:05.0006Z","state":"deleted","expire":1767927845,"access_rules":{},"external_access":{},
		"revisions":[{"revision":"00000000000000000000000000000002","digest":"`+digest(7)+`","size":7,
		"created":"2026-01-02T03:04:05.0006Z","state":"ok"}]}`, string(got.Nodes[1]))
	require.Len(t, got.Policies, 7)
	assert.Equal(t, "auto_block", got.Policies[0].Policy)
	assert.Equal(t, b.dump(), b.dump())
}

func TestLookup(t *testing.T) {
	l := newLibrary(t)
	info, ok := l.Lookup(l.key("X"))
	assert.True(t, ok)
	assert.Equal(t, NodeInfo{Key: l.key("X"), ID: "X", Name: "file X", State: State{Deleted: true, Expire: l.at.Unix() + week}}, info)
	assert.Equal(t, "deleted", info.State.Code())
	assert.Equal(t, "ok", State{}.Code())
	_, ok = l.Lookup(0)
	assert.False(t, ok)
	assert.Equal(t, len(l.nodes), l.Nodes())

	assert.Equal(t, []string{digest(1), digest(2)}, l.Digests(l.key("F")), "deleted ones too")
	assert.Empty(t, l.Digests(l.key("D")))
	assert.Empty(t, l.Digests(999))
}

// The data of requests as clients write it.
func TestRequestData(t *testing.T) {
	for _, c := range []struct {
		op   any
		want string
	}{
		{new(FileOp), `{"file_id":"F","action":"move","view_deleted":true,"revision_id":"r","force_write":true,"new_filename":"n","new_parent":"","new_id":"i"}`},
		{new(NewFile), `{"directory_id":"","file_id":"F","filename":"n"}`},
		{new(RevisionsOp), `{"file_id":"F","view_deleted":true,"reverse":true,"item_range":[0,3]}`},
		{new(DirOp), `{"dir_id":"D","action":"move","view_deleted":true,"new_dirname":"n","new_parent":"","new_id":"i"}`},
		{new(NewDir), `{"name":"n","dir_id":"D","parent_id":""}`},
		{new(SetAccess), `{"id":"","access_rules":{},"external_access":{},"inherit_by_subdirectory":false}`},
	} {
		require.NoError(t, json.Unmarshal([]byte(c.want), c.op))
		got, err := json.Marshal(c.op)
		require.NoError(t, err)
		assert.Equal(t, c.want, string(got))
		require.NoError(t, json.Unmarshal([]byte(`{}`), c.op))
	}
}
