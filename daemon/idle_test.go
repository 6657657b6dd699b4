package daemon

import (
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An idle connection owns one goroutine, and little memory: both ends of it,
// the test's included, in one process.
func TestIdleConnections(t *testing.T) {
	n, most := 1000, uint64(24<<10)
	if raced {
		n, most = 200, 256<<10
	}
	r := run(t, nil)
	used := func() uint64 {
		runtime.GC()
		runtime.GC() // stacks shrink in one, what they held goes in the next
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	r.raw(r.token) // what is made once is made
	require.True(t, soon(func() bool { return r.gauge(`connections{state="authenticated"}`) == 1 }))
	require.True(t, soon(func() bool { return settled() }))
	goroutines, before := runtime.NumGoroutine(), used()
	conns := make([]net.Conn, n)
	for i := range conns {
		conns[i] = r.raw(r.token)
	}
	require.True(t, soon(func() bool {
		return runtime.NumGoroutine() <= goroutines+n && r.gauge(`connections{state="authenticated"}`) == float64(1+n)
	}))
	each := (used() - before) / uint64(n)
	t.Logf("%d bytes an idle connection", each)
	assert.LessOrEqual(t, each, most)
	// After a ping to each and its answer it is the same.
	ping := frame(1, []byte(`{"action":"ping"}`))
	for _, c := range conns {
		_, err := c.Write(ping)
		require.NoError(t, err)
	}
	for _, c := range conns {
		dataFrame(t, c)
	}
	require.True(t, soon(func() bool { return runtime.NumGoroutine() <= goroutines+n }))
	each = (used() - before) / uint64(n)
	t.Logf("%d bytes after a request", each)
	assert.LessOrEqual(t, each, most)
}

// settled reports whether the number of goroutines stays for a moment: those
// of HTTP clients come and go.
func settled() bool {
	n := runtime.NumGoroutine()
	time.Sleep(20 * time.Millisecond)
	return n == runtime.NumGoroutine()
}

// Idle and stalled sockets do not hurt healthy ones, and memory is bounded.
func TestFlood(t *testing.T) {
	idle, stalled, healthy, rounds := 1000, 200, 8, 10
	if raced {
		idle, stalled, healthy, rounds = 200, 40, 4, 4
	}
	r := run(t, func(c *Config) { c.CloseWithin = 200 * time.Millisecond })
	const size = 8 << 20
	first := r.panel(r.token)
	id := r.serveFile(first, "big", random(size))
	begun := time.Now()
	for range idle {
		r.raw(r.token)
	}
	for i := range stalled {
		c := r.raw(r.token)
		msg := downloadChunk("x", id, 0, size)
		if i%2 == 1 { // half of them stall in the middle of a message
			msg = frame(1, make([]byte, 2<<20))[:1<<19]
		}
		stall(t, c, msg)
	}
	t.Logf("%d idle and %d stalled after %v", idle, stalled, time.Since(begun))
	var slowest time.Duration
	var mu sync.Mutex
	var all sync.WaitGroup
	data := random(256 << 10)
	for w := range healthy {
		p := r.panel(r.token)
		all.Go(func() {
			for i := range rounds {
				begun := time.Now()
				p.ok("ping", nil, nil)
				took := time.Since(begun)
				mu.Lock()
				slowest = max(slowest, took)
				mu.Unlock()
				name := string(rune('a'+w)) + string(rune('a'+i))
				p.put(name, data)
				p.ok("get_directory_info", map[string]any{"path": "."}, nil)
				var opened struct {
					ID string `json:"file_id"`
				}
				p.ok("file_download_request", map[string]any{"path": name}, &opened)
				p.ok("file_download_chunk", map[string]any{"file_id": opened.ID, "range": "0..262144"}, nil)
			}
		})
	}
	all.Wait()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("healthy ones done after %v, slowest ping %v, %d MiB of heap", time.Since(begun), slowest, m.HeapInuse>>20)
	assert.Less(t, slowest, 5*time.Second)
	assert.LessOrEqual(t, r.gauge("large_reply_bytes"), float64(contentBudget+listingBudget))
	bound := uint64(idle)*24<<10 + uint64(stalled)<<20 + 3*(contentBudget+listingBudget) + 128<<20
	assert.Less(t, m.HeapInuse, bound)
}
