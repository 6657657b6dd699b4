package journal

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

const (
	inclusionForm   = "c2sp.org/tlog-proof@v1"
	consistencyForm = "waybill/consistency@v1"
)

var (
	errProof = errors.New("not a proof")
	// errUnproved: well-formed, but it does not show what it should.
	errUnproved = errors.New("the proof does not hold")
)

// InclusionProof shows that a record is in the journal of which its checkpoint
// is one: C2SP tlog-proof. The record travels in the proof's extra data, of
// which nothing is believed: its leaf hash is computed from the line, and only
// the tree says that it belongs there.
type InclusionProof struct {
	// Line is the record as it is stored, nil if the proof came without.
	Line []byte
	// Index is the record's place, which is its seq.
	Index uint64
	// Hashes lead from the leaf to the root, RFC 6962 §2.1.1.
	Hashes []Hash
	// Checkpoint is the signed one that they lead to.
	Checkpoint []byte
}

// Growth leads a holder of an older checkpoint, of which it names the size, to
// a newer one: the body of add-checkpoint in C2SP tlog-witness.
type Growth struct {
	Old uint64
	// Hashes are the consistency proof of RFC 6962 §2.1.2.
	Hashes []Hash
	// Checkpoint is the newer one, signed.
	Checkpoint []byte
}

// ConsistencyProof shows that a journal has only grown since it had signed From:
// its first records are the same, byte for byte. There is no form of others for
// it in one file; ours is
//
//	waybill/consistency@v1
//	old <size>
//	<hash in base64, a line each>
//
//	<the older checkpoint, signed>
//
//	<the newer checkpoint, signed>
type ConsistencyProof struct {
	// From is the older checkpoint, signed.
	From []byte
	Growth
}

// provable is what proofs are made of: a Log or a History.
type provable interface {
	tlog.HashReader
	Head() Head
	Line(seq uint64) ([]byte, error)
}

// Prove gives the proof that record seq is one of the first size records; the
// checkpoint is to be added. Neither the line nor the stored hashes are checked:
// InclusionProof.Holds does it. Errors: ErrBeyond, ErrPruned, ErrClosed,
// *DamageError.
func (l *Log) Prove(seq, size uint64) (*InclusionProof, error) { return prove(l, seq, size) }

func prove(l provable, seq, size uint64) (*InclusionProof, error) {
	if head := l.Head(); seq >= size || size > head.Size {
		return nil, errBeyond(max(seq, size), head)
	}
	line, err := l.Line(seq)
	if err != nil {
		return nil, err
	}
	hashes, err := tlog.ProveRecord(int64(size), int64(seq), l)
	if err != nil {
		return nil, fmt.Errorf("prove record %d of %d: %w", seq, size, err)
	}
	return &InclusionProof{Line: line, Index: seq, Hashes: ours(hashes)}, nil
}

// ProveGrowth gives the proof that the first from records are the beginning of
// the first to; the checkpoint is to be added. Errors as those of Prove.
func (l *Log) ProveGrowth(from, to uint64) (*Growth, error) { return proveGrowth(l, from, to) }

func proveGrowth(l provable, from, to uint64) (*Growth, error) {
	if head := l.Head(); from > to || to > head.Size {
		return nil, errBeyond(max(from, to), head)
	}
	g := &Growth{Old: from}
	if from == 0 {
		return g, nil // of nothing, everything is a continuation
	}
	hashes, err := tlog.ProveTree(int64(to), int64(from), l)
	if err != nil {
		return nil, fmt.Errorf("prove the growth from %d to %d records: %w", from, to, err)
	}
	g.Hashes = ours(hashes)
	return g, nil
}

func ours(hashes []tlog.Hash) []Hash {
	list := make([]Hash, len(hashes))
	for i, h := range hashes {
		list[i] = Hash(h)
	}
	return list
}

func theirs(hashes []Hash) []tlog.Hash {
	list := make([]tlog.Hash, len(hashes))
	for i, h := range hashes {
		list[i] = tlog.Hash(h)
	}
	return list
}

