package mail

import (
	"io"
	"mime"
	"strings"
	"unicode"

	"github.com/emersion/go-message"
	_ "github.com/emersion/go-message/charset" // so that other charsets than UTF-8 are read too
)

// opened is a message taken apart.
type opened struct {
	Title       string       `json:"-"`
	Headers     [][2]string  `json:"headers"`
	Text        string       `json:"text"`
	HTML        string       `json:"-"`
	HasHTML     bool         `json:"hasHtml"`
	Attachments []attachment `json:"attachments"`
}

type attachment struct {
	Name        string `json:"name"`
	ContentType string `json:"contentType"`
	Size        int64  `json:"size"`
}

// Bounds of what is taken apart: a message can nest and repeat parts without end.
const (
	maxPartDepth = 8
	maxParts     = 100
	maxHeaders   = 200
	maxPartBytes = 2 << 20
)

// open takes apart as much of a message as can be read.
func open(r io.Reader) opened {
	m := opened{Headers: [][2]string{}, Attachments: []attachment{}}
	e, err := message.Read(r)
	if e == nil {
		m.Text = "This message cannot be read: " + err.Error()
		return m
	}
	for f := e.Header.Fields(); f.Next() && len(m.Headers) < maxHeaders; {
		v, err := f.Text()
		if err != nil {
			v = f.Value()
		}
		m.Headers = append(m.Headers, [2]string{f.Key(), v})
	}
	m.Title, _ = e.Header.Text("Subject")
	m.Title = strings.Map(printable, m.Title)
	parts := 0
	m.part(e, 0, &parts)
	m.HasHTML = m.HTML != ""
	return m
}

func (m *opened) part(e *message.Entity, depth int, parts *int) {
	*parts++
	if depth > maxPartDepth || *parts > maxParts {
		return
	}
	if mr := e.MultipartReader(); mr != nil {
		for *parts <= maxParts {
			p, err := mr.NextPart()
			if p == nil || err != nil && !message.IsUnknownCharset(err) && !message.IsUnknownEncoding(err) {
				return
			}
			m.part(p, depth+1, parts)
		}
		return
	}
	kind, params, err := e.Header.ContentType()
	if err != nil {
		kind = "text/plain"
	}
	way, attached, _ := e.Header.ContentDisposition()
	switch {
	case way != "attachment" && kind == "text/plain" && m.Text == "":
		m.Text = limited(e.Body)
	case way != "attachment" && kind == "text/html" && m.HTML == "":
		m.HTML = limited(e.Body)
	default:
		name := attached["filename"]
		if name == "" {
			name = params["name"]
		}
		if plain, err := new(mime.WordDecoder).DecodeHeader(name); err == nil {
			name = plain
		}
		size, _ := io.Copy(io.Discard, e.Body)
		m.Attachments = append(m.Attachments, attachment{strings.Map(printable, name), kind, size})
	}
}

func limited(r io.Reader) string {
	b, _ := io.ReadAll(io.LimitReader(r, maxPartBytes))
	return strings.ToValidUTF8(string(b), "\ufffd")
}

func printable(r rune) rune {
	if unicode.IsControl(r) {
		return ' '
	}
	return r
}

// preview is the beginning of the plain text, on one line.
func preview(m opened) string {
	s := strings.Join(strings.Fields(m.Text[:min(len(m.Text), 1000)]), " ")
	n := 0
	for at := range s {
		if n++; n > 140 {
			return strings.ToValidUTF8(s[:at], "") + "…"
		}
	}
	return strings.ToValidUTF8(s, "")
}
