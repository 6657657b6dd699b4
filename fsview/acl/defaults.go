package acl

import "encoding/json"

// UserDefaults are what a new user gets without being given it (CFMS.md §7.1,
// policy user_auth).
type UserDefaults struct {
	Rights, Groups Grants
	// Nickname "" is the user name, Avatar "" the default picture.
	Nickname, Avatar string
	// State is StateEnabled or StateDisabled, StateDescription why.
	State            int
	StateDescription StateDescription
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
// default_new_user_properties from the content of policy user_auth. Each part
// that is missing or malformed is as shipped.
func ParseUserDefaults(policyContent json.RawMessage) UserDefaults {
	d := shippedUserDefaults()
	content := members(policyContent)
	if g, err := ParseGrants(content["default_new_user_rights"], MaxRightName); err == nil {
		d.Rights = g
	}
	if g, err := ParseGrants(content["default_new_user_groups"], MaxGroupName); err == nil {
		d.Groups = g
	}
	properties := members(content["default_new_user_properties"])
	if n, ok := bit(properties["state"]); ok {
		d.State = n
	}
	why := members(properties["state_description"])
	if v, err := decodeValue(why["time"]); err == nil {
		if t, ok := expiry(v); ok {
			d.StateDescription.Time = t
		}
	}
	d.StateDescription.Operator = textWithin(why["operator"], maxUserName)
	d.StateDescription.Reason = textWithin(why["reason"], maxReason)
	if s := textWithin(properties["nickname"], maxNickname); s != nil {
		d.Nickname = *s
	}
	if s := textWithin(members(properties["avatar"])["file_id"], maxFileID); s != nil {
		d.Avatar = *s
	}
	publicity := members(properties["publicity"])
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

// textWithin gives a text of at most limit code points; of anything else, nil.
func textWithin(raw json.RawMessage, limit int) *string {
	v, err := decodeValue(raw)
	if s, ok := v.(string); err == nil && ok && !over(s, limit) {
		return &s
	}
	return nil
}

// members gives the members of an object; of anything else, none.
func members(raw json.RawMessage) map[string]json.RawMessage {
	var o map[string]json.RawMessage
	if json.Unmarshal(raw, &o) != nil {
		return nil
	}
	return o
}
