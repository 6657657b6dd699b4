package acl

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The people of CFMS.md §6.4.
var people = map[string]*Subject{
	"bob":   {Name: "bob", Rights: set("read"), Groups: set("user")},
	"alice": {Name: "alice", Rights: set("read", "x"), Groups: set("user", "g")},
	"admin": {Name: "admin", Rights: set("super_access"), Groups: set("user", "sysop")},
	"a2":    {Name: "a2", Rights: set(), Groups: set("user", "sysop")},
}

// The notation of §6.4: a list of primaries, a primary of parts, a part of
// rights and groups. Match "-" writes none.

func list(members ...string) string { return "[" + strings.Join(members, ",") + "]" }

func prim(match string, subs ...string) string {
	return obj(match, `"match_groups":`+list(subs...))
}

func part(match string, sides ...string) string { return obj(match, sides...) }

func r(match string, names ...string) string { return `"rights":` + req(match, names) }
func g(match string, names ...string) string { return `"groups":` + req(match, names) }

func req(match string, names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = `"` + n + `"`
	}
	return obj(match, `"require":`+list(quoted...))
}

func obj(match string, members ...string) string {
	if match != "-" {
		members = append([]string{`"match":"` + match + `"`}, members...)
	}
	return "{" + strings.Join(members, ",") + "}"
}

var (
	syPrimary = prim("all", part("all", g("-", "sysop")))
	sy        = list(syPrimary)
)

// Table M: does a user match a RULES list.
func TestMatch(t *testing.T) {
	allRead, allX := part("all", r("-", "read")), part("all", r("-", "x"))
	for _, c := range []struct {
		row, user, rules string
		want             bool
	}{
		{"M1", "bob", `[]`, true},
		{"M2", "bob", `[{}]`, true},
		{"M3", "bob", list(prim("any")), false},
		{"M4", "bob", list(prim("all")), true},
		{"M5", "bob", list(prim("any", "{}")), false},
		{"M6", "bob", list(prim("all", "{}")), true},
		{"M7", "bob", list(prim("all", part("all", r("any", "read")))), true},
		{"M8", "bob", list(prim("all", part("all", r("all", "read", "x")))), false},
		{"M9", "alice", list(prim("all", part("all", r("all", "read", "x")))), true},
		{"M10", "bob", list(prim("all", part("all", r("any", "read", "x")))), true},
		{"M11", "bob", sy, false},
		{"M12", "admin", sy, true},
		{"M13", "bob", list(prim("all", part("all", g("-", "user")))), true},
		{"M14", "bob", list(prim("all", part("any", r("-", "read"), g("-", "sysop")))), true},
		{"M15", "bob", list(prim("all", part("all", r("-", "read"), g("-", "sysop")))), false},
		{"M16", "bob", list(prim("all", part("any", r("-", "x"), g("-")))), false},
		{"M17", "bob", list(prim("all", part("any", r("-"), g("-", "sysop")))), false},
		{"M18", "bob", list(prim("any", part("any", r("-", "x")))), false},
		{"M19", "bob", list(prim("any", part("any", r("-"), g("-")))), true},
		{"M20", "bob", list(prim("any", part("-", r("-", "read"), g("-", "sysop")))), false},
		{"M21", "bob", list(prim("any", part("any", r("-", "read", "x"), g("-", "sysop")))), false},
		{"M22", "bob", list(prim("all", allRead), syPrimary), false},
		{"M23", "bob", list(prim("any", allX, allRead)), true},
		{"M24", "bob", list(prim("all", allRead, allX)), false},
		{"M25", "bob", list(prim("-", allRead, allX)), false},
		{"M26", "bob", list(prim("-", allRead, allRead)), true},
		{"M27", "bob", list(prim("any", "{}", allX)), false},
		{"M28", "bob", list(prim("all", "{}", allRead)), true},
		{"M29", "bob", list(prim("any", `{"rights":{}}`)), true},
		{"M30", "bob", list(prim("xor", allRead)), false},
		{"M31", "bob", list(prim("all", part("xor", r("-", "read"), g("-", "user")))), false},
		{"M32", "bob", list(prim("all", part("xor", r("-", "read")))), false},
		{"M33", "bob", list(prim("all", part("all", r("xor", "read")))), false},
		{"M34", "bob", `[{"match":"all"}]`, false},
		{"M35", "bob", syPrimary, false},
		{"M36", "a2", syPrimary, true},
	} {
		t.Run(c.row, func(t *testing.T) {
			v, err := decodeValue(json.RawMessage(c.rules))
			require.NoError(t, err)
			k := &compiler{}
			rules := &ruleset{primaries: k.primaries(v)}
			rules.bad = k.bad
			assert.Equal(t, c.want, rules.holds(people[c.user]), c.rules)
		})
	}
}

