package actions

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"waybill/sessions"
)

func (r *rig) request(path string, size int64) (sessions.ID, error) {
	res, err := r.do(&UploadRequest{Path: path, HasPath: true, Size: size, Timeout: time.Minute})
	if err != nil {
		return sessions.ID{}, err
	}
	return res.(*UploadOpened).ID, nil
}

func (r *rig) staged() []string {
	r.t.Helper()
	entries, err := os.ReadDir(r.staging())
	require.NoError(r.t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestUploadRequestRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.limits.MaxFileSize = 1000
	require.NoError(t, os.Mkdir(r.path("dir"), 0o755))
	r.write("file", []byte("old"))
	require.NoError(t, os.Symlink("/tmp", r.path("out")))
	require.NoError(t, os.Symlink("dir", r.path("in")))
	require.NoError(t, unix.Mkfifo(r.path("fifo"), 0o644))
	r.mustStart()
	for _, c := range []struct {
		path string
		size int64
		want Code
	}{
		{"x", 0, CodeParam}, {"x", -1, CodeParam}, {"x", 1001, CodeTooBig},
		{"", 1, CodeIsDirectory}, {".", 1, CodeIsDirectory}, {"/", 1, CodeIsDirectory},
		{"new/", 1, CodeIsDirectory}, {`new\`, 1, CodeIsDirectory}, {"a/..", 1, CodeIsDirectory},
		{"dir", 1, CodeIsDirectory}, {"file/x", 1, CodeIsFile}, {"file/x/y", 1, CodeIsFile},
		{"../x", 1, CodeAccess}, {`..\x`, 1, CodeAccess}, {"out/x", 1, CodeAccess}, {"dir/../../x", 1, CodeAccess},
		{".waybill/x", 1, CodeAccess}, {".waybill", 1, CodeAccess}, {"fifo", 1, CodeAccess},
		{"missing/../x", 1, CodeNotFound},
		{"a\x00b", 1, CodeParam}, {"C:/x", 1, CodeParam}, {"a\xffb", 1, CodeParam},
		{strings.Repeat("n", 256), 1, CodeParam},
	} {
		_, err := r.request(c.path, c.size)
		assert.Equal(t, c.want, CodeOf(err), "%q of %d: %v", c.path, c.size, err)
		if err != nil {
			assert.NotContains(t, err.Error(), r.dir, "no absolute path")
			assert.NotContains(t, err.Error(), "\n")
		}
	}
	assert.Empty(t, r.staged(), "a refused request leaves no file")
	assert.Zero(t, r.Stats().LiveUploads)
	assert.Empty(t, r.records(sessions.KindUploadOpened))
	for _, good := range []string{"x", "dir/../y", "/z", `a\b`, "dir//./c", "in/d"} {
		_, err := r.request(good, 1000)
		assert.NoError(t, err, good)
	}
}

func TestUploadRequestWithoutSpace(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	_, _, free, err := r.root.Drive()
	require.NoError(t, err)
	r.close()
	r.reserve = int64(free) + 1<<40
	r.mustStart()
	_, err = r.request("x", 1)
	assert.Equal(t, CodeDiskFull, CodeOf(err))
	assert.Empty(t, r.staged())
	_, err = r.Queue(t.Context(), Call{Caller: rigCaller, Action: &UploadChunk{Data: []byte("x")}})
	assert.Equal(t, CodeDiskFull, CodeOf(err), "the bytes of a job count too")
	assert.Empty(t, r.staged())
}

func TestDefaultPath(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	res, err := r.do(&UploadRequest{Size: 1, Timeout: time.Minute})
	id := must[*UploadOpened](t, res, err).ID
	assert.Equal(t, "uploads/"+id.String(), r.status(id).Path)
	_, err = r.put(id, 0, []byte("x"))
	require.NoError(t, err)
	assert.Equal(t, "x", string(r.content("uploads/"+id.String())))
}

func TestOneUploadATarget(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	require.NoError(t, os.MkdirAll(r.path("dir/sub"), 0o755))
	require.NoError(t, os.Symlink("dir", r.path("link")))
	r.mustStart()
	first, err := r.request("dir/f", 2)
	require.NoError(t, err)
	for _, same := range []string{"dir/f", "/dir//f", `dir\f`, "link/f", "dir/sub/../f", "./dir/./f"} {
		_, err := r.request(same, 2)
		assert.Equal(t, CodeConflict, CodeOf(err), same)
	}
	other, err := r.request("dir/sub/f", 2)
	require.NoError(t, err)
	deep, err := r.request("new/a/b", 2)
	require.NoError(t, err)
	_, err = r.request("new/a/b", 2)
	assert.Equal(t, CodeConflict, CodeOf(err), "parents that are missing still")
	require.NoError(t, os.MkdirAll(r.path("new/a"), 0o755))
	_, err = r.request("new/a/b", 2)
	assert.Equal(t, CodeConflict, CodeOf(err), "and those that have appeared since")

	// A restart forgets none of them; whatever ends an upload frees its target.
	r.crash()
	r.mustStart()
	_, err = r.request("link/f", 2)
	assert.Equal(t, CodeConflict, CodeOf(err))
	_, err = r.request("new/a/b", 2)
	assert.Equal(t, CodeConflict, CodeOf(err))
	_, err = r.put(first, 0, []byte("ab"))
	require.NoError(t, err)
	_, err = r.do(&UploadCancel{Session: other})
	require.NoError(t, err)
	r.clock.Advance(time.Hour)
	require.NoError(t, r.reap(r.clock.Now()))
	assert.Equal(t, "expired", r.status(deep).State)
	for _, free := range []string{"dir/f", "dir/sub/f", "new/a/b"} {
		_, err = r.request(free, 2)
		assert.NoError(t, err, free)
	}
	assert.Empty(t, difference(r.targets, r.Engine.uploads))
}

// difference lists the targets that no live upload has.
func difference[K comparable](targets map[K]sessions.ID, live map[sessions.ID]*upload) (out []K) {
	for k, id := range targets {
		if live[id] == nil {
			out = append(out, k)
		}
	}
	return out
}

// The target stays what it was until the new file is whole; then it is that.
func TestReplacingAFile(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	old := random(5000)
	r.write("f", old)
	r.write("pointed", []byte("at"))
	require.NoError(t, os.Symlink("pointed", r.path("link")))
	r.mustStart()
	data := random(4000)
	id := r.open("f", 4000, "")
	_, err := r.put(id, 0, data[:3999])
	require.NoError(t, err)
	assert.Equal(t, old, r.content("f"))
	r.crash()
	r.mustStart()
	assert.Equal(t, old, r.content("f"))
	_, err = r.put(id, 3999, data[3999:])
	require.NoError(t, err)
	assert.Equal(t, data, r.content("f"))

	id = r.open("link", 1, "")
	_, err = r.put(id, 0, []byte("x"))
	require.NoError(t, err)
	fi, err := os.Lstat(r.path("link"))
	require.NoError(t, err)
	assert.True(t, fi.Mode().IsRegular(), "the link is replaced, not followed")
	assert.Equal(t, "at", string(r.content("pointed")))
}

func TestWrongDigest(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.write("f", []byte("old"))
	r.mustStart()
	id := r.open("f", 3, hexSHA1([]byte("new")))
	_, err := r.put(id, 0, []byte("bad"))
	assert.Equal(t, CodeTransfer, CodeOf(err))
	assert.Equal(t, "old", string(r.content("f")))
	assert.Empty(t, r.staged(), "its bytes are dropped")
	st := r.status(id)
	assert.Equal(t, "rejected", st.State)
	assert.Equal(t, CodeTransfer, st.Code)
	assert.Equal(t, int64(3), st.Received)
	assert.Zero(t, st.ExpiresMS)
	_, err = r.put(id, 0, []byte("new"))
	assert.Equal(t, CodeNoTransfer, CodeOf(err))
	_, err = r.do(&UploadCancel{Session: id})
	assert.Equal(t, CodeNoTransfer, CodeOf(err))
}

// What has happened to the target since the request ends the upload with its
// own code, at the chunk that completes it.
func TestTargetTakenMeanwhile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		do   func(r *rig) error
		want Code
	}{
		"a directory is there":       {func(r *rig) error { return os.MkdirAll(r.path("a/b"), 0o755) }, CodeIsDirectory},
		"a parent is a file":         {func(r *rig) error { return os.WriteFile(r.path("a"), nil, 0o644) }, CodeIsFile},
		"a parent leaves the root":   {func(r *rig) error { return os.Symlink("/tmp", r.path("a")) }, CodeAccess},
		"a parent leads to .waybill": {func(r *rig) error { return os.Symlink(".waybill", r.path("a")) }, CodeAccess},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.mustStart()
			id := r.open("a/b", 1, "")
			require.NoError(t, c.do(r))
			_, err := r.put(id, 0, []byte("x"))
			assert.Equal(t, c.want, CodeOf(err), "%v", err)
			st := r.status(id)
			assert.Equal(t, "rejected", st.State)
			assert.Equal(t, c.want, st.Code)
			assert.Empty(t, r.staged())
		})
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mustStart()
	id := r.open("f", 3, "")
	_, err := r.put(id, 0, []byte("ab"))
	require.NoError(t, err)
	_, err = r.doAs(as("other"), &UploadCancel{Session: id})
	require.NoError(t, err, "knowing the id is enough")
	assert.Empty(t, r.staged())
	st := r.status(id)
	assert.Equal(t, "cancelled", st.State)
	assert.Equal(t, CodeNoTransfer, st.Code)
	assert.Contains(t, r.records(sessions.KindUploadCancelled)[0], `"actor":"other"`)
	for _, a := range []Action{
		&UploadCancel{Session: id}, &UploadChunk{Session: id, Data: []byte("x")}, &DownloadClose{Session: id},
		&UploadCancel{}, &UploadStatusOf{}, &UploadChunk{Data: []byte("x")}, &DownloadChunk{}, &DownloadClose{},
	} {
		_, err := r.do(a)
		assert.Equal(t, CodeNoTransfer, CodeOf(err), a.Name())
	}
}

func TestTransferListBySubject(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.write("d", []byte("x"))
	r.mustStart()
	ids := make(map[string][2]sessions.ID)
	for _, who := range []string{"ann", "bob"} {
		res, err := r.doAs(as(who), &UploadRequest{Path: who, HasPath: true, Size: 5, Timeout: time.Minute})
		up := must[*UploadOpened](t, res, err).ID
		res, err = r.doAs(as(who), &DownloadRequest{Path: "d", Timeout: time.Minute})
		ids[who] = [2]sessions.ID{up, must[*DownloadOpened](t, res, err).ID}
		r.clock.Advance(time.Second)
	}
	gone := r.open("gone", 1, "")
	_, err := r.do(&UploadCancel{Session: gone})
	require.NoError(t, err)
	_, err = r.put(ids["ann"][0], 1, []byte("x"))
	require.NoError(t, err)

	res, err := r.doAs(as("ann"), TransferList{})
	ann := must[*Transfers](t, res, err)
	require.Len(t, ann.Uploads, 1)
	assert.Equal(t, UploadStatus{ID: ids["ann"][0], State: "open", Path: "ann", Size: 5, Received: 1,
		Missing: [][2]int64{{0, 1}, {2, 5}}, ExpiresMS: 60_000, Code: CodeOK}, ann.Uploads[0])
	require.Len(t, ann.Downloads, 1)
	assert.Equal(t, DownloadStatus{ID: ids["ann"][1], Path: "d", Size: 1, SHA1: hexSHA1([]byte("x")), ExpiresMS: 58_000}, ann.Downloads[0])
	res, err = r.doAs(as("carl"), TransferList{})
	assert.Equal(t, &Transfers{Uploads: []UploadStatus{}, Downloads: []DownloadStatus{}}, must[*Transfers](t, res, err))
	// Being called main is not holding the main token.
	res, err = r.doAs(as("main"), TransferList{})
	assert.Empty(t, must[*Transfers](t, res, err).Uploads)
	res, err = r.do(TransferList{})
	all := must[*Transfers](t, res, err)
	require.Len(t, all.Uploads, 2)
	assert.Equal(t, ids["ann"][0], all.Uploads[0].ID, "oldest first")
	assert.Len(t, all.Downloads, 2)
}
