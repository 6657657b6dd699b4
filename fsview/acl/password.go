package acl

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"strings"

	"golang.org/x/crypto/argon2"
)

// How verifiers are made (CFMS.md §3.1): the cost of one, and the text that
// says so in front of it.
const (
	argonPasses  = 2
	argonKiB     = 19 << 10
	argonThreads = 1
	argonPrefix  = "argon2id$v=19$m=19456,t=2,p=1$"
	sumBytes     = 32
)

// HashTyped gives what clients send at login for a typed password: its
// SHA-256 in lower-case hex.
func HashTyped(typed string) string {
	sum := sha256.Sum256([]byte(typed))
	return hex.EncodeToString(sum[:])
}

// Verifier gives what is kept of a password: argon2id over the keyed hash of
// clientHash, which is HashTyped of the password. It takes 19 MiB and tens of
// milliseconds. Without pepper it tells nothing.
func Verifier(pepper []byte, clientHash string, salt [16]byte) string {
	return verifierText(salt, stretch(pepper, clientHash, salt))
}

func verifierText(salt [16]byte, sum []byte) string {
	b64 := base64.RawStdEncoding
	return argonPrefix + b64.EncodeToString(salt[:]) + "$" + b64.EncodeToString(sum)
}

func stretch(pepper []byte, clientHash string, salt [16]byte) []byte {
	mac := hmac.New(sha256.New, pepper)
	mac.Write([]byte(clientHash))
	return argon2.IDKey(mac.Sum(nil), salt[:], argonPasses, argonKiB, argonThreads, sumBytes)
}

// CheckVerifier tells whether clientHash is of the password that verifier was
// made from. It takes as long whatever the answer, also for a verifier that is
// malformed or "", which nothing fits.
func CheckVerifier(pepper []byte, clientHash, verifier string) bool {
	salt, sum, ok := parseVerifier(verifier)
	same := subtle.ConstantTimeCompare(sum[:], stretch(pepper, clientHash, salt)) == 1
	return same && ok
}

func parseVerifier(v string) (salt [16]byte, sum [sumBytes]byte, ok bool) {
	rest, isOurs := strings.CutPrefix(v, argonPrefix)
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
func Dummy() string { return verifierText([16]byte{}, make([]byte, sumBytes)) }