// Table L: one level.
func TestLevel(t *testing.T) {
	const past, future = `{"expire":1600000000}`, `{"expire":1800000000.5}`
	denyBob := func(until string) string { return `{"read":[],"deny":{"read":{"users":{"bob":` + until + `}}}}` }
	deny := func(entry string) string { return `{"read":[],"deny":{"read":` + entry + `}}` }
	readSY, writeSY := `{"read":`+sy+`}`, `{"write":`+sy+`}`
	for _, c := range []struct {
		row, user       string
		act             Action
		rules, external string
		denyOff, want   bool
	}{
		{"L1 nothing", "bob", ActionRead, `{}`, `{}`, false, true},
		{"L1 something", "bob", ActionRead, `{}`, `{"users":{"bob":{"read":` + past + `}}}`, false, true},
		{"L1 malformed", "bob", ActionRead, `{}`, `[]`, false, true},
		{"L2", "bob", ActionRead, readSY, `{}`, false, false},
		{"L3", "a2", ActionRead, readSY, `{}`, false, true},
		{"L4", "admin", ActionRead, `{"read":` + sy + `,"deny":{"read":{"users":{"admin":{}}}}}`, `{}`, false, true},
		{"L5", "bob", ActionRead, denyBob(`{}`), `{}`, false, false},
		{"L6", "bob", ActionRead, denyBob(`{"expire":0}`), `{}`, false, false},
		{"L7", "bob", ActionRead, denyBob(past), `{}`, false, true},
		{"L8", "bob", ActionRead, denyBob(future), `{}`, false, false},
		{"L9", "bob", ActionRead, deny(`{"groups":{"user":{}}}`), `{}`, false, false},
		{"L10", "alice", ActionRead, deny(`{"groups":{"g":{}}}`), `{}`, false, false},
		{"L11", "bob", ActionRead, deny(`{"rules":` + list(prim("all", part("all", r("-", "read")))) + `}`), `{}`, false, false},
		{"L12", "bob", ActionRead, deny(`{"rules":` + sy + `}`), `{}`, false, true},
		{"L13", "bob", ActionRead, deny(`{"rules":[]}`), `{}`, false, true},
		{"L14", "bob", ActionRead, deny(`{"rules":[{}]}`), `{}`, false, false},
		{"L15", "bob", ActionRead, `{"read":[],"write":[],"deny":{"write":{"users":{"bob":{}}}}}`, `{}`, false, true},
		{"L16", "bob", ActionRead, deny(`[]`), `{}`, false, true},
		{"L17", "bob", ActionRead, readSY, `{"groups":{"user":{"read":{"expire":0}}}}`, false, true},
		{"L18", "bob", ActionRead, readSY, `{"groups":{"g":{"read":{}}}}`, false, false},
		{"L19", "alice", ActionRead, readSY, `{"groups":{"g":{"read":` + past + `}}}`, false, false},
		{"L20", "bob", ActionRead, readSY, `{"users":{"bob":{"read":{}}}}`, false, true},
		{"L21", "bob", ActionRead, readSY, `{"users":{"bob":{"read":` + past + `}}}`, false, false},
		{"L22", "bob", ActionRead, readSY, `{"users":{"bob":{"read":` + future + `}}}`, false, true},
		{"L23", "bob", ActionWrite, writeSY, `{"users":{"bob":{"read":{}}}}`, false, false},
		{"L24", "bob", ActionRead, readSY, `{"groups":{}}`, false, false},
		{"L25", "bob", ActionRead, denyBob(`{}`), `{"users":{"bob":{"read":{}}}}`, false, false},
		{"L26", "bob", ActionDelete, readSY, `{}`, false, true},
		{"L27", "bob", ActionDelete, writeSY, `{}`, false, false},
		{"L28", "bob", ActionDelete, `{"write":[],"deny":{"delete":{"users":{"bob":{}}}}}`, `{}`, false, false},
		{"L29", "bob", ActionRead, denyBob(`{}`), `{}`, true, true},

		{"a list falls back to read", "bob", ActionList, readSY, `{}`, false, false},
		{"a denial falls back to its base", "bob", ActionList, denyBob(`{}`), `{}`, false, false},
		{"an own list hides the base's", "bob", ActionRename, `{"write":` + sy + `,"rename":[]}`, `{}`, false, true},
		{"an own denial, though empty, hides the base's", "bob", ActionDelete, `{"deny":{"write":{"users":{"bob":{}}},"delete":{}}}`, `{}`, false, true},
		{"so does an empty list for a denial", "bob", ActionDelete, `{"deny":{"write":{"users":{"bob":{}}},"delete":[]}}`, `{}`, false, true},
		{"external access does not fall back", "bob", ActionList, readSY, `{"users":{"bob":{"read":{}}}}`, false, false},
		{"an unknown action is a write", "bob", "steal", writeSY, `{}`, false, false},
		{"a denial of somebody else", "alice", ActionRead, denyBob(`{}`), `{}`, false, true},
		{"only __noinherit__", "bob", ActionRead, `{"__noinherit__":[]}`, `{}`, false, true},
	} {
		t.Run(c.row, func(t *testing.T) {
			a := NewAccess(json.RawMessage(c.rules), json.RawMessage(c.external))
			assert.Equal(t, c.want, a.Level(people[c.user], c.act, !c.denyOff, now))
		})
	}
}

