package tulifo

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// named finds names of tests and, before them, the packages that they are said to be in: services/auth `TestLogin`, `TestRegister`.
var named = regexp.MustCompile("((?:app|gateway|internal|platform|services|bench)(?:/\\w+)*) `((?:Test|Fuzz)\\w+)|\\b((?:Test|Fuzz)[A-Z]\\w*)|[|;]")

// pages are what is written for people, with slashes; those that are generated name nothing by hand.
func pages(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".md") {
			return nil
		}
		text, err := os.ReadFile(path)
		texts[filepath.ToSlash(path)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if texts["docs/testing.md"] == "" || texts["docs/security.md"] == "" {
		t.Fatal("the pages on tests and security are not where they are looked for")
	}
	return texts
}

// A page that names a test promises that it is there, and in the package that is said before it.
func TestTestsThatPagesNameExist(t *testing.T) {
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	in, all := map[string]bool{}, ""
	for _, f := range goFiles(t) {
		if !f.test() {
			continue
		}
		for _, m := range declared.FindAllStringSubmatch(f.source, -1) {
			in[f.dir()+" "+m[1]] = true
			all += " " + m[1] + " "
		}
	}
	checked := 0
	for path, text := range pages(t) {
		for n, line := range strings.Split(text, "\n") {
			dir := ""
			for _, at := range named.FindAllStringSubmatchIndex(line, -1) {
				var name, before string
				switch {
				case at[2] >= 0:
					dir, name = line[at[2]:at[3]], line[at[4]:at[5]]
				case at[6] >= 0:
					name, before = line[at[6]:at[7]], line[:at[6]]
				default:
					dir = ""
					continue
				}
				checked++
				switch {
				case strings.HasSuffix(strings.TrimRight(before, "'^"), "-run "):
					if !strings.Contains(all, " "+name) {
						t.Errorf("%s:%d: -run %s runs nothing", path, n+1, name)
					}
				case dir != "" && !in[dir+" "+name]:
					t.Errorf("%s:%d: there is no %s in %s", path, n+1, name, dir)
				case dir == "" && !strings.Contains(all, " "+name+" "):
					t.Errorf("%s:%d: there is no %s", path, n+1, name)
				}
			}
		}
	}
	if checked < 100 {
		t.Errorf("only %d names were found: the rule looks at the wrong place", checked)
	}
}

// Series that alerts and pages name are those that the code has, by the same name.
func TestSeriesThatPagesNameExist(t *testing.T) {
	var code strings.Builder
	for _, f := range goFiles(t) {
		if !f.test() {
			code.WriteString(f.source)
		}
	}
	series := regexp.MustCompile(`\btulifo_[a-z_]*[a-z]\b`)
	checked := 0
	for path, text := range pages(t) {
		for _, name := range series.FindAllString(text, -1) {
			checked++
			if !strings.Contains(code.String(), `"`+name+`"`) {
				t.Errorf("%s names %s, which no code does", path, name)
			}
		}
	}
	if checked < 20 {
		t.Errorf("only %d names were found: the rule looks at the wrong place", checked)
	}
}
