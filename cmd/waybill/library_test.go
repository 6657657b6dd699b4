package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// library is a daemon whose document library is worked on from a shell.
type library struct {
	*server
	dir string // of password files and the like
}

// serveLibrary starts a daemon whose library answers refused logins at once.
func serveLibrary(t *testing.T, flags ...string) *library {
	t.Helper()
	l := &library{serve(t, flags...), t.TempDir()}
	r := l.run("policy", "get", "user_auth")
	require.Zero(t, r.code, r.err)
	require.Contains(t, r.out, `"sleep_when_login_fail": 3`)
	r = l.run("policy", "set", "user_auth", l.file("policy", strings.Replace(r.out, `fail": 3`, `fail": 0`, 1)))
	require.Equal(t, result{}, r)
	return l
}

// file makes a file for a command to read.
func (l *library) file(name, text string) string {
	l.t.Helper()
	path := filepath.Join(l.dir, name)
	require.NoError(l.t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// run runs a command with the main token.
func (l *library) run(args ...string) result {
	l.t.Helper()
	return waybill(l.t, to(l.server, args...)...)
}

// as runs a command with a user's password.
func (l *library) as(user, password string, args ...string) result {
	l.t.Helper()
	args = append(args, "--url", l.url(), "--user", user, "--password-file", l.file("password-of-"+user, password+"\n"))
	return waybill(l.t, args...)
}

// keyPair makes an RSA key, in PEM.
func keyPair(t *testing.T) (public, private string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})),
		string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
}

