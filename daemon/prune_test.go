package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"waybill/actions"
	"waybill/fsview"
	"waybill/journal"
)

// The history of the prunable: it begins at pruneEpoch, has a record a second,
// and three segments and a bit.
var pruneEpoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

const (
	prunableSize = 3*segment + 500
	smallSize    = segment + 500
)

// prunable is what a daemon left, to be copied.
type prunable struct {
	dir      string // of state and root
	export   []byte // of its journal
	snapshot string // of the end of its last full segment: a file beside
}

// One of three full segments, and one of one.
var (
	large = sync.OnceValue(func() prunable { return makePrunable(prunableSize) })
	small = sync.OnceValue(func() prunable { return makePrunable(smallSize) })
)

func makePrunable(size uint64) (p prunable) {
	dir := filepath.Join(testDir, fmt.Sprint("prunable-", size))
	p.dir = dir
	// The first records are those of a daemon, so that there is something to fold.
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	cfg := prunableConfig(dir)
	cfg.now = func() time.Time { return pruneEpoch }
	cfg.Ready = func(string) { stop() }
	if err := Run(ctx, cfg); err != nil {
		panic(err)
	}
	log, err := journal.Open(filepath.Join(cfg.State, "journal"), journal.Options{})
	if err != nil {
		panic(err)
	}
	for seq := log.Head().Size; seq < size; {
		var lines [][]byte
		for ; seq < size && len(lines) < journal.MaxBatchRecords; seq++ {
			r := journal.Record{
				Seq: seq, At: pruneEpoch.Add(time.Duration(seq) * time.Second), Kind: actions.KindAnswered,
				Actor: "main", Via: "ws 127.0.0.1:51034", Ref: fmt.Sprintf("%08x", seq*2654435761),
				Body: []byte(`{"action":"get_permissions","params":{},"code":"ok"}`),
			}
			if seq%1000 == 0 {
				r.Kind = actions.KindToken
				r.Body = fmt.Appendf(nil, `{"jti":"%d","subject":"s","permissions":["**"],"exp":"2026-03-01T12:30:00Z"}`, seq)
			}
			// Over the first and the second cut, a group.
			if at := seq % segment; at >= segment-2 || at < 2 && seq >= segment {
				r.Group = journal.Group{I: int((at+2)%segment) + 1, N: 4}
			}
			lines = append(lines, journal.AppendRecord(nil, &r))
		}
		if err := log.Append(lines); err != nil {
			panic(err)
		}
	}
	err = log.Read(context.Background(), 0, size, func(line []byte) error {
		p.export = append(append(p.export, line...), '\n')
		return nil
	})
	full := size / segment * segment
	// In a directory of its own: what lies beyond the end of a journal is removed.
	beside := dir + "-snapshot"
	p.snapshot = filepath.Join(beside, actions.Stored{Seq: full}.Name())
	err = errors.Join(err, os.Mkdir(beside, 0o700), actions.SnapshotSegment(context.Background(), log, beside, full), log.Close())
	if err != nil {
		panic(err)
	}
	return p
}

func prunableConfig(dir string) Config {
	return Config{
		Root: filepath.Join(dir, "root"), State: filepath.Join(dir, "state"), Archive: "",
		Listen: "127.0.0.1:0", Version: "test", Reserve: -1, MinFree: 1, passwordKiB: cheapKiB,
		now: func() time.Time { return pruneEpoch.Add(prunableSize * time.Second) },
	}
}

// copyOf gives a configuration over a copy of the root, state and archive in
// from, if there are such; else they are empty.
func copyOf(t testing.TB, from string) Config {
	t.Helper()
	cfg := prunableConfig(t.TempDir())
	copyState(t, filepath.Dir(cfg.State), from)
	require.NoError(t, os.Chmod(cfg.State, 0o700))
	cfg.Archive = filepath.Join(filepath.Dir(cfg.State), "archive")
	require.NoError(t, os.MkdirAll(cfg.Archive, 0o700))
	require.NoError(t, os.MkdirAll(cfg.Root, 0o700))
	return cfg
}

// startable is copyOf a prunable with its newest snapshot: what a daemon would
// spend its start on, which is not the subject.
func startable(t testing.TB, p prunable) Config {
	t.Helper()
	cfg := copyOf(t, p.dir)
	require.NoError(t, os.Link(p.snapshot, filepath.Join(cfg.State, filepath.Base(p.snapshot))))
	return cfg
}

