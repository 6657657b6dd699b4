package main

import (
	"crypto/sha256"
	bits "encoding/binary"
	"fmt"
	"hash"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
)

// What a disk may have lost when the machine has crashed, as the model below has
// it. Everything the daemon promises rests on these and on no more:
//
//  1. A file's bytes are kept in blocks of 512. A block is written whole or not at
//     all.
//  2. What was written to a file, and its length, is on disk once an fsync or
//     fdatasync of that file has returned 0 that was called after the write had
//     returned.
//  3. Until then any of the blocks may be there and any may not, in whatever order
//     they were written. What is not there reads as what was there before, or, in
//     a place that was never written, as zeros.
//  4. Until then a file may have any length it has had since; one that has grown
//     may have its new length and none of its new bytes.
//  5. What was made, linked, renamed or removed in a directory is on disk once an
//     fsync of that directory has returned 0 that was called afterwards. An fsync
//     of the file itself says nothing about its name.
//  6. Until then each of these may have happened or not. Those of one name happen
//     in order.
//  7. A rename is one step: the new name has the old file or the new one, and a
//     sync of either directory makes both sides of it durable.
//  8. A directory that was made is there when its name is; a file whose name is
//     there may be empty.
//  9. A sync that has failed, or has not returned, promises nothing.
//
// Real file systems promise more: they keep the operations on one directory in
// order (the prefix rule). Images are made by that rule, without it, and with
// renames whose old name lingers until its own directory is synced (without 7's
// second half). All of them must be fine.
const blockBytes = 512

// modelPage is a page of a file; it never changes.
type modelPage struct {
	b   [pageBytes]byte
	sum *[sha256.Size]byte
}

func (p *modelPage) digest() []byte {
	if p.sum == nil {
		sum := sha256.Sum256(p.b[:])
		p.sum = &sum
	}
	return p.sum[:]
}

// contents is what a file holds. A nil page is one of zeros.
type contents struct {
	size  int64
	pages []*modelPage
}

func (c *contents) clone() contents { return contents{c.size, slices.Clone(c.pages)} }

// put writes b at off; the length must have been seen to.
func (c *contents) put(off int64, b []byte) {
	for len(b) > 0 {
		i, at := off/pageBytes, off%pageBytes
		for int64(len(c.pages)) <= i {
			c.pages = append(c.pages, nil)
		}
		p := new(modelPage)
		if c.pages[i] != nil {
			p.b = c.pages[i].b
		}
		n := copy(p.b[at:], b)
		c.pages[i] = p
		off, b = off+int64(n), b[n:]
	}
}

// resize sets the length; what is added is zeros.
func (c *contents) resize(size int64) {
	if size < c.size {
		pages := (size + pageBytes - 1) / pageBytes
		c.pages = c.pages[:min(int64(len(c.pages)), pages)]
		if rest := size % pageBytes; rest > 0 && int64(len(c.pages)) == pages && c.pages[pages-1] != nil {
			p := new(modelPage)
			copy(p.b[:rest], c.pages[pages-1].b[:])
			c.pages[pages-1] = p
		}
	}
	c.size = size
}

func (c *contents) read(off, n int64) []byte {
	out := make([]byte, n)
	for at := int64(0); at < n; {
		i, in := (off+at)/pageBytes, (off+at)%pageBytes
		step := min(n-at, pageBytes-in)
		if i < int64(len(c.pages)) && c.pages[i] != nil {
			copy(out[at:at+step], c.pages[i].b[in:])
		}
		at += step
	}
	return out
}

// mix adds the contents to a digest.
func (c *contents) mix(h hash.Hash) {
	var n [8]byte
	bits.BigEndian.PutUint64(n[:], uint64(c.size))
	h.Write(n[:])
	for i, p := range c.pages {
		if p != nil && p.b != zeroPage {
			bits.BigEndian.PutUint64(n[:], uint64(i))
			h.Write(n[:])
			h.Write(p.digest())
		}
	}
}

var zeroPage [pageBytes]byte

// write puts the contents into a new file.
func (c *contents) write(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	const longest = 64
	buf := make([]byte, 0, min(len(c.pages), longest)*pageBytes)
	for i, p := range c.pages {
		if p != nil {
			buf = append(buf, p.b[:]...)
		}
		if len(buf) > 0 && (p == nil || len(buf) == cap(buf) || i == len(c.pages)-1) {
			end := i
			if p != nil {
				end++
			}
			if _, err := f.WriteAt(buf, int64(end*pageBytes-len(buf))); err != nil {
				return err
			}
			buf = buf[:0]
		}
	}
	return f.Truncate(c.size)
}

