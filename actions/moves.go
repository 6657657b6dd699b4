package actions

// Moves is how many bytes of files an action is about to bring in, or to hand out:
// none if it is sure to be refused.
func (e *Engine) Moves(a Action) (in, out int64) {
	switch a := a.(type) {
	case *UploadChunk:
		e.mu.Lock()
		u := e.uploads[a.Session]
		e.mu.Unlock()
		if u == nil {
			return 0, 0
		}
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.takes(a) == nil {
			in = int64(len(a.Data))
		}
	case *DownloadChunk:
		e.mu.Lock()
		d := e.downloads[a.Session]
		e.mu.Unlock()
		if d != nil && d.spans(a) {
			out = a.To - a.From
		}
	}
	return in, out
}
