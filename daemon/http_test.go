package daemon

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/journal"
)

func TestFrontBeforeThereIsAServer(t *testing.T) {
	t.Parallel()
	var f front
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 503, "/info": 503, "/api/v1": 503, "/nowhere": 503} {
		w := httptest.NewRecorder()
		f.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		assert.Equal(t, want, w.Code, path)
		assert.Equal(t, "*", w.Header().Get("Access-Control-Allow-Origin"))
	}
}

func TestEndpoints(t *testing.T) {
	t.Parallel()
	r := run(t, nil)
	auditor := r.subtoken(url.Values{"permissions": {"waybill.journal.read"}, "subject": {"auditor"}})
	panel := r.subtoken(url.Values{"permissions": {"mcsl.daemon.file"}})
	for _, c := range []struct {
		name, method, path string
		header             []string
		code               int
		body               string // a part of it
	}{
		{"alive", "GET", "/healthz", nil, 200, "ok"},
		{"ready", "GET", "/readyz", nil, 200, "ready"},
		{"info", "GET", "/info", nil, 200, `{"name":"waybill","version":"test","api_version":"v1","apiVersion":"v1"}`},
		{"info by HEAD", "HEAD", "/info", nil, 200, ""},
		{"info by POST", "POST", "/info", nil, 405, "method"},
		{"subtoken by GET", "GET", "/subtoken", nil, 405, "method"},
		{"unknown", "GET", "/nowhere", nil, 404, "not found"},
		{"root", "GET", "/", nil, 404, "not found"},
		{"trailing slash", "GET", "/info/", nil, 404, "not found"},
		{"preflight", "OPTIONS", "/subtoken", nil, 204, ""},
		{"preflight of nothing", "OPTIONS", "/nowhere", nil, 204, ""},
		{"bad token", "GET", "/api/v1?token=x", nil, 401, "not valid"},
		{"bad bearer", "GET", "/api/v1", []string{"Authorization", "Bearer x"}, 401, "not valid"},
		{"no upgrade", "GET", "/api/v1?token=" + r.token, nil, 426, ""},
		{"journal without token", "GET", "/journal", nil, 401, "not valid"},
		{"journal, token in the query", "GET", "/journal?token=" + r.token, nil, 401, "not valid"},
		{"journal without permission", "GET", "/journal", []string{"Authorization", "Bearer " + panel}, 403, "waybill.journal.read"},
		{"journal", "GET", "/journal", []string{"Authorization", "bearer " + auditor}, 200, `"kind":"daemon.started"`},
		{"journal, bad number", "GET", "/journal?from=-1", []string{"Authorization", "Bearer " + auditor}, 400, "from"},
		{"journal, backwards", "GET", "/journal?from=2&to=1", []string{"Authorization", "Bearer " + auditor}, 400, "from"},
		{"journal, bad follow", "GET", "/journal?follow=maybe", []string{"Authorization", "Bearer " + auditor}, 400, "follow"},
		{"journal beyond its end", "GET", "/journal?from=100000", []string{"Authorization", "Bearer " + auditor}, 200, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, body, h := r.do(c.method, c.path, "", c.header...)
			assert.Equal(t, c.code, code, body)
			assert.Contains(t, body, c.body)
			assert.Equal(t, "*", h.Get("Access-Control-Allow-Origin"))
		})
	}
	_, metrics, _ := r.do("GET", "/metrics", "")
	for _, name := range []string{
		`waybill_live_sessions{kind="upload"} 0`, "waybill_commit_seconds_bucket", "waybill_commit_records_sum", "waybill_journal_bytes",
		"waybill_queue_depth 0", `waybill_connections{state="authenticated"} 0`, "waybill_slow_consumers_closed_total 0",
		"waybill_pending_requests 0", "go_goroutines", `waybill_actions_total{action="unknown",code="permission_denied"} 1`,
	} {
		assert.Contains(t, metrics, name)
	}
	// What an authenticated caller was refused is recorded, and that the
	// journal was read.
	list := r.records()
	assert.Equal(t, 1, count(list, func(x record) bool {
		return x.Kind == "action.refused" && x.Body["code"] == "permission_denied" && x.Body["action"] == "journal_read"
	}))
	assert.Equal(t, 3, count(list, func(x record) bool { return x.Kind == "action.refused" && x.Actor == "auditor" }))
	assert.Equal(t, 2, count(list, func(x record) bool { return x.Kind == "action.answered" && x.Actor == "auditor" }))
}

