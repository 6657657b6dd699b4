package acl

import (
	"encoding/json"

	"waybill/journal"
)

// UserOp is what operateUser asks for. Absent members are nil.
type UserOp struct {
	Action string
	// Username is the user it is about; nil for oneself.
	Username *string
	// NewPwd is as typed, at most 1024 code points. It is looked at, not kept.
	NewPwd *string
	// Nickname has at most 64 code points; "" is the user name. PublicKey is
	// in PEM, FileID that of the avatar, "" for the default.
	Nickname, PublicKey, FileID *string
	// NewGroups and NewRights are as ParseGrants reads them, Status is 0 or 1.
	NewGroups, NewRights, Status json.RawMessage
	// Reason of a status has at most 1024 code points.
	Reason *string
	// Verifier is that of NewPwd; it may be "" where the facts are not used.
	Verifier string
	// AvatarCheck tells whether the caller may read the file that becomes the
	// avatar; its error is the answer. It is called when all else is right,
	// and not for the default picture.
	AvatarCheck func(fileID string) error
}

// UserOutcome is what operateUser comes to.
type UserOutcome struct {
	Facts []journal.Fact
	// User is whom it was about, Self whether that is the caller.
	User string
	Self bool
	// PublicKey is what get_publickey asked for.
	PublicKey string
	// Revoked: the user is gone or disabled, its tokens are void and its tasks
	// are to be cancelled.
	Revoked bool
	// NewMark, unless 0, is the user's new mark in unix microseconds: tokens
	// issued before it are void, and whoever changed the own password gets one
	// that is not.
	NewMark int64
}

// OperateUser decides operateUser, its checks in the order of CFMS.md §5.4.
// now is in unix seconds; notBefore as in CreateUser. The errors are Codes,
// and whatever AvatarCheck returns.
func (a *Accounts) OperateUser(who *Subject, op UserOp, now float64, notBefore int64) (UserOutcome, error) {
	if op.Action == "" {
		return UserOutcome{}, CodeMissing
	}
	name := who.Name
	if op.Username != nil {
		name = *op.Username
	}
	if name == "" {
		return UserOutcome{}, CodeNeedUsername
	}
	self := name == who.Name
	if !self && op.Action != "get_publickey" && !who.May(RightEditUsers) {
		return UserOutcome{}, CodeDenied
	}
	u, ok := a.users[name]
	if !ok {
		return UserOutcome{}, CodeNoUser
	}
	o := operation{a: a, who: who, u: u, self: self, op: &op, now: now, notBefore: notBefore}
	out, err := o.run()
	if err != nil {
		return UserOutcome{}, err
	}
	out.User, out.Self = name, self
	return out, nil
}

// operation is one operateUser about a user that exists.
type operation struct {
	a         *Accounts
	who       *Subject
	u         *User
	self      bool
	op        *UserOp
	now       float64
	notBefore int64
}

// run tests the action's right, then decides it.
func (o *operation) run() (UserOutcome, error) {
	need, decide := "", (func() (UserOutcome, error))(nil)
	switch o.op.Action {
	case "passwd":
		decide = o.passwd
	case "set_groups":
		need, decide = RightSetGroups, o.setGroups
	case "set_rights":
		need, decide = RightSetRights, o.setRights
	case "set_nickname":
		need, decide = RightSetNickname, o.setNickname
	case "set_status":
		need, decide = RightEditUsers, o.setStatus
	case "delete":
		need, decide = RightDeleteUser, o.delete
	case "set_username":
		return UserOutcome{}, CodeNotAllowed
	case "set_publickey":
		decide = o.setPublicKey
	case "get_publickey":
		if decide = o.getPublicKey; !o.self {
			need = RightViewPublicKey
		}
	case "set_avatar":
		decide = o.setAvatar
	default:
		return UserOutcome{}, CodeBadRequest
	}
	if need != "" && !o.who.May(need) {
		return UserOutcome{}, CodeDenied
	}
	return decide()
}

func one(kind string, body any) UserOutcome {
	return UserOutcome{Facts: []journal.Fact{fact(kind, body)}}
}

