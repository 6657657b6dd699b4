package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"waybill/daemon"
)

type pruneCmd struct {
	source
	Before instant `required:"" placeholder:"TIME" help:"Records from before this time may go (RFC 3339, or a date)."`
	DryRun bool    `help:"Tell only what would go."`
	JSON   bool    `help:"Result as one JSON object."`
}

// Run takes old segments out of the journal, into an archive: that of --archive,
// or that of the running daemon.
func (c *pruneCmd) Run(ctx context.Context, a *app) error {
	p, err := c.prune(ctx)
	if err != nil {
		return interrupted(ctx, err)
	}
	if c.JSON {
		return a.printJSON(struct {
			daemon.Pruned
			DryRun bool `json:"dry_run,omitempty"`
		}{p, c.DryRun})
	}
	did, where := "pruned", "they are in"
	if c.DryRun {
		did, where = "would prune", "they would go to"
	}
	if p.From == p.To {
		_, err = fmt.Fprintf(a.stdout, "nothing to prune: no whole segment is from before %s\n", c.Before.UTC().Format(time.RFC3339))
		return err
	}
	_, err = fmt.Fprintf(a.stdout, "%s records %d to %d, %d in %d segments; %s %s\n",
		did, p.From, p.To-1, p.Records, p.Segments, where, oneLine(p.Archive))
	return err
}

func (c *pruneCmd) prune(ctx context.Context) (p daemon.Pruned, err error) {
	if c.State == "" {
		return c.running(ctx)
	}
	if c.Archive == "" {
		return p, fail(exitUsage, "--archive is missing: what is pruned has to go somewhere")
	}
	_, unlock, err := c.journalDir() // to say what other commands say
	if err != nil {
		return p, err
	}
	unlock()
	if _, _, err := daemon.StoredKeys(c.State); err != nil {
		return p, keyError(err)
	}
	p, err = daemon.Prune(ctx, daemon.PruneOptions{
		State: c.State, Archive: c.Archive, Before: c.Before.Time, DryRun: c.DryRun, Actor: "operator", Via: "cli",
	})
	if err != nil && ctx.Err() == nil {
		err = &exitError{daemon.ExitCode(err), err}
	}
	return p, err
}

// running asks a daemon to prune.
func (c *pruneCmd) running(ctx context.Context) (p daemon.Pruned, err error) {
	r := c.remote()
	token, err := r.token()
	if err != nil {
		return p, err
	}
	query := url.Values{"before": {c.Before.Format(time.RFC3339Nano)}}
	if c.DryRun {
		query.Set("dry_run", "1")
	}
	// The answer comes when all is done.
	resp, err := r.requestWith(ctx, patientWeb, http.MethodPost, "/journal/prune?"+query.Encode(), token, nil, "")
	if err != nil {
		return p, r.once(ctx, err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&p); err != nil {
		return p, fail(exitUnreachable, "%s: the answer to prune: %w", r.URL, err)
	}
	return p, nil
}

// retention is how long records stay in the journal, also in days: 90d. 0 is for
// ever.
type retention time.Duration

const leastRetention = time.Hour

var errRetention = errors.New(`not a time such as "90d" or "36h", of an hour or more`)

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *retention) UnmarshalText(text []byte) error {
	s, days := strings.CutSuffix(string(text), "d")
	if days {
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil {
			return errRetention
		}
		*r = retention(time.Duration(n) * 24 * time.Hour)
		return nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d != 0 && d < leastRetention {
		return errRetention
	}
	*r = retention(d)
	return nil
}
