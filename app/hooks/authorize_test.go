package hooks_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hooks"
	"github.com/chatring/chatring/app/metrics"
	"github.com/chatring/chatring/app/protocol"
)

var draft = chat.Draft{Room: "lobby", From: "alice", Key: "k1", Body: []byte(`{"text":"<hi>"}`)}

// code is that of a *protocol.Error; empty: no error.
func code(t *testing.T, err error) protocol.Code {
	t.Helper()
	if err == nil {
		return ""
	}
	var e *protocol.Error
	if !errors.As(err, &e) {
		t.Fatalf("%v is no word to a client", err)
	}
	return e.Code
}

// counted is how often questions of a kind had an outcome.
func counted(count *metrics.Set, hook, outcome string) int {
	return int(testutil.ToFloat64(count.Hooks.Requests.WithLabelValues(hook, outcome)))
}

// The application is asked who wants what, in signed requests, and its yes lets
// them.
func TestAllowed(t *testing.T) {
	app, url := serve(t, says(200, `{"allow":true}`))
	a, count := asking(t, url, nil)
	if err := a.AuthorizeConnect(t.Context(), "alice", "lobby", true, "192.0.2.7"); err != nil {
		t.Error(err)
	}
	if err := a.AuthorizeJoin(t.Context(), "alice", "s1", "team", false); err != nil {
		t.Error(err)
	}
	body, err := a.AuthorizePublish(t.Context(), draft, "s1")
	if err != nil || string(body) != string(draft.Body) {
		t.Errorf("publish %s, %v; want what was said", body, err)
	}
	want := []map[string]any{
		{"event": "connect", "user": "alice", "room": "lobby", "watch": true, "address": "192.0.2.7"},
		{"event": "join", "user": "alice", "session": "s1", "room": "team"},
		{"event": "publish", "user": "alice", "session": "s1", "room": "lobby", "key": "k1", "data": map[string]any{"text": "<hi>"}},
	}
	if got := app.heard(t); !reflect.DeepEqual(got, want) {
		t.Errorf("asked %v, want %v", got, want)
	}
	for _, hook := range []string{"connect", "join", "publish"} {
		if got := counted(count, hook, "allowed"); got != 1 {
			t.Errorf("%s: %d allowed, want 1", hook, got)
		}
	}
}

// What has no address is not asked.
func TestNotAsked(t *testing.T) {
	a, _ := asking(t, "", nil)
	body, err := a.AuthorizePublish(t.Context(), draft, "s1")
	if err != nil || string(body) != string(draft.Body) ||
		a.AuthorizeJoin(t.Context(), "alice", "s1", "lobby", false) != nil ||
		a.AuthorizeConnect(t.Context(), "alice", "lobby", false, "192.0.2.7") != nil {
		t.Errorf("%s, %v; want it allowed", body, err)
	}
}

// The client sees the application's reason, as far as it can be printed and is
// short.
func TestDenied(t *testing.T) {
	for said, want := range map[string]string{
		`no links here`:                       "no links here",
		``:                                    "the application does not allow this",
		"a\\u0000b\\u202ec\\nd":               "abcd",
		strings.Repeat("é", 101):              strings.Repeat("é", 100),
		"x" + strings.Repeat("é", 100):        "x" + strings.Repeat("é", 99),
		`\u0007\u0007`:                        "the application does not allow this",
		`you are <b>not</b> \"welcome\" here`: `you are <b>not</b> "welcome" here`,
	} {
		_, url := serve(t, says(200, `{"allow":false,"message":"`+said+`"}`))
		a, count := asking(t, url, nil)
		_, err := a.AuthorizePublish(t.Context(), draft, "s1")
		if got := (&protocol.Error{Code: protocol.Forbidden, Message: want}); !reflect.DeepEqual(err, error(got)) {
			t.Errorf("%s: %v, want %v", said, err, got)
		}
		if counted(count, "publish", "denied") != 1 {
			t.Errorf("%s: not counted", said)
		}
	}
}

