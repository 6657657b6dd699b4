package acl

import "encoding/json"

// Properties is what getUserProperties answers (CFMS.md §5.4).
type Properties struct {
	// Rights are the effective ones, Groups the valid memberships with
	// GroupUser; both sorted.
	Rights     []string       `json:"rights"`
	Groups     []string       `json:"groups"`
	Properties UserProperties `json:"properties"`
}

// UserProperties are the properties of a user as clients see them.
type UserProperties struct {
	State            int              `json:"state"`
	StateDescription StateDescription `json:"state_description"`
	Nickname         string           `json:"nickname"`
	Avatar           AvatarProperty   `json:"avatar"`
	Publicity        Publicity        `json:"publicity"`
}

// AvatarProperty names the file of an avatar; nil is the default picture.
type AvatarProperty struct {
	FileID *string `json:"file_id"`
}

// Publicity says who may see an avatar.
type Publicity struct {
	Restricted     bool            `json:"restricted"`
	AccessRules    json.RawMessage `json:"access_rules"`
	ExternalAccess json.RawMessage `json:"external_access"`
}

// Properties gives the properties of a user at now, in unix seconds; false for
// an unknown one.
func (a *Accounts) Properties(name string, now float64) (Properties, bool) {
	u, ok := a.User(name) // a copy
	if !ok {
		return Properties{}, false
	}
	s := a.subject(name, u.Rights, u.Groups, now)
	p := Properties{Rights: s.Rights.sorted(), Groups: s.Groups.sorted(), Properties: UserProperties{
		State: u.State, StateDescription: u.StateDescription, Nickname: u.Nickname,
		Publicity: Publicity{u.Restricted, u.Publicity.Rules(), u.Publicity.External()},
	}}
	if u.Avatar != "" {
		p.Properties.Avatar.FileID = &u.Avatar
	}
	return p, true
}

// GetProperties decides getUserProperties (CFMS.md §5.4). hasData tells
// whether the request had any data; username "" is oneself; now is in unix
// seconds. The errors are Codes.
func (a *Accounts) GetProperties(who *Subject, hasData bool, username string, now float64) (Properties, error) {
	if !hasData {
		return Properties{}, CodeMissing
	}
	if username == "" {
		username = who.Name
	}
	if username != who.Name && !who.May(RightViewProperties) {
		return Properties{}, CodeDenied
	}
	p, ok := a.Properties(username, now)
	if !ok {
		return Properties{}, CodeNotFound
	}
	return p, nil
}

// AvatarOf decides whether who may see a user's avatar, and gives the file it
// is, "" for the default picture (CFMS.md §5.3). allowWithout is
// allow_access_without_permission of policy avatars; now is in unix seconds.
// The errors are Codes.
func (a *Accounts) AvatarOf(who *Subject, username *string, allowWithout bool, now float64) (fileID string, err error) {
	if empty(username) {
		return "", CodeNeedsUsername
	}
	u, ok := a.users[*username]
	if !ok {
		return "", CodeNotFound
	}
	if !u.Restricted || allowWithout || u.Name == who.Name || who.May(RightAnyAvatar) ||
		u.Publicity.Level(who, ActionRead, true, now) {
		return u.Avatar, nil
	}
	return "", CodeForbidden
}
