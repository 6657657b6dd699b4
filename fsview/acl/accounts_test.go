package acl

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/journal"
)

// CFMS.md §6.1, table and text.
func TestGenesis(t *testing.T) {
	b := newBook(t)
	b.apply(Genesis("v", nowU)...)
	sysop := []string{
		"change_id", "create_dir", "create_group", "create_user", "custom_new_group_members",
		"custom_new_group_settings", "custom_new_user_settings", "delete_user", "edit_other_users", "manage_access",
		"manage_policy", "permanently_delete", "recover", "set_nickname", "set_usergroups", "set_userrights",
		"shutdown", "super_access", "super_useravatar", "view_deleted", "view_others_properties", "view_others_publickey",
	}
	assert.Equal(t, append([]string{}, sysop...), b.as(AdminName).without(RightRead).sorted())
	assert.True(t, b.as(AdminName).May(RightRead), "as everybody")
	assert.Equal(t, set(GroupUser, GroupSysop), b.as(AdminName).Groups)
	u, ok := b.User(AdminName)
	require.True(t, ok)
	assert.Equal(t, User{
		Name: "admin", Nickname: "admin", Verifier: "v", NotBefore: nowU, Rights: Grants{}, Groups: Grants{"sysop": {}},
		Restricted: true, Publicity: NewAccess(given(`{"read":[]}`), given(`{}`)),
	}, u)
	assert.Equal(t, 1, b.Users())
	assert.True(t, b.Enabled(AdminName))
	assert.False(t, b.Enabled("guest"))
	_, ok = b.Subject("guest", now)
	assert.False(t, ok)
	_, ok = b.User("guest")
	assert.False(t, ok)
}

// without leaves a right out.
func (s *Subject) without(right string) Set {
	c := make(Set)
	for r := range s.Rights {
		if r != right {
			c[r] = struct{}{}
		}
	}
	return c
}

func TestEffectiveRights(t *testing.T) {
	past, future := Grant{Expire: now - 1}, Grant{Expire: now + 1}
	revoke := func(g Grant) Grant { g.Revoke = true; return g }
	type groups map[string]groupCreated
	for _, c := range []struct {
		shows          string
		groups         groups
		rights, member Grants
		want           []string
		in             Set
	}{
		{"everybody is in user", nil, nil, nil, []string{"read"}, set("user")},
		{"own rights count while valid", nil, Grants{"a": {}, "b": past, "c": future}, nil, []string{"a", "c", "read"}, set("user")},
		{"a group gives what is valid", groups{"g": {Enabled: true, Rights: Grants{"a": {}, "b": past, "c": future}}}, nil,
			Grants{"g": {}}, []string{"a", "c", "read"}, set("user", "g")},
		{"not after the membership has ended", groups{"g": {Enabled: true, Rights: Grants{"a": {}}}}, nil,
			Grants{"g": past}, []string{"read"}, set("user")},
		{"until then it does", groups{"g": {Enabled: true, Rights: Grants{"a": {}}}}, nil,
			Grants{"g": future}, []string{"a", "read"}, set("user", "g")},
		{"a disabled group gives nothing, membership counts", groups{"g": {Rights: Grants{"a": {}}}}, nil,
			Grants{"g": {}}, []string{"read"}, set("user", "g")},
		{"own revocation beats a group", groups{"g": {Enabled: true, Rights: Grants{"a": {}}}}, Grants{"a": revoke(Grant{})},
			Grants{"g": {}}, []string{"read"}, set("user", "g")},
		{"own revocation beats user's read", nil, Grants{"read": revoke(future)}, nil, []string{}, set("user")},
		{"a revocation that has ended does not", nil, Grants{"read": revoke(past)}, nil, []string{"read"}, set("user")},
		{"a group's revocation beats the own right", groups{"g": {Enabled: true, Rights: Grants{"a": revoke(Grant{})}}}, Grants{"a": {}},
			Grants{"g": {}}, []string{"read"}, set("user", "g")},
		{"one group's revocation beats another's gift", groups{
			"g": {Enabled: true, Rights: Grants{"a": revoke(Grant{}), "b": {}}}, "h": {Enabled: true, Rights: Grants{"a": {}}},
		}, nil, Grants{"g": {}, "h": {}}, []string{"b", "read"}, set("user", "g", "h")},
		{"a disabled group revokes nothing", groups{"g": {Rights: Grants{"a": revoke(Grant{})}}}, Grants{"a": {}},
			Grants{"g": {}}, []string{"a", "read"}, set("user", "g")},
		{"nor does one left", groups{"g": {Enabled: true, Rights: Grants{"a": revoke(Grant{})}}}, Grants{"a": {}},
			Grants{"g": past}, []string{"a", "read"}, set("user")},
		{"a revoked membership is none", groups{"g": {Enabled: true, Rights: Grants{"a": {}}}}, nil,
			Grants{"g": revoke(Grant{})}, []string{"read"}, set("user")},
		{"nobody leaves user", nil, nil, Grants{"user": revoke(Grant{})}, []string{"read"}, set("user")},
	} {
		t.Run(c.shows, func(t *testing.T) {
			b := newBook(t)
			b.apply(Genesis("", 1)...)
			for name, body := range c.groups {
				body.Group = name
				b.apply(fact(KindGroupCreated, body))
			}
			b.apply(
				fact(KindUserCreated, userCreated{User: "bob", Nickname: "bob"}),
				fact(KindUserRightsSet, userRightsSet{"bob", c.rights.clone()}),
				fact(KindUserGroupsSet, userGroupsSet{"bob", c.member.clone()}),
			)
			s := b.as("bob")
			assert.Equal(t, c.want, s.Rights.sorted())
			assert.Equal(t, c.in, s.Groups)
			assert.Equal(t, "bob", s.Name)
			assert.False(t, s.Main)
			p, ok := b.Properties("bob", now)
			require.True(t, ok)
			assert.Equal(t, c.want, p.Rights)
			assert.Equal(t, c.in.sorted(), p.Groups)
		})
	}
}

