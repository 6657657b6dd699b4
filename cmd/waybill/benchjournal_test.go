package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/actions"
	"waybill/journal"
)

// benched is the JSON form, as its readers see it.
type benched struct {
	Bench, Version, Go string
	At                 time.Time
	Cores              int
	FileSystem         struct{ Dir, Type, Source, Mount string } `json:"file_system"`
	Rows               []struct {
		Name, Unit, Wanted string
		Value, Ratio       float64
		Calibration        *struct {
			Name, Unit string
			Value      float64
		}
		Reached *bool
		Details map[string]float64
	}
}

// The command with the smallest sizes: what it prints, not how fast it is.
func TestBenchJournal(t *testing.T) {
	t.Parallel()
	dir := quickDir(t)
	r := waybillIn(t, dir, clean(), "bench", "journal", "--time", "1ms", "--records", "66000", "--json")
	require.Zero(t, r.code, r.err)
	var b benched
	require.NoError(t, json.Unmarshal([]byte(r.out), &b))
	assert.Equal(t, "journal", b.Bench)
	assert.NotEmpty(t, b.Version)
	assert.Positive(t, b.Cores)
	assert.False(t, b.At.IsZero())
	assert.NotContains(t, []string{"", "unknown"}, b.FileSystem.Type)
	assert.True(t, strings.HasPrefix(b.FileSystem.Dir, strings.TrimSuffix(b.FileSystem.Mount, "/")+"/"))
	var names []string
	for _, row := range b.Rows {
		names = append(names, row.Name)
		assert.Positive(t, row.Value, row.Name)
		assert.NotEmpty(t, row.Unit, row.Name)
		require.NotNil(t, row.Calibration, row.Name)
		assert.Positive(t, row.Calibration.Value, row.Name)
		assert.NotEmpty(t, row.Calibration.Name, row.Name)
		assert.Positive(t, row.Ratio, row.Name)
		assert.Equal(t, row.Wanted != "", row.Reached != nil, row.Name)
		if strings.HasPrefix(row.Name, "append/") {
			d := row.Details
			assert.Positive(t, d["p50_ms"], row.Name)
			assert.LessOrEqual(t, d["p50_ms"], d["p99_ms"], row.Name)
			assert.LessOrEqual(t, d["p99_ms"], d["p99.9_ms"], row.Name)
			assert.LessOrEqual(t, d["p99.9_ms"], d["max_ms"], row.Name)
		}
		if strings.HasPrefix(row.Name, "append/roll/") {
			assert.Positive(t, row.Details["rolling_commit_ms"], row.Name)
		}
	}
	assert.Equal(t, benchRows, names)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left)
}

var benchRows = []string{
	"append/callers=1/200-bytes", "append/callers=16/200-bytes", "append/callers=64/200-bytes", "append/callers=512/200-bytes",
	"append/callers=1/2048-bytes", "append/callers=16/2048-bytes", "append/callers=64/2048-bytes", "append/callers=512/2048-bytes",
	"append/roll/callers=1", "append/roll/callers=64", "append/roll/callers=512",
	"disk/live/batches-of-64", "disk/live/singles", "disk/archived/200-bytes",
	"replay/hash/1-core", "replay/hash/all-cores", "replay/state/1-core", "replay/state/all-cores", "replay/fold-alone/1-core",
	"verify/1-core", "verify/all-cores", "disk/archived/history",
	"start/records=66000/replay", "start/records=66000/snapshot",
}

// The table has a column for everything, and only the rows asked for.
func TestBenchTable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := waybill(t, "bench", "journal", "--dir", dir, "--time", "1ms", "--records", "10", "--only", "^replay/.*/1-core$|callers=1/200")
	require.Zero(t, r.code, r.err)
	lines := strings.Split(strings.TrimSuffix(r.out, "\n"), "\n")
	require.Len(t, lines, 8, r.out)
	assert.Contains(t, lines[1], dir+" (")
	columns := regexp.MustCompile(`^row +value +calibration +ratio +wanted$`)
	assert.Regexp(t, columns, lines[3])
	at := strings.Index(lines[3], "calibration")
	for i, name := range []string{"append/callers=1/200-bytes", "replay/hash/1-core", "replay/state/1-core", "replay/fold-alone/1-core"} {
		line := lines[4+i]
		assert.True(t, strings.HasPrefix(line, name+" "), line)
		assert.Regexp(t, `^(cal2|sha256) [\d.,]+ (/s|MB/s) +\d+\.\d\d  (yes|NO )  ≥ `, line[at:])
	}
}

func TestBenchMistakes(t *testing.T) {
	t.Parallel()
	for want, args := range map[int][]string{
		exitUsage:   {"--only", "("},
		exitNoInput: {"--dir", filepath.Join(t.TempDir(), "missing")},
	} {
		r := waybill(t, append([]string{"bench", "journal"}, args...)...)
		assert.Equal(t, want, r.code, r.err)
		assert.Empty(t, r.out)
	}
	assert.Equal(t, exitUsage, waybill(t, "bench", "journal", "--records", "0").code)
}

// Whoever ends it gets a clean folder back.
func TestBenchInterrupted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := start(t, dir, clean(), "bench", "journal", "--time", "1h", "--only", "append/callers=16/")
	eventually(t, "something is appended", func() bool {
		found, _ := filepath.Glob(filepath.Join(dir, ".waybill-bench-*", "append*", "journal", "seg-*.db"))
		return len(found) > 0
	})
	p.signal(syscall.SIGINT)
	assert.Equal(t, 130, p.wait())
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left)
}

