package actions

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"waybill/journal"
	"waybill/sessions"
)

// calibrate measures cal2, commits a second as cheap as a journal can make
// them: four pages and a sync, one page and a sync.
func calibrate(b *testing.B) float64 {
	f, err := os.Create(filepath.Join(b.TempDir(), "cal2"))
	require.NoError(b, err)
	defer f.Close()
	page := make([]byte, 4096)
	four := make([]byte, 4*4096)
	const rounds = 300
	begun := time.Now()
	for i := range int64(rounds) {
		_, err := f.WriteAt(four, 4096+i*int64(len(four)))
		require.NoError(b, err)
		require.NoError(b, unix.Fdatasync(int(f.Fd())))
		_, err = f.WriteAt(page, 0)
		require.NoError(b, err)
		require.NoError(b, unix.Fdatasync(int(f.Fd())))
	}
	return rounds / time.Since(begun).Seconds()
}

// BenchmarkAppend measures durable records a second through the core, Merkle
// tree included, for a number of callers that each wait for their own. The
// record's line is about 200 bytes.
func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{1, 64, 512} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			r := newRig(b)
			r.mustStart()
			cal := calibrate(b)
			from := origin{"main", "ws 127.0.0.1:51034", ""}
			body := []byte(`{"action":"get_file_info","code":"ok"}`)
			latencies := make([][]time.Duration, callers)
			var wg sync.WaitGroup
			b.ResetTimer()
			begun := time.Now()
			for c := range callers {
				n := b.N / callers
				if c < b.N%callers {
					n++
				}
				wg.Go(func() {
					ref := origin{from.actor, from.via, sessions.NewID().String()}
					for range n {
						t := time.Now()
						if err := r.fact(ref, KindAnswered, body); err != nil {
							b.Error(err)
							return
						}
						latencies[c] = append(latencies[c], time.Since(t))
					}
				})
			}
			wg.Wait()
			took := time.Since(begun)
			b.StopTimer()
			all := slices.Concat(latencies...)
			slices.Sort(all)
			rate := float64(b.N) / took.Seconds()
			b.ReportMetric(rate, "records/s")
			b.ReportMetric(cal, "cal2/s")
			b.ReportMetric(rate/cal, "x-cal2")
			b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}

// storedLines renders the journal of one upload that is stored in many small
// windows: the kind of record that a daemon writes most.
func storedLines(b *testing.B, total int) [][]byte {
	id := sessions.NewID()
	opened, err := sessions.NewTable().OpenUpload(sessions.NewUpload{ID: id, Path: "x", Size: 1 << 40, Idle: time.Minute})
	require.NoError(b, err)
	at := time.Now().UTC()
	lines := make([][]byte, total)
	for seq := range uint64(total) {
		r := journal.Record{Seq: seq, At: at, Actor: "main", Via: "ws 127.0.0.1:51034", Ref: id.String()}
		if r.Kind, r.Body = opened.Kind, opened.Body; seq > 0 {
			r.Kind = sessions.KindUploadStored
			r.Body = fmt.Appendf(nil, `{"session":"%s","ranges":[[%d,%d]],"crc32c":"deadbeef","calls":1}`, id, seq*1000-1000, seq*1000)
		}
		lines[seq] = journal.AppendRecord(nil, &r)
	}
	return lines
}

