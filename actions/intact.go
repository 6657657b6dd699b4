//go:build !brokensync

package actions

// answerEarly lets answers leave before the commit they depend on. Only the
// build that the order test must catch can do so: see broken.go.
const answerEarly = false
