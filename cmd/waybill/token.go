package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxToken bounds what is read of an answer that should be a token.
const maxToken = 64 << 10

type tokenIssueCmd struct {
	remote
	Permissions string        `required:"" placeholder:"LIST" help:"Comma list, such as mcsl.daemon.file.download,waybill.journal.read; * is everything."`
	Expires     time.Duration `required:"" min:"1s" max:"8760h" placeholder:"TIME" help:"How long it can be used to connect, such as 30s or 24h."`
	Subject     string        `placeholder:"NAME" help:"Who it stands for in the journal (main)."`
	JSON        bool          `help:"Result as one JSON object."`
}

// Run posts /subtoken. The token file must hold the main token: tokens are
// not issued on the strength of issued ones.
func (c *tokenIssueCmd) Run(ctx context.Context, a *app) error {
	if strings.Trim(c.Permissions, ", ") == "" {
		return fail(exitUsage, "--permissions is empty")
	}
	main, err := c.token()
	if err != nil {
		return err
	}
	form := url.Values{
		"token":       {main},
		"expires":     {strconv.FormatInt(int64(c.Expires/time.Second), 10)},
		"permissions": {c.Permissions},
	}
	if c.Subject != "" {
		form.Set("subject", c.Subject)
	}
	ends := time.Now().Add(c.Expires.Truncate(time.Second))
	resp, err := c.request(ctx, http.MethodPost, "/subtoken", "", strings.NewReader(form.Encode()), "application/x-www-form-urlencoded")
	if err != nil {
		return c.once(ctx, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxToken))
	if err != nil {
		return c.once(ctx, &lostError{err})
	}
	token := strings.TrimSpace(string(text))
	if c.JSON {
		return a.printJSON(struct {
			Token   string `json:"token"`
			Expires string `json:"expires"`
		}{token, ends.UTC().Format(time.RFC3339)})
	}
	_, err = fmt.Fprintln(a.stdout, token)
	return err
}
