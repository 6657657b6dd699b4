package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

	"waybill/actions"
	"waybill/journal"
)

const segment = journal.SegmentRecords

// fill appends records that lead nowhere until the journal has size records.
func fill(t testing.TB, log *journal.Log, size uint64) {
	t.Helper()
	var lines [][]byte
	for seq := log.Head().Size; seq < size; seq++ {
		lines = append(lines, journal.AppendRecord(nil, &journal.Record{
			Seq: seq, At: time.Unix(1_900_000_000, 0), Kind: actions.KindAnswered, Actor: "main", Via: "test",
			Ref: "00000000-0000-4000-8000-000000000001", Body: []byte(`{"action":"get_permissions","code":"ok"}`),
		}))
		if len(lines) == journal.MaxBatchRecords {
			require.NoError(t, log.Append(lines))
			lines = lines[:0]
		}
	}
	if len(lines) > 0 {
		require.NoError(t, log.Append(lines))
	}
}

// logged collects lines, from any goroutine.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

// maker is a journal with snapshots that are made of it.
func maker(t *testing.T) (*snapshots, *logged) {
	dir := memoryDir(t)
	log, err := journal.Open(filepath.Join(dir, "journal"), journal.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, log.Close()) })
	out := new(logged)
	return &snapshots{
		log: log, dir: dir, logger: zerolog.New(out), room: func() error { return nil }, every: time.Millisecond,
	}, out
}

// memoryDir is in memory where that is possible: what is on a disk is for the
// order test in cmd/waybill.
func memoryDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "waybill-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func (s *snapshots) start(t testing.TB) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		s.run(ctx)
		close(done)
	}()
	return func() {
		cancel()
		within(t, done, "the snapshots do not stop")
	}
}

func (s *snapshots) positions(t testing.TB) (at []uint64) {
	list, err := actions.ListStored(s.dir)
	require.NoError(t, err)
	for _, f := range list {
		at = append(at, f.Seq)
	}
	return at
}

func TestSnapshotsFollowTheSegments(t *testing.T) {
	if testing.Short() {
		t.Skip("fills whole segments")
	}
	t.Parallel()
	s, out := maker(t)
	fill(t, s.log, 2*segment+10)
	older := actions.Stored{Seq: 3}
	beyond := actions.Stored{Seq: 100 * segment}
	for _, name := range []string{older.Name(), beyond.Name(), "snapshot-1.json", ".base-0000000000000003.json.new"} {
		require.NoError(t, os.WriteFile(filepath.Join(s.dir, name), []byte("x"), 0o600))
	}
	stop := s.start(t)
	defer stop()
	made := func(n int) {
		t.Helper()
		require.True(t, soon(func() bool { return out.count("snapshot made") == n }), "%s", &out.b)
	}
	made(1)
	assert.Equal(t, []uint64{2 * segment, 3}, s.positions(t), "one for both segments; the one from beyond the end is gone")
	fill(t, s.log, 3*segment)
	made(2)
	assert.Equal(t, []uint64{3 * segment, 2 * segment}, s.positions(t), "two are kept")
	stop()
	for _, name := range []string{"snapshot-1.json", ".base-0000000000000003.json.new"} {
		assert.FileExists(t, filepath.Join(s.dir, name), "not a snapshot")
	}
	// What begins with a snapshot is what all records lead to.
	got, l, err := actions.Load(context.Background(), s.log, s.dir)
	require.NoError(t, err)
	require.NotNil(t, l.From)
	assert.Equal(t, uint64(3*segment), l.From.Seq)
	assert.Zero(t, l.Folded)
	want, err := actions.Replay(context.Background(), s.log)
	require.NoError(t, err)
	sameState(t, want, got)
}

func sameState(t testing.TB, want, got *actions.State) {
	t.Helper()
	a, err := want.MarshalJSON()
	require.NoError(t, err)
	b, err := got.MarshalJSON()
	require.NoError(t, err)
	assert.Equal(t, string(a), string(b))
}

// A stop does not wait for a fold that is under way.
func TestSnapshotsStopAtOnce(t *testing.T) {
	t.Parallel()
	s, out := maker(t)
	fill(t, s.log, 2*segment)
	ctx, cancel := context.WithCancel(context.Background())
	s.room = func() error { cancel(); return nil } // the next thing is the fold
	s.run(ctx)
	assert.Empty(t, s.positions(t))
	assert.Zero(t, out.count("error"), "%s", &out.b)
}

