package acl

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// How verifiers are made (CFMS.md §3.1). Their text says it in front.
const (
	argonPasses  = 2
	argonKiB     = 19 << 10
	argonThreads = 1
	sumBytes     = 32
)

// HashTyped gives what clients send at login for a typed password: its
// SHA-256 in lower-case hex.
func HashTyped(typed string) string {
	sum := sha256.Sum256([]byte(typed))
	return hex.EncodeToString(sum[:])
}

// Passwords makes and checks what is kept of passwords, their verifiers.
type Passwords struct {
	// Pepper goes into every verifier: without it they tell nothing.
	Pepper []byte
	// KiB is the memory that making or checking one takes; 0 is 19 MiB, and tens
	// of milliseconds. Less is for tests, which found thousands of libraries. A
	// verifier fits only at the cost it was made at.
	KiB uint32
}

func (p Passwords) kib() uint32 {
	if p.KiB == 0 {
		return argonKiB
	}
	return p.KiB
}

func (p Passwords) prefix() string {
	return fmt.Sprintf("argon2id$v=%d$m=%d,t=%d,p=%d$", argon2.Version, p.kib(), argonPasses, argonThreads)
}

// Verifier gives what is kept of a password: argon2id over the keyed hash of
// clientHash, which is HashTyped of the password.
func (p Passwords) Verifier(clientHash string, salt [16]byte) string {
	return p.text(salt, p.stretch(clientHash, salt))
}

func (p Passwords) text(salt [16]byte, sum []byte) string {
	b64 := base64.RawStdEncoding
	return p.prefix() + b64.EncodeToString(salt[:]) + "$" + b64.EncodeToString(sum)
}

func (p Passwords) stretch(clientHash string, salt [16]byte) []byte {
	mac := hmac.New(sha256.New, p.Pepper)
	mac.Write([]byte(clientHash))
	return argon2.IDKey(mac.Sum(nil), salt[:], argonPasses, p.kib(), argonThreads, sumBytes)
}

// Check tells whether clientHash is of the password that verifier was made
// from. It takes as long whatever the answer, also for a verifier that is
// malformed or "", which nothing fits.
func (p Passwords) Check(clientHash, verifier string) bool {
	salt, sum, ok := p.parse(verifier)
	same := subtle.ConstantTimeCompare(sum[:], p.stretch(clientHash, salt)) == 1
	return same && ok
}

func (p Passwords) parse(v string) (salt [16]byte, sum [sumBytes]byte, ok bool) {
	rest, isOurs := strings.CutPrefix(v, p.prefix())
	s, h, _ := strings.Cut(rest, "$")
	b64 := base64.RawStdEncoding.Strict()
	sb, err1 := b64.DecodeString(s)
	hb, err2 := b64.DecodeString(h)
	if !isOurs || err1 != nil || err2 != nil || len(sb) != len(salt) || len(hb) != len(sum) {
		return salt, sum, false
	}
	return [16]byte(sb), [sumBytes]byte(hb), true
}

// Dummy gives a verifier that no password fits, since nobody finds what
// argon2id turns into zeros: with it, an unknown user costs the same work.
func (p Passwords) Dummy() string { return p.text([16]byte{}, make([]byte, sumBytes)) }
