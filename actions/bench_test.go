package actions

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

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

// BenchmarkReplay folds a journal of a million records.
func BenchmarkReplay(b *testing.B) {
	r := newRig(b)
	r.mustStart()
	id := r.open("x", 1<<30, "")
	facts := make([]sessions.Fact, 0, 4096)
	off := int64(0)
	const total = 1_000_000
	for n := 0; n < total; n += 4000 {
		require.NoError(b, r.core.decide(origin{"main", "ws 127.0.0.1:51034", "r"}, func(s *State) ([]sessions.Fact, error) {
			facts = facts[:0]
			for range 4000 {
				f, _, err := s.sessions.Store(&sessions.Stored{Session: id, Ranges: []sessions.Range{{off, off + 1000}}, CRC32C: 0xdeadbeef, Calls: 1})
				if err != nil {
					return nil, err
				}
				facts = append(facts, f)
				off += 1000
			}
			return facts, nil
		}))
	}
	b.ResetTimer()
	begun := time.Now()
	for range b.N {
		_, err := Replay(b.Context(), r.log)
		require.NoError(b, err)
	}
	b.ReportMetric(total*float64(b.N)/time.Since(begun).Seconds(), "records/s")
}
