package daemon

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/actions"
	"waybill/daemon/panelwire"
	"waybill/sessions"
)

// The transcripts of testdata/wire/mfp are the contract with the clients that
// exist: what goes over the wire, byte for byte. Their form is described in
// the README beside them. They are replayed against a running daemon
// (TestTranscripts), through the client's codec (TestTranscriptsOfTheClient),
// and counted (the table outcomes).
const transcripts = "../testdata/wire/mfp"

// step is one line of a transcript.
type step struct {
	file string
	line int
	op   string // what it begins with: > >x >b >h < <~ <h ! =
	text string
}

func (s step) String() string { return fmt.Sprintf("%s:%d", s.file, s.line) }

var stepForm = regexp.MustCompile(`^(>[xbh]?|<[~h]?|!|=)(?: (.*))?$`)

func readTranscript(t testing.TB, dir, file string) (steps []step) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, file))
	require.NoError(t, err)
	for i, line := range strings.Split(string(raw), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		m := stepForm.FindStringSubmatch(line)
		require.NotNil(t, m, "%s:%d: %s", file, i+1, line)
		steps = append(steps, step{file, i + 1, m[1], m[2]})
	}
	return steps
}

func transcriptFiles(t testing.TB) (files []string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(transcripts, "*", "*.txt"))
	require.NoError(t, err)
	require.NotEmpty(t, found)
	for _, f := range found {
		rel, err := filepath.Rel(transcripts, f)
		require.NoError(t, err)
		files = append(files, filepath.ToSlash(rel))
	}
	sort.Strings(files)
	return files
}

// variables are what a transcript has bound so far.
type variables map[string]string

var (
	variable = regexp.MustCompile(`\$(main|outside|root|tok_\w+|as_\w+|now|file\d*|job\d*|jwt\d*|url\d*|etag\d*|(?:task|key|fake|rev|dir|id)\d+)\b|` +
		`%(ms|sec|left|n|num|str|time|hour|bin|wait|date)\b`)
	repeated = regexp.MustCompile(`@(.+?)\*(\d+)@`)

	// binds are the forms of what a variable may be bound to at first sight,
	// by its name without the number; volatile those of what is never the
	// same twice.
	binds = map[string]string{
		"file": `[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`,
		"job":  `[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`,
		"jwt":  `eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+`,
		// The address of a download that needs no token, and the name of a state of a
		// file.
		"url":  `/download/[0-9a-f-]{36}\?exp=\d{10}&sig=[0-9a-f]{64}`,
		"etag": `[0-9a-f]{40}-[0-9a-f]{16}`,
		// Of the document library: a task, its token and its fake file name, a
		// revision, and ids of directories and files that were given none.
		"task": `[0-9a-f]{128}`,
		"key":  `[0-9a-f]{64}`,
		"fake": `[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}`,
		"rev":  `[0-9a-f]{32}`,
		"dir":  `[0-9a-f]{32}`,
		"id":   `[0-9a-f]{16}`,
	}
	volatile = map[string]string{
		"ms": `\d{13}`, "sec": `\d{10}`, "left": `\d{1,8}`, "n": `\d+`, "num": `\d+(?:\.\d+)?`, "str": `(?:[^"\\]|\\.)*`,
		"time": `\d{10}(?:\.\d{1,6})?`, "hour": `\d{10}(?:\.\d{1,6})?`, "bin": `\d{10}`, "wait": `\d{1,3}`,
		"date": `[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT`,
	}
)

func expand(s string) string {
	return repeated.ReplaceAllStringFunc(s, func(m string) string {
		p := repeated.FindStringSubmatch(m)
		n, _ := strconv.Atoi(p[2])
		return strings.Repeat(p[1], n)
	})
}

// fill replaces the variables of something to be sent.
func (v variables) fill(t testing.TB, s string) string {
	t.Helper()
	return variable.ReplaceAllStringFunc(expand(s), func(m string) string {
		value, ok := v[m[1:]]
		require.True(t, ok, "%s is not bound yet", m)
		return value
	})
}

// name is the way back, for messages about what does not match.
func (v variables) name(s string) string {
	for name, value := range v {
		s = strings.ReplaceAll(s, value, "$"+name)
	}
	return s
}

