package panelwire

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/actions"
)

// requestVector is a row of requests.json: what is sent, as text or as hex of
// bytes, and either the action it is or the reply it gets.
type requestVector struct {
	Shows   string
	Send    string
	SendHex string `json:"send_hex"`
	Action  string
	Fields  json.RawMessage
	Reply   string
}

func (v requestVector) message(t testing.TB) []byte {
	if v.SendHex != "" {
		return unhexed(t, v.SendHex)
	}
	return []byte(v.Send)
}

func requestVectors(t testing.TB) (v []requestVector) {
	readGolden(t, "requests.json", &v)
	return v
}

// decode does to a text frame what a connection does, but for permissions.
func decode(msg []byte) (Request, actions.Action, error) {
	r, err := DecodeText(msg)
	if err != nil {
		return r, nil, err
	}
	spec, ok := actions.Lookup(r.Action)
	if !ok {
		return r, nil, actions.Errorf(actions.CodeUnknownAction, "%s", r.Action)
	}
	a, err := DecodeParams(spec, &r)
	return r, a, err
}

func TestRequests(t *testing.T) {
	for _, v := range requestVectors(t) {
		t.Run(v.Shows, func(t *testing.T) {
			r, a, err := decode(v.message(t))
			if v.Reply != "" {
				require.Error(t, err)
				require.Nil(t, a)
				assert.Equal(t, v.Reply, string(AppendError(nil, &r, err)))
				return
			}
			require.NoError(t, err)
			require.Equal(t, v.Action, a.Name())
			fields, err := json.Marshal(goFields(a))
			require.NoError(t, err)
			assert.JSONEq(t, string(v.Fields), string(fields))
		})
	}
}

// goFields is an action's fields by their Go names, whatever its JSON is.
func goFields(a actions.Action) any {
	switch a := a.(type) {
	case *actions.UploadRequest:
		return map[string]any{"Path": a.Path, "HasPath": a.HasPath, "SHA1": a.SHA1, "Timeout": a.Timeout, "Size": a.Size}
	case *actions.UploadChunk:
		return map[string]any{"Session": a.Session, "Offset": a.Offset, "Data": append([]byte{}, a.Data...), "Text": a.Text}
	case *actions.UploadCancel:
		return map[string]any{"Session": a.Session}
	case *actions.UploadStatusOf:
		return map[string]any{"Session": a.Session}
	case *actions.DownloadRequest:
		fields := map[string]any{"Path": a.Path, "Timeout": a.Timeout}
		if a.URL {
			fields["URL"] = true
		}
		return fields
	case *actions.DownloadChunk:
		return map[string]any{"Session": a.Session, "From": a.From, "To": a.To, "Base64": a.Base64}
	case *actions.DownloadClose:
		return map[string]any{"Session": a.Session}
	case *actions.FileInfo:
		return map[string]any{"Path": a.Path}
	case *actions.DirectoryInfo:
		return map[string]any{"Path": a.Path}
	case *actions.JobOf:
		return map[string]any{"Job": a.Job}
	}
	return struct{}{}
}

func TestEveryActionIsDecoded(t *testing.T) {
	seen := map[string]bool{"login": true} // the connection's own
	for _, v := range requestVectors(t) {
		seen[v.Action] = true
	}
	for _, s := range actions.Specs() {
		assert.True(t, s.Unavailable || seen[s.Name], s.Name)
	}
}

func TestEnvelopeFields(t *testing.T) {
	r, err := DecodeText([]byte(`{"id":"a\u0062","echo":1,"action":"file_upload_chunk_raw_async"}`))
	require.NoError(t, err)
	assert.Equal(t, IDEnvelope, r.Envelope)
	assert.Equal(t, "ab", r.ID)
	assert.Equal(t, `"a\u0062"`, string(r.RawID))
	assert.Nil(t, r.RawEcho)
	assert.Equal(t, "file_upload_chunk_raw", r.Action)
	assert.True(t, r.Async)
	assert.False(t, r.Orderless())

	r, err = DecodeText([]byte(`{"echo":[ 1 ],"action":"ping"}`))
	require.NoError(t, err)
	assert.Equal(t, EchoEnvelope, r.Envelope)
	assert.Equal(t, `[ 1 ]`, string(r.RawEcho))
	assert.Equal(t, "ping", r.Action)
	assert.False(t, r.Async || r.Orderless())

	r, err = DecodeText([]byte(`{"action":"ping","id":null}`))
	require.NoError(t, err)
	assert.True(t, r.Orderless())
	r, err = DecodeText([]byte(`{`))
	require.Error(t, err)
	assert.True(t, r.Orderless(), "an unreadable message has no id")

	r, err = DecodeText([]byte(`{"id":"` + strings.Repeat(`\u0041`, 256) + `","action":"` + strings.Repeat("ä", 5000) + `"}`))
	require.NoError(t, err)
	assert.Len(t, r.ID, 256)
	assert.LessOrEqual(t, len(r.Action), maxAction)
	assert.True(t, utf8.ValidString(r.Action))
}

func TestDepthIsBounded(t *testing.T) {
	nested := func(n int) []byte {
		return []byte(`{"action":"ping","x":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}`)
	}
	_, err := DecodeText(nested(maxDepth - 1))
	assert.NoError(t, err)
	_, err = DecodeText(nested(maxDepth))
	assert.Equal(t, actions.CodeBadRequest, actions.CodeOf(err))
	_, err = DecodeText([]byte(strings.Repeat(`{"params":`, 1<<20)))
	assert.Equal(t, actions.CodeBadRequest, actions.CodeOf(err))
}

