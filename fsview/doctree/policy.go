package doctree

import (
	"encoding/json"
	"time"

	"waybill/fsview/acl"
	"waybill/journal"
)

// The policies whose settings this package acts on (CFMS.md §7.1).
const (
	policyAuth    = "user_auth"
	policyRetry   = "login_retry"
	policyBlock   = "auto_block"
	policyAvatars = "avatars"
	policyRoot    = "permission_on_rootdir"
	policyRecycle = "recycle"
)

// The settings of policy recycle: how long nodes and revisions stay in the bin,
// in seconds.
const (
	recycleNodes     = "deleteAfterMarked"
	recycleRevisions = "revDeleteAfterMarked"
)

// policy is a document of settings with rules of its own for who may read it.
type policy struct {
	content json.RawMessage
	// settings is content, decoded.
	settings any
	access   *acl.Access
}

// newPolicy keeps content, which is JSON.
func newPolicy(content, rules json.RawMessage) *policy {
	p := &policy{content: content, access: acl.NewAccess(rules, nil)}
	if err := json.Unmarshal(content, &p.settings); err != nil {
		p.settings = nil // a number beyond all floats: as if nothing were set
	}
	return p
}

// at finds a setting; nil if there is none.
func (p *policy) at(path []string) any {
	if p == nil {
		return nil
	}
	v := p.settings
	for _, name := range path {
		object, _ := v.(map[string]any)
		v = object[name]
	}
	return v
}

// setting is what a policy says, or, where that is malformed, what the shipped
// one says.
func setting[T any](t *Tree, id string, path ...string) T {
	if v, ok := t.policies[id].at(path).(T); ok {
		return v
	}
	v, _ := t.shipped[id].at(path).(T)
	return v
}

// count is a setting that counts something, seconds mostly.
func (t *Tree) count(id string, path ...string) float64 {
	if v, ok := t.policies[id].at(path).(float64); ok && isCount(v) {
		return v
	}
	v, _ := t.shipped[id].at(path).(float64)
	return v
}

func isCount(v float64) bool { return v >= 0 && v <= maxInteger }

// expiry is when something deleted at now goes for good, unix seconds (§4.2).
func (t *Tree) expiry(now float64, recycle string) int64 {
	return int64(min(now+t.count(policyRecycle, recycle), maxInteger))
}

// GetPolicy decides getPolicy (§5.3) and returns the policy's content, which is
// not to be changed. Errors: CodeMissing, CodeNoPolicy, CodeForbidden.
func (t *Tree) GetPolicy(s *acl.Subject, id *string, now float64) (json.RawMessage, error) {
	if blank(id) {
		return nil, acl.CodeMissing
	}
	p, ok := t.policies[*id]
	if !ok {
		return nil, acl.CodeNoPolicy
	}
	if !p.access.Level(s, acl.ActionRead, true, now) {
		return nil, acl.CodeForbidden
	}
	return p.content, nil
}

// SetPolicy decides setPolicy (§5.6): the content is replaced, with the keys
// and types of the shipped one and at most MaxPolicy. Errors: CodeMissing,
// CodeDenied without right manage_policy, CodeStructure, CodeNotFound.
func (t *Tree) SetPolicy(s *acl.Subject, id *string, content json.RawMessage, _ float64) ([]journal.Fact, error) {
	if blank(id) || absent(content) {
		return nil, acl.CodeMissing
	}
	if !s.May(acl.RightManagePolicy) {
		return nil, acl.CodeDenied
	}
	sound, err := canonical(content, MaxPolicy)
	if err != nil || sound[0] != '{' {
		return nil, acl.CodeStructure
	}
	shipped, ok := t.shipped[*id]
	if _, known := t.policies[*id]; !known || !ok {
		return nil, acl.CodeNotFound
	}
	if !conforms("", shipped.settings, newPolicy(sound, nil).settings) {
		return nil, acl.CodeStructure
	}
	return []journal.Fact{fact(KindPolicySet, policySet{Policy: *id, Content: sound})}, nil
}

// Policy returns a policy's content, which is not to be changed.
func (t *Tree) Policy(id string) (json.RawMessage, bool) {
	p, ok := t.policies[id]
	if !ok {
		return nil, false
	}
	return p.content, true
}

// LoginDelay is how long the answer to a refused login waits (§3.1), at most
// MaxLoginDelay.
func (t *Tree) LoginDelay() time.Duration {
	seconds := min(t.count(policyAuth, "sleep_when_login_fail"), MaxLoginDelay)
	return time.Duration(seconds * float64(time.Second))
}

// Lockout is after how many failures logins are refused, and for how long
// (§3.1).
type Lockout struct {
	Enabled bool
	// After is the number of failures in a row that block.
	After int
	// Block is the length of the first block in seconds; each further failure
	// adds Plus seconds to the next one, up to Max.
	Block, Plus, Max int
}

// Lockout returns the rules for one account from one address, policy
// login_retry, and for one address over all accounts, policy auto_block. Both
// are as the policies have them: that an address is blocked only after four
// times its After is the caller's to do.
func (t *Tree) Lockout() (account, address Lockout) {
	account = Lockout{
		After: int(t.count(policyRetry, "temporilyBlockAfterRetries")),
		Block: int(t.count(policyRetry, "temporilyBlockTime")),
		Plus:  int(t.count(policyRetry, "temporilyBlockTimePerPlusTime")),
		Max:   int(t.count(policyRetry, "temporilyBlockTimePerPlusMaxTime")),
	}
	account.Enabled = account.After > 0
	const retries = "autoblock_login_retries"
	address = Lockout{
		After: int(t.count(policyBlock, retries, "temporily_block_after_retries")),
		Block: int(t.count(policyBlock, retries, "temporily_block_time")),
		Plus:  int(t.count(policyBlock, retries, "temporily_block_time_per_plus_time")),
		Max:   int(t.count(policyBlock, retries, "temporily_block_time_per_plus_max_time")),
	}
	address.Enabled = setting[bool](t, policyBlock, retries, "enabled") && address.After > 0
	return account, address
}

// AllowAvatars tells whether everybody may see every avatar (§5.3).
func (t *Tree) AllowAvatars() bool {
	return setting[bool](t, policyAvatars, "allow_access_without_permission")
}

// DefaultAvatar names the picture of those who chose none (§5.3).
func (t *Tree) DefaultAvatar() string { return setting[string](t, policyAvatars, "default_avatar") }

func (t *Tree) applyPolicySet(_ *journal.Entry, b *policySet) error {
	rules := b.Rules
	if old, ok := t.policies[b.Policy]; ok && absent(rules) {
		rules = old.access.Rules()
	}
	p := newPolicy(b.Content, rules)
	t.policies[b.Policy] = p
	if b.Policy == policyRoot {
		t.readRoot(p)
	}
	return nil
}
