package doctree

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/fsview/acl"
)

// The policies of §7.1, word for word.
func TestGenesis(t *testing.T) {
	const syJSON = `[{"match":"all","match_groups":[{"match":"all","groups":{"match":"all","require":["sysop"]}}]}]`
	want := map[string]string{
		"user_auth": `{"allow_registry":false,"default_new_user_groups":{},"default_new_user_rights":{},
			"default_new_user_properties":{"state":0,"state_description":{"time":0,"operator":null,"reason":null},
			"nickname":null,"avatar":{"file_id":null},
			"publicity":{"restricted":true,"access_rules":{"read":[]},"external_access":{}}},"sleep_when_login_fail":3}`,
		"login_retry": `{"blockAfterRetries":0,"temporilyBlockAfterRetries":5,"temporilyBlockTime":30,
			"temporilyBlockTimePerPlusTime":30,"temporilyBlockTimePerPlusMaxTime":600}`,
		"auto_block": `{"autoblock_invaild_requests":{"enabled":false,"allowed_attempts":10,"block_time":473040000},
			"autoblock_login_retries":{"enabled":true,"permanently_block_after_retries":50,"temporily_block_after_retries":5,
			"temporily_block_time":30,"temporily_block_time_per_plus_time":30,"temporily_block_time_per_plus_max_time":600}}`,
		"avatars": `{"default_avatar":"DEFAULT_USER_AVATAR","allow_access_without_permission":false}`,
		"permission_on_rootdir": `{"inherit_by_subdirectory":true,"rules":{"access_rules":{"read":[{}],"write":` + syJSON + `,
			"deny":{"read":{"groups":{},"users":{},"rules":[]},"write":{}}},"external_access":{"groups":{"sysop":
			{"read":{"expire":0},"write":{"expire":0},"permanently_delete":{"expire":0}}},"users":{}}}}`,
		"group_settings": `{"default_rights":{},"default_enabled":1,"default_members":[]}`,
		"recycle":        `{"deleteAfterMarked":604800,"revDeleteAfterMarked":604800}`,
	}
	b := newBook(t)
	assert.Len(t, Genesis(), len(want))
	assert.Len(t, b.policies, len(want))
	for id, content := range want {
		got, ok := b.Policy(id)
		require.True(t, ok, id)
		assert.JSONEq(t, content, string(got), id)
		rules := `{}`
		if id == "avatars" {
			rules = `{"read":` + syJSON + `}`
		}
		assert.JSONEq(t, rules, string(b.policies[id].access.Rules()), id)
		assert.NoError(t, acl.ValidateAccess(b.policies[id].access.Rules(), nil))
	}
	info, err := b.GetAccess(boss, ptr(""))
	require.NoError(t, err)
	assert.NoError(t, acl.ValidateAccess(info.AccessRules, info.ExternalAccess))
	_, ok := b.Policy("none")
	assert.False(t, ok)
}

func TestSampleData(t *testing.T) {
	b := newBook(t)
	r := b.revisionID()
	b.apply(b.SampleData("admin", r, digest(27), 27), nil)
	for id, name := range map[string]string{"dir01": "Test Dir", "C00001": "hello.txt"} {
		n := b.ids[id]
		assert.Equal(t, name, n.name)
		assert.Equal(t, "admin", n.owner)
		info, err := b.GetAccess(boss, &id)
		require.NoError(t, err)
		rules := `{"__noinherit__":[],"read":[],"write":[],"deny":{"read":{"groups":{},"users":{},"rules":[]},"write":{}}}`
		if id == "dir01" {
			rules = `{"__subinherit__":true,` + rules[1:]
		}
		assert.JSONEq(t, rules, string(info.AccessRules))
		assert.JSONEq(t, `{"groups":{"sysop":{"read":{"expire":0},"permanently_delete":{"expire":0}}},"users":{}}`,
			string(info.ExternalAccess))
		assert.NoError(t, acl.ValidateAccess(info.AccessRules, info.ExternalAccess))
		assert.Nil(t, info.Inherit)
	}
	assert.Equal(t, "dir01", b.ids["C00001"].parent.id)
	out, err := b.fileOp(bob, "C00001", "read")
	require.NoError(t, err)
	assert.Equal(t, r, out.Read.ID)
	assert.Equal(t, int64(27), out.Read.Size)
	assert.Nil(t, b.SampleData("admin", "r", digest(27), 27), "only on an empty tree")
}

