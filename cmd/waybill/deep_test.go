package main

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/actions"
	"waybill/journal"
)

// handmade is a STATE and a ROOT that were written by hand.
type handmade struct {
	t           *testing.T
	state, root string
	log         *journal.Log
	sessions    int
}

func newHandmade(t *testing.T) *handmade {
	dir := t.TempDir()
	e := &handmade{t: t, state: filepath.Join(dir, "state"), root: filepath.Join(dir, "root")}
	require.NoError(t, os.MkdirAll(e.root, 0o755))
	require.NoError(t, os.MkdirAll(e.state, 0o700))
	log, err := journal.Open(filepath.Join(e.state, "journal"), journal.Options{})
	require.NoError(t, err)
	e.log = log
	e.facts(journal.NewFact(actions.KindStarted, map[string]any{"boot": "b", "version": "test"}))
	return e
}

// facts records facts of one decision.
func (e *handmade) facts(facts ...journal.Fact) {
	e.t.Helper()
	var lines [][]byte
	for i, f := range facts {
		r := journal.Record{
			Seq: e.log.Head().Size + uint64(i), At: time.Unix(1_900_000_000+int64(e.sessions), 0), Kind: f.Kind,
			Actor: "main", Via: "test", Ref: "r", Body: f.Body,
		}
		if len(facts) > 1 {
			r.Group = journal.Group{I: i + 1, N: len(facts)}
		}
		lines = append(lines, journal.AppendRecord(nil, &r))
	}
	require.NoError(e.t, e.log.Append(lines))
}

func (e *handmade) session() string {
	e.sessions++
	return fmt.Sprintf("00000000-0000-4000-8000-%012d", e.sessions)
}

// upload records that a file was stored and sealed, and gives its session.
func (e *handmade) upload(path, data string) string {
	id := e.session()
	sum := sha1.Sum([]byte(data))
	e.facts(journal.NewFact("upload.opened", map[string]any{"session": id, "path": path, "size": len(data), "idle_ms": 1000}))
	e.facts(journal.NewFact("upload.stored", map[string]any{
		"session": id, "ranges": [][2]int{{0, len(data)}}, "crc32c": "00000000", "calls": 1,
	}))
	e.facts(journal.NewFact("upload.sealed", map[string]any{"session": id, "size": len(data), "digest": hex.EncodeToString(sum[:])}))
	return id
}

// place records an upload that ended well, and writes its file.
func (e *handmade) place(path, data string) {
	e.t.Helper()
	id := e.upload(path, data)
	e.facts(journal.NewFact("upload.placed", map[string]any{"session": id, "path": path}))
	e.write(path, data)
}

func (e *handmade) file(path string) string { return filepath.Join(e.root, filepath.FromSlash(path)) }

func (e *handmade) write(path, data string) {
	e.t.Helper()
	require.NoError(e.t, os.MkdirAll(filepath.Dir(e.file(path)), 0o755))
	require.NoError(e.t, os.WriteFile(e.file(path), []byte(data), 0o644))
}

// publish records a document with a content, and gives the file of the content.
func (e *handmade) publish(node int, data string) (file string) {
	e.t.Helper()
	id, doc := e.session(), fmt.Sprint("doc", node)
	sum := sha256.Sum256([]byte(data))
	digest := hex.EncodeToString(sum[:])
	revision := fmt.Sprintf("%032d", node)
	e.facts(journal.NewFact("node.created", map[string]any{
		"node": node, "id": doc, "type": "file", "name": doc, "parent": 0, "owner": "admin",
	}))
	e.facts(journal.NewFact("upload.opened", map[string]any{
		"session": id, "path": doc, "until": "2099-01-01T00:00:00Z",
		"task": map[string]any{"id": fmt.Sprintf("%0128d", node), "token_sha256": digest, "node": node, "revision": revision},
	}))
	e.facts(journal.NewFact("upload.stored", map[string]any{
		"session": id, "ranges": [][2]int{{0, len(data)}}, "crc32c": "00000000", "calls": 1,
	}))
	e.facts(journal.NewFact("upload.sized", map[string]any{"session": id, "size": len(data)}),
		journal.NewFact("upload.sealed", map[string]any{"session": id, "size": len(data), "digest": digest}))
	e.facts(journal.NewFact("upload.published", map[string]any{"session": id, "revision": revision}),
		journal.NewFact("revision.published", map[string]any{
			"node": node, "id": doc, "revision": revision, "digest": digest, "size": len(data),
		}))
	file = filepath.Join(e.state, "objects", digest[:2], digest)
	require.NoError(e.t, os.MkdirAll(filepath.Dir(file), 0o700))
	require.NoError(e.t, os.WriteFile(file, []byte(data), 0o600))
	return file
}

