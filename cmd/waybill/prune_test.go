package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/actions"
	"waybill/daemon"
	"waybill/journal"
)

const (
	segment = journal.SegmentRecords
	// prunableEnd is how many records the prunable has; the cut of its first two
	// segments is at prunedTo.
	prunableEnd = prunedTo + 1300
	prunedTo    = 2 * segment
)

// prunable is a STATE of more than two segments, what a daemon left and what was
// added, with what the commands say of it.
type prunable struct {
	dir    string // holds state and root
	export string // a file
	before string // a time between the first two segments and the third
	proof  string // of record 77: a file
	states map[uint64]string
}

// thePrunable is made once for all tests.
var (
	thePrunable prunable
	prunableOne sync.Once
)

// prunableStates are the moments whose state is compared.
var prunableStates = []uint64{3, 700, segment - 1, prunedTo - 1, prunedTo, prunedTo + 5, prunableEnd - 1}

func makePrunable(t *testing.T) *prunable {
	t.Helper()
	p := &thePrunable
	prunableOne.Do(func() {
		master := filepath.Join(sharedDir(), "prunable")
		p.dir = filepath.Join(master, "daemon")
		s := serveIn(t, p.dir)
		file := filepath.Join(t.TempDir(), "f")
		randomFile(t, file, 9<<10)
		r := waybill(t, to(s, "put", file, "f", "--chunk", "1024", "--in-flight", "1")...)
		require.Zero(t, r.code, r.err)
		s.stop()
		log, err := journal.Open(filepath.Join(s.state, "journal"), journal.Options{})
		require.NoError(t, err)
		begun := log.LastAt().Add(-time.Duration(log.Head().Size) * time.Millisecond)
		require.NoError(t, log.Close())
		lengthen(t, s.state, prunableEnd)
		p.before = begun.Add((prunedTo + 1000) * time.Millisecond).UTC().Format(time.RFC3339Nano)
		p.export, p.proof = filepath.Join(master, "export"), filepath.Join(master, "proof")
		out := func(args ...string) string {
			t.Helper()
			r := waybill(t, append(args, "--state", s.state)...)
			require.Zero(t, r.code, r.err)
			return r.out
		}
		require.NoError(t, os.WriteFile(p.export, []byte(out("journal", "export")), 0o600))
		out("journal", "prove", "77", "--output", p.proof)
		p.states = make(map[uint64]string)
		for _, seq := range prunableStates {
			p.states[seq] = out("journal", "replay", "--at", fmt.Sprint(seq))
		}
	})
	return p
}

// lengthen adds records to a STATE of which no daemon runs, one a millisecond,
// until it has so many.
func lengthen(t *testing.T, state string, size uint64) {
	t.Helper()
	log, err := journal.Open(filepath.Join(state, "journal"), journal.Options{})
	require.NoError(t, err)
	at := log.LastAt()
	for seq := log.Head().Size; seq < size; {
		var lines [][]byte
		for ; seq < size && len(lines) < journal.MaxBatchRecords; seq++ {
			at = at.Add(time.Millisecond)
			rec := journal.Record{
				Seq: seq, At: at, Kind: actions.KindAnswered, Actor: "main", Via: "ws 127.0.0.1:51034",
				Ref: fmt.Sprintf("%08x", seq*2654435761), Body: []byte(`{"action":"get_permissions","params":{},"code":"ok"}`),
			}
			if seq%100 == 0 {
				rec.Kind = actions.KindToken
				rec.Body = fmt.Appendf(nil, `{"jti":"%d","subject":"s","permissions":["**"],"exp":"2036-03-01T12:30:00Z"}`, seq)
			}
			lines = append(lines, journal.AppendRecord(nil, &rec))
		}
		require.NoError(t, log.Append(lines))
	}
	require.NoError(t, log.Close())
}

// copied gives a copy of the prunable with an empty archive, not yet pruned.
func (p *prunable) copied(t *testing.T) (s *server, archive string) {
	t.Helper()
	s = place(t, filepath.Join(quickDir(t), "copy"))
	copyState(t, filepath.Dir(s.state), p.dir)
	require.NoError(t, os.Chmod(s.state, 0o700))
	archive = filepath.Join(filepath.Dir(s.state), "archive")
	require.NoError(t, os.Mkdir(archive, 0o700))
	return s, archive
}

