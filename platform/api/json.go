package api

import (
	"encoding/json"
	"errors"

	"github.com/danielgtaylor/huma/v2"
)

var errRepeated = errors.New("a name stands twice in one object")

// strictJSON reads bodies in which each name stands once. Of two, the check would see the last, while parts of the first stay in what the
// handler gets.
var strictJSON = huma.Format{Marshal: huma.DefaultJSONFormat.Marshal, Unmarshal: func(data []byte, v any) error {
	if err := json.Unmarshal(data, v); err != nil {
		return err
	}
	if _, checked := v.(*any); checked {
		return unique(data)
	}
	return nil
}}

// unique refuses a repeated name anywhere in data, which is valid JSON.
func unique(data []byte) error {
	var open []map[string]struct{} // names so far, by depth; nil in a list
	name := false                  // the next string is one
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '{':
			open, name = append(open, map[string]struct{}{}), true
		case '[':
			open, name = append(open, nil), false
		case '}', ']':
			open, name = open[:len(open)-1], false
		case ',':
			name = open[len(open)-1] != nil
		case '"':
			from, escaped := i, false
			for i++; data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
					escaped = true
				}
			}
			if !name {
				continue
			}
			name = false
			key := string(data[from+1 : i])
			if escaped {
				if err := json.Unmarshal(data[from:i+1], &key); err != nil {
					return err
				}
			}
			names := open[len(open)-1]
			if _, twice := names[key]; twice {
				return errRepeated
			}
			names[key] = struct{}{}
		}
	}
	return nil
}