// close ends the writing, so that others may read.
func (e *handmade) close() {
	e.t.Helper()
	require.NoError(e.t, e.log.Close())
}

func (e *handmade) deep(flags ...string) (result, deepReport) {
	e.t.Helper()
	args := append([]string{"journal", "verify", "--state", e.state, "--deep", "--json"}, flags...)
	r := waybill(e.t, args...)
	var v verdict
	if r.out != "" {
		require.NoError(e.t, json.Unmarshal([]byte(r.out), &v), r.out)
	}
	if v.Deep == nil {
		return r, deepReport{}
	}
	assert.Equal(e.t, r.code != exitData, v.Valid)
	return r, *v.Deep
}

// shown lists findings as "result what name".
func shownFindings(r deepReport) (out []string) {
	for _, f := range r.Findings {
		out = append(out, fmt.Sprintf("%s %s %s", f.Result, f.What, f.Name))
		if f.Reason == "" {
			out = append(out, "without a reason")
		}
	}
	return out
}

func TestDeepComparesFilesAndContents(t *testing.T) {
	t.Parallel()
	e := newHandmade(t)
	for _, path := range []string{"fine", "altered", "short", "gone", "a/folder", "fifo", "replaced", "link", "dir/in it", "was a file"} {
		e.place(path, "data of "+path)
	}
	e.place("replaced", "the second time")
	// Complete, and perhaps under its name already; the journal ends before it
	// says so.
	e.place("half", "the old one")
	e.upload("half", "the new one, of another size")
	e.write("half", "the new one, of another size")
	_, lost, spoilt := e.publish(1, "one"), e.publish(2, "two"), e.publish(3, "three")
	require.NoError(t, os.MkdirAll(e.file("real"), 0o755))
	require.NoError(t, os.Symlink("real", e.file("alias")))
	e.place("alias/f", "placed by one name")
	e.place("real/f", "placed by the other name")
	require.NoError(t, os.Remove(e.file("was a file")))
	e.place("was a file/now a folder", "x")
	e.close()

	r, d := e.deep("--root", e.root)
	assert.Equal(t, []string{"changed file alias/f", "changed file was a file"}, shownFindings(d))
	assert.Zero(t, r.code, r.err)
	assert.Equal(t, 3, d.Contents[foundOK])
	assert.Equal(t, map[string]int{foundOK: 12, foundChanged: 2}, d.Files)

	// Nothing was written: not even what a daemon makes at its start.
	assert.NoDirExists(t, e.file(".waybill"))
	assert.NoFileExists(t, filepath.Join(e.state, "lock"))

	e.write("altered", "Data of altered")
	e.write("short", "data")
	outside := filepath.Join(t.TempDir(), "outside")
	require.NoError(t, os.WriteFile(outside, []byte("data of link"), 0o644))
	for _, path := range []string{"gone", "fifo", "link", "a/folder"} {
		require.NoError(t, os.Remove(e.file(path)))
	}
	require.NoError(t, os.Mkdir(e.file("a/folder"), 0o755))
	require.NoError(t, syscall.Mkfifo(e.file("fifo"), 0o644))
	require.NoError(t, os.Symlink(outside, e.file("link")))
	require.NoError(t, os.Remove(lost))
	require.NoError(t, os.WriteFile(spoilt, []byte("thrEe"), 0o600))
	r, d = e.deep("--root", e.root)
	assert.Equal(t, exitData, r.code)
	assert.Equal(t, []string{
		"unchecked file a/folder", "changed file alias/f", "wrong file altered", "unchecked file fifo", "missing file gone",
		"unchecked file link", "wrong file short", "changed file was a file",
	}, shownFindings(d)[:8])
	assert.ElementsMatch(t, []string{"missing content " + filepath.Base(lost), "wrong content " + filepath.Base(spoilt)}, shownFindings(d)[8:])

	plain := waybill(t, "journal", "verify", "--state", e.state, "--deep", "--root", e.root)
	assert.Equal(t, exitData, plain.code)
	assert.Contains(t, plain.out, "wrong: file altered: its digest is ")
	assert.Contains(t, plain.out, "contents: 1 ok, 1 wrong, 1 missing, 0 could not be checked")
	assert.Contains(t, plain.err, "5 files are not what the journal says")

	// Without --root only the fold is looked at.
	r, d = e.deep()
	assert.Zero(t, r.code)
	assert.Nil(t, d.Files)

	for _, path := range []string{"altered", "gone", "short"} {
		e.write(path, "data of "+path)
	}
	require.NoError(t, os.WriteFile(spoilt, []byte("three"), 0o600))
	require.NoError(t, os.WriteFile(lost, []byte("two"), 0o600))
	r, d = e.deep("--root", e.root)
	assert.Equal(t, exitIO, r.code, "nothing is wrong, but not everything could be checked")
	assert.Equal(t, 3, d.Files[foundUnchecked])
	require.NoError(t, os.RemoveAll(filepath.Join(e.state, "objects")))
	r, d = e.deep("--root", e.root)
	assert.Equal(t, exitData, r.code)
	assert.Equal(t, 3, d.Contents[foundMissing])
	assert.FileExists(t, outside)
	r, _ = e.deep("--root", filepath.Join(e.root, "nowhere"))
	assert.Equal(t, exitNoInput, r.code)
	assert.Equal(t, exitUsage, waybill(t, "journal", "verify", "--deep", "--export", os.DevNull).code)
}

