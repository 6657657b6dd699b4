package main

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

type healthcheckCmd struct {
	URL     endpoint      `name:"url" default:"ws://127.0.0.1:11451" placeholder:"URL" help:"The daemon (${default})."`
	Timeout time.Duration `default:"5s" min:"1ms" placeholder:"TIME" help:"How long the answer may take (${default})."`
	JSON    bool          `help:"Result as one JSON object."`
}

// Run asks /readyz: exit code 0 if the daemon is ready, 1 for anything else.
func (c *healthcheckCmd) Run(ctx context.Context, a *app) error {
	within, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	why := c.ask(within)
	if c.JSON {
		result := struct {
			Ready  bool   `json:"ready"`
			Reason string `json:"reason,omitempty"`
		}{Ready: why == nil}
		if why != nil {
			result.Reason = oneLine(why.Error())
		}
		if err := a.printJSON(result); err != nil {
			return err
		}
	} else if why == nil {
		fmt.Fprintln(a.stdout, "ready")
	}
	if why != nil {
		return fail(exitFail, "not ready: %w", why)
	}
	return nil
}

func (c *healthcheckCmd) ask(ctx context.Context) error {
	r := remote{URL: c.URL}
	resp, err := r.request(ctx, http.MethodGet, "/readyz", "", nil, "")
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
