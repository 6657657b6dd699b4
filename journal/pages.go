package journal

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"os"

	"golang.org/x/sys/unix"
)

// bbolt trusts its pages: a wrong page number makes it recurse for ever, a
// wrong count or offset makes it read outside of the mapping, and an invalid
// meta page makes it use the state before the last commit. So every page that
// can be reached is looked at once before bbolt opens a file: about 2 ms a
// segment. Keys and values are not checked here but where records are read.

const (
	branchPage   = 0x01
	leafPage     = 0x02
	metaPage     = 0x04
	freelistPage = 0x10

	bucketElem   = 0x01
	pageHeader   = 16 // id 8, flags 2, count 2, overflow 4
	elemSize     = 16 // branch: pos 4, ksize 4, page 8; leaf: flags 4, pos 4, ksize 4, vsize 4
	bucketHeader = 16 // root page 8, sequence 8
	bboltMagic   = 0xED0CDAED
	bboltVersion = 2
)

// pageFault is what is wrong with a file's pages, and the records it can
// concern.
type pageFault struct {
	seq, last uint64
	reason    string
}

func (f *pageFault) Error() string { return f.reason }

// pageWalk is one look at the pages of a segment.
type pageWalk struct {
	data []byte
	end  uint64   // number of pages in use
	seen []uint64 // a bit for every page: reached, or free
	log  bool     // in the bucket of the records, whose keys are their seqs
}

// checkPages looks at the pages of the segment in f, whose records, if any,
// are among seq to last.
func checkPages(f *os.File, seq, last uint64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	if size < 4*pageSize {
		return &pageFault{seq, last, fmt.Sprintf("file of %d bytes is no segment", size)}
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map segment: %w", err)
	}
	defer func() { _ = unix.Munmap(data) }() // nothing was written
	w := &pageWalk{data: data}
	return w.file(seq, last)
}

func (w *pageWalk) file(seq, last uint64) error {
	m0, m1 := readMeta(w.data, 0), readMeta(w.data, 1)
	if m0 == nil || m1 == nil {
		return &pageFault{seq, last, "a meta page is damaged"}
	}
	if m1.tx < m0.tx {
		m0, m1 = m1, m0
	}
	if m1.tx != m0.tx+1 {
		return &pageFault{seq, last, fmt.Sprintf("meta pages of transactions %d and %d", m0.tx, m1.tx)}
	}
	if w.end = m1.end; w.end > uint64(len(w.data)/pageSize) {
		return &pageFault{seq, last, fmt.Sprintf("file of %d bytes is cut off: %d pages are in use", len(w.data), w.end)}
	}
	w.seen = make([]uint64, w.end/64+1)
	if err := w.tree(m1.root, 0, true, seq, last); err != nil {
		return err
	}
	return w.freelist(m1.freelist, seq, last)
}

type boltMeta struct{ root, freelist, end, tx uint64 }

func readMeta(data []byte, page uint64) *boltMeta {
	p := data[page*pageSize:][:pageSize]
	b := p[pageHeader:]
	le := binary.LittleEndian
	sum := fnv.New64a()
	_, _ = sum.Write(b[:56]) // never fails
	if le.Uint16(p[8:]) != metaPage || le.Uint64(p) != page ||
		le.Uint32(b) != bboltMagic || le.Uint32(b[4:]) != bboltVersion || le.Uint32(b[8:]) != pageSize ||
		le.Uint64(b[56:]) != sum.Sum64() {
		return nil
	}
	return &boltMeta{root: le.Uint64(b[16:]), freelist: le.Uint64(b[32:]), end: le.Uint64(b[40:]), tx: le.Uint64(b[48:])}
}

// run gives the bytes of page id with its overflow pages, and marks them.
func (w *pageWalk) run(id uint64) (p []byte, reason string) {
	if id < 2 || id >= w.end {
		return nil, fmt.Sprintf("page %d does not exist", id)
	}
	p = w.data[id*pageSize:][:pageSize]
	over := uint64(binary.LittleEndian.Uint32(p[12:]))
	if got := binary.LittleEndian.Uint64(p); got != id {
		return nil, fmt.Sprintf("page %d says it is page %d", id, got)
	}
	if over >= w.end-id {
		return nil, fmt.Sprintf("page %d runs over the end", id)
	}
	for i := id; i <= id+over; i++ {
		if w.seen[i/64]>>(i%64)&1 == 1 {
			return nil, fmt.Sprintf("page %d is used twice", i)
		}
		w.seen[i/64] |= 1 << (i % 64)
	}
	return w.data[id*pageSize:][:(over+1)*pageSize], ""
}

