package fsview

import (
	"strings"
	"unicode/utf8"
)

const (
	// MaxComponent is the longest file name in bytes, as on every Linux file system.
	MaxComponent = 255
	// MaxName is the longest name in bytes. It bounds the steps one request can
	// cause, and is what the system itself allows a path.
	MaxName = 4096
	// reserved is the directory at the top of the root that is ours alone.
	reserved = ".waybill"
)

// Name is a name below the root, checked once; the zero value is the root
// itself. `..` parts are kept: only the file system knows what they mean once
// symlinks are involved. Names are comparable; two different names may still
// lead to the same file (see Target).
type Name struct{ s string }

// String is the name with '/' between its parts, "." for the root.
func (n Name) String() string {
	if n.s == "" {
		return "."
	}
	return n.s
}

// IsRoot tells whether n is the root itself, as written: "a/.." is not.
func (n Name) IsRoot() bool { return n.s == "" }

func (n Name) parts() []string {
	if n.s == "" {
		return nil
	}
	return strings.Split(n.s, "/")
}

func (n Name) hasDotDot() bool {
	for part := range strings.SplitSeq(n.s, "/") {
		if part == ".." {
			return true
		}
	}
	return false
}

// ParseName reads a name for listings and reads. `\` counts as '/', leading
// slashes and "." parts go, the empty name is the root. ErrBadName for what
// cannot be a name.
func ParseName(s string) (Name, error) {
	bad := func(why string) (Name, error) {
		return Name{}, &pathError{op: "name", name: clip(s), kind: ErrBadName, cause: badName(why)}
	}
	switch {
	case len(s) > MaxName:
		return bad("too long")
	case strings.IndexByte(s, 0) >= 0:
		return bad("NUL")
	case !utf8.ValidString(s):
		return bad("invalid UTF-8")
	}
	s = strings.TrimLeft(strings.ReplaceAll(s, `\`, "/"), "/")
	var b strings.Builder
	b.Grow(len(s))
	for part := range strings.SplitSeq(s, "/") {
		switch {
		case part == "" || part == ".":
			continue
		case b.Len() == 0 && len(part) >= 2 && part[1] == ':' && part[0]|0x20 >= 'a' && part[0]|0x20 <= 'z':
			return bad("drive letter")
		case len(part) > MaxComponent:
			return bad("component too long")
		}
		if b.Len() > 0 {
			b.WriteByte('/')
		}
		b.WriteString(part)
	}
	return Name{b.String()}, nil
}

// ParseTarget reads the name an upload is to get: as ParseName, and
// ErrIsDirectory for one that can only be a directory (empty, ending in a
// slash, in "." or in "..").
func ParseTarget(s string) (Name, error) {
	n, err := ParseName(s)
	if err != nil {
		return Name{}, err
	}
	switch s[strings.LastIndexAny(s, `/\`)+1:] {
	case "", ".", "..":
		return Name{}, &pathError{op: "target", name: n.String(), kind: ErrIsDirectory}
	}
	return n, nil
}

// badName is the reason within an ErrBadName.
type badName string

func (b badName) Error() string { return string(b) }

// clip keeps an error message short whatever a client sent as a name.
func clip(s string) string {
	const most = 128
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