// pruned is copied, and pruned.
func (p *prunable) pruned(t *testing.T) (s *server, archive string) {
	t.Helper()
	s, archive = p.copied(t)
	r := waybill(t, "journal", "prune", "--state", s.state, "--archive", archive, "--before", p.before, "--json")
	require.Zero(t, r.code, r.err)
	return s, archive
}

func TestPrune(t *testing.T) {
	t.Parallel()
	p := makePrunable(t)
	s, archive := p.copied(t)
	prune := []string{"journal", "prune", "--state", s.state, "--archive", archive, "--before", p.before}

	r := waybill(t, append(prune, "--dry-run")...)
	require.Zero(t, r.code, r.err)
	assert.Equal(t, fmt.Sprintf("would prune records 0 to 131071, 131072 in 2 segments; they would go to %s\n", archive), r.out)
	r = waybill(t, prune...)
	require.Zero(t, r.code, r.err)
	assert.Equal(t, fmt.Sprintf("pruned records 0 to 131071, 131072 in 2 segments; they are in %s\n", archive), r.out)
	r = waybill(t, append(prune, "--json")...)
	require.Zero(t, r.code, r.err)
	var again daemon.Pruned
	require.NoError(t, json.Unmarshal([]byte(r.out), &again))
	assert.Equal(t, daemon.Pruned{From: prunedTo, To: prunedTo, Archive: archive}, again)
	r = waybill(t, prune...)
	assert.Contains(t, r.out, "nothing to prune: no whole segment is from before 20")

	stored := []string{"--state", s.state}
	whole := append(stored, "--archive", archive)
	ok := func(args ...string) string {
		t.Helper()
		r := waybill(t, append([]string{"journal"}, args...)...)
		require.Zero(t, r.code, r.err)
		return r.out
	}
	refused := func(code int, says string, args ...string) {
		t.Helper()
		r := waybill(t, append([]string{"journal"}, args...)...)
		assert.Equal(t, code, r.code, r.err)
		assert.Contains(t, r.err, says)
	}
	with := func(source []string, args ...string) []string { return append(args, source...) }

	// verify, with and without the archive.
	alone, both := ok(with(stored, "verify")...), ok(with(whole, "verify")...)
	assert.Equal(t, alone, both)
	assert.Contains(t, both, fmt.Sprintf("valid: %d records, root ", prunableEnd+1))

	// The export is what it was, and one record more.
	export, err := os.ReadFile(p.export)
	require.NoError(t, err)
	text := ok(with(whole, "export")...)
	require.True(t, strings.HasPrefix(text, string(export)), "byte for byte")
	var last struct{ Kind, Actor, Via string }
	require.NoError(t, json.Unmarshal([]byte(text[len(export):]), &last))
	assert.Equal(t, "segment.pruned operator cli", last.Kind+" "+last.Actor+" "+last.Via)
	lines := bytes.SplitAfter(export, []byte("\n"))
	assert.Equal(t, string(bytes.Join(lines[prunedTo-1:prunedTo+1], nil)),
		ok(with(whole, "export", "--from", fmt.Sprint(prunedTo-1), "--to", fmt.Sprint(prunedTo+1))...))
	assert.Equal(t, string(lines[prunedTo]), ok(with(stored, "export", "--from", fmt.Sprint(prunedTo), "--to", fmt.Sprint(prunedTo+1))...))
	refused(exitUsage, "give the folder of their archive with --archive", with(stored, "export")...)

	// Time travel.
	for _, seq := range prunableStates {
		at := fmt.Sprint(seq)
		assert.Equal(t, p.states[seq], ok(with(whole, "replay", "--at", at)...), at)
		if seq >= prunedTo-1 {
			assert.Equal(t, p.states[seq], ok(with(stored, "replay", "--at", at)...), at)
		} else {
			refused(exitUsage, "--archive", with(stored, "replay", "--at", at)...)
		}
	}
	now := ok(with(stored, "replay")...)
	assert.Equal(t, now, ok(with(whole, "replay")...))
	var rec struct{ At string }
	require.NoError(t, json.Unmarshal(lines[prunedTo+5], &rec))
	assert.Equal(t, p.states[prunedTo+5], ok(with(stored, "replay", "--at", rec.At)...))
	require.NoError(t, json.Unmarshal(lines[700], &rec))
	assert.Equal(t, p.states[700], ok(with(whole, "replay", "--at", rec.At)...))
	refused(exitUsage, "--archive", with(stored, "replay", "--at", rec.At)...)

	// Proofs from before, and new ones.
	key := ok("key", "--state", s.state)
	checked := ok("check", p.proof, "--key", strings.TrimSpace(key))
	assert.NotEmpty(t, checked)
	fresh := filepath.Join(t.TempDir(), "proof")
	ok(with(whole, "prove", "77", "--output", fresh)...)
	ok("check", fresh, "--key", strings.TrimSpace(key))
	refused(exitUsage, "--archive", with(stored, "prove", "77")...)
	old := filepath.Join(s.state, "checkpoint") // of a few dozen records, when the daemon stopped
	ok(with(whole, "prove", "--from", old, "--output", fresh)...)
	ok("check", fresh, "--key", strings.TrimSpace(key))
	assert.Contains(t, ok(with(whole, "verify", "--checkpoint", old, "--key", strings.TrimSpace(key))...), "valid")
	refused(exitNoInput, "pruned", with(stored, "verify", "--checkpoint", old, "--key", strings.TrimSpace(key))...)

	// What tells and counts, too.
	assert.Contains(t, ok(with(whole, "story", "f")...), "f")
	var stats struct {
		Records uint64
	}
	require.NoError(t, json.Unmarshal([]byte(ok(with(whole, "stats", "--json")...)), &stats))
	assert.Equal(t, uint64(prunableEnd+1), stats.Records)
	require.NoError(t, json.Unmarshal([]byte(ok(with(stored, "stats", "--json")...)), &stats))
	assert.Equal(t, uint64(prunableEnd+1-prunedTo), stats.Records)
	assert.Equal(t, string(lines[5]), firstLine(ok(with(whole, "tail", "--from", "5")...)))

	// The archive alone.
	only := ok("verify", "--archive-only", archive, "--key", strings.TrimSpace(key))
	assert.Contains(t, only, "valid: 131072 records, root ")
	ok("verify", "--archive-only", archive, "--key", strings.TrimSpace(key), "--checkpoint", old)
	refused(exitUsage, "--key is missing", "verify", "--archive-only", archive)

	// A segment that is full, but not all of it from before, stays.
	lengthen(t, s.state, prunedTo+segment+300)
	assert.Contains(t, waybill(t, prune...).out, "nothing to prune: no whole segment is from before 20")

	// The daemon starts from base and tail, and prunes by request.
	s.flags = append(s.flags, "--archive", archive, "--retain", "9000d")
	s.start()
	r = waybill(t, append([]string{"journal", "prune", "--before", "2100-01-01"}, s.client()...)...)
	require.Zero(t, r.code, r.err)
	assert.Equal(t, fmt.Sprintf("pruned records 131072 to 196607, 65536 in 1 segments; they are in %s\n", archive), r.out)
	s.stop()
	assert.Contains(t, ok(with(whole, "verify")...), "valid")
	assert.True(t, strings.HasPrefix(ok(with(whole, "export")...), text))
}

