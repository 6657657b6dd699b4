package docwire

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/actions"
)

func ptr[T any](v T) *T { return &v }

func rawJSON(s string) json.RawMessage { return json.RawMessage(s) }

// kind is what a field may be.
type kind int

const (
	aText kind = iota
	aFlag
	anything
)

// fieldCase is a field of a request: one good value, and where it goes.
type fieldCase struct {
	key  string
	kind kind
	send string
	into func(actions.DocAction)
}

// requestCase is a request with all of its fields; empty makes what it is with
// an empty data, none what it is without any, if that is something else.
type requestCase struct {
	empty, none func() actions.DocAction
	fields      []fieldCase
}

// data is the data with all fields in it.
func (c requestCase) data() string {
	var members []string
	for _, f := range c.fields {
		members = append(members, `"`+f.key+`":`+f.send)
	}
	return "{" + strings.Join(members, ",") + "}"
}

// on is a field of an action of type A.
func on[A actions.DocAction](key string, k kind, send string, into func(A)) fieldCase {
	return fieldCase{key, k, send, func(a actions.DocAction) { into(a.(A)) }}
}

func of[A any, P interface {
	*A
	actions.DocAction
}]() func() actions.DocAction {
	return func() actions.DocAction { return P(new(A)) }
}

const nested = `{"a": [1,{"b":null}]}`