// tree looks at the pages of a bucket from page id down; top is the bucket of
// buckets.
func (w *pageWalk) tree(id uint64, depth int, top bool, seq, last uint64) error {
	p, reason := w.run(id)
	if reason == "" && depth > maxPageTree {
		reason = "pages nested too deep"
	}
	if reason != "" {
		return &pageFault{seq, last, reason}
	}
	le := binary.LittleEndian
	flags, count := le.Uint16(p[8:]), int(le.Uint16(p[10:]))
	if flags == leafPage {
		return w.leaf(p, id, top, seq, last)
	}
	if flags != branchPage || count == 0 || pageHeader+count*elemSize > len(p) {
		return &pageFault{seq, last, fmt.Sprintf("page %d is no branch", id)}
	}
	for i := range count {
		e := pageHeader + i*elemSize
		key := elemBytes(p, e, uint64(le.Uint32(p[e:])), uint64(le.Uint32(p[e+4:])))
		if key == nil {
			return &pageFault{seq, last, fmt.Sprintf("page %d: key %d lies outside", id, i)}
		}
		from, to := seq, last
		if w.log {
			if from, to = w.childRange(p, i, count, seq, last); from > to {
				return &pageFault{seq, last, fmt.Sprintf("page %d: key %d is out of order", id, i)}
			}
		}
		if err := w.tree(le.Uint64(p[e+8:]), depth+1, top, from, to); err != nil {
			return err
		}
	}
	return nil
}

// childRange gives the records under child i of a branch of the log: from its
// key up to the next key.
func (w *pageWalk) childRange(p []byte, i, count int, seq, last uint64) (from, to uint64) {
	key := func(i int) (uint64, bool) {
		e := pageHeader + i*elemSize
		k := elemBytes(p, e, uint64(binary.LittleEndian.Uint32(p[e:])), uint64(binary.LittleEndian.Uint32(p[e+4:])))
		if len(k) != 8 {
			return 0, false
		}
		n := binary.BigEndian.Uint64(k)
		return n, n >= seq && n <= last
	}
	from, ok := key(i)
	if !ok || i == 0 && from != seq {
		return 1, 0
	}
	if i+1 == count {
		return from, last
	}
	next, ok := key(i + 1)
	if !ok || next <= from {
		return 1, 0
	}
	return from, next - 1
}

func (w *pageWalk) leaf(p []byte, id uint64, top bool, seq, last uint64) error {
	le := binary.LittleEndian
	count := int(le.Uint16(p[10:]))
	if pageHeader+count*elemSize > len(p) {
		return &pageFault{seq, last, fmt.Sprintf("page %d has too many elements", id)}
	}
	for i := range count {
		e := pageHeader + i*elemSize
		flags, pos := le.Uint32(p[e:]), uint64(le.Uint32(p[e+4:]))
		klen, vlen := uint64(le.Uint32(p[e+8:])), uint64(le.Uint32(p[e+12:]))
		kv := elemBytes(p, e, pos, klen+vlen)
		if kv == nil {
			return &pageFault{seq, last, fmt.Sprintf("page %d: element %d lies outside", id, i)}
		}
		if bucket := flags == bucketElem; bucket != top || flags > bucketElem {
			return &pageFault{seq, last, fmt.Sprintf("page %d: element %d is of the wrong kind", id, i)}
		}
		if !top {
			continue
		}
		if err := w.bucket(string(kv[:klen]), kv[klen:], id, seq, last); err != nil {
			return err
		}
	}
	return nil
}

// bucket looks at a bucket's header and its pages, or the page inside of it.
func (w *pageWalk) bucket(name string, v []byte, id, seq, last uint64) error {
	if len(v) < bucketHeader {
		return &pageFault{seq, last, fmt.Sprintf("page %d: bucket %q is cut off", id, name)}
	}
	root := binary.LittleEndian.Uint64(v)
	if root != 0 {
		w.log = name == string(logBucket)
		err := w.tree(root, 0, false, seq, last)
		w.log = false
		return err
	}
	inline := v[bucketHeader:]
	if len(inline) < pageHeader || binary.LittleEndian.Uint16(inline[8:]) != leafPage {
		return &pageFault{seq, last, fmt.Sprintf("page %d: bucket %q is no leaf", id, name)}
	}
	return w.leaf(inline, id, false, seq, last)
}

// elemBytes gives the n bytes that stand pos after the element at e, nil if
// they do not lie in p.
func elemBytes(p []byte, e int, pos, n uint64) []byte {
	from := uint64(e) + pos
	if n == 0 || from+n > uint64(len(p)) {
		return nil
	}
	return p[from:][:n]
}

// freelist looks at the list of free pages: one that is in use would be
// overwritten by the next commit.
func (w *pageWalk) freelist(id, seq, last uint64) error {
	p, reason := w.run(id)
	if reason != "" {
		return &pageFault{seq, last, "free list: " + reason}
	}
	le := binary.LittleEndian
	flags, count, ids := le.Uint16(p[8:]), uint64(le.Uint16(p[10:])), p[pageHeader:]
	if count == 0xFFFF {
		count, ids = le.Uint64(ids), ids[8:]
	}
	if flags != freelistPage || count > uint64(len(ids)/8) {
		return &pageFault{seq, last, "free list is damaged"}
	}
	for i := range count {
		n := le.Uint64(ids[8*i:])
		if n < 2 || n >= w.end || w.seen[n/64]>>(n%64)&1 == 1 {
			return &pageFault{seq, last, fmt.Sprintf("free list: page %d is in use or does not exist", n)}
		}
		w.seen[n/64] |= 1 << (n % 64)
	}
	return nil
}
