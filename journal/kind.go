package journal

// internKind gives the kind as a string, without allocating for the kinds that
// make up nearly all of a journal. The set needs not be complete: the journal
// does not know what kinds mean.
func internKind(b []byte) string {
	switch string(b) {
	case "action.answered":
		return "action.answered"
	case "action.refused":
		return "action.refused"
	case "traffic.refused":
		return "traffic.refused"
	case "token.issued":
		return "token.issued"
	case "daemon.started":
		return "daemon.started"
	case "daemon.stopped":
		return "daemon.stopped"
	case "upload.opened":
		return "upload.opened"
	case "upload.sized":
		return "upload.sized"
	case "upload.stored":
		return "upload.stored"
	case "upload.unstored":
		return "upload.unstored"
	case "upload.truncated":
		return "upload.truncated"
	case "upload.sealed":
		return "upload.sealed"
	case "upload.placed":
		return "upload.placed"
	case "upload.published":
		return "upload.published"
	case "upload.rejected":
		return "upload.rejected"
	case "upload.cancelled":
		return "upload.cancelled"
	case "upload.expired":
		return "upload.expired"
	case "download.opened":
		return "download.opened"
	case "download.read":
		return "download.read"
	case "download.closed":
		return "download.closed"
	case "download.expired":
		return "download.expired"
	case "download.cancelled":
		return "download.cancelled"
	case "node.created":
		return "node.created"
	case "node.renamed":
		return "node.renamed"
	case "node.moved":
		return "node.moved"
	case "node.deleted":
		return "node.deleted"
	case "node.recovered":
		return "node.recovered"
	case "node.removed":
		return "node.removed"
	case "revision.created":
		return "revision.created"
	case "revision.published":
		return "revision.published"
	case "revision.deleted":
		return "revision.deleted"
	case "revision.removed":
		return "revision.removed"
	case "object.dropped":
		return "object.dropped"
	case "job.queued":
		return "job.queued"
	case "job.claimed":
		return "job.claimed"
	case "job.released":
		return "job.released"
	case "job.done":
		return "job.done"
	case "job.failed":
		return "job.failed"
	}
	return string(b)
}
