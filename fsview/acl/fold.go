package acl

import (
	"encoding/json"
	"errors"
	"fmt"

	"waybill/journal"
)

// What no journal of ours says.
var (
	errUnknown = errors.New("unknown")
	errExists  = errors.New("exists")
	errNoName  = errors.New("no name")
)

// Apply folds one fact into the accounts. Unknown kinds, facts about unknown
// users or groups, and the making of what exists are errors, and change
// nothing: no journal of ours has them.
func (a *Accounts) Apply(e *journal.Entry) error {
	switch e.Kind {
	case KindUserCreated:
		return a.applyUserCreated(e)
	case KindGroupCreated:
		return a.applyGroupCreated(e)
	case KindUserPasswordSet, KindUserGroupsSet, KindUserRightsSet, KindUserNicknameSet, KindUserStatusSet,
		KindUserPublicKeySet, KindUserAvatarSet, KindUserDeleted:
		return a.applyUser(e)
	}
	return fmt.Errorf("unknown kind %q", e.Kind)
}

func (a *Accounts) applyUserCreated(e *journal.Entry) error {
	var b userCreated
	if err := json.Unmarshal(e.Body, &b); err != nil {
		return factError(e.Kind, err)
	}
	if b.User == "" {
		return factError(e.Kind, errNoName)
	}
	if _, taken := a.users[b.User]; taken {
		return fmt.Errorf("%s: user %q: %w", e.Kind, b.User, errExists)
	}
	a.users[b.User] = &User{
		Name: b.User, Nickname: b.Nickname, Verifier: b.Verifier, NotBefore: b.NotBefore,
		Rights: Grants{}, Groups: Grants{},
		Restricted: b.Restricted, Publicity: NewAccess(b.AccessRules, b.ExternalAccess),
	}
	return nil
}

func (a *Accounts) applyGroupCreated(e *journal.Entry) error {
	var b groupCreated
	if err := json.Unmarshal(e.Body, &b); err != nil {
		return factError(e.Kind, err)
	}
	if b.Group == "" {
		return factError(e.Kind, errNoName)
	}
	if _, taken := a.groups[b.Group]; taken {
		return fmt.Errorf("%s: group %q: %w", e.Kind, b.Group, errExists)
	}
	for _, m := range b.Members {
		if _, ok := a.users[m]; !ok {
			return fmt.Errorf("%s: user %q: %w", e.Kind, m, errUnknown)
		}
	}
	a.groups[b.Group] = &group{enabled: b.Enabled, rights: b.Rights.clone()}
	for _, m := range b.Members {
		a.users[m].Groups[b.Group] = Grant{}
	}
	return nil
}

// applyUser folds the facts about a user that exists.
func (a *Accounts) applyUser(e *journal.Entry) error {
	var b struct {
		User             string
		Verifier         string
		NotBefore        int64 `json:"not_before"`
		Groups, Rights   Grants
		Nickname         string
		State            int
		Time             float64
		Operator, Reason *string
		PublicKey        string
		FileID           string `json:"file_id"`
	}
	if err := json.Unmarshal(e.Body, &b); err != nil {
		return factError(e.Kind, err)
	}
	u, ok := a.users[b.User]
	if !ok {
		return fmt.Errorf("%s: user %q: %w", e.Kind, b.User, errUnknown)
	}
	switch e.Kind {
	case KindUserPasswordSet:
		u.Verifier, u.NotBefore = b.Verifier, b.NotBefore
	case KindUserGroupsSet:
		for g := range b.Groups {
			if _, ok := a.groups[g]; !ok {
				return fmt.Errorf("%s: group %q: %w", e.Kind, g, errUnknown)
			}
		}
		u.Groups = b.Groups.clone()
	case KindUserRightsSet:
		u.Rights = b.Rights.clone()
	case KindUserNicknameSet:
		u.Nickname = b.Nickname
	case KindUserStatusSet:
		u.State = b.State
		u.StateDescription = StateDescription{Time: b.Time, Operator: b.Operator, Reason: b.Reason}
		if b.NotBefore != 0 {
			u.NotBefore = b.NotBefore
		}
	case KindUserPublicKeySet:
		u.PublicKey = b.PublicKey
	case KindUserAvatarSet:
		u.Avatar = b.FileID
	case KindUserDeleted:
		delete(a.users, u.Name)
	}
	return nil
}
