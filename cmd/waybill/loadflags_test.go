package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"waybill/daemon"
)

func TestLoadFlags(t *testing.T) {
	t.Parallel()
	got, err := parsed(t, nil, nil)
	require.NoError(t, err)
	assert.Equal(t, daemon.Load{
		MaxConnections: 4096, MaxConnectionsPerSubject: -1, MaxPending: 8192, MaxPendingPerSubject: -1,
		MaxTransfers: 512, MaxTransfersPerSubject: -1, Bandwidth: -1, BandwidthPerSubject: -1,
	}, got.load(), "defaults")
	assert.Zero(t, got.MaxStaged)
	assert.Zero(t, got.MaxStagedPerSubject)
	assert.Equal(t, 50_000, got.MaxUploads)
	assert.Zero(t, got.MaxUploadsPerSubject)

	got, err = parsed(t, []string{
		"--max-connections", "0", "--max-connections-per-subject", "2", "--max-pending-total", "3", "--max-pending-per-subject", "4",
		"--max-transfers", "5", "--max-transfers-per-subject", "6", "--max-staged", "7GiB", "--max-staged-per-subject", "8MiB",
		"--bandwidth", "10MB",
	}, map[string]string{"WAYBILL_BANDWIDTH_PER_SUBJECT": "512KiB"})
	require.NoError(t, err)
	assert.Equal(t, daemon.Load{
		MaxConnections: -1, MaxConnectionsPerSubject: 2, MaxPending: 3, MaxPendingPerSubject: 4,
		MaxTransfers: 5, MaxTransfersPerSubject: 6, Bandwidth: 10e6, BandwidthPerSubject: 512 << 10,
	}, got.load())
	assert.Equal(t, byteSize(7<<30), got.MaxStaged)
	assert.Equal(t, byteSize(8<<20), got.MaxStagedPerSubject)

	_, err = parsed(t, []string{"--max-transfers=-1"}, nil)
	require.Error(t, err)
	assert.Equal(t, exitUsage, exitCode(err))
}