func TestDeepComparesSnapshots(t *testing.T) {
	t.Parallel()
	e := newHandmade(t)
	for i := range 10 {
		e.place(fmt.Sprint("f", i), "x")
	}
	e.publish(1, "content")
	size := e.log.Head().Size
	snapshot := func(at uint64) string {
		require.NoError(t, actions.SnapshotSegment(context.Background(), e.log, e.state, at))
		return filepath.Join(e.state, actions.Stored{Seq: at}.Name())
	}
	first, second := snapshot(size/2), snapshot(size)
	base := filepath.Join(e.state, actions.Stored{Seq: 3, Base: true}.Name())
	state, err := actions.FoldTo(context.Background(), e.log, e.state, 3)
	require.NoError(t, err)
	root, err := e.log.RootAt(context.Background(), 3)
	require.NoError(t, err)
	_, err = actions.WriteBase(e.state, state, root)
	require.NoError(t, err)
	e.close()

	r, d := e.deep()
	require.Zero(t, r.code, r.err)
	assert.Equal(t, map[string]int{foundOK: 3}, d.Snapshots)
	assert.Empty(t, d.Findings)

	// One that is whole, but says something else: only a fold can tell.
	for file, change := range map[string][2]string{
		first:  {`"path":"f1"`, `"path":"f9"`},
		second: {`"size":7`, `"size":8`},
		base:   {`"owner":"main"`, `"owner":"niam"`},
	} {
		good, err := os.ReadFile(file)
		require.NoError(t, err)
		line, image, _ := strings.Cut(strings.TrimSuffix(string(good), "\n"), "\n")
		require.Contains(t, image, change[0])
		bad := strings.Replace(image, change[0], change[1], 1)
		before, after := sha256.Sum256([]byte(image)), sha256.Sum256([]byte(bad))
		line = strings.Replace(line, hex.EncodeToString(before[:]), hex.EncodeToString(after[:]), 1)
		require.NoError(t, os.WriteFile(file, []byte(line+"\n"+bad+"\n"), 0o600))
		r, d = e.deep()
		assert.Equal(t, exitData, r.code, file)
		require.Len(t, d.Findings, 1)
		assert.Equal(t, filepath.Base(file), d.Findings[0].Name)
		assert.Equal(t, foundWrong, d.Findings[0].Result)

		require.NoError(t, os.WriteFile(file, good[:len(good)-5], 0o600))
		r, d = e.deep()
		assert.Equal(t, exitData, r.code, file)
		assert.Equal(t, []string{d.Findings[0].What}, []string{strings.Split(filepath.Base(file), "-")[0]})
		require.NoError(t, os.WriteFile(file, good, 0o600))
	}
	// The journal has lost what a snapshot had.
	require.NoError(t, os.Rename(second, filepath.Join(e.state, actions.Stored{Seq: size + 1}.Name())))
	r, d = e.deep()
	assert.Equal(t, exitData, r.code)
	assert.Len(t, d.Findings, 1)
	require.NoError(t, os.Remove(filepath.Join(e.state, actions.Stored{Seq: size + 1}.Name())))
	require.NoError(t, os.Remove(first))
	require.NoError(t, os.Mkdir(first, 0o700))
	r, d = e.deep()
	assert.Equal(t, exitIO, r.code)
	assert.Equal(t, 1, d.Snapshots[foundUnchecked])
}

