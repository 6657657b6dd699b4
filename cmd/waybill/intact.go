//go:build !brokensync

package main

import "waybill/daemon"

// unsound does nothing. The build that the order test must catch leaves out
// syncs here: see broken.go.
func unsound(*daemon.Config) {}