// The application may put other data in the place of what was said: one JSON
// value on one line that a client might have sent.
func TestReplacedData(t *testing.T) {
	for _, c := range []struct{ answer, want string }{
		{`{"allow":true,"data":{"text":"<b>"}}`, `{"text":"<b>"}`},
		{`{"allow":true,"data": [ 1,` + "\n" + ` 2 ]}`, `[1,2]`},
		{`{"allow":true,"data":null}`, string(draft.Body)},
		{`{"allow":true,"data":"` + strings.Repeat("x", 998) + `"}`, `"` + strings.Repeat("x", 998) + `"`},
		{`{"allow":true,"data":"` + strings.Repeat("x", 999) + `"}`, ""},
		{`{"allow":true,"data":` + strings.Repeat("[", 33) + strings.Repeat("]", 33) + `}`, ""},
		{"{\"allow\":true,\"data\":\"\xff\"}", ""},
	} {
		_, url := serve(t, says(200, c.answer))
		a, count := asking(t, url, nil)
		body, err := a.AuthorizePublish(t.Context(), draft, "s1")
		if c.want == "" {
			if code(t, err) != protocol.Unavailable || counted(count, "publish", "bad_answer") != 1 {
				t.Errorf("%.60q: %v, want it to be no answer", c.answer, err)
			}
		} else if err != nil || string(body) != c.want {
			t.Errorf("%.60q: %.60s, %v; want %.60s", c.answer, body, err, c.want)
		}
	}
}

// An application that does not answer as it should has not answered: the
// setting says what that means, and the client learns nothing else.
func TestNoAnswer(t *testing.T) {
	other, otherURL := serve(t, says(200, `{"allow":true}`))
	gone := httptest.NewServer(nil)
	gone.Close()
	var sent atomic.Int64
	for name, c := range map[string]struct {
		answer  http.HandlerFunc
		outcome string
	}{
		"hangs":            {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "timeout"},
		"fails":            {says(500, `{"allow":true}`), "bad_answer"},
		"says nothing":     {says(204, ``), "bad_answer"},
		"is empty":         {says(200, ``), "bad_answer"},
		"is no JSON":       {says(200, `<html>yes</html>`), "bad_answer"},
		"says no allow":    {says(200, `{"message":"yes"}`), "bad_answer"},
		"has another type": {says(200, `{"allow":"true"}`), "bad_answer"},
		"has two values":   {says(200, `{"allow":true}{"allow":true}`), "bad_answer"},
		"redirects":        {http.RedirectHandler(otherURL, http.StatusTemporaryRedirect).ServeHTTP, "bad_answer"},
		"breaks off":       {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "failed"},
		"answers a GB": {func(w http.ResponseWriter, _ *http.Request) {
			piece := []byte(strings.Repeat(" ", 1<<16))
			for range 1 << 14 {
				n, err := w.Write(piece)
				sent.Add(int64(n))
				if err != nil {
					return
				}
			}
		}, "bad_answer"},
		"has huge headers": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Huge", strings.Repeat("x", 1<<20))
			_, _ = io.WriteString(w, `{"allow":true}`)
		}, "failed"},
		"cannot be reached": {nil, "failed"},
	} {
		t.Run(name, func(t *testing.T) {
			url := gone.URL
			if c.answer != nil {
				_, url = serve(t, c.answer)
			}
			for _, allow := range []bool{false, true} {
				a, count := asking(t, url, func(o *hooks.AuthorizerOptions) {
					o.AllowOnFailure = allow
					if c.outcome == "timeout" {
						o.Timeout = 50 * time.Millisecond
					}
				})
				_, err := a.AuthorizePublish(t.Context(), draft, "s1")
				want := error(&protocol.Error{Code: protocol.Unavailable, Message: "the application does not answer: try again", Temporary: true, RetryAfterMS: 1000})
				if allow {
					want = nil
				}
				if !reflect.DeepEqual(err, want) {
					t.Errorf("allow on failure %v: %v, want %v", allow, err, want)
				}
				if got := counted(count, "publish", c.outcome); got != 1 {
					t.Errorf("%d times %s, want once", got, c.outcome)
				}
			}
		})
	}
	if got := other.heard(t); len(got) > 0 {
		t.Errorf("a redirect was followed: %v", got)
	}
	if n := sent.Load(); n > 64<<20 {
		t.Errorf("%d bytes of the answer were taken", n)
	}
}

// A certificate that nobody has signed is no application's.
func TestTLSIsVerified(t *testing.T) {
	app := &application{secret: secret1, answer: says(200, `{"allow":true}`)}
	s := httptest.NewUnstartedServer(app)
	s.Config.ErrorLog = quiet
	s.StartTLS()
	defer s.Close()
	a, count := asking(t, s.URL, nil)
	if err := a.AuthorizeJoin(t.Context(), "alice", "s1", "lobby", false); code(t, err) != protocol.Unavailable {
		t.Errorf("%v, want unavailable", err)
	}
	if counted(count, "join", "failed") != 1 || len(app.heard(t)) != 0 {
		t.Error("the application was asked")
	}
}