func TestMainIsASysopWhateverGroupsSay(t *testing.T) {
	b := newBook(t)
	s := b.Main(now)
	assert.True(t, s.Main)
	assert.Equal(t, MainName, s.Name)
	assert.True(t, s.May(RightSuper), "even before there are groups")
	assert.False(t, s.May(RightRead))
	b.apply(
		fact(KindGroupCreated, groupCreated{Group: GroupUser, Enabled: true, Rights: Grants{
			"read": {}, RightSuper: {Revoke: true},
		}}),
		fact(KindGroupCreated, groupCreated{Group: GroupSysop, Rights: grantsOf("more")}),
	)
	s = b.Main(now)
	assert.Equal(t, set(GroupUser, GroupSysop), s.Groups)
	assert.True(t, s.May(RightRead))
	assert.False(t, s.May("more"), "the group is disabled")
	for _, r := range sysopRights {
		assert.True(t, s.May(r), r)
	}
}

func TestUserIsACopy(t *testing.T) {
	b := newDaemon(t)
	text := "why"
	b.operate(with(RightEditUsers), UserOp{Action: "set_status", Username: new("alice"), Status: given("0"), Reason: &text})
	u, _ := b.User("alice")
	u.Rights["zz"], u.Groups["zz"] = Grant{}, Grant{}
	*u.StateDescription.Operator, *u.StateDescription.Reason = "zz", "zz"
	s := b.as("alice")
	s.Rights["zz"] = struct{}{}
	p, _ := b.Properties("alice", now)
	*p.Properties.StateDescription.Operator = "zz"
	assert.NotContains(t, string(b.dump()), "zz")
}

func TestGetProperties(t *testing.T) {
	b := newDaemon(t)
	get := func(who *Subject, hasData bool, name string) (p Properties, err error) {
		b.unchanged(func() { p, err = b.GetProperties(who, hasData, name, now) })
		return p, err
	}
	bob := b.as("bob")
	for _, c := range []struct {
		shows   string
		who     *Subject
		hasData bool
		name    string
		want    error
	}{
		{"no data comes first", bob, false, "alice", CodeMissing},
		{"another's without the right, unknown or not", bob, true, "nobody", CodeDenied},
		{"another's with it", with(RightViewProperties), true, "alice", nil},
		{"unknown", with(RightViewProperties), true, "nobody", CodeNotFound},
		{"oneself by name", bob, true, "bob", nil},
		{"oneself by default", bob, true, "", nil},
		{"the main token is no user", b.Main(now), true, "", CodeNotFound},
	} {
		t.Run(c.shows, func(t *testing.T) {
			_, err := get(c.who, c.hasData, c.name)
			assert.Equal(t, c.want, err)
		})
	}

	p, err := get(bob, true, "")
	require.NoError(t, err)
	raw, err := json.Marshal(p)
	require.NoError(t, err)
	assert.JSONEq(t, `{"rights":["read"],"groups":["user"],"properties":{"state":0,
		"state_description":{"time":0,"operator":null,"reason":null},"nickname":"bob","avatar":{"file_id":null},
		"publicity":{"restricted":true,"access_rules":{"read":[]},"external_access":{}}}}`, string(raw))

	b.operate(bob, UserOp{Action: "set_avatar", FileID: new("f1")})
	b.operate(b.as("admin"), UserOp{Action: "set_status", Username: new("bob"), Status: given("1"), Reason: new("gone")})
	p, err = get(bob, true, "")
	require.NoError(t, err)
	raw, err = json.Marshal(p.Properties)
	require.NoError(t, err)
	assert.JSONEq(t, `{"state":1,"state_description":{"time":1700000000.25,"operator":"admin","reason":"gone"},
		"nickname":"bob","avatar":{"file_id":"f1"},
		"publicity":{"restricted":true,"access_rules":{"read":[]},"external_access":{}}}`, string(raw))
}

var readSysop = `{"read":` + sy + `}`

