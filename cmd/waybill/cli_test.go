package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestUsageErrors(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"nothing":              {},
		"unknown command":      {"frob"},
		"unknown flag":         {"put", "f", "--frob"},
		"missing argument":     {"put"},
		"one argument more":    {"ls", "a", "b"},
		"not a URL":            {"ls", "--url", "127.0.0.1:1"},
		"token in the URL":     {"ls", "--url", "ws://127.0.0.1:1/api/v1?token=x"},
		"not a size":           {"put", "f", "--chunk", "big"},
		"chunk too small":      {"put", "f", "--chunk", "1"},
		"too many in flight":   {"get", "f", "--in-flight", "65"},
		"no source":            {"journal", "verify"},
		"two sources":          {"journal", "verify", "--state", "d", "--url", "ws://x"},
		"no export to export":  {"journal", "export", "--export", "f"},
		"unknown shell":        {"completion", "csh"},
		"no permissions":       {"token", "issue", "--expires", "1h"},
		"empty permissions":    {"token", "issue", "--expires", "1h", "--permissions", ","},
		"expires too far away": {"token", "issue", "--permissions", "*", "--expires", "8761h"},

		"user without password":    {"user", "show", "--user", "bob"},
		"password without user":    {"user", "show", "bob", "--password-file", "f"},
		"password as argument":     {"user", "passwd", "bob", "secret"},
		"no new password":          {"user", "passwd", "bob"},
		"no name":                  {"user", "create"},
		"empty name":               {"user", "delete", ""},
		"empty optional name":      {"user", "show", ""},
		"empty node":               {"rules", "set", "", "--no-inherit"},
		"name of no UTF-8":         {"user", "delete", "a\xff"},
		"nickname of no UTF-8":     {"user", "nickname", "bob", "a\xff"},
		"group of no UTF-8":        {"user", "groups", "bob", "a\xff"},
		"groups of nobody":         {"user", "groups"},
		"no groups":                {"user", "groups", "bob"},
		"no rights":                {"user", "rights", "bob"},
		"none and some":            {"user", "rights", "bob", "x", "--none"},
		"none and some revoked":    {"user", "rights", "bob", "--revoke", "x", "--none"},
		"given and revoked":        {"user", "create", "bob", "--right", "x", "--revoke", "x=1h"},
		"group named twice":        {"user", "create", "bob", "--group", "g=1h", "--group", "g"},
		"grant without a name":     {"group", "create", "g", "--right", "=1h"},
		"grant for a bad time":     {"group", "create", "g", "--right", "x=tomorrow"},
		"grant for a past time":    {"group", "create", "g", "--right", "x=1969-01-01T00:00:00Z"},
		"grant for no time":        {"group", "create", "g", "--right", "x=0s"},
		"empty member":             {"group", "create", "g", "--member", ""},
		"policy without content":   {"policy", "set", "recycle"},
		"no rules":                 {"rules", "set", "id"},
		"both from standard input": {"rules", "set", "--access-rules", "-", "--external-access", "-"},
		"inheritance below":        {"rules", "set", "id", "--inherit"},
	} {
		r := waybill(t, args...)
		assert.Equal(t, exitUsage, r.code, name)
		assert.Regexp(t, `\Awaybill: [^\n]+\z`, r.err, name)
		assert.Empty(t, r.out, name)
	}
}

