package daemon

import (
	"slices"
	"sync"
	"time"
)

// buffers lends byte slices by size class. A class is a power of two from
// messageBuffer up and messageSlack for what stands around a chunk, so that
// one of a round size needs no buffer of twice that; replies have smallBuffer
// besides.
type buffers struct {
	small   sync.Pool
	classes [20]sync.Pool // those up to bigMessage are used

	// Larger ones are few and worth keeping over a garbage collection: to be
	// given fresh memory costs more than to be read into.
	mu   sync.Mutex
	kept []keptBuffer // guarded by mu; those given back last come last
}

type keptBuffer struct {
	buf   []byte
	since time.Time
}

// classSize is the size of a class.
func classSize(i int) int { return messageBuffer<<i + messageSlack }

// class is the index of the smallest class that holds n bytes.
func class(n int) int {
	i := 0
	for classSize(i) < n {
		i++
	}
	return i
}

// get returns an empty slice with room for at least n bytes.
func (b *buffers) get(n int) []byte {
	if n <= smallBuffer {
		if p, _ := b.small.Get().(*[]byte); p != nil {
			return (*p)[:0]
		}
		return make([]byte, 0, smallBuffer)
	}
	i := class(n)
	size := classSize(i)
	if size > bigMessage {
		return b.takeKept(size)
	}
	if p, _ := b.classes[i].Get().(*[]byte); p != nil {
		return (*p)[:0]
	}
	return make([]byte, 0, size)
}

// put takes a slice back. One that did not come from get, or was outgrown by
// append, goes to the garbage collector.
func (b *buffers) put(p []byte) {
	p = p[:0]
	c := cap(p)
	if c == smallBuffer {
		b.small.Put(&p)
		return
	}
	i := class(c)
	switch {
	case classSize(i) != c:
	case c <= bigMessage:
		b.classes[i].Put(&p)
	default:
		b.keep(p)
	}
}

func (b *buffers) takeKept(size int) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := len(b.kept) - 1; i >= 0; i-- {
		if buf := b.kept[i].buf; cap(buf) == size {
			b.kept = slices.Delete(b.kept, i, i+1)
			return buf
		}
	}
	return make([]byte, 0, size)
}

func (b *buffers) keep(buf []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	total := cap(buf)
	for _, k := range b.kept {
		total += cap(k.buf)
	}
	if total <= keptBuffers {
		b.kept = append(b.kept, keptBuffer{buf, time.Now()})
	}
}

// trim lets go of large buffers that nobody has needed for a while.
func (b *buffers) trim(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kept = slices.DeleteFunc(b.kept, func(k keptBuffer) bool { return now.Sub(k.since) >= keepBuffer })
}
