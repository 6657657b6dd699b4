package doctree

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/fsview/acl"
)

// library is the tree of the tests of requests:
//
//	D        dir, bob may write in it
//	  F      file, revisions f (deleted) and g (newest)
//	  X      file, deleted, one revision
//	G        dir, deleted
//	  L      file, live
//	  K      dir, live
//	S        dir, nobody but boss may do anything in it
//	  T      file
//	  U      file, deleted
//	  V      dir, deleted
//	N        file without a visible revision
type library struct {
	*book
	f, g, x RevisionID
}

const nobody = `[{"match":"any","match_groups":[]}]`

func newLibrary(t testing.TB) *library {
	b := newBook(t)
	l := &library{book: b}
	b.dir("D", "")
	b.rules("D", `{"__noinherit__":["write"],"write":[]}`, "")
	fs := b.written("F", "D", 1, 2)
	l.f, l.g = fs[0], fs[1]
	l.x = b.written("X", "D", 3)[0]
	b.dir("G", "")
	b.written("L", "G", 4)
	b.dir("K", "G")
	b.dir("S", "")
	b.written("T", "S", 5)
	b.written("U", "S", 6)
	b.dir("V", "S")
	b.file("N", "")
	b.rules("S", `{"read":`+nobody+`,"write":`+nobody+`}`, "")
	b.do(b.fileOp(boss, "F", "delete_rev", rev(string(l.f))))
	b.do(b.fileOp(boss, "N", "delete_rev"))
	b.do(b.fileOp(boss, "X", "delete"))
	b.do(b.fileOp(boss, "U", "delete"))
	b.do(b.dirOp(boss, "V", "delete"))
	b.do(b.dirOp(boss, "G", "delete"))
	b.do(b.fileOp(boss, "L", "recover"))
	b.do(b.dirOp(boss, "K", "recover"))
	return l
}

func view(op *FileOp)                { op.ViewDeleted = true }
func rev(id string) func(*FileOp)    { return func(op *FileOp) { op.RevisionID = &id } }
func newName(s string) func(*FileOp) { return func(op *FileOp) { op.NewFilename = &s } }
func into(id string) func(*FileOp)   { return func(op *FileOp) { op.NewParent = &id } }
func newID(id string) func(*FileOp)  { return func(op *FileOp) { op.NewID = &id } }
func noAction(op *FileOp)            { op.Action = nil }
func blankAction(op *FileOp)         { op.Action = ptr("") }
func noFile(op *FileOp)              { op.FileID = nil }
func forced(op *FileOp)              { op.ForceWrite = true }
func also(ms ...func(*FileOp)) func(*FileOp) {
	return func(op *FileOp) {
		for _, m := range ms {
			m(op)
		}
	}
}
func plain(*FileOp) {}