// inode is a file or a directory of the model.
type inode struct {
	id int
	// A directory: its entries as issued and as they are on disk; upTo is the
	// number of the last operation on it that is on disk.
	dir         bool
	names, disk map[string]*inode
	upTo        int
	// A file: as issued, as it is on disk, and what lies between.
	data, kept contents
	ops        []*fileOp
	// path is where it was put last, below the model's root.
	path string
	// pages of a segment were written since it was last synced, not only metas.
	dataWritten bool
}

// fileOp is a write or a change of length that is not durable yet.
type fileOp struct {
	n    int // of all operations
	exit int // when the call had returned
	off  int64
	data []byte
	// sized: the length becomes off, and nothing is written. cut: it was longer.
	sized, cut bool
}

func (o *fileOp) apply(c *contents) {
	if o.sized {
		c.resize(o.off)
		return
	}
	c.size = max(c.size, o.off+int64(len(o.data)))
	c.put(o.off, o.data)
}

// dirOp is a change of one entry that is not durable yet. A rename is two, of
// which the one that takes away the old name needs the other.
type dirOp struct {
	n    int
	exit int
	dir  *inode
	name string
	to   *inode // nil: the entry goes
	// twin is the other half of a rename; second: this one takes away.
	twin   *dirOp
	second bool
	done   bool // durable
	// passed: a sync that was left out would have made it durable.
	passed bool
}

// model is the file system below a directory that is itself durable.
type model struct {
	at      string // its path outside
	root    *inode
	pending []*dirOp // oldest first
	n       int      // operations so far
	inodes  int
}

func newModel(at string) *model {
	m := &model{at: at}
	m.root = m.inode(true)
	return m
}

func (m *model) inode(dir bool) *inode {
	m.inodes++
	i := &inode{id: m.inodes, dir: dir}
	if dir {
		i.names, i.disk = make(map[string]*inode), make(map[string]*inode)
	}
	return i
}

// load takes over what is there, all of it durable.
func (m *model) load() error {
	return filepath.WalkDir(m.at, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == m.at {
			return err
		}
		parent := m.find(filepath.Dir(path))
		i := m.inode(d.IsDir())
		i.path = filepath.Join(parent.path, d.Name())
		parent.names[d.Name()], parent.disk[d.Name()] = i, i
		if d.IsDir() {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		i.data.size = int64(len(b))
		for off := 0; off < len(b); off += pageBytes {
			if end := min(off+pageBytes, len(b)); string(b[off:end]) != string(zeroPage[:end-off]) {
				i.data.put(int64(off), b[off:end])
			}
		}
		i.kept = i.data.clone()
		return nil
	})
}

// find is what a path leads to now, nil if to nothing or out of the model.
func (m *model) find(path string) *inode {
	rel, ok := strings.CutPrefix(filepath.Clean(path), m.at)
	if !ok || rel != "" && rel[0] != '/' {
		return nil
	}
	i := m.root
	for _, part := range strings.FieldsFunc(rel, func(r rune) bool { return r == '/' }) {
		if i == nil || !i.dir {
			return nil
		}
		i = i.names[part]
	}
	return i
}

func (m *model) next() int { m.n++; return m.n }

func (m *model) enter(dir *inode, name string, to *inode, exit int) *dirOp {
	o := &dirOp{n: m.next(), exit: exit, dir: dir, name: name, to: to}
	m.pending = append(m.pending, o)
	if to == nil {
		delete(dir.names, name)
	} else {
		dir.names[name] = to
		to.path = filepath.Join(dir.path, name)
	}
	return o
}

func (m *model) rename(from *inode, name string, to *inode, newName string, exit int) error {
	i := from.names[name]
	if i == nil {
		return fmt.Errorf("%s/%s is not there to be renamed", from.path, name)
	}
	a := m.enter(to, newName, i, exit)
	b := m.enter(from, name, nil, exit)
	a.twin, b.twin, b.second = b, a, true
	b.n, m.n = a.n, a.n // one step
	return nil
}

func (m *model) write(i *inode, off int64, b []byte, exit int) {
	o := &fileOp{n: m.next(), exit: exit, off: off, data: b}
	o.apply(&i.data)
	i.ops = append(i.ops, o)
	i.dataWritten = i.dataWritten || off >= metas*pageBytes
}