// Every command does what it says, and is refused to a user who may nothing.
func TestLibraryCommands(t *testing.T) {
	t.Parallel()
	l := serveLibrary(t, "--sample-data")
	public, _ := keyPair(t)
	key := l.file("key.pem", "\n"+public)
	first := l.file("first", "bob's first password\n")
	second := l.file("second", "bob's second password")
	rules := l.file("rules", `{ "read": [{"match": "any", "match_groups": []}] }`)
	external := l.file("external", `{"users": {"bob": {"read": {"expire": 0}}}}`)
	policy := l.file("recycle", `{"deleteAfterMarked": 60, "revDeleteAfterMarked": 60}`)
	require.Equal(t, result{}, l.run("user", "create", "eve", "--new-password-file", l.file("eve", "eve's password")))

	for _, c := range []struct {
		name string
		args []string
		out  string // regular expression of what it prints
		json string // the same with --json, for commands that can be repeated
		// refused is how eve's try ends.
		refused int
	}{
		{"create", []string{"user", "create", "bob", "--new-password-file", first, "--nickname", "Bob", "--group", "sysop=720h",
			"--right", "x", "--right", "a,b=2040-01-01T00:00:00Z", "--revoke", "shutdown"}, `\A\z`, "", exitNoPerm},
		{"show", []string{"user", "show", "bob"},
			`(?s)\Auser +bob\nnickname +Bob\nstate +enabled\ngroups +sysop, user\nrights +"?a,b"?, change_id.*, x\navatar +the default\n\z`,
			`\A\{"rights":\["a,b",.*"x"\],"groups":\["sysop","user"\],"properties":\{"state":0,.*\}\}\n\z`, exitNoPerm},
		{"groups", []string{"user", "groups", "bob", "user"}, `\A\z`, `\A{}\n\z`, exitNoPerm},
		{"rights", []string{"user", "rights", "bob", "x", "y=", "--revoke", "read=1h"}, `\A\z`, `\A{}\n\z`, exitNoPerm},
		{"after both", []string{"user", "show", "bob"}, `groups +user\nrights +x, y\n`, "", exitNoPerm},
		{"no group", []string{"user", "groups", "bob", "--none"}, `\A\z`, `\A{}\n\z`, exitNoPerm},
		{"no right", []string{"user", "rights", "bob", "--none"}, `\A\z`, `\A{}\n\z`, exitNoPerm},
		{"after none", []string{"user", "show", "bob"}, `groups +user\nrights +read\n`, "", exitNoPerm},
		{"nickname", []string{"user", "nickname", "bob", "Robert"}, `\A\z`, `\A{}\n\z`, exitNoPerm},
		{"no nickname", []string{"user", "nickname", "bob", ""}, `\A\z`, `\A{}\n\z`, exitNoPerm},
		{"disable", []string{"user", "disable", "bob", "--reason", "on\tleave"}, `\A\z`, `\A{}\n\z`, exitNoPerm},
		{"while disabled", []string{"user", "show", "bob"},
			`nickname +bob\nstate +disabled 20\d\d-[\d-]+ [\d:]+ by main: "on\\tleave"\n`, `"state":1,`, exitNoPerm},
		{"enable", []string{"user", "enable", "bob"}, `\A\z`, `\A{}\n\z`, exitNoPerm},
		{"set key", []string{"user", "publickey", "bob", key}, `\A\z`, `\A{}\n\z`, exitNoPerm},
		{"get key", []string{"user", "publickey", "bob"}, `\A-----BEGIN PUBLIC KEY-----\n(?s:.*)\n-----END PUBLIC KEY-----\n\z`,
			`\A{"publickey":"\\n-----BEGIN PUBLIC KEY-----\\n[^"]*"}\n\z`, exitNoPerm},
		{"avatar", []string{"user", "avatar", "bob", "C00001"}, `\A\z`, `\A{}\n\z`, exitNoPerm},
		{"after avatar", []string{"user", "show", "bob"}, `avatar +file C00001\n`, "", exitNoPerm},
		{"default avatar", []string{"user", "avatar", "bob", ""}, `\A\z`, `\A{}\n\z`, exitNoPerm},
		{"passwd", []string{"user", "passwd", "bob", "--new-password-file", second}, `\A\z`, `\A{}\n\z`, exitNoPerm},
		{"group", []string{"group", "create", "g", "--right", "x=1h", "--revoke", "read", "--member", "bob"}, `\A\z`, "", exitNoPerm},
		{"group off", []string{"group", "create", "h", "--disabled", "--json"}, `\A{"failed":\[\]}\n\z`, "", exitNoPerm},
		{"in the group", []string{"user", "show", "bob"}, `groups +g, user\nrights +x\n`, "", exitNoPerm},
		{"get policy", []string{"policy", "get", "avatars"}, `\A{\n  "`, `\A{"[^\n]*}\n\z`, exitNoPerm},
		{"set policy", []string{"policy", "set", "recycle", policy}, `\A\z`, `\A{}\n\z`, exitNoPerm},
		{"after policy", []string{"policy", "get", "recycle", "--json"}, `\A{"deleteAfterMarked":60,"revDeleteAfterMarked":60}\n\z`, "", exitOK},
		{"set rules", []string{"rules", "set", "C00001", "--access-rules", rules, "--external-access", external}, `\A\z`, `\A{}\n\z`, exitNoPerm},
		{"get rules", []string{"rules", "get", "C00001"}, `\A{\n  "access_rules": {\n    "read": \[\n(?s:.*)"bob"`,
			`\A{"access_rules":{"read":\[.*\]},"external_access":{.*}}\n\z`, exitNoPerm},
		{"one document", []string{"rules", "set", "C00001", "--external-access", l.file("none", "{}")}, `\A\z`, `\A{}\n\z`, exitNoPerm},
		{"other stays", []string{"rules", "get", "C00001", "--json"}, `"read":\[\{.*"external_access":{}}`, "", exitNoPerm},
		{"root off", []string{"rules", "set", "--no-inherit"}, `\A\z`, `\A{}\n\z`, exitNoPerm},
		{"root is off", []string{"rules", "get"}, `"inherit_by_subdirectory": false\n}\n\z`, `,"inherit_by_subdirectory":false}\n\z`, exitNoPerm},
		{"root on", []string{"rules", "set", "--inherit"}, `\A\z`, `\A{}\n\z`, exitNoPerm},
		{"root is on", []string{"rules", "get"}, `"inherit_by_subdirectory": true\n}\n\z`, "", exitNoPerm},
		{"delete", []string{"user", "delete", "bob"}, `\A\z`, "", exitNoPerm},
	} {
		r := l.as("eve", "eve's password", c.args...)
		assert.Equal(t, c.refused, r.code, "%s: %s", c.name, r.err)
		if c.refused != exitOK {
			assert.Contains(t, r.err, " (403)", c.name)
			assert.Empty(t, r.out, c.name)
		}
		r = l.run(c.args...)
		assert.Zero(t, r.code, "%s: %s", c.name, r.err)
		assert.Regexp(t, c.out, r.out, c.name)
		assert.Empty(t, r.err, c.name)
		if c.json != "" {
			r = l.run(append(slices.Clone(c.args), "--json")...)
			assert.Zero(t, r.code, "%s: %s", c.name, r.err)
			assert.Regexp(t, c.json, r.out, c.name)
			assert.Empty(t, r.err, c.name)
		}
	}
	r := l.run("user", "show", "bob")
	assert.Equal(t, exitIO, r.code)
	assert.Equal(t, "waybill: bob: not found (404)", r.err)
}

