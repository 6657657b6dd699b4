package docwire

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAppendRequest(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{string(AppendRequest([]byte("x"), "disconnect", nil, "", "", "")), `x{"version":1,"request":"disconnect"}`},
		{string(AppendRequest(nil, "refreshToken", nil, "admin", "T", "")), `{"version":1,"request":"refreshToken","auth":{"username":"admin","token":"T"}}`},
		{string(AppendRequest(nil, "getPolicy", map[string]any{"policy_id": "p"}, "", "T", `"`)), `{"version":1,"request":"getPolicy","data":{"policy_id":"p"},"auth":{"username":"","token":"T"},"trace_id":"\""}`},
		{string(AppendRequest(nil, "getRootDir", json.RawMessage(`{}`), "a", "", "")), `{"version":1,"request":"getRootDir","data":{},"auth":{"username":"a","token":""}}`},
	} {
		assert.Equal(t, c.want, c.got)
	}
	assert.Panics(t, func() { AppendRequest(nil, "login", func() {}, "", "", "") })
}

func TestParseReply(t *testing.T) {
	r, err := ParseReply([]byte(` {"msg":"o\u006b","code":0,"data":{"a":1},"token":"T","code":-3,"ftp_port":5104} `))
	require.NoError(t, err)
	assert.Equal(t, -3, r.Code)
	assert.Equal(t, "ok", r.Msg)
	assert.Equal(t, `{"a":1}`, string(r.Data))
	assert.Equal(t, "T", r.Text("token"))
	assert.Empty(t, r.Text("ftp_port")+r.Text("nothing"))
	assert.Equal(t, "5104", string(r.Raw["ftp_port"]))

	r, err = ParseReply([]byte(`{"code":200,"data":null}`))
	require.NoError(t, err)
	assert.Equal(t, 200, r.Code)
	assert.Empty(t, r.Msg)
	assert.Nil(t, r.Data)

	for _, bad := range []string{``, Goodbye, Unreadable, `null`, `[]`, `{}`, `{"code":null}`, `{"code":"0"}`, `{"code":0.5}`, `{"code":1e3}`, `{"code":0`, `{"Code":0}`} {
		_, err := ParseReply([]byte(bad))
		assert.ErrorIs(t, err, errReply, bad)
	}
}

// TestRepliesAreParsed: both sides understand each other.
func TestRepliesAreParsed(t *testing.T) {
	for shows, c := range resultCases {
		r, err := ParseReply([]byte(c.want))
		require.NoError(t, err, shows)
		assert.NotEmpty(t, r.Msg)
	}
}

func FuzzParseReply(f *testing.F) {
	for _, c := range resultCases {
		f.Add([]byte(c.want))
	}
	f.Add([]byte(Goodbye))
	f.Add([]byte(`{"code":-1,"msg":5,"data":null}`))
	f.Fuzz(func(t *testing.T, msg []byte) {
		r, err := ParseReply(msg)
		if err != nil {
			require.ErrorIs(t, err, errReply)
			require.Equal(t, Reply{}, r)
			return
		}
		require.True(t, json.Valid(msg))
		require.Contains(t, r.Raw, "code")
		require.True(t, r.Data == nil || json.Valid(r.Data))
		var plain struct{ Code *int }
		if json.Unmarshal(r.Raw["code"], &plain.Code) == nil {
			require.Equal(t, *plain.Code, r.Code)
		}
	})
}
