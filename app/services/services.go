// Package services is the HTTP API by which other programs push events and ask
// questions: messages into rooms, notifications into inboxes, announcements to
// everybody, who is where. It knows neither sockets nor Redis, and any node can
// answer for any room.
package services

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/chatring/chatring/app/auth"
	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/metrics"
	"github.com/chatring/chatring/app/protocol"
)

// A Hub is this node's way to every room, whichever node serves it.
type Hub interface {
	// Post appends to a room's log. An empty key is made. Its errors are
	// chat.ErrConflict, or mean that the log is unavailable.
	Post(ctx context.Context, d chat.Draft) (chat.Publication, error)
	// Reach says of each room how many sessions hear it now, and where.
	Reach(ctx context.Context, rooms []chat.RoomID) []hub.Reach
	History(ctx context.Context, room chat.RoomID, g hub.Range) (messages []protocol.Frame, more bool, err error)
	Presence(ctx context.Context, room chat.RoomID) (protocol.Present, error)
}

// Nodes are told what concerns the sockets of all of them. Their errors mean that
// the nodes could not be told: the same again does no harm.
type Nodes interface {
	// Announce tells every session of every node, once for each sender and key.
	Announce(ctx context.Context, d chat.Draft) error
	// Disconnect closes the sockets of a user with a code.
	Disconnect(ctx context.Context, user chat.UserID, code protocol.CloseCode) error
	// LogOut closes the sockets that live by a token issued until then, and
	// makes such tokens worthless.
	LogOut(ctx context.Context, user chat.UserID, until time.Time) error
}

// Revoked know which tokens are good no more; see gateway.Logouts.
type Revoked interface {
	Known() bool
	Revoked(user chat.UserID, issued time.Time) bool
}

// Options are the knobs of the API.
type Options struct {
	// Rates are what each service may ask of this node.
	Rates Rates
	// InFlight is how many requests are worked on at once, half of them of one
	// service; others are refused.
	InFlight int
	// MaxData is how many bytes the data of one message may have.
	MaxData int
	// QueueBytes is how much the messages of all requests together may take of
	// what may wait for the log, so that sockets keep their part of it.
	QueueBytes int
	// Timeout is how long the log and the other nodes may take for a request.
	Timeout time.Duration
}

// An API answers services. Its Handler may be called concurrently.
type API struct {
	// Static after construction.
	hub     Hub
	nodes   Nodes
	auth    auth.Authenticator
	revoked Revoked // nil: no token outlives its user's log-out
	opts    Options
	count   *metrics.Services

	busy    chan struct{}       // holds a token for each request that is worked on
	appends *semaphore.Weighted // bytes that may wait for the log
	loud    budget              // announcements of everybody
	callers callers
}

// New builds the API. Revoked may be nil, where nobody has tokens.
func New(h Hub, nodes Nodes, a auth.Authenticator, revoked Revoked, opts Options, count *metrics.Services) *API {
	return &API{
		hub: h, nodes: nodes, auth: a, revoked: revoked, opts: opts, count: count,
		busy:    make(chan struct{}, opts.InFlight),
		appends: semaphore.NewWeighted(int64(opts.QueueBytes)),
		loud:    newBudget("announcements", announcementsEach, announcementsBurst),
		callers: callers{rates: opts.Rates, all: make(map[chat.UserID]*caller)},
	}
}

// A route is an endpoint.
type route struct {
	method, path string
	scope        auth.Scopes // that the token must have
	serve        func(*API, *call) (any, *refusal)
}

var routes = []route{
	{"POST", "/api/rooms/{room}/messages", auth.Publish, (*API).publish},
	{"GET", "/api/rooms/{room}/messages", auth.Read, (*API).history},
	{"GET", "/api/rooms/{room}/presence", auth.Read, (*API).presence},
	{"GET", "/api/rooms/{room}", auth.Read, (*API).room},
	{"POST", "/api/messages", 0, (*API).publishAll}, // each message says what it needs
	{"POST", "/api/users/{user}/notifications", auth.Notify, (*API).notify},
	{"POST", "/api/notifications", auth.Notify, (*API).notifyAll},
	{"POST", "/api/announcements", auth.Admin, (*API).announce},
	{"GET", "/api/users/{user}", auth.Read, (*API).user},
	{"POST", "/api/users/{user}/disconnect", auth.Admin, (*API).disconnect},
	{"POST", "/api/users/{user}/logout", auth.Admin, (*API).logout},
}

