package doctree

import (
	"encoding/json"

	"waybill/fsview/acl"
	"waybill/journal"
)

// AccessInfo is what getAccess tells (CFMS.md §5.6). The documents are not to
// be changed.
type AccessInfo struct {
	AccessRules, ExternalAccess json.RawMessage
	// Inherit is set for the root alone: whether its rules count below it.
	Inherit *bool
}

// GetAccess decides getAccess of a file or directory, deleted or not, "" for
// the root. Errors: CodeMissing, CodeDenied without right manage_access,
// CodeNotFound.
func (t *Tree) GetAccess(s *acl.Subject, id *string) (AccessInfo, error) {
	if id == nil {
		return AccessInfo{}, acl.CodeMissing
	}
	if !s.May(acl.RightManageAccess) {
		return AccessInfo{}, acl.CodeDenied
	}
	n, ok := t.named(*id)
	if !ok {
		return AccessInfo{}, acl.CodeNotFound
	}
	info := AccessInfo{AccessRules: n.access.Rules(), ExternalAccess: n.access.External()}
	if n == t.root {
		inherit := t.inherit
		info.Inherit = &inherit
	}
	return info, nil
}

// SetAccess is the data of setAccess (§5.6); nil means absent and unchanged.
type SetAccess struct {
	ID             *string         `json:"id,omitempty"`
	AccessRules    json.RawMessage `json:"access_rules,omitempty"`
	ExternalAccess json.RawMessage `json:"external_access,omitempty"`
	// Inherit belongs to the root alone.
	Inherit *bool `json:"inherit_by_subdirectory,omitempty"`
}

// SetAccess decides setAccess. Either document may have MaxAccess bytes.
// Errors: CodeMissing without an id or anything to set, CodeDenied without
// right manage_access, CodeStructure, CodeNotFound.
func (t *Tree) SetAccess(s *acl.Subject, a SetAccess, _ float64) ([]journal.Fact, error) {
	if a.ID == nil || absent(a.AccessRules) && absent(a.ExternalAccess) && a.Inherit == nil {
		return nil, acl.CodeMissing
	}
	if !s.May(acl.RightManageAccess) {
		return nil, acl.CodeDenied
	}
	b := nodeRuled{ID: *a.ID, Inherit: a.Inherit}
	if err := a.validate(&b); err != nil {
		return nil, err
	}
	n, ok := t.named(*a.ID)
	if !ok {
		return nil, acl.CodeNotFound
	}
	b.Node = n.key
	return ruled(b), nil
}

// validate puts the canonical forms of the documents into b.
func (a *SetAccess) validate(b *nodeRuled) (err error) {
	if a.Inherit != nil && *a.ID != "" {
		return acl.CodeStructure
	}
	if !absent(a.AccessRules) {
		if b.Rules, err = canonical(a.AccessRules, MaxAccess); err != nil {
			return acl.CodeStructure
		}
	}
	if !absent(a.ExternalAccess) {
		if b.External, err = canonical(a.ExternalAccess, MaxAccess); err != nil {
			return acl.CodeStructure
		}
	}
	if acl.ValidateAccess(b.Rules, b.External) != nil {
		return acl.CodeStructure
	}
	return nil
}

// ruled renders one fact, or one for each document if a record line might not
// hold both.
func ruled(b nodeRuled) []journal.Fact {
	if len(b.Rules)+len(b.External) <= MaxAccess {
		return []journal.Fact{fact(KindNodeRuled, b)}
	}
	second := nodeRuled{Node: b.Node, ID: b.ID, External: b.External}
	b.External = nil
	return []journal.Fact{fact(KindNodeRuled, b), fact(KindNodeRuled, second)}
}

func (t *Tree) applyRuled(e *journal.Entry, b *nodeRuled) error {
	if b.Node == 0 {
		return t.applyRootRuled(e, b)
	}
	n, err := t.known(e, b.Node)
	if err != nil {
		return err
	}
	n.access = replaced(n.access, b)
	return nil
}

// replaced is a with the documents that b has.
func replaced(a *acl.Access, b *nodeRuled) *acl.Access {
	rules, external := a.Rules(), a.External()
	if b.Rules != nil {
		rules = b.Rules
	}
	if b.External != nil {
		external = b.External
	}
	return acl.NewAccess(rules, external)
}

// rootContent is the content of policy permission_on_rootdir.
type rootContent struct {
	Inherit bool      `json:"inherit_by_subdirectory"`
	Rules   rootRules `json:"rules"`
}

type rootRules struct {
	Access   json.RawMessage `json:"access_rules"`
	External json.RawMessage `json:"external_access"`
}

// applyRootRuled writes what a fact has into the policy.
func (t *Tree) applyRootRuled(e *journal.Entry, b *nodeRuled) error {
	p, ok := t.policies[policyRoot]
	if !ok {
		return factError(e, "no policy %s", policyRoot)
	}
	a := replaced(t.root.access, b)
	c := rootContent{Inherit: t.inherit, Rules: rootRules{Access: a.Rules(), External: a.External()}}
	if b.Inherit != nil {
		c.Inherit = *b.Inherit
	}
	t.policies[policyRoot] = newPolicy(render(c), p.access.Rules())
	t.readRoot(t.policies[policyRoot])
	return nil
}

// readRoot takes the root's rules from policy permission_on_rootdir. What is
// not there, or no object, is as shipped: without rules everything would be
// allowed.
func (t *Tree) readRoot(p *policy) {
	var c struct {
		Rules json.RawMessage `json:"rules"`
	}
	var r, usual rootRules
	_ = json.Unmarshal(p.content, &c) // what does not decode stays as it is: absent
	_ = json.Unmarshal(c.Rules, &r)
	if absent(r.Access) {
		_ = json.Unmarshal(t.shipped[policyRoot].content, &c)
		_ = json.Unmarshal(c.Rules, &usual)
		r.Access = usual.Access
	}
	t.root.access = acl.NewAccess(r.Access, r.External)
	t.inherit = setting[bool](t, policyRoot, "inherit_by_subdirectory")
}
