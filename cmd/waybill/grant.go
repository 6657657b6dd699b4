package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// grant is a right or a membership as it is written on the command line:
// NAME or NAME=EXPIRES, where EXPIRES is a time such as 2027-01-31T00:00:00Z, or
// how long from now, such as 720h. NAME= is good for ever, for names with a =.
type grant struct {
	name wireName
	ends time.Time // zero: never
}

// Decode implements kong.MapperValue.
func (g *grant) Decode(kctx *kong.DecodeContext) error {
	if err := g.name.Decode(kctx); err != nil {
		return err
	}
	expires := ""
	if i := strings.LastIndexByte(string(g.name), '='); i >= 0 {
		g.name, expires = g.name[:i], string(g.name[i+1:])
	}
	if g.name == "" {
		return errors.New("a name is missing")
	}
	if expires == "" {
		return nil
	}
	now := time.Now()
	if d, err := time.ParseDuration(expires); err == nil {
		g.ends = now.Add(d)
	} else if g.ends, err = time.Parse(time.RFC3339, expires); err != nil {
		return fmt.Errorf("%q is neither a time such as 2027-01-31T00:00:00Z nor a duration such as 720h", expires)
	}
	if !g.ends.After(now) {
		// Times of 1970 and before would even mean for ever.
		return fmt.Errorf("%s is over already", g.name)
	}
	return nil
}

// grantValue is a grant as the wire has it (CFMS.md §5.4).
type grantValue struct {
	Expire float64 `json:"expire"` // 0: never
	Revoke bool    `json:"revoke,omitempty"`
}

// grantMap is what is given and what is taken away whoever else gives it, as
// the wire has it; nil if that is nothing.
func grantMap(given, revoked []grant) (map[string]grantValue, error) {
	var m map[string]grantValue
	for i, list := range [][]grant{given, revoked} {
		for _, g := range list {
			name := string(g.name)
			if _, twice := m[name]; twice {
				return nil, fail(exitUsage, "%s is named twice", printable(name))
			}
			v := grantValue{Revoke: i == 1}
			if !g.ends.IsZero() {
				v.Expire = float64(g.ends.UnixMicro()) / 1e6
			}
			if m == nil {
				m = make(map[string]grantValue, len(given)+len(revoked))
			}
			m[name] = v
		}
	}
	return m, nil
}
