package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/chatring/chatring/app/chat"
)

// A Logout makes every token of a user worthless, on every node, that was issued
// in the second of until or before, and closes the sockets that live by one. Its
// errors wrap chat.ErrUnavailable.
type Logout func(ctx context.Context, user chat.UserID, until time.Time) error

const (
	logoutTimeout = 5 * time.Second
	maxLogout     = 1 << 10         // bytes of a request's body
	maxAhead      = 5 * time.Minute // by which clocks may differ
)

// serve answers POST /users/{user}/logout.
func (logout Logout) serve(w http.ResponseWriter, r *http.Request) {
	user, err := chat.ParseUser(r.PathValue("user"))
	if err != nil {
		answerError(w, http.StatusBadRequest, "bad_user", err.Error())
		return
	}
	until, err := readUntil(w, r)
	if err != nil {
		answerError(w, http.StatusBadRequest, "bad_request", `the body is empty, or {"before":1763776000} as application/json: Unix seconds, not in the future`)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), logoutTimeout)
	defer cancel()
	if err := logout(ctx, user, until); err != nil {
		slog.Warn("a log-out could not be told to the nodes", "err", err)
		w.Header().Set("Retry-After", "1")
		answerError(w, http.StatusServiceUnavailable, "unavailable", "the nodes could not be told: try again")
		return
	}
	slog.Info("user logged out everywhere", "user", user, "before", until.Unix())
	answerJSON(w, http.StatusOK, map[string]any{"user": user, "before": until.Unix()})
}

// readUntil reads a request's body; without one, the moment is this second.
func readUntil(w http.ResponseWriter, r *http.Request) (time.Time, error) {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxLogout))
	d.DisallowUnknownFields()
	var body struct {
		Before *int64 `json:"before"`
	}
	if err := d.Decode(&body); errors.Is(err, io.EOF) {
		return time.Now(), nil
	} else if err != nil {
		return time.Time{}, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return time.Time{}, errors.New("more than one value")
	}
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/json" {
		return time.Time{}, errors.New("not JSON")
	}
	if body.Before == nil {
		return time.Now(), nil
	}
	if *body.Before < 1 || *body.Before > time.Now().Add(maxAhead).Unix() { // milliseconds, most likely
		return time.Time{}, errors.New("not a second until now")
	}
	return time.Unix(*body.Before, 0), nil
}

// withoutPages refuses what a page in an operator's browser asks for: browsers
// name the page that a POST comes from, and no page is meant to do any here; nor is
// a page of another site, or port, to have the node profiled, which costs something.
func withoutPages(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		posts := r.Method != http.MethodGet && r.Method != http.MethodHead && r.Header["Origin"] != nil
		site := r.Header.Get("Sec-Fetch-Site") // "none": the operator has typed the address
		foreign := site == "cross-site" || site == "same-site"
		if posts || foreign && strings.HasPrefix(r.URL.Path, "/debug/") {
			answerError(w, http.StatusForbidden, "forbidden", "pages may not do this")
			return
		}
		h.ServeHTTP(w, r)
	})
}

func answerError(w http.ResponseWriter, status int, code, message string) {
	answerJSON(w, status, map[string]any{"error": map[string]string{"code": code, "message": message}})
}
