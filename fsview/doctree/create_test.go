package doctree

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/fsview/acl"
)

func TestCreateFileErrors(t *testing.T) {
	l := newLibrary(t)
	for _, c := range []struct {
		shows string
		n     NewFile
		want  acl.Code
	}{
		{"a long id", NewFile{FileID: text(65)}, acl.CodeFileIDLong},
		{"a long id before a bad name", NewFile{FileID: text(65), Filename: ptr("/")}, acl.CodeFileIDLong},
		{"an empty name", NewFile{Filename: ptr("")}, acl.CodeName},
		{"a bad name", NewFile{Filename: ptr(".")}, acl.CodeName},
		{"a bad id", NewFile{FileID: ptr("a\tb")}, acl.CodeName},
		{"a bad name before a taken id", NewFile{FileID: ptr("F"), Filename: ptr(".")}, acl.CodeName},
		{"a taken id", NewFile{FileID: ptr("F")}, acl.CodeFileExists},
		{"taken by a directory", NewFile{FileID: ptr("D")}, acl.CodeFileExists},
		{"taken by what is deleted", NewFile{FileID: ptr("X")}, acl.CodeFileExists},
		{"a taken id before an unknown directory", NewFile{FileID: ptr("F"), DirectoryID: ptr("none")}, acl.CodeFileExists},
		{"an unknown directory", NewFile{DirectoryID: ptr("none")}, acl.CodeNoTarget},
		{"a deleted directory", NewFile{DirectoryID: ptr("G")}, acl.CodeNoTarget},
		{"a directory below a deleted one", NewFile{DirectoryID: ptr("K")}, acl.CodeNoTarget},
		{"a deleted directory before its rules", NewFile{DirectoryID: ptr("V")}, acl.CodeNoTarget},
		{"a deleted file before a file", NewFile{DirectoryID: ptr("X")}, acl.CodeNoTarget},
		{"a file", NewFile{DirectoryID: ptr("F")}, acl.CodeNotDir},
		{"a file before its rules", NewFile{DirectoryID: ptr("T")}, acl.CodeNotDir},
		{"no write there", NewFile{DirectoryID: ptr("S")}, acl.CodeDenied},
	} {
		l.unchanged(func() {
			out, err := l.CreateFile(ann, c.n, "random", "untitled", "r", l.now())
			wants(t, c.want, err, c.shows)
			assert.Equal(t, Outcome{}, out)
		})
	}
	_, err := l.CreateFile(bob, NewFile{}, "random", "untitled", "r", l.now())
	wants(t, acl.CodeDenied, err, "the root")
}

func TestCreateFile(t *testing.T) {
	l := newLibrary(t)
	placeholder := l.revisionID()
	out := l.do(l.CreateFile(bob, NewFile{DirectoryID: ptr("D"), FileID: text(64), Filename: ptr("a.txt")}, "random", "untitled", placeholder, l.now()))
	key := l.key(*text(64))
	assert.Equal(t, &Target{Key: key, ID: *text(64)}, out.Write)
	assert.Equal(t, NodeInfo{Key: key, ID: *text(64), Name: "a.txt"}, out.Node)
	assert.Len(t, out.Facts, 2)
	n := l.nodes[key]
	assert.Equal(t, "bob", n.owner)
	assert.Equal(t, l.at, n.created)
	assert.JSONEq(t, `{}`, string(n.access.Rules()))
	assert.Equal(t, int64(0), n.size(), "readable, and empty")
	assert.Positive(t, l.References(EmptyDigest))

	first := l.revisionID()
	l.apply(l.Publish(bob, key, first, digest(9), 9, l.now()))
	listed, err := l.FileRevisions(ann, RevisionsOp{FileID: text(64), ViewDeleted: true}, l.now())
	require.NoError(t, err)
	require.Len(t, listed, 1, "the placeholder is gone")
	assert.Equal(t, first, listed[0].ID)
	l.apply(l.Publish(bob, key, l.revisionID(), digest(9), 9, l.now()))
	assert.Equal(t, 2, l.References(digest(9)), "equal contents count twice")

	for _, n := range []NewFile{{}, {DirectoryID: ptr(""), FileID: ptr("")}} {
		out, err = l.CreateFile(ann, n, "random", "Untitled-7", "r", l.now())
		require.NoError(t, err)
		assert.Equal(t, NodeInfo{Key: key + 1, ID: "random", Name: "Untitled-7"}, out.Node)
	}
}

// A placeholder that somebody deleted is replaced all the same.
func TestFirstPublicationReplacesADeletedPlaceholder(t *testing.T) {
	b := newBook(t)
	key := b.file("F", "")
	b.do(b.fileOp(ann, "F", "delete_rev"))
	b.apply(b.Publish(ann, key, b.revisionID(), digest(1), 1, b.now()))
	listed, err := b.FileRevisions(ann, RevisionsOp{FileID: ptr("F"), ViewDeleted: true}, b.now())
	require.NoError(t, err)
	assert.Len(t, listed, 1)
	assert.Empty(t, b.DuePurge(b.now()+1e9, 10))
}

