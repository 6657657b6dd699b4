package acl

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/journal"
)

// Every body is written as it was first. If this fails, change the code.
func TestPinnedBodies(t *testing.T) {
	for _, c := range []struct {
		kind string
		into any
		body string
	}{
		{"user.created", new(userCreated), `{"user":"bob","nickname":"Bob <b>","verifier":"argon2id$v=19$m=19456,t=2,p=1$AAECAwQFBgcICQoLDA0ODw$MhLJVJKvdJ1gd9TcMC5M1PtlFRITjejSfL1MXMO0LM8","not_before":1700000000250001,"restricted":true,"access_rules":{"read":[]},"external_access":{}}`},
		{"user.created", new(userCreated), `{"user":"bob","nickname":"bob","not_before":0}`},
		{"user.password_set", new(userPasswordSet), `{"user":"bob","verifier":"argon2id$x","not_before":1700000000250001}`},
		{"user.groups_set", new(userGroupsSet), `{"user":"bob","groups":{"g":{"expire":1800000000.5},"sysop":{}}}`},
		{"user.rights_set", new(userRightsSet), `{"user":"bob","rights":{"read":{"revoke":true},"x":{"expire":1800000000}}}`},
		{"user.rights_set", new(userRightsSet), `{"user":"bob","rights":{}}`},
		{"user.nickname_set", new(userNicknameSet), `{"user":"bob","nickname":"Bobby"}`},
		{"user.status_set", new(userStatusSet), `{"user":"bob","state":1,"time":1700000000.25,"operator":"admin","reason":"why","not_before":1700000000250001}`},
		{"user.status_set", new(userStatusSet), `{"user":"bob","state":0,"time":1700000000}`},
		{"user.publickey_set", new(userPublicKeySet), `{"user":"bob","publickey":"-----BEGIN PUBLIC KEY-----\n"}`},
		{"user.avatar_set", new(userAvatarSet), `{"user":"bob","file_id":"C00001"}`},
		{"user.avatar_set", new(userAvatarSet), `{"user":"bob"}`},
		{"user.deleted", new(userDeleted), `{"user":"bob"}`},
		{"group.created", new(groupCreated), `{"group":"g","enabled":true,"rights":{"x":{}},"members":["bob"]}`},
		{"group.created", new(groupCreated), `{"group":"g","enabled":false}`},
	} {
		t.Run(c.kind, func(t *testing.T) {
			require.NoError(t, json.Unmarshal([]byte(c.body), c.into))
			f := fact(c.kind, c.into)
			assert.Equal(t, c.body, string(f.Body))

			// And applied, to accounts where it can follow.
			a := NewAccounts()
			if c.kind != KindUserCreated {
				a.users["bob"] = &User{Name: "bob", Rights: Grants{}, Groups: Grants{}, Publicity: NewAccess(nil, nil)}
			}
			if c.kind == KindUserGroupsSet {
				a.groups["g"], a.groups["sysop"] = &group{}, &group{}
			}
			assert.NoError(t, a.Apply(&journal.Entry{Kind: c.kind, Body: f.Body}))
		})
	}
}

func TestDumpIsCanonical(t *testing.T) {
	b := newBook(t)
	assert.Equal(t, `{"users":{},"groups":{}}`, string(b.dump()))
	b.apply(
		fact(KindUserCreated, userCreated{User: "zoe", Nickname: "Z", Verifier: "v", NotBefore: 5, Restricted: true, AccessRules: given(`{"read":[]}`)}),
		fact(KindUserCreated, userCreated{User: "ann", Nickname: "A"}),
		fact(KindGroupCreated, groupCreated{Group: "g", Enabled: true, Rights: Grants{"y": {}, "x": {Expire: 1.5}}, Members: []string{"zoe"}}),
		fact(KindUserStatusSet, userStatusSet{User: "ann", State: 1, Time: 1.5, Operator: new("op"), NotBefore: 7}),
		fact(KindUserPublicKeySet, userPublicKeySet{"ann", "k"}),
		fact(KindUserAvatarSet, userAvatarSet{"ann", "f"}),
	)
	assert.Equal(t, `{"users":{`+
		`"ann":{"nickname":"A","state":1,"state_description":{"time":1.5,"operator":"op","reason":null},"verifier":"","not_before":7,"rights":{},"groups":{},"publickey":"k","file_id":"f","restricted":false,"access_rules":{},"external_access":{}},`+
		`"zoe":{"nickname":"Z","state":0,"state_description":{"time":0,"operator":null,"reason":null},"verifier":"v","not_before":5,"rights":{},"groups":{"g":{}},"restricted":true,"access_rules":{"read":[]},"external_access":{}}},`+
		`"groups":{"g":{"enabled":true,"rights":{"x":{"expire":1.5},"y":{}}}}}`, string(b.dump()))
}