// Every check of §4.2, and of two that a request fails the earlier one.
func TestOperateFileErrors(t *testing.T) {
	for _, c := range []struct {
		shows      string
		s          *acl.Subject
		id, action string
		with       func(*FileOp)
		want       acl.Code
	}{
		{"no file_id", ann, "F", "read", noFile, acl.CodeMissing},
		{"an empty file_id", ann, "", "read", plain, acl.CodeMissing},
		{"no action", ann, "F", "", noAction, acl.CodeMissing},
		{"an empty action", ann, "F", "", blankAction, acl.CodeMissing},
		{"missing before rights", bob, "F", "recover", noFile, acl.CodeMissing},
		{"view_deleted without the right", bob, "F", "read", view, acl.CodeDenied},
		{"recover without the right recover", subject("u", "view_deleted", "sysop"), "X", "recover", plain, acl.CodeDenied},
		{"recover without the right view_deleted", subject("u", "recover", "sysop"), "X", "recover", plain, acl.CodeDenied},
		{"recover_rev without the right view_deleted", sam, "F", "recover_rev", plain, acl.CodeDenied},
		{"permanently_delete without the right", sam, "F", "permanently_delete", plain, acl.CodeDenied},
		{"change_id without the right", sam, "F", "change_id", newID("new"), acl.CodeDenied},
		{"super_access stands in for no right", subject("u", "super_access", ""), "F", "change_id", newID("new"), acl.CodeDenied},
		{"rights before the file", bob, "none", "recover", plain, acl.CodeDenied},
		{"the flag before the file", bob, "none", "read", view, acl.CodeDenied},
		{"an unknown file", ann, "none", "read", plain, acl.CodeNoFile},
		{"an unknown file before an unknown action", ann, "none", "dance", plain, acl.CodeNoFile},
		{"deleted", ann, "X", "read", plain, acl.CodeNotFound},
		{"deleted, permanently_delete without the right to see it",
			subject("u", "permanently_delete", "sysop"), "X", "permanently_delete", plain, acl.CodeNotFound},
		{"deleted before a directory", ann, "G", "read", plain, acl.CodeNotFound},
		{"deleted before path access", ann, "U", "read", plain, acl.CodeNotFound},
		{"a directory", ann, "D", "read", plain, acl.CodeNotFile},
		{"a deleted directory, seen", ann, "G", "read", view, acl.CodeNotFile},
		{"a directory before path access", ann, "S", "read", plain, acl.CodeNotFile},
		{"a directory before an unknown action", ann, "D", "dance", plain, acl.CodeNotFile},
		{"no path access", ann, "T", "read", plain, acl.CodeDenied},
		{"no path access to what is deleted, seen", ann, "U", "read", view, acl.CodeDenied},
		{"path access before an unknown action, which is tested as write", eve, "N", "dance", plain, acl.CodeDenied},
		{"path access before an action of directories", eve, "N", "list", plain, acl.CodeDenied},
		{"path access before an unknown revision", ann, "T", "read", rev("none"), acl.CodeDenied},
		{"an unknown action", bob, "F", "dance", plain, acl.CodeNoOperation},
		{"a name of rules that is no action", bob, "F", "deny", plain, acl.CodeNoOperation},
		{"an action of directories", bob, "F", "list", plain, acl.CodeNoOperation},
		{"an unknown action before an unknown revision", bob, "F", "dance", rev("none"), acl.CodeNoOperation},
		{"an unknown action before what is deleted", ann, "X", "dance", view, acl.CodeNoOperation},
		{"an unknown revision", bob, "F", "read", rev("none"), acl.CodeNoRevision},
		{"an unknown revision, delete_rev", bob, "F", "delete_rev", rev("none"), acl.CodeNoRevision},
		{"an unknown revision, recover_rev", ann, "F", "recover_rev", rev("none"), acl.CodeNoRevision},
		{"no newest revision", bob, "N", "read", plain, acl.CodeNotFound},
		{"no newest revision, delete_rev", ann, "N", "delete_rev", plain, acl.CodeNotFound},
		{"no newest revision before the missing one", ann, "N", "recover_rev", plain, acl.CodeNotFound},

		{"write: deleted", ann, "X", "write", view, acl.CodeRestoreFirst},
		{"rename: no name", ann, "F", "rename", plain, acl.CodeMissing},
		{"rename: an empty name", ann, "F", "rename", newName(""), acl.CodeMissing},
		{"rename: no name before deleted", ann, "X", "rename", view, acl.CodeMissing},
		{"rename: a bad name", ann, "F", "rename", newName("a/b"), acl.CodeName},
		{"rename: a bad name before deleted", ann, "X", "rename", also(view, newName("..")), acl.CodeName},
		{"rename: deleted", ann, "X", "rename", also(view, newName("n")), acl.CodeRestoreFirst},
		{"delete: deleted", ann, "X", "delete", view, acl.CodeFileMarked},
		{"recover: live", ann, "F", "recover", plain, acl.CodeFileLive},
		{"move: no parent", ann, "F", "move", plain, acl.CodeMissing},
		{"move: no parent before deleted", ann, "X", "move", view, acl.CodeMissing},
		{"move: an unknown parent", ann, "F", "move", into("none"), acl.CodeNotFound},
		{"move: an unknown parent before deleted", ann, "X", "move", also(view, into("none")), acl.CodeNotFound},
		{"move: a deleted parent", ann, "F", "move", into("G"), acl.CodeNotFound},
		{"move: a parent below a deleted one", ann, "F", "move", into("K"), acl.CodeNotFound},
		{"move: a deleted file as parent", ann, "F", "move", into("X"), acl.CodeNotFound},
		{"move: a file as parent", ann, "F", "move", into("N"), acl.CodeNotDir},
		{"move: a file as parent before its rules", ann, "F", "move", into("T"), acl.CodeNotDir},
		{"move: no write on the new parent", ann, "F", "move", into("S"), acl.CodeDenied},
		{"move: no write on the new parent before deleted", ann, "X", "move", also(view, into("S")), acl.CodeDenied},
		{"move: deleted", ann, "X", "move", also(view, into("")), acl.CodeRestoreFirst},
		{"change_id: no id", ann, "F", "change_id", plain, acl.CodeMissing},
		{"change_id: an empty id", ann, "F", "change_id", newID(""), acl.CodeMissing},
		{"change_id: too long", ann, "F", "change_id", newID(*text(65)), acl.CodeFileIDLong},
		{"change_id: too long before a bad one", ann, "F", "change_id", newID("\n" + *text(64)), acl.CodeFileIDLong},
		{"change_id: a control character", ann, "F", "change_id", newID("a\nb"), acl.CodeName},
		{"change_id: taken", ann, "F", "change_id", newID("N"), acl.CodeIDExists},
		{"change_id: taken by a directory", ann, "F", "change_id", newID("D"), acl.CodeIDExists},
		{"change_id: taken by what is deleted", ann, "F", "change_id", newID("X"), acl.CodeIDExists},
		{"change_id: taken by itself", ann, "F", "change_id", newID("F"), acl.CodeIDExists},
		{"recover_rev: no revision", ann, "F", "recover_rev", plain, acl.CodeMissing},
		{"recover_rev: an empty one", ann, "F", "recover_rev", rev(""), acl.CodeMissing},
	} {
		t.Run(c.shows, func(t *testing.T) {
			l := newLibrary(t)
			l.unchanged(func() {
				out, err := l.fileOp(c.s, c.id, c.action, c.with)
				wants(t, c.want, err)
				assert.Equal(t, Outcome{}, out)
			})
		})
	}
}

