package journal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// VerifyOptions say what VerifyWith looks at beside a journal.
type VerifyOptions struct {
	// Archive has what was pruned from the journal; nil if that is not looked at.
	Archive *Archive
	// Seen, unless nil, gets each record that was found to be right, in order,
	// valid until it returns. Its error ends the verification.
	Seen func(*Entry) error
}

// Verify is VerifyWith without options.
func Verify(ctx context.Context, dir string) (Head, error) {
	return VerifyWith(ctx, dir, VerifyOptions{})
}

// VerifyWith checks the journal in dir, which nobody may be writing: every line
// held, its form, seq, time and group, every tile, the chain of the segments,
// the roots of the pruned ones, and the root. Of an archive it checks the same,
// that it is of this journal, leaves nothing out, and has for each segment a
// checkpoint that says what the journal was at its end; not the signatures. It
// changes nothing and works on a read-only copy. The head it gives is what was
// checked. What does not fit is a *DamageError for the first record that may be
// damaged; ErrLocked means that the journal is in use.
func VerifyWith(ctx context.Context, dir string, opt VerifyOptions) (Head, error) {
	s, err := openShelf(dir, true)
	if err != nil {
		return Head{}, err
	}
	defer func() { _ = s.close() }() // only read
	firsts, _, err := listSegments(dir)
	if err != nil || len(firsts) == 0 {
		return NewTree().Head(), err
	}
	first, last := firsts[0], firsts[len(firsts)-1]
	s.cut(first)
	roots, err := s.prunedRoots(first)
	if err != nil {
		return Head{}, err
	}
	c := &checker{groups: &groups{cut: first > 0}, fn: opt.Seen, strict: true}
	if opt.Archive != nil && first > 0 {
		if err := c.verifyArchived(ctx, opt.Archive, roots, first); err != nil {
			return Head{}, err
		}
	}
	head, lastErr := s.storedHead(last)
	var d *DamageError
	if lastErr != nil && !errors.As(lastErr, &d) {
		return Head{}, lastErr
	}
	if lastErr != nil {
		// The first damage is asked for: look at what comes before.
		head = Head{Size: last}
	}
	switch {
	case first > 0 && head.Size <= first && lastErr == nil:
		err = emptyRest(first)
	case first > 0 && head.Size <= first:
	case c.tree != nil:
		c.from = first
		err = scanOn(ctx, s, head, c)
	default:
		err = scan(ctx, s, first, head, c)
	}
	if err == nil {
		err = lastErr
	}
	if err == nil {
		err = s.emptyEnd(last, c.tree)
	}
	if err == nil && opt.Archive != nil {
		err = s.verifyTwice(ctx, opt.Archive, first, head)
	}
	if err != nil {
		return Head{}, err
	}
	return head, nil
}

// storedHead gives the head that the segment at first says, if its records end
// there.
func (s *shelf) storedHead(first uint64) (head Head, err error) {
	seg, err := s.take(first)
	if err != nil {
		return Head{}, err
	}
	defer s.give(seg)
	err = seg.view(func(tx *bolt.Tx) error {
		m, err := seg.readMeta(tx)
		if err != nil {
			return err
		}
		head = m.head
		_, err = seg.lastTime(tx, m.head.Size)
		return err
	})
	return head, err
}

// emptyEnd checks an empty last segment, which a scan of records never meets.
func (s *shelf) emptyEnd(first uint64, tree *Tree) error {
	if tree.size != first {
		return nil
	}
	seg, err := s.take(first)
	if err != nil {
		return err
	}
	defer s.give(seg)
	if string(seg.peaks) != string(tree.frontier(nil)) {
		return seg.damaged(first, first, "the peaks differ from the records before record %d", first)
	}
	return nil
}

// pin looks for the record behind a damage of the last segment that was found
// by its root: some tile may say which it is.
func pin(s *shelf, seg *segment, found *DamageError) error {
	var head Head
	err := seg.view(func(tx *bolt.Tx) error {
		m, err := seg.readMeta(tx)
		head = m.head
		return err
	})
	if err == nil && head.Size > seg.first {
		err = scan(context.Background(), s, seg.first, head, &checker{})
	}
	var d *DamageError
	if errors.As(err, &d) {
		return d
	}
	return found
}

// VerifyExport checks an export from record 0 on: lines as stored, each with a
// newline. The checks are those that Verify makes on lines; the head it gives
// is to be compared with one that is known. What does not fit is a
// *DamageError; an error of r comes back wrapped.
func VerifyExport(ctx context.Context, r io.Reader) (Head, error) {
	head, _, err := VerifyExportAt(ctx, r)
	return head, err
}

// VerifyExportAt is VerifyExport that also gives the roots over the first so
// many records, for each of the sizes that the export has.
func VerifyExportAt(ctx context.Context, r io.Reader, sizes ...uint64) (Head, map[uint64]Hash, error) {
	sizes = slices.Compact(slices.Sorted(slices.Values(sizes)))
	src := &exportSource{r: bufio.NewReaderSize(r, 1<<20), stops: sizes}
	c := &checker{tree: NewTree(), groups: &groups{}}
	roots := make(map[uint64]Hash, len(sizes))
	at := func() {
		if _, wanted := slices.BinarySearch(sizes, c.tree.size); wanted {
			roots[c.tree.size] = c.tree.Head().Root
		}
	}
	at()
	err := pipeline(ctx, src.fill, func(k *chunk) error {
		if err := c.take(k); err != nil {
			return err
		}
		at()
		return nil
	})
	if err != nil {
		return Head{}, nil, err
	}
	return c.tree.Head(), roots, nil
}

// exportSource reads the lines of an export. A chunk ends at each of stops,
// ascending, so that the tree is seen there.
type exportSource struct {
	r     *bufio.Reader
	seq   uint64
	stops []uint64
}

func (s *exportSource) fill(c *chunk) bool {
	c.reset(s.seq)
	for !c.full() {
		if len(s.stops) > 0 && s.stops[0] == s.seq {
			s.stops = s.stops[1:]
			if s.seq > c.first {
				return true
			}
		}
		line, err := s.r.ReadSlice('\n')
		switch {
		case err == io.EOF && len(line) == 0:
			return false
		case err == io.EOF:
			c.err = damaged("", s.seq, s.seq, "the line is cut off")
			return false
		case err == bufio.ErrBufferFull || err == nil && len(line) > MaxLine+1:
			c.err = damaged("", s.seq, s.seq, "the line is longer than %d bytes", MaxLine)
			return false
		case err != nil:
			c.err = fmt.Errorf("read export at record %d: %w", s.seq, err)
			return false
		}
		c.add(line[:len(line)-1])
		s.seq++
	}
	return true
}

// groups checks that groups are whole. A group may be cut off by the end, by a
// record outside of any group, or by the start of another: then it is void. It
// may not be gone on with in the middle.
type groups struct {
	open Group
	cut  bool // what comes before the next record was pruned: any may follow
}

func (g *groups) next(r Group) (fault string) {
	before, cut := g.open, g.cut
	g.cut = false
	g.open = r
	if r.I == r.N {
		g.open = Group{} // complete, or in none
	}
	if cut || r.I <= 1 || before.N == r.N && before.I+1 == r.I {
		return ""
	}
	return fmt.Sprintf("number %d of a group of %d does not follow the record before", r.I, r.N)
}