func TestDecodeLogin(t *testing.T) {
	for send, want := range map[string]string{`{"token":"a\/b"}`: "a/b", `{"token":""}`: ""} {
		r, err := DecodeText([]byte(`{"action":"login","params":` + send + `}`))
		require.NoError(t, err)
		token, err := DecodeLogin(&r)
		require.NoError(t, err)
		assert.Equal(t, want, token)
	}
	for _, send := range []string{`{}`, `{"token":5}`, `"x"`, `null`, `{"token":"` + strings.Repeat("x", maxText) + `"}`} {
		r, err := DecodeText([]byte(`{"action":"login","params":` + send + `}`))
		require.NoError(t, err)
		token, err := DecodeLogin(&r)
		assert.Equal(t, actions.CodeParam, actions.CodeOf(err), send[:min(len(send), 20)])
		assert.Empty(t, token)
	}
}

// TestChunkAliasesMessage pins that a chunk of a message that is not mostly
// ASCII costs no memory of its own.
func TestChunkAliasesMessage(t *testing.T) {
	for _, data := range []string{`"` + strings.Repeat("䅂", 5000) + `"`, `"` + strings.Repeat(`\u0000`, 5000) + `"`,
		`"` + strings.Repeat("QUJD", 5000) + `","encoding":"base64"`} {
		msg := []byte(`{"action":"file_upload_chunk","params":{"file_id":"0b6ff6a5-5a3c-4b0e-9f0e-0d3f7d3c9a11","offset":0,"data":` + data + `}}`)
		_, a, err := decode(msg)
		require.NoError(t, err)
		got := a.(*actions.UploadChunk).Data
		from := bytes.Index(msg, got)
		require.GreaterOrEqual(t, from, 0)
		assert.Same(t, &msg[from], &got[0])
	}
}

func FuzzDecodeText(f *testing.F) {
	for _, v := range requestVectors(f) {
		f.Add(v.message(f))
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		sent := bytes.Clone(msg)
		r, _, err := decode(msg)
		reply := AppendOK(nil, &r, nil, Options{})
		if err != nil {
			reply = AppendError(nil, &r, err)
		}
		require.True(t, json.Valid(reply) && utf8.Valid(reply), "%q", reply)

		var object map[string]json.RawMessage
		valid := utf8.Valid(sent) && json.Unmarshal(sent, &object) == nil && object != nil
		_, err = DecodeText(bytes.Clone(sent))
		if !valid {
			require.Equal(t, actions.CodeBadRequest, actions.CodeOf(err), "%q", sent)
			require.True(t, r.Orderless())
			require.Equal(t, IDEnvelope, r.Envelope)
			return
		}
		if depth(sent) > maxDepth {
			require.Error(t, err)
			return
		}
		// The standard decoder agrees on every part of the envelope.
		id, echo := part(object, "id"), part(object, "echo")
		if id != nil {
			require.Equal(t, IDEnvelope, r.Envelope)
			if r.RawID != nil {
				require.Equal(t, string(id), string(r.RawID))
				var s string
				require.NoError(t, json.Unmarshal(id, &s))
				require.Equal(t, s, r.ID)
			} else {
				require.True(t, id[0] != '"' || len(id) > maxID+2)
			}
		} else {
			require.Equal(t, EchoEnvelope, r.Envelope)
			require.Equal(t, string(echo), string(r.RawEcho))
		}
		var action string
		good := part(object, "action") != nil && json.Unmarshal(object["action"], &action) == nil
		if err == nil {
			require.True(t, good)
			name, _ := strings.CutSuffix(action, asyncSuffix)
			require.True(t, r.Action == name || len(action) > maxAction, "%q", action)
		} else {
			require.True(t, !good || id != nil && r.RawID == nil)
		}
	})
}

func part(object map[string]json.RawMessage, key string) json.RawMessage {
	if raw := object[key]; string(raw) != "null" {
		return raw
	}
	return nil
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

// FuzzParams decodes arbitrary params for every action: no panic, and only
// the errors there may be.
func FuzzParams(f *testing.F) {
	for _, v := range requestVectors(f) {
		var m struct {
			Action string
			Params json.RawMessage
		}
		if json.Unmarshal(v.message(f), &m) == nil && m.Params != nil {
			f.Add(m.Action, []byte(m.Params))
		}
	}
	f.Fuzz(func(t *testing.T, name string, params []byte) {
		msg := append(append([]byte(`{"params":`), params...), '}')
		r, err := DecodeText(msg)
		require.Error(t, err) // no action
		spec, ok := actions.Lookup(name)
		if !ok {
			return
		}
		a, err := DecodeParams(spec, &r)
		switch actions.CodeOf(err) {
		case actions.CodeOK:
			require.Equal(t, spec.Name, a.Name())
		case actions.CodeParam, actions.CodeTooBig, actions.CodeUnavailable:
			require.Nil(t, a)
		case actions.CodeUnknownAction:
			require.Equal(t, "login", spec.Name)
		default:
			require.NoError(t, err)
		}
		if c, ok := a.(*actions.UploadChunk); ok {
			require.GreaterOrEqual(t, c.Offset, int64(0))
			require.True(t, !c.Text || len(c.Data)%2 == 0)
		}
	})
}

func FuzzRange(f *testing.F) {
	for _, s := range []string{"0..1024", "0..0", "..", "1...2", "9223372036854775808..1", "007..8"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		from, to, ok := parseRange(s)
		wantFrom, wantTo, want := slowRange(s)
		require.Equal(t, want, ok, "%q", s)
		if want {
			require.Equal(t, []int64{wantFrom, wantTo}, []int64{from, to})
		}
	})
}
