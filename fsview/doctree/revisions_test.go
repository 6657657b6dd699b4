package doctree

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/fsview/acl"
)

// Every check of §4.7, and of two that a request fails the earlier one.
func TestFileRevisionsErrors(t *testing.T) {
	l := newLibrary(t)
	bad := json.RawMessage(`[1]`)
	for _, c := range []struct {
		shows string
		s     *acl.Subject
		op    RevisionsOp
		want  acl.Code
	}{
		{"no file_id", ann, RevisionsOp{}, acl.CodeMissing},
		{"an empty file_id", ann, RevisionsOp{FileID: ptr("")}, acl.CodeMissing},
		{"no file_id before the right", bob, RevisionsOp{ViewDeleted: true}, acl.CodeMissing},
		{"no right", bob, RevisionsOp{FileID: ptr("F"), ViewDeleted: true}, acl.CodeDenied},
		{"the right before the file", bob, RevisionsOp{FileID: ptr("none"), ViewDeleted: true}, acl.CodeDenied},
		{"unknown", ann, RevisionsOp{FileID: ptr("none")}, acl.CodeNotFound},
		{"unknown before a bad range", ann, RevisionsOp{FileID: ptr("none"), ItemRange: bad}, acl.CodeNotFound},
		{"deleted", ann, RevisionsOp{FileID: ptr("X")}, acl.CodeNotFound},
		{"deleted before a directory", ann, RevisionsOp{FileID: ptr("G")}, acl.CodeNotFound},
		{"a directory", ann, RevisionsOp{FileID: ptr("D")}, acl.CodeNotFile},
		{"a directory before path access", ann, RevisionsOp{FileID: ptr("S")}, acl.CodeNotFile},
		{"no read", ann, RevisionsOp{FileID: ptr("T")}, acl.CodeDenied},
		{"no read before a bad range", ann, RevisionsOp{FileID: ptr("T"), ItemRange: bad}, acl.CodeDenied},
		{"a bad range", ann, RevisionsOp{FileID: ptr("F"), ItemRange: bad}, acl.CodeRange},
		{"a bad range before a long one", ann, RevisionsOp{FileID: ptr("F"), ItemRange: json.RawMessage(`[-1,60]`)}, acl.CodeRange},
		{"a long range", ann, RevisionsOp{FileID: ptr("F"), ItemRange: json.RawMessage(`[0,51]`)}, acl.CodeRangeLong},
	} {
		l.unchanged(func() {
			_, err := l.FileRevisions(c.s, c.op, l.now())
			wants(t, c.want, err, c.shows)
		})
	}
}

func TestItemRange(t *testing.T) {
	for raw, want := range map[string]acl.Code{
		`[0,1]`: "", `[3,3]`: "", `[0,50]`: "", `[1.0,2e0]`: "", ` [ 1 , 2 ] `: "", `null`: "", ``: "", `[9007199254740990,9007199254740991]`: "",
		`[0,0]`: acl.CodeRange, `[2,1]`: acl.CodeRange, `[-1,1]`: acl.CodeRange, `[0.5,1]`: acl.CodeRange, `[0,1,2]`: acl.CodeRange,
		`[]`: acl.CodeRange, `{}`: acl.CodeRange, `"0,1"`: acl.CodeRange, `["0",1]`: acl.CodeRange, `[0,null]`: acl.CodeRange,
		`[false,true]`: acl.CodeRange, `[[0],1]`: acl.CodeRange, `7`: acl.CodeRange, `[0,1e400]`: acl.CodeRange,
		`[0,9007199254740993]`: acl.CodeRange, `[0,"Infinity"]`: acl.CodeRange, `[0,1`: acl.CodeRange,
		`[0,51]`: acl.CodeRangeLong, `[0,9007199254740991]`: acl.CodeRangeLong,
	} {
		_, _, err := itemRange(json.RawMessage(raw))
		wants(t, want, err, raw)
	}
	from, to, err := itemRange(nil)
	require.NoError(t, err)
	assert.Equal(t, [2]int{0, 10}, [2]int{from, to})
}

func TestFileRevisions(t *testing.T) {
	b := newBook(t)
	at := b.now()
	all := b.written("F", "", 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21)
	b.do(b.fileOp(ann, "F", "delete_rev", rev(string(all[1]))))
	get := func(s *acl.Subject, op RevisionsOp) (out []RevisionID) {
		t.Helper()
		op.FileID = ptr("F")
		infos, err := b.FileRevisions(s, op, b.now())
		require.NoError(t, err)
		require.NotNil(t, infos)
		for _, r := range infos {
			out = append(out, r.ID)
		}
		return out
	}
	left := append([]RevisionID{all[0]}, all[2:]...)
	assert.Equal(t, left[:10], get(bob, RevisionsOp{}), "the oldest ten, none that is deleted")
	assert.Equal(t, all[:10], get(ann, RevisionsOp{ViewDeleted: true}))
	assert.Equal(t, []RevisionID{all[11], all[10]}, get(bob, RevisionsOp{Reverse: true, ItemRange: json.RawMessage(`[0,2]`)}))
	assert.Equal(t, left[10:], get(bob, RevisionsOp{ItemRange: json.RawMessage(`[10,20]`)}), "cut at the end")
	assert.Empty(t, get(bob, RevisionsOp{ItemRange: json.RawMessage(`[11,12]`)}), "beyond the end")
	assert.Empty(t, get(bob, RevisionsOp{ItemRange: json.RawMessage(`[3,3]`)}))

	infos, err := b.FileRevisions(ann, RevisionsOp{FileID: ptr("F"), ViewDeleted: true, ItemRange: json.RawMessage(`[0,2]`)}, b.now())
	require.NoError(t, err)
	assert.Equal(t, []RevisionInfo{
		{ID: all[0], Created: at, Size: 10, Digest: digest(10)},
		{ID: all[1], Created: at, Size: 11, Digest: digest(11), State: State{Deleted: true, Expire: b.at.Unix() + week}},
	}, infos)
}

func TestAvatars(t *testing.T) {
	l := newLibrary(t)
	for id, want := range map[string]acl.Code{
		"none": acl.CodeNotFound, "": acl.CodeNotFound, "D": acl.CodeNotFound, "X": acl.CodeNotFound, "U": acl.CodeNotFound,
		"S": acl.CodeNotFound, "T": acl.CodeDenied, "F": "", "N": "",
	} {
		wants(t, want, l.AvatarReadable(bob, id, l.now()), id)
	}
	r, ok := l.AvatarContent("T")
	require.True(t, ok, "its own rules are not asked")
	assert.Equal(t, digest(5), r.Digest)
	for _, id := range []string{"none", "", "D", "X", "N"} {
		_, ok := l.AvatarContent(id)
		assert.False(t, ok, id)
	}
}
