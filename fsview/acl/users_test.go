package acl

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/journal"
)

func TestCreateUserRefuses(t *testing.T) {
	b := newDaemon(t)
	long, plain := strings.Repeat("ü", 33), with(RightCreateUser)
	for _, c := range []struct {
		shows                        string
		who                          *Subject
		username, password, nickname *string
		rights, groups               string
		want                         error
	}{
		{"no username", with(), nil, new("p"), new(strings.Repeat("n", 65)), "", "", CodeMissing},
		{"an empty username", with(), new(""), new("p"), nil, "", "", CodeMissing},
		{"no password, before the name is looked at", with(), &long, nil, nil, "", "", CodeMissing},
		{"an empty password", with(), &long, new(""), nil, "", "", CodeMissing},
		{"a name too long, before the nickname", with(), &long, new("p"), new(strings.Repeat("n", 65)), "", "", CodeUsernameLong},
		{"a control character", with(), new("a\tb"), new("p"), new(strings.Repeat("n", 65)), "", "", CodeName},
		{"not UTF-8", with(), new("a\xff"), new("p"), nil, "", "", CodeName},
		{"a nickname too long, before rights", with(), new("bob"), new("p"), new(strings.Repeat("ñ", 65)), "", "", CodeNicknameLong},
		{"a password too long, before rights", with(), new("bob"), new(strings.Repeat("p", 1025)), nil, "", "", CodeArguments},
		{"not allowed, before it is known to exist", with(RightNewUserSettings), new("bob"), new("p"), nil, "[]", "", CodeDenied},
		{"exists, before what was given", plain, new("bob"), new("p"), nil, "[]", "", CodeUserExists},
		{"nobody is called main", plain, new("main"), new("p"), nil, "", "", CodeUserExists},
		{"rights given, though none", plain, new("new"), new("p"), nil, "[]", "", CodeDenied},
		{"groups given, though malformed", plain, new("new"), new("p"), nil, "", "5", CodeDenied},
		{"bad rights", with(RightCreateUser, RightNewUserSettings), new("new"), new("p"), nil, `"x"`, "", CodeStructure},
		{"a right too long", with(RightCreateUser, RightNewUserSettings), new("new"), new("p"), nil, `["` + strings.Repeat("r", 65) + `"]`, "", CodeStructure},
		{"bad groups", with(RightCreateUser, RightNewUserSettings), new("new"), new("p"), nil, "", `{"g":"x"}`, CodeStructure},
		{"an unknown group", with(RightCreateUser, RightNewUserSettings), new("new"), new("p"), nil, "", `["g","nowhere"]`, CodeStructure},
	} {
		t.Run(c.shows, func(t *testing.T) {
			b.unchanged(func() {
				facts, err := b.CreateUser(c.who, NewUser{
					Username: c.username, Password: c.password, Nickname: c.nickname,
					Rights: given(c.rights), Groups: given(c.groups),
				}, nowU)
				assert.Equal(t, c.want, err)
				assert.Nil(t, facts)
			})
		})
	}
}

func TestCreateUser(t *testing.T) {
	defaults := UserDefaults{
		Rights: Grants{"d": {Expire: 5}}, Groups: Grants{"g": {}, "nowhere": {}},
		Restricted: true, AccessRules: given(`{"read":[]}`), ExternalAccess: given(`{"users":{}}`),
	}
	for _, c := range []struct {
		shows          string
		who            *Subject
		nickname       *string
		rights, groups string
		wantNick       string
		wantR, wantG   Grants
		facts          int
	}{
		{"defaults, without groups that do not exist", with(RightCreateUser), nil, "", "", "new", defaults.Rights, Grants{"g": {}}, 3},
		{"null is nothing given", with(RightCreateUser), nil, "null", "null", "new", defaults.Rights, Grants{"g": {}}, 3},
		{"a nickname", with(RightCreateUser), new(strings.Repeat("ñ", 64)), "", "", strings.Repeat("ñ", 64), defaults.Rights, Grants{"g": {}}, 3},
		{"an empty nickname is the name", with(RightCreateUser), new(""), "", "", "new", defaults.Rights, Grants{"g": {}}, 3},
		{"given, though nothing", with(RightCreateUser, RightNewUserSettings), nil, "[]", "{}", "new", Grants{}, Grants{}, 1},
		{"only rights given", with(RightCreateUser, RightNewUserSettings), nil, `{"x":{"revoke":true}}`, "", "new", Grants{"x": {Revoke: true}}, Grants{"g": {}}, 3},
		{"only groups given", with(RightCreateUser, RightNewUserSettings), nil, "", `{"sysop":9}`, "new", defaults.Rights, Grants{"sysop": {Expire: 9}}, 3},
	} {
		t.Run(c.shows, func(t *testing.T) {
			b := newDaemon(t)
			n := NewUser{
				Username: new("new"), Password: new(strings.Repeat("p", 1024)), Nickname: c.nickname,
				Rights: given(c.rights), Groups: given(c.groups), Defaults: defaults, Verifier: "v",
			}
			var facts []journal.Fact
			var err error
			b.unchanged(func() { facts, err = b.CreateUser(c.who, n, nowU) })
			require.NoError(t, err)
			assert.Len(t, facts, c.facts)
			b.apply(facts...)
			u, ok := b.User("new")
			require.True(t, ok)
			assert.Equal(t, User{
				Name: "new", Nickname: c.wantNick, Verifier: "v", NotBefore: nowU + 1, Rights: c.wantR, Groups: c.wantG,
				Restricted: true, Publicity: NewAccess(defaults.AccessRules, defaults.ExternalAccess),
			}, u)
			for _, f := range facts {
				assert.NotContains(t, string(f.Body), "ppp", "never a typed password")
			}
		})
	}
}

