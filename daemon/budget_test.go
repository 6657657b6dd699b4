package daemon

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestBudget(t *testing.T) {
	t.Parallel()
	newcomer := func() *conn { return newConn(nil, &peer{}, "") }
	reader := func() *conn {
		c := newcomer()
		c.drained.Store(provenBytes)
		return c
	}
	// ask claims in the background; the channel has the outcome.
	ask := func(b *budget, c *conn, n int64) <-chan bool {
		got := make(chan bool, 1)
		b.mu.Lock()
		before := len(b.waiting[0]) + len(b.waiting[1])
		b.mu.Unlock()
		go func() { got <- b.take(c, n) }()
		assert.True(t, soon(func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			return len(got) > 0 || len(b.waiting[0])+len(b.waiting[1]) > before
		}))
		return got
	}
	t.Run("in order, as far as it goes", func(t *testing.T) {
		b := newBudget(100, 100)
		a := newcomer()
		assert.True(t, b.take(a, 60))
		assert.False(t, b.try(newcomer(), 41))
		first, second := ask(b, newcomer(), 50), ask(b, newcomer(), 10)
		assert.Empty(t, second, "does not overtake")
		b.adjust(a, 60, 50)
		assert.True(t, within(t, first, "not granted"))
		assert.Empty(t, second)
		b.release(a, 50)
		assert.True(t, within(t, second, "not granted"))
		assert.EqualValues(t, 60, b.held())
	})
	t.Run("one that is too large for everything is made alone", func(t *testing.T) {
		b := newBudget(100, 80)
		c := newcomer()
		assert.True(t, b.take(c, 1000))
		other := ask(b, newcomer(), 1)
		assert.Empty(t, other)
		b.release(c, 1000)
		assert.True(t, within(t, other, "not granted"))
	})
	t.Run("newcomers leave a part to those who read", func(t *testing.T) {
		b := newBudget(100, 80)
		a := newcomer()
		assert.True(t, b.take(a, 80))
		waits := ask(b, newcomer(), 1)
		assert.Empty(t, waits)
		r := reader()
		assert.True(t, b.take(r, 20))
		late := ask(b, reader(), 90)
		b.release(r, 20)
		assert.True(t, within(t, late, "a reader alone is never kept waiting by newcomers"))
		assert.Empty(t, waits)
	})
	t.Run("who has gone gets nothing", func(t *testing.T) {
		b := newBudget(100, 100)
		a, gone := newcomer(), newcomer()
		assert.True(t, b.take(a, 100))
		lost, behind := ask(b, gone, 100), ask(b, newcomer(), 10)
		close(gone.gone)
		assert.False(t, within(t, lost, "waits for ever"))
		b.release(a, 50)
		assert.True(t, within(t, behind, "stands behind nobody"))
	})
	t.Run("stalled ones are named only while others wait", func(t *testing.T) {
		b := newBudget(100, 100)
		a := newcomer()
		a.queued = 1
		assert.True(t, b.take(a, 100))
		assert.Empty(t, b.stalled(-time.Hour))
		waits := ask(b, newcomer(), 1)
		assert.Equal(t, []holder{a}, b.stalled(-time.Hour))
		assert.Empty(t, b.stalled(time.Hour))
		b.release(a, 100)
		within(t, waits, "not granted")
	})
}

func TestBuffers(t *testing.T) {
	t.Parallel()
	var b buffers
	for _, n := range []int{0, 1, smallBuffer, smallBuffer + 1, messageBuffer, messageBuffer + 1, 1 << 20, 1<<20 + 1, 16 << 20} {
		p := b.get(n)
		assert.GreaterOrEqual(t, cap(p), n)
		assert.Empty(t, p)
		assert.Less(t, cap(p), 2*max(n, messageBuffer)+1)
		b.put(p)
	}
	b.put(nil)
	b.put(make([]byte, 5000)) // not one of ours: left to the collector
	assert.GreaterOrEqual(t, cap(b.get(5001)), 5001)
}
