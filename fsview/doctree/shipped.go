package doctree

import (
	"encoding/json"
	"strings"

	"waybill/journal"
)

// sysopOnly are rules that members of group sysop pass.
const sysopOnly = `[{"match":"all","match_groups":[{"match":"all","groups":{"match":"all","require":["sysop"]}}]}]`

// shipped lists the policies of a new daemon (CFMS.md §7.1).
func shipped() []policySet {
	set := func(id, content, rules string) policySet {
		p := policySet{Policy: id, Content: json.RawMessage(strings.ReplaceAll(content, "\n", ""))}
		if rules != "" {
			p.Rules = json.RawMessage(rules)
		}
		return p
	}
	return []policySet{
		set(policyAuth, `{"allow_registry":false,"default_new_user_groups":{},"default_new_user_rights":{},
"default_new_user_properties":{"state":0,"state_description":{"time":0,"operator":null,"reason":null},
"nickname":null,"avatar":{"file_id":null},
"publicity":{"restricted":true,"access_rules":{"read":[]},"external_access":{}}},
"sleep_when_login_fail":3}`, ""),
		set(policyRetry, `{"blockAfterRetries":0,"temporilyBlockAfterRetries":5,"temporilyBlockTime":30,
"temporilyBlockTimePerPlusTime":30,"temporilyBlockTimePerPlusMaxTime":600}`, ""),
		set(policyBlock, `{"autoblock_invaild_requests":{"enabled":false,"allowed_attempts":10,"block_time":473040000},
"autoblock_login_retries":{"enabled":true,"permanently_block_after_retries":50,
"temporily_block_after_retries":5,"temporily_block_time":30,
"temporily_block_time_per_plus_time":30,"temporily_block_time_per_plus_max_time":600}}`, ""),
		set(policyAvatars, `{"default_avatar":"DEFAULT_USER_AVATAR","allow_access_without_permission":false}`,
			`{"read":`+sysopOnly+`}`),
		set(policyRoot, `{"inherit_by_subdirectory":true,"rules":{
"access_rules":{"read":[{}],"write":`+sysopOnly+`,"deny":{"read":{"groups":{},"users":{},"rules":[]},"write":{}}},
"external_access":{"groups":{"sysop":{"read":{"expire":0},"write":{"expire":0},"permanently_delete":{"expire":0}}},
"users":{}}}}`, ""),
		set("group_settings", `{"default_rights":{},"default_enabled":1,"default_members":[]}`, ""),
		set(policyRecycle, `{"deleteAfterMarked":604800,"revDeleteAfterMarked":604800}`, ""),
	}
}

// Genesis returns the facts that give a new daemon its policies.
func Genesis() []journal.Fact {
	var facts []journal.Fact
	for _, p := range shipped() {
		facts = append(facts, fact(KindPolicySet, p))
	}
	return facts
}

// SampleData returns the facts of the directory and the file that every sample
// client knows (§7.3), with one revision of the given content; none if the tree
// is not empty.
func (t *Tree) SampleData(owner string, revision RevisionID, digest string, size int64) []journal.Fact {
	if len(t.nodes) > 0 {
		return nil
	}
	const (
		dirID, fileID = "dir01", "C00001"
		rules         = `"__noinherit__":[],"read":[],"write":[],"deny":{"read":{"groups":{},"users":{},"rules":[]},"write":{}}}`
	)
	external := json.RawMessage(`{"groups":{"sysop":{"read":{"expire":0},"permanently_delete":{"expire":0}}},"users":{}}`)
	dir, file := t.next, t.next+1
	return []journal.Fact{
		fact(KindNodeCreated, nodeCreated{Node: dir, ID: dirID, Type: typeDir, Name: "Test Dir", Owner: owner}),
		fact(KindNodeRuled, nodeRuled{Node: dir, ID: dirID, External: external,
			Rules: json.RawMessage(`{"__subinherit__":true,` + rules)}),
		fact(KindNodeCreated, nodeCreated{Node: file, ID: fileID, Type: typeFile, Name: "hello.txt", Parent: dir, Owner: owner}),
		fact(KindNodeRuled, nodeRuled{Node: file, ID: fileID, External: external, Rules: json.RawMessage(`{` + rules)}),
		fact(KindRevisionPublished, revisionPublished{
			Node: file, ID: fileID, Revision: revision, Digest: digest, Size: size,
		}),
	}
}
