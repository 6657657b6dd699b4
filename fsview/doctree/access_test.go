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

func TestGetAccess(t *testing.T) {
	l := newLibrary(t)
	l.unchanged(func() {
		for _, c := range []struct {
			shows string
			s     *acl.Subject
			id    *string
			want  acl.Code
		}{
			{"no id", ann, nil, acl.CodeMissing},
			{"no id before the right", bob, nil, acl.CodeMissing},
			{"no right", bob, ptr("D"), acl.CodeDenied},
			{"super_access stands in for no right", admin, ptr("D"), acl.CodeDenied},
			{"the right before the node", bob, ptr("none"), acl.CodeDenied},
			{"unknown", ann, ptr("none"), acl.CodeNotFound},
			{"deleted", ann, ptr("X"), ""},
			{"no path access is asked for", ann, ptr("T"), ""},
		} {
			_, err := l.GetAccess(c.s, c.id)
			wants(t, c.want, err, c.shows)
		}
	})
	info, err := l.GetAccess(ann, ptr("F"))
	require.NoError(t, err)
	assert.Equal(t, AccessInfo{AccessRules: json.RawMessage(`{}`), ExternalAccess: json.RawMessage(`{}`)}, info)
}

// Every check of setAccess (§5.6), and of two that a request fails the earlier
// one.
func TestSetAccessErrors(t *testing.T) {
	l := newLibrary(t)
	rules := func(s string) SetAccess { return SetAccess{ID: ptr("D"), AccessRules: json.RawMessage(s)} }
	external := func(s string) SetAccess { return SetAccess{ID: ptr("D"), ExternalAccess: json.RawMessage(s)} }
	on := func(id string, a SetAccess) SetAccess { a.ID = &id; return a }
	for _, c := range []struct {
		shows string
		s     *acl.Subject
		a     SetAccess
		want  acl.Code
	}{
		{"no id", ann, SetAccess{AccessRules: json.RawMessage(`{}`)}, acl.CodeMissing},
		{"nothing to set", ann, SetAccess{ID: ptr("D")}, acl.CodeMissing},
		{"null", ann, rules(`null`), acl.CodeMissing},
		{"nothing before the right", bob, SetAccess{ID: ptr("D")}, acl.CodeMissing},
		{"no right", bob, rules(`{}`), acl.CodeDenied},
		{"the right before the shape", bob, rules(`[]`), acl.CodeDenied},
		{"a list", ann, rules(`[]`), acl.CodeStructure},
		{"no JSON", ann, rules(`{`), acl.CodeStructure},
		{"an unknown match", ann, rules(`{"read":[{"match":"xor","match_groups":[]}]}`), acl.CodeStructure},
		{"an unknown action", ann, rules(`{"dance":[]}`), acl.CodeStructure},
		{"external access that is a list", ann, external(`[]`), acl.CodeStructure},
		{"an unknown action in it", ann, external(`{"users":{"u":{"dance":{}}}}`), acl.CodeStructure},
		{"an integer that readers round", ann, external(`{"users":{"u":{"read":{"expire":9007199254740993}}}}`), acl.CodeStructure},
		{"inheritance of a directory", ann, SetAccess{ID: ptr("D"), Inherit: ptr(true)}, acl.CodeStructure},
		{"a bad shape before an unknown id", ann, on("none", rules(`[]`)), acl.CodeStructure},
		{"too large", ann, rules(`{"read":[` + strings.Repeat(`{},`, MaxAccess/3) + `{}]}`), acl.CodeStructure},
		{"unknown", ann, on("none", rules(`{}`)), acl.CodeNotFound},
	} {
		l.unchanged(func() {
			_, err := l.SetAccess(c.s, c.a, l.now())
			wants(t, c.want, err, c.shows)
		})
	}
}

