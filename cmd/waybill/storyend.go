package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"waybill/journal"
)

// mostEndings is how many transfers are told of one by one; of more there are
// only numbers.
const mostEndings = 20

// learn keeps what the header and the end tell.
func (t *teller) learn(e *journal.Entry, b *toldBody, bytes int64) {
	if b.Session != "" {
		x := t.transfers.get(b.Session)
		if x.id == "" {
			x.id, x.size, x.who, x.via, x.opened = b.Session, -1, string(e.Actor), string(e.Via), e.At
		}
		x.upload = x.upload || strings.HasPrefix(e.Kind, "upload.")
		x.bytes += bytes
		switch e.Kind {
		case "upload.opened", "download.opened":
			x.path, x.task = b.Path, b.Task != nil
			x.size = b.sizeOf()
		case "upload.sized", "upload.sealed":
			x.size = b.sizeOf()
		case "upload.placed", "upload.published", "upload.rejected", "upload.cancelled", "upload.expired",
			"download.closed", "download.expired", "download.cancelled":
			_, x.how, _ = strings.Cut(e.Kind, ".")
			x.ended = e.At
		}
	}
	if b.Job != "" {
		j := t.jobs.get(b.Job)
		if j.id == "" {
			j.id, j.who, j.via, j.begun = b.Job, string(e.Actor), string(e.Via), e.At
		}
		switch e.Kind {
		case "job.queued":
			j.action = b.Action
		case "job.done", "job.failed", "job.poisoned":
			_, j.how, _ = strings.Cut(e.Kind, ".")
			if j.how == "poisoned" {
				j.how = "given up"
			}
			j.ended = e.At
		}
	}
	t.learnDocument(e, b)
}

func (t *teller) learnDocument(e *journal.Entry, b *toldBody) {
	if b.Node != nil {
		if *b.Node == 0 {
			return // the root
		}
		d := t.documents.get(strconv.FormatUint(*b.Node, 10))
		d.number = *b.Node
		if b.ID != "" {
			d.id = b.ID
		}
		switch e.Kind {
		case "node.created":
			d.name, d.directory = b.Name, b.Type == "dir"
		case "node.renamed":
			d.name = b.Name
		case "node.id_changed":
			d.id = b.To.text
		case "revision.published":
			d.revisions++
		}
	}
	for _, n := range b.Nodes {
		// Others go along in the same record.
		d := t.documents.byKey[strconv.FormatUint(n, 10)]
		if d == nil {
			continue
		}
		switch e.Kind {
		case "node.deleted":
			d.how = "in the recycle bin"
		case "node.recovered":
			d.how = ""
		case "node.removed":
			d.how = "removed for good"
		}
	}
}

// header says what the story is about.
func (t *teller) header() string {
	docs, all := t.documents.list, t.transfers.list
	switch {
	case len(docs) == 1:
		return docs[0].title()
	case len(docs) > 1:
		return fmt.Sprintf("%s: %d documents", t.subject, len(docs))
	case len(all) == 1:
		return all[0].title()
	case len(all) > 1:
		ups := 0
		for _, x := range all {
			if x.upload {
				ups++
			}
		}
		return fmt.Sprintf("%s: %s, %s", t.subject, plural(ups, "upload"), plural(len(all)-ups, "download"))
	case len(t.jobs.list) == 1:
		j := t.jobs.list[0]
		return fmt.Sprintf("job %s: %s, by %s from %s", j.id, j.action, j.who, j.via)
	}
	return t.subject + ": requests only"
}

func (d *documentTold) title() string {
	what := "document"
	if d.directory {
		what = "directory"
	}
	if d.name == "" { // nothing that belongs says it
		return fmt.Sprintf("%s with the id %s, number %d", what, d.id, d.number)
	}
	return fmt.Sprintf("%s %q (id %s, number %d)", what, d.name, d.id, d.number)
}

func (x *transferTold) title() string {
	size := "size not known"
	if x.size >= 0 {
		size = plural(x.size, "byte")
	}
	return fmt.Sprintf("%s of %s, %s, by %s from %s", x.what(), x.target(), size, x.who, x.via)
}

func (x *transferTold) what() string {
	if x.upload {
		return "upload"
	}
	return "download"
}

func (x *transferTold) target() string {
	switch {
	case x.task:
		return "document " + x.path
	case x.path == "":
		return "a file that was named before the journal begins"
	}
	return x.path
}

// endings says how it all ended.
func (t *teller) endings() (lines []string) {
	for _, d := range t.documents.list {
		state := d.how
		if state == "" {
			state = "there"
		}
		line := fmt.Sprintf("end: %s: %s", d.title(), state)
		if !d.directory {
			line += fmt.Sprintf("; %s published", plural(d.revisions, "revision"))
		}
		lines = append(lines, line)
	}
	var stored, read int64
	open := 0
	for _, x := range t.transfers.list {
		if x.upload {
			stored += x.bytes
		} else {
			read += x.bytes
		}
		if x.how == "" {
			open++
		}
		if len(t.transfers.list) <= mostEndings {
			lines = append(lines, "end: "+t.transferEnd(x))
		}
	}
	if n := len(t.transfers.list); n > 1 {
		lines = append(lines, fmt.Sprintf("in all: %s stored by uploads, %s read by downloads; %d of %d still open",
			plural(stored, "byte"), plural(read, "byte"), open, n))
	}
	if len(t.jobs.list) <= mostEndings {
		for _, j := range t.jobs.list {
			lines = append(lines, "end: "+t.jobEnd(j))
		}
	}
	if len(lines) == 0 {
		lines = append(lines, fmt.Sprintf("end: %s", plural(t.told, "record")))
	}
	return lines
}

func (t *teller) transferEnd(x *transferTold) string {
	end := "still open"
	if x.how != "" {
		end = fmt.Sprintf("%s after %s", x.how, took(x.opened, x.ended))
	}
	did := "read"
	if x.upload {
		did = "stored"
	}
	line := fmt.Sprintf("%s, %s %s in all", end, plural(x.bytes, "byte"), did)
	if len(t.transfers.list) > 1 || len(t.documents.list) > 0 {
		line = fmt.Sprintf("%s %s of %s: %s", x.what(), t.short(x.id), x.target(), line)
	}
	return line
}

func (t *teller) jobEnd(j *jobTold) string {
	if j.how == "" {
		return fmt.Sprintf("job %s, %s: not done yet", t.short(j.id), j.action)
	}
	return fmt.Sprintf("job %s, %s: %s after %s", t.short(j.id), j.action, j.how, took(j.begun, j.ended))
}

// took is how long something took, to the millisecond.
func took(from, to time.Time) string { return to.Sub(from).Round(time.Millisecond).String() }
