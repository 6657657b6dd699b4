package acl

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The vector of CFMS.md §10.
func TestHashTyped(t *testing.T) {
	assert.Equal(t, "8d969eef6ecad3c29a3a629280e686cf0c3f5d5a86aff3ca12020c923adc6c92", HashTyped("123456"))
}

// Computed with the reference implementation, libargon2.
func TestVerifierVector(t *testing.T) {
	salt := [16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	p := Passwords{Pepper: []byte("pepperpepperpepperpepperpepper32")}
	v := p.Verifier(HashTyped("123456"), salt)
	assert.Equal(t, "argon2id$v=19$m=19456,t=2,p=1$AAECAwQFBgcICQoLDA0ODw$MhLJVJKvdJ1gd9TcMC5M1PtlFRITjejSfL1MXMO0LM8", v)

	assert.True(t, p.Check(HashTyped("123456"), v))
	assert.False(t, p.Check(HashTyped("123457"), v), "another password")
	assert.False(t, p.Check("123456", v), "the typed password")
	assert.False(t, Passwords{Pepper: []byte("salt")}.Check(HashTyped("123456"), v), "without the pepper")
	assert.False(t, p.Check(HashTyped("123456"), p.Dummy()))
	assert.NotEqual(t, v, p.Verifier(HashTyped("123456"), [16]byte{}), "another salt")

	cheap := Passwords{p.Pepper, 64}
	assert.False(t, cheap.Check(HashTyped("123456"), v), "another cost")
	w := cheap.Verifier(HashTyped("123456"), salt)
	assert.True(t, cheap.Check(HashTyped("123456"), w))
	assert.False(t, p.Check(HashTyped("123456"), w), "which is not taken from the text")
}

func TestMalformedVerifierFitsNothing(t *testing.T) {
	var p Passwords
	good := p.Dummy()
	_, _, ok := p.parse(good)
	assert.True(t, ok)
	for shows, v := range map[string]string{
		"nothing":          "",
		"the prefix alone": p.prefix(),
		"other cost":       strings.Replace(good, "t=2", "t=1", 1),
		"no sum":           good[:strings.LastIndex(good, "$")],
		"a short sum":      good[:len(good)-4],
		"padding":          good + "=",
		"more after it":    good + "$x",
		"a leading dollar": "$" + good,
	} {
		_, _, ok := p.parse(v)
		assert.False(t, ok, shows)
	}
	assert.False(t, p.Check("", ""), "and is not mistaken for zeros")
}