// match compares what came with what was to come, byte for byte but for the
// volatile values, and binds variables seen for the first time.
func (v variables) match(want, got string) error {
	want = expand(want)
	var form strings.Builder
	var groups []string // "$name" or "%name"
	at := 0
	if want == got { // a long one is no matter for a regular expression
		return nil
	}
	for _, m := range variable.FindAllStringIndex(want, -1) {
		form.WriteString(regexp.QuoteMeta(want[at:m[0]]))
		at = m[1]
		name := want[m[0]:m[1]]
		if value, ok := v[name[1:]]; ok && name[0] == '$' {
			form.WriteString(regexp.QuoteMeta(value))
			continue
		}
		pattern := volatile[name[1:]]
		if name[0] == '$' {
			pattern = binds[strings.TrimRight(name[1:], "0123456789")]
		}
		form.WriteString("(" + pattern + ")")
		groups = append(groups, name)
	}
	form.WriteString(regexp.QuoteMeta(want[at:]))
	// Invalid UTF-8 never comes in a text frame, so a regular expression sees bytes.
	m := regexp.MustCompile(`\A(?s:` + form.String() + `)\z`).FindStringSubmatch(got)
	if m == nil {
		return fmt.Errorf("\nwant %s\ngot  %s", clipped(want), clipped(v.name(got)))
	}
	now := time.Now()
	for i, name := range groups {
		value := m[i+1]
		n, _ := strconv.ParseInt(value, 10, 64)
		var good bool
		switch name {
		case "%ms":
			good = now.Sub(time.UnixMilli(n)).Abs() < time.Minute
		case "%sec":
			good = now.Sub(time.Unix(n, 0)).Abs() < time.Hour
		case "%left":
			good = n > 0 && n <= 86_400_000
		case "%time", "%hour", "%bin":
			// Unix seconds: now, when a task expires, when what is deleted goes.
			ahead := map[string]time.Duration{"%hour": time.Hour, "%bin": 7 * 24 * time.Hour}[name]
			f, _ := strconv.ParseFloat(value, 64)
			good = now.Add(ahead).Sub(time.UnixMicro(int64(f*1e6))).Abs() < time.Minute
		case "%wait":
			good = n > 0 && n <= 600
		default:
			good = true
		}
		if !good {
			return fmt.Errorf("%s cannot be %s", name, value)
		}
		if name[0] != '$' {
			continue
		}
		if old, ok := v[name[1:]]; ok && old != value {
			return fmt.Errorf("%s is %s and %s", name, old, value)
		}
		for other, old := range v {
			if old == value && other != name[1:] {
				return fmt.Errorf("%s is what $%s is already", name, other)
			}
		}
		if strings.HasPrefix(value, "00002cbb") {
			return fmt.Errorf("%s begins like a packet", value)
		}
		v[name[1:]] = value
	}
	return nil
}

func clipped(s string) string {
	if len(s) > 2000 {
		return s[:1000] + " [...] " + s[len(s)-1000:]
	}
	return s
}

var piece = regexp.MustCompile(`^\s*(?:'([^']*)'|guid\((\$\w+)\)|([0-9a-fA-F]+))`)

// binaryOf makes the bytes of a >b or >x line: hex, 'text' and guid($file).
func binaryOf(t testing.TB, v variables, text string) (b []byte) {
	t.Helper()
	for rest := expand(text); strings.TrimSpace(rest) != ""; {
		m := piece.FindStringSubmatch(rest)
		require.NotNil(t, m, "no piece: %s", rest)
		rest = rest[len(m[0]):]
		switch {
		case m[3] != "":
			raw, err := hex.DecodeString(m[3])
			require.NoError(t, err)
			b = append(b, raw...)
		case m[2] != "":
			b = append(b, dotnet(t, v.fill(t, m[2]))...)
		default:
			b = append(b, v.fill(t, m[1])...)
		}
	}
	return b
}

// dotnet is a UUID as Guid.ToByteArray writes it.
func dotnet(t testing.TB, id string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(id, "-", ""))
	require.NoError(t, err)
	require.Len(t, b, 16)
	for _, r := range [][2]int{{0, 3}, {1, 2}, {4, 5}, {6, 7}} {
		b[r[0]], b[r[1]] = b[r[1]], b[r[0]]
	}
	return b
}