// What setAccess would never have let in denies, and nothing more than it is
// about. super_access passes all the same.
func TestMalformedRulesDeny(t *testing.T) {
	open := `{"users":{"bob":{"read":{}}}}`
	for _, c := range []struct {
		shows, rules, external  string
		read, write, readNoDeny bool
	}{
		{"rules are a list", `[]`, open, false, false, false},
		{"rules are a number", `1`, open, false, false, false},
		{"rules are no JSON", `{`, open, false, false, false},
		{"a RULES list is a string", `{"read":"x"}`, open, false, true, false},
		{"a RULES list is null", `{"read":null}`, open, false, true, false},
		{"a primary is a list", `{"read":[[]]}`, open, false, true, false},
		{"a second primary is malformed, the first fails anyway", `{"read":` + list(syPrimary, `{"match":1}`) + `}`, open, false, true, false},
		{"match_groups is an object", `{"read":[{"match_groups":{}}]}`, open, false, true, false},
		{"a sub is a string", `{"read":[{"match":"any","match_groups":[{"rights":{}},"x"]}]}`, open, false, true, false},
		{"rights is a list", `{"read":[{"match_groups":[{"rights":["read"]}]}]}`, open, false, true, false},
		{"require is a string", `{"read":[{"match_groups":[{"rights":{"require":"read"}}]}]}`, open, false, true, false},
		{"require has a number", `{"read":[{"match_groups":[{"rights":{"require":["read",1]}}]}]}`, open, false, true, false},
		{"match is null", `{"read":[{"match":null,"match_groups":[]}]}`, open, false, true, false},
		{"deny is a list", `{"read":[],"deny":[]}`, open, false, false, true},
		{"a denial is a string", `{"read":[],"deny":{"read":"x"}}`, open, false, true, true},
		{"a denial is a list with something in it", `{"read":[],"deny":{"read":[1]}}`, open, false, true, true},
		{"its users are a list", `{"read":[],"deny":{"read":{"users":[]}}}`, open, false, true, true},
		{"an expire of it is a string", `{"read":[],"deny":{"read":{"users":{"zoe":{"expire":"x"}}}}}`, open, false, true, true},
		{"an entry of it is null", `{"read":[],"deny":{"read":{"groups":{"zoe":null}}}}`, open, false, true, true},
		{"its rules are malformed", `{"read":[],"deny":{"read":{"rules":[{"match_groups":[{"match":"xor"}]}]}}}`, open, false, true, true},
		{"external access is a list", `{"read":` + sy + `}`, `[]`, false, true, false},
		{"users is a list", `{"read":` + sy + `}`, `{"users":[],"groups":{"user":{"read":{}}}}`, false, true, false},
		{"a user's is a list", `{"read":` + sy + `}`, `{"users":{"zoe":[]},"groups":{"user":{"read":{}}}}`, false, true, false},
		{"an entry is true", `{"read":` + sy + `}`, `{"users":{"zoe":{"read":true},"bob":{"read":{}}}}`, false, true, false},
		{"an entry of another action is true", `{"read":` + sy + `}`, `{"users":{"zoe":{"write":true},"bob":{"read":{}}}}`, true, true, true},
		{"an expire is too large for a float", `{"read":` + sy + `}`, `{"users":{"bob":{"read":{"expire":1e999}}}}`, false, true, false},

		{"one object stands for a list", `{"read":{}}`, `{}`, true, true, true},
		{"also in a denial", `{"read":[],"deny":{"read":{"rules":{}}}}`, `{}`, false, true, true},
		{"unknown keys mean nothing", `{"raed":` + sy + `,"read":[{"x":1,"match_groups":[]}]}`, `{}`, true, true, true},
		{"__noinherit__ is none of the level's business", `{"__noinherit__":7}`, `{}`, true, true, true},
	} {
		t.Run(c.shows, func(t *testing.T) {
			a := NewAccess(json.RawMessage(c.rules), json.RawMessage(c.external))
			assert.Equal(t, c.read, a.Level(people["bob"], ActionRead, true, now), "read")
			assert.Equal(t, c.write, a.Level(people["bob"], ActionWrite, true, now), "write")
			assert.Equal(t, c.readNoDeny, a.Level(people["bob"], ActionRead, false, now), "read, deny off")
			assert.True(t, a.Level(people["admin"], ActionRead, true, now))
			assert.Equal(t, CodeStructure, ValidateAccess(json.RawMessage(c.rules), json.RawMessage(c.external)))
			assert.True(t, json.Valid(a.Rules()))
			again := NewAccess(a.Rules(), a.External())
			assert.Equal(t, c.read, again.Level(people["bob"], ActionRead, true, now), "kept and compiled again")
		})
	}
}

