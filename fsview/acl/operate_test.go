package acl

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	rsa1024 = `-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDuBqbxs3JvGaV1vlJ+BPF8IkxO
/5v3xfp03v+9kWJOi/6DV9K02Xpsl5nYW8/H450O0Tgrk0uMgsbjz7IaTJ626NJF
2RndF9FuYoIzm+aW6uIeumSIdFI3BL7ukGJMYDlpF5nYTy1RigSDzBLGYl3kMLjX
5zLWDV6UUzcLB+SK5QIDAQAB
-----END PUBLIC KEY-----
`
	rsa512 = `-----BEGIN PUBLIC KEY-----
MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAMcGLNTF7JrOD/9VtKxgUSSYbbmKTu0/
3XmzL7av4Q2Pn9UapoFxQqZXSISwBR/WWgyZ9Jv9lEn3WIeacAC44zcCAwEAAQ==
-----END PUBLIC KEY-----
`
)

// Every row of CFMS.md §5.4 that refuses, in the order of its checks.
func TestOperateUserRefuses(t *testing.T) {
	b := newDaemon(t)
	errAvatar := errors.New("cannot be read")
	edit := with(RightEditUsers)
	bob := b.as("bob")
	for _, c := range []struct {
		shows string
		who   *Subject
		op    UserOp
		want  error
	}{
		{"no action", bob, UserOp{Username: new("")}, CodeMissing},
		{"an empty username", bob, UserOp{Action: "steal", Username: new("")}, CodeNeedUsername},
		{"somebody else, unknown, unknown action", bob, UserOp{Action: "steal", Username: new("nobody")}, CodeDenied},
		{"somebody else's get_publickey needs no edit_other_users", bob, UserOp{Action: "get_publickey", Username: new("nobody")}, CodeNoUser},
		{"unknown, before the action", edit, UserOp{Action: "steal", Username: new("nobody")}, CodeNoUser},
		{"the main token is no user", b.Main(now), UserOp{Action: "set_nickname", Nickname: new("x")}, CodeNoUser},
		{"an unknown action", edit, UserOp{Action: "steal", Username: new("bob")}, CodeBadRequest},
		{"an unknown action on oneself", bob, UserOp{Action: "Passwd"}, CodeBadRequest},

		{"passwd without a password", bob, UserOp{Action: "passwd"}, CodeMissing},
		{"passwd with an empty one", bob, UserOp{Action: "passwd", NewPwd: new("")}, CodeMissing},
		{"passwd too long", bob, UserOp{Action: "passwd", NewPwd: new(strings.Repeat("ä", 1025))}, CodeArguments},

		{"set_groups of oneself needs the right", bob, UserOp{Action: "set_groups"}, CodeDenied},
		{"edit_other_users is not set_usergroups", edit, UserOp{Action: "set_groups", Username: new("bob")}, CodeDenied},
		{"set_usergroups is not edit_other_users", with(RightSetGroups), UserOp{Action: "set_groups", Username: new("bob")}, CodeDenied},
		{"set_groups without groups", with(RightEditUsers, RightSetGroups), UserOp{Action: "set_groups", Username: new("bob")}, CodeMissing},
		{"set_groups null", with(RightEditUsers, RightSetGroups), UserOp{Action: "set_groups", Username: new("bob"), NewGroups: given("null")}, CodeMissing},
		{"set_groups malformed", with(RightEditUsers, RightSetGroups), UserOp{Action: "set_groups", Username: new("bob"), NewGroups: given("5")}, CodeStructure},
		{"set_groups unknown", with(RightEditUsers, RightSetGroups), UserOp{Action: "set_groups", Username: new("bob"), NewGroups: given(`["nowhere"]`)}, CodeStructure},

		{"set_rights of oneself needs the right", bob, UserOp{Action: "set_rights", NewRights: given("[]")}, CodeDenied},
		{"set_rights without rights", with(RightEditUsers, RightSetRights), UserOp{Action: "set_rights", Username: new("bob")}, CodeMissing},
		{"set_rights malformed", with(RightEditUsers, RightSetRights), UserOp{Action: "set_rights", Username: new("bob"), NewRights: given(`{"x":"y"}`)}, CodeStructure},

		{"set_nickname needs the right", bob, UserOp{Action: "set_nickname", Nickname: new("b")}, CodeDenied},
		{"set_nickname without one", with(RightEditUsers, RightSetNickname), UserOp{Action: "set_nickname", Username: new("bob")}, CodeMissing},
		{"set_nickname too long", with(RightEditUsers, RightSetNickname), UserOp{Action: "set_nickname", Username: new("bob"), Nickname: new(strings.Repeat("n", 65))}, CodeNicknameLong},

		{"set_status of oneself without the right", bob, UserOp{Action: "set_status", Status: given("1")}, CodeDenied},
		{"set_status of oneself", b.as("admin"), UserOp{Action: "set_status"}, CodeNotAllowed},
		{"set_status without status", edit, UserOp{Action: "set_status", Username: new("bob")}, CodeMissing},
		{"set_status 2", edit, UserOp{Action: "set_status", Username: new("bob"), Status: given("2")}, CodeBadRequest},
		{"set_status 0.5", edit, UserOp{Action: "set_status", Username: new("bob"), Status: given("0.5")}, CodeBadRequest},
		{"set_status as text", edit, UserOp{Action: "set_status", Username: new("bob"), Status: given(`"1"`)}, CodeBadRequest},
		{"set_status as a flag", edit, UserOp{Action: "set_status", Username: new("bob"), Status: given(`true`)}, CodeBadRequest},
		{"set_status for a long reason", edit, UserOp{Action: "set_status", Username: new("bob"), Status: given("1"), Reason: new(strings.Repeat("r", 1025))}, CodeArguments},

		{"delete without the right", edit, UserOp{Action: "delete", Username: new("bob")}, CodeDenied},
		{"delete oneself without the right", bob, UserOp{Action: "delete"}, CodeDenied},
		{"delete oneself", b.as("admin"), UserOp{Action: "delete"}, CodeSelfDelete},

		{"set_username", b.as("admin"), UserOp{Action: "set_username"}, CodeNotAllowed},
		{"set_username of another", b.as("admin"), UserOp{Action: "set_username", Username: new("bob")}, CodeNotAllowed},

		{"set_publickey without one", bob, UserOp{Action: "set_publickey"}, CodeMissing},
		{"set_publickey with an empty one", bob, UserOp{Action: "set_publickey", PublicKey: new("")}, CodeMissing},
		{"set_publickey with a bad one", bob, UserOp{Action: "set_publickey", PublicKey: new("x")}, CodePublicKey},

		{"get_publickey of another without the right", edit, UserOp{Action: "get_publickey", Username: new("bob")}, CodeDenied},
		{"get_publickey of one who has none", with(RightViewPublicKey), UserOp{Action: "get_publickey", Username: new("bob")}, CodeNoPublicKey},
		{"get_publickey of oneself, none", bob, UserOp{Action: "get_publickey"}, CodeNoPublicKey},

		{"set_avatar without a file", bob, UserOp{Action: "set_avatar"}, CodeMissing},
		{"set_avatar to what no id can be", bob, UserOp{Action: "set_avatar", FileID: new(strings.Repeat("f", 65))}, CodeNotFound},
		{"set_avatar to a file that may not be read", bob, UserOp{Action: "set_avatar", FileID: new("f"), AvatarCheck: func(id string) error {
			assert.Equal(t, "f", id)
			return errAvatar
		}}, errAvatar},
	} {
		t.Run(c.shows, func(t *testing.T) {
			b.unchanged(func() {
				out, err := b.OperateUser(c.who, c.op, now, nowU)
				assert.Equal(t, c.want, err)
				assert.Zero(t, out)
			})
		})
	}
}

