package docwire

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"slices"
)

const (
	// SliceSize is how much shipped clients read at a time; a read that yields
	// less ends the message for them (CFMS.md §1.2 "Writing").
	SliceSize = 1024
	// fillSpaces behind a text move its message off a multiple of SliceSize,
	// after which a client would wait for more.
	fillSpaces = aes.BlockSize
)

// Unreadable is the text, not JSON, that answers an ErrUndecryptable
// (CFMS.md §1.3). The connection stays, up to the tenth.
const Unreadable = "?"

// SessionKey is the AES key of one connection, the same in both directions
// (CFMS.md §1.2). A Handshake ends in one; the zero value is of no use. Printed
// it shows nothing.
type SessionKey struct{ block cipher.Block }

// newSessionKey takes 16, 24 or 32 bytes.
func newSessionKey(raw []byte) (SessionKey, error) {
	block, err := aes.NewCipher(raw)
	if err != nil {
		return SessionKey{}, errors.New("a session key of a wrong length")
	}
	return SessionKey{block}, nil
}

// String and GoString keep the key out of logs.
func (SessionKey) String() string { return "[redacted]" }

// GoString is String.
func (k SessionKey) GoString() string { return k.String() }

// AppendMessage appends to dst the message that carries text under a fresh
// random IV, for WriteSlices. Its length is no multiple of 1024: a text that
// would make one is sent with 16 spaces behind it (CFMS.md §1.2 "Writing"), so
// it should be one that spaces do not change. dst and text must not overlap.
func (k SessionKey) AppendMessage(dst, text []byte) []byte {
	spaces := 0
	if sealedLen(len(text))%SliceSize == 0 {
		spaces = fillSpaces
	}
	return k.seal(dst, freshIV(), text, spaces)
}

// sealedLen is the length of the message that carries n bytes of text.
func sealedLen(n int) int { return aes.BlockSize + aes.BlockSize*(n/aes.BlockSize+1) }

func freshIV() (iv [aes.BlockSize]byte) {
	rand.Read(iv[:]) // never fails: crypto/rand ends the process first
	return iv
}

// seal appends IV ‖ AES-CBC(PKCS#7(text and spaces)).
func (k SessionKey) seal(dst []byte, iv [aes.BlockSize]byte, text []byte, spaces int) []byte {
	dst = slices.Grow(dst, sealedLen(len(text)+spaces))
	dst = append(dst, iv[:]...)
	from := len(dst)
	dst = append(dst, text...)
	for range spaces {
		dst = append(dst, ' ')
	}
	pad := aes.BlockSize - (len(text)+spaces)%aes.BlockSize
	for range pad {
		dst = append(dst, byte(pad))
	}
	cipher.NewCBCEncrypter(k.block, iv[:]).CryptBlocks(dst[from:], dst[from:])
	return dst
}

// WriteSlices writes one message to w in writes of so many slices of 1024 bytes,
// the rest last, which is how shipped clients can read it (CFMS.md §1.2
// "Writing"). If w is a socket it needs TCP_NODELAY, or the slices are joined on
// their way; together is more than 1 only where something cuts them apart again.
func WriteSlices(w io.Writer, msg []byte, together int) error {
	for part := range slices.Chunk(msg, together*SliceSize) {
		if _, err := w.Write(part); err != nil {
			return fmt.Errorf("write a message of %d bytes: %w", len(msg), err)
		}
	}
	return nil
}

// padding returns how many bytes of padding end the text that block, 16 bytes,
// is the last of, and whether they are all as they must be; then good is 1, else
// both are 0. It takes the same time for every block: the bytes of one that was
// tampered with must not show in when it is answered.
func padding(block []byte) (n, good int) {
	last := block[aes.BlockSize-1]
	n = int(last)
	good = subtle.ConstantTimeLessOrEq(1, n) & subtle.ConstantTimeLessOrEq(n, aes.BlockSize)
	for back := range aes.BlockSize {
		beyond := subtle.ConstantTimeLessOrEq(n, back)
		good &= beyond | subtle.ConstantTimeByteEq(block[aes.BlockSize-1-back], last)
	}
	return subtle.ConstantTimeSelect(good, n, 0), good
}