// Who asks by a password may look at and change themselves, and nobody learns
// a password from what is printed, logged or journaled.
func TestLibraryPasswords(t *testing.T) {
	t.Parallel()
	l := serveLibrary(t)
	r := l.run("user", "create", "bob")
	require.Zero(t, r.code, r.err)
	assert.Equal(t, "waybill: the password of bob, shown only now:", r.err)
	require.Regexp(t, `\A[A-Z2-7]{26}\n\z`, r.out)
	made := strings.TrimSpace(r.out)

	r = l.as("bob", made, "user", "show")
	require.Zero(t, r.code, r.err)
	assert.Regexp(t, `\Auser +bob\n`, r.out)

	const chosen = "correct horse"
	r = l.as("bob", made, "user", "passwd", "--json", "--new-password-file", l.file("chosen", chosen+"\r\n"))
	assert.Equal(t, result{0, "{}\n", ""}, r, "and no token")
	r = l.as("bob", made, "user", "show")
	assert.Equal(t, exitNoPerm, r.code)
	assert.Equal(t, "waybill: username or password incorrect (401)", r.err)
	r = l.as("bob", chosen, "user", "show", "--json")
	assert.Zero(t, r.code, r.err)
	assert.True(t, json.Valid([]byte(r.out)))

	r = l.run("user", "create", "eve", "--json")
	require.Zero(t, r.code, r.err)
	assert.Regexp(t, `\A{"password":"[A-Z2-7]{26}"}\n\z`, r.out)
	assert.Empty(t, r.err)
	eve := strings.Split(r.out, `"`)[3]
	r = l.run("user", "create", "eve")
	assert.Equal(t, result{exitCantCreate, "", "waybill: eve: user exists (-1)"}, r, "and no password")

	require.Zero(t, l.as("eve", eve, "user", "show").code)
	require.Zero(t, l.run("user", "disable", "eve").code)
	r = l.as("eve", eve, "user", "show")
	assert.Equal(t, exitNoPerm, r.code, r.err)

	created := l.records("user.created")
	require.NotEmpty(t, created)
	assert.Equal(t, "main", created[len(created)-1]["actor"])
	r = l.run("journal", "export")
	require.Zero(t, r.code, r.err)
	for _, text := range []string{r.out, l.p.stderr()} {
		for _, secret := range []string{made, chosen, eve, loginProof(made), loginProof(chosen)} {
			assert.NotContains(t, text, secret)
		}
	}
	l.stop()
}

// Many wrong passwords: how long to wait is told.
func TestLibraryLockout(t *testing.T) {
	t.Parallel()
	l := serveLibrary(t)
	for range 5 {
		r := l.as("admin", "wrong", "user", "show")
		require.Equal(t, result{exitNoPerm, "", "waybill: username or password incorrect (401)"}, r)
	}
	r := l.as("admin", "wrong", "user", "show")
	assert.Equal(t, exitNoPerm, r.code)
	assert.Regexp(t, `\Awaybill: username or password incorrect \(401\); blocked for another [123]\d s\z`, r.err)
}