func TestOperateUser(t *testing.T) {
	both := func(right string) *Subject { return with(RightEditUsers, right) }
	changes := func(f func(u *User)) func(User) User {
		return func(u User) User { f(&u); return u }
	}
	for _, c := range []struct {
		shows string
		who   *Subject // nil: bob himself
		op    UserOp
		want  UserOutcome
		then  func(u User) User
	}{
		{"one's own password", nil, UserOp{Action: "passwd", NewPwd: new("secret"), Verifier: "v2"},
			UserOutcome{User: "bob", Self: true, NewMark: nowU + 1}, changes(func(u *User) { u.Verifier, u.NotBefore = "v2", nowU+1 })},
		{"one's own password by name", nil, UserOp{Action: "passwd", Username: new("bob"), NewPwd: new("secret"), Verifier: "v2"},
			UserOutcome{User: "bob", Self: true, NewMark: nowU + 1}, changes(func(u *User) { u.Verifier, u.NotBefore = "v2", nowU+1 })},
		{"another's password", with(RightEditUsers), UserOp{Action: "passwd", NewPwd: new(strings.Repeat("ä", 1024)), Verifier: "v2"},
			UserOutcome{User: "bob", NewMark: nowU + 1}, changes(func(u *User) { u.Verifier, u.NotBefore = "v2", nowU+1 })},
		{"groups", both(RightSetGroups), UserOp{Action: "set_groups", NewGroups: given(`{"g":1800000000,"sysop":{}}`)},
			UserOutcome{User: "bob"}, changes(func(u *User) { u.Groups = Grants{"g": {Expire: 1800000000}, "sysop": {}} })},
		{"no groups", both(RightSetGroups), UserOp{Action: "set_groups", NewGroups: given(`{}`)},
			UserOutcome{User: "bob"}, changes(func(u *User) { u.Groups = Grants{} })},
		{"rights", both(RightSetRights), UserOp{Action: "set_rights", NewRights: given(`["a"]`)},
			UserOutcome{User: "bob"}, changes(func(u *User) { u.Rights = Grants{"a": {}} })},
		{"a nickname", both(RightSetNickname), UserOp{Action: "set_nickname", Nickname: new("Bobby")},
			UserOutcome{User: "bob"}, changes(func(u *User) { u.Nickname = "Bobby" })},
		{"no nickname", both(RightSetNickname), UserOp{Action: "set_nickname", Nickname: new("")},
			UserOutcome{User: "bob"}, changes(func(u *User) { u.Nickname = "bob" })},
		{"disabled", with(RightEditUsers), UserOp{Action: "set_status", Status: given("1"), Reason: new("<why>")},
			UserOutcome{User: "bob", Revoked: true}, changes(func(u *User) {
				u.State, u.NotBefore = StateDisabled, nowU+1
				u.StateDescription = StateDescription{Time: now, Operator: new("op"), Reason: new("<why>")}
			})},
		{"enabled revokes nothing", with(RightEditUsers), UserOp{Action: "set_status", Status: given("0.0")},
			UserOutcome{User: "bob"}, changes(func(u *User) { u.StateDescription = StateDescription{Time: now, Operator: new("op")} })},
		{"a public key", nil, UserOp{Action: "set_publickey", PublicKey: new(rsa1024)},
			UserOutcome{User: "bob", Self: true}, changes(func(u *User) { u.PublicKey = rsa1024 })},
		{"another's public key", with(RightEditUsers), UserOp{Action: "set_publickey", PublicKey: new(rsa1024)},
			UserOutcome{User: "bob"}, changes(func(u *User) { u.PublicKey = rsa1024 })},
		{"an avatar", nil, UserOp{Action: "set_avatar", FileID: new("f1"), AvatarCheck: func(string) error { return nil }},
			UserOutcome{User: "bob", Self: true}, changes(func(u *User) { u.Avatar = "f1" })},
		{"the default avatar is no file", nil, UserOp{Action: "set_avatar", FileID: new(""), AvatarCheck: func(string) error { return CodeNotFound }},
			UserOutcome{User: "bob", Self: true}, changes(func(u *User) { u.Avatar = "" })},
	} {
		t.Run(c.shows, func(t *testing.T) {
			b := newDaemon(t)
			who := c.who
			if who == nil {
				who = b.as("bob")
			} else {
				c.op.Username = new("bob")
			}
			before, _ := b.User("bob")
			var out UserOutcome
			var err error
			b.unchanged(func() { out, err = b.OperateUser(who, c.op, now, nowU) })
			require.NoError(t, err)
			require.Len(t, out.Facts, 1)
			assert.NotContains(t, string(out.Facts[0].Body), "secret", "never a typed password")
			b.apply(out.Facts...)
			after, _ := b.User("bob")
			assert.Equal(t, c.then(before), after)
			out.Facts = nil
			assert.Equal(t, c.want, out)
		})
	}
}

