package actions

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
)

// avatarPNG is the picture of whoever has none of their own: 64 by 64 pixels,
// drawn for waybill.
//
//go:embed avatar.png
var avatarPNG []byte

// sampleText is the content of the file that --sample-data makes (CFMS.md §7.3).
const sampleText = "This is a file for testing."

// builtin holds the contents that every daemon carries in itself: they are never
// stored, and never dropped. Journals name them, so none may ever be taken out
// or changed; a new picture is a further one.
var builtin = map[string][]byte{
	digestOf(nil):                nil,
	digestOf(avatarPNG):          avatarPNG,
	digestOf([]byte(sampleText)): []byte(sampleText),
}

var (
	sampleDigest = digestOf([]byte(sampleText))
	avatarDigest = digestOf(avatarPNG)
)

// defaultAvatar is what policy avatars names avatarPNG by.
const defaultAvatar = "DEFAULT_USER_AVATAR"

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func isBuiltin(digest string) bool {
	_, ok := builtin[digest]
	return ok
}

func builtinReader(digest string) *bytes.Reader { return bytes.NewReader(builtin[digest]) }
