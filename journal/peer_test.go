package journal

import (
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

// The appends of many callers, each of which waits until its own record is
// durable, and the same with bbolt alone, one transaction for each record. They
// are to be run together, and beside Cal2:
//
//	go test -run xxx -bench 'Cal2|AppendCallers|Peer' ./journal
//
// The peers keep neither hashes nor a head, check nothing, and have one file
// that grows for ever.

var (
	peerCallers = []int{1, 16, 64, 512}
	peerSizes   = []int{200, 2048}
)

func benchmarkCallers(b *testing.B, open func(b *testing.B, size int) (add func() error)) {
	for _, size := range peerSizes {
		for _, callers := range peerCallers {
			b.Run(fmt.Sprintf("callers=%d/%d-bytes", callers, size), func(b *testing.B) {
				add := open(b, size)
				latencies := make([][]time.Duration, callers)
				var group sync.WaitGroup
				b.ResetTimer()
				begun := time.Now()
				for c := range callers {
					n := b.N / callers
					if c < b.N%callers {
						n++
					}
					group.Go(func() {
						for range n {
							t := time.Now()
							if err := add(); err != nil {
								b.Error(err)
								return
							}
							latencies[c] = append(latencies[c], time.Since(t))
						}
					})
				}
				group.Wait()
				took := time.Since(begun)
				b.StopTimer()
				all := slices.Concat(latencies...)
				slices.Sort(all)
				b.ReportMetric(float64(b.N)/took.Seconds(), "records/s")
				b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
			})
		}
	}
}

// BenchmarkAppendCallers commits in groups as the core does: one goroutine takes
// what is waiting, and looks again while there is more.
func BenchmarkAppendCallers(b *testing.B) {
	benchmarkCallers(b, func(b *testing.B, size int) func() error {
		l := openTest(b, b.TempDir(), Options{})
		waiting, quit := make(chan chan error, 4096), make(chan struct{})
		var group sync.WaitGroup
		group.Go(func() { commitGroups(l, size, waiting, quit) })
		b.Cleanup(func() { close(quit); group.Wait() }) // before the journal is closed
		pool := sync.Pool{New: func() any { return make(chan error, 1) }}
		return func() error {
			done := pool.Get().(chan error)
			defer pool.Put(done)
			waiting <- done
			return <-done
		}
	})
}

func commitGroups(l *Log, size int, waiting chan chan error, quit chan struct{}) {
	var (
		callers []chan error
		lines   [][]byte
	)
	for {
		callers, lines = callers[:0], lines[:0]
		take := func() (more bool) {
			for len(callers) < MaxBatchRecords {
				select {
				case done := <-waiting:
					callers = append(callers, done)
					lines = append(lines, testLine(l.Head().Size+uint64(len(lines)), size))
					more = true
				default:
					return more
				}
			}
			return false
		}
		select {
		case done := <-waiting:
			callers = append(callers, done)
			lines = append(lines, testLine(l.Head().Size, size))
		case <-quit:
			return
		}
		for drains := 0; take() && drains < 4; drains++ {
			runtime.Gosched()
		}
		err := l.Append(lines)
		for _, done := range callers {
			done <- err
		}
	}
}

// BenchmarkPeerUpdate is bbolt's Update: one transaction after the other.
func BenchmarkPeerUpdate(b *testing.B) {
	benchmarkCallers(b, func(b *testing.B, size int) func() error { return peer(b, size, (*bolt.DB).Update) })
}

// BenchmarkPeerBatch is bbolt's Batch: transactions of callers that come within
// its delay are joined.
func BenchmarkPeerBatch(b *testing.B) {
	benchmarkCallers(b, func(b *testing.B, size int) func() error { return peer(b, size, (*bolt.DB).Batch) })
}

func peer(b *testing.B, size int, commit func(*bolt.DB, func(*bolt.Tx) error) error) func() error {
	db, err := bolt.Open(filepath.Join(b.TempDir(), "peer.db"), 0o600, boltOptions(false))
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, db.Close()) })
	require.NoError(b, db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucket(logBucket)
		return err
	}))
	var next atomic.Uint64 // of a line; the key is given in the transaction
	return func() error {
		line := testLine(next.Add(1), size)
		return commit(db, func(tx *bolt.Tx) error {
			log := tx.Bucket(logBucket)
			log.FillPercent = 1
			seq, err := log.NextSequence()
			if err != nil {
				return err
			}
			return log.Put(seqKey(seq), line)
		})
	}
}