// The password of admin: made up at first, then as the operator says.
func TestAdminPassword(t *testing.T) {
	t.Parallel()
	l := serveLibrary(t)
	first, err := os.ReadFile(filepath.Join(l.state, "admin-password"))
	require.NoError(t, err)
	asAdmin := func(password string) int {
		return l.as("admin", password, "policy", "get", "avatars").code
	}
	assert.Zero(t, asAdmin(string(first)))
	l.stop()

	const second, third = "second password", "third password"
	l.flags = append(l.flags, "--admin-password-file", l.file("admin", second+"\n"))
	l.start()
	assert.NoFileExists(t, filepath.Join(l.state, "admin-password"))
	assert.Equal(t, exitNoPerm, asAdmin(string(first)))
	assert.Zero(t, asAdmin(second))
	require.Zero(t, l.run("user", "disable", "admin").code)
	require.Equal(t, exitNoPerm, asAdmin(second))
	log := l.p.stderr()
	l.stop()

	l.flags = []string{"--admin-password", third, "--log-level", "trace"}
	l.start()
	assert.Zero(t, asAdmin(third), "disabled or not")
	r := l.run("journal", "export")
	require.Zero(t, r.code, r.err)
	for _, text := range []string{r.out, log + l.p.stderr()} {
		for _, secret := range []string{string(first), second, third} {
			assert.NotContains(t, text, secret)
		}
	}
	l.stop()

	// A new one that is told its password never makes one up.
	s := serve(t, "--admin-password", "123456")
	assert.NoFileExists(t, filepath.Join(s.state, "admin-password"))
	l = &library{s, l.dir}
	assert.Zero(t, asAdmin("123456"))
}

