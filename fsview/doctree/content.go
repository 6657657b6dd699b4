package doctree

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"waybill/fsview/acl"
)

// errContent is why a document cannot be stored; callers turn it into
// CodeStructure.
var errContent = errors.New("content cannot be stored")

// absent tells whether an optional document was not given: null is absent.
func absent(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

// blank tells whether a text argument is missing: absent or empty.
func blank(s *string) bool { return s == nil || *s == "" }

// canonical renders a document of a client in the form in which a record holds
// it: compact, every key once (the last), keys in order, no integer that other
// readers of the journal would round, bounded in depth and size.
func canonical(raw json.RawMessage, limit int) (json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil || dec.InputOffset() != int64(len(bytes.TrimRight(raw, " \t\r\n"))) {
		return nil, errContent
	}
	if !storable(v, maxNesting) {
		return nil, errContent
	}
	out := render(v)
	if len(out) > limit {
		return nil, errContent
	}
	return out, nil
}

func storable(v any, depth int) bool {
	if depth == 0 {
		return false
	}
	switch v := v.(type) {
	case map[string]any:
		for _, member := range v {
			if !storable(member, depth-1) {
				return false
			}
		}
	case []any:
		for _, member := range v {
			if !storable(member, depth-1) {
				return false
			}
		}
	case json.Number:
		if !strings.ContainsAny(v.String(), ".eE") {
			n, err := v.Int64()
			return err == nil && -maxInteger <= n && n <= maxInteger
		}
		_, err := strconv.ParseFloat(v.String(), 64)
		return err == nil
	}
	return true
}

// render encodes v, made of JSON values, without escaping what needs none.
func render(v any) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic("doctree: " + err.Error()) // decoded JSON always encodes
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// conforms tells whether the content of a policy has the keys and types of the
// shipped one (CFMS.md §5.6), key being where both stand in it. An empty object
// is a grant map, null a text that may be there, a list one of names, and
// documents of access rules have the shapes of §6.2.
func conforms(key string, shipped, got any) bool {
	switch shipped := shipped.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok {
			return false
		}
		if len(shipped) == 0 {
			return isGrants(key, object)
		}
		return sameKeys(shipped, object)
	case []any:
		list, ok := got.([]any)
		for _, member := range list {
			_, text := member.(string)
			ok = ok && text
		}
		return ok
	case string:
		_, ok := got.(string)
		return ok
	case bool:
		_, ok := got.(bool)
		return ok
	case float64:
		v, ok := got.(float64)
		return ok && isCount(v)
	}
	_, text := got.(string)
	return got == nil || text
}

func sameKeys(shipped, object map[string]any) bool {
	if len(object) != len(shipped) {
		return false
	}
	for key, want := range shipped {
		member, ok := object[key]
		if !ok {
			return false
		}
		if key != "access_rules" && key != "external_access" && !conforms(key, want, member) {
			return false
		}
	}
	rules, ok := object["access_rules"]
	return !ok || acl.ValidateAccess(render(rules), render(object["external_access"])) == nil
}

// isGrants tells whether object is a grant map (§5.4) of rights or groups.
func isGrants(key string, object map[string]any) bool {
	longest := acl.MaxRightName
	if strings.HasSuffix(key, "groups") {
		longest = acl.MaxGroupName
	}
	_, err := acl.ParseGrants(render(object), longest)
	return err == nil
}
