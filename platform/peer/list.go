package peer

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"tulifo/platform/errs"
)

// List asks path, a list, for the page that the cursor names, the first one when it is empty, and answers its items and the cursor of the next
// page, empty after the last. Errors are those of Get.
func List[T any](ctx context.Context, c *Client, path, cursor string) ([]T, string, error) {
	if cursor != "" {
		sep := "?"
		if strings.Contains(path, "?") {
			sep = "&"
		}
		path += sep + "cursor=" + url.QueryEscape(cursor)
	}
	var page struct {
		Success bool `json:"success"`
		Data    []T  `json:"data"`
		Meta    struct {
			NextCursor string `json:"nextCursor"`
		} `json:"meta"`
	}
	raw, err := raw(ctx, c, http.MethodGet, path, "", nil)
	if err != nil {
		return nil, "", err
	}
	err = json.Unmarshal(raw, &page)
	if err == nil && !page.Success {
		err = errors.New("the answer is not in the envelope")
	}
	if err != nil {
		return nil, "", errs.New(errs.Unavailable, "Another part of the platform answered in a way that cannot be read.").Because(err)
	}
	return page.Data, page.Meta.NextCursor, nil
}