func TestSnapshotsThatCannotBeMade(t *testing.T) {
	t.Parallel()
	s, out := maker(t)
	ctx := context.Background()
	full := errors.New("no space left")
	s.room = func() error { return full }
	fill(t, s.log, segment)
	for range 2 {
		s.make(ctx, segment)
	}
	assert.Equal(t, 1, out.count("no space left"), "it is said once")
	full = nil
	s.make(ctx, segment)
	assert.Equal(t, 1, out.count("snapshot made"))
	full = errors.New("no space left")
	s.make(ctx, segment)
	assert.Equal(t, 2, out.count("no space left"), "and again after it was well in between")

	// What shows that the journal is damaged is said every time.
	full = nil
	const bad = segment + 3000
	fill(t, s.log, 2*segment)
	file := filepath.Join(s.dir, "journal", fmt.Sprintf("seg-%016d.db", segment))
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	at := bytes.Index(b, fmt.Appendf(nil, `"seq":%d,`, bad))
	require.Positive(t, at)
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte(`"sEq"`), int64(at))
	require.NoError(t, err)
	require.NoError(t, f.Close())
	for i := range 2 {
		s.make(ctx, 2*segment)
		assert.Equal(t, i+1, out.count(fmt.Sprintf("record %d", bad)), "%s", &out.b)
	}
	assert.Equal(t, []uint64{segment}, s.positions(t))
}

// A disk that cannot be read shows nothing about the journal.
func TestSnapshotFromABaseThatCannotBeRead(t *testing.T) {
	t.Parallel()
	out := new(logged)
	cfg := pruning(t, out)
	require.NoError(t, restart(t, cfg).stop())
	base := filepath.Join(cfg.State, actions.Stored{Seq: segment, Base: true}.Name())
	require.NoError(t, os.Remove(base))
	require.NoError(t, os.Symlink(filepath.Base(base), base))
	assert.Equal(t, exitIO, ExitCode(fails(t, cfg)))

	log, err := journal.Open(filepath.Join(cfg.State, "journal"), journal.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, log.Close()) }()
	fill(t, log, 2*segment)
	s := &snapshots{log: log, dir: cfg.State, logger: zerolog.New(out), room: func() error { return nil }}
	s.make(context.Background(), 2*segment)
	assert.Equal(t, 1, out.count("no snapshot could be made"), "%s", &out.b)
	assert.Zero(t, out.count("cannot be folded"))
}

// A daemon makes snapshots while it serves, and its next start begins with one.
func TestADaemonStartsFromItsSnapshot(t *testing.T) {
	t.Parallel()
	out := new(logged)
	state := memoryDir(t)
	r := run(t, func(c *Config) { c.State, c.Logger = state, zerolog.New(out) })
	r.panel(r.token).ok("get_permissions", nil, nil)
	require.NoError(t, r.stop())
	assert.Equal(t, 1, out.count(`"from":"the first record","folded":0`))
	log, err := journal.Open(filepath.Join(state, "journal"), journal.Options{})
	require.NoError(t, err)
	fill(t, log, segment+10)
	require.NoError(t, log.Close())

	r = restart(t, r.cfg)
	require.True(t, soon(func() bool { return out.count("snapshot made") == 1 }))
	require.NoError(t, r.stop())

	temp := filepath.Join(state, "."+actions.Stored{Seq: 2 * segment}.Name()+".new")
	require.NoError(t, os.WriteFile(temp, []byte("{"), 0o600))
	spoilt := filepath.Join(state, actions.Stored{Seq: 5}.Name())
	require.NoError(t, os.WriteFile(spoilt, []byte("{"), 0o600))
	r = restart(t, r.cfg)
	assert.Equal(t, 1, out.count(`"from":"snapshot-0000000000065536.json"`), "%s", &out.b)
	assert.NoFileExists(t, temp)
	r.panel(r.token).ok("get_permissions", nil, nil)
	require.NoError(t, r.stop())
}