// copyState copies a tree with a journal. The sealed segments, which nobody
// writes to, become links.
func copyState(t testing.TB, to, from string) {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(from, "state", "journal", "seg-*.db"))
	require.NoError(t, err)
	slices.Sort(segments)
	require.NoError(t, filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(to, strings.TrimPrefix(path, from))
		if e.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		if at, sealed := slices.BinarySearch(segments, path); sealed && at < len(segments)-1 {
			return os.Link(path, target)
		}
		return copySparse(target, path)
	}))
}

// copySparse copies a file without its holes: most of a segment that is begun is
// one.
func copySparse(to, from string) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }() // only read
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	for end := int64(0); ; {
		at, err := src.Seek(end, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // nothing but a hole follows
			return dst.Truncate(info.Size())
		}
		if err != nil {
			return err
		}
		if end, err = src.Seek(at, unix.SEEK_HOLE); err != nil {
			return err
		}
		_, err = io.Copy(io.NewOffsetWriter(dst, at), io.NewSectionReader(src, at, end-at))
		if err != nil {
			return err
		}
	}
}

// timeOf is when record seq of the prunable was written.
func timeOf(seq uint64) string {
	return pruneEpoch.Add(time.Duration(seq) * time.Second).Format(time.RFC3339)
}

// history checks that journal and archive of cfg have the lines of p first, and
// gives the state that they lead to.
func history(t testing.TB, p prunable, cfg Config, size uint64) (state []byte) {
	t.Helper()
	log, err := journal.Open(filepath.Join(cfg.State, "journal"), journal.Options{ReadOnly: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, log.Close()) }()
	a, err := journal.OpenArchive(cfg.Archive)
	require.NoError(t, err)
	h, err := journal.NewHistory(log, a)
	require.NoError(t, err)
	s := actions.NewState()
	rest := p.export
	require.NoError(t, h.Read(context.Background(), 0, size, func(line []byte) error {
		if len(rest) > 0 {
			after, same := bytes.CutPrefix(rest, line)
			if !same || after[0] != '\n' {
				return fmt.Errorf("the lines are not those that were, from %s", line)
			}
			rest = after[1:]
		}
		var e journal.Entry
		return errors.Join(journal.ParseEntry(line, &e), s.Apply(&e))
	}))
	require.Empty(t, rest, "all that was is there")
	state, err = json.Marshal(s)
	require.NoError(t, err)
	return state
}

// loaded gives the state with which a daemon would start. It takes the
// snapshots away, which are a cache: what is left is base and tail.
func loaded(t testing.TB, cfg Config) []byte {
	t.Helper()
	snapshots, err := filepath.Glob(filepath.Join(cfg.State, "snapshot-*.json"))
	require.NoError(t, err)
	for _, name := range snapshots {
		require.NoError(t, os.Remove(name))
	}
	log, err := journal.Open(filepath.Join(cfg.State, "journal"), journal.Options{ReadOnly: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, log.Close()) }()
	s, _, err := actions.Load(context.Background(), log, cfg.State)
	require.NoError(t, err)
	state, err := json.Marshal(s)
	require.NoError(t, err)
	return state
}

// whole checks that journal, archive, base and checkpoints of cfg hold the
// history of p and belong together.
func whole(t testing.TB, p prunable, cfg Config) {
	t.Helper()
	a, err := journal.OpenArchive(cfg.Archive)
	require.NoError(t, err)
	head, err := journal.VerifyWith(context.Background(), filepath.Join(cfg.State, "journal"), journal.VerifyOptions{Archive: a})
	require.NoError(t, err)
	key, _, err := StoredKeys(cfg.State)
	require.NoError(t, err)
	require.NoError(t, a.CheckSignatures(key.Verifier()))
	state := history(t, p, cfg, head.Size)
	assert.JSONEq(t, string(state), string(loaded(t, cfg)), "base and tail are the whole")
}

// recordsFrom gives those from a record on.
func (r *rig) recordsFrom(seq uint64) []record {
	r.t.Helper()
	code, body, _ := r.do("GET", fmt.Sprintf("/journal?from=%d", seq), "", "Authorization", "Bearer "+r.token)
	require.Equal(r.t, 200, code, body)
	return parseRecords(r.t, body)
}