// stand-ins for variables where no daemon runs: of the right form.
func standIns() variables {
	v := variables{"main": strings.Repeat("m", 32), "outside": "/outside", "root": "/root"}
	return v
}

func (v variables) standIn(text string) {
	for _, m := range variable.FindAllString(text, -1) {
		name := m[1:]
		if _, ok := v[name]; m[0] == '$' && !ok {
			if v[name] = "eyJ.a." + name; binds[strings.TrimRight(name, "0123456789")] != binds["jwt"] {
				v[name] = fmt.Sprintf("%08x-0000-4000-8000-%012x", len(v)+1, len(name))
			}
		}
	}
}

// The other direction: every request our client can make is made again from
// its parts and must be the same bytes, and every reply is read by the client
// and rendered again from what it read.
func TestTranscriptsOfTheClient(t *testing.T) {
	t.Parallel()
	made := map[string]int{}
	parsed := 0
	for _, file := range transcriptFiles(t) {
		t.Run(file, func(t *testing.T) {
			v := standIns()
			for _, s := range readTranscript(t, transcripts, file) {
				if s.op == "=" || s.op == "!" || strings.HasSuffix(s.op, "h") {
					continue
				}
				v.standIn(s.text)
				switch s.op {
				case ">":
					if kind, again := remade([]byte(v.fill(t, s.text))); kind != "" {
						assert.Equal(t, v.fill(t, s.text), string(again), "%v", s)
						made[kind]++
					}
				case ">b":
					b := binaryOf(t, v, s.text)
					if kind, again := remadeBinary(b); kind != "" {
						assert.Equal(t, hex.EncodeToString(b), hex.EncodeToString(again), "%v", s)
						made[kind]++
					}
				case "<", "<~":
					parsed += readByClient(t, s, v)
				}
			}
		})
	}
	// Everything the client can produce is in some transcript.
	for _, spec := range actions.Specs() {
		assert.NotZero(t, made[spec.Name], "the client's %s", spec.Name)
	}
	for _, kind := range []string{"byte string", "packet", "frame"} {
		assert.NotZero(t, made[kind], "the client's %s", kind)
	}
	total := 0
	for _, n := range made {
		total += n
	}
	t.Logf("%d requests made again, %d replies read and rendered again", total, parsed)
}

// remade makes a text request again from its parts, if the client could have
// made it: kind is "" if not.
func remade(msg []byte) (kind string, again []byte) {
	parts := cut(msg)
	switch strings.Join(keysOf(parts), " ") {
	case "action id":
		action, id, ok := words(parts[0].value, parts[1].value)
		if !ok {
			return "", nil
		}
		return plainName(action), panelwire.AppendRequest(nil, id, action, nil)
	case "action params id":
		action, id, ok := words(parts[0].value, parts[2].value)
		if !ok || cut(parts[1].value) == nil && string(parts[1].value) != "{}" {
			return "", nil
		}
		return plainName(action), panelwire.AppendRequest(nil, id, action, rawJSON(parts[1].value))
	case "action id params":
		action, id, ok := words(parts[0].value, parts[1].value)
		inner := cut(parts[2].value)
		if !ok || action != "file_upload_chunk" || strings.Join(keysOf(inner), " ") != "file_id offset data" {
			return "", nil
		}
		file, err := sessions.ParseID(bytes.Trim(inner[0].value, `"`))
		offset, err2 := strconv.ParseInt(string(inner[1].value), 10, 64)
		data, err3 := panelwire.DecodeByteString(nil, inner[2].value)
		if err != nil || err2 != nil || err3 != nil {
			return "", nil
		}
		return "byte string", panelwire.AppendChunkRequest(nil, id, file, offset, data)
	}
	return "", nil
}

