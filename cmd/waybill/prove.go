package main

import (
	"context"
	"errors"
	"fmt"

	"waybill/daemon"
	"waybill/fsview"
	"waybill/journal"
)

type proveCmd struct {
	source
	Seq    *uint64 `arg:"" optional:"" placeholder:"SEQ" help:"The record to prove."`
	From   string  `placeholder:"CHECKPOINT" help:"Prove instead that the journal has only grown since this checkpoint; - is standard input."`
	Output string  `short:"o" placeholder:"FILE" help:"Write the proof there and not to standard output."`
}

// Run writes a proof, which journal check checks without a daemon.
func (c *proveCmd) Run(ctx context.Context, a *app) error {
	if (c.Seq == nil) == (c.From == "") {
		return fail(exitUsage, "give either a record's number or --from with a checkpoint")
	}
	text, err := c.prove(ctx, a)
	if err != nil {
		return interrupted(ctx, err)
	}
	if c.Output == "" {
		_, err := a.stdout.Write(text)
		if err != nil {
			return fail(exitIO, "write: %w", err)
		}
		return nil
	}
	if err := fsview.WriteFile(c.Output, text, 0o644); err != nil {
		return fail(exitCantCreate, "%w", err)
	}
	return nil
}

func (c *proveCmd) prove(ctx context.Context, a *app) ([]byte, error) {
	prover, done, err := c.prover(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	head, err := journal.ReadCheckpoint(prover.head)
	if err != nil {
		return nil, fail(exitData, "%w", err)
	}
	if c.Seq != nil {
		if *c.Seq >= head.Size {
			return nil, fail(exitUsage, "there is no record %d: the journal has %d", *c.Seq, head.Size)
		}
		return prover.inclusion(ctx, *c.Seq, head)
	}
	text, err := a.readInput(c.From)
	if err != nil {
		return nil, err
	}
	old, err := journal.ReadCheckpoint(text)
	if err != nil {
		return nil, fail(exitData, "%s: %w", c.From, err)
	}
	if old.Origin != head.Origin {
		return nil, fail(exitData, "%s is a checkpoint of %s, and this journal is %s", c.From, oneLine(old.Origin), oneLine(head.Origin))
	}
	if old.Size > head.Size {
		return nil, witnessed{name: c.From, Checkpoint: old}.missing(head.Size)
	}
	g, err := prover.growth(ctx, old.Size)
	if err != nil {
		return nil, err
	}
	last, err := journal.ReadCheckpoint(g.Checkpoint)
	if err != nil {
		return nil, fail(exitData, "%w", err)
	}
	if err := g.Holds(old, last); err != nil {
		return nil, &journal.DamageError{Seq: 0, Last: max(old.Size, 1) - 1,
			Reason: fmt.Sprintf("these are not the records that %s was signed over: %v", c.From, err)}
	}
	return (&journal.ConsistencyProof{From: text, Growth: *g}).Text(), nil
}

// prover makes the parts of proofs, out of the STATE of a stopped daemon or by
// asking a running one. head is the signed checkpoint at the start.
type prover struct {
	head      []byte
	inclusion func(ctx context.Context, seq uint64, head journal.Checkpoint) ([]byte, error)
	growth    func(ctx context.Context, old uint64) (*journal.Growth, error)
}

func (c *proveCmd) prover(ctx context.Context) (*prover, func(), error) {
	if c.State != "" {
		return c.localProver()
	}
	p, err := c.remoteProver(ctx)
	return p, func() {}, err
}

// localProver signs with the key of STATE.
func (c *proveCmd) localProver() (*prover, func(), error) {
	key, _, err := daemon.StoredKeys(c.State)
	if err != nil {
		return nil, nil, keyError(err)
	}
	log, done, err := c.openHistory()
	if err != nil {
		return nil, nil, err
	}
	signed, err := journal.SignCheckpoint(journal.Checkpoint{Origin: key.Verifier().Name(), Head: log.Head()}, key)
	if err != nil {
		done()
		return nil, nil, err
	}
	return &prover{
		head: signed,
		inclusion: func(_ context.Context, seq uint64, head journal.Checkpoint) ([]byte, error) {
			p, err := log.Prove(seq, head.Size)
			if err != nil {
				return nil, prunedError(err)
			}
			p.Checkpoint = signed
			return p.Text(), soundInclusion(p, head)
		},
		growth: func(_ context.Context, old uint64) (*journal.Growth, error) {
			g, err := log.ProveGrowth(old, log.Head().Size)
			if err != nil {
				return nil, prunedError(err)
			}
			g.Checkpoint = signed
			return g, nil
		},
	}, done, nil
}

// remoteProver asks the daemon.
func (c *proveCmd) remoteProver(ctx context.Context) (*prover, error) {
	get := c.remote().fetch
	j := &joined{}
	if c.Archive != "" {
		var err error
		if j, err = c.join(ctx); err != nil {
			return nil, err
		}
	}
	signed, err := get(ctx, "/journal/checkpoint")
	if err != nil {
		return nil, err
	}
	p := &prover{
		head: signed,
		inclusion: func(ctx context.Context, seq uint64, head journal.Checkpoint) ([]byte, error) {
			text, err := get(ctx, fmt.Sprintf("/journal/proof/%d?size=%d", seq, head.Size))
			if err != nil {
				return nil, err
			}
			p, err := journal.ParseInclusionProof(text)
			if err != nil {
				return nil, fail(exitData, "the daemon's answer: %w", err)
			}
			return text, soundInclusion(p, head)
		},
		growth: func(ctx context.Context, old uint64) (*journal.Growth, error) {
			text, err := get(ctx, fmt.Sprintf("/journal/consistency/%d", old))
			if err != nil {
				return nil, err
			}
			g, err := journal.ParseGrowth(text)
			if err != nil {
				return nil, fail(exitData, "the daemon's answer: %w", err)
			}
			return g, nil
		},
	}
	return c.archiveProver(j, p), nil
}

// archiveProver is p, but for what the archive has.
func (c *proveCmd) archiveProver(j *joined, p *prover) *prover {
	of := func(ctx context.Context) (*journal.Remote, uint64, error) {
		head, err := journal.ReadCheckpoint(p.head)
		if err != nil {
			return nil, 0, fail(exitData, "%w", err)
		}
		return c.beside(ctx, j.archive, head.Head), head.Size, nil
	}
	return &prover{
		head: p.head,
		inclusion: func(ctx context.Context, seq uint64, head journal.Checkpoint) ([]byte, error) {
			if seq >= j.end() {
				return p.inclusion(ctx, seq, head)
			}
			r, size, err := of(ctx)
			if err != nil {
				return nil, err
			}
			proof, err := r.Prove(seq, size)
			if err != nil {
				return nil, err
			}
			proof.Checkpoint = p.head
			return proof.Text(), soundInclusion(proof, head)
		},
		growth: func(ctx context.Context, old uint64) (*journal.Growth, error) {
			if old >= j.end() {
				return p.growth(ctx, old)
			}
			r, size, err := of(ctx)
			if err != nil {
				return nil, err
			}
			g, err := r.ProveGrowth(old, size)
			if err != nil {
				return nil, err
			}
			g.Checkpoint = p.head
			return g, nil
		},
	}
}

// soundInclusion refuses to hand out a proof that does not lead to head: then
// the store is damaged. Who has signed head is for journal check to say.
func soundInclusion(p *journal.InclusionProof, head journal.Checkpoint) error {
	if err := p.Holds(head); err != nil {
		return fail(exitData, "record %d: %w", p.Index, err)
	}
	return nil
}

// prunedError is for what is no longer in the journal, as statusError is.
func prunedError(err error) error {
	if errors.Is(err, journal.ErrPruned) {
		return fail(exitUsage, "%w; give the folder of the archive with --archive", err)
	}
	return err
}