// The exit codes, and one line that says why.
func TestLibraryExitCodes(t *testing.T) {
	t.Parallel()
	l := serveLibrary(t)
	public, private := keyPair(t)
	require.Zero(t, l.run("user", "create", "bob", "--new-password-file", l.file("bob", "bob's")).code)
	require.Zero(t, l.run("group", "create", "g").code)
	nowhere := filepath.Join(l.dir, "none")
	as := func(user, file string, args ...string) []string {
		return append(args, "--url", l.url(), "--user", user, "--password-file", file)
	}
	at := func(url string, args ...string) []string {
		return append(args, "--url", url, "--token-file", l.token())
	}
	me := func(args ...string) []string { return to(l.server, args...) }
	nobody, err := net.Listen("tcp", ownAddress())
	require.NoError(t, err)
	nobody.Close()
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()

	for name, c := range map[string]struct {
		code int
		says string
		args []string
	}{
		"no password file":      {exitNoInput, "password file: open", as("bob", nowhere, "user", "show")},
		"empty password file":   {exitUsage, "the password is empty", as("bob", l.file("empty", "\n"), "user", "show")},
		"no token file":         {exitNoInput, "token file", []string{"user", "show", "bob", "--url", l.url(), "--token-file", nowhere}},
		"no new password file":  {exitNoInput, "new password file", me("user", "create", "x", "--new-password-file", nowhere)},
		"no new password":       {exitNoInput, "new password file", me("user", "passwd", "bob", "--new-password-file", nowhere)},
		"no policy file":        {exitNoInput, "no such file", me("policy", "set", "recycle", nowhere)},
		"no rules file":         {exitNoInput, "no such file", me("rules", "set", "--access-rules", nowhere)},
		"no key file":           {exitNoInput, "no such file", me("user", "publickey", "bob", nowhere)},
		"no JSON":               {exitUsage, "invalid character", me("policy", "set", "recycle", l.file("no-json", "{x}"))},
		"no object":             {exitUsage, "not a JSON object", me("rules", "set", "--external-access", l.file("list", "[]"))},
		"null":                  {exitUsage, "not a JSON object", me("policy", "set", "recycle", l.file("null", "null"))},
		"huge":                  {exitUsage, "longer than 1.0 MiB", me("policy", "set", "recycle", l.file("huge", strings.Repeat(" ", 1<<20+1)))},
		"private key":           {exitUsage, "not a public key", me("user", "publickey", "bob", l.file("private", private))},
		"both keys":             {exitUsage, "not a public key", me("user", "publickey", "bob", l.file("both", public+private))},
		"no key":                {exitUsage, "not a public key", me("user", "publickey", "bob", l.file("no-key", "x"))},
		"unreachable":           {exitUnreachable, "refused", at("ws://"+nobody.Addr().String(), "user", "show", "bob")},
		"not a daemon":          {exitUnreachable, "no waybill daemon", at(other.URL, "user", "show", "bob")},
		"wrong password":        {exitNoPerm, "(401)", as("bob", l.file("wrong", "x"), "user", "show")},
		"unknown user":          {exitNoPerm, "(401)", as("nobody", l.file("wrong2", "x"), "user", "show")},
		"wrong token":           {exitNoPerm, "must be the main token", []string{"user", "show", "bob", "--url", l.url(), "--token-file", l.file("t", "x")}},
		"user exists":           {exitCantCreate, "bob: user exists (-1)", me("user", "create", "bob")},
		"group exists":          {exitCantCreate, "g: group exists (-1)", me("group", "create", "g")},
		"unknown group":         {exitIO, "invaild data structure (-1)", me("user", "create", "x", "--group", "nogroup")},
		"no such user":          {exitIO, "x: user not found (404)", me("user", "delete", "x")},
		"no such node":          {exitIO, "x: not found (404)", me("rules", "get", "x")},
		"no such policy":        {exitIO, "(404)", me("policy", "get", "x")},
		"no such file":          {exitIO, "(404)", me("user", "avatar", "bob", "x")},
		"key of none":           {exitIO, "(404)", me("user", "publickey", "bob")},
		"not oneself":           {exitIO, "a user cannot delete itself (-1)", as("admin", filepath.Join(l.state, "admin-password"), "user", "delete", "admin")},
		"not main's":            {exitUsage, "which user?", me("user", "show")},
		"not main's password":   {exitUsage, "which user?", me("user", "passwd", "--new-password-file", "f")},
		"bad rules":             {exitIO, "the root: invaild data structure (-1)", me("rules", "set", "--access-rules", l.file("bad", `{"frob":[]}`))},
		"bad policy":            {exitIO, "recycle: invaild data structure (-1)", me("policy", "set", "recycle", l.file("bad2", `{"deleteAfterMarked":"x"}`))},
		"name to harm terminal": {exitIO, `"\x1b[2J": user not found`, me("user", "delete", "\x1b[2J")},
	} {
		r := waybill(t, c.args...)
		assert.Equal(t, c.code, r.code, "%s: %s", name, r.err)
		assert.Contains(t, r.err, c.says, name)
		assert.NotContains(t, r.err, "\n", name)
		assert.Empty(t, r.out, name)
	}

	// Members that are none are told; the group is there.
	r := l.run("group", "create", "h", "--member", "bob", "--member", "x", "--member", "a\tb", "--json")
	assert.Equal(t, exitIO, r.code)
	assert.Equal(t, `{"failed":["x","a\tb"]}`+"\n", r.out)
	assert.Equal(t, `waybill: h: made, but not all can be members: x, "a\tb"`, r.err)
	assert.Regexp(t, `groups +h, user`, l.run("user", "show", "bob").out)
}

// What a policy or a node says can be piped through an editor and back.
func TestLibraryFromStandardInput(t *testing.T) {
	t.Parallel()
	l := serveLibrary(t)
	public, _ := keyPair(t)
	require.Zero(t, l.run("user", "create", "bob").code)
	for _, c := range []struct {
		text string
		args []string
	}{
		{l.run("policy", "get", "login_retry").out, []string{"policy", "set", "login_retry", "-"}},
		{`{"read":[]}`, []string{"rules", "set", "--access-rules", "-"}},
		{`{}`, []string{"rules", "set", "--external-access", "-"}},
		{public, []string{"user", "publickey", "bob", "-"}},
	} {
		cmd := exec.Command(binary, to(l.server, c.args...)...)
		cmd.Stdin = strings.NewReader(c.text)
		p := launch(t, t.TempDir(), clean(), cmd)
		assert.Zero(t, p.wait(), "%v: %s", c.args, p.stderr())
	}
	assert.Equal(t, public, l.run("user", "publickey", "bob").out)
	assert.Regexp(t, `\A{"access_rules":{"read":\[\]},"external_access":{},`, l.run("rules", "get", "--json").out)
}

