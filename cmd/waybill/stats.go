package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"
)

type statsCmd struct {
	withExport
	JSON     bool          `help:"Result as one JSON object."`
	RetryFor time.Duration `default:"1m" min:"0s" placeholder:"TIME" help:"With --url: how long to go on trying over a lost connection (${default})."`
}

// Run counts what there is.
func (c *statsCmd) Run(ctx context.Context, a *app) error {
	t := newCounting()
	if err := c.each(ctx, a, c.RetryFor, 0, t.take); err != nil {
		return interrupted(ctx, err)
	}
	c.tellPruned(a)
	s := t.stats()
	if c.State != "" {
		disk, err := c.disk()
		if err != nil {
			return err
		}
		s.Disk = disk
	}
	if c.JSON {
		return a.printJSON(s)
	}
	return s.write(a.stdout)
}

// diskStats is what a STATE takes.
type diskStats struct {
	// Bytes that the segments take, unused pages included.
	Bytes    int64          `json:"bytes"`
	First    uint64         `json:"first"`
	Segments []segmentStats `json:"segments"`
	Base     []fileStats    `json:"base"`
	Snapshot []fileStats    `json:"snapshots"`
}

type segmentStats struct {
	First   uint64    `json:"first"`
	Records uint64    `json:"records"`
	Bytes   int64     `json:"bytes"`
	Last    time.Time `json:"last,omitzero"`
	Sealed  bool      `json:"sealed"`
}

type fileStats struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

// disk looks at the STATE, which its readers have left since: it may only have
// grown.
func (c *statsCmd) disk() (*diskStats, error) {
	log, done, err := c.openLog()
	if err != nil {
		return nil, err
	}
	defer done()
	segments, err := log.Segments()
	if err != nil {
		return nil, err
	}
	d := &diskStats{Bytes: log.DiskBytes(), First: log.First()}
	for _, s := range segments {
		d.Segments = append(d.Segments, segmentStats{s.First, s.Size, s.Bytes, s.Last, s.Sealed})
	}
	if d.Base, err = filesLike(filepath.Join(c.State, "base-*.json")); err != nil {
		return nil, err
	}
	d.Snapshot, err = filesLike(filepath.Join(c.State, "snapshot-*.json"))
	return d, err
}

func filesLike(pattern string) ([]fileStats, error) {
	found := []fileStats{}
	names, err := filepath.Glob(pattern)
	if err != nil {
		return nil, fail(exitUsage, "%w", err)
	}
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			return nil, localError("state", err)
		}
		found = append(found, fileStats{filepath.Base(name), info.Size()})
	}
	return found, nil
}

// write prints the tables.
func (s *stats) write(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(cells ...any) {
		for i, c := range cells {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			if text, ok := c.(string); ok {
				c = oneLine(text)
			}
			fmt.Fprint(w, c)
		}
		fmt.Fprintln(w)
	}
	row("records", s.Records)
	if s.Records > 0 {
		row("from", s.From.Format(storyTime), fmt.Sprintf("record %d", s.First))
		row("to", s.To.Format(storyTime), fmt.Sprintf("record %d", s.First+s.Records-1))
	}
	row("bytes of lines", s.Bytes)
	row("starts", s.Starts, fmt.Sprintf("%d after an end that was not clean", s.Unclean))
	row("void groups", s.Void)
	if d := s.Disk; d != nil {
		row("bytes on disk", d.Bytes)
		row("first record held", d.First)
	}
	row()
	row("transfers", "number", "bytes")
	for _, step := range uploadSteps {
		row("  uploads "+step, s.Uploads[step].Number, s.Uploads[step].Bytes)
	}
	for _, step := range downloadSteps {
		row("  downloads "+step, s.Downloads[step].Number, s.Downloads[step].Bytes)
	}
	if len(s.Refusals) > 0 {
		row()
		row("refused requests", "number")
		for _, code := range byCount(s.Refusals, func(n int64) int64 { return n }) {
			row("  "+code, s.Refusals[code])
		}
	}
	if len(s.Strangers) > 0 {
		row()
		row("refused before a login", "number")
		for _, why := range byCount(s.Strangers, func(n int64) int64 { return n }) {
			row("  "+why, s.Strangers[why])
		}
	}
	row()
	row("kinds", "records", "bytes")
	for _, kind := range byCount(s.Kinds, func(c counts) int64 { return c.Records }) {
		row("  "+kind, s.Kinds[kind].Records, s.Kinds[kind].Bytes)
	}
	row()
	row("actors", "records", "bytes")
	for _, x := range s.Actors {
		row("  "+x.Actor, x.Records, x.Bytes)
	}
	if s.MoreActors > 0 {
		row(fmt.Sprintf("  and %d more", s.MoreActors))
	}
	row()
	row(s.Per+"s", "records", "bytes")
	for _, p := range s.Periods {
		row("  "+p.Start.Format(periodFormat[s.Per]), p.Records, p.Bytes)
	}
	if d := s.Disk; d != nil {
		row()
		row("segments", "records", "bytes on disk", "last record")
		for _, g := range d.Segments {
			row(fmt.Sprintf("  from %d", g.First), g.Records, g.Bytes, g.Last.UTC().Format(storyTime))
		}
		if files := slices.Concat(d.Base, d.Snapshot); len(files) > 0 {
			row()
			row("base and snapshots", "bytes")
			for _, f := range files {
				row("  "+f.Name, f.Bytes)
			}
		}
	}
	if err := w.Flush(); err != nil {
		return fail(exitIO, "write: %w", err)
	}
	return nil
}

// byCount lists the keys with the largest first.
func byCount[V any](m map[string]V, n func(V) int64) []string {
	return slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		return cmp.Or(cmp.Compare(n(m[b]), n(m[a])), cmp.Compare(a, b))
	})
}
