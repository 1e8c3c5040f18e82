package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	refreshEvery = 5 * time.Minute // how long a key that its issuer has taken back is still good
	refreshLeast = time.Minute     // between fetches that tokens ask for
	fetchTimeout = 5 * time.Second
	maxJWKS      = 1 << 20         // bytes
	patience     = 2 * time.Second // how long a token waits for a fetch
)

// remoteKeys are the keys that an issuer publishes at a fixed address. They are
// fetched again now and then, and, at most once a minute, when a token names
// one that is not among them. What is fetched replaces what was there; a fetch
// that fails changes nothing.
type remoteKeys struct {
	// Static after construction.
	url    string
	client *http.Client
	wanted chan struct{} // never closed

	current atomic.Pointer[[]key] // nil: never fetched

	mu      sync.Mutex
	begun   time.Time     // when the last fetch began
	pending chan struct{} // closed at the end of the fetch that runs or is asked for; nil: none
}

func newRemoteKeys(url string) *remoteKeys {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableKeepAlives = true // minutes lie between two fetches
	transport.MaxResponseHeaderBytes = 64 << 10
	return &remoteKeys{
		url:    url,
		wanted: make(chan struct{}, 1),
		client: &http.Client{
			Transport: transport,
			// The address is pinned: whoever can redirect does not choose the keys.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

func (r *remoteKeys) keys() []key {
	if k := r.current.Load(); k != nil {
		return *k
	}
	return nil
}

// run fetches until ctx ends: every few minutes, after a failure sooner.
func (r *remoteKeys) run(ctx context.Context) {
	retry := time.Second
	for {
		next := refreshEvery
		if err := r.fetch(ctx); err == nil {
			retry = time.Second
		} else if ctx.Err() == nil {
			next, retry = retry, min(2*retry, refreshLeast)
			slog.Warn("keys of the tokens could not be fetched", "url", r.url, "err", err, "keys", len(r.keys()), "again_in", next)
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-r.wanted:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// refresh asks run for a fetch, unless the last one began less than a minute
// ago, and waits a little for one that is under way.
func (r *remoteKeys) refresh() {
	r.mu.Lock()
	if r.pending == nil && time.Since(r.begun) >= refreshLeast {
		r.pending = make(chan struct{})
		select {
		case r.wanted <- struct{}{}:
		default: // nobody runs
		}
	}
	pending := r.pending
	r.mu.Unlock()
	if pending == nil {
		return
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-pending:
	case <-timer.C:
	}
}

// fetch replaces the keys.
func (r *remoteKeys) fetch(ctx context.Context) error {
	r.begin()
	defer r.end()
	b, err := r.get(ctx)
	if err != nil {
		return err
	}
	keys, unusable, err := parseJWKS(b)
	if err != nil {
		return errors.Join(append([]error{err}, unusable...)...)
	}
	old := r.keys()
	r.current.Store(&keys)
	if !slices.EqualFunc(old, keys, func(a, b key) bool { return a.id == b.id && a.alg == b.alg }) {
		slog.Info("keys of the tokens have changed", "url", r.url, "keys", len(keys), "not_usable", errors.Join(unusable...))
	}
	return nil
}

func (r *remoteKeys) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begun = time.Now()
	select {
	case <-r.wanted: // by this fetch
	default:
	}
	if r.pending == nil {
		r.pending = make(chan struct{})
	}
}

func (r *remoteKeys) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.pending)
	r.pending = nil
}

func (r *remoteKeys) get(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers %s", resp.Status)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxJWKS+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxJWKS {
		return nil, fmt.Errorf("more than %d bytes", maxJWKS)
	}
	return b, nil
}

// Run keeps the keys that are fetched fresh, until ctx ends.
func (j *JWT) Run(ctx context.Context) error {
	if j.remote == nil {
		<-ctx.Done()
		return nil
	}
	j.remote.run(ctx)
	return nil
}

// Fetch gets the keys once, for those who do not Run.
func (j *JWT) Fetch(ctx context.Context) error {
	if j.remote == nil {
		return nil
	}
	if err := j.remote.fetch(ctx); err != nil {
		return fmt.Errorf("fetch keys of the tokens: %w", err)
	}
	return nil
}