// Handler serves /api/.
func (a *API) Handler() http.Handler {
	mux := http.NewServeMux()
	methods := map[string][]string{}
	for _, rt := range routes {
		mux.HandleFunc(rt.method+" "+rt.path, func(w http.ResponseWriter, r *http.Request) { a.serve(w, r, rt) })
		methods[rt.path] = append(methods[rt.path], rt.method)
	}
	for path, allowed := range methods {
		slices.Sort(allowed)
		allow := strings.Join(allowed, ", ")
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Allow", allow)
			a.write(w, "other", refuse(http.StatusMethodNotAllowed, methodNotAllowed, "this address takes "+allow), nil)
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern == "" {
			a.write(w, "other", refuse(http.StatusNotFound, protocol.NotFound, "no such path"), nil)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// A call is a request that is worked on.
type call struct {
	w      http.ResponseWriter
	r      *http.Request
	ctx    context.Context // ends when the log and the other nodes have had their time
	who    auth.Identity
	caller *caller
}

// serve answers a request, whatever happens.
func (a *API) serve(w http.ResponseWriter, r *http.Request, rt route) {
	name := rt.method + " " + rt.path
	defer func() {
		if v := recover(); v != nil {
			slog.Error("panic in a request of a service", "route", name, "panic", v, "stack", string(debug.Stack()))
			a.write(w, name, refuse(http.StatusInternalServerError, protocol.Internal, "a fault of the server"), nil)
		}
	}()
	c := &call{w: w, r: r}
	answer, f := a.answer(c, rt)
	if c.caller != nil {
		c.caller.sayLimits(w.Header())
	}
	a.write(w, name, f, answer)
}

// answer checks who asks, and how much, and lets the route answer. What is cheap
// comes first: a stranger takes no place from those who are known.
func (a *API) answer(c *call, rt route) (any, *refusal) {
	if foreign(c.r) {
		return nil, refuse(http.StatusForbidden, badOrigin, "pages may not call this: call it from a server")
	}
	var f *refusal
	if c.who, f = a.identify(c.r); f != nil {
		return nil, f
	}
	if !c.who.Service.Has(rt.scope) {
		return nil, forbidden(`this needs a token with "` + rt.scope.String() + `" in its claim "service"`)
	}
	c.caller = a.callers.of(c.who.User)
	if wait := c.caller.requests.take(1); wait > 0 {
		a.count.RateLimited.WithLabelValues("requests").Inc()
		return nil, later(http.StatusTooManyRequests, protocol.RateLimited, "more requests than this service may make: wait, and try again", wait)
	}
	if !a.begin(c.caller) {
		a.count.RateLimited.WithLabelValues("in_flight").Inc()
		return nil, unavailable("this node works on as many requests as it may: try again")
	}
	defer a.end(c.caller)
	var cancel context.CancelFunc
	c.ctx, cancel = context.WithTimeout(c.r.Context(), a.opts.Timeout)
	defer cancel()
	return rt.serve(a, c)
}

// begin takes a place for a request, if there is one. Half of the places are for
// other services.
func (a *API) begin(c *caller) bool {
	if c.working.Add(1) > int64(max(1, a.opts.InFlight/2)) {
		c.working.Add(-1)
		return false
	}
	select {
	case a.busy <- struct{}{}:
		return true
	default:
		c.working.Add(-1)
		return false
	}
}

func (a *API) end(c *caller) {
	<-a.busy
	c.working.Add(-1)
}

// identify says which service asks.
func (a *API) identify(r *http.Request) (auth.Identity, *refusal) {
	if a.revoked != nil && !a.revoked.Known() {
		return auth.Identity{}, unavailable("this node does not know yet whose tokens were revoked: try again")
	}
	shown := auth.Credentials{Service: r.URL.Query().Get("service")}
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		shown.Token = strings.TrimSpace(token)
	}
	id, err := a.auth.Authenticate(shown)
	switch {
	case errors.Is(err, auth.ErrRefused):
		return id, refuse(http.StatusUnauthorized, unauthorized, err.Error())
	case err != nil:
		return id, unavailable("tokens cannot be checked for the moment: try again")
	case id.Service == 0:
		return id, forbidden(`this is for services: the token has no claim "service"`)
	case a.revoked != nil && a.revoked.Revoked(id.User, id.Issued):
		return id, refuse(http.StatusUnauthorized, unauthorized, "not authenticated: the tokens of this service were revoked since this one was issued")
	}
	return id, nil
}

// write writes an answer, or a refusal instead.
func (a *API) write(w http.ResponseWriter, route string, f *refusal, answer any) {
	status := http.StatusOK
	if f != nil {
		status, answer = f.status, f.body()
		f.setHeader(w.Header())
	}
	a.count.Requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	writeJSON(w, status, answer)
}