// What a daemon has written passes.
func TestDeepOfADaemon(t *testing.T) {
	t.Parallel()
	s, _ := filled(t)
	r := waybill(t, "journal", "verify", "--deep", "--state", s.state, "--root", s.root, "--json")
	var v verdict
	require.NoError(t, json.Unmarshal([]byte(r.out), &v), r.out)
	require.Zero(t, r.code, r.err)
	assert.Equal(t, map[string]int{foundOK: 2}, v.Deep.Files)
	require.NoError(t, os.WriteFile(filepath.Join(s.root, "f1"), []byte("by hand"), 0o644))
	r = waybill(t, "journal", "verify", "--deep", "--state", s.state, "--root", s.root)
	assert.Equal(t, exitData, r.code)
	assert.Contains(t, r.out, "wrong: file f1: ")
}

// The base of a pruned journal is compared with what the archive leads to, and
// without an archive nobody says that it is right.
func TestDeepOfAPrunedState(t *testing.T) {
	t.Parallel()
	s, archive := makePrunable(t).pruned(t)
	deep := func(flags ...string) (result, deepReport) {
		t.Helper()
		r := waybill(t, append([]string{"journal", "verify", "--deep", "--json", "--state", s.state}, flags...)...)
		var v verdict
		require.NoError(t, json.Unmarshal([]byte(r.out), &v), r.err)
		return r, *v.Deep
	}
	base := actions.Stored{Seq: prunedTo, Base: true}.Name()
	r, d := deep("--root", s.root)
	assert.Zero(t, r.code, r.err)
	assert.EqualValues(t, prunedTo, d.First)
	require.Len(t, d.Findings, 1)
	assert.Equal(t, deepFinding{What: "base", Name: base, Result: foundUnchecked,
		Reason: "only its digest was compared with the journal's; --archive folds what it stands for"}, d.Findings[0])
	assert.Zero(t, d.Snapshots[foundOK])
	assert.Equal(t, 1, d.Snapshots[countDigest])
	r = waybill(t, "journal", "verify", "--deep", "--state", s.state)
	assert.Zero(t, r.code, r.err)
	assert.Contains(t, r.out, "unchecked: base "+base)
	assert.Contains(t, r.out, "snapshots: 1 compared by its digest only\n")

	r, d = deep("--archive", archive, "--root", s.root)
	assert.Zero(t, r.code, r.err)
	assert.Zero(t, d.First)
	assert.Equal(t, map[string]int{foundOK: 1}, d.Snapshots)
	assert.Empty(t, d.Findings)
	assert.Equal(t, map[string]int{foundOK: 1}, d.Files)
}

