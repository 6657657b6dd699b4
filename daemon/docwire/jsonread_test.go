package docwire

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMembersInOrder(t *testing.T) {
	object, ok := readObject([]byte("\t{ \"a\" :1 ,\"b\":\"}\\\"\",\"a\" : [ {\"a\":\"]\"} ] ,\"\\u0063\":null, \"\":{} ,\"d\":true}\r\n"))
	require.True(t, ok)
	var got []string
	for key, value := range object.members() {
		got = append(got, string(key)+" "+string(value))
	}
	assert.Equal(t, []string{"a 1", `b "}\""`, `a [ {"a":"]"} ]`, "c ", " {}", "d true"}, got)
	for range literal(`{ }`).members() {
		t.Fatal("a member of nothing")
	}
	for key := range object.members() {
		assert.Equal(t, "a", string(key))
		break
	}
}

func TestLiterals(t *testing.T) {
	for _, l := range []string{``, `5`, `{}`, `[]`, `true`} {
		_, ok := literal(l).text()
		assert.False(t, ok, l)
	}
	for _, l := range []string{``, `"5"`, `{}`, `[]`, `true`} {
		_, ok := literal(l).number()
		assert.False(t, ok, l)
	}
	assert.False(t, literal(nil).isObject())
}

// depth is how deep a valid JSON text nests.
func depth(b []byte) (most int) {
	d := json.NewDecoder(bytes.NewReader(b))
	for n := 0; ; {
		tok, err := d.Token()
		if err != nil {
			return most
		}
		switch tok {
		case json.Delim('{'), json.Delim('['):
			n++
			most = max(most, n)
		case json.Delim('}'), json.Delim(']'):
			n--
		}
	}
}

// FuzzObject compares the hand-made reading with the standard one.
func FuzzObject(f *testing.F) {
	f.Add([]byte(`{"a":1,"a":{"b":[]},"c":" \" } ","\u0064":null,"\ud800":-1e5}`))
	f.Add([]byte(`{"a":"\ud83d\ud83d\ude00\ude00\\ud800"}`))
	f.Fuzz(func(t *testing.T, msg []byte) {
		object, ok := readObject(msg)
		if !ok {
			return
		}
		require.True(t, json.Valid(object))
		var want map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(msg, &want))
		got := make(map[string]json.RawMessage)
		for key, value := range object.members() {
			got[string(key)] = value.raw()
		}
		require.Len(t, got, len(want))
		for key, value := range want {
			if string(value) == "null" {
				require.Nil(t, got[key])
				continue
			}
			var a, b any
			require.NoError(t, json.Unmarshal(got[key], &a))
			require.NoError(t, json.Unmarshal(value, &b))
			require.Equal(t, b, a)
			require.Len(t, got[key], len(value))
		}
	})
}
