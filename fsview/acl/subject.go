package acl

import "time"

// Set is a set of names.
type Set map[string]struct{}

// Has tells whether name is in the set.
func (s Set) Has(name string) bool {
	_, ok := s[name]
	return ok
}

// Subject is somebody as rules see them at one moment: effective rights and
// valid memberships, the group "user" among them (CFMS.md §6.1). It is made
// anew for every request and not changed.
type Subject struct {
	Name string
	// Main marks the holder of the daemon's main token, who is no user.
	Main           bool
	Rights, Groups Set
}

// May tells whether the subject has a right. super_access stands in for none.
func (s *Subject) May(right string) bool { return s.Rights.Has(right) }

// Seconds is a time as rules count it: unix seconds with a fraction.
func Seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

// The rights that this version asks for (CFMS.md §6.1). Others may be granted,
// and asked for by rules.
const (
	RightSuper            = "super_access"
	RightViewDeleted      = "view_deleted"
	RightPurge            = "permanently_delete"
	RightRecover          = "recover"
	RightChangeID         = "change_id"
	RightCreateDir        = "create_dir"
	RightCreateUser       = "create_user"
	RightCreateGroup      = "create_group"
	RightShutdown         = "shutdown"
	RightAnyAvatar        = "super_useravatar"
	RightNewUserSettings  = "custom_new_user_settings"
	RightNewGroupSettings = "custom_new_group_settings"
	RightNewGroupMembers  = "custom_new_group_members"
	RightViewProperties   = "view_others_properties"
	RightViewPublicKey    = "view_others_publickey"
	RightEditUsers        = "edit_other_users"
	RightSetGroups        = "set_usergroups"
	RightSetRights        = "set_userrights"
	RightSetNickname      = "set_nickname"
	RightDeleteUser       = "delete_user"
	RightManageAccess     = "manage_access"
	RightManagePolicy     = "manage_policy"
	RightRead             = "read"
)

// The groups of a new daemon; everybody is in GroupUser.
const (
	GroupUser  = "user"
	GroupSysop = "sysop"
)

// MainName is the name under which the holder of the main token acts; no user
// can have it.
const MainName = "main"
