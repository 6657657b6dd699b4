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

// BenchmarkReplay folds a journal of a million upload.stored records, with
// the leaf hash of every record checked, as a start without a snapshot does.
func BenchmarkReplay(b *testing.B) {
	const total = 1_000_000
	log, err := journal.Open(b.TempDir(), journal.Options{})
	require.NoError(b, err)
	defer log.Close()
	for lines := range slices.Chunk(storedLines(b, total), 4096) {
		require.NoError(b, log.Append(lines))
	}
	runtime.GC()
	b.ResetTimer()
	begun := time.Now()
	for range b.N {
		_, err := Replay(b.Context(), log)
		require.NoError(b, err)
	}
	b.ReportMetric(total*float64(b.N)/time.Since(begun).Seconds(), "records/s")
}

// BenchmarkFold is the fold alone, without reading or hashing.
func BenchmarkFold(b *testing.B) {
	lines := storedLines(b, 200_000)
	runtime.GC()
	b.ResetTimer()
	begun := time.Now()
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
}
