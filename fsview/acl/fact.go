package acl

import (
	"encoding/json"
	"fmt"

	"waybill/journal"
)

// The kinds of facts about users and groups. Their bodies are pinned by tests:
// a kind's meaning and bytes never change.
const (
	KindUserCreated      = "user.created"
	KindUserPasswordSet  = "user.password_set"
	KindUserGroupsSet    = "user.groups_set"
	KindUserRightsSet    = "user.rights_set"
	KindUserNicknameSet  = "user.nickname_set"
	KindUserStatusSet    = "user.status_set"
	KindUserPublicKeySet = "user.publickey_set"
	KindUserAvatarSet    = "user.avatar_set"
	KindUserDeleted      = "user.deleted"
	KindGroupCreated     = "group.created"
)

// Of a password only the verifier stands in a fact. Times are in seconds as a
// float, as rules count them; marks in microseconds.

// userCreated makes a user without rights of its own and in no group but user:
// what it has follows as facts of their own, because all of it may not fit
// into one record.
type userCreated struct {
	User      string `json:"user"`
	Nickname  string `json:"nickname"`
	Verifier  string `json:"verifier,omitempty"`
	NotBefore int64  `json:"not_before"`
	// Restricted and what follows are who may see the avatar.
	Restricted     bool            `json:"restricted,omitempty"`
	AccessRules    json.RawMessage `json:"access_rules,omitempty"`
	ExternalAccess json.RawMessage `json:"external_access,omitempty"`
}

type userPasswordSet struct {
	User      string `json:"user"`
	Verifier  string `json:"verifier"`
	NotBefore int64  `json:"not_before"`
}

type userGroupsSet struct {
	User   string `json:"user"`
	Groups Grants `json:"groups"`
}

type userRightsSet struct {
	User   string `json:"user"`
	Rights Grants `json:"rights"`
}

type userNicknameSet struct {
	User     string `json:"user"`
	Nickname string `json:"nickname"`
}

type userStatusSet struct {
	User     string  `json:"user"`
	State    int     `json:"state"`
	Time     float64 `json:"time"`
	Operator *string `json:"operator,omitempty"`
	Reason   *string `json:"reason,omitempty"`
	// NotBefore is absent where tokens live on.
	NotBefore int64 `json:"not_before,omitempty"`
}

type userPublicKeySet struct {
	User      string `json:"user"`
	PublicKey string `json:"publickey"`
}

type userAvatarSet struct {
	User string `json:"user"`
	// FileID is absent for the default picture.
	FileID string `json:"file_id,omitempty"`
}

type userDeleted struct {
	User string `json:"user"`
}

type groupCreated struct {
	Group   string `json:"group"`
	Enabled bool   `json:"enabled"`
	Rights  Grants `json:"rights,omitempty"`
	// Members are the users that are in it from the start, for ever.
	Members []string `json:"members,omitempty"`
}

// factError tells which record's body does not decode.
func factError(kind string, err error) error {
	return fmt.Errorf("%s: body: %w", kind, err)
}

func fact(kind string, body any) journal.Fact { return journal.NewFact(kind, body) }
