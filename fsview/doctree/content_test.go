package doctree

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/journal"
)

func TestCanonical(t *testing.T) {
	for raw, want := range map[string]string{
		` { "b" : 1 , "a" : [ true , null ] } `: `{"a":[true,null],"b":1}`,
		`{"a":1,"b":2,"a":3}`:                   `{"a":3,"b":2}`,
		`{"a":{"x":1},"a":{"y":2}}`:             `{"a":{"y":2}}`,
		`{"a":"\u00e4<\ud800"}`:                 `{"a":"ä<` + "\uFFFD" + `"}`,
		`{"a":[1.50,1e3,-0,9007199254740991]}`:  `{"a":[1.50,1e3,-0,9007199254740991]}`,
		`{"a":-9007199254740992}`:               ``,
		`{"a":123456789012345678901234567890}`:  ``,
		`{"a":1e309}`:                           ``,
		`{} x`:                                  ``,
		`{"a":01}`:                              ``,
		``:                                      ``,
	} {
		got, err := canonical(json.RawMessage(raw), 1000)
		if want == "" {
			assert.ErrorIs(t, err, errContent, raw)
			continue
		}
		require.NoError(t, err, raw)
		assert.Equal(t, want, string(got))
	}
	_, err := canonical(json.RawMessage(`{"a":1}`), 6)
	assert.ErrorIs(t, err, errContent, "too long")
}

// Whatever a client writes: what is stored fits into a record, and storing it
// again changes nothing. No range makes trouble either.
func FuzzContent(f *testing.F) {
	for _, seed := range []string{
		`{"deleteAfterMarked":1,"revDeleteAfterMarked":2}`, `{"read":[{"match":"all","match_groups":[{}]}]}`,
		`{"a":1.5e3,"a":-0,"\ud800":"\u2028<>"}`, `[0,10]`, `[1e400,-1]`, `{"a":9007199254740992}`, "{\"\xff\":[[[]]]}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		from, to, err := itemRange(raw)
		if err == nil && !(0 <= from && from <= to && 1 <= to && to-from <= MaxRevisionRange) {
			t.Fatalf("[%d,%d)", from, to)
		}
		sound, err := canonical(raw, MaxPolicy)
		if err != nil {
			return
		}
		again, err := canonical(sound, MaxPolicy)
		require.NoError(t, err)
		require.Equal(t, string(sound), string(again))
		fact := fact(KindPolicySet, policySet{Policy: "p", Content: sound})
		line := journal.AppendRecord(nil, &journal.Record{Kind: fact.Kind, Body: fact.Body})
		var e journal.Entry
		require.NoError(t, journal.ParseEntry(line, &e), "%s", line)
		require.NoError(t, New().Apply(&e))
	})
}
