package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"time"
)

// benchFlags are what every bench takes.
type benchFlags struct {
	Dir  string        `default:"." placeholder:"DIR" help:"Where the work goes, into a folder that is removed afterwards; on the disk to be measured (${default})."`
	Time time.Duration `default:"2s" min:"1ms" placeholder:"TIME" help:"How long to measure each row at least (${default})."`
	Only string        `placeholder:"PATTERN" help:"Only rows whose name this regular expression matches."`
	JSON bool          `help:"Result as one JSON object."`
}

// bench is one run: rows that are measured one after the other.
type bench struct {
	app  *app
	time time.Duration
	// dir is a folder of this run alone.
	dir  string
	only *regexp.Regexp
	out  benchOutput
}

// benchRow is one figure beside its calibration. Value is in Unit.
type benchRow struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// Calibration is what the machine could do at best, measured right before
	// and after the row; Ratio is the row in terms of it.
	Calibration *benchCal `json:"calibration,omitempty"`
	Ratio       float64   `json:"ratio,omitempty"`
	// Wanted says what the design asks of the row, if anything.
	Wanted  string `json:"wanted,omitempty"`
	Reached *bool  `json:"reached,omitempty"`
	// Details are further figures; the name of each ends with its unit.
	Details benchDetails `json:"details,omitempty"`
}

type benchCal struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

// want notes what is asked of the row and whether it is so.
func (r *benchRow) want(text string, reached bool) {
	if r.Wanted != "" {
		text = r.Wanted + ", " + text
		reached = reached && *r.Reached
	}
	r.Wanted, r.Reached = text, &reached
}

// run makes the folder, lets measure add rows, and prints them. The folder is
// removed however it ends.
func (c *benchFlags) run(ctx context.Context, a *app, name string, measure func(context.Context, *bench) error) (err error) {
	only, err := regexp.Compile(c.Only)
	if err != nil {
		return fail(exitUsage, "--only: %w", err)
	}
	dir, err := os.MkdirTemp(c.Dir, ".waybill-bench-*")
	if errors.Is(err, fs.ErrNotExist) {
		return fail(exitNoInput, "--dir: %w", err)
	} else if err != nil {
		return fail(exitCantCreate, "--dir: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	place, err := placeOf(dir)
	if err != nil {
		return fail(exitIO, "--dir: %w", err)
	}
	b := &bench{app: a, time: c.Time, dir: dir, only: only, out: newBenchOutput(a, c.JSON, name, place)}
	if place.Memory {
		a.say("%s is in memory: a sync costs nothing there, and the figures say nothing about a disk", c.Dir)
	}
	if err := b.out.begin(); err != nil {
		return err
	}
	if err := measure(ctx, b); err != nil {
		return interrupted(ctx, err)
	}
	return b.out.end()
}

// wants reports whether any of the rows with these names is asked for.
func (b *bench) wants(names ...string) bool {
	for _, name := range names {
		if b.only.MatchString(name) {
			return true
		}
	}
	return false
}

// row measures a row, if it is asked for, in a folder of its own that is
// removed afterwards.
func (b *bench) row(ctx context.Context, name string, measure func(dir string, row *benchRow) error) (err error) {
	if !b.wants(name) {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(b.dir, strings.ReplaceAll(name, "/", "-")+"-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b.out.working(name)
	row := benchRow{Name: name}
	if err := measure(dir, &row); err != nil {
		return err
	}
	return b.out.row(&row)
}
