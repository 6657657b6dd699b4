package actions

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"waybill/fsview"
	"waybill/sessions"
)

// as is a caller who is not the holder of the main token.
func as(subject string, permissions ...string) Caller {
	if permissions == nil {
		permissions = []string{"**"}
	}
	return Caller{Subject: subject, Permissions: mustPermissions(permissions...), Via: "test " + subject}
}

func (r *rig) doAs(who Caller, a Action) (Result, error) {
	return r.Do(context.Background(), Call{Caller: who, Action: a})
}

func (r *rig) write(name string, data []byte) {
	r.t.Helper()
	require.NoError(r.t, os.WriteFile(r.path(name), data, 0o644))
}

func (r *rig) download(path string) *DownloadOpened {
	r.t.Helper()
	res, err := r.do(&DownloadRequest{Path: path, Timeout: time.Minute})
	return must[*DownloadOpened](r.t, res, err)
}

func (r *rig) read(id sessions.ID, from, to int64) ([]byte, error) {
	res, err := r.do(&DownloadChunk{Session: id, From: from, To: to})
	if err != nil {
		return nil, err
	}
	c := res.(*Content)
	defer c.Release()
	return append([]byte(nil), c.Bytes...), nil
}

func TestDownload(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	data := random(300_000)
	r.write("f.bin", data)
	r.mustStart()
	d := r.download("/f.bin")
	assert.Equal(t, int64(len(data)), d.Size)
	assert.Equal(t, hexSHA1(data), d.SHA1)
	got, err := r.read(d.ID, 100_000, 250_000)
	require.NoError(t, err)
	assert.Equal(t, data[100_000:250_000], got)

	r.write("big", nil)
	require.NoError(t, os.Truncate(r.path("big"), DownloadSpan+10))
	big := r.download("big")
	for _, c := range []struct {
		id       sessions.ID
		from, to int64
		want     Code
	}{
		{d.ID, 0, 0, CodeOK},
		{d.ID, 300_000, 300_000, CodeOK},
		{d.ID, 299_999, 300_000, CodeOK},
		{d.ID, 299_999, 300_001, CodeParam},
		{d.ID, 300_001, 300_001, CodeParam},
		{d.ID, 2, 1, CodeParam},
		{d.ID, -1, 1, CodeParam},
		{big.ID, 1, DownloadSpan + 1, CodeOK},
		{big.ID, 1, DownloadSpan + 2, CodeParam},
	} {
		got, err := r.read(c.id, c.from, c.to)
		assert.Equal(t, c.want, CodeOf(err), "%d..%d", c.from, c.to)
		if err == nil {
			assert.Len(t, got, int(c.to-c.from))
		}
	}

	_, err = r.do(&DownloadClose{Session: d.ID})
	require.NoError(t, err)
	_, err = r.read(d.ID, 0, 1)
	assert.Equal(t, CodeNoTransfer, CodeOf(err))
	_, err = r.do(&DownloadClose{Session: d.ID})
	assert.Equal(t, CodeNoTransfer, CodeOf(err))
	up := r.open("up", 5, "")
	_, err = r.read(up, 0, 1)
	assert.Equal(t, CodeNoTransfer, CodeOf(err), "an upload is no download")
	_, err = r.put(big.ID, 0, []byte("x"))
	assert.Equal(t, CodeNoTransfer, CodeOf(err), "a download is no upload")
}

func TestDownloadRequestRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	require.NoError(t, os.Mkdir(r.path("dir"), 0o755))
	r.write("file", nil)
	require.NoError(t, os.Symlink("/etc/passwd", r.path("out")))
	require.NoError(t, unix.Mkfifo(r.path("fifo"), 0o644))
	r.mustStart()
	for path, want := range map[string]Code{
		"missing": CodeNotFound, "dir": CodeIsDirectory, "": CodeIsDirectory, ".": CodeIsDirectory,
		"dir/missing": CodeNotFound, "file/x": CodeIsFile, "../x": CodeAccess, "out": CodeAccess,
		".waybill/lock": CodeAccess, "fifo": CodeAccess, "a\x00": CodeParam, "c:x": CodeParam,
	} {
		_, err := r.do(&DownloadRequest{Path: path, Timeout: time.Minute})
		assert.Equal(t, want, CodeOf(err), "%q: %v", path, err)
	}
	_, downloads := 0, len(r.Engine.downloads)
	assert.Zero(t, downloads)
}

