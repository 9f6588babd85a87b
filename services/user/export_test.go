package user

import "context"

// Draw is what becomes of an upload.
func Draw(ctx context.Context, upload []byte) (contentType string, drawn []byte, err error) {
	return (&Service{drawing: make(chan struct{}, 1)}).draw(ctx, upload)
}
