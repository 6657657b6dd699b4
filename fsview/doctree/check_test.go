package doctree

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/fsview/acl"
)

const (
	sy = sysopOnly
	gg = `[{"match":"all","match_groups":[{"match":"all","groups":{"match":"all","require":["g"]}}]}]`

	denyBob   = `"deny":{"read":{"users":{"bob":{}}}}`
	bobReads  = `{"users":{"bob":{"read":{}}}}`
	bobWrites = `{"users":{"bob":{"write":{}}}}`
)

// Table T of CFMS.md §6.4: the shipped root policy → P → Q → F.
func TestPathAccess(t *testing.T) {
	type rules map[string]string // by node: access_rules without braces
	for _, c := range []struct {
		row      string
		s        *acl.Subject
		act      acl.Action
		on       string
		rules    rules
		external rules
		want     bool
	}{
		{"T1", bob, acl.ActionRead, "F", nil, nil, true},
		{"T2", bob, acl.ActionWrite, "F", nil, nil, false},
		{"T3", admin, acl.ActionWrite, "F", nil, nil, true},
		{"T4", bob, acl.ActionDelete, "F", nil, nil, false},
		{"T5", bob, acl.ActionList, "P", nil, nil, true},
		{"T6 read", bob, acl.ActionRead, "", nil, nil, true},
		{"T6 write", bob, acl.ActionWrite, "", nil, nil, false},
		{"T7", bob, acl.ActionWrite, "F", rules{"P": `"__subinherit__":false,"read":[]`}, nil, true},
		{"T8", bob, acl.ActionWrite, "P", rules{"P": `"__subinherit__":false,"write":[]`}, nil, false},
		{"T9", bob, acl.ActionRead, "F", rules{"P": denyBob, "Q": `"__subinherit__":false`}, nil, true},
		{"T10", bob, acl.ActionRead, "F", rules{"P": `"__subinherit__":false,` + denyBob}, nil, true},
		{"T11", bob, acl.ActionWrite, "F", rules{"F": `"__noinherit__":["write"]`}, nil, true},
		{"T12", bob, acl.ActionWrite, "F", rules{"F": `"__noinherit__":["all"],"write":[]`}, nil, true},
		{"T13", bob, acl.ActionWrite, "F", rules{"F": `"__noinherit__":["read"],"read":[],"write":[]`}, nil, false},
		{"T14", bob, acl.ActionRead, "F", rules{"P": `"read":[],` + denyBob}, nil, false},
		{"T15", alice, acl.ActionRead, "F", rules{"P": `"read":[],` + denyBob}, nil, true},
		{"T16", bob, acl.ActionRead, "F", rules{"P": denyBob, "F": `"read":[],"__noinherit__":["deny_read"]`}, nil, true},
		{"T17", bob, acl.ActionRead, "F", rules{"P": denyBob, "F": `"read":[],"__noinherit__":["deny"]`}, nil, true},
		{"T18", bob, acl.ActionRead, "F", rules{"P": denyBob, "F": `"read":[],"__noinherit__":["deny_write"]`}, nil, false},
		{"T19", bob, acl.ActionRead, "F", rules{"P": denyBob, "Q": `"__noinherit__":["deny_read"],"read":[]`}, nil, true},
		{"T20", bob, acl.ActionRead, "F", rules{"P": `"read":` + sy, "F": `"__noinherit__":["deny_read"],"read":[]`}, nil, false},
		{"T21", bob, acl.ActionRead, "F", rules{"F": `"read":[],` + denyBob}, nil, false},
		{"T22", bob, acl.ActionRead, "F", rules{"F": `"read":[],"__noinherit__":["deny"],` + denyBob}, nil, false},
		{"T23", bob, acl.ActionWrite, "F", rules{"root": "apart"}, nil, true},
		{"T24 bob", bob, acl.ActionRead, "F", rules{"P": `"read":` + gg}, nil, false},
		{"T24 alice", alice, acl.ActionRead, "F", rules{"P": `"read":` + gg}, nil, true},
		{"T25", bob, acl.ActionRead, "F", rules{"P": `"read":` + gg, "F": `"read":[]`}, rules{"F": bobReads}, false},
		{"T26", bob, acl.ActionRead, "F", rules{"P": `"read":` + gg}, rules{"P": bobReads}, true},
		{"T27", bob, acl.ActionRead, "F", rules{"P": `"read":` + gg, "F": `"__noinherit__":["read"],"read":` + sy},
			rules{"F": bobReads}, true},
		{"T28", bob, acl.ActionRead, "F", rules{"P": `"read":` + sy, "Q": `"__noinherit__":["read"],"read":[]`}, nil, true},
		{"T29", bob, acl.ActionRead, "F", rules{"F": `"read":` + sy}, nil, false},
		{"T30", admin, acl.ActionPermanentlyDelete, "F", rules{"P": `"permanently_delete":` + gg,
			"F": `"deny":{"permanently_delete":{"users":{"admin":{}}}}`}, nil, true},
		{"T31", a2, acl.ActionPermanentlyDelete, "F", rules{"F": `"permanently_delete":` + gg},
			rules{"F": `{"groups":{"sysop":{"permanently_delete":{}}}}`}, true},
		{"T32", bob, acl.ActionWrite, "F", rules{"": `"write":` + sy}, rules{"": `{"groups":{"user":{"write":{}}}}`}, true},
		{"T33", bob, acl.ActionDelete, "F", rules{"F": `"__noinherit__":["write"],"write":[]`}, nil, true},
		{"T34 delete", bob, acl.ActionDelete, "F", rules{"F": `"__noinherit__":["delete"],"write":[]`}, nil, true},
		{"T34 write", bob, acl.ActionWrite, "F", rules{"F": `"__noinherit__":["delete"],"write":[]`}, nil, false},
		{"T35", bob, acl.ActionRename, "F", rules{"F": `"__noinherit__":["write"],"write":` + sy + `,"rename":[]`}, nil, true},
		{"T36", bob, acl.ActionList, "Q", rules{"Q": `"read":[],` + denyBob}, nil, false},
		{"T37 delete", bob, acl.ActionDelete, "F", rules{"F": `"__noinherit__":["write"],"write":` + sy}, rules{"F": bobWrites}, false},
		{"T37 write", bob, acl.ActionWrite, "F", rules{"F": `"__noinherit__":["write"],"write":` + sy}, rules{"F": bobWrites}, true},
		{"T38 delete", bob, acl.ActionDelete, "F", rules{"F": `"__noinherit__":["write"],"write":[],` +
			`"deny":{"write":{"users":{"bob":{}}},"delete":{}}`}, nil, true},
		{"T38 rename", bob, acl.ActionRename, "F", rules{"F": `"__noinherit__":["write"],"write":[],` +
			`"deny":{"write":{"users":{"bob":{}}},"delete":{}}`}, nil, false},
		{"T39", bob, acl.ActionDelete, "F", rules{"P": `"__noinherit__":["write"],"write":[],"deny":{"write":{"users":{"bob":{}}}}`,
			"F": `"write":[],"__noinherit__":["deny_write"]`}, nil, true},
		{"T40", bob, acl.ActionDelete, "F", rules{"P": `"__noinherit__":["write"],"write":[],"deny":{"write":{"users":{"bob":{}}}}`,
			"F": `"write":[],"__noinherit__":["deny_read"]`}, nil, false},
	} {
		t.Run(c.row, func(t *testing.T) {
			b := newBook(t)
			b.dir("P", "")
			b.dir("Q", "P")
			b.file("F", "Q")
			for id, r := range c.rules {
				if id == "root" {
					b.apply(b.SetAccess(boss, SetAccess{ID: ptr(""), Inherit: ptr(false)}, b.now()))
					continue
				}
				b.rules(id, "{"+r+"}", "")
			}
			for id, x := range c.external {
				b.rules(id, "", x)
			}
			assert.Equal(t, c.want, b.Check(c.s, c.act, c.on, b.now()))
			// The same question among others, as listings and batches ask it.
			n, _ := b.named(c.on)
			j := b.judge(c.s, c.act, b.now())
			for range 2 {
				for _, other := range []string{"", "P", "Q", "F"} {
					o, _ := b.named(other)
					assert.Equal(t, b.Check(c.s, c.act, other, b.now()), j.may(o), "%q", other)
				}
				assert.Equal(t, c.want, j.may(n))
			}
		})
	}
}

