package acl

import "encoding/json"

type userDump struct {
	Nickname       string           `json:"nickname"`
	State          int              `json:"state"`
	Description    StateDescription `json:"state_description"`
	Verifier       string           `json:"verifier"`
	NotBefore      int64            `json:"not_before"`
	Rights         Grants           `json:"rights"`
	Groups         Grants           `json:"groups"`
	PublicKey      string           `json:"publickey,omitempty"`
	FileID         string           `json:"file_id,omitempty"`
	Restricted     bool             `json:"restricted"`
	AccessRules    json.RawMessage  `json:"access_rules"`
	ExternalAccess json.RawMessage  `json:"external_access"`
}

type groupDump struct {
	Enabled bool   `json:"enabled"`
	Rights  Grants `json:"rights"`
}

// MarshalJSON renders the accounts in one canonical form, by name. It holds
// the verifiers, which are worth nothing without the pepper.
func (a *Accounts) MarshalJSON() ([]byte, error) {
	out := struct {
		Users  map[string]userDump  `json:"users"`
		Groups map[string]groupDump `json:"groups"`
	}{make(map[string]userDump, len(a.users)), make(map[string]groupDump, len(a.groups))}
	for name, u := range a.users {
		out.Users[name] = userDump{
			Nickname: u.Nickname, State: u.State, Description: u.StateDescription, Verifier: u.Verifier,
			NotBefore: u.NotBefore, Rights: u.Rights, Groups: u.Groups, PublicKey: u.PublicKey, FileID: u.Avatar,
			Restricted: u.Restricted, AccessRules: u.Publicity.Rules(), ExternalAccess: u.Publicity.External(),
		}
	}
	for name, g := range a.groups {
		out.Groups[name] = groupDump{g.enabled, g.rights}
	}
	return json.Marshal(out)
}
