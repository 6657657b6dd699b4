package docwire

import (
	"math"
	"slices"
	"time"

	"waybill/actions"
	"waybill/fsview/acl"
)

const (
	requestLogin      = "login"
	requestRefresh    = "refreshToken"
	requestDisconnect = "disconnect"
)

// Decode reads a message. It never fails: what is wrong is in Err, or is a
// BadArguments as Action where the token comes first. The checks are those of
// CFMS.md §1.3, in that order; now is what X-Ca-Timestamp is compared with.
//
// The token is not looked at here, nor whether anything is missing that a
// request needs: which of several faults is told first is up to package actions.
func Decode(msg []byte, now time.Time, set Settings) Request {
	object, ok := readObject(msg)
	if !ok {
		return Request{Err: acl.CodeFormat}
	}
	env := readEnvelope(object)
	r := Request{Name: env.name(), TraceID: env.trace()}
	if r.Err = env.refusal(&r, now, set); r.Err != nil {
		return r
	}
	switch r.Name {
	case requestDisconnect:
		r.Disconnect = true
	case requestLogin:
		r.Action, r.Err = decodeLogin(env.data)
	default:
		r.Action = decodeAction(r.Name, env.data)
	}
	return r
}

// envelope is what a message says at top level, nil for what is absent.
type envelope struct{ version, request, data, auth, traceID, timestamp literal }

// readEnvelope finds the keys that mean something; of duplicates the last.
func readEnvelope(object literal) (e envelope) {
	for key, value := range object.members() {
		switch string(key) {
		case "version":
			e.version = value
		case "request":
			e.request = value
		case "data":
			e.data = value
		case "auth":
			e.auth = value
		case "trace_id":
			e.traceID = value
		case "X-Ca-Timestamp":
			e.timestamp = value
		}
	}
	return e
}

// name is the canonical name of the request, "" if there is none such.
func (e *envelope) name() string {
	name, _ := e.request.text()
	switch {
	case name == "uploadFile": // what createFile was called once (§4.6)
		return "createFile"
	case name == requestDisconnect || slices.Contains(actions.DocRequests(), name):
		return name
	}
	return ""
}

func (e *envelope) trace() string {
	id, _ := e.traceID.text()
	if len(id) > maxTraceID {
		return ""
	}
	return id
}

// refusal checks the envelope of r and fills in who asks.
func (e *envelope) refusal(r *Request, now time.Time, set Settings) error {
	if err := e.checkVersion(); err != nil {
		return err
	}
	if err := e.checkTimestamp(now, set.TimestampWindow); err != nil {
		return err
	}
	if r.Name == requestLogin || r.Name == requestDisconnect {
		return nil
	}
	var ok bool
	if r.Username, r.Token, ok = e.claim(set.Local); !ok {
		return acl.CodeNoAuth
	}
	if r.Name == "" {
		return acl.CodeUnknownRequest
	}
	return nil
}

// checkVersion tells a version that is not there, in any of the ways that older
// servers took for that, from one that is not ours.
func (e *envelope) checkVersion() error {
	switch string(e.version) {
	case "", "false", `""`:
		return acl.CodeNoVersion
	}
	switch f, ok := e.version.number(); {
	case ok && f == 0:
		return acl.CodeNoVersion
	case !ok || f != requestVersion:
		return acl.CodeVersion
	}
	return nil
}

func (e *envelope) checkTimestamp(now time.Time, window time.Duration) error {
	if e.timestamp == nil || window <= 0 {
		return nil
	}
	sent, ok := e.timestamp.number()
	if !ok {
		return acl.CodeTimestamp
	}
	if math.Abs(sent-acl.Seconds(now)) > window.Seconds() {
		return acl.CodeTimestampRange
	}
	return nil
}

// claim reads auth: two strings, neither of them empty. From this machine the
// user name may be, since the main token stands for no user.
func (e *envelope) claim(local bool) (username, token string, ok bool) {
	if !e.auth.isObject() {
		return "", "", false
	}
	var user, secret literal
	for key, value := range e.auth.members() {
		switch string(key) {
		case "username":
			user = value
		case "token":
			secret = value
		}
	}
	username, named := user.text()
	token, _ = secret.text()
	if !named || username == "" && !local || token == "" {
		return "", "", false
	}
	return username, token, true
}
