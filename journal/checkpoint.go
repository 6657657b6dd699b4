package journal

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// Checkpoint is a head of the journal that is called Origin: C2SP
// tlog-checkpoint. Signed and kept where the journal's owner cannot reach it,
// it shows later whether history was rewritten.
type Checkpoint struct {
	Origin string
	Head
}

var (
	// ErrNotSigned: no key that was given has signed the checkpoint.
	ErrNotSigned  = errors.New("the checkpoint is not signed by this key")
	errCheckpoint = errors.New("not a checkpoint")
)

// SignCheckpoint gives the signed note over c. Every key must have c's origin
// for a name; there must be one at least.
func SignCheckpoint(c Checkpoint, keys ...*SigningKey) ([]byte, error) {
	if len(keys) == 0 || c.Size >= maxSeq {
		return nil, fmt.Errorf("sign a checkpoint of %d records with %d keys: not possible", c.Size, len(keys))
	}
	signers := make([]note.Signer, len(keys))
	for i, k := range keys {
		if k.public.Name() != c.Origin {
			return nil, fmt.Errorf("the key of %s cannot sign a checkpoint of %s", k.public.Name(), c.Origin)
		}
		signers[i] = k.signer
	}
	text := fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, base64.StdEncoding.EncodeToString(c.Root[:]))
	return note.Sign(&note.Note{Text: text}, signers...)
}

// OpenCheckpoint reads a signed checkpoint that one of the keys has signed, and
// whose origin is the name of that key. Signatures of other keys, cosignatures
// say, and extension lines may be there and are passed over. ErrNotSigned if
// none of the keys has signed it, or one signature of them is wrong.
func OpenCheckpoint(signed []byte, keys ...VerifierKey) (Checkpoint, error) {
	c, err := ReadCheckpoint(signed)
	if err != nil {
		return Checkpoint{}, err
	}
	n, err := note.Open(signed, verifiersOf(keys))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w (it is one of %s): %w", ErrNotSigned, c.Origin, err)
	}
	for _, s := range n.Sigs {
		if s.Name == c.Origin {
			return c, nil
		}
	}
	return Checkpoint{}, fmt.Errorf("%w: it is one of %s, the key of %s", ErrNotSigned, c.Origin, n.Sigs[0].Name)
}

// rightlySigned is an error if a signature of one of the keys is wrong, and nil
// if none of them has signed at all.
func rightlySigned(signed []byte, keys []VerifierKey) error {
	_, err := note.Open(signed, verifiersOf(keys))
	if _, others := errors.AsType[*note.UnverifiedNoteError](err); others {
		return nil
	}
	return err
}

// verifiersOf gives the keys, each once: note takes a second one for a clash.
func verifiersOf(keys []VerifierKey) note.Verifiers {
	var list []note.Verifier
	seen := make(map[string]bool)
	for _, k := range keys {
		if !seen[k.text] {
			seen[k.text] = true
			list = append(list, k.verifier)
		}
	}
	return note.VerifierList(list...)
}

// ReadCheckpoint reads a signed checkpoint and looks at no signature: what it
// says may be anything.
func ReadCheckpoint(signed []byte) (Checkpoint, error) {
	if len(signed) > MaxCheckpoint {
		return Checkpoint{}, fmt.Errorf("%w: longer than %d bytes", errCheckpoint, MaxCheckpoint)
	}
	_, err := note.Open(signed, nil)
	unverified, ok := errors.AsType[*note.UnverifiedNoteError](err)
	if !ok { // nil it cannot be: there is no key
		return Checkpoint{}, fmt.Errorf("%w: %w", errCheckpoint, err)
	}
	return parseCheckpoint(unverified.Note.Text)
}

// parseCheckpoint reads the text of the note.
func parseCheckpoint(text string) (c Checkpoint, err error) {
	bad := func(what string) (Checkpoint, error) { return Checkpoint{}, fmt.Errorf("%w: %s", errCheckpoint, what) }
	body, ok := strings.CutSuffix(text, "\n")
	lines := strings.Split(body, "\n")
	if !ok || len(lines) < 3 {
		return bad("too few lines")
	}
	for _, l := range lines {
		if l == "" {
			return bad("an empty line")
		}
	}
	c.Origin = lines[0]
	if c.Size, ok = parseSize(lines[1]); !ok {
		return bad("the size")
	}
	root, ok := parseHash(lines[2])
	if !ok {
		return bad("the root")
	}
	c.Root = root
	return c, nil
}

// parseSize reads a decimal number below 2^53 without leading zeros.
func parseSize(s string) (uint64, bool) {
	n, rest, ok := scanUint([]byte(s))
	return n, ok && len(rest) == 0
}

// parseHash reads a hash in base64, only as it is written.
func parseHash(s string) (h Hash, ok bool) {
	if len(s) != base64.StdEncoding.EncodedLen(len(h)) {
		return h, false
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	return h, err == nil && copy(h[:], b) == len(h) && len(b) == len(h)
}

func appendSize(dst []byte, n uint64) []byte { return append(strconv.AppendUint(dst, n, 10), '\n') }

func appendHash(dst []byte, h Hash) []byte {
	return append(base64.StdEncoding.AppendEncode(dst, h[:]), '\n')
}
