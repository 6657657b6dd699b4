package fsview

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
)

func TestParseName(t *testing.T) {
	long := strings.Repeat("x", MaxComponent)
	for _, c := range []struct {
		shows, in, want string
		err             error
	}{
		{"empty is the root", "", ".", nil},
		{"dot is the root", ".", ".", nil},
		{"slashes are the root", "///", ".", nil},
		{"plain", "a/b", "a/b", nil},
		{"backslash counts as slash", `a\b\\c`, "a/b/c", nil},
		{"leading slashes go", `/\/a`, "a", nil},
		{"absolute is relative", "/etc/passwd", "etc/passwd", nil},
		{"dots and empty parts go", "./a//./b/.", "a/b", nil},
		{"dotdot stays", "a/../b/..", "a/../b/..", nil},
		{"dotdot alone stays", `..\..`, "../..", nil},
		{"three dots are a name", "...", "...", nil},
		{"line break", "a\nb", "a\nb", nil},
		{"colon later", "ab:c/d:", "ab:c/d:", nil},
		{"drive letter not first", "a/C:/b", "a/C:/b", nil},
		{"longest component", long + "/" + long, long + "/" + long, nil},
		{"the replacement character is a character", "a\uFFFD", "a\uFFFD", nil},
		{"NUL", "a\x00b", "", ErrBadName},
		{"drive letter", "C:", "", ErrBadName},
		{"drive letter with path", `c:\windows`, "", ErrBadName},
		{"drive letter after slashes", "//z:x", "", ErrBadName},
		{"drive letter after a dot", "./C:/x", "", ErrBadName},
		{"invalid UTF-8", "a/\xff", "", ErrBadName},
		{"surrogate in UTF-8", "\xed\xa0\x80", "", ErrBadName},
		{"component too long", "a/" + long + "x", "", ErrBadName},
		{"too long", strings.Repeat("a/", MaxName/2) + "a", "", ErrBadName},
	} {
		t.Run(c.shows, func(t *testing.T) {
			n, err := ParseName(c.in)
			if c.err != nil {
				assert.ErrorIs(t, err, c.err)
				assert.Less(t, len(err.Error()), 1000)
				return
			}
			assert.NoError(t, err)
			assert.Equal(t, c.want, n.String())
			assert.Equal(t, c.want == ".", n.IsRoot())
		})
	}
}

func TestParseTarget(t *testing.T) {
	for _, in := range []string{"", ".", "/", `\`, "a/", `a\`, "a/.", "a/..", "..", "a//"} {
		_, err := ParseTarget(in)
		assert.ErrorIs(t, err, ErrIsDirectory, "%q", in)
	}
	for _, in := range []string{"a", "/a", "a/b", "a/../b", ".hidden", "a/..b", "a."} {
		_, err := ParseTarget(in)
		assert.NoError(t, err, "%q", in)
	}
	for _, in := range []string{"C:", "a\x00/", "\xff/"} {
		_, err := ParseTarget(in)
		assert.ErrorIs(t, err, ErrBadName, "%q", in)
	}
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{"", ".", "/", "..", "a/b", `a\..\b`, "C:/x", "./C:/x", "a\x00", "\xff", "/.waybill", "a/./b/", "é/𝄞"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseName(s)
		if err != nil {
			assert.ErrorIs(t, err, ErrBadName)
			assert.Equal(t, Name{}, n)
			_, err = ParseTarget(s)
			assert.ErrorIs(t, err, ErrBadName)
			return
		}
		again, err := ParseName(n.String())
		assert.NoError(t, err)
		assert.Equal(t, n, again, "parsing its own form changes nothing")
		for _, part := range n.parts() {
			assert.NotEmpty(t, part)
			assert.NotEqual(t, ".", part)
			assert.LessOrEqual(t, len(part), MaxComponent)
			assert.False(t, strings.ContainsAny(part, "/\\\x00"))
			assert.True(t, utf8.ValidString(part))
		}
		if target, err := ParseTarget(s); err == nil {
			assert.Equal(t, n, target)
			assert.False(t, n.IsRoot())
		} else {
			assert.ErrorIs(t, err, ErrIsDirectory)
		}
	})
}
