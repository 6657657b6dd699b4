package journal

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

var (
	errSigningKey  = errors.New("not a signing key")
	errVerifierKey = errors.New("not a verifier key")
)

// SigningKey signs checkpoints, with Ed25519. Its name is the origin of the
// checkpoints.
type SigningKey struct {
	signer note.Signer
	public VerifierKey
	text   string
}

// NewSigningKey makes a key. The name must be one of a signed note: not empty,
// without spaces and plus signs.
func NewSigningKey(name string) (*SigningKey, error) {
	text, _, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		return nil, fmt.Errorf("make a signing key: %w", err)
	}
	return ParseSigningKey(text)
}

// ParseSigningKey reads what Text gives. The error tells nothing of the key.
func ParseSigningKey(text string) (*SigningKey, error) {
	signer, err := note.NewSigner(text)
	if err != nil {
		return nil, errSigningKey
	}
	// PRIVATE+KEY+name+hash+base64, of which the last may hold a plus itself;
	// NewSigner has looked.
	secret, err := base64.StdEncoding.DecodeString(strings.SplitN(text, "+", 5)[4])
	if err != nil || len(secret) != 1+ed25519.SeedSize {
		return nil, errSigningKey
	}
	public := ed25519.NewKeyFromSeed(secret[1:]).Public().(ed25519.PublicKey)
	vkey, err := note.NewEd25519VerifierKey(signer.Name(), public)
	if err != nil {
		return nil, errSigningKey
	}
	v, err := ParseVerifierKey(vkey)
	if err != nil {
		return nil, errSigningKey
	}
	return &SigningKey{signer: signer, public: v, text: text}, nil
}

// Text is the key as golang.org/x/mod/sumdb/note writes it down: a secret.
func (k *SigningKey) Text() string { return k.text }

// Verifier is the public half.
func (k *SigningKey) Verifier() VerifierKey { return k.public }

// VerifierKey is what a checkpoint's signature is checked with. The zero value
// is no key.
type VerifierKey struct {
	verifier note.Verifier
	text     string
}

// ParseVerifierKey reads a verifier key in the text form of C2SP signed-note,
// name+hash+base64, of an Ed25519 key; only in the form in which it is written.
func ParseVerifierKey(text string) (VerifierKey, error) {
	v, err := note.NewVerifier(text)
	if err != nil {
		return VerifierKey{}, errVerifierKey
	}
	parts := strings.SplitN(text, "+", 3)
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) != 1+ed25519.PublicKeySize {
		return VerifierKey{}, errVerifierKey
	}
	if again, err := note.NewEd25519VerifierKey(v.Name(), key[1:]); err != nil || again != text {
		return VerifierKey{}, errVerifierKey
	}
	return VerifierKey{v, text}, nil
}

// Name is the origin of the checkpoints that the key is for.
func (k VerifierKey) Name() string { return k.verifier.Name() }

// String is the text form.
func (k VerifierKey) String() string { return k.text }