// The record of a reading says what was asked for, that of a refusal, too; what
// is no parameter of it, a token in the wrong place say, is not written down.
func TestJournalReadingsAreRecorded(t *testing.T) {
	t.Parallel()
	r := run(t, nil)
	for _, query := range []string{"", "from=1&to=2", "path=a%2Fb&kind=upload.*&since=", "from=5&to=4", "secret=hunter2"} {
		r.do("GET", "/journal?"+query, "", "Authorization", "Bearer "+r.token)
	}
	r.do("HEAD", "/journal?from=1", "", "Authorization", "Bearer "+r.token)
	var told []string
	for _, x := range r.records() {
		if x.Body["action"] == "journal_read" {
			params, _ := x.Body["params"].(map[string]any)
			told = append(told, fmt.Sprintf("%s %v", x.Kind, params["query"]))
		}
	}
	assert.Equal(t, []string{
		"action.answered <nil>", "action.answered from=1&to=2", "action.answered kind=upload.%2A&path=a%2Fb&since=",
		"action.refused <nil>", "action.refused <nil>", "action.answered from=1",
		"action.answered <nil>", // the reading of the records here
	}, told)
	_, found, _ := r.do("GET", "/journal?path=a%2Fb", "", "Authorization", "Bearer "+r.token)
	assert.Empty(t, found)
}

func TestSubtoken(t *testing.T) {
	t.Parallel()
	r := run(t, nil)
	form := func(v url.Values) (string, string) {
		return v.Encode(), "application/x-www-form-urlencoded"
	}
	multi := func(v url.Values) (string, string) {
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		for k := range v {
			require.NoError(t, w.WriteField(k, v.Get(k)))
		}
		require.NoError(t, w.Close())
		return b.String(), w.FormDataContentType()
	}
	object := func(v url.Values) (string, string) {
		m := map[string]any{}
		for k := range v {
			m[k] = v.Get(k)
			if n, err := strconv.Atoi(v.Get(k)); err == nil && k == "expires" {
				m[k] = n
			}
		}
		b, err := json.Marshal(m)
		require.NoError(t, err)
		return string(b), "application/json; charset=utf-8"
	}
	for kind, encode := range map[string]func(url.Values) (string, string){"form": form, "multipart": multi, "json": object} {
		for _, c := range []struct {
			name string
			v    url.Values
			code int
			want jwt.MapClaims
		}{
			{"defaults", url.Values{}, 200, jwt.MapClaims{"permissions": "*", "sub": "main", "life": 30.0}},
			{"everything", url.Values{"expires": {"3600"}, "permissions": {"a.b, c.**"}, "subject": {"ci-7.x_"}}, 200,
				jwt.MapClaims{"permissions": "a.b,c.**", "sub": "ci-7.x_", "life": 3600.0}},
			{"longest", url.Values{"expires": {"31536000"}}, 200, jwt.MapClaims{"permissions": "*", "sub": "main", "life": 31536000.0}},
			{"too long", url.Values{"expires": {"31536001"}}, 400, nil},
			{"nothing", url.Values{"expires": {"0"}}, 400, nil},
			{"negative", url.Values{"expires": {"-5"}}, 400, nil},
			{"no number", url.Values{"expires": {"1h"}}, 400, nil},
			{"no permission", url.Values{"permissions": {"a b"}}, 400, nil},
			{"no subject", url.Values{"subject": {"a/b"}}, 400, nil},
			{"long subject", url.Values{"subject": {strings.Repeat("x", 65)}}, 400, nil},
			{"wrong token", url.Values{"token": {strings.Repeat("x", 32)}}, 401, nil},
			{"empty token", url.Values{"token": {""}}, 401, nil},
			{"wrong token, bad value", url.Values{"token": {"x"}, "expires": {"x"}}, 401, nil},
			{"too much", url.Values{"filler": {strings.Repeat("x", maxSubtokenBody)}}, 400, nil},
		} {
			t.Run(kind+"/"+c.name, func(t *testing.T) {
				if !c.v.Has("token") {
					c.v.Set("token", r.token)
				}
				body, contentType := encode(c.v)
				code, got, h := r.do("POST", "/subtoken", body, "Content-Type", contentType)
				require.Equal(t, c.code, code, got)
				assert.True(t, strings.HasPrefix(h.Get("Content-Type"), "text/plain"))
				assert.NotContains(t, got, r.token)
				if code != 200 {
					assert.Equal(t, 1, strings.Count(got, "\n"), "one line")
					return
				}
				var claims jwt.MapClaims
				_, _, err := jwt.NewParser().ParseUnverified(got, &claims)
				require.NoError(t, err)
				claims["life"] = claims["exp"].(float64) - claims["iat"].(float64)
				for k, v := range c.want {
					assert.Equal(t, v, claims[k], k)
				}
				assert.Equal(t, tokenParty, claims["iss"])
				assert.Equal(t, tokenParty, claims["aud"])
				assert.Len(t, claims["jti"], 36)
			})
		}
	}
	t.Run("permissions as an array", func(t *testing.T) {
		for body, contentType := range map[string]string{
			`{"token":"` + r.token + `","permissions":["a","b.c"],"expires":"60"}`: "application/json",
			`{"token":"` + r.token + `","permissions":["a","b.c"]}`:                "",
			"token=" + r.token + "&permissions=" + url.QueryEscape(`["a","b.c"]`):  "application/x-www-form-urlencoded",
			"token=" + r.token + "&permissions=a&permissions=b.c":                  "application/x-www-form-urlencoded",
		} {
			code, got, _ := r.do("POST", "/subtoken", body, "Content-Type", contentType)
			require.Equal(t, 200, code, got)
			var claims jwt.MapClaims
			_, _, err := jwt.NewParser().ParseUnverified(got, &claims)
			require.NoError(t, err)
			assert.Equal(t, "a,b.c", claims["permissions"])
		}
		for _, body := range []string{`{"token":`, `[]`, `{"token":"` + r.token + `","permissions":[1]}`, `{"token":"` + r.token + `","expires":1.5}`} {
			code, _, _ := r.do("POST", "/subtoken", body, "Content-Type", "application/json")
			assert.Equal(t, 400, code, body)
		}
	})
	t.Run("no token at all", func(t *testing.T) {
		for _, body := range []string{"", " ", "\r\n\t"} {
			code, got, _ := r.do("POST", "/subtoken", body, "Content-Type", "text/plain")
			assert.Equal(t, 401, code, "%q: %s", body, got)
		}
	})
	t.Run("an empty list grants nothing", func(t *testing.T) {
		p := r.panel(r.subtoken(url.Values{"permissions": {""}}))
		assert.Equal(t, 10003, p.call("get_file_info", map[string]any{"path": "x"}).Retcode)
	})
	list := r.records()
	issued := count(list, func(x record) bool { return x.Kind == "token.issued" && x.Actor == "main" })
	assert.Equal(t, 9+4+1, issued)
	refused := count(list, func(x record) bool { return x.Kind == "action.refused" && x.Body["action"] == "subtoken" })
	assert.Equal(t, 3*8-3+1, refused, "bad values of the main token's holder")
	_, whole, _ := r.do("GET", "/journal", "", "Authorization", "Bearer "+r.token)
	assert.NotContains(t, whole, r.token)
	assert.NotContains(t, whole, "eyJ", "no token in the journal")
}

