// Command waybill runs the daemon and talks to one: see `waybill --help`.
//
// It parses the command line, wires the packages together and holds the
// client. It decides nothing about files, sessions or the journal.
//
// Results go to stdout, talk to stderr; the exit codes are in exit.go.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"reflect"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"
	kongcompletion "github.com/jotaen/kong-completion"
	"golang.org/x/sys/unix"
)

func main() {
	defer func() {
		if p := recover(); p != nil {
			fmt.Fprintf(os.Stderr, "waybill: bug: %v\n%s", p, debug.Stack())
			os.Exit(exitBug)
		}
	}()
	ctx, stop := signalled()
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.LookupEnv)
	stop()
	os.Exit(code)
}

// app is what a command may use of the process it runs in.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) (string, bool)
}

// say tells something out of the ordinary.
func (a *app) say(format string, args ...any) {
	fmt.Fprintf(a.stderr, "waybill: %s\n", oneLine(fmt.Sprintf(format, args...)))
}

// printJSON writes v as one line.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.stdout)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fail(exitIO, "write: %w", err)
	}
	return nil
}

// run does what args ask for and returns the exit code. It ends early when
// ctx is cancelled; the cause tells the signal.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, getenv func(string) (string, bool)) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, getenv: getenv}
	// kong ends the process after --help and the like; here it only says so,
	// and what it parses after that does not count.
	exited, code := false, exitOK
	parser := newParser(ctx, a, new(cli), func(c int) {
		if !exited {
			exited, code = true, c
		}
	})
	if line, ok := getenv("COMP_LINE"); ok && line != "" {
		kongcompletion.Register(parser)
		if exited {
			return code
		}
	}
	kctx, err := parser.Parse(args)
	if exited {
		return code
	}
	if err == nil {
		err = kctx.Run()
	}
	if exited {
		return code
	}
	if err == nil {
		return exitOK
	}
	if err.Error() != "" {
		a.say("%v", err)
	}
	return exitCode(err)
}

// newParser makes the parser that fills grammar.
func newParser(ctx context.Context, a *app, grammar *cli, exit func(int)) *kong.Kong {
	parser, err := kong.New(grammar,
		kong.Name("waybill"),
		kong.Description("Serves one directory tree and one library of documents, and records every action in an append-only journal. "+
			"Every flag can also be set in the environment: --token-file is WAYBILL_TOKEN_FILE."),
		kong.Writers(a.stdout, a.stderr),
		kong.Exit(exit),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.ExplicitGroups([]kong.Group{
			{Key: "load", Title: "Limits on what all callers, and each, may have at one time (0 is none):"},
			{Key: "library", Title: "Flags of the document library:"},
		}),
		kong.KindMapper(reflect.String, kong.MapperFunc(verbatim)),
		kong.Bind(a),
		kong.BindTo(ctx, (*context.Context)(nil)),
	)
	if err != nil {
		panic(err) // the grammar is ours: only a bad tag gets here
	}
	return parser
}

// verbatim takes an argument as it is. kong would pass it through JSON, and a
// file name that is not UTF-8 would become another one's.
func verbatim(kctx *kong.DecodeContext, target reflect.Value) error {
	token, err := kctx.Scan.PopValue("string")
	if err != nil {
		return err
	}
	target.SetString(token.String())
	return nil
}

// signalError is why a context ended: the signal the process was sent.
type signalError struct{ sig syscall.Signal }

func (e *signalError) Error() string { return "interrupted by " + unix.SignalName(e.sig) }

// signalled returns a context that the first SIGINT or SIGTERM ends, with a
// *signalError as its cause; the second one ends the process on the spot.
func signalled() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	ch := make(chan os.Signal, 2)
	signal.Notify(ch, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		for n := 0; ; n++ {
			sig, ok := (<-ch).(syscall.Signal)
			if !ok {
				return // stopped
			}
			if n > 0 {
				os.Exit(128 + int(sig))
			}
			cancel(&signalError{sig})
		}
	}()
	return ctx, func() {
		signal.Stop(ch)
		close(ch)
		cancel(nil)
	}
}