func (m *model) resize(i *inode, size int64, exit int) {
	o := &fileOp{n: m.next(), exit: exit, off: size, sized: true, cut: size < i.data.size}
	o.apply(&i.data)
	i.ops = append(i.ops, o)
}

// syncFile makes durable what had returned before a place in the trace.
func (m *model) syncFile(i *inode, before int) {
	var rest []*fileOp
	for _, o := range i.ops {
		if o.exit < before {
			o.apply(&i.kept)
		} else {
			rest = append(rest, o)
		}
	}
	i.ops = rest
}

// syncDir makes durable what had returned before a place in the trace, and what
// cannot have been left out then.
func (m *model) syncDir(d *inode, before int) {
	for _, o := range m.pending {
		o.done = o.done || o.dir == d && o.exit < before
	}
	m.close(func(o, later *dirOp) bool {
		return o.dir == later.dir && o.name == later.name || later.second && later.twin == o
	}, func(o *dirOp) *bool { return &o.done })
	var rest []*dirOp
	for _, o := range m.pending {
		if !o.done {
			rest = append(rest, o)
			continue
		}
		o.dir.upTo = max(o.dir.upTo, o.n)
		o.apply(o.dir.disk)
	}
	m.pending = rest
}

func (o *dirOp) apply(entries map[string]*inode) {
	if o.to == nil {
		delete(entries, o.name)
	} else {
		entries[o.name] = o.to
	}
}

// close marks, with every operation that is marked, the earlier ones it needs.
func (m *model) close(needs func(o, later *dirOp) bool, marked func(*dirOp) *bool) {
	for i, later := range slices.Backward(m.pending) {
		if !*marked(later) {
			continue
		}
		for _, o := range m.pending[:i] {
			if needs(o, later) {
				*marked(o) = true
			}
		}
	}
}

// rule is what is assumed of directories.
type rule int

const (
	inOrder  rule = iota // the operations on one directory happen in order
	anyOrder             // those on one name do
	lingers              // and the old name of a rename may stay
	rules
)

// fate says what a crash leaves of what is not durable.
type fate struct {
	rule rule
	// kept is the part of the blocks, lengths and entries of an operation that is
	// there.
	kept func(n int) float64
	rng  *rand.Rand
}

func (f *fate) draw(n int) bool {
	p := f.kept(n)
	return p >= 1 || p > 0 && f.rng.Float64() < p
}

// left is what a crash leaves of a file.
func (i *inode) left(f *fate) contents {
	c := i.kept.clone()
	for _, o := range i.ops {
		if o.sized {
			if f.draw(o.n) {
				c.resize(o.off)
			}
			continue
		}
		end := o.off + int64(len(o.data))
		if end > c.size && f.draw(o.n) {
			c.size = end
		}
		for from := o.off; from < min(end, c.size); {
			to := min((from/blockBytes+1)*blockBytes, end, c.size)
			if f.draw(o.n) {
				c.put(from, o.data[from-o.off:to-o.off])
			}
			from = to
		}
	}
	return c
}

// happened draws which of the pending operations a crash leaves.
func (m *model) happened(f *fate) map[*dirOp]bool {
	type place struct {
		dir  *inode
		name string
	}
	in := make(map[*dirOp]bool)
	// First what must have happened, given what is durable or drawn for certain.
	for again := true; again; {
		again = false
		upTo, later := make(map[*inode]int), make(map[place]bool)
		for _, o := range slices.Backward(m.pending) {
			together := f.rule != lingers || o.twin != nil && o.twin.second // the first half of a rename goes with the second
			must := f.kept(o.n) >= 1 || later[place{o.dir, o.name}] ||
				f.rule == inOrder && o.n < max(upTo[o.dir], o.dir.upTo) ||
				o.twin != nil && together && (o.twin.done || in[o.twin])
			if must && !in[o] {
				in[o], again = true, true
			}
			if in[o] {
				upTo[o.dir] = max(upTo[o.dir], o.n)
				later[place{o.dir, o.name}] = true
			}
		}
	}
	cut := make(map[place]bool)
	at := func(o *dirOp) place {
		if f.rule == inOrder {
			return place{o.dir, ""}
		}
		return place{o.dir, o.name}
	}
	for _, o := range m.pending {
		if in[o] || o.second && f.rule != lingers {
			continue // the second half goes with the first
		}
		both := []*dirOp{o}
		if o.twin != nil && !o.second && f.rule != lingers {
			both = append(both, o.twin)
		}
		may := !o.second || o.twin.done || in[o.twin]
		for _, h := range both {
			may = may && !cut[at(h)]
		}
		may = may && f.draw(o.n)
		for _, h := range both {
			if may {
				in[h] = true
			} else {
				cut[at(h)] = true
			}
		}
	}
	return in
}