// A download is of the file as it was when it began: never of another.
func TestDownloadIsBoundToItsFile(t *testing.T) {
	t.Parallel()
	data := []byte("0123456789")
	for name, change := range map[string]func(r *rig) error{
		"written": func(r *rig) error {
			f, err := os.OpenFile(r.path("f"), os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteAt([]byte("x"), 0)
			return err
		},
		"grown":     func(r *rig) error { return os.Truncate(r.path("f"), 100) },
		"truncated": func(r *rig) error { return os.Truncate(r.path("f"), 3) },
		"deleted":   func(r *rig) error { return os.Remove(r.path("f")) },
		"replaced": func(r *rig) error {
			r.write("g", data)
			return os.Rename(r.path("g"), r.path("f"))
		},
		"replaced by a directory": func(r *rig) error {
			if err := os.Remove(r.path("f")); err != nil {
				return err
			}
			return os.Mkdir(r.path("f"), 0o755)
		},
		"replaced by a FIFO": func(r *rig) error {
			if err := os.Remove(r.path("f")); err != nil {
				return err
			}
			return unix.Mkfifo(r.path("f"), 0o644)
		},
		"replaced by a link that leaves the root": func(r *rig) error {
			if err := os.Remove(r.path("f")); err != nil {
				return err
			}
			return os.Symlink("/etc/passwd", r.path("f"))
		},
		"replaced by an upload": func(r *rig) error {
			_, err := r.put(r.open("f", 10, ""), 0, data)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.write("f", data)
			// Change times are kept with the grain of a tick: the file must not
			// be as young as the change.
			time.Sleep(20 * time.Millisecond)
			r.mustStart()
			d := r.download("f")
			_, err := r.read(d.ID, 0, 10)
			require.NoError(t, err)
			require.NoError(t, change(r))
			_, err = r.read(d.ID, 0, 2)
			assert.Equal(t, CodeTransfer, CodeOf(err), "%v", err)
			assert.ErrorContains(t, err, "changed since the download began")
			_, err = r.do(&DownloadClose{Session: d.ID})
			assert.NoError(t, err, "it can still be closed")
		})
	}
}

func TestDownloadsPerSubject(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.limits.MaxDownloadsPerFile = 2
	r.write("f", []byte("x"))
	r.write("g", []byte("x"))
	require.NoError(t, os.Symlink("f", r.path("link")))
	r.mustStart()
	open := func(who, path string) (sessions.ID, error) {
		res, err := r.doAs(as(who), &DownloadRequest{Path: path, Timeout: time.Minute})
		if err != nil {
			return sessions.ID{}, err
		}
		return res.(*DownloadOpened).ID, nil
	}
	first, err := open("ann", "f")
	require.NoError(t, err)
	_, err = open("ann", "link")
	require.NoError(t, err)
	_, err = open("ann", "f")
	assert.Equal(t, CodeRateLimit, CodeOf(err))
	_, err = open("ann", "./link")
	assert.Equal(t, CodeRateLimit, CodeOf(err), "the same file by another name")
	_, err = open("ann", "g")
	assert.NoError(t, err)
	_, err = open("bob", "f")
	assert.NoError(t, err)
	_, err = r.do(&DownloadClose{Session: first})
	require.NoError(t, err)
	_, err = open("ann", "f")
	assert.NoError(t, err)
	assert.Equal(t, 4, r.Stats().LiveDownloads)
}

func TestDigestsAreRememberedByIdentity(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.write("young", []byte("a"))
	r.write("old", []byte("b"))
	past := r.clock.Now().Add(-time.Minute)
	require.NoError(t, os.Chtimes(r.path("old"), past, past))
	r.mustStart()
	known := func() int {
		r.hashes.mu.Lock()
		defer r.hashes.mu.Unlock()
		return len(r.hashes.known)
	}
	r.download("young")
	assert.Zero(t, known(), "a change within the clock's grain would not show")
	r.download("old")
	assert.Equal(t, 1, known())
	// What is known is used: here it is made wrong on purpose.
	f, err := r.root.Open(mustName("old"))
	require.NoError(t, err)
	defer f.Close()
	r.hashes.mu.Lock()
	r.hashes.known[f.Identity()] = sha1Sum{1}
	r.hashes.mu.Unlock()
	assert.True(t, strings.HasPrefix(r.download("old").SHA1, "0100"))
	require.NoError(t, os.Chtimes(r.path("old"), past, past.Add(time.Second)))
	assert.Equal(t, hexSHA1([]byte("b")), r.download("old").SHA1, "another identity")
}

func TestHashCacheIsBounded(t *testing.T) {
	h := newHashCache()
	for i := range maxHashed + 10 {
		h.remember(fsview.Identity{Ino: uint64(i)}, sha1Sum{})
		h.remember(fsview.Identity{Ino: uint64(i)}, sha1Sum{1})
	}
	assert.Len(t, h.known, maxHashed)
	assert.Len(t, h.order, maxHashed)
	assert.NotContains(t, h.known, fsview.Identity{Ino: 9})
	assert.Equal(t, sha1Sum{1}, h.known[fsview.Identity{Ino: 10}])
}

func mustName(s string) fsview.Name {
	n, err := fsview.ParseName(s)
	if err != nil {
		panic(err) // a constant of a test
	}
	return n
}

