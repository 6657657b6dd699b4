package journal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"runtime"
	"sync"
	"sync/atomic"
)

// chunk is a run of lines on its way from a source, through hashing, to the
// check of what it adds to the tree.
type chunk struct {
	lines
	file string
	want []byte // stored leaf hashes of the first lines; the last may have none
	// begin is set on the first chunk that is read of a segment, and roots, its
	// level-1 tile, if it is full.
	begin *segmentMeta
	roots []byte
	err   error // the source ends here

	claimed atomic.Bool   // somebody hashes it
	hashed  chan struct{} // a token, when a hasher other than the consumer did
	hash    hasher
	nodes   []treeNode
	bad     int // first line whose hash is not the wanted one, or -1
}

// treeNode is the root of a full subtree, at most a tile high.
type treeNode struct {
	level int
	hash  Hash
}

// work hashes the lines, compares with what is wanted, and joins what can be
// joined without knowing what comes before.
func (c *chunk) work() {
	c.nodes, c.bad = c.nodes[:0], -1
	for i := range c.ends {
		h := Hash(sha256.Sum256(c.leaf(i)))
		if at := i * len(h); at < len(c.want) && !bytes.Equal(h[:], c.want[at:at+len(h)]) {
			c.bad = i
			return
		}
		n := treeNode{hash: h}
		// A right child is joined if its left sibling is in this chunk too:
		// then it is the last node.
		for pos := c.first + uint64(i); pos>>n.level&1 == 1 && n.level < tileLevel && len(c.nodes) > 0; {
			left := &c.nodes[len(c.nodes)-1]
			if left.level != n.level {
				break
			}
			n.hash = c.hash.node(&left.hash, &n.hash)
			n.level++
			c.nodes = c.nodes[:len(c.nodes)-1]
		}
		c.nodes = append(c.nodes, n)
	}
}

// pipeline reads chunks with fill, hashes them on all cores but in no order,
// and gives them to take in order. fill says how reading ended by setting err,
// and false; what it read up to there is taken first. The error is that of
// take or of fill.
func pipeline(ctx context.Context, fill func(*chunk) bool, take func(*chunk) error) error {
	var (
		free    = make(chan *chunk, chunksAhead)
		ordered = make(chan *chunk, chunksAhead)
		spare   = make(chan *chunk, chunksAhead) // for whoever has time
		stop    = make(chan struct{})
		wg      sync.WaitGroup
	)
	for range chunksAhead {
		free <- &chunk{hashed: make(chan struct{}, 1)}
	}
	wg.Go(func() {
		defer close(ordered)
		defer close(spare)
		for more := true; more; {
			var c *chunk
			select {
			case c = <-free:
			case <-stop:
				return
			}
			c.reset(0)
			c.want, c.roots = c.want[:0], c.roots[:0]
			c.begin, c.err = nil, nil
			more = fill(c)
			// Only now: spare may still hold this chunk from its last round.
			c.claimed.Store(false)
			select {
			case spare <- c:
			default: // the hashers are behind: the consumer will do it
			}
			ordered <- c // never full: there are no more chunks than places
		}
	})
	for range runtime.GOMAXPROCS(0) - 1 {
		wg.Go(func() {
			for c := range spare {
				if c.claimed.CompareAndSwap(false, true) {
					c.work()
					c.hashed <- struct{}{}
				}
			}
		})
	}
	defer wg.Wait()
	defer close(stop)
	for c := range ordered {
		if c.claimed.CompareAndSwap(false, true) {
			c.work()
		} else {
			<-c.hashed
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := take(c); err != nil {
			return err
		}
		if c.err != nil {
			return c.err
		}
		free <- c
	}
	return nil
}