// A base that was wrong when it was written is the one that the journal names:
// only the archive shows it.
func TestDeepFindsABaseThatWasWrong(t *testing.T) {
	t.Parallel()
	const held = journal.SegmentRecords
	dir := t.TempDir()
	state, archive := filepath.Join(dir, "state"), filepath.Join(dir, "archive")
	require.NoError(t, os.Mkdir(archive, 0o700))
	write := func(state, subject string) *journal.Log {
		log, err := journal.Open(filepath.Join(state, "journal"), journal.Options{})
		require.NoError(t, err)
		for seq := uint64(0); seq < held+10; {
			var lines [][]byte
			for ; seq < held+10 && len(lines) < journal.MaxBatchRecords; seq++ {
				r := journal.Record{Seq: seq, At: time.Unix(1_900_000_000, 0), Kind: actions.KindAnswered, Actor: "main",
					Body: []byte(`{"action":"get_permissions","params":{},"code":"ok"}`)}
				if seq == 7 {
					r.Kind = actions.KindStarted
					r.Body = fmt.Appendf(nil, `{"boot":%q,"version":"test"}`, subject)
				}
				if seq == 8 && subject == "b" {
					r.Kind, r.Body = actions.KindToken, []byte(`{"jti":"x","subject":"s","permissions":[],"exp":"2036-03-01T12:30:00Z"}`)
				}
				lines = append(lines, journal.AppendRecord(nil, &r))
			}
			require.NoError(t, log.Append(lines))
		}
		return log
	}
	other := filepath.Join(dir, "other")
	log := write(other, "b")
	wrong, err := actions.FoldTo(t.Context(), log, other, held)
	require.NoError(t, err)
	require.NoError(t, log.Close())

	log = write(state, "a")
	root, err := log.RootAt(t.Context(), held)
	require.NoError(t, err)
	key, err := journal.NewSigningKey("waybill/test")
	require.NoError(t, err)
	note, err := journal.SignCheckpoint(journal.Checkpoint{Origin: "waybill/test", Head: journal.Head{Size: held, Root: root}}, key)
	require.NoError(t, err)
	_, err = log.Archive(t.Context(), archive, 0, journal.ArchiveOptions{Checkpoint: note})
	require.NoError(t, err)
	digest, err := actions.WriteBase(state, wrong, root)
	require.NoError(t, err)
	cut := journal.NewFact(actions.KindPruned, actions.Cut{To: held, Root: root.String(), Base: digest})
	require.NoError(t, log.Append([][]byte{journal.AppendRecord(nil, &journal.Record{
		Seq: held + 10, At: log.LastAt(), Kind: cut.Kind, Actor: "main", Body: cut.Body,
	})}))
	require.NoError(t, log.Prune(held))
	require.NoError(t, log.Close())

	r := waybill(t, "journal", "verify", "--deep", "--state", state)
	assert.Zero(t, r.code, r.err)
	assert.Contains(t, r.out, "unchecked: base base-")
	r = waybill(t, "journal", "verify", "--deep", "--state", state, "--archive", archive)
	assert.Equal(t, exitData, r.code, r.err)
	assert.Contains(t, r.out, "wrong: base base-0000000000065536.json: not what the records before it lead to")
}