// After five failures in a row nothing is asked for five seconds. Then one
// question finds out whether the application is back.
func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		app := &application{secret: secret1, answer: func(w http.ResponseWriter, r *http.Request) {
			if broken.Load() {
				says(503, "")(w, r)
				return
			}
			time.Sleep(10 * time.Millisecond)
			says(200, `{"allow":true}`)(w, r)
		}}
		a, count := asking(t, "http://app.example", func(o *hooks.AuthorizerOptions) { o.Transport = direct{app} })
		breaker := count.Hooks.Breaker.WithLabelValues("join")
		join := func() protocol.Code {
			return code(t, a.AuthorizeJoin(t.Context(), "alice", "s1", "lobby", false))
		}
		say := func(when string, asked int, state float64) {
			t.Helper()
			if got := len(app.heard(t)); got != asked {
				t.Errorf("%s: asked %d times, want %d", when, got, asked)
			}
			if got := testutil.ToFloat64(breaker); got != state {
				t.Errorf("%s: the breaker is %v, want %v", when, got, state)
			}
		}
		broken.Store(true)
		for range 20 {
			if got := join(); got != protocol.Unavailable {
				t.Fatalf("%q, want unavailable", got)
			}
		}
		say("after failures", 5, 2)
		if got := counted(count, "join", "breaker_open"); got != 15 {
			t.Errorf("%d times breaker_open, want 15", got)
		}
		time.Sleep(5*time.Second + time.Millisecond)
		join()
		join()
		say("after one more failure", 6, 2)

		broken.Store(false)
		time.Sleep(5*time.Second + time.Millisecond)
		second := make(chan protocol.Code)
		go func() {
			synctest.Wait() // the first one is under way
			second <- join()
		}()
		if got := join(); got != "" {
			t.Errorf("%q, want it allowed", got)
		}
		if got := <-second; got != protocol.Unavailable {
			t.Errorf("beside the one that finds out: %q, want unavailable", got)
		}
		if got := join(); got != "" {
			t.Errorf("%q, want it allowed", got)
		}
		say("after it is back", 8, 0)
	})
}

// Whoever finds what the application cannot answer keeps nobody else from asking.
func TestBadAnswersKeepTheDoorOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := &application{secret: secret1}
		a, count := asking(t, "http://app.example", func(o *hooks.AuthorizerOptions) { o.Transport = direct{app} })
		for n, answer := range []http.HandlerFunc{says(500, ""), says(404, ""), says(302, ""), says(200, "{")} {
			app.answer = answer
			for range 40 {
				if got := code(t, a.AuthorizeJoin(t.Context(), "mallory", "s1", "lobby", false)); got != protocol.Unavailable {
					t.Errorf("%q, want unavailable", got)
				}
			}
			app.answer = says(200, `{"allow":true}`)
			if got := code(t, a.AuthorizeJoin(t.Context(), "alice", "s2", "lobby", false)); got != "" {
				t.Errorf("after answers of kind %d: %q, want it allowed", n, got)
			}
		}
		if got := counted(count, "join", "bad_answer"); got != 160 {
			t.Errorf("%d bad answers, want 160", got)
		}
	})
}

// An application that fails every other time is left alone as well, and each
// hook has a breaker of its own.
func TestBreakerOpensAtHalf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int64
		app := &application{secret: secret1, answer: func(w http.ResponseWriter, r *http.Request) {
			says([]int{200, 503}[n.Add(1)%2], `{"allow":true}`)(w, r)
		}}
		a, _ := asking(t, "http://app.example", func(o *hooks.AuthorizerOptions) { o.Transport = direct{app} })
		for range 40 {
			_ = a.AuthorizeJoin(t.Context(), "alice", "s1", "lobby", false)
			time.Sleep(100 * time.Millisecond)
		}
		if got := len(app.heard(t)); got != 20 && got != 21 {
			t.Errorf("asked %d times, want it to stop after 20", got)
		}
		_, _ = a.AuthorizePublish(t.Context(), draft, "s1")
		if got := app.heard(t); got[len(got)-1]["event"] != "publish" {
			t.Error("the breaker of join keeps publish from being asked")
		}
	})
}