// The history of the bench is one a daemon could have: it can be verified and
// folded, and what ended long ago is forgotten.
func TestBenchHistory(t *testing.T) {
	t.Parallel()
	dir := quickDir(t)
	const n = 70_000 // more than two days
	h := newHistory(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	kinds := map[string]int{}
	require.NoError(t, withLog(dir, func(log *journal.Log) error {
		require.NoError(t, h.fill(t.Context(), log, n))
		state, err := actions.Replay(t.Context(), log)
		require.NoError(t, err)
		text, err := json.Marshal(state)
		require.NoError(t, err)
		var s struct {
			Sessions struct {
				Uploads, Downloads []any
				Ended              []any `json:"ended_uploads"`
			}
		}
		require.NoError(t, json.Unmarshal(text, &s))
		assert.LessOrEqual(t, len(s.Sessions.Uploads)+len(s.Sessions.Downloads), 3)
		assert.InDelta(t, 24*3600/(historyStep.Seconds()*20.5), len(s.Sessions.Ended), 200)
		return log.Replay(t.Context(), 0, func(e *journal.Entry) error { kinds[e.Kind]++; return nil })
	}))
	_, err := journal.Verify(t.Context(), filepath.Join(dir, "journal"))
	require.NoError(t, err)
	for _, kind := range []string{
		"daemon.started", "action.answered", "action.refused", "upload.opened", "upload.stored", "upload.sealed",
		"upload.placed", "download.opened", "download.read", "download.closed",
	} {
		assert.Positive(t, kinds[kind], kind)
	}
	again := newHistory(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	once := newHistory(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	for range 1000 {
		require.Equal(t, once.next(nil), again.next(nil))
	}
}

func TestLatencies(t *testing.T) {
	t.Parallel()
	var l latencies
	assert.Zero(t, l.quantile(0.5))
	for i := range 1000 {
		l.add(time.Duration(i+1) * time.Microsecond)
	}
	var other latencies
	other.add(time.Second)
	other.add(-1)
	l.merge(&other)
	for q, want := range map[float64]time.Duration{0.5: 500 * time.Microsecond, 0.99: 990 * time.Microsecond, 0.9999: time.Second} {
		assert.InEpsilon(t, want, l.quantile(q), 0.02, q)
	}
	assert.Equal(t, time.Second, l.max)
	for d := time.Duration(1); d < time.Hour; d = d*9/8 + 1 {
		i := latencyBucket(d)
		assert.LessOrEqual(t, d, latencyTop(i))
		assert.Greater(t, d, latencyTop(i-1))
		assert.InEpsilon(t, d, latencyTop(i), 0.02)
	}
	assert.Equal(t, latencyBuckets-1, latencyBucket(1<<62))
}

func TestBenchLines(t *testing.T) {
	t.Parallel()
	p := newAppender(nil, 200)
	for _, seq := range []uint64{0, 9, 10, 65535, 1234567} {
		line := p.line(nil, seq, "0b7e1f8a")
		assert.Len(t, line, 200)
		var e journal.Entry
		require.NoError(t, journal.ParseEntry(line, &e))
		assert.Equal(t, seq, e.Seq)
	}
	assert.Len(t, newAppender(nil, 2048).line(nil, 77, "0b7e1f8a"), 2048)
}

// What callers were told is durable is in the journal, and every one counts.
func TestAppender(t *testing.T) {
	t.Parallel()
	dir := quickDir(t)
	require.NoError(t, withLog(dir, func(log *journal.Log) error {
		p := newAppender(log, 200)
		require.NoError(t, p.fill(t.Context(), journal.SegmentRecords-50, journal.MaxBatchRecords))
		before := log.Head().Size
		_, all, err := p.measure(t.Context(), 16, func() bool { return log.Head().Size >= before+500 })
		require.NoError(t, err)
		assert.Equal(t, log.Head().Size-before, all.n)
		assert.Positive(t, p.longest)
		assert.GreaterOrEqual(t, all.max, all.quantile(0.5))
		return nil
	}))
	head, err := journal.Verify(t.Context(), filepath.Join(dir, "journal"))
	require.NoError(t, err)
	assert.GreaterOrEqual(t, head.Size, uint64(journal.SegmentRecords+450))
}

func TestPlaceOf(t *testing.T) {
	t.Parallel()
	p, err := placeOf("/proc/self")
	require.NoError(t, err)
	assert.Equal(t, "proc", p.Type)
	assert.Equal(t, "/proc", p.Mount)
	_, err = placeOf(filepath.Join(t.TempDir(), "missing"))
	assert.ErrorIs(t, err, os.ErrNotExist)
	assert.Equal(t, "a b\\c", unescapeMount(`a\040b\134c`))
}

func TestFigure(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]string{
		0: "0", 0.0456: "0.046", 1.234: "1.23", 12.34: "12.3", 123.4: "123", 1234.5: "1,234", 1234567: "1,234,567", -2500: "-2,500",
	} {
		assert.Equal(t, want, figure(v))
	}
}

// A row that is cut short leaves nothing and is not printed.
func TestBenchRowFails(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out strings.Builder
	a := &app{stdout: &out, stderr: &out}
	dir := t.TempDir()
	c := benchFlags{Dir: dir, Time: time.Millisecond, JSON: true}
	err := c.run(ctx, a, "journal", func(ctx context.Context, b *bench) error { return b.appends(ctx) })
	assert.ErrorIs(t, err, context.Canceled)
	assert.Empty(t, out.String())
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left)
}
