package acl

import (
	"slices"

	"waybill/journal"
)

// AdminName is the user of a new daemon.
const AdminName = "admin"

// sysopRights are what a new daemon gives to GroupSysop: all but RightRead
// (CFMS.md §6.1).
var sysopRights = [...]string{
	RightSuper, RightViewDeleted, RightPurge, RightRecover, RightChangeID,
	RightCreateDir, RightCreateUser, RightCreateGroup, RightShutdown, RightAnyAvatar,
	RightNewUserSettings, RightNewGroupSettings, RightNewGroupMembers,
	RightViewProperties, RightViewPublicKey, RightEditUsers,
	RightSetGroups, RightSetRights, RightSetNickname, RightDeleteUser,
	RightManageAccess, RightManagePolicy,
}

// Genesis gives the users and groups of a new daemon: GroupUser, GroupSysop,
// and AdminName in it (CFMS.md §7.3).
func Genesis(adminVerifier string, nowMicros int64) []journal.Fact {
	return []journal.Fact{
		fact(KindGroupCreated, groupCreated{Group: GroupUser, Enabled: true, Rights: grantsOf(RightRead)}),
		createAdmin(adminVerifier, nowMicros),
		fact(KindGroupCreated, groupCreated{
			Group: GroupSysop, Enabled: true, Rights: grantsOf(sysopRights[:]...), Members: []string{AdminName},
		}),
	}
}

func createAdmin(verifier string, notBefore int64) journal.Fact {
	d := shippedUserDefaults()
	return fact(KindUserCreated, userCreated{
		User: AdminName, Nickname: AdminName, Verifier: verifier, NotBefore: notBefore,
		Restricted: d.Restricted, AccessRules: d.AccessRules, ExternalAccess: d.ExternalAccess,
	})
}

// RestoreAdmin decides what --admin-password asks for (CFMS.md §7.3), the way
// in when all is lost: AdminName exists, is enabled, has every right of a
// sysop, and the password that verifier checks; "" keeps the password. It is
// nil if nothing would change. notBefore as in CreateUser.
func (a *Accounts) RestoreAdmin(verifier string, notBefore int64) (facts []journal.Fact) {
	u, ok := a.users[AdminName]
	if !ok {
		return []journal.Fact{
			createAdmin(verifier, notBefore+1),
			fact(KindUserGroupsSet, userGroupsSet{AdminName, grantsOf(GroupSysop)}),
		}
	}
	if verifier != "" {
		facts = append(facts, fact(KindUserPasswordSet, userPasswordSet{AdminName, verifier, u.markAfter(notBefore)}))
	}
	if u.State != StateEnabled {
		facts = append(facts, fact(KindUserStatusSet, userStatusSet{
			User: AdminName, State: StateEnabled, Time: float64(notBefore) / 1e6,
		}))
	}
	groups := u.Groups.clone()
	groups[GroupSysop] = Grant{}
	changed := u.Groups[GroupSysop] != Grant{} || len(groups) != len(u.Groups)
	for name := range groups {
		if name != GroupSysop && revokesSysop(a.groups[name].rights) {
			delete(groups, name)
			changed = true
		}
	}
	if changed {
		facts = append(facts, fact(KindUserGroupsSet, userGroupsSet{AdminName, groups}))
	}
	if revokesSysop(u.Rights) {
		rights := u.Rights.clone()
		for _, r := range sysopRights {
			if rights[r].Revoke {
				delete(rights, r)
			}
		}
		facts = append(facts, fact(KindUserRightsSet, userRightsSet{AdminName, rights}))
	}
	return facts
}

// revokesSysop tells whether some right of a sysop is taken away, now or
// later.
func revokesSysop(g Grants) bool {
	return slices.ContainsFunc(sysopRights[:], func(r string) bool { return g[r].Revoke })
}
