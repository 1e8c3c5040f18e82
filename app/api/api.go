// Package api is the node's HTTP surface beside the sockets: what HAProxy and
// everybody may ask on the serving port, and what operators may ask on theirs.
// It does not know the wire.
package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/pprof" // also adds itself to http.DefaultServeMux, which nobody serves
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/metrics"
)

// Health is what the node says of itself.
type Health struct {
	draining atomic.Bool
	started  time.Time
	check    func(context.Context) error
}

// NewHealth builds the health of a node whose log answers to check.
func NewHealth(check func(context.Context) error) *Health {
	return &Health{check: check, started: time.Now()}
}

// Drain makes the node say that it is going away: HAProxy leaves it its
// sockets and sends no new ones.
func (h *Health) Drain() { h.draining.Store(true) }

// Draining says whether the node is going away.
func (h *Health) Draining() bool { return h.draining.Load() }

// Check asks the log whether it answers.
func (h *Health) Check(ctx context.Context) error { return h.check(ctx) }

// Serving answers on the serving port: /healthz for HAProxy, and
// /shard/{room}, which tells where HAProxy's ring sends a room.
func Serving(shard string, h *Health) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		// It never depends on Redis: one outage must not take all nodes off
		// the ring. 404 is what HAProxy's disable-on-404 reads as draining.
		if h.draining.Load() {
			answer(w, http.StatusNotFound, "draining")
			return
		}
		answer(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /shard/{room}", func(w http.ResponseWriter, r *http.Request) {
		room, err := chat.ParseAddress(r.PathValue("room"))
		if err != nil {
			answerError(w, http.StatusBadRequest, "bad_room", err.Error())
			return
		}
		w.Header().Set("X-Shard-Appid", shard)
		answerJSON(w, http.StatusOK, map[string]string{"room": string(room), "shard": shard})
	})
	return mux
}

// checkTimeout is how long /readyz waits for the log.
const checkTimeout = time.Second

// Operators answers on the operators' port: /livez, /readyz, /metrics,
// /debug/pprof/ and /users/{user}/logout.
func Operators(h *Health, m *metrics.Set, logout Logout) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", h.ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.Registry, promhttp.HandlerOpts{Registry: m.Registry}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index) // but not the command line: a flag may hold a password
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("POST /users/{user}/logout", logout.serve)
	return withoutPages(mux)
}

// ready explains itself. A log that does not answer degrades the node but does
// not make it unready: its members are served, and all nodes would leave at
// once.
func (h *Health) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
	defer cancel()
	state := struct {
		Status  string `json:"status"` // ready, degraded or draining
		Log     string `json:"log"`    // ok or unavailable
		UptimeS int    `json:"uptime_s"`
	}{"ready", "ok", int(time.Since(h.started).Seconds())}
	status := http.StatusOK
	if err := h.Check(ctx); err != nil {
		state.Status, state.Log = "degraded", "unavailable"
	}
	if h.draining.Load() {
		state.Status, status = "draining", http.StatusServiceUnavailable
	}
	answerJSON(w, status, state)
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n")) // the client may be gone: nobody to tell
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // as above
}
