package acl

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var secret = []byte(strings.Repeat("0", 256))

// The vector of CFMS.md §10.
const vector = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjE3MDAwMDM2MDAsIm5iZiI6MTcwMDAwMDAwMCwic3ViIjoiYWRtaW4iLCJjYW5fYmVfdXNlZCI6ImFsbCJ9.-RdiKCQk4jvUPjtYp0svuffzEiEGcnLLPrsFQIRGVsE"

const second = 1_000_000

func TestTokenVector(t *testing.T) {
	got, err := sign(secret, claimsFrom("admin", 1_700_000_000))
	require.NoError(t, err)
	assert.Equal(t, vector, got)
	c, err := VerifyToken(secret, vector, nowU, 0)
	require.NoError(t, err)
	assert.Equal(t, Claims{Subject: "admin", Issued: 1_700_000_000 * second, Expires: 1_700_003_600 * second}, c)
}

func TestTokenClaims(t *testing.T) {
	const issued = 1_700_000_000_000_007
	token, err := SignToken(secret, "bob <ö>", "j1", issued)
	require.NoError(t, err)
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	require.NoError(t, err)
	assert.Equal(t, `{"exp":1700003600,"nbf":1700000000,"sub":"bob \u003cö\u003e","can_be_used":"all","jti":"j1","iat":1700000000.000007}`, string(payload))
	c, err := VerifyToken(secret, token, issued, 0)
	require.NoError(t, err)
	assert.Equal(t, Claims{Subject: "bob <ö>", ID: "j1", Issued: issued, Expires: 1_700_003_600 * second}, c)

	// Every microsecond of a second comes back as it was.
	for frac := int64(0); frac < second; frac += 997 {
		token, err := SignToken(secret, "b", "j", 1_700_000_000*second+frac)
		require.NoError(t, err)
		c, err := VerifyToken(secret, token, 1_700_000_001*second, 0)
		require.NoError(t, err)
		require.Equal(t, 1_700_000_000*second+frac, c.Issued)
	}
}

func TestTokenTimes(t *testing.T) {
	const from, until = 1_700_000_000 * second, 1_700_003_600 * second
	for _, c := range []struct {
		shows       string
		now, leeway int64
		want        error
	}{
		{"from nbf", from, 0, nil},
		{"not before", from - 1, 0, CodeToken},
		{"leeway is not for nbf", from - 1, 60, CodeToken},
		{"to the last microsecond", until - 1, 0, nil},
		{"not at exp", until, 0, CodeToken},
		{"a minute more", until + 60*second - 1, 60, nil},
		{"no longer", until + 60*second, 60, CodeToken},
	} {
		t.Run(c.shows, func(t *testing.T) {
			_, err := VerifyToken(secret, vector, c.now, c.leeway)
			assert.Equal(t, c.want, err)
		})
	}
}

func TestVerifyTokenRefuses(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	good := jwt.MapClaims{"exp": 1_700_003_600, "nbf": 1_700_000_000, "sub": "bob", "can_be_used": "all"}
	signed := func(m jwt.SigningMethod, key any, change func(c jwt.MapClaims)) string {
		c := jwt.MapClaims{}
		for k, v := range good {
			c[k] = v
		}
		if change != nil {
			change(c)
		}
		s, err := jwt.NewWithClaims(m, c).SignedString(key)
		require.NoError(t, err)
		return s
	}
	hs := func(change func(c jwt.MapClaims)) string { return signed(jwt.SigningMethodHS256, secret, change) }
	_, err = VerifyToken(secret, hs(nil), nowU, 0)
	require.NoError(t, err)
	parts := strings.Split(vector, ".")
	admin := base64.RawURLEncoding.EncodeToString([]byte(`{"exp":1700003600,"nbf":1700000000,"sub":"root","can_be_used":"all"}`))
	for shows, token := range map[string]string{
		"nothing":             "",
		"two parts":           parts[0] + "." + parts[1],
		"four parts":          vector + ".x",
		"alg none":            signed(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil),
		"alg none, signed":    base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + parts[1] + "." + parts[2],
		"RS256":               signed(jwt.SigningMethodRS256, key, nil),
		"HS512":               signed(jwt.SigningMethodHS512, secret, nil),
		"another secret":      signed(jwt.SigningMethodHS256, []byte("x"), nil),
		"no signature":        parts[0] + "." + parts[1] + ".",
		"other claims":        parts[0] + "." + admin + "." + parts[2],
		"a changed signature": vector[:len(vector)-2] + "AA",
		"loose base64":        vector[:len(vector)-1] + "F",
		"padding":             vector + "=",
		"no exp":              hs(func(c jwt.MapClaims) { delete(c, "exp") }),
		"no nbf":              hs(func(c jwt.MapClaims) { delete(c, "nbf") }),
		"no sub":              hs(func(c jwt.MapClaims) { delete(c, "sub") }),
		"an empty sub":        hs(func(c jwt.MapClaims) { c["sub"] = "" }),
		"sub is a number":     hs(func(c jwt.MapClaims) { c["sub"] = 5 }),
		"exp is text":         hs(func(c jwt.MapClaims) { c["exp"] = "soon" }),
		"exp is null":         hs(func(c jwt.MapClaims) { c["exp"] = nil }),
		"exp beyond all time": hs(func(c jwt.MapClaims) { c["exp"] = json.Number("9999999999999") }),
		"exp with exponent":   hs(func(c jwt.MapClaims) { c["exp"] = json.Number("1.7000036e9") }),
		"iat is text":         hs(func(c jwt.MapClaims) { c["iat"] = "x" }),
	} {
		t.Run(shows, func(t *testing.T) {
			c, err := VerifyToken(secret, token, nowU, 0)
			assert.Equal(t, CodeToken, err)
			assert.Zero(t, c)
		})
	}
}

func TestMicros(t *testing.T) {
	for in, want := range map[json.Number]int64{
		"0": 0, "1": 1e6, "1.5": 1_500_000, "1.000001": 1_000_001, "1.0000019": 1_000_001, "1700000000.123456": 1_700_000_000_123_456,
	} {
		got, err := micros(in)
		assert.NoError(t, err)
		assert.Equal(t, want, got, in)
	}
}

func FuzzVerifyToken(f *testing.F) {
	f.Add(vector)
	f.Add("a.b.c")
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		c, err := VerifyToken(secret, token, nowU, 0)
		if err == nil {
			assert.NotEmpty(t, c.Subject)
			assert.Greater(t, c.Expires, int64(nowU))
		} else {
			assert.Equal(t, CodeToken, err)
		}
	})
}