func TestSetAccess(t *testing.T) {
	l := newLibrary(t)
	get := func(id string) AccessInfo {
		info, err := l.GetAccess(ann, &id)
		require.NoError(t, err)
		return info
	}
	l.rules("F", ` { "write" : [ ] , "read" : [], "read": `+gg+` } `, "")
	assert.JSONEq(t, `{"read":`+gg+`,"write":[]}`, string(get("F").AccessRules), "of two keys the last")
	assert.JSONEq(t, `{}`, string(get("F").ExternalAccess))
	l.rules("F", "", bobReads)
	assert.JSONEq(t, `{"read":`+gg+`,"write":[]}`, string(get("F").AccessRules), "each stays if the other is set")
	assert.JSONEq(t, bobReads, string(get("F").ExternalAccess))
	l.rules("F", "{}", "{}")
	assert.True(t, l.ids["F"].access.Open())
	l.rules("X", `{"read":[]}`, "")
	assert.JSONEq(t, `{"read":[]}`, string(get("X").AccessRules))
}

// The root's rules live in a policy, and are seen and set in both ways.
func TestSetAccessOfTheRoot(t *testing.T) {
	b := newBook(t)
	b.dir("D", "")
	info, err := b.GetAccess(ann, ptr(""))
	require.NoError(t, err)
	assert.True(t, *info.Inherit)
	*info.Inherit = false
	info, _ = b.GetAccess(ann, ptr(""))
	assert.True(t, *info.Inherit, "what is given out is a copy")

	b.rules("", `{"read":[],"write":[]}`, "")
	assert.True(t, b.Check(bob, acl.ActionWrite, "D", b.now()))
	content, err := b.GetPolicy(bob, ptr("permission_on_rootdir"), b.now())
	require.NoError(t, err)
	assert.JSONEq(t, `{"inherit_by_subdirectory":true,"rules":{"access_rules":{"read":[],"write":[]},
		"external_access":{"groups":{"sysop":{"read":{"expire":0},"write":{"expire":0},"permanently_delete":{"expire":0}}},"users":{}}}}`,
		string(content))
	b.apply(b.SetAccess(ann, SetAccess{ID: ptr(""), Inherit: ptr(false), ExternalAccess: json.RawMessage(`{}`)}, b.now()))
	content, _ = b.Policy("permission_on_rootdir")
	assert.JSONEq(t, `{"inherit_by_subdirectory":false,"rules":{"access_rules":{"read":[],"write":[]},"external_access":{}}}`,
		string(content))

	b.apply(b.SetPolicy(ann, ptr("permission_on_rootdir"), json.RawMessage(
		`{"inherit_by_subdirectory":true,"rules":{"access_rules":{"read":`+sy+`},"external_access":`+bobReads+`}}`), b.now()))
	info, _ = b.GetAccess(ann, ptr(""))
	assert.True(t, *info.Inherit)
	assert.JSONEq(t, `{"read":`+sy+`}`, string(info.AccessRules))
	assert.JSONEq(t, bobReads, string(info.ExternalAccess))
	assert.False(t, b.Check(alice, acl.ActionRead, "D", b.now()))
	assert.True(t, b.Check(bob, acl.ActionRead, "D", b.now()))
}

// Two documents of full size do not fit into one record.
func TestLargeAccess(t *testing.T) {
	b := newBook(t)
	b.file("F", "")
	rules := `{"read":[` + strings.Repeat(`{},`, 10000) + `{}]}`
	var users []string
	for i := range 1000 {
		users = append(users, fmt.Sprintf(`"user-%06d":{"read":{}}`, i))
	}
	external := `{"users":{` + strings.Join(users, ",") + `}}`
	for _, id := range []string{"F", ""} {
		facts, err := b.SetAccess(ann, SetAccess{
			ID: &id, AccessRules: json.RawMessage(rules), ExternalAccess: json.RawMessage(external),
		}, b.now())
		b.apply(facts, err)
		assert.Len(t, facts, 2)
		info, err := b.GetAccess(ann, &id)
		require.NoError(t, err)
		assert.JSONEq(t, rules, string(info.AccessRules))
		assert.JSONEq(t, external, string(info.ExternalAccess))
	}
}
