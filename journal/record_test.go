package journal

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAppendRecord(t *testing.T) {
	at := time.Date(2026, 1, 2, 4, 4, 5, 6999, time.FixedZone("", 3600))
	for name, c := range map[string]struct {
		r    Record
		want string
	}{
		"plain": {
			Record{Seq: 42, At: at, Kind: "upload.stored", Actor: "main", Via: "ws 127.0.0.1:51034", Ref: "r", Body: []byte(`{"a":1}`)},
			`{"v":1,"seq":42,"at":"2026-01-02T03:04:05.000006Z","kind":"upload.stored","actor":"main","via":"ws 127.0.0.1:51034","ref":"r","body":{"a":1}}`,
		},
		"group, empty texts": {
			Record{At: time.Unix(0, 0), Kind: "x", Group: Group{1, 3}, Body: []byte(`{}`)},
			`{"v":1,"seq":0,"at":"1970-01-01T00:00:00.000000Z","kind":"x","actor":"","via":"","ref":"","grp":[1,3],"body":{}}`,
		},
		"escapes": {
			Record{At: time.Unix(0, 0), Kind: "x", Actor: "a\"b\\c\n\r\t\b\f\x00\x1f\x7f</é\u2028😀", Via: "bad \xff\xc3", Ref: "\xed\xa0\x80", Body: []byte(`{}`)},
			`{"v":1,"seq":0,"at":"1970-01-01T00:00:00.000000Z","kind":"x","actor":"a\"b\\c\n\r\t\b\f\u0000\u001f` + "\x7f</é\u2028😀" +
				`","via":"bad ` + "\uFFFD\uFFFD" + `","ref":"` + "\uFFFD\uFFFD\uFFFD" + `","body":{}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			line := AppendRecord([]byte("before "), &c.r)
			require.Equal(t, "before "+c.want, string(line))
			line = line[len("before "):]
			var e Entry
			require.NoError(t, ParseEntry(line, &e))
			assert.Equal(t, c.r.Seq, e.Seq)
			assert.True(t, c.r.At.Truncate(time.Microsecond).Equal(e.At))
			assert.Equal(t, time.UTC, e.At.Location())
			assert.Equal(t, c.r.Kind, e.Kind)
			assert.Equal(t, string([]rune(c.r.Actor)), string(e.Actor))
			assert.Equal(t, string([]rune(c.r.Via)), string(e.Via))
			assert.Equal(t, string([]rune(c.r.Ref)), string(e.Ref))
			assert.Equal(t, c.r.Group, e.Group)
			assert.Equal(t, string(c.r.Body), string(e.Body))
			assert.Equal(t, string(line), string(again(&e)))
		})
	}
}

// again writes e back as a line.
func again(e *Entry) []byte {
	return AppendRecord(nil, &Record{
		Seq: e.Seq, At: e.At, Kind: e.Kind, Actor: string(e.Actor), Via: string(e.Via), Ref: string(e.Ref), Group: e.Group, Body: e.Body,
	})
}

const sound = `{"v":1,"seq":7,"at":"2024-02-29T23:59:59.999999Z","kind":"a.b","actor":"m","via":"w","ref":"r","grp":[2,3],"body":{"k":[1,-2.5e+3,true,null,"x"]}}`

func TestParseEntryRefuses(t *testing.T) {
	var e Entry
	require.NoError(t, ParseEntry([]byte(sound), &e))
	change := func(from, to string) string {
		require.Contains(t, sound, from)
		return strings.Replace(sound, from, to, 1)
	}
	for name, line := range map[string]string{
		"empty":                  "",
		"not JSON":               "hello",
		"array":                  "[]",
		"other version":          change(`"v":1`, `"v":2`),
		"space":                  change(`,"seq"`, `, "seq"`),
		"newline":                sound + "\n",
		"trailing byte":          sound + "}",
		"cut off":                sound[:len(sound)-1],
		"keys in another order":  change(`"actor":"m","via":"w"`, `"via":"w","actor":"m"`),
		"key missing":            change(`,"ref":"r"`, ``),
		"key added":              change(`"body"`, `"more":1,"body"`),
		"seq with leading zero":  change(`"seq":7`, `"seq":07`),
		"seq negative":           change(`"seq":7`, `"seq":-7`),
		"seq missing":            change(`"seq":7`, `"seq":`),
		"seq 2^53":               change(`"seq":7`, `"seq":9007199254740992`),
		"seq overflows":          change(`"seq":7`, `"seq":18446744073709551623`),
		"seq a float":            change(`"seq":7`, `"seq":7.0`),
		"time without micro":     change(`.999999Z`, `Z`),
		"time in another zone":   change(`.999999Z`, `.99999+01`),
		"time with nanoseconds":  change(`.999999Z`, `.999999999Z`),
		"29 February in 2023":    change(`2024-02-29`, `2023-02-29`),
		"29 February in 2100":    change(`2024-02-29`, `2100-02-29`),
		"31 April":               change(`2024-02-29`, `2024-04-31`),
		"month 0":                change(`2024-02`, `2024-00`),
		"month 13":               change(`2024-02`, `2024-13`),
		"day 0":                  change(`02-29`, `02-00`),
		"hour 24":                change(`T23`, `T24`),
		"leap second":            change(`59.9`, `60.9`),
		"letter in time":         change(`T23`, `T2x`),
		"kind empty":             change(`"a.b"`, `""`),
		"kind upper case":        change(`"a.b"`, `"A.b"`),
		"kind ends in a dot":     change(`"a.b"`, `"a."`),
		"kind begins with digit": change(`"a.b"`, `"1.b"`),
		"kind two dots":          change(`"a.b"`, `"a..b"`),
		"kind escaped":           change(`"a.b"`, `"a\u002eb"`),
		"kind too long":          change(`"a.b"`, `"`+strings.Repeat("k", maxKind+1)+`"`),
		"needless escape":        change(`"m"`, `"\u006d"`),
		"upper-case escape":      change(`"m"`, `"\u001F"`),
		"escaped slash":          change(`"m"`, `"\/"`),
		"lone surrogate":         change(`"m"`, `"\ud800"`),
		"bad escape":             change(`"m"`, `"\x"`),
		"control character":      change(`"m"`, "\"\x01\""),
		"not UTF-8":              change(`"m"`, "\"\xff\""),
		"not UTF-8 in a body":    change(`"x"`, "\"\xff\""),
		"number for a text":      change(`"m"`, `1`),
		"group 0":                change(`[2,3]`, `[0,3]`),
		"group beyond":           change(`[2,3]`, `[4,3]`),
		"group too large":        change(`[2,3]`, `[2,100001]`),
		"group of three":         change(`[2,3]`, `[2,3,4]`),
		"group empty":            change(`[2,3]`, `[]`),
		"body an array":          change(`{"k":[1,-2.5e+3,true,null,"x"]}`, `[]`),
		"body missing":           change(`{"k":[1,-2.5e+3,true,null,"x"]}`, ``),
		"body null":              change(`{"k":[1,-2.5e+3,true,null,"x"]}`, `null`),
		"body twice":             change(`"x"]}`, `"x"]}{}`),
		"space in the body":      change(`[1,`, `[1, `),
		"comma at the end":       change(`"x"]`, `"x",]`),
		"key without value":      change(`"x"]}`, `"x"],"q"}`),
		"brackets crossed":       change(`"x"]}`, `"x"}]`),
		"integer 2^53":           change(`[1,`, `[9007199254740992,`),
		"integer -2^53":          change(`[1,`, `[-9007199254740992,`),
		"integer overflows":      change(`[1,`, `[18446744073709551616,`),
		"leading zero":           change(`[1,`, `[01,`),
		"minus":                  change(`[1,`, `[-,`),
		"dot":                    change(`[1,`, `[1.,`),
		"exponent":               change(`[1,`, `[1e,`),
		"literal":                change(`true`, `True`),
		"bad escape in a body":   change(`"x"`, `"\q"`),
		"bad \\u in a body":      change(`"x"`, `"\u00g0"`),
		"control in a body":      change(`"x"`, "\"\n\""),
		"nested too deep":        change(`[1,`, strings.Repeat("[", maxDepth)+strings.Repeat("]", maxDepth)+`,[1,`),
		"too long":               change(`"x"`, `"`+strings.Repeat("x", MaxLine)+`"`),
	} {
		t.Run(name, func(t *testing.T) { assert.Error(t, ParseEntry([]byte(line), &e)) })
	}
}

func TestParseEntryTakes(t *testing.T) {
	var e Entry
	for name, body := range map[string]string{
		"empty":            `{}`,
		"largest integers": `{"a":9007199254740991,"b":-9007199254740991,"c":0,"d":-0}`,
		"floats":           `{"a":0.5,"b":1e300,"c":-1E-7,"d":123456789012345678901.5}`,
		"escapes":          `{"\u0041\n":"\"\\\/\b\f\n\r\t\ud83d\ude00\ud800"}`,
		"UTF-8":            `{"é":"😀` + "\u2028\x7f" + `"}`,
		"deep":             `{"a":` + strings.Repeat("[", maxDepth-1) + strings.Repeat("]", maxDepth-1) + `}`,
		"nested":           `{"a":{},"b":[],"c":[{},[],{"d":[[]]}],"e":{"f":{"g":false}}}`,
		"longest line":     `{"a":"` + strings.Repeat("x", MaxLine-len(testLine(0, 0))-3+len(`{"n":0,"pad":""}`)-len(`{"a":""}`)+3) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			line := testLine(0, 0)
			line = append(line[:bytes.Index(line, []byte(`"body":`))+7], body+"}"...)
			require.LessOrEqual(t, len(line), MaxLine)
			require.NoError(t, ParseEntry(line, &e))
			assert.Equal(t, body, string(e.Body))
			assert.True(t, json.Valid(line))
		})
	}
}

func TestParseEntryAllocatesNothing(t *testing.T) {
	var e Entry
	line := testLine(1, 200)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		e.Kind = "" // even when the kind is another one each time
		_ = ParseEntry(line, &e)
	}))
}

func TestTimesEqualTimePackage(t *testing.T) {
	for _, from := range []string{"0000-01-01", "1899-12-25", "1970-01-01", "1999-12-25", "2023-12-25", "2400-01-01", "9998-12-25"} {
		at, err := time.Parse(time.DateOnly, from)
		require.NoError(t, err)
		for ; at.Year() <= 9999 && at.Format(time.DateOnly) < from[:3]+"~"; at = at.Add(11*time.Hour + 13*time.Minute + 17*time.Second + 1234567*time.Microsecond) {
			text := appendTime(nil, at)
			require.Equal(t, at.Format("2006-01-02T15:04:05.000000Z"), string(text))
			got, ok := parseTime(text)
			require.True(t, ok, "%s", text)
			require.True(t, at.Equal(got), "%s", text)
		}
	}
	var e Entry
	r := Record{At: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), Kind: "x", Body: []byte(`{}`)}
	assert.ErrorIs(t, ParseEntry(AppendRecord(nil, &r), &e), errTime)
}

// jsonRecord is a record as encoding/json sees it.
type jsonRecord struct {
	V     int             `json:"v"`
	Seq   uint64          `json:"seq"`
	At    string          `json:"at"`
	Kind  string          `json:"kind"`
	Actor string          `json:"actor"`
	Via   string          `json:"via"`
	Ref   string          `json:"ref"`
	Grp   []int           `json:"grp"`
	Body  json.RawMessage `json:"body"`
}

// FuzzParseEntry compares with encoding/json: what we accept it accepts, with
// the same meaning, and comes back as the same bytes; and a line that is what
// AppendRecord would write for what it reads, we accept.
func FuzzParseEntry(f *testing.F) {
	f.Add([]byte(sound))
	f.Add(testLine(3, 300))
	f.Add([]byte(`{"v":1,"seq":0,"at":"1970-01-01T00:00:00.000000Z","kind":"x","actor":"a\"\\\n\u0000é","via":"","ref":"\u2028","body":{"a":[{}],"b":1e5}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		var e Entry
		ours := ParseEntry(line, &e) == nil
		var j jsonRecord
		theirs := json.Unmarshal(line, &j) == nil && j.V == 1
		if !ours {
			if theirs && canonical(&j, line) {
				t.Fatalf("refused %q: %v", line, ParseEntry(line, &e))
			}
			return
		}
		if !theirs {
			t.Fatalf("accepted %q", line)
		}
		if !bytes.Equal(again(&e), line) {
			t.Fatalf("%q comes back as %q", line, again(&e))
		}
		grp := Group{}
		if j.Grp != nil {
			grp = Group{j.Grp[0], j.Grp[1]}
		}
		at, err := time.Parse(time.RFC3339Nano, j.At)
		if err != nil || !at.Equal(e.At) || j.Seq != e.Seq || j.Kind != e.Kind || j.Actor != string(e.Actor) ||
			j.Via != string(e.Via) || j.Ref != string(e.Ref) || grp != e.Group || !bytes.Equal(j.Body, e.Body) {
			t.Fatalf("%q read as %+v, not %+v", line, e, j)
		}
	})
}

// canonical says whether line is what AppendRecord writes for j, and j is
// within our bounds.
func canonical(j *jsonRecord, line []byte) bool {
	at, err := time.Parse(time.RFC3339Nano, j.At)
	r := Record{Seq: j.Seq, At: at, Kind: j.Kind, Actor: j.Actor, Via: j.Via, Ref: j.Ref, Body: j.Body}
	if len(j.Grp) == 2 {
		r.Group = Group{j.Grp[0], j.Grp[1]}
	}
	if err != nil || j.Seq >= maxSeq || !bytes.Equal(AppendRecord(nil, &r), line) || len(line) > MaxLine ||
		kindLen([]byte(j.Kind+`"`)) == 0 || j.Grp != nil && (r.Group.I < 1 || r.Group.I > r.Group.N || r.Group.N > MaxGroup) {
		return false
	}
	var compact bytes.Buffer
	if len(j.Body) == 0 || j.Body[0] != '{' || json.Compact(&compact, j.Body) != nil || !bytes.Equal(compact.Bytes(), j.Body) || !utf8.Valid(j.Body) {
		return false
	}
	depth, deepest := 0, 0
	d := json.NewDecoder(bytes.NewReader(j.Body))
	d.UseNumber()
	for {
		tok, err := d.Token()
		if err != nil {
			return deepest <= maxDepth
		}
		switch tok := tok.(type) {
		case json.Delim:
			if tok == '{' || tok == '[' {
				depth++
				deepest = max(deepest, depth)
			} else {
				depth--
			}
		case json.Number:
			if strings.ContainsAny(tok.String(), ".eE") {
				continue
			}
			if n, err := tok.Int64(); err != nil || n >= maxSeq || n <= -maxSeq {
				return false
			}
		}
	}
}