func TestPublicKeyIsReadBack(t *testing.T) {
	b := newDaemon(t)
	b.operate(b.as("bob"), UserOp{Action: "set_publickey", PublicKey: new(rsa1024)})
	assert.Equal(t, UserOutcome{User: "bob", Self: true, PublicKey: rsa1024}, b.operate(b.as("bob"), UserOp{Action: "get_publickey"}))
	assert.Equal(t, UserOutcome{User: "bob", PublicKey: rsa1024}, b.operate(with(RightViewPublicKey), UserOp{Action: "get_publickey", Username: new("bob")}))
}

func TestDeleteUserForGood(t *testing.T) {
	b := newDaemon(t)
	b.operate(b.as("bob"), UserOp{Action: "set_avatar", FileID: new("f1")})
	out := b.operate(with(RightEditUsers, RightDeleteUser), UserOp{Action: "delete", Username: new("bob")})
	assert.True(t, out.Revoked)
	_, ok := b.User("bob")
	assert.False(t, ok)
	old := Claims{Subject: "bob", Issued: nowU}
	assert.False(t, b.Accepts(old, "bob"))

	facts, err := b.CreateUser(b.Main(now), NewUser{Username: new("bob"), Password: new("p")}, nowU)
	require.NoError(t, err)
	b.apply(facts...)
	u, _ := b.User("bob")
	assert.Equal(t, "", u.Avatar, "somebody new")
	assert.False(t, b.Accepts(old, "bob"), "a token of the one before, though issued at the same time")
}

