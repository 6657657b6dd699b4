package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

const block = 512

// disk is everything there is, and which of it is safe.
type disk struct {
	mu   sync.Mutex
	root *inode
	next uint64 // inode number
	// pending are the changes of directories that are not safe, oldest first.
	pending []*change
}

// inode is a file or a directory.
type inode struct {
	number uint64
	mode   uint32 // with the type
	links  uint32
	// A directory: its entries, and those that are safe.
	names, kept map[string]*inode
	// A file: its bytes, those that are safe, and which differ: blocks, and its
	// length if it has changed.
	data, safe []byte
	dirty      map[int]struct{}
	// changed is when it was written last; a cut does not undo that.
	changed time.Time
}

func (i *inode) dir() bool { return i.names != nil }

// change is one step: some entries become other ones.
type change []struct {
	dir  *inode
	name string
	to   *inode // nil: the entry goes
}

func newDisk() *disk {
	d := &disk{}
	d.root = d.make(0o755, true)
	return d
}

func (d *disk) make(mode uint32, dir bool) *inode {
	d.next++
	i := &inode{number: d.next, mode: mode & 0o7777, dirty: make(map[int]struct{}), changed: time.Now()}
	if dir {
		i.names, i.kept = make(map[string]*inode), make(map[string]*inode)
	}
	return i
}

// do makes a change.
func (d *disk) do(c change) {
	for _, e := range c {
		if old := e.dir.names[e.name]; old != nil {
			old.links--
			delete(e.dir.names, e.name)
		}
		if e.to != nil {
			e.dir.names[e.name] = e.to
			e.to.links++
		}
	}
	d.pending = append(d.pending, &c)
}

func (c change) keep() {
	for _, e := range c {
		if e.to == nil {
			delete(e.dir.kept, e.name)
		} else {
			e.dir.kept[e.name] = e.to
		}
	}
}

// syncDir makes safe what was done to a directory.
func (d *disk) syncDir(dir *inode) {
	d.pending = slices.DeleteFunc(d.pending, func(c *change) bool {
		for _, e := range *c {
			if e.dir == dir {
				c.keep()
				return true
			}
		}
		return false
	})
}

func (i *inode) write(b []byte, off int64) {
	end := int(off) + len(b)
	if end > len(i.data) {
		i.resize(end)
	}
	i.changed = time.Now()
	copy(i.data[off:], b)
	for n := int(off) / block; n*block < end; n++ {
		i.dirty[n] = struct{}{}
	}
}

// resize sets the length. The blocks that come or go differ from those that are
// safe.
func (i *inode) resize(size int) {
	i.changed = time.Now()
	from, to := min(size, len(i.data)), max(size, len(i.data))
	if size <= cap(i.data) {
		old := len(i.data)
		i.data = i.data[:size]
		if size > old {
			clear(i.data[old:])
		}
	} else {
		i.data = append(i.data, make([]byte, size-len(i.data))...)
	}
	for n := from / block; n*block < to && n*block < len(i.safe)+block; n++ {
		i.dirty[n] = struct{}{}
	}
}

// sync makes safe what was written to a file.
func (i *inode) sync() {
	i.safe = fit(i.safe, len(i.data))
	for n := range i.dirty {
		i.keep(n)
	}
	clear(i.dirty)
}

// keep makes one block safe, as far as the length that is safe reaches.
func (i *inode) keep(n int) {
	from := n * block
	to := min(from+block, len(i.safe))
	if from >= to {
		return
	}
	had := 0
	if from < len(i.data) {
		had = copy(i.safe[from:to], i.data[from:])
	}
	clear(i.safe[from+had : to])
}

// fit is b with another length; what is added is zeros.
func fit(b []byte, size int) []byte {
	if size <= len(b) {
		return b[:size:size]
	}
	return append(b, make([]byte, size-len(b))...)
}

// settle makes everything safe.
func (d *disk) settle() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.pending {
		c.keep()
	}
	d.pending = nil
	d.each(d.root, make(map[*inode]bool), func(i *inode) { i.sync() })
}

// each calls do for every file below dir, by the names that are safe.
func (d *disk) each(dir *inode, seen map[*inode]bool, do func(*inode)) {
	for _, i := range sorted(dir.kept) {
		if i.dir() {
			d.each(i, seen, do)
		} else if !seen[i] {
			seen[i] = true
			do(i)
		}
	}
}

func sorted(entries map[string]*inode) (out []*inode) {
	for _, i := range entries {
		out = append(out, i)
	}
	slices.SortFunc(out, func(a, b *inode) int { return int(a.number) - int(b.number) })
	return out
}

// cut loses what is not safe, but for a part that is drawn from seed, and tells
// how much that was.
func (d *disk) cut(seed uint64) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	rng := rand.New(rand.NewPCG(seed, 0))
	steps := len(d.pending)
	first := 0
	if steps > 0 {
		first = rng.IntN(steps + 1)
	}
	for _, c := range d.pending[:first] {
		c.keep()
	}
	d.pending = nil
	part := []float64{0, 0.2, 0.5, 0.8}[rng.IntN(4)]
	blocks, kept := 0, 0
	d.each(d.root, make(map[*inode]bool), func(i *inode) {
		blocks += len(i.dirty)
		if len(i.data) != len(i.safe) && rng.Float64() < part {
			i.safe = fit(i.safe, len(i.data))
		}
		for _, n := range order(i.dirty) {
			if rng.Float64() < part {
				kept++
				i.keep(n)
			}
		}
	})
	d.reset(d.root, make(map[*inode]bool))
	return fmt.Sprintf("%d of %d steps and %d of %d blocks are kept of what was not synced", first, steps, kept, blocks)
}

func order(dirty map[int]struct{}) (out []int) {
	for n := range dirty {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// reset makes what is safe all there is.
func (d *disk) reset(dir *inode, seen map[*inode]bool) {
	dir.names = make(map[string]*inode, len(dir.kept))
	for name, i := range dir.kept {
		dir.names[name] = i
		if !seen[i] {
			seen[i] = true
			i.links = 0
			if i.dir() {
				d.reset(i, seen)
			} else {
				i.data = slices.Clone(i.safe)
				clear(i.dirty)
			}
		}
		i.links++
	}
}
