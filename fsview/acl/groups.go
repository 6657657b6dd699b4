package acl

import (
	"encoding/json"

	"waybill/journal"
)

// NewGroup is what a group is made with. Absent members are nil.
type NewGroup struct {
	Name *string
	// Rights is a list of grants, Enabled 0 or 1, Members a list of user
	// names.
	Rights, Enabled, Members json.RawMessage
}

// CreateGroup decides createGroup (CFMS.md §5.5). failed are the members that
// are no users, or in too many groups already, in the order given, each once;
// the others are in the group for good. Nothing of it depends on the time. The
// errors are Codes.
func (a *Accounts) CreateGroup(who *Subject, g NewGroup, defaults GroupDefaults, _ float64) (facts []journal.Fact, failed []string, err error) {
	members := defaults.Members
	if !absent(g.Members) {
		v, err := decodeValue(g.Members)
		list, ok := texts(v)
		if err != nil || !ok {
			return nil, nil, CodeArguments
		}
		members = list
	}
	if empty(g.Name) {
		return nil, nil, CodeMissing
	}
	name := *g.Name
	_, taken := a.groups[name]
	settings := !absent(g.Rights) || !absent(g.Enabled)
	enabled, goodBit := bit(g.Enabled)
	switch {
	case over(name, MaxGroupName):
		return nil, nil, CodeGroupLong
	case !plainText(name):
		return nil, nil, CodeName
	case !who.May(RightCreateGroup):
		return nil, nil, CodeDenied
	case taken:
		return nil, nil, CodeGroupExists
	case settings && !who.May(RightNewGroupSettings):
		return nil, nil, CodeDenied
	case !absent(g.Members) && !who.May(RightNewGroupMembers):
		return nil, nil, CodeDenied
	case !absent(g.Enabled) && !goodBit:
		return nil, nil, CodeGroupEnabled
	}
	b := groupCreated{Group: name, Enabled: defaults.Enabled, Rights: defaults.Rights}
	if !absent(g.Enabled) {
		b.Enabled = enabled == 1
	}
	if !absent(g.Rights) {
		if b.Rights, err = ParseGrants(g.Rights, MaxRightName); err != nil {
			return nil, nil, err
		}
	}
	can, cannot := a.joining(name, members)
	failed = []string{}
	if !absent(g.Members) {
		failed = append(failed, cannot...)
	}
	n := fitting(can, maxMemberBytes)
	b.Members = can[:n]
	facts = append(facts, fact(KindGroupCreated, b))
	for _, m := range can[n:] {
		facts = append(facts, fact(KindUserGroupsSet, userGroupsSet{m, a.users[m].Groups.with(name)}))
	}
	return facts, failed, nil
}

// joining parts names into users that can be in one group more and others,
// each once.
func (a *Accounts) joining(group string, names []string) (can, cannot []string) {
	seen := make(Set, len(names))
	for _, m := range names {
		if seen.Has(m) {
			continue
		}
		seen[m] = struct{}{}
		if u, ok := a.users[m]; ok && u.Groups.with(group).fit() {
			can = append(can, m)
		} else {
			cannot = append(cannot, m)
		}
	}
	return can, cannot
}

// fitting gives how many of the names, written as JSON, take at most limit
// bytes.
func fitting(names []string, limit int) int {
	for i, n := range names {
		b, _ := json.Marshal(n) // a string always encodes
		if limit -= len(b) + 1; limit < 0 {
			return i
		}
	}
	return len(names)
}
