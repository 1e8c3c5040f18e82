package ring

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/chatring/chatring/app/chat"
)

// lookupTimeout is how long the search for a room may take, or that for histories.
const lookupTimeout = 4 * time.Second

// Handler answers under /ring/ on the operators' port: what this node says of itself,
// what all of them say, and the page that shows it. It changes nothing.
//
//	/ring/                  the page
//	/ring/state             the whole ring
//	/ring/history           the last ten minutes of every node
//	/ring/rooms/{room}      where a room lives, and why
//	/ring/node              this node
//	/ring/node/history      its last ten minutes
//	/ring/node/rooms/{room} what it has of a room
func (a *Asker) Handler(page http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/ring/", page)
	get := func(path string, h http.HandlerFunc) { mux.Handle("GET "+path, ownPages(h)) }
	get("/ring/state", func(w http.ResponseWriter, r *http.Request) {
		if state, err := a.State(r.Context()); err == nil {
			answer(w, http.StatusOK, state)
		}
	})
	get("/ring/history", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), lookupTimeout)
		defer cancel()
		histories := a.Histories(ctx)
		if histories == nil {
			refuse(w, http.StatusServiceUnavailable, "busy", "too much is asked at once: try again")
			return
		}
		answer(w, http.StatusOK, histories)
	})
	get("/ring/rooms/{room}", withRoom(func(w http.ResponseWriter, r *http.Request, room chat.RoomID) {
		ctx, cancel := context.WithTimeout(r.Context(), lookupTimeout)
		defer cancel()
		found, err := a.Find(ctx, room)
		if err != nil {
			refuse(w, http.StatusServiceUnavailable, "busy", "too many rooms are looked up at once: try again")
			return
		}
		answer(w, http.StatusOK, found)
	}))
	get("/ring/node", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, a.self.Report()) })
	get("/ring/node/history", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, history{a.self.opts.AppID, a.self.History()})
	})
	get("/ring/node/rooms/{room}", withRoom(func(w http.ResponseWriter, _ *http.Request, room chat.RoomID) {
		local, ok := a.self.opts.Room(room)
		answer(w, http.StatusOK, localAnswer{ok, local})
	}))
	return mux
}

// ownPages refuses what a page of another site, open in an operator's browser, asks for.
func ownPages(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" || site == "same-site" {
			refuse(w, http.StatusForbidden, "forbidden", "pages of other sites may not ask")
			return
		}
		h(w, r)
	}
}

func withRoom(serve func(http.ResponseWriter, *http.Request, chat.RoomID)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		room, err := chat.ParseAddress(r.PathValue("room"))
		if err != nil {
			refuse(w, http.StatusBadRequest, "bad_room", err.Error())
			return
		}
		serve(w, r, room)
	}
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	answer(w, status, map[string]any{"error": map[string]string{"code": code, "message": message}})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client may be gone: nobody to tell
}
