package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func via(s *server, g *gate, args ...string) []string {
	return append(args, "--url", g.url, "--token-file", s.token(), "--chunk", "64KiB")
}

func to(s *server, args ...string) []string { return append(args, s.client()...) }

func parsePut(t *testing.T, out string) (end uploadEnd) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(out), &end), out)
	return end
}

func TestPutGetLs(t *testing.T) {
	t.Parallel()
	s := serve(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "world.zip")
	sum := randomFile(t, file, 3<<20+1)

	r := waybill(t, to(s, "put", file, "backups/2026/", "--json")...)
	require.Zero(t, r.code, r.err)
	end := parsePut(t, r.out)
	assert.Equal(t, uploadEnd{File: file, URL: s.url(), Path: "backups/2026/world.zip", ID: end.ID, Size: 3<<20 + 1, SHA1: sum, Sent: 3<<20 + 1}, end)
	assert.Equal(t, sum, sumOf(t, filepath.Join(s.root, "backups/2026/world.zip")))
	assert.NoFileExists(t, file+noteSuffix)
	assert.Contains(t, r.err, `"event":"progress"`)

	r = waybillIn(t, dir, clean(), to(s, "get", "backups/2026/world.zip", "copy.zip")...)
	require.Zero(t, r.code, r.err)
	assert.Equal(t, sum+"  3.0 MiB  copy.zip\n", r.out)
	assert.Empty(t, r.err)
	assert.Equal(t, sum, sumOf(t, filepath.Join(dir, "copy.zip")))
	left, err := filepath.Glob(filepath.Join(dir, "*.waybill-*"))
	require.NoError(t, err)
	assert.Empty(t, left)

	r = waybillIn(t, dir, clean(), to(s, "get", "backups/2026/world.zip")...)
	require.Zero(t, r.code, r.err)
	assert.Equal(t, sum, sumOf(t, file), "over the file of the same name")

	require.NoError(t, os.WriteFile(filepath.Join(s.root, "backups", "a\nb"), nil, 0o644))
	r = waybill(t, to(s, "ls", "backups")...)
	require.Zero(t, r.code, r.err)
	assert.Regexp(t, `^ +- +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  2026/\n +0 B +\S+ \S+  "a\\nb"\n$`, r.out)
	r = waybill(t, to(s, "ls", "backups/2026/world.zip")...)
	require.Zero(t, r.code, r.err)
	assert.Regexp(t, `^ +3.0 MiB +\S+ \S+  world.zip\n$`, r.out)
	r = waybill(t, to(s, "ls", "--json")...)
	require.Zero(t, r.code, r.err)
	assert.Contains(t, r.out, `"name":"backups"`)

	empty := filepath.Join(s.root, "empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o644))
	r = waybillIn(t, dir, clean(), to(s, "get", "empty", "--json")...)
	require.Zero(t, r.code, r.err)
	assert.FileExists(t, filepath.Join(dir, "empty"))
}

func TestLsOfASplitListing(t *testing.T) {
	t.Parallel()
	s := serve(t, "--directory-listing=split")
	require.NoError(t, os.Mkdir(filepath.Join(s.root, "mods"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(s.root, "a"), []byte("x"), 0o644))
	r := waybill(t, to(s, "ls")...)
	require.Zero(t, r.code, r.err)
	assert.Regexp(t, `(?s)mods/\n.*  a\n$`, r.out)
}

// The daemon goes away while chunks are under way, in order or not, and comes
// back: put goes on with the same session and does not send again what was
// acknowledged.
func TestPutSurvivesTheDaemon(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			s := serve(t)
			g := newGate(t, s.addr, 2<<20, -1)
			file := filepath.Join(t.TempDir(), "f")
			sum := randomFile(t, file, 4<<20)
			put := start(t, t.TempDir(), clean(), via(s, g, "put", file, "--json")...)
			<-g.held
			s.p.signal(sig)
			put.line(func(l string) bool { return strings.Contains(l, "trying again") })
			s.p.wait()
			g.open()
			s.start()
			require.Zero(t, put.wait(), put.stderr())
			end := parsePut(t, put.out.String())
			assert.Equal(t, sum, end.SHA1)
			assert.LessOrEqual(t, end.Sent, int64(4<<20), "nothing acknowledged was sent twice")
			assert.Equal(t, sum, sumOf(t, filepath.Join(s.root, "f")))
			assert.Len(t, s.records("upload.opened"), 1)
			assert.NoFileExists(t, file+noteSuffix)
		})
	}
}

// A daemon that stays away: exit 69 after the time set, and what to do.
func TestPutGivesUp(t *testing.T) {
	t.Parallel()
	s := serve(t)
	g := newGate(t, s.addr, 1<<20, -1)
	file := filepath.Join(t.TempDir(), "f")
	randomFile(t, file, 2<<20)
	put := start(t, t.TempDir(), clean(), via(s, g, "put", file, "--retry-for", "200ms")...)
	<-g.held
	s.kill()
	assert.Equal(t, exitUnreachable, put.wait())
	assert.Contains(t, put.stderr(), "run the same command again to go on")
	assert.FileExists(t, file+noteSuffix)
}

// put itself is killed: a second run finds the note and sends only the rest.
func TestPutGoesOnWhereAnEarlierRunWasKilled(t *testing.T) {
	t.Parallel()
	s := serve(t)
	g := newGate(t, s.addr, 2<<20, -1)
	file := filepath.Join(t.TempDir(), "f")
	sum := randomFile(t, file, 4<<20)
	put := start(t, t.TempDir(), clean(), via(s, g, "put", file)...)
	<-g.held
	put.signal(syscall.SIGKILL)
	<-put.done
	info, err := os.Stat(file + noteSuffix)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())

	g.open()
	r := waybill(t, via(s, g, "put", file, "--json")...)
	require.Zero(t, r.code, r.err)
	end := parsePut(t, r.out)
	assert.True(t, end.Resumed)
	assert.Less(t, end.Sent, int64(3<<20))
	assert.Equal(t, sum, sumOf(t, filepath.Join(s.root, "f")))
	assert.Len(t, s.records("upload.opened"), 1)
	assert.NoFileExists(t, file+noteSuffix)
}