func TestGetPolicy(t *testing.T) {
	b := newBook(t)
	require.NoError(t, b.raw(KindPolicySet, `{"policy":"locked","content":{},"access_rules":{"read":`+nobody+`}}`))
	b.unchanged(func() {
		for _, c := range []struct {
			shows string
			s     *acl.Subject
			id    *string
			want  acl.Code
		}{
			{"no id", bob, nil, acl.CodeMissing},
			{"an empty id", bob, ptr(""), acl.CodeMissing},
			{"unknown", bob, ptr("none"), acl.CodeNoPolicy},
			{"its own rules", bob, ptr("avatars"), acl.CodeForbidden},
			{"its own rules, passed", a2, ptr("avatars"), ""},
			{"rules that nobody passes", ann, ptr("locked"), acl.CodeForbidden},
			{"super_access", admin, ptr("locked"), ""},
			{"no rules", bob, ptr("login_retry"), ""},
		} {
			content, err := b.GetPolicy(c.s, c.id, b.now())
			wants(t, c.want, err, c.shows)
			if err == nil {
				want, _ := b.Policy(*c.id)
				assert.Equal(t, want, content)
			}
		}
	})
}

// Every check of setPolicy (§5.6), and of two that a request fails the earlier
// one.
func TestSetPolicyErrors(t *testing.T) {
	b := newBook(t)
	good := `{"deleteAfterMarked":1,"revDeleteAfterMarked":2}`
	for _, c := range []struct {
		shows   string
		s       *acl.Subject
		id      *string
		content string
		want    acl.Code
	}{
		{"no id", ann, nil, good, acl.CodeMissing},
		{"an empty id", ann, ptr(""), good, acl.CodeMissing},
		{"no content", ann, ptr("recycle"), ``, acl.CodeMissing},
		{"null", ann, ptr("recycle"), `null`, acl.CodeMissing},
		{"no content before the right", bob, ptr("recycle"), ``, acl.CodeMissing},
		{"no right", bob, ptr("recycle"), good, acl.CodeDenied},
		{"super_access stands in for no right", admin, ptr("recycle"), good, acl.CodeDenied},
		{"the right before the shape", bob, ptr("recycle"), `[]`, acl.CodeDenied},
		{"no object", ann, ptr("recycle"), `[]`, acl.CodeStructure},
		{"no object before an unknown policy", ann, ptr("none"), `[]`, acl.CodeStructure},
		{"no JSON", ann, ptr("recycle"), `{`, acl.CodeStructure},
		{"more than one", ann, ptr("recycle"), `{}{}`, acl.CodeStructure},
		{"an integer that readers round", ann, ptr("none"), `{"a":9007199254740992}`, acl.CodeStructure},
		{"a number beyond all", ann, ptr("none"), `{"a":1e999}`, acl.CodeStructure},
		{"too large", ann, ptr("none"), `{"a":"` + strings.Repeat("x", MaxPolicy) + `"}`, acl.CodeStructure},
		{"too deep", ann, ptr("none"), `{"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, acl.CodeStructure},
		{"unknown", ann, ptr("none"), good, acl.CodeNotFound},
		{"unknown before the keys", ann, ptr("none"), `{}`, acl.CodeNotFound},
		{"keys that are missing", ann, ptr("recycle"), `{"deleteAfterMarked":1}`, acl.CodeStructure},
		{"keys too many", ann, ptr("recycle"), `{"deleteAfterMarked":1,"revDeleteAfterMarked":2,"x":1}`, acl.CodeStructure},
		{"another key", ann, ptr("recycle"), `{"deleteAfterMarked":1,"x":1}`, acl.CodeStructure},
		{"another type", ann, ptr("recycle"), `{"deleteAfterMarked":"1","revDeleteAfterMarked":2}`, acl.CodeStructure},
		{"less than nothing", ann, ptr("recycle"), `{"deleteAfterMarked":-1,"revDeleteAfterMarked":2}`, acl.CodeStructure},
	} {
		b.unchanged(func() {
			_, err := b.SetPolicy(c.s, c.id, json.RawMessage(c.content), b.now())
			wants(t, c.want, err, c.shows)
		})
	}
}

// What every shipped policy takes instead of what it has, and what it does not.
func TestSetPolicyShapes(t *testing.T) {
	b := newBook(t)
	for _, p := range shipped() {
		b.apply(b.SetPolicy(ann, &p.Policy, p.Content, b.now()))
	}
	assert.JSONEq(t, `{"read":`+sysopOnly+`}`, string(b.policies["avatars"].access.Rules()), "its rules stay")
	for _, c := range []struct {
		id, from, to string
		good         bool
	}{
		{"user_auth", `"sleep_when_login_fail":3`, `"sleep_when_login_fail":0.5`, true},
		{"user_auth", `"sleep_when_login_fail":3`, `"sleep_when_login_fail":true`, false},
		{"user_auth", `"nickname":null`, `"nickname":"n"`, true},
		{"user_auth", `"nickname":null`, `"nickname":1`, false},
		{"user_auth", `"default_new_user_groups":{}`, `"default_new_user_groups":{"g":{"expire":0}}`, true},
		{"user_auth", `"default_new_user_groups":{}`, `"default_new_user_groups":{"g":5}`, true},
		{"user_auth", `"default_new_user_groups":{}`, `"default_new_user_groups":{"g":"x"}`, false},
		{"user_auth", `"default_new_user_groups":{}`, `"default_new_user_groups":{"` + strings.Repeat("g", 33) + `":{}}`, false},
		{"user_auth", `"default_new_user_groups":{}`, `"default_new_user_groups":["g"]`, false},
		{"user_auth", `"default_new_user_rights":{}`, `"default_new_user_rights":{"` + strings.Repeat("r", 33) + `":{"revoke":true}}`, true},
		{"user_auth", `"access_rules":{"read":[]}`, `"access_rules":{}`, true},
		{"user_auth", `"access_rules":{"read":[]}`, `"access_rules":{"dance":[]}`, false},
		{"user_auth", `"external_access":{}`, `"external_access":{"users":{"u":{"read":{}}}}`, true},
		{"user_auth", `"external_access":{}`, `"external_access":[]`, false},
		{"auto_block", `"enabled":true`, `"enabled":false`, true},
		{"auto_block", `"enabled":true`, `"enabled":null`, false},
		{"auto_block", `"enabled":true,`, ``, false},
		{"avatars", `"DEFAULT_USER_AVATAR"`, `"none"`, true},
		{"avatars", `"DEFAULT_USER_AVATAR"`, `null`, false},
		{"group_settings", `"default_members":[]`, `"default_members":["a","b"]`, true},
		{"group_settings", `"default_members":[]`, `"default_members":[1]`, false},
		{"group_settings", `"default_members":[]`, `"default_members":{}`, false},
		{"permission_on_rootdir", `"read":[{}]`, `"read":[]`, true},
		{"permission_on_rootdir", `"read":[{}]`, `"read":[1]`, false},
		{"permission_on_rootdir", `"inherit_by_subdirectory":true`, `"inherit_by_subdirectory":1`, false},
	} {
		var content string
		for _, p := range shipped() {
			if p.Policy == c.id {
				content = string(p.Content)
			}
		}
		require.Contains(t, content, c.from)
		content = strings.Replace(content, c.from, c.to, 1)
		facts, err := b.SetPolicy(ann, &c.id, json.RawMessage(content), b.now())
		if !c.good {
			wants(t, acl.CodeStructure, err, "%s %s", c.id, c.to)
			continue
		}
		b.apply(facts, err)
		got, err := b.GetPolicy(boss, &c.id, b.now())
		require.NoError(t, err)
		assert.JSONEq(t, content, string(got))
	}
}

func TestSettings(t *testing.T) {
	b := newBook(t)
	shippedAccount := Lockout{Enabled: true, After: 5, Block: 30, Plus: 30, Max: 600}
	assert.Equal(t, 3*time.Second, b.LoginDelay())
	account, address := b.Lockout()
	assert.Equal(t, shippedAccount, account)
	assert.Equal(t, shippedAccount, address)
	assert.False(t, b.AllowAvatars())
	assert.Equal(t, "DEFAULT_USER_AVATAR", b.DefaultAvatar())

	set := func(id, from, to string) {
		t.Helper()
		content, _ := b.Policy(id)
		require.Contains(t, string(content), from)
		b.apply(b.SetPolicy(ann, &id, json.RawMessage(strings.Replace(string(content), from, to, 1)), b.now()))
	}
	set("user_auth", `"sleep_when_login_fail":3`, `"sleep_when_login_fail":0.5`)
	assert.Equal(t, 500*time.Millisecond, b.LoginDelay())
	set("user_auth", `"sleep_when_login_fail":0.5`, `"sleep_when_login_fail":9`)
	assert.Equal(t, 8*time.Second, b.LoginDelay(), "clients give up at 10")
	set("login_retry", `"temporilyBlockAfterRetries":5`, `"temporilyBlockAfterRetries":0`)
	set("auto_block", `"enabled":true`, `"enabled":false`)
	set("auto_block", `"temporily_block_time":30`, `"temporily_block_time":31`)
	account, address = b.Lockout()
	assert.False(t, account.Enabled)
	assert.Equal(t, Lockout{After: 5, Block: 31, Plus: 30, Max: 600}, address)
	set("avatars", "false", "true")
	set("avatars", "DEFAULT_USER_AVATAR", "other")
	assert.True(t, b.AllowAvatars())
	assert.Equal(t, "other", b.DefaultAvatar())
	set("recycle", `"deleteAfterMarked":604800`, `"deleteAfterMarked":9007199254740991`)
	b.file("F", "")
	b.do(b.fileOp(ann, "F", "delete"))
	assert.Equal(t, int64(1<<53-1), b.state("F").Expire, "a record can hold it")
}

// A policy that a journal brings in: what is malformed is as shipped, key by
// key.
func TestMalformedPolicies(t *testing.T) {
	b := newBook(t)
	for id, content := range map[string]string{
		"user_auth":   `{"sleep_when_login_fail":-1}`,
		"login_retry": `{"temporilyBlockAfterRetries":"5","temporilyBlockTime":7}`,
		"auto_block":  `{"autoblock_login_retries":[]}`,
		"avatars":     `{"default_avatar":1,"allow_access_without_permission":"yes"}`,
		"recycle":     `{"deleteAfterMarked":1e999}`,
	} {
		require.NoError(t, b.raw(KindPolicySet, `{"policy":"`+id+`","content":`+content+`}`))
	}
	assert.Equal(t, 3*time.Second, b.LoginDelay())
	account, address := b.Lockout()
	assert.Equal(t, Lockout{Enabled: true, After: 5, Block: 7, Plus: 30, Max: 600}, account)
	assert.Equal(t, Lockout{Enabled: true, After: 5, Block: 30, Plus: 30, Max: 600}, address)
	assert.False(t, b.AllowAvatars())
	assert.Equal(t, "DEFAULT_USER_AVATAR", b.DefaultAvatar())
	b.file("F", "")
	b.do(b.fileOp(ann, "F", "delete"))
	assert.Equal(t, b.at.Unix()+604800, b.state("F").Expire)
}