func TestAvatarOf(t *testing.T) {
	b := newDaemon(t)
	b.apply(
		fact(KindUserCreated, userCreated{User: "shy", Restricted: true, AccessRules: given(readSysop)}),
		fact(KindUserAvatarSet, userAvatarSet{"shy", "f1"}),
		fact(KindUserCreated, userCreated{User: "open", AccessRules: given(readSysop)}),
		fact(KindUserCreated, userCreated{User: "friendly", Restricted: true, AccessRules: given(readSysop), ExternalAccess: given(`{"users":{"bob":{"read":{}}}}`)}),
	)
	for _, c := range []struct {
		shows   string
		who     *Subject
		name    *string
		without bool
		file    string
		want    error
	}{
		{"of nobody", b.as("bob"), nil, true, "", CodeNeedsUsername},
		{"of nobody either", b.as("bob"), new(""), true, "", CodeNeedsUsername},
		{"of somebody unknown", b.as("bob"), new("nobody"), true, "", CodeNotFound},
		{"rules refuse", b.as("bob"), new("shy"), false, "", CodeForbidden},
		{"rules allow", b.as("a2"), new("shy"), false, "f1", nil},
		{"the policy allows", b.as("bob"), new("shy"), true, "f1", nil},
		{"one's own", b.as("shy"), new("shy"), false, "f1", nil},
		{"the right to any", with(RightAnyAvatar), new("shy"), false, "f1", nil},
		{"super_access passes rules", with(RightSuper), new("shy"), false, "f1", nil},
		{"not restricted: rules do not count", b.as("bob"), new("open"), false, "", nil},
		{"external access", b.as("bob"), new("friendly"), false, "", nil},
		{"external access of somebody else", b.as("alice"), new("friendly"), false, "", CodeForbidden},
		{"as shipped everybody may", b.as("bob"), new("alice"), false, "", nil},
	} {
		t.Run(c.shows, func(t *testing.T) {
			b.unchanged(func() {
				file, err := b.AvatarOf(c.who, c.name, c.without, now)
				assert.Equal(t, c.want, err)
				assert.Equal(t, c.file, file)
			})
		})
	}
}

func TestRestoreAdmin(t *testing.T) {
	restore := func(b *book, verifier string) (facts []journal.Fact) {
		b.unchanged(func() { facts = b.RestoreAdmin(verifier, nowU) })
		b.apply(facts...)
		return facts
	}
	t.Run("nothing to do", func(t *testing.T) {
		b := newDaemon(t)
		assert.Nil(t, restore(b, ""))
	})
	t.Run("another password", func(t *testing.T) {
		b := newDaemon(t)
		assert.Len(t, restore(b, "new"), 1)
		u, _ := b.User(AdminName)
		assert.Equal(t, "new", u.Verifier)
		assert.Equal(t, int64(nowU+1), u.NotBefore, "tokens are void")
		assert.Nil(t, restore(b, ""))
	})
	t.Run("deleted", func(t *testing.T) {
		b := newDaemon(t)
		b.operate(b.Main(now), UserOp{Action: "delete", Username: new(AdminName)})
		restore(b, "new")
		u, _ := b.User(AdminName)
		assert.Equal(t, "new", u.Verifier)
		assert.Equal(t, int64(nowU+1), u.NotBefore)
		assert.True(t, b.as(AdminName).May(RightSuper))
		assert.Nil(t, restore(b, ""))
	})
	t.Run("disabled, out of sysop, rights taken away", func(t *testing.T) {
		b := newDaemon(t)
		b.group("prison", `{"super_access":{"revoke":true}}`, true)
		who := b.Main(now)
		b.operate(who, UserOp{Action: "set_status", Username: new(AdminName), Status: given("1")})
		b.operate(who, UserOp{Action: "set_groups", Username: new(AdminName), NewGroups: given(`["prison","g"]`)})
		b.operate(who, UserOp{Action: "set_rights", Username: new(AdminName), NewRights: given(`{"shutdown":{"revoke":true},"x":0,"y":{"revoke":true}}`)})
		before, _ := b.User(AdminName)
		assert.Len(t, restore(b, ""), 3)
		u, _ := b.User(AdminName)
		assert.Equal(t, "admin's", u.Verifier, "kept")
		assert.Equal(t, before.NotBefore, u.NotBefore)
		assert.True(t, b.Enabled(AdminName))
		assert.Equal(t, Grants{"sysop": {}, "g": {}}, u.Groups)
		assert.Equal(t, Grants{"x": {}, "y": {Revoke: true}}, u.Rights)
		assert.Equal(t, StateDescription{Time: now}, u.StateDescription)
		for _, r := range sysopRights {
			assert.True(t, b.as(AdminName).May(r), r)
		}
		assert.Nil(t, restore(b, ""))
	})
	t.Run("a membership that ends", func(t *testing.T) {
		b := newDaemon(t)
		b.operate(b.Main(now), UserOp{Action: "set_groups", Username: new(AdminName), NewGroups: given(`{"sysop":1800000000}`)})
		assert.Len(t, restore(b, ""), 1)
		u, _ := b.User(AdminName)
		assert.Equal(t, Grants{"sysop": {}}, u.Groups)
	})
}
