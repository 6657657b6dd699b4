package tileclient

import (
	"net/http"
	"strings"
	"sync"
)

// seen are the paths that were asked for.
type seen struct {
	mu    sync.Mutex
	paths []string // guarded by mu
}

type watched struct {
	seen *seen
	next http.RoundTripper
}

func (s *seen) watch(next http.RoundTripper) http.RoundTripper { return watched{s, next} }

func (w watched) RoundTrip(r *http.Request) (*http.Response, error) {
	w.seen.mu.Lock()
	w.seen.paths = append(w.seen.paths, r.URL.Path)
	w.seen.mu.Unlock()
	return w.next.RoundTrip(r)
}

// saw tells whether a path had all the parts.
func (s *seen) saw(parts ...string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
next:
	for _, p := range s.paths {
		for _, part := range parts {
			if !strings.Contains(p, part) {
				continue next
			}
		}
		return true
	}
	return false
}
