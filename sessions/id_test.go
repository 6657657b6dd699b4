package sessions

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestIDForms(t *testing.T) {
	const text = "00112233-4455-6677-8899-aabbccddeeff"
	id, err := ParseID(text)
	require.NoError(t, err)
	assert.Equal(t, ID(uuid.MustParse(text)), id)
	assert.Equal(t, text, id.String())
	upper, err := ParseID([]byte(strings.ToUpper(text)))
	require.NoError(t, err)
	assert.Equal(t, id, upper)
	raw, err := json.Marshal(id)
	require.NoError(t, err)
	assert.Equal(t, `"`+text+`"`, string(raw))
	var back ID
	require.NoError(t, json.Unmarshal(raw, &back))
	assert.Equal(t, id, back)
	for _, bad := range []string{
		"", text[:35], text + "0", strings.ReplaceAll(text, "-", ""), "{" + text[:34] + "}",
		"0011223g-4455-6677-8899-aabbccddeeff", "00112233-4455-6677-8899_aabbccddeeff", "urn:uuid:" + text,
		"0011223344-55-6677-8899-aabbccddeeff",
		"-0112233-4455-6677-8899-aabbccddeeff", "00112233-4455-6677-8899-aabb-cddeeff", // would read past the end
		"--------------------------00000-00000", "00112233-4455-6677-8899-aabbccddeef-",
	} {
		_, err := ParseID(bad)
		assert.ErrorIs(t, err, ErrBadID, bad)
		assert.Error(t, back.UnmarshalText([]byte(bad)), bad)
	}
	assert.Equal(t, id, back, "a bad text changes nothing")
}

func TestNewID(t *testing.T) {
	seen := make(map[ID]bool)
	for range 1000 {
		id := NewID()
		assert.False(t, seen[id])
		seen[id] = true
		u := uuid.UUID(id)
		assert.Equal(t, uuid.Version(4), u.Version())
		assert.Equal(t, uuid.RFC4122, u.Variant())
		assert.False(t, id.IsZero())
	}
	assert.True(t, ID{}.IsZero())
	// In .NET byte order this begins bb 2c 00 00, like a request packet.
	assert.True(t, ID{0x00, 0x00, 0x2c, 0xbb, 1}.reserved())
	assert.False(t, ID{0xbb, 0x2c, 0x00, 0x00}.reserved())
}

// Sessions are named by strangers.
func FuzzParseID(f *testing.F) {
	f.Add("00112233-4455-6677-8899-aabbccddeeff")
	f.Add("-0112233-4455-6677-8899-aabbccddeeff")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseID(s)
		want, werr := uuid.Parse(s)
		if len(s) != 36 { // uuid reads other forms too
			assert.Error(t, err)
			return
		}
		assert.Equal(t, werr == nil, err == nil, "%q", s)
		if err == nil {
			assert.Equal(t, ID(want), id)
		}
	})
}
