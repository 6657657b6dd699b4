package docwire

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/actions"
	"waybill/fsview/acl"
	"waybill/fsview/doctree"
)

func replyTo(req Request, res actions.DocResult, err error) string {
	return string(AppendReply(nil, &req, res, err, testSettings))
}

var (
	aDir  = doctree.ListEntry{ID: "d1", Name: `D "1"`, Dir: true, State: doctree.State{}, Created: 1700000000}
	aFile = doctree.ListEntry{ID: "C00001", Name: "héllo.txt", State: doctree.State{Deleted: true, Expire: 1700604800}, Created: 1700000000.25, Size: 27}
)

const (
	aDirJSON  = `"d1":{"name":"D \"1\"","type":"dir","state":{"code":"ok","expire_time":0},"properties":{"created_time":1700000000.0}}`
	aFileJSON = `"C00001":{"name":"héllo.txt","type":"file","state":{"code":"deleted","expire_time":1700604800},"properties":{"created_time":1700000000.25,"size":27}}`
	oneOK     = `{"code":0,"msg":"ok"`
)

// resultCases has every result there is, and the exact bytes it becomes.
var resultCases = map[string]struct {
	res  actions.DocResult
	want string
}{
	"done":                 {actions.Done{}, oneOK + `}`},
	"renamed":              {actions.Done{Renamed: true}, `{"code":0,"msg":"success"}`},
	"unchanged":            {actions.Done{Unchanged: true}, `{"code":0,"msg":"no changes made"}`},
	"logged in":            {&actions.LoggedIn{Token: "a.b"}, oneOK + `,"token":"a.b","ftp_port":5104,"task_path":"/tasks/"}`},
	"refreshed":            {&actions.Refreshed{Token: "a.b"}, oneOK + `,"token":"a.b"}`},
	"own password":         {&actions.PasswordSet{Token: "a.b"}, oneOK + `,"token":"a.b"}`},
	"another's password":   {&actions.PasswordSet{}, oneOK + `}`},
	"stopping":             {actions.Stopping{}, `{"code":200,"msg":"goodbye"}`},
	"task":                 {&actions.TaskOpened{ID: "i", Token: "t", Expires: time.UnixMicro(1795192352_430000), Key: "C00001", FakeName: "00ff"}, oneOK + `,"data":{"task_id":"i","task_token":"t","expire_time":1795192352.43,"t_filename":{"C00001":"00ff"}}}`},
	"avatar task":          {&actions.TaskOpened{ID: "i", Token: "t", Expires: time.Unix(1795192352, 0), FakeName: "00ff"}, oneOK + `,"data":{"task_id":"i","task_token":"t","expire_time":1795192352.00,"t_filename":{"":"00ff"}}}`},
	"file created":         {&actions.TaskOpened{ID: "i", Token: "t", Expires: time.UnixMicro(1_000001), Key: "f", FakeName: "00ff", Created: true}, `{"code":0,"msg":"file created","data":{"task_id":"i","task_token":"t","expire_time":1.000001,"t_filename":{"f":"00ff"}}}`},
	"no revisions":         {&actions.RevisionList{}, oneOK + `,"data":{"revisions":{}}}`},
	"revisions":            {&actions.RevisionList{Revisions: []doctree.RevisionInfo{{ID: "b2", Created: 2, Size: 27, Digest: "50ec"}, {ID: "a1", Created: 1.5, State: doctree.State{Deleted: true, Expire: 9}, Digest: "e3b0"}}}, oneOK + `,"data":{"revisions":{"b2":{"created_time":2.0,"state":0,"state_expire_time":0,"size":27,"sha256":"50ec"},"a1":{"created_time":1.5,"state":1,"state_expire_time":9,"size":0,"sha256":"e3b0"}}}}`},
	"root":                 {&actions.DirListing{Root: true, Listing: &doctree.Listing{Entries: []doctree.ListEntry{aDir, aFile}}}, oneOK + `,"dir_data":{` + aDirJSON + `,` + aFileJSON + `}}`},
	"empty root":           {&actions.DirListing{Root: true, Listing: &doctree.Listing{}}, oneOK + `,"dir_data":{}}`},
	"directory":            {&actions.DirListing{Listing: &doctree.Listing{ID: "d", Name: "Test Dir", Parent: &doctree.ListEntry{Name: "<root directory>", Dir: true}, Entries: []doctree.ListEntry{aDir, aFile}}}, oneOK + `,"dir_data":{"":{"name":"<root directory>","type":"dir","parent":true,"properties":{"created_time":0.0}},` + aDirJSON + `,` + aFileJSON + `},"dir_name":"Test Dir"}`},
	"getDir":               {&actions.DirListing{Deprecated: true, Listing: &doctree.Listing{ID: "d", Name: "n", Parent: &doctree.ListEntry{ID: "p", Name: "P", Dir: true, Created: 1.125, State: doctree.State{Deleted: true, Expire: 5}}}}, oneOK + `,"dir_data":{"p":{"name":"P","type":"dir","parent":true,"properties":{"created_time":1.125}}},"dir_name":"n","deprecated":true}`},
	"unreadable parent":    {&actions.DirListing{Listing: &doctree.Listing{ID: "d", Name: "n", Entries: []doctree.ListEntry{{ID: "f", Name: "f", Size: -1}}}}, oneOK + `,"dir_data":{"f":{"name":"f","type":"file","state":{"code":"ok","expire_time":0},"properties":{"created_time":0.0,"size":-1}}},"dir_name":"n"}`},
	"batch":                {&actions.BatchDone{Succeeded: []string{"C00001", "dir01"}}, `{"code":0,"msg":"request processed","data":{"succeeded":["C00001","dir01"],"failed":[]}}`},
	"batch, partly":        {&actions.BatchDone{Failed: []string{"a\"b"}}, `{"code":-3,"msg":"request processed","data":{"succeeded":[],"failed":["a\"b"]}}`},
	"directory created":    {&actions.DirCreated{ID: "d"}, `{"code":0,"msg":"directory created","data":{"dir_id":"d"}}`},
	"policy":               {&actions.PolicyContent{Content: rawJSON(`{"a":[1]}`)}, oneOK + `,"data":{"a":[1]}}`},
	"policy of nothing":    {&actions.PolicyContent{}, oneOK + `,"data":{}}`},
	"rules":                {&actions.AccessRules{AccessInfo: doctree.AccessInfo{AccessRules: rawJSON(`{"read":[]}`), ExternalAccess: rawJSON(`{}`)}}, oneOK + `,"data":{"access_rules":{"read":[]},"external_access":{}}}`},
	"rules of the root":    {&actions.AccessRules{AccessInfo: doctree.AccessInfo{Inherit: ptr(false)}}, oneOK + `,"data":{"access_rules":{},"external_access":{},"inherit_by_subdirectory":false}}`},
	"public key":           {&actions.PublicKey{PEM: "-----BEGIN\nx\n"}, oneOK + `,"data":{"publickey":"-----BEGIN\nx\n"}}`},
	"properties of nobody": {&actions.Properties{}, oneOK + `,"rights":[],"groups":[],"properties":{"state":0,"state_description":{"time":0.0,"operator":null,"reason":null},"nickname":"","avatar":{"file_id":null},"publicity":{"restricted":false,"access_rules":{},"external_access":{}}}}`},
	"properties": {&actions.Properties{Properties: acl.Properties{Rights: []string{"a", "b"}, Groups: []string{"user"}, Properties: acl.UserProperties{
		State: 1, StateDescription: acl.StateDescription{Time: 1700000000.5, Operator: ptr("admin"), Reason: ptr("\t")}, Nickname: "n", Avatar: acl.AvatarProperty{FileID: ptr("f")},
		Publicity: acl.Publicity{Restricted: true, AccessRules: rawJSON(`{"read":[]}`), ExternalAccess: rawJSON(`{"users":{}}`)},
	}}}, oneOK + `,"rights":["a","b"],"groups":["user"],"properties":{"state":1,"state_description":{"time":1700000000.5,"operator":"admin","reason":"\t"},"nickname":"n","avatar":{"file_id":"f"},"publicity":{"restricted":true,"access_rules":{"read":[]},"external_access":{"users":{}}}}}`},
	"group":         {&actions.GroupCreated{}, oneOK + `,"data":{"failed":[]}}`},
	"group, partly": {&actions.GroupCreated{Failed: []string{"nobody"}}, `{"code":-3,"msg":"request processed","data":{"failed":["nobody"]}}`},
}

