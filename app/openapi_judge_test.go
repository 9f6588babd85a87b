package app

import (
	"bytes"
	"fmt"
	"mime"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/pb33f/jsonschema/v6"
)

// judge says whether answers are as the served OpenAPI documents declare them. It reads the documents as JSON Schema 2020-12, which OpenAPI 3.1's
// schemas are, and knows nothing of what made them.
type judge struct {
	mu        sync.Mutex
	compiler  *jsonschema.Compiler
	documents map[string]map[string]any
	compiled  map[string]*jsonschema.Schema
}

func newJudge(t *testing.T, n *node) *judge {
	t.Helper()
	j := &judge{compiler: jsonschema.NewCompiler(), documents: map[string]map[string]any{}, compiled: map[string]*jsonschema.Schema{}}
	j.compiler.DefaultDraft(jsonschema.Draft2020)
	j.compiler.AssertFormat()
	for _, r := range n.rooms {
		w := httptest.NewRecorder()
		r.router.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/openapi.json", nil))
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(w.Body.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		if err := j.compiler.AddResource("https://"+r.name+".example/openapi.json", doc); err != nil {
			t.Fatal(err)
		}
		j.documents[r.name] = doc.(map[string]any)
	}
	return j
}

// wrong is what is wrong with an answer; empty when it is as declared.
func (j *judge) wrong(r route, a *httptest.ResponseRecorder) string {
	status, method := fmt.Sprint(a.Code), strings.ToLower(r.method)
	if a.Code >= 500 {
		return "it is ours"
	}
	response, ok := dig(j.documents[r.service], "paths", r.path, method, "responses", status).(map[string]any)
	if !ok {
		return "the status is not declared"
	}
	kind, _, err := mime.ParseMediaType(a.Header().Get("Content-Type"))
	if err != nil && a.Body.Len() > 0 {
		return "the Content-Type is " + a.Header().Get("Content-Type")
	}
	content, _ := response["content"].(map[string]any)
	switch {
	case content[kind] != nil && kind == "application/json":
	case content[kind] != nil || content["*/*"] != nil:
		return ""
	default:
		return fmt.Sprintf("the Content-Type is %q", kind)
	}
	schema, err := j.schema(r.service, r.path, method, status)
	if err != nil {
		return err.Error()
	}
	body, err := jsonschema.UnmarshalJSON(bytes.NewReader(a.Body.Bytes()))
	if err != nil {
		return err.Error()
	}
	if err := schema.Validate(body); err != nil {
		return err.Error()
	}
	return ""
}

func dig(v any, names ...string) any {
	for _, name := range names {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

func (j *judge) schema(service, path, method, status string) (*jsonschema.Schema, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	at := "https://" + service + ".example/openapi.json#/paths/" + strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(path) + "/" + method + "/responses/" + status + "/content/application~1json/schema"
	s := j.compiled[at]
	if s == nil {
		var err error
		if s, err = j.compiler.Compile(at); err != nil {
			return nil, err
		}
		j.compiled[at] = s
	}
	return s, nil
}
