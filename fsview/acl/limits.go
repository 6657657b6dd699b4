package acl

import (
	"unicode"
	"unicode/utf8"
)

// The bounds of names and texts, in code points; exceeding means strictly more
// (CFMS.md §7.4).
const (
	MaxGroupName = 32
	MaxRightName = 64
	maxUserName  = 32
	maxNickname  = 64
	maxPassword  = 1024
	maxReason    = 1024
	maxFileID    = 64
)

const (
	// maxGrants is the number of rights, and of memberships, of one user or
	// group (CFMS.md §7.4).
	maxGrants = 256
	// maxGrantBytes bounds a list of grants as it is written, and
	// maxMemberBytes the members in one group.created, so that the two of them
	// fit into one record (60,000 bytes) whatever their names are made of.
	maxGrantBytes  = 40 << 10
	maxMemberBytes = 12 << 10
	// maxAccessBytes bounds access rules and external access together, where
	// they become part of a fact of this package (CFMS.md §5.6).
	maxAccessBytes = 32 << 10
	// maxKeyText bounds a public key in PEM, in bytes: 16384 bits take 2,900.
	maxKeyText = 8 << 10
	minKeyBits = 1024
	maxKeyBits = 16384
	// maxNumber is the first integer that JSON readers may round; a journal
	// holds none from there on.
	maxNumber = 1 << 53
)

// over tells whether s has more than limit code points.
func over(s string, limit int) bool {
	return len(s) > limit && utf8.RuneCountInString(s) > limit
}

// plainText tells whether s is a text without control characters, as names of
// users, groups and rights are.
func plainText(s string) bool {
	for _, r := range s {
		if unicode.IsControl(r) {
			return false
		}
	}
	return utf8.ValidString(s)
}

// goodName tells whether s can be the name of a user, group or right.
func goodName(s string, limit int) bool {
	return s != "" && !over(s, limit) && plainText(s)
}
