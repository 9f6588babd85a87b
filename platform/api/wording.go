package api

import (
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"
)

const isRequired = " is required"

// The reasons that huma finds read on from the field's name. %.0v leaves out what a parser says, since it quotes the value.
func init() {
	for reason, words := range map[*string]string{
		&validation.MsgUnexpectedProperty:             "is not a field of this request",
		&validation.MsgExpectedRequiredProperty:       "%s" + isRequired,
		&validation.MsgExpectedRFC3339DateTime:        "must be a time, such as 2026-03-02T09:00:00Z",
		&validation.MsgExpectedRFC3339Date:            "must be a date, such as 2026-03-02",
		&validation.MsgExpectedRFC3339Time:            "must be a time of day, such as 09:00:00",
		&validation.MsgExpectedRFC5322Email:           "must be an e-mail address%.0v",
		&validation.MsgExpectedRFC3986URI:             "must be an address, such as https://example.com%.0v",
		&validation.MsgExpectedRFC4122UUID:            "must be a UUID%.0v",
		&validation.MsgExpectedBoolean:                "must be true or false",
		&validation.MsgExpectedNumber:                 "must be a number",
		&validation.MsgExpectedInteger:                "must be a whole number",
		&validation.MsgExpectedString:                 "must be a text",
		&validation.MsgExpectedArray:                  "must be a list",
		&validation.MsgExpectedObject:                 "must be an object",
		&validation.MsgExpectedOneOf:                  "must be one of: %s",
		&validation.MsgExpectedMinimumNumber:          "must be at least %v",
		&validation.MsgExpectedExclusiveMinimumNumber: "must be more than %v",
		&validation.MsgExpectedMaximumNumber:          "must be at most %v",
		&validation.MsgExpectedExclusiveMaximumNumber: "must be less than %v",
		&validation.MsgExpectedMinLength:              "must have at least %d characters",
		&validation.MsgExpectedMaxLength:              "must have at most %d characters",
		&validation.MsgExpectedBePattern:              "must be %s",
		&validation.MsgExpectedMatchPattern:           "must match %s",
		&validation.MsgExpectedMinItems:               "must have at least %d entries",
		&validation.MsgExpectedMaxItems:               "must have at most %d entries",
	} {
		*reason = words
	}
}

// fault is the field that is not right, and why, in words that a person can act on.
func fault(d *huma.ErrorDetail) (field, reason string) {
	field, reason = d.Location, withoutValue(d.Message)
	if missing, is := strings.CutSuffix(reason, isRequired); is {
		field, reason = field+"."+missing, "is required"
	}
	if in, name, below := strings.Cut(field, "."); below && (in == "body" || in == "query" || in == "path" || in == "header" || in == "cookie") {
		field = name
	}
	return field, reason
}

// withoutValue is what is wrong, without what parsers quote of the value behind it.
func withoutValue(message string) string {
	for _, quoting := range []string{"json: ", "parsing time", "Time.UnmarshalJSON"} {
		if strings.HasPrefix(message, quoting) {
			return "a value is of the wrong kind or size"
		}
	}
	kind, behind, _ := strings.Cut(message, ": ")
	switch {
	case kind == "invalid value" && strings.Contains(behind, "UUID"):
		return "must be a UUID"
	case kind == "invalid value":
		return "is not a value of this field"
	case kind == "unknown content type":
		return "is of a kind that is not accepted here"
	case message == "invalid integer":
		return "must be a whole number"
	case message == "invalid float" || message == "invalid floating value":
		return "must be a number"
	case message == "invalid boolean":
		return "must be true or false"
	case strings.HasPrefix(message, "invalid date/time"):
		return "must be a time, such as 2026-03-02T09:00:00Z"
	case strings.HasPrefix(message, "required ") && strings.HasSuffix(message, " parameter is missing"):
		return "is missing"
	}
	for _, quoting := range []string{"expected string to be RFC", "expected string to be regex", "expected duration", "invalid JSON"} {
		if strings.HasPrefix(message, quoting) {
			return kind
		}
	}
	return message
}
