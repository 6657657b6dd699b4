package main

import (
	"encoding/json"
	"fmt"

	"waybill/journal"
)

type checkCmd struct {
	Proof string `arg:"" placeholder:"PROOF" help:"What journal prove wrote; - is standard input."`
	verifierKeys
	JSON bool `help:"Result as one JSON object."`
}

// proofVerdict is the result of check.
type proofVerdict struct {
	Valid bool `json:"valid"`
	// Proof is "inclusion" or "consistency".
	Proof  string `json:"proof,omitempty"`
	Origin string `json:"origin,omitempty"`
	// Size and Root are those of the checkpoint, the newer one of two.
	Size uint64 `json:"size"`
	Root string `json:"root,omitempty"`
	// Record is the one that is proved, OldSize where the growth begins.
	Record  json.RawMessage `json:"record,omitempty"`
	OldSize *uint64         `json:"old_size,omitempty"`
	Reason  string          `json:"reason,omitempty"`

	line []byte
}

// Run checks a proof with nothing but the keys, and prints the record that it
// proves.
func (c *checkCmd) Run(a *app) error {
	keys, err := c.read(a)
	if err != nil {
		return err
	}
	text, err := a.readInput(c.Proof)
	if err != nil {
		return err
	}
	v, err := judge(text, keys)
	if err != nil {
		v = proofVerdict{Proof: v.Proof, Reason: err.Error()}
	}
	v.Valid = err == nil
	if c.JSON {
		if err := a.printJSON(v); err != nil {
			return err
		}
	}
	switch {
	case err != nil:
		return fail(exitData, "%s: %w", c.Proof, err)
	case c.JSON:
		return nil
	case v.OldSize != nil:
		a.say("valid: %s has only grown, from %d to %d records", v.Origin, *v.OldSize, v.Size)
		return nil
	}
	a.say("valid: it is one of the first %d records of %s", v.Size, v.Origin)
	return writeLine(a.stdout, v.line)
}

// judge says what a proof proves.
func judge(text []byte, keys []journal.VerifierKey) (v proofVerdict, err error) {
	var c journal.Checkpoint
	switch {
	case journal.IsInclusion(text):
		v.Proof = "inclusion"
		p, err := journal.ParseInclusionProof(text)
		if err != nil {
			return v, err
		}
		if c, err = p.Check(keys...); err != nil {
			return v, err
		}
		v.line, v.Record = p.Line, p.Line
	case journal.IsConsistency(text):
		v.Proof = "consistency"
		p, err := journal.ParseConsistencyProof(text)
		if err != nil {
			return v, err
		}
		var old journal.Checkpoint
		if old, c, err = p.Check(keys...); err != nil {
			return v, err
		}
		v.OldSize = &old.Size
	default:
		return v, fmt.Errorf("neither a proof of inclusion nor one of consistency")
	}
	v.Origin, v.Size, v.Root = c.Origin, c.Size, c.Root.String()
	return v, nil
}
