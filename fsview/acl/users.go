package acl

import (
	"encoding/json"

	"waybill/journal"
)

// NewUser is what a user is made with. Absent members are nil.
type NewUser struct {
	// Username has at most 32 code points, Nickname 64, "" is the user name,
	// whatever the default is.
	// Password is as typed, at most 1024; it is looked at, not kept.
	Username, Password, Nickname *string
	// Rights and Groups are as ParseGrants reads them.
	Rights, Groups json.RawMessage
	// Defaults fill in for absent members.
	Defaults UserDefaults
	// Verifier is that of Password; it may be "" where the facts are not used.
	Verifier string
}

// CreateUser decides createUser (CFMS.md §5.4). notBefore is the time of the
// record in unix microseconds, which never runs back: tokens issued until then,
// to a user of the same name that is gone, are void. The errors are Codes.
func (a *Accounts) CreateUser(who *Subject, n NewUser, notBefore int64) ([]journal.Fact, error) {
	if empty(n.Username) || empty(n.Password) {
		return nil, CodeMissing
	}
	name := *n.Username
	if n.Nickname == nil {
		n.Nickname = &n.Defaults.Nickname
	}
	nickname, err := nicknameOf(name, n.Nickname)
	_, taken := a.users[name]
	custom := !absent(n.Rights) || !absent(n.Groups)
	switch {
	case over(name, maxUserName):
		return nil, CodeUsernameLong
	case !plainText(name):
		return nil, CodeName
	case err != nil:
		return nil, err
	case over(*n.Password, maxPassword):
		return nil, CodeArguments
	case !who.May(RightCreateUser):
		return nil, CodeDenied
	case taken || name == MainName:
		return nil, CodeUserExists
	case custom && !who.May(RightNewUserSettings):
		return nil, CodeDenied
	}
	rights, groups := n.Defaults.Rights, a.existing(n.Defaults.Groups)
	if !absent(n.Rights) {
		if rights, err = ParseGrants(n.Rights, MaxRightName); err != nil {
			return nil, err
		}
	}
	if !absent(n.Groups) {
		if groups, err = a.parseGroups(n.Groups); err != nil {
			return nil, err
		}
	}
	facts := []journal.Fact{fact(KindUserCreated, userCreated{
		User: name, Nickname: nickname, Verifier: n.Verifier, NotBefore: notBefore + 1,
		Restricted:  n.Defaults.Restricted,
		AccessRules: n.Defaults.AccessRules, ExternalAccess: n.Defaults.ExternalAccess,
	})}
	if len(rights) > 0 {
		facts = append(facts, fact(KindUserRightsSet, userRightsSet{name, rights}))
	}
	if len(groups) > 0 {
		facts = append(facts, fact(KindUserGroupsSet, userGroupsSet{name, groups}))
	}
	if d := n.Defaults; d.State != StateEnabled || d.StateDescription != (StateDescription{}) {
		facts = append(facts, fact(KindUserStatusSet, userStatusSet{
			User: name, State: d.State, Time: d.StateDescription.Time,
			Operator: d.StateDescription.Operator, Reason: d.StateDescription.Reason,
		}))
	}
	if n.Defaults.Avatar != "" {
		facts = append(facts, fact(KindUserAvatarSet, userAvatarSet{name, n.Defaults.Avatar}))
	}
	return facts, nil
}

func empty(s *string) bool { return s == nil || *s == "" }

// nicknameOf gives the nickname of a user: its name, unless there is another.
func nicknameOf(name string, nickname *string) (string, error) {
	if empty(nickname) {
		return name, nil
	}
	if over(*nickname, maxNickname) {
		return "", CodeNicknameLong
	}
	return *nickname, nil
}

// parseGroups reads memberships, all in groups that exist.
func (a *Accounts) parseGroups(raw json.RawMessage) (Grants, error) {
	groups, err := ParseGrants(raw, MaxGroupName)
	if err != nil {
		return nil, err
	}
	if len(a.existing(groups)) < len(groups) {
		return nil, CodeStructure
	}
	return groups, nil
}

// existing leaves out groups that do not exist: policies may name some.
func (a *Accounts) existing(groups Grants) Grants {
	out := make(Grants, len(groups))
	for name, g := range groups {
		if _, ok := a.groups[name]; ok {
			out[name] = g
		}
	}
	return out
}