// So many questions are under way at once and no more. Who gets no turn in time
// has no answer, and that is not the application's fault.
func TestConcurrencyIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int64
		app := &application{secret: secret1, answer: func(w http.ResponseWriter, r *http.Request) {
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(900 * time.Millisecond)
			now.Add(-1)
			says(200, `{"allow":true}`)(w, r)
		}}
		a, count := asking(t, "http://app.example", func(o *hooks.AuthorizerOptions) { o.Transport, o.Timeout = direct{app}, time.Second })
		for round := 1; round <= 3; round++ {
			codes := make(chan protocol.Code)
			for n := range 20 {
				go func() {
					ctx := t.Context()
					if n >= 4 {
						time.Sleep(time.Millisecond) // four are under way
						impatient, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
						defer cancel()
						ctx = impatient
					}
					codes <- code(t, a.AuthorizeJoin(ctx, "alice", "s1", "lobby", false))
				}()
			}
			got := map[protocol.Code]int{}
			for range 20 {
				got[<-codes]++
			}
			if most.Load() != 4 || got[""] != 4 || counted(count, "join", "busy") != 16*round {
				t.Errorf("round %d: %d at once, %v, %d busy; want 4 at once and allowed, 16 busy", round, most.Load(), got, counted(count, "join", "busy"))
			}
		}
		if testutil.ToFloat64(count.Hooks.Breaker.WithLabelValues("join")) != 0 {
			t.Error("the breaker has opened")
		}
	})
}

// A client that leaves while the application thinks says nothing about the
// application.
func TestGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := &application{secret: secret1, answer: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }}
		a, count := asking(t, "http://app.example", func(o *hooks.AuthorizerOptions) { o.Transport = direct{app} })
		for range 10 {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			if got := code(t, a.AuthorizeConnect(ctx, "alice", "lobby", false, "192.0.2.7")); got != protocol.Unavailable {
				t.Errorf("%q, want unavailable", got)
			}
			cancel()
		}
		if got := counted(count, "connect", "given_up"); got != 10 || testutil.ToFloat64(count.Hooks.Breaker.WithLabelValues("connect")) != 0 {
			t.Errorf("given up %d times, want 10 and a closed breaker", got)
		}
	})
}

// Every secret of the file signs, so that receivers know either; a change of the
// file counts within a second, and a broken one changes nothing.
func TestSecretRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := &application{secret: secret1, answer: says(200, `{"allow":true}`)}
		file := secretFile(t, secret1)
		a, _ := asking(t, "http://app.example", func(o *hooks.AuthorizerOptions) { o.Transport, o.SecretFile = direct{app}, file })
		for i, step := range []struct {
			file    string
			secrets []string // that verify
			not     string
		}{
			{secret1, []string{secret1}, secret2},
			{secret2 + "\n\n " + secret1, []string{secret1, secret2}, ""},
			{"whsec_short", []string{secret1, secret2}, ""},
			{secret2, []string{secret2}, secret1},
		} {
			if err := os.WriteFile(file, []byte(step.file), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(file, time.Now(), time.Unix(int64(i), 0)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			for _, app.secret = range step.secrets {
				if err := a.AuthorizeJoin(t.Context(), "alice", "s1", "lobby", false); err != nil {
					t.Errorf("step %d: %v", i, err)
				}
			}
			if app.secret = step.not; app.secret == "" {
				continue
			}
			if err := a.AuthorizeJoin(t.Context(), "alice", "s1", "lobby", false); err == nil {
				t.Errorf("step %d: a secret verifies that is not in the file", i)
			}
		}
	})
}

// Secrets that cannot be are refused when the node starts.
func TestBadSecrets(t *testing.T) {
	for _, s := range []string{
		"", "\n", "secret", "whsec_", "whsec_!!!!", strings.TrimPrefix(secret1, "whsec_"), "whsec_c2hvcnQ=",
		strings.Repeat(secret1+"\n", 5), "whsec_" + strings.Repeat("AAAA", 22),
	} {
		_, err := hooks.NewAuthorizer(hooks.AuthorizerOptions{SecretFile: secretFile(t, s)}, &metrics.New("1111", "test").Hooks)
		if err == nil {
			t.Errorf("%.20q is taken", s)
		} else if s != "" && strings.Contains(err.Error(), "c2hvcnQ") {
			t.Errorf("%v shows the secret", err)
		}
	}
	if _, err := hooks.NewAuthorizer(hooks.AuthorizerOptions{SecretFile: "/nowhere"}, &metrics.New("1111", "test").Hooks); err == nil {
		t.Error("a file that is not there is taken")
	}
}

// Connections are kept, so that a question costs no handshake.
func TestConnectionsAreKept(t *testing.T) {
	app := &application{secret: secret1, answer: says(200, `{"allow":true}`)}
	s := httptest.NewUnstartedServer(app)
	var opened atomic.Int64
	s.Config.ConnState = countNew(&opened)
	s.Start()
	defer s.Close()
	a, _ := asking(t, s.URL, nil)
	for range 50 {
		if err := a.AuthorizeJoin(t.Context(), "alice", "s1", "lobby", false); err != nil {
			t.Fatal(err)
		}
	}
	if n := opened.Load(); n != 1 {
		t.Errorf("%d connections for 50 questions, want 1", n)
	}
}