// The exit codes of clients, and one line that says why.
func TestClientExitCodes(t *testing.T) {
	t.Parallel()
	s := serve(t, "--max-file-size", "1MiB")
	full := serve(t, "--reserve", "1000TB")
	dir := t.TempDir()
	file, big, empty := filepath.Join(dir, "f"), filepath.Join(dir, "big"), filepath.Join(dir, "empty")
	randomFile(t, file, 1000)
	randomFile(t, big, 1<<20+1)
	require.NoError(t, os.WriteFile(empty, nil, 0o644))
	huge, latin := filepath.Join(dir, "huge"), filepath.Join(dir, "caf\xe9")
	require.NoError(t, os.WriteFile(huge, nil, 0o644))
	require.NoError(t, os.Truncate(huge, 1<<31))
	require.NoError(t, os.WriteFile(latin, []byte("x"), 0o644))
	require.NoError(t, os.MkdirAll(filepath.Join(s.root, "dir"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(s.root, "file"), []byte("x"), 0o644))
	wrong := filepath.Join(dir, "wrong")
	require.NoError(t, os.WriteFile(wrong, []byte("nonsense\n"), 0o600))
	weak := filepath.Join(dir, "weak")
	r := waybill(t, to(s, "token", "issue", "--permissions", "mcsl.daemon.file.download", "--expires", "1h", "--subject", "reader")...)
	require.Zero(t, r.code, r.err)
	require.NoError(t, os.WriteFile(weak, []byte(r.out), 0o600))
	with := func(token string, args ...string) []string {
		return append(args, "--url", s.url(), "--token-file", token)
	}
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
		"local file missing":         {exitNoInput, "no such file", to(s, "put", filepath.Join(dir, "none"))},
		"local file is a folder":     {exitNoInput, "not a regular file", to(s, "put", dir)},
		"token file missing":         {exitNoInput, "token file", with(filepath.Join(dir, "none"), "ls")},
		"unreachable":                {exitUnreachable, "refused", []string{"put", file, "--url", "ws://" + nobody.Addr().String(), "--token-file", s.token()}},
		"unreachable for the audit":  {exitUnreachable, "refused", []string{"journal", "verify", "--url", "ws://" + nobody.Addr().String(), "--token-file", s.token()}},
		"not a daemon":               {exitUnreachable, "no waybill daemon", []string{"ls", "--url", other.URL, "--token-file", s.token()}},
		"wrong token":                {exitNoPerm, "refused the token", with(wrong, "ls")},
		"wrong token for the audit":  {exitNoPerm, "refused the token", with(wrong, "journal", "tail")},
		"weak token":                 {exitNoPerm, "10003", with(weak, "put", file)},
		"weak token for the audit":   {exitNoPerm, "waybill.journal.read", with(weak, "journal", "verify")},
		"weak token issues no other": {exitNoPerm, "refused the token", with(weak, "token", "issue", "--permissions", "*", "--expires", "1h")},
		"bad subject":                {exitUsage, "subject", to(s, "token", "issue", "--permissions", "*", "--expires", "1h", "--subject", "a b")},
		"target is a directory":      {exitCantCreate, "21004", to(s, "put", file, "dir")},
		"a parent is a file":         {exitCantCreate, "21005", to(s, "put", file, "file/x")},
		"out of the root":            {exitNoPerm, "21006", to(s, "put", file, "../x")},
		"disk full":                  {exitCantCreate, "21007", to(full, "put", file)},
		"too big":                    {exitIO, "21103", to(s, "put", big)},
		"empty":                      {exitIO, "empty", to(s, "put", empty)},
		"no such file there":         {exitIO, "21001", to(s, "get", "none")},
		"no such folder here":        {exitCantCreate, "no such file", to(s, "get", "file", filepath.Join(dir, "none", "x"))},
		"a directory is no file":     {exitCantCreate, "21004", to(s, "get", "dir")},
		"no such directory":          {exitIO, "21001", to(s, "ls", "none")},
		"over what there can be":     {exitIO, "at most 2147483647", to(s, "put", huge)},
		"put to no UTF-8":            {exitUsage, `"a\xff": the path is not valid UTF-8`, to(s, "put", file, "a\xff")},
		"put of a name of no UTF-8":  {exitUsage, "not valid UTF-8", to(s, "put", latin)},
		"get of no UTF-8":            {exitUsage, "not valid UTF-8", to(s, "get", "a\xff")},
		"ls of no UTF-8":             {exitUsage, "not valid UTF-8", to(s, "ls", "a\xff")},
	} {
		work := t.TempDir()
		r := waybillIn(t, work, clean(), c.args...)
		assert.Equal(t, c.code, r.code, "%s: %s", name, r.err)
		assert.Contains(t, r.err, c.says, name)
		assert.NotContains(t, r.err, "\n", name)
		assert.Empty(t, r.out, name)
		left, err := os.ReadDir(work)
		require.NoError(t, err)
		assert.Empty(t, left, name)
	}
	r = waybill(t, to(s, "put", latin, "cafe")...)
	assert.Zero(t, r.code, r.err)
	r = waybill(t, to(s, "get", "cafe", latin+"2")...)
	assert.Zero(t, r.code, r.err)
	assert.FileExists(t, latin+"2", "here a name may be anything")
	left, err := filepath.Glob(filepath.Join(dir, "*"+noteSuffix))
	require.NoError(t, err)
	assert.Empty(t, left, "no note of a session that never was")
}

// Two runs at once do not share a note; the second is told who is in the way.
func TestPutTwiceAtOnce(t *testing.T) {
	t.Parallel()
	s := serve(t)
	g := newGate(t, s.addr, 1<<20, -1)
	file := filepath.Join(t.TempDir(), "f")
	sum := randomFile(t, file, 2<<20)
	first := start(t, t.TempDir(), clean(), via(s, g, "put", file)...)
	<-g.held
	r := waybill(t, to(s, "put", file)...)
	assert.Equal(t, exitCantCreate, r.code, r.err)
	assert.Contains(t, r.err, "21101")
	assert.Contains(t, r.err, "another waybill is at work")
	g.open()
	require.Zero(t, first.wait(), first.stderr())
	assert.Equal(t, sum, sumOf(t, filepath.Join(s.root, "f")))
}

