package acl

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestGrantIsValid(t *testing.T) {
	for _, c := range []struct {
		shows  string
		expire float64
		want   bool
	}{
		{"no expire", 0, true},
		{"expire below 0 is never", -5, true},
		{"expire to come", now + 0.001, true},
		{"expire now", now, false},
		{"expire gone", now - 0.001, false},
	} {
		t.Run(c.shows, func(t *testing.T) {
			assert.Equal(t, c.want, Grant{Expire: c.expire}.Valid(now))
			assert.Equal(t, c.want, Grant{Expire: c.expire, Revoke: true}.Valid(now))
		})
	}
}

func TestParseGrants(t *testing.T) {
	many := func(n int) string {
		names := make([]string, n)
		for i := range names {
			names[i] = fmt.Sprintf(`"%d"`, i)
		}
		return "[" + strings.Join(names, ",") + "]"
	}
	all := make(Grants)
	for i := range 256 {
		all[fmt.Sprint(i)] = Grant{}
	}
	for _, c := range []struct {
		shows, raw string
		want       Grants
	}{
		{"an empty list", `[]`, Grants{}},
		{"an empty object", `{}`, Grants{}},
		{"names, one twice", `["a","b","a"]`, Grants{"a": {}, "b": {}}},
		{"times", `{"a":1.5,"b":0,"c":-1,"d":null}`, Grants{"a": {Expire: 1.5}, "b": {}, "c": {}, "d": {}}},
		{"entries", `{"a":{"expire":2},"b":{},"c":{"expire":null,"revoke":true},"d":{"revoke":0},"e":{"revoke":1},"f":{"revoke":null}}`,
			Grants{"a": {Expire: 2}, "b": {}, "c": {Revoke: true}, "d": {}, "e": {Revoke: true}, "f": {}}},
		{"shapes mixed", ` {"a":{}, "b":7} `, Grants{"a": {}, "b": {Expire: 7}}},
		{"names of any script, in code points", `["` + strings.Repeat("é", 8) + `"]`, Grants{strings.Repeat("é", 8): {}}},
		{"as many as may be", many(256), all},
	} {
		t.Run(c.shows, func(t *testing.T) {
			g, err := ParseGrants(given(c.raw), 8)
			assert.NoError(t, err)
			assert.Equal(t, c.want, g)
		})
	}
	for shows, raw := range map[string]string{
		"nothing":               ``,
		"null":                  `null`,
		"a string":              `"a"`,
		"a number":              `1`,
		"half a list":           `["a"`,
		"a list of numbers":     `[1]`,
		"a list of lists":       `[["a"]]`,
		"a time as text":        `{"a":"1"}`,
		"a flag":                `{"a":true}`,
		"an entry that is list": `{"a":[]}`,
		"expire as text":        `{"a":{"expire":"1"}}`,
		"revoke as text":        `{"a":{"revoke":"no"}}`,
		"revoke is 2":           `{"a":{"revoke":2}}`,
		"revoke misspelt":       `{"a":{"revoked":true}}`,
		"a time no journal has": `{"a":9007199254740992}`,
		"a time no float has":   `{"a":1e999}`,
		"an empty name":         `[""]`,
		"a name too long":       `["` + strings.Repeat("é", 9) + `"]`,
		"a control character":   `["a\u001f"]`,
		"another one":           `["a\u0085"]`,
		"too many":              many(257),
	} {
		t.Run(shows, func(t *testing.T) {
			_, err := ParseGrants(given(raw), 8)
			assert.Equal(t, CodeStructure, err)
		})
	}
	// So many long names of many bytes fit into no record.
	var names []string
	for i := range 256 {
		names = append(names, fmt.Sprintf("%q", strings.Repeat("\U0001F600", 60)+fmt.Sprint(i)))
	}
	_, err := ParseGrants(given("["+strings.Join(names, ",")+"]"), 64)
	assert.Equal(t, CodeStructure, err)
	for i := range names {
		names[i] = fmt.Sprintf(`"%064d":{"expire":1700000000.25,"revoke":true}`, i)
	}
	_, err = ParseGrants(given("{"+strings.Join(names, ",")+"}"), 64)
	assert.NoError(t, err, "of the longest plain names there may be 256")
}
