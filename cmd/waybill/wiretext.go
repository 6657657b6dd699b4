package main

import (
	"errors"
	"unicode/utf8"

	"github.com/alecthomas/kong"
)

// wireText is an argument that goes over the wire as it is: valid UTF-8, which
// JSON would otherwise turn into something else, such as another user's name.
type wireText string

// Decode implements kong.MapperValue. With encoding.TextUnmarshaler kong would
// do the turning.
func (t *wireText) Decode(kctx *kong.DecodeContext) error {
	token, err := kctx.Scan.PopValue("text")
	if err != nil {
		return err
	}
	*t = wireText(token.String())
	if !utf8.ValidString(string(*t)) {
		return errors.New("not valid UTF-8, and the protocol carries no other")
	}
	return nil
}

// wireName is a wireText that names something. On the wire the empty name is
// oneself, or the root: not what somebody means whose shell has no value for $ID.
type wireName string

// Decode implements kong.MapperValue.
func (n *wireName) Decode(kctx *kong.DecodeContext) error {
	if err := (*wireText)(n).Decode(kctx); err != nil {
		return err
	}
	if *n == "" {
		return errors.New("it is empty")
	}
	return nil
}
