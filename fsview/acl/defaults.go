package acl

import "encoding/json"

// UserDefaults are what a new user gets without being given it (CFMS.md §7.1,
// policy user_auth).
type UserDefaults struct {
	Rights, Groups Grants
	// Restricted, AccessRules and ExternalAccess say who may see the avatar.
	Restricted                  bool
	AccessRules, ExternalAccess json.RawMessage
}

func shippedUserDefaults() UserDefaults {
	return UserDefaults{
		Rights: Grants{}, Groups: Grants{},
		Restricted: true, AccessRules: json.RawMessage(`{"read":[]}`), ExternalAccess: json.RawMessage(`{}`),
	}
}

// ParseUserDefaults reads default_new_user_rights, default_new_user_groups and
// the publicity of default_new_user_properties from the content of policy
// user_auth. Each part that is missing or malformed is as shipped.
func ParseUserDefaults(policyContent json.RawMessage) UserDefaults {
	d := shippedUserDefaults()
	content := members(policyContent)
	if g, err := ParseGrants(content["default_new_user_rights"], MaxRightName); err == nil {
		d.Rights = g
	}
	if g, err := ParseGrants(content["default_new_user_groups"], MaxGroupName); err == nil {
		d.Groups = g
	}
	publicity := members(members(content["default_new_user_properties"])["publicity"])
	if v, err := decodeValue(publicity["restricted"]); err == nil {
		if is, ok := boolean(v); ok {
			d.Restricted = is
		}
	}
	rules, external := publicity["access_rules"], publicity["external_access"]
	if len(rules)+len(external) > maxAccessBytes {
		return d
	}
	if !absent(rules) && ValidateAccess(rules, nil) == nil {
		d.AccessRules = rules
	}
	if !absent(external) && ValidateAccess(nil, external) == nil {
		d.ExternalAccess = external
	}
	return d
}

// GroupDefaults are what a new group gets without being given it (CFMS.md
// §7.1, policy group_settings).
type GroupDefaults struct {
	Rights  Grants
	Enabled bool
	Members []string
}

// ParseGroupDefaults reads default_rights, default_enabled and default_members
// from the content of policy group_settings. Each part that is missing or
// malformed is as shipped: no rights, enabled, nobody.
func ParseGroupDefaults(policyContent json.RawMessage) GroupDefaults {
	d := GroupDefaults{Rights: Grants{}, Enabled: true}
	content := members(policyContent)
	if g, err := ParseGrants(content["default_rights"], MaxRightName); err == nil {
		d.Rights = g
	}
	if n, ok := bit(content["default_enabled"]); ok {
		d.Enabled = n == 1
	}
	if v, err := decodeValue(content["default_members"]); err == nil {
		d.Members, _ = texts(v)
	}
	return d
}

// members gives the members of an object; of anything else, none.
func members(raw json.RawMessage) map[string]json.RawMessage {
	var o map[string]json.RawMessage
	if json.Unmarshal(raw, &o) != nil {
		return nil
	}
	return o
}
