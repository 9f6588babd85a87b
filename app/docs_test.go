package app

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"tulifo/platform/clock"
	"tulifo/platform/postgres/pgtest"
)

var write = flag.Bool("write", false, "write the generated documents instead of comparing them")

// generatedDoc compares a document under docs with what the code says now; make generate writes it.
func generatedDoc(t *testing.T, path string, want []byte) {
	t.Helper()
	path = filepath.Join("..", "docs", path)
	if *write {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(have, want) {
		t.Errorf("%s is not what the code says now; run make generate and commit it (%v)", path, err)
	}
}

// everything is a node of all services over a database of the test's own; nothing of it runs.
func everything(t *testing.T) *node {
	t.Helper()
	d, err := openData(filepath.Join(t.TempDir(), "data"))
	if err != nil {
		t.Fatal(err)
	}
	url := pgtest.Database(t)
	env := map[string]string{"DATABASE_URL": url, "PUBLIC_URL": "http://localhost:8000", "SMTP_HOST": "127.0.0.1", "TULIFO_DATA": d.dir, "STRIPE_API_URL": "http://127.0.0.1:1"}
	if err := d.secrets(env); err != nil {
		t.Fatal(err)
	}
	c, err := readConfig(env)
	if err != nil {
		t.Fatal(err)
	}
	n, err := newNode(context.Background(), c, slog.New(slog.DiscardHandler), nodeOptions{names: append(serviceNames(), "gateway"), clock: clock.System, poolMax: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.close)
	return n
}

func TestDocumentsAreFresh(t *testing.T) {
	n := everything(t)
	for _, r := range n.rooms {
		raw, err := json.MarshalIndent(r.router.Spec(), "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		generatedDoc(t, filepath.Join("api", r.name+".json"), append(raw, '\n'))
	}
	generatedDoc(t, "events.md", eventsPage(t, n))
	generatedDoc(t, "config.md", configPage(t))
}

// eventsPage lists every event with its publisher's file, its consumers and its fields.
func eventsPage(t *testing.T, n *node) []byte {
	consumers := map[string][]string{}
	for _, r := range n.rooms {
		for _, typ := range r.inbox.Types() {
			consumers[typ] = append(consumers[typ], r.name)
		}
	}
	var out bytes.Buffer
	out.WriteString("# Events\n\nWhat each service publishes, who hears it, and what it carries. Written by `make generate` from package event.\n")
	for _, e := range events(t) {
		hear := "nobody yet"
		if c := consumers[e.typ]; len(c) > 0 {
			slices.Sort(c)
			hear = strings.Join(c, ", ")
		}
		fmt.Fprintf(&out, "\n## %s\n\n%s Heard by: %s.\n\n%s\n", e.typ, e.doc, hear, e.fields)
	}
	return out.Bytes()
}

type eventDoc struct{ typ, doc, fields string }

// events reads package event: its structs with a Type method.
func events(t *testing.T) []eventDoc {
	paths, err := filepath.Glob("../event/*.go")
	if err != nil {
		t.Fatal(err)
	}
	types, docs, fields := map[string]string{}, map[string]string{}, map[string]string{}
	for _, path := range paths {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.Name == "Type" && d.Recv != nil {
					lit := d.Body.List[0].(*ast.ReturnStmt).Results[0].(*ast.BasicLit)
					types[d.Recv.List[0].Type.(*ast.Ident).Name] = strings.Trim(lit.Value, `"`)
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					if ts, ok := s.(*ast.TypeSpec); ok {
						if st, ok := ts.Type.(*ast.StructType); ok {
							docs[ts.Name.Name], fields[ts.Name.Name] = strings.Join(strings.Fields(d.Doc.Text()), " "), fieldList(st)
						}
					}
				}
			}
		}
	}
	var out []eventDoc
	for name, typ := range types {
		out = append(out, eventDoc{typ, docs[name], fields[name]})
	}
	slices.SortFunc(out, func(a, b eventDoc) int { return strings.Compare(a.typ, b.typ) })
	if len(out) < 20 {
		t.Fatalf("only %d events were found", len(out))
	}
	return out
}

func fieldList(s *ast.StructType) string {
	var names []string
	for _, f := range s.Fields.List {
		if len(f.Names) == 0 {
			names = append(names, "all of "+f.Type.(*ast.Ident).Name)
			continue
		}
		tag := reflect.StructTag(strings.Trim(f.Tag.Value, "`"))
		names = append(names, "`"+strings.Split(tag.Get("json"), ",")[0]+"`")
	}
	return strings.Join(names, ", ")
}

// configPage lists every environment variable that a Config reads, with the comment beside it.
func configPage(t *testing.T) []byte {
	var rows []string
	for _, root := range []string{"../app", "../platform", "../services"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
			if err != nil {
				return err
			}
			pkg := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), "../")
			ast.Inspect(f, func(n ast.Node) bool {
				if field, ok := n.(*ast.Field); ok && field.Tag != nil {
					tag := reflect.StructTag(strings.Trim(field.Tag.Value, "`"))
					if name := strings.Split(tag.Get("env"), ",")[0]; name != "" && name != "-" {
						rows = append(rows, fmt.Sprintf("| `%s` | %s | %s | %s |", name, tag.Get("envDefault"), pkg, strings.Join(strings.Fields(field.Comment.Text()), " ")))
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(rows)
	page := "# Configuration\n\nEvery environment variable, its default, who reads it, and what it is for. Written by `make generate`. Besides these, `<NAME>_PORT` moves a service's port and\n" +
		"`<NAME>_SERVICE_URL` (a comma list) says where a service of another process is.\n\n| variable | default | read by | what |\n|---|---|---|---|\n"
	return []byte(page + strings.Join(rows, "\n") + "\n")
}
