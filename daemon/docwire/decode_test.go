package docwire

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/actions"
	"waybill/fsview/acl"
)

// testNow is what requests in tests are decoded at.
var testNow = time.Unix(1_700_000_000, 500_000_000)

var testSettings = Settings{FTPPort: 5104, TimestampWindow: 300 * time.Second}

func decoded(msg string) Request { return Decode([]byte(msg), testNow, testSettings) }

const goodAuth = `"auth":{"username":"admin","token":"T"}`

// request is a request of version 1 with these members beside, commas between.
func request(members string) string { return `{"version":1,` + members + `}` }

// TestRefusals has every row of CFMS.md §1.3 that does not need a token looked
// at, and those of §2, in order: the later rows have the faults of none before.
func TestRefusals(t *testing.T) {
	deep := func(n int) string {
		return request(`"request":"shutdown",` + goodAuth + `,"x":` + strings.Repeat("[", n) + strings.Repeat("]", n))
	}
	const trace = `"trace_id":"t"`
	for shows, c := range map[string]struct {
		send string
		want acl.Code
	}{
		"nothing":                  {``, acl.CodeFormat},
		"space":                    {" \r\n\t", acl.CodeFormat},
		"no JSON":                  {`hello`, acl.CodeFormat},
		"half an object":           {`{"version":1`, acl.CodeFormat},
		"an open string":           {`{"version":1,"a`, acl.CodeFormat},
		"an open escape":           {`{"version":1,"a\`, acl.CodeFormat},
		"two objects":              {`{}{}`, acl.CodeFormat},
		"text behind":              {`{"version":1} x`, acl.CodeFormat},
		"a byte order mark":        {"\ufeff{}", acl.CodeFormat},
		"an array":                 {`[{"version":1}]`, acl.CodeFormat},
		"a string":                 {`"{}"`, acl.CodeFormat},
		"a number":                 {`1`, acl.CodeFormat},
		"null":                     {`null`, acl.CodeFormat},
		"a trailing comma":         {`{"version":1,}`, acl.CodeFormat},
		"not UTF-8":                {"{\"version\":1,\"x\":\"\xff\"}", acl.CodeFormat},
		"a surrogate in UTF-8":     {"{\"version\":1,\"x\":\"\xed\xa0\x80\"}", acl.CodeFormat},
		"a control character":      {"{\"version\":1,\"x\":\"\n\"}", acl.CodeFormat},
		"65 deep":                  {deep(maxDepth), acl.CodeFormat},
		"65 deep, wrong brackets":  {strings.Repeat(`{"a":[`, 33), acl.CodeFormat},
		"endlessly deep":           {strings.Repeat(`[`, 1<<20), acl.CodeFormat},
		"no version":               {`{"request":"shutdown",` + goodAuth + `}`, acl.CodeNoVersion},
		"no version and no auth":   {`{}`, acl.CodeNoVersion},
		"version null":             {`{"version":null,"request":"login"}`, acl.CodeNoVersion},
		"version 0":                {`{"version":0}`, acl.CodeNoVersion},
		"version -0.0":             {`{"version":-0.0e5}`, acl.CodeNoVersion},
		"version false":            {`{"version":false}`, acl.CodeNoVersion},
		"version empty":            {`{"version":""}`, acl.CodeNoVersion},
		"version in other case":    {`{"Version":1,"VERSION":1}`, acl.CodeNoVersion},
		"version true":             {`{"version":true}`, acl.CodeVersion},
		"version a text":           {`{"version":"1"}`, acl.CodeVersion},
		"version 2":                {`{"version":2}`, acl.CodeVersion},
		"version -1":               {`{"version":-1}`, acl.CodeVersion},
		"version 1.5":              {`{"version":1.5}`, acl.CodeVersion},
		"version beyond floats":    {`{"version":1e999}`, acl.CodeVersion},
		"version a list":           {`{"version":[]}`, acl.CodeVersion},
		"version an object":        {`{"version":{}}`, acl.CodeVersion},
		"version: the last counts": {`{"version":1,"version":2}`, acl.CodeVersion},
		"disconnect of version 2":  {`{"version":2,"request":"disconnect"}`, acl.CodeVersion},
		"version before timestamp": {`{"version":2,"X-Ca-Timestamp":"x"}`, acl.CodeVersion},
		"timestamp a text":         {request(`"X-Ca-Timestamp":"1700000000"`), acl.CodeTimestamp},
		"timestamp empty":          {request(`"X-Ca-Timestamp":""`), acl.CodeTimestamp},
		"timestamp true":           {request(`"X-Ca-Timestamp":true`), acl.CodeTimestamp},
		"timestamp an object":      {request(`"X-Ca-Timestamp":{}`), acl.CodeTimestamp},
		"timestamp 0":              {request(`"X-Ca-Timestamp":0`), acl.CodeTimestampRange},
		"timestamp too old":        {request(`"X-Ca-Timestamp":1699999700.49`), acl.CodeTimestampRange},
		"timestamp too new":        {request(`"X-Ca-Timestamp":1700000300.51`), acl.CodeTimestampRange},
		"timestamp in ms":          {request(`"X-Ca-Timestamp":1700000000500`), acl.CodeTimestampRange},
		"timestamp beyond floats":  {request(`"X-Ca-Timestamp":1e999`), acl.CodeTimestampRange},
		"timestamp of login":       {request(`"request":"login","X-Ca-Timestamp":0`), acl.CodeTimestampRange},
		"timestamp of disconnect":  {request(`"request":"disconnect","X-Ca-Timestamp":0`), acl.CodeTimestampRange},
		"timestamp before auth":    {request(`"request":"shutdown","X-Ca-Timestamp":0`), acl.CodeTimestampRange},
		"no auth":                  {request(`"request":"shutdown"`), acl.CodeNoAuth},
		"auth null":                {request(`"request":"shutdown","auth":null`), acl.CodeNoAuth},
		"auth a text":              {request(`"request":"shutdown","auth":"x"`), acl.CodeNoAuth},
		"auth a list":              {request(`"request":"shutdown","auth":["admin","T"]`), acl.CodeNoAuth},
		"auth empty":               {request(`"request":"shutdown","auth":{}`), acl.CodeNoAuth},
		"auth in other case":       {request(`"request":"shutdown","Auth":{"username":"admin","token":"T"}`), acl.CodeNoAuth},
		"no username":              {request(`"request":"shutdown","auth":{"token":"T"}`), acl.CodeNoAuth},
		"username null":            {request(`"request":"shutdown","auth":{"username":null,"token":"T"}`), acl.CodeNoAuth},
		"username empty":           {request(`"request":"shutdown","auth":{"username":"","token":"T"}`), acl.CodeNoAuth},
		"username a number":        {request(`"request":"shutdown","auth":{"username":1,"token":"T"}`), acl.CodeNoAuth},
		"no token":                 {request(`"request":"shutdown","auth":{"username":"admin"}`), acl.CodeNoAuth},
		"token null":               {request(`"request":"shutdown","auth":{"username":"admin","token":null}`), acl.CodeNoAuth},
		"token empty":              {request(`"request":"shutdown","auth":{"username":"admin","token":""}`), acl.CodeNoAuth},
		"token a list":             {request(`"request":"shutdown","auth":{"username":"admin","token":["T"]}`), acl.CodeNoAuth},
		"token at top level":       {request(`"request":"shutdown","auth":{"username":"admin"},"token":"T"`), acl.CodeNoAuth},
		"the last token counts":    {request(`"request":"shutdown","auth":{"username":"admin","token":"T","token":""}`), acl.CodeNoAuth},
		"the last auth counts":     {request(`"request":"shutdown",` + goodAuth + `,"auth":null`), acl.CodeNoAuth},
		"auth before request":      {request(`"request":"nonsense"`), acl.CodeNoAuth},
		"auth before no request":   {`{"version":1}`, acl.CodeNoAuth},
		"no request":               {request(goodAuth), acl.CodeUnknownRequest},
		"request null":             {request(`"request":null,` + goodAuth), acl.CodeUnknownRequest},
		"request a number":         {request(`"request":1,` + goodAuth), acl.CodeUnknownRequest},
		"request empty":            {request(`"request":"",` + goodAuth), acl.CodeUnknownRequest},
		"request unknown":          {request(`"request":"nonsense",` + goodAuth), acl.CodeUnknownRequest},
		"request of another case":  {request(`"request":"Shutdown",` + goodAuth), acl.CodeUnknownRequest},
		"encrypt_test":             {request(`"request":"encrypt_test",` + goodAuth), acl.CodeUnknownRequest},
		"login without data":       {request(`"request":"login"`), acl.CodeArguments},
		"login, data null":         {request(`"request":"login","data":null`), acl.CodeArguments},
		"login, data a text":       {request(`"request":"login","data":"x"`), acl.CodeArguments},
		"login, data a list":       {request(`"request":"login","data":["admin","p"]`), acl.CodeArguments},
	} {
		t.Run(shows, func(t *testing.T) {
			r := decoded(c.send)
			require.Equal(t, c.want, r.Err)
			assert.Nil(t, r.Action)
			assert.False(t, r.Disconnect)
			assert.Equal(t, c.want == acl.CodeFormat, Malformed(r.Err))
			if c.want == acl.CodeFormat {
				assert.Equal(t, Request{Err: acl.CodeFormat}, r)
				return
			}
			// Whatever is wrong, the reply says which request it answers.
			open := strings.TrimSuffix(c.send, "}")
			if open != "{" {
				open += ","
			}
			r = decoded(open + trace + "}")
			require.Equal(t, c.want, r.Err)
			assert.Equal(t, "t", r.TraceID)
		})
	}
	assert.NoError(t, decoded(deep(maxDepth-1)).Err)
	assert.False(t, Malformed(nil))
}

// TestRefusedByName: refreshToken answers 401 where others answer -1, so the
// name must be known even to a refusal.
func TestRefusedByName(t *testing.T) {
	for _, send := range []string{
		request(`"request":"refreshToken"`), `{"version":2,"request":"refreshToken"}`,
		request(`"X-Ca-Timestamp":"","request":"refreshToken"`),
	} {
		r := decoded(send)
		assert.Error(t, r.Err)
		assert.Equal(t, "refreshToken", r.Name)
	}
	assert.Equal(t, "createFile", decoded(request(`"request":"uploadFile"`)).Name)
	assert.Equal(t, "login", decoded(request(`"request":"login"`)).Name)
	assert.Empty(t, decoded(request(`"request":"nonsense"`)).Name)
	assert.Empty(t, decoded(`{`).Name)
}

func TestVersionOne(t *testing.T) {
	for _, v := range []string{"1", "1.0", "1e0", "1E0", "1.000", "10e-1", "0.1e+1", "2,\"version\":1"} {
		assert.NoError(t, decoded(`{"request":"disconnect","version":`+v+`}`).Err, v)
	}
}

func TestTimestamp(t *testing.T) {
	send := func(stamp string) string {
		return request(`"request":"refreshToken","X-Ca-Timestamp":` + stamp + `,` + goodAuth)
	}
	for _, good := range []string{"1700000000", "1700000000.5", "1.7e9", "1699999700.5", "1700000300.5", "null", "0,\"X-Ca-Timestamp\":1700000000"} {
		assert.NoError(t, decoded(send(good)).Err, good)
	}
	for _, window := range []time.Duration{0, -1} {
		for _, any := range []string{"0", "true", `"x"`} {
			assert.NoError(t, Decode([]byte(send(any)), testNow, Settings{TimestampWindow: window}).Err, any)
		}
	}
	assert.NoError(t, Decode([]byte(send("1700000001.5")), testNow, Settings{TimestampWindow: time.Second}).Err)
	assert.Equal(t, acl.CodeTimestampRange, Decode([]byte(send("1700000001.6")), testNow, Settings{TimestampWindow: time.Second}).Err)
}

func TestTraceID(t *testing.T) {
	long := strings.Repeat("ä", maxTraceID/2)
	for sent, want := range map[string]string{
		`"a"`: "a", `"\u00e4\""`: `ä"`, `""`: "", `null`: "", `5`: "", `["a"]`: "", `true`: "",
		`"` + long + `"`: long, `"` + long + `x"`: "",
		`"` + strings.Repeat(`\u0041`, maxTraceID) + `"`: strings.Repeat("A", maxTraceID),
		`"\ud83d\ude00"`: "😀", `"\ud83dx"`: "\ufffdx", `"a","trace_id":"b"`: "b", `"a","trace_id":null`: "",
	} {
		assert.Equal(t, want, decoded(request(`"request":"disconnect","trace_id":`+sent)).TraceID, sent)
	}
}

func TestWho(t *testing.T) {
	r := decoded(request(`"request":"shutdown","auth":{"username":"b\u00f6b","token":"T","x":1},"token":""`))
	require.NoError(t, r.Err)
	assert.Equal(t, "böb", r.Username)
	assert.Equal(t, "T", r.Token)

	for _, name := range []string{"login", "disconnect"} {
		r = decoded(request(`"request":"` + name + `","data":{},` + goodAuth))
		require.NoError(t, r.Err)
		assert.Empty(t, r.Username+r.Token, "nobody yet, whatever is sent")
		r = decoded(request(`"request":"` + name + `","data":{},"auth":"nonsense"`))
		require.NoError(t, r.Err)
	}
}

// TestMainToken: from this machine, and only from there, nobody may ask by the
// main token.
func TestMainToken(t *testing.T) {
	local := Settings{Local: true}
	send := func(auth string) []byte { return []byte(request(`"request":"shutdown","auth":` + auth)) }
	r := Decode(send(`{"username":"","token":"T"}`), testNow, local)
	require.NoError(t, r.Err)
	assert.Empty(t, r.Username)
	assert.Equal(t, "T", r.Token)
	assert.Equal(t, actions.Shutdown{}, r.Action)
	assert.Equal(t, acl.CodeNoAuth, Decode(send(`{"username":"","token":"T"}`), testNow, Settings{}).Err)
	for _, bad := range []string{`{"token":"T"}`, `{"username":null,"token":"T"}`, `{"username":0,"token":"T"}`, `{"username":"","token":""}`, `{"username":""}`} {
		assert.Equal(t, acl.CodeNoAuth, Decode(send(bad), testNow, local).Err, bad)
	}
}

func TestDisconnect(t *testing.T) {
	r := decoded(`{"version":1,"request":"disconnect"}`)
	assert.Equal(t, Request{Name: "disconnect", Disconnect: true}, r)
	assert.True(t, decoded(request(`"request":"disconnect","data":"x","auth":{}`)).Disconnect)
}

func TestDecodeKeepsNothingOfTheMessage(t *testing.T) {
	msg := []byte(request(`"request":"createUser","trace_id":"id",` + goodAuth + `,"data":{"username":"bob","rights":["read"]}`))
	sent := string(msg)
	r := Decode(msg, testNow, testSettings)
	require.Equal(t, sent, string(msg))
	for i := range msg {
		msg[i] = 'x'
	}
	a := r.Action.(*actions.CreateUser)
	assert.Equal(t, "admin T id bob", fmt.Sprint(r.Username, " ", r.Token, " ", r.TraceID, " ", *a.Username))
	assert.Equal(t, `["read"]`, string(a.Rights))
}

// reencode makes the message again that an action was decoded from.
func reencode(t testing.TB, r *Request) []byte {
	var data any
	switch a := r.Action.(type) {
	case *actions.Login:
		data = map[string]string{"username": a.Username, "password": a.Password}
	case actions.RefreshToken, actions.Shutdown:
	case *actions.OperateFile:
		data = a.FileOp
	case *actions.CreateFile:
		if a.HasData {
			data = a.NewFile
		}
	case *actions.FileRevisions:
		data = a.RevisionsOp
	case *actions.OperateDir:
		data = a.DirOp
	case *actions.GetDir:
		data = given{"id": a.DirID, "view_deleted": a.ViewDeleted}.members()
	case *actions.GetRootDir:
		data = map[string]bool{"view_deleted": a.ViewDeleted}
	case *actions.CreateDir:
		data = a.NewDir
	case *actions.GetPolicy:
		data = given{"policy_id": a.ID}.members()
	case *actions.SetPolicy:
		data = given{"policy_id": a.ID, "content": a.Content}.members()
	case *actions.GetAvatar:
		data = given{"username": a.Username}.members()
	case *actions.GetAccess:
		data = given{"id": a.ID}.members()
	case *actions.SetAccess:
		data = a.SetAccess
	case *actions.CreateUser:
		data = given{"username": a.Username, "password": a.Password, "nickname": a.Nickname, "rights": a.Rights, "groups": a.Groups}.members()
	case *actions.OperateUser:
		data = given{
			"action": a.Action, "username": a.Username, "new_pwd": a.NewPwd, "nickname": a.Nickname, "publickey": a.PublicKey,
			"file_id": a.FileID, "reason": a.Reason, "new_groups": a.NewGroups, "new_rights": a.NewRights, "status": a.Status,
		}.members()
	case *actions.UserProperties:
		if a.HasData {
			data = map[string]string{"username": a.Username}
		}
	case *actions.CreateGroup:
		data = given{"group_name": a.NewGroup.Name, "rights": a.Rights, "enabled": a.Enabled, "group_members": a.Members}.members()
	case *actions.BadArguments:
		data = 5
	default:
		require.Nil(t, a)
	}
	return AppendRequest(nil, r.Name, data, r.Username, r.Token, r.TraceID)
}

// given are members of data, some of which may be nil, which is absent.
type given map[string]any

func (g given) members() given {
	for key, v := range g {
		switch v := v.(type) {
		case *string:
			if v == nil {
				delete(g, key)
			}
		case json.RawMessage:
			if v == nil {
				delete(g, key)
			}
		}
	}
	return g
}

// awkward are requests that are not written as anybody would.
var awkward = []string{
	`{"version":1,"request":"disconnect"}`,
	`{"version":1,"request":"login","data":{"username":"admin","password":"8d96"},"token":""}`,
	`{ "version" : 1.0 , "version":1,"a":[{},"\ud800\"}"],"request":"upload\u0046ile","auth":{"username":"a","token":"b"},"data":{"file_id":"\udc00"}} ` + "\r\n",
	`{"version":1,"request":"refreshToken","X-Ca-Timestamp":17e8,"auth":{"username":"","token":"T"}}`,
	`{"version":1,"request":"createUser","data":{"rights":{"\ud83d":"\ud83d\ude00\ude00"}},` + goodAuth + `}`,
}

// wellFormed has every request with all of its fields, and the awkward ones.
func wellFormed() (all []string) {
	for _, name := range actions.DocRequests() {
		all = append(all, request(`"request":"`+name+`","trace_id":"t",`+goodAuth+`,"data":`+requestCases[name].data()))
	}
	return append(all, awkward...)
}

// TestDamagedRequests spoils every byte of every request.
func TestDamagedRequests(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	const spoil = "\"\\{}[]:,0ndu \xff"
	for _, msg := range wellFormed() {
		for i := range msg {
			checkDecode(t, []byte(msg[:i]))
			checkDecode(t, []byte(msg[:i]+msg[i+1:]))
			bad := []byte(msg)
			bad[i] = spoil[rnd.IntN(len(spoil))]
			checkDecode(t, bad)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, msg := range wellFormed() {
		f.Add([]byte(msg))
	}
	f.Fuzz(func(t *testing.T, msg []byte) { checkDecode(t, msg) })
}

// checkDecode decodes anything and looks whether that makes sense.
func checkDecode(t *testing.T, msg []byte) {
	t.Helper()
	sent := string(msg)
	set := Settings{FTPPort: 1, TimestampWindow: time.Hour, Local: len(msg)%2 == 0}
	r := Decode(msg, testNow, set)
	require.Equal(t, sent, string(msg))

	outcomes := 0
	for _, is := range []bool{r.Action != nil, r.Disconnect, r.Err != nil} {
		if is {
			outcomes++
		}
	}
	require.Equal(t, 1, outcomes)
	reply := AppendReply(nil, &r, nil, r.Err, set)
	if !r.Disconnect {
		parsed, err := ParseReply(reply)
		require.NoError(t, err)
		require.NotZero(t, parsed.Code)
		require.Equal(t, r.TraceID, parsed.Text("trace_id"))
	}

	// The standard decoder agrees on what is a request at all, and on its
	// members.
	var object map[string]json.RawMessage
	valid := utf8.Valid(msg) && json.Unmarshal(msg, &object) == nil && object != nil && depth(msg) <= maxDepth
	require.Equal(t, !valid, Malformed(r.Err))
	if !valid {
		return
	}
	if r.Err == nil || errors.Is(r.Err, acl.CodeNoAuth) {
		require.EqualValues(t, 1, numberAt(object, "version"))
	}
	name := textAt(object, "request")
	require.True(t, r.Name == name || name == "uploadFile" && r.Name == "createFile" || r.Name == "", "%q %q", r.Name, name)
	if r.Username != "" {
		var auth map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(object["auth"], &auth))
		require.Equal(t, textAt(auth, "username"), r.Username)
		require.Equal(t, textAt(auth, "token"), r.Token)
	}
	if r.Action == nil {
		return
	}
	require.Equal(t, r.Name, r.Action.Name())

	// What was understood is understood again.
	again := reencode(t, &r)
	require.Equal(t, string(mended(again)), string(again), "no unpaired surrogate is let through")
	b := Decode(again, testNow, set)
	require.NoError(t, b.Err)
	require.IsType(t, r.Action, b.Action)
	require.Equal(t, string(again), string(reencode(t, &b)))
}

func textAt(object map[string]json.RawMessage, key string) string {
	var s string
	if json.Unmarshal(object[key], &s) != nil {
		return ""
	}
	return s
}

func numberAt(object map[string]json.RawMessage, key string) (f float64) {
	_ = json.Unmarshal(object[key], &f) // 0 is no good version either
	return f
}
