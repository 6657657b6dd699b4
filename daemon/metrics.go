package daemon

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"waybill/actions"
)

// metrics is what /metrics tells, in a registry of its own.
type metrics struct {
	registry *prometheus.Registry
	handler  http.Handler

	limits, paced *prometheus.CounterVec
	actions       *prometheus.CounterVec
	actionSeconds *prometheus.HistogramVec
	bytesIn       prometheus.Counter
	bytesOut      prometheus.Counter
	messageBytes  prometheus.Counter
	replyBytes    prometheus.Counter
	commitSeconds prometheus.Histogram
	commitRecords prometheus.Histogram
	commitBytes   prometheus.Counter
	slowClosed    prometheus.Counter
	undecryptable prometheus.Counter
	pending       prometheus.Gauge
	pushFailures  prometheus.Counter
	pruneFailures prometheus.Counter
}

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "waybill_" + name, Help: help})
	}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		limits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "waybill_limit_refusals_total", Help: "What was refused because a limit was reached, by limit.",
		}, []string{"limit"}),
		paced: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "waybill_bandwidth_wait_seconds_total", Help: "Time that transfers have waited for bandwidth, by direction.",
		}, []string{"direction"}),
		actions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "waybill_actions_total", Help: "Requests answered, by action and code.",
		}, []string{"action", "code"}),
		actionSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "waybill_action_seconds", Help: "Time from a request's turn to its answer.",
			Buckets: prometheus.ExponentialBuckets(0.0002, 4, 9),
		}, []string{"action"}),
		bytesIn:      counter("content_received_bytes_total", "Bytes of files received."),
		bytesOut:     counter("content_sent_bytes_total", "Bytes of files handed out."),
		messageBytes: counter("message_bytes_total", "Bytes of WebSocket messages received."),
		replyBytes:   counter("reply_bytes_total", "Bytes of WebSocket replies sent."),
		commitSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "waybill_commit_seconds", Help: "Time of a journal commit.",
			Buckets: prometheus.ExponentialBuckets(0.0002, 2, 14),
		}),
		commitRecords: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "waybill_commit_records", Help: "Records in a journal commit.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 7),
		}),
		commitBytes: counter("commit_bytes_total", "Bytes of records committed."),
		slowClosed:  counter("slow_consumers_closed_total", "Connections closed because the peer did not keep up."),
		undecryptable: counter("undecryptable_messages_total",
			"Messages of the legacy listener that could not be decrypted."),
		pushFailures:  counter("checkpoint_push_failures_total", "Checkpoints that could not be copied to the directory elsewhere."),
		pruneFailures: counter("prune_failures_total", "Cuts of the journal that were not finished."),
		pending: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "waybill_pending_requests", Help: "Requests without an answer yet, on all connections.",
		}),
	}
	m.registry.MustRegister(m.actions, m.actionSeconds, m.bytesIn, m.bytesOut, m.messageBytes, m.replyBytes,
		m.commitSeconds, m.commitRecords, m.commitBytes, m.slowClosed, m.undecryptable, m.pending,
		m.pushFailures, m.pruneFailures,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.registry.MustRegister(m.limits, m.paced)
	m.handler = promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
	return m
}

// action counts an answer. Names come from the table of actions only, so that
// strangers cannot make labels.
func (m *metrics) action(name string, code actions.Code, took time.Duration) {
	m.actions.WithLabelValues(name, string(code)).Inc()
	if took > 0 {
		m.actionSeconds.WithLabelValues(name).Observe(took.Seconds())
	}
}

// limited counts what was refused because of a limit.
func (m *metrics) limited(limit string) { m.limits.WithLabelValues(limit).Inc() }

// waited counts time that was waited for bandwidth.
func (m *metrics) waited(way direction, d time.Duration) {
	m.paced.WithLabelValues([...]string{inward: "in", outward: "out"}[way]).Add(d.Seconds())
}

// observer is how the engine tells.
func (m *metrics) observer() actions.Observer {
	return actions.Observer{
		Commit: func(took time.Duration, records, bytes int) {
			m.commitSeconds.Observe(took.Seconds())
			m.commitRecords.Observe(float64(records))
			m.commitBytes.Add(float64(bytes))
		},
		Action:   m.action,
		BytesIn:  func(n int64) { m.bytesIn.Add(float64(n)) },
		BytesOut: func(n int64) { m.bytesOut.Add(float64(n)) },
		Limited:  m.limited,
	}
}

// gauge adds one that is read when it is asked for.
func (m *metrics) gauge(name, help string, labels prometheus.Labels, read func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "waybill_" + name, Help: help, ConstLabels: labels,
	}, read))
}

// documents adds the gauges of one kind of connections of the document library.
func (m *metrics) documents(transport string, counts func() tally) {
	const name, help = "document_connections", "Connections of the document library."
	labels := func(state string) prometheus.Labels {
		return prometheus.Labels{"transport": transport, "state": state}
	}
	m.gauge(name, help, labels("authenticated"), func() float64 { return counts().known() })
	m.gauge(name, help, labels("unauthenticated"), func() float64 { return float64(counts().strangers) })
}

// watch adds the gauges that are read when they are asked for.
func (m *metrics) watch(s *server) {
	gauge := m.gauge
	m.documents("websocket", func() tally { return s.counts(&s.documents) })
	const live, conns = "Transfer sessions that have not ended.", "WebSocket connections."
	gauge("live_sessions", live, prometheus.Labels{"kind": "upload"}, func() float64 {
		return float64(s.engine.Stats().LiveUploads)
	})
	gauge("live_sessions", live, prometheus.Labels{"kind": "download"}, func() float64 {
		return float64(s.engine.Stats().LiveDownloads)
	})
	gauge("queue_depth", "Asynchronous actions that have not ended.", nil, func() float64 {
		return float64(s.engine.Stats().LiveJobs)
	})
	gauge("journal_records", "Records in the journal.", nil, func() float64 {
		return float64(s.engine.Journal().Head().Size)
	})
	gauge("journal_bytes", "Disk space of the journal.", nil, func() float64 {
		return float64(s.engine.Journal().DiskBytes())
	})
	gauge("journal_first_record", "The oldest record that is not pruned.", nil, func() float64 {
		return float64(s.engine.Journal().First())
	})
	gauge("checkpoint_size", "Records under the last signed checkpoint.", nil, func() float64 {
		return float64(s.notary.size.Load())
	})
	gauge("checkpoint_pushed_size", "Records under the checkpoint in the directory elsewhere.", nil, func() float64 {
		if s.notary.push == nil {
			return 0
		}
		return float64(s.notary.push.pushed.Load())
	})
	gauge("connections", conns, prometheus.Labels{"state": "authenticated"}, func() float64 {
		return s.counts(&s.panels).known()
	})
	gauge("connections", conns, prometheus.Labels{"state": "unauthenticated"}, func() float64 {
		return float64(s.counts(&s.panels).strangers)
	})
	gauge("transfers", "Bodies that come or go over HTTP and FTPS.", nil, func() float64 {
		return float64(s.transfers.count())
	})
	gauge("inbound_bytes", "Memory of messages being read or worked on.", nil, func() float64 {
		return float64(s.inbound.Load())
	})
	gauge("large_reply_bytes", "Memory of large replies, made and being made.", nil, func() float64 {
		return float64(s.contents.held() + s.listings.held())
	})
}
