package gateway

import "net/http"

// letRead lets the page that asks read the answer, if it is of an origin that may
// connect: a browser asks the server, where the page is of another site. Sockets need no
// such thing.
func (g *Gateway) letRead(w http.ResponseWriter, r *http.Request) {
	w.Header().Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" || !g.allowedOrigin(r) {
		return
	}
	w.Header().Set("Access-Control-Allow-Origin", origin)
	w.Header().Set("Access-Control-Allow-Credentials", "true") // the cookie of a ticket
	w.Header().Set("Access-Control-Expose-Headers", "Retry-After, X-Shard")
}

// servePreflight answers a browser that asks whether its page may send a request.
func (g *Gateway) servePreflight(w http.ResponseWriter, r *http.Request, methods string) {
	if !g.allowedOrigin(r) {
		g.refuse(w, foreign())
		return
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", methods)
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Last-Event-ID")
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
}
