package pgtest

import "context"

// FaultsOf plans statements on the schema.
func FaultsOf(ctx context.Context, schema string, statements map[string]string, whole map[string]string) ([]string, error) {
	seen.Lock()
	defer seen.Unlock()
	return faultsOf(ctx, schema, statements, whole)
}