func remadeBinary(msg []byte) (kind string, again []byte) {
	req, f, err := panelwire.DecodeBinary(bytes.Clone(msg))
	if err != nil {
		return "", nil
	}
	if f != nil {
		if chunk, err := f.Chunk(); err == nil {
			return "frame", panelwire.AppendUploadFrame(nil, chunk.Session, chunk.Offset, chunk.Data)
		}
		return "", nil
	}
	text := msg[:len(msg)-len(req.Attachment)]
	parts := cut(text[bytes.IndexByte(text, '{'):])
	if strings.Join(keysOf(parts), " ") != "action params id" {
		return "", nil
	}
	action, id, ok := words(parts[0].value, parts[2].value)
	if !ok {
		return "", nil
	}
	return "packet", panelwire.AppendPacket(nil, id, action, rawJSON(parts[1].value), req.Attachment)
}

func plainName(action string) string {
	name := strings.TrimSuffix(action, "_async")
	if spec, ok := actions.Lookup(name); ok {
		return spec.Name
	}
	return "unknown"
}

// readByClient checks that the client's parser gets out of a reply what is in
// it: rendered again from the parts, it must be the line.
func readByClient(t *testing.T, s step, v variables) int {
	t.Helper()
	line := volatileStandIns(v.fillKnown(expand(s.text)))
	if strings.HasPrefix(line, `{"file_id":`) { // to an upload frame; no envelope
		return 0
	}
	r, err := panelwire.ParseReply([]byte(line))
	require.NoError(t, err, "%v", s)
	req := panelwire.Request{Envelope: panelwire.EchoEnvelope, RawEcho: r.Echo}
	if r.HasID {
		raw := line[strings.LastIndex(line, `,"id":`)+len(`,"id":`) : len(line)-1]
		req = panelwire.Request{Envelope: panelwire.IDEnvelope, ID: r.ID, RawID: []byte(raw)}
	}
	var again []byte
	switch err := r.Err(); {
	case err != nil:
		assert.Equal(t, r.HasID, r.Data == nil, "%v: null is for the id envelope alone", s)
		again = panelwire.AppendError(nil, &req, err)
	case r.Status == "async":
		again = panelwire.AppendAsync(nil, &req, sessions.ID{})
	default:
		// AppendOK with no result, and the data put where its {} is.
		assert.Equal(t, "ok", r.Status, "%v", s)
		assert.Equal(t, 0, r.Retcode, "%v", s)
		again = panelwire.AppendOK(nil, &req, nil, panelwire.Options{})
		again = bytes.Replace(again, []byte(`"data":{}`), append([]byte(`"data":`), r.Data...), 1)
	}
	assert.Equal(t, line, string(again), "%v", s)
	return 1
}

// fillKnown fills in what is bound and leaves the rest.
func (v variables) fillKnown(s string) string {
	return variable.ReplaceAllStringFunc(s, func(m string) string {
		if value, ok := v[m[1:]]; ok && m[0] == '$' {
			return value
		}
		return m
	})
}

func volatileStandIns(s string) string {
	return variable.ReplaceAllStringFunc(s, func(m string) string {
		if m == "%str" {
			return "some text"
		}
		return "1234567890"
	})
}

// member is one of a JSON object's, raw.
type member struct {
	key   string
	value []byte
}

func keysOf(parts []member) (keys []string) {
	for _, p := range parts {
		keys = append(keys, p.key)
	}
	return keys
}

var plainString = regexp.MustCompile(`^"[ -!#-\[\]-~]*"$`)

// words returns an action and an id if both are plain strings.
func words(action, id []byte) (a, i string, ok bool) {
	if !plainString.Match(action) || !plainString.Match(id) {
		return "", "", false
	}
	return string(action[1 : len(action)-1]), string(id[1 : len(id)-1]), true
}

// rawJSON is what encoding/json takes for JSON as it is.
func rawJSON(b []byte) json.RawMessage { return json.RawMessage(b) }

// cut takes an object apart in its own order, values untouched; nil if it is
// none.
func cut(object []byte) (parts []member) {
	dec := json.NewDecoder(bytes.NewReader(object))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return nil
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil
		}
		var value json.RawMessage
		if dec.Decode(&value) != nil {
			return nil
		}
		parts = append(parts, member{key.(string), value})
	}
	if _, err := dec.Token(); err != nil {
		return nil
	}
	if rest := bytes.TrimSpace(object[dec.InputOffset():]); len(rest) > 0 {
		return nil
	}
	return parts
}