func (o *operation) passwd() (UserOutcome, error) {
	if empty(o.op.NewPwd) {
		return UserOutcome{}, CodeMissing
	}
	if over(*o.op.NewPwd, maxPassword) {
		return UserOutcome{}, CodeArguments
	}
	mark := o.u.markAfter(o.notBefore)
	out := one(KindUserPasswordSet, userPasswordSet{o.u.Name, o.op.Verifier, mark})
	out.NewMark = mark
	return out, nil
}

func (o *operation) setGroups() (UserOutcome, error) {
	if absent(o.op.NewGroups) {
		return UserOutcome{}, CodeMissing
	}
	groups, err := o.a.parseGroups(o.op.NewGroups)
	if err != nil {
		return UserOutcome{}, err
	}
	return one(KindUserGroupsSet, userGroupsSet{o.u.Name, groups}), nil
}

func (o *operation) setRights() (UserOutcome, error) {
	if absent(o.op.NewRights) {
		return UserOutcome{}, CodeMissing
	}
	rights, err := ParseGrants(o.op.NewRights, MaxRightName)
	if err != nil {
		return UserOutcome{}, err
	}
	return one(KindUserRightsSet, userRightsSet{o.u.Name, rights}), nil
}

func (o *operation) setNickname() (UserOutcome, error) {
	if o.op.Nickname == nil {
		return UserOutcome{}, CodeMissing
	}
	nickname, err := nicknameOf(o.u.Name, o.op.Nickname)
	if err != nil {
		return UserOutcome{}, err
	}
	return one(KindUserNicknameSet, userNicknameSet{o.u.Name, nickname}), nil
}

func (o *operation) setStatus() (UserOutcome, error) {
	if o.self {
		return UserOutcome{}, CodeNotAllowed
	}
	if absent(o.op.Status) {
		return UserOutcome{}, CodeMissing
	}
	state, ok := bit(o.op.Status)
	if !ok {
		return UserOutcome{}, CodeBadRequest
	}
	if o.op.Reason != nil && over(*o.op.Reason, maxReason) {
		return UserOutcome{}, CodeArguments
	}
	b := userStatusSet{User: o.u.Name, State: state, Time: o.now, Operator: &o.who.Name, Reason: o.op.Reason}
	if state != StateEnabled {
		b.NotBefore = o.u.markAfter(o.notBefore)
	}
	out := one(KindUserStatusSet, b)
	out.Revoked = state != StateEnabled
	return out, nil
}

func (o *operation) delete() (UserOutcome, error) {
	if o.self {
		return UserOutcome{}, CodeSelfDelete
	}
	out := one(KindUserDeleted, userDeleted{o.u.Name})
	out.Revoked = true
	return out, nil
}

func (o *operation) setPublicKey() (UserOutcome, error) {
	if empty(o.op.PublicKey) {
		return UserOutcome{}, CodeMissing
	}
	if !goodPublicKey(*o.op.PublicKey) {
		return UserOutcome{}, CodePublicKey
	}
	return one(KindUserPublicKeySet, userPublicKeySet{o.u.Name, *o.op.PublicKey}), nil
}

func (o *operation) getPublicKey() (UserOutcome, error) {
	if o.u.PublicKey == "" {
		return UserOutcome{}, CodeNoPublicKey
	}
	return UserOutcome{PublicKey: o.u.PublicKey}, nil
}

func (o *operation) setAvatar() (UserOutcome, error) {
	if o.op.FileID == nil {
		return UserOutcome{}, CodeMissing
	}
	id := *o.op.FileID
	if over(id, maxFileID) {
		return UserOutcome{}, CodeNotFound
	}
	if id != "" && o.op.AvatarCheck != nil {
		if err := o.op.AvatarCheck(id); err != nil {
			return UserOutcome{}, err
		}
	}
	return one(KindUserAvatarSet, userAvatarSet{o.u.Name, id}), nil
}

// markAfter gives the mark that voids every token of the user. One may have
// been issued at notBefore itself, since a clock set back makes many records of
// the same time, and one at the mark that stands.
func (u *User) markAfter(notBefore int64) int64 { return max(notBefore, u.NotBefore) + 1 }
