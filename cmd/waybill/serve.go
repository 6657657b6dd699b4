package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"waybill/actions"
	"waybill/daemon"
)

type serveCmd struct {
	Root   string `default:"waybill-data/files" placeholder:"DIR" help:"The directory tree to serve (${default})."`
	State  string `default:"waybill-data/state" placeholder:"DIR" help:"Where journal and secrets are kept (${default})."`
	Listen string `default:"127.0.0.1:11451" placeholder:"ADDR" help:"Address of the HTTP and WebSocket listener (${default})."`
	Config string `placeholder:"FILE" help:"TOML file; its keys are the names of these flags."`

	Reserve             reserveSize   `default:"auto" placeholder:"SIZE" help:"Bytes kept free on the file systems of root and state; auto is the larger of 512 MiB and 1 %."`
	MaxMessage          byteSize      `default:"16MiB" min:"64KiB" max:"1GiB" placeholder:"SIZE" help:"Longest WebSocket message (${default})."`
	MaxPending          int           `default:"256" min:"1" max:"65536" placeholder:"N" help:"Requests of a connection that may wait for their answers (${default})."`
	MaxFileSize         byteSize      `default:"2147483647" min:"1" max:"2147483647" placeholder:"SIZE" help:"Largest upload; the default is the most there can be."`
	MaxDownloadsPerFile int           `default:"3" min:"1" max:"65536" placeholder:"N" help:"Live downloads of one file by one subject (${default})."`
	MaxVoidClaims       int           `default:"20" min:"0" max:"1000000" placeholder:"N" help:"How often a job may be cut off by a crash before it is given up; 0 is never (${default})."`
	TusTimeout          time.Duration `default:"24h" min:"1s" max:"24h" placeholder:"TIME" help:"The longest pause between two requests of a tus upload (${default})."`
	DirectoryListing    string        `default:"joined" enum:"joined,split" placeholder:"FORM" help:"joined, or split: directories in a list of their own, as older desktop clients want (${default})."`

	CheckpointTo string        `placeholder:"DIR" help:"Directory for a copy of every signed checkpoint: a mounted or synced one, out of reach of this machine's owner."`
	KeyOverlap   time.Duration `default:"168h" min:"0s" placeholder:"TIME" help:"How long both keys sign checkpoints after journal key --rotate; 0 is not at all (${default})."`

	Archive string    `placeholder:"DIR" help:"Directory that old records go to when the journal is pruned; without one it cannot be."`
	Retain  retention `default:"0" placeholder:"TIME" help:"Prune by itself what is older, such as 90d; 0 is never (${default})."`

	LogLevel string `default:"info" enum:"trace,debug,info,warn,error" placeholder:"LEVEL" help:"trace, debug, info, warn or error (${default})."`

	loadFlags
	libraryFlags
}

// Run serves until ctx ends.
func (c *serveCmd) Run(ctx context.Context, a *app) error {
	logger := newLogger(a.stderr, c.LogLevel)
	var others []listener
	cfg := daemon.Config{
		Root: c.Root, State: c.State, Listen: c.Listen,
		Version: version(),
		Limits: actions.Limits{
			MaxFileSize:          int64(c.MaxFileSize),
			MaxDownloadsPerFile:  c.MaxDownloadsPerFile,
			MaxStaged:            int64(c.MaxStaged),
			MaxStagedPerSubject:  int64(c.MaxStagedPerSubject),
			MaxUploads:           orNone(c.MaxUploads),
			MaxUploadsPerSubject: c.MaxUploadsPerSubject,
			MaxVoidClaims:        orNone(c.MaxVoidClaims),
		},
		Reserve:      c.Reserve.config(),
		MaxMessage:   int64(c.MaxMessage),
		MaxPending:   c.MaxPending,
		Load:         c.loadFlags.load(),
		TusTimeout:   c.TusTimeout,
		SplitListing: c.DirectoryListing == "split",
		CheckpointTo: c.CheckpointTo,
		Archive:      c.Archive,
		Retain:       time.Duration(c.Retain),
		KeyOverlap:   orNone(c.KeyOverlap),
		Logger:       logger,
		Listening:    func(what, addr string) { others = append(others, listener{what, addr}) },
		Ready: func(addr string) {
			if isTerminal(a.stderr) {
				c.greet(a.stderr, addr, others)
			}
		},
	}
	if err := c.libraryFlags.config(&cfg); err != nil {
		return err
	}
	unsound(&cfg)
	err := daemon.Run(ctx, cfg)
	if err != nil && !isTerminal(a.stderr) {
		// Where only JSON is read, the reason must not be the one line that
		// is none.
		logger.Error().Err(err).Msg("the daemon has ended")
		return &exitError{daemon.ExitCode(err), errTold}
	}
	if err != nil {
		return &exitError{daemon.ExitCode(err), err}
	}
	return nil
}

// errTold stands for an error that was told already; it has no text.
var errTold = errors.New("")

// orNone turns a flag's 0, which means none, into the negative value that
// means it where 0 is the default.
func orNone[T ~int | ~int64](n T) T {
	if n == 0 {
		return -1
	}
	return n
}

// listener is one beside HTTP: "cfms" or "ftp", and where it listens.
type listener struct{ what, addr string }

// greet tells a person at a terminal what they need to go on.
func (c *serveCmd) greet(w io.Writer, addr string, others []listener) {
	line := func(what, where string) { fmt.Fprintf(w, "  %-12s  %s\n", what, where) }
	fmt.Fprintln(w)
	line("serving", c.Root)
	line("at", "ws://"+addr+"/api/v1")
	line("token in", filepath.Join(c.State, "main-token"))
	line("documents at", "ws://"+addr+"/cfms/v1")
	for _, o := range others {
		switch o.what {
		case "cfms":
			line("cfms at", o.addr)
		case "ftp":
			line("ftps at", o.addr)
		}
	}
	// The file goes when the password is changed.
	first := filepath.Join(c.State, "admin-password")
	if _, err := os.Stat(first); err == nil {
		line("password in", first+" (of admin)")
	}
	fmt.Fprintln(w)
}

// newLogger logs for people on a terminal, as JSON lines elsewhere.
func newLogger(w io.Writer, level string) zerolog.Logger {
	l, err := zerolog.ParseLevel(level)
	if err != nil {
		l = zerolog.InfoLevel // the enum of the flag lets nothing else through
	}
	if isTerminal(w) {
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: time.TimeOnly}
	}
	return zerolog.New(w).Level(l).With().Timestamp().Logger()
}
