package gateway

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/time/rate"

	"github.com/chatring/chatring/app/auth"
	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
	"github.com/chatring/chatring/app/session"
)

// A refusal is an HTTP answer instead of a socket.
type refusal struct {
	status  int
	code    string
	message string
	header  [2]string // one further header
	why     string    // for the metric, where the code does not say it
}

// foreign refuses the pages of other sites.
func foreign() *refusal {
	return &refusal{status: 403, code: string(protocol.Forbidden), message: "pages of this origin may not connect"}
}

// unavailable refuses what another node, or this one in a moment, may serve.
func unavailable(why, message string) *refusal {
	return &refusal{503, string(protocol.Unavailable), message, [2]string{"Retry-After", "1"}, why}
}

func (f *refusal) reason() string { return cmp.Or(f.why, f.code) }

func (f *refusal) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	if f.header[0] != "" {
		h.Set(f.header[0], f.header[1])
	}
	w.WriteHeader(f.status)
	type body struct {
		Code         string `json:"code"`
		Message      string `json:"message"`
		Temporary    bool   `json:"temporary,omitempty"`
		RetryAfterMS int    `json:"retry_after_ms,omitempty"`
	}
	seconds := f.retryAfter()
	_ = json.NewEncoder(w).Encode(struct { // the client may be gone: nobody to tell
		Error body `json:"error"`
	}{body{f.code, f.message, seconds > 0, 1000 * seconds}})
}

// retryAfter is how many seconds a client waits before it tries again; 0: there
// is no use in that.
func (f *refusal) retryAfter() int {
	if f.header[0] != "Retry-After" {
		return 0
	}
	seconds, _ := strconv.Atoi(f.header[1]) // our own
	return seconds
}

// admit checks everything about a request for a socket or a stream. The handshake
// itself comes last: a browser cannot see why a handshake was refused, so its page may
// ask the same address by a plain GET, and is told everything else first.
func (g *Gateway) admit(w http.ResponseWriter, r *http.Request, opens door, by transport) (admission, *refusal) {
	a := admission{watch: opens == watcher}
	if !g.allowedOrigin(r) {
		return a, foreign()
	}
	query := by.query(r)
	first, f := g.firstRoom(r, opens, query)
	if f != nil {
		return a, f
	}
	inbox, wanted, f := inboxOptions(query)
	if f != nil {
		return a, f
	}
	if a.credentials, f = by.credentials(r, &a); f != nil {
		return a, f
	}
	if a.identity, f = g.identify(a.credentials, g.shakes); f != nil {
		return a, f
	}
	a.rooms = []session.First{first}
	switch own := chat.Inbox(a.identity.User); {
	case opens == inboxOnly:
		a.rooms[0].Room = own
	case wanted && first.Room != own:
		a.rooms = append(a.rooms, session.First{Room: own, Options: inbox})
	}
	if bad := session.MayJoin(a.identity.User, a.identity.Rights, a.rooms[0].Room, a.watch); bad != nil {
		return a, &refusal{status: 403, code: string(bad.Code), message: bad.Message}
	}
	if a.user = g.enter(a.identity.User); a.user == nil {
		return a, &refusal{status: 429, code: "too_many_sockets", message: "close another connection of this user first", header: [2]string{"Retry-After", "10"}}
	}
	if f := g.authorize(r, a); f != nil {
		return a, f
	}
	return a, by.agree(w, r, &a)
}

// shown returns what a request shows of who asks: a token in its header, a name in its
// query.
func shown(r *http.Request) auth.Credentials {
	q := r.URL.Query()
	c := auth.Credentials{User: q.Get("user")}
	if scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "Bearer") {
		c.Token = strings.TrimSpace(token)
	}
	return c
}

// firstRoom reads which room the socket is for, and how it is joined. That of an
// inbox is known when the user is.
func (g *Gateway) firstRoom(r *http.Request, opens door, query url.Values) (first session.First, f *refusal) {
	if opens != inboxOnly {
		room, err := chat.ParseAddress(r.PathValue("room"))
		if err != nil {
			return first, &refusal{status: 400, code: string(protocol.BadRoom), message: err.Error()}
		}
		if g.hub.Full(room) {
			return first, unavailable("rooms", "this node has no place for another room: try again")
		}
		first.Room = room
	}
	first.Options, f = joinOptions(query)
	return first, f
}

// inboxOptions reads whether the user's inbox is wanted as well, and since when.
func inboxOptions(q url.Values) (o protocol.Options, wanted bool, f *refusal) {
	switch s := q.Get("inbox"); s {
	case "", "false":
		return o, false, nil
	case "true":
		return o, true, nil
	default:
		p, err := chat.ParsePosition(s)
		if err != nil {
			return o, false, &refusal{status: 400, code: string(protocol.BadPosition), message: "inbox is true, or the last position seen there: " + err.Error()}
		}
		o.Since = &p
		return o, true, nil
	}
}