// Check says whether the proof holds under one of the keys, and gives the
// checkpoint that it leads to.
func (p *InclusionProof) Check(keys ...VerifierKey) (Checkpoint, error) {
	c, err := OpenCheckpoint(p.Checkpoint, keys...)
	if err != nil {
		return Checkpoint{}, err
	}
	return c, p.Holds(c)
}

// Holds says whether the record is under a checkpoint that the caller believes.
func (p *InclusionProof) Holds(c Checkpoint) error {
	if p.Line == nil {
		return fmt.Errorf("%w: it came without the record", errUnproved)
	}
	if p.Index >= c.Size {
		return fmt.Errorf("%w: record %d is not one of %d", errUnproved, p.Index, c.Size)
	}
	err := tlog.CheckRecord(theirs(p.Hashes), int64(c.Size), tlog.Hash(c.Root), int64(p.Index), tlog.RecordHash(p.Line))
	if err != nil {
		return fmt.Errorf("%w: record and hashes do not lead to the checkpoint's root", errUnproved)
	}
	var e Entry
	if err := ParseEntry(p.Line, &e); err != nil || e.Seq != p.Index {
		return fmt.Errorf("%w: what stands at %d is no record of that number", errUnproved, p.Index)
	}
	return nil
}

// Check says whether the proof holds, both checkpoints under one of the keys
// each, and gives them.
func (p *ConsistencyProof) Check(keys ...VerifierKey) (from, to Checkpoint, err error) {
	if from, err = OpenCheckpoint(p.From, keys...); err != nil {
		return from, to, fmt.Errorf("the older one: %w", err)
	}
	if to, err = OpenCheckpoint(p.Checkpoint, keys...); err != nil {
		return from, to, fmt.Errorf("the newer one: %w", err)
	}
	return from, to, p.Holds(from, to)
}

// Holds says whether the growth leads from one checkpoint to the other, both of
// which the caller believes.
func (g *Growth) Holds(from, to Checkpoint) error {
	switch {
	case from.Origin != to.Origin:
		return fmt.Errorf("%w: the checkpoints are of %s and of %s", errUnproved, from.Origin, to.Origin)
	case g.Old != from.Size:
		return fmt.Errorf("%w: it begins at %d records, the older checkpoint at %d", errUnproved, g.Old, from.Size)
	case from.Size > to.Size:
		return fmt.Errorf("%w: the older checkpoint has %d records, the newer %d", errUnproved, from.Size, to.Size)
	case from.Size == 0 && (len(g.Hashes) > 0 || from.Root != NewTree().Head().Root):
		return fmt.Errorf("%w: no records lead to no hashes and to one root only", errUnproved)
	case from.Size == 0:
		return nil // of nothing, everything is a continuation
	case tlog.CheckTree(theirs(g.Hashes), int64(to.Size), tlog.Hash(to.Root), int64(from.Size), tlog.Hash(from.Root)) != nil:
		return fmt.Errorf("%w: the hashes do not lead from the older root to the newer", errUnproved)
	}
	return nil
}

// Text is the proof as a file.
func (p *InclusionProof) Text() []byte {
	b := append([]byte(inclusionForm), '\n')
	if p.Line != nil {
		b = append(b, "extra "...)
		b = append(base64.StdEncoding.AppendEncode(b, p.Line), '\n')
	}
	b = appendSize(append(b, "index "...), p.Index)
	for _, h := range p.Hashes {
		b = appendHash(b, h)
	}
	return append(append(b, '\n'), p.Checkpoint...)
}

// Text is the body of add-checkpoint.
func (g *Growth) Text() []byte { return append(append(g.head(nil), '\n'), g.Checkpoint...) }

func (g *Growth) head(dst []byte) []byte {
	dst = appendSize(append(dst, "old "...), g.Old)
	for _, h := range g.Hashes {
		dst = appendHash(dst, h)
	}
	return dst
}

// Text is the proof as a file.
func (p *ConsistencyProof) Text() []byte {
	b := p.head([]byte(consistencyForm + "\n"))
	b = append(append(b, '\n'), p.From...)
	return append(append(b, '\n'), p.Checkpoint...)
}

