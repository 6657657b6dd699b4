package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
)

// maxJSONFile bounds what is read of a file: the daemon takes less.
const maxJSONFile = 1 << 20

// readObject reads a file with one JSON object, "-" being standard input, and
// returns it without the white space. The daemon counts bytes.
func (a *app) readObject(file string) (json.RawMessage, error) {
	text, err := a.readInput(file)
	if err != nil {
		return nil, err
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		return nil, fail(exitUsage, "%s: %w", file, err)
	}
	if !bytes.HasPrefix(compact.Bytes(), []byte("{")) {
		return nil, fail(exitUsage, "%s: not a JSON object", file)
	}
	return compact.Bytes(), nil
}

// readInput reads a file, "-" being standard input.
func (a *app) readInput(file string) ([]byte, error) {
	in := a.stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, localError("input", err)
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxJSONFile+1))
	if err != nil {
		return nil, localError("input", err)
	}
	if len(text) > maxJSONFile {
		return nil, fail(exitUsage, "%s: longer than %v", file, byteSize(maxJSONFile))
	}
	return text, nil
}

// printIndented writes a JSON document for people, who may edit it and give it
// back.
func (a *app) printIndented(doc json.RawMessage) error {
	var out bytes.Buffer
	if err := json.Indent(&out, doc, "", "  "); err != nil {
		return fail(exitIO, "the daemon sent data that cannot be read: %w", err)
	}
	out.WriteByte('\n')
	if _, err := a.stdout.Write(out.Bytes()); err != nil {
		return fail(exitIO, "write: %w", err)
	}
	return nil
}