func TestPathAccessOfNothing(t *testing.T) {
	b := newBook(t)
	assert.False(t, b.Check(admin, acl.ActionRead, "nothing", b.now()))
	assert.False(t, New().Check(bob, acl.ActionWrite, "", 0), "before its policies come, a tree is as shipped")
	assert.True(t, New().Check(bob, acl.ActionRead, "", 0))
}

// Grants end: the same question has another answer later.
func TestPathAccessEnds(t *testing.T) {
	b := newBook(t)
	b.file("F", "")
	b.rules("F", `{"read":`+sy+`}`, fmt.Sprintf(`{"users":{"bob":{"read":{"expire":%d}}}}`, b.at.Unix()+10))
	assert.True(t, b.Check(bob, acl.ActionRead, "F", b.now()))
	assert.False(t, b.Check(bob, acl.ActionRead, "F", b.now()+10))
}

// Rules that a journal brings in, though no request could: what is malformed
// denies (§6.2), and rules that are not there count as shipped.
func TestMalformedRules(t *testing.T) {
	for _, c := range []struct {
		shows, rules string
		want         bool
	}{
		{"a list is denied", `[]`, false},
		{"a text is denied", `"x"`, false},
		{"an unknown match denies", `{"read":[{"match":"xor","match_groups":[]}]}`, false},
		{"an object of rules counts as a list of one", `{"read":{"match":"all","match_groups":[]}}`, true},
		{"__noinherit__ that is no list cuts nothing", `{"__noinherit__":"all","read":[]}`, true},
		{"__subinherit__ that is no boolean is true", `{"__subinherit__":0,"read":` + gg + `}`, false},
	} {
		t.Run(c.shows, func(t *testing.T) {
			b := newBook(t)
			b.dir("D", "")
			b.file("F", "D")
			require.NoError(t, b.raw(KindNodeRuled, `{"node":1,"id":"D","access_rules":`+c.rules+`}`))
			assert.Equal(t, c.want, b.Check(bob, acl.ActionRead, "F", b.now()))
			info, err := b.GetAccess(boss, ptr("D"))
			require.NoError(t, err)
			assert.JSONEq(t, c.rules, string(info.AccessRules), "shown as stored")
		})
	}
	for _, content := range []string{
		`{}`, `{"rules":[]}`, `{"rules":{}}`, `{"rules":null,"inherit_by_subdirectory":1}`, `{"rules":{"access_rules":null}}`,
	} {
		b := newBook(t)
		b.dir("D", "")
		require.NoError(t, b.raw(KindPolicySet, `{"policy":"permission_on_rootdir","content":`+content+`}`))
		assert.False(t, b.Check(bob, acl.ActionWrite, "D", b.now()), content)
		assert.True(t, b.Check(bob, acl.ActionRead, "D", b.now()), content)
	}
	b := newBook(t)
	require.NoError(t, b.raw(KindPolicySet, `{"policy":"permission_on_rootdir","content":{"rules":{"access_rules":[]}}}`))
	assert.False(t, b.Check(bob, acl.ActionRead, "", b.now()))
}