func TestResults(t *testing.T) {
	for shows, c := range resultCases {
		t.Run(shows, func(t *testing.T) {
			got := replyTo(Request{}, c.res, nil)
			assert.Equal(t, c.want, got)
			assert.True(t, json.Valid([]byte(got)))
			traced := replyTo(Request{TraceID: `a"`}, c.res, nil)
			assert.Equal(t, strings.TrimSuffix(c.want, "}")+`,"trace_id":"a\"","api_version":"v1"}`, traced)
			assert.Equal(t, "x"+c.want, string(AppendReply([]byte("x"), &Request{}, c.res, nil, testSettings)))
		})
	}
}

// TestEveryResultIsRendered reads which results there are from where they are
// declared.
func TestEveryResultIsRendered(t *testing.T) {
	source, err := os.ReadFile("../../actions/docresult.go")
	require.NoError(t, err)
	seen := make(map[string]bool)
	for _, c := range resultCases {
		seen[fmt.Sprintf("%T", c.res)] = true
	}
	declared := regexp.MustCompile(`(?m)^func \((\*?)(\w+)\) isDocResult\(\)`).FindAllSubmatch(source, -1)
	require.Len(t, declared, len(seen))
	for _, d := range declared {
		assert.True(t, seen[string(d[1])+"actions."+string(d[2])], "%s", d[2])
	}
}

