package acl

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAllow(t *testing.T) {
	for _, c := range []struct {
		shows, have, need string
		want              bool
	}{
		{"a name grants itself", "mcsl.daemon.file.upload", "mcsl.daemon.file.upload", true},
		{"a parent includes its children", "a.b", "a.b.c", true},
		{"a child does not grant its parent", "a.b.c", "a.b", false},
		{"a sibling grants nothing", "a.b", "a.c", false},
		{"a node is not a prefix of letters", "a.b", "a.bc", false},
		{"case counts", "a.B", "a.b", false},
		{"* alone grants everything", "*", "mcsl.daemon.file.upload", true},
		{"** alone grants everything", "**", "a", true},
		{"* is exactly one node", "a.*.c", "a.b.c", true},
		{"* is not no node", "a.*.c", "a.c", false},
		{"* is not two nodes", "a.*.c", "a.b.b.c", false},
		{"* at the end wants a node", "a.*", "a", false},
		{"** at the end wants a node", "a.**", "a", false},
		{"** at the end takes one", "a.**", "a.b", true},
		{"** at the end takes many", "a.**", "a.b.c.d", true},
		{"** inside is not no node", "a.b.**.c", "a.b.c", false},
		{"** inside takes one", "a.b.**.c", "a.b.x.c", true},
		{"** inside takes many", "a.b.**.c", "a.b.x.y.c", true},
		{"** may swallow what would match", "a.**.c", "a.c.c", true},
		{"what follows ** includes children", "a.**.c", "a.b.c.d", true},
		{"** at the start", "**.upload", "mcsl.daemon.file.upload", true},
		{"** at the start wants a node", "**.upload", "upload", false},
		{"two ** in a row want two nodes", "**.**", "a", false},
		{"two ** in a row take two", "**.**", "a.b", true},
		{"the earliest place suffices", "**.a.b.**.c", "a.a.b.x.c.c", true},
		{"the order of runs counts", "**.b.**.a", "x.a.x.b", false},
		{"a partial match is left behind", "**.a.b", "x.a.a.b", true},
		{"nothing needed is always granted", "a", "", true},
		{"a malformed need is refused", "*", "a..b", false},
		{"a need is no pattern", "*", "a.*", false},
	} {
		t.Run(c.shows, func(t *testing.T) {
			p, err := ParsePermissions([]string{"zz.zz", c.have})
			require.NoError(t, err)
			assert.Equal(t, c.want, p.Allow(c.need))
		})
	}
}

func TestZeroPermissionsGrantNothing(t *testing.T) {
	assert.False(t, Permissions{}.Allow("a"))
	assert.True(t, Permissions{}.Allow(""))
	assert.Equal(t, []string{}, Permissions{}.Strings())
}

func TestStringsAreAsGranted(t *testing.T) {
	in := []string{"b.**", "a", "a"}
	p, err := ParsePermissions(in)
	require.NoError(t, err)
	in[0] = "changed"
	assert.Equal(t, []string{"b.**", "a", "a"}, p.Strings())
	p.Strings()[1] = "changed"
	assert.Equal(t, []string{"b.**", "a", "a"}, p.Strings())
}

func TestParsePermissionsRefuses(t *testing.T) {
	for _, bad := range []string{
		"", ".", "a.", ".a", "a..b", "a b", "***", "a*", "*a", "a.b*", "a,b", "ä", "a.\x00", "a/b", "a.*b",
	} {
		_, err := ParsePermissions([]string{"a", bad})
		assert.ErrorIs(t, err, ErrBadPermission, "%q", bad)
	}
	_, err := ParsePermissions([]string{strings.Repeat("a", MaxPermissionBytes)})
	assert.NoError(t, err)
	_, err = ParsePermissions([]string{strings.Repeat("a", MaxPermissionBytes-1), "a"})
	assert.ErrorIs(t, err, ErrBadPermission)
}

func TestSplitPermissions(t *testing.T) {
	assert.Equal(t, []string{"a.b", "*"}, SplitPermissions(" a.b, ,*,"))
	assert.Empty(t, SplitPermissions(""))
}

// slowGrants is the rule as PROTOCOL.md §5 has it, word for word.
func slowGrants(have, need []string) bool {
	if len(have) == 0 {
		return true
	}
	if len(need) == 0 {
		return false
	}
	switch have[0] {
	case "*":
		return slowGrants(have[1:], need[1:])
	case "**":
		for n := 1; n <= len(need); n++ {
			if slowGrants(have[1:], need[n:]) {
				return true
			}
		}
		return false
	}
	return have[0] == need[0] && slowGrants(have[1:], need[1:])
}

func FuzzPermission(f *testing.F) {
	f.Add("a.*.c", "a.b.c")
	f.Add("a.b.**.c", "a.b.c")
	f.Add("**.a.**.*.b", "a.a.b.a.b.b")
	f.Fuzz(func(t *testing.T, have, need string) {
		// The reference is exponential in the number of **.
		if len(have) > 40 || len(need) > 40 {
			return
		}
		p, err := ParsePermissions([]string{have})
		if err != nil {
			return
		}
		want := true
		nodes := strings.Split(need, ".")
		for _, n := range nodes {
			want = want && isPlain(n)
		}
		want = need == "" || want && slowGrants(strings.Split(have, "."), nodes)
		assert.Equal(t, want, p.Allow(need), "have %q need %q", have, need)
	})
}