func TestTokens(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_800_000_000, 0)
	key := bytes.Repeat([]byte{7}, 32)
	a := newAuthority(strings.Repeat("m", 32), key, func() time.Time { return at })
	good := func() jwt.MapClaims {
		return jwt.MapClaims{"iss": tokenParty, "aud": tokenParty, "exp": at.Unix() + 60, "permissions": "a.b"}
	}
	sign := func(c jwt.MapClaims, method jwt.SigningMethod, key any) string {
		s, err := jwt.NewWithClaims(method, c).SignedString(key)
		require.NoError(t, err)
		return s
	}
	with := func(k string, v any) jwt.MapClaims {
		c := good()
		if c[k] = v; v == nil {
			delete(c, k)
		}
		return c
	}
	hs := jwt.SigningMethodHS256
	for name, c := range map[string]struct {
		token   string
		subject string // "" if not valid
		main    bool
		allows  string
	}{
		"main token":              {strings.Repeat("m", 32), "main", true, "anything.at.all"},
		"not quite":               {strings.Repeat("m", 31), "", false, ""},
		"empty":                   {"", "", false, ""},
		"garbage":                 {"a.b.c", "", false, ""},
		"good":                    {sign(good(), hs, key), "main", false, "a.b.c"},
		"subject":                 {sign(with("sub", "ci"), hs, key), "ci", false, "a.b"},
		"bad subject":             {sign(with("sub", "a b"), hs, key), "", false, ""},
		"audience as a list":      {sign(with("aud", []string{tokenParty}), hs, key), "main", false, "a.b"},
		"perms":                   {sign(jwt.MapClaims{"iss": tokenParty, "aud": tokenParty, "exp": at.Unix() + 1, "perms": "x"}, hs, key), "main", false, "x"},
		"list":                    {sign(with("permissions", []string{"q", "r"}), hs, key), "main", false, "r"},
		"no permissions":          {sign(with("permissions", nil), hs, key), "main", false, ""},
		"bad permissions":         {sign(with("permissions", "a b"), hs, key), "", false, ""},
		"within the leeway":       {sign(with("exp", at.Unix()), hs, key), "main", false, "a.b"},
		"expired":                 {sign(with("exp", at.Unix()-1), hs, key), "", false, ""},
		"no expiry":               {sign(with("exp", nil), hs, key), "", false, ""},
		"not yet":                 {sign(with("nbf", at.Unix()+60), hs, key), "", false, ""},
		"foreign issuer":          {sign(with("iss", "x"), hs, key), "", false, ""},
		"foreign audience":        {sign(with("aud", "x"), hs, key), "", false, ""},
		"no issuer":               {sign(with("iss", nil), hs, key), "", false, ""},
		"wrong key":               {sign(good(), hs, []byte("x")), "", false, ""},
		"HS512":                   {sign(good(), jwt.SigningMethodHS512, key), "", false, ""},
		"none":                    {sign(good(), jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType), "", false, ""},
		"main token as signature": {sign(good(), hs, []byte(strings.Repeat("m", 32))), "", false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			who, err := a.check(c.token)
			if c.subject == "" {
				require.ErrorIs(t, err, errToken)
				assert.Equal(t, errToken.Error(), err.Error(), "says nothing of the token")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.subject, who.Subject)
			assert.Equal(t, c.main, who.Main)
			assert.True(t, who.Permissions.Allow(c.allows))
			assert.Equal(t, c.main, who.Permissions.Allow("z.z"))
		})
	}
	token, issued, err := a.issue("s", []string{"p", "q"}, time.Minute)
	require.NoError(t, err)
	who, err := a.check(token)
	require.NoError(t, err)
	assert.Equal(t, []string{"p", "q"}, who.Permissions.Strings())
	assert.Equal(t, at.Add(time.Minute), issued.Expires)
}