// A file that was changed between two runs is another file: its old session
// is cancelled, not gone on with.
func TestPutOfAChangedFileStartsAnew(t *testing.T) {
	t.Parallel()
	s := serve(t)
	g := newGate(t, s.addr, 2<<20, -1)
	file := filepath.Join(t.TempDir(), "f")
	randomFile(t, file, 4<<20)
	put := start(t, t.TempDir(), clean(), via(s, g, "put", file)...)
	<-g.held
	put.signal(syscall.SIGINT)
	assert.Equal(t, 130, put.wait())
	assert.Contains(t, put.stderr(), "run the same command again to go on")

	g.open()
	sum := randomFile(t, file, 3<<20)
	r := waybill(t, via(s, g, "put", file, "--json")...)
	require.Zero(t, r.code, r.err)
	end := parsePut(t, r.out)
	assert.False(t, end.Resumed)
	assert.Equal(t, int64(3<<20), end.Sent)
	assert.Equal(t, sum, sumOf(t, filepath.Join(s.root, "f")))
	assert.Len(t, s.records("upload.cancelled"), 1)
}

// A file on its way to one daemon is sent to another: the first upload can
// still be gone on with.
func TestPutToAnotherDaemonMeanwhile(t *testing.T) {
	t.Parallel()
	s, other := serve(t), serve(t)
	g := newGate(t, s.addr, 2<<20, -1)
	file := filepath.Join(t.TempDir(), "f")
	sum := randomFile(t, file, 4<<20)
	put := start(t, t.TempDir(), clean(), via(s, g, "put", file)...)
	<-g.held
	put.signal(syscall.SIGKILL)
	<-put.done
	r := waybill(t, to(other, "put", file)...)
	require.Zero(t, r.code, r.err)
	assert.Equal(t, sum, sumOf(t, filepath.Join(other.root, "f")))
	r = waybill(t, to(other, "put", file, "..")...)
	require.Equal(t, exitCantCreate, r.code, r.err)

	g.open()
	r = waybill(t, via(s, g, "put", file, "--json")...)
	require.Zero(t, r.code, r.err)
	assert.True(t, parsePut(t, r.out).Resumed)
	assert.NoFileExists(t, file+noteSuffix)
}

// The daemon opens a session and the connection is lost before its answer
// arrives. put recognises the session that is then in its way as its own.
func TestPutFindsTheSessionOfALostAnswer(t *testing.T) {
	t.Parallel()
	s := serve(t)
	g := newGate(t, s.addr, -1, -1)
	g.holdAnswers()
	file := filepath.Join(t.TempDir(), "f")
	sum := randomFile(t, file, 1<<20)
	put := start(t, t.TempDir(), clean(), via(s, g, "put", file, "--json")...)
	eventually(t, "the session is opened", func() bool { return len(s.records("upload.opened")) == 1 })
	s.kill()
	g.cut()
	put.line(func(l string) bool { return strings.Contains(l, "trying again") })
	g.open()
	s.start()
	require.Zero(t, put.wait(), put.stderr())
	assert.Equal(t, sum, sumOf(t, filepath.Join(s.root, "f")))
	assert.Len(t, s.records("upload.opened"), 1)
}

// What the daemon gets is not what was announced: nothing is put in place.
func TestPutOfAFileThatChangesMeanwhile(t *testing.T) {
	t.Parallel()
	s := serve(t)
	require.NoError(t, os.WriteFile(filepath.Join(s.root, "f"), []byte("old"), 0o644))
	g := newGate(t, s.addr, 1<<20, -1)
	file := filepath.Join(t.TempDir(), "f")
	randomFile(t, file, 4<<20)
	put := start(t, t.TempDir(), clean(), via(s, g, "put", file)...)
	<-g.held
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("another end"), 4<<20-11)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	g.open()
	assert.Equal(t, exitData, put.wait())
	assert.Contains(t, put.stderr(), "nothing was replaced")
	b, err := os.ReadFile(filepath.Join(s.root, "f"))
	require.NoError(t, err)
	assert.Equal(t, "old", string(b))
	assert.NoFileExists(t, file+noteSuffix)
}

// A folder that takes no note is not the end: the note goes to the user's own
// place for state.
func TestPutNotesElsewhere(t *testing.T) {
	t.Parallel()
	s := serve(t)
	g := newGate(t, s.addr, 2<<20, -1)
	file := filepath.Join(t.TempDir(), "f")
	randomFile(t, file, 4<<20)
	require.NoError(t, os.Mkdir(file+noteSuffix, 0o755)) // as good as read-only, for root too
	home := t.TempDir()
	env := clean("XDG_STATE_HOME=" + home)
	put := start(t, t.TempDir(), env, via(s, g, "put", file)...)
	<-g.held
	put.signal(syscall.SIGKILL)
	<-put.done
	notes, err := filepath.Glob(filepath.Join(home, "waybill", "*"+noteSuffix))
	require.NoError(t, err)
	require.Len(t, notes, 1)
	g.open()
	r := waybillIn(t, t.TempDir(), env, via(s, g, "put", file, "--json")...)
	require.Zero(t, r.code, r.err)
	assert.True(t, parsePut(t, r.out).Resumed)
	assert.NoFileExists(t, notes[0])
}