// The errors about revisions of the library.
func TestRevisionErrors(t *testing.T) {
	l := newLibrary(t)
	for _, c := range []struct {
		shows, id, action string
		s                 *acl.Subject
		with              func(*FileOp)
		want              acl.Code
	}{
		{"a deleted revision", "F", "read", bob, rev(string(l.f)), acl.CodeNoRevision},
		{"a deleted revision, delete_rev", "F", "delete_rev", bob, rev(string(l.f)), acl.CodeNoRevision},
		{"another file's revision", "F", "read", ann, also(view, rev(string(l.x))), acl.CodeNoRevision},
		{"deleted already", "F", "delete_rev", ann, also(view, rev(string(l.f))), acl.CodeRevDeleted},
		{"not deleted", "F", "recover_rev", ann, rev(string(l.g)), acl.CodeRevLive},
	} {
		l.unchanged(func() {
			_, err := l.fileOp(c.s, c.id, c.action, c.with)
			wants(t, c.want, err, c.shows)
		})
	}
}

func TestRestoreFirstTellsUntilWhen(t *testing.T) {
	l := newLibrary(t)
	want := &acl.Refusal{Code: acl.CodeRestoreFirst, Expire: l.at.Unix() + week}
	for _, action := range []string{"write", "rename", "move"} {
		_, err := l.fileOp(ann, "X", action, view, newName("n"), into(""))
		assert.Equal(t, want, err, action)
	}
	for _, action := range []string{"rename", "move"} {
		_, err := l.dirOp(ann, "G", action, dirView, dirName("n"), dirInto(""))
		assert.Equal(t, want, err, action)
	}
}

