// Package text says which of what people write can be kept: text that shows as it is. It is kept as it is, so whoever shows it shows text, never
// markup.
package text

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Line is s without the spaces around it, and whether it is one line that shows as it is.
func Line(s string) (line string, shows bool) {
	s = strings.TrimSpace(s)
	return s, utf8.ValidString(s) && !strings.ContainsFunc(s, steers)
}

// Lines is s without the spaces around it and with \n between its lines, and whether it shows as it is.
func Lines(s string) (lines string, show bool) {
	s = strings.TrimSpace(strings.ReplaceAll(s, "\r\n", "\n"))
	return s, utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r != '\n' && r != '\t' && steers(r) })
}

// steers are characters that steer rather than say: control characters, and those that turn the direction of what follows, by which a name could
// show as another.
func steers(r rune) bool {
	return unicode.IsControl(r) || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069' || r == '\u2028' || r == '\u2029'
}