// Long lists find everybody in them, whatever their order.
func TestManyGrantees(t *testing.T) {
	names := []string{"zoe", "bob", "", "ann", "g", "user", "öl", "Bob", "mia"}
	entries := make([]string, len(names))
	for i, n := range names {
		entries[i] = `"` + n + `":{"read":{}}`
	}
	users := `{"users":{` + strings.Join(entries, ",") + `}}`
	groups := strings.Replace(users, "users", "groups", 1)
	for _, name := range append(names, "bo", "bobby", "zz") {
		in := slices.Contains(names, name)
		s := &Subject{Name: name, Groups: set("other")}
		assert.Equal(t, in, NewAccess(given(readSysop), given(users)).Level(s, ActionRead, true, now), name)
		s = &Subject{Name: "other", Groups: set(name, "more")}
		assert.Equal(t, in, NewAccess(given(readSysop), given(groups)).Level(s, ActionRead, true, now), name)
	}
}

func TestCuts(t *testing.T) {
	for _, c := range []struct {
		shows, rules          string
		cuts, cutsDeny        []Action
		subinherit, malformed bool
	}{
		{"nothing", `{}`, nil, nil, true, false},
		{"an empty list", `{"__noinherit__":[]}`, nil, nil, true, false},
		{"all", `{"__noinherit__":["all"]}`, actions[:], nil, true, false},
		{"read and what falls back to it", `{"__noinherit__":["read"]}`, []Action{ActionRead, ActionList}, nil, true, false},
		{"write and what falls back to it", `{"__noinherit__":["write"]}`, []Action{
			ActionWrite, ActionRename, ActionDelete, ActionPermanentlyDelete, ActionRecover, ActionMove,
			ActionChangeID, ActionDeleteRev, ActionRecoverRev,
		}, nil, true, false},
		{"one action", `{"__noinherit__":["delete","list"]}`, []Action{ActionList, ActionDelete}, nil, true, false},
		{"deny", `{"__noinherit__":["deny"]}`, nil, actions[:], true, false},
		{"deny of a base", `{"__noinherit__":["deny_read"]}`, nil, []Action{ActionRead, ActionList}, true, false},
		{"deny of one action", `{"__noinherit__":["deny_delete_rev","deny_list"]}`, nil, []Action{ActionList, ActionDeleteRev}, true, false},
		{"both", `{"__noinherit__":["deny_move","recover"]}`, []Action{ActionRecover}, []Action{ActionMove}, true, false},
		{"not a list", `{"__noinherit__":"all"}`, nil, nil, true, true},
		{"names that are none", `{"__noinherit__":["steal","deny_","deny_all","deny_deny",5,"move"]}`, []Action{ActionMove}, nil, true, true},
		{"kept to itself", `{"__subinherit__":false}`, nil, nil, false, false},
		{"shared", `{"__subinherit__":true}`, nil, nil, true, false},
		{"0 is not false", `{"__subinherit__":0}`, nil, nil, true, true},
		{"null is not false", `{"__subinherit__":null}`, nil, nil, true, true},
		{"rules that are a list", `["__noinherit__"]`, nil, nil, true, true},
	} {
		t.Run(c.shows, func(t *testing.T) {
			a := NewAccess(json.RawMessage(c.rules), nil)
			var cuts, cutsDeny []Action
			for _, act := range actions {
				if a.Cuts(act) {
					cuts = append(cuts, act)
				}
				if a.CutsDeny(act) {
					cutsDeny = append(cutsDeny, act)
				}
			}
			assert.Equal(t, c.cuts, cuts)
			assert.Equal(t, c.cutsDeny, cutsDeny)
			assert.Equal(t, c.subinherit, a.Subinherit())
			assert.Equal(t, c.malformed, ValidateAccess(json.RawMessage(c.rules), nil) != nil)
		})
	}
}

