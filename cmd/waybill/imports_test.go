package main

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestImports pins which of our packages imports which: the graph of the
// design, which goes one way.
func TestImports(t *testing.T) {
	cmd := exec.Command("go", "list", "-f", `{{.ImportPath}}:{{range .Imports}} {{.}}{{end}}`, "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	require.NoError(t, err)
	var got []string
	for line := range strings.Lines(string(out)) {
		pkg, imports, _ := strings.Cut(strings.TrimSpace(line), ":")
		var ours []string
		for _, i := range strings.Fields(imports) {
			if strings.HasPrefix(i, "waybill/") {
				ours = append(ours, strings.TrimPrefix(i, "waybill/"))
			}
		}
		slices.Sort(ours)
		got = append(got, strings.TrimSpace(strings.TrimPrefix(pkg, "waybill/")+" -> "+strings.Join(ours, " ")))
	}
	want, err := os.ReadFile("../../testdata/imports.txt")
	require.NoError(t, err)
	assert.Equal(t, strings.TrimSpace(string(want)), strings.Join(got, "\n"))
}
