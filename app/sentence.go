package app

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"tulifo/platform/errs"
)

// sentence is what a person at a terminal reads of an error that was written for a person at a browser.
func sentence(err error) error {
	e, ok := errors.AsType[*errs.Error](err)
	if !ok || e.Kind == errs.Internal {
		return err
	}
	parts := []string{e.Message}
	for _, field := range slices.Sorted(maps.Keys(e.Details)) {
		parts = append(parts, field+": "+e.Details[field]+".")
	}
	return errors.New(strings.Join(parts, " "))
}
