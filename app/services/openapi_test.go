package services_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/chatring/chatring/app/services"
)

// document is docs/openapi.yaml, checked against the specification, its examples
// included.
var document = sync.OnceValues(func() (*openapi3.T, error) {
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromFile("../../docs/openapi.yaml")
	if err == nil {
		err = doc.Validate(loader.Context)
	}
	return doc, err
})

// documented finds what the document says of a request; nil: nothing.
var documented = sync.OnceValues(func() (func(*http.Request) *routers.Route, error) {
	doc, err := document()
	if err != nil {
		return nil, err
	}
	found := map[string]*routers.Route{}
	mux := http.NewServeMux()
	for path, item := range doc.Paths.Map() {
		for method, operation := range item.Operations() {
			found[method+" "+path] = &routers.Route{Spec: doc, Path: path, PathItem: item, Method: method, Operation: operation}
			mux.Handle(method+" "+path, http.NotFoundHandler())
		}
	}
	return func(r *http.Request) *routers.Route {
		_, pattern := mux.Handler(r)
		return found[pattern]
	}, nil
})

// conforms fails the test unless an answer is one that the document describes.
func conforms(t *testing.T, r *http.Request, w *httptest.ResponseRecorder) {
	t.Helper()
	find, err := documented()
	if err != nil {
		t.Fatal(err)
	}
	route := find(r)
	if route == nil || w.Code == http.StatusNotFound { // an address that the document does not have
		return
	}
	options := &openapi3filter.Options{IncludeResponseStatus: true}
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, Route: route, Options: options},
		Status:                 w.Code, Header: w.Header(), Options: options,
	}
	input.SetBodyBytes(w.Body.Bytes())
	if err := openapi3filter.ValidateResponse(r.Context(), input); err != nil {
		t.Errorf("%s %s: %d %.300s is not what docs/openapi.yaml says: %v", r.Method, r.URL, w.Code, w.Body, err)
	}
}

// docs/openapi.yaml has every endpoint, and no other, and says of each which scope
// it needs.
func TestDocumentedEndpoints(t *testing.T) {
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("OpenAPI %s", doc.OpenAPI)
	}
	var got []string
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			got = append(got, method+" "+path)
		}
	}
	slices.Sort(got)
	if want := slices.Sorted(slices.Values(services.Routes())); !slices.Equal(got, want) {
		t.Errorf("documented are\n%q, the code has\n%q", got, want)
	}
	find, err := documented()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range endpoints {
		route := find(httptest.NewRequestWithContext(t.Context(), e.method, e.path, nil))
		if route == nil {
			t.Errorf("%s %s is not documented", e.method, e.path)
		} else if want := "the scope `" + e.scope + "`"; e.scope != "" && !strings.Contains(route.Operation.Description, want) {
			t.Errorf("%s %s: the description does not name %s", e.method, e.path, want)
		}
	}
	if len(endpoints) != len(got) {
		t.Errorf("%d endpoints are tried here, want %d", len(endpoints), len(got))
	}
}

// Every example of the document is a request that is answered with 200, as the
// document says; so are the parameters' examples.
func TestDocumentedExamples(t *testing.T) {
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	for _, path := range slices.Sorted(maps.Keys(doc.Paths.Map())) {
		item := doc.Paths.Value(path)
		for method, operation := range item.Operations() {
			bodies := map[string][]byte{"without a body": nil}
			if operation.RequestBody != nil {
				content := operation.RequestBody.Value.Content["application/json"]
				if len(content.Examples) == 0 {
					t.Errorf("%s %s has no example", method, path)
				}
				bodies = map[string][]byte{}
				for name, example := range content.Examples {
					b, err := json.Marshal(example.Value.Value)
					if err != nil {
						t.Fatal(err)
					}
					bodies[name] = b
				}
			}
			for name, body := range bodies {
				t.Run(method+" "+path+" "+name, func(t *testing.T) {
					s := play(t)
					r := exampleRequest(t, method, path, append(slices.Clone(item.Parameters), operation.Parameters...), body)
					s.send(r).says(`{}`)
				})
				sent++
			}
		}
	}
	if sent < len(services.Routes()) {
		t.Errorf("%d examples were sent, want one for each endpoint at least", sent)
	}
}

// exampleRequest makes a request of the examples of its parameters.
func exampleRequest(t *testing.T, method, path string, parameters openapi3.Parameters, body []byte) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(string(body)))
	query := r.URL.Query()
	for _, p := range parameters {
		example, _ := p.Value.Example.(string)
		if n, ok := p.Value.Example.(float64); ok {
			example = strconv.Itoa(int(n))
		}
		switch {
		case example == "":
		case p.Value.In == "path":
			path = strings.ReplaceAll(path, "{"+p.Value.Name+"}", example)
		case p.Value.In == "query":
			query.Set(p.Value.Name, example)
		case p.Value.In == "header" && !strings.Contains(string(body), `"key"`):
			r.Header.Set(p.Value.Name, example)
		}
	}
	r.URL.Path, r.URL.RawQuery = path, query.Encode()
	r.Header.Set("Authorization", "Bearer "+everything)
	if len(body) > 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	return r
}

// What is no answer of the document is noticed: the check of all the others would
// be worth nothing.
func TestConformityIsChecked(t *testing.T) {
	find, err := documented()
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/users/alice", nil)
	for _, c := range []struct {
		status int
		body   string
		header http.Header
	}{
		{200, `{"user":"alice","online":true,"sessions":1,"shards":[]}`, nil},
		{200, `{"user":"alice","online":true,"sessions":1,"shards":[],"complete":true,"more":1}`, nil},
		{200, `{"user":"alice","online":1,"sessions":1,"shards":[],"complete":true}`, nil},
		{418, `{"error":{"code":"teapot","message":"no"}}`, nil},
		{400, `{"error":{"code":"teapot","message":"no"}}`, nil},
		{400, `{"error":{"code":"bad_request","message":"no","temporary":false}}`, nil},
		{503, `{"error":{"code":"unavailable","message":"no"}}`, nil}, // without Retry-After
		{401, `{"error":{"code":"unauthorized","message":"no"}}`, http.Header{"Www-Authenticate": {"Basic"}}},
	} {
		header := http.Header{"Content-Type": {"application/json"}}
		maps.Copy(header, c.header)
		input := &openapi3filter.ResponseValidationInput{
			RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, Route: find(r)},
			Status:                 c.status, Header: header, Body: io.NopCloser(strings.NewReader(c.body)),
			Options: &openapi3filter.Options{IncludeResponseStatus: true},
		}
		if err := openapi3filter.ValidateResponse(t.Context(), input); err == nil {
			t.Errorf("%d %s passes", c.status, c.body)
		}
	}
}
