package gateway

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"time"

	"github.com/chatring/chatring/app/auth"
)

// Tickets keep what tickets stand for, for all nodes. Their errors say that nobody
// knows for the moment. They may be called concurrently.
type Tickets interface {
	// KeepTicket keeps what a ticket stands for, for a while.
	KeepTicket(ctx context.Context, id string, sealed []byte, life time.Duration) error
	// LookTicket returns that, and who has used the ticket: nobody if user is empty.
	// There is no such ticket, or no more, if sealed is.
	LookTicket(ctx context.Context, id string) (sealed []byte, user string, err error)
	// UseTicket makes somebody the one who has used a ticket, and keeps it for a while
	// from now on. It is false when somebody else has, or there is no such ticket.
	UseTicket(ctx context.Context, id, user string, life time.Duration) (ok bool, err error)
}

const (
	// ticketLife is how long a ticket may be used for the first time, and usedLife how
	// long it is kept at the most for its browser to come back.
	ticketLife = 30 * time.Second
	usedLife   = 24 * time.Hour
	// ticketCookie is by what a browser is known as the one that has used a ticket.
	ticketCookie = "chatring-ticket"
	ticketLength = 26
	// ticketTimeout is how long the store may take.
	ticketTimeout = 2 * time.Second
)

// A ticket stands for what its owner has shown, in an address: an EventSource of a browser
// can show nothing else. The first browser that uses it gets a cookie, and is known by
// it when it comes back. The store learns neither: it has a name of the ticket, and what
// the ticket stands for sealed by a key that only the ticket gives.
type ticket struct {
	id   string
	seal cipher.AEAD
}

func readTicket(text string) ticket {
	both, _ := hkdf.Key(sha256.New, []byte(text), nil, "chatring ticket", 64) // fails beyond 8 KiB
	block, _ := aes.NewCipher(both[32:])                                      // fails for other sizes
	seal, _ := cipher.NewGCMWithRandomNonce(block)                            // fails for other ciphers
	return ticket{id: hex.EncodeToString(both[:32]), seal: seal}
}

// A redemption is a ticket that a request has shown.
type redemption struct {
	ticket  ticket
	usedBy  string // empty: nobody
	browser string // the request's cookie; empty: none
}

// known is how the store knows a browser.
func known(cookie string) string {
	sum := sha256.Sum256([]byte(cookie))
	return hex.EncodeToString(sum[:])
}

// serveTicket gives a ticket to whoever shows who they are.
func (g *Gateway) serveTicket(w http.ResponseWriter, r *http.Request) {
	g.letRead(w, r)
	if r.Method == http.MethodOptions {
		g.servePreflight(w, r, "POST")
		return
	}
	if f := g.giveTicket(w, r); f != nil {
		g.refuse(w, f)
	}
}

func (g *Gateway) giveTicket(w http.ResponseWriter, r *http.Request) *refusal {
	if r.Method != http.MethodPost {
		return notAllowed("POST, OPTIONS")
	}
	if !g.allowedOrigin(r) {
		return foreign()
	}
	c := shown(r)
	if _, f := g.identify(c, g.posts); f != nil {
		return f
	}
	text := rand.Text()
	t := readTicket(text)
	plain, _ := json.Marshal(c) // two texts
	ctx, cancel := context.WithTimeout(r.Context(), ticketTimeout)
	defer cancel()
	sealed := t.seal.Seal(nil, nil, plain, nil) // #nosec G407 -- it draws a nonce by itself
	if err := g.opts.Tickets.KeepTicket(ctx, t.id, sealed, ticketLife); err != nil {
		return noTickets()
	}
	g.count.Gateway.Tickets.WithLabelValues("given").Inc()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(struct { // the client may be gone: nobody to tell
		Ticket      string `json:"ticket"`
		ExpiresInMS int64  `json:"expires_in_ms"`
	}{text, ticketLife.Milliseconds()})
	return nil
}

func noTickets() *refusal {
	return unavailable("tickets", "tickets cannot be looked at for the moment: try again")
}

// worthless refuses a ticket, and does not say whether somebody else has used it.
func (g *Gateway) worthless() *refusal {
	g.count.Gateway.Tickets.WithLabelValues("refused").Inc()
	return &refusal{status: 401, code: "unauthorized", message: "the ticket is not good, or no more: ask for another", header: [2]string{"WWW-Authenticate", "Bearer"}}
}

// look returns what a ticket stands for. It is not used yet: the request may be refused
// for other reasons, and be sent to another node.
func (g *Gateway) look(r *http.Request, text string) (*redemption, auth.Credentials, *refusal) {
	var c auth.Credentials
	if g.opts.Tickets == nil || len(text) != ticketLength {
		return nil, c, g.worthless()
	}
	if !g.shakes.Allow() { // as for a token
		return nil, c, unavailable("handshakes", "too many connections at once: try again")
	}
	ctx, cancel := context.WithTimeout(r.Context(), ticketTimeout)
	defer cancel()
	d := &redemption{ticket: readTicket(text)}
	if cookie, err := r.Cookie(ticketCookie); err == nil {
		d.browser = cookie.Value
	}
	sealed, usedBy, err := g.opts.Tickets.LookTicket(ctx, d.ticket.id)
	if err != nil {
		return nil, c, noTickets()
	}
	d.usedBy = usedBy
	plain, err := d.ticket.seal.Open(nil, nil, sealed, nil)
	if err != nil || json.Unmarshal(plain, &c) != nil {
		return nil, c, g.worthless()
	}
	if usedBy != "" && subtle.ConstantTimeCompare([]byte(usedBy), []byte(known(d.browser))) != 1 {
		return nil, c, g.worthless()
	}
	return d, c, nil
}

// redeem makes the request's browser the one that has used the ticket.
func (g *Gateway) redeem(w http.ResponseWriter, r *http.Request, d *redemption, id auth.Identity) *refusal {
	if d.usedBy != "" {
		g.count.Gateway.Tickets.WithLabelValues("used_again").Inc()
		return nil
	}
	fresh := d.browser == ""
	if fresh {
		d.browser = rand.Text()
	}
	life := usedLife
	if !id.Expires.IsZero() {
		life = min(life, time.Until(id.Expires))
	}
	ctx, cancel := context.WithTimeout(r.Context(), ticketTimeout)
	defer cancel()
	ok, err := g.opts.Tickets.UseTicket(ctx, d.ticket.id, known(d.browser), life)
	switch {
	case err != nil:
		return noTickets()
	case !ok:
		return g.worthless()
	}
	g.count.Gateway.Tickets.WithLabelValues("used").Inc()
	if fresh { // one that a browser has is good for all its tickets
		http.SetCookie(w, &http.Cookie{ // #nosec G124 -- Secure where there is TLS
			Name: ticketCookie, Value: d.browser, Path: "/sse/", HttpOnly: true, SameSite: http.SameSiteStrictMode,
			Secure: r.Header.Get("X-Forwarded-Proto") == "https",
		})
	}
	return nil
}
