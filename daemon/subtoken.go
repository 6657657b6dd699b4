package daemon

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"waybill/actions"
	"waybill/fsview/acl"
)

// subtoken issues a token for a limited time and purpose to the holder of the
// main token. It is handed out only once its record is durable.
func (s *server) subtoken(w http.ResponseWriter, r *http.Request) {
	ip := hostOf(r.RemoteAddr)
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(subtokenBodyTime))
	form, err := subtokenForm(w, r)
	if err != nil {
		s.engine.CountRefused("subtoken", ip)
		text(w, http.StatusBadRequest, err.Error())
		return
	}
	if !s.tokens.isMain(form.Token) {
		s.engine.CountRefused("subtoken", ip)
		text(w, http.StatusUnauthorized, "the main token is wrong")
		return
	}
	who, err := s.tokens.check(form.Token)
	who.Via = "http " + r.RemoteAddr
	want, bad := form.parse()
	if bad != nil {
		refusal := actions.Errorf(actions.CodeParam, "%v", bad)
		if err := s.engine.Refuse(r.Context(), who, "", "subtoken", refusal); err != nil {
			text(w, http.StatusServiceUnavailable, "stopping")
			return
		}
		text(w, http.StatusBadRequest, bad.Error())
		return
	}
	var token string
	var issued actions.IssuedToken
	if err == nil {
		token, issued, err = s.tokens.issue(want.subject, want.permissions, want.life)
	}
	if err == nil {
		err = s.engine.TokenIssued(r.Context(), who, issued)
	}
	if actions.CodeOf(err) == actions.CodeParam {
		text(w, http.StatusBadRequest, "the permissions are too long")
		return
	}
	if err != nil {
		s.log.Error().Err(err).Msg("a token could not be issued")
		text(w, http.StatusServiceUnavailable, "the token could not be issued")
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = io.WriteString(w, token) // the client has gone if this fails
}

// tokenForm is a request for a token in any of the three body kinds; nil is
// absent.
type tokenForm struct {
	Token       string
	Expires     *string
	Permissions *[]string
	Subject     *string
}

type tokenWish struct {
	subject     string
	permissions []string
	life        time.Duration
}

var errBody = errors.New("the body is not readable")

func subtokenForm(w http.ResponseWriter, r *http.Request) (tokenForm, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxSubtokenBody))
	if err != nil {
		return tokenForm{}, errBody
	}
	kind, params, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case kind == "multipart/form-data":
		r.Body = io.NopCloser(bytes.NewReader(body))
		if params["boundary"] == "" || r.ParseMultipartForm(maxSubtokenBody) != nil {
			return tokenForm{}, errBody
		}
		return formValues(r.PostForm)
	case kind == "application/json", bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")):
		return jsonValues(body)
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return tokenForm{}, errBody
	}
	return formValues(values)
}

func formValues(v url.Values) (f tokenForm, err error) {
	f.Token = v.Get("token")
	if s := v.Get("expires"); s != "" {
		f.Expires = &s
	}
	if s := v.Get("subject"); s != "" {
		f.Subject = &s
	}
	if v.Has("permissions") {
		// A list may come as one field of JSON, or as several fields.
		f.Permissions = &[]string{}
		for _, s := range v["permissions"] {
			var list []string
			if !strings.HasPrefix(strings.TrimSpace(s), "[") {
				list = acl.SplitPermissions(s)
			} else if json.Unmarshal([]byte(s), &list) != nil {
				return tokenForm{}, errors.New("permissions is not a list of strings")
			}
			*f.Permissions = append(*f.Permissions, list...)
		}
	}
	return f, nil
}

func jsonValues(body []byte) (tokenForm, error) {
	var v struct {
		Token       *string          `json:"token"`
		Expires     *json.RawMessage `json:"expires"`
		Permissions *permissionClaim `json:"permissions"`
		Subject     *string          `json:"subject"`
	}
	if json.Unmarshal(body, &v) != nil {
		return tokenForm{}, errBody
	}
	f := tokenForm{Subject: v.Subject, Permissions: (*[]string)(v.Permissions)}
	if v.Token != nil {
		f.Token = *v.Token
	}
	if v.Expires != nil {
		s := strings.Trim(string(*v.Expires), `"`)
		f.Expires = &s
	}
	return f, nil
}

// parse fills in the defaults and checks the limits.
func (f *tokenForm) parse() (tokenWish, error) {
	want := tokenWish{subject: mainSubject, permissions: []string{"*"}, life: defaultTokenLife * time.Second}
	if f.Expires != nil {
		n, err := strconv.ParseInt(*f.Expires, 10, 64)
		if err != nil || n < 1 || n > maxTokenLife {
			return want, errors.New("expires is not a number of seconds from 1 to " + strconv.Itoa(maxTokenLife))
		}
		want.life = time.Duration(n) * time.Second
	}
	if f.Subject != nil {
		if !validSubject(*f.Subject) {
			return want, errors.New("subject is not 1 to 64 of [A-Za-z0-9._-]")
		}
		want.subject = *f.Subject
	}
	if f.Permissions != nil {
		if _, err := acl.ParsePermissions(*f.Permissions); err != nil {
			return want, err
		}
		want.permissions = *f.Permissions
	}
	return want, nil
}
