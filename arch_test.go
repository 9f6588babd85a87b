// Package tulifo holds the rules of the architecture, as tests: who may import whom, and how files are kept readable.
package tulifo

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "tulifo"

// allowed says which folders of ours the packages below a folder may import. The longest prefix counts.
var allowed = map[string][]string{
	"cmd":            {"app"},
	"app":            {"services", "gateway", "event", "infrastructure", "platform"},
	"gateway":        {"platform", "infrastructure"},
	"services":       {"platform", "event"},
	"event":          {"platform/money"},
	"platform":       {"platform"},
	"infrastructure": {},
	"bench":          {"platform"},
}

// eventMayImport is all that the shared vocabulary may stand on besides the standard library.
var eventMayImport = []string{"github.com/google/uuid"}

var bannedPackages = []string{"util", "utils", "common", "helper", "helpers", "shared", "base", "misc", "models", "types", "manager"}

// file is one Go file as the rules see it.
type file struct {
	path   string // relative, with slashes
	ast    *ast.File
	lines  int
	source string
}

func (f file) dir() string  { return filepath.ToSlash(filepath.Dir(f.path)) }
func (f file) test() bool   { return strings.HasSuffix(f.path, "_test.go") }
func (f file) root() string { return strings.SplitN(f.path, "/", 2)[0] }

func goFiles(t *testing.T) []file {
	t.Helper()
	var files []file
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != "." || d.Name() == "node_modules" || d.Name() == "testdata" || path == "tools" || path == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), path, source, parser.ParseComments)
		if err != nil {
			return err
		}
		files = append(files, file{filepath.ToSlash(path), parsed, strings.Count(string(source), "\n"), string(source)})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 20 {
		t.Fatalf("only %d files were found: the rules look at the wrong place", len(files))
	}
	return files
}

func TestImports(t *testing.T) {
	for _, f := range goFiles(t) {
		for _, spec := range f.ast.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if why := f.breach(path); why != "" {
				t.Errorf("%s imports %s: %s", f.path, path, why)
			}
		}
	}
}

// breach says why the file may not import path; empty when it may.
func (f file) breach(path string) string {
	ours, isOurs := strings.CutPrefix(path, module+"/")
	if !isOurs {
		if f.root() == "event" && !f.test() && strings.Contains(path, ".") && !slices.Contains(eventMayImport, path) {
			return "the shared vocabulary stands on the standard library, uuid and money only"
		}
		return ""
	}
	own := f.dir()
	if ours == own || strings.HasPrefix(ours, own+"/") {
		return ""
	}
	rules, known := allowed[f.root()]
	if !known {
		return ""
	}
	if f.root() == "services" {
		service := strings.Join(strings.SplitN(own, "/", 3)[:2], "/")
		if strings.HasPrefix(ours, "services/") && ours != service && !strings.HasPrefix(ours, service+"/") {
			return "a service knows no other service: it hears events and asks by peer"
		}
	}
	for _, r := range rules {
		if ours == r || strings.HasPrefix(ours, r+"/") {
			return ""
		}
	}
	if f.root() == "services" && strings.HasPrefix(ours, own) {
		return ""
	}
	return "packages below " + f.root() + " may import " + strings.Join(rules, ", ") + " only"
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	said, has := map[string]bool{}, map[string]string{}
	for _, f := range goFiles(t) {
		if strings.HasSuffix(f.ast.Name.Name, "_test") {
			continue
		}
		has[f.dir()] = f.path
		if f.ast.Doc != nil {
			said[f.dir()] = true
		}
	}
	for dir, path := range has {
		if !said[dir] {
			t.Errorf("%s: its package has no comment that says what it does for whom", path)
		}
	}
}

func TestFilesStaySmall(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.lines > 600 {
			t.Errorf("%s has %d lines; split it by noun, 600 is the most", f.path, f.lines)
		}
	}
}

func TestPackageNames(t *testing.T) {
	for _, f := range goFiles(t) {
		if slices.Contains(bannedPackages, f.ast.Name.Name) {
			t.Errorf("%s: the name %q says nothing about what is inside", f.path, f.ast.Name.Name)
		}
	}
}

var (
	databaseClock = regexp.MustCompile(`(?i)\bnow\(\)|\bcurrent_(timestamp|date|time)\b|\btransaction_timestamp\(|\bstatement_timestamp\(`)
	unfinished    = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME)\b`)
	sleeping      = regexp.MustCompile(`\btime\.` + `Sleep\(`)
	skipping      = regexp.MustCompile(`\bt\.Skip` + `(f|Now)?\(`)
)

// SQL that asks the database for the time cannot be rehearsed: business time is a parameter, and system time is clock_timestamp().
func TestBusinessTimeIsAParameter(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.root() != "services" || f.test() {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING && databaseClock.MatchString(lit.Value) {
				t.Errorf("%s: %s", f.path, lit.Value)
			}
			return true
		})
	}
	migrations, err := filepath.Glob("services/*/migrations/*.sql")
	if err != nil || len(migrations) == 0 {
		t.Fatalf("no migrations were found: %v", err)
	}
	for _, path := range migrations {
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if m := databaseClock.FindString(string(source)); m != "" {
			t.Errorf("%s asks the database for the time: %s", path, m)
		}
	}
}

func TestNothingUnfinishedSkippedOrSleeping(t *testing.T) {
	for _, f := range goFiles(t) {
		for i, line := range strings.Split(f.source, "\n") {
			switch {
			case unfinished.MatchString(line):
				t.Errorf("%s:%d: unfinished: %s", f.path, i+1, strings.TrimSpace(line))
			case f.test() && sleeping.MatchString(line):
				t.Errorf("%s:%d: a test waits on an outcome, not on time", f.path, i+1)
			case f.test() && skipping.MatchString(line):
				t.Errorf("%s:%d: a skipped test proves nothing", f.path, i+1)
			}
		}
	}
}

// Every module that the program requires directly has its licence noted and its place argued for.
func TestDependenciesAreNoted(t *testing.T) {
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	notice, err := os.ReadFile("NOTICE")
	if err != nil {
		t.Fatal(err)
	}
	direct := 0
	for _, line := range strings.Split(string(mod), "\n") {
		path, _, ok := strings.Cut(strings.TrimSpace(line), " v")
		if !ok || strings.Contains(line, "// indirect") || strings.HasPrefix(line, "go ") {
			continue
		}
		direct++
		if !strings.Contains(string(notice), path) {
			t.Errorf("%s is not in NOTICE", path)
		}
	}
	if direct < 10 {
		t.Fatalf("only %d direct dependencies were found", direct)
	}
}