// requestCases has every request but login, which is read otherwise.
var requestCases = map[string]requestCase{
	"refreshToken": {empty: func() actions.DocAction { return actions.RefreshToken{} }},
	"shutdown":     {empty: func() actions.DocAction { return actions.Shutdown{} }},
	"operateFile": {empty: of[actions.OperateFile](), fields: []fieldCase{
		on("file_id", aText, `"f"`, func(a *actions.OperateFile) { a.FileID = ptr("f") }),
		on("action", aText, `"read"`, func(a *actions.OperateFile) { a.Action = ptr("read") }),
		on("view_deleted", aFlag, `true`, func(a *actions.OperateFile) { a.ViewDeleted = true }),
		on("revision_id", aText, `"r"`, func(a *actions.OperateFile) { a.RevisionID = ptr("r") }),
		on("force_write", aFlag, `1`, func(a *actions.OperateFile) { a.ForceWrite = true }),
		on("new_filename", aText, `"n"`, func(a *actions.OperateFile) { a.NewFilename = ptr("n") }),
		on("new_parent", aText, `""`, func(a *actions.OperateFile) { a.NewParent = ptr("") }),
		on("new_id", aText, `"i"`, func(a *actions.OperateFile) { a.NewID = ptr("i") }),
	}},
	"createFile": {
		empty: func() actions.DocAction { return &actions.CreateFile{HasData: true} }, none: of[actions.CreateFile](),
		fields: []fieldCase{
			on("directory_id", aText, `"d"`, func(a *actions.CreateFile) { a.DirectoryID = ptr("d") }),
			on("file_id", aText, `"f"`, func(a *actions.CreateFile) { a.FileID = ptr("f") }),
			on("filename", aText, `"n"`, func(a *actions.CreateFile) { a.Filename = ptr("n") }),
		},
	},
	"getFileRevisions": {empty: of[actions.FileRevisions](), fields: []fieldCase{
		on("file_id", aText, `"f"`, func(a *actions.FileRevisions) { a.FileID = ptr("f") }),
		on("view_deleted", aFlag, `true`, func(a *actions.FileRevisions) { a.ViewDeleted = true }),
		on("reverse", aFlag, `true`, func(a *actions.FileRevisions) { a.Reverse = true }),
		on("item_range", anything, `[0, 3]`, func(a *actions.FileRevisions) { a.ItemRange = rawJSON(`[0, 3]`) }),
	}},
	"operateDir": {empty: of[actions.OperateDir](), fields: []fieldCase{
		on("dir_id", aText, `"d"`, func(a *actions.OperateDir) { a.DirID = ptr("d") }),
		on("action", aText, `"move"`, func(a *actions.OperateDir) { a.Action = ptr("move") }),
		on("view_deleted", aFlag, `true`, func(a *actions.OperateDir) { a.ViewDeleted = true }),
		on("new_dirname", aText, `"n"`, func(a *actions.OperateDir) { a.NewDirname = ptr("n") }),
		on("new_parent", aText, `"p"`, func(a *actions.OperateDir) { a.NewParent = ptr("p") }),
		on("new_id", aText, `"i"`, func(a *actions.OperateDir) { a.NewID = ptr("i") }),
	}},
	"getDir": {empty: of[actions.GetDir](), fields: []fieldCase{
		on("dir_id", aText, `"d"`, func(a *actions.GetDir) { a.DirID = ptr("d") }),
		on("id", aText, `"i"`, func(a *actions.GetDir) { a.DirID = ptr("i") }),
		on("view_deleted", aFlag, `true`, func(a *actions.GetDir) { a.ViewDeleted = true }),
	}},
	"getRootDir": {empty: of[actions.GetRootDir](), fields: []fieldCase{
		on("view_deleted", aFlag, `true`, func(a *actions.GetRootDir) { a.ViewDeleted = true }),
	}},
	"createDir": {empty: of[actions.CreateDir](), fields: []fieldCase{
		on("name", aText, `"n"`, func(a *actions.CreateDir) { a.NewDir.Name = ptr("n") }),
		on("dir_id", aText, `"d"`, func(a *actions.CreateDir) { a.DirID = ptr("d") }),
		on("parent_id", aText, `"p"`, func(a *actions.CreateDir) { a.ParentID = ptr("p") }),
	}},
	"getPolicy": {empty: of[actions.GetPolicy](), fields: []fieldCase{
		on("policy_id", aText, `"p"`, func(a *actions.GetPolicy) { a.ID = ptr("p") }),
	}},
	"setPolicy": {empty: of[actions.SetPolicy](), fields: []fieldCase{
		on("policy_id", aText, `"p"`, func(a *actions.SetPolicy) { a.ID = ptr("p") }),
		on("content", anything, nested, func(a *actions.SetPolicy) { a.Content = rawJSON(nested) }),
	}},
	"getAvatar": {empty: of[actions.GetAvatar](), fields: []fieldCase{
		on("username", aText, `"u"`, func(a *actions.GetAvatar) { a.Username = ptr("u") }),
	}},
	"getAccess": {empty: of[actions.GetAccess](), fields: []fieldCase{
		on("id", aText, `""`, func(a *actions.GetAccess) { a.ID = ptr("") }),
	}},
	"setAccess": {empty: of[actions.SetAccess](), fields: []fieldCase{
		on("id", aText, `"i"`, func(a *actions.SetAccess) { a.ID = ptr("i") }),
		on("access_rules", anything, nested, func(a *actions.SetAccess) { a.AccessRules = rawJSON(nested) }),
		on("external_access", anything, `{}`, func(a *actions.SetAccess) { a.ExternalAccess = rawJSON(`{}`) }),
		on("inherit_by_subdirectory", aFlag, `true`, func(a *actions.SetAccess) { a.Inherit = ptr(true) }),
	}},
	"createUser": {empty: of[actions.CreateUser](), fields: []fieldCase{
		on("username", aText, `"u"`, func(a *actions.CreateUser) { a.Username = ptr("u") }),
		on("password", aText, `"p"`, func(a *actions.CreateUser) { a.Password = ptr("p") }),
		on("nickname", aText, `"n"`, func(a *actions.CreateUser) { a.Nickname = ptr("n") }),
		on("rights", anything, nested, func(a *actions.CreateUser) { a.Rights = rawJSON(nested) }),
		on("groups", anything, `[]`, func(a *actions.CreateUser) { a.Groups = rawJSON(`[]`) }),
	}},
	"operateUser": {empty: of[actions.OperateUser](), fields: []fieldCase{
		on("action", aText, `"passwd"`, func(a *actions.OperateUser) { a.Action = "passwd" }),
		on("username", aText, `"u"`, func(a *actions.OperateUser) { a.Username = ptr("u") }),
		on("new_pwd", aText, `"p"`, func(a *actions.OperateUser) { a.NewPwd = ptr("p") }),
		on("new_groups", anything, `{}`, func(a *actions.OperateUser) { a.NewGroups = rawJSON(`{}`) }),
		on("new_rights", anything, nested, func(a *actions.OperateUser) { a.NewRights = rawJSON(nested) }),
		on("nickname", aText, `""`, func(a *actions.OperateUser) { a.Nickname = ptr("") }),
		on("status", anything, `1`, func(a *actions.OperateUser) { a.Status = rawJSON(`1`) }),
		on("reason", aText, `"w"`, func(a *actions.OperateUser) { a.Reason = ptr("w") }),
		on("publickey", aText, `"k"`, func(a *actions.OperateUser) { a.PublicKey = ptr("k") }),
		on("file_id", aText, `""`, func(a *actions.OperateUser) { a.FileID = ptr("") }),
	}},
	"getUserProperties": {
		empty: func() actions.DocAction { return &actions.UserProperties{HasData: true} }, none: of[actions.UserProperties](),
		fields: []fieldCase{on("username", aText, `"u"`, func(a *actions.UserProperties) { a.Username = "u" })},
	},
	"createGroup": {empty: of[actions.CreateGroup](), fields: []fieldCase{
		on("group_name", aText, `"g"`, func(a *actions.CreateGroup) { a.NewGroup.Name = ptr("g") }),
		on("rights", anything, nested, func(a *actions.CreateGroup) { a.Rights = rawJSON(nested) }),
		on("enabled", anything, `1`, func(a *actions.CreateGroup) { a.Enabled = rawJSON(`1`) }),
		on("members", anything, `["m"]`, func(a *actions.CreateGroup) { a.Members = rawJSON(`["m"]`) }),
		on("group_members", anything, `["g"]`, func(a *actions.CreateGroup) { a.Members = rawJSON(`["g"]`) }),
	}},
}

