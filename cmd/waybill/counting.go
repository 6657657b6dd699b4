package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"waybill/actions"
	"waybill/journal"
)

// mostActors is how many actors are told of one by one.
const mostActors = 20

// perHourBelow is the time below which records are counted by the hour.
const perHourBelow = 48 * time.Hour

var periodFormat = map[string]string{"hour": "2006-01-02 15:00Z", "day": time.DateOnly}

// stats is what stats prints.
type stats struct {
	Records uint64    `json:"records"`
	First   uint64    `json:"first"`
	From    time.Time `json:"from,omitzero"`
	To      time.Time `json:"to,omitzero"`
	// Bytes of the lines, without their newlines.
	Bytes int64 `json:"bytes"`
	// Starts of the daemon, those of them after an end that was not clean, and
	// the groups that a crash cut off.
	Starts  int64 `json:"starts"`
	Unclean int64 `json:"unclean_ends"`
	Void    int64 `json:"void_groups"`

	// By how far they came.
	Uploads   map[string]transferCounts `json:"uploads"`
	Downloads map[string]transferCounts `json:"downloads"`
	// Refusals count refused requests by code, Strangers what was refused before
	// a login by reason.
	Refusals  map[string]int64  `json:"refusals"`
	Strangers map[string]int64  `json:"refused_traffic"`
	Kinds     map[string]counts `json:"kinds"`
	// Actors with the most records; MoreActors is how many there are beside.
	Actors     []actorCounts  `json:"actors"`
	MoreActors int            `json:"more_actors"`
	Per        string         `json:"per"`
	Periods    []periodCounts `json:"periods"`
	Disk       *diskStats     `json:"disk,omitempty"`
}

type counts struct {
	Records int64 `json:"records"`
	Bytes   int64 `json:"bytes"`
}

type actorCounts struct {
	Actor string `json:"actor"`
	counts
}

type periodCounts struct {
	Start time.Time `json:"start"`
	counts
}

// transferCounts counts a step of transfers. Bytes are those of the files for
// uploads that were placed or published, those that had been stored for uploads
// that ended otherwise, and those handed out for downloads that were read.
type transferCounts struct {
	Number int64 `json:"number"`
	Bytes  int64 `json:"bytes"`
}

// The steps of transfers that are counted.
var (
	uploadSteps   = []string{"opened", "placed", "published", "rejected", "cancelled", "expired"}
	downloadSteps = []string{"opened", "read", "closed", "cancelled", "expired"}
)

// counting counts records.
type counting struct {
	s       stats
	actors  map[string]*counts
	kinds   map[string]*counts
	hours   map[int64]*counts
	live    map[string]*tallied // uploads that have not ended
	running bool
}

// tallied is an upload.
type tallied struct{ size, stored int64 }

func newCounting() *counting {
	t := &counting{
		actors: make(map[string]*counts), kinds: make(map[string]*counts), hours: make(map[int64]*counts),
		live: make(map[string]*tallied),
	}
	t.s.Refusals, t.s.Strangers = make(map[string]int64), make(map[string]int64)
	t.s.Uploads, t.s.Downloads = make(map[string]transferCounts), make(map[string]transferCounts)
	for _, step := range uploadSteps {
		t.s.Uploads[step] = transferCounts{}
	}
	for _, step := range downloadSteps {
		t.s.Downloads[step] = transferCounts{}
	}
	return t
}

// take counts one record.
func (t *counting) take(line []byte, e *journal.Entry) error {
	s := &t.s
	if s.Records == 0 {
		s.First, s.From = e.Seq, e.At
		// Before the first record of a journal nothing ran.
		t.running = e.Seq > 0 && e.Kind != actions.KindStarted
	}
	s.Records++
	s.To = e.At
	s.Bytes += int64(len(line))
	count(t.kinds, e.Kind, len(line))
	count(t.hours, e.At.Unix()/3600, len(line))
	if c := t.actors[string(e.Actor)]; c != nil {
		c.add(len(line))
	} else {
		count(t.actors, string(e.Actor), len(line))
	}
	family, step, _ := strings.Cut(e.Kind, ".")
	var err error
	switch family {
	case "upload":
		err = t.upload(step, e)
	case "download":
		err = t.download(step, e)
	case "daemon", "action", "traffic":
		err = t.other(e)
	}
	if err != nil {
		return fail(exitData, "record %d: %s: body: %w", e.Seq, e.Kind, err)
	}
	return nil
}

func count[K comparable](m map[K]*counts, key K, n int) {
	c := m[key]
	if c == nil {
		c = new(counts)
		m[key] = c
	}
	c.add(n)
}

func (c *counts) add(n int) {
	c.Records++
	c.Bytes += int64(n)
}