func firstLine(text string) string { return text[:strings.IndexByte(text, '\n')+1] }

// A base or an archive that is not what the journal says is damage.
func TestPrunedDamage(t *testing.T) {
	t.Parallel()
	p := makePrunable(t)
	s, archive := p.pruned(t)
	base := filepath.Join(s.state, "base-0000000000131072.json")
	text, err := os.ReadFile(base)
	require.NoError(t, err)
	commands := [][]string{
		{"journal", "verify", "--state", s.state},
		{"journal", "replay", "--state", s.state},
		{"journal", "replay", "--state", s.state, "--archive", archive},
		{"serve", "--state", s.state, "--root", s.root, "--listen", "127.0.0.1:0"},
	}
	spoiled := map[string]func(){
		"missing": func() { require.NoError(t, os.Remove(base)) },
		"cut off": func() { require.NoError(t, os.WriteFile(base, text[:len(text)-9], 0o600)) },
		"empty":   func() { require.NoError(t, os.WriteFile(base, nil, 0o600)) },
		"one digit": func() {
			require.NoError(t, os.WriteFile(base, bytes.Replace(text, []byte(`"tokens_issued":1`), []byte(`"tokens_issued":2`), 1), 0o600))
		},
	}
	for name, spoil := range spoiled {
		spoil()
		for _, c := range commands {
			r := waybill(t, c...)
			assert.Equal(t, exitData, r.code, "%s: %v: %s", name, c, r.err)
			assert.Contains(t, r.err, filepath.Base(base))
		}
	}
	require.NoError(t, os.WriteFile(base, text, 0o600))
	for _, c := range commands[:3] {
		assert.Zero(t, waybill(t, c...).code)
	}

	part := func(name string) string { return filepath.Join(archive, name) }
	flip := func(name string, at int) func() {
		b, err := os.ReadFile(part(name))
		require.NoError(t, err)
		return func() {
			b := bytes.Clone(b)
			b[at%len(b)] ^= 1
			require.NoError(t, os.WriteFile(part(name), b, 0o600))
		}
	}
	for name, spoil := range map[string]func(){
		"seg-0000000000000000.jsonl.zst":  flip("seg-0000000000000000.jsonl.zst", 100_000),
		"seg-0000000000065536.tiles":      flip("seg-0000000000065536.tiles", 77),
		"seg-0000000000065536.checkpoint": flip("seg-0000000000065536.checkpoint", 150),
	} {
		good, err := os.ReadFile(part(name))
		require.NoError(t, err)
		spoil()
		r := waybill(t, "journal", "verify", "--state", s.state, "--archive", archive)
		assert.Equal(t, exitData, r.code, "%s: %s", name, r.err)
		assert.Contains(t, r.err, name)
		r = waybill(t, "journal", "verify", "--state", s.state)
		assert.Zero(t, r.code, r.err)
		require.NoError(t, os.WriteFile(part(name), good, 0o600))
	}
	require.NoError(t, os.Remove(part("seg-0000000000000000.jsonl.zst")))
	require.NoError(t, os.Remove(part("seg-0000000000065536.jsonl.zst")))
	for _, c := range []string{"verify", "export", "replay", "stats"} {
		r := waybill(t, "journal", c, "--state", s.state, "--archive", archive)
		assert.Equal(t, exitNoInput, r.code, "%s: %s", c, r.err)
		assert.Contains(t, r.err, "records 65536 to 131071 are not in the archive")
	}
}

