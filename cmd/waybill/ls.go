package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"strconv"
	"text/tabwriter"
	"time"
)

type lsCmd struct {
	remote
	JSON bool `help:"The daemon's answer as one JSON object."`

	Path string `arg:"" name:"path" optional:"" default:"." help:"A directory, or one file."`
}

type pathParams struct {
	Path string `json:"path"`
}

// entry is a file or a directory as the daemon describes it.
type entry struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Meta struct {
		Size       int64   `json:"size"`
		LinkTarget *string `json:"link_target"`
		Written    int64   `json:"last_write_time"`
	} `json:"meta"`
}

// Run lists the path. It tries once: a listing is not worth waiting for.
func (c *lsCmd) Run(ctx context.Context, a *app) error {
	if err := sendable(c.Path); err != nil {
		return err
	}
	s, err := c.dial(ctx)
	if err != nil {
		return c.once(ctx, err)
	}
	defer s.close(false)
	var data json.RawMessage
	err = s.call(ctx, "get_directory_info", pathParams{c.Path}, &data)
	file := refused(err, codeIsFile)
	if file {
		err = s.call(ctx, "get_file_info", pathParams{c.Path}, &data)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c.Path, c.once(ctx, err))
	}
	if c.JSON {
		return a.printJSON(data)
	}
	var list struct {
		Files       []entry `json:"files"`
		Directories []entry `json:"directories"` // with --directory-listing=split
	}
	if file {
		one := entry{Name: path.Base(c.Path), Type: "file"}
		err = json.Unmarshal(data, &one)
		list.Files = []entry{one}
	} else {
		err = json.Unmarshal(data, &list)
	}
	if err != nil {
		return fmt.Errorf("the daemon sent a listing that cannot be read: %w", err)
	}
	for i := range list.Directories {
		list.Directories[i].Type = "directory"
	}
	return printEntries(a.stdout, append(list.Directories, list.Files...))
}

// printEntries writes one line for each entry: size, time of the last change,
// name. A directory's name ends in a slash.
func printEntries(w io.Writer, entries []entry) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	for _, e := range entries {
		size, name := byteSize(e.Meta.Size).String(), printable(e.Name)
		if e.Type == "directory" {
			size, name = "-", name+"/"
		}
		if e.Meta.LinkTarget != nil {
			name += " -> " + printable(*e.Meta.LinkTarget)
		}
		fmt.Fprintf(tw, "%s\t  %s  %s\n", size, time.Unix(e.Meta.Written, 0).Format(time.DateTime), name)
	}
	return tw.Flush()
}

// printable quotes a name that would do something to a terminal, or that
// could be taken for two.
func printable(name string) string {
	if q := strconv.Quote(name); q != `"`+name+`"` {
		return q
	}
	return name
}
