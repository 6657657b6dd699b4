// A client of tiled logs that is not ours reads the journal: a module of its
// own, so that nothing of it gets into the daemon's.
module tileclient

go 1.26.5

require (
	filippo.io/torchwood v0.6.1
	golang.org/x/mod v0.24.0
)

require (
	golang.org/x/crypto v0.38.0 // indirect
	golang.org/x/sync v0.14.0 // indirect
)