func TestAccessIsKeptAsGiven(t *testing.T) {
	var zero Access
	for shows, a := range map[string]*Access{
		"zero": &zero, "nil": NewAccess(nil, nil), "null": NewAccess(given(" null "), given("null")), "empty": NewAccess(given(" { } "), given("{}")),
	} {
		assert.True(t, a.Open(), shows)
		assert.Equal(t, `{}`, string(a.Rules()), shows)
		assert.Equal(t, `{}`, string(a.External()), shows)
		assert.True(t, a.Level(people["bob"], ActionWrite, true, now), shows)
		assert.True(t, a.Subinherit(), shows)
	}
	raw := []byte("{ \"write\": [] ,\n\"read\" :[{}], \"deny\":{\"read\":{\"users\":{\"<é>\":{\"expire\":1.50}}}}}")
	a := NewAccess(raw, given(`{ "users" : {} }`))
	clear(raw)
	assert.False(t, a.Open())
	assert.Equal(t, `{"write":[],"read":[{}],"deny":{"read":{"users":{"<é>":{"expire":1.50}}}}}`, string(a.Rules()))
	assert.Equal(t, `{"users":{}}`, string(a.External()))
	assert.False(t, NewAccess(given(`{"read":[]}`), nil).Open(), "not even with an empty list")
}

func TestValidateAccess(t *testing.T) {
	for shows, c := range map[string][2]string{
		"nothing":             {``, ``},
		"empty":               {`{}`, `{}`},
		"shipped for a root":  {`{"read":[{}],"write":` + sy + `,"deny":{"read":{"groups":{},"users":{},"rules":[]},"write":{}}}`, `{"groups":{"sysop":{"read":{"expire":0},"write":{"expire":0}}},"users":{}}`},
		"shipped for samples": {`{"__noinherit__":[],"__subinherit__":true,"read":[],"write":[]}`, ``},
		"every action":        {`{"list":[],"rename":[],"delete":[],"permanently_delete":[],"recover":[],"move":[],"change_id":[],"delete_rev":[],"recover_rev":[]}`, ``},
		"never":               {``, `{"users":{"bob":{"read":{"expire":null},"list":{"expire":-1}}}}`},
	} {
		assert.NoError(t, ValidateAccess(given(c[0]), given(c[1])), shows)
	}
	for shows, c := range map[string][2]string{
		"an unknown action":            {`{"steal":[]}`, ``},
		"an unknown action denied":     {`{"deny":{"steal":{}}}`, ``},
		"an unknown action external":   {``, `{"users":{"bob":{"steal":{}}}}`},
		"an unknown key of a denial":   {`{"deny":{"read":{"user":{}}}}`, ``},
		"an unknown key of a primary":  {`{"read":[{"match_groups":[],"x":1}]}`, ``},
		"an unknown key of a sub":      {`{"read":[{"match_groups":[{"right":{}}]}]}`, ``},
		"an unknown key of a side":     {`{"read":[{"match_groups":[{"rights":{"requires":[]}}]}]}`, ``},
		"keys in another case":         {`{"read":[{"Match_Groups":[]}]}`, ``},
		"an unknown key of an entry":   {``, `{"users":{"bob":{"read":{"expires":1}}}}`},
		"an unknown key of external":   {``, `{"people":{}}`},
		"external though rules are {}": {`{}`, `{"users":5}`},
		"a time no journal holds":      {``, `{"users":{"bob":{"read":{"expire":9007199254740992}}}}`},
		"a name nobody has":            {`{"deny":{"read":{"users":{"a\u0000b":{}}}}}`, ``},
		"a name too long":              {``, `{"users":{"` + strings.Repeat("u", 33) + `":{}}}`},
		"an empty right":               {`{"read":[{"match_groups":[{"rights":{"require":[""]}}]}]}`, ``},
		"bytes that are not UTF-8":     {"{\"deny\":{\"read\":{\"users\":{\"\xff\":{}}}}}", ``},
		"two values":                   {`{} {}`, ``},
		"an empty list for a denial":   {`{"deny":{"read":[]}}`, ``},
	} {
		assert.Equal(t, CodeStructure, ValidateAccess(given(c[0]), given(c[1])), shows)
	}
}

