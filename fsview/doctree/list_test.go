package doctree

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/fsview/acl"
)

func listIDs(l *Listing) []string {
	l.Sort()
	ids := []string{}
	for _, e := range l.Entries {
		ids = append(ids, e.ID)
	}
	return ids
}

func TestListDir(t *testing.T) {
	l := newLibrary(t)
	out, err := l.dirOp(bob, "D", "list")
	require.NoError(t, err)
	created := acl.Seconds(l.at)
	assert.Equal(t, &Listing{
		ID: "D", Name: "dir D",
		Parent:  &ListEntry{Name: "<root directory>", Dir: true},
		Entries: []ListEntry{{ID: "F", Name: "file F", Created: created, Size: 2}},
	}, out.Listing)
	assert.Equal(t, "D", out.Node.ID)

	out, err = l.dirOp(ann, "D", "list", dirView)
	require.NoError(t, err)
	assert.Equal(t, []string{"F", "X"}, listIDs(out.Listing), "what is deleted, with the flag")
	assert.Equal(t, State{Deleted: true, Expire: l.at.Unix() + week}, out.Listing.Entries[1].State)

	out, err = l.dirOp(ann, "G", "list", dirView)
	require.NoError(t, err)
	assert.Equal(t, []string{"K", "L"}, listIDs(out.Listing), "directories first")
	assert.True(t, out.Listing.Entries[0].Dir)

	out, err = l.dirOp(ann, "K", "list")
	require.NoError(t, err, "recovered alone: reachable by id")
	assert.Equal(t, "G", out.Listing.Parent.ID)
	assert.NotZero(t, out.Listing.Parent.Created)
	assert.NotNil(t, out.Listing.Entries)
}

// A parent that may not be read has no entry. It takes a cut, or being able to
// list without being able to read: rules only narrow downwards.
func TestListWithoutParent(t *testing.T) {
	b := newBook(t)
	b.dir("P", "")
	b.dir("Q", "P")
	b.rules("P", `{"read":`+nobody+`,"list":[]}`, "")
	out, err := b.dirOp(bob, "Q", "list")
	require.NoError(t, err)
	assert.Nil(t, out.Listing.Parent)
	out, err = b.dirOp(bob, "P", "list")
	require.NoError(t, err)
	assert.NotNil(t, out.Listing.Parent, "the root may be read")
	assert.Empty(t, out.Listing.Entries, "what is below may not be")
}

func TestListHidesWhatMayNotBeRead(t *testing.T) {
	b := newBook(t)
	b.dir("P", "")
	for _, id := range []string{"a", "b", "c", "d"} {
		b.file(id, "P")
	}
	b.rules("P", `{"read":[],"list":[],"deny":{"read":{"users":{"bob":{}}},"list":{}}}`, "")
	b.rules("b", `{"__noinherit__":["deny"],"read":[]}`, "")
	b.rules("c", `{"__noinherit__":["all"]}`, "")
	b.rules("d", `{"__noinherit__":["all"],"read":`+sy+`}`, "")
	op := DirOp{DirID: ptr("P"), Action: ptr("list")}
	out, err := b.OperateDir(bob, op, true, b.now())
	require.NoError(t, err)
	assert.Equal(t, []string{"b", "c"}, listIDs(out.Listing), "as the parent says with deny, without, or not at all")
	out, err = b.OperateDir(bob, op, false, b.now())
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "b", "c", "d"}, listIDs(out.Listing))
}

func TestRootDir(t *testing.T) {
	l := newLibrary(t)
	listed, err := l.RootDir(bob, false, true, l.now())
	require.NoError(t, err)
	assert.Equal(t, []string{"D", "N"}, listIDs(listed))
	assert.Nil(t, listed.Parent)
	assert.Equal(t, int64(-1), listed.Entries[1].Size, "no newest revision")
	listed, err = l.RootDir(bob, false, false, l.now())
	require.NoError(t, err)
	assert.Equal(t, []string{"D", "S", "N"}, listIDs(listed))
	listed, err = l.RootDir(ann, true, true, l.now())
	require.NoError(t, err)
	assert.Equal(t, []string{"D", "G", "N"}, listIDs(listed))

	l.rules("", `{"read":`+sy+`}`, "")
	l.unchanged(func() {
		_, err = l.RootDir(bob, false, true, l.now())
		wants(t, acl.CodeForbidden, err)
		_, err = l.RootDir(bob, true, true, l.now())
		wants(t, acl.CodeDenied, err, "the right before path access")
	})
}

// A root whose rules do not count below lets its children be listed.
func TestListBelowARootApart(t *testing.T) {
	b := newBook(t)
	b.dir("P", "")
	b.rules("", `{"read":[],"deny":{"read":{"users":{"bob":{}}}}}`, "")
	b.apply(b.SetAccess(boss, SetAccess{ID: ptr(""), Inherit: ptr(false)}, b.now()))
	out, err := b.dirOp(bob, "P", "list")
	require.NoError(t, err)
	assert.Nil(t, out.Listing.Parent)
	_, err = b.RootDir(bob, false, true, b.now())
	wants(t, acl.CodeForbidden, err)
}

func TestListOrder(t *testing.T) {
	b := newBook(t)
	for _, f := range []struct{ id, name string }{
		{"5", "b"}, {"4", "B"}, {"3", "\uffee"}, {"2", "𝄞"}, {"7", "a"}, {"6", "a"}, {"1", "ä"},
	} {
		b.do(b.CreateFile(ann, NewFile{FileID: &f.id, Filename: &f.name}, "", "", b.revisionID(), b.now()))
	}
	b.dir("z", "")
	listed, err := b.RootDir(ann, false, true, b.now())
	require.NoError(t, err)
	assert.Equal(t, []string{"z", "4", "6", "7", "5", "1", "3", "2"}, listIDs(listed), "by code point, then id")
}
