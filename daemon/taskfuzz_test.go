package daemon

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func FuzzTaskHeaders(f *testing.F) {
	for _, s := range []string{
		"0", "007", "-1", "+1", "999999999999999", "1000000000000000", "?0", "?1", "?", "sha-256=", "sha-256=::",
		"sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:", "sha-512=:AAAA:,sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:;a=b",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if offset, ok := uploadOffset([]string{s}); ok {
			assert.GreaterOrEqual(t, offset, int64(0))
			assert.Empty(t, strings.Trim(s, "0123456789"))
		}
		if complete, ok := uploadComplete([]string{s}); ok {
			assert.Equal(t, complete, s == "?1")
		}
		digest, ok := reprDigest([]string{s})
		if !ok {
			assert.Empty(t, digest)
		}
		if digest != "" {
			assert.Len(t, digest, 64)
			assert.Contains(t, s, "sha-256=:")
		}
		// A name is what a client makes of it, whatever it is: one header, one line.
		header := attachment(s)
		assert.Empty(t, strings.Map(func(r rune) rune {
			if r >= ' ' && r <= '~' {
				return -1
			}
			return r
		}, header))
		assert.LessOrEqual(t, strings.Count(header, `"`), 2)
	})
}

func FuzzFTPCommandLine(f *testing.F) {
	for _, s := range []string{"NOOP", "stor  a b", "\xff\xf4\xff\xf2ABOR", "", " ", "USER", "\x1e226 done"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		verb, param := parseFTP(s)
		assert.NotContains(t, verb, " ")
		assert.Equal(t, strings.ToUpper(verb), verb)
		assert.True(t, strings.HasSuffix(s, param))
		// Nothing but a reply of ours passes for one.
		if !strings.Contains(s, replyMark) {
			assert.Equal(t, s, ownReply(s))
		}
	})
}