// identify says who asks, if the node can tell, and may look.
func (g *Gateway) identify(c auth.Credentials, looks *rate.Limiter) (auth.Identity, *refusal) {
	if g.logouts != nil && !g.logouts.Known() {
		return auth.Identity{}, unavailable("logouts", "this node does not know yet who has logged out: try again")
	}
	if !looks.Allow() { // before the one check that is dear
		return auth.Identity{}, unavailable("handshakes", "too many connections at once: try again")
	}
	id, err := g.authenticate(c)
	switch {
	case errors.Is(err, auth.ErrRefused):
		return id, &refusal{status: 401, code: "unauthorized", message: err.Error(), header: [2]string{"WWW-Authenticate", "Bearer"}}
	case err != nil:
		return id, unavailable("keys", "tokens cannot be checked for the moment: try again")
	}
	return id, nil
}

// checkHandshake is RFC 6455 §4.2.1, of which gws checks a part.
func checkHandshake(r *http.Request) *refusal {
	bad := func(message string) *refusal {
		return &refusal{status: 400, code: string(protocol.BadRequest), message: message}
	}
	h := r.Header
	if r.Method != http.MethodGet {
		return &refusal{status: 405, code: string(protocol.BadRequest), message: "a WebSocket begins with GET", header: [2]string{"Allow", "GET"}}
	}
	if !r.ProtoAtLeast(1, 1) {
		return bad("HTTP/1.1 is needed")
	}
	if r.ContentLength != 0 { // -1: chunked
		// Where it ends is doubtful, and so what would be the next request.
		return &refusal{status: 400, code: string(protocol.BadRequest), message: "a handshake has no body", header: [2]string{"Connection", "close"}}
	}
	if !hasToken(h["Connection"], "upgrade") || !hasToken(h["Upgrade"], "websocket") {
		return &refusal{status: 426, code: string(protocol.BadRequest), message: "this address speaks WebSocket", header: [2]string{"Upgrade", "websocket"}}
	}
	if v := h["Sec-Websocket-Version"]; len(v) != 1 || v[0] != "13" {
		return &refusal{status: 426, code: string(protocol.BadRequest), message: "WebSocket version 13 is needed", header: [2]string{"Sec-WebSocket-Version", "13"}}
	}
	key := h["Sec-Websocket-Key"]
	if len(key) != 1 {
		return bad("one Sec-WebSocket-Key is needed")
	}
	if b, err := base64.StdEncoding.DecodeString(key[0]); err != nil || len(b) != 16 {
		return bad("Sec-WebSocket-Key must be 16 bytes in base64")
	}
	return nil
}

// hasToken finds a token in comma-separated header values, whatever its case.
func hasToken(values []string, token string) bool {
	for _, v := range values {
		for t := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}

// allowedOrigin keeps foreign pages from connecting with a user's browser.
// Clients that are no browsers send no Origin.
func (g *Gateway) allowedOrigin(r *http.Request) bool {
	origins := r.Header["Origin"]
	if len(origins) == 0 {
		return true
	}
	if len(origins) > 1 {
		return false
	}
	if slices.Contains(g.opts.Origins, origins[0]) {
		return true
	}
	u, err := url.Parse(origins[0])
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && strings.EqualFold(u.Host, r.Host) && u.Host != ""
}

// subprotocols says whether the client offers ours, and returns the token that
// a browser hands over as a further entry.
func subprotocols(r *http.Request) (ours bool, token string, f *refusal) {
	others := false
	for _, v := range r.Header["Sec-Websocket-Protocol"] {
		for t := range strings.SplitSeq(v, ",") {
			t = strings.TrimSpace(t)
			bearer, isToken := strings.CutPrefix(t, protocol.BearerPrefix)
			switch {
			case t == protocol.Subprotocol:
				ours = true
			case isToken:
				token = bearer
			case t != "":
				others = true
			}
		}
	}
	if others && !ours {
		return false, "", &refusal{status: 400, code: string(protocol.BadRequest), message: "the subprotocol is " + protocol.Subprotocol}
	}
	return ours, token, nil
}

// joinOptions reads since, echo and members, as the command join has them.
func joinOptions(q url.Values) (protocol.Options, *refusal) {
	var o protocol.Options
	if s := q.Get("since"); s != "" {
		p, err := chat.ParsePosition(s)
		if err != nil {
			return o, &refusal{status: 400, code: string(protocol.BadPosition), message: err.Error()}
		}
		o.Since = &p
	}
	for name, set := range map[string]func(bool){
		"echo":    func(b bool) { o.Mute = !b },
		"members": func(b bool) { o.Members = b },
	} {
		if s := q.Get(name); s != "" {
			b, err := strconv.ParseBool(s)
			if err != nil {
				return o, &refusal{status: 400, code: string(protocol.BadRequest), message: name + " is true or false"}
			}
			set(b)
		}
	}
	return o, nil
}
