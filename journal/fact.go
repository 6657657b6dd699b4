package journal

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Fact is something that has happened, ready to become a record: the core
// adds when, by whom and from where.
type Fact struct {
	// Kind as in Record.
	Kind string
	// Body is the record's body: one compact JSON object.
	Body []byte
}

// NewFact renders a body through encoding/json, without HTML escaping, which
// would only obscure names. body is a struct that always encodes, so one that
// does not is a bug and panics.
func NewFact(kind string, body any) Fact {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(body); err != nil {
		panic(fmt.Sprintf("journal: fact %s: %v", kind, err)) // see above
	}
	return Fact{Kind: kind, Body: bytes.TrimSuffix(b.Bytes(), []byte("\n"))}
}