func TestEveryRequestIsDecoded(t *testing.T) {
	names := append(slices.Collect(maps.Keys(requestCases)), "login")
	assert.ElementsMatch(t, actions.DocRequests(), names)
	for _, name := range actions.DocRequests() {
		r := decoded(request(`"request":"` + name + `","data":{},` + goodAuth))
		require.NoError(t, r.Err)
		assert.Equal(t, name, r.Name)
		assert.Equal(t, name, r.Action.Name())
	}
}

// args decodes the data of a request, "" for none.
func args(t *testing.T, name, data string) actions.DocAction {
	t.Helper()
	if data != "" {
		data = `,"data":` + data
	}
	r := decoded(request(`"request":"` + name + `",` + goodAuth + data))
	require.NoError(t, r.Err)
	return r.Action
}

// wrong is what a field may not be. Texts that read like a flag are none.
var wrong = map[kind][]string{
	aText: {`5`, `1.5`, `true`, `{}`, `[]`, `["a"]`, `{"a":"b"}`},
	aFlag: {`2`, `-1`, `0.5`, `1e999`, `"true"`, `""`, `{}`, `[]`, `[true]`},
}

func TestArguments(t *testing.T) {
	for name, c := range requestCases {
		t.Run(name, func(t *testing.T) {
			none := c.none
			if none == nil {
				none = c.empty
			}
			assert.Equal(t, c.empty(), args(t, name, `{}`), "empty data")
			assert.Equal(t, none(), args(t, name, ""), "no data")
			assert.Equal(t, none(), args(t, name, "null"), "data null")
			assert.Equal(t, c.empty(), args(t, name, `{"unknown":5,"FILE_ID":5,"Username":5,"Action":5}`), "keys that mean nothing")
			for _, data := range []string{`"x"`, `[]`, `5`, `0`, `true`, `false`, `""`} {
				want := actions.DocAction(&actions.BadArguments{Request: name})
				if len(c.fields) == 0 {
					want = c.empty() // there data means nothing
				}
				assert.Equal(t, want, args(t, name, data), data)
			}
			all := c.empty()
			for _, f := range c.fields {
				f.into(all)
				f.test(t, name, c)
			}
			assert.Equal(t, all, args(t, name, c.data()), "all fields")
		})
	}
}

