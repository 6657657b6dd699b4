package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

type doctorCmd struct {
	Root    string      `default:"waybill-data/files" placeholder:"DIR" help:"The served tree (${default})."`
	State   string      `default:"waybill-data/state" placeholder:"DIR" help:"Journal and secrets (${default})."`
	Reserve reserveSize `default:"auto" placeholder:"SIZE" help:"As for serve."`
	JSON    bool        `help:"Result as one JSON object."`
}

// finding is the outcome of one check: ok, warn or fail, and what was seen.
type finding struct {
	Check  string `json:"check"`
	Status string `json:"status"`
	Detail string `json:"detail"`
}

// exam collects the findings of a doctor.
type exam struct {
	root, state string
	reserve     reserveSize
	now         time.Time
	// holder is who holds STATE, "" if nobody does.
	holder string

	findings []finding
}

func (x *exam) ok(check, format string, args ...any)   { x.add(check, "ok", format, args...) }
func (x *exam) warn(check, format string, args ...any) { x.add(check, "warn", format, args...) }
func (x *exam) fail(check, format string, args ...any) { x.add(check, "fail", format, args...) }

func (x *exam) add(check, status, format string, args ...any) {
	x.findings = append(x.findings, finding{check, status, oneLine(fmt.Sprintf(format, args...))})
}

// failed reports whether any check failed.
func (x *exam) failed() bool {
	for _, f := range x.findings {
		if f.Status == "fail" {
			return true
		}
	}
	return false
}

// Run checks what the daemon needs, with or without one running. It leaves
// nothing behind and changes nothing.
func (c *doctorCmd) Run(ctx context.Context, a *app) error {
	x := &exam{root: c.Root, state: c.State, reserve: c.Reserve, now: time.Now()}
	for _, check := range []func(){
		x.lock, x.secrets,
		func() { x.folder("root", x.root) },
		func() { x.folder("state", x.state) },
		x.objects, x.journal, x.store, x.clock, x.files,
	} {
		if ctx.Err() != nil {
			return interrupted(ctx, ctx.Err())
		}
		check()
	}
	if c.JSON {
		err := a.printJSON(struct {
			OK     bool      `json:"ok"`
			Checks []finding `json:"checks"`
		}{!x.failed(), x.findings})
		if err != nil {
			return err
		}
	} else {
		for _, f := range x.findings {
			fmt.Fprintf(a.stdout, "%-4s  %-14s  %s\n", f.Status, f.Check, f.Detail)
		}
	}
	if x.failed() {
		return fail(exitFail, "%s", strings.Join(x.names("fail"), ", ")+": not in order")
	}
	return nil
}

// names lists the checks with the status.
func (x *exam) names(status string) (names []string) {
	for _, f := range x.findings {
		if f.Status == status {
			names = append(names, f.Check)
		}
	}
	return names
}