// IsInclusion and IsConsistency tell the two files apart by their first line.
func IsInclusion(text []byte) bool   { return bytes.HasPrefix(text, []byte(inclusionForm+"\n")) }
func IsConsistency(text []byte) bool { return bytes.HasPrefix(text, []byte(consistencyForm+"\n")) }

// ParseInclusionProof reads what Text gives. It looks at the form only.
func ParseInclusionProof(text []byte) (*InclusionProof, error) {
	rest, ok := bytes.CutPrefix(text, []byte(inclusionForm+"\n"))
	if !ok || len(text) > MaxProof {
		return nil, fmt.Errorf("%w of inclusion", errProof)
	}
	lines, checkpoint, err := cutHead(rest)
	if err != nil {
		return nil, err
	}
	p := &InclusionProof{Checkpoint: checkpoint}
	if extra, ok := strings.CutPrefix(lines[0], "extra "); ok {
		// NewDecoder and its like pass over line breaks, of which there are none
		// here but carriage returns.
		p.Line, err = base64.StdEncoding.Strict().DecodeString(extra)
		if err != nil || strings.Contains(extra, "\r") || len(p.Line) > MaxLine {
			return nil, fmt.Errorf("%w: the extra data", errProof)
		}
		lines = lines[1:]
	}
	if p.Index, p.Hashes, err = parseHead(lines, "index "); err != nil {
		return nil, err
	}
	return p, nil
}

// ParseGrowth reads what Text gives. It looks at the form only.
func ParseGrowth(text []byte) (*Growth, error) {
	if len(text) > MaxProof {
		return nil, fmt.Errorf("%w of growth", errProof)
	}
	lines, checkpoint, err := cutHead(text)
	if err != nil {
		return nil, err
	}
	g := &Growth{Checkpoint: checkpoint}
	g.Old, g.Hashes, err = parseHead(lines, "old ")
	return g, err
}

// ParseConsistencyProof reads what Text gives. It looks at the form only.
func ParseConsistencyProof(text []byte) (*ConsistencyProof, error) {
	rest, ok := bytes.CutPrefix(text, []byte(consistencyForm+"\n"))
	if !ok || len(text) > MaxProof {
		return nil, fmt.Errorf("%w of consistency", errProof)
	}
	lines, both, err := cutHead(rest)
	if err != nil {
		return nil, err
	}
	p := new(ConsistencyProof)
	if p.Old, p.Hashes, err = parseHead(lines, "old "); err != nil {
		return nil, err
	}
	// A checkpoint has one empty line, before its signatures.
	parts := bytes.SplitN(both, []byte("\n\n"), 5)
	if len(parts) != 4 {
		return nil, fmt.Errorf("%w: it should end in two checkpoints", errProof)
	}
	cut := len(parts[0]) + len("\n\n") + len(parts[1]) + len("\n")
	p.From, p.Checkpoint = both[:cut:cut], both[cut+len("\n"):]
	return p, nil
}

// cutHead gives the lines before the first empty one, at least one, and what
// comes after it.
func cutHead(text []byte) (lines []string, rest []byte, err error) {
	head, rest, ok := bytes.Cut(text, []byte("\n\n"))
	if !ok || len(head) == 0 {
		return nil, nil, fmt.Errorf("%w: no checkpoint after an empty line", errProof)
	}
	return strings.Split(string(head), "\n"), rest, nil
}

// parseHead reads the line with the number, and the hashes after it.
func parseHead(lines []string, name string) (n uint64, hashes []Hash, err error) {
	if len(lines) == 0 {
		return 0, nil, fmt.Errorf("%w: no %snumber", errProof, name)
	}
	digits, ok := strings.CutPrefix(lines[0], name)
	if ok {
		n, ok = parseSize(digits)
	}
	if !ok {
		return 0, nil, fmt.Errorf("%w: no %snumber", errProof, name)
	}
	if len(lines)-1 > maxProofHashes {
		return 0, nil, fmt.Errorf("%w: more than %d hashes", errProof, maxProofHashes)
	}
	for _, l := range lines[1:] {
		h, ok := parseHash(l)
		if !ok {
			return 0, nil, fmt.Errorf("%w: a line that is no hash", errProof)
		}
		hashes = append(hashes, h)
	}
	return n, hashes, nil
}