// What is read is recorded, by whom, at most once a second, and at the close.
func TestReadingIsRecorded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.write("f", random(1000))
	r.mustStart()
	id := r.download("f").ID
	require.NoError(t, r.reap(r.clock.Now()))
	for i := range int64(5) {
		_, err := r.read(id, i*10, i*10+5)
		require.NoError(t, err)
		require.NoError(t, r.reap(r.clock.Now()))
	}
	assert.Empty(t, r.records(sessions.KindDownloadRead), "not more than once a second")
	res, err := r.doAs(as("bob"), &DownloadChunk{Session: id, From: 100, To: 200})
	must[*Content](t, res, err).Release()
	r.clock.Advance(readFactEvery)
	require.NoError(t, r.reap(r.clock.Now()))
	got := r.records(sessions.KindDownloadRead)
	require.Len(t, got, 2, "one for each who read")
	assert.Contains(t, got[0], `"actor":"main","via":"test","ref":`)
	assert.Contains(t, got[0], fmt.Sprintf(`"body":{"session":"%s","ranges":[[0,5],[10,15],[20,25],[30,35],[40,45]]}`, id))
	assert.Contains(t, got[1], `"actor":"bob","via":"test bob","ref":`)
	assert.Contains(t, got[1], `"ranges":[[100,200]]}`)
	require.NoError(t, r.reap(r.clock.Now().Add(time.Minute/2)))
	assert.Len(t, r.records(sessions.KindDownloadRead), 2, "nothing read, nothing recorded")

	_, err = r.read(id, 7, 8)
	require.NoError(t, err)
	_, err = r.do(&DownloadClose{Session: id})
	require.NoError(t, err)
	got = r.records(sessions.KindDownloadRead)
	require.Len(t, got, 3)
	assert.Contains(t, got[2], `[[7,8]]`)

	// A read of nothing is a request all the same.
	id = r.download("f").ID
	before := len(r.records(KindAnswered))
	_, err = r.read(id, 0, 0)
	require.NoError(t, err)
	assert.Len(t, r.records(KindAnswered), before+1)

	// A clean stop records what was read as well.
	_, err = r.read(id, 3, 4)
	require.NoError(t, err)
	r.close()
	r.mustStart()
	got = r.records(sessions.KindDownloadRead)
	require.Len(t, got, 4)
	assert.Contains(t, got[3], `[[3,4]]`)
	assert.Contains(t, got[3], `"actor":"main"`)
}

// Bytes that go out while the download is being closed are recorded too, or
// do not go out.
func TestReadingWhileClosing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.limits.MaxDownloadsPerFile = 100
	r.write("f", random(1000))
	r.mustStart()
	for range 5 {
		id := r.download("f").ID
		var wg sync.WaitGroup
		var mu sync.Mutex
		var read sessions.Set
		for i := range int64(20) {
			wg.Go(func() {
				if _, err := r.read(id, i*10, i*10+10); err == nil {
					mu.Lock()
					read.Add(sessions.Range{i * 10, i*10 + 10})
					mu.Unlock()
				} else {
					assert.Equal(t, CodeNoTransfer, CodeOf(err))
				}
			})
			if i == 10 {
				wg.Go(func() {
					_, err := r.do(&DownloadClose{Session: id})
					assert.NoError(t, err)
				})
			}
		}
		wg.Wait()
		var recorded sessions.Set
		for _, line := range r.records(sessions.KindDownloadRead) {
			if i := strings.Index(line, id.String()+`","ranges":[`); i > 0 {
				var from, to int64
				rest := line[i+len(id.String()+`","ranges":[`):]
				for {
					_, err := fmt.Sscanf(rest, "[%d,%d]", &from, &to)
					require.NoError(t, err)
					recorded.Add(sessions.Range{from, to})
					_, rest, _ = strings.Cut(rest, "]")
					if !strings.HasPrefix(rest, ",") {
						break
					}
					rest = rest[1:]
				}
			}
		}
		assert.Equal(t, read.Ranges(), recorded.Ranges())
	}
}

func TestDownloadSurvivesRestart(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.write("f", []byte("0123456789"))
	r.mustStart()
	d := r.download("f")
	r.crash()
	r.clock.Advance(time.Hour) // time down does not count
	r.mustStart()
	got, err := r.read(d.ID, 2, 5)
	require.NoError(t, err)
	assert.Equal(t, "234", string(got))
	r.clock.Advance(time.Minute - time.Millisecond)
	require.NoError(t, r.reap(r.clock.Now()))
	_, err = r.read(d.ID, 2, 5)
	require.NoError(t, err)
	r.clock.Advance(time.Minute)
	require.NoError(t, r.reap(r.clock.Now()))
	_, err = r.read(d.ID, 2, 5)
	assert.Equal(t, CodeNoTransfer, CodeOf(err))
	assert.Len(t, r.records(sessions.KindDownloadExpired), 1)
	assert.Zero(t, r.Stats().LiveDownloads)
}
