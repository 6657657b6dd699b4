package main

import "waybill/daemon"

// loadFlags are the flags of serve that say what all callers together, and each
// of them, may have at one time; 0 is no limit.
type loadFlags struct {
	MaxConnections           int      `group:"load" default:"4096" min:"0" max:"1000000" placeholder:"N" help:"WebSocket connections, of panels and of the document library (${default})."`
	MaxConnectionsPerSubject int      `group:"load" default:"0" min:"0" max:"1000000" placeholder:"N" help:"Those of one token subject, or of one user (no limit)."`
	MaxPendingTotal          int      `group:"load" default:"8192" min:"0" max:"1000000" placeholder:"N" help:"Requests of panels that may wait for their answers, on all connections (${default})."`
	MaxPendingPerSubject     int      `group:"load" default:"0" min:"0" max:"1000000" placeholder:"N" help:"Those of one subject (no limit)."`
	MaxTransfers             int      `group:"load" default:"512" min:"0" max:"1000000" placeholder:"N" help:"Bodies that may come or go over HTTP and FTPS (${default})."`
	MaxTransfersPerSubject   int      `group:"load" default:"0" min:"0" max:"1000000" placeholder:"N" help:"Those of one subject, or of one user (no limit)."`
	MaxUploads               int      `group:"load" default:"50000" min:"0" max:"10000000" placeholder:"N" help:"Uploads of panels and over tus that have not ended (${default})."`
	MaxUploadsPerSubject     int      `group:"load" default:"0" min:"0" max:"10000000" placeholder:"N" help:"Those of one subject (no limit)."`
	MaxStaged                byteSize `group:"load" default:"0" placeholder:"SIZE" help:"What uploads that have not ended may hold, by the sizes they declared (no limit but the disk)."`
	MaxStagedPerSubject      byteSize `group:"load" default:"0" placeholder:"SIZE" help:"Those of one subject, or of one user (no limit)."`
	Bandwidth                byteSize `group:"load" default:"0" placeholder:"SIZE" help:"Bytes of files a second, in each direction (no limit)."`
	BandwidthPerSubject      byteSize `group:"load" default:"0" placeholder:"SIZE" help:"Those of one subject, or of one user (no limit)."`
}

// load is what the daemon is told; uploads and staged bytes are the core's.
func (c *loadFlags) load() daemon.Load {
	return daemon.Load{
		MaxConnections: orNone(c.MaxConnections), MaxConnectionsPerSubject: orNone(c.MaxConnectionsPerSubject),
		MaxPending: orNone(c.MaxPendingTotal), MaxPendingPerSubject: orNone(c.MaxPendingPerSubject),
		MaxTransfers: orNone(c.MaxTransfers), MaxTransfersPerSubject: orNone(c.MaxTransfersPerSubject),
		Bandwidth: orNone(int64(c.Bandwidth)), BandwidthPerSubject: orNone(int64(c.BandwidthPerSubject)),
	}
}
