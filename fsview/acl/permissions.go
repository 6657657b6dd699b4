// Package acl decides who may do what.
//
// For PROTOCOL.md these are permission patterns: what a token was granted, and
// whether that covers what an action needs (Permissions). For CFMS.md they are
// users and groups with their rights (Accounts), the tokens and password
// verifiers of users, and the access rules that files, directories, policies
// and profiles carry (Access). Accounts is a fold of the journal: methods that
// decide return facts or a Code and change nothing; Apply, and nothing else,
// changes it, with the same code in life, replay and time travel.
//
// It does no I/O and reads neither clock nor randomness: times, token ids,
// salts and secrets are arguments. It knows no wires, and not the tree: how
// levels combine on the way to the root is package doctree's.
package acl

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// MaxPermissionBytes bounds a list of permissions, written with commas: it
// travels in a URL as part of a token and stands in one journal record.
const MaxPermissionBytes = 16 << 10

// ErrBadPermission is returned by ParsePermissions for a pattern that is not
// made of nodes and dots, and for a list over MaxPermissionBytes.
var ErrBadPermission = errors.New("bad permission")

// Permissions is a list of granted patterns. It is immutable; the zero value
// grants nothing.
//
// A pattern is nodes joined by dots. A node is [A-Za-z0-9_-]+ and matches
// itself, or the wildcard * (any one node), or ** (any nodes, at least one).
// A pattern grants a need if it matches a leading run of the need's nodes, so
// a parent includes its children: a.b grants a.b.c, and * grants everything.
type Permissions struct {
	granted  []string
	patterns [][]string // nodes of granted, at the same index
}

// ParsePermissions checks and splits a list of patterns. An empty list is
// good and grants nothing. The error wraps ErrBadPermission.
func ParsePermissions(list []string) (Permissions, error) {
	var p Permissions
	total := 0
	for _, s := range list {
		if total += len(s) + 1; total > MaxPermissionBytes+1 {
			return Permissions{}, fmt.Errorf("%w: list over %d bytes", ErrBadPermission, MaxPermissionBytes)
		}
		nodes := strings.Split(s, ".")
		for _, n := range nodes {
			if n != "*" && n != "**" && !isPlain(n) {
				return Permissions{}, fmt.Errorf("%w %.80q: node %.80q", ErrBadPermission, s, n)
			}
		}
		p.granted = append(p.granted, s)
		p.patterns = append(p.patterns, nodes)
	}
	return p, nil
}

// SplitPermissions cuts the comma form in which tokens carry permissions.
// Spaces around a pattern and empty patterns are dropped.
func SplitPermissions(comma string) []string {
	var list []string
	for s := range strings.SplitSeq(comma, ",") {
		if s = strings.TrimSpace(s); s != "" {
			list = append(list, s)
		}
	}
	return list
}

// Allow reports whether some pattern grants need, a plain name without
// wildcards. The empty need asks for no permission and is always granted; a
// malformed one never is.
func (p Permissions) Allow(need string) bool {
	if need == "" {
		return true
	}
	var room [8]string
	nodes := room[:0]
	for n := range strings.SplitSeq(need, ".") {
		if !isPlain(n) {
			return false
		}
		nodes = append(nodes, n)
	}
	return slices.ContainsFunc(p.patterns, func(have []string) bool {
		return grants(have, nodes)
	})
}

// Strings returns the patterns as they were granted, in order; never nil.
func (p Permissions) Strings() []string {
	return append([]string{}, p.granted...)
}

// grants reports whether have matches a leading run of need. The nodes
// between two ** are looked for at their earliest place: because a leading run
// suffices, an earlier place never excludes a match a later one would allow,
// so nothing is ever tried twice for another reason.
func grants(have, need []string) bool {
	run, rest := cutAny(have)
	if !fits(run, need) {
		return false
	}
	need = need[len(run):]
	for rest != nil {
		run, rest = cutAny(rest[1:])
		if len(need) == 0 {
			return false // ** wants at least one node
		}
		need = need[1:]
		for !fits(run, need) {
			if len(need) == 0 {
				return false
			}
			need = need[1:]
		}
		need = need[len(run):]
	}
	return true
}

// cutAny cuts a pattern before its first **; rest is nil if there is none.
func cutAny(have []string) (run, rest []string) {
	if i := slices.Index(have, "**"); i >= 0 {
		return have[:i], have[i:]
	}
	return have, nil
}

// fits reports whether need begins with run, in which * is any node.
func fits(run, need []string) bool {
	if len(run) > len(need) {
		return false
	}
	for i, n := range run {
		if n != "*" && n != need[i] {
			return false
		}
	}
	return true
}

func isPlain(node string) bool {
	for i := range len(node) {
		c := node[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return node != ""
}
