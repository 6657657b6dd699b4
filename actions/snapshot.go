package actions

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"waybill/fsview"
	"waybill/journal"
)

// A snapshot is a cache: STATE/snapshot-<seq>.json is what the records before
// seq add up to, and without it they are folded again. A base,
// STATE/base-<seq>.json, has the same form and is data: the records before it
// were pruned. Either is two lines, the header and the image; each ends with a
// newline.
const (
	snapshotPrefix = "snapshot-"
	basePrefix     = "base-"
	// storedVersion is that of header and image together: what an older version
	// would misread needs a new one.
	storedVersion = 1
	// maxHeader is the room for a header line.
	maxHeader = 512
)

// storedHeader is the first line. Root is that over the records before Seq: it
// tells of which journal this is the fold.
type storedHeader struct {
	V      int    `json:"v"`
	Seq    uint64 `json:"seq"`
	Root   string `json:"root"`
	Len    int    `json:"len"`
	SHA256 string `json:"sha256"`
}

// Stored names a snapshot or a base in a state directory.
type Stored struct {
	// Seq is the number of records that it holds the fold of.
	Seq  uint64
	Base bool
}

// Name is the file's name.
func (s Stored) Name() string {
	prefix := snapshotPrefix
	if s.Base {
		prefix = basePrefix
	}
	return fmt.Sprintf("%s%016d.json", prefix, s.Seq)
}

func parseStored(name string) (s Stored, ok bool) {
	digits, ok := strings.CutPrefix(name, snapshotPrefix)
	if !ok {
		if digits, ok = strings.CutPrefix(name, basePrefix); !ok {
			return s, false
		}
		s.Base = true
	}
	seq, err := strconv.ParseUint(strings.TrimSuffix(digits, ".json"), 10, 64)
	s.Seq = seq
	return s, err == nil && s.Name() == name
}

// ListStored lists the snapshots and bases of a state directory, the newest
// first, at the same position the snapshot before the base. A directory that
// does not exist has none.
func ListStored(stateDir string) ([]Stored, error) {
	entries, err := os.ReadDir(stateDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	var out []Stored
	for _, e := range entries {
		if s, ok := parseStored(e.Name()); ok {
			out = append(out, s)
		}
	}
	slices.SortStableFunc(out, func(a, b Stored) int {
		if a.Seq == b.Seq && a.Base != b.Base {
			if a.Base {
				return 1
			}
			return -1
		}
		return cmp.Compare(b.Seq, a.Seq)
	})
	return out, nil
}

// WriteBase writes the base file of s, whose records have the given root, and
// gives the SHA-256 of the whole file in hex. It is durable when this returns.
// A file of the same name is replaced.
func WriteBase(stateDir string, s *State, root journal.Hash) (digest string, err error) {
	return writeStored(stateDir, Stored{s.next, true}, s, root)
}

func writeStored(stateDir string, name Stored, s *State, root journal.Hash) (digest string, err error) {
	file, err := renderStored(s, root)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name.Name(), err)
	}
	if err := fsview.WriteFile(filepath.Join(stateDir, name.Name()), file, 0o600); err != nil {
		return "", err
	}
	sum := sha256.Sum256(file)
	return hex.EncodeToString(sum[:]), nil
}

// renderStored gives the two lines of a snapshot or base.
func renderStored(s *State, root journal.Hash) ([]byte, error) {
	var b bytes.Buffer
	b.Write(make([]byte, maxHeader)) // the header goes before the image, and its length is not known yet
	if err := s.writeImage(&b); err != nil {
		return nil, err
	}
	image := b.Bytes()[maxHeader : b.Len()-1]
	sum := sha256.Sum256(image)
	header, err := json.Marshal(storedHeader{
		V: storedVersion, Seq: s.next, Root: root.String(), Len: len(image), SHA256: hex.EncodeToString(sum[:]),
	})
	if err != nil {
		return nil, err
	}
	header = append(header, '\n')
	file := b.Bytes()[maxHeader-len(header):]
	copy(file, header)
	return file, nil
}

// Why a snapshot or base is none, or not one of this journal.
var (
	errStored  = errors.New("not whole")
	errForeign = errors.New("of another journal")
	errVersion = errors.New("written by a newer version?")
)

// openStored checks the two lines of a snapshot or base of seq records, and
// gives the header and the image.
func openStored(file []byte, seq uint64) (h storedHeader, image []byte, err error) {
	line, rest, found := bytes.Cut(file, []byte("\n"))
	if !found || len(line) > maxHeader {
		return h, nil, fmt.Errorf("%w: no header", errStored)
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&h); err != nil {
		return h, nil, fmt.Errorf("%w: header: %w", errStored, err)
	}
	if h.V != storedVersion {
		return h, nil, fmt.Errorf("version %d, not %d: %w", h.V, storedVersion, errVersion)
	}
	if h.Seq != seq {
		return h, nil, fmt.Errorf("%w: its name says %d records, its header %d", errStored, seq, h.Seq)
	}
	if h.Len != len(rest)-1 || rest[len(rest)-1] != '\n' {
		return h, nil, fmt.Errorf("%w: %d bytes after the header, which says %d", errStored, len(rest), h.Len)
	}
	image = rest[:h.Len]
	if sum := sha256.Sum256(image); hex.EncodeToString(sum[:]) != h.SHA256 {
		return h, nil, fmt.Errorf("%w: the SHA-256 differs from the one in the header", errStored)
	}
	return h, image, nil
}

// readStored reads a snapshot or base whose records must have the given root.
func readStored(stateDir string, name Stored, root journal.Hash) (*State, error) {
	file, err := os.ReadFile(filepath.Join(stateDir, name.Name()))
	if err != nil {
		return nil, err
	}
	h, image, err := openStored(file, name.Seq)
	if err != nil {
		return nil, err
	}
	if h.Root != root.String() {
		return nil, fmt.Errorf("%w: its root is %.64s, that of the %d records is %v", errForeign, h.Root, name.Seq, root)
	}
	s, err := restoreState(image)
	if err != nil {
		return nil, err
	}
	if s.next != name.Seq {
		return nil, fmt.Errorf("%w: of %d records, not %d", errImage, s.next, name.Seq)
	}
	return s, nil
}

// RemoveStored unlinks snapshots and bases, the given order kept; those that
// are gone already are no error. It is durable when it returns.
func RemoveStored(stateDir string, list []Stored) error {
	if len(list) == 0 {
		return nil
	}
	for _, s := range list {
		if err := os.Remove(filepath.Join(stateDir, s.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return syncDir(stateDir)
}

// SweepStored removes what a crash left of snapshots and bases that were being
// written. Nobody may be writing one.
func SweepStored(stateDir string) error {
	entries, err := os.ReadDir(stateDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, temp := strings.CutSuffix(strings.TrimPrefix(e.Name(), "."), ".new") // as fsview.WriteFile names them
		if _, ok := parseStored(name); !ok || !temp {
			continue
		}
		if err := os.Remove(filepath.Join(stateDir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