func TestLoginTellsThePort(t *testing.T) {
	assert.Equal(t, oneOK+`,"token":"t","ftp_port":0,"task_path":"/tasks/"}`,
		string(AppendReply(nil, &Request{}, &actions.LoggedIn{Token: "t"}, nil, Settings{})))
}

func TestGoodbye(t *testing.T) {
	assert.Equal(t, "Goodbye", replyTo(Request{Name: "disconnect", Disconnect: true, TraceID: "t"}, nil, nil))
	assert.Equal(t, `{"code":500,"msg":"internal server error"}`, replyTo(Request{Name: "login"}, nil, nil), "nothing is no success")
}

// commented finds the number and the words that package acl writes behind each
// code.
var commented = regexp.MustCompile(`(?m)^\tCode\w+ +Code = "(\w+)" +// (-?\d+) ([^;,\n]*)`)

func TestEveryCodeHasAnAnswer(t *testing.T) {
	require.Len(t, answers, len(acl.Codes()))
	for _, c := range acl.Codes() {
		a, ok := answers[c]
		require.True(t, ok, c)
		assert.NotZero(t, a.number, c)
		assert.NotEqual(t, numberGoodbye, a.number, c)
		assert.NotEmpty(t, a.words, c)
	}
	source, err := os.ReadFile("../../fsview/acl/code.go")
	require.NoError(t, err)
	found := 0
	for _, m := range commented.FindAllSubmatch(source, -1) {
		a := answers[acl.Code(m[1])]
		if string(m[1]) == string(acl.CodeDiskFull) {
			continue // a transfer's
		}
		found++
		assert.Equal(t, string(m[2]), fmt.Sprint(a.number), "%s", m[1])
		said := string(m[3])
		if acl.Code(m[1]) == acl.CodeRestoreFirst { // has a comma in it
			said += ", please restore it first"
		}
		assert.Equal(t, said, a.words, "%s", m[1])
	}
	assert.Greater(t, found, 50)
}

