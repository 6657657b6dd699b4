package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/alecthomas/kong"
	kongcompletion "github.com/jotaen/kong-completion"
)

type versionCmd struct {
	JSON bool `help:"Result as one JSON object."`
}

// Run prints the version, the revision it was built from and the compiler.
func (c *versionCmd) Run(a *app) error {
	if c.JSON {
		return a.printJSON(struct {
			Name    string `json:"name"`
			Version string `json:"version"`
			Go      string `json:"go"`
		}{"waybill", version(), runtime.Version()})
	}
	_, err := fmt.Fprintf(a.stdout, "waybill %s (%s, %s/%s)\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// version is the module's, or for a build from a checkout its revision.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "dev"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	revision, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(len(s.Value), 12)]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+dirty"
		}
	}
	if revision == "" {
		return "dev"
	}
	return "dev-" + revision + dirty
}

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Run prints code for the shell to read: source <(waybill completion bash).
func (c *completionCmd) Run(kctx *kong.Context) error {
	return (&kongcompletion.Completion{Shell: c.Shell, Code: true}).Run(kctx)
}