var errCutFault = errors.New("injected")

func names(t testing.TB, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// A cut by request: what goes, what it leaves, and that every proof from before
// still holds.
func TestPruneByRequest(t *testing.T) {
	t.Parallel()
	cfg := startable(t, large())
	var engine *actions.Engine
	cfg.serving = func(s *server) { engine = s.engine }
	r := restart(t, cfg)
	auth := "Bearer " + r.token
	log := engine.Journal()

	// From before the cut: proofs, and a checkpoint.
	old := log.Head()
	inclusion, err := log.Prove(77, old.Size)
	require.NoError(t, err)
	key, _, err := StoredKeys(cfg.State)
	require.NoError(t, err)
	inclusion.Checkpoint, err = journal.SignCheckpoint(journal.Checkpoint{Origin: key.Verifier().Name(), Head: old}, key)
	require.NoError(t, err)
	before, err := engine.StateJSON()
	require.NoError(t, err)

	prune := func(query string, want int) Pruned {
		t.Helper()
		code, body, _ := r.do("POST", "/journal/prune"+query, "", "Authorization", auth)
		require.Equal(t, want, code, body)
		var p Pruned
		if code == 200 {
			require.NoError(t, json.Unmarshal([]byte(body), &p), body)
		}
		return p
	}
	nothing := Pruned{Archive: cfg.Archive}
	assert.Equal(t, nothing, prune("?before="+timeOf(segment-1), 200), "one record of the segment is not that old")
	two := Pruned{0, 2 * segment, 2 * segment, 2, cfg.Archive}
	assert.Equal(t, two, prune("?dry_run=1&before="+timeOf(3*segment-1), 200))
	assert.Equal(t, uint64(0), log.First())
	assert.Equal(t, two, prune("?before="+timeOf(3*segment-1), 200))
	assert.Equal(t, uint64(2*segment), log.First())
	nothing.From, nothing.To = 2*segment, 2*segment
	assert.Equal(t, nothing, prune("?before="+timeOf(3*segment-1), 200))
	for _, bad := range []string{"", "?before=yesterday", "?before=5", "?dry_run=2&before=2026-01-01"} {
		prune(bad, 400)
	}
	code, _, _ := r.do("GET", "/journal/prune", "", "Authorization", auth)
	assert.Equal(t, 405, code)
	code, body, _ := r.do("POST", "/journal/prune?before=2030-01-01", "")
	assert.Equal(t, 401, code, body)
	code, body, _ = r.do("POST", "/journal/prune?before=2030-01-01", "",
		"Authorization", "Bearer "+r.subtoken(map[string][]string{"permissions": {"waybill.journal.read"}, "expires": {"60"}}))
	assert.Equal(t, 403, code, body)

	// Every request is on record, and the cut with who made it.
	var cuts, asked, refused int
	for _, rec := range r.recordsFrom(prunableSize) {
		switch {
		case rec.Kind == actions.KindPruned:
			cuts++
			assert.Equal(t, "main", rec.Actor)
			assert.True(t, strings.HasPrefix(rec.Via, "http 127.0.0.1:"), rec.Via)
		case strings.Contains(fmt.Sprint(rec.Body), journalPrune) && rec.Kind == actions.KindRefused:
			refused++
		case strings.Contains(fmt.Sprint(rec.Body), journalPrune):
			asked++
		}
	}
	assert.Equal(t, [3]int{1, 3, 5}, [3]int{cuts, asked, refused})

	// What is left of before.
	assert.Equal(t, []string{
		"seg-0000000000000000.checkpoint", "seg-0000000000000000.jsonl.zst", "seg-0000000000000000.tiles",
		"seg-0000000000065536.checkpoint", "seg-0000000000065536.jsonl.zst", "seg-0000000000065536.tiles",
	}, names(t, cfg.Archive))
	assert.Contains(t, names(t, cfg.State), "base-0000000000131072.json")
	checked, err := inclusion.Check(key.Verifier())
	require.NoError(t, err)
	assert.Equal(t, old, checked.Head)
	now := log.Head()
	growth, err := log.ProveGrowth(old.Size, now.Size)
	require.NoError(t, err)
	signed, err := journal.SignCheckpoint(journal.Checkpoint{Origin: key.Verifier().Name(), Head: now}, key)
	require.NoError(t, err)
	growth.Checkpoint = signed
	consistency := &journal.ConsistencyProof{From: inclusion.Checkpoint, Growth: *growth}
	_, _, err = consistency.Check(key.Verifier())
	require.NoError(t, err, "an old checkpoint leads to a new one")
	held, err := log.Prove(2*segment+5, now.Size)
	require.NoError(t, err)
	held.Checkpoint = signed
	_, err = held.Check(key.Verifier())
	require.NoError(t, err)
	_, err = log.Prove(77, now.Size)
	require.ErrorIs(t, err, journal.ErrPruned)

	// The state is what it was, live and after a start from base and tail.
	live, err := engine.StateJSON()
	require.NoError(t, err)
	assert.Equal(t, withoutProgress(t, before), withoutProgress(t, live))
	require.NoError(t, r.stop())
	whole(t, large(), cfg)
	for _, seq := range []uint64{0, segment, 2 * segment} {
		_, err := os.Stat(filepath.Join(cfg.State, "journal", fmt.Sprintf("seg-%016d.db", seq)))
		assert.Equal(t, seq < 2*segment, errors.Is(err, fs.ErrNotExist))
	}
	r = restart(t, cfg)
	again, err := engine.StateJSON()
	require.NoError(t, err)
	assert.Equal(t, withoutProgress(t, before), withoutProgress(t, again))

	// And a second cut goes on from the first.
	auth = "Bearer " + r.token
	assert.Equal(t, Pruned{2 * segment, 3 * segment, segment, 1, cfg.Archive}, prune("?before=2030-01-01", 200))
	require.NoError(t, r.stop())
	whole(t, large(), cfg)
	assert.NotContains(t, names(t, cfg.State), "base-0000000000131072.json")
}

// withoutProgress is a state without what every start and every request changes.
func withoutProgress(t testing.TB, state []byte) map[string]any {
	t.Helper()
	var m map[string]any
	require.NoError(t, json.Unmarshal(state, &m))
	for _, k := range []string{"records", "at", "boot", "tokens_issued", "pruned", "running"} {
		delete(m, k)
	}
	return m
}

func TestPruneWithoutArchive(t *testing.T) {
	t.Parallel()
	r := run(t, nil)
	code, body, _ := r.do("POST", "/journal/prune?before=2030-01-01", "", "Authorization", "Bearer "+r.token)
	assert.Equal(t, 409, code, body)
}

// One cut at a time: who comes while one is made is told so.
func TestPruneLocked(t *testing.T) {
	t.Parallel()
	cfg := startable(t, large())
	reached, free := make(chan struct{}), make(chan struct{})
	var once sync.Once
	cfg.JournalFault = func(op string, do func() error) error {
		if op == "archive.write" {
			once.Do(func() {
				close(reached)
				<-free
			})
		}
		return do()
	}
	r := restart(t, cfg)
	auth := "Bearer " + r.token
	done := make(chan string, 1)
	go func() {
		code, body, _ := r.do("POST", "/journal/prune?before="+timeOf(segment), "", "Authorization", auth)
		done <- fmt.Sprint(code, " ", body)
	}()
	within(t, reached, "the cut never begins")
	code, body, _ := r.do("POST", "/journal/prune?before="+timeOf(segment), "", "Authorization", auth)
	assert.Equal(t, 423, code, body)
	close(free)
	assert.Contains(t, within(t, done, "the cut never ends"), `200 {"from":0,"to":65536,`)
}

// A stop in the middle of a cut ends it, and the next one takes what is there.
func TestPruneStopped(t *testing.T) {
	t.Parallel()
	cfg := startable(t, large())
	reached := make(chan struct{})
	var n int
	stopping := cfg
	stopping.serving = func(s *server) {
		s.cutter.fault = func(op string, do func() error) error {
			if n++; n == 10 { // in the second segment
				close(reached)
				<-s.life.Done()
			}
			return do()
		}
	}
	r := restart(t, stopping)
	done := make(chan int, 1)
	go func() {
		code, _, _ := r.do("POST", "/journal/prune?before="+timeOf(3*segment), "", "Authorization", "Bearer "+r.token)
		done <- code
	}()
	within(t, reached, "the cut never gets there")
	require.NoError(t, r.stop())
	assert.Equal(t, 503, within(t, done, "no answer"))
	whole(t, large(), cfg)
	p, err := Prune(context.Background(), PruneOptions{State: cfg.State, Archive: cfg.Archive, Before: pruneEpoch.AddDate(1, 0, 0), Actor: "operator", Via: "cli"})
	require.NoError(t, err)
	assert.Equal(t, uint64(3*segment), p.To)
	whole(t, large(), cfg)
}

// --retain prunes at the start and as segments are filled. What stands in its
// way is told once and counted, and what could not go goes later.
func TestRetain(t *testing.T) {
	t.Parallel()
	cfg := startable(t, large())
	var broken sync.Map
	cfg.JournalFault = func(op string, do func() error) error {
		if _, no := broken.Load(op); no {
			return errCutFault
		}
		return do()
	}
	cfg.retainTick = 5 * time.Millisecond
	cfg.Retain = time.Duration(prunableSize-segment) * time.Second // what is older than the first segment's end
	buf := new(syncBuffer)
	cfg.Logger = zerolog.New(buf)
	var log *journal.Log
	cfg.serving = func(s *server) { log = s.engine.Journal() }

	broken.Store("archive.sync", true)
	r := restart(t, cfg)
	require.True(t, soon(func() bool { return r.gauge("prune_failures_total") > 2 }))
	assert.Equal(t, uint64(0), log.First())
	broken.Delete("archive.sync")
	require.True(t, soon(func() bool { return log.First() == segment }))
	require.True(t, soon(func() bool { return strings.Contains(buf.String(), "the journal is pruned again") }))
	assert.Equal(t, 1, strings.Count(buf.String(), "old records cannot be pruned"))
	assert.Equal(t, float64(segment), r.gauge("journal_first_record"))
	var by []string
	for _, rec := range r.recordsFrom(prunableSize) {
		if rec.Kind == actions.KindPruned {
			by = append(by, rec.Actor+" "+rec.Via)
		}
	}
	assert.Equal(t, []string{"daemon internal"}, by)
	require.NoError(t, r.stop())
	whole(t, large(), cfg)
}

func TestRetainConfig(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for name, change := range map[string]func(*Config){
		"no archive":       func(c *Config) { c.Retain = time.Hour },
		"for less than 0":  func(c *Config) { c.Retain, c.Archive = -time.Hour, dir },
		"archive missing":  func(c *Config) { c.Archive = filepath.Join(dir, "none") },
		"archive a file":   func(c *Config) { c.Archive = file },
		"archive in root":  func(c *Config) { c.Archive = filepath.Join(c.Root, "a") },
		"archive in state": func(c *Config) { c.Archive = c.State },
	} {
		cfg := prunableConfig(t.TempDir())
		change(&cfg)
		if inside, _ := fsview.Within(cfg.Archive, cfg.Root); inside || cfg.Archive == cfg.State {
			require.NoError(t, os.MkdirAll(cfg.Archive, 0o700))
		}
		err := Run(context.Background(), cfg)
		require.ErrorIs(t, err, ErrConfig, name)
		assert.Equal(t, 78, ExitCode(err))
		assert.NoDirExists(t, filepath.Join(cfg.State, "journal"), name)
	}
}

// An archive that does not answer does not keep the daemon from serving, nor
// from being alive before. When it is back it is looked at before a cut.
func TestArchiveHangsAtTheStart(t *testing.T) {
	t.Parallel()
	out := new(talk)
	dir := t.TempDir()
	cfg := prunableConfig(dir)
	cfg.Archive, cfg.CheckpointTo = filepath.Join(dir, "archive"), filepath.Join(dir, "checkpoints")
	for _, d := range []string{cfg.Archive, cfg.CheckpointTo, cfg.State, cfg.Root} {
		require.NoError(t, os.MkdirAll(d, 0o700))
	}
	cfg.Logger = zerolog.New(out)
	back := make(chan struct{})
	defer close(back)
	var locked sync.Map
	cfg.looking = func(at string, do func() error) error {
		l, err := fsview.LockFile(filepath.Join(cfg.State, "lock"))
		if err == nil {
			_ = l.Close()
		}
		locked.Store(at, errors.Is(err, fsview.ErrLocked))
		<-back
		return do()
	}
	var c *cutter
	cfg.serving = func(s *server) { c = s.cutter }
	r := restart(t, cfg)
	for _, at := range []string{cfg.Archive, cfg.CheckpointTo} {
		after, _ := locked.Load(at)
		assert.Equal(t, true, after, "%s is looked at when STATE is locked", at)
	}
	assert.Equal(t, 1, out.count("the directory for the archive does not answer"))
	assert.Equal(t, 1, out.count("the directory for checkpoints does not answer"))
	require.NoError(t, c.look())
	require.NoError(t, os.Remove(cfg.Archive))
	require.NoError(t, os.Symlink(cfg.Root, cfg.Archive))
	require.ErrorIs(t, c.look(), ErrConfig, "what it is now")
	require.NoError(t, r.stop())
}

func TestPruneOffline(t *testing.T) {
	t.Parallel()
	cfg := copyOf(t, large().dir)
	opt := PruneOptions{State: cfg.State, Archive: cfg.Archive, Before: pruneEpoch.Add(2 * segment * time.Second), Actor: "operator", Via: "cli"}

	dry := opt
	dry.DryRun = true
	want := Pruned{0, 2 * segment, 2 * segment, 2, cfg.Archive}
	p, err := Prune(context.Background(), dry)
	require.NoError(t, err)
	assert.Equal(t, want, p)
	assert.Empty(t, names(t, cfg.Archive))

	r := restart(t, cfg)
	_, err = Prune(context.Background(), opt)
	require.ErrorIs(t, err, fsview.ErrLocked)
	assert.Equal(t, 75, ExitCode(err))
	require.NoError(t, r.stop())

	for name, change := range map[string]func(*PruneOptions){
		"no archive":       func(o *PruneOptions) { o.Archive = filepath.Join(o.Archive, "none") },
		"archive in state": func(o *PruneOptions) { o.Archive = filepath.Join(o.State, "journal") },
	} {
		bad := opt
		change(&bad)
		_, err := Prune(context.Background(), bad)
		require.ErrorIs(t, err, ErrConfig, name)
	}
	none := opt
	none.State = t.TempDir()
	_, err = Prune(context.Background(), none)
	require.ErrorIs(t, err, fs.ErrNotExist)
	assert.Empty(t, names(t, none.State))
	p, err = Prune(context.Background(), opt)
	require.NoError(t, err)
	assert.Equal(t, want, p)
	whole(t, large(), cfg)
	r = restart(t, cfg)
	recs := r.recordsFrom(prunableSize)
	i := slices.IndexFunc(recs, func(rec record) bool { return rec.Kind == actions.KindPruned })
	require.GreaterOrEqual(t, i, 0)
	assert.Equal(t, "operator", recs[i].Actor)
	assert.Equal(t, "cli", recs[i].Via)
}

// What a crash cut off has to be named by the next start: nothing follows it
// before.
func TestPruneMidGroup(t *testing.T) {
	t.Parallel()
	cfg := copyOf(t, small().dir)
	log, err := journal.Open(filepath.Join(cfg.State, "journal"), journal.Options{})
	require.NoError(t, err)
	require.NoError(t, log.Append([][]byte{journal.AppendRecord(nil, &journal.Record{
		Seq: smallSize, At: log.LastAt(), Kind: actions.KindAnswered, Actor: "main", Via: "test", Ref: "1",
		Group: journal.Group{I: 1, N: 2}, Body: []byte(`{"action":"get_permissions","code":"ok"}`),
	})}))
	require.NoError(t, log.Close())
	_, err = Prune(context.Background(), smallCut(cfg, nil))
	require.ErrorIs(t, err, actions.ErrMidGroup)
	assert.Equal(t, 75, ExitCode(err))
	assert.Empty(t, names(t, cfg.Archive))
	require.NoError(t, restart(t, cfg).stop())
	p, err := Prune(context.Background(), smallCut(cfg, nil))
	require.NoError(t, err)
	assert.Equal(t, uint64(segment), p.To)
	whole(t, small(), cfg)
}