// No journal of ours has these: they must not be passed over.
func TestApplyRefuses(t *testing.T) {
	b := newDaemon(t)
	before := b.dump()
	for _, c := range []struct {
		shows, kind, body string
		want              error
	}{
		{"unknown kind", "user.teleported", `{"user":"bob"}`, nil},
		{"another family", "node.created", `{"user":"bob"}`, nil},
		{"user created twice", KindUserCreated, `{"user":"bob"}`, errExists},
		{"user without a name", KindUserCreated, `{}`, errNoName},
		{"group created twice", KindGroupCreated, `{"group":"g"}`, errExists},
		{"group without a name", KindGroupCreated, `{}`, errNoName},
		{"group of somebody unknown", KindGroupCreated, `{"group":"new","members":["bob","nobody"]}`, errUnknown},
		{"password of somebody unknown", KindUserPasswordSet, `{"user":"nobody"}`, errUnknown},
		{"groups that are unknown", KindUserGroupsSet, `{"user":"bob","groups":{"g":{},"nowhere":{}}}`, errUnknown},
		{"deleted without a name", KindUserDeleted, `{}`, errUnknown},
		{"wrong type", KindUserCreated, `{"user":5}`, nil},
		{"wrong type of a member", KindUserRightsSet, `{"user":"bob","rights":[]}`, nil},
		{"wrong type of a group", KindGroupCreated, `{"group":5}`, nil},
	} {
		t.Run(c.shows, func(t *testing.T) {
			err := b.Apply(&journal.Entry{Kind: c.kind, Body: []byte(c.body)})
			require.Error(t, err)
			if c.want != nil {
				assert.ErrorIs(t, err, c.want)
			}
			assert.Equal(t, string(before), string(b.dump()))
		})
	}
}

// Random histories: what is decided can be applied, deciding changes nothing,
// whoever is not let in changes nothing, and a second fold of the same lines
// is the same state (newBook checks that).
func TestRandomHistories(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 2))
			pick := func(from ...string) string { return from[rng.IntN(len(from))] }
			b := newDaemon(t)
			at := time.UnixMicro(nowU)
			marks := make(map[string]int64)
			for range 150 {
				if rng.IntN(4) > 0 {
					at = at.Add(time.Duration(rng.IntN(2_000_000)) * time.Microsecond)
				}
				sec, micro := Seconds(at), at.UnixMicro()
				name := pick("admin", "bob", "alice", "a2", "u1", "u2", "u3", "main", "")
				who := b.Main(sec)
				if s, ok := b.Subject(pick("admin", "bob", "u1", "u2"), sec); ok && rng.IntN(3) > 0 {
					who = s
				}
				grants := given(pick(``, `{}`, `["read"]`, `["g","sysop"]`, `{"g":{"expire":1700000050}}`,
					`{"edit_other_users":0,"create_user":1700000060}`, `{"super_access":{"revoke":true}}`, `5`, `["h"]`))
				var facts []journal.Fact
				var err error
				b.unchanged(func() {
					switch rng.IntN(8) {
					case 0:
						facts, err = b.CreateUser(who, NewUser{
							Username: &name, Password: new("p"), Rights: grants, Groups: given(pick(``, `[]`, `["g"]`, `["h"]`)),
							Defaults: shippedUserDefaults(), Verifier: "v" + name,
						}, micro)
					case 1:
						facts, _, err = b.CreateGroup(who, NewGroup{
							Name: new(pick("g", "h", "i")), Rights: grants, Enabled: given(pick(``, `0`, `1`)), Members: given(pick(``, `["bob","u1","zz"]`)),
						}, GroupDefaults{}, sec)
					case 2:
						if rng.IntN(10) == 0 {
							facts = b.RestoreAdmin(pick("", "new"), micro)
						}
					default:
						var out UserOutcome
						out, err = b.OperateUser(who, UserOp{
							Action: pick("passwd", "set_groups", "set_rights", "set_nickname", "set_status", "delete",
								"set_username", "set_publickey", "get_publickey", "set_avatar", "fly"),
							Username: &name, NewPwd: new("p"), Nickname: new(pick("", "nick")), PublicKey: new(rsa1024),
							FileID: new(pick("", "f")), NewGroups: grants, NewRights: grants, Status: given(pick(`0`, `1`, `2`)), Verifier: "w",
						}, sec, micro)
						facts = out.Facts
					}
				})
				if err != nil {
					var code Code
					require.ErrorAs(t, err, &code)
					require.Empty(t, facts)
				}
				b.apply(facts...)
				for _, f := range facts {
					var body struct{ User string }
					require.NoError(t, json.Unmarshal(f.Body, &body))
					u, ok := b.User(body.User)
					if ok && (f.Kind == KindUserCreated || f.Kind == KindUserPasswordSet) {
						require.Greater(t, u.NotBefore, marks[body.User], "each mark voids what was issued at the last")
						marks[body.User] = u.NotBefore
					}
				}
				if _, ok := b.User("main"); ok {
					t.Fatal("nobody is called main")
				}
			}
		})
	}
}
