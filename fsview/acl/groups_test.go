package acl

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/journal"
)

func TestCreateGroupRefuses(t *testing.T) {
	b := newDaemon(t)
	plain, long := with(RightCreateGroup), strings.Repeat("ü", 33)
	settings := with(RightCreateGroup, RightNewGroupSettings)
	for _, c := range []struct {
		shows                    string
		who                      *Subject
		name                     *string
		rights, enabled, members string
		want                     error
	}{
		{"members are no list of names, before all else", with(), nil, "", "", `["bob",5]`, CodeArguments},
		{"members are an object", with(), new("x"), "", "", `{"bob":{}}`, CodeArguments},
		{"no name", with(), nil, "", "2", "", CodeMissing},
		{"an empty name", with(), new(""), "", "2", "", CodeMissing},
		{"a name too long, before rights", with(), &long, "", "2", "", CodeGroupLong},
		{"a control character", with(), new("a\u007f"), "", "2", "", CodeName},
		{"not allowed, before it is known to exist", with(RightNewGroupSettings, RightNewGroupMembers), new("g"), "", "2", "", CodeDenied},
		{"exists, before what was given", plain, new("g"), "", "2", "", CodeGroupExists},
		{"rights given, though none", plain, new("x"), "{}", "", "", CodeDenied},
		{"enabled given", plain, new("x"), "", "1", "", CodeDenied},
		{"members given, though none", settings, new("x"), "", "2", "[]", CodeDenied},
		{"settings do not come with members", with(RightCreateGroup, RightNewGroupMembers), new("x"), "{}", "", "[]", CodeDenied},
		{"enabled is 2, before rights", settings, new("x"), "5", "2", "", CodeGroupEnabled},
		{"enabled is text", settings, new("x"), "5", `"1"`, "", CodeGroupEnabled},
		{"enabled is a flag", settings, new("x"), "5", `true`, "", CodeGroupEnabled},
		{"bad rights", settings, new("x"), "5", "1", "", CodeStructure},
	} {
		t.Run(c.shows, func(t *testing.T) {
			b.unchanged(func() {
				facts, failed, err := b.CreateGroup(c.who, NewGroup{
					Name: c.name, Rights: given(c.rights), Enabled: given(c.enabled), Members: given(c.members),
				}, GroupDefaults{}, now)
				assert.Equal(t, c.want, err)
				assert.Nil(t, facts)
				assert.Nil(t, failed)
			})
		})
	}
}

func TestCreateGroup(t *testing.T) {
	defaults := GroupDefaults{Rights: Grants{"d": {}}, Enabled: true, Members: []string{"bob", "nobody"}}
	all := with(RightCreateGroup, RightNewGroupSettings, RightNewGroupMembers)
	for _, c := range []struct {
		shows                    string
		who                      *Subject
		rights, enabled, members string
		want                     group
		failed, in               []string
	}{
		{"defaults, without members that are nobody", with(RightCreateGroup), "", "", "", group{true, Grants{"d": {}}}, []string{}, []string{"bob"}},
		{"null is nothing given", with(RightCreateGroup), "null", "null", "null", group{true, Grants{"d": {}}}, []string{}, []string{"bob"}},
		{"all given", all, `{"permanently_delete":{"expire":0}}`, "0", `["admin"]`, group{false, Grants{"permanently_delete": {}}}, []string{}, []string{"admin"}},
		{"given, though nothing", all, `[]`, "1", `[]`, group{true, Grants{}}, []string{}, nil},
		{"unknown members fail, each once, in order", all, "", "", `["z","bob","main","bob","z","alice",""]`, group{true, Grants{"d": {}}}, []string{"z", "main", ""}, []string{"bob", "alice"}},
	} {
		t.Run(c.shows, func(t *testing.T) {
			b := newDaemon(t)
			var facts []journal.Fact
			var failed []string
			var err error
			b.unchanged(func() {
				facts, failed, err = b.CreateGroup(c.who, NewGroup{
					Name: new("new"), Rights: given(c.rights), Enabled: given(c.enabled), Members: given(c.members),
				}, defaults, now)
			})
			require.NoError(t, err)
			assert.Equal(t, c.failed, failed)
			require.Len(t, facts, 1)
			b.apply(facts...)
			assert.Equal(t, c.want, *b.groups["new"])
			for _, name := range []string{"admin", "bob", "alice", "a2"} {
				u, _ := b.User(name)
				_, member := u.Groups["new"]
				assert.Equal(t, slices.Contains(c.in, name), member, name)
			}
		})
	}
}

// Members that do not fit into the fact follow in facts of their own.
func TestCreateGroupWithManyMembers(t *testing.T) {
	b := newDaemon(t)
	var names []string
	for i := range 600 {
		name := fmt.Sprintf("%032d", i)
		names = append(names, name)
		b.apply(fact(KindUserCreated, userCreated{User: name}))
	}
	b.apply(fact(KindUserGroupsSet, userGroupsSet{names[599], Grants{"g": {Expire: 5}}}))
	list, err := json.Marshal(names)
	require.NoError(t, err)
	facts, failed, err := b.CreateGroup(b.Main(now), NewGroup{Name: new("crowd"), Members: list}, GroupDefaults{}, now)
	require.NoError(t, err)
	assert.Empty(t, failed)
	assert.Greater(t, len(facts), 100)
	b.apply(facts...)
	for _, name := range names {
		assert.True(t, b.as(name).Groups.Has("crowd"), name)
	}
	u, _ := b.User(names[599])
	assert.Equal(t, Grants{"g": {Expire: 5}, "crowd": {}}, u.Groups, "what it was in before, it still is")
}

func TestNobodyIsInTooManyGroups(t *testing.T) {
	b := newDaemon(t)
	for i := range maxGrants {
		b.group(fmt.Sprint("g", i), ``, true, "bob")
	}
	_, failed, err := b.CreateGroup(b.Main(now), NewGroup{Name: new("last"), Members: given(`["bob","alice"]`)}, GroupDefaults{}, now)
	require.NoError(t, err)
	assert.Equal(t, []string{"bob"}, failed)
}

func TestParseGroupDefaults(t *testing.T) {
	for shows, c := range map[string]struct {
		content string
		want    GroupDefaults
	}{
		"no policy":  {``, GroupDefaults{Grants{}, true, nil}},
		"as shipped": {`{"default_rights":{},"default_enabled":1,"default_members":[]}`, GroupDefaults{Grants{}, true, []string{}}},
		"all set":    {`{"default_rights":["a"],"default_enabled":0,"default_members":["bob"]}`, GroupDefaults{Grants{"a": {}}, false, []string{"bob"}}},
		"malformed":  {`{"default_rights":5,"default_enabled":2,"default_members":[5]}`, GroupDefaults{Grants{}, true, nil}},
	} {
		assert.Equal(t, c.want, ParseGroupDefaults(given(c.content)), shows)
	}
}
