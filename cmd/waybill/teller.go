package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"waybill/actions"
	"waybill/journal"
)

// teller makes a story of records, given in order.
type teller struct {
	subject string
	rows    []storyRow
	told    int // records, starts of the daemon aside
	// idLength is how much of an id is printed.
	idLength int

	transfers *ordered[transferTold]
	jobs      *ordered[jobTold]
	documents *ordered[documentTold]
}

// storyRow is a line of a story: one record, or several of one kind.
type storyRow struct {
	at, until time.Time
	who, via  string
	kind, of  string // of is the id of the transfer or job, "" for none
	text      string
	// first and last are the records of it; what they tell of bytes is added up.
	first, last   uint64
	bytes         int64
	ranges, calls int
	records       int
}

// transferTold is what is known of an upload or download.
type transferTold struct {
	id, path string
	upload   bool
	task     bool
	size     int64 // -1: not known
	who, via string
	opened   time.Time
	ended    time.Time
	how      string // how it ended, "" while it is open
	bytes    int64  // stored or read, in all
}

type jobTold struct {
	id, action string
	who, via   string
	begun      time.Time
	ended      time.Time
	how        string
}

// documentTold is what is known of a node of the library.
type documentTold struct {
	number    uint64
	id, name  string
	directory bool
	revisions int
	how       string // "" while it is there
}

// ordered keeps what is added in that order.
type ordered[T any] struct {
	byKey map[string]*T
	list  []*T
}

func newOrdered[T any]() *ordered[T] { return &ordered[T]{byKey: make(map[string]*T)} }

func (o *ordered[T]) get(key string) *T {
	v := o.byKey[key]
	if v == nil {
		v = new(T)
		o.byKey[key], o.list = v, append(o.list, v)
	}
	return v
}

func newTeller(subject string) *teller {
	return &teller{
		subject: subject, transfers: newOrdered[transferTold](), jobs: newOrdered[jobTold](), documents: newOrdered[documentTold](),
	}
}

// take tells one record.
func (t *teller) take(e *journal.Entry) error {
	var b toldBody
	if err := json.Unmarshal(e.Body, &b); err != nil {
		return fail(exitData, "record %d: %s: body: %w", e.Seq, e.Kind, err)
	}
	if e.Kind == actions.KindStarted {
		t.start(e, &b)
		return nil
	}
	t.told++
	words, ok := storyWords[e.Kind]
	if !ok {
		return fail(exitData, "record %d: there are no words for %s: written by a newer version?", e.Seq, e.Kind)
	}
	row := storyRow{
		at: e.At, until: e.At, who: string(e.Actor), via: string(e.Via), kind: e.Kind, of: b.of(),
		first: e.Seq, last: e.Seq, records: 1, calls: b.Calls,
	}
	for _, r := range b.Ranges {
		row.bytes += r[1] - r[0]
		row.ranges++
	}
	t.learn(e, &b, row.bytes)
	if n := len(t.rows); n > 0 && t.rows[n-1].joins(&row) {
		t.rows[n-1].join(&row)
		return nil
	}
	row.text = words(e, &b)
	t.rows = append(t.rows, row)
	return nil
}

// joins tells whether a record goes on with what the row tells.
func (r *storyRow) joins(next *storyRow) bool {
	return (r.kind == "upload.stored" || r.kind == "download.read") &&
		r.kind == next.kind && r.of == next.of && r.who == next.who && r.via == next.via
}

func (r *storyRow) join(next *storyRow) {
	r.until, r.last = next.at, next.last
	r.bytes += next.bytes
	r.ranges += next.ranges
	r.calls += next.calls
	r.records++
}

// start tells of a start of the daemon if it cut something short.
func (t *teller) start(e *journal.Entry, b *toldBody) {
	var open []string
	for _, x := range t.transfers.list {
		if x.how == "" {
			open = append(open, x.id)
		}
	}
	for _, j := range t.jobs.list {
		if j.how == "" {
			open = append(open, j.id)
		}
	}
	void := false
	if len(b.Void) == 2 {
		for i := range t.rows {
			void = void || t.rows[i].last >= b.Void[0] && t.rows[i].first <= b.Void[1]
		}
	}
	if len(open) == 0 && !void {
		return
	}
	row := storyRow{at: e.At, until: e.At, who: string(e.Actor), via: string(e.Via), kind: e.Kind, first: e.Seq, last: e.Seq, records: 1}
	row.text = "interrupted by a restart of the daemon"
	if len(open) == 1 {
		row.of = open[0]
	}
	if void {
		row.text += fmt.Sprintf("; records %d to %d were cut off by a crash and do not count", b.Void[0], b.Void[1])
	}
	t.rows = append(t.rows, row)
}

// write prints the story.
func (t *teller) write(w io.Writer) error {
	fmt.Fprintln(w, oneLine(t.header()))
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	tagged := len(t.transfers.list)+len(t.jobs.list) > 1
	t.shorten()
	for i := range t.rows {
		r := &t.rows[i]
		text := r.text
		if tagged && r.of != "" {
			text = "[" + t.short(r.of) + "] " + text
		}
		// A tab or a line break in a name would break the table.
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", r.at.UTC().Format(storyTime), oneLine(r.who), oneLine(r.via), oneLine(text+r.sums()))
	}
	if err := table.Flush(); err != nil {
		return fail(exitIO, "write: %w", err)
	}
	for _, line := range t.endings() {
		if _, err := fmt.Fprintln(w, oneLine(line)); err != nil {
			return fail(exitIO, "write: %w", err)
		}
	}
	return nil
}

// storyTime is UTC, to the millisecond.
const storyTime = "2006-01-02 15:04:05.000Z"

// shorten finds how much of an id tells those of the story from one another: up
// to one of its hyphens.
func (t *teller) shorten() {
	ids := make(map[string]struct{})
	for _, x := range t.transfers.list {
		ids[x.id] = struct{}{}
	}
	for _, j := range t.jobs.list {
		ids[j.id] = struct{}{}
	}
	for _, t.idLength = range []int{8, 13, 18, 23, 36} {
		seen := make(map[string]struct{}, len(ids))
		for id := range ids {
			seen[t.short(id)] = struct{}{}
		}
		if len(seen) == len(ids) {
			return
		}
	}
}

func (t *teller) short(id string) string { return id[:min(len(id), t.idLength)] }

// sums is what the records of a row add up to.
func (r *storyRow) sums() string {
	if r.ranges == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, " %s in %s", plural(r.bytes, "byte"), plural(int64(r.ranges), "range"))
	if r.calls > 0 {
		fmt.Fprintf(&b, ", %s", plural(int64(r.calls), "request"))
	}
	if r.records > 1 {
		fmt.Fprintf(&b, " (%d records, until %s)", r.records, r.until.UTC().Format(storyTime[len("2006-01-02 "):]))
	}
	return b.String()
}

func plural[N int | int64 | uint64](n N, what string) string {
	if n == 1 {
		return fmt.Sprintf("1 %s", what)
	}
	return fmt.Sprintf("%d %ss", n, what)
}