// test sends one field in every way.
func (f fieldCase) test(t *testing.T, name string, c requestCase) {
	one := func(value string) actions.DocAction { return args(t, name, `{"`+f.key+`":`+value+`}`) }
	want := c.empty()
	f.into(want)
	assert.Equal(t, want, one(f.send), f.key)
	assert.Equal(t, c.empty(), one(`null`), f.key)
	assert.Equal(t, want, one(`[[]],"`+f.key+`":`+f.send), "%s: the last counts", f.key)
	assert.Equal(t, c.empty(), one(f.send+`,"`+f.key+`":null`), "%s: the last counts", f.key)
	for _, value := range wrong[f.kind] {
		assert.Equal(t, &actions.BadArguments{Request: name}, one(value), "%s: %s", f.key, value)
		assert.Equal(t, &actions.BadArguments{Request: name}, one(f.send+`,"`+f.key+`":`+value), "%s: %s", f.key, value)
	}
	switch f.kind {
	case aFlag:
		for _, yes := range []string{`true`, `1`, `1.0`} {
			assert.Equal(t, want, one(yes), f.key)
		}
		if f.key == "inherit_by_subdirectory" { // where no is not the same as nothing
			assert.Equal(t, ptr(false), one(`0`).(*actions.SetAccess).Inherit)
			return
		}
		for _, no := range []string{`false`, `0`, `-0.0`} {
			assert.Equal(t, c.empty(), one(no), f.key)
		}
	case anything:
		for _, value := range []string{`0`, `""`, `"\ud800"`, `[]`, `[[[null]]]`, `false`, `{"a":1,"a":2}`} {
			assert.NotEqual(t, c.empty(), one(value), "%s: %s is for the core to judge", f.key, value)
		}
	}
}

func TestAlternativeNames(t *testing.T) {
	assert.Equal(t, &actions.GetDir{DirID: ptr("a")}, args(t, "getDir", `{"id":"a","dir_id":"b"}`))
	assert.Equal(t, &actions.GetDir{DirID: ptr("b")}, args(t, "getDir", `{"id":null,"dir_id":"b"}`))
	assert.Equal(t, rawJSON(`["a"]`), args(t, "createGroup", `{"group_members":["a"],"members":["b"]}`).(*actions.CreateGroup).Members)
	assert.Equal(t, rawJSON(`["b"]`), args(t, "createGroup", `{"group_members":null,"members":["b"]}`).(*actions.CreateGroup).Members)
	assert.Equal(t, &actions.CreateFile{HasData: true}, args(t, "uploadFile", `{}`))
}

func TestLogin(t *testing.T) {
	for data, want := range map[string]actions.Login{
		`{"username":"u","password":"p"}`:            {Username: "u", Password: "p"},
		`{"username":"\u00fc","password":"p","x":1}`: {Username: "ü", Password: "p"},
		`{}`:                               {},
		`{"username":"u"}`:                 {Username: "u"},
		`{"username":"u","password":null}`: {Username: "u"},
		`{"username":"","password":"p"}`:   {Password: "p"},
		`{"username":5,"password":["p"]}`:  {},
		`{"Username":"u","PASSWORD":"p"}`:  {},
		`{"username":"u","password":"p","username":"v","password":"q"}`:   {Username: "v", Password: "q"},
		`{"username":"u","password":"p","username":null,"password":true}`: {},
	} {
		r := decoded(request(`"request":"login","token":"","data":` + data))
		require.NoError(t, r.Err)
		assert.Equal(t, &want, r.Action, data)
	}
}

func TestSurrogates(t *testing.T) {
	a := args(t, "operateUser", `{"nickname":"a\ud800b\udc00\ud83d\ude00","reason":"\\ud800","new_rights":["\uD800","\ud83d\uDE00","\\ud800","\udbff\ud800\udfff"]}`).(*actions.OperateUser)
	assert.Equal(t, "a\ufffdb\ufffd😀", *a.Nickname)
	assert.Equal(t, `\ud800`, *a.Reason)
	assert.Equal(t, `["\ufffd","\ud83d\uDE00","\\ud800","\ufffd\ud800\udfff"]`, string(a.NewRights))
}