// What a policy says of new users beside grants, and who chose a nickname.
func TestCreateUserWithProperties(t *testing.T) {
	for _, c := range []struct {
		shows    string
		nickname *string
		want     string
	}{
		{"no nickname given", nil, "default"},
		{"one given", new("own"), "own"},
		{"an empty one given", new(""), "new"},
	} {
		t.Run(c.shows, func(t *testing.T) {
			b := newDaemon(t)
			d := shippedUserDefaults()
			d.Nickname, d.Avatar = "default", "f"
			d.State, d.StateDescription = StateDisabled, StateDescription{7, new("admin"), new("to be let in")}
			facts, err := b.CreateUser(with(RightCreateUser), NewUser{
				Username: new("new"), Password: new("p"), Nickname: c.nickname, Defaults: d, Verifier: "v",
			}, nowU)
			require.NoError(t, err)
			b.apply(facts...)
			u, ok := b.User("new")
			require.True(t, ok)
			assert.Equal(t, User{
				Name: "new", Nickname: c.want, State: StateDisabled, StateDescription: d.StateDescription,
				Verifier: "v", NotBefore: nowU + 1, Rights: Grants{}, Groups: Grants{}, Avatar: "f",
				Restricted: true, Publicity: NewAccess(d.AccessRules, d.ExternalAccess),
			}, u)
			assert.False(t, b.Accepts(Claims{Subject: "new", Issued: nowU + 1}, "new"))
		})
	}
}

func TestParseUserDefaults(t *testing.T) {
	shipped := UserDefaults{Rights: Grants{}, Groups: Grants{}, Restricted: true, AccessRules: given(`{"read":[]}`), ExternalAccess: given(`{}`)}
	for _, c := range []struct {
		shows, content string
		want           func(d *UserDefaults)
	}{
		{"no policy", ``, nil},
		{"not an object", `[]`, nil},
		{"as shipped", `{"default_new_user_groups":{},"default_new_user_rights":{},"default_new_user_properties":{"state":0,"publicity":{"restricted":true,"access_rules":{"read":[]},"external_access":{}}},"sleep_when_login_fail":3}`, nil},
		{"all set", `{"default_new_user_groups":["g"],"default_new_user_rights":{"r":5},"default_new_user_properties":{"state":1,"state_description":{"time":7,"operator":"o","reason":"r"},"nickname":"n","avatar":{"file_id":"f"},"publicity":{"restricted":false,"access_rules":{},"external_access":{"users":{}}}}}`, func(d *UserDefaults) {
			*d = UserDefaults{
				Rights: Grants{"r": {Expire: 5}}, Groups: Grants{"g": {}}, Nickname: "n", Avatar: "f",
				State: StateDisabled, StateDescription: StateDescription{7, new("o"), new("r")},
				AccessRules: given(`{}`), ExternalAccess: given(`{"users":{}}`),
			}
		}},
		{"bad properties", `{"default_new_user_properties":{"state":2,"state_description":{"time":"x","operator":5,"reason":[]},"nickname":"` + strings.Repeat("n", 65) + `","avatar":{"file_id":"` + strings.Repeat("f", 65) + `"}}}`, nil},
		{"properties of no shape", `{"default_new_user_properties":{"state_description":5,"avatar":"f"}}`, nil},
		{"bad grants", `{"default_new_user_groups":5,"default_new_user_rights":["r"]}`, func(d *UserDefaults) { d.Rights = Grants{"r": {}} }},
		{"bad parts of publicity", `{"default_new_user_properties":{"publicity":{"restricted":0,"access_rules":{"read":5},"external_access":7}}}`, func(d *UserDefaults) { d.Restricted = false }},
		{"nulls", `{"default_new_user_groups":null,"default_new_user_properties":{"publicity":{"restricted":null,"access_rules":null,"external_access":null}}}`, nil},
		{"rules too long for a fact", `{"default_new_user_properties":{"publicity":{"access_rules":{"read":[` + strings.Repeat("{},", 12000) + `{}]}}}}`, nil},
	} {
		t.Run(c.shows, func(t *testing.T) {
			want := shipped
			if c.want != nil {
				c.want(&want)
			}
			assert.Equal(t, want, ParseUserDefaults(given(c.content)))
		})
	}
}

// The largest of what is let in fits into records.
func TestTheLargestUserFits(t *testing.T) {
	b := newDaemon(t)
	grants := func(n int, name func(i int) string) string {
		m := make(map[string]Grant)
		for i := range n {
			m[name(i)] = Grant{Expire: 1700000000.25, Revoke: true}
		}
		raw, err := json.Marshal(m)
		require.NoError(t, err)
		return string(raw)
	}
	rights := grants(150, func(i int) string {
		return strings.Repeat("\u2028", 38) + string(rune('a'+i/26)) + string(rune('a'+i%26))
	})
	for len(given(rights)) > maxGrantBytes {
		t.Fatal("the test asks for too much")
	}
	rules := `{"read":[` + strings.Repeat("{},", 10000) + `{}]}`
	name := strings.Repeat("\u2028", 32)
	facts, err := b.CreateUser(b.Main(now), NewUser{
		Username: &name, Password: new("p"), Nickname: new(strings.Repeat("\x01", 64)), Rights: given(rights),
		Defaults: UserDefaults{AccessRules: given(rules)}, Verifier: Passwords{}.Dummy(),
	}, nowU)
	require.NoError(t, err)
	b.apply(facts...)
}
