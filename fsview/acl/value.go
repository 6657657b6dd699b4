package acl

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
)

var errNotJSON = errors.New("not JSON")

// absent tells whether an optional member was left out: null is no value
// (CFMS.md §2).
func absent(raw json.RawMessage) bool {
	return len(raw) == 0 || string(raw) == "null"
}

// decodeValue decodes one value of any shape, its numbers as json.Number: what
// clients and policies send is looked at by hand, since encoding/json would
// take keys in any case and null for anything.
func decodeValue(raw json.RawMessage) (any, error) {
	if !json.Valid(raw) {
		return nil, errNotJSON
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	err := dec.Decode(&v)
	return v, err
}

// number gives a number that a journal can hold.
func number(v any) (float64, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	f, err := strconv.ParseFloat(string(n), 64)
	return f, err == nil && f > -maxNumber && f < maxNumber
}

// expiry gives a time in unix seconds. Whatever means never is 0.
func expiry(v any) (float64, bool) {
	if v == nil {
		return 0, true
	}
	f, ok := number(v)
	return max(f, 0), ok
}

// bit gives a member that is 0 or 1, as a number.
func bit(raw json.RawMessage) (int, bool) {
	v, err := decodeValue(raw)
	f, ok := number(v)
	return int(f), err == nil && ok && (f == 0 || f == 1)
}

// boolean gives a flag as clients write it: true, false, 0, 1 (CFMS.md §2).
func boolean(v any) (is, ok bool) {
	if is, ok = v.(bool); ok {
		return is, true
	}
	f, ok := number(v)
	return f == 1, ok && (f == 0 || f == 1)
}

// texts gives the strings of a list.
func texts(v any) ([]string, bool) {
	list, ok := v.([]any)
	if !ok {
		return nil, false
	}
	out := make([]string, 0, len(list))
	for _, item := range list {
		s, ok := item.(string)
		if !ok {
			return nil, false
		}
		out = append(out, s)
	}
	return out, true
}

// onlyKeys tells whether o has no other keys than these.
func onlyKeys(o map[string]any, keys ...string) bool {
	for k := range o {
		if !slices.Contains(keys, k) {
			return false
		}
	}
	return true
}