func TestPruneFlags(t *testing.T) {
	t.Parallel()
	s, _ := filled(t)
	dir := t.TempDir()
	for name, c := range map[string]struct {
		code int
		says string
		args []string
	}{
		"no archive":        {exitUsage, "--archive is missing", []string{"journal", "prune", "--state", s.state, "--before", "2030-01-01"}},
		"no time":           {exitUsage, "--before", []string{"journal", "prune", "--state", s.state, "--archive", dir}},
		"bad time":          {exitUsage, "--before", []string{"journal", "prune", "--state", s.state, "--archive", dir, "--before", "5"}},
		"archive missing":   {exitConfig, "archive", []string{"journal", "prune", "--state", s.state, "--archive", dir + "/x", "--before", "2030-01-01"}},
		"state missing":     {exitNoInput, "journal", []string{"journal", "prune", "--state", dir, "--archive", t.TempDir(), "--before", "2030-01-01"}},
		"archive, export":   {exitUsage, "--archive goes with --state or --url", []string{"journal", "verify", "--export", os.DevNull, "--archive", dir}},
		"verify, none":      {exitNoInput, "archive", []string{"journal", "verify", "--state", s.state, "--archive", dir + "/x"}},
		"retain too short":  {exitUsage, "90d", []string{"serve", "--retain", "30m", "--archive", dir}},
		"retain negative":   {exitUsage, "90d", []string{"serve", "--retain", "-90d", "--archive", dir}},
		"retain nowhere":    {exitConfig, "archive", []string{"serve", "--listen", "127.0.0.1:0", "--retain", "90d", "--state", s.state, "--root", s.root}},
		"archive not there": {exitConfig, "archive", []string{"serve", "--listen", "127.0.0.1:0", "--archive", dir + "/x", "--state", s.state, "--root", s.root}},
	} {
		r := waybill(t, c.args...)
		assert.Equal(t, c.code, r.code, "%s: %s", name, r.err)
		assert.Contains(t, r.err, c.says, name)
	}
	r := waybillIn(t, dir, clean("WAYBILL_ARCHIVE="+dir), "journal", "verify", "--export", os.DevNull)
	assert.Zero(t, r.code, r.err)

	s.start()
	r = waybill(t, append([]string{"journal", "prune", "--before", "2030-01-01"}, s.client()...)...)
	assert.Equal(t, exitConfig, r.code, r.err)
	assert.Contains(t, r.err, "the daemon has no archive")
	r = waybill(t, "journal", "prune", "--state", s.state, "--archive", dir, "--before", "2030-01-01")
	assert.Equal(t, exitTemp, r.code, r.err)
}