// No `delete` on the old parent: a move takes something away from there.
func TestMoveNeedsBothParents(t *testing.T) {
	b := newBook(t)
	b.dir("from", "")
	b.dir("to", "")
	b.file("F", "from")
	b.dir("E", "from")
	for _, c := range []struct {
		from, to string
		want     acl.Code
	}{
		{`{"delete":` + nobody + `}`, `{}`, acl.CodeDenied},
		{`{"write":` + nobody + `}`, `{}`, acl.CodeDenied},
		{`{"write":` + nobody + `,"delete":[]}`, `{}`, ""},
		{`{}`, `{"write":` + nobody + `}`, acl.CodeDenied},
		{`{}`, `{"delete":` + nobody + `}`, ""},
	} {
		b.rules("from", c.from, "")
		b.rules("to", c.to, "")
		b.rules("F", `{"__noinherit__":["all"]}`, "")
		b.rules("E", `{"__noinherit__":["all"]}`, "")
		_, err := b.fileOp(ann, "F", "move", into("to"))
		wants(t, c.want, err, "%+v", c)
		_, err = b.dirOp(ann, "E", "move", dirInto("to"))
		wants(t, c.want, err, "%+v", c)
	}
}

func TestRead(t *testing.T) {
	l := newLibrary(t)
	out, err := l.fileOp(bob, "F", "read")
	require.NoError(t, err)
	assert.Equal(t, Outcome{
		Read: &Revision{ID: l.g, Node: l.key("F"), NodeID: "F", Name: "file F", Digest: digest(2), Size: 2, Created: l.at},
		Node: NodeInfo{Key: l.key("F"), ID: "F", Name: "file F"},
	}, out)

	out, err = l.fileOp(ann, "F", "read", view, rev(string(l.f)))
	require.NoError(t, err)
	assert.Equal(t, digest(1), out.Read.Digest)
	assert.Equal(t, State{Deleted: true, Expire: l.at.Unix() + week}, out.Read.State)

	out, err = l.fileOp(ann, "X", "read", view)
	require.NoError(t, err, "a deleted file by the flag")
	assert.Equal(t, digest(3), out.Read.Digest)

	out, err = l.fileOp(ann, "L", "read")
	require.NoError(t, err, "recovered below a deleted directory")
	assert.Equal(t, digest(4), out.Read.Digest)

	b := newBook(t)
	b.file("P", "")
	out, err = b.fileOp(bob, "P", "read")
	require.NoError(t, err)
	assert.True(t, out.Read.Placeholder)
	assert.Equal(t, EmptyDigest, out.Read.Digest)
	assert.Zero(t, out.Read.Size)
}

func TestWrite(t *testing.T) {
	l := newLibrary(t)
	out, err := l.fileOp(bob, "F", "write", forced)
	require.NoError(t, err)
	assert.Equal(t, Outcome{
		Write: &Target{Key: l.key("F"), ID: "F"},
		Node:  NodeInfo{Key: l.key("F"), ID: "F", Name: "file F"},
	}, out)
}

func TestRenameFile(t *testing.T) {
	l := newLibrary(t)
	out := l.do(l.fileOp(bob, "F", "rename", newName(*text(255))))
	assert.Equal(t, "file F", out.Node.Name, "as it was")
	info, _ := l.Lookup(out.Node.Key)
	assert.Equal(t, *text(255), info.Name)
	l.do(l.fileOp(bob, "F", "rename", newName("file N")))
}

func TestNames(t *testing.T) {
	for _, bad := range []string{"", *text(256), ".", "..", "a/b", `a\b`, "a\x00", "a\u0085b", "\x7f"} {
		wants(t, acl.CodeName, checkName(bad), "%q", bad)
	}
	for _, good := range []string{"a", *text(255), "...", ".a", "a b", "ä€𝄞", " ", "C:"} {
		wants(t, "", checkName(good), "%q", good)
	}
}

