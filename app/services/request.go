package services

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// maxBody is how many bytes the body of a request may have.
const maxBody = 1 << 20

// foreign says whether a page of another host asks. Browsers say where a page came
// from, and no page is meant to call this API across hosts; programs say nothing.
func foreign(r *http.Request) bool {
	origins := r.Header["Origin"]
	if len(origins) == 0 {
		return false
	}
	u, err := url.Parse(origins[0])
	own := err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && strings.EqualFold(u.Host, r.Host)
	return len(origins) > 1 || !own
}

// read decodes the body of a request, strictly. An empty one is no JSON, unless
// optional says that it may be left out.
func (c *call) read(v any, optional bool) *refusal {
	h := c.r.Header
	if encoding := h.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return refuse(http.StatusUnsupportedMediaType, unsupported, "send the body without Content-Encoding")
	}
	if c.r.ContentLength > maxBody {
		return refuse(http.StatusRequestEntityTooLarge, tooLarge, errTooLarge)
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		return refuse(http.StatusRequestEntityTooLarge, tooLarge, errTooLarge)
	case err != nil:
		return badRequest("the body broke off")
	case len(body) == 0 && optional:
		return nil
	}
	if kind, _, _ := mime.ParseMediaType(h.Get("Content-Type")); kind != "application/json" {
		return refuse(http.StatusUnsupportedMediaType, unsupported, "send the body as application/json")
	}
	if !utf8.Valid(body) { // a browser would close the socket that it came to
		return badRequest("the body is not UTF-8")
	}
	return decode(body, v)
}

const errTooLarge = "the body has more than 1 MiB: send less at once"

// decode reads one JSON object, and nothing behind it. Fields that nobody knows are
// refused: one that was meant otherwise would be lost in silence.
func decode(body []byte, v any) *refusal {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		return badRequest("the body is one JSON object, and nothing behind it")
	}
	var mistyped *json.UnmarshalTypeError
	if errors.As(err, &mistyped) && mistyped.Field != "" {
		return badRequest(fmt.Sprintf("%q must not be a %s", mistyped.Field, mistyped.Value))
	}
	if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return badRequest("there is no field " + field)
	}
	return badRequest("the body is one JSON object")
}

// query reads the query of an address, strictly.
func (c *call) query(known ...string) (url.Values, *refusal) {
	q, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("the query cannot be read")
	}
	for name, values := range q {
		if name != "service" && !slices.Contains(known, name) {
			return nil, badRequest(fmt.Sprintf("there is no parameter %.64q", name))
		}
		if len(values) > 1 {
			return nil, badRequest(fmt.Sprintf("%q is there more than once", name))
		}
	}
	return q, nil
}

// position reads a position from a query; nil: there is none.
func position(q url.Values, name string) (*chat.Position, *refusal) {
	if !q.Has(name) {
		return nil, nil
	}
	p, err := chat.ParsePosition(q.Get(name))
	if err != nil {
		return nil, refuse(http.StatusBadRequest, protocol.BadPosition, fmt.Sprintf("%q: %v", name, err))
	}
	return &p, nil
}

// key is the name under which a request may be sent again: that of the body, or of
// the header Idempotency-Key, a string of RFC 9651 or the bare text. Empty: none.
func (c *call) key(said *string) (string, *refusal) {
	header, f := c.idempotencyKey()
	if f != nil || said == nil {
		return header, f
	}
	key, err := chat.ParseKey(*said)
	if err != nil {
		return "", refuse(http.StatusBadRequest, protocol.BadKey, err.Error())
	}
	if header != "" && header != key {
		return "", refuse(http.StatusBadRequest, protocol.BadKey, `"key" and the header Idempotency-Key differ: send one of them`)
	}
	return key, nil
}

func (c *call) idempotencyKey() (string, *refusal) {
	values := c.r.Header["Idempotency-Key"]
	if len(values) == 0 {
		return "", nil
	}
	key := values[0]
	if inner, ok := strings.CutPrefix(key, `"`); ok {
		key, ok = strings.CutSuffix(inner, `"`)
		if !ok {
			key = "" // no key
		}
		key = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(key)
	}
	if _, err := chat.ParseKey(key); err != nil || len(values) > 1 {
		return "", refuse(http.StatusBadRequest, protocol.BadKey, "Idempotency-Key: "+chat.ErrKey.Error())
	}
	return key, nil
}

// newKey is a key for what has none: 80 random bits.
func newKey() string { return strings.ToLower(rand.Text()[:16]) }
