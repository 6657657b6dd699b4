package daemon

import (
	"context"
	"log/slog"
	"strings"

	"github.com/rs/zerolog"
)

// ftpLog takes what the FTP library logs, all of it at debug level: what an
// operator must act on is logged by the engine. Command lines are left out.
// Logins never get to the library (see ftpSession.pass), so neither do tokens.
type ftpLog struct {
	log   zerolog.Logger
	attrs []slog.Attr
}

// Enabled implements slog.Handler.
func (l *ftpLog) Enabled(context.Context, slog.Level) bool {
	return l.log.GetLevel() <= zerolog.DebugLevel
}

// Handle implements slog.Handler.
func (l *ftpLog) Handle(_ context.Context, r slog.Record) error {
	e := l.log.Debug().Str("listener", "ftp")
	for _, a := range l.attrs {
		e = addAttr(e, a)
	}
	r.Attrs(func(a slog.Attr) bool {
		e = addAttr(e, a)
		return true
	})
	e.Msg(r.Message)
	return nil
}

func addAttr(e *zerolog.Event, a slog.Attr) *zerolog.Event {
	switch a.Key {
	case "line", "param": // what a client sent, or was answered
		return e
	}
	return e.Str(a.Key, strings.ReplaceAll(a.Value.String(), replyMark, ""))
}

// WithAttrs implements slog.Handler.
func (l *ftpLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &ftpLog{l.log, append(l.attrs[:len(l.attrs):len(l.attrs)], attrs...)}
}

// WithGroup implements slog.Handler: the library makes no groups.
func (l *ftpLog) WithGroup(string) slog.Handler { return l }