// CFMS.md §3.2: what voids tokens, and what does not.
func TestMarks(t *testing.T) {
	b := newDaemon(t)
	token := func(issued int64) bool { return b.Accepts(Claims{Subject: "bob", Issued: issued}, "bob") }
	mark := func() int64 { u, _ := b.User("bob"); return u.NotBefore }
	assert.True(t, token(nowU))
	assert.True(t, token(mark()), "as old as the mark")
	assert.False(t, token(mark()-1))
	assert.False(t, b.Accepts(Claims{Subject: "bob", Issued: nowU}, "alice"), "another's")
	assert.False(t, b.Accepts(Claims{Subject: "nobody", Issued: nowU}, "nobody"))

	b.operate(b.as("bob"), UserOp{Action: "passwd", NewPwd: new("p")})
	assert.False(t, token(nowU), "a token of the very moment")
	issued := mark()
	assert.True(t, token(issued), "the new one")

	// The clock stands still, or was set back: each change still voids.
	b.operate(b.as("bob"), UserOp{Action: "passwd", NewPwd: new("p")})
	assert.False(t, token(issued))
	issued = mark()

	b.operate(b.as("admin"), UserOp{Action: "set_status", Username: new("bob"), Status: given("1")})
	assert.False(t, token(issued))
	assert.False(t, token(mark()), "disabled")
	b.operate(b.as("admin"), UserOp{Action: "set_status", Username: new("bob"), Status: given("0")})
	assert.False(t, token(issued), "void for good")
	issued = mark()
	assert.True(t, token(issued))

	b.operate(b.as("admin"), UserOp{Action: "set_rights", Username: new("bob"), NewRights: given("[]")})
	b.operate(b.as("bob"), UserOp{Action: "set_avatar", FileID: new("")})
	assert.True(t, token(issued), "nothing else voids")
}

func TestGoodPublicKey(t *testing.T) {
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	require.NoError(t, err)
	pkcs1 := x509.MarshalPKCS1PublicKey(&key.PublicKey)
	const ed25519 = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n"
	for _, c := range []struct {
		shows, text string
		want        bool
	}{
		{"SubjectPublicKeyInfo", rsa1024, true},
		{"one of our own", block("PUBLIC KEY", spki), true},
		{"PKCS 1", block("RSA PUBLIC KEY", pkcs1), true},
		{"space around it, lines by CRLF", "\n " + strings.ReplaceAll(rsa1024, "\n", "\r\n") + " \n", true},
		{"too small", rsa512, false},
		{"not RSA", ed25519, false},
		{"a private key", block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)), false},
		{"a private key under another name", block("PUBLIC KEY", x509.MarshalPKCS1PrivateKey(key)), false},
		{"two keys", rsa1024 + rsa1024, false},
		{"text before it", "x\n" + rsa1024, false},
		{"text after it", rsa1024 + "x", false},
		{"headers", strings.Replace(rsa1024, "KEY-----\n", "KEY-----\nA: b\n\n", 1), false},
		{"half of it", rsa1024[:100], false},
		{"too long", rsa1024 + strings.Repeat("\n", 9000), false},
		{"no PEM", "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQ", false},
	} {
		t.Run(c.shows, func(t *testing.T) {
			assert.Equal(t, c.want, goodPublicKey(c.text))
		})
	}
}