func (t *counting) upload(step string, e *journal.Entry) error {
	if step == "stored" && bytes.HasPrefix(e.Body, []byte(`{"session":"`)) {
		// Nearly all records are these.
		if id, n, ok := storedBytes(e.Body); ok {
			if u := t.live[string(id)]; u != nil {
				u.stored += n
			}
			return nil
		}
	}
	var b toldBody
	if err := json.Unmarshal(e.Body, &b); err != nil {
		return err
	}
	u := t.live[b.Session]
	if u == nil {
		u = &tallied{size: -1}
		t.live[b.Session] = u
	}
	if n := b.sizeOf(); n >= 0 && step != "truncated" {
		u.size = n
	}
	for _, r := range b.Ranges {
		if step == "stored" {
			u.stored += r[1] - r[0]
		}
	}
	switch step {
	case "opened":
		add(t.s.Uploads, step, max(u.size, 0))
	case "placed", "published":
		add(t.s.Uploads, step, max(u.size, 0))
		delete(t.live, b.Session)
	case "rejected", "cancelled", "expired":
		add(t.s.Uploads, step, u.stored)
		delete(t.live, b.Session)
	}
	return nil
}

// storedBytes reads the body of upload.stored as it is always written.
func storedBytes(body []byte) (id []byte, n int64, ok bool) {
	rest := body[len(`{"session":"`):]
	if len(rest) < 36 {
		return nil, 0, false
	}
	id, rest = rest[:36], rest[36:]
	rest, ok = bytes.CutPrefix(rest, []byte(`","ranges":[`))
	var pair [2]int64
	at := 0
	for i := 0; ok && i < len(rest); i++ {
		switch c := rest[i]; {
		case c-'0' <= 9:
			pair[at] = pair[at]*10 + int64(c-'0')
		case c == '[':
			pair, at = [2]int64{}, 0
		case c == ',' && rest[i-1] != ']':
			at = 1
		case c == ',':
		case c == ']' && rest[i-1] == ']':
			return id, n, true
		case c == ']':
			n += pair[1] - pair[0]
		default:
			return nil, 0, false
		}
	}
	return nil, 0, false
}

func (t *counting) download(step string, e *journal.Entry) error {
	var b toldBody
	if err := json.Unmarshal(e.Body, &b); err != nil {
		return err
	}
	n := int64(0)
	for _, r := range b.Ranges {
		n += r[1] - r[0]
	}
	if step == "opened" {
		n = max(b.sizeOf(), 0)
	}
	add(t.s.Downloads, step, n)
	return nil
}

func add(to map[string]transferCounts, step string, n int64) {
	c := to[step]
	c.Number++
	c.Bytes += n
	to[step] = c
}

func (t *counting) other(e *journal.Entry) error {
	if e.Kind == actions.KindAnswered {
		return nil
	}
	var b struct {
		Code   string
		Counts map[string]int64
		Void   []uint64
	}
	if err := json.Unmarshal(e.Body, &b); err != nil {
		return err
	}
	switch e.Kind {
	case actions.KindRefused:
		t.s.Refusals[b.Code]++
	case actions.KindTraffic:
		for why, n := range b.Counts {
			t.s.Strangers[why] += n
		}
	case actions.KindStarted:
		t.s.Starts++
		if t.running {
			t.s.Unclean++
		}
		if len(b.Void) > 0 {
			t.s.Void++
		}
		t.running = true
	case actions.KindStopped:
		t.running = false
	}
	return nil
}

// stats is what was counted.
func (t *counting) stats() *stats {
	s := &t.s
	s.Kinds = make(map[string]counts)
	for kind, c := range t.kinds {
		s.Kinds[kind] = *c
	}
	actors := byCount(t.actors, func(c *counts) int64 { return c.Records })
	s.Actors = []actorCounts{}
	for _, name := range actors[:min(len(actors), mostActors)] {
		s.Actors = append(s.Actors, actorCounts{name, *t.actors[name]})
	}
	s.MoreActors = len(actors) - len(s.Actors)
	span := int64(1)
	if s.Per = "hour"; s.To.Sub(s.From) >= perHourBelow {
		s.Per, span = "day", 24
	}
	periods := make(map[int64]*periodCounts)
	s.Periods = []periodCounts{}
	for hour, c := range t.hours {
		key := hour - hour%span // no daemon ran before 1970
		p := periods[key]
		if p == nil {
			p = &periodCounts{Start: time.Unix(key*3600, 0).UTC()}
			periods[key] = p
		}
		p.Records += c.Records
		p.Bytes += c.Bytes
	}
	for _, p := range periods {
		s.Periods = append(s.Periods, *p)
	}
	slices.SortFunc(s.Periods, func(a, b periodCounts) int { return a.Start.Compare(b.Start) })
	return s
}