func TestDeleteAndRecoverFile(t *testing.T) {
	l := newLibrary(t)
	content, err := l.SetPolicy(ann, ptr("recycle"), []byte(`{"deleteAfterMarked":60,"revDeleteAfterMarked":30}`), l.now())
	l.apply(content, err)
	out := l.do(l.fileOp(bob, "F", "delete"))
	assert.Equal(t, []Key{l.key("F")}, out.CancelWrites)
	assert.Empty(t, out.CancelAll)
	assert.Equal(t, State{Deleted: true, Expire: l.at.Unix() + 60}, l.state("F"))
	_, err = l.fileOp(bob, "F", "read")
	wants(t, acl.CodeNotFound, err)

	out = l.do(l.fileOp(ann, "F", "recover"))
	assert.Empty(t, out.CancelWrites)
	assert.Equal(t, State{}, l.state("F"))

	l.do(l.fileOp(bob, "F", "delete_rev"))
	_, err = l.fileOp(bob, "F", "read")
	wants(t, acl.CodeNotFound, err, "both revisions are deleted")
	listed, err := l.FileRevisions(ann, RevisionsOp{FileID: ptr("F"), ViewDeleted: true}, l.now())
	require.NoError(t, err)
	assert.Equal(t, State{Deleted: true, Expire: l.at.Unix() + 30}, listed[1].State)
	assert.Equal(t, int64(-1), l.nodes[l.key("F")].size())
	l.do(l.fileOp(ann, "F", "recover_rev", rev(string(l.f))))
	out, err = l.fileOp(bob, "F", "read")
	require.NoError(t, err)
	assert.Equal(t, l.f, out.Read.ID, "the newest of those left")
	l.do(l.fileOp(ann, "F", "recover_rev", rev(string(l.g))))
	out, _ = l.fileOp(bob, "F", "read")
	assert.Equal(t, l.g, out.Read.ID, "the order is that of publication")
}

func TestPermanentlyDeleteFile(t *testing.T) {
	l := newLibrary(t)
	f, x := l.key("F"), l.key("X")
	require.Equal(t, 1, l.References(digest(2)))
	out := l.do(l.fileOp(ann, "F", "permanently_delete"))
	assert.Equal(t, []Key{f}, out.CancelAll, "live ones need not be marked first")
	out = l.do(l.fileOp(ann, "X", "permanently_delete"))
	assert.Equal(t, []Key{x}, out.CancelAll, "deleted ones need no flag")
	for n := range 4 {
		assert.Zero(t, l.References(digest(n)), "deleted revisions go too")
	}
	_, ok := l.Lookup(f)
	assert.False(t, ok)
	_, err := l.fileOp(ann, "F", "read", view)
	wants(t, acl.CodeNoFile, err)
	out = l.do(l.CreateFile(ann, NewFile{FileID: ptr("F")}, "", "n", l.revisionID(), l.now()))
	assert.NotEqual(t, f, out.Node.Key, "a key is never given again")
}

func TestMoveFile(t *testing.T) {
	l := newLibrary(t)
	f := l.key("F")
	l.do(l.fileOp(ann, "F", "move", into("")))
	assert.Same(t, l.root, l.nodes[f].parent)
	l.do(l.fileOp(ann, "F", "move", into("D")))
	l.do(l.fileOp(ann, "F", "move", into("D")))
	assert.Same(t, l.ids["D"], l.nodes[f].parent)
	l.do(l.fileOp(ann, "L", "move", into("D")))
	assert.True(t, l.ids["L"].reachable(), "out of a deleted directory")
}

func TestChangeFileID(t *testing.T) {
	l := newLibrary(t)
	f := l.key("F")
	out := l.do(l.fileOp(ann, "F", "change_id", newID(*text(64))))
	assert.Equal(t, "F", out.Node.ID, "as it was")
	assert.Empty(t, out.CancelAll, "tasks follow the node")
	assert.Equal(t, f, l.key(*text(64)))
	_, err := l.fileOp(ann, "F", "read")
	wants(t, acl.CodeNoFile, err)
	l.do(l.fileOp(ann, "X", "change_id", view, newID("F")))
	assert.True(t, l.state("F").Deleted, "a deleted one too, and the old id is free")
}