// image is a tree that a crash may leave.
type image struct {
	dirs  []string // below the root, parents first
	files []imageFile
	sum   [sha256.Size]byte
}

type imageFile struct {
	path string
	*contents
	sum [sha256.Size]byte // of the contents, if they are large
	// sameAs is the path of another name of the same file, "" for the first.
	sameAs string
}

// crash is an image of what a crash leaves now.
func (m *model) crash(f *fate) *image {
	in := m.happened(f)
	byDir := make(map[*inode][]*dirOp)
	for _, o := range m.pending {
		if in[o] {
			byDir[o.dir] = append(byDir[o.dir], o)
		}
	}
	return newImage(m.root, func(d *inode) map[string]*inode {
		ops := byDir[d]
		if len(ops) == 0 {
			return d.disk
		}
		entries := make(map[string]*inode, len(d.disk)+len(ops))
		for name, i := range d.disk {
			entries[name] = i
		}
		for _, o := range ops {
			o.apply(entries)
		}
		return entries
	}, func(i *inode) *contents {
		if len(i.ops) == 0 {
			// The model may go on while the image is looked at.
			c := i.kept.clone()
			return &c
		}
		c := i.left(f)
		return &c
	})
}

// issued is an image of all that was done, durable or not.
func (m *model) issued() *image {
	return newImage(m.root, func(d *inode) map[string]*inode { return d.names }, func(i *inode) *contents {
		c := i.data.clone()
		return &c
	})
}

func newImage(root *inode, entries func(*inode) map[string]*inode, data func(*inode) *contents) *image {
	img := new(image)
	seen := make(map[*inode]string)
	h := sha256.New()
	var walk func(d *inode, at string)
	walk = func(d *inode, at string) {
		e := entries(d)
		names := make([]string, 0, len(e))
		for name := range e {
			names = append(names, name)
		}
		sort.Strings(names)
		for _, name := range names {
			i, path := e[name], filepath.Join(at, name)
			fmt.Fprintf(h, "%s\x00", path)
			switch first, again := seen[i]; {
			case i.dir:
				img.dirs = append(img.dirs, path)
				walk(i, path)
			case again:
				fmt.Fprintf(h, "is %s\x00", first)
				img.files = append(img.files, imageFile{path: path, sameAs: first})
			default:
				seen[i] = path
				f := imageFile{path: path, contents: data(i)}
				if f.size >= large {
					sum := sha256.New()
					f.mix(sum)
					sum.Sum(f.sum[:0])
					h.Write(f.sum[:])
				} else {
					f.mix(h)
				}
				img.files = append(img.files, f)
			}
		}
	}
	walk(root, "")
	h.Sum(img.sum[:0])
	return img
}

// large files are worth being written once only, if nobody writes to them.
const large = 1 << 20

// pool keeps files that are part of many images and never written to.
type pool struct {
	dir string

	mu   sync.Mutex
	have map[[sha256.Size]byte]bool // guarded by mu
}

// link gives a file of the pool another name.
func (p *pool) link(f *imageFile, path string) error {
	kept := filepath.Join(p.dir, fmt.Sprintf("%x", f.sum))
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.have[f.sum] {
		if err := f.contents.write(kept); err != nil {
			return err
		}
		p.have[f.sum] = true
	}
	return os.Link(kept, path)
}

// write makes the tree of the image in an empty directory.
func (img *image) write(at string, p *pool) error {
	for _, d := range img.dirs {
		if err := os.Mkdir(filepath.Join(at, d), 0o700); err != nil {
			return err
		}
	}
	for i := range img.files {
		f := &img.files[i]
		path := filepath.Join(at, f.path)
		var err error
		switch {
		case f.sameAs != "":
			err = os.Link(filepath.Join(at, f.sameAs), path)
		case f.size >= large && img.sealed(i):
			err = p.link(f, path)
		default:
			err = f.contents.write(path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sealed tells whether file i is a segment that is not the last one. The names are
// in order.
func (img *image) sealed(i int) bool {
	dir, name := filepath.Split(img.files[i].path)
	return strings.HasPrefix(name, "seg-") && i+1 < len(img.files) && strings.HasPrefix(img.files[i+1].path, dir+"seg-")
}