func TestRefusalReplies(t *testing.T) {
	for shows, c := range map[string]struct {
		err  error
		want string
	}{
		"a code":             {acl.CodeDenied, `{"code":403,"msg":"access denied"}`},
		"a wrapped code":     {fmt.Errorf("x: %w", acl.CodeMissing), `{"code":-1,"msg":"missing necessary arguments"}`},
		"a refusal":          {&acl.Refusal{Code: acl.CodeNoFile}, `{"code":-1,"msg":"no such file"}`},
		"a wrapped refusal":  {fmt.Errorf("x: %w", &acl.Refusal{Code: acl.CodeOwnParent}), `{"code":-2,"msg":"a directory cannot be its own parent"}`},
		"restore first":      {&acl.Refusal{Code: acl.CodeRestoreFirst, Expire: 1700604800}, `{"code":-1,"msg":"The file has been marked for deletion, please restore it first","data":{"expire_time":1700604800}}`},
		"blocked":            {&acl.Refusal{Code: acl.CodeLoginBlocked, RetryAfter: 30}, `{"code":401,"msg":"username or password incorrect","retry_after":30}`},
		"wrong password":     {&acl.Refusal{Code: acl.CodeLogin}, `{"code":401,"msg":"username or password incorrect"}`},
		"no avatar":          {acl.CodeNoAvatar, `{"code":404,"msg":"not found","data":{}}`},
		"not found":          {acl.CodeNotFound, `{"code":404,"msg":"not found"}`},
		"file exists":        {acl.CodeFileExists, `{"code":-1,"msg":"file or directory exists.","__hint__":"if you want to override a file, use 'operateFile' instead."}`},
		"directory exists":   {acl.CodeDirExists, `{"code":-1,"msg":"file or directory exists.","__hint__":"if you want to override a directory, use 'operateDir' instead."}`},
		"no such policy":     {acl.CodeNoPolicy, `{"code":404,"msg":"the policy you've requested does not exist"}`},
		"internal detail":    {errors.New("open /var/lib: permission denied"), `{"code":500,"msg":"internal server error"}`},
		"a code of nobody's": {acl.Code("secret"), `{"code":500,"msg":"internal server error"}`},
		"a refusal of none":  {&acl.Refusal{}, `{"code":500,"msg":"internal server error"}`},
		"bad format":         {acl.CodeFormat, `{"code":-1,"msg":"invaild request format"}`},
		"no auth":            {acl.CodeNoAuth, `{"code":-1,"msg":"no full authentication data provided"}`},
		"bad token":          {acl.CodeToken, `{"code":-1,"msg":"invaild token or username"}`},
	} {
		t.Run(shows, func(t *testing.T) {
			for _, res := range []actions.DocResult{nil, (*actions.DirListing)(nil), actions.Done{}} {
				assert.Equal(t, c.want, replyTo(Request{Name: "login"}, res, c.err))
			}
			assert.Equal(t, strings.TrimSuffix(c.want, "}")+`,"trace_id":"t","api_version":"v1"}`, replyTo(Request{TraceID: "t"}, nil, c.err))
		})
	}
}

func TestRefreshTokenIsUnauthorized(t *testing.T) {
	for code, want := range map[acl.Code]string{
		acl.CodeNoAuth:     `{"code":401,"msg":"no full authentication data provided"}`,
		acl.CodeToken:      `{"code":401,"msg":"invaild token or username"}`,
		acl.CodeNoVersion:  `{"code":-1,"msg":"API version is not given"}`,
		acl.CodeUnexpected: `{"code":500,"msg":"internal server error"}`,
	} {
		assert.Equal(t, want, replyTo(Request{Name: "refreshToken"}, nil, code))
	}
	r := decoded(request(`"request":"refreshToken"`))
	assert.Equal(t, `{"code":401,"msg":"no full authentication data provided"}`, replyTo(r, nil, r.Err))
}

func TestAppendFloat(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0.0", -1: "-1.0", 0.5: "0.5", 1700000000: "1700000000.0", 1700000000.123456: "1700000000.123456",
		1e22: "10000000000000000000000.0", 1e-7: "0.0000001", math.Inf(1): "0.0", math.Inf(-1): "0.0",
	} {
		assert.Equal(t, want, string(appendFloat(nil, "", v)))
	}
	assert.Equal(t, "0.0", string(appendFloat(nil, "", math.NaN())))
	for us, want := range map[int64]string{
		0: "0.00", 1: "0.000001", 10_000: "0.01", 100_000: "0.10", 999_999: "0.999999", -1: "-0.000001", -1_500_000: "-1.50",
	} {
		assert.Equal(t, want, string(appendInstant(nil, "", time.UnixMicro(us))))
	}
}

func FuzzString(f *testing.F) {
	f.Add("a\"\\\n\r\t\x00\x7f\xff\u2028😀\xed\xa0\x80")
	f.Fuzz(func(t *testing.T, s string) {
		got := appendString(nil, s)
		require.True(t, utf8.Valid(got))
		var back string
		require.NoError(t, json.Unmarshal(got, &back), "%q", got)
		require.Equal(t, string([]rune(s)), back)
		text, ok := literal(got).text()
		require.True(t, ok)
		require.Equal(t, back, text)
	})
}
