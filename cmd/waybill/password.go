package main

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"strings"
	"unicode/utf8"
)

const (
	// maxPassword is in code points (CFMS.md §7.4), maxPasswordFile in bytes:
	// the longest that could be one, and a line break.
	maxPassword     = 1024
	maxPasswordFile = maxPassword*utf8.UTFMax + 2
)

// readPassword reads a password as it would be typed from a file: all of it but
// one line break at the end, which editors add. what names the file in errors,
// which never hold the password.
func readPassword(what, file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", localError(what, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPasswordFile+1))
	if err != nil {
		return "", localError(what, err)
	}
	password := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	return password, usablePassword(what+" "+file, password)
}

// usablePassword refuses what cannot be a password, told as of what.
func usablePassword(what, password string) error {
	switch {
	case password == "":
		return fail(exitUsage, "%s: the password is empty", what)
	case !utf8.ValidString(password):
		return fail(exitUsage, "%s: the password is not valid UTF-8", what)
	case utf8.RuneCountInString(password) > maxPassword:
		return fail(exitUsage, "%s: the password is longer than %d characters", what, maxPassword)
	}
	return nil
}

// loginProof is what a login sends in place of the typed password (CFMS.md
// §3.1). It is worth as much as the password.
func loginProof(typed string) string {
	sum := sha256.Sum256([]byte(typed))
	return hex.EncodeToString(sum[:])
}
