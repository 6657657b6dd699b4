package daemon

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"waybill/actions"
)

// front is what the listener serves from its first moment: alive, and not
// more until there is a server behind it.
type front struct {
	server atomic.Pointer[server]
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("X-Content-Type-Options", "nosniff")
	if r.ContentLength != 0 {
		// net/http reads on what a handler left unread before the answer leaves, and
		// would wait for it for ever. Whoever wants the body sets a time of its own.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(refusedDrain)) // closed if this fails
	}
	if r.URL.Path == "/healthz" && r.Method != http.MethodOptions {
		text(w, http.StatusOK, "ok")
		return
	}
	s := f.server.Load()
	if s == nil {
		h.Set("Retry-After", "1")
		text(w, notNow(r), "starting")
		return
	}
	if r.Method == http.MethodOptions {
		h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, OPTIONS")
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
		switch {
		case strings.HasPrefix(r.URL.Path, taskPath):
			allowTasks(h)
		case strings.HasPrefix(r.URL.Path, uploadPath), strings.HasPrefix(r.URL.Path, downloadPath):
			allowData(h)
		case isTus(r.URL.Path):
			s.tusOptions(h)
		}
		h.Set("Access-Control-Max-Age", "86400")
		w.WriteHeader(http.StatusNoContent)
		return
	}
	switch {
	case strings.HasPrefix(r.URL.Path, taskPath):
		s.task(w, r)
		return
	case strings.HasPrefix(r.URL.Path, uploadPath):
		s.upload(w, r)
		return
	case strings.HasPrefix(r.URL.Path, downloadPath):
		s.download(w, r)
		return
	case isTus(r.URL.Path):
		s.tus(w, r)
		return
	}
	if strings.HasPrefix(r.URL.Path, evidencePath) && r.URL.Path != prunePath {
		only(w, r, s.evidence, http.MethodGet, http.MethodHead)
		return
	}
	switch r.URL.Path {
	case "/cfms/v1":
		only(w, r, s.upgradeDoc, http.MethodGet)
	case "/info":
		only(w, r, s.info, http.MethodGet, http.MethodHead)
	case "/subtoken":
		only(w, r, s.subtoken, http.MethodPost)
	case "/api/v1":
		only(w, r, s.upgrade, http.MethodGet)
	case "/readyz":
		only(w, r, s.ready, http.MethodGet, http.MethodHead)
	case "/metrics":
		only(w, r, s.metrics.handler.ServeHTTP, http.MethodGet, http.MethodHead)
	case "/journal":
		only(w, r, s.journal, http.MethodGet, http.MethodHead)
	case prunePath:
		only(w, r, s.prune, http.MethodPost)
	default:
		text(w, http.StatusNotFound, "not found")
	}
}

// only calls the handler if the method is one of those it is for.
func only(w http.ResponseWriter, r *http.Request, handle http.HandlerFunc, methods ...string) {
	for _, m := range methods {
		if r.Method == m {
			handle(w, r)
			return
		}
	}
	w.Header().Set("Allow", strings.Join(methods, ", ")+", OPTIONS")
	text(w, http.StatusMethodNotAllowed, "method not allowed")
}

// text answers with one line. Whoever may come again is told when.
func text(w http.ResponseWriter, status int, line string) {
	if h := w.Header(); (status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests) && h.Get("Retry-After") == "" {
		h.Set("Retry-After", "1")
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(line + "\n")) // the client has gone if this fails
}

// info is fetched by clients before every connect. They exist in two
// spellings.
func (s *server) info(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(struct { // the client has gone if this fails
		Name    string `json:"name"`
		Version string `json:"version"`
		API     string `json:"api_version"`
		APICase string `json:"apiVersion"`
	}{"waybill", s.cfg.Version, "v1", "v1"})
}

func (s *server) ready(w http.ResponseWriter, _ *http.Request) {
	if s.life.Err() != nil || s.engine.Journal().Err() != nil {
		text(w, http.StatusServiceUnavailable, "stopping")
		return
	}
	text(w, http.StatusOK, "ready")
}

// upgrade makes a WebSocket connection of a request. The handler returns when
// the handshake is done, so that all that HTTP needed for it goes.
func (s *server) upgrade(w http.ResponseWriter, r *http.Request) {
	ip := hostOf(r.RemoteAddr)
	token := r.URL.Query().Get("token")
	if token == "" {
		token = bearer(r)
	}
	var caller actions.Caller
	if token != "" {
		var err error
		if caller, err = s.tokens.check(token); err != nil {
			s.engine.CountRefused("token", ip)
			text(w, http.StatusUnauthorized, errToken.Error())
			return
		}
	}
	stranger := token == ""
	as := subjectOf(caller)
	if full := s.connections.take(as); full != nil {
		s.refuseConnection(w, r, caller, full)
		return
	}
	if !s.reserve(&s.panels, stranger) {
		s.connections.give(as)
		s.engine.CountRefused("busy", ip)
		w.Header().Set("Retry-After", comeAgain)
		text(w, http.StatusServiceUnavailable, "too many connections that are not logged in")
		return
	}
	c := newConn(s, peerOf(r), ip)
	c.caller, c.known, c.as, c.via = caller, !stranger, as, "ws "+r.RemoteAddr
	c.caller.Via = c.via
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // panels come from anywhere; a token is what counts
		CompressionMode:    websocket.CompressionDisabled,
		OnPingReceived:     c.onPing,
	})
	if err != nil { // it has answered
		if stranger {
			s.acquainted(&s.panels)
		}
		s.connections.give(as)
		return
	}
	c.ws = ws
	if stranger {
		ws.SetReadLimit(min(maxStrangerMessage, s.cfg.MaxMessage))
		c.loginBy.Store(sinceStart() + int64(s.cfg.LoginWithin))
	} else {
		ws.SetReadLimit(s.cfg.MaxMessage)
	}
	s.start(c, &s.panels)
}

// refuseConnection answers somebody who finds as many connections as there may be:
// whoever is known leaves a record, as of a login that was refused.
func (s *server) refuseConnection(w http.ResponseWriter, r *http.Request, who actions.Caller, full *actions.Error) {
	status := http.StatusServiceUnavailable
	if who.Subject == "" {
		s.engine.CountRefused("busy", hostOf(r.RemoteAddr))
	} else {
		who.Via = "ws " + r.RemoteAddr
		switch err := s.engine.Refuse(s.patience, who, "", "login", full); {
		case errors.Is(err, actions.ErrFailed):
			panic(http.ErrAbortHandler) // nothing may be answered
		case err != nil:
			text(w, status, "stopping")
			return
		}
		if full == s.connections.fullEach {
			status = http.StatusTooManyRequests
		}
	}
	w.Header().Set("Retry-After", comeAgain)
	text(w, status, full.Detail)
}

// bearer is the token of the Authorization header, "" if there is none.
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// hostOf is an address without its port.
func hostOf(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return host
}
