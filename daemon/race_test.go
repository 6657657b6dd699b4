//go:build race

package daemon

// raced scales tests down: the detector makes everything large and slow.
const raced = true