// pruning is a state whose journal was about to be pruned when the daemon was
// killed: the cut is recorded, and its base is there.
func pruning(t *testing.T, out *logged) Config {
	t.Helper()
	state := memoryDir(t)
	r := run(t, func(c *Config) { c.State, c.Logger = state, zerolog.New(out) })
	require.NoError(t, r.stop())
	ctx := context.Background()
	log, err := journal.Open(filepath.Join(state, "journal"), journal.Options{})
	require.NoError(t, err)
	fill(t, log, segment+10)
	s, err := actions.FoldTo(ctx, log, state, segment)
	require.NoError(t, err)
	root, err := log.RootAt(ctx, segment)
	require.NoError(t, err)
	base, err := actions.WriteBase(state, s, root)
	require.NoError(t, err)
	cut := journal.NewFact(actions.KindPruned, actions.Cut{To: segment, Root: root.String(), Base: base})
	require.NoError(t, log.Append([][]byte{journal.AppendRecord(nil, &journal.Record{
		Seq: log.Head().Size, At: log.LastAt(), Kind: cut.Kind, Actor: "daemon", Via: "test", Ref: "r", Body: cut.Body,
	})}))
	require.NoError(t, log.Close())
	return r.cfg
}

// A cut that a crash cut short is finished by the next start, before anybody is
// served.
func TestAStartFinishesACut(t *testing.T) {
	t.Parallel()
	out := new(logged)
	cfg := pruning(t, out)
	early := filepath.Join(cfg.State, actions.Stored{Seq: 100}.Name())
	older := filepath.Join(cfg.State, actions.Stored{Seq: 64, Base: true}.Name())
	for _, file := range []string{early, older} {
		require.NoError(t, os.WriteFile(file, []byte("from before the cut"), 0o600))
	}
	first := filepath.Join(cfg.State, "journal", fmt.Sprintf("seg-%016d.db", 0))
	cfg.serving = func(*server) {
		for _, file := range []string{early, older, first} {
			assert.NoFileExists(t, file)
		}
	}
	for range 2 { // and from then on it starts from the base and the tail
		r := restart(t, cfg)
		r.panel(r.token).ok("get_permissions", nil, nil)
		require.NoError(t, r.stop())
	}
	assert.Equal(t, 1, out.count("a cut that was cut short is finished"))
	assert.Equal(t, 2, out.count(`"from":"base-0000000000065536.json"`), "%s", &out.b)
}

func TestAStartWithoutTheBaseOfACut(t *testing.T) {
	t.Parallel()
	out := new(logged)
	cfg := pruning(t, out)
	require.NoError(t, restart(t, cfg).stop())
	base := filepath.Join(cfg.State, actions.Stored{Seq: segment, Base: true}.Name())
	good, err := os.ReadFile(base)
	require.NoError(t, err)
	for what, bad := range map[string][]byte{"cut off": good[:100], "missing": nil} {
		require.NoError(t, os.RemoveAll(base))
		if bad != nil {
			require.NoError(t, os.WriteFile(base, bad, 0o600))
		}
		err := fails(t, cfg)
		assert.Equal(t, 65, ExitCode(err), what)
		assert.Contains(t, err.Error(), filepath.Base(base), what)
	}
	require.NoError(t, os.WriteFile(base, good, 0o600))
	require.NoError(t, restart(t, cfg).stop())
}

// BenchmarkAppendBesideSnapshots is how long an append waits, alone and while a
// segment is folded beside it.
func BenchmarkAppendBesideSnapshots(b *testing.B) {
	for _, making := range []bool{false, true} {
		b.Run(fmt.Sprintf("making=%t", making), func(b *testing.B) {
			dir := memoryDir(b)
			log, err := journal.Open(filepath.Join(dir, "journal"), journal.Options{})
			require.NoError(b, err)
			defer log.Close()
			fill(b, log, segment)
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan int)
			go func() {
				folds := 0
				for making && ctx.Err() == nil {
					if actions.SnapshotSegment(ctx, log, dir, segment) == nil {
						folds++
						_ = os.Remove(filepath.Join(dir, actions.Stored{Seq: segment}.Name()))
					}
				}
				done <- folds
			}()
			took := make([]time.Duration, 0, 1<<20)
			for b.Loop() {
				begun := time.Now()
				fill(b, log, log.Head().Size+16)
				took = append(took, time.Since(begun))
			}
			cancel()
			b.ReportMetric(float64(<-done), "folds")
			slices.Sort(took)
			for _, p := range []struct {
				name string
				at   float64
			}{{"p50-µs", 0.5}, {"p99-µs", 0.99}, {"p99.9-µs", 0.999}} {
				b.ReportMetric(float64(took[int(float64(len(took)-1)*p.at)].Microseconds()), p.name)
			}
		})
	}
}