// The memo of a listing answers as the algorithm word for word does.
func TestJudgeAgainstTheAlgorithm(t *testing.T) {
	settings := []string{
		`{}`, `{"__subinherit__":false}`, `{"read":[]}`, `{"read":` + gg + `}`, `{"write":` + sy + `,` + denyBob + `}`,
		`{"__noinherit__":["read"],"read":[]}`, `{"__noinherit__":["deny"],"write":[]}`,
		`{"__noinherit__":["deny_write"],"deny":{"write":{"users":{"bob":{}}}}}`,
		`{"__subinherit__":false,"__noinherit__":["write"],"deny":{"read":{"groups":{"g":{}}}}}`,
	}
	for i := range settings {
		for k := range settings {
			b := newBook(t)
			b.dir("P", "")
			b.dir("Q", "P")
			b.file("F", "Q")
			b.rules("P", settings[i], "")
			b.rules("Q", settings[k], "")
			b.rules("F", settings[(i+k)%len(settings)], bobWrites)
			for _, s := range []*acl.Subject{bob, alice, a2} {
				for _, act := range []acl.Action{acl.ActionRead, acl.ActionWrite, acl.ActionList, acl.ActionDelete} {
					j := b.judge(s, act, b.now())
					for _, id := range []string{"F", "Q", "P", ""} {
						n, _ := b.named(id)
						want := slowCheck(b.Tree, s, act, n, true, false, b.now())
						assert.Equal(t, want, j.may(n), "%s %s %s %d %d", s.Name, act, id, i, k)
						assert.Equal(t, want, b.Check(s, act, id, b.now()))
					}
				}
			}
		}
	}
}

// slowCheck is check of CFMS.md §6.3, word for word.
func slowCheck(t *Tree, s *acl.Subject, a acl.Action, n *node, deny, sub bool, now float64) bool {
	if n == t.root {
		return n.access.Level(s, a, deny, now)
	}
	var rules map[string]json.RawMessage
	_ = json.Unmarshal(n.access.Rules(), &rules)
	if sub && string(rules["__subinherit__"]) == "false" {
		return true
	}
	var names []string
	_ = json.Unmarshal(rules["__noinherit__"], &names)
	list := " " + strings.Join(names, " ") + " "
	has := func(names ...string) bool {
		for _, name := range names {
			if strings.Contains(list, " "+name+" ") {
				return true
			}
		}
		return false
	}
	if !has(string(a), string(acl.Base(a)), "all") {
		up := deny && !has("deny", "deny_"+string(a), "deny_"+string(acl.Base(a)))
		if n.parent != t.root {
			if !slowCheck(t, s, a, n.parent, up, true, now) {
				return false
			}
		} else if t.inherit && !slowCheck(t, s, a, t.root, up, false, now) {
			return false
		}
	}
	return n.access.Level(s, a, deny, now)
}
