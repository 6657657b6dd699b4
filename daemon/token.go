package daemon

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"waybill/actions"
	"waybill/fsview/acl"
)

const (
	// tokenParty is both issuer and audience: a token is ours for us.
	tokenParty  = "MCServerLauncher.Daemon"
	tokenLeeway = time.Second
	// mainSubject is who the main token speaks for, and a token without sub.
	mainSubject = "main"
)

// errToken is all that is ever said about a token that is not good.
var errToken = errors.New("the token is not valid")

// authority knows the main token and issues and checks the others. Tokens
// never appear in its errors.
type authority struct {
	main   [sha256.Size]byte // digest, so that comparing tells not even a length
	key    []byte
	urls   []byte // the key of addresses of downloads
	now    func() time.Time
	parser *jwt.Parser
}

func newAuthority(mainToken string, key []byte, now func() time.Time) *authority {
	return &authority{
		main: sha256.Sum256([]byte(mainToken)), key: key, urls: urlKey(key), now: now,
		parser: jwt.NewParser(
			jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
			jwt.WithIssuer(tokenParty),
			jwt.WithAudience(tokenParty),
			jwt.WithExpirationRequired(),
			jwt.WithLeeway(tokenLeeway),
			jwt.WithTimeFunc(now),
		),
	}
}

// isMain compares in constant time.
func (a *authority) isMain(token string) bool {
	sum := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(sum[:], a.main[:]) == 1
}

// check returns whom a token speaks for, without Via. The error is errToken.
func (a *authority) check(token string) (actions.Caller, error) {
	if a.isMain(token) {
		all, err := acl.ParsePermissions([]string{"*"})
		return actions.Caller{Subject: mainSubject, Main: true, Permissions: all}, err
	}
	var c claims
	_, err := a.parser.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return a.key, nil })
	if err != nil {
		return actions.Caller{}, errToken
	}
	granted := c.Permissions
	if granted == nil {
		granted = c.Perms
	}
	perms, err := acl.ParsePermissions(granted)
	if err != nil {
		return actions.Caller{}, errToken
	}
	subject := c.Subject
	if subject == "" {
		subject = mainSubject
	}
	if !validSubject(subject) {
		return actions.Caller{}, errToken
	}
	return actions.Caller{Subject: subject, Permissions: perms}, nil
}

// issue makes a token, and what the journal is told of it.
func (a *authority) issue(subject string, permissions []string, life time.Duration) (string, actions.IssuedToken, error) {
	at := a.now().Truncate(time.Second)
	issued := actions.IssuedToken{
		JTI: uuid.NewString(), Subject: subject, Permissions: permissions, Expires: at.Add(life),
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss": tokenParty, "aud": tokenParty, "sub": subject, "jti": issued.JTI,
		"iat": at.Unix(), "exp": issued.Expires.Unix(), "permissions": strings.Join(permissions, ","),
	}).SignedString(a.key)
	if err != nil {
		return "", actions.IssuedToken{}, fmt.Errorf("sign a token: %w", err)
	}
	return token, issued, nil
}

// claims are those of a sub token; older tokens say perms.
type claims struct {
	Permissions permissionClaim `json:"permissions"`
	Perms       permissionClaim `json:"perms"`
	jwt.RegisteredClaims
}

// permissionClaim is a comma list, or a list.
type permissionClaim []string

func (p *permissionClaim) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	var comma string
	if json.Unmarshal(b, &comma) == nil {
		*p = append(permissionClaim{}, acl.SplitPermissions(comma)...)
		return nil
	}
	return json.Unmarshal(b, (*[]string)(p))
}

// validSubject: 1 to 64 of [A-Za-z0-9._-].
func validSubject(s string) bool {
	for i := range len(s) {
		if !isAlnum(s[i]) && s[i] != '.' && s[i] != '_' && s[i] != '-' {
			return false
		}
	}
	return s != "" && len(s) <= maxSubject
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}
