package panelwire

import (
	"regexp"
	"strconv"
)

var rangeSyntax = regexp.MustCompile(`^([0-9]+)\.\.([0-9]+)$`)

// slowRange reads a range the plain way.
func slowRange(s string) (from, to int64, ok bool) {
	m := rangeSyntax.FindStringSubmatch(s)
	if m == nil {
		return 0, 0, false
	}
	from, errFrom := strconv.ParseInt(m[1], 10, 64)
	to, errTo := strconv.ParseInt(m[2], 10, 64)
	return from, to, errFrom == nil && errTo == nil
}