func TestTokenIssue(t *testing.T) {
	t.Parallel()
	s := serve(t)
	r := waybill(t, to(s, "token", "issue", "--permissions", "mcsl.daemon.file.**,waybill.journal.read", "--expires", "1h", "--subject", "ci", "--json")...)
	require.Zero(t, r.code, r.err)
	assert.Regexp(t, `^{"token":"[\w-]+\.[\w-]+\.[\w-]+","expires":"20[^"]+Z"}\n$`, r.out)
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte(strings.Split(r.out, `"`)[3]), 0o600))
	r = waybill(t, "ls", "--url", s.url(), "--token-file", token)
	assert.Zero(t, r.code, r.err)
	issued := s.records("token.issued")
	require.Len(t, issued, 1)
	assert.Equal(t, "ci", issued[0]["body"].(map[string]any)["subject"])
}

func TestCompletionVersionHelp(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish"} {
		r := waybill(t, "completion", shell)
		assert.Zero(t, r.code, shell)
		assert.Contains(t, r.out, "waybill", shell)
	}
	r := waybillIn(t, t.TempDir(), clean("COMP_LINE=waybill journal v", "COMP_POINT=17"))
	assert.Equal(t, result{0, "verify\n", ""}, r)
	for line, want := range map[string]string{
		"waybill use":                   "user\n",
		"waybill user pass":             "passwd\n",
		"waybill group c":               "create\n",
		"waybill rules s":               "set\n",
		"waybill policy g":              "get\n",
		"waybill rules set --external":  "--external-access\n",
		"waybill serve --ftp-passive-h": "--ftp-passive-host\n",
	} {
		r = waybillIn(t, t.TempDir(), clean("COMP_LINE="+line, "COMP_POINT="+strconv.Itoa(len(line))))
		assert.Equal(t, result{0, want, ""}, r, line)
	}
	r = waybill(t, "version")
	assert.Zero(t, r.code)
	assert.Regexp(t, `^waybill \S+ \(go1\.\S+, \w+/\w+\)\n$`, r.out)
	r = waybill(t, "put", "--help")
	assert.Zero(t, r.code)
	assert.Contains(t, r.out, "--retry-for")
	assert.Empty(t, r.err)
}

func TestEndpoint(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"ws://h:1":                    "http://h:1",
		"ws://h:1/":                   "http://h:1",
		"ws://h:1/api/v1":             "http://h:1",
		"http://h:1/api/v1/":          "http://h:1",
		"ws://h:1/cfms/v1":            "http://h:1",
		"wss://h/x/cfms/v1/":          "https://h/x",
		"wss://h":                     "https://h",
		"https://h/waybill/api/v1":    "https://h/waybill",
		"ws://[::1]:11451":            "http://[::1]:11451",
		"h:1":                         "",
		"127.0.0.1:1":                 "",
		"ftp://h":                     "",
		"ws:///x":                     "",
		"ws://user@h":                 "",
		"ws://h/api/v1?token=secret1": "",
		"ws://h#x":                    "",
		"ws://%zz":                    "",
	} {
		var e endpoint
		err := e.UnmarshalText([]byte(text))
		if text == "127.0.0.1:1" {
			assert.ErrorContains(t, err, "must begin with ws://")
		}
		if want == "" {
			assert.Error(t, err, text)
			continue
		}
		require.NoError(t, err, text)
		assert.Equal(t, want, e.base)
	}
}

func TestByteSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]byteSize{
		"0": 0, "512": 512, "1B": 1, "64KiB": 64 << 10, "16MiB": 16 << 20, "16 mib": 16 << 20,
		"2GiB": 2 << 30, "1TiB": 1 << 40, "10kB": 10e3, "10MB": 10e6, "3GB": 3e9, "1TB": 1e12,
		"": -1, "MiB": -1, "-1": -1, "1.5MiB": -1, "16M": -1, "16MiBB": -1, "9999999999GiB": -1, "0x10": -1,
	} {
		var b byteSize
		err := b.UnmarshalText([]byte(text))
		if want < 0 {
			assert.Error(t, err, text)
			continue
		}
		require.NoError(t, err, text)
		assert.Equal(t, want, b, text)
	}
	assert.Equal(t, "0 B", byteSize(0).String())
	assert.Equal(t, "1023 B", byteSize(1023).String())
	assert.Equal(t, "1.0 KiB", byteSize(1024).String())
	assert.Equal(t, "2.0 GiB", byteSize(1<<31-1).String())
}
