package payment

import (
	"cmp"
	"time"
)

// PeriodOf is the period that a statement is asked for.
func PeriodOf(from, to, tz string, now time.Time) (f, t time.Time, err error) {
	loc, err := zoneNamed("tz", cmp.Or(tz, "UTC"))
	if err != nil {
		return f, t, err
	}
	return period(from, to, now, loc)
}

// PostedKeys is the query for keys that are posted.
const PostedKeys = postedKeys
