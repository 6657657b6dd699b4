package acl

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// tokenSeconds is how long a token is good (CFMS.md §3.2).
const tokenSeconds = 3600

// Claims are what a verified token says. Times are in unix microseconds.
type Claims struct {
	// Subject is the user name, ID the jti; old tokens have none.
	Subject, ID string
	// Issued is iat, or nbf where there is none.
	Issued  int64
	Expires int64
}

// tokenClaims are the claims in the order in which they are written.
type tokenClaims struct {
	Expires   json.Number `json:"exp"`
	NotBefore json.Number `json:"nbf"`
	Subject   string      `json:"sub"`
	CanBeUsed string      `json:"can_be_used"`
	ID        string      `json:"jti,omitempty"`
	Issued    json.Number `json:"iat,omitempty"`
}

// SignToken makes a token for a user (CFMS.md §3.2), good for tokenSeconds
// from issuedMicros, which is in unix microseconds: now, or the user's mark if
// that is later.
func SignToken(secret []byte, subject, jti string, issuedMicros int64) (string, error) {
	c := claimsFrom(subject, issuedMicros/1e6)
	c.ID = jti
	// Never through a float, which has no room for microseconds of this
	// century in every reader.
	c.Issued = json.Number(fmt.Sprintf("%d.%06d", issuedMicros/1e6, issuedMicros%1e6))
	return sign(secret, c)
}

func claimsFrom(subject string, second int64) *tokenClaims {
	return &tokenClaims{
		Expires:   json.Number(strconv.FormatInt(second+tokenSeconds, 10)),
		NotBefore: json.Number(strconv.FormatInt(second, 10)),
		Subject:   subject, CanBeUsed: "all",
	}
}

func sign(secret []byte, c *tokenClaims) (string, error) {
	return jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(secret)
}

// VerifyToken checks a token's signature, HS256 only, and its times against
// nowMicros, in unix microseconds. leewaySeconds is for how long after its
// expiry it is still taken. Whether its user is there, and its mark, is
// Accounts.Accepts's to say. Every error is CodeToken.
func VerifyToken(secret []byte, token string, nowMicros int64, leewaySeconds int64) (Claims, error) {
	p := jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithStrictDecoding(),
		jwt.WithoutClaimsValidation(), // it counts in floats
	)
	var c tokenClaims
	_, err := p.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return secret, nil })
	if err != nil {
		return Claims{}, CodeToken
	}
	expires, err1 := micros(c.Expires)
	from, err2 := micros(c.NotBefore)
	out := Claims{Subject: c.Subject, ID: c.ID, Issued: from, Expires: expires}
	var err3 error
	if c.Issued != "" {
		out.Issued, err3 = micros(c.Issued)
	}
	switch {
	case errors.Join(err1, err2, err3) != nil, c.Subject == "":
		return Claims{}, CodeToken
	case nowMicros < from, nowMicros >= expires+leewaySeconds*1e6:
		return Claims{}, CodeToken
	}
	return out, nil
}

var errNoTime = errors.New("no time")

// micros reads decimal seconds as microseconds; what is finer is cut off.
func micros(n json.Number) (int64, error) {
	if n == "" {
		return 0, errNoTime
	}
	whole, frac, _ := strings.Cut(string(n), ".")
	frac = (frac + "000000")[:6]
	// Twelve digits are enough for 30,000 years, and nothing overflows.
	if len(whole) > 12 {
		return 0, errNoTime
	}
	return strconv.ParseInt(whole+frac, 10, 64)
}

// The registered claims as jwt.Claims wants them, which is not asked for them.

func (c *tokenClaims) GetExpirationTime() (*jwt.NumericDate, error) { return nil, nil }
func (c *tokenClaims) GetIssuedAt() (*jwt.NumericDate, error)       { return nil, nil }
func (c *tokenClaims) GetNotBefore() (*jwt.NumericDate, error)      { return nil, nil }
func (c *tokenClaims) GetIssuer() (string, error)                   { return "", nil }
func (c *tokenClaims) GetSubject() (string, error)                  { return c.Subject, nil }
func (c *tokenClaims) GetAudience() (jwt.ClaimStrings, error)       { return nil, nil }
