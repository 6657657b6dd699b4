package daemon

import (
	"math/bits"
	"sync"
)

// buffers lends byte slices by size class: powers of two from messageBuffer
// up, and smallBuffer for replies. What a message or a reply needed is there
// for the next one until the garbage collector wants it.
type buffers struct {
	small   sync.Pool
	classes [20]sync.Pool // messageBuffer << i
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
	if i >= len(b.classes) {
		return make([]byte, 0, n)
	}
	if p, _ := b.classes[i].Get().(*[]byte); p != nil {
		return (*p)[:0]
	}
	return make([]byte, 0, messageBuffer<<i)
}

// put takes a slice back. One that did not come from get, or was outgrown by
// append, goes to the garbage collector.
func (b *buffers) put(p []byte) {
	p = p[:0]
	switch c := cap(p); {
	case c == smallBuffer:
		b.small.Put(&p)
	case c >= messageBuffer && c&(c-1) == 0 && class(c) < len(b.classes):
		b.classes[class(c)].Put(&p)
	}
}

// class is the index of the smallest class that holds n bytes.
func class(n int) int {
	if n <= messageBuffer {
		return 0
	}
	return bits.Len(uint((n - 1) / messageBuffer))
}
