package doctree

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/fsview/acl"
)

func dirView(op *DirOp)               { op.ViewDeleted = true }
func dirName(s string) func(*DirOp)   { return func(op *DirOp) { op.NewDirname = &s } }
func dirInto(id string) func(*DirOp)  { return func(op *DirOp) { op.NewParent = &id } }
func dirNewID(id string) func(*DirOp) { return func(op *DirOp) { op.NewID = &id } }
func dirNoAction(op *DirOp)           { op.Action = nil }
func dirBlankAction(op *DirOp)        { op.Action = ptr("") }
func dirNoID(op *DirOp)               { op.DirID = nil }
func dirPlain(*DirOp)                 {}
func dirAlso(ms ...func(*DirOp)) func(*DirOp) {
	return func(op *DirOp) {
		for _, m := range ms {
			m(op)
		}
	}
}

// Every check of §5.1, and of two that a request fails the earlier one.
func TestOperateDirErrors(t *testing.T) {
	for _, c := range []struct {
		shows      string
		s          *acl.Subject
		id, action string
		with       func(*DirOp)
		want       acl.Code
	}{
		{"no action", ann, "D", "", dirNoAction, acl.CodeMissing},
		{"an empty action", ann, "D", "", dirBlankAction, acl.CodeMissing},
		{"no action before no id", ann, "", "", dirAlso(dirNoAction, dirNoID), acl.CodeMissing},
		{"no id", ann, "", "list", dirNoID, acl.CodeNeedDirID},
		{"an empty id", ann, "", "list", dirPlain, acl.CodeNeedDirID},
		{"no id before rights", bob, "", "recover", dirPlain, acl.CodeNeedDirID},
		{"view_deleted without the right", bob, "D", "list", dirView, acl.CodeDenied},
		{"recover without the right recover", subject("u", "view_deleted", "sysop"), "G", "recover", dirPlain, acl.CodeDenied},
		{"recover without the right view_deleted", subject("u", "recover", "sysop"), "G", "recover", dirPlain, acl.CodeDenied},
		{"permanently_delete without the right", sam, "D", "permanently_delete", dirPlain, acl.CodeDenied},
		{"change_id without the right", sam, "D", "change_id", dirNewID("n"), acl.CodeDenied},
		{"rights before the directory", bob, "none", "recover", dirPlain, acl.CodeDenied},
		{"an unknown directory", ann, "none", "list", dirPlain, acl.CodeNoDir},
		{"a file", ann, "F", "list", dirPlain, acl.CodeNoDir},
		{"a deleted file", ann, "X", "list", dirPlain, acl.CodeNoDir},
		{"an unknown directory before an unknown action", ann, "none", "dance", dirPlain, acl.CodeNoDir},
		{"deleted", ann, "G", "list", dirPlain, acl.CodeNotFound},
		{"deleted, permanently_delete without the right to see it",
			subject("u", "permanently_delete", "sysop"), "G", "permanently_delete", dirPlain, acl.CodeNotFound},
		{"deleted before an unknown action", ann, "G", "dance", dirPlain, acl.CodeNotFound},
		{"deleted before path access", ann, "V", "list", dirPlain, acl.CodeNotFound},
		{"an unknown action", ann, "D", "dance", dirPlain, acl.CodeBadRequest},
		{"an action of files", ann, "D", "read", dirPlain, acl.CodeBadRequest},
		{"an unknown action before path access", ann, "S", "dance", dirPlain, acl.CodeBadRequest},
		{"no path access", ann, "S", "list", dirPlain, acl.CodePathDenied},
		{"no path access to what is deleted, seen", ann, "V", "list", dirView, acl.CodePathDenied},
		{"path access before the action's own", ann, "S", "rename", dirPlain, acl.CodePathDenied},
		{"path access before a batch", ann, "S", "delete", dirPlain, acl.CodePathDenied},

		{"rename: no name", ann, "D", "rename", dirPlain, acl.CodeMissing},
		{"rename: an empty name", ann, "D", "rename", dirName(""), acl.CodeMissing},
		{"rename: no name before deleted", ann, "G", "rename", dirView, acl.CodeMissing},
		{"rename: a bad name", ann, "D", "rename", dirName(`\`), acl.CodeName},
		{"rename: a bad name before deleted", ann, "G", "rename", dirAlso(dirView, dirName(".")), acl.CodeName},
		{"rename: deleted", ann, "G", "rename", dirAlso(dirView, dirName("n")), acl.CodeRestoreFirst},
		{"delete: deleted", ann, "G", "delete", dirView, acl.CodeDirMarked},
		{"recover: live", ann, "D", "recover", dirPlain, acl.CodeDirLive},
		{"move: no parent", ann, "D", "move", dirPlain, acl.CodeMissing},
		{"move: no parent before deleted", ann, "G", "move", dirView, acl.CodeMissing},
		{"move: itself", ann, "D", "move", dirInto("D"), acl.CodeOwnParent},
		{"move: itself before deleted", ann, "G", "move", dirAlso(dirView, dirInto("G")), acl.CodeOwnParent},
		{"move: a descendant", ann, "G", "move", dirAlso(dirView, dirInto("K")), acl.CodeOwnParent},
		{"move: a file in it", ann, "D", "move", dirInto("F"), acl.CodeOwnParent},
		{"move: a deleted file in it", ann, "D", "move", dirInto("X"), acl.CodeOwnParent},
		{"move: an unknown parent", ann, "D", "move", dirInto("none"), acl.CodeNotFound},
		{"move: a deleted parent", ann, "D", "move", dirInto("G"), acl.CodeNotFound},
		{"move: a parent below a deleted one", ann, "D", "move", dirInto("K"), acl.CodeNotFound},
		{"move: a deleted parent before its rules", ann, "D", "move", dirInto("V"), acl.CodeNotFound},
		{"move: a deleted file as parent", ann, "D", "move", dirInto("U"), acl.CodeNotFound},
		{"move: a file as parent", ann, "D", "move", dirInto("N"), acl.CodeNotDir},
		{"move: a file as parent before its rules", ann, "D", "move", dirInto("T"), acl.CodeNotDir},
		{"move: no write on the new parent", ann, "D", "move", dirInto("S"), acl.CodeDenied},
		{"move: no write on the new parent before deleted", ann, "G", "move", dirAlso(dirView, dirInto("S")), acl.CodeDenied},
		{"move: deleted", ann, "G", "move", dirAlso(dirView, dirInto("D")), acl.CodeRestoreFirst},
		{"change_id: no id", ann, "D", "change_id", dirPlain, acl.CodeMissing},
		{"change_id: an empty id", ann, "D", "change_id", dirNewID(""), acl.CodeMissing},
		{"change_id: too long", ann, "D", "change_id", dirNewID(*text(65)), acl.CodeDirIDLong},
		{"change_id: too long before a bad one", ann, "D", "change_id", dirNewID("\n" + *text(64)), acl.CodeDirIDLong},
		{"change_id: a control character", ann, "D", "change_id", dirNewID("\n"), acl.CodeName},
		{"change_id: taken", ann, "D", "change_id", dirNewID("S"), acl.CodeIDExists},
		{"change_id: taken by a deleted file", ann, "D", "change_id", dirNewID("X"), acl.CodeIDExists},
	} {
		t.Run(c.shows, func(t *testing.T) {
			l := newLibrary(t)
			l.unchanged(func() {
				out, err := l.dirOp(c.s, c.id, c.action, c.with)
				wants(t, c.want, err)
				assert.Equal(t, Outcome{}, out)
			})
		})
	}
}

func TestRenameDir(t *testing.T) {
	l := newLibrary(t)
	out := l.do(l.dirOp(bob, "D", "rename", dirName("Reports")))
	assert.Equal(t, NodeInfo{Key: l.key("D"), ID: "D", Name: "dir D", Dir: true}, out.Node)
	info, _ := l.Lookup(l.key("D"))
	assert.Equal(t, "Reports", info.Name)
}

func TestMoveDir(t *testing.T) {
	b := newBook(t)
	b.dir("A", "")
	b.dir("B", "A")
	b.dir("C", "B")
	b.file("F", "C")
	_, err := b.dirOp(ann, "A", "move", dirInto("C"))
	wants(t, acl.CodeOwnParent, err)
	b.do(b.dirOp(ann, "B", "move", dirInto("")))
	assert.Equal(t, 1, b.ids["B"].depth())
	b.do(b.dirOp(ann, "A", "move", dirInto("C")))
	assert.True(t, b.ids["A"].within(b.ids["B"]))
}

// A subtree moves with all its directories, deleted ones too: none may come to
// lie deeper than MaxDepth.
func TestMovesKeepTheDepth(t *testing.T) {
	b := newBook(t)
	deep := ""
	for i := range MaxDepth - 2 {
		id := fmt.Sprint(i)
		b.dir(id, deep)
		deep = id
	}
	b.dir("A", "")
	b.dir("B", "A")
	b.dir("C", "B")
	b.file("F", "C")
	_, err := b.dirOp(ann, "A", "move", dirInto(deep))
	wants(t, acl.CodeTooDeep, err)
	b.do(b.dirOp(ann, "C", "delete"))
	_, err = b.dirOp(ann, "A", "move", dirInto(deep))
	wants(t, acl.CodeTooDeep, err)
	b.do(b.dirOp(ann, "B", "move", dirInto(deep)))
	b.do(b.dirOp(ann, "C", "recover"))
	assert.Equal(t, MaxDepth, b.ids["C"].depth())
	b.file("G", "")
	b.do(b.fileOp(ann, "G", "move", into("C")))
}

func TestChangeDirID(t *testing.T) {
	l := newLibrary(t)
	out := l.do(l.dirOp(ann, "D", "change_id", dirNewID("D")))
	assert.True(t, out.Unchanged)
	assert.Empty(t, out.Facts)
	l.do(l.dirOp(ann, "D", "change_id", dirNewID("E")))
	listed, err := l.dirOp(ann, "E", "list")
	require.NoError(t, err)
	assert.Equal(t, []string{"F"}, listIDs(listed.Listing), "children follow")
	l.do(l.dirOp(ann, "G", "change_id", dirView, dirNewID("D")))
	assert.True(t, l.state("D").Deleted)
}

func TestDeleteDir(t *testing.T) {
	l := newLibrary(t)
	x := l.state("X")
	l.later(100)
	f, d := l.key("F"), l.key("D")
	out := l.do(l.dirOp(bob, "D", "delete"))
	assert.Equal(t, &Batch{Succeeded: []string{"F", "D"}, Failed: []string{}}, out.Batch)
	assert.Equal(t, []Key{f}, out.CancelWrites)
	assert.Empty(t, out.CancelAll)
	require.Len(t, out.Facts, 1)
	assert.Equal(t, fmt.Sprintf(`{"nodes":[%d,%d],"id":"D","expire":%d}`, f, d, l.at.Unix()+week), string(out.Facts[0].Body))
	assert.Equal(t, x, l.state("X"), "what was deleted before keeps its time")

	out = l.do(l.dirOp(ann, "D", "recover"))
	assert.Equal(t, &Batch{Succeeded: []string{"F", "X", "D"}, Failed: []string{}}, out.Batch,
		"also what was deleted on its own")
	assert.Empty(t, out.CancelWrites)
}

// Batches over a tree whose rules let some through:
//
//	A ─ B ─ f1, f2 (not to be touched)
//	  ├ C ─ f3
//	  ├ f4
//	  └ E (deleted) ─ f5 (live), f6 (deleted)
func newBatch(t testing.TB) *book {
	b := newBook(t)
	b.dir("A", "")
	for _, id := range []string{"B", "C", "E"} {
		b.dir(id, "A")
	}
	for _, f := range [][2]string{{"f1", "B"}, {"f2", "B"}, {"f3", "C"}, {"f4", "A"}, {"f5", "E"}, {"f6", "E"}} {
		b.file(f[0], f[1])
	}
	b.do(b.dirOp(boss, "E", "delete"))
	b.do(b.fileOp(boss, "f5", "recover"))
	b.rules("f2", `{"write":`+nobody+`}`, "")
	return b
}

func TestDeleteDirInPart(t *testing.T) {
	b := newBatch(t)
	out := b.do(b.dirOp(ann, "A", "delete"))
	assert.Equal(t, &Batch{
		Succeeded: []string{"f1", "f3", "C", "f5", "f4"},
		Failed:    []string{"f2", "B", "A"},
	}, out.Batch, "what is above a failure stays; E is deleted already and not listed")
	assert.False(t, b.state("A").Deleted)
	assert.True(t, b.state("f5").Deleted)
	assert.Equal(t, []Key{b.key("f1"), b.key("f3"), b.key("f5"), b.key("f4")}, out.CancelWrites)

	// A live file below a deleted directory is in the way too.
	b = newBatch(t)
	b.rules("f2", `{}`, "")
	b.rules("f5", `{"delete":`+nobody+`}`, "")
	out = b.do(b.dirOp(ann, "A", "delete"))
	assert.Equal(t, []string{"f5", "A"}, out.Batch.Failed)
}

func TestRecoverDirInPart(t *testing.T) {
	b := newBatch(t)
	b.do(b.dirOp(boss, "A", "delete"))
	b.do(b.fileOp(boss, "f4", "recover"))
	b.rules("B", `{"recover":`+nobody+`}`, "")
	b.rules("f3", `{"recover":`+nobody+`}`, "")
	out := b.do(b.dirOp(ann, "A", "recover"))
	assert.Equal(t, &Batch{
		Succeeded: []string{"C", "f5", "f6", "E", "A"},
		Failed:    []string{"B", "f3"},
	}, out.Batch, "below B nothing is tried, f4 is live, a failed child is in nobody's way")
	assert.True(t, b.state("f1").Deleted)

	_, err := b.dirOp(ann, "B", "recover")
	wants(t, acl.CodePathDenied, err)
}

func TestPermanentlyDeleteDirInPart(t *testing.T) {
	b := newBatch(t)
	b.rules("f2", `{"permanently_delete":`+nobody+`}`, "")
	keys := map[string]Key{}
	for id, n := range b.ids {
		keys[id] = n.key
	}
	out := b.do(b.dirOp(ann, "A", "permanently_delete"))
	assert.Equal(t, &Batch{
		Succeeded: []string{"f1", "f3", "C", "f5", "f6", "E", "f4"},
		Failed:    []string{"f2", "B", "A"},
	}, out.Batch)
	assert.Equal(t, []Key{keys["f1"], keys["f3"], keys["f5"], keys["f6"], keys["f4"]}, out.CancelAll, "files alone have tasks")
	assert.Equal(t, 3, b.Nodes())

	b.rules("f2", `{}`, "")
	out = b.do(b.dirOp(ann, "A", "permanently_delete"))
	assert.Equal(t, []string{"f2", "B", "A"}, out.Batch.Succeeded)
	assert.Zero(t, b.Nodes())
	assert.Zero(t, b.References(EmptyDigest))
}

func TestPermanentlyDeleteADeletedDir(t *testing.T) {
	l := newLibrary(t)
	out := l.do(l.dirOp(ann, "G", "permanently_delete"))
	assert.Equal(t, []string{"K", "L", "G"}, out.Batch.Succeeded, "without the flag; what is live goes too")
}

// Facts of a large batch hold at most MaxFactNodes keys each, in an order that
// can be applied.
func TestLargeBatches(t *testing.T) {
	b := newBook(t)
	b.dir("A", "")
	for i := range 2*MaxFactNodes + 1 {
		b.file(fmt.Sprintf("f%04d", i), "A")
	}
	for _, c := range []struct {
		action string
		cancel func(Outcome) []Key
	}{
		{"delete", func(o Outcome) []Key { return o.CancelWrites }},
		{"recover", func(Outcome) []Key { return make([]Key, 2*MaxFactNodes+1) }},
		{"permanently_delete", func(o Outcome) []Key { return o.CancelAll }},
	} {
		out := b.do(b.dirOp(ann, "A", c.action))
		require.Len(t, out.Facts, 3)
		total := 0
		for _, f := range out.Facts {
			var body struct{ Nodes []Key }
			require.NoError(t, json.Unmarshal(f.Body, &body))
			assert.LessOrEqual(t, len(body.Nodes), MaxFactNodes)
			total += len(body.Nodes)
		}
		assert.Equal(t, 2*MaxFactNodes+2, total)
		assert.Len(t, out.Batch.Succeeded, total)
		assert.Len(t, c.cancel(out), total-1)
		assert.Equal(t, "A", out.Batch.Succeeded[total-1])
		assert.Equal(t, "f0000", out.Batch.Succeeded[0])
	}
}

// A batch of nothing but failures has no facts.
func TestBatchThatFails(t *testing.T) {
	b := newBook(t)
	b.dir("A", "")
	b.file("f", "A")
	b.rules("f", `{"delete":`+nobody+`}`, "")
	out := b.do(b.dirOp(ann, "A", "delete"))
	assert.Empty(t, out.Facts)
	assert.Equal(t, &Batch{Succeeded: []string{}, Failed: []string{"f", "A"}}, out.Batch)
}

// The rows of the sample client (§9) that are about dir01.
func TestSampleClient(t *testing.T) {
	b := newBook(t)
	b.apply(b.SampleData("admin", b.revisionID(), digest(27), 27), nil)
	s := subject("admin", allRights+" super_access", "sysop")
	out, err := b.dirOp(s, "dir01", "list")
	require.NoError(t, err)
	require.Len(t, out.Listing.Entries, 1)
	assert.Equal(t, int64(27), out.Listing.Entries[0].Size)
	assert.Equal(t, "", out.Listing.Parent.ID)
	for range 2 {
		out = b.do(b.dirOp(s, "dir01", "delete"))
		assert.Equal(t, &Batch{Succeeded: []string{"C00001", "dir01"}, Failed: []string{}}, out.Batch)
		out = b.do(b.dirOp(s, "dir01", "recover"))
		assert.Equal(t, &Batch{Succeeded: []string{"C00001", "dir01"}, Failed: []string{}}, out.Batch)
		b.do(b.dirOp(s, "dir01", "rename", dirName("Renamed")))
		_, err = b.dirOp(s, "dir01", "move", dirInto("dir01"))
		wants(t, acl.CodeOwnParent, err)
		assert.True(t, b.do(b.dirOp(s, "dir01", "change_id", dirNewID("dir01"))).Unchanged)
	}
	revisions, err := b.FileRevisions(s, RevisionsOp{FileID: ptr("C00001"), ItemRange: json.RawMessage(`[0,3]`)}, b.now())
	require.NoError(t, err)
	assert.Len(t, revisions, 1)
}
