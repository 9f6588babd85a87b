package text_test

import (
	"testing"

	"tulifo/platform/text"
)

func TestWhatShows(t *testing.T) {
	for _, c := range []struct {
		in, line, lines string
		one, many       bool
	}{
		{" Ada Lovelace ", "Ada Lovelace", "Ada Lovelace", true, true},
		{"", "", "", true, true},
		{"<b>José</b> 👩\u200d🔧", "<b>José</b> 👩\u200d🔧", "<b>José</b> 👩\u200d🔧", true, true},
		{"שלום\u200e 1", "שלום\u200e 1", "שלום\u200e 1", true, true},
		{"a\r\n\tb\n", "a\r\n\tb", "a\n\tb", false, true},
		{"a\rb", "a\rb", "a\rb", false, false},
		{"a\x00b", "a\x00b", "a\x00b", false, false},
		{"a\x1b[31mb", "a\x1b[31mb", "a\x1b[31mb", false, false},
		{"abc\u202efdp.exe", "abc\u202efdp.exe", "abc\u202efdp.exe", false, false},
		{"a\u2066b\u2028c", "a\u2066b\u2028c", "a\u2066b\u2028c", false, false},
		{"a\xffb", "a\xffb", "a\xffb", false, false},
	} {
		if line, ok := text.Line(c.in); line != c.line || ok != c.one {
			t.Errorf("one line of %q: %q, %t", c.in, line, ok)
		}
		if lines, ok := text.Lines(c.in); lines != c.lines || ok != c.many {
			t.Errorf("lines of %q: %q, %t", c.in, lines, ok)
		}
	}
}
