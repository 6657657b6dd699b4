package doctree

import (
	"unicode"
	"unicode/utf8"

	"waybill/fsview/acl"
)

// checkName refuses what cannot be a name (CFMS.md §7.4).
func checkName(name string) error {
	n := utf8.RuneCountInString(name)
	if n < 1 || n > MaxName || name == "." || name == ".." || controls(name) {
		return acl.CodeName
	}
	for _, c := range name {
		if c == '/' || c == '\\' {
			return acl.CodeName
		}
	}
	return nil
}

func controls(s string) bool {
	for _, c := range s {
		if unicode.IsControl(c) {
			return true
		}
	}
	return false
}

func long(id string) bool { return utf8.RuneCountInString(id) > MaxID }

// target finds the directory in which something is to be put, "" being the
// root. One that is deleted, or below a deleted one, is refused like an unknown
// one.
func (t *Tree) target(id string, unknown acl.Code) (*node, error) {
	n, ok := t.named(id)
	if !ok || !n.reachable() {
		return nil, unknown
	}
	if !n.dir {
		return nil, acl.CodeNotDir
	}
	return n, nil
}