func TestJournalOverHTTP(t *testing.T) {
	t.Parallel()
	r := run(t, nil)
	for range 3 {
		r.subtoken(url.Values{})
	}
	auth := []string{"Authorization", "Bearer " + r.token}
	code, body, h := r.do("GET", "/journal", "", auth...)
	require.Equal(t, 200, code)
	head, err := journal.VerifyExport(t.Context(), strings.NewReader(body))
	require.NoError(t, err)
	assert.Equal(t, h.Get("Waybill-Journal-Size"), strconv.FormatUint(head.Size, 10))
	assert.Equal(t, h.Get("Waybill-Journal-Root"), head.Root.String())
	lines := strings.SplitAfter(body, "\n")

	_, part, h := r.do("GET", "/journal?from=1&to=3", "", auth...)
	assert.Equal(t, lines[1]+lines[2], part)
	assert.Equal(t, strconv.FormatUint(head.Size+1, 10), h.Get("Waybill-Journal-Size"), "the reading before is in it")
	_, none, _ := r.do("HEAD", "/journal", "", auth...)
	assert.Empty(t, none)

	// A follower gets what is there and then what comes, in order, until the
	// daemon stops.
	req, err := http.NewRequest("GET", "http://"+r.addr+"/journal?from=2&follow=1", nil)
	require.NoError(t, err)
	req.Header.Set(auth[0], auth[1])
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	got := make(chan record, 1024)
	ended := make(chan error, 1)
	go func() {
		defer close(got)
		dec := json.NewDecoder(res.Body)
		for {
			var x record
			if err := dec.Decode(&x); err != nil {
				ended <- err
				return
			}
			got <- x
		}
	}()
	want := uint64(2)
	follow := func(until string) {
		for {
			x := within(t, got, "the follower gets nothing")
			require.Equal(t, want, x.Seq)
			want++
			if x.Ref == until {
				return
			}
		}
	}
	p := r.panel(r.token)
	for range 3 {
		follow(p.call("get_permissions", nil).ID)
	}
	require.NoError(t, r.stop())
	_ = within(t, ended, "the follower is not let go")
}