// visit is what a panel does in one go, fact by fact: it looks around, uploads
// a file in pieces, and downloads it.
func visit(table *sessions.Table, n int) []func() (sessions.Fact, error) {
	const piece = 1 << 20
	pieces := int64(8 + n%8)
	up := sessions.NewUpload{
		ID: sessions.NewID(), Path: fmt.Sprintf("servers/%d/plugins/plugin-%d.jar", n%20, n%500),
		Size: pieces * piece, SHA1: fmt.Sprintf("%040x", n), Idle: 2 * time.Minute,
	}
	down := sessions.NewDownload{
		ID: sessions.NewID(), Path: up.Path, SHA1: up.SHA1, Idle: up.Idle,
		Identity: sessions.Identity{Dev: 65024, Ino: uint64(n), Size: up.Size, MtimeNS: int64(n) * 1e12, CtimeNS: int64(n) * 1e12},
	}
	answered := func(body string) func() (sessions.Fact, error) {
		return func() (sessions.Fact, error) { return sessions.Fact{Kind: KindAnswered, Body: []byte(body)}, nil }
	}
	read := func() (sessions.Fact, error) {
		return table.ReadDownload(down.ID, []sessions.Range{{0, up.Size}})
	}
	steps := []func() (sessions.Fact, error){
		answered(`{"action":"get_directory_info","params":{"path":"servers/plugins"},"code":"ok"}`),
		answered(`{"action":"get_file_info","params":{"path":"` + up.Path + `"},"code":"ok"}`),
		func() (sessions.Fact, error) { return table.OpenUpload(up) },
	}
	for i := range pieces {
		steps = append(steps, func() (sessions.Fact, error) {
			ranges := []sessions.Range{{i * piece, (i + 1) * piece}}
			f, _, err := table.Store(&sessions.Stored{Session: up.ID, Ranges: ranges, CRC32C: 0xdeadbeef, Calls: 1})
			return f, err
		})
	}
	return append(steps,
		func() (sessions.Fact, error) { return table.Seal(up.ID, up.SHA1) },
		func() (sessions.Fact, error) { return table.Place(up.ID) },
		func() (sessions.Fact, error) { return table.OpenDownload(down) },
		read, read,
		func() (sessions.Fact, error) { return table.CloseDownload(down.ID) },
	)
}

// visitLines renders the journal of a server that has work all day: visits of
// three panels at a time, 33,000 records a day.
func visitLines(b *testing.B, total int) [][]byte {
	var (
		s      = NewState()
		at     = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		lines  = make([][]byte, 0, total)
		visits [3][]func() (sessions.Fact, error)
		e      journal.Entry
	)
	for seq := range total {
		who := seq % len(visits)
		if len(visits[who]) == 0 {
			visits[who] = visit(s.sessions, seq)
		}
		f, err := visits[who][0]()
		require.NoError(b, err)
		visits[who] = visits[who][1:]
		line := journal.AppendRecord(nil, &journal.Record{
			Seq: uint64(seq), At: at, Kind: f.Kind, Body: f.Body, Ref: sessions.NewID().String(),
			Actor: fmt.Sprintf("panel-%d", who+1), Via: fmt.Sprintf("ws 10.0.0.%d:51034", who+1),
		})
		require.NoError(b, journal.ParseEntry(line, &e))
		require.NoError(b, s.Apply(&e))
		lines = append(lines, line)
		at = at.Add(2592 * time.Millisecond)
	}
	return lines
}

// histories are what the folds are measured with.
var histories = []struct {
	name  string
	lines func(b *testing.B, total int) [][]byte
}{
	{"stored", storedLines}, // almost nothing but upload.stored
	{"visits", visitLines},
}

// cpuTime is what this process has had of all cores: on a machine with other
// work to do it says more than the clock.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkReplay folds a journal of a million records, with the leaf hash of
// every record checked, as a start without a snapshot does.
func BenchmarkReplay(b *testing.B) {
	const total = 1_000_000
	for _, h := range histories {
		b.Run(h.name, func(b *testing.B) {
			log, err := journal.Open(b.TempDir(), journal.Options{})
			require.NoError(b, err)
			defer log.Close()
			for lines := range slices.Chunk(h.lines(b, total), 4096) {
				require.NoError(b, log.Append(lines))
			}
			runtime.GC()
			b.ResetTimer()
			begun, cpu := time.Now(), cpuTime(b)
			for range b.N {
				_, err := Replay(b.Context(), log)
				require.NoError(b, err)
			}
			b.ReportMetric(total*float64(b.N)/time.Since(begun).Seconds(), "records/s")
			b.ReportMetric(total*float64(b.N)/(cpuTime(b)-cpu).Seconds(), "records/cpu-s")
		})
	}
}

// BenchmarkFold is the fold alone, without reading or hashing.
func BenchmarkFold(b *testing.B) {
	for _, h := range histories {
		b.Run(h.name, func(b *testing.B) {
			lines := h.lines(b, 200_000)
			runtime.GC()
			b.ReportAllocs()
			b.ResetTimer()
			begun, cpu := time.Now(), cpuTime(b)
			for range b.N {
				s := NewState()
				var e journal.Entry
				for _, line := range lines {
					if err := journal.ParseEntry(line, &e); err != nil {
						b.Fatal(err)
					}
					if err := s.Apply(&e); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(len(lines)*b.N)/time.Since(begun).Seconds(), "records/s")
			b.ReportMetric(float64(len(lines)*b.N)/(cpuTime(b)-cpu).Seconds(), "records/cpu-s")
		})
	}
}