func TestPublishErrors(t *testing.T) {
	l := newLibrary(t)
	publish := func(s *acl.Subject, key Key) error {
		_, err := l.Publish(s, key, "r", digest(1), 1, l.now())
		return err
	}
	wants(t, acl.CodeTaskGone, publish(boss, 999))
	wants(t, acl.CodeTaskGone, publish(boss, 0))
	wants(t, acl.CodeTaskGone, publish(boss, l.key("D")))
	wants(t, acl.CodeTaskGone, publish(bob, l.key("U")), "deleted before path access")
	wants(t, acl.CodeTaskDenied, publish(eve, l.key("N")))
	wants(t, "", publish(ann, l.key("L")), "live below a deleted directory")
	wants(t, "", publish(bob, l.key("F")))
}

func TestCreateDirErrors(t *testing.T) {
	l := newLibrary(t)
	deep := ""
	for i := range MaxDepth {
		id := fmt.Sprint("deep", i)
		l.dir(id, deep)
		deep = id
	}
	maker := subject("u", "create_dir", "")
	for _, c := range []struct {
		shows string
		s     *acl.Subject
		n     NewDir
		want  acl.Code
	}{
		{"no right", sam, NewDir{Name: ptr("n")}, acl.CodeDenied},
		{"no right before no name", sam, NewDir{}, acl.CodeDenied},
		{"no name", ann, NewDir{}, acl.CodeMissing},
		{"an empty name", ann, NewDir{Name: ptr("")}, acl.CodeMissing},
		{"no name before a long id", ann, NewDir{DirID: text(65)}, acl.CodeMissing},
		{"a long id", ann, NewDir{Name: ptr("n"), DirID: text(65)}, acl.CodeDirIDLong},
		{"a long id before a bad name", ann, NewDir{Name: ptr("/"), DirID: text(65)}, acl.CodeDirIDLong},
		{"a bad name", ann, NewDir{Name: ptr("/")}, acl.CodeName},
		{"a bad id", ann, NewDir{Name: ptr("n"), DirID: ptr("\x01")}, acl.CodeName},
		{"a bad name before a taken id", ann, NewDir{Name: ptr("/"), DirID: ptr("D")}, acl.CodeName},
		{"a taken id", ann, NewDir{Name: ptr("n"), DirID: ptr("D")}, acl.CodeDirExists},
		{"taken by a deleted file", ann, NewDir{Name: ptr("n"), DirID: ptr("X")}, acl.CodeDirExists},
		{"a taken id before an unknown parent", ann, NewDir{Name: ptr("n"), DirID: ptr("D"), ParentID: ptr("none")}, acl.CodeDirExists},
		{"an unknown parent", ann, NewDir{Name: ptr("n"), ParentID: ptr("none")}, acl.CodeNoTarget},
		{"a deleted parent", ann, NewDir{Name: ptr("n"), ParentID: ptr("G")}, acl.CodeNoTarget},
		{"a parent below a deleted one", ann, NewDir{Name: ptr("n"), ParentID: ptr("K")}, acl.CodeNoTarget},
		{"a deleted file as parent", ann, NewDir{Name: ptr("n"), ParentID: ptr("X")}, acl.CodeNoTarget},
		{"a file as parent", ann, NewDir{Name: ptr("n"), ParentID: ptr("F")}, acl.CodeNotDir},
		{"a file as parent before its rules", ann, NewDir{Name: ptr("n"), ParentID: ptr("T")}, acl.CodeNotDir},
		{"no write there", ann, NewDir{Name: ptr("n"), ParentID: ptr("S")}, acl.CodeDenied},
		{"no write before the depth", maker, NewDir{Name: ptr("n"), ParentID: &deep}, acl.CodeDenied},
		{"too deep", ann, NewDir{Name: ptr("n"), ParentID: &deep}, acl.CodeTooDeep},
	} {
		l.unchanged(func() {
			out, err := l.CreateDir(c.s, c.n, "random", l.now())
			wants(t, c.want, err, c.shows)
			assert.Equal(t, Outcome{}, out)
		})
	}
	l.file("in the deepest", deep)
}

func TestCreateDir(t *testing.T) {
	l := newLibrary(t)
	next := l.next
	out := l.do(l.CreateDir(ann, NewDir{Name: ptr("Reports"), DirID: text(64), ParentID: ptr("D")}, "random", l.now()))
	assert.Equal(t, NodeInfo{Key: next, ID: *text(64), Name: "Reports", Dir: true}, out.Node)
	assert.Nil(t, out.Write)
	assert.Same(t, l.ids["D"], l.nodes[next].parent)
	for _, n := range []NewDir{{Name: ptr("n")}, {Name: ptr("n"), DirID: ptr(""), ParentID: ptr("")}} {
		out, err := l.CreateDir(ann, n, strings.Repeat("0f", 16), l.now())
		require.NoError(t, err)
		assert.Equal(t, strings.Repeat("0f", 16), out.Node.ID)
		assert.Contains(t, string(out.Facts[0].Body), `"parent":0`)
	}
}