func TestActions(t *testing.T) {
	for i, a := range actions {
		at, known := index(a)
		assert.True(t, known)
		assert.Equal(t, i, at, a)
		want := ActionWrite
		if a == ActionRead || a == ActionList {
			want = ActionRead
		}
		assert.Equal(t, want, Base(a))
	}
	_, known := index("all")
	assert.False(t, known)
	assert.Equal(t, ActionWrite, Base("steal"))
}

// Whatever is stored compiles, and decides the same when kept and compiled
// again; what may be written has no malformed part.
func FuzzAccess(f *testing.F) {
	f.Add(`{"read":[{"match":"any","match_groups":[{"match":"any","rights":{"match":"any","require":["read"]},"groups":{"require":["g"]}}]}]}`, `{}`)
	f.Add(`{"write":[],"deny":{"read":{"users":{"bob":{"expire":1}},"groups":{"g":{}},"rules":[{}]},"write":[]}}`, `{"users":{"bob":{"read":{}}},"groups":{"g":{"write":{"expire":null}}}}`)
	f.Add(`{"__noinherit__":["all","deny_read",1],"__subinherit__":0,"x":{}}`, `[]`)
	f.Add(`[`, `{"users":{"bob":{"read":{"expire":1e999}}}}`)
	f.Add(`{"read":null,"deny":null}`, `null`)
	f.Fuzz(func(t *testing.T, rules, external string) {
		a := NewAccess(json.RawMessage(rules), json.RawMessage(external))
		require.True(t, json.Valid(a.Rules()))
		require.True(t, json.Valid(a.External()))
		again := NewAccess(a.Rules(), a.External())
		for _, who := range people {
			for _, act := range append(actions[:], "steal") {
				for _, deny := range []bool{true, false} {
					got := a.Level(who, act, deny, now)
					assert.Equal(t, got, again.Level(who, act, deny, now))
					assert.True(t, got || !who.May(RightSuper))
				}
				assert.Equal(t, a.Cuts(act), again.Cuts(act))
				assert.Equal(t, a.CutsDeny(act), again.CutsDeny(act))
			}
		}
		if ValidateAccess(json.RawMessage(rules), json.RawMessage(external)) != nil || a.Open() {
			return
		}
		for _, l := range a.levels {
			assert.False(t, l.rules != nil && l.rules.bad)
			assert.False(t, l.deny != nil && l.deny.bad)
		}
	})
}

func BenchmarkLevel(b *testing.B) {
	external := json.RawMessage(`{"groups":{"sysop":{"read":{"expire":0},"write":{"expire":0}},"g":{"read":{}}},"users":{"bob":{"write":{}}}}`)
	for _, c := range []struct{ name, rules string }{
		{"open", `{}`},
		{"typical", `{"read":[{}],"write":` + sy + `,"deny":{"read":{"groups":{},"users":{"zoe":{}},"rules":[]},"write":{}}}`},
		{"long", `{"write":` + list(prim("any", part("any", r("any", "x", "y"), g("any", "h", "g")), part("all", r("-", "read"))), prim("all", part("all", g("-", "sysop")))) +
			`,"deny":{"write":{"users":{"a":{},"b":{},"c":{}},"groups":{"h":{},"i":{}},"rules":` + sy + `}}}`},
	} {
		b.Run(c.name, func(b *testing.B) {
			a := NewAccess(json.RawMessage(c.rules), external)
			b.ReportAllocs()
			for b.Loop() {
				a.Level(people["bob"], ActionDelete, true, now)
			}
		})
	}
}

func TestLevelDoesNotAllocate(t *testing.T) {
	a := NewAccess(given(`{"write":`+sy+`,"deny":{"write":{"users":{"zoe":{}},"groups":{"h":{}},"rules":`+sy+`}}}`), given(`{"groups":{"h":{"write":{}}}}`))
	assert.Zero(t, testing.AllocsPerRun(100, func() { a.Level(people["bob"], ActionWrite, true, now) }))
}