// The legacy listener is where the flag says, with the key exchange that it
// says, and the log tells.
func TestServeLegacyListener(t *testing.T) {
	t.Parallel()
	s := serve(t, "--cfms-listen", "127.0.0.1:0", "--cfms-key-exchange", "x25519")
	var at struct{ Addr string }
	require.NoError(t, json.Unmarshal([]byte(s.p.line(func(l string) bool { return strings.Contains(l, `"listener":"cfms"`) })), &at))
	c, err := net.Dial("tcp", at.Addr)
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Write([]byte("helloenableEncryption"))
	require.NoError(t, err)
	answer := make([]byte, len(`hello{"msg": "enableEncryption", "method": "x25519"`))
	_, err = io.ReadFull(c, answer)
	require.NoError(t, err)
	assert.Contains(t, string(answer), "x25519")
	s.stop()
}

// fakeLibrary answers every message on /cfms/v1 as it is told to.
func fakeLibrary(t *testing.T, answer func(ctx context.Context, ws *websocket.Conn)) *remote {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != documentPath || r.Header.Get("Authorization") != "" {
			http.Error(w, "no token is sent before the request", http.StatusTeapot)
			return
		}
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer ws.CloseNow()
		for {
			if _, _, err := ws.Read(r.Context()); err != nil {
				return
			}
			answer(r.Context(), ws)
		}
	}))
	t.Cleanup(s.Close)
	return &remote{URL: endpoint{s.URL}, TokenFile: passwordFile(t, "token")}
}

// What only another daemon would do, or one that goes down.
func TestLibraryOddAnswers(t *testing.T) {
	t.Parallel()
	text := func(s string) func(context.Context, *websocket.Conn) {
		return func(ctx context.Context, ws *websocket.Conn) { ws.Write(ctx, websocket.MessageText, []byte(s)) }
	}
	for name, c := range map[string]struct {
		answer func(context.Context, *websocket.Conn)
		code   int
		says   string
	}{
		"no JSON":       {text("Goodbye"), exitIO, "cannot be read"},
		"no code":       {text(`{"msg":"ok"}`), exitIO, "cannot be read"},
		"no properties": {text(`{"code":0,"msg":"ok"}`), exitIO, "cannot be read"},
		"far away":      {text(`{"code":-1,"msg":"no full authentication data provided"}`), exitNoPerm, "the daemon on this machine"},
		"not any more":  {text(`{"code":-1,"msg":"invaild token or username"}`), exitNoPerm, "must be the main token"},
		"denied":        {text(`{"code":403,"msg":"access denied"}`), exitNoPerm, "bob: access denied (403)"},
		"failed":        {text(`{"code":500,"msg":"internal server error"}`), exitIO, "(500)"},
		"goes down": {func(_ context.Context, ws *websocket.Conn) {
			ws.Close(websocket.StatusGoingAway, "daemon exit")
		}, exitUnreachable, "which may have done it or not: closed by the daemon: daemon exit"},
		"is gone": {func(_ context.Context, ws *websocket.Conn) { ws.CloseNow() }, exitUnreachable, "lost the connection"},
	} {
		c1 := userShowCmd{docRemote: docRemote{remote: *fakeLibrary(t, c.answer)}, Name: "bob"}
		err := c1.Run(t.Context(), &app{stdout: io.Discard, stderr: io.Discard})
		if assert.Error(t, err, name) {
			assert.Equal(t, c.code, exitCode(err), "%s: %v", name, err)
			assert.Contains(t, err.Error(), c.says, name)
		}
	}

	c := userShowCmd{docRemote: docRemote{
		remote: *fakeLibrary(t, text(`{"code":0,"msg":"ok"}`)), User: "bob", PasswordFile: passwordFile(t, "x"),
	}}
	err := c.Run(t.Context(), &app{stdout: io.Discard, stderr: io.Discard})
	assert.ErrorContains(t, err, "without a token")
}