// A running daemon whose journal was pruned, read together with the archive.
func TestArchiveOfARunningDaemon(t *testing.T) {
	t.Parallel()
	p := makePrunable(t)
	s, archive := p.pruned(t)
	key := keyOf(t, s.state)
	old := filepath.Join(filepath.Dir(s.state), "old") // of a few dozen records
	b, err := os.ReadFile(filepath.Join(s.state, "checkpoint"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(old, b, 0o600))
	export, err := os.ReadFile(p.export)
	require.NoError(t, err)
	lines := bytes.SplitAfter(export, []byte("\n"))
	s.start()
	url := func(args ...string) result {
		return waybill(t, append(append([]string{"journal"}, args...), s.client()...)...)
	}
	both := func(args ...string) result { return url(append(args, "--archive", archive)...) }
	ok := func(r result) string {
		t.Helper()
		require.Zero(t, r.code, r.err)
		return r.out
	}
	for _, c := range [][]string{{"verify"}, {"export"}, {"replay"}, {"prove", "77"}, {"prove", "--from", old}, {"tail", "--no-follow", "--from", "5"}} {
		r := url(c...)
		assert.Equal(t, exitUsage, r.code, "%v: %s", c, r.err)
		assert.Contains(t, r.err, "--archive", c)
	}

	// The records are asked for when the daemon has answered before.
	for _, command := range []string{"verify", "export"} {
		gone := func(r *http.Request) bool { return r.Method == http.MethodGet && r.URL.Path == "/journal" }
		p := goneFor(t, s, gone, "journal", command, "--archive", archive)
		assert.Zero(t, p.wait(), "%s: %s", command, p.stderr())
		assert.Contains(t, p.stderr(), "going on", command)
	}

	r := both("verify")
	assert.Contains(t, ok(r), "valid: ")
	assert.NotContains(t, r.err, "not checked")
	r = both("verify", "--checkpoint", old, "--key", key)
	ok(r)
	assert.Contains(t, r.err, "nothing was altered of the first")
	assert.True(t, strings.HasPrefix(ok(both("export")), string(export)), "byte for byte")
	assert.Equal(t, string(bytes.Join(lines[prunedTo-1:prunedTo+1], nil)),
		ok(both("export", "--from", fmt.Sprint(prunedTo-1), "--to", fmt.Sprint(prunedTo+1))))
	assert.Equal(t, string(lines[3]), ok(both("export", "--from", "3", "--to", "4")))
	for _, seq := range []uint64{700, prunedTo - 1, prunedTo, prunableEnd - 1} {
		assert.Equal(t, p.states[seq], ok(both("replay", "--at", fmt.Sprint(seq))), seq)
	}
	fresh := filepath.Join(t.TempDir(), "proof")
	for _, seq := range []int{0, 77, segment, prunedTo - 1, prunedTo, prunableEnd} {
		ok(both("prove", fmt.Sprint(seq), "-o", fresh))
		r := waybill(t, "journal", "check", fresh, "--key", key)
		require.Zero(t, r.code, r.err)
		if seq < prunableEnd {
			assert.Equal(t, string(lines[seq]), r.out)
		}
	}
	ok(both("prove", "--from", old, "-o", fresh))
	r = waybill(t, "journal", "check", fresh, "--key", key)
	require.Zero(t, r.code, r.err)
	var stats struct{ Records, First uint64 }
	r = both("stats", "--json")
	require.NoError(t, json.Unmarshal([]byte(ok(r)), &stats))
	assert.Zero(t, stats.First)
	assert.Greater(t, stats.Records, uint64(prunableEnd))
	assert.Empty(t, r.err)
	told := waybill(t, "journal", "story", "f", "--export", p.export)
	assert.Equal(t, ok(told), ok(both("story", "f")))
	assert.Equal(t, string(lines[5]), firstLine(ok(both("tail", "--no-follow", "--from", "5"))))
	opened := ok(both("tail", "--no-follow", "--path", "f", "--kind", "upload.opened"))
	assert.Equal(t, 1, strings.Count(opened, "\n"))
	assert.Contains(t, opened, `"kind":"upload.opened"`)

	// Those that follow, too.
	f := start(t, t.TempDir(), clean(),
		append([]string{"journal", "tail", "--path", "f", "--kind", "upload.placed", "--archive", archive}, s.client()...)...)
	placed := func(n int) {
		eventually(t, "what is placed is told of", func() bool { return strings.Count(f.out.String(), "\n") == n })
	}
	placed(1)
	file := filepath.Join(t.TempDir(), "f")
	randomFile(t, file, 100)
	for _, name := range []string{"other", "f"} {
		ok(waybill(t, to(s, "put", file, name)...))
	}
	placed(2)
	f.signal(syscall.SIGINT)
	assert.Equal(t, 130, f.wait())
	again := ok(both("tail", "--no-follow", "--path", "f", "--kind", "upload.placed"))
	assert.Equal(t, again, f.out.String())

	// An archive of which a part is missing, or is not what it was.
	spoil := func(name string) (mend func()) {
		name = filepath.Join(archive, name)
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		bad := bytes.Clone(b)
		bad[len(bad)/2] ^= 1
		require.NoError(t, os.WriteFile(name, bad, 0o600))
		return func() { require.NoError(t, os.WriteFile(name, b, 0o600)) }
	}
	for name, commands := range map[string][]string{
		"seg-0000000000065536.tiles":      {"verify", "export", "replay", "stats"},
		"seg-0000000000065536.jsonl.zst":  {"verify", "export", "replay", "stats"},
		"seg-0000000000065536.checkpoint": {"verify"},
	} {
		mend := spoil(name)
		for _, c := range commands {
			r := both(c)
			assert.Equal(t, exitData, r.code, "%s: %s: %s", name, c, r.err)
		}
		mend()
	}
	require.NoError(t, os.Remove(filepath.Join(archive, "seg-0000000000065536.jsonl.zst")))
	for _, c := range []string{"verify", "export", "replay", "stats"} {
		r := both(c)
		assert.Equal(t, exitNoInput, r.code, "%s: %s", c, r.err)
		assert.Contains(t, r.err, "records 65536 to 131071 are not in the archive")
	}
}

// What was pruned and not looked at is told of.
func TestPrunedIsToldOf(t *testing.T) {
	t.Parallel()
	s, archive := makePrunable(t).pruned(t)
	stored := []string{"--state", s.state}
	const note = "records before 131072 are pruned and were not looked at (--archive)"
	told := func(source ...string) {
		t.Helper()
		for _, c := range [][]string{
			{"story", "f"}, {"story", "f", "--json"}, {"tail", "--actor", "nobody"}, {"tail", "--path", "f", "--from", "131080"}, {"stats"},
		} {
			if c[0] == "tail" && source[0] == "--url" {
				c = append(c, "--no-follow")
			}
			r := waybill(t, append(append([]string{"journal"}, c...), source...)...)
			assert.Contains(t, r.err, note, c)
			if c[0] != "story" {
				assert.Zero(t, r.code, r.err)
				continue
			}
			assert.Equal(t, exitNoInput, r.code)
			assert.Contains(t, r.err, "nothing from record 131072 on is about f; ")
		}
	}
	told(stored...)
	r := waybill(t, append([]string{"journal", "tail", "--from", "131080", "--actor", "nobody"}, stored...)...)
	assert.Empty(t, r.err, "nothing before was asked for")
	for _, c := range [][]string{{"story", "f"}, {"tail", "--actor", "nobody"}, {"stats"}} {
		r := waybill(t, append(append([]string{"journal"}, c...), append(stored, "--archive", archive)...)...)
		assert.Zero(t, r.code, r.err)
		assert.Empty(t, r.err)
	}
	s.start()
	r = waybill(t, append([]string{"journal", "story", "main"}, s.client()...)...)
	assert.NotContains(t, r.err, "nothing in the journal")
	told(s.client()...)
}
